//! Pictures in the making, as a stream of events.
//!
//! Between two events the session of a [`Run`] can be looked at: for a preview, for features, or not at all, as only the run's own work is
//! on its clock.

use super::GenerateError;
use super::canvas::Canvas;
use super::engine::{Engine, Job, now_ms};
use super::model::Model;
use super::picture::{Picture, Pixels};
use super::session::{PlannedStep, Session, Settings};
use crate::exec::Memory;
use crate::kernels::Quantization;
use crate::models::{Batch, Condition};

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

impl<'a> Run<'a> {
    /// Of jobs that go together as prompts of one length, and canvases of which as many tokens are to be made, do.
    pub(super) fn new(
        engine: &'a mut Engine,
        pictures: Vec<Job>,
        settings: Settings,
        quantize: Option<Quantization>,
        at_once: u32,
    ) -> Result<Self, GenerateError> {
        let (tokens, codebook) = (engine.model()?.family().tokens(), engine.model()?.family().codebook());
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
        let (now, from, firsts) = (None, None, Vec::new());
        Ok(Self { engine, pictures, settings, quantize, at_once, batches, now, from, firsts })
    }
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

    /// The pictures under way as the last step drew them, what is masked yet veiled. What decoding takes is off the run's clock.
    ///
    /// # Errors
    /// As [`Self::glimpse`].
    pub async fn preview(&mut self) -> Result<Vec<Picture>, GenerateError> {
        let Glimpse { codes, drawn } = self.glimpse().await?;
        let session = self.engine.present()?;
        let pictures = session.pictures(&drawn, Pixels::Signed).await?;
        let (family, mask) = (session.family(), session.family().codebook());
        let veiled = pictures.iter().zip(codes.chunks(family.tokens() as usize)).map(|(picture, codes)| {
            let masked: Vec<bool> = codes.iter().map(|&code| code == mask).collect();
            picture.veiled(&masked, family.grid())
        });
        Ok(veiled.collect())
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
