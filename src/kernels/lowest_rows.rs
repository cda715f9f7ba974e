//! Which rows score lowest: what a cache recomputes. Twins of `shaders/row_max.wgsl` and `shaders/lowest_rows.wgsl`.

use super::{
    Binding, Buffers, Cost, Extent, Kernel, Slot, StepValues, math, shader::Permutation, split_workgroups,
};
use rayon::prelude::*;

/// `y[r] = max x[r]`. Shapes: `x` is `[rows, width]`, `y` `[rows]`.
#[derive(Debug, Clone)]
pub(crate) struct RowMax {
    pub(crate) x: Slot,
    pub(crate) y: Slot,
    pub(crate) rows: u32,
    pub(crate) width: u32,
}

/// Of each sequence, the rows of the `count` lowest scores, lowest first; of equal scores the lower row is first. Scores
/// are finite.
///
/// Shapes: `scores` is `[sequences, rows]`, `lowest` `[sequences, count]`: rows counted over all sequences.
#[derive(Debug, Clone)]
pub(crate) struct LowestRows {
    pub(crate) scores: Slot,
    pub(crate) lowest: Slot,
    pub(crate) sequences: u32,
    pub(crate) rows: u32,
    pub(crate) count: Extent,
}

/// Invocations of a workgroup of `lowest_rows`, a row each.
const LANES: u32 = 64;

impl Kernel for RowMax {
    fn permutation(&self) -> Permutation {
        Permutation::new("row_max")
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(1, self.x), Binding::write(2, self.y)]
    }

    fn params(&self, _: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&[self.rows, self.width, 0, 0]).to_vec()
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
        rows.zip(io.f32_mut(2)).with_min_len(16).for_each(|(x, y)| {
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

    fn params(&self, step: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&[self.sequences, self.rows, self.count.at(step), 0]).to_vec()
    }

    fn workgroups(&self, step: &StepValues) -> [u32; 3] {
        if self.count.at(step) == 0 { [0; 3] } else { [self.rows.div_ceil(LANES), self.sequences, 1] }
    }

    fn cost(&self, step: &StepValues) -> Cost {
        let [sequences, rows, count] = [self.sequences, self.rows, self.count.at(step)].map(u64::from);
        if count == 0 {
            return Cost::default();
        }
        Cost::new(sequences * rows * rows, sequences * (rows + count))
    }

    fn describe(&self) -> String {
        format!("{} x {} of {}", self.sequences, self.count, self.rows)
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        let (rows, count) = (self.rows as usize, self.count.at(step) as usize);
        let sequences = io.f32(1).chunks_exact(rows).zip(io.u32_mut(2).chunks_exact_mut(count));
        for (sequence, (scores, lowest)) in sequences.take(self.sequences as usize).enumerate() {
            lowest_rows(scores, lowest);
            lowest.iter_mut().for_each(|row| *row += sequence as u32 * self.rows);
        }
    }
}

/// The twin of `lowest_rows`, of one sequence.
pub(crate) fn lowest_rows(scores: &[f32], lowest: &mut [u32]) {
    let mut ranked: Vec<u32> = (0..scores.len() as u32).collect();
    // Both zeros are one score, as on the device.
    ranked.sort_by(|&a, &b| (scores[a as usize] + 0.0).total_cmp(&(scores[b as usize] + 0.0)));
    for (lowest, row) in lowest.iter_mut().zip(ranked) {
        *lowest = row;
    }
}
