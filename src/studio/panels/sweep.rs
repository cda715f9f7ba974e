//! A sweep: quality by time, a point a method with its interval, the front of those that nothing else matches, and the pictures of a
//! point.

use crate::studio::command::Command;
use crate::studio::panels::canvas::color_image;
use crate::studio::panels::worded_button;
use crate::studio::state::State;
use crate::studio::sweep::{Measure, Scale};
use crate::studio::theme::Palette;
use eframe::egui::{self, Color32, Image, RichText, TextureOptions, Ui, Vec2, load::SizedTexture};
use egui_plot::{Line, Plot, PlotPoints, Points};

const PLOT: f32 = 200.0;
const THUMBNAIL: f32 = 72.0;
/// Below this width, in points, the table has no intervals.
const NARROW: f32 = 310.0;

/// The panel.
pub fn show(ui: &mut Ui, state: &mut State) {
    ui.horizontal_wrapped(|ui| {
        let command = Command::Sweep;
        let allowed = state.allows(command) && !state.sweep.is_active();
        if worded_button(ui, command, allowed).clicked() {
            state.wanted.push(command);
        }
        if state.sweep.is_active() {
            let [made, all] = state.sweep.progress();
            ui.add(
                egui::ProgressBar::new(made as f32 / all.max(1) as f32)
                    .desired_width(90.0)
                    .text(format!("{made} of {all}")),
            );
            if ui.button("Stop").on_hover_text("Makes no more pictures; those that are there stay").clicked()
            {
                state.wanted.push(Command::Stop);
            }
        }
    });
    let Some(scale) = state.sweep.scale() else {
        ui.weak("Seeds and methods for this prompt; the judge reads every picture, and points grow on a plot of quality by time");
        return;
    };
    plot(ui, state, scale);
    table(ui, state, scale);
    pictures(ui, state, scale);
}

fn per_cent(scale: Scale) -> f64 {
    if scale == Scale::Right { 100.0 } else { 1.0 }
}

fn colour(state: &State, at: usize, palette: Palette) -> Color32 {
    let recipe = &state.sweep.points[at].method.recipe;
    if recipe.full_steps() == Some(recipe.draw.steps as usize) { palette.full } else { palette.predicted }
}

fn plot(ui: &mut Ui, state: &mut State, scale: Scale) {
    let palette = Palette::of(ui);
    ui.strong(match scale {
        Scale::Right => "Pictures that are all right, in %, by ms",
        Scale::Coherence => "Coherence under the model itself, in nats a code (less is better), by ms",
    });
    let measured: Vec<(usize, Measure)> = (0..state.sweep.points.len())
        .filter_map(|at| Some((at, state.sweep.points[at].measure()?)))
        .collect();
    let times = per_cent(scale);
    let mut plot = Plot::new("sweep").height(PLOT).include_x(0.0).allow_scroll(false).allow_zoom(false);
    if scale == Scale::Right {
        plot = plot.include_y(0.0).include_y(100.0);
    }
    let front = state.sweep.front();
    let response = plot.show(ui, |plot| {
        let of =
            |at: &usize| measured.iter().find(|(known, _)| known == at).map(|(_, m)| [m.ms, m.value * times]);
        let line: Vec<[f64; 2]> = front.iter().filter_map(of).collect();
        plot.line(Line::new("front", PlotPoints::from(line)).color(palette.accent));
        for (at, measure) in &measured {
            let color = colour(state, *at, palette);
            let ends: Vec<[f64; 2]> = measure.interval.iter().map(|end| [measure.ms, end * times]).collect();
            plot.line(
                Line::new("interval", PlotPoints::from(ends)).color(color.gamma_multiply(0.6)).width(1.0),
            );
            let radius = if state.sweep.opened == Some(*at) { 6.0 } else { 4.0 };
            let here = PlotPoints::from(vec![[measure.ms, measure.value * times]]);
            plot.points(Points::new(&state.sweep.points[*at].method.name, here).radius(radius).color(color));
        }
        plot.response().clicked().then(|| plot.pointer_coordinate()).flatten()
    });
    if let Some(pointer) = response.inner {
        let span = measured.iter().map(|(_, m)| m.ms).fold(1.0, f64::max);
        let height = measured.iter().map(|(_, m)| (m.value * times).abs()).fold(1e-9, f64::max);
        let apart = |m: &Measure| ((m.ms - pointer.x) / span).hypot((m.value * times - pointer.y) / height);
        let nearest = measured.iter().min_by(|(_, a), (_, b)| apart(a).total_cmp(&apart(b)));
        state.sweep.opened = nearest.map(|(at, _)| *at);
    }
}

