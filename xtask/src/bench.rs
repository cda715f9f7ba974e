//! `cargo xtask bench` and `cargo xtask table`: measurements, always of the release build.

use std::path::Path;

use crate::command::Step;
use crate::training;

/// What `cargo xtask table` gives to `migm`: the run behind the figures in the documentation.
const TABLE_ARGS: &[&str] = &["bench", "--table"];

/// Measurements by a script, which has options of its own and takes the place of everything else: the CPU executor beside PyTorch, and all
/// that is to be measured on a machine with a GPU.
const SCRIPTS: [(&str, &str); 2] = [("--peer", "benches/peer.py"), ("--gpu", "benches/gpu.py")];

/// Runs `migm bench` with these arguments, then the criterion benches with none; with an option of [`SCRIPTS`], its script.
pub(crate) fn bench(args: &[String]) -> Result<(), String> {
    for (option, script) in SCRIPTS {
        if let Some(rest) = without(option, args) {
            return measure_by(script, &rest);
        }
    }
    let migm_bench = migm(&["bench"]).args(args);
    show_and_run(&migm_bench)?;
    show_and_run(&Step::cargo(&["bench", "--package", "migm"]))
}

/// What is given beside an option, wherever that stands; `None` without it.
fn without(option: &str, args: &[String]) -> Option<Vec<String>> {
    let rest: Vec<String> = args.iter().filter(|arg| *arg != option).cloned().collect();
    (rest.len() < args.len()).then_some(rest)
}

fn measure_by(script: &str, args: &[String]) -> Result<(), String> {
    let python = training::python()?;
    // Built apart, so that the script runs it as it stands.
    show_and_run(&Step::cargo(&["build", "--release", "--package", "migm"]))?;
    show_and_run(&script_step(script, &python, &training::migm("release"), args))
}

fn script_step(script: &str, python: &Path, migm: &Path, args: &[String]) -> Step {
    let [python, migm] = [python, migm].map(Path::to_string_lossy);
    Step::new(&python, &[script, "--migm", &migm]).args(args)
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
    fn scripts_take_the_other_arguments() {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        assert_eq!(without("--peer", &words(&["--steps", "8"])), None);
        assert_eq!(without("--peer", &words(&["--peer"])), Some(Vec::new()));
        let told = |option, script, given: &[&str]| {
            let rest = without(option, &words(given)).unwrap();
            script_step(script, Path::new("python3"), Path::new("target/release/migm"), &rest).render()
        };
        let [(peer, peer_script), (gpu, gpu_script)] = SCRIPTS;
        assert_eq!(
            told(peer, peer_script, &["--rounds", "2", "--peer"]),
            "python3 benches/peer.py --migm target/release/migm --rounds 2"
        );
        assert_eq!(
            told(gpu, gpu_script, &["--gpu", "--quick", "--layers", "1"]),
            "python3 benches/gpu.py --migm target/release/migm --quick --layers 1"
        );
    }

    #[test]
    fn the_scripts_are_there() {
        for (option, script) in SCRIPTS {
            assert!(crate::command::workspace_root().join(script).is_file(), "{option}: {script}");
        }
    }

    #[test]
    fn the_table_is_the_fixed_run() {
        assert!(migm(TABLE_ARGS).render().starts_with("cargo run --release --package migm -- bench --table"));
    }
}
