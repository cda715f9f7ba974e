//! The app: takes in what the actor sends, shows the panels, and turns commands into requests.

use super::actor::{Actor, Event, Request, RunId};
use super::command::{Command, Menu};
use super::compare::{Comparison, methods};
use super::failure::{Failure, Remedy};
use super::fetch::{Fetch, Progress};
use super::frames::Frames;
use super::panels::canvas::View;
use super::panels::status::DeviceNote;
use super::panels::{canvas, compose, failure, hover, palette, side, status, timeline};
use super::state::{Kept, State};
use super::textures::Textures;
use super::theme;
use super::{keep, link};
use crate::generate::recipe::Recipe;
use crate::generate::refresh::Refresh;
use eframe::egui::{self, CentralPanel, Context, Panel, ScrollArea, Ui};

/// The key of what is kept between starts.
const KEPT: &str = "studio";
/// How much closer a press of a key goes.
const ZOOM: f32 = 1.25;
/// Below this width, in points, panels stand one below the other.
const NARROW: f32 = 720.0;

/// The clock is as good a die as any: a person cannot aim at a microsecond.
fn random_seed(context: &Context) -> u64 {
    (context.input(|input| input.time) * 1e6) as u64 % 1_000_000
}

/// The window.
#[derive(Debug)]
pub struct Studio {
    actor: Actor,
    device: DeviceNote,
    /// What is shown.
    pub state: State,
    textures: Textures,
    view: View,
    inbox: keep::Inbox,
    fetch: Fetch,
    /// The run of an earlier start whose pictures are being made again.
    pictures_asked_for: Option<RunId>,
    /// The query of a link, until its model is open.
    query: String,
    /// How long frames took.
    pub frames: Frames,
}

impl Studio {
    /// A studio over an actor; it opens `model`, or what was open last.
    /// A query of a link is run when the model is open.
    pub fn new(
        context: &Context,
        actor: Actor,
        device: DeviceNote,
        kept: Kept,
        model: &str,
        query: &str,
    ) -> Self {
        theme::install(context);
        let source = kept.recipe.as_ref().map_or(model, |recipe| recipe.model.as_str()).to_owned();
        let studio = Self {
            actor,
            device,
            state: State::new(kept),
            textures: Textures::default(),
            view: View::default(),
            inbox: keep::Inbox::default(),
            fetch: Fetch::default(),
            pictures_asked_for: None,
            query: query.to_owned(),
            frames: Frames::default(),
        };
        studio.open(&source, context);
        studio
    }

    /// What was kept by an earlier start.
    pub fn kept(storage: Option<&dyn eframe::Storage>) -> Kept {
        storage.and_then(|storage| eframe::get_value(storage, KEPT)).unwrap_or_default()
    }

    /// What the studio is at, for tests that see only its surface.
    pub fn report(&self) -> serde_json::Value {
        let state = &self.state;
        let runs: Vec<_> = state
            .runs
            .iter()
            .map(|run| {
                let model = state.model.as_ref().filter(|model| model.source == run.recipe.model);
                let revealed = model.map(|model| run.revealed_at(0, model.tokens(), model.codebook));
                serde_json::json!({
                    "progress": format!("{:?}", run.progress),
                    "steps": run.plan.len(),
                    "full": run.recipe.full_steps(),
                    "codes": run.codes,
                    "revealed_at": revealed,
                    "milliseconds": run.step_ms,
                })
            })
            .collect();
        let [x, y, width, height] = state.budget_slider;
        serde_json::json!({
            "model": state.model.as_ref().map(|model| &model.source),
            "device": { "name": self.device.name, "tier": self.device.tier, "reason": self.device.reason },
            "budget": state.recipe.as_ref().and_then(Recipe::full_steps),
            "budget_slider": { "x": x, "y": y, "width": width, "height": height },
            "runs": runs,
            "stored": state.stored,
            "slowest_frame_ms": self.frames.slowest(),
            "failure": state.failure.as_ref().map(|failure| format!("{}: {}", failure.title, failure.reason)),
        })
    }

