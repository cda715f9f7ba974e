//! Sheets and animations of several pictures.

use super::CliError;
use crate::generate::picture::{Picture, write_gif};
use std::path::Path;

/// A sheet up to about twice as wide as high, its last row as full as that allows.
pub(super) fn columns(pictures: usize) -> u32 {
    let widest = ((2.0 * pictures as f64).sqrt().ceil() as usize).max(1);
    let narrowest = ((pictures as f64).sqrt().ceil() as usize).max(1);
    let empty = |columns: usize| pictures.next_multiple_of(columns) - pictures;
    (narrowest..=widest).rev().min_by_key(|columns| empty(*columns)).unwrap_or(widest) as u32
}

/// Pictures resolving: `frames` by picture and step, and how they ended.
pub(super) fn write_frames(
    path: &Path,
    frames: &[Vec<Picture>],
    finished: &[Picture],
) -> Result<(), CliError> {
    const STEP_MS: u32 = 180;
    const LAST_MS: u32 = 1600;
    let steps = frames.first().map_or(0, Vec::len);
    let columns = columns(finished.len());
    // Small pictures are enlarged, so that a step can be seen.
    let factor = finished.first().map_or(1, |p| (128 / p.width).clamp(1, 4));
    let mut sheets: Vec<(Picture, u32)> = (0..steps)
        .map(|step| {
            let pictures: Vec<Picture> = frames.iter().map(|frames| frames[step].clone()).collect();
            (Picture::sheet(&pictures, columns).enlarged(factor), STEP_MS)
        })
        .collect();
    sheets.push((Picture::sheet(finished, columns).enlarged(factor), LAST_MS));
    Ok(write_gif(path, &sheets)?)
}
