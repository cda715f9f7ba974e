//! `migm figures`: runs made again from what they left, and what their figures are of.

use super::{DIMOO_GOLDEN, MODEL, fails, migm, succeeds};
use std::path::Path;

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(path).expect("a file")).expect("JSON")
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).expect("a file").lines().map(str::to_owned).collect()
}

#[test]
fn a_picture_and_its_report_make_their_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let run = |arguments: &[&str]| migm(folder.path(), arguments);
    let generate = [
        "generate",
        "--class",
        "fox",
        "--model",
        MODEL,
        "--steps",
        "6",
        "--refresh",
        "list:0,3",
        "--seed",
        "9",
        "--count",
        "2",
        "--out",
        "made.png",
        "--report",
        "made.json",
        "--no-compare",
        "--backend",
        "cpu",
    ];
    succeeds(&run(&generate));
    let report = json(&at("made.json"));

    let figures = ["figures", "made.png", "--model", MODEL, "--backend", "cpu", "--out", "of-picture"];
    let more = ["--branches", "1", "--branch-at", "2", "--token", "3,4", "--step", "2"];
    let out = succeeds(&run(&[&figures[..], &more].concat()));
    assert!(
        out.contains("similarity, path, lipschitz, error-by-step, error-by-chain, candidates, attention"),
        "{out}"
    );
    let made = json(&at("of-picture/run.json"));
    assert_eq!(made["tokens"][0], report["tokens"][0], "the first of two pictures, token for token");
    assert_eq!((&made["seeds"][0], &made["classes"][0]), (&9.into(), &"fox".into()));
    // The settings are those of the picture, refresh and all.
    assert_eq!(made["settings"], report["settings"]);
    for (name, count) in [
        ("similarity", 21),
        ("path", 12),
        ("lipschitz", 4),
        ("error-by-step", 1),
        ("error-by-chain", 1),
        ("candidates", 10),
    ] {
        assert_eq!(lines(&at(&format!("of-picture/{name}.csv"))).len(), 1 + count, "{name}");
        let svg = std::fs::read_to_string(at(&format!("of-picture/{name}.svg"))).unwrap();
        assert!(svg.starts_with("<svg ") && svg.contains("fox"), "{name}");
    }
    let candidates = lines(&at("of-picture/candidates.csv"));
    assert_eq!(candidates[0], "rank,code,probability,without_guidance,is_the_token");

    // From the report, and from what figures leave themselves.
    let from_report = run(&["figures", "made.json", "--model", MODEL, "--backend", "cpu", "--out", "b"]);
    succeeds(&from_report);
    let said = super::text(&from_report.stderr);
    assert!(said.contains("the first of 2 pictures") && !said.contains("of the tokens are"), "{said}");
    assert_eq!(json(&at("b/run.json")), made);
    assert!(!at("b/candidates.csv").exists(), "not asked for");
    succeeds(&run(&["figures", "b/run.json", "--model", MODEL, "--backend", "cpu", "--out", "c"]));
    assert_eq!(lines(&at("c/lipschitz.csv")), lines(&at("of-picture/lipschitz.csv")));
}

