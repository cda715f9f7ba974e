//! The Python package: its tests on the extension module that the tests' build leaves, and wheels.

use std::path::{Path, PathBuf};

use crate::command::{Step, workspace_root};
use crate::training;

/// What the stage runs in the end, as the documentation gives it.
pub(crate) fn describe() -> String {
    pytest(Path::new("python3")).render()
}

/// Builds the module as the tests build everything, puts it into the package, and tests that.
pub(crate) fn test() -> Result<(), String> {
    Step::whole("test", &["--no-run", "--quiet"]).run()?;
    let built = training::target().join("debug/deps").join(built(std::env::consts::OS));
    let place = workspace_root().join("python/migm").join(placed(std::env::consts::OS));
    let name = |path: &PathBuf| path.display().to_string();
    std::fs::copy(&built, &place)
        .map_err(|error| format!("{} to {}: {error}", name(&built), name(&place)))?;
    pytest(&training::python()?).run()
}

/// A wheel of the release build, for this machine's system.
pub(crate) fn wheel(args: &[String]) -> Result<(), String> {
    if !args.is_empty() {
        return Err("`wheel` takes no arguments".to_owned());
    }
    let folder = training::target().join("wheels").to_string_lossy().into_owned();
    let python = training::python()?.to_string_lossy().into_owned();
    // Where the module stands in the package for tests, it would come along.
    let _ = std::fs::remove_file(workspace_root().join("python/migm").join(placed(std::env::consts::OS)));
    let step = Step::new(&python, &["-m", "pip", "wheel", "--no-deps", "--wheel-dir"]);
    let step = step.args(&[folder, "./python".to_owned()]);
    println!("== {}", step.render());
    step.run()
}

fn pytest(python: &Path) -> Step {
    let step = Step::new(&python.to_string_lossy(), &["-m", "pytest", "-q", "python/tests"]);
    step.env("PYTHONPATH", "python").env("MIGM_BIN", &training::migm("debug").to_string_lossy())
}

/// What cargo calls a library.
fn built(system: &str) -> &'static str {
    match system {
        "windows" => "_migm.dll",
        "macos" => "lib_migm.dylib",
        _ => "lib_migm.so",
    }
}

/// What Python looks for.
fn placed(system: &str) -> &'static str {
    if system == "windows" { "_migm.pyd" } else { "_migm.abi3.so" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_is_called_as_python_looks_for_it_on_every_system() {
        assert_eq!((built("linux"), placed("linux")), ("lib_migm.so", "_migm.abi3.so"));
        assert_eq!((built("macos"), placed("macos")), ("lib_migm.dylib", "_migm.abi3.so"));
        assert_eq!((built("windows"), placed("windows")), ("_migm.dll", "_migm.pyd"));
    }

    #[test]
    fn the_stage_is_the_command_that_the_documentation_gives() {
        assert!(describe().ends_with("python3 -m pytest -q python/tests"), "{}", describe());
    }

    #[test]
    fn a_wheel_takes_no_arguments() {
        assert!(wheel(&["--release".to_owned()]).is_err());
    }
}
