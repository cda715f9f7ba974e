//! What explains itself: the first picture, the tour, pictures that follow, branches and the queue.

use crate::window::{Window, linked, newest, open, quiet, tiny, until, window};
use eframe::egui::{Key, Modifiers, Theme};
use egui_kittest::kittest::Queryable as _;
use egui_kittest::{SnapshotOptions, SnapshotResults};
use migm::generate::predict::Predictor;
use migm::generate::proof::Found;
use migm::generate::recipe::{Recipe, Subject};
use migm::generate::refresh::Refresh;
use migm::studio::app::Studio;
use migm::studio::link;
use migm::studio::queue::Waiting;
use migm::studio::run::Progress;
use migm::studio::state::{Kept, Tab};
use migm::studio::tour::STOPS;

/// Where the studio is photographed: on a desk and on a phone, dark and light.
pub(crate) const PLACES: [(&str, [f32; 2], Theme); 2] =
    [("desk", [1280.0, 800.0], Theme::Dark), ("phone", [390.0, 780.0], Theme::Light)];

/// The tiny model under a name that photographs may show.
pub(crate) fn named() -> (tempfile::TempDir, String) {
    let (place, from) = (tempfile::tempdir().unwrap(), tiny());
    let folder = place.path().join("tiny");
    std::fs::rename(from.path(), &folder).unwrap();
    let source = folder.display().to_string();
    (place, source)
}

/// A photograph of the whole window, of what does not vary from machine to machine.
pub(crate) fn photograph(window: &mut Window, name: &str) {
    still(window);
    window.run_ok();
    window.snapshot_options(name, &SnapshotOptions::new().max_failed_pixels(8));
}

/// A window of such a place, with its model open.
fn placed(source: &str, size: [f32; 2], theme: Theme) -> Window {
    let mut window = linked(source, quiet(), size, theme, "");
    until(&mut window, "the model opens", |studio| studio.state.model.is_some());
    brief(&mut window);
    window
}

/// The same walk at every place, which photographs under the place's name.
pub(crate) fn everywhere(walk: impl Fn(&mut Window, &str)) {
    let (_folder, source) = named();
    let mut results = SnapshotResults::new();
    for (name, size, theme) in PLACES {
        let mut window = placed(&source, size, theme);
        walk(&mut window, name);
        results.extend_harness(&mut window);
    }
    results.unwrap();
}

pub(crate) fn finished(studio: &Studio) -> bool {
    newest(studio) == Some(Progress::Finished)
}

/// Few steps, two of them full.
pub(crate) fn brief(window: &mut Window) {
    let recipe = window.state_mut().state.recipe.as_mut().unwrap();
    recipe.subject = Subject::Prompt("w5 w7".to_owned());
    recipe.draw = recipe.draw.with_steps(8);
    recipe.refresh = Refresh::Uniform(2);
    window.step();
}

pub(crate) fn generate(window: &mut Window) {
    window.key_press_modifiers(Modifiers::COMMAND, Key::Enter);
    window.step();
    until(window, "the run finishes", finished);
}

#[test]
fn at_the_first_start_a_picture_makes_itself_and_then_a_person_leads() {
    let folder = tiny();
    let source = folder.path().display().to_string();
    let mut window = window(&source, Kept::default(), [1100.0, 720.0]);
    until(&mut window, "a picture makes itself", finished);
    assert_eq!(window.state().state.shown, window.state().state.greeting);
    let run = window.state().state.runs.last().unwrap();
    assert!(run.recipe.full_steps().unwrap() * 4 <= run.plan.len(), "at a low budget");
    window.get_by_label_contains("makes itself");
    window.get_by_label("Take the tour");
    // Any press takes over.
    window.key_press(Key::ArrowLeft);
    window.step();
    window.step();
    assert!(window.query_by_label_contains("makes itself").is_none());
    // The next start is a quiet one.
    let kept = window.state().state.kept();
    assert!(kept.greeted);
    let mut again = self::window(&source, kept, [1100.0, 720.0]);
    until(&mut again, "the model opens", |studio| studio.state.model.is_some());
    again.step();
    assert!(again.state().state.open_run().is_none() && again.state().state.greeting.is_none());
}

