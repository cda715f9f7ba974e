//! Single parts: the transformer, the shortcut, the tokenizer, each on recorded inputs.

use super::{Verifier, channels_first, channels_last};
use crate::exec::{read_f32, write_f32};
use crate::generate::GenerateError;
use crate::kernels::combine::Combine;
use crate::kernels::{Extent, RowRange, StepValues, Symbol};
use crate::models::dimoo::{Branch, Config, Dimoo, Sequence};
use crate::models::maskgit::{self, Maskgit};
use crate::models::{self, Batch, states};
use crate::program::Element;
use pollster::block_on;

/// A model that takes every id for the code of an image that is one row of `length` tokens: recordings of single parts
/// have any ids anywhere.
fn in_one_row(config: &Config, length: u32) -> (Config, Sequence) {
    let config = Config { text_vocab: 0, codebook: config.vocabulary(), grid: [1, length], ..*config };
    (config, Sequence { branch: Branch::Conditional, prompt: 0, start: 0, length, images: 1 })
}

impl Verifier<'_> {
    /// The transformer at every position, as if all were masked.
    pub(super) fn classes(&mut self, t: &maskgit::Config) -> Result<(), GenerateError> {
        if !self.recorded.has("io.base.ids")
            || !(self.recorded.has("io.base.logits") || self.recorded.has("io.base.features"))
        {
            return Ok(());
        }
        let images = self.recorded.shape("io.base.ids").first().map_or(0, |&images| images as u32);
        let batch = Batch::of_classes(images, false);
        let programs = vec![models::build("base", self.formats, |b| {
            t.features(b, batch);
            let logits = t.logits(b, batch, RowRange::all(t.tokens()));
            let out = b.state(states::LOGITS, batch.images * t.tokens(), t.codebook, Element::F32);
            let rows = Extent::symbolic(batch.images, Symbol::Masked, t.tokens());
            b.push(Combine::copy(logits, out, rows, t.codebook));
        })?];
        let ids = self.recorded.ids("io.base.ids")?;
        let dropped = if self.recorded.has("io.base.drop") {
            self.recorded.checkpoint.read_u8("io.base.drop")?
        } else {
            vec![0; batch.images as usize]
        };
        let labels = self.recorded.ids("io.base.labels")?;
        let label =
            |(&label, &drop): (&u32, &u8)| if drop != 0 { t.unconditional_id() } else { t.class_id(label) };
        let labels: Vec<u32> = labels.iter().zip(&dropped).map(label).collect();
        let positions: Vec<u32> = (0..batch.images).flat_map(|_| 0..t.tokens()).collect();

        let mut executor = self.device.executor(programs, &mut self.recorded)?;
        let executor = executor.as_mut();
        executor.prepare(&[StepValues { masked: t.tokens(), ..StepValues::default() }])?;
        executor.write(states::IDS, &ids)?;
        executor.write(states::LABELS, &labels)?;
        executor.write(states::POSITIONS, &positions)?;
        executor.run(&[0], 0, false)?;
        let features = (batch.images * t.length() * t.hidden) as usize;
        let features = block_on(read_f32(executor, states::FEATURES, features))?;
        let logits = (batch.images * t.tokens() * t.codebook) as usize;
        let logits = block_on(read_f32(executor, states::LOGITS, logits))?;
        if self.recorded.has("io.base.features") {
            self.values("io.base.features", &features)?;
        }
        if self.recorded.has("io.base.logits") {
            self.values("io.base.logits", &logits)?;
        }
        Ok(())
    }

    /// The shortcut, an image at a time: each has a mask ratio of its own.
    pub(super) fn class_shortcut(&mut self, model: &Maskgit) -> Result<(), GenerateError> {
        let (Some(config), true) = (model.shortcut, self.recorded.has("io.shortcut.out")) else {
            return Ok(());
        };
        let t = &model.transformer;
        let batch = Batch::of_classes(1, false);
        let programs = vec![models::build("shortcut", self.formats, |b| config.predict(b, t, batch))?];
        let new_ids = self.recorded.ids("io.shortcut.new_ids")?;
        let new = self.recorded.shape("io.shortcut.new_ids").get(1).copied().unwrap_or(0);
        let map = self.recorded.checkpoint.read_u8("io.shortcut.new_map")?;
        let ratios = self.recorded.floats("io.shortcut.mask_ratio")?;
        let features = self.recorded.floats("io.shortcut.features")?;
        let steps: Vec<StepValues> = ratios
            .iter()
            .map(|&mask_ratio| StepValues { new_tokens: new as u32, mask_ratio, ..StepValues::default() })
            .collect();
        let mut executor = self.device.executor(programs, &mut self.recorded)?;
        let executor = executor.as_mut();
        executor.prepare(&steps)?;
        let (length, len) = (t.length() as usize, (t.length() * t.hidden) as usize);
        let mut out = Vec::with_capacity(features.len());
        for image in 0..ratios.len() {
            let map = &map[image * length..][..length];
            let positions: Vec<u32> = (0..length).filter(|&t| map[t] != 0).map(|t| t as u32).collect();
            if config.parts.cross_attention {
                executor.write(states::NEW_IDS, &new_ids[image * new..][..new])?;
                executor.write(states::NEW_POSITIONS, &positions)?;
            }
            write_f32(executor, states::FEATURES, &features[image * len..][..len])?;
            executor.run(&[0], image, false)?;
            out.extend(block_on(read_f32(executor, states::FEATURES, len))?);
        }
        self.values("io.shortcut.out", &out)
    }

    /// The transformer and its whole head, at every position.
    pub(super) fn sequence(&mut self, config: &Config) -> Result<(), GenerateError> {
        let [logits, features] = ["io.base.logits", "io.base.features"];
        if !self.recorded.has("io.base.ids") || !(self.recorded.has(logits) || self.recorded.has(features)) {
            return Ok(());
        }
        let ids = self.recorded.ids("io.base.ids")?;
        let length = ids.len() as u32;
        let (config, sequence) = in_one_row(config, length);
        let width = config.codebook;
        let programs = vec![models::build("base", self.formats, |b| {
            config.features_of(b, &sequence);
            let logits = config.logits_of(b, &[sequence], RowRange::all(config.grid[0] * config.grid[1]));
            let out = b.state(states::LOGITS, length, width, Element::F32);
            let rows = Extent::symbolic(1, Symbol::Masked, length);
            b.push(Combine::copy(logits, out, rows, width));
        })?];
        let mut executor = self.device.executor(programs, &mut self.recorded)?;
        let executor = executor.as_mut();
        executor.prepare(&[StepValues { masked: length, ..StepValues::default() }])?;
        executor.write(states::TEMPLATE, &ids)?;
        executor.write(states::POSITIONS, &(0..length).collect::<Vec<_>>())?;
        executor.run(&[0], 0, false)?;
        let got_features =
            block_on(read_f32(executor, states::FEATURES, (length * config.d_model) as usize))?;
        let got_logits = block_on(read_f32(executor, states::LOGITS, (length * width) as usize))?;
        if self.recorded.has(features) {
            self.values(features, &got_features)?;
        }
        if self.recorded.has(logits) {
            self.values(logits, &got_logits)?;
        }
        Ok(())
    }

    /// The shortcut of a text model.
    pub(super) fn sequence_shortcut(&mut self, model: &Dimoo) -> Result<(), GenerateError> {
        let (Some(shortcut), true) = (model.shortcut, self.recorded.has("io.shortcut.out")) else {
            return Ok(());
        };
        let ids = self.recorded.ids("io.shortcut.new_ids")?;
        let map = self.recorded.checkpoint.read_u8("io.shortcut.new_map")?;
        let ratio = self.recorded.floats("io.shortcut.mask_ratio")?.first().copied().unwrap_or(1.0);
        let features = self.recorded.floats("io.shortcut.features")?;
        let positions: Vec<u32> = (0..map.len()).filter(|&t| map[t] != 0).map(|t| t as u32).collect();
        let (config, sequence) = in_one_row(&model.transformer, map.len() as u32);
        let programs =
            vec![models::build("shortcut", self.formats, |b| shortcut.predict(b, &config, &sequence))?];
        let mut executor = self.device.executor(programs, &mut self.recorded)?;
        let executor = executor.as_mut();
        let new_tokens = ids.len() as u32;
        executor.prepare(&[StepValues { new_tokens, mask_ratio: ratio, ..StepValues::default() }])?;
        // Without cross-attention it does not look at them.
        if shortcut.parts.cross_attention {
            executor.write(states::NEW_IDS, &ids)?;
            executor.write(states::NEW_POSITIONS, &positions)?;
        }
        write_f32(executor, states::FEATURES, &features)?;
        executor.run(&[0], 0, false)?;
        let out = block_on(read_f32(executor, states::FEATURES, features.len()))?;
        self.values("io.shortcut.out", &out)
    }

    pub(super) fn decoder(&mut self) -> Result<(), GenerateError> {
        let (codes, image) = (self.of_tokenizer("codes"), self.of_tokenizer("image"));
        if !self.recorded.has(&codes) || !self.recorded.has(&image) {
            return Ok(());
        }
        let shape = self.recorded.shape(&image);
        let [images, _, height, width] = shape[..] else { return Ok(()) };
        let [images, height, width] = [images, height, width].map(|size| size as u32);
        let (factor, codebook) = (self.family.tokenizer().factor(), self.family.codebook());
        let programs = vec![models::build("decode", self.formats, |b| {
            self.family.tokenizer().decode(b, codebook, images, height / factor, width / factor);
        })?];
        let codes = self.recorded.ids(&codes)?;
        let mut executor = self.device.executor(programs, &mut self.recorded)?;
        let executor = executor.as_mut();
        executor.prepare(&[StepValues::default()])?;
        executor.write(states::CODES, &codes)?;
        executor.run(&[0], 0, false)?;
        let len = shape.iter().product();
        let got = block_on(read_f32(executor, states::IMAGE, len))?;
        self.values(&image, &channels_first(&got, images as usize, 3))
    }

    pub(super) fn encoder(&mut self) -> Result<(), GenerateError> {
        let [input, z, enc_codes] = ["enc_in", "enc_z", "enc_codes"].map(|name| self.of_tokenizer(name));
        if !self.recorded.has(&input) {
            return Ok(());
        }
        let shape = self.recorded.shape(&input);
        let [images, _, height, width] = shape[..] else { return Ok(()) };
        let [images, height, width] = [images, height, width].map(|size| size as u32);
        let codebook = self.family.codebook();
        let programs = vec![models::build("encode", self.formats, |b| {
            self.family.tokenizer().encode(b, codebook, images, height, width);
        })?];
        let image = self.recorded.floats(&input)?;
        let mut executor = self.device.executor(programs, &mut self.recorded)?;
        let executor = executor.as_mut();
        executor.prepare(&[StepValues::default()])?;
        write_f32(executor, states::IMAGE, &channels_last(&image, images as usize, 3))?;
        executor.run(&[0], 0, false)?;
        let factor = self.family.tokenizer().factor();
        let cells = (images * (height / factor) * (width / factor)) as usize;
        let embed = self.family.tokenizer().latent() as usize;
        let latents = block_on(read_f32(executor, states::LATENTS, cells * embed))?;
        let codes = block_on(executor.read(states::CODES, cells))?;
        if self.recorded.has(&z) {
            self.values(&z, &channels_first(&latents, images as usize, embed))?;
        }
        if self.recorded.has(&enc_codes) {
            self.exact(&enc_codes, &codes)?;
        }
        Ok(())
    }

    /// The recording's name of something that the tokenizer is given or gives.
    fn of_tokenizer(&self, name: &str) -> String {
        format!("io.{}.{name}", self.family.tokenizer().part())
    }
}
