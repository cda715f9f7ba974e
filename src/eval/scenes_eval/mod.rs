//! `migm eval`: how well pictures show what was asked for, by method and time.
//!
//! Every method makes pictures of the same prompts (or classes) from the same seeds; the [`judge`] reads them as it reads real
//! scenes, and the [`table`] and the [`plot`] put quality beside seconds. [`source`] is where real scenes come from, [`makers`]
//! make pictures with sessions of `generate`, by `workers` if there are such, what each method [`made`] is put together, [`methods`] are sets of them by name, [`samples`] writes pictures for the tools of others,
//! [`compare`] holds methods against each other, [`refreshes`] predictors against full steps, [`coherence`] and [`diversity`] say what the judge's marks do not, [`stats`],
//! [`significance`] and [`frechet`] are the arithmetic. The command line calls [`evaluate`].

pub mod coherence;
pub mod compare;
pub mod diversity;
pub mod frechet;
pub mod judge;
pub mod made;
pub mod makers;
pub mod methods;
pub mod plot;
pub mod refreshes;
pub mod samples;
pub mod significance;
pub mod source;
pub mod stats;
pub mod table;
mod workers;

use crate::generate::GenerateError;
use crate::generate::predict::Predictor;
use crate::generate::refresh::Refresh;
use compare::{Comparison, Spread};
use diversity::Diversity;
use frechet::Moments;
use judge::{ATTRIBUTES, Judge, Marks, Verdicts, all_right};
use made::Made;
use makers::{Maker, Method};
use plot::By;
use significance::Paired;
use source::{RealScene, Wanted};
use stats::{Mean, Share, agreement, relative_error};

/// What is compared.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Steps of the model at its best: what everything is held to.
    pub steps: u32,
    /// Numbers of full steps for each predictor.
    pub budgets: Vec<u32>,
    /// What stands in at the other steps.
    pub predictors: Vec<Predictor>,
    /// Methods beside these.
    pub others: Vec<Method>,
    /// Pictures of each method that budgets and predictors bring, vanilla with all steps aside; all, where it says nothing.
    pub fewer: Option<u32>,
    /// Whether predictors are held against full steps, which takes runs of their own.
    pub refreshes: bool,
    /// Rounds in which methods are timed before anything else; 0 takes times from the pictures' own batches.
    pub rounds: u32,
}

impl Plan {
    /// Budgets where nobody says which: a quarter, a sixth and an eighth of the steps.
    pub fn default_budgets(steps: u32) -> Vec<u32> {
        let mut budgets: Vec<u32> = [8, 6, 4].iter().map(|parts| (steps / parts).max(1)).collect();
        budgets.dedup();
        budgets
    }

    /// The methods, the reference first: vanilla with all steps, with parts of them, and with as many as each budget has
    /// full ones; then every predictor with every budget.
    ///
    /// # Errors
    /// No steps, no budgets, or one that is not between 1 and the steps.
    pub fn methods(&self) -> Result<Vec<Method>, GenerateError> {
        let steps = self.steps;
        let refuse = |message: String| Err(GenerateError::Setting(message));
        if steps == 0 {
            return refuse("generation needs at least 1 step".to_owned());
        }
        if let Some(budget) = self.budgets.iter().find(|budget| !(1..=steps).contains(*budget)) {
            return refuse(format!("a budget of {budget} full steps is not between 1 and the {steps} steps"));
        }
        let mut vanilla: Vec<u32> = (1..=4).map(|parts| (steps / parts).max(1)).collect();
        vanilla.extend(&self.budgets);
        vanilla.sort_unstable_by(|a, b| b.cmp(a));
        vanilla.dedup();
        if self.budgets.is_empty() && !self.others.is_empty() {
            // Only what was asked for, and what it is held to.
            vanilla = vec![steps];
        }
        let few = |method: Method| Method { pictures: self.fewer, ..method };
        let vanilla = vanilla.into_iter().map(|own| match Method::vanilla(own) {
            reference if own == steps => reference,
            other => few(other),
        });
        let mut budgets = self.budgets.clone();
        budgets.sort_unstable_by(|a, b| b.cmp(a));
        budgets.dedup();
        let accelerated = self.predictors.iter().flat_map(|&predictor| {
            let refresh = budgets.iter().map(|&budget| Refresh::Uniform(budget));
            refresh.map(move |refresh| few(Method::accelerated(steps, predictor, refresh)))
        });
        let mut methods: Vec<Method> = Vec::new();
        for method in vanilla.chain(accelerated).chain(self.others.iter().cloned()) {
            match methods.iter_mut().find(|known| known.is_as(&method)) {
                // Asked for twice: as many as either wants.
                Some(known) => {
                    known.pictures = known.pictures.zip(method.pictures).map(|(one, other)| one.max(other));
                }
                None => methods.push(method),
            }
        }
        // Methods of one predictor one after the other: they share a session. The reference stays first.
        let firsts: Vec<usize> = methods
            .iter()
            .map(|method| methods.iter().position(|first| first.predictor == method.predictor).unwrap_or(0))
            .collect();
        let mut order: Vec<usize> = (0..methods.len()).collect();
        order.sort_by_key(|&index| firsts[index]);
        Ok(order.into_iter().map(|index| methods[index].clone()).collect())
    }
}