    fn open(&self, source: &str, context: &Context) {
        self.fetch.open(source, &self.actor.requests(), context);
    }

    fn take_fetches(&mut self) {
        match self.fetch.progress.take() {
            Some(Progress::Bytes(done, total)) => self.state.fetching = Some((done, total)),
            Some(Progress::Done) => self.state.fetching = None,
            Some(Progress::Failed(reason)) => {
                self.state.fetching = None;
                self.state.failure = Some(Failure {
                    title: "The model could not be fetched".to_owned(),
                    reason,
                    remedies: vec![Remedy::FetchAgain, Remedy::OpenAnother],
                });
            }
            None => {}
        }
        if let Some(bytes) = self.fetch.stored.take() {
            self.state.stored = bytes;
        }
    }

    fn take_events(&mut self, context: &Context) {
        self.take_fetches();
        while let Some(event) = self.actor.poll() {
            if let Event::Shown { id, step: Some(step), pictures } = &event {
                self.textures.step(context, *id, *step, pictures);
                self.frames.picture();
            }
            if matches!(event, Event::Shown { .. } | Event::Finished { .. } | Event::Stopped { .. }) {
                self.pictures_asked_for = None;
            }
            if let Event::Device(name) = &event {
                self.device = DeviceNote { name: name.clone(), ..DeviceNote::default() };
            }
            let opened = matches!(event, Event::Opened(_));
            // What was open last may be gone.
            let lost = matches!(event, Event::Failed { id: None, .. }) && self.state.model.is_none();
            self.state.take(event);
            if opened {
                self.follow_link();
            } else if lost && self.state.recipe.take().is_some_and(|recipe| recipe.model != super::BUNDLED[0])
            {
                self.open(super::BUNDLED[0], context);
            }
        }
        if let Some(preview) = self.actor.preview() {
            self.textures.preview(context, &preview);
            self.frames.picture();
            self.state.preview = Some(preview);
        }
        self.next_of_pair(context);
        self.next_method(context);
        self.ask_for_step();
        self.ask_for_pictures();
    }

    /// Runs what a link asks for.
    fn follow_link(&mut self) {
        let query = std::mem::take(&mut self.query);
        let Some(recipe) = self.state.recipe.as_mut().filter(|_| !query.is_empty()) else { return };
        let refused = link::apply(&query, recipe);
        self.generate();
        if !refused.is_empty() {
            self.state.failure = Some(Failure {
                title: "The link was followed in part".to_owned(),
                reason: format!("not understood: {}", refused.join(", ")),
                remedies: vec![Remedy::ChangeSettings],
            });
        }
    }

    /// Starts the next method of a comparison when nothing is under way.
    fn next_method(&mut self, context: &Context) {
        if self.state.open_run().is_some() {
            return;
        }
        let Some(at) = self.state.comparison.waiting() else { return };
        let recipe = self.state.comparison.columns[at].0.recipe.clone();
        let shown = self.state.shown;
        let id = self.state.add_run(recipe.clone());
        self.state.comparison.columns[at].1 = Some(id);
        self.state.shown = shown.filter(|_| at > 0).or(Some(id));
        self.actor.ask(Request::Run { id, recipe, trace: true });
        context.request_repaint();
    }

    /// Begins the blind test's next pair, with a seed that nobody has seen.
    fn make_pair(&mut self, context: &Context) {
        let Some(recipe) = &self.state.recipe else { return };
        let full = recipe.full_steps() == Some(recipe.draw.steps as usize);
        let refresh =
            if full { Refresh::Uniform(recipe.draw.steps.div_ceil(4)) } else { recipe.refresh.clone() };
        let seed = random_seed(context).wrapping_add(self.state.blind.judged.len() as u64);
        let recipe = Recipe { seed, refresh, ..recipe.clone() };
        self.state.blind.make(&recipe);
    }

