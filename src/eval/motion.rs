//! How features move along a run: how alike they are from step to step, along which path they go, how much their velocity changes
//! with what it follows from, and how far off a predictor is. The paper's own argument (MIGM-Shortcut, arXiv 2602.23996, section 3):
//! features move smoothly (figure 1), where they go depends on the tokens that are drawn (figure 2), and the velocity is a function
//! of features and tokens that is locally Lipschitz (figure 3). So a small network can learn it.
//!
//! The features of step i are f(i) `[rows, width]`, of one sequence; the velocity v(i) is f(i + 1) - f(i). All sums are in f64.
//! `figures` and the studio show what is found here.

use super::plot::axes::round_step;
use super::scenes_eval::frechet::Symmetric;
use rayon::prelude::*;

/// What is meant by the similarity of the features of two steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Similarity {
    /// The mean over rows (tokens) of the cosine between a row's features at either step: every token counts alike.
    #[default]
    MeanOfTokens,
    /// The cosine between all features of either step, flattened to one vector: tokens count by the size of their features.
    Flattened,
}

impl Similarity {
    /// Both.
    pub const ALL: [Self; 2] = [Self::MeanOfTokens, Self::Flattened];

    /// In a few words.
    pub fn title(self) -> &'static str {
        match self {
            Self::MeanOfTokens => "mean of tokens' cosines",
            Self::Flattened => "cosine of all features as one vector",
        }
    }

    /// Between each two steps, `[steps, steps]`, of features `[rows, width]` each.
    pub fn between(self, features: &[&[f32]], width: usize) -> Vec<f64> {
        // As one vector, features are a single row.
        let whole = features.first().map_or(1, |values| values.len().max(1));
        let width = if self == Self::Flattened { whole } else { width.max(1) };
        let norms: Vec<Vec<f64>> = features
            .iter()
            .map(|values| values.chunks_exact(width).map(|row| dot(row, row).sqrt()).collect())
            .collect();
        symmetric(features.len(), |a, b| {
            if a == b {
                return 1.0;
            }
            let rows = features[a].chunks_exact(width).zip(features[b].chunks_exact(width));
            let cosines = rows
                .zip(norms[a].iter().zip(&norms[b]))
                .map(|((x, y), (p, q))| dot(x, y) / (p * q).max(1e-12));
            cosines.sum::<f64>() / norms[a].len().max(1) as f64
        })
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// A symmetric matrix `[count, count]` of what is found for each pair.
fn symmetric(count: usize, of: impl Fn(usize, usize) -> f64 + Sync) -> Vec<f64> {
    let rows = (0..count).into_par_iter().map(|a| (a..count).map(|b| of(a, b)).collect());
    let upper: Vec<Vec<f64>> = rows.collect();
    let at = |i: usize| {
        let (a, b) = ((i / count).min(i % count), (i / count).max(i % count));
        upper[a][b - a]
    };
    (0..count * count).map(at).collect()
}

/// Runs in the plane of the first two principal components of all their features together.
#[derive(Clone, Debug, PartialEq)]
pub struct Paths {
    /// Of each run a point for each step, in units of the spread of all points.
    pub runs: Vec<Vec<[f64; 2]>>,
    /// Share of the spread that the plane shows.
    pub explained: f64,
}

impl Paths {
    /// Of runs with features of one size each. Components come by way of the Gram matrix: there are few steps, and many features.
    pub fn of(runs: &[Vec<&[f32]>]) -> Self {
        let features: Vec<&[f32]> = runs.iter().flatten().copied().collect();
        let count = features.len();
        let mut gram = symmetric(count, |a, b| dot(features[a], features[b]));
        // Centred: features less their mean have these products.
        let means: Vec<f64> =
            gram.chunks_exact(count.max(1)).map(|row| row.iter().sum::<f64>() / count as f64).collect();
        let all = means.iter().sum::<f64>() / count as f64;
        for (i, value) in gram.iter_mut().enumerate() {
            *value += all - means[i / count] - means[i % count];
        }
        let trace: f64 = (0..count).map(|i| gram[i * count + i]).sum();
        let (eigenvalues, vectors) = Symmetric::new(count, gram).eigen();
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by(|a, b| eigenvalues[*b].total_cmp(&eigenvalues[*a]));
        let scale = (trace.max(1e-30) / count as f64).sqrt();
        let component = |rank: usize, point: usize| {
            order
                .get(rank)
                .map_or(0.0, |&at| eigenvalues[at].max(0.0).sqrt() * vectors[at * count + point] / scale)
        };
        let shown: f64 = order.iter().take(2).map(|&at| eigenvalues[at].max(0.0)).sum();
        let mut points = (0..count).map(|point| [component(0, point), component(1, point)]);
        let runs = runs.iter().map(|run| points.by_ref().take(run.len()).collect()).collect();
        Self { runs, explained: shown / trace.max(1e-30) }
    }
}

/// What a step revealed, embedded as the shortcut is given it. Tokens that the step did not reveal count as zeros, so that steps with
/// other numbers of new tokens can be compared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewTokens {
    /// Positions in the grid, in ascending order.
    pub positions: Vec<u32>,
    /// Their embeddings `[positions, width]`.
    pub embeddings: Vec<f32>,
}

