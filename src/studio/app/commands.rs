//! What a person asks for, by button, key or palette.

use super::*;

impl Studio {
    pub(super) fn generate(&mut self) {
        let Some(recipe) = &mut self.state.recipe else { return };
        if let Some(editing) = &self.state.editing {
            let Some(edit) = editing.recipe(recipe) else { return };
            if !self.state.seed_locked && editing.present().is_made {
                // The same again would be the same picture.
                recipe.seed = recipe.seed.wrapping_add(1);
            }
            let id = self.run(edit, None);
            self.state.editing.iter_mut().for_each(|editing| editing.began(id));
            return;
        }
        if !self.state.seed_locked && self.state.runs.iter().any(|run| run.recipe == *recipe) {
            // The same again would be the same picture.
            recipe.seed = recipe.seed.wrapping_add(u64::from(recipe.images.max(1)));
        }
        let recipe = recipe.clone();
        self.run(recipe, None);
    }

    /// Runs a recipe and shows it; where its tokens are known, it is seen whether they come again.
    pub(super) fn run(&mut self, recipe: Recipe, expected: Option<Proof>) -> RunId {
        let id = self.state.add_run(recipe.clone());
        if let Some(run) = self.state.run_mut(id) {
            run.expected = expected;
        }
        self.state.forget_drafts();
        self.follow.settled(&recipe);
        self.actor.ask(Request::Run { id, recipe: Box::new(recipe), trace: true, from: None });
        id
    }

    /// Goes on from the step shown: with the seed and the method of the controls, or with another seed where both are as they were.
    fn branch(&mut self, context: &Context) {
        let state = &self.state;
        let (Some(run), Some(step), Some(controls)) = (state.shown_run(), state.step(), &state.recipe) else {
            return;
        };
        let Some(codes) = run.codes_after(step).map(<[u32]>::to_vec) else { return };
        let recipe = branch::recipe(run, step, controls, &state.full_list(), random_seed(context));
        let parent = run.id;
        let id = self.state.add_branch(recipe.clone(), parent, step);
        self.actor.ask(Request::Run { id, recipe: Box::new(recipe), trace: true, from: Some(codes) });
    }

    /// Edits the first picture of the run shown.
    fn edit_shown(&mut self) {
        let (Some(run), Some(model)) = (self.state.shown_run(), &self.state.model) else { return };
        let (Some(picture), Some(codes)) = (run.pictures.first(), run.codes.get(..model.tokens())) else {
            return;
        };
        let editing = Editing::new(picture.clone(), codes, model.grid);
        self.edit(editing);
    }

    /// Goes over to editing.
    pub(super) fn edit(&mut self, editing: Editing) {
        self.textures.forget_edited();
        (self.state.scrubbed, self.state.spot) = (None, None);
        self.state.editing = Some(editing);
    }

    pub(super) fn scrub(&mut self, to: impl FnOnce(usize, usize) -> usize) {
        let Some(run) = self.state.shown_run() else { return };
        let Some(last) = run.steps.iter().map(|done| done.step).max() else { return };
        let present = self.state.step().unwrap_or(last);
        self.state.scrubbed = Some(to(present, last).min(last));
    }

