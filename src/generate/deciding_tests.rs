//! Runs that decide while they go on, and correctors: on both families and both executors.

use super::fixtures::{both_families, class_fixture, prompt};
use super::model::{Device, Model};
use super::pace::{Adaptive, Reason};
use super::predict::{MlCache, Predictor, Taylor};
use super::refresh::Refresh;
use super::sampling::{Reveal, Sampling};
use super::session::{PlannedStep, Session, Settings, Shape, StepKind};
use crate::exec::twins::test_gpu;
use crate::models::{Batch, Condition};
use pollster::block_on;

fn adaptive(target_error: f32, budget: Option<u32>) -> Refresh {
    Refresh::Adaptive(Adaptive { target_error, budget })
}

/// A session for settings, of one picture.
fn session(model: &Model, condition: &Condition, settings: &Settings, device: &Device) -> Session {
    let batch = Batch::of(condition, 1, settings.sampling.guided());
    Session::new(model, Shape::new(batch, Some(settings.predictor)).of_settings(settings), device).unwrap()
}

/// The steps and the tokens of a run.
fn run(session: &mut Session, settings: &Settings, condition: &Condition) -> (Vec<PlannedStep>, Vec<u32>) {
    session.configure(settings).unwrap();
    session.start(std::slice::from_ref(condition), &[7]).unwrap();
    let mut steps = Vec::new();
    while let Some(step) = block_on(session.advance()).unwrap() {
        steps.push(step);
    }
    assert_eq!(session.plan().len(), steps.len(), "the plan is what was run");
    (steps, block_on(session.tokens()).unwrap())
}

fn full(steps: &[PlannedStep]) -> usize {
    steps.iter().filter(|step| step.kind == StepKind::Full).count()
}

/// Both families, a condition each.
fn subjects() -> (tempfile::TempDir, Vec<(Model, Condition)>) {
    let (folder, [class, text]) = both_families();
    let words = prompt(&text, "w5 w17 w9");
    (folder, vec![(class, Condition::Class(Some(2))), (text, words)])
}

fn devices() -> Vec<Device> {
    let gpu = test_gpu().map(|gpu| Device::Gpu(Box::new(gpu)));
    std::iter::once(Device::Cpu).chain(gpu).collect()
}

#[test]
fn what_a_run_decided_makes_it_again_without_deciding() {
    let (_folder, subjects) = subjects();
    let predictors = [
        Predictor::Shortcut,
        Predictor::Reuse,
        Predictor::Taylor(Taylor::LINEAR),
        Predictor::MlCache(MlCache::OFFICIAL),
    ];
    for (model, condition) in &subjects {
        let usual = model.config.sampling.with_steps(9);
        for (at, predictor) in predictors.into_iter().enumerate() {
            for reveal in [Reveal::Schedule, Reveal::Entropy(2.0), Reveal::Certainty(0.3)] {
                let sampling =
                    Sampling { reveal, guidance: if at % 2 == 0 { usual.guidance } else { 0.0 }, ..usual };
                let settings = Settings { sampling, refresh: adaptive(0.2, None), predictor };
                let (steps, codes) =
                    run(&mut session(model, condition, &settings, &Device::Cpu), &settings, condition);
                assert!(codes.iter().all(|&code| code < model.family().codebook()), "{settings:?}");
                let again = settings.decided(&steps);
                assert!(!again.decides());
                // As it stands in a picture and in a link.
                let text = again.refresh.to_string();
                assert_eq!(text.parse::<Refresh>().unwrap(), again.refresh);
                let (repeated, same) =
                    run(&mut session(model, condition, &again, &Device::Cpu), &again, condition);
                assert_eq!(same, codes, "{settings:?}: {text}");
                let of = |steps: &[PlannedStep]| -> Vec<(StepKind, u32, u32)> {
                    steps.iter().map(|step| (step.kind, step.values.masked, step.values.reveal)).collect()
                };
                assert_eq!(of(&repeated), of(&steps), "{text}");
            }
        }
    }
}

