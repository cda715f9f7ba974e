//! Which steps are best run in full: errors of predicted features measured along vanilla runs, and the plan that minimises their
//! sum, found by dynamic programming.
//!
//! Along each run of vanilla the features of every step are kept. From every step the predictor then goes on alone, given the tokens
//! that vanilla revealed (teacher forcing), and its features are held against vanilla's: by how far apart the distributions are that
//! the step's tokens are drawn from ([`divergence`](super::divergence)). The error of a plan is the sum over its
//! predicted steps, in nats a picture; a plan of `B` full steps is a path through the steps, so
//! the best one is found exactly. It bounds what any rule can win that decides during a run from the same predictor.

use super::GenerateError;
use super::divergence::{Heads, divergence};
use super::predict::Predictor;
use super::refresh::Refresh;
use super::sampling::everywhere;
use super::session::{Session, Settings, full_steps};
use crate::exec::{read_f32, write_f32};
use crate::models::{Condition, states};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// All that `migm calibrate` measured of a model, as it stands in a folder's `schedules.json`: of each predictor, number of steps and
/// interval of guidance the last.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Calibration(Vec<Schedules>);

impl Calibration {
    /// From the bytes of a file, which holds a list, or (as it did first) one alone.
    ///
    /// # Errors
    /// It holds neither.
    pub fn read(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        if bytes.trim_ascii_start().starts_with(b"[") {
            return serde_json::from_slice(bytes).map(Self);
        }
        Ok(Self(vec![serde_json::from_slice(bytes)?]))
    }

    /// Takes in what was measured now, in the place of what was of the same settings.
    pub fn insert(&mut self, measured: Schedules) {
        let key = |of: &Schedules| (of.predictor.clone(), of.steps, of.guidance_interval.map(f32::to_bits));
        self.0.retain(|known| key(known) != key(&measured));
        self.0.push(measured);
    }

    /// What was measured, the latest last.
    pub fn iter(&self) -> impl Iterator<Item = &Schedules> {
        self.0.iter()
    }

    /// What was measured of the predictor of these settings, the latest: in as many steps if it was, else in any, and of these with guidance in
    /// the same interval if there are such.
    pub fn of(&self, settings: &Settings) -> Option<&Schedules> {
        let predictor = settings.predictor.to_string();
        let (steps, interval) = (settings.sampling.steps, settings.sampling.guidance_interval);
        let alike = |known: &Schedules| (known.steps == steps, known.guidance_interval == interval);
        self.0.iter().filter(|known| known.predictor == predictor).max_by_key(|known| alike(known))
    }

    /// The best plan of a budget.
    ///
    /// # Errors
    /// Nothing was measured of these settings, or there is no such budget.
    pub fn plan(&self, settings: &Settings, budget: u32) -> Result<Vec<u32>, GenerateError> {
        let steps = settings.sampling.steps;
        match self.of(settings).filter(|known| known.steps == steps) {
            Some(known) => known.plan(budget),
            None => {
                let each: BTreeSet<_> = self
                    .0
                    .iter()
                    .map(|known| format!("{} in {} steps", known.predictor, known.steps))
                    .collect();
                let (predictor, known) =
                    (settings.predictor, each.into_iter().collect::<Vec<_>>().join(" and "));
                Err(GenerateError::Setting(format!(
                    "the model was calibrated for {known}, not for {predictor} in {steps}; run migm calibrate for these"
                )))
            }
        }
    }
}

/// What was measured of a predictor in so many steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedules {
    /// The predictor that was measured, as the command line takes it.
    pub predictor: String,
    /// Steps of the runs.
    pub steps: u32,
    /// Between which mask ratios they had guidance.
    #[serde(default = "everywhere")]
    pub guidance_interval: [f32; 2],
    /// Runs that were measured.
    pub runs: u32,
    /// By start and length, from 1: the squared error of the features, as a share of their own square, weighted by the share of tokens
    /// that the step reveals.
    pub errors: Vec<Vec<f64>>,
    /// By start and length, from 1: the divergence of what the step's tokens are drawn from, in nats. (Empty in files that are older.)
    #[serde(default)]
    pub divergences: Vec<Vec<f64>>,
    /// For every budget from 1: the full steps of the best plan.
    pub plans: Vec<Vec<u32>>,
    /// By tenths of the mask ratio at which a stretch of predicted steps ends, from 0 on: what the relative error of features is of the
    /// velocity that the predictor accumulated. An adaptive run begins with it.
    #[serde(default)]
    pub factors: Vec<f32>,
}

