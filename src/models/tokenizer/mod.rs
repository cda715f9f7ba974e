//! The image tokenizer: taming's VQGAN, as published with MaskGIT, or aMUSEd's, which text models have.

pub mod amused;
pub(super) mod resnet;
pub mod vqgan;

use crate::program::Builder;
use serde_json::Value;

/// Sizes of either. In `config.json`, aMUSEd's has `"kind": "amused"`; taming's may leave `kind` out.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum Tokenizer {
    /// taming-transformers' autoencoder, with attention; its file is `vqgan.safetensors`.
    Taming(vqgan::Config),
    /// diffusers' `VQModel`, without; its file is `vq.safetensors`.
    Amused(amused::Config),
}

/// What `kind` says of aMUSEd's.
const AMUSED: &str = "amused";
/// What `kind` says of taming's, where it is there.
const TAMING: &str = "taming";

impl TryFrom<Value> for Tokenizer {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let sizes = |e: serde_json::Error| format!("`tokenizer`: {e}");
        match value.get("kind").map(|kind| kind.as_str().unwrap_or_default()) {
            None | Some(TAMING) => serde_json::from_value(value).map(Self::Taming).map_err(sizes),
            Some(AMUSED) => serde_json::from_value(value).map(Self::Amused).map_err(sizes),
            Some(other) => Err(format!(
                "the kind of tokenizer {other:?} is not known; this version knows {AMUSED:?} and {TAMING:?}"
            )),
        }
    }
}

impl From<Tokenizer> for Value {
    fn from(tokenizer: Tokenizer) -> Self {
        match tokenizer {
            Tokenizer::Taming(config) => serde_json::json!(config),
            Tokenizer::Amused(config) => {
                let mut value = serde_json::json!(config);
                value["kind"] = AMUSED.into();
                value
            }
        }
    }
}

/// Reads and writes the tokenizer of a text model, which is aMUSEd's where `kind` is left out.
pub(super) mod amused_by_default {
    use super::{AMUSED, Tokenizer, Value};
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(crate) fn deserialize<'a, D: Deserializer<'a>>(given: D) -> Result<Tokenizer, D::Error> {
        let mut value = Value::deserialize(given)?;
        if let Some(fields) = value.as_object_mut() {
            fields.entry("kind").or_insert_with(|| AMUSED.into());
        }
        Tokenizer::try_from(value).map_err(D::Error::custom)
    }

    pub(crate) fn serialize<S: Serializer>(tokenizer: &Tokenizer, to: S) -> Result<S::Ok, S::Error> {
        match tokenizer {
            Tokenizer::Amused(config) => config.serialize(to),
            Tokenizer::Taming(_) => tokenizer.serialize(to),
        }
    }
}

impl Tokenizer {
    /// The part of a model folder that holds its weights.
    pub fn part(&self) -> &'static str {
        match self {
            Self::Taming(_) => "vqgan",
            Self::Amused(_) => "vq",
        }
    }

    /// Pixels a token along a side.
    pub fn factor(&self) -> u32 {
        match self {
            Self::Taming(config) => config.factor(),
            Self::Amused(config) => config.factor(),
        }
    }

    /// Width of a code's vector.
    pub fn latent(&self) -> u32 {
        match self {
            Self::Taming(config) => config.embed_dim,
            Self::Amused(config) => config.latent,
        }
    }

    /// Channels of the widest map at full resolution: what limits how many pictures are decoded at once.
    pub fn widest(&self) -> u32 {
        // The widest one comes from the upsampling of the level above.
        match self {
            Self::Taming(config) => config.ch * config.ch_mult.iter().take(2).max().copied().unwrap_or(1),
            Self::Amused(config) => config.channels.iter().take(2).max().copied().unwrap_or(1),
        }
    }

    /// Appends the decoder: [`crate::models::states::CODES`] of `images` grids of `height x width` to [`crate::models::states::IMAGE`].
    pub fn decode(&self, b: &mut Builder, codes: u32, images: u32, height: u32, width: u32) {
        match self {
            Self::Taming(config) => config.decode(b, codes, images, height, width),
            Self::Amused(config) => config.decode(b, codes, images, height, width),
        }
    }

    /// Appends the encoder: [`crate::models::states::IMAGE`] of `images` pictures to [`crate::models::states::LATENTS`] and
    /// [`crate::models::states::CODES`].
    pub fn encode(&self, b: &mut Builder, codes: u32, images: u32, height: u32, width: u32) {
        match self {
            Self::Taming(config) => config.encode(b, codes, images, height, width),
            Self::Amused(config) => config.encode(b, codes, images, height, width),
        }
    }

    /// Brings what the decoder gives, nominally in [0, 1] or [-1, 1], to [-1, 1]: pictures are so everywhere else.
    pub fn to_signed(&self, values: &mut [f32]) {
        if matches!(self, Self::Amused(_)) {
            values.iter_mut().for_each(|value| *value = 2.0 * *value - 1.0);
        }
    }

    /// Brings values in [-1, 1] to what the encoder takes.
    pub fn from_signed(&self, values: &mut [f32]) {
        if matches!(self, Self::Amused(_)) {
            values.iter_mut().for_each(|value| *value = (*value + 1.0) / 2.0);
        }
    }

    /// Whether the sizes go together.
    ///
    /// # Errors
    /// A sentence on the first that does not.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::Taming(config) => config.check(),
            Self::Amused(config) => config.check().map_err(|what| what.replace("`vq.", "`tokenizer.")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_kind_is_read_and_written_back() {
        let amused = json!({ "kind": "amused", "ch": [32, 64], "layers": 1, "latent": 16, "groups": 16 });
        let tokenizer: Tokenizer = serde_json::from_value(amused.clone()).unwrap();
        assert_eq!((tokenizer.part(), tokenizer.factor(), tokenizer.widest()), ("vq", 2, 64));
        assert_eq!(json!(tokenizer), amused);
        let taming = Tokenizer::Taming(vqgan::Config::official());
        let mut value = json!(taming);
        assert!(value.get("kind").is_none(), "older versions read it: {value}");
        assert_eq!(serde_json::from_value::<Tokenizer>(value.clone()).unwrap(), taming);
        value["kind"] = "taming".into();
        assert_eq!(serde_json::from_value::<Tokenizer>(value.clone()).unwrap(), taming);
        for (kind, words) in [(json!("gan"), "\"amused\""), (json!(3), "not known")] {
            value["kind"] = kind;
            let error = serde_json::from_value::<Tokenizer>(value.clone()).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let lacking = json!({ "kind": "amused", "ch": [32] });
        let error = serde_json::from_value::<Tokenizer>(lacking).unwrap_err().to_string();
        assert!(error.contains("missing field"), "{error}");
    }
}
