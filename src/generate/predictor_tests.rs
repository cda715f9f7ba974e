//! What TaylorSeer, dLLM-Cache and ReCAP promise, for both families and on both executors.

use super::fixtures::{both_families, class_fixture, classes, prompt, sizes};
use super::model::{Device, Model};
use super::order::Order;
use super::predict::{DllmCache, Predictor, TaylorSeer};
use super::refresh::Refresh;
use super::session::{Session, Settings, Shape, StepKind};
use crate::exec::read_f32;
use crate::exec::twins::test_gpu;
use crate::models::{Batch, Condition, states};
use pollster::block_on;
use std::collections::BTreeSet;

fn devices() -> impl Iterator<Item = Device> {
    [Some(Device::Cpu), test_gpu().map(|gpu| Device::Gpu(Box::new(gpu)))].into_iter().flatten()
}

fn dllm_cache(prompt_interval: u32, image_interval: u32, ratio: f32) -> Predictor {
    Predictor::DllmCache(DllmCache { prompt_interval, image_interval, ratio })
}

fn taylorseer(order: u32) -> Predictor {
    Predictor::TaylorSeer(TaylorSeer { order })
}

/// A model of each family, and four conditions of one length.
fn families() -> (tempfile::TempDir, [(Model, Vec<Condition>); 2]) {
    let (folder, [class, text]) = both_families();
    let prompts = ["w5 w17 w9", "w7 w3 w30", "w5 w17 w9", "w1 w2 w3"].map(|words| prompt(&text, words));
    (folder, [(class, classes(&[Some(2), Some(8), None, Some(9)])), (text, prompts.to_vec())])
}

fn session(model: &Model, conditions: &[Condition], settings: &Settings, device: &Device) -> Session {
    let batch = Batch::of(&conditions[0], conditions.len() as u32, settings.sampling.guided());
    let shape = Shape { decoder: false, ..Shape::new(batch, Some(settings.predictor)) };
    Session::new(model, shape, device).unwrap()
}

fn run(session: &mut Session, settings: &Settings, conditions: &[Condition], seeds: &[u64]) -> Vec<u32> {
    session.configure(settings).unwrap();
    session.start(conditions, seeds).unwrap();
    let before = session.executor().counters();
    session.finish().unwrap();
    assert_eq!(
        session.executor().counters(),
        before,
        "{}: the loop made or read something",
        settings.predictor
    );
    block_on(session.tokens()).unwrap()
}

fn settings(model: &Model, predictor: Predictor, refresh: Refresh) -> Settings {
    Settings { sampling: model.config.sampling, refresh, predictor }
}

/// In a batch as alone, on one executor as on the other, guided or not, under every kind of plan; and the loop neither makes nor reads
/// anything.
#[test]
fn every_picture_is_the_one_that_is_made_alone_and_executors_agree() {
    let (_folder, families) = families();
    let seeds = [5, 6, 7, 1 << 40];
    for (model, conditions) in &families {
        let (tokens, steps) = (model.family().tokens(), 8);
        for predictor in [taylorseer(2), dllm_cache(4, 3, 0.25), Predictor::Recap] {
            for guided in [true, false] {
                let mut plans = vec![(steps, predictor.default_refresh(steps))];
                if guided {
                    plans.extend([(steps, Refresh::Uniform(1)), (tokens + 9, Refresh::Uniform(5))]);
                }
                let mut settings = settings(model, predictor, Refresh::Every);
                if !guided {
                    settings.sampling.guidance = 0.0;
                }
                let mut four = session(model, conditions, &settings, &Device::Cpu);
                let mut one = session(model, &conditions[..1], &settings, &Device::Cpu);
                let mut on_gpu = test_gpu().filter(|_| guided).map(|gpu| {
                    let device = Device::Gpu(Box::new(gpu));
                    session(model, &conditions[..1], &settings, &device)
                });
                for (index, (steps, refresh)) in plans.into_iter().enumerate() {
                    let about = format!("{predictor}, guided: {guided}, {steps} steps, {refresh}");
                    (settings.sampling.steps, settings.refresh) = (steps, refresh);
                    let together = run(&mut four, &settings, conditions, &seeds);
                    assert!(together.iter().all(|code| *code < model.family().codebook()), "{about}");
                    // The first of a batch and the last, between which the others stand.
                    let images = together.chunks_exact(tokens as usize).enumerate();
                    for (image, alone) in images.filter(|(image, _)| [0, 3].contains(image)) {
                        let (condition, seed) = (&conditions[image..=image], &seeds[image..=image]);
                        assert_eq!(
                            run(&mut one, &settings, condition, seed),
                            alone,
                            "{about}, image {image}"
                        );
                    }
                    // A device in software takes its time: one picture of one plan is enough there.
                    if let Some(session) = on_gpu.as_mut().filter(|_| index == 0) {
                        assert_eq!(
                            run(session, &settings, &conditions[..1], &seeds[..1]),
                            together[..tokens as usize],
                            "{about}: executors"
                        );
                    }
                }
            }
        }
    }
}

