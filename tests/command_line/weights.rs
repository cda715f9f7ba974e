//! Models on disk: damaged, converted, quantised.

use super::{MODEL, fails, migm, succeeds};

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
