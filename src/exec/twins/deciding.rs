//! What runs look at that decide, and what a corrector does.

use super::{Case, Fill, floats};
use crate::kernels::WeightFormat::F32;
use crate::kernels::correct::{ListTokens, Remask, Surprise, WaitScores};
use crate::kernels::gauge::{Gauge, WORDS};
use crate::kernels::movement::Movement;
use crate::kernels::sample::Sample;
use crate::kernels::{Extent, ImagePlacement, RowRange, StepValues, Symbol};
use crate::program::Element::{F32 as Float, U32 as Integer};

fn masked(tokens: u32) -> Extent {
    Extent::symbolic(1, Symbol::Masked, tokens)
}

fn committed(tokens: u32) -> Extent {
    Extent::symbolic(1, Symbol::Committed, tokens)
}

#[test]
fn movement_of_masked_rows_alone() {
    for (images, tokens, left, width, start, columns) in [
        (1, 1, 1, 1, 0, u32::MAX),
        (1, 64, 64, 96, 0, u32::MAX),
        (2, 100, 37, 130, 7, 10),
        (1, 16, 0, 8, 2, 4),
    ] {
        let placement = ImagePlacement { start, columns };
        let length = placement.row(tokens - 1) + 3;
        let positions = (0..images).flat_map(|i| (0..tokens).map(move |t| (t * 3 + i) % tokens)).collect();
        let fills = [
            ("positions", Fill::Words(positions)),
            ("features", Fill::Random(3.0)),
            ("held", Fill::Random(3.0)),
        ];
        let step = StepValues { masked: left, ..StepValues::default() };
        Case { step, fills: &fills, tolerance: 3e-5, ..Case::default() }.check(F32, |b| {
            let kernel = Movement {
                features: b.state("features", images * length, width, Float),
                positions: b.state("positions", images, tokens, Integer),
                held: b.state("held", images * length, width, Float),
                sums: b.state("sums", images * tokens, 2, Float),
                images,
                tokens,
                masked: masked(tokens),
                size: [length, width],
                placement,
            };
            b.push(kernel);
        });
    }
}

/// Against the definitions in f64.
#[test]
fn a_draw_is_measured() {
    let (tokens, left, codebook) = (20_u32, 13_u32, 77_u32);
    let logits: Vec<u32> = floats(4, left * codebook, 9.0);
    let positions: Vec<u32> = (0..tokens).map(|t| (t * 3) % tokens).collect();
    let fills = [
        ("positions", Fill::Words(positions)),
        ("seeds", Fill::Words(vec![3, 4])),
        ("logits", Fill::Words(logits.iter().copied().chain(vec![0; 7 * 77]).collect())),
        ("drawn", Fill::Below(9)),
        ("measured", Fill::Random(1.0)),
    ];
    let step =
        StepValues { masked: left, softmax_temperature: 0.8, draw_temperature: 1.0, ..StepValues::default() };
    let case = Case { step, fills: &fills, tolerance: 3e-5, ..Case::default() };
    let kernel = |b: &mut crate::program::Builder| Sample {
        logits: b.state("logits", tokens, codebook, Float),
        positions: b.state("positions", 1, tokens, Integer),
        seeds: b.state("seeds", 1, 2, Integer),
        recorded: None,
        drawn: b.state("drawn", 1, tokens, Integer),
        scores: b.state("scores", 1, tokens, Float),
        measured: Some(b.state("measured", tokens, 4, Float)),
        images: 1,
        tokens,
        masked: Extent::part(1, Symbol::Masked, RowRange::all(tokens)),
        first_masked: 0,
        codebook,
    };
    case.check(F32, |b| {
        let kernel = kernel(b);
        b.push(kernel);
    });
    for states in case.states(|b| {
        let kernel = kernel(b);
        b.push(kernel);
    }) {
        for row in 0..left as usize {
            let at =
                |row: usize, code: usize| f64::from(f32::from_bits(logits[row * codebook as usize + code]));
            let z: Vec<f64> = (0..codebook as usize).map(|code| 0.8 * at(row, code)).collect();
            let most = z.iter().copied().fold(f64::MIN, f64::max);
            let sum: f64 = z.iter().map(|z| (z - most).exp()).sum();
            let entropy: f64 =
                z.iter().map(|z| (z - most).exp() / sum).filter(|p| *p > 0.0).map(|p| -p * p.ln()).sum();
            let of = |part: usize| f64::from(f32::from_bits(states["measured"][4 * row + part]));
            assert!((of(0) - entropy).abs() < 1e-4, "row {row}: {} and {entropy}", of(0));
            assert!((of(1) - 1.0 / sum).abs() < 1e-5, "row {row}: {} and {}", of(1), 1.0 / sum);
            assert_eq!(z[of(2) as usize], most, "row {row}");
        }
    }
}

