//! How much each row's value has changed, for a cache that computes anew what has changed most (dLLM-Cache, arXiv 2506.06295).
//! Twin of `shaders/value_similarity.wgsl`.

use super::{
    Binding, Buffers, Cost, Extent, Kernel, Slot, StepValues, shader::Permutation, split_workgroups,
};
use rayon::prelude::*;

/// A sequence of two parts, a prompt and an image, that are computed anew at intervals of their own; at the other steps, as many of
/// the image's rows as have changed most. Steps are counted from the last full one, which has computed both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Intervals {
    /// One in so many steps computes the prompt anew.
    pub prompt: u32,
    /// One in so many steps computes the image anew.
    pub image: u32,
    /// The prompt's first row in a sequence.
    pub first: u32,
    /// The prompt's rows.
    pub count: u32,
    /// Rows of a sequence.
    pub length: u32,
    /// Rows of the image that steps between compute anew.
    pub changed: u32,
}

/// What becomes of a part's rows at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// They stay.
    Kept,
    /// Values are new, and some rows.
    Compared,
    /// All is new.
    Renewed,
}

impl Intervals {
    /// What becomes of the prompt, and of the image.
    pub(crate) fn fates(&self, step: &StepValues) -> [Fate; 2] {
        let renewed = |interval: u32| step.since_full.is_multiple_of(interval.max(1));
        let prompt = if renewed(self.prompt) { Fate::Renewed } else { Fate::Kept };
        let image = match renewed(self.image) {
            true => Fate::Renewed,
            false if self.changed > 0 => Fate::Compared,
            false => Fate::Kept,
        };
        [prompt, image]
    }

    /// Rows of a sequence that a step computes anew.
    pub(crate) fn recomputed(&self, step: &StepValues) -> u32 {
        let [prompt, image] = self.fates(step);
        let of_image = match image {
            Fate::Kept => 0,
            Fate::Compared => self.changed,
            Fate::Renewed => self.length - self.count,
        };
        of_image + if prompt == Fate::Renewed { self.count } else { 0 }
    }

    /// Rows of a sequence whose values a step computes anew: all, as long as there are any.
    pub(crate) fn compared(&self, step: &StepValues) -> u32 {
        if self.fates(step) == [Fate::Kept; 2] { 0 } else { self.length }
    }
}

/// `scores[r] = -|value[r] / |value[r]| - kept[r] / |kept[r]||^2`, and then `kept[r] = value[r]`, where a part is compared. Rows of a
/// part that is renewed score lower than all of these, and rows of one that stays, which stay as they are, higher.
///
/// Shapes: `value`, `kept` are `[sequences * length, width]`, `scores` `[sequences * length]`.
#[derive(Debug, Clone)]
pub(crate) struct ValueSimilarity {
    pub(crate) value: Slot,
    pub(crate) kept: Slot,
    pub(crate) scores: Slot,
    pub(crate) sequences: u32,
    pub(crate) width: u32,
    pub(crate) intervals: Intervals,
}

/// The norm of a row is taken for at least this.
const LEAST: f32 = 1e-8;
/// The score of a row that is renewed: no distance of two unit vectors is so large.
const RENEWED: f32 = -9.0;
/// The score of a row that stays.
const KEPT: f32 = 1.0;

impl ValueSimilarity {
    fn rows(&self) -> Extent {
        Extent::symbolic(self.sequences, super::Symbol::Compared(self.intervals), self.intervals.length)
    }
}

impl Kernel for ValueSimilarity {
    fn permutation(&self) -> Permutation {
        Permutation::new("value_similarity")
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(1, self.value), Binding::update(2, self.kept), Binding::write(3, self.scores)]
    }

    fn params(&self, step: &StepValues) -> Vec<u8> {
        let Intervals { first, count, length, .. } = self.intervals;
        let [prompt, image] = self.intervals.fates(step).map(|fate| fate as u32);
        bytemuck::bytes_of(&[self.rows().at(step), self.width, length, first, count, prompt, image, 0])
            .to_vec()
    }

    fn workgroups(&self, step: &StepValues) -> [u32; 3] {
        split_workgroups(self.rows().at(step))
    }

    fn cost(&self, step: &StepValues) -> Cost {
        let elements = u64::from(self.rows().at(step)) * u64::from(self.width);
        Cost::new(9 * elements, 3 * elements)
    }

    fn describe(&self) -> String {
        format!("[{}, {}]", self.rows(), self.width)
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        let Intervals { first, count, length, .. } = self.intervals;
        let fates = self.intervals.fates(step);
        let width = self.width as usize;
        let rows = self.rows().at(step) as usize;
        let value = io.f32(1)[..rows * width].par_chunks(width);
        let kept = io.f32_mut(2)[..rows * width].par_chunks_mut(width);
        let rows = value.zip(kept).zip(&mut io.f32_mut(3)[..rows]).enumerate().with_min_len(16);
        rows.for_each(|(row, ((value, kept), score))| {
            let in_prompt = (first..first + count).contains(&(row as u32 % length));
            *score = match fates[usize::from(!in_prompt)] {
                Fate::Kept => KEPT,
                Fate::Compared => -distance(value, kept),
                Fate::Renewed => RENEWED,
            };
            if *score < KEPT {
                kept.copy_from_slice(value);
            }
        });
    }
}

/// The squared distance of two rows at length 1.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    let scale = |row: &[f32]| row.iter().map(|v| v * v).sum::<f32>().sqrt().max(LEAST).recip();
    let (of_a, of_b) = (scale(a), scale(b));
    a.iter().zip(b).map(|(a, b)| (a * of_a - b * of_b).powi(2)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_computed_anew_as_the_official_intervals_say() {
        // The official settings of LLaDA, for a prompt of 3 rows and an image of 20 of which a quarter is 5.
        let intervals = Intervals { prompt: 100, image: 7, first: 0, count: 3, length: 23, changed: 5 };
        let at = |since_full| StepValues { since_full, ..StepValues::default() };
        let rows = |steps: &[u32]| -> Vec<u32> {
            steps.iter().map(|&step| intervals.recomputed(&at(step))).collect()
        };
        assert_eq!(rows(&[1, 6, 7, 8, 14, 100, 700]), [5, 5, 20, 5, 20, 8, 23]);
        assert_eq!(intervals.compared(&at(1)), 23);
        let none = Intervals { changed: 0, ..intervals };
        assert_eq!([none.recomputed(&at(1)), none.compared(&at(1))], [0, 0]);
        assert_eq!([none.recomputed(&at(100)), none.compared(&at(100))], [3, 23]);
    }

    #[test]
    fn the_score_is_twice_the_cosine_less_two_and_of_equal_rows_exactly_nothing() {
        let (a, b) = ([3.0, 4.0, 0.0], [4.0, 3.0, 5.0_f32]);
        let cosine = 24.0 / (5.0 * 50.0_f32.sqrt());
        assert!((-distance(&a, &b) - (2.0 * cosine - 2.0)).abs() < 1e-6);
        assert_eq!(distance(&b, &b), 0.0);
        assert_eq!(distance(&[0.0; 3], &[0.0; 3]), 0.0);
        assert!(-distance(&a, &[-3.0, -4.0, 0.0]) > RENEWED);
    }
}