/// What varies from machine to machine, made the same.
fn still(window: &mut Window) {
    for run in &mut window.state_mut().state.runs {
        let times = run.plan.iter().map(|note| match note.kind {
            migm::generate::session::StepKind::Full => 40.0,
            migm::generate::session::StepKind::Predicted => 5.0,
        });
        (run.step_ms, run.decode_ms) = (times.collect(), 3.0);
    }
    for point in &mut window.state_mut().state.sweep.points {
        let recipe = &point.method.recipe;
        let full = recipe.full_steps().unwrap() as f64;
        let ms = full * 40.0 + (f64::from(recipe.draw.steps) - full) * 5.0;
        point.made.iter_mut().for_each(|made| made.ms = ms);
    }
}

/// All seven stops by keyboard, each with its change made, photographed.
fn walk(window: &mut Window, name: &str) {
    window.key_press(Key::F1);
    for (at, stop) in STOPS.iter().enumerate() {
        // It is moved to its state a frame after it was asked for, and the picture of that comes later.
        until(window, stop.title, |studio| {
            let tour = &studio.state.tour;
            tour.at == Some(at) && tour.has_begun() && studio.is_settled()
        });
        // The last stop's pair is of a seed that nobody has seen.
        if at + 1 < STOPS.len() {
            photograph(window, &format!("tour-{name}-{}", at + 1));
        } else {
            window.run_ok();
        }
        assert!(!window.state().state.tour.done, "{}: nothing was changed yet", stop.title);
        match at {
            4 => window.key_press(Key::F),
            5 => {
                let state = &mut window.state_mut().state;
                state.recipe.as_mut().unwrap().refresh = Refresh::Uniform(1);
                state.seed_locked = true;
            }
            6 => {
                // On a phone it may be below what is in sight.
                window.get_by_label("Tie").scroll_to_me();
                window.run_ok();
                window.get_by_label("Tie").click();
            }
            _ => window.key_press(Key::ArrowRight),
        }
        until(window, "the change is seen", |studio| studio.state.tour.done);
        if at == 5 {
            // A quick picture follows the slider, and the full settings follow that.
            until(window, "the picture follows", |studio| {
                studio
                    .state
                    .runs
                    .last()
                    .is_some_and(|run| !run.draft && run.recipe.refresh == Refresh::Uniform(1))
                    && finished(studio)
            });
        }
        window.key_press(Key::PageDown);
        window.step();
    }
    until(window, "the tour ends", |studio| studio.state.tour.at.is_none());
    assert!(!window.state().state.live, "as it was before the tour");
    // Left in the middle, it goes on there.
    window.key_press(Key::F1);
    window.key_press(Key::PageDown);
    window.key_press(Key::PageDown);
    until(window, "the third stop", |studio| studio.state.tour.at == Some(2));
    window.get_by_label("Leave").click();
    until(window, "the tour is left", |studio| studio.state.tour.at.is_none());
    let kept = window.state().state.kept();
    assert_eq!(kept.tour, 2);
}

#[test]
fn the_tour_is_walked_by_keyboard_on_a_desk_and_on_a_phone() {
    everywhere(walk);
}

#[test]
fn pictures_follow_the_controls_and_leave_one_run() {
    let folder = tiny();
    let mut window = open(folder.path());
    brief(&mut window);
    window.key_press_modifiers(Modifiers::COMMAND, Key::I);
    until(&mut window, "the controls are followed", |studio| studio.state.live);
    for text in ["w9", "w9 w1", "w9 w17"] {
        window.state_mut().state.recipe.as_mut().unwrap().subject = Subject::Prompt(text.to_owned());
        window.step();
    }
    // The harness's clock runs ahead of the run: it may be overtaken before it is finished.
    until(&mut window, "a quick picture follows", |studio| studio.state.runs.iter().any(|run| run.draft));
    until(&mut window, "the full settings are run", |studio| {
        finished(studio) && studio.state.runs.iter().all(|run| !run.draft)
    });
    let state = &window.state().state;
    assert_eq!(state.runs.len(), 1, "quick pictures are no history");
    assert_eq!(Some(&state.runs[0].recipe), state.recipe.as_ref());
}

