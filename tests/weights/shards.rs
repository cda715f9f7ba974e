//! Checkpoints in several files, and indices that lie.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use migm::weights::{Checkpoint, Dtype, ModelFolder, TensorSpec, WeightError, write_safetensors};
use serde_json::{Value, json};

use crate::support::peak_bytes;

const INDEX: &str = "maskgit.safetensors.index.json";
const FIRST: &str = "maskgit-00001-of-00002.safetensors";
const SECOND: &str = "maskgit-00002-of-00002.safetensors";

/// A shard of one-dimensional tensors whose elements all have one value.
fn shard(folder: &Path, name: &str, tensors: &[(&str, usize, f32)]) {
    let data: Vec<Vec<u8>> = tensors.iter().map(|&(_, n, value)| value.to_le_bytes().repeat(n)).collect();
    let specs: Vec<_> = tensors
        .iter()
        .zip(&data)
        .map(|(&(name, n, _), data)| (TensorSpec::new(name, Dtype::F32, [n]), data.as_slice()))
        .collect();
    write_safetensors(&folder.join(name), &specs, &BTreeMap::new()).unwrap();
}

fn index(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join(INDEX);
    fs::write(&path, text).unwrap();
    path
}

fn of(weight_map: &Value) -> String {
    json!({ "metadata": { "total_size": 24 }, "weight_map": weight_map }).to_string()
}

/// Two shards: `a` and `c` in the first, `b` in the second.
fn two_shards() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    shard(folder.path(), FIRST, &[("a", 3, 1.0), ("c", 1, 3.0)]);
    shard(folder.path(), SECOND, &[("b", 2, 2.0)]);
    folder
}

fn good() -> Value {
    json!({ "a": FIRST, "b": SECOND, "c": FIRST })
}

#[track_caller]
fn refused(folder: &Path, text: &str, parts: &[&str]) -> WeightError {
    let path = index(folder, text);
    let error = Checkpoint::open(&path).err().unwrap_or_else(|| panic!("{text} was read"));
    let message = error.to_string();
    for part in parts.iter().chain(&[INDEX]) {
        assert!(message.contains(part), "{message:?} does not contain {part:?}");
    }
    error
}

#[test]
fn shards_read_as_one_checkpoint() {
    let folder = two_shards();
    let checkpoint = Checkpoint::open(&index(folder.path(), &of(&good()))).unwrap();
    let names: Vec<_> = checkpoint.tensors().map(|t| (t.name.as_str(), t.shape[0])).collect();
    assert_eq!(names, [("a", 3), ("b", 2), ("c", 1)]);
    for (name, values) in [("b", vec![2.0; 2]), ("a", vec![1.0; 3]), ("c", vec![3.0]), ("b", vec![2.0; 2])] {
        assert_eq!(checkpoint.read_f32(name).unwrap(), values, "{name}");
    }
    assert_eq!(checkpoint.read_bytes("c").unwrap(), 3.0f32.to_le_bytes().as_slice());
    let on_disk = |name| fs::metadata(folder.path().join(name)).unwrap().len();
    assert_eq!(checkpoint.file_bytes(), on_disk(FIRST) + on_disk(SECOND));
    let message = checkpoint.read_f32("d").unwrap_err().to_string();
    assert!(message.starts_with(&format!("{INDEX} has no tensor `d`")), "{message}");
    let message = checkpoint.read_u8("b").unwrap_err().to_string();
    assert!(message.starts_with(&format!("tensor `b` in {SECOND} has element type F32")), "{message}");
}

#[test]
fn a_model_folder_finds_a_part_in_shards() {
    let folder = two_shards();
    index(folder.path(), &of(&good()));
    fs::write(folder.path().join("config.json"), "{}").unwrap();
    let model = ModelFolder::open(folder.path()).unwrap();
    let checkpoint = model.checkpoint("maskgit").unwrap().unwrap();
    assert_eq!((checkpoint.name(), checkpoint.tensors().len()), (INDEX, 3));
    assert!(model.checkpoint("vqgan").unwrap().is_none());
    // Hub names: the part `model`.
    fs::rename(folder.path().join(INDEX), folder.path().join("model.safetensors.index.json")).unwrap();
    assert!(model.checkpoint("maskgit").unwrap().is_none());
    assert_eq!(model.checkpoint("model").unwrap().unwrap().tensors().len(), 3);
    // One file is what a conversion writes, so it is the newer.
    shard(folder.path(), "model.safetensors", &[("whole", 1, 0.0)]);
    assert!(model.checkpoint("model").unwrap().unwrap().tensor("whole").is_some());
}

#[test]
fn one_tensor_at_a_time_is_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let n = 200_000;
    let mut map = BTreeMap::new();
    for i in 0..6 {
        let (tensor, file) = (format!("t{i}"), format!("{i}.safetensors"));
        shard(folder.path(), &file, &[(&tensor, n, i as f32)]);
        map.insert(tensor, file);
    }
    let path = index(folder.path(), &of(&json!(map)));
    let ((), peak) = peak_bytes(|| {
        let checkpoint = Checkpoint::open(&path).unwrap();
        for i in 0..6 {
            assert!(checkpoint.read_f32(&format!("t{i}")).unwrap().iter().all(|&x| x == i as f32));
        }
    });
    assert!(peak < n * 4 * 3 / 2, "{peak} bytes were held for tensors of {}", n * 4);
}

#[test]
fn a_shard_that_is_not_there_is_named_with_its_tensors() {
    let folder = two_shards();
    fs::remove_file(folder.path().join(FIRST)).unwrap();
    let error = refused(folder.path(), &of(&good()), &["tensor `a` and 1 other", FIRST, "not there"]);
    assert!(matches!(error, WeightError::MissingShard { others: 1, .. }));
}

