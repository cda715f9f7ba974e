//! Masked image generation (MaskGIT and its learned shortcut) on any GPU, through WebGPU.
//!
//! [`generate::model::Model`] opens a model folder, [`generate::session::Session`] runs it on a device:
//!
//! ```no_run
//! use migm::generate::{model::{Device, Model}, predict::Predictor, refresh::Refresh};
//! use migm::generate::session::{Session, Settings, Shape};
//! use migm::models::Batch;
//!
//! # fn main() -> Result<(), migm::generate::GenerateError> {
//! let model = Model::bundled()?;
//! let shape = Shape {
//!     batch: Batch { images: 1, guided: true },
//!     predictor: Some(Predictor::Shortcut),
//!     recorded_noise: false,
//!     decoder: true,
//! };
//! let mut session = Session::new(&model, shape, &Device::Cpu)?;
//! session.configure(&Settings {
//!     sampling: model.config.sampling,
//!     refresh: Refresh::Uniform(4),
//!     predictor: Predictor::Shortcut,
//! })?;
//! session.start(&[Some(model.config.class("fox")?)], &[7])?;
//! session.finish()?;
//! let tokens = pollster::block_on(session.tokens())?;
//! let picture = pollster::block_on(session.decode(&tokens))?;
//! # Ok(())
//! # }
//! ```
//!
//! The layers, each knowing only those below it: `cli` -> `eval`, [`generate`] -> [`models`] -> [`program`] ->
//! [`kernels`]; [`exec`] runs programs and knows nothing of models. ARCHITECTURE.md is the tour.

pub(crate) mod assets;
#[cfg(not(target_arch = "wasm32"))]
pub mod cli;
pub mod eval;
pub mod exec;
pub mod generate;
pub mod kernels;
pub mod models;
pub mod output;
pub mod program;
#[cfg(all(feature = "pull", not(target_arch = "wasm32")))]
pub mod pull;
pub mod scenes;
#[cfg(feature = "studio")]
pub mod studio;
pub mod weights;
