//! The engine: a model on a device, sessions held for it, and runs over many pictures as a stream of events, which the command
//! line, `eval` and the studio drain alike.
//!
//! A [`Run`] makes [`Job`]s (a condition and a seed each) a batch at a time.

use super::GenerateError;
use super::canvas::Canvas;
use super::model::{Device, Model};
use super::programs::Programs;
pub use super::run::{Began, Event, Finished, First, Glimpse, Run};
use super::session::{Session, Settings, Shape, StepKind};
use crate::exec::Memory;
use crate::kernels::Quantization;
use crate::models::{Batch, Condition};
use crate::program::{Formats, Program, Tensor};
use crate::weights::ModelFolder;
use std::path::Path;

/// Sessions held at once unless told otherwise: enough to go back and forth between two methods.
const HELD: usize = 2;
/// The most pictures at once where nobody says how many.
const MOST_AT_ONCE: u32 = 8;
/// States and temporaries beyond this make the default batch smaller.
const MODERATE: u64 = 1 << 30;

/// The clock, in milliseconds; only differences mean something.
pub fn now_ms() -> f64 {
    #[cfg(not(target_arch = "wasm32"))]
    {
        use std::sync::OnceLock;
        use std::time::Instant;
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_secs_f64() * 1e3
    }
    #[cfg(target_arch = "wasm32")]
    web_sys::window().and_then(|window| window.performance()).map_or(0.0, |clock| clock.now())
}

/// A picture to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// What it is made under.
    pub condition: Condition,
    /// Its seed.
    pub seed: u64,
    /// What is there of it already; nothing of a new picture.
    pub canvas: Option<Canvas>,
}

impl Job {
    /// A new picture.
    pub fn new(condition: Condition, seed: u64) -> Self {
        Self { condition, seed, canvas: None }
    }

    /// Tokens to be made, of a picture of so many.
    pub(super) fn masked(&self, tokens: u32) -> u32 {
        self.canvas.as_ref().map_or(tokens, Canvas::masked)
    }
}

/// A session, and how it keeps weights.
#[derive(Debug)]
struct Held {
    session: Session,
    formats: Formats,
}

/// A model on a device.
#[derive(Debug)]
pub struct Engine {
    device: Device,
    model: Option<Model>,
    /// The one in use first.
    held: Vec<Held>,
    /// Sessions to hold, at most.
    most_held: usize,
    /// What a submission may take, in milliseconds, where others draw with the same device.
    pace: Option<f64>,
}

fn no_model() -> GenerateError {
    GenerateError::Setting("no model is open; open one first".to_owned())
}

impl Engine {
    /// An engine without a model.
    pub fn new(device: Device) -> Self {
        Self { device, model: None, held: Vec::new(), most_held: HELD, pace: None }
    }

    /// An engine of a model.
    pub fn of(model: Model, device: Device) -> Self {
        Self { model: Some(model), ..Self::new(device) }
    }

    /// The same that holds so many sessions at once: one for each size of batch that is asked for again and again.
    #[must_use]
    pub fn holding(self, sessions: usize) -> Self {
        Self { most_held: sessions.max(1), ..self }
    }

    /// The same for a device that others draw with: no submission takes longer than so many milliseconds.
    #[must_use]
    pub fn paced(self, milliseconds: f64) -> Self {
        Self { pace: Some(milliseconds), ..self }
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
    ///
    /// # Errors
    /// None is.
    pub fn model(&self) -> Result<&Model, GenerateError> {
        self.model.as_ref().ok_or_else(no_model)
    }

    /// Opens a folder or a bundled model in place of the present one, which stays if this fails.
    ///
    /// # Errors
    /// It is no model folder, or a broken one.
    pub fn open(&mut self, source: &str) -> Result<&Model, GenerateError> {
        self.open_folder(ModelFolder::open(Path::new(source))?)
    }

    /// The same of a folder that is open.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_folder(&mut self, folder: ModelFolder) -> Result<&Model, GenerateError> {
        let model = Model::from_folder(folder)?;
        self.held.clear();
        Ok(self.model.insert(model))
    }

    /// A session for settings: one that is held, if it was made for as much, or a new one. Vanilla runs in a session of the
    /// predictor that it will be compared with, where the model has that.
    ///
    /// # Errors
    /// Settings out of range, weights that cannot be read, or a device that is too small.
    pub fn session(
        &mut self,
        settings: &Settings,
        batch: Batch,
        quantize: Option<Quantization>,
    ) -> Result<&mut Session, GenerateError> {
        let masked = self.model()?.family().tokens();
        self.session_on(settings, batch, quantize, masked)
    }

