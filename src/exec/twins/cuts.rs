//! Products however the planner may cut them: every tile, and K in parts.

use super::{Case, Fill, test_gpu};
use crate::eval::random::RandomWeights;
use crate::exec::Executor as _;
use crate::exec::gpu::GpuExecutor;
use crate::exec::gpu::planner::Cut;
use crate::kernels::conv2d::ConvForm;
use crate::kernels::head_max::HeadMax;
use crate::kernels::linear::{Activation, Linear, Window};
use crate::kernels::masked_logits::{FeatureRows, MaskedLogits};
use crate::kernels::split::{LinearParts, SumParts};
use crate::kernels::{Extent, RowRange, StepValues, Symbol, WeightFormat};
use crate::models::build;
use crate::program::Element::{F32 as Float, U32 as Integer};
use crate::program::{Builder, Formats, Layout};
use pollster::block_on;

/// What the case's device is not given by any plan: all tiles, each with parts that K does and does not fill.
const CUTS: [Cut; 8] = [
    Cut { rows: 16, parts: 1 },
    Cut { rows: 32, parts: 1 },
    Cut { rows: 64, parts: 1 },
    Cut { rows: 128, parts: 1 },
    Cut { rows: 16, parts: 2 },
    Cut { rows: 32, parts: 8 },
    Cut { rows: 64, parts: 4 },
    Cut { rows: 128, parts: 2 },
];
const FORMATS: [WeightFormat; 3] = [WeightFormat::F32, WeightFormat::F16, WeightFormat::Int4 { group: 32 }];

/// A linear layer with everything that follows a product, a part of a larger tensor.
fn a_linear(b: &mut Builder, rows: u32, inner: u32, outer: u32) -> Linear {
    let x = b.state("x", rows + 2, inner, Float);
    let y = b.state("y", rows + 3, outer + 5, Float);
    let weight = b.weight("w.weight", &[(outer + 3) as usize, inner as usize], Layout::Matrix);
    let (bias, format) = (Some(b.vector("w.bias", outer + 4)), b.format(weight));
    let (weight_row, bias_row, y_width) = (3, 4, outer + 5);
    Linear {
        x,
        weight,
        format,
        bias,
        y,
        rows: Extent::fixed(rows),
        inner,
        outer,
        weight_row,
        bias_row,
        activation: Activation::Gelu,
        accumulate: true,
        window: Window { x_row: 2, y_row: 1, y_column: 4, y_width },
    }
}

/// Every kind of product, over sizes that no tile divides.
fn products(b: &mut Builder, quantised: bool) {
    let (rows, inner, outer) = (150, 612, 70);
    let linear = a_linear(b, rows, inner, outer);
    b.push(linear);
    let layer = b.layer("short", 9, inner);
    let x = b.state("few", 3, inner, Float);
    let y = b.state("few.y", 3, 9, Float);
    b.linear_out(x, layer, y);
    let features = b.state("features", 90, 24, Float);
    let positions = b.state("positions", 1, 90, Integer);
    let logits = b.state("logits", 90, 66, Float);
    let table = b.weight("t.weight", &[66, 24], Layout::Matrix);
    let format = b.format(table);
    b.push(MaskedLogits {
        features,
        positions,
        table,
        format,
        bias: None,
        logits,
        sequences: 1,
        images: 1,
        tokens: 90,
        rows: FeatureRows::plain(90),
        first_sequence: 0,
        masked: Extent::symbolic(1, Symbol::Masked, 90),
        hidden: 24,
        codebook: 66,
        codes: RowRange { first: 0, count: 66 },
        first_masked: 0,
    });
    let (rows, inner, outer) = (90, 24, 66);
    let y = b.state("largest", rows, HeadMax::width(outer), Float);
    let codes = RowRange { first: 0, count: outer };
    b.push(HeadMax {
        x: features,
        weight: table,
        format,
        bias: None,
        y,
        rows,
        inner,
        codes,
        outer,
        weight_row: 0,
    });
    if !quantised {
        let x = b.state("image", 2 * 9 * 11, 6, Float);
        let y = b.state("convolved", 2 * 9 * 11, 67, Float);
        b.conv3x3_into(x, "c", 67, [2, 9, 11], ConvForm::Same, y, false);
    }
}

fn step() -> StepValues {
    StepValues { masked: 75, ..StepValues::default() }
}

#[test]
fn every_product_agrees_with_its_twin_however_it_is_cut() {
    let positions = Fill::Words((0..90).map(|i| i * 7 % 90).collect());
    // How weights are stored and how products are cut know nothing of one another.
    for (cut, format) in CUTS.into_iter().zip(FORMATS.into_iter().cycle()) {
        let fills = [("positions", positions.clone())];
        let case = Case { step: step(), fills: &fills, tolerance: 1e-4, cut: Some(cut) };
        case.check(format, |b| products(b, format.quantization().is_some()));
    }
}

/// What a portable device is planned as may depend on its kind: its tokens may not.
#[test]
fn tiles_do_not_change_a_bit_of_a_result() {
    let Some(gpu) = test_gpu() else { return };
    let made = CUTS.iter().filter(|cut| cut.parts == 1).map(|&cut| {
        let mut gpu = gpu.clone();
        gpu.planner = gpu.planner.always(cut);
        let program = build("case", Formats::F16, |b| b.block(|b| products(b, false))).unwrap();
        let mut device = GpuExecutor::new(gpu, vec![program], &mut RandomWeights { seed: 3 }).unwrap();
        device.prepare(&[step()]).unwrap();
        for (name, len) in [("x", 152 * 612), ("few", 3 * 612), ("features", 90 * 24), ("image", 198 * 6)] {
            device.write(name, &super::floats(1, len, 1.0)).unwrap();
        }
        device.write("y", &vec![0; 153 * 75]).unwrap();
        device.write("positions", &(0..90).collect::<Vec<u32>>()).unwrap();
        device.run(&[0], 0, false).unwrap();
        let results = [
            ("y", 153 * 75),
            ("few.y", 27),
            ("logits", 75 * 66),
            ("largest", 90 * 32),
            ("convolved", 198 * 67),
        ];
        results.map(|(name, len)| (name, block_on(device.read(name, len)).unwrap()))
    });
    let made: Vec<_> = made.collect();
    for other in &made[1..] {
        for ((name, wanted), (_, got)) in made[0].iter().zip(other) {
            assert!(wanted.iter().any(|&bits| f32::from_bits(bits).abs() > 0.1), "{name} has numbers");
            assert_eq!(got, wanted, "{name}");
        }
    }
}

/// Both halves of a product that is split, on every tier.
#[test]
fn sums_of_parts() {
    for format in FORMATS {
        for (rows, inner, outer, parts) in [(70, 91, 65, 2), (5, 612, 9, 4), (1, 3, 1, 8), (33, 300, 64, 8)] {
            let case = Case { tolerance: 1e-4, ..Case::default() };
            case.check(format, |b| {
                let whole = a_linear(b, rows, inner, outer);
                let sums = b.state("sums", parts * rows, outer, Float);
                b.push(LinearParts { whole, parts, sums });
            });
            case.check(format, |b| {
                let whole = a_linear(b, rows, inner, outer);
                let sums = b.state("sums", parts * rows, outer, Float);
                b.push(SumParts { whole, parts, sums });
            });
        }
    }
}
