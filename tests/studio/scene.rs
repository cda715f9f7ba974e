//! A studio in which everything has happened already, with times that never change.

use migm::exec::Memory;
use migm::generate::picture::Picture;
use migm::generate::predict::Predictor;
use migm::generate::recipe::{Recipe, Subject};
use migm::generate::refresh::Refresh;
use migm::generate::sampling::Sampling;
use migm::generate::session::StepKind;
use migm::studio::actor::{Event, Features, RunId, StepDone, StepNote};
use migm::studio::blind::{Judged, Verdict};
use migm::studio::compare::{Comparison, methods};
use migm::studio::judging::Quality;
use migm::studio::model::ModelInfo;
use migm::studio::queue::Waiting;
use migm::studio::state::{Kept, State, Tab};
use migm::studio::sweep;

pub(crate) const GRID: [u32; 2] = [8, 8];
pub(crate) const CODEBOOK: u32 = 1024;
const STEPS: u32 = 12;
const FEATURES: usize = 16;

/// A text model that knows a few words.
pub(crate) fn text_model() -> ModelInfo {
    let words = "3D a at beach cactus flat fox in koala left moon of on pizza rocket sky snow style sunset taxi the to two";
    ModelInfo {
        source: "scenes-text".to_owned(),
        name: "scenes-text".to_owned(),
        words: words.split(' ').map(str::to_owned).collect(),
        labels: Vec::new(),
        is_text: true,
        grid: GRID,
        codebook: CODEBOOK,
        size: [64, 64],
        draw: Sampling { steps: STEPS, ..Sampling::DIMOO },
        has_shortcut: true,
        one_step: false,
        calibration: None,
        stored_half: true,
        stored_quantized: None,
    }
}

/// A class model.
pub(crate) fn class_model() -> ModelInfo {
    ModelInfo {
        source: "classes".to_owned(),
        name: "classes".to_owned(),
        words: Vec::new(),
        labels: ["cactus", "fox", "koala"].map(str::to_owned).to_vec(),
        is_text: false,
        draw: Sampling { steps: STEPS, ..Sampling::MASKGIT_512 },
        ..text_model()
    }
}

/// A picture that is plainly one: a sun over a hill, of a colour.
pub(crate) fn picture(hue: u8) -> Picture {
    let mut rgb = Vec::new();
    for y in 0..64_i32 {
        for x in 0..64_i32 {
            let sun = (x - 44).pow(2) + (y - 16).pow(2) < 90;
            let hill = y > 44 + (x - 20).pow(2) / 60;
            rgb.extend(match (sun, hill) {
                (true, _) => [250, 220, 90],
                (_, true) => [60, 120, hue / 2],
                _ => [hue, 160, (120 + y) as u8],
            });
        }
    }
    Picture { width: 64, height: 64, rgb }
}

/// A state with a model open.
pub(crate) fn opened(model: ModelInfo) -> State {
    let mut state = State::new(Kept::default());
    state.take(Event::Opened(Box::new(model)));
    if let Some(Recipe { subject: Subject::Prompt(prompt), .. }) = &mut state.recipe {
        *prompt = "a koala to the left of a taxi on a beach at sunset, 3D style".to_owned();
    }
    state
}

fn hash(token: usize) -> usize {
    (token * 37 + 11) % (GRID[0] * GRID[1]) as usize
}

/// Codes after so many steps: tokens are revealed in a scattered order.
fn codes(after: usize, of: usize) -> Vec<u32> {
    let tokens = (GRID[0] * GRID[1]) as usize;
    let revealed = tokens * after / of;
    (0..tokens).map(|token| if hash(token) < revealed { token as u32 } else { CODEBOOK }).collect()
}

fn features(step: usize) -> Features {
    let values = |i: usize| {
        let angle = step as f32 * 0.12 + i as f32;
        angle.sin() + if i.is_multiple_of(3) { 0.05 * step as f32 } else { 1.0 }
    };
    Features { values: (0..FEATURES).map(values).collect::<Vec<_>>().into(), width: 4 }
}

/// Runs a recipe up to a step, in times that its plan explains.
pub(crate) fn run(state: &mut State, recipe: &Recipe, until: usize, hue: u8) -> RunId {
    let steps = recipe.draw.steps as usize;
    let full = recipe.refresh.full_steps(steps, steps as u32).unwrap();
    let id = state.add_run(recipe.clone());
    let plan: Vec<StepNote> = full
        .iter()
        .enumerate()
        .map(|(step, full)| StepNote {
            kind: if *full { StepKind::Full } else { StepKind::Predicted },
            reveal: 64 / steps as u32,
            mask_ratio: 1.0 - step as f32 / steps as f32,
            remask: 0,
            verdict: None,
        })
        .collect();
    let step_ms: Vec<f64> = full.iter().map(|full| if *full { 40.0 } else { 5.0 }).collect();
    let memory = Memory { weights: 26_000_000, states: 1_000_000, temporaries: 3_000_000, other: 0 };
    let notes = plan.clone();
    state.take(Event::Began { id, plan, rounds: 1, memory, device: "Test device".to_owned() });
    for step in 0..until {
        let missed = (step > 0 && full[step] && recipe.refresh != Refresh::Every).then_some(0.02);
        let done = StepDone {
            step,
            note: notes[step],
            image: 0,
            codes: codes(step + 1, steps),
            drawn: codes(steps, steps),
            ms: step_ms[step],
            features: Some(features(step)),
            missed,
            moved: (step > 0).then(|| (0..64).map(|token| token as f32 / 640.0).collect()),
        };
        state.take(Event::Stepped { id, done: Box::new(done) });
    }
    if until == steps {
        let mut all = codes(steps, steps);
        if recipe.refresh != Refresh::Every {
            all[..4].fill(7);
        }
        let pictures = vec![picture(hue)];
        state.take(Event::Finished { id, step_ms, codes: all, pictures, decode_ms: 3.0, decided: None });
    }
    id
}

