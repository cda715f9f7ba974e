//! The parts of a model, and how a checkpoint is recognised as one of them by the names of its tensors.

use std::fmt;

use crate::weights::Checkpoint;

/// A part of a model folder: one safetensors file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The transformer that predicts tokens.
    Maskgit,
    /// The tokenizer that turns tokens into images.
    Vqgan,
    /// The small model that predicts how features move.
    Shortcut,
}

impl Part {
    /// Every part, in the order in which a model needs them.
    pub const ALL: [Self; 3] = [Self::Maskgit, Self::Vqgan, Self::Shortcut];

    /// As in `ModelFolder::checkpoint` and `<name>.safetensors`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Maskgit => "maskgit",
            Self::Vqgan => "vqgan",
            Self::Shortcut => "shortcut",
        }
    }

    /// Tensors that every checkpoint of this part has, whatever its size, and no other part has all of.
    fn signature(self) -> &'static [&'static str] {
        match self {
            Self::Maskgit => &["tok_emb.weight", "pos_emb", "bias"],
            Self::Vqgan => &["decoder.conv_in.weight", "post_quant_conv.weight", "quantize.embedding.weight"],
            Self::Shortcut => &["blocks.0.cross_attn.fn.mha.in_proj_weight", "adaLN_modulation.weight"],
        }
    }

    /// Recognises a checkpoint; `prefix` is the length of the wrapper's prefix on all its names.
    pub(super) fn of(checkpoint: &Checkpoint, prefix: &str) -> Option<Self> {
        let has = |name: &&str| checkpoint.tensor(&format!("{prefix}{name}")).is_some();
        Self::ALL.into_iter().find(|part| part.signature().iter().all(has))
    }

    /// Tensors of a training checkpoint that the part does not use: the tokenizer's losses (discriminator, LPIPS).
    pub(super) fn drops(self, tensor: &str) -> bool {
        self == Self::Vqgan && tensor.starts_with("loss.")
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
