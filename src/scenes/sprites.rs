//! The sprites: WebP in one pack, decoded once each and reduced to the sizes that scenes show.

use super::SceneError;
use super::nouns::Noun;

/// The pack is part of the executable, so that `migm scenes` runs from anywhere.
static PACK: &[u8] = include_bytes!("../../assets/sprites/sprites.pack");

/// How sprites are drawn: one style a model, so that a noun has one look in each colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "wasm32"), derive(clap::ValueEnum))]
pub enum Style {
    /// Fluent's rounded, shaded models
    #[default]
    #[cfg_attr(not(target_arch = "wasm32"), value(name = "3d"))]
    ThreeD,
    /// Fluent's flat drawings
    Flat,
    /// Noto's
    Cartoon,
}

impl Style {
    const fn name(self) -> &'static str {
        match self {
            Self::ThreeD => "3D",
            Self::Flat => "flat",
            Self::Cartoon => "cartoon",
        }
    }
}

/// Sides of things, in pixels: whole tokens. A thing alone has one of the first two, one of two the second, one of three the third.
pub(super) const SIZES: [usize; 3] = [80, 56, 40];

/// A sprite in all its sizes: squares, in which it stands on the ground in the middle.
pub(super) struct Sprite {
    /// By [`SIZES`]: colour and alpha, the colour as it is where it covers all.
    pub(super) sizes: [Vec<[u8; 4]>; SIZES.len()],
    /// Whether its mirror image looks different.
    pub(super) faces: bool,
    /// By size: left and right end of what touches the ground.
    pub(super) foot: [[f32; 2]; SIZES.len()],
}

impl Sprite {
    /// Decodes the sprite of a noun.
    pub(super) fn load(noun: &Noun, style: Style) -> Result<Self, SceneError> {
        let refused =
            |what: String| SceneError::Sprite { noun: noun.label.clone(), style: style.name(), what };
        let [offset, length] = noun.sprites[style as usize];
        let bytes = offset.checked_add(length).and_then(|end| PACK.get(offset..end));
        let bytes = bytes.ok_or_else(|| refused("it lies outside the pack".to_owned()))?;
        let picture = image::load_from_memory_with_format(bytes, image::ImageFormat::WebP)
            .map_err(|error| refused(error.to_string()))?
            .to_rgba8();
        // With its alpha in its colour, so that what lies outside does not bleed in.
        let side = picture.width().max(picture.height());
        let mut square = image::Rgba32FImage::new(side, side);
        let (left, top) = ((side - picture.width()) / 2, side - picture.height());
        for (x, y, pixel) in picture.enumerate_pixels() {
            let [r, g, b, a] = pixel.0.map(|value| f32::from(value) / 255.0);
            square.put_pixel(x + left, y + top, image::Rgba([r * a, g * a, b * a, a]));
        }
        let sizes = SIZES.map(|size| reduced(&square, size));
        let foot = std::array::from_fn(|i| foot(&sizes[i], SIZES[i]));
        Ok(Self { faces: faces(&sizes[0], SIZES[0]), foot, sizes })
    }
}

fn reduced(square: &image::Rgba32FImage, size: usize) -> Vec<[u8; 4]> {
    use image::imageops::{FilterType, resize};
    let small = resize(square, size as u32, size as u32, FilterType::Lanczos3);
    let byte = |value: f32| (value.clamp(0.0, 1.0) * 255.0 + 0.5) as u8;
    let pixel = |p: &image::Rgba<f32>| {
        let [r, g, b, a] = p.0;
        let whole = 1.0 / a.max(1e-3);
        [byte(r * whole), byte(g * whole), byte(b * whole), byte(a)]
    };
    small.pixels().map(pixel).collect()
}

/// The ends of the lowest rows that are not empty.
fn foot(pixels: &[[u8; 4]], size: usize) -> [f32; 2] {
    let lowest = &pixels[pixels.len() - pixels.len() / 10..];
    let columns: Vec<usize> =
        lowest.iter().enumerate().filter(|(_, p)| p[3] > 96).map(|(i, _)| i % size).collect();
    match (columns.iter().min(), columns.iter().max()) {
        (Some(&left), Some(&right)) => [left as f32, right as f32 + 1.0],
        _ => [0.3 * size as f32, 0.7 * size as f32],
    }
}

/// Whether a tenth of what is seen changes much in the mirror; shading alone does not count.
fn faces(pixels: &[[u8; 4]], size: usize) -> bool {
    let (mut seen, mut other) = (0, 0);
    for (i, p) in pixels.iter().enumerate() {
        let q = pixels[i - i % size + size - 1 - i % size];
        let far = p.iter().zip(q).any(|(a, b)| a.abs_diff(b) > 96);
        seen += usize::from(p[3] > 96);
        other += usize::from(p[3].max(q[3]) > 96 && far);
    }
    other * 10 > seen
}

#[cfg(test)]
mod tests {
    use super::super::nouns;
    use super::*;
    use rayon::prelude::*;

    #[test]
    fn every_sprite_of_the_pack_is_read() {
        let nouns = nouns();
        assert_eq!(nouns.len(), 547);
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
            for style in [Style::ThreeD, Style::Flat, Style::Cartoon] {
                let sprite = Sprite::load(noun, style).unwrap();
                for (i, size) in SIZES.into_iter().enumerate() {
                    let pixels = &sprite.sizes[i];
                    assert_eq!(pixels.len(), size * size);
                    let solid = pixels.iter().filter(|p| p[3] > 128).count();
                    assert!(solid * 25 > size * size, "{} {style:?}: nearly empty", noun.label);
                    let [left, right] = sprite.foot[i];
                    assert!(0.0 <= left && left < right && right <= size as f32, "{} {style:?}", noun.label);
                }
            }
        });
    }

    #[test]
    fn some_things_face_a_side_and_others_do_not() {
        let faces = |label: &str| {
            let noun = nouns().iter().find(|noun| noun.label == label).unwrap();
            Sprite::load(noun, Style::ThreeD).unwrap().faces
        };
        for (label, wanted) in
            [("rocket", true), ("turtle", true), ("cat", true), ("koala", false), ("panda", false)]
        {
            assert_eq!(faces(label), wanted, "{label}");
        }
    }
}
