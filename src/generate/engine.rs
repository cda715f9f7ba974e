//! The engine: a model on a device, sessions held for it, and runs over many pictures as a stream of events, which the command
//! line, `eval` and the studio drain alike.
//!
//! A [`Run`] makes [`Job`]s (a condition and a seed each) a batch at a time. Between two events its session can be
//! looked at: for a preview, for features, or not at all, as only the run's own work is on its clock.

use super::GenerateError;
use super::canvas::Canvas;
use super::model::{Device, Model};
use super::programs::Programs;
use super::session::{PlannedStep, Session, Settings, Shape, StepKind};
use crate::exec::Memory;
use crate::kernels::Quantization;
use crate::models::{Batch, Condition};
use crate::program::{Formats, Program, Tensor};
use crate::weights::ModelFolder;
use std::path::Path;

/// Sessions held at once: enough to go back and forth between two methods.
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
    fn masked(&self, tokens: u32) -> u32 {
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
    /// What a submission may take, in milliseconds, where others draw with the same device.
    pace: Option<f64>,
}

fn no_model() -> GenerateError {
    GenerateError::Setting("no model is open; open one first".to_owned())
}

impl Engine {
    /// An engine without a model.
    pub fn new(device: Device) -> Self {
        Self { device, model: None, held: Vec::new(), pace: None }
    }

    /// An engine of a model.
    pub fn of(model: Model, device: Device) -> Self {
        Self { model: Some(model), ..Self::new(device) }
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
                self.held.truncate(HELD - 1);
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
            Device::Cpu => u64::MAX,
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
        let (tokens, codebook) = (self.model()?.family().tokens(), self.model()?.family().codebook());
        pictures.iter().flat_map(|job| &job.canvas).try_for_each(|canvas| canvas.check(tokens, codebook))?;
        let mut alike: Vec<(_, Vec<usize>)> = Vec::new();
        for (index, picture) in pictures.iter().enumerate() {
            let kind = (picture.condition.prompt_tokens(), picture.masked(tokens));
            match alike.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, indices)) => indices.push(index),
                None => alike.push((kind, vec![index])),
            }
        }
        let chunks = alike.iter().flat_map(|(_, indices)| indices.chunks(at_once as usize));
        let mut batches: Vec<Vec<usize>> = chunks.map(<[usize]>::to_vec).collect();
        batches.reverse();
        let settings = settings.clone();
        let (now, from, firsts) = (None, None, Vec::new());
        Ok(Run { engine: self, pictures, settings, quantize, at_once, batches, now, from, firsts })
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

/// What happened in a run.
#[derive(Clone, Debug)]
pub enum Event {
    /// A batch begins: everything of it is masked.
    Began(Began),
    /// A step was enqueued; on a GPU it may still be under way.
    Stepped(PlannedStep),
    /// A batch is complete.
    Finished(Finished),
}

/// A batch in the making.
#[derive(Clone, Debug)]
pub struct Began {
    /// Which of the pictures are in it, by index.
    pub pictures: Vec<usize>,
    /// The steps to come, at most.
    pub steps: usize,
}

/// What a batch gave.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Which of the pictures were in it, by index.
    pub pictures: Vec<usize>,
    /// Codes `[pictures, tokens]`.
    pub codes: Vec<u32>,
    /// Milliseconds of its steps on the run's clock.
    pub loop_ms: f64,
    /// Milliseconds of each step as the device measured it; where it cannot, the loop's time shared out evenly.
    pub step_ms: Vec<f64>,
    /// The steps as they were run.
    pub plan: Vec<PlannedStep>,
}

/// The first steps of a branch, made in another way than the rest.
#[derive(Clone, Debug)]
pub struct First {
    /// Steps of the run that are made so, those before them included.
    pub steps: usize,
    /// The way.
    pub settings: Settings,
    /// The seed of each picture.
    pub seeds: Vec<u64>,
}

/// The batch under way.
#[derive(Debug)]
struct Now {
    pictures: Vec<usize>,
    spent: f64,
    /// The step that is next, and which of the run's parts it is of: its first steps, then the rest.
    step: usize,
    part: usize,
    /// Of the parts that are over.
    plan: Vec<PlannedStep>,
    times: Vec<Option<f64>>,
}

