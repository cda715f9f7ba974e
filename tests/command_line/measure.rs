//! `migm bench`, `migm eval` and `migm gallery`.

use super::{MODEL, fails, migm, succeeds};
use std::path::Path;

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

/// A judge of random weights for the classes of [`MODEL`].
fn a_judge(folder: &Path) {
    use migm::eval::random::{RandomWeights, write_part};
    let labels = migm::generate::model::Model::open(Path::new(MODEL)).expect("a model");
    let labels = labels.classes().expect("of classes").labels.clone();
    let words = |count: usize| (0..count).map(|i| i.to_string()).collect();
    let config = migm::models::judge::Config {
        architecture: "scene-judge".to_owned(),
        size: 64,
        channels: vec![8, 16],
        groups: 4,
        nouns: labels,
        places: words(8),
        lights: words(4),
        colours: words(8),
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
    let fixed =
        ["eval", "--model", MODEL, "--judge", "judge", "--steps", "3", "--budgets", "1,2", "--count", "2"];
    let fixed = [&fixed[..], &["--backend", "cpu"]].concat();
    let run = |extra: &[&str]| migm(folder.path(), &[&fixed[..], extra].concat());
    let plots = ["--report", "found.json", "--plot", "plot.svg", "--plot", "plot.PNG"];
    let table = succeeds(&run(&plots));
    // Vanilla with 3, 2 and 1 steps, and two budgets of two predictors.
    assert_eq!(table.lines().filter(|line| line.starts_with("| vanilla |")).count(), 3, "{table}");
    assert_eq!(table.matches("| shortcut | 3 (").count(), 2, "{table}");
    assert_eq!(table.matches("| reuse | 3 (").count(), 2, "{table}");
    assert!(table.contains("objects") && table.contains("Wilson"), "{table}");
    assert!(table.contains("McNemar") && table.contains("as many full steps"), "{table}");
    let read = || -> serde_json::Value {
        let text = std::fs::read_to_string(folder.path().join("found.json")).unwrap();
        let mut found: serde_json::Value = serde_json::from_str(&text).unwrap();
        // Which rows are near in time depends on the clock too.
        found["findings"]["comparisons"].as_array_mut().unwrap().retain(|of| of["kind"] != "equal_time");
        for row in found["findings"]["rows"].as_array_mut().unwrap() {
            let row = row.as_object_mut().unwrap();
            for time in ["seconds_per_image", "decode_seconds_per_image", "speed_up"] {
                assert!(row.remove(time).unwrap().as_f64().unwrap() > 0.0, "{time}");
            }
            assert!(row.remove("front_by_seconds").unwrap().is_boolean());
            assert!(row["full_step_equivalents"].as_f64().unwrap() > 0.5, "{row:?}");
        }
        found
    };
    let found = read();
    assert_eq!(found["findings"]["rows"].as_array().unwrap().len(), 7);
    assert_eq!(found["findings"]["rows"][0]["token_agreement"], 1.0);
    succeeds(&run(&plots));
    assert_eq!(read(), found, "the same again, times aside");
    let csv = std::fs::read_to_string(folder.path().join("found.csv")).unwrap();
    assert_eq!(csv.lines().filter(|line| line.starts_with("reuse,3,")).count(), 2, "{csv}");
    let svg = std::fs::read_to_string(folder.path().join("plot.svg")).unwrap();
    assert!(svg.contains(">3<") && svg.contains(">1<"), "{svg}");
    let plot = image::open(folder.path().join("plot.PNG")).unwrap().to_rgb8();
    assert_eq!(plot.dimensions(), (1760, 1080));

    // Everything that the model has, with its pictures; plotted by operations.
    let all =
        ["--methods", "all", "--method", "vanilla steps=2 order=halton", "--pictures", "png", "--npz", "npz"];
    let table = succeeds(&run(&[&all[..], &["--plot", "flops.svg", "--plot-by", "flops"]].concat()));
    for row in
        ["| ml-cache | 3 (1) |", "| taylor:1 |", "| vanilla halton | 2 (2) |", "| shortcut spread 1.5 |"]
    {
        assert!(table.contains(row), "{row} is not in\n{table}");
    }
    assert!(table.contains(" * |") && table.contains("the Pareto front"), "{table}");
    let svg = std::fs::read_to_string(folder.path().join("flops.svg")).unwrap();
    assert!(svg.contains("FLOPs in full steps of vanilla"), "{svg}");
    for name in ["vanilla-3", "shortcut-3-1", "ml-cache-3-1", "vanilla-halton-2"] {
        let picture = image::open(folder.path().join(format!("png/{name}/000001.png"))).unwrap();
        assert_eq!((picture.width(), picture.height()), (64, 64), "{name}");
        let archive = std::fs::metadata(folder.path().join(format!("npz/{name}.npz"))).unwrap();
        assert!(archive.len() > 2 * 64 * 64 * 3, "{name}");
    }
    // One picture more than this run makes: of another, and not to be mixed with it.
    std::fs::copy(
        folder.path().join("png/vanilla-3/000001.png"),
        folder.path().join("png/vanilla-3/000002.png"),
    )
    .unwrap();
    let again = ["--methods", "vanilla", "--pictures", "png"];
    fails(&run(&again), 1, &["no picture of this run", "--pictures"]);
    fails(&run(&["--methods", "quick"]), 1, &["none of all, vanilla"]);
    fails(&run(&["--methods", "optimal"]), 1, &["migm calibrate"]);
    fails(&run(&["--methods", "all", "--predictor", "reuse"]), 2, &["--predictor"]);

    let diverse =
        ["--predictor", "ml-cache", "--diversity", "--diversity-prompts", "2", "--diversity-seeds", "2"];
    let one = succeeds(&run(&diverse));
    assert!(one.contains("2 seeds of each of 2 prompts") && one.contains(" bits |"), "{one}");
    assert!(one.contains("| ml-cache |") && !one.contains("reuse"), "{one}");
    fails(&run(&["--plot", "plot.gif"]), 1, &["plot.gif", ".svg or .png file"]);
    fails(&run(&["--plot", "nowhere/plot.svg"]), 1, &["nowhere"]);
    fails(&run(&["--split", "held-out"]), 1, &["never held out"]);
    fails(&run(&["--predictor", "oracle"]), 2, &["oracle", "ml-cache"]);
    fails(&run(&["--quality"]), 2, &["--quality"]);
    fails(&migm(folder.path(), &["eval", "--judge", MODEL]), 1, &["config.json"]);
    let many = ["eval", "--model", MODEL, "--judge", "judge", "--steps", "3", "--budgets", "4"];
    fails(&migm(folder.path(), &many), 1, &["a budget of 4 full steps is not between 1 and the 3 steps"]);
}

#[test]
fn bundled_models_have_names_and_a_judge() {
    let folder = tempfile::tempdir().unwrap();
    for (model, kind) in [("scenes-text", "count"), ("scenes-class", "objects")] {
        let arguments =
            ["eval", "--model", model, "--count", "2", "--steps", "2", "--budgets", "1", "--backend", "cpu"];
        let table = succeeds(&migm(folder.path(), &arguments));
        assert!(table.contains(model) && table.contains(kind) && table.contains("| shortcut |"), "{table}");
    }
    fails(&migm(folder.path(), &["eval", "--model", "scenes-judge"]), 1, &["scenes-judge"]);
}

#[test]
fn a_gallery_has_a_row_a_method() {
    let folder = tempfile::tempdir().unwrap();
    let common = ["--seeds", "2", "--budgets", "2,1", "--steps", "4", "--backend", "cpu"];
    let out = succeeds(&migm(folder.path(), &[&["gallery", "--class", "fox"], &common[..]].concat()));
    assert!(out.contains("every, uniform:2, uniform:1"), "{out}");
    let sheet = image::open(folder.path().join("gallery.png")).unwrap().to_rgb8();
    assert_eq!(sheet.dimensions(), (2 * 128, 3 * 128));
    // The picture of a row and a seed is the one that `generate` makes.
    for (row, refresh) in ["every", "uniform:2", "uniform:1"].into_iter().enumerate() {
        let one = ["--seed", "1", "--steps", "4", "--refresh", refresh, "--no-compare", "--backend", "cpu"];
        let arguments = [&["generate", "--class", "fox", "--out", "one.png"], &one[..]].concat();
        succeeds(&migm(folder.path(), &arguments));
        let one = image::open(folder.path().join("one.png")).unwrap().to_rgb8();
        let cell = image::imageops::crop_imm(&sheet, 128, 128 * row as u32, 128, 128).to_image();
        assert!(cell == one, "row {row}");
    }
    let recording = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/dimoo-tiny.safetensors");
    succeeds(&migm(folder.path(), &["convert", recording, "text"]));
    succeeds(&migm(folder.path(), &[&["gallery", "w5", "--model", "text"], &common[..]].concat()));
    let sheet = image::open(folder.path().join("gallery.png")).unwrap();
    assert_eq!((sheet.width(), sheet.height()), (2 * 16, 3 * 12));
    fails(&migm(folder.path(), &["gallery", "w5", "--model", MODEL]), 1, &["--class"]);
    fails(&migm(folder.path(), &["gallery", "--model", "text"]), 1, &["PROMPT"]);
    fails(&migm(folder.path(), &["gallery", "--model", "maskgit-256"]), 1, &["weights"]);
}

/// The program with another file of times than the user's.
fn with_times(folder: &Path, arguments: &[&str]) -> std::process::Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_migm"));
    if let Some(adapter) = std::env::var_os("MIGM_TEST_ADAPTER") {
        command.env("MIGM_ADAPTER", adapter);
    }
    command
        .current_dir(folder)
        .args(arguments)
        .env("MIGM_TUNED", "times/tuned.json")
        .output()
        .expect("the program runs")
}

