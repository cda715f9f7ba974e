//! What the window shows and edits. Panels change it; [`super::app`] sends what follows from it to the actor.

use super::BUNDLED;
use super::actor::{Event, Preview, RunId};
use super::blind::{BlindTest, Judged};
use super::board::Board;
use super::branch;
use super::command::Command;
use super::compare::Comparison;
use super::editing::Editing;
use super::failure::Failure;
use super::keep::Brought;
use super::keep::name_of;
use super::looking::{Look, Spot};
use super::model::ModelInfo;
use super::queue::Queue;
use super::run::{KeptRun, Progress, Run};
use super::sweep::Sweep;
use super::tour::{Placed, Tour};
use super::why::Analysis;
use crate::generate::proof::Proof;
use crate::generate::recipe::{Recipe, Subject};
use crate::generate::refresh::Refresh;
use serde::{Deserialize, Serialize};

/// Runs kept in memory; the oldest give way.
const RUNS: usize = 64;

/// Pages at the right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tab {
    /// Methods side by side.
    #[default]
    Compare,
    /// How features move.
    Why,
    /// Pairs to judge.
    Blind,
    /// Panels of a story.
    Board,
    /// Earlier runs.
    History,
}

impl Tab {
    /// All, from left to right.
    pub const ALL: [Self; 5] = [Self::Compare, Self::Why, Self::Blind, Self::Board, Self::History];

    /// Its title.
    pub fn text(self) -> &'static str {
        match self {
            Self::Compare => "Compare",
            Self::Why => "Why it works",
            Self::Blind => "Blind test",
            Self::Board => "Board",
            Self::History => "History",
        }
    }
}

/// What is drawn over the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlays {
    /// Hatch what is masked.
    pub masked: bool,
    /// Frame what the step revealed.
    pub new: bool,
    /// Shade by the step that decided.
    pub confidence: bool,
    /// Shade by how far features moved in the step.
    #[serde(default)]
    pub moved: bool,
}

impl Default for Overlays {
    fn default() -> Self {
        Self { masked: true, new: true, confidence: false, moved: false }
    }
}

/// What is kept between starts.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    /// The controls.
    pub recipe: Option<Recipe>,
    /// Whether the seed stays from run to run.
    pub seed_locked: bool,
    /// Overlays.
    pub overlays: Overlays,
    /// The page at the right.
    pub tab: Tab,
    /// Finished runs, the newest last.
    pub history: Vec<KeptRun>,
    /// What was said in blind tests.
    pub judged: Vec<Judged>,
    /// The storyboard.
    pub board: Board,
    /// Whether a picture has already made itself at a start.
    pub greeted: bool,
    /// The stop of the tour to go on at.
    pub tour: usize,
    /// Whether pictures follow the controls while they are changed.
    pub live: bool,
}

