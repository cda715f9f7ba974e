//! The actor as the window uses it, on the bundled class model and, where any model will do, on smaller ones: a whole run, a run
//! that is overtaken, one that is stopped, and one that fails.

use super::*;
use crate::generate::recipe::Subject;
use crate::generate::refresh::Refresh;
use std::sync::atomic::{AtomicU64, Ordering};

struct Window {
    actor: Actor,
    wakes: Arc<AtomicU64>,
    info: ModelInfo,
}

fn window(source: &str) -> Window {
    window_on(source, Device::Cpu)
}

fn window_on(source: &str, device: Device) -> Window {
    let wakes = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&wakes);
    let wake: Wake = Arc::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let actor = Actor::start(device, wake);
    actor.ask(Request::Open(source.to_owned()));
    let Some(Event::Opened(info)) = pollster::block_on(actor.next()) else { panic!("{source} did not open") };
    Window { actor, wakes, info: *info }
}

impl Window {
    fn class(&self, class: &str) -> Recipe {
        self.info.recipe(Subject::Class(class.to_owned()))
    }

    fn run(&self, id: u64, recipe: &Recipe) {
        self.actor.ask(Request::Run {
            id: RunId(id),
            recipe: Box::new(recipe.clone()),
            trace: true,
            from: None,
        });
    }

    /// Events up to and with the first that ends a run.
    fn until_the_end(&self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = pollster::block_on(self.actor.next()) {
            let is_end =
                matches!(event, Event::Finished { .. } | Event::Stopped { .. } | Event::Failed { .. });
            events.push(event);
            if is_end {
                break;
            }
        }
        events
    }
}

/// What is read along the way, of both families, is there on a graphics device as on the CPU.
#[test]
fn features_are_traced_and_looked_into_on_every_device() {
    let (folder, _text) = crate::generate::fixtures::text_fixture();
    let text = folder.path().display().to_string();
    let class = format!("{}/{}", env!("CARGO_MANIFEST_DIR"), crate::generate::fixtures::FIXTURE);
    for (source, subject) in
        [(text, Subject::Prompt("w5 w7".to_owned())), (class, Subject::Class("2".to_owned()))]
    {
        let mut found: Vec<(Vec<u32>, Vec<u32>)> = Vec::new();
        let devices =
            [Some(Device::Cpu), crate::exec::twins::test_gpu().map(|gpu| Device::Gpu(Box::new(gpu)))];
        for device in devices.into_iter().flatten() {
            let window = window_on(&source, device);
            let mut recipe = window.info.recipe(subject.clone());
            recipe.draw = recipe.draw.with_steps(5);
            recipe.refresh = Refresh::Uniform(2);
            window.run(1, &recipe);
            let events = window.until_the_end();
            let Some(Event::Finished { codes, .. }) = events.last() else { panic!("{:?}", events.last()) };
            let moved = events.iter().filter(|event| {
                matches!(event, Event::Stepped { done, .. } if done.moved.as_ref().is_some_and(|moved| moved.len() == codes.len()))
            });
            assert_eq!(moved.count(), 4, "every step but the first");
            let look = |step| {
                let spot = Spot { run: RunId(1), step, token: 9 };
                window.actor.ask(Request::Look { spot, recipe: Box::new(recipe.clone()) });
                match pollster::block_on(window.actor.next()) {
                    Some(Event::Looked { look: Some(look), .. }) => look,
                    other => panic!("nothing was found: {other:?}"),
                }
            };
            let (first, Look { candidates, attended }) = (look(0), look(3));
            assert_eq!(first.attended, None, "nothing was revealed before the first step");
            assert!(candidates[0].probability > 0.0 && candidates[0].probability <= 1.0);
            let attended = attended.unwrap();
            let new = events.iter().find_map(|event| match event {
                Event::Stepped { done, .. } if done.step == 2 => Some(done.note.reveal as usize),
                _ => None,
            });
            assert_eq!(Some(attended.new.len()), new, "the step before revealed as many");
            let sum = attended.prompt + attended.new.iter().map(|(_, share)| share).sum::<f64>();
            assert!((sum - 1.0).abs() < 1e-6, "{sum}");
            assert_eq!(attended.prompt > 0.0, matches!(subject, Subject::Prompt(_)));
            found.push((codes.clone(), candidates.iter().map(|candidate| candidate.code).take(3).collect()));
        }
        assert!(found.windows(2).all(|pair| pair[0] == pair[1]), "{source}: {found:?}");
    }
}