#[test]
fn a_run_branches_from_any_step() {
    everywhere(|window, name| {
        branched(window);
        photograph(window, &format!("branch-{name}"));
    });
}

fn branched(window: &mut Window) {
    window.state_mut().state.seed_locked = true;
    generate(window);
    (0..4).for_each(|_| {
        window.key_press(Key::ArrowLeft);
        window.step();
    });
    assert_eq!(window.state().state.scrubbed, Some(3));
    window.state_mut().state.recipe.as_mut().unwrap().seed = 7;
    window.key_press(Key::B);
    until(window, "the branch finishes", |studio| studio.state.runs.len() == 2 && finished(studio));
    let (parent, branch) = (&window.state().state.runs[0], &window.state().state.runs[1]);
    assert_eq!(branch.branch, Some((parent.id, 3)));
    assert_ne!(branch.recipe.seed, parent.recipe.seed);
    assert_eq!(branch.codes_after(3), parent.codes_after(3), "the steps so far are its parent's");
    let mask = window.state().state.model.as_ref().unwrap().codebook;
    let known = parent.codes_after(3).unwrap().iter().zip(&branch.codes);
    assert!(known.clone().all(|(before, after)| *before == mask || before == after));
    assert_ne!(branch.codes, parent.codes);
    assert_eq!(window.state().state.kept().history.len(), 2);
    window.state_mut().state.tab = Tab::History;
    window.run_ok();
    window.get_by_label_contains("from step 5");
    let analysis = window.state_mut().state.analyse().unwrap().clone();
    assert_eq!((analysis.path.len(), analysis.relatives.len()), (8, 1));
    // They are one path until the branch leaves.
    let apart = |step: usize| {
        let (ours, theirs) = (analysis.path[step], analysis.relatives[0][step]);
        (ours[0] - theirs[0]).hypot(ours[1] - theirs[1])
    };
    assert!(apart(3) < 1e-6 && apart(7) > 1e-3, "{} and {}", apart(3), apart(7));
    // A branch of the branch, from before it left and with other full steps: three ways one after the other at most.
    window.state_mut().state.scrubbed = Some(4);
    let recipe = window.state_mut().state.recipe.as_mut().unwrap();
    (recipe.seed, recipe.predictor) = (8, Predictor::Reuse);
    window.key_press(Key::B);
    until(window, "the second branch finishes", |studio| studio.state.runs.len() == 3 && finished(studio));
    // Each is made again by its link, from the first step on, token for token.
    for (at, parts) in [(1, 1), (2, 2)] {
        let state = &mut window.state_mut().state;
        state.shown = Some(state.runs[at].id);
        let (recipe, proof) = state.to_share().unwrap();
        assert_eq!(recipe.begun.len(), parts);
        let query = link::query(recipe, &state.model.as_ref().unwrap().draw, proof);
        assert!(query.len() < 260, "{query}");
        let mut again = linked(&recipe.model, quiet(), [1100.0, 720.0], Theme::Dark, &query);
        until(&mut again, "the link is followed", finished);
        let run = again.state().state.runs.last().unwrap();
        assert_eq!((run.verified(), run.steps.len()), (Some(Found::Same), 8));
        assert!(
            again.state().state.recipe.as_ref().unwrap().begun.is_empty(),
            "the controls make no branches"
        );
    }
    window.state_mut().state.shown = Some(window.state().state.runs[1].id);
    // From the last step there is nowhere to go.
    window.state_mut().state.scrubbed = None;
    assert!(!window.state().state.allows(migm::studio::command::Command::Branch));
}

