//! A model folder ready to generate: its sizes, its sampling defaults, and its weights, all accounted for.

use super::GenerateError;
use super::calibrate::{self, Calibration};
pub use super::device::Device;
use super::published;
use super::recipe::Subject;
use super::refresh::Refresh;
use super::sampling::Sampling;
use super::session::Settings;
use crate::assets;
use crate::kernels::{Quantization, Quantized};
use crate::models::dimoo::Kind;
use crate::models::maskgit::Maskgit;
use crate::models::prompts::PromptEncoder;
use crate::models::{Condition, Family, Known, dimoo, maskgit, part_tensors};
use crate::program::{Formats, WeightSource, WeightSpec};
use crate::weights::{Checkpoint, ModelFolder, TensorShapes, WeightError, account};
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;

/// What `config.json` says.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Config {
    /// The family and its sizes.
    #[serde(flatten)]
    pub family: Known,
    /// Sampling defaults.
    pub sampling: Sampling,
}

impl Config {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// A field is missing or of the wrong type, or sizes do not go together.
    pub fn parse(model: &str, config: &Value) -> Result<Self, GenerateError> {
        Self::read(config).map_err(|what| GenerateError::Config { model: model.to_owned(), what })
    }

    fn read(config: &Value) -> Result<Self, String> {
        let Some(architecture) = config.get("architecture") else {
            return Err("missing field `architecture`".to_owned());
        };
        let official = match architecture.as_str() {
            Some(maskgit::ARCHITECTURE) => Sampling::MASKGIT_512,
            Some(dimoo::ARCHITECTURE) => Sampling::DIMOO,
            _ => {
                let known = [maskgit::ARCHITECTURE, dimoo::ARCHITECTURE].map(|name| format!("{name:?}"));
                return Err(format!(
                    "architecture {architecture} is not known here; this version knows {}",
                    known.join(" and ")
                ));
            }
        };
        let family: Known = serde_json::from_value(config.clone()).map_err(|e| e.to_string())?;
        family.check()?;
        let sampling = config.get("sampling").ok_or("missing field `sampling`")?;
        let sampling = Sampling::over(&official, sampling).map_err(|e| e.to_string())?;
        Ok(Self { family, sampling })
    }

    /// The same with another number of layers, or of image tokens.
    ///
    /// # Errors
    /// Sizes that do not go together, or a grid for a model whose weights fix it.
    pub fn resized(mut self, layers: Option<u32>, grid: Option<[u32; 2]>) -> Result<Self, GenerateError> {
        match &mut self.family {
            Known::Maskgit(_) if grid.is_some() => {
                let message = "--grid is for text models; a class model's grid is a size of its weights";
                return Err(GenerateError::Setting(message.to_owned()));
            }
            Known::Maskgit(model) => model.transformer.depth = layers.unwrap_or(model.transformer.depth),
            Known::Dimoo(model) => {
                let t = &mut model.transformer;
                (t.layers, t.grid) = (layers.unwrap_or(t.layers), grid.unwrap_or(t.grid));
            }
        }
        self.family.check().map_err(GenerateError::Setting)?;
        Ok(self)
    }
}

/// Whether a folder's model is asked by prompts: what its architecture says, without a look at anything else.
///
/// # Errors
/// It is no model folder.
pub fn takes_prompts(folder: &Path) -> Result<bool, GenerateError> {
    let architecture = ModelFolder::open(folder)?.config().get("architecture").cloned();
    Ok(architecture.is_some_and(|name| name == dimoo::ARCHITECTURE))
}

/// A model folder, opened and checked; or a published model that is known by name alone, without weights.
#[derive(Clone, Debug)]
pub struct Model {
    /// The folder's name, for messages and metadata.
    pub name: String,
    /// What its `config.json` says.
    pub config: Config,
    folder: Option<ModelFolder>,
    prompts: Option<PromptEncoder>,
    formats: Formats,
    calibration: Option<Calibration>,
}

/// A word that a model has never seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// The word, clipped: it can be a page long.
    pub word: String,
    /// Known words of nearly the same spelling.
    pub near: Vec<String>,
    /// What it knows instead.
    pub kinds: Vec<Kind>,
}

impl std::fmt::Display for Unknown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the model does not know {:?}", self.word)?;
        if !self.near.is_empty() {
            return write!(f, "; the nearest that it knows: {}", self.near.join(", "));
        }
        write!(f, ", and makes the picture as if it were not there")?;
        let mut before = "; it knows ";
        for Kind { kind, words } in &self.kinds {
            let some: Vec<&str> = words.iter().take(SOME_OF_A_KIND).map(String::as_str).collect();
            let more = if words.len() > some.len() { ", \u{2026}" } else { "" };
            write!(f, "{before}{kind} ({}{more})", some.join(", "))?;
            before = ", ";
        }
        Ok(())
    }
}

