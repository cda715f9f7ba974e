//! What backgrounds are drawn on: flat shapes, smooth gradients, edges without steps.
//!
//! Places are in pixels of a scene, from the top left; the canvas itself is [`FINE`] times as fine each way and is averaged in
//! the end, which makes edges smoother than a rasteriser's own coverage.

use tiny_skia::{
    Color, FillRule, GradientStop, LinearGradient, Paint, Path, PathBuilder, Pixmap, Point, RadialGradient,
    Rect, Shader, SpreadMode, Transform,
};

/// Pixels across and down of a scene.
pub(super) const SIDE: usize = 128;
/// The side as a number to calculate with.
pub(super) const SIDE_F: f32 = SIDE as f32;
/// Pixels of the canvas to one of the scene.
const FINE: usize = 2;

/// Red, green, blue, from 0 to 1, as they are shown.
pub(super) type Rgb = [f32; 3];

/// A colour as it is written on the web.
pub(super) const fn rgb(hex: u32) -> Rgb {
    [(hex >> 16 & 255) as f32 / 255.0, (hex >> 8 & 255) as f32 / 255.0, (hex & 255) as f32 / 255.0]
}

/// From one colour to another.
pub(super) fn mix(a: Rgb, b: Rgb, t: f32) -> Rgb {
    std::array::from_fn(|c| a[c] + (b[c] - a[c]) * t)
}

/// Colour by colour, at most white.
pub(super) fn times(a: Rgb, b: Rgb) -> Rgb {
    std::array::from_fn(|c| (a[c] * b[c]).min(1.0))
}

/// A canvas.
pub(super) struct Canvas {
    map: Pixmap,
}

impl Canvas {
    /// None where there is no memory for it.
    pub(super) fn new() -> Option<Self> {
        let side = (SIDE * FINE) as u32;
        Some(Self { map: Pixmap::new(side, side)? })
    }

    fn fill(&mut self, path: Option<Path>, shader: Shader<'_>) {
        // A shape without area has no path, and nothing of it is seen.
        let Some(path) = path else { return };
        let paint = Paint { shader, anti_alias: true, ..Paint::default() };
        let scale = Transform::from_scale(FINE as f32, FINE as f32);
        self.map.fill_path(&path, &paint, FillRule::Winding, scale, None);
    }

    /// A shape of one colour.
    fn flat(&mut self, path: Option<Path>, colour: Rgb, alpha: f32) {
        self.fill(path, Shader::SolidColor(with_alpha(colour, alpha)));
    }

    /// A rectangle.
    pub(super) fn rectangle(
        &mut self,
        [left, top]: [f32; 2],
        [width, height]: [f32; 2],
        colour: Rgb,
        alpha: f32,
    ) {
        let path = Rect::from_xywh(left, top, width, height).map(PathBuilder::from_rect);
        self.flat(path, colour, alpha);
    }

    /// A rectangle with round ends.
    pub(super) fn bar(&mut self, [left, top]: [f32; 2], [width, height]: [f32; 2], colour: Rgb, alpha: f32) {
        let r = 0.5 * height.min(width);
        self.ellipse([left + r, top + 0.5 * height], [r, 0.5 * height], colour, alpha);
        self.ellipse([left + width - r, top + 0.5 * height], [r, 0.5 * height], colour, alpha);
        self.rectangle([left + r, top], [width - 2.0 * r, height], colour, alpha);
    }

    /// An ellipse.
    pub(super) fn ellipse(&mut self, [x, y]: [f32; 2], [rx, ry]: [f32; 2], colour: Rgb, alpha: f32) {
        let path = Rect::from_xywh(x - rx, y - ry, 2.0 * rx, 2.0 * ry).and_then(PathBuilder::from_oval);
        self.flat(path, colour, alpha);
    }

    /// A polygon.
    pub(super) fn polygon(&mut self, points: &[[f32; 2]], colour: Rgb, alpha: f32) {
        self.flat(outline(points), colour, alpha);
    }

