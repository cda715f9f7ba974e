use super::*;
use std::fs;

type Outputs<'a> = &'a [Output];

#[track_caller]
fn refused(outputs: Outputs<'_>, words: &[&str]) {
    let message = check(outputs).expect_err("refused").to_string();
    for word in words {
        assert!(message.contains(word), "{message:?} lacks {word:?}");
    }
    assert!(!message.contains('\n'), "{message:?} is more than a sentence");
}

/// Names of what is in a folder.
fn inside(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.json");
    write(&path, b"one").unwrap();
    write(&path, b"two").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"two");
    // A failure on the way leaves what was there.
    let failed = stream(
        &path,
        |error| error,
        |out| {
            out.write_all(&vec![7; 3 << 20])?;
            Err(io::Error::other("the encoder stumbled"))
        },
    );
    assert!(failed.is_err());
    assert_eq!((fs::read(&path).unwrap(), inside(folder.path())), (b"two".to_vec(), vec!["a.json".into()]));
    assert!(write(folder.path(), b"x").is_err(), "a folder is no file");
}

#[test]
fn a_name_as_long_as_names_can_be_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x".repeat(255));
    write(&path, b"long").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"long");
}

#[cfg(unix)]
#[test]
fn links_stay_and_their_targets_are_written() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("far")).unwrap();
    fs::write(at("far/real.json"), "old").unwrap();
    symlink("far/real.json", at("first")).unwrap();
    symlink(at("first"), at("second")).unwrap();
    symlink("far/made.json", at("to-nothing")).unwrap();
    write(&at("second"), b"new").unwrap();
    write(&at("to-nothing"), b"made").unwrap();
    assert_eq!(fs::read(at("far/real.json")).unwrap(), b"new");
    assert_eq!(fs::read(at("far/made.json")).unwrap(), b"made");
    for link in ["first", "second", "to-nothing"] {
        assert!(fs::symlink_metadata(at(link)).unwrap().is_symlink(), "{link}");
    }
    assert_eq!(inside(&at("far")), ["made.json", "real.json"]);
    symlink("circle", at("circle")).unwrap();
    assert!(write(&at("circle"), b"x").is_err());
    refused(
        &[Output::file("--report", &at("circle"), Format::Json)],
        &["--report", "circle", "back to itself"],
    );
}

#[cfg(unix)]
#[test]
fn permissions_are_kept_and_read_only_files_too() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret.json");
    write(&path, b"one").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    write(&path, b"two").unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    assert_eq!(write(&path, b"three").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    assert_eq!(fs::read(&path).unwrap(), b"two");
    refused(&[Output::file("--report", &path, Format::Json)], &["--report", "secret.json", "read-only"]);
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_written_through() {
    use std::os::unix::fs::FileTypeExt as _;
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let link = folder.path().join("link");
    std::os::unix::fs::symlink("pipe", &link).unwrap();
    for path in [&pipe, &link] {
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read(pipe).unwrap()
        });
        write(path, b"through").unwrap();
        assert_eq!(reader.join().unwrap(), b"through");
    }
    assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
    // A device of our own: the system's would be lost to everyone.
    let device = folder.path().join("null");
    let made = std::process::Command::new("mknod").arg(&device).args(["c", "1", "3"]).output();
    if made.is_ok_and(|made| made.status.success()) {
        write(&device, b"gone").unwrap();
        assert!(fs::symlink_metadata(&device).unwrap().file_type().is_char_device());
    }
    assert!(Output::file("--report", Path::new("/dev/null"), Format::Json).is_stream());
    #[cfg(target_os = "linux")]
    assert_eq!(write(Path::new("/dev/full"), b"x").unwrap_err().kind(), io::ErrorKind::StorageFull);
}

/// `3>>file` and then `/dev/fd/3`: what was there stays.
#[cfg(target_os = "linux")]
#[test]
fn a_file_that_is_open_already_is_gone_on_with() {
    use std::os::fd::AsRawFd as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    fs::write(&path, "before ").unwrap();
    let open = OpenOptions::new().append(true).open(&path).unwrap();
    let name = PathBuf::from(format!("/dev/fd/{}", open.as_raw_fd()));
    write(&name, b"after").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"before after");
    let own = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
    let both = [Output::file("--gif", &name, Format::Gif), Output::file("--report", &own, Format::Json)];
    refused(&both, &["--gif", "--report", "both"]);
    refused(&[Output::file("--report", Path::new("/dev/fd/4000"), Format::Json)], &["/dev/fd/4000"]);
}

