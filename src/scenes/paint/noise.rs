//! Smooth noise from tables that repeat: clouds, ridges, grass, sand. A scene looks at them at an offset and scale of its own.

use super::super::sprites::floor;
use crate::kernels::philox;

/// Side of a table; a power of two, because it wraps.
const SIDE: usize = 256;

/// Two tables of numbers between 0 and 1 with a mean near a half.
pub(in crate::scenes) struct Noise {
    /// Five octaves from a quarter of the table on: clouds, hills.
    soft: Vec<f32>,
    /// Three octaves from a thirty-second of the table on: grain.
    fine: Vec<f32>,
}

impl Noise {
    pub(in crate::scenes) fn new() -> Self {
        Self { soft: table(4, 5, 1), fine: table(32, 3, 2) }
    }

    /// The soft table; it repeats after 1.
    #[inline]
    pub(super) fn soft(&self, u: f32, v: f32) -> f32 {
        sample(&self.soft, u, v)
    }

    /// The fine table; it repeats after 1.
    #[inline]
    pub(super) fn fine(&self, u: f32, v: f32) -> f32 {
        sample(&self.fine, u, v)
    }
}

#[inline]
fn sample(table: &[f32], u: f32, v: f32) -> f32 {
    let ((x0, fx), (y0, fy)) = (floor(u * SIDE as f32), floor(v * SIDE as f32));
    let mask = SIDE - 1;
    let (x0, y0) = (x0 as usize & mask, y0 as usize & mask);
    let (x1, y1) = ((x0 + 1) & mask, (y0 + 1) & mask);
    let top = table[y0 * SIDE + x0] * (1.0 - fx) + table[y0 * SIDE + x1] * fx;
    let bottom = table[y1 * SIDE + x0] * (1.0 - fx) + table[y1 * SIDE + x1] * fx;
    top * (1.0 - fy) + bottom * fy
}

/// Octaves of value noise, the first with `cells` cells a side, stretched to reach from 0 to 1.
fn table(cells: usize, octaves: u32, stream: u32) -> Vec<f32> {
    let mut out = vec![0.0; SIDE * SIDE];
    for octave in 0..octaves {
        let cells = cells << octave;
        let lattice: Vec<f32> = (0..(cells * cells) as u32)
            .map(|i| philox::uniform(philox::philox([i, octave, stream, 0], [0x5CE0, 0])[0]))
            .collect();
        let amplitude = 0.5_f32.powi(octave as i32);
        for (i, value) in out.iter_mut().enumerate() {
            let place = |p: usize| {
                let at = p as f32 * cells as f32 / SIDE as f32;
                let t = at.fract();
                (at as usize % cells, (at as usize + 1) % cells, t * t * (3.0 - 2.0 * t))
            };
            let ((x0, x1, fx), (y0, y1, fy)) = (place(i % SIDE), place(i / SIDE));
            let row = |y: usize| lattice[y * cells + x0] * (1.0 - fx) + lattice[y * cells + x1] * fx;
            *value += amplitude * (row(y0) * (1.0 - fy) + row(y1) * fy);
        }
    }
    let low = out.iter().copied().fold(f32::INFINITY, f32::min);
    let high = out.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    out.iter_mut().for_each(|value| *value = (*value - low) / (high - low));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_wrap_without_a_seam_and_use_their_range() {
        let noise = Noise::new();
        for i in 0..50 {
            let v = i as f32 * 0.037;
            let step = (noise.soft(0.999_99, v) - noise.soft(1.000_01, v)).abs();
            assert!(step < 0.01, "a seam of {step} at {v}");
            assert!((noise.soft(-0.3, v) - noise.soft(0.7, v)).abs() < 1e-4);
        }
        for table in [&noise.soft, &noise.fine] {
            let mean = table.iter().sum::<f32>() / table.len() as f32;
            assert!((0.4..0.6).contains(&mean), "{mean}");
            assert!(table.iter().all(|value| (0.0..=1.0).contains(value)));
        }
    }
}
