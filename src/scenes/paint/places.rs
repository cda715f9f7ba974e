//! The eight places: what stands at the horizon, and the ground.

use super::canvas::{Canvas, SIDE_F, mix};
use super::setting::{Light, Place, Setting};

/// Paints everything below the sky.
pub(super) fn paint(canvas: &mut Canvas, s: &Setting) {
    match s.place {
        Place::Meadow => meadow(canvas, s),
        Place::Desert => desert(canvas, s),
        Place::Snow => snow(canvas, s),
        Place::Beach => beach(canvas, s),
        Place::Sea => sea(canvas, s),
        Place::City => city(canvas, s),
        Place::Forest => forest(canvas, s),
        Place::Moon => moon(canvas, s),
    }
}

/// The `i`th place of a pattern that strews evenly without rows (the plastic number's), below the horizon, of each variant another.
fn strewn(s: &Setting, i: usize, from: f32) -> [f32; 2] {
    let n = (i + 1 + 23 * s.variant) as f32;
    [4.0 + 120.0 * (n * 0.754_877_7).fract(), from + (n * 0.569_840_3).fract() * (SIDE_F - 4.0 - from)]
}

/// A curve of hills: `waves` of them across the picture, `height` up and down around `base`.
fn hills(s: &Setting, base: f32, height: f32, waves: f32, shift: f32) -> impl Fn(f32) -> f32 + use<> {
    let phase = 1.7 * s.variant as f32 + shift;
    move |x| {
        let t = x / SIDE_F * std::f32::consts::TAU * waves + phase;
        base - height * (0.75 * t.sin() + 0.25 * (2.3 * t + 1.0).sin())
    }
}

fn meadow(canvas: &mut Canvas, s: &Setting) {
    let h = s.horizon;
    canvas.land(
        hills(s, h - 7.0, 6.0, 1.3, 0.0),
        h - 14.0,
        h + 10.0,
        &[s.far(0x6F_B98F, 0.45), s.far(0x6F_B98F, 0.62)],
    );
    canvas.land(
        hills(s, h - 1.0, 4.0, 1.0, 2.0),
        h - 6.0,
        h + 16.0,
        &[s.far(0x7C_C46A, 0.22), s.far(0x62_AE58, 0.25)],
    );
    canvas.land(
        hills(s, h + 8.0, 3.0, 0.8, 4.0),
        h + 4.0,
        SIDE_F,
        &[s.lit(0x92_D766), s.lit(0x62_B84C), s.lit(0x48_9C40)],
    );
    canvas.land(hills(s, 112.0, 4.0, 0.7, 5.5), 106.0, SIDE_F, &[s.lit(0x56_AB46), s.lit(0x3E_8E3A)]);
    let petals = [0xFF_FFFF, 0xFF_D84A, 0xFF_8FB1];
    for i in 0..12 {
        let [x, y] = strewn(s, i, h + 16.0);
        let r = 1.0 + 0.8 * (y - h) / (SIDE_F - h);
        let colour = s.lit(petals[(i + s.variant) % 3]);
        for (dx, dy) in [(-0.8, 0.0), (0.8, 0.0), (0.0, -0.8), (0.0, 0.8)] {
            canvas.ellipse([x + dx * r, y + dy * r], [0.7 * r, 0.7 * r], colour, 1.0);
        }
        canvas.ellipse([x, y], [0.55 * r, 0.55 * r], s.lit(0xF5_A623), 1.0);
    }
}

fn desert(canvas: &mut Canvas, s: &Setting) {
    let h = s.horizon;
    // Table mountains, far away.
    for (x, width, height) in [
        [(18.0, 34.0, 13.0), (86.0, 26.0, 9.0)],
        [(70.0, 40.0, 14.0), (8.0, 22.0, 8.0)],
        [(40.0, 30.0, 11.0), (100.0, 34.0, 14.0)],
        [(92.0, 30.0, 12.0), (30.0, 24.0, 9.0)],
    ][s.variant]
    {
        let foot = h + 4.0;
        let points = [[x - 4.0, foot], [x, h - height], [x + width, h - height], [x + width + 4.0, foot]];
        canvas.polygon(&points, s.far(0xC9_7B55, 0.42), 1.0);
        canvas.polygon(
            &[
                [x + 0.62 * width, foot],
                [x + 0.66 * width, h - height],
                [x + width, h - height],
                [x + width + 4.0, foot],
            ],
            s.far(0x9E_5840, 0.42),
            1.0,
        );
    }
    canvas.land(
        hills(s, h + 1.0, 3.0, 1.2, 1.0),
        h - 4.0,
        h + 20.0,
        &[s.far(0xF4_CE8E, 0.20), s.far(0xE3_AE66, 0.12)],
    );
    canvas.land(
        hills(s, h + 13.0, 5.0, 0.9, 3.2),
        h + 6.0,
        SIDE_F,
        &[s.lit(0xF6_D292), s.lit(0xDE_A65C), s.lit(0xCF_924C)],
    );
    canvas.land(hills(s, 106.0, 7.0, 0.75, 0.4), 96.0, SIDE_F, &[s.lit(0xEE_C07C), s.lit(0xD2_9650)]);
}

