//! Sheets of pictures with a caption below each, in pixels and as pages for print.

use super::font::{self, glyph};
use super::picture::{Picture, encode_png};
use std::fmt::Write as _;

const MARGIN: u32 = 10;
/// Between a picture and its caption.
const GAP: u32 = 6;
const LINE: u32 = 11;
const INK: [u8; 3] = [0x2A, 0x2D, 0x34];
const PAPER: [u8; 3] = [0xF7, 0xF6, 0xF2];
/// Small pictures are enlarged to about so many pixels.
const SIDE: u32 = 256;

/// Of pages, in millimetres: A4 across, its margin, the gap between panels, a caption's letters and lines.
const PAGE: [f64; 2] = [297.0, 210.0];
const PAGE_MARGIN: f64 = 12.0;
const PAGE_GAP: f64 = 6.0;
const LETTER: f64 = 3.4;
const PAGE_LINE: f64 = 4.4;
/// The mean width of a letter of a sans-serif font, of its size; wide enough for most lines.
const LETTER_WIDTH: f64 = 0.54;

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
        for (row, line) in (0..lines).zip(wrapped(caption, own_width / font::ADVANCE)) {
            write(&mut page, [x, y + own_height + GAP + row * LINE], &line);
        }
    }
    page
}

/// The same as one page of A4 in SVG, which browsers and drawing programs print and turn into PDF: pictures as large as they fit, and
/// captions as text.
///
/// # Errors
/// A picture could not be encoded.
pub fn page(pictures: &[(Picture, &str)], lines: u32) -> Result<String, png::EncodingError> {
    let [width, height] = PAGE;
    let aspect =
        pictures.first().map_or(1.0, |(first, _)| f64::from(first.width) / f64::from(first.height.max(1)));
    let below = f64::from(lines) * PAGE_LINE + 2.0;
    let count = pictures.len().max(1);
    // As many columns as leave each picture the most room.
    let room = |columns: usize| {
        let [across, down] = [columns as f64, count.div_ceil(columns) as f64];
        let wide = (width - 2.0 * PAGE_MARGIN - (across - 1.0) * PAGE_GAP) / across;
        let high = (height - 2.0 * PAGE_MARGIN - (down - 1.0) * PAGE_GAP) / down - below;
        wide.min(high * aspect)
    };
    let columns = (1..=count).max_by(|a, b| room(*a).total_cmp(&room(*b))).unwrap_or(1);
    let (own_width, own_height) = (room(columns), room(columns) / aspect);
    let across = columns as f64 * (own_width + PAGE_GAP) - PAGE_GAP;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}mm\" height=\"{height}mm\" \
         font-family=\"system-ui, sans-serif\" font-size=\"{LETTER}\" fill=\"#2a2d34\">\n\
         <style>@page {{ size: {width}mm {height}mm; margin: 0 }}</style>\n"
    );
    for (at, (picture, caption)) in pictures.iter().enumerate() {
        let x = (width - across) / 2.0 + (at % columns) as f64 * (own_width + PAGE_GAP);
        let y = PAGE_MARGIN + (at / columns) as f64 * (own_height + below + PAGE_GAP);
        let bytes = base64::encode(encode_png(picture, &[])?);
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "<image x=\"{x:.2}\" y=\"{y:.2}\" width=\"{own_width:.2}\" height=\"{own_height:.2}\" \
             href=\"data:image/png;base64,{bytes}\"/>"
        );
        let most = (own_width / (LETTER * LETTER_WIDTH)) as u32;
        for (row, line) in (0..lines).zip(wrapped(caption, most)) {
            let down = y + own_height + PAGE_LINE * f64::from(row + 1);
            let _ = writeln!(out, "<text x=\"{x:.2}\" y=\"{down:.2}\">{}</text>", escaped(&line));
        }
    }
    out.push_str("</svg>\n");
    Ok(out)
}

/// A text as XML has it.
pub(crate) fn escaped(text: &str) -> String {
    // XML has no control characters, not even as entities.
    let text = text.replace(char::is_control, " ");
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A text in lines of at most so many letters; a word that is longer is cut.
fn wrapped(text: &str, most: u32) -> Vec<String> {
    let most = most.max(1) as usize;
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
        let lines = wrapped("a fork and knife to the left of a teacup without handle", 21);
        assert!(lines.len() > 2 && lines.iter().all(|line| line.len() <= 21), "{lines:?}");
        assert_eq!(wrapped("incomprehensibilities", 10), ["incomprehe"]);
        assert_eq!(wrapped("  ", 10), Vec::<String>::new());
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

    #[test]
    fn pages_hold_every_panel_and_its_words() {
        let picture = |level| Picture { width: 20, height: 10, rgb: vec![level; 600] };
        for count in [1_usize, 2, 5, 12, 24] {
            let panels: Vec<(Picture, &str)> =
                (0..count).map(|at| (picture(at as u8), "a <fox> & an owl")).collect();
            let page = page(&panels, 3).unwrap();
            assert_eq!(page.matches("<image ").count(), count);
            assert!(page.matches("<text ").count() >= count && page.contains("&lt;fox&gt;"), "{page}");
            let number = |tag: &str, name: &str| -> Vec<f64> {
                let of = |line: &str| Some(line.split_once(name)?.1.split_once('"')?.0.parse().unwrap());
                page.lines().filter(|line| line.starts_with(tag)).filter_map(of).collect()
            };
            let size = number("<image", " width=\"")[0];
            assert!(
                number("<image", " x=\"").iter().all(|x| *x >= 0.0 && x + size <= PAGE[0]),
                "{count}: {size}"
            );
            assert!(number("<text", " y=\"").iter().all(|y| *y < PAGE[1]), "{count}");
            assert!(size > 20.0, "{count}: {size}");
        }
        assert!(page(&[], 3).unwrap().ends_with("</svg>\n"));
    }
}
