//! The whole window, through the real actor: a generation from a click to the picture, and what can go wrong on the way.

use crate::scene;
use eframe::egui::{self, Theme};
use egui_kittest::kittest::Queryable as _;
use egui_kittest::{Harness, SnapshotOptions, SnapshotResults};
use migm::eval::export;
use migm::generate::model::Device;
use migm::generate::recipe::Subject;
use migm::generate::refresh::Refresh;
use migm::kernels::Quantization;
use migm::studio::actor::{self, Actor, Wake};
use migm::studio::app::Studio;
use migm::studio::panels::status::DeviceNote;
use migm::studio::run::Progress;
use migm::studio::state::{Kept, Tab};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Far more than any of this takes.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) type Window = Harness<'static, Studio>;

pub(crate) fn window(model: &str, kept: Kept, size: [f32; 2]) -> Window {
    linked(model, kept, size, Theme::Dark, "")
}

/// The same in a theme, by a link.
pub(crate) fn linked(model: &str, kept: Kept, size: [f32; 2], theme: Theme, query: &str) -> Window {
    let (model, query) = (model.to_owned(), query.to_owned());
    let device = DeviceNote { name: "CPU".to_owned(), tier: "cpu".to_owned(), ..DeviceNote::default() };
    Harness::builder().with_size(size).with_theme(theme).with_max_steps(16).wgpu().build_eframe(
        move |creation| {
            let context = creation.egui_ctx.clone();
            let wake: Wake = Arc::new(move || context.request_repaint());
            Studio::new(&creation.egui_ctx, Actor::start(Device::Cpu, wake), device, kept, &model, &query)
        },
    )
}

/// Steps the window until something holds.
pub(crate) fn until(window: &mut Window, what: &str, holds: impl Fn(&Studio) -> bool) {
    let began = Instant::now();
    while !holds(window.state()) {
        assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(2));
        window.step();
    }
    window.step();
}

/// The tiny recording's weights, as a folder.
pub(crate) fn tiny() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/dimoo-tiny.safetensors");
    export::export(&recording, folder.path()).unwrap();
    folder
}

/// What is kept where no picture makes itself.
pub(crate) fn quiet() -> Kept {
    Kept { greeted: true, ..Kept::default() }
}

pub(crate) fn open(folder: &Path) -> Window {
    let mut window = window(&folder.display().to_string(), quiet(), [1100.0, 720.0]);
    until(&mut window, "the model opens", |studio| studio.state.model.is_some());
    window
}

pub(crate) fn newest(studio: &Studio) -> Option<Progress> {
    studio.state.runs.last().map(|run| run.progress)
}

#[test]
fn a_click_makes_a_picture_that_can_be_scrubbed_and_made_again() {
    let folder = tiny();
    let mut window = open(folder.path());
    let recipe = window.state_mut().state.recipe.as_mut().unwrap();
    recipe.subject = Subject::Prompt("w5 w7".to_owned());
    recipe.draw = recipe.draw.with_steps(6);
    recipe.refresh = Refresh::Uniform(2);
    window.state_mut().state.seed_locked = true;
    window.step();
    window.get_by_label_contains("Generate").click();
    until(&mut window, "the run finishes", |studio| newest(studio) == Some(Progress::Finished));
    let (first, plan) = {
        let run = window.state().state.runs.last().unwrap();
        assert_eq!((run.steps.len(), run.pictures.len()), (6, 1));
        assert!(run.step_ms.iter().all(|ms| *ms > 0.0));
        // The second full step could be held against what the predictor would have made.
        assert_eq!(run.steps.iter().filter(|done| done.missed.is_some()).count(), 1);
        (run.codes.clone(), run.plan.len())
    };
    assert_eq!(plan, 6);
    // Arrow keys go back; the step's picture is made from its tokens.
    window.key_press(egui::Key::ArrowLeft);
    until(&mut window, "the window goes back a step", |studio| studio.state.scrubbed == Some(4));
    // The keyboard edits the plan of the next run, and undoes it.
    window.key_press(egui::Key::F);
    until(&mut window, "the fifth step is full", |studio| studio.state.full_list() == [0, 3, 4]);
    window.key_press(egui::Key::F);
    until(&mut window, "it is not", |studio| studio.state.full_list() == [0, 3]);
    window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::U);
    until(&mut window, "steps are even", |studio| {
        studio.state.recipe.as_ref().unwrap().refresh == Refresh::Uniform(2)
    });
    // The same seed, the same tokens.
    window.get_by_label_contains("Generate").click();
    until(&mut window, "the second run finishes", |studio| {
        studio.state.runs.len() == 2 && newest(studio) == Some(Progress::Finished)
    });
    assert_eq!(window.state().state.runs[1].codes, first);
    window.state_mut().state.tab = Tab::Why;
    window.run_ok();
    assert!(window.state_mut().state.analyse().is_some_and(|analysis| analysis.steps.len() == 6));
}

