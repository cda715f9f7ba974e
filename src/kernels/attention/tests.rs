//! Attention against a plain loop, at odd sizes and extreme scores.

use super::super::Symbol;
use super::super::linear::testing::{fastest_ms, validate, values};
use super::by_gemm::exp2_of_negative;
use super::*;

/// Where the operands lie.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Packing {
    One,
    KeysWithValues,
    Three,
}

fn kernel(
    packing: Packing,
    sequences: [u32; 2],
    queries: u32,
    keys: u32,
    heads: u32,
    width: u32,
) -> Attention {
    let row = heads * width;
    let operand = |slot, part, parts| Operand { slot: Slot(slot), offset: part * row, stride: parts * row };
    let [query, key, value] = match packing {
        Packing::One => [operand(0, 0, 3), operand(0, 1, 3), operand(0, 2, 3)],
        Packing::KeysWithValues => [operand(0, 0, 1), operand(1, 0, 2), operand(1, 1, 2)],
        Packing::Three => [operand(0, 0, 1), operand(1, 0, 1), operand(2, 0, 1)],
    };
    Attention {
        query,
        key,
        value,
        y: Slot(3),
        sequences: sequences[0],
        key_sequences: sequences[1],
        queries: Extent::fixed(queries),
        keys: Extent::fixed(keys),
        heads,
        head_width: width,
    }
}

/// The operands' buffers by slot, with NaN behind the rows that are used.
fn buffers(k: &Attention, size: f32) -> Vec<Vec<f32>> {
    let mut buffers = Vec::new();
    for (operand, rows) in [
        (k.query, k.sequences * k.queries.max()),
        (k.key, k.key_sequences * k.keys.max()),
        (k.value, k.key_sequences * k.keys.max()),
    ] {
        if operand.slot.0 as usize == buffers.len() {
            let mut data = values((rows * operand.stride) as usize, operand.slot.0 + 1);
            data.iter_mut().for_each(|v| *v *= size);
            data.resize(data.len() + 1000, f32::NAN);
            buffers.push(data);
        }
    }
    buffers
}

fn run(k: &Attention, how: How, data: &[Vec<f32>], y: &mut [f32]) {
    let [query, key, value] = [k.query, k.key, k.value].map(|operand| &data[operand.slot.0 as usize]);
    attention(k.at(&StepValues::default()), how, query, key, value, y);
}

fn naive(k: &Attention, data: &[Vec<f32>], sequence: u32, query: u32, head: u32) -> Vec<f64> {
    let at = |o: Operand, row: u32, i: u32| {
        let index = row * o.stride + o.offset + head * k.head_width + i;
        f64::from(data[o.slot.0 as usize][index as usize])
    };
    let key_row = sequence % k.key_sequences * k.keys.max();
    let row = sequence * k.queries.max() + query;
    let score = |j| {
        let dot: f64 = (0..k.head_width).map(|i| at(k.query, row, i) * at(k.key, key_row + j, i)).sum();
        dot / f64::from(k.head_width).sqrt()
    };
    let scores: Vec<f64> = (0..k.keys.max()).map(score).collect();
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let column = |i| weights.iter().zip(0..).map(|(w, j)| w / sum * at(k.value, key_row + j, i)).sum();
    (0..k.head_width).map(column).collect()
}

/// By all ways in f32 that this processor has for it.
fn check(k: &Attention, size: f32, tolerance: f64) {
    check_by(k, How::Gemm, size, tolerance);
    let best = How::of(&k.at(&StepValues::default()), false);
    if best != How::Gemm {
        check_by(k, best, size, tolerance);
    }
}

fn check_by(k: &Attention, how: How, size: f32, tolerance: f64) {
    let data = buffers(k, size);
    let row = k.heads * k.head_width;
    let len = (k.sequences * k.queries.max() * row) as usize;
    let mut y = vec![7.0; len + 5];
    run(k, how, &data, &mut y);
    assert_eq!(y[len..], [7.0; 5], "{}: wrote past the end", k.describe());
    // Long sequences are checked at some of their queries.
    let step = (k.queries.max() / 40).max(1);
    for sequence in 0..k.sequences {
        for query in (0..k.queries.max()).filter(|q| q % step == 0 || q + 1 == k.queries.max()) {
            for head in 0..k.heads {
                let first = ((sequence * k.queries.max() + query) * row + head * k.head_width) as usize;
                for (got, wanted) in y[first..].iter().zip(naive(k, &data, sequence, query, head)) {
                    let error = (f64::from(*got) - wanted).abs();
                    assert!(error < tolerance, "{}: query {query}: {got}, not {wanted}", k.describe());
                }
            }
        }
    }
}

#[test]
fn twin_agrees_with_a_plain_loop() {
    for width in [1, 3, 12, 24, 48, 64, 65, 128, 512] {
        for tokens in [1, 2, 65, 257] {
            check(&kernel(Packing::One, [2, 2], tokens, tokens, 2, width), 1.0, 3e-6);
        }
    }
    check(&kernel(Packing::One, [2, 2], 1025, 1025, 2, 48), 1.0, 3e-6);
}

