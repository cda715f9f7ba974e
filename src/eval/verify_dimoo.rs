//! Recordings of Lumina-DiMOO: see [`super::verify`].

use super::verify::{Part, Recorded, channels_first, channels_last};
use crate::exec::{read_f32, write_f32};
use crate::generate::GenerateError;
use crate::generate::dimoo;
use crate::generate::model::Device;
use crate::generate::predict::{MlCache, Predictor};
use crate::generate::refresh::Refresh;
use crate::generate::sampling::Sampling;
use crate::generate::session::StepKind;
use crate::kernels::copy::Copy;
use crate::kernels::{Extent, RowRange, StepValues, Symbol, WeightFormat};
use crate::models::dimoo::{Branch, Config, Sequence, Sequences};
use crate::models::{self, amused_vq, dimoo_shortcut, states};
use crate::program::{Element, WeightSpec};
use crate::weights::Dtype;
use pollster::block_on;

#[derive(serde::Deserialize)]
struct Recording {
    #[serde(flatten)]
    model: Config,
    #[serde(flatten)]
    shortcut: Option<dimoo_shortcut::Config>,
    vq: Option<amused_vq::Config>,
    #[serde(default)]
    traces: Vec<Trace>,
}

#[derive(serde::Deserialize)]
struct Trace {
    steps: u32,
    /// Of both draw and choice.
    temp: f32,
    cfg: f32,
    #[serde(default)]
    budget: u32,
    /// Whether it caches: then the fields of `cache` say how.
    #[serde(default)]
    mlcache: bool,
    #[serde(flatten)]
    cache: Option<Cache>,
}

#[derive(Clone, Copy, serde::Deserialize)]
struct Cache {
    cache_ratio: f32,
    warmup: f32,
    interval: u32,
}

struct Verifier<'a> {
    recorded: Recorded,
    config: Config,
    shortcut: Option<dimoo_shortcut::Config>,
    formats: fn(&WeightSpec) -> WeightFormat,
    device: &'a Device,
    parts: Vec<Part>,
}

/// Replays every part of a recording, whose configuration is `config`, on a device.
pub(super) fn verify(
    recorded: Recorded,
    config: serde_json::Value,
    device: &Device,
) -> Result<Vec<Part>, GenerateError> {
    let model = recorded.checkpoint.name().to_owned();
    let error = |what| GenerateError::Config { model: model.clone(), what };
    let recording: Recording =
        serde_json::from_value(config).map_err(|e| error(format!("not a Lumina-DiMOO recording: {e}")))?;
    recording.model.check().map_err(error)?;
    if let Some(shortcut) = &recording.shortcut {
        shortcut.check(&recording.model).map_err(error)?;
    }
    if let Some(vq) = &recording.vq {
        vq.check().map_err(error)?;
    }
    let half = |t: &crate::weights::TensorInfo| t.dtype == Dtype::F16;
    let half = recorded.checkpoint.tensor("dimoo.model.transformer.wte.weight").is_some_and(half);
    let mut verifier = Verifier {
        recorded,
        config: recording.model,
        shortcut: recording.shortcut,
        formats: if half { models::keep_f16 } else { models::keep_f32 },
        device,
        parts: Vec::new(),
    };
    verifier.base()?;
    verifier.predictor()?;
    if let Some(vq) = &recording.vq {
        verifier.decoder(vq)?;
        verifier.encoder(vq)?;
    }
    for (index, trace) in recording.traces.iter().enumerate() {
        verifier.trace(index, trace)?;
    }
    Ok(verifier.parts)
}

/// A model that takes every id for the code of an image that is one row of `length` tokens: recordings of single parts
/// have any ids anywhere.
fn plain(config: &Config, length: u32) -> (Config, Sequence) {
    let config = Config { text_vocab: 0, codebook: config.vocabulary(), grid: [1, length], ..*config };
    (config, Sequence { branch: Branch::Conditional, prompt: 0, start: 0, length, images: 1 })
}

