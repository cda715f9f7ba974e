//! Matrix products by weights that were packed once, on processors with AVX-512: in f32, or with operands rounded to bf16 where it
//! multiplies that too (`avx512_bf16`; twice the rate, half of what is read), by tiles where it has such (AMX).
//!
//! A panel of a weight holds 32 outputs, all that belongs to one place along K side by side: two vectors, which meet one number of each
//! of twelve rows (in bf16 a pair of numbers, and so do the weights). The `gemm` crate packs weights anew for every product, which costs
//! more than it gains where there are a few hundred rows: on two threads of an EPYC these products are 1.1 to 1.8 times as fast
//! (`cargo test --release -p migm-products -- --ignored --nocapture --test-threads 1`). Attention of a head is made in the same way, by tiles of keys and 32
//! queries side by side. Other processors have `gemm`.

mod aligned;
#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod attention;
#[cfg(target_arch = "x86_64")]
mod attention_tiles;
#[cfg(target_arch = "x86_64")]
mod x86;

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
                    x86::narrow(from, 1.0, to);
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

/// `y = softmax(query . key * scale) value` of `queries` rows of `width`, on `keys` rows of both others: one head. In f32, or by `tiles`, with
/// operands and probabilities rounded to bf16.
///
/// # Panics
/// The processor has no AVX-512 ([`available`]) or no tiles ([`has_tiles`]), an operand is too short, or there are no keys.
///
/// # Safety
/// `queries` rows of `width` can be written at `y`, `stride` apart, and nothing else uses them meanwhile.
pub unsafe fn attend(
    tiles: bool,
    operands: [Rows<'_>; 3],
    [queries, keys, width]: [usize; 3],
    scale: f32,
    (y, stride): (*mut f32, usize),
) {
    assert!(if tiles { has_tiles() } else { available() }, "this processor does not attend like that");
    assert!(keys > 0 && width > 0, "attention of {queries} x {keys} x {width}");
    for (rows, count) in operands.iter().zip([queries, keys, keys]) {
        assert!(count == 0 || rows.data.len() >= (count - 1) * rows.stride + width, "an operand is short");
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (scale, y, stride);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the processor has what they are made of, and operands are long enough; `y` is as the caller says.
    unsafe {
        let attend = if tiles { attention_tiles::attend } else { attention::attend };
        attend(operands, [queries, keys, width], scale, (y, stride));
    }
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

#[cfg(test)]
mod tests;
