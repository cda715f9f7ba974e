//! `migm studio`, and `migm` alone: the window.

use super::{CliError, Place};
use crate::output::{self, Format, Output};
use crate::studio::frames::Frames;
use crate::studio::link;
use crate::studio::window::{self, Opening};
use std::path::PathBuf;

#[derive(Debug, Default, clap::Args)]
pub(super) struct Arguments {
    /// Model folder, or the name of a bundled model (default: what was open last, else scenes-text)
    #[arg(long, value_name = "DIR|NAME", value_hint = clap::ValueHint::DirPath)]
    model: Option<String>,
    /// What a link asks for: everything from its question mark on
    #[arg(value_name = "?QUERY", default_value = "")]
    query: String,
    #[command(flatten)]
    place: Place,
    /// Write how long each frame took, as CSV, when the window closes
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    trace: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let trace = arguments.trace.iter().map(|path| Output::file("--trace", path, Format::Csv));
    output::check(&trace.collect::<Vec<_>>())?;
    let opening = Opening {
        model: arguments.model.as_deref(),
        query: &arguments.query,
        frames: Frames::default(),
        trace: arguments.trace.as_deref(),
    };
    let mut place = arguments.place.clone();
    // The tokens that a link says there were are the portable tier's.
    place.exact |= link::proof(&arguments.query).is_some();
    let (device, reason) = place.open()?;
    Ok(window::run(device, &reason, opening)?)
}
