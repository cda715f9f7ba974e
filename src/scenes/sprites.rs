//! The sprites: WebP in one pack, decoded once each, with halves of halves for small sizes.

use super::SceneError;
use super::grammar::STYLES;
use super::nouns::Noun;

/// The pack is part of the executable, so that `migm scenes` runs from anywhere.
static PACK: &[u8] = include_bytes!("../../assets/sprites/sprites.pack");

/// Below this side no more halves are made.
const SMALLEST: usize = 4;

/// A picture with premultiplied alpha.
pub(super) struct Level {
    pub(super) width: usize,
    pub(super) height: usize,
    pixels: Vec<[u8; 4]>,
}

/// A sprite in all its sizes, largest first.
pub(super) struct Sprite {
    levels: Vec<Level>,
    /// Left and right end of what touches the ground, as shares of the width.
    pub(super) foot: [f32; 2],
}

impl Sprite {
    /// Decodes the sprite of a noun in a style.
    pub(super) fn load(noun: &Noun, style: usize) -> Result<Self, SceneError> {
        let refused =
            |what: String| SceneError::Sprite { noun: noun.label.clone(), style: STYLES[style], what };
        let [offset, length] = noun.sprites[style];
        let bytes = offset.checked_add(length).and_then(|end| PACK.get(offset..end));
        let bytes = bytes.ok_or_else(|| refused("it lies outside the pack".to_owned()))?;
        let picture = image::load_from_memory_with_format(bytes, image::ImageFormat::WebP)
            .map_err(|error| refused(error.to_string()))?
            .to_rgba8();
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let premultiply = |c: u8, a: u8| ((u16::from(c) * u16::from(a) + 127) / 255) as u8;
        let pixels = picture.pixels().map(|p| {
            let [r, g, b, a] = p.0;
            [premultiply(r, a), premultiply(g, a), premultiply(b, a), a]
        });
        Ok(Self::new(Level { width, height, pixels: pixels.collect() }))
    }

    fn new(largest: Level) -> Self {
        let foot = foot(&largest);
        let mut levels = vec![largest];
        while let Some(last) = levels.last()
            && last.width.min(last.height) >= 2 * SMALLEST
        {
            levels.push(half(last));
        }
        Self { levels, foot }
    }

    /// Pixels across and down.
    pub(super) fn size(&self) -> (f32, f32) {
        (self.levels[0].width as f32, self.levels[0].height as f32)
    }

    /// The smallest level that still has at least `height` rows, or the last.
    pub(super) fn level(&self, height: f32) -> &Level {
        let enough = self.levels.iter().rev().find(|level| level.height as f32 >= height);
        enough.unwrap_or(&self.levels[0])
    }

    /// A level `steps` smaller than the one for `height`: blurred.
    pub(super) fn blurred(&self, height: f32, steps: i32) -> &Level {
        self.level(height / 2_f32.powi(steps))
    }
}

impl Level {
    /// Colour and alpha at a place, both from 0 to 1, linear between pixels, nothing outside.
    #[inline]
    pub(super) fn at(&self, u: f32, v: f32) -> [f32; 4] {
        self.sum(u, v, [0.0; 4], |sum, pixel, weight| {
            for c in 0..4 {
                sum[c] += f32::from(pixel[c]) * weight;
            }
        })
    }

    /// Alpha alone.
    #[inline]
    pub(super) fn alpha(&self, u: f32, v: f32) -> f32 {
        self.sum(u, v, 0.0, |sum, pixel, weight| *sum += f32::from(pixel[3]) * weight)
    }

    /// Adds up the four pixels around a place by their weights, which make 1/255.
    #[inline]
    fn sum<T>(&self, u: f32, v: f32, mut sum: T, add: impl Fn(&mut T, [u8; 4], f32)) -> T {
        let (x0, fx) = floor(u * self.width as f32 - 0.5);
        let (y0, fy) = floor(v * self.height as f32 - 0.5);
        for (y, row_weight) in [(y0, (1.0 - fy) / 255.0), (y0 + 1, fy / 255.0)] {
            // Negative numbers become large ones.
            if y as usize >= self.height {
                continue;
            }
            for (x, weight) in [(x0, 1.0 - fx), (x0 + 1, fx)] {
                if (x as usize) < self.width {
                    add(&mut sum, self.pixels[y as usize * self.width + x as usize], row_weight * weight);
                }
            }
        }
        sum
    }
}