/// Known words that are offered for an unknown one.
const OFFERED: usize = 3;
/// Letters that are shown of an unknown word.
const LONGEST_SHOWN: usize = 40;
/// Unknown words that are named.
const MOST_NAMED: usize = 12;
/// Words that are named of a kind.
const SOME_OF_A_KIND: usize = 4;

/// Prompts to ids.
const TOKENIZER: &str = "tokenizer.json";

impl Model {
    /// Opens a folder, or the bundled model of that name, and accounts for every tensor in it.
    ///
    /// # Errors
    /// A file is missing or malformed, the configuration contradicts itself, or a tensor is missing, surplus or misshapen.
    pub fn open(path: &Path) -> Result<Self, GenerateError> {
        Self::from_folder(ModelFolder::open(path)?)
    }

    /// The class model inside the executable.
    ///
    /// # Errors
    /// As [`Model::open`]; not for the bundled files.
    pub fn bundled_class() -> Result<Self, GenerateError> {
        Self::from_folder(ModelFolder::bundled(&assets::CLASS)?)
    }

    /// The text model inside the executable.
    ///
    /// # Errors
    /// As [`Model::open`]; not for the bundled files.
    pub fn bundled_text() -> Result<Self, GenerateError> {
        Self::from_folder(ModelFolder::bundled(&assets::TEXT)?)
    }

