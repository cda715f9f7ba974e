//! `cargo xtask bench` and `cargo xtask table`: measurements, always of the release build.

use crate::command::Step;

/// What `cargo xtask table` gives to `migm`: the run behind the figures in the documentation.
const TABLE_ARGS: &[&str] = &["bench", "--table"];

/// Runs `migm bench` with these arguments, then the criterion benches with none.
pub(crate) fn bench(args: &[String]) -> Result<(), String> {
    let migm_bench = migm(&["bench"]).args(args);
    show_and_run(&migm_bench)?;
    show_and_run(&Step::cargo(&["bench", "--package", "migm"]))
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
    fn the_table_is_the_fixed_run() {
        assert!(migm(TABLE_ARGS).render().starts_with("cargo run --release --package migm -- bench --table"));
    }
}
