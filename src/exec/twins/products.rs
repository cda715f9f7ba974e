//! Matrix products: linear layers, the head at masked positions, the nearest code.

use super::{Case, FORMATS, Fill};
use crate::kernels::WeightFormat::F32;
use crate::kernels::guide_rows::{GuideRows, Sequences};
use crate::kernels::head_max::HeadMax;
use crate::kernels::linear::{Activation, Linear, Window};
use crate::kernels::masked_logits::{FeatureRows, MaskedLogits};
use crate::kernels::nearest_code::NearestCode;
use crate::kernels::{Extent, ImagePlacement, RowRange, StepValues, Symbol};
use crate::program::Element::{F32 as Float, U32 as Integer};
use crate::program::Layout;

#[test]
fn linear() {
    for format in FORMATS {
        for (rows, inner, outer, activation, accumulate) in [
            (1, 1, 1, Activation::None, false),
            (1, 256, 91, Activation::Silu, false),
            (3, 91, 32, Activation::None, false),
            (65, 64, 192, Activation::None, false),
            (130, 33, 65, Activation::Gelu, false),
            (67, 181, 7, Activation::None, true),
            (64, 128, 64, Activation::Gelu, true),
        ] {
            Case { tolerance: 3e-5, ..Case::default() }.check(format, |b| {
                let x = b.state("x", rows, inner, Float);
                let y = b.state("y", rows, outer, Float);
                // A packed projection of which the last rows are used.
                let weight = b.weight("w.weight", &[(outer + 5) as usize, inner as usize], Layout::Matrix);
                let bias = Some(b.vector("w.bias", outer + 5));
                let (rows, weight_row) = (Extent::fixed(rows), 5);
                let format = b.format(weight);
                b.push(Linear {
                    x,
                    weight,
                    format,
                    bias,
                    y,
                    rows,
                    inner,
                    outer,
                    weight_row,
                    bias_row: weight_row,
                    activation,
                    accumulate,
                    window: Window::default(),
                });
            });
            // The same in two parts by row, each of two parts by column, the second of a tensor of its own.
            Case { tolerance: 3e-5, ..Case::default() }.check(format, |b| {
                let x = b.state("x", rows, inner, Float);
                let y = b.state("y", rows, outer, Float);
                let bias = Some(b.vector("w.bias", outer + 5));
                let (first_rows, first_columns) = (rows.div_ceil(3), outer.div_ceil(2));
                let y_width = outer;
                for (row, rows) in [(0, first_rows), (first_rows, rows - first_rows)] {
                    for (column, outer) in [(0, first_columns), (first_columns, outer - first_columns)] {
                        let shape = [y_width as usize, inner as usize];
                        let layout = Layout::Rows { first: column, count: outer };
                        if rows * outer == 0 {
                            continue;
                        }
                        let weight = b.weight("w.weight", &shape, layout);
                        let format = b.format(weight);
                        let window = Window { x_row: row, y_row: row, y_column: column, y_width };
                        b.push(Linear {
                            x,
                            weight,
                            format,
                            bias,
                            y,
                            rows: Extent::fixed(rows),
                            inner,
                            outer,
                            weight_row: 0,
                            bias_row: column + 5,
                            activation,
                            accumulate,
                            window,
                        });
                    }
                }
            });
        }
    }
}

#[test]
fn linear_follows_the_step() {
    for new_tokens in [0, 1, 5, 9] {
        Case { step: StepValues { new_tokens, ..StepValues::default() }, tolerance: 3e-5, ..Case::default() }
            .check(F32, |b| {
                let x = b.state("x", 18, 24, Float);
                let y = b.state("y", 18, 12, Float);
                let weight = b.weight("w.weight", &[12, 24], Layout::Matrix);
                let format = b.format(weight);
                let rows = Extent::symbolic(2, Symbol::NewTokens, 9);
                b.push(Linear {
                    x,
                    weight,
                    format,
                    bias: None,
                    y,
                    rows,
                    inner: 24,
                    outer: 12,
                    weight_row: 0,
                    bias_row: 0,
                    activation: Activation::None,
                    accumulate: false,
                    window: Window::default(),
                });
            });
    }
}

