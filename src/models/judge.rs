//! The judge of postcards: a small residual network that reads the leftmost and the rightmost thing and their colours, how many
//! there are, place, light, and whether each thing is whole.
//!
//! The residual blocks are diffusers' (GroupNorm, SiLU, 3x3 convolution, twice), one a level, with a strided convolution
//! between levels; what is left of a picture is averaged over its pixels. These means are the features that Fréchet distances
//! are taken of, and one linear layer makes all readings of them. Activations are channels-last, pictures in [-1, 1].

use super::states;
use super::tokenizer::resnet::{Map, Normalisation};
use crate::kernels::conv2d::ConvForm;
use crate::kernels::mean_pixels::MeanPixels;
use crate::program::{Builder, Element};
use std::ops::Range;

/// The architecture that `config.json` names.
pub const ARCHITECTURE: &str = "scene-judge";

/// The part of a model folder: `judge.safetensors`.
pub const PART: &str = "judge";

/// What `config.json` says.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Config {
    /// [`ARCHITECTURE`].
    pub architecture: String,
    /// Pixels along a side.
    pub size: u32,
    /// Channels by level; each level but the last halves the resolution.
    pub channels: Vec<u32>,
    /// Groups of every GroupNorm.
    pub groups: u32,
    /// What can be seen, by label.
    pub nouns: Vec<String>,
    /// Where it can be.
    pub places: Vec<String>,
    /// In which light.
    pub lights: Vec<String>,
    /// In which colours; the first is a thing's own where that has no name.
    pub colours: Vec<String>,
}

/// The most objects that are counted.
pub const MOST_OBJECTS: usize = 3;

/// Readings of whether a picture is whole: torn, whole.
const WHOLE: usize = 2;

/// Where each reading stands among the outputs of a picture; in each, the largest counts. Of one thing or several of a kind,
/// both sides are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readings {
    /// By noun: the leftmost and the rightmost thing.
    pub nouns: [Range<usize>; 2],
    /// By colour: that of the leftmost and of the rightmost thing.
    pub colours: [Range<usize>; 2],
    /// One, two or three things.
    pub count: Range<usize>,
    /// By place.
    pub place: Range<usize>,
    /// By light.
    pub light: Range<usize>,
    /// Torn or whole.
    pub whole: Range<usize>,
}

impl Config {
    /// Whether the sizes go together.
    ///
    /// # Errors
    /// A sentence on the first that does not.
    pub fn check(&self) -> Result<(), String> {
        if self.architecture != ARCHITECTURE {
            let found = &self.architecture;
            return Err(format!("architecture {found:?} is not a judge's; that is {ARCHITECTURE:?}"));
        }
        let levels = self.channels.len();
        if levels == 0 || levels > 8 {
            return Err(format!("`channels` has {levels} levels; 1 to 8 make sense"));
        }
        let groups = self.groups;
        let odd = |&channels: &u32| channels == 0 || channels > 4096 || !channels.is_multiple_of(groups);
        if let Some(channels) = self.channels.iter().copied().find(|channels| groups == 0 || odd(channels)) {
            return Err(format!(
                "`channels` {channels} is not a multiple of its {groups} groups, up to 4096"
            ));
        }
        let halved = 1 << (levels - 1);
        if self.size == 0 || self.size > 1024 || !self.size.is_multiple_of(halved) {
            return Err(format!("`size` is {}; a multiple of {halved} up to 1024 makes sense", self.size));
        }
        for (name, list) in [
            ("nouns", &self.nouns),
            ("places", &self.places),
            ("lights", &self.lights),
            ("colours", &self.colours),
        ] {
            if list.is_empty() || list.len() > 1 << 16 {
                return Err(format!("`{name}` has {} entries; 1 to 65536 make sense", list.len()));
            }
        }
        Ok(())
    }

    /// Width of the features.
    pub fn features(&self) -> u32 {
        self.channels.last().copied().unwrap_or(0)
    }

    /// Where the readings stand.
    pub fn readings(&self) -> Readings {
        let mut next = 0;
        let mut take = |len: usize| {
            next += len;
            next - len..next
        };
        let (nouns, colours) = (self.nouns.len(), self.colours.len());
        Readings {
            nouns: [take(nouns), take(nouns)],
            colours: [take(colours), take(colours)],
            count: take(MOST_OBJECTS),
            place: take(self.places.len()),
            light: take(self.lights.len()),
            whole: take(WHOLE),
        }
    }

    /// Numbers that are read of a picture.
    pub fn outputs(&self) -> u32 {
        self.readings().whole.end as u32
    }

    /// Appends the judge over `images` pictures: from [`states::IMAGE`] to [`states::JUDGE_FEATURES`] and
    /// [`states::JUDGE_OUTPUTS`].
    pub fn read(&self, b: &mut Builder, images: u32) {
        let (height, width, norm) = (self.size, self.size, Normalisation::Groups(self.groups));
        let slot = b.state(states::IMAGE, images * height * width, 3, Element::F32);
        let x = Map { slot, images, height, width, channels: 3 };
        let first = self.channels.first().copied().unwrap_or(1);
        let mut x = x.conv(b, "judge.conv_in", first, ConvForm::Same);
        for (level, &channels) in self.channels.iter().enumerate() {
            b.scope(format!("level.{level}"), |b| {
                let name = format!("judge.blocks.{level}");
                x = x.res_block(b, &name, "conv_shortcut", channels, norm);
                if level + 1 < self.channels.len() {
                    x = x.conv(b, &format!("judge.downs.{level}.conv"), channels, ConvForm::Downsample);
                }
            });
        }
        let h = x.silu(b, "judge.norm_out", norm);
        let features = b.state(states::JUDGE_FEATURES, images, x.channels, Element::F32);
        b.push(MeanPixels { x: h, y: features, images, pixels: x.height * x.width, channels: x.channels });
        let outputs = b.state(states::JUDGE_OUTPUTS, images, self.outputs(), Element::F32);
        let head = b.layer("judge.head", self.outputs(), x.channels);
        b.linear_out(features, head, outputs);
    }
}
