//! `migm generate PROMPT`.

use super::{fails, migm, succeeds, text};

#[test]
fn a_prompt_is_enough_for_a_picture() {
    let folder = tempfile::tempdir().unwrap();
    let prompt = "a koala to the left of a red taxi on a beach at sunset";
    let common = ["--steps", "6", "--budget", "2", "--backend", "cpu"];
    let run = |prompt: &str| {
        migm(folder.path(), &[&["generate", prompt, "--out", "one.png"], &common[..]].concat())
    };
    let out = run(prompt);
    assert!(succeeds(&out).contains("faster"), "{}", text(&out.stdout));
    assert!(!text(&out.stderr).contains("does not know"), "{}", text(&out.stderr));
    let koala = image::open(folder.path().join("one.png")).unwrap().to_rgb8();
    let resolving = ["generate", prompt, "--gif", "steps.gif", "--count", "2", "--no-compare"];
    succeeds(&migm(folder.path(), &[&resolving[..], &common[..]].concat()));
    let file = std::io::BufReader::new(std::fs::File::open(folder.path().join("steps.gif")).unwrap());
    let frames = image::codecs::gif::GifDecoder::new(file).unwrap();
    let frames = image::AnimationDecoder::into_frames(frames).collect_frames().unwrap();
    assert_eq!((frames.len(), frames[0].buffer().dimensions()), (7, (2 * 128, 128)));
    succeeds(&run(""));
    assert!(
        image::open(folder.path().join("one.png")).unwrap().to_rgb8() != koala,
        "the prompt changes nothing"
    );
    let out = run("a koalla on a dragon");
    succeeds(&out);
    let notes = text(&out.stderr);
    let kinds = "know \"dragon\", and makes the picture as if it were not there; it knows things (koala, ";
    for words in ["know \"koalla\"; the nearest that it knows: koala", kinds, "colours (natural, red, "] {
        assert!(notes.contains(words), "{notes}");
    }
}

