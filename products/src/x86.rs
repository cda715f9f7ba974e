//! Products by packed weights on processors with AVX-512.

use super::{Aligned, Finish, Packed, Panels, TALL, TILE_ROWS, WIDE, amx, pairs_of, part, parts};
use rayon::prelude::*;
use std::arch::x86_64::*;

/// The tiles of one kind by the number of rows, from one on.
macro_rules! by_rows {
    ($tile:ident) => {
        [
            $tile::<1>,
            $tile::<2>,
            $tile::<3>,
            $tile::<4>,
            $tile::<5>,
            $tile::<6>,
            $tile::<7>,
            $tile::<8>,
            $tile::<9>,
            $tile::<10>,
            $tile::<11>,
            $tile::<12>,
        ]
    };
}
pub(super) use by_rows;

/// Multiply-adds below which threads are not worth waking.
const SMALL: usize = 1 << 16;
/// Rows of a task, at most.
const TASK_ROWS: usize = 192;

/// Where results go. Tasks write different rows or columns.
struct Results(*mut f32);

// SAFETY: no two tasks have an element of the result in common.
unsafe impl Sync for Results {}

impl Results {
    /// The place of an element within.
    ///
    /// # Safety
    /// It is within what the pointer was made from.
    unsafe fn at(&self, index: usize) -> *mut f32 {
        // SAFETY: the caller's.
        unsafe { self.0.add(index) }
    }
}

pub(super) fn product(
    packed: &Packed,
    threads: usize,
    (rows, x): (usize, &[f32]),
    (y, y_stride): (&mut [f32], usize),
    accumulate: bool,
    finish: Finish<'_>,
) {
    let Packed { inner, outer, .. } = *packed;
    let by_tiles = packed.tiles && matches!(packed.panels, Panels::Bf16(_));
    let tall = if by_tiles { TILE_ROWS } else { TALL };
    let (tiles, panels) = (rows.div_ceil(tall), outer.div_ceil(WIDE));
    let [high, wide] = parts(tiles, panels, threads, TASK_ROWS / tall);
    let results = Results(y.as_mut_ptr());
    let task = |narrowed: &mut Aligned<u32>, task: usize| {
        let of_rows = part(tiles, task / wide, high);
        let (first, last) = (of_rows.start * tall, (of_rows.end * tall).min(rows));
        let of_panels = part(panels, task % wide, wide);
        let pairs = pairs_of(inner);
        if let Panels::Bf16(_) = packed.panels {
            // Whole tiles: what stands in rows behind the last becomes nothing.
            narrowed.reserve((last - first).next_multiple_of(tall) * pairs);
            for row in first..last {
                // SAFETY: weights are packed in bf16 only where the processor multiplies it.
                unsafe {
                    narrow(&x[row * inner..][..inner], 1.0, &mut narrowed[(row - first) * pairs..][..pairs]);
                };
            }
        }
        // SAFETY: `has_tiles` has said so.
        let mut tiles = by_tiles.then(|| (unsafe { amx::Tiles::new() }, amx::Sums::ZEROS));
        for panel in of_panels.clone() {
            let outputs = (outer - panel * WIDE).min(WIDE);
            for row in (first..last).step_by(tall) {
                let some = (last - row).min(tall);
                // SAFETY: `Packed::product` has asked that the result has this row and these outputs of it. Weights are packed only where
                // the processor has the features; so many rows and a panel of weights are there.
                unsafe {
                    let y = (results.at(row * y_stride + panel * WIDE), y_stride);
                    match &packed.panels {
                        Panels::F32(weights) => {
                            let (x, weights) = (&x[row * inner..], &weights[panel * inner * WIDE..]);
                            IN_F32[some - 1](inner, x.as_ptr(), weights.as_ptr(), y, outputs, accumulate);
                        }
                        Panels::Bf16(weights) => {
                            let x = narrowed[(row - first) * pairs..].as_ptr();
                            let weights = weights[panel * pairs * WIDE..].as_ptr();
                            if let Some((tiles, sums)) = &mut tiles {
                                if some == TILE_ROWS && outputs == WIDE && !accumulate {
                                    tiles.product_to(pairs, x, weights, y);
                                } else {
                                    tiles.product_to(pairs, x, weights, (sums.0.as_mut_ptr().cast(), WIDE));
                                    store_rows(&sums.0[..some], y, outputs, accumulate);
                                }
                            } else {
                                IN_BF16[some - 1](pairs, x, weights, y, outputs, accumulate);
                            }
                        }
                    }
                }
            }
        }
        drop(tiles);
        let (start, end) = (of_panels.start * WIDE, (of_panels.end * WIDE).min(outer));
        for row in first..last {
            // SAFETY: as above; this task alone has these.
            let values =
                unsafe { std::slice::from_raw_parts_mut(results.at(row * y_stride + start), end - start) };
            finish(row, start, values);
        }
    };
    if threads == 1 || rows * inner * outer < SMALL {
        (0..high * wide).for_each(|index| task(&mut Aligned::default(), index));
    } else {
        (0..high * wide).into_par_iter().for_each_init(Aligned::default, task);
    }
}

