//! Weight files: what a model is loaded from and saved to.
//!
//! Here live the readers of safetensors files, whole or in shards, and PyTorch checkpoints behind one type, [`Checkpoint`]; the strict
//! accounting of a model's tensors, [`account`]; the model folder, [`ModelFolder`]; the safetensors writer; and the
//! conversion of official checkpoints to a model folder, [`convert`], quantised where asked (`kernels` knows how). What the
//! tensors mean is the business of `models`, and nothing here knows of a GPU. The models, the trainer and the command line call it.
//!
//! Weight files come from strangers. Every length, offset and count in them is checked against the file before anything
//! is allocated, a pickle is interpreted but never executed, and no input may panic, recurse or loop; `fuzz/` and
//! `tests/weights/` hold the readers to that.

mod account;
mod checkpoint;
mod convert;
mod elements;
mod error;
mod folder;
mod pickle;
mod quantized;
mod safetensors_header;
mod shards;
mod source;
mod torch;
mod write;
mod zip;

pub use account::{Mismatch, Misshapen, account};
pub use checkpoint::{Checkpoint, TensorInfo};
pub use convert::{
    ConvertOptions, ConvertProgress, ConvertReport, ConvertedFile, Needed, Part, SkippedFile, StoreAs,
    TensorShapes, convert,
};
pub use error::WeightError;
pub use folder::ModelFolder;
pub use safetensors::Dtype;
pub use source::FileBytes;
pub use write::{TensorSpec, encode_safetensors, stream_safetensors, write_safetensors};
#[cfg(test)]
pub(crate) use zip::stored_entries;

// Tensors are read into place by casting; every device that WebGPU knows is little-endian, as the formats are.
const _: () = assert!(cfg!(target_endian = "little"), "weight files are little-endian");
