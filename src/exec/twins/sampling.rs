//! From logits to revealed tokens.

use super::{Case, Fill, floats};
use crate::kernels::WeightFormat::F32;
use crate::kernels::commit::Commit;
use crate::kernels::rank_scores::RankScores;
use crate::kernels::sample::Sample;
use crate::kernels::spread_k::SpreadK;
use crate::kernels::top_k::{Take, TopK};
use crate::kernels::unite::{OutsideUnion, Unite};
use crate::kernels::{Extent, RowRange, StepValues, Symbol};
use crate::program::Builder;
use crate::program::Element::{F32 as Float, U32 as Integer};

/// Appends a draw over the states of its name.
fn append_sample(b: &mut Builder, sizes: [u32; 3], recorded: bool) {
    append_sample_of(b, sizes, recorded, "logits", RowRange::all(sizes[1]));
}

/// The same for a range of the masked positions.
fn append_sample_of(
    b: &mut Builder,
    [images, tokens, codebook]: [u32; 3],
    recorded: bool,
    logits: &str,
    range: RowRange,
) {
    let kernel = Sample {
        logits: b.state(logits, images * range.count, codebook, Float),
        positions: b.state("positions", images, tokens, Integer),
        seeds: b.state("seeds", images, 2, Integer),
        recorded: recorded.then(|| {
            let token = b.state("noise_token", images * tokens, codebook, Float);
            (token, b.state("noise_choice", images, tokens, Float))
        }),
        drawn: b.state("drawn", images, tokens, Integer),
        scores: b.state("scores", images, tokens, Float),
        measured: None,
        images,
        tokens,
        masked: Extent::part(1, Symbol::Masked, range),
        first_masked: range.first,
        codebook,
    };
    b.push(kernel);
}

/// In two parts, the second of which may have nothing to do.
#[test]
fn sample_in_parts() {
    for masked in [0, 20, 64, 71, 100] {
        let positions = (0..2).flat_map(|i| (0..100).map(move |t| (t * 3 + i) % 100)).collect();
        let fills = [
            ("positions", Fill::Words(positions)),
            ("seeds", Fill::Below(u32::MAX)),
            ("drawn", Fill::Below(9)),
        ];
        Case { step: step(masked), fills: &fills, tolerance: 3e-5, ..Case::default() }.check(F32, |b| {
            for (logits, range) in
                [("first_logits", RowRange::all(64)), ("last_logits", RowRange { first: 64, count: 36 })]
            {
                append_sample_of(b, [2, 100, 40], false, logits, range);
            }
        });
    }
}

/// A step at which `masked` tokens are left and temperatures are 1.
fn step(masked: u32) -> StepValues {
    StepValues {
        step: 3,
        masked,
        softmax_temperature: 1.0,
        draw_temperature: 1.0,
        choice_temperature: 1.0,
        ..StepValues::default()
    }
}

#[test]
fn sample() {
    let plain = step(0);
    let variants = [
        (false, plain),
        (true, plain),
        (false, StepValues { random_choice: true, ..plain }),
        (false, StepValues { draw_temperature: 0.0, ..plain }),
        (true, StepValues { draw_temperature: 0.0, ..plain }),
        (false, StepValues { draw_temperature: 0.7, ..plain }),
        (true, StepValues { draw_temperature: 30.0, choice_temperature: 0.0, ..plain }),
        (false, StepValues { draw_temperature: 30.0, choice_temperature: 0.0, ..plain }),
        (false, StepValues { bf16_noise: true, ..plain }),
        (false, StepValues { bf16_noise: true, draw_temperature: 1.5, ..plain }),
    ];
    for (images, tokens, masked, codebook) in
        [(1, 1, 1, 1), (2, 64, 64, 32), (3, 100, 37, 1025), (2, 16, 0, 8)]
    {
        for (recorded, step) in variants {
            let positions =
                (0..images).flat_map(|i| (0..tokens).map(move |t| (t * 3 + i) % tokens)).collect();
            let fills = [
                ("positions", Fill::Words(positions)),
                ("seeds", Fill::Below(u32::MAX)),
                ("logits", Fill::Random(5.0)),
                ("drawn", Fill::Below(9)),
                ("noise_token", Fill::Random(4.0)),
            ];
            let step = StepValues { masked, softmax_temperature: 1.3, ..step };
            Case { step, fills: &fills, tolerance: 3e-5, ..Case::default() }
                .check(F32, |b| append_sample(b, [images, tokens, codebook], recorded));
        }
    }
}

