//! A run as the window knows it: what was asked for, what is planned, and what every step left. Pictures of past steps are
//! made again from tokens, so a run is small.

use super::actor::{Event, RunId, StepDone, StepNote, distance};
use crate::exec::Memory;
use crate::generate::canvas::Canvas;
use crate::generate::picture::Picture;
use crate::generate::proof::{Found, Proof};
use crate::generate::recipe::Recipe;
use crate::generate::session::StepKind;
use serde::{Deserialize, Serialize};

/// What is kept of a finished run between starts: pictures are made again from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptRun {
    /// What it is made from.
    pub recipe: Recipe,
    /// Codes `[images, tokens]`.
    pub codes: Vec<u32>,
    /// Milliseconds of each step.
    pub step_ms: Vec<f64>,
    /// What computed.
    pub device: String,
    /// By what its tokens are known again; histories of earlier versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Asked for.
    Waiting,
    /// Under way.
    Running,
    /// Complete.
    Finished,
    /// Stopped, overtaken or failed.
    Stopped,
}

/// A run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its name.
    pub id: RunId,
    /// What it is made from.
    pub recipe: Recipe,
    /// How far it is.
    pub progress: Progress,
    /// Its steps.
    pub plan: Vec<StepNote>,
    /// Rounds over them.
    pub rounds: u32,
    /// What every step left, round by round.
    pub steps: Vec<StepDone>,
    /// Codes `[images, tokens]` of the finished pictures.
    pub codes: Vec<u32>,
    /// The finished pictures.
    pub pictures: Vec<Picture>,
    /// Milliseconds of each step, averaged over rounds; of steps that have run so far while it is under way.
    pub step_ms: Vec<f64>,
    /// Milliseconds that decoding took.
    pub decode_ms: f64,
    /// Memory held on the device.
    pub memory: Memory,
    /// What computed.
    pub device: String,
    /// Why it failed, if it did.
    pub failed: Option<String>,
    /// By what its tokens are known again, once it is finished.
    pub proof: Option<Proof>,
    /// What its tokens should be, where a link or a picture said.
    pub expected: Option<Proof>,
    /// Whether a newer one takes its place, because it only follows what is being changed.
    pub draft: bool,
    /// The run that it went on from, and the last step that it has in common with it.
    pub branch: Option<(RunId, usize)>,
}

impl Run {
    /// A run that was asked for.
    pub fn new(id: RunId, recipe: Recipe) -> Self {
        Self {
            id,
            recipe,
            progress: Progress::Waiting,
            plan: Vec::new(),
            rounds: 1,
            steps: Vec::new(),
            codes: Vec::new(),
            pictures: Vec::new(),
            step_ms: Vec::new(),
            decode_ms: 0.0,
            memory: Memory::default(),
            device: String::new(),
            failed: None,
            proof: None,
            expected: None,
            draft: false,
            branch: None,
        }
    }

    /// A run that goes on from another behind a step of it, which is one of a round. It has that run's steps so far.
    pub fn branch(id: RunId, recipe: Recipe, parent: &Self, step: usize) -> Self {
        let steps = parent.steps.iter().filter(|done| done.step <= step).cloned().collect();
        Self { steps, branch: Some((parent.id, step)), ..Self::new(id, recipe) }
    }

    /// Codes `[images, tokens]` behind a step, where all pictures were made in one round.
    pub fn codes_after(&self, step: usize) -> Option<&[u32]> {
        let mut found = self.steps.iter().filter(|done| done.step == step);
        let done = found.next()?;
        found.next().is_none().then_some(&done.codes)
    }

    /// A finished run of an earlier start; its pictures are still to be made. `None` if it contradicts itself.
    pub fn restored(id: RunId, kept: KeptRun) -> Option<Self> {
        let images = kept.recipe.images.max(1) as usize;
        let tokens = kept.codes.len() / images;
        let settings = kept.recipe.settings();
        let masked = kept.recipe.canvas.as_ref().map_or(tokens as u32, Canvas::masked);
        let plan = settings.plan_on(tokens as u32, masked).ok()?;
        let mut plan: Vec<StepNote> = plan.iter().map(StepNote::from).collect();
        if settings.decides() {
            // Of several pictures each decided for itself, and in no more steps than that.
            plan.truncate(kept.step_ms.len());
        }
        if tokens == 0 || !kept.codes.len().is_multiple_of(images) || kept.step_ms.len() != plan.len() {
            return None;
        }
        Some(Self {
            progress: Progress::Finished,
            plan,
            codes: kept.codes,
            step_ms: kept.step_ms,
            device: kept.device,
            proof: kept.proof,
            ..Self::new(id, kept.recipe)
        })
    }

