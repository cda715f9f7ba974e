//! Why it works, for one run: what [`motion`](crate::eval::motion) finds of its traced features.

use super::run::Run;
use crate::eval::motion::{Paths, Similarity, lipschitz};
use crate::generate::session::StepKind;

pub use crate::eval::motion::Refreshed;

/// Features of a run's steps, seen together.
#[derive(Clone, Debug, PartialEq)]
pub struct Analysis {
    /// The steps whose features are known, in order.
    pub steps: Vec<usize>,
    /// Mean cosine similarity of tokens' features between each two of them, `[steps, steps]`.
    pub similarity: Vec<f64>,
    /// The cosine of all features as one vector, likewise.
    pub flattened: Vec<f64>,
    /// Where each lies in the plane of the first two principal components, in units of the path's own spread.
    pub path: Vec<[f64; 2]>,
    /// The paths of runs that it branched from, and of those that branched from it, in the same plane.
    pub relatives: Vec<Vec<[f64; 2]>>,
    /// Share of the spread that the plane shows.
    pub explained: f64,
    /// Lipschitz ratios over features alone, of consecutive steps whose features moved: what is embedded of new tokens is not known
    /// here.
    pub lipschitz: Vec<f64>,
    /// Refreshes after predicted steps, in order.
    pub refreshes: Vec<Refreshed>,
}

/// The steps whose features are known, in order.
fn traced(run: &Run) -> Vec<(usize, &[f32], usize)> {
    let mut traced: Vec<(usize, &[f32], usize)> = run
        .steps
        .iter()
        .filter_map(|done| done.features.as_ref().map(|f| (done.step, &f.values[..], f.width)))
        .collect();
    traced.sort_by_key(|(step, ..)| *step);
    traced.dedup_by_key(|(step, ..)| *step);
    traced
}

impl Analysis {
    /// Of a run whose features were traced, beside relatives; `None` of fewer than two steps.
    pub fn of(run: &Run, relatives: &[&Run]) -> Option<Self> {
        let traced = traced(run);
        let width = traced.first()?.2.max(1);
        if traced.len() < 2 || traced.iter().any(|(_, values, _)| values.len() != traced[0].1.len()) {
            return None;
        }
        let features: Vec<&[f32]> = traced.iter().map(|(_, values, _)| *values).collect();
        let [similarity, flattened] = Similarity::ALL.map(|by| by.between(&features, width));
        let consecutive = traced.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1);
        let ratios = if consecutive { lipschitz(&features, None) } else { Vec::new() };
        let fits = |(_, values, _): &(usize, &[f32], usize)| values.len() == features[0].len();
        let others = relatives.iter().map(|other| self::traced(other)).filter(|steps| steps.iter().all(fits));
        let mut all = vec![features.clone()];
        all.extend(others.map(|steps| steps.into_iter().map(|(_, values, _)| values).collect::<Vec<_>>()));
        let mut paths = Paths::of(&all);
        let relatives = paths.runs.split_off(1);
        // Steps up to this one since the full step before.
        let chain = |step: usize| {
            let before = run.plan.get(..step).unwrap_or_default().iter().rev();
            1 + before.take_while(|note| note.kind == StepKind::Predicted).count()
        };
        let refreshes = run.steps.iter().filter_map(|done| {
            let (step, predicted) = (done.step, done.missed?);
            Some(Refreshed { step, chain: chain(step), predicted, reused: run.moved(step)? })
        });
        Some(Self {
            steps: traced.iter().map(|(step, ..)| *step).collect(),
            similarity,
            flattened,
            path: paths.runs.pop()?,
            relatives,
            explained: paths.explained,
            lipschitz: ratios.into_iter().flatten().collect(),
            refreshes: refreshes.collect(),
        })
    }

    /// The similarity of two known steps, by their place in [`Self::steps`].
    pub fn between(&self, a: usize, b: usize) -> f64 {
        self.similarity[a * self.steps.len() + b]
    }

    /// Similarities `[steps, steps]` by either definition.
    pub fn similarities(&self, by: Similarity) -> &[f64] {
        match by {
            Similarity::MeanOfTokens => &self.similarity,
            Similarity::Flattened => &self.flattened,
        }
    }
}