/// Against the definition in f64: argmax(logits / T + noise), softmax without T, and the floor under its logarithm.
#[test]
fn a_draw_follows_its_temperature_and_confidence_does_not() {
    let (tokens, codebook) = (40_u32, 33_u32);
    let values =
        |slot, scale| floats(slot, tokens * codebook, scale).into_iter().map(f32::from_bits).collect();
    let (logits, noise): (Vec<f32>, Vec<f32>) = (values(1, 40.0), values(2, 3.0));
    let words = |values: &[f32]| Fill::Words(values.iter().map(|v| v.to_bits()).collect());
    let fills = [
        ("logits", words(&logits)),
        ("noise_token", words(&noise)),
        ("noise_choice", words(&[0.0; 40])),
        ("positions", Fill::Words((0..tokens).collect())),
        ("seeds", Fill::Below(9)),
        ("drawn", Fill::Below(9)),
    ];
    for draw_temperature in [0.0, 0.25, 1.0, 4.0, 300.0] {
        let case = Case {
            step: StepValues { draw_temperature, ..step(tokens) },
            fills: &fills,
            tolerance: 0.0,
            ..Case::default()
        };
        let mut floored = 0;
        for states in case.states(|b| append_sample(b, [1, tokens, codebook], true)) {
            for row in 0..tokens as usize {
                let of_row = |values: &[f32]| -> Vec<f64> {
                    values[row * codebook as usize..][..codebook as usize]
                        .iter()
                        .map(|&v| f64::from(v))
                        .collect()
                };
                let (z, g) = (of_row(&logits), of_row(&noise));
                let noisy = |code: usize| {
                    if draw_temperature == 0.0 {
                        z[code]
                    } else {
                        z[code] / f64::from(draw_temperature) + g[code]
                    }
                };
                let token = (0..z.len()).max_by(|&a, &b| noisy(a).total_cmp(&noisy(b))).unwrap();
                assert_eq!(states["drawn"][row], token as u32, "row {row} at {draw_temperature}");
                let confidence = z[token].exp() / z.iter().map(|z| z.exp()).sum::<f64>();
                floored += u32::from(confidence < 1e-20);
                let (score, wanted) = (f32::from_bits(states["scores"][row]), confidence.max(1e-20).ln());
                assert!((f64::from(score) - wanted).abs() < 2e-5, "{score} and {wanted}, row {row}");
            }
        }
        assert_eq!(floored > 0, draw_temperature == 300.0, "{floored} rows at {draw_temperature}");
    }
}

/// With one code, confidence is 1 and the score is the noise of the choice.
#[test]
fn bf16_noise_has_the_range_and_frequencies_of_the_official_code() {
    let tokens = 1 << 17;
    let fills = [
        ("logits", Fill::Random(1.0)),
        ("positions", Fill::Words((0..tokens).collect())),
        ("seeds", Fill::Words(vec![11, 12])),
        ("drawn", Fill::Below(1)),
    ];
    let case = Case {
        step: StepValues { bf16_noise: true, ..step(tokens) },
        fills: &fills,
        tolerance: 0.0,
        ..Case::default()
    };
    let mut first: Option<Vec<u32>> = None;
    for states in case.states(|b| append_sample(b, [1, tokens, 1], false)) {
        let scores = &states["scores"];
        let noise = || scores.iter().map(|&bits| f32::from_bits(bits));
        let (least, most) = (noise().fold(9.0, f32::min), noise().fold(-9.0, f32::max));
        assert_eq!((least, most), (-3.828_125, 5.531_25));
        let share = |of: f32| noise().filter(|&g| g == of).count() as f64 / f64::from(tokens);
        // 2^-8 and 2^-9, within four standard deviations.
        assert!((share(most) - 0.003_906).abs() < 7e-4, "{}", share(most));
        assert!((share(least) - 0.001_953).abs() < 5e-4, "{}", share(least));
        // Both executors round to the same values.
        assert_eq!(first.get_or_insert_with(|| scores.clone()), scores);
    }
}

#[test]
fn top_k_and_commit() {
    for (images, tokens, masked, reveal) in [
        (1, 1, 1, 1),
        (2, 64, 64, 1),
        (3, 300, 257, 100),
        (1, 1024, 1000, 999),
        (2, 4096, 4096, 300),
        (2, 64, 10, 10),
    ] {
        let step = StepValues { masked, reveal, ..StepValues::default() };
        // Few distinct scores: ties everywhere; and a NaN.
        let scores =
            (0..images * tokens).map(|i| if i == 5 { f32::NAN } else { (i * 31 % 7) as f32 - 3.0 }.to_bits());
        Case { step, fills: &[("scores", Fill::Words(scores.collect()))], ..Case::default() }.check(
            F32,
            |b| {
                let scores = b.state("scores", images, tokens, Float);
                let chosen = b.state("chosen", images, tokens, Integer);
                b.push(TopK {
                    scores,
                    chosen,
                    images,
                    tokens,
                    masked: Extent::symbolic(1, Symbol::Masked, tokens),
                    take: Take::Reveal,
                });
            },
        );
        let positions = (0..images).flat_map(|_| 0..tokens).collect();
        let fills = [
            ("positions", Fill::Words(positions)),
            ("chosen", Fill::Below(2)),
            ("drawn", Fill::Below(1000)),
            ("ids", Fill::Below(1000)),
            ("new_ids", Fill::Below(1000)),
            ("new_positions", Fill::Below(1000)),
        ];
        Case { step, fills: &fills, ..Case::default() }.check(F32, |b| {
            let kernel = Commit {
                chosen: b.state("chosen", images, tokens, Integer),
                drawn: b.state("drawn", images, tokens, Integer),
                positions: b.state("positions", images, tokens, Integer),
                ids: b.state("ids", images, tokens, Integer),
                new_ids: b.state("new_ids", images, tokens, Integer),
                new_positions: b.state("new_positions", images, tokens, Integer),
                images,
                tokens,
                masked: Extent::symbolic(1, Symbol::Masked, tokens),
            };
            b.push(kernel);
        });
    }
}

