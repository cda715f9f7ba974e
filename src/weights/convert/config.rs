//! `config.json` from the shapes of the tensors; what shapes cannot tell is taken from the options, from the config that is
//! there already, or from the official models, in this order.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{ConvertOptions, Part, text};
use crate::weights::WeightError;

/// The shapes of one part, by tensor name.
pub(super) struct Shapes {
    pub(super) file: String,
    pub(super) shapes: BTreeMap<String, Vec<usize>>,
}

impl Shapes {
    pub(super) fn get<const N: usize>(&self, name: &str) -> Result<[usize; N], WeightError> {
        let Some(shape) = self.shapes.get(name) else {
            let (file, tensor) = (self.file.clone(), name.to_owned());
            return Err(WeightError::NoSuchTensor { file, tensor, hint: None });
        };
        <[usize; N]>::try_from(shape.as_slice()).map_err(|_| {
            let problem = format!("it has shape {shape:?}, expected {N} dimensions");
            WeightError::tensor(&self.file, name, problem)
        })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.shapes.contains_key(name)
    }

    /// How many of `{before}0{after}`, `{before}1{after}`… there are.
    pub(super) fn count(&self, before: &str, after: &str) -> usize {
        (0..).take_while(|i| self.has(&format!("{before}{i}{after}"))).count()
    }
}

/// The official models' image grids and how they are sampled: spec 1c.
struct Sampling {
    steps: u32,
    guidance: f64,
    choice_temperature: f64,
}

const SAMPLING_256: Sampling = Sampling { steps: 8, guidance: 3.0, choice_temperature: 4.5 };
const SAMPLING_512: Sampling = Sampling { steps: 15, guidance: 2.8, choice_temperature: 7.0 };
/// Where a config says that pictures are made in one step.
pub(super) const ONE_STEP: &str = "one_step";
/// Tokens on a side from which the official settings for 512 px are meant.
const GRID_512: usize = 32;
/// The official tokenizer: trained at 256 px with attention where the features are 16 px wide, which is its last level.
const OFFICIAL_VQGAN: (usize, usize, usize) = (128, 5, 256);
/// All the official base models, of hidden 768 and 1024, have 16 heads; smaller ones are taken to have heads of 32.
const OFFICIAL_HEADS: usize = 16;
const OFFICIAL_HIDDEN: usize = 768;
const SMALL_HEAD: usize = 32;

/// Writes what `parts` tell over `config`, which is the config that was there or an empty object. Notes say what was guessed.
pub(super) fn update(
    config: &mut Map<String, Value>,
    parts: &BTreeMap<Part, Shapes>,
    options: &ConvertOptions,
    notes: &mut Vec<String>,
) -> Result<(), WeightError> {
    if let Some(shapes) = parts.get(&Part::Maskgit) {
        // Of either kind of tokenizer: where its levels are, and the table of its codes under one name.
        let tokenizer =
            (parts.get(&Part::Vqgan).map(|shapes| (shapes, "decoder.up.", ".block.0.norm1.weight")))
                .or_else(|| Some((parts.get(&Part::Vq)?, "encoder.down_blocks.", ".resnets.0.conv1.weight")));
        maskgit(config, shapes, tokenizer, options, notes)?;
    }
    if let Some(shapes) = parts.get(&Part::Vqgan) {
        tokenizer(config, shapes, notes)?;
    } else if let Some(shapes) = parts.get(&Part::Vq) {
        let mut sizes = text::tokenizer(config, shapes, None, notes)?;
        sizes["kind"] = json!("amused");
        config.insert("tokenizer".into(), sizes);
    }
    if let Some(shapes) = parts.get(&Part::Shortcut) {
        if config.contains_key(ONE_STEP) {
            let problem = format!(
                "{} is a shortcut, and the model makes its pictures in one step\n  convert each into a folder of its own",
                shapes.file
            );
            return Err(WeightError::convert(problem));
        }
        shortcut(config, shapes, options, notes)?;
    }
    if let Some(labels) = &options.labels {
        config.insert("labels".into(), json!(labels));
    }
    check_labels(config, notes);
    Ok(())
}

