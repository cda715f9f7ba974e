//! Postcards: endless captioned pictures of emoji in places, composed from a seed.
//!
//! A caption states *what* is there (things, how many, which side, colours, place, light) and leaves some of it out; what it leaves
//! out, and where things stand, how large they are and which way they face, is any of several. All parts of a picture have to agree on
//! which: that is what a sampler that draws many tokens at once gets wrong, and anyone sees it. Everything else is simple: flat
//! backgrounds in few variants, things on the grid of tokens in few sizes, so that a small model can learn them well.
//!
//! [`grammar`] is the language of captions, both ways; [`split`] says what training never sees; `content` draws what a
//! scene shows, `paint` paints it, [`Composer`] does both; `records` is the stream that trainers read. The sprites come with the feature
//! `scenes`; the grammar is always there, because prompts are read wherever pictures are made. Called by `migm scenes`, by
//! `migm eval` and by trainers.

#[cfg(feature = "scenes")]
mod composer;
#[cfg(feature = "scenes")]
mod content;
#[cfg(feature = "scenes")]
mod draws;
pub mod grammar;
mod nouns;
#[cfg(feature = "scenes")]
mod paint;
#[cfg(feature = "scenes")]
pub mod records;
#[cfg(feature = "scenes")]
mod sheet;
pub mod split;
#[cfg(feature = "scenes")]
mod sprites;

#[cfg(feature = "scenes")]
pub use composer::{Composer, Mix, Scene};
#[cfg(feature = "scenes")]
pub use content::{Kind, Labels, Split};
pub use grammar::{Relation, Wanted, parse, vocabulary};
pub use nouns::{Noun, nouns};
#[cfg(feature = "scenes")]
pub use sheet::sheet;
#[cfg(feature = "scenes")]
pub use sprites::Style;

/// Why scenes could not be composed.
#[derive(Debug, thiserror::Error)]
pub enum SceneError {
    /// The number of nouns is not one that the sprites have.
    #[error("{given} nouns were asked for; there are {available}, and at least 1 is needed")]
    Nouns {
        /// As asked for.
        given: usize,
        /// Nouns that have sprites.
        available: usize,
    },
    /// The side of the picture is none of those that are composed.
    #[error("scenes of {given} px were asked for; 64 and 128 px are there")]
    Size {
        /// As asked for.
        given: u32,
    },
    /// No combination of these nouns belongs to the split.
    #[error("no scene of the first {nouns} nouns is held out; take more nouns or another split")]
    EmptySplit {
        /// Nouns in use.
        nouns: usize,
    },
    /// The sprites that were compiled in are damaged.
    #[error("the sprite of {noun} in the style {style} cannot be read: {what}")]
    Sprite {
        /// Label of the noun.
        noun: String,
        /// The style's name.
        style: &'static str,
        /// What the decoder said.
        what: String,
    },
}
