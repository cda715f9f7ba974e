//! From logits to revealed tokens: the operations of every step, and the numbers that change from step to step.

use super::GenerateError;
use super::order::Order;
use super::schedule::Schedule;
use crate::kernels::commit::Commit;
use crate::kernels::rank_scores::RankScores;
use crate::kernels::sample::Sample;
use crate::kernels::spread_k::SpreadK;
use crate::kernels::top_k::TopK;
use crate::kernels::unite::{OutsideUnion, Unite};
use crate::kernels::{ChoiceNoise, Extent, StepValues, Symbol};
use crate::models::{Batch, Family, states};
use crate::program::{Builder, Element};
use serde::de::Error as _;
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

/// No interval at all.
fn everywhere() -> [f32; 2] {
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
    fn check(&self) -> Result<(), GenerateError> {
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
        let [low, high] = self.guidance_interval;
        if low > high {
            return refuse(format!("the guidance interval begins at {low} and ends below that, at {high}"));
        }
        Ok(())
    }

    /// The values of every step over so many tokens an image.
    ///
    /// # Errors
    /// No steps, too many, or a number out of range.
    pub fn steps(&self, tokens: u32) -> Result<Vec<StepValues>, GenerateError> {
        self.check()?;
        let mut masked = tokens;
        let mut new_tokens = 0;
        let values =
            self.schedule.counts(self.steps, tokens).into_iter().enumerate().map(|(step, reveal)| {
                // How far along: 0 at the first step, 1 at the last. A single step is guided in full.
                let progress = if self.steps == 1 { 1.0 } else { step as f32 / (self.steps - 1) as f32 };
                let mask_ratio = masked as f32 / tokens as f32;
                let [least, most] = self.guidance_interval;
                let unguided = !(least..=most).contains(&mask_ratio);
                let guidance = match self.guidance_ramp {
                    _ if unguided => 0.0,
                    Ramp::Linear => self.guidance * progress,
                    Ramp::Constant => self.guidance,
                };
                let (choice_temperature, random_choice) = match self.choice_noise {
                    ChoiceNoise::Linear => (self.choice_temperature * (1.0 - progress), false),
                    ChoiceNoise::Constant => (self.choice_temperature, false),
                    ChoiceNoise::WarmUp => (0.0, step < 2),
                    ChoiceNoise::Random => (0.0, true),
                };
                let values = StepValues {
                    step: step as u32,
                    new_tokens,
                    masked,
                    reveal,
                    mask_ratio,
                    guidance,
                    choice_temperature,
                    softmax_temperature: self.softmax_temperature,
                    draw_temperature: self.draw_temperature,
                    bf16_noise: self.bf16_gumbel,
                    random_choice,
                    ranked: self.order != Order::Confidence,
                    distance: self.spread,
                    unguided,
                    ..StepValues::default()
                };
                masked -= reveal;
                new_tokens = reveal;
                values
            });
        Ok(values.collect())
    }
}

/// Appends what follows the features in every step: logits at masked positions, draw, choice, reveal.
pub fn append(b: &mut Builder, family: &dyn Family, batch: Batch, recorded_noise: bool) {
    let (images, tokens) = (batch.images, family.tokens());
    let u32_state = |b: &mut Builder, name| b.state(name, images, tokens, Element::U32);
    let masked = Extent::symbolic(1, Symbol::Masked, tokens);
    let positions = u32_state(b, states::POSITIONS);
    let drawn = u32_state(b, states::DRAWN);
    let seeds = b.state(states::SEEDS, images, 2, Element::U32);
    let scores = b.temporary("scores", Extent::fixed(images), tokens);
    let chosen = b.temporary_u32("chosen", Extent::fixed(images), tokens);
    let recorded = recorded_noise.then(|| {
        let token = b.state(states::NOISE_TOKEN, images * tokens, family.codebook(), Element::F32);
        (token, b.state(states::NOISE_CHOICE, images, tokens, Element::F32))
    });
    let commit = Commit {
        chosen,
        drawn,
        positions,
        ids: u32_state(b, states::IDS),
        new_ids: u32_state(b, states::NEW_IDS),
        new_positions: u32_state(b, states::NEW_POSITIONS),
        images,
        tokens,
        masked,
    };
    // In parts where the logits of all positions would exceed a binding.
    for range in b.row_ranges(tokens, batch.sequences() * family.codebook()) {
        let logits = family.logits(b, batch, range);
        let kernel = Sample {
            logits,
            positions,
            seeds,
            recorded,
            drawn,
            scores,
            images,
            tokens,
            masked: Extent::part(1, Symbol::Masked, range),
            first_masked: range.first,
            codebook: family.codebook(),
            guided: batch.guided,
        };
        b.scope("sample", |b| b.push(kernel));
    }
    let ranks = b.state(states::RANKS, tokens, 1, Element::U32);
    let [marked, listed] = [states::UNITED, states::UNION].map(|name| u32_state(b, name));
    let [_, columns] = family.grid();
    b.scope("sample", |b| {
        // All but two stay aside in runs that do not ask for them.
        b.push(RankScores { ranks, positions, scores, images, tokens, masked });
        b.push(OutsideUnion { marked, positions, scores, images, tokens, masked });
        b.push(Unite { scores, positions, marked, listed, images, tokens, masked });
        b.push(TopK { scores, chosen, images, tokens, masked });
        b.push(SpreadK { scores, positions, chosen, images, tokens, columns, masked });
        b.push(commit);
    });
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