    /// The same for canvases of which so many tokens are to be made.
    ///
    /// # Errors
    /// As [`Self::session`].
    pub fn session_on(
        &mut self,
        settings: &Settings,
        batch: Batch,
        quantize: Option<Quantization>,
        masked: u32,
    ) -> Result<&mut Session, GenerateError> {
        let model = self.model.as_ref().ok_or_else(no_model)?;
        // Before weights are loaded, which may take minutes.
        settings.check(model.family())?;
        let plan = settings.plan_on(model.family().tokens(), masked)?;
        let predicted = plan.iter().any(|step| step.kind == StepKind::Predicted);
        let formats = model.formats().quantized(quantize);
        let wanted = Shape::new(batch, None).of_settings(settings);
        let fits = |held: &Held| {
            let made = held.session.shape();
            made.batch == batch
                && held.formats == formats
                && (made.predictor == Some(settings.predictor) || !predicted)
                && (made.decides, made.corrects) == (wanted.decides, wanted.corrects)
        };
        let held = match self.held.iter().position(fits) {
            Some(at) => self.held.remove(at),
            None => {
                self.held.truncate(self.most_held - 1);
                let has = model.family().has_shortcut();
                let possible = settings.predictor != super::predict::Predictor::Shortcut || has;
                let predictor = (predicted || possible).then_some(settings.predictor);
                let shape = Shape { predictor, ..wanted };
                let (family, weights) = (&model.config.family, &mut *model.weights()?);
                Held {
                    session: Session::with_weights(family, shape, &self.device, formats, weights)?,
                    formats,
                }
            }
        };
        self.held.insert(0, held);
        let session = &mut self.held[0].session;
        session.executor().pace(self.pace);
        session.expect(model.prior(settings));
        session.configure_on(settings, masked)?;
        Ok(session)
    }

    /// The session in use.
    ///
    /// # Errors
    /// There is none yet.
    pub fn present(&mut self) -> Result<&mut Session, GenerateError> {
        self.held.first_mut().map(|held| &mut held.session).ok_or_else(no_model)
    }

    /// As many pictures at once as there are, as fit in moderate memory and in the device's bindings, and no more than eight.
    ///
    /// # Errors
    /// Settings that make no program.
    pub fn largest_batch(&self, settings: &Settings, pictures: &[Job]) -> Result<u32, GenerateError> {
        let Some(first) = pictures.first() else { return Ok(1) };
        if settings.decides() {
            // Each picture decides for itself.
            return Ok(1);
        }
        let model = self.model()?;
        let limit = match &self.device {
            Device::Cpu | Device::CpuBf16 => u64::MAX,
            Device::Gpu(gpu) => gpu.largest_binding(),
        };
        for images in (2..=MOST_AT_ONCE.min(pictures.len() as u32)).rev() {
            let batch = Batch::of(&first.condition, images, settings.sampling.guided());
            let predictor = Some(settings.predictor).filter(|_| settings.predicts());
            let shape = Shape::new(batch, predictor).of_settings(settings);
            let programs = Programs::new(model.family(), shape, model.formats())?.list;
            let largest = programs.iter().flat_map(Program::tensors).map(Tensor::bytes).max();
            let planned = Memory::planned(&programs);
            if planned.states + planned.temporaries <= MODERATE && largest.unwrap_or(0) <= limit {
                return Ok(images);
            }
        }
        Ok(1)
    }

    /// Makes pictures under settings, so many at once or, with `None`, [as many as fit](Self::largest_batch). Prompts of one
    /// length go together, and canvases of which as many tokens are to be made; a batch that is short is filled up with its last picture.
    ///
    /// # Errors
    /// Settings out of range.
    pub fn run(
        &mut self,
        pictures: Vec<Job>,
        settings: &Settings,
        quantize: Option<Quantization>,
        at_once: Option<u32>,
    ) -> Result<Run<'_>, GenerateError> {
        let at_once = match at_once {
            Some(_) if settings.decides() => 1,
            Some(at_once) => at_once.min(pictures.len() as u32).max(1),
            None => self.largest_batch(settings, &pictures)?,
        };
        Run::new(self, pictures, settings.clone(), quantize, at_once)
    }

    /// Pipelines, page faults, clocks: the first two steps of so many pictures like this, before others are timed.
    ///
    /// # Errors
    /// As [`Self::session`], or the device failed.
    pub async fn warm_up(
        &mut self,
        job: &Job,
        settings: &Settings,
        quantize: Option<Quantization>,
        at_once: u32,
    ) -> Result<(), GenerateError> {
        let at_once = if settings.decides() { 1 } else { at_once };
        let batch = Batch::of(&job.condition, at_once, settings.sampling.guided());
        let masked = job.masked(self.model()?.family().tokens());
        let session = self.session_on(settings, batch, quantize, masked)?;
        let images = batch.images as usize;
        let (conditions, seeds) = (vec![job.condition.clone(); images], vec![job.seed; images]);
        match &job.canvas {
            None => session.start(&conditions, &seeds)?,
            Some(canvas) => session.start_on(&conditions, &seeds, &vec![canvas.clone(); images])?,
        }
        for _ in 0..2 {
            session.advance().await?;
        }
        Ok(session.executor().wait()?)
    }

    /// Memory held on the device by all sessions.
    pub fn memory(&self) -> Memory {
        let mut all = Memory::default();
        for held in &self.held {
            let memory = held.session.memory();
            all.weights += memory.weights;
            all.states += memory.states;
            all.temporaries += memory.temporaries;
            all.other += memory.other;
        }
        all
    }

    /// The adapter's name, or the processor's threads.
    pub fn describe(&self) -> String {
        self.device.describe()
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
