//! Attention and the rotation of its operands.

use super::{Case, Fill, test_gpu};
use crate::exec::gpu::tier::Tier;
use crate::kernels::WeightFormat::F32;
use crate::kernels::attention::{Attention, Operand};
use crate::kernels::rope::{Positions, Rope};
use crate::kernels::{Extent, ImagePlacement, StepValues, Symbol};
use crate::program::Element::{F32 as Float, U32 as Integer};

#[test]
fn rope() {
    for (rows, length, heads, head_width, offset) in
        [(1, 1, 1, 2, 0), (65, 65, 4, 16, 0), (12, 4, 2, 6, 5), (4300, 4300, 1, 128, 0), (3, 3, 1, 256, 1)]
    {
        let stride = heads * head_width + 2 * offset;
        // Angles reach 4,300, of which a unit in the last place is 5e-4.
        let tolerance = 1e-5 + length as f32 * 3e-7;
        Case { tolerance, ..Case::default() }.check(F32, |b| {
            let x = b.state("x", rows, stride, Float);
            let (positions, rows) = (Positions::Absolute { length }, Extent::fixed(rows));
            b.push(Rope { x, positions, rows, stride, offset, heads, head_width, theta: 5e5 });
        });
    }
    for (images, prefix, new_tokens) in [(1, 0, 0), (1, 7, 0), (1, 0, 5), (1, 7, 48), (3, 7, 5), (2, 0, 48)] {
        let step = StepValues { new_tokens, ..StepValues::default() };
        let image = (0..images * 48).map(|i| (i * 7 + i / 48) % 48).collect();
        Case { step, fills: &[("image", Fill::Words(image))], tolerance: 3e-5, ..Case::default() }.check(
            F32,
            |b| {
                let x = b.state("x", images * (48 + prefix), 32, Float);
                let image = b.state("image", images, 48, Integer);
                let placement = ImagePlacement { start: prefix + 2, columns: 8 };
                let of = |images| Extent::symbolic(images, Symbol::NewTokens, 48).plus(images * prefix);
                let positions = Positions::Listed { image, tokens: 48, entries: of(1), prefix, placement };
                let rows = of(images);
                b.push(Rope {
                    x,
                    positions,
                    rows,
                    stride: 32,
                    offset: 0,
                    heads: 4,
                    head_width: 8,
                    theta: 5e5,
                });
            },
        );
    }
    let rows = vec![39, 2, 7, 20, 0];
    Case { fills: &[("list", Fill::Words(rows))], tolerance: 3e-5, ..Case::default() }.check(F32, |b| {
        let (x, list) = (b.state("x", 5, 32, Float), b.state("list", 5, 1, Integer));
        let (positions, rows) = (Positions::OfRows { list, length: 20 }, Extent::fixed(5));
        b.push(Rope { x, positions, rows, stride: 32, offset: 0, heads: 4, head_width: 8, theta: 5e5 });
    });
}

/// On matrix units the exponentials of scores are rounded to f16: 2^-11 of an output at most.
fn tolerance() -> f32 {
    match test_gpu().map(|gpu| gpu.tier) {
        Some(Tier::Matrix { .. }) => 1e-3,
        _ => 3e-5,
    }
}

#[test]
fn attention() {
    // (sequences, key sequences, queries, keys, heads, head width)
    for (sequences, key_sequences, queries, keys, heads, head_width) in [
        (1, 1, 1, 1, 1, 1),
        (2, 2, 65, 65, 4, 16),
        (2, 1, 65, 9, 2, 24),
        (4, 2, 70, 3, 2, 12),
        (1, 1, 130, 257, 2, 48),
        (1, 1, 33, 40, 3, 7),
        (1, 1, 66, 67, 1, 64),
        (1, 1, 17, 67, 1, 65),
        (2, 2, 40, 70, 1, 128),
        (1, 1, 20, 130, 1, 512),
        (1, 1, 18, 19, 2, 200),
    ] {
        let width = heads * head_width;
        for packing in 0..3 {
            Case {
                tolerance: tolerance(),
                fills: &[("q", Fill::Random(3.0)), ("kv", Fill::Random(3.0))],
                ..Case::default()
            }
            .check(F32, |b| {
                let y = b.state("y", sequences * queries, width, Float);
                let operand = |slot, offset, stride| Operand { slot, offset, stride };
                let (query, key, value) = match packing {
                    0 => (
                        operand(b.state("q", sequences * queries, width, Float), 0, width),
                        operand(b.state("k", key_sequences * keys, width, Float), 0, width),
                        operand(b.state("v", key_sequences * keys, width, Float), 0, width),
                    ),
                    1 => {
                        let q = b.state("q", sequences * queries, width, Float);
                        let kv = b.state("kv", key_sequences * keys, 2 * width, Float);
                        (operand(q, 0, width), operand(kv, 0, 2 * width), operand(kv, width, 2 * width))
                    }
                    _ if queries == keys && sequences == key_sequences => {
                        let qkv = b.state("q", sequences * queries, 3 * width, Float);
                        let part = |i| operand(qkv, i * width, 3 * width);
                        (part(0), part(1), part(2))
                    }
                    _ => {
                        // Values before keys, with a column of something else between.
                        let q = b.state("q", sequences * queries, width + 4, Float);
                        let kv = b.state("kv", key_sequences * keys, 2 * width + 1, Float);
                        let stride = 2 * width + 1;
                        (operand(q, 4, width + 4), operand(kv, width + 1, stride), operand(kv, 0, stride))
                    }
                };
                b.push(Attention {
                    query,
                    key,
                    value,
                    y,
                    sequences,
                    key_sequences,
                    queries: Extent::fixed(queries),
                    keys: Extent::fixed(keys),
                    heads,
                    head_width,
                });
            });
        }
    }
}

#[test]
fn attention_over_the_new_tokens_of_a_step() {
    for new_tokens in [0, 1, 33, 40] {
        for head_width in [24, 72] {
            Case {
                step: StepValues { new_tokens, ..StepValues::default() },
                tolerance: tolerance(),
                ..Case::default()
            }
            .check(F32, |b| {
                let operand = |slot, stride| Operand { slot, offset: 0, stride };
                let width = 2 * head_width;
                let q = b.state("q", 2 * 21, width, Float);
                let k = b.state("k", 40, width, Float);
                let v = b.state("v", 40, width, Float);
                let y = b.state("y", 2 * 21, width, Float);
                b.push(Attention {
                    query: operand(q, width),
                    key: operand(k, width),
                    value: operand(v, width),
                    y,
                    sequences: 2,
                    key_sequences: 1,
                    queries: Extent::fixed(21),
                    keys: Extent::symbolic(1, Symbol::NewTokens, 40),
                    heads: 2,
                    head_width,
                });
            });
        }
    }
}
