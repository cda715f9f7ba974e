//! The official layout of a text model to a model folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use migm::generate::model::{Model, needed};
use migm::generate::published;
use migm::kernels::Quantization;
use migm::models::{parameters, part_tensors};
use migm::weights::{
    Checkpoint, ConvertOptions, ConvertReport, Dtype, ModelFolder, Part, TensorSpec, WeightError, convert,
    write_safetensors,
};
use serde_json::json;

use crate::layout::{INDEX, SHARDS, VQ, config, official};
use crate::support::{fixture, peak_bytes};

fn options() -> ConvertOptions {
    ConvertOptions { needed: Some(needed), ..ConvertOptions::default() }
}

fn run(sources: &[PathBuf], destination: &Path) -> Result<ConvertReport, WeightError> {
    convert(sources, destination, &options(), &mut |_| {})
}

/// Writes files below a folder.
fn write(folder: &Path, files: &BTreeMap<String, Vec<u8>>) {
    for (path, content) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// The official folder, and beside it the shortcut.
fn layout() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (files, shortcut) = official();
    let (base, small) = (folder.path().join("official"), folder.path().join("dimoo-shortcut.safetensors"));
    write(&base, &files);
    fs::write(&small, shortcut).unwrap();
    (folder, base, small)
}

#[test]
fn the_official_text_layout_becomes_a_model_folder() {
    let (folder, base, small) = layout();
    let destination = folder.path().join("model");
    let report = run(&[base.clone(), small], &destination).unwrap();
    let parts: Vec<_> = report.files.iter().map(|f| f.part).collect();
    assert_eq!(parts, [Some(Part::Dimoo), Some(Part::Vq), Some(Part::DimooShortcut)]);
    assert!(report.missing.is_empty() && report.notes.is_empty(), "{:?}", report.notes);
    assert!(report.skipped.is_empty(), "{:?}", report.skipped);
    let sizes = json!({
        "architecture": "lumina-dimoo",
        "transformer": {
            "d_model": 64, "heads": 4, "layers": 3, "mlp": 160, "text_vocab": 100, "codebook": 40, "mask": 90,
            "newline": 91, "boa": 92, "boi": 93, "eoi": 94, "eoa": 95, "grid": [6, 8],
        },
        "tokenizer": { "ch": [32, 64], "layers": 1, "latent": 8, "groups": 16 },
        "shortcut": { "sc_blocks": 1, "ratio": 2 },
        "sampling": { "steps": 64, "guidance": 4.0, "choice_temperature": 1.0, "bf16_gumbel": true },
    });
    assert_eq!(report.config, Some(sizes));
    Model::open(&destination).unwrap();
    let (before, after) = (
        Checkpoint::open(&base.join(INDEX)).unwrap(),
        ModelFolder::open(&destination).unwrap().checkpoint("dimoo").unwrap().unwrap(),
    );
    assert!(before.tensors().eq(after.tensors()), "tables differ");
    for tensor in before.tensors() {
        assert_eq!(before.read_bytes(&tensor.name).unwrap(), after.read_bytes(&tensor.name).unwrap());
    }
    let names = |folder: &Path| {
        let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let files =
        ["config.json", "dimoo.safetensors", "shortcut.safetensors", "tokenizer.json", "vq.safetensors"];
    assert_eq!(names(&destination), files);
    // What was read was not touched.
    assert_eq!(fs::read(base.join("config.json")).unwrap(), official().0["config.json"]);
    let message = run(std::slice::from_ref(&base), &base).unwrap_err().to_string();
    assert!(message.contains("is not that of a lumina-dimoo model folder"), "{message}");

    // The folder, quantised into another: every tensor is accounted for, and its settings go along.
    let path = destination.join("config.json");
    let text = fs::read_to_string(&path).unwrap().replace("\"steps\": 64", "\"steps\": 5");
    fs::write(&path, text).unwrap();
    for format in [Quantization::Int8, Quantization::Int4 { group: 32 }] {
        let small = folder.path().join(format.to_string().replace(':', "-"));
        let options = ConvertOptions { quantize: Some(format), ..options() };
        convert(std::slice::from_ref(&destination), &small, &options, &mut |_| {}).unwrap();
        let model = Model::open(&small).unwrap();
        assert_eq!(model.config.sampling.steps, 5);
        let stored = ModelFolder::open(&small).unwrap();
        let stored = |part: &str, name: &str| stored.checkpoint(part).unwrap().unwrap().quantization(name);
        assert_eq!(stored("dimoo", "model.transformer.blocks.2.ff_out.weight"), Some(format));
        assert_eq!(stored("dimoo", "model.transformer.wte.weight"), Some(Quantization::Int8));
        assert_eq!(stored("dimoo", "model.transformer.ff_out.weight"), Some(Quantization::Int8));
        assert_eq!(stored("shortcut", "blocks.0.cross_attn.q_proj.weight"), Some(format));
        assert_eq!(stored("shortcut", "proj_in.weight"), Some(Quantization::Int8));
        assert_eq!(stored("vq", "quantize.embedding.weight"), None);
        // Not twice.
        let again = convert(std::slice::from_ref(&small), &folder.path().join("x"), &options, &mut |_| {});
        assert!(again.unwrap_err().to_string().contains("is quantised already"));
    }
}

#[test]
fn a_text_folder_is_completed_in_several_calls() {
    let (folder, base, small) = layout();
    let destination = folder.path().join("model");
    // Until the tokenizer comes, the number of its codes is a guess, and here a wrong one.
    let message = run(&[base.join(INDEX)], &destination).unwrap_err().to_string();
    assert!(message.contains("140 rows") && message.contains("8192 image codes"), "{message}");
    assert!(message.contains("convert it together with the transformer") && !destination.exists());

    let report = run(&[base.join(VQ)], &destination).unwrap();
    assert_eq!(report.missing, [Part::Dimoo]);
    let report = run(&[base.join(INDEX)], &destination).unwrap();
    assert!(report.missing.is_empty());
    assert!(report.notes.iter().any(|note| note.contains("there is no shortcut")));
    assert_eq!(Model::open(&destination).unwrap().family().codebook(), 40);
    assert!(run(&[small], &destination).unwrap().notes.is_empty());
    assert!(Model::open(&destination).unwrap().family().has_shortcut());
}

#[test]
fn the_transformer_may_come_before_its_tokenizer() {
    let (folder, base, _) = layout();
    let sharded = Checkpoint::open(&base.join(INDEX)).unwrap();
    // As many image codes as officially.
    let tensors: Vec<_> = sharded
        .tensors()
        .map(|t| {
            let rows = if t.shape[0] == 140 { 100 + 8192 } else { t.shape[0] };
            let shape = [&[rows][..], &t.shape[1..]].concat();
            let data = vec![0u8; 4 * shape.iter().product::<usize>()];
            (TensorSpec::new(t.name.clone(), t.dtype, shape), data)
        })
        .collect();
    let views: Vec<_> = tensors.iter().map(|(spec, data)| (spec.clone(), data.as_slice())).collect();
    let alone = folder.path().join("alone");
    fs::create_dir(&alone).unwrap();
    write_safetensors(&alone.join("model.safetensors"), &views, &BTreeMap::new()).unwrap();
    for file in ["config.json", "tokenizer.json"] {
        fs::copy(base.join(file), alone.join(file)).unwrap();
    }
    let destination = folder.path().join("model");
    let report = run(&[alone.join("model.safetensors")], &destination).unwrap();
    assert_eq!(report.missing, [Part::Vq]);
    assert_eq!(report.text_tokenizer, Some(destination.join("tokenizer.json")));
    assert!(report.notes.iter().any(|n| n.contains("taken to be 8192")), "{:?}", report.notes);
    assert_eq!(report.config.unwrap()["transformer"]["text_vocab"], 100);
    // Of the official special tokens none is among so few text ids.
    fs::remove_file(alone.join("config.json")).unwrap();
    let message = run(&[alone], &folder.path().join("other")).unwrap_err().to_string();
    assert!(message.contains("`mask` would be id 126336"), "{message}");
}

#[test]
fn what_is_wrong_with_a_text_layout_is_said_before_anything_is_written() {
    let (folder, base, small) = layout();
    let destination = folder.path().join("model");
    let refused = |sources: &[PathBuf], parts: &[&str]| {
        let message = run(sources, &destination).unwrap_err().to_string();
        for part in parts {
            assert!(message.contains(part), "{message:?} does not contain {part:?}");
        }
        assert!(!destination.exists(), "something was written");
    };
    let with = |key: &str, value: serde_json::Value| {
        let mut config = config();
        config[key] = value;
        fs::write(base.join("config.json"), config.to_string()).unwrap();
    };
    let all = [base.clone()];
    with("n_layers", json!(4));
    refused(&all, &["says n_layers 4", "layers, as many as 3"]);
    with("rope_theta", json!(10_000.0));
    refused(&all, &["rope_theta 10000", "cannot run"]);
    with("n_kv_heads", json!(2));
    refused(&all, &["2 heads of keys for 4"]);
    with("n_heads", json!(7));
    refused(&all, &["7 attention heads do not divide"]);
    with("boi_token_id", json!(126_349));
    refused(&all, &["`boi` would be id 126349", "100 text ids", "boi_token_id"]);
    with("grid", json!("large"));
    refused(&all, &["does not go together"]);
    with("n_layers", json!(3));

    refused(&[base.join(SHARDS[0])], &["shard of a Lumina-DiMOO", "index.json"]);
    refused(&[base.clone(), fixture("official")], &["different kinds of models"]);
    // A tensor too few, one too many and one misshapen, all in one message.
    let (_, shortcut) = official();
    let text = String::from_utf8_lossy(&shortcut[..8000]).into_owned();
    let at = text.find("blocks.0.self_attn.up_proj.weight").unwrap();
    let mut renamed = shortcut;
    renamed[at..at + 6].copy_from_slice(b"clocks");
    fs::write(&small, renamed).unwrap();
    refused(
        &[base.clone(), small],
        &[
            "dimoo-shortcut.safetensors does not fit",
            "`blocks.0.self_attn.up_proj.weight` [160, 32] is missing",
            "clocks",
        ],
    );
    fs::remove_file(base.join(SHARDS[1])).unwrap();
    refused(&all, &[SHARDS[1], "not there"]);
}

#[test]
fn a_conversion_of_shards_holds_one_tensor_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let (n, count) = (200_000, 12);
    let data = 1f32.to_le_bytes().repeat(n);
    let mut map = BTreeMap::new();
    for i in 0..count {
        let (tensor, file) = (format!("t{i}"), format!("{}.safetensors", i % 3));
        map.insert(tensor, file);
    }
    for file in ["0.safetensors", "1.safetensors", "2.safetensors"] {
        let inside = map.iter().filter(|(_, shard)| *shard == file);
        let tensors: Vec<_> =
            inside.map(|(name, _)| (TensorSpec::new(name, Dtype::F32, [n]), data.as_slice())).collect();
        write_safetensors(&folder.path().join(file), &tensors, &BTreeMap::new()).unwrap();
    }
    let index = folder.path().join(INDEX);
    fs::write(&index, json!({ "weight_map": map }).to_string()).unwrap();
    let destination = folder.path().join("one.safetensors");
    let (report, peak) = peak_bytes(|| {
        convert(std::slice::from_ref(&index), &destination, &ConvertOptions::default(), &mut |_| {})
    });
    assert_eq!(report.unwrap().files[0].kept, count);
    // A tensor, its bytes, and the writer's buffer.
    assert!(peak < 2 * data.len() + (3 << 19), "{peak} bytes held, {} a tensor", data.len());
}

