//! Random numbers of a scene: Philox, keyed by the seed and counted by (scene, stream), so that a scene depends on nothing
//! but its own number, and what is shown does not move when more is drawn for how it looks.

use crate::kernels::philox;

/// What a scene's numbers are drawn for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stream {
    /// Objects, colours, place, light, caption.
    Content = 0,
    /// Where objects stand and how large they are, and which background of its place and light it is.
    Layout = 1,
    /// Whether things are torn.
    Torn = 2,
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

    /// One of `0..n`; 0 where `n` is 0.
    pub(super) fn below(&mut self, n: usize) -> usize {
        ((u64::from(self.bits()) * n as u64) >> 32) as usize
    }

    pub(super) fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }
}
