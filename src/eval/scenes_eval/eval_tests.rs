//! Evaluations from end to end, with a judge of random weights: what it says is nothing, but it says the same every time.

use super::compare::Kind;
use super::makers::Maker;
use super::source::{SceneSource, Split, class_pictures, real_scenes};
use super::*;
use crate::eval::random::RandomWeights;
use crate::generate::engine::Engine;
use crate::generate::fixtures::{class_fixture, fixture, prompt, sizes, text_fixture};
use crate::generate::model::{Device, Model};
use crate::generate::recipe::Subject;
use crate::generate::sampling::Sampling;
use crate::generate::session::{Session, Settings, Shape};
use crate::models::{self, Batch};
use crate::program::Formats;
use pollster::block_on;
use std::ops::Range;

fn a_judge(size: u32, nouns: &[String]) -> Judge {
    let words = |count: usize| (0..count).map(|i| i.to_string()).collect();
    let config = models::judge::Config {
        architecture: models::judge::ARCHITECTURE.to_owned(),
        size,
        channels: vec![8, 8],
        groups: 4,
        nouns: nouns.to_vec(),
        places: words(8),
        lights: words(4),
        colours: words(8),
    };
    let mut weights = RandomWeights { seed: 6 };
    Judge::with_weights("random", config, &Device::Cpu, Formats::F32, &mut weights).unwrap()
}

/// Stripes whose number and colour stand for what is asked for.
struct Stripes {
    size: usize,
    nouns: usize,
}

impl Stripes {
    fn scene(&self, seed: u64, index: u64, split: Split, single: bool) -> RealScene {
        let number = (seed * 31 + index * 7 + u64::from(split == Split::HeldOut)) as usize;
        let (noun, other) = (number % self.nouns, (number / 3) % self.nouns);
        let stripe = |i: usize| (((i / (4 + noun)) % 2 * 150 + number * 5) % 256) as u8;
        let mut nouns = if single { vec![noun] } else { vec![noun, other] };
        nouns.dedup();
        let colours = nouns.iter().map(|noun| Some(noun % 8)).collect();
        let count = Some(if single { 1 } else { 2 });
        let sides = (!single && number.is_multiple_of(2)).then_some([noun, other]);
        let wanted = Wanted { nouns, colours, count, sides, place: Some(number % 8), light: None };
        // Two lengths of prompts.
        let caption = if number.is_multiple_of(2) {
            format!("w{} w9", 5 + noun)
        } else {
            format!("w{} w9 w10", 5 + noun)
        };
        RealScene {
            pixels: (0..self.size * self.size * 3).map(stripe).collect(),
            caption,
            wanted,
            shown: None,
        }
    }
}

impl SceneSource for Stripes {
    fn has(&self, split: Split, single: bool) -> bool {
        split == Split::Seen || !single
    }

    fn scenes(&self, seed: u64, indices: Range<u64>, split: Split, single: bool) -> Vec<RealScene> {
        indices.map(|index| self.scene(seed, index, split, single)).collect()
    }
}

/// Without what clocks say, and with operations to a hundredth: those that a batch does once are shared by its pictures.
fn timeless(report: &Report) -> Report {
    let mut report = report.clone();
    for row in &mut report.rows {
        (row.seconds_per_image, row.decode_seconds_per_image, row.speed_up) = (0.0, 0.0, 0.0);
        row.front_by_seconds = false;
        for counted in [&mut row.gflop_per_image, &mut row.full_step_equivalents] {
            *counted = (*counted * 100.0).round() / 100.0;
        }
    }
    report.comparisons.retain(|comparison| comparison.kind != Kind::EqualTime);
    report
}