#[test]
fn masked_logits() {
    for format in FORMATS {
        for (images, sequences, tokens, masked, hidden, codebook, gathered) in [
            (1, 1, 1, 1, 4, 3, false),
            (2, 4, 64, 17, 64, 32, false),
            (2, 2, 64, 17, 64, 65, true),
            (1, 2, 100, 100, 30, 65, false),
            (3, 3, 100, 99, 30, 33, true),
            (3, 3, 16, 0, 8, 8, false),
        ] {
            let positions =
                (0..images).flat_map(|i| (0..tokens).map(move |t| (t * 7 + i) % tokens)).collect();
            let step = StepValues { masked, ..StepValues::default() };
            Case {
                step,
                fills: &[("positions", Fill::Words(positions))],
                tolerance: 3e-5,
                ..Case::default()
            }
            .check(format, |b| {
                let features = b.state("features", sequences * (tokens + 1), hidden, Float);
                let positions = b.state("positions", images, tokens, Integer);
                let logits = b.state("logits", sequences * tokens, codebook, Float);
                let table = b.weight("t.weight", &[codebook as usize + 4, hidden as usize], Layout::Matrix);
                let bias = b.weight(
                    "t.bias",
                    &[tokens as usize + 1, codebook as usize + 4],
                    Layout::Corner { rows: tokens, columns: codebook },
                );
                let format = b.format(table);
                let masked = Extent::symbolic(1, Symbol::Masked, tokens);
                b.push(MaskedLogits {
                    features,
                    positions,
                    table,
                    format,
                    bias: Some(bias),
                    logits,
                    sequences,
                    images,
                    tokens,
                    rows: if gathered { FeatureRows::Gathered } else { FeatureRows::plain(tokens + 1) },
                    first_sequence: 0,
                    masked,
                    hidden,
                    codebook,
                    codes: RowRange { first: 0, count: codebook },
                    first_masked: 0,
                });
            });
        }
    }
}

/// Of sequences with and without condition in one tensor, as a batch of classes has them, and in two of different lengths.
#[test]
fn guide_rows() {
    for (images, tokens, masked, first_masked, width, apart) in [
        (1, 1, 1, 0, 1, false),
        (2, 64, 17, 0, 64, false),
        (3, 100, 99, 0, 30, true),
        (2, 30, 25, 6, 132, true),
        (2, 30, 4, 6, 8, false),
        (1, 16, 0, 0, 8, true),
    ] {
        let positions = (0..images).flat_map(|i| (0..tokens).map(move |t| (t * 7 + i) % tokens)).collect();
        let step = StepValues { masked, guidance: 1.75, ..StepValues::default() };
        let fills = [("positions", Fill::Words(positions)), ("features", Fill::Random(3.0))];
        Case { step, fills: &fills, tolerance: 1e-6, ..Case::default() }.check(F32, |b| {
            let range = RowRange { first: first_masked, count: tokens - first_masked };
            let sequences = |features, first, start, columns| {
                let placement = ImagePlacement { start, columns };
                let length = placement.row(tokens - 1) + 2;
                Sequences { features, first, length, placement }
            };
            let [with, without] = if apart {
                let rows = images * (2 * tokens + 12);
                let [with, without] = ["features", "others"].map(|name| b.state(name, rows, width, Float));
                [sequences(with, 0, 9, 6), sequences(without, 0, 2, 6)]
            } else {
                let features = b.state("features", 2 * images * (tokens + 1), width, Float);
                let first = images * (tokens + 1);
                [sequences(features, 0, 0, u32::MAX), sequences(features, first, 0, u32::MAX)]
            };
            let kernel = GuideRows {
                with,
                without,
                positions: b.state("positions", images, tokens, Integer),
                y: b.state("y", images * range.count, width, Float),
                images,
                tokens,
                masked: Extent::part(1, Symbol::Masked, range),
                first_masked,
                width,
            };
            b.push(kernel);
        });
    }
}

