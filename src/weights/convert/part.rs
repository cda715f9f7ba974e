//! The parts of a model, and how a checkpoint is recognised as one of them by the names of its tensors.

use std::fmt;

use crate::weights::Checkpoint;

/// A part of a model folder: one safetensors file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The transformer that predicts tokens of a class.
    Maskgit,
    /// Its tokenizer, which turns tokens into images.
    Vqgan,
    /// The small model that predicts how its features move.
    Shortcut,
    /// The transformer that predicts tokens from text.
    Dimoo,
    /// Its image tokenizer, under the names of diffusers; a transformer of classes may have it too.
    Vq,
    /// The small model that predicts how its features move.
    DimooShortcut,
}

/// Parts of one family make a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Maskgit,
    Dimoo,
}

impl Family {
    /// As `config.json` names it.
    pub(super) fn architecture(self) -> &'static str {
        match self {
            Self::Maskgit => "maskgit",
            Self::Dimoo => "lumina-dimoo",
        }
    }
}

impl Part {
    /// Every part, in the order in which the models need them.
    pub const ALL: [Self; 6] =
        [Self::Maskgit, Self::Vqgan, Self::Shortcut, Self::Dimoo, Self::Vq, Self::DimooShortcut];

    /// As in `ModelFolder::checkpoint` and `<name>.safetensors`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Maskgit => "maskgit",
            Self::Vqgan => "vqgan",
            Self::Shortcut | Self::DimooShortcut => "shortcut",
            Self::Dimoo => "dimoo",
            Self::Vq => "vq",
        }
    }

    /// The family that it is a part of; `None` for the tokenizer that both may have.
    pub(super) fn family(self) -> Option<Family> {
        match self {
            Self::Maskgit | Self::Vqgan | Self::Shortcut => Some(Family::Maskgit),
            Self::Dimoo | Self::DimooShortcut => Some(Family::Dimoo),
            Self::Vq => None,
        }
    }

    /// Whether it turns tokens into images. Such are convolutions, which are never quantised.
    pub(super) fn is_tokenizer(self) -> bool {
        matches!(self, Self::Vqgan | Self::Vq)
    }

    /// Whether it is the tokenizer that a family usually has.
    pub(super) fn tokenizes_for(self, family: Family) -> bool {
        self == if family == Family::Maskgit { Self::Vqgan } else { Self::Vq }
    }

    /// Whether there is a model without it.
    pub(super) fn is_optional(self) -> bool {
        matches!(self, Self::Shortcut | Self::DimooShortcut)
    }

    /// Tensors that every checkpoint of this part has, whatever its size, and no other part has all of.
    fn signature(self) -> &'static [&'static str] {
        match self {
            Self::Maskgit => &["tok_emb.weight", "pos_emb", "bias"],
            Self::Vqgan => &[
                "decoder.conv_in.weight",
                "post_quant_conv.weight",
                "quantize.embedding.weight",
                "decoder.up.0.block.0.norm1.weight",
            ],
            Self::Shortcut => &["blocks.0.cross_attn.fn.mha.in_proj_weight", "adaLN_modulation.weight"],
            Self::Dimoo => &["model.transformer.wte.weight", "model.transformer.blocks.0.attn_norm.weight"],
            Self::Vq => &["quantize.embedding.weight", "decoder.up_blocks.0.resnets.0.norm1.weight"],
            Self::DimooShortcut => &["blocks.0.cross_attn.q_proj.weight", "proj_in.weight"],
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
