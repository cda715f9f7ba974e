//! `cargo xtask web`: builds the page into `web/dist`, which any static server can serve, also below another path.
//!
//! The library is compiled for the browser, `wasm-bindgen` writes the JavaScript around it, `wasm-opt` makes it smaller, and the
//! bundled models are laid beside it under names that change with their content.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::command::{Step, has_program, workspace_root};
use crate::debian;
use crate::targets::{BROWSER, ensure_toolchain, target_folder, toolchain};

/// `wasm-opt`, exact: its output goes to people.
const BINARYEN: &str = "binaryen@123.0.0";
/// The program around the library of `wasm-bindgen`, which is no part of the workspace: nothing else needs it.
const BINDGEN: &str = "web/bindgen/Cargo.toml";
/// The page's own files.
const PAGE: [&str; 5] = ["index.html", "style.css", "start.js", "models.js", "sw.js"];
/// The models that the page offers.
const MODELS: [&str; 3] = ["scenes-text", "scenes-class", "scenes-judge"];

/// Builds the page.
pub(crate) fn main(args: &[String]) -> Result<(), String> {
    if let Some(unknown) = args.first() {
        return Err(format!("`{unknown}`: the page is built without options"));
    }
    let root = workspace_root();
    let dist = root.join("web/dist");
    let has_target = ensure_toolchain(BROWSER)?;
    let optimiser = wasm_opt()?;
    let folder = target_folder().display().to_string();
    let words = [
        "rustc",
        "--package",
        "migm",
        "--lib",
        "--crate-type",
        "cdylib",
        "--target",
        BROWSER,
        "--no-default-features",
        "--features",
        "studio",
        "--profile",
        "web",
        "--target-dir",
        &folder,
    ];
    // Every browser with WebGPU has SIMD.
    let mut build = toolchain(&words, has_target).env("RUSTFLAGS", "-C target-feature=+simd128");
    if !has_target {
        build = build.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", &linker()?);
    }
    println!("== {}", build.render());
    build.run()?;
    if dist.exists() {
        fs::remove_dir_all(&dist).map_err(|error| format!("{}: {error}", dist.display()))?;
    }
    make_folder(&dist)?;
    let wasm = target_folder().join(BROWSER).join("web/migm.wasm");
    bindgen(&root, &wasm.display().to_string(), &dist.display().to_string())?.run()?;
    let made = dist.join("migm_bg.wasm").display().to_string();
    // `-O2` takes three times as long, and what it makes is larger once compressed: 3.61 MB, not 3.51, as the page's test says.
    Step::new(&optimiser, &["-O1", "--all-features", "-o", &made, &made]).run()?;
    for file in PAGE {
        copy(&root.join("web").join(file), &dist.join(file))?;
    }
    models(&root, &dist)?;
    let bytes = fs::metadata(dist.join("migm_bg.wasm")).map_or(0, |found| found.len());
    stamp(&dist)?;
    println!("== {}: {:.1} MB of WebAssembly", dist.display(), bytes as f64 / 1e6);
    Ok(())
}

/// The linker that comes with rustup's toolchain: Debian's compiler has none of its own for this target.
fn linker() -> Result<String, String> {
    let verbose = Step::new("rustc", &["-vV"]).read().unwrap_or_default();
    let host = verbose.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default().to_owned();
    let sysroot = Step::new("rustc", &["--print", "sysroot"]).read().unwrap_or_default();
    let found = Path::new(sysroot.trim()).join("lib/rustlib").join(host).join("bin/rust-lld");
    if found.exists() {
        return Ok(found.display().to_string());
    }
    if has_program("wasm-ld-19") {
        return Ok("wasm-ld-19".to_owned());
    }
    debian::install(&["lld-19"]).map_err(|error| format!("no linker for {BROWSER}: {error}"))?;
    Ok("wasm-ld-19".to_owned())
}

