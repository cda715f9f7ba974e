//! Runs that wait for their turn: up, down, and out; and those that could not run: why, and once more.

use crate::studio::command::Command;
use crate::studio::panels::{small_button, worded_button};
use crate::studio::queue::Queue;
use crate::studio::state::State;
use crate::studio::theme::Palette;
use eframe::egui::{self, ProgressBar, Ui};

/// What is done with a place in the queue.
type Act = fn(&mut Queue, usize);

/// The panel; nothing where nothing waits.
pub fn show(ui: &mut Ui, state: &mut State) {
    ui.horizontal_wrapped(|ui| {
        let command = Command::Enqueue;
        if worded_button(ui, command, state.allows(command)).clicked() {
            state.wanted.push(command);
        }
    });
    refused(ui, state);
    if state.queue.waiting().is_empty() {
        return;
    }
    ui.strong("Waiting");
    if let Some(run) = state.open_run() {
        let share = run.steps_done() as f32 / run.steps_in_all().max(1) as f32;
        let text = format!("seed {} · {}", run.recipe.seed, run.recipe.subject.title());
        ui.add(egui::Label::new(text).truncate());
        ui.add(ProgressBar::new(share).text(format!("{} of {} steps", run.steps_done(), run.steps_in_all())));
    }
    let mut act: Option<(Act, usize)> = None;
    let last = state.queue.waiting().len() - 1;
    for (at, waiting) in state.queue.waiting().iter().enumerate() {
        ui.horizontal(|ui| {
            let recipe = &waiting.recipe;
            let named = format!("{}, seed {}", recipe.subject.title(), recipe.seed);
            let button = |ui: &mut Ui, glyph: &str, what: &str, enabled: bool| {
                small_button(ui, glyph, what, &named, enabled)
            };
            if button(ui, "⏶", "Earlier", at > 0) {
                act = Some((Queue::up, at));
            }
            if button(ui, "⏷", "Later", at < last) {
                act = Some((Queue::down, at));
            }
            if button(ui, "✖", "Take out of the queue", true) {
                act = Some((Queue::cancel, at));
            }
            let full =
                recipe.full_steps().map_or_else(|| recipe.refresh.to_string(), |full| full.to_string());
            let (seed, steps, title) = (recipe.seed, recipe.draw.steps, recipe.subject.title());
            ui.add(egui::Label::new(format!("seed {seed} · {full} of {steps} · {title}")).truncate());
        });
    }
    if let Some((act, at)) = act {
        act(&mut state.queue, at);
    }
    ui.separator();
}

/// Those that could not run.
fn refused(ui: &mut Ui, state: &mut State) {
    let mut act: Option<(Act, usize)> = None;
    for (at, (waiting, reason)) in state.queue.refused().iter().enumerate() {
        let named = format!("{}, seed {}", waiting.recipe.subject.title(), waiting.recipe.seed);
        ui.horizontal(|ui| {
            if small_button(ui, "🔄", "Try again", &named, true) {
                act = Some((Queue::again, at));
            }
            if small_button(ui, "✖", "Forget", &named, true) {
                act = Some((Queue::forget, at));
            }
            let (seed, title) = (waiting.recipe.seed, waiting.recipe.subject.title());
            ui.add(egui::Label::new(format!("seed {seed} · {title}")).truncate());
        });
        let why = format!("Could not run: {reason}");
        ui.add(egui::Label::new(egui::RichText::new(why).small().color(Palette::of(ui).failure)).wrap());
    }
    if let Some((act, at)) = act {
        act(&mut state.queue, at);
    }
}
