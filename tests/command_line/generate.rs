//! `migm generate --class`: pictures, what travels with them, and mistakes.

use super::{GOLDEN, MODEL, fails, migm, succeeds, text};

#[test]
fn a_class_is_enough_for_a_picture() {
    let folder = tempfile::tempdir().unwrap();
    let out = succeeds(&migm(folder.path(), &["generate", "--class", "fox", "--backend", "cpu"]));
    assert!(out.contains("█▂▂▂▂▂▂▂█▂▂▂▂▂▂▂"), "{out}");
    assert!(out.contains("faster"), "the speed-up is measured: {out}");
    let picture = image::open(folder.path().join("fox-0.png")).unwrap().to_rgb8();
    assert_eq!(picture.dimensions(), (128, 128));
    let mean = picture.pixels().map(|p| f64::from(p.0[0])).sum::<f64>() / f64::from(128 * 128);
    let spread =
        picture.pixels().map(|p| (f64::from(p.0[0]) - mean).powi(2)).sum::<f64>() / f64::from(128 * 128);
    assert!(spread > 200.0, "a picture of one colour: variance {spread}");
}

#[test]
fn settings_travel_in_the_picture_and_the_report() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [
        "generate",
        "--class",
        "penguin",
        "--class",
        "7",
        "--model",
        MODEL,
        "--steps",
        "6",
        "--refresh",
        "list:0,3",
        "--seed",
        "41",
        "--count",
        "2",
        "--guidance",
        "1.5",
        "--out",
        "sheet.png",
        "--gif",
        "steps.gif",
        "--report",
        "report.json",
        "--backend",
        "cpu",
        "--no-compare",
        "--json",
    ];
    let printed = succeeds(&migm(folder.path(), &arguments));
    let report: serde_json::Value = serde_json::from_str(&printed).unwrap();
    let saved = std::fs::read_to_string(folder.path().join("report.json")).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&saved).unwrap(), report);

    // By what the tokens are known again stands in the picture as in the report.
    let texts = migm::generate::picture::read_png_texts(&folder.path().join("sheet.png")).unwrap();
    let made_from = texts.iter().find(|(key, _)| key == "migm").map(|(_, text)| text).unwrap();
    let made_from: serde_json::Value = serde_json::from_str(made_from).unwrap();
    let codes: Vec<u32> = serde_json::from_value::<Vec<Vec<u32>>>(report["tokens"].clone()).unwrap().concat();
    assert_eq!(report["fingerprint"], migm::generate::proof::Proof::of(&codes).to_string());
    assert_eq!(made_from["fingerprint"], report["fingerprint"]);

    let steps = report["steps"].as_array().unwrap();
    let kinds: Vec<&str> = steps.iter().map(|step| step["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["full", "predicted", "predicted", "full", "predicted", "predicted"]);
    assert_eq!(steps.iter().map(|step| step["tokens_unmasked"].as_u64().unwrap()).sum::<u64>(), 64);
    assert_eq!(steps[0]["mask_ratio"], 1.0);
    assert!(steps.iter().all(|step| step["milliseconds"].as_f64().unwrap() > 0.0));
    assert_eq!(report["totals"]["images"], 4);
    assert_eq!(report["totals"]["full_steps"], 2);
    assert_eq!(report["totals"]["speed_up"], serde_json::Value::Null, "not compared, so not claimed");
    assert_eq!(report["seeds"], serde_json::json!([41, 42, 41, 42]));

    let path = folder.path().join("sheet.png");
    let texts = migm::generate::picture::read_png_texts(&path).unwrap();
    let settings: serde_json::Value =
        serde_json::from_str(&texts.iter().find(|t| t.0 == "migm").unwrap().1).unwrap();
    assert_eq!(settings["classes"], serde_json::json!(["penguin", "penguin", "owl", "owl"]));
    assert_eq!(settings["settings"]["sampling"]["guidance"], 1.5);
    // What viewers show: the size is of one picture, the seed of the first.
    let (_, parameters) = texts.iter().find(|t| t.0 == "parameters").unwrap();
    assert!(
        parameters
            .starts_with("penguin, owl\nSteps: 6, Sampler: \"migm shortcut list:0,3\", CFG scale: 1.5, ")
    );
    assert!(parameters.contains("Seed: 41, Size: 64x64, Model: scenes-v0, Version: migm "), "{parameters}");
    assert_eq!(image::open(&path).unwrap().to_rgb8().dimensions(), (128, 128));
    assert!(folder.path().join("steps.gif").metadata().unwrap().len() > 1000);
}

#[test]
fn a_folder_gets_a_file_a_picture() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [
        "generate",
        "--class",
        "lady beetle",
        "--model",
        MODEL,
        "--count",
        "3",
        "--steps",
        "3",
        "--out",
        "made/here",
        "--no-compare",
        "--backend",
        "cpu",
    ];
    succeeds(&migm(folder.path(), &arguments));
    let mut names: Vec<String> = std::fs::read_dir(folder.path().join("made/here"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["lady-beetle-0.png", "lady-beetle-1.png", "lady-beetle-2.png"]);
}

#[test]
fn edge_settings_work() {
    let folder = tempfile::tempdir().unwrap();
    for extra in [
        &["--steps", "8", "--guidance", "0"][..],
        &["--steps", "8", "--budget", "1"],
        &["--budget", "12"],
        &["--steps", "100", "--budget", "5"],
        &["--steps", "1"],
        &["--steps", "8", "--schedule", "root", "--choice-noise", "random"],
        &["--steps", "8", "--predictor", "reuse", "--budget", "3"],
    ] {
        let arguments =
            [&["generate", "--class", "0", "--no-compare", "--backend", "cpu", "--out", "x.png"], extra]
                .concat();
        succeeds(&migm(folder.path(), &arguments));
    }
}

#[test]
fn ml_cache_makes_pictures_of_classes() {
    let folder = tempfile::tempdir().unwrap();
    let run = |extra: &[&str]| -> serde_json::Value {
        let common = [
            "generate",
            "--class",
            "fox",
            "--predictor",
            "ml-cache",
            "--steps",
            "12",
            "--backend",
            "cpu",
            "--json",
        ];
        let arguments = [&common[..], &["--out", "x.png"], extra].concat();
        serde_json::from_str(&succeeds(&migm(folder.path(), &arguments))).unwrap()
    };
    let full_steps = |report: &serde_json::Value| -> Vec<usize> {
        let steps = report["steps"].as_array().unwrap();
        (0..steps.len()).filter(|&step| steps[step]["kind"] == "full").collect()
    };
    let report = run(&[]);
    assert_eq!(full_steps(&report), [0, 1, 2, 3, 8], "the official plan");
    assert!(report["totals"]["speed_up"].as_f64().unwrap() > 0.0);
    let report = run(&["--cache-ratio", "0", "--cache-warmup", "0", "--cache-interval", "4"]);
    assert_eq!(full_steps(&report), [0, 4, 8]);
    assert_eq!(report["totals"]["token_agreement"], 1.0, "all rows are computed anew");
    let texts = migm::generate::picture::read_png_texts(&folder.path().join("x.png")).unwrap();
    let saved: serde_json::Value =
        serde_json::from_str(&texts.iter().find(|t| t.0 == "migm").unwrap().1).unwrap();
    assert_eq!(saved["settings"]["predictor"], serde_json::json!({ "ml_cache": { "cache_ratio": 0.0 } }));
    let interval = serde_json::json!({ "interval": { "warmup": 0.0, "interval": 4 } });
    assert_eq!(saved["settings"]["refresh"], interval);
    assert_eq!(full_steps(&run(&["--budget", "3", "--no-compare"])), [0, 4, 8]);
    assert_eq!(full_steps(&run(&["--refresh", "list:0,5", "--no-compare"])), [0, 5]);

    let refused = |extra: &[&str]| migm(folder.path(), &[&["generate", "--class", "fox"], extra].concat());
    fails(&refused(&["--cache-ratio", "1.5"]), 2, &["between 0 and 1"]);
    fails(&refused(&["--cache-interval", "0"]), 2, &["--cache-interval"]);
    fails(&refused(&["--budget", "3", "--cache-warmup", "0.1"]), 2, &["--budget"]);
    fails(&refused(&["--cache-ratio", "0.5", "--backend", "cpu"]), 1, &["--predictor ml-cache"]);
}

#[test]
fn a_run_decides_and_says_what() {
    let folder = tempfile::tempdir().unwrap();
    let run = |extra: &[&str]| -> serde_json::Value {
        let common = ["generate", "--class", "fox", "--model", MODEL, "--backend", "cpu", "--json"];
        let arguments = [&common[..], &["--out", "made", "--no-compare"], extra].concat();
        serde_json::from_str(&succeeds(&migm(folder.path(), &arguments))).unwrap()
    };
    let report = run(&["--target-error", "0.1", "--budget", "5", "--count", "3", "--seed", "4"]);
    let decided = report["decided"].as_array().unwrap();
    assert_eq!((decided.len(), report["totals"]["batches"].as_u64()), (3, Some(3)), "each for itself");
    for (index, decided) in decided.iter().enumerate() {
        let decided = decided.as_str().unwrap();
        assert_eq!(decided.split(',').count(), 5, "{decided}");
        // A file of its own has what its own run decided.
        let file = folder.path().join(format!("made/fox-{}.png", 4 + index));
        let texts = migm::generate::picture::read_png_texts(&file).unwrap();
        let saved: serde_json::Value =
            serde_json::from_str(&texts.iter().find(|t| t.0 == "migm").unwrap().1).unwrap();
        assert!(saved["command"].as_str().unwrap().contains(&format!("--refresh={decided}")), "{saved}");
    }
    let steps = report["steps"].as_array().unwrap();
    assert_eq!(steps[0]["verdict"]["reason"], "first");
    assert!(steps.iter().all(|step| step["verdict"]["limit"].as_f64().unwrap() > 0.0));
    let report = run(&["--reveal", "certainty:0.01", "--refresh", "every"]);
    assert!(report["steps"].as_array().unwrap().len() < 12);
    assert!(report["decided"][0].as_str().unwrap().contains('/'), "{report}");
    let report = run(&["--corrector", "0.5", "--refresh", "every"]);
    let again: u64 = report["steps"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|step| step["tokens_masked_again"].as_u64())
        .sum();
    assert!(again > 0 && report.get("decided").is_none(), "{report}");

    let refused = |extra: &[&str]| migm(folder.path(), &[&["generate", "--class", "fox"], extra].concat());
    fails(&refused(&["--target-error", "0.1", "--refresh", "every"]), 2, &["--target-error"]);
    fails(&refused(&["--reveal", "often"]), 2, &["entropy:NATS"]);
    fails(&refused(&["--reveal", "certainty:2"]), 2, &["up to 1"]);
    fails(&refused(&["--corrector", "2"]), 2, &["between 0 and 1"]);
    fails(&refused(&["--target-error", "nan", "--backend", "cpu"]), 1, &["target error"]);
    fails(&refused(&["--refresh", "decided:0/7", "--backend", "cpu"]), 1, &["do not add up"]);
}

#[test]
fn mistakes_get_one_sentence_and_a_way_on() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| migm(folder.path(), arguments);
    fails(&run(&["generate"]), 1, &["give a prompt, or --class NAME"]);
    fails(&run(&["generate", "a fox", "--model", MODEL]), 1, &["takes no prompt", "--class"]);
    fails(&run(&["generate", "--class", "fox", "--model", "scenes-text"]), 1, &["takes a prompt"]);
    fails(
        &run(&["generate", "--class", "fox", "--choice-temperature", "-1", "--backend", "cpu"]),
        1,
        &["the choice temperature is -1"],
    );
    let negative = ["generate", "--class", "fox", "--guidance", "-5", "--steps", "2", "--no-compare"];
    succeeds(
        &run(&[&negative[..], &["--backend", "cpu", "--predictor", "reuse", "--out", "n.png"]].concat()),
    );
    fails(
        &run(&["generate", "--class", "foxx", "--model", MODEL, "--backend", "cpu"]),
        1,
        &["foxx", "fox", "0 to 23"],
    );
    fails(&run(&["generate", "--class", "fox", "--budget", "0", "--backend", "cpu"]), 1, &["1 or more"]);
    fails(
        &run(&["generate", "--class", "fox", "--model", MODEL, "--budget", "99", "--backend", "cpu"]),
        1,
        &["12 or fewer"],
    );
    fails(&run(&["generate", "--class", "fox", "--refresh", "often"]), 2, &["uniform:B"]);
    fails(&run(&["generate", "--class", "fox", "--model", "nowhere"]), 1, &["nowhere"]);
    fails(
        &run(&["generate", "--class", "fox", "--softmax-temperature", "0", "--backend", "cpu"]),
        1,
        &["the softmax temperature is 0"],
    );
    fails(&run(&["verify", "missing.safetensors", "--backend", "cpu"]), 1, &["missing.safetensors"]);
    fails(&run(&["bench", "--config", "huge", "--backend", "cpu"]), 1, &["maskgit-512"]);
    std::fs::create_dir(folder.path().join("taken.png")).unwrap();
    std::fs::write(folder.path().join("file"), b"x").unwrap();
    let blocked = ["generate", "--class", "fox", "--steps", "1", "--out", "file/x.png", "--backend", "cpu"];
    fails(&run(&blocked), 1, &["file/x.png"]);
}

