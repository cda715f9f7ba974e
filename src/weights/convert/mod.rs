//! Official checkpoints to a model folder, or to one safetensors file. Tensors pass through one at a time.

mod candidate;
mod config;
mod destination;
mod find;
mod part;
mod text;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use self::candidate::Candidate;
use self::config::Shapes;
use self::find::{TEXT_TOKENIZER, choose, find, text_tokenizer};
use self::part::Family;
pub use self::part::Part;
use super::error::WeightError;
use super::folder::{CONFIG, read_config};
use super::write::write_whole;
use crate::kernels::Quantization;
use crate::output::make_folder;

/// Names with official shapes.
pub type TensorShapes = Vec<(String, Vec<usize>)>;

/// What a part must hold, by the config that the conversion makes. `None` where the config does
/// not describe the part yet, or a sentence on what is wrong with it.
pub type Needed = fn(config: &Value, part: &str) -> Result<Option<TensorShapes>, String>;

/// The element type in which weights are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreAs {
    /// As they are in the source.
    #[default]
    Keep,
    /// 32 bits.
    F32,
    /// 16 bits: what the GPU uses. A weight beyond 65504 is an error.
    F16,
    /// 16 bits with the range of 32.
    Bf16,
}

/// How to convert.
#[derive(Clone, Debug, Default)]
pub struct ConvertOptions {
    /// The element type of the weights that are floats; others are kept.
    pub dtype: StoreAs,
    /// Quantise the matrices of the transformer and of the shortcut.
    pub quantize: Option<Quantization>,
    /// The base model's attention heads, which its weights do not tell.
    pub heads: Option<u32>,
    /// The shortcut's attention heads; otherwise as many as the base model's.
    pub shortcut_heads: Option<u32>,
    /// Names of the classes, in their order.
    pub labels: Option<Vec<String>>,
    /// The transformer makes its pictures in one step, as Di\[M\]O's official one does: its weights are those of any other.
    pub one_step: bool,
    /// Rows and columns of a text model's image, in tokens, which its weights do not tell.
    pub grid: Option<[u32; 2]>,
    /// Holds every tensor to what the programs ask for, before anything is written.
    pub needed: Option<Needed>,
}

/// How far a conversion is, told before each tensor.
#[derive(Clone, Copy, Debug)]
pub struct ConvertProgress<'a> {
    /// The file that is being read.
    pub file: &'a str,
    /// Bytes of it that have been written.
    pub done_bytes: u64,
    /// Bytes of it that will be written.
    pub total_bytes: u64,
}

/// What a conversion did.
#[derive(Clone, Debug, Default)]
pub struct ConvertReport {
    /// The files that were written.
    pub files: Vec<ConvertedFile>,
    /// Checkpoints in a source folder that were not used.
    pub skipped: Vec<SkippedFile>,
    /// What `config.json` says now; `None` where only a file was converted.
    pub config: Option<Value>,
    /// The text tokenizer in the folder; `None` where there is none, and for models of classes.
    pub text_tokenizer: Option<PathBuf>,
    /// Parts that the folder still lacks before it can make images.
    pub missing: Vec<Part>,
    /// What was guessed, and what a reader may want to know.
    pub notes: Vec<String>,
}

/// One checkpoint that was converted.
#[derive(Clone, Debug)]
pub struct ConvertedFile {
    /// Where it was read.
    pub source: PathBuf,
    /// Where it was written.
    pub destination: PathBuf,
    /// What it was recognised as.
    pub part: Option<Part>,
    /// Tensors written.
    pub kept: usize,
    /// Names of the tensors left out.
    pub dropped: Vec<String>,
    /// Weights written.
    pub parameters: u64,
    /// The length of the written file in bytes.
    pub bytes: u64,
}

/// A checkpoint that was found and not used.
#[derive(Clone, Debug)]
pub struct SkippedFile {
    /// Where it is.
    pub path: PathBuf,
    /// Why it was not used.
    pub reason: String,
}

