//! The kernels: a WGSL file in `shaders/` and a Rust file of the same name here, side by side.
//!
//! A Rust file holds the operation's description (which slots, which sizes), its parameter struct (the same
//! bytes that the shader reads), its dispatch geometry, and its CPU twin: the same computation in plain
//! Rust, which the `cpu` executor runs and the tests compare the shader with. Nothing here knows of models or
//! of devices; `program` strings kernels together and `exec` runs them. This file is what all of them share: sizes, bindings, costs, and
//! the trait, whose documentation makes it a little long.

use std::fmt::Debug;

pub(crate) mod affine_silu;
pub(crate) mod attention;
pub(crate) mod combine;
pub(crate) mod commit;
pub(crate) mod conv2d;
pub(crate) mod correct;
pub(crate) mod embed_rows;
pub(crate) mod embed_sequence;
pub(crate) mod embed_tokens;
pub(crate) mod fma_peak;
pub(crate) mod gated_silu;
pub(crate) mod gauge;
pub(crate) mod group_norm;
pub(crate) mod guide_rows;
pub(crate) mod head_max;
pub(crate) mod layer_norm;
pub(crate) mod linear;
pub(crate) mod lowest_rows;
pub(crate) mod masked_logits;
pub(crate) mod math;
pub(crate) mod mean_pixels;
pub(crate) mod movement;
pub(crate) mod nearest_code;
#[cfg(any(test, all(feature = "studio", target_arch = "wasm32")))]
pub(crate) mod permutations;
pub(crate) mod philox;
pub(crate) mod quantized;
pub(crate) mod rank_scores;
pub(crate) mod rms_norm;
pub(crate) mod rope;
pub(crate) mod rows;
pub(crate) mod sample;
pub mod shader;
pub(crate) mod split;
pub(crate) mod spread_k;
pub(crate) mod taylor;
pub(crate) mod time_embedding;
pub(crate) mod top_k;
#[cfg(test)]
mod translations;
pub(crate) mod unite;
pub(crate) mod value_similarity;

pub use migm_products::Multiplied;
use migm_products::Packed;
pub use quantized::{Quantization, Quantized};
pub use split::Split;
pub use value_similarity::Intervals;

/// A tensor of a program, by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub(crate) u32);

/// A size that the unmasking schedule fixes anew for each step, known to the host before the first step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Symbol {
    /// Tokens per image that the step before revealed.
    NewTokens,
    /// Positions per image that are still masked before the step.
    Masked,
    /// Positions per image that hold a token before the step.
    Committed,
    /// Tokens per image of the union that the full step before has chosen: see [`StepValues::united`].
    United,
    /// Rows of a sequence that a cache with intervals computes anew.
    Recomputed(Intervals),
    /// Rows of a sequence whose values such a cache computes anew, to find those.
    Compared(Intervals),
}

impl std::fmt::Display for Symbol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NewTokens => "NewTokens",
            Self::Masked => "Masked",
            Self::Committed => "Committed",
            Self::United => "United",
            Self::Recomputed(_) => "Recomputed",
            Self::Compared(_) => "Compared",
        })
    }
}

/// A number of rows: fixed, or so many times a symbol, or both together. Buffers are sized for `max`, dispatches follow
/// the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Extent {
    /// Rows at every step.
    base: u32,
    /// Rows for each one of the symbol.
    factor: u32,
    symbol: Option<(Symbol, u32)>,
    /// So much of the symbol is left to others.
    skipped: u32,
    /// Of all these rows, those from the first of these numbers on, and no more than the second.
    window: [u32; 2],
}

impl Extent {
    /// Always `rows`.
    pub const fn fixed(rows: u32) -> Self {
        Self { base: rows, factor: 0, symbol: None, skipped: 0, window: ALL_ROWS }
    }

    /// `images` times the step's value of `symbol`, which never exceeds `most`.
    pub const fn symbolic(images: u32, symbol: Symbol, most: u32) -> Self {
        Self { base: 0, factor: images, symbol: Some((symbol, most)), skipped: 0, window: ALL_ROWS }
    }

    /// `images` times what the step's value of `symbol` has in common with a range: for work that is done in parts.
    pub const fn part(images: u32, symbol: Symbol, range: RowRange) -> Self {
        let symbol = Some((symbol, range.count));
        Self { base: 0, factor: images, symbol, skipped: range.first, window: ALL_ROWS }
    }

    /// `rows` more at every step.
    pub const fn plus(self, rows: u32) -> Self {
        Self { base: self.base + rows, ..self }
    }

