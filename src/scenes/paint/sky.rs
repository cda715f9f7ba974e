//! The sky: gradient, sun or moon, stars, clouds; and what stands on the horizon.

use super::super::draws::Draws;
use super::canvas::{Canvas, Rgb, SIDE, SIDE_F, mix, plus, rgb, scaled, smooth, times};
use super::noise::Noise;
use super::setting::{Light, Place, Setting};

pub(super) fn paint(canvas: &mut Canvas, s: &Setting, noise: &Noise, draws: &mut Draws) {
    gradient(canvas, s);
    if s.light == Light::Night || (s.place == Place::Moon && s.light != Light::Grey) {
        stars(canvas, s, draws);
    }
    if s.place == Place::Moon {
        if s.light != Light::Sunset {
            earth(canvas, s, noise, draws);
        }
    } else if s.light == Light::Night {
        moon(canvas, s, noise, draws);
    }
    if s.has_sun() && s.light != Light::Night {
        // A halo close around the disc makes it shine.
        let halo = mix(s.sun_colour, rgb(0xFFFFFF), 0.3);
        canvas.ellipse(s.sun, [s.sun_radius * 1.7; 2], 0.9, halo, 0.45);
        canvas.ellipse(s.sun, [s.sun_radius; 2], 0.10, halo, 1.0);
    }
    if s.place != Place::Moon {
        clouds(canvas, s, noise, draws);
    }
    match s.place {
        Place::Forest => trees(canvas, s, noise, draws),
        Place::Sea | Place::Beach => {
            if draws.chance(0.35) {
                ridge(canvas, s, noise, draws, 0.25, false);
            }
        }
        Place::Road if draws.chance(0.45) => skyline(canvas, s, draws),
        _ => {
            let layers = 1 + draws.below(3);
            for layer in 0..layers {
                let nearness = (layer as f32 + 1.0) / layers as f32;
                ridge(canvas, s, noise, draws, nearness, layer + 1 == layers);
            }
        }
    }
}

fn gradient(canvas: &mut Canvas, s: &Setting) {
    let [sun_x, sun_y] = s.sun;
    let (glow, spread) = match s.light {
        Light::Sunny => (0.30, 0.16),
        Light::Sunset => (0.52, 0.30),
        Light::Night => (0.16, 0.14),
        Light::Grey => (0.0, 1.0),
    };
    let glow = if s.place == Place::Moon { glow * 0.6 } else { glow };
    let rows = ((s.horizon * SIDE_F) as usize + 2).min(SIDE);
    for row in 0..rows {
        let y = (row as f32 + 0.5) / SIDE_F;
        let base = s.sky_at(y);
        for column in 0..SIDE {
            let x = (column as f32 + 0.5) / SIDE_F;
            let d = ((x - sun_x).powi(2) + (y - sun_y).powi(2)) / (spread * spread);
            *canvas.at(column, row) = mix(base, s.sun_colour, glow / (1.0 + 2.0 * d));
        }
    }
}

fn stars(canvas: &mut Canvas, s: &Setting, draws: &mut Draws) {
    for _ in 0..40 + draws.below(50) {
        let (x, y) = (draws.unit(), draws.unit() * s.horizon * 0.96);
        let bright = draws.unit().powi(2);
        let radius = (0.25 + 0.55 * bright) / SIDE_F;
        let colour = mix(rgb(0xFFFFFF), draws.pick(&[rgb(0xBFD4FF), rgb(0xFFE3C0)]), 0.6);
        // Fainter towards the horizon, where the air is thick.
        let alpha = (0.35 + 0.65 * bright) * (1.0 - 0.6 * (y / s.horizon).powi(3));
        canvas.ellipse([x, y], [radius * 1.6; 2], 1.0, colour, alpha);
    }
}

fn moon(canvas: &mut Canvas, s: &Setting, noise: &Noise, draws: &mut Draws) {
    let ([cx, cy], r) = (s.sun, s.sun_radius);
    // Where the shadow's own disc stands, in radii; far away it leaves a full moon.
    let away = draws.range(0.5, 2.6);
    let side = if draws.chance(0.5) { 1.0 } else { -1.0 };
    let offset = draws.unit();
    canvas.each([cx - r - 0.02, cx + r + 0.02], [cy - r - 0.02, cy + r + 0.02], |pixel, x, y| {
        let (u, v) = ((x - cx) / r, (y - cy) / r);
        let cover = ((1.0 - (u * u + v * v).sqrt()) * r * SIDE_F + 0.5).clamp(0.0, 1.0);
        let shade = (((u - side * away).powi(2) + (v + 0.25).powi(2)).sqrt() - 1.0) * r * SIDE_F + 0.5;
        let maria = smooth(0.5, 0.62, noise.soft(offset + u * 0.12, v * 0.12));
        let colour = scaled(s.sun_colour, 1.0 - 0.14 * maria);
        *pixel = mix(*pixel, colour, cover * (0.06 + 0.94 * shade.clamp(0.0, 1.0)));
    });
}

