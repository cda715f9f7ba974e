//! One file of named tensors, or several with an index, whatever the format, read tensor by tensor.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;

use bytemuck::{NoUninit, Pod, Zeroable};
use half::{bf16, f16};
use safetensors::Dtype;

use super::account::nearest;
use super::elements::{self, Trouble};
use super::error::WeightError;
use super::source::{FileBytes, Source};
use super::{safetensors_header, shards, torch, zip};

/// What a file says of one tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name, as in the official checkpoints.
    pub name: String,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its dimensions, the slowest first.
    pub shape: Vec<usize>,
    /// The bytes that its elements take.
    pub bytes: u64,
}

impl TensorInfo {
    /// How many elements it has.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A tensor and where it is.
pub(super) struct Stored {
    pub(super) info: TensorInfo,
    pub(super) place: Place,
}

/// Readers have checked both against the file.
pub(super) struct Place {
    /// Of the first element, in bytes from the start of the file.
    pub(super) offset: u64,
    /// In elements; `None` where the elements lie one after another.
    pub(super) strides: Option<Vec<usize>>,
}

/// A safetensors file, an index of several, or a PyTorch checkpoint, opened: its table of tensors has been read and checked, their data is read
/// on demand.
///
/// ```no_run
/// # fn main() -> Result<(), migm::weights::WeightError> {
/// let checkpoint = migm::weights::Checkpoint::open("MaskGIT_ImageNet_512.pth".as_ref())?;
/// for tensor in checkpoint.tensors() {
///     println!("{} {:?} {}", tensor.name, tensor.shape, tensor.dtype);
/// }
/// let positions = checkpoint.read_f32("pos_emb")?;
/// # Ok(())
/// # }
/// ```
pub struct Checkpoint {
    source: Source,
    tensors: BTreeMap<String, Stored>,
    metadata: BTreeMap<String, String>,
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint")
            .field("name", &self.source.name)
            .field("tensors", &self.tensors.len())
            .finish()
    }
}

impl Checkpoint {
    /// Opens a file and reads its table of tensors. The format is told by the content, not by the name; only an index of
    /// shards is known by its name, `*.safetensors.index.json`.
    pub fn open(path: &Path) -> Result<Self, WeightError> {
        if shards::is_index(path) {
            let (source, (tensors, metadata)) = shards::open_index(path)?;
            return Ok(Self { source, tensors, metadata });
        }
        Self::from_source(Source::open(path)?)
    }

    /// The same for a file that is in memory, such as a bundled or downloaded model; `name` is for messages.
    pub fn from_bytes(name: &str, bytes: FileBytes) -> Result<Self, WeightError> {
        Self::from_source(Source::from_bytes(name, bytes))
    }

    fn from_source(source: Source) -> Result<Self, WeightError> {
        let mut start = [0; 64];
        let start = &mut start[..source.len.min(64) as usize];
        source.read_at(0, start)?;
        let claims_safetensors = source.name.ends_with(".safetensors");
        let (tensors, metadata) = if zip::looks_like_zip(start) {
            (torch::read_tensors(&source)?, BTreeMap::new())
        } else if safetensors_header::looks_like_safetensors(start) {
            safetensors_header::read_header(&source)?
        } else if let Some(found) = what_instead(start) {
            return Err(WeightError::UnknownFormat { file: source.name, found: found.into() });
        } else if torch::looks_like_legacy(start) && !claims_safetensors {
            return Err(WeightError::LegacyTorch { file: source.name });
        } else if claims_safetensors {
            safetensors_header::read_header(&source)?
        } else {
            let found = format!("it starts with the bytes {:02x?}", &start[..start.len().min(8)]);
            return Err(WeightError::UnknownFormat { file: source.name, found });
        };
        Ok(Self { source, tensors, metadata })
    }

    /// The file's name, as messages show it.
    pub fn name(&self) -> &str {
        &self.source.name
    }

    /// The file's length in bytes; that of all shards together.
    pub fn file_bytes(&self) -> u64 {
        self.source.len
    }