/// Everything that the window shows.
#[derive(Debug)]
pub struct State {
    /// The model that is open.
    pub model: Option<ModelInfo>,
    /// The controls.
    pub recipe: Option<Recipe>,
    /// Whether the seed stays from run to run.
    pub seed_locked: bool,
    /// Runs of this start, the newest last.
    pub runs: Vec<Run>,
    /// The run on the canvas.
    pub shown: Option<RunId>,
    /// The step that was scrubbed to; the latest otherwise.
    pub scrubbed: Option<usize>,
    /// The latest preview.
    pub preview: Option<Preview>,
    /// What is drawn over the picture.
    pub overlays: Overlays,
    /// The page at the right.
    pub tab: Tab,
    /// Methods side by side.
    pub comparison: Comparison,
    /// Pairs to judge.
    pub blind: BlindTest,
    /// The storyboard.
    pub board: Board,
    /// What "Why it works" shows, and what it is of: a run, and how many that it is related to by branches.
    pub analysis: Option<((RunId, usize), Option<Analysis>)>,
    /// Bytes of a model that were fetched, and of how many, while it is fetched.
    pub fetching: Option<(u64, u64)>,
    /// Bytes of weights that the browser stores.
    pub stored: u64,
    /// Where the budget's slider was drawn last: left, top, width and height in points.
    pub budget_slider: [f32; 4],
    /// What went wrong last.
    pub failure: Option<Failure>,
    /// Words in the palette, while it is open.
    pub palette: Option<String>,
    /// What was asked of the window in this frame.
    pub wanted: Vec<Command>,
    /// The settings that were asked for in this frame, also those of another model.
    pub wanted_recipe: Option<Recipe>,
    /// The settings of a picture that came in, until it is said what to take of them.
    pub brought: Option<Brought>,
    /// Runs that wait for their turn.
    pub queue: Queue,
    /// Seeds and methods for one prompt, judged.
    pub sweep: Sweep,
    /// The token that was clicked.
    pub spot: Option<Spot>,
    /// What was found of a token that was clicked.
    pub look: Option<(Spot, Option<Look>)>,
    /// The picture that is edited.
    pub editing: Option<Editing>,
    /// Where it was drawn last: left, top, width and height in points.
    pub picture_at: [f32; 4],
    /// Where the tour is.
    pub tour: Tour,
    /// Whether pictures follow the controls while they are changed.
    pub live: bool,
    /// Whether a picture has already made itself at a start.
    pub greeted: bool,
    /// The run that made itself at this start, until a person does something.
    pub greeting: Option<RunId>,
    /// Where the parts of the window were drawn last, for the tour to point at.
    pub places: Vec<Placed>,
    next_run: u64,
}

impl State {
    /// As it was kept.
    pub fn new(kept: Kept) -> Self {
        let mut ids = (1..).map(RunId);
        let runs: Vec<Run> =
            kept.history.into_iter().zip(&mut ids).filter_map(|(run, id)| Run::restored(id, run)).collect();
        let mut board = kept.board;
        board.restore(&runs);
        Self {
            model: None,
            recipe: kept.recipe,
            seed_locked: kept.seed_locked,
            next_run: ids.next().map_or(1, |id| id.0),
            runs,
            shown: None,
            scrubbed: None,
            preview: None,
            overlays: kept.overlays,
            tab: kept.tab,
            comparison: Comparison::default(),
            failure: None,
            palette: None,
            wanted: Vec::new(),
            wanted_recipe: None,
            blind: BlindTest { judged: kept.judged, ..BlindTest::default() },
            board,
            analysis: None,
            fetching: None,
            stored: 0,
            budget_slider: [0.0; 4],
            brought: None,
            queue: Queue::default(),
            sweep: Sweep::default(),
            spot: None,
            look: None,
            editing: None,
            picture_at: [0.0; 4],
            tour: Tour::resumed(kept.tour),
            live: kept.live,
            greeted: kept.greeted,
            greeting: None,
            places: Vec::new(),
        }
    }

    /// What is to be kept.
    pub fn kept(&self) -> Kept {
        Kept {
            recipe: self.recipe.clone(),
            seed_locked: self.seed_locked,
            overlays: self.overlays,
            tab: self.tab,
            history: self.runs.iter().filter_map(Run::kept).collect(),
            judged: self.blind.judged.clone(),
            board: self.board.clone(),
            greeted: self.greeted,
            tour: self.tour.reached,
            live: self.live,
        }
    }

    /// What opens the model that a picture or a link names: the present one, a bundled one, one that an earlier run had, or a folder
    /// of that path.
    pub fn source_of(&self, name: &str) -> Option<String> {
        let present = self.model.iter().map(|model| model.source.as_str());
        let runs = self.runs.iter().rev().map(|run| run.recipe.model.as_str());
        let known = present.chain(BUNDLED).chain(runs);
        let known = known.filter(|source| *source == name || name_of(source) == name);
        let is_folder =
            || cfg!(not(target_arch = "wasm32")) && std::path::Path::new(name).join("config.json").is_file();
        known.map(str::to_owned).next().or_else(|| is_folder().then(|| name.to_owned()))
    }

