//! The middle: pictures in the making and finished, with what is masked and what is new drawn over them.

use crate::generate::picture::Picture;
use crate::generate::proof::Found;
use crate::generate::session::StepKind;
use crate::studio::command::Command;
use crate::studio::looking::Spot;
use crate::studio::panels::{edit, hover, token, tokens};
use crate::studio::run::{Progress, Run};
use crate::studio::state::State;
use crate::studio::textures::Textures;
use crate::studio::theme::Palette;
use crate::studio::tour::{Place, Placed};
use eframe::egui::{self, Align2, Color32, FontId, Pos2, Rect, Sense, Stroke, StrokeKind, Ui, Vec2};

/// Where on the picture the canvas looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// Enlargement beyond what fits; 1 fits.
    pub zoom: f32,
    /// Offset of the middle, in points.
    pub pan: Vec2,
}

impl Default for View {
    fn default() -> Self {
        Self { zoom: 1.0, pan: Vec2::ZERO }
    }
}

/// Below this width, in points, the header takes two rows.
const NARROW: f32 = 680.0;
/// The largest zoom.
const MOST_ZOOM: f32 = 16.0;
/// Points between pictures of a batch.
const GAP: f32 = 6.0;

impl View {
    /// Closer to the middle, or farther from it, within what makes sense.
    pub fn zoom_by(&mut self, factor: f32) {
        let zoom = (self.zoom * factor).clamp(1.0, MOST_ZOOM);
        self.pan *= if zoom == 1.0 { 0.0 } else { zoom / self.zoom };
        self.zoom = zoom;
    }
}

/// The panel.
pub fn show(ui: &mut Ui, state: &mut State, textures: &mut Textures, view: &mut View) {
    if state.editing.is_some() {
        return edit::show(ui, state, textures, view);
    }
    header(ui, state);
    greeting(ui, state);
    let (rect, response) = ui.allocate_exact_size(ui.available_size(), Sense::click_and_drag());
    state.places.push(Placed { place: Place::Canvas, rect, clip: ui.clip_rect() });
    let painter = ui.painter_at(rect);
    let palette = Palette::of(ui);
    painter.rect_filled(rect, 8.0, palette.canvas);
    let describe = description(state);
    response.widget_info(|| egui::WidgetInfo::labeled(egui::accesskit::Role::Image, true, describe.as_str()));
    navigate(ui, &response, rect, view, true);
    let Some(run) = state.shown_run() else {
        let text = "Say what to show, and press Generate";
        painter.text(
            rect.center(),
            Align2::CENTER_CENTER,
            text,
            FontId::proportional(16.0),
            ui.visuals().weak_text_color(),
        );
        return;
    };
    let Some(model) = &state.model else { return };
    let images = run.recipe.images.max(1) as usize;
    let columns = (images as f64).sqrt().ceil() as usize;
    let rows = images.div_ceil(columns);
    let aspect = model.size[0] as f32 / model.size[1] as f32;
    let room = rect.shrink(12.0);
    let cell = {
        let width = (room.width() - GAP * (columns - 1) as f32) / columns as f32;
        let height = (room.height() - GAP * (rows - 1) as f32) / rows as f32;
        let width = width.min(height * aspect).max(8.0);
        Vec2::new(width, width / aspect) * view.zoom
    };
    let gap = GAP * view.zoom;
    let all = Vec2::new(
        cell.x * columns as f32 + gap * (columns - 1) as f32,
        cell.y * rows as f32 + gap * (rows - 1) as f32,
    );
    let corner = rect.center() + view.pan - all / 2.0;
    let step = state.step();
    for image in 0..images {
        let (column, row) = (image % columns, image / columns);
        let at = corner + Vec2::new((cell.x + gap) * column as f32, (cell.y + gap) * row as f32);
        let frame = Rect::from_min_size(at, cell);
        match textures.of(ui.ctx(), run, image, step) {
            Some(texture) => {
                let uv = Rect::from_min_max(Pos2::ZERO, Pos2::new(1.0, 1.0));
                painter.image(texture, frame, uv, Color32::WHITE);
            }
            None => {
                painter.rect_filled(frame, 2.0, palette.masked[0]);
            }
        }
        overlay(&painter, frame, run, image, step, model.grid, model.codebook, state, palette);
        if image == 0 {
            looks(&painter, frame, run, model.grid, state, palette);
        }
    }
    let (run, grid) = (run.id, model.grid);
    if response.clicked()
        && let (Some(pointer), Some(step)) = (response.interact_pointer_pos(), step)
        && let frame = Rect::from_min_size(corner, cell)
        && frame.contains(pointer)
    {
        let at =
            |offset: f32, length: f32, cells: u32| ((offset / length * cells as f32) as u32).min(cells - 1);
        let row = at(pointer.y - frame.top(), frame.height(), grid[0]);
        let column = at(pointer.x - frame.left(), frame.width(), grid[1]);
        let spot = Spot { run, step, token: (row * grid[1] + column) as usize };
        // The same once more closes the card.
        state.spot = (state.spot != Some(spot)).then_some(spot);
    }
    token::show(ui, state);
}

