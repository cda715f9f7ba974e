//! How likely a base finds a picture's codes given others of them: coherence that needs no judge, of any checkpoint.
//!
//! Of a [`Likelihood`], [`Likelihood::coherence`] masks a quarter of the codes and takes the mean logarithm of the probability that
//! the base, conditioned as the picture was and without guidance, gives to what is there; twice, at other places. Codes that agree on
//! what the prompt leaves open, a colour say, are likely given each other. [`edit`](super::edit) asks it place by place.

use super::GenerateError;
use super::model::{Device, Model};
use crate::exec::{Executor, read_f32};
use crate::kernels::combine::Combine;
use crate::kernels::{Extent, RowRange, StepValues, Symbol, philox};
use crate::models::{self, Batch, Condition, Known, states};
use crate::program::{Element, Formats, WeightSource};

/// One in so many codes is masked.
const MASKED_SHARE: u32 = 4;
/// And at most one in so many.
const MOST_SHARE: u32 = 2;
/// Random maskings of each picture.
const MASKINGS: u32 = 2;
/// Above every stream of the sampler's and of the scenes'.
const STREAM: u32 = 0x5EE0_0000;

/// A base that says how likely codes are.
pub struct Likelihood {
    executor: Box<dyn Executor>,
    family: Known,
    batch: Batch,
    /// Masked places that the executor is prepared for.
    prepared: u32,
}

impl std::fmt::Debug for Likelihood {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Likelihood").field("prepared", &self.prepared).finish_non_exhaustive()
    }
}

impl Likelihood {
    /// Of a model, for conditions like this: prompts of as many tokens.
    ///
    /// # Errors
    /// Weights cannot be loaded, or the device cannot hold the program.
    pub fn new(model: &Model, condition: &Condition, device: &Device) -> Result<Self, GenerateError> {
        let batch = Batch::of(condition, 1, false);
        Self::with_weights(&model.config.family, batch, device, model.formats(), &mut *model.weights()?)
    }

    fn with_weights(
        family: &Known,
        batch: Batch,
        device: &Device,
        formats: Formats,
        weights: &mut dyn WeightSource,
    ) -> Result<Self, GenerateError> {
        let codebook = family.codebook();
        let most = family.tokens().div_ceil(MOST_SHARE);
        let program = models::build("likelihood", formats, |b| {
            family.features(b, batch);
            let x = family.logits(b, batch, RowRange::all(most));
            let y = b.state(states::LOGITS, most, codebook, Element::F32);
            let rows = Extent::symbolic(1, Symbol::Masked, most);
            b.push(Combine::copy(x, y, rows, codebook));
        })?;
        let executor = device.executor(vec![program], weights)?;
        Ok(Self { executor, family: family.clone(), batch, prepared: 0 })
    }

    /// The mean over two maskings of a quarter, in nats a code, of a picture that is made under a condition. The masked places
    /// depend on the seed alone.
    ///
    /// # Errors
    /// There are not as many codes as the base has, a condition of another length, or the device failed.
    pub async fn coherence(
        &mut self,
        condition: &Condition,
        codes: &[u32],
        seed: u64,
    ) -> Result<f64, GenerateError> {
        let mut sum = 0.0;
        for masking in 0..MASKINGS {
            let tokens = self.family.tokens();
            let masked = places(tokens, tokens.div_ceil(MASKED_SHARE), seed, masking);
            let each = self.given_others(condition, codes, &masked).await?;
            sum += each.iter().sum::<f64>() / masked.len().max(1) as f64;
        }
        Ok(sum / f64::from(MASKINGS))
    }

    /// The log-likelihood of each of the codes at `masked`, in ascending order and at most half of all, given all others.
    ///
    /// # Errors
    /// There are not as many codes as the base has, a condition of another length, or the device failed.
    pub async fn given_others(
        &mut self,
        condition: &Condition,
        codes: &[u32],
        masked: &[u32],
    ) -> Result<Vec<f64>, GenerateError> {
        let logits = self.logits(condition, codes, masked).await?;
        let rows = logits.chunks_exact(self.family.codebook() as usize).zip(masked);
        Ok(rows.map(|(row, &place)| log_softmax(row, codes[place as usize] as usize)).collect())
    }

