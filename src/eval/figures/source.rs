//! What says how a run was made: a PNG as migm wrote it, or a report of `migm generate`.

use super::FigureError;
use crate::generate::GenerateError;
use crate::generate::metadata::{FINGERPRINT, METADATA};
use crate::generate::picture::png_texts;
use crate::generate::proof::Proof;
use crate::generate::recipe::Recipe;
use serde_json::Value;
use std::path::Path;

/// The bytes that every PNG begins with.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// A run as a file has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Of the first picture, alone.
    pub recipe: Recipe,
    /// Pictures that the file is of.
    pub pictures: usize,
    /// Codes of the first picture, of a report.
    pub tokens: Option<Vec<u32>>,
    /// By what the tokens of all pictures are known again.
    pub proof: Option<Proof>,
}

impl Recorded {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, is no such file, or says nothing that a run can be made from.
    pub fn read(path: &Path) -> Result<Self, FigureError> {
        let shown = path.display().to_string();
        let bytes =
            std::fs::read(path).map_err(|source| GenerateError::File { path: shown.clone(), source })?;
        if bytes.starts_with(PNG) {
            let texts = png_texts(&shown, &bytes)?;
            let text = texts.into_iter().find(|(key, _)| key == METADATA).map(|(_, text)| text);
            let no_metadata = || FigureError::NoMetadata { path: shown.clone() };
            let text = text.ok_or_else(no_metadata)?;
            let value = serde_json::from_str(&text).map_err(|_| no_metadata())?;
            return Self::of(&shown, value);
        }
        let value: Option<Value> = serde_json::from_slice(&bytes).ok();
        match value.filter(|value| value.get("settings").is_some()) {
            Some(value) => Self::of(&shown, value),
            None => Err(FigureError::NoRun { path: shown }),
        }
    }

    /// From what stands in either.
    fn of(path: &str, mut value: Value) -> Result<Self, FigureError> {
        let no_recipe = |reason: String| FigureError::NoRecipe { path: path.to_owned(), reason };
        let pictures = value.get("seeds").and_then(Value::as_array).map_or(1, Vec::len);
        let tokens = value.get("tokens").and_then(|all| all.get(0)).cloned();
        let tokens = tokens.and_then(|codes| serde_json::from_value(codes).ok());
        let proof = value.get(FINGERPRINT).and_then(Value::as_str).and_then(|text| text.parse().ok());
        // How values become pixels changes no feature.
        if let Some(object) = value.as_object_mut() {
            object.remove("pixels");
        }
        // Several pictures are looked at by the first.
        for list in ["seeds", "classes"] {
            if let Some(all) = value.get_mut(list).and_then(Value::as_array_mut) {
                all.truncate(1);
            }
        }
        let decided = value.get("decided").and_then(|all| all.get(0)).and_then(Value::as_str);
        let decided = decided.map(str::parse).transpose().map_err(no_recipe)?;
        let recipe = Recipe::from_metadata(&value).map_err(no_recipe)?;
        if !recipe.begun.is_empty() {
            let reason = "it is a branch, whose first steps are another run's; the studio shows how its features moved";
            return Err(no_recipe(reason.to_owned()));
        }
        // Where the run decided, a report has the rule and what came of it.
        let refresh = decided.unwrap_or_else(|| recipe.refresh.clone());
        Ok(Self { recipe: Recipe { refresh, ..recipe }, pictures, tokens, proof })
    }
}
