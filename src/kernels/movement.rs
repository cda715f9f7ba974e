//! How far features of masked tokens moved since they were last held. Twin of `shaders/movement.wgsl`.

use super::{
    Binding, Buffers, Cost, Extent, ImagePlacement, Kernel, Slot, StepValues, shader::Permutation,
    split_workgroups,
};

/// `sums[i, j] = (|f - h|, |f|)` in L1, for the features f of the j-th masked token of image i and those that were held; then
/// `h = f`. It is what an adaptive refresh goes by: a predictor's velocity after a predicted step, its error after a full one
/// beside which it ran.
///
/// Shapes: `features` is `[sequences, length, width]`, of each image one conditional sequence first; `positions` `[images,
/// tokens]`; `held` `[images, length, width]`; `sums` `[images * tokens, 2]`, by place in the list of masked positions.
#[derive(Debug, Clone)]
pub(crate) struct Movement {
    pub(crate) features: Slot,
    pub(crate) positions: Slot,
    pub(crate) held: Slot,
    pub(crate) sums: Slot,
    pub(crate) images: u32,
    pub(crate) tokens: u32,
    /// Masked positions per image.
    pub(crate) masked: Extent,
    /// Rows of a sequence, and numbers in each.
    pub(crate) size: [u32; 2],
    /// The row of a position in its sequence.
    pub(crate) placement: ImagePlacement,
}

impl Kernel for Movement {
    fn permutation(&self) -> Permutation {
        Permutation::new("movement")
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![
            Binding::read(1, self.features),
            Binding::read(2, self.positions),
            Binding::update(3, self.held),
            Binding::update(4, self.sums),
        ]
    }

    fn params(&self, step: &StepValues) -> Vec<u8> {
        let ([length, width], ImagePlacement { start, columns }) = (self.size, self.placement);
        let masked = self.masked.at(step);
        bytemuck::bytes_of(&[self.images, self.tokens, masked, width, length, start, columns, 0]).to_vec()
    }

    fn workgroups(&self, step: &StepValues) -> [u32; 3] {
        split_workgroups(self.images * self.masked.at(step))
    }

    fn cost(&self, step: &StepValues) -> Cost {
        let elements = u64::from(self.images * self.masked.at(step)) * u64::from(self.size[1]);
        Cost::new(4 * elements, 3 * elements)
    }

    fn describe(&self) -> String {
        format!("[{} x {}, {}]", self.images, self.masked, self.size[1])
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        let (features, positions) = (io.f32(1), io.u32(2));
        let (held, sums) = (io.f32_mut(3), io.f32_mut(4));
        let [length, width] = self.size.map(|n| n as usize);
        let (tokens, masked) = (self.tokens as usize, self.masked.at(step) as usize);
        for image in 0..self.images as usize {
            for j in 0..masked {
                let entry = image * tokens + j;
                let row = image * length + self.placement.row(positions[entry]) as usize;
                let range = row * width..(row + 1) * width;
                let (now, before) = (&features[range.clone()], &mut held[range]);
                let apart: f32 = now.iter().zip(before.iter()).map(|(now, held)| (now - held).abs()).sum();
                sums[2 * entry] = apart;
                sums[2 * entry + 1] = now.iter().map(|now| now.abs()).sum();
                before.copy_from_slice(now);
            }
        }
    }
}
