//! A linear combination of two tensors, element by element: a copy and a sum are the plainest. Twin of
//! `shaders/combine.wgsl`.

use super::{
    Binding, Buffers, Cost, Extent, Kernel, Slot, StepValues, shader::Permutation, split_workgroups,
};

/// `y = a x + b y`, both `[rows, width]`; what `y` held is not read where `b` is 0.
#[derive(Debug, Clone)]
pub(crate) struct Combine {
    pub(crate) x: Slot,
    pub(crate) y: Slot,
    pub(crate) rows: Extent,
    pub(crate) width: u32,
    pub(crate) a: f32,
    pub(crate) b: f32,
}

const LANES: u32 = 256;

impl Combine {
    /// `y = x`.
    pub(crate) fn copy(x: Slot, y: Slot, rows: Extent, width: u32) -> Self {
        Self { x, y, rows, width, a: 1.0, b: 0.0 }
    }

    fn keeps(&self) -> bool {
        self.b != 0.0
    }

    fn elements(&self, step: &StepValues) -> u32 {
        self.rows.at(step) * self.width
    }
}

impl Kernel for Combine {
    fn permutation(&self) -> Permutation {
        Permutation::new("combine").flag("KEEP", self.keeps())
    }

    fn bindings(&self) -> Vec<Binding> {
        let y = if self.keeps() { Binding::update(2, self.y) } else { Binding::write(2, self.y) };
        vec![Binding::read(1, self.x), y]
    }

    fn params(&self, step: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&[self.elements(step), self.a.to_bits(), self.b.to_bits(), 0]).to_vec()
    }

    fn workgroups(&self, step: &StepValues) -> [u32; 3] {
        split_workgroups(self.elements(step).div_ceil(LANES))
    }

    fn cost(&self, step: &StepValues) -> Cost {
        let elements = u64::from(self.elements(step));
        if self.keeps() { Cost::new(3 * elements, 3 * elements) } else { Cost::new(elements, 2 * elements) }
    }

    fn describe(&self) -> String {
        format!("[{}, {}], a {}, b {}", self.rows, self.width, self.a, self.b)
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        let elements = self.elements(step) as usize;
        let (x, y) = (&io.f32(1)[..elements], &mut io.f32_mut(2)[..elements]);
        combine([self.a, self.b], x, y);
    }
}

/// The twin.
pub(crate) fn combine([a, b]: [f32; 2], x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = if b == 0.0 { a * x } else { a * x + b * *y };
    }
}
