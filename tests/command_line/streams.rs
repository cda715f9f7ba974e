//! Standard error and output that nobody reads, that are full, and a system without memory or desktop.

use super::{fails, succeeds, text};
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_migm"));
    command.current_dir(folder).args(arguments).env("NO_COLOR", "1");
    command
}

#[track_caller]
fn tells_no_place(output: &Output) {
    let error = text(&output.stderr);
    for word in [".rs:", "backtrace:", "panicked"] {
        assert!(!error.contains(word), "{word} in {error}");
    }
}

/// `2>&1 | head -1`
#[test]
fn pictures_are_made_though_nobody_reads_about_them() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["generate", "a red fox", "--steps", "2", "--count", "3", "--no-compare", "--batch", "1"];
    let more = ["--backend", "cpu", "--out", "made"];
    let mut child = command(folder.path(), &[&arguments[..], &more].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    drop(child.stdout.take());
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(std::fs::read_dir(folder.path().join("made")).unwrap().count(), 3);
}

#[cfg(target_os = "linux")]
#[test]
fn full_streams_end_in_a_sentence_or_do_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let one = ["generate", "--class", "fox", "--steps", "2", "--no-compare", "--backend", "cpu"];
    let arguments = [&one[..], &["--out", "fox.png"]].concat();
    let status = command(folder.path(), &arguments).stderr(full()).stdout(Stdio::null()).status().unwrap();
    assert!(status.success() && folder.path().join("fox.png").is_file(), "{status}");
    for arguments in [&["completions", "bash"][..], &["info"]] {
        let output = command(folder.path(), arguments).stdout(full()).output().unwrap();
        fails(&output, 1, &["standard output", "space"]);
        tells_no_place(&output);
    }
    // Whoever stops reading has had enough, which is no error.
    let mut child = command(folder.path(), &["completions", "bash"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

/// Address space for the program itself, and then for no more than a part of the work.
#[cfg(target_os = "linux")]
#[test]
fn too_little_memory_is_said_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let limited = |kib: u32, threads: &str, arguments: &str| {
        Command::new("sh")
            .current_dir(folder.path())
            .arg("-c")
            .arg(format!("ulimit -c 0; ulimit -v {kib}; exec \"$0\" {arguments}"))
            .arg(env!("CARGO_BIN_EXE_migm"))
            .env("RAYON_NUM_THREADS", threads)
            .output()
            .unwrap()
    };
    let many = "generate --class fox --count 1024 --batch 1024 --steps 1 --backend cpu --out made";
    let output = limited(1_000_000, "1", many);
    fails(&output, 1, &["error: too little memory", "--batch 1"]);
    tells_no_place(&output);
    let output = limited(1_000_000, "4000", "generate --class fox --backend cpu --out made");
    fails(&output, 1, &["error:", "threads", "RAYON_NUM_THREADS=1"]);
    tells_no_place(&output);
    assert!(!folder.path().join("made").exists());
}

/// Mesa's layer has something to say where there is no desktop to ask for its device.
#[cfg(target_os = "linux")]
#[test]
fn a_system_without_a_desktop_is_nothing_to_report() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(folder.path(), &["info"]);
    for name in ["XDG_RUNTIME_DIR", "WAYLAND_DISPLAY", "WAYLAND_SOCKET", "MESA_VK_DEVICE_SELECT", "DRI_PRIME"]
    {
        command.env_remove(name);
    }
    let output = command.output().unwrap();
    succeeds(&output);
    assert_eq!(text(&output.stderr), "");
}
