//! How tokens are drawn and chosen: the settings, and the numbers that follow from them for every step. [`plan`](super::plan) makes
//! steps of them, `drawing` the operations.

use super::GenerateError;
use super::order::Order;
use super::predict::Predictor;
use super::refresh::Refresh;
use super::schedule::Schedule;
use super::session::Settings;
use crate::kernels::{ChoiceNoise, StepValues};
use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How tokens are drawn and chosen, for every family. A model folder's `config.json` gives the defaults, and leaves out what
/// its family's official settings say ([`Sampling::over`]).
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Sampling {
    /// Steps asked for; fewer are run where every token is revealed before.
    pub steps: u32,
    /// How many tokens each step reveals.
    pub schedule: Schedule,
    /// Guidance weight w: `(1 + w) * conditional - w * unconditional`.
    pub guidance: f32,
    /// How the weight comes about.
    pub guidance_ramp: Ramp,
    /// Temperature T of the draw: the largest of `logits / T + Gumbel`, or of the logits at 0. Confidence is without it.
    pub draw_temperature: f32,
    /// Multiplies the logits of draw and confidence: an inverse temperature, as in MaskGIT's official code.
    pub softmax_temperature: f32,
    /// Temperature of the Gumbel noise of the choice.
    pub choice_temperature: f32,
    /// What the choice is made by.
    pub choice_noise: ChoiceNoise,
    /// Which of the masked tokens a step takes.
    #[serde(default)]
    pub order: Order,
    /// How far apart the tokens of one step stand where they can, in cells of the grid; 0 leaves it to the order.
    #[serde(default)]
    pub spread: f32,
    /// How many of them.
    #[serde(default)]
    pub reveal: Reveal,
    /// The share of known tokens that each full step masks again, those that it finds least likely; as many others are revealed in
    /// their place.
    #[serde(default)]
    pub corrector: f32,
    /// The mask ratios between which there is guidance, the lowest first; elsewhere the model runs without its unconditional half
    /// where that is a program of its own (Kynkäänniemi et al. 2024, arXiv 2404.07724).
    #[serde(default = "everywhere")]
    pub guidance_interval: [f32; 2],
    /// Whether Gumbel noise is rounded as Lumina-DiMOO's code rounds it on CUDA, in bf16: it then spans 9.36, and a code
    /// whose logit is that many temperatures below the best is never drawn.
    pub bf16_gumbel: bool,
}

/// How the guidance weight changes over a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ramp {
    /// From 0 at the first step, linearly to the whole weight at the last.
    Linear,
    /// The whole weight at every step.
    Constant,
}

/// How many tokens a step reveals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reveal {
    /// As the schedule has it.
    #[default]
    Schedule,
    /// As many as the schedule has, and more while the entropies of all that a step reveals, without the largest, sum up to no more
    /// nats than this: what tokens that are drawn together can know of each other (EB-Sampler, Ben-Hamu et al. 2025, arXiv 2505.24857).
    Entropy(f32),
    /// As many as the schedule has, or all whose likeliest code has at least this probability and was the likeliest at the step before
    /// (after KLASS, arXiv 2511.05664).
    Certainty(f32),
}

impl Reveal {
    /// Whether a run decides.
    pub fn is_free(self) -> bool {
        self != Self::Schedule
    }

    /// The bound on entropy and the least certainty, 0 where there is none.
    pub(super) fn bounds(self) -> [f32; 2] {
        match self {
            Self::Schedule => [0.0, 0.0],
            Self::Entropy(bound) => [bound, 0.0],
            Self::Certainty(least) => [0.0, least],
        }
    }
}

impl std::fmt::Display for Reveal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Schedule => f.write_str("schedule"),
            Self::Entropy(bound) => write!(f, "entropy:{bound}"),
            Self::Certainty(least) => write!(f, "certainty:{least}"),
        }
    }
}

impl std::str::FromStr for Reveal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str, most: f32| {
            let value = text.parse::<f32>().ok().filter(|value| *value > 0.0 && *value <= most);
            value.ok_or_else(|| format!("{text:?} is not a number above 0 and up to {most}"))
        };
        match text.split_once(':') {
            None if text == "schedule" => Ok(Self::Schedule),
            Some(("entropy", bound)) => Ok(Self::Entropy(number(bound, Sampling::LARGEST)?)),
            Some(("certainty", least)) => Ok(Self::Certainty(number(least, 1.0)?)),
            _ => Err(format!("{text:?} is none of: schedule, entropy:NATS, certainty:PROBABILITY")),
        }
    }
}

/// No interval at all.
pub(super) fn everywhere() -> [f32; 2] {
    [0.0, 1.0]
}

