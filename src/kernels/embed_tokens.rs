//! Token plus position embedding of whole sequences. Twin of `shaders/embed_tokens.wgsl`.

use super::{
    Binding, Buffers, Cost, Extent, Kernel, Slot, StepValues, WeightFormat, padded, shader::Permutation,
    split_workgroups,
};
use rayon::prelude::*;

/// `x[s, t] = table[token(s, t)] + position[t]` for `sequences` of `tokens + 1`: the image's tokens, then its class.
///
/// `ids` is `[images, tokens]` and serves sequence s with row `s % images`, so that the conditional and the
/// unconditional half of a guided batch share it; `labels` is `[sequences]`. Ids past the table read its last row.
///
/// With a list, row r of `x` is row `list[r]` of what it would be without. Shapes: `x` is `[rows, width]`, `list` `[rows]`.
#[derive(Debug, Clone)]
pub(crate) struct EmbedTokens {
    pub(crate) ids: Slot,
    pub(crate) labels: Slot,
    pub(crate) table: Slot,
    pub(crate) format: WeightFormat,
    pub(crate) position: Slot,
    pub(crate) x: Slot,
    pub(crate) list: Option<Slot>,
    pub(crate) images: u32,
    /// Rows of all sequences, or of the list.
    pub(crate) rows: Extent,
    pub(crate) tokens: u32,
    pub(crate) width: u32,
    pub(crate) vocabulary: u32,
}

/// The shader's parameter block.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Params {
    pub(crate) images: u32,
    pub(crate) rows: u32,
    pub(crate) tokens: u32,
    pub(crate) width: u32,
    pub(crate) vocabulary: u32,
    pub(crate) unused: [u32; 3],
}

impl EmbedTokens {
    fn at(&self, step: &StepValues) -> Params {
        Params {
            images: self.images,
            rows: self.rows.at(step),
            tokens: self.tokens,
            width: self.width,
            vocabulary: self.vocabulary,
            unused: [0; 3],
        }
    }
}

impl Kernel for EmbedTokens {
    fn permutation(&self) -> Permutation {
        let permutation = Permutation::new("embed_tokens").flag("LISTED", self.list.is_some());
        self.format.specialise(permutation)
    }

    fn bindings(&self) -> Vec<Binding> {
        let mut bindings = vec![
            Binding::read(1, self.ids),
            Binding::read(2, self.labels),
            Binding::read(3, self.table),
            Binding::read(4, self.position),
            Binding::write(5, self.x),
        ];
        bindings.extend(self.list.map(|slot| Binding::read(6, slot)));
        bindings
    }

    fn params(&self, step: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&self.at(step)).to_vec()
    }

    fn workgroups(&self, step: &StepValues) -> [u32; 3] {
        split_workgroups(self.rows.at(step))
    }

    fn cost(&self, step: &StepValues) -> Cost {
        let elements = u64::from(self.rows.at(step)) * u64::from(self.width);
        Cost::new(elements, 3 * elements)
    }

    fn describe(&self) -> String {
        format!("[{}, {}]", self.rows, self.width)
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        let list = self.list.map(|_| io.u32(6));
        embed_tokens(self.at(step), [io.u32(1), io.u32(2)], io.f32(3), io.f32(4), list, io.f32_mut(5));
    }
}

/// The twin.
pub(crate) fn embed_tokens(
    p: Params,
    [ids, labels]: [&[u32]; 2],
    table: &[f32],
    position: &[f32],
    list: Option<&[u32]>,
    x: &mut [f32],
) {
    let (width, tokens) = (p.width as usize, p.tokens as usize);
    let stride = padded(p.width) as usize;
    x[..p.rows as usize * width].par_chunks_mut(width).with_min_len(64).enumerate().for_each(|(row, x)| {
        let row = list.map_or(row, |list| list[row] as usize);
        let (sequence, t) = (row / (tokens + 1), row % (tokens + 1));
        let id = if t < tokens { ids[(sequence % p.images as usize) * tokens + t] } else { labels[sequence] };
        let embedding = &table[id.min(p.vocabulary - 1) as usize * stride..][..width];
        let position = &position[t * width..][..width];
        for i in 0..width {
            x[i] = embedding[i] + position[i];
        }
    });
}
