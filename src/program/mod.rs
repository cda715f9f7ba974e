//! Programs: static lists of kernels over tensor slots, built once for a shape and replayed every step.
//!
//! Model code appends operations through a [`Builder`]; [`plan`] places temporary tensors in memory by liveness;
//! `exec` runs the result on a GPU or on the CPU. A program knows sizes, costs and names, but holds no data:
//! weights are described by [`WeightSpec`]s and fetched by the executor, one at a time, from a [`WeightSource`].

use crate::kernels::{
    Access, Cost, Extent, Kernel, Quantization, Quantized, Slot, StepValues, WeightFormat, padded,
};

mod builder;
mod dump;
mod formats;
mod matrix;
pub mod plan;

pub use builder::{Builder, Layer, Norm, Onto};
pub use formats::{Formats, Role};
pub use matrix::{Matrix, MatrixPart};

/// The most bytes that an operation of a step binds at once: WebGPU's default `maxStorageBufferBindingSize`. Weights above it are
/// declared by rows, activations above it are made in parts, on every device alike, so that what runs on the largest
/// adapter has run on the smallest.
pub const BINDING_BYTES: u64 = 128 << 20;

/// What a tensor's elements are. Weights may be packed tighter, see [`WeightFormat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// Floats.
    F32,
    /// Half floats: no program asks for them, a device may hold temporaries so.
    F16,
    /// Unsigned integers: token ids, positions, flags.
    U32,
}

/// Where a tensor lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// Between its first and last use, in a buffer shared with others.
    Temporary,
    /// For as long as the executor: the session's state, shared by name among programs.
    State,
    /// Constant, from a checkpoint.
    Weight(WeightSpec),
}

/// A tensor of a program: `rows` times `width` elements, without gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Name in dumps; of a state, the name that programs share; of a weight, its official name with the part before it.
    pub name: String,
    /// Rows, fixed or by step.
    pub rows: Extent,
    /// Elements of a row.
    pub width: u32,
    /// Element type.
    pub element: Element,
    /// Lifetime.
    pub storage: Storage,
}

impl Tensor {
    /// Elements in memory at the largest step; rows of weight matrices are padded.
    pub fn elements(&self) -> u64 {
        u64::from(self.rows.max()) * u64::from(self.width)
    }

    /// Bytes in memory at the largest step.
    pub fn bytes(&self) -> u64 {
        match &self.storage {
            Storage::Weight(spec) => spec.bytes(),
            _ => self.elements() * if self.element == Element::F16 { 2 } else { 4 },
        }
    }
}

/// How a checkpoint's tensor is laid out for the kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// `[n, ...]` as a matrix of n rows, each padded with zeros to a multiple of four.
    Matrix,
    /// Some rows of a matrix, and no more of it is read: the part of a head that can be drawn from, or a part of a matrix that
    /// is too large for one binding.
    Rows {
        /// First row kept.
        first: u32,
        /// Rows kept.
        count: u32,
    },
    /// Like a matrix, but always f32: codebooks, whose rows are compared and copied.
    Table,
    /// As it stands, without padding: biases, norms, positions.
    Dense,
    /// A convolution's `[out, in, kh, kw]` as rows of `(kh, kw, in)`, padded like a matrix.
    Convolution,
    /// The upper left corner of a matrix, without padding: MaskGIT's bias per position and code.
    Corner {
        /// Rows kept.
        rows: u32,
        /// Columns kept.
        columns: u32,
    },
}

/// A weight by its official name, the shape that the checkpoint must have, and how kernels want it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WeightSpec {
    /// Part and official tensor name: `maskgit.tok_emb.weight`.
    pub name: String,
    /// Official shape.
    pub shape: Vec<usize>,
    /// Arrangement in memory.
    pub layout: Layout,
    /// Precision in memory: f32 or f16 of matrices and convolutions, quantised of [quantizable](Self::is_quantizable)
    /// matrices; everything else is f32.
    pub format: WeightFormat,
}

