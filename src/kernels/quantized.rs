//! Weight matrices in eight and four bits: how they are made, and how they lie in memory. Twin of the quantised branches
//! of `shaders/shared/{weights,embedding}.wgsl`.
//!
//! A row holds its values and then its scales, so that a shader finds both without knowing how many rows there are:
//!
//! - int8: four values in each u32, rows padded to four; then one f32 scale.
//! - int4: eight values in each u32, rows padded to the group; then two scales in each u32, one a group, as bf16.
//!
//! Values are two's complement, the first in the lowest bits. bf16 keeps the range of f32, so no weight is too large or too
//! small for it, and what it lacks in precision is made up for: values are rounded with the scale that is stored.

use super::{WeightFormat, math, padded};
use half::bf16;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A quantised format. Symmetric: a value is an integer times the scale of its row or group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Quantization {
    /// Eight bits, -127 to 127, and an f32 scale a row.
    Int8,
    /// Four bits, -8 to 7, and a bf16 scale a group.
    Int4 {
        /// Values that share a scale: one of [`Quantization::GROUPS`].
        group: u32,
    },
}

impl Quantization {
    /// The group sizes of int4.
    pub const GROUPS: [u32; 2] = [32, 64];

    /// The format of a matrix so quantised.
    pub fn format(self) -> WeightFormat {
        match self {
            Self::Int8 => WeightFormat::Int8,
            Self::Int4 { group } => WeightFormat::Int4 { group },
        }
    }

    /// Words of a row's values, and of the whole row.
    fn row_words(self, width: u32) -> (u32, u32) {
        match self {
            Self::Int8 => (padded(width) / 4, padded(width) / 4 + 1),
            Self::Int4 { group } => {
                let groups = width.div_ceil(group);
                (groups * group / 8, groups * group / 8 + groups.div_ceil(2))
            }
        }
    }

    /// Bytes of a row in memory.
    pub(crate) fn row_bytes(self, width: u32) -> u64 {
        4 * u64::from(self.row_words(width).1)
    }
}

impl fmt::Display for Quantization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int8 => f.write_str("int8"),
            Self::Int4 { group } => write!(f, "int4:{group}"),
        }
    }
}

impl From<Quantization> for String {
    fn from(scheme: Quantization) -> Self {
        scheme.to_string()
    }
}

impl TryFrom<String> for Quantization {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Quantization {
    type Err = String;

    /// `int8`, `int4` (groups of 64) or `int4:32`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "int8" => Ok(Self::Int8),
            "int4" | "int4:64" => Ok(Self::Int4 { group: 64 }),
            "int4:32" => Ok(Self::Int4 { group: 32 }),
            _ => Err("expected int8, int4 or int4:32".to_owned()),
        }
    }
}

/// A quantised matrix as it lies in memory, on the device as on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quantized {
    scheme: Quantization,
    width: u32,
    words: Vec<u32>,
}

impl Quantized {
    /// Quantises rows of `width`, which lie `stride` apart. Values must be finite.
    pub(crate) fn new(scheme: Quantization, width: u32, stride: usize, data: &[f32]) -> Self {
        if width == 0 || stride == 0 {
            return Self { scheme, width, words: Vec::new() };
        }
        let rows = data.len() / stride;
        let (values, all) = scheme.row_words(width);
        let mut words = vec![0; rows * all as usize];
        words.par_chunks_exact_mut(all as usize).zip(data.par_chunks_exact(stride)).for_each(
            |(words, row)| {
                let (values, scales) = words.split_at_mut(values as usize);
                let (values, row) = (bytemuck::cast_slice_mut(values), &row[..width as usize]);
                math::simd(
                    #[inline(always)]
                    || match scheme {
                        Quantization::Int8 => {
                            scales[0] = quantize_row(row, bytemuck::cast_slice_mut(values)).to_bits();
                        }
                        Quantization::Int4 { group } => {
                            let group = group as usize;
                            let scales: &mut [bf16] = bytemuck::cast_slice_mut(scales);
                            for ((row, values), scale) in
                                row.chunks(group).zip(values.chunks_exact_mut(group / 2)).zip(scales)
                            {
                                *scale = quantize_group(row, values);
                            }
                        }
                    },
                );
            },
        );
        Self { scheme, width, words }
    }

