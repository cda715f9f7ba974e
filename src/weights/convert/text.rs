//! `config.json` of a text model: from the shapes of the tensors, and for what shapes do not tell from the options, the
//! config that is there already, the official `config.json` beside the checkpoint, or the official model, in this order.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::config::{Shapes, check_heads, note_ablations, number};
use super::part::Family;
use super::{ConvertOptions, Part};
use crate::weights::WeightError;

/// The official settings: spec 1f. What the programs compute with is not to be chosen: `models/dimoo.rs`.
const HEADS: usize = 32;
const WIDTH: usize = 4096;
/// All published heads of the family are of this width.
const HEAD_WIDTH: usize = 128;
const CODEBOOK: usize = 8192;
const GRID: [usize; 2] = [64, 64];
const GROUPS: usize = 32;
const ROPE_THETA: f64 = 500_000.0;
const NORM_EPS: f64 = 1e-5;
const SPECIAL: [(&str, usize); 6] = [
    ("mask", 126_336),
    ("newline", 126_084),
    ("boa", 126_354),
    ("boi", 126_349),
    ("eoi", 126_350),
    ("eoa", 126_355),
];
/// Names of the tensors of the transformer.
const BASE: &str = "model.transformer.";
const BLOCKS: &str = "model.transformer.blocks.";

/// The configs of the official layout, where they lie beside the checkpoints.
pub(super) struct Official {
    pub(super) base: Option<Map<String, Value>>,
    pub(super) tokenizer: Option<Map<String, Value>>,
}

/// Writes what `parts` tell over `config`, which is the config that was there or an empty object. Notes say what was guessed.
pub(super) fn update(
    config: &mut Map<String, Value>,
    parts: &BTreeMap<Part, Shapes>,
    official: &Official,
    options: &ConvertOptions,
    notes: &mut Vec<String>,
) -> Result<(), WeightError> {
    if options.labels.is_some() {
        return Err(WeightError::convert("a text model has no classes to name; leave --labels out"));
    }
    config.insert("architecture".into(), json!(Family::Dimoo.architecture()));
    if let Some(shapes) = parts.get(&Part::Dimoo) {
        let codebook = match parts.get(&Part::Vq) {
            Some(tokenizer) => Some(tokenizer.get::<2>("quantize.embedding.weight")?[0]),
            None => None,
        };
        transformer(config, shapes, codebook, official.base.as_ref(), options, notes)?;
    }
    if let Some(shapes) = parts.get(&Part::Vq) {
        let sizes = tokenizer(config, shapes, official.tokenizer.as_ref(), notes)?;
        config.insert("tokenizer".into(), sizes);
    }
    if let Some(shapes) = parts.get(&Part::DimooShortcut) {
        shortcut(config, shapes, options)?;
    }
    // The official code draws its noise in bf16.
    config.entry("sampling").or_insert_with(
        || json!({ "steps": 64, "guidance": 4.0, "choice_temperature": 1.0, "bf16_gumbel": true }),
    );
    Ok(())
}