impl Verifier<'_> {
    fn values(&mut self, name: &str, recorded: &str, got: &[f32]) -> Result<(), GenerateError> {
        self.parts.push(self.recorded.compare(name, recorded, got)?);
        Ok(())
    }

    fn exact(&mut self, name: &str, got: &[u32]) -> Result<(), GenerateError> {
        let wanted = self.recorded.ids(name)?;
        let differing =
            got.iter().zip(&wanted).filter(|(a, b)| a != b).count() + got.len().abs_diff(wanted.len());
        let label = name.strip_prefix("io.").unwrap_or(name);
        self.parts.push(Part::exact(label, &self.recorded.shape(name), differing, wanted.len()));
        Ok(())
    }

    /// The transformer and its whole head, at every position.
    fn base(&mut self) -> Result<(), GenerateError> {
        let [logits, features] = ["io.base.logits", "io.base.features"];
        if !self.recorded.has("io.base.ids") || !(self.recorded.has(logits) || self.recorded.has(features)) {
            return Ok(());
        }
        let ids = self.recorded.ids("io.base.ids")?;
        let length = ids.len() as u32;
        let (config, sequence) = plain(&self.config, length);
        let width = config.codebook;
        let programs = vec![models::build("base", self.formats, |b| {
            config.features_of(b, &sequence);
            let logits = config.logits_of(b, &[sequence], RowRange::all(config.grid[0] * config.grid[1]));
            let out = b.state(states::LOGITS, length, width, Element::F32);
            let rows = Extent::symbolic(1, Symbol::Masked, length);
            b.push(Copy { x: logits, y: out, rows, width, accumulate: false });
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
            self.values("base.features", features, &got_features)?;
        }
        if self.recorded.has(logits) {
            self.values("base.logits", logits, &got_logits)?;
        }
        Ok(())
    }

    fn predictor(&mut self) -> Result<(), GenerateError> {
        let (Some(shortcut), true) = (self.shortcut, self.recorded.has("io.shortcut.out")) else {
            return Ok(());
        };
        let ids = self.recorded.ids("io.shortcut.new_ids")?;
        let map = self.recorded.checkpoint.read_u8("io.shortcut.new_map")?;
        let ratio = self.recorded.floats("io.shortcut.mask_ratio")?.first().copied().unwrap_or(1.0);
        let features = self.recorded.floats("io.shortcut.features")?;
        let positions: Vec<u32> = (0..map.len()).filter(|&t| map[t] != 0).map(|t| t as u32).collect();
        let (config, sequence) = plain(&self.config, map.len() as u32);
        let programs =
            vec![models::build("shortcut", self.formats, |b| shortcut.predict(b, &config, &sequence))?];
        let mut executor = self.device.executor(programs, &mut self.recorded)?;
        let executor = executor.as_mut();
        let new_tokens = ids.len() as u32;
        executor.prepare(&[StepValues { new_tokens, mask_ratio: ratio, ..StepValues::default() }])?;
        executor.write(states::NEW_IDS, &ids)?;
        executor.write(states::NEW_POSITIONS, &positions)?;
        write_f32(executor, states::FEATURES, &features)?;
        executor.run(&[0], 0, false)?;
        let out = block_on(read_f32(executor, states::FEATURES, features.len()))?;
        self.values("shortcut.out", "io.shortcut.out", &out)
    }

    fn decoder(&mut self, vq: &amused_vq::Config) -> Result<(), GenerateError> {
        if !self.recorded.has("io.vq.codes") || !self.recorded.has("io.vq.image") {
            return Ok(());
        }
        let codes = self.recorded.ids("io.vq.codes")?;
        let shape = self.recorded.shape("io.vq.image");
        let [images, _, height, width] = shape[..] else { return Ok(()) };
        let [images, height, width] = [images, height, width].map(|size| size as u32);
        let (factor, codebook) = (vq.factor(), self.config.codebook);
        let programs = vec![models::build("decode", self.formats, |b| {
            vq.decode(b, codebook, images, height / factor, width / factor);
        })?];
        let mut executor = self.device.executor(programs, &mut self.recorded)?;
        let executor = executor.as_mut();
        executor.prepare(&[StepValues::default()])?;
        executor.write(states::CODES, &codes)?;
        executor.run(&[0], 0, false)?;
        let image = block_on(read_f32(executor, states::IMAGE, shape.iter().product()))?;
        self.values("vq.image", "io.vq.image", &channels_first(&image, images as usize, 3))
    }

    fn encoder(&mut self, vq: &amused_vq::Config) -> Result<(), GenerateError> {
        if !self.recorded.has("io.vq.enc_in") {
            return Ok(());
        }
        let shape = self.recorded.shape("io.vq.enc_in");
        let [images, _, height, width] = shape[..] else { return Ok(()) };
        let [images, height, width] = [images, height, width].map(|size| size as u32);
        let codebook = self.config.codebook;
        let programs =
            vec![models::build("encode", self.formats, |b| vq.encode(b, codebook, images, height, width))?];
        let image = self.recorded.floats("io.vq.enc_in")?;
        let mut executor = self.device.executor(programs, &mut self.recorded)?;
        let executor = executor.as_mut();
        executor.prepare(&[StepValues::default()])?;
        write_f32(executor, states::IMAGE, &channels_last(&image, images as usize, 3))?;
        executor.run(&[0], 0, false)?;
        let cells = (images * (height / vq.factor()) * (width / vq.factor())) as usize;
        let latent = vq.latent as usize;
        let latents = block_on(read_f32(executor, states::LATENTS, cells * latent))?;
        let codes = block_on(executor.read(states::CODES, cells))?;
        if self.recorded.has("io.vq.enc_z") {
            self.values("vq.enc_z", "io.vq.enc_z", &channels_first(&latents, images as usize, latent))?;
        }
        if self.recorded.has("io.vq.enc_codes") {
            self.exact("io.vq.enc_codes", &codes)?;
        }
        Ok(())
    }

    /// A whole sampling run under the recorded noise: the masked tokens before each step, the ids before each full one,
    /// and the codes in the end.
    fn trace(&mut self, index: usize, trace: &Trace) -> Result<(), GenerateError> {
        let name = |part: &str| format!("trace.{index}.{part}");
        if !self.recorded.has(&name("gumbel_token")) {
            return Ok(());
        }
        let unsupported = |what: String| GenerateError::Setting(format!("trace {index} {what}"));
        let sampling = Sampling {
            steps: trace.steps,
            guidance: trace.cfg,
            choice_temperature: trace.temp,
            draw_temperature: trace.temp,
            ..Sampling::DIMOO
        };
        let (config, codebook) = (self.config, self.config.codebook as usize);
        let tokens = config.grid[0] * config.grid[1];
        let steps = sampling.steps(tokens)?;
        let (predictor, refresh) = match (trace.cache, self.shortcut) {
            (Some(Cache { cache_ratio, warmup, interval }), _) if trace.mlcache => {
                (Some(Predictor::MlCache(MlCache { cache_ratio })), Refresh::Interval { warmup, interval })
            }
            (None, _) if trace.mlcache => return Err(unsupported("does not say how it caches".to_owned())),
            (_, Some(_)) if trace.budget > 0 => (Some(Predictor::Shortcut), Refresh::Uniform(trace.budget)),
            _ if trace.budget > 0 => {
                return Err(unsupported("needs a shortcut, and the recording has none".to_owned()));
            }
            _ => (None, Refresh::Every),
        };
        let full = refresh.full_steps(steps.len(), trace.steps)?;

        let prompts = [self.recorded.ids("io.prompt_ids")?, self.recorded.ids("io.uncond_ids")?];
        let sequences = [Branch::Conditional, Branch::Unconditional]
            .iter()
            .zip(&prompts)
            .map(|(&branch, prompt)| config.sequence(branch, prompt.len() as u32))
            .collect();
        let run = Sequences { config, sequences };
        let programs = dimoo::programs(&run, predictor, self.shortcut, true, self.formats)?;
        let routine = programs.routine();
        let noise_token = self.recorded.floats(&name("gumbel_token"))?;
        let noise_choice = self.recorded.floats(&name("gumbel_choice"))?;
        let rows: usize = steps.iter().map(|step| step.masked as usize).sum();
        if noise_choice.len() != rows || noise_token.len() != rows * codebook {
            let found = noise_choice.len();
            return Err(unsupported(format!("records {found} rows of noise; its schedule asks for {rows}")));
        }

        let mut executor = self.device.executor(programs.list, &mut self.recorded)?;
        let executor = executor.as_mut();
        executor.prepare(&steps)?;
        for (sequence, prompt) in run.sequences.iter().zip(&prompts) {
            executor.write(&sequence.state(states::TEMPLATE), &config.template(prompt))?;
        }
        let (mut codes, positions) = dimoo::start(&run);
        executor.write(states::IDS, &codes)?;
        executor.write(states::DRAWN, &codes)?;
        executor.write(states::POSITIONS, &positions)?;
        let template = config.template(&prompts[0]);
        let (mut masked_before, mut full_step_ids, mut row) = (Vec::new(), Vec::new(), 0);
        for (index, &is_full) in full.iter().enumerate() {
            // Noise is recorded for masked positions in order; the kernel looks it up by position.
            let mut token = vec![0.0; tokens as usize * codebook];
            let mut choice = vec![0.0; tokens as usize];
            let masked = |&position: &usize| codes[position] == config.mask_code();
            let positions: Vec<usize> = (0..codes.len()).filter(masked).collect();
            for &position in positions.iter().take(steps[index].masked as usize) {
                token[position * codebook..][..codebook]
                    .copy_from_slice(&noise_token[row * codebook..][..codebook]);
                choice[position] = noise_choice[row];
                row += 1;
            }
            masked_before.push(positions.len() as u32);
            if is_full {
                full_step_ids.extend(config.ids(&template, &codes));
            }
            write_f32(executor, states::NOISE_TOKEN, &token)?;
            write_f32(executor, states::NOISE_CHOICE, &choice)?;
            let kind = |&full: &bool| if full { StepKind::Full } else { StepKind::Predicted };
            executor.run(routine.at(kind(&is_full), full.get(index + 1).map(kind)), index, false)?;
            codes = block_on(executor.read(states::IDS, tokens as usize))?;
        }
        self.exact(&name("masked_before"), &masked_before)?;
        // A recording without them has a single 0 in their place.
        if self.recorded.shape(&name("full_step_ids")).len() == 2 {
            self.exact(&name("full_step_ids"), &full_step_ids)?;
        }
        self.exact(&name("codes"), &codes)
    }
}

#[cfg(test)]
mod tests {
    use crate::eval::verify::verify;
    use crate::generate::model::Device;
    use std::path::Path;

    #[test]
    fn the_official_recording_of_lumina_dimoo_verifies() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/dimoo-tiny.safetensors");
        let devices =
            [Some(Device::Cpu), crate::exec::twins::test_gpu().map(|gpu| Device::Gpu(Box::new(gpu)))];
        for device in devices.iter().flatten() {
            let parts = verify(&path, device).unwrap();
            for part in &parts {
                println!("{part:?}");
            }
            assert!(parts.iter().all(|part| part.ok), "{parts:#?}");
            assert_eq!(parts.len(), 14, "{parts:#?}");
        }
    }
}
