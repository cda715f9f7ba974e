//! The engine behind the window: an opened model on a device, and one run over it, for both kinds of models.
//!
//! A class model makes all pictures of a run at once; a text model makes one after the other (*rounds*). Sessions are kept
//! while the model stays, so that another seed, budget or method costs no loading.

use super::recipe::{Recipe, Subject};
use crate::exec::{Executor, Memory};
use crate::generate::GenerateError;
use crate::generate::model::{Device, Model};
use crate::generate::picture::Picture;
use crate::generate::predict::Predictor;
use crate::generate::refresh::Refresh;
use crate::generate::sampling::Sampling;
use crate::generate::session::{PlannedStep, Session, Settings, Shape};
use crate::generate::text::{TextModel, TextSession, is_text_folder};
use crate::kernels::Quantization;
use crate::models::{Batch, Model as _};
use crate::weights::{FileBytes, ModelFolder};
use std::path::Path;

/// Sessions held at once: enough to go back and forth between two methods.
const HELD: usize = 2;

/// A model's files, by name.
pub type Files = Vec<(String, FileBytes)>;

/// What a submission may take on a device that also draws the window, in milliseconds: a third of a frame.
const SUBMISSION_MS: f64 = 5.0;

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

    /// What the model does unless told otherwise.
    pub fn recipe(&self, subject: Subject) -> Recipe {
        let predictor = if self.has_shortcut { Predictor::Shortcut } else { Predictor::Reuse };
        Recipe {
            model: self.source.clone(),
            subject,
            seed: 0,
            images: 1,
            draw: self.draw,
            refresh: Refresh::Uniform(self.draw.steps.div_ceil(4)),
            predictor,
            quantize: None,
        }
    }
}

/// Tokens as they are, and as the last step drew them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glimpse {
    /// Codes `[images, tokens]`; the number of codes where masked.
    pub codes: Vec<u32>,
    /// The latest draw at every position `[images, tokens]`.
    pub drawn: Vec<u32>,
}

#[derive(Debug)]
enum Loaded {
    Text(Box<TextModel>),
    Class(Box<Model>),
}

#[derive(Debug)]
enum Held {
    Text { session: Box<TextSession>, lengths: Vec<usize>, quantize: Option<Quantization> },
    Class { session: Box<Session>, quantize: Option<Quantization> },
}

impl Held {
    fn executor(&mut self) -> &mut dyn Executor {
        match self {
            Self::Text { session, .. } => session.executor(),
            Self::Class { session, .. } => session.executor(),
        }
    }
}

/// A model on a device, and a run over it.
#[derive(Debug)]
pub struct Engine {
    device: Device,
    model: Option<(Loaded, ModelInfo)>,
    /// The one in use last.
    held: Vec<Held>,
}

fn no_model() -> GenerateError {
    GenerateError::Setting("no model is open; open one first".to_owned())
}

fn other_kind(info: &ModelInfo) -> GenerateError {
    let (takes, not) = if info.is_text { ("a prompt", "a class") } else { ("a class", "a prompt") };
    GenerateError::Setting(format!("{} takes {takes}, not {not}", info.name))
}

impl Engine {
    /// An engine without a model.
    pub fn new(device: Device) -> Self {
        Self { device, model: None, held: Vec::new() }
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Goes on with the same model on another device.
    pub fn replace_device(&mut self, device: Device) {
        self.held.clear();
        self.device = device;
    }

    /// The model that is open.
    pub fn info(&self) -> Option<&ModelInfo> {
        self.model.as_ref().map(|(_, info)| info)
    }

    /// Opens a folder or a bundled model in place of the present one, which stays if this fails.
    ///
    /// # Errors
    /// It is no model folder, or a broken one.
    pub fn open(&mut self, source: &str) -> Result<&ModelInfo, GenerateError> {
        self.open_folder(source, ModelFolder::open(Path::new(source))?)
    }

    /// The same of a model's files, which the browser has fetched or a person has dropped.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_files(&mut self, source: &str, files: Files) -> Result<&ModelInfo, GenerateError> {
        self.open_folder(source, ModelFolder::from_files(source, files)?)
    }

