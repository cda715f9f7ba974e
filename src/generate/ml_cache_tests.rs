//! What ML-Cache promises on MaskGIT models, on both executors.

use super::fixtures::{class_fixture, classes, sizes};
use super::model::{Config, Device, Model};
use super::predict::{MlCache, Predictor};
use super::refresh::Refresh;
use super::session::{Session, Settings, Shape, StepKind};
use crate::eval::random::RandomWeights;
use crate::exec::twins::test_gpu;
use crate::exec::write_f32;
use crate::models::{Batch, Known, maskgit, states};
use crate::program::{Formats, Layout, WeightSpec};
use pollster::block_on;
use std::collections::BTreeSet;

fn devices() -> impl Iterator<Item = Device> {
    [Some(Device::Cpu), test_gpu().map(|gpu| Device::Gpu(Box::new(gpu)))].into_iter().flatten()
}

fn predictor(cache_ratio: f32) -> Predictor {
    Predictor::MlCache(MlCache { cache_ratio })
}

fn shape(images: u32, predictor: Option<Predictor>) -> Shape {
    Shape { decoder: false, ..Shape::new(Batch::of_classes(images, true), predictor) }
}

fn settings(config: &Config, refresh: Refresh, cache_ratio: f32) -> Settings {
    Settings { sampling: config.sampling, refresh, predictor: predictor(cache_ratio) }
}

fn tokens(session: &mut Session, settings: &Settings, of: &[Option<u32>], seeds: &[u64]) -> Vec<u32> {
    session.configure(settings).unwrap();
    session.start(&classes(of), seeds).unwrap();
    session.finish().unwrap();
    block_on(session.tokens()).unwrap()
}

/// Sizes of which nothing is a multiple of four.
fn odd() -> Config {
    let (_folder, fixture) = class_fixture();
    let mut family = sizes(&fixture).clone();
    family.transformer =
        maskgit::Config { grid: 5, hidden: 30, depth: 2, heads: 3, mlp: 61, codebook: 37, classes: 3 };
    family.shortcut = None;
    family.image_size = 5 * family.tokenizer.factor();
    Config { family: Known::Maskgit(family), sampling: fixture.config.sampling.with_steps(6) }
}

#[test]
fn a_cache_of_which_nothing_is_used_is_vanilla() {
    let ((_folder, small), odd) = (class_fixture(), odd());
    let (of, seeds) = ([Some(2), Some(0)], [5, 6]);
    let open = |odd_sizes: bool, shape: Shape, device: &Device| {
        if odd_sizes {
            Session::with_weights(&odd.family, shape, device, Formats::F32, &mut RandomWeights { seed: 2 })
                .unwrap()
        } else {
            Session::new(&small, shape, device).unwrap()
        }
    };
    for device in devices() {
        for odd_sizes in [true, false] {
            let config = if odd_sizes { &odd } else { &small.config };
            let mut session = open(odd_sizes, shape(2, None), &device);
            let vanilla = tokens(&mut session, &settings(config, Refresh::Every, 0.0), &of, &seeds);
            let mut session = open(odd_sizes, shape(2, Some(predictor(0.0))), &device);
            let one_full = settings(config, Refresh::Uniform(1), 0.0);
            assert_eq!(
                tokens(&mut session, &one_full, &of, &seeds),
                vanilla,
                "odd sizes: {odd_sizes}, {}",
                session.executor().describe()
            );
        }
    }
}

/// The rows of the lowest scores by definition: every logit in f64, and the count by the quantile's rank.
fn lowest_rows(model: &Model, features: &[f32], count: usize) -> BTreeSet<u32> {
    let t = sizes(model).transformer;
    let (length, hidden, vocabulary) = (t.length() as usize, t.hidden as usize, t.vocabulary() as usize);
    let load = |name: &str, shape: [usize; 2]| {
        let (name, shape) = (name.to_owned(), shape.to_vec());
        let spec = WeightSpec { name, shape, layout: Layout::Dense, format: Default::default() };
        model.weights().unwrap().load(&spec).unwrap()
    };
    let table = load("maskgit.tok_emb.weight", [vocabulary, hidden]);
    let bias = load("maskgit.bias", [length, vocabulary]);
    let mut chosen = BTreeSet::new();
    for (sequence, features) in features.chunks_exact(length * hidden).enumerate() {
        let score = |row: usize| {
            let x = &features[row * hidden..][..hidden];
            let logit = |code: usize| {
                let w = &table[code * hidden..][..hidden];
                let sum: f64 = x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                sum + f64::from(bias[row * vocabulary + code])
            };
            (0..t.codebook as usize).map(logit).fold(f64::MIN, f64::max)
        };
        let mut rows: Vec<(f64, usize)> = (0..length).map(|row| (score(row), row)).collect();
        rows.sort_by(|a, b| a.0.total_cmp(&b.0));
        chosen.extend(rows.iter().take(count).map(|(_, row)| (sequence * length + row) as u32));
    }
    chosen
}