    /// The model of a folder, on disk or in memory.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn from_folder(folder: ModelFolder) -> Result<Self, GenerateError> {
        let name = folder.name().to_owned();
        let config = Config::parse(&name, folder.config())?;
        let prompts = match &config.family {
            Known::Maskgit(_) => None,
            Known::Dimoo(model) => {
                let label = format!("{TOKENIZER} of {name}");
                let bytes = folder.read(TOKENIZER)?;
                let vocabulary = model.transformer.text_vocab;
                let prompts = PromptEncoder::new(&label, &bytes, &model.prompt_template, vocabulary)?;
                Some(if model.trim_prompt { prompts } else { prompts.untrimmed() })
            }
        };
        let mut formats = Formats::F16;
        for part in config.family.parts() {
            let checkpoint = required(&folder, part)?;
            let expected = part_tensors(&*config.family, part)?;
            account(&checkpoint, &expected, &|_| false)?;
            formats.half &= matrices_are_f16(&checkpoint, "");
            // The transformer decides for all.
            if part == config.family.part() {
                formats.quantize = stored_quantization(&checkpoint, &expected);
            }
        }
        let calibration = match folder.find(calibrate::FILE)? {
            None => None,
            Some(bytes) => {
                let wrong = |e: serde_json::Error| GenerateError::Config {
                    model: name.clone(),
                    what: format!(
                        "{} beside it cannot be read: {e}; remove it, and migm calibrate makes it anew",
                        calibrate::FILE
                    ),
                };
                Some(Calibration::read(&bytes).map_err(wrong)?)
            }
        };
        Ok(Self { name, config, folder: Some(folder), prompts, formats, calibration })
    }

    /// A published model by its name alone: see [`published::NAMES`]. Published weights are in half precision.
    pub fn published(name: &str) -> Option<Self> {
        let config = published::config(name)?;
        let name = name.to_owned();
        Some(Self { name, config, folder: None, prompts: None, formats: Formats::F16, calibration: None })
    }

    /// Whether there are weights.
    pub fn has_weights(&self) -> bool {
        self.folder.is_some()
    }

    /// The weights.
    ///
    /// # Errors
    /// There are none, or a file went away since the folder was opened.
    pub fn weights(&self) -> Result<Box<dyn WeightSource>, GenerateError> {
        let Some(folder) = &self.folder else {
            let message =
                format!("{} is not here, only its sizes are known; migm pull {0} fetches it", self.name);
            return Err(GenerateError::Setting(message));
        };
        Ok(Box::new(FolderWeights::open(folder, self.config.family.parts().into_iter())?))
    }

    /// In which precision weights are kept on a device.
    pub fn formats(&self) -> Formats {
        self.formats
    }

    /// The same model with its matrices quantised while they are loaded, unless they are stored so; with `None`, as it is stored.
    #[must_use]
    pub fn quantized(self, quantize: Option<Quantization>) -> Self {
        Self { formats: self.formats.quantized(quantize), ..self }
    }

    /// The same model with another number of layers or image tokens: for plans, and for random weights.
    ///
    /// # Errors
    /// As [`Config::resized`].
    pub fn resized(self, layers: Option<u32>, grid: Option<[u32; 2]>) -> Result<Self, GenerateError> {
        Ok(Self { config: self.config.resized(layers, grid)?, ..self })
    }

    /// The family and its sizes.
    pub fn family(&self) -> &dyn Family {
        &*self.config.family
    }

    /// The classes of a class model.
    pub fn classes(&self) -> Option<&Maskgit> {
        match &self.config.family {
            Known::Maskgit(model) => Some(model),
            Known::Dimoo(_) => None,
        }
    }

    /// Prompts to ids, of a text model.
    pub fn prompts(&self) -> Option<&PromptEncoder> {
        self.prompts.as_ref()
    }

    /// Where the folder is; `None` where its files are in memory.
    pub fn path(&self) -> Option<&Path> {
        self.folder.as_ref().and_then(ModelFolder::path)
    }

    /// The things that a model of few words knows.
    pub fn things(&self) -> impl Iterator<Item = &str> {
        let kinds = match &self.config.family {
            Known::Maskgit(_) => &[],
            Known::Dimoo(model) => model.words.as_slice(),
        };
        let things = kinds.iter().filter(|kind| kind.kind == "things");
        things.flat_map(|kind| kind.words.iter().map(String::as_str))
    }

    /// What `migm calibrate` measured of it, if it did.
    pub fn calibration(&self) -> Option<&Calibration> {
        self.calibration.as_ref()
    }

    /// The settings with [`Refresh::Optimal`] replaced by the steps that were measured to be best; others stay as they are.
    ///
    /// # Errors
    /// The model was not calibrated, or for other settings, or cannot be run under these at all.
    pub fn resolve(&self, settings: Settings) -> Result<Settings, GenerateError> {
        settings.check(self.family())?;
        let Refresh::Optimal(budget) = settings.refresh else { return Ok(settings) };
        let Some(calibration) = &self.calibration else {
            let message =
                format!("{} is not calibrated; migm calibrate {0} measures its best full steps", self.name);
            return Err(GenerateError::Setting(message));
        };
        Ok(Settings { refresh: Refresh::List(calibration.plan(&settings, budget)?), ..settings })
    }

    /// What errors of a predictor are of the velocity that it accumulated, by parts of the mask ratio from 0 on, where that was measured.
    pub fn prior(&self, settings: &Settings) -> Vec<f32> {
        let measured = self.calibration.as_ref().and_then(|known| known.of(settings));
        measured.map(|known| known.factors.clone()).unwrap_or_default()
    }

    /// Words of a prompt that the model has never seen, each once, with what may have been meant: the nearest in spelling, and
    /// where there are none, the kinds of words that it knows.
    pub fn unknown_words(&self, prompt: &str) -> Vec<Unknown> {
        let (Some(prompts), Known::Dimoo(family)) = (&self.prompts, &self.config.family) else {
            return Vec::new();
        };
        let mut unknown = prompts.unknown_words(prompt);
        unknown.sort_unstable();
        unknown.dedup();
        let of = |word: &str| {
            let near = prompts.nearest_words(word, OFFERED);
            let kinds = if near.is_empty() { family.words.clone() } else { Vec::new() };
            Unknown { word: word.chars().take(LONGEST_SHOWN).collect(), near, kinds }
        };
        unknown.into_iter().take(MOST_NAMED).map(of).collect()
    }

    /// What an image of a subject is made under.
    ///
    /// # Errors
    /// A class that the model does not have, a prompt that cannot be encoded, or a subject of another kind of model.
    pub fn condition(&self, subject: &Subject) -> Result<Condition, GenerateError> {
        match (subject, self.classes(), &self.prompts) {
            (Subject::Class(class), Some(model), _) => {
                let error = |hint| GenerateError::Class { wanted: class.trim().to_owned(), hint };
                Ok(Condition::Class(Some(model.class(class).map_err(error)?)))
            }
            (Subject::Prompt(prompt), _, Some(prompts)) => {
                Ok(Condition::Prompt { ids: prompts.encode(prompt)?, without: prompts.unconditional()? })
            }
            (Subject::Class(_), ..) => Err(GenerateError::Setting(format!(
                "{} takes a prompt, not a class: migm generate \"PROMPT\" --model ...",
                self.name
            ))),
            (Subject::Prompt(_), ..) => Err(GenerateError::Setting(format!(
                "{} is of classes and takes no prompt; name one with --class",
                self.name
            ))),
        }
    }

    /// What an image of nothing in particular is made under.
    ///
    /// # Errors
    /// As [`Model::condition`].
    pub fn unconditional(&self) -> Result<Condition, GenerateError> {
        match &self.prompts {
            Some(_) => self.condition(&Subject::Prompt(String::new())),
            None => Ok(Condition::Class(None)),
        }
    }
}

