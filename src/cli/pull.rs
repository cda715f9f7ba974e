//! `migm pull PRESET|OWNER/REPO`: an official model, fetched, checked and made into a model folder.

use super::convert::{bar_style, print, progress_bar};
use super::{CliError, bytes};
use crate::generate::model::takes_prompts;
use crate::kernels::Quantization;
use crate::pull::{Checked, PRESETS, PullRequest, Settings, Stage, pull};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, clap::Args)]
#[command(after_help = presets())]
pub(super) struct Arguments {
    /// A preset, or a repository of the hub
    #[arg(value_name = "PRESET|OWNER/REPO")]
    what: String,
    /// The model folder to make (default: one in the cache)
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    to: Option<PathBuf>,
    /// A branch, tag or commit (default: main)
    #[arg(long)]
    revision: Option<String>,
    /// Fetch and convert again, and replace the model in DIR
    #[arg(long)]
    force: bool,
    /// Another place of the shortcut's checkpoint, or "none" to go without
    #[arg(long, value_name = "OWNER/REPO/FILE|none")]
    shortcut: Option<String>,
    /// Quantise the matrices on the way: int8, int4 (groups of 64) or int4:32
    #[arg(long, value_name = "FORMAT")]
    quantize: Option<Quantization>,
}

fn presets() -> String {
    let mut text = "Presets:\n".to_owned();
    for preset in PRESETS {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {:<13} {}", preset.name, preset.about);
    }
    text.push_str(
        "\nEnvironment: HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE and HF_HUB_DOWNLOAD_TIMEOUT, as for the \
         hub's own tools",
    );
    text
}

/// For what has no length.
fn waiting_style() -> indicatif::ProgressStyle {
    indicatif::ProgressStyle::with_template("{spinner} {msg} {elapsed}")
        .unwrap_or_else(|_| indicatif::ProgressStyle::default_spinner())
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let request = PullRequest {
        what: arguments.what.clone(),
        revision: arguments.revision.clone(),
        to: arguments.to.clone(),
        force: arguments.force,
        shortcut: arguments.shortcut.clone(),
        quantize: arguments.quantize,
    };
    let settings = Settings::from_environment();
    let bar = progress_bar();
    // The clock goes on where nothing comes: a hub that does not answer is seen not to.
    bar.enable_steady_tick(Duration::from_millis(200));
    let mut current = None;
    let report = pull(&request, &settings, &mut |progress| {
        if current.as_ref() != Some(&(progress.stage, progress.file.to_owned())) {
            current = Some((progress.stage, progress.file.to_owned()));
            bar.set_length(progress.total_bytes);
            bar.set_style(match progress.stage {
                Stage::Ask => waiting_style(),
                _ => bar_style(),
            });
            bar.set_message(match progress.stage {
                Stage::Ask => format!("asking {} for {}", settings.endpoint, progress.file),
                Stage::Fetch => progress.file.to_owned(),
                Stage::Wait => format!("broke off, trying again: {}", progress.file),
                Stage::Convert => format!("converting {}", progress.file),
            });
            // What an earlier attempt fetched says nothing of the speed now.
            bar.reset_eta();
            bar.reset_elapsed();
        }
        bar.set_position(progress.done_bytes);
    });
    bar.finish_and_clear();
    let report = report?;
    let mut out = std::io::stdout().lock();
    for file in &report.files {
        let checked = match file.checked {
            Checked::Sha256 => "SHA-256 checked",
            Checked::GitSha1 => "git SHA-1 checked",
            Checked::Length => "length checked, the server states no checksum",
            Checked::Earlier => "in the cache",
        };
        writeln!(out, "{} of {}: {}, {checked}", file.file, file.repo, bytes(file.bytes))?;
        if report.model.is_none() {
            writeln!(out, "  {}", file.path.display())?;
        }
    }
    if let Some(converted) = &report.converted {
        drop(out);
        print(converted)?;
        out = std::io::stdout().lock();
    }
    for note in &report.notes {
        writeln!(out, "note: {note}")?;
    }
    if let Some(model) = &report.model {
        let subject = if takes_prompts(model)? { "\"a lighthouse in a storm\"" } else { "--class 7" };
        writeln!(out, "try it: migm generate {subject} --model {}", model.display())?;
    }
    Ok(())
}
