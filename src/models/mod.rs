//! The models, one folder a family, one file a network, that can be read beside its paper. They build programs; none
//! knows of executors.
//!
//! A program's interface is its states, by name: see [`states`].

use crate::kernels::RowRange;
use crate::program::{Builder, Formats, Program, ProgramError};

mod cache;
pub mod dimoo;
pub mod family;
pub mod judge;
pub mod maskgit;
pub mod prompts;
pub mod tokenizer;

pub use cache::Keep;
pub use family::{Batch, Condition, Family, Network, Places};

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
    /// Positions that hold a token, in ascending order `[images, tokens]`, where a corrector looks at them.
    pub const COMMITTED: &str = "committed";
    /// Tokens that a corrector masked again and that wait for a full step `[images, tokens]`: 1, else 0.
    pub const ASIDE: &str = "aside";
    /// What the host reads of a step before it decides `[4]`: see `kernels/gauge.rs`.
    pub const GAUGE: &str = "gauge";
    /// What the step before revealed: ids `[images, tokens]`, in ascending order of position.
    pub const NEW_IDS: &str = "new_ids";
    /// What the step before revealed: positions.
    pub const NEW_POSITIONS: &str = "new_positions";
    /// The embeddings of [`NEW_IDS`] as the shortcut is given them `[images * new tokens, width]`, where a program keeps them.
    pub const NEW_EMBEDDINGS: &str = "new_embeddings";
    /// Queries of a shortcut's first attention to the new tokens, where a program keeps them: see [`Looks`](super::family::Looks).
    pub const LOOKING_QUERIES: &str = "looking_queries";
    /// Keys of the same.
    pub const LOOKING_KEYS: &str = "looking_keys";
    /// The rank of each token `[tokens]`, where tokens are revealed in an order that is known in advance.
    pub const RANKS: &str = "ranks";
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

    /// Whether each position is of the union that the last full step chose `[images, tokens]`.
    pub const UNITED: &str = "united";
    /// That union: its positions, the best first `[images, tokens]`.
    pub const UNION: &str = "union";
    /// What all attentions and feed-forwards together added to the residual stream `[rows, width]`.
    pub const MODULES: &str = "modules";

    /// Cached keys of a layer `[rows, width]`.
    pub fn keys(layer: u32) -> String {
        format!("cache.{layer}.keys")
    }

    /// Cached values of a layer `[rows, width]`.
    pub fn values(layer: u32) -> String {
        format!("cache.{layer}.values")
    }

    /// Cached outputs of a layer's attention `[rows, width]`.
    pub fn attention(layer: u32) -> String {
        format!("cache.{layer}.attention")
    }

    /// Cached outputs of a layer's feed-forward `[rows, width]`.
    pub fn feed_forward(layer: u32) -> String {
        format!("cache.{layer}.feed_forward")
    }
}

/// Every family that this version knows, as `config.json` names it.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "architecture")]
pub enum Known {
    /// Classes.
    #[serde(rename = "maskgit")]
    Maskgit(maskgit::Maskgit),
    /// Prompts.
    #[serde(rename = "lumina-dimoo")]
    Dimoo(dimoo::Dimoo),
}

impl std::ops::Deref for Known {
    type Target = dyn Family;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Maskgit(model) => model,
            Self::Dimoo(model) => model,
        }
    }
}

/// What the checkpoint of a part must hold, under official names.
///
/// # Errors
/// The sizes make no program.
pub fn part_tensors(family: &dyn Family, part: &str) -> Result<Vec<(String, Vec<usize>)>, ProgramError> {
    let batch = Batch { images: 1, guided: false, prompt: [1, 1] };
    let ([rows, columns], [height, width], codes) = (family.grid(), family.size(), family.codebook());
    let tokenizer = family.tokenizer();
    let programs = if part == family.part() {
        vec![build(part, Formats::F32, |b| {
            family.features(b, batch);
            family.logits(b, batch, RowRange::all(family.tokens()));
        })?]
    } else if part == tokenizer.part() {
        vec![
            build("decode", Formats::F32, |b| tokenizer.decode(b, codes, 1, rows, columns))?,
            build("encode", Formats::F32, |b| tokenizer.encode(b, codes, 1, height, width))?,
        ]
    } else {
        let shortcut =
            |b: &mut Builder| family.networks(batch).iter().for_each(|network| network.shortcut(b));
        vec![build(part, Formats::F32, shortcut)?]
    };
    let prefix = format!("{part}.");
    let named = tensors(&programs).into_iter();
    Ok(named.filter_map(|(name, shape)| Some((name.strip_prefix(&prefix)?.to_owned(), shape))).collect())
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
    formats: Formats,
    body: impl FnOnce(&mut Builder),
) -> Result<Program, ProgramError> {
    let mut builder = Builder::new(name, formats);
    body(&mut builder);
    builder.finish()
}
