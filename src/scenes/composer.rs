//! Scenes by seed and number.

use super::SceneError;
use super::content::{self, Labels, Split};
use super::grammar::Ids;
use super::nouns::{Noun, nouns};
use super::paint;
use super::split::HeldOut;
use super::sprites::Sprite;
use rayon::prelude::*;

/// A picture, what it shows, and what its caption says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scene {
    /// RGB, `[size, size, 3]`, rows from the top.
    pub pixels: Vec<u8>,
    /// What it shows.
    pub labels: Labels,
    /// What is said of it.
    pub caption: String,
    /// The caption's words, by number in [`super::vocabulary`].
    pub ids: Vec<u16>,
}

/// Composes scenes of the first nouns; shared between threads.
pub struct Composer {
    nouns: &'static [Noun],
    size: u32,
    held: HeldOut<'static>,
    ids: Ids,
    /// By noun and style.
    sprites: Vec<[Sprite; 3]>,
    noise: paint::Noise,
}

impl Composer {
    /// Decodes the sprites of the first `count` nouns, on all threads. `size` is 64 or 128 px; both show the same scene.
    ///
    /// # Errors
    /// There are not that many nouns, there is no such size, or the sprites are damaged.
    pub fn new(count: usize, size: u32) -> Result<Self, SceneError> {
        let all = nouns();
        if count == 0 || count > all.len() {
            return Err(SceneError::Nouns { given: count, available: all.len() });
        }
        if ![64, 128].contains(&size) {
            return Err(SceneError::Size { given: size });
        }
        let nouns = &all[..count];
        let load = |noun: &Noun| -> Result<[Sprite; 3], SceneError> {
            Ok([Sprite::load(noun, 0)?, Sprite::load(noun, 1)?, Sprite::load(noun, 2)?])
        };
        Ok(Self {
            nouns,
            size,
            held: HeldOut::new(nouns),
            ids: Ids::new(count),
            sprites: nouns.par_iter().map(load).collect::<Result<_, _>>()?,
            noise: paint::Noise::new(),
        })
    }

    /// Pixels across and down.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.size
    }

    /// The nouns in use.
    #[must_use]
    pub fn nouns(&self) -> &'static [Noun] {
        self.nouns
    }

    /// Scene `index` of a seed: a function of these arguments, the nouns and the size, whatever was composed before. Where the
    /// split has no scene of these nouns ([`Composer::has`]) it may be one of another split, and its labels say so.
    #[must_use]
    pub fn scene(&self, seed: u64, index: u64, filter: Split, single: bool) -> Scene {
        let labels = content::draw(seed, index, filter, single, self.nouns, &self.held);
        let pixels = paint::scene(seed, index, &labels, &self.sprites, &self.noise, self.size as usize);
        let caption = labels.wanted().caption();
        let ids = self.ids.of(&caption);
        Scene { pixels, labels, caption, ids }
    }

    /// Scenes `first .. first + count`, in order, composed on all threads.
    #[must_use]
    pub fn scenes(&self, seed: u64, first: u64, count: u64, filter: Split, single: bool) -> Vec<Scene> {
        (first..first + count).into_par_iter().map(|i| self.scene(seed, i, filter, single)).collect()
    }

    /// Whether the split has scenes of these nouns: whether the first 64 of a seed belong to it.
    #[must_use]
    pub fn has(&self, filter: Split, single: bool) -> bool {
        let belongs = |index| {
            let labels = content::draw(0, index, filter, single, self.nouns, &self.held);
            labels.held_out == (filter == Split::HeldOut)
        };
        filter == Split::All || (0..64).all(belongs)
    }
}