    /// What to keep of it; `None` unless it is finished.
    pub fn kept(&self) -> Option<KeptRun> {
        (self.progress == Progress::Finished && !self.draft).then(|| KeptRun {
            recipe: self.recipe.clone(),
            codes: self.codes.clone(),
            step_ms: self.step_ms.clone(),
            device: self.device.clone(),
            proof: self.proof.clone(),
        })
    }

    /// Takes in an event that is about this run; others change nothing.
    pub fn take(&mut self, event: &Event) {
        match event {
            Event::Began { id, plan, rounds, memory, device } if *id == self.id => {
                self.plan.clone_from(plan);
                self.step_ms = vec![0.0; plan.len()];
                for done in &self.steps {
                    // Of the run that it went on from.
                    if let Some(note) = self.plan.get_mut(done.step) {
                        *note = done.note;
                    }
                }
                self.device.clone_from(device);
                (self.rounds, self.memory, self.progress) = (*rounds, *memory, Progress::Running);
            }
            Event::Stepped { id, done } if *id == self.id => {
                if let (true, Some(note)) = (self.steps.len() < self.plan.len(), self.plan.get_mut(done.step))
                {
                    *note = done.note;
                }
                if let Some(ms) = self.step_ms.get_mut(done.step) {
                    // The average over the rounds so far.
                    let rounds = (self.steps.len() / self.plan.len().max(1)) as f64;
                    *ms = (*ms * rounds + done.ms) / (rounds + 1.0);
                }
                self.steps.push((**done).clone());
            }
            Event::Finished { id, step_ms, codes, pictures, decode_ms, decided } if *id == self.id => {
                self.step_ms.clone_from(step_ms);
                self.plan.truncate(step_ms.len());
                if let Some(decided) = decided {
                    self.recipe.refresh = decided.clone();
                }
                self.codes.clone_from(codes);
                self.pictures.clone_from(pictures);
                (self.decode_ms, self.progress) = (*decode_ms, Progress::Finished);
                self.proof = Some(Proof::of(codes).with_steps(self.codes_by_step()));
            }
            Event::Shown { id, step: None, pictures } if *id == self.id => self.pictures.clone_from(pictures),
            Event::Stopped { id, .. } if *id == self.id => self.progress = Progress::Stopped,
            Event::Failed { id: Some(id), failure } if *id == self.id => {
                self.progress = Progress::Stopped;
                self.failed = Some(failure.reason.clone());
            }
            _ => {}
        }
    }

    /// What each step left, of all pictures in their order.
    fn codes_by_step(&self) -> impl Iterator<Item = Vec<u32>> {
        (0..self.plan.len()).map(|step| {
            let mut done: Vec<&StepDone> = self.steps.iter().filter(|done| done.step == step).collect();
            done.sort_by_key(|done| done.image);
            done.into_iter().flat_map(|done| done.codes.iter().copied()).collect()
        })
    }

    /// Whether the tokens are those that a link or a picture promised; `None` where none did, or it is not known yet.
    pub fn verified(&self) -> Option<Found> {
        Some(self.expected.as_ref()?.compare(self.proof.as_ref()?))
    }

    /// Whether it answers to words, in any order and case: of its prompt, its seed, its model and its method; all of it does to none.
    pub fn matches(&self, words: &str) -> bool {
        let recipe = &self.recipe;
        let text = format!(
            "{} {} {} {} {}",
            recipe.subject.title(),
            recipe.seed,
            recipe.model,
            recipe.predictor,
            recipe.refresh
        );
        let text = text.to_lowercase();
        words.to_lowercase().split_whitespace().all(|word| text.contains(word))
    }

    /// Whether it has not come to its end.
    pub fn is_open(&self) -> bool {
        matches!(self.progress, Progress::Waiting | Progress::Running)
    }

    /// Steps done, over all rounds.
    pub fn steps_done(&self) -> usize {
        self.steps.len()
    }

    /// Steps in all, over all rounds.
    pub fn steps_in_all(&self) -> usize {
        self.plan.len() * self.rounds as usize
    }

