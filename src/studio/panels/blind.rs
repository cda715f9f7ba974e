//! The blind test: two pictures of one seed, one of them accelerated, and nothing that says which.

use crate::studio::blind::{Verdict, win_rate};
use crate::studio::command::Command;
use crate::studio::state::State;
use crate::studio::textures::Textures;
use crate::studio::theme::Palette;
use eframe::egui::{Image, Ui, Vec2, load::SizedTexture};

/// The panel.
pub fn show(ui: &mut Ui, state: &mut State, textures: &mut Textures) {
    ui.weak("Two pictures of one seed: vanilla, and with your budget and predictor. Which one is better?");
    ui.add_space(4.0);
    if state.blind.making.is_some() {
        ui.horizontal(|ui| {
            ui.spinner();
            ui.label("Making the next pair");
        });
    } else if state.blind.pair.is_some() {
        pair(ui, state, textures);
    } else {
        let command = Command::NextPair;
        let text = if state.blind.judged.is_empty() { "Begin" } else { "Next pair" };
        if ui
            .add_enabled(state.allows(command), egui::Button::new(text))
            .on_hover_text(command.tooltip())
            .clicked()
        {
            state.wanted.push(command);
        }
    }
    ui.add_space(8.0);
    tally(ui, state);
}

fn pair(ui: &mut Ui, state: &mut State, textures: &mut Textures) {
    let Some(runs) = state.blind.pair.as_ref().map(|pair| pair.runs) else { return };
    let width = ((ui.available_width() - 8.0) / 2.0).max(80.0);
    let mut verdict = None;
    ui.horizontal(|ui| {
        for (name, id) in ["Left picture", "Right picture"].into_iter().zip(runs) {
            let texture = state.run(id).and_then(|run| textures.finished(ui.ctx(), run, 0));
            match texture {
                Some(texture) => {
                    ui.add(
                        Image::new(SizedTexture::new(texture, Vec2::splat(width)))
                            .alt_text(name)
                            .corner_radius(4),
                    );
                }
                None => drop(ui.weak("gone")),
            }
        }
    });
    ui.horizontal_wrapped(|ui| {
        for (choice, text, tooltip) in [
            (Verdict::Left, "Left is better", "The picture at the left is better"),
            (Verdict::Tie, "Tie", "Neither is better"),
            (Verdict::Right, "Right is better", "The picture at the right is better"),
            (Verdict::Skip, "Skip", "Does not count"),
        ] {
            if ui.button(text).on_hover_text(tooltip).clicked() {
                verdict = Some(choice);
            }
        }
    });
    if let Some(verdict) = verdict {
        state.blind.judge(verdict);
        state.wanted.push(Command::NextPair);
    }
}

fn tally(ui: &mut Ui, state: &mut State) {
    let judged = &state.blind.judged;
    let Some(last) = judged.last() else { return };
    let palette = Palette::of(ui);
    let side = if last.accelerated_is_left { "left" } else { "right" };
    ui.label(format!("Last time the accelerated one was at the {side}"));
    match win_rate(judged) {
        Some(share) => {
            let (rate, low, high) = (share.share * 100.0, share.low * 100.0, share.high * 100.0);
            ui.colored_label(
                palette.predicted,
                format!("Accelerated preferred in {rate:.0} % of {} pairs", share.of),
            );
            let verdict = if share.low <= 0.5 && share.high >= 0.5 {
                "the two cannot be told apart so far"
            } else if share.low > 0.5 {
                "the accelerated one is preferred"
            } else {
                "vanilla is preferred"
            };
            ui.weak(format!("95 % interval {low:.0} to {high:.0} %: {verdict}"));
        }
        None => drop(ui.weak("No pair had a winner yet")),
    }
    ui.weak(format!("{} pairs seen", judged.len()));
    ui.horizontal(|ui| {
        let command = Command::SaveBlind;
        if ui.button(command.text()).on_hover_text(command.tooltip()).clicked() {
            state.wanted.push(command);
        }
        if ui.button("Start over").on_hover_text("Forgets what was said so far").clicked() {
            state.blind.judged.clear();
        }
    });
}
