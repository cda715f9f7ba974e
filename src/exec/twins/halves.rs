//! Activations between kernels, which tiers that round hold in f16: chains of every kernel that reads or writes them.

use super::{Case, test_gpu};
use crate::kernels::attention::{Attention, Operand};
use crate::kernels::gated_silu::GatedSilu;
use crate::kernels::layer_norm::LayerNorm;
use crate::kernels::rms_norm::RmsNorm;
use crate::kernels::rope::{Positions, Rope};
use crate::kernels::{Extent, WeightFormat};
use crate::program::Builder;
use crate::program::Element::F32 as Float;

/// A transformer layer: norm, packed or separate projections, rope, attention, residual, norm, gated feed-forward, residual.
fn layer(b: &mut Builder, rows: u32, heads: u32, head_width: u32, is_packed: bool) {
    let width = heads * head_width;
    let all = Extent::fixed(rows);
    let x = b.state("x", rows, width, Float);
    let y = b.temporary("normed", all, width);
    let weight = b.vector("first.weight", width);
    b.push(RmsNorm { x, weight, modulation: None, y, rows: all, width, eps: 1e-5 });
    let parts = if is_packed {
        let packed = b.temporary("packed", all, 3 * width);
        let projection = b.layer("packed", 3 * width, width);
        b.linear_out(y, projection, packed);
        [0, 1, 2].map(|i| Operand { slot: packed, offset: i * width, stride: 3 * width })
    } else {
        ["query", "key", "value"].map(|name| {
            let slot = b.temporary(name, all, width);
            let projection = b.layer(name, width, width);
            b.linear_out(y, projection, slot);
            Operand { slot, offset: 0, stride: width }
        })
    };
    for part in &parts[..2] {
        b.push(Rope {
            x: part.slot,
            stride: part.stride,
            offset: part.offset,
            rows: all,
            heads,
            head_width,
            theta: 100.0,
            positions: Positions::Absolute { length: rows },
        });
    }
    let [query, key, value] = parts;
    let attended = b.temporary("attended", all, width);
    b.push(Attention {
        query,
        key,
        value,
        y: attended,
        sequences: 1,
        key_sequences: 1,
        queries: all,
        keys: all,
        heads,
        head_width,
    });
    let residual = b.state("residual", rows, width, Float);
    let out = b.layer("out", width, width);
    b.linear_out(attended, out, residual);
    let y = b.temporary("normed again", all, width);
    let (weight, bias) = (b.vector("second.weight", width), b.vector("second.bias", width));
    b.push(LayerNorm { x: residual, weight, bias, modulation: None, y, rows: all, width, eps: 1e-5 });
    let inner = 2 * width + 3;
    let [up, gate] = ["up", "gate"].map(|name| {
        let slot = b.temporary(name, all, inner);
        let projection = b.layer(name, inner, width);
        b.linear_out(y, projection, slot);
        slot
    });
    b.push(GatedSilu { x: up, gate, rows: all, width: inner });
    let down = b.layer("down", width, inner);
    let result = b.state("result", rows, width, Float);
    b.linear_out(up, down, result);
}

#[test]
fn a_layer_whose_activations_are_held_in_f16_is_the_cpus_but_for_their_rounding() {
    let Some(gpu) = test_gpu() else { return };
    // Nine roundings to eleven bits in a chain.
    let tolerance = if gpu.tier.rounds() { 1e-2 } else { 3e-5 };
    for (rows, heads, head_width) in [(70, 2, 24), (33, 3, 6), (9, 1, 80), (65, 1, 132)] {
        for is_packed in [false, true] {
            let case = Case { tolerance, ..Case::default() };
            case.check(WeightFormat::F16, |b| layer(b, rows, heads, head_width, is_packed));
        }
    }
}