/// What errors are of accumulated velocities, the least squares fit through zero.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Factor {
    /// Sums of errors times velocities, and of squared velocities.
    sums: [f64; 2],
}

impl Factor {
    fn add(&mut self, error: f64, velocity: f64) {
        self.sums[0] += error * velocity;
        self.sums[1] += velocity * velocity;
    }

    fn value(self) -> f32 {
        if self.sums[1] > 1e-12 { (self.sums[0] / self.sums[1]) as f32 } else { 1.0 }
    }
}

/// What was measured along runs of vanilla.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// By start and length, from 1: see [`Schedules::errors`].
    pub errors: Vec<Vec<f64>>,
    /// The same: see [`Schedules::divergences`].
    pub divergences: Vec<Vec<f64>>,
    /// By tenths of the mask ratio.
    pub factors: [Factor; 10],
    /// Steps that are full whatever the plan: the first, and where guidance begins.
    pub always: Vec<u32>,
}

impl Measured {
    /// Takes in what was measured along other runs, which are such a share of all.
    pub fn add(&mut self, other: &Self, share: f64) {
        for (all, found) in [(&mut self.errors, &other.errors), (&mut self.divergences, &other.divergences)] {
            all.resize(found.len(), Vec::new());
            for (sums, found) in all.iter_mut().zip(found) {
                sums.resize(found.len(), 0.0);
                sums.iter_mut().zip(found).for_each(|(sum, value)| *sum += share * value);
            }
        }
        self.always.clone_from(&other.always);
        for (factor, found) in self.factors.iter_mut().zip(other.factors) {
            factor.sums.iter_mut().zip(found.sums).for_each(|(sum, value)| *sum += value);
        }
    }
}

/// The name of the file in a model's folder.
pub const FILE: &str = "schedules.json";

impl Schedules {
    /// From what was measured by start and length.
    pub fn new(settings: &Settings, runs: u32, measured: Measured) -> Self {
        let Measured { errors, divergences, factors, always } = measured;
        let (plans, steps) = (best_plans(&divergences, &always), errors.len() as u32);
        let factors = factors.into_iter().map(Factor::value).collect();
        let guidance_interval = settings.sampling.guidance_interval;
        let predictor = settings.predictor.to_string();
        Self { predictor, steps, guidance_interval, runs, errors, divergences, plans, factors }
    }

    /// The best plan of a budget.
    ///
    /// # Errors
    /// There is no such budget.
    pub fn plan(&self, budget: u32) -> Result<Vec<u32>, GenerateError> {
        let found = (budget as usize).checked_sub(1).and_then(|index| self.plans.get(index));
        found.cloned().ok_or_else(|| {
            let steps = self.steps;
            GenerateError::Setting(format!(
                "a refresh budget of {budget} is not between 1 and the {steps} steps"
            ))
        })
    }

    /// The error of a plan: the divergences of its predicted steps, in nats (of an older file, their weighted squared errors).
    pub fn error(&self, plan: &[u32]) -> f64 {
        let errors = if self.divergences.is_empty() { &self.errors } else { &self.divergences };
        let ends = plan.iter().skip(1).copied().chain([self.steps]);
        plan.iter().zip(ends).map(|(&start, end)| stretch(errors, start as usize, end as usize)).sum()
    }
}

/// The error of the steps between a full one and the next.
fn stretch(errors: &[Vec<f64>], start: usize, end: usize) -> f64 {
    errors[start].iter().take(end - start - 1).sum()
}

/// For every number of full steps the ones that make the least error, the first always among them. `errors` has a row a step, with
/// an entry for every step after it. The steps `always` are among those of every plan, which has more than its budget where they are more.
fn best_plans(errors: &[Vec<f64>], always: &[u32]) -> Vec<Vec<u32>> {
    let steps = errors.len();
    // By full steps and the last of them: the error of all predicted steps before it, and the full step before.
    let mut least = vec![vec![(f64::INFINITY, 0); steps + 1]; steps + 1];
    if steps > 0 {
        least[1][0] = (0.0, 0);
    }
    for full in 1..=steps {
        for start in full - 1..steps {
            let (before, _) = least[full][start];
            let mut error = before;
            for end in start + 1..=steps {
                if end > start + 1 {
                    error += errors[start][end - start - 2];
                }
                // The end of the run takes no full step of its own.
                let of = if end == steps { full } else { full + 1 };
                if error < least[of][end].0 {
                    least[of][end] = (error, start);
                }
                if always.contains(&(end as u32)) {
                    break;
                }
            }
        }
    }
    let path = |full: usize| {
        if least[full][steps].0.is_infinite() {
            return always.to_vec();
        }
        let mut plan = Vec::with_capacity(full);
        let (mut at, mut left) = (least[full][steps].1, full);
        while left > 0 {
            plan.push(at as u32);
            at = least[left][at].1;
            left -= 1;
        }
        plan.reverse();
        plan
    };
    (1..=steps).map(path).collect()
}