#[test]
fn runs_wait_in_a_queue_that_can_be_changed() {
    let folder = tiny();
    let mut window = open(folder.path());
    brief(&mut window);
    window.state_mut().state.recipe.as_mut().unwrap().images = 9;
    generate_without_waiting(&mut window);
    for seed in [11, 12, 13, 14] {
        let recipe = window.state_mut().state.recipe.as_mut().unwrap();
        (recipe.seed, recipe.images) = (seed, 1);
        window.key_press_modifiers(Modifiers::COMMAND, Key::J);
        window.step();
    }
    let seeds = |studio: &Studio| -> Vec<u64> {
        studio.state.queue.waiting().iter().map(|waiting| waiting.recipe.seed).collect()
    };
    until(&mut window, "four runs wait", |studio| seeds(studio) == [11, 12, 13, 14]);
    assert_eq!(window.state().state.tab, Tab::History);
    for (button, wanted) in [
        ("Later: w5 w7, seed 11", &[12, 11, 13, 14][..]),
        ("Take out of the queue: w5 w7, seed 13", &[12, 11, 14]),
        ("Earlier: w5 w7, seed 14", &[12, 14, 11]),
    ] {
        window.get_by_label(button).click();
        until(&mut window, button, |studio| seeds(studio) == wanted);
    }
    until(&mut window, "all have run", |studio| {
        studio.state.queue.waiting().is_empty()
            && studio.state.open_run().is_none()
            && studio.state.runs.len() == 4
    });
    let made: Vec<u64> = window.state().state.runs.iter().map(|run| run.recipe.seed).collect();
    assert_eq!(made[1..], [12, 14, 11]);
    assert!(window.state().state.runs.iter().all(|run| run.progress == Progress::Finished));
}

#[test]
fn a_run_whose_model_is_gone_holds_up_no_other() {
    let folder = tiny();
    let mut window = open(folder.path());
    brief(&mut window);
    let state = &mut window.state_mut().state;
    let recipe = state.recipe.clone().unwrap();
    let gone = Recipe { model: "/nowhere/to/be/found".to_owned(), ..recipe.clone() };
    [gone, recipe].into_iter().for_each(|recipe| state.queue.add(Waiting::new(recipe)));
    until(&mut window, "the second runs", |studio| {
        studio.state.queue.waiting().is_empty() && finished(studio)
    });
    // The first is kept with the reason, and can be tried again.
    let refused = window.state().state.queue.refused();
    assert!(refused.len() == 1 && refused[0].1.contains("/nowhere"), "{refused:?}");
    window.state_mut().state.tab = Tab::History;
    window.run_ok();
    window.get_by_label_contains("Could not run");
    window.get_by_label("Try again: w5 w7, seed 0").click();
    until(&mut window, "it is refused once more", |studio| {
        studio.state.queue.waiting().is_empty() && studio.state.queue.refused().len() == 1
    });
    window.get_by_label("Forget: w5 w7, seed 0").click();
    until(&mut window, "it is forgotten", |studio| studio.state.queue.refused().is_empty());
}

#[test]
fn a_token_says_what_it_might_have_become() {
    everywhere(looked_into);
}

