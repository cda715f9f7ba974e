//! The storyboard: panels that are written, made, moved, changed and found again.

use crate::explain::{everywhere, photograph};
use crate::window::{Window, linked, quiet, until};
use eframe::egui::Theme;
use egui_kittest::kittest::Queryable as _;
use migm::studio::app::Studio;
use migm::studio::command::Command;
use migm::studio::run::Progress;
use migm::studio::state::{State, Tab};

const STORY: &str = "w5 w7\n# a remark\n\nw1 w2\nw3\n";

fn ask(window: &mut Window, command: Command) {
    window.state_mut().state.wanted.push(command);
    window.step();
    window.step();
}

fn made(state: &State) -> Vec<String> {
    state.on_board().map(|run| run.recipe.subject.title().to_owned()).collect()
}

fn is_made(studio: &Studio, panels: usize) -> bool {
    let state = &studio.state;
    !state.board.is_active() && state.open_run().is_none() && state.on_board().count() == panels
}

fn told(window: &mut Window, name: &str) {
    let board = |window: &Window| window.state().state.allows(Command::Board);
    assert!(!board(window), "there is no panel");
    window.state().bring("story.txt", STORY.into());
    window.step();
    window.step();
    assert_eq!(window.state().state.tab, Tab::Board);
    assert!(board(window) && !window.state().state.allows(Command::SaveBoard));
    ask(window, Command::Board);
    until(window, "all panels are made", |studio| is_made(studio, 3));
    assert_eq!(made(&window.state().state), ["w5 w7", "w1 w2", "w3"]);
    let state = &window.state().state;
    let controls = state.recipe.clone().unwrap();
    for run in state.on_board() {
        assert_eq!((run.recipe.seed, run.recipe.draw, run.recipe.images), (controls.seed, controls.draw, 1));
    }
    assert!(state.board.panels().iter().all(|panel| panel.is_of(&controls)));
    assert!(state.allows(Command::SaveBoard) && state.allows(Command::SaveBoardSvg));
    photograph(window, &format!("board-{name}"));

    // Once more makes nothing; other words make one panel.
    let runs = window.state().state.runs.len();
    ask(window, Command::Board);
    until(window, "nothing is left", |studio| is_made(studio, 3));
    assert_eq!(window.state().state.runs.len(), runs);
    *window.state_mut().state.board.texts().nth(1).unwrap() = "w4".to_owned();
    assert!(!window.state().state.board.panels()[1].is_of(&controls));
    ask(window, Command::Board);
    until(window, "the panel is made anew", |studio| is_made(studio, 3));
    assert_eq!(window.state().state.runs.len(), runs + 1);
    // The old words are in the history still, and are taken from there.
    *window.state_mut().state.board.texts().nth(1).unwrap() = "w1 w2".to_owned();
    ask(window, Command::Board);
    until(window, "it is found", |studio| is_made(studio, 3));
    assert_eq!(
        (window.state().state.runs.len(), made(&window.state().state)[1].as_str()),
        (runs + 1, "w1 w2")
    );

    window.state_mut().state.board.up(2);
    window.state_mut().state.board.down(0);
    assert_eq!(made(&window.state().state), ["w3", "w5 w7", "w1 w2"]);
    window.state_mut().state.board.remove(1);
    assert_eq!(made(&window.state().state), ["w3", "w1 w2"]);
}

#[test]
fn a_story_is_written_made_and_changed() {
    everywhere(told);
}

#[test]
fn a_board_comes_back_at_the_next_start_and_stops_when_told() {
    let (_folder, source) = crate::explain::named();
    let size = [1100.0, 720.0];
    let mut window = linked(&source, quiet(), size, Theme::Dark, "");
    until(&mut window, "the model opens", |studio| studio.state.model.is_some());
    crate::explain::brief(&mut window);
    ask(&mut window, Command::AddPanel);
    window.state().bring("story.TXT", STORY.into());
    window.step();
    window.step();
    ask(&mut window, Command::Board);
    // A run that a person asks for goes first, and the board goes on.
    until(&mut window, "the board begins", |studio| studio.state.open_run().is_some());
    window.state_mut().state.recipe.as_mut().unwrap().seed += 1;
    ask(&mut window, Command::Generate);
    // Two of its panels ask for the same: one run makes both, or each its own.
    until(&mut window, "all is made", |studio| is_made(studio, 4));
    let kept = window.state().state.kept();
    let before: Vec<Vec<u32>> = window.state().state.on_board().map(|run| run.codes.clone()).collect();

    let mut again = linked(&source, kept, size, Theme::Dark, "");
    until(&mut again, "the pictures are made again", |studio| is_made(studio, 4));
    let after: Vec<Vec<u32>> = again.state().state.on_board().map(|run| run.codes.clone()).collect();
    assert_eq!(after, before);

    // Stopped, it begins no more, and what was made stays.
    again.state_mut().state.recipe.as_mut().unwrap().seed += 7;
    ask(&mut again, Command::Board);
    until(&mut again, "a panel is made", |studio| studio.state.on_board().count() > 0);
    ask(&mut again, Command::Stop);
    until(&mut again, "it stops", |studio| studio.state.open_run().is_none());
    assert!(!again.state().state.board.is_active());
    let finished = |run: &migm::studio::run::Run| run.progress == Progress::Finished;
    assert!(again.state().state.on_board().all(finished));

    // What is no story is refused with a sentence.
    again.state().bring("story.txt", vec![0xFF, 0xFE, 0x00]);
    again.step();
    again.step();
    assert!(again.state().state.failure.as_ref().unwrap().reason.contains("story.txt is not text"));
    again.state().bring("long.txt", "w1\n".repeat(40).into());
    again.step();
    again.step();
    let reason = again.state().state.failure.clone().unwrap().reason;
    assert!(reason.contains("40 lines") && reason.contains("--prompts"), "{reason}");
    again.get_by_label_contains("cannot be put on the board");
}
