//! Masked image generation (MaskGIT and its learned shortcut) on any GPU, through WebGPU.
//!
//! Masked image generation starts from a grid of masked tokens and reveals many a step, guided by a transformer that runs in
//! full at every step; a learned shortcut (arXiv 2602.23996) stands in for it at most of them. A picture, from the model inside
//! the executable:
//!
//! ```no_run
//! use migm::generate::{engine::Engine, model::{Device, Model}, picture::{Pixels, write_png}, recipe::{Recipe, Subject}};
//!
//! # fn main() -> Result<(), migm::generate::GenerateError> {
//! let model = Model::bundled_text()?;
//! let recipe = Recipe::new(&model, Subject::Prompt("two foxes in the snow".into())).with_seed(7);
//! let (jobs, settings) = (recipe.jobs(&model)?, recipe.settings());
//! let mut engine = Engine::of(model, Device::Cpu);
//! let mut run = engine.run(jobs, &settings, None, None)?;
//! while let Some(batch) = pollster::block_on(run.batch())? {
//!     let pictures = pollster::block_on(run.session()?.pictures(&batch.codes, Pixels::Signed))?;
//!     write_png("foxes.png".as_ref(), &pictures[0], &[])?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Where to read on:
//!
//! - [`generate::recipe`] says what a picture is made from: a subject, [`generate::sampling`], and which steps run in full
//!   ([`generate::refresh`]) with what in their place ([`generate::predict`]).
//! - [`generate::engine`] makes many pictures as a stream of events; [`generate::session`] is one batch, step by step.
//! - [`models`] builds programs of [`kernels`], a [`models::Family`] each for classes and prompts; [`program`] is what they are built
//!   of, and [`exec`] runs it on a GPU or on the CPU.
//! - [`weights`] reads and converts checkpoints, `pull` fetches official ones, [`eval`] measures and verifies.
//! - `examples/` has a picture of a class, one of a prompt, and a predictor of one's own.
//!
//! The layers, each knowing only those below it: `cli`, `studio`, `serve` -> `eval`, [`generate`] -> [`models`] -> [`program`] ->
//! [`kernels`]. ARCHITECTURE.md is the tour.

pub(crate) mod assets;
#[cfg(not(target_arch = "wasm32"))]
pub mod cli;
pub mod eval;
pub mod exec;
pub mod generate;
pub mod input;
pub mod kernels;
pub mod models;
pub mod output;
pub mod program;
#[cfg(all(feature = "pull", not(target_arch = "wasm32")))]
pub mod pull;
pub mod scenes;
#[cfg(all(feature = "serve", not(target_arch = "wasm32")))]
pub mod serve;
#[cfg(feature = "studio")]
pub mod studio;
pub mod weights;
