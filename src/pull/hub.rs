//! What the hub answers: what a repository holds, and the bytes of a file from some byte on.
//!
//! Redirects are followed here and not by the client: the checksum of a large file is in a header of the redirect, and the
//! token must not go where the redirect leads.

use std::time::Duration;

use serde::Deserialize;
use ureq::http::{HeaderMap, Response};
use ureq::{Agent, Body};

use super::{PullError, Settings};

const MOST_REDIRECTS: usize = 8;
/// A repository of a hundred thousand files takes some thirty megabytes.
const LONGEST_LISTING: u64 = 64 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// A repository at a commit.
pub(super) struct Listing {
    pub(super) commit: String,
    pub(super) files: Vec<Remote>,
}

/// A file of a listing. Mirrors leave out what it should be.
#[derive(Clone, Debug)]
pub(super) struct Remote {
    pub(super) file: String,
    pub(super) size: Option<u64>,
    pub(super) hash: Option<Hash>,
}

/// What the hub says of a file's content, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    /// Of large files.
    Sha256(String),
    /// Of small ones, which lie in git itself: over `blob`, the length and the content.
    GitSha1(String),
}

impl Hash {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches("W/").trim_matches('"').to_ascii_lowercase();
        match text.len() {
            64 if is_hex(&text) => Some(Self::Sha256(text)),
            40 if is_hex(&text) => Some(Self::GitSha1(text)),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Self::Sha256(text) | Self::GitSha1(text) => text,
        }
    }
}

/// An answer that is the file, or a part of it.
pub(super) struct Transfer {
    pub(super) url: String,
    pub(super) response: Response<Body>,
    pub(super) size: Option<u64>,
    pub(super) hash: Option<Hash>,
}

pub(super) struct Hub<'a> {
    pub(super) settings: &'a Settings,
    agent: Agent,
}

