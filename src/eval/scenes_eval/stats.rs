//! How sure a measured share or mean is.

/// The quantile of the normal distribution that leaves 2.5 % on either side.
const Z: f64 = 1.959_963_984_540_054;

/// So many of so many, with the 95 % interval of Wilson's score, which stays within 0 and 1 and is sound for few samples
/// and shares near the ends (Wilson 1927).
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Share {
    /// How many were right.
    pub right: usize,
    /// Of how many.
    pub of: usize,
    /// The share.
    pub share: f64,
    /// The lower end of its interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Share {
    /// `right` of `of`; `None` of nothing.
    pub fn new(right: usize, of: usize) -> Option<Self> {
        if of == 0 {
            return None;
        }
        let share = right as f64 / of as f64;
        let [low, high] = wilson(share, of as f64);
        Some(Self { right, of, share, low, high })
    }
}

/// The interval of a share of `n`.
fn wilson(share: f64, n: f64) -> [f64; 2] {
    let z2 = Z * Z / n;
    let centre = (share + z2 / 2.0) / (1.0 + z2);
    let spread = Z / (1.0 + z2) * (share * (1.0 - share) / n + z2 / (4.0 * n)).sqrt();
    [(centre - spread).max(0.0), (centre + spread).min(1.0)]
}

/// A mean over pictures with the 95 % interval that their spread gives it.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Mean {
    /// The mean.
    pub mean: f64,
    /// The lower end of its interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Mean {
    /// Of shares; `None` of none. The interval is that of as many right or wrong answers as would make the mean as sure as
    /// the spread of the shares does: never fewer than there are shares, and so many where all are alike, which proves nothing.
    pub fn of_shares(values: &[f64]) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        let answers = if variance > 1e-12 { mean * (1.0 - mean) / variance * n } else { n };
        let [low, high] = wilson(mean, answers.max(n));
        Some(Self { mean, low, high })
    }
}

impl Mean {
    /// Of any values, with the interval of the normal distribution; `None` of fewer than two.
    pub fn of_values(values: &[f64]) -> Option<Self> {
        let n = values.len() as f64;
        if values.len() < 2 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let apart = Z * (variance / n).sqrt();
        Some(Self { mean, low: mean - apart, high: mean + apart })
    }
}

/// The mean of the middle two, where there are two; 0 of nothing.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let around = &values[middle.saturating_sub(usize::from(values.len().is_multiple_of(2)))..];
    let count = (values.len() + 1) % 2 + 1;
    around.iter().take(count).sum::<f64>() / around.len().clamp(1, count) as f64
}

/// The share of numbers that are equal, place by place.
pub fn agreement(a: &[u32], b: &[u32]) -> f64 {
    let equal = a.iter().zip(b).filter(|(a, b)| a == b).count();
    equal as f64 / a.len().max(b.len()).max(1) as f64
}

/// `|a - b| / |b|` of all numbers together; 0 of nothing.
pub fn relative_error(a: &[f32], b: &[f32]) -> f64 {
    let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
    let apart = squares(&mut a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    let norm = squares(&mut b.iter().map(|b| f64::from(*b)));
    if apart == 0.0 { 0.0 } else { (apart / norm).sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_the_middle() {
        for (values, wanted) in [
            (vec![], 0.0),
            (vec![3.0], 3.0),
            (vec![1.0, 4.0], 2.5),
            (vec![9.0, 1.0, 2.0], 2.0),
            (vec![9.0, 1.0, 2.0, 4.0], 3.0),
        ] {
            assert_eq!(median(values.clone()), wanted, "{values:?}");
        }
    }

    #[test]
    fn wilson_intervals_are_the_known_ones() {
        // Solved by hand from (p - share)^2 = z^2 p (1 - p) / n.
        for (right, of, low, high) in [
            (0, 10, 0.0, 0.277_532_8),
            (10, 10, 0.722_467_2, 1.0),
            (5, 10, 0.236_593_1, 0.763_406_9),
            (81, 263, 0.255_284_2, 0.366_197_2),
        ] {
            let share = Share::new(right, of).unwrap();
            assert!((share.low - low).abs() < 2e-5, "{right} of {of}: {share:?}, not from {low}");
            assert!((share.high - high).abs() < 2e-5, "{right} of {of}: {share:?}, not to {high}");
            for p in [share.low, share.high].into_iter().filter(|p| (1e-9..1.0 - 1e-9).contains(p)) {
                let left = (p - share.share).powi(2);
                let right = Z * Z * p * (1.0 - p) / of as f64;
                assert!((left - right).abs() < 1e-12, "{p} is no end of the interval of {share:?}");
            }
        }
        assert_eq!(Share::new(0, 0), None);
    }

    #[test]
    fn a_mean_is_as_sure_as_its_values_are_many_and_alike() {
        assert_eq!(Mean::of_shares(&[]), None);
        // Right or wrong answers are as sure as their share, also at the ends, where they do not spread.
        for right in [0, 3, 10] {
            let values: Vec<f64> = (0..10).map(|i| f64::from(u8::from(i < right))).collect();
            let (mean, share) = (Mean::of_shares(&values).unwrap(), Share::new(right, 10).unwrap());
            assert!((mean.low - share.low).abs() < 1e-9 && (mean.high - share.high).abs() < 1e-9, "{mean:?}");
        }
        // Of many, the interval of the normal distribution: 0.1 is the standard deviation here.
        let values: Vec<f64> = (0..10_000).map(|i| 0.5 + 0.1 * (f64::from(i % 2) * 2.0 - 1.0)).collect();
        let mean = Mean::of_shares(&values).unwrap();
        assert!((mean.high - mean.mean - Z * 0.1 / 100.0).abs() < 1e-6, "{mean:?}");
        assert!((mean.mean - mean.low - Z * 0.1 / 100.0).abs() < 1e-6, "{mean:?}");
        let alike = Mean::of_shares(&[0.5; 9]).unwrap();
        assert!(alike.low < 0.25 && alike.high > 0.75, "{alike:?}");
    }

    #[test]
    fn the_interval_of_a_mean_is_two_standard_errors() {
        assert_eq!(Mean::of_values(&[1.0]), None);
        // Variance 2.5 of five: a standard error of the root of a half.
        let mean = Mean::of_values(&[-1.0, -2.0, -3.0, -4.0, -5.0]).unwrap();
        assert!(
            (mean.mean + 3.0).abs() < 1e-12 && (mean.high - mean.mean - Z * 0.5_f64.sqrt()).abs() < 1e-12
        );
        assert!((mean.mean - mean.low - Z * 0.5_f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn agreement_and_error_are_those_of_small_examples() {
        assert_eq!(agreement(&[1, 2, 3, 4], &[1, 0, 3, 0]), 0.5);
        assert_eq!(agreement(&[1, 2], &[1]), 0.5);
        assert_eq!(agreement(&[], &[]), 0.0);
        assert_eq!(relative_error(&[3.0, 4.0], &[3.0, 4.0]), 0.0);
        assert_eq!(relative_error(&[0.0, 0.0], &[3.0, 4.0]), 1.0);
        assert!((relative_error(&[3.0, 4.5], &[3.0, 4.0]) - 0.1).abs() < 1e-12);
    }
}
