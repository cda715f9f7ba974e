//! A matrix product with its epilogue: bias, activation, residual. Twin of `shaders/linear.wgsl`.
//!
//! The product itself, [`multiply`], serves the heads too, and as [`product`] convolutions.

use super::{
    Binding, Buffers, Cost, Extent, Kernel, Product, ROW_ALIGNMENT, Slot, StepValues, WeightFormat, math,
    padded, shader::Permutation, split::Split, split_workgroups,
};
use gemm::Parallelism;
use migm_products::{Finish, Multiplied, Packed};
use rayon::prelude::*;

/// What is applied to a product after its bias.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Activation {
    /// Nothing.
    #[default]
    None,
    /// Exact (erf) GELU.
    Gelu,
    /// SiLU.
    Silu,
}

impl Activation {
    /// Applies the function in place. Twin of `shaders/shared/activation.wgsl`.
    #[inline(always)]
    pub(crate) fn apply(self, values: &mut [f32]) {
        // One loop a function: a branch inside would keep it from being vectorised.
        match self {
            Self::None => {}
            Self::Gelu => values.iter_mut().for_each(|v| *v = math::gelu(*v)),
            Self::Silu => values.iter_mut().for_each(|v| *v = math::silu(*v)),
        }
    }

    /// The shader flag, if there is one.
    pub(crate) fn flag(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Gelu => Some("GELU"),
            Self::Silu => Some("SILU"),
        }
    }
}

/// `y[r, o] = activation(x[r] . weight[weight_row + o] + bias[bias_row + o])`, plus the old `y[r, o]` if accumulating.
///
/// Shapes: `x` is `[rows, inner]`, `y` is `[rows, outer]`, `weight` is `[N, padded(inner)]` with `N >= weight_row + outer`,
/// `bias` `[at least bias_row + outer]`: the parts of a packed projection are products of their own. `x` and `y` may be
/// parts of larger tensors, see [`Window`].
#[derive(Debug, Clone)]
pub(crate) struct Linear {
    pub(crate) x: Slot,
    pub(crate) weight: Slot,
    pub(crate) format: WeightFormat,
    pub(crate) bias: Option<Slot>,
    pub(crate) y: Slot,
    pub(crate) rows: Extent,
    pub(crate) inner: u32,
    pub(crate) outer: u32,
    pub(crate) weight_row: u32,
    pub(crate) bias_row: u32,
    pub(crate) activation: Activation,
    pub(crate) accumulate: bool,
    pub(crate) window: Window,
}

/// Where `x` and `y` stand in their tensors, so that a product can be made in parts: by rows where an activation would be
/// too large for a binding, by columns where a weight is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Window {
    /// The first row of `x`.
    pub(crate) x_row: u32,
    /// The first row of `y`.
    pub(crate) y_row: u32,
    /// The first column of `y`.
    pub(crate) y_column: u32,
    /// Columns of `y` in all; 0 for as many as the product has.
    pub(crate) y_width: u32,
}

/// The shader's parameter block.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Params {
    pub(crate) rows: u32,
    pub(crate) inner: u32,
    pub(crate) outer: u32,
    pub(crate) weight_row: u32,
    pub(crate) bias_row: u32,
    pub(crate) x_row: u32,
    /// The first element of `y`.
    pub(crate) y_start: u32,
    pub(crate) y_width: u32,
}

impl Linear {
    /// The binding of the result. A later part leaves what the parts before it have written.
    pub(crate) fn result(&self) -> Binding {
        let begun = self.accumulate || self.window.y_row > 0 || self.window.y_column > 0;
        if begun { Binding::update(4, self.y) } else { Binding::write(4, self.y) }
    }

    pub(crate) fn at(&self, step: &StepValues) -> Params {
        let Window { x_row, y_row, y_column, y_width } = self.window;
        let y_width = if y_width == 0 { self.outer } else { y_width };
        Params {
            rows: self.rows.at(step),
            inner: self.inner,
            outer: self.outer,
            weight_row: self.weight_row,
            bias_row: self.bias_row,
            x_row,
            y_start: y_row * y_width + y_column,
            y_width,
        }
    }
}

impl Kernel for Linear {
    fn permutation(&self) -> Permutation {
        let permutation = Permutation::new("linear").flag("VEC4", self.inner.is_multiple_of(4));
        let mut permutation = self
            .format
            .specialise(permutation)
            .flag("BIAS", self.bias.is_some())
            .flag("ACCUMULATE", self.accumulate);
        permutation.flags.extend(self.activation.flag());
        permutation
    }

