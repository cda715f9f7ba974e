//! Token embedding of text with an image in it. Twin of `shaders/embed_sequence.wgsl`.

use super::{
    Binding, Buffers, Cost, Extent, Kernel, RowRange, Slot, StepValues, WeightFormat, padded,
    shader::Permutation, split_workgroups,
};
use rayon::prelude::*;

/// `x[r] = table[id(r)]`, in images of `entries` rows. An image's template tells its first `prefix` rows: a row is an id, or
/// [`IMAGE`] plus the index of an image token among those of all images; row `prefix + j` is the image's own token j. An
/// image token's id is `first_code` plus its code, or `mask`.
///
/// With a list, row r is what templates and codes make of row `list[r]`.
///
/// Shapes: `template` is `[images, length]`, `codes` `[images, tokens]` (`codebook` or above where masked), `x` `[rows, width]`, `list` `[rows]`. Ids past the table read its last row.
#[derive(Debug, Clone)]
pub(crate) struct EmbedSequence {
    pub(crate) template: Slot,
    pub(crate) codes: Slot,
    pub(crate) list: Option<Slot>,
    pub(crate) table: Slot,
    pub(crate) format: WeightFormat,
    pub(crate) x: Slot,
    pub(crate) rows: Extent,
    /// Rows of an image that there are to choose from.
    pub(crate) entries: Extent,
    pub(crate) prefix: u32,
    pub(crate) length: u32,
    pub(crate) tokens: u32,
    pub(crate) width: u32,
    pub(crate) vocabulary: u32,
    /// The ids whose rows `table` has: all, or a part of a table too large for one binding. Rows of other ids are left alone.
    pub(crate) held: RowRange,
    pub(crate) first_code: u32,
    pub(crate) codebook: u32,
    pub(crate) mask: u32,
}

/// Marks an entry of a template as an image token.
pub(crate) const IMAGE: u32 = 1 << 31;

/// The shader's parameter block.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Params {
    pub(crate) rows: u32,
    pub(crate) prefix: u32,
    pub(crate) width: u32,
    pub(crate) vocabulary: u32,
    pub(crate) first_code: u32,
    pub(crate) codebook: u32,
    pub(crate) mask: u32,
    pub(crate) first: u32,
    pub(crate) held: u32,
    pub(crate) entries: u32,
    pub(crate) length: u32,
    pub(crate) tokens: u32,
}

impl EmbedSequence {
    fn at(&self, step: &StepValues) -> Params {
        Params {
            rows: self.rows.at(step),
            prefix: self.prefix,
            width: self.width,
            vocabulary: self.vocabulary,
            first_code: self.first_code,
            codebook: self.codebook,
            mask: self.mask,
            first: self.held.first,
            held: self.held.count,
            entries: self.entries.at(step).max(1),
            length: self.length,
            tokens: self.tokens,
        }
    }
}

impl Kernel for EmbedSequence {
    fn permutation(&self) -> Permutation {
        let permutation = Permutation::new("embed_sequence").flag("LISTED", self.list.is_some());
        self.format.specialise(permutation)
    }

    fn bindings(&self) -> Vec<Binding> {
        let mut bindings = vec![
            Binding::read(1, self.template),
            Binding::read(2, self.codes),
            Binding::read(3, self.table),
            if self.held.first == 0 { Binding::write(4, self.x) } else { Binding::update(4, self.x) },
        ];
        bindings.extend(self.list.map(|slot| Binding::read(5, slot)));
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
        Cost::new(0, 2 * elements)
    }

    fn describe(&self) -> String {
        let part = if self.held.count < self.vocabulary {
            format!(", ids from {} on", self.held.first)
        } else {
            String::new()
        };
        format!("[{}, {}]{part}", self.rows, self.width)
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        let list = self.list.map(|_| io.u32(5));
        embed_sequence(self.at(step), io.u32(1), io.u32(2), io.f32(3), list, io.f32_mut(4));
    }
}

/// The twin.
pub(crate) fn embed_sequence(
    p: Params,
    template: &[u32],
    codes: &[u32],
    table: &[f32],
    list: Option<&[u32]>,
    x: &mut [f32],
) {
    let width = p.width as usize;
    let stride = padded(p.width) as usize;
    let rows = p.rows as usize * width;
    x[..rows].par_chunks_mut(width).with_min_len(64).enumerate().for_each(|(row, x)| {
        let row = list.map_or(row as u32, |list| list[row]);
        let (image, row) = (row / p.entries, row % p.entries);
        let word = if row < p.prefix {
            template[(image * p.length + row) as usize]
        } else {
            IMAGE + image * p.tokens + row - p.prefix
        };
        let id = if word < IMAGE {
            word
        } else {
            let code = codes[(word - IMAGE) as usize];
            if code < p.codebook { p.first_code + code } else { p.mask }
        };
        let at = id.min(p.vocabulary - 1).wrapping_sub(p.first);
        if at < p.held {
            x.copy_from_slice(&table[at as usize * stride..][..width]);
        }
    });
}