    fn open_folder(&mut self, source: &str, folder: ModelFolder) -> Result<&ModelInfo, GenerateError> {
        let (loaded, info) = if is_text_folder(&folder) {
            let model = TextModel::from_folder(folder)?;
            let t = &model.config.transformer;
            let factor = model.config.tokenizer.factor();
            let info = ModelInfo {
                source: source.to_owned(),
                name: model.name.clone(),
                words: model.prompts.words(),
                labels: Vec::new(),
                is_text: true,
                grid: t.grid,
                codebook: t.codebook,
                size: [t.grid[1] * factor, t.grid[0] * factor],
                draw: model.config.sampling,
                has_shortcut: model.config.shortcut.is_some(),
                stored_half: model.is_half(),
                stored_quantized: model.quantization(),
            };
            (Loaded::Text(Box::new(model)), info)
        } else {
            let model = Model::from_folder(folder)?;
            let t = &model.config.transformer;
            let info = ModelInfo {
                source: source.to_owned(),
                name: model.name.clone(),
                words: Vec::new(),
                labels: (0..t.classes).map(|class| model.config.class_name(class)).collect(),
                is_text: false,
                grid: [t.grid; 2],
                codebook: t.codebook,
                size: [model.config.image_size; 2],
                draw: model.config.sampling,
                has_shortcut: model.config.shortcut.is_some(),
                stored_half: model.is_half(),
                stored_quantized: model.quantization(),
            };
            (Loaded::Class(Box::new(model)), info)
        };
        self.held.clear();
        Ok(&self.model.insert((loaded, info)).1)
    }

    /// Words of a prompt that the model does not know, each with the nearest that it does.
    pub fn unknown_words(&self, prompt: &str) -> Vec<(String, Vec<String>)> {
        /// Offered for each.
        const NEAR: usize = 3;
        let Some((Loaded::Text(model), _)) = &self.model else { return Vec::new() };
        let unknown = model.prompts.unknown_words(prompt).into_iter();
        unknown.map(|word| (word.to_owned(), model.prompts.nearest_words(word, NEAR))).collect()
    }

    /// Rounds of a run, each of which makes some of its pictures.
    pub fn rounds(&self, recipe: &Recipe) -> u32 {
        if self.info().is_some_and(|info| info.is_text) { recipe.images.max(1) } else { 1 }
    }

    /// Gets ready for a recipe: loads what is not at hand, and plans the steps.
    ///
    /// # Errors
    /// Settings out of range, weights that cannot be read, or a device that is too small.
    pub fn begin(&mut self, recipe: &Recipe) -> Result<&[PlannedStep], GenerateError> {
        let Some((loaded, info)) = &self.model else { return Err(no_model()) };
        let partial = recipe.full_steps() != Some(recipe.draw.steps as usize);
        // Vanilla runs with the programs of the predictor that will be compared with it, if the model has that.
        let has = recipe.predictor != Predictor::Shortcut || info.has_shortcut;
        let held = match (loaded, &recipe.subject) {
            (Loaded::Text(model), Subject::Prompt(prompt)) => {
                let mut prompts = vec![model.prompts.encode(prompt)?];
                if recipe.draw.guided() {
                    prompts.push(model.prompts.unconditional()?);
                }
                let lengths: Vec<usize> = prompts.iter().map(Vec::len).collect();
                let settings = Settings {
                    sampling: recipe.draw,
                    refresh: recipe.refresh.clone(),
                    predictor: recipe.predictor,
                };
                let fits = |held: &Held| match held {
                    Held::Text { session, lengths: l, quantize } => {
                        *l == lengths
                            && *quantize == recipe.quantize
                            && (session.predictor() == Some(recipe.predictor) || !partial)
                    }
                    Held::Class { .. } => false,
                };
                let mut session = match self.held.iter().position(fits).map(|at| self.held.remove(at)) {
                    Some(Held::Text { session, .. }) => session,
                    _ => {
                        self.held.truncate(HELD - 1);
                        let refresh =
                            if has && !partial { Refresh::Uniform(1) } else { settings.refresh.clone() };
                        let made_for = Settings { refresh, ..settings };
                        let weights = &mut model.weights()?;
                        let formats = model.formats_quantized(recipe.quantize);
                        let device = &self.device;
                        Box::new(TextSession::with_weights(
                            &model.config,
                            &prompts,
                            1,
                            &made_for,
                            device,
                            formats,
                            weights,
                        )?)
                    }
                };
                session.set_prompt(&prompts[0])?;
                session.configure(&settings)?;
                Held::Text { session, lengths, quantize: recipe.quantize }
            }
            (Loaded::Class(model), Subject::Class(class)) => {
                model.config.class(class)?;
                let settings = Settings {
                    sampling: recipe.draw,
                    refresh: recipe.refresh.clone(),
                    predictor: recipe.predictor,
                };
                let shape = Shape {
                    batch: Batch { images: recipe.images.max(1), guided: recipe.draw.guided() },
                    predictor: (partial || has).then_some(recipe.predictor),
                    recorded_noise: false,
                    decoder: true,
                };
                let fits = |held: &Held| match held {
                    Held::Class { session, quantize } => {
                        let made = session.shape();
                        made.batch == shape.batch
                            && *quantize == recipe.quantize
                            && (made.predictor == shape.predictor || !partial)
                    }
                    Held::Text { .. } => false,
                };
                let mut session = match self.held.iter().position(fits).map(|at| self.held.remove(at)) {
                    Some(Held::Class { session, .. }) => session,
                    _ => {
                        self.held.truncate(HELD - 1);
                        let formats = model.formats_quantized(recipe.quantize);
                        let weights = &mut model.weights()?;
                        Box::new(Session::with_weights(&model.config, shape, &self.device, formats, weights)?)
                    }
                };
                session.configure(&settings)?;
                Held::Class { session, quantize: recipe.quantize }
            }
            _ => return Err(other_kind(info)),
        };
        self.held.insert(0, held);
        // The window is drawn by the same device.
        self.held[0].executor().pace(Some(SUBMISSION_MS));
        Ok(match &self.held[0] {
            Held::Text { session, .. } => session.plan(),
            Held::Class { session, .. } => session.plan(),
        })
    }

