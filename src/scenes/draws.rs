//! Random numbers of a scene: Philox, keyed by the seed and counted by (scene, stream), so that a scene depends on nothing
//! but its own number, and what is shown does not move when more is drawn for how it looks.

use crate::kernels::philox;

/// What a scene's numbers are drawn for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stream {
    /// Objects, place, light, style, caption.
    Content = 0,
    /// Where objects stand and how large they are.
    Layout = 1,
    /// Sky and everything on the horizon.
    Sky = 2,
    /// The ground.
    Ground = 3,
    /// What lies on the ground or falls from the sky.
    Details = 4,
}

/// Above every stream of the sampler's, so that noise and data share no numbers.
const SCENES: u32 = 0x5CE0_0000;

/// A sequence of draws.
pub(super) struct Draws {
    key: [u32; 2],
    counter: [u32; 4],
    lanes: [u32; 4],
    used: usize,
}

impl Draws {
    pub(super) fn new(seed: u64, index: u64, stream: Stream) -> Self {
        let [low, high] = philox::key(index);
        let counter = [0, low, high, SCENES | stream as u32];
        Self { key: philox::key(seed), counter, lanes: [0; 4], used: 4 }
    }

    fn bits(&mut self) -> u32 {
        if self.used == 4 {
            self.lanes = philox::philox(self.counter, self.key);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.lanes[self.used - 1]
    }

    /// In the open interval (0, 1).
    pub(super) fn unit(&mut self) -> f32 {
        philox::uniform(self.bits())
    }

    /// Between two numbers.
    pub(super) fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// One of `0..n`; 0 where `n` is 0.
    pub(super) fn below(&mut self, n: usize) -> usize {
        ((u64::from(self.bits()) * n as u64) >> 32) as usize
    }

    pub(super) fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }

    /// One of a list that is not empty.
    pub(super) fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
}
