//! What well-formed files hold is what is read from them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;

use half::{bf16, f16};
use migm::weights::{
    Checkpoint, Dtype, ModelFolder, TensorSpec, WeightError, account, encode_safetensors, stream_safetensors,
    write_safetensors,
};
use serde_json::Value;

use crate::support::{fixture, peak_bytes, refused};

fn expected() -> BTreeMap<String, BTreeMap<String, Value>> {
    serde_json::from_str(&fs::read_to_string(fixture("expected.json")).unwrap()).unwrap()
}

/// The values as PyTorch gave them, in f64.
fn values(checkpoint: &Checkpoint, name: &str) -> Vec<f64> {
    match checkpoint.tensor(name).unwrap().dtype {
        Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64 => checkpoint.read_f64(name).unwrap(),
        _ => checkpoint.read_i32(name).unwrap().into_iter().map(f64::from).collect(),
    }
}

#[test]
fn what_pytorch_wrote_is_read_as_pytorch_read_it() {
    let files = expected();
    assert!(files.len() >= 9);
    for (file, tensors) in files {
        let on_disk = Checkpoint::open(&fixture(&file)).unwrap();
        let in_memory = Checkpoint::from_bytes(&file, fs::read(fixture(&file)).unwrap().into()).unwrap();
        for checkpoint in [&on_disk, &in_memory] {
            let names: Vec<_> = checkpoint.tensors().map(|t| t.name.as_str()).collect();
            assert_eq!(names, tensors.keys().map(String::as_str).collect::<Vec<_>>(), "{file}");
            for (name, tensor) in &tensors {
                let info = checkpoint.tensor(name).unwrap();
                assert_eq!(info.dtype.to_string(), tensor["dtype"].as_str().unwrap(), "{file} {name}");
                assert_eq!(serde_json::json!(info.shape), tensor["shape"], "{file} {name}");
                let wanted: Vec<f64> = serde_json::from_value(tensor["values"].clone()).unwrap();
                let found = values(checkpoint, name);
                // JSON's last digit; neighbouring floats are much further apart.
                let same = found.iter().zip(&wanted).all(|(a, b)| (a - b).abs() <= 1e-15);
                assert!(found.len() == wanted.len() && same, "{file} {name}: {found:?}, expected {wanted:?}");
                assert_eq!(checkpoint.read_bytes(name).unwrap().len() as u64, info.bytes, "{file} {name}");
            }
        }
    }
}

#[test]
fn strided_views_are_contiguous_as_bytes_too() {
    let views = Checkpoint::open(&fixture("views.pth")).unwrap();
    for tensor in views.tensors() {
        let floats = views.read_f32(&tensor.name).unwrap();
        assert_eq!(
            views.read_bytes(&tensor.name).unwrap(),
            bytemuck::cast_slice::<_, u8>(&floats),
            "{}",
            tensor.name
        );
    }
}

