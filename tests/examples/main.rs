//! The examples of the documentation, run.

#[path = "../../examples/class.rs"]
#[allow(dead_code, unreachable_pub, reason = "its main reads arguments")]
mod class;
#[path = "../../examples/pace.rs"]
#[allow(dead_code, unreachable_pub, reason = "its main is for the command line")]
mod pace;
#[path = "../../examples/predictor.rs"]
#[allow(dead_code, unreachable_pub, reason = "its main is for the command line")]
mod predictor;
#[path = "../../examples/prompt.rs"]
#[allow(dead_code, unreachable_pub, reason = "its main reads arguments")]
mod prompt;

#[test]
fn examples_make_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made.png");
    class::picture("fox", &path).unwrap();
    let fox = std::fs::read(&path).unwrap();
    prompt::picture("two foxes in the snow", &path).unwrap();
    assert_ne!(std::fs::read(&path).unwrap(), fox);
    let texts = migm::generate::picture::read_png_texts(&path).unwrap();
    assert!(texts.iter().any(|(key, text)| key == "migm" && text.contains("foxes")), "{texts:?}");
    let error = class::picture("dragon", &path).unwrap_err().to_string();
    assert!(error.contains("there is no class \"dragon\""), "{error}");
}

#[test]
fn a_predictor_of_one_s_own_runs() {
    predictor::compare(1).unwrap();
}

#[test]
fn a_pace_and_an_order_of_one_s_own_run() {
    pace::compare(6).unwrap();
}