/// How right some pictures are.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Quality {
    /// By attribute of [`ATTRIBUTES`]: of the pictures whose prompt states it, how many have it right.
    pub attributes: [Option<Share>; ATTRIBUTES.len()],
    /// The share of a picture's stated attributes that are right, over all pictures.
    pub mean: Option<Mean>,
    /// Pictures with everything right that was stated, and whole.
    pub all: Option<Share>,
    /// Distance of the judge's features to those of as many real scenes.
    pub frechet: Option<f64>,
}

/// What a method gave.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Row {
    /// `vanilla`, or the predictor's name.
    pub method: String,
    /// Steps that were run.
    pub steps: usize,
    /// Full ones among them.
    pub full_steps: usize,
    /// Both in the mean over all pictures, where runs decide for themselves.
    pub mean_steps: [f64; 2],
    /// Wall-clock seconds of the steps, for one picture.
    pub seconds_per_image: f64,
    /// The same of decoding.
    pub decode_seconds_per_image: f64,
    /// Times faster than vanilla with all steps, decoding aside.
    pub speed_up: f64,
    /// Billions of floating-point operations of the steps, counted, for one picture.
    pub gflop_per_image: f64,
    /// The same in guided full steps of vanilla: the mean over its run.
    pub full_step_equivalents: f64,
    /// Whether no other method is both as fast and as often all right.
    pub front_by_seconds: bool,
    /// Whether no other method both takes as few operations and is as often all right.
    pub front_by_flops: bool,
    /// What the judge read.
    #[serde(flatten)]
    pub quality: Quality,
    /// All right or not, against vanilla with all steps; none of that itself.
    pub versus_vanilla: Option<Paired>,
    /// By noun.
    pub spread: Spread,
    /// Mean log-likelihood of a code given three quarters of the others, in nats.
    pub coherence: Option<Mean>,
    /// How much pictures of one prompt differ, where it was measured.
    pub diversity: Option<Diversity>,
    /// Share of tokens equal to vanilla's with all steps.
    pub token_agreement: f64,
    /// Relative L2 distance of the last features from vanilla's with all steps, of the first pictures.
    pub feature_error: f64,
    /// The predictor's at full steps, where it was held against them.
    pub refresh_error: Option<Mean>,
}

/// Everything that was found.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Report {
    /// The judge read these as it reads pictures: real scenes of the same prompts, and their distance to the real scenes that
    /// pictures are compared with; none where there is no source of them.
    pub real: Option<Quality>,
    /// Of real scenes, as the tokenizer encodes them.
    pub real_coherence: Option<Mean>,
    /// Of real scenes, where it was measured.
    pub real_diversity: Option<Diversity>,
    /// Of how many pictures diversity is.
    pub diversity_of: Option<diversity::Size>,
    /// The methods, vanilla with all steps first.
    pub rows: Vec<Row>,
    /// Methods against each other.
    pub comparisons: Vec<Comparison>,
    /// Pictures of each method but those that say how many they make, and real scenes on either side of a distance.
    pub pictures: usize,
    /// Width of the judge's features.
    pub features: u32,
    /// Rounds in which methods were timed before; 0 where times are of the pictures' own batches.
    pub rounds: u32,
}

