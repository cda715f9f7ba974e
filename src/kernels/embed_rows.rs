//! Token plus position embedding of chosen positions: the shortcut's new tokens. Twin of `shaders/embed_rows.wgsl`.

use super::{
    Binding, Buffers, Cost, Extent, Kernel, Slot, StepValues, WeightFormat, padded, shader::Permutation,
    split_workgroups,
};

/// `x[i * n + j] = table[ids[i, j]] + position[positions[i, j]]` for the first n entries of each image's lists.
///
/// `ids` and `positions` are `[images, capacity]`; `x` is `[images * n, width]` without gaps.
#[derive(Debug, Clone)]
pub(crate) struct EmbedRows {
    pub(crate) ids: Slot,
    pub(crate) positions: Slot,
    pub(crate) table: Slot,
    pub(crate) format: WeightFormat,
    pub(crate) position: Slot,
    pub(crate) x: Slot,
    pub(crate) images: u32,
    pub(crate) capacity: u32,
    /// Entries per image.
    pub(crate) entries: Extent,
    pub(crate) width: u32,
    pub(crate) vocabulary: u32,
    /// Rows of the position table.
    pub(crate) length: u32,
}

/// The shader's parameter block.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Params {
    pub(crate) images: u32,
    pub(crate) capacity: u32,
    pub(crate) entries: u32,
    pub(crate) width: u32,
    pub(crate) vocabulary: u32,
    pub(crate) length: u32,
    pub(crate) unused: [u32; 2],
}

impl EmbedRows {
    fn at(&self, step: &StepValues) -> Params {
        Params {
            images: self.images,
            capacity: self.capacity,
            entries: self.entries.at(step),
            width: self.width,
            vocabulary: self.vocabulary,
            length: self.length,
            unused: [0; 2],
        }
    }
}

impl Kernel for EmbedRows {
    fn permutation(&self) -> Permutation {
        self.format.specialise(Permutation::new("embed_rows"))
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![
            Binding::read(1, self.ids),
            Binding::read(2, self.positions),
            Binding::read(3, self.table),
            Binding::read(4, self.position),
            Binding::write(5, self.x),
        ]
    }

    fn params(&self, step: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&self.at(step)).to_vec()
    }

    fn workgroups(&self, step: &StepValues) -> [u32; 3] {
        split_workgroups(self.images * self.entries.at(step))
    }

    fn cost(&self, step: &StepValues) -> Cost {
        let elements = u64::from(self.images * self.entries.at(step)) * u64::from(self.width);
        Cost::new(elements, 3 * elements)
    }

    fn describe(&self) -> String {
        format!("[{} x {}, {}]", self.images, self.entries, self.width)
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        embed_rows(self.at(step), io.u32(1), io.u32(2), io.f32(3), io.f32(4), io.f32_mut(5));
    }
}

/// The twin.
pub(crate) fn embed_rows(
    p: Params,
    ids: &[u32],
    positions: &[u32],
    table: &[f32],
    position: &[f32],
    x: &mut [f32],
) {
    let width = p.width as usize;
    let stride = padded(p.width) as usize;
    for image in 0..p.images as usize {
        for entry in 0..p.entries as usize {
            let at = image * p.capacity as usize + entry;
            let embedding = &table[ids[at].min(p.vocabulary - 1) as usize * stride..][..width];
            let position = &position[positions[at].min(p.length - 1) as usize * width..][..width];
            let x = &mut x[(image * p.entries as usize + entry) * width..][..width];
            for i in 0..width {
                x[i] = embedding[i] + position[i];
            }
        }
    }
}
