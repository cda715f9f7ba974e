//! Where things are written: what cannot be is refused before anything is computed, and what is there is not lost.

use super::{DIMOO_GOLDEN, MODEL, fails, migm, succeeds};
use std::path::Path;
use std::time::Instant;

const WEIGHTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/scenes-v0/shortcut.safetensors");

/// A folder with a file, a folder and a read-only file.
fn a_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("taken")).expect("a folder in it");
    std::fs::write(at("letter"), "dear").expect("a file");
    std::fs::write(at("kept.json"), "mine").expect("a file");
    let mut permissions = std::fs::metadata(at("kept.json")).expect("it is there").permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(at("kept.json"), permissions).expect("it is ours");
    folder
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// With its own settings each of these runs for minutes, or would ask the network.
#[test]
fn every_command_refuses_what_it_could_not_write_before_it_computes() {
    let folder = a_folder();
    let started = Instant::now();
    let mut cases: Vec<(&[&str], &[&str])> = vec![
        (&["gallery", "--out", "no/g.png"], &["--out no/g.png", "there is no folder no", "make it first"]),
        (&["gallery", "--out", "g.jpg"], &["--out g.jpg", "PNG picture", ".png file"]),
        (&["gallery", "--out", "taken"], &["--out taken is a folder", "name a file"]),
        (&["gallery", "--out", "letter/g.png"], &["letter is no folder"]),
        (&["gallery", "--out", "kept.json"], &["--out kept.json", "PNG picture"]),
        (&["eval", "--report", "no/r.json"], &["--report no/r.json", "there is no folder no"]),
        (&["eval", "--report", "kept.json"], &["--report kept.json is read-only"]),
        (&["eval", "--report", "r.csv"], &["--report r.csv", "JSON"]),
        (&["eval", "--npz", "kept.json"], &["--npz kept.json"]),
        (&["eval", "--pictures", "s", "--npz", "s"], &["--pictures and --npz both write to s"]),
        (&["eval", "--plot", "p.gif"], &["--plot p.gif", ".svg or .png file"]),
        (&["eval", "--plot", "p.svg", "--plot", "./p.svg"], &["--plot and --plot both write to ./p.svg"]),
        (&["eval", "--plot", "p.svg", "--plot", "taken/../p.svg"], &["both write to", "two places"]),
        (&["figures", "--out", "letter"], &["--out letter is a file and no folder"]),
        (&["figures", "--out", "f.svg"], &["--out f.svg", "a folder"]),
        (&["bench", "--json", "no/b.json"], &["--json no/b.json", "there is no folder no"]),
        (&["bench", "--json", "taken"], &["--json taken is a folder"]),
        (&["bench", "--json", "b.png"], &["--json b.png", "JSON"]),
        (&["convert", MODEL, "letter"], &["the destination letter is a file"]),
        (&["convert", MODEL, "model.json"], &["the destination model.json", "a folder"]),
        (&["convert", WEIGHTS, "no/s.safetensors"], &["no/s.safetensors", "there is no folder no"]),
        (&["convert", DIMOO_GOLDEN, "letter/model"], &["letter is no folder"]),
    ];
    if cfg!(feature = "scenes") {
        let many: [(&[&str], &[&str]); 5] = [
            (&["scenes", "--count", "9999999", "--out", "letter"], &["--out letter is a file and no folder"]),
            (&["scenes", "--count", "9999999", "--out", "s.zip"], &["--out s.zip", "a folder"]),
            (&["scenes", "--count", "600", "--sheet", "s.gif"], &["--sheet s.gif", "PNG picture"]),
            (&["scenes", "--count", "600", "--sheet", "no/s.png"], &["there is no folder no"]),
            (&["scenes", "--count", "600", "--sheet", "taken"], &["--sheet taken is a folder"]),
        ];
        cases.extend(many);
    }
    if cfg!(feature = "pull") {
        cases.push((&["pull", "maskgit-512", "--to", "letter/m"], &["--to letter/m", "letter is no folder"]));
    }
    if cfg!(feature = "studio") {
        cases.push((&["studio", "--trace", "no/t.csv"], &["--trace no/t.csv", "there is no folder no"]));
        cases.push((&["studio", "--trace", "t.json"], &["--trace t.json", "CSV"]));
    }
    for (arguments, words) in cases {
        fails(&migm(folder.path(), arguments), 1, words);
    }
    let seconds = started.elapsed().as_secs_f64();
    assert!(seconds < 60.0, "something was computed first: {seconds:.0} s");
    assert_eq!(names(folder.path()), ["kept.json", "letter", "taken"]);
    assert_eq!(std::fs::read_to_string(folder.path().join("kept.json")).unwrap(), "mine");
}

#[test]
fn a_conversion_finds_out_first_that_a_file_of_its_folder_is_read_only() {
    let folder = a_folder();
    let model = folder.path().join("model");
    succeeds(&migm(folder.path(), &["convert", MODEL, "model"]));
    let config = model.join("config.json");
    let mut permissions = std::fs::metadata(&config).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&config, permissions).unwrap();
    let before = std::fs::metadata(model.join("maskgit.safetensors")).unwrap().modified().unwrap();
    fails(&migm(folder.path(), &["convert", MODEL, "model"]), 1, &["config.json is read-only"]);
    assert_eq!(std::fs::metadata(model.join("maskgit.safetensors")).unwrap().modified().unwrap(), before);
}

#[cfg(all(unix, feature = "scenes"))]
#[test]
fn pipes_and_links_are_written_through() {
    use std::os::unix::fs::{FileTypeExt as _, symlink};
    const PNG: &[u8] = b"\x89PNG\r\n";
    let folder = a_folder();
    let at = |name: &str| folder.path().join(name);
    let run = |to: &str| migm(folder.path(), &["scenes", "--count", "1", "--size", "64", "--sheet", to]);
    let output = run("/dev/stdout");
    succeeds(&output);
    assert!(output.stdout.starts_with(PNG), "{} bytes", output.stdout.len());

    assert!(std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
    symlink("pipe", at("to-pipe")).unwrap();
    let reader = std::thread::spawn({
        let pipe = at("pipe");
        move || std::fs::read(pipe).unwrap()
    });
    succeeds(&run("to-pipe"));
    assert!(reader.join().unwrap().starts_with(PNG));
    assert!(std::fs::symlink_metadata(at("pipe")).unwrap().file_type().is_fifo());

    std::fs::write(at("old.png"), "old").unwrap();
    symlink("old.png", at("link.png")).unwrap();
    succeeds(&run("link.png"));
    assert!(std::fs::symlink_metadata(at("link.png")).unwrap().is_symlink());
    assert!(std::fs::read(at("old.png")).unwrap().starts_with(PNG));
    fails(&run("/dev/full"), 1, &["/dev/full"]);
}

/// What is generated goes through the same module.
#[cfg(unix)]
#[test]
fn a_report_goes_through_a_link_to_where_it_leads() {
    let folder = a_folder();
    let at = |name: &str| folder.path().join(name);
    std::os::unix::fs::symlink("taken/report.json", at("report.json")).unwrap();
    let arguments = ["generate", "--class", "fox", "--steps", "2", "--no-compare", "--backend", "cpu"];
    let files = ["--out", "taken", "--report", "report.json", "--gif", "/dev/stdout"];
    let output = migm(folder.path(), &[&arguments[..], &files].concat());
    succeeds(&output);
    assert!(output.stdout.starts_with(b"GIF89a"));
    assert_eq!(names(&at("taken")), ["fox-0.png", "report.json"]);
    assert!(std::fs::symlink_metadata(at("report.json")).unwrap().is_symlink());
}
