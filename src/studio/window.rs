//! The desktop window.

use super::BUNDLED;
use super::actor::{Actor, Wake};
use super::app::Studio;
use super::frames::Frames;
use super::link;
use super::panels::status::DeviceNote;
use crate::exec::gpu::device::Gpu;
use crate::generate::model::Device;
use eframe::egui;
use eframe::egui_wgpu::{WgpuConfiguration, WgpuSetup, WgpuSetupExisting};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The window's size at the first start, and the smallest it can have, in points.
const SIZE: [f32; 2] = [1280.0, 800.0];
const LEAST: [f32; 2] = [480.0, 480.0];

/// What can go wrong with the window.
#[derive(Debug, thiserror::Error)]
pub enum WindowError {
    /// It could not be opened.
    #[error(
        "no window can be opened: {0}\n  without a display, `migm generate \"PROMPT\"` makes pictures from the command line"
    )]
    Open(String),
    /// The record of its frames could not be written.
    #[error("the times of frames could not be written to {path}: {error}")]
    Trace {
        /// Where to.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
}

/// What the window begins with.
#[derive(Debug)]
pub struct Opening<'a> {
    /// The model to open; by default what was open last.
    pub model: Option<&'a str>,
    /// The link to follow, or nothing.
    pub query: &'a str,
    /// Takes the times of frames. Its clock runs already, so that a record tells of the start too.
    pub frames: Frames,
    /// Where they are written in the end, as CSV.
    pub trace: Option<&'a Path>,
}

/// Opens the window and stays until it is closed. `device` computes; a graphics device draws the window too.
///
/// # Errors
/// There is no display, no way to draw on it, or the record of frames could not be written.
pub fn run(device: Device, reason: &str, opening: Opening<'_>) -> Result<(), WindowError> {
    let Opening { model, query, frames, trace } = opening;
    let recorded = frames.clone();
    let note = note(&device, reason);
    let mut options = eframe::NativeOptions {
        viewport: egui::ViewportBuilder::default()
            .with_title("migm")
            .with_app_id("migm")
            .with_inner_size(SIZE)
            .with_min_inner_size(LEAST),
        ..Default::default()
    };
    if let Device::Gpu(gpu) = &device {
        options.wgpu_options = shared(gpu);
    }
    let (model, query) = (model.map(str::to_owned), query.to_owned());
    let create: eframe::AppCreator<'_> = Box::new(move |creation| {
        let context = creation.egui_ctx.clone();
        let wake: Wake = Arc::new(move || context.request_repaint());
        let actor = Actor::start(device, wake);
        let mut kept = Studio::kept(creation.storage);
        if model.is_some() || !query.is_empty() {
            // What was open last does not matter then.
            kept.recipe = None;
        }
        let model = link::model(&query).or(model).unwrap_or_else(|| BUNDLED[0].to_owned());
        let mut studio = Studio::new(&creation.egui_ctx, actor, note, kept, &model, &query);
        studio.frames = recorded;
        studio.is_cleared = true;
        Ok(Box::new(studio))
    });
    eframe::run_native("migm", options, create)
        .map_err(|error| WindowError::Open(without_places(&error.to_string())))?;
    if let Some(path) = trace {
        let written = crate::output::write(path, frames.to_csv().as_bytes());
        written.map_err(|error| WindowError::Trace { path: path.to_owned(), error })?;
    }
    Ok(())
}

/// One device computes and draws: no picture leaves it.
fn shared(gpu: &Gpu) -> WgpuConfiguration {
    WgpuConfiguration {
        wgpu_setup: WgpuSetup::Existing(WgpuSetupExisting {
            instance: gpu.instance.clone(),
            adapter: gpu.adapter.clone(),
            device: gpu.device.clone(),
            queue: gpu.queue.clone(),
        }),
        ..Default::default()
    }
}

/// What the status bar says of a device.
pub fn note(device: &Device, reason: &str) -> DeviceNote {
    let reason = reason.to_owned();
    match device {
        Device::Cpu | Device::CpuBf16 => DeviceNote {
            name: device.describe(),
            driver: "The CPU executor: the same programs without a graphics device".to_owned(),
            tier: "cpu".to_owned(),
            reason,
        },
        Device::Gpu(gpu) => DeviceNote {
            name: gpu.info.name.clone(),
            driver: format!("{:?}, {} {}", gpu.info.backend, gpu.info.driver, gpu.info.driver_info),
            tier: gpu.tier.to_string(),
            reason,
        },
    }
}

/// A message without the source files that it names: winit puts ` at FILE:LINE` before what the system said.
fn without_places(message: &str) -> String {
    let Some((before, rest)) = message.split_once(" at ") else { return message.to_owned() };
    match rest.split_once(": ") {
        Some((place, reason)) if place.contains(".rs:") => format!("{before}: {reason}"),
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::without_places;

    #[test]
    fn a_message_names_no_source_file() {
        let winit = "winit EventLoopError: os error at /home/x/winit/linux/mod.rs:788: Failed to open connection to X server";
        let plain = "winit EventLoopError: os error: Failed to open connection to X server";
        assert_eq!(without_places(winit), plain);
        for other in [plain, "the window at the left: closed", "no"] {
            assert_eq!(without_places(other), other);
        }
    }
}