/// Measures errors along runs of vanilla, one a condition and seed; the session's shape has the predictor, and one image, and `heads` are
/// of as many prompt tokens. `tick` is called after every run.
///
/// # Errors
/// A predictor whose features depend on more than the last full step and the tokens since, or the device failed.
pub async fn measure(
    session: &mut Session,
    heads: &mut Heads,
    settings: &Settings,
    runs: &[(Condition, u64)],
    tick: &mut dyn FnMut(),
) -> Result<Measured, GenerateError> {
    if !matches!(settings.predictor, Predictor::Shortcut | Predictor::Reuse) {
        let message = format!(
            "{} depends on which steps were full before; only shortcut and reuse can be calibrated",
            settings.predictor
        );
        return Err(GenerateError::Setting(message));
    }
    let features = session.family().feature_states(session.shape().batch);
    let tokens = session.family().tokens();
    let mut sums: Vec<Vec<f64>> = Vec::new();
    let mut apart: Vec<Vec<f64>> = Vec::new();
    let mut factors = [Factor::default(); 10];
    for (condition, seed) in runs {
        let plan = session.configure(&settings.vanilla())?.to_vec();
        heads.plan(&plan)?;
        session.start(std::slice::from_ref(condition), &[*seed])?;
        let (mut kept, mut revealed, mut drawn_from) = (Vec::new(), Vec::new(), Vec::new());
        for (index, step) in plan.iter().enumerate() {
            session.step()?;
            let executor = session.executor();
            let mut all = Vec::new();
            for (state, len) in &features {
                all.push(read_f32(executor, state, *len).await?);
            }
            let new = [states::NEW_IDS, states::NEW_POSITIONS];
            let mut lists = Vec::new();
            for state in new {
                lists.push(executor.read(state, tokens as usize).await?);
            }
            let places = &lists[1][..step.values.reveal as usize];
            drawn_from.push(heads.log_probabilities(index, &all, places).await?);
            kept.push(all);
            revealed.push(lists);
        }
        sums.resize(plan.len(), Vec::new());
        apart.resize(plan.len(), Vec::new());
        for start in 0..plan.len() {
            for ((state, _), values) in features.iter().zip(&kept[start]) {
                write_f32(session.executor(), state, values)?;
            }
            sums[start].resize(plan.len() - start - 1, 0.0);
            apart[start].resize(plan.len() - start - 1, 0.0);
            let (mut before, mut velocity) = (kept[start][0].clone(), 0.0);
            for step in start + 1..plan.len() {
                let lists = &revealed[step - 1];
                session.executor().write(states::NEW_IDS, &lists[0])?;
                session.executor().write(states::NEW_POSITIONS, &lists[1])?;
                session.move_features(step)?;
                let mut all = Vec::new();
                for (state, len) in &features {
                    all.push(read_f32(session.executor(), state, *len).await?);
                }
                let values = &plan[step].values;
                let places = &revealed[step][1][..values.reveal as usize];
                let by_these = heads.log_probabilities(step, &all, places).await?;
                apart[start][step - start - 1] += divergence(&drawn_from[step], &by_these);
                let found = all.swap_remove(0);
                let share = f64::from(values.reveal) / f64::from(tokens);
                sums[start][step - start - 1] += share * relative_square(&found, &kept[step][0]);
                velocity += relative_distance(&found, &before);
                let tenth = ((values.mask_ratio * 10.0) as usize).min(9);
                factors[tenth].add(relative_distance(&found, &kept[step][0]), velocity);
                before = found;
            }
        }
        tick();
    }
    let count = runs.len().max(1) as f64;
    sums.iter_mut().chain(&mut apart).flatten().for_each(|sum| *sum /= count);
    let least = Settings { refresh: Refresh::Uniform(1), ..settings.clone() }.plan(tokens)?;
    Ok(Measured { errors: sums, divergences: apart, factors, always: full_steps(&least) })
}

