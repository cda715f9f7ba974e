//! A model as the window knows it.

use crate::generate::calibrate::Calibration;
use crate::generate::model::Model;
use crate::generate::predict::Predictor;
use crate::generate::recipe::{Recipe, Subject};
use crate::generate::refresh::Refresh;
use crate::generate::sampling::Sampling;
use crate::kernels::Quantization;
use crate::models::maskgit::Maskgit;
use crate::models::prompts::PromptEncoder;
use crate::weights::FileBytes;

/// A model's files, by name.
pub type Files = Vec<(String, FileBytes)>;

/// What the window needs to know of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelInfo {
    /// What it was opened by: a bundled model's name, or a folder.
    pub source: String,
    /// The folder's name.
    pub name: String,
    /// Words of its prompts, in order of the alphabet; empty where the tokenizer knows every byte.
    pub words: Vec<String>,
    /// Names of its classes.
    pub labels: Vec<String>,
    /// Whether it takes a prompt.
    pub is_text: bool,
    /// Rows and columns of tokens.
    pub grid: [u32; 2],
    /// Codes of the tokenizer; the number stands for a masked token.
    pub codebook: u32,
    /// Width and height of a picture, in pixels.
    pub size: [u32; 2],
    /// Its sampling defaults.
    pub draw: Sampling,
    /// Whether it has a shortcut.
    pub has_shortcut: bool,
    /// Whether it makes its pictures in one full step: there is nothing to guide, to save or to predict.
    pub one_step: bool,
    /// What was measured of it, if it was calibrated.
    pub calibration: Option<Calibration>,
    /// Whether its weights are stored in f16, those aside that are quantised; else in f32.
    pub stored_half: bool,
    /// How they are stored quantised, if they are.
    pub stored_quantized: Option<Quantization>,
}

impl ModelInfo {
    /// Image tokens.
    pub fn tokens(&self) -> usize {
        (self.grid[0] * self.grid[1]) as usize
    }

    /// Of an open model, by what it was opened by.
    pub fn new(source: &str, model: &Model) -> Self {
        let (family, classes) = (model.family(), model.classes());
        let [height, width] = family.size();
        let labels = |of: &Maskgit| (0..of.transformer.classes).map(|class| of.class_name(class)).collect();
        Self {
            source: source.to_owned(),
            name: model.name.clone(),
            words: model.prompts().map(PromptEncoder::words).unwrap_or_default(),
            labels: classes.map(labels).unwrap_or_default(),
            is_text: classes.is_none(),
            grid: family.grid(),
            codebook: family.codebook(),
            size: [width, height],
            draw: model.config.sampling,
            has_shortcut: family.has_shortcut(),
            one_step: family.is_one_step(),
            calibration: model.calibration().cloned(),
            stored_half: model.formats().half,
            stored_quantized: model.formats().quantize,
        }
    }

    /// What the model does unless told otherwise.
    pub fn recipe(&self, subject: Subject) -> Recipe {
        let predictor = Predictor::of_model(self.has_shortcut);
        Recipe {
            model: self.source.clone(),
            subject,
            seed: 0,
            images: 1,
            draw: self.draw,
            refresh: Refresh::Uniform(self.draw.steps.div_ceil(4)),
            predictor,
            quantize: None,
            begun: Vec::new(),
            canvas: None,
        }
    }
}
