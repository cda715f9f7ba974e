//! What an engine promises of runs, whatever is made beside them.

use super::*;
use crate::generate::fixtures::{FIXTURE, text_fixture};
use crate::generate::predict::{MlCache, Predictor};
use crate::generate::recipe::{Recipe, Subject};
use crate::generate::refresh::Refresh;
use pollster::block_on;

fn recipe(model: &Model, subject: Subject) -> Recipe {
    Recipe {
        model: model.name.clone(),
        subject,
        seed: 7,
        images: 1,
        draw: model.config.sampling,
        refresh: Refresh::Uniform(3),
        predictor: Predictor::Shortcut,
        quantize: None,
        begun: Vec::new(),
        canvas: None,
    }
}

/// What *Compare methods* does: runs that differ in what stands in for the model, and vanilla among them.
#[test]
fn methods_are_compared_again_and_again() {
    let (folder, _) = text_fixture();
    let mut engine = Engine::new(Device::Cpu);
    for (source, subject) in [
        (folder.path().to_str().unwrap(), Subject::Prompt("w5 w17 w9".to_owned())),
        (FIXTURE, Subject::Class("fox".to_owned())),
    ] {
        let shortcut = recipe(engine.open(source).unwrap(), subject);
        let with = |predictor| Recipe { predictor, ..shortcut.clone() };
        let reuse = with(Predictor::Reuse);
        let cached = with(Predictor::MlCache(MlCache::OFFICIAL));
        let all = [&reuse, &shortcut.vanilla(), &shortcut, &reuse.vanilla(), &cached, &shortcut];
        let mut first: Vec<Vec<u32>> = Vec::new();
        for round in 0..2 {
            for (index, recipe) in all.into_iter().enumerate() {
                let jobs = recipe.jobs(engine.model().unwrap()).unwrap();
                let mut run = engine.run(jobs, &recipe.settings(), None, None).unwrap();
                let made = block_on(run.batch()).unwrap().unwrap();
                assert!(block_on(run.next()).unwrap().is_none());
                assert_eq!(run.session().unwrap().plan().len(), recipe.draw.steps as usize);
                match first.get(index) {
                    Some(before) => assert_eq!(*before, made.codes, "{:?}, {round}", recipe.predictor),
                    None => first.push(made.codes),
                }
            }
        }
        assert_eq!(first[1], first[3], "vanilla does not depend on the predictor at hand");
        assert_eq!(first[2], first[5]);
        assert_ne!(first[1], first[2]);
    }
}

/// Prompts of two lengths, more of them than go together, in any order: each as it is alone.
#[test]
fn pictures_do_not_depend_on_what_is_made_beside_them() {
    let (_folder, model) = text_fixture();
    let of = |words: &str| model.condition(&Subject::Prompt(words.to_owned())).unwrap();
    let words = ["w5 w17 w9", "w5", "w7 w3 w30", "w9", "w5 w17 w9"];
    let jobs: Vec<Job> = words.iter().zip(3..).map(|(words, seed)| Job::new(of(words), seed)).collect();
    let settings = recipe(&model, Subject::Prompt(String::new())).settings();
    let mut engine = Engine::of(model, Device::Cpu);
    let mut together = vec![Vec::new(); jobs.len()];
    let mut run = engine.run(jobs.clone(), &settings, None, Some(2)).unwrap();
    assert_eq!((run.at_once(), run.batches_left()), (2, 3));
    let mut steps = 0;
    while let Some(event) = block_on(run.next()).unwrap() {
        match event {
            Event::Began(batch) => assert!(batch.pictures.len() <= 2 && batch.steps > 0),
            Event::Stepped(_) => {
                let glimpse = block_on(run.glimpse()).unwrap();
                assert_eq!(glimpse.codes.len(), glimpse.drawn.len());
                steps += 1;
            }
            Event::Finished(batch) => {
                let each = batch.codes.len() / batch.pictures.len();
                assert!(batch.loop_ms > 0.0 && batch.step_ms.iter().all(|ms| *ms > 0.0), "{batch:?}");
                for (&picture, codes) in batch.pictures.iter().zip(batch.codes.chunks_exact(each)) {
                    together[picture] = codes.to_vec();
                }
            }
        }
    }
    assert_eq!(steps, 3 * settings.sampling.steps as usize);
    for (job, together) in jobs.into_iter().zip(together) {
        let mut run = engine.run(vec![job], &settings, None, None).unwrap();
        assert_eq!(block_on(run.batch()).unwrap().unwrap().codes, together);
    }
}

#[test]
fn what_an_engine_cannot_do_is_said() {
    let mut engine = Engine::new(Device::Cpu);
    assert!(engine.model().unwrap_err().to_string().contains("no model is open"));
    let model = engine.open(FIXTURE).unwrap();
    let error = model.condition(&Subject::Prompt("a fox".to_owned())).unwrap_err().to_string();
    assert!(error.contains("takes no prompt"), "{error}");
    let settings = recipe(model, Subject::Class("fox".to_owned())).settings();
    assert!(engine.open("nowhere").is_err());
    assert_eq!(engine.model().unwrap().name, "scenes-v0", "the model stays");
    let mut none = engine.run(Vec::new(), &settings, None, None).unwrap();
    assert!(block_on(none.next()).unwrap().is_none());
}
