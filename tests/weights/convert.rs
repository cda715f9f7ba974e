//! The official layout to a model folder, and one file to another.

use std::fs;
use std::path::{Path, PathBuf};

use half::f16;
use migm::weights::{
    Checkpoint, ConvertOptions, ConvertReport, Dtype, ModelFolder, Part, StoreAs, WeightError, convert,
};
use serde_json::json;

use crate::support::fixture;

fn run(
    sources: &[PathBuf],
    destination: &Path,
    options: &ConvertOptions,
) -> Result<ConvertReport, WeightError> {
    convert(sources, destination, options, &mut |_| {})
}

fn to_f16() -> ConvertOptions {
    ConvertOptions { dtype: StoreAs::F16, ..ConvertOptions::default() }
}

#[test]
fn the_official_layout_becomes_a_model_folder() {
    let folder = tempfile::tempdir().unwrap();
    let destination = folder.path().join("made/model");
    let mut told = Vec::new();
    let report = convert(&[fixture("official")], &destination, &to_f16(), &mut |p| {
        assert!(p.done_bytes <= p.total_bytes);
        told.push((p.file.to_owned(), p.done_bytes == p.total_bytes));
    })
    .unwrap();

    let parts: Vec<_> = report.files.iter().map(|f| (f.part, f.kept, f.dropped.len())).collect();
    assert_eq!(
        parts,
        [(Some(Part::Maskgit), 41, 0), (Some(Part::Vqgan), 25, 2), (Some(Part::Shortcut), 42, 0)]
    );
    assert_eq!(report.files[1].dropped, ["loss.logvar", "loss.perceptual_loss.lin0.model.1.weight"]);
    assert!(report.missing.is_empty());
    assert_eq!(report.skipped.len(), 1);
    assert!(report.skipped[0].path.ends_with("position_embedding.pt"));
    for file in ["MaskGIT_ImageNet_512.pth", "last.ckpt", "maskgit-shortcut.pth"] {
        assert!(told.contains(&(file.to_owned(), true)), "{file} was never told to be done");
    }

    let model = ModelFolder::open(&destination).unwrap();
    assert_eq!(Some(model.config()), report.config.as_ref());
    let figures = ["grid", "image_size", "hidden", "depth", "heads", "mlp", "codebook", "classes"];
    assert_eq!(figures.map(|key| model.config()[key].as_u64().unwrap()), [4, 8, 8, 2, 1, 32, 6, 3]);
    let tokenizer = json!({
        "architecture": "vqgan", "ch": 2, "ch_mult": [1, 2], "num_res_blocks": 1, "attn_resolutions": [4],
        "resolution": 8, "z_channels": 3, "embed_dim": 5,
    });
    assert_eq!(model.config()["tokenizer"], tokenizer);
    assert_eq!(model.config()["shortcut"], json!({ "n_block": 1, "bottleneck_ratio": 2, "heads": 1 }));
    for (part, file) in ["maskgit", "vqgan", "shortcut"].iter().zip(&report.files) {
        let checkpoint = model.checkpoint(part).unwrap().unwrap();
        assert!(checkpoint.tensors().all(|t| t.dtype == Dtype::F16));
        assert_eq!((checkpoint.tensors().len(), checkpoint.file_bytes()), (file.kept, file.bytes));
        let parameters: usize = checkpoint.tensors().map(migm::weights::TensorInfo::elements).sum();
        assert_eq!(parameters as u64, file.parameters);
    }
    assert_eq!(fs::read_dir(&destination).unwrap().count(), 4, "something else was left in the folder");
}

#[test]
fn a_part_can_be_added_to_a_folder_without_losing_what_its_config_says() {
    let folder = tempfile::tempdir().unwrap();
    let two = [fixture("official/MaskGIT_ImageNet_512.pth"), fixture("official/VQGAN")];
    let report = run(&two, folder.path(), &ConvertOptions { heads: Some(4), ..to_f16() }).unwrap();
    assert!(report.notes.iter().any(|note| note.contains("there is no shortcut")), "{:?}", report.notes);
    let path = folder.path().join("config.json");
    let mut config = report.config.unwrap();
    config["labels"] = json!(["a", "b", "c"]);
    config["sampling"]["steps"] = json!(5);
    fs::write(&path, config.to_string()).unwrap();

    let report = run(&[fixture("official/maskgit-shortcut.pth")], folder.path(), &to_f16()).unwrap();
    let config = report.config.unwrap();
    assert_eq!((report.files.len(), report.missing.len()), (1, 0));
    assert_eq!((&config["heads"], &config["shortcut"]["heads"]), (&json!(4), &json!(4)));
    assert_eq!((&config["labels"], &config["sampling"]["steps"]), (&json!(["a", "b", "c"]), &json!(5)));

    // A whole model folder, converted to another: its config goes along.
    let copy = tempfile::tempdir().unwrap();
    let options = ConvertOptions { dtype: StoreAs::F32, ..ConvertOptions::default() };
    let report = run(&[folder.path().to_owned()], copy.path(), &options).unwrap();
    assert_eq!((report.files.len(), report.config), (3, Some(config)));
}