impl WeightSpec {
    /// Rows and elements of a row in memory, padding included.
    pub fn extent(&self) -> (u32, u32) {
        let rows = self.shape.first().copied().unwrap_or(1) as u32;
        let width = self.shape.iter().skip(1).product::<usize>() as u32;
        match self.layout {
            Layout::Matrix | Layout::Table | Layout::Convolution => (rows, padded(width)),
            Layout::Rows { count, .. } => (count, padded(width)),
            Layout::Dense => (rows, width),
            Layout::Corner { rows, columns } => (rows, columns),
        }
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> u64 {
        let (rows, width) = self.extent();
        u64::from(rows) * self.format.row_bytes(width)
    }

    /// Whether it can be quantised: a matrix of a linear layer, a head or an embedding. 1x1 convolutions, which are matrices
    /// too, stay as they are with the other convolutions.
    pub fn is_quantizable(&self) -> bool {
        matches!(self.layout, Layout::Matrix | Layout::Rows { .. }) && self.shape.len() == 2
    }

    /// The rows of the official tensor that are used: what a [`WeightSource`] has to give.
    pub fn kept_rows(&self) -> std::ops::Range<usize> {
        match self.layout {
            Layout::Rows { first, count } => first as usize..(first + count) as usize,
            _ => 0..self.shape.first().copied().unwrap_or(1),
        }
    }

    /// Numbers in a row of the official tensor.
    pub fn row_elements(&self) -> usize {
        self.shape.iter().skip(1).product()
    }

    /// The matrix in eight or four bits, as `source` has it or made here.
    ///
    /// # Errors
    /// As [`WeightSource::load`].
    pub(crate) fn load_quantized(
        &self,
        scheme: Quantization,
        source: &mut dyn WeightSource,
    ) -> Result<Quantized, crate::weights::WeightError> {
        if let Some(stored) = source.load_quantized(self, scheme)? {
            return Ok(stored);
        }
        let width = self.row_elements();
        Ok(Quantized::new(scheme, width as u32, width, &source.load(self)?))
    }

    /// Brings the [kept rows](Self::kept_rows) of a tensor into its layout.
    pub fn arrange(&self, data: Vec<f32>) -> Vec<f32> {
        let (rows, width) = self.extent();
        let (rows, width) = (rows as usize, width as usize);
        let inner = self.row_elements();
        match self.layout {
            Layout::Dense => data,
            Layout::Matrix | Layout::Table | Layout::Rows { .. } if inner == width => data,
            Layout::Matrix | Layout::Table | Layout::Rows { .. } => {
                let mut out = vec![0.0; rows * width];
                for (out, row) in out.chunks_exact_mut(width).zip(data.chunks_exact(inner)) {
                    out[..inner].copy_from_slice(row);
                }
                out
            }
            Layout::Convolution => {
                let (channels, taps) = (self.shape[1], inner / self.shape[1]);
                let mut out = vec![0.0; rows * width];
                for (out, row) in out.chunks_exact_mut(width).zip(data.chunks_exact(inner)) {
                    for channel in 0..channels {
                        for tap in 0..taps {
                            out[tap * channels + channel] = row[channel * taps + tap];
                        }
                    }
                }
                out
            }
            Layout::Corner { .. } => {
                data.chunks_exact(inner).take(rows).flat_map(|row| &row[..width]).copied().collect()
            }
        }
    }
}

/// Gives a tensor's values by name, as f32 in the official order.
pub trait WeightSource {
    /// The values of the [kept rows](WeightSpec::kept_rows) of `spec.name`, whose shape is checked against `spec.shape`.
    ///
    /// # Errors
    /// The tensor is missing, misshapen, unreadable or not finite.
    fn load(&mut self, spec: &WeightSpec) -> Result<Vec<f32>, crate::weights::WeightError>;

