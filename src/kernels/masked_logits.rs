//! The logits of the positions that are still masked. Twin of `shaders/masked_logits.wgsl`.

use super::linear::{Sizes, Weight, multiply, tiles, weight_cost};
use super::{
    Binding, Buffers, Cost, Extent, ImagePlacement, Kernel, Product, RowRange, Slot, StepValues,
    WeightFormat, math, shader::Permutation,
};
use migm_products::{Finish, Multiplied};

/// `logits[(f + s) * m + j, c] = features[s, row(p)] . table[c - codes.first] + bias[p, c]` with
/// `p = positions[s % images, first_masked + j]`, `m` masked positions per image at the step, `f` sequences whose logits
/// stand before, and `c` one of `codes`. Gathered features have a row for each of the logits.
///
/// Shapes: `features` is `[sequences, sequence_length, hidden]` or `[sequences * m, hidden]`, `positions` `[images, tokens]` (the masked ones of an
/// image come first), `table` rows of the token embedding, `[at least codes.count, padded(hidden)]`, `bias` `[tokens, codebook]`,
/// `logits` `[at least (f + sequences) * m, codebook]`. Sequence `s` belongs to image `s % images`.
#[derive(Debug, Clone)]
pub(crate) struct MaskedLogits {
    pub(crate) features: Slot,
    pub(crate) positions: Slot,
    pub(crate) table: Slot,
    pub(crate) format: WeightFormat,
    pub(crate) bias: Option<Slot>,
    pub(crate) logits: Slot,
    pub(crate) sequences: u32,
    pub(crate) images: u32,
    pub(crate) tokens: u32,
    pub(crate) rows: FeatureRows,
    /// Sequences whose logits another dispatch has written before these.
    pub(crate) first_sequence: u32,
    pub(crate) masked: Extent,
    pub(crate) hidden: u32,
    pub(crate) codebook: u32,
    /// The codes whose rows `table` has: all, or a part of a table too large for one binding.
    pub(crate) codes: RowRange,
    /// Of an image's masked positions, the first that `masked` counts.
    pub(crate) first_masked: u32,
}

/// Which row of the features a row of logits is of.
#[derive(Debug, Clone, Copy)]
pub(crate) enum FeatureRows {
    /// That of its position, in sequences of so many rows.
    Placed {
        /// Rows of a sequence.
        length: u32,
        /// The row of a position in its sequence.
        placement: ImagePlacement,
    },
    /// As many as rows of logits, in their order.
    Gathered,
}

impl FeatureRows {
    /// In sequences of so many rows, of which the tokens come first.
    pub(crate) fn plain(length: u32) -> Self {
        Self::Placed { length, placement: ImagePlacement::PLAIN }
    }
}

/// The shader's parameter block.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Params {
    pub(crate) rows: u32,
    pub(crate) inner: u32,
    pub(crate) outer: u32,
    pub(crate) masked: u32,
    pub(crate) images: u32,
    pub(crate) tokens: u32,
    pub(crate) sequence_length: u32,
    pub(crate) start: u32,
    pub(crate) columns: u32,
    pub(crate) first_row: u32,
    /// The first code of the table.
    pub(crate) column: u32,
    pub(crate) codebook: u32,
    pub(crate) first_masked: u32,
    pub(crate) gathered: u32,
    pub(crate) unused: [u32; 2],
}

impl MaskedLogits {
    fn at(&self, step: &StepValues) -> Params {
        let masked = self.masked.at(step);
        let (length, placement, gathered) = match self.rows {
            FeatureRows::Placed { length, placement } => (length, placement, 0),
            FeatureRows::Gathered => (0, ImagePlacement::PLAIN, 1),
        };
        Params {
            rows: self.sequences * masked,
            inner: self.hidden,
            outer: self.codes.count,
            masked,
            images: self.images,
            tokens: self.tokens,
            sequence_length: length,
            start: placement.start,
            columns: placement.columns,
            first_row: self.first_sequence * masked,
            column: self.codes.first,
            codebook: self.codebook,
            first_masked: self.first_masked,
            gathered,
            unused: [0; 2],
        }
    }
}

impl Kernel for MaskedLogits {
    fn permutation(&self) -> Permutation {
        let permutation = Permutation::new("masked_logits")
            .flag("VEC4", self.hidden.is_multiple_of(4))
            .flag("BIAS", self.bias.is_some());
        self.format.specialise(permutation)
    }

