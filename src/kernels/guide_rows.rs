//! Guidance of the features of masked tokens. Twin of `shaders/guide_rows.wgsl`.

use super::{
    Binding, Buffers, Cost, Extent, ImagePlacement, Kernel, Slot, StepValues, math, shader::Permutation,
    split_workgroups,
};
use rayon::prelude::*;

/// `y[i * m + j] = (1 + w) c - w u`, with c and u the features of the token at `positions[i, first_masked + j]` in the sequences of
/// image i with and without its condition, m positions listed, and w the step's guidance.
///
/// A head is linear, and its bias is of the position alone: so the logits of these rows are the guided logits, for one product where
/// both sequences have one each.
///
/// Shapes: `positions` is `[images, tokens]`, `y` `[images * m, width]`.
#[derive(Debug, Clone)]
pub(crate) struct GuideRows {
    /// With condition.
    pub(crate) with: Sequences,
    /// Without: of the same tensor or another.
    pub(crate) without: Sequences,
    pub(crate) positions: Slot,
    pub(crate) y: Slot,
    pub(crate) images: u32,
    pub(crate) tokens: u32,
    /// Listed positions of an image.
    pub(crate) masked: Extent,
    /// The first of them in an image's list.
    pub(crate) first_masked: u32,
    pub(crate) width: u32,
}

/// A sequence an image, one after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sequences {
    /// `[rows, width]`.
    pub(crate) features: Slot,
    /// The row where the first of them begins.
    pub(crate) first: u32,
    /// Rows of each.
    pub(crate) length: u32,
    /// The row of a position in its sequence.
    pub(crate) placement: ImagePlacement,
}

impl Sequences {
    fn row(&self, image: u32, position: u32) -> usize {
        (self.first + image * self.length + self.placement.row(position)) as usize
    }
}

/// The shader's parameter block.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    images: u32,
    tokens: u32,
    masked: u32,
    first_masked: u32,
    width: u32,
    length: u32,
    start: u32,
    columns: u32,
    other_length: u32,
    other_start: u32,
    other_columns: u32,
    other_first: u32,
    guidance: f32,
    unused: [u32; 3],
}

impl GuideRows {
    fn are_apart(&self) -> bool {
        self.with.features != self.without.features
    }

    fn fours(&self) -> bool {
        self.width.is_multiple_of(4)
    }
}

impl Kernel for GuideRows {
    fn permutation(&self) -> Permutation {
        Permutation::new("guide_rows").flag("VEC4", self.fours()).flag("OTHERS", self.are_apart())
    }

    fn bindings(&self) -> Vec<Binding> {
        let mut bindings = vec![
            Binding::read(1, self.with.features),
            Binding::read(2, self.positions),
            Binding::write(3, self.y),
        ];
        bindings.extend(self.are_apart().then(|| Binding::read(4, self.without.features)));
        bindings
    }

    fn params(&self, step: &StepValues) -> Vec<u8> {
        let Sequences { length, placement, .. } = self.with;
        let params = Params {
            images: self.images,
            tokens: self.tokens,
            masked: self.masked.at(step),
            first_masked: self.first_masked,
            width: if self.fours() { self.width / 4 } else { self.width },
            length,
            start: self.with.first + placement.start,
            columns: placement.columns,
            other_length: self.without.length,
            other_start: self.without.placement.start,
            other_columns: self.without.placement.columns,
            other_first: self.without.first,
            guidance: step.guidance,
            unused: [0; 3],
        };
        bytemuck::bytes_of(&params).to_vec()
    }

    fn workgroups(&self, step: &StepValues) -> [u32; 3] {
        split_workgroups(self.images * self.masked.at(step))
    }

    fn cost(&self, step: &StepValues) -> Cost {
        let rows = u64::from(self.images * self.masked.at(step));
        let elements = rows * u64::from(self.width);
        Cost::new(3 * elements, 3 * elements + rows)
    }

    fn describe(&self) -> String {
        format!("[{} x {}, {}]", self.images, self.masked, self.width)
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        let (features, positions, y) = (io.f32(1), io.u32(2), io.f32_mut(3));
        let others = if self.are_apart() { io.f32(4) } else { features };
        let (width, masked, w) = (self.width as usize, self.masked.at(step), step.guidance);
        let rows = y.par_chunks_exact_mut(width).take((self.images * masked) as usize).enumerate();
        rows.with_min_len(16).for_each(|(row, y)| {
            let (image, j) = (row as u32 / masked, row as u32 % masked);
            let position = positions[(image * self.tokens + self.first_masked + j) as usize];
            let with = &features[self.with.row(image, position) * width..][..width];
            let without = &others[self.without.row(image, position) * width..][..width];
            math::simd(
                #[inline(always)]
                || {
                    for ((y, c), u) in y.iter_mut().zip(with).zip(without) {
                        *y = (1.0 + w) * c - w * u;
                    }
                },
            );
        });
    }
}
