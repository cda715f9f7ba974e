//! Edits from end to end, on a model and a judge of random weights, and what tasks ask for.

use super::kinds::{Kind, Task};
use super::*;
use crate::eval::random::RandomWeights;
use crate::eval::scenes_eval::judge::Seen;
use crate::eval::scenes_eval::source::{RealScene, Shown, Wanted};
use crate::generate::fixtures::{fixture, text_fixture};
use crate::generate::model::Device;
use crate::generate::predict::Predictor;
use crate::generate::refresh::Refresh;
use crate::models::judge::{ARCHITECTURE, Config};
use crate::program::Formats;
use std::ops::Range;

/// Squares on a plain ground.
struct Squares(u32);

impl SceneSource for Squares {
    fn has(&self, _: Split, _: bool) -> bool {
        true
    }

    fn scenes(&self, seed: u64, indices: Range<u64>, _: Split, _: bool) -> Vec<RealScene> {
        let scene = |index: u64| {
            let (noun, corner) = (((seed + index) % 4) as usize, self.0 / 2 * (index % 2) as u32);
            let inside = |at: u32| (corner..corner + self.0 / 2).contains(&at);
            let pixel = |at: u32| if inside(at % self.0) && inside(at / self.0) { 200 } else { 60 };
            let things = vec![(noun, [corner, corner, self.0 / 2, self.0 / 2])];
            let shown = Shown { things, colours: [2, 0], place: 1, light: 3 };
            RealScene {
                pixels: (0..self.0 * self.0).flat_map(|at| [pixel(at), 90, 120]).collect(),
                caption: String::new(),
                wanted: Wanted::default(),
                shown: Some(shown),
            }
        };
        indices.map(scene).collect()
    }
}

fn judge(size: u32) -> Judge {
    let words = |count: usize| (0..count).map(|i| i.to_string()).collect();
    let config = Config {
        architecture: ARCHITECTURE.to_owned(),
        size,
        channels: vec![8, 8],
        groups: 4,
        nouns: words(4),
        places: words(8),
        lights: words(4),
        colours: words(8),
    };
    let mut weights = RandomWeights { seed: 6 };
    Judge::with_weights("random", config, &Device::Cpu, Formats::F32, &mut weights).unwrap()
}

#[test]
fn tasks_ask_for_something_else_and_leave_the_thing_alone_where_they_should() {
    let (grid, size) = ([16, 16], [128, 128]);
    let scenes = Squares(128).scenes(0, 0..40, Split::Seen, true);
    let mut sides = std::collections::HashSet::new();
    for (number, scene) in (0..).zip(&scenes) {
        let (noun, rectangle) = scene.shown.as_ref().unwrap().things[0];
        let of = |kind| Task::new(kind, scene, number, 4, (grid, size)).unwrap();
        let thing = Region::rectangle(grid, size, rectangle);
        let seen = |nouns, colours| Seen { nouns, colours, count: 1, place: 1, light: 3, whole: true };
        let replace = of(Kind::Replace);
        assert_eq!(replace.region, thing);
        assert!(!replace.is_there(&seen([noun; 2], [2; 2])), "it is still the old one");
        assert!(!replace.prompt.is_empty() && replace.prompt.contains("in the desert"), "{}", replace.prompt);
        let recolour = of(Kind::Recolour);
        assert!(!recolour.is_there(&seen([noun; 2], [2; 2])), "{}", recolour.prompt);
        assert!((1..8).filter(|&colour| recolour.is_there(&seen([noun; 2], [colour; 2]))).count() == 1);
        let fill = of(Kind::Fill);
        assert_eq!(fill.region.count(), 25);
        assert_eq!(fill.region.except(&thing.grown(1)).count(), 25, "there is room");
        assert!(fill.is_there(&seen([noun; 2], [2; 2])) && !fill.is_there(&seen([noun, 3 - noun], [2; 2])));
        let extend = of(Kind::Extend);
        sides.insert(extend.extension.unwrap().0.name());
        assert!(extend.stays(&seen([0; 2], [0; 2])));
        assert!(!extend.stays(&Seen { light: 0, ..seen([0; 2], [0; 2]) }));
        assert_eq!(of(Kind::Fill).region, fill.region, "the same every time");
    }
    assert_eq!(sides.len(), 4);
    let unknown = RealScene { shown: None, ..scenes[0].clone() };
    assert!(Task::new(Kind::Fill, &unknown, 0, 4, (grid, size)).is_none());
}

