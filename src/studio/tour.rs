//! The tour: seven stops, from what a masked token is to a blind test. Each moves the window to a real state and asks for one
//! change; nothing is a picture of the program.

use super::command::Command;
use super::run::{Progress, Run};
use super::state::{State, Tab};
use crate::generate::session::StepKind;
use eframe::egui::Rect;

/// The most words that a stop says.
#[cfg(test)]
const WORDS: usize = 40;

/// Where in the window a stop looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The picture.
    Canvas,
    /// The steps.
    Timeline,
    /// The large slider.
    Budget,
    /// The pages at the right.
    Side,
}

/// Where a part of the window was drawn.
#[derive(Clone, Copy, Debug)]
pub struct Placed {
    /// The part.
    pub place: Place,
    /// All of it.
    pub rect: Rect,
    /// What of the window it can be seen in.
    pub clip: Rect,
}

/// A stop.
#[derive(Clone, Copy, Debug)]
pub struct Stop {
    /// What it is about.
    pub title: &'static str,
    /// What is to be seen.
    pub text: &'static str,
    /// What to change.
    pub task: &'static str,
    /// Where.
    pub place: Place,
}

/// All, in order.
pub const STOPS: [Stop; 7] = [
    Stop {
        title: "Masked tokens",
        text: "A picture begins as a grid of masked tokens, the hatched cells. What shows through is the model's guess so far. Each step decides some of them for good.",
        task: "Drag along the steps below the picture.",
        place: Place::Canvas,
    },
    Stop {
        title: "A full step",
        text: "Solid bars are full steps: every token goes through every layer of the transformer. Their height is the time that they took: nearly all of a run.",
        task: "Point at a bar, and go to another full step.",
        place: Place::Timeline,
    },
    Stop {
        title: "Neighbours are alike",
        text: "The map compares the last features of every two steps. Along the diagonal they hardly differ: from one step to the next little is new, and it moves smoothly.",
        task: "Point at the map, then go to another step.",
        place: Place::Side,
    },
    Stop {
        title: "New tokens steer",
        text: "What does change follows from the tokens that a step has just revealed, framed here. A small network sees them and the last features, and predicts the move.",
        task: "Go on by a step and watch the frames.",
        place: Place::Canvas,
    },
    Stop {
        title: "A predicted step",
        text: "Outlined bars are predicted: the small network stands in for the transformer, at a tenth of the time. Errors add up, so now and then a full step comes.",
        task: "Click a circle below the steps to make one full.",
        place: Place::Timeline,
    },
    Stop {
        title: "The refresh budget",
        text: "How many steps run in full is yours to say. Few are fast; with too few, parts of a picture stop agreeing with each other. The picture follows the slider.",
        task: "Move the slider to 1, then up.",
        place: Place::Budget,
    },
    Stop {
        title: "Your own blind test",
        text: "One of two pictures of one seed ran every step in full, the other did not, and nothing says which. Your verdicts are counted with an interval.",
        task: "Say which is better, or that you cannot tell.",
        place: Place::Side,
    },
];

/// What a person can change, as it was when a stop began.
#[derive(Clone, Debug)]
struct Before {
    step: Option<usize>,
    full: Vec<u32>,
    judged: usize,
}

impl Before {
    fn of(state: &State) -> Self {
        Self { step: state.step(), full: state.full_list(), judged: state.blind.judged.len() }
    }

    /// Whether what a stop asks for was done since.
    fn is_done(&self, at: usize, state: &State) -> bool {
        match at {
            4 | 5 => self.full != state.full_list(),
            6 => self.judged < state.blind.judged.len(),
            _ => self.step != state.step(),
        }
    }
}

/// Where a person is.
#[derive(Clone, Debug, Default)]
pub struct Tour {
    /// The stop that is shown.
    pub at: Option<usize>,
    /// The stop to go on at.
    pub reached: usize,
    /// Whether the stop's change was made.
    pub done: bool,
    before: Option<Before>,
    /// Whether a run was asked for, so that there is something to show.
    asked: bool,
    /// Whether pictures followed the controls before the tour saw to it.
    was_live: Option<bool>,
    scrolled: bool,
}

/// A run that shows all that the tour speaks of.
fn is_telling(run: &Run) -> bool {
    let has = |kind| run.plan.iter().any(|note| note.kind == kind);
    run.progress == Progress::Finished
        && run.steps.iter().any(|done| done.features.is_some())
        && has(StepKind::Full)
        && has(StepKind::Predicted)
}

impl Tour {
    /// That was left at a stop.
    pub fn resumed(reached: usize) -> Self {
        Self { reached: reached.min(STOPS.len() - 1), ..Self::default() }
    }

    /// Whether the window shows what the stop is about, and waits for the change.
    pub fn has_begun(&self) -> bool {
        self.before.is_some()
    }