#[test]
fn a_run_tells_every_step_and_ends_with_pictures() {
    let window = window("scenes-class");
    let recipe = Recipe { images: 2, ..window.class("fox") };
    window.run(1, &recipe);
    let events = window.until_the_end();
    let Some(Event::Began { plan, rounds, memory, .. }) = events.first() else { panic!("{events:?}") };
    assert_eq!((plan.len(), *rounds), (recipe.draw.steps as usize, 1));
    assert!(memory.weights > 0);
    let steps: Vec<&StepDone> = events
        .iter()
        .filter_map(|event| if let Event::Stepped { done, .. } = event { Some(&**done) } else { None })
        .collect();
    assert_eq!(steps.len(), plan.len());
    for (step, done) in steps.iter().enumerate() {
        let masked = done.codes.iter().filter(|code| **code == window.info.codebook).count();
        let revealed: u32 = plan[..=step].iter().map(|note| note.reveal).sum();
        assert_eq!(masked, 2 * (window.info.tokens() - revealed as usize), "step {step}");
        assert!(done.features.as_ref().is_some_and(|features| features.values.len() % features.width == 0));
    }
    let Some(Event::Finished { codes, pictures, step_ms, .. }) = events.last() else { panic!("{events:?}") };
    assert!(codes.iter().all(|code| *code < window.info.codebook));
    assert_eq!((pictures.len(), step_ms.len()), (2, plan.len()));
    assert_eq!((pictures[0].width, pictures[0].height), (window.info.size[0], window.info.size[1]));
    assert!(window.wakes.load(Ordering::Relaxed) >= events.len() as u64);
}

#[test]
fn the_same_recipe_makes_the_same_tokens_after_others() {
    let (folder, _model) = crate::generate::fixtures::class_fixture();
    let window = window(&folder.path().display().to_string());
    let codes = |recipe: &Recipe| {
        window.run(1, recipe);
        match window.until_the_end().pop() {
            Some(Event::Finished { codes, .. }) => codes,
            other => panic!("{other:?}"),
        }
    };
    let recipe = Recipe { refresh: Refresh::Uniform(2), ..window.class("c2") };
    let first = codes(&recipe);
    let vanilla = codes(&recipe.vanilla());
    codes(&Recipe { images: 4, ..window.class("c7") });
    assert_eq!(codes(&recipe), first);
    assert_ne!(vanilla, first, "a budget that changes nothing tests nothing");
}

#[test]
fn a_newer_request_overtakes_within_a_step() {
    let window = window("scenes-class");
    let recipe = Recipe { refresh: Refresh::Every, ..window.class("fox") };
    window.run(1, &recipe);
    let Some(Event::Began { .. }) = pollster::block_on(window.actor.next()) else {
        panic!("it did not begin")
    };
    window.run(2, &recipe);
    let events = window.until_the_end();
    let Some(Event::Stopped { id: RunId(1), steps }) = events.last() else { panic!("{events:?}") };
    assert!(*steps < recipe.draw.steps as usize, "{steps} steps ran");
    assert!(matches!(window.until_the_end().last(), Some(Event::Finished { id: RunId(2), .. })));
}