#[test]
fn what_a_folder_still_lacks_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let report = run(&[fixture("official/maskgit-shortcut.pth")], folder.path(), &to_f16()).unwrap();
    assert_eq!(report.missing, [Part::Maskgit, Part::Vqgan]);
}

#[test]
fn one_file_becomes_one_file_with_its_values_and_without_its_wrapper() {
    let folder = tempfile::tempdir().unwrap();
    let destination = folder.path().join("kinds.safetensors");
    let report = run(&[fixture("kinds.pth")], &destination, &ConvertOptions::default()).unwrap();
    assert_eq!((report.files.len(), report.config.is_none()), (1, true));
    let (before, after) =
        (Checkpoint::open(&fixture("kinds.pth")).unwrap(), Checkpoint::open(&destination).unwrap());
    assert_eq!(after.metadata()["converted_from"], "kinds.pth");
    assert!(before.tensors().eq(after.tensors()), "tables differ");
    for tensor in before.tensors() {
        assert_eq!(
            before.read_bytes(&tensor.name).unwrap(),
            after.read_bytes(&tensor.name).unwrap(),
            "{}",
            tensor.name
        );
    }

    run(&[fixture("views.pth")], &destination, &to_f16()).unwrap();
    let (before, after) =
        (Checkpoint::open(&fixture("views.pth")).unwrap(), Checkpoint::open(&destination).unwrap());
    for tensor in before.tensors() {
        let halves: Vec<f16> = after.read_f16(&tensor.name).unwrap();
        assert_eq!(before.read_f16(&tensor.name).unwrap(), halves, "{}", tensor.name);
    }

    // A safetensors file with the prefix, which only the conversion takes off.
    let prefixed = folder.path().join("prefixed.safetensors");
    let spec = migm::weights::TensorSpec::new("module.a", Dtype::U8, [1]);
    migm::weights::write_safetensors(&prefixed, &[(spec, &[7])], &Default::default()).unwrap();
    run(std::slice::from_ref(&prefixed), &prefixed, &ConvertOptions::default()).unwrap();
    assert_eq!(Checkpoint::open(&prefixed).unwrap().read_u8("a").unwrap(), [7]);
}

#[test]
fn what_cannot_be_converted_says_why_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let message = |sources: &[PathBuf], to: &str| {
        run(sources, &folder.path().join(to), &to_f16()).unwrap_err().to_string()
    };
    let unknown = message(&[fixture("plain.pth")], "model");
    assert!(
        unknown.contains("plain.pth: it is neither a MaskGIT") && unknown.contains("`0.bias`"),
        "{unknown}"
    );
    let twice = message(&[fixture("official"), fixture("official/maskgit-shortcut.pth")], "model");
    assert!(twice.contains("are both shortcut checkpoints"), "{twice}");
    let two = message(&[fixture("plain.pth"), fixture("views.pth")], "one.safetensors");
    assert!(two.contains("2 files cannot be converted to one"), "{two}");
    let empty = tempfile::tempdir().unwrap();
    fs::write(empty.path().join("broken.pth"), b"PK\x03\x04").unwrap();
    let nothing = message(&[empty.path().to_owned()], "model");
    assert!(nothing.contains("no MaskGIT, VQGAN or shortcut") && nothing.contains("broken.pth"), "{nothing}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "something was written");
    fs::write(folder.path().join("file"), b"").unwrap();
    let onto = message(&[fixture("official")], "file");
    assert!(onto.contains("is a file; name a folder"), "{onto}");
}

#[test]
fn a_weight_that_does_not_fit_stops_the_conversion_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (source, destination) =
        (folder.path().join("big.safetensors"), folder.path().join("out.safetensors"));
    let spec = migm::weights::TensorSpec::new("w", Dtype::F32, [1]);
    migm::weights::write_safetensors(&source, &[(spec, &1e9f32.to_le_bytes())], &Default::default()).unwrap();
    let message = run(std::slice::from_ref(&source), &destination, &to_f16()).unwrap_err().to_string();
    assert!(message.contains("1000000000 at flat index 0, which does not fit f16"), "{message}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_folder_can_be_converted_in_place() {
    let folder = tempfile::tempdir().unwrap();
    run(&[fixture("official")], folder.path(), &ConvertOptions::default()).unwrap();
    let whole = fs::metadata(folder.path().join("maskgit.safetensors")).unwrap().len();
    let report = run(&[folder.path().to_owned()], folder.path(), &to_f16()).unwrap();
    assert_eq!(report.files.len(), 3);
    let half = fs::metadata(folder.path().join("maskgit.safetensors")).unwrap().len();
    assert!(half < whole, "{half} bytes after {whole}");
    // The originals beside their conversions: the originals are taken.
    fs::copy(fixture("official/maskgit-shortcut.pth"), folder.path().join("maskgit-shortcut.pth")).unwrap();
    let report = run(&[folder.path().to_owned()], folder.path(), &to_f16()).unwrap();
    let shortcut = report.files.iter().find(|f| f.part == Some(Part::Shortcut)).unwrap();
    assert!(shortcut.source.ends_with("maskgit-shortcut.pth"));
    assert!(report.skipped.iter().any(|s| s.reason.contains("earlier conversion")));
}
