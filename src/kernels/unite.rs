//! The union of the tokens that a full step and the predicted steps after it reveal (ReCAP, arXiv 2505.19089). Twins of
//! `shaders/unite.wgsl`, `shaders/outside_union.wgsl` and `shaders/union_rows.wgsl`.

use super::top_k::order;
use super::{
    Binding, Buffers, Cost, Extent, ImagePlacement, Kernel, RowRange, Slot, StepValues, shader::Permutation,
};

/// Marks and lists the `step.unite` best-scored of each image's first m entries, the best first; ties are top_k's. Steps that unite
/// nothing leave both as they are.
///
/// All are `[images, tokens]`: `scores` and `positions` by entry, `marked` (0 or 1) by position, `listed` positions.
#[derive(Debug, Clone)]
pub(crate) struct Unite {
    pub(crate) scores: Slot,
    pub(crate) positions: Slot,
    pub(crate) marked: Slot,
    pub(crate) listed: Slot,
    pub(crate) images: u32,
    pub(crate) tokens: u32,
    /// Entries per image.
    pub(crate) masked: Extent,
}

/// At a predicted step of a union: entries that are not marked score lower than all that are. Other steps leave scores as they are.
///
/// All are `[images, tokens]`: `marked` by position, `positions` and `scores` by entry.
#[derive(Debug, Clone)]
pub(crate) struct OutsideUnion {
    pub(crate) marked: Slot,
    pub(crate) positions: Slot,
    pub(crate) scores: Slot,
    pub(crate) images: u32,
    pub(crate) tokens: u32,
    /// Entries per image.
    pub(crate) masked: Extent,
}

/// `y`: of each sequence its context's rows, then those of the listed tokens of image `sequence % images`, counted over all sequences.
///
/// Shapes: `listed` is `[images, tokens]`, `y` `[sequences, count]`.
#[derive(Debug, Clone)]
pub(crate) struct UnionRows {
    pub(crate) listed: Slot,
    pub(crate) y: Slot,
    pub(crate) images: u32,
    pub(crate) sequences: u32,
    pub(crate) tokens: u32,
    /// Rows of a sequence.
    pub(crate) length: u32,
    /// Rows of a sequence that come along.
    pub(crate) context: RowRange,
    pub(crate) placement: ImagePlacement,
    /// Rows to list of a sequence.
    pub(crate) count: Extent,
}

const LANES: u32 = 256;
const ROW_LANES: u32 = 64;

impl Kernel for Unite {
    fn permutation(&self) -> Permutation {
        Permutation::new("unite")
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![
            Binding::read(1, self.scores),
            Binding::read(2, self.positions),
            Binding::update(3, self.marked),
            Binding::update(4, self.listed),
        ]
    }

    fn params(&self, step: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&[self.images, self.tokens, self.masked.at(step), step.unite]).to_vec()
    }

    fn workgroups(&self, step: &StepValues) -> [u32; 3] {
        if step.unite == 0 { [0; 3] } else { [self.masked.at(step).div_ceil(LANES), self.images, 1] }
    }

    fn cost(&self, step: &StepValues) -> Cost {
        let entries = u64::from(self.masked.at(step)) * u64::from(self.images);
        if step.unite == 0 { Cost::default() } else { Cost::new(0, 4 * entries) }
    }

    fn describe(&self) -> String {
        format!("[{} x {}]", self.images, self.masked)
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        let (tokens, masked) = (self.tokens as usize, self.masked.at(step) as usize);
        let images = io.f32(1).chunks_exact(tokens).zip(io.u32(2).chunks_exact(tokens));
        let lists = io.u32_mut(3).chunks_exact_mut(tokens).zip(io.u32_mut(4).chunks_exact_mut(tokens));
        for ((scores, positions), (marked, listed)) in images.zip(lists) {
            unite(&scores[..masked], positions, step.unite, marked, listed);
        }
    }
}

/// The twin, of one image.
fn unite(scores: &[f32], positions: &[u32], unite: u32, marked: &mut [u32], listed: &mut [u32]) {
    let mut ranked: Vec<usize> = (0..scores.len()).collect();
    ranked.sort_by_key(|&entry| (std::cmp::Reverse(order(scores[entry])), entry));
    for (rank, entry) in ranked.into_iter().enumerate() {
        let chosen = rank < unite as usize;
        marked[positions[entry] as usize] = u32::from(chosen);
        if chosen {
            listed[rank] = positions[entry];
        }
    }
}

