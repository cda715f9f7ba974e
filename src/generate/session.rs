//! A session: the state of one batch on a device, and the step loop over it.
//!
//! [`Session::step`] enqueues one step and returns; nothing is read back inside the loop. The host learns what it
//! asks for, through [`Session::tokens`], [`Session::decode`] and [`Session::step_times`].

use super::GenerateError;
use super::model::{Device, Model, ModelConfig};
use super::predict::{Network, Predictor, Programs, Routine};
use super::refresh::Refresh;
use super::sampling::{self, Sampling};
use crate::exec::{Executor, Memory, read_f32};
use crate::kernels::{StepValues, WeightFormat};
use crate::models::{Batch, Model as _, states};
use crate::program::{Builder, WeightSource, WeightSpec};

/// How to generate: what is sampled, and which steps run in full.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Settings {
    /// Sampling.
    pub sampling: Sampling,
    /// Which steps run the full model.
    pub refresh: Refresh,
    /// What stands in for it at the others.
    pub predictor: Predictor,
}

impl Settings {
    /// The steps of a run over so many tokens an image.
    ///
    /// # Errors
    /// Settings out of range.
    pub fn plan(&self, tokens: u32) -> Result<Vec<PlannedStep>, GenerateError> {
        let values = self.sampling.steps(tokens)?;
        let full = self.refresh.full_steps(values.len(), self.sampling.steps)?;
        let kind = |full| if full { StepKind::Full } else { StepKind::Predicted };
        let steps = values.into_iter().zip(full);
        Ok(steps.map(|(values, full)| PlannedStep { kind: kind(full), values }).collect())
    }
}

/// What a step runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// The full model.
    Full,
    /// The predictor: a shortcut, or what stands in its place.
    Predicted,
}

/// A step as planned.
#[derive(Clone, Copy, Debug)]
pub struct PlannedStep {
    /// What it runs.
    pub kind: StepKind,
    /// Its numbers.
    pub values: StepValues,
}

/// The largest activation of a decode, in bytes, up to which images are decoded together.
const DECODE_BYTES: u64 = 64 << 20;

/// What a session is built for; fixed for its life, as programs and buffers are made for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Images and guidance.
    pub batch: Batch,
    /// The predictor to have at hand, if any.
    pub predictor: Option<Predictor>,
    /// Whether noise is written by the caller instead of drawn.
    pub recorded_noise: bool,
    /// Whether pictures will be decoded.
    pub decoder: bool,
}

/// One batch in the making.
pub struct Session {
    config: ModelConfig,
    shape: Shape,
    executor: Box<dyn Executor>,
    routine: Routine,
    decode: usize,
    decode_images: u32,
    plan: Vec<PlannedStep>,
    next: usize,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("shape", &self.shape)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

/// All sequences of a batch.
struct WholeBatch<'a> {
    config: &'a ModelConfig,
    batch: Batch,
}

impl Network for WholeBatch<'_> {
    fn name(&self, program: &str) -> String {
        program.to_owned()
    }

    fn length(&self) -> u32 {
        self.config.transformer.length()
    }

    fn full(&self, b: &mut Builder, keep: bool) {
        let t = &self.config.transformer;
        if keep {
            t.features_and_cache(b, self.batch);
        } else {
            t.features(b, self.batch);
        }
    }

    fn choose(&self, b: &mut Builder, count: u32) {
        self.config.transformer.choose_rows(b, self.batch, count);
    }

    fn partial(&self, b: &mut Builder, count: u32) {
        self.config.transformer.refresh_rows(b, self.batch, count);
    }

    fn has_shortcut(&self) -> bool {
        self.config.shortcut.is_some()
    }

    fn shortcut(&self, b: &mut Builder) {
        if let Some(shortcut) = &self.config.shortcut {
            shortcut.predict(b, &self.config.transformer, self.batch);
        }
    }
}

