//! The Fréchet distance of two sets of features, each taken for a normal distribution (Dowson and Landau 1982; Heusel et
//! al. 2017, arXiv 1706.08500, have it over Inception's features).
//!
//! `|m - n|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2)`: the roots are of symmetric matrices, so their eigenvalues are enough. Few
//! samples bias it upwards, by about `width / samples` times the variances: figures are comparable at one number of samples.

/// Mean and covariance of features.
#[derive(Clone, Debug)]
pub struct Moments {
    /// The mean `[width]`.
    pub mean: Vec<f64>,
    /// The covariance.
    pub covariance: Symmetric,
}

/// A symmetric matrix, all of it, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Symmetric {
    size: usize,
    values: Vec<f64>,
}

impl Moments {
    /// Of features `[samples, width]`; `None` of fewer than two samples, which have no covariance.
    pub fn of(features: &[f32], width: usize) -> Option<Self> {
        let samples = features.len().checked_div(width)?;
        if samples < 2 {
            return None;
        }
        let mut mean = vec![0.0; width];
        for row in features.chunks_exact(width) {
            mean.iter_mut().zip(row).for_each(|(sum, v)| *sum += f64::from(*v));
        }
        mean.iter_mut().for_each(|sum| *sum /= samples as f64);
        let mut values = vec![0.0; width * width];
        let mut apart = vec![0.0; width];
        for row in features.chunks_exact(width) {
            apart.iter_mut().zip(row.iter().zip(&mean)).for_each(|(d, (v, m))| *d = f64::from(*v) - m);
            for (sums, d) in values.chunks_exact_mut(width).zip(&apart) {
                sums.iter_mut().zip(&apart).for_each(|(sum, e)| *sum += d * e);
            }
        }
        values.iter_mut().for_each(|sum| *sum /= (samples - 1) as f64);
        Some(Self { mean, covariance: Symmetric { size: width, values } })
    }

    /// The distance to others of the same width.
    pub fn distance(&self, other: &Self) -> f64 {
        let means: f64 = self.mean.iter().zip(&other.mean).map(|(a, b)| (a - b).powi(2)).sum();
        let root = self.covariance.sqrt();
        let product = root.times(&other.covariance).times(&root).symmetrised();
        let roots: f64 = product.eigen().0.iter().map(|v| v.max(0.0).sqrt()).sum();
        // Of two equal sets, rounding may leave a little less than nothing.
        (means + self.covariance.trace() + other.covariance.trace() - 2.0 * roots).max(0.0)
    }
}

impl Symmetric {
    fn trace(&self) -> f64 {
        self.values.iter().step_by(self.size + 1).sum()
    }

    /// The matrix product, which need not be symmetric: that is for [`Self::symmetrised`].
    fn times(&self, other: &Self) -> Self {
        let size = self.size;
        let mut values = vec![0.0; size * size];
        for (out, row) in values.chunks_exact_mut(size).zip(self.values.chunks_exact(size)) {
            for (&factor, other) in row.iter().zip(other.values.chunks_exact(size)) {
                out.iter_mut().zip(other).for_each(|(sum, v)| *sum += factor * v);
            }
        }
        Self { size, values }
    }

    /// The mean of this and its transpose: takes away what rounding did.
    fn symmetrised(&self) -> Self {
        let size = self.size;
        let at = |row: usize, column: usize| self.values[row * size + column];
        let mean = |i: usize| (at(i / size, i % size) + at(i % size, i / size)) / 2.0;
        Self { size, values: (0..size * size).map(mean).collect() }
    }

    /// Of all its entries, row by row.
    pub fn new(size: usize, values: Vec<f64>) -> Self {
        debug_assert_eq!(values.len(), size * size);
        Self { size, values }
    }

    /// The root that is positive like this; eigenvalues that rounding put below 0 are taken for 0.
    pub fn sqrt(&self) -> Self {
        let (eigenvalues, vectors) = self.eigen();
        let size = self.size;
        let mut values = vec![0.0; size * size];
        for (value, vector) in eigenvalues.iter().zip(vectors.chunks_exact(size)) {
            let root = value.max(0.0).sqrt();
            for (out, a) in values.chunks_exact_mut(size).zip(vector) {
                out.iter_mut().zip(vector).for_each(|(sum, b)| *sum += root * a * b);
            }
        }
        Self { size, values }
    }

    /// Eigenvalues, and as many eigenvectors of length 1, row by row: Jacobi's rotations, each of which makes one pair of
    /// entries 0, swept over all pairs until what is off the diagonal is lost in rounding.
    pub fn eigen(&self) -> (Vec<f64>, Vec<f64>) {
        const MOST_SWEEPS: usize = 60;
        let size = self.size;
        let mut a = self.values.clone();
        let mut vectors = vec![0.0; size * size];
        vectors.iter_mut().step_by(size + 1).for_each(|v| *v = 1.0);
        let scale: f64 = a.iter().map(|v| v * v).sum();
        for _ in 0..MOST_SWEEPS {
            let off: f64 = (0..size).flat_map(|p| &a[p * size + p + 1..(p + 1) * size]).map(|v| v * v).sum();
            if off <= 1e-30 * scale {
                break;
            }
            for p in 0..size {
                for q in p + 1..size {
                    let entry = a[p * size + q];
                    if entry == 0.0 {
                        continue;
                    }
                    // The smaller of the two angles that make the entry 0.
                    let half = (a[q * size + q] - a[p * size + p]) / (2.0 * entry);
                    let tangent = half.signum() / (half.abs() + half.hypot(1.0));
                    let cosine = 1.0 / tangent.hypot(1.0);
                    let turn = (cosine, tangent * cosine);
                    rotate_columns(&mut a, size, [p, q], turn);
                    rotate_rows(&mut a, size, [p, q], turn);
                    rotate_rows(&mut vectors, size, [p, q], turn);
                }
            }
        }
        (a.iter().copied().step_by(size + 1).collect(), vectors)
    }
}