#[test]
fn products_are_tuned_on_an_adapter_and_tokens_stay_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| with_times(folder.path(), arguments);
    fails(&run(&["tune", "--backend", "cpu"]), 1, &["nothing to tune on the CPU executor"]);
    if std::env::var_os("MIGM_TEST_ADAPTER").is_none() {
        return;
    }
    let make = |out: &str| {
        let fixed = ["generate", "--model", MODEL, "--class", "0", "--seed", "4", "--exact"];
        succeeds(&run(&[&fixed[..], &["--steps", "3", "--backend", "gpu", "--out", out]].concat()));
    };
    make("before.png");
    let tune = ["tune", "--model", MODEL, "--steps", "2", "--backend", "gpu", "--exact"];
    let table = succeeds(&run(&tune));
    assert!(table.contains("linear") && table.contains(" us"), "{table}");
    let stored = std::fs::read_to_string(folder.path().join("times/tuned.json")).unwrap();
    let stored: serde_json::Value = serde_json::from_str(&stored).unwrap();
    let products = stored["devices"][0]["products"].as_array().unwrap().len();
    assert!(products > 1 && stored["devices"][0]["tier"] == "portable", "{stored}");
    let info = succeeds(&run(&["info"]));
    assert!(info.contains(&format!("{products} shapes as measured")), "{info}");
    make("after.png");
    let pixels = |name: &str| image::open(folder.path().join(name)).unwrap().to_rgb8();
    assert_eq!(pixels("before.png"), pixels("after.png"));

    // What is no file of times is said, and neither used nor overwritten.
    std::fs::write(folder.path().join("times/tuned.json"), "something of mine").unwrap();
    assert!(succeeds(&run(&["info"])).contains("cannot be read"));
    make("again.png");
    fails(&run(&tune), 1, &["tuned.json", "delete it to begin anew"]);
    let kept = std::fs::read_to_string(folder.path().join("times/tuned.json")).unwrap();
    assert_eq!(kept, "something of mine");
}