#[test]
fn a_target_buys_full_steps_and_a_budget_is_exact() {
    let (_folder, subjects) = subjects();
    for (model, condition) in &subjects {
        let sampling = model.config.sampling.with_steps(10);
        let of = |refresh| {
            let settings = Settings { sampling, refresh, predictor: Predictor::Shortcut };
            run(&mut session(model, condition, &settings, &Device::Cpu), &settings, condition)
        };
        let (strict, codes) = of(adaptive(0.0, None));
        let (vanilla, wanted) = of(Refresh::Every);
        // The first predicted step tells how fast features move; after it none is allowed.
        assert!(full(&strict) >= vanilla.len() - 1, "{} of {}", full(&strict), vanilla.len());
        let (free, _) = of(adaptive(1e3, None));
        assert_eq!(full(&free), 1);
        assert_eq!(
            (free[0].verdict.unwrap().reason, free[2].verdict.unwrap().reason),
            (Reason::First, Reason::Within)
        );
        assert!(free[3].verdict.unwrap().estimate > free[2].verdict.unwrap().estimate, "{free:?}");
        for budget in [1, 3, 10] {
            for target_error in [0.001, 0.2, 50.0] {
                let (steps, codes) = of(adaptive(target_error, Some(budget)));
                assert_eq!(full(&steps), budget as usize, "{budget} at {target_error}");
                if budget == 10 {
                    assert_eq!(codes, wanted, "all steps in full are vanilla");
                }
            }
        }
        assert_eq!(codes.len(), wanted.len());
        // Guidance that begins later has a full step of its own, which counts.
        let sampling = Sampling { guidance: 1.0, guidance_interval: [0.0, 0.7], ..sampling };
        let of = |budget| {
            let refresh = adaptive(0.2, Some(budget));
            Settings { sampling, refresh, predictor: Predictor::Shortcut }
        };
        for budget in [2, 4, 10] {
            let settings = of(budget);
            let (steps, _) =
                run(&mut session(model, condition, &settings, &Device::Cpu), &settings, condition);
            assert_eq!(full(&steps), budget as usize, "{steps:?}");
            let begins: Vec<bool> =
                steps.windows(2).map(|two| two[0].values.unguided && !two[1].values.unguided).collect();
            let at = 1 + begins.iter().position(|begins| *begins).unwrap();
            assert_eq!(steps[at].verdict.unwrap().reason, Reason::Guidance);
        }
        let (settings, device) = (of(1), Device::Cpu);
        let refused =
            session(model, condition, &settings, &device).configure(&settings).unwrap_err().to_string();
        assert!(refused.contains("less than the 2 full steps"), "{refused}");
    }
}

#[test]
fn bounds_on_entropy_and_certainty_choose_between_the_schedule_and_all_at_once() {
    let (_folder, subjects) = subjects();
    for (model, condition) in &subjects {
        let of = |reveal, refresh: &Refresh| {
            let sampling = Sampling { reveal, ..model.config.sampling.with_steps(8) };
            let settings = Settings { sampling, refresh: refresh.clone(), predictor: Predictor::Shortcut };
            run(&mut session(model, condition, &settings, &Device::Cpu), &settings, condition)
        };
        for refresh in [Refresh::Every, Refresh::Uniform(3)] {
            let (scheduled, wanted) = of(Reveal::Schedule, &refresh);
            for strict in [Reveal::Entropy(1e-9), Reveal::Certainty(1.0)] {
                let (steps, codes) = of(strict, &refresh);
                assert_eq!((steps.len(), &codes), (scheduled.len(), &wanted), "{strict}");
            }
            let (at_once, _) = of(Reveal::Entropy(1e6), &refresh);
            assert_eq!(at_once.len(), 1);
            let (some, _) = of(Reveal::Entropy(5.0), &refresh);
            assert!(some.len() <= scheduled.len(), "{} steps", some.len());
            let revealed: u32 = some.iter().map(|step| step.values.reveal).sum();
            assert_eq!(revealed, model.family().tokens());
            // From the second look on, a token that stays likeliest with any certainty at all is certain.
            let (certain, _) = of(Reveal::Certainty(1e-6), &refresh);
            assert!(certain.len() < scheduled.len(), "{} steps", certain.len());
        }
    }
}

#[test]
fn a_corrector_takes_back_and_stays_on_the_schedule() {
    let (_folder, subjects) = subjects();
    for (model, condition) in &subjects {
        for refresh in [Refresh::Every, Refresh::Uniform(4), adaptive(0.2, Some(4))] {
            let usual = model.config.sampling.with_steps(9);
            let of = |corrector, device: &Device| {
                let settings = Settings {
                    sampling: Sampling { corrector, ..usual },
                    refresh: refresh.clone(),
                    predictor: Predictor::Shortcut,
                };
                run(&mut session(model, condition, &settings, device), &settings, condition)
            };
            let (plain, without) = of(0.0, &Device::Cpu);
            let (steps, codes) = of(0.5, &Device::Cpu);
            let masked =
                |steps: &[PlannedStep]| -> Vec<u32> { steps.iter().map(|step| step.values.masked).collect() };
            assert_eq!(masked(&steps), masked(&plain));
            let again: u32 = steps.iter().map(|step| step.values.remask).sum();
            assert!(again > 0, "{steps:?}");
            assert!(codes.iter().all(|&code| code < model.family().codebook()));
            assert_ne!(codes, without, "what is masked again is drawn anew");
            assert!(steps.iter().all(|step| step.kind == StepKind::Full || step.values.remask == 0));
            for device in devices() {
                assert_eq!(of(0.5, &device).1, codes, "{}", device.describe());
            }
        }
    }
}

