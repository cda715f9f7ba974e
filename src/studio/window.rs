//! The desktop window.

use super::actor::{Actor, Wake};
use super::app::Studio;
use super::link;
use super::panels::status::DeviceNote;
use crate::exec::gpu::device::Gpu;
use crate::generate::model::Device;
use eframe::egui;
use eframe::egui_wgpu::{WgpuConfiguration, WgpuSetup, WgpuSetupExisting};
use std::sync::Arc;

/// The window's size at the first start, and the smallest it can have, in points.
const SIZE: [f32; 2] = [1280.0, 800.0];
const LEAST: [f32; 2] = [480.0, 480.0];

/// The window could not be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "no window can be opened: {0}\n  without a display, `migm generate \"PROMPT\"` makes pictures from the command line"
)]
pub struct WindowError(String);

/// Opens the window and stays until it is closed. `device` computes; a graphics device draws the window too. What was open last
/// is opened again, unless a model or a link is asked for.
///
/// # Errors
/// There is no display, or no way to draw on it.
pub fn run(
    device: Device,
    reason: &str,
    model: &str,
    model_is_asked_for: bool,
    query: &str,
) -> Result<(), WindowError> {
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
    let (model, query) = (model.to_owned(), query.to_owned());
    let create: eframe::AppCreator<'_> = Box::new(move |creation| {
        let context = creation.egui_ctx.clone();
        let wake: Wake = Arc::new(move || context.request_repaint());
        let actor = Actor::start(device, wake);
        let mut kept = Studio::kept(creation.storage);
        let model = link::model(&query).unwrap_or(model);
        if model_is_asked_for || !query.is_empty() {
            // What was open last does not matter then.
            kept.recipe = None;
        }
        Ok(Box::new(Studio::new(&creation.egui_ctx, actor, note, kept, &model, &query)))
    });
    eframe::run_native("migm", options, create).map_err(|error| WindowError(error.to_string()))
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
        Device::Cpu => DeviceNote {
            name: format!("CPU, {} threads", rayon::current_num_threads()),
            driver: "The CPU executor: the same programs without a graphics device".to_owned(),
            tier: "cpu".to_owned(),
            reason,
        },
        Device::Gpu(gpu) => DeviceNote {
            name: gpu.info.name.clone(),
            driver: format!("{:?}, {} {}", gpu.info.backend, gpu.info.driver, gpu.info.driver_info),
            tier: "portable".to_owned(),
            reason,
        },
    }
}
