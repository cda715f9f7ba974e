//! What stands in for the full model between refreshes, and which programs each kind of step runs.

use super::GenerateError;
use super::refresh::{Refresh, decimal};
use super::session::StepKind;
use crate::kernels::WeightFormat;
use crate::models;
use crate::program::{Builder, Program, WeightSpec};

/// A way to have features without running the full model.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Predictor {
    /// The learned shortcut.
    #[default]
    Shortcut,
    /// The last features as they are: the plainest baseline.
    Reuse,
    /// Some rows through the full model, among cached keys and values of the others.
    MlCache(MlCache),
}

impl std::fmt::Display for Predictor {
    /// As the command line takes it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Shortcut => "shortcut",
            Self::Reuse => "reuse",
            Self::MlCache(_) => "ml-cache",
        })
    }
}

impl Predictor {
    /// The full steps where nobody says which: ML-Cache's official ones, or an eighth of them: where a predicted step costs a tenth of a full one, as with the bundled models, that is four times as fast.
    pub fn default_refresh(self, steps: u32) -> Refresh {
        match self {
            Self::MlCache(_) => Refresh::ML_CACHE,
            Self::Shortcut | Self::Reuse => Refresh::Uniform(steps.div_ceil(8)),
        }
    }
}

/// ML-Cache, the official training-free acceleration of Lumina-DiMOO: between full steps, only the rows of a sequence whose
/// best image code has the lowest logit pass through the model; the others keep their keys, values and features. The
/// official full steps are [`Refresh::ML_CACHE`].
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct MlCache {
    /// Share of rows that are kept.
    pub cache_ratio: f32,
}

impl MlCache {
    /// The official settings.
    pub const OFFICIAL: Self = Self { cache_ratio: 0.9 };

    /// Rows recomputed of a sequence of `length`: those not above the quantile `1 - cache_ratio` of their scores.
    ///
    /// The official code recomputes every row that ties with the quantile, so its number of rows depends on the
    /// data. Here it is fixed when programs are planned, and of rows that tie the first are taken: the same rows wherever
    /// scores differ. The official scores tie because they are bf16; those of a sequence in f32 practically never do,
    /// and sizes that only the device knows would cost each partial step a read-back.
    ///
    /// # Errors
    /// The ratio is none.
    pub fn rows(&self, length: u32) -> Result<u32, GenerateError> {
        if !(0.0..=1.0).contains(&self.cache_ratio) {
            let message = format!("a cache ratio of {} is not a share; use 0 to 1", self.cache_ratio);
            return Err(GenerateError::Setting(message));
        }
        // The rank in f32, as torch.quantile computes it; ties aside, that many and one more are not above it.
        let quantile = (1.0 - decimal(self.cache_ratio)) as f32;
        let rank = quantile * length.saturating_sub(1) as f32;
        Ok((rank.floor() as u32 + 1).min(length))
    }
}

/// What goes from ids to features in programs of its own: all sequences of a batch, or one of several that differ in length.
pub trait Network {
    /// A program's name, different for every network of a run.
    fn name(&self, program: &str) -> String;
    /// Rows of one sequence.
    fn length(&self) -> u32;
    /// Appends the full model; `keep` also writes what [`Network::partial`] reads.
    fn full(&self, b: &mut Builder, keep: bool);
    /// Appends what lists the `count` rows of each sequence for the next step.
    fn choose(&self, b: &mut Builder, count: u32);
    /// Appends the model over the listed rows.
    fn partial(&self, b: &mut Builder, count: u32);
    /// Whether there is a learned shortcut.
    fn has_shortcut(&self) -> bool;
    /// Appends the shortcut, if there is one.
    fn shortcut(&self, b: &mut Builder);
}

/// The programs of a run, and what each kind of step runs, by index in the list that an executor is given.
#[derive(Debug, Default)]
pub struct Programs {
    /// All of them.
    pub list: Vec<Program>,
    /// A full step: features, then the sampling.
    pub full: Vec<usize>,
    /// A step that is not full.
    pub partial: Vec<usize>,
    /// What follows a step if the next one is not full.
    pub between: Vec<usize>,
}

