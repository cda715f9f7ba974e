//! Things: where they stand, their colours, their shadows, and how they take the light.

use super::super::content::{Kind, Labels};
use super::super::draws::Draws;
use super::super::sprites::{SIZES, Sprite};
use super::canvas::{Rgb, SIDE, SIDE_F, mix, rgb, times};
use super::setting::{Light, Place};

/// A thing in its place, all of it on the grid of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) noun: usize,
    pub(super) colour: usize,
    /// Of [`SIZES`].
    pub(super) size: usize,
    pub(super) left: usize,
    pub(super) top: usize,
    pub(super) flipped: bool,
}

impl Placed {
    pub(super) fn side(&self) -> usize {
        SIZES[self.size]
    }

    fn base(&self) -> usize {
        self.top + self.side()
    }
}

/// Pixels along the side of a token.
pub(in crate::scenes) const TOKEN: usize = 8;
/// The first row that things stand on: below the horizon, wherever that is.
const FIRST_BASE: usize = 96;

/// Places the things of a scene, the farthest first. Of two, the sides are clear; a thing whose mirror image looks the same is not mirrored.
pub(super) fn layout(labels: &Labels, faces: impl Fn(usize) -> bool, draws: &mut Draws) -> Vec<Placed> {
    let objects = labels.objects();
    let count = objects.len();
    let size = match (labels.kind, count) {
        (Kind::One, _) => usize::from(draws.chance(0.5)),
        (_, 2) => 1,
        _ => 2,
    };
    let side = SIZES[size];
    let columns: Vec<(usize, usize)> = match count {
        1 => vec![(0, (SIDE - side) / TOKEN)],
        2 => vec![(0, 1), (8, 9)],
        _ => vec![(0, 0), (5, 6), (11, 11)],
    };
    let mut between = |low: usize, high: usize| low + draws.below(high + 1 - low);
    let mut placed: Vec<Placed> = objects
        .into_iter()
        .zip(columns)
        .map(|((noun, colour), (low, high))| {
            let left = between(low, high) * TOKEN;
            let base = between(FIRST_BASE.max(side + TOKEN) / TOKEN, SIDE / TOKEN - 1) * TOKEN;
            let flipped = between(0, 1) == 1 && faces(noun);
            Placed { noun, colour, size, left, top: base - side, flipped }
        })
        .collect();
    placed.sort_by_key(Placed::base);
    placed
}

/// What the seven colour words mean, as hue (turns) and share of a colour's saturation, in the order of the grammar.
const HUES: [(f32, f32); 7] =
    [(0.985, 0.88), (0.072, 0.92), (0.142, 0.90), (0.345, 0.74), (0.590, 0.82), (0.755, 0.66), (0.915, 0.52)];

/// A colour tinted by a colour word; black stays black, white stays white, shades stay shades.
pub(super) fn tinted(pixel: Rgb, colour: usize) -> Rgb {
    let Some(&(hue, strength)) = colour.checked_sub(1).and_then(|i| HUES.get(i)) else { return pixel };
    let [r, g, b] = pixel;
    let most = r.max(g).max(b);
    let saturation = (most - r.min(g).min(b)) / most.max(1e-6);
    let luminance = 0.30 * r + 0.59 * g + 0.11 * b;
    let value = 0.65 * most + 0.35 * luminance;
    // Greys of things that are grey by nature take the tint as well, dark lines and highlights do not.
    let body = ((most - 0.28) / 0.30).clamp(0.0, 1.0);
    let saturation =
        if most > 0.28 { (saturation * strength).max(strength * 0.58 * body) } else { saturation * 0.4 };
    let channel = |k: f32| {
        let k = (k + 6.0 * hue) % 6.0;
        let full = 1.0 - k.min(4.0 - k).clamp(0.0, 1.0);
        value * (1.0 - saturation.min(1.0) * (1.0 - full))
    };
    // Yellow looks as light as it is only when it is lighter.
    let lift = if colour == 3 { 1.12 } else { 1.0 };
    [channel(5.0), channel(3.0), channel(1.0)].map(|c| (c * lift).clamp(0.0, 1.0))
}

