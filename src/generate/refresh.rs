//! Which steps run the full model.

use super::GenerateError;
use super::pace::{Adaptive, Pace};

/// A rule for the full steps. Step 0 is always full: there is nothing to predict from before it.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refresh {
    /// Every step: the model as published, without acceleration.
    #[default]
    Every,
    /// So many full steps in all, spread evenly, exactly as the paper's code spreads them.
    Uniform(u32),
    /// So many full steps in all, where `migm calibrate` found them to serve best: see [`Model::resolve`](super::model::Model::resolve).
    Optimal(u32),
    /// These steps, and step 0.
    List(Vec<u32>),
    /// The first steps, and then one in so many.
    Interval {
        /// Share of steps that are full in the beginning.
        warmup: f32,
        /// Every so many steps after them, one is full.
        interval: u32,
    },
    /// Where the error that is expected exceeds a target: decided step by step, from one small value that is read back.
    Adaptive(Adaptive),
    /// As an earlier run decided: what makes it again, token for token.
    Decided(Decided),
    /// One from outside that decides step by step. Reports name it, and files cannot bring it back.
    #[serde(skip_deserializing)]
    Custom(&'static dyn Pace),
}

/// What a run decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Decided {
    /// Its full steps.
    pub full: Vec<u32>,
    /// Tokens that each step revealed, where that was decided too; else empty.
    #[serde(default)]
    pub reveal: Vec<u32>,
}

impl Refresh {
    /// The full steps of ML-Cache as published.
    pub const ML_CACHE: Self = Self::Interval { warmup: 0.3, interval: 5 };

    /// What decides where that is left to the run.
    pub fn pace(&self) -> Option<&dyn Pace> {
        match self {
            Self::Adaptive(adaptive) => Some(adaptive),
            Self::Custom(pace) => Some(*pace),
            _ => None,
        }
    }

    /// For each of `steps` steps, whether it is full; the first alone where the run decides. `nominal` is the number of steps asked for, which is larger
    /// than `steps` only where every token was revealed early.
    ///
    /// # Errors
    /// A budget of 0 or above `nominal`, a listed step beyond the last, no interval, a share that is none, or a target that is no
    /// error.
    pub fn full_steps(&self, steps: usize, nominal: u32) -> Result<Vec<bool>, GenerateError> {
        let mut full = vec![false; steps];
        let mut mark = |step: u32| {
            if let Some(flag) = full.get_mut(step as usize) {
                *flag = true;
            }
        };
        mark(0);
        match self {
            Self::Every => full.fill(true),
            Self::Optimal(budget) => {
                let message = format!("optimal:{budget} needs what migm calibrate measures of a model");
                return Err(GenerateError::Setting(message));
            }
            Self::Custom(_) => {}
            Self::Adaptive(Adaptive { target_error, budget }) => {
                budget.map_or(Ok(()), |budget| check_budget(budget, nominal))?;
                if !(0.0..=1e6).contains(target_error) {
                    let message =
                        format!("a target error of {target_error} is none; use a share such as 0.1");
                    return Err(GenerateError::Setting(message));
                }
            }
            Self::Uniform(budget) => {
                check_budget(*budget, nominal)?;
                // Rounded half to even, as Python rounds: (15, 10) has 1.5, 4.5, 7.5, 10.5 and 13.5.
                let mut last = 0;
                for k in 1..*budget {
                    let ideal = f64::from(nominal) * (f64::from(k) / f64::from(*budget));
                    last = (ideal.round_ties_even() as u32).max(last + 1);
                    mark(last);
                }
            }
            Self::List(list) | Self::Decided(Decided { full: list, .. }) => {
                for &step in list {
                    if step >= nominal {
                        let message = format!(
                            "full step {step} is beyond the last of {nominal} steps ({})",
                            nominal - 1
                        );
                        return Err(GenerateError::Setting(message));
                    }
                    mark(step);
                }
            }
            &Self::Interval { warmup, interval } => {
                if interval == 0 || !(0.0..=1.0).contains(&warmup) {
                    let message = format!(
                        "a warm-up of {warmup} and then every {interval} steps is no plan; use a share of 0 to 1, and 1 step or more"
                    );
                    return Err(GenerateError::Setting(message));
                }
                // In f64 from the decimal number, as Python has it: 64 * 0.3 is 19.2, 10 * 0.3 is 3.
                let warm = (f64::from(nominal) * decimal(warmup)) as u32;
                (0..nominal)
                    .filter(|&step| step <= warm || (step - warm).is_multiple_of(interval))
                    .for_each(mark);
            }
        }
        Ok(full)
    }
}

