//! The residual convolutions that both image tokenizers are made of.

use crate::kernels::Slot;
use crate::kernels::conv2d::ConvForm;
use crate::program::Builder;

/// An activation: its slot, `[images * height * width, channels]`.
#[derive(Clone, Copy)]
pub(in crate::models) struct Map {
    pub(in crate::models) slot: Slot,
    pub(in crate::models) images: u32,
    pub(in crate::models) height: u32,
    pub(in crate::models) width: u32,
    pub(in crate::models) channels: u32,
}

/// What stands before each SiLU.
#[derive(Clone, Copy)]
pub(in crate::models) enum Normalisation {
    /// A GroupNorm of so many groups: its statistics are of the whole picture.
    Groups(u32),
    /// A scale and a shift of each channel alone.
    Affine,
}

impl Map {
    pub(in crate::models) fn shape(&self) -> [u32; 3] {
        [self.images, self.height, self.width]
    }

    /// The 3x3 convolution `name` of this.
    pub(in crate::models) fn conv(self, b: &mut Builder, name: &str, channels: u32, form: ConvForm) -> Self {
        let slot = b.conv3x3(self.slot, name, channels, self.shape(), form);
        let (height, width) = form.output_size(self.height, self.width);
        Self { slot, height, width, channels, ..self }
    }

    /// SiLU of this after the norm `name`.
    pub(in crate::models) fn silu(self, b: &mut Builder, name: &str, norm: Normalisation) -> Slot {
        let weights = b.norm(name, self.channels);
        match norm {
            Normalisation::Groups(groups) => b.group_norm(self.slot, weights, self.images, groups, true),
            Normalisation::Affine => b.affine_silu(self.slot, weights),
        }
    }

    /// Norm, SiLU, conv, norm, SiLU, conv; the skip is this itself or its 1x1 convolution `{name}.{shortcut}`, and the sum is
    /// in place.
    pub(in crate::models) fn res_block(
        self,
        b: &mut Builder,
        name: &str,
        shortcut: &str,
        channels: u32,
        norm: Normalisation,
    ) -> Self {
        let h = self.silu(b, &format!("{name}.norm1"), norm);
        let h = b.conv3x3(h, &format!("{name}.conv1"), channels, self.shape(), ConvForm::Same);
        let h = Self { slot: h, channels, ..self }.silu(b, &format!("{name}.norm2"), norm);
        let skip = if channels == self.channels {
            self.slot
        } else {
            let shortcut = b.pointwise(&format!("{name}.{shortcut}"), channels, self.channels);
            b.linear(self.slot, shortcut)
        };
        b.conv3x3_into(h, &format!("{name}.conv2"), channels, self.shape(), ConvForm::Same, skip, true);
        Self { slot: skip, channels, ..self }
    }
}
