//! Pictures of the same prompts and seeds by every method: what is compared.

use super::coherence::Coherent;
use super::source::Wanted;
use crate::generate::GenerateError;
use crate::generate::model::{Device, Model};
use crate::generate::predict::Predictor;
use crate::generate::refresh::Refresh;
use crate::generate::session::{Session, Settings, Shape, StepKind};
use crate::generate::text::{TextModel, TextSession};
use crate::models::Batch;
use pollster::block_on;
use std::collections::BTreeMap;
use std::time::Instant;

/// A way to make pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct Method {
    /// Steps in all.
    pub steps: u32,
    /// Which of them are full.
    pub refresh: Refresh,
    /// What stands in at the others; `None` where all are full.
    pub predictor: Option<Predictor>,
}

/// What a method made.
#[derive(Clone, Debug, Default)]
pub struct Made {
    /// Codes of every picture.
    pub tokens: Vec<u32>,
    /// Last features, conditional, of the first [`FEATURED`] pictures.
    pub features: Vec<f32>,
    /// Pictures, channels last, in [-1, 1].
    pub pictures: Vec<f32>,
    /// Full steps of a run.
    pub full_steps: usize,
    /// Steps of a run: fewer than asked for where every token was revealed early.
    pub steps: usize,
    /// Wall-clock seconds of the steps, for one picture: the median of all batches.
    pub seconds: f64,
    /// Wall-clock seconds of decoding, for one picture.
    pub decode_seconds: f64,
}

/// Of so many pictures, features are compared: those of a large model take megabytes a picture.
pub const FEATURED: usize = 32;

/// Makes all pictures of a comparison by several methods.
pub trait Maker: Coherent {
    /// Pixels down and across.
    fn size(&self) -> [u32; 2];
    /// What each picture has to show.
    fn wanted(&self) -> &[Wanted];
    /// All pictures by each method; the methods are all with this predictor. `tick` is called now and then.
    ///
    /// # Errors
    /// The device failed, or the model has no such predictor.
    fn make(
        &mut self,
        predictor: Option<Predictor>,
        methods: &[Method],
        tick: &mut dyn FnMut(),
    ) -> Result<Vec<Made>, GenerateError>;
}

/// Times of a method, in seconds a picture: of every batch, or of every picture.
#[derive(Default)]
struct Clock {
    steps: Vec<f64>,
    decode: Vec<f64>,
}

impl Clock {
    /// Their medians: what else the machine does now and then must not decide between methods.
    fn into(self, made: Made) -> Made {
        Made { seconds: median(self.steps), decode_seconds: median(self.decode), ..made }
    }
}

/// The mean of the middle two, where there are two; 0 of nothing.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let around = &values[middle.saturating_sub(usize::from(values.len().is_multiple_of(2)))..];
    let count = (values.len() + 1) % 2 + 1;
    around.iter().take(count).sum::<f64>() / around.len().clamp(1, count) as f64
}

/// Pictures of classes, in batches.
pub struct Classes<'a> {
    pub(super) model: &'a Model,
    pub(super) device: &'a Device,
    pub(super) classes: Vec<u32>,
    pub(super) wanted: Vec<Wanted>,
    pub(super) seed: u64,
    batch: u32,
}

impl<'a> Classes<'a> {
    /// `classes` and what their pictures have to show, one a picture.
    pub fn new(
        model: &'a Model,
        device: &'a Device,
        pictures: Vec<(u32, Wanted)>,
        seed: u64,
        batch: u32,
    ) -> Self {
        let batch = batch.clamp(1, pictures.len().max(1) as u32);
        let (classes, wanted) = pictures.into_iter().unzip();
        Self { model, device, classes, wanted, seed, batch }
    }

