//! Token plus position embedding of whole sequences. Twin of `shaders/embed_tokens.wgsl`.

use super::{
    Binding, Buffers, Cost, Kernel, Slot, StepValues, WeightFormat, padded, shader::Permutation,
    split_workgroups,
};
use rayon::prelude::*;

/// `x[s, t] = table[token(s, t)] + position[t]` for `sequences` of `tokens + 1`: the image's tokens, then its class.
///
/// `ids` is `[images, tokens]` and serves sequence s with row `s % images`, so that the conditional and the
/// unconditional half of a guided batch share it; `labels` is `[sequences]`. Ids past the table read its last row.
#[derive(Debug, Clone)]
pub(crate) struct EmbedTokens {
    pub(crate) ids: Slot,
    pub(crate) labels: Slot,
    pub(crate) table: Slot,
    pub(crate) format: WeightFormat,
    pub(crate) position: Slot,
    pub(crate) x: Slot,
    pub(crate) images: u32,
    pub(crate) sequences: u32,
    pub(crate) tokens: u32,
    pub(crate) width: u32,
    pub(crate) vocabulary: u32,
}

/// The shader's parameter block.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Params {
    pub(crate) images: u32,
    pub(crate) sequences: u32,
    pub(crate) tokens: u32,
    pub(crate) width: u32,
    pub(crate) vocabulary: u32,
    pub(crate) unused: [u32; 3],
}

impl EmbedTokens {
    fn at(&self) -> Params {
        Params {
            images: self.images,
            sequences: self.sequences,
            tokens: self.tokens,
            width: self.width,
            vocabulary: self.vocabulary,
            unused: [0; 3],
        }
    }

    fn rows(&self) -> u32 {
        self.sequences * (self.tokens + 1)
    }
}

impl Kernel for EmbedTokens {
    fn permutation(&self) -> Permutation {
        self.format.specialise(Permutation::new("embed_tokens"))
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![
            Binding::read(1, self.ids),
            Binding::read(2, self.labels),
            Binding::read(3, self.table),
            Binding::read(4, self.position),
            Binding::write(5, self.x),
        ]
    }

    fn params(&self, _: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&self.at()).to_vec()
    }

    fn workgroups(&self, _: &StepValues) -> [u32; 3] {
        split_workgroups(self.rows())
    }

    fn cost(&self, _: &StepValues) -> Cost {
        let elements = u64::from(self.rows()) * u64::from(self.width);
        Cost::new(elements, 3 * elements)
    }

    fn describe(&self) -> String {
        format!("[{} x {}, {}]", self.sequences, self.tokens + 1, self.width)
    }

    fn run(&self, _: &StepValues, io: &mut Buffers<'_>) {
        embed_tokens(self.at(), io.u32(1), io.u32(2), io.f32(3), io.f32(4), io.f32_mut(5));
    }
}

/// The twin.
pub(crate) fn embed_tokens(
    p: Params,
    ids: &[u32],
    labels: &[u32],
    table: &[f32],
    position: &[f32],
    x: &mut [f32],
) {
    let (width, tokens) = (p.width as usize, p.tokens as usize);
    let stride = padded(p.width) as usize;
    let rows = p.sequences as usize * (tokens + 1);
    x[..rows * width].par_chunks_mut(width).with_min_len(64).enumerate().for_each(|(row, x)| {
        let (sequence, t) = (row / (tokens + 1), row % (tokens + 1));
        let id = if t < tokens { ids[(sequence % p.images as usize) * tokens + t] } else { labels[sequence] };
        let embedding = &table[id.min(p.vocabulary - 1) as usize * stride..][..width];
        let position = &position[t * width..][..width];
        for i in 0..width {
            x[i] = embedding[i] + position[i];
        }
    });
}
