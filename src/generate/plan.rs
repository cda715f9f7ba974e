//! The steps of a run, one after the other: everything that is known of a step before it runs.
//!
//! Most runs are planned as a whole ([`Settings::plan`]). One that decides while it runs asks the planner for a step at a time, and
//! tells it what became of it.

use super::GenerateError;
use super::refresh::Refresh;
use super::sampling::Sampling;
use super::session::{PlannedStep, Settings, StepKind};
use crate::kernels::StepValues;

/// Where the numbers of revealed tokens come from.
#[derive(Clone, Debug, PartialEq)]
enum Counts {
    /// The schedule.
    Scheduled,
    /// The run itself, which keeps up with the schedule and may be ahead of it.
    Free,
    /// An earlier run.
    Given(Vec<u32>),
}

/// Plans steps in order.
#[derive(Clone, Debug)]
pub struct Planner {
    sampling: Sampling,
    tokens: u32,
    /// Tokens to be made: masked before the first step.
    begun: u32,
    counts: Counts,
    /// Tokens masked before each step of the schedule, and in the end: draws and guidance go by it.
    curve: Vec<u32>,
    masked: u32,
    new_tokens: u32,
    step: u32,
    last_full: Option<u32>,
    full_before: u32,
    was_unguided: bool,
}

impl Planner {
    /// At the beginning of a run over so many tokens an image, of which so many are masked.
    ///
    /// # Errors
    /// Settings out of range, or decisions of a run over other tokens.
    pub fn new(settings: &Settings, tokens: u32, masked: u32) -> Result<Self, GenerateError> {
        settings.sampling.check()?;
        let (sampling, begun) = (settings.sampling, masked.min(tokens));
        if begun < tokens && sampling.corrector > 0.0 {
            let message = "a corrector would mask tokens again that were there before; leave it out where a part of a picture is made";
            return Err(GenerateError::Setting(message.to_owned()));
        }
        let mut curve = vec![begun];
        for count in sampling.schedule.counts(sampling.steps, begun) {
            curve.push(curve[curve.len() - 1] - count);
        }
        let counts = match &settings.refresh {
            Refresh::Decided(decided) if !decided.reveal.is_empty() => {
                if decided.reveal.contains(&0)
                    || decided.reveal.iter().map(|&n| u64::from(n)).sum::<u64>() != u64::from(begun)
                {
                    let message =
                        format!("the counts of {} do not add up to {begun} tokens", settings.refresh);
                    return Err(GenerateError::Setting(message));
                }
                Counts::Given(decided.reveal.clone())
            }
            _ if settings.reveals_freely() => Counts::Free,
            _ => Counts::Scheduled,
        };
        Ok(Self {
            sampling,
            tokens,
            begun,
            counts,
            curve,
            masked: begun,
            new_tokens: 0,
            step: 0,
            last_full: None,
            full_before: 0,
            was_unguided: false,
        })
    }

    /// Steps at most.
    pub fn most_steps(&self) -> usize {
        match &self.counts {
            Counts::Given(counts) => counts.len(),
            Counts::Scheduled | Counts::Free => self.curve.len() - 1,
        }
    }

    /// Tokens masked before the step to come, as a share.
    pub fn mask_ratio(&self) -> f32 {
        self.masked as f32 / self.tokens as f32
    }

    /// The place on the schedule's curve: what is ahead of the schedule is where it would have no more masked, at its last step in the end.
    fn place(&self) -> usize {
        match self.counts {
            Counts::Scheduled => self.step as usize,
            Counts::Free | Counts::Given(_) => {
                let reached = self.curve.partition_point(|&before| before > self.masked);
                reached.min(self.curve.len() - 2)
            }
        }
    }

    /// Whether guidance begins with the step to come where there was none before, and with how many after it: those are full. A run
    /// that is ahead of its schedule may have fewer.
    pub fn guidance_begins(&self) -> (bool, u32) {
        let unguided = |place: usize, masked| self.guidance(place as u32, masked).1;
        let (place, last) = (self.place(), self.curve.len() - 2);
        let now = unguided(place, self.masked);
        let (mut before, mut later) = (now, 0);
        for next in place + 1..=last {
            let then = unguided(next, self.curve[next]);
            later += u32::from(before && !then);
            before = then;
        }
        (self.begins(now), later)
    }

    /// Guidance at a place of the curve with so many masked, and whether there is none: by the share of what is to be made, so that it
    /// goes along a part of a picture as it does along a whole one.
    fn guidance(&self, place: u32, masked: u32) -> (f32, bool) {
        self.sampling.guidance_at(place, masked as f32 / self.begun.max(1) as f32)
    }

    /// Whether guidance begins with a step that has it or not: unconditional features are old or were never there.
    fn begins(&self, unguided: bool) -> bool {
        self.last_full.is_some() && self.was_unguided && !unguided
    }