/// Converts checkpoints to `destination`: one file to a `*.safetensors`, or files and folders of checkpoints to a model
/// folder, whose config is then written or updated.
pub fn convert(
    sources: &[PathBuf],
    destination: &Path,
    options: &ConvertOptions,
    on_progress: &mut dyn FnMut(ConvertProgress<'_>),
) -> Result<ConvertReport, WeightError> {
    if destination.extension().is_some_and(|e| e == "safetensors") && !destination.is_dir() {
        let [source] = sources else {
            let problem =
                format!("{} files cannot be converted to one; name a folder to write to", sources.len());
            return Err(WeightError::convert(problem));
        };
        let candidate = Candidate::open(source)?;
        let file = candidate.write(destination, options, on_progress)?;
        return Ok(ConvertReport { files: vec![file], ..ConvertReport::default() });
    }
    if destination.is_file() {
        let problem = format!(
            "{} is a file; name a folder, or a file that ends in .safetensors",
            destination.display()
        );
        return Err(WeightError::convert(problem));
    }
    to_folder(sources, destination, options, on_progress)
}

fn to_folder(
    sources: &[PathBuf],
    destination: &Path,
    options: &ConvertOptions,
    on_progress: &mut dyn FnMut(ConvertProgress<'_>),
) -> Result<ConvertReport, WeightError> {
    let mut report = ConvertReport::default();
    let candidates = choose(find(sources, &mut report.skipped)?, destination, &mut report.skipped)?;
    if candidates.is_empty() {
        return Err(nothing_recognised(&report.skipped));
    }
    // Shapes are settled, and errors in them met, before gigabytes are written.
    let mut parts: BTreeMap<Part, Shapes> = candidates.iter().map(|(part, c)| (*part, c.shapes())).collect();
    for part in Part::ALL {
        let there = destination.join(format!("{part}.safetensors"));
        let replaced = candidates.keys().any(|new| new.name() == part.name());
        if !replaced && there.is_file() {
            let candidate = Candidate::open(&there)?;
            if candidate.part == Some(part) {
                parts.insert(part, candidate.shapes());
            }
        }
    }
    let family = family_of(&parts, destination)?;
    one_tokenizer(&mut parts, &candidates)?;
    let mut config = config_for(sources, destination, family, candidates.get(&Part::Dimoo))?;
    match family {
        Family::Maskgit => config::update(&mut config, &parts, options, &mut report.notes)?,
        Family::Dimoo => {
            let beside = |part: Part| candidates.get(&part).map_or(Ok(None), config_beside);
            let official = text::Official { base: beside(Part::Dimoo)?, tokenizer: beside(Part::Vq)? };
            text::update(&mut config, &parts, &official, options, &mut report.notes)?;
        }
    }
    let config = Value::Object(config);
    if let Some(needed) = options.needed {
        for candidate in candidates.values() {
            candidate.account(&config, needed)?;
        }
    }
    for candidate in candidates.values() {
        candidate.check(options)?;
    }

    let text_tokenizer = match family {
        Family::Dimoo => text_tokenizer(sources, candidates.get(&Part::Dimoo)),
        Family::Maskgit => None,
    };
    destination::check(destination, candidates.keys(), text_tokenizer.is_some())?;
    make_folder(destination).map_err(|e| WeightError::io("create", destination, e))?;
    for (part, candidate) in &candidates {
        let path = destination.join(format!("{part}.safetensors"));
        report.files.push(candidate.write(&path, options, on_progress)?);
    }
    if family == Family::Dimoo {
        report.text_tokenizer = copy_tokenizer(text_tokenizer.as_deref(), destination, &mut report.notes)?;
    }
    // The config comes last: a folder that has one is complete as far as it goes.
    let config_path = destination.join(CONFIG);
    write_whole(&config_path, |out| {
        writeln!(out, "{config:#}").map_err(|e| WeightError::io("write", &config_path, e))
    })?;
    report.config = Some(config);
    let has_tokenizer = parts.keys().any(|part| part.is_tokenizer());
    let lacking = Part::ALL.into_iter().filter(|part| match part.is_tokenizer() {
        true => !has_tokenizer && part.tokenizes_for(family),
        false => part.family() == Some(family) && !parts.contains_key(part),
    });
    let (optional, missing): (Vec<_>, Vec<_>) = lacking.partition(|part| part.is_optional());
    report.missing = missing;
    let is_one_step = report.config.as_ref().is_some_and(|config| config.get(config::ONE_STEP).is_some());
    if !optional.is_empty() && !is_one_step {
        report.notes.push("there is no shortcut: the model can only run its full steps".into());
    }
    Ok(report)
}

/// A model has one tokenizer: of two, the one that is there already gives way.
fn one_tokenizer(
    parts: &mut BTreeMap<Part, Shapes>,
    candidates: &BTreeMap<Part, Candidate>,
) -> Result<(), WeightError> {
    let (Some(vqgan), Some(vq)) = (parts.get(&Part::Vqgan), parts.get(&Part::Vq)) else { return Ok(()) };
    let replaced = match (candidates.contains_key(&Part::Vqgan), candidates.contains_key(&Part::Vq)) {
        (true, false) => Part::Vq,
        (false, true) => Part::Vqgan,
        _ => {
            let problem = format!(
                "{} and {} are both tokenizers, and a model has one\n  name the one that is meant",
                vqgan.file, vq.file
            );
            return Err(WeightError::convert(problem));
        }
    };
    parts.remove(&replaced);
    Ok(())
}

/// The family that all parts are of. The tokenizer of both, alone, is taken for that of the model in the destination.
fn family_of(parts: &BTreeMap<Part, Shapes>, destination: &Path) -> Result<Family, WeightError> {
    let mut known = parts.iter().filter_map(|(part, shapes)| Some((part.family()?, &shapes.file)));
    let Some((family, first)) = known.next() else {
        let there = config_of(destination, Family::Maskgit).is_some();
        return Ok(if there { Family::Maskgit } else { Family::Dimoo });
    };
    match known.find(|(other, _)| *other != family) {
        None => Ok(family),
        Some((_, other)) => {
            let problem = format!(
                "{first} and {other} are parts of different kinds of models\n  convert each into a folder of its own"
            );
            Err(WeightError::convert(problem))
        }
    }
}

/// The config to go on with: the destination's, else that of a model folder among the sources, else an empty one.
fn config_for(
    sources: &[PathBuf],
    destination: &Path,
    family: Family,
    base: Option<&Candidate>,
) -> Result<Map<String, Value>, WeightError> {
    let path = destination.join(CONFIG);
    if !path.is_file() {
        let beside = || base.and_then(|base| config_of(base.path.parent()?, family));
        let found = sources.iter().find_map(|source| config_of(source, family)).or_else(beside);
        return Ok(found.unwrap_or_default());
    }
    let config = read_config(&path)?;
    // What is of another program is left alone: the official text models have a config.json of their own.
    match config.get("architecture") {
        Some(architecture) if *architecture == family.architecture() => Ok(config),
        None if family == Family::Maskgit => Ok(config),
        _ => {
            let problem = format!(
                "{} is not that of a {} model folder\n  name another folder to write to",
                path.display(),
                family.architecture()
            );
            Err(WeightError::convert(problem))
        }
    }
}

/// The official `config.json` beside a checkpoint.
fn config_beside(candidate: &Candidate) -> Result<Option<Map<String, Value>>, WeightError> {
    let path = candidate.path.with_file_name(CONFIG);
    if !path.is_file() {
        return Ok(None);
    }
    let config = read_config(&path)?;
    Ok((config.get("architecture").is_none_or(|architecture| !architecture.is_string())).then_some(config))
}

/// Copies the text tokenizer; it is small, and the folder is to be whole. Where it is now, if anywhere.
fn copy_tokenizer(
    source: Option<&Path>,
    destination: &Path,
    notes: &mut Vec<String>,
) -> Result<Option<PathBuf>, WeightError> {
    let path = destination.join(TEXT_TOKENIZER);
    let Some(source) = source else {
        if path.is_file() {
            return Ok(Some(path));
        }
        notes.push(format!(
            "there is no {TEXT_TOKENIZER} beside the transformer: the model understands no prompt before it lies in {}",
            destination.display()
        ));
        return Ok(None);
    };
    let mut file = fs::File::open(source).map_err(|e| WeightError::io("open", source, e))?;
    write_whole(&path, |out| {
        std::io::copy(&mut file, out).map(|_| ()).map_err(|e| WeightError::io("write", &path, e))
    })?;
    Ok(Some(path))
}

/// A model folder as the source brings its labels and settings along; the configs of other programs do not matter.
fn config_of(source: &Path, family: Family) -> Option<Map<String, Value>> {
    let config = read_config(&source.join(CONFIG)).ok()?;
    (config.get("architecture")? == family.architecture()).then_some(config)
}

fn nothing_recognised(skipped: &[SkippedFile]) -> WeightError {
    let mut problem = "no MaskGIT, VQGAN or shortcut checkpoint was found, and no Lumina-DiMOO".to_owned();
    for file in skipped.iter().take(5) {
        problem.push_str(&format!("\n  {}: {}", file.path.display(), file.reason));
    }
    WeightError::convert(problem)
}
