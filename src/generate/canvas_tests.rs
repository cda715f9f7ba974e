//! Runs that begin on canvases: what is there stays, what is masked is made, by every predictor of both families.

use super::*;
use crate::exec::twins::test_gpu;
use crate::generate::engine::{Engine, Event, Job};
use crate::generate::fixtures::{both_families, classes, fixture, prompt};
use crate::generate::model::{Device, Model};
use crate::generate::pace::Adaptive;
use crate::generate::predict::Predictor;
use crate::generate::recipe::{Recipe, Subject};
use crate::generate::refresh::Refresh;
use crate::generate::sampling::{Reveal, Sampling};
use crate::generate::session::{Session, Settings, Shape, StepKind};
use crate::models::{Batch, Condition};
use pollster::block_on;
use proptest::prelude::*;

const STEPS: u32 = 5;

proptest! {
    #[test]
    fn a_canvas_survives_as_text(tokens in prop::collection::vec(prop::option::of(0_u32..CODES), 1..80)) {
        let canvas = Canvas { tokens };
        let text = canvas.to_string();
        prop_assert_eq!(&text.parse::<Canvas>().unwrap(), &canvas);
        let json = serde_json::to_string(&canvas).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Canvas>(&json).unwrap(), &canvas);
        // A query of a link carries it as it is.
        prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)));
        prop_assert_eq!(&Canvas::of_codes(&canvas.codes(u32::MAX), u32::MAX), &canvas);
    }

    #[test]
    fn text_of_strangers_is_no_canvas_or_one(text in "[A-Za-z0-9._-]{0,30}|.{0,30}") {
        if let Ok(canvas) = text.parse::<Canvas>() {
            prop_assert_eq!(canvas.to_string(), text);
        }
    }
}

#[test]
fn a_canvas_that_is_not_the_model_s_is_refused() {
    let canvas = |text: &str| text.parse::<Canvas>().unwrap();
    let error = |text: &str| canvas(text).check(3, 100).unwrap_err().to_string();
    assert!(error("AAA.").contains("2 tokens, where the model's pictures have 3"));
    assert!(error("AAA.ABk").contains("code 100 is none"), "{}", error("AAA.ABk"));
    assert!(error("AAAAABAAC").contains("nothing is masked"));
    canvas("AAA.ABj").check(3, 100).unwrap();
    for text in ["", "AA", "AAA.B", "AA\u{e9}"] {
        assert!(text.parse::<Canvas>().is_err(), "{text:?}");
    }
    let region = Region::all([2, 2]);
    assert!(canvas("AAA.").without(&region).unwrap_err().to_string().contains("region of 4"));
}

/// Both families, two conditions of one length each.
fn families() -> (tempfile::TempDir, [(Model, Vec<Condition>); 2]) {
    let (folder, [class, text]) = both_families();
    let prompts = ["w5 w17 w9", "w7 w3 w30"].map(|words| prompt(&text, words));
    (folder, [(class, classes(&[Some(2), Some(8)])), (text, prompts.to_vec())])
}

/// Two canvases with other places masked, as many of each.
fn canvases(model: &Model) -> Vec<Canvas> {
    let (tokens, codebook) = (model.family().tokens(), model.family().codebook());
    let of = |shift: u32| {
        let code =
            |token: u32| (!(token + shift).is_multiple_of(3)).then_some((token * 37 + shift) % codebook);
        Canvas {
            tokens: (0..tokens / 3 * 3).map(code).chain((tokens / 3 * 3..tokens).map(|_| Some(0))).collect(),
        }
    };
    vec![of(0), of(1)]
}

