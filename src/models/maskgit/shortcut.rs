//! The MIGM-Shortcut of MaskGIT: predicts how the features move from the tokens just revealed.
//!
//! *Accelerating Masked Image Generation by Learning Latent Controlled Dynamics* (arXiv 2602.23996). A narrow
//! transformer over the last features: cross-attention to the new tokens, self-attention, a scale-shift by the
//! mask ratio, and a residual onto the features. Keys and values come from inputs that were *not* normalised: the
//! official PreNorm wraps the query alone. Try it: `migm generate --class fox --budget 4`.

use super::base;
use crate::kernels::attention::Operand;
use crate::kernels::linear::Activation;
use crate::kernels::{Extent, Slot, time_embedding::TimeEmbedding};
use crate::models::Batch;
use crate::models::family::{Looks, within};
use crate::program::{Builder, Layer};

/// Sizes of a shortcut; the base model's sizes are given beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Config {
    /// Blocks of cross- and self-attention.
    #[serde(rename = "n_block")]
    pub blocks: u32,
    /// Hidden width of the base over the width inside; at 1 there are no projections.
    pub bottleneck_ratio: u32,
    /// Attention heads.
    pub heads: u32,
    /// What it is made with.
    #[serde(flatten)]
    pub parts: Parts,
}

/// Which of the optional parts a shortcut was trained with: all, but in the paper's ablations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Parts {
    /// Whether the mask ratio scales and shifts what comes out (`no_embed_t` leaves it out).
    #[serde(skip_serializing_if = "is_true")]
    pub embed_t: bool,
    /// Whether the first attention of a block is to the new tokens; else to the features (`no_ca`).
    #[serde(skip_serializing_if = "is_true")]
    pub cross_attention: bool,
}

impl Parts {
    /// Everything.
    pub const ALL: Self = Self { embed_t: true, cross_attention: true };
}

