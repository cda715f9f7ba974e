//! `migm generate --prompts`: sets of pictures from a file, that go on where they were stopped.

use super::{MODEL, fails, migm, succeeds};
use serde_json::Value;
use std::path::Path;

fn set(folder: &Path, file: &str, more: &[&str]) -> std::process::Output {
    let generate = ["generate", "--prompts", file, "--model", MODEL, "--backend", "cpu", "--steps", "4"];
    migm(folder, &[&generate[..], more].concat())
}

fn manifest(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("manifest.jsonl")).expect("it was written");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn a_set_is_made_and_goes_on_where_it_was_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let lines = r#"{"class": "fox", "name": "first", "budget": 2}
{"class": "7", "seed": 9}
{"class": "fox", "budget": 2}
"#;
    std::fs::write(folder.path().join("board.jsonl"), lines).unwrap();
    let all = ["--count", "2", "--seed", "3", "--budget", "1", "--sheet", "sheet.png"];
    let out = succeeds(&set(folder.path(), "board.jsonl", &all));
    assert!(out.starts_with("6 pictures made") && out.contains("0 were there"), "{out}");
    let made = folder.path().join("migm-set");
    let listed = manifest(&made);
    let files: Vec<&str> = listed.iter().map(|line| line["file"].as_str().unwrap()).collect();
    assert_eq!(files, ["first-3.png", "first-4.png", "7-9.png", "7-10.png", "fox-3.png", "fox-4.png"]);
    assert_eq!(listed[2]["class"], "owl", "by its name");
    assert_eq!(
        (
            listed[0]["settings"]["refresh"]["uniform"].as_u64(),
            listed[2]["settings"]["refresh"]["uniform"].as_u64()
        ),
        (Some(2), Some(1))
    );
    // One seed and class by two names is one picture.
    assert_eq!(listed[0]["fingerprint"], listed[4]["fingerprint"]);
    let bytes = |file: &str| std::fs::read(made.join(file)).unwrap();
    let before: Vec<Vec<u8>> = files.iter().map(|file| bytes(file)).collect();
    let sheet = image::open(folder.path().join("sheet.png")).unwrap();
    assert!(sheet.width() > 3 * 256 && sheet.height() > 2 * 256, "{sheet:?}");
    // The same as a page for print; nothing is made anew for it.
    let page = [&all[..6], &["--sheet", "sheet.svg"]].concat();
    assert!(succeeds(&set(folder.path(), "board.jsonl", &page)).starts_with("0 pictures made"));
    let page = std::fs::read_to_string(folder.path().join("sheet.svg")).unwrap();
    assert_eq!(page.matches("<image ").count(), 6);

    // Two are lost; they alone are made again, and are what they were.
    std::fs::remove_file(made.join("first-4.png")).unwrap();
    std::fs::remove_file(made.join("7-9.png")).unwrap();
    std::fs::remove_file(made.join("manifest.jsonl")).unwrap();
    let out = succeeds(&set(folder.path(), "board.jsonl", &all));
    assert!(out.starts_with("2 pictures made") && out.contains("4 were there"), "{out}");
    assert_eq!(manifest(&made), listed);
    assert!(files.iter().zip(&before).all(|(file, before)| bytes(file) == *before));

    // What is there and is something else is not written over.
    fails(
        &set(folder.path(), "board.jsonl", &[&all[..], &["--guidance", "1"]].concat()),
        1,
        &["first-3.png is there", "line 1"],
    );
    std::fs::write(made.join("7-10.png"), "mine").unwrap();
    fails(&set(folder.path(), "board.jsonl", &all), 1, &["7-10.png is there", "line 2", "--out"]);
    assert_eq!(bytes("7-10.png"), b"mine");
}

#[test]
fn lines_that_decide_are_known_again_and_wrong_ones_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("board.txt"), "# two of them\nfox\n\nowl\n").unwrap();
    let decides = ["--target-error", "0.2", "--out", "made"];
    assert!(succeeds(&set(folder.path(), "board.txt", &decides)).starts_with("2 pictures made"));
    assert!(succeeds(&set(folder.path(), "board.txt", &decides)).starts_with("0 pictures made"));
    // Other pixels are another picture.
    let scaled = [&decides[..], &["--pixels", "minmax"]].concat();
    fails(&set(folder.path(), "board.txt", &scaled), 1, &["is there, and is not what line 2 asks for"]);
    let listed = manifest(&folder.path().join("made"));
    assert!(listed[0]["settings"]["refresh"].get("decided").is_some(), "{}", listed[0]);
    std::fs::write(folder.path().join("bad.txt"), "fox\nzebra\n").unwrap();
    fails(&set(folder.path(), "bad.txt", &["--out", "none"]), 1, &["bad.txt, line 2: ", "zebra"]);
    std::fs::write(folder.path().join("bad.jsonl"), "{\"class\": \"fox\", \"size\": [65, 64]}").unwrap();
    fails(&set(folder.path(), "bad.jsonl", &["--out", "none"]), 1, &["bad.jsonl: line 1: ", "64 x 64"]);
    std::fs::write(folder.path().join("far.jsonl"), "{\"class\": \"fox\", \"budget\": 99}").unwrap();
    fails(&set(folder.path(), "far.jsonl", &["--out", "none"]), 1, &["far.jsonl, line 1: ", "99"]);
    assert!(!folder.path().join("none").exists());
    fails(&set(folder.path(), "board.txt", &["--class", "fox"]), 2, &["cannot be used with"]);
}