    /// What has to be scrolled to where not all is in sight: once a stop, when there is something to show.
    pub fn to_scroll(&mut self, is_ready: bool) -> Option<Place> {
        let place = self.stop()?.place;
        let wanted = self.before.is_some() && is_ready && !self.scrolled && place != Place::Budget;
        self.scrolled |= wanted;
        wanted.then_some(place)
    }

    /// The stop that is shown.
    pub fn stop(&self) -> Option<&'static Stop> {
        STOPS.get(self.at?)
    }
}

/// To a stop; beyond the last the tour ends, to begin anew.
pub fn go(state: &mut State, to: usize) {
    restore(state);
    let at = (to < STOPS.len()).then_some(to);
    state.tour = Tour { at, reached: at.unwrap_or(0), ..Tour::default() };
}

/// Ends it, to be gone on with where it was.
pub fn leave(state: &mut State) {
    restore(state);
    state.tour = Tour::resumed(state.tour.reached);
}

fn restore(state: &mut State) {
    if let Some(live) = state.tour.was_live.take() {
        state.live = live;
    }
}

/// Moves the window to what the present stop is about, once there is something to show, and sees whether its change was made.
pub fn follow(state: &mut State) {
    let Some(at) = state.tour.at else { return };
    if let Some(before) = &state.tour.before {
        state.tour.done |= before.is_done(at, state);
        return;
    }
    if at < 5 && !state.shown_run().is_some_and(is_telling) {
        prepare(state);
        return;
    }
    enter(state, at);
    state.tour.before = Some(Before::of(state));
}

/// Sees to it that a run is shown which has something to show: an earlier one, or a new one.
fn prepare(state: &mut State) {
    if state.open_run().is_some() {
        return;
    }
    let source = state.model.as_ref().map(|model| model.source.clone());
    let known =
        state.runs.iter().rev().find(|run| is_telling(run) && Some(&run.recipe.model) == source.as_ref());
    if let Some(id) = known.map(|run| run.id) {
        (state.shown, state.scrubbed) = (Some(id), None);
        return;
    }
    if state.tour.asked || !state.allows(Command::Generate) {
        return;
    }
    // One that predicts, whatever the controls say.
    let steps = state.recipe.as_ref().map_or(1, |recipe| recipe.draw.steps);
    if let Some(recipe) = &mut state.recipe
        && recipe.full_steps().is_none_or(|full| full == steps as usize || full < 2)
    {
        recipe.refresh = crate::generate::refresh::Refresh::Uniform(steps.div_ceil(8).max(2).min(steps));
    }
    state.tour.asked = true;
    state.wanted.push(Command::Generate);
}

/// The state that a stop shows.
fn enter(state: &mut State, at: usize) {
    let kinds: Vec<StepKind> =
        state.shown_run().map_or(Vec::new(), |run| run.plan.iter().map(|note| note.kind).collect());
    let from = |start: usize, kind: StepKind| (start..kinds.len()).find(|&step| kinds[step] == kind);
    let part = |share: usize| kinds.len() * share / 8;
    match at {
        0 => {
            state.overlays.masked = true;
            state.scrubbed = Some(part(3));
        }
        1 => state.scrubbed = from(1, StepKind::Full).or(Some(0)),
        2 => {
            state.tab = Tab::Why;
            state.scrubbed = Some(part(4));
        }
        3 => {
            (state.overlays.new, state.overlays.masked) = (true, true);
            state.scrubbed = from(part(4), StepKind::Predicted).or(Some(part(4)));
        }
        4 => state.scrubbed = from(part(2), StepKind::Predicted).or(Some(part(2))),
        5 => {
            state.scrubbed = None;
            state.tour.was_live = Some(std::mem::replace(&mut state.live, true));
        }
        _ => {
            (state.scrubbed, state.tab) = (None, Tab::Blind);
            if state.blind.pair.is_none() {
                state.wanted.push(Command::NextPair);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::Kept;
    use super::*;

    #[test]
    fn stops_are_short_and_say_what_to_do() {
        for stop in STOPS {
            let words = stop.text.split_whitespace().count() + stop.task.split_whitespace().count();
            assert!(words <= WORDS, "{}: {words} words", stop.title);
            assert!(stop.text.ends_with('.') && stop.task.ends_with('.'), "{}", stop.title);
        }
    }

    #[test]
    fn a_tour_is_left_and_gone_on_with() {
        let mut state = State::new(Kept::default());
        go(&mut state, 0);
        assert_eq!(state.tour.stop().unwrap().title, STOPS[0].title);
        go(&mut state, 3);
        leave(&mut state);
        assert_eq!((state.tour.at, state.tour.reached), (None, 3));
        go(&mut state, STOPS.len());
        assert_eq!((state.tour.at, state.tour.reached), (None, 0), "after the last it begins anew");
        assert_eq!(Tour::resumed(99).reached, STOPS.len() - 1);
    }
}
