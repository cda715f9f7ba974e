//! Products and their epilogues against plain sums, and the shader against the twin.

use super::testing::{Contents, agrees_with_shader, assert_close, fastest_ms, padded_rows, validate, values};
use super::*;
use proptest::prelude::*;

fn kernel(rows: u32, inner: u32, outer: u32) -> Linear {
    Linear {
        x: Slot(0),
        weight: Slot(1),
        format: WeightFormat::F32,
        bias: Some(Slot(2)),
        y: Slot(3),
        rows: Extent::fixed(rows),
        inner,
        outer,
        weight_row: 0,
        bias_row: 0,
        window: Window::default(),
        activation: Activation::None,
        accumulate: false,
    }
}

fn run(k: &Linear, x: &[f32], weight: &[f32], bias: &[f32], y: &mut [f32]) {
    let mut io = Buffers::default();
    io.bind_read(1, x);
    io.bind_read(2, weight);
    if k.bias.is_some() {
        io.bind_read(3, bias);
    }
    io.bind_write(4, y);
    k.run(&StepValues::default(), &mut io);
}

fn check(k: &Linear) {
    let p = k.at(&StepValues::default());
    let [rows, inner, outer, first, bias_row] =
        [p.rows, p.inner, p.outer, p.weight_row, p.bias_row].map(|size| size as usize);
    let [x_row, start, width] = [p.x_row, p.y_start, p.y_width].map(|size| size as usize);
    let x = values((x_row + rows) * inner, 1);
    let dense = values((first + outer + 1) * inner, 2);
    let bias = values(bias_row + outer + 1, 3);
    let old = values(start + rows * width + 3, 4);
    let mut y = old.clone();
    run(k, &x, &padded_rows(&dense, inner), &bias, &mut y);
    let wanted = old.iter().enumerate().map(|(at, &old)| {
        let (r, o) = (at.wrapping_sub(start) / width, at.wrapping_sub(start) % width);
        if at < start || r >= rows || o >= outer {
            return f64::from(old); // not a part of the result
        }
        let (x, w) = (&x[(x_row + r) * inner..][..inner], &dense[(first + o) * inner..][..inner]);
        let mut sum: f64 = x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
        if k.bias.is_some() {
            sum += f64::from(bias[bias_row + o]);
        }
        let mut value = [sum as f32];
        k.activation.apply(&mut value);
        f64::from(value[0]) + if k.accumulate { f64::from(old) } else { 0.0 }
    });
    assert_close(&y, wanted, &k.describe());
}

const ACTIVATIONS: [Activation; 3] = [Activation::None, Activation::Gelu, Activation::Silu];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_shape_and_epilogue_agrees_with_the_definition(
        (rows, inner, outer) in (1_u32..70, 1_u32..200, 1_u32..150),
        (weight_row, bias_row) in (0_u32..9, 0_u32..9),
        window in windows(),
        biased: bool,
        activation in prop::sample::select(&ACTIVATIONS[..]),
        accumulate: bool,
    ) {
        let bias = Some(Slot(2)).filter(|_| biased);
        let mut k = kernel(rows, inner, outer);
        k = Linear { weight_row, bias_row, bias, activation, accumulate, window, ..k };
        if k.window.y_width > 0 {
            k.window.y_width += k.window.y_column + outer;
        }
        check(&k);
    }
}

/// Parts of larger tensors; `y_width` is 0 or counts from the end of the part.
fn windows() -> impl Strategy<Value = Window> {
    let part = (0_u32..5, 0_u32..5, 0_u32..9, 1_u32..9)
        .prop_map(|(x_row, y_row, y_column, y_width)| Window { x_row, y_row, y_column, y_width });
    prop_oneof![Just(Window::default()), part]
}

#[test]
fn sizes_of_the_models_agree_with_the_definition() {
    for (rows, inner, outer) in
        [(1, 768, 1536), (2, 91, 181), (130, 181, 91), (1, 1, 1), (300, 3, 7), (65, 256, 768)]
    {
        check(&kernel(rows, inner, outer));
        check(&Linear { activation: Activation::Gelu, ..kernel(rows, inner, outer) });
        check(&Linear { bias: None, accumulate: true, ..kernel(rows, inner, outer) });
    }
}

