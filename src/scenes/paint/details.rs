//! Small things: flowers, blades, leaves, craters, stones and shells on the ground, what hides the feet of objects, snowfall.

use super::super::draws::Draws;
use super::canvas::{Canvas, mix, scaled};
use super::objects::Placed;
use super::setting::{Light, Place, Setting};

/// What lies on the ground before objects stand on it, from far to near.
pub(super) fn scatter(canvas: &mut Canvas, s: &Setting, draws: &mut Draws) {
    let (most, least) = match s.place {
        Place::Meadow => (120, 60),
        Place::Forest => (110, 60),
        Place::Moon => (16, 7),
        Place::Desert => (12, 2),
        Place::Beach => (14, 3),
        Place::Snow => (7, 0),
        Place::Sea | Place::Road => return,
    };
    let count = least + draws.below(most - least);
    let flower = draws.pick(&[0xFFFFFF, 0xFFE05A, 0xF58FB4, 0xB79BF0, 0xF2705E]);
    let blooming = draws.range(0.0, 0.5);
    for i in 0..count {
        // Even in depth on the ground, so crowded towards the horizon.
        let near = ((i as f32 + draws.unit()) / count as f32).powf(1.5);
        let y = s.horizon + 0.02 + near * (0.98 - s.horizon);
        let x = draws.range(-0.02, 1.02);
        let size = 0.25 + near;
        match s.place {
            Place::Meadow if draws.chance(blooming) => bloom(canvas, s, [x, y], size, flower),
            Place::Meadow => tuft(canvas, s, [x, y], size * 0.034, 3, draws),
            Place::Forest => leaf(canvas, s, [x, y], size, draws),
            Place::Moon => crater(canvas, s, [x, y], near, draws),
            Place::Beach if y < s.horizon + 0.28 * (1.0 - s.horizon) => {}
            _ => stone(canvas, s, [x, y], size, draws),
        }
    }
}

/// What grows or lies before an object's feet.
pub(super) fn nestle(canvas: &mut Canvas, s: &Setting, object: &Placed<'_>, draws: &mut Draws) {
    let count = match s.place {
        Place::Meadow => 9,
        Place::Forest => 6,
        _ => return,
    };
    let [left, right] = object.foot();
    for _ in 0..count {
        let at = [draws.range(left - 0.02, right + 0.02), object.base + draws.range(0.004, 0.018)];
        match s.place {
            Place::Meadow => tuft(canvas, s, at, draws.range(0.022, 0.040), 3, draws),
            _ => leaf(canvas, s, at, 0.9, draws),
        }
    }
}

/// What falls.
pub(super) fn weather(canvas: &mut Canvas, s: &Setting, draws: &mut Draws) {
    let falls = s.place == Place::Snow && matches!(s.light, Light::Grey | Light::Night) && draws.chance(0.5);
    if !falls {
        return;
    }
    for _ in 0..50 {
        let radius = draws.range(0.003, 0.009);
        let at = [draws.unit(), draws.unit()];
        canvas.ellipse(at, [radius; 2], 0.7, mix(s.lit(0xFFFFFF), [1.0; 3], 0.5), 0.75);
    }
}

fn tuft(canvas: &mut Canvas, s: &Setting, at: [f32; 2], height: f32, blades: usize, draws: &mut Draws) {
    let near = ((at[1] - s.horizon) / (1.0 - s.horizon)).clamp(0.0, 1.0);
    let ground = mix(s.ground[0], s.ground[1], near.sqrt());
    for _ in 0..blades {
        let lean = draws.range(-0.5, 0.5) * height;
        let foot = [at[0] + draws.range(-0.35, 0.35) * height, at[1]];
        let tip = [foot[0] + lean, at[1] - height * draws.range(0.6, 1.0)];
        let colour = scaled(ground, draws.pick(&[0.72, 0.84, 1.18, 1.30]));
        canvas.stroke(tip, foot, [0.001, height * 0.16], colour, 0.8);
    }
}

fn bloom(canvas: &mut Canvas, s: &Setting, at: [f32; 2], size: f32, hex: u32) {
    let r = 0.0075 * size;
    let stem = scaled(s.ground[1], 0.8);
    canvas.stroke([at[0], at[1] - 3.0 * r], at, [r * 0.4; 2], stem, 0.8);
    canvas.ellipse([at[0], at[1] - 3.2 * r], [r * 1.25, r], 0.4, s.lit(hex), 0.95);
    canvas.ellipse([at[0], at[1] - 3.2 * r], [r * 0.4; 2], 0.5, s.lit(0xF2B632), 0.9);
}

fn leaf(canvas: &mut Canvas, s: &Setting, at: [f32; 2], size: f32, draws: &mut Draws) {
    let hex = draws.pick(&[0xB5652B, 0xC98A3A, 0x8A4A26, 0xD9A845, 0x7C8A3A, 0xA2382A]);
    let (dx, dy) = (draws.range(-0.013, 0.013) * size, draws.range(-0.006, 0.006) * size);
    let shade = scaled(s.ground[1], 0.6);
    canvas.stroke(
        [at[0] - dx, at[1] - dy + 0.003],
        [at[0] + dx, at[1] + dy + 0.003],
        [0.011 * size; 2],
        shade,
        0.5,
    );
    canvas.stroke([at[0] - dx, at[1] - dy], [at[0] + dx, at[1] + dy], [0.010 * size; 2], s.lit(hex), 0.85);
}

fn crater(canvas: &mut Canvas, s: &Setting, at: [f32; 2], near: f32, draws: &mut Draws) {
    let r = draws.range(0.015, 0.075) * (0.25 + near);
    let flat = 0.28 + 0.12 * near;
    // The side of the wall that looks at the light is the far one from it.
    let side = (at[0] - s.sun[0]).signum() * r * 0.10;
    let ground = mix(s.ground[0], s.ground[1], near.sqrt());
    canvas.ellipse(at, [r * 1.16, r * flat * 1.2], 0.3, scaled(ground, 1.16), 0.8);
    canvas.ellipse([at[0] - side * 0.3, at[1]], [r, r * flat], 0.22, scaled(ground, 0.62), 0.9);
    let floor = [at[0] + side, at[1] + r * flat * 0.22];
    canvas.ellipse(floor, [r * 0.84, r * flat * 0.74], 0.3, scaled(ground, 0.86), 0.9);
}

fn stone(canvas: &mut Canvas, s: &Setting, at: [f32; 2], size: f32, draws: &mut Draws) {
    let r = draws.range(0.006, 0.016) * size;
    let hex = match s.place {
        Place::Snow => 0x7F8894,
        Place::Beach => draws.pick(&[0xF6E9DC, 0xE8B8A0, 0x9A9088]),
        _ => draws.pick(&[0x9A6E4A, 0x87603F, 0xB08A62]),
    };
    let colour = s.lit(hex);
    canvas.ellipse([at[0], at[1] + r * 0.35], [r * 1.5, r * 0.5], 0.6, scaled(s.ground[1], 0.62), 0.6);
    canvas.ellipse(at, [r * 1.2, r * 0.75], 0.25, colour, 1.0);
    canvas.ellipse([at[0] - r * 0.2, at[1] - r * 0.2], [r * 0.7, r * 0.35], 0.5, scaled(colour, 1.22), 0.7);
}
