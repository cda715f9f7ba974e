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
    let folder = tempfile::tempdir().expect("a folder");
    let model = recorded("dimoo-tiny", folder.path());
    (folder, model)
}

/// The small class model of a recording, in a folder of its own: for what holds of any weights, at a tenth of [`FIXTURE`]'s cost.
pub(crate) fn class_fixture() -> (tempfile::TempDir, Model) {
    let folder = tempfile::tempdir().expect("a folder");
    let model = recorded("maskgit-tiny", folder.path());
    (folder, model)
}

/// The small models of both recordings, of classes and of prompts, in one folder.
pub(crate) fn both_families() -> (tempfile::TempDir, [Model; 2]) {
    let folder = tempfile::tempdir().expect("a folder");
    let models = ["maskgit-tiny", "dimoo-tiny"].map(|name| recorded(name, &folder.path().join(name)));
    (folder, models)
}

fn recorded(name: &str, folder: &Path) -> Model {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    crate::eval::export::export(&goldens.join(format!("{name}.safetensors")), folder).expect("a recording");
    Model::open(folder).expect("its model")
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
