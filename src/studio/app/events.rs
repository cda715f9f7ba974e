//! What the actor, the page and dropped files bring.

use super::*;

impl Studio {
    pub(super) fn take_fetches(&mut self) {
        match self.fetch.progress.take() {
            Some(Progress::Bytes(done, total)) => self.state.fetching = Some((done, total)),
            Some(Progress::Done) => self.state.fetching = None,
            Some(Progress::Failed(reason)) => {
                self.state.fetching = None;
                // What waited for it waits no longer.
                self.give_up_waiting(&reason);
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

    pub(super) fn take_events(&mut self, context: &Context) {
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
            let event = self.take_edit(event);
            let opened = matches!(event, Event::Opened(_));
            let ended = match &event {
                Event::Finished { id, .. } => Some((*id, false)),
                Event::Stopped { id, .. } => Some((*id, true)),
                _ => None,
            };
            if let Event::Failed { id: Some(id), failure } = &event {
                self.state.queue.failed(*id, &failure.reason);
            }
            if let Some((id, overtaken)) = ended {
                self.state.queue.ended(id, overtaken);
            }
            match &event {
                Event::Stopped { id, .. } => self.state.board.lost(*id),
                Event::Failed { id: Some(id), .. } => self.state.board.failed(*id),
                _ => {}
            }
            self.take_sweep(&event);
            if matches!(event, Event::JudgeReady) {
                self.judge = Judge::There;
            }
            if let Event::Failed { id: None, failure } = &event
                && self.opening.is_some()
            {
                self.give_up_waiting(&failure.reason);
            }
            // What was open last may be gone.
            let lost = matches!(event, Event::Failed { id: None, .. }) && self.state.model.is_none();
            self.state.take(event);
            if opened {
                if !self.follow_link() {
                    self.greet();
                }
            } else if lost
                && self.state.recipe.take().is_some_and(|recipe| recipe.model != crate::studio::BUNDLED[0])
            {
                self.open(crate::studio::BUNDLED[0], context);
            }
        }
        if let Some(preview) = self.actor.preview() {
            self.textures.preview(context, &preview);
            self.frames.picture();
            self.state.preview = Some(preview);
        }
        self.next_of_pair(context);
        self.next_method(context);
        self.next_of_queue(context);
        self.next_of_board(context);
        self.next_of_sweep(context);
        self.ask_for_step();
        self.ask_for_token();
        self.ask_for_pictures();
    }

    /// What an event means for the picture that is edited: what a run made stands in its place, for the history too.
    fn take_edit(&mut self, event: Event) -> Event {
        match event {
            Event::Encoded { codes, picture } => {
                if let Some(model) = &self.state.model {
                    let editing = Editing::new(picture.clone(), &codes, model.grid);
                    self.edit(editing);
                }
                Event::Encoded { codes, picture }
            }
            Event::Finished { id, step_ms, codes, mut pictures, decode_ms, decided } => {
                let editing = self.state.editing.as_mut();
                let seen = editing
                    .zip(pictures.first())
                    .and_then(|(editing, made)| editing.finished(id, &codes, made));
                if let (Some(seen), Some(first)) = (seen, pictures.first_mut()) {
                    *first = seen;
                }
                Event::Finished { id, step_ms, codes, pictures, decode_ms, decided }
            }
            Event::Stopped { id, .. } | Event::Failed { id: Some(id), .. } => {
                self.state.editing.iter_mut().for_each(|editing| editing.lost(id));
                event
            }
            other => other,
        }
    }

    /// A model or the judge could not be had: neither what waits for it nor the sweep can begin.
    fn give_up_waiting(&mut self, reason: &str) {
        if let Some(model) = self.opening.take() {
            self.state.queue.refuse(&model, reason);
        }
        if self.judge == Judge::Asked {
            self.judge = Judge::Absent;
            self.state.sweep.stop();
        }
    }

    /// Runs what a link asks for; whether there was one.
    pub(super) fn follow_link(&mut self) -> bool {
        let query = std::mem::take(&mut self.query);
        let Some(recipe) = self.state.recipe.as_mut().filter(|_| !query.is_empty()) else { return false };
        let refused = link::apply(&query, recipe);
        self.state.greeted = true;
        let asked = recipe.clone();
        recipe.begun.clear();
        self.run(asked, link::proof(&query));
        if !refused.is_empty() {
            self.state.failure = Some(Failure {
                title: "The link was followed in part".to_owned(),
                reason: format!("not understood: {}", refused.join(", ")),
                remedies: vec![Remedy::ChangeSettings],
            });
        }
        true
    }

    /// At the first start, and whenever the page is opened bare, a picture makes itself: at a low budget, and on the page's CPU in few
    /// steps. What a person does next takes over.
    pub(super) fn greet(&mut self) {
        if !std::mem::take(&mut self.greets) {
            return;
        }
        self.state.greeted = true;
        let (Some(model), Some(recipe)) = (&self.state.model, &mut self.state.recipe) else { return };
        if let Subject::Prompt(prompt) = &mut recipe.subject
            && prompt.trim().is_empty()
        {
            *prompt = compose::sample(model).to_owned();
        }
        let mut steps = recipe.draw.steps;
        if cfg!(target_arch = "wasm32") && self.device.tier == "cpu" {
            steps = steps.min(CPU_STEPS);
        }
        recipe.draw = recipe.draw.with_steps(steps);
        recipe.refresh = Refresh::Uniform(steps.div_ceil(8));
        self.generate();
        self.state.greeting = self.state.shown;
    }

    /// Starts what waits, when nothing is under way.
    pub(super) fn next_of_queue(&mut self, context: &Context) {
        let is_busy = self.state.open_run().is_some() || self.state.comparison.waiting().is_some();
        let present = self.state.model.as_ref().map(|model| model.source.clone());
        if is_busy || self.state.queue.waiting().is_empty() || present.is_none() {
            return;
        }
        let model = self.state.queue.waiting()[0].recipe.model.clone();
        if present.as_ref() != Some(&model) {
            // Its turn comes when its model is open.
            if self.opening.as_ref() != Some(&model) {
                self.opening = Some(model.clone());
                self.open(&model, context);
            }
            return;
        }
        self.opening = None;
        let Some(next) = self.state.queue.take_next() else { return };
        let id = self.run(next.recipe.clone(), next.expected.clone());
        self.state.queue.began(id, next);
        context.request_repaint();
    }

    /// Starts the storyboard's next panel, when nothing else is under way or waits.
    fn next_of_board(&mut self, context: &Context) {
        let state = &mut self.state;
        let is_busy = state.open_run().is_some()
            || state.comparison.waiting().is_some()
            || state.blind.making.is_some()
            || !state.queue.waiting().is_empty();
        if is_busy {
            return;
        }
        let Some((at, recipe)) = state.board.waiting() else { return };
        if state.model.as_ref().is_none_or(|model| model.source != recipe.model) {
            // Another model was opened: the panels that are there stay.
            state.board.stop();
            return;
        }
        let id = self.run(recipe.clone(), None);
        self.state.board.began(at, id, recipe);
        context.request_repaint();
    }

    /// What an event means for the sweep: a picture to be judged, a verdict, or a picture to be made again.
    fn take_sweep(&mut self, event: &Event) {
        let sweep = &mut self.state.sweep;
        match event {
            Event::Finished { id, codes, pictures, step_ms, .. } if sweep.has(*id) => {
                let ms = step_ms.iter().sum();
                if let Some(picture) = pictures.first()
                    && let Some(recipe) = sweep.finished(*id, codes, picture, ms)
                {
                    let (recipe, picture) = (Box::new(recipe), picture.clone());
                    self.actor.ask(Request::Judge { id: *id, recipe, codes: codes.clone(), picture });
                }
                // It stands in the sweep, not in the history.
                self.state.runs.retain(|run| run.id != *id);
            }
            Event::Judged { id, quality } => sweep.judged(*id, *quality),
            Event::Stopped { id, .. } => sweep.lost(*id),
            Event::Failed { .. } => sweep.stop(),
            _ => {}
        }
    }

    /// Starts the sweep's next picture, when nothing else is under way or waits.
    pub(super) fn next_of_sweep(&mut self, context: &Context) {
        let state = &self.state;
        let is_busy = state.open_run().is_some()
            || state.comparison.waiting().is_some()
            || state.blind.making.is_some()
            || !state.queue.waiting().is_empty()
            || state.board.is_active()
            // All pictures are measured alike.
            || self.judge != Judge::There;
        let present = state.model.as_ref().map(|model| &model.source);
        let Some((at, recipe)) = state.sweep.next().filter(|_| !is_busy) else { return };
        if Some(&recipe.model) != present {
            // Another model was opened: the points that are there stay.
            self.state.sweep.stop();
            return;
        }
        let id = self.state.add_hidden_run(recipe.clone());
        if let Some(run) = self.state.run_mut(id) {
            run.draft = true;
        }
        self.state.sweep.began(at, id);
        self.actor.ask(Request::Run { id, recipe: Box::new(recipe), trace: false, from: None });
        context.request_repaint();
    }

    /// Has pictures follow the controls, where that is asked for: a quick one at once, and the full settings when nothing changes.
    pub(super) fn follow_controls(&mut self, context: &Context) {
        if self.state.editing.is_some() {
            // Runs of an edit begin with a stroke, or by hand.
            return;
        }
        let Some(recipe) = self.state.recipe.clone() else { return };
        let is_open = self.state.model.as_ref().is_some_and(|model| model.source == recipe.model);
        if !self.state.live || !is_open {
            // What was changed before counts as settled when it begins.
            self.follow.settled(&recipe);
            return;
        }
        let now = context.input(|input| input.time);
        let step = self.follow.look(&recipe, now);
        match step {
            Follow::Wait(seconds) => {
                context.request_repaint_after(std::time::Duration::from_secs_f64(seconds));
            }
            Follow::Draft => {
                let quick = follow::quick(&recipe);
                let id = self.state.add_run(quick.clone());
                if let Some(run) = self.state.run_mut(id) {
                    run.draft = true;
                }
                self.state.forget_drafts();
                self.actor.ask(Request::Run { id, recipe: Box::new(quick), trace: false, from: None });
                context.request_repaint();
            }
            Follow::Refine => {
                self.run(recipe, None);
                context.request_repaint();
            }
            Follow::Rest => {}
        }
    }

    /// Starts the next method of a comparison when nothing is under way.
    pub(super) fn next_method(&mut self, context: &Context) {
        if self.state.open_run().is_some() {
            return;
        }
        let Some(at) = self.state.comparison.waiting() else { return };
        let recipe = self.state.comparison.columns[at].0.recipe.clone();
        let shown = self.state.shown;
        let id = self.state.add_run(recipe.clone());
        self.state.comparison.columns[at].1 = Some(id);
        self.state.shown = shown.filter(|_| at > 0).or(Some(id));
        self.actor.ask(Request::Run { id, recipe: Box::new(recipe), trace: true, from: None });
        context.request_repaint();
    }

    /// Begins the blind test's next pair, with a seed that nobody has seen.
    pub(super) fn make_pair(&mut self, context: &Context) {
        let Some(recipe) = &self.state.recipe else { return };
        let full = recipe.full_steps() == Some(recipe.draw.steps as usize);
        let refresh =
            if full { Refresh::Uniform(recipe.draw.steps.div_ceil(4)) } else { recipe.refresh.clone() };
        let seed = random_seed(context).wrapping_add(self.state.blind.judged.len() as u64);
        let recipe = Recipe { seed, refresh, ..recipe.clone() };
        self.state.blind.make(&recipe);
    }

    /// Starts the next run of a blind pair when nothing is under way.
    pub(super) fn next_of_pair(&mut self, context: &Context) {
        if self.state.open_run().is_some() {
            return;
        }
        let Some(recipe) = self.state.blind.waiting().map(|(recipe, _)| recipe.clone()) else { return };
        let id = self.state.add_hidden_run(recipe.clone());
        if let Some((_, run)) = self.state.blind.waiting() {
            *run = Some(id);
        }
        self.actor.ask(Request::Run { id, recipe: Box::new(recipe), trace: false, from: None });
        context.request_repaint();
    }

    /// Has pictures of earlier starts made again, one run after the other, while nothing else is under way.
    pub(super) fn ask_for_pictures(&mut self) {
        if self.pictures_asked_for.is_some() || self.state.open_run().is_some() {
            return;
        }
        if let Some(run) = self.state.without_pictures() {
            let (id, recipe, codes) = (run.id, Box::new(run.recipe.clone()), run.codes.clone());
            self.pictures_asked_for = Some(id);
            self.actor.ask(Request::Show { id, step: None, recipe, codes });
        }
    }

    /// Asks what the token that was clicked might have become, once for each step.
    pub(super) fn ask_for_token(&mut self) {
        let step = self.state.step();
        let Some(spot) = self.state.spot.as_mut() else { return };
        // The card follows the steps.
        spot.step = step.unwrap_or(spot.step);
        let spot = *spot;
        if Some(spot.run) != self.state.shown {
            self.state.spot = None;
            return;
        }
        if self.looked_at == Some(spot) {
            return;
        }
        let Some(run) = self.state.run(spot.run).filter(|run| !run.is_open()) else { return };
        let recipe = Box::new(run.recipe.clone());
        self.looked_at = Some(spot);
        self.actor.ask(Request::Look { spot, recipe });
    }

    /// Asks for the picture of the step that was scrubbed to, unless it is at hand.
    pub(super) fn ask_for_step(&self) {
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

    /// Runs what a picture was made from, to see whether the tokens come again; its model is opened first if it is another.
    pub(super) fn make_again(&mut self, brought: keep::Brought, context: &Context) {
        let Some(model) = self.state.source_of(&brought.recipe.model) else {
            self.state.failure = Some(Failure::unknown_model(&brought.recipe.model));
            return;
        };
        let recipe = Recipe { model, ..brought.recipe };
        self.take_recipe(recipe.clone(), context);
        self.state.queue.first(Waiting { recipe, expected: brought.proof });
    }

    /// Sets the controls, and opens the model that they are for if it is another.
    pub(super) fn take_recipe(&mut self, recipe: Recipe, context: &Context) {
        let Some(model) = self.state.source_of(&recipe.model) else {
            self.state.failure = Some(Failure::unknown_model(&recipe.model));
            return;
        };
        if self.state.model.as_ref().is_none_or(|present| present.source != model) {
            self.open(&model, context);
        }
        // How a branch began, or an edit, is nothing that the controls could show.
        self.state.recipe = Some(Recipe { model, begun: Vec::new(), canvas: None, ..recipe });
    }

    pub(super) fn drops(&mut self, context: &Context) {
        for found in self.inbox.arrived(context) {
            match found {
                keep::Arrived::Model(source) => self.open(&source, context),
                keep::Arrived::Files(files) => {
                    self.actor.ask(Request::OpenFiles { name: "dropped files".to_owned(), files });
                }
                keep::Arrived::Picture(brought) => self.state.brought = Some(*brought),
                keep::Arrived::Lines { name, text } => self.take_lines(&name, &text),
                keep::Arrived::ToEdit(picture) => self.actor.ask(Request::Encode(picture)),
                keep::Arrived::Failed(failure) => self.state.failure = Some(failure),
            }
        }
    }

    /// The lines of a file as panels of the storyboard.
    fn take_lines(&mut self, name: &str, text: &str) {
        // Words are the board's, whichever model is open: what they are to it is seen when they are made.
        let found = panels_of::parse(text, false, false, [0, 0]);
        let room = board::MOST - self.state.board.panels().len();
        let refused = match found {
            Ok(lines) if lines.len() > room => Some(format!(
                "{name} has {} lines; a board has room for {}, and {room} are free",
                lines.len(),
                board::MOST
            )),
            Ok(lines) => {
                lines.iter().for_each(|line| self.state.board.add(line.subject.title()));
                self.state.tab = Tab::Board;
                None
            }
            Err(reason) => Some(format!("{name}: {reason}")),
        };
        if let Some(reason) = refused {
            self.state.failure = Some(Failure {
                title: "These lines cannot be put on the board".to_owned(),
                reason: format!("{reason}. `migm generate --prompts` takes files of any length"),
                remedies: vec![Remedy::ChangeSettings],
            });
        }
    }
}
