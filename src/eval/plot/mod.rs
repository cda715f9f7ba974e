//! Drawings of what was measured: laid out once as shapes, then written as SVG (`svg`) or as pixels (`raster`, with letters of its
//! own, `font`). [`axes`] has what plots share that have axes. What is drawn is the business of others: `scenes_eval::plot` and
//! `figures`.

pub(crate) mod axes;
mod raster;
mod svg;

use crate::generate::picture::Picture;

/// A colour.
pub(crate) type Rgb = [u8; 3];

pub(crate) const INK: Rgb = [34, 34, 40];
pub(crate) const FAINT: Rgb = [120, 120, 128];
pub(crate) const GRID: Rgb = [228, 228, 233];
pub(crate) const PAPER: Rgb = [255, 255, 255];

/// How a text stands to its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// What a drawing is made of; lengths in pixels, y downwards.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape {
    Line {
        from: [f64; 2],
        to: [f64; 2],
        width: f64,
        colour: Rgb,
        dashed: bool,
    },
    /// Convex.
    Polygon {
        points: Vec<[f64; 2]>,
        colour: Rgb,
    },
    Circle {
        centre: [f64; 2],
        radius: f64,
        colour: Rgb,
    },
    /// `at` is on the base line; `upwards` turns it by a quarter to the left.
    Text {
        at: [f64; 2],
        anchor: Anchor,
        size: f64,
        colour: Rgb,
        text: String,
        upwards: bool,
    },
}

/// Shapes on paper, each over those before it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Drawing {
    /// Width and height, in pixels of the SVG.
    pub(crate) size: [f64; 2],
    pub(crate) shapes: Vec<Shape>,
}

impl Drawing {
    pub(crate) fn new(size: [f64; 2]) -> Self {
        Self { size, shapes: Vec::new() }
    }

    /// As SVG.
    pub(crate) fn to_svg(&self) -> String {
        svg::write(self.size, &self.shapes)
    }

    /// As pixels, `factor` times as many as the SVG has.
    pub(crate) fn to_picture(&self, factor: u32) -> Picture {
        raster::draw(self.size, &self.shapes, factor)
    }

    pub(crate) fn line(&mut self, from: [f64; 2], to: [f64; 2], width: f64, colour: Rgb, dashed: bool) {
        self.shapes.push(Shape::Line { from, to, width, colour, dashed });
    }

    pub(crate) fn circle(&mut self, centre: [f64; 2], radius: f64, colour: Rgb) {
        self.shapes.push(Shape::Circle { centre, radius, colour });
    }

    /// Between two corners.
    pub(crate) fn rectangle(&mut self, [left, top]: [f64; 2], [right, bottom]: [f64; 2], colour: Rgb) {
        let points = vec![[left, top], [right, top], [right, bottom], [left, bottom]];
        self.shapes.push(Shape::Polygon { points, colour });
    }

    pub(crate) fn text(&mut self, at: [f64; 2], anchor: Anchor, size: f64, colour: Rgb, text: &str) {
        let text = text.to_owned();
        self.shapes.push(Shape::Text { at, anchor, size, colour, text, upwards: false });
    }

    /// Turned by a quarter to the left, around its middle.
    pub(crate) fn text_upwards(&mut self, at: [f64; 2], size: f64, colour: Rgb, text: &str) {
        let text = text.to_owned();
        self.shapes.push(Shape::Text { at, anchor: Anchor::Middle, size, colour, text, upwards: true });
    }
}
