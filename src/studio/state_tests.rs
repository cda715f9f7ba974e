//! What the window's state promises.

use super::*;
use crate::generate::sampling::Sampling;

fn info(source: &str, is_text: bool) -> ModelInfo {
    let class = Sampling { steps: 8, ..Sampling::MASKGIT_512 };
    let labels = if is_text { Vec::new() } else { vec!["cat".to_owned(), "fox".to_owned()] };
    ModelInfo {
        source: source.to_owned(),
        name: source.to_owned(),
        words: Vec::new(),
        labels,
        is_text,
        grid: [2, 2],
        codebook: 9,
        size: [8, 8],
        draw: if is_text { Sampling::DIMOO } else { class },
        has_shortcut: true,
        one_step: false,
        calibration: None,
        stored_half: true,
        stored_quantized: None,
    }
}

#[test]
fn the_model_that_a_picture_names_is_found_again() {
    let mut state = State { model: Some(info("/models/mine", true)), ..State::new(Kept::default()) };
    assert_eq!(state.source_of("mine").as_deref(), Some("/models/mine"));
    assert_eq!(state.source_of("/models/mine").as_deref(), Some("/models/mine"));
    assert_eq!(state.source_of("scenes-class").as_deref(), Some("scenes-class"));
    // A folder of that name where the program runs is not a model.
    for other in ["other", "src", ""] {
        assert_eq!(state.source_of(other), None, "{other:?}");
    }
    let recipe = info("/elsewhere/other", false).recipe(Subject::Class("fox".to_owned()));
    state.add_run(recipe);
    assert_eq!(state.source_of("other").as_deref(), Some("/elsewhere/other"));
    let folder = crate::generate::fixtures::FIXTURE;
    assert_eq!(state.source_of(folder).as_deref(), Some(folder));
}

#[test]
fn full_steps_are_edited_and_spread_again() {
    let mut state = State::new(Kept::default());
    state.take(Event::Opened(Box::new(info("a", false))));
    assert_eq!(state.full_list(), [0, 4]);
    state.toggle_full(5);
    state.toggle_full(0);
    assert_eq!(state.full_list(), [0, 4, 5]);
    state.toggle_full(4);
    assert_eq!(state.recipe.as_ref().unwrap().refresh, Refresh::List(vec![0, 5]));
    state.spread_evenly();
    assert_eq!(state.recipe.as_ref().unwrap().refresh, Refresh::Uniform(2));
}

#[test]
fn another_model_keeps_what_it_understands() {
    let mut state = State::new(Kept::default());
    state.take(Event::Opened(Box::new(info("a", false))));
    state.recipe.as_mut().unwrap().subject = Subject::Class("fox".to_owned());
    state.take(Event::Opened(Box::new(info("b", false))));
    assert_eq!(state.recipe.as_ref().unwrap().subject, Subject::Class("fox".to_owned()));
    state.take(Event::Opened(Box::new(info("c", true))));
    assert_eq!(state.recipe.as_ref().unwrap().subject, Subject::Prompt(String::new()));
}

#[test]
fn commands_wait_for_what_they_need() {
    let mut state = State::new(Kept::default());
    assert!(!state.allows(Command::Generate) && state.allows(Command::OpenModel));
    state.take(Event::Opened(Box::new(info("a", false))));
    assert!(state.allows(Command::Generate) && !state.allows(Command::SavePng));
    let id = state.add_run(state.recipe.clone().unwrap());
    assert!(state.allows(Command::Stop));
    state.take(Event::Stopped { id, steps: 0 });
    assert!(!state.allows(Command::Stop));
}