/// The distance from `wanted` as a share of its size, in L1 as an adaptive run has it (there of masked tokens alone).
fn relative_distance(found: &[f32], wanted: &[f32]) -> f64 {
    let apart: f64 = found.iter().zip(wanted).map(|(a, b)| f64::from((a - b).abs())).sum();
    apart / wanted.iter().map(|v| f64::from(v.abs())).sum::<f64>().max(1e-30)
}

/// The square of the distance from `wanted`, as a share of its own square.
fn relative_square(found: &[f32], wanted: &[f32]) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>();
    let apart = square(&mut found.iter().zip(wanted).map(|(a, b)| a - b));
    apart / square(&mut wanted.iter().copied()).max(1e-30)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::fixtures::{fixture, prompt, text_fixture};
    use crate::generate::model::Device;
    use crate::generate::predict::Taylor;
    use crate::generate::sampling::Sampling;
    use crate::generate::session::Shape;
    use crate::models::Batch;
    use pollster::block_on;
    use proptest::prelude::*;

    /// Every plan of a budget, by brute force.
    fn least_by_trying(errors: &[Vec<f64>], always: u32, budget: usize) -> f64 {
        let steps = errors.len();
        let plans =
            (0_u32..1 << steps).filter(|set| set & always == always && set.count_ones() as usize == budget);
        let of = |set: u32| {
            let full: Vec<usize> = (0..steps).filter(|step| set >> step & 1 == 1).collect();
            let ends = full.iter().skip(1).copied().chain([steps]);
            full.iter().zip(ends).map(|(&start, end)| stretch(errors, start, end)).sum::<f64>()
        };
        plans.map(of).fold(f64::INFINITY, f64::min)
    }

    proptest! {
        #[test]
        fn no_plan_is_better_than_the_one_that_is_found(
            steps in 1_usize..9,
            values in prop::collection::vec(0.0_f64..5.0, 64),
            also in 0_usize..9,
        ) {
            let errors: Vec<Vec<f64>> =
                (0..steps).map(|start| values[start * 7..][..steps - start - 1].to_vec()).collect();
            // The first step is always full, and often one more.
            let always = if also < steps { 1 | 1 << also } else { 1_u32 };
            let listed: Vec<u32> = (0..9).filter(|step| always >> step & 1 == 1).collect();
            let measured =
                Measured { errors: errors.clone(), divergences: errors.clone(), always: listed.clone(), ..Measured::default() };
            let reuse = Settings { sampling: Sampling::DIMOO, refresh: Refresh::Every, predictor: Predictor::Reuse };
            let schedules = Schedules::new(&reuse, 1, measured);
            prop_assert_eq!(schedules.plans.len(), steps);
            for (index, plan) in schedules.plans.iter().enumerate() {
                prop_assert_eq!((plan.len(), plan[0]), ((index + 1).max(listed.len()), 0));
                prop_assert!(listed.iter().all(|step| plan.contains(step)), "{:?}", plan);
                prop_assert!(plan.is_sorted_by(|a, b| a < b), "{:?}", plan);
                let least = least_by_trying(&errors, always, plan.len());
                prop_assert!((schedules.error(plan) - least).abs() < 1e-9, "{:?}: {} and {}", plan, schedules.error(plan), least);
            }
        }
    }

    #[test]
    fn both_families_are_measured_and_reuse_is_what_it_is() {
        let (_folder, text) = text_fixture();
        let words = prompt(&text, "w5 w17 w9");
        for (model, condition) in [(fixture(), Condition::Class(Some(2))), (text, words)] {
            let sampling = model.config.sampling.with_steps(5);
            let of = |predictor| {
                let shape = Shape::new(Batch::of(&condition, 1, true), Some(predictor));
                let mut session = Session::new(&model, shape, &Device::Cpu).unwrap();
                let settings = Settings { sampling, refresh: Refresh::Every, predictor };
                let runs = [(condition.clone(), 3), (condition.clone(), 4)];
                let mut heads = Heads::new(&model, session.shape().batch, &Device::Cpu).unwrap();
                block_on(measure(&mut session, &mut heads, &settings, &runs, &mut || {}))
            };
            let measured = of(Predictor::Reuse).unwrap();
            let errors = measured.errors.clone();
            assert_eq!(errors.iter().map(Vec::len).collect::<Vec<_>>(), [4, 3, 2, 1, 0]);
            // The error of reuse is the distance of vanilla's own features.
            let shape = Shape::new(Batch::of(&condition, 1, true), Some(Predictor::Reuse));
            let mut session = Session::new(&model, shape, &Device::Cpu).unwrap();
            let settings = Settings { sampling, refresh: Refresh::Every, predictor: Predictor::Reuse };
            let plan = settings.plan(model.family().tokens()).unwrap();
            let mut wanted = 0.0;
            for seed in [3, 4] {
                session.configure(&settings).unwrap();
                session.start(std::slice::from_ref(&condition), &[seed]).unwrap();
                let mut seen = Vec::new();
                while session.step().unwrap().is_some() {
                    seen.push(block_on(session.features()).unwrap());
                }
                let share = f64::from(plan[3].values.reveal) / f64::from(model.family().tokens());
                wanted += share * relative_square(&seen[1], &seen[3]) / 2.0;
            }
            assert!((errors[1][1] - wanted).abs() < 1e-6 * wanted, "{} and {wanted}", errors[1][1]);
            let learned = of(Predictor::Shortcut).unwrap();
            // Reuse does not move, so errors are nothing of its velocity; a shortcut's are some factor of it.
            assert!(measured.factors.iter().all(|factor| factor.value() == 1.0));
            let factors = || learned.factors.iter().map(|factor| factor.value());
            assert!(factors().any(|factor| factor != 1.0) && factors().all(|factor| factor > 0.0));
            let learned = learned.errors;
            assert!(learned.iter().flatten().all(|error| error.is_finite() && *error >= 0.0));
            assert_ne!(learned, errors);
            let error = of(Predictor::Taylor(Taylor::LINEAR)).unwrap_err().to_string();
            assert!(error.contains("only shortcut and reuse"), "{error}");
            // A plan is of the predictor and the steps that it was measured for.
            let schedules = Schedules::new(&settings, 2, measured);
            let mut all = Calibration::default();
            all.insert(Schedules { plans: Vec::new(), ..schedules.clone() });
            all.insert(schedules.clone());
            assert_eq!(all.plan(&settings, 5).unwrap(), [0, 1, 2, 3, 4]);
            // A file holds all, and held one alone at first.
            let (list, one) = (serde_json::to_vec(&all).unwrap(), serde_json::to_vec(&schedules).unwrap());
            for bytes in [list, one] {
                let read = Calibration::read(&bytes).unwrap();
                assert_eq!(read.of(&settings).unwrap().plans, schedules.plans);
                assert_eq!(read.iter().count(), 1);
            }
            let other = Settings { sampling: sampling.with_steps(6), ..settings.clone() };
            assert_eq!(
                all.of(&other),
                Some(&schedules),
                "factors of another number of steps are better than none"
            );
            all.insert(Schedules { steps: 6, ..schedules.clone() });
            assert_eq!((all.of(&settings).unwrap().steps, all.of(&other).unwrap().steps), (5, 6));
            // Guidance in an interval has plans of its own, if they were measured.
            let partly = Sampling { guidance_interval: [0.1, 0.6], ..sampling };
            let partly = Settings { sampling: partly, ..settings.clone() };
            assert_eq!(all.of(&partly), Some(&schedules));
            all.insert(Schedules { guidance_interval: [0.1, 0.6], ..schedules.clone() });
            assert_eq!(all.of(&partly).unwrap().guidance_interval, [0.1, 0.6]);
            assert_eq!(all.of(&settings), Some(&schedules));
            // Older files know squared errors alone.
            let older = Schedules { divergences: Vec::new(), ..schedules.clone() };
            assert!((older.error(&[0, 3]) - errors[0][0] - errors[0][1] - errors[3][0]).abs() < 1e-12);
            for (settings, budget, words) in [
                (settings.clone(), 6, "not between 1 and the 5"),
                (settings.clone(), 0, "not between 1 and the 5"),
                (Settings { predictor: Predictor::Shortcut, ..settings.clone() }, 2, "not for shortcut"),
                (Settings { sampling: sampling.with_steps(7), ..settings }, 2, "in 7"),
            ] {
                let error = all.plan(&settings, budget).unwrap_err().to_string();
                assert!(error.contains(words), "{error}");
            }
        }
    }
}