/// Any rows of any float tensor, strided views included, are those of the whole; and no more of the file is held for them.
#[test]
fn rows_are_read_alone() {
    for (file, tensors) in expected() {
        let checkpoint = Checkpoint::open(&fixture(&file)).unwrap();
        for name in tensors.keys() {
            let Ok(whole) = checkpoint.read_f32(name) else { continue };
            let shape = checkpoint.tensor(name).unwrap().shape.clone();
            let Some(&rows) = shape.first() else { continue };
            let row = shape.iter().skip(1).product::<usize>();
            for (start, end) in
                [(0, rows), (0, rows.min(1)), (rows / 2, rows), (rows / 3, rows / 2), (rows, rows)]
            {
                let found = checkpoint.read_f32_rows(name, start..end).unwrap();
                assert_eq!(found, whole[start * row..end * row], "{file} {name} rows {start} to {end}");
            }
            let error = checkpoint.read_f32_rows(name, 0..rows + 1).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(&format!("it has {rows}")), "{error}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.safetensors");
    let data: Vec<f32> = (0..1 << 20).map(|i| i as f32).collect();
    let spec = TensorSpec::new("table", Dtype::F32, [1 << 12, 1 << 8]);
    write_safetensors(&path, &[(spec, bytemuck::cast_slice(&data))], &BTreeMap::new()).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    let (rows, peak) = peak_bytes(|| checkpoint.read_f32_rows("table", 4000..4003).unwrap());
    assert_eq!(rows, data[4000 << 8..4003 << 8]);
    assert!(peak < 4 * 3 * 1024, "{peak} bytes for three rows of 1 KiB");
}

#[test]
fn an_old_checkpoint_and_a_pickled_module_are_refused_with_the_way_on() {
    let read = |name: &str| fs::read(fixture(name)).unwrap();
    refused("legacy.pth", &read("legacy.pth"), &["pre-1.6", "torch.save(torch.load(\"legacy.pth\""]);
    let parts = ["`torch.nn.modules.linear.Linear`", "model.state_dict()"];
    refused("whole_module.pth", &read("whole_module.pth"), &parts);
}

#[test]
fn files_that_are_something_else_are_said_to_be() {
    refused("a.safetensors", b"version https://git-lfs.github.com/spec/v1\n", &["git lfs pull"]);
    refused("a.pth", b"\n<!DOCTYPE html><title>404", &["web page"]);
    refused("a.pth", b"", &["empty"]);
    refused("a.bin", b"GGUF\x03\0\0\0", &["GGUF"]);
    refused("a.bin", b"\x01\x02\x03\x04\x05\x06\x07\x08\x09", &["neither", "[01, 02, 03"]);
    let nowhere = Checkpoint::open(&fixture("nowhere.pth")).unwrap_err().to_string();
    assert!(nowhere.contains("cannot open") && nowhere.contains("nowhere.pth"), "{nowhere}");
    let folder = Checkpoint::open(&fixture("")).unwrap_err().to_string();
    assert!(folder.contains("it is a folder"), "{folder}");
}

#[test]
fn a_checkpoint_can_go_to_another_thread() {
    fn is_send<T: Send + Sync>() {}
    is_send::<Checkpoint>();
    is_send::<WeightError>();
}

fn samples() -> Vec<(TensorSpec, Vec<u8>)> {
    let floats = [0.5f32, -1.25, 65504.0, 1e-3];
    let halves = floats.map(f16::from_f32);
    let brains = floats.map(bf16::from_f32);
    vec![
        (TensorSpec::new("u8", Dtype::U8, [3]), vec![1, 2, 255]),
        (TensorSpec::new("f32", Dtype::F32, [2, 2]), bytemuck::cast_slice(&floats).to_vec()),
        (TensorSpec::new("f16", Dtype::F16, [4]), bytemuck::cast_slice(&halves).to_vec()),
        (TensorSpec::new("bf16", Dtype::BF16, [1, 4]), bytemuck::cast_slice(&brains).to_vec()),
        (TensorSpec::new("f64", Dtype::F64, []), 2.5f64.to_le_bytes().to_vec()),
        (TensorSpec::new("i64", Dtype::I64, [2]), bytemuck::cast_slice(&[-7i64, 1 << 30]).to_vec()),
        (TensorSpec::new("empty", Dtype::F32, [0, 7]), Vec::new()),
    ]
}

fn borrowed(tensors: &[(TensorSpec, Vec<u8>)]) -> Vec<(TensorSpec, &[u8])> {
    tensors.iter().map(|(spec, data)| (spec.clone(), data.as_slice())).collect()
}

#[test]
fn what_is_written_is_read_back_here_and_by_the_format_s_own_crate() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sample.safetensors");
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let tensors = samples();
    write_safetensors(&path, &borrowed(&tensors), &metadata).unwrap();
    let bytes = fs::read(&path).unwrap();
    assert_eq!(bytes, encode_safetensors(&borrowed(&tensors), &metadata).unwrap());
    assert_eq!(u64::from_le_bytes(bytes[..8].try_into().unwrap()) % 8, 0, "the data is not aligned");

    let theirs = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let ours = Checkpoint::open(&path).unwrap();
    assert_eq!(ours.metadata(), &metadata);
    assert_eq!(ours.tensors().len(), tensors.len());
    for (spec, data) in &tensors {
        let view = theirs.tensor(&spec.name).unwrap();
        assert_eq!((view.dtype(), view.shape(), view.data()), (spec.dtype, &spec.shape[..], &data[..]));
        let offset = view.data().as_ptr() as usize - bytes.as_ptr() as usize;
        assert_eq!(offset % (spec.dtype.bitsize() / 8), 0, "{} is not aligned", spec.name);
        assert_eq!(ours.read_bytes(&spec.name).unwrap(), &data[..]);
    }
    assert_eq!(ours.read_f32("f32").unwrap(), [0.5, -1.25, 65504.0, 1e-3]);
    assert_eq!(ours.read_f16("f32").unwrap(), ours.read_f16("f16").unwrap());
    assert_eq!(ours.read_f32("bf16").unwrap()[..2], [0.5, -1.25]);
    assert_eq!(ours.read_f64("f64").unwrap(), [2.5]);
    assert_eq!(ours.read_i32("i64").unwrap(), [-7, 1 << 30]);
    assert_eq!(ours.read_u8("u8").unwrap(), [1, 2, 255]);
    assert!(ours.read_f32("empty").unwrap().is_empty());
}

