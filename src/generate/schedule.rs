//! Unmasking schedules: how many tokens each step reveals, as the official codes count them (`adap_sche` of MaskGIT,
//! `cosine_schedule` of Lumina-DiMOO, the Halton sampler's own).

use std::f32::consts::FRAC_PI_2;

/// The curve along which tokens are revealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Few at first: the official default.
    #[default]
    Arccos,
    /// Rising smoothly.
    Cosine,
    /// Rising evenly.
    Linear,
    /// Rising fast.
    Square,
    /// Most of them last.
    Root,
    /// What stays masked falls along a cosine, rounded down: Lumina-DiMOO's.
    KeptCosine,
    /// Evenly at first, a quarter of all at the last step: what is known rises as an arcsine, rounded down (arXiv 2503.17076).
    Halton,
}

impl Schedule {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Arccos, Self::Cosine, Self::KeptCosine, Self::Halton, Self::Linear, Self::Square, Self::Root];

    /// Its name, for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Arccos => "arccos",
            Self::Cosine => "cosine",
            Self::Linear => "linear",
            Self::Square => "square",
            Self::Root => "root",
            Self::KeptCosine => "kept cosine",
            Self::Halton => "halton",
        }
    }

    /// Tokens to reveal at each step; they add up to `tokens`. Where `steps` exceeds `tokens`, [`Self::KeptCosine`] has steps
    /// that reveal none. By the other curves every step reveals at least one token, and the list ends with the last masked one.
    pub fn counts(self, steps: u32, tokens: u32) -> Vec<u32> {
        // In f32, as the official code: ties at .5 fall as they fall there.
        let curve: fn(f32) -> f32 = match self {
            Self::KeptCosine => return kept_cosine(steps, tokens),
            Self::Halton => return halton(steps, tokens),
            Self::Arccos => |r| r.acos() / FRAC_PI_2,
            Self::Cosine => |r| (r * FRAC_PI_2).cos(),
            Self::Linear => |r| 1.0 - r,
            Self::Square => |r| 1.0 - r * r,
            Self::Root => |r| 1.0 - r.sqrt(),
        };
        let weights: Vec<f32> = linspace_1_to_0(steps).into_iter().map(curve).collect();
        let sum: f32 = weights.iter().sum();
        let round = |w: f32| if sum > 0.0 { (w / sum * tokens as f32).round_ties_even() as i64 } else { 0 };
        let mut counts: Vec<i64> = weights.iter().map(|&w| round(w).max(1)).collect();
        // The last step makes good what rounding left over; with very many steps it may fall below 1, and then
        // the steps before it have revealed everything.
        let excess = i64::from(tokens) - counts.iter().sum::<i64>();
        if let Some(last) = counts.last_mut() {
            *last += excess;
        }
        let mut left = tokens;
        let mut out: Vec<u32> = Vec::with_capacity(counts.len());
        for count in counts {
            if left == 0 {
                break;
            }
            let count = u32::try_from(count.max(1)).unwrap_or(left).min(left);
            out.push(count);
            left -= count;
        }
        out
    }
}

/// Tokens that stay masked after a step: `tokens * cos(pi / 2 * progress)` rounded down, at least 1 until the last step.
///
/// Every number is rounded to f32 as in the official code: at two thirds of the steps the cosine is then a little below one
/// half, and one more token is revealed. The cosine itself is rounded from f64, so that it is the same on every system.
fn kept_cosine(steps: u32, tokens: u32) -> Vec<u32> {
    let kept = |step: u32| {
        if step + 1 == steps {
            return 0;
        }
        let progress = (f64::from(step + 1) / f64::from(steps)) as f32;
        let share = f64::from(FRAC_PI_2 * progress).cos() as f32;
        ((tokens as f32 * share).floor() as u32).max(1)
    };
    let mut masked = tokens;
    let counts = (0..steps).map(|step| {
        let reveal = masked - kept(step).min(masked);
        masked -= reveal;
        reveal
    });
    counts.collect()
}

/// After step `i` of `steps`, `tokens * (1 - acos((i + 1) / steps) / (pi / 2))` are known, rounded down, and at least `i + 1`.
fn halton(steps: u32, tokens: u32) -> Vec<u32> {
    let mut known = 0;
    let mut counts = Vec::new();
    for step in (1..=steps).take_while(|step| *step <= tokens) {
        // Rounded from f64, so that it is the same on every system.
        let progress = (f64::from(step) / f64::from(steps)) as f32;
        let share = 1.0 - (f64::from(progress).acos() as f32) / FRAC_PI_2;
        let after = if step == steps { tokens } else { ((share * tokens as f32) as u32).max(step) };
        counts.push(after - known);
        known = after;
    }
    counts
}