/// Orders that are known in advance, and guidance that is left out in between.
#[test]
fn orders_and_intervals_of_guidance_hold_for_them() {
    let (_folder, families) = families();
    for (model, conditions) in &families {
        for predictor in [taylorseer(1), dllm_cache(10, 4, 0.5), Predictor::Recap] {
            let mut settings = settings(model, predictor, Refresh::Uniform(3));
            settings.sampling.steps = 7;
            let conditions = &conditions[..1];
            let mut sessions: Vec<Session> =
                devices().map(|device| session(model, conditions, &settings, &device)).collect();
            let mut found = Vec::new();
            for (order, guidance_interval) in [
                (Order::Confidence, [0.0, 1.0]),
                (Order::Halton, [0.0, 1.0]),
                (Order::Confidence, [0.3, 0.8]),
            ] {
                (settings.sampling.order, settings.sampling.guidance_interval) = (order, guidance_interval);
                let mut all = sessions.iter_mut().map(|session| run(session, &settings, conditions, &[3]));
                let first = all.next().unwrap();
                assert!(all.all(|tokens| tokens == first), "{predictor}: executors disagree");
                found.push(first);
            }
            assert_ne!(found[0], found[1], "{predictor}");
            assert_ne!(found[0], found[2], "{predictor}");
        }
    }
}

