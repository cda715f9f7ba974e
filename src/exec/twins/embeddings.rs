//! From ids and numbers to rows.

use super::{Case, FORMATS, Fill};
use crate::kernels::WeightFormat::F32;
use crate::kernels::embed_rows::EmbedRows;
use crate::kernels::embed_sequence::{EmbedSequence, IMAGE};
use crate::kernels::embed_tokens::EmbedTokens;
use crate::kernels::time_embedding::TimeEmbedding;
use crate::kernels::{Extent, RowRange, StepValues, Symbol};
use crate::program::Element::{F32 as Float, U32 as Integer};
use crate::program::Layout;

#[test]
fn embeddings() {
    for format in FORMATS {
        for (images, sequences, tokens, width, vocabulary) in
            [(1, 1, 1, 1, 3), (2, 4, 64, 30, 44), (3, 3, 16, 64, 99)]
        {
            // Ids beyond the vocabulary read its last row on both.
            let fills = [("ids", Fill::Below(vocabulary + 3)), ("labels", Fill::Below(vocabulary))];
            Case { fills: &fills, ..Case::default() }.check(format, |b| {
                let table =
                    b.weight("t.tok_emb.weight", &[vocabulary as usize, width as usize], Layout::Matrix);
                let position =
                    b.weight("t.pos_emb", &[1, tokens as usize + 1, width as usize], Layout::Dense);
                let ids = b.state("ids", images, tokens, Integer);
                let labels = b.state("labels", sequences, 1, Integer);
                let x = b.state("x", sequences * (tokens + 1), width, Float);
                let format = b.format(table);
                b.push(EmbedTokens {
                    ids,
                    labels,
                    table,
                    format,
                    position,
                    x,
                    list: None,
                    noise: None,
                    images,
                    rows: Extent::fixed(sequences * (tokens + 1)),
                    tokens,
                    width,
                    vocabulary,
                });
            });
            // Some rows in an order of their own, a class token among them.
            let all = sequences * (tokens + 1);
            let listed = all.div_ceil(3);
            let list = (0..listed).map(|r| all - 1 - 2 * r % all).collect();
            let fills = [fills[0].clone(), fills[1].clone(), ("list", Fill::Words(list))];
            Case { fills: &fills, ..Case::default() }.check(format, |b| {
                let table =
                    b.weight("t.tok_emb.weight", &[vocabulary as usize, width as usize], Layout::Matrix);
                let position =
                    b.weight("t.pos_emb", &[1, tokens as usize + 1, width as usize], Layout::Dense);
                let ids = b.state("ids", images, tokens, Integer);
                let labels = b.state("labels", sequences, 1, Integer);
                let list = Some(b.state("list", listed, 1, Integer));
                let x = b.state("x", listed, width, Float);
                let (format, rows) = (b.format(table), Extent::fixed(listed));
                b.push(EmbedTokens {
                    ids,
                    labels,
                    table,
                    format,
                    position,
                    x,
                    list,
                    noise: None,
                    images,
                    rows,
                    tokens,
                    width,
                    vocabulary,
                });
            });
            // With noise in the image's tokens. WGSL promises sines to 2^-11.
            let seeds = (0..2 * images).map(|i| i * 77 + 5).collect();
            let noisy = [fills[0].clone(), fills[1].clone(), ("seeds", Fill::Words(seeds))];
            for noise in [0.1, 1.0] {
                let tolerance = 2e-3 * noise;
                Case { fills: &noisy, tolerance, ..Case::default() }.check(format, |b| {
                    let table =
                        b.weight("t.tok_emb.weight", &[vocabulary as usize, width as usize], Layout::Matrix);
                    let position =
                        b.weight("t.pos_emb", &[1, tokens as usize + 1, width as usize], Layout::Dense);
                    let ids = b.state("ids", images, tokens, Integer);
                    let labels = b.state("labels", sequences, 1, Integer);
                    let seeds = b.state("seeds", images, 2, Integer);
                    let x = b.state("x", sequences * (tokens + 1), width, Float);
                    b.push(EmbedTokens {
                        ids,
                        labels,
                        table,
                        format: b.format(table),
                        position,
                        x,
                        list: None,
                        noise: Some((noise, seeds)),
                        images,
                        rows: Extent::fixed(sequences * (tokens + 1)),
                        tokens,
                        width,
                        vocabulary,
                    });
                });
            }
            for new_tokens in [0, 1, tokens] {
                let fills = [("ids", Fill::Below(vocabulary)), ("positions", Fill::Below(tokens + 2))];
                let step = StepValues { new_tokens, ..StepValues::default() };
                Case { fills: &fills, step, ..Case::default() }.check(format, |b| {
                    let table =
                        b.weight("t.tok_emb.weight", &[vocabulary as usize, width as usize], Layout::Matrix);
                    let position =
                        b.weight("t.pos_emb", &[1, tokens as usize + 1, width as usize], Layout::Dense);
                    let ids = b.state("ids", images, tokens, Integer);
                    let positions = b.state("positions", images, tokens, Integer);
                    let x = b.state("x", images * tokens, width, Float);
                    let format = b.format(table);
                    let entries = Extent::symbolic(1, Symbol::NewTokens, tokens);
                    b.push(EmbedRows {
                        ids,
                        positions,
                        table,
                        format,
                        position,
                        x,
                        images,
                        capacity: tokens,
                        entries,
                        width,
                        vocabulary,
                        length: tokens + 1,
                    });
                });
            }
        }
    }
}

