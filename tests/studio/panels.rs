//! Every panel, in both themes. The harness also fails where a control has no name or a glyph is missing.

use crate::scene;
use eframe::egui::{self, Theme};
use egui_kittest::{Harness, SnapshotOptions, SnapshotResults};
use migm::studio::command::Command;
use migm::studio::failure::{Failure, Remedy};
use migm::studio::panels::status::DeviceNote;
use migm::studio::panels::{blind, canvas, compose, failure, palette, side, status, timeline, why};
use migm::studio::state::{State, Tab};
use migm::studio::textures::Textures;
use migm::studio::theme;

type Parts = (State, Textures, canvas::View);

/// Text may be set a hair differently by another release of the software adapter.
fn options() -> SnapshotOptions {
    SnapshotOptions::new().max_failed_pixels(8)
}

/// Photographs in both themes. The results of a test are told together.
#[must_use]
fn photograph(
    name: &str,
    size: [f32; 2],
    state: impl Fn() -> State,
    show: impl Fn(&mut egui::Ui, &mut Parts) + Copy,
) -> SnapshotResults {
    let mut results = SnapshotResults::new();
    for (theme, suffix) in [(Theme::Dark, "dark"), (Theme::Light, "light")] {
        let parts = (state(), Textures::default(), canvas::View::default());
        let mut harness = Harness::builder()
            .with_size(size)
            .with_theme(theme)
            .with_max_steps(16)
            .with_options(options())
            .wgpu()
            .with_context_setup(theme::install)
            .build_ui_state(|ui, parts| show(ui, parts), parts);
        harness.run();
        harness.snapshot(format!("{name}-{suffix}"));
        results.extend_harness(&mut harness);
    }
    results
}

#[test]
fn compose_of_a_text_model() {
    let state = || {
        let mut state = scene::finished();
        state.recipe.as_mut().unwrap().seed = 12;
        state
    };
    photograph("compose-text", [320.0, 620.0], state, |ui, parts| compose::show(ui, &mut parts.0)).unwrap();
}

#[test]
fn compose_of_a_class_model() {
    photograph(
        "compose-class",
        [320.0, 460.0],
        || scene::opened(scene::class_model()),
        |ui, parts| {
            compose::show(ui, &mut parts.0);
        },
    )
    .unwrap();
}

/// Nothing to guide, to save or to predict is offered.
#[test]
fn compose_of_a_generator_of_one_step() {
    let state = || {
        let mut model = scene::class_model();
        (model.one_step, model.draw.steps, model.draw.guidance) = (true, 1, 0.0);
        scene::opened(model)
    };
    photograph("compose-one-step", [320.0, 300.0], state, |ui, parts| compose::show(ui, &mut parts.0))
        .unwrap();
}

#[test]
fn compose_names_words_that_the_model_does_not_know() {
    let state = || {
        let mut state = scene::opened(scene::text_model());
        let recipe = state.recipe.as_mut().unwrap();
        recipe.subject = migm::generate::recipe::Subject::Prompt("a dragon on the moon ".to_owned());
        state
    };
    photograph("compose-unknown", [320.0, 460.0], state, |ui, parts| compose::show(ui, &mut parts.0))
        .unwrap();
}

#[test]
fn canvas_before_during_and_after_a_run() {
    let mut results = SnapshotResults::new();
    for (name, state) in [
        ("canvas-empty", (|| scene::opened(scene::text_model())) as fn() -> State),
        ("canvas-half", scene::half_done),
        ("canvas-finished", scene::finished),
        ("canvas-moved", || {
            let mut state = scene::half_done();
            (state.overlays.moved, state.overlays.masked) = (true, false);
            state
        }),
        ("canvas-confidence", || {
            let mut state = scene::finished();
            state.overlays.confidence = true;
            state.scrubbed = Some(7);
            state
        }),
    ] {
        results.extend(photograph(name, [420.0, 420.0], state, |ui, parts| {
            canvas::show(ui, &mut parts.0, &mut parts.1, &mut parts.2);
        }));
    }
    results.unwrap();
}

