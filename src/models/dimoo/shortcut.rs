//! The MIGM-Shortcut of Lumina-DiMOO: LLaMA blocks of half the width over the last features (arXiv 2602.23996).
//!
//! Cross-attention to the new tokens, self-attention, a scale-shift by the mask ratio, and a residual onto the features.
//! New tokens have no added position: rotary embedding puts keys where the tokens stand. Everything is normalised, keys'
//! sources by the weight of the queries'. The conditional sequence counts its prompt among the new tokens at every step.

use super::base::{self, Sequence};
use super::block::{Block, EPS, Keys, check_heads};
use crate::kernels::rope::Positions;
use crate::kernels::{Extent, Slot, Symbol};
use crate::models::cache::Modules;
use crate::models::family::Looks;
use crate::models::maskgit::{self, shortcut::Parts};
use crate::models::states;
use crate::program::{Builder, Element, Onto};

/// Sizes of a shortcut; heads and the feed-forward width are the base's.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Config {
    /// Blocks of cross- and self-attention.
    #[serde(rename = "sc_blocks")]
    pub blocks: u32,
    /// Width of the base over the width inside, which is rounded down; at 1 there are no projections.
    #[serde(serialize_with = "as_whole")]
    pub ratio: f64,
    /// What it is made with.
    #[serde(flatten)]
    pub parts: Parts,
}

/// Whole numbers as such: older versions read no others.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn as_whole<S: serde::Serializer>(ratio: &f64, to: S) -> Result<S::Ok, S::Error> {
    if ratio.fract() == 0.0 { to.serialize_u64(*ratio as u64) } else { to.serialize_f64(*ratio) }
}

impl Config {
    /// The official shortcut.
    pub const OFFICIAL: Self = Self { blocks: 1, ratio: 2.0, parts: Parts::ALL };

    /// Whether the sizes go together, and with the base's.
    ///
    /// # Errors
    /// A sentence on the first that does not.
    pub fn check(&self, base: &base::Config) -> Result<(), String> {
        if self.blocks == 0 || self.blocks > 64 {
            return Err(format!("`sc_blocks` is {}; 1 to 64 makes sense", self.blocks));
        }
        if !(1.0..=64.0).contains(&self.ratio) {
            return Err(format!("`ratio` is {}; 1 to 64 makes sense", self.ratio));
        }
        check_heads("the shortcut's width", self.width(base), base.heads)
    }

    /// Width inside.
    pub fn width(&self, base: &base::Config) -> u32 {
        // A ratio that was found from two widths must give them again.
        (f64::from(base.d_model) / self.ratio + 1e-6) as u32
    }

    /// Whether there are projections to the width inside.
    fn narrows(&self) -> bool {
        self.ratio > 1.0
    }

    /// Appends the shortcut over one sequence: its features move on by a step, given [`states::NEW_IDS`] and
    /// [`states::NEW_POSITIONS`].
    pub fn predict(&self, b: &mut Builder, base: &base::Config, sequence: &Sequence) {
        let width = self.width(base);
        let features = base.features_state(b, sequence);
        let Parts { embed_t, cross_attention } = self.parts;
        let modulation = embed_t.then(|| b.scope("time", |b| maskgit::shortcut::modulation(b, width)));
        let keys = if cross_attention {
            let (new, positions) = b.scope("new_tokens", |b| self.new_tokens(b, base, sequence));
            Keys::Of(new, positions)
        } else {
            Keys::Own
        };
        let x = b.scope("proj_in", |b| self.proj_in(b, base, features));
        for block in 0..self.blocks {
            let part = |part| self.part(base, sequence, block, part);
            let append = |b: &mut Builder| {
                let cross = part("cross_attn");
                b.scope("cross_attn", |b| cross.attend_to(b, x, keys, Onto::Sum(x)));
                b.scope("cross_attn_ff", |b| cross.feed_forward(b, x, Onto::Sum(x)));
                b.scope("self_attn", |b| part("self_attn").append(b, x));
            };
            b.scope(format!("blocks.{block}"), |b| b.block(append));
        }
        b.scope("last_layer", |b| {
            let weight = b.vector("shortcut.ln_f.weight", width);
            let y = b.temporary("modulated", Extent::fixed(sequence.rows()), width);
            b.rms_norm_into(x, weight, EPS, modulation, y);
            if self.narrows() {
                let project = b.layer("shortcut.proj_out", base.d_model, width);
                b.linear_add(y, project, features);
            } else {
                b.combine(1.0, y, 1.0, features);
            }
        });
    }