    /// Milliseconds of all steps for one round.
    pub fn loop_ms(&self) -> f64 {
        self.step_ms.iter().sum()
    }

    /// Milliseconds left, by what steps of each kind took so far.
    pub fn left_ms(&self) -> Option<f64> {
        let (done, all) = (self.steps_done(), self.steps_in_all());
        if done == 0 || done >= all {
            return None;
        }
        let mean = |kind| {
            let times: Vec<f64> = self.of_kind(kind).filter(|ms| *ms > 0.0).collect();
            (!times.is_empty()).then(|| times.iter().sum::<f64>() / times.len() as f64)
        };
        let full = mean(StepKind::Full)?;
        // Before the first predicted step nothing tells how fast those are: as slow as full ones at worst.
        let predicted = mean(StepKind::Predicted).unwrap_or(full);
        let cost = |at: usize| match self.plan[at % self.plan.len()].kind {
            StepKind::Full => full,
            StepKind::Predicted => predicted,
        };
        Some((done..all).map(cost).sum())
    }

    fn of_kind(&self, kind: StepKind) -> impl Iterator<Item = f64> {
        self.plan.iter().zip(&self.step_ms).filter(move |(step, _)| step.kind == kind).map(|(_, ms)| *ms)
    }

    /// How many steps are of a kind, and their mean time in milliseconds.
    pub fn kind(&self, kind: StepKind) -> (usize, f64) {
        let times: Vec<f64> = self.of_kind(kind).collect();
        let done = times.iter().filter(|ms| **ms > 0.0).count();
        (times.len(), times.iter().sum::<f64>() / done.max(1) as f64)
    }

    /// How much faster than every step in full, by this run's own full steps; `None` before there is one.
    pub fn speed_up(&self) -> Option<f64> {
        let (_, full) = self.kind(StepKind::Full);
        let all = self.loop_ms();
        (self.progress == Progress::Finished && all > 0.0).then(|| full * self.plan.len() as f64 / all)
    }

    /// How far features moved in a step, as a share of their size; where they are traced.
    pub fn moved(&self, step: usize) -> Option<f64> {
        let features = |step: usize| self.steps.iter().find(|done| done.step == step)?.features.as_ref();
        let (before, after) = (features(step.checked_sub(1)?)?, features(step)?);
        Some(distance(&before.values, &after.values))
    }

    /// What the last round at a step left for a picture: codes and draws `[tokens]`, and which of them the step revealed.
    pub fn at(&self, step: usize, image: usize, tokens: usize) -> Option<Moment<'_>> {
        let here = |done: &&StepDone| {
            let images = done.codes.len() / tokens.max(1);
            done.step == step && (done.image..done.image + images).contains(&image)
        };
        let done = self.steps.iter().find(here)?;
        let part = |values: &'_ [u32]| {
            let at = (image - done.image) * tokens;
            at..at + tokens.min(values.len())
        };
        let before = step.checked_sub(1).and_then(|before| {
            self.steps.iter().find(|other| other.step == before && other.image == done.image)
        });
        Some(Moment {
            codes: &done.codes[part(&done.codes)],
            drawn: &done.drawn[part(&done.drawn)],
            before: before.map(|other| &other.codes[part(&other.codes)]),
        })
    }

    /// For each token of a picture, the step that revealed it.
    pub fn revealed_at(&self, image: usize, tokens: usize, mask: u32) -> Vec<Option<usize>> {
        let mut found = vec![None; tokens];
        for step in 0..self.plan.len() {
            let Some(moment) = self.at(step, image, tokens) else { continue };
            for (found, code) in found.iter_mut().zip(moment.codes) {
                if *code != mask {
                    found.get_or_insert(step);
                }
            }
        }
        found
    }
}

/// A picture's tokens after a step.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// Codes; the number of codes where masked.
    pub codes: &'a [u32],
    /// The draw at every position.
    pub drawn: &'a [u32],
    /// Codes before the step, if that was not the first.
    pub before: Option<&'a [u32]>,
}

impl Moment<'_> {
    /// Whether the step revealed a token.
    pub fn is_new(&self, token: usize, mask: u32) -> bool {
        self.codes[token] != mask && self.before.is_none_or(|before| before[token] == mask)
    }
}

