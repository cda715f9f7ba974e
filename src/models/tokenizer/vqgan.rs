//! VQGAN: the tokenizer that turns pictures into codes and back (taming-transformers' autoencoder).
//!
//! Esser et al. 2021 (arXiv 2012.09841); official tensor names. Activations are channels-last, so a 1x1
//! convolution is a linear layer and attention over pixels is attention over rows. Pictures are in [-1, 1].

use super::resnet::{Map, Normalisation};
use crate::kernels::attention::Operand;
use crate::kernels::conv2d::ConvForm;
use crate::kernels::nearest_code::NearestCode;
use crate::kernels::{Extent, Slot};
use crate::models::states;
use crate::program::{Builder, Element, Layout};

/// Sizes of a VQGAN.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Config {
    /// Channels at the narrow end of the encoder and decoder.
    pub z_channels: u32,
    /// Width of a code's vector.
    pub embed_dim: u32,
    /// Channels at full resolution.
    pub ch: u32,
    /// Channels by level, as multiples of `ch`; each level but the last halves the resolution.
    pub ch_mult: Vec<u32>,
    /// Residual blocks a level (the decoder has one more).
    pub num_res_blocks: u32,
    /// Resolutions with attention, counted from `resolution` downwards, whatever the picture's real size.
    pub attn_resolutions: Vec<u32>,
    /// The resolution that `attn_resolutions` refers to.
    pub resolution: u32,
}

/// Groups of every GroupNorm.
const GROUPS: u32 = 32;
const NORM: Normalisation = Normalisation::Groups(GROUPS);
/// The name of the 1x1 convolution beside a residual block that changes the channels.
const SHORTCUT: &str = "nin_shortcut";

impl Config {
    /// The official ImageNet tokenizer: 16 pixels a token, 1,024 codes.
    pub fn official() -> Self {
        Self {
            z_channels: 256,
            embed_dim: 256,
            ch: 128,
            ch_mult: vec![1, 1, 2, 2, 4],
            num_res_blocks: 2,
            attn_resolutions: vec![16],
            resolution: 256,
        }
    }

    /// Whether the sizes go together, and are such as the kernels take.
    ///
    /// # Errors
    /// A sentence on the first that does not.
    pub fn check(&self) -> Result<(), String> {
        if self.ch_mult.is_empty() || self.ch_mult.len() > 8 || self.ch_mult.iter().any(|&m| m == 0 || m > 64)
        {
            return Err(format!(
                "`tokenizer.ch_mult` {:?} is not 1 to 8 multiples from 1 to 64",
                self.ch_mult
            ));
        }
        for (name, value, most) in [
            ("ch", self.ch, 4096),
            ("z_channels", self.z_channels, 4096),
            ("embed_dim", self.embed_dim, 4096),
            ("num_res_blocks", self.num_res_blocks, 64),
        ] {
            match value {
                0 => return Err(format!("`tokenizer.{name}` is 0")),
                v if v > most => {
                    return Err(format!("`tokenizer.{name}` is {v}; at most {most} makes sense"));
                }
                _ => {}
            }
        }
        if !self.ch.is_multiple_of(GROUPS) {
            return Err(format!(
                "`tokenizer.ch` {} is not a multiple of the {GROUPS} groups of its normalisations",
                self.ch
            ));
        }
        if self.ch_mult.iter().any(|m| m * self.ch > 1024) {
            let what = "the tokenizer has more than 1024 channels, which its attention does not take";
            return Err(what.to_owned());
        }
        Ok(())
    }

    /// Pixels a token along a side.
    pub fn factor(&self) -> u32 {
        1 << (self.ch_mult.len() as u32).saturating_sub(1)
    }

    /// Levels of resolution.
    fn levels(&self) -> u32 {
        self.ch_mult.len() as u32
    }

    fn channels(&self, level: u32) -> u32 {
        self.ch * self.ch_mult.get(level as usize).copied().unwrap_or(1)
    }

    /// Whether a level's blocks are followed by attention, as decided when the official modules are made.
    fn attends(&self, level: u32) -> bool {
        self.attn_resolutions.contains(&(self.resolution >> level))
    }

