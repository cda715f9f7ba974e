//! The app: takes in what the actor sends, shows the panels, and turns commands into requests.

mod commands;
mod events;
mod layout;

use crate::generate::panels as panels_of;
use crate::generate::proof::{Found, Proof};
use crate::generate::recipe::{Recipe, Subject};
use crate::generate::refresh::Refresh;
use crate::generate::session::StepKind;
use crate::studio::actor::{Actor, Event, Request, RunId};
use crate::studio::command::{Command, Menu};
use crate::studio::compare::{Comparison, Method, methods};
use crate::studio::editing::Editing;
use crate::studio::failure::{Failure, Remedy};
use crate::studio::fetch::{Fetch, Progress};
use crate::studio::follow::{self, Follow, Follower};
use crate::studio::frames::Frames;
use crate::studio::looking::Spot;
use crate::studio::panels::canvas::View;
use crate::studio::panels::status::DeviceNote;
use crate::studio::panels::{
    self, brought, canvas, compose, failure, hover, palette, side, status, timeline,
};
use crate::studio::queue::Waiting;
use crate::studio::state::{Kept, State, Tab};
use crate::studio::textures::Textures;
use crate::studio::tour::{Place, Placed};
use crate::studio::{board, branch, keep, link, sweep, theme, tour};
use eframe::egui::{self, CentralPanel, Context, Panel, ScrollArea, Ui};

/// The key of what is kept between starts.
const KEPT: &str = "studio";
/// How much closer a press of a key goes.
const ZOOM: f32 = 1.25;
/// The most steps of the picture that makes itself where a page computes on the CPU.
const CPU_STEPS: u32 = 16;
/// Below this width, in points, panels stand one below the other.
const NARROW: f32 = 720.0;
/// Below which the panels beside the canvas leave it no less width, if they can.
const CANVAS: f32 = 320.0;
/// How wide the side is at first.
const SIDE: f32 = 340.0;

/// The clock is as good a die as any: a person cannot aim at a microsecond.
fn random_seed(context: &Context) -> u64 {
    (context.input(|input| input.time) * 1e6) as u64 % 1_000_000
}

/// How far the judge is, which no one needs before the first sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judge {
    Absent,
    Asked,
    There,
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
    /// What was seen of the controls, for pictures that follow them.
    follow: Follower,
    /// The model that the next run of the queue waits for.
    opening: Option<String>,
    /// The token that was asked about last.
    looked_at: Option<Spot>,
    /// Whether a picture makes itself when the model is open.
    greets: bool,
    /// Whether pictures can be judged.
    judge: Judge,
    /// How long frames took.
    pub frames: Frames,
    /// Whether what is drawn on is cleared to the panels' colour: then they need not be filled once more, which is felt where frames
    /// are drawn in software.
    pub is_cleared: bool,
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
        let greets = query.is_empty() && (!kept.greeted || cfg!(target_arch = "wasm32"));
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
            follow: Follower::default(),
            opening: None,
            looked_at: None,
            greets,
            judge: Judge::Absent,
            frames: Frames::default(),
            is_cleared: false,
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
                    "full": run.kind(StepKind::Full).0,
                    "codes": run.codes,
                    "revealed_at": revealed,
                    "milliseconds": run.step_ms,
                    "tokens": run.proof.as_ref().map(Proof::to_string),
                    "same": run.verified().map(|found| found == Found::Same),
                    "command": run.recipe.metadata(keep::name_of(&run.recipe.model), &[run.recipe.seed])["command"],
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
            "tour": state.tour.at,
            "queue": state.queue.waiting().len(),
            "sweep": state.sweep.progress(),
            "board": state.on_board().map(|run| run.codes.clone()).collect::<Vec<_>>(),
            "greeting": state.greeting.is_some(),
            "editing": state.editing.as_ref().map(|editing| serde_json::json!({
                "painted": editing.region().cells(),
                "codes": editing.codes(),
                "running": editing.run().is_some(),
                "picture": state.picture_at,
            })),
            "slowest_frame_ms": self.frames.slowest(),
            "failure": state.failure.as_ref().map(|failure| format!("{}: {}", failure.title, failure.reason)),
        })
    }

    /// Takes in a file that came another way than by being dropped: the page's clipboard.
    pub fn bring(&self, name: &str, bytes: Vec<u8>) {
        self.inbox.bring(name, bytes);
    }

    /// Whether nothing is under way and all that is shown is there, for tests that photograph it.
    pub fn is_settled(&self) -> bool {
        let state = &self.state;
        let has_step = match (state.shown_run(), state.scrubbed) {
            (Some(run), Some(step)) => self.textures.has(run.id, step),
            _ => true,
        };
        let makes_pairs = state.blind.making.is_some();
        state.model.is_some()
            && state.open_run().is_none()
            && has_step
            && !makes_pairs
            && !state.board.is_active()
            && state.without_pictures().is_none()
    }

    fn open(&self, source: &str, context: &Context) {
        self.fetch.open(source, &self.actor.requests(), context);
    }
}

impl eframe::App for Studio {
    fn logic(&mut self, context: &Context, _frame: &mut eframe::Frame) {
        self.frames.begin();
        self.take_events(context);
        self.drops(context);
        self.keys(context);
        tour::follow(&mut self.state);
        self.follow_controls(context);
        // A press of anything: from here on a person leads.
        if context.input(|input| input.pointer.any_pressed() || !input.keys_down.is_empty()) {
            self.state.greeting = None;
        }
    }

    fn clear_color(&self, visuals: &egui::Visuals) -> [f32; 4] {
        visuals.panel_fill.to_normalized_gamma_f32()
    }

    fn ui(&mut self, ui: &mut Ui, frame: &mut eframe::Frame) {
        if self.is_cleared {
            ui.visuals_mut().panel_fill = egui::Color32::TRANSPARENT;
        }
        self.panels(ui);
        panels::tour::frame(ui, &self.state);
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