/// The colour that a sprite's own is called, 0 if none: where it is colourful and nearly all of its colour is of one hue. Tinted by
/// that word it would look the same, and a judge could not tell which it is.
pub(super) fn own_colour(sprite: &Sprite) -> usize {
    let (mut by_hue, mut count) = ([0.0; HUES.len()], 0.0);
    for &[r, g, b, a] in &sprite.sizes[1] {
        if a <= 128 {
            continue;
        }
        count += 1.0;
        let [r, g, b] = [r, g, b].map(|v| f32::from(v) / 255.0);
        let most = r.max(g).max(b);
        let chroma = most - r.min(g).min(b);
        if most <= 0.28 || chroma == 0.0 {
            continue;
        }
        let sixths = match most {
            _ if most == r => (g - b) / chroma,
            _ if most == g => (b - r) / chroma + 2.0,
            _ => (r - g) / chroma + 4.0,
        };
        let distance = |hue: f32| {
            let d = (sixths / 6.0 - hue).rem_euclid(1.0);
            d.min(1.0 - d)
        };
        let nearest = (0..HUES.len()).min_by(|&a, &b| distance(HUES[a].0).total_cmp(&distance(HUES[b].0)));
        by_hue[nearest.unwrap_or(0)] += chroma;
    }
    let sum: f32 = by_hue.iter().sum();
    let most = (0..HUES.len()).max_by(|&a, &b| by_hue[a].total_cmp(&by_hue[b])).unwrap_or(0);
    if sum > COLOURFUL * count && by_hue[most] > ONE_HUE * sum { most + 1 } else { 0 }
}

/// Mean chroma from which on a thing is colourful, and the share of it that is of one hue.
const COLOURFUL: f32 = 0.29;
const ONE_HUE: f32 = 0.85;

/// Paints a thing with its shadow, or standing in the water.
pub(super) fn paint(
    pixels: &mut [Rgb],
    sprite: &Sprite,
    thing: &Placed,
    own: usize,
    place: Place,
    light: Light,
) {
    shadow(pixels, sprite, thing, place, light);
    let (side, tint) = (thing.side(), light.tint());
    let art = &sprite.sizes[thing.size];
    // A thing in its own colour is as it was drawn.
    let colour = if thing.colour == own { 0 } else { thing.colour };
    for y in 0..side {
        let wet = place == Place::Sea && y + side / 10 >= side;
        for x in 0..side {
            let [r, g, b, a] = art[y * side + if thing.flipped { side - 1 - x } else { x }];
            if a == 0 {
                continue;
            }
            let shown = times(tinted([r, g, b].map(|v| f32::from(v) / 255.0), colour), tint);
            let cover = f32::from(a) / 255.0 * if wet { 0.35 } else { 1.0 };
            let pixel = &mut pixels[(thing.top + y) * SIDE + thing.left + x];
            *pixel = mix(*pixel, shown, cover);
        }
    }
}

/// The ellipse under a thing: dark on the ground, a bright ring on water.
fn shadow(pixels: &mut [Rgb], sprite: &Sprite, thing: &Placed, place: Place, light: Light) {
    let side = thing.side() as f32;
    let [left, right] = sprite.foot[thing.size];
    let [left, right] = if thing.flipped { [side - right, side - left] } else { [left, right] };
    let middle = thing.left as f32 + 0.5 * (left + right);
    let (rx, ry) = ((0.62 * (right - left)).max(0.24 * side), 0.085 * side);
    let sea = place == Place::Sea;
    let base = thing.base() as f32 - if sea { 0.09 } else { 0.02 } * side;
    let (low, high) = ((base - ry).max(0.0) as usize, ((base + ry).ceil().min(SIDE_F)) as usize);
    for y in low..high {
        let (from, to) = ((middle - rx).max(0.0) as usize, (middle + rx).ceil().min(SIDE_F) as usize);
        for x in from..to {
            let d = ((x as f32 + 0.5 - middle) / rx).powi(2) + ((y as f32 + 0.5 - base) / ry).powi(2);
            let pixel = &mut pixels[y * SIDE + x];
            if sea {
                let ring = (1.0 - (d.sqrt() - 0.86).abs() / 0.14).clamp(0.0, 1.0);
                *pixel = mix(*pixel, times(rgb(0xFF_FFFF), light.tint()), 0.55 * ring);
            } else {
                let dark = 1.0 - d.clamp(0.0, 1.0);
                *pixel = mix(*pixel, times(*pixel, [0.25, 0.26, 0.38]), 0.62 * dark * (2.0 - dark) * 0.8);
            }
        }
    }
}
