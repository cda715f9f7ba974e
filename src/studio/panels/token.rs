//! A token that was clicked: when it was decided and by which kind of step, and what else it might have become.

use crate::eval::figures::Candidate;
use crate::generate::session::StepKind;
use crate::studio::run::Run;
use crate::studio::state::State;
use crate::studio::theme::Palette;
use eframe::egui::{self, Align2, Color32, Rect, RichText, Sense, Ui, Vec2, pos2};

const BAR: Vec2 = Vec2::new(96.0, 12.0);

/// The card over the canvas; nothing where no token was clicked.
pub fn show(ui: &Ui, state: &mut State) {
    let (Some(spot), Some(model)) = (state.spot, &state.model) else { return };
    let Some(run) = state.run(spot.run) else { return };
    let (row, column) = (spot.token as u32 / model.grid[1], spot.token as u32 % model.grid[1]);
    let facts = facts(run, spot.token, spot.step, model.tokens(), model.codebook);
    let mut is_open = true;
    egui::Window::new(format!("Token in row {}, column {}", row + 1, column + 1))
        .id(egui::Id::unique("token"))
        .open(&mut is_open)
        .resizable(false)
        .collapsible(false)
        .anchor(Align2::RIGHT_BOTTOM, [-12.0, -12.0])
        .constrain_to(state.places.first().map_or_else(|| ui.ctx().content_rect(), |placed| placed.rect))
        .show(ui.ctx(), |ui| {
            facts.iter().for_each(|fact| drop(ui.label(fact)));
            match &state.candidates {
                Some((known, Some(found))) if *known == spot => candidates(ui, found, run, spot.token),
                Some((known, None)) if *known == spot => {
                    drop(ui.weak("Generate once more to look into this run's tokens: features are kept of the latest single picture"));
                }
                _ => drop(ui.spinner()),
            }
        });
    if !is_open {
        state.spot = None;
    }
}

/// What is known without asking: what the token is at the step, when it was decided, how far its features moved.
fn facts(run: &Run, token: usize, step: usize, tokens: usize, mask: u32) -> Vec<String> {
    let mut facts = Vec::new();
    let decided = run.revealed_at(0, tokens, mask).get(token).copied().flatten();
    facts.push(match decided {
        Some(at) => {
            let kind = match run.plan.get(at).map(|note| note.kind) {
                Some(StepKind::Full) => "a full",
                _ => "a predicted",
            };
            format!("Decided at step {}, {kind} one", at + 1)
        }
        None => "Not decided yet".to_owned(),
    });
    let moved =
        run.steps.iter().find(|done| done.step == step).and_then(|done| done.moved.as_ref()?.get(token));
    facts.extend(
        moved.map(|share| {
            format!("Features moved by {:.1} % of their size in step {}", share * 100.0, step + 1)
        }),
    );
    facts
}

fn candidates(ui: &mut Ui, found: &[Candidate], run: &Run, token: usize) {
    let palette = Palette::of(ui);
    ui.horizontal_wrapped(|ui| {
        ui.colored_label(palette.full, "■ with guidance");
        ui.colored_label(palette.predicted, "■ without");
    });
    egui::Grid::new("candidates").num_columns(4).spacing([8.0, 2.0]).show(ui, |ui| {
        for title in ["code", "probability", "%", "without"] {
            ui.label(RichText::new(title).color(ui.visuals().weak_text_color()));
        }
        ui.end_row();
        for candidate in found {
            let is_final = run.codes.get(token) == Some(&candidate.code);
            let mark = if is_final { "✔" } else { "" };
            ui.label(format!("{} {mark}", candidate.code));
            bars(
                ui,
                [(candidate.probability, palette.full), (candidate.without_guidance, palette.predicted)],
            );
            ui.label(format!("{:.1}", candidate.probability * 100.0));
            ui.label(format!("{:.1}", candidate.without_guidance * 100.0));
            ui.end_row();
        }
    });
    let sum: f64 = found.iter().map(|candidate| candidate.probability).sum();
    ui.weak(format!("The likeliest at this step, {:.0} % of all; ✔ it became", sum * 100.0));
}

fn bars(ui: &mut Ui, shares: [(f64, Color32); 2]) {
    let (rect, _) = ui.allocate_exact_size(BAR, Sense::hover());
    let height = rect.height() / 2.0;
    for (at, (share, color)) in shares.into_iter().enumerate() {
        let top = rect.top() + height * at as f32;
        let end = rect.left() + (rect.width() * share as f32).max(1.0);
        ui.painter().rect_filled(
            Rect::from_min_max(pos2(rect.left(), top), pos2(end, top + height - 1.0)),
            1.0,
            color,
        );
    }
}
