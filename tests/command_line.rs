//! The command line as a person uses it: the real binary, real files, exit codes and words.

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
const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/models/scenes-v0");

#[test]
fn a_class_is_enough_for_a_picture() {
    let folder = tempfile::tempdir().unwrap();
    let out = succeeds(&migm(folder.path(), &["generate", "--class", "fox", "--backend", "cpu"]));
    assert!(out.contains("█▂▂█▂▂█▂▂█▂▂"), "{out}");
    assert!(out.contains("faster"), "the speed-up is measured: {out}");
    let picture = image::open(folder.path().join("fox-0.png")).unwrap().to_rgb8();
    assert_eq!(picture.dimensions(), (64, 64));
    let mean = picture.pixels().map(|p| f64::from(p.0[0])).sum::<f64>() / 4096.0;
    let spread = picture.pixels().map(|p| (f64::from(p.0[0]) - mean).powi(2)).sum::<f64>() / 4096.0;
    assert!(spread > 200.0, "a picture of one colour: variance {spread}");
}

#[test]
fn a_prompt_is_enough_for_a_picture() {
    let folder = tempfile::tempdir().unwrap();
    let prompt = "a koala to the left of a taxi on a beach at sunset, 3D style";
    let common = ["--steps", "6", "--budget", "2", "--backend", "cpu"];
    let run = |prompt: &str| migm(folder.path(), &[&["generate", prompt, "--out", "one.png"], &common[..]].concat());
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
    assert!(image::open(folder.path().join("one.png")).unwrap().to_rgb8() != koala, "the prompt changes nothing");
    let out = run("a koalla on a dragon");
    succeeds(&out);
    let notes = text(&out.stderr);
    for words in ["know \"koalla\"; the nearest that it knows: koala", "know \"dragon\""] {
        assert!(notes.contains(words), "{notes}");
    }
}

#[test]
fn bundled_models_have_names_and_a_judge() {
    let folder = tempfile::tempdir().unwrap();
    for (model, kind) in [("scenes-text", "place"), ("scenes-v0", "objects")] {
        let arguments =
            ["eval", "--model", model, "--count", "2", "--steps", "2", "--budgets", "1", "--backend", "cpu"];
        let table = succeeds(&migm(folder.path(), &arguments));
        assert!(table.contains(model) && table.contains(kind) && table.contains("| shortcut |"), "{table}");
    }
    fails(&migm(folder.path(), &["eval", "--model", "scenes-judge"]), 1, &["scenes-judge"]);
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

    let steps = report["steps"].as_array().unwrap();
    let kinds: Vec<&str> = steps.iter().map(|step| step["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["full", "shortcut", "shortcut", "full", "shortcut", "shortcut"]);
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
    assert_eq!(image::open(&path).unwrap().to_rgb8().dimensions(), (192, 128));
    assert!(folder.path().join("steps.gif").metadata().unwrap().len() > 1000);
}

#[test]
fn a_folder_gets_a_file_a_picture() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [
        "generate",
        "--class",
        "lady beetle",
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
        &["--guidance", "0"][..],
        &["--budget", "1"],
        &["--budget", "12"],
        &["--steps", "100", "--budget", "5"],
        &["--steps", "1"],
        &["--schedule", "root", "--choice-noise", "random"],
        &["--predictor", "reuse", "--budget", "3"],
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
        let common = ["generate", "--class", "fox", "--predictor", "ml-cache", "--backend", "cpu", "--json"];
        let arguments = [&common[..], &["--out", "x.png"], extra].concat();
        serde_json::from_str(&succeeds(&migm(folder.path(), &arguments))).unwrap()
    };
    let full_steps = |report: &serde_json::Value| -> Vec<usize> {
        let steps = report["steps"].as_array().unwrap();
        (0..steps.len()).filter(|&step| steps[step]["kind"] == "full").collect()
    };
    let report = run(&["--count", "2"]);
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
fn mistakes_get_one_sentence_and_a_way_on() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| migm(folder.path(), arguments);
    fails(&run(&["generate"]), 2, &["--class"]);
    fails(&run(&["generate", "--class", "foxx", "--model", MODEL, "--backend", "cpu"]), 1, &["foxx", "fox", "0 to 23"]);
    fails(&run(&["generate", "--class", "fox", "--budget", "0", "--backend", "cpu"]), 1, &["1 or more"]);
    fails(&run(&["generate", "--class", "fox", "--model", MODEL, "--budget", "99", "--backend", "cpu"]), 1, &["12 or fewer"]);
    fails(&run(&["generate", "--class", "fox", "--refresh", "often"]), 2, &["uniform:B"]);
    fails(&run(&["generate", "--class", "fox", "--model", "nowhere"]), 1, &["nowhere"]);
    fails(
        &run(&["generate", "--class", "fox", "--softmax-temperature", "0", "--backend", "cpu"]),
        1,
        &["above 0"],
    );
    fails(&run(&["verify", "missing.safetensors", "--backend", "cpu"]), 1, &["missing.safetensors"]);
    fails(&run(&["bench", "--config", "huge", "--backend", "cpu"]), 1, &["maskgit-512"]);
    std::fs::create_dir(folder.path().join("taken.png")).unwrap();
    std::fs::write(folder.path().join("file"), b"x").unwrap();
    let blocked = ["generate", "--class", "fox", "--steps", "1", "--out", "file/x.png", "--backend", "cpu"];
    fails(&run(&blocked), 1, &["file/x.png"]);
}

#[test]
fn a_damaged_model_is_named_tensor_by_tensor() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("model");
    std::fs::create_dir(&copy).unwrap();
    for entry in std::fs::read_dir(MODEL).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
    }
    let generate = ["generate", "--class", "0", "--model", "model", "--backend", "cpu"];
    let config = std::fs::read_to_string(copy.join("config.json")).unwrap();
    std::fs::write(copy.join("config.json"), config.replace("\"mlp\": 1024", "\"mlp\": 512")).unwrap();
    fails(
        &migm(folder.path(), &generate),
        1,
        &["transformer.layers.0.1.fn.net.0", "[1024, 256]", "[512, 256]"],
    );
    std::fs::write(copy.join("config.json"), &config).unwrap();

    let weights = std::fs::read(copy.join("shortcut.safetensors")).unwrap();
    std::fs::write(copy.join("shortcut.safetensors"), &weights[..weights.len() / 2]).unwrap();
    fails(&migm(folder.path(), &generate), 1, &["shortcut.safetensors"]);
    std::fs::remove_file(copy.join("shortcut.safetensors")).unwrap();
    fails(&migm(folder.path(), &generate), 1, &["shortcut.safetensors"]);
}

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
            let report: serde_json::Value = serde_json::from_str(&out).unwrap();
            let parts = report["parts"].as_array().unwrap();
            assert_eq!(parts.len(), count);
            assert!(parts.iter().all(|part| part["ok"] == true), "{out}");
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
    assert!(succeeds(&migm(folder.path(), &["inspect"])).contains("scenes-v0"));
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

