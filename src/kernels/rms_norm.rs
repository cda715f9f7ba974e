//! Root-mean-square normalisation over the last axis, with an optional scale-shift after it. Twin of `shaders/rms_norm.wgsl`.

use super::{
    Binding, Buffers, Cost, Extent, Kernel, Slot, StepValues, layer_norm::Params, layer_norm::lanes, math,
    shader::Permutation, split_workgroups,
};
use rayon::prelude::*;

/// `y[r] = x[r] / sqrt(mean(x[r]^2) + eps) * weight`, then `y * (1 + scale) + shift` if modulated.
///
/// Shapes: `x`, `y` are `[rows, width]`; `weight` is `[width]`; `modulation` is `[1, 2 * width]`, scale first.
#[derive(Debug, Clone)]
pub(crate) struct RmsNorm {
    pub(crate) x: Slot,
    pub(crate) weight: Slot,
    pub(crate) modulation: Option<Slot>,
    pub(crate) y: Slot,
    pub(crate) rows: Extent,
    pub(crate) width: u32,
    pub(crate) eps: f32,
}

impl RmsNorm {
    fn at(&self, step: &StepValues) -> Params {
        Params { rows: self.rows.at(step), width: self.width, eps: self.eps, unused: 0 }
    }
}

impl Kernel for RmsNorm {
    fn permutation(&self) -> Permutation {
        Permutation::new("rms_norm").flag("MODULATION", self.modulation.is_some())
    }

    fn bindings(&self) -> Vec<Binding> {
        let mut bindings = vec![Binding::read(1, self.x), Binding::read(2, self.weight)];
        bindings.extend(self.modulation.map(|slot| Binding::read(3, slot)));
        bindings.push(Binding::write(4, self.y));
        bindings
    }

    fn halves(&self) -> Vec<(&'static str, Vec<u32>)> {
        vec![("F16_Y", vec![4])]
    }

    fn params(&self, step: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&self.at(step)).to_vec()
    }

    fn workgroups(&self, step: &StepValues) -> [u32; 3] {
        split_workgroups(self.rows.at(step))
    }

    fn cost(&self, step: &StepValues) -> Cost {
        let elements = u64::from(self.rows.at(step)) * u64::from(self.width);
        Cost::new(4 * elements, 2 * elements + u64::from(self.width))
    }

    fn describe(&self) -> String {
        let modulated = if self.modulation.is_some() { ", scale-shift" } else { "" };
        format!("[{}, {}] eps {:e}{modulated}", self.rows, self.width, self.eps)
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        rms_norm(self.at(step), io.f32(1), io.f32(2), io.f32(3), io.f32_mut(4));
    }
}

/// The twin. An empty `modulation` means none.
pub(crate) fn rms_norm(p: Params, x: &[f32], weight: &[f32], modulation: &[f32], y: &mut [f32]) {
    let width = p.width as usize;
    let rows = p.rows as usize * width;
    x[..rows].par_chunks(width).zip(y[..rows].par_chunks_mut(width)).with_min_len(16).for_each(|(x, y)| {
        math::simd(
            #[inline(always)]
            || {
                // Of known lengths, so that no index has to be looked at.
                let (x, y, weight) = (&x[..width], &mut y[..width], &weight[..width]);
                let scale = (lanes(x, |v| v * v) / width as f32 + p.eps).sqrt().recip();
                for i in 0..width {
                    y[i] = x[i] * scale * weight[i];
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
