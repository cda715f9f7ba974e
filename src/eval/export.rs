//! A recording as a model folder: what tests and demonstrations run on where no trained model is at hand. Of Lumina-DiMOO, with a
//! small closed vocabulary; of MaskGIT, with classes `c0`, `c1` and so on.

use crate::generate::GenerateError;
use crate::generate::picture::write_whole;
use crate::weights::{Checkpoint, TensorSpec, stream_safetensors};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// The recording's configuration, if the checkpoint is a recording of a model of either family.
pub fn recording(checkpoint: &Checkpoint) -> Option<Value> {
    let config: Value = serde_json::from_str(checkpoint.metadata().get("config")?).ok()?;
    let known = config.get("traces").is_some() && (of_prompts(&config) || config.get("classes").is_some());
    known.then_some(config)
}

fn of_prompts(config: &Value) -> bool {
    config.get("text_vocab").is_some()
}

/// Writes the model of a recording to a folder: its weights by part, `config.json`, and of a text model a `tokenizer.json` whose
/// words are `w2`, `w3` and so on, by id. Classes are called `c0`, `c1` and so on.
///
/// # Errors
/// The file is no such recording, or the folder cannot be written.
pub fn export(path: &Path, folder: &Path) -> Result<(), GenerateError> {
    let checkpoint = Checkpoint::open(path)?;
    let config = recording(&checkpoint).ok_or_else(|| GenerateError::Config {
        model: checkpoint.name().to_owned(),
        what: "not a recording of a model".to_owned(),
    })?;
    let file = |source| GenerateError::File { path: folder.display().to_string(), source };
    crate::output::make_folder(folder).map_err(file)?;
    for part in ["dimoo", "maskgit", "vq", "vqgan", "shortcut"] {
        let prefix = format!("{part}.");
        let tensors: Vec<_> = checkpoint.tensors().filter(|t| t.name.starts_with(&prefix)).collect();
        if tensors.is_empty() {
            continue;
        }
        let specs: Vec<TensorSpec> = tensors
            .iter()
            .map(|t| TensorSpec::new(&t.name[prefix.len()..], t.dtype, t.shape.clone()))
            .collect();
        let path = folder.join(format!("{part}.safetensors"));
        stream_safetensors(&path, &specs, &BTreeMap::new(), &mut |index| {
            checkpoint.read_bytes(&tensors[index].name)
        })?;
    }
    let text = |value: &Value| serde_json::to_string_pretty(value).unwrap_or_default();
    let model = if of_prompts(&config) { text_model(&config) } else { class_model(&config) };
    write_whole(&folder.join("config.json"), text(&model).as_bytes())?;
    if of_prompts(&config) {
        write_whole(&folder.join("tokenizer.json"), text(&tokenizer(&config)).as_bytes())?;
    }
    Ok(())
}

/// Entries of a recording's configuration, each under its name in a model's.
fn pick(config: &Value, names: &[(&str, &str)]) -> Value {
    names
        .iter()
        .filter_map(|&(name, recorded)| Some((name.to_owned(), config.get(recorded)?.clone())))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn text_model(config: &Value) -> Value {
    let same = |names: &[&'static str]| names.iter().map(|&name| (name, name)).collect::<Vec<_>>();
    let transformer = same(&[
        "d_model",
        "heads",
        "layers",
        "mlp",
        "text_vocab",
        "codebook",
        "mask",
        "newline",
        "boa",
        "boi",
        "eoi",
        "eoa",
        "grid",
    ]);
    json!({
        "architecture": crate::models::dimoo::ARCHITECTURE,
        "transformer": pick(config, &transformer),
        "tokenizer": config.get("vq"),
        "shortcut": pick(config, &same(&["sc_blocks", "ratio"])),
        "sampling": { "steps": 8, "guidance": 4.0, "choice_temperature": 1.0 },
        "prompt_template": "{prompt}",
    })
}

fn class_model(config: &Value) -> Value {
    let recorded = config.get("vq").unwrap_or(&Value::Null);
    let mut tokenizer = if recorded.get("mult").is_some() {
        pick(
            recorded,
            &[
                ("z_channels", "z"),
                ("embed_dim", "embed"),
                ("ch", "ch"),
                ("ch_mult", "mult"),
                ("num_res_blocks", "res"),
                ("attn_resolutions", "attn"),
                ("resolution", "resolution"),
            ],
        )
    } else {
        recorded.clone()
    };
    if recorded.get("mult").is_some() {
        tokenizer["architecture"] = "vqgan".into();
    }
    let mut model = pick(
        config,
        &["grid", "hidden", "depth", "heads", "mlp", "codebook", "classes"].map(|name| (name, name)),
    );
    let classes = config.get("classes").and_then(Value::as_u64).unwrap_or(0);
    model["labels"] = (0..classes).map(|class| format!("c{class}")).collect();
    model["architecture"] = crate::models::maskgit::ARCHITECTURE.into();
    model["image_size"] = recorded.get("resolution").cloned().unwrap_or(Value::Null);
    model["tokenizer"] = tokenizer;
    if let Some(shortcut) = config.get("sc") {
        model["shortcut"] =
            pick(shortcut, &[("n_block", "blocks"), ("bottleneck_ratio", "ratio"), ("heads", "heads")]);
    }
    model["sampling"] = json!({
        "steps": 8, "schedule": "arccos", "guidance": 2.8, "choice_temperature": 4.5, "softmax_temperature": 1.0,
        "choice_noise": "linear",
    });
    model
}

/// A word a text id, split at spaces; id 0 is the unknown word, id 1 stands for no prompt.
fn tokenizer(config: &Value) -> Value {
    let vocabulary = config.get("text_vocab").and_then(Value::as_u64).unwrap_or(0);
    let special = ["mask", "newline", "boa", "boi", "eoi", "eoa"];
    let name = |id: u64| match id {
        0 => "[UNK]".to_owned(),
        1 => crate::models::prompts::UNCONDITION.to_owned(),
        _ => match special.iter().find(|name| config.get(**name).and_then(Value::as_u64) == Some(id)) {
            Some(name) => format!("<{name}>"),
            None => format!("w{id}"),
        },
    };
    let words: serde_json::Map<String, Value> = (0..vocabulary).map(|id| (name(id), id.into())).collect();
    let added = |id: u64| {
        json!({
            "id": id, "content": name(id), "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        })
    };
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [added(0), added(1)],
        "normalizer": null, "pre_tokenizer": { "type": "WhitespaceSplit" }, "post_processor": null, "decoder": null,
        "model": { "type": "WordLevel", "vocab": words, "unk_token": "[UNK]" },
    })
}
