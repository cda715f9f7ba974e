//! Reveals the chosen tokens and compacts the lists, in raster order. Twin of `shaders/commit.wgsl`.

use super::{Binding, Buffers, Cost, Extent, Kernel, Slot, StepValues, shader::Permutation};

/// Writes chosen draws into `ids`, lists them as the step's new tokens, and drops them from the masked positions.
///
/// All are `[images, tokens]`: `positions` (the first m entries, ascending) is compacted in place; `chosen` goes by
/// place in that list, `drawn` and `ids` by position; `new_ids` and `new_positions` receive the revealed tokens in
/// ascending order of position.
#[derive(Debug, Clone)]
pub(crate) struct Commit {
    pub(crate) chosen: Slot,
    pub(crate) drawn: Slot,
    pub(crate) positions: Slot,
    pub(crate) ids: Slot,
    pub(crate) new_ids: Slot,
    pub(crate) new_positions: Slot,
    pub(crate) images: u32,
    pub(crate) tokens: u32,
    /// Masked positions per image, before this step.
    pub(crate) masked: Extent,
}

/// The shader's parameter block.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Params {
    pub(crate) images: u32,
    pub(crate) tokens: u32,
    pub(crate) masked: u32,
    pub(crate) unused: u32,
}

impl Commit {
    fn at(&self, step: &StepValues) -> Params {
        Params { images: self.images, tokens: self.tokens, masked: self.masked.at(step), unused: 0 }
    }
}

impl Kernel for Commit {
    fn permutation(&self) -> Permutation {
        Permutation::new("commit")
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![
            Binding::read(1, self.chosen),
            Binding::read(2, self.drawn),
            Binding::update(3, self.positions),
            Binding::update(4, self.ids),
            Binding::update(5, self.new_ids),
            Binding::update(6, self.new_positions),
        ]
    }

    fn params(&self, step: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&self.at(step)).to_vec()
    }

    fn workgroups(&self, _: &StepValues) -> [u32; 3] {
        [self.images, 1, 1]
    }

    fn cost(&self, step: &StepValues) -> Cost {
        Cost::new(0, 6 * u64::from(self.images * self.masked.at(step)))
    }

    fn describe(&self) -> String {
        format!("[{} x {}]", self.images, self.masked)
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        commit(
            self.at(step),
            io.u32(1),
            io.u32(2),
            io.u32_mut(3),
            io.u32_mut(4),
            io.u32_mut(5),
            io.u32_mut(6),
        );
    }
}

/// The twin.
pub(crate) fn commit(
    p: Params,
    chosen: &[u32],
    drawn: &[u32],
    positions: &mut [u32],
    ids: &mut [u32],
    new_ids: &mut [u32],
    new_positions: &mut [u32],
) {
    for image in 0..p.images as usize {
        let start = image * p.tokens as usize;
        let (mut revealed, mut kept) = (start, start);
        for j in start..start + p.masked as usize {
            let position = positions[j];
            if chosen[j] != 0 {
                let at = start + position as usize;
                ids[at] = drawn[at];
                new_ids[revealed] = drawn[at];
                new_positions[revealed] = position;
                revealed += 1;
            } else {
                positions[kept] = position;
                kept += 1;
            }
        }
    }
}