fn maskgit(
    config: &mut Map<String, Value>,
    shapes: &Shapes,
    tokenizer: Option<(&Shapes, &str, &str)>,
    options: &ConvertOptions,
    notes: &mut Vec<String>,
) -> Result<(), WeightError> {
    let [vocabulary, hidden] = shapes.get("tok_emb.weight")?;
    let [_, tokens, _] = shapes.get("pos_emb")?;
    let [mlp, _] = shapes.get("transformer.layers.0.1.fn.net.0.weight")?;
    let depth = shapes.count("transformer.layers.", ".0.norm.weight");
    // One position is the class's.
    let grid = tokens.saturating_sub(1).isqrt();
    if grid == 0 || grid * grid + 1 != tokens {
        let problem =
            format!("it has {tokens} positions, expected a square of image tokens and one for the class");
        return Err(WeightError::tensor(&shapes.file, "pos_emb", problem));
    }
    let codebook = match tokenizer {
        Some((shapes, ..)) => shapes.get::<2>("quantize.embedding.weight")?[0],
        None => number(config, "codebook").unwrap_or(1024),
    };
    // Codes, the mask token, the classes, and the class that stands for none.
    let Some(classes) = vocabulary.checked_sub(codebook + 2) else {
        let problem = format!(
            "it has {vocabulary} rows, too few for {codebook} codes, a mask and a class\n  \
             the tokenizer (VQGAN) tells how many codes there are: convert it together with the base model, and of one kind"
        );
        return Err(WeightError::tensor(&shapes.file, "tok_emb.weight", problem));
    };
    let heads = match (options.heads, number(config, "heads")) {
        (Some(heads), _) => heads as usize,
        (None, Some(heads)) => heads,
        (None, None) => {
            let heads = likely_heads(hidden);
            notes.push(format!(
                "weights do not tell the number of attention heads; taken to be {heads} (--heads)"
            ));
            heads
        }
    };
    check_heads(heads, hidden)?;
    let levels = tokenizer.map_or(OFFICIAL_VQGAN.1, |(shapes, before, after)| shapes.count(before, after));
    let image_size = grid << levels.saturating_sub(1).min(16);
    config.insert("architecture".into(), json!("maskgit"));
    let figures = [
        ("image_size", image_size),
        ("grid", grid),
        ("hidden", hidden),
        ("depth", depth),
        ("heads", heads),
        ("mlp", mlp),
        ("codebook", codebook),
        ("classes", classes),
    ];
    for (key, value) in figures {
        config.insert(key.into(), json!(value));
    }
    if options.one_step {
        config.insert(ONE_STEP.into(), json!({ "mask_ratio": 0.6, "noise": 0.1 }));
        config.insert("sampling".into(), json!({ "steps": 1, "guidance": 0.0, "choice_temperature": 0.0 }));
    }
    config.entry("sampling").or_insert_with(|| {
        let sampling = if grid >= GRID_512 { SAMPLING_512 } else { SAMPLING_256 };
        json!({
            "steps": sampling.steps,
            "schedule": "arccos",
            "guidance": sampling.guidance,
            "choice_temperature": sampling.choice_temperature,
            "softmax_temperature": 1.0,
            "choice_noise": "linear",
        })
    });
    Ok(())
}

fn tokenizer(
    config: &mut Map<String, Value>,
    shapes: &Shapes,
    notes: &mut Vec<String>,
) -> Result<(), WeightError> {
    let [_, embed_dim] = shapes.get("quantize.embedding.weight")?;
    let [_, z_channels, _, _] = shapes.get("decoder.conv_in.weight")?;
    let [_, ch, _, _] = shapes.get("decoder.conv_out.weight")?;
    let levels = shapes.count("decoder.up.", ".block.0.norm1.weight");
    let mut ch_mult = Vec::new();
    for level in 0..levels {
        let name = format!("decoder.up.{level}.block.0.conv1.weight");
        let [channels, ..] = shapes.get::<4>(&name)?;
        if ch == 0 || !channels.is_multiple_of(ch) {
            let problem =
                format!("it has {channels} channels, no multiple of the {ch} at the end of the decoder");
            return Err(WeightError::tensor(&shapes.file, &name, problem));
        }
        ch_mult.push(channels / ch);
    }
    // The decoder has one block more than the encoder on each level.
    let num_res_blocks = shapes.count("decoder.up.0.block.", ".norm1.weight").saturating_sub(1);
    let known = config.get("tokenizer").and_then(Value::as_object).and_then(|t| number(t, "resolution"));
    let (official_ch, official_levels, official_resolution) = OFFICIAL_VQGAN;
    let resolution = match (known, number(config, "image_size")) {
        (Some(resolution), _) => resolution,
        (None, Some(image_size)) if (ch, levels) != (official_ch, official_levels) => {
            notes.push(format!(
                "the tokenizer is taken to have been trained at {image_size} px, as the base model"
            ));
            image_size
        }
        _ => official_resolution,
    };
    let with_attention =
        (0..levels).filter(|level| shapes.has(&format!("decoder.up.{level}.attn.0.norm.weight")));
    // Coarsest first, though the official configs have one entry only.
    let attn_resolutions: Vec<_> = with_attention.rev().map(|level| resolution >> level.min(63)).collect();
    config.insert(
        "tokenizer".into(),
        json!({
            "architecture": "vqgan",
            "ch": ch,
            "ch_mult": ch_mult,
            "num_res_blocks": num_res_blocks,
            "attn_resolutions": attn_resolutions,
            "resolution": resolution,
            "z_channels": z_channels,
            "embed_dim": embed_dim,
        }),
    );
    Ok(())
}

