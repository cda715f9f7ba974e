//! Whether differences are more than chance.

use crate::kernels::philox;

/// Of the same prompts and seeds by two methods, which had what right.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Paired {
    /// Pictures that are right with this method and wrong with the other.
    pub gained: usize,
    /// Pictures that are wrong with this method and right with the other.
    pub lost: usize,
    /// By how much the share of right pictures is higher with this method.
    pub difference: f64,
    /// How likely chance makes a difference as large, see [`mcnemar`].
    pub p: f64,
}

impl Paired {
    /// Of pictures in the same order; `None` of none.
    pub fn of(these: &[bool], others: &[bool]) -> Option<Self> {
        let pairs = || these.iter().zip(others);
        let gained = pairs().filter(|(this, other)| **this && !**other).count();
        let lost = pairs().filter(|(this, other)| !**this && **other).count();
        let of = pairs().count();
        let difference = (gained as f64 - lost as f64) / of as f64;
        (of > 0).then(|| Self { gained, lost, difference, p: mcnemar(gained, lost) })
    }
}

/// The two-sided p-value of McNemar's exact test (McNemar 1947; exact as in Fagerland, Lydersen and Laake 2013, equation 4): if
/// neither method is better, each pair in which they differ goes either way as a coin falls, and
/// `p = min(1, 2 P(X <= min(gained, lost)))` of a binomial X with as many throws.
pub fn mcnemar(gained: usize, lost: usize) -> f64 {
    let (fewer, n) = (gained.min(lost), gained + lost);
    if 2 * fewer >= n {
        return 1.0;
    }
    // From the largest term down, relative to it: of many throws the terms themselves are below what f64 has.
    let logarithm = (0..fewer).map(|i| ((n - i) as f64 / (i + 1) as f64).ln()).sum::<f64>()
        - n as f64 * std::f64::consts::LN_2;
    let (mut term, mut sum) = (1.0, 1.0);
    for i in (1..=fewer).rev() {
        term *= i as f64 / (n - i + 1) as f64;
        sum += term;
    }
    (2.0 * sum * logarithm.exp()).min(1.0)
}

/// Shuffles of [`differs_between_groups`], where there are not so many pictures that they take long.
const SHUFFLES: usize = 9_999;
/// Swaps that are made at most, unless fewer than a tenth of the shuffles would be left.
const SWAPS: usize = 50_000_000;
/// Above every stream of the sampler's and of the scenes'.
const STREAM: u32 = 0x5F1E_0000;