/// The whole number below, and what is above it. The standard `floor` is a call where the processor is not known to have
/// the instruction, and this is most of what painting does.
#[inline]
pub(super) fn floor(x: f32) -> (i32, f32) {
    let cut = x as i32;
    let whole = cut - i32::from(x < cut as f32);
    (whole, x - whole as f32)
}

/// Half the size; an odd last row or column is averaged with itself.
fn half(level: &Level) -> Level {
    let (width, height) = (level.width.div_ceil(2), level.height.div_ceil(2));
    let mut pixels = Vec::with_capacity(width * height);
    for y in 0..height {
        let rows = [2 * y, (2 * y + 1).min(level.height - 1)];
        for x in 0..width {
            let columns = [2 * x, (2 * x + 1).min(level.width - 1)];
            let mut sum = [2_u16; 4];
            for row in rows {
                for column in columns {
                    let pixel = level.pixels[row * level.width + column];
                    sum.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += u16::from(value));
                }
            }
            pixels.push(sum.map(|sum| (sum / 4) as u8));
        }
    }
    Level { width, height, pixels }
}

/// The extent of what is opaque in the lowest eighth of a sprite.
fn foot(level: &Level) -> [f32; 2] {
    let low = level.height - (level.height / 8).max(1);
    let opaque = |x: &usize| (low..level.height).any(|y| level.pixels[y * level.width + x][3] > 96);
    let columns = || (0..level.width).filter(opaque);
    match (columns().next(), columns().next_back()) {
        (Some(first), Some(last)) => {
            [first as f32 / level.width as f32, (last + 1) as f32 / level.width as f32]
        }
        _ => [0.2, 0.8],
    }
}

#[cfg(test)]
mod tests {
    use super::super::nouns;
    use super::*;
    use rayon::prelude::*;

    #[test]
    fn pack_and_index_agree_and_every_sprite_decodes() {
        let nouns = nouns();
        assert_eq!(nouns.len(), 551);
        let mut end = 0;
        for noun in nouns {
            for [offset, length] in noun.sprites {
                assert_eq!(offset, end, "{} follows what is before it", noun.label);
                end += length;
            }
            assert!(noun.label.is_ascii(), "{}", noun.label);
        }
        assert_eq!(end, PACK.len());
        nouns.par_iter().for_each(|noun| {
            for style in 0..3 {
                let sprite = Sprite::load(noun, style).unwrap();
                let (width, height) = sprite.size();
                assert_eq!(width.max(height), 104.0, "{} {style}: {width} x {height}", noun.label);
                let solid = sprite.levels[0].pixels.iter().filter(|p| p[3] > 128).count() as f32;
                assert!(solid > 0.05 * width * height, "{} {style}: nearly empty", noun.label);
                let premultiplied = |p: &[u8; 4]| p[..3].iter().all(|&c| c <= p[3]);
                assert!(sprite.levels.iter().all(|level| level.pixels.iter().all(premultiplied)));
                let [left, right] = sprite.foot;
                assert!(0.0 <= left && left < right && right <= 1.0, "{} {style}", noun.label);
            }
        });
    }

    #[test]
    fn whole_numbers_below() {
        for x in [-3.0_f32, -2.5, -0.001, 0.0, 0.999, 1.0, 7.25] {
            assert_eq!(floor(x), (x.floor() as i32, x - x.floor()), "{x}");
        }
    }

    #[test]
    fn halves_keep_the_mean_and_odd_sizes() {
        let pixels = (0..35).map(|i| [i as u8 * 7; 4]).collect();
        let level = half(&Level { width: 7, height: 5, pixels });
        assert_eq!((level.width, level.height), (4, 3));
        assert_eq!(level.pixels[0][0], ((7 + 7 * 7 + 8 * 7 + 2) / 4) as u8);
        assert_eq!(level.pixels[11][3], 34 * 7);
    }
}
