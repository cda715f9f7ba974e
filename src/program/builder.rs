//! The builder: one short method an operation, so that a model file reads like its paper. The file is a little long because there are many
//! operations, and nothing else in it.

use super::matrix::Matrix;
use super::{Element, Formats, Layout, Op, Program, ProgramError, Role, Storage, Tensor, WeightSpec};
use crate::kernels::affine_silu::AffineSilu;
use crate::kernels::attention::{Attention, Operand};
use crate::kernels::combine::Combine;
use crate::kernels::conv2d::{Conv2d, ConvForm};
use crate::kernels::gated_silu::GatedSilu;
use crate::kernels::group_norm::{GroupNorm, GroupNormStats};
use crate::kernels::head_max::HeadMax;
use crate::kernels::layer_norm::LayerNorm;
use crate::kernels::linear::{Activation, Linear, Window};
use crate::kernels::rms_norm::RmsNorm;
use crate::kernels::rope::{Positions, Rope};
use crate::kernels::rows::{GatherRows, ScatterRows};
use crate::kernels::{Extent, Kernel, RowRange, Slot, WeightFormat};
use std::collections::HashMap;

/// Builds a [`Program`]. Slots are handed out in order; operations run in the order of the calls.
#[derive(Debug)]
pub struct Builder {
    pub(super) program: Program,
    scope: Vec<String>,
    formats: Formats,
    role: Role,
    /// What was handed out: a large model has tens of thousands.
    states: HashMap<String, Slot>,
    weights: HashMap<WeightSpec, Slot>,
}

/// Weight and bias of a linear layer or convolution, declared and ready to use.
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    pub(super) weight: Matrix,
    bias: Option<Slot>,
    inner: u32,
    /// First row of the weight used, and how many: all of them, or a part of a packed projection.
    pub(super) first: u32,
    pub(super) outer: u32,
}

impl Layer {
    /// The weight.
    pub fn weight(&self) -> Matrix {
        self.weight
    }

    /// Rows of it that are used: the width of its result.
    pub fn outer(&self) -> u32 {
        self.outer
    }

    /// Rows `first..first + count` of a packed projection as a layer of its own.
    pub fn rows(self, first: u32, count: u32) -> Self {
        Self { first: self.first + first, outer: count, ..self }
    }
}

/// Weight and bias of a normalisation.
#[derive(Clone, Copy, Debug)]
pub struct Norm {
    weight: Slot,
    bias: Slot,
}

/// Where a product goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Onto {
    /// It is added to what is there: the end of a residual branch.
    Sum(Slot),
    /// It takes the place of what is there.
    Place(Slot),
}

impl Onto {
    fn parts(self) -> (Slot, bool) {
        match self {
            Self::Sum(slot) => (slot, true),
            Self::Place(slot) => (slot, false),
        }
    }
}

impl Builder {
    /// An empty program. `formats` says in which precision a weight matrix is kept.
    pub fn new(name: &str, formats: Formats) -> Self {
        let program = Program { name: name.to_owned(), tensors: Vec::new(), ops: Vec::new() };
        Self {
            program,
            scope: Vec::new(),
            formats,
            role: Role::default(),
            states: HashMap::new(),
            weights: HashMap::new(),
        }
    }

    /// The finished program.
    ///
    /// # Errors
    /// An operation reads what nothing wrote, binds a tensor twice or writes to a weight.
    pub fn finish(self) -> Result<Program, ProgramError> {
        self.program.check()?;
        Ok(self.program)
    }

    /// Runs `body` with `name` added to the scope of its operations.
    pub fn scope<R>(&mut self, name: impl Into<String>, body: impl FnOnce(&mut Self) -> R) -> R {
        self.scope.push(name.into());
        let result = body(self);
        self.scope.pop();
        result
    }

    /// Runs `body`, whose weights are a block's: see [`Role`].
    pub fn block<R>(&mut self, body: impl FnOnce(&mut Self) -> R) -> R {
        let before = std::mem::replace(&mut self.role, Role::Block);
        let result = body(self);
        self.role = before;
        result
    }

    /// Appends any kernel.
    pub fn push(&mut self, kernel: impl Kernel + 'static) {
        self.program.ops.push(Op { kernel: Box::new(kernel), scope: self.scope.join(".") });
    }

