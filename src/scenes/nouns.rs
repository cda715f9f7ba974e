//! The nouns, in a reviewed order: the first 64 are iconic and hard to confuse, so that a small model can take the first few.

use serde::Deserialize;
use std::sync::OnceLock;

/// A thing that scenes show.
#[derive(Clone, Debug, Deserialize)]
pub struct Noun {
    /// Its name in captions: one word or several, in ASCII.
    pub label: String,
    /// Its plural; none for things that come as a mass or as a plural anyway, which captions call "some ..." and never count.
    pub plural: Option<String>,
    /// Its emoji's code points in hexadecimal, joined by `-`.
    pub code: String,
    /// Offset and length of its picture in the pack, in bytes, by style.
    #[cfg(feature = "scenes")]
    pub(crate) sprites: [[usize; 2]; 3],
}

#[derive(Deserialize)]
struct Index {
    nouns: Vec<Noun>,
}

/// All nouns, in order.
#[must_use]
pub fn nouns() -> &'static [Noun] {
    static NOUNS: OnceLock<Vec<Noun>> = OnceLock::new();
    NOUNS.get_or_init(|| {
        let index: Result<Index, _> = serde_json::from_str(include_str!("../../assets/sprites/index.json"));
        // The index is compiled in, and a test reads all of it.
        index.map(|index| index.nouns).unwrap_or_default()
    })
}
