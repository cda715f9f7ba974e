//! A LLaMA block: what the base and its shortcut are made of.

use crate::kernels::attention::Operand;
use crate::kernels::rope::{Positions, Rope};
use crate::kernels::{Extent, Slot};
use crate::models::cache::{KeysAndValues, Modules};
use crate::program::{Builder, Layer, Onto};

/// Normalisation everywhere.
pub(super) const EPS: f32 = 1e-5;
/// Base of the rotary frequencies.
const THETA: f32 = 500_000.0;

/// Whether a width can be split into heads that are turned in pairs of columns.
pub(super) fn check_heads(name: &str, width: u32, heads: u32) -> Result<(), String> {
    if !width.is_multiple_of(2 * heads) {
        return Err(format!("`{name}` {width} is not an even multiple of its {heads} heads"));
    }
    if width / heads > Rope::MAX_HEAD_WIDTH {
        return Err(format!("heads of width {} are wider than {}", width / heads, Rope::MAX_HEAD_WIDTH));
    }
    Ok(())
}

/// A LLaMA block without biases; also what the shortcut is made of.
pub(super) struct Block {
    /// The prefix of its tensors.
    pub(super) name: String,
    /// Sequences that its rows are of, each of which attends to itself.
    pub(super) sequences: u32,
    /// Rows of a sequence.
    pub(super) length: u32,
    pub(super) width: u32,
    pub(super) heads: u32,
    pub(super) mlp: u32,
}

/// Where the keys and values of an attention come from.
#[derive(Clone, Copy)]
pub(super) enum Keys {
    /// The rows that ask.
    Own,
    /// Other rows, normalised by the weight of those that ask.
    Of(Slot, Positions),
    /// A cache of the whole sequence (keys after their rotation), into which the rows that ask are put first.
    Cached(KeysAndValues),
}

impl Block {
    /// `x += Attention(RMS(x)); x += SwiGLU(RMS(x))` over whole sequences, in place.
    pub(super) fn append(&self, b: &mut Builder, x: Slot) {
        b.scope("attention", |b| self.attend_to(b, x, Keys::Own, Onto::Sum(x)));
        b.scope("feed_forward", |b| self.feed_forward(b, x, Onto::Sum(x)));
    }

    /// `Attention(RMS(x))`.
    pub(super) fn attend_to(&self, b: &mut Builder, x: Slot, keys: Keys, onto: Onto) {
        let length = self.length;
        let list = if let Keys::Cached(cache) = keys { cache.rows.list() } else { None };
        let positions =
            list.map_or(Positions::Absolute { length }, |list| Positions::OfRows { list, length });
        let [to_key, to_value, out] = ["k_proj", "v_proj", "attn_out"].map(|part| self.square(b, part));
        let h = self.attention_norm(b, x);
        let query = self.turned(b, h, "q_proj", positions);
        let (key, value) = match keys {
            Keys::Cached(cache) => {
                cache.put(b, h, [to_key, to_value], |b, key| b.rope(key, self.heads, positions, THETA));
                (cache.keys, cache.values)
            }
            Keys::Own | Keys::Of(..) => {
                let (source, positions) = match keys {
                    Keys::Of(source, positions) => (self.attention_norm(b, source), positions),
                    _ => (h, positions),
                };
                (self.turned(b, source, "k_proj", positions), b.linear(source, to_value))
            }
        };
        let operand = |slot| Operand { slot, offset: 0, stride: self.width };
        let (query, key, value) = (operand(query), operand(key), operand(value));
        let h = b.attention(query, key, value, self.sequences, self.sequences, self.heads, self.width);
        b.linear_onto(h, out, onto);
    }

    /// Queries of `x`, and keys of other rows, as an attention holds them against each other.
    pub(super) fn queries_and_keys(&self, b: &mut Builder, x: Slot, of: Slot, at: Positions) -> [Slot; 2] {
        let (h, source) = (self.attention_norm(b, x), self.attention_norm(b, of));
        let query = self.turned(b, h, "q_proj", Positions::Absolute { length: self.length });
        [query, self.turned(b, source, "k_proj", at)]
    }

    /// A projection of normalised rows, turned to where they stand.
    fn turned(&self, b: &mut Builder, h: Slot, part: &str, positions: Positions) -> Slot {
        let project = self.square(b, part);
        let y = b.linear(h, project);
        b.rope(y, self.heads, positions, THETA);
        y
    }

    fn attention_norm(&self, b: &mut Builder, x: Slot) -> Slot {
        let norm = b.vector(&format!("{}.attn_norm.weight", self.name), self.width);
        b.rms_norm(x, norm, EPS)
    }

    fn square(&self, b: &mut Builder, part: &str) -> Layer {
        b.layer_without_bias(&format!("{}.{part}", self.name), self.width, self.width)
    }
}

impl Modules for Block {
    fn attend(&self, b: &mut Builder, x: Slot, keys: Option<KeysAndValues>, onto: Onto) {
        self.attend_to(b, x, keys.map_or(Keys::Own, Keys::Cached), onto);
    }

    /// `ff_out(silu(ff_proj(RMS(x))) * up_proj(RMS(x)))`.
    fn feed_forward(&self, b: &mut Builder, x: Slot, onto: Onto) {
        let norm = b.vector(&format!("{}.ff_norm.weight", self.name), self.width);
        let [expand, gate] = ["ff_proj", "up_proj"]
            .map(|part| b.layer_without_bias(&format!("{}.{part}", self.name), self.mlp, self.width));
        let contract = b.layer_without_bias(&format!("{}.ff_out", self.name), self.width, self.mlp);
        let h = b.rms_norm(x, norm, EPS);
        for range in b.row_ranges(b.rows(x), self.mlp) {
            let gate = b.linear_rows(h, range, gate);
            let h = b.linear_rows(h, range, expand);
            b.gated_silu(h, gate);
            b.linear_rows_onto(h, contract, onto, range.first);
        }
    }

    fn values(&self, b: &mut Builder, x: Slot, rows: Extent) -> Slot {
        let to_value = self.square(b, "v_proj");
        let h = self.attention_norm(b, x);
        b.linear_first(h, to_value, rows)
    }
}
