//! `migm verify`: replays recordings of the official PyTorch code and compares every part they hold.
//!
//! A recording is a safetensors file with weights, inputs and outputs (`io.*`) and whole sampling runs with their
//! noise (`trace.*`). Values are compared in units of the recorded part's standard deviation, codes and masks exactly.

use crate::exec::{read_f32, write_f32};
use crate::generate::GenerateError;
use crate::generate::model::{Device, ModelConfig, matrices_are_f16};
use crate::generate::predict::Predictor;
use crate::generate::refresh::Refresh;
use crate::generate::sampling::Sampling;
use crate::generate::schedule::Schedule;
use crate::generate::session::{Session, Settings, Shape};
use crate::kernels::copy::Copy;
use crate::kernels::{Extent, RowRange, StepValues, Symbol, WeightFormat};
use crate::models::tokenizer::Tokenizer;
use crate::models::{self, Batch, Model as _, amused_vq, maskgit, shortcut, states, vqgan};
use crate::program::{Element, WeightSource, WeightSpec};
use crate::weights::{Checkpoint, WeightError};
use pollster::block_on;
use std::path::Path;

/// Largest error that passes in f32, in standard deviations of the recorded part.
pub const TOLERANCE: f64 = 2e-3;

/// One compared part.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Part {
    /// `base.logits`, `trace.1.features`...
    pub name: String,
    /// Shape of what was compared.
    pub shape: Vec<usize>,
    /// Largest absolute error; for codes and masks the number that differ.
    pub largest_error: f64,
    /// The same over the recorded standard deviation; for codes and masks the share that differs.
    pub relative_error: f64,
    /// Whether it is within tolerance.
    pub ok: bool,
}

impl Part {
    fn values(name: &str, shape: &[usize], got: &[f32], wanted: &[f32]) -> Self {
        let n = wanted.len().max(1) as f64;
        let mean = wanted.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let variance = wanted.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
        let same_length = got.len() == wanted.len();
        // A NaN compares false with everything: count it as infinitely wrong, not as right.
        let error = |(g, w): (&f32, &f32)| {
            let error = (f64::from(*g) - f64::from(*w)).abs();
            if error.is_nan() { f64::INFINITY } else { error }
        };
        let largest_error =
            if same_length { got.iter().zip(wanted).map(error).fold(0.0, f64::max) } else { f64::INFINITY };
        let relative_error = largest_error / variance.sqrt().max(1e-12);
        let ok = relative_error <= TOLERANCE;
        Self { name: name.to_owned(), shape: shape.to_vec(), largest_error, relative_error, ok }
    }

    pub(super) fn exact(name: &str, shape: &[usize], differing: usize, of: usize) -> Self {
        Self {
            name: name.to_owned(),
            shape: shape.to_vec(),
            largest_error: differing as f64,
            relative_error: differing as f64 / of.max(1) as f64,
            ok: differing == 0,
        }
    }
}

#[derive(serde::Deserialize)]
struct Recording {
    grid: u32,
    hidden: u32,
    codebook: u32,
    depth: u32,
    heads: u32,
    mlp: u32,
    classes: u32,
    vq: Option<RecordedVq>,
    sc: Option<RecordedShortcut>,
    #[serde(default)]
    traces: Vec<Trace>,
}

/// Either tokenizer; aMUSEd's is as a recording of Lumina-DiMOO has it.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum RecordedVq {
    Taming { z: u32, embed: u32, resolution: u32, ch: u32, mult: Vec<u32>, res: u32, attn: Vec<u32> },
    Amused(amused_vq::Config),
}

impl From<RecordedVq> for Tokenizer {
    fn from(recorded: RecordedVq) -> Self {
        match recorded {
            RecordedVq::Amused(config) => Self::Amused(config),
            RecordedVq::Taming { z, embed, resolution, ch, mult, res, attn } => Self::Taming(vqgan::Config {
                z_channels: z,
                embed_dim: embed,
                ch,
                ch_mult: mult,
                num_res_blocks: res,
                attn_resolutions: attn,
                resolution,
            }),
        }
    }
}

#[derive(serde::Deserialize)]
struct RecordedShortcut {
    blocks: u32,
    ratio: u32,
    heads: u32,
}

