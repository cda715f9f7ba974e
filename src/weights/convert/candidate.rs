//! One checkpoint on its way: what part it is, whether it is whole, and its tensors in the form that they are stored in.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::Dtype;
use serde_json::{Map, Value};

use super::config::Shapes;
use super::find::unrecognised;
use super::part::Part;
use super::{ConvertOptions, ConvertProgress, ConvertedFile, Needed, StoreAs};
use crate::kernels::{Quantization, Quantized};
use crate::weights::account::{Mismatch, Misshapen};
use crate::weights::checkpoint::{Checkpoint, TensorInfo};
use crate::weights::error::WeightError;
use crate::weights::quantized::{QUANTIZED, QUANTIZED_SHAPES, scale_name, stored_as};
use crate::weights::torch::wrapper_prefix;
use crate::weights::write::{TensorSpec, stream_safetensors};

/// A checkpoint that could become a file of the destination.
pub(super) struct Candidate {
    pub(super) path: PathBuf,
    pub(super) checkpoint: Checkpoint,
    /// What a wrapper put before every name, to be left out.
    pub(super) prefix: String,
    pub(super) part: Option<Part>,
}

impl Candidate {
    pub(super) fn open(path: &Path) -> Result<Self, WeightError> {
        let checkpoint = Checkpoint::open(path)?;
        let names: Vec<&str> = checkpoint.tensors().map(|t| t.name.as_str()).collect();
        let prefix = names.first().map(|name| name[..wrapper_prefix(&names)].to_owned()).unwrap_or_default();
        let part = Part::of(&checkpoint, &prefix);
        Ok(Self { path: path.to_owned(), checkpoint, prefix, part })
    }