#[test]
fn classes_are_evaluated_the_same_every_time() {
    let model = fixture();
    let mut judge = a_judge(64, &sizes(&model).labels);
    let source = Stripes { size: 64, nouns: sizes(&model).labels.len() };
    let plan = Plan {
        steps: 4,
        budgets: vec![2],
        predictors: vec![Predictor::Shortcut, Predictor::Reuse],
        refreshes: true,
        ..Plan::default()
    };
    let count = 3;
    let mut run = |batch| {
        let pictures = class_pictures(sizes(&model), &judge.config, count).unwrap();
        let real = real_scenes(&source, 5, Split::Seen, count as u64, true).unwrap();
        let mut engine = Engine::of(fixture(), Device::Cpu);
        let mut maker = Maker::new(&mut engine, pictures, 5, batch).unwrap();
        let mut told = Vec::new();
        let report = evaluate(&mut maker, &mut judge, &real, &plan, &mut |_, _| Ok(()), &mut |text| {
            told.push(text.to_owned());
        })
        .unwrap();
        told.retain(|text| !text.is_empty());
        assert_eq!(told, ["vanilla", "shortcut", "reuse", "coherence", "errors at refreshes"]);
        report
    };
    // In batches of two the last is filled up. How many are made at once changes nothing but times.
    let (report, again) = (run(2), run(3));
    assert_eq!(timeless(&report), timeless(&again));
    assert_eq!(table::markdown(&timeless(&report)), table::markdown(&timeless(&again)));
    assert_ne!(table::markdown(&report).matches("vanilla").count(), 0);

    let rows: Vec<(&str, usize, usize)> =
        report.rows.iter().map(|row| (row.method.as_str(), row.steps, row.full_steps)).collect();
    let vanilla = [("vanilla", 4, 4), ("vanilla", 2, 2), ("vanilla", 1, 1)];
    assert_eq!(rows, [&vanilla[..], &[("shortcut", 4, 2), ("reuse", 4, 2)]].concat());
    let first = &report.rows[0];
    assert_eq!((first.speed_up, first.token_agreement, first.feature_error), (1.0, 1.0, 0.0));
    for row in &report.rows {
        assert!(row.seconds_per_image > 0.0 && row.decode_seconds_per_image > 0.0, "{row:?}");
        // Nothing but the object was asked for, and that it is whole.
        let asked: Vec<bool> = row.quality.attributes.iter().map(Option::is_some).collect();
        assert_eq!(asked, [true, false, false, false, false, false, true]);
        assert_eq!(row.quality.attributes[0].unwrap().of, count);
        assert!(row.quality.frechet.unwrap() > 0.0, "{row:?}");
    }
    // What is counted, in full steps of vanilla: two full ones, and what the shortcut and the heads of the others take.
    let counted: Vec<f64> = report.rows.iter().map(|row| row.full_step_equivalents).collect();
    assert!((counted[0] - 4.0).abs() < 1e-9, "{counted:?}");
    assert!((counted[1] - 2.0).abs() < 0.2 && (counted[2] - 1.0).abs() < 0.2, "{counted:?}");
    assert!(counted[3] > counted[4] && counted[4] > 2.0 && counted[3] < 3.5, "{counted:?}");
    for row in &report.rows[1..] {
        let unit = report.rows[0].gflop_per_image / 4.0;
        assert!((row.gflop_per_image / unit - row.full_step_equivalents).abs() < 1e-9, "{row:?}");
    }
    assert!(report.rows.iter().any(|row| row.front_by_flops), "something is on the front");
    let shortcut = &report.rows[3];
    assert!(shortcut.token_agreement < 1.0 && shortcut.feature_error > 0.0, "{shortcut:?}");
    let real = report.real.as_ref().unwrap();
    assert_eq!((real.attributes[0].unwrap().of, report.pictures, report.features), (count, count, 8));
    assert!(report.rows.iter().all(|row| row.coherence.is_some_and(|mean| mean.mean < 0.0)));
    let text = table::markdown(&report);
    assert_eq!(text.lines().take_while(|line| line.starts_with('|')).count(), 2 + 1 + 5, "{text}");
    assert_eq!(report.comparisons.len(), 2);
    assert!(report.rows[0].versus_vanilla.is_none() && report.rows[1].versus_vanilla.is_some());
    for row in &report.rows {
        let held = row.refresh_error.map(|error| error.mean);
        assert_eq!(
            held.is_some_and(|error| error > 0.0),
            row.full_steps == 2 && row.method != "vanilla",
            "{row:?}"
        );
    }
    let counted: usize = shortcut.spread.nouns.iter().map(|of| of.all.of).sum();
    assert_eq!(counted, count);
    assert!(text.contains("objects") && !text.contains("light"), "{text}");
}

