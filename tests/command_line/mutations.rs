//! A thousand things that a person could get wrong, from a seeded generator: configurations of both families, recordings,
//! command lines and output targets. Each is done or refused with a sentence: no panic, no hang, no memory beyond a bound, and
//! no file of the person's is lost.

#![allow(clippy::unwrap_used, clippy::panic, reason = "all of it is for tests")]

use super::{DIMOO_GOLDEN, GOLDEN, MODEL, succeeds, text};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Of each of the four kinds.
const ROUNDS: usize = 250;
/// More than any of these needs on a busy machine; what hangs takes for ever.
const LONGEST: Duration = Duration::from_secs(20);
/// Of address space, in KiB: a gigabyte, and what the program and its threads take before they do anything.
const MEMORY: u64 = (1 << 20) + (768 << 10);

/// Splitmix64 (Steele, Lea and Flood 2014): any seed gives a good stream.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[(self.next() % all.len() as u64) as usize]
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// Runs with bounds on time and memory.
fn bounded(folder: &Path, arguments: &[&str]) -> Output {
    let mut child = Command::new("sh")
        .args(["-c", &format!("ulimit -v {MEMORY}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_migm")])
        .args(arguments)
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .env("RAYON_NUM_THREADS", "2")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let began = Instant::now();
    // Short output, which no pipe blocks on; the long ones are read to the end after this.
    while child.try_wait().unwrap().is_none() && began.elapsed() < LONGEST {
        std::thread::sleep(Duration::from_millis(4));
    }
    if child.try_wait().unwrap().is_none() {
        let _ = child.kill();
        let output = child.wait_with_output().unwrap();
        panic!("{arguments:?} hangs:\n{}", text(&output.stderr));
    }
    child.wait_with_output().unwrap()
}

/// Done, or refused with a sentence.
#[track_caller]
fn is_answered(output: &Output, of: &dyn std::fmt::Debug) {
    let said = text(&output.stderr);
    assert!(matches!(output.status.code(), Some(0..=2)), "{of:?}: {:?}\n{said}", output.status);
    for fault in ["panicked", "fault of migm", "RUST_BACKTRACE", "src/", "overflow"] {
        assert!(!said.contains(fault), "{of:?}: {said}");
    }
    if !output.status.success() {
        assert!(
            said.contains("error") || text(&output.stdout).contains("FAILED"),
            "{of:?} says nothing: {said}"
        );
    }
}

const NUMBERS: [&str; 14] = [
    "0",
    "1",
    "2",
    "-1",
    "3",
    "7",
    "255",
    "65537",
    "100000",
    "2147483648",
    "4294967295",
    "4294967296",
    "4000000000",
    "18446744073709551615",
];

fn odd_value(random: &mut Random) -> Value {
    match random.below(8) {
        0 => json!(random.of(&["", "many", "1024", "\u{1f98a}"])),
        1 => json!(null),
        2 => json!([1, 2, 3]),
        3 => json!({}),
        4 => json!(0.5),
        5 => json!(-3),
        _ => serde_json::from_str(random.of(&NUMBERS)).unwrap_or(json!(0)),
    }
}

/// Changes, removes or adds something, at any depth.
fn mutate(value: &mut Value, random: &mut Random) {
    match value {
        Value::Object(fields) if !fields.is_empty() && random.below(6) > 0 => {
            let key = fields.keys().nth(random.below(fields.len())).cloned().unwrap_or_default();
            match random.below(8) {
                0 => drop(fields.remove(&key)),
                1 => drop(fields.insert("extra".to_owned(), odd_value(random))),
                _ => mutate(fields.get_mut(&key).unwrap(), random),
            }
        }
        Value::Array(items) if !items.is_empty() && random.below(4) > 0 => {
            let at = random.below(items.len());
            match random.below(4) {
                0 => drop(items.remove(at)),
                1 => items.extend_from_within(..),
                _ => mutate(&mut items[at], random),
            }
        }
        other => *other = odd_value(random),
    }
}

/// A copy whose weights are links, so that a changed config costs nothing.
fn linked(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.file_name() != "config.json" {
            fs::hard_link(entry.path(), &target)
                .or_else(|_| fs::copy(entry.path(), &target).map(drop))
                .unwrap();
        }
    }
}