    /// From values and scales as a file holds them, row after row; `None` if their lengths do not go together.
    ///
    /// Int8 values lie without padding; int4 values are padded to the group.
    pub(crate) fn from_parts(
        scheme: Quantization,
        [rows, width]: [usize; 2],
        values: &[u8],
        scales: &[u8],
    ) -> Option<Self> {
        let short = u32::try_from(width).ok()?;
        let (value_words, all) = scheme.row_words(short);
        let (value_row, scale_row) = scheme.stored_row_bytes(short);
        if Some(values.len()) != rows.checked_mul(value_row)
            || Some(scales.len()) != rows.checked_mul(scale_row)
        {
            return None;
        }
        if width == 0 {
            return Some(Self { scheme, width: short, words: Vec::new() });
        }
        let mut words = vec![0u32; rows.checked_mul(all as usize)?];
        for ((words, values), scales) in words
            .chunks_exact_mut(all as usize)
            .zip(values.chunks_exact(value_row))
            .zip(scales.chunks_exact(scale_row))
        {
            let (to_values, to_scales) = words.split_at_mut(value_words as usize);
            bytemuck::cast_slice_mut::<_, u8>(to_values)[..value_row].copy_from_slice(values);
            bytemuck::cast_slice_mut::<_, u8>(to_scales)[..scale_row].copy_from_slice(scales);
        }
        Some(Self { scheme, width: short, words })
    }

    /// Values and scales as a file holds them.
    pub(crate) fn to_parts(&self) -> (Vec<u8>, Vec<u8>) {
        let (value_words, all) = self.scheme.row_words(self.width);
        let (value_row, scale_row) = self.scheme.stored_row_bytes(self.width);
        let (mut values, mut scales) = (Vec::new(), Vec::new());
        for words in self.words.chunks_exact((all as usize).max(1)) {
            let (from_values, from_scales) = words.split_at(value_words as usize);
            values.extend_from_slice(&bytemuck::cast_slice::<_, u8>(from_values)[..value_row]);
            scales.extend_from_slice(&bytemuck::cast_slice::<_, u8>(from_scales)[..scale_row]);
        }
        (values, scales)
    }

    /// The matrix in memory.
    pub(crate) fn words(&self) -> &[u32] {
        &self.words
    }

    /// What a shader reads from it, as rows that lie `stride` apart, with zeros between.
    pub(crate) fn dequantize(&self, stride: usize) -> Vec<f32> {
        let (values, all) = self.scheme.row_words(self.width);
        let all = (all as usize).max(1);
        let mut data = vec![0.0; self.words.len() / all * stride];
        if data.is_empty() {
            return data;
        }
        data.par_chunks_exact_mut(stride).zip(self.words.par_chunks_exact(all)).for_each(|(row, words)| {
            let (values, scales) = words.split_at(values as usize);
            let values: &[u8] = bytemuck::cast_slice(values);
            let row = &mut row[..self.width as usize];
            match self.scheme {
                Quantization::Int8 => {
                    let scale = f32::from_bits(scales[0]);
                    for (to, &value) in row.iter_mut().zip(values) {
                        *to = f32::from(value as i8) * scale;
                    }
                }
                Quantization::Int4 { group } => {
                    let scales: &[bf16] = bytemuck::cast_slice(scales);
                    for (i, to) in row.iter_mut().enumerate() {
                        let nibble = values[i / 2] >> (4 * (i % 2)) << 4;
                        *to = f32::from(nibble as i8 >> 4) * scales[i / group as usize].to_f32();
                    }
                }
            }
        });
        data
    }
}

