//! The models, one file each, that can be read beside its paper. Each builds programs; none knows of executors.
//!
//! A program's interface is its states, by name: see [`states`].

use crate::kernels::{Quantization, RowRange, Slot, WeightFormat};
use crate::program::{Builder, Program, ProgramError, WeightSpec};

pub mod amused_vq;
mod cache;
pub mod dimoo;
pub mod dimoo_shortcut;
pub mod judge;
pub mod maskgit;
mod resnet;
pub mod shortcut;
pub mod text;
pub mod tokenizer;
pub mod vqgan;

/// The names of states that programs share.
pub mod states {
    /// Token ids `[images, tokens]`; masked positions hold the mask id.
    pub const IDS: &str = "ids";
    /// The class token of each sequence `[sequences]`.
    pub const LABELS: &str = "labels";
    /// What a sequence of text and image tokens is made of `[length]`: ids, and image tokens by index with the top bit set.
    pub const TEMPLATE: &str = "template";
    /// Last-layer features `[sequences * (tokens + 1), hidden]`.
    pub const FEATURES: &str = "features";
    /// Masked positions in ascending order `[images, tokens]`.
    pub const POSITIONS: &str = "positions";
    /// What the step before revealed: ids `[images, tokens]`, in ascending order of position.
    pub const NEW_IDS: &str = "new_ids";
    /// What the step before revealed: positions.
    pub const NEW_POSITIONS: &str = "new_positions";
    /// The latest draw at every position `[images, tokens]`.
    pub const DRAWN: &str = "drawn";
    /// Low and high word of each image's seed `[images, 2]`.
    pub const SEEDS: &str = "seeds";
    /// Codes to decode, or found by encoding `[images * height * width]`.
    pub const CODES: &str = "codes";
    /// Picture, channels last `[images * height * width, 3]`, nominally in [-1, 1], or in [0, 1] of aMUSEd's
    /// tokenizer.
    pub const IMAGE: &str = "image";
    /// Latents before the codebook `[images * height * width, embed_dim]`.
    pub const LATENTS: &str = "latents";
    /// Logits at masked positions `[sequences * masked, codebook]`, where a program keeps them.
    pub const LOGITS: &str = "logits";
    /// Recorded noise of the draw `[images, tokens, codebook]`.
    pub const NOISE_TOKEN: &str = "noise_token";
    /// Recorded noise of the choice `[images, tokens]`.
    pub const NOISE_CHOICE: &str = "noise_choice";
    /// What the judge makes of each picture before its readings `[images, width]`.
    pub const JUDGE_FEATURES: &str = "judge_features";
    /// The judge's readings `[images, outputs]`.
    pub const JUDGE_OUTPUTS: &str = "judge_outputs";
    /// The rows that a partial step computes anew `[sequences * count]`, counted over all sequences.
    pub const CHOSEN_ROWS: &str = "chosen_rows";

    /// Cached keys of a layer `[rows, width]`.
    pub fn keys(layer: u32) -> String {
        format!("cache.{layer}.keys")
    }

    /// Cached values of a layer `[rows, width]`.
    pub fn values(layer: u32) -> String {
        format!("cache.{layer}.values")
    }
}

/// The batch that programs are built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Images at once.
    pub images: u32,
    /// Whether an unconditional sequence goes with each image, for guidance.
    pub guided: bool,
}

impl Batch {
    /// Sequences through the transformer: conditional ones first.
    pub fn sequences(self) -> u32 {
        if self.guided { 2 * self.images } else { self.images }
    }
}

/// What turns ids into features, and features into logits. One implementation a family of models.
pub trait Model {
    /// Positions of an image that hold a token.
    fn tokens(&self) -> u32;
    /// Codes that a token can be.
    fn codebook(&self) -> u32;
    /// Appends the full model: from [`states::IDS`] and [`states::LABELS`] to [`states::FEATURES`].
    fn features(&self, b: &mut Builder, batch: Batch);
    /// Appends the head at a range of each image's masked positions: from [`states::FEATURES`] to logits
    /// `[sequences * positions of the range that are masked, codebook]`.
    fn logits(&self, b: &mut Builder, batch: Batch, masked: RowRange) -> Slot;
}

/// Keeps every weight in f32.
pub fn keep_f32(_: &WeightSpec) -> WeightFormat {
    WeightFormat::F32
}

/// Keeps weight matrices in f16, where checkpoints hold f16: lossless, and half the memory.
pub fn keep_f16(_: &WeightSpec) -> WeightFormat {
    WeightFormat::F16
}

/// Quantises what can be quantised, see [`Quantization::of_matrix`], and keeps the rest in f16 or, if not `half`, in f32.
pub fn formats(half: bool, quantize: Option<Quantization>) -> fn(&WeightSpec) -> WeightFormat {
    fn choose(spec: &WeightSpec, scheme: Quantization, other: WeightFormat) -> WeightFormat {
        if spec.is_quantizable() { scheme.of_matrix(&spec.name).format() } else { other }
    }
    use Quantization::{Int4, Int8};
    use WeightFormat::{F16, F32};
    match (quantize, half) {
        (None, false) => keep_f32,
        (None, true) => keep_f16,
        (Some(Int8), false) => |spec| choose(spec, Int8, F32),
        (Some(Int8), true) => |spec| choose(spec, Int8, F16),
        (Some(Int4 { group: 32 }), false) => |spec| choose(spec, Int4 { group: 32 }, F32),
        (Some(Int4 { group: 32 }), true) => |spec| choose(spec, Int4 { group: 32 }, F16),
        (Some(Int4 { .. }), false) => |spec| choose(spec, Int4 { group: 64 }, F32),
        (Some(Int4 { .. }), true) => |spec| choose(spec, Int4 { group: 64 }, F16),
    }
}

/// Every tensor that programs name, with its official shape, each once and in order of name: what a checkpoint must hold.
pub fn tensors<'a>(programs: impl IntoIterator<Item = &'a Program>) -> Vec<(String, Vec<usize>)> {
    let mut all: Vec<_> = programs
        .into_iter()
        .flat_map(|program| program.weights().map(|spec| (spec.name.clone(), spec.shape.clone())))
        .collect();
    all.sort();
    all.dedup();
    all
}

/// Numbers in `tensors`.
pub fn parameters(tensors: &[(String, Vec<usize>)]) -> u64 {
    tensors.iter().map(|(_, shape)| shape.iter().map(|&n| n as u64).product::<u64>()).sum()
}

/// Builds a program from a body.
pub(crate) fn build(
    name: &str,
    formats: fn(&WeightSpec) -> WeightFormat,
    body: impl FnOnce(&mut Builder),
) -> Result<Program, ProgramError> {
    let mut builder = Builder::new(name, formats);
    body(&mut builder);
    builder.finish()
}
