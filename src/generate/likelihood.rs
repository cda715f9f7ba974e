//! How likely a base finds a picture's codes given others of them: coherence that needs no judge, of any checkpoint.
//!
//! Of a [`Likelihood`], [`Likelihood::coherence`] masks a quarter of the codes and takes the mean logarithm of the probability that
//! the base, conditioned as the picture was and without guidance, gives to what is there; twice, at other places. Codes that agree on
//! what the prompt leaves open, a colour say, are likely given each other. The [`Encoder`] brings real pictures to it.

use super::GenerateError;
use super::model::{Device, Model as ClassModel};
use super::text::TextModel;
use crate::exec::{Executor, read_f32, write_f32};
use crate::kernels::copy::Copy;
use crate::kernels::{Extent, RowRange, StepValues, Symbol, WeightFormat, philox};
use crate::models::dimoo::{Branch, Sequences};
use crate::models::tokenizer::Tokenizer;
use crate::models::{self, Batch, Model, states};
use crate::program::{Element, Program, WeightSource, WeightSpec};

/// One in so many codes is masked.
const MASKED_SHARE: u32 = 4;
/// Random maskings of each picture.
const MASKINGS: u32 = 2;
/// Above every stream of the sampler's and of the scenes'.
const STREAM: u32 = 0x5EE0_0000;

/// A base that says how likely codes are.
pub struct Likelihood {
    executor: Box<dyn Executor>,
    /// The state that the prompt or the class is written to.
    prompt: String,
    tokens: u32,
    codebook: u32,
    masked: u32,
}

impl std::fmt::Debug for Likelihood {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Likelihood").field("masked", &self.masked).finish_non_exhaustive()
    }
}

impl Likelihood {
    /// Of a class model.
    ///
    /// # Errors
    /// Weights cannot be loaded, or the device cannot hold the program.
    pub fn of_class(model: &ClassModel, device: &Device) -> Result<Self, GenerateError> {
        let prompt = states::LABELS.to_owned();
        Self::new(&model.config.transformer, prompt, device, model.formats(), &mut model.weights()?)
    }

    /// Of a text model, for prompts of so many tokens.
    ///
    /// # Errors
    /// As [`Likelihood::of_class`].
    pub fn of_text(model: &TextModel, prompt_tokens: usize, device: &Device) -> Result<Self, GenerateError> {
        let config = model.config.transformer;
        let sequence = config.sequence(Branch::Conditional, prompt_tokens as u32);
        let prompt = sequence.state(states::TEMPLATE);
        let run = Sequences { config, sequences: vec![sequence] };
        Self::new(&run, prompt, device, model.formats(), &mut model.weights()?)
    }

    fn new(
        model: &dyn Model,
        prompt: String,
        device: &Device,
        formats: fn(&WeightSpec) -> WeightFormat,
        weights: &mut dyn WeightSource,
    ) -> Result<Self, GenerateError> {
        let (tokens, codebook) = (model.tokens(), model.codebook());
        let masked = tokens.div_ceil(MASKED_SHARE);
        let batch = Batch { images: 1, guided: false };
        let program = models::build("likelihood", formats, |b| {
            model.features(b, batch);
            let x = model.logits(b, batch, RowRange::all(masked));
            let y = b.state(states::LOGITS, masked, codebook, Element::F32);
            let rows = Extent::symbolic(1, Symbol::Masked, masked);
            b.push(Copy { x, y, rows, width: codebook, accumulate: false });
        })?;
        let mut executor = device.executor(vec![program], weights)?;
        executor.prepare(&[StepValues {
            masked,
            mask_ratio: 1.0 / MASKED_SHARE as f32,
            ..StepValues::default()
        }])?;
        Ok(Self { executor, prompt, tokens, codebook, masked })
    }

    /// The mean over two maskings of a quarter, in nats a code. `prompt` is what the base is conditioned on: a class's id
    /// ([`class_id`](models::maskgit::Config::class_id)), or a prompt's template ([`template`](models::dimoo::Config::template)).
    /// The masked places depend on the seed alone.
    ///
    /// # Errors
    /// There are not as many codes as the base has, or the device failed.
    pub async fn coherence(
        &mut self,
        prompt: &[u32],
        codes: &[u32],
        seed: u64,
    ) -> Result<f64, GenerateError> {
        let mut sum = 0.0;
        for masking in 0..MASKINGS {
            let masked = places(self.tokens, self.masked, seed, masking);
            sum += self.given_others(prompt, codes, &masked).await?;
        }
        Ok(sum / f64::from(MASKINGS))
    }