impl OutsideUnion {
    fn is_asked(step: &StepValues) -> bool {
        // A full step chooses a union of its own.
        step.united > 0 && step.unite == 0
    }
}

impl Kernel for OutsideUnion {
    fn permutation(&self) -> Permutation {
        Permutation::new("outside_union")
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(1, self.marked), Binding::read(2, self.positions), Binding::update(3, self.scores)]
    }

    fn params(&self, step: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&[self.images, self.tokens, self.masked.at(step), 0]).to_vec()
    }

    fn workgroups(&self, step: &StepValues) -> [u32; 3] {
        if Self::is_asked(step) { [self.masked.at(step).div_ceil(LANES), self.images, 1] } else { [0; 3] }
    }

    fn cost(&self, step: &StepValues) -> Cost {
        let entries = u64::from(self.masked.at(step)) * u64::from(self.images);
        if Self::is_asked(step) { Cost::new(0, 3 * entries) } else { Cost::default() }
    }

    fn describe(&self) -> String {
        format!("[{} x {}]", self.images, self.masked)
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        let (tokens, masked) = (self.tokens as usize, self.masked.at(step) as usize);
        let images = io.u32(1).chunks_exact(tokens).zip(io.u32(2).chunks_exact(tokens));
        for ((marked, positions), scores) in images.zip(io.f32_mut(3).chunks_exact_mut(tokens)) {
            for (position, score) in positions.iter().zip(scores).take(masked) {
                if marked[*position as usize] == 0 {
                    *score = f32::MIN;
                }
            }
        }
    }
}

impl UnionRows {
    fn rows(&self, step: &StepValues) -> u32 {
        self.sequences * self.count.at(step)
    }
}

impl Kernel for UnionRows {
    fn permutation(&self) -> Permutation {
        Permutation::new("union_rows")
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(1, self.listed), Binding::write(2, self.y)]
    }

    fn params(&self, step: &StepValues) -> Vec<u8> {
        let (RowRange { first, count: context }, ImagePlacement { start, columns }) =
            (self.context, self.placement);
        let (count, rows) = (self.count.at(step), self.rows(step));
        let params =
            [self.images, self.tokens, self.length, first, context, start, columns, count, rows, 0, 0, 0];
        bytemuck::bytes_of(&params).to_vec()
    }

    fn workgroups(&self, step: &StepValues) -> [u32; 3] {
        [self.rows(step).div_ceil(ROW_LANES), 1, 1]
    }

    fn cost(&self, step: &StepValues) -> Cost {
        Cost::new(0, 2 * u64::from(self.rows(step)))
    }

    fn describe(&self) -> String {
        format!("{} x {} of {}", self.sequences, self.count, self.length)
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        let (tokens, count) = (self.tokens as usize, self.count.at(step) as usize);
        let (listed, y) = (io.u32(1), io.u32_mut(2));
        let context = self.context.first..self.context.first + self.context.count;
        for (sequence, y) in y.chunks_exact_mut(count).enumerate().take(self.sequences as usize) {
            let listed = &listed[sequence % self.images as usize * tokens..][..tokens];
            let rows = context.clone().chain(listed.iter().map(|&token| self.placement.row(token)));
            for (y, row) in y.iter_mut().zip(rows) {
                *y = sequence as u32 * self.length + row;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_entries_are_marked_by_position_and_listed_by_rank() {
        // Positions 1, 4, 5 and 7 are masked; 4 and 7 tie.
        let positions = [1, 4, 5, 7, 0, 0, 0, 0];
        let (mut marked, mut listed) = ([9; 8], [9; 8]);
        unite(&[0.5, 2.0, f32::NAN, 2.0], &positions, 3, &mut marked, &mut listed);
        assert_eq!(marked, [9, 1, 9, 9, 1, 0, 9, 1]);
        assert_eq!(listed, [4, 7, 1, 9, 9, 9, 9, 9]);
    }
}