    /// Adds a run of a recipe without showing it.
    pub fn add_hidden_run(&mut self, recipe: Recipe) -> RunId {
        let id = RunId(self.next_run);
        self.next_run += 1;
        self.runs.push(Run::new(id, recipe));
        if self.runs.len() > RUNS {
            // What stands on the board stays.
            let oldest = self.runs.iter().position(|run| !self.board.has(run.id));
            self.runs.remove(oldest.unwrap_or(0));
        }
        id
    }

    /// Adds a run that goes on from another behind a step of it, and shows it.
    pub fn add_branch(&mut self, recipe: Recipe, parent: RunId, step: usize) -> RunId {
        let id = self.add_run(recipe.clone());
        if let Some(branch) = self.run(parent).map(|parent| Run::branch(id, recipe, parent, step))
            && let Some(run) = self.run_mut(id)
        {
            *run = branch;
        }
        id
    }

    /// Adds a run of a recipe and shows it.
    pub fn add_run(&mut self, recipe: Recipe) -> RunId {
        let id = self.add_hidden_run(recipe);
        (self.shown, self.scrubbed, self.preview, self.failure) = (Some(id), None, None, None);
        id
    }

    /// A run by name, to be changed.
    pub fn run_mut(&mut self, id: RunId) -> Option<&mut Run> {
        self.runs.iter_mut().find(|run| run.id == id)
    }

    /// A run by name.
    pub fn run(&self, id: RunId) -> Option<&Run> {
        self.runs.iter().find(|run| run.id == id)
    }

    /// The run on the canvas.
    pub fn shown_run(&self) -> Option<&Run> {
        self.run(self.shown?)
    }

    /// The run that is waited for.
    pub fn open_run(&self) -> Option<&Run> {
        self.runs.iter().rev().find(|run| run.is_open())
    }

    /// The step on the canvas: the one scrubbed to, or the latest.
    pub fn step(&self) -> Option<usize> {
        let run = self.shown_run()?;
        self.scrubbed.or_else(|| run.steps.last().map(|done| done.step))
    }

    /// The analysis of the run shown, made once when it is finished.
    pub fn analyse(&mut self) -> Option<&Analysis> {
        let run = self.shown_run().filter(|run| run.progress == Progress::Finished)?;
        // Those that it branched from and into, as far as they are finished.
        let mut root = run;
        while let Some(parent) = root.branch.and_then(|(parent, _)| self.run(parent)) {
            root = parent;
        }
        let family = branch::tree(&self.runs, root).into_iter().filter_map(|(_, id)| self.run(id));
        let finished = |other: &&Run| other.id != run.id && other.progress == Progress::Finished;
        let relatives: Vec<&Run> = family.filter(finished).collect();
        let of = (run.id, relatives.len());
        if self.analysis.as_ref().is_none_or(|(known, _)| *known != of) {
            self.analysis = Some((of, Analysis::of(run, &relatives)));
        }
        self.analysis.as_ref()?.1.as_ref()
    }

    /// A finished run of the open model whose pictures are still to be made.
    pub fn without_pictures(&self) -> Option<&Run> {
        let source = &self.model.as_ref()?.source;
        self.runs.iter().rev().find(|run| {
            run.progress == Progress::Finished && run.pictures.is_empty() && run.recipe.model == *source
        })
    }

    /// Takes in what happened.
    pub fn take(&mut self, event: Event) {
        for run in &mut self.runs {
            run.take(&event);
        }
        match event {
            Event::Opened(info) => {
                // Settings of another model of the same kind stay, as far as they make sense.
                let fits = self.recipe.as_ref().is_some_and(|recipe| recipe.model == info.source);
                if !fits {
                    let subject = match (info.is_text, self.recipe.take().map(|recipe| recipe.subject)) {
                        (true, Some(subject @ Subject::Prompt(_))) => subject,
                        (true, _) => Subject::Prompt(String::new()),
                        (false, Some(Subject::Class(class))) if info.labels.contains(&class) => {
                            Subject::Class(class)
                        }
                        (false, _) => Subject::Class(info.labels.first().cloned().unwrap_or_default()),
                    };
                    self.recipe = Some(info.recipe(subject));
                }
                self.model = Some(*info);
                self.failure = None;
                // Its codes are of the model that was open.
                self.editing = None;
            }
            Event::Failed { failure, .. } => self.failure = Some(failure),
            Event::Looked { spot, look } => self.look = Some((spot, look)),
            _ => {}
        }
        let mut blind = std::mem::take(&mut self.blind);
        blind.ready(|id| match self.run(id)?.progress {
            Progress::Finished => Some(true),
            Progress::Waiting | Progress::Running => Some(false),
            Progress::Stopped => None,
        });
        self.blind = blind;
    }