/// Numbers times `scale` as pairs of bf16, rounded to the nearest, ties to even; zeros behind the last, to a multiple of 16 pairs.
///
/// # Safety
/// The processor multiplies bf16.
#[target_feature(enable = "avx512f,avx512bf16,avx512bw")]
pub(super) unsafe fn narrow(from: &[f32], scale: f32, to: &mut [u32]) {
    let factor = _mm512_set1_ps(scale);
    for (i, to) in to.chunks_exact_mut(16).enumerate() {
        let [low, high] = [32 * i, 32 * i + 16].map(|at| {
            let left = from.len().saturating_sub(at);
            // SAFETY: what the mask leaves out is not read.
            let numbers = unsafe { _mm512_maskz_loadu_ps(lanes(left), from.as_ptr().wrapping_add(at)) };
            _mm512_mul_ps(numbers, factor)
        });
        // SAFETY: vectors of bits are of one size, and 16 pairs are at `to`.
        unsafe {
            let pairs: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
            _mm512_storeu_si512(to.as_mut_ptr().cast(), pairs);
        }
    }
}

/// The lowest `count` of sixteen lanes, or all.
pub(super) fn lanes(count: usize) -> __mmask16 {
    ((1_u32 << count.min(16)) - 1) as __mmask16
}

/// Rows by a panel: how long both are, the rows, the panel, where results go and how far apart, how many outputs of a row are written, and
/// whether they are added.
type Tile<T> = unsafe fn(usize, *const T, *const T, (*mut f32, usize), usize, bool);

const IN_F32: [Tile<f32>; TALL] = by_rows!(in_f32);
const IN_BF16: [Tile<u32>; TALL] = by_rows!(in_bf16);

/// Writes or adds the first `outputs` sums of each row.
///
/// # Safety
/// The processor has AVX-512, and `outputs` results, 1 to [`WIDE`], are at every row of `y`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn store(sums: &[[__m512; 2]], (y, y_stride): (*mut f32, usize), outputs: usize, accumulate: bool) {
    for (row, sums) in sums.iter().enumerate() {
        for (half, &sum) in sums.iter().enumerate() {
            let mask = lanes(outputs.saturating_sub(16 * half));
            // SAFETY: what the mask leaves out is neither read nor written.
            unsafe {
                let at = y.wrapping_add(row * y_stride + 16 * half);
                let before = if accumulate { _mm512_maskz_loadu_ps(mask, at) } else { _mm512_setzero_ps() };
                _mm512_mask_storeu_ps(at, mask, _mm512_add_ps(before, sum));
            }
        }
    }
}

