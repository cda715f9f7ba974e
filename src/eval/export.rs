//! A recording of Lumina-DiMOO as a model folder, with a small closed vocabulary: what tests and demonstrations of
//! text-to-image run on where no trained model is at hand.

use crate::generate::GenerateError;
use crate::generate::picture::write_whole;
use crate::weights::{Checkpoint, TensorSpec, stream_safetensors};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// The recording's configuration, if the checkpoint is a recording of a text model.
pub fn text_recording(checkpoint: &Checkpoint) -> Option<Value> {
    let config: Value = serde_json::from_str(checkpoint.metadata().get("config")?).ok()?;
    config.get("text_vocab").is_some().then_some(config)
}

/// Writes the model of a recording to a folder: its weights by part, `config.json`, and a `tokenizer.json` whose words
/// are `w2`, `w3` and so on, by id.
///
/// # Errors
/// The file is no such recording, or the folder cannot be written.
pub fn export(recording: &Path, folder: &Path) -> Result<(), GenerateError> {
    let checkpoint = Checkpoint::open(recording)?;
    let config = text_recording(&checkpoint).ok_or_else(|| GenerateError::Config {
        model: checkpoint.name().to_owned(),
        what: "not a recording of Lumina-DiMOO".to_owned(),
    })?;
    let file = |source| GenerateError::File { path: folder.display().to_string(), source };
    crate::output::make_folder(folder).map_err(file)?;
    for part in ["dimoo", "vq", "shortcut"] {
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
    let pick = |names: &[&str]| -> Value {
        names
            .iter()
            .filter_map(|&name| Some((name.to_owned(), config.get(name)?.clone())))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let transformer = pick(&[
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
    let model = json!({
        "architecture": crate::models::dimoo::ARCHITECTURE,
        "transformer": transformer,
        "tokenizer": config.get("vq"),
        "shortcut": pick(&["sc_blocks", "ratio"]),
        "sampling": { "steps": 8, "guidance": 4.0, "choice_temperature": 1.0 },
        "prompt_template": "{prompt}",
    });
    let text = |value: &Value| serde_json::to_string_pretty(value).unwrap_or_default();
    write_whole(&folder.join("config.json"), text(&model).as_bytes())?;
    write_whole(&folder.join("tokenizer.json"), text(&tokenizer(&config)).as_bytes())
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
