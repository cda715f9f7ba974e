//! The card of the tour's present stop, and a frame around what it speaks of.

use crate::studio::command::Command;
use crate::studio::panels::hover;
use crate::studio::state::State;
use crate::studio::theme::Palette;
use crate::studio::tour::STOPS;
use eframe::egui::{self, Button, Frame, Id, LayerId, Order, RichText, Stroke, StrokeKind, Ui};

/// The panel.
pub fn show(ui: &mut Ui, state: &mut State) {
    let (Some(stop), Some(at)) = (state.tour.stop(), state.tour.at) else { return };
    let palette = Palette::of(ui);
    let card = Frame::group(ui.style()).stroke(Stroke::new(1.0, palette.accent)).show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.horizontal_wrapped(|ui| {
            ui.label(RichText::new(stop.title).strong().size(16.0));
            ui.label(RichText::new(format!("{} of {}", at + 1, STOPS.len())).color(palette.accent));
        });
        ui.label(stop.text);
        ui.horizontal_wrapped(|ui| {
            let mark = if state.tour.done { "✔" } else { "▶" };
            ui.label(RichText::new(format!("{mark} {}", stop.task)).color(palette.accent).strong());
        });
        ui.horizontal_wrapped(|ui| {
            let last = at + 1 == STOPS.len();
            for (command, text, enabled) in [
                (Command::TourBack, "Back", at > 0),
                (Command::TourNext, if last { "Finish" } else { "Next" }, true),
                (Command::TourLeave, "Leave", true),
            ] {
                if ui.add_enabled(enabled, Button::new(text)).on_hover_text(hover(ui, command)).clicked() {
                    state.wanted.push(command);
                }
            }
        });
    });
    // Whoever does not see the card is told it when it changes.
    let id = card.response.id.with("tour");
    let spoken = format!("{}, stop {} of {}. {} {}", stop.title, at + 1, STOPS.len(), stop.text, stop.task);
    let region = ui.interact(card.response.rect, id, egui::Sense::hover());
    region.widget_info(|| egui::WidgetInfo::labeled(egui::accesskit::Role::Note, true, &spoken));
    ui.ctx().accesskit_node_builder(id, |node| node.set_live(egui::accesskit::Live::Polite));
}

/// A frame around what the stop speaks of, over all that was drawn in this frame.
pub fn frame(ui: &Ui, state: &State) {
    let Some(stop) = state.tour.stop() else { return };
    let placed = state.places.iter().find(|placed| placed.place == stop.place);
    if let Some(rect) =
        placed.map(|placed| placed.rect.intersect(placed.clip)).filter(|rect| rect.is_positive())
    {
        let palette = Palette::of(ui);
        let painter = ui.ctx().layer_painter(LayerId::new(Order::Foreground, Id::unique("tour's frame")));
        painter.rect_stroke(rect.shrink(1.0), 6.0, Stroke::new(2.0, palette.accent), StrokeKind::Inside);
    }
}