/// Share of tokens that are equal, 0 to 1.
pub fn agreement(ours: &[u32], theirs: &[u32]) -> Option<f64> {
    let same = ours.iter().zip(theirs).filter(|(a, b)| a == b).count();
    (!ours.is_empty() && ours.len() == theirs.len()).then(|| same as f64 / ours.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::predict::Predictor;
    use crate::generate::recipe::Subject;
    use crate::generate::refresh::Refresh;
    use crate::generate::sampling::Sampling;

    const MASK: u32 = 9;

    fn run() -> Run {
        let recipe = Recipe {
            model: "m".to_owned(),
            subject: Subject::Prompt(String::new()),
            seed: 0,
            images: 2,
            draw: Sampling::DIMOO,
            refresh: Refresh::Uniform(1),
            predictor: Predictor::Reuse,
            quantize: None,
            begun: Vec::new(),
            canvas: None,
        };
        let mut run = Run::new(RunId(3), recipe);
        let note = |kind| StepNote { kind, reveal: 1, mask_ratio: 1.0, remask: 0, verdict: None };
        let plan = vec![note(StepKind::Full), note(StepKind::Predicted)];
        let (memory, device) = (Memory::default(), String::new());
        run.take(&Event::Began { id: RunId(3), plan, rounds: 2, memory, device });
        for (image, step, codes, ms) in
            [(0, 0, [1, MASK], 8.0), (0, 1, [1, 2], 2.0), (1, 0, [MASK, 3], 10.0), (1, 1, [4, 3], 4.0)]
        {
            let (codes, drawn) = (codes.to_vec(), vec![7, 7]);
            let note = run.plan[step];
            let done =
                StepDone { step, note, image, codes, drawn, ms, features: None, missed: None, moved: None };
            run.take(&Event::Stepped { id: RunId(3), done: Box::new(done) });
        }
        run
    }

    #[test]
    fn a_picture_can_be_seen_at_every_step() {
        let run = run();
        let moment = run.at(0, 1, 2).unwrap();
        assert_eq!((moment.codes, moment.before), (&[MASK, 3][..], None));
        assert!(!moment.is_new(0, MASK) && moment.is_new(1, MASK));
        let moment = run.at(1, 1, 2).unwrap();
        assert!(moment.is_new(0, MASK) && !moment.is_new(1, MASK));
        assert_eq!(run.revealed_at(0, 2, MASK), [Some(0), Some(1)]);
        assert!(run.at(1, 2, 2).is_none());
    }

    #[test]
    fn a_finished_run_is_kept_and_restored() {
        let mut run = run();
        assert_eq!(run.kept(), None);
        run.recipe.draw = run.recipe.draw.with_steps(2);
        let finished = Event::Finished {
            id: RunId(3),
            step_ms: vec![9.0, 3.0],
            codes: vec![1, 2, 4, 3],
            pictures: Vec::new(),
            decode_ms: 1.0,
            decided: None,
        };
        run.take(&finished);
        let kept = run.kept().unwrap();
        let text = serde_json::to_string(&kept).unwrap();
        let again = Run::restored(RunId(8), serde_json::from_str(&text).unwrap()).unwrap();
        assert_eq!((again.kept().unwrap(), again.plan.len()), (kept.clone(), 2));
        assert_eq!(again.kind(StepKind::Full), (1, 9.0));
        assert!(Run::restored(RunId(8), KeptRun { codes: vec![1; 3], ..kept.clone() }).is_none());
        assert!(Run::restored(RunId(8), KeptRun { step_ms: vec![1.0], ..kept }).is_none());
    }

    #[test]
    fn times_are_averaged_over_rounds() {
        let run = run();
        assert_eq!(run.step_ms, [9.0, 3.0]);
        assert_eq!(run.kind(StepKind::Full), (1, 9.0));
        assert_eq!(run.left_ms(), None);
    }

    #[test]
    fn events_of_other_runs_change_nothing() {
        let mut run = run();
        run.take(&Event::Stopped { id: RunId(4), steps: 0 });
        assert!(run.is_open());
        run.take(&Event::Stopped { id: RunId(3), steps: 0 });
        assert!(!run.is_open());
    }

    #[test]
    fn agreement_is_of_lists_of_one_length() {
        assert_eq!(agreement(&[1, 2, 3, 4], &[1, 2, 0, 4]), Some(0.75));
        assert_eq!(agreement(&[1], &[]), None);
    }
}
