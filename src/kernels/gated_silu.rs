//! The gate of a SwiGLU feed-forward layer. Twin of `shaders/gated_silu.wgsl`.

use super::{
    Binding, Buffers, Cost, Extent, Kernel, Slot, StepValues, math, shader::Permutation, split_workgroups,
};
use rayon::prelude::*;

/// `x = silu(x) * gate`, in place: the widest activations of a model need not stand in memory a third time.
///
/// Shapes: both are `[rows, width]`.
#[derive(Debug, Clone)]
pub(crate) struct GatedSilu {
    pub(crate) gate: Slot,
    pub(crate) x: Slot,
    pub(crate) rows: Extent,
    pub(crate) width: u32,
}

const LANES: u32 = 256;

impl GatedSilu {
    fn elements(&self, step: &StepValues) -> u32 {
        self.rows.at(step) * self.width
    }
}

impl Kernel for GatedSilu {
    fn permutation(&self) -> Permutation {
        Permutation::new("gated_silu")
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(1, self.gate), Binding::update(2, self.x)]
    }

    fn halves(&self) -> Vec<(&'static str, Vec<u32>)> {
        vec![("F16_X", vec![1, 2])]
    }

    fn params(&self, step: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&[self.elements(step), 0, 0, 0]).to_vec()
    }

    fn workgroups(&self, step: &StepValues) -> [u32; 3] {
        split_workgroups(self.elements(step).div_ceil(LANES))
    }

    fn cost(&self, step: &StepValues) -> Cost {
        let elements = u64::from(self.elements(step));
        Cost::new(5 * elements, 3 * elements)
    }

    fn describe(&self) -> String {
        format!("[{}, {}]", self.rows, self.width)
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        gated_silu(self.elements(step) as usize, io.f32(1), io.f32_mut(2));
    }
}

/// The twin.
pub(crate) fn gated_silu(elements: usize, gate: &[f32], x: &mut [f32]) {
    const CHUNK: usize = 1 << 14;
    x[..elements].par_chunks_mut(CHUNK).zip(gate[..elements].par_chunks(CHUNK)).for_each(|(x, gate)| {
        math::simd(
            #[inline(always)]
            || x.iter_mut().zip(gate).for_each(|(x, gate)| *x = math::silu(*x) * gate),
        );
    });
}