impl<'a> Hub<'a> {
    pub(super) fn new(settings: &'a Settings) -> Result<Self, PullError> {
        let endpoint = &settings.endpoint;
        if !settings.offline && !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
            return Err(PullError::answer(endpoint, "it is not an address that starts with https://"));
        }
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_resolve(Some(CONNECT_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_per_read(Some(settings.patience))
            .user_agent(concat!("migm/", env!("CARGO_PKG_VERSION")));
        // A proxy cannot reach what is on this machine.
        if ["http://127.0.0.1", "http://localhost", "http://[::1]"]
            .contains(&origin(endpoint).rsplit_once(':').map_or("", |(host, _)| host))
        {
            config = config.proxy(None);
        }
        Ok(Self { settings, agent: config.build().new_agent() })
    }

    /// What a repository holds at a revision.
    pub(super) fn listing(&self, repo: &str, revision: &str) -> Result<Listing, PullError> {
        #[derive(Deserialize)]
        struct Model {
            sha: String,
            siblings: Vec<Sibling>,
        }
        #[derive(Deserialize)]
        struct Sibling {
            rfilename: String,
            size: Option<u64>,
            #[serde(rename = "blobId")]
            blob_id: Option<String>,
            lfs: Option<Lfs>,
        }
        #[derive(Deserialize)]
        struct Lfs {
            sha256: Option<String>,
            size: Option<u64>,
        }
        // With `blobs`, lengths and checksums come along.
        let encoded = encode(revision, false);
        let url = format!("{}/api/models/{repo}/revision/{encoded}?blobs=true", self.settings.endpoint);
        let transfer = self.send(&url, false, 0)?;
        match transfer.response.status().as_u16() {
            200 => {}
            404 => {
                return Err(PullError::NoSuchRepo {
                    endpoint: self.settings.endpoint.clone(),
                    repo: repo.to_owned(),
                    revision: revision.to_owned(),
                    token: self.settings.token.is_some(),
                });
            }
            status => return Err(self.refused(&url, repo, status)),
        }
        let body = transfer.response.into_body().into_with_config().limit(LONGEST_LISTING).read_to_vec();
        let body = body.map_err(|e| self.silent(&url, &e))?;
        let model: Model =
            serde_json::from_slice(&body).map_err(|e| PullError::answer(&url, e.to_string()))?;
        if !is_commit(&model.sha) {
            return Err(PullError::answer(&url, format!("{:?} is no commit", model.sha)));
        }
        let mut files = Vec::with_capacity(model.siblings.len());
        for sibling in model.siblings {
            let Sibling { rfilename: file, size, blob_id, lfs } = sibling;
            if !is_inner_path(&file) {
                return Err(PullError::answer(
                    &url,
                    format!("it lists {file:?}, which is no path in a repository"),
                ));
            }
            let (size, hash) = match lfs {
                Some(lfs) => (lfs.size.or(size), lfs.sha256.as_deref().and_then(Hash::parse)),
                None => (size, blob_id.as_deref().and_then(Hash::parse)),
            };
            files.push(Remote { file, size, hash });
        }
        Ok(Listing { commit: model.sha, files })
    }

    /// What the headers say of a file, where the listing does not.
    pub(super) fn head(&self, repo: &str, commit: &str, file: &str) -> Result<Remote, PullError> {
        let transfer = self.send(&self.resolve(repo, commit, file), true, 0)?;
        let status = transfer.response.status().as_u16();
        if status >= 400 {
            return Err(self.no_file(&transfer.url, repo, commit, file, status));
        }
        Ok(Remote { file: file.to_owned(), size: transfer.size, hash: transfer.hash })
    }

    /// A file from byte `start` on; the whole of it where the server cannot do that (200), or nothing (416).
    pub(super) fn get(
        &self,
        repo: &str,
        commit: &str,
        file: &str,
        start: u64,
    ) -> Result<Transfer, PullError> {
        let transfer = self.send(&self.resolve(repo, commit, file), false, start)?;
        match transfer.response.status().as_u16() {
            200 | 206 => Ok(transfer),
            416 if start > 0 => Ok(transfer),
            status => Err(self.no_file(&transfer.url, repo, commit, file, status)),
        }
    }

    fn resolve(&self, repo: &str, commit: &str, file: &str) -> String {
        format!("{}/{repo}/resolve/{commit}/{}", self.settings.endpoint, encode(file, true))
    }

    fn no_file(&self, url: &str, repo: &str, commit: &str, file: &str, status: u16) -> PullError {
        if status != 404 {
            return self.refused(url, repo, status);
        }
        let (repo, revision, file) = (repo.to_owned(), commit.to_owned(), file.to_owned());
        PullError::NoSuchFile { repo, revision, file }
    }

    fn refused(&self, url: &str, repo: &str, status: u16) -> PullError {
        if status == 401 || status == 403 {
            let (endpoint, repo) = (self.settings.endpoint.clone(), repo.to_owned());
            return PullError::Denied { endpoint, repo, status, token: self.settings.token.is_some() };
        }
        PullError::Status { url: without_query(url), status }
    }

    /// No answer at all, or none in time.
    fn silent(&self, url: &str, error: &ureq::Error) -> PullError {
        let url = without_query(url);
        match error {
            ureq::Error::Timeout(ureq::Timeout::PerRead) => {
                PullError::NoAnswer { url, seconds: self.settings.patience.as_secs() }
            }
            other => PullError::Unreachable { url, problem: other.to_string() },
        }
    }

    /// Sends a request and follows redirects; the facts about the file are those of the hub's own answers.
    fn send(&self, url: &str, head: bool, start: u64) -> Result<Transfer, PullError> {
        let home = origin(&self.settings.endpoint);
        let mut url = url.to_owned();
        let (mut size, mut hash) = (None, None);
        for _ in 0..MOST_REDIRECTS {
            let at_home = origin(&url) == home;
            let mut request = if head { self.agent.head(&url) } else { self.agent.get(&url) };
            if let Some(token) = self.settings.token.as_ref().filter(|_| at_home) {
                request = request.header("Authorization", format!("Bearer {token}"));
            }
            if start > 0 {
                request = request.header("Range", format!("bytes={start}-"));
            }
            let response = request.call().map_err(|e| self.silent(&url, &e))?;
            let redirects = response.status().is_redirection();
            if at_home {
                let headers = response.headers();
                let own_etag = header(headers, "etag").filter(|_| !redirects);
                hash = header(headers, "x-linked-etag").or(own_etag).and_then(Hash::parse).or(hash);
                let own_size = header(headers, "content-length").filter(|_| !redirects && start == 0);
                size = header(headers, "x-linked-size").or(own_size).and_then(|s| s.parse().ok()).or(size);
            }
            if !redirects {
                return Ok(Transfer { url, response, size, hash });
            }
            let Some(location) = header(response.headers(), "location") else {
                return Err(PullError::answer(&without_query(&url), "it redirects to nowhere"));
            };
            let next = if location.starts_with('/') && !location.starts_with("//") {
                format!("{}{location}", origin(&url))
            } else {
                location.to_owned()
            };
            let is_safe =
                next.starts_with("https://") || (next.starts_with("http://") && !url.starts_with("https://"));
            if !is_safe {
                return Err(PullError::answer(
                    &without_query(&url),
                    "it redirects to an address that is not safe",
                ));
            }
            // Addresses of the storage behind the hub are signed for reading only.
            if head && origin(&next) != home {
                return Ok(Transfer { url, response, size, hash });
            }
            url = next;
        }
        Err(PullError::answer(&without_query(&url), "it redirects in a circle"))
    }
}

pub(super) fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// Scheme, host and port.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |at| host + at);
    &url[..end]
}