/// The programs of a session: those of its steps, and at the end `decode`.
///
/// # Errors
/// The model has no such predictor.
pub fn programs(
    config: &ModelConfig,
    shape: Shape,
    formats: fn(&WeightSpec) -> WeightFormat,
) -> Result<Programs, GenerateError> {
    let t = &config.transformer;
    let networks = [WholeBatch { config, batch: shape.batch }];
    let mut programs = Programs::build(&networks, shape.predictor, formats, |b| {
        sampling::append(b, t, shape.batch, shape.recorded_noise);
    })?;
    programs.add("decode", formats, |b| {
        if shape.decoder {
            let images = decode_images(config, shape.batch.images);
            config.tokenizer.decode(b, t.codebook, images, t.grid, t.grid);
        }
    })?;
    Ok(programs)
}

/// Images decoded at once: as many as keep the largest activation within [`DECODE_BYTES`].
fn decode_images(config: &ModelConfig, images: u32) -> u32 {
    let pixels = u64::from(config.image_size) * u64::from(config.image_size);
    let channels = config.tokenizer.widest();
    let bytes = pixels * u64::from(channels) * 4;
    images.min((DECODE_BYTES / bytes.max(1)) as u32).max(1)
}

impl Session {
    /// Makes a session of an opened model.
    ///
    /// # Errors
    /// Weights cannot be loaded, or the device cannot hold the programs.
    pub fn new(model: &Model, shape: Shape, device: &Device) -> Result<Self, GenerateError> {
        Self::with_weights(&model.config, shape, device, model.formats(), &mut model.weights()?)
    }

