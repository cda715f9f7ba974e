//! The image tokenizer of aMUSEd, Meissonic and Lumina-DiMOO: a VQGAN without attention, under diffusers' names.
//!
//! `VQModel` of diffusers, as configured for aMUSEd (arXiv 2401.01808). Activations are channels-last. Pictures are in
//! [0, 1].

use super::resnet::{Map, Normalisation};
use crate::kernels::conv2d::ConvForm;
use crate::kernels::nearest_code::NearestCode;
use crate::kernels::{Extent, Slot};
use crate::models::states;
use crate::program::{Builder, Element, Layout};

/// Sizes of the tokenizer.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Config {
    /// Channels by level (`block_out_channels`); each level but the last halves the resolution.
    #[serde(rename = "ch")]
    pub channels: Vec<u32>,
    /// Residual blocks a level (the decoder has one more).
    pub layers: u32,
    /// Width of a code's vector.
    pub latent: u32,
    /// Groups of every GroupNorm.
    pub groups: u32,
    /// Whether the encoder has a scale and a shift of each channel in place of GroupNorms (ours, not aMUSEd's): codes then depend on
    /// what is near, not on the whole picture.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub local: bool,
}

/// The name of the 1x1 convolution beside a residual block that changes the channels.
const SHORTCUT: &str = "conv_shortcut";

impl Config {
    /// The official tokenizer: 16 pixels a token, 8,192 codes.
    pub fn official() -> Self {
        Self { channels: vec![128, 256, 256, 512, 768], layers: 2, latent: 64, groups: 32, local: false }
    }

    /// Whether the sizes go together.
    ///
    /// # Errors
    /// A sentence on the first that does not.
    pub fn check(&self) -> Result<(), String> {
        if self.channels.is_empty() || self.channels.len() > 8 {
            return Err(format!("`vq.ch` has {} levels; 1 to 8 make sense", self.channels.len()));
        }
        if self.latent == 0 || self.latent > 4096 || self.layers == 0 || self.layers > 64 {
            let Self { latent, layers, .. } = self;
            return Err(format!("`vq.latent` {latent} or `vq.layers` {layers} is out of range"));
        }
        let groups = self.groups;
        let odd = |&channels: &u32| channels == 0 || channels > 1 << 14 || !channels.is_multiple_of(groups);
        match self.channels.iter().copied().find(|channels| groups == 0 || odd(channels)) {
            Some(channels) => Err(format!("`vq.ch` {channels} is not a multiple of its {groups} groups")),
            None => Ok(()),
        }
    }

    /// Pixels a token along a side.
    pub fn factor(&self) -> u32 {
        1 << (self.channels.len() as u32).saturating_sub(1)
    }

    fn first(&self) -> u32 {
        self.channels.first().copied().unwrap_or(1)
    }

    fn last(&self) -> u32 {
        self.channels.last().copied().unwrap_or(1)
    }

    /// Appends the decoder: [`states::CODES`] of `images` grids of `height x width` to [`states::IMAGE`].
    pub fn decode(&self, b: &mut Builder, codes: u32, images: u32, height: u32, width: u32) {
        let pixels = images * height * width;
        let table = self.codebook(b, codes);
        let indices = b.state(states::CODES, pixels, 1, Element::U32);
        let z = b.lookup(table, codes, indices, pixels, self.latent);
        let post_quant = b.pointwise("vq.post_quant_conv", self.latent, self.latent);
        let slot = b.linear(z, post_quant);
        let x = Map { slot, images, height, width, channels: self.latent };
        let x = x.conv(b, "vq.decoder.conv_in", self.last(), ConvForm::Same);
        let norm = Normalisation::Groups(self.groups);
        let mut x = b.scope("mid", |b| self.middle(b, x, "vq.decoder.mid_block", norm));
        for (index, &channels) in self.channels.iter().rev().enumerate() {
            b.scope(format!("up.{index}"), |b| {
                let name = format!("vq.decoder.up_blocks.{index}");
                x = self.level(b, x, &name, self.layers + 1, channels, norm);
                if index + 1 < self.channels.len() {
                    x = x.conv(b, &format!("{name}.upsamplers.0.conv"), channels, ConvForm::Upsample);
                }
            });
        }
        let h = x.silu(b, "vq.decoder.conv_norm_out", norm);
        let image = b.state(states::IMAGE, images * x.height * x.width, 3, Element::F32);
        b.conv3x3_into(h, "vq.decoder.conv_out", 3, x.shape(), ConvForm::Same, image, false);
    }