fn run(
    session: &mut Session,
    settings: &Settings,
    conditions: &[Condition],
    canvases: &[Canvas],
) -> (Vec<StepKind>, Vec<u32>) {
    session.configure_on(settings, canvases[0].masked()).unwrap();
    let seeds = [3, 4];
    session.start_on(conditions, &seeds[..conditions.len()], canvases).unwrap();
    let mut kinds = Vec::new();
    while let Some(step) = block_on(session.advance()).unwrap() {
        kinds.push(step.kind);
    }
    (kinds, block_on(session.tokens()).unwrap())
}

/// What is there stays; everything else is a code.
fn assert_kept(codes: &[u32], canvases: &[Canvas], codebook: u32, about: &str) {
    let there = canvases.iter().flat_map(|canvas| &canvas.tokens);
    for (at, (code, there)) in codes.iter().zip(there).enumerate() {
        assert!(*code < codebook, "{about}: token {at} is left");
        assert!(there.is_none_or(|there| there == *code), "{about}: token {at} was {there:?} and is {code}");
    }
}

#[test]
fn every_predictor_makes_what_is_masked_and_nothing_else() {
    let (_folder, families) = families();
    for (model, conditions) in &families {
        let canvases = canvases(model);
        let codebook = model.family().codebook();
        for guided in [true, false] {
            let mut sampling = model.config.sampling.with_steps(STEPS);
            sampling.guidance = if guided { sampling.guidance } else { 0.0 };
            for predictor in Predictor::ALL {
                let about = format!("{predictor}, guided: {guided}");
                let settings = Settings { sampling, refresh: Refresh::Uniform(2), predictor };
                let session = |images: u32| {
                    let batch = Batch::of(&conditions[0], images, guided);
                    let shape = Shape { decoder: false, ..Shape::new(batch, Some(predictor)) };
                    Session::new(model, shape, &Device::Cpu).unwrap()
                };
                let (kinds, both) = run(&mut session(2), &settings, conditions, &canvases);
                assert_eq!(kinds.iter().filter(|kind| **kind == StepKind::Full).count(), 2, "{about}");
                assert_eq!((kinds.len(), kinds[0]), (STEPS as usize, StepKind::Full), "{about}");
                assert_kept(&both, &canvases, codebook, &about);
                // Alone as in a batch.
                let (_, alone) = run(&mut session(1), &settings, &conditions[..1], &canvases[..1]);
                assert_eq!(alone, both[..alone.len()], "{about}");
            }
        }
    }
}

#[test]
fn runs_that_decide_make_a_part_too_and_are_made_again() {
    let (_folder, families) = families();
    for (model, conditions) in &families {
        let canvas = &canvases(model)[..1];
        for (refresh, reveal) in [
            (Refresh::Adaptive(Adaptive { target_error: 0.2, budget: Some(3) }), Reveal::Schedule),
            (Refresh::Uniform(2), Reveal::Entropy(3.0)),
        ] {
            let sampling = Sampling { reveal, ..model.config.sampling.with_steps(STEPS) };
            let settings = Settings { sampling, refresh, predictor: Predictor::Reuse };
            let batch = Batch::of(&conditions[0], 1, sampling.guided());
            let shape = Shape { decoder: false, ..Shape::new(batch, Some(Predictor::Reuse)) };
            let mut session = Session::new(model, shape.of_settings(&settings), &Device::Cpu).unwrap();
            let (_, made) = run(&mut session, &settings, &conditions[..1], canvas);
            assert_kept(&made, canvas, model.family().codebook(), "decided");
            let decided = settings.decided(session.plan());
            let (_, again) = run(&mut session, &decided, &conditions[..1], canvas);
            assert_eq!(again, made);
        }
        // A corrector would take what was there before.
        let sampling = Sampling { corrector: 0.2, ..model.config.sampling };
        let settings = Settings { sampling, refresh: Refresh::Every, predictor: Predictor::Reuse };
        let error = settings.plan_on(model.family().tokens(), 7).unwrap_err().to_string();
        assert!(error.contains("corrector"), "{error}");
    }
}

