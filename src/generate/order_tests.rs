//! Predictors from outside, orders, distances and intervals of guidance, in sessions of both families.

use super::GenerateError;
use super::fixtures::{both_families, class_fixture, classes, prompt};
use super::model::{Device, Model};
use super::order::Order;
use super::predict::{Body, MlCache, Predict, Predictor, Taylor};
use super::refresh::Refresh;
use super::sampling::Sampling;
use super::session::{Session, Settings, Shape, StepKind};
use crate::exec::twins::test_gpu;
use crate::models::{Batch, Condition, Network};
use pollster::block_on;

fn settings(model: &Model, refresh: Refresh) -> Settings {
    Settings { sampling: model.config.sampling, refresh, predictor: Predictor::Shortcut }
}

/// What a predictor from outside remembers: the features of the last full step, and half of their last move.
#[derive(Debug)]
struct Halfway;

impl Predict for Halfway {
    fn name(&self) -> &'static str {
        "halfway"
    }

    fn observe<'a>(&'a self, network: &'a dyn Network) -> Result<Vec<(&'a str, Body<'a>)>, GenerateError> {
        let body: Body<'a> = Box::new(|b| {
            let features = network.features(b);
            let [rows, width] = b.size(features);
            let [last, next] = ["last", "next"]
                .map(|name| b.state(&network.name(name), rows, width, crate::program::Element::F32));
            b.combine(0.5, features, 0.0, next);
            b.combine(-0.5, last, 1.0, next);
            b.combine(1.0, features, 0.0, last);
        });
        Ok(vec![("observe", body)])
    }

    fn programs<'a>(&'a self, network: &'a dyn Network) -> Result<Vec<(&'a str, Body<'a>)>, GenerateError> {
        let body: Body<'a> = Box::new(|b| {
            let features = network.features(b);
            let [rows, width] = b.size(features);
            let next = b.state(&network.name("next"), rows, width, crate::program::Element::F32);
            b.combine(1.0, next, 1.0, features);
        });
        Ok(vec![("halfway", body)])
    }
}

#[test]
fn a_predictor_from_outside_runs_with_every_family_and_forgets_earlier_runs() {
    let (_folder, [class, text]) = both_families();
    let words = prompt(&text, "w5 w17 w9");
    for (model, condition) in [(class, Condition::Class(Some(2))), (text, words)] {
        let predictor = Predictor::Custom(&Halfway);
        let settings = Settings { predictor, ..settings(&model, Refresh::Uniform(3)) };
        let shape = Shape::new(Batch::of(&condition, 1, true), Some(predictor));
        let mut all: Vec<Vec<u32>> = Vec::new();
        for device in
            [Some(Device::Cpu), test_gpu().map(|gpu| Device::Gpu(Box::new(gpu)))].into_iter().flatten()
        {
            let mut session = Session::new(&model, shape, &device).unwrap();
            for seed in [3, 4, 3] {
                session.configure(&settings).unwrap();
                session.start(std::slice::from_ref(&condition), &[seed]).unwrap();
                session.finish().unwrap();
                let found = block_on(session.tokens()).unwrap();
                assert!(found.iter().all(|code| *code < model.family().codebook()));
                all.push(found);
            }
        }
        for runs in all.chunks(3) {
            assert_eq!((&runs[0], &runs[1]), (&runs[2], &all[1]));
            assert_eq!(runs[0], all[0]);
        }
        // It is named in reports, and files cannot bring it back.
        assert_eq!(predictor.name(), "halfway");
        assert!(Predictor::named("halfway").is_none());
        assert_eq!(serde_json::json!(predictor), serde_json::json!({ "custom": "halfway" }));
    }
}

/// Orders, distances and intervals of guidance: on both executors, alone and in a batch, for both families.
#[test]
fn orders_and_intervals_hold_for_every_family() {
    let (_folder, [class, text]) = both_families();
    let words = prompt(&text, "w5 w17 w9");
    let devices = [Some(Device::Cpu), test_gpu().map(|gpu| Device::Gpu(Box::new(gpu)))];
    for (model, condition) in [(class, Condition::Class(Some(2))), (text, words)] {
        let family = model.family();
        let plain = model.config.sampling.with_steps(6);
        let samplings = [
            plain,
            Sampling { order: Order::Halton, ..plain },
            Sampling { spread: 1.5, ..plain },
            Sampling { order: Order::Halton, spread: 2.0, ..plain },
            Sampling { guidance_interval: [0.3, 0.8], ..plain },
        ];
        let predictors = if model.classes().is_some() {
            [Predictor::Shortcut, Predictor::Taylor(Taylor { order: 2 })]
        } else {
            [Predictor::MlCache(MlCache::OFFICIAL), Predictor::Taylor(Taylor::LINEAR)]
        };
        for predictor in predictors {
            let shape = |images| Shape::new(Batch::of(&condition, images, true), Some(predictor));
            let mut made: Vec<Vec<u32>> = Vec::new();
            for device in devices.iter().flatten() {
                let mut pair = Session::new(&model, shape(2), device).unwrap();
                let mut single = Session::new(&model, shape(1), device).unwrap();
                for sampling in samplings {
                    let settings = Settings { sampling, refresh: Refresh::Uniform(3), predictor };
                    let run = |session: &mut Session, seeds: &[u64]| {
                        session.configure(&settings).unwrap();
                        session.start(&vec![condition.clone(); seeds.len()], seeds).unwrap();
                        let before = session.executor().counters();
                        session.finish().unwrap();
                        assert_eq!(session.executor().counters(), before, "{sampling:?}");
                        block_on(session.tokens()).unwrap()
                    };
                    let both = run(&mut pair, &[5, 6]);
                    assert_eq!(run(&mut single, &[6]), both[family.tokens() as usize..], "{sampling:?}");
                    made.push(both);
                }
            }
            let (cpu, gpu) = made.split_at(samplings.len());
            assert!(gpu.is_empty() || gpu == cpu, "{predictor}: executors disagree");
            for (index, tokens) in cpu.iter().enumerate() {
                assert!(tokens.iter().all(|code| *code < family.codebook()), "{predictor}, {index}");
                assert!(index == 0 || *tokens != cpu[0], "{predictor}: sampling {index} changes nothing");
            }
        }
    }
}