/// Pictures in the making.
#[derive(Debug)]
pub struct Run<'a> {
    engine: &'a mut Engine,
    pictures: Vec<Job>,
    settings: Settings,
    quantize: Option<Quantization>,
    at_once: u32,
    /// What is left, the next one last.
    batches: Vec<Vec<usize>>,
    now: Option<Now>,
    /// Codes `[pictures, tokens]` to go on from, and at which step.
    from: Option<(Vec<u32>, usize)>,
    /// How its first steps are made, in their order, where they are made otherwise.
    firsts: Vec<First>,
}

impl Run<'_> {
    /// The same from codes `[pictures, tokens]` at a step of the plan: see [`Session::resume`].
    #[must_use]
    pub fn resuming(self, codes: Vec<u32>, step: usize) -> Self {
        Self { from: Some((codes, step)), ..self }
    }

    /// The same with first steps that are made in other ways, in their order: each way ends where the next begins, and a step that
    /// follows another way is a full one. A run that is [`resuming`](Self::resuming) has them behind it.
    #[must_use]
    pub fn beginning(self, firsts: Vec<First>) -> Self {
        Self { firsts, ..self }
    }

    /// Goes on until something happens; `None` when all pictures are made.
    ///
    /// # Errors
    /// The device failed, or weights cannot be read.
    pub async fn next(&mut self) -> Result<Option<Event>, GenerateError> {
        let began = now_ms();
        self.change().await?;
        let Some(now) = &mut self.now else { return self.begin() };
        let session = self.engine.present()?;
        if let Some(step) = session.advance().await? {
            now.spent += now_ms() - began;
            now.step += 1;
            return Ok(Some(Event::Stepped(step)));
        }
        session.executor().wait()?;
        let count = now.pictures.len() * session.family().tokens() as usize;
        let mut codes = session.tokens().await?;
        now.spent += now_ms() - began;
        codes.truncate(count);
        let mut times = std::mem::take(&mut now.times);
        times.extend(session.step_times().await?.into_iter().skip(times.len()));
        let mut plan = std::mem::take(&mut now.plan);
        plan.extend(session.plan().iter().skip(plan.len()));
        let each = now.spent / times.len().max(1) as f64;
        let step_ms = times.into_iter().map(|ms| ms.unwrap_or(each)).collect();
        let finished = self.now.take().map(|now| {
            Event::Finished(Finished { pictures: now.pictures, codes, loop_ms: now.spent, step_ms, plan })
        });
        Ok(finished)
    }

    /// What the pictures of a batch are made under in one of the run's parts, filled up to as many as are made at once.
    fn made_of(&self, indices: &[usize], part: usize) -> (Settings, Vec<Condition>, Vec<u64>) {
        let at = |i: usize| *indices.get(i).or(indices.last()).unwrap_or(&0);
        let all = || (0..self.at_once as usize).map(at);
        let conditions = all().map(|index| self.pictures[index].condition.clone()).collect();
        let first = self.firsts.get(part);
        let settings = first.map_or(&self.settings, |first| &first.settings).clone();
        let seed = |index: usize| first.and_then(|first| first.seeds.get(index).copied());
        (settings, conditions, all().map(|index| seed(index).unwrap_or(self.pictures[index].seed)).collect())
    }

    /// Tokens to be made of each picture of a batch.
    fn masked_of(&self, indices: &[usize]) -> Result<u32, GenerateError> {
        let tokens = self.engine.model()?.family().tokens();
        Ok(indices.first().map_or(tokens, |&index| self.pictures[index].masked(tokens)))
    }

    /// Goes over to the next part, where the present one has come to its end.
    async fn change(&mut self) -> Result<(), GenerateError> {
        let Some(now) = &mut self.now else { return Ok(()) };
        if self.firsts.get(now.part).is_none_or(|first| first.steps > now.step) {
            return Ok(());
        }
        let session = self.engine.present()?;
        let codes = session.tokens().await?;
        let times = session.step_times().await?;
        let (from, until) = (now.plan.len(), now.step);
        now.times.extend(times.into_iter().take(until).skip(from));
        now.plan.extend(session.plan().iter().take(until).skip(from));
        now.part += 1;
        let (part, indices) = (now.part, now.pictures.clone());
        let (settings, conditions, seeds) = self.made_of(&indices, part);
        let batch = Batch::of(&conditions[0], self.at_once, settings.sampling.guided());
        let masked = self.masked_of(&indices)?;
        let session = self.engine.session_on(&settings, batch, self.quantize, masked)?;
        session.resume(&conditions, &seeds, &codes, until)
    }

    fn begin(&mut self) -> Result<Option<Event>, GenerateError> {
        let Some(indices) = self.batches.pop() else { return Ok(None) };
        let (part, step) = self.from.as_ref().map_or((0, 0), |(_, step)| (self.firsts.len(), *step));
        let (settings, conditions, seeds) = self.made_of(&indices, part);
        let batch = Batch::of(&conditions[0], self.at_once, settings.sampling.guided());
        let masked = self.masked_of(&indices)?;
        let session = self.engine.session_on(&settings, batch, self.quantize, masked)?;
        match &self.from {
            None => {
                let tokens = session.family().tokens();
                let at = |i: usize| *indices.get(i).or(indices.last()).unwrap_or(&0);
                let canvas = |i| self.pictures[at(i)].canvas.clone().unwrap_or_else(|| Canvas::blank(tokens));
                let canvases: Vec<Canvas> = (0..self.at_once as usize).map(canvas).collect();
                session.start_on(&conditions, &seeds, &canvases)?;
            }
            Some((codes, step)) => {
                let tokens = session.family().tokens() as usize;
                let each: Vec<&[u32]> = codes.chunks_exact(tokens).collect();
                let at =
                    |i: usize| indices.get(i).or(indices.last()).and_then(|&index| each.get(index).copied());
                let batch: Vec<u32> = (0..self.at_once as usize).filter_map(at).flatten().copied().collect();
                session.resume(&conditions, &seeds, &batch, *step)?;
            }
        }
        let steps = session.plan().len();
        let (plan, times) = (Vec::new(), Vec::new());
        self.now = Some(Now { pictures: indices.clone(), spent: 0.0, step, part, plan, times });
        Ok(Some(Event::Began(Began { pictures: indices, steps })))
    }

    /// The rest of the batch under way, or the next one; `None` when all pictures are made.
    ///
    /// # Errors
    /// As [`Run::next`].
    pub async fn batch(&mut self) -> Result<Option<Finished>, GenerateError> {
        loop {
            match self.next().await? {
                Some(Event::Finished(finished)) => return Ok(Some(finished)),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    /// Tokens as they are and as the last step drew them `[pictures, tokens]`, when that step has run, on the run's clock.
    ///
    /// # Errors
    /// No batch is under way, or the device failed.
    pub async fn glimpse(&mut self) -> Result<Glimpse, GenerateError> {
        let began = now_ms();
        let session = self.engine.present()?;
        let (mut codes, mut drawn) = (session.tokens().await?, session.drawn().await?);
        if let Some(now) = &mut self.now {
            now.spent += now_ms() - began;
            let count = now.pictures.len() * session.family().tokens() as usize;
            codes.truncate(count);
            drawn.truncate(count);
        }
        Ok(Glimpse { codes, drawn })
    }

    /// The session of the batch under way, or of the last one: to read features, or to decode. Off the run's clock.
    ///
    /// # Errors
    /// No batch has begun.
    pub fn session(&mut self) -> Result<&mut Session, GenerateError> {
        self.engine.present()
    }

    /// The model.
    ///
    /// # Errors
    /// None is open.
    pub fn model(&self) -> Result<&Model, GenerateError> {
        self.engine.model()
    }

    /// Memory held on the device.
    pub fn memory(&self) -> Memory {
        self.engine.memory()
    }

    /// Pictures at once.
    pub fn at_once(&self) -> u32 {
        self.at_once
    }

    /// Batches that are still to begin.
    pub fn batches_left(&self) -> usize {
        self.batches.len()
    }
}

/// Tokens in the making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glimpse {
    /// Codes `[pictures, tokens]`; the number of codes where masked.
    pub codes: Vec<u32>,
    /// The latest draw at every position `[pictures, tokens]`.
    pub drawn: Vec<u32>,
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
