//! Earlier runs, those that went on from them as a tree, and those that wait for their turn.

use super::queue;
use crate::generate::session::StepKind;
use crate::studio::actor::RunId;
use crate::studio::branch::tree;
use crate::studio::run::{Progress, Run};
use crate::studio::state::State;
use crate::studio::textures::Textures;
use eframe::egui::{self, Image, TextEdit, Ui, Vec2, load::SizedTexture};

/// Thumbnails, in points.
const THUMBNAIL: f32 = 76.0;
/// How far a branch stands in from what it went on from.
const INDENT: f32 = 20.0;

/// The panel.
pub fn show(ui: &mut Ui, state: &mut State, textures: &mut Textures) {
    queue::show(ui, state);
    let is_there = |run: &Run| run.progress == Progress::Finished && !run.draft;
    let all = state.runs.iter().filter(|run| is_there(run)).count();
    if all == 0 {
        ui.weak("Finished runs appear here");
        return;
    }
    let words = search(ui);
    let is_root = |run: &Run| run.branch.is_none_or(|(parent, _)| state.run(parent).is_none());
    let found: Vec<&Run> =
        state.runs.iter().rev().filter(|run| is_there(run) && is_root(run) && run.matches(&words)).collect();
    if found.is_empty() {
        ui.weak(format!("None of {all} runs has all of these words"));
    }
    let mut picked = None;
    let (alone, trees): (Vec<&Run>, Vec<&Run>) =
        found.into_iter().partition(|run| tree(&state.runs, run).len() == 1);
    for root in trees {
        for (depth, id) in tree(&state.runs, root) {
            let Some(run) = state.run(id) else { continue };
            ui.horizontal(|ui| {
                ui.add_space(depth as f32 * INDENT);
                picked = thumbnail(ui, run, state.shown, textures).or(picked.take());
                let text = match run.branch {
                    Some((_, step)) => format!("from step {}, seed {}", step + 2, run.recipe.seed),
                    None => format!("{}, seed {}", run.recipe.subject.title(), run.recipe.seed),
                };
                let text = if run.is_open() { format!("{text}, under way") } else { text };
                ui.add(egui::Label::new(text).wrap());
            });
        }
        ui.separator();
    }
    ui.horizontal_wrapped(|ui| {
        for run in alone {
            picked = thumbnail(ui, run, state.shown, textures).or(picked.take());
        }
    });
    if let Some(id) = picked {
        // The controls make no branches.
        let recipe = state.run(id).filter(|run| run.recipe.begun.is_empty()).map(|run| run.recipe.clone());
        state.wanted_recipe = recipe.or(state.wanted_recipe.take());
        (state.shown, state.scrubbed) = (Some(id), None);
    }
}

fn search(ui: &mut Ui) -> String {
    let id = ui.make_persistent_id("history search");
    let mut words = ui.data(|data| data.get_temp::<String>(id)).unwrap_or_default();
    let edit = TextEdit::singleline(&mut words)
        .hint_text("Search: words, a seed, a method")
        .desired_width(f32::INFINITY);
    let response = ui.add(edit);
    response.widget_info(|| {
        egui::WidgetInfo::labeled(egui::accesskit::Role::SearchInput, true, "Search the history")
    });
    ui.data_mut(|data| data.insert_temp(id, words.clone()));
    words
}

/// A run's first picture as a button; the run if it was pressed.
fn thumbnail(ui: &mut Ui, run: &Run, shown: Option<RunId>, textures: &mut Textures) -> Option<RunId> {
    let texture = textures.finished(ui.ctx(), run, 0)?;
    let image = Image::new(SizedTexture::new(texture, Vec2::splat(THUMBNAIL))).corner_radius(4);
    let text = format!(
        "{}\nseed {}, {} of {} steps in full",
        run.recipe.subject.title(),
        run.recipe.seed,
        run.kind(StepKind::Full).0,
        run.plan.len()
    );
    let response = ui.add(egui::Button::image(image).frame(shown == Some(run.id)));
    response.widget_info(|| egui::WidgetInfo::labeled(egui::accesskit::Role::Button, true, &text));
    response.on_hover_text(&text).clicked().then_some(run.id)
}