#[test]
fn names_say_what_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let out = |name: &str| Output::picture_or_folder("--out", &at(name));
    for (name, is_folder) in [
        ("a.png", false),
        ("A.PNG", false),
        ("made", true),
        ("run-0.9", true),
        ("a/b/c", true),
        ("x.png/", true),
    ] {
        assert_eq!(out(name).is_folder(), is_folder, "{name}");
        check([&out(name)]).unwrap();
    }
    for name in ["a.jpg", "a.gif", "a.JSON", "notes.txt", "a.safetensors"] {
        refused(&[out(name)], &["--out", name, "PNG picture", ".png file, or a folder"]);
    }
    // What is there is what it is.
    for name in ["folder.png", "photos.jpg"] {
        fs::create_dir(at(name)).unwrap();
        assert!(out(name).is_folder(), "{name}");
        check([&out(name)]).unwrap();
    }
    fs::write(at("letter"), "dear").unwrap();
    refused(&[out("letter")], &["--out", "letter", "is a file", ".png file"]);
    refused(&[Output::folder("--out", &at("letter"))], &["is a file and no folder"]);
    refused(&[Output::folder("--to", &at("model.json"))], &["--to", "model.json", "a folder"]);
    let report = |name: &str| Output::file("--report", &at(name), Format::Json);
    for name in ["r.json", "R.JSON", "r", "r.txt", "r.2026-11-24"] {
        check([&report(name)]).unwrap();
    }
    refused(&[report("r.png")], &["--report", "r.png", "JSON", ".json file"]);
    refused(&[report("folder.png")], &["--report"]);
    fs::create_dir(at("reports")).unwrap();
    refused(&[report("reports")], &["reports is a folder", "name a file"]);
    refused(&[report("r/")], &["is a folder"]);
    let plot = |name: &str| Output::one_of("--plot", &at(name), &[Format::Svg, Format::Png]);
    check([&plot("p.svg"), &plot("p.PNG")]).unwrap();
    for name in ["p.gif", "p", "p.txt"] {
        refused(&[plot(name)], &["--plot", name, ".svg or .png file"]);
    }
    refused(&[Output::file("--report", Path::new(""), Format::Json)], &["--report is empty"]);
    assert_eq!(inside(folder.path()), ["folder.png", "letter", "photos.jpg", "reports"]);
}

#[test]
fn a_place_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("file"), "x").unwrap();
    let gif = |name: &str| Output::file("--gif", &at(name), Format::Gif);
    refused(&[gif("no/a.gif")], &["--gif", "no/a.gif", "there is no folder", "make it first"]);
    refused(&[gif("file/a.gif")], &["file/a.gif", "is no folder"]);
    refused(&[gif("file/b/a.gif")], &["file is no folder"]);
    refused(&[Output::picture_or_folder("--out", &at("no/a.png"))], &["there is no folder"]);
    refused(&[Output::folder("--out", &at("file/b/c"))], &["file is no folder"]);
    // Other outputs make it, those above it included.
    let out = Output::picture_or_folder("--out", &at("made/deep"));
    check([&out, &gif("made/deep/a.gif"), &gif("made/a.gif")]).unwrap();
    refused(&[out, gif("made/other/a.gif")], &["there is no folder"]);
    assert_eq!(inside(folder.path()), ["file"], "checking makes nothing");
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_takes_nothing_is_named() {
    let report = Output::file("--report", Path::new("/proc/r.json"), Format::Json);
    refused(&[report], &["--report /proc/r.json", "nothing can be written into /proc"]);
    refused(&[Output::folder("--out", Path::new("/proc/made"))], &["into /proc"]);
}

#[test]
fn two_outputs_are_two_places() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("in")).unwrap();
    let gif = |name: &str| Output::file("--gif", &at(name), Format::Gif);
    let report = |name: &str| Output::file("--report", &at(name), Format::Json);
    let same = &["--gif", "--report", "both write to", "two places"];
    refused(&[gif("a"), report("a")], same);
    refused(&[gif("a"), report("./in/../a")], same);
    fs::write(at("there"), "x").unwrap();
    refused(&[gif("there"), report("in/../there")], same);
    let here = std::env::current_dir().unwrap().join("a-name-that-is-not-there");
    let near = Path::new("./a-name-that-is-not-there");
    refused(&[Output::file("--gif", &here, Format::Gif), Output::file("--report", near, Format::Json)], same);
    refused(&[Output::picture_or_folder("--out", &at("made")), report("made")], &["--out", "--report"]);
    let inner = Output::picture_or_folder("--out", &at("made/deep"));
    refused(&[report("made"), inner], &["--report", "--out", "cannot both be"]);
    check([&gif("a"), &report("b")]).unwrap();
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("there", at("link")).unwrap();
        std::os::unix::fs::symlink("in", at("other")).unwrap();
        refused(&[gif("link"), report("there")], same);
        refused(&[gif("in/new"), report("other/new")], same);
        let thrown = Path::new("/dev/null");
        check(&[Output::file("--gif", thrown, Format::Gif), Output::file("--report", thrown, Format::Json)])
            .unwrap();
    }
}

