//! Diversity: how much pictures of one prompt differ in what the prompt leaves open.

use super::judge::{Judge, Seen};
use super::makers::{Maker, Method};
use super::source::{SceneSource, Split};
use super::{Plan, Report, name_of, read_real};
use crate::generate::GenerateError;

/// What a prompt of a noun alone leaves open.
pub const OPEN: [&str; 3] = ["colour", "place", "light"];

/// How many prompts of a noun alone, and how many seeds of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Size {
    /// Prompts.
    pub prompts: usize,
    /// Pictures of each.
    pub seeds: usize,
}

impl Size {
    /// Numbers of nouns for the prompts, spread evenly over so many.
    pub fn spread(self, of: usize) -> Vec<usize> {
        let prompts = self.prompts.min(of);
        (0..prompts).map(|prompt| prompt * of / prompts).collect()
    }
}

/// The entropy of what pictures of one prompt show, as the judge reads them, in bits: the mean over prompts.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Diversity {
    /// Of each of [`OPEN`].
    pub bits: [f64; OPEN.len()],
    /// Their mean.
    pub mean: f64,
    /// The mean as a share of that of real scenes, where there are such.
    pub share_of_real: Option<f64>,
}

impl Diversity {
    /// Of pictures by prompt.
    fn of(prompts: &[&[Seen]], real: Option<&Self>) -> Self {
        let over_prompts = |reading: fn(&Seen) -> usize| {
            let of = |seen: &&[Seen]| entropy(seen.iter().map(reading));
            prompts.iter().map(of).sum::<f64>() / prompts.len().max(1) as f64
        };
        let bits = [
            over_prompts(|seen| seen.colours[0]),
            over_prompts(|seen| seen.place),
            over_prompts(|seen| seen.light),
        ];
        let mean = bits.iter().sum::<f64>() / bits.len() as f64;
        let share_of_real = real.map(|real| real.mean).filter(|real| *real > 0.0).map(|real| mean / real);
        Self { bits, mean, share_of_real }
    }
}

/// Entropy in bits with the correction of Miller and Madow (Miller 1955): `(bins - 1) / (2 n ln 2)` on top, as few samples miss some
/// of what there is; `bins` are the values that were met. 0 of nothing.
fn entropy(values: impl Iterator<Item = usize>) -> f64 {
    let mut counts = std::collections::BTreeMap::<usize, usize>::new();
    values.for_each(|value| *counts.entry(value).or_default() += 1);
    let n = counts.values().sum::<usize>() as f64;
    if counts.is_empty() {
        return 0.0;
    }
    let of = |&count: &usize| -(count as f64 / n) * (count as f64 / n).log2();
    counts.values().map(of).sum::<f64>() + (counts.len() - 1) as f64 / (2.0 * n * std::f64::consts::LN_2)
}

/// Scenes that are composed at once while some of each noun are looked for.
const CHUNK: u64 = 256;
/// So many times as many scenes are looked through as are expected to be needed, before those that were found must do.
const PATIENCE: u64 = 8;

/// Of as many real scenes of each noun, of one object and whatever colour, place and light.
fn of_real(
    source: &dyn SceneSource,
    judge: &mut Judge,
    seed: u64,
    nouns: &[usize],
    seeds: usize,
) -> Result<Option<Diversity>, GenerateError> {
    if !source.has(Split::Seen, true) {
        return Ok(None);
    }
    let mut seen: Vec<Vec<Seen>> = vec![Vec::new(); nouns.len()];
    let most = PATIENCE * (seeds * judge.config.nouns.len()) as u64;
    for first in (0..most).step_by(CHUNK as usize) {
        let mut scenes = source.scenes(seed, first..first + CHUNK, Split::Seen, true);
        let prompt = |noun: usize| nouns.iter().position(|other| *other == noun);
        let of = |scene: &super::RealScene| scene.wanted.nouns.first().and_then(|&noun| prompt(noun));
        scenes.retain(|scene| of(scene).is_some_and(|prompt| seen[prompt].len() < seeds));
        let read = read_real(judge, &scenes)?.seen;
        for (scene, read) in scenes.iter().zip(read) {
            if let Some(list) = of(scene).and_then(|prompt| seen.get_mut(prompt)).filter(|l| l.len() < seeds)
            {
                list.push(read);
            }
        }
        if seen.iter().all(|list| list.len() == seeds) {
            break;
        }
    }
    let prompts: Vec<&[Seen]> = seen.iter().map(Vec::as_slice).collect();
    Ok(Some(Diversity::of(&prompts, None)))
}