/// Beside the picture that made itself: what it is, and the way on.
fn greeting(ui: &mut Ui, state: &mut State) {
    let Some(run) = state.greeting.and_then(|id| state.run(id)) else { return };
    let full = run.recipe.full_steps().unwrap_or(1);
    let text = format!(
        "“{}” makes itself: of {} steps only {full} run the whole model, and a small network predicts what it would say at the others.",
        run.recipe.subject.title(),
        run.recipe.draw.steps,
    );
    ui.horizontal_wrapped(|ui| {
        ui.label(text);
        let command = Command::Tour;
        if ui.button(command.text()).on_hover_text(hover(ui, command)).clicked() {
            state.wanted.push(command);
        }
    });
}

/// By what the run's tokens are known again, and whether they are those that a link or a picture promised.
fn proof(ui: &mut Ui, run: &Run) -> Option<usize> {
    let proof = run.proof.as_ref()?;
    let palette = Palette::of(ui);
    let tooltip = format!(
        "Fingerprint of this run's tokens: {:016x}. The same settings make the same tokens on every device; links and pictures carry it",
        proof.tokens
    );
    match run.verified() {
        None => drop(ui.weak(format!("tokens {}", proof.short())).on_hover_text(tooltip)),
        Some(Found::Same) => {
            let text = format!("✔ same tokens, {}", proof.short());
            ui.colored_label(palette.predicted, text).on_hover_text(tooltip);
        }
        Some(Found::Differs { step: Some(step) }) => {
            let text = format!("✖ other tokens from step {} on", step + 1);
            let button = egui::Button::new(egui::RichText::new(text).color(palette.failure));
            let response =
                ui.add(button).on_hover_text("Shows the first step that differs, its new tokens framed");
            return response.clicked().then_some(step);
        }
        Some(Found::Differs { step: None }) => {
            ui.colored_label(palette.failure, "✖ other tokens").on_hover_text(tooltip);
        }
    }
    None
}

/// What somebody who does not see the canvas is told.
fn description(state: &State) -> String {
    let Some(run) = state.shown_run() else { return "Canvas: no picture yet".to_owned() };
    let title = run.recipe.subject.title();
    match (state.step(), run.progress) {
        (Some(step), _) if state.scrubbed.is_some() || run.is_open() => {
            format!("Canvas: {title}, after step {} of {}", step + 1, run.plan.len())
        }
        (_, Progress::Finished) => format!("Canvas: {title}, finished"),
        _ => format!("Canvas: {title}"),
    }
}