fn shortcut(
    config: &mut Map<String, Value>,
    shapes: &Shapes,
    options: &ConvertOptions,
    notes: &mut Vec<String>,
) -> Result<(), WeightError> {
    let n_block = shapes.count("blocks.", ".cross_attn.fn.mha.in_proj_weight");
    let [_, width] = shapes.get("blocks.0.cross_attn.fn.mha.in_proj_weight")?;
    // Without a bottleneck there are no projections.
    let hidden = if shapes.has("proj_in.weight") { shapes.get::<2>("proj_in.weight")?[1] } else { width };
    if let Some(expected) = number(config, "hidden")
        && expected != hidden
    {
        let problem = format!(
            "the shortcut {} is for a base model of hidden {hidden}, and this one has {expected}\n  they are of different models",
            shapes.file
        );
        return Err(WeightError::convert(problem));
    }
    if width == 0 || !hidden.is_multiple_of(width) {
        let problem = format!("it projects {hidden} to {width}, which is no whole ratio");
        return Err(WeightError::tensor(&shapes.file, "proj_in.weight", problem));
    }
    let before = config.get("shortcut").and_then(Value::as_object).cloned().unwrap_or_default();
    let heads = match (options.shortcut_heads, number(&before, "heads"), number(config, "heads")) {
        (Some(heads), _, _) => heads as usize,
        (None, Some(heads), _) => heads,
        (None, None, base) => {
            let heads = base.unwrap_or_else(|| likely_heads(hidden));
            notes.push(format!("weights do not tell the shortcut's attention heads; taken to be {heads}, as the base model's (--shortcut-heads)"));
            heads
        }
    };
    check_heads(heads, width)?;
    let mut after = before;
    for (key, value) in [("n_block", n_block), ("bottleneck_ratio", hidden / width), ("heads", heads)] {
        after.insert(key.into(), json!(value));
    }
    note_ablations(&mut after, shapes);
    config.insert("shortcut".into(), Value::Object(after));
    Ok(())
}

/// A shortcut that was trained without the mask ratio has no tensors for it. That it was trained without cross-attention no
/// tensor tells: `"cross_attention": false` is written by hand, and stays.
pub(super) fn note_ablations(shortcut: &mut Map<String, Value>, shapes: &Shapes) {
    shortcut.remove("embed_t");
    if !shapes.has("time_embedder.mlp.0.weight") {
        shortcut.insert("embed_t".into(), json!(false));
    }
}

fn likely_heads(hidden: usize) -> usize {
    if hidden >= OFFICIAL_HIDDEN { OFFICIAL_HEADS } else { (hidden / SMALL_HEAD).max(1) }
}

pub(super) fn check_heads(heads: usize, width: usize) -> Result<(), WeightError> {
    if heads == 0 || !width.is_multiple_of(heads) {
        let problem =
            format!("{heads} attention heads do not divide a width of {width}; say how many there are");
        return Err(WeightError::convert(problem));
    }
    Ok(())
}

/// Labels of another model would name the wrong pictures.
fn check_labels(config: &mut Map<String, Value>, notes: &mut Vec<String>) {
    let (Some(labels), Some(classes)) =
        (config.get("labels").and_then(Value::as_array).map(Vec::len), number(config, "classes"))
    else {
        return;
    };
    if labels != classes {
        config.remove("labels");
        notes.push(format!("the {labels} labels were left out: the model has {classes} classes"));
    }
}

