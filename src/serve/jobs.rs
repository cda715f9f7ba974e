//! Requests that outlive the connection that asked: kept by their number for a while, and no more of them than fit.

use super::task::Task;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What is kept of what is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    /// For so long.
    pub(super) time: Duration,
    /// So many.
    pub(super) jobs: usize,
    /// So much of it.
    pub(super) bytes: usize,
}

/// Requests by their numbers, the oldest first.
#[derive(Debug)]
pub(super) struct Jobs {
    kept: Kept,
    all: Mutex<VecDeque<Arc<Task>>>,
}

impl Jobs {
    pub(super) fn new(kept: Kept) -> Self {
        Self { kept, all: Mutex::new(VecDeque::new()) }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Task>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a request.
    pub(super) fn keep(&self, task: &Arc<Task>) {
        self.lock().push_back(Arc::clone(task));
        self.sweep(Instant::now());
    }

    /// A request that is kept.
    pub(super) fn find(&self, id: &str) -> Option<Arc<Task>> {
        self.lock().iter().find(|task| task.id == id).cloned()
    }

    /// All that are kept, the oldest first.
    pub(super) fn all(&self) -> Vec<Arc<Task>> {
        self.lock().iter().cloned().collect()
    }

    /// Forgets what has been over for too long, and the oldest of what is over where that is more than may be kept. What goes on is
    /// never forgotten: the queue bounds it.
    pub(super) fn sweep(&self, now: Instant) {
        let mut all = self.lock();
        let is_old = |task: &Arc<Task>| {
            task.is_over()
                && task.ended().is_some_and(|ended| now.saturating_duration_since(ended) > self.kept.time)
        };
        all.retain(|task| !is_old(task));
        let over = |all: &VecDeque<Arc<Task>>| all.iter().filter(|task| task.is_over()).count();
        let bytes = |all: &VecDeque<Arc<Task>>| all.iter().map(|task| task.bytes()).sum::<usize>();
        while over(&all) > self.kept.jobs || bytes(&all) > self.kept.bytes {
            let Some(oldest) = all.iter().position(|task| task.is_over()) else { return };
            all.remove(oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::asked;
    use super::super::task::Made;
    use super::*;

    const KEPT: Kept = Kept { time: Duration::from_secs(60), jobs: 3, bytes: 100 };

    fn done(bytes: usize) -> Arc<Task> {
        let task = Arc::new(Task::new(asked(1, "{}")));
        task.add(0, Made { file: Arc::new(vec![0; bytes]), steps: Vec::new() });
        task
    }

    #[test]
    fn what_is_over_is_kept_for_a_while() {
        let jobs = Jobs::new(KEPT);
        let (over, going) = (done(10), Arc::new(Task::new(asked(1, "{}"))));
        jobs.keep(&over);
        jobs.keep(&going);
        jobs.sweep(Instant::now());
        assert!(jobs.find(&over.id).is_some() && jobs.find("another").is_none());
        jobs.sweep(Instant::now() + Duration::from_secs(61));
        assert!(
            jobs.find(&over.id).is_none() && jobs.find(&going.id).is_some(),
            "what goes on is not forgotten"
        );
    }

    #[test]
    fn no_more_is_kept_than_fits() {
        let jobs = Jobs::new(KEPT);
        let all: Vec<Arc<Task>> = [40, 40, 10, 30, 1, 1].map(done).into();
        all.iter().for_each(|task| jobs.keep(task));
        let left: Vec<usize> = jobs.all().iter().map(|task| task.bytes()).collect();
        assert_eq!(
            left,
            [30, 1, 1],
            "three at most, and at the fourth already the first had to go for its size"
        );
    }
}