#[derive(serde::Deserialize)]
struct Trace {
    steps: u32,
    batch: u32,
    labels: Vec<u32>,
    sm_temp: f32,
    w: f32,
    r_temp: f32,
    sched: Schedule,
    #[serde(default)]
    budget: u32,
}

/// A recording, opened.
pub(super) struct Recorded {
    pub(super) checkpoint: Checkpoint,
}

impl Recorded {
    pub(super) fn has(&self, name: &str) -> bool {
        self.checkpoint.tensor(name).is_some()
    }

    pub(super) fn shape(&self, name: &str) -> Vec<usize> {
        self.checkpoint.tensor(name).map(|t| t.shape.clone()).unwrap_or_default()
    }

    pub(super) fn floats(&self, name: &str) -> Result<Vec<f32>, WeightError> {
        self.checkpoint.read_f32(name)
    }

    pub(super) fn ids(&self, name: &str) -> Result<Vec<u32>, WeightError> {
        Ok(self.checkpoint.read_i32(name)?.into_iter().map(|id| id.max(0) as u32).collect())
    }

    /// Compares values with the recorded ones.
    pub(super) fn compare(&self, name: &str, recorded: &str, got: &[f32]) -> Result<Part, WeightError> {
        let wanted = self.floats(recorded)?;
        Ok(Part::values(name, &self.shape(recorded), got, &wanted))
    }
}

impl WeightSource for Recorded {
    fn load(&mut self, spec: &WeightSpec) -> Result<Vec<f32>, WeightError> {
        self.checkpoint.read_shaped_rows(&spec.name, &spec.shape, spec.kept_rows())
    }
}

struct Verifier<'a> {
    recorded: Recorded,
    config: ModelConfig,
    traces: Vec<Trace>,
    has_tokenizer: bool,
    formats: fn(&WeightSpec) -> WeightFormat,
    device: &'a Device,
    parts: Vec<Part>,
}

/// Replays every part of a recording on a device.
///
/// # Errors
/// The file is no recording of a known model, or the device failed.
pub fn verify(path: &Path, device: &Device) -> Result<Vec<Part>, GenerateError> {
    let checkpoint = Checkpoint::open(path)?;
    let error = |what: String| GenerateError::Config { model: checkpoint.name().to_owned(), what };
    let text = checkpoint.metadata().get("config").ok_or_else(|| {
        error("its metadata has no `config`; is it a recording of the official code?".to_owned())
    })?;
    let config: serde_json::Value =
        serde_json::from_str(text).map_err(|e| error(format!("its `config` is not JSON: {e}")))?;
    if config.get("d_model").is_some() {
        return super::verify_dimoo::verify(Recorded { checkpoint }, config, device);
    }
    let recording: Recording =
        serde_json::from_value(config).map_err(|e| error(format!("not a MaskGIT recording: {e}")))?;
    let transformer = maskgit::Config {
        grid: recording.grid,
        hidden: recording.hidden,
        depth: recording.depth,
        heads: recording.heads,
        mlp: recording.mlp,
        codebook: recording.codebook,
        classes: recording.classes,
    };
    let has_tokenizer = recording.vq.is_some();
    let official = || Tokenizer::Taming(vqgan::Config::official());
    let tokenizer = recording.vq.map_or_else(official, Tokenizer::from);
    tokenizer.check().map_err(error)?;
    let config = ModelConfig {
        architecture: "maskgit".to_owned(),
        image_size: transformer.grid * tokenizer.factor(),
        transformer,
        labels: Vec::new(),
        tokenizer,
        shortcut: recording.sc.map(|sc| shortcut::Config {
            blocks: sc.blocks,
            bottleneck_ratio: sc.ratio,
            heads: sc.heads,
        }),
        sampling: Sampling::MASKGIT_512,
    };
    let half =
        ["maskgit.", "vqgan.", "vq.", "shortcut."].iter().all(|part| matrices_are_f16(&checkpoint, part));
    let mut verifier = Verifier {
        recorded: Recorded { checkpoint },
        config,
        traces: recording.traces,
        has_tokenizer,
        formats: if half { models::keep_f16 } else { models::keep_f32 },
        device,
        parts: Vec::new(),
    };
    verifier.base()?;
    verifier.shortcut()?;
    verifier.decoder()?;
    verifier.encoder()?;
    for index in 0..verifier.traces.len() {
        verifier.trace(index)?;
    }
    Ok(verifier.parts)
}