/// For messages: signatures in queries are nobody's business.
fn without_query(url: &str) -> String {
    url.split('?').next().unwrap_or(url).to_owned()
}

fn encode(text: &str, is_path: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            b'/' if is_path => encoded.push('/'),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && is_hex(text)
}

/// `OWNER/REPO`, of letters that the hub allows: it becomes a part of addresses and paths.
pub(super) fn is_repo(text: &str) -> bool {
    let is_name = |name: &str| {
        name.len() <= 96
            && name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            && !name.contains("..")
            && !name.contains("--")
    };
    text.split_once('/').is_some_and(|(owner, repo)| is_name(owner) && is_name(repo))
}

pub(super) fn check_revision(revision: &str) -> Result<(), PullError> {
    let is_plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    if revision.len() <= 200 && revision.split('/').all(is_plain) {
        return Ok(());
    }
    Err(PullError::Revision { revision: revision.to_owned() })
}

/// A path that stays in its folder, on every system.
fn is_inner_path(path: &str) -> bool {
    let is_plain = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && !part.contains(['\\', ':'])
            && !part.contains(char::is_control)
    };
    path.len() <= 1000 && path.split('/').all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_the_cache() {
        for good in ["a/b", "Alpha-VLLM/Lumina-DiMOO", "_x/y.z_1"] {
            assert!(is_repo(good), "{good}");
        }
        for bad in ["a", "a/b/c", "/b", "a/", "../b", "a/..", "a/b c", "a/b?x", "a--b/c", "a/b\\c", "-a/b"] {
            assert!(!is_repo(bad), "{bad}");
        }
        for bad in ["", "..", "a/../b", "/a", "a//b", "a b", ".git"] {
            assert!(check_revision(bad).is_err(), "{bad}");
        }
        assert!(check_revision("refs/pr/1").is_ok() && check_revision("v1.0").is_ok());
        for bad in ["", "/etc/passwd", "../x", "a/../../x", "a//b", "C:/x", "a\\b", "a\u{0}"] {
            assert!(!is_inner_path(bad), "{bad}");
        }
        assert!(is_inner_path("VQGAN/last.ckpt") && is_inner_path(".gitattributes"));
    }

    #[test]
    fn addresses_are_taken_apart_and_put_together() {
        assert_eq!(origin("https://h:1/a/b?c"), "https://h:1");
        assert_eq!(origin("http://h"), "http://h");
        assert_eq!(without_query("https://h/a?Signature=x"), "https://h/a");
        assert_eq!(encode("a b/c#d", true), "a%20b/c%23d");
        assert_eq!(encode("refs/pr/1", false), "refs%2Fpr%2F1");
        let sha = "A".repeat(64);
        assert_eq!(Hash::parse(&format!("\"{sha}\"")), Some(Hash::Sha256("a".repeat(64))));
        assert_eq!(Hash::parse("W/\"abc\""), None);
    }
}
