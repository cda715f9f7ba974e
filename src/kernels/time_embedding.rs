//! Sinusoidal embedding of the mask ratio, the shortcut's clock. Twin of `shaders/time_embedding.wgsl`.

use super::{Binding, Buffers, Cost, Kernel, Slot, StepValues, shader::Permutation};

/// `y = [cos(t f_k) | sin(t f_k)]` with `t = 1000 * mask_ratio` and `f_k = exp(-ln(10000) k / (width / 2))`.
#[derive(Debug, Clone)]
pub(crate) struct TimeEmbedding {
    pub(crate) y: Slot,
    pub(crate) width: u32,
}

/// The shader's parameter block.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Params {
    pub(crate) width: u32,
    pub(crate) mask_ratio: f32,
    pub(crate) unused: [u32; 2],
}

impl TimeEmbedding {
    fn at(&self, step: &StepValues) -> Params {
        Params { width: self.width, mask_ratio: step.mask_ratio, unused: [0; 2] }
    }
}

impl Kernel for TimeEmbedding {
    fn permutation(&self) -> Permutation {
        Permutation::new("time_embedding")
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::write(1, self.y)]
    }

    fn params(&self, step: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&self.at(step)).to_vec()
    }

    fn workgroups(&self, _: &StepValues) -> [u32; 3] {
        [(self.width / 2).div_ceil(64), 1, 1]
    }

    fn cost(&self, _: &StepValues) -> Cost {
        Cost::new(4 * u64::from(self.width), u64::from(self.width))
    }

    fn describe(&self) -> String {
        format!("[1, {}]", self.width)
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        time_embedding(self.at(step), io.f32_mut(1));
    }
}

/// The twin.
pub(crate) fn time_embedding(p: Params, y: &mut [f32]) {
    let half = p.width as usize / 2;
    for k in 0..half {
        let frequency = (-(10_000_f32.ln()) * k as f32 / half as f32).exp();
        let (sin, cos) = (p.mask_ratio * 1000.0 * frequency).sin_cos();
        y[k] = cos;
        y[half + k] = sin;
    }
}
