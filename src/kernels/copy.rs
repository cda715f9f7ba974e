//! Copy or add one tensor to another, element by element. Twin of `shaders/copy.wgsl`.

use super::{
    Binding, Buffers, Cost, Extent, Kernel, Slot, StepValues, shader::Permutation, split_workgroups,
};

/// `y = x`, or `y += x` when accumulating; both `[rows, width]`.
#[derive(Debug, Clone)]
pub(crate) struct Copy {
    pub(crate) x: Slot,
    pub(crate) y: Slot,
    pub(crate) rows: Extent,
    pub(crate) width: u32,
    pub(crate) accumulate: bool,
}

const LANES: u32 = 256;

impl Copy {
    fn elements(&self, step: &StepValues) -> u32 {
        self.rows.at(step) * self.width
    }
}

impl Kernel for Copy {
    fn permutation(&self) -> Permutation {
        Permutation::new("copy").flag("ACCUMULATE", self.accumulate)
    }

    fn bindings(&self) -> Vec<Binding> {
        let y = if self.accumulate { Binding::update(2, self.y) } else { Binding::write(2, self.y) };
        vec![Binding::read(1, self.x), y]
    }

    fn params(&self, step: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&[self.elements(step), 0, 0, 0]).to_vec()
    }

    fn workgroups(&self, step: &StepValues) -> [u32; 3] {
        split_workgroups(self.elements(step).div_ceil(LANES))
    }

    fn cost(&self, step: &StepValues) -> Cost {
        let elements = u64::from(self.elements(step));
        if self.accumulate { Cost::new(elements, 3 * elements) } else { Cost::new(0, 2 * elements) }
    }

    fn describe(&self) -> String {
        format!("[{}, {}]", self.rows, self.width)
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        copy(self.elements(step) as usize, self.accumulate, io.f32(1), io.f32_mut(2));
    }
}

/// The twin.
pub(crate) fn copy(elements: usize, accumulate: bool, x: &[f32], y: &mut [f32]) {
    if accumulate {
        for (y, x) in y[..elements].iter_mut().zip(x) {
            *y += x;
        }
    } else {
        y[..elements].copy_from_slice(&x[..elements]);
    }
}
