//! Matrix products in bf16 on processors that multiply it (x86 with `avx512_bf16`): operands rounded to eight bits of mantissa, sums in
//! f32. Twice the rate of products in f32, and half of what is read for them.
//!
//! A vector of 32 pairs along K of 16 outputs meets one pair of a row, sixteen dot products of two at once. Weights are packed for that
//! with every product, a panel of outputs after the other, which pays from [`FEWEST_ROWS`] rows on; below, and on other processors,
//! products stay in f32. The `gemm` crate, which has those, does not have bf16; of crates that do, those found write results in bf16
//! too, which have to be widened again.

use super::linear::Sizes;
use std::cell::Cell;

/// Below, packing weights costs more than the products gain.
pub(crate) const FEWEST_ROWS: usize = 64;

thread_local! {
    static ROUNDS: Cell<bool> = const { Cell::new(false) };
}

/// Whether this processor multiplies bf16.
pub fn available() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        let has = std::arch::is_x86_feature_detected!("avx512bf16")
            && std::arch::is_x86_feature_detected!("avx512f");
        has && std::arch::is_x86_feature_detected!("avx512bw")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// Has the linear layers of what this thread works at multiplied in bf16, or not.
pub(crate) fn rounding<T>(rounds: bool, work: impl FnOnce() -> T) -> T {
    let before = ROUNDS.replace(rounds);
    let done = work();
    ROUNDS.set(before);
    done
}

/// Whether a product of so many rows is to be in bf16 on this thread.
pub(crate) fn rounds(rows: usize) -> bool {
    rows >= FEWEST_ROWS && ROUNDS.get() && available()
}