    /// Appends the decoder: [`states::CODES`] of `images` grids of `height x width` to [`states::IMAGE`].
    pub fn decode(&self, b: &mut Builder, codes: u32, images: u32, height: u32, width: u32) {
        let pixels = images * height * width;
        let table = self.codebook(b, codes);
        let indices = b.state(states::CODES, pixels, 1, Element::U32);
        let z = b.lookup(table, codes, indices, pixels, self.embed_dim);
        let post_quant = b.pointwise("vqgan.post_quant_conv", self.z_channels, self.embed_dim);
        let z = b.linear(z, post_quant);
        let last = self.levels() - 1;
        let x = Map { slot: z, images, height, width, channels: self.z_channels };
        let mut x = x.conv(b, "vqgan.decoder.conv_in", self.channels(last), ConvForm::Same);
        b.scope("mid", |b| {
            x = x.res_block(b, "vqgan.decoder.mid.block_1", SHORTCUT, self.channels(last), NORM);
            self.attention(b, x, "vqgan.decoder.mid.attn_1");
            x = x.res_block(b, "vqgan.decoder.mid.block_2", SHORTCUT, self.channels(last), NORM);
        });
        for level in (0..self.levels()).rev() {
            b.scope(format!("up.{level}"), |b| {
                let name = format!("vqgan.decoder.up.{level}");
                for block in 0..=self.num_res_blocks {
                    x = x.res_block(
                        b,
                        &format!("{name}.block.{block}"),
                        SHORTCUT,
                        self.channels(level),
                        NORM,
                    );
                    if self.attends(level) {
                        self.attention(b, x, &format!("{name}.attn.{block}"));
                    }
                }
                if level > 0 {
                    let name = format!("{name}.upsample.conv");
                    x = x.conv(b, &name, x.channels, ConvForm::Upsample);
                }
            });
        }
        let h = x.silu(b, "vqgan.decoder.norm_out", NORM);
        let image = b.state(states::IMAGE, images * x.height * x.width, 3, Element::F32);
        b.conv3x3_into(h, "vqgan.decoder.conv_out", 3, x.shape(), ConvForm::Same, image, false);
    }

    /// Appends the encoder: [`states::IMAGE`] of `images` pictures to [`states::LATENTS`] and [`states::CODES`].
    pub fn encode(&self, b: &mut Builder, codes: u32, images: u32, height: u32, width: u32) {
        let image = b.state(states::IMAGE, images * height * width, 3, Element::F32);
        let x = Map { slot: image, images, height, width, channels: 3 };
        let mut x = x.conv(b, "vqgan.encoder.conv_in", self.ch, ConvForm::Same);
        for level in 0..self.levels() {
            b.scope(format!("down.{level}"), |b| {
                let name = format!("vqgan.encoder.down.{level}");
                for block in 0..self.num_res_blocks {
                    x = x.res_block(
                        b,
                        &format!("{name}.block.{block}"),
                        SHORTCUT,
                        self.channels(level),
                        NORM,
                    );
                    if self.attends(level) {
                        self.attention(b, x, &format!("{name}.attn.{block}"));
                    }
                }
                if level + 1 < self.levels() {
                    let name = format!("{name}.downsample.conv");
                    x = x.conv(b, &name, x.channels, ConvForm::Downsample);
                }
            });
        }
        b.scope("mid", |b| {
            x = x.res_block(b, "vqgan.encoder.mid.block_1", SHORTCUT, x.channels, NORM);
            self.attention(b, x, "vqgan.encoder.mid.attn_1");
            x = x.res_block(b, "vqgan.encoder.mid.block_2", SHORTCUT, x.channels, NORM);
        });
        let h = x.silu(b, "vqgan.encoder.norm_out", NORM);
        let x = Map { slot: h, ..x };
        let z = x.conv(b, "vqgan.encoder.conv_out", self.z_channels, ConvForm::Same);
        let quant = b.pointwise("vqgan.quant_conv", self.embed_dim, self.z_channels);
        let pixels = images * z.height * z.width;
        let latents = b.state(states::LATENTS, pixels, self.embed_dim, Element::F32);
        b.linear_out(z.slot, quant, latents);
        let codebook = self.codebook(b, codes);
        let codes_out = b.state(states::CODES, pixels, 1, Element::U32);
        b.push(NearestCode {
            z: latents,
            codebook,
            codes_out,
            rows: Extent::fixed(pixels),
            width: self.embed_dim,
            codes,
        });
    }

    fn codebook(&self, b: &mut Builder, codes: u32) -> Slot {
        b.weight("vqgan.quantize.embedding.weight", &[codes as usize, self.embed_dim as usize], Layout::Table)
    }

    /// `x += proj(attention(GN(x)))`: one head of all channels over all pixels, in place.
    fn attention(&self, b: &mut Builder, x: Map, name: &str) {
        let norm = b.norm(&format!("{name}.norm"), x.channels);
        let h = b.group_norm(x.slot, norm, x.images, GROUPS, false);
        let [q, k, v] = ["q", "k", "v"].map(|part| {
            let layer = b.pointwise(&format!("{name}.{part}"), x.channels, x.channels);
            let slot = b.linear(h, layer);
            Operand { slot, offset: 0, stride: x.channels }
        });
        let h = b.attention(q, k, v, x.images, x.images, 1, x.channels);
        let out = b.pointwise(&format!("{name}.proj_out"), x.channels, x.channels);
        b.linear_add(h, out, x.slot);
    }
}
