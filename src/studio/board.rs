//! A storyboard: panels that share the controls' seed and settings, each with what it is to show. They are made in turn, as runs like
//! any other, so that each can be looked into and found again.

use super::actor::RunId;
use super::run::{Progress, Run};
use crate::generate::recipe::{Recipe, Subject};
use serde::{Deserialize, Serialize};

/// Panels of a board: fewer than runs are kept, since a panel's picture is its run's.
pub const MOST: usize = 24;

/// A panel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Panel {
    /// What it is to show: a prompt, or a class.
    pub text: String,
    /// What its picture was asked for with.
    asked: Option<Recipe>,
    #[serde(skip)]
    run: Option<RunId>,
}

impl Panel {
    /// Of words, without a picture.
    pub fn new(text: &str) -> Self {
        Self { text: text.to_owned(), ..Self::default() }
    }

    /// The run that made its picture, or does.
    pub fn run(&self) -> Option<RunId> {
        self.run
    }

    /// Whether it has been asked for with these controls and these words.
    pub fn is_of(&self, controls: &Recipe) -> bool {
        self.run.is_some() && self.asked == Some(recipe(controls, &self.text))
    }
}

/// What a panel is made from: the controls' settings and seed, and its own words.
fn recipe(controls: &Recipe, text: &str) -> Recipe {
    let text = text.trim().to_owned();
    let subject = match controls.subject {
        Subject::Prompt(_) => Subject::Prompt(text),
        Subject::Class(_) => Subject::Class(text),
    };
    Recipe { subject, images: 1, begun: Vec::new(), canvas: None, ..controls.clone() }
}

/// Panels in their order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Board {
    panels: Vec<Panel>,
    /// What the panels that are still to be made are made with.
    #[serde(skip)]
    wanted: Option<Recipe>,
}

impl Board {
    /// The panels.
    pub fn panels(&self) -> &[Panel] {
        &self.panels
    }

    /// Their words, to be changed.
    pub fn texts(&mut self) -> impl Iterator<Item = &mut String> {
        self.panels.iter_mut().map(|panel| &mut panel.text)
    }

    /// Whether there is room for another.
    pub fn has_room(&self) -> bool {
        self.panels.len() < MOST
    }

    /// Adds one at the end, as long as there is room.
    pub fn add(&mut self, text: &str) {
        if self.has_room() {
            self.panels.push(Panel::new(text));
        }
    }

    /// Takes one out.
    pub fn remove(&mut self, at: usize) {
        if at < self.panels.len() {
            self.panels.remove(at);
        }
    }

    /// Moves one before the one that it follows.
    pub fn up(&mut self, at: usize) {
        if (1..self.panels.len()).contains(&at) {
            self.panels.swap(at, at - 1);
        }
    }

    /// Moves one behind the one that follows it.
    pub fn down(&mut self, at: usize) {
        self.up(at + 1);
    }

    /// Finds the runs of an earlier start again.
    pub fn restore(&mut self, runs: &[Run]) {
        for panel in &mut self.panels {
            panel.run = panel.asked.as_ref().and_then(|asked| made(runs, asked));
        }
    }

    /// Whether a run's picture stands on it.
    pub fn has(&self, id: RunId) -> bool {
        self.panels.iter().any(|panel| panel.run == Some(id))
    }

    /// Has all panels that have words, and no picture of them with these controls, made. What a run has made already is taken.
    pub fn begin(&mut self, controls: &Recipe, runs: &[Run]) {
        for panel in &mut self.panels {
            let wanted = recipe(controls, &panel.text);
            let is_there = |id| runs.iter().any(|run| run.id == id && run.progress == Progress::Finished);
            if panel.asked.as_ref() == Some(&wanted) && panel.run.is_some_and(is_there) {
                continue;
            }
            panel.run = made(runs, &wanted);
            panel.asked = panel.run.map(|_| wanted);
        }
        self.wanted = Some(controls.clone());
    }

    /// Makes no more; what is there stays.
    pub fn stop(&mut self) {
        self.wanted = None;
    }

    /// Whether panels are still to be made, or are being made.
    pub fn is_active(&self) -> bool {
        self.wanted.is_some()
    }

    /// The next panel to be made, and what from; `None`, for good, where none is left.
    pub fn waiting(&mut self) -> Option<(usize, Recipe)> {
        let wanted = self.wanted.as_ref()?;
        let at = self.panels.iter().position(|panel| panel.run.is_none() && !panel.text.trim().is_empty());
        let found = at.map(|at| (at, recipe(wanted, &self.panels[at].text)));
        if found.is_none() {
            self.wanted = None;
        }
        found
    }

    /// A run of [`Board::waiting`] was asked for.
    pub fn began(&mut self, at: usize, id: RunId, recipe: Recipe) {
        if let Some(panel) = self.panels.get_mut(at) {
            (panel.run, panel.asked) = (Some(id), Some(recipe));
        }
    }

    /// A run that another overtook: its panel waits again.
    pub fn lost(&mut self, id: RunId) {
        for panel in self.panels.iter_mut().filter(|panel| panel.run == Some(id)) {
            (panel.run, panel.asked) = (None, None);
        }
    }

    /// A run that failed: if it was one of the board's, no more are begun.
    pub fn failed(&mut self, id: RunId) {
        if self.has(id) {
            self.lost(id);
            self.stop();
        }
    }
}

/// The newest finished run of a recipe. Of runs that decided as they went on it is not known what was asked of them.
fn made(runs: &[Run], wanted: &Recipe) -> Option<RunId> {
    let is_it = |run: &&Run| {
        run.progress == Progress::Finished && !run.draft && run.branch.is_none() && run.recipe == *wanted
    };
    runs.iter().rev().find(is_it).filter(|_| !wanted.settings().decides()).map(|run| run.id)
}
