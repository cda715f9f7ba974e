//! What `migm generate` reports of a run: how it was made, and what each kind of step cost.

use super::engine::Finished;
use super::pace::Verdict;
use super::proof::Proof;
use super::recipe::Subject;
use super::session::{PlannedStep, Settings, StepKind};
use crate::exec::Memory;
use crate::kernels::Quantization;
use std::path::PathBuf;

/// A run over some pictures.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Report {
    /// The model's name.
    pub model: String,
    /// What computed.
    pub device: String,
    /// How matrices were quantised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantize: Option<Quantization>,
    /// How it was sampled, and which steps ran in full.
    pub settings: Settings,
    /// What runs decided that decide while they go on, a picture each: full steps, and after a slash the tokens of each step.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub decided: Vec<String>,
    /// What was asked for: a prompt or classes.
    #[serde(flatten)]
    pub subjects: Subjects,
    /// Of each picture.
    pub seeds: Vec<u64>,
    /// What was written.
    pub files: Vec<PathBuf>,
    /// Codes of each picture, row by row.
    pub tokens: Vec<Vec<u32>>,
    /// By what all codes, one picture after the other, are known again.
    pub fingerprint: Proof,
    /// Every step of a run, of the first where they decide.
    pub steps: Vec<Step>,
    /// Sums over all pictures.
    pub totals: Totals,
    /// Memory held on the device.
    pub memory_bytes: Memory,
}

/// What pictures are of.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subjects {
    /// All of one prompt.
    Prompt(String),
    /// A class each, by name.
    Classes(Vec<String>),
}

impl Subjects {
    /// Of pictures.
    pub fn of(subjects: &[Subject]) -> Self {
        match subjects.first() {
            Some(Subject::Prompt(prompt)) => Self::Prompt(prompt.clone()),
            _ => Self::Classes(subjects.iter().map(|subject| subject.title().to_owned()).collect()),
        }
    }
}

/// A step of a run.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Step {
    /// Which.
    pub index: u32,
    /// Full or not.
    pub kind: StepKind,
    /// What it took, the mean of all batches.
    pub milliseconds: f64,
    /// Tokens that it revealed of each picture.
    pub tokens_unmasked: u32,
    /// Share of tokens masked before it.
    pub mask_ratio: f32,
    /// Tokens that it masked again.
    #[serde(skip_serializing_if = "is_zero")]
    pub tokens_masked_again: u32,
    /// What was decided of it, where the run decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// Sums over all pictures.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Totals {
    /// Pictures.
    pub images: usize,
    /// Batches that they were made in.
    pub batches: usize,
    /// Full steps of a batch; where each decides for itself, the mean of all, rounded.
    pub full_steps: usize,
    /// Predicted steps of a batch.
    pub predicted_steps: usize,
    /// Milliseconds of all full steps.
    pub full_milliseconds: f64,
    /// Milliseconds of all predicted steps.
    pub predicted_milliseconds: f64,
    /// Wall-clock milliseconds of the step loops.
    pub loop_milliseconds: f64,
    /// Of decoding.
    pub decode_milliseconds: f64,
    /// Of the loops with every step in full, where that was run to compare.
    pub every_step_full_milliseconds: Option<f64>,
    /// How many times faster than that.
    pub speed_up: Option<f64>,
    /// Share of tokens equal to those of every step in full.
    pub token_agreement: Option<f64>,
}

/// Batches of a run, summed up as they come.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Codes by picture.
    pub tokens: Vec<Vec<u32>>,
    /// Wall-clock milliseconds of the loops.
    pub loop_ms: f64,
    step_ms: Vec<f64>,
    batches: usize,
    /// The steps of each batch.
    plans: Vec<Vec<PlannedStep>>,
    /// Milliseconds and steps of full ones, and of others.
    kinds: [(f64, usize); 2],
}

impl Tally {
    /// For so many pictures.
    pub fn new(pictures: usize) -> Self {
        Self { tokens: vec![Vec::new(); pictures], ..Self::default() }
    }

    /// Takes in a batch.
    pub fn add(&mut self, batch: &Finished) {
        let each = (batch.codes.len() / batch.pictures.len().max(1)).max(1);
        for (&picture, codes) in batch.pictures.iter().zip(batch.codes.chunks_exact(each)) {
            self.tokens[picture] = codes.to_vec();
        }
        self.loop_ms += batch.loop_ms;
        self.step_ms.resize(self.step_ms.len().max(batch.step_ms.len()), 0.0);
        for (sum, ms) in self.step_ms.iter_mut().zip(&batch.step_ms) {
            *sum += ms;
        }
        for (step, ms) in batch.plan.iter().zip(&batch.step_ms) {
            let (sum, count) = &mut self.kinds[usize::from(step.kind == StepKind::Predicted)];
            (*sum, *count) = (*sum + ms, *count + 1);
        }
        self.plans.push(batch.plan.clone());
        self.batches += 1;
    }

    /// Whether there was one batch so far.
    pub fn is_first(&self) -> bool {
        self.batches == 1
    }

    /// The steps of the first batch; milliseconds are averaged over all.
    pub fn steps(&self) -> Vec<Step> {
        let of = |(step, ms): (&PlannedStep, &f64)| Step {
            index: step.values.step,
            kind: step.kind,
            milliseconds: ms / self.batches.max(1) as f64,
            tokens_unmasked: step.values.reveal,
            mask_ratio: step.values.mask_ratio,
            tokens_masked_again: step.values.remask,
            verdict: step.verdict,
        };
        self.plans.first().into_iter().flatten().zip(&self.step_ms).map(of).collect()
    }

    /// What each run decided, if runs decide.
    pub fn decided(&self, settings: &Settings) -> Vec<String> {
        let plans = self.plans.iter().filter(|_| settings.decides());
        plans.map(|plan| settings.decided(plan).refresh.to_string()).collect()
    }

    /// The sums, held against a run of the same pictures with every step in full.
    pub fn totals(&self, vanilla: Option<&Self>, decode_ms: f64) -> Totals {
        let [(full_milliseconds, full_steps), (predicted_milliseconds, predicted_steps)] = self.kinds;
        let of_a_batch = |steps: usize| (steps as f64 / self.batches.max(1) as f64).round() as usize;
        let agreement = |other: &Self| {
            let pairs = || self.tokens.iter().flatten().zip(other.tokens.iter().flatten());
            pairs().filter(|(a, b)| a == b).count() as f64 / pairs().count().max(1) as f64
        };
        Totals {
            images: self.tokens.len(),
            batches: self.batches,
            full_steps: of_a_batch(full_steps),
            predicted_steps: of_a_batch(predicted_steps),
            full_milliseconds,
            predicted_milliseconds,
            loop_milliseconds: self.loop_ms,
            decode_milliseconds: decode_ms,
            every_step_full_milliseconds: vanilla.map(|other| other.loop_ms),
            speed_up: vanilla.map(|other| other.loop_ms / self.loop_ms),
            token_agreement: vanilla.map(agreement),
        }
    }
}
