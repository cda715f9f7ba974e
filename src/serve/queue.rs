//! Pictures that wait to be made, in the order in which they came, and which of them go together.
//!
//! The unit is a picture and not a request: a batch takes the picture that has waited longest and others that are like it, of whatever
//! request. Batches are of 1, 2, 4, 8, ... pictures, so that few sessions serve all of them and none is filled up.

use super::refusal::Refusal;
use super::task::{State, Task};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A picture of a request.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) task: Arc<Task>,
    pub(super) picture: usize,
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Pictures that may wait.
    pub(super) waiting: usize,
    /// Until something of a request is begun.
    pub(super) longest_wait: Duration,
    /// From then on until all of it is there.
    pub(super) longest_run: Duration,
}

#[derive(Debug)]
struct Waiting {
    entries: VecDeque<Entry>,
    /// Requests that are being made: some of their pictures are in the batch under way, or were.
    begun: Vec<Arc<Task>>,
    /// Whether new requests are taken.
    is_open: bool,
    /// What a picture took of late.
    each: Duration,
}

/// Pictures that wait.
#[derive(Debug)]
pub(super) struct Queue {
    limits: Limits,
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

impl Queue {
    pub(super) fn new(limits: Limits) -> Self {
        let waiting =
            Waiting { entries: VecDeque::new(), begun: Vec::new(), is_open: true, each: Duration::ZERO };
        Self { limits, waiting: Mutex::new(waiting), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a request, if there is room for all of it and it will be begun in time by what pictures took of late.
    ///
    /// # Errors
    /// There is none, or the server is stopping.
    pub(super) fn push(&self, task: &Arc<Task>) -> Result<(), Refusal> {
        let mut waiting = self.lock();
        if !waiting.is_open {
            return Err(Refusal::stopping());
        }
        waiting.entries.retain(|entry| !entry.task.is_over());
        let count = waiting.entries.len();
        let expected = waiting.each * count as u32;
        let pictures = task.asked.seeds.len();
        if count + pictures > self.limits.waiting || expected > self.limits.longest_wait {
            return Err(Refusal::full(count, expected));
        }
        let entry = |picture| Entry { task: Arc::clone(task), picture };
        waiting.entries.extend((0..pictures).map(entry));
        self.changed.notify_all();
        Ok(())
    }

    /// The next batch: waits for one. `most` says how many pictures like one can be made at once. `None` when the queue is closed and
    /// empty.
    pub(super) fn take(&self, most: &mut dyn FnMut(&Entry) -> usize) -> Option<Vec<Entry>> {
        let mut waiting = self.lock();
        loop {
            waiting.entries.retain(|entry| !entry.task.is_over());
            if let Some(first) = waiting.entries.front().cloned() {
                return Some(Self::batch(&mut waiting, &first, most(&first)));
            }
            if !waiting.is_open {
                return None;
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn batch(waiting: &mut Waiting, first: &Entry, most: usize) -> Vec<Entry> {
        let alike = |entry: &&Entry| entry.task.asked.is_like(&first.task.asked);
        let count = waiting.entries.iter().filter(alike).take(most.max(1)).count();
        // The largest power of two.
        let count = 1 << count.ilog2();
        let (mut batch, mut left) = (Vec::with_capacity(count), VecDeque::new());
        for entry in waiting.entries.drain(..) {
            if batch.len() < count && alike(&&entry) { batch.push(entry) } else { left.push_back(entry) }
        }
        waiting.entries = left;
        for entry in &batch {
            if !waiting.begun.iter().any(|task| Arc::ptr_eq(task, &entry.task)) {
                waiting.begun.push(Arc::clone(&entry.task));
            }
        }
        batch
    }

    /// What a picture of the last batch took, for what is said of waiting.
    pub(super) fn took(&self, each: Duration) {
        let mut waiting = self.lock();
        waiting.each = if waiting.each.is_zero() { each } else { (waiting.each * 3 + each) / 4 };
    }

    /// Ends what has waited or run for too long; called from time to time. How many requests that were.
    pub(super) fn expire(&self, now: Instant) -> usize {
        let mut waiting = self.lock();
        let Limits { longest_wait, longest_run, .. } = self.limits;
        let mut ended = 0;
        let retry = (waiting.each * waiting.entries.len() as u32).min(longest_wait);
        for entry in waiting.entries.iter().filter(|entry| entry.task.progress().state == State::Waiting) {
            if now.saturating_duration_since(entry.task.admitted) > longest_wait
                && entry.task.fail(Refusal::overdue(longest_wait, retry))
            {
                ended += 1;
            }
        }
        waiting.begun.retain(|task| !task.is_over());
        for task in &waiting.begun {
            let is_late =
                task.began().is_some_and(|began| now.saturating_duration_since(began) > longest_run);
            if is_late && task.fail(Refusal::took_too_long(longest_run)) {
                ended += 1;
            }
        }
        ended
    }

    /// Takes nothing new; what waits is still made.
    pub(super) fn close(&self) {
        self.lock().is_open = false;
        self.changed.notify_all();
    }

    /// Ends all that waits or runs.
    pub(super) fn clear(&self) {
        let mut waiting = self.lock();
        let Waiting { entries, begun, .. } = &mut *waiting;
        for task in entries.drain(..).map(|entry| entry.task).chain(begun.drain(..)) {
            task.fail(Refusal::stopping());
        }
        self.changed.notify_all();
    }

    /// Pictures that wait.
    pub(super) fn len(&self) -> usize {
        self.lock().entries.iter().filter(|entry| !entry.task.is_over()).count()
    }

    /// Whether new requests are taken.
    pub(super) fn is_open(&self) -> bool {
        self.lock().is_open
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::asked;
    use super::*;

    const LIMITS: Limits =
        Limits { waiting: 12, longest_wait: Duration::from_secs(10), longest_run: Duration::from_secs(20) };

    fn task(count: u32, fields: &str) -> Arc<Task> {
        Arc::new(Task::new(asked(count, fields)))
    }

    fn seeds(batch: &[Entry]) -> Vec<u64> {
        batch.iter().map(|entry| entry.task.asked.seeds[entry.picture]).collect()
    }

    #[test]
    fn batches_are_of_what_is_alike_and_powers_of_two() {
        let queue = Queue::new(LIMITS);
        for (count, fields) in [
            (3, r#"{"seed": 10, "steps": 4}"#),
            (1, r#"{"seed": 20, "steps": 6}"#),
            (2, r#"{"seed": 30, "steps": 4}"#),
            (1, r#"{"seed": 40, "steps": 4, "prompt": "two foxes and a cat in the snow at night"}"#),
        ] {
            queue.push(&task(count, fields)).unwrap();
        }
        let next = || seeds(&queue.take(&mut |_| 8).unwrap());
        assert_eq!(next(), [10, 11, 12, 30], "five are alike: four of them in one batch, across requests");
        assert_eq!(next(), [20], "who waits longest is next");
        assert_eq!(next(), [31], "longer prompts are another shape");
        assert_eq!(next(), [40]);
        assert_eq!(queue.len(), 0);
        queue.close();
        assert!(queue.take(&mut |_| 8).is_none());
    }

    #[test]
    fn what_does_not_fit_is_refused_with_a_time() {
        let queue = Queue::new(LIMITS);
        queue.push(&task(10, "{}")).unwrap();
        assert_eq!(queue.push(&task(3, "{}")).unwrap_err().status, 429);
        queue.push(&task(2, "{}")).unwrap();
        queue.take(&mut |_| 8).unwrap();
        // Four wait, and each takes three seconds: what comes now would be begun too late.
        queue.took(Duration::from_secs(3));
        let refusal = queue.push(&task(1, "{}")).unwrap_err();
        assert!(refusal.status == 429 && refusal.message.contains("12 s"), "{refusal:?}");
        queue.close();
        assert_eq!(queue.push(&task(1, "{}")).unwrap_err().status, 503);
    }

    #[test]
    fn what_is_cancelled_leaves_its_place() {
        let queue = Queue::new(LIMITS);
        let (first, second) = (task(2, r#"{"seed": 1}"#), task(1, r#"{"seed": 9}"#));
        queue.push(&first).unwrap();
        queue.push(&second).unwrap();
        first.fail(Refusal::cancelled());
        assert_eq!(queue.len(), 1);
        assert_eq!(seeds(&queue.take(&mut |_| 8).unwrap()), [9]);
    }

    #[test]
    fn nothing_waits_or_runs_beyond_its_time() {
        let queue = Queue::new(LIMITS);
        let (begun, waiting) = (task(2, "{}"), task(1, r#"{"steps": 3}"#));
        queue.push(&begun).unwrap();
        queue.push(&waiting).unwrap();
        queue.take(&mut |_| 1).unwrap();
        begun.begin(4);
        let now = Instant::now();
        assert_eq!(queue.expire(now), 0);
        assert_eq!(queue.expire(now + Duration::from_secs(11)), 1);
        assert_eq!((waiting.progress().name(), begun.progress().name()), ("failed", "running"));
        assert_eq!(queue.expire(now + Duration::from_secs(21)), 1);
        let State::Failed(refusal) = begun.progress().state else { panic!("it goes on") };
        assert_eq!(refusal.status, 504);
        assert_eq!(queue.len(), 0, "the second picture of it is not begun any more");
    }

    #[test]
    fn one_who_waits_is_woken() {
        let queue = Arc::new(Queue::new(LIMITS));
        let waiting = Arc::clone(&queue);
        let taken = std::thread::spawn(move || waiting.take(&mut |_| 8).map(|batch| seeds(&batch)));
        queue.push(&task(1, r#"{"seed": 77}"#)).unwrap();
        assert_eq!(taken.join().unwrap(), Some(vec![77]));
        let waiting = Arc::clone(&queue);
        let nothing = std::thread::spawn(move || waiting.take(&mut |_| 8).is_none());
        queue.close();
        assert!(nothing.join().unwrap());
    }
}