    fn bindings(&self) -> Vec<Binding> {
        let mut bindings = vec![
            Binding::read(1, self.features),
            Binding::read(2, self.table),
            Binding::read(3, self.positions),
        ];
        bindings.extend(self.bias.map(|slot| Binding::read(4, slot)));
        bindings.push(if self.first_sequence == 0 && self.codes.first == 0 {
            Binding::write(5, self.logits)
        } else {
            Binding::update(5, self.logits)
        });
        bindings
    }

    fn params(&self, step: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&self.at(step)).to_vec()
    }

    fn workgroups(&self, step: &StepValues) -> [u32; 3] {
        tiles(self.sequences * self.masked.at(step), self.codes.count)
    }

    fn cost(&self, step: &StepValues) -> Cost {
        let p = self.at(step);
        let [rows, hidden, codebook] = [p.rows, p.inner, p.outer].map(u64::from);
        let biased = if self.bias.is_some() { self.images.min(self.sequences) } else { 0 };
        let biases = u64::from(p.masked * biased) * codebook;
        Cost::new(2 * rows * hidden * codebook, rows * hidden + rows * codebook + biases + rows)
            + weight_cost(self.format, codebook, self.hidden)
    }

    fn products(&self, step: &StepValues) -> Vec<(Product, usize)> {
        let m = self.sequences * self.masked.at(step);
        vec![(Product { m, k: self.hidden, n: self.codes.count }, 1)]
    }

    fn multiplies_by(&self) -> Option<(Slot, Multiplied)> {
        let (inner, outer) = (self.hidden, self.codes.count);
        Some((self.table, Multiplied { row: 0, inner, outer, rounds: true }))
    }

    fn describe(&self) -> String {
        format!("[{} * {}, {}] x [{}, {2}]", self.sequences, self.masked, self.hidden, self.codebook)
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        let table = Weight::of(io, 2, 0, self.hidden);
        masked_logits(self.at(step), io.f32(1), table, io.u32(3), io.f32(4), io.f32_mut(5));
    }
}