#[test]
fn a_gallery_has_a_row_a_method() {
    let folder = tempfile::tempdir().unwrap();
    let common = ["--seeds", "3", "--budgets", "2,1", "--steps", "4", "--backend", "cpu"];
    let out = succeeds(&migm(folder.path(), &[&["gallery", "--class", "fox"], &common[..]].concat()));
    assert!(out.contains("every, uniform:2, uniform:1"), "{out}");
    let sheet = image::open(folder.path().join("gallery.png")).unwrap().to_rgb8();
    assert_eq!(sheet.dimensions(), (3 * 64, 3 * 64));
    // The picture of a row and a seed is the one that `generate` makes.
    for (row, refresh) in ["every", "uniform:2", "uniform:1"].into_iter().enumerate() {
        let one = ["--seed", "1", "--steps", "4", "--refresh", refresh, "--no-compare", "--backend", "cpu"];
        let arguments = [&["generate", "--class", "fox", "--out", "one.png"], &one[..]].concat();
        succeeds(&migm(folder.path(), &arguments));
        let one = image::open(folder.path().join("one.png")).unwrap().to_rgb8();
        let cell = image::imageops::crop_imm(&sheet, 64, 64 * row as u32, 64, 64).to_image();
        assert!(cell == one, "row {row}");
    }
    let recording = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/dimoo-tiny.safetensors");
    succeeds(&migm(folder.path(), &["convert", recording, "text"]));
    succeeds(&migm(folder.path(), &[&["gallery", "w5", "--model", "text"], &common[..]].concat()));
    let sheet = image::open(folder.path().join("gallery.png")).unwrap();
    assert_eq!((sheet.width(), sheet.height()), (3 * 16, 3 * 12));
    fails(&migm(folder.path(), &["gallery", "w5", "--model", MODEL]), 1, &["--class"]);
    fails(&migm(folder.path(), &["gallery", "--model", "text"]), 1, &["PROMPT"]);
    fails(&migm(folder.path(), &["gallery", "--model", "maskgit-256"]), 1, &["weights"]);
}

