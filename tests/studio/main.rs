//! The studio, driven and photographed without a screen: every panel in both themes, and the whole window through the real actor.
//!
//! `UPDATE_SNAPSHOTS=1 cargo test --test studio` takes the photographs anew; look at them before you commit them.
#![cfg(feature = "studio")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod board;
mod edit;
mod explain;
mod panels;
mod proof;
mod scene;
mod window;
