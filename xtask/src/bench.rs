//! `cargo xtask bench` and `cargo xtask table`: measurements, always of the release build.

use std::path::Path;

use crate::command::Step;
use crate::training;

/// What `cargo xtask table` gives to `migm`: the run behind the figures in the documentation.
const TABLE_ARGS: &[&str] = &["bench", "--table"];

/// What has PyTorch run beside `migm`, in place of everything else.
const PEER: &str = "--peer";

/// Runs `migm bench` with these arguments, then the criterion benches with none; with `--peer`, the CPU executor beside PyTorch.
pub(crate) fn bench(args: &[String]) -> Result<(), String> {
    if let Some(rest) = peer_args(args) {
        return peer(&rest);
    }
    let migm_bench = migm(&["bench"]).args(args);
    show_and_run(&migm_bench)?;
    show_and_run(&Step::cargo(&["bench", "--package", "migm"]))
}

/// What is given beside `--peer`, wherever that stands; `None` without it.
fn peer_args(args: &[String]) -> Option<Vec<String>> {
    let rest: Vec<String> = args.iter().filter(|arg| *arg != PEER).cloned().collect();
    (rest.len() < args.len()).then_some(rest)
}

/// Both programs in turn, by `benches/peer.py`, which has options of its own.
fn peer(args: &[String]) -> Result<(), String> {
    let python = training::python()?;
    // Built apart, so that the script runs it as it stands.
    show_and_run(&Step::cargo(&["build", "--release", "--package", "migm"]))?;
    show_and_run(&peer_step(&python, &training::migm("release"), args))
}

fn peer_step(python: &Path, migm: &Path, args: &[String]) -> Step {
    let [python, migm] = [python, migm].map(Path::to_string_lossy);
    Step::new(&python, &["benches/peer.py", "--migm", &migm]).args(args)
}

/// Measures the committed figures anew.
pub(crate) fn table(args: &[String]) -> Result<(), String> {
    if !args.is_empty() {
        return Err("`table` takes no arguments: its figures come from one fixed run".to_owned());
    }
    show_and_run(&migm(TABLE_ARGS))
}

/// The release build of `migm`, built if need be, and run with these arguments.
fn migm(args: &[&str]) -> Step {
    let words: Vec<&str> =
        ["run", "--release", "--package", "migm", "--"].iter().chain(args).copied().collect();
    Step::cargo(&words)
}

fn show_and_run(step: &Step) -> Result<(), String> {
    println!("== {}", step.render());
    step.run()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_reach_migm_after_its_own_command() {
        let step = migm(&["bench"]).args(&["--steps".to_owned(), "8".to_owned()]);
        assert_eq!(step.render(), "cargo run --release --package migm -- bench --steps 8");
    }

    #[test]
    fn peer_takes_the_other_arguments_for_its_script() {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        assert_eq!(peer_args(&words(&["--steps", "8"])), None);
        assert_eq!(peer_args(&words(&["--peer"])), Some(Vec::new()));
        let rest = peer_args(&words(&["--rounds", "2", "--peer"])).unwrap();
        let step = peer_step(Path::new("python3"), Path::new("target/release/migm"), &rest);
        assert_eq!(step.render(), "python3 benches/peer.py --migm target/release/migm --rounds 2");
    }

    #[test]
    fn the_script_of_peer_is_there() {
        assert!(crate::command::workspace_root().join("benches/peer.py").is_file());
    }

    #[test]
    fn the_table_is_the_fixed_run() {
        assert!(migm(TABLE_ARGS).render().starts_with("cargo run --release --package migm -- bench --table"));
    }
}