impl Sampling {
    /// The official evaluation settings of MaskGIT at 512 pixels.
    pub const MASKGIT_512: Self = Self {
        steps: 15,
        schedule: Schedule::Arccos,
        guidance: 2.8,
        guidance_ramp: Ramp::Linear,
        draw_temperature: 1.0,
        softmax_temperature: 1.0,
        choice_temperature: 7.0,
        choice_noise: ChoiceNoise::Linear,
        order: Order::Confidence,
        spread: 0.0,
        reveal: Reveal::Schedule,
        corrector: 0.0,
        guidance_interval: [0.0, 1.0],
        bf16_gumbel: false,
    };
    /// Those at 256 pixels.
    pub const MASKGIT_256: Self =
        Self { steps: 8, guidance: 3.0, choice_temperature: 4.5, ..Self::MASKGIT_512 };
    /// The official settings of Lumina-DiMOO. Its code has one temperature for both draw and choice.
    pub const DIMOO: Self = Self {
        steps: 64,
        schedule: Schedule::KeptCosine,
        guidance: 4.0,
        guidance_ramp: Ramp::Constant,
        draw_temperature: 1.0,
        softmax_temperature: 1.0,
        choice_temperature: 1.0,
        choice_noise: ChoiceNoise::Constant,
        order: Order::Confidence,
        spread: 0.0,
        reveal: Reveal::Schedule,
        corrector: 0.0,
        guidance_interval: [0.0, 1.0],
        bf16_gumbel: false,
    };

    /// The largest temperature, and guidance weight of either sign: far above all that is of use, and far below where
    /// sums overflow.
    pub const LARGEST: f32 = 1e6;

    /// The most steps of a run.
    pub const MOST_STEPS: u32 = 1 << 16;

    /// What `config.json` or a picture says, over the official settings of its family. Steps, guidance and the temperature of
    /// the choice must be there.
    ///
    /// # Errors
    /// A field is missing or of the wrong type.
    pub fn over(official: &Self, given: &Value) -> Result<Self, serde_json::Error> {
        let mut all = serde_json::to_value(official)?;
        let (Some(fields), Some(given)) = (all.as_object_mut(), given.as_object()) else {
            return Err(serde_json::Error::custom("`sampling` is no object"));
        };
        if let Some(name) =
            ["steps", "guidance", "choice_temperature"].iter().find(|name| !given.contains_key(**name))
        {
            return Err(serde_json::Error::custom(format!("missing field `{name}` of `sampling`")));
        }
        fields.extend(given.iter().map(|(name, value)| (name.clone(), value.clone())));
        serde_json::from_value(all)
    }

    /// The same with another number of steps.
    #[must_use]
    pub fn with_steps(self, steps: u32) -> Self {
        Self { steps, ..self }
    }

    /// Whether an unconditional half is needed.
    pub fn guided(&self) -> bool {
        self.guidance != 0.0
    }

    /// Whether the numbers make sense.
    ///
    /// # Errors
    /// No steps, too many, or a number out of range.
    pub fn check(&self) -> Result<(), GenerateError> {
        let refuse = |message: String| Err(GenerateError::Setting(message));
        match self.steps {
            0 => return refuse("generation needs at least 1 step".to_owned()),
            steps if steps > Self::MOST_STEPS => {
                return refuse(format!(
                    "{steps} steps are more than the {} that make sense",
                    Self::MOST_STEPS
                ));
            }
            _ => {}
        }
        for (name, value, least) in [
            ("guidance", self.guidance, -Self::LARGEST),
            ("the temperature of the draw", self.draw_temperature, 0.0),
            ("the softmax temperature", self.softmax_temperature, 1.0 / Self::LARGEST),
            ("the choice temperature", self.choice_temperature, 0.0),
            ("the spread", self.spread, 0.0),
            ("the guidance interval's start", self.guidance_interval[0], 0.0),
            ("the guidance interval's end", self.guidance_interval[1], 0.0),
        ] {
            if !(least..=Self::LARGEST).contains(&value) {
                return refuse(format!("{name} is {value}; it must be from {least} to {}", Self::LARGEST));
            }
        }
        if !(0.0..=1.0).contains(&self.corrector) {
            return refuse(format!("the corrector's share is {}; it must be from 0 to 1", self.corrector));
        }
        let [entropy, certainty] = self.reveal.bounds();
        if self.reveal.is_free()
            && !(entropy + certainty > 0.0 && entropy <= Self::LARGEST && certainty <= 1.0)
        {
            return refuse(format!(
                "{} tells nothing; use a bound above 0, of a probability up to 1",
                self.reveal
            ));
        }
        let [low, high] = self.guidance_interval;
        if low > high {
            return refuse(format!("the guidance interval begins at {low} and ends below that, at {high}"));
        }
        Ok(())
    }

    /// Guidance at a place of the schedule with such a share of what is to be made left, and whether there is to be none for the interval.
    pub(super) fn guidance_at(&self, place: u32, left: f32) -> (f32, bool) {
        let [least, most] = self.guidance_interval;
        let unguided = !(least..=most).contains(&left);
        let guidance = match self.guidance_ramp {
            _ if unguided => 0.0,
            Ramp::Linear => self.guidance * self.progress(place),
            Ramp::Constant => self.guidance,
        };
        (guidance, unguided)
    }

