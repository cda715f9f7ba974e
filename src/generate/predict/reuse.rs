//! Reuse: features stay as the last full step left them, and only the choice of tokens goes on.

use super::{Body, Predict};
use crate::generate::GenerateError;
use crate::models::Network;

/// Runs nothing.
#[derive(Debug)]
pub(super) struct Reuse;

impl Predict for Reuse {
    fn name(&self) -> &'static str {
        "reuse"
    }

    fn title(&self) -> &'static str {
        "Reuse"
    }

    fn about(&self) -> &'static str {
        "The last features as they are: the plainest baseline"
    }

    fn programs<'a>(&'a self, _: &'a dyn Network) -> Result<Vec<(&'a str, Body<'a>)>, GenerateError> {
        Ok(Vec::new())
    }
}