/// The twin; an empty `bias` means none. Gathers the masked rows a block at a time, so that a large batch needs no large copy.
pub(crate) fn masked_logits(
    p: Params,
    features: &[f32],
    table: Weight<'_>,
    positions: &[u32],
    bias: &[f32],
    logits: &mut [f32],
) {
    const BLOCK_ROWS: usize = 1024;
    let [rows, inner, outer] = [p.rows, p.inner, p.outer].map(|size| size as usize);
    let [codebook, column] = [p.codebook, p.column].map(|size| size as usize);
    if rows == 0 || outer == 0 {
        return;
    }
    let placement = ImagePlacement { start: p.start, columns: p.columns };
    let place = |row: usize| {
        let (sequence, at) = (row as u32 / p.masked, row as u32 % p.masked);
        let position = positions[(sequence % p.images * p.tokens + p.first_masked + at) as usize];
        let placed = sequence * p.sequence_length + placement.row(position);
        (if p.gathered == 0 { placed as usize } else { row }, position as usize)
    };
    let logits = &mut logits[p.first_row as usize * codebook..][..rows * codebook];
    let mut gathered = vec![0.0; BLOCK_ROWS.min(rows) * inner];
    for (block, logits) in logits.chunks_mut(BLOCK_ROWS * codebook).enumerate() {
        let rows = logits.len() / codebook;
        for (row, x) in gathered.chunks_exact_mut(inner).take(rows).enumerate() {
            let (feature, _) = place(block * BLOCK_ROWS + row);
            x.copy_from_slice(&features[feature * inner..][..inner]);
        }
        let sizes = Sizes { rows, inner, outer };
        let finish = |row, first: usize, logits: &mut [f32]| {
            let (_, position) = place(block * BLOCK_ROWS + row);
            let bias = &bias[position * codebook + column + first..];
            math::simd(
                #[inline(always)]
                || logits.iter_mut().zip(bias).for_each(|(logit, bias)| *logit += bias),
            );
        };
        let finish = (!bias.is_empty()).then_some(&finish as Finish<'_>);
        multiply(sizes, &gathered, table, (&mut logits[column..], codebook), false, finish);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::linear::testing::{
        Contents, agrees_with_shader, assert_close, padded_rows, validate, values,
    };
    use crate::kernels::{Symbol, padded};

    fn kernel(format: WeightFormat, hidden: u32) -> MaskedLogits {
        MaskedLogits {
            features: Slot(0),
            positions: Slot(1),
            table: Slot(2),
            format,
            bias: Some(Slot(3)),
            logits: Slot(4),
            sequences: 4,
            images: 2,
            tokens: 9,
            rows: FeatureRows::plain(10),
            first_sequence: 0,
            masked: Extent::symbolic(1, Symbol::Masked, 9),
            hidden,
            codebook: 37,
            codes: RowRange { first: 0, count: 37 },
            first_masked: 0,
        }
    }

    #[test]
    fn masked_rows_meet_their_own_bias() {
        for (hidden, masked, first_code, first, gathered) in [
            (8, 9, 0, 0, false),
            (7, 4, 0, 0, false),
            (16, 1, 0, 0, true),
            (3, 0, 0, 0, false),
            (64, 5, 0, 0, true),
            (8, 6, 20, 0, false),
            (7, 3, 11, 4, true),
        ] {
            let mut k = kernel(WeightFormat::F32, hidden);
            if gathered {
                k.rows = FeatureRows::Gathered;
            }
            k.codes = RowRange { first: first_code, count: 37 - first_code };
            k.first_masked = first;
            k.masked = Extent::part(1, Symbol::Masked, RowRange { first, count: 9 - first });
            let step = StepValues { masked: masked + first, ..Default::default() };
            let (h, m, outer, length) = (hidden as usize, masked as usize, k.codebook as usize, 10);
            let features = values(4 * length * h, 1);
            let table = padded_rows(&values((outer + 2) * h, 2), h);
            let bias = values(9 * outer, 3);
            // Two different orders of the nine positions.
            let positions: Vec<u32> = (0..9).map(|i| i * 4 % 9).chain((0..9).map(|i| 8 - i)).collect();
            let mut logits = vec![f32::NAN; 4 * 9 * outer];
            let mut io = Buffers::default();
            io.bind_read(1, &features);
            io.bind_read(2, &table);
            io.bind_read(3, bytemuck::cast_slice(&positions));
            io.bind_read(4, &bias);
            io.bind_write(5, &mut logits);
            k.run(&step, &mut io);
            let stride = padded(hidden) as usize;
            let first_code = first_code as usize;
            let indices: Vec<usize> = (0..4 * m * outer).filter(|i| i % outer >= first_code).collect();
            let got: Vec<f32> = indices.iter().map(|&i| logits[i]).collect();
            let wanted = indices.iter().map(|i| {
                let (row, c) = (i / outer, i % outer);
                let (s, j) = (row / m, row % m);
                let position = positions[s % 2 * 9 + first as usize + j] as usize;
                let x = &features[if gathered { row } else { s * length + position } * h..][..h];
                let w = &table[(c - first_code) * stride..][..h];
                let sum: f64 = x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                sum + f64::from(bias[position * outer + c])
            });
            assert_close(&got, wanted, &format!("hidden {hidden}, masked {masked}"));
            let written = logits.iter().filter(|logit| !logit.is_nan()).count();
            assert_eq!(written, indices.len(), "wrote elsewhere than to the masked rows and the codes");
        }
    }

    #[test]
    fn the_shader_agrees_with_the_twin() {
        for (hidden, masked, format) in [
            (8, 9, WeightFormat::F32),
            (7, 4, WeightFormat::F16),
            (64, 1, WeightFormat::F16),
            (5, 3, WeightFormat::F32),
        ] {
            let codes = RowRange { first: hidden % 4, count: 130 - hidden % 4 };
            let first_masked = u32::from(masked < 9);
            let rows = if masked == 4 { FeatureRows::Gathered } else { FeatureRows::plain(10) };
            let k = MaskedLogits { codebook: 130, codes, first_masked, rows, ..kernel(format, hidden) };
            let table = padded_rows(&values(132 * hidden as usize, 2), hidden as usize);
            let slots = [
                Contents::F32(values(4 * 10 * hidden as usize, 1)),
                Contents::U32((0..9).map(|i| i * 4 % 9).chain((0..9).map(|i| 8 - i)).collect()),
                Contents::weight(format, &table),
                Contents::F32(values(9 * 130, 3)),
                Contents::F32(vec![7.0; 4 * 9 * 130]),
            ];
            agrees_with_shader(&k, StepValues { masked, ..Default::default() }, &slots);
        }
    }

    #[test]
    fn nothing_is_dispatched_when_nothing_is_masked() {
        let step = StepValues::default();
        assert!(kernel(WeightFormat::F32, 8).workgroups(&step).contains(&0));
    }

    #[test]
    fn every_permutation_is_valid() {
        for format in [WeightFormat::F32, WeightFormat::F16] {
            validate(&kernel(format, 8));
            validate(&kernel(format, 7));
        }
    }
}