    /// The mean log-likelihood of the codes at `masked`, in ascending order, given all others.
    async fn given_others(
        &mut self,
        prompt: &[u32],
        codes: &[u32],
        masked: &[u32],
    ) -> Result<f64, GenerateError> {
        if codes.len() != self.tokens as usize {
            let message = format!("{} codes of a picture that has {}", codes.len(), self.tokens);
            return Err(GenerateError::Setting(message));
        }
        let mut ids = codes.to_vec();
        // Both families have the mask behind the last code.
        masked.iter().for_each(|&place| ids[place as usize] = self.codebook);
        let mut positions = masked.to_vec();
        positions.resize(codes.len(), 0);
        self.executor.write(&self.prompt, prompt)?;
        self.executor.write(states::IDS, &ids)?;
        self.executor.write(states::POSITIONS, &positions)?;
        self.executor.run(&[0], 0, false)?;
        let width = self.codebook as usize;
        let logits = read_f32(self.executor.as_mut(), states::LOGITS, masked.len() * width).await?;
        let rows = logits.chunks_exact(width).zip(masked);
        let sum: f64 = rows.map(|(row, &place)| log_softmax(row, codes[place as usize] as usize)).sum();
        Ok(sum / masked.len().max(1) as f64)
    }
}

/// The logarithm of the probability of `code` by logits.
fn log_softmax(logits: &[f32], code: usize) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - largest).exp()).sum();
    // A code that the base does not have is never drawn.
    logits.get(code).map_or(f64::NEG_INFINITY, |&logit| f64::from(logit - largest) - sum.ln())
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

/// The encoder of a model's tokenizer, a picture at a time.
pub struct Encoder {
    executor: Box<dyn Executor>,
    codes: usize,
    /// Whether it takes values in [0, 1] instead of [-1, 1].
    unsigned: bool,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("codes", &self.codes).finish_non_exhaustive()
    }
}

impl Encoder {
    /// Of a class model.
    ///
    /// # Errors
    /// Weights cannot be loaded, or the device cannot hold the program.
    pub fn of_class(model: &ClassModel, device: &Device) -> Result<Self, GenerateError> {
        let (config, t) = (&model.config, &model.config.transformer);
        let program = models::build("encode", model.formats(), |b| {
            config.tokenizer.encode(b, t.codebook, 1, config.image_size, config.image_size);
        })?;
        let unsigned = matches!(config.tokenizer, Tokenizer::Amused(_));
        Self::new(program, t.tokens(), unsigned, device, &mut model.weights()?)
    }

    /// Of a text model.
    ///
    /// # Errors
    /// As [`Encoder::of_class`].
    pub fn of_text(model: &TextModel, device: &Device) -> Result<Self, GenerateError> {
        let (vq, t) = (&model.config.tokenizer, &model.config.transformer);
        let [rows, columns] = t.grid;
        let program = models::build("encode", model.formats(), |b| {
            vq.encode(b, t.codebook, 1, rows * vq.factor(), columns * vq.factor());
        })?;
        Self::new(program, rows * columns, true, device, &mut model.weights()?)
    }

    fn new(
        program: Program,
        codes: u32,
        unsigned: bool,
        device: &Device,
        weights: &mut dyn WeightSource,
    ) -> Result<Self, GenerateError> {
        let mut executor = device.executor(vec![program], weights)?;
        executor.prepare(&[StepValues::default()])?;
        Ok(Self { executor, codes: codes as usize, unsigned })
    }