    /// Those of the rows that are within a range, counted from its first: for work on many rows that is done in parts.
    pub const fn within(self, range: RowRange) -> Self {
        Self { window: [range.first, range.count], ..self }
    }

    /// The rows at this step.
    pub fn at(self, step: &StepValues) -> u32 {
        self.in_window(match self.symbol {
            None => self.base,
            Some((symbol, most)) => {
                self.base + self.factor * step.value(symbol).saturating_sub(self.skipped).min(most)
            }
        })
    }

    /// The largest value that any step can ask for; buffers are sized for it.
    pub const fn max(self) -> u32 {
        self.in_window(match self.symbol {
            None => self.base,
            Some((_, most)) => self.base + self.factor * most,
        })
    }

    const fn in_window(self, rows: u32) -> u32 {
        let [first, most] = self.window;
        let rows = rows.saturating_sub(first);
        if rows < most { rows } else { most }
    }

    /// The same extent for a batch of one out of `images`.
    pub(crate) fn per_image(self, images: u32) -> Self {
        Self { base: self.base / images, factor: self.factor / images, ..self }
    }

    /// The same extent for each of so many.
    pub(crate) fn times(self, count: u32) -> Self {
        Self { base: self.base * count, factor: self.factor * count, ..self }
    }
}

/// A window that leaves nothing out.
const ALL_ROWS: [u32; 2] = [0, u32::MAX];

impl std::fmt::Display for Extent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.symbol {
            None => write!(f, "{}", self.base),
            Some((symbol, most)) if self.base == 0 => write!(f, "{}*{symbol}<={most}", self.factor),
            Some((symbol, most)) => write!(f, "{}+{}*{symbol}<={most}", self.base, self.factor),
        }
    }
}

/// Rows of a tensor that an operation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowRange {
    /// The first.
    pub first: u32,
    /// How many.
    pub count: u32,
}

impl RowRange {
    /// The first `count`.
    pub const fn all(count: u32) -> Self {
        Self { first: 0, count }
    }
}

/// Where image tokens stand in a sequence: in order, with something else after each `columns` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImagePlacement {
    /// The row of the first image token.
    pub start: u32,
    /// Image tokens between separators.
    pub columns: u32,
}

impl ImagePlacement {
    /// Image tokens from row 0 on, and nothing between them.
    pub(crate) const PLAIN: Self = Self { start: 0, columns: u32::MAX };

    /// The row of an image token in its sequence.
    pub(crate) fn row(self, token: u32) -> u32 {
        self.start + token + token / self.columns
    }
}

/// How the score that decides which tokens to keep is made from a token's confidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
pub enum ChoiceNoise {
    /// Log confidence plus Gumbel noise whose temperature falls linearly to zero.
    #[default]
    Linear,
    /// Log confidence plus Gumbel noise of one temperature.
    Constant,
    /// Uniformly random for the first two steps, then the confidence alone.
    WarmUp,
    /// Uniformly random at every step.
    Random,
}

/// What changes from step to step; all of it known to the host before the first step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepValues {
    /// Index of the step, from 0.
    pub step: u32,
    /// Tokens per image that the step before revealed.
    pub new_tokens: u32,
    /// Positions per image still masked before this step.
    pub masked: u32,
    /// Tokens per image that this step reveals.
    pub reveal: u32,
    /// Share of positions masked before this step, in `[0, 1]`.
    pub mask_ratio: f32,
    /// Guidance weight w: `(1 + w) * conditional - w * unconditional`.
    pub guidance: f32,
    /// Factor on the Gumbel noise of the choice, annealing included.
    pub choice_temperature: f32,
    /// Multiplies the logits (an inverse temperature, as in MaskGIT's official code), for the draw and the confidence.
    pub softmax_temperature: f32,
    /// Factor on the Gumbel noise of the draw alone: confidence does not know of it, and at 0 the best code is drawn.
    pub draw_temperature: f32,
    /// Whether Gumbel noise is as coarse as bf16 makes it.
    pub bf16_noise: bool,
    /// Whether this step chooses uniformly at random, without regard to confidence.
    pub random_choice: bool,
    /// Steps since the full step before; 0 at the first.
    pub since_full: u32,
    /// Full steps before this one.
    pub full_before: u32,
    /// Whether tokens are chosen by their rank in an order that is known in advance, not by confidence.
    pub ranked: bool,
    /// Whether the step does without the full model.
    pub predicted: bool,
    /// Whether the step does without guidance, so that the unconditional half need not run.
    pub unguided: bool,
    /// How far apart tokens of one step have to stand where they can, in cells of the grid; 0 to not ask.
    pub distance: f32,
    /// Tokens per image that are known before this step.
    pub committed: u32,
    /// Tokens per image that this step masks again, and reveals as many others in their place.
    pub remask: u32,
    /// In nats, how much the tokens of this step may know of each other at most; 0 where that is not asked.
    pub entropy_bound: f32,
    /// The probability from which a token counts as certain; 0 where that is not asked.
    pub certainty: f32,
    /// At a full step: tokens per image that it chooses for itself and for the predicted steps up to the next full one; 0 to not ask.
    pub unite: u32,
    /// Tokens per image that the full step before has chosen so, revealed ones included.
    pub united: u32,
}