    fn make_one(
        &self,
        session: &mut Session,
        settings: &Settings,
        tick: &mut dyn FnMut(),
    ) -> Result<Made, GenerateError> {
        let (mut made, mut clock) = (Made::default(), Clock::default());
        let batch = self.batch as usize;
        let t = &self.model.config.transformer;
        let conditional = (t.length() * t.hidden) as usize;
        let plan = session.configure(settings)?;
        made.steps = plan.len();
        made.full_steps = plan.iter().filter(|step| step.kind == StepKind::Full).count();
        for first in (0..self.classes.len()).step_by(batch) {
            // A short last batch is filled up with its last picture, and costs as much as a whole one.
            let of = |i: usize| (first + i).min(self.classes.len() - 1);
            let classes: Vec<Option<u32>> = (0..batch).map(|i| Some(self.classes[of(i)])).collect();
            let seeds: Vec<u64> = (0..batch).map(|i| self.seed.wrapping_add(of(i) as u64)).collect();
            let count = batch.min(self.classes.len() - first);
            session.configure(settings)?;
            session.start(&classes, &seeds)?;
            let start = Instant::now();
            session.finish()?;
            clock.steps.push(start.elapsed().as_secs_f64() / batch as f64);
            let tokens = block_on(session.tokens())?;
            if first < FEATURED {
                let features = block_on(session.features())?;
                made.features.extend_from_slice(&features[..count.min(FEATURED - first) * conditional]);
            }
            let start = Instant::now();
            let pictures = block_on(session.decode(&tokens))?;
            clock.decode.push(start.elapsed().as_secs_f64() / batch as f64);
            made.pictures.extend_from_slice(&pictures[..pictures.len() / batch * count]);
            made.tokens.extend_from_slice(&tokens[..tokens.len() / batch * count]);
            tick();
        }
        Ok(clock.into(made))
    }
}

impl Maker for Classes<'_> {
    fn size(&self) -> [u32; 2] {
        [self.model.config.image_size; 2]
    }

    fn wanted(&self) -> &[Wanted] {
        &self.wanted
    }

    fn make(
        &mut self,
        predictor: Option<Predictor>,
        methods: &[Method],
        tick: &mut dyn FnMut(),
    ) -> Result<Vec<Made>, GenerateError> {
        let sampling = self.model.config.sampling;
        let batch = Batch { images: self.batch, guided: sampling.guided() };
        let shape = Shape { batch, predictor, recorded_noise: false, decoder: true };
        let mut session = Session::new(self.model, shape, self.device)?;
        let settings = |method: &Method| {
            let mut sampling = sampling;
            sampling.steps = method.steps;
            let refresh = method.refresh.clone();
            Settings { sampling, refresh, predictor: predictor.unwrap_or_default() }
        };
        if let Some(method) = methods.first() {
            // Pipelines, page faults, clocks: a step of each kind, before anything is timed.
            session.configure(&settings(method))?;
            session.start(&vec![None; self.batch as usize], &vec![0; self.batch as usize])?;
            warm_up(session.plan().len(), &mut || session.step().map(drop))?;
            session.executor().wait()?;
        }
        methods.iter().map(|method| self.make_one(&mut session, &settings(method), tick)).collect()
    }
}

fn warm_up(steps: usize, step: &mut dyn FnMut() -> Result<(), GenerateError>) -> Result<(), GenerateError> {
    (0..steps.min(2)).try_for_each(|_| step())
}

/// Pictures of prompts, one by one; prompts of one length share a session.
pub struct Prompts<'a> {
    pub(super) model: &'a TextModel,
    pub(super) device: &'a Device,
    /// Indices of the pictures whose prompts have so many tokens.
    pub(super) by_length: BTreeMap<usize, Vec<usize>>,
    pub(super) ids: Vec<Vec<u32>>,
    wanted: Vec<Wanted>,
    pub(super) seed: u64,
}

impl<'a> Prompts<'a> {
    /// Prompts and what their pictures have to show.
    ///
    /// # Errors
    /// A prompt with a word that the model does not know: its pictures would be blamed for it.
    pub fn new(
        model: &'a TextModel,
        device: &'a Device,
        pictures: Vec<(String, Wanted)>,
        seed: u64,
    ) -> Result<Self, GenerateError> {
        let (mut by_length, mut ids, mut wanted) =
            (BTreeMap::<usize, Vec<usize>>::new(), Vec::new(), Vec::new());
        for (index, (prompt, asked)) in pictures.into_iter().enumerate() {
            if let Some(word) = model.prompts.unknown_words(&prompt).first() {
                let message = format!(
                    "the model does not know {word:?} of {prompt:?}; is the judge of another vocabulary than the model?"
                );
                return Err(GenerateError::Setting(message));
            }
            let prompt = model.prompts.encode(&prompt)?;
            by_length.entry(prompt.len()).or_default().push(index);
            ids.push(prompt);
            wanted.push(asked);
        }
        Ok(Self { model, device, by_length, ids, wanted, seed })
    }

