//! Text to image: a model folder of the Lumina-DiMOO kind, and a session over one prompt.
//!
//! The folder holds `config.json`, `dimoo.safetensors`, `vq.safetensors`, `tokenizer.json` and, if it has one,
//! `shortcut.safetensors`, under official tensor names.

use super::GenerateError;
use super::dimoo as generation;
use super::model::{Device, FolderWeights, matrices_are_f16, stored_quantization};
use super::picture::Picture;
use super::predict::{Predictor, Routine};
use super::refresh::Refresh;
use super::sampling::{self, Sampling};
use super::session::{PlannedStep, Settings, StepKind};
use crate::assets;
use crate::exec::gpu::device::Gpu;
use crate::exec::{Executor, Memory, read_f32};
use crate::kernels::{Quantization, RowRange, StepValues, WeightFormat};
use crate::models::dimoo::{self, Branch, Sequences};
use crate::models::text::{DIMOO_TEMPLATE, PromptEncoder};
use crate::models::{self, amused_vq, dimoo_shortcut, states};
use crate::program::{Program, WeightSource, WeightSpec};
use crate::weights::{ModelFolder, TensorShapes, account};
use serde_json::Value;
use std::path::Path;

/// The architecture that `config.json` names.
pub const ARCHITECTURE: &str = "lumina-dimoo";

/// What `config.json` says.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct TextConfig {
    /// [`ARCHITECTURE`].
    pub architecture: String,
    /// The transformer's sizes.
    pub transformer: dimoo::Config,
    /// The image tokenizer's sizes.
    pub tokenizer: amused_vq::Config,
    /// The shortcut's sizes, where there is one.
    #[serde(default)]
    pub shortcut: Option<dimoo_shortcut::Config>,
    /// Sampling defaults.
    #[serde(deserialize_with = "sampling::of_dimoo")]
    pub sampling: Sampling,
    /// What a prompt is put into, at `{prompt}`.
    #[serde(default = "default_template")]
    pub prompt_template: String,
}

fn default_template() -> String {
    DIMOO_TEMPLATE.to_owned()
}

impl TextConfig {
    fn check(&self) -> Result<(), String> {
        let t = &self.transformer;
        let sizes = [t.d_model, t.heads, t.layers, t.mlp, t.text_vocab, t.codebook, t.grid[0], t.grid[1]];
        if sizes.contains(&0) {
            return Err("a size of the transformer is 0".to_owned());
        }
        if !t.d_model.is_multiple_of(2 * t.heads) {
            return Err(format!("`d_model` {} is not a multiple of twice `heads` {}", t.d_model, t.heads));
        }
        if [t.mask, t.newline, t.boa, t.boi, t.eoi, t.eoa].iter().any(|&id| id >= t.text_vocab) {
            return Err(format!("a special token lies beyond the {} text ids", t.text_vocab));
        }
        if let Some(s) = &self.shortcut {
            let even =
                s.ratio > 0 && t.d_model.is_multiple_of(s.ratio) && s.width(t).is_multiple_of(2 * t.heads);
            if !even || s.blocks == 0 {
                return Err(format!(
                    "a shortcut of {} blocks and ratio {} does not divide the model",
                    s.blocks, s.ratio
                ));
            }
        }
        let v = &self.tokenizer;
        let divided = |channels: &u32| *channels > 0 && v.groups > 0 && channels.is_multiple_of(v.groups);
        if v.channels.is_empty() || !v.channels.iter().all(divided) || v.latent == 0 {
            return Err(format!(
                "the image tokenizer's channels {:?} are not multiples of {} groups",
                v.channels, v.groups
            ));
        }
        if !self.prompt_template.contains("{prompt}") {
            return Err("`prompt_template` has no {prompt}".to_owned());
        }
        Ok(())
    }
}

/// Prompts to ids.
const TOKENIZER: &str = "tokenizer.json";