    /// Logits of all codes `[masked, codebook]` at places in ascending order, at most half of all, given the codes elsewhere.
    ///
    /// # Errors
    /// As [`Likelihood::given_others`].
    pub async fn logits(
        &mut self,
        condition: &Condition,
        codes: &[u32],
        masked: &[u32],
    ) -> Result<Vec<f32>, GenerateError> {
        let (tokens, codebook) = (self.family.tokens(), self.family.codebook());
        let (count, most) = (masked.len() as u32, tokens.div_ceil(MOST_SHARE));
        if codes.len() != tokens as usize {
            let message = format!("{} codes of a picture that has {tokens}", codes.len());
            return Err(GenerateError::Setting(message));
        }
        if !(1..=most).contains(&count) {
            let message = format!("{count} places at once, where 1 to {most} are looked at");
            return Err(GenerateError::Setting(message));
        }
        if self.prepared != count {
            let mask_ratio = count as f32 / tokens as f32;
            self.executor.prepare(&[StepValues { masked: count, mask_ratio, ..StepValues::default() }])?;
            self.prepared = count;
        }
        let condition = std::slice::from_ref(condition);
        for (state, values) in self.family.condition(self.batch, condition).map_err(GenerateError::Setting)? {
            self.executor.write(&state, &values)?;
        }
        let mut ids = codes.to_vec();
        masked.iter().for_each(|&place| ids[place as usize] = codebook);
        let mut positions = masked.to_vec();
        positions.resize(codes.len(), 0);
        self.executor.write(states::IDS, &ids)?;
        self.executor.write(states::POSITIONS, &positions)?;
        self.executor.run(&[0], 0, false)?;
        Ok(read_f32(self.executor.as_mut(), states::LOGITS, masked.len() * codebook as usize).await?)
    }
}

/// The logarithm of the probability of `code` by logits.
pub(crate) fn log_softmax(logits: &[f32], code: usize) -> f64 {
    // A code that the base does not have is never drawn.
    logits.get(code).map_or(f64::NEG_INFINITY, |&logit| f64::from(logit) - log_sum(logits))
}

/// The logarithm of the sum of what logits stand for.
pub(crate) fn log_sum(logits: &[f32]) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - largest).exp()).sum();
    f64::from(largest) + sum.ln()
}

