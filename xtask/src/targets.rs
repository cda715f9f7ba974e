//! `cargo xtask check-targets`: type-checks the package for systems that are not this one.
//!
//! Targets that rustup has, or can fetch, are checked with its toolchain. Elsewhere Debian's `rustc-web` compiles the standard
//! library from its source as well, which costs minutes once and needs no download of a target.

use std::path::PathBuf;
use std::time::Instant;

use crate::command::{Step, workspace_root};
use crate::debian;

const PACKAGE: &str = "migm";
/// The systems that run the package and that the tests do not reach.
const DEFAULT_TARGETS: [&str; 3] = ["x86_64-pc-windows-msvc", "aarch64-apple-darwin", BROWSER];
/// There the package is a library: it has no command line.
pub(crate) const BROWSER: &str = "wasm32-unknown-unknown";
const DEBIAN_TOOLCHAIN: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// Checks the targets that the arguments name, or the default ones; options go to `cargo check`.
pub(crate) fn main(args: &[String]) -> Result<(), String> {
    let (targets, options) = parse(args);
    let mut failed = Vec::new();
    for target in targets {
        let has_target = ensure_toolchain(target)?;
        let step = check(target, options, has_target);
        println!("== {target}: {}", step.render());
        let start = Instant::now();
        let result = step.run();
        let seconds = start.elapsed().as_secs_f64();
        match result {
            Ok(()) => println!("== {target}: passed in {seconds:.1} s\n"),
            Err(error) => {
                println!("== {target}: FAILED after {seconds:.1} s: {error}\n");
                failed.push(target);
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
}

/// Targets come first; from the first option on, everything is for `cargo check`.
fn parse(args: &[String]) -> (Vec<&str>, &[String]) {
    let end = args.iter().position(|arg| arg.starts_with('-')).unwrap_or(args.len());
    let (targets, options) = args.split_at(end);
    if targets.is_empty() {
        return (DEFAULT_TARGETS.to_vec(), options);
    }
    (targets.iter().map(String::as_str).collect(), options)
}

/// Makes sure that something here compiles for a target; whether it is rustup's toolchain.
pub(crate) fn ensure_toolchain(target: &str) -> Result<bool, String> {
    let is_installed = || {
        let installed = Step::new("rustup", &["target", "list", "--installed"]).read().unwrap_or_default();
        installed.lines().any(|line| line.trim() == target)
    };
    // Seconds where it can be fetched, against minutes of compiling it.
    let has_target = is_installed()
        || (Step::new("rustup", &["target", "add", target]).read().is_some() && is_installed());
    if !has_target {
        ensure_debian_toolchain(target)?;
    }
    Ok(has_target)
}

fn ensure_debian_toolchain(target: &str) -> Result<(), String> {
    let with_rustup = format!("with rustup, `rustup target add {target}` is enough");
    if !debian::has_apt() {
        return Err(format!("no toolchain here for {target}; {with_rustup}"));
    }
    if debian::is_installed(&DEBIAN_TOOLCHAIN) {
        return Ok(());
    }
    debian::install(&DEBIAN_TOOLCHAIN)
        .map_err(|error| format!("no toolchain for {target}: {error}; {with_rustup}"))
}

fn check(target: &str, options: &[String], has_target: bool) -> Step {
    let folder = target_folder().display().to_string();
    // Without `migm pull`: its TLS has C in it, which only the target's own C compiler could build.
    let mut words = vec![
        "check",
        "--package",
        PACKAGE,
        "--target",
        target,
        "--no-default-features",
        "--target-dir",
        &folder,
    ];
    let is_lib = options.iter().any(|option| option == "--lib");
    if target == BROWSER && !is_lib {
        words.push("--lib");
    }
    toolchain(&words, has_target).args(options)
}

/// Cargo with these words, by rustup's toolchain or by Debian's, which compiles the standard library too.
pub(crate) fn toolchain(words: &[&str], has_target: bool) -> Step {
    if has_target {
        return Step::cargo(words);
    }
    // Cargo has left its own toolchain in the environment of this program; none of it may reach the other one.
    Step::new("/usr/bin/cargo", words)
        .args(&["-Zbuild-std=std,panic_abort".to_owned()])
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTC", "/usr/bin/rustc")
        .env_remove("CARGO")
        .env_remove("LD_LIBRARY_PATH")
        .env_remove("RUSTUP_TOOLCHAIN")
}

/// Where artifacts lie.
pub(crate) fn built_folder() -> PathBuf {
    let shared = std::env::var_os("CARGO_TARGET_DIR").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let folder = shared.unwrap_or_else(|| workspace_root().join("target"));
    std::path::absolute(&folder).unwrap_or(folder)
}

/// Artifacts of other systems and another compiler lie apart, so that they never push out those of the tests.
pub(crate) fn target_folder() -> PathBuf {
    built_folder().join("check-targets")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn no_target_means_the_default_ones() {
        assert_eq!(parse(&[]), (DEFAULT_TARGETS.to_vec(), &[][..]));
        let args = words(&["--lib"]);
        assert_eq!(parse(&args), (DEFAULT_TARGETS.to_vec(), &args[..]));
    }

    #[test]
    fn options_follow_the_targets() {
        let args = words(&["wasm32-unknown-unknown", "--lib", "--jobs", "1"]);
        assert_eq!(parse(&args), (vec!["wasm32-unknown-unknown"], &args[1..]));
    }

    #[test]
    fn a_target_that_rustup_has_needs_no_standard_library() {
        let command = check(BROWSER, &words(&["--lib"]), true).render();
        assert!(
            command.starts_with("cargo check --package migm --target wasm32-unknown-unknown "),
            "{command}"
        );
        assert!(command.ends_with("check-targets --lib"), "{command}");
    }

    #[test]
    fn other_targets_build_the_standard_library_with_debians_compiler() {
        let command = check("aarch64-apple-darwin", &[], false).render();
        assert!(
            command.starts_with("RUSTC_BOOTSTRAP=1 RUSTC=/usr/bin/rustc /usr/bin/cargo check "),
            "{command}"
        );
        assert!(command.ends_with("-Zbuild-std=std,panic_abort"), "{command}");
    }
}