/// A text model's folder, opened and checked.
#[derive(Debug)]
pub struct TextModel {
    /// The folder's name, for messages and metadata.
    pub name: String,
    /// What its `config.json` says.
    pub config: TextConfig,
    /// Prompts to ids.
    pub prompts: PromptEncoder,
    folder: ModelFolder,
    half: bool,
    quantize: Option<Quantization>,
}

/// Whether a folder holds a text model.
///
/// # Errors
/// It is no model folder.
pub fn is_text_model(path: &Path) -> Result<bool, GenerateError> {
    Ok(is_text_folder(&ModelFolder::open(path)?))
}

/// The same of a folder that is open.
pub(crate) fn is_text_folder(folder: &ModelFolder) -> bool {
    folder.config().get("architecture").and_then(|a| a.as_str()) == Some(ARCHITECTURE)
}

impl TextModel {
    /// Opens a folder and accounts for every tensor in it.
    ///
    /// # Errors
    /// A file is missing or malformed, the configuration contradicts itself, or a tensor is missing, surplus or misshapen.
    pub fn open(path: &Path) -> Result<Self, GenerateError> {
        Self::from_folder(ModelFolder::open(path)?)
    }

    /// The text model inside the executable.
    ///
    /// # Errors
    /// As [`TextModel::open`]; not for the bundled files.
    pub fn bundled() -> Result<Self, GenerateError> {
        Self::from_folder(ModelFolder::bundled(&assets::TEXT)?)
    }

    /// The model of a folder, on disk or in memory.
    ///
    /// # Errors
    /// As [`TextModel::open`].
    pub fn from_folder(folder: ModelFolder) -> Result<Self, GenerateError> {
        let name = folder.name().to_owned();
        let error = |what: String| GenerateError::Config { model: name.clone(), what };
        let config: TextConfig =
            serde_json::from_value(folder.config().clone()).map_err(|e| error(e.to_string()))?;
        config.check().map_err(error)?;
        let bytes = folder.read(TOKENIZER)?;
        let label = format!("{TOKENIZER} of {name}");
        let prompts =
            PromptEncoder::new(&label, &bytes, &config.prompt_template, config.transformer.text_vocab)?;
        let (mut half, mut stored) = (true, None);
        for part in parts(&config) {
            let missing = || error(format!("it describes {part}, but the folder has no {part}.safetensors"));
            let checkpoint = folder.checkpoint(part)?.ok_or_else(missing)?;
            let expected = part_tensors(&config, part)?;
            account(&checkpoint, &expected, &|_| false)?;
            half &= matrices_are_f16(&checkpoint, "");
            if part == "dimoo" {
                stored = stored_quantization(&checkpoint, &expected);
            }
        }
        Ok(Self { name, config, prompts, folder, half, quantize: stored })
    }

    /// Whether weights that are not quantised are kept in f16.
    pub fn is_half(&self) -> bool {
        self.half
    }

    /// How matrices are quantised, stored so or while loading.
    pub fn quantization(&self) -> Option<Quantization> {
        self.quantize
    }

    /// The same model with its matrices quantised while they are loaded, unless they are stored so; with `None`, as it is stored.
    #[must_use]
    pub fn quantized(self, quantize: Option<Quantization>) -> Self {
        Self { quantize: quantize.or(self.quantize), ..self }
    }

    /// In which precision each weight is kept.
    pub fn formats(&self) -> fn(&WeightSpec) -> WeightFormat {
        models::formats(self.half, self.quantize)
    }

    /// The same where matrices that are not stored quantised are quantised while they are loaded.
    pub fn formats_quantized(&self, quantize: Option<Quantization>) -> fn(&WeightSpec) -> WeightFormat {
        models::formats(self.half, self.quantize.or(quantize))
    }

    /// The weights.
    ///
    /// # Errors
    /// A file went away since the folder was opened.
    pub fn weights(&self) -> Result<FolderWeights, GenerateError> {
        FolderWeights::open(&self.folder, parts(&self.config))
    }
}

