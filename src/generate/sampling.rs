//! From logits to revealed tokens: the operations of every step, and the numbers that change from step to step.

use super::GenerateError;
use super::schedule::Schedule;
use crate::kernels::commit::Commit;
use crate::kernels::sample::Sample;
use crate::kernels::top_k::TopK;
use crate::kernels::{ChoiceNoise, Extent, StepValues, Symbol};
use crate::models::{Batch, Model, states};
use crate::program::{Builder, Element};

/// How tokens are drawn and chosen. A model folder's `config.json` gives the defaults.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Sampling {
    /// Steps asked for; fewer are run where every token is revealed before.
    pub steps: u32,
    /// How many tokens each step reveals.
    #[serde(default)]
    pub schedule: Schedule,
    /// Guidance weight at the last step; it rises linearly from 0.
    pub guidance: f32,
    /// Temperature of the Gumbel noise of the choice; it falls linearly to 0.
    pub choice_temperature: f32,
    /// Multiplies the logits: an inverse temperature, as in the official code.
    #[serde(default = "one")]
    pub softmax_temperature: f32,
    /// What the choice is made by.
    #[serde(default)]
    pub choice_noise: ChoiceNoise,
}

fn one() -> f32 {
    1.0
}

impl Sampling {
    /// The official evaluation settings at 512 pixels.
    pub const OFFICIAL_512: Self = Self {
        steps: 15,
        schedule: Schedule::Arccos,
        guidance: 2.8,
        choice_temperature: 7.0,
        softmax_temperature: 1.0,
        choice_noise: ChoiceNoise::Linear,
    };

    /// Whether an unconditional half is needed.
    pub fn guided(&self) -> bool {
        self.guidance != 0.0
    }

    /// The values of every step.
    ///
    /// # Errors
    /// No steps, or a number that is not finite.
    pub fn steps(&self, tokens: u32) -> Result<Vec<StepValues>, GenerateError> {
        let refuse = |what: &str| Err(GenerateError::Setting(what.to_owned()));
        if self.steps == 0 {
            return refuse("generation needs at least 1 step");
        }
        let numbers = [self.guidance, self.choice_temperature, self.softmax_temperature];
        if numbers.iter().any(|n| !n.is_finite())
            || self.softmax_temperature <= 0.0
            || self.choice_temperature < 0.0
        {
            return refuse(
                "guidance and temperatures must be finite, the softmax temperature above 0 and the choice temperature not below",
            );
        }
        let mut masked = tokens;
        let mut new_tokens = 0;
        let values =
            self.schedule.counts(self.steps, tokens).into_iter().enumerate().map(|(step, reveal)| {
                // How far along: 0 at the first step, 1 at the last. A single step is guided in full.
                let progress = if self.steps == 1 { 1.0 } else { step as f32 / (self.steps - 1) as f32 };
                let (choice_temperature, random_choice) = match self.choice_noise {
                    ChoiceNoise::Linear => (self.choice_temperature * (1.0 - progress), false),
                    ChoiceNoise::WarmUp => (0.0, step < 2),
                    ChoiceNoise::Random => (0.0, true),
                };
                let values = StepValues {
                    step: step as u32,
                    new_tokens,
                    masked,
                    reveal,
                    mask_ratio: masked as f32 / tokens as f32,
                    guidance: self.guidance * progress,
                    choice_temperature,
                    softmax_temperature: self.softmax_temperature,
                    draw_temperature: 1.0,
                    bf16_noise: false,
                    random_choice,
                };
                masked -= reveal;
                new_tokens = reveal;
                values
            });
        Ok(values.collect())
    }
}

/// Appends what follows the features in every step: logits at masked positions, draw, choice, reveal.
pub fn append(b: &mut Builder, model: &dyn Model, batch: Batch, recorded_noise: bool) {
    let (images, tokens) = (batch.images, model.tokens());
    let u32_state = |b: &mut Builder, name| b.state(name, images, tokens, Element::U32);
    let masked = Extent::symbolic(1, Symbol::Masked, tokens);
    let positions = u32_state(b, states::POSITIONS);
    let drawn = u32_state(b, states::DRAWN);
    let seeds = b.state(states::SEEDS, images, 2, Element::U32);
    let scores = b.temporary("scores", Extent::fixed(images), tokens);
    let chosen = b.temporary_u32("chosen", Extent::fixed(images), tokens);
    let recorded = recorded_noise.then(|| {
        let token = b.state(states::NOISE_TOKEN, images * tokens, model.codebook(), Element::F32);
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
    for range in b.row_ranges(tokens, batch.sequences() * model.codebook()) {
        let logits = model.logits(b, batch, range);
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
            codebook: model.codebook(),
            guided: batch.guided,
        };
        b.scope("sample", |b| b.push(kernel));
    }
    b.scope("sample", |b| {
        b.push(TopK { scores, chosen, images, tokens, masked });
        b.push(commit);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Specification section 1d: the ratios that the shortcut sees at 15 steps of 1,024 tokens.
    #[test]
    fn mask_ratios_at_fifteen_steps() {
        let steps = Sampling::OFFICIAL_512.steps(1024).unwrap();
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
        let steps = Sampling { steps: 100, ..Sampling::OFFICIAL_512 }.steps(16).unwrap();
        assert_eq!(steps.len(), 16);
        assert_eq!(steps.iter().map(|s| s.reveal).sum::<u32>(), 16);
        assert_eq!(steps[15].masked, 1);
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(Sampling { steps: 0, ..Sampling::OFFICIAL_512 }.steps(16).is_err());
        assert!(Sampling { guidance: f32::NAN, ..Sampling::OFFICIAL_512 }.steps(16).is_err());
        assert!(Sampling { softmax_temperature: 0.0, ..Sampling::OFFICIAL_512 }.steps(16).is_err());
    }
}
