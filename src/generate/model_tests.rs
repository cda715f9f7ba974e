//! Folders and configurations, of both families.

use super::*;
use crate::generate::fixtures::{FIXTURE, fixture, sizes};
use crate::kernels::RowRange;
use crate::models::tokenizer::{Tokenizer, amused, vqgan};
use crate::models::{self, Batch, maskgit::shortcut, parameters};
use crate::program::Program;

fn official(grid: u32, blocks: u32) -> Maskgit {
    Maskgit {
        image_size: grid * 16,
        transformer: maskgit::Config { grid, ..maskgit::Config::OFFICIAL_512 },
        labels: Vec::new(),
        tokenizer: Tokenizer::Taming(vqgan::Config::official()),
        shortcut: Some(shortcut::Config { blocks, ..shortcut::Config::OFFICIAL }),
        one_step: None,
    }
}

/// What the official checkpoints hold, from configurations alone.
#[test]
fn official_parameter_counts() {
    let count = |config: &Maskgit, part| parameters(&part_tensors(config, part).unwrap());
    assert_eq!(count(&official(32, 1), "maskgit"), 176_306_666);
    assert_eq!(count(&official(16, 1), "maskgit"), 174_160_874);
    assert_eq!(count(&official(32, 1), "vqgan"), 72_141_699);
    assert_eq!(count(&official(32, 1), "shortcut"), 5_081_914);
    assert_eq!(count(&official(32, 2), "shortcut"), 8_630_842);
    let mut wide = official(32, 1);
    wide.shortcut = Some(shortcut::Config { bottleneck_ratio: 1, ..shortcut::Config::OFFICIAL });
    assert_eq!(count(&wide, "shortcut"), 16_405_435);
}

#[test]
fn official_names_and_shapes() {
    let shape = |part, name: &str| {
        let tensors = part_tensors(&official(32, 1), part).unwrap();
        tensors.into_iter().find(|(known, _)| known == name).map(|(_, shape)| shape)
    };
    assert_eq!(shape("maskgit", "bias"), Some(vec![1025, 2026]));
    assert_eq!(shape("maskgit", "pos_emb"), Some(vec![1, 1025, 768]));
    assert_eq!(shape("maskgit", "transformer.layers.23.0.fn.mha.in_proj_weight"), Some(vec![2304, 768]));
    assert_eq!(shape("shortcut", "time_embedder.mlp.0.weight"), Some(vec![314, 256]));
    assert_eq!(shape("vqgan", "decoder.up.3.block.0.nin_shortcut.weight"), Some(vec![256, 512, 1, 1]));
    assert_eq!(shape("vqgan", "encoder.down.4.attn.1.q.weight"), Some(vec![512, 512, 1, 1]));
    assert_eq!(shape("vqgan", "encoder.down.4.downsample.conv.weight"), None);
}

/// Programs know matrices by their layout, `migm convert` by their names: both must mean the same ones.
#[test]
fn what_is_stored_quantised_is_what_programs_quantise() {
    use crate::weights::{ConvertOptions, Part, convert};
    let folder = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(FIXTURE);
    for quantize in [Quantization::Int8, Quantization::Int4 { group: 64 }, Quantization::Int4 { group: 32 }] {
        let options = ConvertOptions { quantize: Some(quantize), ..ConvertOptions::default() };
        convert(std::slice::from_ref(&source), folder.path(), &options, &mut |_| {}).unwrap();
        let model = Model::open(folder.path()).unwrap();
        assert_eq!(model.formats(), fixture().formats().quantized(Some(quantize)));
        let (mut stored, mut plain) = (model.weights().unwrap(), fixture().weights().unwrap());
        let (family, batch) = (sizes(&model), Batch::of_classes(1, false));
        let t = &family.transformer;
        let build = |body: &dyn Fn(&mut crate::program::Builder)| {
            models::build("test", model.formats(), body).unwrap()
        };
        let programs = [
            build(&|b| t.features(b, batch)),
            build(&|b| _ = t.logits(b, batch, RowRange::all(t.tokens()))),
            build(&|b| family.shortcut.unwrap().predict(b, t, batch)),
            build(&|b| family.tokenizer.decode(b, t.codebook, 1, t.grid, t.grid)),
        ];
        let mut quantised = 0;
        for spec in programs.iter().flat_map(Program::weights) {
            match spec.format.quantization() {
                Some(scheme) => {
                    quantised += 1;
                    let found = stored.load_quantized(spec, scheme).unwrap().expect(&spec.name);
                    // Without expanding, and the same as if quantised while loading.
                    assert_eq!(found, spec.load_quantized(scheme, &mut *plain).unwrap(), "{}", spec.name);
                    assert_eq!(found.words().len() as u64 * 4, spec.bytes(), "{}", spec.name);
                    let wide = found.dequantize(spec.shape[1]);
                    assert_eq!(stored.load(spec).unwrap(), wide, "{}", spec.name);
                }
                None => {
                    assert_eq!(stored.load(spec).unwrap(), plain.load(spec).unwrap(), "{}", spec.name);
                }
            }
        }
        assert!(quantised > 20, "{quantised} matrices");
        // Again, and onto itself.
        let again = convert(&[folder.path().to_owned()], folder.path(), &options, &mut |_| {});
        assert!(again.unwrap_err().to_string().contains("is quantised already"), "{quantize}");
        let kept = ConvertOptions::default();
        let report = convert(&[folder.path().to_owned()], folder.path(), &kept, &mut |_| {}).unwrap();
        let maskgit = report.files.iter().find(|file| file.part == Some(Part::Maskgit)).unwrap();
        assert_eq!(maskgit.parameters, 6_706_842);
        assert_eq!(Model::open(folder.path()).unwrap().config, model.config);
    }
}

