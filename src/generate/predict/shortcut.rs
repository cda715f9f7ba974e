//! The learned shortcut.

use super::{Body, Predict};
use crate::generate::GenerateError;
use crate::models::Network;

/// Runs the network that the model's folder has for it.
#[derive(Debug)]
pub(super) struct Shortcut;

impl Predict for Shortcut {
    fn name(&self) -> &'static str {
        "shortcut"
    }

    fn title(&self) -> &'static str {
        "Shortcut"
    }

    fn about(&self) -> &'static str {
        "A small learned model moves the features on, steered by the tokens just revealed"
    }

    fn programs<'a>(&'a self, network: &'a dyn Network) -> Result<Vec<(&'a str, Body<'a>)>, GenerateError> {
        Ok(vec![("shortcut", Box::new(|b| network.shortcut(b)))])
    }
}