/// Names of predictors, as the command line has them.
pub fn name_of(predictor: Option<Predictor>) -> String {
    predictor.map_or_else(|| "vanilla".to_owned(), |predictor| predictor.to_string())
}

/// Real scenes: those that the prompts are of, if there are such, and as many others to compare pictures with.
#[derive(Clone, Debug, Default)]
pub struct Real {
    /// In the order of the prompts.
    pub asked: Vec<RealScene>,
    /// Others of the same kind.
    pub others: Vec<RealScene>,
}

/// Takes what a method made.
pub type Keep<'a> = dyn FnMut(&Method, &Made) -> Result<(), GenerateError> + 'a;

/// Makes and judges everything. `keep` is given what every method made, and `tick` is told of every method before it is run.
///
/// # Errors
/// The device failed, the plan makes no sense, model and judge are of different sizes, or `keep` failed.
pub fn evaluate(
    maker: &mut Maker<'_>,
    judge: &mut Judge,
    real: &Real,
    plan: &Plan,
    keep: &mut Keep<'_>,
    tick: &mut dyn FnMut(&str),
) -> Result<Report, GenerateError> {
    let methods = plan.methods()?;
    maker.check(&methods)?;
    let [rows, columns] = maker.size()?;
    if [rows, columns] != [judge.config.size; 2] {
        let size = judge.config.size;
        let message = format!(
            "the model's pictures are of {columns} x {rows} pixels, and the judge reads {size} x {size}; use a judge of that size"
        );
        return Err(GenerateError::Setting(message));
    }
    let width = judge.config.features() as usize;
    let reference = Moments::of(&read_real(judge, &real.others)?.features, width);
    let distance = |features: &[f32]| Some(Moments::of(features, width)?.distance(reference.as_ref()?));
    let judged_real = if real.asked.is_empty() {
        None
    } else {
        let verdicts = read_real(judge, &real.asked)?;
        let marks = marks(&verdicts, real.asked.iter().map(|scene| &scene.wanted));
        Some(quality(&marks, distance(&verdicts.features)))
    };

    let nouns: Vec<usize> =
        maker.wanted().iter().map(|wanted| wanted.nouns.first().copied().unwrap_or_default()).collect();
    let mut rows: Vec<Row> = Vec::with_capacity(methods.len());
    let mut right: Vec<Vec<bool>> = Vec::with_capacity(methods.len());
    let mut codes: Vec<Vec<u32>> = Vec::with_capacity(methods.len());
    let times = match plan.rounds {
        0 => Vec::new(),
        rounds => {
            tick("times");
            maker.time(&methods, rounds, &mut || tick(""))?
        }
    };
    let mut plans = Vec::with_capacity(methods.len());
    let mut vanilla = Made::default();
    // Methods with one predictor share what a session loads and makes.
    for group in methods.chunk_by(|a, b| a.predictor == b.predictor) {
        let predictor = group.first().and_then(|method| method.predictor);
        tick(&name_of(predictor));
        let made = maker.make(predictor, group, &mut || tick(""))?;
        for (method, mut made) in group.iter().zip(made) {
            if let Some(&apart) = times.get(rows.len()) {
                [made.seconds, made.decode_seconds] = apart;
            }
            if rows.is_empty() {
                vanilla = made.clone();
            }
            keep(method, &made)?;
            let verdicts = judge.read(&made.pictures)?;
            let marks = marks(&verdicts, maker.wanted().iter());
            right.push(marks.iter().map(all_right).collect());
            let (Some(first), Some(last)) = (right.first(), right.last()) else { continue };
            rows.push(Row {
                method: method.label(),
                steps: made.mean_steps[0].round() as usize,
                full_steps: made.mean_steps[1].round() as usize,
                mean_steps: made.mean_steps,
                seconds_per_image: made.seconds,
                decode_seconds_per_image: made.decode_seconds,
                speed_up: vanilla.seconds / made.seconds,
                gflop_per_image: made.flops * 1e-9,
                full_step_equivalents: made.flops / vanilla.full_step_flops,
                front_by_seconds: false,
                front_by_flops: false,
                // Distances of fewer pictures are larger.
                quality: quality(&marks, distance(&verdicts.features).filter(|_| marks.len() == nouns.len())),
                versus_vanilla: if rows.is_empty() { None } else { Paired::of(last, first) },
                spread: compare::spread(last, first, &nouns, &judge.config.nouns),
                coherence: None,
                diversity: None,
                token_agreement: agreement(&made.tokens, first_of(&vanilla.tokens, made.tokens.len())),
                feature_error: relative_error(
                    &made.features,
                    first_of(&vanilla.features, made.features.len()),
                ),
                refresh_error: None,
            });
            plans.push(made.plans);
            codes.push(made.tokens);
        }
    }
    tick("coherence");
    let sets: Vec<&[u32]> = codes.iter().map(Vec::as_slice).collect();
    for (row, values) in rows.iter_mut().zip(maker.coherence(&sets, &mut || tick(""))?) {
        row.coherence = Mean::of_values(&values);
    }
    let real_coherence = Mean::of_values(&maker.coherence_of_real(&real.asked, &mut || tick(""))?);
    if plan.refreshes {
        tick("errors at refreshes");
        for ((row, method), plans) in rows.iter_mut().zip(&methods).zip(&plans) {
            row.refresh_error = Mean::of_values(&maker.errors_at_refreshes(method, plans, &mut || tick(""))?);
        }
    }
    let fronts = [By::Seconds, By::Flops].map(|by| compare::front(&rows, by));
    for (index, row) in rows.iter_mut().enumerate() {
        [row.front_by_seconds, row.front_by_flops] = [fronts[0][index], fronts[1][index]];
    }
    let pictures = maker.wanted().len();
    let comparisons = compare::comparisons(&rows, &right);
    Ok(Report {
        real: judged_real,
        real_coherence,
        real_diversity: None,
        diversity_of: None,
        rows,
        comparisons,
        pictures,
        features: judge.config.features(),
        rounds: plan.rounds,
    })
}

