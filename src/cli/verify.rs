//! `migm verify FILE...`: a line a part, on every tier of a graphics device, and exit code 0 only if all are within tolerance.

use super::{Backend, CliError, Place};
use crate::eval::verify::{self, Tolerance};
use crate::exec::gpu::self_check::first_wrong;
use crate::generate::GenerateError;
use crate::generate::model::Device;
use std::io::Write as _;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Recordings of the official code (safetensors)
    #[arg(required = true, value_hint = clap::ValueHint::FilePath)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    place: Place,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    if arguments.place.backend == Backend::CpuBf16 {
        // One token that is drawn otherwise is in all that follows it, so that no recording says whether the rest is right.
        let message = "recordings are held to f32, and to f16 on a GPU's tiers; in bf16 runs go other ways: take --backend cpu";
        return Err(GenerateError::Setting(message.to_owned()).into());
    }
    let mut out = std::io::stdout().lock();
    let mut all_ok = true;
    for (device, reason) in arguments.place.open_every_tier()? {
        let wrong = wrong_kernel(&device, arguments.json, &mut out)?;
        all_ok &= wrong.is_none();
        for file in &arguments.files {
            let name = file.display();
            let bar = super::busy(format!("replaying {name}"));
            let parts = verify::verify(file, &device);
            bar.finish_and_clear();
            let parts = parts?;
            all_ok &= !parts.is_empty() && parts.iter().all(|part| part.ok);
            if arguments.json {
                let report = serde_json::json!({
                    "file": file,
                    "device": device.describe(),
                    "wrong_kernel": wrong,
                    "tolerance": Tolerance::of(&device),
                    "parts": parts,
                });
                writeln!(out, "{report}")?;
            } else {
                writeln!(out, "{name} on {} ({reason})", device.describe())?;
                table(&parts, &mut out)?;
            }
        }
    }
    if all_ok { Ok(()) } else { Err(CliError::Found) }
}

/// The first kernel of a graphics device that does not compute what the CPU's does.
fn wrong_kernel(
    device: &Device,
    json: bool,
    out: &mut dyn std::io::Write,
) -> Result<Option<String>, CliError> {
    let Device::Gpu(gpu) = device else { return Ok(None) };
    let wrong = pollster::block_on(first_wrong(gpu))?;
    let verdict = match &wrong {
        None => "ok".to_owned(),
        Some(kernel) => format!("FAILED: {kernel} is not what the CPU computes"),
    };
    if !json {
        writeln!(out, "kernels on {}, {} tier: {verdict}", gpu.info.name, gpu.tier)?;
    }
    Ok(wrong)
}

fn table(parts: &[verify::Part], out: &mut dyn std::io::Write) -> std::io::Result<()> {
    writeln!(out, "{:<22} {:<20} {:>12} {:>12}", "part", "shape", "largest", "relative")?;
    for part in parts {
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
    Ok(())
}