#[test]
fn a_prompt_makes_a_picture_with_every_predictor() {
    let folder = tempfile::tempdir().unwrap();
    let recording = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/dimoo-tiny.safetensors");
    succeeds(&migm(folder.path(), &["convert", recording, "text"]));
    let mut backends = vec!["cpu"];
    if std::env::var_os("MIGM_TEST_ADAPTER").is_some() {
        backends.push("gpu");
    }
    for backend in backends {
        for (predictor, full) in [("shortcut", 1), ("reuse", 1), ("ml-cache", 4)] {
            let arguments = [
                "generate",
                "w5 w17 w9",
                "--model",
                "text",
                "--predictor",
                predictor,
                "--seed",
                "3",
                "--out",
                "x.png",
                "--json",
                "--backend",
                backend,
            ];
            let report: serde_json::Value =
                serde_json::from_str(&succeeds(&migm(folder.path(), &arguments))).unwrap();
            assert_eq!(report["totals"]["full_steps"], full, "{predictor}: {report}");
            assert!(report["totals"]["speed_up"].as_f64().unwrap() > 0.0);
            let steps = report["steps"].as_array().unwrap();
            assert_eq!(steps.iter().map(|step| step["tokens_unmasked"].as_u64().unwrap()).sum::<u64>(), 48);
            let picture = image::open(folder.path().join("x.png")).unwrap().to_rgb8();
            assert_eq!(picture.dimensions(), (16, 12));
        }
    }
    succeeds(&migm(folder.path(), &["inspect", "text", "--predictor", "ml-cache"]));
    let bench = ["bench", "--model", "text", "--steps", "3", "--backend", "cpu", "--json", "bench.json"];
    let out = succeeds(&migm(folder.path(), &bench));
    assert!(out.contains("shortcut_uncond") && out.contains("memory planned"), "{out}");
    assert!(folder.path().join("bench.json").is_file());
    let quantized =
        ["generate", "w5", "--model", "text", "--quantize", "int8", "--no-compare", "--backend", "cpu"];
    succeeds(&migm(folder.path(), &quantized));
    // Every step in full agrees with itself; an unknown word is named; the empty prompt is unconditional.
    let arguments = [
        "generate",
        "w5 zebra",
        "--model",
        "text",
        "--refresh",
        "every",
        "--out",
        "made",
        "--count",
        "2",
        "--backend",
        "cpu",
    ];
    let output = migm(folder.path(), &arguments);
    let note = text(&output.stderr);
    assert!(note.contains("does not know \"zebra\", and makes the picture as if"), "{note}");
    assert!(!note.contains("\"w5\""), "{note}");
    assert!(folder.path().join("made/migm-1.png").is_file());
    // Several pictures in a .png are a sheet, as with classes; what it carries names every seed.
    let sheet = ["generate", "w5", "--model", "text", "--count", "3", "--out", "sheet.png", "--no-compare"];
    let out = migm(folder.path(), &[&sheet[..], &["--predictor", "reuse", "--backend", "cpu"]].concat());
    let shown = succeeds(&out);
    assert!(shown.contains("\nreuse ") && !shown.contains("shortcut"), "{shown}");
    assert!(!folder.path().join("sheet").exists());
    let picture = image::open(folder.path().join("sheet.png")).unwrap().to_rgb8();
    assert!(picture.width() * picture.height() >= 3 * 16 * 12, "{:?}", picture.dimensions());
    let texts = migm::generate::picture::read_png_texts(&folder.path().join("sheet.png")).unwrap();
    let (_, settings) = texts.iter().find(|(key, _)| key == "migm").unwrap();
    assert!(settings.contains("\"seeds\":[0,1,2]"), "{settings}");
    let [empty, none] = ["", "<uncondition>"].map(|prompt| {
        let arguments =
            ["generate", prompt, "--model", "text", "--no-compare", "--backend", "cpu", "--out", "e.png"];
        let output = migm(folder.path(), &arguments);
        succeeds(&output);
        assert!(!text(&output.stderr).contains("does not know"), "{}", text(&output.stderr));
        image::open(folder.path().join("e.png")).unwrap().to_rgb8()
    });
    assert_eq!(empty, none);
    // The one temperature of the official code is that of draw and choice; all of it is in the report and the picture.
    let mut arguments = vec![
        "generate",
        "w5",
        "--model",
        "text",
        "--temperature",
        "0.5",
        "--bf16-gumbel",
        "--no-compare",
        "--out",
        "t.png",
        "--json",
        "--backend",
        "cpu",
    ];
    for (extra, choice) in [(None, 0.5), (Some("--choice-temperature=2"), 2.0)] {
        arguments.extend(extra);
        let report: serde_json::Value =
            serde_json::from_str(&succeeds(&migm(folder.path(), &arguments))).unwrap();
        let texts = migm::generate::picture::read_png_texts(&folder.path().join("t.png")).unwrap();
        let metadata: serde_json::Value =
            serde_json::from_str(&texts.iter().find(|text| text.0 == "migm").unwrap().1).unwrap();
        for settings in [&report["settings"], &metadata["settings"]] {
            assert_eq!(settings["sampling"]["draw_temperature"], 0.5, "{settings}");
            assert_eq!(settings["sampling"]["choice_temperature"], choice, "{settings}");
            assert_eq!(settings["sampling"]["bf16_gumbel"], true, "{settings}");
        }
    }
    fails(
        &migm(folder.path(), &["generate", "w5", "--model", "text", "--temperature=-1", "--backend", "cpu"]),
        1,
        &["temperature of the draw is -1", "from 0"],
    );
    // Both families take every setting, and a batch makes the pictures that are made alone.
    let tokens = |arguments: &[&str]| {
        let common = ["--no-compare", "--json", "--backend", "cpu", "--out", "b.png"];
        let out = succeeds(&migm(folder.path(), &[&["generate"], arguments, &common].concat()));
        let report: serde_json::Value = serde_json::from_str(&out).unwrap();
        (report["tokens"].clone(), report["totals"]["batches"].as_u64().unwrap())
    };
    let text = ["w5", "--model", "text", "--schedule", "arccos", "--steps", "6", "--count", "3"];
    let (together, batches) = tokens(&text);
    assert_eq!(batches, 1);
    let (alone, batches) = tokens(&[&text[..], &["--batch", "2"]].concat());
    assert_eq!((alone, batches), (together, 2));
    let class = ["--class", "0", "--steps", "6"];
    let plain = tokens(&class).0;
    assert_ne!(tokens(&[&class[..], &["--temperature", "0"]].concat()).0, plain);
    let resolving =
        ["generate", "w5", "--model", "text", "--gif", "steps.gif", "--count", "2", "--steps", "4"];
    succeeds(&migm(folder.path(), &[&resolving[..], &["--out", "frames", "--backend", "cpu"]].concat()));
    let file = std::io::BufReader::new(std::fs::File::open(folder.path().join("steps.gif")).unwrap());
    let frames = image::codecs::gif::GifDecoder::new(file).unwrap();
    let frames = image::AnimationDecoder::into_frames(frames).collect_frames().unwrap();
    // Two pictures of 16 x 12 side by side, enlarged four times; a frame a step, and how it ended.
    assert_eq!((frames.len(), frames[0].buffer().dimensions()), (5, (2 * 16 * 4, 12 * 4)));
    let gone = ["generate", "w5", "--model", "text", "--gif", "nowhere/steps.gif", "--backend", "cpu"];
    fails(&migm(folder.path(), &gone), 1, &["nowhere"]);
    // A plan of its own by default, which its settings change, and which a budget replaces.
    let cached = |extra: &[&str]| -> serde_json::Value {
        let common =
            ["generate", "w5", "--model", "text", "--predictor", "ml-cache", "--no-compare", "--json"];
        let arguments = [&common[..], &["--backend", "cpu", "--out", "x.png"], extra].concat();
        serde_json::from_str(&succeeds(&migm(folder.path(), &arguments))).unwrap()
    };
    assert_eq!(cached(&["--budget", "2"])["totals"]["full_steps"], 2);
    let report = cached(&["--cache-warmup", "0", "--cache-interval", "4", "--cache-ratio", "0.5"]);
    assert_eq!(report["totals"]["full_steps"], 2);
    assert_eq!(report["settings"]["predictor"], serde_json::json!({ "ml_cache": { "cache_ratio": 0.5 } }));
    std::fs::remove_file(folder.path().join("text/tokenizer.json")).unwrap();
    fails(&migm(folder.path(), &["generate", "w5", "--model", "text"]), 1, &["tokenizer.json"]);
}