    pub(super) fn short<'a>(&self, name: &'a str) -> &'a str {
        &name[self.prefix.len()..]
    }

    pub(super) fn shapes(&self) -> Shapes {
        let shapes = self.checkpoint.tensors().map(|t| (self.short(&t.name).to_owned(), t.shape.clone()));
        let mut shapes: BTreeMap<_, _> = shapes.collect();
        // Of what is quantised already, the official shapes count.
        let official = self.checkpoint.metadata().get(QUANTIZED_SHAPES);
        let official: BTreeMap<String, Vec<usize>> =
            official.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        for (name, shape) in official {
            shapes.remove(&scale_name(&name));
            shapes.insert(name, shape);
        }
        Shapes { file: self.checkpoint.name().to_owned(), shapes }
    }

    /// How a tensor is to be quantised: matrices of layers, and the table that is the head's too. The tokenizer stays as it is.
    fn scheme(&self, tensor: &TensorInfo, quantize: Option<Quantization>) -> Option<Quantization> {
        let name = self.short(&tensor.name);
        let is_matrix = tensor.shape.len() == 2 && name.ends_with("weight") && is_float(tensor.dtype);
        let quantize = quantize.filter(|_| is_matrix && !self.part.is_some_and(Part::is_tokenizer))?;
        // By official name what programs declare by role: four bits are for blocks, see `Role`.
        let in_block = name.split('.').any(|part| part == "layers" || part == "blocks");
        Some(if in_block { quantize } else { Quantization::Int8 })
    }

    /// Holds the tensors to what the programs of the model ask for.
    pub(super) fn account(&self, config: &Value, needed: Needed) -> Result<(), WeightError> {
        let Some(part) = self.part else { return Ok(()) };
        let of_config = |problem| WeightError::convert(format!("the model does not go together: {problem}"));
        let Some(needed) = needed(config, part.name()).map_err(of_config)? else { return Ok(()) };
        let needed: BTreeMap<String, Vec<usize>> = needed.into_iter().collect();
        let found = self.shapes().shapes;
        let (mut missing, mut misshapen, mut surplus) = (Vec::new(), Vec::new(), Vec::new());
        for (name, expected) in &needed {
            match found.get(name) {
                None => missing.push((name.clone(), expected.clone())),
                Some(shape) if shape != expected => misshapen.push(Misshapen {
                    name: name.clone(),
                    found: shape.clone(),
                    expected: expected.clone(),
                }),
                Some(_) => {}
            }
        }
        for tensor in self.checkpoint.tensors() {
            let name = self.short(&tensor.name);
            if found.contains_key(name) && !needed.contains_key(name) && !part.drops(name) {
                surplus.push(TensorInfo { name: name.to_owned(), ..tensor.clone() });
            }
        }
        if missing.is_empty() && misshapen.is_empty() && surplus.is_empty() {
            return Ok(());
        }
        let file = self.checkpoint.name().to_owned();
        Err(WeightError::Mismatch(Box::new(Mismatch { file, missing, surplus, misshapen })))
    }

    /// Refuses what cannot be quantised, or not again.
    pub(super) fn check(&self, options: &ConvertOptions) -> Result<(), WeightError> {
        let file = self.checkpoint.name();
        if options.quantize.is_some() && self.part.is_none() {
            let problem = format!("{file} cannot be quantised: {}", unrecognised(self));
            return Err(WeightError::convert(problem));
        }
        if let Some(format) = self.checkpoint.metadata().get(QUANTIZED)
            && (options.quantize.is_some() || options.dtype != StoreAs::Keep)
        {
            let problem =
                format!("{file} is quantised already, to {format}\n  convert what it was made from");
            return Err(WeightError::convert(problem));
        }
        Ok(())
    }

    pub(super) fn write(
        &self,
        destination: &Path,
        options: &ConvertOptions,
        on_progress: &mut dyn FnMut(ConvertProgress<'_>),
    ) -> Result<ConvertedFile, WeightError> {
        let drops = |name: &str| self.part.is_some_and(|part| part.drops(self.short(name)));
        let (dropped, kept): (Vec<&TensorInfo>, Vec<_>) =
            self.checkpoint.tensors().partition(|t| drops(&t.name));
        self.check(options)?;
        let mut official_shapes = Map::new();
        // What is written of which tensor: a quantised matrix becomes two.
        let mut specs = Vec::with_capacity(kept.len());
        let mut sources = Vec::with_capacity(kept.len());
        for &tensor in &kept {
            let name = self.short(&tensor.name);
            match (self.scheme(tensor, options.quantize), &tensor.shape[..]) {
                (Some(scheme), &[rows, width]) => {
                    official_shapes.insert(name.to_owned(), tensor.shape.clone().into());
                    specs.extend(stored_as(scheme, name, [rows, width]));
                    sources.extend([(tensor, Piece::Values(scheme)), (tensor, Piece::Scales(scheme))]);
                }
                _ => {
                    let dtype = stored_type(tensor.dtype, options.dtype);
                    specs.push(TensorSpec::new(name, dtype, tensor.shape.clone()));
                    sources.push((tensor, Piece::Whole));
                }
            }
        }
        let file = self.checkpoint.name();
        let mut metadata = BTreeMap::from([
            // What other readers of the format look for.
            ("format".to_owned(), "pt".to_owned()),
            ("converted_from".to_owned(), file.to_owned()),
        ]);
        for key in [QUANTIZED, QUANTIZED_SHAPES] {
            metadata
                .extend(self.checkpoint.metadata().get_key_value(key).map(|(k, v)| (k.clone(), v.clone())));
        }
        if let Some(quantize) = options.quantize.filter(|_| !official_shapes.is_empty()) {
            metadata.insert(QUANTIZED.to_owned(), quantize.to_string());
            metadata.insert(QUANTIZED_SHAPES.to_owned(), Value::Object(official_shapes).to_string());
        }
        let total_bytes = kept.iter().map(|t| t.bytes).sum();
        let mut done_bytes = 0;
        stream_safetensors(destination, &specs, &metadata, &mut |index| {
            on_progress(ConvertProgress { file, done_bytes, total_bytes });
            let (tensor, piece) = sources[index];
            if !matches!(piece, Piece::Scales(_)) {
                done_bytes += tensor.bytes;
            }
            self.fetch(tensor, piece, options.dtype)
        })?;
        on_progress(ConvertProgress { file, done_bytes, total_bytes });
        let written = fs::metadata(destination).map_err(|e| WeightError::io("read", destination, e))?;
        Ok(ConvertedFile {
            source: self.path.clone(),
            destination: destination.to_owned(),
            part: self.part,
            kept: kept.len(),
            dropped: dropped.iter().map(|t| self.short(&t.name).to_owned()).collect(),
            parameters: self
                .shapes()
                .shapes
                .iter()
                .filter(|(name, _)| !self.part.is_some_and(|part| part.drops(name)))
                .map(|(_, shape)| shape.iter().map(|&n| n as u64).product::<u64>())
                .sum(),
            bytes: written.len(),
        })
    }

    fn fetch(
        &self,
        tensor: &TensorInfo,
        piece: Piece,
        store_as: StoreAs,
    ) -> Result<Cow<'_, [u8]>, WeightError> {
        let name = &tensor.name;
        if let (Piece::Values(scheme) | Piece::Scales(scheme), Some(&width)) = (piece, tensor.shape.last()) {
            // Made twice, once for each piece, so that no more than one tensor is in memory.
            let quantized = Quantized::new(scheme, width as u32, width, &self.checkpoint.read_f32(name)?);
            let (values, scales) = quantized.to_parts();
            return Ok(Cow::Owned(if matches!(piece, Piece::Values(_)) { values } else { scales }));
        }
        if !is_float(tensor.dtype) {
            return self.checkpoint.read_bytes(name);
        }
        // Weights that are kept as they are get no conversion to meet a NaN; it is looked for here.
        let as_stored = match stored_type(tensor.dtype, store_as) {
            Dtype::F16 => bytes::<f16>(&self.checkpoint.read_f16(name)?),
            Dtype::BF16 => bytes::<bf16>(&self.checkpoint.read_bf16(name)?),
            Dtype::F64 => bytes::<f64>(&self.checkpoint.read_f64(name)?),
            _ => bytes::<f32>(&self.checkpoint.read_f32(name)?),
        };
        Ok(Cow::Owned(as_stored))
    }
}

/// What is written of a tensor.
#[derive(Clone, Copy)]
enum Piece {
    Whole,
    Values(Quantization),
    Scales(Quantization),
}

fn bytes<T: bytemuck::NoUninit>(elements: &[T]) -> Vec<u8> {
    bytemuck::cast_slice(elements).to_vec()
}

fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64)
}

fn stored_type(dtype: Dtype, store_as: StoreAs) -> Dtype {
    match store_as {
        _ if !is_float(dtype) => dtype,
        StoreAs::Keep => dtype,
        StoreAs::F32 => Dtype::F32,
        StoreAs::F16 => Dtype::F16,
        StoreAs::Bf16 => Dtype::BF16,
    }
}
