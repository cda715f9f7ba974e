//! A request on its way: what was asked, how far it is, and what is there of it. The engine's thread writes, and whoever answers the
//! client reads: the latest state, so that nobody who reads slowly holds anything up.

use super::asked::Asked;
use super::metrics::Metrics;
use super::refusal::Refusal;
use crate::generate::session::StepKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// Where a request is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing of it was begun.
    Waiting,
    /// Some of it is being made, or made.
    Running,
    /// All of it is there.
    Done,
    /// Nothing more will come of it.
    Failed(Refusal),
}

/// How far a request is.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    pub(super) state: State,
    /// Pictures that are there.
    pub(super) made: usize,
    /// The step that was run last of the batch under way, counted from 1.
    pub(super) step: usize,
    /// Steps of that batch.
    pub(super) steps: usize,
    /// What the step ran.
    pub(super) kind: Option<StepKind>,
    /// Tokens that are masked yet.
    pub(super) masked: u32,
    /// Pictures in the making that can be shown.
    pub(super) partial: usize,
}

impl Progress {
    /// Whether nothing will change any more.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Done | State::Failed(_))
    }

    /// As clients read it.
    pub(super) fn name(&self) -> &'static str {
        match &self.state {
            State::Waiting => "waiting",
            State::Running => "running",
            State::Done => "done",
            State::Failed(refusal) if *refusal == Refusal::cancelled() => "cancelled",
            State::Failed(_) => "failed",
        }
    }
}

/// A picture that was made, as a file.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) file: Arc<Vec<u8>>,
    /// What each of its steps ran.
    pub(super) steps: Vec<StepKind>,
}

/// What is there of a request.
#[derive(Debug, Default)]
struct Results {
    pictures: Vec<Option<Made>>,
    /// Files of pictures in the making.
    partial: Vec<Arc<Vec<u8>>>,
    began: Option<Instant>,
    ended: Option<Instant>,
}

/// A request on its way.
#[derive(Debug)]
pub(super) struct Task {
    /// By which a job is asked for: nobody guesses it.
    pub(super) id: String,
    pub(super) asked: Asked,
    /// Seconds since 1970.
    pub(super) created: u64,
    pub(super) admitted: Instant,
    progress: watch::Sender<Progress>,
    results: Mutex<Results>,
}

impl Task {
    pub(super) fn new(asked: Asked) -> Self {
        let progress =
            Progress { state: State::Waiting, made: 0, step: 0, steps: 0, kind: None, masked: 0, partial: 0 };
        let pictures = vec![None; asked.seeds.len()];
        Self {
            id: unguessable(),
            asked,
            created: now(),
            admitted: Instant::now(),
            progress: watch::Sender::new(progress),
            results: Mutex::new(Results { pictures, ..Results::default() }),
        }
    }

    fn results(&self) -> MutexGuard<'_, Results> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes of how far it is.
    pub(super) fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// How far it is.
    pub(super) fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// Whether nothing more is to be done for it.
    pub(super) fn is_over(&self) -> bool {
        self.progress.borrow().is_over()
    }

    /// When the first of it was begun.
    pub(super) fn began(&self) -> Option<Instant> {
        self.results().began
    }

    /// When nothing more was to come of it.
    pub(super) fn ended(&self) -> Option<Instant> {
        self.results().ended
    }

    /// Whether somebody waits for changes.
    pub(super) fn is_watched(&self) -> bool {
        self.progress.receiver_count() > 0
    }

    /// A batch with some of it begins. Whether this is the first of it.
    pub(super) fn begin(&self, steps: usize) -> bool {
        let is_first = {
            let mut results = self.results();
            let is_first = results.began.is_none();
            results.began.get_or_insert_with(Instant::now);
            is_first
        };
        self.change(|progress| {
            progress.state = State::Running;
            (progress.step, progress.steps, progress.kind) = (0, steps, None);
        });
        is_first
    }

    /// A step of that batch was run.
    pub(super) fn step(&self, kind: StepKind, masked: u32) {
        self.change(|progress| {
            progress.step += 1;
            (progress.kind, progress.masked) = (Some(kind), masked);
        });
    }

    /// A picture in the making is there to be shown.
    pub(super) fn show(&self, file: Vec<u8>) {
        let partial = {
            let mut results = self.results();
            results.partial.push(Arc::new(file));
            results.partial.len()
        };
        if !self.change(|progress| progress.partial = partial) {
            self.forget();
        }
    }