#[test]
fn prompts_of_any_length_are_evaluated_in_their_order() {
    let model = || {
        let (folder, model) = text_fixture();
        (folder, model.resized(None, Some([4, 4])).unwrap())
    };
    let (_folder, alone) = model();
    let (_other, ours) = model();
    let [size, _] = alone.family().size();
    let nouns: Vec<String> = (0..6).map(|i| i.to_string()).collect();
    let mut judge = a_judge(size, &nouns);
    let source = Stripes { size: size as usize, nouns: 6 };
    let real = real_scenes(&source, 1, Split::HeldOut, 5, false).unwrap();
    let error = real_scenes(&source, 1, Split::HeldOut, 5, true).unwrap_err().to_string();
    assert!(error.contains("held out"), "{error}");
    let asked = |scene: &RealScene| (Subject::Prompt(scene.caption.clone()), scene.wanted.clone());
    let pictures: Vec<_> = real.asked.iter().map(asked).collect();
    let mut engine = Engine::of(ours, Device::Cpu);
    let plan = Plan { steps: 5, budgets: vec![2], predictors: vec![Predictor::Shortcut], ..Plan::default() };
    let mut run = || {
        let mut maker = Maker::new(&mut engine, pictures.clone(), 70, 2).unwrap();
        evaluate(&mut maker, &mut judge, &real, &plan, &mut |_, _| Ok(()), &mut |_| {}).unwrap()
    };
    let report = run();
    assert_eq!(timeless(&report), timeless(&run()));
    let steps: Vec<usize> = report.rows.iter().map(|row| row.steps).collect();
    assert_eq!(steps, [5, 2, 1, 5]);
    // Stated by some of the prompts, by all, and by none.
    let real_row = report.real.as_ref().unwrap();
    let of: Vec<Option<usize>> =
        real_row.attributes.iter().map(|share| share.map(|share| share.of)).collect();
    let sides = real.asked.iter().filter(|scene| scene.wanted.sides.is_some()).count();
    assert!((1..5).contains(&sides), "{sides}");
    assert_eq!(of, [Some(5), Some(5), Some(5), Some(sides), Some(5), None, Some(5)]);

    // The third picture alone is the third of the evaluation, whatever prompts share its session.
    let mut maker = Maker::new(&mut engine, pictures.clone(), 70, 2).unwrap();
    let method = Method::accelerated(5, Predictor::Shortcut, Refresh::Uniform(2));
    let made = maker.make(method.predictor, std::slice::from_ref(&method), &mut || {}).unwrap();
    let sampling = alone.config.sampling.with_steps(5);
    let settings = Settings { sampling, refresh: method.refresh, predictor: Predictor::Shortcut };
    for index in [1, 2] {
        let words = pictures[index].0.title();
        let condition = prompt(&alone, words);
        let shape = Shape::new(Batch::of(&condition, 1, sampling.guided()), Some(Predictor::Shortcut));
        let mut session = Session::new(&alone, shape, &Device::Cpu).unwrap();
        session.configure(&settings).unwrap();
        session.start(&[condition], &[70 + index as u64]).unwrap();
        session.finish().unwrap();
        assert_eq!(block_on(session.tokens()).unwrap(), made[0].tokens[16 * index..][..16], "{words}");
    }
    assert_ne!(pictures[1].0.title().len(), pictures[2].0.title().len(), "the lengths differ");

    let mut small = a_judge(12, &nouns);
    let error = evaluate(&mut maker, &mut small, &real, &plan, &mut |_, _| Ok(()), &mut |_| {})
        .unwrap_err()
        .to_string();
    assert!(error.contains("12 x 12"), "{error}");
    let stranger = vec![(Subject::Prompt("w5 zebra".to_owned()), Wanted::default())];
    let error = Maker::new(&mut engine, stranger, 0, 1).err().unwrap().to_string();
    assert!(error.contains("zebra"), "{error}");
}