    /// Starts the next run of a blind pair when nothing is under way.
    fn next_of_pair(&mut self, context: &Context) {
        if self.state.open_run().is_some() {
            return;
        }
        let Some(recipe) = self.state.blind.waiting().map(|(recipe, _)| recipe.clone()) else { return };
        let id = self.state.add_hidden_run(recipe.clone());
        if let Some((_, run)) = self.state.blind.waiting() {
            *run = Some(id);
        }
        self.actor.ask(Request::Run { id, recipe, trace: false });
        context.request_repaint();
    }

    /// Has pictures of earlier starts made again, one run after the other, while nothing else is under way.
    fn ask_for_pictures(&mut self) {
        if self.pictures_asked_for.is_some() || self.state.open_run().is_some() {
            return;
        }
        if let Some(run) = self.state.without_pictures() {
            let (id, recipe, codes) = (run.id, Box::new(run.recipe.clone()), run.codes.clone());
            self.pictures_asked_for = Some(id);
            self.actor.ask(Request::Show { id, step: None, recipe, codes });
        }
    }

    /// Asks for the picture of the step that was scrubbed to, unless it is at hand.
    fn ask_for_step(&self) {
        let (Some(run), Some(step), Some(model)) =
            (self.state.shown_run(), self.state.scrubbed, &self.state.model)
        else {
            return;
        };
        // Codes of another model mean nothing to this one.
        if run.is_open() || self.textures.has(run.id, step) || run.recipe.model != model.source {
            return;
        }
        let images = run.recipe.images.max(1) as usize;
        let moments = (0..images).filter_map(|image| run.at(step, image, model.tokens()));
        let codes: Vec<u32> = moments.flat_map(|moment| moment.drawn.to_vec()).collect();
        if codes.len() == images * model.tokens() {
            let recipe = Box::new(run.recipe.clone());
            self.actor.ask(Request::Show { id: run.id, step: Some(step), recipe, codes });
        }
    }

    fn generate(&mut self) {
        let Some(recipe) = &mut self.state.recipe else { return };
        if !self.state.seed_locked && self.state.runs.iter().any(|run| run.recipe == *recipe) {
            // The same again would be the same picture.
            recipe.seed = recipe.seed.wrapping_add(u64::from(recipe.images.max(1)));
        }
        let recipe = recipe.clone();
        let id = self.state.add_run(recipe.clone());
        self.actor.ask(Request::Run { id, recipe, trace: true });
    }

    fn scrub(&mut self, to: impl FnOnce(usize, usize) -> usize) {
        let Some(run) = self.state.shown_run() else { return };
        let Some(last) = run.steps.iter().map(|done| done.step).max() else { return };
        let present = self.state.step().unwrap_or(last);
        self.state.scrubbed = Some(to(present, last).min(last));
    }

