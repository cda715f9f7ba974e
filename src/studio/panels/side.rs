//! The right side: methods compared, earlier runs, and the pages that have files of their own.

use super::{blind, board, history, sweep, why, worded_button};
use crate::studio::command::Command;
use crate::studio::compare::{figures, step_at};
use crate::studio::run::{Progress, Run};
use crate::studio::state::{State, Tab};
use crate::studio::textures::{DIFFERENCE_GAIN, Textures};
use crate::studio::theme::Palette;
use eframe::egui::{self, Image, Sense, Ui, Vec2, load::SizedTexture};

/// The panel.
pub fn show(ui: &mut Ui, state: &mut State, textures: &mut Textures) {
    tabs(ui, state);
    egui::ScrollArea::vertical()
        .id_salt("side")
        .auto_shrink([false, false])
        .show(ui, |ui| page(ui, state, textures));
}

/// The same in a place that scrolls as a whole.
pub fn show_all(ui: &mut Ui, state: &mut State, textures: &mut Textures) {
    tabs(ui, state);
    page(ui, state, textures);
}

fn tabs(ui: &mut Ui, state: &mut State) {
    ui.horizontal_wrapped(|ui| {
        for tab in Tab::ALL {
            ui.selectable_value(&mut state.tab, tab, tab.text());
        }
    });
    ui.separator();
}

fn page(ui: &mut Ui, state: &mut State, textures: &mut Textures) {
    match state.tab {
        Tab::Compare => compare(ui, state, textures),
        Tab::Why => why::show(ui, state),
        Tab::Blind => blind::show(ui, state, textures),
        Tab::Board => board::show(ui, state, textures),
        Tab::History => history::show(ui, state, textures),
    }
}

fn compare(ui: &mut Ui, state: &mut State, textures: &mut Textures) {
    ui.horizontal_wrapped(|ui| {
        for command in [Command::Compare, Command::AddMethod] {
            if worded_button(ui, command, state.allows(command)).clicked() {
                state.wanted.push(command);
            }
        }
        let all_finished =
            state.compared().iter().all(|(_, run)| run.is_some_and(|run| run.progress == Progress::Finished));
        if !state.comparison.columns.is_empty() {
            let button = egui::Button::new("Race again");
            let tooltip = "Shows the runs once more on a common clock, by the times that were measured";
            if ui.add_enabled(all_finished, button).on_hover_text(tooltip).clicked() {
                state.comparison.race = Some(ui.input(|input| input.time));
            }
            let tooltip = format!(
                "Shows where each picture is unlike the first: the difference of pixels, {DIFFERENCE_GAIN} times as bright"
            );
            ui.toggle_value(&mut state.comparison.differences, "Differences").on_hover_text(tooltip);
        }
    });
    if state.comparison.columns.is_empty() {
        ui.weak("Vanilla, the predictor at your budget, vanilla with as few steps, and plain reuse of features, from one seed");
    }
    let race_ms = state.comparison.race.map(|began| (ui.input(|input| input.time) - began) * 1e3);
    let columns = state.compared();
    let width = ((ui.available_width() - 8.0) / 2.0).max(80.0);
    let mut racing = false;
    egui::Grid::new("methods").num_columns(2).spacing([8.0, 8.0]).show(ui, |ui| {
        for (i, (name, run)) in columns.iter().enumerate() {
            ui.vertical(|ui| {
                ui.set_width(width);
                let step = run.zip(race_ms).and_then(|(run, ms)| step_at(run, ms));
                racing |= step.is_some();
                let first = columns.first().and_then(|(_, run)| *run);
                let against = first.filter(|_| i > 0 && step.is_none() && state.comparison.differences);
                picture(ui, *run, step, against, width, textures);
                ui.strong(*name);
                match (first, run) {
                    (Some(first), Some(run)) => method(ui, first, run),
                    _ => drop(ui.weak("waits for its turn")),
                }
            });
            if i % 2 == 1 {
                ui.end_row();
            }
        }
    });
    if racing {
        ui.ctx().request_repaint();
    }
    ui.separator();
    sweep::show(ui, state);
}

/// A picture of a run; with `against`, how it differs from that run's.
fn picture(
    ui: &mut Ui,
    run: Option<&Run>,
    step: Option<usize>,
    against: Option<&Run>,
    width: f32,
    textures: &mut Textures,
) {
    let difference = run.zip(against).and_then(|(run, first)| textures.difference(ui.ctx(), first, run));
    let texture = difference.or_else(|| run.and_then(|run| textures.of(ui.ctx(), run, 0, step)));
    let size = Vec2::splat(width);
    match texture {
        Some(texture) => {
            ui.add(Image::new(SizedTexture::new(texture, size)).corner_radius(4));
        }
        None => {
            let (rect, _) = ui.allocate_exact_size(size, Sense::hover());
            ui.painter().rect_filled(rect, 4.0, Palette::of(ui).masked[0]);
        }
    }
}

fn method(ui: &mut Ui, first: &Run, run: &Run) {
    let Some(found) = figures(first, run) else {
        match (&run.failed, run.progress) {
            (Some(why), _) => ui.colored_label(Palette::of(ui).failure, format!("failed: {why}")),
            (None, Progress::Stopped) => ui.weak("stopped"),
            _ => ui.weak("under way"),
        };
        return;
    };
    ui.label(format!("{:.1} ms · {:.2}×", found.ms, found.speed_up));
    if run.id != first.id {
        if let Some(agreement) = found.agreement {
            ui.label(format!("{:.1} % of tokens equal", agreement * 100.0));
        }
        if let Some(difference) = found.difference {
            ui.label(format!("pixels differ by {difference:.1} of 255"));
        }
    }
}