#[test]
fn with_every_step_full_all_of_them_are_vanilla_and_with_few_they_are_not() {
    let (_folder, families) = families();
    for (model, conditions) in &families {
        let of = |predictor, refresh| {
            let settings = settings(model, predictor, refresh);
            let mut session = session(model, conditions, &settings, &Device::Cpu);
            run(&mut session, &settings, conditions, &[5, 6, 7, 8])
        };
        let vanilla = of(Predictor::Reuse, Refresh::Every);
        let steps = model.config.sampling.steps;
        for predictor in [taylorseer(0), taylorseer(2), dllm_cache(9, 2, 0.3), Predictor::Recap] {
            assert_eq!(of(predictor, Refresh::Uniform(steps)), vanilla, "{predictor}");
            assert_eq!(of(predictor, Refresh::Every), vanilla, "{predictor}");
            assert_ne!(of(predictor, Refresh::Uniform(2)), vanilla, "{predictor}");
        }
        // All rows are computed anew at every step: because both parts are due, or because all have changed most.
        for predictor in [dllm_cache(1, 1, 0.0), dllm_cache(1, 100, 1.0)] {
            assert_eq!(of(predictor, Refresh::Uniform(1)), vanilla, "{predictor}");
        }
    }
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// The prompt is due at every step and all of the image's rows have changed most: the features are vanilla's.
#[test]
fn dllm_cache_of_all_rows_has_the_features_of_vanilla_at_every_step() {
    let (_folder, families) = families();
    for (model, conditions) in &families {
        for device in devices() {
            let cached = settings(model, dllm_cache(1, 1000, 1.0), Refresh::Uniform(1));
            let conditions = &conditions[..1];
            let mut session = session(model, conditions, &cached, &device);
            let mut features = |settings: &Settings| {
                session.configure(settings).unwrap();
                session.start(conditions, &[5]).unwrap();
                let mut all = Vec::new();
                while let Some(step) = session.step().unwrap() {
                    all.push((step.kind, block_on(session.features()).unwrap()));
                }
                all
            };
            let (got, wanted) = (features(&cached), features(&cached.vanilla()));
            for (step, ((kind, got), (_, wanted))) in got.iter().zip(&wanted).enumerate() {
                assert_eq!(*kind == StepKind::Full, step == 0);
                let apart = largest_difference(got, wanted);
                assert!(apart < 2e-3, "step {step}: features differ by {apart}");
            }
        }
    }
}

/// The cosine by definition, in f64.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// At a step at which neither part is due, layer by layer: values are new of all image rows, and outputs of those alone that were
/// least like the kept ones; the prompt, here the class token, is not touched.
#[test]
fn dllm_cache_computes_the_rows_whose_values_have_changed_most() {
    let (_folder, model) = class_fixture();
    let t = sizes(&model).transformer;
    let (length, hidden) = (t.length() as usize, t.hidden as usize);
    let count = (f64::from(t.tokens()) * 0.2) as usize;
    for device in devices() {
        let settings = settings(&model, dllm_cache(100, 100, 0.2), Refresh::List(vec![0, 1, 2, 3]));
        let mut session = session(&model, &classes(&[Some(2)]), &settings, &device);
        session.configure(&settings).unwrap();
        session.start(&classes(&[Some(2)]), &[5]).unwrap();
        let mut changed = 0;
        for step in 0..session.plan().len() {
            let read = |session: &mut Session, name: String| {
                block_on(read_f32(session.executor(), &name, 2 * length * hidden)).unwrap()
            };
            let of = |layer| [states::values(layer), states::attention(layer), states::feed_forward(layer)];
            let all = |session: &mut Session| -> Vec<[Vec<f32>; 3]> {
                (0..t.depth).map(|layer| of(layer).map(|name| read(session, name))).collect()
            };
            let before = all(&mut session);
            let kind = session.step().unwrap().unwrap().kind;
            let after = all(&mut session);
            if kind == StepKind::Full {
                continue;
            }
            for (layer, (before, after)) in before.iter().zip(&after).enumerate() {
                for sequence in 0..2 {
                    let row = |values: &'_ [f32], row: usize| {
                        values[(sequence * length + row) * hidden..][..hidden].to_vec()
                    };
                    let mut cosines: Vec<(f64, usize)> = (0..length - 1)
                        .map(|r| (cosine(&row(&before[0], r), &row(&after[0], r)), r))
                        .collect();
                    cosines.sort_by(|a, b| a.0.total_cmp(&b.0));
                    // Those that are as like as the last one that is computed may be computed in its place.
                    let last = cosines[count - 1].0 + 1e-6;
                    let may: BTreeSet<usize> =
                        cosines.iter().filter(|(cosine, _)| *cosine <= last).map(|(_, row)| *row).collect();
                    for kind in [1, 2] {
                        let moved: BTreeSet<usize> =
                            (0..length).filter(|&r| row(&before[kind], r) != row(&after[kind], r)).collect();
                        assert!(moved.is_subset(&may), "step {step}, layer {layer}: {moved:?} of {may:?}");
                        assert!(moved.len() <= count);
                        // What has clearly changed is computed.
                        let clear =
                            cosines.iter().take(count).filter(|(c, _)| *c < last - 3e-6 && *c < 0.999);
                        assert!(
                            clear.clone().all(|(_, row)| moved.contains(row)),
                            "step {step}, layer {layer}"
                        );
                        changed += moved.len();
                    }
                    assert_eq!(row(&before[0], length - 1), row(&after[0], length - 1), "the class token");
                }
            }
        }
        assert!(changed > 0, "nothing was computed");
    }
}