    fn tensor(&mut self, tensor: Tensor) -> Slot {
        self.program.tensors.push(tensor);
        Slot(self.program.tensors.len() as u32 - 1)
    }

    /// A temporary of floats.
    pub fn temporary(&mut self, name: &str, rows: Extent, width: u32) -> Slot {
        let scope = self.scope.join(".");
        let name = if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") };
        self.tensor(Tensor { name, rows, width, element: Element::F32, storage: Storage::Temporary })
    }

    /// A temporary of integers.
    pub fn temporary_u32(&mut self, name: &str, rows: Extent, width: u32) -> Slot {
        let slot = self.temporary(name, rows, width);
        self.program.tensors[slot.0 as usize].element = Element::U32;
        slot
    }

    /// The session's tensor of that name; asked for twice, it is the same slot.
    pub fn state(&mut self, name: &str, rows: u32, width: u32, element: Element) -> Slot {
        if let Some(&known) = self.states.get(name) {
            return known;
        }
        let rows = Extent::fixed(rows);
        let slot =
            self.tensor(Tensor { name: name.to_owned(), rows, width, element, storage: Storage::State });
        self.states.insert(name.to_owned(), slot);
        slot
    }

    /// A weight by official name and shape; asked for twice, it is the same slot.
    pub fn weight(&mut self, name: &str, shape: &[usize], layout: Layout) -> Slot {
        let spec = self.spec(name, shape, layout);
        if let Some(&known) = self.weights.get(&spec) {
            return known;
        }
        self.weight_tensor(spec)
    }

    pub(super) fn spec(&self, name: &str, shape: &[usize], layout: Layout) -> WeightSpec {
        let (name, shape) = (name.to_owned(), shape.to_vec());
        let mut spec = WeightSpec { name, shape, layout, format: WeightFormat::F32 };
        if matches!(layout, Layout::Matrix | Layout::Rows { .. } | Layout::Convolution) {
            spec.format = self.formats.of(&spec, self.role);
            debug_assert!(spec.format.quantization().is_none() || spec.is_quantizable());
        }
        spec
    }

    pub(super) fn weight_tensor(&mut self, spec: WeightSpec) -> Slot {
        let (rows, width) = spec.extent();
        let (name, rows) = (spec.name.clone(), Extent::fixed(rows));
        let storage = Storage::Weight(spec.clone());
        let slot = self.tensor(Tensor { name, rows, width, element: Element::F32, storage });
        self.weights.insert(spec, slot);
        slot
    }

    /// A vector of `width`, unpadded f32.
    pub fn vector(&mut self, name: &str, width: u32) -> Slot {
        self.weight(name, &[width as usize], Layout::Dense)
    }

    /// The precision in which a weight is kept.
    pub fn format(&self, weight: Slot) -> WeightFormat {
        match &self.program.tensor(weight).storage {
            Storage::Weight(spec) => spec.format,
            _ => WeightFormat::F32,
        }
    }

    /// The linear layer `{name}.weight [outer, inner]`, `{name}.bias [outer]`.
    pub fn layer(&mut self, name: &str, outer: u32, inner: u32) -> Layer {
        self.layer_named(&format!("{name}.weight"), &format!("{name}.bias"), outer, inner)
    }

    /// A linear layer whose tensors do not end in `.weight` and `.bias`.
    pub fn layer_named(&mut self, weight: &str, bias: &str, outer: u32, inner: u32) -> Layer {
        let weight = self.matrix(weight, &[outer as usize, inner as usize], None);
        let bias = Some(self.vector(bias, outer));
        Layer { weight, bias, inner, first: 0, outer }
    }

    /// The linear layer `{name}.weight [outer, inner]` alone.
    pub fn layer_without_bias(&mut self, name: &str, outer: u32, inner: u32) -> Layer {
        let shape = [outer as usize, inner as usize];
        let weight = self.matrix(&format!("{name}.weight"), &shape, None);
        Layer { weight, bias: None, inner, first: 0, outer }
    }

    /// Rows `first..first + count` of the linear layer `{name}.weight [outer, inner]`, which has no bias: a part of a head.
    pub fn layer_part(&mut self, name: &str, outer: u32, inner: u32, first: u32, count: u32) -> Layer {
        let shape = [outer as usize, inner as usize];
        let weight = self.matrix(&format!("{name}.weight"), &shape, Some(RowRange { first, count }));
        Layer { weight, bias: None, inner, first: 0, outer: count }
    }

