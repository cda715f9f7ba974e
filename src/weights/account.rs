//! Strict accounting: a file has the tensors that the model needs, in the shapes that it needs, and no others.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use super::checkpoint::{Checkpoint, TensorInfo};
use super::error::{Name, WeightError, count};
use super::write::TensorSpec;

/// How many of each kind of trouble a message names.
const SHOWN: usize = 4;
/// Beyond this many candidates or bytes, no nearest name is looked for.
const MOST_CANDIDATES: usize = 4096;
const LONGEST_COMPARED: usize = 256;

/// Every tensor of a file that is not as the model needs it.
#[derive(Debug)]
pub struct Mismatch {
    /// The file.
    pub file: String,
    /// Tensors that the model needs and the file lacks, with their shapes.
    pub missing: Vec<(String, Vec<usize>)>,
    /// Tensors that the file has and the model has no place for.
    pub surplus: Vec<TensorInfo>,
    /// Tensors of another shape than the model needs.
    pub misshapen: Vec<Misshapen>,
}

/// A tensor of another shape than the model needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misshapen {
    /// Its name.
    pub name: String,
    /// Its shape in the file.
    pub found: Vec<usize>,
    /// The shape that the model needs.
    pub expected: Vec<usize>,
}

impl Checkpoint {
    /// The elements of the tensor `name` as `f32`, if it has this shape; of a quantised matrix, what it stands for.
    ///
    /// # Errors
    /// It is missing, misshapen, of no float type, or not finite.
    pub fn read_shaped(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, WeightError> {
        self.read_shaped_rows(name, shape, 0..shape.first().copied().unwrap_or(1))
    }

    /// The same of some rows (indices of the slowest dimension); no more is read.
    ///
    /// # Errors
    /// As [`Checkpoint::read_shaped`].
    pub fn read_shaped_rows(
        &self,
        name: &str,
        shape: &[usize],
        rows: Range<usize>,
    ) -> Result<Vec<f32>, WeightError> {
        if let Some(quantized) = self.read_quantized(name, shape, rows.clone())? {
            return Ok(quantized.dequantize(shape.last().copied().unwrap_or(0)));
        }
        self.check_shape(name, shape)?;
        // A scalar has no rows.
        if shape.is_empty() { self.read_f32(name) } else { self.read_f32_rows(name, rows) }
    }

    /// Checks that there is such a tensor, and its shape.
    pub(super) fn check_shape(&self, name: &str, shape: &[usize]) -> Result<(), WeightError> {
        match self.tensor(name) {
            Some(info) if info.shape == shape => Ok(()),
            Some(info) => {
                let (found, expected) = (info.shape.clone(), shape.to_vec());
                let misshapen = vec![Misshapen { name: name.to_owned(), found, expected }];
                let file = self.name().to_owned();
                let mismatch = Mismatch { file, missing: Vec::new(), surplus: Vec::new(), misshapen };
                Err(WeightError::Mismatch(Box::new(mismatch)))
            }
            None => Err(WeightError::missing(name, shape, self.name())),
        }
    }
}

impl WeightError {
    /// The error of a tensor that `file` lacks.
    pub(crate) fn missing(name: &str, shape: &[usize], file: &str) -> Self {
        let missing = vec![(name.to_owned(), shape.to_vec())];
        let (surplus, misshapen) = (Vec::new(), Vec::new());
        Self::Mismatch(Box::new(Mismatch { file: file.to_owned(), missing, surplus, misshapen }))
    }
}

/// Checks that `checkpoint` has exactly the tensors of `expected`, in these shapes. Surplus tensors for which `ignore` is
/// true are passed over. All that is wrong is in one error. A matrix may also be there quantised, in two parts.
pub fn account(
    checkpoint: &Checkpoint,
    expected: &[(String, Vec<usize>)],
    ignore: &dyn Fn(&str) -> bool,
) -> Result<(), WeightError> {
    let mut missing = Vec::new();
    let mut misshapen = Vec::new();
    let parts: Vec<TensorSpec> =
        expected.iter().filter_map(|(name, shape)| checkpoint.parts_of(name, shape)).flatten().collect();
    let is_quantized = |name: &str| parts.iter().step_by(2).any(|values| values.name == name);
    let whole = expected.iter().filter(|(name, _)| !is_quantized(name)).map(|(name, shape)| (name, shape));
    let expected: Vec<_> = whole.chain(parts.iter().map(|part| (&part.name, &part.shape))).collect();
    for &(name, shape) in &expected {
        match checkpoint.tensor(name) {
            None => missing.push((name.clone(), shape.clone())),
            Some(found) if found.shape != *shape => misshapen.push(Misshapen {
                name: name.clone(),
                found: found.shape.clone(),
                expected: shape.clone(),
            }),
            Some(_) => {}
        }
    }
    let known: BTreeSet<&str> = expected.iter().map(|(name, _)| name.as_str()).collect();
    let is_surplus = |t: &&TensorInfo| !known.contains(t.name.as_str()) && !ignore(&t.name);
    let surplus: Vec<_> = checkpoint.tensors().filter(is_surplus).cloned().collect();
    if missing.is_empty() && surplus.is_empty() && misshapen.is_empty() {
        return parts.iter().try_for_each(|part| checkpoint.check_part(part));
    }
    let file = checkpoint.name().into();
    Err(WeightError::Mismatch(Box::new(Mismatch { file, missing, surplus, misshapen })))
}

impl std::error::Error for Mismatch {}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let ([only], true, true) = (&self.misshapen[..], self.missing.is_empty(), self.surplus.is_empty())
        {
            let Misshapen { name, found, expected } = only;
            return write!(
                f,
                "tensor {} in {} has shape {found:?}, expected {expected:?}",
                Name(name),
                self.file
            );
        }
        let kinds = [
            (self.missing.len(), "missing"),
            (self.surplus.len(), "surplus"),
            (self.misshapen.len(), "misshapen"),
        ];
        let kinds: Vec<_> = kinds
            .iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, kind)| count(*n, &format!("{kind} tensor")))
            .collect();
        write!(f, "{} does not fit the model: {}", self.file, kinds.join(", "))?;
        for Misshapen { name, found, expected } in self.misshapen.iter().take(SHOWN) {
            write!(f, "\n  {} has shape {found:?}, expected {expected:?}", Name(name))?;
        }
        more(f, self.misshapen.len(), "misshapen")?;
        for (name, shape) in self.missing.iter().take(SHOWN) {
            write!(f, "\n  {} {shape:?} is missing", Name(name))?;
            if let Some(near) = self.counterpart(name, shape) {
                write!(f, "; is it the file's {} {:?}?", Name(&near.name), near.shape)?;
            }
        }
        more(f, self.missing.len(), "missing")?;
        for tensor in self.surplus.iter().take(SHOWN) {
            write!(f, "\n  {} {:?} is surplus", Name(&tensor.name), tensor.shape)?;
        }
        more(f, self.surplus.len(), "surplus")
    }
}