fn make_folder(path: &Path) -> Result<(), String> {
    fs::create_dir_all(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    fs::copy(from, to).map(drop).map_err(|error| format!("{} to {}: {error}", from.display(), to.display()))
}

fn tools() -> PathBuf {
    target_folder().join("tools")
}

/// What writes the JavaScript around the page's program: the `wasm-bindgen` that is installed, if it fits the library's version in
/// the lock file, or else its library in a program of ours.
fn bindgen(root: &Path, wasm: &str, out: &str) -> Result<Step, String> {
    let lock = fs::read_to_string(root.join("Cargo.lock")).map_err(|error| format!("Cargo.lock: {error}"))?;
    let version = locked(&lock, "wasm-bindgen").ok_or("Cargo.lock has no wasm-bindgen")?;
    let wanted = format!("wasm-bindgen {version}");
    let found = Step::new("wasm-bindgen", &["--version"]).read();
    if found.is_some_and(|found| found.trim() == wanted) {
        let words = ["--target", "web", "--no-typescript", "--out-dir", out, "--out-name", "migm", wasm];
        return Ok(Step::new("wasm-bindgen", &words));
    }
    let folder = tools().join("bindgen").display().to_string();
    // Unoptimised: it is built for a minute less than it then takes longer.
    let words = ["run", "--locked", "--manifest-path", BINDGEN, "--target-dir", &folder, "--", wasm, out];
    Ok(Step::cargo(&words))
}

/// The version of a package in a lock file.
fn locked<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name);
    lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"')
}

fn wasm_opt() -> Result<String, String> {
    if has_program("wasm-opt") {
        return Ok("wasm-opt".to_owned());
    }
    let own = tools().join("node_modules/.bin/wasm-opt");
    if !own.exists() {
        if !has_program("npm") {
            return Err("neither wasm-opt nor npm is here: install binaryen or Node.js".to_owned());
        }
        make_folder(&tools())?;
        let prefix = tools().display().to_string();
        Step::new("npm", &["install", "--no-audit", "--no-fund", "--prefix", &prefix, BINARYEN]).run()?;
    }
    Ok(own.display().to_string())
}

/// Gives the page's own files names with their checksums, wherever they name each other: a browser that keeps them for long
/// has a new build at once, and never parts of two.
fn stamp(dist: &Path) -> Result<(), String> {
    // Whoever names a file comes after it.
    const FILES: [&str; 6] = ["migm_bg.wasm", "models.js", "migm.js", "start.js", "style.css", "index.html"];
    let mut renamed: Vec<(&str, String)> = Vec::new();
    for name in FILES {
        let path = dist.join(name);
        let shown = |error: std::io::Error| format!("{}: {error}", path.display());
        let mut bytes = fs::read(&path).map_err(shown)?;
        if !name.ends_with(".wasm") {
            let text = String::from_utf8(bytes).map_err(|error| format!("{name}: {error}"))?;
            bytes = renamed.iter().fold(text, |text, (old, new)| with_name(&text, old, new)).into_bytes();
        }
        if name == "index.html" {
            fs::write(&path, &bytes).map_err(shown)?;
            let page = String::from_utf8_lossy(&bytes);
            if !renamed.iter().rev().take(2).all(|(_, new)| page.contains(new.as_str())) {
                return Err("index.html does not name start.js and style.css".to_owned());
            }
            continue;
        }
        let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
        let new = format!("{stem}-{:016x}.{extension}", checksum(&bytes));
        fs::write(dist.join(&new), &bytes).map_err(shown)?;
        fs::remove_file(&path).map_err(shown)?;
        renamed.push((name, new));
    }
    Ok(())
}

/// A text with another name for a file, where it stands as one: in quotes, alone or after `./`.
fn with_name(text: &str, old: &str, new: &str) -> String {
    ['\'', '"'].iter().fold(text.to_owned(), |text, quote| {
        ["", "./"].iter().fold(text, |text, here| {
            text.replace(&format!("{quote}{here}{old}{quote}"), &format!("{quote}{here}{new}{quote}"))
        })
    })
}

