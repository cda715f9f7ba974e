//! The judge at work: a folder with `config.json` and `judge.safetensors`, and pictures in batches.

use super::source::Wanted;
use crate::exec::{Executor, read_f32, write_f32};
use crate::generate::GenerateError;
use crate::generate::model::{Device, FolderWeights, matrices_are_f16};
use crate::kernels::StepValues;
use crate::models::judge::{Config, PART};
use crate::models::{self, states};
use crate::program::{Formats, WeightSource};
use crate::weights::{ModelFolder, TensorShapes, account};
use pollster::block_on;
use std::ops::Range;
use std::path::Path;

/// The largest activation of a batch, in bytes.
const BATCH_BYTES: u64 = 64 << 20;
/// More pictures at once than this gain nothing.
const LARGEST_BATCH: u64 = 32;

/// What a picture is held to, in the order of the table: what a prompt can state, and that every thing is whole.
pub const ATTRIBUTES: [&str; 7] = ["objects", "colours", "count", "side", "place", "light", "whole"];

/// By attribute, whether a picture has it right; `None` where the prompt leaves it open.
pub type Marks = [Option<bool>; ATTRIBUTES.len()];

/// Whether everything that is asked of a picture is right.
pub fn all_right(marks: &Marks) -> bool {
    !marks.contains(&Some(false))
}

/// What the judge makes of a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The leftmost and the rightmost thing.
    pub nouns: [usize; 2],
    /// Their colours.
    pub colours: [usize; 2],
    /// Things in all.
    pub count: usize,
    /// The place.
    pub place: usize,
    /// The light.
    pub light: usize,
    /// Whether no thing is torn.
    pub whole: bool,
}

impl Seen {
    /// From the outputs of one picture: of each reading the likeliest.
    fn new(config: &Config, outputs: &[f32]) -> Self {
        let readings = config.readings();
        let likeliest = |range: Range<usize>| {
            let best = outputs[range].iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
            best.map_or(0, |(index, _)| index)
        };
        Self {
            nouns: readings.nouns.map(likeliest),
            colours: readings.colours.map(likeliest),
            count: likeliest(readings.count) + 1,
            place: likeliest(readings.place),
            light: likeliest(readings.light),
            whole: likeliest(readings.whole) == 1,
        }
    }

    /// Holds the picture to what was asked for. Objects are right if all that were asked for are seen and no others; colours,
    /// if each that was asked for is that of its noun on every side where that is seen, and it is seen on one.
    pub fn marks(&self, wanted: &Wanted) -> Marks {
        let seen = |noun: usize| self.nouns.into_iter().zip(self.colours).filter(move |side| side.0 == noun);
        let objects = self.nouns.iter().all(|noun| wanted.nouns.contains(noun))
            && wanted.nouns.iter().all(|&noun| seen(noun).next().is_some());
        let stated = wanted.nouns.iter().zip(&wanted.colours);
        let mut stated = stated.filter_map(|(&noun, colour)| Some((noun, (*colour)?))).peekable();
        let coloured = |(noun, wanted): (usize, usize)| {
            seen(noun).next().is_some() && seen(noun).all(|(_, colour)| colour == wanted)
        };
        let colours = stated.peek().is_some().then(|| stated.all(coloured));
        [
            Some(objects),
            colours,
            wanted.count.map(|count| count == self.count),
            wanted.sides.map(|sides| sides == self.nouns),
            wanted.place.map(|place| place == self.place),
            wanted.light.map(|light| light == self.light),
            Some(self.whole),
        ]
    }
}

/// What the judge read of some pictures.
#[derive(Clone, Debug, Default)]
pub struct Verdicts {
    /// Of each picture.
    pub seen: Vec<Seen>,
    /// Features `[pictures, width]`.
    pub features: Vec<f32>,
}

/// A judge on a device.
pub struct Judge {
    /// Its name, for reports.
    pub name: String,
    /// What its `config.json` says.
    pub config: Config,
    executor: Box<dyn Executor>,
    batch: usize,
}

