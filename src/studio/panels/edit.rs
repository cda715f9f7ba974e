//! The canvas while a picture is edited: its region is painted with the pointer or a finger.

use crate::studio::command::Command;
use crate::studio::editing::{Editing, Tool, WIDEST};
use crate::studio::panels::canvas::{View, navigate};
use crate::studio::panels::{command_button, hover, tokens};
use crate::studio::state::State;
use crate::studio::textures::Textures;
use crate::studio::theme::Palette;
use crate::studio::tour::{Place, Placed};
use eframe::egui::{self, Color32, DragValue, Pos2, Rect, Sense, Slider, Stroke, StrokeKind, Ui, Vec2};

/// Points of the slider between before and after.
const BEFORE: f32 = 60.0;
/// Points between the picture and the panel's edge.
const MARGIN: f32 = 12.0;

/// The panel; the state edits a picture.
pub fn show(ui: &mut Ui, state: &mut State, textures: &mut Textures, view: &mut View) {
    let Some(mut editing) = state.editing.take() else { return };
    tools(ui, state, &mut editing);
    let (rect, response) = ui.allocate_exact_size(ui.available_size(), Sense::click_and_drag());
    state.places.push(Placed { place: Place::Canvas, rect, clip: ui.clip_rect() });
    let palette = Palette::of(ui);
    let painter = ui.painter_at(rect);
    painter.rect_filled(rect, 8.0, palette.canvas);
    let painted = tokens(editing.region().count());
    let describe = format!("Canvas: a picture that is edited, {painted} to be made anew");
    response.widget_info(|| egui::WidgetInfo::labeled(egui::accesskit::Role::Image, true, describe.as_str()));
    // A finger or the main button paints; two fingers, the wheel and the other buttons move what is seen.
    navigate(ui, &response, rect, view, false);
    let picture = editing.present().picture.clone();
    let aspect = picture.width as f32 / picture.height.max(1) as f32;
    let room = rect.shrink(MARGIN);
    let width = room.width().min(room.height() * aspect).max(8.0);
    let size = Vec2::new(width, width / aspect) * view.zoom;
    let frame = Rect::from_center_size(rect.center() + view.pan, size);
    state.picture_at = [frame.left(), frame.top(), frame.width(), frame.height()];
    let whole = Rect::from_min_max(Pos2::ZERO, Pos2::new(1.0, 1.0));
    let running = editing.run().and_then(|id| state.run(id));
    let resolving = running.and_then(|run| textures.of(ui.ctx(), run, 0, state.step()));
    let texture = resolving.unwrap_or_else(|| {
        let moment = editing.present();
        textures.edited(ui.ctx(), moment.number, &moment.picture)
    });
    painter.image(texture, frame, whole, Color32::WHITE);
    if editing.before > 0.0 {
        let first = editing.first();
        let texture = textures.edited(ui.ctx(), first.number, &first.picture);
        let split = Pos2::new(frame.left() + editing.before * frame.width(), frame.bottom());
        let uv = Rect::from_min_max(Pos2::ZERO, Pos2::new(editing.before, 1.0));
        painter.image(texture, Rect::from_min_max(frame.min, split), uv, Color32::WHITE);
        let line = [Pos2::new(split.x, frame.top()), split];
        painter.line_segment(line, Stroke::new(3.0, Color32::from_black_alpha(160)));
        painter.line_segment(line, Stroke::new(1.5, Color32::WHITE));
    }
    region(&painter, frame, &editing, palette);
    let cell = |pointer: Pos2| {
        let [rows, columns] = editing.region().grid();
        let part = (pointer - frame.min) / frame.size();
        let at = |part: f32, cells: u32| ((part * cells as f32) as u32).min(cells - 1);
        frame.contains(pointer).then(|| [at(part.y, rows), at(part.x, columns)])
    };
    let is_main = ui.input(|input| input.pointer.primary_down() && input.multi_touch().is_none());
    let pressed = response.is_pointer_button_down_on() && is_main;
    if let Some(cell) = response.interact_pointer_pos().and_then(cell).filter(|_| pressed) {
        editing.paint(cell);
    } else if !pressed && editing.lift() && editing.live && editing.region().count() > 0 {
        state.wanted.push(Command::Generate);
    }
    state.editing = Some(editing);
}

