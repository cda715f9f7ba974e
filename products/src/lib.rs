//! Matrix products by weights that were packed once, on processors with AVX-512: in f32, or with operands rounded to bf16 where it
//! multiplies that too (`avx512_bf16`; twice the rate, half of what is read), by tiles where it has such (AMX).
//!
//! A panel of a weight holds 32 outputs, all that belongs to one place along K side by side: two vectors, which meet one number of each
//! of twelve rows (in bf16 a pair of numbers, and so do the weights). The `gemm` crate packs weights anew for every product, which costs
//! more than it gains where there are a few hundred rows: on two threads of an EPYC these products are 1.1 to 1.8 times as fast
//! (`cargo test --release -p migm-products -- --ignored --nocapture`). Attention of a head is made in the same way, by tiles of keys and 32
//! queries side by side. Other processors have `gemm`.

/// The tiles of one kind by the number of rows, from one on.
#[cfg(target_arch = "x86_64")]
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

mod aligned;
#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod attention;
#[cfg(target_arch = "x86_64")]
mod attention_tiles;

#[cfg(target_arch = "x86_64")]
pub use {attention::attend, attention_tiles::attend_by_tiles};

use aligned::Aligned;
use rayon::prelude::*;
use std::ops::Range;

/// Rows of a matrix: the first begins with the numbers, and each is `stride` after the one before.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// Numbers.
    pub data: &'a [f32],
    /// From one row to the next.
    pub stride: usize,
}

/// Rows of a weight that a kernel multiplies by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Multiplied {
    /// The first of them.
    pub row: u32,
    /// Columns.
    pub inner: u32,
    /// Rows.
    pub outer: u32,
    /// Whether an executor that computes in bf16 does so here.
    pub rounds: bool,
}

/// With fewer outputs, too much of a panel would be empty.
const FEWEST_OUTPUTS: u32 = 16;

impl Multiplied {
    /// Whether packing it pays on this processor.
    pub fn packs(&self) -> bool {
        self.outer >= FEWEST_OUTPUTS && available()
    }
}

/// Whether this processor has what the kernels here are made of (AVX-512).
pub fn available() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("avx512bw")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// Whether this processor multiplies bf16.
pub fn multiplies_bf16() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        available() && std::arch::is_x86_feature_detected!("avx512bf16")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// Whether this processor and system multiply tiles of bf16 (AMX).
pub fn has_tiles() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        multiplies_bf16() && amx::available()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// Outputs of a panel: two vectors.
const WIDE: usize = 32;
/// Rows that a tile treats together: with two vectors of outputs each, 24 sums are in registers.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "nothing multiplies there"))]
const TALL: usize = 12;

/// Rows that AMX treats together, as two tiles of 16.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "nothing multiplies there"))]
const TILE_ROWS: usize = 32;

/// What is done to results while they are at hand, a part of a row at a time: it is given the row, its first output, and its values. No
/// generic parameter, so that all of this is compiled here.
pub type Finish<'a> = &'a (dyn Fn(usize, usize, &mut [f32]) + Sync);

/// A weight in the order in which it is multiplied.
#[derive(Debug)]
pub struct Packed {
    inner: usize,
    outer: usize,
    panels: Panels,
    /// Whether pairs are multiplied by AMX.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "nothing multiplies there"))]
    tiles: bool,
}

#[derive(Debug)]
enum Panels {
    /// `[outer / 32, inner, 32]`, zeros behind the last output.
    F32(Aligned<f32>),
    /// `[outer / 32, inner / 2, 32]` pairs, of these a multiple of 16, zeros behind the last output and the last number.
    Bf16(Aligned<u32>),
}

/// Pairs of a row of so many numbers: whole tiles of them.
fn pairs_of(inner: usize) -> usize {
    inner.max(1).div_ceil(2).next_multiple_of(16)
}

