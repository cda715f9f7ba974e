//! The ground, in perspective: what is far is fine and pale.

use super::super::draws::Draws;
use super::canvas::{Canvas, Rgb, SIDE, SIDE_F, mix, plus, scaled, smooth};
use super::noise::Noise;
use super::setting::{Light, Place, Setting};

/// Numbers of the ground that a scene draws.
struct Look {
    offset: [f32; 2],
    /// A curve's phase, and how strong the texture is.
    phase: f32,
    strength: f32,
    /// Where a road vanishes, its half width at the lower edge, and the phase of its dashes.
    vanishing: f32,
    half_width: f32,
    dash: f32,
    yellow: bool,
    /// The shore's distance below the horizon.
    shore: f32,
    verge: Rgb,
}

/// A point of the ground.
struct Point {
    /// Place on the canvas.
    x: f32,
    y: f32,
    /// 0 at the horizon, 1 at the lower edge.
    near: f32,
    /// Place on the ground, which grows without bound towards the horizon.
    u: f32,
    v: f32,
}

pub(super) fn paint(canvas: &mut Canvas, s: &Setting, noise: &Noise, draws: &mut Draws) {
    let verges = [0x7DB254, 0xC9A468, 0x8E9A5A, 0x6FA05C];
    let look = Look {
        offset: [draws.unit(), draws.unit()],
        phase: draws.range(0.0, 6.3),
        strength: draws.range(0.7, 1.3),
        vanishing: draws.range(0.36, 0.64),
        half_width: draws.range(0.62, 0.95),
        dash: draws.unit(),
        yellow: draws.chance(0.4),
        shore: draws.range(0.07, 0.22),
        verge: s.lit(draws.pick(&verges)),
    };
    let end = ends(s, noise, &look);
    let first = end.iter().copied().fold(1.0, f32::min);
    for row in Canvas::span(first - 0.01, 1.0) {
        let y = (row as f32 + 0.5) / SIDE_F;
        for column in 0..SIDE {
            let cover = ((y - end[column]) * SIDE_F + 0.5).clamp(0.0, 1.0);
            if cover == 0.0 {
                continue;
            }
            let x = (column as f32 + 0.5) / SIDE_F;
            let near = ((y - s.horizon) / (1.0 - s.horizon)).clamp(0.0, 1.0);
            let z = 1.0 / (near + 0.10);
            let point = Point {
                x,
                y,
                near,
                u: look.offset[0] + (x - 0.5) * (0.35 + 0.22 * z),
                v: look.offset[1] + 0.30 * z,
            };
            let colour = match s.place {
                Place::Meadow => meadow(s, noise, &point, &look),
                Place::Desert => desert(s, noise, &point, &look),
                Place::Snow => snow(s, noise, &point, &look),
                Place::Beach => beach(s, noise, &point, &look),
                Place::Sea => sea(s, noise, &point, s.ground, 0.0),
                Place::Road => road(s, noise, &point, &look),
                Place::Forest => forest(s, noise, &point, &look),
                Place::Moon => moon(s, noise, &point, &look),
            };
            let colour = sunlit(s, colour, &point);
            canvas.blend(column, row, colour, cover);
        }
    }
}

/// Where the ground begins, by column: flat for water and roads, uneven elsewhere.
fn ends(s: &Setting, noise: &Noise, look: &Look) -> Vec<f32> {
    let uneven = match s.place {
        Place::Sea | Place::Beach | Place::Road => 0.0,
        Place::Snow | Place::Desert => 0.030,
        Place::Moon => 0.020,
        Place::Meadow | Place::Forest => 0.014,
    };
    (0..SIDE)
        .map(|column| {
            let x = column as f32 / SIDE_F;
            s.horizon - uneven * (noise.soft(look.offset[0] + x * 0.22, look.offset[1]) - 0.3)
        })
        .collect()
}

/// Light and air over any ground: brighter below the sun, paler far away, darker at the lower corners.
fn sunlit(s: &Setting, colour: Rgb, p: &Point) -> Rgb {
    let across = p.x - s.sun[0];
    let pool = if s.has_sun() { (1.0 - p.near).powi(2) / (1.0 + 7.0 * across * across) } else { 0.0 };
    let amount = match s.light {
        Light::Sunset => 0.30,
        Light::Night => 0.10,
        _ => 0.12,
    };
    let lit = mix(colour, mix(s.sun_colour, s.sky[2], 0.4), amount * pool);
    let corner = (p.x - 0.5).abs() * 2.0 * p.near;
    scaled(lit, 1.0 - 0.14 * corner * corner)
}

/// From far to near, with broad patches.
fn base(s: &Setting, noise: &Noise, p: &Point, patches: f32) -> Rgb {
    let far_near = mix(s.ground[0], s.ground[1], p.near.sqrt());
    scaled(far_near, 1.0 + patches * (noise.soft(p.u * 0.5, p.v * 0.5) - 0.5))
}

