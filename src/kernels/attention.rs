//! Softmax attention over the heads of packed rows. Twin of `shaders/attention.wgsl`, `shaders/attention_wide.wgsl` and,
//! on matrix units, `shaders/attention_matrix.wgsl`.
//!
//! The matrix of scores never stands in memory as a whole: shaders and twin go over the keys in tiles and carry
//! each query's largest score and sum of exponentials along (Milakov and Gimelshein 2018, arXiv 1805.02867).

mod by_gemm;

use super::{Binding, Buffers, Cost, Extent, Kernel, Product, Slot, StepValues, shader::Permutation};
use by_gemm::KEYS;
use rayon::prelude::*;

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
        let p = self.at(step);
        attention(p, How::of(&p, io.in_bf16()), query, key, value, io.f32_mut(4));
    }
}

/// Queries that a thread treats together, at most: enough to pay for the packing of keys and values inside `gemm`.
const QUERIES: usize = 128;
/// Queries side by side in a softmax's vector loops.
const LANES: usize = 16;

/// What the twin multiplies by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// The `gemm` crate.
    Gemm,
    /// Vectors, where the processor has AVX-512.
    Vectors,
    /// Tiles of bf16, where it has them.
    Tiles,
}

impl How {
    fn of(p: &Params, in_bf16: bool) -> Self {
        if in_bf16 && migm_products::has_tiles() {
            Self::Tiles
        } else if migm_products::available() && p.keys as usize <= KEYS {
            Self::Vectors
        } else {
            Self::Gemm
        }
    }
}

/// The twin. Threads take blocks of queries of a head of a sequence.
pub(crate) fn attention(p: Params, how: How, query: &[f32], key: &[f32], value: &[f32], y: &mut [f32]) {
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
    // A block of queries has keys and values put together anew.
    let fewest = (2 * rayon::current_num_threads()).div_ceil(sequences * heads);
    let blocks = match how {
        How::Gemm => queries.div_ceil(QUERIES),
        How::Vectors | How::Tiles => fewest.min(queries.div_ceil(2 * LANES)),
    };
    let block = queries.div_ceil(blocks).next_multiple_of(2 * LANES);
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
        unsafe {
            let y = y.from(sequence * queries + start, column);
            match how {
                How::Gemm => of.attend(count, keys, y, row),
                How::Vectors | How::Tiles => of.attend_at_once(how == How::Tiles, count, keys, y, row),
            }
        };
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

impl Head<'_> {
    /// [`Head::attend`] with all keys at once, by [`How::Vectors`] or by `tiles`.
    ///
    /// # Safety
    /// As there.
    unsafe fn attend_at_once(&self, tiles: bool, count: usize, keys: usize, y: *mut f32, row: usize) {
        let operands = [self.query, self.key, self.value];
        let operands = operands.map(|Rows { data, stride }| migm_products::Rows { data, stride });
        // SAFETY: the rows that the caller lent.
        unsafe { migm_products::attend(tiles, operands, [count, keys, self.width], self.scale, (y, row)) };
    }
}

#[cfg(test)]
mod tests;