fn parts(config: &TextConfig) -> impl Iterator<Item = &'static str> {
    ["dimoo", "vq"].into_iter().chain(config.shortcut.map(|_| "shortcut"))
}

/// What the checkpoint of a part must hold, under official names.
///
/// # Errors
/// The configuration makes no program.
pub fn part_tensors(config: &TextConfig, part: &str) -> Result<Vec<(String, Vec<usize>)>, GenerateError> {
    let t = &config.transformer;
    let sequence = t.sequence(Branch::Conditional, 1);
    let formats = models::keep_f32;
    let programs: Vec<Program> = match part {
        "dimoo" => vec![models::build("dimoo", formats, |b| {
            t.features_of(b, &sequence);
            t.logits_of(b, &[sequence], RowRange::all(t.grid[0] * t.grid[1]));
        })?],
        "shortcut" => match &config.shortcut {
            None => Vec::new(),
            Some(shortcut) => {
                vec![models::build("shortcut", formats, |b| shortcut.predict(b, t, &sequence))?]
            }
        },
        _ => {
            let (vq, [rows, columns]) = (&config.tokenizer, t.grid);
            let factor = vq.factor();
            vec![
                models::build("decode", formats, |b| vq.decode(b, t.codebook, 1, rows, columns))?,
                models::build("encode", formats, |b| {
                    vq.encode(b, t.codebook, 1, rows * factor, columns * factor);
                })?,
            ]
        }
    };
    let prefix = format!("{part}.");
    let tensors = models::tensors(&programs);
    Ok(tensors
        .into_iter()
        .filter_map(|(name, shape)| Some((name.strip_prefix(&prefix)?.to_owned(), shape)))
        .collect())
}

/// What [`crate::weights::ConvertOptions::needed`] asks for: [`part_tensors`] by a config that may not be complete yet.
///
/// # Errors
/// A sentence on what is wrong with the config.
pub fn needed(config: &Value, part: &str) -> Result<Option<TensorShapes>, String> {
    let described = if part == "vq" { "tokenizer" } else { "transformer" };
    let is_text = config.get("architecture").and_then(Value::as_str) == Some(ARCHITECTURE);
    if !is_text || [described, "transformer"].iter().any(|key| config.get(*key).is_none()) {
        return Ok(None);
    }
    let mut config = config.clone();
    if let Some(pieces) = config.as_object_mut() {
        // A part that is still to come.
        pieces.entry("tokenizer").or_insert_with(|| serde_json::json!(amused_vq::Config::official()));
    }
    let config: TextConfig = serde_json::from_value(config).map_err(|e| e.to_string())?;
    config.check()?;
    config.transformer.check()?;
    config.tokenizer.check()?;
    part_tensors(&config, part).map(Some).map_err(|e| e.to_string())
}

/// The sequences of a run of `images` whose prompts have so many tokens: the conditional one and, for guidance, the
/// unconditional one.
pub fn sequences(config: &TextConfig, lengths: &[u32], images: u32) -> Sequences {
    let t = config.transformer;
    let branches = [Branch::Conditional, Branch::Unconditional].into_iter().zip(lengths);
    let sequences = branches.map(|(branch, &length)| t.sequence(branch, length).of_images(images)).collect();
    Sequences { config: t, sequences }
}

/// The program that makes a picture of codes.
///
/// # Errors
/// Sizes that do not go together.
pub fn decoder(
    config: &TextConfig,
    formats: fn(&WeightSpec) -> WeightFormat,
) -> Result<Program, GenerateError> {
    let t = config.transformer;
    Ok(models::build("decode", formats, |b| {
        config.tokenizer.decode(b, t.codebook, 1, t.grid[0], t.grid[1]);
    })?)
}

/// Where pictures are decoded.
enum Decoder {
    /// With the steps, by index of the program.
    Program(usize),
    /// On the CPU.
    Apart(Box<dyn Executor>),
}