/// Which way the sun is, from -1 to 1.
fn side(s: &Setting, p: &Point) -> f32 {
    ((s.sun[0] - p.x) * 3.0).clamp(-1.0, 1.0)
}

fn meadow(s: &Setting, noise: &Noise, p: &Point, look: &Look) -> Rgb {
    let colour = base(s, noise, p, 0.42);
    // Blades: grain drawn out upwards, coarser nearby.
    let grain = noise.fine(p.u * 1.6, p.y * 0.55 + 0.06 * p.u) - 0.5;
    let colour = scaled(colour, 1.0 + 0.30 * grain * look.strength * (0.25 + p.near));
    let flowers = smooth(0.60, 0.78, noise.soft(p.u * 0.8 + 0.4, p.v * 0.8));
    mix(colour, s.lit(0xD9DE72), 0.28 * flowers)
}

fn desert(s: &Setting, noise: &Noise, p: &Point, look: &Look) -> Rgb {
    let colour = base(s, noise, p, 0.16);
    // Two dunes behind each other: a lit side and a shaded one along a curve.
    let mut shade = 0.0;
    for (at, bend) in [(0.16, 0.10), (0.42, 0.16)] {
        let crest = at + bend * (p.x * 4.1 + look.phase + at * 9.0).sin();
        let below = p.near - crest;
        let (near, far) = (-0.13 * (-below.abs() * 9.0).exp(), 0.05 * (-below.abs() * 14.0).exp());
        // The crest is two pixels soft.
        let pixel = 1.0 / ((1.0 - s.horizon) * SIDE_F);
        shade += far + (near - far) * smooth(-pixel, pixel, below);
    }
    let bent = noise.soft(p.u * 0.35, p.v * 0.35) * 5.0;
    let ripple = ((p.v * 26.0 + p.u * 4.0 + bent * 5.0) + look.phase).sin() * smooth(0.12, 0.5, p.near);
    let grain = noise.fine(p.u * 2.0, p.v * 3.0) - 0.5;
    scaled(colour, 1.0 + shade + 0.045 * ripple * look.strength + 0.07 * grain)
}

fn snow(s: &Setting, noise: &Noise, p: &Point, look: &Look) -> Rgb {
    let drift = noise.soft(p.u * 0.55, p.v * 0.45);
    let behind = noise.soft(p.u * 0.55 + 0.02 * side(s, p), p.v * 0.45 - 0.03);
    let slope = (drift - behind) * 3.2 * look.strength;
    let colour = mix(s.ground[1], s.ground[0], (0.55 + slope + 0.4 * (1.0 - p.near)).clamp(0.0, 1.0));
    let blue = s.lit(0xA9C2E2);
    let colour = mix(colour, blue, smooth(0.05, -0.5, slope) * 0.8);
    let sparkle = smooth(0.86, 0.95, noise.fine(p.u * 3.1 + 0.2, p.v * 4.7));
    plus(colour, s.sun_colour, 0.35 * sparkle * p.near * if s.has_sun() { 1.0 } else { 0.3 })
}

/// Water: waves drawn out sideways, the sky in it, and a path of light below the sun.
fn sea(s: &Setting, noise: &Noise, p: &Point, ground: [Rgb; 2], calm: f32) -> Rgb {
    let colour = mix(ground[0], ground[1], p.near.powf(0.6));
    let colour = mix(colour, s.sky[1], 0.30 * (1.0 - 0.5 * p.near));
    let long = noise.soft(p.u * 0.55, p.v * 1.5) - 0.5;
    let short = noise.fine(p.u * 0.75 + 0.3 * long, p.v * 2.6) - 0.5;
    let wave = (0.9 * long + 0.75 * short) * (1.0 - calm);
    let crest = smooth(0.16, 0.42, wave);
    let colour = scaled(colour, 1.0 + 0.42 * wave);
    let colour = mix(colour, mix(s.sky[2], s.lit(0xFFFFFF), 0.5), 0.42 * crest);
    if !s.has_sun() {
        return colour;
    }
    let width = 0.035 + 0.14 * p.near;
    let path = (-((p.x - s.sun[0]) / width).powi(2)).exp() * (1.0 - 0.55 * p.near);
    let glint = smooth(-0.08, 0.26, wave + 0.10);
    let strength = match s.light {
        Light::Sunset => 0.95,
        Light::Night => 0.55,
        _ => 0.60,
    };
    mix(colour, s.sun_colour, strength * path * glint)
}