fn snow(canvas: &mut Canvas, s: &Setting) {
    let h = s.horizon;
    let peaks = [[16.0, 58.0, 100.0], [34.0, 80.0, 120.0], [8.0, 48.0, 96.0], [24.0, 70.0, 112.0]][s.variant];
    for (i, x) in peaks.into_iter().enumerate() {
        let (height, half) = ([24.0, 32.0, 27.0][i], [30.0, 36.0, 32.0][i]);
        let top = h - height;
        let foot = h + 6.0;
        canvas.polygon(&[[x - half, foot], [x, top], [x + half, foot]], s.far(0x7E_94BC, 0.35), 1.0);
        canvas.polygon(&[[x, top], [x + half, foot], [x + 0.28 * half, foot]], s.far(0x5F_77A4, 0.35), 1.0);
        let cap = 0.36;
        let (drop, side) = (cap * (height + 6.0), cap * half);
        canvas.polygon(
            &[
                [x, top],
                [x + side, top + drop],
                [x + 0.45 * side, top + 0.75 * drop],
                [x + 0.05 * side, top + 1.15 * drop],
                [x - 0.5 * side, top + 0.72 * drop],
                [x - side, top + drop],
            ],
            s.far(0xFF_FFFF, 0.12),
            1.0,
        );
    }
    canvas.land(
        hills(s, h + 3.0, 3.0, 1.1, 0.5),
        h - 2.0,
        h + 24.0,
        &[s.far(0xF2_F7FC, 0.10), s.far(0xD3_E2F2, 0.05)],
    );
    canvas.land(
        hills(s, h + 16.0, 4.0, 0.8, 3.0),
        h + 10.0,
        SIDE_F,
        &[s.lit(0xFB_FDFF), s.lit(0xDE_E9F5), s.lit(0xC6_D8EC)],
    );
    canvas.land(hills(s, 112.0, 4.0, 0.7, 1.3), 106.0, SIDE_F, &[s.lit(0xEE_F5FB), s.lit(0xCC_DDEF)]);
}

/// Open water from a row down, with the light on it.
fn water(canvas: &mut Canvas, s: &Setting, top: f32, bottom: f32) {
    let (near, deep) = (s.lit(0x2F_8FC8), s.lit(0x1C_6AA6));
    canvas.gradient(top, bottom, &[mix(s.lit(0x53_B4DC), s.haze, 0.35), near, deep]);
}

/// The path of the sun or the moon on water, from the horizon down.
fn glitter(canvas: &mut Canvas, s: &Setting, bottom: f32) {
    if s.light == Light::Grey {
        return;
    }
    let [x, _] = s.luminary();
    let strength = if s.light == Light::Sunset { 0.75 } else { 0.5 };
    let rows = ((bottom - s.horizon) / 3.2) as usize;
    for i in 0..rows {
        let t = (i as f32 + 0.5) / rows.max(1) as f32;
        let width = 22.0 - 10.0 * t + 5.0 * ((i * 5 + s.variant) as f32).sin();
        let shift = 3.0 * ((i * 3) as f32).cos();
        let y = s.horizon + 1.0 + t * (bottom - s.horizon - 3.0);
        canvas.bar([x - 0.5 * width + shift, y], [width, 1.3], s.shine(), strength * (1.0 - 0.7 * t));
    }
}

fn beach(canvas: &mut Canvas, s: &Setting) {
    let h = s.horizon;
    water(canvas, s, h, h + 26.0);
    glitter(canvas, s, h + 18.0);
    for i in 0..4 {
        let n = (i + 3 * s.variant) as f32;
        let x = (n * 0.618_034).fract() * 104.0;
        canvas.bar([x, h + 4.0 + 3.5 * i as f32], [12.0 + 3.0 * i as f32, 1.1], s.shine(), 0.5);
    }
    let shore = |lift: f32| hills(s, h + 20.0 - lift, 2.6, 1.0, 1.0);
    canvas.land(shore(3.2), h, SIDE_F, &[mix(s.lit(0x53_B4DC), s.shine(), 0.35); 2]);
    canvas.land(shore(1.6), h, SIDE_F, &[s.lit(0xFF_FFFF); 2]);
    canvas.land(shore(0.0), h, SIDE_F, &[s.lit(0xD9_B983); 2]);
    canvas.land(shore(-2.4), h + 18.0, SIDE_F, &[s.lit(0xFB_E6B4), s.lit(0xF0_D195), s.lit(0xE2_BC7C)]);
    let shells = [0xFF_B9A3, 0xFF_F3E0, 0xF7_9E9E];
    for i in 0..6 {
        let [x, y] = strewn(s, i, h + 32.0);
        canvas.ellipse([x, y], [1.5, 1.1], s.lit(shells[i % 3]), 1.0);
    }
}

