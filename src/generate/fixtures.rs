//! Models that tests run on, which stay as they are when others are trained anew.

use super::model::Model;
use super::recipe::Subject;
use crate::models::Condition;
use crate::models::maskgit::Maskgit;
use std::path::Path;

/// A small trained class model.
pub(crate) const FIXTURE: &str = "tests/fixtures/scenes-v0";

/// [`FIXTURE`], opened.
pub(crate) fn fixture() -> Model {
    Model::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join(FIXTURE)).expect("it is in the repository")
}

/// The small text model of a recording, in a folder of its own.
pub(crate) fn text_fixture() -> (tempfile::TempDir, Model) {
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/dimoo-tiny.safetensors");
    let folder = tempfile::tempdir().expect("a folder");
    crate::eval::export::export(&recording, folder.path()).expect("a recording");
    let model = Model::open(folder.path()).expect("its model");
    (folder, model)
}

/// The sizes of a class model.
pub(crate) fn sizes(model: &Model) -> &Maskgit {
    model.classes().expect("a class model")
}

/// Conditions of classes.
pub(crate) fn classes(classes: &[Option<u32>]) -> Vec<Condition> {
    classes.iter().map(|&class| Condition::Class(class)).collect()
}

/// The condition of a prompt.
pub(crate) fn prompt(model: &Model, prompt: &str) -> Condition {
    model.condition(&Subject::Prompt(prompt.to_owned())).expect("a prompt")
}
