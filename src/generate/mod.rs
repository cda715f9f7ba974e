//! Generation: how a fully masked grid becomes a picture.
//!
//! [`schedule`] says how many tokens each step reveals, [`refresh`] which steps run the full model, [`predict`] what
//! stands in for it at the others, [`sampling`] how tokens are drawn and chosen; [`plan`] makes steps of it all, of which [`pace`]
//! decides while a run goes on; a run begins on a [`canvas`], of which a [`region`] is masked; [`session`] puts them together over an executor, and [`model`] brings a model folder to it. [`picture`] turns results into files, [`encode`] brings pictures to codes, and [`edit`] makes a part of
//! one anew; [`likelihood`] says how well codes go together.

mod beginning;
pub mod calibrate;
pub mod canvas;
pub mod captions;
pub mod codes;
mod deciding;
#[cfg(test)]
mod deciding_tests;
mod device;
pub mod divergence;
mod drawing;
pub mod edit;
pub mod encode;
pub mod engine;
#[cfg(test)]
pub(crate) mod fixtures;
pub(crate) mod font;
#[cfg(test)]
mod golden_tests;
pub mod likelihood;
#[cfg(test)]
mod matrix_tests;
pub mod metadata;
#[cfg(test)]
mod ml_cache_tests;
pub mod model;
pub mod named;
#[cfg(test)]
mod one_step_tests;
pub mod order;
#[cfg(test)]
mod order_tests;
pub mod pace;
pub mod panels;
pub mod picture;
pub mod plan;
pub mod predict;
#[cfg(test)]
mod predictor_tests;
pub mod programs;
pub mod proof;
pub mod published;
pub mod recipe;
pub mod refresh;
pub mod region;
pub mod report;
mod run;
pub mod sampling;
pub mod schedule;
pub mod session;
#[cfg(test)]
mod session_tests;
mod settings;
#[cfg(test)]
mod text_tests;
pub mod thing;
#[cfg(test)]
mod tier_tests;

/// What a person can ask of generation that cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// The program could not be built or run.
    #[error(transparent)]
    Exec(#[from] crate::exec::ExecError),
    /// A model's folder or tensors are wrong.
    #[error(transparent)]
    Weight(#[from] crate::weights::WeightError),
    /// `config.json` holds sizes that do not go together, or lacks some.
    #[error("config.json of {model}: {what}")]
    Config {
        /// The model's name.
        model: String,
        /// What is wrong.
        what: String,
    },
    /// A setting is out of range.
    #[error("{0}")]
    Setting(String),
    /// A class is not among the model's.
    #[error("there is no class {wanted:?}; {hint}")]
    Class {
        /// What was asked for.
        wanted: String,
        /// The nearest names, or the range.
        hint: String,
    },
    /// A prompt or its tokenizer is wrong.
    #[error(transparent)]
    Text(#[from] crate::models::prompts::TextError),
    /// A file could not be written or read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A picture could not be encoded.
    #[error("{path}: {reason}")]
    Picture {
        /// The file.
        path: String,
        /// What the encoder said.
        reason: String,
    },
}

impl From<crate::program::ProgramError> for GenerateError {
    fn from(error: crate::program::ProgramError) -> Self {
        Self::Exec(error.into())
    }
}
