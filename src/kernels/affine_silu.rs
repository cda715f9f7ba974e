//! What stands where a GroupNorm could: a scale and a shift of each channel, and SiLU. Twin of `shaders/affine_silu.wgsl`.

use super::{
    Binding, Buffers, Cost, Extent, Kernel, Slot, StepValues, math, shader::Permutation, split_workgroups,
};
use rayon::prelude::*;

/// `y = silu(x * weight + bias)`: what a place becomes depends on nothing elsewhere.
///
/// Shapes: `x` and `y` are `[rows, channels]`, `weight` and `bias` `[channels]`.
#[derive(Debug, Clone)]
pub(crate) struct AffineSilu {
    pub(crate) x: Slot,
    pub(crate) weight: Slot,
    pub(crate) bias: Slot,
    pub(crate) y: Slot,
    pub(crate) rows: Extent,
    pub(crate) channels: u32,
}

const LANES: u32 = 256;

impl AffineSilu {
    fn elements(&self, step: &StepValues) -> u32 {
        self.rows.at(step) * self.channels
    }
}

impl Kernel for AffineSilu {
    fn permutation(&self) -> Permutation {
        Permutation::new("affine_silu")
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![
            Binding::read(1, self.x),
            Binding::read(2, self.weight),
            Binding::read(3, self.bias),
            Binding::write(4, self.y),
        ]
    }

    fn params(&self, step: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&[self.elements(step), self.channels, 0, 0]).to_vec()
    }

    fn workgroups(&self, step: &StepValues) -> [u32; 3] {
        split_workgroups(self.elements(step).div_ceil(LANES))
    }

    fn cost(&self, step: &StepValues) -> Cost {
        let elements = u64::from(self.elements(step));
        Cost::new(6 * elements, 2 * elements + 2 * u64::from(self.channels))
    }

    fn describe(&self) -> String {
        format!("[{}, {}]", self.rows, self.channels)
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        let channels = self.channels as usize;
        let (weight, bias) = (&io.f32(2)[..channels], &io.f32(3)[..channels]);
        affine_silu(self.elements(step) as usize, io.f32(1), weight, bias, io.f32_mut(4));
    }
}

/// The twin.
pub(crate) fn affine_silu(elements: usize, x: &[f32], weight: &[f32], bias: &[f32], y: &mut [f32]) {
    /// Floats that a thread takes at once.
    const BLOCK: usize = 1 << 14;
    let channels = weight.len();
    let block = BLOCK.next_multiple_of(channels);
    y[..elements].par_chunks_mut(block).zip(x[..elements].par_chunks(block)).for_each(|(y, x)| {
        math::simd(
            #[inline(always)]
            || {
                for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                    for ((y, x), (weight, bias)) in y.iter_mut().zip(x).zip(weight.iter().zip(bias)) {
                        *y = math::silu(x * weight + bias);
                    }
                }
            },
        );
    });
}