impl std::fmt::Debug for Judge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Judge").field("name", &self.name).field("batch", &self.batch).finish_non_exhaustive()
    }
}

/// What `judge.safetensors` must hold, under official names.
///
/// # Errors
/// The sizes make no program.
pub fn tensors(config: &Config) -> Result<TensorShapes, GenerateError> {
    let program = models::build(PART, Formats::F32, |b| config.read(b, 1))?;
    let prefix = format!("{PART}.");
    let tensors = models::tensors([&program]).into_iter();
    Ok(tensors.filter_map(|(name, shape)| Some((name.strip_prefix(&prefix)?.to_owned(), shape))).collect())
}

impl Judge {
    /// Opens a judge's folder, or the bundled judge, and accounts for every tensor in it.
    ///
    /// # Errors
    /// No judge there, a file that is missing or malformed, or sizes and tensors that do not go together.
    pub fn open(folder: Option<&Path>, device: &Device) -> Result<Self, GenerateError> {
        let folder = match folder {
            Some(path) => ModelFolder::open(path)?,
            None => ModelFolder::bundled(&crate::assets::JUDGE)?,
        };
        Self::of_folder(&folder, device)
    }

    /// The same of a folder that is open.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn of_folder(folder: &ModelFolder, device: &Device) -> Result<Self, GenerateError> {
        let error = |what: String| GenerateError::Config { model: folder.name().to_owned(), what };
        let config: Config =
            serde_json::from_value(folder.config().clone()).map_err(|e| error(e.to_string()))?;
        config.check().map_err(error)?;
        let missing = || error(format!("the folder has no {PART}.safetensors"));
        let checkpoint = folder.checkpoint(PART)?.ok_or_else(missing)?;
        account(&checkpoint, &tensors(&config)?, &|_| false)?;
        let formats = if matrices_are_f16(&checkpoint, "") { Formats::F16 } else { Formats::F32 };
        let mut weights = FolderWeights::open(folder, std::iter::once(PART))?;
        Self::with_weights(folder.name(), config, device, formats, &mut weights)
    }

    /// Makes a judge with weights from anywhere.
    ///
    /// # Errors
    /// Weights cannot be loaded, or the device cannot hold the judge.
    pub fn with_weights(
        name: &str,
        config: Config,
        device: &Device,
        formats: Formats,
        weights: &mut dyn WeightSource,
    ) -> Result<Self, GenerateError> {
        // At full resolution the first level is widest, or the one that the second level comes from.
        let widest = u64::from(config.channels.first().copied().unwrap_or(1).max(3));
        let bytes = u64::from(config.size).pow(2) * widest * 4;
        let batch = (BATCH_BYTES / bytes.max(1)).clamp(1, LARGEST_BATCH);
        let program = models::build(PART, formats, |b| config.read(b, batch as u32))?;
        let mut executor = device.executor(vec![program], weights)?;
        executor.prepare(&[StepValues::default()])?;
        Ok(Self { name: name.to_owned(), config, executor, batch: batch as usize })
    }

    /// Reads pictures `[pictures, size, size, 3]`, nominally in [-1, 1].
    ///
    /// # Errors
    /// The device failed.
    pub fn read(&mut self, pictures: &[f32]) -> Result<Verdicts, GenerateError> {
        let values = (self.config.size * self.config.size * 3) as usize;
        let (width, outputs) = (self.config.features() as usize, self.config.outputs() as usize);
        let mut verdicts = Verdicts::default();
        for chunk in pictures.chunks(self.batch * values) {
            let count = chunk.len() / values;
            let executor = self.executor.as_mut();
            // Of a short batch, what the rest holds from before is not read.
            write_f32(executor, states::IMAGE, chunk)?;
            executor.run(&[0], 0, false)?;
            verdicts.features.extend(block_on(read_f32(executor, states::JUDGE_FEATURES, count * width))?);
            let read = block_on(read_f32(executor, states::JUDGE_OUTPUTS, count * outputs))?;
            verdicts.seen.extend(read.chunks_exact(outputs).map(|picture| Seen::new(&self.config, picture)));
        }
        Ok(verdicts)
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