#[test]
fn of_runs_that_wait_only_the_last_is_made() {
    let window = window("scenes-class");
    let recipe = window.class("fox");
    (1..=5).for_each(|id| window.run(id, &recipe));
    let mut ends = Vec::new();
    while !matches!(ends.last(), Some((5, true))) {
        match window.until_the_end().pop() {
            Some(Event::Stopped { id, .. }) => ends.push((id.0, false)),
            Some(Event::Finished { id, .. }) => ends.push((id.0, true)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(ends.iter().filter(|(_, finished)| *finished).count(), 1, "{ends:?}");
}

#[test]
fn a_run_stops_when_it_is_asked_to() {
    let window = window("scenes-class");
    window.run(1, &window.class("fox").vanilla());
    let Some(Event::Began { .. }) = pollster::block_on(window.actor.next()) else {
        panic!("it did not begin")
    };
    window.actor.ask(Request::Cancel);
    assert!(matches!(window.until_the_end().last(), Some(Event::Stopped { id: RunId(1), .. })));
    // And the next one is not hindered by it.
    window.run(2, &window.class("fox"));
    assert!(matches!(window.until_the_end().last(), Some(Event::Finished { id: RunId(2), .. })));
}

#[test]
fn what_cannot_be_run_fails_with_a_reason_and_the_actor_lives_on() {
    let window = window("scenes-class");
    window.run(1, &Recipe { refresh: Refresh::Uniform(10_000), ..window.class("fox") });
    let events = window.until_the_end();
    let Some(Event::Failed { id: Some(RunId(1)), failure }) = events.last() else { panic!("{events:?}") };
    assert!(failure.reason.contains("10000"), "{failure:?}");
    window.actor.ask(Request::Open("there is no such folder".to_owned()));
    let events = window.until_the_end();
    let Some(Event::Failed { id: None, failure }) = events.last() else { panic!("{events:?}") };
    assert!(failure.reason.contains("there is no such folder"), "{failure:?}");
    window.run(2, &window.class("fox"));
    assert!(matches!(window.until_the_end().last(), Some(Event::Finished { id: RunId(2), .. })));
}

#[test]
fn pictures_of_steps_are_made_again() {
    let window = window("scenes-class");
    let recipe = window.class("fox");
    window.run(1, &recipe);
    let Some(Event::Finished { codes, pictures, .. }) = window.until_the_end().pop() else {
        panic!("it failed")
    };
    // Also by a studio that has not run anything yet: those of an earlier start.
    for window in [window, self::window("scenes-class")] {
        let (recipe, codes) = (Box::new(recipe.clone()), codes.clone());
        window.actor.ask(Request::Show { id: RunId(1), step: Some(3), recipe, codes });
        match pollster::block_on(window.actor.next()) {
            Some(Event::Shown { id: RunId(1), step: Some(3), pictures: again }) => {
                assert_eq!(again, pictures);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_text_model_makes_pictures_together_for_prompts_of_any_length() {
    let (folder, _model) = crate::generate::fixtures::text_fixture();
    let window = window(&folder.path().display().to_string());
    let recipe = Recipe { images: 2, ..window.info.recipe(Subject::Prompt("w5 w17".to_owned())) };
    window.run(1, &recipe);
    let events = window.until_the_end();
    let Some(Event::Finished { codes, pictures, .. }) = events.last() else { panic!("{events:?}") };
    assert_eq!((codes.len(), pictures.len()), (2 * window.info.tokens(), 2));
    let done = |event: &Event| match event {
        Event::Stepped { done, .. } => Some((done.image, done.codes.len(), done.features.clone())),
        _ => None,
    };
    let steps: Vec<_> = events.iter().filter_map(done).collect();
    assert_eq!(steps.len(), recipe.draw.steps as usize);
    for (image, codes, features) in steps {
        assert_eq!((image, codes), (0, 2 * window.info.tokens()));
        // Those of the first picture alone.
        let features = features.unwrap();
        let rows = features.values.len() / features.width;
        assert!(rows > window.info.tokens() && rows < 2 * window.info.tokens(), "{rows} rows");
    }
    // A prompt of another length, and back.
    for (id, prompt) in [(2, "w7 w3 w9 w5"), (3, "w5 w17")] {
        window.run(id, &Recipe { subject: Subject::Prompt(prompt.to_owned()), ..recipe.clone() });
        let events = window.until_the_end();
        let Some(Event::Finished { codes: found, .. }) = events.last() else { panic!("{events:?}") };
        assert_eq!(*found == *codes, id == 3, "{prompt}");
    }
}