#[test]
fn a_quantised_matrix_needs_its_scales() {
    use crate::weights::{Dtype, TensorSpec, account, encode_safetensors};
    let expected = [("w".to_owned(), vec![2, 33])];
    let check = |values: (Dtype, Vec<usize>), scales: Option<(&str, Dtype, Vec<usize>)>| {
        let bytes =
            |dtype: Dtype, shape: &[usize]| vec![0_u8; shape.iter().product::<usize>() * dtype.bitsize() / 8];
        let mut tensors =
            vec![(TensorSpec::new("w", values.0, values.1.clone()), bytes(values.0, &values.1))];
        if let Some((name, dtype, shape)) = scales {
            tensors.push((TensorSpec::new(name, dtype, shape.clone()), bytes(dtype, &shape)));
        }
        let tensors: Vec<_> = tensors.iter().map(|(spec, data)| (spec.clone(), &data[..])).collect();
        let file = encode_safetensors(&tensors, &Default::default()).unwrap();
        let checkpoint = Checkpoint::from_bytes("test.safetensors", file.into()).unwrap();
        let accounted = account(&checkpoint, &expected, &|_| false);
        let read = checkpoint.read_shaped("w", &[2, 33]);
        accounted.and(read.map(drop)).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let scales = |dtype, shape: &[usize]| Some(("w.scale", dtype, shape.to_vec()));
    let (eight, four) = ((Dtype::I8, vec![2, 33]), (Dtype::U8, vec![2, 32]));
    assert_eq!(check(eight.clone(), scales(Dtype::F32, &[2])), "");
    assert_eq!(check(four.clone(), scales(Dtype::BF16, &[2, 1])), "");
    assert_eq!(check(four.clone(), scales(Dtype::BF16, &[2, 2])), "");
    for (values, scales, wanted) in [
        (eight.clone(), scales(Dtype::F32, &[2, 1]), "expected [2]"),
        (eight.clone(), scales(Dtype::F16, &[2]), "expected F32"),
        ((Dtype::I8, vec![2, 36]), scales(Dtype::F32, &[2]), "expected [2, 33]"),
        (four.clone(), scales(Dtype::F32, &[2, 1]), "expected BF16"),
        (four, scales(Dtype::BF16, &[2, 3]), "expected [2, 1]"),
        ((Dtype::U8, vec![2, 33]), scales(Dtype::BF16, &[2, 1]), "expected [2, 32]"),
    ] {
        let message = check(values, scales);
        assert!(message.contains(wanted), "{message:?} does not say {wanted:?}");
    }
    let message = check(eight, None);
    assert!(message.contains("has element type I8"), "{message}");
    let message = check((Dtype::F32, vec![2, 33]), scales(Dtype::F32, &[2]));
    assert!(message.contains("surplus"), "{message}");
}

#[test]
fn contradictions_in_a_configuration_are_named() {
    let refuse = |change: fn(&mut Maskgit)| {
        let mut config = official(32, 1);
        change(&mut config);
        let sampling = Sampling::MASKGIT_512;
        let value = serde_json::json!(Config { family: Known::Maskgit(config), sampling });
        Config::parse("test", &value).unwrap_err().to_string()
    };
    assert!(refuse(|c| c.transformer.heads = 7).contains("`hidden` 768 is not a multiple of `heads` 7"));
    assert!(refuse(|c| c.image_size = 500).contains("makes 512"));
    assert!(refuse(|c| c.labels = vec!["a".to_owned()]).contains("1 labels for 1000 classes"));
    assert!(refuse(|c| c.transformer.depth = 0).contains("`depth` is 0"));
    fn taming(change: fn(&mut vqgan::Config)) -> Tokenizer {
        let mut config = vqgan::Config::official();
        change(&mut config);
        Tokenizer::Taming(config)
    }
    fn amused(channels: &[u32], groups: u32) -> Tokenizer {
        let channels = channels.to_vec();
        Tokenizer::Amused(amused::Config { channels, groups, ..amused::Config::official() })
    }
    assert!(refuse(|c| c.tokenizer = taming(|v| v.ch = 40)).contains("32 groups"));
    assert!(refuse(|c| c.tokenizer = taming(|v| v.ch_mult.clear())).contains("ch_mult"));
    assert!(refuse(|c| c.tokenizer = amused(&[48], 32)).contains("`tokenizer.ch` 48"));
    assert!(refuse(|c| c.tokenizer = amused(&[32; 4], 32)).contains("makes 256"));
    let other = serde_json::json!({ "architecture": "diffusion", "layers": 3 });
    let error = Config::parse("test", &other).unwrap_err().to_string();
    assert!(error.contains("\"diffusion\" is not known"), "{error}");
    for (missing, field) in [
        (serde_json::json!({ "architecture": "maskgit" }), "image_size"),
        (serde_json::json!({ "grid": 3 }), "architecture"),
    ] {
        let error = Config::parse("test", &missing).unwrap_err().to_string();
        assert!(error.contains("missing field") && error.contains(field), "{error}");
    }
}

#[test]
fn classes_are_found_by_number_name_or_word() {
    let model = fixture();
    let class = |wanted: &str| sizes(&model).class(wanted);
    assert_eq!(class("2").unwrap(), 2);
    assert_eq!(class("Fox").unwrap(), 2);
    assert_eq!(class("cat").unwrap(), 0);
    assert_eq!(class("lady beetle").unwrap(), 11);
    let error = class("pengin").unwrap_err();
    assert!(error.contains("penguin"), "{error}");
    // "face" is a word of three names.
    assert!(class("face").is_err());
    assert!(class("24").unwrap_err().contains("0 to 23"));
}