impl Default for Parts {
    fn default() -> Self {
        Self::ALL
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_true(value: &bool) -> bool {
    *value
}

/// Layer normalisation inside the blocks.
const EPS: f32 = 1e-5;
/// Layer normalisation of the last layer.
const OUTER_EPS: f32 = 1e-12;
/// Width of the sinusoidal embedding of the mask ratio.
const SINUSOID: u32 = 256;

impl Config {
    /// The official shortcut of one block, which is the default of the official command line.
    pub const OFFICIAL: Self = Self { blocks: 1, bottleneck_ratio: 2, heads: 16, parts: Parts::ALL };

    /// Whether the sizes go together, and with the base's.
    ///
    /// # Errors
    /// A sentence on the first that does not.
    pub fn check(&self, base: &base::Config) -> Result<(), String> {
        within("shortcut.n_block", self.blocks, 64)?;
        within("shortcut.bottleneck_ratio", self.bottleneck_ratio, 64)?;
        within("shortcut.heads", self.heads, 1024)?;
        let (hidden, ratio) = (base.hidden, self.bottleneck_ratio);
        if !hidden.is_multiple_of(ratio) {
            return Err(format!(
                "`hidden` {hidden} is not a multiple of `shortcut.bottleneck_ratio` {ratio}"
            ));
        }
        let (width, heads) = (self.width(base), self.heads);
        if !width.is_multiple_of(heads) {
            return Err(format!("the shortcut's width {width} is not a multiple of its {heads} heads"));
        }
        if width / heads > 1024 {
            return Err(format!("the shortcut's heads of width {} are wider than 1024", width / heads));
        }
        Ok(())
    }

    /// Width inside.
    pub fn width(&self, base: &base::Config) -> u32 {
        base.hidden / self.bottleneck_ratio
    }

    /// Appends the shortcut: [`FEATURES`] moves on by a step, given [`NEW_IDS`] and [`NEW_POSITIONS`].
    ///
    /// [`FEATURES`]: crate::models::states::FEATURES
    /// [`NEW_IDS`]: crate::models::states::NEW_IDS
    /// [`NEW_POSITIONS`]: crate::models::states::NEW_POSITIONS
    pub fn predict(&self, b: &mut Builder, base: &base::Config, batch: Batch) {
        let features = base.features_state(b, batch);
        let Parts { embed_t, cross_attention } = self.parts;
        let modulation = embed_t.then(|| b.scope("time", |b| modulation(b, self.width(base))));
        let new = cross_attention.then(|| b.scope("new_tokens", |b| self.new_tokens(b, base, batch)));
        let x = b.scope("proj_in", |b| self.proj_in(b, base, batch, features));
        for block in 0..self.blocks {
            b.scope(format!("blocks.{block}"), |b| {
                b.block(|b| self.block(b, base, batch, x, new, block));
            });
        }
        b.scope("last_layer", |b| self.last_layer(b, base, x, modulation, features));
    }

    /// The base's embedding of what was just revealed, projected; one set for both halves of a guided batch.
    fn new_tokens(&self, b: &mut Builder, base: &base::Config, batch: Batch) -> Slot {
        let x = base.embed_new_tokens(b, batch);
        if self.bottleneck_ratio == 1 {
            return x;
        }
        let project = b.layer("shortcut.new_token_proj_in", self.width(base), base.hidden);
        b.linear(x, project)
    }

    fn proj_in(&self, b: &mut Builder, base: &base::Config, batch: Batch, features: Slot) -> Slot {
        if self.bottleneck_ratio == 1 {
            let rows = Extent::fixed(batch.sequences() * base.length());
            let x = b.temporary("copy", rows, base.hidden);
            b.combine(1.0, features, 0.0, x);
            return x;
        }
        let project = b.layer("shortcut.proj_in", self.width(base), base.hidden);
        b.linear(features, project)
    }

    /// `x += CA(LN(x), new); x += FF(LN(x)); x += SA(LN(x), x); x += FF(LN(x))`, in place.
    fn block(
        &self,
        b: &mut Builder,
        base: &base::Config,
        batch: Batch,
        x: Slot,
        new: Option<Slot>,
        block: u32,
    ) {
        let name = format!("shortcut.blocks.{block}");
        b.scope("cross_attn", |b| {
            // One set of new tokens is of both halves of a guided batch.
            let (source, sequences) = new.map_or((x, batch.sequences()), |new| (new, batch.images));
            self.attend(b, base, &format!("{name}.cross_attn"), x, source, (batch.sequences(), sequences));
        });
        b.scope("cross_attn_ff", |b| self.feed_forward(b, base, &format!("{name}.cross_attn_ff"), x));
        b.scope("self_attn", |b| {
            self.attend(b, base, &format!("{name}.self_attn"), x, x, (batch.sequences(), batch.sequences()));
        });
        b.scope("self_attn_ff", |b| self.feed_forward(b, base, &format!("{name}.self_attn_ff"), x));
    }

    /// `x += MHA(q = LN(x), k = v = source)`: the source is not normalised.
    fn attend(
        &self,
        b: &mut Builder,
        base: &base::Config,
        name: &str,
        x: Slot,
        source: Slot,
        (sequences, key_sequences): (u32, u32),
    ) {
        let width = self.width(base);
        let out = b.layer(&format!("{name}.fn.mha.out_proj"), width, width);
        let packed = self.packed(b, base, name);
        let query = self.query(b, base, name, x);
        let key_value = b.linear(source, packed.rows(width, 2 * width));
        let h = b.attention(
            Operand { slot: query, offset: 0, stride: width },
            Operand { slot: key_value, offset: 0, stride: 2 * width },
            Operand { slot: key_value, offset: width, stride: 2 * width },
            sequences,
            key_sequences,
            self.heads,
            width,
        );
        b.linear_add(h, out, x);
    }

    /// Projections to queries, keys and values.
    fn packed(&self, b: &mut Builder, base: &base::Config, name: &str) -> Layer {
        let (width, mha) = (self.width(base), format!("{name}.fn.mha"));
        b.layer_named(&format!("{mha}.in_proj_weight"), &format!("{mha}.in_proj_bias"), 3 * width, width)
    }

    fn query(&self, b: &mut Builder, base: &base::Config, name: &str, x: Slot) -> Slot {
        let width = self.width(base);
        let norm = b.norm(&format!("{name}.norm"), width);
        let packed = self.packed(b, base, name);
        let h = b.layer_norm(x, norm, EPS);
        b.linear(h, packed.rows(0, width))
    }

    /// Appends what the first attention to the new tokens holds against each other.
    pub(super) fn looks(&self, b: &mut Builder, base: &base::Config, batch: Batch) -> Option<Looks> {
        if !self.parts.cross_attention {
            return None;
        }
        let (width, name) = (self.width(base), "shortcut.blocks.0.cross_attn");
        let features = base.features_state(b, batch);
        let new = self.new_tokens(b, base, batch);
        let x = self.proj_in(b, base, batch, features);
        let [query, key] = b.block(|b| {
            let to_key = self.packed(b, base, name).rows(width, width);
            [self.query(b, base, name, x), b.linear(new, to_key)]
        });
        Some(Looks { query, key, heads: self.heads, width, prompt: 0 })
    }

    fn feed_forward(&self, b: &mut Builder, base: &base::Config, name: &str, x: Slot) {
        let width = self.width(base);
        let norm = b.norm(&format!("{name}.norm"), width);
        let expand = b.layer(&format!("{name}.fn.net.0"), 4 * width, width);
        let contract = b.layer(&format!("{name}.fn.net.3"), width, 4 * width);
        let h = b.layer_norm(x, norm, EPS);
        let h = b.linear_with(h, expand, Activation::Gelu);
        b.linear_add(h, contract, x);
    }

    /// LN, Linear, GELU, LN with scale-shift; then the projection out, onto the features.
    fn last_layer(
        &self,
        b: &mut Builder,
        base: &base::Config,
        x: Slot,
        modulation: Option<Slot>,
        features: Slot,
    ) {
        let width = self.width(base);
        let norm = b.norm("shortcut.last_layer.0", width);
        let h = b.layer_norm(x, norm, OUTER_EPS);
        let project = b.layer("shortcut.last_layer.1", width, width);
        let h = b.linear_with(h, project, Activation::Gelu);
        let norm = b.norm("shortcut.last_layer.3", width);
        let rows = Extent::fixed(b.rows(features));
        let y = b.temporary("modulated", rows, width);
        b.layer_norm_into(h, norm, OUTER_EPS, modulation, y);
        if self.bottleneck_ratio == 1 {
            b.combine(1.0, y, 1.0, features);
        } else {
            let project = b.layer("shortcut.proj_out", base.hidden, width);
            b.linear_add(y, project, features);
        }
    }
}

/// `Linear(SiLU(Linear(sinusoid(1000 * mask_ratio))))`, then the adaLN layer: `[1, 2 * width]`, scale first.
pub(in crate::models) fn modulation(b: &mut Builder, width: u32) -> Slot {
    // Between the two layers, the geometric mean of what goes in and out.
    let middle = (f64::from(width) * f64::from(SINUSOID)).sqrt().round_ties_even() as u32;
    let sinusoid = b.temporary("sinusoid", Extent::fixed(1), SINUSOID);
    b.push(TimeEmbedding { y: sinusoid, width: SINUSOID });
    let first = b.layer("shortcut.time_embedder.mlp.0", middle, SINUSOID);
    let second = b.layer("shortcut.time_embedder.mlp.2", width, middle);
    let modulation = b.layer("shortcut.adaLN_modulation", 2 * width, width);
    let t = b.linear_with(sinusoid, first, Activation::Silu);
    let t = b.linear(t, second);
    b.linear(t, modulation)
}