#[test]
fn tiles_agree_with_a_plain_loop() {
    if !migm_products::has_tiles() {
        println!("this processor has no tiles of bf16: nothing to compare");
        return;
    }
    for width in [1, 12, 32, 48, 65, 128] {
        for tokens in [1, 2, 65, 257] {
            check_by(&kernel(Packing::One, [2, 2], tokens, tokens, 2, width), How::Tiles, 1.0, 1e-2);
        }
    }
    for packing in [Packing::KeysWithValues, Packing::Three] {
        check_by(&kernel(packing, [4, 2], 65, 7, 3, 24), How::Tiles, 1.0, 1e-2);
    }
    check_by(&kernel(Packing::One, [1, 1], 1025, 1025, 1, 48), How::Tiles, 1.0, 1e-2);
}

#[test]
fn queries_may_read_shared_keys_of_another_number() {
    for packing in [Packing::KeysWithValues, Packing::Three] {
        for (queries, keys) in [(65, 7), (3, 129), (257, 1)] {
            check(&kernel(packing, [4, 2], queries, keys, 3, 24), 1.0, 3e-6);
        }
    }
}

#[test]
fn many_keys_are_taken_in_blocks() {
    check(&kernel(Packing::Three, [1, 1], 33, 5000, 1, 20), 4.0, 5e-5);
}

#[test]
fn without_keys_the_output_is_zero() {
    let k = Attention {
        keys: Extent::symbolic(1, Symbol::NewTokens, 9),
        ..kernel(Packing::KeysWithValues, [2, 1], 5, 9, 2, 8)
    };
    let mut y = vec![f32::NAN; 2 * 5 * 16];
    run(&k, How::Gemm, &[vec![1.0; 160], vec![f32::NAN; 9 * 32]], &mut y);
    assert!(y.iter().all(|&v| v == 0.0), "{y:?}");
}

#[test]
fn extreme_scores_stay_finite() {
    // Scores up to 1e4 * sqrt(width) / 3 either way: the largest takes all.
    for width in [8, 128] {
        let k = kernel(Packing::Three, [1, 1], 70, 70, 1, width);
        let data = buffers(&k, 100.0);
        for in_bf16 in [false, true] {
            for how in [How::Gemm, How::of(&k.at(&StepValues::default()), in_bf16)] {
                let mut y = vec![0.0; (70 * width) as usize];
                run(&k, how, &data, &mut y);
                assert!(y.iter().all(|v| v.abs() <= 100.5), "{how:?}: {y:?}");
            }
        }
    }
}

#[test]
fn exp2_of_negative_is_within_two_ulp() {
    for i in 0..=126_000 {
        let x = -(i as f32) / 1000.0;
        let relative = f64::from(exp2_of_negative(x)) / f64::from(x).exp2() - 1.0;
        assert!(relative.abs() < 2.5e-7, "2^{x}: relative error {relative:e}");
    }
    assert!(exp2_of_negative(f32::NEG_INFINITY) < 1.2e-38);
    assert_eq!(exp2_of_negative(0.0), 1.0);
}

#[test]
fn shaders_are_valid() {
    for width in [1, 3, 4, 12, 24, 48, 63, 64, 65, 100, 128, 130, 512, 1000, 1024] {
        for packing in [Packing::One, Packing::KeysWithValues, Packing::Three] {
            validate(&kernel(packing, [2, 1], 7, 5, 2, width));
        }
    }
    // Values with the queries, keys elsewhere: no model has it, but nothing forbids it.
    let k = kernel(Packing::Three, [1, 1], 7, 7, 1, 8);
    validate(&Attention { value: k.query, ..k });
    validate(&Attention { key: Operand { offset: 2, ..k.key }, ..k });
}

/// `cargo test --release attention::tests::timings -- --ignored --nocapture`
#[test]
#[ignore = "measures"]
fn timings() {
    for (sequences, tokens, keys, heads, width) in
        [(2, 1025, 1025, 16, 48), (2, 257, 257, 16, 48), (2, 1025, 100, 16, 48), (1, 4096, 4096, 1, 512)]
    {
        let k = kernel(Packing::KeysWithValues, [sequences, sequences], tokens, keys, heads, width);
        let data = buffers(&k, 1.0);
        let mut y = vec![0.0; (sequences * tokens * heads * width) as usize];
        let mut other = y.clone();
        let own = How::of(&k.at(&StepValues::default()), false);
        let run_by = |how, y: &mut Vec<f32>| run(&k, how, &data, y);
        let ms = fastest_ms([&mut || run_by(How::Gemm, &mut y), &mut || run_by(own, &mut other)]);
        let flops = k.cost(&StepValues::default()).flops as f64;
        let speeds = ms.map(|ms| format!("{ms:.2} ms, {:.0} GFLOP/s", flops / ms / 1e6));
        println!("{}: by gemm {}, {own:?} {}", k.describe(), speeds[0], speeds[1]);
    }
}