/// A union that is all of the picture passes all rows through the model: for classes, whose token comes along, that is a full step.
#[test]
fn a_recap_step_over_the_whole_picture_is_a_full_one() {
    let (_folder, model) = class_fixture();
    let conditions = classes(&[Some(2), Some(8)]);
    for device in devices() {
        let every = settings(&model, Predictor::Recap, Refresh::Every);
        let mut session = session(&model, &conditions, &every, &device);
        let mut of = |refresh| {
            let tokens = run(&mut session, &Settings { refresh, ..every.clone() }, &conditions, &[5, 6]);
            (tokens, block_on(session.features()).unwrap())
        };
        let (vanilla, one_full) = (of(Refresh::Every), of(Refresh::Uniform(1)));
        assert_eq!(one_full.0, vanilla.0);
        let apart = largest_difference(&one_full.1, &vanilla.1);
        assert!(apart < 2e-3, "features differ by {apart}");
        assert_ne!(of(Refresh::Uniform(3)).0, vanilla.0);
    }
}

/// What a full step has chosen is what it and the predicted steps after it reveal, and only these rows are computed.
#[test]
fn recap_reveals_the_union_and_computes_its_rows_alone() {
    let (_folder, families) = families();
    for (model, conditions) in &families {
        let conditions = &conditions[..2];
        let (tokens, width) = (model.family().tokens() as usize, model.family().width() as usize);
        let mask = model.family().codebook();
        for device in devices() {
            let settings = settings(model, Predictor::Recap, Refresh::Uniform(4));
            let mut session = session(model, conditions, &settings, &device);
            session.configure(&settings).unwrap();
            session.start(conditions, &[5, 6]).unwrap();
            let plan = session.plan().to_vec();
            let batch = session.shape().batch;
            let network = &model.family().networks(batch)[0];
            let (length, sequences) = (network.length() as usize, network.sequences() as usize);
            let mut union = vec![BTreeSet::new(); 2];
            for step in plan {
                let before = block_on(session.features()).unwrap();
                let ids_before = block_on(session.tokens()).unwrap();
                session.step().unwrap();
                if step.kind == StepKind::Full {
                    let read = session.executor().read(states::UNION, 2 * tokens);
                    let listed = block_on(read).unwrap();
                    for (union, listed) in union.iter_mut().zip(listed.chunks_exact(tokens)) {
                        *union = listed[..step.values.unite as usize].iter().copied().collect();
                        assert_eq!(union.len(), step.values.unite as usize, "a token twice");
                    }
                } else {
                    let after = block_on(session.features()).unwrap();
                    let mut rows: BTreeSet<usize> = BTreeSet::new();
                    for sequence in 0..sequences {
                        let first = sequence * length;
                        let of = |token: &u32| first + network.placement().row(*token) as usize;
                        rows.extend(union[sequence % 2].iter().map(of));
                        if network.prompt().count == 1 {
                            rows.insert(first + network.prompt().first as usize);
                        }
                    }
                    let changed: BTreeSet<usize> = (0..sequences * length)
                        .filter(|row| before[row * width..][..width] != after[row * width..][..width])
                        .collect();
                    assert!(changed.is_subset(&rows), "{changed:?} of {rows:?}");
                    assert!(!changed.is_empty(), "nothing was computed");
                }
                let ids = block_on(session.tokens()).unwrap();
                for (at, (before, after)) in ids_before.iter().zip(&ids).enumerate() {
                    let revealed = *before == mask && *after != mask;
                    let token = (at % tokens) as u32;
                    assert!(!revealed || union[at / tokens].contains(&token), "token {token} is of no union");
                }
            }
        }
    }
}