    fn bindings(&self) -> Vec<Binding> {
        let mut bindings = vec![Binding::read(1, self.x), Binding::read(2, self.weight)];
        bindings.extend(self.bias.map(|slot| Binding::read(3, slot)));
        bindings.push(self.result());
        bindings
    }

    fn halves(&self) -> Vec<(&'static str, Vec<u32>)> {
        vec![("F16_X", vec![1]), ("F16_Y", vec![4])]
    }

    fn params(&self, step: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&self.at(step)).to_vec()
    }

    fn workgroups(&self, step: &StepValues) -> [u32; 3] {
        tiles(self.rows.at(step), self.outer)
    }

    fn cost(&self, step: &StepValues) -> Cost {
        let [rows, inner, outer] = [self.rows.at(step), self.inner, self.outer].map(u64::from);
        let results = rows * outer * if self.accumulate { 2 } else { 1 };
        let biases = if self.bias.is_some() { outer } else { 0 };
        Cost::new(2 * rows * inner * outer, rows * inner + results + biases)
            + weight_cost(self.format, outer, self.inner)
    }

    fn products(&self, step: &StepValues) -> Vec<(Product, usize)> {
        vec![(Product { m: self.rows.at(step), k: self.inner, n: self.outer }, 1)]
    }

    fn multiplies_by(&self) -> Option<(Slot, Multiplied)> {
        let Self { weight_row: row, inner, outer, .. } = *self;
        // A few rows, such as what a step is told, cost next to nothing and are not worth a rounding.
        Some((self.weight, Multiplied { row, inner, outer, rounds: self.rows.max() >= FEWEST_ROUNDED }))
    }

    fn split(&self, parts: u32, sums: Slot) -> Option<Split> {
        Some(Split::new(self, parts, sums))
    }

    fn describe(&self) -> String {
        let mut text = format!("[{}, {}] x [{}, {1}]", self.rows, self.inner, self.outer);
        if self.weight_row > 0 {
            text += &format!(" from row {}", self.weight_row);
        }
        if self.window.y_row > 0 {
            text += &format!(", rows from {} on", self.window.y_row);
        }
        if self.window.y_column > 0 {
            text += &format!(", columns from {} on", self.window.y_column);
        }
        if let Some(flag) = self.activation.flag() {
            text += &format!(", {}", flag.to_lowercase());
        }
        if self.accumulate {
            text += ", added";
        }
        text
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        let epilogue = Epilogue { activation: self.activation, accumulate: self.accumulate };
        let weight = Weight::of(io, 2, self.weight_row, self.inner);
        linear(self.at(step), epilogue, io.f32(1), weight, io.f32(3), io.f32_mut(4));
    }
}

/// Products of fewer rows stay in f32.
const FEWEST_ROUNDED: u32 = 64;

/// Side of the square of results that a workgroup of `shared/gemm_tile.wgsl` makes.
const TILE: u32 = 64;

/// The workgroups of `shared/gemm_tile.wgsl` for a result of `rows` by `outer`.
pub(crate) fn tiles(rows: u32, outer: u32) -> [u32; 3] {
    split_workgroups(rows.div_ceil(TILE) * outer.div_ceil(TILE))
}

/// The traffic of reading `rows` rows of a weight matrix once.
pub(crate) fn weight_cost(format: WeightFormat, rows: u64, inner: u32) -> Cost {
    Cost { flops: 0, bytes: rows * format.row_bytes(padded(inner)) }
}

/// What becomes of a product's results.
#[derive(Clone, Copy)]
pub(crate) struct Epilogue {
    pub(crate) activation: Activation,
    pub(crate) accumulate: bool,
}

