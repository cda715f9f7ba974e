//! Requests for tests.

use super::asked::{Asked, read};
use crate::generate::model::Model;
use serde_json::{Map, Value};
use std::sync::OnceLock;

/// The bundled models, as a server has them.
pub(super) fn models() -> &'static [(String, Model)] {
    static MODELS: OnceLock<Vec<(String, Model)>> = OnceLock::new();
    MODELS.get_or_init(|| {
        let open = |model: Model| (model.name.clone(), model);
        vec![open(Model::bundled_text().unwrap()), open(Model::bundled_class().unwrap())]
    })
}

/// Fields from JSON.
pub(super) fn fields(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap()
}

/// A request for so many pictures of a fox.
pub(super) fn asked(count: u32, text: &str) -> Asked {
    let mut all = fields(r#"{"prompt": "a fox"}"#);
    all.insert("n".to_owned(), count.into());
    all.extend(fields(text));
    read(all, None, models()).unwrap()
}
