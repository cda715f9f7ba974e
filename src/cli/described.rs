//! A model by its configuration alone: from a folder, bundled, or known by name and not there at all.

use super::CliError;
use crate::eval::bench::{self, PRESETS};
use crate::generate::GenerateError;
use crate::generate::model::{Model, ModelConfig};
use crate::generate::text::{TextConfig, TextModel, is_text_model};
use crate::kernels::{Quantization, WeightFormat};
use crate::models;
use crate::program::WeightSpec;
use std::path::{Path, PathBuf};

/// In which precision weights are kept: as a folder has them, or as asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Formats {
    half: bool,
    quantize: Option<Quantization>,
}

impl Formats {
    /// Matrices quantised, if asked for.
    pub(super) fn quantized(self, quantize: Option<Quantization>) -> Self {
        Self { quantize: quantize.or(self.quantize), ..self }
    }

    /// As programs want it.
    pub(super) fn choice(self) -> fn(&WeightSpec) -> WeightFormat {
        models::formats(self.half, self.quantize)
    }
}

/// A class model. The folder is there for its weights.
#[derive(Debug)]
pub(super) struct ClassModel {
    pub(super) name: String,
    pub(super) config: ModelConfig,
    pub(super) formats: Formats,
    pub(super) folder: Option<Model>,
}

/// A text model.
#[derive(Debug)]
pub(super) struct TextDescription {
    pub(super) name: String,
    pub(super) config: TextConfig,
    pub(super) formats: Formats,
    pub(super) folder: Option<TextModel>,
}

/// A kind of model.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Classes,
    Text,
}

/// Either.
#[derive(Debug)]
pub(super) enum Described {
    Classes(Box<ClassModel>),
    Text(Box<TextDescription>),
}

impl Described {
    /// A folder, a configuration by name, or with neither the bundled model of a kind. `inspect` takes both in one place.
    pub(super) fn find(
        folder: Option<&PathBuf>,
        preset: Option<&str>,
        default: Kind,
    ) -> Result<Self, CliError> {
        if let Some(name) = preset {
            return Self::preset(name).ok_or_else(|| {
                let message = format!("there is no configuration {name:?}; there are {}", PRESETS.join(", "));
                GenerateError::Setting(message).into()
            });
        }
        match folder {
            Some(path) => match path.to_str().filter(|_| !path.exists()).and_then(Self::preset) {
                Some(preset) => Ok(preset),
                None => Self::open(path),
            },
            None => Ok(match default {
                Kind::Classes => Self::of_classes(Model::bundled()?),
                Kind::Text => Self::of_text(TextModel::bundled()?),
            }),
        }
    }

    fn open(path: &Path) -> Result<Self, CliError> {
        if !is_text_model(path)? {
            return Ok(Self::of_classes(Model::open(path)?));
        }
        Ok(Self::of_text(TextModel::open(path)?))
    }

    fn of_text(folder: TextModel) -> Self {
        let formats = Formats { half: folder.is_half(), quantize: folder.quantization() };
        let (name, config) = (folder.name.clone(), folder.config.clone());
        Self::Text(Box::new(TextDescription { name, config, formats, folder: Some(folder) }))
    }

    fn of_classes(folder: Model) -> Self {
        let formats = Formats { half: folder.is_half(), quantize: folder.quantization() };
        let (name, config) = (folder.name.clone(), folder.config.clone());
        Self::Classes(Box::new(ClassModel { name, config, formats, folder: Some(folder) }))
    }

    /// Published weights are in half precision.
    fn preset(name: &str) -> Option<Self> {
        let (formats, name) = (Formats { half: true, quantize: None }, name.to_owned());
        if let Some(config) = bench::preset(&name) {
            return Some(Self::Classes(Box::new(ClassModel { name, config, formats, folder: None })));
        }
        let config = bench::text_preset(&name)?;
        Some(Self::Text(Box::new(TextDescription { name, config, formats, folder: None })))
    }
}
