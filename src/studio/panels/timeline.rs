//! Below the canvas: a cell a step. Full steps are solid and amber, predicted ones outlined and teal; height is measured time.
//! Clicking the picture strip scrubs; clicking the marks below it makes a step of the next run full or not.

use crate::generate::session::StepKind;
use crate::studio::command::Command;
use crate::studio::panels::{command_button, tokens};
use crate::studio::run::Run;
use crate::studio::state::State;
use crate::studio::theme::Palette;
use crate::studio::tour::{Place, Placed};
use eframe::egui::{self, Align2, FontId, Rect, RichText, Sense, Stroke, StrokeKind, Ui, Vec2, pos2};

const BARS: f32 = 56.0;
const MARKS: f32 = 16.0;
/// Below this width, in points, words are few.
const NARROW: f32 = 340.0;

/// The panel.
pub fn show(ui: &mut Ui, state: &mut State) {
    let Some(recipe) = &state.recipe else { return };
    let planned = state.full_list();
    let steps = state.shown_run().map_or(recipe.draw.steps as usize, |run| run.plan.len().max(1));
    ui.horizontal_wrapped(|ui| {
        let of_steps = [Command::FirstStep, Command::PreviousStep, Command::NextStep, Command::LastStep];
        for command in of_steps.into_iter().chain([Command::Branch, Command::Edit]) {
            if command_button(ui, command, state.allows(command)).clicked() {
                state.wanted.push(command);
            }
        }
        legend(ui, state.shown_run());
    });
    let width = ui.available_width();
    let cell = width / steps as f32;
    let (rect, response) = ui.allocate_exact_size(Vec2::new(width, BARS), Sense::click_and_drag());
    response.widget_info(|| {
        let text = match state.step() {
            Some(step) => format!("Timeline, step {} of {steps}", step + 1),
            None => "Timeline".to_owned(),
        };
        egui::WidgetInfo::labeled(egui::accesskit::Role::Slider, true, text)
    });
    let at = |x: f32| (((x - rect.left()) / cell) as usize).min(steps - 1);
    if let Some(run) = state.shown_run() {
        bars(ui, rect, cell, run, state.step());
        estimates(ui, rect, cell, run);
        if let Some(pointer) = response.hover_pos() {
            let step = at(pointer.x);
            let text = describe(run, step);
            response.clone().on_hover_text_at_pointer(text);
        }
    }
    if (response.clicked() || response.dragged())
        && state.shown_run().is_some_and(|run| !run.steps.is_empty())
        && let Some(pointer) = response.interact_pointer_pos()
    {
        state.scrubbed = Some(at(pointer.x));
    }
    marks(ui, state, &planned);
    let rect = rect.union(Rect::from_min_max(rect.min, ui.min_rect().max));
    state.places.push(Placed { place: Place::Timeline, rect, clip: ui.clip_rect() });
}

fn legend(ui: &mut Ui, run: Option<&Run>) {
    let palette = Palette::of(ui);
    let Some(run) = run.filter(|run| !run.plan.is_empty()) else {
        ui.weak("Full steps of the next run are marked below; click to change them");
        return;
    };
    let ((full, full_ms), (predicted, predicted_ms)) =
        (run.kind(StepKind::Full), run.kind(StepKind::Predicted));
    // Each stays in one row.
    let words = |ui: &mut Ui, text: String, color| {
        ui.add(egui::Label::new(RichText::new(text).color(color)).extend());
    };
    words(ui, format!("■ full {full} × {full_ms:.1} ms"), palette.full);
    if predicted > 0 {
        words(ui, format!("☐ predicted {predicted} × {predicted_ms:.1} ms"), palette.predicted);
    }
    // What is wider than the panel would widen it, timeline and all.
    let narrow = ui.max_rect().width() < NARROW;
    let mut text = format!("{:.0} ms", run.loop_ms());
    if let Some(left) = run.left_ms().filter(|_| run.is_open()) {
        text += &format!(" so far · {left:.0} ms left");
    } else if let Some(speed_up) = run.speed_up().filter(|_| predicted > 0) {
        let than = if narrow { "" } else { " than all steps in full" };
        text += &format!(" · {speed_up:.2}× faster{than}");
    }
    let weak = ui.visuals().weak_text_color();
    words(ui, text, weak);
}

fn describe(run: &Run, step: usize) -> String {
    let Some(note) = run.plan.get(step) else { return String::new() };
    let kind = if note.kind == StepKind::Full { "full" } else { "predicted" };
    let ms = run
        .step_ms
        .get(step)
        .filter(|ms| **ms > 0.0)
        .map_or("not run yet".to_owned(), |ms| format!("{ms:.2} ms"));
    let move_of =
        run.moved(step).map_or(String::new(), |size| format!("\nfeatures moved by {size:.3} of their size"));
    let again = match note.remask {
        0 => String::new(),
        count => format!(", {} masked again", tokens(count)),
    };
    let why = note.verdict.map_or(String::new(), |verdict| {
        format!(
            "\nan error of {:.3} was expected, {:.3} allowed: {}",
            verdict.estimate,
            verdict.limit,
            verdict.reason.title()
        )
    });
    format!(
        "Step {} · {kind} · {ms}\n{} revealed{again}, {:.0} % masked before{move_of}{why}",
        step + 1,
        tokens(note.reveal),
        note.mask_ratio * 100.0
    )
}

