//! Rotary position embedding (Su et al. 2021, arXiv 2104.09864), in the half-split form. Twin of `shaders/rope.wgsl`.

use super::{
    Binding, Buffers, Cost, Extent, ImagePlacement, Kernel, Slot, StepValues, math, shader::Permutation,
    split_workgroups,
};
use rayon::prelude::*;
use std::cell::RefCell;

/// Where the position of a row comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Positions {
    /// Sequences of `length` rows: the index of a row in its sequence.
    Absolute { length: u32 },
    /// In images of `entries` rows: the index for the first `prefix` of an image; after them row `prefix + j` stands where its
    /// token `image[j]` does, of a list of `tokens` an image.
    Listed { image: Slot, tokens: u32, entries: Extent, prefix: u32, placement: ImagePlacement },
    /// Of sequences of `length` rows, those of a list that counts over all sequences.
    OfRows { list: Slot, length: u32 },
}

/// Turns columns `k` and `k + half` of each head by `position * theta^(-k / half)`, in place.
///
/// `x` is `[rows, stride]`, of which columns `offset..offset + heads * head_width` are turned.
#[derive(Debug, Clone)]
pub(crate) struct Rope {
    pub(crate) x: Slot,
    pub(crate) positions: Positions,
    pub(crate) rows: Extent,
    pub(crate) stride: u32,
    pub(crate) offset: u32,
    pub(crate) heads: u32,
    /// Even, and at most [`Rope::MAX_HEAD_WIDTH`].
    pub(crate) head_width: u32,
    pub(crate) theta: f32,
}

/// Frequencies that a parameter block holds: one a pair of columns.
const FREQUENCIES: usize = 128;

/// The shader's parameter block.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Params {
    pub(crate) rows: u32,
    pub(crate) stride: u32,
    pub(crate) offset: u32,
    pub(crate) heads: u32,
    pub(crate) half: u32,
    pub(crate) length: u32,
    pub(crate) prefix: u32,
    pub(crate) start: u32,
    pub(crate) columns: u32,
    pub(crate) entries: u32,
    pub(crate) tokens: u32,
    pub(crate) unused: u32,
    /// From the host: a device's `pow` may be off by 1e-5, which at position 4,000 would be an angle.
    pub(crate) frequencies: [f32; FREQUENCIES],
}

const LANES: u32 = 128;

impl Rope {
    /// The widest head: its frequencies fill the parameter block.
    pub(crate) const MAX_HEAD_WIDTH: u32 = 2 * FREQUENCIES as u32;

    fn at(&self, step: &StepValues) -> Params {
        let half = self.head_width / 2;
        let rows = self.rows.at(step);
        let all = rows.max(1);
        let plain = ImagePlacement::PLAIN;
        let (length, entries, tokens, prefix, placement) = match self.positions {
            Positions::Absolute { length } => (length, all, 0, rows, plain),
            // No position of an image reaches so far.
            Positions::Listed { tokens, entries, prefix, placement, .. } => {
                (u32::MAX, entries.at(step).max(1), tokens, prefix, placement)
            }
            Positions::OfRows { length, .. } => (length, all, 0, 0, plain),
        };
        let mut frequencies = [0.0; FREQUENCIES];
        for (k, frequency) in frequencies.iter_mut().enumerate().take(half as usize) {
            *frequency = self.theta.powf(k as f32 / half as f32).recip();
        }
        Params {
            rows,
            stride: self.stride,
            offset: self.offset,
            heads: self.heads,
            half,
            length,
            prefix,
            start: placement.start,
            columns: placement.columns,
            entries,
            tokens,
            unused: 0,
            frequencies,
        }
    }

    fn pairs(&self, step: &StepValues) -> u32 {
        self.rows.at(step) * self.heads * (self.head_width / 2)
    }
}

impl Kernel for Rope {
    fn permutation(&self) -> Permutation {
        debug_assert!(self.head_width <= Self::MAX_HEAD_WIDTH, "{}", self.describe());
        Permutation::new("rope").flag("LISTED", !matches!(self.positions, Positions::Absolute { .. }))
    }

    fn bindings(&self) -> Vec<Binding> {
        let list = match self.positions {
            Positions::Absolute { .. } => None,
            Positions::Listed { image: list, .. } | Positions::OfRows { list, .. } => {
                Some(Binding::read(1, list))
            }
        };
        list.into_iter().chain([Binding::update(2, self.x)]).collect()
    }