fn transformer(
    config: &mut Map<String, Value>,
    shapes: &Shapes,
    codebook: Option<usize>,
    official: Option<&Map<String, Value>>,
    options: &ConvertOptions,
    notes: &mut Vec<String>,
) -> Result<(), WeightError> {
    let [vocabulary, width] = shapes.get(&format!("{BASE}wte.weight"))?;
    let [mlp, _] = shapes.get(&format!("{BLOCKS}0.ff_proj.weight"))?;
    let layers = blocks(shapes, BLOCKS);
    let known = object(config, "transformer");
    let empty = Map::new();
    let official = official.unwrap_or(&empty);
    check_official(official, &shapes.file, width, layers)?;
    let heads = options.heads.map(|heads| heads as usize).or_else(|| number(&known, "heads"));
    let heads = heads.or_else(|| first(official, &["n_heads", "num_attention_heads"])).unwrap_or_else(|| {
        let heads = if width == WIDTH { HEADS } else { (width / HEAD_WIDTH).max(1) };
        notes.push(format!(
            "weights do not tell the number of attention heads; taken to be {heads} (--heads)"
        ));
        heads
    });
    check_heads(heads, width)?;
    if let Some(keys) = first(official, &["n_kv_heads", "num_key_value_heads"])
        && keys != heads
    {
        return Err(unsupported(&format!("{keys} heads of keys for {heads} of queries")));
    }
    let codebook = codebook.or_else(|| number(&known, "codebook")).unwrap_or_else(|| {
        notes.push(format!(
            "the image tokenizer tells how many codes there are; taken to be {CODEBOOK} until it is converted into the same folder"
        ));
        CODEBOOK
    });
    let Some(text) = vocabulary.checked_sub(codebook).filter(|&text| text > 0) else {
        let problem = format!(
            "it has {vocabulary} rows, too few for text and {codebook} image codes\n  \
             the image tokenizer tells how many codes there are: convert it together with the transformer, and of one model"
        );
        return Err(WeightError::tensor(&shapes.file, &format!("{BASE}wte.weight"), problem));
    };
    let mut sizes = Map::new();
    let figures = [
        ("d_model", width),
        ("heads", heads),
        ("layers", layers),
        ("mlp", mlp),
        ("text_vocab", text),
        ("codebook", codebook),
    ];
    sizes.extend(figures.map(|(key, value)| (key.to_owned(), json!(value))));
    let mut assumed = Vec::new();
    for (name, usual) in SPECIAL {
        let key = format!("{name}_token_id");
        let id = number(&known, name).or_else(|| number(official, &key)).unwrap_or_else(|| {
            assumed.push(format!("{name} {usual}"));
            usual
        });
        if id >= text {
            return Err(WeightError::convert(format!(
                "the special token `{name}` would be id {id}, and there are {text} text ids\n  \
                 put its id into the official config.json as `{key}`"
            )));
        }
        sizes.insert(name.to_owned(), json!(id));
    }
    if !assumed.is_empty() {
        notes.push(format!("special tokens are taken to be the official model's: {}", assumed.join(", ")));
    }
    let grid = options.grid.map(|grid| json!(grid)).or_else(|| known.get("grid").cloned());
    let grid = grid.or_else(|| official.get("grid").cloned()).unwrap_or_else(|| {
        let [rows, columns] = GRID;
        notes.push(format!("images are taken to be of {rows}x{columns} tokens (--grid)"));
        json!(GRID)
    });
    sizes.insert("grid".to_owned(), grid);
    config.insert("transformer".into(), Value::Object(sizes));
    Ok(())
}

/// What the official config says must be what the weights are, and what the programs compute.
fn check_official(
    official: &Map<String, Value>,
    file: &str,
    width: usize,
    layers: usize,
) -> Result<(), WeightError> {
    let sizes = [
        (["d_model", "hidden_size"], width, "a width of"),
        (["n_layers", "num_hidden_layers"], layers, "layers, as many as"),
    ];
    for (keys, found, what) in sizes {
        if let Some(said) = first(official, &keys)
            && said != found
        {
            let problem = format!(
                "config.json says {} {said}, and {file} has {what} {found}\n  are all its shards there, and from one model?",
                keys[0]
            );
            return Err(WeightError::convert(problem));
        }
    }
    let constants =
        [(["rope_theta", "rope_base"], ROPE_THETA), (["rms_norm_eps", "layer_norm_eps"], NORM_EPS)];
    for (keys, computed) in constants {
        let said = keys.iter().find_map(|key| official.get(*key)?.as_f64());
        if let Some(said) = said.filter(|said| (said / computed - 1.0).abs() > 1e-6) {
            return Err(unsupported(&format!("{} {said} (it computes with {computed})", keys[0])));
        }
    }
    match official.get("scale_logits") {
        Some(Value::Bool(true)) => Err(unsupported("scale_logits")),
        _ => Ok(()),
    }
}

