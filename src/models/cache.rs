//! What training-free accelerators keep between steps, and how the layers of both families use it.
//!
//! Both are stacks of pre-norm blocks without gates, `x += attend(x); x += feed_forward(x)`: a block is [`Modules`], and [`stack`]
//! appends all of them, computing and keeping what [`Layers`] says. Full steps can keep each layer's keys and values, the outputs of
//! its two modules as well, or the sum of all outputs. A partial step ([`Layers::Listed`]) passes only listed rows through, which
//! put their keys and values among the kept ones before they attend to all of them; [`choose_lowest`] is ML-Cache's rule for the
//! list. An adaptive step ([`Layers::Adaptive`]) is dLLM-Cache's: every layer finds its own rows, and the others take its kept
//! outputs.

use super::states;
use crate::kernels::head_max::HeadMax;
use crate::kernels::lowest_rows::{LowestRows, RowMax};
use crate::kernels::value_similarity::ValueSimilarity;
use crate::kernels::{Extent, Intervals, Slot, Symbol};
use crate::program::{Builder, Element, Layer, Onto};

/// What full steps keep for predicted ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Nothing.
    #[default]
    Nothing,
    /// Each layer's keys and values.
    KeysAndValues,
    /// Those, and what each layer's attention and feed-forward gave.
    Outputs,
    /// What all attentions and feed-forwards together added to the residual stream.
    Sum,
}

/// What a program's layers compute and keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layers {
    /// All rows, and this is kept of them.
    Full(Keep),
    /// Listed rows, among the kept keys and values of the others.
    Listed(Slot),
    /// The rows of parts whose turn it is, or those that have changed most: by each layer's own choice, on top of kept outputs.
    Adaptive(Intervals),
}

impl Layers {
    /// The rows that pass through all layers; without a list, all of them.
    pub(super) fn list(self) -> Option<Slot> {
        match self {
            Self::Listed(list) => Some(list),
            Self::Full(_) | Self::Adaptive(_) => None,
        }
    }
}

/// The two modules of a block, norms included.
pub(super) trait Modules {
    /// `onto` gets the attention of rows `x`: to each other, or to the kept keys and values.
    fn attend(&self, b: &mut Builder, x: Slot, keys: Option<KeysAndValues>, onto: Onto);
    /// `onto` gets the feed-forward of rows `x`.
    fn feed_forward(&self, b: &mut Builder, x: Slot, onto: Onto);
    /// The values of the first `rows` rows of `x`, alone.
    fn values(&self, b: &mut Builder, x: Slot, rows: Extent) -> Slot;
}

/// The kept keys and values of a layer, each `[rows, width]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeysAndValues {
    /// Keys.
    pub(super) keys: Slot,
    /// Values.
    pub(super) values: Slot,
    /// Which of them are of the rows at hand.
    pub(super) rows: Rows,
}

/// Which kept keys and values are of the rows at hand.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rows {
    /// All.
    All,
    /// Those of a list.
    Listed(Slot),
    /// Those of a list, and their values are there already.
    Valued(Slot),
}

impl Rows {
    /// The list, if there is one.
    pub(super) fn list(self) -> Option<Slot> {
        match self {
            Self::All => None,
            Self::Listed(list) | Self::Valued(list) => Some(list),
        }
    }
}

impl KeysAndValues {
    /// Projects `x`, the rows at hand, to their places. `turn` is applied to the keys on the way.
    pub(super) fn put(
        self,
        b: &mut Builder,
        x: Slot,
        [to_key, to_value]: [Layer; 2],
        turn: impl Fn(&mut Builder, Slot),
    ) {
        let Some(list) = self.rows.list() else {
            // All rows at once: straight into the caches.
            b.linear_out(x, to_key, self.keys);
            turn(b, self.keys);
            b.linear_out(x, to_value, self.values);
            return;
        };
        let key = b.linear(x, to_key);
        turn(b, key);
        if let Rows::Listed(_) = self.rows {
            let value = b.linear(x, to_value);
            b.scatter(value, list, self.values);
        }
        b.scatter(key, list, self.keys);
    }
}

/// The caches of a network; `name` gives a network's own name of a state.
pub(super) struct Caches<'a> {
    pub(super) name: &'a dyn Fn(&str) -> String,
    pub(super) sequences: u32,
    /// Rows of a sequence.
    pub(super) length: u32,
    pub(super) width: u32,
}

impl Caches<'_> {
    fn state(&self, b: &mut Builder, name: &str) -> Slot {
        b.state(&(self.name)(name), self.sequences * self.length, self.width, Element::F32)
    }

    /// What all modules added at the last full step that kept it.
    pub(super) fn sum(&self, b: &mut Builder) -> Slot {
        self.state(b, states::MODULES)
    }

    /// The rows that a partial step computes, at most so many of a sequence.
    pub(super) fn list(&self, b: &mut Builder, rows: Extent) -> Slot {
        b.state(&(self.name)(states::CHOSEN_ROWS), self.sequences, rows.max(), Element::U32)
    }

    fn keys(&self, b: &mut Builder, layer: u32, rows: Rows) -> KeysAndValues {
        let [keys, values] = [states::keys(layer), states::values(layer)].map(|name| self.state(b, &name));
        KeysAndValues { keys, values, rows }
    }
}