fn looked_into(window: &mut Window, name: &str) {
    window.state_mut().state.seed_locked = true;
    generate(window);
    let run = window.state().state.runs[0].clone();
    let spot = |step, token| migm::studio::looking::Spot { run: run.id, step, token };
    let found = |studio: &Studio| studio.state.look.clone();
    window.state_mut().state.scrubbed = Some(2);
    window.state_mut().state.spot = Some(spot(2, 17));
    until(window, "candidates are there", |studio| {
        found(studio).is_some_and(|(known, _)| known == spot(2, 17))
    });
    let look = found(window.state()).unwrap().1.unwrap();
    let (candidates, attended) = (look.candidates, look.attended.unwrap());
    assert_eq!(attended.new.len(), run.steps[1].note.reveal as usize);
    assert!(candidates.windows(2).all(|pair| pair[0].probability >= pair[1].probability));
    let sum: f64 = candidates.iter().map(|candidate| candidate.probability).sum();
    assert!(sum > 0.0 && sum <= 1.0 + 1e-6, "{sum}");
    photograph(window, &format!("token-{name}"));
    window.get_by_label("Token in row 3, column 2");
    window.get_by_label_contains("Features moved by");
    window.get_by_label_contains("the shortcut looks from here at");
    // The card follows the steps.
    window.key_press(Key::ArrowRight);
    until(window, "the next step is asked for", |studio| {
        found(studio).is_some_and(|(known, _)| known == spot(3, 17))
    });
    // Movement is of every token but at the first step.
    let moved = |step: usize| run.steps[step].moved.as_ref().map(Vec::len);
    assert_eq!((moved(0), moved(1)), (None, Some(run.codes.len())));
    // Of an earlier run no features are kept, and it is said so.
    window.state_mut().state.recipe.as_mut().unwrap().seed = 5;
    generate(window);
    let first = run.id;
    window.state_mut().state.shown = Some(first);
    window.state_mut().state.spot = Some(spot(2, 3));
    until(window, "there is nothing to look at", |studio| {
        found(studio) == Some((spot(studio.state.step().unwrap(), 3), None))
    });
    window.run_ok();
    window.get_by_label_contains("Generate once more");
}

/// The judge knows nothing of these words: the model's own word counts, and it is said so.
#[test]
fn a_sweep_grows_points_and_opens_their_pictures() {
    everywhere(|window, name| {
        swept(window);
        photograph(window, &format!("sweep-{name}"));
    });
}

fn swept(window: &mut Window) {
    window.state_mut().state.seed_locked = true;
    let sweep = migm::studio::command::Command::Sweep;
    window.state_mut().state.wanted.push(sweep);
    until(window, "three seeds of each method", |studio| {
        let points = &studio.state.sweep.points;
        !points.is_empty() && points.iter().all(|point| point.made.len() >= 3)
    });
    window.get_by_label_contains("nats a code");
    let points = window.state().state.sweep.points.len();
    assert!(points >= 6, "{points} methods");
    assert!(
        window.state().state.runs.is_empty() || window.state().state.runs.iter().all(|run| run.draft),
        "no history"
    );
    // A person's own run comes between, and the sweep goes on.
    generate(window);
    until(window, "all are made", |studio| !studio.state.sweep.is_active());
    let sweep = &window.state().state.sweep;
    assert_eq!(sweep.progress(), [8 * points, 8 * points]);
    assert_eq!(sweep.agreement(0), Some(1.0), "vanilla is itself");
    assert!(!sweep.front().is_empty());
    assert_eq!(window.state().state.runs.len(), 1);
    // Where a page is scrolled to depends on its height, and that on how long the times are that it shows.
    still(window);
    window.run_ok();
    window.get_by_label_contains("Vanilla, 4 steps").scroll_to_me();
    window.run_ok();
    window.get_by_label_contains("Vanilla, 4 steps").click();
    until(window, "its pictures are shown", |studio| studio.state.sweep.opened == Some(1));
    window.get_by_label_contains("seed 3: ").scroll_to_me();
    window.run_ok();
    window.get_by_label_contains("seed 3: ").click();
    until(window, "its settings are taken", |studio| {
        studio.state.recipe.as_ref().is_some_and(|recipe| recipe.seed == 3 && recipe.draw.steps == 4)
    });
}

fn generate_without_waiting(window: &mut Window) {
    window.key_press_modifiers(Modifiers::COMMAND, Key::Enter);
    until(window, "a step is done", |studio| {
        studio.state.runs.last().is_some_and(|run| !run.steps.is_empty())
    });
}