/// Adds to a report how diverse every method of its plan is. The maker's pictures are of `nouns`, `seeds` of each in turn.
///
/// # Errors
/// The device failed, or the plan makes no sense.
pub fn measure(
    report: &mut Report,
    maker: &mut Maker<'_>,
    judge: &mut Judge,
    plan: &Plan,
    source: Option<(&dyn SceneSource, u64)>,
    (nouns, seeds): (&[usize], usize),
    tick: &mut dyn FnMut(&str),
) -> Result<(), GenerateError> {
    report.real_diversity = match source {
        Some((source, seed)) => of_real(source, judge, seed, nouns, seeds)?,
        None => None,
    };
    report.diversity_of = Some(Size { prompts: nouns.len(), seeds });
    // Every noun by every method.
    let all = |method| Method { pictures: None, ..method };
    let methods: Vec<Method> = plan.methods()?.into_iter().map(all).collect();
    let mut found = Vec::with_capacity(methods.len());
    for group in methods.chunk_by(|a, b| a.predictor == b.predictor) {
        let predictor = group.first().and_then(|method| method.predictor);
        tick(&format!("diversity: {}", name_of(predictor)));
        for made in maker.make(predictor, group, &mut || tick(""))? {
            let seen = judge.read(&made.pictures)?.seen;
            let prompts: Vec<&[Seen]> = seen.chunks(seeds.max(1)).collect();
            found.push(Diversity::of(&prompts, report.real_diversity.as_ref()));
        }
    }
    for (row, diversity) in report.rows.iter_mut().zip(found) {
        row.diversity = Some(diversity);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn entropy_is_that_of_known_distributions() {
        let of = |counts: &[usize]| {
            entropy(counts.iter().enumerate().flat_map(|(value, &count)| std::iter::repeat_n(value, count)))
        };
        assert_eq!((of(&[]), of(&[64])), (0.0, 0.0));
        // log2 of the bins, and (bins - 1) / (2 n ln 2).
        assert!((of(&[32, 32]) - (1.0 + 1.0 / (128.0 * std::f64::consts::LN_2))).abs() < 1e-12);
        assert!((of(&[16; 4]) - (2.0 + 3.0 / (128.0 * std::f64::consts::LN_2))).abs() < 1e-12);
        // Half, a quarter, two eighths: 1.75 bits.
        assert!((of(&[4000, 2000, 1000, 1000]) - 1.75).abs() < 1e-3);
    }

    proptest! {
        #[test]
        fn entropy_does_not_depend_on_names_or_order(mut values in prop::collection::vec(0_usize..8, 1..80)) {
            let first = entropy(values.iter().copied());
            prop_assert!(first >= 0.0 && first <= 3.0 + 7.0 / (2.0 * values.len() as f64 * std::f64::consts::LN_2) + 1e-9);
            values.reverse();
            prop_assert!((entropy(values.iter().map(|v| (v * 5 + 3) % 8)) - first).abs() < 1e-9);
        }
    }

    #[test]
    fn the_correction_takes_most_of_the_bias_away() {
        // 64 samples of 8 equal values, drawn 400 times by a plain congruential generator (Knuth's constants).
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 61) as usize
        };
        let mean = (0..400).map(|_| entropy((0..64).map(|_| next()))).sum::<f64>() / 400.0;
        assert!((mean - 3.0).abs() < 0.02, "{mean}");
    }

    #[test]
    fn prompts_are_spread_over_the_nouns() {
        let nouns = |prompts, of| Size { prompts, seeds: 1 }.spread(of);
        assert_eq!(nouns(4, 24), [0, 6, 12, 18]);
        assert_eq!(nouns(16, 3), [0, 1, 2]);
        assert!(nouns(2, 0).is_empty());
    }
}
