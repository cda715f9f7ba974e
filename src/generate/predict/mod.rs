//! What stands in for the full model between refreshes.
//!
//! A predictor is a [`Predict`]: it appends programs that move the features of a network on by a step. To add one, write a file
//! here and give [`Predictor`] an arm; one from outside of this crate is [`Predictor::Custom`], see `examples/predictor.rs`.

pub mod dllm_cache;
pub mod ml_cache;
pub(super) mod recap;
mod reuse;
mod shortcut;
pub mod taylor;
pub mod taylorseer;

pub use dllm_cache::DllmCache;
pub use ml_cache::MlCache;
pub use taylor::Taylor;
pub use taylorseer::TaylorSeer;

use super::GenerateError;
use super::refresh::Refresh;
use crate::models::{Keep, Network};
use crate::program::Builder;

/// Appends a program.
pub type Body<'a> = Box<dyn FnOnce(&mut Builder) + 'a>;

/// Makes features without running the full model.
pub trait Predict: std::fmt::Debug + Sync {
    /// As the command line takes it, and reports call it.
    fn name(&self) -> &'static str;

    /// Its name with what else it takes to have the same again.
    fn spec(&self) -> String {
        self.name().to_owned()
    }

    /// As a person would name it.
    fn title(&self) -> &'static str {
        self.name()
    }

    /// A sentence on what it does.
    fn about(&self) -> &'static str {
        ""
    }

    /// What full steps have to keep.
    fn keeps(&self) -> Keep {
        Keep::Nothing
    }

    /// Whether a full step chooses the tokens of the predicted steps after it, so that these reveal no others. It has to be known
    /// before a run how many there are.
    fn unites(&self) -> bool {
        false
    }

    /// The programs that a step runs in place of the full model, by name and in order: from the features of the step before,
    /// what it revealed ([`states::NEW_IDS`](crate::models::states::NEW_IDS),
    /// [`states::NEW_POSITIONS`](crate::models::states::NEW_POSITIONS)), and states of their own, to new features.
    ///
    /// # Errors
    /// A setting is out of range.
    fn programs<'a>(&'a self, network: &'a dyn Network) -> Result<Vec<(&'a str, Body<'a>)>, GenerateError>;

    /// The programs that a full step runs after its features are there: what [`Predict::programs`] will start from.
    ///
    /// # Errors
    /// A setting is out of range.
    fn observe<'a>(&'a self, network: &'a dyn Network) -> Result<Vec<(&'a str, Body<'a>)>, GenerateError> {
        let _ = network;
        Ok(Vec::new())
    }

    /// The full steps where nobody says which: an eighth of all. Where a predicted step costs a tenth of a full one, as with the
    /// bundled models, that is four times as fast.
    fn default_refresh(&self, steps: u32) -> Refresh {
        Refresh::Uniform(steps.div_ceil(8))
    }
}

impl serde::Serialize for dyn Predict {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

/// A way to have features without running the full model.
#[derive(Clone, Copy, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Predictor {
    /// The learned shortcut.
    #[default]
    Shortcut,
    /// The last features as they are: the plainest baseline.
    Reuse,
    /// Some rows through the full model, among cached keys and values of the others.
    MlCache(MlCache),
    /// A polynomial through the features of the last full steps.
    Taylor(Taylor),
    /// A polynomial through what the modules gave at the last full steps.
    #[serde(rename = "taylorseer")]
    TaylorSeer(TaylorSeer),
    /// The rows that have changed most through the full model, by each layer's own choice, and the others' outputs from a cache.
    DllmCache(DllmCache),
    /// The tokens that come next through the full model, among cached keys and values of the others.
    Recap,
    /// One from outside. Reports name it, and files cannot bring it back.
    #[serde(skip_deserializing)]
    Custom(&'static dyn Predict),
}

impl Predictor {
    /// Every predictor of this crate, with official settings.
    pub const ALL: [Self; 7] = [
        Self::Shortcut,
        Self::Reuse,
        Self::MlCache(MlCache::OFFICIAL),
        Self::Taylor(Taylor::LINEAR),
        Self::TaylorSeer(TaylorSeer::QUADRATIC),
        Self::DllmCache(DllmCache::OFFICIAL),
        Self::Recap,
    ];

    /// The predictor of a name, with official settings or what follows a colon: `taylor:2`, `ml-cache:0.9`, `dllm-cache:100,7,0.25`.
    pub fn named(spec: &str) -> Option<Self> {
        let (name, rest) = spec.split_once(':').map_or((spec, None), |(name, rest)| (name, Some(rest)));
        let known = Self::ALL.into_iter().find(|predictor| predictor.name() == name)?;
        match (known, rest) {
            (known, None) => Some(known),
            (Self::MlCache(_), Some(rest)) => {
                let cache_ratio = rest.parse().ok().filter(|share| (0.0..=1.0).contains(share))?;
                Some(Self::MlCache(MlCache { cache_ratio }))
            }
            (Self::Taylor(_), Some(rest)) => Some(Self::Taylor(Taylor { order: taylor::order(rest)? })),
            (Self::TaylorSeer(_), Some(rest)) => {
                Some(Self::TaylorSeer(TaylorSeer { order: taylor::order(rest)? }))
            }
            (Self::DllmCache(_), Some(rest)) => DllmCache::parsed(rest).map(Self::DllmCache),
            _ => None,
        }
    }

    /// What it does.
    pub fn predict(&self) -> &dyn Predict {
        match self {
            Self::Shortcut => &shortcut::Shortcut,
            Self::Reuse => &reuse::Reuse,
            Self::MlCache(cache) => cache,
            Self::Taylor(taylor) => taylor,
            Self::TaylorSeer(taylor) => taylor,
            Self::DllmCache(cache) => cache,
            Self::Recap => &recap::Recap,
            Self::Custom(other) => *other,
        }
    }

    /// Its name, without settings.
    pub fn name(&self) -> &'static str {
        self.predict().name()
    }

    /// The full steps where nobody says which.
    pub fn default_refresh(&self, steps: u32) -> Refresh {
        self.predict().default_refresh(steps)
    }

    /// The shortcut if there is one, else what needs nothing.
    pub fn of_model(has_shortcut: bool) -> Self {
        if has_shortcut { Self::Shortcut } else { Self::Reuse }
    }
}

impl PartialEq for Predictor {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::MlCache(a), Self::MlCache(b)) => a == b,
            (Self::Taylor(a), Self::Taylor(b)) => a == b,
            (Self::TaylorSeer(a), Self::TaylorSeer(b)) => a == b,
            (Self::DllmCache(a), Self::DllmCache(b)) => a == b,
            _ => self.name() == other.name(),
        }
    }
}

impl std::fmt::Display for Predictor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.predict().spec())
    }
}