    /// Appends what the first attention to the new tokens holds against each other.
    pub(super) fn looks(&self, b: &mut Builder, base: &base::Config, sequence: &Sequence) -> Option<Looks> {
        if !self.parts.cross_attention {
            return None;
        }
        let features = base.features_state(b, sequence);
        let (new, positions) = self.new_tokens(b, base, sequence);
        let x = self.proj_in(b, base, features);
        let block = self.part(base, sequence, 0, "cross_attn");
        let [query, key] = b.block(|b| block.queries_and_keys(b, x, new, positions));
        Some(Looks { query, key, heads: base.heads, width: self.width(base), prompt: sequence.prompt })
    }

    fn part(&self, base: &base::Config, sequence: &Sequence, block: u32, part: &str) -> Block {
        Block {
            name: format!("shortcut.blocks.{block}.{part}"),
            sequences: sequence.images,
            length: sequence.length,
            width: self.width(base),
            heads: base.heads,
            mlp: base.mlp,
        }
    }

    /// The features, which stay as they are, in the width inside.
    fn proj_in(&self, b: &mut Builder, base: &base::Config, features: Slot) -> Slot {
        if self.narrows() {
            let project = b.layer("shortcut.proj_in", self.width(base), base.d_model);
            return b.linear(features, project);
        }
        let rows = Extent::fixed(b.rows(features));
        let x = b.temporary("copy", rows, base.d_model);
        b.combine(1.0, features, 0.0, x);
        x
    }

    /// The prompt if it counts as new, then what was just revealed: embedded and projected.
    fn new_tokens(&self, b: &mut Builder, base: &base::Config, sequence: &Sequence) -> (Slot, Positions) {
        let tokens = base.grid[0] * base.grid[1];
        let of = |images| Extent::symbolic(images, Symbol::NewTokens, tokens).plus(images * sequence.prompt);
        let (entries, rows) = (of(1), of(sequence.images));
        let x = base.embed(b, sequence, sequence.prompt, entries, states::NEW_IDS, rows, None);
        let x = if self.narrows() {
            let project = b.layer("shortcut.new_token_proj_in", self.width(base), base.d_model);
            b.linear(x, project)
        } else {
            x
        };
        let positions = Positions::Listed {
            image: b.state(states::NEW_POSITIONS, sequence.images, tokens, Element::U32),
            tokens,
            entries,
            prefix: sequence.prompt,
            placement: base.placement(sequence),
        };
        (x, positions)
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
        assert!(Config { ratio: 0.0, ..Config::OFFICIAL }.check(&base).is_err());
        let sequence = base.sequence(base::Branch::Conditional, 50);
        let program =
            build("shortcut", Formats::F32, |b| Config::OFFICIAL.predict(b, &base, &sequence)).unwrap();
        let mut tensors = tensors([&program]);
        tensors.retain(|(name, _)| name.starts_with("shortcut."));
        assert_eq!(parameters(&tensors), 219_797_204);
    }

    #[test]
    fn widths_of_fractional_ratios_are_found_again() {
        let base = dimoo_of(4096, 2);
        for width in (4..=4096).step_by(4) {
            let config = Config { ratio: 4096.0 / f64::from(width), ..Config::OFFICIAL };
            assert_eq!(config.width(&base), width);
        }
        let rounded_down = Config { ratio: 1.5, ..Config::OFFICIAL };
        assert_eq!(rounded_down.width(&base), 2730);
        assert_eq!(serde_json::json!(rounded_down)["ratio"], 1.5);
        assert_eq!(serde_json::json!(Config::OFFICIAL), serde_json::json!({ "sc_blocks": 1, "ratio": 2 }));
        let ablated: Config = serde_json::from_str(r#"{"sc_blocks":1,"ratio":1,"embed_t":false}"#).unwrap();
        assert_eq!(ablated.parts, Parts { embed_t: false, cross_attention: true });
    }

    fn dimoo_of(d_model: u32, heads: u32) -> base::Config {
        base::Config { d_model, heads, ..base::Config::OFFICIAL }
    }
}