    /// Every tensor, in the order of their names.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = &TensorInfo> {
        self.tensors.values().map(|stored| &stored.info)
    }

    /// One tensor, if the file has it.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name).map(|stored| &stored.info)
    }

    /// The `__metadata__` of a safetensors file; empty for a PyTorch checkpoint and for shards.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The elements as they are stored, contiguous and little-endian; borrowed where the file is in memory.
    pub fn read_bytes(&self, name: &str) -> Result<Cow<'_, [u8]>, WeightError> {
        self.bytes_of(self.stored(name)?)
    }

    /// The same of some rows (indices of the slowest dimension); no more is read.
    pub(super) fn read_row_bytes(
        &self,
        name: &str,
        rows: Range<usize>,
    ) -> Result<Cow<'_, [u8]>, WeightError> {
        self.bytes_of(&self.rows_of(self.stored(name)?, rows)?)
    }

    fn bytes_of(&self, stored: &Stored) -> Result<Cow<'_, [u8]>, WeightError> {
        if stored.place.strides.is_none() {
            let offset = stored.place.offset;
            if let Some(bytes) = self.source.borrowed(offset..offset + stored.info.bytes) {
                return Ok(Cow::Borrowed(bytes));
            }
            return self.source.read_vec(offset, stored.info.bytes).map(Cow::Owned);
        }
        let bytes = match stored.info.dtype.bitsize() {
            64 => to_bytes(&self.elements::<u64>(stored)?),
            32 => to_bytes(&self.elements::<u32>(stored)?),
            16 => to_bytes(&self.elements::<u16>(stored)?),
            _ => self.elements::<u8>(stored)?,
        };
        Ok(Cow::Owned(bytes))
    }

    /// The elements of a tensor of floats as `f32`. All are finite: NaN and infinity are errors.
    pub fn read_f32(&self, name: &str) -> Result<Vec<f32>, WeightError> {
        self.f32_of(self.stored(name)?, 0)
    }

    /// The same of some rows (indices of the slowest dimension); no more is read.
    ///
    /// # Errors
    /// As [`Checkpoint::read_f32`], or there are not so many rows.
    pub fn read_f32_rows(&self, name: &str, rows: Range<usize>) -> Result<Vec<f32>, WeightError> {
        let stored = self.stored(name)?;
        let before = rows.start * stored.info.shape.iter().skip(1).product::<usize>();
        self.f32_of(&self.rows_of(stored, rows)?, before)
    }

    /// `before` elements of the tensor stand before these: errors count them.
    fn f32_of(&self, stored: &Stored, before: usize) -> Result<Vec<f32>, WeightError> {
        let read = match stored.info.dtype {
            Dtype::F32 => elements::finite(self.elements(stored)?),
            Dtype::F16 => elements::f16_to_f32(&self.elements(stored)?),
            Dtype::BF16 => elements::bf16_to_f32(&self.elements(stored)?),
            Dtype::F64 => elements::f64_to_f32(&self.elements(stored)?),
            _ => return Err(self.not_a(stored, elements::FLOATS)),
        };
        read.map_err(|trouble| self.trouble(stored, trouble.after(before)))
    }

    /// The elements of a tensor of floats as `f16`; one that is too large for it is an error.
    pub fn read_f16(&self, name: &str) -> Result<Vec<f16>, WeightError> {
        let stored = self.stored(name)?;
        let read = match stored.info.dtype {
            Dtype::F32 => elements::f32_to_f16(&self.elements(stored)?),
            Dtype::F16 => elements::finite(self.elements(stored)?),
            Dtype::BF16 => {
                elements::bf16_to_f32(&self.elements(stored)?).and_then(|wide| elements::f32_to_f16(&wide))
            }
            Dtype::F64 => elements::f64_to_f16(&self.elements(stored)?),
            _ => return Err(self.not_a(stored, elements::FLOATS)),
        };
        read.map_err(|trouble| self.trouble(stored, trouble))
    }

    /// The elements of a tensor of floats as `bf16`, rounded to nearest.
    pub fn read_bf16(&self, name: &str) -> Result<Vec<bf16>, WeightError> {
        let stored = self.stored(name)?;
        if stored.info.dtype == Dtype::BF16 {
            return elements::finite(self.elements(stored)?).map_err(|trouble| self.trouble(stored, trouble));
        }
        elements::f32_to_bf16(&self.read_f32(name)?).map_err(|trouble| self.trouble(stored, trouble))
    }

    /// The elements of a tensor of floats as `f64`.
    pub fn read_f64(&self, name: &str) -> Result<Vec<f64>, WeightError> {
        let stored = self.stored(name)?;
        if stored.info.dtype == Dtype::F64 {
            return elements::finite(self.elements(stored)?).map_err(|trouble| self.trouble(stored, trouble));
        }
        Ok(self.read_f32(name)?.into_iter().map(f64::from).collect())
    }

    /// The elements of a tensor of integers as `i32`; one out of its range is an error.
    pub fn read_i32(&self, name: &str) -> Result<Vec<i32>, WeightError> {
        let stored = self.stored(name)?;
        let read = match stored.info.dtype {
            Dtype::I32 => return self.elements(stored),
            Dtype::I64 => elements::to_i32(&self.elements::<i64>(stored)?),
            Dtype::I16 => elements::to_i32(&self.elements::<i16>(stored)?),
            Dtype::I8 => elements::to_i32(&self.elements::<i8>(stored)?),
            Dtype::U8 | Dtype::BOOL => elements::to_i32(&self.elements::<u8>(stored)?),
            Dtype::U16 => elements::to_i32(&self.elements::<u16>(stored)?),
            Dtype::U32 => elements::to_i32(&self.elements::<u32>(stored)?),
            _ => return Err(self.not_a(stored, "I32, I64, I16, I8, U32, U16, U8 or BOOL")),
        };
        read.map_err(|trouble| self.trouble(stored, trouble))
    }

    /// The elements of a tensor of bytes or booleans.
    pub fn read_u8(&self, name: &str) -> Result<Vec<u8>, WeightError> {
        let stored = self.stored(name)?;
        match stored.info.dtype {
            Dtype::U8 | Dtype::BOOL => self.elements(stored),
            _ => Err(self.not_a(stored, "U8 or BOOL")),
        }
    }

    fn stored(&self, name: &str) -> Result<&Stored, WeightError> {
        self.tensors.get(name).ok_or_else(|| WeightError::NoSuchTensor {
            file: self.source.name.clone(),
            tensor: name.into(),
            hint: nearest(name, self.tensors.keys().map(String::as_str)).map(str::to_owned),
        })
    }

    /// Some rows of a tensor as a tensor.
    fn rows_of(&self, stored: &Stored, rows: Range<usize>) -> Result<Stored, WeightError> {
        let mut info = stored.info.clone();
        let held = info.shape.first().copied().unwrap_or(0);
        if rows.start > rows.end || rows.end > held {
            let problem = format!("rows {} to {} are asked for, and it has {held}", rows.start, rows.end);
            return Err(WeightError::tensor(self.name(), &info.name, problem));
        }
        // Of no rows, there is nothing to gather.
        let strides = stored.place.strides.clone().filter(|_| !rows.is_empty());
        let row = info.shape.iter().skip(1).product::<usize>();
        let stride = strides.as_ref().map_or(row, |strides| strides[0]);
        let bits = info.dtype.bitsize();
        let offset = stored.place.offset + (rows.start * stride * bits / 8) as u64;
        info.shape[0] = rows.len();
        info.bytes = (rows.len() * row * bits / 8) as u64;
        Ok(Stored { info, place: Place { offset, strides } })
    }

    /// Reads a tensor in place: `T` has the size of its elements. What is allocated has been checked against the file.
    fn elements<T: Pod>(&self, stored: &Stored) -> Result<Vec<T>, WeightError> {
        let info = &stored.info;
        let Some(strides) = &stored.place.strides else {
            let mut elements = vec![T::zeroed(); info.elements()];
            self.source.read_at(stored.place.offset, bytemuck::cast_slice_mut(&mut elements))?;
            return Ok(elements);
        };
        let reach: usize = info.shape.iter().zip(strides).map(|(&size, &stride)| (size - 1) * stride).sum();
        let mut span = vec![T::zeroed(); reach + 1];
        self.source.read_at(stored.place.offset, bytemuck::cast_slice_mut(&mut span))?;
        Ok(elements::gather(&span, &info.shape, strides))
    }

    fn not_a(&self, stored: &Stored, expected: &'static str) -> WeightError {
        WeightError::ElementType {
            file: self.source.name_at(stored.place.offset).to_owned(),
            tensor: stored.info.name.clone(),
            found: stored.info.dtype.to_string(),
            expected,
        }
    }

    fn trouble(&self, stored: &Stored, trouble: Trouble) -> WeightError {
        let file = self.source.name_at(stored.place.offset).to_owned();
        let tensor = stored.info.name.clone();
        match trouble {
            Trouble::NotFinite { index, value } => WeightError::NotFinite { file, tensor, index, value },
            Trouble::Range { index, value, dtype } => {
                WeightError::Range { file, tensor, index, value, dtype }
            }
        }
    }
}

fn to_bytes<T: NoUninit + Zeroable>(elements: &[T]) -> Vec<u8> {
    bytemuck::cast_slice(elements).to_vec()
}

/// Files that people have instead of the one they meant.
fn what_instead(start: &[u8]) -> Option<&'static str> {
    let text = start.trim_ascii_start();
    let is = |prefix: &[u8]| text.get(..prefix.len()).is_some_and(|t| t.eq_ignore_ascii_case(prefix));
    if start.is_empty() {
        Some("it is empty")
    } else if is(b"version https://git-lfs") {
        Some("it is a pointer to the file\n  fetch the file itself with `git lfs pull`")
    } else if is(b"<!doctype") || is(b"<html") {
        Some("it is a web page\n  the download led to a page about the file, or to an error; fetch it again")
    } else if is(b"GGUF") {
        Some("it is a GGUF file, which holds language models")
    } else if is(b"\x89HDF") {
        Some("it is an HDF5 file (Keras)")
    } else {
        None
    }
}
