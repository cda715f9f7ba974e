//! Commands that can be printed as they would be typed, and run from the workspace root.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// One program with its arguments and what it changes in the environment.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// The word that stands for the program when the command is printed.
    shown: String,
    program: OsString,
    args: Vec<String>,
    /// `None` removes the variable.
    env: Vec<(String, Option<String>)>,
}

impl Step {
    pub(crate) fn new(program: &str, args: &[&str]) -> Self {
        Self {
            shown: program.to_owned(),
            program: program.into(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            env: Vec::new(),
        }
    }

    /// The cargo that runs this xtask, so that one toolchain does everything.
    pub(crate) fn cargo(args: &[&str]) -> Self {
        let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        Self { program, ..Self::new("cargo", args) }
    }

    /// What an automatic run builds is built once and thrown away. Crates that are not cut into parts spare the optimiser what it does
    /// between these, which for ours is half of its work, and nothing is kept for a next time.
    fn for_once() -> [(&'static str, &'static str); 2] {
        [("CARGO_INCREMENTAL", "0"), ("CARGO_PROFILE_DEV_CODEGEN_UNITS", "1")]
    }

    /// The cargo command on all of the workspace with the features that are off by default, as every stage has it, so that nothing is
    /// built twice.
    pub(crate) fn whole(command: &str, args: &[&str]) -> Self {
        Self::cargo(&[&[command, "--workspace", "--features", "migm/serve"], args].concat())
    }

    pub(crate) fn args(mut self, args: &[String]) -> Self {
        self.args.extend_from_slice(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), Some(value.to_owned())));
        self
    }

    pub(crate) fn env_remove(mut self, name: &str) -> Self {
        self.env.push((name.to_owned(), None));
        self
    }

    /// The command as a POSIX shell would take it, without the variables that are removed.
    pub(crate) fn render(&self) -> String {
        let set =
            self.env.iter().filter_map(|(name, value)| Some(format!("{name}={}", quote(value.as_deref()?))));
        let words = std::iter::once(&self.shown).chain(&self.args).map(|word| quote(word));
        set.chain(words).collect::<Vec<_>>().join(" ")
    }

    /// Runs the command to its end; its output goes where ours goes.
    pub(crate) fn run(&self) -> Result<(), String> {
        let status = self
            .command()
            .stdin(Stdio::null())
            .status()
            .map_err(|error| format!("`{}` could not be started: {error}", self.render()))?;
        if status.success() { Ok(()) } else { Err(format!("`{}` failed ({status})", self.render())) }
    }

    /// Runs the command without showing anything, and returns what it wrote to standard output; `None` if it failed.
    pub(crate) fn read(&self) -> Option<String> {
        let output = self.command().stdin(Stdio::null()).output().ok()?;
        if !output.status.success() {
            return None;
        }
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).current_dir(workspace_root());
        if is_ci() {
            command.envs(Self::for_once());
        }
        for (name, value) in &self.env {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }
}

/// The folder of the workspace that `cargo xtask` was called in.
pub(crate) fn workspace_root() -> PathBuf {
    // The variable of this run comes first: with a target directory shared between checkouts, the path known when
    // xtask was compiled may be another checkout's.
    let xtask = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&xtask).parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Whether `PATH` has a program of this name.
pub(crate) fn has_program(name: &str) -> bool {
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(&file).is_file()))
}

/// Whether this run is an automatic one, by the variable that CI services set.
pub(crate) fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+,./:@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_renders_as_it_would_be_typed() {
        let step = Step::new("cargo", &["clippy", "--workspace", "--", "-D", "warnings"]);
        assert_eq!(step.render(), "cargo clippy --workspace -- -D warnings");
    }

    #[test]
    fn set_variables_lead_and_removed_ones_are_left_out() {
        let step = Step::new("cargo", &["doc"]).env("RUSTDOCFLAGS", "-D warnings").env_remove("RUSTFLAGS");
        assert_eq!(step.render(), "RUSTDOCFLAGS='-D warnings' cargo doc");
    }

    #[test]
    fn words_that_a_shell_would_change_are_quoted() {
        assert_eq!(quote("a b"), "'a b'");
        assert_eq!(quote(""), "''");
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote("$HOME"), "'$HOME'");
        assert_eq!(quote("-Zbuild-std=std,panic_abort"), "-Zbuild-std=std,panic_abort");
    }

    #[test]
    fn cargo_is_shown_by_name_wherever_it_lies() {
        assert_eq!(Step::cargo(&["fmt"]).args(&["--all".to_owned()]).render(), "cargo fmt --all");
    }

    #[test]
    fn a_program_that_does_not_exist_is_an_error_with_its_command() {
        let message = Step::new("migm-no-such-program", &["now"]).run().unwrap_err();
        assert!(message.starts_with("`migm-no-such-program now` could not be started"), "{message}");
    }

    #[test]
    fn the_workspace_root_holds_the_lock_file() {
        assert!(workspace_root().join("Cargo.lock").is_file(), "{}", workspace_root().display());
    }
}