/// One prompt in the making.
pub struct TextSession {
    config: TextConfig,
    run: Sequences,
    executor: Box<dyn Executor>,
    /// The predictor that there are programs for.
    predictor: Option<Predictor>,
    routine: Routine,
    decoder: Decoder,
    plan: Vec<PlannedStep>,
    next: usize,
    templates: Vec<Vec<u32>>,
}

impl std::fmt::Debug for TextSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TextSession").field("next", &self.next).finish_non_exhaustive()
    }
}

impl TextSession {
    /// Makes a session for so many images of a prompt at once.
    ///
    /// # Errors
    /// The prompt cannot be encoded, weights cannot be loaded, the model has no shortcut, or the device is too small.
    pub fn new(
        model: &TextModel,
        prompt: &str,
        images: u32,
        settings: &Settings,
        device: &Device,
    ) -> Result<Self, GenerateError> {
        let mut prompts = vec![model.prompts.encode(prompt)?];
        if settings.sampling.guidance != 0.0 {
            prompts.push(model.prompts.unconditional()?);
        }
        let weights = &mut model.weights()?;
        Self::with_weights(&model.config, &prompts, images, settings, device, model.formats(), weights)
    }

    /// Makes a session with weights from anywhere. `prompts` holds the ids of the prompt and, for guidance, those of none.
    ///
    /// # Errors
    /// As [`TextSession::new`].
    pub fn with_weights(
        config: &TextConfig,
        prompts: &[Vec<u32>],
        images: u32,
        settings: &Settings,
        device: &Device,
        formats: fn(&WeightSpec) -> WeightFormat,
        weights: &mut dyn WeightSource,
    ) -> Result<Self, GenerateError> {
        let t = config.transformer;
        // Before weights are loaded, which may take minutes.
        settings.plan(t.grid[0] * t.grid[1])?;
        let lengths: Vec<u32> = prompts.iter().map(|ids| ids.len() as u32).collect();
        let run = sequences(config, &lengths, images);
        let predictor = (settings.refresh != Refresh::Every).then_some(settings.predictor);
        let mut programs = generation::programs(&run, predictor, config.shortcut, false, formats)?;
        let routine = programs.routine();
        let decode = decoder(config, formats)?;
        // A picture's widest map exceeds what small adapters bind, and comes once a picture.
        let too_wide = |gpu: &Gpu| decode.tensors().iter().any(|t| t.bytes() > gpu.largest_binding());
        let decoder = match device {
            Device::Gpu(gpu) if too_wide(gpu) => Decoder::Apart(Device::Cpu.executor(vec![decode], weights)?),
            _ => {
                programs.list.push(decode);
                Decoder::Program(programs.list.len() - 1)
            }
        };
        let mut session = Self {
            routine,
            executor: device.executor(programs.list, weights)?,
            templates: prompts.iter().map(|ids| t.templates(vec![ids.as_slice(); images as usize])).collect(),
            config: config.clone(),
            run,
            predictor,
            decoder,
            plan: Vec::new(),
            next: 0,
        };
        session.configure(settings)?;
        Ok(session)
    }

    /// Plans a run with the programs that the session has.
    ///
    /// # Errors
    /// Settings out of range, or a session that was made without guidance or for another predictor.
    pub fn configure(&mut self, settings: &Settings) -> Result<&[PlannedStep], GenerateError> {
        let [rows, columns] = self.config.transformer.grid;
        let plan = settings.plan(rows * columns)?;
        let refuse = |message: &str| Err(GenerateError::Setting(message.to_owned()));
        if settings.sampling.guidance != 0.0 && self.run.sequences.len() == 1 {
            return refuse("this session was made without guidance; make another to use it");
        }
        let partial = plan.iter().any(|step| step.kind == StepKind::Predicted);
        if partial && self.predictor != Some(settings.predictor) {
            return refuse("this session was made for another predictor; make another to change it");
        }
        self.plan = plan;
        let values: Vec<StepValues> = self.plan.iter().map(|step| step.values).collect();
        self.executor.prepare(&values)?;
        self.next = 0;
        Ok(&self.plan)
    }

