//! Exact choice of the k best-scored entries of each image. Twin of `shaders/top_k.wgsl`.
//!
//! Tie rule: of equal scores the entry that stands first in the list (the lower position) wins; NaN loses to
//! every number. So exactly k are chosen, always.

use super::{Binding, Buffers, Cost, Extent, Kernel, Slot, StepValues, shader::Permutation};

/// How many a choice takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Take {
    /// As many as the step reveals.
    Reveal,
    /// As many as it masks again.
    Remask,
}

impl Take {
    fn at(self, step: &StepValues) -> u32 {
        match self {
            Self::Reveal => step.reveal,
            Self::Remask => step.remask,
        }
    }
}

/// `chosen[i, j] = 1` for the best of the first m scores of image i, as many as are taken, else 0. Both are `[images, tokens]`.
#[derive(Debug, Clone)]
pub(crate) struct TopK {
    pub(crate) scores: Slot,
    pub(crate) chosen: Slot,
    pub(crate) images: u32,
    pub(crate) tokens: u32,
    /// Scores per image.
    pub(crate) masked: Extent,
    pub(crate) take: Take,
}

/// The shader's parameter block.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Params {
    pub(crate) images: u32,
    pub(crate) tokens: u32,
    pub(crate) masked: u32,
    pub(crate) reveal: u32,
}

const LANES: u32 = 256;

impl TopK {
    fn at(&self, step: &StepValues) -> Params {
        let (masked, reveal) = (self.masked.at(step), self.take.at(step));
        Params { images: self.images, tokens: self.tokens, masked, reveal }
    }
}

impl Kernel for TopK {
    fn permutation(&self) -> Permutation {
        Permutation::new("top_k")
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(1, self.scores), Binding::write(2, self.chosen)]
    }

    fn params(&self, step: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&self.at(step)).to_vec()
    }

    fn workgroups(&self, step: &StepValues) -> [u32; 3] {
        [self.masked.at(step).div_ceil(LANES), self.images, 1]
    }

    fn cost(&self, step: &StepValues) -> Cost {
        let masked = u64::from(self.masked.at(step));
        Cost::new(0, 2 * masked * u64::from(self.images))
    }

    fn describe(&self) -> String {
        format!("[{} x {}]", self.images, self.masked)
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        top_k(self.at(step), io.f32(1), io.u32_mut(2));
    }
}

/// The float as an integer of the same order; NaN is the lowest, and both zeros are one.
pub(crate) fn order(score: f32) -> u32 {
    if score.is_nan() {
        return 0;
    }
    let bits = (score + 0.0).to_bits();
    if bits >> 31 == 0 { bits | 0x8000_0000 } else { !bits }
}

/// The twin.
pub(crate) fn top_k(p: Params, scores: &[f32], chosen: &mut [u32]) {
    let (masked, reveal) = (p.masked as usize, p.reveal.min(p.masked) as usize);
    for image in 0..p.images as usize {
        let start = image * p.tokens as usize;
        let scores = &scores[start..][..masked];
        let chosen = &mut chosen[start..][..masked];
        let mut ranked: Vec<usize> = (0..masked).collect();
        ranked.sort_by_key(|&j| (std::cmp::Reverse(order(scores[j])), j));
        chosen.fill(0);
        for &j in &ranked[..reveal] {
            chosen[j] = 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_scores_the_first_wins_and_nan_loses() {
        let scores = [1.0, f32::NAN, 2.0, 1.0, -0.0, 0.0, 1.0];
        let mut chosen = [9; 7];
        top_k(Params { images: 1, tokens: 7, masked: 7, reveal: 3 }, &scores, &mut chosen);
        assert_eq!(chosen, [1, 0, 1, 1, 0, 0, 0]);
        top_k(Params { images: 1, tokens: 7, masked: 7, reveal: 5 }, &scores, &mut chosen);
        assert_eq!(chosen, [1, 0, 1, 1, 1, 0, 1]);
        top_k(Params { images: 1, tokens: 7, masked: 7, reveal: 7 }, &scores, &mut chosen);
        assert_eq!(chosen, [1; 7]);
    }
}