#[test]
fn index_and_shards_must_agree_on_every_tensor() {
    let folder = two_shards();
    let lacks = json!({ "a": FIRST, "b": SECOND, "c": FIRST, "d": SECOND });
    let error = refused(folder.path(), &of(&lacks), &[SECOND, "lacks tensor `d`"]);
    assert!(matches!(error, WeightError::NotInShard { elsewhere: None, .. }));
    let swapped = json!({ "a": FIRST, "b": FIRST, "c": FIRST, "d": SECOND });
    let error = refused(folder.path(), &of(&swapped), &[FIRST, "lacks tensor `b`", "it is in", SECOND]);
    assert!(matches!(error, WeightError::NotInShard { elsewhere: Some(_), .. }));
    let error =
        refused(folder.path(), &of(&json!({ "a": FIRST, "b": SECOND })), &[FIRST, "holds tensor `c`"]);
    assert!(matches!(error, WeightError::NotInIndex { .. }));
    shard(folder.path(), SECOND, &[("b", 2, 2.0), ("a", 3, 9.0)]);
    let error = refused(folder.path(), &of(&good()), &["tensor `a` is in", FIRST, SECOND]);
    assert!(matches!(error, WeightError::InTwoShards { .. }));
}

#[test]
fn no_shard_is_looked_for_outside_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    shard(folder.path(), "secret.safetensors", &[("a", 1, 1.0)]);
    let inner = folder.path().join("model");
    fs::create_dir(&inner).unwrap();
    let absolute = folder.path().join("secret.safetensors").display().to_string();
    for name in [
        "../secret.safetensors",
        "x/../../secret.safetensors",
        "..\\secret.safetensors",
        "C:secret.safetensors",
        "sub/secret.safetensors",
        "..",
        ".",
        "",
        "a\u{0}b",
        &absolute,
    ] {
        let error = refused(&inner, &of(&json!({ "a": name })), &["tensor `a`", "is not a file name"]);
        assert!(matches!(error, WeightError::ShardName { .. }), "{name}");
    }
    // A name that would write to the terminal.
    let message = refused(&inner, &of(&json!({ "a": "\u{1b}[31m" })), &[]).to_string();
    assert!(!message.contains('\u{1b}'), "{message:?}");
}

#[test]
fn damaged_indices_are_refused() {
    let folder = two_shards();
    for (text, part) in [
        ("", "EOF"),
        ("[]", "an object with a `weight_map`"),
        ("{}", "missing field `weight_map`"),
        (r#"{"weight_map":{}}"#, "is empty"),
        (r#"{"weight_map":[]}"#, "file names by tensor"),
        (r#"{"weight_map":{"a":1}}"#, "tensor `a`: invalid type"),
        (r#"{"weight_map":{"a":"x","a":"y"}}"#, "tensor `a` appears twice"),
        (r#"{"weight_map":{"a":"x"},"weight_map":{"a":"x"}}"#, "`weight_map` appears twice"),
        (r#"{"weight_map":{"a":"x"}}}"#, "trailing"),
    ] {
        let error = refused(folder.path(), text, &["is damaged", part]);
        assert!(matches!(error, WeightError::Index { .. }), "{text}");
    }
    refused(folder.path(), &"{\"a\":".repeat(500_000), &["is damaged"]);
    let many: BTreeMap<_, _> = (0..5000).map(|i| (format!("t{i}"), format!("{i}.safetensors"))).collect();
    refused(folder.path(), &of(&json!(many)), &["names 5000 shards"]);
    let file = fs::File::create(folder.path().join(INDEX)).unwrap();
    file.set_len(1 << 30).unwrap();
    let (message, peak) =
        peak_bytes(|| Checkpoint::open(&folder.path().join(INDEX)).unwrap_err().to_string());
    assert!(message.contains("it has 1073741824 bytes") && peak < 1 << 20, "{message}, {peak} bytes");
}

#[test]
fn a_damaged_shard_is_named() {
    let folder = two_shards();
    let path = index(folder.path(), &of(&good()));
    let whole = fs::read(folder.path().join(SECOND)).unwrap();
    fs::write(folder.path().join(SECOND), &whole[..whole.len() - 1]).unwrap();
    let message = Checkpoint::open(&path).unwrap_err().to_string();
    assert!(message.contains("tensor `b`") && message.contains(SECOND), "{message}");
    // Cut short after it was opened: by its length, before a byte of it is taken for another.
    fs::write(folder.path().join(SECOND), &whole).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    fs::write(folder.path().join(SECOND), b"short").unwrap();
    let message = checkpoint.read_f32("b").unwrap_err().to_string();
    assert!(message.contains(SECOND) && message.contains("has changed"), "{message}");
    // A shard that is an index, or a folder.
    fs::remove_file(folder.path().join(SECOND)).unwrap();
    fs::create_dir(folder.path().join(SECOND)).unwrap();
    let message = Checkpoint::open(&path).unwrap_err().to_string();
    assert!(message.contains(SECOND) && message.contains("it is a folder"), "{message}");
}

#[test]
fn a_weight_of_a_shard_that_is_not_finite_is_found_in_its_shard() {
    let folder = two_shards();
    shard(folder.path(), SECOND, &[("b", 2, f32::NAN)]);
    let checkpoint = Checkpoint::open(&index(folder.path(), &of(&good()))).unwrap();
    let message = checkpoint.read_f32("b").unwrap_err().to_string();
    assert!(message.starts_with(&format!("tensor `b` in {SECOND} holds NaN")), "{message}");
}