    /// Takes another prompt for all images, by its ids, from the next [`TextSession::start`] on: nothing is loaded or made anew.
    ///
    /// # Errors
    /// As [`TextSession::set_prompts`].
    pub fn set_prompt(&mut self, ids: &[u32]) -> Result<(), GenerateError> {
        self.set_prompts(&vec![ids; self.images()])
    }

    /// Takes a prompt for each image, by its ids.
    ///
    /// # Errors
    /// Another number of prompts than of images, or a prompt of another number of ids than the one that the session was made
    /// for, whose programs are of one length.
    pub fn set_prompts(&mut self, prompts: &[&[u32]]) -> Result<(), GenerateError> {
        let images = self.images();
        let made = self.run.sequences.first().map_or(0, |sequence| sequence.prompt);
        let other = prompts.iter().find(|ids| ids.len() != made as usize);
        let message = match (other, self.templates.first_mut()) {
            (None, Some(present)) if prompts.len() == images => {
                *present = self.config.transformer.templates(prompts.iter().copied());
                return Ok(());
            }
            (Some(ids), _) => format!("for a prompt of {made} tokens, not {}", ids.len()),
            _ => format!("for {images} images, not {} prompts", prompts.len()),
        };
        Err(GenerateError::Setting(format!("this session was made {message}; make another to use it")))
    }

    /// Images at once.
    pub fn images(&self) -> usize {
        self.run.batch().images as usize
    }

    /// Masks everything anew. There is a seed for each image.
    ///
    /// # Errors
    /// Another number of seeds than of images, or the device failed.
    pub fn start(&mut self, seeds: &[u64]) -> Result<(), GenerateError> {
        if seeds.len() != self.images() {
            let message = format!("{} seeds for a batch of {} images", seeds.len(), self.images());
            return Err(GenerateError::Setting(message));
        }
        let (ids, positions) = generation::start(&self.run);
        for (sequence, template) in self.run.sequences.iter().zip(&self.templates) {
            self.executor.write(&sequence.state(states::TEMPLATE), template)?;
        }
        self.executor.write(states::IDS, &ids)?;
        self.executor.write(states::DRAWN, &ids)?;
        self.executor.write(states::POSITIONS, &positions)?;
        let seeds: Vec<u32> = seeds.iter().flat_map(|&seed| crate::kernels::philox::key(seed)).collect();
        self.executor.write(states::SEEDS, &seeds)?;
        self.next = 0;
        Ok(())
    }

    /// Enqueues what the predictor makes of the features for the next step, and draws nothing from it. The features of a full
    /// step then take their place: a run is as it would have been, and how far the predictor was off can be measured.
    ///
    /// # Errors
    /// The next step is not full, or the device failed.
    pub fn predict(&mut self) -> Result<(), GenerateError> {
        if self.plan.get(self.next).is_none_or(|next| next.kind != StepKind::Full) {
            let message = "features can be predicted for comparison only where a full step comes next";
            return Err(GenerateError::Setting(message.to_owned()));
        }
        Ok(self.executor.run(self.routine.predict(), self.next, false)?)
    }

    /// Enqueues the next step; `None` when every token is revealed.
    ///
    /// # Errors
    /// The device failed.
    pub fn step(&mut self) -> Result<Option<PlannedStep>, GenerateError> {
        let Some(&step) = self.plan.get(self.next) else { return Ok(None) };
        let next = self.plan.get(self.next + 1).map(|next| next.kind);
        self.executor.run(self.routine.at(step.kind, next), self.next, true)?;
        self.next += 1;
        Ok(Some(step))
    }

    /// The steps of the present plan.
    pub fn plan(&self) -> &[PlannedStep] {
        &self.plan
    }

