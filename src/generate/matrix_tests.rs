//! Every method with every family, alone and in a batch, guided and not, over few steps and over more than there are tokens: it
//! runs as it was asked to, or is refused with a sentence.

use super::fixtures::{both_families, classes, prompt};
use super::model::{Device, Model};
use super::pace::Adaptive;
use super::predict::{DllmCache, Predictor, Taylor, TaylorSeer};
use super::refresh::Refresh;
use super::sampling::{Reveal, Sampling};
use super::session::{Session, Settings, Shape, StepKind};
use crate::models::{Batch, Condition};
use pollster::block_on;

const STEPS: u32 = 5;

/// Both families, four conditions of one length each.
fn families() -> (tempfile::TempDir, [(Model, Vec<Condition>); 2]) {
    let (folder, [class, text]) = both_families();
    let prompts = ["w5 w17 w9", "w7 w3 w30", "w5 w17 w9", "w1 w2 w3"].map(|words| prompt(&text, words));
    (folder, [(class, classes(&[Some(2), Some(8), None, Some(9)])), (text, prompts.to_vec())])
}

/// Those of the crate at official settings, and some at others.
fn predictors() -> Vec<Predictor> {
    let mut all = Predictor::ALL.to_vec();
    all.push(Predictor::Taylor(Taylor { order: 2 }));
    all.push(Predictor::TaylorSeer(TaylorSeer { order: 1 }));
    all.push(Predictor::DllmCache(DllmCache { prompt_interval: 2, image_interval: 3, ratio: 0.25 }));
    all
}

fn adaptive(budget: Option<u32>) -> Refresh {
    Refresh::Adaptive(Adaptive { target_error: 0.2, budget })
}

/// Which steps are full, how many tokens they reveal, how many full steps mask again.
fn cases() -> Vec<(Refresh, Reveal, f32)> {
    let uniform = Refresh::Uniform;
    vec![
        (uniform(1), Reveal::Schedule, 0.0),
        (uniform(STEPS), Reveal::Schedule, 0.0),
        (uniform(3), Reveal::Schedule, 0.3),
        (adaptive(Some(1)), Reveal::Schedule, 0.0),
        (adaptive(Some(STEPS)), Reveal::Schedule, 0.0),
        (adaptive(None), Reveal::Entropy(3.0), 0.0),
        (adaptive(Some(3)), Reveal::Schedule, 0.3),
        (uniform(3), Reveal::Certainty(0.2), 0.0),
    ]
}

/// The words of the sentence that settings are refused with.
fn refusal(settings: &Settings, images: usize) -> Option<&'static str> {
    let undecided = settings.decides() || settings.sampling.corrector > 0.0;
    if settings.predictor == Predictor::Recap && undecided {
        return Some("has to be known before");
    }
    (settings.decides() && images > 1).then_some("one picture at a time")
}

/// A run to its end: which steps were full, and the tokens. Nothing is made on the way, and nothing read unless the run decides.
fn run(session: &mut Session, settings: &Settings, conditions: &[Condition]) -> (Vec<bool>, Vec<u32>) {
    let seeds = [3, 4, 5, 6];
    session.start(conditions, &seeds[..conditions.len()]).unwrap();
    let before = session.executor().counters();
    let mut full = Vec::new();
    while let Some(step) = block_on(session.advance()).unwrap() {
        full.push(step.kind == StepKind::Full);
    }
    let after = session.executor().counters();
    let read = if settings.decides() { full.len() as u64 } else { 0 };
    assert_eq!(after.readbacks - before.readbacks, read, "{settings:?}");
    let made = |c: crate::exec::Counters| (c.buffers, c.bind_groups, c.pipelines);
    assert_eq!(made(after), made(before), "{settings:?}");
    (full, block_on(session.tokens()).unwrap())
}

#[test]
fn every_method_runs_as_asked_or_is_refused_with_a_sentence() {
    let (_folder, families) = families();
    for (model, conditions) in &families {
        let (tokens, codes) = (model.family().tokens() as usize, model.family().codebook());
        for (images, guided) in [(1, true), (1, false), (4, true), (4, false)] {
            let conditions = &conditions[..images];
            let mut usual = model.config.sampling.with_steps(STEPS);
            if !guided {
                usual.guidance = 0.0;
            }
            let batch = Batch::of(&conditions[0], images as u32, guided);
            let mut vanilla: Option<Vec<u32>> = None;
            for predictor in predictors() {
                let shape = Shape { decoder: false, ..Shape::new(batch, Some(predictor)) };
                let shape = Shape { decides: true, corrects: true, ..shape };
                let mut session = Session::new(model, shape, &Device::Cpu).unwrap();
                // In a batch, what differs there: the corrector's lists, and that nothing decides.
                let cases = cases().into_iter().enumerate().filter(|(at, _)| images == 1 || at % 2 == 0);
                for (_, (refresh, reveal, corrector)) in cases {
                    let sampling = Sampling { reveal, corrector, ..usual };
                    let settings = Settings { sampling, refresh, predictor };
                    let about = format!("{images} images, guided: {guided}, {settings:?}");
                    let configured = session.configure(&settings).map(drop);
                    if let Some(words) = refusal(&settings, images) {
                        let error = configured.unwrap_err().to_string();
                        assert!(error.contains(words), "{about}: {error}");
                        continue;
                    }
                    configured.unwrap();
                    let (full, made) = run(&mut session, &settings, conditions);
                    assert_eq!(made.len(), images * tokens, "{about}");
                    assert!(made.iter().all(|&code| code < codes), "{about}: tokens are left");
                    let count = full.iter().filter(|full| **full).count();
                    let budget = match &settings.refresh {
                        Refresh::Uniform(budget) => Some(*budget),
                        Refresh::Adaptive(adaptive) => adaptive.budget,
                        _ => None,
                    };
                    match budget {
                        Some(budget) if reveal == Reveal::Schedule => {
                            assert_eq!(count, budget as usize, "{about}");
                        }
                        _ => assert!(count >= 1 && full[0], "{about}: {full:?}"),
                    }
                    if budget == Some(STEPS) {
                        assert_eq!(
                            &made,
                            vanilla.get_or_insert_with(|| made.clone()),
                            "{about}: not vanilla"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn more_steps_than_tokens_are_fine_for_all_of_them() {
    let (_folder, families) = families();
    for (model, conditions) in &families {
        let tokens = model.family().tokens();
        let sampling = model.config.sampling.with_steps(tokens + 9);
        let conditions = &conditions[..1];
        let batch = Batch::of(&conditions[0], 1, sampling.guided());
        for predictor in Predictor::ALL {
            let shape = Shape { decoder: false, decides: true, ..Shape::new(batch, Some(predictor)) };
            let mut session = Session::new(model, shape, &Device::Cpu).unwrap();
            for refresh in [Refresh::Uniform(1), adaptive(Some(3))] {
                let settings = Settings { sampling, refresh, predictor };
                let configured = session.configure(&settings).map(drop);
                if let Some(words) = refusal(&settings, 1) {
                    let error = configured.unwrap_err().to_string();
                    assert!(error.contains(words), "{settings:?}: {error}");
                    continue;
                }
                configured.unwrap();
                let (_, made) = run(&mut session, &settings, conditions);
                assert!(made.iter().all(|&code| code < model.family().codebook()), "{settings:?}");
            }
        }
    }
}
