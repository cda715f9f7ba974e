//! A token that was clicked: when it was decided and by which kind of step, what else it might have become, and where the shortcut
//! looks from it.

use crate::eval::figures::{Attended, Candidate};
use crate::generate::session::StepKind;
use crate::studio::run::Run;
use crate::studio::state::State;
use crate::studio::theme::Palette;
use crate::studio::tour::Place;
use eframe::egui::{self, Align2, Color32, Rect, RichText, Sense, Ui, Vec2, pos2};

const BAR: Vec2 = Vec2::new(72.0, 12.0);
const WIDTH: f32 = 290.0;
/// Of the line at the bottom of the window.
const STATUS: f32 = 28.0;
/// Candidates that are shown, and where there is little room.
const SHOWN: [usize; 2] = [8, 3];

/// The card, where it leaves the canvas to be seen: at the side, or on a phone over what is below; nothing where no token was clicked.
pub fn show(ui: &Ui, state: &mut State) {
    let (Some(spot), Some(model)) = (state.spot, &state.model) else { return };
    let Some(run) = state.run(spot.run) else { return };
    let columns = model.grid[1];
    let (row, column) = (spot.token as u32 / columns, spot.token as u32 % columns);
    let facts = facts(run, spot.token, spot.step, model.tokens(), model.codebook);
    let mut is_open = true;
    let window = ui.ctx().content_rect();
    let canvas = state.places.iter().find(|placed| placed.place == Place::Canvas);
    // Where nothing stands beside the canvas, what is in sight of its column.
    let narrow = canvas.filter(|placed| placed.rect.width() > 0.8 * window.width()).map(|placed| placed.clip);
    let room = narrow.unwrap_or(window.with_max_y(window.bottom() - STATUS));
    let shown = SHOWN[usize::from(narrow.is_some())];
    egui::Window::new(format!("Token in row {}, column {}", row + 1, column + 1))
        .id(egui::Id::unique("token"))
        .open(&mut is_open)
        .resizable(false)
        .collapsible(false)
        .anchor(Align2::RIGHT_BOTTOM, [-12.0, -12.0])
        .constrain_to(room)
        .show(ui.ctx(), |ui| {
            ui.set_max_width(WIDTH.min(room.width() - 40.0));
            facts.iter().for_each(|fact| drop(ui.label(fact)));
            match &state.look {
                Some((known, Some(look))) if *known == spot => {
                    let first = &look.candidates[..shown.min(look.candidates.len())];
                    candidates(ui, first, run, spot.token);
                    if let Some(attended) = &look.attended {
                        drop(ui.separator());
                        drop(ui.add(egui::Label::new(looks(attended, spot.step, columns)).wrap()));
                    }
                }
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

/// Where the shortcut looks from the token, in a sentence; lines on the canvas show the same.
fn looks(attended: &Attended, step: usize, columns: u32) -> String {
    let of = attended.new.len();
    let (at, most) = attended.new.iter().copied().max_by(|(_, a), (_, b)| a.total_cmp(b)).unwrap_or_default();
    let prompt = match attended.prompt {
        0.0 => String::new(),
        share => format!(", and {:.0} % at the prompt", share * 100.0),
    };
    format!(
        "To predict step {}, the shortcut looks from here at the {of} tokens revealed in step {step}: most at row {}, column {} \
         ({:.0} %, where {:.0} % would be even){prompt}",
        step + 1,
        at / columns + 1,
        at % columns + 1,
        most * 100.0,
        (1.0 - attended.prompt) / of.max(1) as f64 * 100.0,
    )
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
