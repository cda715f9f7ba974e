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
        let (n, share) = (of as f64, right as f64 / of as f64);
        let z2 = Z * Z / n;
        let centre = (share + z2 / 2.0) / (1.0 + z2);
        let spread = Z / (1.0 + z2) * (share * (1.0 - share) / n + z2 / (4.0 * n)).sqrt();
        let (low, high) = ((centre - spread).max(0.0), (centre + spread).min(1.0));
        Some(Self { right, of, share, low, high })
    }
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
    /// Of some values; `None` of none. One value tells nothing of the spread, and its interval is all of 0 to 1.
    pub fn of_shares(values: &[f64]) -> Option<Self> {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        match values.len() {
            0 => None,
            1 => Some(Self { mean, low: 0.0, high: 1.0 }),
            _ => {
                let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
                let spread = Z * (variance / n).sqrt();
                Some(Self { mean, low: (mean - spread).max(0.0), high: (mean + spread).min(1.0) })
            }
        }
    }
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
        let one = Mean::of_shares(&[0.5]).unwrap();
        assert_eq!((one.mean, one.low, one.high), (0.5, 0.0, 1.0));
        let alike = Mean::of_shares(&[0.5; 9]).unwrap();
        assert_eq!((alike.low, alike.high), (0.5, 0.5));
        // A standard deviation of 0.5 over the root of 100.
        let values: Vec<f64> = (0..100).map(|i| f64::from(i % 2)).collect();
        let mean = Mean::of_shares(&values).unwrap();
        assert!((mean.high - mean.mean - Z * (0.25 / 99.0_f64).sqrt()).abs() < 1e-12, "{mean:?}");
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