/// Copies the models' files, each once and under a name with its checksum, and lists them in `models.json`.
fn models(root: &Path, dist: &Path) -> Result<(), String> {
    let mut list = String::new();
    let to = dist.join("models");
    make_folder(&to)?;
    for model in MODELS {
        let from = root.join("assets/models").join(model);
        let mut names: Vec<String> = fs::read_dir(&from)
            .map_err(|error| format!("{}: {error}", from.display()))?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name != "README.md")
            .collect();
        names.sort_unstable();
        let mut files = String::new();
        for name in names {
            let path = from.join(&name);
            let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            // Models that have a file in common, as a tokenizer, share it here and in the browser's storage.
            let stored = format!("{:016x}-{name}", checksum(&bytes));
            fs::write(to.join(&stored), &bytes).map_err(|error| format!("{stored}: {error}"))?;
            let comma = if files.is_empty() { "" } else { ", " };
            // Writing to a string cannot fail.
            let _ =
                write!(files, "{comma}\"{name}\": {{ \"bytes\": {}, \"path\": \"{stored}\" }}", bytes.len());
        }
        let comma = if list.is_empty() { "" } else { ",\n" };
        let _ = write!(list, "{comma}  \"{model}\": {{ \"files\": {{ {files} }} }}");
    }
    let path = dist.join("models/models.json");
    fs::write(&path, format!("{{\n{list}\n}}\n")).map_err(|error| format!("{}: {error}", path.display()))
}

/// FNV-1a: tells a new build's files from an old one's; it guards against no one.
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_a_lock_file() {
        let lock = "[[package]]\nname = \"a\"\nversion = \"1.2.3\"\n\n[[package]]\nname = \"a-b\"\nversion = \"2.0.0\"\n";
        assert_eq!(locked(lock, "a"), Some("1.2.3"));
        assert_eq!(locked(lock, "a-b"), Some("2.0.0"));
        assert_eq!(locked(lock, "b"), None);
    }

    #[test]
    fn the_javascript_is_written_by_the_version_that_the_program_was_compiled_with() {
        let read = |file: &str| fs::read_to_string(workspace_root().join(file)).unwrap();
        let ours = read("Cargo.lock");
        let version = locked(&ours, "wasm-bindgen").unwrap();
        let theirs = read("web/bindgen/Cargo.lock");
        assert_eq!(locked(&theirs, "wasm-bindgen-cli-support"), Some(version));
        assert!(read(BINDGEN).contains(&format!("wasm-bindgen-cli-support = \"={version}\"")));
    }

    #[test]
    fn files_of_a_page_name_each_other_by_their_checksums() {
        let dist = std::env::temp_dir().join(format!("migm-stamp-{}", std::process::id()));
        fs::create_dir_all(&dist).unwrap();
        let write = |name: &str, text: &str| fs::write(dist.join(name), text).unwrap();
        write("migm_bg.wasm", "\0asm");
        write("models.js", "export {}; // not migm_bg.wasm");
        write("migm.js", "import * as m from \"./models.js\"; new URL('migm_bg.wasm', import.meta.url)");
        write("start.js", "import init from './migm.js';");
        write("style.css", "a {}");
        write("index.html", "<link href=\"style.css\"><script src=\"start.js\">");
        stamp(&dist).unwrap();
        let names: Vec<String> = fs::read_dir(&dist)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let named = |stem: &str| names.iter().find(|name| name.starts_with(&format!("{stem}-"))).unwrap();
        let read = |name: &str| fs::read_to_string(dist.join(name)).unwrap();
        assert_eq!(names.len(), 6, "{names:?}");
        assert_eq!(
            read("index.html"),
            format!("<link href=\"{}\"><script src=\"{}\">", named("style"), named("start"))
        );
        assert!(read(named("start")).contains(&format!("'./{}'", named("migm"))));
        assert!(
            read(named("migm")).contains(named("models")) && read(named("migm")).contains(named("migm_bg"))
        );
        assert!(read(named("models")).contains("not migm_bg.wasm"));
        fs::remove_dir_all(&dist).unwrap();
    }

    #[test]
    fn checksums_are_fnv_1a() {
        assert_eq!(checksum(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(checksum(b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