    pub(super) fn obey(&mut self, context: &Context, command: Command) {
        if !self.state.allows(command) {
            return;
        }
        // From here on a person leads.
        self.state.greeting = None;
        match command {
            Command::Enqueue => {
                if let Some(recipe) = self.state.recipe.clone() {
                    self.state.queue.add(Waiting::new(recipe));
                    self.state.tab = Tab::History;
                }
            }
            Command::Live => self.state.live ^= true,
            Command::Branch => self.branch(context),
            Command::Edit => self.edit_shown(),
            Command::EditPicture => self.inbox.pick_picture(context),
            Command::Undo => self.state.editing.iter_mut().for_each(Editing::undo),
            Command::Redo => self.state.editing.iter_mut().for_each(Editing::redo),
            Command::LeaveEditing => self.state.editing = None,
            Command::Sweep => {
                let Some(recipe) = &self.state.recipe else { return };
                let has_shortcut = self.state.model.as_ref().is_some_and(|model| model.has_shortcut);
                let added: Vec<Method> =
                    self.state.comparison.columns.iter().map(|(method, _)| method.clone()).collect();
                self.state.sweep.begin(sweep::methods(recipe, has_shortcut, &added));
                self.state.tab = Tab::Compare;
                if self.judge == Judge::Absent {
                    self.judge = Judge::Asked;
                    self.fetch.judge(&self.actor.requests(), context);
                }
                context.request_repaint();
            }
            Command::Board => {
                let Some(recipe) = &self.state.recipe else { return };
                self.state.board.begin(recipe, &self.state.runs);
                self.state.tab = Tab::Board;
                context.request_repaint();
            }
            Command::AddPanel => {
                let Some(recipe) = &self.state.recipe else { return };
                self.state.board.add(recipe.subject.title());
                self.state.tab = Tab::Board;
            }
            Command::Tour => {
                let to = self.state.tour.at.map_or(self.state.tour.reached, |_| 0);
                tour::go(&mut self.state, to);
            }
            Command::TourNext => {
                let to = self.state.tour.at.map_or(0, |at| at + 1);
                tour::go(&mut self.state, to);
            }
            Command::TourBack => {
                let to = self.state.tour.at.map_or(0, |at| at.saturating_sub(1));
                tour::go(&mut self.state, to);
            }
            Command::TourLeave => tour::leave(&mut self.state),
            Command::Stop
                if self.state.open_run().is_none()
                    && !self.state.sweep.is_active()
                    && !self.state.board.is_active() =>
            {
                tour::leave(&mut self.state);
            }
            Command::Generate => {
                self.state.comparison.columns.retain(|(_, run)| run.is_some());
                self.generate();
            }
            Command::Stop => {
                self.state.comparison.columns.retain(|(_, run)| run.is_some());
                self.state.queue.stop();
                self.state.sweep.stop();
                self.state.board.stop();
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
                self.state.tab = Tab::Compare;
                self.actor.ask(Request::Cancel);
            }
            Command::AddMethod => {
                let Some(recipe) = &self.state.recipe else { return };
                self.state.comparison.add(recipe);
                self.state.tab = Tab::Compare;
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
            Command::ShowMoved => self.state.overlays.moved ^= true,
            Command::ToggleFull => {
                if let Some(step) = self.state.step() {
                    self.state.toggle_full(step as u32);
                }
            }
            Command::ZoomIn => self.view.zoom_by(ZOOM),
            Command::ZoomOut => self.view.zoom_by(1.0 / ZOOM),
            Command::ResetView => self.view = View::default(),
            Command::NextPair => self.make_pair(context),
            Command::SavePng
            | Command::SaveGif
            | Command::SaveSheet
            | Command::SaveBlind
            | Command::SaveBoard
            | Command::SaveBoardSvg => {
                self.inbox.save(context, &self.state, command);
            }
            Command::CopyPicture => {
                if let Some(picture) = self.state.shown_run().and_then(|run| run.pictures.first()) {
                    context.copy_image(canvas::color_image(picture));
                }
            }
            Command::CopyLink => {
                if let (Some((recipe, proof)), Some(model)) = (self.state.to_share(), &self.state.model) {
                    context.copy_text(link::link(recipe, &model.draw, proof));
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

    pub(super) fn keys(&mut self, context: &Context) {
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

    pub(super) fn mend(&mut self, context: &Context, remedy: Remedy) {
        self.state.failure = None;
        match remedy {
            Remedy::ChangeSettings => {}
            Remedy::FetchAgain => {
                let source = self
                    .state
                    .recipe
                    .as_ref()
                    .map_or(crate::studio::BUNDLED[0], |recipe| &recipe.model)
                    .to_owned();
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
}
