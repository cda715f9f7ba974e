//! The command line as a person uses it: the real binary, real files, exit codes and words.

mod edit;
mod figures;
mod generate;
mod generate_text;
mod measure;
mod mutations;
mod outputs;
mod sets;
mod streams;
mod tools;
mod weights;

use std::path::Path;
use std::process::{Command, Output};

fn migm(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_migm"))
        .current_dir(folder)
        .args(arguments)
        .env("NO_COLOR", "1")
        .output()
        .expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn succeeds(output: &Output) -> String {
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

#[track_caller]
fn fails(output: &Output, code: i32, words: &[&str]) {
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    for word in words {
        assert!(error.contains(word), "{error:?} lacks {word:?}");
    }
    assert!(!error.contains("panicked"), "{error}");
}

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/maskgit-tiny.safetensors");
const DIMOO_GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/dimoo-tiny.safetensors");
const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/scenes-v0");