impl NewTokens {
    /// The square of the distance to those of another step.
    fn square_to(&self, other: &Self) -> f64 {
        let width = |new: &'_ Self| new.embeddings.len().checked_div(new.positions.len()).unwrap_or(0);
        let width = width(self).max(width(other));
        let row = |at: usize| at * width..(at + 1) * width;
        let mut sum = 0.0;
        for (at, position) in self.positions.iter().enumerate() {
            let own = &self.embeddings[row(at)];
            sum += match other.positions.binary_search(position) {
                Ok(there) => {
                    let apart = own.iter().zip(&other.embeddings[row(there)]);
                    apart.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
                }
                Err(_) => dot(own, own),
            };
        }
        for (at, position) in other.positions.iter().enumerate() {
            if self.positions.binary_search(position).is_err() {
                let row = &other.embeddings[row(at)];
                sum += dot(row, row);
            }
        }
        sum
    }
}

/// What a Lipschitz ratio holds the change of the velocity against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LipschitzOver {
    /// L(i) = |v(i + 1) - v(i)| / |f(i + 1) - f(i)|: the features alone.
    Features,
    /// L(i) = |v(i + 1) - v(i)| / |(f(i + 1), e(i + 1)) - (f(i), e(i))|: features and embeddings e(i) of the tokens that step i
    /// revealed, which are the inputs that the shortcut has. That is figure 3 of the paper.
    FeaturesAndNewTokens,
}

impl LipschitzOver {
    /// In a few words.
    pub fn title(self) -> &'static str {
        match self {
            Self::Features => "over features alone",
            Self::FeaturesAndNewTokens => "over features and embeddings of the new tokens",
        }
    }
}

/// Lipschitz ratios of consecutive steps over [features alone](LipschitzOver::Features), or, where `new_tokens` has what each step
/// revealed, over [both](LipschitzOver::FeaturesAndNewTokens). There are two fewer than steps; `None` where the inputs did not move, as
/// between steps that reuse features.
pub fn lipschitz(features: &[&[f32]], new_tokens: Option<&[NewTokens]>) -> Vec<Option<f64>> {
    let ratio = |i: usize| {
        let [first, second, third] = [features[i], features[i + 1], features[i + 2]];
        let (mut change, mut moved) = (0.0, 0.0);
        for ((a, b), c) in first.iter().zip(second).zip(third) {
            let [a, b, c] = [*a, *b, *c].map(f64::from);
            change += (c - 2.0 * b + a).powi(2);
            moved += (b - a).powi(2);
        }
        if let Some([before, after]) = new_tokens.and_then(|new| new.get(i..i + 2)) {
            moved += before.square_to(after);
        }
        (moved > 0.0).then(|| (change / moved).sqrt())
    };
    (0..features.len().saturating_sub(2)).into_par_iter().map(ratio).collect()
}

/// Values counted in bins of one width, a round one.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Where the first bin begins: a multiple of the width.
    pub first: f64,
    /// Of a bin.
    pub width: f64,
    /// Values in each; those on an edge are in the bin that begins there.
    pub counts: Vec<usize>,
}