fn beach(s: &Setting, noise: &Noise, p: &Point, look: &Look) -> Rgb {
    let wave = 0.030 * (p.x * 5.0 + look.phase).sin() + 0.016 * (p.x * 13.0 + look.phase * 2.0).sin();
    let shore = look.shore + wave + 0.02 * (noise.soft(p.x * 0.6, look.offset[1]) - 0.5);
    let below = p.near - shore;
    let grain = noise.fine(p.u * 2.4, p.v * 3.0) - 0.5;
    let sand = scaled(base(s, noise, p, 0.14), 1.0 + 0.12 * grain);
    let bumps = noise.soft(p.u * 1.1, p.v * 1.3) - noise.soft(p.u * 1.1 + 0.015, p.v * 1.3 - 0.02);
    let sand = scaled(sand, 1.0 + 1.6 * bumps * p.near);
    // Wet sand is darker and has some sky in it.
    let wet = mix(scaled(sand, 0.76), s.sky[2], 0.16);
    let sand = mix(wet, sand, smooth(0.0, 0.11, below));
    let foam = s.lit(0xFBFDFF);
    if below > 0.0 {
        return mix(sand, foam, 0.85 * smooth(0.018, 0.0, below));
    }
    let depth = smooth(0.0, -look.shore, below);
    let shallow = [s.lit(0x58BFD0), s.lit(0x8FE0D8)];
    let far_near = [mix(s.lit(0x2E86BE), s.sky[2], 0.2), mix(shallow[0], s.lit(0x2A7FB8), depth)];
    let water = sea(s, noise, p, far_near, 0.35);
    let water = mix(water, shallow[1], 0.45 * smooth(-0.09, 0.0, below));
    let second = smooth(0.014, 0.0, (below + 0.05 + 0.012 * (p.x * 9.0 + look.phase).cos()).abs());
    let lines = smooth(-0.016, 0.0, below).max(0.5 * second);
    mix(water, foam, 0.85 * lines)
}

fn road(s: &Setting, noise: &Noise, p: &Point, look: &Look) -> Rgb {
    let half = 0.018 + look.half_width * p.near;
    let middle = look.vanishing + (0.5 - look.vanishing) * p.near;
    let across = (p.x - middle) / half;
    // A pixel's width in units of half a road, for soft edges.
    let pixel = 1.2 / (half * SIDE_F);
    let inside = |edge: f32| smooth(edge + pixel, edge - pixel, across.abs());
    let grain = noise.fine(p.u * 2.8, p.v * 3.4) - 0.5;
    let patches = noise.soft(p.u * 0.7, p.v * 0.7) - 0.5;
    let asphalt = mix(s.ground[0], s.ground[1], p.near.sqrt());
    let asphalt = scaled(asphalt, 1.0 + 0.16 * grain * look.strength + 0.22 * patches);
    let grass = mix(look.verge, s.sky[2], 0.25 * (1.0 - p.near).powi(2));
    let grass = scaled(grass, 1.0 + 0.30 * (noise.fine(p.u * 1.6, p.y * 0.7) - 0.5) + 0.3 * patches);
    let mut colour = mix(grass, s.lit(0xB5A88E), inside(1.07) * 0.8);
    colour = mix(colour, asphalt, inside(1.0));
    let white = s.lit(0xF4F2EA);
    let side = smooth(0.035 + pixel, 0.035 - pixel, (across.abs() - 0.90).abs());
    colour = mix(colour, white, side * 0.85);
    let line = if look.yellow { s.lit(0xF3C64B) } else { white };
    // Dashes are of one length on the road, so their ends crowd towards the horizon.
    let z = 1.0 / (p.near + 0.10);
    let along = (z * 1.15 + look.dash).fract();
    let dash = smooth(0.0, 0.06, along) * smooth(0.56, 0.50, along);
    let dash = dash * smooth(0.03, 0.10, p.near) + 0.5 * smooth(0.10, 0.03, p.near);
    let middle_line = smooth(0.032 + pixel, 0.032 - pixel, across.abs());
    mix(colour, line, middle_line * dash * 0.9)
}

fn forest(s: &Setting, noise: &Noise, p: &Point, look: &Look) -> Rgb {
    let colour = base(s, noise, p, 0.35);
    let moss = smooth(0.48, 0.66, noise.soft(p.u * 0.9 + 0.7, p.v * 0.9));
    let colour = mix(colour, s.lit(0x5E7F38), 0.55 * moss);
    let litter = noise.fine(p.u * 1.9, p.v * 2.6) - 0.5;
    let colour = scaled(colour, 1.0 + 0.48 * litter * look.strength * (0.4 + 0.6 * p.near));
    // Patches of light that come through the leaves.
    let gap = smooth(0.58, 0.74, noise.soft(p.u * 1.2 + 0.2, p.v * 1.1 + 0.5));
    let strength = match s.light {
        Light::Sunny => 0.38,
        Light::Sunset => 0.30,
        Light::Night => 0.12,
        Light::Grey => 0.06,
    };
    mix(colour, mix(s.sun_colour, colour, 0.35), strength * gap)
}

fn moon(s: &Setting, noise: &Noise, p: &Point, look: &Look) -> Rgb {
    let colour = base(s, noise, p, 0.30);
    let dust = noise.fine(p.u * 1.7, p.v * 2.4) - 0.5;
    let slope = noise.soft(p.u, p.v) - noise.soft(p.u + 0.02 * side(s, p), p.v - 0.02);
    scaled(colour, 1.0 + 0.16 * dust * look.strength + 1.5 * slope)
}