#[test]
fn mutated_configurations_are_opened_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    succeeds(&super::migm(folder.path(), &["convert", DIMOO_GOLDEN, "text"]));
    let mut random = Random(1);
    let families =
        [(Path::new(MODEL), &["--class", "2"][..]), (&folder.path().join("text"), &["w5 w17"][..])];
    for (from, _) in families {
        linked(from, &folder.path().join("of").join(from.file_name().unwrap()));
    }
    for round in 0..ROUNDS {
        let (from, subject) = families[round % 2];
        let mut config: Value = serde_json::from_slice(&fs::read(from.join("config.json")).unwrap()).unwrap();
        for _ in 0..1 + random.below(2) {
            mutate(&mut config, &mut random);
        }
        let model = folder.path().join("of").join(from.file_name().unwrap());
        fs::write(model.join("config.json"), config.to_string()).unwrap();
        let model = model.to_str().unwrap();
        let inspect = ["inspect", model];
        let generate: Vec<&str> = [
            &["generate"],
            subject,
            &["--model", model, "--backend", "cpu", "--no-compare", "--steps", "2", "--out", "x.png"],
        ]
        .concat();
        let arguments: &[&str] = if random.below(3) == 0 { &inspect } else { &generate };
        is_answered(&bounded(folder.path(), arguments), &(round, config.to_string()));
    }
}

#[test]
fn mutated_recordings_are_replayed_or_refused() {
    use migm::weights::{Checkpoint, TensorSpec, write_safetensors};
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random(2);
    let recordings = [GOLDEN, DIMOO_GOLDEN].map(|path| Checkpoint::open(Path::new(path)).unwrap());
    for round in 0..ROUNDS {
        let recording = &recordings[round % 2];
        let mut config: Value = serde_json::from_str(&recording.metadata()["config"]).unwrap();
        mutate(&mut config, &mut random);
        let tensors: Vec<_> = recording.tensors().collect();
        let data: Vec<_> = tensors.iter().map(|t| recording.read_bytes(&t.name).unwrap()).collect();
        let specs = tensors.iter().map(|t| TensorSpec::new(t.name.clone(), t.dtype, t.shape.clone()));
        let all: Vec<_> = specs.zip(data.iter().map(|data| data.as_ref())).collect();
        let path = folder.path().join("recording.safetensors");
        write_safetensors(&path, &all, &[("config".to_owned(), config.to_string())].into()).unwrap();
        let arguments = ["verify", path.to_str().unwrap(), "--backend", "cpu"];
        is_answered(&bounded(folder.path(), &arguments), &(round, config.to_string()));
    }
}

/// Words that stand in for arguments and for their values.
const WORDS: [&str; 37] = [
    "",
    "-1",
    "0",
    "1",
    "-5.5",
    "1e39",
    "nan",
    "inf",
    "65537",
    "4294967296",
    "99999999999999999999",
    "fox",
    "all",
    "24",
    "uniform:0",
    "uniform:3",
    "list:0,99",
    "list:",
    "interval:2,0",
    "every",
    "int4:7",
    "int8",
    "cosine",
    "1000000x1000000",
    "adaptive:0.1,2",
    "decided:0,1/7",
    "entropy:1e9",
    "0x3",
    "x",
    "missing/x.png",
    "made",
    "made.png",
    "made.jpg",
    "/dev/null",
    ".",
    "\u{1f98a} \u{0}",
    "--",
];