#[test]
fn a_write_that_fails_leaves_nothing_and_keeps_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    fs::write(&path, b"the old one").unwrap();
    let specs = [TensorSpec::new("a", Dtype::U8, [1]), TensorSpec::new("b", Dtype::U8, [1])];
    let write = |second: &[u8]| {
        let second = second.to_vec();
        stream_safetensors(&path, &specs, &BTreeMap::new(), &mut |i| {
            Ok(Cow::Owned(if i == 0 { vec![1] } else { second.clone() }))
        })
    };
    let message = write(&[1, 2]).unwrap_err().to_string();
    assert!(
        message.contains("tensor `b` in model.safetensors") && message.contains("takes 1 bytes"),
        "{message}"
    );
    assert_eq!(fs::read(&path).unwrap(), b"the old one");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "a temporary file was left");
    write(&[2]).unwrap();
    assert_eq!(Checkpoint::open(&path).unwrap().read_u8("b").unwrap(), [2]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "a temporary file was left");

    let twice = [specs[0].clone(), specs[0].clone()];
    assert!(stream_safetensors(&path, &twice, &BTreeMap::new(), &mut |_| Ok(Cow::Owned(vec![1]))).is_err());
    assert!(
        stream_safetensors(&folder.path().join("no/where"), &specs, &BTreeMap::new(), &mut |_| Ok(
            Cow::Owned(vec![1])
        ))
        .is_err()
    );
}

#[test]
fn conversions_that_would_lose_a_value_are_errors_that_name_it() {
    let data: Vec<u8> = [1.0f32, 70000.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let longs: Vec<u8> = [3i64, 1 << 31].iter().flat_map(|v| v.to_le_bytes()).collect();
    let tensors = [
        (TensorSpec::new("w", Dtype::F32, [2]), &data[..]),
        (TensorSpec::new("n", Dtype::I64, [2]), &longs[..]),
    ];
    let bytes = encode_safetensors(&tensors, &BTreeMap::new()).unwrap();
    let checkpoint = Checkpoint::from_bytes("m.safetensors", bytes.into()).unwrap();
    let message = checkpoint.read_f16("w").unwrap_err().to_string();
    assert_eq!(message, "tensor `w` in m.safetensors holds 70000 at flat index 1, which does not fit f16");
    let message = checkpoint.read_i32("n").unwrap_err().to_string();
    assert_eq!(
        message,
        "tensor `n` in m.safetensors holds 2147483648 at flat index 1, which does not fit i32"
    );
    let message = checkpoint.read_f32("n").unwrap_err().to_string();
    assert_eq!(message, "tensor `n` in m.safetensors has element type I64, expected F32, F16, BF16 or F64");
    let message = checkpoint.read_f32("ww").unwrap_err().to_string();
    assert_eq!(message, "m.safetensors has no tensor `ww`\n  the nearest name in it is `w`");
}

fn checkpoint_of(shapes: &[(&str, &[usize])]) -> Checkpoint {
    let data = vec![0; 4096];
    let tensors: Vec<_> = shapes
        .iter()
        .map(|(name, shape)| (TensorSpec::new(*name, Dtype::U8, *shape), &data[..shape.iter().product()]))
        .collect();
    let bytes = encode_safetensors(&tensors, &BTreeMap::new()).unwrap();
    Checkpoint::from_bytes("maskgit.safetensors", bytes.into()).unwrap()
}

fn shapes(of: &[(&str, &[usize])]) -> Vec<(String, Vec<usize>)> {
    of.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec())).collect()
}

