//! Paints scenes: a background, which follows from place, light, horizon and variant, and the things in front of it.
//!
//! There are 384 backgrounds, each painted once when it is first asked for. Everything that could be anywhere stands on the grid of
//! tokens, 8 px, so that a patch of a picture comes in few variants and a small model can learn all of them. Colours are sRGB from 0
//! to 1, mixed as they are: emoji are drawn for that.

mod canvas;
mod places;
mod setting;
mod sky;
mod things;

use super::SceneError;
use super::content::Labels;
use super::draws::{Draws, Stream};
use super::grammar::COLOURS;
use super::nouns::Noun;
use super::sprites::{Sprite, Style};
use canvas::{Canvas, Rgb, SIDE};
use rayon::prelude::*;
use setting::{HORIZONS, Light, Place, Setting, VARIANTS};
use std::sync::OnceLock;
use things::Placed;
pub(super) use things::TOKEN;

const BACKGROUNDS: usize = Place::ALL.len() * Light::ALL.len() * HORIZONS * VARIANTS;

/// Sprites and backgrounds, shared between threads.
pub(super) struct Painter {
    sprites: Vec<Sprite>,
    /// Of each noun the colour that its own is called, 0 where it has no name.
    pub(super) own: Vec<usize>,
    backgrounds: Vec<OnceLock<Vec<Rgb>>>,
}

impl Painter {
    /// Decodes the sprites of these nouns, on all threads.
    pub(super) fn new(nouns: &[Noun], style: Style) -> Result<Self, SceneError> {
        let sprites: Vec<Sprite> =
            nouns.par_iter().map(|noun| Sprite::load(noun, style)).collect::<Result<_, _>>()?;
        let own = sprites.par_iter().map(things::own_colour).collect();
        Ok(Self { sprites, own, backgrounds: (0..BACKGROUNDS).map(|_| OnceLock::new()).collect() })
    }

    /// Paints scene `index` of a seed, in `size x size` RGB pixels.
    pub(super) fn scene(&self, seed: u64, index: u64, labels: &Labels, size: usize) -> Vec<u8> {
        let mut draws = Draws::new(seed, index, Stream::Layout);
        let (horizon, variant) = (draws.below(HORIZONS), draws.below(VARIANTS));
        let placed = things::layout(labels, |noun| self.sprites[noun].faces, &mut draws);
        let (place, light) = (Place::ALL[labels.place], Light::ALL[labels.light]);
        let background = self.background(place, light, horizon, variant);
        let with = |placed: &[Placed]| {
            let mut pixels = background.to_vec();
            for thing in placed {
                let (sprite, own) = (&self.sprites[thing.noun], self.own[thing.noun]);
                things::paint(&mut pixels, sprite, thing, own, place, light);
            }
            pixels
        };
        let mut pixels = with(&placed);
        if labels.torn {
            let other = with(&self.other(&placed, &mut draws));
            patch(&mut pixels, &other, &placed, &mut draws);
        }
        bytes(&pixels, SIDE / size)
    }

    /// Where the things of scene `index` of a seed stand, the farthest first: noun, and left, top, width and height in a picture of
    /// `size` pixels.
    pub(super) fn places(
        &self,
        seed: u64,
        index: u64,
        labels: &Labels,
        size: usize,
    ) -> Vec<(usize, [u32; 4])> {
        let mut draws = Draws::new(seed, index, Stream::Layout);
        // What the background takes.
        let _ = (draws.below(HORIZONS), draws.below(VARIANTS));
        let placed = things::layout(labels, |noun| self.sprites[noun].faces, &mut draws);
        let part = |pixels: usize| (pixels * size / SIDE) as u32;
        let of = |thing: &Placed| {
            let side = part(thing.side());
            (thing.noun, [part(thing.left), part(thing.top), side, side])
        };
        placed.iter().map(of).collect()
    }

    fn background(&self, place: Place, light: Light, horizon: usize, variant: usize) -> &[Rgb] {
        let number =
            ((place as usize * Light::ALL.len() + light as usize) * HORIZONS + horizon) * VARIANTS + variant;
        self.backgrounds[number].get_or_init(|| {
            let setting = Setting::new(place, light, horizon, variant);
            // Half a megabyte; a program without so much is at its end anyway, and grey is no reason to stop it.
            let Some(mut canvas) = Canvas::new() else { return vec![[0.5; 3]; SIDE * SIDE] };
            sky::paint(&mut canvas, &setting);
            places::paint(&mut canvas, &setting);
            canvas.pixels()
        })
    }

    /// The same places with other things: each of another noun, or of another colour that looks different.
    fn other(&self, placed: &[Placed], draws: &mut Draws) -> Vec<Placed> {
        let nouns = self.sprites.len();
        let other = |thing: &Placed| {
            let (noun, colour) = (draws.below(nouns.saturating_sub(1)), draws.below(COLOURS.len() - 1));
            let noun = noun + usize::from(noun >= thing.noun);
            let colour = colour + usize::from(colour >= thing.colour);
            // Natural and the colour that it is called by are one.
            let own = |colour: usize| if colour == 0 { self.own[thing.noun] } else { colour };
            let same = own(colour) == own(thing.colour);
            if nouns > 1 && (same || draws.chance(0.4)) {
                Placed { noun, flipped: thing.flipped && self.sprites[noun].faces, ..*thing }
            } else {
                Placed { colour, ..*thing }
            }
        };
        placed.iter().map(other).collect()
    }
}

/// Puts patches of the other picture, on the grid of tokens, over this one: things of two parts, as happens where tokens do not agree.
fn patch(pixels: &mut [Rgb], other: &[Rgb], placed: &[Placed], draws: &mut Draws) {
    let cells = SIDE / TOKEN;
    // Patches of one token or of two by two.
    let coarse = 1 + draws.below(2);
    let mut from_other: Vec<bool> = (0..cells * cells).map(|_| draws.chance(0.5)).collect();
    let block = |cell: usize| cell / cells / coarse * coarse * cells + cell % cells / coarse * coarse;
    from_other = (0..cells * cells).map(|cell| from_other[block(cell)]).collect();
    for thing in placed {
        // Whatever chance gave: the middle is of both.
        let middle = (thing.top + thing.side() / 2) / TOKEN * cells + (thing.left + thing.side() / 2) / TOKEN;
        let flip = usize::from(draws.chance(0.5));
        for (i, cell) in [middle, middle - 1, middle - cells, middle - cells - 1].into_iter().enumerate() {
            from_other[cell] = i % 2 == flip;
        }
    }
    for (i, (pixel, &other)) in pixels.iter_mut().zip(other).enumerate() {
        if from_other[i / SIDE / TOKEN * cells + i % SIDE / TOKEN] {
            *pixel = other;
        }
    }
}

/// RGB bytes, `factor` pixels averaged to one each way.
fn bytes(pixels: &[Rgb], factor: usize) -> Vec<u8> {
    let size = SIDE / factor;
    let share = 255.0 / (factor * factor) as f32;
    let mut out = Vec::with_capacity(size * size * 3);
    for y in 0..size {
        for x in 0..size {
            let mut sum = [0.0; 3];
            for row in y * factor..(y + 1) * factor {
                for pixel in &pixels[row * SIDE + x * factor..][..factor] {
                    (0..3).for_each(|c| sum[c] += pixel[c].clamp(0.0, 1.0));
                }
            }
            out.extend(sum.map(|c| (c * share + 0.5) as u8));
        }
    }
    out
}
