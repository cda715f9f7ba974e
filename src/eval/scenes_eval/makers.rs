//! Pictures of the same subjects and seeds by every method: what is compared.

use super::source::Wanted;
use crate::generate::GenerateError;
use crate::generate::engine::{Engine, Event, Job};
use crate::generate::predict::Predictor;
use crate::generate::recipe::Subject;
use crate::generate::refresh::Refresh;
use crate::generate::session::{Settings, StepKind};
use pollster::block_on;
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

/// Makes all pictures of a comparison, in batches; prompts of one length go together.
#[derive(Debug)]
pub struct Maker<'a> {
    pub(super) engine: &'a mut Engine,
    pub(super) jobs: Vec<Job>,
    wanted: Vec<Wanted>,
    at_once: u32,
}

impl<'a> Maker<'a> {
    /// Subjects and what their pictures have to show. Seeds count up from `seed`.
    ///
    /// # Errors
    /// A subject that is not the engine's model's, or a word that it does not know: its pictures would be blamed for it.
    pub fn new(
        engine: &'a mut Engine,
        pictures: Vec<(Subject, Wanted)>,
        seed: u64,
        at_once: u32,
    ) -> Result<Self, GenerateError> {
        let model = engine.model()?;
        let (mut jobs, mut wanted) = (Vec::new(), Vec::new());
        for (index, (subject, asked)) in pictures.into_iter().enumerate() {
            if let (Some(prompts), Subject::Prompt(prompt)) = (model.prompts(), &subject)
                && let Some(word) = prompts.unknown_words(prompt).first()
            {
                let message = format!(
                    "the model does not know {word:?} of {prompt:?}; is the judge of another vocabulary than the model?"
                );
                return Err(GenerateError::Setting(message));
            }
            let seed = seed.wrapping_add(index as u64);
            jobs.push(Job { condition: model.condition(&subject)?, seed });
            wanted.push(asked);
        }
        let at_once = at_once.clamp(1, jobs.len().max(1) as u32);
        Ok(Self { engine, jobs, wanted, at_once })
    }

    /// Pixels down and across.
    ///
    /// # Errors
    /// No model is open.
    pub fn size(&self) -> Result<[u32; 2], GenerateError> {
        Ok(self.engine.model()?.family().size())
    }

    /// What each picture has to show.
    pub fn wanted(&self) -> &[Wanted] {
        &self.wanted
    }

    /// Indices of jobs whose prompts are of one length.
    pub(super) fn by_length(&self) -> Vec<Vec<usize>> {
        let mut groups = std::collections::BTreeMap::<[u32; 2], Vec<usize>>::new();
        for (index, job) in self.jobs.iter().enumerate() {
            groups.entry(job.condition.prompt_tokens()).or_default().push(index);
        }
        groups.into_values().collect()
    }

    /// All pictures by each method; the methods are all with this predictor. `tick` is called now and then.
    ///
    /// # Errors
    /// The device failed, or the model has no such predictor.
    pub fn make(
        &mut self,
        predictor: Option<Predictor>,
        methods: &[Method],
        tick: &mut dyn FnMut(),
    ) -> Result<Vec<Made>, GenerateError> {
        let sampling = self.engine.model()?.config.sampling;
        let predictor = predictor.unwrap_or_default();
        let settings = |method: &Method| {
            let sampling = sampling.with_steps(method.steps);
            Settings { sampling, refresh: method.refresh.clone(), predictor }
        };
        let mut clocks: Vec<Clock> = methods.iter().map(|_| Clock::default()).collect();
        let mut made: Vec<Made> = methods.iter().map(|_| Made::default()).collect();
        // Outside of the methods: they share the session that a length of prompts asks for.
        for indices in self.by_length() {
            // Before anything is timed.
            if let (Some(method), Some(&first)) = (methods.first(), indices.first()) {
                let images = self.at_once.min(indices.len() as u32);
                self.engine.warm_up(&self.jobs[first], &settings(method), None, images)?;
            }
            for ((method, made), clock) in methods.iter().zip(&mut made).zip(&mut clocks) {
                self.make_one(&settings(method), &indices, made, clock, tick)?;
            }
        }
        Ok(made.into_iter().zip(clocks).map(|(made, clock)| clock.into(made)).collect())
    }

    fn make_one(
        &mut self,
        settings: &Settings,
        indices: &[usize],
        made: &mut Made,
        clock: &mut Clock,
        tick: &mut dyn FnMut(),
    ) -> Result<(), GenerateError> {
        let family = self.engine.model()?.family();
        let tokens = family.tokens() as usize;
        let values = family.size().iter().product::<u32>() as usize * 3;
        made.tokens.resize(self.jobs.len() * tokens, 0);
        made.pictures.resize(self.jobs.len() * values, 0.0);
        let jobs = indices.iter().map(|&index| self.jobs[index].clone()).collect();
        let mut run = self.engine.run(jobs, settings, None, Some(self.at_once))?;
        let at_once = f64::from(run.at_once());
        while let Some(event) = block_on(run.next())? {
            let Event::Finished(batch) = event else { continue };
            // A short last batch is filled up, and costs as much as a whole one.
            clock.steps.push(batch.loop_ms * 1e-3 / at_once);
            let session = run.session()?;
            made.steps = session.plan().len();
            made.full_steps = session.plan().iter().filter(|step| step.kind == StepKind::Full).count();
            let length = session.feature_len();
            let places = || batch.pictures.iter().map(|&picture| indices[picture]);
            if places().any(|place| place < FEATURED) {
                made.features.resize(self.jobs.len().min(FEATURED) * length, 0.0);
                let features = block_on(session.features())?;
                let featured =
                    places().zip(features.chunks_exact(length)).filter(|(place, _)| *place < FEATURED);
                featured
                    .for_each(|(place, own)| made.features[place * length..][..length].copy_from_slice(own));
            }
            let start = Instant::now();
            let pictures = block_on(session.decode(&batch.codes))?;
            clock.decode.push(start.elapsed().as_secs_f64() / batch.pictures.len() as f64);
            let each = pictures.chunks_exact(values).zip(batch.codes.chunks_exact(tokens));
            for (place, (picture, codes)) in places().zip(each) {
                made.pictures[place * values..][..values].copy_from_slice(picture);
                made.tokens[place * tokens..][..tokens].copy_from_slice(codes);
            }
            tick();
        }
        Ok(())
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
