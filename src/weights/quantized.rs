//! Quantised matrices in files: two tensors in place of one. Under the official name are the values, under `<name>.scale`
//! their scales. How they are packed is the business of `kernels/quantized.rs`.
//!
//! - int8: values I8 of the official shape `[n, k]`; scales F32 `[n]`.
//! - int4: values U8, two in a byte, the first in the low half, rows padded to whole groups: `[n, groups * group / 2]`;
//!   scales BF16 `[n, groups]`.
//!
//! A file's metadata repeats the format under `quantized`, and under `quantized_shapes` the official shapes, which the padding
//! of int4 hides; neither is needed to load a model, whose programs know the shapes.

use half::bf16;
use safetensors::Dtype;
use std::ops::Range;

use super::checkpoint::Checkpoint;
use super::error::WeightError;
use super::write::TensorSpec;
use crate::kernels::{Quantization, Quantized};

/// Metadata: the format.
pub(super) const QUANTIZED: &str = "quantized";
/// Metadata: official shapes by name, as JSON.
pub(super) const QUANTIZED_SHAPES: &str = "quantized_shapes";

/// The name of the scales of a matrix.
pub(super) fn scale_name(name: &str) -> String {
    format!("{name}.scale")
}

/// The two tensors that hold a matrix: values, scales.
pub(super) fn stored_as(scheme: Quantization, name: &str, [rows, width]: [usize; 2]) -> [TensorSpec; 2] {
    let scale = scale_name(name);
    match (scheme, u32::try_from(width)) {
        (Quantization::Int4 { .. }, Ok(short)) => {
            let (values, scales) = scheme.stored_row_bytes(short);
            [
                TensorSpec::new(name, Dtype::U8, [rows, values]),
                TensorSpec::new(scale, Dtype::BF16, [rows, scales / 2]),
            ]
        }
        _ => [TensorSpec::new(name, Dtype::I8, [rows, width]), TensorSpec::new(scale, Dtype::F32, [rows])],
    }
}

impl Checkpoint {
    /// How the matrix `name` is quantised, by its element type; `None` for floats, and for integers without scales.
    pub fn quantization(&self, name: &str) -> Option<Quantization> {
        let (values, scales) = (self.tensor(name)?, self.tensor(&scale_name(name))?);
        match values.dtype {
            Dtype::I8 => Some(Quantization::Int8),
            Dtype::U8 => {
                let scales = scales.shape.get(1).copied();
                let bytes = values.shape.get(1).copied().unwrap_or(0);
                // What is neither is refused for its shape: groups of 64 are as good a guess as any.
                let is_32 = scales.is_some_and(|scales| scales > 0 && bytes == scales.saturating_mul(16));
                Some(Quantization::Int4 { group: if is_32 { 32 } else { 64 } })
            }
            _ => None,
        }
    }

    /// What the file must hold for a tensor of this official shape: itself, or the two parts that it is quantised to.
    pub(super) fn parts_of(&self, name: &str, shape: &[usize]) -> Option<[TensorSpec; 2]> {
        let shape = <[usize; 2]>::try_from(shape).ok()?;
        Some(stored_as(self.quantization(name)?, name, shape))
    }

    /// Rows of a matrix of official shape `shape` as they are stored, if it is stored quantised.
    ///
    /// # Errors
    /// One of its two tensors is missing, misshapen or of another element type, or a scale is not finite.
    pub fn read_quantized(
        &self,
        name: &str,
        shape: &[usize],
        rows: Range<usize>,
    ) -> Result<Option<Quantized>, WeightError> {
        let (Some(scheme), Ok(official)) = (self.quantization(name), <[usize; 2]>::try_from(shape)) else {
            return Ok(None);
        };
        let parts = stored_as(scheme, name, official);
        for part in &parts {
            self.check_part(part)?;
        }
        let values = self.read_row_bytes(name, rows.clone())?;
        // Read as what they are, scales are checked to be finite.
        let scales: Vec<u8> = match scheme {
            Quantization::Int8 => {
                bytemuck::cast_slice(&self.read_f32_rows(&parts[1].name, rows.clone())?).to_vec()
            }
            Quantization::Int4 { .. } => {
                let wide = self.read_f32_rows(&parts[1].name, rows.clone())?;
                wide.iter().flat_map(|&scale| bf16::from_f32(scale).to_le_bytes()).collect()
            }
        };
        match Quantized::from_parts(scheme, [rows.len(), official[1]], &values, &scales) {
            Some(quantized) => Ok(Some(quantized)),
            None => Err(WeightError::tensor(self.name(), name, "its values and scales do not go together")),
        }
    }

    /// Checks shape and element type of a part.
    pub(super) fn check_part(&self, part: &TensorSpec) -> Result<(), WeightError> {
        self.check_shape(&part.name, &part.shape)?;
        match self.tensor(&part.name) {
            Some(found) if found.dtype != part.dtype => Err(WeightError::ElementType {
                file: self.name().to_owned(),
                tensor: part.name.clone(),
                found: found.dtype.to_string(),
                expected: match part.dtype {
                    Dtype::I8 => "I8",
                    Dtype::U8 => "U8",
                    Dtype::BF16 => "BF16, as the scales of four-bit values",
                    _ => "F32, as the scales of eight-bit values",
                },
            }),
            _ => Ok(()),
        }
    }
}