/// The first of some values, or all.
fn first_of<T>(values: &[T], count: usize) -> &[T] {
    values.get(..count).unwrap_or(values)
}

/// What the judge reads of real scenes.
fn read_real(judge: &mut Judge, scenes: &[RealScene]) -> Result<Verdicts, GenerateError> {
    let mut verdicts = Verdicts::default();
    // A few at a time: as floats they take four times their room.
    for scenes in scenes.chunks(256) {
        let bytes = scenes.iter().flat_map(|scene| &scene.pixels);
        let values: Vec<f32> = bytes.map(|&byte| f32::from(byte) / 127.5 - 1.0).collect();
        let read = judge.read(&values)?;
        verdicts.seen.extend(read.seen);
        verdicts.features.extend(read.features);
    }
    Ok(verdicts)
}

/// What pictures have right, each held to what it was asked for.
fn marks<'a>(verdicts: &Verdicts, wanted: impl Iterator<Item = &'a Wanted>) -> Vec<Marks> {
    verdicts.seen.iter().zip(wanted).map(|(seen, wanted)| seen.marks(wanted)).collect()
}

fn quality(marks: &[Marks], frechet: Option<f64>) -> Quality {
    let right = |marks: &mut dyn Iterator<Item = bool>| {
        let (mut right, mut of) = (0, 0);
        marks.for_each(|mark| (right, of) = (right + usize::from(mark), of + 1));
        (right, of)
    };
    let by_attribute = |index: usize| {
        let (right, of) = right(&mut marks.iter().filter_map(|marks| marks[index]));
        Share::new(right, of)
    };
    let each: Vec<(usize, usize)> =
        marks.iter().map(|marks| right(&mut marks.iter().flatten().copied())).collect();
    let shares: Vec<f64> = each.iter().map(|&(right, of)| right as f64 / of.max(1) as f64).collect();
    Quality {
        attributes: std::array::from_fn(by_attribute),
        mean: Mean::of_shares(&shares),
        all: Share::new(marks.iter().filter(|marks| all_right(marks)).count(), marks.len()),
        frechet,
    }
}

#[cfg(test)]
#[path = "eval_tests.rs"]
mod tests;