    fn halves(&self) -> Vec<(&'static str, Vec<u32>)> {
        vec![("F16_X", vec![2])]
    }

    fn params(&self, step: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&self.at(step)).to_vec()
    }

    fn workgroups(&self, step: &StepValues) -> [u32; 3] {
        split_workgroups(self.pairs(step).div_ceil(LANES))
    }

    fn cost(&self, step: &StepValues) -> Cost {
        let pairs = u64::from(self.pairs(step));
        Cost::new(10 * pairs, 4 * pairs)
    }

    fn describe(&self) -> String {
        format!("[{}, {}], {} heads of {}", self.rows, self.stride, self.heads, self.head_width)
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        rope(&self.at(step), io.u32(1), io.f32_mut(2));
    }
}

/// The twin.
pub(crate) fn rope(p: &Params, image: &[u32], x: &mut [f32]) {
    let [stride, offset, half] = [p.stride, p.offset, p.half].map(|size| size as usize);
    let placement = ImagePlacement { start: p.start, columns: p.columns };
    let rows = p.rows as usize * stride;
    x[..rows].par_chunks_mut(stride).with_min_len(16).enumerate().for_each(|(row, x)| {
        let (of, row) = (row as u32 / p.entries, row as u32 % p.entries);
        let position = if row < p.prefix {
            row % p.length
        } else {
            placement.row(image[(of * p.tokens + row - p.prefix) as usize]) % p.length
        };
        let heads = &mut x[offset..][..p.heads as usize * 2 * half];
        TURNS.with_borrow_mut(|turns| {
            let (sines, cosines) = turns.at(position, &p.frequencies[..half]).split_at(half);
            math::simd(
                #[inline(always)]
                || {
                    for head in heads.chunks_exact_mut(2 * half) {
                        let (a, b) = head.split_at_mut(half);
                        for (((a, b), sin), cos) in a.iter_mut().zip(b).zip(sines).zip(cosines) {
                            (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                        }
                    }
                },
            );
        });
    });
}

thread_local! {
    static TURNS: RefCell<Turns> = RefCell::default();
}

/// Sines and cosines that a thread has computed: every layer of every step turns queries and keys by the same ones.
#[derive(Default)]
struct Turns {
    frequencies: Vec<f32>,
    known: Vec<bool>,
    /// For each position the sines, then the cosines.
    values: Vec<f32>,
}

impl Turns {
    /// Positions from here on are computed each time: no model's image reaches so far, and this bounds what is kept.
    const KEPT: usize = 8192;

    fn at(&mut self, position: u32, frequencies: &[f32]) -> &[f32] {
        if self.frequencies != frequencies {
            *self = Self { frequencies: frequencies.to_vec(), ..Self::default() };
        }
        let at = (position as usize).min(Self::KEPT);
        let half = frequencies.len();
        if at >= self.known.len() {
            self.known.resize(at + 1, false);
            self.values.resize((at + 1) * 2 * half, 0.0);
        }
        let values = &mut self.values[at * 2 * half..][..2 * half];
        if !self.known[at] {
            self.known[at] = at < Self::KEPT;
            let (sines, cosines) = values.split_at_mut(half);
            for ((sin, cos), frequency) in sines.iter_mut().zip(cosines).zip(frequencies) {
                (*sin, *cos) = (position as f32 * frequency).sin_cos();
            }
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::Turns;

    #[test]
    fn turns_that_are_kept_are_those_that_are_computed() {
        let mut turns = Turns::default();
        let last = Turns::KEPT as u32;
        for frequencies in [&[1.0, 0.1, 0.003][..], &[0.7, 0.2], &[1.0, 0.1, 0.003]] {
            for position in [5, 0, last, 5, last + 900, last - 1, last, 0] {
                let sines = frequencies.iter().map(|frequency| (position as f32 * frequency).sin());
                let cosines = frequencies.iter().map(|frequency| (position as f32 * frequency).cos());
                let wanted: Vec<f32> = sines.chain(cosines).collect();
                assert_eq!(turns.at(position, frequencies), wanted, "position {position}");
            }
            assert_eq!(turns.known.len(), Turns::KEPT + 1, "what is kept is bounded");
        }
    }
}
