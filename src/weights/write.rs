//! Writing: safetensors, streamed tensor by tensor; and files that appear whole or not at all.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use safetensors::Dtype;
use serde_json::{Map, Value, json};

use super::error::WeightError;
use super::safetensors_header::bytes_of;

/// The data starts at a multiple of this, so that a mapped file can be cast to its elements.
const ALIGNMENT: usize = 8;
const METADATA: &str = "__metadata__";

/// What is to be written of one tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its dimensions, the slowest first.
    pub shape: Vec<usize>,
}

impl TensorSpec {
    /// A tensor of this name, element type and shape.
    pub fn new(name: impl Into<String>, dtype: Dtype, shape: impl Into<Vec<usize>>) -> Self {
        Self { name: name.into(), dtype, shape: shape.into() }
    }
}

/// Writes tensors that are in memory to a safetensors file. The file appears under its name once it is complete.
pub fn write_safetensors(
    path: &Path,
    tensors: &[(TensorSpec, &[u8])],
    metadata: &BTreeMap<String, String>,
) -> Result<(), WeightError> {
    let (specs, data) = split(tensors);
    stream_safetensors(path, &specs, metadata, &mut |index| Ok(Cow::Borrowed(data[index])))
}

/// Writes a safetensors file of tensors that are fetched one at a time, by their index in `specs`, so that only one is in
/// memory. The file appears under its name once it is complete; where something fails, nothing is left.
pub fn stream_safetensors<'a>(
    path: &Path,
    specs: &[TensorSpec],
    metadata: &BTreeMap<String, String>,
    fetch: &mut dyn FnMut(usize) -> Result<Cow<'a, [u8]>, WeightError>,
) -> Result<(), WeightError> {
    let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    write_whole(path, |out| {
        let refused = |e| WeightError::io("write", path, e);
        encode(out, &file, specs, metadata, fetch, &refused)
    })
}

/// The bytes of a safetensors file, for where there are no files.
pub fn encode_safetensors(
    tensors: &[(TensorSpec, &[u8])],
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, WeightError> {
    let (specs, data) = split(tensors);
    let mut bytes = Vec::new();
    let refused = |source| WeightError::Io { action: "write", path: "memory".into(), source };
    encode(&mut bytes, "memory", &specs, metadata, &mut |index| Ok(Cow::Borrowed(data[index])), &refused)?;
    Ok(bytes)
}

fn split<'a>(tensors: &[(TensorSpec, &'a [u8])]) -> (Vec<TensorSpec>, Vec<&'a [u8]>) {
    tensors.iter().map(|(spec, data)| (spec.clone(), *data)).unzip()
}

fn encode<'a>(
    out: &mut dyn Write,
    file: &str,
    specs: &[TensorSpec],
    metadata: &BTreeMap<String, String>,
    fetch: &mut dyn FnMut(usize) -> Result<Cow<'a, [u8]>, WeightError>,
    refused: &dyn Fn(io::Error) -> WeightError,
) -> Result<(), WeightError> {
    // Wide elements first, as the format's own writer does: each tensor is then aligned to its elements.
    let mut order: Vec<usize> = (0..specs.len()).collect();
    order.sort_by(|&a, &b| {
        let (a, b) = (&specs[a], &specs[b]);
        b.dtype.bitsize().cmp(&a.dtype.bitsize()).then_with(|| a.name.cmp(&b.name))
    });
    let mut header = Map::new();
    if !metadata.is_empty() {
        header.insert(METADATA.into(), json!(metadata));
    }
    let mut sizes = Vec::with_capacity(specs.len());
    let mut end = 0u64;
    for &index in &order {
        let TensorSpec { name, dtype, shape } = &specs[index];
        let size = bytes_of(shape, *dtype).and_then(|size| Some((size, end.checked_add(size)?)));
        let (size, next) = size.ok_or_else(|| {
            WeightError::tensor(file, name, format!("shape {shape:?} of {dtype} has no size in whole bytes"))
        })?;
        let entry = json!({ "dtype": dtype.to_string(), "shape": shape, "data_offsets": [end, next] });
        if name == METADATA || header.insert(name.clone(), entry).is_some() {
            return Err(WeightError::tensor(file, name, "its name is taken"));
        }
        sizes.push(size);
        end = next;
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(ALIGNMENT), b' ');
    out.write_all(&(header.len() as u64).to_le_bytes()).map_err(refused)?;
    out.write_all(&header).map_err(refused)?;
    for (&index, size) in order.iter().zip(sizes) {
        let data = fetch(index)?;
        if data.len() as u64 != size {
            let TensorSpec { name, dtype, shape } = &specs[index];
            let problem =
                format!("shape {shape:?} of {dtype} takes {size} bytes, its data has {}", data.len());
            return Err(WeightError::tensor(file, name, problem));
        }
        out.write_all(&data).map_err(refused)?;
    }
    Ok(())
}

/// Writes a file by the rules of [`crate::output`]: readers see the old file or the new one.
pub(super) fn write_whole(
    path: &Path,
    content: impl FnOnce(&mut dyn Write) -> Result<(), WeightError>,
) -> Result<(), WeightError> {
    crate::output::stream(path, |e| WeightError::io("write", path, e), content)
}
