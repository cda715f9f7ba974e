//! TaylorSeer: what each module adds to the residual stream goes on as a polynomial through the last full steps.
//!
//! Liu et al. 2025 (arXiv 2503.06923) expand the output of every attention and feed-forward by itself and add the expansions up
//! where the modules would have added their outputs. Both families' blocks are `x += module(norm(x))` without gates, and an
//! expansion is linear in what it expands: so the sum of all expansions is the expansion of the sum of all outputs, which is
//! one tensor where the paper keeps two a layer. The stream that it is added to is of the step itself: the present tokens, embedded.

use super::taylor::{check, differences};
use super::{Body, Predict};
use crate::generate::GenerateError;
use crate::generate::refresh::Refresh;
use crate::kernels::taylor::{TaylorObserve, TaylorPredict};
use crate::models::{Keep, Network};

/// A Taylor expansion of the modules' outputs. Official orders go up to 4, where differences of few full steps say ever less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TaylorSeer {
    /// Its order: 1 or 2, or 0 to reuse the outputs.
    pub order: u32,
}

/// One in so many steps is full: the official interval at which order 3 is near lossless.
const INTERVAL: u32 = 3;

impl TaylorSeer {
    /// The order nearest to the official ones, 3 and 4.
    pub const QUADRATIC: Self = Self { order: 2 };
}

impl Predict for TaylorSeer {
    fn name(&self) -> &'static str {
        "taylorseer"
    }

    fn spec(&self) -> String {
        format!("taylorseer:{}", self.order)
    }

    fn title(&self) -> &'static str {
        "TaylorSeer"
    }

    fn about(&self) -> &'static str {
        "What attention and feed-forward add goes on as it went between the last full steps, on top of the present tokens"
    }

    fn keeps(&self) -> Keep {
        Keep::Sum
    }

    fn observe<'a>(&'a self, network: &'a dyn Network) -> Result<Vec<(&'a str, Body<'a>)>, GenerateError> {
        check(self.order)?;
        let body: Body<'a> = Box::new(|b| {
            let x = network.sum(b);
            let differences = differences(b, network, self.order, x);
            b.push(TaylorObserve { x, differences });
        });
        Ok(vec![("taylorseer_observe", body)])
    }

    fn programs<'a>(&'a self, network: &'a dyn Network) -> Result<Vec<(&'a str, Body<'a>)>, GenerateError> {
        check(self.order)?;
        let body: Body<'a> = Box::new(|b| {
            // What the full step kept has been observed: the expansion may take its place.
            let y = network.sum(b);
            let differences = differences(b, network, self.order, y);
            b.push(TaylorPredict { differences, y });
            network.ends(b, y);
        });
        Ok(vec![("taylorseer", body)])
    }

    /// Two full steps, and then one in three.
    fn default_refresh(&self, steps: u32) -> Refresh {
        // Half a step more than the one after which the interval begins: a share that no rounding moves.
        let warmup = (1.5 / steps.max(1) as f32).min(1.0);
        Refresh::Interval { warmup, interval: INTERVAL }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_steps_are_the_official_ones() {
        for steps in [1_u32, 2, 3, 7, 12, 15, 32, 64, 100, 1000] {
            let full =
                TaylorSeer::QUADRATIC.default_refresh(steps).full_steps(steps as usize, steps).unwrap();
            for (step, full) in full.into_iter().enumerate() {
                assert_eq!(full, step == 0 || step % 3 == 1, "step {step} of {steps}");
            }
        }
    }
}