    /// The codes of a picture, RGB in rows from the top.
    ///
    /// # Errors
    /// The device failed.
    pub async fn encode(&mut self, pixels: &[u8]) -> Result<Vec<u32>, GenerateError> {
        let value = |&byte: &u8| f32::from(byte) / 255.0;
        let scaled = |byte: &u8| if self.unsigned { value(byte) } else { 2.0 * value(byte) - 1.0 };
        let values: Vec<f32> = pixels.iter().map(scaled).collect();
        write_f32(self.executor.as_mut(), states::IMAGE, &values)?;
        self.executor.run(&[0], 0, false)?;
        Ok(self.executor.read(states::CODES, self.codes).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::fixture;
    use super::*;
    use pollster::block_on;
    use std::path::Path;

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

    /// Logits of all positions, from programs of their own.
    fn all_logits(model: &dyn Model, weights: &mut dyn WeightSource, write: &[(&str, &[u32])]) -> Vec<f32> {
        let (tokens, width) = (model.tokens(), model.codebook());
        let batch = Batch { images: 1, guided: false };
        let program = models::build("all", models::keep_f32, |b| {
            model.features(b, batch);
            let x = model.logits(b, batch, RowRange::all(tokens));
            let y = b.state(states::LOGITS, tokens, width, Element::F32);
            let rows = Extent::symbolic(1, Symbol::Masked, tokens);
            b.push(Copy { x, y, rows, width, accumulate: false });
        });
        let mut executor = Device::Cpu.executor(vec![program.unwrap()], weights).unwrap();
        executor.prepare(&[StepValues { masked: tokens, ..StepValues::default() }]).unwrap();
        let positions: Vec<u32> = (0..tokens).collect();
        for (name, values) in write.iter().copied().chain([(states::POSITIONS, &positions[..])]) {
            executor.write(name, values).unwrap();
        }
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
        let class = fixture();
        let t = class.config.transformer;
        let codes: Vec<u32> = (0..t.tokens()).map(|i| (i * 37 + 5) % t.codebook).collect();
        let label = [t.class_id(2)];
        let mut likelihood = Likelihood::of_class(&class, &Device::Cpu).unwrap();
        let found = block_on(likelihood.coherence(&label, &codes, 11)).unwrap();
        let mut weights = class.weights().unwrap();
        let wanted = reference(&codes, t.codebook, 11, &mut |ids| {
            all_logits(&t, &mut weights, &[(states::IDS, ids), (states::LABELS, &label)])
        });
        assert!((found - wanted).abs() < 1e-2 * wanted.abs(), "{found}, not {wanted}");
        assert!(found < 0.0);
        let error = block_on(likelihood.coherence(&label, &codes[1..], 11)).unwrap_err().to_string();
        assert!(error.contains("codes of a picture"), "{error}");

        let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/dimoo-tiny.safetensors");
        let folder = tempfile::tempdir().unwrap();
        crate::eval::export::export(&recording, folder.path()).unwrap();
        let text = TextModel::open(folder.path()).unwrap();
        let config = text.config.transformer;
        let ids = text.prompts.encode("w5 w17").unwrap();
        let template = config.template(&ids);
        let tokens = config.grid[0] * config.grid[1];
        let codes: Vec<u32> = (0..tokens).map(|i| (i * 7 + 3) % config.codebook).collect();
        let mut likelihood = Likelihood::of_text(&text, ids.len(), &Device::Cpu).unwrap();
        let found = block_on(likelihood.coherence(&template, &codes, 4)).unwrap();
        let sequences = vec![config.sequence(Branch::Conditional, ids.len() as u32)];
        let run = Sequences { config, sequences };
        let mut weights = text.weights().unwrap();
        let wanted = reference(&codes, config.codebook, 4, &mut |ids| {
            all_logits(&run, &mut weights, &[(states::IDS, ids), (states::TEMPLATE, &template)])
        });
        assert!((found - wanted).abs() < 1e-2 * wanted.abs(), "{found}, not {wanted}");
    }

    /// A model that was trained on pictures finds its own more likely than the same codes in another order.
    #[test]
    fn codes_of_a_picture_are_likelier_than_the_same_shuffled() {
        use super::super::session::{Session, Settings, Shape};
        use crate::generate::predict::Predictor;
        use crate::generate::refresh::Refresh;
        let model = fixture();
        let sampling = model.config.sampling;
        let batch = Batch { images: 1, guided: sampling.guided() };
        let shape = Shape { batch, predictor: None, recorded_noise: false, decoder: true };
        let mut session = Session::new(&model, shape, &Device::Cpu).unwrap();
        let settings = Settings { sampling, refresh: Refresh::Every, predictor: Predictor::Reuse };
        session.configure(&settings).unwrap();
        session.start(&[Some(2)], &[7]).unwrap();
        session.finish().unwrap();
        let codes = block_on(session.tokens()).unwrap();
        let mut shuffled = codes.clone();
        shuffled.reverse();
        let mut likelihood = Likelihood::of_class(&model, &Device::Cpu).unwrap();
        let label = [model.config.transformer.class_id(2)];
        let mut of = |codes: &[u32]| block_on(likelihood.coherence(&label, codes, 0)).unwrap();
        let (own, other) = (of(&codes), of(&shuffled));
        assert!(own > other + 0.5, "{own} and {other}");

        // The picture's codes are found again where nothing but the decoder's rounding is between.
        let values = block_on(session.decode(&codes)).unwrap();
        let pixels: Vec<u8> =
            values.iter().map(|v| ((v * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0).round() as u8).collect();
        let mut encoder = Encoder::of_class(&model, &Device::Cpu).unwrap();
        let again = block_on(encoder.encode(&pixels)).unwrap();
        let kept = again.iter().zip(&codes).filter(|(a, b)| a == b).count();
        assert!(4 * kept > codes.len(), "{kept} of {}", codes.len());
    }
}