#[test]
fn scores_by_rank_and_entries_that_stand_apart() {
    for (images, tokens, columns, masked, reveal, distance) in [
        (1, 1, 1, 1, 1, 1.5),
        (2, 64, 8, 64, 9, 1.5),
        (3, 300, 20, 257, 40, 3.0),
        (1, 1024, 32, 1000, 200, 2.3),
        (2, 77, 11, 10, 10, 100.0),
        (2, 64, 8, 64, 9, 0.0),
    ] {
        let step =
            StepValues { masked, reveal, distance, ranked: distance != 100.0, ..StepValues::default() };
        let extent = Extent::symbolic(1, Symbol::Masked, tokens);
        let positions: Vec<u32> = (0..images).flat_map(|_| 0..tokens).collect();
        let ranks: Vec<u32> = (0..tokens).map(|token| (token * 7919) % tokens).collect();
        let fills = [("ranks", Fill::Words(ranks)), ("positions", Fill::Words(positions.clone()))];
        Case { step, fills: &fills, ..Case::default() }.check(F32, |b| {
            let ranks = b.state("ranks", tokens, 1, Integer);
            let positions = b.state("positions", images, tokens, Integer);
            let scores = b.state("scores", images, tokens, Float);
            b.push(RankScores { ranks, positions, scores, images, tokens, masked: extent });
        });
        // Few distinct scores: ties everywhere; and a NaN.
        let scores =
            (0..images * tokens).map(|i| if i == 5 { f32::NAN } else { (i * 31 % 7) as f32 - 3.0 }.to_bits());
        let fills = [("scores", Fill::Words(scores.collect())), ("positions", Fill::Words(positions))];
        Case { step, fills: &fills, ..Case::default() }.check(F32, |b| {
            let scores = b.state("scores", images, tokens, Float);
            let positions = b.state("positions", images, tokens, Integer);
            let chosen = b.state("chosen", images, tokens, Integer);
            b.push(SpreadK { scores, positions, chosen, images, tokens, columns, masked: extent });
        });
    }
}

#[test]
fn unite_and_outside_union() {
    for (images, tokens, masked, unite, united) in [
        (1, 1, 1, 1, 0),
        (2, 64, 64, 64, 3),
        (3, 300, 257, 100, 0),
        (2, 64, 10, 4, 9),
        // Not asked, and at a predicted step of a union.
        (2, 64, 10, 0, 0),
        (2, 300, 290, 0, 7),
    ] {
        let step = StepValues { masked, unite, united, ..StepValues::default() };
        let extent = Extent::symbolic(1, Symbol::Masked, tokens);
        let positions: Vec<u32> =
            (0..images).flat_map(|i| (0..tokens).map(move |t| (t * 7 + i) % tokens)).collect();
        // Few distinct scores: ties everywhere; and a NaN.
        let scores =
            (0..images * tokens).map(|i| if i == 5 { f32::NAN } else { (i * 31 % 7) as f32 - 3.0 }.to_bits());
        let fills = [
            ("scores", Fill::Words(scores.collect())),
            ("positions", Fill::Words(positions)),
            ("marked", Fill::Below(2)),
        ];
        let states = |b: &mut Builder| {
            let scores = b.state("scores", images, tokens, Float);
            let [positions, marked] =
                ["positions", "marked"].map(|name| b.state(name, images, tokens, Integer));
            (scores, positions, marked)
        };
        Case { step, fills: &fills, ..Case::default() }.check(F32, |b| {
            let (scores, positions, marked) = states(b);
            let listed = b.state("listed", images, tokens, Integer);
            b.push(Unite { scores, positions, marked, listed, images, tokens, masked: extent });
        });
        Case { step, fills: &fills, ..Case::default() }.check(F32, |b| {
            let (scores, positions, marked) = states(b);
            b.push(OutsideUnion { marked, positions, scores, images, tokens, masked: extent });
        });
    }
}