    fn obey(&mut self, context: &Context, command: Command) {
        if !self.state.allows(command) {
            return;
        }
        match command {
            Command::Generate => {
                self.state.comparison.columns.retain(|(_, run)| run.is_some());
                self.generate();
            }
            Command::Stop => {
                self.state.comparison.columns.retain(|(_, run)| run.is_some());
                self.actor.ask(Request::Cancel);
            }
            Command::NewSeed => {
                if let Some(recipe) = &mut self.state.recipe {
                    recipe.seed = random_seed(context);
                }
            }
            Command::LockSeed => self.state.seed_locked ^= true,
            Command::Compare => {
                let Some(recipe) = &self.state.recipe else { return };
                let has_shortcut = self.state.model.as_ref().is_some_and(|model| model.has_shortcut);
                self.state.comparison = Comparison::new(methods(recipe, has_shortcut));
                self.state.tab = super::state::Tab::Compare;
                self.actor.ask(Request::Cancel);
            }
            Command::OpenModel => self.inbox.pick_model(context),
            Command::ClearStored => self.fetch.clear(context),
            Command::FirstStep => self.scrub(|_, _| 0),
            Command::PreviousStep => self.scrub(|present, _| present.saturating_sub(1)),
            Command::NextStep => self.scrub(|present, _| present + 1),
            Command::LastStep => self.state.scrubbed = None,
            Command::UniformRefresh => self.state.spread_evenly(),
            Command::ShowMasked => self.state.overlays.masked ^= true,
            Command::ShowNew => self.state.overlays.new ^= true,
            Command::ShowConfidence => self.state.overlays.confidence ^= true,
            Command::ToggleFull => {
                if let Some(step) = self.state.step() {
                    self.state.toggle_full(step as u32);
                }
            }
            Command::ZoomIn => self.view.zoom_by(ZOOM),
            Command::ZoomOut => self.view.zoom_by(1.0 / ZOOM),
            Command::ResetView => self.view = View::default(),
            Command::NextPair => self.make_pair(context),
            Command::SavePng | Command::SaveGif | Command::SaveSheet | Command::SaveBlind => {
                self.inbox.save(context, &self.state, command);
            }
            Command::CopyPicture => {
                if let Some(picture) = self.state.shown_run().and_then(|run| run.pictures.first()) {
                    context.copy_image(canvas::color_image(picture));
                }
            }
            Command::CopyLink => {
                if let Some(recipe) = &self.state.recipe {
                    context.copy_text(link::link(recipe));
                }
            }
            Command::ThemeSystem => context.set_theme(egui::ThemePreference::System),
            Command::ThemeLight => context.set_theme(egui::ThemePreference::Light),
            Command::ThemeDark => context.set_theme(egui::ThemePreference::Dark),
            Command::ComputeOnGpu => self.actor.ask(Request::RestartDevice),
            Command::ComputeOnCpu => self.actor.ask(Request::UseCpu),
            Command::Palette => self.state.palette = Some(String::new()),
            Command::Quit => context.send_viewport_cmd(egui::ViewportCommand::Close),
        }
    }

    fn keys(&mut self, context: &Context) {
        let editing = context.egui_wants_keyboard_input();
        if self.state.palette.is_some() {
            return;
        }
        let mut commands: Vec<_> =
            Command::here().filter_map(|command| Some((command, command.shortcut()?))).collect();
        // A shortcut without Shift would also take the keys of one with it.
        commands.sort_by_key(|(_, keys)| std::cmp::Reverse((keys.modifiers.shift, keys.modifiers.alt)));
        for (command, keys) in commands {
            if editing && command.yields_to_text() {
                continue;
            }
            if context.input_mut(|input| input.consume_shortcut(&keys)) {
                self.state.wanted.push(command);
            }
        }
    }

