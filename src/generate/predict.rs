//! What stands in for the full model between refreshes.

use super::GenerateError;
use super::model::ModelConfig;
use crate::models::{self, Batch};
use crate::program::{Program, WeightSpec};

/// A way to have features without running the full model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
pub enum Predictor {
    /// The learned shortcut.
    #[default]
    Shortcut,
    /// The last features as they are: the plainest baseline.
    Reuse,
}

impl Predictor {
    /// The program that moves the features on by a step; `None` where nothing is to be computed.
    ///
    /// # Errors
    /// The model has no shortcut.
    pub fn program(
        self,
        model: &ModelConfig,
        batch: Batch,
        formats: fn(&WeightSpec) -> crate::kernels::WeightFormat,
    ) -> Result<Option<Program>, GenerateError> {
        match self {
            Self::Reuse => Ok(None),
            Self::Shortcut => {
                let config = model.shortcut.ok_or_else(|| {
                    let message = "the model has no shortcut; use --refresh every, or --predictor reuse";
                    GenerateError::Setting(message.to_owned())
                })?;
                let program =
                    models::build("shortcut", formats, |b| config.predict(b, &model.transformer, batch))?;
                Ok(Some(program))
            }
        }
    }
}