#[test]
fn a_halton_order_reveals_along_its_sequence() {
    let (_folder, model) = class_fixture();
    let sampling = Sampling { order: Order::Halton, ..model.config.sampling };
    let settings = Settings { sampling, ..settings(&model, Refresh::Every) };
    let mut session =
        Session::new(&model, Shape::new(Batch::of_classes(1, true), None), &Device::Cpu).unwrap();
    session.configure(&settings).unwrap();
    session.start(&classes(&[Some(2)]), &[1]).unwrap();
    let ranks = Order::Halton.ranks(model.family().grid()).unwrap();
    let mut revealed = 0;
    while let Some(step) = session.step().unwrap() {
        revealed += step.values.reveal;
        let ids = block_on(session.tokens()).unwrap();
        for (token, rank) in ranks.iter().enumerate() {
            assert_eq!(ids[token] < model.family().codebook(), *rank < revealed, "token {token}");
        }
    }
}

#[test]
fn where_guidance_begins_again_a_step_is_full() {
    let sampling = Sampling { guidance_interval: [0.2, 0.6], ..Sampling::DIMOO.with_steps(16) };
    let settings = Settings { sampling, refresh: Refresh::Uniform(1), predictor: Predictor::Shortcut };
    let plan = settings.plan(256).unwrap();
    for pair in plan.windows(2) {
        let [before, step] = [pair[0], pair[1]];
        assert_eq!(step.values.unguided, !(0.2..=0.6).contains(&step.values.mask_ratio));
        assert_eq!(step.values.guidance == 0.0, step.values.unguided);
        let begins = before.values.unguided && !step.values.unguided;
        assert_eq!(step.kind == StepKind::Full, begins, "step {}", step.values.step);
    }
}

/// Where there is no guidance, the unconditional half is left out, and nothing changes but the cost: whatever stands in for full
/// steps, for both families and on both executors.
#[test]
fn steps_without_guidance_run_half_and_make_the_same_tokens() {
    let (_folder, [class, text]) = both_families();
    let words = prompt(&text, "w5 w17 w9");
    let devices = [Some(Device::Cpu), test_gpu().map(|gpu| Device::Gpu(Box::new(gpu)))];
    for (model, condition) in [(class, Condition::Class(Some(2))), (text, words)] {
        let batch = Batch::of(&condition, 2, true);
        for predictor in Predictor::ALL {
            // Of those that observe full steps, keep something of them, or neither, one is compared on software Vulkan, which is slow.
            let compared =
                matches!(predictor, Predictor::Shortcut | Predictor::MlCache(_) | Predictor::Taylor(_));
            for device in devices.iter().flatten().filter(|device| compared || matches!(device, Device::Cpu))
            {
                let made = |both_halves| {
                    let shape = Shape::new(batch, Some(predictor));
                    let mut session = Session::new(&model, shape, device).unwrap();
                    if both_halves {
                        session.run_both_halves();
                    }
                    let mut all = Vec::new();
                    // Guidance in the middle, in the beginning, and nowhere.
                    let cases = [
                        ([0.2, 0.7], Refresh::List(vec![0, 2, 5])),
                        ([0.0, 0.0], Refresh::Uniform(2)),
                        ([0.6, 1.0], Refresh::Uniform(3)),
                        ([0.2, 0.7], Refresh::Every),
                    ];
                    // Software is slow at what graphics devices are fast at.
                    let cases = if matches!(device, Device::Cpu) { &cases[..] } else { &cases[..2] };
                    for (interval, refresh) in cases.iter().cloned() {
                        let sampling =
                            Sampling { guidance_interval: interval, ..model.config.sampling.with_steps(6) };
                        session.configure(&Settings { sampling, refresh, predictor }).unwrap();
                        session.start(&[condition.clone(), condition.clone()], &[5, 6]).unwrap();
                        session.finish().unwrap();
                        let tokens = block_on(session.tokens()).unwrap();
                        all.push((tokens, session.flops()[0], session.plan().len()));
                    }
                    all
                };
                for (index, (half, both)) in made(false).into_iter().zip(made(true)).enumerate() {
                    assert_eq!((half.0, half.2), (both.0, both.2), "{predictor}, {index}, {device:?}");
                    assert!(half.1 < both.1, "{predictor}, {index}: {} and {}", half.1, both.1);
                    // Nothing is observed, so that nothing has to be seen.
                    let leaves_all_out = matches!(predictor, Predictor::Shortcut | Predictor::Reuse);
                    if index == 1 && leaves_all_out && model.classes().is_some() {
                        let share = half.1 / both.1;
                        assert!((0.45..0.56).contains(&share), "{predictor}, {index}: {share}");
                    }
                }
            }
        }
    }
}