impl Packed {
    /// Packs what a kernel multiplies by, which [`Multiplied::packs`]; `weight` is the whole weight, its rows `stride` apart.
    ///
    /// # Panics
    /// The processor has no AVX-512, or these are not rows of `weight`.
    pub fn new(part: &Multiplied, weight: &[f32], stride: usize, bf16: bool) -> Self {
        // What is packed is multiplied without asking again.
        assert!(available(), "this processor does not multiply by packed weights");
        let [row, inner, outer] = [part.row, part.inner, part.outer].map(|size| size as usize);
        let weight = &weight[row * stride..][..(outer - 1) * stride + inner];
        let panels = if bf16 && part.rounds && multiplies_bf16() {
            let narrow = |from: &[f32], to: &mut Vec<u32>| {
                to.resize(pairs_of(inner), 0);
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the processor multiplies bf16.
                unsafe {
                    x86::narrow(from, to);
                }
                #[cfg(not(target_arch = "x86_64"))]
                let _ = from;
            };
            Panels::Bf16(in_panels(pairs_of(inner), outer, |o, to| {
                narrow(&weight[o * stride..][..inner], to);
            }))
        } else {
            Panels::F32(in_panels(inner, outer, |o, to: &mut Vec<f32>| {
                to.clear();
                to.extend_from_slice(&weight[o * stride..][..inner]);
            }))
        };
        Self { inner, outer, panels, tiles: has_tiles() }
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> u64 {
        4 * match &self.panels {
            Panels::F32(numbers) => numbers.len() as u64,
            Panels::Bf16(pairs) => pairs.len() as u64,
        }
    }

    /// `y = x weightT`, or `y += x weightT`, for so many dense rows of `x`; rows of `y` are `y_stride` apart. `finish` is given
    /// the results.
    pub fn product(
        &self,
        rows: usize,
        x: &[f32],
        y: (&mut [f32], usize),
        accumulate: bool,
        finish: Finish<'_>,
    ) {
        self.on_threads(rayon::current_num_threads(), (rows, x), y, accumulate, finish);
    }

    /// [`Self::product`] on this thread alone.
    pub fn product_here(&self, rows: usize, x: &[f32], y: (&mut [f32], usize), accumulate: bool) {
        self.on_threads(1, (rows, x), y, accumulate, &|_, _, _| {});
    }

    fn on_threads(
        &self,
        threads: usize,
        (rows, x): (usize, &[f32]),
        (y, y_stride): (&mut [f32], usize),
        accumulate: bool,
        finish: Finish<'_>,
    ) {
        if rows == 0 {
            return;
        }
        let Self { inner, outer, .. } = *self;
        assert!(x.len() >= rows * inner, "{} numbers are not {rows} rows of {inner}", x.len());
        assert!(y.len() >= (rows - 1) * y_stride + outer && outer <= y_stride, "rows of a product overlap");
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (threads, accumulate, finish);
        #[cfg(target_arch = "x86_64")]
        x86::product(self, threads, (rows, x), (y, y_stride), accumulate, finish);
    }
}

/// Rows of `length`, as `row` gives them, in panels.
fn in_panels<T: Copy + Default + Send + Sync>(
    length: usize,
    outer: usize,
    row: impl Fn(usize, &mut Vec<T>) + Sync,
) -> Aligned<T> {
    let mut packed = Aligned::zeros(outer.div_ceil(WIDE) * length * WIDE);
    packed.par_chunks_mut((length * WIDE).max(1)).enumerate().for_each_init(
        Vec::new,
        |held, (panel, packed)| {
            for output in 0..(outer - panel * WIDE).min(WIDE) {
                row(panel * WIDE + output, held);
                packed.iter_mut().skip(output).step_by(WIDE).zip(&*held).for_each(|(to, from)| *to = *from);
            }
        },
    );
    packed
}

/// How a result is cut into tasks: parts of its rows, and of its panels where rows alone are too few for all threads. A task's rows stay in
/// the second cache: it has at most `most` tiles.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "nothing multiplies there"))]
fn parts(tiles: usize, panels: usize, threads: usize, most: usize) -> [usize; 2] {
    let tall = (threads * tiles.div_ceil(threads * most)).min(tiles);
    [tall, (2 * threads).div_ceil(tall).min(panels)]
}

/// Part `index` of `parts` equal ones.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "nothing multiplies there"))]
fn part(of: usize, index: usize, parts: usize) -> Range<usize> {
    of * index / parts..of * (index + 1) / parts
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Aligned, Finish, Packed, Panels, TALL, TILE_ROWS, WIDE, amx, pairs_of, part, parts};
    use rayon::prelude::*;
    use std::arch::x86_64::*;

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
                        narrow(&x[row * inner..][..inner], &mut narrowed[(row - first) * pairs..][..pairs]);
                    };
                }
            }
            // SAFETY: `has_tiles` has said so.
            let tiles = by_tiles.then(|| unsafe { amx::Tiles::new() });
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
                                if let Some(tiles) = &tiles {
                                    let sums = tiles.product(pairs, x, weights);
                                    store_rows(&sums.0[..some], y, outputs, accumulate);
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
                let values = unsafe {
                    std::slice::from_raw_parts_mut(results.at(row * y_stride + start), end - start)
                };
                finish(row, start, values);
            }
        };
        if threads == 1 || rows * inner * outer < SMALL {
            (0..high * wide).for_each(|index| task(&mut Aligned::default(), index));
        } else {
            (0..high * wide).into_par_iter().for_each_init(Aligned::default, task);
        }
    }

    /// Numbers as pairs of bf16, rounded to the nearest, ties to even; a last one alone is paired with 0.
    ///
    /// # Safety
    /// The processor multiplies bf16.
    #[target_feature(enable = "avx512f,avx512bf16,avx512bw")]
    pub(super) unsafe fn narrow(from: &[f32], to: &mut [u32]) {
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
    unsafe fn store(
        sums: &[[__m512; 2]],
        (y, y_stride): (*mut f32, usize),
        outputs: usize,
        accumulate: bool,
    ) {
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
        let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
        for i in 0..inner {
            // SAFETY: a panel has `WIDE` weights for each number of a row.
            let (low, high) =
                unsafe { (_mm512_loadu_ps(panel.add(i * WIDE)), _mm512_loadu_ps(panel.add(i * WIDE + 16))) };
            for row in 0..ROWS {
                // SAFETY: a row has so many numbers.
                let own = unsafe { _mm512_set1_ps(*x.add(row * inner + i)) };
                sums[row][0] = _mm512_fmadd_ps(own, low, sums[row][0]);
                sums[row][1] = _mm512_fmadd_ps(own, high, sums[row][1]);
            }
        }
        // SAFETY: the caller's.
        unsafe { store(&sums, y, outputs, accumulate) };
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
                let own: __m512bh = unsafe {
                    std::mem::transmute(_mm512_set1_epi32((*x.add(row * pairs + pair)).cast_signed()))
                };
                sums[row][0] = _mm512_dpbf16_ps(sums[row][0], own, low);
                sums[row][1] = _mm512_dpbf16_ps(sums[row][1], own, high);
            }
        }
        // SAFETY: the caller's.
        unsafe { store(&sums, y, outputs, accumulate) };
    }
}

#[cfg(test)]
mod tests;