    /// Light around a point, fading to nothing at `radius`.
    pub(super) fn glow(&mut self, [x, y]: [f32; 2], radius: f32, colour: Rgb, alpha: f32) {
        let stops = [1.0, 0.45, 0.12, 0.0];
        let stops = stops
            .iter()
            .enumerate()
            .map(|(i, share)| GradientStop::new(i as f32 / 3.0, with_alpha(colour, alpha * share)));
        let at = Point::from_xy(x, y);
        let shader =
            RadialGradient::new(at, 0.0, at, radius, stops.collect(), SpreadMode::Pad, Transform::identity());
        let path = Rect::from_xywh(x - radius, y - radius, 2.0 * radius, 2.0 * radius);
        if let Some(shader) = shader {
            self.fill(path.and_then(PathBuilder::from_oval), shader);
        }
    }

    /// Everything from row `top` to `bottom`, in colours from above to below.
    pub(super) fn gradient(&mut self, top: f32, bottom: f32, colours: &[Rgb]) {
        let path = Rect::from_xywh(0.0, top, SIDE_F, bottom - top).map(PathBuilder::from_rect);
        self.shaded(path, top, bottom, colours);
    }

    /// Everything below a curve, in colours from row `top` to `bottom`.
    pub(super) fn land(&mut self, curve: impl Fn(f32) -> f32, top: f32, bottom: f32, colours: &[Rgb]) {
        let mut points: Vec<[f32; 2]> = (0..=64).map(|i| [2.0 * i as f32, curve(2.0 * i as f32)]).collect();
        points.extend([[SIDE_F, SIDE_F], [0.0, SIDE_F]]);
        self.shaded(outline(&points), top, bottom, colours);
    }

    fn shaded(&mut self, path: Option<Path>, top: f32, bottom: f32, colours: &[Rgb]) {
        let last = colours.len().saturating_sub(1).max(1) as f32;
        let stops = colours.iter().enumerate();
        let stops = stops.map(|(i, &colour)| GradientStop::new(i as f32 / last, with_alpha(colour, 1.0)));
        let (from, to) = (Point::from_xy(0.0, top), Point::from_xy(0.0, bottom));
        let shader = LinearGradient::new(from, to, stops.collect(), SpreadMode::Pad, Transform::identity());
        if let Some(shader) = shader {
            self.fill(path, shader);
        }
    }

    /// RGB of the scene's pixels, row by row.
    pub(super) fn pixels(&self) -> Vec<Rgb> {
        let fine = self.map.pixels();
        let share = 1.0 / (255.0 * (FINE * FINE) as f32);
        let pixel = |i: usize| {
            let (x, y) = (i % SIDE * FINE, i / SIDE * FINE);
            let mut sum = [0_u32; 3];
            for row in y..y + FINE {
                for p in &fine[row * SIDE * FINE + x..][..FINE] {
                    // The sky covers everything, so nothing is transparent.
                    for (sum, value) in sum.iter_mut().zip([p.red(), p.green(), p.blue()]) {
                        *sum += u32::from(value);
                    }
                }
            }
            sum.map(|sum| sum as f32 * share)
        };
        (0..SIDE * SIDE).map(pixel).collect()
    }
}

fn with_alpha([r, g, b]: Rgb, alpha: f32) -> Color {
    let clamp = |v: f32| v.clamp(0.0, 1.0);
    Color::from_rgba(clamp(r), clamp(g), clamp(b), clamp(alpha)).unwrap_or(Color::BLACK)
}

fn outline(points: &[[f32; 2]]) -> Option<Path> {
    let mut path = PathBuilder::new();
    let (&[x, y], rest) = points.split_first()?;
    path.move_to(x, y);
    rest.iter().for_each(|&[x, y]| path.line_to(x, y));
    path.close();
    path.finish()
}
