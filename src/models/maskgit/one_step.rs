//! Di\[M\]O: a MaskGIT distilled into a generator of one step, with the weights' names and shapes of its teacher.
//!
//! Zhu et al. 2025 (arXiv 2503.15457). What a teacher's many steps draw at random, one step has to begin with: codes at random of
//! which a share is masked, and noise in the embeddings of all of them. One conditional pass without guidance then gives every
//! position its distribution, and all are drawn from at once. Try it: `migm pull dimo-256`.

use crate::kernels::philox::{Stream, draw, key};

/// What a one-step generator begins with.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Config {
    /// Share of the positions that are masked.
    pub mask_ratio: f64,
    /// Standard deviation of the noise in the embeddings, which otherwise keep their length: `noise N(0, 1) + sqrt(1 - noise^2) e`.
    pub noise: f64,
}

impl Config {
    /// The official generator of ImageNet at 256 pixels.
    pub const OFFICIAL: Self = Self { mask_ratio: 0.6, noise: 0.1 };

    /// Whether the numbers make sense.
    ///
    /// # Errors
    /// A sentence on the first that does not.
    pub fn check(&self) -> Result<(), String> {
        for (name, value) in [("mask_ratio", self.mask_ratio), ("noise", self.noise)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(format!("`one_step.{name}` is {value}; it must be from 0 to 1"));
            }
        }
        Ok(())
    }

    /// Masked positions of so many: rounded half to even and at least one, as in the official code.
    pub fn masked(&self, tokens: u32) -> u32 {
        // In f32, as PyTorch rounds it.
        ((f64::from(tokens) * self.mask_ratio) as f32).round_ties_even().max(1.0) as u32
    }

    /// The ids that an image of this seed begins with: each code as likely, and `codebook` where masked, exactly so many positions
    /// of which each choice is as likely.
    pub fn ids(&self, tokens: u32, codebook: u32, seed: u64) -> Vec<u32> {
        let drawn: Vec<[u32; 4]> =
            (0..tokens).map(|position| draw(key(seed), 0, position, Stream::Begin, 0)).collect();
        let mut ids: Vec<u32> = drawn.iter().map(|draw| below(draw[1], codebook)).collect();
        let mut order: Vec<u32> = (0..tokens).collect();
        order.sort_by_key(|&position| (drawn[position as usize][0], position));
        order
            .iter()
            .take(self.masked(tokens) as usize)
            .for_each(|&position| ids[position as usize] = codebook);
        ids
    }
}

/// A number below `bound`, each as likely.
fn below(bits: u32, bound: u32) -> u32 {
    ((u64::from(bits) * u64::from(bound)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_positions_are_masked_as_the_official_code_masks() {
        let of = |mask_ratio, tokens| Config { mask_ratio, noise: 0.0 }.masked(tokens);
        assert_eq!(of(0.6, 256), 154);
        // Half to even, and never none.
        assert_eq!((of(0.5, 1024), of(0.1, 25), of(0.3, 5), of(0.0, 16)), (512, 2, 2, 1));
    }

    #[test]
    fn ids_are_uniform_but_for_the_masked_ones_and_follow_from_the_seed() {
        let config = Config::OFFICIAL;
        let (tokens, codebook) = (256, 32);
        let (mut codes, mut masked) = (vec![0_u32; codebook as usize], vec![0_u32; tokens as usize]);
        for seed in 0..200 {
            let ids = config.ids(tokens, codebook, seed);
            assert_eq!(ids.iter().filter(|&&id| id == codebook).count(), 154);
            for (position, &id) in ids.iter().enumerate() {
                match codes.get_mut(id as usize) {
                    Some(count) => *count += 1,
                    None => masked[position] += 1,
                }
            }
        }
        // 20,400 codes over 32, and 200 seeds at 0.6: within five standard deviations.
        assert!(codes.iter().all(|&count| (515..760).contains(&count)), "{codes:?}");
        assert!(masked.iter().all(|&count| (86..155).contains(&count)), "{masked:?}");
        assert_eq!(config.ids(tokens, codebook, 7), config.ids(tokens, codebook, 7));
        assert_ne!(config.ids(tokens, codebook, 7), config.ids(tokens, codebook, 1 << 32 | 7));
    }

    #[test]
    fn shares_that_are_none_are_refused() {
        for (config, words) in [
            (Config { mask_ratio: 1.5, ..Config::OFFICIAL }, "one_step.mask_ratio` is 1.5"),
            (Config { mask_ratio: f64::NAN, ..Config::OFFICIAL }, "NaN"),
            (Config { noise: -0.1, ..Config::OFFICIAL }, "one_step.noise"),
        ] {
            let error = config.check().unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        assert_eq!(Config::OFFICIAL.check(), Ok(()));
    }
}
