//! The best entries that stand apart. Twin of `shaders/spread_k.wgsl`.
//!
//! Tokens that are drawn together do not see each other; those next to each other depend on each other most. So a step can be made to
//! take tokens at a distance, as far as there are enough.

use super::{Binding, Buffers, Cost, Extent, Kernel, Slot, StepValues, shader::Permutation};

/// `chosen[i, j] = 1` for `reveal` of the first m entries of image i, else 0: the best-scored one after the other, where entries
/// within `step.distance` of a chosen one wait until no other is left. All are `[images, tokens]`.
#[derive(Debug, Clone)]
pub(crate) struct SpreadK {
    pub(crate) scores: Slot,
    pub(crate) positions: Slot,
    pub(crate) chosen: Slot,
    pub(crate) images: u32,
    pub(crate) tokens: u32,
    /// Tokens in a row of the grid.
    pub(crate) columns: u32,
    /// Entries per image.
    pub(crate) masked: Extent,
}

/// The square of the distance below which tokens are near.
fn square(step: &StepValues) -> u32 {
    // Distances are of whole cells: their squares are whole, and below a bound if they are below its next whole number.
    (step.distance * step.distance).ceil() as u32
}

impl Kernel for SpreadK {
    fn permutation(&self) -> Permutation {
        Permutation::new("spread_k")
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(1, self.scores), Binding::read(2, self.positions), Binding::update(3, self.chosen)]
    }

    fn params(&self, step: &StepValues) -> Vec<u8> {
        let params = [self.tokens, self.masked.at(step), step.reveal, self.columns, square(step), 0, 0, 0];
        bytemuck::bytes_of(&params).to_vec()
    }

    fn workgroups(&self, step: &StepValues) -> [u32; 3] {
        if step.distance > 0.0 { [self.images, 1, 1] } else { [0; 3] }
    }

    fn cost(&self, step: &StepValues) -> Cost {
        let rounds = u64::from(step.reveal) * u64::from(self.images);
        if step.distance > 0.0 {
            Cost::new(0, rounds * 4 * u64::from(self.masked.at(step)))
        } else {
            Cost::default()
        }
    }

    fn describe(&self) -> String {
        format!("[{} x {}]", self.images, self.masked)
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        let (tokens, masked) = (self.tokens as usize, self.masked.at(step) as usize);
        let images = io.f32(1).chunks_exact(tokens).zip(io.u32(2).chunks_exact(tokens));
        for ((scores, positions), chosen) in images.zip(io.u32_mut(3).chunks_exact_mut(tokens)) {
            let of = |all| -> &[_] { all };
            spread(
                of(&scores[..masked]),
                &positions[..masked],
                self.columns,
                square(step),
                step.reveal,
                chosen,
            );
        }
    }
}

/// The twin, of one image.
fn spread(scores: &[f32], positions: &[u32], columns: u32, square: u32, reveal: u32, chosen: &mut [u32]) {
    const FREE: u32 = 0;
    const CHOSEN: u32 = 1;
    const NEAR: u32 = 2;
    let is_near = |a: u32, b: u32| {
        (a / columns).abs_diff(b / columns).pow(2) + (a % columns).abs_diff(b % columns).pow(2) < square
    };
    let states = &mut chosen[..scores.len()];
    states.fill(FREE);
    // NaN loses to every number.
    let better = |a: f32, b: f32| a > b || (b.is_nan() && !a.is_nan());
    let find = |states: &[u32], state: u32| {
        let mut best: Option<usize> = None;
        for (j, &score) in scores.iter().enumerate().filter(|(j, _)| states[*j] == state) {
            if best.is_none_or(|best| better(score, scores[best])) {
                best = Some(j);
            }
        }
        best
    };
    for _ in 0..reveal {
        let Some(at) = find(states, FREE).or_else(|| find(states, NEAR)) else { break };
        states[at] = CHOSEN;
        for (state, &position) in states.iter_mut().zip(positions) {
            if *state == FREE && is_near(position, positions[at]) {
                *state = NEAR;
            }
        }
    }
    for state in states.iter_mut().filter(|state| **state == NEAR) {
        *state = FREE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_entries_stand_apart_as_long_as_there_are_enough() {
        let (columns, masked) = (4, 16);
        // The best in order; all positions are masked.
        let scores: Vec<f32> = (0..masked).map(|j| -(j as f32)).collect();
        let positions: Vec<u32> = (0..masked).collect();
        let mut chosen = vec![9; masked as usize];
        let mut take = |square, reveal| {
            spread(&scores, &positions, columns, square, reveal, &mut chosen);
            (0..masked).filter(|j| chosen[*j as usize] == 1).collect::<Vec<u32>>()
        };
        // Not next to each other, then not within a knight's move either.
        assert_eq!(take(2, 4), [0, 2, 5, 7]);
        assert_eq!(take(6, 2), [0, 3]);
        // There is room for no more than four at a distance of three: the rest are the best of what is left.
        assert_eq!(take(9, 6), [0, 1, 2, 3, 12, 15]);
        assert_eq!(take(100, 16).len(), 16);
        assert_eq!(take(0, 3), [0, 1, 2]);
    }
}
