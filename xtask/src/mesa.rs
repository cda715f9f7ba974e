//! `cargo xtask tiers`: the kernels' twins, the recordings and the bundled models on every tier, on a software Vulkan driver that has
//! them all.
//!
//! Mesa's lavapipe of 26.1 multiplies matrices as graphics hardware does (`VK_KHR_cooperative_matrix`), which Debian's stable one does
//! not. It is unpacked into `target/mesa` from Debian's newer packages, with the C library that it was built against: nothing of the
//! system is touched, and test programs run under that library's own loader. `apt-get` checks what it fetches against Debian's signed
//! lists.

use std::fs;
use std::path::{Path, PathBuf};

use crate::adapter::Choice;
use crate::command::{Step, is_ci};
use crate::debian;
use crate::job::Job;
use crate::targets::built_folder;

const SUITES: &str = "trixie trixie-backports";
const NEWER: &str = "trixie-backports";
const PACKAGES: [&str; 2] = ["mesa-vulkan-drivers", "libvulkan1"];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// The portable one too: a driver's mistake in a tier is none in the kernels that it shares with this one.
const TIERS: [&str; 4] = ["portable", "subgroup", "f16", "matrix"];
/// What a tier can change.
pub(crate) const TESTS: [&str; 3] = ["exec::twins", "eval::verify", "generate::tier_tests::a_tier"];

/// Whether the tests of kernels can be left to this stage: they are, unless an adapter was asked for by name or is the system's own.
pub(crate) fn takes_twins() -> bool {
    matches!(Choice::detect(), Choice::Lavapipe(_))
}

/// The stage of `cargo xtask test`: a driver that cannot be had is said loudly, and is no mistake of the project. Tests that were left
/// to it then run on the driver of all others, whose tier is the portable one.
pub(crate) fn test(driver: Job<Driver>) -> Result<(), String> {
    match driver.finish() {
        Ok(driver) => on_every_tier(&driver, &[]),
        Err(error) => {
            println!("\n!!! NO TIER BUT THE PORTABLE ONE IS TESTED: {error}\n");
            if !takes_twins() {
                return Ok(());
            }
            let environment = Choice::detect().environment(is_ci());
            environment.iter().fold(step(&[]), |step, (name, value)| step.env(name, value)).run()
        }
    }
}

pub(crate) fn describe() -> String {
    format!("{} with MIGM_TEST_TIER = {}", step(&[]).render(), TIERS.join(", "))
}

/// Runs the tests that the arguments name, by default all that a tier can change, on every tier.
pub(crate) fn main(args: &[String]) -> Result<(), String> {
    on_every_tier(&ensure()?, args)
}

/// With the features of all tests, so that nothing is built twice.
fn step(filter: &[String]) -> Step {
    let step = Step::whole("test", &["--lib", "--"]);
    if filter.is_empty() { step.args(&TESTS.map(str::to_owned)) } else { step.args(filter) }
}

fn on_every_tier(driver: &Driver, filter: &[String]) -> Result<(), String> {
    let mut failed = Vec::new();
    for tier in TIERS {
        println!("\n== tier {tier}");
        let variables = [
            ("VK_DRIVER_FILES", driver.icd.as_str()),
            ("VK_ICD_FILENAMES", &driver.icd),
            ("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", &driver.runner),
            ("MIGM_TEST_ADAPTER", "llvmpipe"),
            ("MIGM_TEST_TIER", tier),
        ];
        // What tests print is the share of tokens that tiers keep.
        let step = step(filter).args(&["--nocapture".to_owned()]);
        let step = variables.iter().fold(step, |step, (name, value)| step.env(name, value));
        if let Err(error) = step.run() {
            println!("== tier {tier}: FAILED: {error}");
            failed.push(tier);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("failed on: {}", failed.join(", "))) }
}

/// The driver, unpacked.
pub(crate) struct Driver {
    /// Its description, for the Vulkan loader.
    icd: String,
    /// What starts programs under its C library.
    runner: String,
}

impl Driver {
    fn of(folder: &Path) -> Self {
        let libraries = folder.join("root/usr/lib/x86_64-linux-gnu").display().to_string();
        let loader = folder.join("root/usr/lib64/ld-linux-x86-64.so.2").display().to_string();
        let icd = folder.join("lavapipe.json").display().to_string();
        Self { icd, runner: format!("{loader} --library-path {libraries}") }
    }
}

/// The driver, fetched if it is not there.
pub(crate) fn ensure() -> Result<Driver, String> {
    let folder = built_folder().join("mesa");
    let driver = Driver::of(&folder);
    // Written last: an installation that was interrupted has none.
    if Path::new(&driver.icd).is_file() {
        return Ok(driver);
    }
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) || !debian::has_apt() {
        return Err(
            "the driver comes as packages of Debian for x86-64; on another system set MIGM_TEST_ADAPTER and \
                    MIGM_TEST_TIER, and run `cargo test --lib exec::twins`"
                .to_owned(),
        );
    }
    fetch(&folder)?;
    let found = folder.join("root/usr/share/vulkan/icd.d/lvp_icd.json");
    let library = folder.join("root/usr/lib/x86_64-linux-gnu/libvulkan_lvp.so");
    let icd = placed(&read(&found)?, &library.display().to_string())?;
    write(Path::new(&driver.icd), &icd)?;
    Ok(driver)
}