pub(super) fn number(config: &Map<String, Value>, key: &str) -> Option<usize> {
    config.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shapes(file: &str, of: Vec<(String, Vec<usize>)>) -> Shapes {
        Shapes { file: file.into(), shapes: of.into_iter().collect() }
    }

    fn base(hidden: usize, depth: usize, grid: usize, vocabulary: usize) -> Shapes {
        let tokens = grid * grid + 1;
        let mut of = vec![
            ("tok_emb.weight".into(), vec![vocabulary, hidden]),
            ("pos_emb".into(), vec![1, tokens, hidden]),
            ("bias".into(), vec![tokens, vocabulary]),
        ];
        for i in 0..depth {
            of.push((format!("transformer.layers.{i}.0.norm.weight"), vec![hidden]));
            of.push((format!("transformer.layers.{i}.1.fn.net.0.weight"), vec![4 * hidden, hidden]));
        }
        shapes("base.pth", of)
    }

    fn vqgan(ch: usize, ch_mult: &[usize], blocks: usize, z_channels: usize, codes: [usize; 2]) -> Shapes {
        let last = ch * ch_mult[ch_mult.len() - 1];
        let mut of = vec![
            ("quantize.embedding.weight".into(), codes.to_vec()),
            ("decoder.conv_in.weight".into(), vec![last, z_channels, 3, 3]),
            ("decoder.conv_out.weight".into(), vec![3, ch, 3, 3]),
            (format!("decoder.up.{}.attn.0.norm.weight", ch_mult.len() - 1), vec![last]),
        ];
        for (level, mult) in ch_mult.iter().enumerate() {
            for block in 0..=blocks {
                of.push((format!("decoder.up.{level}.block.{block}.norm1.weight"), vec![ch]));
                of.push((
                    format!("decoder.up.{level}.block.{block}.conv1.weight"),
                    vec![ch * mult, ch, 3, 3],
                ));
            }
        }
        shapes("last.ckpt", of)
    }

    fn small(hidden: usize, ratio: usize, blocks: usize) -> Shapes {
        let width = hidden / ratio;
        let mut of = vec![
            ("proj_in.weight".into(), vec![width, hidden]),
            ("time_embedder.mlp.0.weight".into(), vec![314, 256]),
        ];
        for i in 0..blocks {
            of.push((format!("blocks.{i}.cross_attn.fn.mha.in_proj_weight"), vec![3 * width, width]));
        }
        shapes("shortcut.pth", of)
    }

    fn config(
        parts: Vec<(Part, Shapes)>,
        options: &ConvertOptions,
    ) -> Result<(Value, Vec<String>), WeightError> {
        let (mut config, mut notes) = (Map::new(), Vec::new());
        update(&mut config, &parts.into_iter().collect(), options, &mut notes)?;
        Ok((Value::Object(config), notes))
    }

    #[test]
    fn a_shortcut_without_the_mask_ratio_is_known_by_its_tensors() {
        let mut ablated = small(768, 1, 1);
        ablated.shapes.retain(|name, _| !name.starts_with("time_embedder") && !name.starts_with("proj"));
        let with = |shortcut| {
            let parts = vec![(Part::Maskgit, base(768, 24, 32, 2026)), (Part::Shortcut, shortcut)];
            config(parts, &ConvertOptions::default())
        };
        let (config, _) = with(ablated).unwrap();
        let sizes = json!({ "n_block": 1, "bottleneck_ratio": 1, "heads": 16, "embed_t": false });
        assert_eq!(config["shortcut"], sizes);
        let (config, _) = with(small(768, 2, 1)).unwrap();
        assert_eq!(config["shortcut"].get("embed_t"), None);
    }

    #[test]
    fn the_official_512_px_model_gets_its_published_config() {
        let official = vqgan(128, &[1, 1, 2, 2, 4], 2, 256, [1024, 256]);
        let parts = vec![
            (Part::Maskgit, base(768, 24, 32, 2026)),
            (Part::Vqgan, official),
            (Part::Shortcut, small(768, 2, 1)),
        ];
        let (config, _) = config(parts, &ConvertOptions::default()).unwrap();
        let expected = json!({
            "architecture": "maskgit", "image_size": 512, "grid": 32, "hidden": 768, "depth": 24, "heads": 16,
            "mlp": 3072, "codebook": 1024, "classes": 1000,
            "tokenizer": {
                "architecture": "vqgan", "ch": 128, "ch_mult": [1, 1, 2, 2, 4], "num_res_blocks": 2,
                "attn_resolutions": [16], "resolution": 256, "z_channels": 256, "embed_dim": 256,
            },
            "shortcut": { "n_block": 1, "bottleneck_ratio": 2, "heads": 16 },
            "sampling": {
                "steps": 15, "schedule": "arccos", "guidance": 2.8, "choice_temperature": 7.0,
                "softmax_temperature": 1.0, "choice_noise": "linear",
            },
        });
        assert_eq!(config, expected);
    }

    #[test]
    fn the_official_256_px_base_alone_is_sampled_in_eight_steps() {
        let parts = vec![(Part::Maskgit, base(768, 24, 16, 2026))];
        let (config, _) = config(parts, &ConvertOptions::default()).unwrap();
        assert_eq!((&config["image_size"], &config["classes"]), (&json!(256), &json!(1000)));
        assert_eq!(config["sampling"]["steps"], 8);
        assert_eq!(config["sampling"]["choice_temperature"], 4.5);
    }

    #[test]
    fn a_generator_of_one_step_is_said_to_be_one() {
        let options = ConvertOptions { one_step: true, ..ConvertOptions::default() };
        let (found, _) = config(vec![(Part::Maskgit, base(768, 24, 16, 2026))], &options).unwrap();
        // With the tokenizer, what is published.
        let mut wanted = json!(crate::generate::published::config("dimo-256").unwrap());
        for (key, value) in found.as_object().unwrap().iter().filter(|(key, _)| *key != "sampling") {
            assert_eq!(wanted[key], *value, "{key}");
        }
        let given = &found["sampling"];
        let official = crate::generate::sampling::Sampling::MASKGIT_512;
        let read = crate::generate::sampling::Sampling::over(&official, given).unwrap();
        wanted["sampling"] = json!(read);
        assert_eq!((read.steps, read.guided()), (1, false));
        assert_eq!(
            wanted["sampling"],
            json!(crate::generate::published::config("dimo-256").unwrap())["sampling"]
        );
        let parts = vec![(Part::Maskgit, base(768, 24, 16, 2026)), (Part::Shortcut, small(768, 2, 1))];
        let error = config(parts, &options).unwrap_err().to_string();
        assert!(error.contains("shortcut.pth is a shortcut") && error.contains("one step"), "{error}");
    }

    #[test]
    fn a_small_model_gets_the_config_it_was_trained_with() {
        let options = ConvertOptions { labels: Some(vec!["x".into(); 24]), ..ConvertOptions::default() };
        let parts = vec![
            (Part::Maskgit, base(256, 8, 8, 538)),
            (Part::Vqgan, vqgan(32, &[1, 2, 2, 4], 1, 64, [512, 16])),
            (Part::Shortcut, small(256, 2, 2)),
        ];
        let (config, notes) = config(parts, &options).unwrap();
        assert_eq!((&config["image_size"], &config["heads"]), (&json!(64), &json!(8)));
        assert_eq!((&config["codebook"], &config["classes"]), (&json!(512), &json!(24)));
        assert_eq!(config["tokenizer"]["attn_resolutions"], json!([8]));
        assert_eq!(config["tokenizer"]["resolution"], 64);
        assert_eq!(config["shortcut"], json!({ "n_block": 2, "bottleneck_ratio": 2, "heads": 8 }));
        assert_eq!(config["labels"].as_array().map(Vec::len), Some(24));
        assert!(notes.iter().any(|note| note.contains("--heads")), "{notes:?}");
    }

    #[test]
    fn parts_that_do_not_belong_together_are_refused() {
        let message = |parts, options: &ConvertOptions| config(parts, options).unwrap_err().to_string();
        let options = ConvertOptions::default();
        let parts = vec![(Part::Maskgit, base(256, 2, 8, 2026)), (Part::Shortcut, small(768, 2, 1))];
        assert!(message(parts, &options).contains("is for a base model of hidden 768, and this one has 256"));
        let parts =
            vec![(Part::Maskgit, base(256, 2, 8, 538)), (Part::Vqgan, vqgan(32, &[1], 1, 64, [1024, 16]))];
        assert!(message(parts, &options).contains("too few for 1024 codes"));
        let options = ConvertOptions { heads: Some(7), ..options };
        let parts = vec![(Part::Maskgit, base(256, 2, 8, 2026))];
        assert!(message(parts, &options).contains("7 attention heads do not divide a width of 256"));
    }
}
