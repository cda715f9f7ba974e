//! Generation with Lumina-DiMOO: its schedule, and the programs of a run (specification section 1f).

use super::predict::{Network, Predictor, Programs};
use super::{GenerateError, sampling};
use crate::kernels::{StepValues, WeightFormat};
use crate::models::dimoo::{Config, Sequence, Sequences};
use crate::models::{Model as _, dimoo_shortcut};
use crate::program::{Builder, WeightSpec};

/// How tokens are drawn and chosen. Unlike MaskGIT's, neither guidance nor noise changes from step to step.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Sampling {
    /// Steps.
    pub steps: u32,
    /// Guidance weight w: `(1 + w) * conditional - w * unconditional`.
    pub guidance: f32,
    /// Factor on the Gumbel noise of the choice, at most [`Self::LARGEST`].
    pub choice_temperature: f32,
    /// Temperature T of the draw: the largest of `logits / T + Gumbel`, or of the logits at 0; at most [`Self::LARGEST`].
    /// Confidence is without it. The official code has one temperature for both draw and choice.
    #[serde(default = "one")]
    pub draw_temperature: f32,
    /// Whether the Gumbel noise of both is rounded as the official code rounds it on CUDA, in bf16: it then spans 9.36,
    /// and a code whose logit is that many temperatures below the best is never drawn.
    #[serde(default)]
    pub bf16_gumbel: bool,
}

fn one() -> f32 {
    1.0
}

impl Sampling {
    /// The official settings.
    pub const OFFICIAL: Self =
        Self { steps: 64, guidance: 4.0, choice_temperature: 1.0, draw_temperature: 1.0, bf16_gumbel: false };

    /// The largest temperature, and guidance weight of either sign: far above all that is of use, and far below where
    /// sums overflow.
    pub const LARGEST: f32 = 1e6;

    /// The values of every step.
    ///
    /// # Errors
    /// No steps, more than 65,536, or a number out of range.
    pub fn steps(&self, tokens: u32) -> Result<Vec<StepValues>, GenerateError> {
        if self.steps == 0 {
            return Err(GenerateError::Setting("generation needs at least 1 step".to_owned()));
        }
        if tokens == 0 || self.steps > 1 << 16 {
            let message = format!("{} steps over {tokens} tokens make no sense", self.steps);
            return Err(GenerateError::Setting(message));
        }
        for (name, value, least) in [
            ("guidance", self.guidance, -Self::LARGEST),
            ("the temperature of the draw", self.draw_temperature, 0.0),
            ("the choice temperature", self.choice_temperature, 0.0),
        ] {
            if !(least..=Self::LARGEST).contains(&value) {
                let message = format!("{name} is {value}; it must be from {least} to {}", Self::LARGEST);
                return Err(GenerateError::Setting(message));
            }
        }
        let (mut masked, mut new_tokens) = (tokens, 0);
        let mut values = Vec::with_capacity(self.steps as usize);
        for step in 0..self.steps {
            let reveal = masked - self.kept(step, tokens).min(masked);
            values.push(StepValues {
                step,
                new_tokens,
                masked,
                reveal,
                mask_ratio: masked as f32 / tokens as f32,
                guidance: self.guidance,
                choice_temperature: self.choice_temperature,
                softmax_temperature: 1.0,
                draw_temperature: self.draw_temperature,
                bf16_noise: self.bf16_gumbel,
                random_choice: false,
            });
            masked -= reveal;
            new_tokens = reveal;
        }
        Ok(values)
    }

    /// Tokens that stay masked after a step: along a cosine, rounded down, at least 1 until the last step.
    fn kept(&self, step: u32, tokens: u32) -> u32 {
        if step + 1 == self.steps {
            return 0;
        }
        let progress = f64::from(step + 1) / f64::from(self.steps);
        let kept = f64::from(tokens) * (std::f64::consts::FRAC_PI_2 * progress).cos();
        (kept.floor() as u32).max(1)
    }
}

/// One sequence of a run, as a network of its own.
struct OneSequence<'a> {
    config: &'a Config,
    shortcut: Option<dimoo_shortcut::Config>,
    sequence: &'a Sequence,
}

