//! Sessions over a prompt, on the small model of the recording and on both executors.

use super::model::Device;
use super::predict::{MlCache, Predictor};
use super::refresh::Refresh;
use super::sampling::Sampling;
use super::session::Settings;
use super::text::{self, TextModel, TextSession};
use crate::exec::Memory;
use crate::exec::twins::test_gpu;
use pollster::block_on;
use std::path::Path;

const ML_CACHE: Predictor = Predictor::MlCache(MlCache::OFFICIAL);
const PREDICTORS: [Predictor; 3] = [Predictor::Shortcut, Predictor::Reuse, ML_CACHE];

fn model() -> (tempfile::TempDir, TextModel) {
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/dimoo-tiny.safetensors");
    let folder = tempfile::tempdir().unwrap();
    crate::eval::export::export(&recording, folder.path()).unwrap();
    let model = TextModel::open(folder.path()).unwrap();
    (folder, model)
}

fn settings(model: &TextModel, predictor: Predictor) -> Settings {
    Settings { sampling: model.config.sampling, refresh: Refresh::Uniform(3), predictor }
}

fn session(model: &TextModel, settings: &Settings, device: &Device) -> TextSession {
    TextSession::new(model, "w5 w17 w9", 1, settings, device).unwrap()
}

fn run(session: &mut TextSession, settings: &Settings, seed: u64) -> Vec<u32> {
    session.configure(settings).unwrap();
    session.start(&[seed]).unwrap();
    while session.step().unwrap().is_some() {}
    block_on(session.tokens()).unwrap()
}

#[test]
fn the_step_loop_allocates_nothing_and_reads_nothing_back() {
    let (_folder, model) = model();
    let Some(gpu) = test_gpu() else { return };
    for predictor in PREDICTORS {
        let settings = settings(&model, predictor);
        let mut session = session(&model, &settings, &Device::Gpu(Box::new(gpu.clone())));
        session.configure(&settings).unwrap();
        session.start(&[1]).unwrap();
        let before = session.executor().counters();
        while session.step().unwrap().is_some() {}
        session.executor().wait().unwrap();
        assert_eq!(session.executor().counters(), before, "{predictor:?}");
    }
}

/// What `migm inspect` says before anything is loaded is what a session then holds, to the byte.
#[test]
fn a_session_holds_what_was_planned() {
    let (_folder, model) = model();
    let Some(gpu) = test_gpu() else { return };
    for predictor in PREDICTORS {
        let settings = settings(&model, predictor);
        let session = session(&model, &settings, &Device::Gpu(Box::new(gpu.clone())));
        let [prompt, none] = [model.prompts.encode("w5 w17 w9"), model.prompts.unconditional()]
            .map(|ids| ids.unwrap().len() as u32);
        let run = text::sequences(&model.config, &[prompt, none], 1);
        let shortcut = model.config.shortcut;
        let mut programs =
            super::dimoo::programs(&run, Some(predictor), shortcut, false, model.formats()).unwrap().list;
        programs.push(text::decoder(&model.config, model.formats()).unwrap());
        let planned = Memory::planned(&programs);
        let held = session.memory();
        assert_eq!(
            (held.weights, held.states, held.temporaries),
            (planned.weights, planned.states, planned.temporaries),
            "{predictor:?}"
        );
    }
}

#[test]
fn temperatures_and_coarse_noise_change_what_they_should() {
    let (_folder, model) = model();
    let settings = settings(&model, Predictor::Reuse);
    let with = |draw_temperature, choice_temperature, bf16_gumbel| {
        let sampling = Sampling { draw_temperature, choice_temperature, bf16_gumbel, ..settings.sampling };
        Settings { sampling, ..settings.clone() }
    };
    let mut session = session(&model, &settings, &Device::Cpu);
    let mut tokens = |draw, choice, bf16, seeds: std::ops::Range<u64>| -> Vec<Vec<u32>> {
        seeds.map(|seed| run(&mut session, &with(draw, choice, bf16), seed)).collect()
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
    let (_folder, model) = model();
    let Some(gpu) = test_gpu() else { return };
    let settings = settings(&model, Predictor::Shortcut);
    let mut cpu = session(&model, &settings, &Device::Cpu);
    let mut device = session(&model, &settings, &Device::Gpu(Box::new(gpu)));
    for (draw_temperature, bf16_gumbel) in [(1.0, true), (0.0, false), (0.8, true), (1.3, false)] {
        let sampling = Sampling { draw_temperature, bf16_gumbel, ..settings.sampling };
        let settings = Settings { sampling, ..settings.clone() };
        let (cpu, device) = (run(&mut cpu, &settings, 5), run(&mut device, &settings, 5));
        assert_eq!(cpu, device, "temperature {draw_temperature}, bf16 {bf16_gumbel}");
    }
}

#[test]
fn a_session_refuses_what_it_was_not_made_for() {
    let (_folder, model) = model();
    let refused = |made_for: &Settings, asked: &Settings, words: &str| {
        let mut session = session(&model, made_for, &Device::Cpu);
        let error = session.configure(asked).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        // What it was made for still runs.
        assert!(run(&mut session, made_for, 1).iter().all(|&code| code < model.config.transformer.codebook));
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
    let error = TextSession::new(&model, "w5", 1, &hot, &Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("the temperature of the draw is inf"), "{error}");
}

/// Images of one prompt, and of several of one length, together: each as it is alone, by every predictor.
#[test]
fn pictures_of_a_batch_are_those_made_alone() {
    let (_folder, model) = model();
    let prompts = ["w5 w17 w9", "w7 w3 w30", "w5 w17 w9"].map(|prompt| model.prompts.encode(prompt).unwrap());
    let seeds = [3, 4, 9];
    let devices = [Some(Device::Cpu), test_gpu().map(|gpu| Device::Gpu(Box::new(gpu)))];
    for device in devices.iter().flatten() {
        for (predictor, guided) in PREDICTORS.into_iter().flat_map(|p| [(p, true), (p, false)]) {
            let mut settings = settings(&model, predictor);
            if !guided {
                settings.sampling.guidance = 0.0;
            }
            let mut three = TextSession::new(&model, "w5 w17 w9", 3, &settings, device).unwrap();
            three.set_prompts(&prompts.each_ref().map(Vec::as_slice)).unwrap();
            three.start(&seeds).unwrap();
            while three.step().unwrap().is_some() {}
            let together = block_on(three.tokens()).unwrap();
            let mut one = session(&model, &settings, device);
            let each = together.len() / 3;
            for (image, prompt) in prompts.iter().enumerate() {
                one.set_prompt(prompt).unwrap();
                let alone = run(&mut one, &settings, seeds[image]);
                assert_eq!(alone, together[image * each..][..each], "{predictor}, guided: {guided}, {image}");
            }
            let shown = block_on(three.pictures(&together)).unwrap();
            assert_eq!(shown[1], block_on(one.picture(&together[each..2 * each])).unwrap());
        }
    }
    let mut three =
        TextSession::new(&model, "w5", 3, &settings(&model, Predictor::Reuse), &Device::Cpu).unwrap();
    let error = three.start(&[1]).unwrap_err().to_string();
    assert!(error.contains("1 seeds for a batch of 3"), "{error}");
    let error = three.set_prompts(&[&prompts[0][..1]; 2]).unwrap_err().to_string();
    assert!(error.contains("3 images, not 2 prompts"), "{error}");
    let error = three.set_prompt(&prompts[0]).unwrap_err().to_string();
    assert!(error.contains("a prompt of 1 tokens, not 3"), "{error}");
}
