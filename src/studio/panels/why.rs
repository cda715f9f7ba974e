//! Why it works, for the run on the canvas: how alike features are from step to step, how evenly their velocity changes, the path
//! that they take, and how far off the predictor was at each refresh.

use crate::eval::motion::{Histogram, Similarity, median};
use crate::studio::state::State;
use crate::studio::theme::Palette;
use crate::studio::why::{Analysis, Refreshed};
use eframe::egui::{self, Color32, Rect, Sense, Ui, Vec2, pos2};
use egui_plot::{Bar, BarChart, Line, Plot, PlotPoints, Points};

/// The tallest that the heat map gets, in points.
const MAP: f32 = 320.0;
const PLOT: f32 = 170.0;
/// The least that a histogram beside the map is wide; where there is less, it is below.
const BESIDE: f32 = 240.0;

/// The panel.
pub fn show(ui: &mut Ui, state: &mut State) {
    let shown = state.step();
    let Some(analysis) = state.analyse() else {
        ui.weak("Finish a run to see how its features moved");
        return;
    };
    if ui.available_width() >= MAP + ui.spacing().item_spacing.x + BESIDE {
        ui.horizontal_top(|ui| {
            ui.allocate_ui(Vec2::new(MAP, 0.0), |ui| ui.vertical(|ui| similarity(ui, analysis)));
            ui.vertical(|ui| lipschitz(ui, &analysis.lipschitz));
        });
    } else {
        similarity(ui, analysis);
        ui.add_space(8.0);
        lipschitz(ui, &analysis.lipschitz);
    }
    ui.add_space(8.0);
    path(ui, analysis, shown);
    ui.add_space(8.0);
    refreshes(ui, &analysis.refreshes);
}

/// From faint to full colour, so that it also reads without colour.
fn shade(palette: &Palette, share: f64) -> Color32 {
    let share = share.clamp(0.0, 1.0) as f32;
    palette.masked[0].lerp_to_gamma(palette.full, share)
}

fn similarity(ui: &mut Ui, analysis: &Analysis) {
    ui.strong("Similarity of features");
    let by = definition(ui);
    let values = analysis.similarities(by);
    let palette = Palette::of(ui);
    let count = analysis.steps.len();
    let between = |row: usize, column: usize| values[row * count + column];
    let side = ui.available_width().min(MAP);
    let (rect, response) = ui.allocate_exact_size(Vec2::splat(side), Sense::hover());
    let lowest = values.iter().copied().fold(1.0, f64::min);
    let cell = side / count as f32;
    let painter = ui.painter_at(rect);
    for row in 0..count {
        for column in 0..count {
            let share = (between(row, column) - lowest) / (1.0 - lowest).max(1e-9);
            let at = pos2(rect.left() + cell * column as f32, rect.top() + cell * row as f32);
            painter.rect_filled(
                Rect::from_min_size(at, Vec2::splat(cell.ceil())),
                0.0,
                shade(&palette, share),
            );
        }
    }
    let next: Vec<f64> = (1..count).map(|step| between(step - 1, step)).collect();
    let mean = next.iter().sum::<f64>() / next.len().max(1) as f64;
    response.widget_info(|| {
        let text = format!("Similarity of features between steps; {mean:.3} from one to the next");
        egui::WidgetInfo::labeled(egui::accesskit::Role::Image, true, text)
    });
    if let Some(pointer) = response.hover_pos() {
        let at = |offset: f32| ((offset / cell) as usize).min(count - 1);
        let (row, column) = (at(pointer.y - rect.top()), at(pointer.x - rect.left()));
        let text = format!(
            "Steps {} and {}: cosine {:.4}",
            analysis.steps[row] + 1,
            analysis.steps[column] + 1,
            between(row, column)
        );
        response.on_hover_text_at_pointer(text);
    }
    ui.weak(format!(
        "Cosine of each step's features with each other's, {lowest:.3} (faint) to 1. From one step to the next it is {mean:.3}: little is new, so most of it can be predicted"
    ));
}

/// The switch between what can be meant by similarity. The window keeps it while it is open.
fn definition(ui: &mut Ui) -> Similarity {
    let id = egui::Id::unique("similarity by");
    let mut by = ui.data(|data| data.get_temp::<Similarity>(id)).unwrap_or_default();
    ui.horizontal_wrapped(|ui| {
        for (each, text) in Similarity::ALL.into_iter().zip(["By token", "As a whole"]) {
            ui.selectable_value(&mut by, each, text).on_hover_text(format!("The {}", each.title()));
        }
    });
    ui.data_mut(|data| data.insert_temp(id, by));
    by
}

