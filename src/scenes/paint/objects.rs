//! Objects: where they stand, their shadows, and how they take the light.

use super::super::content::{Kind, Labels};
use super::super::draws::Draws;
use super::super::sprites::Sprite;
use super::canvas::{Canvas, Rgb, SIDE_F, mix, plus, smooth, times};
use super::noise::Noise;
use super::setting::{Light, Place, Setting};

/// An object in its place.
pub(super) struct Placed<'a> {
    sprite: &'a Sprite,
    /// The middle of its box.
    x: f32,
    /// Where it stands.
    pub(super) base: f32,
    width: f32,
    height: f32,
    /// Mirrored.
    flipped: bool,
}

impl Placed<'_> {
    /// Left and right end of what touches the ground.
    pub(super) fn foot(&self) -> [f32; 2] {
        let [left, right] = self.sprite.foot;
        let [left, right] = if self.flipped { [1.0 - right, 1.0 - left] } else { [left, right] };
        let start = self.x - 0.5 * self.width;
        [start + left * self.width, start + right * self.width]
    }

    /// The sprite's own column of a place on the canvas.
    #[inline]
    fn column(&self, x: f32) -> f32 {
        let u = (x - self.x) / self.width + 0.5;
        if self.flipped { 1.0 - u } else { u }
    }
}

/// Places the objects of a scene, the farthest first. What is lower stands nearer and is larger.
pub(super) fn layout<'a>(labels: &Labels, sprites: &'a [[Sprite; 3]], draws: &mut Draws) -> Vec<Placed<'a>> {
    let noun = |i: usize| match labels.kind {
        Kind::Two if i == 0 => labels.leftmost,
        Kind::Two => labels.rightmost,
        _ => labels.first,
    };
    let count = usize::from(labels.count);
    let mut placed: Vec<Placed<'a>> = (0..count)
        .map(|i| {
            let (x, base, side) = match (labels.kind, count) {
                (Kind::One, _) => (draws.range(0.34, 0.66), draws.range(0.76, 0.93), draws.range(0.50, 0.74)),
                (_, 2) => {
                    let x = if i == 0 { draws.range(0.22, 0.30) } else { draws.range(0.70, 0.78) };
                    let side = if labels.kind == Kind::Two {
                        draws.range(0.36, 0.50)
                    } else {
                        draws.range(0.34, 0.46)
                    };
                    (x, draws.range(0.72, 0.93), side)
                }
                _ => {
                    let x = (i as f32 + 0.5) / 3.0 + draws.range(-0.03, 0.03);
                    (x, draws.range(0.70, 0.93), draws.range(0.27, 0.36))
                }
            };
            let flipped = draws.chance(0.5);
            let sprite = &sprites[noun(i)][labels.style];
            let (width, height) = sprite.size();
            let side = side * (1.0 + 0.9 * (base - 0.84));
            let scale = side / width.max(height);
            let (width, height) = (scale * width, scale * height);
            // Whole in the picture, apart from a little to the sides.
            let margin = 0.5 * width - 0.01;
            let base = base.max(height + 0.03);
            Placed { sprite, x: x.clamp(margin, 1.0 - margin), base, width, height, flipped }
        })
        .collect();
    placed.sort_by(|a, b| a.base.total_cmp(&b.base));
    placed
}

/// Paints an object with its shadow or its reflection.
pub(super) fn paint(canvas: &mut Canvas, s: &Setting, noise: &Noise, object: &Placed<'_>) {
    if s.place == Place::Sea {
        reflection(canvas, s, noise, object);
    } else {
        cast_shadow(canvas, s, object);
        contact_shadow(canvas, s, object);
    }
    body(canvas, s, noise, object);
    if s.place == Place::Sea {
        ripples(canvas, s, noise, object);
    }
}