    /// A picture is there. Whether it was the last one.
    pub(super) fn add(&self, picture: usize, made: Made) -> bool {
        let (count, all) = {
            let mut results = self.results();
            results.pictures[picture] = Some(made);
            let (count, all) = (results.pictures.iter().flatten().count(), results.pictures.len());
            if count == all {
                results.ended.get_or_insert_with(Instant::now);
            }
            (count, all)
        };
        let goes_on = self.change(|progress| {
            progress.made = count;
            if count == all {
                progress.state = State::Done;
            }
        });
        if !goes_on {
            self.forget();
        }
        goes_on && count == all
    }

    /// Nothing more will come of it. Whether that is news.
    pub(super) fn fail(&self, refusal: Refusal) -> bool {
        let is_news = self.change(|progress| progress.state = State::Failed(refusal));
        if is_news {
            self.results().ended = Some(Instant::now());
            self.forget();
        }
        is_news
    }

    /// Drops what is there of a request that failed, which nobody will ask for; also what came after that.
    fn forget(&self) {
        let mut results = self.results();
        results.pictures.iter_mut().for_each(|picture| *picture = None);
        results.partial.clear();
    }

    /// Changes how far it is, unless that is over.
    fn change(&self, change: impl FnOnce(&mut Progress)) -> bool {
        self.progress.send_if_modified(|progress| {
            let goes_on = !progress.is_over();
            if goes_on {
                change(progress);
            }
            goes_on
        })
    }

    /// A picture that is there.
    pub(super) fn picture(&self, index: usize) -> Option<Made> {
        self.results().pictures.get(index).cloned().flatten()
    }

    /// A picture in the making that was shown.
    pub(super) fn partial(&self, index: usize) -> Option<Arc<Vec<u8>>> {
        self.results().partial.get(index).cloned()
    }

    /// Bytes of the files that it keeps.
    pub(super) fn bytes(&self) -> usize {
        let results = self.results();
        let pictures = results.pictures.iter().flatten().map(|made| made.file.len());
        pictures.chain(results.partial.iter().map(|file| file.len())).sum()
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// 128 bits as text.
fn unguessable() -> String {
    let mut bytes = [0_u8; 16];
    // It fails where the system has no source of random numbers at all, and then nothing else would work either.
    let _ = getrandom::fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Cancels a request when whoever waits for it is gone.
#[derive(Debug)]
pub(super) struct WhileAsked {
    pub(super) task: Arc<Task>,
    pub(super) metrics: Arc<Metrics>,
}

impl Drop for WhileAsked {
    fn drop(&mut self) {
        // Of what is over, nothing changes.
        if self.task.fail(Refusal::cancelled()) {
            self.metrics.cancelled();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::asked;
    use super::*;

    fn made(bytes: usize) -> Made {
        Made { file: Arc::new(vec![0; bytes]), steps: vec![StepKind::Full] }
    }

    #[test]
    fn a_task_is_done_when_all_its_pictures_are_there() {
        let task = Task::new(asked(2, r#"{"seed": 5}"#));
        assert_eq!(task.asked.seeds, [5, 6]);
        assert!(task.begin(4) && !task.begin(4), "only the first batch of it is the first");
        task.step(StepKind::Full, 200);
        assert_eq!(
            (task.progress().name(), task.progress().step, task.progress().masked),
            ("running", 1, 200)
        );
        assert!(!task.add(1, made(10)) && task.picture(0).is_none());
        assert!(task.add(0, made(5)) && task.is_over());
        assert_eq!((task.bytes(), task.progress().name()), (15, "done"));
        assert!(!task.fail(Refusal::cancelled()), "what is done stays done");
        assert_eq!(task.bytes(), 15);
    }

    #[test]
    fn who_goes_away_cancels_and_nothing_is_kept() {
        let task = Arc::new(Task::new(asked(2, "{}")));
        task.add(0, made(10));
        task.show(vec![0; 7]);
        assert_eq!((task.bytes(), task.progress().partial), (17, 1));
        drop(WhileAsked { task: Arc::clone(&task), metrics: Arc::new(Metrics::new()) });
        assert_eq!((task.bytes(), task.progress().name()), (0, "cancelled"));
        task.step(StepKind::Full, 1);
        assert_eq!(task.progress().step, 0, "what is over does not go on");
        // A batch that was under way hands out what it has.
        let ended = task.ended();
        assert!(!task.add(1, made(10)));
        task.show(vec![0; 7]);
        assert_eq!((task.bytes(), task.ended(), task.progress().made), (0, ended, 1));
    }

    #[test]
    fn numbers_of_jobs_are_not_guessed() {
        let all: std::collections::HashSet<String> = (0..100).map(|_| unguessable()).collect();
        assert!(all.len() == 100 && all.iter().all(|id| id.len() == 32));
    }
}