/// The Earth above the moon.
fn earth(canvas: &mut Canvas, s: &Setting, noise: &Noise, draws: &mut Draws) {
    let r = draws.range(0.06, 0.11);
    let (cx, cy) = ((s.sun[0] + draws.range(0.36, 0.64)).fract(), draws.range(0.16, 0.6) * s.horizon);
    let (offset, faint) = (draws.unit(), if s.light == Light::Grey { 0.45 } else { 1.0 });
    canvas.ellipse([cx, cy], [r * 1.25; 2], 0.6, rgb(0x4F8FE0), 0.22 * faint);
    canvas.each([cx - r - 0.02, cx + r + 0.02], [cy - r - 0.02, cy + r + 0.02], |pixel, x, y| {
        let (u, v) = ((x - cx) / r, (y - cy) / r);
        let d = u * u + v * v;
        let cover = ((1.0 - d.sqrt()) * r * SIDE_F + 0.5).clamp(0.0, 1.0);
        let land = smooth(0.56, 0.62, noise.soft(offset + u * 0.16, 0.3 + v * 0.16));
        let cloud = smooth(0.55, 0.75, noise.soft(offset + 0.5 + u * 0.2, v * 0.35));
        let colour = mix(rgb(0x2F7ED8), rgb(0x6CA85A), land);
        let colour = mix(colour, rgb(0xF4F8FF), cloud * 0.85);
        let towards = (u * (s.sun[0] - cx).signum() * 0.7 - v * 0.5 + 0.55).clamp(0.12, 1.0);
        *pixel = mix(*pixel, scaled(colour, towards), cover * faint);
    });
}

/// A layer of clouds seen from below: small and flat at the horizon, lit on the side of the sun.
fn clouds(canvas: &mut Canvas, s: &Setting, noise: &Noise, draws: &mut Draws) {
    let (amount, bright, dark): (f32, Rgb, Rgb) = match s.light {
        Light::Sunny => (draws.range(0.0, 0.62), rgb(0xFFFFFF), mix(rgb(0xC3D4E6), s.sky[1], 0.25)),
        Light::Sunset => (draws.range(0.1, 0.7), rgb(0xFFD9A8), mix(s.sky[0], s.sky[1], 0.55)),
        Light::Night => (draws.range(0.0, 0.5), mix(s.sky[2], rgb(0x8FA6D0), 0.35), s.sky[1]),
        Light::Grey => (draws.range(0.75, 1.0), rgb(0xE4E8EA), scaled(s.sky[0], 0.86)),
    };
    if amount < 0.12 {
        return;
    }
    let threshold = 0.78 - 0.42 * amount;
    let (u0, v0) = (draws.unit(), draws.unit());
    let scale = draws.range(0.16, 0.30);
    let sun_side = s.sun[0];
    let rows = (s.horizon * SIDE_F) as usize + 1;
    for row in 0..rows.min(SIDE) {
        let y = (row as f32 + 0.5) / SIDE_F;
        let up = s.horizon - y;
        let distance = 1.0 / (up + 0.16);
        let fade = smooth(0.0, 0.10, up);
        for column in 0..SIDE {
            let x = (column as f32 + 0.5) / SIDE_F;
            let (u, v) =
                (u0 + (x - 0.5) * (0.45 + 0.28 * distance) * scale * 1.5, v0 + distance * scale * 0.55);
            let density = 0.78 * noise.soft(u, v) + 0.22 * noise.soft(u * 2.7 + 0.4, v * 2.7);
            if density < threshold {
                continue;
            }
            let towards = (sun_side - x).clamp(-0.5, 0.5) * 0.05;
            let lit = (0.62 + 6.0 * (density - noise.soft(u + towards, v + 0.02))).clamp(0.0, 1.0);
            let colour = mix(dark, bright, lit);
            let alpha = smooth(threshold, threshold + 0.16, density) * fade;
            canvas.blend(column, row, colour, alpha * if s.light == Light::Grey { 0.75 } else { 0.9 });
        }
    }
}

