//! Attention of one head in bf16 by AMX's tiles, softmax in f32.
//!
//! Keys and values are put into panels as weights are, values with the keys as what is summed over; 32 queries are treated together, their
//! scores and then their probabilities standing in the cache as a whole.

use super::aligned::Aligned;
use super::attention::power;
use super::x86::{lanes, narrow};
use super::{Rows, TILE_ROWS, WIDE, amx, pairs_of};
use std::arch::x86_64::*;
use std::cell::RefCell;

/// What a thread works with.
#[derive(Default)]
struct Scratch {
    /// `[keys / 32, width / 2, 32]` pairs along the width.
    keys: Aligned<u32>,
    /// `[width / 32, keys / 2, 32]` pairs along the keys.
    values: Aligned<u32>,
    /// `[32, width / 2]` pairs.
    queries: Aligned<u32>,
    /// `[32, keys]`.
    scores: Aligned<f32>,
    /// `[32, keys / 2]` pairs.
    shares: Aligned<u32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// [`super::attend`] by tiles.
///
/// # Safety
/// As there; the processor has tiles, operands are long enough, and there are keys.
pub(super) unsafe fn attend(operands: [Rows<'_>; 3], sizes: [usize; 3], scale: f32, y: (*mut f32, usize)) {
    // SAFETY: the caller's; a processor with tiles has all of AVX-512 that is used.
    SCRATCH.with_borrow_mut(|scratch| unsafe { scratch.attend(operands, sizes, scale, y) });
}

impl Scratch {
    #[target_feature(enable = "avx512f,avx512bf16,avx512bw")]
    unsafe fn attend(
        &mut self,
        [query, key, value]: [Rows<'_>; 3],
        [queries, keys, width]: [usize; 3],
        scale: f32,
        (y, stride): (*mut f32, usize),
    ) {
        let (pairs, along) = (pairs_of(width), pairs_of(keys));
        let (key_panels, value_panels) = (keys.div_ceil(WIDE), width.div_ceil(WIDE));
        let padded = key_panels * WIDE;
        self.keys.reserve(key_panels * pairs * WIDE);
        self.values.reserve(value_panels * along * WIDE);
        self.queries.reserve(TILE_ROWS * pairs);
        self.scores.reserve(TILE_ROWS * padded);
        self.shares.reserve(TILE_ROWS * along);
        // SAFETY: the processor has what the functions need; this thread has no other tiles, as nothing here runs in between.
        unsafe {
            pack_keys(&mut self.keys, key, [keys, width, pairs]);
            pack_values(&mut self.values, value, [keys, width, along]);
            let tiles = amx::Tiles::new();
            let mut products = amx::Sums::ZEROS;
            for first in (0..queries).step_by(TILE_ROWS) {
                let some = (queries - first).min(TILE_ROWS);
                for row in 0..some {
                    let from = &query.data[(first + row) * query.stride..][..width];
                    narrow(from, scale * std::f32::consts::LOG2_E, &mut self.queries[row * pairs..][..pairs]);
                }
                for panel in 0..key_panels {
                    let weights = self.keys[panel * pairs * WIDE..].as_ptr();
                    let to = self.scores[panel * WIDE..].as_mut_ptr();
                    tiles.product_to(pairs, self.queries.as_ptr(), weights, (to, padded));
                }
                let mut sums = [0.0; TILE_ROWS];
                for (row, sum) in sums.iter_mut().enumerate().take(some) {
                    let scores = &mut self.scores[row * padded..][..padded];
                    scores[keys..].fill(f32::NEG_INFINITY);
                    *sum = softmax(scores, &mut self.shares[row * along..][..along]);
                }
                for panel in 0..value_panels {
                    let weights = self.values[panel * along * WIDE..].as_ptr();
                    tiles.product_to(
                        along,
                        self.shares.as_ptr(),
                        weights,
                        (products.0.as_mut_ptr().cast(), WIDE),
                    );
                    let outputs = (width - panel * WIDE).min(WIDE);
                    for (row, (products, sum)) in products.0.iter().zip(&sums).enumerate().take(some) {
                        let to = y.add((first + row) * stride + panel * WIDE);
                        let to = std::slice::from_raw_parts_mut(to, outputs);
                        to.iter_mut().zip(products).for_each(|(to, product)| *to = product / sum);
                    }
                }
            }
        }
    }
}

/// Keys as what queries are multiplied by.
#[target_feature(enable = "avx512f,avx512bf16,avx512bw")]
unsafe fn pack_keys(panels: &mut [u32], rows: Rows<'_>, [keys, width, pairs]: [usize; 3]) {
    // From one pair of a key to the next; 16 of them are at hand at a time.
    let apart = _mm512_mullo_epi32(
        _mm512_set1_epi32(WIDE as i32),
        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    );
    let mut held = [0; 16];
    for key in 0..keys {
        let from = &rows.data[key * rows.stride..][..width];
        for block in 0..pairs / 16 {
            let at = ((key / WIDE) * pairs + 16 * block) * WIDE + key % WIDE;
            // SAFETY: 16 pairs, `WIDE` apart, are within the panel of this key.
            unsafe {
                narrow(&from[(32 * block).min(width)..], 1.0, &mut held);
                let pairs = _mm512_loadu_si512(held.as_ptr().cast());
                _mm512_i32scatter_epi32::<4>(panels[at..].as_mut_ptr().cast(), apart, pairs);
            }
        }
    }
}

/// Values as what probabilities are multiplied by: of two keys that follow one another, the numbers of one column are a pair.
#[target_feature(enable = "avx512f,avx512bf16,avx512bw")]
unsafe fn pack_values(panels: &mut [u32], rows: Rows<'_>, [keys, width, along]: [usize; 3]) {
    for pair in 0..along {
        for column in (0..width.next_multiple_of(WIDE)).step_by(16) {
            let [low, high] = [2 * pair, 2 * pair + 1].map(|key| {
                let left = if key < keys { width.saturating_sub(column) } else { 0 };
                let at = rows.data.as_ptr().wrapping_add(key * rows.stride + column);
                // SAFETY: what the mask leaves out is not read, and the rows are there; vectors of bits are of one size.
                unsafe {
                    let numbers = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(lanes(left), at));
                    _mm512_cvtepu16_epi32(std::mem::transmute::<__m256bh, __m256i>(numbers))
                }
            });
            let at = ((column / WIDE) * along + pair) * WIDE + column % WIDE;
            let both = _mm512_or_si512(low, _mm512_slli_epi32::<16>(high));
            // SAFETY: a panel has 32 pairs side by side.
            unsafe { _mm512_storeu_si512(panels[at..].as_mut_ptr().cast(), both) };
        }
    }
}

/// Powers of two of a row of scores, over the greatest of them, as pairs; zeros behind the last. Returns their sum.
#[target_feature(enable = "avx512f,avx512bf16,avx512bw")]
unsafe fn softmax(scores: &[f32], shares: &mut [u32]) -> f32 {
    let load = |at: usize| {
        // SAFETY: `at` is a multiple of 16 below the length, which is one of 32.
        unsafe { _mm512_loadu_ps(scores[at..].as_ptr()) }
    };
    let mut max = [_mm512_set1_ps(f32::NEG_INFINITY); 2];
    for at in (0..scores.len()).step_by(32) {
        max = [_mm512_max_ps(max[0], load(at)), _mm512_max_ps(max[1], load(at + 16))];
    }
    let max = _mm512_set1_ps(_mm512_reduce_max_ps(_mm512_max_ps(max[0], max[1])));
    let mut sums = [_mm512_setzero_ps(); 2];
    for (at, to) in (0..scores.len()).step_by(32).zip(shares.chunks_exact_mut(16)) {
        let powers = [at, at + 16].map(|at| power(_mm512_sub_ps(load(at), max)));
        sums = [_mm512_add_ps(sums[0], powers[0]), _mm512_add_ps(sums[1], powers[1])];
        // SAFETY: vectors of bits are of one size, and 16 pairs are at `to`.
        unsafe {
            let pairs: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(powers[1], powers[0]));
            _mm512_storeu_si512(to.as_mut_ptr().cast(), pairs);
        }
    }
    _mm512_reduce_add_ps(_mm512_add_ps(sums[0], sums[1]))
}