fn header(ui: &mut Ui, state: &mut State) {
    let narrow = ui.available_width() < NARROW;
    ui.horizontal_wrapped(|ui| {
        let text = match (state.shown_run(), state.step()) {
            (Some(run), Some(step)) => match run.plan.get(step) {
                Some(note) => {
                    let kind = if note.kind == StepKind::Full { "full" } else { "predicted" };
                    format!(
                        "Step {} of {} · {kind} · {} revealed",
                        step + 1,
                        run.plan.len(),
                        tokens(note.reveal)
                    )
                }
                None => String::new(),
            },
            (Some(_), None) => "Waiting for the first step".to_owned(),
            (None, _) => String::new(),
        };
        ui.label(text);
        if let Some(step) = state.shown_run().and_then(|run| proof(ui, run)) {
            state.scrubbed = Some(step);
            state.overlays.new = true;
        }
        if narrow {
            ui.end_row();
            toggles(ui, state);
        } else {
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| toggles(ui, state));
        }
    });
}

fn toggles(ui: &mut Ui, state: &mut State) {
    let overlays = &mut state.overlays;
    for (command, text, on) in [
        (Command::ShowMoved, "Movement", &mut overlays.moved),
        (Command::ShowConfidence, "Confidence", &mut overlays.confidence),
        (Command::ShowNew, "New", &mut overlays.new),
        (Command::ShowMasked, "Masked", &mut overlays.masked),
    ] {
        ui.toggle_value(on, text).on_hover_text(hover(ui, command));
    }
}

/// Wheel and pinch come closer; a drag moves the picture, of the main button where that is free, and a double click fits it.
pub(super) fn navigate(ui: &Ui, response: &egui::Response, rect: Rect, view: &mut View, is_free: bool) {
    let other = [egui::PointerButton::Secondary, egui::PointerButton::Middle];
    if (is_free && response.dragged()) || other.into_iter().any(|button| response.dragged_by(button)) {
        view.pan += response.drag_delta();
    }
    if let Some(touch) = ui.input(|input| input.multi_touch()).filter(|_| !is_free) {
        view.pan += touch.translation_delta;
    }
    if is_free && response.double_clicked() {
        *view = View::default();
    }
    let Some(pointer) = response.hover_pos() else { return };
    let (scroll, pinch) = ui.input(|input| (input.smooth_scroll_delta().y, input.zoom_delta()));
    let factor = pinch * (scroll * 0.004).exp();
    let zoom = (view.zoom * factor).clamp(1.0, MOST_ZOOM);
    // What is under the pointer stays there.
    let from_middle = pointer - rect.center() - view.pan;
    view.pan -= from_middle * (zoom / view.zoom - 1.0);
    view.zoom = zoom;
    if zoom == 1.0 && !response.dragged() && scroll < 0.0 {
        view.pan = Vec2::ZERO;
    }
}

/// Where a token lies in a picture.
fn cell(frame: Rect, grid: [u32; 2], token: usize) -> Rect {
    let (row, column) = (token as u32 / grid[1], token as u32 % grid[1]);
    let size = Vec2::new(frame.width() / grid[1] as f32, frame.height() / grid[0] as f32);
    Rect::from_min_size(frame.min + Vec2::new(size.x * column as f32, size.y * row as f32), size)
}

/// The token that was clicked, and a line to each new token that the shortcut looks at from it: the stronger, the more.
fn looks(painter: &egui::Painter, frame: Rect, run: &Run, grid: [u32; 2], state: &State, palette: Palette) {
    let Some(spot) = state.spot.filter(|spot| spot.run == run.id) else { return };
    let from = cell(frame, grid, spot.token);
    let look = state.look.as_ref().filter(|(known, _)| *known == spot).and_then(|(_, look)| look.as_ref());
    if let Some(attended) = look.and_then(|look| look.attended.as_ref()) {
        let most = attended.new.iter().map(|(_, share)| *share).fold(f64::MIN_POSITIVE, f64::max);
        for (position, share) in &attended.new {
            let (to, strength) = (cell(frame, grid, *position as usize), (share / most) as f32);
            let colour = palette.predicted.gamma_multiply(0.15 + 0.85 * strength);
            painter.line_segment([from.center(), to.center()], Stroke::new(0.75 + 2.0 * strength, colour));
            painter.circle_filled(to.center(), 1.5 + 0.2 * to.width() * strength, colour);
        }
    }
    for (colour, width) in [(Color32::from_black_alpha(200), 4.0), (Color32::WHITE, 2.0)] {
        painter.rect_stroke(from, 0.0, Stroke::new(width, colour), StrokeKind::Outside);
    }
}

