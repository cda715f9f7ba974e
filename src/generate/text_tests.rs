//! Sessions over a prompt, on the small model of the recording and on both executors.

use super::fixtures::{prompt, text_fixture};
use super::model::{Device, Model};
use super::picture::Pixels;
use super::predict::{MlCache, Predictor};
use super::programs::Programs;
use super::refresh::Refresh;
use super::sampling::Sampling;
use super::session::{Session, Settings, Shape};
use crate::eval::random::RandomWeights;
use crate::exec::Memory;
use crate::exec::cpu::CpuExecutor;
use crate::exec::twins::test_gpu;
use crate::models::{Batch, Condition};
use pollster::block_on;

const ML_CACHE: Predictor = Predictor::MlCache(MlCache::OFFICIAL);
const WORDS: &str = "w5 w17 w9";
const PREDICTORS: [Predictor; 3] = [Predictor::Shortcut, Predictor::Reuse, ML_CACHE];

fn settings(model: &Model, predictor: Predictor) -> Settings {
    Settings { sampling: model.config.sampling, refresh: Refresh::Uniform(3), predictor }
}

fn shape(model: &Model, settings: &Settings, images: u32) -> Shape {
    let batch = Batch::of(&prompt(model, WORDS), images, settings.sampling.guided());
    Shape::new(batch, settings.predicts().then_some(settings.predictor))
}

fn session(model: &Model, settings: &Settings, device: &Device) -> Session {
    Session::new(model, shape(model, settings, 1), device).unwrap()
}

fn run(session: &mut Session, settings: &Settings, condition: &Condition, seed: u64) -> Vec<u32> {
    session.configure(settings).unwrap();
    session.start(std::slice::from_ref(condition), &[seed]).unwrap();
    session.finish().unwrap();
    block_on(session.tokens()).unwrap()
}

#[test]
fn the_step_loop_allocates_nothing_and_reads_nothing_back() {
    let (_folder, model) = text_fixture();
    let Some(gpu) = test_gpu() else { return };
    for predictor in PREDICTORS {
        let settings = settings(&model, predictor);
        let mut session = session(&model, &settings, &Device::Gpu(Box::new(gpu.clone())));
        session.configure(&settings).unwrap();
        session.start(&[prompt(&model, WORDS)], &[1]).unwrap();
        let before = session.executor().counters();
        while session.step().unwrap().is_some() {}
        session.executor().wait().unwrap();
        assert_eq!(session.executor().counters(), before, "{predictor:?}");
    }
}

/// What `migm inspect` says before anything is loaded is what a session then holds, to the byte.
#[test]
fn a_session_holds_what_was_planned() {
    let (_folder, model) = text_fixture();
    let Some(gpu) = test_gpu() else { return };
    for predictor in PREDICTORS {
        let settings = settings(&model, predictor);
        let session = session(&model, &settings, &Device::Gpu(Box::new(gpu.clone())));
        let programs =
            Programs::new(model.family(), shape(&model, &settings, 1), model.formats()).unwrap().list;
        let planned = Memory::planned(&programs);
        let held = session.memory();
        assert_eq!(
            (held.weights, held.states, held.temporaries),
            (planned.weights, planned.states, planned.temporaries),
            "{predictor:?}"
        );
    }
}

/// The halves of guidance, full and predicted, have a thread each on the CPU, and nothing else does.
#[test]
fn the_halves_of_guidance_run_side_by_side() {
    let (_folder, model) = text_fixture();
    for predictor in [Predictor::Shortcut, ML_CACHE] {
        let shape = shape(&model, &settings(&model, predictor), 1);
        let programs = Programs::new(model.family(), shape, model.formats()).unwrap();
        let [full, predicted] = [&programs.guided.full, &programs.guided.predicted].map(Clone::clone);
        let mut weights = RandomWeights { seed: 1 };
        let executor = CpuExecutor::new(programs.list, &mut weights).unwrap();
        assert_eq!(executor.beside_one_another(full.all()), 1, "{predictor:?}");
        let half = predicted.features().len() / 2;
        assert!(half > 0);
        assert_eq!(executor.beside_one_another(predicted.all()), half, "{predictor:?}: {predicted:?}");
        assert_eq!(executor.beside_one_another(&predicted.sampling().concat()), 0, "{predictor:?}");
    }
}

#[test]
fn temperatures_and_coarse_noise_change_what_they_should() {
    let (_folder, model) = text_fixture();
    let settings = settings(&model, Predictor::Reuse);
    let with = |draw_temperature, choice_temperature, bf16_gumbel| {
        let sampling = Sampling { draw_temperature, choice_temperature, bf16_gumbel, ..settings.sampling };
        Settings { sampling, ..settings.clone() }
    };
    let mut session = session(&model, &settings, &Device::Cpu);
    let mut tokens = |draw, choice, bf16, seeds: std::ops::Range<u64>| -> Vec<Vec<u32>> {
        seeds.map(|seed| run(&mut session, &with(draw, choice, bf16), &prompt(&model, WORDS), seed)).collect()
    };
    // Coarse noise differs by parts of a thousand from fine: some pictures stay as they are.
    let official = tokens(1.0, 1.0, false, 0..8);
    assert_eq!(official, tokens(1.0, 1.0, false, 0..8));
    assert_ne!(official, tokens(1.0, 1.0, false, 8..16));
    for (draw, choice, bf16) in [(0.5, 1.0, false), (1.0, 0.5, false), (1.0, 1.0, true)] {
        assert_ne!(official, tokens(draw, choice, bf16, 0..8), "draw {draw}, choice {choice}, bf16 {bf16}");
    }
    // Without noise in draw and choice, no seed matters.
    assert_eq!(tokens(0.0, 0.0, false, 1..2), tokens(0.0, 0.0, true, 2..3));
}

