//! What training-free accelerators keep between steps: keys and values of every layer, and which rows to compute anew.
//!
//! The hooks are three. A full step writes the caches ([`KeysAndValues`] without a list). A program after a step lists rows
//! in [`states::CHOSEN_ROWS`], counted over all sequences of the batch; [`choose_lowest`] is ML-Cache's rule. A partial step
//! passes only listed rows through the network, which put their keys and values into the caches before they attend to
//! all of them. Another rule for the list, or other layers' outputs kept beside, leaves the rest as it is.

use super::states;
use crate::kernels::head_max::HeadMax;
use crate::kernels::lowest_rows::{LowestRows, RowMax};
use crate::kernels::{Extent, Slot};
use crate::program::{Builder, Element, Layer};

/// The cached keys and values of a layer, each `[rows, width]`, and the rows that are computed.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeysAndValues {
    /// Keys.
    pub(super) keys: Slot,
    /// Values.
    pub(super) values: Slot,
    /// The rows that pass through the network; without a list, all.
    pub(super) list: Option<Slot>,
}

impl KeysAndValues {
    /// Those of a layer; `state` gives a sequence's own name of a state, where sequences have some.
    pub(super) fn of_layer(
        b: &mut Builder,
        state: impl Fn(&str) -> String,
        layer: u32,
        [rows, width]: [u32; 2],
        list: Option<Slot>,
    ) -> Self {
        let mut cache = |name: String| b.state(&state(&name), rows, width, Element::F32);
        Self { keys: cache(states::keys(layer)), values: cache(states::values(layer)), list }
    }

    /// Projects `x`, the computed rows, into the caches. `turn` is applied to the keys on the way.
    pub(super) fn put(
        self,
        b: &mut Builder,
        x: Slot,
        [to_key, to_value]: [Layer; 2],
        turn: impl Fn(&mut Builder, Slot),
    ) {
        let Some(list) = self.list else {
            // All rows at once: straight into the caches.
            b.linear_out(x, to_key, self.keys);
            turn(b, self.keys);
            b.linear_out(x, to_value, self.values);
            return;
        };
        let key = b.linear(x, to_key);
        turn(b, key);
        let value = b.linear(x, to_value);
        b.scatter(key, list, self.keys);
        b.scatter(value, list, self.values);
    }
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
        b.push(LowestRows { scores, lowest: list, sequences, rows: length, count });
    });
}
