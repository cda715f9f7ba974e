//! Layer normalisation over the last axis, with an optional scale-shift after it. Twin of `shaders/layer_norm.wgsl`.

use super::{
    Binding, Buffers, Cost, Extent, Kernel, Slot, StepValues, math, shader::Permutation, split_workgroups,
};
use rayon::prelude::*;

/// `y[r] = (x[r] - mean) / sqrt(variance + eps) * weight + bias`, then `y * (1 + scale) + shift` if modulated.
///
/// Shapes: `x`, `y` are `[rows, width]`; `weight`, `bias` are `[width]`; `modulation` is `[1, 2 * width]`, scale first.
#[derive(Debug, Clone)]
pub(crate) struct LayerNorm {
    pub(crate) x: Slot,
    pub(crate) weight: Slot,
    pub(crate) bias: Slot,
    pub(crate) modulation: Option<Slot>,
    pub(crate) y: Slot,
    pub(crate) rows: Extent,
    pub(crate) width: u32,
    pub(crate) eps: f32,
}

/// The shader's parameter block.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Params {
    pub(crate) rows: u32,
    pub(crate) width: u32,
    pub(crate) eps: f32,
    pub(crate) unused: u32,
}

impl LayerNorm {
    fn at(&self, step: &StepValues) -> Params {
        Params { rows: self.rows.at(step), width: self.width, eps: self.eps, unused: 0 }
    }
}

impl Kernel for LayerNorm {
    fn permutation(&self) -> Permutation {
        Permutation::new("layer_norm").flag("MODULATION", self.modulation.is_some())
    }

    fn bindings(&self) -> Vec<Binding> {
        let mut bindings =
            vec![Binding::read(1, self.x), Binding::read(2, self.weight), Binding::read(3, self.bias)];
        bindings.extend(self.modulation.map(|slot| Binding::read(4, slot)));
        bindings.push(Binding::write(5, self.y));
        bindings
    }

    fn halves(&self) -> Vec<(&'static str, Vec<u32>)> {
        vec![("F16_Y", vec![5])]
    }

    fn params(&self, step: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&self.at(step)).to_vec()
    }

    fn workgroups(&self, step: &StepValues) -> [u32; 3] {
        split_workgroups(self.rows.at(step))
    }

    fn cost(&self, step: &StepValues) -> Cost {
        let elements = u64::from(self.rows.at(step)) * u64::from(self.width);
        Cost::new(8 * elements, 2 * elements + 2 * u64::from(self.width))
    }

    fn describe(&self) -> String {
        let modulated = if self.modulation.is_some() { ", scale-shift" } else { "" };
        format!("[{}, {}] eps {:e}{modulated}", self.rows, self.width, self.eps)
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        layer_norm(self.at(step), io.f32(1), io.f32(2), io.f32(3), io.f32(4), io.f32_mut(5));
    }
}

/// The twin. An empty `modulation` means none.
pub(crate) fn layer_norm(
    p: Params,
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    modulation: &[f32],
    y: &mut [f32],
) {
    let width = p.width as usize;
    let rows = p.rows as usize * width;
    x[..rows].par_chunks(width).zip(y[..rows].par_chunks_mut(width)).with_min_len(16).for_each(|(x, y)| {
        math::simd(
            #[inline(always)]
            || {
                // Of known lengths, so that no index has to be looked at.
                let (x, y) = (&x[..width], &mut y[..width]);
                let (weight, bias) = (&weight[..width], &bias[..width]);
                let mean = lanes(x, |v| v) / width as f32;
                let variance = lanes(x, |v| (v - mean) * (v - mean)) / width as f32;
                let scale = (variance + p.eps).sqrt().recip();
                for i in 0..width {
                    y[i] = (x[i] - mean) * scale * weight[i] + bias[i];
                }
                if !modulation.is_empty() {
                    let (scale, shift) = modulation[..2 * width].split_at(width);
                    for i in 0..width {
                        y[i] = y[i] * (1.0 + scale[i]) + shift[i];
                    }
                }
            },
        );
    });
}

/// A sum of `f` in sixteen partial sums, which the compiler keeps in vector registers and which round less.
#[inline(always)]
pub(crate) fn lanes(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0_f32; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for lane in 0..LANES {
            sums[lane] += f(chunk[lane]);
        }
    }
    sums.iter().sum::<f32>() + rest.iter().map(|&v| f(v)).sum::<f32>()
}
