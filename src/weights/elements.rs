//! Elements of tensors: checks, conversions and the gathering of strided views. Whole slices at a time.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

pub(super) const FLOATS: &str = "F32, F16, BF16 or F64";

/// An element that cannot be taken as it is.
pub(super) enum Trouble {
    NotFinite { index: usize, value: String },
    Range { index: usize, value: String, dtype: &'static str },
}

impl Trouble {
    /// The same in a tensor of which `before` elements stand before those that were looked at.
    pub(super) fn after(self, before: usize) -> Self {
        match self {
            Self::NotFinite { index, value } => Self::NotFinite { index: before + index, value },
            Self::Range { index, value, dtype } => Self::Range { index: before + index, value, dtype },
        }
    }
}

pub(super) trait Float: Copy + std::fmt::Display {
    fn is_finite(self) -> bool;
}

macro_rules! float {
    ($($float:ty),*) => {
        $(impl Float for $float {
            fn is_finite(self) -> bool {
                <$float>::is_finite(self)
            }
        })*
    };
}
float!(f16, bf16, f32, f64);

/// The index of the first element that is NaN or infinite. Blocks are folded without early exit, which vectorises.
fn first_not_finite<T: Float>(values: &[T]) -> Option<usize> {
    const BLOCK: usize = 1024;
    let block =
        values.chunks(BLOCK).position(|block| !block.iter().fold(true, |all, v| all & v.is_finite()))?;
    let start = block * BLOCK;
    values[start..].iter().position(|v| !v.is_finite()).map(|i| start + i)
}

fn check<T: Float>(values: &[T]) -> Result<(), Trouble> {
    match first_not_finite(values) {
        Some(index) => Err(Trouble::NotFinite { index, value: values[index].to_string() }),
        None => Ok(()),
    }
}

pub(super) fn finite<T: Float>(values: Vec<T>) -> Result<Vec<T>, Trouble> {
    check(&values).map(|()| values)
}

/// `narrow` was rounded from `wide`, which is finite: an infinity in it is an overflow.
fn fits<W: Float, N: Float>(wide: &[W], narrow: Vec<N>, dtype: &'static str) -> Result<Vec<N>, Trouble> {
    match first_not_finite(&narrow) {
        Some(index) => Err(Trouble::Range { index, value: wide[index].to_string(), dtype }),
        None => Ok(narrow),
    }
}

pub(super) fn f16_to_f32(values: &[f16]) -> Result<Vec<f32>, Trouble> {
    let mut wide = vec![0.0; values.len()];
    values.convert_to_f32_slice(&mut wide);
    finite(wide)
}

pub(super) fn bf16_to_f32(values: &[bf16]) -> Result<Vec<f32>, Trouble> {
    let mut wide = vec![0.0; values.len()];
    values.convert_to_f32_slice(&mut wide);
    finite(wide)
}

pub(super) fn f64_to_f32(values: &[f64]) -> Result<Vec<f32>, Trouble> {
    check(values)?;
    fits(values, values.iter().map(|&v| v as f32).collect(), "f32")
}

pub(super) fn f32_to_f16(values: &[f32]) -> Result<Vec<f16>, Trouble> {
    check(values)?;
    let mut narrow = vec![f16::ZERO; values.len()];
    narrow.convert_from_f32_slice(values);
    fits(values, narrow, "f16")
}

pub(super) fn f32_to_bf16(values: &[f32]) -> Result<Vec<bf16>, Trouble> {
    check(values)?;
    let mut narrow = vec![bf16::ZERO; values.len()];
    narrow.convert_from_f32_slice(values);
    fits(values, narrow, "bf16")
}

pub(super) fn f64_to_f16(values: &[f64]) -> Result<Vec<f16>, Trouble> {
    check(values)?;
    fits(values, values.iter().map(|&v| f16::from_f64(v)).collect(), "f16")
}

pub(super) fn to_i32<T: Copy + TryInto<i32> + std::fmt::Display>(values: &[T]) -> Result<Vec<i32>, Trouble> {
    let narrow = |(index, &value): (usize, &T)| {
        value.try_into().map_err(|_| Trouble::Range { index, value: value.to_string(), dtype: "i32" })
    };
    values.iter().enumerate().map(narrow).collect()
}

/// The elements of a strided view in the order of their indices. `span` reaches from its first to its last element, and
/// the view is not empty.
pub(super) fn gather<T: Copy>(span: &[T], shape: &[usize], strides: &[usize]) -> Vec<T> {
    let (Some((&inner, outer)), Some((&step, outer_strides))) = (shape.split_last(), strides.split_last())
    else {
        return span.to_vec();
    };
    let mut gathered = Vec::with_capacity(shape.iter().product());
    let mut index = vec![0; outer.len()];
    let mut row = 0;
    loop {
        match step {
            0 => gathered.extend(std::iter::repeat_n(span[row], inner)),
            1 => gathered.extend_from_slice(&span[row..row + inner]),
            _ => gathered.extend(span[row..].iter().step_by(step).take(inner)),
        }
        let mut axis = outer.len();
        loop {
            if axis == 0 {
                return gathered;
            }
            axis -= 1;
            index[axis] += 1;
            row += outer_strides[axis];
            if index[axis] < outer[axis] {
                break;
            }
            row -= outer_strides[axis] * outer[axis];
            index[axis] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_odd_one_is_found_wherever_it_is() {
        for at in [0, 1, 1023, 1024, 2500] {
            let mut values = vec![1.0f32; 2501];
            values[at] = f32::NAN;
            assert_eq!(first_not_finite(&values), Some(at));
            values[at] = f32::NEG_INFINITY;
            assert_eq!(first_not_finite(&values), Some(at));
        }
        assert_eq!(first_not_finite(&[f32::MAX, -0.0]), None);
        assert_eq!(first_not_finite::<f16>(&[]), None);
    }

    #[test]
    fn narrowing_rounds_to_nearest_even_and_refuses_overflow() {
        // 65520 is the midpoint between f16's largest number and what would be the next.
        assert!(f32_to_f16(&[65519.0, 2049.0]).is_ok_and(|v| v == [f16::MAX, f16::from_f32(2048.0)]));
        assert!(matches!(f32_to_f16(&[0.0, 65520.0]), Err(Trouble::Range { index: 1, dtype: "f16", .. })));
        assert!(matches!(f64_to_f32(&[1e300]), Err(Trouble::Range { index: 0, dtype: "f32", .. })));
        assert!(matches!(f32_to_bf16(&[f32::MAX]), Err(Trouble::Range { index: 0, dtype: "bf16", .. })));
        assert!(matches!(to_i32(&[1i64 << 31]), Err(Trouble::Range { index: 0, .. })));
    }

    #[test]
    fn strided_views_are_gathered_in_index_order() {
        let span: Vec<u32> = (0..24).collect();
        assert_eq!(gather(&span[..6], &[3, 2], &[1, 3]), [0, 3, 1, 4, 2, 5]);
        assert_eq!(gather(&span[..1], &[3], &[0]), [0, 0, 0]);
        assert_eq!(gather(&span, &[4, 2, 3], &[1, 12, 4])[..8], [0, 4, 8, 12, 16, 20, 1, 5]);
        assert_eq!(gather(&span[..6], &[2, 2], &[3, 2]), [0, 2, 3, 5]);
    }
}