/// A head in two tensors, and only the positions from the fifth masked one on.
#[test]
fn masked_logits_of_two_sequences_of_different_lengths() {
    for (format, masked) in FORMATS.into_iter().zip([0, 1, 30, 6, 29]) {
        let positions = (0..30).map(|i| i * 7 % 30).collect();
        for first_masked in [0, 5] {
            let step = StepValues { masked, ..StepValues::default() };
            let fills = [("positions", Fill::Words(Vec::clone(&positions)))];
            Case { step, fills: &fills, tolerance: 3e-5, ..Case::default() }.check(format, |b| {
                let positions = b.state("positions", 1, 30, Integer);
                let logits = b.state("logits", 2 * 30, 70, Float);
                for (first_sequence, start) in [(0, 9), (1, 2)] {
                    // Five rows of six, and a separator after each.
                    let sequence_length = start + 35;
                    let features = b.state(&format!("features.{first_sequence}"), sequence_length, 20, Float);
                    for codes in [RowRange { first: 0, count: 41 }, RowRange { first: 41, count: 29 }] {
                        let layout = Layout::Rows { first: 3 + codes.first, count: codes.count };
                        let table = b.weight("t.weight", &[75, 20], layout);
                        let format = b.format(table);
                        let range = RowRange { first: first_masked, count: 30 - first_masked };
                        let kernel = MaskedLogits {
                            features,
                            positions,
                            table,
                            format,
                            bias: None,
                            logits,
                            sequences: 1,
                            images: 1,
                            tokens: 30,
                            rows: FeatureRows::Placed {
                                length: sequence_length,
                                placement: ImagePlacement { start, columns: 6 },
                            },
                            first_sequence,
                            masked: Extent::part(1, Symbol::Masked, range),
                            hidden: 20,
                            codebook: 70,
                            codes,
                            first_masked,
                        };
                        b.push(kernel);
                    }
                }
            });
        }
    }
}

/// In one tensor, and in two.
#[test]
fn head_max() {
    for format in FORMATS {
        for (rows, inner, outer, bias_rows, first_codes) in [
            (1, 1, 1, 0, 1),
            (65, 64, 40, 0, 40),
            (130, 33, 64, 13, 64),
            (66, 30, 200, 33, 128),
            (3, 8, 65, 3, 64),
        ] {
            Case { tolerance: 3e-5, ..Case::default() }.check(format, |b| {
                let x = b.state("x", rows, inner, Float);
                let y = b.state("y", rows, HeadMax::width(outer), Float);
                let bias = (bias_rows > 0).then(|| {
                    let shape = [bias_rows as usize, outer as usize];
                    (b.weight("w.position_bias", &shape, Layout::Dense), bias_rows)
                });
                for (first_code, codes) in [(0, first_codes), (first_codes, outer - first_codes)] {
                    if codes == 0 {
                        continue;
                    }
                    let shape = [(outer + 7) as usize, inner as usize];
                    let layout = Layout::Rows { first: first_code, count: codes + 5 };
                    let weight = b.weight("w.weight", &shape, layout);
                    let codes = RowRange { first: first_code, count: codes };
                    let (format, weight_row) = (b.format(weight), 5);
                    b.push(HeadMax { x, weight, format, bias, y, rows, inner, codes, outer, weight_row });
                }
            });
        }
    }
}

#[test]
fn nearest_code() {
    for (rows, width, codes) in [(1, 1, 1), (64, 16, 32), (130, 7, 513)] {
        Case::default().check(F32, |b| {
            let z = b.state("z", rows, width, Float);
            let codebook = b.weight("c.embedding.weight", &[codes as usize, width as usize], Layout::Table);
            let codes_out = b.state("codes", rows, 1, Integer);
            b.push(NearestCode { z, codebook, codes_out, rows: Extent::fixed(rows), width, codes });
        });
    }
}