    /// A 1x1 convolution `{name}.weight [outer, inner, 1, 1]`: on channels-last activations, a linear layer.
    pub fn pointwise(&mut self, name: &str, outer: u32, inner: u32) -> Layer {
        let shape = [outer as usize, inner as usize, 1, 1];
        let weight = self.matrix(&format!("{name}.weight"), &shape, None);
        let bias = Some(self.vector(&format!("{name}.bias"), outer));
        Layer { weight, bias, inner, first: 0, outer }
    }

    /// The normalisation `{name}.{weight,bias} [width]`.
    pub fn norm(&mut self, name: &str, width: u32) -> Norm {
        Norm {
            weight: self.vector(&format!("{name}.weight"), width),
            bias: self.vector(&format!("{name}.bias"), width),
        }
    }

    /// Rows of a tensor at the largest step.
    pub fn rows(&self, slot: Slot) -> u32 {
        self.rows_of(slot).max()
    }

    /// Rows of a tensor, by step.
    pub(crate) fn rows_of(&self, slot: Slot) -> Extent {
        self.program.tensor(slot).rows
    }

    fn width_of(&self, slot: Slot) -> u32 {
        self.program.tensor(slot).width
    }

    /// `rows` rows of `x` from the first of `starts` on, to rows of `y` from the second on; a product for each part of the weight.
    fn linear_window(
        &mut self,
        x: Slot,
        layer: Layer,
        y: Slot,
        rows: Extent,
        [x_row, y_row]: [u32; 2],
        activation: Activation,
        accumulate: bool,
    ) {
        for (part, columns) in self.parts_of(layer) {
            let kernel = Linear {
                x,
                weight: part.slot,
                format: self.format(part.slot),
                bias: layer.bias,
                y,
                rows,
                inner: layer.inner,
                outer: columns.count,
                weight_row: layer.first + columns.first - part.first,
                bias_row: layer.first + columns.first,
                activation,
                accumulate,
                window: Window { x_row, y_row, y_column: columns.first, y_width: layer.outer },
            };
            self.push(kernel);
        }
    }

    /// `x W^T + b` for a range of the rows of `x`.
    pub fn linear_rows(&mut self, x: Slot, range: RowRange, layer: Layer) -> Slot {
        let rows = self.rows_of(x).within(range);
        let y = self.temporary("linear", rows, layer.outer);
        self.linear_window(x, layer, y, rows, [range.first, 0], Activation::None, false);
        y
    }

    /// `x W^T + b`, all rows of `x`, to rows of `onto` from `first` on.
    pub fn linear_rows_onto(&mut self, x: Slot, layer: Layer, onto: Onto, first: u32) {
        let (rows, (y, accumulate)) = (self.rows_of(x), onto.parts());
        self.linear_window(x, layer, y, rows, [0, first], Activation::None, accumulate);
    }

    /// `x W^T + b` for the first `rows` rows of `x`, which may be fewer than it has.
    pub(crate) fn linear_first(&mut self, x: Slot, layer: Layer, rows: Extent) -> Slot {
        let y = self.temporary("linear", rows, layer.outer);
        self.linear_window(x, layer, y, rows, [0, 0], Activation::None, false);
        y
    }

    /// `activation(x W^T + b)`.
    pub(crate) fn linear_with(&mut self, x: Slot, layer: Layer, activation: Activation) -> Slot {
        let y = self.temporary("linear", self.rows_of(x), layer.outer);
        self.linear_window(x, layer, y, self.rows_of(x), [0, 0], activation, false);
        y
    }

    /// `x W^T + b`.
    pub fn linear(&mut self, x: Slot, layer: Layer) -> Slot {
        self.linear_with(x, layer, Activation::None)
    }

    /// `y = x W^T + b`, into a state.
    pub fn linear_out(&mut self, x: Slot, layer: Layer, y: Slot) {
        self.linear_onto(x, layer, Onto::Place(y));
    }

    /// `x W^T + b`, added to or in place of what is there.
    pub fn linear_onto(&mut self, x: Slot, layer: Layer, onto: Onto) {
        self.linear_rows_onto(x, layer, onto, 0);
    }