/// Hills, mountains or dunes along the horizon. `nearness` in (0, 1]; the last layer may carry trees.
fn ridge(canvas: &mut Canvas, s: &Setting, noise: &Noise, draws: &mut Draws, nearness: f32, last: bool) {
    let (height, roughness) = match s.place {
        Place::Snow => (draws.range(0.10, 0.24), 0.9),
        Place::Desert => (draws.range(0.04, 0.13), 0.35),
        Place::Moon => (draws.range(0.03, 0.12), 0.8),
        Place::Sea | Place::Beach => (draws.range(0.04, 0.10), 0.6),
        _ => (draws.range(0.06, 0.16), 0.4),
    };
    let height = height * (1.25 - 0.65 * nearness);
    let base = match s.place {
        Place::Snow => s.lit(0xB9CCE0),
        Place::Moon => s.lit(0x74767E),
        Place::Desert => mix(s.ground[0], s.lit(0xB0704A), 0.45),
        Place::Sea | Place::Beach => s.lit(0x4E7A62),
        Place::Road => s.lit(0x5C8A52),
        _ => mix(s.ground[1], s.lit(0x2F6A4A), 0.4),
    };
    let air = if s.place == Place::Moon { 0.1 } else { 0.72 - 0.5 * nearness };
    let colour = mix(base, s.sky[2], air);
    let (v0, stretch) = (draws.unit(), draws.range(0.12, 0.30));
    let forested = last && matches!(s.place, Place::Meadow | Place::Snow | Place::Road) && draws.chance(0.55);
    let tree = mix(s.lit(0x24503A), s.sky[2], 0.25);
    let mesa = s.place == Place::Desert && draws.chance(0.4);
    let tops: Vec<f32> = (0..=SIDE)
        .map(|column| {
            let x = column as f32 / SIDE_F;
            let wave = noise.soft(x * stretch, v0);
            let sharp = 1.0 - (2.0 * noise.soft(x * stretch * 1.7 + 0.3, v0 + 0.37) - 1.0).abs();
            let rough = 0.12 * (noise.fine(x * 0.5, v0) - 0.5);
            let mut h = wave * (1.0 - 0.5 * roughness) + (0.5 * sharp + rough) * roughness;
            if mesa {
                h = smooth(0.45, 0.53, h) * 0.8 + 0.15 * h;
            }
            s.horizon + 0.012 - height * h
        })
        .collect();
    for column in 0..SIDE {
        let top = tops[column];
        let slope = (tops[column + 1] - top) * SIDE_F;
        let x = (column as f32 + 0.5) / SIDE_F;
        // The side that looks at the sun is lighter.
        let towards = if s.has_sun() { slope * (x - s.sun[0]).signum() } else { 0.0 };
        let lit = scaled(colour, 1.0 + 0.16 * towards.clamp(-1.0, 1.0));
        for row in Canvas::span(top - 0.01, s.horizon + 0.02) {
            let y = (row as f32 + 0.5) / SIDE_F;
            let cover = ((y - top) * SIDE_F + 0.5).clamp(0.0, 1.0);
            let mut here = mix(lit, s.sky[2], 0.25 * smooth(0.0, 0.16, y - top) * (1.0 - nearness * 0.5));
            if s.place == Place::Snow {
                let line = 0.055 + 0.05 * noise.fine(x * 0.8, y * 0.8);
                let cap = smooth(line, line - 0.02, (y - top) * (1.2 - 0.4 * nearness));
                here = mix(here, mix(s.lit(0xF8FBFF), s.sky[2], 0.15), cap * 0.85);
            }
            canvas.blend(column, row, here, cover);
        }
    }
    if forested {
        for _ in 0..10 + draws.below(30) {
            let x = draws.unit();
            let foot = tops[((x * SIDE_F) as usize).min(SIDE)] + 0.008;
            let h = draws.range(0.018, 0.045);
            let colour = scaled(tree, draws.range(0.85, 1.15));
            if s.place == Place::Snow || draws.chance(0.5) {
                canvas.stroke([x, foot - h], [x, foot], [0.0, h * 0.55], colour, 0.95);
            } else {
                canvas.ellipse([x, foot - h * 0.5], [h * 0.45, h * 0.5], 0.3, colour, 0.95);
            }
        }
    }
}