#[test]
fn timeline_planned_and_measured() {
    let mut results = SnapshotResults::new();
    for (name, state) in [
        ("timeline-planned", (|| scene::opened(scene::text_model())) as fn() -> State),
        ("timeline-half", scene::half_done),
        ("timeline-finished", || {
            let mut state = scene::finished();
            state.scrubbed = Some(3);
            state
        }),
    ] {
        results.extend(photograph(name, [560.0, 150.0], state, |ui, parts| timeline::show(ui, &mut parts.0)));
    }
    results.unwrap();
}

#[test]
fn pages_at_the_right() {
    let mut results = SnapshotResults::new();
    let tab = |tab: Tab| {
        move || {
            let mut state = if tab == Tab::Blind { scene::blind() } else { scene::compared() };
            state.tab = tab;
            state
        }
    };
    for (name, page, height) in [
        ("compare", Tab::Compare, 860.0),
        ("why", Tab::Why, 1200.0),
        ("blind", Tab::Blind, 460.0),
        ("history", Tab::History, 300.0),
    ] {
        results.extend(photograph(name, [340.0, height], tab(page), |ui, parts| {
            side::show(ui, &mut parts.0, &mut parts.1);
        }));
    }
    let differences = || {
        let mut state = tab(Tab::Compare)();
        state.comparison.differences = true;
        state
    };
    results.extend(photograph("sweep", [340.0, 760.0], scene::swept, |ui, parts| {
        side::show(ui, &mut parts.0, &mut parts.1);
    }));
    for (name, board) in [("board", scene::board as fn() -> State), ("board-classes", scene::class_board)] {
        results.extend(photograph(name, [340.0, 620.0], board, |ui, parts| {
            side::show(ui, &mut parts.0, &mut parts.1);
        }));
    }
    // As wide as a phone's.
    results.extend(photograph("queue", [374.0, 420.0], scene::queued, |ui, parts| {
        side::show(ui, &mut parts.0, &mut parts.1);
    }));
    results.extend(photograph("compare-differences", [340.0, 560.0], differences, |ui, parts| {
        side::show(ui, &mut parts.0, &mut parts.1);
    }));
    results.unwrap();
}

#[test]
fn pages_before_anything_has_run() {
    let mut results = SnapshotResults::new();
    results.extend(photograph(
        "why-empty",
        [340.0, 120.0],
        || scene::opened(scene::text_model()),
        |ui, parts| {
            why::show(ui, &mut parts.0);
        },
    ));
    results.extend(photograph(
        "blind-empty",
        [340.0, 160.0],
        || scene::opened(scene::text_model()),
        |ui, parts| {
            blind::show(ui, &mut parts.0, &mut parts.1);
        },
    ));
    results.unwrap();
}

#[test]
fn status_at_rest_and_at_work() {
    let mut results = SnapshotResults::new();
    let device = DeviceNote {
        name: "Test device".to_owned(),
        driver: "Vulkan".to_owned(),
        tier: "portable".to_owned(),
        reason: "it is the only one".to_owned(),
    };
    for (name, state) in
        [("status-ready", scene::finished as fn() -> State), ("status-busy", scene::half_done)]
    {
        results
            .extend(photograph(name, [760.0, 40.0], state, |ui, parts| status::show(ui, &parts.0, &device)));
    }
    results.unwrap();
}

#[test]
fn failures_say_why_and_what_to_do() {
    let failed = || {
        let mut state = scene::opened(scene::text_model());
        state.failure = Some(Failure {
            title: "The graphics device was lost".to_owned(),
            reason: "Test device: the driver was updated".to_owned(),
            remedies: vec![Remedy::Restart, Remedy::UseCpu],
        });
        state
    };
    photograph("failure", [560.0, 110.0], failed, |ui, parts| {
        let _ = failure::show(ui, &mut parts.0);
    })
    .unwrap();
}

#[test]
fn the_palette_finds_commands() {
    let state = || {
        let mut state = scene::finished();
        state.palette = Some("save".to_owned());
        state
    };
    photograph("palette", [460.0, 260.0], state, |ui, parts| palette::show(ui, &mut parts.0)).unwrap();
}

/// The palette shows a few at a time; here are all of them, and the fonts must have every icon.
#[test]
fn every_command_has_an_icon_that_the_fonts_know() {
    photograph("commands", [380.0, 960.0], scene::finished, |ui, _| {
        for command in Command::ALL {
            ui.label(format!("{}  {}", command.icon(), command.text()));
        }
    })
    .unwrap();
}