    /// `y += x W^T + b`: the end of a residual branch, in place.
    pub fn linear_add(&mut self, x: Slot, layer: Layer, y: Slot) {
        self.linear_onto(x, layer, Onto::Sum(y));
    }

    /// The largest logits of every row of `x` (see [`HeadMax`]) into `y`; the bias comes with its rows.
    pub(crate) fn head_max(&mut self, x: Slot, head: Layer, bias: Option<(Slot, u32)>, y: Slot) {
        for (part, codes) in self.parts_of(head) {
            let kernel = HeadMax {
                x,
                weight: part.slot,
                format: self.format(part.slot),
                bias,
                y,
                rows: self.rows(x),
                inner: head.inner,
                outer: head.outer,
                codes,
                weight_row: head.first + codes.first - part.first,
            };
            self.push(kernel);
        }
    }

    /// Layer normalisation into a new temporary.
    pub fn layer_norm(&mut self, x: Slot, norm: Norm, eps: f32) -> Slot {
        let y = self.temporary("norm", self.rows_of(x), self.width_of(x));
        self.layer_norm_into(x, norm, eps, None, y);
        y
    }

    /// Layer normalisation into `y`, with a scale-shift `[1, 2 * width]` after it if given.
    pub fn layer_norm_into(&mut self, x: Slot, norm: Norm, eps: f32, modulation: Option<Slot>, y: Slot) {
        let (rows, width) = (self.rows_of(x), self.width_of(x));
        self.push(LayerNorm { x, weight: norm.weight, bias: norm.bias, modulation, y, rows, width, eps });
    }

    /// Root-mean-square normalisation into a new temporary.
    pub fn rms_norm(&mut self, x: Slot, weight: Slot, eps: f32) -> Slot {
        let y = self.temporary("norm", self.rows_of(x), self.width_of(x));
        self.rms_norm_into(x, weight, eps, None, y);
        y
    }

    /// Root-mean-square normalisation into `y`, with a scale-shift `[1, 2 * width]` after it if given.
    pub fn rms_norm_into(&mut self, x: Slot, weight: Slot, eps: f32, modulation: Option<Slot>, y: Slot) {
        let (rows, width) = (self.rows_of(x), self.width_of(x));
        self.push(RmsNorm { x, weight, modulation, y, rows, width, eps });
    }

    /// Rotary position embedding of all columns of `x`, in place.
    pub(crate) fn rope(&mut self, x: Slot, heads: u32, positions: Positions, theta: f32) {
        let (rows, stride) = (self.rows_of(x), self.width_of(x));
        let head_width = stride / heads;
        self.push(Rope { x, positions, rows, stride, offset: 0, heads, head_width, theta });
    }

    /// `x = silu(x) * gate`, in place.
    pub fn gated_silu(&mut self, x: Slot, gate: Slot) {
        let (rows, width) = (self.rows_of(x), self.width_of(x));
        self.push(GatedSilu { gate, x, rows, width });
    }

    /// Attention of `sequences` over keys of `key_sequences` (sequence s reads `s % key_sequences`).
    pub(crate) fn attention(
        &mut self,
        query: Operand,
        key: Operand,
        value: Operand,
        sequences: u32,
        key_sequences: u32,
        heads: u32,
        width: u32,
    ) -> Slot {
        let rows = self.rows_of(query.slot);
        let queries = rows.per_image(sequences);
        let keys = self.rows_of(key.slot).per_image(key_sequences);
        let y = self.temporary("attention", rows, width);
        let head_width = width / heads;
        self.push(Attention {
            query,
            key,
            value,
            y,
            sequences,
            key_sequences,
            queries,
            keys,
            heads,
            head_width,
        });
        y
    }

    /// Self-attention over the packed projection `[rows, 3 * width]` of queries, keys and values.
    pub fn self_attention(&mut self, qkv: Slot, sequences: u32, heads: u32) -> Slot {
        let stride = self.width_of(qkv);
        let width = stride / 3;
        let part = |i| Operand { slot: qkv, offset: i * width, stride };
        self.attention(part(0), part(1), part(2), sequences, sequences, heads, width)
    }