/// How the matrices of a checkpoint are stored: in four bits if any are, whose outer layers are in eight.
fn stored_quantization(checkpoint: &Checkpoint, expected: &[(String, Vec<usize>)]) -> Option<Quantization> {
    let matrices = expected.iter().filter(|(_, shape)| shape.len() == 2);
    let found = matrices.filter_map(|(name, _)| checkpoint.quantization(name));
    found.reduce(|a, b| if a == Quantization::Int8 { b } else { a })
}

/// Whether no matrix under a prefix is stored in more than f16: then keeping them so on a device loses nothing.
/// Quantised matrices, and the scales beside them, do not count.
pub(crate) fn matrices_are_f16(checkpoint: &Checkpoint, prefix: &str) -> bool {
    use crate::weights::Dtype;
    let matrix = |t: &&crate::weights::TensorInfo| {
        t.name.starts_with(prefix) && t.shape.len() > 1 && !t.name.ends_with(".scale")
    };
    let mut matrices = checkpoint.tensors().filter(matrix);
    matrices.all(|t| !matches!(t.dtype, Dtype::F32 | Dtype::F64 | Dtype::BF16))
}

fn required(folder: &ModelFolder, part: &str) -> Result<Checkpoint, GenerateError> {
    folder.checkpoint(part)?.ok_or_else(|| GenerateError::Config {
        model: folder.name().to_owned(),
        what: format!("it describes a {part}, but the folder has no {part}.safetensors"),
    })
}

/// What [`crate::weights::ConvertOptions::needed`] asks for: the tensors of a part by a config that may not be complete yet.
///
/// # Errors
/// A sentence on what is wrong with the config.
pub fn needed(config: &Value, part: &str) -> Result<Option<TensorShapes>, String> {
    let described = if part == "vq" { "tokenizer" } else { "transformer" };
    let is_text = config.get("architecture").and_then(Value::as_str) == Some(dimoo::ARCHITECTURE);
    if !is_text || [described, "transformer"].iter().any(|key| config.get(*key).is_none()) {
        return Ok(None);
    }
    let mut config = config.clone();
    if let Some(pieces) = config.as_object_mut() {
        // A part that is still to come.
        let official = crate::models::tokenizer::amused::Config::official();
        pieces.entry("tokenizer").or_insert_with(|| serde_json::json!(official));
    }
    let family: Known = serde_json::from_value(config).map_err(|e| e.to_string())?;
    family.check()?;
    part_tensors(&*family, part).map(Some).map_err(|e| e.to_string())
}

/// Weights from one checkpoint a part.
#[derive(Debug)]
pub struct FolderWeights {
    parts: HashMap<String, Checkpoint>,
}

impl FolderWeights {
    pub(crate) fn open(
        folder: &ModelFolder,
        parts: impl Iterator<Item = &'static str>,
    ) -> Result<Self, GenerateError> {
        let parts = parts.map(|part| Ok((part.to_owned(), required(folder, part)?)));
        Ok(Self { parts: parts.collect::<Result<_, GenerateError>>()? })
    }
}

impl WeightSource for FolderWeights {
    fn load(&mut self, spec: &WeightSpec) -> Result<Vec<f32>, WeightError> {
        let (part, name) = spec.name.split_once('.').unwrap_or(("", &spec.name));
        match self.parts.get(part) {
            Some(checkpoint) => checkpoint.read_shaped_rows(name, &spec.shape, spec.kept_rows()),
            None => Err(WeightError::missing(&spec.name, &spec.shape, part)),
        }
    }

    fn load_quantized(
        &mut self,
        spec: &WeightSpec,
        scheme: Quantization,
    ) -> Result<Option<Quantized>, WeightError> {
        let (part, name) = spec.name.split_once('.').unwrap_or(("", &spec.name));
        match self.parts.get(part) {
            Some(checkpoint) if checkpoint.quantization(name) == Some(scheme) => {
                checkpoint.read_quantized(name, &spec.shape, spec.kept_rows())
            }
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