fn bars(ui: &Ui, rect: Rect, cell: f32, run: &Run, shown: Option<usize>) {
    let palette = Palette::of(ui);
    let painter = ui.painter_at(rect.expand(2.0));
    let slowest = run.step_ms.iter().copied().fold(0.0, f64::max).max(1e-6);
    let done = run.steps.iter().map(|done| done.step + 1).max().unwrap_or(0);
    let gap = (cell * 0.2).min(4.0);
    for (step, note) in run.plan.iter().enumerate() {
        let full = note.kind == StepKind::Full;
        // A step that has not run stands as high as its kind suggests.
        let guess = if full { 0.9 } else { 0.25 };
        let share = match run.step_ms.get(step) {
            Some(ms) if *ms > 0.0 => (ms / slowest) as f32,
            _ => guess,
        };
        let height = (rect.height() * share).max(6.0);
        let left = rect.left() + cell * step as f32 + gap / 2.0;
        let bar = Rect::from_min_max(
            pos2(left, rect.bottom() - height),
            pos2(left + (cell - gap).max(1.0), rect.bottom()),
        );
        let color = if full { palette.full } else { palette.predicted };
        let color = if step < done { color } else { color.gamma_multiply(0.4) };
        if full {
            painter.rect_filled(bar, 3.0, color);
        } else {
            painter.rect_stroke(bar, 3.0, Stroke::new(1.5, color), StrokeKind::Inside);
        }
        if shown == Some(step) {
            let frame = Rect::from_min_max(
                pos2(bar.left() - 2.0, rect.top()),
                pos2(bar.right() + 2.0, rect.bottom()),
            );
            painter.rect_stroke(frame, 3.0, Stroke::new(1.5, palette.accent), StrokeKind::Inside);
        }
    }
}

/// Where a run decides: the error that was expected before each step, against what was allowed.
fn estimates(ui: &Ui, rect: Rect, cell: f32, run: &Run) {
    let palette = Palette::of(ui);
    let painter = ui.painter_at(rect);
    let verdicts: Vec<_> = run.plan.iter().map(|note| note.verdict).collect();
    let values = || verdicts.iter().flatten().flat_map(|verdict| [verdict.estimate, verdict.limit]);
    let most = values().filter(|value| value.is_finite()).fold(0.0_f32, f32::max);
    if most <= 0.0 {
        return;
    }
    let height = |value: f32| rect.bottom() - (value / most).clamp(0.0, 1.0) * (rect.height() - 4.0);
    let middle = |step: usize| rect.left() + cell * (step as f32 + 0.5);
    let mut before = None;
    for (step, verdict) in verdicts.iter().enumerate() {
        let Some(verdict) = verdict else { continue };
        let (x, limit) = (middle(step), height(verdict.limit));
        let line = [pos2(x - cell / 2.0, limit), pos2(x + cell / 2.0, limit)];
        painter.line_segment(line, Stroke::new(1.0, ui.visuals().weak_text_color()));
        let at = pos2(x, height(verdict.estimate));
        if let Some(before) = before {
            painter.line_segment([before, at], Stroke::new(1.0, palette.accent));
        }
        painter.circle_filled(at, 2.0, palette.accent);
        // A full step begins anew.
        before = (!verdict.full).then_some(at);
    }
}

/// The plan of the next run, to be clicked.
fn marks(ui: &mut Ui, state: &mut State, planned: &[u32]) {
    let Some(steps) = state.recipe.as_ref().map(|recipe| recipe.draw.steps) else { return };
    let palette = Palette::of(ui);
    let width = ui.available_width();
    let cell = width / steps as f32;
    let (rect, response) = ui.allocate_exact_size(Vec2::new(width, MARKS), Sense::click());
    let count = planned.len();
    response.widget_info(|| {
        let text = format!("Full steps of the next run: {count} of {steps}");
        egui::WidgetInfo::labeled(egui::accesskit::Role::Button, true, text)
    });
    let painter = ui.painter_at(rect);
    let every = (steps as usize).div_ceil((width / 36.0).max(1.0) as usize).max(1);
    for step in 0..steps {
        let middle = pos2(rect.left() + cell * (step as f32 + 0.5), rect.top() + 4.0);
        if planned.contains(&step) {
            painter.circle_filled(middle, 3.0, palette.full);
        } else {
            painter.circle_stroke(middle, 2.5, Stroke::new(1.0, palette.predicted));
        }
        if (step as usize).is_multiple_of(every) && rect.height() >= MARKS {
            let at = pos2(middle.x, rect.bottom());
            painter.text(
                at,
                Align2::CENTER_BOTTOM,
                step + 1,
                FontId::proportional(8.0),
                ui.visuals().weak_text_color(),
            );
        }
    }
    if response.clicked()
        && let Some(pointer) = response.interact_pointer_pos()
    {
        state.toggle_full((((pointer.x - rect.left()) / cell) as u32).min(steps - 1));
    }
    response.on_hover_text("Steps of the next run: filled ones run the full model. Click one to change it");
}