#[expect(clippy::too_many_arguments, reason = "a painter's brushes")]
fn overlay(
    painter: &egui::Painter,
    frame: Rect,
    run: &Run,
    image: usize,
    step: Option<usize>,
    grid: [u32; 2],
    mask: u32,
    state: &State,
    palette: Palette,
) {
    let tokens = (grid[0] * grid[1]) as usize;
    let finished = run.progress == Progress::Finished && state.scrubbed.is_none();
    let cell = |token: usize| cell(frame, grid, token);
    if state.overlays.confidence && !run.plan.is_empty() {
        let steps = run.plan.len() as f32;
        for (token, at) in run.revealed_at(image, tokens, mask).into_iter().enumerate() {
            let Some(at) = at else { continue };
            // The surest are decided first: they stay clear.
            let late = at as f32 / steps;
            let shade = Color32::from_rgba_unmultiplied(120, 60, 200, (170.0 * late) as u8);
            painter.rect_filled(cell(token), 0.0, shade);
        }
    }
    let moved = step.and_then(|step| run.steps.iter().find(|done| done.step == step)?.moved.as_ref());
    if let Some(moved) = moved.filter(|_| state.overlays.moved && image == 0) {
        let most = moved.iter().copied().fold(1e-9, f32::max);
        for (token, share) in moved.iter().enumerate().take(tokens) {
            painter.rect_filled(cell(token), 0.0, palette.full.gamma_multiply(0.75 * share / most));
        }
    }
    if finished {
        return;
    }
    let Some(moment) = step.and_then(|step| run.at(step, image, tokens)) else {
        if state.overlays.masked {
            (0..tokens).for_each(|token| hatch(painter, cell(token), palette));
        }
        return;
    };
    for token in 0..tokens {
        if state.overlays.masked && moment.codes[token] == mask {
            hatch(painter, cell(token), palette);
        }
        if state.overlays.new && moment.is_new(token, mask) {
            let rect = cell(token);
            painter.rect_stroke(
                rect.shrink(1.0),
                0.0,
                Stroke::new(1.0, Color32::from_black_alpha(160)),
                StrokeKind::Outside,
            );
            painter.rect_stroke(rect.shrink(1.0), 0.0, Stroke::new(1.5, palette.new), StrokeKind::Inside);
        }
    }
}

/// A cell that is not decided: see-through, so that the step's draw shows, and hatched, so that it needs no colour.
fn hatch(painter: &egui::Painter, cell: Rect, palette: Palette) {
    painter.rect_filled(cell, 0.0, palette.masked[0].gamma_multiply(0.72));
    let stroke = Stroke::new(1.0, palette.masked[1]);
    let side = cell.width().max(cell.height());
    let lines = 3;
    let clipped = painter.with_clip_rect(cell.intersect(painter.clip_rect()));
    for i in 1..2 * lines {
        let offset = side * i as f32 / lines as f32;
        clipped.line_segment([cell.min + Vec2::new(offset, 0.0), cell.min + Vec2::new(0.0, offset)], stroke);
    }
}

/// A picture as egui has it.
pub fn color_image(picture: &Picture) -> egui::ColorImage {
    egui::ColorImage::from_rgb([picture.width as usize, picture.height as usize], &picture.rgb)
}