fn unsupported(what: &str) -> WeightError {
    WeightError::convert(format!("config.json asks for {what}, which this version cannot run"))
}

/// The sizes of the tokenizer.
pub(super) fn tokenizer(
    config: &Map<String, Value>,
    shapes: &Shapes,
    official: Option<&Map<String, Value>>,
    notes: &mut Vec<String>,
) -> Result<Value, WeightError> {
    let [_, latent] = shapes.get("quantize.embedding.weight")?;
    let levels = shapes.count("encoder.down_blocks.", ".resnets.0.conv1.weight");
    let mut channels = Vec::with_capacity(levels);
    for level in 0..levels {
        let name = format!("encoder.down_blocks.{level}.resnets.0.conv1.weight");
        channels.push(shapes.get::<4>(&name)?[0]);
    }
    let layers = shapes.count("encoder.down_blocks.0.resnets.", ".conv1.weight");
    let known = number(&object(config, "tokenizer"), "groups");
    let groups = known.or_else(|| number(official?, "norm_num_groups")).unwrap_or_else(|| {
        notes.push(format!(
            "weights do not tell the groups of GroupNorm; taken to be {GROUPS}, as officially"
        ));
        GROUPS
    });
    let mut sizes = json!({ "ch": channels, "layers": layers, "latent": latent, "groups": groups });
    // Nor do they tell whether there are GroupNorms at all: without statistics their tensors are the same.
    if object(config, "tokenizer").get("local") == Some(&Value::Bool(true)) {
        sizes["local"] = true.into();
    }
    Ok(sizes)
}

fn shortcut(
    config: &mut Map<String, Value>,
    shapes: &Shapes,
    options: &ConvertOptions,
) -> Result<(), WeightError> {
    // Without a bottleneck there are no projections.
    let [inner, width] = if shapes.has("proj_in.weight") {
        shapes.get("proj_in.weight")?
    } else {
        let [_, inner] = shapes.get("blocks.0.self_attn.q_proj.weight")?;
        [inner; 2]
    };
    let base = object(config, "transformer");
    if let Some(expected) = number(&base, "d_model").filter(|&expected| expected != width) {
        return Err(WeightError::convert(format!(
            "the shortcut {} is for a base model of width {width}, and this one has {expected}\n  they are of different models",
            shapes.file
        )));
    }
    if inner == 0 || inner > width {
        let problem = format!("it projects {width} to {inner}, which does not narrow it");
        return Err(WeightError::tensor(&shapes.file, "proj_in.weight", problem));
    }
    let heads = number(&base, "heads");
    if let (Some(asked), Some(heads)) = (options.shortcut_heads, heads)
        && asked as usize != heads
    {
        let problem = format!(
            "the shortcut of a text model has as many heads as its base, {heads}; leave --shortcut-heads out"
        );
        return Err(WeightError::convert(problem));
    }
    let ratio =
        if width.is_multiple_of(inner) { json!(width / inner) } else { json!(width as f64 / inner as f64) };
    let mut sizes = object(config, "shortcut");
    sizes.insert("sc_blocks".into(), json!(blocks(shapes, "blocks.")));
    sizes.insert("ratio".into(), ratio);
    note_ablations(&mut sizes, shapes);
    config.insert("shortcut".into(), Value::Object(sizes));
    Ok(())
}

/// One more than the highest block: one that is missing between others is then missed, and not taken for the end.
fn blocks(shapes: &Shapes, before: &str) -> usize {
    let index = |name: &String| name.strip_prefix(before)?.split('.').next()?.parse::<usize>().ok();
    shapes.shapes.keys().filter_map(index).max().map_or(0, |last| last.saturating_add(1))
}

fn object(config: &Map<String, Value>, key: &str) -> Map<String, Value> {
    config.get(key).and_then(Value::as_object).cloned().unwrap_or_default()
}

fn first(config: &Map<String, Value>, keys: &[&str]) -> Option<usize> {
    keys.iter().find_map(|key| number(config, key))
}