/// All blocks of a network, over rows `x` in place.
pub(super) fn stack<M: Modules>(
    b: &mut Builder,
    x: Slot,
    depth: u32,
    layers: Layers,
    caches: &Caches<'_>,
    modules: impl Fn(u32) -> M,
) {
    let sum = (layers == Layers::Full(Keep::Sum)).then(|| caches.sum(b));
    if let Some(sum) = sum {
        b.combine(-1.0, x, 0.0, sum);
    }
    for layer in 0..depth {
        let modules = modules(layer);
        b.scope(format!("layers.{layer}"), |b| {
            b.block(|b| append(b, x, layer, layers, caches, &modules));
        });
    }
    if let Some(sum) = sum {
        b.combine(1.0, x, 1.0, sum);
    }
}

fn append(b: &mut Builder, x: Slot, layer: u32, layers: Layers, caches: &Caches<'_>, modules: &impl Modules) {
    let keys = match layers {
        Layers::Full(Keep::Nothing | Keep::Sum) => None,
        Layers::Full(Keep::KeysAndValues) => Some(caches.keys(b, layer, Rows::All)),
        Layers::Listed(list) => Some(caches.keys(b, layer, Rows::Listed(list))),
        Layers::Full(Keep::Outputs) => {
            let [attention, feed_forward] = outputs(b, caches, layer);
            let keys = caches.keys(b, layer, Rows::All);
            b.scope("attention", |b| {
                modules.attend(b, x, Some(keys), Onto::Place(attention));
                b.combine(1.0, attention, 1.0, x);
            });
            b.scope("feed_forward", |b| {
                modules.feed_forward(b, x, Onto::Place(feed_forward));
                b.combine(1.0, feed_forward, 1.0, x);
            });
            return;
        }
        Layers::Adaptive(intervals) => {
            adapt(b, x, layer, intervals, caches, modules);
            return;
        }
    };
    b.scope("attention", |b| modules.attend(b, x, keys, Onto::Sum(x)));
    b.scope("feed_forward", |b| modules.feed_forward(b, x, Onto::Sum(x)));
}

/// What the attention and the feed-forward of a layer last gave each row.
fn outputs(b: &mut Builder, caches: &Caches<'_>, layer: u32) -> [Slot; 2] {
    [states::attention(layer), states::feed_forward(layer)].map(|name| caches.state(b, &name))
}

/// A layer of dLLM-Cache: new values of all rows say which have changed, these pass through both modules, and all rows take what is
/// kept. The residual stream is of this step; keys and outputs are as old as a row's last turn.
fn adapt(
    b: &mut Builder,
    x: Slot,
    layer: u32,
    intervals: Intervals,
    caches: &Caches<'_>,
    modules: &impl Modules,
) {
    let [sequences, length, width] = [caches.sequences, caches.length, caches.width];
    let kept = outputs(b, caches, layer);
    let rows = Extent::symbolic(1, Symbol::Recomputed(intervals), length);
    let list = b.temporary_u32("list", Extent::fixed(sequences), length);
    let keys = caches.keys(b, layer, Rows::Valued(list));
    b.scope("choose", |b| {
        let compared = Extent::symbolic(sequences, Symbol::Compared(intervals), length);
        let value = modules.values(b, x, compared);
        let scores = b.temporary("scores", Extent::fixed(sequences * length), 1);
        b.push(ValueSimilarity { value, kept: keys.values, scores, sequences, width, intervals });
        b.push(LowestRows { scores, lowest: list, sequences, rows: length, count: rows });
    });
    let rows = rows.times(sequences);
    let module = |b: &mut Builder, name: &str, kept: Slot, body: &dyn Fn(&mut Builder, Slot, Onto)| {
        b.scope(name, |b| {
            let listed = b.gather(x, list, rows);
            let y = b.temporary("output", rows, width);
            body(b, listed, Onto::Place(y));
            b.scatter(y, list, kept);
            b.combine(1.0, kept, 1.0, x);
        });
    };
    module(b, "attention", kept[0], &|b, x, onto| modules.attend(b, x, Some(keys), onto));
    module(b, "feed_forward", kept[1], &|b, x, onto| modules.feed_forward(b, x, onto));
}

/// ML-Cache's choice: of each of `sequences` in `features` (`[sequences * length, hidden]`), the `count` rows whose best
/// image code has the lowest logit go to `list`, `[sequences * count]`. `bias` is `[length, codes]`.
pub(super) fn choose_lowest(
    b: &mut Builder,
    features: Slot,
    head: Layer,
    bias: Option<Slot>,
    [sequences, count]: [u32; 2],
    list: Slot,
) {
    b.scope("choose", |b| {
        let rows = b.rows(features);
        let length = rows / sequences;
        let width = HeadMax::width(head.outer());
        let largest = b.temporary("largest_logits", Extent::fixed(rows), width);
        b.head_max(features, head, bias.map(|bias| (bias, length)), largest);
        let scores = b.temporary("scores", Extent::fixed(rows), 1);
        b.push(RowMax { x: largest, y: scores, rows, width });
        let count = Extent::fixed(count);
        b.push(LowestRows { scores, lowest: list, sequences, rows: length, count });
    });
}
