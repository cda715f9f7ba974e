//! Token plus position embedding of whole sequences. Twin of `shaders/embed_tokens.wgsl`.

use super::philox::normal_row;
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
///
/// With noise, tokens of the image have `noise * N(0, 1) + sqrt(1 - noise^2) * table[token]` in place of `table[token]`; the draws
/// follow from the image's seed, the position and the column.
#[derive(Debug, Clone)]
pub(crate) struct EmbedTokens {
    pub(crate) ids: Slot,
    pub(crate) labels: Slot,
    pub(crate) table: Slot,
    pub(crate) format: WeightFormat,
    pub(crate) position: Slot,
    pub(crate) x: Slot,
    pub(crate) list: Option<Slot>,
    /// Its standard deviation, and `[images, 2]`: low and high word of each image's seed.
    pub(crate) noise: Option<(f32, Slot)>,
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
    pub(crate) kept: f32,
    pub(crate) noise: f32,
    pub(crate) unused: u32,
}

impl EmbedTokens {
    fn at(&self, step: &StepValues) -> Params {
        let noise = self.noise.map_or(0.0, |(noise, _)| noise);
        Params {
            images: self.images,
            rows: self.rows.at(step),
            tokens: self.tokens,
            width: self.width,
            vocabulary: self.vocabulary,
            kept: (1.0 - f64::from(noise).powi(2)).sqrt() as f32,
            noise,
            unused: 0,
        }
    }
}

impl Kernel for EmbedTokens {
    fn permutation(&self) -> Permutation {
        let permutation = Permutation::new("embed_tokens").flag("LISTED", self.list.is_some());
        let permutation = permutation.flag("NOISE", self.noise.is_some());
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
        bindings.extend(self.noise.map(|(_, seeds)| Binding::read(7, seeds)));
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
        let noise = self.noise.map_or_else(String::new, |(noise, _)| format!(", noise {noise}"));
        format!("[{}, {}]{noise}", self.rows, self.width)
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        let list = self.list.map(|_| io.u32(6));
        let seeds = self.noise.map(|_| io.u32(7));
        let ids = [io.u32(1), io.u32(2)];
        embed_tokens(self.at(step), ids, io.f32(3), io.f32(4), list, seeds, io.f32_mut(5));
    }
}

/// The twin.
pub(crate) fn embed_tokens(
    p: Params,
    [ids, labels]: [&[u32]; 2],
    table: &[f32],
    position: &[f32],
    list: Option<&[u32]>,
    seeds: Option<&[u32]>,
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
        match seeds.filter(|_| t < tokens) {
            None => {
                for i in 0..width {
                    x[i] = embedding[i] + position[i];
                }
            }
            Some(seeds) => {
                let image = sequence % p.images as usize;
                normal_row([seeds[2 * image], seeds[2 * image + 1]], t as u32, x);
                for i in 0..width {
                    x[i] = p.kept * embedding[i] + p.noise * x[i] + position[i];
                }
            }
        }
    });
}
