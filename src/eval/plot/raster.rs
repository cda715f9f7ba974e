//! Shapes as pixels: each is blended in by how much of a pixel it covers, as far as its distance tells.

use super::{Anchor, PAPER, Rgb, Shape};
use crate::generate::font;
use crate::generate::picture::Picture;

/// Pixels of a dash and of the gap after it, as in the SVG.
const DASH: f64 = 6.0;
const GAP: f64 = 4.0;

pub(super) fn draw([width, height]: [f64; 2], shapes: &[Shape], factor: u32) -> Picture {
    let factor = f64::from(factor.max(1));
    let (width, height) = ((width * factor).round() as u32, (height * factor).round() as u32);
    let rgb = PAPER.repeat((width * height) as usize);
    let mut canvas = Canvas { picture: Picture { width, height, rgb }, factor };
    shapes.iter().for_each(|shape| canvas.shape(shape));
    canvas.picture
}

struct Canvas {
    picture: Picture,
    factor: f64,
}

impl Canvas {
    fn shape(&mut self, shape: &Shape) {
        match shape {
            Shape::Line { from, to, width, colour, dashed } => {
                let (from, to) = (self.scaled(*from), self.scaled(*to));
                let reach = width * self.factor / 2.0;
                for [a, b] in if *dashed { self.dashes(from, to) } else { vec![[from, to]] } {
                    self.blend(&[a, b], reach, *colour, &|p| from_segment(p, a, b) - reach);
                }
            }
            Shape::Polygon { points, colour } => {
                let points: Vec<[f64; 2]> = points.iter().map(|point| self.scaled(*point)).collect();
                self.blend(&points, 0.0, *colour, &|p| outside(p, &points));
            }
            Shape::Circle { centre, radius, colour } => {
                let (centre, radius) = (self.scaled(*centre), radius * self.factor);
                self.blend(&[centre], radius, *colour, &|p| length(minus(p, centre)) - radius);
            }
            Shape::Text { at, anchor, size, colour, text, upwards } => {
                self.text(self.scaled(*at), *anchor, size * self.factor, *colour, text, *upwards);
            }
        }
    }

    fn scaled(&self, point: [f64; 2]) -> [f64; 2] {
        point.map(|v| v * self.factor)
    }

    fn dashes(&self, from: [f64; 2], to: [f64; 2]) -> Vec<[[f64; 2]; 2]> {
        let along = minus(to, from);
        let whole = length(along);
        let (dash, period) = (DASH * self.factor, (DASH + GAP) * self.factor);
        let at = |distance: f64| {
            let share = distance.min(whole) / whole;
            [from[0] + share * along[0], from[1] + share * along[1]]
        };
        (0..(whole / period).ceil() as u32)
            .map(|i| [at(f64::from(i) * period), at(f64::from(i) * period + dash)])
            .collect()
    }

    /// Colours every pixel near some points by its distance from what is drawn, negative inside.
    fn blend(&mut self, near: &[[f64; 2]], reach: f64, colour: Rgb, distance: &dyn Fn([f64; 2]) -> f64) {
        let range = |axis: usize, size: u32| {
            let ends = near.iter().map(|point| point[axis]);
            let (least, most) =
                ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
            let clamp = |v: f64| v.clamp(0.0, f64::from(size)) as u32;
            clamp((least - reach - 1.0).floor())..clamp((most + reach + 1.0).ceil())
        };
        for y in range(1, self.picture.height) {
            for x in range(0, self.picture.width) {
                let cover = 0.5 - distance([f64::from(x) + 0.5, f64::from(y) + 0.5]);
                self.mix(x, y, colour, cover.clamp(0.0, 1.0));
            }
        }
    }

    fn mix(&mut self, x: u32, y: u32, colour: Rgb, cover: f64) {
        if x >= self.picture.width || y >= self.picture.height {
            return;
        }
        let at = ((y * self.picture.width + x) * 3) as usize;
        for (value, ink) in self.picture.rgb[at..at + 3].iter_mut().zip(colour) {
            *value = (f64::from(*value) + cover * (f64::from(ink) - f64::from(*value))).round() as u8;
        }
    }

    /// Letters of square dots, a whole number of pixels wide.
    fn text(&mut self, at: [f64; 2], anchor: Anchor, size: f64, colour: Rgb, text: &str, upwards: bool) {
        // A font's size includes the space between lines: capitals are about 0.7 of it.
        let dot = (size * 0.8 / f64::from(font::HEIGHT)).round().max(1.0);
        let width = dot * f64::from(font::ADVANCE) * text.chars().count() as f64;
        let back = match anchor {
            Anchor::Start => 0.0,
            Anchor::Middle => width / 2.0,
            Anchor::End => width,
        };
        for (index, letter) in text.chars().enumerate() {
            let start = dot * f64::from(font::ADVANCE) * index as f64 - back;
            for (row, bits) in font::glyph(letter).into_iter().enumerate() {
                for column in (0..font::WIDTH).filter(|column| bits >> (font::WIDTH - 1 - column) & 1 == 1) {
                    let right = start + dot * f64::from(column);
                    let down =
                        dot * (row as f64 - f64::from(font::HEIGHT) + f64::from(font::descent(letter)));
                    let corner = if upwards {
                        [at[0] + down, at[1] - right - dot]
                    } else {
                        [at[0] + right, at[1] + down]
                    };
                    self.square(corner.map(|v| v.round().max(0.0) as u32), dot as u32, colour);
                }
            }
        }
    }

    fn square(&mut self, [left, top]: [u32; 2], side: u32, colour: Rgb) {
        for y in top..top + side {
            for x in left..left + side {
                self.mix(x, y, colour, 1.0);
            }
        }
    }
}

fn minus(a: [f64; 2], b: [f64; 2]) -> [f64; 2] {
    [a[0] - b[0], a[1] - b[1]]
}

fn length([x, y]: [f64; 2]) -> f64 {
    x.hypot(y)
}

fn from_segment(p: [f64; 2], a: [f64; 2], b: [f64; 2]) -> f64 {
    let (along, to) = (minus(b, a), minus(p, a));
    let square = along[0] * along[0] + along[1] * along[1];
    let share =
        if square == 0.0 { 0.0 } else { ((to[0] * along[0] + to[1] * along[1]) / square).clamp(0.0, 1.0) };
    length([to[0] - share * along[0], to[1] - share * along[1]])
}

/// How far outside of a convex polygon, clockwise on the screen, by its farthest edge.
fn outside(p: [f64; 2], points: &[[f64; 2]]) -> f64 {
    let next = points.iter().cycle().skip(1);
    let edges = points.iter().zip(next).map(|(&a, &b)| {
        let (along, to) = (minus(b, a), minus(p, a));
        (along[1] * to[0] - along[0] * to[1]) / length(along).max(1e-9)
    });
    edges.fold(f64::NEG_INFINITY, f64::max)
}