fn rotate_rows(a: &mut [f64], size: usize, [p, q]: [usize; 2], (cosine, sine): (f64, f64)) {
    let (above, below) = a.split_at_mut(q * size);
    for (x, y) in above[p * size..][..size].iter_mut().zip(&mut below[..size]) {
        (*x, *y) = (cosine * *x - sine * *y, sine * *x + cosine * *y);
    }
}

fn rotate_columns(a: &mut [f64], size: usize, [p, q]: [usize; 2], (cosine, sine): (f64, f64)) {
    for row in a.chunks_exact_mut(size) {
        (row[p], row[q]) = (cosine * row[p] - sine * row[q], sine * row[p] + cosine * row[q]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn diagonal(values: &[f64]) -> Symmetric {
        let size = values.len();
        let mut matrix = Symmetric { size, values: vec![0.0; size * size] };
        matrix.values.iter_mut().step_by(size + 1).zip(values).for_each(|(out, v)| *out = *v);
        matrix
    }

    /// `x^T x` of numbers `[rows, size]`: symmetric, and no eigenvalue below 0.
    fn gram(numbers: &[f64], size: usize) -> Symmetric {
        let mut values = vec![0.0; size * size];
        for row in numbers.chunks_exact(size) {
            for i in 0..size * size {
                values[i] += row[i / size] * row[i % size];
            }
        }
        Symmetric { size, values }
    }

    fn apart(a: &Symmetric, b: &Symmetric) -> f64 {
        a.values.iter().zip(&b.values).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    }

    #[test]
    fn normal_distributions_along_the_axes_have_the_known_distance() {
        // |m - n|^2 + sum of (a - b)^2, a and b the standard deviations.
        let a = Moments { mean: vec![1.0, 2.0, 3.0], covariance: diagonal(&[4.0, 9.0, 0.0]) };
        let b = Moments { mean: vec![1.0, 0.0, 6.0], covariance: diagonal(&[1.0, 16.0, 0.25]) };
        let wanted = 4.0 + 9.0 + 1.0 + 1.0 + 0.25;
        assert!((a.distance(&b) - wanted).abs() < 1e-12, "{}", a.distance(&b));
        assert!((b.distance(&a) - wanted).abs() < 1e-12, "{}", b.distance(&a));
        assert!(a.distance(&a) < 1e-12);
    }

    #[test]
    fn moments_are_those_of_the_samples() {
        let features = [1.0, 10.0, 2.0, 10.0, 3.0, 13.0];
        let moments = Moments::of(&features, 2).unwrap();
        assert_eq!(moments.mean, [2.0, 11.0]);
        assert_eq!(moments.covariance.values, [1.0, 1.5, 1.5, 3.0]);
        assert!(Moments::of(&features[..2], 2).is_none());
        assert!(Moments::of(&[], 0).is_none());
    }

    #[test]
    fn a_turn_of_both_sets_changes_nothing() {
        let features = |seed: u64| -> Vec<f32> {
            let random = |i: u64| ((i * 2_654_435_761 + seed * 40_503) % 1009) as f32 / 1009.0;
            (0..300).map(random).collect()
        };
        let turned = |features: &[f32]| -> Vec<f32> {
            let turn = |p: &[f32]| [0.6 * p[0] - 0.8 * p[1], 0.8 * p[0] + 0.6 * p[1], p[2]];
            features.chunks_exact(3).flat_map(turn).collect()
        };
        let (a, b) = (features(1), features(9).iter().map(|v| v * v).collect::<Vec<_>>());
        let distance =
            |a: &[f32], b: &[f32]| Moments::of(a, 3).unwrap().distance(&Moments::of(b, 3).unwrap());
        let (plain, after) = (distance(&a, &b), distance(&turned(&a), &turned(&b)));
        assert!(plain > 1e-3 && (plain - after).abs() < 1e-5 * plain.max(1.0), "{plain} and {after}");
    }

    proptest! {
        #[test]
        fn a_root_squared_is_the_matrix(numbers in proptest::collection::vec(-3.0..3.0_f64, 1..120), size in 1_usize..9) {
            let matrix = gram(&numbers, size);
            let root = matrix.sqrt();
            let scale = matrix.trace().max(1.0);
            prop_assert!(apart(&root.times(&root), &matrix) < 1e-9 * scale);
            prop_assert!(apart(&root, &root.symmetrised()) < 1e-9 * scale);
        }

        #[test]
        fn eigenvectors_are_turned_axes(numbers in proptest::collection::vec(-3.0..3.0_f64, 1..120), size in 1_usize..9) {
            let matrix = gram(&numbers, size);
            let (values, vectors) = matrix.eigen();
            prop_assert!((values.iter().sum::<f64>() - matrix.trace()).abs() < 1e-9 * matrix.trace().max(1.0));
            for i in 0..size {
                for j in 0..size {
                    let (a, b) = (&vectors[i * size..][..size], &vectors[j * size..][..size]);
                    let product: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                    prop_assert!((product - f64::from(u8::from(i == j))).abs() < 1e-9);
                }
            }
        }
    }
}