    /// The finished runs of the storyboard's panels, in their order.
    pub fn on_board(&self) -> impl Iterator<Item = &Run> {
        let runs = self.board.panels().iter().filter_map(|panel| self.run(panel.run()?));
        runs.filter(|run| !run.pictures.is_empty())
    }

    /// The names of the methods being compared, and their runs.
    pub fn compared(&self) -> Vec<(&str, Option<&Run>)> {
        let columns = self.comparison.columns.iter();
        columns.map(|(method, id)| (method.name.as_str(), id.and_then(|id| self.run(id)))).collect()
    }

    /// Full steps of the recipe as a list of step numbers, for editing by hand.
    pub fn full_list(&self) -> Vec<u32> {
        let Some(recipe) = &self.recipe else { return Vec::new() };
        let steps = recipe.draw.steps;
        if let (Refresh::Optimal(budget), Some(model)) = (&recipe.refresh, &self.model) {
            let measured = model.calibration.as_ref();
            return measured
                .and_then(|known| known.plan(&recipe.settings(), *budget).ok())
                .unwrap_or_default();
        }
        let full = recipe.refresh.full_steps(steps as usize, steps).unwrap_or_default();
        (0..steps).filter(|step| full.get(*step as usize) == Some(&true)).collect()
    }

    /// What a link is of: the recipe, as the run that is shown decided it where it is of this recipe, and by what its tokens are
    /// known again.
    pub fn to_share(&self) -> Option<(&Recipe, Option<&Proof>)> {
        let recipe = self.recipe.as_ref()?;
        let shown = self.shown_run();
        // The controls do not say how a branch began, or an edit.
        let own = |run: &&Run| !run.recipe.begun.is_empty() || run.recipe.canvas.is_some();
        if let Some(branch) = shown.filter(own) {
            return Some((&branch.recipe, branch.proof.as_ref()));
        }
        let decided = shown.filter(|run| {
            let made = &run.recipe;
            let same = Recipe { refresh: recipe.refresh.clone(), ..made.clone() };
            recipe.settings().decides() && matches!(made.refresh, Refresh::Decided(_)) && same == *recipe
        });
        if let Some(run) = decided {
            return Some((&run.recipe, run.proof.as_ref()));
        }
        let same = shown.filter(|run| run.recipe == *recipe);
        Some((recipe, same.and_then(|run| run.proof.as_ref())))
    }

    /// Takes away runs that only followed what was being changed, but the one that is shown. What is still told of them is of no run.
    pub fn forget_drafts(&mut self) {
        let shown = self.shown;
        self.runs.retain(|run| !run.draft || Some(run.id) == shown);
    }

    /// Makes a step full, or not. The first always is.
    pub fn toggle_full(&mut self, step: u32) {
        let mut list = self.full_list();
        match list.iter().position(|&full| full == step) {
            Some(_) if step == 0 => return,
            Some(at) => drop(list.remove(at)),
            None => list.push(step),
        }
        list.sort_unstable();
        if let Some(recipe) = &mut self.recipe {
            let all = list.len() == recipe.draw.steps as usize;
            recipe.refresh = if all { Refresh::Every } else { Refresh::List(list) };
        }
    }

    /// As many full steps, evenly spread.
    pub fn spread_evenly(&mut self) {
        let budget = self.full_list().len() as u32;
        if let Some(recipe) = &mut self.recipe {
            let all = budget == recipe.draw.steps;
            recipe.refresh = if all { Refresh::Every } else { Refresh::Uniform(budget.max(1)) };
        }
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