    fn menus(&mut self, ui: &mut Ui) {
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

    fn models(&mut self, ui: &mut Ui) {
        let present = self.state.model.as_ref().map_or("…", |model| model.name.as_str()).to_owned();
        let mut picked = None;
        egui::ComboBox::from_id_salt("model")
            .selected_text(&present)
            .show_ui(ui, |ui| {
                for name in super::BUNDLED {
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

    fn mend(&mut self, context: &Context, remedy: Remedy) {
        self.state.failure = None;
        match remedy {
            Remedy::ChangeSettings => {}
            Remedy::FetchAgain => {
                let source =
                    self.state.recipe.as_ref().map_or(super::BUNDLED[0], |recipe| &recipe.model).to_owned();
                self.open(&source, context);
            }
            Remedy::OpenAnother => self.state.wanted.push(Command::OpenModel),
            Remedy::UseCpu => self.actor.ask(Request::UseCpu),
            Remedy::UseLess => {
                if let Some(recipe) = &mut self.state.recipe {
                    recipe.images = 1;
                }
                self.state.wanted.push(Command::Generate);
            }
            Remedy::Restart => self.actor.ask(Request::RestartDevice),
            Remedy::SaveElsewhere => self.inbox.save(context, &self.state, Command::SavePng),
        }
    }

    /// Sets the controls, and opens the model that they are for if it is another.
    fn take_recipe(&mut self, recipe: Recipe, context: &Context) {
        let Some(model) = self.state.source_of(&recipe.model) else {
            self.state.failure = Some(Failure::unknown_model(&recipe.model));
            return;
        };
        if self.state.model.as_ref().is_none_or(|present| present.source != model) {
            self.open(&model, context);
        }
        self.state.recipe = Some(Recipe { model, ..recipe });
    }

    fn drops(&mut self, context: &Context) {
        for found in self.inbox.arrived(context) {
            match found {
                keep::Arrived::Model(source) => self.open(&source, context),
                keep::Arrived::Files(files) => {
                    self.actor.ask(Request::OpenFiles { name: "dropped files".to_owned(), files });
                }
                keep::Arrived::Recipe(recipe) => self.take_recipe(*recipe, context),
                keep::Arrived::Failed(failure) => self.state.failure = Some(failure),
            }
        }
    }

    fn panels(&mut self, ui: &mut Ui) {
        Panel::top("menus").show(ui, |ui| self.menus(ui));
        Panel::bottom("status").show(ui, |ui| status::show(ui, &self.state, &self.device));
        if self.state.failure.is_some() {
            let chosen = Panel::top("failure").show(ui, |ui| failure::show(ui, &mut self.state)).inner;
            if let Some(remedy) = chosen {
                self.mend(ui.ctx(), remedy);
            }
        }
        if ui.available_width() < NARROW {
            CentralPanel::default().show(ui, |ui| {
                ScrollArea::vertical().show(ui, |ui| {
                    let width = ui.available_width();
                    ui.allocate_ui(egui::vec2(width, width + 40.0), |ui| {
                        canvas::show(ui, &mut self.state, &mut self.textures, &mut self.view);
                    });
                    timeline::show(ui, &mut self.state);
                    ui.separator();
                    ui.allocate_ui(egui::vec2(width, 480.0), |ui| compose::show(ui, &mut self.state));
                    ui.separator();
                    ui.allocate_ui(egui::vec2(width, 480.0), |ui| {
                        side::show(ui, &mut self.state, &mut self.textures);
                    });
                });
            });
            return;
        }
        Panel::left("compose").default_size(300.0).size_range(240.0..=420.0).show(ui, |ui| {
            // A panel with little in it yet would shrink, and stay so.
            ui.set_min_width(ui.available_width());
            compose::show(ui, &mut self.state);
        });
        Panel::right("side").default_size(340.0).size_range(220.0..=560.0).show(ui, |ui| {
            ui.set_min_width(ui.available_width());
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

impl eframe::App for Studio {
    fn logic(&mut self, context: &Context, _frame: &mut eframe::Frame) {
        self.frames.begin();
        self.take_events(context);
        self.drops(context);
        self.keys(context);
    }

    fn ui(&mut self, ui: &mut Ui, frame: &mut eframe::Frame) {
        self.panels(ui);
        palette::show(ui, &mut self.state);
        let context = ui.ctx().clone();
        for command in std::mem::take(&mut self.state.wanted) {
            self.obey(&context, command);
        }
        if let Some(recipe) = self.state.wanted_recipe.take() {
            self.take_recipe(recipe, &context);
        }
        self.frames.end(frame.info().cpu_usage, self.state.open_run().is_some());
    }

    /// The page's tests ask for the studio by its type.
    #[cfg(target_arch = "wasm32")]
    fn as_any_mut(&mut self) -> Option<&mut dyn std::any::Any> {
        Some(self)
    }

    fn save(&mut self, storage: &mut dyn eframe::Storage) {
        eframe::set_value(storage, KEPT, &self.state.kept());
    }
}
