//! The stream that trainers read: one line of JSON, then records of one size.
//!
//! A record is the picture (`u8`, `[size, size, 3]`), sixteen labels (`i16`, [`Scene::numbers`]), the ids of
//! the caption's words (`u16`, 32 of them, 65535 behind the last) and the caption (UTF-8, 192 bytes, zeros behind its end);
//! numbers are little-endian. The line says where each lies.

use super::composer::{Composer, Scene};
use super::grammar::{COLOURS, LIGHTS, PLACES, vocabulary};
use serde_json::{Value, json};

/// Labels of a record.
pub const LABELS: usize = 16;
/// Ids of a record.
pub const IDS: usize = 32;
/// Bytes of a record's caption.
pub const CAPTION: usize = 192;
/// Stands where a caption has no more words.
pub const NO_WORD: u16 = u16::MAX;

/// Bytes of a record of pictures of this size.
#[must_use]
pub const fn bytes(size: u32) -> usize {
    (size * size * 3) as usize + LABELS * 2 + IDS * 2 + CAPTION
}

/// What the stream's first line says.
#[must_use]
pub fn header(composer: &Composer) -> Value {
    let size = composer.size();
    let pixels = (size * size * 3) as usize;
    let (labels, ids) = (pixels, pixels + LABELS * 2);
    json!({
        "format": "migm-scenes",
        "version": 2,
        "size": size,
        "nouns": composer.nouns().iter().map(|noun| noun.label.as_str()).collect::<Vec<_>>(),
        "places": PLACES.map(|place| place.label),
        "lights": LIGHTS.map(|light| light.label),
        "colours": COLOURS,
        "words": vocabulary(composer.nouns().len()),
        "record": {
            "bytes": bytes(size),
            "pixels": [0, pixels],
            "labels": [labels, LABELS],
            "ids": [ids, IDS],
            "caption": [ids + IDS * 2, CAPTION],
        },
    })
}

/// Appends the record of a scene.
pub fn append(scene: &Scene, out: &mut Vec<u8>) {
    out.extend_from_slice(&scene.pixels);
    for label in scene.numbers() {
        out.extend_from_slice(&label.to_le_bytes());
    }
    for i in 0..IDS {
        out.extend_from_slice(&scene.ids.get(i).copied().unwrap_or(NO_WORD).to_le_bytes());
    }
    // The longest caption fits; a test holds the grammar to it.
    let caption = scene.caption.as_bytes();
    let length = caption.len().min(CAPTION);
    out.extend_from_slice(&caption[..length]);
    out.resize(out.len() + CAPTION - length, 0);
}