/// What a product multiplies by.
#[derive(Clone, Copy)]
pub(crate) enum Weight<'a> {
    /// Rows padded to a multiple of four, from the first that is meant.
    Rows(&'a [f32]),
    /// The same, packed.
    Packed(&'a Packed),
}

impl<'a> Weight<'a> {
    /// The weight of a kernel: packed, or rows of what is at a binding.
    pub(crate) fn of(io: &Buffers<'a>, binding: u32, first_row: u32, inner: u32) -> Self {
        let rows = || Self::Rows(&io.f32(binding)[(first_row * padded(inner)) as usize..]);
        io.packed().map_or_else(rows, Self::Packed)
    }
}

/// The twin. An empty `bias` means none.
pub(crate) fn linear(
    p: Params,
    epilogue: Epilogue,
    x: &[f32],
    weight: Weight<'_>,
    bias: &[f32],
    y: &mut [f32],
) {
    let [rows, inner, outer, width] = [p.rows, p.inner, p.outer, p.y_width].map(|size| size as usize);
    if rows == 0 || outer == 0 {
        return;
    }
    let x = &x[p.x_row as usize * inner..];
    let bias = if bias.is_empty() { bias } else { &bias[p.bias_row as usize..][..outer] };
    // From the first element of the result to its last; between its rows lies what is not ours.
    let y = &mut y[p.y_start as usize..][..(rows - 1) * width + outer];
    let Epilogue { activation, accumulate } = epilogue;
    let sizes = Sizes { rows, inner, outer };
    let finish = |_, first: usize, values: &mut [f32]| {
        math::simd(
            #[inline(always)]
            || {
                if !bias.is_empty() {
                    values.iter_mut().zip(&bias[first..]).for_each(|(y, bias)| *y += bias);
                }
                activation.apply(values);
            },
        );
    };
    let finish = (!bias.is_empty() || activation != Activation::None).then_some(&finish as Finish<'_>);
    if accumulate && activation != Activation::None {
        // The old contents must not pass through the activation: they are added from a copy.
        let old = y.to_vec();
        multiply(sizes, x, weight, (y, width), false, finish);
        y.par_chunks_mut(width).zip(old.par_chunks(width)).with_min_len(1 + (1 << 14) / width).for_each(
            |(y, old)| {
                y[..outer].iter_mut().zip(old).for_each(|(y, old)| *y += old);
            },
        );
        return;
    }
    multiply(sizes, x, weight, (y, width), accumulate, finish);
}

/// `y = x weightT`, or `y += x weightT`, rows of `y` lying `y_stride` apart; then `finish` is given every row or part of one: the row, the
/// first output, and the values.
pub(crate) fn multiply(
    sizes: Sizes,
    x: &[f32],
    weight: Weight<'_>,
    (y, y_stride): (&mut [f32], usize),
    accumulate: bool,
    finish: Option<Finish<'_>>,
) {
    match weight {
        Weight::Packed(packed) => {
            packed.product(sizes.rows, x, (y, y_stride), accumulate, finish.unwrap_or(&|_, _, _| {}));
        }
        Weight::Rows(weight) => {
            product_into(sizes, x, weight, y, y_stride, accumulate, Parallelism::Rayon(0));
            let Some(finish) = finish else { return };
            let rows = y.par_chunks_mut(y_stride).with_min_len(1 + 8192 / y_stride).enumerate();
            rows.for_each(|(row, y)| finish(row, 0, &mut y[..sizes.outer]));
        }
    }
}

/// Sizes of a product: the result is `[rows, outer]`, sums run over `inner`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) rows: usize,
    pub(crate) inner: usize,
    pub(crate) outer: usize,
}

/// `y = x weightT`, or `y += x weightT`. Rows of `x` and `y` are dense, rows of `weight` padded to a multiple of four.
pub(crate) fn product(
    sizes: Sizes,
    x: &[f32],
    weight: &[f32],
    y: &mut [f32],
    accumulate: bool,
    threads: Parallelism,
) {
    product_into(sizes, x, weight, y, sizes.outer, accumulate, threads);
}

/// The same, where rows of `y` lie `y_stride` apart.
pub(crate) fn product_into(
    Sizes { rows, inner, outer }: Sizes,
    x: &[f32],
    weight: &[f32],
    y: &mut [f32],
    y_stride: usize,
    accumulate: bool,
    threads: Parallelism,
) {
    if rows == 0 || outer == 0 {
        return;
    }
    let weight_stride = inner.next_multiple_of(ROW_ALIGNMENT as usize);
    let x = &x[..rows * inner];
    let weight = &weight[..outer * weight_stride];
    assert!(outer <= y_stride, "rows of a product overlap");
    let y = &mut y[..(rows - 1) * y_stride + outer];
    // SAFETY: the three slices above cover every element that these sizes and strides reach.
    unsafe {
        gemm::gemm(
            rows,
            outer,
            inner,
            y.as_mut_ptr(),
            1,
            y_stride as isize,
            accumulate,
            x.as_ptr(),
            1,
            inner as isize,
            weight.as_ptr(),
            weight_stride as isize,
            1,
            1.0,
            1.0,
            false,
            false,
            false,
            threads,
        );
    }
}

#[cfg(test)]
pub(crate) mod testing;

#[cfg(test)]
mod tests;
