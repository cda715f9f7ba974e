//! Softmax attention over the heads of packed rows. Twin of `shaders/attention.wgsl`, `shaders/attention_wide.wgsl` and,
//! on matrix units, `shaders/attention_matrix.wgsl`.
//!
//! The matrix of scores never stands in memory as a whole: shaders and twin go over the keys in tiles and carry
//! each query's largest score and sum of exponentials along (Milakov and Gimelshein 2018, arXiv 1805.02867).

use super::{Binding, Buffers, Cost, Extent, Kernel, Product, Slot, StepValues, math, shader::Permutation};
use rayon::prelude::*;
use std::cell::RefCell;

/// Columns `offset..offset + heads * head_width` of a matrix whose rows are `stride` long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operand {
    pub(crate) slot: Slot,
    pub(crate) offset: u32,
    pub(crate) stride: u32,
}

/// `y = softmax(query . key / sqrt(head_width)) value`, each head on its own run of `head_width` columns.
///
/// Token `t` of sequence `s` is row `s * tokens + t`; sequence `s` reads the keys and values of sequence
/// `s % key_sequences`. The three operands may lie in one tensor, in two or in three; `y` is `[sequences *
/// queries, heads * head_width]` and is none of them. Without keys, `y` is zero.
#[derive(Debug, Clone)]
pub(crate) struct Attention {
    pub(crate) query: Operand,
    pub(crate) key: Operand,
    pub(crate) value: Operand,
    pub(crate) y: Slot,
    pub(crate) sequences: u32,
    pub(crate) key_sequences: u32,
    /// Tokens per sequence of the queries.
    pub(crate) queries: Extent,
    /// Tokens per sequence of the keys and values.
    pub(crate) keys: Extent,
    pub(crate) heads: u32,
    /// At most [`Attention::MAX_HEAD_WIDTH`].
    pub(crate) head_width: u32,
}

/// The shaders' parameter block.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Params {
    pub(crate) sequences: u32,
    pub(crate) key_sequences: u32,
    pub(crate) queries: u32,
    pub(crate) keys: u32,
    pub(crate) heads: u32,
    pub(crate) head_width: u32,
    pub(crate) query_offset: u32,
    pub(crate) query_stride: u32,
    pub(crate) key_offset: u32,
    pub(crate) key_stride: u32,
    pub(crate) value_offset: u32,
    pub(crate) value_stride: u32,
    pub(crate) scale: f32,
    pub(crate) unused: [u32; 3],
}

/// Up to this width one invocation holds a query and its accumulator in registers.
const NARROW: u32 = 64;
/// Queries of a workgroup up to that width.
pub(crate) const ROWS: u32 = 64;
/// Queries of a workgroup beyond it.
const WIDE_ROWS: u32 = 16;

/// Queries of a workgroup of `attention_matrix.wgsl`, which takes the place of both others on matrix units: as many as its sums leave
/// room for in workgroup memory.
pub(crate) fn matrix_rows(head4: u32) -> u32 {
    if head4 <= NARROW / 4 { 32 } else { WIDE_ROWS }
}

impl Attention {
    /// The widest head of `attention_wide`, whose invocations keep 1/128 of it each, for two queries.
    pub(crate) const MAX_HEAD_WIDTH: u32 = 1024;

    fn at(&self, step: &StepValues) -> Params {
        Params {
            sequences: self.sequences,
            key_sequences: self.key_sequences,
            queries: self.queries.at(step),
            keys: self.keys.at(step),
            heads: self.heads,
            head_width: self.head_width,
            query_offset: self.query.offset,
            query_stride: self.query.stride,
            key_offset: self.key.offset,
            key_stride: self.key.stride,
            value_offset: self.value.offset,
            value_stride: self.value.stride,
            scale: (self.head_width as f32).sqrt().recip(),
            unused: [0; 3],
        }
    }

    fn queries_per_workgroup(&self) -> u32 {
        if self.head_width <= NARROW { ROWS } else { WIDE_ROWS }
    }
}

impl Kernel for Attention {
    fn permutation(&self) -> Permutation {
        debug_assert!(self.head_width <= Self::MAX_HEAD_WIDTH, "{}", self.describe());
        let [query, key, value] = [self.query, self.key, self.value];
        let sizes = [query, key, value].map(|o| [o.offset, o.stride]);
        let fours = self.head_width.is_multiple_of(4)
            && sizes.as_flattened().iter().all(|size| size.is_multiple_of(4));
        let shader = if self.head_width <= NARROW { "attention" } else { "attention_wide" };
        Permutation::new(shader)
            .flag("VEC4", fours)
            .flag("KEY_IN_QUERY", key.slot == query.slot)
            .flag("VALUE_IN_QUERY", value.slot == query.slot)
            .flag("VALUE_IN_KEY", value.slot == key.slot && value.slot != query.slot)
            .constant("HEAD4", self.head_width.div_ceil(4))
    }

    fn bindings(&self) -> Vec<Binding> {
        let [query, key, value] = [self.query.slot, self.key.slot, self.value.slot];
        let mut bindings = vec![Binding::read(1, query)];
        if key != query {
            bindings.push(Binding::read(2, key));
        }
        if value != query && value != key {
            bindings.push(Binding::read(3, value));
        }
        bindings.push(Binding::write(4, self.y));
        bindings
    }

    fn halves(&self) -> Vec<(&'static str, Vec<u32>)> {
        vec![("F16_OPERANDS", vec![1, 2, 3]), ("F16_Y", vec![4])]
    }