impl StepValues {
    /// The step's value of a symbolic size.
    pub fn value(&self, symbol: Symbol) -> u32 {
        match symbol {
            Symbol::NewTokens => self.new_tokens,
            Symbol::Masked => self.masked,
            Symbol::Committed => self.committed,
            Symbol::United => self.united,
            Symbol::Recomputed(intervals) => intervals.recomputed(self),
            Symbol::Compared(intervals) => intervals.compared(self),
        }
    }
}

/// What a shader does with a binding. `Update` covers plain writing: WGSL has no write-only buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`, every element written and none read before.
    Write,
    /// `var<storage, read_write>`, old contents used.
    Update,
}

/// One buffer of a dispatch: `@group(0) @binding(index)`. Binding 0 is the parameter block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The number in the shader.
    pub index: u32,
    /// The tensor bound there.
    pub slot: Slot,
    /// What the shader does with it.
    pub access: Access,
}

impl Binding {
    pub(crate) fn read(index: u32, slot: Slot) -> Self {
        Self { index, slot, access: Access::Read }
    }
    pub(crate) fn write(index: u32, slot: Slot) -> Self {
        Self { index, slot, access: Access::Write }
    }
    pub(crate) fn update(index: u32, slot: Slot) -> Self {
        Self { index, slot, access: Access::Update }
    }
}

/// Floating-point operations and bytes moved to and from memory (each tensor counted once) by a dispatch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations; a multiply-add counts as two.
    pub flops: u64,
    /// Bytes read and written if every operand is touched once.
    pub bytes: u64,
}

impl Cost {
    /// A cost from `flops` and a number of four-byte elements.
    pub(crate) fn new(flops: u64, elements: u64) -> Self {
        Self { flops, bytes: elements * 4 }
    }
}

impl std::ops::Add for Cost {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { flops: self.flops + other.flops, bytes: self.bytes + other.bytes }
    }
}

impl std::iter::Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::default(), |a, b| a + b)
    }
}

/// The shape of a matrix product: `[m, k]` times `[k, n]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Product {
    /// Rows of the result.
    pub m: u32,
    /// Length of the sums.
    pub k: u32,
    /// Columns of the result.
    pub n: u32,
}

/// How a weight matrix stands in memory. On the CPU executor every format is widened to f32 when loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WeightFormat {
    /// Four-byte floats.
    #[default]
    F32,
    /// Two f16 in each u32, read with `unpack2x16float`: needs no `shader-f16`.
    F16,
    /// [`Quantization::Int8`].
    Int8,
    /// [`Quantization::Int4`].
    Int4 {
        /// Values that share a scale.
        group: u32,
    },
}

impl WeightFormat {
    /// How it is quantised, if it is.
    pub fn quantization(self) -> Option<Quantization> {
        match self {
            Self::F32 | Self::F16 => None,
            Self::Int8 => Some(Quantization::Int8),
            Self::Int4 { group } => Some(Quantization::Int4 { group }),
        }
    }

    /// Bytes of a row of `width` elements, which plain formats want padded already.
    pub(crate) fn row_bytes(self, width: u32) -> u64 {
        match self {
            Self::F32 => 4 * u64::from(width),
            Self::F16 => 2 * u64::from(width),
            Self::Int8 => Quantization::Int8.row_bytes(width),
            Self::Int4 { group } => Quantization::Int4 { group }.row_bytes(width),
        }
    }

    /// Tells a shader that imports `weights` or `embedding` what it will find.
    pub(crate) fn specialise(self, permutation: shader::Permutation) -> shader::Permutation {
        match self {
            Self::F32 => permutation,
            Self::F16 => permutation.flag("F16_WEIGHTS", true),
            Self::Int8 => permutation.flag("INT8", true),
            Self::Int4 { group } => permutation.flag("INT4", true).constant("GROUP", group),
        }
    }
}

/// Rows of a weight matrix are padded with zeros to a multiple of this, so that shaders load four at a time.
pub(crate) const ROW_ALIGNMENT: u32 = 4;

