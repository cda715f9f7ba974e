//! `migm verify`, `inspect`, `info`, `completions` and `scenes`.

use super::{DIMOO_GOLDEN, GOLDEN, MODEL, fails, migm, succeeds, text};
use std::path::Path;
use std::process::Command;

#[test]
fn the_official_recordings_verify() {
    let folder = tempfile::tempdir().unwrap();
    for (golden, count) in [(GOLDEN, 18), (DIMOO_GOLDEN, 14)] {
        let out = succeeds(&migm(folder.path(), &["verify", golden, "--backend", "cpu"]));
        assert_eq!(out.matches(" ok").count(), count, "{out}");
        if std::env::var_os("MIGM_TEST_ADAPTER").is_some() {
            let mut command = Command::new(env!("CARGO_BIN_EXE_migm"));
            command.args(["verify", golden, "--backend", "gpu", "--json"]);
            command
                .env("MIGM_ADAPTER", std::env::var_os("MIGM_TEST_ADAPTER").unwrap())
                .env("MIGM_DEFAULT_LIMITS", "1");
            let out = succeeds(&command.output().unwrap());
            // A line a tier.
            for line in out.lines() {
                let report: serde_json::Value = serde_json::from_str(line).unwrap();
                let parts = report["parts"].as_array().unwrap();
                assert_eq!(parts.len(), count);
                assert!(parts.iter().all(|part| part["ok"] == true), "{line}");
                assert!(report["wrong_kernel"].is_null(), "{line}");
            }
            assert!(out.lines().count() >= 1);
        }
    }
}

#[test]
fn a_recording_that_differs_fails() {
    use migm::weights::{Checkpoint, TensorSpec, write_safetensors};
    let folder = tempfile::tempdir().unwrap();
    let golden = Checkpoint::open(Path::new(GOLDEN)).unwrap();
    let mut tensors: Vec<(TensorSpec, Vec<u8>)> = golden
        .tensors()
        .map(|t| {
            let spec = TensorSpec::new(t.name.clone(), t.dtype, t.shape.clone());
            (spec, golden.read_bytes(&t.name).unwrap().into_owned())
        })
        .collect();
    // A single wrong value in one output, and a single wrong code in another.
    let change = |tensors: &mut Vec<(TensorSpec, Vec<u8>)>, name: &str, bytes: [u8; 4]| {
        let tensor = tensors.iter_mut().find(|(spec, _)| spec.name == name).unwrap();
        tensor.1[400..404].copy_from_slice(&bytes);
    };
    change(&mut tensors, "io.shortcut.out", 1000_f32.to_le_bytes());
    change(&mut tensors, "trace.1.pred_codes", 31_i32.to_le_bytes());
    let views: Vec<(TensorSpec, &[u8])> =
        tensors.iter().map(|(spec, data)| (spec.clone(), data.as_slice())).collect();
    write_safetensors(&folder.path().join("changed.safetensors"), &views, golden.metadata()).unwrap();
    let output = migm(folder.path(), &["verify", "changed.safetensors", "--backend", "cpu"]);
    assert_eq!(output.status.code(), Some(1));
    let out = text(&output.stdout);
    let failed: Vec<&str> = out.lines().filter(|line| line.ends_with("FAILED")).collect();
    assert!(failed.iter().any(|line| line.starts_with("shortcut.out")), "{out}");
    assert!(failed.len() <= 2, "{out}");
}

#[test]
fn inspect_info_and_completions_print() {
    let folder = tempfile::tempdir().unwrap();
    assert!(succeeds(&migm(folder.path(), &["inspect"])).contains("scenes-class"));
    assert!(succeeds(&migm(folder.path(), &["inspect", "scenes-text"])).contains("scenes-text"));
    let out = succeeds(&migm(folder.path(), &["inspect", MODEL]));
    assert!(out.contains("6706842") && out.contains("3341107") && out.contains("615221"), "{out}");
    let out = succeeds(&migm(folder.path(), &["inspect", MODEL, "--json", "--batch", "4"]));
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["batch"], 4);
    assert!(report["memory_bytes"]["weights"].as_u64().unwrap() > 18_000_000);
    let out = succeeds(&migm(folder.path(), &["inspect", "--program", "shortcut"]));
    assert!(out.contains("blocks.0.cross_attn") && out.contains("memory:"), "{out}");
    let out = succeeds(&migm(folder.path(), &["inspect", "--program", "full", "--graphviz"]));
    assert!(out.starts_with("digraph"), "{out}");
    let out = succeeds(&migm(folder.path(), &["inspect", &format!("{MODEL}/shortcut.safetensors")]));
    assert!(out.contains("615221 elements"), "{out}");
    let out = succeeds(&migm(folder.path(), &["info", "--json"]));
    assert!(serde_json::from_str::<serde_json::Value>(&out).unwrap()["cpu_threads"].as_u64().unwrap() > 0);
    assert!(succeeds(&migm(folder.path(), &["info"])).contains("Taken by default"));
    assert!(succeeds(&migm(folder.path(), &["completions", "bash"])).contains("complete"));
}

