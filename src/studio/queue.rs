//! Runs that wait for their turn, in an order that can be changed.

use super::actor::RunId;
use crate::generate::proof::Proof;
use crate::generate::recipe::Recipe;

/// A run that waits.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// What it will be made from.
    pub recipe: Recipe,
    /// What its tokens should be, where a link or a picture said.
    pub expected: Option<Proof>,
}

impl Waiting {
    /// That nothing is known of before.
    pub fn new(recipe: Recipe) -> Self {
        Self { recipe, expected: None }
    }
}

/// Runs that wait, the next one first, the one of them that is under way, and those that could not run.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    waiting: Vec<Waiting>,
    under_way: Option<(RunId, Waiting)>,
    refused: Vec<(Waiting, String)>,
}

impl Queue {
    /// Those that wait.
    pub fn waiting(&self) -> &[Waiting] {
        &self.waiting
    }

    /// Adds one at the end.
    pub fn add(&mut self, waiting: Waiting) {
        self.waiting.push(waiting);
    }

    /// Adds one before all others.
    pub fn first(&mut self, waiting: Waiting) {
        self.waiting.insert(0, waiting);
    }

    /// Takes out the next one.
    pub fn take_next(&mut self) -> Option<Waiting> {
        (!self.waiting.is_empty()).then(|| self.waiting.remove(0))
    }

    /// Takes one out.
    pub fn cancel(&mut self, at: usize) {
        if at < self.waiting.len() {
            self.waiting.remove(at);
        }
    }

    /// Moves one before the one that it follows.
    pub fn up(&mut self, at: usize) {
        if (1..self.waiting.len()).contains(&at) {
            self.waiting.swap(at, at - 1);
        }
    }

    /// Moves one behind the one that follows it.
    pub fn down(&mut self, at: usize) {
        self.up(at + 1);
    }

    /// Remembers that a run of it has begun.
    pub fn began(&mut self, id: RunId, waiting: Waiting) {
        self.under_way = Some((id, waiting));
    }

    /// A run has ended. One that was overtaken waits again, first in line, unless a person stopped it.
    pub fn ended(&mut self, id: RunId, overtaken: bool) {
        if let Some((_, waiting)) = self.under_way.take_if(|(known, _)| *known == id)
            && overtaken
        {
            self.waiting.insert(0, waiting);
        }
    }

    /// The run under way failed: it is kept with the reason.
    pub fn failed(&mut self, id: RunId, reason: &str) {
        if let Some((_, waiting)) = self.under_way.take_if(|(known, _)| *known == id) {
            self.refused.push((waiting, reason.to_owned()));
        }
    }

    /// A model cannot be had: what waits for it is kept with the reason, and holds up no other.
    pub fn refuse(&mut self, model: &str, reason: &str) {
        let refused = self.waiting.extract_if(.., |waiting| waiting.recipe.model == model);
        self.refused.extend(refused.map(|waiting| (waiting, reason.to_owned())));
    }

    /// Those that could not run, and why.
    pub fn refused(&self) -> &[(Waiting, String)] {
        &self.refused
    }

    /// Lets one that could not run wait once more, behind the others.
    pub fn again(&mut self, at: usize) {
        if at < self.refused.len() {
            let (waiting, _) = self.refused.remove(at);
            self.waiting.push(waiting);
        }
    }

    /// Forgets one that could not run.
    pub fn forget(&mut self, at: usize) {
        if at < self.refused.len() {
            self.refused.remove(at);
        }
    }

    /// A person stopped what is under way: it does not wait again.
    pub fn stop(&mut self) {
        self.under_way = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::predict::Predictor;
    use crate::generate::recipe::Subject;
    use crate::generate::refresh::Refresh;
    use crate::generate::sampling::Sampling;

    fn waiting(seed: u64) -> Waiting {
        Waiting::new(Recipe {
            model: "m".to_owned(),
            subject: Subject::Prompt(String::new()),
            seed,
            images: 1,
            draw: Sampling::DIMOO,
            refresh: Refresh::Every,
            predictor: Predictor::Reuse,
            quantize: None,
            begun: Vec::new(),
            canvas: None,
        })
    }

    fn seeds(queue: &Queue) -> Vec<u64> {
        queue.waiting().iter().map(|waiting| waiting.recipe.seed).collect()
    }

    #[test]
    fn runs_wait_in_an_order_that_can_be_changed() {
        let mut queue = Queue::default();
        (1..=4).for_each(|seed| queue.add(waiting(seed)));
        queue.up(0);
        queue.down(3);
        queue.down(9);
        assert_eq!(seeds(&queue), [1, 2, 3, 4], "there is nowhere to go");
        queue.up(2);
        queue.down(0);
        assert_eq!(seeds(&queue), [3, 1, 2, 4]);
        queue.cancel(1);
        queue.cancel(7);
        assert_eq!(seeds(&queue), [3, 2, 4]);
        assert_eq!(queue.take_next(), Some(waiting(3)));
        assert_eq!(seeds(&queue), [2, 4]);
    }

    #[test]
    fn what_is_overtaken_waits_again_and_what_is_stopped_does_not() {
        let mut queue = Queue::default();
        queue.add(waiting(1));
        queue.add(waiting(2));
        let first = queue.take_next().unwrap();
        queue.began(RunId(7), first);
        queue.ended(RunId(6), true);
        assert_eq!(seeds(&queue), [2], "another run ended");
        queue.ended(RunId(7), true);
        assert_eq!(seeds(&queue), [1, 2]);
        let first = queue.take_next().unwrap();
        queue.began(RunId(8), first);
        queue.stop();
        queue.ended(RunId(8), true);
        assert_eq!(seeds(&queue), [2]);
        let next = queue.take_next().unwrap();
        queue.began(RunId(9), next);
        queue.ended(RunId(9), false);
        assert_eq!((seeds(&queue), queue.take_next()), (Vec::new(), None));
    }

    #[test]
    fn what_cannot_run_is_kept_with_the_reason() {
        let mut queue = Queue::default();
        let mut other = waiting(2);
        other.recipe.model = "gone".to_owned();
        [waiting(1), other.clone(), waiting(3)].into_iter().for_each(|waiting| queue.add(waiting));
        queue.refuse("gone", "there is no such folder");
        assert_eq!(seeds(&queue), [1, 3]);
        assert_eq!(queue.refused(), [(other, "there is no such folder".to_owned())]);
        let first = queue.take_next().unwrap();
        queue.began(RunId(7), first.clone());
        queue.failed(RunId(8), "another run's");
        assert_eq!(queue.refused().len(), 1);
        queue.failed(RunId(7), "too many tokens");
        assert_eq!(queue.refused()[1], (first, "too many tokens".to_owned()));
        queue.ended(RunId(7), true);
        queue.again(0);
        queue.forget(0);
        queue.again(0);
        queue.forget(3);
        assert_eq!((seeds(&queue), queue.refused().len()), (vec![3, 2], 0));
    }
}