/// `width` rounded up to the padded row length of a weight matrix.
pub(crate) const fn padded(width: u32) -> u32 {
    width.next_multiple_of(ROW_ALIGNMENT)
}

/// One operation of a program: what to bind, what to dispatch, what it costs, and its CPU twin.
pub trait Kernel: Debug + Send + Sync {
    /// The shader and how it is specialised.
    fn permutation(&self) -> shader::Permutation;
    /// Every buffer, in binding order.
    fn bindings(&self) -> Vec<Binding>;
    /// The parameter block at a step: the bytes of the shader's `Params`.
    fn params(&self, step: &StepValues) -> Vec<u8>;
    /// Workgroups in x, y, z at a step; a zero means nothing is to be done.
    fn workgroups(&self, step: &StepValues) -> [u32; 3];
    /// Work and traffic at a step.
    fn cost(&self, step: &StepValues) -> Cost;
    /// The matrix products inside, and how often each occurs: what a benchmark runs alone for comparison.
    fn products(&self, _step: &StepValues) -> Vec<(Product, usize)> {
        Vec::new()
    }
    /// The weight, `[N, padded(inner)]`, that it multiplies by, and which rows of it: not read where an executor has packed them.
    fn multiplies_by(&self) -> Option<(Slot, Multiplied)> {
        None
    }
    /// Which bindings the shader can have in f16 where a device computes in it: by the flag that says so, of all of these at once.
    fn halves(&self) -> Vec<(&'static str, Vec<u32>)> {
        Vec::new()
    }
    /// The same in two operations, with sums over `parts` parts of K in between, if it can be cut so.
    fn split(&self, _parts: u32, _sums: Slot) -> Option<Split> {
        None
    }
    /// Sizes and options in a few words, for dumps and profiles.
    fn describe(&self) -> String;
    /// Runs the CPU twin.
    fn run(&self, step: &StepValues, io: &mut Buffers<'_>);
}

/// The buffers of one dispatch on the CPU, by binding number.
#[derive(Debug, Default)]
pub struct Buffers<'a> {
    read: [Option<&'a [f32]>; MAX_BINDINGS],
    write: [Option<&'a mut [f32]>; MAX_BINDINGS],
    packed: Option<&'a Packed>,
    in_bf16: bool,
}

/// Binding 0 is the parameter block, then at most eight storage buffers: WebGPU's default limit.
pub(crate) const MAX_BINDINGS: usize = 9;

impl<'a> Buffers<'a> {
    pub(crate) fn bind_read(&mut self, index: u32, data: &'a [f32]) {
        self.read[index as usize] = Some(data);
    }

    pub(crate) fn bind_packed(&mut self, packed: Option<&'a Packed>) {
        self.packed = packed;
    }

    pub(crate) fn round_to_bf16(&mut self, rounds: bool) {
        self.in_bf16 = rounds;
    }

    /// Whether products may be of operands rounded to bf16.
    pub(crate) fn in_bf16(&self) -> bool {
        self.in_bf16
    }

    /// [`Kernel::multiplies_by`], if it is packed.
    pub(crate) fn packed(&self) -> Option<&'a Packed> {
        self.packed
    }

    pub(crate) fn bind_write(&mut self, index: u32, data: &'a mut [f32]) {
        self.write[index as usize] = Some(data);
    }

    /// The read-only floats at a binding; empty when the binding is absent.
    pub(crate) fn f32(&self, index: u32) -> &'a [f32] {
        self.read[index as usize].unwrap_or(&[])
    }

    /// The read-only integers at a binding; empty when the binding is absent.
    pub(crate) fn u32(&self, index: u32) -> &'a [u32] {
        bytemuck::cast_slice(self.f32(index))
    }

    /// Takes the writable floats at a binding; empty when absent or taken before.
    pub(crate) fn f32_mut(&mut self, index: u32) -> &'a mut [f32] {
        self.write[index as usize].take().unwrap_or(&mut [])
    }

    /// Takes the writable integers at a binding.
    pub(crate) fn u32_mut(&mut self, index: u32) -> &'a mut [u32] {
        bytemuck::cast_slice_mut(self.f32_mut(index))
    }
}

/// Splits `groups` workgroups over x and y where one dimension (65,535) is not enough; shaders rebuild the
/// index as `x + y * num_workgroups.x` and check it against their count.
pub(crate) fn split_workgroups(groups: u32) -> [u32; 3] {
    const MAX: u32 = 65_535;
    if groups <= MAX {
        return [groups, 1, 1];
    }
    let y = groups.div_ceil(MAX);
    [groups.div_ceil(y), y, 1]
}