    /// Makes a session with weights from anywhere.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn with_weights(
        config: &ModelConfig,
        shape: Shape,
        device: &Device,
        formats: fn(&WeightSpec) -> WeightFormat,
        weights: &mut dyn WeightSource,
    ) -> Result<Self, GenerateError> {
        let programs = programs(config, shape, formats)?;
        Ok(Self {
            routine: programs.routine(),
            decode: programs.list.len() - 1,
            executor: device.executor(programs.list, weights)?,
            decode_images: decode_images(config, shape.batch.images),
            config: config.clone(),
            shape,
            plan: Vec::new(),
            next: 0,
        })
    }

    /// Plans a run: fixes every step's numbers. Reuses everything that was loaded and made.
    ///
    /// # Errors
    /// Settings out of range, or other than the session was made for.
    pub fn configure(&mut self, settings: &Settings) -> Result<&[PlannedStep], GenerateError> {
        let plan = settings.plan(self.config.transformer.tokens())?;
        let predicted = plan.iter().any(|step| step.kind == StepKind::Predicted);
        let refuse = |what: &str| Err(GenerateError::Setting(what.to_owned()));
        if settings.sampling.guided() && !self.shape.batch.guided {
            return refuse("this session was made without guidance; make a new one to use it");
        }
        if predicted && self.shape.predictor != Some(settings.predictor) {
            return refuse("this session was made for another predictor; make a new one to use it");
        }
        self.plan = plan;
        let values: Vec<StepValues> = self.plan.iter().map(|step| step.values).collect();
        self.executor.prepare(&values)?;
        self.next = 0;
        Ok(&self.plan)
    }

    /// Masks everything anew. `classes` and `seeds` have an entry an image; a class of `None` is unconditional.
    ///
    /// # Errors
    /// Lists of another length than the batch, or a class out of range.
    pub fn start(&mut self, classes: &[Option<u32>], seeds: &[u64]) -> Result<(), GenerateError> {
        let images = self.shape.batch.images as usize;
        if classes.len() != images || seeds.len() != images {
            let message =
                format!("{} classes and {} seeds for a batch of {images} images", classes.len(), seeds.len());
            return Err(GenerateError::Setting(message));
        }
        let t = self.config.transformer;
        for class in classes.iter().flatten() {
            self.config.class(&class.to_string())?;
        }
        let mut labels: Vec<u32> = classes
            .iter()
            .map(|class| class.map_or(t.unconditional_id(), |class| t.class_id(class)))
            .collect();
        if self.shape.batch.guided {
            labels.resize(2 * images, t.unconditional_id());
        }
        let tokens = t.tokens();
        let positions: Vec<u32> = (0..images).flat_map(|_| 0..tokens).collect();
        let masked = vec![t.mask_id(); images * tokens as usize];
        let seeds: Vec<u32> = seeds.iter().flat_map(|&seed| crate::kernels::philox::key(seed)).collect();
        self.executor.write(states::IDS, &masked)?;
        self.executor.write(states::DRAWN, &masked)?;
        self.executor.write(states::POSITIONS, &positions)?;
        self.executor.write(states::LABELS, &labels)?;
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

    /// Runs every step that is left and waits for the last.
    ///
    /// # Errors
    /// The device failed.
    pub fn finish(&mut self) -> Result<(), GenerateError> {
        while self.step()?.is_some() {}
        Ok(self.executor.wait()?)
    }

    /// The steps of the present plan.
    pub fn plan(&self) -> &[PlannedStep] {
        &self.plan
    }

    /// Token ids `[images, tokens]`; the mask id where masked.
    ///
    /// # Errors
    /// The device failed.
    pub async fn tokens(&mut self) -> Result<Vec<u32>, GenerateError> {
        let len = self.token_count();
        Ok(self.executor.read(states::IDS, len).await?)
    }

    /// The latest draw at every position `[images, tokens]`: what a preview shows.
    ///
    /// # Errors
    /// The device failed.
    pub async fn drawn(&mut self) -> Result<Vec<u32>, GenerateError> {
        let len = self.token_count();
        Ok(self.executor.read(states::DRAWN, len).await?)
    }

    /// Last-layer features `[sequences * (tokens + 1), hidden]`.
    ///
    /// # Errors
    /// The device failed.
    pub async fn features(&mut self) -> Result<Vec<f32>, GenerateError> {
        let t = &self.config.transformer;
        let len = self.shape.batch.sequences() * t.length() * t.hidden;
        Ok(read_f32(self.executor.as_mut(), states::FEATURES, len as usize).await?)
    }

    /// Pictures of codes `[images, tokens]`: channels last, `[images, size, size, 3]`, nominally in [-1, 1].
    ///
    /// # Errors
    /// The device failed.
    pub async fn decode(&mut self, codes: &[u32]) -> Result<Vec<f32>, GenerateError> {
        let tokens = self.config.transformer.tokens() as usize;
        let pixels = (self.config.image_size * self.config.image_size * 3) as usize;
        let mut pictures = Vec::with_capacity(codes.len() / tokens * pixels);
        for chunk in codes.chunks(self.decode_images as usize * tokens) {
            self.executor.write(states::CODES, chunk)?;
            self.executor.run(&[self.decode], 0, false)?;
            let len = chunk.len() / tokens * pixels;
            pictures.extend(read_f32(self.executor.as_mut(), states::IMAGE, len).await?);
        }
        self.config.tokenizer.to_signed(&mut pictures);
        Ok(pictures)
    }

    /// Milliseconds of each step since [`Session::configure`], as the device measured them.
    ///
    /// # Errors
    /// The device failed.
    pub async fn step_times(&mut self) -> Result<Vec<Option<f64>>, GenerateError> {
        Ok(self.executor.step_times().await?)
    }

    fn token_count(&self) -> usize {
        (self.shape.batch.images * self.config.transformer.tokens()) as usize
    }

    /// The model's configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// What the session was made for.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Memory held.
    pub fn memory(&self) -> Memory {
        self.executor.memory()
    }

    /// The executor, for profiles and tests.
    pub fn executor(&mut self) -> &mut dyn Executor {
        self.executor.as_mut()
    }
}
