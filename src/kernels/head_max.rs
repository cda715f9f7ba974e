//! The largest logits of every row, without a table of all logits. Twin of `shaders/head_max.wgsl`.

use super::linear::{Sizes, Weight, multiply, tiles, weight_cost};
use super::{
    Binding, Buffers, Cost, Kernel, Product, RowRange, Slot, StepValues, WeightFormat, math,
    shader::Permutation,
};
use migm_products::Multiplied;
use rayon::prelude::*;

/// `y[r, 16 t + i] = max over j of (x[r] . weight[weight_row + c - codes.first] + bias[r % bias_rows, c])` with
/// `c = 64 t + i + 16 j` one of `codes` and `j` in 0 to 3; the lowest float where there are no such codes. The largest of a row
/// of `y` is that row's largest logit.
///
/// Shapes: `x` is `[rows, inner]`, `weight` `[at least weight_row + codes.count, padded(inner)]`, `bias` `[bias_rows, outer]`,
/// `y` `[rows, HeadMax::width(outer)]`. `codes.first` is a multiple of 64: a head too large for one binding comes in such parts.
#[derive(Debug, Clone)]
pub(crate) struct HeadMax {
    pub(crate) x: Slot,
    pub(crate) weight: Slot,
    pub(crate) format: WeightFormat,
    /// With its rows.
    pub(crate) bias: Option<(Slot, u32)>,
    pub(crate) y: Slot,
    pub(crate) rows: u32,
    pub(crate) inner: u32,
    /// Codes in all.
    pub(crate) outer: u32,
    /// Those whose rows `weight` has.
    pub(crate) codes: RowRange,
    pub(crate) weight_row: u32,
}

/// The shader's parameter block.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Params {
    pub(crate) rows: u32,
    pub(crate) inner: u32,
    pub(crate) outer: u32,
    pub(crate) weight_row: u32,
    pub(crate) bias_rows: u32,
    /// The first code, and how many there are in all.
    pub(crate) first: u32,
    pub(crate) codes: u32,
    pub(crate) unused: u32,
}

/// Columns of a tile of `shared/gemm_tile.wgsl`, and of these the columns whose sums one invocation holds are so far apart.
const TILE: usize = 64;
const APART: usize = 16;

impl HeadMax {
    /// Columns of the result for `outer` logits.
    pub(crate) const fn width(outer: u32) -> u32 {
        APART as u32 * outer.div_ceil(TILE as u32)
    }

    fn at(&self) -> Params {
        Params {
            rows: self.rows,
            inner: self.inner,
            outer: self.codes.count,
            weight_row: self.weight_row,
            bias_rows: self.bias.map_or(1, |(_, rows)| rows),
            first: self.codes.first,
            codes: self.outer,
            unused: 0,
        }
    }
}

impl Kernel for HeadMax {
    fn permutation(&self) -> Permutation {
        let permutation = Permutation::new("head_max").flag("VEC4", self.inner.is_multiple_of(4));
        self.format.specialise(permutation).flag("BIAS", self.bias.is_some())
    }

    fn bindings(&self) -> Vec<Binding> {
        let mut bindings = vec![Binding::read(1, self.x), Binding::read(2, self.weight)];
        bindings.extend(self.bias.map(|(slot, _)| Binding::read(3, slot)));
        let begun = self.codes.first > 0;
        bindings.push(if begun { Binding::update(4, self.y) } else { Binding::write(4, self.y) });
        bindings
    }

    fn params(&self, _: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&self.at()).to_vec()
    }

    fn workgroups(&self, _: &StepValues) -> [u32; 3] {
        tiles(self.rows, self.codes.count)
    }

    fn cost(&self, _: &StepValues) -> Cost {
        let [rows, inner, outer] = [self.rows, self.inner, self.codes.count].map(u64::from);
        let biases = self.bias.map_or(0, |(_, rows)| u64::from(rows) * outer);
        let results = rows * u64::from(Self::width(self.codes.count));
        Cost::new(2 * rows * inner * outer, rows * inner + results + biases)
            + weight_cost(self.format, outer, self.inner)
    }

    fn products(&self, _: &StepValues) -> Vec<(Product, usize)> {
        vec![(Product { m: self.rows, k: self.inner, n: self.codes.count }, 1)]
    }

    fn multiplies_by(&self) -> Option<(Slot, Multiplied)> {
        let Self { weight_row: row, inner, .. } = *self;
        Some((self.weight, Multiplied { row, inner, outer: self.codes.count, rounds: true }))
    }

    fn describe(&self) -> String {
        format!("[{}, {}] x [{}, {1}]", self.rows, self.inner, self.codes.count)
    }

    fn run(&self, _: &StepValues, io: &mut Buffers<'_>) {
        let weight = Weight::of(io, 2, self.weight_row, self.inner);
        head_max(self.at(), io.f32(1), weight, io.f32(3), io.f32_mut(4));
    }
}

