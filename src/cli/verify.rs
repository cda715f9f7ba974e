//! `migm verify FILE...`: a line a part, and exit code 0 only if all are within tolerance.

use super::{Backend, CliError};
use crate::eval::verify::{self, Tolerance};
use std::io::Write as _;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Recordings of the official code (safetensors)
    #[arg(required = true, value_hint = clap::ValueHint::FilePath)]
    files: Vec<PathBuf>,
    /// Where to compute
    #[arg(long, value_enum, default_value_t)]
    backend: Backend,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let (device, reason) = arguments.backend.open()?;
    let mut out = std::io::stdout().lock();
    let mut all_ok = true;
    for file in &arguments.files {
        let bar = super::busy(format!("replaying {}", file.display()));
        let parts = verify::verify(file, &device);
        bar.finish_and_clear();
        let parts = parts?;
        all_ok &= !parts.is_empty() && parts.iter().all(|part| part.ok);
        if arguments.json {
            let report =
                serde_json::json!({ "file": file, "tolerance": Tolerance::of(&device), "parts": parts });
            writeln!(out, "{report}")?;
            continue;
        }
        let name = match &device {
            crate::generate::model::Device::Cpu => "CPU".to_owned(),
            crate::generate::model::Device::Gpu(gpu) => format!("{}, {} tier", gpu.info.name, gpu.tier),
        };
        writeln!(out, "{} on {name} ({reason})", file.display())?;
        writeln!(out, "{:<22} {:<20} {:>12} {:>12}", "part", "shape", "largest", "relative")?;
        for part in &parts {
            let verdict = if part.ok { "ok" } else { "FAILED" };
            let shape = format!("{:?}", part.shape);
            writeln!(
                out,
                "{:<22} {shape:<20} {:>12.3e} {:>12.3e} {verdict}",
                part.name, part.largest_error, part.relative_error
            )?;
        }
        if parts.is_empty() {
            writeln!(out, "FAILED: the file holds no part that can be compared")?;
        }
    }
    if all_ok { Ok(()) } else { Err(CliError::Found) }
}