#[test]
fn diversity_is_that_of_each_prompt_s_pictures() {
    let (folder, model) = class_fixture();
    let mut judge = a_judge(32, &sizes(&model).labels);
    let source = Stripes { size: 32, nouns: sizes(&model).labels.len() };
    let plan = Plan { steps: 2, budgets: vec![1], predictors: vec![Predictor::Reuse], ..Plan::default() };
    // All classes, so that every real scene is of one of them.
    let count = sizes(&model).labels.len();
    let mut pictures = class_pictures(sizes(&model), &judge.config, count).unwrap();
    let real = real_scenes(&source, 5, Split::Seen, count as u64, true).unwrap();
    let mut engine = Engine::of(Model::open(folder.path()).unwrap(), Device::Cpu);
    let mut maker = Maker::new(&mut engine, pictures.clone(), 5, 4).unwrap();
    let mut report = evaluate(&mut maker, &mut judge, &real, &plan, &mut |_, _| Ok(()), &mut |_| {}).unwrap();
    assert!(report.real_coherence.unwrap().mean < 0.0);
    assert_eq!(report.diversity_of, None);
    assert!(!table::markdown(&report).contains("diversity"));
    pictures.truncate(2);
    let seeds = 3;
    let open = pictures.iter().flat_map(|picture| std::iter::repeat_n(picture.clone(), seeds)).collect();
    let nouns: Vec<usize> = pictures.iter().map(|(_, wanted)| wanted.nouns[0]).collect();
    let mut maker = Maker::new(&mut engine, open, 5, 4).unwrap();
    let source = Some((&source as &dyn SceneSource, 3));
    let counted = (&nouns[..], seeds);
    diversity::measure(&mut report, &mut maker, &mut judge, &plan, source, counted, &mut |_| {}).unwrap();
    let real = report.real_diversity.as_ref().unwrap();
    for of in report.rows.iter().map(|row| row.diversity.as_ref().unwrap()).chain([real]) {
        // Of three pictures, at most all differ.
        let most = 3.0_f64.log2() + 2.0 / (6.0 * std::f64::consts::LN_2);
        assert!(of.bits.iter().all(|bits| (0.0..=most + 1e-9).contains(bits)), "{of:?}");
        assert!((of.mean - of.bits.iter().sum::<f64>() / 3.0).abs() < 1e-12);
    }
    let text = table::markdown(&report);
    assert!(
        text.contains("3 seeds of each of 2 prompts") && text.contains("- real scenes: colour"),
        "{text}"
    );
}

