//! `migm convert SRC... DST`: official checkpoints to safetensors, or to a model folder.

use super::{CliError, bytes};
use crate::eval::export::{export, recording};
use crate::generate::model::needed;
use crate::kernels::Quantization;
use crate::output::{self, Format, Output};
use crate::weights::{Checkpoint, ConvertOptions, ConvertReport, StoreAs, WeightError, convert};
use std::io::Write as _;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Checkpoints (.pth, .pt, .ckpt, .bin, .safetensors) or folders of them
    #[arg(required = true, value_name = "SRC", value_hint = clap::ValueHint::AnyPath)]
    sources: Vec<PathBuf>,
    /// A file that ends in .safetensors, or a model folder to make or complete
    #[arg(value_name = "DST", value_hint = clap::ValueHint::AnyPath)]
    destination: PathBuf,
    /// Element type of the stored weights
    #[arg(long, value_enum, default_value_t)]
    dtype: Dtype,
    /// Quantise the matrices of the transformer and the shortcut: int8, int4 (groups of 64) or int4:32
    #[arg(long, value_name = "FORMAT")]
    quantize: Option<Quantization>,
    /// Attention heads of the transformer, which its weights do not tell
    #[arg(long)]
    heads: Option<u32>,
    /// Attention heads of the shortcut (default: as the transformer)
    #[arg(long)]
    shortcut_heads: Option<u32>,
    /// A text file of class names, one a line, in order of class
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    labels: Option<PathBuf>,
    /// The transformer makes its pictures in one step: Di\[M\]O's, whose tensors are those of its teacher
    #[arg(long)]
    one_step: bool,
    /// Rows and columns of a text model's image, in tokens of 16 pixels (default: 64x64)
    #[arg(long, value_name = "ROWSxCOLUMNS", value_parser = grid)]
    grid: Option<[u32; 2]>,
}

pub(super) fn grid(text: &str) -> Result<[u32; 2], String> {
    let sides =
        text.split_once('x').and_then(|(rows, columns)| Some([rows.parse().ok()?, columns.parse().ok()?]));
    sides
        .filter(|sides| !sides.contains(&0))
        .ok_or_else(|| "expected rows and columns, as in 64x64".to_owned())
}

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Dtype {
    /// As in the source
    #[default]
    Keep,
    /// Four bytes a weight
    F32,
    /// Two bytes a weight
    F16,
    /// Two bytes a weight, with the range of f32
    Bf16,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    if let [source] = &arguments.sources[..]
        && source.is_file()
        && recording(&Checkpoint::open(source)?).is_some()
    {
        output::check(&[Output::folder(DESTINATION, &arguments.destination)])?;
        export(source, &arguments.destination)?;
        let destination = arguments.destination.display();
        writeln!(std::io::stdout(), "{} -> {destination}: a recording's model", source.display())?;
        return Ok(());
    }
    output::check(&[destination(&arguments.destination)])?;
    let labels = match &arguments.labels {
        None => None,
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|source| WeightError::Io {
                action: "read",
                path: path.display().to_string(),
                source,
            })?;
            Some(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
        }
    };
    let options = ConvertOptions {
        dtype: match arguments.dtype {
            Dtype::Keep => StoreAs::Keep,
            Dtype::F32 => StoreAs::F32,
            Dtype::F16 => StoreAs::F16,
            Dtype::Bf16 => StoreAs::Bf16,
        },
        quantize: arguments.quantize,
        heads: arguments.heads,
        shortcut_heads: arguments.shortcut_heads,
        labels,
        one_step: arguments.one_step,
        grid: arguments.grid,
        needed: Some(needed),
    };
    let bar = progress_bar();
    let report = convert(&arguments.sources, &arguments.destination, &options, &mut |progress| {
        bar.set_length(progress.total_bytes);
        bar.set_position(progress.done_bytes);
        bar.set_message(progress.file.to_owned());
    })?;
    bar.finish_and_clear();
    print(&report)
}

/// What the destination is called in messages.
const DESTINATION: &str = "the destination";

/// One file by its name, otherwise a model folder.
fn destination(path: &Path) -> Output {
    let is_file = path.extension().is_some_and(|e| e == "safetensors") && !path.is_dir();
    if is_file {
        Output::file(DESTINATION, path, Format::Safetensors)
    } else {
        Output::folder(DESTINATION, path)
    }
}

/// A bar over the bytes of a file.
pub(super) fn progress_bar() -> indicatif::ProgressBar {
    indicatif::ProgressBar::new(0).with_style(bar_style())
}

pub(super) fn bar_style() -> indicatif::ProgressStyle {
    indicatif::ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {eta}")
        .unwrap_or_else(|_| indicatif::ProgressStyle::default_bar())
}

/// What a conversion did, in words.
pub(super) fn print(report: &ConvertReport) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    for file in &report.files {
        let part = file.part.map_or_else(String::new, |part| format!(" ({part})"));
        writeln!(
            out,
            "{} -> {}{part}: {} tensors, {} parameters, {}",
            file.source.display(),
            file.destination.display(),
            file.kept,
            file.parameters,
            bytes(file.bytes)
        )?;
        if !file.dropped.is_empty() {
            writeln!(out, "  left out {} tensors, from {} on", file.dropped.len(), file.dropped[0])?;
        }
    }
    if let Some(path) = &report.text_tokenizer {
        writeln!(out, "{}: the text tokenizer", path.display())?;
    }
    for skipped in &report.skipped {
        writeln!(out, "not used: {}: {}", skipped.path.display(), skipped.reason)?;
    }
    for note in &report.notes {
        writeln!(out, "note: {note}")?;
    }
    if !report.missing.is_empty() {
        let missing: Vec<String> = report.missing.iter().map(ToString::to_string).collect();
        writeln!(out, "the folder still lacks: {}; convert it into the same folder", missing.join(", "))?;
    }
    Ok(())
}