    /// Appends the encoder: [`states::IMAGE`] of `images` pictures to [`states::LATENTS`] and [`states::CODES`].
    pub fn encode(&self, b: &mut Builder, codes: u32, images: u32, height: u32, width: u32) {
        let norm = if self.local { Normalisation::Affine } else { Normalisation::Groups(self.groups) };
        let slot = b.state(states::IMAGE, images * height * width, 3, Element::F32);
        let x = Map { slot, images, height, width, channels: 3 };
        let mut x = x.conv(b, "vq.encoder.conv_in", self.first(), ConvForm::Same);
        for (index, &channels) in self.channels.iter().enumerate() {
            b.scope(format!("down.{index}"), |b| {
                let name = format!("vq.encoder.down_blocks.{index}");
                x = self.level(b, x, &name, self.layers, channels, norm);
                if index + 1 < self.channels.len() {
                    x = x.conv(b, &format!("{name}.downsamplers.0.conv"), channels, ConvForm::Downsample);
                }
            });
        }
        let x = b.scope("mid", |b| self.middle(b, x, "vq.encoder.mid_block", norm));
        let slot = x.silu(b, "vq.encoder.conv_norm_out", norm);
        let z = Map { slot, ..x }.conv(b, "vq.encoder.conv_out", self.latent, ConvForm::Same);
        let quant = b.pointwise("vq.quant_conv", self.latent, self.latent);
        let pixels = images * z.height * z.width;
        let latents = b.state(states::LATENTS, pixels, self.latent, Element::F32);
        b.linear_out(z.slot, quant, latents);
        let codebook = self.codebook(b, codes);
        let codes_out = b.state(states::CODES, pixels, 1, Element::U32);
        let (rows, width) = (Extent::fixed(pixels), self.latent);
        b.push(NearestCode { z: latents, codebook, codes_out, rows, width, codes });
    }

    fn codebook(&self, b: &mut Builder, codes: u32) -> Slot {
        b.weight("vq.quantize.embedding.weight", &[codes as usize, self.latent as usize], Layout::Table)
    }

    /// `layers` residual blocks, of which the first may change the channels.
    fn level(
        &self,
        b: &mut Builder,
        mut x: Map,
        name: &str,
        layers: u32,
        channels: u32,
        norm: Normalisation,
    ) -> Map {
        for layer in 0..layers {
            x = x.res_block(b, &format!("{name}.resnets.{layer}"), SHORTCUT, channels, norm);
        }
        x
    }

    fn middle(&self, b: &mut Builder, x: Map, name: &str, norm: Normalisation) -> Map {
        self.level(b, x, name, 2, x.channels, norm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{build, parameters, tensors};
    use crate::program::Formats;

    #[test]
    fn the_official_tokenizer_has_146_million_parameters() {
        let config = Config::official();
        assert_eq!(config.check(), Ok(()));
        assert!(Config { groups: 0, ..Config::official() }.check().is_err());
        assert!(Config { groups: 48, ..Config::official() }.check().is_err());
        assert_eq!(config.factor(), 16);
        let programs = [
            build("decode", Formats::F32, |b| config.decode(b, 8192, 1, 64, 64)).unwrap(),
            build("encode", Formats::F32, |b| config.encode(b, 8192, 1, 1024, 1024)).unwrap(),
        ];
        assert_eq!(parameters(&tensors(&programs)), 146_244_675);
    }
}