    /// Codes `[images, tokens]`, row by row; the number of codes where masked.
    ///
    /// # Errors
    /// The device failed.
    pub async fn tokens(&mut self) -> Result<Vec<u32>, GenerateError> {
        let len = self.images() * self.tokens_of_an_image();
        Ok(self.executor.read(states::IDS, len).await?)
    }

    fn tokens_of_an_image(&self) -> usize {
        let [rows, columns] = self.config.transformer.grid;
        (rows * columns) as usize
    }

    /// The predictor that the session has programs for.
    pub fn predictor(&self) -> Option<Predictor> {
        self.predictor
    }

    /// The model's configuration.
    pub fn config(&self) -> &TextConfig {
        &self.config
    }

    /// The latest draw at every position `[images, tokens]`: what a preview shows.
    ///
    /// # Errors
    /// The device failed.
    pub async fn drawn(&mut self) -> Result<Vec<u32>, GenerateError> {
        let len = self.images() * self.tokens_of_an_image();
        Ok(self.executor.read(states::DRAWN, len).await?)
    }

    /// Last-layer features of the sequences with prompts `[images, length, d_model]`.
    ///
    /// # Errors
    /// The device failed.
    pub async fn features(&mut self) -> Result<Vec<f32>, GenerateError> {
        let Some(sequence) = self.run.sequences.first() else { return Ok(Vec::new()) };
        let len = sequence.images * sequence.length * self.config.transformer.d_model;
        Ok(read_f32(self.executor.as_mut(), &sequence.state(states::FEATURES), len as usize).await?)
    }

    /// The picture of a grid of codes: channels last, nominally in [0, 1]; with its width and height.
    ///
    /// # Errors
    /// The device failed.
    pub async fn decode(&mut self, codes: &[u32]) -> Result<(Vec<f32>, u32, u32), GenerateError> {
        let [rows, columns] = self.config.transformer.grid;
        let factor = self.config.tokenizer.factor();
        let (width, height) = (columns * factor, rows * factor);
        let (executor, program) = match &mut self.decoder {
            Decoder::Program(index) => (self.executor.as_mut(), *index),
            Decoder::Apart(executor) => {
                executor.prepare(&[StepValues::default()])?;
                (executor.as_mut(), 0)
            }
        };
        executor.write(states::CODES, codes)?;
        executor.run(&[program], 0, false)?;
        let values = read_f32(executor, states::IMAGE, (width * height * 3) as usize).await?;
        Ok((values, width, height))
    }

    /// The picture of a grid of codes, ready to be shown.
    ///
    /// # Errors
    /// The device failed.
    pub async fn picture(&mut self, codes: &[u32]) -> Result<Picture, GenerateError> {
        let (values, width, height) = self.decode(codes).await?;
        // Pictures are made of values in [-1, 1].
        let values: Vec<f32> = values.iter().map(|v| 2.0 * v - 1.0).collect();
        Ok(Picture::from_values(&values, width, height))
    }

    /// The pictures of codes `[images, tokens]`.
    ///
    /// # Errors
    /// The device failed.
    pub async fn pictures(&mut self, codes: &[u32]) -> Result<Vec<Picture>, GenerateError> {
        let mut pictures = Vec::new();
        for codes in codes.chunks(self.tokens_of_an_image()) {
            pictures.push(self.picture(codes).await?);
        }
        Ok(pictures)
    }

    /// Whether pictures are decoded on the CPU because the graphics device cannot bind their widest map.
    pub fn decodes_on_the_cpu(&self) -> bool {
        matches!(self.decoder, Decoder::Apart(_))
    }

    /// Memory held on the device of the steps.
    pub fn memory(&self) -> Memory {
        self.executor.memory()
    }

    /// The executor, for times and tests.
    pub fn executor(&mut self) -> &mut dyn Executor {
        self.executor.as_mut()
    }
}
