//! Contact sheets: scenes with their captions below.

use super::composer::Scene;
use crate::generate::captions;
use crate::generate::picture::Picture;

/// Lines of a caption.
const LINES: u32 = 3;

/// Scenes of `size` px, `columns` in a row, each enlarged to about 256 px with its caption below.
#[must_use]
pub fn sheet(scenes: &[Scene], size: u32, columns: u32) -> Picture {
    let picture = |scene: &Scene| Picture { width: size, height: size, rgb: scene.pixels.clone() };
    let pictures: Vec<(Picture, &str)> =
        scenes.iter().map(|scene| (picture(scene), scene.caption.as_str())).collect();
    captions::sheet(&pictures, columns, LINES)
}

#[cfg(test)]
mod tests {
    use super::super::grammar::{COLOURS, LIGHTS, PLACES};
    use super::super::nouns;
    use crate::generate::font::{UNKNOWN, glyph};

    #[test]
    fn every_letter_of_every_caption_is_drawn() {
        let nouns = nouns().iter().flat_map(|noun| [Some(noun.label.as_str()), noun.plural.as_deref()]);
        let phrases = PLACES.iter().chain(&LIGHTS).map(|phrase| phrase.phrase);
        for text in nouns.flatten().chain(phrases).chain(["to the left of"]).chain(COLOURS) {
            for c in text.chars() {
                assert_ne!(glyph(c), UNKNOWN, "{c:?} of {text:?}");
            }
        }
    }
}
