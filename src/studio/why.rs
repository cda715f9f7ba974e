//! Why it works, for one run: how alike features are from step to step, and along which path they move. The paper's own argument
//! (section 3, figures 2 and 3): last-layer features move smoothly, so a small network can predict the move.

use super::run::Run;
use crate::eval::scenes_eval::frechet::Symmetric;

/// Features of a run's steps, seen together.
#[derive(Clone, Debug, PartialEq)]
pub struct Analysis {
    /// The steps whose features are known, in order.
    pub steps: Vec<usize>,
    /// Mean cosine similarity of tokens' features between each two of them, `[steps, steps]`.
    pub similarity: Vec<f64>,
    /// Where each lies in the plane of the first two principal components, in units of the path's own spread.
    pub path: Vec<[f64; 2]>,
    /// Share of the spread that the plane shows.
    pub explained: f64,
    /// Refreshes after predicted steps, in order.
    pub refreshes: Vec<Refreshed>,
}

/// A full step after predicted ones: how far off the features were that it replaced, as shares of the size of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Refreshed {
    /// The step.
    pub step: usize,
    /// Of what the predictor would have made.
    pub predicted: f64,
    /// Of the features of the step before, as they were.
    pub reused: f64,
}

impl Analysis {
    /// Of a run whose features were traced; `None` of fewer than two steps.
    pub fn of(run: &Run) -> Option<Self> {
        let mut traced: Vec<(usize, &[f32], usize)> = run
            .steps
            .iter()
            .filter_map(|done| done.features.as_ref().map(|f| (done.step, &f.values[..], f.width)))
            .collect();
        traced.sort_by_key(|(step, ..)| *step);
        traced.dedup_by_key(|(step, ..)| *step);
        let width = traced.first()?.2.max(1);
        if traced.len() < 2 || traced.iter().any(|(_, values, _)| values.len() != traced[0].1.len()) {
            return None;
        }
        let features: Vec<&[f32]> = traced.iter().map(|(_, values, _)| *values).collect();
        let (path, explained) = principal_path(&features);
        let refreshes = run.steps.iter().filter_map(|done| {
            Some(Refreshed { step: done.step, predicted: done.missed?, reused: run.moved(done.step)? })
        });
        Some(Self {
            steps: traced.iter().map(|(step, ..)| *step).collect(),
            similarity: similarities(&features, width),
            path,
            explained,
            refreshes: refreshes.collect(),
        })
    }

    /// The similarity of two known steps, by their place in [`Self::steps`].
    pub fn between(&self, a: usize, b: usize) -> f64 {
        self.similarity[a * self.steps.len() + b]
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn similarities(features: &[&[f32]], width: usize) -> Vec<f64> {
    let count = features.len();
    let norms: Vec<Vec<f64>> = features
        .iter()
        .map(|values| values.chunks_exact(width).map(|row| dot(row, row).sqrt()).collect())
        .collect();
    let mut out = vec![1.0; count * count];
    for a in 0..count {
        for b in a + 1..count {
            let rows = features[a].chunks_exact(width).zip(features[b].chunks_exact(width));
            let cosines = rows
                .zip(norms[a].iter().zip(&norms[b]))
                .map(|((x, y), (p, q))| dot(x, y) / (p * q).max(1e-12));
            let mean = cosines.sum::<f64>() / norms[a].len().max(1) as f64;
            (out[a * count + b], out[b * count + a]) = (mean, mean);
        }
    }
    out
}

/// Principal components by way of the Gram matrix: there are few steps, and many features.
fn principal_path(features: &[&[f32]]) -> (Vec<[f64; 2]>, f64) {
    let count = features.len();
    let mut gram = vec![0.0; count * count];
    for a in 0..count {
        for b in a..count {
            let product = dot(features[a], features[b]);
            (gram[a * count + b], gram[b * count + a]) = (product, product);
        }
    }
    // Centred: features less their mean have these products.
    let means: Vec<f64> =
        gram.chunks_exact(count).map(|row| row.iter().sum::<f64>() / count as f64).collect();
    let all = means.iter().sum::<f64>() / count as f64;
    for (i, value) in gram.iter_mut().enumerate() {
        *value += all - means[i / count] - means[i % count];
    }
    let trace: f64 = (0..count).map(|i| gram[i * count + i]).sum();
    let (eigenvalues, vectors) = Symmetric::new(count, gram).eigen();
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|a, b| eigenvalues[*b].total_cmp(&eigenvalues[*a]));
    let scale = (trace.max(1e-30) / count as f64).sqrt();
    let component = |rank: usize, step: usize| {
        order
            .get(rank)
            .map_or(0.0, |&at| eigenvalues[at].max(0.0).sqrt() * vectors[at * count + step] / scale)
    };
    let shown: f64 = order.iter().take(2).map(|&at| eigenvalues[at].max(0.0)).sum();
    ((0..count).map(|step| [component(0, step), component(1, step)]).collect(), shown / trace.max(1e-30))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similarity_is_of_tokens_and_symmetric() {
        let (a, b) = ([1.0, 0.0, 0.0, 2.0], [2.0, 0.0, 3.0, 0.0]);
        let found = similarities(&[&a, &b], 2);
        // The first token's features point the same way, the second's are at right angles.
        assert_eq!(found, [1.0, 0.5, 0.5, 1.0]);
    }

    #[test]
    fn a_straight_path_lies_on_a_line_and_a_circle_in_a_plane() {
        let lines: Vec<Vec<f32>> = (0..6).map(|i| vec![i as f32, 2.0 * i as f32, 5.0]).collect();
        let lines: Vec<&[f32]> = lines.iter().map(Vec::as_slice).collect();
        let (path, explained) = principal_path(&lines);
        assert!((explained - 1.0).abs() < 1e-9, "{explained}");
        assert!(path.iter().all(|point| point[1].abs() < 1e-6), "{path:?}");
        let step = path[1][0] - path[0][0];
        assert!(path.windows(2).all(|pair| (pair[1][0] - pair[0][0] - step).abs() < 1e-9), "{path:?}");

        let circle: Vec<Vec<f32>> = (0..8)
            .map(|i| {
                let angle = i as f32 * std::f32::consts::FRAC_PI_4;
                vec![angle.cos(), angle.sin(), 0.0, 1.0]
            })
            .collect();
        let circle: Vec<&[f32]> = circle.iter().map(Vec::as_slice).collect();
        let (path, explained) = principal_path(&circle);
        assert!((explained - 1.0).abs() < 1e-6, "{explained}");
        let radius = |point: &[f64; 2]| point[0].hypot(point[1]);
        assert!(path.iter().all(|point| (radius(point) - radius(&path[0])).abs() < 1e-6), "{path:?}");
    }
}