/// The twin; an empty `bias` means none. Logits stand in memory for a block of rows at a time.
pub(crate) fn head_max(p: Params, x: &[f32], weight: Weight<'_>, bias: &[f32], y: &mut [f32]) {
    const BLOCK_ROWS: usize = 256;
    let [rows, inner, outer] = [p.rows, p.inner, p.outer].map(|size| size as usize);
    if rows == 0 || outer == 0 {
        return;
    }
    let width = HeadMax::width(p.codes) as usize;
    let [first_code, codes] = [p.first, p.codes].map(|size| size as usize);
    // Where these codes' results stand in a row.
    let (start, len) = (first_code / TILE * APART, HeadMax::width(p.outer) as usize);
    let mut logits = vec![0.0; BLOCK_ROWS.min(rows) * outer];
    for (block, y) in y[..rows * width].chunks_mut(BLOCK_ROWS * width).enumerate() {
        let (first, rows) = (block * BLOCK_ROWS, y.len() / width);
        let sizes = Sizes { rows, inner, outer };
        multiply(sizes, &x[first * inner..], weight, (&mut logits, outer), false, None);
        let rows = y.par_chunks_exact_mut(width).zip(logits.par_chunks_exact_mut(outer)).enumerate();
        rows.for_each(|(row, (y, logits))| {
            let bias = if bias.is_empty() {
                bias
            } else {
                &bias[(first + row) % p.bias_rows as usize * codes + first_code..][..outer]
            };
            let y = &mut y[start..][..len];
            math::simd(
                #[inline(always)]
                || {
                    logits.iter_mut().zip(bias).for_each(|(logit, bias)| *logit += bias);
                    y.fill(f32::MIN);
                    for (y, tile) in y.chunks_exact_mut(APART).zip(logits.chunks(TILE)) {
                        for columns in tile.chunks(APART) {
                            for (most, &logit) in y.iter_mut().zip(columns) {
                                *most = if logit > *most { logit } else { *most };
                            }
                        }
                    }
                },
            );
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::linear::testing::{assert_close, padded_rows, validate, values};
    use super::*;

    #[test]
    fn the_largest_of_a_row_is_its_largest_logit() {
        for (rows, inner, outer, bias_rows) in [(1, 1, 1, 1), (520, 7, 130, 9), (3, 16, 64, 3), (5, 8, 15, 2)]
        {
            let (weight_row, biased) = (2, bias_rows != 2);
            let x = values(rows * inner, 1);
            let dense = values((weight_row + outer) * inner, 2);
            let bias = if biased { values(bias_rows * outer, 3) } else { Vec::new() };
            let p = Params {
                rows: rows as u32,
                inner: inner as u32,
                outer: outer as u32,
                weight_row: weight_row as u32,
                bias_rows: bias_rows as u32,
                first: 0,
                codes: outer as u32,
                unused: 0,
            };
            let width = HeadMax::width(p.outer) as usize;
            let mut y = vec![f32::NAN; rows * width];
            let weight = padded_rows(&dense[weight_row * inner..], inner);
            head_max(p, &x, Weight::Rows(&weight), &bias, &mut y);
            let most: Vec<f32> =
                y.chunks_exact(width).map(|row| row.iter().copied().fold(f32::MIN, f32::max)).collect();
            let wanted = (0..rows).map(|row| {
                let logit = |c: usize| -> f64 {
                    let (x, w) = (&x[row * inner..][..inner], &dense[(weight_row + c) * inner..][..inner]);
                    let sum: f64 = x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                    sum + if biased { f64::from(bias[row % bias_rows * outer + c]) } else { 0.0 }
                };
                (0..outer).map(logit).fold(f64::MIN, f64::max)
            });
            assert_close(&most, wanted, &format!("[{rows}, {inner}] x {outer}"));
            assert!(y.iter().all(|v| !v.is_nan()), "something was not written");
        }
    }

    #[test]
    fn every_permutation_is_valid() {
        for inner in [91, 768] {
            for format in [WeightFormat::F32, WeightFormat::F16] {
                for bias in [None, Some((Slot(2), 5))] {
                    let [x, weight, y] = [0, 1, 3].map(Slot);
                    validate(&HeadMax {
                        x,
                        weight,
                        format,
                        bias,
                        y,
                        rows: 5,
                        inner,
                        outer: 9,
                        codes: RowRange { first: 0, count: 9 },
                        weight_row: 0,
                    });
                }
            }
        }
    }
}