    /// The step to come, whether in full or not; `None` after the last. Where its count is still to be decided, it is the least that
    /// keeps up with the schedule.
    pub fn next(&self, full: bool) -> Option<PlannedStep> {
        if self.step as usize >= self.most_steps() {
            return None;
        }
        let place = self.place();
        let reveal = match &self.counts {
            Counts::Scheduled => self.curve[place] - self.curve[place + 1],
            Counts::Given(counts) => counts[self.step as usize],
            Counts::Free if self.masked == 0 => return None,
            Counts::Free => (self.masked - self.curve[place + 1]).max(1),
        };
        let place = place as u32;
        let sampling = &self.sampling;
        let mask_ratio = self.mask_ratio();
        let (guidance, unguided) = self.guidance(place, self.masked);
        let (choice_temperature, random_choice) = sampling.choice_at(place);
        let full = full || self.last_full.is_none() || self.begins(unguided);
        let [entropy_bound, certainty] = sampling.reveal.bounds();
        let values = StepValues {
            step: self.step,
            new_tokens: self.new_tokens,
            masked: self.masked,
            committed: self.tokens - self.masked,
            reveal,
            mask_ratio,
            guidance,
            unguided,
            choice_temperature,
            random_choice,
            since_full: self.last_full.map_or(0, |last| self.step - last),
            full_before: self.full_before,
            predicted: !full,
            entropy_bound,
            certainty,
            ..sampling.at_every_step()
        };
        let kind = if full { StepKind::Full } else { StepKind::Predicted };
        Some(self.corrected(PlannedStep { kind, values, verdict: None }))
    }

    /// The same revealing another number of tokens, corrections not counted.
    pub fn revealing(&self, step: PlannedStep, reveal: u32) -> PlannedStep {
        let values = StepValues { reveal: reveal.clamp(1, self.masked), ..step.values };
        self.corrected(PlannedStep { values, ..step })
    }

    /// What a corrector takes back at a full step, and reveals in its place, so that counts stay on the schedule.
    fn corrected(&self, mut step: PlannedStep) -> PlannedStep {
        let values = &mut step.values;
        values.remask = 0;
        if step.kind == StepKind::Full {
            let wanted = (self.sampling.corrector * values.committed as f32) as u32;
            values.remask = wanted.min(values.masked.saturating_sub(values.reveal));
            values.reveal += values.remask;
        }
        step
    }

    /// Goes on after a step.
    pub fn done(&mut self, step: &PlannedStep) {
        let values = &step.values;
        self.masked -= values.reveal - values.remask;
        self.new_tokens = values.reveal;
        self.was_unguided = values.unguided;
        if step.kind == StepKind::Full {
            self.last_full = Some(self.step);
            self.full_before += 1;
        }
        self.step += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::predict::Predictor;
    use crate::generate::sampling::Reveal;
    use proptest::prelude::*;

    proptest! {
        /// However many tokens more than the least a run reveals at each step: it ends, with every token revealed once, in no more
        /// steps than the schedule has, and what it decided plans the same run.
        #[test]
        fn a_run_that_runs_ahead_comes_to_its_end(
            steps in 1_u32..40,
            tokens in 1_u32..300,
            extra in prop::collection::vec(0_u32..30, 40),
            corrector in 0.0_f32..1.0,
            is_text: bool,
            kept in 0.0_f32..1.0,
            guided in prop::array::uniform2(0.0_f32..1.0),
        ) {
            let official = if is_text { Sampling::DIMOO } else { Sampling::MASKGIT_512 };
            let guidance_interval = [guided[0].min(guided[1]), guided[0].max(guided[1])];
            let reveal = Reveal::Entropy(1.0);
            // A part of a picture takes no corrector.
            let masked = if corrector < 0.5 { ((1.0 - kept) * tokens as f32).ceil() as u32 } else { tokens };
            let corrector = if masked < tokens { 0.0 } else { corrector };
            let sampling = Sampling { reveal, corrector, guidance_interval, ..official.with_steps(steps) };
            let settings = Settings { sampling, refresh: Refresh::Uniform(1), predictor: Predictor::Reuse };
            let mut planner = Planner::new(&settings, tokens, masked).unwrap();
            let mut plan: Vec<PlannedStep> = Vec::new();
            while let Some(step) = planner.next(plan.len().is_multiple_of(3)) {
                // What is forced is told before.
                let forced = planner.next(false).is_some_and(|step| step.kind == StepKind::Full);
                prop_assert_eq!(planner.guidance_begins().0, forced && !plan.is_empty());
                let least = step.values.reveal - step.values.remask;
                let step = planner.revealing(step, least + extra[plan.len()]);
                prop_assert!(step.values.reveal <= step.values.masked && step.values.remask <= step.values.committed);
                planner.done(&step);
                plan.push(step);
            }
            prop_assert!(plan.len() <= steps as usize);
            prop_assert_eq!(plan.iter().map(|step| step.values.reveal - step.values.remask).sum::<u32>(), masked);
            let again = settings.decided(&plan).plan_on(tokens, masked).unwrap();
            let numbers = |plan: &[PlannedStep]| -> Vec<_> { plan.iter().map(|step| (step.kind, step.values)).collect() };
            // Bounds decide nothing any more, but stay as they were asked for.
            prop_assert_eq!(numbers(&again), numbers(&plan));
        }
    }
}