#[test]
fn both_executors_draw_the_same_tokens_at_any_temperature() {
    let (_folder, model) = text_fixture();
    let Some(gpu) = test_gpu() else { return };
    let settings = settings(&model, Predictor::Shortcut);
    let words = prompt(&model, WORDS);
    let mut cpu = session(&model, &settings, &Device::Cpu);
    let mut device = session(&model, &settings, &Device::Gpu(Box::new(gpu)));
    for (draw_temperature, bf16_gumbel) in [(1.0, true), (0.0, false), (0.8, true), (1.3, false)] {
        let sampling = Sampling { draw_temperature, bf16_gumbel, ..settings.sampling };
        let settings = Settings { sampling, ..settings.clone() };
        let (cpu, device) = (run(&mut cpu, &settings, &words, 5), run(&mut device, &settings, &words, 5));
        assert_eq!(cpu, device, "temperature {draw_temperature}, bf16 {bf16_gumbel}");
    }
}

#[test]
fn a_session_refuses_what_it_was_not_made_for() {
    let (_folder, model) = text_fixture();
    let refused = |made_for: &Settings, asked: &Settings, words: &str| {
        let mut session = session(&model, made_for, &Device::Cpu);
        let error = session.configure(asked).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        // What it was made for still runs.
        let codes = run(&mut session, made_for, &prompt(&model, WORDS), 1);
        assert!(codes.iter().all(|&code| code < model.family().codebook()));
    };
    let shortcut = settings(&model, Predictor::Shortcut);
    let with = |sampling, refresh| Settings { sampling, refresh, predictor: shortcut.predictor };
    let every = with(shortcut.sampling, Refresh::Every);
    let unguided = with(Sampling { guidance: 0.0, ..shortcut.sampling }, Refresh::Uniform(3));
    refused(&shortcut, &settings(&model, ML_CACHE), "another predictor");
    refused(&every, &shortcut, "another predictor");
    refused(&unguided, &shortcut, "without guidance");
    let hot = with(Sampling { draw_temperature: f32::INFINITY, ..shortcut.sampling }, Refresh::Every);
    refused(&shortcut, &hot, "the temperature of the draw is inf");
}

/// Images of one prompt, and of several of one length, together: each as it is alone, by every predictor.
#[test]
fn pictures_of_a_batch_are_those_made_alone() {
    let (_folder, model) = text_fixture();
    let prompts = [WORDS, "w7 w3 w30", WORDS].map(|words| prompt(&model, words));
    let seeds = [3, 4, 9];
    let devices = [Some(Device::Cpu), test_gpu().map(|gpu| Device::Gpu(Box::new(gpu)))];
    for device in devices.iter().flatten() {
        for (predictor, guided) in PREDICTORS.into_iter().flat_map(|p| [(p, true), (p, false)]) {
            let mut settings = settings(&model, predictor);
            if !guided {
                settings.sampling.guidance = 0.0;
            }
            let mut three = Session::new(&model, shape(&model, &settings, 3), device).unwrap();
            three.configure(&settings).unwrap();
            three.start(&prompts, &seeds).unwrap();
            three.finish().unwrap();
            let together = block_on(three.tokens()).unwrap();
            let mut one = session(&model, &settings, device);
            let each = together.len() / 3;
            for (image, condition) in prompts.iter().enumerate() {
                let alone = run(&mut one, &settings, condition, seeds[image]);
                assert_eq!(alone, together[image * each..][..each], "{predictor}, guided: {guided}, {image}");
            }
            let shown = block_on(three.pictures(&together, Pixels::Signed)).unwrap();
            let alone = block_on(one.pictures(&together[each..2 * each], Pixels::Signed)).unwrap();
            assert_eq!(shown[1], alone[0]);
        }
    }
    let settings = settings(&model, Predictor::Reuse);
    let mut three = Session::new(&model, shape(&model, &settings, 3), &Device::Cpu).unwrap();
    three.configure(&settings).unwrap();
    let error = three.start(&prompts, &[1]).unwrap_err().to_string();
    assert!(error.contains("1 seeds for a batch of 3"), "{error}");
    let error = three.start(&prompts[..2], &[1, 2, 3]).unwrap_err().to_string();
    assert!(error.contains("2 conditions"), "{error}");
    let other = vec![prompt(&model, "w5"); 3];
    let error = three.start(&other, &[1, 2, 3]).unwrap_err().to_string();
    assert!(error.contains("a prompt of 3 tokens, not 1"), "{error}");
    let error = three.start(&vec![Condition::Class(Some(1)); 3], &[1, 2, 3]).unwrap_err().to_string();
    assert!(error.contains("takes a prompt"), "{error}");
}
