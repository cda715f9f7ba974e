//! TaylorSeer on the last features: they go on as a polynomial through the last full steps.
//!
//! Liu et al. 2025 (arXiv 2503.06923), who expand each module's output: that is [`taylorseer`](super::taylorseer). On the features it
//! knows nothing of the tokens that were drawn in between, and so is the right thing to hold the shortcut against. Order 0 is reuse.

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

    /// The features, and the states of their differences.
    fn states(self, b: &mut Builder, network: &dyn Network) -> (Slot, Differences) {
        let features = network.features(b);
        (features, differences(b, network, self.order, features))
    }
}

/// The order that a text asks for.
pub(super) fn order(text: &str) -> Option<u32> {
    text.parse().ok().filter(|order| *order <= MOST_ORDER)
}

/// Whether there is such an expansion.
pub(super) fn check(order: u32) -> Result<(), GenerateError> {
    if order > MOST_ORDER {
        let message = format!("a Taylor expansion of order {order} is not there; use 0 to {MOST_ORDER}");
        return Err(GenerateError::Setting(message));
    }
    Ok(())
}

/// The states of the differences of a network's tensor, which is as large as each of them.
pub(super) fn differences(b: &mut Builder, network: &dyn Network, order: u32, of: Slot) -> Differences {
    let [rows, width] = b.size(of);
    let state = |order| b.state(&network.name(&format!("taylor_{order}")), rows, width, Element::F32);
    Differences { slots: (0..=order).map(state).collect(), elements: rows * width }
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
        check(self.order)?;
        let body: Body<'a> = Box::new(|b| {
            let (x, differences) = self.states(b, network);
            b.push(TaylorObserve { x, differences });
        });
        Ok(vec![("taylor_observe", body)])
    }

    fn programs<'a>(&'a self, network: &'a dyn Network) -> Result<Vec<(&'a str, Body<'a>)>, GenerateError> {
        check(self.order)?;
        let body: Body<'a> = Box::new(|b| {
            let (y, differences) = self.states(b, network);
            b.push(TaylorPredict { differences, y });
        });
        Ok(vec![("taylor", body)])
    }
}