/// What is not here yet is planned from its name: parameters of the official parts, and weights to the byte.
#[test]
fn a_published_model_is_planned_before_it_is_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let plan = |arguments: &[&str]| -> serde_json::Value {
        let out = succeeds(&migm(folder.path(), &[&["inspect", "--json"], arguments].concat()));
        serde_json::from_str(&out).unwrap()
    };
    let report = plan(&["lumina-dimoo", "--quantize", "int4", "--predictor", "reuse"]);
    let parameters: Vec<u64> =
        report["parts"].as_array().unwrap().iter().map(|part| part["parameters"].as_u64().unwrap()).collect();
    assert_eq!(parameters, [8_081_805_312, 146_244_675, 219_797_204]);
    // A row of int4 is half a byte a value and two bytes a group of 64; one of int8 has a scale of four bytes.
    let (int4, int8) = (|width: u64| width / 2 + width / 32, |width: u64| width + 4);
    let block = 4 * 4096 * int4(4096) + 2 * 12_288 * int4(4096) + 4096 * int4(12_288);
    let table_and_head = (134_548 + 8192) * int8(4096);
    let norms = (2 * 32 + 1) * 4096 * 4;
    let decoder = {
        // Decoding alone, by a plan of a model with as good as no transformer.
        let small = plan(&["lumina-dimoo", "--quantize", "int4", "--predictor", "reuse", "--layers", "1"]);
        small["memory_bytes"]["weights"].as_u64().unwrap() - block - table_and_head - 3 * 4096 * 4
    };
    assert_eq!(
        report["memory_bytes"]["weights"].as_u64().unwrap(),
        32 * block + table_and_head + norms + decoder
    );
    // Tens of millions of weights in f16; biases, norms and codebook in f32.
    assert!((150_000_000..200_000_000).contains(&decoder), "{decoder}");
    assert!(report["largest_binding_bytes"]["steps"].as_u64().unwrap() <= 128 << 20);
    let cached = plan(&["lumina-dimoo", "--quantize", "int4", "--predictor", "ml-cache"]);
    let states = |report: &serde_json::Value| report["memory_bytes"]["states"].as_u64().unwrap();
    // Keys and values of 32 layers, for every row of both sequences; beside them the rows that are chosen.
    let caches = 32 * 2 * (4228 + 4178) * 4096 * 4;
    let chosen = states(&cached) - states(&report) - caches;
    assert!(chosen < 8406 * 4, "{chosen}");
    assert_eq!(plan(&["maskgit-512"])["parts"][0]["parameters"], 176_306_666);
    fails(&migm(folder.path(), &["inspect", "no-such-model"]), 1, &["no-such-model"]);
    fails(&migm(folder.path(), &["inspect", "maskgit-512", "--grid", "4x4"]), 1, &["--grid"]);
}