    /// Masks everything anew, for a round of the run that [`Self::begin`] planned.
    ///
    /// # Errors
    /// The device failed.
    pub fn start(&mut self, recipe: &Recipe, round: u32) -> Result<(), GenerateError> {
        let seed = recipe.seed.wrapping_add(u64::from(round));
        match (self.held.first_mut(), &self.model, &recipe.subject) {
            (Some(Held::Text { session, .. }), _, _) => session.start(&[seed]),
            (Some(Held::Class { session, .. }), Some((Loaded::Class(model), _)), Subject::Class(class)) => {
                let images = session.shape().batch.images;
                let class = model.config.class(class)?;
                let seeds: Vec<u64> = (0..u64::from(images)).map(|i| seed.wrapping_add(i)).collect();
                session.start(&vec![Some(class); images as usize], &seeds)
            }
            _ => Err(no_model()),
        }
    }

    /// Enqueues the next step; `None` when every token is revealed.
    ///
    /// # Errors
    /// The device failed.
    pub fn step(&mut self) -> Result<Option<PlannedStep>, GenerateError> {
        match self.held.first_mut().ok_or_else(no_model)? {
            Held::Text { session, .. } => session.step(),
            Held::Class { session, .. } => session.step(),
        }
    }

    /// What the predictor makes of the features for the next step, which is full: as [`Self::features`]. The run goes on as if
    /// nobody had asked.
    ///
    /// # Errors
    /// The next step is not full, or the device failed.
    pub async fn prediction(&mut self) -> Result<(Vec<f32>, usize), GenerateError> {
        match self.held.first_mut().ok_or_else(no_model)? {
            Held::Text { session, .. } => session.predict()?,
            Held::Class { session, .. } => session.predict()?,
        }
        self.features().await
    }

    /// Reads the tokens back: when this returns, every step enqueued has run.
    ///
    /// # Errors
    /// The device failed.
    pub async fn glimpse(&mut self) -> Result<Glimpse, GenerateError> {
        Ok(match self.held.first_mut().ok_or_else(no_model)? {
            Held::Text { session, .. } => {
                Glimpse { codes: session.tokens().await?, drawn: session.drawn().await? }
            }
            Held::Class { session, .. } => {
                Glimpse { codes: session.tokens().await?, drawn: session.drawn().await? }
            }
        })
    }

    /// Last-layer features of the run's first sequence, token by token, and their width.
    ///
    /// # Errors
    /// The device failed.
    pub async fn features(&mut self) -> Result<(Vec<f32>, usize), GenerateError> {
        match self.held.first_mut().ok_or_else(no_model)? {
            Held::Text { session, .. } => {
                let width = session.config().transformer.d_model as usize;
                Ok((session.features().await?, width))
            }
            Held::Class { session, .. } => {
                let t = session.config().transformer;
                let mut features = session.features().await?;
                features.truncate((t.tokens() * t.hidden) as usize);
                Ok((features, t.hidden as usize))
            }
        }
    }