#[test]
fn only_the_rows_of_the_lowest_logits_change() {
    let (_folder, model) = class_fixture();
    let (length, hidden) = (sizes(&model).transformer.length(), sizes(&model).transformer.hidden as usize);
    let count = MlCache::OFFICIAL.rows(length).unwrap();
    for device in devices() {
        let mut session = Session::new(&model, shape(2, Some(predictor(0.9))), &device).unwrap();
        session.configure(&settings(&model.config, Refresh::List(vec![0, 1, 2]), 0.9)).unwrap();
        session.start(&classes(&[Some(2), Some(8)]), &[5, 6]).unwrap();
        for _ in 0..3 {
            session.step().unwrap();
        }
        // Of a full step first, then of partial ones.
        let partial = session.plan().len() - 3;
        let mut changed = 0;
        for step in 0..partial {
            let before = block_on(session.features()).unwrap();
            assert_eq!(session.step().unwrap().unwrap().kind, StepKind::Predicted);
            let read = session.executor().read(states::CHOSEN_ROWS, (4 * count) as usize);
            let list = block_on(read).unwrap();
            let chosen: BTreeSet<u32> = list.iter().copied().collect();
            assert_eq!(chosen.len(), list.len(), "a row twice");
            assert_eq!(chosen, lowest_rows(&model, &before, count as usize), "partial step {step}");
            let after = block_on(session.features()).unwrap();
            let rows = before.chunks_exact(hidden).zip(after.chunks_exact(hidden)).enumerate();
            for (row, (before, after)) in rows {
                // A listed row may stay too, where none of the tokens just revealed is listed: nothing changed for it.
                let listed = chosen.contains(&(row as u32));
                assert!(listed || before == after, "row {row} of partial step {step}");
                changed += usize::from(before != after);
            }
        }
        assert!(changed > 0, "{partial} partial steps changed nothing");
    }
}

#[test]
fn recomputed_rows_of_an_unchanged_picture_are_what_they_were() {
    let (_folder, model) = class_fixture();
    let hidden = sizes(&model).transformer.hidden as usize;
    for device in devices() {
        let mut session = Session::new(&model, shape(1, Some(predictor(0.5))), &device).unwrap();
        session.configure(&settings(&model.config, Refresh::Uniform(1), 0.5)).unwrap();
        session.start(&classes(&[Some(4)]), &[1]).unwrap();
        let executor = session.executor();
        let find = |executor: &mut dyn crate::exec::Executor, name: &str| {
            executor.programs().iter().position(|program| program.name == name).unwrap()
        };
        let [full, choose, partial] = ["full", "choose", "partial"].map(|name| find(executor, name));
        executor.run(&[full, choose], 0, false).unwrap();
        let wanted = block_on(session.features()).unwrap();
        let count = MlCache { cache_ratio: 0.5 }.rows(sizes(&model).transformer.length()).unwrap() as usize;
        let list = block_on(session.executor().read(states::CHOSEN_ROWS, 2 * count)).unwrap();
        let mut spoilt = wanted.clone();
        for &row in &list {
            spoilt[row as usize * hidden..][..hidden].fill(9.0);
        }
        write_f32(session.executor(), states::FEATURES, &spoilt).unwrap();
        session.executor().run(&[partial], 0, false).unwrap();
        let got = block_on(session.features()).unwrap();
        let largest = got.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(largest < 1e-3, "{}: features differ by {largest}", session.executor().describe());
    }
}