/// `y = x weightT`, or `y += x weightT`, both rounded to bf16 first. Rows of `x` are dense, of `weight` `weight_stride` apart, of `y`
/// `y_stride`. Only where it is [`available`].
pub(crate) fn product(
    sizes: Sizes,
    x: &[f32],
    (weight, weight_stride): (&[f32], usize),
    (y, y_stride): (&mut [f32], usize),
    accumulate: bool,
) {
    let Sizes { rows, inner, outer } = sizes;
    if rows == 0 || outer == 0 {
        return;
    }
    assert!(available(), "this processor does not multiply bf16");
    assert!(
        x.len() >= rows * inner
            && weight.len() >= (outer - 1) * weight_stride + inner
            && inner <= weight_stride
    );
    assert!(y.len() >= (rows - 1) * y_stride + outer && outer <= y_stride, "rows of a product overlap");
    #[cfg(not(target_arch = "x86_64"))]
    let _ = accumulate;
    #[cfg(target_arch = "x86_64")]
    x86::product(sizes, x, (weight, weight_stride), (y, y_stride), accumulate);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Sizes;
    use rayon::prelude::*;
    use std::arch::x86_64::*;

    /// Outputs of a panel: two vectors.
    const WIDE: usize = 32;
    /// Rows that a tile treats together: with two vectors of outputs each, 24 sums are in registers.
    const TALL: usize = 12;

    /// Where results go. Tasks write different rows.
    struct Results(*mut f32);

    // SAFETY: no two tasks have a row of the result in common.
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
        Sizes { rows, inner, outer }: Sizes,
        x: &[f32],
        (weight, weight_stride): (&[f32], usize),
        (y, y_stride): (&mut [f32], usize),
        accumulate: bool,
    ) {
        let (pairs, panels) = (inner.div_ceil(2), outer.div_ceil(WIDE));
        let mut packed = vec![0_u32; panels * pairs * WIDE];
        packed.par_chunks_mut(pairs.max(1) * WIDE).enumerate().for_each_init(
            Vec::new,
            |row, (panel, packed)| {
                row.resize(pairs, 0);
                let outputs = (outer - panel * WIDE).min(WIDE);
                for output in 0..outputs {
                    let weight = &weight[(panel * WIDE + output) * weight_stride..][..inner];
                    // SAFETY: the processor has the features, as `super::product` has asked.
                    unsafe { narrow(weight, row) };
                    packed
                        .iter_mut()
                        .skip(output)
                        .step_by(WIDE)
                        .zip(&*row)
                        .for_each(|(to, from)| *to = *from);
                }
            },
        );
        // A few tasks a thread, each of whole tiles; rows of a task stay in the second cache.
        let block = rows.div_ceil(rayon::current_num_threads() * 4).next_multiple_of(TALL).min(16 * TALL);
        let results = Results(y.as_mut_ptr());
        (0..rows.div_ceil(block)).into_par_iter().for_each_init(Vec::new, |narrowed, task| {
            let (first, last) = (task * block, ((task + 1) * block).min(rows));
            narrowed.resize((last - first) * pairs, 0);
            for row in first..last {
                let to = &mut narrowed[(row - first) * pairs..][..pairs];
                // SAFETY: as above.
                unsafe { narrow(&x[row * inner..][..inner], to) };
            }
            for panel in 0..panels {
                let outputs = (outer - panel * WIDE).min(WIDE);
                let weights = packed[panel * pairs * WIDE..].as_ptr();
                for row in (first..last).step_by(TALL) {
                    let x = narrowed[(row - first) * pairs..].as_ptr();
                    // SAFETY: `super::product` has asked that the result has this row and these outputs of it.
                    let y = unsafe { results.at(row * y_stride + panel * WIDE) };
                    let tile = TILES[(last - row).min(TALL) - 1];
                    // SAFETY: the processor has the features; so many rows of pairs, a panel of weights and the results are there.
                    unsafe { tile(pairs, x, weights, (y, y_stride), outputs, accumulate) };
                }
            }
        });
    }

    /// Numbers as pairs of bf16, rounded to the nearest, ties to even; a last one alone is paired with 0.
    ///
    /// # Safety
    /// The processor has the features.
    #[target_feature(enable = "avx512f,avx512bf16,avx512bw")]
    unsafe fn narrow(from: &[f32], to: &mut [u32]) {
        let whole = from.len() / 32;
        for i in 0..whole {
            // SAFETY: 32 numbers from there on, and 16 pairs, are within the slices.
            unsafe {
                let low = _mm512_loadu_ps(from.as_ptr().add(32 * i));
                let high = _mm512_loadu_ps(from.as_ptr().add(32 * i + 16));
                let pairs: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
                _mm512_storeu_si512(to.as_mut_ptr().add(16 * i).cast(), pairs);
            }
        }
        let bits =
            |i: usize| from.get(i).map_or(0, |&value| u32::from(half::bf16::from_f32(value).to_bits()));
        for (pair, to) in to.iter_mut().enumerate().skip(16 * whole) {
            *to = bits(2 * pair) | bits(2 * pair + 1) << 16;
        }
    }

    /// Rows of pairs by a panel of weights.
    type Tile = unsafe fn(usize, *const u32, *const u32, (*mut f32, usize), usize, bool);

    /// By the number of rows, from one on.
    const TILES: [Tile; TALL] = [
        tile::<1>, tile::<2>, tile::<3>, tile::<4>, tile::<5>, tile::<6>, tile::<7>, tile::<8>, tile::<9>,
        tile::<10>, tile::<11>, tile::<12>,
    ];

    /// `ROWS` rows of `pairs` pairs each, one after the other at `x`, by a panel; `outputs` of each row are written.
    ///
    /// # Safety
    /// The processor has the features. `ROWS * pairs` pairs are at `x`, `pairs * WIDE` at `weights`, and `outputs` results, 1 to [`WIDE`],
    /// at every row of `y`.
    #[target_feature(enable = "avx512f,avx512bf16,avx512bw")]
    unsafe fn tile<const ROWS: usize>(
        pairs: usize,
        x: *const u32,
        weights: *const u32,
        (y, y_stride): (*mut f32, usize),
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
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: as above, of the rows.
                let own: __m512bh = unsafe {
                    std::mem::transmute(_mm512_set1_epi32((*x.add(row * pairs + pair)).cast_signed()))
                };
                sums[0] = _mm512_dpbf16_ps(sums[0], own, low);
                sums[1] = _mm512_dpbf16_ps(sums[1], own, high);
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            for (half, &sum) in sums.iter().enumerate() {
                let left = outputs.saturating_sub(16 * half).min(16);
                let mask = ((1_u32 << left) - 1) as __mmask16;
                // SAFETY: what the mask leaves out is neither read nor written.
                unsafe {
                    let at = y.wrapping_add(row * y_stride + 16 * half);
                    let before =
                        if accumulate { _mm512_maskz_loadu_ps(mask, at) } else { _mm512_setzero_ps() };
                    _mm512_mask_storeu_ps(at, mask, _mm512_add_ps(before, sum));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::linear::testing::values;
    use super::*;
    use half::bf16;

    /// The product of the rounded operands, in f64.
    fn reference(sizes: Sizes, x: &[f32], (weight, stride): (&[f32], usize)) -> Vec<f64> {
        let Sizes { rows, inner, outer } = sizes;
        let rounded = |value: f32| f64::from(bf16::from_f32(value).to_f32());
        let of = |row: usize, output: usize| -> f64 {
            (0..inner).map(|i| rounded(x[row * inner + i]) * rounded(weight[output * stride + i])).sum()
        };
        (0..rows).flat_map(|row| (0..outer).map(move |output| (row, output))).map(|(r, o)| of(r, o)).collect()
    }

    #[test]
    fn products_are_those_of_rounded_operands_over_odd_shapes() {
        if !available() {
            println!("this processor multiplies no bf16: nothing to compare");
            return;
        }
        for (rows, inner, outer) in
            [(1, 1, 1), (12, 2, 32), (13, 3, 33), (37, 65, 77), (100, 192, 50), (7, 64, 16), (65, 31, 129)]
        {
            let sizes = Sizes { rows, inner, outer };
            let (weight_stride, y_stride) = (inner.next_multiple_of(4), outer + 3);
            let (x, weight) = (values(rows * inner, 1), values(outer * weight_stride, 2));
            for accumulate in [false, true] {
                let before = values(rows * y_stride, 3);
                let mut y = before.clone();
                product(sizes, &x, (&weight, weight_stride), (&mut y, y_stride), accumulate);
                let wanted = reference(sizes, &x, (&weight, weight_stride));
                for (i, (&got, &before)) in y.iter().zip(&before).enumerate() {
                    let (row, output) = (i / y_stride, i % y_stride);
                    if output >= outer {
                        assert_eq!(got, before, "between rows: {rows} x {inner} x {outer}");
                        continue;
                    }
                    let wanted =
                        wanted[row * outer + output] + if accumulate { f64::from(before) } else { 0.0 };
                    let apart = (f64::from(got) - wanted).abs();
                    assert!(
                        apart < 1e-5 * (inner as f64).sqrt().max(1.0),
                        "{rows} x {inner} x {outer} at {i}: {got}, not {wanted}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_thread_rounds_while_it_is_told_to() {
        assert!(!rounds(1000));
        rounding(true, || {
            assert_eq!(rounds(1000), available());
            assert!(!rounds(FEWEST_ROWS - 1), "few rows do not pay");
            rounding(false, || assert!(!rounds(1000), "of another executor"));
            assert_eq!(rounds(1000), available());
        });
        assert!(!rounds(1000));
    }
}