    /// Group normalisation of `[images * pixels, channels]`, with SiLU after it if asked.
    pub fn group_norm(&mut self, x: Slot, norm: Norm, images: u32, groups: u32, silu: bool) -> Slot {
        let (rows, channels) = (self.rows_of(x), self.width_of(x));
        let pixels = rows.max() / images;
        let chunks = GroupNormStats::chunks_for(pixels, channels, groups);
        let statistics = self.temporary("statistics", Extent::fixed(images * groups * chunks), 2);
        let y = self.temporary("norm", rows, channels);
        self.push(GroupNormStats { x, statistics, images, pixels, channels, groups, chunks });
        self.push(GroupNorm {
            x,
            statistics,
            weight: norm.weight,
            bias: norm.bias,
            y,
            images,
            pixels,
            channels,
            groups,
            chunks,
            eps: 1e-6,
            silu,
        });
        y
    }

    /// SiLU of each channel scaled and shifted by `norm`, in place of a [`Builder::group_norm`].
    pub fn affine_silu(&mut self, x: Slot, norm: Norm) -> Slot {
        let (rows, channels) = (self.rows_of(x), self.width_of(x));
        let y = self.temporary("affine", rows, channels);
        self.push(AffineSilu { x, weight: norm.weight, bias: norm.bias, y, rows, channels });
        y
    }

    /// The 3x3 convolution `{name}.{weight,bias}` over `[images, height, width, channels]` into a new temporary.
    pub(crate) fn conv3x3(
        &mut self,
        x: Slot,
        name: &str,
        cout: u32,
        shape: [u32; 3],
        form: ConvForm,
    ) -> Slot {
        let [images, height, width] = shape;
        let (out_height, out_width) = form.output_size(height, width);
        let y = self.temporary("conv", Extent::fixed(images * out_height * out_width), cout);
        self.conv3x3_into(x, name, cout, shape, form, y, false);
        y
    }

    /// The same into `y`, or added to it.
    pub(crate) fn conv3x3_into(
        &mut self,
        x: Slot,
        name: &str,
        cout: u32,
        [images, height, width]: [u32; 3],
        form: ConvForm,
        y: Slot,
        accumulate: bool,
    ) {
        let cin = self.width_of(x);
        let official = [cout as usize, cin as usize, 3, 3];
        let weight = self.weight(&format!("{name}.weight"), &official, Layout::Convolution);
        let bias = Some(self.vector(&format!("{name}.bias"), cout));
        let format = self.format(weight);
        self.push(Conv2d { x, weight, format, bias, y, images, height, width, cin, cout, form, accumulate });
    }

    /// `y = a x + c y`, two tensors of one size; what `y` held is not read where `c` is 0.
    pub fn combine(&mut self, a: f32, x: Slot, c: f32, y: Slot) {
        let (rows, width) = (self.rows_of(x), self.width_of(x));
        self.push(Combine { x, y, rows, width, a, b: c });
    }

    /// The features' size: rows at the largest step, and numbers in a row.
    pub fn size(&self, slot: Slot) -> [u32; 2] {
        [self.rows(slot), self.width_of(slot)]
    }

    /// `y[indices[r]] = x[r]`, all rows of `x`.
    pub fn scatter(&mut self, x: Slot, indices: Slot, y: Slot) {
        let (rows, width, y_rows) = (self.rows_of(x), self.width_of(x), self.rows(y));
        self.push(ScatterRows { x, indices, y, rows, width, y_rows });
    }

    /// `y[r] = x[indices[r]]`, so many rows, into a new temporary.
    pub(crate) fn gather(&mut self, x: Slot, indices: Slot, rows: Extent) -> Slot {
        let (table_rows, width) = (self.rows(x), self.width_of(x));
        let y = self.temporary("gather", rows, width);
        self.push(GatherRows { table: x, indices, y, rows, width, table_stride: width, table_rows });
        y
    }

    /// Rows of a padded table by index: the codebook lookup.
    pub fn lookup(&mut self, table: Slot, table_rows: u32, indices: Slot, rows: u32, width: u32) -> Slot {
        let table_stride = self.width_of(table);
        let rows = Extent::fixed(rows);
        let y = self.temporary("lookup", rows, width);
        self.push(GatherRows { table, indices, y, rows, width, table_stride, table_rows });
        y
    }
}