#[test]
fn pictures_of_a_batch_are_those_made_alone_and_executors_agree() {
    let (_folder, model) = class_fixture();
    let in_12_steps = |refresh| {
        let settings = settings(&model.config, refresh, 0.9);
        Settings { sampling: settings.sampling.with_steps(12), ..settings }
    };
    let own = in_12_steps(Refresh::ML_CACHE);
    let mut first: Option<Vec<u32>> = None;
    for device in devices() {
        let mut pair = Session::new(&model, shape(2, own.predictor.into()), &device).unwrap();
        let both = tokens(&mut pair, &own, &[Some(2), Some(8)], &[5, 6]);
        let kinds: Vec<bool> = pair.plan().iter().map(|step| step.kind == StepKind::Full).collect();
        // Of 12 steps, int(3.6) = 3 and the first are warm.
        let full: Vec<usize> = (0..kinds.len()).filter(|&step| kinds[step]).collect();
        assert_eq!(full, [0, 1, 2, 3, 8]);
        let mut single = Session::new(&model, shape(1, own.predictor.into()), &device).unwrap();
        assert_eq!(tokens(&mut single, &own, &[Some(2)], &[5]), both[..64]);
        assert_eq!(tokens(&mut single, &own, &[Some(8)], &[6]), both[64..]);
        let every = in_12_steps(Refresh::Every);
        assert_ne!(tokens(&mut pair, &every, &[Some(2), Some(8)], &[5, 6]), both, "nothing was cached");
        assert_eq!(*first.get_or_insert(both.clone()), both, "{}", pair.executor().describe());
    }
}

#[test]
fn its_step_loop_allocates_nothing_and_reads_nothing_back() {
    let (_folder, model) = class_fixture();
    for device in devices() {
        let mut session = Session::new(&model, shape(1, Some(predictor(0.9))), &device).unwrap();
        session.configure(&settings(&model.config, Refresh::ML_CACHE, 0.9)).unwrap();
        session.start(&classes(&[Some(2)]), &[0]).unwrap();
        let before = session.executor().counters();
        session.finish().unwrap();
        assert_eq!(session.executor().counters(), before, "{}", session.executor().describe());
    }
}

#[test]
fn another_ratio_needs_another_session_and_a_wrong_one_is_refused() {
    let (_folder, model) = class_fixture();
    let mut session = Session::new(&model, shape(1, Some(predictor(0.9))), &Device::Cpu).unwrap();
    let error = session.configure(&settings(&model.config, Refresh::Uniform(2), 0.5)).unwrap_err();
    assert!(error.to_string().contains("another predictor"), "{error}");
    let error = Session::new(&model, shape(1, Some(predictor(2.0))), &Device::Cpu).unwrap_err();
    assert!(error.to_string().contains("0 to 1"), "{error}");
}

/// How far the predictor is off is asked before a full step, whatever ran before it, and a run goes on as if nobody had asked.
#[test]
fn what_it_would_have_made_is_of_the_rows_that_it_would_choose() {
    let (_folder, model) = class_fixture();
    let count = MlCache { cache_ratio: 0.5 }.rows(sizes(&model).transformer.length()).unwrap();
    for device in devices() {
        let settings = settings(&model.config, Refresh::List(vec![0, 2, 3]), 0.5);
        let mut plain = Session::new(&model, shape(1, Some(predictor(0.5))), &device).unwrap();
        let wanted = tokens(&mut plain, &settings, &[Some(2)], &[3]);
        let mut session = Session::new(&model, shape(1, Some(predictor(0.5))), &device).unwrap();
        session.configure(&settings).unwrap();
        session.start(&classes(&[Some(2)]), &[3]).unwrap();
        for step in 0..session.plan().len() {
            // Before step 3 no partial step has ever listed rows of the features that stand there.
            if session.plan()[step].kind == StepKind::Full && step > 0 {
                let before = block_on(session.features()).unwrap();
                session.predict().unwrap();
                let read = session.executor().read(states::CHOSEN_ROWS, 2 * count as usize);
                let chosen: BTreeSet<u32> = block_on(read).unwrap().into_iter().collect();
                assert_eq!(chosen, lowest_rows(&model, &before, count as usize), "step {step}");
            }
            session.step().unwrap();
        }
        assert_eq!(block_on(session.tokens()).unwrap(), wanted);
    }
}