impl Quantization {
    /// Bytes of a row in a file: of its values, and of its scales.
    pub(crate) fn stored_row_bytes(self, width: u32) -> (usize, usize) {
        match self {
            Self::Int8 => (width as usize, 4),
            Self::Int4 { group } => {
                (4 * self.row_words(width).0 as usize, 2 * width.div_ceil(group) as usize)
            }
        }
    }
}

/// Rounds a row to integers of at most 127 and returns their scale.
#[inline(always)]
fn quantize_row(row: &[f32], values: &mut [i8]) -> f32 {
    // 127 scales must not round up to infinity.
    const LARGEST: f32 = 3.4e38;
    let scale = row.iter().fold(0.0_f32, |most, v| most.max(v.abs())).min(LARGEST) / 127.0;
    if scale < f32::MIN_POSITIVE {
        return 0.0; // devices may take a subnormal scale for zero: so do we
    }
    for (value, &v) in values.iter_mut().zip(row) {
        *value = (v / scale).round_ties_even() as i8;
    }
    scale
}

/// Rounds a group to integers from -8 to 7, two in a byte, with the scale of least squared error among nine.
#[inline(always)]
fn quantize_group(group: &[f32], values: &mut [u8]) -> bf16 {
    // The largest value becomes negative, where there is one integer more.
    let extreme = group.iter().fold(0.0_f32, |most, &v| if v.abs() > most.abs() { v } else { most });
    let mut best = (f32::INFINITY, bf16::ZERO);
    for step in 0..=8 {
        // At 0.875 the largest value is exactly -8; below, it is cut off in favour of the others.
        let scale = bf16::from_f32(extreme / -7.0 * (1.0 - 0.025 * step as f32));
        if scale.to_f32().abs() < f32::MIN_POSITIVE {
            return bf16::ZERO;
        }
        let wide = scale.to_f32();
        let error = group.iter().fold(0.0_f32, |sum, &v| {
            let left = (v / wide).round_ties_even().clamp(-8.0, 7.0) - v / wide;
            sum + left * left
        });
        // Measured against the extreme, so that nothing under- or overflows.
        let error = error * (wide / extreme) * (wide / extreme);
        if error < best.0 {
            best = (error, scale);
        }
    }
    let scale = best.1.to_f32();
    for (pair, values) in group.chunks(2).zip(values) {
        let nibble = |v: f32| (v / scale).round_ties_even().clamp(-8.0, 7.0) as i8 as u8 & 15;
        *values = nibble(pair[0]) | pair.get(1).map_or(0, |&v| nibble(v) << 4);
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(super) const SCHEMES: [Quantization; 3] =
        [Quantization::Int8, Quantization::Int4 { group: 32 }, Quantization::Int4 { group: 64 }];

    fn matrix() -> impl Strategy<Value = (usize, Vec<f32>, Quantization)> {
        let value = prop_oneof![4 => -1.0_f32..1.0, 1 => -1e-3_f32..1e-3, 1 => Just(0.0_f32)];
        // From where scales would overflow or vanish in f16 to ordinary weights.
        let magnitude = prop::sample::select(vec![1e-30_f32, 1e-6, 0.02, 1.0, 1e6, 1e30]);
        (1_usize..150, 1_usize..5, magnitude, prop::sample::select(SCHEMES.to_vec())).prop_flat_map(
            move |(width, rows, magnitude, scheme)| {
                prop::collection::vec(value.clone(), width * rows).prop_map(move |values| {
                    (width, values.into_iter().map(|v| v * magnitude).collect(), scheme)
                })
            },
        )
    }

    proptest! {
        #[test]
        fn errors_stay_in_bounds((width, data, scheme) in matrix()) {
            let stride = width.next_multiple_of(4);
            let quantized = Quantized::new(scheme, width as u32, width, &data);
            prop_assert_eq!(quantized.words().len() as u64 * 4, data.len() as u64 / width as u64 * scheme.row_bytes(width as u32));
            let read = quantized.dequantize(stride);
            prop_assert!(read.chunks(stride).all(|row| row[width..].iter().all(|&v| v == 0.0)));
            let group = match scheme { Quantization::Int8 => width, Quantization::Int4 { group } => group as usize };
            for (row, read) in data.chunks(width).zip(read.chunks(stride)) {
                for (wanted, got) in row.chunks(group).zip(read[..width].chunks(group)) {
                    let most = wanted.iter().fold(0.0_f64, |most, &v| most.max(f64::from(v.abs())));
                    let errors = wanted.iter().zip(got).map(|(&a, &b)| (f64::from(a) - f64::from(b)).abs());
                    match scheme {
                        // Half a step, and what f32 rounds of a quotient and of a product.
                        Quantization::Int8 => for error in errors {
                            let bound = most * (1.0 / 254.0 + 2.0 * f64::from(f32::EPSILON)) + 1e-36;
                            prop_assert!(error <= bound, "{} of {}", error, most);
                        },
                        // On average no worse than half a step of the plain scale; none cut by more than a fifth.
                        Quantization::Int4 { .. } => {
                            let squares: f64 = errors.clone().map(|e| (e / most.max(1e-36)).powi(2)).sum();
                            let mean = (squares / wanted.len() as f64).sqrt();
                            prop_assert!(mean <= 1.01 / 14.0, "{} of {}", mean, most);
                            for error in errors {
                                prop_assert!(error <= 0.2 * most + 1e-36, "{} of {}", error, most);
                            }
                        }
                    }
                }
            }
        }

        #[test]
        fn what_is_stored_is_what_was_made((width, data, scheme) in matrix()) {
            let quantized = Quantized::new(scheme, width as u32, width, &data);
            let (values, scales) = quantized.to_parts();
            let shape = [data.len() / width, width];
            let again = Quantized::from_parts(scheme, shape, &values, &scales).unwrap();
            prop_assert_eq!(&again, &quantized);
            prop_assert!(Quantized::from_parts(scheme, shape, &values[1..], &scales).is_none());
            prop_assert!(Quantized::from_parts(scheme, shape, &values, &scales[2..]).is_none());
            prop_assert!(Quantized::from_parts(scheme, [shape[0] + 1, width], &values, &scales).is_none());
        }

        /// What has been quantised is on the grid: quantised again in eight bits, it does not move.
        #[test]
        fn eight_bits_of_eight_bits_are_the_same((width, data, _) in matrix()) {
            let once = Quantized::new(Quantization::Int8, width as u32, width, &data).dequantize(width);
            let twice = Quantized::new(Quantization::Int8, width as u32, width, &once).dequantize(width);
            for (a, b) in once.iter().zip(&twice) {
                prop_assert!((a - b).abs() <= a.abs() * 1e-6, "{a} became {b}");
            }
        }
    }

    #[test]
    fn names_are_read_as_they_are_shown() {
        for scheme in SCHEMES {
            assert_eq!(scheme.to_string().parse(), Ok(scheme));
        }
        assert_eq!("int4".parse(), Ok(Quantization::Int4 { group: 64 }));
        assert!("int4:48".parse::<Quantization>().is_err());
    }

    #[test]
    fn zeros_and_extremes_survive() {
        for scheme in SCHEMES {
            let read = |data: &[f32]| Quantized::new(scheme, 4, 4, data).dequantize(4);
            assert_eq!(read(&[0.0; 4]), [0.0; 4]);
            assert_eq!(read(&[1e-40, -1e-41, 0.0, 0.0]), [0.0; 4], "subnormal scales are zero");
            for value in read(&[f32::MAX, -f32::MAX, 0.0, 1.0]) {
                assert!(value.is_finite(), "{scheme}: {value}");
            }
        }
    }
}