    fn params(&self, step: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&self.at(step)).to_vec()
    }

    fn workgroups(&self, step: &StepValues) -> [u32; 3] {
        [self.queries.at(step).div_ceil(self.queries_per_workgroup()), self.heads, self.sequences]
    }

    fn cost(&self, step: &StepValues) -> Cost {
        let width = u64::from(self.heads) * u64::from(self.head_width);
        let [queries, keys] = [self.queries.at(step), self.keys.at(step)].map(u64::from);
        let [sequences, key_sequences] = [self.sequences, self.key_sequences].map(u64::from);
        Cost::new(
            4 * sequences * queries * keys * width,
            2 * sequences * queries * width + 2 * key_sequences.min(sequences) * keys * width,
        )
    }

    fn products(&self, step: &StepValues) -> Vec<(Product, usize)> {
        let (queries, keys) = (self.queries.at(step), self.keys.at(step));
        let count = (self.sequences * self.heads) as usize;
        vec![
            (Product { m: queries, k: self.head_width, n: keys }, count),
            (Product { m: queries, k: keys, n: self.head_width }, count),
        ]
    }

    fn describe(&self) -> String {
        let Self { sequences, queries, keys, heads, head_width, .. } = self;
        format!("{sequences} x [{queries}] on [{keys}], {heads} heads of {head_width}")
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        let query = io.f32(1);
        let key = if self.key.slot == self.query.slot { query } else { io.f32(2) };
        let value = match self.value.slot {
            slot if slot == self.query.slot => query,
            slot if slot == self.key.slot => key,
            _ => io.f32(3),
        };
        attention(self.at(step), query, key, value, io.f32_mut(4));
    }
}

/// Queries that a thread treats together: enough to pay for the packing of keys and values inside `gemm`.
const QUERIES: usize = 128;
/// Keys whose scores stand in a thread's scratch at once: 1 MiB, within a core's second-level cache.
const KEYS: usize = 2048;
/// Queries side by side in the softmax's vector loops; the scratch's rows are a multiple of it.
const LANES: usize = 16;

/// The twin. Threads take blocks of queries of a head of a sequence.
pub(crate) fn attention(p: Params, query: &[f32], key: &[f32], value: &[f32], y: &mut [f32]) {
    let [sequences, heads, width] = [p.sequences, p.heads, p.head_width].map(|v| v as usize);
    let [queries, keys] = [p.queries as usize, p.keys as usize];
    let row = heads * width;
    let y = &mut y[..sequences * queries * row];
    if y.is_empty() {
        return;
    }
    if keys == 0 {
        y.fill(0.0);
        return;
    }
    let key_rows = sequences.min(p.key_sequences as usize) * keys;
    let query = Rows::new(query, p.query_offset, p.query_stride, sequences * queries, row);
    let key = Rows::new(key, p.key_offset, p.key_stride, key_rows, row);
    let value = Rows::new(value, p.value_offset, p.value_stride, key_rows, row);
    let blocks = queries.div_ceil(QUERIES);
    let block = queries.div_ceil(blocks).next_multiple_of(LANES);
    let y = Output { start: y.as_mut_ptr(), row };

    (0..sequences * heads * blocks).into_par_iter().for_each(|task| {
        let (sequence, head, start) = (task / blocks / heads, task / blocks % heads, task % blocks * block);
        let count = block.min(queries.saturating_sub(start));
        let key_row = sequence % p.key_sequences as usize * keys;
        let column = head * width;
        let of = Head {
            width,
            scale: p.scale,
            query: query.from(sequence * queries + start, column, count, width),
            key: key.from(key_row, column, keys, width),
            value: value.from(key_row, column, keys, width),
        };
        // SAFETY: tasks differ in sequence, head or block, so no two touch the same element of `y`.
        unsafe { of.attend(count, keys, y.from(sequence * queries + start, column), row) };
    });
}

/// Rows of an operand, its first column included; checked to be there.
#[derive(Clone, Copy)]
struct Rows<'a> {
    data: &'a [f32],
    stride: usize,
}

impl<'a> Rows<'a> {
    fn new(data: &'a [f32], offset: u32, stride: u32, rows: usize, width: usize) -> Self {
        Self { data: &data[offset as usize..], stride: stride as usize }.from(0, 0, rows, width)
    }

    fn from(self, row: usize, column: usize, rows: usize, width: usize) -> Self {
        if rows == 0 {
            return Self { data: &[], stride: self.stride };
        }
        let start = row * self.stride + column;
        Self { data: &self.data[start..start + (rows - 1) * self.stride + width], stride: self.stride }
    }
}

/// The output, which threads write in disjoint patches of strided rows: no slice can say that.
#[derive(Clone, Copy)]
struct Output {
    start: *mut f32,
    row: usize,
}

impl Output {
    /// # Safety
    /// The element must be within the output.
    unsafe fn from(self, row: usize, column: usize) -> *mut f32 {
        // SAFETY: as the caller promises.
        unsafe { self.start.add(row * self.row + column) }
    }
}

// SAFETY: a pointer into a buffer that is borrowed for as long as the threads run.
unsafe impl Sync for Output {}

/// A block of queries of one head, and all keys and values of it.
struct Head<'a> {
    width: usize,
    scale: f32,
    query: Rows<'a>,
    key: Rows<'a>,
    value: Rows<'a>,
}

thread_local! {
    /// Scores, key by key: the queries of a block stand side by side, so that the softmax needs no sums across lanes.
    static SCORES: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl Head<'_> {
    /// Writes `count` rows of `width` at `y`, `row` apart.
    ///
    /// # Safety
    /// `y` must be valid for those rows, and nothing else may use them meanwhile.
    unsafe fn attend(&self, count: usize, keys: usize, y: *mut f32, row: usize) {
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
fn exp2_of_negative(x: f32) -> f32 {
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

#[cfg(test)]
mod tests;
