//! What a corrector takes back: tokens that a full step finds least likely are masked again. Twins of `shaders/list_tokens.wgsl`,
//! `surprise.wgsl`, `remask.wgsl` and `wait_scores.wgsl`.

use super::{
    Binding, Buffers, Cost, Extent, Kernel, Slot, StepValues, math, shader::Permutation, split_workgroups,
};
use rayon::prelude::*;

const LANES: u32 = 256;

/// The positions of each image that are masked, or those that are not, in ascending order. `ids` and `list` are `[images, tokens]`.
#[derive(Debug, Clone)]
pub(crate) struct ListTokens {
    pub(crate) ids: Slot,
    pub(crate) list: Slot,
    pub(crate) images: u32,
    pub(crate) tokens: u32,
    /// The id of a masked position.
    pub(crate) mask: u32,
    pub(crate) wants_masked: bool,
}

impl Kernel for ListTokens {
    fn permutation(&self) -> Permutation {
        Permutation::new("list_tokens")
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(1, self.ids), Binding::update(2, self.list)]
    }

    fn params(&self, _: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&[self.tokens, self.mask, u32::from(self.wants_masked), 0]).to_vec()
    }

    fn workgroups(&self, _: &StepValues) -> [u32; 3] {
        [self.images, 1, 1]
    }

    fn cost(&self, _: &StepValues) -> Cost {
        Cost::new(0, 2 * u64::from(self.images * self.tokens))
    }

    fn describe(&self) -> String {
        let which = if self.wants_masked { "masked" } else { "known" };
        format!("[{} x {}], {which}", self.images, self.tokens)
    }

    fn run(&self, _: &StepValues, io: &mut Buffers<'_>) {
        let tokens = self.tokens as usize;
        for (ids, list) in io.u32(1).chunks_exact(tokens).zip(io.u32_mut(2).chunks_exact_mut(tokens)) {
            let wanted = (0..self.tokens)
                .filter(|&position| (ids[position as usize] == self.mask) == self.wants_masked);
            list.iter_mut().zip(wanted).for_each(|(entry, position)| *entry = position);
        }
    }
}

/// `scores[i, first + j] = -log softmax(z)[id]` for the token that stands at the j-th listed position, with z the logits
/// times the softmax temperature: the higher, the less the model would have expected it.
///
/// Shapes: `logits` is `[images * listed, codebook]`, guided already; `list`, `ids` and `scores` are `[images, tokens]`.
#[derive(Debug, Clone)]
pub(crate) struct Surprise {
    pub(crate) logits: Slot,
    pub(crate) list: Slot,
    pub(crate) ids: Slot,
    pub(crate) scores: Slot,
    pub(crate) images: u32,
    pub(crate) tokens: u32,
    /// Listed positions of an image that logits are of.
    pub(crate) listed: Extent,
    /// The first of them.
    pub(crate) first: u32,
    pub(crate) codebook: u32,
}

impl Kernel for Surprise {
    fn permutation(&self) -> Permutation {
        Permutation::new("surprise")
    }

    fn bindings(&self) -> Vec<Binding> {
        let scores =
            if self.first > 0 { Binding::update(4, self.scores) } else { Binding::write(4, self.scores) };
        vec![Binding::read(1, self.logits), Binding::read(2, self.list), Binding::read(3, self.ids), scores]
    }

    fn params(&self, step: &StepValues) -> Vec<u8> {
        let sizes = [self.images, self.tokens, self.listed.at(step), self.codebook];
        let [images, tokens, listed, codebook] = sizes;
        let temperature = step.softmax_temperature.to_bits();
        let all = [images, tokens, listed, codebook, temperature, self.first, 0, 0];
        bytemuck::bytes_of(&all).to_vec()
    }

    fn workgroups(&self, step: &StepValues) -> [u32; 3] {
        split_workgroups(self.images * self.listed.at(step))
    }

    fn cost(&self, step: &StepValues) -> Cost {
        let logits = u64::from(self.images * self.listed.at(step)) * u64::from(self.codebook);
        Cost::new(10 * logits, logits)
    }