    /// The same rows as they are stored, if they are stored in this format.
    ///
    /// # Errors
    /// As [`WeightSource::load`].
    fn load_quantized(
        &mut self,
        _spec: &WeightSpec,
        _scheme: Quantization,
    ) -> Result<Option<Quantized>, crate::weights::WeightError> {
        Ok(None)
    }
}

/// A kernel in its place, with the part of the model that it belongs to.
#[derive(Debug)]
pub struct Op {
    /// What to run.
    pub kernel: Box<dyn Kernel>,
    /// Where in the model: `layers.3.attention`.
    pub scope: String,
}

/// A list of operations and the tensors they touch.
#[derive(Debug)]
pub struct Program {
    /// What it computes: `full`, `shortcut`, `sample`, `decode`.
    pub name: String,
    pub(crate) tensors: Vec<Tensor>,
    pub(crate) ops: Vec<Op>,
}

impl Program {
    /// The tensor of a slot.
    pub fn tensor(&self, slot: Slot) -> &Tensor {
        &self.tensors[slot.0 as usize]
    }

    /// Operations in order.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Every tensor, by slot.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The program of one of the operations alone, over states of the sizes and contents that its tensors have here.
    #[cfg(not(target_arch = "wasm32"))]
    #[must_use]
    pub(crate) fn alone(mut self, op: usize) -> Self {
        let op = self.ops.swap_remove(op);
        let touched: Vec<Slot> = op.kernel.bindings().iter().map(|binding| binding.slot).collect();
        for (index, tensor) in self.tensors.iter_mut().enumerate() {
            let is_weight = matches!(tensor.storage, Storage::Weight(_));
            if !touched.contains(&Slot(index as u32)) {
                // Nothing is loaded or allocated for it, and slots stay what they are.
                tensor.storage = Storage::Temporary;
            } else if !is_weight {
                tensor.storage = Storage::State;
            }
        }
        Self { ops: vec![op], ..self }
    }

    /// Work and traffic of one run at a step.
    pub fn cost(&self, step: &StepValues) -> Cost {
        self.ops.iter().map(|op| op.kernel.cost(step)).sum()
    }

    /// Every weight it needs, each once.
    pub fn weights(&self) -> impl Iterator<Item = &WeightSpec> {
        self.tensors.iter().filter_map(|tensor| match &tensor.storage {
            Storage::Weight(spec) => Some(spec),
            _ => None,
        })
    }

    /// Checks what every executor relies on.
    fn check(&self) -> Result<(), ProgramError> {
        let mut written = vec![false; self.tensors.len()];
        for (index, op) in self.ops.iter().enumerate() {
            let error = |what, slot: Slot| ProgramError {
                program: self.name.clone(),
                op: index,
                shader: op.kernel.permutation().to_string(),
                scope: op.scope.clone(),
                tensor: self.tensor(slot).name.clone(),
                what,
            };
            let bindings = op.kernel.bindings();
            for (i, binding) in bindings.iter().enumerate() {
                let slot = binding.slot;
                if bindings[..i].iter().any(|other| other.slot == slot) {
                    return Err(error("is bound twice", slot));
                }
                let temporary = self.tensor(slot).storage == Storage::Temporary;
                if binding.access != Access::Write && temporary && !written[slot.0 as usize] {
                    return Err(error("is read before anything is written to it", slot));
                }
                if binding.access != Access::Read && matches!(self.tensor(slot).storage, Storage::Weight(_)) {
                    return Err(error("is a weight and is written to", slot));
                }
            }
            for binding in bindings.iter().filter(|binding| binding.access != Access::Read) {
                written[binding.slot.0 as usize] = true;
            }
        }
        Ok(())
    }
}

/// A program that no executor could run: a mistake in model code.
#[derive(Debug, thiserror::Error)]
#[error("program {program}, operation {op} ({shader} in {scope}): tensor `{tensor}` {what}")]
pub struct ProgramError {
    program: String,
    op: usize,
    shader: String,
    scope: String,
    tensor: String,
    what: &'static str,
}
