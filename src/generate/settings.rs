//! How to generate, and the steps that follow from it.

use super::GenerateError;
use super::pace::{Adaptive, Verdict};
use super::plan::Planner;
use super::predict::Predictor;
use super::refresh::{Decided, Refresh};
use super::sampling::{Reveal, Sampling};
use crate::kernels::StepValues;
use crate::models::Family;

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
        self.plan_on(tokens, tokens)
    }

    /// The same of which so many are masked when it begins.
    ///
    /// # Errors
    /// Settings out of range.
    pub fn plan_on(&self, tokens: u32, masked: u32) -> Result<Vec<PlannedStep>, GenerateError> {
        let mut planner = Planner::new(self, tokens, masked)?;
        let full = self.refresh.full_steps(planner.most_steps(), self.sampling.steps)?;
        let mut plan = Vec::with_capacity(full.len());
        for full in full {
            let Some(step) = planner.next(full) else { break };
            planner.done(&step);
            plan.push(step);
        }
        if self.predictor.predict().unites() && plan.iter().any(|step| step.kind == StepKind::Predicted) {
            self.unite(&mut plan)?;
        }
        Ok(plan)
    }

    /// Whether the run itself decides which steps are full or how many tokens they reveal. Its plan is then what it comes to at most.
    pub fn decides(&self) -> bool {
        self.refresh.pace().is_some() || self.reveals_freely()
    }

    /// Whether the run itself decides how many tokens a step reveals.
    pub(super) fn reveals_freely(&self) -> bool {
        self.sampling.reveal.is_free() && !matches!(self.refresh, Refresh::Decided(_))
    }

    /// The same as a run decided it: what makes it again without deciding.
    #[must_use]
    pub fn decided(&self, plan: &[PlannedStep]) -> Self {
        if !self.decides() {
            return self.clone();
        }
        let counts = || plan.iter().map(|step| step.values.reveal - step.values.remask).collect();
        let reveal = if self.reveals_freely() { counts() } else { Vec::new() };
        Self { refresh: Refresh::Decided(Decided { full: full_steps(plan), reveal }), ..self.clone() }
    }

    /// The same for a part of a picture, such a share of its tokens: fewer steps, and of full ones as large a share. At least four,
    /// where there are as many; a quarter of the tokens takes about a third of the steps.
    #[must_use]
    pub fn for_share(&self, share: f32) -> Self {
        /// Between as many steps as ever, and as many tokens a step as ever: few tokens among many known ones still depend on each other.
        const EXPONENT: f32 = 0.75;
        const LEAST: u32 = 4;
        let whole = self.sampling.steps;
        let steps = (whole as f32 * share.clamp(0.0, 1.0).powf(EXPONENT)).ceil() as u32;
        let steps = steps.max(LEAST).min(whole);
        if steps == whole {
            return self.clone();
        }
        let scaled = |count: u32| (count * steps).div_ceil(whole).clamp(1, steps);
        let refresh = match &self.refresh {
            Refresh::Uniform(budget) | Refresh::Optimal(budget) => Refresh::Uniform(scaled(*budget)),
            Refresh::Adaptive(pace) => {
                Refresh::Adaptive(Adaptive { budget: pace.budget.map(scaled), ..*pace })
            }
            Refresh::List(full) | Refresh::Decided(Decided { full, .. }) => {
                let mut full: Vec<u32> = full.iter().map(|&step| step * steps / whole).collect();
                full.dedup();
                Refresh::List(full)
            }
            other => other.clone(),
        };
        Self { sampling: self.sampling.with_steps(steps), refresh, predictor: self.predictor }
    }

    /// Refuses what a family cannot do at all: a generator of one step has no others to guide, to save or to predict.
    ///
    /// # Errors
    /// A sentence on what it does.
    pub fn check(&self, family: &dyn Family) -> Result<(), GenerateError> {
        let Self { sampling, refresh, predictor } = self;
        // As many steps in full as there are, by any name, and what nobody asked for.
        let full = matches!(refresh, Refresh::Every | Refresh::Uniform(1));
        let default = matches!(predictor, Predictor::Shortcut | Predictor::Reuse);
        if family.is_one_step() && !(sampling.steps == 1 && !sampling.guided() && full && default) {
            let message = "the model makes its pictures in one full step without guidance; leave out other steps, budgets, \
                           predictors and guidance";
            return Err(GenerateError::Setting(message.to_owned()));
        }
        Ok(())
    }

    /// Has each full step choose for the predicted ones after it, too.
    fn unite(&self, plan: &mut [PlannedStep]) -> Result<(), GenerateError> {
        let title = self.predictor.predict().title();
        if self.decides() || self.sampling.corrector > 0.0 {
            let message = format!(
                "{title} chooses the tokens of several steps at once, which has to be known before; leave out what decides while the run goes on, and the corrector"
            );
            return Err(GenerateError::Setting(message));
        }
        if self.sampling.spread > 0.0 {
            let message = format!(
                "{} chooses the tokens of several steps at once and cannot keep those of each apart; leave out the spread or use another predictor",
                title
            );
            return Err(GenerateError::Setting(message));
        }
        super::predict::recap::unite(plan);
        Ok(())
    }

    /// Whether there are steps that do not run in full, as far as the rule tells.
    pub fn predicts(&self) -> bool {
        self.refresh != Refresh::Every
    }

    /// The same with every step in full, and as many tokens a step as the schedule has.
    #[must_use]
    pub fn vanilla(&self) -> Self {
        let sampling = Sampling { reveal: Reveal::Schedule, ..self.sampling };
        Self { sampling, refresh: Refresh::Every, ..self.clone() }
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
    /// Why it runs as it does, where the run decided.
    pub verdict: Option<Verdict>,
}

/// Which steps of a plan run the full model.
pub(crate) fn full_steps(plan: &[PlannedStep]) -> Vec<u32> {
    plan.iter().filter(|step| step.kind == StepKind::Full).map(|step| step.values.step).collect()
}