    /// The temperature of the choice at a place of the schedule, and whether it is made at random.
    pub(super) fn choice_at(&self, place: u32) -> (f32, bool) {
        match self.choice_noise {
            ChoiceNoise::Linear => (self.choice_temperature * (1.0 - self.progress(place)), false),
            ChoiceNoise::Constant => (self.choice_temperature, false),
            ChoiceNoise::WarmUp => (0.0, place < 2),
            ChoiceNoise::Random => (0.0, true),
        }
    }

    /// How far along: 0 at the first step, 1 at the last. A single step is guided in full.
    fn progress(&self, place: u32) -> f32 {
        if self.steps == 1 { 1.0 } else { place as f32 / (self.steps - 1) as f32 }
    }

    /// What does not change from step to step.
    pub(super) fn at_every_step(&self) -> StepValues {
        StepValues {
            softmax_temperature: self.softmax_temperature,
            draw_temperature: self.draw_temperature,
            bf16_noise: self.bf16_gumbel,
            ranked: self.order != Order::Confidence,
            distance: self.spread,
            ..StepValues::default()
        }
    }

    /// The values of every step over so many tokens an image, all in full and as scheduled.
    ///
    /// # Errors
    /// No steps, too many, or a number out of range.
    pub fn steps(&self, tokens: u32) -> Result<Vec<StepValues>, GenerateError> {
        let sampling = Self { reveal: Reveal::Schedule, ..*self };
        let settings = Settings { sampling, refresh: Refresh::Every, predictor: Predictor::Reuse };
        Ok(settings.plan(tokens)?.into_iter().map(|step| step.values).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ratios that the shortcut sees at 15 steps of 1,024 tokens.
    #[test]
    fn mask_ratios_at_fifteen_steps() {
        let steps = Sampling::MASKGIT_512.steps(1024).unwrap();
        let wanted = [
            1.0, 0.999_023, 0.973_633, 0.936_523, 0.891_602, 0.838_867, 0.779_297, 0.713_867, 0.642_578,
            0.565_430, 0.483_398, 0.396_484, 0.304_688, 0.208_008, 0.106_445,
        ];
        for (step, wanted) in steps.iter().zip(wanted) {
            assert!(
                (step.mask_ratio - wanted).abs() < 1e-6,
                "step {}: {} and {wanted}",
                step.step,
                step.mask_ratio
            );
        }
        assert_eq!(steps[0].guidance, 0.0);
        assert_eq!(steps[14].guidance, 2.8);
        assert_eq!(steps[14].choice_temperature, 0.0);
        assert_eq!(steps[1].new_tokens, 1);
    }

    #[test]
    fn more_steps_than_tokens_ends_with_the_last_token() {
        let steps = Sampling { steps: 100, ..Sampling::MASKGIT_512 }.steps(16).unwrap();
        assert_eq!(steps.len(), 16);
        assert_eq!(steps.iter().map(|s| s.reveal).sum::<u32>(), 16);
        assert_eq!(steps[15].masked, 1);
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for official in [Sampling::DIMOO, Sampling::MASKGIT_512] {
            for (sampling, words) in [
                (Sampling { steps: 0, ..official }, "at least 1 step"),
                (Sampling { guidance_interval: [0.8, 0.2], ..official }, "begins at 0.8"),
                (Sampling { steps: 65_537, ..official }, "65537 steps"),
                (Sampling { guidance: f32::INFINITY, ..official }, "guidance is inf"),
                (Sampling { guidance: f32::NAN, ..official }, "guidance is NaN"),
                (Sampling { choice_temperature: -0.5, ..official }, "the choice temperature is -0.5"),
                (Sampling { choice_temperature: f32::NAN, ..official }, "the choice temperature is NaN"),
                (Sampling { softmax_temperature: 0.0, ..official }, "the softmax temperature is 0"),
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
        }
    }

    #[test]
    fn what_a_config_leaves_out_is_as_its_family_has_it() {
        let old = serde_json::json!({ "steps": 64, "guidance": 4.0, "choice_temperature": 1.0 });
        assert_eq!(Sampling::over(&Sampling::DIMOO, &old).unwrap(), Sampling::DIMOO);
        let class = Sampling::over(&Sampling::MASKGIT_512, &old).unwrap();
        let wanted = Sampling { steps: 64, guidance: 4.0, choice_temperature: 1.0, ..Sampling::MASKGIT_512 };
        assert_eq!(class, wanted);
        let all = serde_json::json!(class);
        assert_eq!(Sampling::over(&Sampling::DIMOO, &all).unwrap(), class);
        for (given, words) in [
            (serde_json::json!({ "steps": 3 }), "missing field `guidance`"),
            (serde_json::json!({ "steps": "many", "guidance": 1, "choice_temperature": 1 }), "u32"),
            (serde_json::json!(3), "no object"),
        ] {
            let error = Sampling::over(&Sampling::DIMOO, &given).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn guidance_and_noise_of_lumina_dimoo_do_not_change() {
        let steps = Sampling::DIMOO.steps(4096).unwrap();
        assert!(steps.iter().all(|step| (step.guidance, step.choice_temperature) == (4.0, 1.0)));
    }
}
