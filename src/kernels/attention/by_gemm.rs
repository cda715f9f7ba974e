//! Attention of a head through the `gemm` crate: for processors without vectors of our own, and for many keys.

use super::{Head, LANES, QUERIES};
use crate::kernels::math;
use std::cell::RefCell;

/// Keys whose scores stand in a thread's scratch at once: 1 MiB, within a core's second-level cache.
pub(super) const KEYS: usize = 2048;

thread_local! {
    /// Scores, key by key: the queries of a block stand side by side, so that the softmax needs no sums across lanes.
    static SCORES: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl Head<'_> {
    /// Writes `count` rows of `width` at `y`, `row` apart.
    ///
    /// # Safety
    /// `y` must be valid for those rows, and nothing else may use them meanwhile.
    pub(super) unsafe fn attend(&self, count: usize, keys: usize, y: *mut f32, row: usize) {
        let lanes = count.next_multiple_of(LANES);
        let step = keys.div_ceil(keys.div_ceil(KEYS));
        let mut softmax =
            Softmax { max: [f32::NEG_INFINITY; QUERIES], sum: [0.0; QUERIES], shrink: [0.0; QUERIES] };
        SCORES.with_borrow_mut(|scores| {
            scores.resize(scores.len().max(step * lanes), 0.0);
            for first in (0..keys).step_by(step) {
                let n = step.min(keys - first);
                let key = self.key.from(first, 0, n, self.width);
                let value = self.value.from(first, 0, n, self.width);
                let scores = &mut scores[..n * lanes];
                // SAFETY: scores is [n, lanes] with count <= lanes, the operands were cut to their sizes.
                unsafe {
                    product(
                        Size { m: count, n, k: self.width },
                        Strided { start: scores.as_mut_ptr(), rows: 1, columns: lanes },
                        Strided { start: self.query.data.as_ptr(), rows: self.query.stride, columns: 1 },
                        Strided { start: key.data.as_ptr(), rows: 1, columns: key.stride },
                        false,
                        self.scale * std::f32::consts::LOG2_E,
                    );
                }
                softmax.take(scores, lanes);
                if first > 0 {
                    // SAFETY: the rows that the caller lent.
                    unsafe { scale_rows(y, row, count, self.width, &softmax.shrink) };
                }
                // SAFETY: as above; y as the caller lent it.
                unsafe {
                    product(
                        Size { m: self.width, n: count, k: n },
                        Strided { start: y, rows: 1, columns: row },
                        Strided { start: value.data.as_ptr(), rows: 1, columns: value.stride },
                        Strided { start: scores.as_ptr(), rows: lanes, columns: 1 },
                        first > 0,
                        1.0,
                    );
                }
            }
        });
        // SAFETY: the rows that the caller lent.
        unsafe { scale_rows(y, row, count, self.width, &softmax.sum.map(f32::recip)) };
    }
}

/// What is carried from one block of keys to the next, for each query.
struct Softmax {
    max: [f32; QUERIES],
    sum: [f32; QUERIES],
    /// What earlier sums and outputs are multiplied by because the maximum has grown.
    shrink: [f32; QUERIES],
}

impl Softmax {
    /// Turns scores, rows of `lanes` queries, into exponentials.
    fn take(&mut self, scores: &mut [f32], lanes: usize) {
        math::simd(
            #[inline(always)]
            || {
                for lane in (0..lanes).step_by(LANES) {
                    self.strip(scores, lanes, lane);
                }
            },
        );
    }

    #[inline(always)]
    fn strip(&mut self, scores: &mut [f32], lanes: usize, lane: usize) {
        let mut max = [f32::NEG_INFINITY; LANES];
        max.copy_from_slice(&self.max[lane..lane + LANES]);
        for row in scores.chunks_exact(lanes) {
            let row = &row[lane..lane + LANES];
            for i in 0..LANES {
                max[i] = if row[i] > max[i] { row[i] } else { max[i] };
            }
        }
        let mut sum = [0.0; LANES];
        for i in 0..LANES {
            self.shrink[lane + i] = exp2_of_negative(self.max[lane + i] - max[i]);
            sum[i] = self.sum[lane + i] * self.shrink[lane + i];
        }
        for row in scores.chunks_exact_mut(lanes) {
            let row = &mut row[lane..lane + LANES];
            for i in 0..LANES {
                row[i] = exp2_of_negative(row[i] - max[i]);
                sum[i] += row[i];
            }
        }
        self.max[lane..lane + LANES].copy_from_slice(&max);
        self.sum[lane..lane + LANES].copy_from_slice(&sum);
    }
}

/// 2^x to 2 ulp for x in [-126, 0], and 2^-126 below: half the instructions of [`math::exp`], a sixth of the twin's time.
#[inline(always)]
pub(super) fn exp2_of_negative(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23, as in `math::exp`
    let x = if x < -126.0 { -126.0 } else { x };
    let shifted = x + ROUND;
    let f = x - (shifted - ROUND);
    let p = 1.327_647_2e-3_f32;
    let p = p * f + 9.675_541e-3;
    let p = p * f + 5.550_713e-2;
    let p = p * f + 0.240_221_2;
    let p = p * f + 0.693_146_94;
    let p = p * f + 1.0;
    // The low bits of the shifted number are the integer; shifted up, they add to p's exponent.
    f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// # Safety
/// `y` must be valid for `count` rows of `width`, `row` apart, and nothing else may use them meanwhile.
unsafe fn scale_rows(y: *mut f32, row: usize, count: usize, width: usize, factors: &[f32; QUERIES]) {
    for (i, factor) in factors[..count].iter().enumerate() {
        // SAFETY: as the caller promises.
        let y = unsafe { std::slice::from_raw_parts_mut(y.add(i * row), width) };
        y.iter_mut().for_each(|v| *v *= factor);
    }
}

/// `[m, k]` times `[k, n]`.
#[derive(Clone, Copy)]
struct Size {
    m: usize,
    n: usize,
    k: usize,
}

/// A matrix by its first element and the distances between rows and between columns.
#[derive(Clone, Copy)]
struct Strided<P> {
    start: P,
    rows: usize,
    columns: usize,
}

/// `y = a b * factor`, or `y += a b * factor` if `add`.
///
/// # Safety
/// The pointers must be valid for the matrices that size and strides describe, and `y` must be no part of the others.
unsafe fn product(
    size: Size,
    y: Strided<*mut f32>,
    a: Strided<*const f32>,
    b: Strided<*const f32>,
    add: bool,
    factor: f32,
) {
    // SAFETY: as the caller promises.
    unsafe {
        gemm::gemm(
            size.m,
            size.n,
            size.k,
            y.start,
            y.columns as isize,
            y.rows as isize,
            add,
            a.start,
            a.columns as isize,
            a.rows as isize,
            b.start,
            b.columns as isize,
            b.rows as isize,
            1.0,
            factor,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