#[test]
fn a_plan_holds_every_budget_against_vanilla_with_as_few_steps() {
    let plan = |steps, budgets: &[u32]| Plan {
        steps,
        budgets: budgets.to_vec(),
        predictors: vec![Predictor::Reuse],
        ..Plan::default()
    };
    let methods = plan(16, &[6, 4, 6]).methods().unwrap();
    let vanilla: Vec<u32> = methods.iter().filter(|m| m.predictor.is_none()).map(|m| m.steps).collect();
    assert_eq!(vanilla, [16, 8, 6, 5, 4]);
    let reuse: Vec<&Refresh> = methods.iter().filter(|m| m.predictor.is_some()).map(|m| &m.refresh).collect();
    assert_eq!(reuse, [&Refresh::Uniform(6), &Refresh::Uniform(4)]);
    assert_eq!(Plan::default_budgets(32), [4, 5, 8]);
    assert_eq!(Plan::default_budgets(2), [1]);
    for (steps, budgets, words) in
        [(16, [17], "17 full steps"), (16, [0], "0 full steps"), (0, [1], "1 step")]
    {
        let error = plan(steps, &budgets).methods().unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn methods_of_one_predictor_follow_each_other_and_none_is_run_twice() {
    let steps = 16;
    let halton = Method { order: Some(crate::generate::order::Order::Halton), ..Method::vanilla(steps) };
    let reuse = Method::accelerated(steps, Predictor::Reuse, Refresh::Uniform(4));
    let others = vec![Method::parse("ml-cache", steps).unwrap(), halton, reuse, Method::vanilla(8)];
    let plan =
        Plan { steps, budgets: vec![4], predictors: vec![Predictor::Reuse], others, ..Plan::default() };
    let labels: Vec<String> = plan.methods().unwrap().iter().map(Method::file_name).collect();
    let wanted = ["vanilla-16", "vanilla-8", "vanilla-5", "vanilla-4", "vanilla-halton-16"];
    assert_eq!(labels, [&wanted[..], &["reuse-16-4", "ml-cache-interval-0.3-5-16"]].concat());
}

#[test]
fn a_method_samples_as_it_says_and_else_as_its_model() {
    let (_folder, model) = class_fixture();
    let own = model.config.sampling;
    let judge = a_judge(32, &sizes(&model).labels);
    let pictures = class_pictures(sizes(&model), &judge.config, 1).unwrap();
    let mut engine = Engine::of(model, Device::Cpu);
    let maker = Maker::new(&mut engine, pictures, 5, 1).unwrap();
    let sampling = |text: &str| maker.settings(&Method::parse(text, own.steps).unwrap()).unwrap().sampling;
    assert_eq!(sampling("vanilla"), own);
    let asked = sampling("reuse weight=0.5 guidance=0.1,0.6 draw=0.9 choice=3");
    let wanted = Sampling { guidance: 0.5, guidance_interval: [0.1, 0.6], ..own };
    assert_eq!(asked, Sampling { draw_temperature: 0.9, choice_temperature: 3.0, ..wanted });
    assert!(asked != own && !sampling("vanilla weight=0").guided());
}

#[test]
fn what_cannot_be_run_is_said_before_anything_is_made() {
    let (_folder, model) = class_fixture();
    let mut judge = a_judge(32, &sizes(&model).labels);
    let source = Stripes { size: 32, nouns: sizes(&model).labels.len() };
    let pictures = class_pictures(sizes(&model), &judge.config, 2).unwrap();
    let real = real_scenes(&source, 5, Split::Seen, 2, true).unwrap();
    let mut engine = Engine::of(model, Device::Cpu);
    let mut maker = Maker::new(&mut engine, pictures, 5, 2).unwrap();
    for (text, wanted) in [
        ("vanilla choice=1e9", "vanilla choice 1000000000: the choice temperature is 1000000000"),
        ("reuse refresh=uniform:40", "reuse: "),
        ("vanilla guidance=0.8,0.2", "vanilla guided 0.8-0.2: the guidance interval begins at 0.8"),
    ] {
        let plan = Plan { steps: 4, others: vec![Method::parse(text, 4).unwrap()], ..Plan::default() };
        let keep = &mut |method: &Method, _: &Made| panic!("{} was made", method.label());
        let error = evaluate(&mut maker, &mut judge, &real, &plan, keep, &mut |_| {}).unwrap_err();
        assert!(error.to_string().starts_with(wanted), "{error}");
    }
}

/// Methods of lesser interest are of the first prompts alone, and hold to what the others made of these.
#[test]
fn some_methods_make_fewer_pictures() {
    let (_folder, model) = class_fixture();
    let mut judge = a_judge(32, &sizes(&model).labels);
    let source = Stripes { size: 32, nouns: sizes(&model).labels.len() };
    let pictures = class_pictures(sizes(&model), &judge.config, 3).unwrap();
    let real = real_scenes(&source, 5, Split::Seen, 3, true).unwrap();
    let mut engine = Engine::of(model, Device::Cpu);
    let mut maker = Maker::new(&mut engine, pictures, 5, 2).unwrap();
    let plan = |fewer, others: &[&str]| {
        let others = others.iter().map(|text| Method::parse(text, 4).unwrap()).collect();
        let (predictors, budgets) = (vec![Predictor::Reuse], vec![2]);
        Plan { steps: 4, budgets, predictors, others, fewer, refreshes: true, rounds: 2 }
    };
    let mut run = |maker: &mut Maker<'_>, fewer, others: &[&str]| {
        let plan = plan(fewer, others);
        let mut made = Vec::new();
        let keep = &mut |method: &Method, of: &Made| {
            made.push((method.file_name(), of.tokens.clone()));
            Ok(())
        };
        (evaluate(maker, &mut judge, &real, &plan, keep, &mut |_| {}).unwrap(), made)
    };
    let (all, of_all) = run(&mut maker, None, &[]);
    let (some, of_some) = run(&mut maker, Some(2), &["vanilla steps=2"]);
    let counts = |report: &Report| -> Vec<usize> {
        report.rows.iter().filter_map(|row| row.quality.all.map(|all| all.of)).collect()
    };
    // Vanilla of 4, of 2 and of 1 step, and reuse: one was asked for in whole.
    assert_eq!((counts(&all), counts(&some)), (vec![3; 4], vec![3, 3, 2, 2]));
    for ((name, tokens), (other, of_few)) in of_all.iter().zip(&of_some) {
        assert!(name == other && tokens.starts_with(of_few), "{name}");
        let few = if ["vanilla-4", "vanilla-2"].contains(&&**name) { 3 } else { 2 };
        assert_eq!(tokens.len() * few, of_few.len() * 3, "{name}");
    }
    // Workers make the same, and times are taken before.
    maker = maker.with_workers(2).unwrap();
    let plan = Plan { rounds: 1, ..plan(None, &[]) };
    let mut of_workers = Vec::new();
    let keep = &mut |method: &Method, of: &Made| {
        of_workers.push((method.file_name(), of.tokens.clone()));
        Ok(())
    };
    let report = evaluate(&mut maker, &mut judge, &real, &plan, keep, &mut |_| {}).unwrap();
    assert_eq!(of_workers, of_all);
    let mut wanted = timeless(&all);
    wanted.rounds = 1;
    assert_eq!(timeless(&report), wanted);
    assert!(report.rows.iter().all(|row| row.seconds_per_image > 0.0));
    let (whole, few) = (&all.rows[3], &some.rows[3]);
    assert!(some.rows.iter().all(|row| row.seconds_per_image > 0.0 && row.decode_seconds_per_image > 0.0));
    assert!(some.rounds == 2 && table::markdown(&some).contains("the median of 2 rounds"));
    assert!(few.quality.frechet.is_none() && whole.quality.frechet.is_some());
    assert!(few.token_agreement > 0.0 && few.token_agreement <= 1.0 && few.feature_error > 0.0);
    assert!(
        (few.full_step_equivalents - whole.full_step_equivalents).abs() < 0.1 * whole.full_step_equivalents
    );
    assert!(few.coherence.is_some_and(|mean| mean.mean < 0.0) && few.refresh_error.is_some());
    let first = whole.spread.nouns.iter().map(|of| of.all.of).sum::<usize>();
    assert_eq!((first, few.spread.nouns.iter().map(|of| of.all.of).sum::<usize>()), (3, 2));
    assert!(table::markdown(&some).contains(") of 2 |") && !table::markdown(&all).contains(") of "));
}

/// Pictures in files are those that were judged, and what is there from another run is refused.
#[test]
fn pictures_are_written_for_the_tools_of_others() {
    use super::samples::Samples;
    use crate::weights::stored_entries;
    let model = fixture();
    let mut judge = a_judge(64, &sizes(&model).labels);
    let source = Stripes { size: 64, nouns: sizes(&model).labels.len() };
    let plan = Plan { steps: 2, budgets: vec![1], predictors: vec![Predictor::Reuse], ..Plan::default() };
    let pictures = class_pictures(sizes(&model), &judge.config, 3).unwrap();
    let real = real_scenes(&source, 5, Split::Seen, 3, true).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| Some(folder.path().join(name));
    let samples = Samples { pictures: place("png"), archives: place("npz") };
    let methods = plan.methods().unwrap();
    crate::output::check(&samples.outputs(&methods, true)).unwrap();
    let mut engine = Engine::of(model, Device::Cpu);
    let mut maker = Maker::new(&mut engine, pictures, 5, 2).unwrap();
    let mut made = Vec::new();
    let keep = &mut |method: &Method, of: &Made| {
        made.push((method.file_name(), of.pictures.clone()));
        samples.keep(method, of, [64, 64])
    };
    evaluate(&mut maker, &mut judge, &real, &plan, keep, &mut |_| {}).unwrap();
    samples.keep_real(&real.others, 64).unwrap();
    assert_eq!(made.len(), 3);
    let bytes = |values: &[f32]| -> Vec<u8> {
        values.iter().map(|v| ((v.clamp(-1.0, 1.0) + 1.0) * 127.5).round() as u8).collect()
    };
    let real_pixels = real.others.iter().flat_map(|scene| scene.pixels.clone()).collect();
    let all = made.iter().map(|(name, values)| (name.clone(), bytes(values)));
    for (name, pixels) in all.chain([("real-scenes".to_owned(), real_pixels)]) {
        let archive = std::fs::read(folder.path().join(format!("npz/{name}.npz"))).unwrap();
        let array = &stored_entries(archive).unwrap()["arr_0.npy"];
        assert!(array[array.len() - pixels.len()..] == pixels, "{name}");
        assert_eq!(pixels.len(), 3 * 64 * 64 * 3, "{name}");
        for (index, wanted) in pixels.chunks(64 * 64 * 3).enumerate() {
            let path = folder.path().join(format!("png/{name}/{index:06}.png"));
            let found = image::open(&path).unwrap().to_rgb8();
            assert!(found.as_raw() == wanted, "{}", path.display());
        }
    }
    samples.check(&methods, 3).unwrap();
    let error = samples.check(&methods, 2).unwrap_err().to_string();
    assert!(error.contains("000002.png is no picture of this run"), "{error}");
}

#[test]
fn a_model_of_one_step_is_evaluated_without_what_it_does_not_have() {
    use crate::models::{Known, maskgit::one_step};
    let model = fixture();
    let mut config = sizes(&model).clone();
    (config.shortcut, config.one_step) = (None, Some(one_step::Config::OFFICIAL));
    let folder = tempfile::tempdir().unwrap();
    for part in ["maskgit", "vqgan"] {
        let file = format!("{part}.safetensors");
        let of = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(crate::generate::fixtures::FIXTURE);
        std::fs::copy(of.join(&file), folder.path().join(&file)).unwrap();
    }
    let sampling = crate::generate::published::config("dimo-256").unwrap().sampling;
    let config = crate::generate::model::Config { family: Known::Maskgit(config), sampling };
    std::fs::write(folder.path().join("config.json"), serde_json::json!(config).to_string()).unwrap();
    let model = Model::open(folder.path()).unwrap();
    let error = methods::named(&model, 1, &[1], &["reuse".to_owned()]).unwrap_err();
    assert!(error.contains("in one step"), "{error}");
    let chosen = methods::named(&model, 1, &[1], &["all".to_owned()]).unwrap();
    assert!(chosen.predictors.is_empty() && chosen.others.iter().all(|method| method.predictor.is_none()));
    let mut judge = a_judge(64, &sizes(&model).labels);
    let pictures = class_pictures(sizes(&model), &judge.config, 2).unwrap();
    let plan = Plan { steps: 1, budgets: vec![1], ..Plan::default() };
    let mut engine = Engine::of(model, Device::Cpu);
    let mut maker = Maker::new(&mut engine, pictures, 5, 2).unwrap();
    let report = evaluate(&mut maker, &mut judge, &Real::default(), &plan, &mut |_, _| Ok(()), &mut |_| {});
    let report = report.unwrap();
    assert_eq!((report.rows.len(), report.rows[0].steps, report.rows[0].coherence), (1, 1, None));
    assert!(!table::markdown(&report).contains("Coherence is"));
}

#[test]
fn classes_that_the_judge_does_not_know_are_left_out() {
    let model = fixture();
    let nouns = ["comet", "fox", "owl"].map(str::to_owned);
    let judge = a_judge(64, &nouns);
    let pictures = class_pictures(sizes(&model), &judge.config, 3).unwrap();
    let asked: Vec<(&str, &[usize])> =
        pictures.iter().map(|(class, w)| (class.title(), &w.nouns[..])).collect();
    assert_eq!(asked, [("2", &[1][..]), ("7", &[2]), ("2", &[1])]);
    let judge = a_judge(64, &nouns[..1]);
    let error = class_pictures(sizes(&model), &judge.config, 3).unwrap_err().to_string();
    assert!(error.contains("none of the model's classes"), "{error}");
}
