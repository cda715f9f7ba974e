//! The sky and what is in it.

use super::canvas::{Canvas, Rgb, SIDE_F, mix, rgb};
use super::setting::{Light, Place, Setting};

/// Paints the sky down to the horizon and a little below it.
pub(super) fn paint(canvas: &mut Canvas, s: &Setting) {
    canvas.gradient(0.0, s.horizon + 14.0, &s.sky);
    let stars = match (s.place, s.light) {
        (Place::Moon, Light::Sunny | Light::Night) | (_, Light::Night) => 1.0,
        (Place::Moon, Light::Sunset) => 0.5,
        _ => 0.0,
    };
    if stars > 0.0 {
        self::stars(canvas, s, stars);
    }
    if s.place == Place::Moon {
        earth(canvas, s);
    }
    match s.light {
        Light::Sunny => sun(canvas, s),
        Light::Sunset => setting_sun(canvas, s),
        Light::Night if s.place != Place::Moon => crescent(canvas, s),
        _ => {}
    }
    if s.place != Place::Moon && s.light != Light::Night {
        clouds(canvas, s);
    }
}

fn sun(canvas: &mut Canvas, s: &Setting) {
    let at = s.luminary();
    canvas.glow(at, 34.0, rgb(0xFF_F6C8), 0.75);
    canvas.ellipse(at, [8.5, 8.5], rgb(0xFF_E873), 1.0);
    canvas.ellipse(at, [6.8, 6.8], rgb(0xFF_F2A6), 1.0);
}

fn setting_sun(canvas: &mut Canvas, s: &Setting) {
    let at = s.luminary();
    canvas.glow(at, 62.0, rgb(0xFF_D08A), 0.85);
    canvas.ellipse(at, [14.0, 14.0], rgb(0xFF_D98C), 1.0);
    canvas.ellipse(at, [11.5, 11.5], rgb(0xFF_ECB8), 1.0);
}

fn crescent(canvas: &mut Canvas, s: &Setting) {
    let [x, y] = s.luminary();
    canvas.glow([x, y], 30.0, rgb(0xBF_CBFF), 0.35);
    canvas.ellipse([x, y], [8.5, 8.5], rgb(0xFB_F5D8), 1.0);
    let behind = s.sky_at(y - 1.5);
    canvas.ellipse([x + 4.6, y - 2.2], [7.4, 7.4], mix(behind, rgb(0xBF_CBFF), 0.10), 1.0);
}

fn earth(canvas: &mut Canvas, s: &Setting) {
    let [x, y] = [[100.0, 22.0], [28.0, 24.0], [96.0, 18.0], [32.0, 18.0]][s.variant];
    let r = 11.0;
    let lit = |hex: u32| mix(rgb(hex), s.haze, if s.light == Light::Grey { 0.35 } else { 0.0 });
    canvas.glow([x, y], 24.0, rgb(0x8F_C7FF), 0.35);
    canvas.ellipse([x, y], [r, r], lit(0x3D_8FE0), 1.0);
    canvas.ellipse([x - 4.2, y - 3.4], [4.6, 4.0], lit(0x5F_BF72), 1.0);
    canvas.ellipse([x - 2.6, y + 3.2], [3.0, 4.0], lit(0x5F_BF72), 1.0);
    canvas.ellipse([x + 5.4, y + 1.2], [3.2, 4.6], lit(0x5F_BF72), 1.0);
    canvas.bar([x - 2.0, y - 6.6], [9.0, 2.2], rgb(0xFF_FFFF), 0.85);
    canvas.bar([x - 9.0, y + 0.6], [8.0, 2.0], rgb(0xFF_FFFF), 0.75);
}

fn stars(canvas: &mut Canvas, s: &Setting, share: f32) {
    // A low-discrepancy pattern: evenly strewn, the same for every scene of a variant.
    for i in 0..34 {
        let n = (i + 34 * s.variant) as f32;
        let (x, y) = ((n * 0.754_877_7).fract() * SIDE_F, (n * 0.569_840_3).fract() * (s.horizon - 8.0));
        let r = [0.55, 0.8, 0.55, 1.1][i % 4];
        canvas.ellipse([x, y + 2.0], [r, r], rgb(0xFD_FBEE), share * if i % 3 == 0 { 1.0 } else { 0.7 });
    }
}

fn clouds(canvas: &mut Canvas, s: &Setting) {
    let (above, below): (Rgb, Rgb) = match s.light {
        Light::Sunny => (rgb(0xFF_FFFF), rgb(0xDD_EEFA)),
        Light::Sunset => (rgb(0xFF_C9A6), rgb(0xE7_8F9B)),
        _ => (rgb(0xEE_F2F5), rgb(0xC6_CFD7)),
    };
    let places: [[f32; 3]; 4] =
        [[84.0, 18.0, 1.0], [40.0, 22.0, 1.15], [100.0, 28.0, 0.9], [30.0, 16.0, 1.05]];
    let second: [[f32; 3]; 4] =
        [[112.0, 32.0, 0.75], [76.0, 14.0, 0.8], [20.0, 20.0, 1.0], [62.0, 30.0, 0.75]];
    let third: [[f32; 3]; 4] = [[44.0, 10.0, 1.1], [14.0, 8.0, 1.0], [60.0, 8.0, 1.2], [100.0, 10.0, 1.1]];
    let mut all = vec![places[s.variant], second[s.variant]];
    if s.light == Light::Grey {
        all.push(third[s.variant]);
    }
    for [x, y, size] in all {
        if y + 8.0 * size < s.horizon {
            cloud(canvas, [x, y], size, above, below);
        }
    }
}

fn cloud(canvas: &mut Canvas, [x, y]: [f32; 2], size: f32, above: Rgb, below: Rgb) {
    let puffs = [(-9.0, 1.5, 4.2), (-2.5, -2.5, 6.2), (5.0, -0.6, 5.0), (10.5, 2.0, 3.4)];
    for (shift, colour) in [(1.3, below), (0.0, above)] {
        for (dx, dy, r) in puffs {
            let r = r * size;
            canvas.ellipse([x + dx * size, y + dy * size + shift], [r, r * 0.9], colour, 1.0);
        }
        canvas.bar([x - 13.5 * size, y + 0.4 * size + shift], [28.0 * size, 5.0 * size], colour, 1.0);
    }
}