#[test]
fn edits_are_made_judged_and_change_nothing_outside() {
    let (_folder, model) = text_fixture();
    let model = model.resized(None, Some([8, 8])).unwrap();
    let [size, _] = model.family().size();
    let sampling = model.config.sampling.with_steps(6);
    let settings = |refresh| Settings { sampling, refresh, predictor: Predictor::Shortcut };
    let plan = Plan {
        kinds: Kind::ALL.to_vec(),
        methods: vec![
            ("vanilla".to_owned(), settings(Refresh::Every)),
            ("shortcut".to_owned(), settings(Refresh::Uniform(2))),
        ],
        count: 5,
        seed: 3,
        split: Split::Seen,
        at_once: 2,
    };
    let (mut engine, mut judge) = (Engine::of(model, Device::Cpu), judge(size));
    let report = evaluate(&mut engine, &mut judge, &Squares(size), &plan, &mut |_| {}).unwrap();
    assert_eq!((report.rows.len(), report.before.len()), (8, 4));
    // The edge of what a picture grows by is not in it before.
    let edges: Vec<bool> = report.before.iter().map(|before| before.seam.is_some()).collect();
    assert_eq!(edges, Kind::ALL.map(|kind| kind != Kind::Extend));
    for row in &report.rows {
        assert_eq!(row.changed_outside, 0, "{row:?}");
        assert!(row.seconds > 0.0 && row.share_of_whole > 0.0 && row.seam.unwrap().mean > 0.0, "{row:?}");
        assert_eq!(row.inside.unwrap().of, 5);
        assert!(row.both.unwrap().right <= row.inside.unwrap().right.min(row.outside.unwrap().right));
        let full = if row.method == "vanilla" { row.steps[0] } else { 2.0 };
        assert!(row.steps[0] >= 4.0 && row.steps[1] <= full, "{row:?}");
    }
    let text = table::markdown(&report);
    assert_eq!(text.lines().filter(|line| line.starts_with('|')).count(), 2 + 8, "{text}");
    assert!(text.contains("of what was made: 0 changed"), "{text}");
    let again = evaluate(&mut engine, &mut judge, &Squares(size), &plan, &mut |_| {}).unwrap();
    let shares = |report: &Report| report.rows.iter().map(|row| (row.inside, row.seam)).collect::<Vec<_>>();
    assert_eq!(shares(&report), shares(&again));

    let mut classes = Engine::of(fixture(), Device::Cpu);
    let error = evaluate(&mut classes, &mut judge, &Squares(64), &plan, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("use a text model"), "{error}");
}

#[test]
fn a_seam_is_as_steep_as_the_step_across_it() {
    let region = Region::rectangle([4, 4], [32, 32], [8, 8, 16, 16]);
    let flat = Picture { width: 32, height: 32, rgb: vec![10; 32 * 32 * 3] };
    assert_eq!(seam(&flat, &region), None, "nothing is steep");
    let mut noisy = flat;
    noisy
        .rgb
        .iter_mut()
        .enumerate()
        .for_each(|(at, value)| *value = if at / 3 % 2 == at / 96 % 2 { 10 } else { 30 });
    assert!((seam(&noisy, &region).unwrap() - 1.0).abs() < 1e-9);
    let inner = Picture { width: 16, height: 16, rgb: vec![250; 16 * 16 * 3] };
    noisy.lay(&inner, [8, 8]);
    assert!(seam(&noisy, &region).unwrap() > 5.0);
}
