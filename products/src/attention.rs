//! Attention of one head in f32, on processors with AVX-512.
//!
//! 32 queries stand side by side, in two vectors: scores are of twelve keys at a time, outputs of twelve columns, as products with packed
//! weights are. All scores of these queries stand in the cache, key by key, so that a softmax needs no sums across lanes.

use super::aligned::Aligned;
use super::x86::{by_rows, sums};
use super::{Rows, TALL, WIDE};
use std::arch::x86_64::*;
use std::cell::RefCell;

/// What a thread works with.
#[derive(Default)]
struct Scratch {
    /// Keys and values, row after row: where they come from rows may be pages apart, and in the same few places of a cache.
    operands: [Aligned<f32>; 2],
    /// `[width, 32]`.
    queries: Aligned<f32>,
    /// `[keys, 32]`.
    scores: Aligned<f32>,
    /// `[width, 32]`.
    outputs: Aligned<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// [`super::attend`] in f32.
///
/// # Safety
/// As there; the processor has AVX-512, operands are long enough, and there are keys.
pub(super) unsafe fn attend(operands: [Rows<'_>; 3], sizes: [usize; 3], scale: f32, y: (*mut f32, usize)) {
    // SAFETY: the caller's.
    SCRATCH.with_borrow_mut(|scratch| unsafe { scratch.attend(operands, sizes, scale, y) });
}

impl Scratch {
    #[target_feature(enable = "avx512f")]
    unsafe fn attend(
        &mut self,
        [query, key, value]: [Rows<'_>; 3],
        [queries, keys, width]: [usize; 3],
        scale: f32,
        (y, stride): (*mut f32, usize),
    ) {
        for (to, from) in self.operands.iter_mut().zip([key, value]) {
            to.reserve(keys * width);
            for (row, to) in to.chunks_exact_mut(width).enumerate() {
                to.copy_from_slice(&from.data[row * from.stride..][..width]);
            }
        }
        let [keys_at, values_at] = self.operands.each_ref().map(|operand| operand.as_ptr());
        self.queries.reserve(width * WIDE);
        self.scores.reserve(keys * WIDE);
        self.outputs.reserve(width * WIDE);
        for first in (0..queries).step_by(WIDE) {
            // What stands beside the last queries becomes nothing.
            let some = (queries - first).min(WIDE);
            for q in 0..some {
                let from = &query.data[(first + q) * query.stride..][..width];
                for (to, from) in self.queries[q..].iter_mut().step_by(WIDE).zip(from) {
                    *to = from * (scale * std::f32::consts::LOG2_E);
                }
            }
            // SAFETY: so many keys and columns are there, and place for what is made of them; `y` as the caller says.
            unsafe {
                let mut max = [_mm512_set1_ps(f32::NEG_INFINITY); 2];
                for at in (0..keys).step_by(TALL) {
                    let count = (keys - at).min(TALL);
                    let x = keys_at.add(at * width);
                    let to = self.scores.as_mut_ptr().add(at * WIDE);
                    SCORES[count - 1](width, x, self.queries.as_ptr(), to, &mut max);
                }
                let sums = softmax(&mut self.scores[..keys * WIDE], max);
                let shares = [
                    _mm512_div_ps(_mm512_set1_ps(1.0), sums[0]),
                    _mm512_div_ps(_mm512_set1_ps(1.0), sums[1]),
                ];
                for at in (0..width).step_by(TALL) {
                    let count = (width - at).min(TALL);
                    let x = values_at.add(at);
                    let to = self.outputs.as_mut_ptr().add(at * WIDE);
                    OUTPUTS[count - 1](keys, (x, width), self.scores.as_ptr(), to, shares);
                }
                for q in 0..some {
                    let to = std::slice::from_raw_parts_mut(y.add((first + q) * stride), width);
                    for (to, from) in to.iter_mut().zip(self.outputs[q..].iter().step_by(WIDE)) {
                        *to = *from;
                    }
                }
            }
        }
    }
}

/// The width, keys, what 32 queries have, where results go, the greatest scores so far.
type Scores = unsafe fn(usize, *const f32, *const f32, *mut f32, &mut [__m512; 2]);
/// How many keys, their values and how far apart these are, what 32 queries have, where results go, what they are multiplied by.
type Outputs = unsafe fn(usize, (*const f32, usize), *const f32, *mut f32, [__m512; 2]);
/// By the number of keys, from one on.
const SCORES: [Scores; TALL] = by_rows!(scores);
/// By the number of columns, from one on.
const OUTPUTS: [Outputs; TALL] = by_rows!(outputs);

/// Scores of `KEYS` keys, and the greatest so far of each query.
///
/// # Safety
/// The processor has AVX-512; keys of `width` are at `x`, one after the other, `[width, 32]` numbers at `queries`, and place for as many
/// aligned rows at `to`.
#[target_feature(enable = "avx512f")]
unsafe fn scores<const KEYS: usize>(
    width: usize,
    x: *const f32,
    queries: *const f32,
    to: *mut f32,
    max: &mut [__m512; 2],
) {
    // SAFETY: the caller's.
    unsafe {
        for (key, sums) in sums::<KEYS>(width, (x, width, 1), queries).iter().enumerate() {
            for half in 0..2 {
                max[half] = _mm512_max_ps(max[half], sums[half]);
                _mm512_store_ps(to.add(key * WIDE + 16 * half), sums[half]);
            }
        }
    }
}

/// `COLUMNS` columns of outputs, times `shares`.
///
/// # Safety
/// The processor has AVX-512; `keys` values of so many columns are at `x`, `[keys, 32]` numbers at `powers`, and place for as many aligned
/// rows at `to`.
#[target_feature(enable = "avx512f")]
unsafe fn outputs<const COLUMNS: usize>(
    keys: usize,
    (x, stride): (*const f32, usize),
    powers: *const f32,
    to: *mut f32,
    shares: [__m512; 2],
) {
    // SAFETY: the caller's.
    unsafe {
        for (column, sums) in sums::<COLUMNS>(keys, (x, 1, stride), powers).iter().enumerate() {
            for half in 0..2 {
                let output = _mm512_mul_ps(sums[half], shares[half]);
                _mm512_store_ps(to.add(column * WIDE + 16 * half), output);
            }
        }
    }
}

/// Scores become powers of two over the greatest; returns their sums.
///
/// # Safety
/// The processor has AVX-512, and scores are aligned rows of 32.
#[target_feature(enable = "avx512f")]
unsafe fn softmax(scores: &mut [f32], max: [__m512; 2]) -> [__m512; 2] {
    let mut sums = [_mm512_setzero_ps(); 2];
    for row in scores.chunks_exact_mut(WIDE) {
        for half in 0..2 {
            let at = row[16 * half..].as_mut_ptr();
            // SAFETY: a row has two vectors.
            unsafe {
                let power = power(_mm512_sub_ps(_mm512_load_ps(at), max[half]));
                sums[half] = _mm512_add_ps(sums[half], power);
                _mm512_store_ps(at, power);
            }
        }
    }
    sums
}

/// 2^x to 2 ulp for x in [-126, 0], and 2^-126 below: smaller powers are no normal numbers, and take a processor a hundred times as long. What
/// is no number stays none.
#[target_feature(enable = "avx512f")]
pub(super) fn power(x: __m512) -> __m512 {
    // Of two, one of which is no number, this takes the second.
    let x = _mm512_max_ps(_mm512_set1_ps(-126.0), x);
    let whole = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
    let f = _mm512_sub_ps(x, whole);
    let p = _mm512_fmadd_ps(_mm512_set1_ps(1.327_647_2e-3), f, _mm512_set1_ps(9.675_541e-3));
    let p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.550_713e-2));
    let p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.240_221_2));
    let p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.693_146_94));
    let p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0));
    _mm512_scalef_ps(p, whole)
}
