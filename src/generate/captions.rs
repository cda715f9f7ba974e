//! Sheets of pictures with a caption below each.

use super::font::{self, glyph};
use super::picture::Picture;

const MARGIN: u32 = 10;
/// Between a picture and its caption.
const GAP: u32 = 6;
const LINE: u32 = 11;
const INK: [u8; 3] = [0x2A, 0x2D, 0x34];
const PAPER: [u8; 3] = [0xF7, 0xF6, 0xF2];
/// Small pictures are enlarged to about so many pixels.
const SIDE: u32 = 256;

/// Pictures of one size, `columns` in a row, each with a caption of at most so many lines.
#[must_use]
pub fn sheet(pictures: &[(Picture, &str)], columns: u32, lines: u32) -> Picture {
    let Some((first, _)) = pictures.first() else { return Picture { width: 0, height: 0, rgb: Vec::new() } };
    let factor = (SIDE / first.width.max(first.height).max(1)).max(1);
    let (own_width, own_height) = (first.width * factor, first.height * factor);
    let columns = columns.clamp(1, pictures.len() as u32);
    let rows = (pictures.len() as u32).div_ceil(columns);
    let (cell_width, cell_height) = (own_width + MARGIN, own_height + GAP + lines * LINE + MARGIN);
    let (width, height) = (columns * cell_width + MARGIN, rows * cell_height + MARGIN);
    let mut page = Picture { width, height, rgb: PAPER.repeat((width * height) as usize) };
    for (at, (picture, caption)) in pictures.iter().enumerate() {
        let x = MARGIN + at as u32 % columns * cell_width;
        let y = MARGIN + at as u32 / columns * cell_height;
        page.lay(&picture.enlarged(factor), [x, y]);
        for (row, line) in (0..lines).zip(wrapped(caption, own_width)) {
            write(&mut page, [x, y + own_height + GAP + row * LINE], &line);
        }
    }
    page
}

/// A text in lines that are at most `width` pixels long; a word that is longer is cut.
fn wrapped(text: &str, width: u32) -> Vec<String> {
    let most = (width / font::ADVANCE).max(1) as usize;
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let word: String = word.chars().take(most).collect();
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= most => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

fn write(page: &mut Picture, [x, y]: [u32; 2], text: &str) {
    for (at, letter) in (0..).zip(text.chars()) {
        let down = y + font::descent(letter);
        for (row, bits) in (0..).zip(glyph(letter)) {
            let dots = (0..font::WIDTH).filter(|column| bits >> (font::WIDTH - 1 - column) & 1 == 1);
            for left in dots.map(|column| x + at * font::ADVANCE + column).filter(|left| *left < page.width) {
                let place = (((down + row) * page.width + left) * 3) as usize;
                if let Some(pixel) = page.rgb.get_mut(place..place + 3) {
                    pixel.copy_from_slice(&INK);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_wrap_at_the_picture() {
        let lines = wrapped("a fork and knife to the left of a teacup without handle", 128);
        assert!(lines.len() > 2 && lines.iter().all(|line| line.len() <= 21), "{lines:?}");
        assert_eq!(wrapped("incomprehensibilities", 60), ["incomprehe"]);
        assert_eq!(wrapped("  ", 60), Vec::<String>::new());
    }

    #[test]
    fn pictures_stand_in_rows_with_ink_below() {
        let picture = |level| Picture { width: 20, height: 10, rgb: vec![level; 600] };
        let all = [
            (picture(1), "one"),
            (picture(2), ""),
            (picture(3), "gypsum, quay; three lines of it at the least"),
        ];
        let page = sheet(&all, 2, 3);
        // Twelve times as large, two in a row.
        assert_eq!((page.width, page.height), (2 * 250 + 10, 2 * (120 + 6 + 33 + 10) + 10));
        let at = |x: u32, y: u32| page.rgb[((y * page.width + x) * 3) as usize..][..3].to_vec();
        assert_eq!((at(10, 10), at(260, 129), at(10, 179)), (vec![1; 3], vec![2; 3], vec![3; 3]));
        let ink = |x: u32, y: u32, width: u32, height: u32| {
            let dots = (y..y + height).flat_map(|y| (x..x + width).map(move |x| (x, y)));
            dots.filter(|&(x, y)| at(x, y) == INK).count()
        };
        assert!(ink(10, 130, 240, 39) > 20 && ink(260, 130, 240, 39) == 0);
        assert_eq!(sheet(&[], 3, 1).rgb.len(), 0);
    }
}