impl Mismatch {
    /// The surplus tensor that a missing one was probably renamed to: of its shape if there is one, the nearest in name.
    fn counterpart(&self, name: &str, shape: &[usize]) -> Option<&TensorInfo> {
        let of_shape = self.surplus.iter().filter(|t| t.shape == shape).map(|t| t.name.as_str());
        let near = nearest(name, of_shape)
            .or_else(|| nearest(name, self.surplus.iter().map(|t| t.name.as_str())))?;
        self.surplus.iter().find(|t| t.name == near)
    }
}

fn more(f: &mut fmt::Formatter<'_>, total: usize, kind: &str) -> fmt::Result {
    if total > SHOWN { write!(f, "\n  … and {} more {kind}", total - SHOWN) } else { Ok(()) }
}

/// The candidate nearest to `name`, if one is near enough to be meant: at most a third of its letters differ.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > LONGEST_COMPARED {
        return None;
    }
    let comparable = candidates.take(MOST_CANDIDATES).filter(|c| c.len() <= LONGEST_COMPARED);
    let scored = comparable.map(|candidate| (distance(name.as_bytes(), candidate.as_bytes()), candidate));
    let (distance, candidate) = scored.min_by_key(|(distance, _)| *distance)?;
    (distance <= name.len().div_ceil(3)).then_some(candidate)
}

/// How many letters to insert, delete or replace (Levenshtein).
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_levenshtein_s() {
        assert_eq!(distance(b"kitten", b"sitting"), 3);
        assert_eq!(distance(b"", b"abc"), 3);
        assert_eq!(distance(b"abc", b"abc"), 0);
    }

    #[test]
    fn a_name_far_from_all_has_no_nearest() {
        assert_eq!(
            nearest("tok_emb.weight", ["tok_embed.weight", "pos_emb"].into_iter()),
            Some("tok_embed.weight")
        );
        assert_eq!(nearest("tok_emb.weight", ["quantize.embedding.weight"].into_iter()), None);
    }
}