    fn settings(&self, method: &Method) -> Settings {
        let mut sampling = self.model.config.sampling;
        sampling.steps = method.steps;
        let predictor = method.predictor.unwrap_or_default();
        Settings { sampling, refresh: method.refresh.clone(), predictor }
    }
}

/// A picture before it is put among the others.
struct One {
    tokens: Vec<u32>,
    features: Vec<f32>,
    picture: Vec<f32>,
}

impl Maker for Prompts<'_> {
    fn size(&self) -> [u32; 2] {
        self.model.config.transformer.grid.map(|tokens| tokens * self.model.config.tokenizer.factor())
    }

    fn wanted(&self) -> &[Wanted] {
        &self.wanted
    }

    fn make(
        &mut self,
        _: Option<Predictor>,
        methods: &[Method],
        tick: &mut dyn FnMut(),
    ) -> Result<Vec<Made>, GenerateError> {
        let Some(first) = methods.first() else { return Ok(Vec::new()) };
        let mut clocks: Vec<Clock> = methods.iter().map(|_| Clock::default()).collect();
        let mut made: Vec<Made> = methods.iter().map(|_| Made::default()).collect();
        let mut pictures: Vec<BTreeMap<usize, One>> = methods.iter().map(|_| BTreeMap::new()).collect();
        let unconditional = self.model.prompts.unconditional()?;
        for indices in self.by_length.values() {
            let Some(&any) = indices.first() else { continue };
            let settings = self.settings(first);
            let mut prompts = vec![self.ids[any].clone()];
            if settings.sampling.guidance != 0.0 {
                prompts.push(unconditional.clone());
            }
            let (config, formats) = (&self.model.config, self.model.formats());
            let mut weights = self.model.weights()?;
            let mut session = TextSession::with_weights(
                config,
                &prompts,
                1,
                &settings,
                self.device,
                formats,
                &mut weights,
            )?;
            session.start(&[0])?;
            warm_up(session.plan().len(), &mut || session.step().map(drop))?;
            session.executor().wait()?;
            for (method, settings) in methods.iter().map(|method| self.settings(method)).enumerate() {
                let clock = &mut clocks[method];
                for &index in indices {
                    session.set_prompt(&self.ids[index])?;
                    let plan = session.configure(&settings)?;
                    made[method].steps = plan.len();
                    let kinds = plan.iter().filter(|step| step.kind == StepKind::Full);
                    made[method].full_steps = kinds.count();
                    session.start(&[self.seed.wrapping_add(index as u64)])?;
                    let start = Instant::now();
                    while session.step()?.is_some() {}
                    session.executor().wait()?;
                    clock.steps.push(start.elapsed().as_secs_f64());
                    let tokens = block_on(session.tokens())?;
                    let features = if index < FEATURED { block_on(session.features())? } else { Vec::new() };
                    let start = Instant::now();
                    let (mut picture, ..) = block_on(session.decode(&tokens))?;
                    clock.decode.push(start.elapsed().as_secs_f64());
                    // This tokenizer's pictures are in [0, 1].
                    picture.iter_mut().for_each(|value| *value = 2.0 * *value - 1.0);
                    pictures[method].insert(index, One { tokens, features, picture });
                    tick();
                }
            }
        }
        for ((made, clock), pictures) in made.iter_mut().zip(clocks).zip(pictures) {
            for one in pictures.into_values() {
                made.tokens.extend(one.tokens);
                made.features.extend(one.features);
                made.pictures.extend(one.picture);
            }
            *made = clock.into(std::mem::take(made));
        }
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn medians_are_the_middle() {
        for (values, wanted) in [
            (vec![], 0.0),
            (vec![3.0], 3.0),
            (vec![1.0, 4.0], 2.5),
            (vec![9.0, 1.0, 2.0], 2.0),
            (vec![9.0, 1.0, 2.0, 4.0], 3.0),
        ] {
            assert_eq!(median(values.clone()), wanted, "{values:?}");
        }
    }
}