fn table(ui: &mut Ui, state: &mut State, scale: Scale) {
    let palette = Palette::of(ui);
    let front = state.sweep.front();
    let mut opened = state.sweep.opened;
    // What is wider than the panel would be cut; intervals are on the plot as well.
    let narrow = ui.available_width() < NARROW;
    egui::Grid::new("sweep's table").num_columns(4).striped(true).show(ui, |ui| {
        for title in ["method", "ms", if scale == Scale::Right { "all right" } else { "nats" }, "equal"] {
            ui.label(RichText::new(title).color(ui.visuals().weak_text_color()));
        }
        ui.end_row();
        for at in 0..state.sweep.points.len() {
            let star = if front.contains(&at) { "★ " } else { "" };
            let name = RichText::new(format!("{star}{}", state.sweep.points[at].method.name));
            let is_open = opened == Some(at);
            let name = if is_open { name } else { name.color(colour(state, at, palette)) };
            if ui.selectable_label(is_open, name).on_hover_text("Shows its pictures").clicked() {
                opened = Some(at);
            }
            match state.sweep.points[at].measure() {
                Some(Measure { ms, value, interval: [low, high] }) => {
                    ui.label(format!("{ms:.0}"));
                    let interval = match scale {
                        _ if narrow => String::new(),
                        Scale::Right => format!(" ({:.0}–{:.0})", low * 100.0, high * 100.0),
                        Scale::Coherence => format!(" ({low:.2}–{high:.2})"),
                    };
                    ui.label(match scale {
                        Scale::Right => format!("{:.0} %{interval}", value * 100.0),
                        Scale::Coherence => format!("{value:.2}{interval}"),
                    });
                    let equal = state.sweep.agreement(at).map(|share| format!("{:.0} %", share * 100.0));
                    ui.label(equal.unwrap_or_default());
                }
                None => drop(ui.weak("waits")),
            }
            ui.end_row();
        }
    });
    state.sweep.opened = opened;
    ui.weak("★ on the line: nothing else is as quick and as good. Intervals are of 95 %; equal: tokens as vanilla has them, from the same seed");
}

/// The pictures of the point that is opened; a press takes one's settings.
fn pictures(ui: &mut Ui, state: &mut State, scale: Scale) {
    let Some(at) = state.sweep.opened else { return };
    let palette = Palette::of(ui);
    let Some(point) = state.sweep.points.get(at) else { return };
    let recipe = point.method.recipe.clone();
    let mut picked = None;
    ui.horizontal_wrapped(|ui| {
        for made in &point.made {
            // What was loaded once stays with the window.
            let id = egui::Id::unique(("sweep", made.fingerprint()));
            let known = ui.data(|data| data.get_temp::<egui::TextureHandle>(id));
            let texture = known.unwrap_or_else(|| {
                let image = color_image(&made.picture);
                ui.ctx().load_texture(format!("sweep, seed {}", made.seed), image, TextureOptions::LINEAR)
            });
            ui.data_mut(|data| data.insert_temp(id, texture.clone()));
            let image = Image::new(SizedTexture::new(texture.id(), Vec2::splat(THUMBNAIL))).corner_radius(4);
            let verdict = match (scale, made.quality) {
                (Scale::Right, crate::studio::judging::Quality::Right(true)) => "all right".to_owned(),
                (_, crate::studio::judging::Quality::Coherence(nats)) => format!("{nats:.2} nats a code"),
                _ => "not all right".to_owned(),
            };
            let text = format!("seed {}: {verdict}", made.seed);
            let stroke = if verdict == "all right" { palette.predicted } else { palette.masked[1] };
            let button = egui::Button::image(image).stroke(egui::Stroke::new(2.0, stroke));
            let response = ui.add(button);
            response.widget_info(|| egui::WidgetInfo::labeled(egui::accesskit::Role::Button, true, &text));
            if response.on_hover_text(format!("{text}. Takes its settings")).clicked() {
                picked = Some(recipe.clone().with_seed(made.seed));
            }
        }
    });
    if picked.is_some() {
        state.wanted_recipe = picked;
    }
}