#[test]
fn a_part_is_planned_as_a_whole_and_told_of_the_whole_picture() {
    for official in [Sampling::MASKGIT_512, Sampling::DIMOO] {
        let sampling = Sampling { guidance_interval: [0.2, 0.7], ..official.with_steps(8) };
        let settings = Settings { sampling, refresh: Refresh::Uniform(2), predictor: Predictor::Shortcut };
        let (whole, part) = (settings.plan(64).unwrap(), settings.plan_on(256, 64).unwrap());
        assert_eq!(whole.len(), part.len());
        for (whole, part) in whole.iter().zip(&part) {
            assert_eq!(part.kind, whole.kind);
            let (of_whole, of_part) = (whole.values, part.values);
            assert_eq!((of_part.reveal, of_part.masked), (of_whole.reveal, of_whole.masked));
            assert_eq!((of_part.guidance, of_part.unguided), (of_whole.guidance, of_whole.unguided));
            assert_eq!(of_part.choice_temperature, of_whole.choice_temperature);
            assert_eq!(of_part.mask_ratio, of_part.masked as f32 / 256.0);
        }
        // Nothing was revealed before the first step.
        assert_eq!(part[0].values.new_tokens, 0);
    }
}

#[test]
fn parts_take_fewer_steps_and_never_more_than_the_whole() {
    let sampling = Sampling::DIMOO.with_steps(32);
    let of = |refresh: Refresh, share: f32| {
        let part = Settings { sampling, refresh, predictor: Predictor::Shortcut }.for_share(share);
        let plan = part.plan_on(256, ((256.0 * share) as u32).max(1)).unwrap();
        (plan.len(), plan.iter().filter(|step| step.kind == StepKind::Full).count(), part.refresh)
    };
    assert_eq!(of(Refresh::Uniform(4), 1.0), (32, 4, Refresh::Uniform(4)));
    assert_eq!(of(Refresh::Uniform(4), 0.25), (12, 2, Refresh::Uniform(2)));
    assert_eq!(of(Refresh::Uniform(4), 0.01), (4, 1, Refresh::Uniform(1)));
    assert_eq!(of(Refresh::Optimal(8), 0.25).2, Refresh::Uniform(3));
    assert_eq!(of(Refresh::List(vec![0, 2, 16, 30]), 0.25).2, Refresh::List(vec![0, 6, 11]));
    assert_eq!(of(Refresh::Every, 0.25), (12, 12, Refresh::Every));
}

#[test]
fn the_engine_makes_canvases_of_any_size_and_a_blank_one_is_a_new_picture() {
    let (_folder, families) = families();
    for (model, conditions) in families {
        let (tokens, codebook) = (model.family().tokens(), model.family().codebook());
        let mut sampling = model.config.sampling.with_steps(STEPS);
        sampling.guidance_interval = [0.0, 1.0];
        let settings = Settings { sampling, refresh: Refresh::Uniform(2), predictor: Predictor::Shortcut };
        let few =
            Canvas { tokens: (0..tokens).map(|token| (token > 2).then_some(token % codebook)).collect() };
        let mut kept = canvases(&model);
        kept.insert(1, few);
        kept.push(Canvas::blank(tokens));
        let jobs: Vec<Job> = kept
            .iter()
            .zip(conditions.iter().cycle())
            .map(|(canvas, condition)| Job { canvas: Some(canvas.clone()), ..Job::new(condition.clone(), 7) })
            .collect();
        let mut engine = Engine::of(model, Device::Cpu);
        let mut made = |jobs: Vec<Job>, at_once| {
            let mut found = vec![Vec::new(); jobs.len()];
            let mut run = engine.run(jobs, &settings, None, Some(at_once)).unwrap();
            while let Some(event) = block_on(run.next()).unwrap() {
                if let Event::Finished(batch) = event {
                    let each = batch.codes.chunks_exact(tokens as usize);
                    batch.pictures.iter().zip(each).for_each(|(&index, codes)| found[index] = codes.to_vec());
                }
            }
            found
        };
        let all = made(jobs.clone(), 3);
        assert_eq!(all, made(jobs.clone(), 1));
        assert_kept(&all.concat(), &kept, codebook, "engine");
        let new = Job { canvas: None, ..jobs[3].clone() };
        assert_eq!(made(vec![new], 1)[0], all[3]);
        let mut broken = jobs[0].clone();
        broken.canvas = Some(Canvas::of_codes(&vec![0; tokens as usize], codebook));
        let error = engine.run(vec![broken], &settings, None, None).err().unwrap().to_string();
        assert!(error.contains("nothing is masked"), "{error}");
    }
}