    fn describe(&self) -> String {
        format!("[{} x {}, {}]", self.images, self.listed, self.codebook)
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        let (logits, list, ids, scores) = (io.f32(1), io.u32(2), io.u32(3), io.f32_mut(4));
        let (tokens, codebook) = (self.tokens as usize, self.codebook as usize);
        let (images, listed) = (self.images as usize, self.listed.at(step) as usize);
        for image in 0..images {
            let entries = image * tokens + self.first as usize..;
            let rows = scores[entries.clone()].par_iter_mut().take(listed).enumerate().with_min_len(4);
            rows.for_each(|(j, score)| {
                let row = image * listed + j;
                let logits = &logits[row * codebook..][..codebook];
                let z: Vec<f32> = logits.iter().map(|logit| logit * step.softmax_temperature).collect();
                let most = z.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let sum: f32 = z.iter().map(|z| math::exp(z - most)).sum();
                let id = ids[image * tokens + list[entries.start + j] as usize];
                *score = most + math::log(sum) - z[(id as usize).min(codebook - 1)];
            });
        }
    }
}

/// Masks the chosen tokens of a list again: `ids` of them become `mask`, and `aside` is 1 at their positions, else 0. All are
/// `[images, tokens]`; `list` and `chosen` by place.
#[derive(Debug, Clone)]
pub(crate) struct Remask {
    pub(crate) list: Slot,
    pub(crate) chosen: Slot,
    pub(crate) ids: Slot,
    pub(crate) aside: Slot,
    pub(crate) images: u32,
    pub(crate) tokens: u32,
    /// Listed positions of an image.
    pub(crate) listed: Extent,
    /// The id of a masked position.
    pub(crate) mask: u32,
}

impl Kernel for Remask {
    fn permutation(&self) -> Permutation {
        Permutation::new("remask")
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![
            Binding::read(1, self.list),
            Binding::read(2, self.chosen),
            Binding::update(3, self.ids),
            Binding::write(4, self.aside),
        ]
    }

    fn params(&self, step: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&[self.tokens, self.listed.at(step), self.mask, 0]).to_vec()
    }

    fn workgroups(&self, _: &StepValues) -> [u32; 3] {
        [self.images, 1, 1]
    }

    fn cost(&self, step: &StepValues) -> Cost {
        Cost::new(0, u64::from(self.images * (self.tokens + 3 * self.listed.at(step))))
    }

    fn describe(&self) -> String {
        format!("[{} x {}]", self.images, self.listed)
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        let (list, chosen, ids, aside) = (io.u32(1), io.u32(2), io.u32_mut(3), io.u32_mut(4));
        let (tokens, listed) = (self.tokens as usize, self.listed.at(step) as usize);
        aside.fill(0);
        for start in (0..self.images as usize).map(|image| image * tokens) {
            for entry in (start..start + listed).filter(|&entry| chosen[entry] != 0) {
                let at = start + list[entry] as usize;
                (ids[at], aside[at]) = (self.mask, 1);
            }
        }
    }
}

/// What those lose that are set aside: more than any score differs from another.
const LAST: f32 = 1_048_576.0;

/// `scores[i, j] -= 2^20` where the token is set aside, at predicted steps: their features know it as it was, and would draw the same
/// again. `aside` is `[images, tokens]` by position, `positions` and `scores` `[images, tokens]` by place.
#[derive(Debug, Clone)]
pub(crate) struct WaitScores {
    pub(crate) aside: Slot,
    pub(crate) positions: Slot,
    pub(crate) scores: Slot,
    pub(crate) images: u32,
    pub(crate) tokens: u32,
    /// Masked positions per image.
    pub(crate) masked: Extent,
}

impl Kernel for WaitScores {
    fn permutation(&self) -> Permutation {
        Permutation::new("wait_scores")
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(1, self.aside), Binding::read(2, self.positions), Binding::update(3, self.scores)]
    }

    fn params(&self, step: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&[self.images, self.tokens, self.masked.at(step), 0]).to_vec()
    }

    fn workgroups(&self, step: &StepValues) -> [u32; 3] {
        if step.predicted { [self.masked.at(step).div_ceil(LANES), self.images, 1] } else { [0; 3] }
    }

    fn cost(&self, step: &StepValues) -> Cost {
        let entries = u64::from(self.masked.at(step) * self.images);
        if step.predicted { Cost::new(entries, 3 * entries) } else { Cost::default() }
    }

    fn describe(&self) -> String {
        format!("[{} x {}]", self.images, self.masked)
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        let (aside, positions, scores) = (io.u32(1), io.u32(2), io.f32_mut(3));
        let (tokens, masked) = (self.tokens as usize, self.masked.at(step) as usize);
        for start in (0..self.images as usize).map(|image| image * tokens) {
            for entry in start..start + masked {
                if aside[start + positions[entry] as usize] != 0 {
                    scores[entry] -= LAST;
                }
            }
        }
    }
}