/// The name of a part in reports.
fn plain(recorded: &str) -> &str {
    recorded.strip_prefix("io.").unwrap_or(recorded)
}

impl Verifier<'_> {
    fn values(&mut self, name: &str, recorded: &str, got: &[f32]) -> Result<(), GenerateError> {
        self.parts.push(self.recorded.compare(name, recorded, got)?);
        Ok(())
    }

    /// The transformer at every position, as if all were masked.
    fn base(&mut self) -> Result<(), GenerateError> {
        if !self.recorded.has("io.base.ids")
            || !(self.recorded.has("io.base.logits") || self.recorded.has("io.base.features"))
        {
            return Ok(());
        }
        let t = self.config.transformer;
        let batch = Batch { images: self.recorded.shape("io.base.ids")[0] as u32, guided: false };
        let programs = vec![models::build("base", self.formats, |b| {
            t.features(b, batch);
            let logits = t.logits(b, batch, RowRange::all(t.tokens()));
            let out = b.state(states::LOGITS, batch.images * t.tokens(), t.codebook, Element::F32);
            let rows = Extent::symbolic(batch.images, Symbol::Masked, t.tokens());
            b.push(Copy { x: logits, y: out, rows, width: t.codebook, accumulate: false });
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
            self.values("base.features", "io.base.features", &features)?;
        }
        if self.recorded.has("io.base.logits") {
            self.values("base.logits", "io.base.logits", &logits)?;
        }
        Ok(())
    }

    /// The shortcut, an image at a time: each has a mask ratio of its own.
    fn shortcut(&mut self) -> Result<(), GenerateError> {
        let (Some(config), true) = (self.config.shortcut, self.recorded.has("io.shortcut.out")) else {
            return Ok(());
        };
        let t = self.config.transformer;
        let batch = Batch { images: 1, guided: false };
        let programs = vec![models::build("shortcut", self.formats, |b| config.predict(b, &t, batch))?];
        let new_ids = self.recorded.ids("io.shortcut.new_ids")?;
        let new = self.recorded.shape("io.shortcut.new_ids")[1];
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
            executor.write(states::NEW_IDS, &new_ids[image * new..][..new])?;
            executor.write(states::NEW_POSITIONS, &positions)?;
            write_f32(executor, states::FEATURES, &features[image * len..][..len])?;
            executor.run(&[0], image, false)?;
            out.extend(block_on(read_f32(executor, states::FEATURES, len))?);
        }
        self.values("shortcut.out", "io.shortcut.out", &out)
    }

    fn decoder(&mut self) -> Result<(), GenerateError> {
        let (codes, image) = (self.of_tokenizer("codes"), self.of_tokenizer("image"));
        if !self.recorded.has(&codes) || !self.recorded.has(&image) {
            return Ok(());
        }
        let shape = self.recorded.shape(&image);
        let (images, height, width) = (shape[0] as u32, shape[2] as u32, shape[3] as u32);
        let (factor, codebook) = (self.config.tokenizer.factor(), self.config.transformer.codebook);
        let programs = vec![models::build("decode", self.formats, |b| {
            self.config.tokenizer.decode(b, codebook, images, height / factor, width / factor);
        })?];
        let codes = self.recorded.ids(&codes)?;
        let mut executor = self.device.executor(programs, &mut self.recorded)?;
        let executor = executor.as_mut();
        executor.prepare(&[StepValues::default()])?;
        executor.write(states::CODES, &codes)?;
        executor.run(&[0], 0, false)?;
        let len = shape.iter().product();
        let got = block_on(read_f32(executor, states::IMAGE, len))?;
        self.values(plain(&image), &image, &channels_first(&got, images as usize, 3))
    }

    fn encoder(&mut self) -> Result<(), GenerateError> {
        let [input, z, enc_codes] = ["enc_in", "enc_z", "enc_codes"].map(|name| self.of_tokenizer(name));
        if !self.recorded.has(&input) {
            return Ok(());
        }
        let shape = self.recorded.shape(&input);
        let (images, height, width) = (shape[0] as u32, shape[2] as u32, shape[3] as u32);
        let codebook = self.config.transformer.codebook;
        let programs = vec![models::build("encode", self.formats, |b| {
            self.config.tokenizer.encode(b, codebook, images, height, width);
        })?];
        let image = self.recorded.floats(&input)?;
        let mut executor = self.device.executor(programs, &mut self.recorded)?;
        let executor = executor.as_mut();
        executor.prepare(&[StepValues::default()])?;
        write_f32(executor, states::IMAGE, &channels_last(&image, images as usize, 3))?;
        executor.run(&[0], 0, false)?;
        let factor = self.config.tokenizer.factor();
        let cells = (images * (height / factor) * (width / factor)) as usize;
        let embed = self.config.tokenizer.latent() as usize;
        let latents = block_on(read_f32(executor, states::LATENTS, cells * embed))?;
        let codes = block_on(executor.read(states::CODES, cells))?;
        if self.recorded.has(&z) {
            self.values(plain(&z), &z, &channels_first(&latents, images as usize, embed))?;
        }
        if self.recorded.has(&enc_codes) {
            let wanted = self.recorded.ids(&enc_codes)?;
            let differing = codes.iter().zip(&wanted).filter(|(a, b)| a != b).count();
            let shape = self.recorded.shape(&enc_codes);
            self.parts.push(Part::exact(plain(&enc_codes), &shape, differing, cells));
        }
        Ok(())
    }

    /// The recording's name of something that the tokenizer is given or gives.
    fn of_tokenizer(&self, name: &str) -> String {
        format!("io.{}.{name}", self.config.tokenizer.part())
    }

    /// A whole sampling run under the recorded noise: draws, masks and features after every step, then the picture.
    fn trace(&mut self, index: usize) -> Result<(), GenerateError> {
        let name = |part: &str| format!("trace.{index}.{part}");
        if !self.recorded.has(&name("gumbel_token")) {
            return Ok(());
        }
        let trace = &self.traces[index];
        let images = trace.batch as usize;
        let accelerated = trace.budget > 0;
        let shape = Shape {
            batch: Batch { images: trace.batch, guided: trace.w != 0.0 },
            predictor: accelerated.then_some(Predictor::Shortcut),
            recorded_noise: true,
            decoder: self.has_tokenizer && self.recorded.has(&name("image")),
        };
        let settings = Settings {
            sampling: Sampling {
                steps: trace.steps,
                schedule: trace.sched,
                guidance: trace.w,
                choice_temperature: trace.r_temp,
                softmax_temperature: trace.sm_temp,
                ..Sampling::MASKGIT_512
            },
            refresh: if accelerated { Refresh::Uniform(trace.budget) } else { Refresh::Every },
            predictor: Predictor::Shortcut,
        };
        let classes: Vec<Option<u32>> = trace.labels.iter().map(|&label| Some(label)).collect();
        let mut session =
            Session::with_weights(&self.config, shape, self.device, self.formats, &mut self.recorded)?;
        session.configure(&settings)?;
        session.start(&classes, &vec![0; images])?;

        let t = self.config.transformer;
        let tokens = t.tokens() as usize;
        let noise_token = self.recorded.floats(&name("gumbel_token"))?;
        let choice = self.recorded.checkpoint.read_f64(&name("gumbel_choice"))?;
        let noise_choice: Vec<f32> = choice.into_iter().map(|v| v as f32).collect();
        let wanted_draws = self.recorded.ids(&name("pred_codes"))?;
        let wanted_masks = self.recorded.checkpoint.read_u8(&name("masked_after"))?;
        let (mut features, mut wrong_draws, mut wrong_masks, mut draws) = (Vec::new(), 0, 0, 0);
        let mut masked = vec![true; images * tokens];
        for step in 0..session.plan().len() {
            let (cells, floats) = (images * tokens, images * tokens * t.codebook as usize);
            let executor = session.executor();
            write_f32(executor, states::NOISE_TOKEN, &noise_token[step * floats..][..floats])?;
            write_f32(executor, states::NOISE_CHOICE, &noise_choice[step * cells..][..cells])?;
            session.step()?;
            let drawn = block_on(session.drawn())?;
            let ids = block_on(session.tokens())?;
            features.extend(block_on(session.features())?);
            for cell in 0..cells {
                if masked[cell] {
                    draws += 1;
                    wrong_draws += usize::from(drawn[cell] != wanted_draws[step * cells + cell]);
                }
                masked[cell] = ids[cell] == t.mask_id();
                wrong_masks += usize::from(masked[cell] != (wanted_masks[step * cells + cell] != 0));
            }
        }
        self.parts.push(Part::exact(
            &name("pred_codes"),
            &self.recorded.shape(&name("pred_codes")),
            wrong_draws,
            draws,
        ));
        let shape_of_masks = self.recorded.shape(&name("masked_after"));
        self.parts.push(Part::exact(&name("masked_after"), &shape_of_masks, wrong_masks, wanted_masks.len()));
        if self.recorded.has(&name("features")) {
            self.values(&name("features"), &name("features"), &features)?;
        }
        if shape.decoder {
            let ids = block_on(session.tokens())?;
            let picture = block_on(session.decode(&ids))?;
            self.values(&name("image"), &name("image"), &channels_first(&picture, images, 3))?;
        }
        Ok(())
    }
}