impl Network for OneSequence<'_> {
    fn name(&self, program: &str) -> String {
        self.sequence.state(program)
    }

    fn length(&self) -> u32 {
        self.sequence.length
    }

    fn full(&self, b: &mut Builder, keep: bool) {
        if keep {
            self.config.features_and_cache_of(b, self.sequence);
        } else {
            self.config.features_of(b, self.sequence);
        }
    }

    fn choose(&self, b: &mut Builder, count: u32) {
        self.config.choose_rows(b, self.sequence, count);
    }

    fn partial(&self, b: &mut Builder, count: u32) {
        self.config.refresh_rows(b, self.sequence, count);
    }

    fn has_shortcut(&self) -> bool {
        self.shortcut.is_some()
    }

    fn shortcut(&self, b: &mut Builder) {
        if let Some(shortcut) = &self.shortcut {
            shortcut.predict(b, self.config, self.sequence);
        }
    }
}

/// The programs of a run: each sequence's own, and one that samples.
///
/// # Errors
/// There is no such shortcut, or sizes that do not go together.
pub fn programs(
    run: &Sequences,
    predictor: Option<Predictor>,
    shortcut: Option<dimoo_shortcut::Config>,
    recorded_noise: bool,
    formats: fn(&WeightSpec) -> WeightFormat,
) -> Result<Programs, GenerateError> {
    let of = |sequence| OneSequence { config: &run.config, shortcut, sequence };
    let networks: Vec<OneSequence<'_>> = run.sequences.iter().map(of).collect();
    Programs::build(&networks, predictor, formats, |b| {
        sampling::append(b, run, run.batch(), recorded_noise);
    })
}

/// What the states [`IDS`](crate::models::states::IDS) and [`POSITIONS`](crate::models::states::POSITIONS) hold before
/// the first step.
pub fn start(run: &Sequences) -> (Vec<u32>, Vec<u32>) {
    let tokens = run.tokens();
    (vec![run.config.mask_code(); tokens as usize], (0..tokens).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Specification section 1f: tokens revealed at 64 and at 16 steps of 4,096.
    #[test]
    fn published_unmask_counts() {
        let counts = |steps| -> Vec<u32> {
            let sampling = Sampling { steps, ..Sampling::OFFICIAL };
            sampling.steps(4096).unwrap().iter().map(|step| step.reveal).collect()
        };
        let at_64 = [
            2, 3, 7, 8, 11, 14, 16, 18, 21, 23, 26, 28, 30, 33, 35, 37, 40, 42, 44, 46, 49, 50, 53, 55, 57,
            59, 60, 63, 65, 67, 68, 70, 72, 74, 75, 77, 79, 80, 81, 83, 84, 86, 87, 88, 89, 90, 92, 92, 93,
            95, 95, 95, 97, 97, 98, 98, 99, 99, 100, 100, 100, 101, 100, 100,
        ];
        assert_eq!(counts(64), at_64);
        let at_16 = [20, 59, 98, 135, 172, 207, 239, 270, 298, 323, 345, 363, 378, 390, 398, 401];
        assert_eq!(counts(16), at_16);
        assert_eq!(counts(1), [4096]);
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let official = Sampling::OFFICIAL;
        for (sampling, words) in [
            (Sampling { steps: 0, ..official }, "at least 1 step"),
            (Sampling { steps: 65_537, ..official }, "65537 steps"),
            (Sampling { guidance: f32::INFINITY, ..official }, "guidance is inf"),
            (Sampling { guidance: f32::NAN, ..official }, "guidance is NaN"),
            (Sampling { choice_temperature: -0.5, ..official }, "the choice temperature is -0.5"),
            (Sampling { choice_temperature: f32::NAN, ..official }, "the choice temperature is NaN"),
            (Sampling { draw_temperature: -1.0, ..official }, "the temperature of the draw is -1"),
            (Sampling { draw_temperature: 2e6, ..official }, "must be from 0 to 1000000"),
        ] {
            let error = sampling.steps(16).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        for draw_temperature in [0.0, 0.3, 1e6] {
            let steps = Sampling { draw_temperature, ..official }.steps(16).unwrap();
            assert!(steps.iter().all(|step| step.draw_temperature == draw_temperature));
        }
        // More steps than tokens: some reveal nothing, none more than there is.
        let steps = Sampling { steps: 50, ..Sampling::OFFICIAL }.steps(16).unwrap();
        assert_eq!(steps.iter().map(|step| step.reveal).sum::<u32>(), 16);
    }

    #[test]
    fn a_configuration_from_before_the_draw_had_a_temperature_still_loads() {
        let old = r#"{ "steps": 64, "guidance": 4.0, "choice_temperature": 1.0 }"#;
        assert_eq!(serde_json::from_str::<Sampling>(old).unwrap(), Sampling::OFFICIAL);
    }
}