/// What is refused changes nothing; what is not is written where it was named, and everything else stays as it was.
#[cfg(unix)]
#[test]
fn a_thousand_pairs_of_targets_lose_nothing() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    const MINE: [&str; 4] = ["mine.json", "mine", "dir/mine.png", "read-only.json"];
    const LINKS: [(&str, &str); 4] =
        [("link", "mine.json"), ("to-dir", "dir"), ("to-nothing", "dir/new"), ("circle", "circle")];
    let make = || {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("dir")).unwrap();
        for name in MINE {
            fs::write(folder.path().join(name), name).unwrap();
        }
        for (link, to) in LINKS {
            symlink(to, folder.path().join(link)).unwrap();
        }
        let read_only = folder.path().join("read-only.json");
        fs::set_permissions(read_only, fs::Permissions::from_mode(0o444)).unwrap();
        folder
    };
    let before =
        ["", "", "", "./", "dir/", "to-dir/", "dir/../", "no/", "mine/", "to-nothing/", "no/../", "circle/"];
    let names = [
        "mine",
        "mine.json",
        "mine.png",
        "link",
        "to-dir",
        "to-nothing",
        "circle",
        "read-only.json",
        "new",
        "a.json",
        "b.png",
        "c.svg",
        "d",
    ];
    let after = ["", "", "", "", "", "/", ".png", "/.", "/.."];
    let mut state = 7u64;
    let mut draw = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let (mut folder, mut written) = (make(), 0);
    for turn in 0..1000 {
        let mut outputs = Vec::new();
        for option in ["--first", "--second"] {
            let name = format!(
                "{}{}{}",
                before[draw(before.len())],
                names[draw(names.len())],
                after[draw(after.len())]
            );
            let path = if draw(20) == 0 { "/dev/null".into() } else { folder.path().join(name) };
            // Most are what their names say.
            let fitting = match path.extension().and_then(|extension| extension.to_str()) {
                Some("json") => 0,
                Some("svg") => 1,
                Some("png") => 1 + draw(2),
                _ => 2 + draw(2),
            };
            outputs.push(match if draw(5) == 0 { draw(4) } else { fitting } {
                0 => Output::file(option, &path, Format::Json),
                1 => Output::one_of(option, &path, &[Format::Svg, Format::Png]),
                2 => Output::picture_or_folder(option, &path),
                _ => Output::folder(option, &path),
            });
        }
        let is_right = check(&outputs).is_ok();
        let mut targets = Vec::new();
        if is_right {
            let done = |result: io::Result<()>| {
                result.unwrap_or_else(|error| panic!("turn {turn}: {outputs:?}: {error}"));
            };
            for output in outputs.iter().filter(|output| output.is_folder()) {
                done(make_folder(output.path()));
            }
            for output in &outputs {
                let mut path = output.path().to_owned();
                if output.is_folder() {
                    path.push("of-a-folder");
                }
                done(write(&path, output.option.as_bytes()));
                targets.push((path, output));
            }
            written += 1;
        }
        for (path, output) in &targets {
            if path != Path::new("/dev/null") {
                assert_eq!(fs::read(path).unwrap(), output.option.as_bytes(), "turn {turn}: {outputs:?}");
            }
        }
        let named: Vec<PathBuf> = targets.iter().map(|(path, _)| fs::canonicalize(path).unwrap()).collect();
        for name in MINE {
            let path = folder.path().join(name);
            if !named.contains(&fs::canonicalize(&path).unwrap()) {
                assert_eq!(fs::read_to_string(&path).unwrap(), name, "turn {turn}: {outputs:?}");
            }
        }
        for (link, _) in LINKS {
            let is_link = fs::symlink_metadata(folder.path().join(link)).unwrap().is_symlink();
            assert!(is_link, "turn {turn}: {outputs:?}");
        }
        let left = [inside(folder.path()), inside(&folder.path().join("dir"))].concat();
        assert!(!left.iter().any(|name| name.ends_with(".part")), "turn {turn}: {left:?}");
        if is_right {
            folder = make();
        } else {
            let count = 1 + MINE.len() - 1 + LINKS.len() + 1;
            assert_eq!(left.len(), count, "turn {turn}: {outputs:?} {left:?}");
        }
    }
    assert!(written > 100, "only {written} pairs could be written");
}