/// In a batch each image is the one that is made alone.
#[test]
fn a_corrector_works_in_batches() {
    let (_folder, model) = class_fixture();
    let sampling = Sampling { corrector: 0.4, ..model.config.sampling };
    let settings = Settings { sampling, refresh: Refresh::Uniform(5), predictor: Predictor::Shortcut };
    let all: Vec<Condition> = (0..3).map(|class| Condition::Class(Some(class))).collect();
    let made = |conditions: &[Condition], seeds: &[u64]| {
        let batch = Batch::of_classes(seeds.len() as u32, true);
        let shape = Shape::new(batch, Some(settings.predictor)).of_settings(&settings);
        let mut session = Session::new(&model, shape, &Device::Cpu).unwrap();
        session.configure(&settings).unwrap();
        session.start(conditions, seeds).unwrap();
        session.finish().unwrap();
        block_on(session.tokens()).unwrap()
    };
    let together = made(&all, &[4, 5, 6]);
    for (index, seed) in [4, 5, 6].into_iter().enumerate() {
        let tokens = model.family().tokens() as usize;
        assert_eq!(made(&all[index..=index], &[seed]), together[index * tokens..][..tokens]);
    }
}

#[test]
fn both_executors_decide_alike_and_read_one_small_value_a_step() {
    let (_folder, subjects) = subjects();
    for (model, condition) in &subjects {
        for (reveal, refresh) in [
            (Reveal::Schedule, adaptive(0.1, None)),
            (Reveal::Entropy(3.0), Refresh::Uniform(3)),
            (Reveal::Certainty(0.2), adaptive(0.2, Some(3))),
        ] {
            let sampling = Sampling { reveal, ..model.config.sampling.with_steps(8) };
            let settings = Settings { sampling, refresh, predictor: Predictor::Shortcut };
            let mut found = Vec::new();
            for device in devices() {
                let mut session = session(model, condition, &settings, &device);
                // Everything has been made once the first run is over.
                let (steps, codes) = run(&mut session, &settings, condition);
                session.configure(&settings).unwrap();
                session.start(std::slice::from_ref(condition), &[7]).unwrap();
                let before = session.executor().counters();
                while block_on(session.advance()).unwrap().is_some() {}
                let after = session.executor().counters();
                let looks = after.readbacks - before.readbacks;
                assert_eq!(looks, steps.len() as u64, "{settings:?} on {}", device.describe());
                assert_eq!((after.bind_groups, after.pipelines), (before.bind_groups, before.pipelines));
                assert_eq!(
                    block_on(session.tokens()).unwrap(),
                    codes,
                    "a run can be made again in its session"
                );
                assert!(block_on(session.step_times()).unwrap().iter().all(Option::is_some));
                found.push((full(&steps), codes));
            }
            assert!(found.windows(2).all(|pair| pair[0] == pair[1]), "{settings:?}");
        }
    }
}

#[test]
fn what_cannot_decide_is_refused_with_a_sentence() {
    let (_folder, model) = class_fixture();
    let condition = Condition::Class(Some(1));
    let usual = model.config.sampling;
    let settings = |sampling, refresh| Settings { sampling, refresh, predictor: Predictor::Shortcut };
    let deciding = settings(usual, adaptive(0.1, None));
    let shape = Shape::new(Batch::of_classes(2, true), Some(Predictor::Shortcut));
    let mut pair = Session::new(&model, shape.of_settings(&deciding), &Device::Cpu).unwrap();
    let error = pair.configure(&deciding).unwrap_err().to_string();
    assert!(error.contains("one picture at a time"), "{error}");
    let mut plain = Session::new(&model, shape, &Device::Cpu).unwrap();
    let corrected = settings(Sampling { corrector: 0.2, ..usual }, Refresh::Every);
    for other in [&deciding, &corrected] {
        let error = plain.configure(other).unwrap_err().to_string();
        assert!(error.contains("make a new one"), "{error}");
    }
    let mut single = session(&model, &condition, &deciding, &Device::Cpu);
    single.configure(&deciding).unwrap();
    single.start(&[condition], &[1]).unwrap();
    assert!(single.step().unwrap_err().to_string().contains("decides while it goes on"));
    for (sampling, refresh, words) in [
        (Sampling { corrector: 1.5, ..usual }, Refresh::Every, "corrector"),
        (Sampling { reveal: Reveal::Entropy(0.0), ..usual }, Refresh::Every, "above 0"),
        (Sampling { reveal: Reveal::Certainty(2.0), ..usual }, Refresh::Every, "up to 1"),
        (Sampling { reveal: Reveal::Entropy(f32::NAN), ..usual }, Refresh::Every, "above 0"),
        (usual, adaptive(f32::NAN, None), "target error"),
        (usual, adaptive(0.1, Some(0)), "1 or more"),
        (usual, adaptive(0.1, Some(4000)), "or fewer"),
        (usual, "decided:0/3,4".parse().unwrap(), "add up"),
        (usual, "decided:4000".parse().unwrap(), "beyond the last"),
    ] {
        let error = settings(sampling, refresh).plan(64).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