/// What a shadow makes of the ground: darker and bluer.
fn darken(pixel: &mut Rgb, s: &Setting, amount: f32) {
    let blue: Rgb = if s.light == Light::Sunset { [0.26, 0.16, 0.34] } else { [0.12, 0.16, 0.30] };
    *pixel = mix(*pixel, times(*pixel, blue), amount);
}

/// The dark line where something stands.
fn contact_shadow(canvas: &mut Canvas, s: &Setting, object: &Placed<'_>) {
    let [left, right] = object.foot();
    let (cx, rx) = (0.5 * (left + right), (0.5 * (right - left)).max(0.15 * object.width) + 0.012);
    let strength = if s.light == Light::Grey { 0.62 } else { 0.66 };
    let base = object.base - 0.004;
    for (grow, flat, share) in [(1.0, 0.12, 0.75), (1.35, 0.22, 0.40)] {
        let (rx, ry) = (rx * grow, (rx * flat).clamp(0.010, 0.045));
        canvas.each([cx - rx, cx + rx], [base - ry, base + ry], |pixel, x, y| {
            let d = ((x - cx) / rx).powi(2) + ((y - base) / ry).powi(2);
            darken(pixel, s, strength * share * smooth(1.0, 0.1, d));
        });
    }
}

/// The outline thrown on the ground, towards us and away from the sun, softer with distance.
fn cast_shadow(canvas: &mut Canvas, s: &Setting, object: &Placed<'_>) {
    if s.shadow == 0.0 {
        return;
    }
    let length = s.shadow_length * object.height;
    let slant = (object.x - s.sun[0]) * if s.light == Light::Sunset { 1.5 } else { 1.0 };
    let pixels = object.height * SIDE_F;
    let levels = [1, 2, 3].map(|steps| object.sprite.blurred(pixels, steps));
    let reach = length + 0.03;
    let side = (slant * reach).abs();
    let half = 0.5 * object.width + 0.03;
    let start = object.base - 0.012;
    canvas.each([object.x - half - side, object.x + half + side], [start, start + reach], |pixel, x, y| {
        let down = y - start;
        let up = down / length;
        let u = object.column(x - slant * down);
        let (level, between) = if up < 0.5 { (0, up * 2.0) } else { (1, up * 2.0 - 1.0) };
        let alpha = |level: usize| levels[level].alpha(u, 1.0 - up);
        let alpha = alpha(level) + (alpha(level + 1) - alpha(level)) * between.clamp(0.0, 1.0);
        darken(pixel, s, s.shadow * alpha * (1.0 - 0.65 * up.clamp(0.0, 1.0)));
    });
}

/// The object itself: tinted, shaded from the light to the other side, with a bright edge towards the light and a dark foot.
fn body(canvas: &mut Canvas, s: &Setting, noise: &Noise, object: &Placed<'_>) {
    let level = object.sprite.level(object.height * SIDE_F);
    let left = object.x - 0.5 * object.width;
    let top = object.base - object.height;
    let light_x = if s.has_sun() { (s.sun[0] - object.x).clamp(-0.5, 0.5) * 2.0 } else { 0.0 };
    // The light comes from above, more so when the sun is high.
    let low = s.light == Light::Sunset;
    let (step_x, step_y) = (light_x * 0.022, if low { -0.010 } else { -0.020 });
    let mirror = if object.flipped { -1.0 } else { 1.0 };
    let bounce = s.ground[1];
    canvas.each([left, left + object.width], [top, object.base], |pixel, x, y| {
        let (u, v) = (object.column(x), (y - top) / object.height);
        let [r, g, b, alpha] = level.at(u, v);
        if alpha < 1.0 / 255.0 {
            return;
        }
        let across = (x - object.x) / object.width * 2.0;
        let form = 1.0 + 0.10 * across * light_x * s.rim.min(0.4) * 2.0 + 0.07 * (0.5 - v);
        let mut colour = times([r, g, b], s.tint).map(|c| c * form);
        if s.rim > 0.0 {
            let outside = 1.0 - level.alpha(u + mirror * step_x / object.width, v + step_y / object.height);
            colour = plus(colour, times(s.sun_colour, s.tint), s.rim * outside * alpha * alpha);
        }
        let foot = smooth(0.80, 1.0, v);
        colour = mix(colour, times(bounce, [alpha; 3]), 0.16 * foot);
        colour = colour.map(|c| c * (1.0 - 0.16 * foot));
        let hidden = sunk(s, noise, object, x, y);
        for c in 0..3 {
            pixel[c] += (colour[c] - pixel[c] * alpha) * (1.0 - hidden);
        }
    });
}