/// `torch.linspace(1, 0, n)` in f32: the first half counts from the start, the second from the end.
fn linspace_1_to_0(n: u32) -> Vec<f32> {
    if n == 1 {
        return vec![1.0];
    }
    let step = -1.0 / (n - 1) as f32;
    (0..n).map(|i| if i < n / 2 { 1.0 + step * i as f32 } else { 0.0 - step * (n - 1 - i) as f32 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The tables of MaskGIT's official code.
    #[test]
    fn published_tables() {
        use Schedule::{Arccos, Cosine, Linear, Root, Square};
        let table: &[(Schedule, u32, &[u32])] = &[
            (Arccos, 1024, &[1, 72, 103, 128, 150, 171, 190, 209]),
            (Arccos, 1024, &[1, 60, 85, 106, 123, 140, 155, 170, 184]),
            (Arccos, 1024, &[1, 43, 62, 76, 89, 100, 111, 121, 131, 141, 149]),
            (Arccos, 1024, &[1, 33, 47, 58, 68, 76, 84, 92, 99, 106, 113, 120, 127]),
            (Arccos, 1024, &[1, 26, 38, 46, 54, 61, 67, 73, 79, 84, 89, 94, 99, 104, 109]),
            (
                Arccos,
                1024,
                &[
                    1, 8, 12, 14, 17, 19, 20, 22, 24, 25, 27, 28, 29, 31, 32, 33, 34, 36, 37, 38, 39, 40, 41,
                    42, 43, 44, 45, 47, 48, 49, 50, 49,
                ],
            ),
            (Arccos, 256, &[1, 18, 26, 32, 38, 43, 48, 50]),
            (Arccos, 256, &[1, 7, 9, 12, 13, 15, 17, 18, 20, 21, 22, 24, 25, 26, 26]),
            (Linear, 1024, &[1, 10, 20, 29, 39, 49, 59, 68, 78, 88, 98, 107, 117, 127, 134]),
            (Cosine, 1024, &[1, 12, 24, 36, 47, 58, 68, 77, 85, 92, 98, 103, 106, 108, 109]),
            (Square, 1024, &[1, 14, 28, 40, 51, 61, 70, 78, 85, 91, 96, 99, 102, 104, 104]),
            (Root, 1024, &[1, 7, 15, 22, 30, 39, 48, 57, 68, 79, 91, 105, 122, 144, 196]),
        ];
        for (schedule, tokens, wanted) in table {
            assert_eq!(schedule.counts(wanted.len() as u32, *tokens), *wanted, "{schedule:?} over {tokens}");
        }
    }

    /// Lumina-DiMOO's official code at 64 and at 16 steps of 4,096 tokens.
    #[test]
    fn published_unmask_counts() {
        let counts = |steps| Schedule::KeptCosine.counts(steps, 4096);
        let at_64 = [
            2, 3, 7, 8, 11, 14, 16, 18, 21, 23, 26, 28, 30, 33, 35, 37, 40, 42, 44, 46, 49, 50, 53, 55, 57,
            59, 60, 63, 65, 67, 68, 70, 72, 74, 75, 77, 79, 80, 81, 83, 84, 86, 87, 88, 89, 90, 92, 92, 93,
            95, 95, 95, 97, 97, 98, 98, 99, 99, 100, 100, 100, 101, 100, 100,
        ];
        assert_eq!(counts(64), at_64);
        let at_16 = [20, 59, 98, 135, 172, 207, 239, 270, 298, 323, 345, 363, 378, 390, 398, 401];
        assert_eq!(counts(16), at_16);
        assert_eq!(counts(1), [4096]);
        // Of the official code with torch's f32: 2,047 are kept at two thirds, where f64 would keep 2,048.
        assert_eq!(counts(3), [549, 1500, 2047]);
        assert_eq!(counts(6), [140, 409, 651, 849, 987, 1060]);
        for steps in [9, 12, 15, 24, 48] {
            assert_eq!(counts(steps)[..2 * steps as usize / 3].iter().sum::<u32>(), 4096 - 2047, "{steps}");
        }
        // More steps than tokens: some reveal nothing, none more than there is.
        assert_eq!(Schedule::KeptCosine.counts(50, 16).iter().sum::<u32>(), 16);
    }

    /// The Halton sampler's official code.
    #[test]
    fn published_counts_of_halton() {
        let counts = |steps| Schedule::Halton.counts(steps, 1024);
        assert_eq!(counts(15), [43, 44, 44, 44, 46, 47, 48, 50, 53, 56, 61, 68, 79, 101, 240]);
        let at_32 = counts(32);
        assert_eq!((&at_32[..3], &at_32[29..]), (&[20, 20, 21][..], &[53, 68, 164][..]));
        // More steps than tokens: one a step.
        assert_eq!(Schedule::Halton.counts(50, 16), [1; 16]);
    }

    #[test]
    fn one_step_reveals_everything() {
        assert_eq!(Schedule::Arccos.counts(1, 64), [64]);
        assert_eq!(Schedule::Halton.counts(1, 64), [64]);
    }

    proptest! {
        #[test]
        fn every_schedule_reveals_every_token_once(steps in 1_u32..400, side in 1_u32..33, which in 0_usize..6) {
            use Schedule::{Arccos, Cosine, Halton, Linear, Root, Square};
            let schedule = [Arccos, Cosine, Linear, Square, Root, Halton][which];
            let counts = schedule.counts(steps, side * side);
            prop_assert_eq!(counts.iter().sum::<u32>(), side * side);
            prop_assert!(counts.iter().all(|&count| count > 0));
            prop_assert!(counts.len() <= steps as usize);
        }
    }
}
