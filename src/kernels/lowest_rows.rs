//! Which rows score lowest: what a cache recomputes. Twins of `shaders/row_max.wgsl` and `shaders/lowest_rows.wgsl`.

use super::{Binding, Buffers, Cost, Kernel, Slot, StepValues, math, shader::Permutation, split_workgroups};
use rayon::prelude::*;

/// `y[first + r] = max x[r]`. Shapes: `x` is `[rows, width]`, `y` `[at least first + rows]`.
#[derive(Debug, Clone)]
pub(crate) struct RowMax {
    pub(crate) x: Slot,
    pub(crate) y: Slot,
    pub(crate) rows: u32,
    pub(crate) width: u32,
    /// Scores that other dispatches write before these.
    pub(crate) first: u32,
}

/// The rows of the `count` lowest scores, lowest first; of equal scores the lower row is first. Scores are finite.
///
/// Shapes: `scores` is `[rows]`, `lowest` `[count]`.
#[derive(Debug, Clone)]
pub(crate) struct LowestRows {
    pub(crate) scores: Slot,
    pub(crate) lowest: Slot,
    pub(crate) rows: u32,
    pub(crate) count: u32,
}

/// Invocations of a workgroup of `lowest_rows`, a row each.
const LANES: u32 = 64;

impl Kernel for RowMax {
    fn permutation(&self) -> Permutation {
        Permutation::new("row_max")
    }

    fn bindings(&self) -> Vec<Binding> {
        let y = if self.first == 0 { Binding::write(2, self.y) } else { Binding::update(2, self.y) };
        vec![Binding::read(1, self.x), y]
    }

    fn params(&self, _: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&[self.rows, self.width, self.first, 0]).to_vec()
    }

    fn workgroups(&self, _: &StepValues) -> [u32; 3] {
        split_workgroups(self.rows)
    }

    fn cost(&self, _: &StepValues) -> Cost {
        let elements = u64::from(self.rows) * u64::from(self.width);
        Cost::new(elements, elements + u64::from(self.rows))
    }

    fn describe(&self) -> String {
        format!("[{}, {}]", self.rows, self.width)
    }

    fn run(&self, _: &StepValues, io: &mut Buffers<'_>) {
        let width = self.width as usize;
        let rows = io.f32(1)[..self.rows as usize * width].par_chunks(width);
        rows.zip(&mut io.f32_mut(2)[self.first as usize..]).with_min_len(16).for_each(|(x, y)| {
            *y = math::simd(
                #[inline(always)]
                || x.iter().fold(f32::MIN, |most, &v| if v > most { v } else { most }),
            );
        });
    }
}

impl Kernel for LowestRows {
    fn permutation(&self) -> Permutation {
        Permutation::new("lowest_rows")
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(1, self.scores), Binding::write(2, self.lowest)]
    }

    fn params(&self, _: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&[self.rows, self.count, 0, 0]).to_vec()
    }

    fn workgroups(&self, _: &StepValues) -> [u32; 3] {
        [self.rows.div_ceil(LANES), 1, 1]
    }

    fn cost(&self, _: &StepValues) -> Cost {
        Cost::new(u64::from(self.rows) * u64::from(self.rows), u64::from(self.rows + self.count))
    }

    fn describe(&self) -> String {
        format!("{} of {}", self.count, self.rows)
    }

    fn run(&self, _: &StepValues, io: &mut Buffers<'_>) {
        lowest_rows(&io.f32(1)[..self.rows as usize], &mut io.u32_mut(2)[..self.count as usize]);
    }
}

/// The twin of `lowest_rows`.
pub(crate) fn lowest_rows(scores: &[f32], lowest: &mut [u32]) {
    let mut ranked: Vec<u32> = (0..scores.len() as u32).collect();
    // Both zeros are one score, as on the device.
    ranked.sort_by(|&a, &b| (scores[a as usize] + 0.0).total_cmp(&(scores[b as usize] + 0.0)));
    for (lowest, row) in lowest.iter_mut().zip(ranked) {
        *lowest = row;
    }
}