#[test]
fn a_recipe_of_an_edit_makes_it_again() {
    let model = fixture();
    let canvas = canvases(&model).remove(1);
    let mut recipe = Recipe::new(&model, Subject::Class("2".to_owned()));
    (recipe.draw, recipe.refresh) = (recipe.draw.with_steps(STEPS), Refresh::Uniform(2));
    recipe.canvas = Some(canvas.clone());
    let value = recipe.metadata(&recipe.model, &[recipe.seed]);
    let value: serde_json::Value = serde_json::from_str(&value.to_string()).unwrap();
    let mut again = Recipe::from_metadata(&value).unwrap();
    // Classes come back by the name that they were asked for by.
    again.subject = recipe.subject.clone();
    assert_eq!(again, recipe);
    let command = value["command"].as_str().unwrap();
    assert!(command.ends_with(&format!("--canvas={canvas}")), "{command}");
    let plan = recipe.plan(&model).unwrap();
    assert_eq!(plan[0].values.masked, canvas.masked());
    assert_eq!(recipe.jobs(&model).unwrap()[0].canvas, Some(canvas));
}

#[test]
fn what_begins_otherwise_than_planned_is_refused() {
    let (_folder, families) = families();
    let (model, conditions) = &families[0];
    let canvases = canvases(model);
    let settings = Settings {
        sampling: model.config.sampling.with_steps(STEPS),
        refresh: Refresh::Every,
        predictor: Predictor::Reuse,
    };
    let batch = Batch::of(&conditions[0], 1, true);
    let mut session = Session::new(model, Shape::new(batch, None), &Device::Cpu).unwrap();
    session.configure_on(&settings, canvases[0].masked()).unwrap();
    let error = session.start(&conditions[..1], &[1]).unwrap_err().to_string();
    assert!(error.contains("the plan is for"), "{error}");
    session.configure_on(&settings, 5).unwrap();
    let error = session.start_on(&conditions[..1], &[1], &canvases[..1]).unwrap_err().to_string();
    assert!(error.contains("the plan expects 5 masked tokens"), "{error}");
    let error = session.start_on(&conditions[..1], &[1], &canvases).unwrap_err().to_string();
    assert!(error.contains("codes of up to"), "{error}");
}

#[test]
fn a_part_is_the_same_on_a_graphics_device() {
    let Some(gpu) = test_gpu() else { return };
    let (_folder, families) = families();
    for (model, conditions) in &families {
        let canvas = &canvases(model)[..1];
        let settings = Settings {
            sampling: model.config.sampling.with_steps(STEPS),
            refresh: Refresh::Uniform(2),
            predictor: Predictor::Shortcut,
        };
        let batch = Batch::of(&conditions[0], 1, settings.sampling.guided());
        let shape = Shape { decoder: false, ..Shape::new(batch, Some(Predictor::Shortcut)) };
        let of = |device: &Device| {
            let mut session = Session::new(model, shape, device).unwrap();
            run(&mut session, &settings, &conditions[..1], canvas).1
        };
        let found = of(&Device::Gpu(Box::new(gpu.clone())));
        assert_kept(&found, canvas, model.family().codebook(), "device");
        assert_eq!(found, of(&Device::Cpu));
    }
}