#[test]
fn gauge() {
    let plain = StepValues::default();
    for (tokens, left) in [(1, 1), (64, 64), (300, 257), (1024, 40), (16, 0)] {
        for (step, threshold) in [
            (plain, 0.0),
            (StepValues { entropy_bound: 2.0, ..plain }, 0.0),
            (StepValues { certainty: 0.5, ..plain }, 0.5),
        ] {
            let positions: Vec<u32> = (0..tokens).map(|t| (t * 7 + 2) % tokens).collect();
            // Few distinct scores; entropies that add up exactly in any order.
            let scores: Vec<u32> = (0..tokens).map(|i| ((i * 31 % 7) as f32 - 3.0).to_bits()).collect();
            let entry =
                |i: u32| [(i % 5) as f32 / 8.0, (i % 4) as f32 / 4.0 + threshold / 8.0, (i % 3) as f32, 0.0];
            let measured = (0..tokens).flat_map(entry).map(f32::to_bits).collect();
            let fills = [
                ("positions", Fill::Words(positions)),
                ("scores", Fill::Words(scores)),
                ("measured", Fill::Words(measured)),
                ("likeliest", Fill::Below(4)),
                ("sums", Fill::Random(1.0)),
            ];
            let step = StepValues { masked: left, ..step };
            Case { step, fills: &fills, tolerance: 1e-5, ..Case::default() }.check(F32, |b| {
                let kernel = Gauge {
                    sums: b.state("sums", tokens, 2, Float),
                    scores: b.state("scores", 1, tokens, Float),
                    measured: b.state("measured", tokens, 4, Float),
                    positions: b.state("positions", 1, tokens, Integer),
                    likeliest: b.state("likeliest", 1, tokens, Integer),
                    gauge: b.state("gauge", WORDS, 1, Float),
                    tokens,
                    masked: masked(tokens),
                };
                b.push(kernel);
            });
        }
    }
}

#[test]
fn tokens_are_listed_doubted_and_masked_again() {
    for (images, tokens, codebook) in [(1, 1, 2), (2, 64, 9), (3, 300, 130), (1, 1024, 5)] {
        let ids: Vec<u32> = (0..images * tokens).map(|i| (i * 7919) % (codebook + 1)).collect();
        for wants_masked in [false, true] {
            let fills = [("ids", Fill::Words(ids.clone()))];
            Case { fills: &fills, ..Case::default() }.check(F32, |b| {
                let (ids, list) =
                    (b.state("ids", images, tokens, Integer), b.state("list", images, tokens, Integer));
                b.push(ListTokens { ids, list, images, tokens, mask: codebook, wants_masked });
            });
        }
        let known = tokens.div_ceil(3);
        let step = StepValues {
            committed: known,
            masked: tokens - known,
            softmax_temperature: 1.2,
            predicted: true,
            ..StepValues::default()
        };
        let list: Vec<u32> = (0..images).flat_map(|_| 0..tokens).collect();
        let fills = [
            ("ids", Fill::Below(codebook)),
            ("list", Fill::Words(list.clone())),
            ("logits", Fill::Random(6.0)),
        ];
        Case { step, fills: &fills, tolerance: 3e-5, ..Case::default() }.check(F32, |b| {
            let kernel = Surprise {
                logits: b.state("logits", images * tokens, codebook, Float),
                list: b.state("list", images, tokens, Integer),
                ids: b.state("ids", images, tokens, Integer),
                scores: b.state("scores", images, tokens, Float),
                images,
                tokens,
                listed: committed(tokens),
                first: 0,
                codebook,
            };
            b.push(kernel);
        });
        let fills = [
            ("ids", Fill::Words(ids)),
            ("list", Fill::Words(list.clone())),
            ("chosen", Fill::Below(2)),
            ("aside", Fill::Below(2)),
            ("scores", Fill::Random(9.0)),
        ];
        Case { step, fills: &fills, ..Case::default() }.check(F32, |b| {
            let kernel = Remask {
                list: b.state("list", images, tokens, Integer),
                chosen: b.state("chosen", images, tokens, Integer),
                ids: b.state("ids", images, tokens, Integer),
                aside: b.state("aside", images, tokens, Integer),
                images,
                tokens,
                listed: committed(tokens),
                mask: codebook,
            };
            b.push(kernel);
        });
        for predicted in [false, true] {
            let step = StepValues { predicted, ..step };
            Case { step, fills: &fills, ..Case::default() }.check(F32, |b| {
                let kernel = WaitScores {
                    aside: b.state("aside", images, tokens, Integer),
                    positions: b.state("list", images, tokens, Integer),
                    scores: b.state("scores", images, tokens, Float),
                    images,
                    tokens,
                    masked: masked(tokens),
                };
                b.push(kernel);
            });
        }
    }
}
