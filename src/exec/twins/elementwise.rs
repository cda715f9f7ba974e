//! Kernels that take each element by itself.

use super::{Case, Fill};
use crate::kernels::WeightFormat::F32;
use crate::kernels::fma_peak::FmaPeak;
use crate::kernels::gated_silu::GatedSilu;
use crate::kernels::taylor::{Differences, TaylorObserve, TaylorPredict};
use crate::kernels::{Extent, StepValues};
use crate::program::Builder;
use crate::program::Element::F32 as Float;

#[test]
fn gated_silu() {
    for (rows, width) in [(1, 1), (65, 160), (3, 100_001)] {
        Case { fills: &[("x", Fill::Random(30.0))], ..Case::default() }.check(F32, |b| {
            let x = b.state("x", rows, width, Float);
            let gate = b.state("gate", rows, width, Float);
            b.push(GatedSilu { gate, x, rows: Extent::fixed(rows), width });
        });
    }
}

#[test]
fn combine_and_fma_peak() {
    for (rows, width, [a, c]) in [
        (1, 1, [1.0, 0.0]),
        (100, 33, [1.0, 1.0]),
        (257, 256, [1.0, 0.0]),
        (3, 77, [-0.75, 0.0]),
        (31, 65, [0.3, -1.7]),
    ] {
        Case::default().check(F32, |b| {
            let x = b.state("x", rows, width, Float);
            let y = b.state("y", rows, width, Float);
            b.combine(a, x, c, y);
        });
    }
    for (invocations, iterations) in [(1, 1), (1000, 9)] {
        Case { tolerance: 1e-4, ..Case::default() }.check(F32, |b| {
            let y = b.state("y", 1, invocations, Float);
            b.push(FmaPeak { y, invocations, iterations });
        });
    }
}

#[test]
fn taylor() {
    for (rows, width, order, full_before, since_full) in
        [(1, 1, 0, 0, 0), (3, 77, 1, 0, 0), (100, 33, 1, 1, 4), (31, 65, 2, 1, 3), (257, 256, 2, 5, 7)]
    {
        let step = StepValues { full_before, since_full, ..StepValues::default() };
        let states = |b: &mut Builder| {
            let slots = (0..=order).map(|order| b.state(&format!("d{order}"), rows, width, Float)).collect();
            Differences { slots, elements: rows * width }
        };
        Case { step, ..Case::default() }.check(F32, |b| {
            let x = b.state("x", rows, width, Float);
            let differences = states(b);
            b.push(TaylorObserve { x, differences });
        });
        Case { step, tolerance: 1e-4, ..Case::default() }.check(F32, |b| {
            let y = b.state("y", rows, width, Float);
            let differences = states(b);
            b.push(TaylorPredict { differences, y });
        });
    }
}
