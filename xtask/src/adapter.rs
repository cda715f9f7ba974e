//! The Vulkan driver that the GPU tests run on: lavapipe, Mesa's software one, unless another is asked for.
//!
//! A Vulkan loader finds drivers through small JSON files ("ICDs"). The tests read `MIGM_TEST_ADAPTER` and fail, rather
//! than skip, when no adapter bears that name.

use std::path::{Path, PathBuf};

use crate::command::is_ci;
use crate::debian;

/// Names the adapter that the GPU tests must find.
const TEST_ADAPTER: &str = "MIGM_TEST_ADAPTER";
/// What lavapipe's adapter is called.
const LLVMPIPE: &str = "llvmpipe";
/// Both limit the loader to the drivers they list; older loaders know only the second.
const DRIVER_FILES: [&str; 2] = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"];
const ICD_FOLDERS: [&str; 2] = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d"];
const LAVAPIPE_PACKAGE: &str = "mesa-vulkan-drivers";

/// Which adapter the GPU tests will use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The software driver that this ICD file describes.
    Lavapipe(PathBuf),
    /// The adapter that `MIGM_TEST_ADAPTER` already named.
    Requested(String),
    /// Whatever the system offers: another driver, or a system without Vulkan.
    System,
    /// Nothing that the tests could run on.
    Missing,
}

impl Choice {
    /// Looks at this system as it is now.
    pub(crate) fn detect() -> Self {
        let requested = std::env::var(TEST_ADAPTER).unwrap_or_default();
        choose(cfg!(target_os = "linux"), is_ci(), &requested, &installed_icds())
    }

    /// The environment of the test run. An automatic run without lavapipe must fail, so it gets the name all the same.
    pub(crate) fn environment(&self, is_ci: bool) -> Vec<(&'static str, String)> {
        match self {
            Self::Lavapipe(icd) => {
                let icd = icd.display().to_string();
                let drivers = DRIVER_FILES.map(|name| (name, icd.clone()));
                std::iter::once((TEST_ADAPTER, LLVMPIPE.to_owned())).chain(drivers).collect()
            }
            Self::Missing if is_ci => vec![(TEST_ADAPTER, LLVMPIPE.to_owned())],
            // A requested adapter stands in the environment already.
            Self::Requested(_) | Self::System | Self::Missing => Vec::new(),
        }
    }
}

/// Makes sure that there is an adapter to test on, and says which; installs lavapipe on Debian where there is none.
pub(crate) fn ensure() -> Result<String, String> {
    let mut choice = Choice::detect();
    if choice == Choice::Missing {
        if !debian::has_apt() {
            return Err(
                "no Vulkan driver found: install your system's package with Mesa's lavapipe".to_owned()
            );
        }
        debian::install(&[LAVAPIPE_PACKAGE]).map_err(|error| format!("no Vulkan driver found, {error}"))?;
        choice = Choice::detect();
    }
    match choice {
        Choice::Lavapipe(icd) => Ok(format!("lavapipe, {}", icd.display())),
        Choice::Requested(name) => Ok(format!("`{name}`, as {TEST_ADAPTER} says")),
        Choice::System if cfg!(target_os = "linux") => Ok("the system's Vulkan driver".to_owned()),
        Choice::System => Ok("the system's own; nothing to install outside Linux".to_owned()),
        Choice::Missing => {
            let places =
                std::iter::once("VK_DRIVER_FILES, if set").chain(ICD_FOLDERS).collect::<Vec<_>>().join(", ");
            Err(format!("{LAVAPIPE_PACKAGE} is installed, but lavapipe is not listed ({places})"))
        }
    }
}

fn choose(is_linux: bool, is_ci: bool, requested: &str, icds: &[PathBuf]) -> Choice {
    let wants_lavapipe = requested.to_ascii_lowercase().contains(LLVMPIPE);
    if !requested.is_empty() && !wants_lavapipe {
        return Choice::Requested(requested.to_owned());
    }
    if !is_linux {
        return Choice::System;
    }
    match lavapipe(icds, std::env::consts::ARCH) {
        Some(icd) => Choice::Lavapipe(icd.to_path_buf()),
        None if icds.is_empty() || is_ci || wants_lavapipe => Choice::Missing,
        None => Choice::System,
    }
}

/// The ICD files the loader would read: those the environment lists, or else those of the system's folders.
fn installed_icds() -> Vec<PathBuf> {
    let listed =
        DRIVER_FILES.iter().find_map(|name| std::env::var_os(name).filter(|value| !value.is_empty()));
    match listed {
        Some(files) => std::env::split_paths(&files).filter(|file| file.is_file()).collect(),
        None => ICD_FOLDERS.iter().flat_map(|folder| icds_in(Path::new(folder))).collect(),
    }
}

