//! The tests of `training/`: every stage at toy size in PyTorch, and `migm` on what they export.
//!
//! PyTorch is installed once into `venv/` of the target directory, at the versions and hashes of
//! `training/requirements.txt`, and beside it what the package's tests need, of `python/requirements.txt`: one Python for
//! both. `MIGM_PYTHON` names a Python that has everything already.

use std::path::{Path, PathBuf};

use crate::command::{Step, has_program, workspace_root};
use crate::debian;
use crate::job::Job;

/// What is installed, in files of pins that agree with each other.
const REQUIREMENTS: [&str; 2] = ["training/requirements.txt", "python/requirements.txt"];

/// What the stage runs in the end, as the documentation gives it.
pub(crate) fn describe() -> String {
    pytest(Path::new("python3"), Path::new("target/debug/migm")).render()
}

/// The tests.
pub(crate) fn test(python: Job<PathBuf>) -> Result<(), String> {
    // As the tests build it: the package alone resolves features without theirs, and would build most of the tree once more.
    Step::whole("test", &["--no-run", "--quiet"]).run()?;
    let python = python.finish()?;
    pytest(&python, &migm("debug")).run()
}

fn pytest(python: &Path, migm: &Path) -> Step {
    let step = Step::new(&python.to_string_lossy(), &["-m", "pytest", "-q", "training/tests"]);
    // Many short tests on few cores: threads that wait for each other cost more than they bring.
    step.env("OMP_NUM_THREADS", "1").env("MIGM_BIN", &migm.to_string_lossy())
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    workspace_root().join(folder)
}

/// The program, as a profile's folder has it once it is built.
pub(crate) fn migm(folder: &str) -> PathBuf {
    target().join(folder).join(format!("migm{}", std::env::consts::EXE_SUFFIX))
}

/// A Python with the requirements, installed if they are not yet or have changed.
pub(crate) fn python() -> Result<PathBuf, String> {
    if let Some(python) = std::env::var_os("MIGM_PYTHON") {
        return Ok(PathBuf::from(python));
    }
    let requirements = REQUIREMENTS.map(|file| workspace_root().join(file));
    let wanted = requirements.iter().map(|file| read(file)).collect::<Result<String, _>>()?;
    let folder = target().join("venv");
    let python = if cfg!(windows) { folder.join("Scripts/python.exe") } else { folder.join("bin/python") };
    // Written last: an installation that was interrupted has none.
    let stamp = folder.join("requirements.txt");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let make = Step::new("python3", &["-m", "venv", "--clear"]).args(&[path(&folder)]);
    if !has_program("python3") || make.run().is_err() {
        // Debian packs the module apart from Python itself.
        if !debian::has_apt() {
            return Err(
                "no Python 3.11 with its `venv` module here; install it, then run this again".to_owned()
            );
        }
        debian::install(&["python3", "python3-venv"])?;
        make.run()?;
    }
    let install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-cache-dir",
        // What is imported is compiled then: a small part.
        "--no-compile",
        // Gigabytes over a network: a stall is tried again, not reported.
        "--retries",
        "10",
        "--timeout",
        "60",
        "--require-hashes",
    ];
    // In one go, so that none takes what another has pinned.
    let files: Vec<String> = requirements.iter().flat_map(|file| ["-r".to_owned(), path(file)]).collect();
    Step::new(&path(&python), &install).args(&files).run()?;
    std::fs::write(&stamp, wanted).map_err(|error| format!("{}: {error}", stamp.display()))?;
    Ok(python)
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stage_is_the_command_that_the_documentation_gives() {
        assert_eq!(
            describe(),
            "OMP_NUM_THREADS=1 MIGM_BIN=target/debug/migm python3 -m pytest -q training/tests"
        );
    }

    /// The pins of a file: package and version, which may hold for some platforms alone.
    fn pins(file: &str) -> Vec<(String, String)> {
        let text = read(&workspace_root().join(file)).unwrap();
        let pin = |line: &str| {
            let (name, version) = line.split_once("==")?;
            Some((name.to_owned(), version.split_whitespace().next()?.to_owned()))
        };
        text.lines().filter(|line| !line.starts_with('#')).filter_map(pin).collect()
    }

    #[test]
    fn requirements_are_pinned_by_hash_and_name_no_address() {
        for file in REQUIREMENTS {
            let text = read(&workspace_root().join(file)).unwrap();
            assert!(!text.contains("://"), "{file}: an address");
            let pins = pins(file).len();
            assert!(pins > 10 && text.matches("--hash=sha256:").count() > pins, "{file}: {pins} pins");
        }
        let has = |file: usize, wanted: &str| pins(REQUIREMENTS[file]).iter().any(|(name, _)| name == wanted);
        assert!(
            has(0, "torch") && has(1, "ray") && has(1, "pyarrow") && has(1, "openai") && has(1, "pytest")
        );
    }

    #[test]
    fn requirements_of_both_files_go_into_one_python() {
        let (ours, theirs) = (pins(REQUIREMENTS[0]), pins(REQUIREMENTS[1]));
        let both: Vec<_> =
            theirs.iter().filter(|(name, _)| ours.iter().any(|(other, _)| other == name)).collect();
        for pin in &both {
            assert!(ours.contains(pin), "{pin:?} in one file, and another version in the other");
        }
        assert!(both.len() > 5, "only {both:?} are in both, and NumPy and pytest have to be");
    }
}
