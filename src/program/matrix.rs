//! Matrices and activations that are too large for one binding: in parts, by rows.

use super::builder::Layer;
use super::{BINDING_BYTES, Builder, Layout, Storage, Tensor, WeightSpec};
use crate::kernels::{RowRange, Slot};

/// A matrix by rows: one tensor, or as many as [`BINDING_BYTES`] makes of it, in consecutive slots.
#[derive(Clone, Copy, Debug)]
pub struct Matrix {
    first: Slot,
    parts: u32,
}

/// Rows `first..first + rows` of a matrix, a tensor of their own.
#[derive(Clone, Copy, Debug)]
pub struct MatrixPart {
    /// The tensor.
    pub slot: Slot,
    /// The first of its rows in the matrix.
    pub first: u32,
    /// Its rows.
    pub rows: u32,
}

impl Builder {
    /// A matrix by official name and shape `[rows, width, ...]`, or `kept` of its rows: in parts, if it is too large for one
    /// binding.
    pub fn matrix(&mut self, name: &str, shape: &[usize], kept: Option<RowRange>) -> Matrix {
        let whole = RowRange { first: 0, count: shape.first().copied().unwrap_or(1) as u32 };
        let range = kept.unwrap_or(whole);
        let layout = match kept {
            None => Layout::Matrix,
            Some(RowRange { first, count }) => Layout::Rows { first, count },
        };
        let spec = self.spec(name, shape, layout);
        if spec.bytes() <= BINDING_BYTES {
            return Matrix { first: self.weight(name, shape, layout), parts: 1 };
        }
        let row_bytes = spec.bytes() / u64::from(range.count.max(1));
        // Whole tiles of a product, as `HeadMax` wants them.
        let specs: Vec<WeightSpec> = ranges(range.count, row_bytes, 64)
            .into_iter()
            .map(|part| Layout::Rows { first: range.first + part.first, count: part.count })
            .map(|layout| self.spec(name, shape, layout))
            .collect();
        let is_known = |tensors: &[Tensor]| {
            tensors.iter().zip(&specs).all(|(tensor, spec)| tensor.storage == Storage::Weight(spec.clone()))
        };
        let parts = specs.len() as u32;
        let known = self.program.tensors.windows(specs.len()).position(is_known);
        let first = Slot(known.unwrap_or(self.program.tensors.len()) as u32);
        if known.is_none() {
            for spec in specs {
                self.weight_tensor(spec);
            }
        }
        Matrix { first, parts }
    }

    /// The tensors of a matrix, which hold its rows in order.
    pub fn parts(&self, matrix: Matrix) -> Vec<MatrixPart> {
        let mut first = 0;
        (0..matrix.parts)
            .map(|part| {
                let slot = Slot(matrix.first.0 + part);
                let rows = self.rows(slot);
                first += rows;
                MatrixPart { slot, first: first - rows, rows }
            })
            .collect()
    }

    /// The tensors that a layer uses rows of, each with the columns of the result that come from it.
    pub(super) fn parts_of(&self, layer: Layer) -> Vec<(MatrixPart, RowRange)> {
        let used = |part: MatrixPart| {
            let first = layer.first.max(part.first);
            let end = (layer.first + layer.outer).min(part.first + part.rows);
            (first < end).then(|| (part, RowRange { first: first - layer.first, count: end - first }))
        };
        self.parts(layer.weight).into_iter().filter_map(used).collect()
    }

    /// Cuts `rows` of `width` floats into parts of which each fits a binding: one, if all do. Activations wider than the
    /// residual stream are made part by part.
    pub fn row_ranges(&self, rows: u32, width: u32) -> Vec<RowRange> {
        // Whole tiles of a product, but for the last.
        ranges(rows, 4 * u64::from(width), 64)
    }
}

/// Cuts `rows` into parts of at most [`BINDING_BYTES`] and, where there are several, of a multiple of `unit` rows.
fn ranges(rows: u32, row_bytes: u64, unit: u32) -> Vec<RowRange> {
    let fitting = u32::try_from(BINDING_BYTES / row_bytes.max(1)).unwrap_or(u32::MAX);
    if rows <= fitting {
        return vec![RowRange { first: 0, count: rows }];
    }
    // Parts of equal size rather than one small last part; never none, even of rows that fit no binding.
    let most = (fitting / unit * unit).max(1);
    let size = rows.div_ceil(rows.div_ceil(most)).next_multiple_of(unit).min(most);
    (0..rows).step_by(size as usize).map(|first| RowRange { first, count: size.min(rows - first) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parts_cover_all_rows_and_fit_a_binding(rows in 1_u32..200_000, row_bytes in 4_u64..40_000, unit in 1_u32..65) {
            let parts = ranges(rows, row_bytes, unit);
            let mut next = 0;
            for (i, part) in parts.iter().enumerate() {
                prop_assert_eq!(part.first, next);
                prop_assert!(part.count > 0 && u64::from(part.count) * row_bytes <= BINDING_BYTES);
                prop_assert!(i + 1 == parts.len() || part.count % unit == 0);
                next += part.count;
            }
            prop_assert_eq!(next, rows);
            prop_assert_eq!(parts.len() == 1, u64::from(rows) * row_bytes <= BINDING_BYTES);
        }
    }
}
