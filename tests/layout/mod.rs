//! The official repository of Lumina-DiMOO in miniature: the recording's model, cut into shards and under official names.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use migm::eval::export::export;
use migm::weights::{Checkpoint, TensorSpec, encode_safetensors};
use serde_json::{Value, json};

pub(crate) const INDEX: &str = "model.safetensors.index.json";
pub(crate) const SHARDS: [&str; 2] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
pub(crate) const VQ: &str = "vqvae/diffusion_pytorch_model.safetensors";

/// What the official config says, which weights do not tell.
pub(crate) fn config() -> Value {
    json!({
        "model_type": "llada", "architectures": ["LLaDAForMultiModalGeneration"], "d_model": 64, "n_heads": 4,
        "n_kv_heads": 4, "n_layers": 3, "rope_theta": 500_000.0, "rms_norm_eps": 1e-5, "mask_token_id": 90,
        "newline_token_id": 91, "boa_token_id": 92, "boi_token_id": 93, "eoi_token_id": 94, "eoa_token_id": 95,
        "grid": [6, 8],
    })
}

/// The files of the repository by path, and the shortcut's checkpoint, which lies in another.
pub(crate) fn official() -> (BTreeMap<String, Vec<u8>>, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/dimoo-tiny.safetensors");
    export(&recording, folder.path()).unwrap();
    let open = |part: &str| Checkpoint::open(&folder.path().join(format!("{part}.safetensors"))).unwrap();
    let base = open("dimoo");
    let shard_of = |index: usize| SHARDS[index % 2];
    let map: BTreeMap<&str, &str> =
        base.tensors().enumerate().map(|(index, t)| (t.name.as_str(), shard_of(index))).collect();
    let text = |value: &Value| value.to_string().into_bytes();
    let mut files = BTreeMap::from([
        (INDEX.to_owned(), text(&json!({ "metadata": { "total_size": 1 }, "weight_map": map }))),
        ("config.json".to_owned(), text(&config())),
        ("generation_config.json".to_owned(), b"{}".to_vec()),
        ("tokenizer_config.json".to_owned(), b"{}".to_vec()),
        ("tokenizer.json".to_owned(), fs::read(folder.path().join("tokenizer.json")).unwrap()),
        ("vqvae/config.json".to_owned(), text(&json!({ "norm_num_groups": 16 }))),
        (VQ.to_owned(), encoded(&open("vq"), &|_| true)),
        ("modeling.py".to_owned(), b"import os".to_vec()),
    ]);
    for shard in SHARDS {
        files.insert(shard.to_owned(), encoded(&base, &|name| map[name] == shard));
    }
    (files, encoded(&open("shortcut"), &|_| true))
}

/// Some tensors of a checkpoint, as a file.
fn encoded(checkpoint: &Checkpoint, chosen: &dyn Fn(&str) -> bool) -> Vec<u8> {
    let tensors: Vec<_> = checkpoint
        .tensors()
        .filter(|t| chosen(&t.name))
        .map(|t| {
            (
                TensorSpec::new(t.name.clone(), t.dtype, t.shape.clone()),
                checkpoint.read_bytes(&t.name).unwrap(),
            )
        })
        .collect();
    let views: Vec<_> = tensors.iter().map(|(spec, data)| (spec.clone(), data.as_ref())).collect();
    encode_safetensors(&views, &BTreeMap::new()).unwrap()
}