fn sea(canvas: &mut Canvas, s: &Setting) {
    let h = s.horizon;
    water(canvas, s, h, SIDE_F);
    for band in 0..5 {
        let t = (band as f32 + 0.8) / 5.0;
        let y = h + t * t * (SIDE_F - h);
        let (amplitude, waves) = (0.8 + 1.8 * t, 5.0 - 2.6 * t);
        let colours = [mix(s.lit(0x3A_A0D4), s.lit(0x1F_73B0), t), s.lit(0x1C_69A6)];
        canvas.land(hills(s, y, amplitude, waves, 2.0 * band as f32), y - 2.0, y + 26.0, &colours);
    }
    glitter(canvas, s, h + 44.0);
    for i in 0..9 {
        let n = (i + 5 * s.variant) as f32;
        let t = (i as f32 + 0.5) / 9.0;
        let y = h + 3.0 + t * t * (118.0 - h);
        let x = (n * 0.618_034).fract() * 112.0;
        canvas.bar([x, y], [7.0 + 12.0 * t, 1.0 + 0.8 * t], s.shine(), 0.45);
    }
}

fn city(canvas: &mut Canvas, s: &Setting) {
    let h = s.horizon;
    let street = h + 8.0;
    let heights = [26, 38, 20, 32, 24, 40, 18, 30, 36, 22, 28];
    let walls = [0x8E_A4C8, 0xB7_A6C4, 0x9B_B3C9, 0xC7_B0A8];
    let dark = matches!(s.light, Light::Night | Light::Sunset);
    let mut x = -4.0;
    for i in 0..9 {
        let width = [16.0, 20.0, 14.0, 18.0][(i + s.variant) % 4];
        let height = heights[(i * 3 + s.variant * 2) % heights.len()] as f32 * 0.95;
        canvas.rectangle([x, street - height - 10.0], [width, height + 10.0], s.far(0x7F_92B4, 0.55), 1.0);
        x += width + 1.0;
    }
    let mut x = -8.0 + 2.0 * s.variant as f32;
    for i in 0..9 {
        let width = [18.0, 14.0, 22.0, 16.0][(i * 3 + s.variant) % 4];
        let height = heights[(i * 4 + s.variant * 3 + 1) % heights.len()] as f32 * 0.85;
        let wall = s.far(walls[(i + s.variant) % 4], 0.08);
        let top = street - height;
        canvas.rectangle([x, top], [width, height], wall, 1.0);
        canvas.rectangle([x + 0.72 * width, top], [0.28 * width, height], mix(wall, s.sky[0], 0.22), 1.0);
        let columns = ((width - 4.0) / 4.0) as usize;
        let rows = ((height - 6.0) / 6.0) as usize;
        for row in 0..rows {
            for column in 0..columns {
                let on = !(row * 5 + column * 3 + i * 7 + s.variant).is_multiple_of(3);
                let glass = if dark && on {
                    mix(super::canvas::rgb(0xFF_E08A), wall, 0.1)
                } else {
                    mix(wall, s.shine(), if dark { 0.10 } else { 0.45 })
                };
                canvas.rectangle(
                    [x + 2.0 + 4.0 * column as f32, top + 3.0 + 6.0 * row as f32],
                    [2.2, 3.4],
                    glass,
                    1.0,
                );
            }
        }
        x += width;
    }
    canvas.gradient(street, street + 6.0, &[s.lit(0xC8_CCD4), s.lit(0xB2_B8C2)]);
    canvas.gradient(street + 6.0, SIDE_F, &[s.lit(0x77_7D8A), s.lit(0x5C_626F), s.lit(0x50_5562)]);
    // The middle line, in perspective.
    let (a, b) = (street + 6.0, SIDE_F);
    let centre = [64.0, 56.0, 72.0, 64.0][s.variant];
    for i in 0..4 {
        let (t0, t1) = ((i as f32 + 0.25) / 4.0, (i as f32 + 0.75) / 4.0);
        let row = |t: f32| a + t.powf(1.4) * (b - a);
        let half = |t: f32| 0.8 + 2.2 * t;
        canvas.polygon(
            &[
                [centre - half(t0), row(t0)],
                [centre + half(t0), row(t0)],
                [centre + half(t1), row(t1)],
                [centre - half(t1), row(t1)],
            ],
            s.lit(0xF6_E7B4),
            1.0,
        );
    }
}