/// What modules add is kept at full steps, and goes on in a line.
#[test]
fn taylorseer_expands_what_modules_add() {
    let (_folder, families) = families();
    for (model, conditions) in &families {
        for device in devices() {
            let settings = settings(model, taylorseer(1), Refresh::List(vec![0, 2]));
            let mut session = session(model, &conditions[..1], &settings, &device);
            session.configure(&settings).unwrap();
            session.start(&conditions[..1], &[5]).unwrap();
            let network = &model.family().networks(session.shape().batch)[0];
            let rows = network.sequences() * network.length();
            let len = (rows * model.family().width()) as usize;
            let mut sums = Vec::new();
            for _ in 0..5 {
                session.step().unwrap();
                sums.push(block_on(read_f32(session.executor(), states::MODULES, len)).unwrap());
            }
            // The line through steps 0 and 2, at steps 3 and 4.
            for (step, ahead) in [(3, 0.5), (4, 1.0)] {
                let line: Vec<f32> = sums[2].iter().zip(&sums[0]).map(|(b, a)| b + ahead * (b - a)).collect();
                let apart = largest_difference(&sums[step], &line);
                assert!(apart < 1e-4, "step {step}: {apart}");
            }
            assert!(largest_difference(&sums[0], &sums[2]) > 1e-3, "nothing has changed between full steps");
            assert_eq!(sums[0], sums[1], "one full step gives no difference");
        }
    }
}

/// What a predictor would have made can be asked before a full step, and the run goes on as if nobody had.
#[test]
fn they_can_be_asked_before_a_full_step() {
    let (_folder, families) = families();
    for (model, conditions) in &families {
        for predictor in [taylorseer(2), dllm_cache(3, 2, 0.5), Predictor::Recap] {
            let settings = settings(model, predictor, Refresh::List(vec![0, 1, 3, 4, 6]));
            let mut session = session(model, &conditions[..1], &settings, &Device::Cpu);
            let wanted = run(&mut session, &settings, &conditions[..1], &[3]);
            session.configure(&settings).unwrap();
            session.start(&conditions[..1], &[3]).unwrap();
            for step in 0..session.plan().len() {
                if session.plan()[step].kind == StepKind::Full && step > 0 {
                    let before = block_on(session.features()).unwrap();
                    session.predict().unwrap();
                    let after = block_on(session.features()).unwrap();
                    assert_ne!(before, after, "{predictor}: nothing was predicted");
                    assert!(after.iter().all(|value| value.is_finite()), "{predictor}");
                }
                session.step().unwrap();
            }
            assert_eq!(block_on(session.tokens()).unwrap(), wanted, "{predictor}");
        }
    }
}

#[test]
fn settings_out_of_range_are_refused_with_a_way_on() {
    let (_folder, model) = class_fixture();
    for (predictor, words) in [
        (taylorseer(3), "use 0 to 2"),
        (dllm_cache(0, 1, 0.5), "use 1 or more"),
        (dllm_cache(1, 0, 0.5), "use 1 or more"),
        (dllm_cache(1, 1, 1.5), "a share of 0 to 1"),
    ] {
        let shape = Shape::new(Batch::of_classes(1, true), Some(predictor));
        let error = Session::new(&model, shape, &Device::Cpu).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn their_names_are_read_as_they_are_printed() {
    for text in ["taylorseer:0", "taylorseer:2", "dllm-cache", "dllm-cache:10,1,0", "recap"] {
        let predictor = Predictor::named(text).unwrap();
        assert_eq!(predictor.to_string(), text);
        let value = serde_json::json!(predictor);
        assert_eq!(serde_json::from_value::<Predictor>(value).unwrap(), predictor);
    }
    assert_eq!(Predictor::named("taylorseer").unwrap().to_string(), "taylorseer:2");
    for text in ["taylorseer:3", "taylorseer:x", "dllm-cache:1", "recap:2", "dllm-cache:0,1,0.5"] {
        assert!(Predictor::named(text).is_none(), "{text}");
    }
    assert_ne!(Predictor::named("dllm-cache"), Predictor::named("dllm-cache:10,1,0"));
    assert_ne!(Predictor::named("taylorseer:1"), Predictor::named("taylorseer:2"));
    assert_ne!(Predictor::named("taylorseer:1"), Predictor::named("taylor:1"));
}