    /// Pictures of codes `[images, tokens]`.
    ///
    /// # Errors
    /// The device failed.
    pub(super) async fn decode(&mut self, codes: &[u32]) -> Result<Vec<Picture>, GenerateError> {
        let Some((_, info)) = &self.model else { return Err(no_model()) };
        let ([width, height], tokens) = (info.size, info.tokens());
        let mut pictures = Vec::new();
        match self.held.first_mut().ok_or_else(no_model)? {
            Held::Text { session, .. } => {
                for codes in codes.chunks(tokens) {
                    let (values, width, height) = session.decode(codes).await?;
                    // This tokenizer's pictures are in [0, 1].
                    let values: Vec<f32> = values.iter().map(|v| 2.0 * v - 1.0).collect();
                    pictures.push(Picture::from_values(&values, width, height));
                }
            }
            Held::Class { session, .. } => {
                let values = session.decode(codes).await?;
                let each = values.chunks_exact((width * height * 3) as usize);
                pictures.extend(each.map(|values| Picture::from_values(values, width, height)));
            }
        }
        Ok(pictures)
    }

    /// Pictures of codes of a run that may be long past: gets a decoder ready if there is none that fits.
    ///
    /// # Errors
    /// As [`Self::begin`], or the device failed.
    pub async fn show(&mut self, recipe: &Recipe, codes: &[u32]) -> Result<Vec<Picture>, GenerateError> {
        let fits = match self.held.first() {
            Some(Held::Text { .. }) => true,
            Some(Held::Class { session, .. }) => session.shape().batch.images == recipe.images.max(1),
            None => false,
        };
        if !fits {
            self.begin(recipe)?;
        }
        self.decode(codes).await
    }

    /// Milliseconds of each step of the last round, where the device measures them.
    ///
    /// # Errors
    /// The device failed.
    pub async fn step_times(&mut self) -> Result<Vec<Option<f64>>, GenerateError> {
        let held = self.held.first_mut().ok_or_else(no_model)?;
        Ok(held.executor().step_times().await?)
    }

    /// Memory held on the device by all sessions.
    pub fn memory(&mut self) -> Memory {
        let mut all = Memory::default();
        for held in &mut self.held {
            let memory = held.executor().memory();
            all.weights += memory.weights;
            all.states += memory.states;
            all.temporaries += memory.temporaries;
            all.other += memory.other;
        }
        all
    }

    /// The adapter's name, or the processor's threads.
    pub fn describe(&mut self) -> String {
        match (self.held.first_mut(), &self.device) {
            (Some(held), _) => held.executor().describe(),
            (None, Device::Cpu) => "CPU".to_owned(),
            (None, Device::Gpu(gpu)) => gpu.info.name.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::predict::MlCache;

    /// What *Compare methods* does: runs that differ in what stands in for the model, and vanilla among them.
    #[test]
    fn methods_are_compared_again_and_again() {
        let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/dimoo-tiny.safetensors");
        let folder = tempfile::tempdir().unwrap();
        crate::eval::export::export(&recording, folder.path()).unwrap();
        let mut engine = Engine::new(Device::Cpu);
        for (source, subject) in [
            (folder.path().to_str().unwrap(), Subject::Prompt("w5 w17 w9".to_owned())),
            (crate::generate::model::FIXTURE, Subject::Class("fox".to_owned())),
        ] {
            let info = engine.open(source).unwrap();
            let shortcut = Recipe { refresh: Refresh::Uniform(3), ..info.recipe(subject) };
            let with = |predictor| Recipe { predictor, ..shortcut.clone() };
            let reuse = with(Predictor::Reuse);
            let cached = with(Predictor::MlCache(MlCache::OFFICIAL));
            for _ in 0..2 {
                for recipe in [&reuse, &shortcut.vanilla(), &shortcut, &reuse.vanilla(), &cached, &shortcut] {
                    let plan = engine.begin(recipe).map(<[PlannedStep]>::len);
                    assert_eq!(
                        plan.unwrap(),
                        recipe.draw.steps as usize,
                        "{:?} of {source}",
                        recipe.predictor
                    );
                }
            }
        }
    }
}
