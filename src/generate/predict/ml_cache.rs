//! ML-Cache: the training-free acceleration in Lumina-DiMOO's own code.

use super::{Body, Predict};
use crate::generate::GenerateError;
use crate::generate::refresh::{Refresh, decimal};
use crate::kernels::Extent;
use crate::models::{Keep, Network};

/// ML-Cache, the official training-free acceleration of Lumina-DiMOO: between full steps, only the rows of a sequence whose
/// best image code has the lowest logit pass through the model; the others keep their keys, values and features. The
/// official full steps are [`Refresh::ML_CACHE`].
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct MlCache {
    /// Share of rows that are kept.
    pub cache_ratio: f32,
}

impl MlCache {
    /// The official settings.
    pub const OFFICIAL: Self = Self { cache_ratio: 0.9 };

    /// Rows recomputed of a sequence of `length`: those not above the quantile `1 - cache_ratio` of their scores.
    ///
    /// The official code recomputes every row that ties with the quantile, so its number of rows depends on the
    /// data. Here it is fixed when programs are planned, and of rows that tie the first are taken: the same rows wherever
    /// scores differ. The official scores tie because they are bf16; those of a sequence in f32 practically never do,
    /// and sizes that only the device knows would cost each partial step a read-back.
    ///
    /// # Errors
    /// The ratio is none.
    pub fn rows(&self, length: u32) -> Result<u32, GenerateError> {
        if !(0.0..=1.0).contains(&self.cache_ratio) {
            let message = format!("a cache ratio of {} is not a share; use 0 to 1", self.cache_ratio);
            return Err(GenerateError::Setting(message));
        }
        // The rank in f32, as torch.quantile computes it; ties aside, that many and one more are not above it.
        let quantile = (1.0 - decimal(self.cache_ratio)) as f32;
        let rank = quantile * length.saturating_sub(1) as f32;
        Ok((rank.floor() as u32 + 1).min(length))
    }
}

impl Predict for MlCache {
    fn name(&self) -> &'static str {
        "ml-cache"
    }

    fn spec(&self) -> String {
        if *self == Self::OFFICIAL {
            self.name().to_owned()
        } else {
            format!("ml-cache:{}", self.cache_ratio)
        }
    }

    fn title(&self) -> &'static str {
        "ML-Cache"
    }

    fn about(&self) -> &'static str {
        "A tenth of the rows through the full model, the others from a cache"
    }

    fn keeps(&self) -> Keep {
        Keep::KeysAndValues
    }

    fn programs<'a>(&'a self, network: &'a dyn Network) -> Result<Vec<(&'a str, Body<'a>)>, GenerateError> {
        let count = self.rows(network.length())?;
        let choose: Body<'a> = Box::new(move |b| network.choose(b, count));
        let partial: Body<'a> = Box::new(move |b| network.partial(b, Extent::fixed(count)));
        Ok(vec![("choose", choose), ("partial", partial)])
    }

    fn default_refresh(&self, _: u32) -> Refresh {
        Refresh::ML_CACHE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_rows_are_recomputed_as_the_official_quantile_leaves() {
        assert_eq!(MlCache::OFFICIAL.rows(41).unwrap(), 5);
        assert_eq!(MlCache::OFFICIAL.rows(1025).unwrap(), 103);
        assert_eq!(MlCache { cache_ratio: 0.0 }.rows(7).unwrap(), 7);
        assert_eq!(MlCache { cache_ratio: 1.0 }.rows(7).unwrap(), 1);
        for cache_ratio in [-0.1, 1.5, f32::NAN] {
            let error = MlCache { cache_ratio }.rows(7).unwrap_err().to_string();
            assert!(error.contains("0 to 1"), "{error}");
        }
    }
}