/// Fetches and unpacks the packages, with lists and a state of their own.
fn fetch(folder: &Path) -> Result<(), String> {
    let apt = folder.join("apt");
    for part in ["lists/partial", "cache/archives/partial", "sources", "preferences", "packages"] {
        let path = apt.join(part);
        fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let mirror = mirror()?;
    let source =
        format!("Types: deb\nURIs: {mirror}\nSuites: {SUITES}\nComponents: main\nSigned-By: {KEYRING}\n");
    write(&apt.join("sources/newer.sources"), &source)?;
    write(&apt.join("status"), "")?;
    let (config, at) = (apt.join("apt.conf"), apt.display());
    let settings = format!(
        "Dir::State \"{at}\";\nDir::State::lists \"{at}/lists\";\nDir::State::status \"{at}/status\";\n\
         Dir::Cache \"{at}/cache\";\nDir::Etc::sourcelist \"/dev/null\";\nDir::Etc::sourceparts \"{at}/sources\";\n\
         Dir::Etc::preferencesparts \"{at}/preferences\";\nAPT::Install-Recommends \"false\";\nAPT::Sandbox::User \"root\";\n"
    );
    write(&config, &settings)?;
    let get = |words: &[&str]| Step::new("apt-get", words).env("APT_CONFIG", &config.display().to_string());
    get(&["-qq", "update"]).run()?;
    let planned =
        get(&["--simulate", "install", "--target-release", NEWER]).args(&PACKAGES.map(str::to_owned));
    let planned = planned.read().ok_or_else(|| format!("`{}` failed", planned.render()))?;
    let packages = installed(&planned);
    if packages.is_empty() {
        return Err(format!("nothing to fetch for {}", PACKAGES.join(", ")));
    }
    let words = ["cd", "&&", "apt-get", "-qq", "download", "--target-release", NEWER];
    let script = format!(
        "{} {:?} {} {} && for package in *.deb; do dpkg -x \"$package\" {:?} || exit 1; done",
        words[0],
        apt.join("packages"),
        words[1..].join(" "),
        packages.join(" "),
        folder.join("root"),
    );
    Step::new("sh", &["-c", &script]).env("APT_CONFIG", &config.display().to_string()).run()
}

/// The packages of a simulated installation.
fn installed(plan: &str) -> Vec<String> {
    plan.lines()
        .filter_map(|line| line.strip_prefix("Inst "))
        .filter_map(|rest| rest.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

/// A driver's description with the full path of its library.
fn placed(icd: &str, library: &str) -> Result<String, String> {
    let (before, rest) =
        icd.split_once("\"library_path\"").ok_or("the driver's description names no library")?;
    let mut quotes = rest.match_indices('"').map(|(at, _)| at);
    let (Some(first), Some(last)) = (quotes.next(), quotes.next()) else {
        return Err("the driver's description names no library".to_owned());
    };
    Ok(format!("{before}\"library_path\"{}{library}{}", &rest[..=first], &rest[last..]))
}

/// Where this system's packages come from.
fn mirror() -> Result<String, String> {
    let release = read(Path::new("/etc/os-release"))?;
    let codename =
        release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).unwrap_or_default();
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let more = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten();
    files.extend(more.map(|entry| entry.path()));
    files.sort();
    let texts = files.iter().filter_map(|file| fs::read_to_string(file).ok());
    texts
        .flat_map(|text| text.split("\n\n").filter_map(|entry| address(entry, codename)).collect::<Vec<_>>())
        .next()
        .ok_or_else(|| format!("no source of packages for {codename} in /etc/apt"))
}

/// The address of an entry, if it is of a release: a paragraph of fields, or lines of `deb [options] ADDRESS SUITE ...`.
fn address(entry: &str, codename: &str) -> Option<String> {
    let field = |name: &str| entry.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    if let (Some(addresses), Some(suites)) = (field("URIs:"), field("Suites:")) {
        let of_release = suites.split_whitespace().any(|suite| suite == codename);
        return of_release.then(|| addresses.split_whitespace().next().map(str::to_owned))?;
    }
    entry.lines().find_map(|line| {
        let words = line.strip_prefix("deb ")?;
        let words = words.trim_start();
        let words = if words.starts_with('[') { words.split_once(']')?.1 } else { words };
        let mut words = words.split_whitespace();
        let (address, suite) = (words.next()?, words.next()?);
        (suite == codename).then(|| address.to_owned())
    })
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_names_its_packages() {
        let plan = "NOTE: only a simulation\nInst libc6 (2.41 Debian:13 [amd64])\nConf libc6\nInst mesa-vulkan-drivers (26.1)\n";
        assert_eq!(installed(plan), ["libc6", "mesa-vulkan-drivers"]);
    }

    #[test]
    fn a_library_is_found_by_its_full_path() {
        let icd = "{\"ICD\": {\"api_version\": \"1.4\", \"library_path\": \"libvulkan_lvp.so\"}}";
        let wanted = "{\"ICD\": {\"api_version\": \"1.4\", \"library_path\": \"/a/libvulkan_lvp.so\"}}";
        assert_eq!(placed(icd, "/a/libvulkan_lvp.so").unwrap(), wanted);
        assert!(placed("{}", "/a").is_err());
    }

    #[test]
    fn packages_come_from_where_the_system_s_come_from() {
        let fields =
            "Types: deb\nURIs: http://a/debian\nSuites: bookworm bookworm-updates\nComponents: main\n";
        assert_eq!(address(fields, "bookworm").as_deref(), Some("http://a/debian"));
        assert_eq!(address(fields, "trixie"), None);
        let lines = "# deb http://old bookworm main\ndeb [signed-by=/k] http://b/debian bookworm main\n";
        assert_eq!(address(lines, "bookworm").as_deref(), Some("http://b/debian"));
        assert_eq!(address("deb http://c nodistro main", "bookworm"), None);
    }
}