#[test]
fn embed_sequence() {
    // Text, an image token, a code beyond the codebook (masked), an id beyond the vocabulary.
    let template = vec![3, IMAGE + 2, 5, IMAGE, 10_000];
    let fills = [
        ("template", Fill::Words(template)),
        ("codes", Fill::Words(vec![4, 40, 39])),
        ("list", Fill::Words(vec![3, 1, 4, 0, 6, 5, 2, 7])),
    ];
    for format in FORMATS {
        for (width, prefix, new_tokens) in [(1, 5, 0), (30, 5, 3), (200, 0, 2), (64, 0, 0)] {
            let step = StepValues { new_tokens, ..StepValues::default() };
            Case { step, fills: &fills, ..Case::default() }.check(format, |b| {
                let template = b.state("template", 1, 5, Integer);
                let codes = b.state("codes", 1, 3, Integer);
                let list = (new_tokens == 3).then(|| b.state("list", 1, 8, Integer));
                let x = b.state("x", 8, width, Float);
                // A table in one tensor, or in two.
                let whole = [RowRange { first: 0, count: 60 }];
                let parts = [RowRange { first: 0, count: 24 }, RowRange { first: 24, count: 36 }];
                for &held in if width == 200 { &whole[..] } else { &parts[..] } {
                    let layout = Layout::Rows { first: held.first, count: held.count };
                    let table = b.weight("t.weight", &[60, width as usize], layout);
                    let kernel = EmbedSequence {
                        template,
                        codes,
                        list,
                        table,
                        format: b.format(table),
                        x,
                        rows: Extent::symbolic(1, Symbol::NewTokens, 3).plus(prefix),
                        entries: Extent::symbolic(1, Symbol::NewTokens, 3).plus(prefix),
                        prefix,
                        length: 5,
                        tokens: 3,
                        width,
                        vocabulary: 60,
                        held,
                        first_code: 20,
                        codebook: 40,
                        mask: 17,
                    };
                    b.push(kernel);
                }
            });
        }
    }
}

/// Two images: each has a template and tokens of its own, and its rows follow those of the one before.
#[test]
fn embed_sequences_of_a_batch() {
    let template = vec![3, IMAGE + 2, 5, IMAGE + 3, 10_000, IMAGE + 5];
    let fills = [("template", Fill::Words(template)), ("codes", Fill::Words(vec![4, 40, 39, 7, 1, 41]))];
    for (prefix, new_tokens) in [(3, 0), (2, 2), (0, 3)] {
        let step = StepValues { new_tokens, ..StepValues::default() };
        Case { step, fills: &fills, ..Case::default() }.check(F32, |b| {
            let of = |images| Extent::symbolic(images, Symbol::NewTokens, 3).plus(images * prefix);
            let held = RowRange::all(60);
            let table = b.weight("t.weight", &[60, 30], Layout::Rows { first: 0, count: 60 });
            let kernel = EmbedSequence {
                template: b.state("template", 2, 3, Integer),
                codes: b.state("codes", 2, 3, Integer),
                list: None,
                table,
                format: b.format(table),
                x: b.state("x", 2 * (3 + prefix), 30, Float),
                rows: of(2),
                entries: of(1),
                prefix,
                length: 3,
                tokens: 3,
                width: 30,
                vocabulary: 60,
                held,
                first_code: 20,
                codebook: 40,
                mask: 17,
            };
            b.push(kernel);
        });
    }
}

#[test]
fn time_embedding() {
    for mask_ratio in [0.0, 1.0 / 1024.0, 0.106_445, 0.5, 0.999_023, 1.0] {
        for width in [2, 64, 256] {
            // The frequencies come from `exp`, whose last bits devices round in their own ways: at an angle of
            // 1000 that is a few 1e-4.
            let step = StepValues { mask_ratio, ..StepValues::default() };
            Case { step, tolerance: 5e-4, ..Case::default() }.check(F32, |b| {
                let y = b.state("y", 1, width, Float);
                b.push(TimeEmbedding { y, width });
            });
        }
    }
}