#[test]
fn a_run_is_stopped_by_its_button_and_overtaken_by_the_next() {
    let folder = tiny();
    let mut window = open(folder.path());
    let recipe = window.state_mut().state.recipe.as_mut().unwrap();
    (recipe.images, recipe.refresh) = (9, Refresh::Every);
    window.step();
    window.get_by_label_contains("Generate").click();
    until(&mut window, "a step is done", |studio| {
        studio.state.runs.last().is_some_and(|run| !run.steps.is_empty())
    });
    window.key_press(egui::Key::Escape);
    until(&mut window, "the run stops", |studio| newest(studio) == Some(Progress::Stopped));
    let steps = window.state().state.runs[0].steps.len();
    assert!(steps < window.state().state.runs[0].steps_in_all(), "{steps} steps ran");
    // Twice in a row: the first gives way.
    for _ in 0..2 {
        window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::Enter);
        window.step();
    }
    until(&mut window, "the last run finishes", |studio| newest(studio) == Some(Progress::Finished));
    let progress: Vec<Progress> = window.state().state.runs.iter().map(|run| run.progress).collect();
    assert_eq!(progress, [Progress::Stopped, Progress::Stopped, Progress::Finished]);
}

#[test]
fn what_fails_is_shown_with_its_reason_and_a_way_on() {
    let folder = tiny();
    let mut window = open(folder.path());
    window.state_mut().state.recipe.as_mut().unwrap().refresh = Refresh::Uniform(10_000);
    window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::Enter);
    until(&mut window, "the run fails", |studio| studio.state.failure.is_some());
    window.get_by_label_contains("10000");
    window.get_by_label("Back to the settings").click();
    window.step();
    window.step();
    assert!(window.state().state.failure.is_none());
}

#[test]
fn methods_are_compared_one_after_the_other() {
    let folder = tiny();
    let mut window = open(folder.path());
    let recipe = window.state_mut().state.recipe.as_mut().unwrap();
    recipe.draw = recipe.draw.with_steps(6);
    recipe.refresh = Refresh::Uniform(2);
    window.key_press_modifiers(egui::Modifiers::COMMAND | egui::Modifiers::SHIFT, egui::Key::Enter);
    until(&mut window, "all methods finish", |studio| {
        let compared = studio.state.compared();
        compared.len() == 4
            && compared.iter().all(|(_, run)| run.is_some_and(|run| run.progress == Progress::Finished))
    });
    window.get_by_label("Differences").click();
    window.step();
    window.step();
    assert!(window.state().state.comparison.differences);
    // What was kept makes the history of the next start, pictures and all.
    let kept: Kept =
        serde_json::from_str(&serde_json::to_string(&window.state().state.kept()).unwrap()).unwrap();
    let pictures: Vec<_> = window.state().state.runs.iter().map(|run| run.pictures.clone()).collect();
    let mut again = self::window("", kept, [1100.0, 720.0]);
    until(&mut again, "pictures are made again", |studio| {
        studio.state.runs.len() == 4 && studio.state.runs.iter().all(|run| !run.pictures.is_empty())
    });
    let found: Vec<_> = again.state().state.runs.iter().map(|run| run.pictures.clone()).collect();
    assert_eq!(found, pictures);
}

