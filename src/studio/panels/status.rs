//! The bar at the bottom: what computes and why, what it holds, and what is under way.

use crate::studio::run::Run;
use crate::studio::state::State;
use eframe::egui::{self, Ui};

/// Below this width, in points, memory is one number.
const NARROW: f32 = 480.0;

/// What computes, said once at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceNote {
    /// The adapter, or the CPU.
    pub name: String,
    /// The interface and the driver, where there is one.
    pub driver: String,
    /// The tier that kernels run at.
    pub tier: String,
    /// Why this device was chosen.
    pub reason: String,
}

/// The panel.
pub fn show(ui: &mut Ui, state: &State, device: &DeviceNote) {
    ui.horizontal(|ui| {
        let tier = format!("{} · {} tier", device.name, device.tier);
        ui.label(tier).on_hover_text(format!("{}\nChosen because: {}", device.driver, device.reason));
        if let Some(run) = state.shown_run().filter(|run| run.memory.total() > 0) {
            ui.separator();
            memory(ui, run);
        }
        if state.stored > 0 {
            ui.separator();
            let text = format!("{:.0} MB stored", state.stored as f64 / 1e6);
            let hover = "Weights that the browser keeps, so that the next visit fetches nothing. File, Clear stored weights frees them";
            ui.label(text).on_hover_text(hover);
        }
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            let Some(run) = state.open_run() else {
                ui.weak("Ready");
                return;
            };
            let (done, all) = (run.steps_done(), run.steps_in_all().max(1));
            ui.add(egui::ProgressBar::new(done as f32 / all as f32).desired_width(120.0));
            let left = run.left_ms().map_or(String::new(), |ms| format!(", {:.1} s left", ms / 1e3));
            ui.label(format!("Step {done} of {all}{left}"));
        });
    });
}

fn memory(ui: &mut Ui, run: &Run) {
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let memory = run.memory;
    let parts = format!(
        "Weights {:.0} MB · activations {:.0} MB",
        megabytes(memory.weights),
        megabytes(memory.total() - memory.weights)
    );
    let hover =
        "Memory held on the device for this model. No interface of a graphics system tells how much is free";
    if ui.max_rect().width() < NARROW {
        ui.label(format!("{:.0} MB", megabytes(memory.total()))).on_hover_text(format!("{parts}\n{hover}"));
    } else {
        ui.label(parts).on_hover_text(hover);
    }
}