#[test]
fn converted_checkpoints_generate() {
    let folder = tempfile::tempdir().unwrap();
    let parts: Vec<String> =
        ["maskgit", "vqgan", "shortcut"].iter().map(|part| format!("{MODEL}/{part}.safetensors")).collect();
    let mut arguments = vec!["convert"];
    arguments.extend(parts.iter().map(String::as_str));
    arguments.extend(["model", "--dtype", "f32", "--heads", "8"]);
    let out = succeeds(&migm(folder.path(), &arguments));
    assert!(out.contains("6706842 parameters"), "{out}");
    let generate =
        ["generate", "--class", "2", "--model", "model", "--steps", "4", "--no-compare", "--backend", "cpu"];
    succeeds(&migm(folder.path(), &generate));
}

#[test]
fn quantised_models_are_small_and_generate() {
    let folder = tempfile::tempdir().unwrap();
    let mut sizes = Vec::new();
    // The picture without the settings that travel with it.
    let pixels = |png: &[u8]| image::load_from_memory(png).unwrap().into_rgb8();
    for format in ["int8", "int4", "int4:32"] {
        succeeds(&migm(folder.path(), &["convert", MODEL, "model", "--quantize", format]));
        let file = folder.path().join("model/maskgit.safetensors");
        sizes.push(std::fs::metadata(file).unwrap().len());
        let common = ["--class", "2", "--steps", "4", "--no-compare", "--backend", "cpu", "--out", "a.png"];
        let stored = [&["generate", "--model", "model"], &common[..]].concat();
        succeeds(&migm(folder.path(), &stored));
        let picture = std::fs::read(folder.path().join("a.png")).unwrap();
        let loaded = [&["generate", "--model", MODEL, "--quantize", format], &common[..]].concat();
        succeeds(&migm(folder.path(), &loaded));
        let again = std::fs::read(folder.path().join("a.png")).unwrap();
        assert!(pixels(&picture) == pixels(&again), "{format}: stored and loaded so, pictures differ");
        let out = succeeds(&migm(folder.path(), &["inspect", "model"]));
        assert!(out.contains("int4:32   weights"), "{out}");
    }
    let plain = std::fs::metadata(format!("{MODEL}/maskgit.safetensors")).unwrap().len();
    assert!(
        sizes[0] < plain * 6 / 10 && sizes[1] < sizes[2] && sizes[2] < sizes[0] * 7 / 10,
        "{plain}: {sizes:?}"
    );
    let refused = migm(folder.path(), &["convert", MODEL, "other", "--quantize", "int3"]);
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn a_bench_reports_ratios() {
    let folder = tempfile::tempdir().unwrap();
    let out = succeeds(&migm(
        folder.path(),
        &["bench", "--steps", "4", "--budget", "2", "--backend", "cpu", "--json", "b.json"],
    ));
    assert!(out.contains("peak of a plain FMA loop") && out.contains("memory planned"), "{out}");
    let report: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(folder.path().join("b.json")).unwrap()).unwrap();
    assert_eq!(report["full"]["count"], 2);
    assert_eq!(report["shortcut"]["count"], 2);
    assert!(report["full_over_products"].as_f64().unwrap() > 0.0);
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
        for (predictor, full) in [("shortcut", 3), ("reuse", 3), ("ml-cache", 4)] {
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
    assert!(note.contains("does not know \"zebra\"; the nearest that it knows: w"), "{note}");
    assert!(!note.contains("\"w5\""), "{note}");
    assert!(folder.path().join("made/migm-1.png").is_file());
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
    for flag in ["--temperature=1", "--bf16-gumbel"] {
        fails(
            &migm(folder.path(), &["generate", "--class", "0", flag, "--backend", "cpu"]),
            1,
            &[flag.split('=').next().unwrap(), "text models"],
        );
    }
    fails(&migm(folder.path(), &["generate", "w5", "--model", "text", "--batch", "2"]), 1, &["--batch"]);
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

#[test]
fn a_text_model_stored_quantised_draws_what_it_draws_quantised_while_loading() {
    let folder = tempfile::tempdir().unwrap();
    let recording = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/dimoo-tiny.safetensors");
    succeeds(&migm(folder.path(), &["convert", recording, "text"]));
    let mut backends = vec!["cpu"];
    if std::env::var_os("MIGM_TEST_ADAPTER").is_some() {
        backends.push("gpu");
    }
    for format in ["int8", "int4"] {
        succeeds(&migm(folder.path(), &["convert", "text", "small", "--quantize", format]));
        for backend in &backends {
            let draw = |model: &[&str]| {
                let common =
                    ["generate", "w5 w17 w9", "--no-compare", "--backend", backend, "--out", "x.png"];
                succeeds(&migm(folder.path(), &[&common[..], model].concat()));
                image::open(folder.path().join("x.png")).unwrap().into_rgb8()
            };
            let (stored, loaded) =
                (draw(&["--model", "small"]), draw(&["--model", "text", "--quantize", format]));
            assert!(stored == loaded, "{format} on {backend}: pictures differ");
            assert!(stored != draw(&["--model", "text"]), "{format} on {backend}: nothing was quantised");
        }
    }
}

/// A judge of random weights for the classes of [`MODEL`].
fn a_judge(folder: &Path) {
    use migm::eval::random::{RandomWeights, write_part};
    let labels = migm::generate::model::Model::open(Path::new(MODEL)).expect("a model").config.labels;
    let words = |count: usize| (0..count).map(|i| i.to_string()).collect();
    let config = migm::models::judge::Config {
        architecture: "scene-judge".to_owned(),
        size: 64,
        channels: vec![8, 16],
        groups: 4,
        nouns: labels,
        places: words(8),
        lights: words(4),
        styles: words(3),
    };
    std::fs::create_dir(folder).expect("a new folder");
    let text = serde_json::json!(config).to_string();
    std::fs::write(folder.join("config.json"), text).expect("its config");
    let tensors = migm::eval::scenes_eval::judge::tensors(&config).expect("sizes that go together");
    write_part(&folder.join("judge.safetensors"), "judge", &tensors, RandomWeights { seed: 3 })
        .expect("its weights");
}

#[test]
fn pictures_are_judged_and_plotted_against_time() {
    let folder = tempfile::tempdir().unwrap();
    a_judge(&folder.path().join("judge"));
    let fixed = ["eval", "--model", MODEL, "--judge", "judge", "--steps", "3", "--budgets", "1,2", "--count", "2"];
    let fixed = [&fixed[..], &["--backend", "cpu"]].concat();
    let run = |extra: &[&str]| migm(folder.path(), &[&fixed[..], extra].concat());
    let plots = ["--json", "found.json", "--plot", "plot.svg", "--plot", "plot.PNG"];
    let table = succeeds(&run(&plots));
    // Vanilla with 3, 2 and 1 steps, and two budgets of two predictors.
    assert_eq!(table.lines().filter(|line| line.starts_with("| vanilla")).count(), 3, "{table}");
    assert_eq!(table.matches("| shortcut | 3 (").count(), 2, "{table}");
    assert_eq!(table.matches("| reuse | 3 (").count(), 2, "{table}");
    assert!(table.contains("objects") && table.contains("Wilson"), "{table}");
    let read = || -> serde_json::Value {
        let text = std::fs::read_to_string(folder.path().join("found.json")).unwrap();
        let mut found: serde_json::Value = serde_json::from_str(&text).unwrap();
        for row in found["findings"]["rows"].as_array_mut().unwrap() {
            let row = row.as_object_mut().unwrap();
            for time in ["seconds_per_image", "decode_seconds_per_image", "speed_up"] {
                assert!(row.remove(time).unwrap().as_f64().unwrap() > 0.0, "{time}");
            }
        }
        found
    };
    let found = read();
    assert_eq!(found["findings"]["rows"].as_array().unwrap().len(), 7);
    assert_eq!(found["findings"]["rows"][0]["token_agreement"], 1.0);
    succeeds(&run(&plots));
    assert_eq!(read(), found, "the same again, times aside");
    let svg = std::fs::read_to_string(folder.path().join("plot.svg")).unwrap();
    assert!(svg.contains("3 steps") && svg.contains("1 of 3"), "{svg}");
    let plot = image::open(folder.path().join("plot.PNG")).unwrap().to_rgb8();
    assert_eq!(plot.dimensions(), (1760, 1080));

    let one = succeeds(&run(&["--predictor", "ml-cache"]));
    assert!(one.contains("| ml-cache |") && !one.contains("reuse"), "{one}");
    fails(&run(&["--plot", "plot.gif"]), 1, &["plot.gif", ".svg nor .png"]);
    fails(&run(&["--plot", "nowhere/plot.svg"]), 1, &["nowhere"]);
    fails(&run(&["--split", "held-out"]), 1, &["never held out"]);
    fails(&run(&["--predictor", "oracle"]), 2, &["oracle", "ml-cache"]);
    fails(&run(&["--quality"]), 2, &["--quality"]);
    fails(&migm(folder.path(), &["eval", "--judge", MODEL]), 1, &["config.json"]);
    let many = ["eval", "--model", MODEL, "--judge", "judge", "--steps", "3", "--budgets", "4"];
    fails(&migm(folder.path(), &many), 1, &["a budget of 4 full steps is not between 1 and the 3 steps"]);
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
    fails(&migm(folder.path(), &["scenes", "--raw", "--nouns", "900"]), 1, &["900", "551"]);
    fails(&migm(folder.path(), &["scenes", "--raw", "--size", "65"]), 1, &["65", "128"]);
}