#[test]
fn a_model_makes_a_run_of_its_own_with_what_was_calibrated() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let run = |arguments: &[&str]| migm(folder.path(), arguments);
    succeeds(&run(&["convert", DIMOO_GOLDEN, "text"]));
    let of =
        ["figures", "text", "--prompt", "w5 w17", "--steps", "6", "--refresh", "every", "--backend", "cpu"];
    succeeds(&run(&[&of[..], &["--out", "plain"]].concat()));
    assert_eq!(lines(&at("plain/error-by-step.csv")).len(), 1 + 5, "held against every step but the first");
    let calibrate = ["calibrate", "text", "--steps", "6", "--count", "2", "--prompt", "w5 w17"];
    succeeds(&run(&[&calibrate[..], &["--backend", "cpu"]].concat()));
    succeeds(&run(&[&of[..], &["--out", "calibrated"]].concat()));
    let by_chain = lines(&at("calibrated/error-by-chain.csv"));
    // Of the run chains of one step, of calibration all up to five.
    assert_eq!(by_chain.iter().filter(|line| line.starts_with("run,1,")).count(), 1, "{by_chain:?}");
    assert_eq!(by_chain.iter().filter(|line| line.starts_with("calibration,")).count(), 5, "{by_chain:?}");

    // Without anything said: the first class, or nothing in particular.
    let bare = ["figures", "text", "--steps", "3", "--backend", "cpu", "--out", "bare"];
    succeeds(&run(&bare));
    assert_eq!(json(&at("bare/run.json"))["prompt"], "");
    let class = ["figures", MODEL, "--steps", "3", "--seed", "4", "--predictor", "reuse", "--backend", "cpu"];
    succeeds(&run(&[&class[..], &["--out", "class"]].concat()));
    let made = json(&at("class/run.json"));
    assert_eq!((&made["classes"][0], &made["seeds"][0]), (&"cat face".into(), &4.into()));
    assert_eq!(made["settings"]["predictor"], "reuse");
}

#[test]
fn what_makes_no_figures_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let run = |arguments: &[&str]| {
        migm(folder.path(), &[&["figures", "--backend", "cpu", "--out", "o"], arguments].concat())
    };
    std::fs::write(at("letter.png"), "dear").unwrap();
    fails(&run(&["letter.png"]), 1, &["letter.png is neither a PNG nor a report", "migm generate --report"]);
    std::fs::write(at("other.json"), "{\"a\": 1}").unwrap();
    fails(&run(&["other.json"]), 1, &["other.json is neither"]);
    let blank = migm::generate::picture::Picture { width: 2, height: 2, rgb: vec![0; 12] };
    migm::generate::picture::write_png(&at("blank.png"), &blank, &[]).unwrap();
    fails(&run(&["blank.png"]), 1, &["blank.png carries no settings of migm"]);
    let cut = std::fs::read(at("blank.png")).unwrap();
    std::fs::write(at("cut.png"), &cut[..20]).unwrap();
    fails(&run(&["cut.png"]), 1, &["cut.png"]);
    let texts = [("migm", "{\"settings\": {}}".to_owned())];
    migm::generate::picture::write_png(&at("half.png"), &blank, &texts).unwrap();
    fails(&run(&["half.png"]), 1, &["half.png", "neither a prompt nor a class"]);
    fails(&run(&["nowhere.png"]), 1, &["nowhere.png"]);

    let generate = ["generate", "--class", "fox", "--model", MODEL, "--steps", "3", "--out", "fox.png"];
    succeeds(&migm(folder.path(), &[&generate[..], &["--no-compare", "--backend", "cpu"]].concat()));
    fails(&run(&["fox.png"]), 1, &["fox.png was made by scenes-v0, which is not here", "--model"]);
    fails(&run(&["fox.png", "--model", "there"]), 1, &["there"]);
    fails(&run(&["fox.png", "--seed", "1"]), 1, &["made again as it was", "leave out --seed"]);
    let of = |more: &[&str]| run(&[&["fox.png", "--model", MODEL], more].concat());
    fails(&of(&["--token", "8,0", "--step", "0"]), 1, &["token 8,0", "8 rows and 8 columns"]);
    fails(&of(&["--token", "0,0", "--step", "3"]), 1, &["step 3 is beyond the last of 3 steps (2)"]);
    fails(&of(&["--branches", "1", "--branch-at", "9"]), 1, &["step 9"]);
    fails(&of(&["--token", "x", "--step", "0"]), 2, &["no row and column", "3,5"]);
    fails(&of(&["--token", "0,0"]), 2, &["--step"]);
    fails(&run(&[MODEL, "--prompt", "a fox"]), 1, &["takes no prompt", "--class"]);
    fails(&run(&["scenes-text", "--model", MODEL]), 1, &["--model", "no run is named"]);
    fails(&run(&["scenes-text", "--predictor", "guess"]), 2, &["shortcut, reuse"]);
    assert!(!at("o").exists(), "nothing was written");
}
