//! Taylor expansion over steps: finite differences at full steps, and what follows from them at the others (TaylorSeer, arXiv
//! 2503.06923). Twins of `shaders/taylor_observe.wgsl` and `shaders/taylor_predict.wgsl`.

use super::{Binding, Buffers, Cost, Kernel, Slot, StepValues, shader::Permutation, split_workgroups};

/// The highest order.
pub(crate) const MOST_ORDER: u32 = 2;

const LANES: u32 = 256;

/// Differences of the features over full steps, up to an order: each a slot as large as the features.
#[derive(Debug, Clone)]
pub(crate) struct Differences {
    /// `order + 1` of them: the value, its first difference, its second.
    pub(crate) slots: Vec<Slot>,
    /// Numbers in each.
    pub(crate) elements: u32,
}

impl Differences {
    fn order(&self) -> u32 {
        self.slots.len() as u32 - 1
    }

    fn permutation(&self, name: &'static str) -> Permutation {
        Permutation::new(name).flag("FIRST", self.order() > 0).flag("SECOND", self.order() > 1)
    }

    fn workgroups(&self) -> [u32; 3] {
        split_workgroups(self.elements.div_ceil(LANES))
    }
}

/// At a full step: `d0 = x`, `d1 = (x - d0) / span`, `d2 = (d1 - its last) / span`, where `span` is in steps since the full step
/// before; 0 as long as there were too few.
#[derive(Debug, Clone)]
pub(crate) struct TaylorObserve {
    pub(crate) x: Slot,
    pub(crate) differences: Differences,
}

impl Kernel for TaylorObserve {
    fn permutation(&self) -> Permutation {
        self.differences.permutation("taylor_observe")
    }

    fn bindings(&self) -> Vec<Binding> {
        let differences =
            (2..).zip(&self.differences.slots).map(|(index, &slot)| Binding::update(index, slot));
        std::iter::once(Binding::read(1, self.x)).chain(differences).collect()
    }

    fn params(&self, step: &StepValues) -> Vec<u8> {
        let inverse_span = inverse_span(step);
        bytemuck::bytes_of(&[self.differences.elements, step.full_before, inverse_span.to_bits(), 0]).to_vec()
    }

    fn workgroups(&self, _: &StepValues) -> [u32; 3] {
        self.differences.workgroups()
    }

    fn cost(&self, _: &StepValues) -> Cost {
        let (elements, order) = (u64::from(self.differences.elements), u64::from(self.differences.order()));
        Cost::new(2 * order * elements, (2 + 2 * order) * elements)
    }

    fn describe(&self) -> String {
        format!("[{}], order {}", self.differences.elements, self.differences.order())
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        let (x, d0) = (io.f32(1), io.f32_mut(2));
        let mut none = [Vec::new(), Vec::new()];
        let [no_first, no_second] = &mut none;
        let d1 = if self.differences.order() > 0 { io.f32_mut(3) } else { no_first };
        let d2 = if self.differences.order() > 1 { io.f32_mut(4) } else { no_second };
        observe(step, &x[..self.differences.elements as usize], d0, d1, d2);
    }
}

fn inverse_span(step: &StepValues) -> f32 {
    1.0 / step.since_full.max(1) as f32
}

/// The twin; orders that are not kept are empty.
fn observe(step: &StepValues, x: &[f32], d0: &mut [f32], d1: &mut [f32], d2: &mut [f32]) {
    let inverse_span = inverse_span(step);
    for (i, &x) in x.iter().enumerate() {
        if let Some(d1) = d1.get_mut(i) {
            let first = if step.full_before > 0 { (x - d0[i]) * inverse_span } else { 0.0 };
            if let Some(d2) = d2.get_mut(i) {
                *d2 = if step.full_before > 1 { (first - *d1) * inverse_span } else { 0.0 };
            }
            *d1 = first;
        }
        d0[i] = x;
    }
}

/// At another step: `y = d0 + t d1 + t^2 / 2 d2`, `t` steps after the last full one.
#[derive(Debug, Clone)]
pub(crate) struct TaylorPredict {
    pub(crate) differences: Differences,
    pub(crate) y: Slot,
}

impl Kernel for TaylorPredict {
    fn permutation(&self) -> Permutation {
        self.differences.permutation("taylor_predict")
    }

    fn bindings(&self) -> Vec<Binding> {
        let differences = (1..).zip(&self.differences.slots).map(|(index, &slot)| Binding::read(index, slot));
        differences.chain([Binding::write(4, self.y)]).collect()
    }

    fn params(&self, step: &StepValues) -> Vec<u8> {
        let t = step.since_full as f32;
        bytemuck::bytes_of(&[self.differences.elements, t.to_bits(), 0, 0]).to_vec()
    }

    fn workgroups(&self, _: &StepValues) -> [u32; 3] {
        self.differences.workgroups()
    }

    fn cost(&self, _: &StepValues) -> Cost {
        let (elements, order) = (u64::from(self.differences.elements), u64::from(self.differences.order()));
        Cost::new(2 * order * elements, (2 + order) * elements)
    }

    fn describe(&self) -> String {
        format!("[{}], order {}", self.differences.elements, self.differences.order())
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        let order = self.differences.order();
        let y = &mut io.f32_mut(4)[..self.differences.elements as usize];
        let differences: Vec<&[f32]> = (1..=order + 1).map(|index| io.f32(index)).collect();
        predict(step.since_full as f32, &differences, y);
    }
}

/// The twin.
fn predict(t: f32, differences: &[&[f32]], y: &mut [f32]) {
    let factors = [1.0, t, 0.5 * t * t];
    for (i, y) in y.iter_mut().enumerate() {
        *y = differences.iter().zip(factors).map(|(d, factor)| factor * d[i]).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a polynomial of the order does, at uneven full steps, is continued exactly.
    #[test]
    fn a_line_is_continued_exactly_and_a_parabola_as_far_as_differences_go() {
        let full = [0_u32, 2, 3, 7];
        let mut d = [vec![0.0; 2], vec![0.0; 2], vec![0.0; 2]];
        // The first element is a line over steps, the second a parabola.
        let at = |step: f32| [3.0 - 0.5 * step, step * step];
        for (index, &step) in full.iter().enumerate() {
            let since_full = if index == 0 { 0 } else { step - full[index - 1] };
            let values = StepValues { since_full, full_before: index as u32, ..StepValues::default() };
            let [d0, d1, d2] = &mut d;
            observe(&values, &at(step as f32), d0, d1, d2);
        }
        let mut y = [0.0; 2];
        predict(2.0, &[&d[0], &d[1]], &mut y);
        assert_eq!(y[0], at(9.0)[0]);
        // (49 - 9) / 4 is the slope over the last span, and its own change 10 - 5 over 4.
        assert_eq!((d[1][1], d[2][1]), (10.0, 1.25));
        predict(2.0, &[&d[0], &d[1], &d[2]], &mut y);
        assert_eq!(y, [at(9.0)[0], 49.0 + 2.0 * 10.0 + 2.0 * 1.25]);
        predict(2.0, &[&d[0]], &mut y);
        assert_eq!(y, at(7.0));
    }
}