/// Whether the mean of some values differs between groups: the p-value of a permutation test of one-way layouts (Fisher 1935,
/// Pitman 1938) by the sum over groups of `(sum of values)^2 / size`, which orders as the variance between groups does. If groups do
/// not matter, every assignment of the values to them is as likely; of `m` random ones, `b` spread as much or more, and
/// `p = (b + 1) / (m + 1)` (Phipson and Smyth 2010). `None` of fewer than two groups.
pub fn differs_between_groups(values: &[i32], groups: &[usize]) -> Option<f64> {
    let kinds = groups.iter().max()? + 1;
    let mut sizes = vec![0.0_f64; kinds];
    groups.iter().for_each(|&group| sizes[group] += 1.0);
    if sizes.iter().filter(|size| **size > 0.0).count() < 2 || values.len() != groups.len() {
        return None;
    }
    let spread = |values: &[i32]| {
        let mut sums = vec![0_i64; kinds];
        values.iter().zip(groups).for_each(|(&value, &group)| sums[group] += i64::from(value));
        let parts = sums.iter().zip(&sizes).filter(|(_, size)| **size > 0.0);
        parts.map(|(&sum, size)| (sum * sum) as f64 / size).sum::<f64>()
    };
    let found = spread(values);
    let shuffles = (SWAPS / values.len()).clamp(SHUFFLES / 10, SHUFFLES);
    let mut shuffled = values.to_vec();
    // Assignments that differ in rounding alone spread as much.
    let as_much = found - 1e-9 * found.abs().max(1.0);
    let mut reached = 0;
    for shuffle in 0..shuffles {
        // Fisher and Yates, from the end.
        for last in (1..shuffled.len()).rev() {
            let [bits, ..] = philox::philox([last as u32, shuffle as u32, 0, STREAM], [0; 2]);
            let other = (u64::from(bits) * (last as u64 + 1)) >> 32;
            shuffled.swap(last, other as usize);
        }
        reached += usize::from(spread(&shuffled) >= as_much);
    }
    Some((reached + 1) as f64 / (shuffles + 1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn mcnemar_s_test_gives_the_published_values() {
        // Fagerland, Lydersen and Laake 2013, their example of airways: 1 against 7 of 8, p = 0.070.
        assert!((mcnemar(1, 7) - 0.070_312_5).abs() < 1e-12);
        // By counting: 2 (1 + 12 + 66) of 4,096.
        assert!((mcnemar(10, 2) - 158.0 / 4096.0).abs() < 1e-12);
        for n in 1..50 {
            assert!((mcnemar(0, n) - 2.0 * 0.5_f64.powi(n as i32)).abs() < 1e-12, "{n}");
        }
        assert_eq!((mcnemar(0, 0), mcnemar(4, 4), mcnemar(3, 4)), (1.0, 1.0, 1.0));
        // Of many, near the normal distribution: 2 (1 - F(2)) with the continuity correction.
        let many = mcnemar(50_000 - 316, 50_000 + 316);
        assert!((many - 0.045_8).abs() < 5e-4, "{many}");
        assert!(mcnemar(10_000, 90_000) < 1e-300);
    }

    #[test]
    fn pairs_that_agree_say_nothing() {
        let [yes, no] = [true, false];
        let paired = Paired::of(&[yes, yes, no, no, yes], &[yes, no, no, yes, no]).unwrap();
        assert_eq!((paired.gained, paired.lost, paired.p), (2, 1, 1.0));
        assert!((paired.difference - 0.2).abs() < 1e-12);
        assert_eq!(Paired::of(&[], &[]), None);
        let same = Paired::of(&[yes, no], &[yes, no]).unwrap();
        assert_eq!((same.gained, same.lost, same.difference, same.p), (0, 0, 0.0, 1.0));
    }

    proptest! {
        /// Against the sum of all outcomes as unlikely as what was seen, in plain binomial coefficients.
        #[test]
        fn mcnemar_s_test_is_the_sum_of_both_tails(gained in 0_usize..30, lost in 0_usize..30) {
            let n = gained + lost;
            let choose = |k: usize| (0..k).map(|i| (n - i) as f64 / (i + 1) as f64).product::<f64>();
            let farther = |k: &usize| (2 * k).abs_diff(n) >= gained.abs_diff(lost);
            let tails: f64 = (0..=n).filter(farther).map(choose).sum::<f64>() * 0.5_f64.powi(n as i32);
            prop_assert!((mcnemar(gained, lost) - tails).abs() < 1e-9, "{} and {tails}", mcnemar(gained, lost));
            prop_assert_eq!(mcnemar(gained, lost), mcnemar(lost, gained));
        }
    }

    #[test]
    fn groups_are_told_apart_as_often_as_all_assignments_say() {
        // 2 of the 6 assignments of {1, 1, 0, 0} to two groups of two are as far apart.
        let p = differs_between_groups(&[1, 1, 0, 0], &[0, 0, 1, 1]).unwrap();
        assert!((p - 1.0 / 3.0).abs() < 0.02, "{p}");
        // 2 of 20; the values are kept apart by any shift.
        for shift in [0, 5, -7] {
            let values = [1, 1, 1, 0, 0, 0].map(|v| v + shift);
            let p = differs_between_groups(&values, &[2, 2, 2, 0, 0, 0]).unwrap();
            assert!((p - 0.1).abs() < 0.015, "{p}");
        }
        assert_eq!(differs_between_groups(&[1; 9], &[0, 1, 2, 0, 1, 2, 0, 1, 2]), Some(1.0));
        assert_eq!(differs_between_groups(&[1, 0], &[3, 3]), None);
        assert_eq!(differs_between_groups(&[], &[]), None);
    }
}
