//! The parts of the window. Each shows a part of the state and changes it; none computes or waits.

pub mod blind;
mod board;
pub mod brought;
mod budget;
pub mod canvas;
pub mod compose;
pub mod edit;
pub mod failure;
pub mod history;
pub mod pace;
pub mod palette;
pub mod queue;
pub mod side;
pub mod status;
pub mod sweep;
pub mod timeline;
pub mod token;
pub mod tour;
pub mod why;

use super::command::Command;
use egui::{Button, Response, Ui};

/// A button of a command: its icon, and on hover what it does and by which keys.
pub fn command_button(ui: &mut Ui, command: Command, enabled: bool) -> Response {
    let response = ui.add_enabled(enabled, Button::new(command.icon()));
    response
        .widget_info(|| egui::WidgetInfo::labeled(egui::accesskit::Role::Button, enabled, command.text()));
    response.on_hover_text(hover(ui, command)).on_disabled_hover_text(command.tooltip())
}

/// The same with its words.
pub fn worded_button(ui: &mut Ui, command: Command, enabled: bool) -> Response {
    let button = Button::new(format!("{}  {}", command.icon(), command.text()));
    ui.add_enabled(enabled, button)
        .on_hover_text(hover(ui, command))
        .on_disabled_hover_text(command.tooltip())
}

/// A button of a glyph, of which is said aloud what it does to what.
fn small_button(ui: &mut Ui, glyph: &str, what: &str, named: &str, enabled: bool) -> bool {
    let response = ui.add_enabled(enabled, Button::new(glyph).small());
    let label = format!("{what}: {named}");
    response.widget_info(|| egui::WidgetInfo::labeled(egui::accesskit::Role::Button, enabled, &label));
    response.on_hover_text(what).clicked()
}

/// What a command does, and its keys.
pub fn hover(ui: &Ui, command: Command) -> String {
    let keys = command.shortcut().map(|keys| ui.ctx().format_shortcut(&keys));
    match keys {
        Some(keys) => format!("{} ({keys})", command.tooltip()),
        None => command.tooltip().to_owned(),
    }
}

/// A control with its name above it, at the full width.
pub fn labelled(ui: &mut Ui, text: &str, control: impl FnOnce(&mut Ui) -> Response) {
    let label = ui.label(text);
    ui.scope(|ui| {
        ui.spacing_mut().slider_width = (ui.available_width() - 72.0).max(60.0);
        control(ui).labelled_by(label.id);
    });
}

/// A number of tokens, in words.
fn tokens(count: u32) -> String {
    if count == 1 { "1 token".to_owned() } else { format!("{count} tokens") }
}
