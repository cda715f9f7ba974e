//! The storyboard: panels two by two, each with its words, and buttons that move it.

use super::{command_button, small_button, worded_button};
use crate::studio::actor::RunId;
use crate::studio::board::Board;
use crate::studio::command::Command;
use crate::studio::run::{Progress, Run};
use crate::studio::state::State;
use crate::studio::textures::Textures;
use crate::studio::theme::Palette;
use eframe::egui::{self, Button, ComboBox, Image, RichText, TextEdit, Ui, Vec2, load::SizedTexture};

/// Points between panels.
const GAP: f32 = 8.0;
/// Below this width, in points, panels stand one below the other.
const NARROW: f32 = 220.0;

/// What is done with a panel.
type Act = fn(&mut Board, usize);

/// The panel.
pub(super) fn show(ui: &mut Ui, state: &mut State, textures: &mut Textures) {
    ui.horizontal_wrapped(|ui| {
        for command in [Command::Board, Command::AddPanel] {
            if worded_button(ui, command, state.allows(command)).clicked() {
                state.wanted.push(command);
            }
        }
        for command in [Command::SaveBoard, Command::SaveBoardSvg] {
            if command_button(ui, command, state.allows(command)).clicked() {
                state.wanted.push(command);
            }
        }
        if state.board.is_active() && ui.button("Stop").on_hover_text("What is there stays").clicked() {
            state.wanted.push(Command::Stop);
        }
    });
    if state.board.panels().is_empty() {
        ui.weak(
            "A story in panels: all are made with the seed and the settings at the left, and each shows what its own words say. \
             Add what is asked for there, or drop a .txt file with a line a panel on the window",
        );
        return;
    }
    let Some(model) = state.model.clone() else { return };
    let columns = if ui.available_width() < NARROW { 1 } else { 2 };
    let width = (ui.available_width() - GAP * (columns - 1) as f32) / columns as f32;
    let height = width * model.size[1] as f32 / model.size[0].max(1) as f32;
    let last = state.board.panels().len() - 1;
    let (mut act, mut picked): (Option<(Act, usize)>, Option<RunId>) = (None, None);
    egui::Grid::new("board").num_columns(columns).spacing([GAP, GAP]).show(ui, |ui| {
        for at in 0..=last {
            ui.vertical(|ui| {
                ui.set_width(width);
                let named = format!("panel {}", at + 1);
                let run = state.board.panels()[at].run().and_then(|id| state.run(id));
                picked = picture(ui, &named, run, Vec2::new(width, height), textures).or(picked);
                note(ui, state, at);
                if let Some(text) = state.board.texts().nth(at) {
                    words(ui, &named, text, &model.labels, width);
                }
                ui.horizontal(|ui| {
                    for (glyph, what, enabled, does) in [
                        ("⏶", "Earlier", at > 0, Board::up as Act),
                        ("⏷", "Later", at < last, Board::down as Act),
                        ("✖", "Take off the board", true, Board::remove as Act),
                    ] {
                        if small_button(ui, glyph, what, &named, enabled) {
                            act = Some((does, at));
                        }
                    }
                });
            });
            if at % columns == columns - 1 {
                ui.end_row();
            }
        }
    });
    if let Some((act, at)) = act {
        act(&mut state.board, at);
    }
    if picked.is_some() {
        (state.shown, state.scrubbed) = (picked, None);
    }
}

/// A panel's picture, as far as it is; the run if it was pressed.
fn picture(
    ui: &mut Ui,
    named: &str,
    run: Option<&Run>,
    size: Vec2,
    textures: &mut Textures,
) -> Option<RunId> {
    let texture = run.and_then(|run| Some((run.id, textures.of(ui.ctx(), run, 0, None)?)));
    let Some((id, texture)) = texture else {
        let (rect, _) = ui.allocate_exact_size(size, egui::Sense::hover());
        ui.painter().rect_filled(rect, 4.0, Palette::of(ui).masked[0]);
        return None;
    };
    let image = Image::new(SizedTexture::new(texture, size)).corner_radius(4);
    let response = ui.add(Button::image(image).frame(false));
    let label = format!("Look at {named}");
    response.widget_info(|| egui::WidgetInfo::labeled(egui::accesskit::Role::Button, true, &label));
    response.on_hover_text("Shows it on the canvas, with its steps").clicked().then_some(id)
}

/// What a panel is to show: words, or a class of those there are.
fn words(ui: &mut Ui, named: &str, text: &mut String, classes: &[String], width: f32) {
    let label = format!("Words of {named}");
    let named = |role| egui::WidgetInfo::labeled(role, true, &label);
    if classes.is_empty() {
        let edit = TextEdit::multiline(text).desired_rows(2).desired_width(width).hint_text("anything");
        ui.add(edit).widget_info(|| named(egui::accesskit::Role::MultilineTextInput));
        return;
    }
    ComboBox::from_id_salt(&label)
        .selected_text(text.as_str())
        .width(width)
        .show_ui(ui, |ui| {
            for class in classes {
                ui.selectable_value(text, class.clone(), class);
            }
        })
        .response
        .widget_info(|| named(egui::accesskit::Role::ComboBox));
}

/// How a panel stands: of a height whatever it says.
fn note(ui: &mut Ui, state: &State, at: usize) {
    let panel = &state.board.panels()[at];
    let run = panel.run().and_then(|id| state.run(id));
    let is_of = state.recipe.as_ref().is_some_and(|recipe| panel.is_of(recipe));
    let text = match run.map(|run| run.progress) {
        Some(Progress::Waiting | Progress::Running) => "under way".to_owned(),
        Some(Progress::Finished) if is_of => "as the controls say".to_owned(),
        Some(Progress::Finished) => "of other words or settings".to_owned(),
        _ if state.board.is_active() => "waits for its turn".to_owned(),
        _ => "not made yet".to_owned(),
    };
    ui.add(egui::Label::new(RichText::new(text).small().weak()).truncate());
}