fn forest(canvas: &mut Canvas, s: &Setting) {
    let h = s.horizon;
    let fir = |canvas: &mut Canvas, x: f32, foot: f32, height: f32, light: [f32; 3], shade: [f32; 3]| {
        for tier in 0..3 {
            let t = tier as f32 / 3.0;
            let top = foot - height + t * 0.62 * height;
            let low = top + 0.46 * height;
            let half = (0.16 + 0.10 * tier as f32) * height;
            canvas.polygon(&[[x, top], [x + half, low], [x - half, low]], light, 1.0);
            canvas.polygon(&[[x, top], [x + half, low], [x + 0.12 * half, low]], shade, 1.0);
        }
    };
    canvas.land(hills(s, h - 4.0, 3.0, 1.0, 0.0), h - 8.0, h + 12.0, &[s.far(0x4F_8A66, 0.50); 2]);
    for i in 0..11 {
        let x = (i as f32 - 0.5 + 0.3 * ((i * 7 + s.variant) as f32).sin()) * 13.0;
        let height = 24.0 + 6.0 * ((i * 5 + s.variant * 3) as f32).sin();
        fir(canvas, x, h + 4.0, height, s.far(0x4C_9068, 0.42), s.far(0x3B_7858, 0.42));
    }
    canvas.land(hills(s, h + 3.0, 2.0, 0.9, 2.0), h, SIDE_F, &[s.lit(0x5F_A05A), s.lit(0x4E_8C4C)]);
    for i in 0..8 {
        let x = (i as f32 + 0.1 + 0.35 * ((i * 11 + s.variant * 5) as f32).sin()) * 18.0;
        let height = 36.0 + 8.0 * ((i * 3 + s.variant * 7) as f32).cos();
        canvas.rectangle([x - 1.4, h + 6.0], [2.8, 5.0], s.lit(0x6E_4A34), 1.0);
        fir(canvas, x, h + 8.0, height, s.lit(0x3E_8F52), s.lit(0x2C_7244));
    }
    canvas.land(
        hills(s, h + 12.0, 2.4, 0.8, 4.0),
        h + 8.0,
        SIDE_F,
        &[s.lit(0x74_B45C), s.lit(0x53_9148), s.lit(0x42_7A3E)],
    );
    canvas.land(hills(s, 114.0, 3.0, 0.7, 5.0), 108.0, SIDE_F, &[s.lit(0x4B_8744), s.lit(0x3A_6E38)]);
    for i in 0..7 {
        let [x, y] = strewn(s, i, h + 20.0);
        for (dx, lean) in [(-1.2, -1.2), (0.0, 0.0), (1.2, 1.2)] {
            canvas.polygon(
                &[[x + dx - 0.5, y], [x + dx + lean, y - 3.6], [x + dx + 0.5, y]],
                s.lit(0x35_7038),
                1.0,
            );
        }
    }
}

fn moon(canvas: &mut Canvas, s: &Setting) {
    let h = s.horizon;
    canvas.land(
        hills(s, h - 3.0, 4.0, 1.6, 0.0),
        h - 8.0,
        h + 10.0,
        &[s.far(0x8A_8E9C, 0.30), s.far(0x8A_8E9C, 0.40)],
    );
    canvas.land(
        hills(s, h + 5.0, 2.0, 0.9, 2.0),
        h + 2.0,
        SIDE_F,
        &[s.lit(0xC6_C8D2), s.lit(0xA2_A5B2), s.lit(0x86_8998)],
    );
    let craters = [
        (0.12, 0.20, 6.0),
        (0.72, 0.10, 4.5),
        (0.46, 0.34, 8.0),
        (0.90, 0.46, 9.0),
        (0.22, 0.62, 11.0),
        (0.64, 0.78, 12.0),
    ];
    for (x, y, r) in craters {
        let x = (x + 0.23 * s.variant as f32).fract() * SIDE_F;
        let y = h + 8.0 + y * (SIDE_F - h - 10.0);
        let flat = 0.34;
        canvas.ellipse([x, y], [r * 1.18, r * 1.18 * flat], s.lit(0xD8_DAE2), 1.0);
        canvas.ellipse([x, y + 0.10 * r], [r, r * flat], s.lit(0x8E_91A0), 1.0);
        canvas.ellipse([x, y + 0.20 * r], [r * 0.86, r * flat * 0.72], s.lit(0x9D_A0AE), 1.0);
    }
}
