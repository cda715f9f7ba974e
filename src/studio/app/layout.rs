//! Where the panels stand.

use super::*;

impl Studio {
    pub(super) fn menus(&mut self, ui: &mut Ui) {
        ui.horizontal(|ui| {
            ui.strong("migm");
            for menu in Menu::ALL {
                ui.menu_button(menu.text(), |ui| {
                    for command in Command::here().filter(|command| command.menu() == menu) {
                        let keys = command
                            .shortcut()
                            .map(|keys| ui.ctx().format_shortcut(&keys))
                            .unwrap_or_default();
                        let text = format!("{}  {}", command.icon(), command.text());
                        let button = egui::Button::new(text).shortcut_text(keys);
                        let allowed = self.state.allows(command);
                        if ui.add_enabled(allowed, button).on_hover_text(command.tooltip()).clicked() {
                            self.state.wanted.push(command);
                            ui.close();
                        }
                    }
                });
            }
            self.models(ui);
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                let command = Command::Palette;
                let keys = command.shortcut().map(|keys| ui.ctx().format_shortcut(&keys)).unwrap_or_default();
                let narrow = ui.available_width() < 120.0;
                let text = if narrow { command.icon().to_owned() } else { format!("{keys} Commands") };
                let button = ui.button(text).on_hover_text(hover(ui, command));
                button.widget_info(|| {
                    egui::WidgetInfo::labeled(egui::accesskit::Role::Button, true, command.text())
                });
                if button.clicked() {
                    self.state.wanted.push(command);
                }
            });
        });
    }

    pub(super) fn models(&mut self, ui: &mut Ui) {
        let present = self.state.model.as_ref().map_or("…", |model| model.name.as_str()).to_owned();
        let mut picked = None;
        egui::ComboBox::from_id_salt("model")
            .selected_text(&present)
            .show_ui(ui, |ui| {
                for name in crate::studio::BUNDLED {
                    if ui.selectable_label(present == name, name).clicked() {
                        picked = Some(name.to_owned());
                    }
                }
                if ui.button(Command::OpenModel.text()).on_hover_text(Command::OpenModel.tooltip()).clicked()
                {
                    self.state.wanted.push(Command::OpenModel);
                }
            })
            .response
            .on_hover_text("The model; folders can also be dropped on the window");
        if let Some(name) = picked {
            self.open(&name, ui.ctx());
        }
    }

    pub(super) fn panels(&mut self, ui: &mut Ui) {
        Panel::top("menus").show(ui, |ui| self.menus(ui));
        Panel::bottom("status").show(ui, |ui| status::show(ui, &self.state, &self.device));
        if self.state.failure.is_some() {
            let chosen = Panel::top("failure").show(ui, |ui| failure::show(ui, &mut self.state)).inner;
            if let Some(remedy) = chosen {
                self.mend(ui.ctx(), remedy);
            }
        }
        if self.state.brought.is_some() {
            let taken = Panel::top("brought").show(ui, |ui| brought::show(ui, &mut self.state)).inner;
            match taken {
                Some(brought::Taken::Recipe(recipe)) => self.take_recipe(*recipe, ui.ctx()),
                Some(brought::Taken::Again(brought)) => self.make_again(*brought, ui.ctx()),
                Some(brought::Taken::Edit(picture)) => self.actor.ask(Request::Encode(picture)),
                None => {}
            }
        }
        if self.state.tour.at.is_some() {
            Panel::top("tour").show(ui, |ui| panels::tour::show(ui, &mut self.state));
        }
        self.state.places.clear();
        if ui.available_width() < NARROW {
            Panel::bottom("reach").show(ui, |ui| compose::reach(ui, &mut self.state));
            CentralPanel::default().show(ui, |ui| {
                ScrollArea::vertical().show(ui, |ui| {
                    let width = ui.available_width();
                    ui.allocate_ui(egui::vec2(width, width + 40.0), |ui| {
                        canvas::show(ui, &mut self.state, &mut self.textures, &mut self.view);
                    });
                    timeline::show(ui, &mut self.state);
                    ui.separator();
                    compose::rest(ui, &mut self.state);
                    ui.separator();
                    let top = ui.cursor().min;
                    side::show_all(ui, &mut self.state, &mut self.textures);
                    let rect = egui::Rect::from_min_max(top, ui.min_rect().max).expand(4.0);
                    self.state.places.push(Placed { place: Place::Side, rect, clip: ui.clip_rect() });
                    // What the tour speaks of may be above or below.
                    let blind = &self.state.blind;
                    let is_ready =
                        self.state.tab != Tab::Blind || (blind.making.is_none() && blind.pair.is_some());
                    if let Some(place) = self.state.tour.to_scroll(is_ready)
                        && let Some(placed) = self.state.places.iter().find(|placed| placed.place == place)
                    {
                        let align =
                            if place == Place::Timeline { egui::Align::BOTTOM } else { egui::Align::TOP };
                        // All of it stands elsewhere in the next frame.
                        ui.ctx().request_repaint();
                        ui.scroll_to_rect_animation(
                            placed.rect,
                            Some(align),
                            egui::style::ScrollAnimation::none(),
                        );
                    }
                });
            });
            return;
        }
        // The canvas keeps its room.
        let most = (ui.available_width() - CANVAS - SIDE).clamp(240.0, 420.0);
        Panel::left("compose").default_size(300.0).size_range(240.0..=most).show(ui, |ui| {
            // A panel with little in it yet would shrink, and stay so.
            ui.set_min_width(ui.available_width());
            compose::show(ui, &mut self.state);
        });
        let most = (ui.available_width() - CANVAS).clamp(220.0, 560.0);
        Panel::right("side").default_size(SIDE).size_range(220.0..=most).show(ui, |ui| {
            ui.set_min_width(ui.available_width());
            let rect = ui.max_rect().expand(6.0);
            self.state.places.push(Placed { place: Place::Side, rect, clip: rect });
            side::show(ui, &mut self.state, &mut self.textures);
        });
        CentralPanel::default().show(ui, |ui| {
            Panel::bottom("timeline")
                .show_separator_line(false)
                .show(ui, |ui| timeline::show(ui, &mut self.state));
            canvas::show(ui, &mut self.state, &mut self.textures, &mut self.view);
        });
    }
}
