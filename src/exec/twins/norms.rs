//! Normalisations, and means.

use super::{Case, Fill};
use crate::kernels::Extent;
use crate::kernels::WeightFormat::F32;
use crate::kernels::layer_norm::LayerNorm;
use crate::kernels::mean_pixels::MeanPixels;
use crate::kernels::rms_norm::RmsNorm;
use crate::program::Element::F32 as Float;

#[test]
fn layer_norm() {
    for (rows, width) in [(1, 4), (3, 768), (1025, 24), (2, 4096), (5, 1), (7, 131)] {
        for modulated in [false, true] {
            Case::default().check(F32, |b| {
                let x = b.state("x", rows, width, Float);
                let y = b.state("y", rows, width, Float);
                let modulation = modulated.then(|| b.state("modulation", 1, 2 * width, Float));
                let (weight, bias) = (b.vector("n.weight", width), b.vector("n.bias", width));
                b.push(LayerNorm {
                    x,
                    weight,
                    bias,
                    modulation,
                    y,
                    rows: Extent::fixed(rows),
                    width,
                    eps: 1e-5,
                });
            });
        }
    }
}

#[test]
fn rms_norm() {
    for (rows, width) in [(1, 4), (3, 64), (1025, 24), (2, 4096), (5, 1), (7, 131)] {
        for modulated in [false, true] {
            Case::default().check(F32, |b| {
                let x = b.state("x", rows, width, Float);
                let y = b.state("y", rows, width, Float);
                let modulation = modulated.then(|| b.state("modulation", 1, 2 * width, Float));
                let weight = b.vector("n.weight", width);
                let rows = Extent::fixed(rows);
                b.push(RmsNorm { x, weight, modulation, y, rows, width, eps: 1e-5 });
            });
        }
    }
}

#[test]
fn group_norm() {
    for (images, pixels, channels, groups) in
        [(1, 1, 32, 32), (2, 64, 64, 32), (1, 900, 96, 32), (3, 5, 12, 4), (1, 4096, 128, 32)]
    {
        for silu in [false, true] {
            Case { fills: &[("x", Fill::Random(20.0))], tolerance: 3e-5, ..Case::default() }.check(
                F32,
                |b| {
                    let x = b.state("x", images * pixels, channels, Float);
                    let norm = b.norm("n", channels);
                    let out = b.state("out", images * pixels, channels, Float);
                    let y = b.group_norm(x, norm, images, groups, silu);
                    b.combine(1.0, y, 0.0, out);
                },
            );
        }
    }
}

#[test]
fn affine_silu() {
    for (rows, channels) in [(1, 1), (65, 160), (4097, 16), (3, 100_001)] {
        Case { fills: &[("x", Fill::Random(20.0))], ..Case::default() }.check(F32, |b| {
            let x = b.state("x", rows, channels, Float);
            let norm = b.norm("n", channels);
            let out = b.state("out", rows, channels, Float);
            let y = b.affine_silu(x, norm);
            b.combine(1.0, y, 0.0, out);
        });
    }
}

#[test]
fn mean_pixels() {
    for (images, pixels, channels) in [(1, 1, 1), (3, 64, 192), (2, 7, 17), (1, 1025, 33), (5, 9, 16)] {
        Case::default().check(F32, |b| {
            let x = b.state("x", images * pixels, channels, Float);
            let y = b.state("y", images, channels, Float);
            b.push(MeanPixels { x, y, images, pixels, channels });
        });
    }
}
