//! Runs that decide while they go on: whether a step is full, and how many tokens it reveals.
//!
//! A step of such a run is its features, the draw, one small value that the host reads ([`states::GAUGE`]), and then the choice. An
//! adaptive pace is told how far features moved; at full steps the predictor runs beside the model, from the features before, so that
//! its error is measured against them. What is decided stands in the plan as it happens.

use super::GenerateError;
use super::engine::now_ms;
use super::pace::{Adaptive, Outlook, Past, Verdict};
use super::plan::Planner;
use super::refresh::Refresh;
use super::session::{PlannedStep, Session, Settings, StepKind};
use crate::exec::read_f32;
use crate::kernels::gauge;
use crate::models::states;

/// What a run needs that decides.
#[derive(Debug)]
pub(super) struct Deciding {
    settings: Settings,
    tokens: u32,
    masked: u32,
    planner: Planner,
    /// Whether each step is full, where that is known before.
    full: Vec<bool>,
    past: Vec<Past>,
    /// Milliseconds of each step: it is waited for, so the host's clock tells.
    ms: Vec<f64>,
}

impl Deciding {
    /// At the beginning of a run.
    pub(super) fn new(settings: &Settings, tokens: u32, masked: u32) -> Result<Self, GenerateError> {
        let planner = Planner::new(settings, tokens, masked)?;
        let needed = 1 + planner.guidance_begins().1;
        if let Refresh::Adaptive(Adaptive { budget: Some(budget), .. }) = settings.refresh
            && budget < needed
        {
            let message = format!(
                "a refresh budget of {budget} is less than the {needed} full steps that such a run cannot do without: the first, and where \
                 guidance begins; use {needed} or more"
            );
            return Err(GenerateError::Setting(message));
        }
        let full = settings.refresh.full_steps(planner.most_steps(), settings.sampling.steps)?;
        let settings = settings.clone();
        Ok(Self { settings, tokens, masked, planner, full, past: Vec::new(), ms: Vec::new() })
    }

    /// The same at the beginning of another.
    pub(super) fn again(&self) -> Result<Self, GenerateError> {
        Self::new(&self.settings, self.tokens, self.masked)
    }

    /// What it comes to at most.
    pub(super) fn plan(&self) -> Result<Vec<PlannedStep>, GenerateError> {
        self.settings.plan_on(self.tokens, self.masked)
    }

    /// Milliseconds of the steps that were run.
    pub(super) fn step_times(&self) -> Vec<Option<f64>> {
        self.ms.iter().copied().map(Some).collect()
    }

    fn verdict(&self, prior: &[f32]) -> Option<Verdict> {
        let pace = self.settings.refresh.pace()?;
        let mask_ratio = self.planner.mask_ratio();
        let tenth = (mask_ratio * prior.len() as f32) as usize;
        let prior = prior.get(tenth.min(prior.len().saturating_sub(1))).copied().unwrap_or(1.0);
        let (guidance_begins, guidance_to_begin) = self.planner.guidance_begins();
        let (past, steps) = (&self.past, self.full.len());
        let outlook = Outlook { past, steps, mask_ratio, prior, guidance_begins, guidance_to_begin };
        Some(pace.decide(&outlook))
    }
}

impl Session {
    /// Runs the next step: of a run that decides when what it decides by is known, of any other as [`Session::step`] does.
    ///
    /// # Errors
    /// The device failed.
    pub async fn advance(&mut self) -> Result<Option<PlannedStep>, GenerateError> {
        let Some(mut deciding) = self.deciding.take() else { return self.step() };
        let step = self.decide(&mut deciding).await;
        self.deciding = Some(deciding);
        step
    }

    async fn decide(&mut self, deciding: &mut Deciding) -> Result<Option<PlannedStep>, GenerateError> {
        let index = self.next;
        let began = now_ms();
        let verdict = deciding.verdict(&self.prior);
        let full = verdict.map_or_else(|| deciding.full.get(index).copied().unwrap_or(true), |v| v.full);
        let Some(mut step) = deciding.planner.next(full) else {
            self.plan.truncate(index);
            return Ok(None);
        };
        step.verdict = verdict;
        let routine = if step.values.unguided { &self.unguided } else { &self.guided };
        let (predicted, passage) = (routine.predicted.features(), routine.of(step.kind));
        let [draw, choose] = passage.sampling();
        let executor = self.executor.as_mut();
        executor.revise(index, &step.values)?;
        let movement = self.movement.filter(|_| verdict.is_some());
        if let (Some(movement), StepKind::Full, true) = (movement, step.kind, index > 0) {
            executor.run(predicted, index, false)?;
            executor.run(&[movement], index, false)?;
        }
        executor.run(passage.features(), index, false)?;
        executor.run(movement.as_slice(), index, false)?;
        executor.run(draw, index, false)?;
        let gauge = read_f32(executor, states::GAUGE, gauge::WORDS as usize).await?;
        let &[moved, size, count, _] = gauge.as_slice() else {
            return Err(GenerateError::Setting("the device gave no measurement of the step".to_owned()));
        };
        deciding.past.push(Past { kind: step.kind, moved: moved / size.max(f32::MIN_POSITIVE) });
        if deciding.settings.reveals_freely() {
            let least = step.values.reveal - step.values.remask;
            step = deciding.planner.revealing(step, least.max(count as u32));
            executor.revise(index, &step.values)?;
        }
        executor.run(choose, index, false)?;
        deciding.planner.done(&step);
        deciding.ms.push(now_ms() - began);
        self.plan[index] = step;
        self.next += 1;
        if deciding.planner.next(false).is_none() {
            self.plan.truncate(self.next);
        }
        Ok(Some(step))
    }
}
