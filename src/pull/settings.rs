//! The hub's conventions for endpoint, token and cache, as its own libraries read them from the environment.

use std::path::{Path, PathBuf};
use std::time::Duration;

const HUB: &str = "https://huggingface.co";
/// Six times what the hub's libraries wait: mirrors take their time over large repositories.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where to fetch from, as whom, and where to keep it.
#[derive(Clone)]
pub struct Settings {
    /// The hub, without a slash at the end: `HF_ENDPOINT`.
    pub endpoint: String,
    /// The folder of the hub's libraries: `HF_HUB_CACHE`, or `hub` in `HF_HOME`.
    pub cache: PathBuf,
    /// An access token: `HF_TOKEN`, or the file that the hub's login writes. It is sent to the endpoint and nowhere else.
    pub token: Option<String>,
    /// Ask nobody, use what is in the cache: `HF_HUB_OFFLINE`.
    pub offline: bool,
    /// How long to wait for an answer to begin, and between two pieces of it: `HF_HUB_DOWNLOAD_TIMEOUT`, in seconds.
    pub patience: Duration,
    /// How often a transfer is taken up again without a byte of progress.
    pub retries: u32,
    /// How long to wait before the first of them; each next one waits twice as long.
    pub pause: Duration,
}

// Not derived: a token does not belong in a log.
impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("offline", &self.offline)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// As the environment of this process says.
    pub fn from_environment() -> Self {
        Self::from_lookup(&|name| std::env::var(name).ok(), std::env::home_dir().as_deref())
    }

    fn from_lookup(variable: &dyn Fn(&str) -> Option<String>, home: Option<&Path>) -> Self {
        let set = |name: &str| variable(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let is_on = |name: &str| {
            set(name).is_some_and(|v| ["1", "on", "yes", "true"].contains(&v.to_ascii_lowercase().as_str()))
        };
        let folder = |name: &str| set(name).map(PathBuf::from);
        let home = || home.unwrap_or(Path::new("."));
        let hf_home = folder("HF_HOME").unwrap_or_else(|| {
            folder("XDG_CACHE_HOME").unwrap_or_else(|| home().join(".cache")).join("huggingface")
        });
        let token_file = || {
            let path = folder("HF_TOKEN_PATH").unwrap_or_else(|| hf_home.join("token"));
            let token = std::fs::read_to_string(path).ok()?.trim().to_owned();
            (!token.is_empty() && !is_on("HF_HUB_DISABLE_IMPLICIT_TOKEN")).then_some(token)
        };
        Self {
            endpoint: set("HF_ENDPOINT").unwrap_or_else(|| HUB.into()).trim_end_matches('/').to_owned(),
            cache: folder("HF_HUB_CACHE").unwrap_or_else(|| hf_home.join("hub")),
            token: set("HF_TOKEN").or_else(token_file),
            offline: is_on("HF_HUB_OFFLINE"),
            patience: set("HF_HUB_DOWNLOAD_TIMEOUT")
                .and_then(|seconds| seconds.parse().ok())
                .filter(|&seconds| seconds > 0)
                .map_or(PATIENCE, Duration::from_secs),
            retries: 4,
            pause: Duration::from_secs(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Settings {
        let lookup = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Settings::from_lookup(&lookup, Some(Path::new("/nowhere")))
    }

    #[test]
    fn the_environment_is_read_as_the_hub_s_libraries_read_it() {
        let plain = settings(&[]);
        assert_eq!(plain.endpoint, "https://huggingface.co");
        assert_eq!(plain.cache, PathBuf::from("/nowhere/.cache/huggingface/hub"));
        assert!(plain.token.is_none() && !plain.offline);
        assert_eq!(settings(&[("XDG_CACHE_HOME", "/x")]).cache, PathBuf::from("/x/huggingface/hub"));
        assert_eq!(settings(&[("HF_HOME", "/h")]).cache, PathBuf::from("/h/hub"));
        assert_eq!(settings(&[("HF_HOME", "/h"), ("HF_HUB_CACHE", "/c")]).cache, PathBuf::from("/c"));
        assert_eq!(settings(&[("HF_ENDPOINT", "https://mirror/")]).endpoint, "https://mirror");
        let patience = |value| settings(&[("HF_HUB_DOWNLOAD_TIMEOUT", value)]).patience;
        assert_eq!(patience("7"), Duration::from_secs(7));
        assert_eq!([patience("0"), patience("soon")], [PATIENCE; 2]);
        for (value, offline) in [("1", true), ("TRUE", true), ("on", true), ("0", false), ("", false)] {
            assert_eq!(settings(&[("HF_HUB_OFFLINE", value)]).offline, offline, "{value}");
        }
    }

    #[test]
    fn a_token_comes_from_the_variable_or_the_login_s_file_and_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "from-file\n").unwrap();
        let home = folder.path().to_str().unwrap();
        assert_eq!(settings(&[("HF_HOME", home)]).token.as_deref(), Some("from-file"));
        let both = settings(&[("HF_HOME", home), ("HF_TOKEN", "from-variable")]);
        assert_eq!(both.token.as_deref(), Some("from-variable"));
        assert!(!format!("{both:?}").contains("from-variable"));
        let refused = [("HF_HOME", home), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")];
        assert!(settings(&refused).token.is_none());
    }
}