/// The region: its cells tinted while it is painted, and its edge always.
fn region(painter: &egui::Painter, frame: Rect, editing: &Editing, palette: Palette) {
    let region = editing.region();
    let [rows, columns] = region.grid();
    let size = Vec2::new(frame.width() / columns as f32, frame.height() / rows as f32);
    let tint = if editing.present().is_made && editing.run().is_none() { 0.0 } else { 0.45 };
    for row in 0..rows as usize {
        for column in 0..columns as usize {
            if !region.contains(row, column) {
                continue;
            }
            let at = frame.min + Vec2::new(size.x * column as f32, size.y * row as f32);
            let cell = Rect::from_min_size(at, size);
            if tint > 0.0 && editing.run().is_none() {
                painter.rect_filled(cell, 0.0, palette.accent.gamma_multiply(tint));
            }
            let sides = [
                (
                    row.checked_sub(1).is_some_and(|row| region.contains(row, column)),
                    [cell.left_top(), cell.right_top()],
                ),
                (region.contains(row + 1, column), [cell.left_bottom(), cell.right_bottom()]),
                (
                    column.checked_sub(1).is_some_and(|column| region.contains(row, column)),
                    [cell.left_top(), cell.left_bottom()],
                ),
                (region.contains(row, column + 1), [cell.right_top(), cell.right_bottom()]),
            ];
            for (_, line) in sides.into_iter().filter(|(goes_on, _)| !goes_on) {
                painter.line_segment(line, Stroke::new(3.0, Color32::from_black_alpha(140)));
                painter.line_segment(line, Stroke::new(1.5, palette.new));
            }
        }
    }
    painter.rect_stroke(frame, 0.0, Stroke::new(1.0, palette.masked[1]), StrokeKind::Outside);
}

fn tools(ui: &mut Ui, state: &mut State, editing: &mut Editing) {
    let text = match (editing.run(), editing.region().count()) {
        (Some(_), count) => format!("Making {} anew", tokens(count)),
        (None, 0) => "Paint what is to be made anew".to_owned(),
        (None, count) => {
            format!("{} to be made anew: say what the whole picture shows, and press Generate", tokens(count))
        }
    };
    // As high whatever it says: the picture must not move under the pointer.
    let height = 2.0 * ui.text_style_height(&egui::TextStyle::Body) + ui.spacing().item_spacing.y;
    ui.allocate_ui_with_layout(
        Vec2::new(ui.available_width(), height),
        egui::Layout::top_down(egui::Align::Min),
        |ui| {
            ui.set_min_height(height);
            ui.label(text);
        },
    );
    ui.horizontal_wrapped(|ui| {
        for (tool, text, tooltip) in [
            (Tool::Brush, "Brush", "Paints where the pointer goes"),
            (Tool::Rectangle, "Rectangle", "From where the pointer is pressed to where it is let go"),
            (Tool::Thing, "Thing", "A click takes what it is on whole, to be forgotten and made anew"),
        ] {
            if ui.selectable_label(editing.tool == tool, text).on_hover_text(tooltip).clicked() {
                editing.tool = tool;
            }
        }
        ui.toggle_value(&mut editing.erases, "Take away")
            .on_hover_text("The brush and the rectangle unpaint");
        let mut width = 2 * editing.radius + 1;
        let value = DragValue::new(&mut width).range(1..=2 * WIDEST + 1).speed(0.1).suffix(" wide");
        let value = ui.add_enabled(editing.tool == Tool::Brush, value);
        if value.on_hover_text("The brush, in tokens; drag it, or click and type").changed() {
            editing.radius = width / 2;
        }
        let region = editing.region().clone();
        let mut changed = None;
        for (text, tooltip, to) in [
            ("Grow", "Also the tokens around what is painted", region.grown(1)),
            ("Invert", "All but what is painted", region.inverted()),
            ("Clear", "Nothing is painted", region.except(&region)),
        ] {
            if ui.add_enabled(to != region, egui::Button::new(text)).on_hover_text(tooltip).clicked() {
                changed = Some(to);
            }
        }
        if let Some(region) = changed {
            editing.change(region);
        }
        for (command, enabled) in [(Command::Undo, editing.can_undo()), (Command::Redo, editing.can_redo())] {
            if command_button(ui, command, enabled).clicked() {
                state.wanted.push(command);
            }
        }
        ui.toggle_value(&mut editing.live, "As I paint")
            .on_hover_text("A run starts when a stroke ends; a newer stroke overtakes it");
        // Of a fixed size, so that it goes to the next line where there is no room.
        ui.spacing_mut().slider_width = BEFORE;
        let slider = Slider::new(&mut editing.before, 0.0..=1.0).show_value(false).text("before");
        ui.add_sized([2.0 * BEFORE, ui.spacing().interact_size.y], slider)
            .on_hover_text("Shows the picture as it was at first, from the left");
        let command = Command::LeaveEditing;
        if ui.button("Done").on_hover_text(hover(ui, command)).clicked() {
            state.wanted.push(command);
        }
    });
}
