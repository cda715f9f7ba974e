//! Packages of Debian and its relatives, installed when something the checks need is missing.

use std::sync::{Mutex, PoisonError};

use crate::command::{Step, has_program, is_ci};

/// Of several jobs one installs at a time: `apt-get` waits for a lock when it installs, and fails by one when it refreshes its lists.
static INSTALLING: Mutex<()> = Mutex::new(());

/// Whether packages can be installed here the Debian way.
pub(crate) fn has_apt() -> bool {
    cfg!(target_os = "linux") && has_program("apt-get")
}

/// Whether every one of these packages is installed.
pub(crate) fn is_installed(packages: &[&str]) -> bool {
    let query = Step::new("dpkg-query", &["--show", "--showformat=${db:Status-Status}\n"]);
    let packages: Vec<String> = packages.iter().map(|&package| package.to_owned()).collect();
    query.args(&packages).read().is_some_and(|states| states.lines().all(|state| state == "installed"))
}

/// Installs packages, with `sudo` when we are not root.
pub(crate) fn install(packages: &[&str]) -> Result<(), String> {
    let by_hand = format!("install {} by hand, then run this again", packages.join(" "));
    let _alone = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let prefix = privilege().ok_or_else(|| format!("not root, and no sudo here: {by_hand}"))?;
    // Lists that cannot be refreshed may still be good enough; what counts is whether the install works.
    if let Err(error) = apt_get(&prefix, &["update"]).run() {
        eprintln!("warning: {error}");
    }
    let mut words = vec!["install", "--yes", "--no-install-recommends"];
    words.extend(packages);
    apt_get(&prefix, &words).run().map_err(|error| format!("{error}: {by_hand}"))
}

/// The words before a command that needs root: none for root, `sudo` where it exists, `None` where neither helps.
fn privilege() -> Option<Vec<&'static str>> {
    let is_root = Step::new("id", &["-u"]).read().is_some_and(|id| id.trim() == "0");
    if is_root {
        return Some(Vec::new());
    }
    if !has_program("sudo") {
        return None;
    }
    // Nobody can type a password into an automatic run.
    Some(if is_ci() { vec!["sudo", "-n"] } else { vec!["sudo"] })
}

fn apt_get(prefix: &[&str], args: &[&str]) -> Step {
    // `sudo` drops the environment, so `env` sets the variable on its far side.
    let apt_get =
        ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120"];
    let words: Vec<&str> = prefix.iter().chain(&apt_get).chain(args).copied().collect();
    Step::new(words[0], &words[1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apt_never_asks_and_waits_for_its_lock() {
        let options = "env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120";
        assert_eq!(apt_get(&[], &["update"]).render(), format!("{options} update"));
        assert_eq!(apt_get(&["sudo", "-n"], &["update"]).render(), format!("sudo -n {options} update"));
    }

    #[test]
    fn a_package_nobody_made_is_not_installed() {
        assert!(!is_installed(&["migm-no-such-package"]));
    }
}
