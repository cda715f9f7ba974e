//! All commands, by their words.

use crate::studio::command::Command;
use crate::studio::state::State;
use eframe::egui::{self, Key, Modal, TextEdit, Ui};

/// The palette, while it is open.
pub fn show(ui: &Ui, state: &mut State) {
    let Some(mut words) = state.palette.take() else { return };
    let mut open = true;
    let modal = Modal::new(ui.scope_id().with("palette")).show(ui.ctx(), |ui| {
        ui.set_width(380.0);
        let edit =
            ui.add(TextEdit::singleline(&mut words).desired_width(f32::INFINITY).hint_text("Find a command"));
        edit.widget_info(|| {
            egui::WidgetInfo::labeled(egui::accesskit::Role::SearchInput, true, "Find a command")
        });
        edit.request_focus();
        let found: Vec<Command> = Command::here().filter(|command| command.matches(&words)).collect();
        let entered = ui.input(|input| input.key_pressed(Key::Enter));
        egui::ScrollArea::vertical().max_height(320.0).show(ui, |ui| {
            for (i, command) in found.iter().enumerate() {
                let allowed = state.allows(*command);
                let keys = command.shortcut().map(|keys| ui.ctx().format_shortcut(&keys)).unwrap_or_default();
                let text = format!("{}  {}", command.icon(), command.text());
                let button =
                    egui::Button::new(text).shortcut_text(keys).frame(false).min_size(egui::vec2(360.0, 0.0));
                let clicked = ui.add_enabled(allowed, button).on_hover_text(command.tooltip()).clicked();
                if allowed && (clicked || (entered && i == 0)) {
                    state.wanted.push(*command);
                    open = false;
                }
            }
            if found.is_empty() {
                ui.weak("No command has these words");
            }
        });
    });
    if open && !modal.should_close() {
        state.palette = Some(words);
    }
}