/// `count` of `0 .. tokens`, each choice as likely, in ascending order.
fn places(tokens: u32, count: u32, seed: u64, masking: u32) -> Vec<u32> {
    let draw = |place: u32| philox::philox([place, masking, 0, STREAM], philox::key(seed));
    let mut order: Vec<u32> = (0..tokens).collect();
    order.sort_by_key(|&place| (draw(place), place));
    order.truncate(count as usize);
    order.sort_unstable();
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::fixtures::{classes, fixture, prompt, text_fixture};
    use crate::models::Family;
    use pollster::block_on;

    #[test]
    fn a_quarter_is_masked_at_random_places_of_the_seed() {
        let all: Vec<Vec<u32>> = (0..64).map(|seed| places(64, 16, seed, 0)).collect();
        for places in &all {
            assert!(places.len() == 16 && places.is_sorted_by(|a, b| a < b), "{places:?}");
            assert!(places.iter().all(|&place| place < 64));
        }
        assert_ne!(all[0], all[1]);
        assert_ne!(all[3], places(64, 16, 3, 1));
        assert_eq!(all[3], places(64, 16, 3, 0));
        // Each place in about a quarter of them: 16 of 64, give or take four standard deviations of 3.5.
        for place in 0..64 {
            let count = all.iter().filter(|places| places.contains(&place)).count();
            assert!((3..30).contains(&count), "{place}: {count}");
        }
    }

    #[test]
    fn logits_become_logarithms_of_probabilities() {
        for shift in [0.0_f32, 300.0, -300.0] {
            let logits = [1.0_f32, 2.0, 4.0].map(|logit| logit.ln() + shift);
            for (code, share) in [1.0_f64, 2.0, 4.0].into_iter().enumerate() {
                let found = log_softmax(&logits, code);
                assert!((found - (share / 7.0).ln()).abs() < 1e-4, "{found}");
            }
        }
        assert_eq!(log_softmax(&[0.0; 4], 9), f64::NEG_INFINITY);
    }

    /// Logits of all positions, from a program of their own.
    fn all_logits(model: &Model, condition: &Condition, ids: &[u32]) -> Vec<f32> {
        let family: &dyn Family = model.family();
        let (tokens, width) = (family.tokens(), family.codebook());
        let batch = Batch::of(condition, 1, false);
        let program = models::build("all", Formats::F32, |b| {
            family.features(b, batch);
            let x = family.logits(b, batch, RowRange::all(tokens));
            let y = b.state(states::LOGITS, tokens, width, Element::F32);
            let rows = Extent::symbolic(1, Symbol::Masked, tokens);
            b.push(Combine::copy(x, y, rows, width));
        });
        let weights = &mut *model.weights().unwrap();
        let mut executor = Device::Cpu.executor(vec![program.unwrap()], weights).unwrap();
        executor.prepare(&[StepValues { masked: tokens, ..StepValues::default() }]).unwrap();
        let positions: Vec<u32> = (0..tokens).collect();
        for (name, values) in family.condition(batch, std::slice::from_ref(condition)).unwrap() {
            executor.write(&name, &values).unwrap();
        }
        executor.write(states::IDS, ids).unwrap();
        executor.write(states::POSITIONS, &positions).unwrap();
        executor.run(&[0], 0, false).unwrap();
        block_on(read_f32(executor.as_mut(), states::LOGITS, (tokens * width) as usize)).unwrap()
    }

    /// The mean over two maskings, from logits of all positions and in the plainest arithmetic.
    fn reference(codes: &[u32], codebook: u32, seed: u64, logits: &mut dyn FnMut(&[u32]) -> Vec<f32>) -> f64 {
        let tokens = codes.len() as u32;
        let mut sum = 0.0;
        for masking in 0..2 {
            let masked = places(tokens, tokens.div_ceil(4), seed, masking);
            let ids: Vec<u32> = (0..tokens)
                .map(|place| if masked.contains(&place) { codebook } else { codes[place as usize] })
                .collect();
            let logits = logits(&ids);
            for &place in &masked {
                let row = &logits[(place * codebook) as usize..][..codebook as usize];
                let all: f64 = row.iter().map(|&logit| f64::from(logit).exp()).sum();
                let own = f64::from(row[codes[place as usize] as usize]).exp();
                sum += (own / all).ln() / masked.len() as f64 / 2.0;
            }
        }
        sum
    }

    #[test]
    fn coherence_of_both_families_is_that_of_all_logits() {
        let (_folder, text) = text_fixture();
        let words = prompt(&text, "w5 w17");
        for (model, condition) in [(fixture(), Condition::Class(Some(2))), (text, words)] {
            let (tokens, codebook) = (model.family().tokens(), model.family().codebook());
            let codes: Vec<u32> = (0..tokens).map(|i| (i * 37 + 5) % codebook).collect();
            let mut likelihood = Likelihood::new(&model, &condition, &Device::Cpu).unwrap();
            let found = block_on(likelihood.coherence(&condition, &codes, 11)).unwrap();
            let wanted = reference(&codes, codebook, 11, &mut |ids| all_logits(&model, &condition, ids));
            assert!((found - wanted).abs() < 1e-2 * wanted.abs(), "{found}, not {wanted}");
            assert!(found < 0.0);
            let error = block_on(likelihood.coherence(&condition, &codes[1..], 11)).unwrap_err().to_string();
            assert!(error.contains("codes of a picture"), "{error}");
        }
    }

    /// A model that was trained on pictures finds its own more likely than the same codes in another order.
    #[test]
    fn codes_of_a_picture_are_likelier_than_the_same_shuffled() {
        use super::super::session::{Session, Settings, Shape};
        use crate::generate::predict::Predictor;
        use crate::generate::refresh::Refresh;
        let model = fixture();
        let sampling = model.config.sampling;
        let batch = Batch::of_classes(1, sampling.guided());
        let shape = Shape::new(batch, None);
        let mut session = Session::new(&model, shape, &Device::Cpu).unwrap();
        let settings = Settings { sampling, refresh: Refresh::Every, predictor: Predictor::Reuse };
        session.configure(&settings).unwrap();
        session.start(&classes(&[Some(2)]), &[7]).unwrap();
        session.finish().unwrap();
        let codes = block_on(session.tokens()).unwrap();
        let mut shuffled = codes.clone();
        shuffled.reverse();
        let condition = Condition::Class(Some(2));
        let mut likelihood = Likelihood::new(&model, &condition, &Device::Cpu).unwrap();
        let mut of = |codes: &[u32]| block_on(likelihood.coherence(&condition, codes, 0)).unwrap();
        let (own, other) = (of(&codes), of(&shuffled));
        assert!(own > other + 0.5, "{own} and {other}");

        // The picture's codes are found again where nothing but the decoder's rounding is between.
        let values = block_on(session.decode(&codes)).unwrap();
        let pixels: Vec<u8> =
            values.iter().map(|v| ((v * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0).round() as u8).collect();
        let mut encoder = super::super::encode::Encoder::new(&model, &Device::Cpu).unwrap();
        let again = block_on(encoder.encode(&pixels)).unwrap();
        let kept = again.iter().zip(&codes).filter(|(a, b)| a == b).count();
        assert!(4 * kept > codes.len(), "{kept} of {}", codes.len());
    }
}