#[test]
fn weights_are_quantised_where_that_is_asked_for() {
    let folder = tiny();
    let mut window = open(folder.path());
    let recipe = window.state_mut().state.recipe.as_mut().unwrap();
    recipe.draw = recipe.draw.with_steps(3);
    window.state_mut().state.seed_locked = true;
    window.get_by_label_contains("Generate").click();
    until(&mut window, "the run finishes", |studio| newest(studio) == Some(Progress::Finished));
    window.get_by_label("Advanced").click();
    window.run_ok();
    window.get_by_role_and_label(egui::accesskit::Role::ComboBox, "Weights").scroll_to_me();
    window.run_ok();
    window.get_by_role_and_label(egui::accesskit::Role::ComboBox, "Weights").click();
    window.run_ok();
    window.get_by_label("int8").click();
    window.run_ok();
    assert_eq!(window.state().state.recipe.as_ref().unwrap().quantize, Some(Quantization::Int8));
    window.get_by_label_contains("Generate").click();
    until(&mut window, "the second run finishes", |studio| {
        studio.state.runs.len() == 2 && newest(studio) == Some(Progress::Finished)
    });
    let runs = &window.state().state.runs;
    // The CPU widens weights; what they are rounded to stays.
    let features = |run: usize| runs[run].steps[0].features.as_ref().unwrap().values.clone();
    let apart = actor::distance(&features(1), &features(0));
    assert!(apart > 1e-4 && apart < 0.1, "{apart}");
}

#[test]
fn a_run_of_the_history_brings_its_model_back() {
    let (first, second) = (tiny(), tiny());
    let mut window = open(first.path());
    let recipe = window.state_mut().state.recipe.as_mut().unwrap();
    recipe.draw = recipe.draw.with_steps(3);
    window.get_by_label_contains("Generate").click();
    until(&mut window, "the run finishes", |studio| newest(studio) == Some(Progress::Finished));
    let mut kept = window.state().state.kept();
    kept.recipe = None;
    let mut window = self::window(&second.path().display().to_string(), kept, [1100.0, 720.0]);
    let opened = |folder: &tempfile::TempDir| {
        let wanted = folder.path().display().to_string();
        move |studio: &Studio| studio.state.model.as_ref().is_some_and(|model| model.source == wanted)
    };
    until(&mut window, "the second model opens", opened(&second));
    window.state_mut().state.wanted_recipe = Some(window.state().state.runs[0].recipe.clone());
    until(&mut window, "the first model opens again", opened(&first));
    let state = &window.state().state;
    assert_eq!(state.recipe.as_ref(), Some(&state.runs[0].recipe));
}

#[test]
fn the_window_closes_by_its_command() {
    let folder = tiny();
    let mut window = open(folder.path());
    // Not by `key_press`, after which the harness has drawn another frame, without the command.
    let (key, modifiers) = (egui::Key::Q, egui::Modifiers::COMMAND);
    let event = egui::Event::Key { key, modifiers, physical_key: None, pressed: true, repeat: false };
    window.input_mut().events.push(event);
    window.step();
    let mut commands = window.output().viewport_output.values().flat_map(|viewport| &viewport.commands);
    assert!(commands.any(|command| matches!(command, egui::ViewportCommand::Close)));
}

#[test]
fn a_blind_pair_is_made_and_judged() {
    let folder = tiny();
    let mut window = open(folder.path());
    window.state_mut().state.tab = Tab::Blind;
    let recipe = window.state_mut().state.recipe.as_mut().unwrap();
    recipe.draw = recipe.draw.with_steps(4);
    recipe.refresh = Refresh::Uniform(1);
    window.step();
    window.get_by_label("Begin").click();
    until(&mut window, "the pair is made", |studio| studio.state.blind.pair.is_some());
    assert_eq!(window.state().state.shown, None, "the canvas would tell which is which");
    window.get_by_label("Left is better").click();
    until(&mut window, "the next pair is made", |studio| {
        studio.state.blind.judged.len() == 1 && studio.state.blind.pair.is_some()
    });
}

#[test]
fn the_window_from_a_desk_to_a_phone() {
    let mut results = SnapshotResults::new();
    for (name, size) in
        [("window", [1280.0, 800.0]), ("window-small", [900.0, 600.0]), ("window-phone", [390.0, 780.0])]
    {
        let folder = tiny();
        let mut window = window(&folder.path().display().to_string(), quiet(), size);
        until(&mut window, "the model opens", |studio| studio.state.model.is_some());
        window.state_mut().state = scene::compared();
        window.state_mut().state.shown = window.state().state.runs.first().map(|run| run.id);
        window.run_ok();
        window.snapshot_options(name, &SnapshotOptions::new().max_failed_pixels(8));
        results.extend_harness(&mut window);
    }
    results.unwrap();
}
