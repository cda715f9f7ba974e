//! What a method made, and how it is put together from the batches that an engine or workers make.

use super::stats::median;
use super::workers::Part;
use crate::generate::session::{PlannedStep, StepKind};

/// What a method made.
#[derive(Clone, Debug, Default)]
pub struct Made {
    /// Codes of every picture.
    pub tokens: Vec<u32>,
    /// Last features, conditional, of the first [`FEATURED`] pictures.
    pub features: Vec<f32>,
    /// Pictures, channels last, in [-1, 1].
    pub pictures: Vec<f32>,
    /// Steps of a run and full ones among them, the mean of all: fewer than asked for where every token was revealed early.
    pub mean_steps: [f64; 2],
    /// Floating-point operations of the steps, counted for one picture.
    pub flops: f64,
    /// The same of one guided full step, in the mean over the run.
    pub full_step_flops: f64,
    /// Wall-clock seconds of the steps, for one picture: the median of all batches.
    pub seconds: f64,
    /// Wall-clock seconds of decoding, for one picture.
    pub decode_seconds: f64,
    /// The steps of the first pictures as they were run, for each picture.
    pub plans: Vec<Vec<PlannedStep>>,
}

/// Of so many pictures, features are compared: those of a large model take megabytes a picture.
pub const FEATURED: usize = 32;

/// Times of a method, in seconds a picture: of every batch, or of every picture.
#[derive(Default)]
pub(super) struct Clock {
    steps: Vec<f64>,
    decode: Vec<f64>,
}

impl Clock {
    pub(super) fn add(&mut self, part: &Part) {
        self.steps.push(part.seconds);
        self.decode.push(part.decode_seconds);
    }

    /// Of steps and of decoding, the medians: what else the machine does now and then must not decide between methods.
    pub(super) fn seconds(self) -> [f64; 2] {
        [median(self.steps), median(self.decode)]
    }
}

/// What a method makes, batch by batch.
pub(super) struct Sheet {
    made: Made,
    clock: Clock,
    /// Pictures in all, and of one the tokens and the values.
    count: usize,
    size: [usize; 2],
}

impl Sheet {
    pub(super) fn new(count: usize, size: [usize; 2]) -> Self {
        let [tokens, values] = size;
        let made = Made {
            tokens: vec![0; count * tokens],
            pictures: vec![0.0; count * values],
            plans: vec![Vec::new(); count.min(FEATURED)],
            ..Made::default()
        };
        Self { made, clock: Clock::default(), count, size }
    }

    pub(super) fn add(&mut self, part: &Part) {
        let Self { made, clock, count, size: [tokens, values] } = self;
        let (count, tokens, values) = (*count, *tokens, *values);
        clock.add(part);
        // Prompts of several lengths differ in cost, and runs that decide in steps: the mean over all pictures.
        let share = part.places.len() as f64 / count as f64;
        let full = part.plan.iter().filter(|step| step.kind == StepKind::Full).count();
        for (sum, steps) in made.mean_steps.iter_mut().zip([part.plan.len(), full]) {
            *sum += share * steps as f64;
        }
        let [flops, full_step_flops] = part.flops;
        made.flops += share * flops;
        made.full_step_flops += share * full_step_flops;
        let length = part.features.len() / part.places.len().max(1);
        if length > 0 {
            made.features.resize(count.min(FEATURED) * length, 0.0);
        }
        for (at, &place) in part.places.iter().enumerate() {
            made.pictures[place * values..][..values]
                .copy_from_slice(&part.pictures[at * values..][..values]);
            made.tokens[place * tokens..][..tokens].copy_from_slice(&part.codes[at * tokens..][..tokens]);
            if place < FEATURED {
                made.features[place * length..][..length]
                    .copy_from_slice(&part.features[at * length..][..length]);
                made.plans[place].clone_from(&part.plan);
            }
        }
    }

    pub(super) fn made(self) -> Made {
        let [seconds, decode_seconds] = self.clock.seconds();
        Made { seconds, decode_seconds, ..self.made }
    }
}
