//! The studio: a window, or a page in the browser, in which a picture resolves step by step under a refresh-budget slider.
//!
//! [`app`] shows [`panels`] over a [`state`] and knows no graphics device; whatever computes is behind the [`actor`], which
//! takes requests and sends small events. `migm studio` opens the window.

pub mod actor;
mod allowed;
pub mod app;
pub mod blind;
pub mod board;
pub mod branch;
pub mod channel;
pub mod command;
pub mod compare;
pub mod editing;
pub mod failure;
pub mod fetch;
pub mod follow;
pub mod frames;
pub mod judging;
pub mod keep;
pub mod link;
pub mod looking;
pub mod model;
pub mod panels;
pub mod queue;
pub mod run;
pub mod state;
pub mod sweep;
pub mod textures;
pub mod theme;
pub mod tour;
#[cfg(target_arch = "wasm32")]
pub mod web;
pub mod why;
#[cfg(not(target_arch = "wasm32"))]
pub mod window;

/// The models that need no folder, the first the one to begin with.
pub const BUNDLED: [&str; 2] = [crate::assets::TEXT.name, crate::assets::CLASS.name];
