//! dLLM-Cache: a prompt and an image that are computed anew at intervals of their own, and in between the rows that change most.
//!
//! Liu et al. 2025 (arXiv 2506.06295), for language models; the image is what they call the response, and a class token is a prompt of
//! one row. A full step computes both parts. What a predicted step computes follows from its number: which parts' turn it is, and how
//! many rows of the image otherwise. That is known to the host before a run, so one program does for all of these steps, whose sizes
//! follow the step as those of others follow the schedule, down to nothing; programs for each kind of step would say the same four
//! times. Steps are counted from the last full one, so that the official numbers hold under the official plan, and any other plan of
//! full steps makes sense too.

use super::{Body, Predict};
use crate::generate::GenerateError;
use crate::generate::refresh::{Refresh, decimal};
use crate::kernels::Intervals;
use crate::models::{Keep, Network};

/// dLLM-Cache. Between full steps each layer of the model computes new values of the image's rows, takes those that are least like
/// the kept ones, and computes these rows anew; the others add the outputs that are kept of them.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct DllmCache {
    /// One in so many steps computes the prompt anew.
    pub prompt_interval: u32,
    /// One in so many steps computes the image anew.
    pub image_interval: u32,
    /// The share of the image's rows that other steps compute anew, in every layer.
    pub ratio: f32,
}

impl DllmCache {
    /// The official settings for LLaDA, whose line Lumina-DiMOO is of. Those for pictures of MMaDA compute the image anew at every step
    /// and cache no more than the prompt: `dllm-cache:10,1,0`.
    pub const OFFICIAL: Self = Self { prompt_interval: 100, image_interval: 7, ratio: 0.25 };

    /// What a text as `100,7,0.25` asks for.
    pub(super) fn parsed(text: &str) -> Option<Self> {
        let mut parts = text.split(',');
        let mut next = || parts.next();
        let prompt_interval = next()?.parse().ok()?;
        let image_interval = next()?.parse().ok()?;
        let cache = Self { prompt_interval, image_interval, ratio: next()?.parse().ok()? };
        (next().is_none() && cache.check().is_ok()).then_some(cache)
    }

    fn check(&self) -> Result<(), GenerateError> {
        let Self { prompt_interval, image_interval, ratio } = *self;
        if prompt_interval == 0 || image_interval == 0 || !(0.0..=1.0).contains(&ratio) {
            return Err(GenerateError::Setting(format!(
                "dLLM-Cache cannot compute one in {prompt_interval} prompts, one in {image_interval} images and a share of {ratio} of rows; use 1 or more, and a share of 0 to 1"
            )));
        }
        Ok(())
    }

    fn intervals(&self, network: &dyn Network) -> Result<Intervals, GenerateError> {
        self.check()?;
        let (prompt, length) = (network.prompt(), network.length());
        // From the decimal number, as Python has it: 0.7 of 10 rows are 7.
        let changed = (f64::from(length - prompt.count) * decimal(self.ratio)) as u32;
        Ok(Intervals {
            prompt: self.prompt_interval,
            image: self.image_interval,
            first: prompt.first,
            count: prompt.count,
            length,
            changed,
        })
    }
}

impl Predict for DllmCache {
    fn name(&self) -> &'static str {
        "dllm-cache"
    }

    fn spec(&self) -> String {
        if *self == Self::OFFICIAL {
            return self.name().to_owned();
        }
        let Self { prompt_interval, image_interval, ratio } = self;
        format!("dllm-cache:{prompt_interval},{image_interval},{ratio}")
    }

    fn title(&self) -> &'static str {
        "dLLM-Cache"
    }

    fn about(&self) -> &'static str {
        "In every layer the rows that changed most, on top of cached outputs; prompt and image anew at intervals"
    }

    fn keeps(&self) -> Keep {
        Keep::Outputs
    }

    fn programs<'a>(&'a self, network: &'a dyn Network) -> Result<Vec<(&'a str, Body<'a>)>, GenerateError> {
        let intervals = self.intervals(network)?;
        Ok(vec![("adaptive", Box::new(move |b| network.adaptive(b, intervals)))])
    }

    /// Full where the turns of prompt and image meet.
    fn default_refresh(&self, _: u32) -> Refresh {
        let (mut a, mut b) = (self.prompt_interval.max(1), self.image_interval.max(1));
        let product = a.saturating_mul(b);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        Refresh::Interval { warmup: 0.0, interval: product / a }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_they_are_printed_and_others_refused() {
        for text in ["10,1,0", "50,7,0.25", "1,1,1"] {
            assert_eq!(DllmCache::parsed(text).unwrap().spec(), format!("dllm-cache:{text}"));
        }
        assert_eq!(DllmCache::parsed("100,7,0.25"), Some(DllmCache::OFFICIAL));
        for text in ["", "10", "10,1", "0,1,0.5", "1,0,0.5", "1,1,1.5", "1,1,NaN", "1,1,0.5,2", "a,1,0.5"] {
            assert_eq!(DllmCache::parsed(text), None, "{text}");
        }
    }

    #[test]
    fn full_steps_are_where_both_parts_are_due() {
        let of = |prompt_interval, image_interval, steps: u32| -> Vec<usize> {
            let cache = DllmCache { prompt_interval, image_interval, ratio: 0.0 };
            let full = cache.default_refresh(steps).full_steps(steps as usize, steps).unwrap();
            (0..full.len()).filter(|&step| full[step]).collect()
        };
        assert_eq!(of(10, 1, 25), [0, 10, 20]);
        assert_eq!(of(4, 6, 30), [0, 12, 24]);
        assert_eq!(of(100, 7, 64), [0]);
        assert_eq!(of(1, 1, 3), [0, 1, 2]);
    }
}
