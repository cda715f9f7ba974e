//! Scores by rank: for orders that are known in advance. Twin of `shaders/rank_scores.wgsl`.

use super::{Binding, Buffers, Cost, Extent, Kernel, Slot, StepValues, shader::Permutation};

/// `scores[i, j] = -ranks[positions[i, j]]` for the first m entries of each image; `ranks` is `[tokens]`, the others are
/// `[images, tokens]`. Steps that go by confidence leave the scores as they are.
#[derive(Debug, Clone)]
pub(crate) struct RankScores {
    pub(crate) ranks: Slot,
    pub(crate) positions: Slot,
    pub(crate) scores: Slot,
    pub(crate) images: u32,
    pub(crate) tokens: u32,
    /// Entries per image.
    pub(crate) masked: Extent,
}

const LANES: u32 = 256;

impl Kernel for RankScores {
    fn permutation(&self) -> Permutation {
        Permutation::new("rank_scores")
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(1, self.ranks), Binding::read(2, self.positions), Binding::update(3, self.scores)]
    }

    fn params(&self, step: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&[self.images, self.tokens, self.masked.at(step), 0]).to_vec()
    }

    fn workgroups(&self, step: &StepValues) -> [u32; 3] {
        if step.ranked { [self.masked.at(step).div_ceil(LANES), self.images, 1] } else { [0; 3] }
    }

    fn cost(&self, step: &StepValues) -> Cost {
        let entries = u64::from(self.masked.at(step)) * u64::from(self.images);
        if step.ranked { Cost::new(0, 3 * entries) } else { Cost::default() }
    }

    fn describe(&self) -> String {
        format!("[{} x {}]", self.images, self.masked)
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        let (tokens, masked) = (self.tokens as usize, self.masked.at(step) as usize);
        rank_scores([tokens, masked], io.u32(1), io.u32(2), io.f32_mut(3));
    }
}

/// The twin.
fn rank_scores([tokens, masked]: [usize; 2], ranks: &[u32], positions: &[u32], scores: &mut [f32]) {
    for (positions, scores) in positions.chunks_exact(tokens).zip(scores.chunks_exact_mut(tokens)) {
        for (position, score) in positions.iter().zip(scores).take(masked) {
            *score = -(ranks[(*position as usize).min(tokens - 1)] as f32);
        }
    }
}