#[test]
fn mutated_command_lines_are_done_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let keep = folder.path().join("precious.txt");
    fs::write(&keep, "mine").unwrap();
    let mut random = Random(3);
    let base: [&[&str]; 9] = [
        &["generate", "--class", "fox", "--model", MODEL, "--steps", "3", "--no-compare", "--backend", "cpu"],
        &[
            "generate",
            "--class",
            "2",
            "--model",
            MODEL,
            "--steps",
            "3",
            "--budget",
            "1",
            "--count",
            "2",
            "--guidance",
            "2",
            "--backend",
            "cpu",
        ],
        &[
            "generate",
            "--class",
            "2",
            "--model",
            MODEL,
            "--steps",
            "3",
            "--refresh",
            "adaptive:0.1",
            "--reveal",
            "entropy:2",
            "--corrector",
            "0.2",
            "--backend",
            "cpu",
        ],
        &["inspect", MODEL, "--batch", "2", "--predictor", "reuse"],
        &["inspect", "lumina-dimoo", "--grid", "4x4", "--layers", "2"],
        &[
            "gallery",
            "--class",
            "2",
            "--model",
            MODEL,
            "--seeds",
            "2",
            "--steps",
            "3",
            "--budgets",
            "2,1",
            "--backend",
            "cpu",
            "--out",
            "g.png",
        ],
        &["scenes", "--count", "2", "--size", "64", "--seed", "3", "--out", "scenes"],
        &["verify", GOLDEN, "--backend", "cpu"],
        &["convert", GOLDEN, "converted"],
    ];
    for round in 0..ROUNDS {
        let mut arguments: Vec<String> =
            base[round % base.len()].iter().map(|&word| word.to_owned()).collect();
        for _ in 0..1 + random.below(2) {
            let at = 1 + random.below(arguments.len() - 1);
            let word = random.of(&WORDS).replace('\u{0}', "");
            match random.below(4) {
                0 => drop(arguments.remove(at)),
                1 => arguments.insert(at, word),
                // An option whose value is read where another was meant.
                2 => arguments.swap(at, 1),
                _ => arguments[at] = word,
            }
        }
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        is_answered(&bounded(folder.path(), &words), &(round, &words));
        assert_eq!(fs::read_to_string(&keep).unwrap(), "mine", "{words:?}");
    }
}

#[test]
fn outputs_of_generate_go_where_they_can_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mut random = Random(4);
    let reset = || {
        for name in ["folder", "made", "notes"] {
            let _ = fs::remove_dir_all(at(name));
        }
        fs::create_dir_all(at("folder")).unwrap();
        fs::write(at("folder/inside.txt"), "mine").unwrap();
        for name in ["old.png", "old.json", "old.gif", "notes.txt", "read-only.png"] {
            let _ = fs::remove_file(at(name));
            fs::write(at(name), "mine").unwrap();
        }
        let mut permissions = fs::metadata(at("read-only.png")).unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(at("read-only.png"), permissions).unwrap();
        #[cfg(unix)]
        if !at("link.png").is_symlink() {
            std::os::unix::fs::symlink("old.png", at("link.png")).unwrap();
        }
    };
    let targets = [
        "old.png",
        "./old.png",
        "link.png",
        "folder",
        "folder/x.png",
        "made",
        "made/x.json",
        "nowhere/x.png",
        "old.json",
        "old.gif",
        "notes.txt",
        "read-only.png",
        "x.jpg",
        "x.tiff",
        "x.",
        "/dev/null",
        "/dev/stdout",
        "/",
        "",
        "x.PNG",
    ];
    for round in 0..ROUNDS {
        reset();
        let mut arguments =
            vec!["generate", "--class", "fox", "--model", MODEL, "--steps", "1", "--backend", "cpu"];
        for option in ["--out", "--gif", "--report", "--count"] {
            if random.below(3) > 0 {
                arguments.push(option);
                arguments.push(if option == "--count" { "2" } else { random.of(&targets) });
            }
        }
        let output = bounded(folder.path(), &arguments);
        is_answered(&output, &(round, &arguments));
        let targeted = |name: &str| {
            arguments.iter().any(|word| word.contains(name) || (*word == "link.png" && name == "old.png"))
        };
        for name in ["old.png", "old.json", "old.gif", "notes.txt", "read-only.png", "folder/inside.txt"] {
            let now = fs::read(at(name)).unwrap_or_else(|_| panic!("{arguments:?} lost {name}"));
            let untouched = now == b"mine";
            assert!(untouched || (output.status.success() && targeted(name)), "{arguments:?} changed {name}");
            assert!(!now.is_empty(), "{arguments:?} emptied {name}");
        }
        assert!(
            fs::metadata("/dev/null").unwrap().len() == 0 && !Path::new("/dev/null").is_file(),
            "{arguments:?}"
        );
    }
}