/// What the official checkpoints hold, from configurations alone.
#[test]
fn official_text_checkpoints_have_these_names_shapes_and_weights() {
    let config = published::config("lumina-dimoo").unwrap();
    type Known = &'static [(&'static str, &'static [usize])];
    let cases: [(&str, usize, u64, Known); 3] = [
        (
            "dimoo",
            // Nine a block, the table, the last norm and the head.
            32 * 9 + 3,
            8_081_805_312,
            &[
                ("model.transformer.wte.weight", &[134_548, 4096]),
                ("model.transformer.blocks.0.attn_norm.weight", &[4096]),
                ("model.transformer.blocks.0.q_proj.weight", &[4096, 4096]),
                ("model.transformer.blocks.15.k_proj.weight", &[4096, 4096]),
                ("model.transformer.blocks.15.v_proj.weight", &[4096, 4096]),
                ("model.transformer.blocks.31.attn_out.weight", &[4096, 4096]),
                ("model.transformer.blocks.31.ff_norm.weight", &[4096]),
                ("model.transformer.blocks.31.ff_proj.weight", &[12_288, 4096]),
                ("model.transformer.blocks.31.up_proj.weight", &[12_288, 4096]),
                ("model.transformer.blocks.31.ff_out.weight", &[4096, 12_288]),
                ("model.transformer.ln_f.weight", &[4096]),
                ("model.transformer.ff_out.weight", &[134_548, 4096]),
            ],
        ),
        (
            "shortcut",
            // Three projections with biases, two blocks of nine, the last norm, and the time's three layers.
            6 + 18 + 1 + 6,
            219_797_204,
            &[
                ("proj_in.weight", &[2048, 4096]),
                ("proj_in.bias", &[2048]),
                ("proj_out.weight", &[4096, 2048]),
                ("proj_out.bias", &[4096]),
                ("new_token_proj_in.weight", &[2048, 4096]),
                ("new_token_proj_in.bias", &[2048]),
                ("blocks.0.cross_attn.attn_norm.weight", &[2048]),
                ("blocks.0.cross_attn.q_proj.weight", &[2048, 2048]),
                ("blocks.0.cross_attn.ff_out.weight", &[2048, 12_288]),
                ("blocks.0.self_attn.ff_norm.weight", &[2048]),
                ("blocks.0.self_attn.attn_out.weight", &[2048, 2048]),
                ("blocks.0.self_attn.up_proj.weight", &[12_288, 2048]),
                ("ln_f.weight", &[2048]),
                ("time_embedder.mlp.0.weight", &[724, 256]),
                ("time_embedder.mlp.2.weight", &[2048, 724]),
                ("adaLN_modulation.weight", &[4096, 2048]),
                ("adaLN_modulation.bias", &[4096]),
            ],
        ),
        (
            "vq",
            277,
            146_244_675,
            &[
                ("encoder.conv_in.weight", &[128, 3, 3, 3]),
                ("encoder.down_blocks.1.resnets.0.conv_shortcut.weight", &[256, 128, 1, 1]),
                ("encoder.down_blocks.3.downsamplers.0.conv.weight", &[512, 512, 3, 3]),
                ("encoder.down_blocks.4.resnets.0.conv_shortcut.weight", &[768, 512, 1, 1]),
                ("encoder.mid_block.resnets.1.conv2.weight", &[768, 768, 3, 3]),
                ("quant_conv.weight", &[64, 64, 1, 1]),
                ("quantize.embedding.weight", &[8192, 64]),
                ("post_quant_conv.weight", &[64, 64, 1, 1]),
                ("decoder.conv_in.weight", &[768, 64, 3, 3]),
                ("decoder.up_blocks.1.resnets.0.conv_shortcut.weight", &[512, 768, 1, 1]),
                ("decoder.up_blocks.3.upsamplers.0.conv.weight", &[256, 256, 3, 3]),
                ("decoder.up_blocks.4.resnets.2.conv2.weight", &[128, 128, 3, 3]),
                ("decoder.conv_norm_out.weight", &[128]),
                ("decoder.conv_out.weight", &[3, 128, 3, 3]),
            ],
        ),
    ];
    for (part, count, weights, known) in cases {
        let tensors = part_tensors(&*config.family, part).unwrap();
        assert_eq!((tensors.len(), parameters(&tensors)), (count, weights), "{part}");
        for (name, shape) in known {
            let found = tensors.iter().find(|(found, _)| found == name);
            assert_eq!(found.map(|(_, shape)| shape.as_slice()), Some(*shape), "{part}: {name}");
        }
        for absent in [
            "encoder.down_blocks.4.downsamplers.0.conv.weight",
            "decoder.up_blocks.4.upsamplers.0.conv.weight",
        ] {
            assert!(tensors.iter().all(|(name, _)| name != absent), "{absent}");
        }
        let json = serde_json::to_value(&config).unwrap();
        assert_eq!(needed(&json, part).unwrap(), Some(tensors));
    }
}