#[test]
fn the_shader_agrees_with_the_twin() {
    for (rows, inner, outer, weight_row) in
        [(1, 8, 8, 0), (70, 91, 181, 3), (130, 68, 65, 0), (64, 64, 64, 1), (600, 3, 5, 0), (5, 768, 200, 7)]
    {
        for (format, activation, accumulate, biased) in [
            (WeightFormat::F32, Activation::None, false, true),
            (WeightFormat::F16, Activation::Gelu, false, true),
            (WeightFormat::F32, Activation::Silu, true, false),
            (WeightFormat::F16, Activation::None, true, true),
        ] {
            let bias = Some(Slot(2)).filter(|_| biased);
            let mut k = kernel(rows, inner, outer);
            k = Linear { format, activation, accumulate, bias, weight_row, ..k };
            if !biased {
                // A part of a larger result.
                let y_width = outer + 9;
                k.window = Window { x_row: 2, y_row: 3, y_column: 5, y_width };
            }
            k.bias_row = weight_row / 2;
            let p = k.at(&StepValues::default());
            let dense = values(((weight_row + outer) * inner) as usize, 2);
            let weight = Contents::weight(format, &padded_rows(&dense, inner as usize));
            let x = values(((p.x_row + rows) * inner) as usize, 1);
            let bias = values((p.bias_row + outer) as usize, 3);
            let y = values((p.y_start + rows * p.y_width) as usize, 4);
            let slots = [Contents::F32(x), weight, Contents::F32(bias), Contents::F32(y)];
            agrees_with_shader(&k, StepValues::default(), &slots);
        }
    }
}

#[test]
fn no_rows_are_no_work() {
    let k = kernel(0, 8, 8);
    assert!(k.workgroups(&StepValues::default()).contains(&0));
    run(&k, &[], &[0.0; 64], &[0.0; 8], &mut []);
}

#[test]
fn every_permutation_is_valid() {
    for inner in [91, 768] {
        for format in [WeightFormat::F32, WeightFormat::F16] {
            for activation in ACTIVATIONS {
                for accumulate in [false, true] {
                    let k = Linear { format, activation, accumulate, ..kernel(1, inner, 8) };
                    validate(&k);
                    validate(&Linear { bias: None, ..k });
                }
            }
        }
    }
}

/// Run with `cargo test --release -- --ignored --nocapture near_gemm`.
#[test]
#[ignore = "a measurement"]
fn products_run_near_gemm_speed() {
    const ROWS: u32 = 2050;
    let mut totals = [0.0; 2];
    for (inner, outer, activation, accumulate) in [
        (768, 768, Activation::None, false),
        (768, 2304, Activation::None, false),
        (768, 3072, Activation::Gelu, false),
        (3072, 768, Activation::None, true),
    ] {
        let k = Linear { activation, accumulate, ..kernel(ROWS, inner, outer) };
        let sizes = Sizes { rows: ROWS as usize, inner: inner as usize, outer: outer as usize };
        let x = values((ROWS * inner) as usize, 1);
        let weight = values((outer * inner) as usize, 2);
        let bias = values(outer as usize, 3);
        let mut y = vec![0.0; (ROWS * outer) as usize];
        let mut bare_y = y.clone();
        let [bare, whole] = fastest_ms([
            &mut || product(sizes, &x, &weight, &mut bare_y, accumulate, Parallelism::Rayon(0)),
            &mut || run(&k, &x, &weight, &bias, &mut y),
        ]);
        totals = [totals[0] + bare, totals[1] + whole];
        let gflop = k.cost(&StepValues::default()).flops as f64 * 1e-9;
        println!("{}: {whole:.1} ms, {:.0} GFLOP/s; bare {bare:.1} ms", k.describe(), gflop / whole * 1e3);
    }
    println!("all: {:.1} ms, bare {:.1} ms, ratio {:.3}", totals[1], totals[0], totals[1] / totals[0]);
}
