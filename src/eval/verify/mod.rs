//! `migm verify`: replays recordings of the official PyTorch code and compares every part they hold.
//!
//! A recording is a safetensors file with weights, inputs and outputs (`io.*`) and whole sampling runs with their
//! noise (`trace.*`). Values are compared in units of the recorded part's standard deviation, codes and masks exactly.
//! Whole runs are replayed by the [`Session`](crate::generate::session::Session) that makes pictures.

mod parts;
mod recording;
mod trace;

use crate::generate::GenerateError;
use crate::generate::model::{Device, matrices_are_f16};
use crate::models::Known;
use crate::program::{Formats, WeightSource, WeightSpec};
use crate::weights::{Checkpoint, WeightError};
use recording::{Recording, Trace};
use std::path::Path;

/// What passes.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Tolerance {
    /// Largest error of a value, in standard deviations of the recorded part.
    pub values: f64,
    /// Largest share of codes and masks that differ.
    pub codes: f64,
}

impl Tolerance {
    /// In f32: every code and every mask is the recorded one.
    pub const PORTABLE: Self = Self { values: 2e-3, codes: 0.0 };
    /// Where operands of products are rounded to f16. The recordings of this repository come to 0.014 and 0.0014.
    pub const HALF: Self = Self { values: 3e-2, codes: 1e-2 };

    /// Of the tier that a device computes on.
    pub fn of(device: &Device) -> Self {
        match device {
            Device::Gpu(gpu) if gpu.tier.rounds() => Self::HALF,
            _ => Self::PORTABLE,
        }
    }
}

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
    fn values(name: &str, shape: &[usize], got: &[f32], wanted: &[f32], tolerance: Tolerance) -> Self {
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
        let ok = relative_error <= tolerance.values;
        Self { name: name.to_owned(), shape: shape.to_vec(), largest_error, relative_error, ok }
    }

    fn exact(name: &str, shape: &[usize], differing: usize, of: usize, tolerance: Tolerance) -> Self {
        let share = differing as f64 / of.max(1) as f64;
        Self {
            name: name.to_owned(),
            shape: shape.to_vec(),
            largest_error: differing as f64,
            relative_error: share,
            ok: share <= tolerance.codes,
        }
    }
}

/// A recording, opened.
struct Recorded {
    checkpoint: Checkpoint,
}

impl Recorded {
    fn has(&self, name: &str) -> bool {
        self.checkpoint.tensor(name).is_some()
    }

    fn shape(&self, name: &str) -> Vec<usize> {
        self.checkpoint.tensor(name).map(|t| t.shape.clone()).unwrap_or_default()
    }

    fn floats(&self, name: &str) -> Result<Vec<f32>, WeightError> {
        self.checkpoint.read_f32(name)
    }

    fn ids(&self, name: &str) -> Result<Vec<u32>, WeightError> {
        Ok(self.checkpoint.read_i32(name)?.into_iter().map(|id| id.max(0) as u32).collect())
    }

    /// Compares values with the recorded ones.
    fn compare(
        &self,
        name: &str,
        recorded: &str,
        got: &[f32],
        tolerance: Tolerance,
    ) -> Result<Part, WeightError> {
        let wanted = self.floats(recorded)?;
        Ok(Part::values(name, &self.shape(recorded), got, &wanted, tolerance))
    }
}

impl WeightSource for Recorded {
    fn load(&mut self, spec: &WeightSpec) -> Result<Vec<f32>, WeightError> {
        self.checkpoint.read_shaped_rows(&spec.name, &spec.shape, spec.kept_rows())
    }
}

struct Verifier<'a> {
    recorded: Recorded,
    family: Known,
    formats: Formats,
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
    let Recording { family, has_tokenizer, traces } = recording::read(config).map_err(error)?;
    // Before programs are made: sizes may be anything.
    family.check().map_err(error)?;
    let mut parts = family.parts();
    parts.retain(|part| has_tokenizer || *part != family.tokenizer().part());
    let half = parts.iter().all(|part| matrices_are_f16(&checkpoint, &format!("{part}.")));
    let formats = if half { Formats::F16 } else { Formats::F32 };
    let recorded = Recorded { checkpoint };
    let mut verifier = Verifier { recorded, family, formats, device, parts: Vec::new() };
    match verifier.family.clone() {
        Known::Maskgit(model) => {
            verifier.classes(&model.transformer)?;
            verifier.class_shortcut(&model)?;
        }
        Known::Dimoo(model) => {
            verifier.sequence(&model.transformer)?;
            verifier.sequence_shortcut(&model)?;
        }
    }
    verifier.decoder()?;
    verifier.encoder()?;
    for (index, trace) in traces.iter().enumerate() {
        verifier.trace(index, trace, has_tokenizer)?;
    }
    Ok(verifier.parts)
}

impl Verifier<'_> {
    fn values(&mut self, recorded: &str, got: &[f32]) -> Result<(), GenerateError> {
        self.parts.push(self.recorded.compare(plain(recorded), recorded, got, Tolerance::of(self.device))?);
        Ok(())
    }

    fn exact(&mut self, recorded: &str, got: &[u32]) -> Result<(), GenerateError> {
        let wanted = self.recorded.ids(recorded)?;
        let pairs = got.iter().zip(&wanted);
        let differing = pairs.filter(|(a, b)| a != b).count() + got.len().abs_diff(wanted.len());
        self.parts.push(Part::exact(
            plain(recorded),
            &self.recorded.shape(recorded),
            differing,
            wanted.len(),
            Tolerance::of(self.device),
        ));
        Ok(())
    }
}

/// The name of a part in reports.
fn plain(recorded: &str) -> &str {
    recorded.strip_prefix("io.").unwrap_or(recorded)
}

/// `[images, pixels, channels]` to `[images, channels, pixels]`.
fn channels_first(x: &[f32], images: usize, channels: usize) -> Vec<f32> {
    let pixels = x.len() / (images * channels).max(1);
    let at = |image, channel, pixel| x[(image * pixels + pixel) * channels + channel];
    (0..images)
        .flat_map(|image| (0..channels).flat_map(move |c| (0..pixels).map(move |p| (image, c, p))))
        .map(|(image, channel, pixel)| at(image, channel, pixel))
        .collect()
}

/// `[images, channels, pixels]` to `[images, pixels, channels]`.
fn channels_last(x: &[f32], images: usize, channels: usize) -> Vec<f32> {
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

    /// On the CPU and on the tests' device, within its tier's tolerance.
    #[test]
    fn the_official_recordings_verify() {
        let devices =
            [Some(Device::Cpu), crate::exec::twins::test_gpu().map(|gpu| Device::Gpu(Box::new(gpu)))];
        for (name, count) in [("maskgit-tiny", 18), ("dimoo-tiny", 14)] {
            let path =
                Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/goldens/{name}.safetensors"));
            for device in devices.iter().flatten() {
                let parts = verify(&path, device).unwrap();
                let largest = parts.iter().map(|part| part.relative_error).fold(0.0, f64::max);
                println!(
                    "{name} on {}: {} parts, largest error {largest:.1e}",
                    device.describe(),
                    parts.len()
                );
                assert!(parts.iter().all(|part| part.ok), "{parts:#?}");
                assert_eq!(parts.len(), count, "{parts:#?}");
            }
        }
    }
}