/// How much of an object's lowest rows lies in snow, sand or water.
#[inline]
fn sunk(s: &Setting, noise: &Noise, object: &Placed<'_>, x: f32, y: f32) -> f32 {
    let depth = match s.place {
        Place::Sea => 0.055 * object.height + 0.012,
        Place::Snow => 0.020,
        Place::Desert | Place::Beach | Place::Moon => 0.009,
        _ => return 0.0,
    };
    let above = object.base - y;
    if above > 2.0 * depth {
        return 0.0;
    }
    let line = depth * (0.5 + noise.soft(x * 0.9 + object.x, object.base * 3.0));
    smooth(line + 0.008, line - 0.008, above) * if s.place == Place::Sea { 0.92 } else { 1.0 }
}

/// The object upside down in the water, broken by waves.
fn reflection(canvas: &mut Canvas, s: &Setting, noise: &Noise, object: &Placed<'_>) {
    let water = object.base - 0.055 * object.height - 0.006;
    let length = 0.55 * object.height;
    let level = object.sprite.blurred(object.height * SIDE_F, 1);
    let half = 0.5 * object.width + 0.03;
    let deep = s.ground[1];
    canvas.each([object.x - half, object.x + half], [water, water + length], |pixel, x, y| {
        let down = (y - water) / length;
        let bend = (noise.fine(x * 0.35, y * 2.4 + object.x) - 0.5) * (0.03 + 0.09 * down);
        let [r, g, b, alpha] = level.at(object.column(x + bend), 0.95 - 0.95 * down);
        let strength = 0.50 * (1.0 - down).max(0.0);
        let colour = mix(times([r, g, b], s.tint), times(deep, [alpha; 3]), 0.35);
        for c in 0..3 {
            pixel[c] += (colour[c] - pixel[c] * alpha) * strength;
        }
    });
    let [left, right] = object.foot();
    let (cx, rx) = (0.5 * (left + right), 0.5 * (right - left).max(0.5 * object.width) + 0.02);
    canvas.each([cx - rx, cx + rx], [water - 0.02, water + 0.03], |pixel, x, y| {
        let d = ((x - cx) / rx).powi(2) + ((y - water) / 0.025).powi(2);
        darken(pixel, s, 0.45 * smooth(1.0, 0.0, d));
    });
}

/// Light rings where an object meets the water.
fn ripples(canvas: &mut Canvas, s: &Setting, noise: &Noise, object: &Placed<'_>) {
    let [left, right] = object.foot();
    let water = object.base - 0.03 * object.height - 0.004;
    let (cx, rx) = (0.5 * (left + right), 0.5 * (right - left).max(0.45 * object.width) + 0.02);
    let bright = mix(s.sky[2], s.lit(0xFFFFFF), 0.6);
    let ry = 0.016 + 0.10 * rx;
    canvas.each([cx - 1.3 * rx, cx + 1.3 * rx], [water - 0.2 * ry, water + 1.5 * ry], |pixel, x, y| {
        let d = (((x - cx) / rx).powi(2) + ((y - water) / ry).powi(2)).sqrt();
        let ring = smooth(0.14, 0.0, (d - 0.9).abs()) + 0.5 * smooth(0.10, 0.0, (d - 1.2).abs());
        let broken = smooth(0.38, 0.62, noise.fine(x * 0.6, y * 1.8 + object.x));
        *pixel = mix(*pixel, bright, 0.65 * ring * broken);
    });
}