fn lipschitz(ui: &mut Ui, ratios: &[f64]) {
    ui.strong("Lipschitz ratios");
    let (Some(histogram), Some(middle)) = (Histogram::of(ratios), median(ratios)) else {
        ui.weak("Three steps whose features moved are the least that has one");
        return;
    };
    let palette = Palette::of(ui);
    let bar = |(at, &count): (usize, &usize)| {
        let middle = histogram.first + histogram.width * (at as f64 + 0.5);
        Bar::new(middle, count as f64).width(histogram.width * 0.9)
    };
    let bars: Vec<Bar> = histogram.counts.iter().enumerate().map(bar).collect();
    Plot::new("lipschitz")
        .height(PLOT)
        .include_y(0.0)
        .allow_scroll(false)
        .allow_zoom(false)
        .show(ui, |plot| plot.bar_chart(BarChart::new("steps", bars).color(palette.predicted)));
    ui.weak(format!(
        "Steps by how much the velocity changes for how far the features move, {middle:.2} in the middle: low and close together, as in figure 3 of the paper, the velocity can be learned"
    ));
}

fn path(ui: &mut Ui, analysis: &Analysis, shown: Option<usize>) {
    ui.strong("Path of the features");
    let palette = Palette::of(ui);
    Plot::new("path").height(PLOT).data_aspect(1.0).allow_scroll(false).allow_zoom(false).show(ui, |plot| {
        for other in &analysis.relatives {
            let line = Line::new("a branch", PlotPoints::from(other.clone()));
            plot.line(line.color(palette.full.gamma_multiply(0.7)).width(1.0));
        }
        plot.line(Line::new("path", PlotPoints::from(analysis.path.clone())).color(palette.predicted));
        plot.points(
            Points::new("steps", PlotPoints::from(analysis.path.clone()))
                .radius(2.5)
                .color(palette.predicted),
        );
        let at = shown.and_then(|step| analysis.steps.iter().position(|known| *known == step));
        if let Some(point) = at.and_then(|at| analysis.path.get(at)) {
            let here = Points::new("this step", PlotPoints::from(vec![*point]));
            plot.points(here.radius(6.0).color(palette.accent));
        }
    });
    ui.weak(format!(
        "First two principal components, {:.0} % of the spread. A smooth path is what makes the next point predictable{}",
        analysis.explained * 100.0,
        match analysis.relatives.len() {
            0 => "; branch from a step (B) to see where other seeds lead".to_owned(),
            count => format!("; {count} fan out where branches leave"),
        }
    ));
}

fn refreshes(ui: &mut Ui, refreshes: &[Refreshed]) {
    ui.strong("How far off at each refresh");
    if refreshes.is_empty() {
        ui.weak(
            "Every step was full, or only the first: nothing was predicted that a full step then corrected",
        );
        return;
    }
    let palette = Palette::of(ui);
    let weak = ui.visuals().weak_text_color();
    let bars = |offset: f64, of: fn(&Refreshed) -> f64| {
        let bar = |r: &Refreshed| Bar::new(r.step as f64 + 1.0 + offset, of(r) * 100.0).width(0.36);
        refreshes.iter().map(bar).collect::<Vec<_>>()
    };
    ui.horizontal_wrapped(|ui| {
        ui.colored_label(palette.predicted, "■ predicted");
        ui.weak("■ reused as they were");
    });
    Plot::new("refreshes").height(PLOT).include_y(0.0).allow_scroll(false).allow_zoom(false).show(
        ui,
        |plot| {
            plot.bar_chart(BarChart::new("predicted", bars(-0.2, |r| r.predicted)).color(palette.predicted));
            plot.bar_chart(BarChart::new("reused as they were", bars(0.2, |r| r.reused)).color(weak));
        },
    );
    let mean =
        |of: fn(&Refreshed) -> f64| refreshes.iter().map(of).sum::<f64>() / refreshes.len() as f64 * 100.0;
    ui.weak(format!(
        "By step, in % of the features' size: the distance to what the full model then gave. On average {:.1} % predicted, {:.1} % if the last features were kept",
        mean(|r| r.predicted),
        mean(|r| r.reused)
    ));
}