/// `[images, pixels, channels]` to `[images, channels, pixels]`.
pub(super) fn channels_first(x: &[f32], images: usize, channels: usize) -> Vec<f32> {
    let pixels = x.len() / (images * channels).max(1);
    let at = |image, channel, pixel| x[(image * pixels + pixel) * channels + channel];
    (0..images)
        .flat_map(|image| (0..channels).flat_map(move |c| (0..pixels).map(move |p| (image, c, p))))
        .map(|(image, channel, pixel)| at(image, channel, pixel))
        .collect()
}

/// `[images, channels, pixels]` to `[images, pixels, channels]`.
pub(super) fn channels_last(x: &[f32], images: usize, channels: usize) -> Vec<f32> {
    let pixels = x.len() / (images * channels).max(1);
    let at = |image, channel, pixel| x[(image * channels + channel) * pixels + pixel];
    (0..images)
        .flat_map(|image| (0..pixels).flat_map(move |p| (0..channels).map(move |c| (image, c, p))))
        .map(|(image, channel, pixel)| at(image, channel, pixel))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::{TensorSpec, write_safetensors};

    #[test]
    fn a_recording_of_a_class_model_can_have_the_tokenizer_of_text_models() {
        let golden = |file: &str| {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(file);
            let checkpoint = Checkpoint::open(&path).unwrap();
            let config = serde_json::from_str(&checkpoint.metadata()["config"]).unwrap();
            (checkpoint, config)
        };
        let (_, mut config): (_, serde_json::Value) = golden("maskgit-tiny.safetensors");
        let (text, of_text): (_, serde_json::Value) = golden("dimoo-tiny.safetensors");
        (config["vq"], config["codebook"]) = (of_text["vq"].clone(), of_text["codebook"].clone());
        config["traces"] = serde_json::json!([]);
        let of_tokenizer = |name: &str| name.starts_with("vq.") || name.starts_with("io.vq.");
        let tensors: Vec<_> = text.tensors().filter(|t| of_tokenizer(&t.name)).collect();
        let data: Vec<_> = tensors.iter().map(|t| text.read_bytes(&t.name).unwrap()).collect();
        let specs = tensors.iter().map(|t| TensorSpec::new(t.name.clone(), t.dtype, t.shape.clone()));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recording.safetensors");
        let write = |config: &serde_json::Value| {
            let all: Vec<_> = specs.clone().zip(data.iter().map(|data| data.as_ref())).collect();
            write_safetensors(&path, &all, &[("config".to_owned(), config.to_string())].into()).unwrap();
            verify(&path, &Device::Cpu)
        };
        let parts = write(&config).unwrap();
        let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
        assert_eq!(names, ["vq.image", "vq.enc_z", "vq.enc_codes"]);
        assert!(parts.iter().all(|part| part.ok), "{parts:#?}");
        config["vq"]["groups"] = 5.into();
        let error = write(&config).unwrap_err().to_string();
        assert!(error.contains("5 groups"), "{error}");
    }
}
