//! TaylorSeer on the last features: they go on as a polynomial through the last full steps.
//!
//! Liu et al. 2025 (arXiv 2503.06923), who expand each module's output. It knows nothing of the tokens that were drawn in
//! between, and so is the right thing to hold the shortcut against. Order 0 is reuse.

use super::{Body, Predict};
use crate::generate::GenerateError;
use crate::kernels::Slot;
use crate::kernels::taylor::{Differences, MOST_ORDER, TaylorObserve, TaylorPredict};
use crate::models::Network;
use crate::program::{Builder, Element};

/// A Taylor expansion of the features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Taylor {
    /// Its order: 1 or 2, or 0 for reuse.
    pub order: u32,
}

impl Taylor {
    /// Straight on.
    pub const LINEAR: Self = Self { order: 1 };

    fn check(self) -> Result<(), GenerateError> {
        if self.order > MOST_ORDER {
            let message =
                format!("a Taylor expansion of order {} is not there; use 0 to {MOST_ORDER}", self.order);
            return Err(GenerateError::Setting(message));
        }
        Ok(())
    }

    /// The features, and the states of their differences.
    fn states(self, b: &mut Builder, network: &dyn Network) -> (Slot, Differences) {
        let features = network.features(b);
        let [rows, width] = b.size(features);
        let state = |order| b.state(&network.name(&format!("taylor_{order}")), rows, width, Element::F32);
        let slots = (0..=self.order).map(state).collect();
        (features, Differences { slots, elements: rows * width })
    }
}

impl Predict for Taylor {
    fn name(&self) -> &'static str {
        "taylor"
    }

    fn spec(&self) -> String {
        format!("taylor:{}", self.order)
    }

    fn title(&self) -> &'static str {
        "Taylor"
    }

    fn about(&self) -> &'static str {
        "Features go on as they went between the last full steps, whatever tokens were drawn"
    }

    fn observe<'a>(&'a self, network: &'a dyn Network) -> Result<Vec<(&'a str, Body<'a>)>, GenerateError> {
        self.check()?;
        let body: Body<'a> = Box::new(|b| {
            let (x, differences) = self.states(b, network);
            b.push(TaylorObserve { x, differences });
        });
        Ok(vec![("taylor_observe", body)])
    }

    fn programs<'a>(&'a self, network: &'a dyn Network) -> Result<Vec<(&'a str, Body<'a>)>, GenerateError> {
        self.check()?;
        let body: Body<'a> = Box::new(|b| {
            let (y, differences) = self.states(b, network);
            b.push(TaylorPredict { differences, y });
        });
        Ok(vec![("taylor", body)])
    }
}