impl Histogram {
    /// Of values in about twice as many bins as their number's root, from 5 to 40; `None` of no value.
    pub fn of(values: &[f64]) -> Option<Self> {
        let bins = (2.0 * (values.len() as f64).sqrt()).clamp(5.0, 40.0);
        let low = values.iter().copied().reduce(f64::min)?;
        let high = values.iter().copied().reduce(f64::max)?;
        // Values that are all alike have a bin to themselves.
        let spread = if high > low { high - low } else { high.abs().max(1e-3) };
        let width = round_step(spread / bins);
        // What a rounding puts just below an edge belongs to it.
        let bin = |value: f64| (value / width + 1e-9).floor() as i64;
        let first = bin(low);
        let mut counts = vec![0; (bin(high) - first) as usize + 1];
        values.iter().for_each(|&value| counts[(bin(value) - first) as usize] += 1);
        Some(Self { first: first as f64 * width, width, counts })
    }
}

/// The middle one of some values, or the mean of the middle two; `None` of no value.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    Some(if values.len().is_multiple_of(2) { (values[values.len() / 2 - 1] + upper) / 2.0 } else { upper })
}

/// A full step, and how far off the features were that it replaced, as shares of the size of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Refreshed {
    /// The step.
    pub step: usize,
    /// Steps since the full step before: predictions in a row, the one that is held against this step included.
    pub chain: usize,
    /// Of what the predictor would have made.
    pub predicted: f64,
    /// Of the features of the step before, as they were.
    pub reused: f64,
}

/// Errors of chains of one length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OfChain {
    /// Predictions in a row.
    pub length: usize,
    /// Mean error of the features that the last of them made.
    pub predicted: f64,
    /// Mean error of the features before it, as they were, where that was measured.
    pub reused: Option<f64>,
    /// How many were measured.
    pub count: usize,
}

/// Means by length of chain, the shortest first.
pub fn by_chain(refreshed: &[Refreshed]) -> Vec<OfChain> {
    let longest = refreshed.iter().map(|r| r.chain).max().unwrap_or(0);
    let of = |length: usize| {
        let these: Vec<&Refreshed> = refreshed.iter().filter(|r| r.chain == length).collect();
        let mean =
            |of: fn(&Refreshed) -> f64| these.iter().map(|r| of(r)).sum::<f64>() / these.len().max(1) as f64;
        let (predicted, reused) = (mean(|r| r.predicted), Some(mean(|r| r.reused)));
        (!these.is_empty()).then_some(OfChain { length, predicted, reused, count: these.len() })
    };
    (1..=longest).filter_map(of).collect()
}

/// The error of features that were predicted from a full step on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibrated {
    /// The full step.
    pub start: usize,
    /// Predictions in a row: the features are those of step `start + length`.
    pub length: usize,
    /// Root of the mean square over runs, as a share of the size of vanilla's features.
    pub error: f64,
}

/// What [`Schedules::errors`](crate::generate::calibrate::Schedules::errors) says of features alone: there squares are weighted with
/// `shares`, the share of all tokens that each step reveals, which is taken out here. Steps that reveal nothing say nothing.
pub fn calibrated(errors: &[Vec<f64>], shares: &[f64]) -> Vec<Calibrated> {
    let of = |(start, row): (usize, &Vec<f64>)| {
        let of = |(at, &weighted): (usize, &f64)| {
            let length = at + 1;
            let share = shares.get(start + length).copied().filter(|share| *share > 0.0)?;
            Some(Calibrated { start, length, error: (weighted / share).sqrt() })
        };
        row.iter().enumerate().filter_map(of).collect::<Vec<_>>()
    };
    errors.iter().enumerate().flat_map(of).collect()
}

/// Means over all starts by length of chain, the shortest first.
pub fn calibrated_by_chain(errors: &[Calibrated]) -> Vec<OfChain> {
    let longest = errors.iter().map(|found| found.length).max().unwrap_or(0);
    let of = |length: usize| {
        let these: Vec<f64> = errors.iter().filter(|e| e.length == length).map(|e| e.error).collect();
        let predicted = these.iter().sum::<f64>() / these.len().max(1) as f64;
        (!these.is_empty()).then_some(OfChain { length, predicted, reused: None, count: these.len() })
    };
    (1..=longest).filter_map(of).collect()
}

#[cfg(test)]
#[path = "motion_tests.rs"]
mod tests;