/// The ICD files in a folder, sorted; none where the folder does not exist.
fn icds_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut icds: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    icds.sort();
    icds
}

/// Lavapipe's ICD, this architecture's if there are several: `lvp_icd.x86_64.json`, or `lvp_icd.json` in newer Mesa.
fn lavapipe<'a>(icds: &'a [PathBuf], arch: &str) -> Option<&'a Path> {
    let name =
        |icd: &Path| icd.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let mut found = icds.iter().map(PathBuf::as_path).filter(|icd| name(icd).starts_with("lvp_icd."));
    let first = found.next()?;
    Some(std::iter::once(first).chain(found).find(|icd| name(icd).contains(arch)).unwrap_or(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that holds empty files of these names, removed when dropped.
    struct Folder(PathBuf);

    impl Folder {
        fn with(name: &str, files: &[&str]) -> Self {
            let folder = std::env::temp_dir().join(format!("migm-xtask-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            for file in files {
                std::fs::write(folder.join(file), "").unwrap();
            }
            Self(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn paths(names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn discovery_sorts_json_files_and_passes_over_others() {
        let folder = Folder::with("sorted", &["radeon_icd.x86_64.json", "readme.txt", "lvp_icd.x86_64.json"]);
        let found = icds_in(&folder.0);
        assert_eq!(found, [folder.0.join("lvp_icd.x86_64.json"), folder.0.join("radeon_icd.x86_64.json")]);
    }

    #[test]
    fn a_folder_that_does_not_exist_has_no_drivers() {
        assert_eq!(icds_in(Path::new("/no/such/vulkan/icd.d")), Vec::<PathBuf>::new());
    }

    #[test]
    fn lavapipe_is_taken_for_this_architecture() {
        let icds = paths(&["/a/lvp_icd.i686.json", "/a/lvp_icd.x86_64.json", "/a/radeon_icd.x86_64.json"]);
        assert_eq!(lavapipe(&icds, "x86_64"), Some(Path::new("/a/lvp_icd.x86_64.json")));
        assert_eq!(lavapipe(&icds[1..], "aarch64"), Some(Path::new("/a/lvp_icd.x86_64.json")));
        assert_eq!(lavapipe(&paths(&["/a/lvp_icd.json"]), "x86_64"), Some(Path::new("/a/lvp_icd.json")));
        assert_eq!(lavapipe(&icds[2..], "x86_64"), None);
    }

    #[test]
    fn lavapipe_is_chosen_before_a_hardware_driver() {
        let icds = paths(&["/a/lvp_icd.json", "/a/radeon_icd.json"]);
        assert_eq!(choose(true, false, "", &icds), Choice::Lavapipe("/a/lvp_icd.json".into()));
        assert_eq!(choose(true, true, "LLVMpipe", &icds), Choice::Lavapipe("/a/lvp_icd.json".into()));
    }

    #[test]
    fn a_named_adapter_is_left_alone() {
        let icds = paths(&["/a/lvp_icd.json"]);
        assert_eq!(choose(true, true, "NVIDIA", &icds), Choice::Requested("NVIDIA".to_owned()));
    }

    #[test]
    fn a_hardware_driver_will_do_except_where_lavapipe_is_a_must() {
        let icds = paths(&["/a/radeon_icd.json"]);
        assert_eq!(choose(true, false, "", &icds), Choice::System);
        assert_eq!(choose(true, true, "", &icds), Choice::Missing);
        assert_eq!(choose(true, false, "llvmpipe", &icds), Choice::Missing);
        assert_eq!(choose(true, false, "", &[]), Choice::Missing);
    }

    #[test]
    fn systems_without_lavapipe_use_their_own_adapter() {
        assert_eq!(choose(false, true, "", &[]), Choice::System);
    }

    #[test]
    fn the_test_run_is_bound_to_lavapipe() {
        let environment = Choice::Lavapipe("/a/lvp_icd.json".into()).environment(false);
        let icd = "/a/lvp_icd.json".to_owned();
        let expected = [
            ("MIGM_TEST_ADAPTER", "llvmpipe".to_owned()),
            ("VK_DRIVER_FILES", icd.clone()),
            ("VK_ICD_FILENAMES", icd),
        ];
        assert_eq!(environment, expected);
    }

    #[test]
    fn an_automatic_run_without_a_driver_fails_rather_than_skips() {
        assert_eq!(Choice::Missing.environment(true), [("MIGM_TEST_ADAPTER", "llvmpipe".to_owned())]);
        assert_eq!(Choice::Missing.environment(false), []);
        assert_eq!(Choice::System.environment(true), []);
    }
}