/// Houses of a town far away, with lit windows at night.
fn skyline(canvas: &mut Canvas, s: &Setting, draws: &mut Draws) {
    for layer in 0..2 {
        let air = if layer == 0 { 0.68 } else { 0.42 };
        let colour = mix(s.lit(0x4A5468), s.sky[2], air);
        let mut x = draws.range(-0.05, 0.05);
        while x < 1.0 {
            let width = draws.range(0.035, 0.085);
            let top = s.horizon - draws.range(0.02, if layer == 0 { 0.19 } else { 0.12 });
            let shade = scaled(colour, draws.range(0.93, 1.06));
            let end = x + width;
            canvas.each([x - 0.01, end + 0.01], [top - 0.01, s.horizon + 0.015], |pixel, px, py| {
                let across = ((px - x).min(end - px) * SIDE_F + 0.5).clamp(0.0, 1.0);
                let down = ((py - top) * SIDE_F + 0.5).clamp(0.0, 1.0);
                *pixel = mix(*pixel, shade, across * down);
            });
            if s.light == Light::Night && layer == 1 {
                for _ in 0..3 {
                    let at = [draws.range(x + 0.008, end - 0.008), draws.range(top + 0.01, s.horizon)];
                    canvas.ellipse(at, [0.005; 2], 0.5, rgb(0xFFD98A), 0.8);
                }
            }
            x = end + draws.range(-0.005, 0.04);
        }
    }
}

/// Trunks in three depths, with leaves above, between which the sky is seen.
fn trees(canvas: &mut Canvas, s: &Setting, noise: &Noise, draws: &mut Draws) {
    let (u0, v0) = (draws.unit(), draws.unit());
    for depth in 0..3 {
        let near = depth as f32 / 2.0;
        let air = 0.66 - 0.5 * near;
        let bark = mix(s.lit(0x4B3626), s.sky[2], air);
        let foot = s.horizon + 0.012 + 0.03 * near;
        for i in 0..[11, 8, 4][depth] {
            let step = 1.0 / [11.0, 8.0, 4.0][depth];
            let x = (i as f32 + draws.range(0.1, 0.9)) * step;
            let width = draws.range(0.012, 0.022) * (1.0 + 1.5 * near);
            let lean = draws.range(-0.02, 0.02);
            let colour = scaled(bark, draws.range(0.88, 1.1));
            canvas.stroke([x + lean, -0.05], [x, foot], [width * 0.7, width], colour, 1.0);
            // Light along the side of the sun.
            if s.has_sun() {
                let side = (s.sun[0] - x).signum() * width * 0.3;
                let edge = mix(colour, times(s.sun_colour, s.tint), 0.35);
                let thin = width * 0.22;
                canvas.stroke([x + lean + side, -0.05], [x + side, foot], [thin * 0.7, thin], edge, 0.8);
            }
        }
        leaves(canvas, s, noise, [u0 + 0.31 * near, v0 + 0.17 * near], near, air);
    }
    // Bushes along the end of the ground.
    for _ in 0..14 {
        let r = draws.range(0.03, 0.07);
        let colour = scaled(mix(s.lit(0x3D6B35), s.sky[2], 0.3), draws.range(0.85, 1.15));
        let at = [draws.unit(), s.horizon + 0.02];
        canvas.ellipse(at, [r, r * draws.range(0.4, 0.7)], 0.35, colour, 0.95);
    }
}

/// The leaves above, one depth of them.
fn leaves(canvas: &mut Canvas, s: &Setting, noise: &Noise, offset: [f32; 2], near: f32, air: f32) {
    let leaf = mix(s.lit(0x3F7A38), s.sky[2], air * 0.8);
    let reach = s.horizon * (0.75 - 0.25 * near);
    for row in Canvas::span(0.0, reach) {
        let y = (row as f32 + 0.5) / SIDE_F;
        let fall = smooth(0.0, 1.0, y / reach);
        for column in 0..SIDE {
            let x = (column as f32 + 0.5) / SIDE_F;
            let (u, v) = (offset[0] + x * 0.35, offset[1] + y * 0.4);
            let density = 0.6 * noise.soft(u, v) + 0.4 * noise.fine(u, v);
            let alpha = smooth(0.36 + 0.36 * fall, 0.44 + 0.36 * fall, density);
            if alpha > 0.0 {
                let colour = scaled(leaf, 0.72 + 0.6 * noise.fine(u * 1.5 + 0.5, v * 1.5));
                canvas.blend(column, row, colour, alpha);
            }
        }
    }
    // What comes through is warmer than the leaves themselves.
    if s.light == Light::Sunny && near == 1.0 {
        canvas.each([0.0, 1.0], [0.0, reach], |pixel, x, y| {
            let d = (x - s.sun[0]).powi(2) + (y - s.sun[1]).powi(2);
            *pixel = plus(*pixel, s.sun_colour, 0.18 / (1.0 + 14.0 * d));
        });
    }
}