impl Programs {
    /// Builds the programs of networks with a predictor; `sample` appends what follows the features. Without a predictor, or
    /// with [`Predictor::Reuse`], a step that is not full only samples.
    ///
    /// # Errors
    /// There is no such shortcut, or a setting or a size makes no program.
    pub fn build(
        networks: &[impl Network],
        predictor: Option<Predictor>,
        formats: fn(&WeightSpec) -> WeightFormat,
        sample: impl Fn(&mut Builder),
    ) -> Result<Self, GenerateError> {
        let mut new = Self::default();
        let keep = matches!(predictor, Some(Predictor::MlCache(_)));
        for network in networks {
            let full = new.add(&network.name("full"), formats, |b| network.full(b, keep))?;
            new.full.push(full);
        }
        let sample = new.add("sample", formats, sample)?;
        for network in networks {
            match predictor {
                None | Some(Predictor::Reuse) => {}
                Some(Predictor::Shortcut) => {
                    if !network.has_shortcut() {
                        let message = "the model has no shortcut; use --refresh every, or --predictor reuse or ml-cache";
                        return Err(GenerateError::Setting(message.to_owned()));
                    }
                    let predict = new.add(&network.name("shortcut"), formats, |b| network.shortcut(b))?;
                    new.partial.push(predict);
                }
                Some(Predictor::MlCache(cache)) => {
                    let count = cache.rows(network.length())?;
                    let partial =
                        new.add(&network.name("partial"), formats, |b| network.partial(b, count))?;
                    let choose = new.add(&network.name("choose"), formats, |b| network.choose(b, count))?;
                    new.partial.push(partial);
                    new.between.push(choose);
                }
            }
        }
        new.full.push(sample);
        new.partial.push(sample);
        Ok(new)
    }

    /// Adds a program and says where it stands.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn add(
        &mut self,
        name: &str,
        formats: fn(&WeightSpec) -> WeightFormat,
        body: impl FnOnce(&mut Builder),
    ) -> Result<usize, GenerateError> {
        self.list.push(models::build(name, formats, body)?);
        Ok(self.list.len() - 1)
    }

    /// What steps run, laid out before the loop.
    pub fn routine(&self) -> Routine {
        let both = |step: &[usize]| [step.to_vec(), [step, &self.between].concat()];
        let predict = self.partial.split_last().map_or_else(Vec::new, |(_sample, before)| before.to_vec());
        Routine { full: both(&self.full), partial: both(&self.partial), predict }
    }
}

/// The programs of every kind of step, in order.
#[derive(Debug)]
pub struct Routine {
    /// Before a full step or at the end, and before another one.
    full: [Vec<usize>; 2],
    partial: [Vec<usize>; 2],
    predict: Vec<usize>,
}

impl Routine {
    /// What a step runs, given the one after it.
    pub fn at(&self, step: StepKind, next: Option<StepKind>) -> &[usize] {
        let programs = if step == StepKind::Full { &self.full } else { &self.partial };
        &programs[usize::from(next == Some(StepKind::Predicted))]
    }

    /// What a step that is not full runs before it draws.
    pub fn predict(&self) -> &[usize] {
        &self.predict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_rows_are_recomputed_as_the_official_quantile_leaves() {
        assert_eq!(MlCache::OFFICIAL.rows(41).unwrap(), 5);
        assert_eq!(MlCache::OFFICIAL.rows(1025).unwrap(), 103);
        assert_eq!(MlCache { cache_ratio: 0.0 }.rows(7).unwrap(), 7);
        assert_eq!(MlCache { cache_ratio: 1.0 }.rows(7).unwrap(), 1);
        for cache_ratio in [-0.1, 1.5, f32::NAN] {
            let error = MlCache { cache_ratio }.rows(7).unwrap_err().to_string();
            assert!(error.contains("0 to 1"), "{error}");
        }
    }

    #[test]
    fn a_choice_is_made_only_where_a_partial_step_follows() {
        let programs = Programs { list: Vec::new(), full: vec![0, 1], partial: vec![2, 1], between: vec![3] };
        let routine = programs.routine();
        let (full, partial) = (StepKind::Full, StepKind::Predicted);
        assert_eq!(routine.at(full, Some(partial)), [0, 1, 3]);
        assert_eq!(routine.at(full, Some(full)), [0, 1]);
        assert_eq!(routine.at(partial, Some(partial)), [2, 1, 3]);
        assert_eq!(routine.at(partial, None), [2, 1]);
        assert_eq!(routine.predict(), [2]);
    }
}
