//! What went wrong last: what, why, and what can be done about it.

use crate::studio::failure::Remedy;
use crate::studio::state::State;
use crate::studio::theme::Palette;
use eframe::egui::{Frame, RichText, Stroke, Ui};

/// The panel; what a person chose to do, if anything.
pub fn show(ui: &mut Ui, state: &mut State) -> Option<Remedy> {
    let failure = state.failure.clone()?;
    let palette = Palette::of(ui);
    let mut chosen = None;
    Frame::group(ui.style()).stroke(Stroke::new(1.0, palette.failure)).show(ui, |ui| {
        ui.horizontal_wrapped(|ui| {
            ui.colored_label(palette.failure, RichText::new(&failure.title).strong());
            ui.label(&failure.reason);
        });
        ui.horizontal(|ui| {
            for remedy in &failure.remedies {
                if ui.button(remedy.label()).clicked() {
                    chosen = Some(*remedy);
                }
            }
            if ui.button("Dismiss").clicked() {
                state.failure = None;
            }
        });
    });
    chosen
}
