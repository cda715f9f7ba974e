//! How far apart the distributions are that tokens are drawn from, by features of one origin and by those of another.
//!
//! Two features can be far from each other in what no code depends on, and near where it decides; and guidance multiplies what two
//! sequences differ by. So what a predictor's features are worth is the divergence (Kullback and Leibler's) of the guided distributions
//! at the tokens that are drawn next. Over the steps of a run they add up to that of the pictures, were tokens of a step independent.

use super::GenerateError;
use super::likelihood::log_sum;
use super::model::{Device, Model};
use super::settings::PlannedStep;
use crate::exec::{Executor, read_f32, write_f32};
use crate::kernels::combine::Combine;
use crate::kernels::{Extent, RowRange, StepValues, Symbol};
use crate::models::{self, Batch, Known, states};
use crate::program::Element;

/// A base's head alone, with guidance: from features to what tokens are drawn from.
pub struct Heads {
    executor: Box<dyn Executor>,
    family: Known,
    /// States that hold features, and how many numbers each has.
    features: Vec<(String, usize)>,
    steps: Vec<StepValues>,
}

impl std::fmt::Debug for Heads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Heads").field("steps", &self.steps.len()).finish_non_exhaustive()
    }
}

impl Heads {
    /// Of a model, for runs of one image each.
    ///
    /// # Errors
    /// Weights cannot be loaded, or the device cannot hold the program.
    pub fn new(model: &Model, batch: Batch, device: &Device) -> Result<Self, GenerateError> {
        let family = &model.config.family;
        let (tokens, codebook) = (family.tokens(), family.codebook());
        let program = models::build("heads", model.formats(), |b| {
            let x = family.guided_logits(b, batch, RowRange::all(tokens).into());
            let y = b.state(states::LOGITS, tokens, codebook, Element::F32);
            b.push(Combine::copy(x, y, Extent::symbolic(1, Symbol::Masked, tokens), codebook));
        })?;
        let executor = device.executor(vec![program], &mut *model.weights()?)?;
        Ok(Self {
            executor,
            family: family.clone(),
            features: family.feature_states(batch),
            steps: Vec::new(),
        })
    }

    /// Takes the numbers of a run's steps.
    ///
    /// # Errors
    /// The device cannot hold them.
    pub fn plan(&mut self, plan: &[PlannedStep]) -> Result<(), GenerateError> {
        // Of the masked tokens those alone that the step reveals.
        self.steps =
            plan.iter().map(|step| StepValues { masked: step.values.reveal, ..step.values }).collect();
        Ok(self.executor.prepare(&self.steps)?)
    }

    /// The logarithms of the probabilities `[places, codebook]` from which a step draws the tokens that it reveals, at `places`, by these features of
    /// each state. They are of the logits times the softmax temperature, as confidence is.
    ///
    /// # Errors
    /// The device failed.
    pub async fn log_probabilities(
        &mut self,
        step: usize,
        features: &[Vec<f32>],
        places: &[u32],
    ) -> Result<Vec<f32>, GenerateError> {
        for ((state, _), values) in self.features.iter().zip(features) {
            write_f32(self.executor.as_mut(), state, values)?;
        }
        let mut positions = places.to_vec();
        positions.resize(self.family.tokens() as usize, 0);
        self.executor.write(states::POSITIONS, &positions)?;
        self.executor.run(&[0], step, false)?;
        let codebook = self.family.codebook() as usize;
        let mut logits = read_f32(self.executor.as_mut(), states::LOGITS, places.len() * codebook).await?;
        let scale = self.steps.get(step).map_or(1.0, |step| step.softmax_temperature);
        logits.chunks_exact_mut(codebook).for_each(|row| log_softmax(row, scale));
        Ok(logits)
    }
}

fn log_softmax(row: &mut [f32], scale: f32) {
    row.iter_mut().for_each(|logit| *logit *= scale);
    let all = log_sum(row) as f32;
    row.iter_mut().for_each(|logit| *logit -= all);
}

/// In nats, the divergence of the distributions `ours` from `theirs`, both logarithms of probabilities, summed over all rows.
#[must_use]
pub fn divergence(theirs: &[f32], ours: &[f32]) -> f64 {
    // What is less likely than e^-30 adds nothing, and there are thousands of such.
    let likely = theirs.iter().zip(ours).filter(|(wanted, _)| **wanted > -30.0);
    likely.map(|(wanted, found)| f64::from(wanted.exp()) * f64::from(wanted - found)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::fixtures::{fixture, prompt, text_fixture};
    use crate::generate::predict::Predictor;
    use crate::generate::refresh::Refresh;
    use crate::generate::sampling::Sampling;
    use crate::generate::session::{Session, Settings, Shape};
    use crate::kernels::philox::{self, Stream};
    use crate::models::Condition;
    use pollster::block_on;

    /// The distributions are those of the sampler: with its noise, they give the codes that it drew.
    #[test]
    fn what_is_drawn_is_drawn_from_them() {
        let (_folder, text) = text_fixture();
        let words = prompt(&text, "w5 w17 w9");
        for (model, condition) in [(fixture(), Condition::Class(Some(2))), (text, words)] {
            let sampling = model.config.sampling.with_steps(5);
            let interval = [0.3, 0.8];
            for sampling in [sampling, Sampling { guidance_interval: interval, ..sampling }] {
                let settings = Settings { sampling, refresh: Refresh::Every, predictor: Predictor::Reuse };
                let batch = Batch::of(&condition, 1, sampling.guided());
                let mut session =
                    Session::new(&model, Shape { decoder: false, ..Shape::new(batch, None) }, &Device::Cpu)
                        .unwrap();
                let mut heads = Heads::new(&model, batch, &Device::Cpu).unwrap();
                let plan = session.configure(&settings).unwrap().to_vec();
                heads.plan(&plan).unwrap();
                session.start(std::slice::from_ref(&condition), &[11]).unwrap();
                for (index, step) in plan.iter().enumerate() {
                    session.step().unwrap();
                    let mut features = Vec::new();
                    for (state, len) in model.family().feature_states(batch) {
                        features.push(block_on(read_f32(session.executor(), &state, len)).unwrap());
                    }
                    let count = step.values.reveal as usize;
                    let places = block_on(session.executor().read(states::NEW_POSITIONS, count)).unwrap();
                    let codes = block_on(session.executor().read(states::NEW_IDS, count)).unwrap();
                    let found = block_on(heads.log_probabilities(index, &features, &places)).unwrap();
                    let codebook = model.family().codebook() as usize;
                    for ((row, place), code) in found.chunks_exact(codebook).zip(&places).zip(&codes) {
                        let total: f32 = row.iter().map(|value| value.exp()).sum();
                        assert!((total - 1.0).abs() < 1e-4);
                        let noisy = |(code, value): (usize, &f32)| {
                            let bits = philox::draw(
                                philox::key(11),
                                step.values.step,
                                *place,
                                Stream::Token,
                                code as u32 / 4,
                            );
                            let noise =
                                if step.values.bf16_noise { philox::gumbel_bf16 } else { philox::gumbel };
                            value + step.values.draw_temperature * noise(bits[code % 4])
                        };
                        let scores: Vec<f32> = row.iter().enumerate().map(noisy).collect();
                        let best = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                        assert!(scores[*code as usize] > best - 1e-3, "step {index} at {place}");
                    }
                    assert!(divergence(&found, &found).abs() < 1e-9);
                    let flat = vec![-(codebook as f32).ln(); found.len()];
                    assert!(divergence(&found, &flat) > 0.0 && divergence(&flat, &found) > 0.0);
                }
            }
        }
    }
}
