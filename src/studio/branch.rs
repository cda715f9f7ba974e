//! Branches: from a step of a run on in another way (the paper's figure 2a resamples like this). The steps so far are the run's own.

use super::run::Run;
use crate::generate::recipe::{Begun, Recipe};
use crate::generate::refresh::{Decided, Refresh};
use crate::generate::session::StepKind;

/// What a branch behind a step of a run is made from: the run's sampling, so that its steps are the same ones, with the seed, the full
/// steps and the predictor of the controls. Where all of these are as they were, `other_seed` makes the difference. The first step of a
/// branch is full, because there are no features to predict it from.
pub fn recipe(run: &Run, step: usize, controls: &Recipe, full: &[u32], other_seed: u64) -> Recipe {
    let own = |at: &usize| run.plan[*at].kind == StepKind::Full;
    let (steps, at) = (run.plan.len(), step + 1);
    // Full steps of other controls say nothing of these steps.
    let fits = controls.draw.steps == run.recipe.draw.steps;
    let chosen = |at: &usize| if fits { full.contains(&(*at as u32)) } else { own(at) };
    let is_full = |at: &usize| *at == 0 || *at == step + 1 || if *at <= step { own(at) } else { chosen(at) };
    let list: Vec<u32> = (0..steps).filter(is_full).map(|at| at as u32).collect();
    let differs = controls.seed != run.recipe.seed
        || controls.predictor != run.recipe.predictor
        || (at + 1..steps).any(|at| chosen(&at) != own(&at));
    let refresh = match &run.recipe.refresh {
        // How many tokens its steps revealed is the run's own.
        Refresh::Decided(decided) => Refresh::Decided(Decided { full: list, reveal: decided.reveal.clone() }),
        _ => Refresh::List(list),
    };
    let seed = if differs { controls.seed } else { other_seed };
    Recipe {
        seed,
        refresh,
        predictor: controls.predictor,
        begun: begun(run, at as u32),
        ..run.recipe.clone()
    }
}

/// How the first `steps` of a run were made: by itself, and before by those that it is a branch of.
fn begun(run: &Run, steps: u32) -> Vec<Begun> {
    let Recipe { seed, refresh, predictor, .. } = run.recipe.clone();
    let own = Begun { steps, seed, refresh, predictor };
    let all = run.recipe.begun.iter().cloned().chain([own]);
    // One that ends no sooner than the branch leaves is the last of which it has anything.
    let mut found: Vec<Begun> = Vec::new();
    for part in all {
        let is_last = part.steps >= steps;
        found.push(Begun { steps: part.steps.min(steps), ..part });
        if is_last {
            break;
        }
    }
    found
}

/// Runs that went on from a run, and from those in turn: how deep each stands, in the order of a tree.
pub fn tree(runs: &[Run], root: &Run) -> Vec<(usize, super::actor::RunId)> {
    let mut found = vec![(0, root.id)];
    let mut at = 0;
    while at < found.len() {
        let (depth, id) = found[at];
        let children = runs.iter().filter(|run| run.branch.is_some_and(|(parent, _)| parent == id));
        let children: Vec<_> = children.map(|run| (depth + 1, run.id)).collect();
        found.splice(at + 1..at + 1, children);
        at += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::actor::{Event, RunId, StepDone, StepNote};
    use super::*;
    use crate::exec::Memory;
    use crate::generate::predict::Predictor;
    use crate::generate::recipe::Subject;
    use crate::generate::sampling::Sampling;

    /// A run of eight steps, of which the first and the fifth are full.
    fn run(id: u64) -> Run {
        let recipe = Recipe {
            model: "m".to_owned(),
            subject: Subject::Prompt(String::new()),
            seed: 5,
            images: 1,
            draw: Sampling { steps: 8, ..Sampling::DIMOO },
            refresh: Refresh::Uniform(2),
            predictor: Predictor::Reuse,
            quantize: None,
            begun: Vec::new(),
            canvas: None,
        };
        let mut run = Run::new(RunId(id), recipe);
        let note = |step: usize| StepNote {
            kind: if step.is_multiple_of(4) { StepKind::Full } else { StepKind::Predicted },
            reveal: 1,
            mask_ratio: 0.5,
            remask: 0,
            verdict: None,
        };
        let plan: Vec<StepNote> = (0..8).map(note).collect();
        run.take(&Event::Began {
            id: run.id,
            plan,
            rounds: 1,
            memory: Memory::default(),
            device: String::new(),
        });
        for step in 0..8 {
            let (codes, drawn) = (vec![step as u32; 4], vec![0; 4]);
            let done = StepDone {
                step,
                note: note(step),
                image: 0,
                codes,
                drawn,
                ms: 1.0,
                features: None,
                missed: None,
                moved: None,
            };
            run.take(&Event::Stepped { id: run.id, done: Box::new(done) });
        }
        run
    }

    #[test]
    fn a_branch_begins_in_full_and_differs_by_what_the_controls_changed() {
        let run = run(1);
        let same = recipe(&run, 2, &run.recipe, &[0, 4], 77);
        assert_eq!((same.seed, &same.refresh), (77, &Refresh::List(vec![0, 3, 4])));
        let seeded = Recipe { seed: 6, ..run.recipe.clone() };
        assert_eq!(recipe(&run, 2, &seeded, &[0, 4], 77).seed, 6);
        // Another method from the same seed.
        let every = recipe(&run, 5, &run.recipe, &(0..8).collect::<Vec<_>>(), 77);
        assert_eq!((every.seed, every.refresh), (5, Refresh::List(vec![0, 4, 6, 7])));
        // Controls of other steps keep the run's own.
        let longer = Recipe { draw: Sampling { steps: 30, ..run.recipe.draw }, ..run.recipe.clone() };
        assert_eq!(recipe(&run, 2, &longer, &[0, 9, 20], 77).refresh, Refresh::List(vec![0, 3, 4]));
        let mut decided = run;
        decided.recipe.refresh = "decided:0,4/1,1,1,1,1,1,1,1".parse().unwrap();
        let found = recipe(&decided, 2, &decided.recipe, &[0, 4], 77).refresh;
        assert_eq!(found.to_string(), "decided:0,3,4/1,1,1,1,1,1,1,1");
    }

    #[test]
    fn branches_stand_under_what_they_went_on_from() {
        let root = run(1);
        let child = |id, parent: &Run, step| Run::branch(RunId(id), parent.recipe.clone(), parent, step);
        let second = child(2, &root, 3);
        assert_eq!((second.steps.len(), second.kept()), (4, None));
        let third = child(3, &second, 2);
        let fourth = child(4, &root, 6);
        let runs = [root, second, third, fourth];
        let ids: Vec<(usize, u64)> =
            tree(&runs, &runs[0]).into_iter().map(|(depth, id)| (depth, id.0)).collect();
        assert_eq!(ids, [(0, 1), (1, 2), (2, 3), (1, 4)]);
    }
}
