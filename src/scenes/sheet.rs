//! Contact sheets: scenes with their captions below, in a small font of our own.

use super::composer::Scene;
use crate::generate::picture::Picture;

const MARGIN: u32 = 10;
const LINES: u32 = 3;
const LINE: u32 = 11;
const INK: [u8; 3] = [0x2A, 0x2D, 0x34];
const PAPER: [u8; 3] = [0xF7, 0xF6, 0xF2];

/// Scenes of `size` px, `columns` in a row, each enlarged to about 256 px with its caption below.
#[must_use]
pub fn sheet(scenes: &[Scene], size: u32, columns: u32) -> Picture {
    let factor = (256 / size.max(1)).max(1);
    let side = size * factor;
    let columns = columns.clamp(1, (scenes.len() as u32).max(1));
    let rows = (scenes.len() as u32).div_ceil(columns);
    let (cell_width, cell_height) = (side + MARGIN, side + 6 + LINES * LINE + MARGIN);
    let (width, height) = (columns * cell_width + MARGIN, rows * cell_height + MARGIN);
    let rgb = PAPER.repeat((width * height) as usize);
    let mut page = Picture { width, height, rgb };
    for (i, scene) in scenes.iter().enumerate() {
        let x = MARGIN + i as u32 % columns * cell_width;
        let y = MARGIN + i as u32 / columns * cell_height;
        let picture = Picture { width: size, height: size, rgb: scene.pixels.clone() }.enlarged(factor);
        for (row, line) in picture.rgb.chunks_exact(side as usize * 3).enumerate() {
            let at = (((y + row as u32) * width + x) * 3) as usize;
            page.rgb[at..at + line.len()].copy_from_slice(line);
        }
        for (row, line) in wrapped(&scene.caption, side).iter().take(LINES as usize).enumerate() {
            write(&mut page, x, y + side + 6 + row as u32 * LINE, line);
        }
    }
    page
}

/// A text in lines that are at most `width` pixels long.
fn wrapped(text: &str, width: u32) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if length(line) + length(word) + 5 <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn length(text: &str) -> u32 {
    text.chars().map(|c| glyph(c).0 + 1).sum()
}

fn write(page: &mut Picture, x: u32, y: u32, text: &str) {
    let mut left = x;
    for c in text.chars() {
        let (width, rows) = glyph(c);
        for (row, bits) in rows.iter().enumerate() {
            for column in 0..width {
                if bits >> (width - 1 - column) & 1 == 1 && left + column < page.width {
                    let at = (((y + row as u32) * page.width + left + column) * 3) as usize;
                    page.rgb[at..at + 3].copy_from_slice(&INK);
                }
            }
        }
        left += width + 1;
    }
}

/// Width and rows of a letter, nine rows from the top of tall letters to the foot of hanging ones; a box for what is not there.
fn glyph(c: char) -> (u32, [u8; 9]) {
    const BOX: &str = "##### #...# #...# #...# #...# #...# #####";
    let drawn = FONT.iter().find(|(letter, _)| *letter == c).map_or(BOX, |(_, rows)| *rows);
    let mut rows = [0; 9];
    let mut width = 0;
    for (row, dots) in rows.iter_mut().zip(drawn.split(' ')) {
        width = dots.len() as u32;
        *row = dots.bytes().fold(0, |bits, dot| bits << 1 | u8::from(dot == b'#'));
    }
    (width, rows)
}

/// The letters of captions, drawn row by row.
const FONT: &[(char, &str)] = &[
    (' ', "..."),
    ('a', "..... ..... .###. ....# .#### #...# .####"),
    ('b', "#.... #.... ####. #...# #...# #...# ####."),
    ('c', ".... .... .### #... #... #... .###"),
    ('d', "....# ....# .#### #...# #...# #...# .####"),
    ('e', "..... ..... .###. #...# ##### #.... .####"),
    ('f', "..## .#.. #### .#.. .#.. .#.. .#.."),
    ('g', "..... ..... .#### #...# #...# #...# .#### ....# .###."),
    ('h', "#.... #.... ####. #...# #...# #...# #...#"),
    ('i', "# . # # # # #"),
    ('j', "..# ... ..# ..# ..# ..# ..# ..# ##."),
    ('k', "#... #... #..# #.#. ##.. #.#. #..#"),
    ('l', "#. #. #. #. #. #. .#"),
    ('m', "..... ..... ####. #.#.# #.#.# #.#.# #.#.#"),
    ('n', "..... ..... ####. #...# #...# #...# #...#"),
    ('o', "..... ..... .###. #...# #...# #...# .###."),
    ('p', "..... ..... ####. #...# #...# #...# ####. #.... #...."),
    ('q', "..... ..... .#### #...# #...# #...# .#### ....# ....#"),
    ('r', ".... .... #.## ##.. #... #... #..."),
    ('s', ".... .... .### #... .##. ...# ###."),
    ('t', ".#.. .#.. #### .#.. .#.. .#.. ..##"),
    ('u', "..... ..... #...# #...# #...# #...# .####"),
    ('v', "..... ..... #...# #...# .#.#. .#.#. ..#.."),
    ('w', "..... ..... #.#.# #.#.# #.#.# #.#.# .#.#."),
    ('x', "..... ..... #...# .#.#. ..#.. .#.#. #...#"),
    ('y', "..... ..... #...# #...# #...# #...# .#### ....# .###."),
    ('z', ".... .... #### ...# .##. #... ####"),
    ('A', ".###. #...# #...# ##### #...# #...# #...#"),
    ('D', "####. #...# #...# #...# #...# #...# ####."),
    ('J', "..### ....# ....# ....# ....# #...# .###."),
    ('L', "#... #... #... #... #... #... ####"),
    ('N', "#...# ##..# ##..# #.#.# #..## #..## #...#"),
    ('R', "####. #...# #...# ####. #.#.. #..#. #...#"),
    ('S', ".#### #.... #.... .###. ....# ....# ####."),
    ('T', "##### ..#.. ..#.. ..#.. ..#.. ..#.. ..#.."),
    ('3', ".###. #...# ....# ..##. ....# #...# .###."),
    (',', ".. .. .. .. .. .. .# .# #."),
    ('-', "... ... ... ... ###"),
    ('\'', "# #"),
];

#[cfg(test)]
mod tests {
    use super::super::grammar::{COLOURS, LIGHTS, PLACES};
    use super::super::nouns;
    use super::*;

    #[test]
    fn every_letter_of_every_caption_is_drawn() {
        let nouns = nouns().iter().flat_map(|noun| [Some(noun.label.as_str()), noun.plural.as_deref()]);
        let phrases = PLACES.iter().chain(&LIGHTS).map(|phrase| phrase.phrase);
        for text in nouns.flatten().chain(phrases).chain(["to the left of"]).chain(COLOURS) {
            for c in text.chars() {
                assert!(FONT.iter().any(|(letter, _)| *letter == c), "{c:?} of {text:?}");
            }
        }
        for (letter, rows) in FONT {
            let mut widths = rows.split(' ').map(str::len);
            let first = widths.next();
            assert!(widths.all(|width| Some(width) == first), "{letter:?} has rows of two lengths");
        }
    }

    #[test]
    fn captions_wrap_at_the_picture() {
        let lines =
            wrapped("a fork and knife to the left of a teacup without handle on the forest floor", 128);
        assert!(lines.len() > 2);
        assert!(lines.iter().all(|line| length(line) <= 128), "{lines:?}");
    }
}