fn check_budget(budget: u32, nominal: u32) -> Result<(), GenerateError> {
    let message = match budget {
        0 => "a refresh budget of 0 leaves nothing to predict from; use 1 or more".to_owned(),
        _ if budget > nominal => format!(
            "a refresh budget of {budget} is more than the {nominal} steps; use {nominal} or fewer, or --refresh every"
        ),
        _ => return Ok(()),
    };
    Err(GenerateError::Setting(message))
}

/// The shortest decimal that reads as `value`, in f64.
pub(super) fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

impl std::fmt::Display for Refresh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Every => f.write_str("every"),
            Self::Uniform(budget) => write!(f, "uniform:{budget}"),
            Self::Optimal(budget) => write!(f, "optimal:{budget}"),
            Self::List(list) => write!(f, "list:{}", joined(list)),
            Self::Decided(Decided { full, reveal }) if reveal.is_empty() => {
                write!(f, "decided:{}", joined(full))
            }
            Self::Decided(Decided { full, reveal }) => {
                write!(f, "decided:{}/{}", joined(full), joined(reveal))
            }
            Self::Adaptive(adaptive) => f.write_str(&adaptive.spec()),
            Self::Custom(pace) => f.write_str(&pace.spec()),
            Self::Interval { warmup, interval } => write!(f, "interval:{warmup},{interval}"),
        }
    }
}

fn joined(list: &[u32]) -> String {
    let list: Vec<String> = list.iter().map(u32::to_string).collect();
    list.join(",")
}