#[test]
fn accounting_passes_exactly_what_is_expected() {
    let checkpoint = checkpoint_of(&[("a", &[2, 3]), ("b", &[4]), ("loss.x", &[1])]);
    let expected = shapes(&[("b", &[4]), ("a", &[2, 3])]);
    account(&checkpoint, &expected, &|name| name.starts_with("loss.")).unwrap();
    let message = account(&checkpoint, &expected, &|_| false).unwrap_err().to_string();
    assert!(message.contains("1 surplus tensor\n  `loss.x` [1] is surplus"), "{message}");
}

#[test]
fn one_misshapen_tensor_makes_one_line() {
    let name = "transformer.layers.3.1.fn.net.0.weight";
    let checkpoint = checkpoint_of(&[(name, &[8, 4])]);
    let message = account(&checkpoint, &shapes(&[(name, &[8, 6])]), &|_| false).unwrap_err().to_string();
    assert_eq!(message, format!("tensor `{name}` in maskgit.safetensors has shape [8, 4], expected [8, 6]"));
}

#[test]
fn all_that_is_wrong_is_in_one_error_with_the_likely_counterparts() {
    let found: [(&str, &[usize]); 4] =
        [("tok_embed.weight", &[4, 2]), ("bias", &[3]), ("x.1", &[1]), ("pos_emb", &[1])];
    let mut expected = shapes(&[("tok_emb.weight", &[4, 2]), ("bias", &[5]), ("pos_emb", &[1])]);
    expected.extend((0..9).map(|i| (format!("layers.{i}.norm.weight"), vec![7])));
    let error = account(&checkpoint_of(&found), &expected, &|_| false).unwrap_err();
    let message = error.to_string();
    let lines: Vec<_> = message.lines().collect();
    assert_eq!(
        lines[0],
        "maskgit.safetensors does not fit the model: 10 missing tensors, 2 surplus tensors, 1 misshapen tensor"
    );
    assert_eq!(lines[1], "  `bias` has shape [3], expected [5]");
    assert_eq!(lines[2], "  `tok_emb.weight` [4, 2] is missing; is it the file's `tok_embed.weight` [4, 2]?");
    assert_eq!(lines[6], "  … and 6 more missing");
    let WeightError::Mismatch(mismatch) = error else { panic!("{message}") };
    assert_eq!((mismatch.missing.len(), mismatch.surplus.len(), mismatch.misshapen.len()), (10, 2, 1));
}

#[test]
fn a_model_folder_opens_from_disk_and_from_memory() {
    let bytes: &'static [u8] = encode_safetensors(&borrowed(&samples()), &BTreeMap::new()).unwrap().leak();
    let config: &'static [u8] = br#"{"hidden": 256}"#;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), config).unwrap();
    fs::write(folder.path().join("maskgit.safetensors"), bytes).unwrap();
    let on_disk = ModelFolder::open(folder.path()).unwrap();
    let files = [("config.json", config), ("maskgit.safetensors", bytes)];
    let files = files.map(|(name, bytes)| (name.to_owned(), bytes.into())).to_vec();
    let bundled = ModelFolder::from_files("tiny", files).unwrap();
    for model in [&on_disk, &bundled] {
        assert_eq!(model.config()["hidden"], 256);
        assert_eq!(model.checkpoint("maskgit").unwrap().unwrap().name(), "maskgit.safetensors");
        assert!(model.checkpoint("shortcut").unwrap().is_none());
    }
    assert_eq!((bundled.name(), bundled.path()), ("tiny", None));
    assert_eq!(on_disk.path(), Some(folder.path()));
}

#[test]
fn a_folder_that_is_no_model_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let message = |path: &std::path::Path| ModelFolder::open(path).unwrap_err().to_string();
    assert!(
        message(folder.path()).contains("has no config.json")
            && message(folder.path()).contains("migm convert")
    );
    assert!(message(&folder.path().join("nowhere")).contains("there is nothing there"));
    let config = folder.path().join("config.json");
    fs::write(&config, "{\n \"hidden\": 256,\n \"depth\" 8\n}").unwrap();
    assert!(message(&config).contains("it is a file"));
    assert!(
        message(folder.path()).contains("config.json is not valid")
            && message(folder.path()).contains("line 3")
    );
    fs::write(&config, "[1]").unwrap();
    assert!(message(folder.path()).contains("it is not a JSON object"));
    assert!(
        ModelFolder::from_files("x", Vec::new()).unwrap_err().to_string().contains("x has no config.json")
    );
}
