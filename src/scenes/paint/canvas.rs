//! The canvas and the mixing of colours.

/// Pixels across and down.
pub(super) const SIDE: usize = 128;
/// The side as a number to calculate with.
pub(super) const SIDE_F: f32 = SIDE as f32;

/// Red, green, blue, from 0 to 1.
pub(super) type Rgb = [f32; 3];

/// A colour as it is written on the web.
pub(super) const fn rgb(hex: u32) -> Rgb {
    [(hex >> 16 & 255) as f32 / 255.0, (hex >> 8 & 255) as f32 / 255.0, (hex & 255) as f32 / 255.0]
}

#[inline]
pub(super) fn mix(a: Rgb, b: Rgb, t: f32) -> Rgb {
    [a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t]
}

/// Colour by colour.
#[inline]
pub(super) fn times(a: Rgb, b: Rgb) -> Rgb {
    [a[0] * b[0], a[1] * b[1], a[2] * b[2]]
}

#[inline]
pub(super) fn scaled(a: Rgb, by: f32) -> Rgb {
    [a[0] * by, a[1] * by, a[2] * by]
}

#[inline]
pub(super) fn plus(a: Rgb, b: Rgb, by: f32) -> Rgb {
    [a[0] + b[0] * by, a[1] + b[1] * by, a[2] + b[2] * by]
}

/// From 0 at `low` to 1 at `high`, level at both.
#[inline]
pub(super) fn smooth(low: f32, high: f32, x: f32) -> f32 {
    let t = ((x - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// A square of pixels.
pub(super) struct Canvas {
    pub(super) pixels: Vec<Rgb>,
}

impl Canvas {
    pub(super) fn new() -> Self {
        Self { pixels: vec![[0.0; 3]; SIDE * SIDE] }
    }

    #[inline]
    pub(super) fn at(&mut self, x: usize, y: usize) -> &mut Rgb {
        &mut self.pixels[y * SIDE + x]
    }

    #[inline]
    pub(super) fn blend(&mut self, x: usize, y: usize, colour: Rgb, alpha: f32) {
        let pixel = self.at(x, y);
        *pixel = mix(*pixel, colour, alpha);
    }

    /// The columns and rows that a box of shares touches.
    pub(super) fn span(low: f32, high: f32) -> std::ops::Range<usize> {
        let clamp = |v: f32| v.clamp(0.0, SIDE_F) as usize;
        clamp((low * SIDE_F).floor())..clamp((high * SIDE_F).ceil())
    }

    /// Calls `paint` with every pixel of a box and the place of its middle.
    pub(super) fn each(&mut self, x: [f32; 2], y: [f32; 2], mut paint: impl FnMut(&mut Rgb, f32, f32)) {
        let columns = Self::span(x[0], x[1]);
        for row in Self::span(y[0], y[1]) {
            let v = (row as f32 + 0.5) / SIDE_F;
            for column in columns.clone() {
                paint(&mut self.pixels[row * SIDE + column], (column as f32 + 0.5) / SIDE_F, v);
            }
        }
    }

    /// An ellipse with an edge of `soft` of its radius, one pixel at least.
    pub(super) fn ellipse(&mut self, centre: [f32; 2], radius: [f32; 2], soft: f32, colour: Rgb, alpha: f32) {
        let [cx, cy] = centre;
        let [rx, ry] = [radius[0].max(0.3 / SIDE_F), radius[1].max(0.3 / SIDE_F)];
        let edge = (1.0 / (rx.min(ry) * SIDE_F)).max(soft);
        let reach = 1.0 + edge;
        self.each([cx - rx * reach, cx + rx * reach], [cy - ry * reach, cy + ry * reach], |pixel, x, y| {
            let d = (((x - cx) / rx).powi(2) + ((y - cy) / ry).powi(2)).sqrt();
            let cover = ((1.0 - d) / edge + 0.5).clamp(0.0, 1.0);
            *pixel = mix(*pixel, colour, cover * alpha);
        });
    }

    /// A line with round ends; `width` in shares of the side at its start and its end.
    pub(super) fn stroke(&mut self, from: [f32; 2], to: [f32; 2], width: [f32; 2], colour: Rgb, alpha: f32) {
        let reach = width[0].max(width[1]) + 1.0 / SIDE_F;
        let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
        let length = (dx * dx + dy * dy).max(1e-9);
        let x = [from[0].min(to[0]) - reach, from[0].max(to[0]) + reach];
        let y = [from[1].min(to[1]) - reach, from[1].max(to[1]) + reach];
        self.each(x, y, |pixel, x, y| {
            let t = (((x - from[0]) * dx + (y - from[1]) * dy) / length).clamp(0.0, 1.0);
            let d = ((x - from[0] - t * dx).powi(2) + (y - from[1] - t * dy).powi(2)).sqrt();
            let half = 0.5 * (width[0] + (width[1] - width[0]) * t);
            // Thinner than a pixel is fainter, not thinner.
            let thin = (2.0 * half * SIDE_F).min(1.0);
            let cover = ((half - d) * SIDE_F + 0.5).clamp(0.0, 1.0).min(thin);
            *pixel = mix(*pixel, colour, cover * alpha);
        });
    }

    /// RGB bytes, `factor` pixels averaged to one each way.
    pub(super) fn bytes(&self, factor: usize) -> Vec<u8> {
        let size = SIDE / factor;
        let share = 255.0 / (factor * factor) as f32;
        let mut out = Vec::with_capacity(size * size * 3);
        for y in 0..size {
            for x in 0..size {
                let mut sum = [0.0; 3];
                for row in y * factor..(y + 1) * factor {
                    for pixel in &self.pixels[row * SIDE + x * factor..row * SIDE + (x + 1) * factor] {
                        sum = plus(sum, pixel.map(|c| c.clamp(0.0, 1.0)), 1.0);
                    }
                }
                out.extend(sum.map(|c| (c * share + 0.5) as u8));
            }
        }
        out
    }
}