/// What a picture says of itself makes it again, whatever was asked for: alone, several seeds, several classes.
#[test]
fn every_picture_can_be_made_again_from_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    succeeds(&migm(folder.path(), &["convert", super::DIMOO_GOLDEN, "text"]));
    let texts = |name: &str| {
        let texts = migm::generate::picture::read_png_texts(&folder.path().join(name)).unwrap();
        let (_, text) = texts.into_iter().find(|(key, _)| key == "migm").unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    let common = ["--backend", "cpu", "--no-compare", "--out", "first.png"];
    let asked: [&[&str]; 6] = [
        &[
            "generate",
            "--class",
            "fox",
            "--model",
            MODEL,
            "--seed",
            "18446744073709551615",
            "--guidance=-0.3",
            "--steps",
            "5",
        ],
        &[
            "generate",
            "--class",
            "fox",
            "--class",
            "owl",
            "--model",
            MODEL,
            "--count",
            "2",
            "--predictor",
            "ml-cache",
            "--cache-ratio",
            "0.7",
        ],
        &[
            "generate",
            "w5 it's w17",
            "--model",
            "text",
            "--seed",
            "3",
            "--bf16-gumbel",
            "--schedule",
            "cosine",
            "--quantize",
            "int8",
        ],
        &[
            "generate",
            "w5",
            "--model",
            "text",
            "--count",
            "3",
            "--refresh",
            "list:0,2",
            "--choice-noise",
            "warm-up",
            "--temperature",
            "0.7",
        ],
        &["generate", "w5", "--model", "text", "--target-error", "0.1", "--reveal", "entropy:2"],
        &[
            "generate",
            "--class",
            "fox",
            "--model",
            MODEL,
            "--corrector",
            "0.3",
            "--target-error",
            "0.2",
            "--budget",
            "4",
            "--order",
            "halton",
        ],
    ];
    for asked in asked {
        succeeds(&migm(folder.path(), &[asked, &common].concat()));
        let said = texts("first.png");
        let command = said["command"].as_str().unwrap();
        assert!(command.starts_with("migm generate "), "{command}");
        // Models are named, not where they were: the test knows where.
        let command = command.replace("--model=scenes-v0", &format!("--model={MODEL}"));
        let line = command.replacen("migm", "\"$0\"", 1) + " --backend cpu --no-compare --out again.png";
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &line, env!("CARGO_BIN_EXE_migm")]).current_dir(folder.path());
        succeeds(&shell.output().unwrap());
        assert_eq!(texts("again.png"), said, "{command}");
        let pixels = |name: &str| image::open(folder.path().join(name)).unwrap().to_rgb8();
        assert!(pixels("again.png") == pixels("first.png"), "{command}");
    }
}

#[test]
fn bf16_is_taken_where_the_processor_has_it_and_no_recording_is_held_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let made = ["generate", "--class", "fox", "--steps", "2", "--backend", "cpu-bf16", "--no-compare"];
    let output = migm(folder.path(), &made);
    if migm::exec::cpu::multiplies_bf16() {
        succeeds(&output);
        assert!(text(&output.stderr).contains("threads, bf16"), "{}", text(&output.stderr));
        assert!(folder.path().join("fox-0.png").is_file());
    } else {
        fails(&output, 1, &["does not multiply bf16", "f32"]);
    }
    fails(&migm(folder.path(), &[&made[..], &["--exact"]].concat()), 1, &["bf16 is not exact"]);
    fails(&migm(folder.path(), &["verify", GOLDEN, "--backend", "cpu-bf16"]), 1, &["bf16", "--backend cpu"]);
}
