//! From logits to revealed tokens.

use super::{Case, Fill};
use crate::kernels::WeightFormat::F32;
use crate::kernels::commit::Commit;
use crate::kernels::sample::Sample;
use crate::kernels::top_k::TopK;
use crate::kernels::{Extent, StepValues, Symbol};
use crate::program::Element::{F32 as Float, U32 as Integer};

#[test]
fn sample() {
    for (images, tokens, masked, codebook) in
        [(1, 1, 1, 1), (2, 64, 64, 32), (3, 100, 37, 1025), (2, 16, 0, 8)]
    {
        for (guided, recorded, random_choice) in
            [(false, false, false), (true, false, false), (true, true, false), (true, false, true)]
        {
            let positions =
                (0..images).flat_map(|i| (0..tokens).map(move |t| (t * 3 + i) % tokens)).collect();
            let fills = [
                ("positions", Fill::Words(positions)),
                ("seeds", Fill::Below(u32::MAX)),
                ("logits", Fill::Random(5.0)),
                ("drawn", Fill::Below(9)),
                ("noise_token", Fill::Random(4.0)),
            ];
            let step = StepValues {
                step: 3,
                masked,
                guidance: 2.8,
                softmax_temperature: 1.3,
                choice_temperature: 4.5,
                random_choice,
                ..StepValues::default()
            };
            Case { step, fills: &fills, tolerance: 3e-5 }.check(F32, |b| {
                let sequences = if guided { 2 * images } else { images };
                let kernel = Sample {
                    logits: b.state("logits", sequences * tokens, codebook, Float),
                    positions: b.state("positions", images, tokens, Integer),
                    seeds: b.state("seeds", images, 2, Integer),
                    recorded: recorded.then(|| {
                        let token = b.state("noise_token", images * tokens, codebook, Float);
                        (token, b.state("noise_choice", images, tokens, Float))
                    }),
                    drawn: b.state("drawn", images, tokens, Integer),
                    scores: b.state("scores", images, tokens, Float),
                    images,
                    tokens,
                    masked: Extent::symbolic(1, Symbol::Masked, tokens),
                    codebook,
                    guided,
                };
                b.push(kernel);
            });
        }
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
