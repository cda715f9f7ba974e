//! The refresh budget, the one large control: its number, what that saves, the slider, and which predictor stands in at the other steps.

use super::pace;
use crate::generate::pace::Adaptive;
use crate::generate::predict::Predictor;
use crate::generate::recipe::Recipe;
use crate::generate::refresh::Refresh;
use crate::studio::command::Command;
use crate::studio::model::ModelInfo;
use crate::studio::panels::command_button;
use crate::studio::state::State;
use crate::studio::theme::Palette;
use eframe::egui::{self, ComboBox, RichText, Slider, Ui};

/// How much faster than vanilla, by the times that steps of each kind took in earlier runs of this model.
pub(super) fn expected_speed_up(state: &State, recipe: &Recipe) -> Option<f64> {
    use crate::generate::session::StepKind;
    let same = |run: &&crate::studio::run::Run| {
        run.recipe.model == recipe.model && run.recipe.predictor == recipe.predictor && !run.is_open()
    };
    let mut runs = state.runs.iter().rev().filter(same);
    let (full_ms, predicted_ms) = runs.find_map(|run| {
        let ((full, full_ms), (predicted, predicted_ms)) =
            (run.kind(StepKind::Full), run.kind(StepKind::Predicted));
        (full > 0 && predicted > 0 && full_ms > 0.0 && predicted_ms > 0.0).then_some((full_ms, predicted_ms))
    })?;
    let budget = match &recipe.refresh {
        Refresh::Adaptive(Adaptive { budget, .. }) => (*budget)? as usize,
        _ => recipe.full_steps()?,
    };
    let (steps, full) = (recipe.draw.steps as f64, budget as f64);
    Some(steps * full_ms / (full * full_ms + (steps - full) * predicted_ms))
}

/// The number of full steps, large, and how much faster that makes a run.
fn headline(ui: &mut Ui, known: Option<u32>, steps: u32, speed_up: Option<f64>) {
    let palette = Palette::of(ui);
    let number = known.map_or("auto".to_owned(), |budget| budget.to_string());
    ui.label(RichText::new(number).size(30.0).strong().color(palette.full));
    let text = match speed_up {
        _ if known.is_none() => "as many as the target error takes".to_owned(),
        _ if known == Some(steps) => "vanilla: the model as published".to_owned(),
        Some(speed_up) => format!("{speed_up:.1}× faster than vanilla"),
        None => "speed-up after the first run".to_owned(),
    };
    ui.label(RichText::new(text).color(palette.predicted).strong());
}

/// Full steps of a recipe, where they are known before.
fn known_budget(recipe: &Recipe) -> Option<u32> {
    let steps = recipe.draw.steps;
    match &recipe.refresh {
        Refresh::Adaptive(adaptive) => adaptive.budget,
        _ => Some(recipe.full_steps().unwrap_or(steps as usize) as u32),
    }
}

/// The slider over all widths that there are; where it was drawn, and the number that it has.
fn budget_slider(ui: &mut Ui, recipe: &mut Recipe) -> ([f32; 4], u32) {
    let steps = recipe.draw.steps;
    let mut budget = known_budget(recipe).unwrap_or(steps.div_ceil(4));
    let before = budget;
    ui.spacing_mut().slider_width = ui.available_width() - 8.0;
    let slider = Slider::new(&mut budget, 1..=steps).show_value(false).trailing_fill(true);
    let response = ui.add(slider).on_hover_text(
        "Steps that run the full model. Between them the predictor moves the last features on, at a fraction of the cost",
    );
    response.widget_info(|| egui::WidgetInfo::slider(true, f64::from(before), "Refresh budget, full steps"));
    if budget != before {
        match &mut recipe.refresh {
            Refresh::Adaptive(adaptive) => adaptive.budget = Some(budget),
            Refresh::Optimal(known) => *known = budget,
            refresh => {
                *refresh = if budget == steps { Refresh::Every } else { Refresh::Uniform(budget) };
            }
        }
    }
    let rect = response.rect;
    ([rect.left(), rect.top(), rect.width(), rect.height()], budget)
}

/// The slider and its number in two rows.
pub(super) fn slim_budget(ui: &mut Ui, recipe: &mut Recipe, speed_up: Option<f64>) -> [f32; 4] {
    ui.horizontal(|ui| headline(ui, known_budget(recipe), recipe.draw.steps, speed_up));
    budget_slider(ui, recipe).0
}

/// The control with all that belongs to it; where the slider stands elsewhere, without it.
pub(super) fn budget(
    ui: &mut Ui,
    model: &ModelInfo,
    recipe: &mut Recipe,
    speed_up: Option<f64>,
    wanted: &mut Vec<Command>,
    with_slider: bool,
) -> [f32; 4] {
    let steps = recipe.draw.steps;
    let mut place = [0.0; 4];
    let mut budget = known_budget(recipe).unwrap_or(steps.div_ceil(4));
    ui.group(|ui| {
        ui.set_width(ui.available_width());
        if with_slider {
            ui.horizontal(|ui| {
                ui.strong("Refresh budget");
                ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                    ui.weak(format!("full steps of {steps}"));
                });
            });
            ui.horizontal(|ui| headline(ui, known_budget(recipe), steps, speed_up));
            (place, budget) = budget_slider(ui, recipe);
            ui.horizontal(|ui| {
                ui.weak("1 fastest");
                ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                    ui.weak(format!("{steps} vanilla"));
                });
            });
        }
        ui.horizontal_wrapped(|ui| {
            predictor(ui, model, recipe);
            pace::choose(ui, model, recipe, budget);
            if matches!(recipe.refresh, Refresh::List(_))
                && command_button(ui, Command::UniformRefresh, true).clicked()
            {
                wanted.push(Command::UniformRefresh);
            }
        });
    });
    place
}

fn predictor(ui: &mut Ui, model: &ModelInfo, recipe: &mut Recipe) {
    let present = recipe.predictor;
    let (text, tooltip) = (present.predict().title(), present.predict().about());
    ComboBox::from_id_salt("predictor")
        .selected_text(text)
        .show_ui(ui, |ui| {
            for choice in Predictor::ALL {
                if choice == Predictor::Shortcut && !model.has_shortcut {
                    continue;
                }
                let (text, tooltip) = (choice.predict().title(), choice.predict().about());
                ui.selectable_value(&mut recipe.predictor, choice, text).on_hover_text(tooltip);
            }
        })
        .response
        .on_hover_text(tooltip);
}