/// A run to its end.
pub(crate) fn finished() -> State {
    let mut state = opened(text_model());
    let recipe = state.recipe.clone().unwrap();
    run(&mut state, &recipe, STEPS as usize, 180);
    state
}

/// A run that is half done.
pub(crate) fn half_done() -> State {
    let mut state = opened(text_model());
    let recipe = state.recipe.clone().unwrap();
    run(&mut state, &recipe, STEPS as usize / 2, 180);
    state
}

/// Four methods compared, and two more runs.
pub(crate) fn compared() -> State {
    let mut state = opened(text_model());
    let recipe = state.recipe.clone().unwrap();
    run(&mut state, &Recipe { seed: 5, ..recipe.clone() }, STEPS as usize, 90);
    state.comparison = Comparison::new(methods(&recipe, true));
    for column in 0..state.comparison.columns.len() {
        let recipe = state.comparison.columns[column].0.recipe.clone();
        let steps = recipe.draw.steps as usize;
        let id = run(&mut state, &recipe, steps, 170 + 20 * column as u8);
        state.comparison.columns[column].1 = Some(id);
    }
    state
}

/// A sweep with a few seeds of each method: the more full steps, the more pictures are right.
pub(crate) fn swept() -> State {
    let mut state = opened(text_model());
    let recipe = state.recipe.clone().unwrap();
    state.sweep.begin(sweep::methods(&recipe, true, &[]));
    for seed in 0..5_u64 {
        for at in 0..state.sweep.points.len() {
            let recipe = state.sweep.points[at].method.recipe.clone();
            let full = recipe.full_steps().unwrap();
            let ms = full as f64 * 40.0 + (recipe.draw.steps as usize - full) as f64 * 5.0;
            state.sweep.began(at, RunId(1));
            state
                .sweep
                .finished(RunId(1), &codes(full, STEPS as usize), &picture(90 + 12 * at as u8), ms)
                .unwrap();
            let is_right = seed < 1 + 4 * full as u64 / u64::from(STEPS) || full > 2 && seed < 4;
            state.sweep.judged(RunId(1), Quality::Right(is_right));
        }
    }
    state.sweep.opened = Some(1);
    state
}

/// A run half done, three that wait, and one that could not run.
pub(crate) fn queued() -> State {
    let mut state = half_done();
    let recipe = state.recipe.clone().unwrap();
    for seed in [21, 22, 23] {
        state.queue.add(Waiting::new(Recipe { seed, ..recipe.clone() }));
    }
    state.queue.add(Waiting::new(Recipe { model: "/models/gone".to_owned(), seed: 24, ..recipe }));
    state.queue.refuse("/models/gone", "/models/gone: there is no such folder");
    state.tab = Tab::History;
    state
}

/// A blind test with a pair to judge and a few verdicts.
pub(crate) fn blind() -> State {
    let mut state = opened(text_model());
    let recipe = Recipe { predictor: Predictor::Shortcut, ..state.recipe.clone().unwrap() };
    for (verdict, accelerated_is_left) in
        [(Verdict::Left, true), (Verdict::Right, true), (Verdict::Tie, false), (Verdict::Left, false)]
    {
        state.blind.judged.push(Judged { recipe: recipe.clone(), verdict, accelerated_is_left });
    }
    state.blind.make(&recipe);
    while let Some((recipe, _)) = state.blind.waiting().map(|next| next.clone()) {
        let hue = if recipe.refresh == Refresh::Every { 180 } else { 200 };
        let id = run(&mut state, &recipe, STEPS as usize, hue);
        if let Some((_, run)) = state.blind.waiting() {
            *run = Some(id);
        }
    }
    // Any event lets the pair be seen.
    state.take(Event::Device("Test device".to_owned()));
    state
}

/// A board of which two panels are made, one of them of other words by now, and one is not.
pub(crate) fn board() -> State {
    storied(
        text_model(),
        ["a fox on a beach", "two koalas in the snow, one behind the other", "a rocket on the moon"],
    )
}

/// The same of classes.
pub(crate) fn class_board() -> State {
    storied(class_model(), ["fox", "koala", "cactus"])
}

fn storied(model: ModelInfo, texts: [&str; 3]) -> State {
    let mut state = opened(model);
    texts.iter().for_each(|text| state.board.add(text));
    let recipe = Recipe { seed: 5, ..state.recipe.clone().unwrap() };
    state.recipe = Some(recipe.clone());
    state.board.begin(&recipe, &state.runs);
    for hue in [180, 90] {
        let Some((at, recipe)) = state.board.waiting() else { continue };
        let id = run(&mut state, &recipe, STEPS as usize, hue);
        state.board.began(at, id, recipe);
    }
    state.board.stop();
    if let Some(text) = state.board.texts().nth(1) {
        *text = texts[0].to_owned();
    }
    state.tab = Tab::Board;
    state
}