#[cfg(feature = "scenes")]
#[test]
fn scenes_come_as_pictures_as_records_and_as_a_sheet() {
    let folder = tempfile::tempdir().unwrap();
    let of = ["scenes", "--count", "5", "--size", "64", "--nouns", "8", "--seed", "3", "--split", "seen"];
    let run = |more: &[&str]| migm(folder.path(), &[&of[..], more].concat());

    succeeds(&run(&["--out", "pictures"]));
    let lines = std::fs::read_to_string(folder.path().join("pictures/captions.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 5);

    let raw = run(&["--raw"]);
    assert!(raw.status.success(), "{}", text(&raw.stderr));
    let end = raw.stdout.iter().position(|&byte| byte == b'\n').unwrap();
    let header: serde_json::Value = serde_json::from_slice(&raw.stdout[..end]).unwrap();
    assert_eq!((&header["format"], &header["size"]), (&"migm-scenes".into(), &64.into()));
    let records: Vec<&[u8]> =
        raw.stdout[end + 1..].chunks(header["record"]["bytes"].as_u64().unwrap() as usize).collect();
    assert_eq!(records.len(), 5);
    for (record, line) in records.iter().zip(&lines) {
        let name = line["file"].as_str().unwrap();
        let picture = image::open(folder.path().join("pictures").join(name)).unwrap().to_rgb8();
        assert_eq!(picture.as_raw()[..], record[..64 * 64 * 3], "{name}");
        let caption = text(&record[header["record"]["caption"][0].as_u64().unwrap() as usize..]);
        assert_eq!(caption.trim_end_matches('\0'), line["caption"].as_str().unwrap());
        assert_eq!(line["held_out"], false);
    }

    succeeds(&run(&["--sheet", "sheet.png"]));
    let sheet = image::open(folder.path().join("sheet.png")).unwrap();
    assert!(sheet.width() > 5 * 256 && sheet.height() > 256);

    fails(&run(&["--raw", "--sheet", "sheet.png"]), 2, &["--raw", "--sheet"]);
    fails(&migm(folder.path(), &["scenes", "--raw", "--count", "0"]), 2, &["--count", "0"]);
    fails(&migm(folder.path(), &["scenes", "--sheet", "s.png", "--count", "601"]), 1, &["601", "600"]);
    fails(&migm(folder.path(), &["scenes", "--raw", "--torn", "1.5"]), 2, &["--torn", "0 to 1"]);
    fails(&migm(folder.path(), &["scenes", "--raw", "--nouns", "900"]), 1, &["900", "547"]);
    fails(&migm(folder.path(), &["scenes", "--raw", "--size", "65"]), 1, &["65", "128"]);
}

#[test]
fn a_model_is_calibrated_and_its_best_steps_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    succeeds(&migm(folder.path(), &["convert", DIMOO_GOLDEN, "text"]));
    let generate = |refresh: &str| {
        let arguments = [
            "generate",
            "w5 w17",
            "--model",
            "text",
            "--steps",
            "6",
            "--refresh",
            refresh,
            "--json",
            "--no-compare",
        ];
        migm(folder.path(), &[&arguments[..], &["--backend", "cpu", "--out", "x.png"]].concat())
    };
    fails(&generate("optimal:2"), 1, &["text is not calibrated", "migm calibrate text"]);
    let calibrate = ["calibrate", "text", "--steps", "6", "--count", "3", "--backend", "cpu"];
    fails(&migm(folder.path(), &calibrate), 1, &["names no words", "--prompt"]);
    let prompts = ["--prompt", "w5 w17", "--prompt", "w9"];
    let table = succeeds(&migm(folder.path(), &[&calibrate[..], &prompts].concat()));
    assert!(table.contains("along 3 runs") && table.contains("optimal:B"), "{table}");
    // No plan wins more than each run's own in hindsight.
    let won: Vec<Vec<f64>> = table
        .lines()
        .filter(|line| line.contains('['))
        .map(|line| line.split('%').filter_map(|part| part.split_whitespace().last()?.parse().ok()).collect())
        .collect();
    assert_eq!(won.len(), 3, "{table}");
    assert!(won.iter().all(|won| won.len() == 3 && won[2] >= won[0] - 0.05 && won[0] >= 0.0), "{table}");
    let report: serde_json::Value = serde_json::from_str(&succeeds(&generate("optimal:2"))).unwrap();
    assert_eq!(report["totals"]["full_steps"], 2);
    // What was decided travels with the picture, which can be made again without the calibration.
    let list = report["settings"]["refresh"]["list"].as_array().unwrap();
    assert_eq!((list.len(), &list[0]), (2, &serde_json::json!(0)));
    fails(&generate("optimal:7"), 1, &["not between 1 and the 6 steps"]);
    let other =
        ["generate", "w5", "--model", "text", "--steps", "5", "--refresh", "optimal:2", "--backend", "cpu"];
    fails(&migm(folder.path(), &other), 1, &["calibrated for shortcut in 6 steps"]);
    // Other steps stand beside these, and the same in their place.
    for _ in 0..2 {
        let fewer =
            ["calibrate", "text", "--steps", "5", "--count", "1", "--backend", "cpu", "--prompt", "w9"];
        succeeds(&migm(folder.path(), &fewer));
        succeeds(&migm(folder.path(), &[&other[..], &["--no-compare", "--out", "y.png"]].concat()));
        succeeds(&generate("optimal:2"));
    }
    let held = std::fs::read(folder.path().join("text/schedules.json")).unwrap();
    let held: Vec<serde_json::Value> = serde_json::from_slice(&held).unwrap();
    assert_eq!(held.iter().map(|one| one["steps"].as_u64()).collect::<Vec<_>>(), [Some(6), Some(5)]);
    std::fs::write(folder.path().join("text/schedules.json"), "{").unwrap();
    fails(&generate("every"), 1, &["schedules.json", "calibrate"]);
}
