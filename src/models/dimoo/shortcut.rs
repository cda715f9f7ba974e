//! The MIGM-Shortcut of Lumina-DiMOO: LLaMA blocks of half the width over the last features (arXiv 2602.23996).
//!
//! Cross-attention to the new tokens, self-attention, a scale-shift by the mask ratio, and a residual onto the features.
//! New tokens have no added position: rotary embedding puts keys where the tokens stand. Everything is normalised, keys'
//! sources by the weight of the queries'. The conditional sequence counts its prompt among the new tokens at every step.

use super::base::{self, Block, EPS, Keys, Sequence};
use crate::models::{maskgit, states};
use crate::kernels::rope::Positions;
use crate::kernels::{Extent, Slot, Symbol};
use crate::program::{Builder, Element};

/// Sizes of a shortcut; heads and the feed-forward width are the base's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Config {
    /// Blocks of cross- and self-attention.
    #[serde(rename = "sc_blocks")]
    pub blocks: u32,
    /// Width of the base over the width inside.
    pub ratio: u32,
}

impl Config {
    /// The official shortcut.
    pub const OFFICIAL: Self = Self { blocks: 1, ratio: 2 };

    /// Whether the sizes go together, and with the base's.
    ///
    /// # Errors
    /// A sentence on the first that does not.
    pub fn check(&self, base: &base::Config) -> Result<(), String> {
        if self.blocks == 0 || self.blocks > 64 {
            return Err(format!("`sc_blocks` is {}; 1 to 64 makes sense", self.blocks));
        }
        if self.ratio == 0 || !base.d_model.is_multiple_of(self.ratio) {
            return Err(format!("`d_model` {} is not a multiple of `ratio` {}", base.d_model, self.ratio));
        }
        base::check_heads("the shortcut's width", self.width(base), base.heads)
    }

    /// Width inside.
    pub fn width(&self, base: &base::Config) -> u32 {
        base.d_model / self.ratio
    }

    /// Appends the shortcut over one sequence: its features move on by a step, given [`states::NEW_IDS`] and
    /// [`states::NEW_POSITIONS`].
    pub fn predict(&self, b: &mut Builder, base: &base::Config, sequence: &Sequence) {
        let width = self.width(base);
        let features = base.features_state(b, sequence);
        let modulation = b.scope("time", |b| maskgit::shortcut::modulation(b, width));
        let (new, positions) = b.scope("new_tokens", |b| self.new_tokens(b, base, sequence));
        let project = b.layer("shortcut.proj_in", width, base.d_model);
        let x = b.scope("proj_in", |b| b.linear(features, project));
        let rows = Positions::Absolute { length: sequence.length };
        for block in 0..self.blocks {
            let part = |part| Block {
                name: format!("shortcut.blocks.{block}.{part}"),
                sequences: sequence.images,
                width,
                heads: base.heads,
                mlp: base.mlp,
            };
            let append = |b: &mut Builder| {
                let cross = part("cross_attn");
                b.scope("cross_attn", |b| cross.attend(b, x, rows, Keys::Of(new, positions)));
                b.scope("cross_attn_ff", |b| cross.feed_forward(b, x));
                b.scope("self_attn", |b| part("self_attn").append(b, x, rows, Keys::Own));
            };
            b.scope(format!("blocks.{block}"), |b| b.block(append));
        }
        b.scope("last_layer", |b| {
            let weight = b.vector("shortcut.ln_f.weight", width);
            let y = b.temporary("modulated", Extent::fixed(sequence.rows()), width);
            b.rms_norm_into(x, weight, EPS, Some(modulation), y);
            let project = b.layer("shortcut.proj_out", base.d_model, width);
            b.linear_add(y, project, features);
        });
    }

    /// The prompt if it counts as new, then what was just revealed: embedded and projected.
    fn new_tokens(&self, b: &mut Builder, base: &base::Config, sequence: &Sequence) -> (Slot, Positions) {
        let tokens = base.grid[0] * base.grid[1];
        let of = |images| Extent::symbolic(images, Symbol::NewTokens, tokens).plus(images * sequence.prompt);
        let (entries, rows) = (of(1), of(sequence.images));
        let x = base.embed(b, sequence, sequence.prompt, entries, states::NEW_IDS, rows, None);
        let project = b.layer("shortcut.new_token_proj_in", self.width(base), base.d_model);
        let positions = Positions::Listed {
            image: b.state(states::NEW_POSITIONS, sequence.images, tokens, Element::U32),
            tokens,
            entries,
            prefix: sequence.prompt,
            placement: base.placement(sequence),
        };
        (b.linear(x, project), positions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{build, parameters, tensors};
    use crate::program::Formats;

    #[test]
    fn the_official_shortcut_has_220_million_parameters() {
        let base = base::Config::OFFICIAL;
        assert_eq!(Config::OFFICIAL.check(&base), Ok(()));
        assert!(Config { ratio: 0, ..Config::OFFICIAL }.check(&base).is_err());
        let sequence = base.sequence(base::Branch::Conditional, 50);
        let program = build("shortcut", Formats::F32, |b| Config::OFFICIAL.predict(b, &base, &sequence)).unwrap();
        let mut tensors = tensors([&program]);
        tensors.retain(|(name, _)| name.starts_with("shortcut."));
        assert_eq!(parameters(&tensors), 219_797_204);
    }
}