/// [`store`] of sums in memory.
///
/// # Safety
/// As there.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn store_rows(sums: &[[f32; WIDE]], y: (*mut f32, usize), outputs: usize, accumulate: bool) {
    for (row, sums) in sums.iter().enumerate() {
        let at = sums.as_ptr();
        // SAFETY: a row has two vectors; the results are the caller's.
        unsafe {
            let sums = [[_mm512_loadu_ps(at), _mm512_loadu_ps(at.add(16))]];
            store(&sums, (y.0.wrapping_add(row * y.1), y.1), outputs, accumulate);
        }
    }
}

/// `ROWS` rows of `inner` numbers each, one after the other at `x`, by a panel; `outputs` of each row are written.
///
/// # Safety
/// The processor has AVX-512. `ROWS * inner` numbers are at `x`, `inner * WIDE` in the panel, and `outputs` results, 1 to [`WIDE`], at
/// every row of `y`.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn in_f32<const ROWS: usize>(
    inner: usize,
    x: *const f32,
    panel: *const f32,
    y: (*mut f32, usize),
    outputs: usize,
    accumulate: bool,
) {
    // SAFETY: the caller's.
    unsafe { store(&sums::<ROWS>(inner, (x, inner, 1), panel), y, outputs, accumulate) };
}

/// The sums of `ROWS` rows of `inner` numbers by a panel; from a row of `x` to the next are `row` numbers, from one number to the next `along`.
///
/// # Safety
/// The processor has AVX-512. These numbers are at `x`, and `inner * WIDE` in the panel.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn sums<const ROWS: usize>(
    inner: usize,
    (x, row, along): (*const f32, usize, usize),
    panel: *const f32,
) -> [[__m512; 2]; ROWS] {
    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
    for i in 0..inner {
        // SAFETY: a panel has `WIDE` numbers for each of a row.
        let (low, high) =
            unsafe { (_mm512_loadu_ps(panel.add(i * WIDE)), _mm512_loadu_ps(panel.add(i * WIDE + 16))) };
        for (index, sums) in sums.iter_mut().enumerate() {
            // SAFETY: a row has so many numbers.
            let own = unsafe { _mm512_set1_ps(*x.add(index * row + i * along)) };
            sums[0] = _mm512_fmadd_ps(own, low, sums[0]);
            sums[1] = _mm512_fmadd_ps(own, high, sums[1]);
        }
    }
    sums
}

/// `ROWS` rows of `pairs` pairs each, one after the other at `x`, by a panel.
///
/// # Safety
/// The processor multiplies bf16. `ROWS * pairs` pairs are at `x`, `pairs * WIDE` at `weights`, and `outputs` results, 1 to [`WIDE`],
/// at every row of `y`.
#[target_feature(enable = "avx512f,avx512bf16,avx512bw")]
unsafe fn in_bf16<const ROWS: usize>(
    pairs: usize,
    x: *const u32,
    weights: *const u32,
    y: (*mut f32, usize),
    outputs: usize,
    accumulate: bool,
) {
    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
    for pair in 0..pairs {
        // SAFETY: a panel has `WIDE` pairs of weights for each pair of a row; vectors of bits are of one size.
        let [low, high]: [__m512bh; 2] = unsafe {
            let at = weights.add(pair * WIDE);
            [at, at.add(16)].map(|at| std::mem::transmute(_mm512_loadu_si512(at.cast())))
        };
        for row in 0..ROWS {
            // SAFETY: as above, of the rows.
            let own: __m512bh =
                unsafe { std::mem::transmute(_mm512_set1_epi32((*x.add(row * pairs + pair)).cast_signed())) };
            sums[row][0] = _mm512_dpbf16_ps(sums[row][0], own, low);
            sums[row][1] = _mm512_dpbf16_ps(sums[row][1], own, high);
        }
    }
    // SAFETY: the caller's.
    unsafe { store(&sums, y, outputs, accumulate) };
}