impl std::str::FromStr for Refresh {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            text.trim().parse::<u32>().map_err(|_| format!("{text:?} is not a step or a number of steps"))
        };
        let numbers = |list: &str| list.split(',').map(number).collect::<Result<Vec<u32>, String>>();
        match text.split_once(':') {
            None if text == "every" => Ok(Self::Every),
            Some(("uniform", budget)) => Ok(Self::Uniform(number(budget)?)),
            Some(("optimal", budget)) => Ok(Self::Optimal(number(budget)?)),
            Some(("list", list)) => Ok(Self::List(numbers(list)?)),
            Some(("decided", decided)) => {
                let (full, reveal) = decided.split_once('/').unwrap_or((decided, ""));
                let reveal = if reveal.is_empty() { Vec::new() } else { numbers(reveal)? };
                Ok(Self::Decided(Decided { full: numbers(full)?, reveal }))
            }
            Some(("adaptive", plan)) => {
                let (error, budget) =
                    plan.split_once(',').map_or((plan, None), |(error, b)| (error, Some(b)));
                let wrong = || format!("{error:?} is not an error; a share such as 0.1 is");
                let target_error = error.trim().parse().map_err(|_| wrong())?;
                Ok(Self::Adaptive(Adaptive { target_error, budget: budget.map(number).transpose()? }))
            }
            Some(("interval", plan)) => {
                let (warmup, interval) = plan.split_once(',').unwrap_or((plan, ""));
                let warmup =
                    warmup.trim().parse().map_err(|_| format!("{warmup:?} is not a share of steps"))?;
                Ok(Self::Interval { warmup, interval: number(interval)? })
            }
            _ => Err(format!(
                "{text:?} is none of: every, uniform:B, optimal:B, adaptive:ERROR[,B], list:0,3,7, interval:SHARE,K"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn steps(refresh: &Refresh, n: u32) -> Vec<usize> {
        let full = refresh.full_steps(n as usize, n).unwrap();
        full.iter().enumerate().filter(|(_, full)| **full).map(|(step, _)| step).collect()
    }

    /// The tables of the official code's `shortcut_steps`.
    #[test]
    fn published_budgets() {
        let table: &[(u32, u32, &[usize])] = &[
            (15, 7, &[0, 2, 4, 6, 9, 11, 13]),
            (15, 8, &[0, 2, 4, 6, 8, 9, 11, 13]),
            (15, 5, &[0, 3, 6, 9, 12]),
            (15, 10, &[0, 2, 3, 4, 6, 8, 9, 10, 12, 14]),
            (32, 8, &[0, 4, 8, 12, 16, 20, 24, 28]),
            (32, 9, &[0, 4, 7, 11, 14, 18, 21, 25, 28]),
            (32, 12, &[0, 3, 5, 8, 11, 13, 16, 19, 21, 24, 27, 29]),
            (32, 5, &[0, 6, 13, 19, 26]),
            (64, 14, &[0, 5, 9, 14, 18, 23, 27, 32, 37, 41, 46, 50, 55, 59]),
            (64, 11, &[0, 6, 12, 17, 23, 29, 35, 41, 47, 52, 58]),
            (64, 9, &[0, 7, 14, 21, 28, 36, 43, 50, 57]),
        ];
        for (n, budget, wanted) in table {
            assert_eq!(steps(&Refresh::Uniform(*budget), *n), *wanted, "({n}, {budget})");
        }
    }

    #[test]
    fn budget_one_runs_only_the_first_step_in_full() {
        assert_eq!(steps(&Refresh::Uniform(1), 12), [0]);
    }

    #[test]
    fn impossible_budgets_are_refused_with_a_way_on() {
        assert!(Refresh::Uniform(0).full_steps(8, 8).unwrap_err().to_string().contains("1 or more"));
        assert!(Refresh::Uniform(9).full_steps(8, 8).unwrap_err().to_string().contains("8 or fewer"));
        assert!(Refresh::List(vec![8]).full_steps(8, 8).unwrap_err().to_string().contains("(7)"));
    }

    #[test]
    fn rules_read_and_print_alike() {
        for text in [
            "every",
            "uniform:4",
            "list:0,3,7",
            "interval:0.3,5",
            "adaptive:0.1",
            "adaptive:0.25,6",
            "decided:0,4",
            "decided:0,4/1,2,3",
        ] {
            assert_eq!(text.parse::<Refresh>().unwrap().to_string(), text);
        }
        for text in
            ["list:a", "often", "interval:0.3", "interval:x,2", "adaptive:", "adaptive:0.1,x", "decided:1/x"]
        {
            assert!(text.parse::<Refresh>().is_err(), "{text}");
        }
    }

    /// As Lumina-DiMOO's code caches.
    #[test]
    fn published_full_steps_of_ml_cache() {
        let wanted: Vec<usize> = (0..=19).chain([24, 29, 34, 39, 44, 49, 54, 59]).collect();
        assert_eq!(steps(&Refresh::ML_CACHE, 64), wanted);
        let wanted: Vec<usize> = (0..=6).chain((11..=61).step_by(5)).collect();
        assert_eq!(steps(&Refresh::Interval { warmup: 0.1, interval: 5 }, 64), wanted);
        assert_eq!(steps(&Refresh::Interval { warmup: 0.0, interval: 3 }, 8), [0, 3, 6]);
    }

    #[test]
    fn intervals_that_make_no_plan_are_refused() {
        for (warmup, interval) in [(0.3, 0), (-0.1, 5), (1.5, 5), (f32::NAN, 5)] {
            let error = Refresh::Interval { warmup, interval }.full_steps(8, 8).unwrap_err().to_string();
            assert!(error.contains("0 to 1"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn a_uniform_budget_is_exact(n in 1_u32..200, share in 0.0_f64..1.0) {
            let budget = 1 + (share * f64::from(n - 1)) as u32;
            prop_assert_eq!(steps(&Refresh::Uniform(budget), n).len(), budget as usize);
            prop_assert_eq!(steps(&Refresh::Uniform(n), n).len(), n as usize);
        }
    }
}
