//! One file into the cache: resumed where it broke off, checked, and only then under its name.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

use super::cache::{RepoCache, create_parent, remove};
use super::hub::{Hash, Hub, Remote, Transfer, header};
use super::{PullError, PullProgress, PulledFile, Stage};

const CHUNK_BYTES: usize = 256 << 10;

/// What a file was checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// Length and SHA-256.
    Sha256,
    /// Length and git's SHA-1, which the hub has for small files.
    GitSha1,
    /// The length only: the server states no checksum.
    Length,
    /// It was in the cache, under a name that it got after its check.
    Earlier,
}

/// A file and what it must be.
struct Expected<'a> {
    repo: &'a str,
    commit: &'a str,
    file: &'a str,
    size: u64,
    hash: Option<Hash>,
}

/// Fetches a file of a commit, or finds it in the cache.
pub(super) fn file(
    hub: &Hub<'_>,
    cache: &RepoCache,
    repo: &str,
    commit: &str,
    remote: &Remote,
    force: bool,
    on_progress: &mut dyn FnMut(PullProgress<'_>),
) -> Result<PulledFile, PullError> {
    let file = remote.file.as_str();
    let expected = expect(hub, repo, commit, remote)?;
    let size = expected.size;
    let pulled = |path, fetched_bytes, checked| {
        let (repo, commit, file) = (repo.to_owned(), commit.to_owned(), file.to_owned());
        PulledFile { repo, commit, file, path, bytes: size, fetched_bytes, checked }
    };
    // Without a checksum the name in its commit identifies the content.
    let blob = expected
        .hash
        .as_ref()
        .map_or_else(|| format!("{commit}-{}", file.replace('/', "--")), |hash| hash.text().to_owned());
    let path = cache.blob(&blob);
    let is_there = || fs::metadata(&path).is_ok_and(|m| m.is_file() && m.len() == size);
    if !force {
        if let Some(path) = cache.linked(commit, file, size) {
            return Ok(pulled(path, 0, Checked::Earlier));
        }
        if is_there() {
            return Ok(pulled(cache.link(commit, file, &blob)?, 0, Checked::Earlier));
        }
    }
    create_parent(&path)?;
    let part_path = path.with_file_name(format!("{blob}.migm-part"));
    let part = open_part(&part_path)?;
    match part.try_lock() {
        Err(TryLockError::WouldBlock) => {
            return Err(PullError::Busy { repo: repo.to_owned(), file: file.to_owned() });
        }
        // A file system without locks: two pulls at once are then the user's to avoid, and the checksum's to catch.
        Ok(()) | Err(TryLockError::Error(_)) => {}
    }
    // Another process may have finished between our look and our lock.
    if !force && is_there() {
        return Ok(pulled(cache.link(commit, file, &blob)?, 0, Checked::Earlier));
    }
    let mut part = Part { file: part, path: part_path, hasher: None, length: 0 };
    let (fetched, checked) = part.fill(hub, &expected, force, on_progress)?;
    part.file.sync_all().map_err(|e| part.refused(e, size))?;
    fs::rename(&part.path, &path).map_err(|e| PullError::io("write", &path, e))?;
    Ok(pulled(cache.link(commit, file, &blob)?, fetched, checked))
}

/// Length and checksum, from the listing or else from the headers. Where both speak they must agree.
fn expect<'a>(
    hub: &Hub<'_>,
    repo: &'a str,
    commit: &'a str,
    remote: &'a Remote,
) -> Result<Expected<'a>, PullError> {
    let file = remote.file.as_str();
    let (mut size, mut hash) = (remote.size, remote.hash.clone());
    if size.is_none() || hash.is_none() {
        let head = hub.head(repo, commit, file)?;
        size = size.or(head.size);
        hash = hash.or(head.hash);
    }
    let size = size.ok_or_else(|| {
        let problem = format!("neither the listing nor a header says how long {file} is");
        PullError::answer(&hub.settings.endpoint, problem)
    })?;
    Ok(Expected { repo, commit, file, size, hash })
}

fn open_part(path: &Path) -> Result<File, PullError> {
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    opened.map_err(|e| PullError::io("write", path, e))
}

/// The beginning of a file, under its temporary name.
struct Part {
    file: File,
    path: PathBuf,
    /// Over the first `length` bytes; `None` where there is nothing to compare with.
    hasher: Option<Context>,
    length: u64,
}

/// Why an attempt ended before the file did.
enum Broken {
    /// Worth another attempt.
    Transfer(String),
    /// Not.
    Final(PullError),
}

impl From<PullError> for Broken {
    fn from(error: PullError) -> Self {
        match error {
            PullError::Unreachable { problem, .. } => Self::Transfer(problem),
            PullError::NoAnswer { seconds, .. } => {
                Self::Transfer(format!("the server does not answer within {seconds} s"))
            }
            PullError::Status { status, .. } if status == 429 || status >= 500 => {
                Self::Transfer(format!("the server answers with HTTP status {status}"))
            }
            other => Self::Final(other),
        }
    }
}

impl Part {
    /// Fetches what is missing and checks the whole; the bytes that were transferred.
    fn fill(
        &mut self,
        hub: &Hub<'_>,
        expected: &Expected<'_>,
        force: bool,
        on_progress: &mut dyn FnMut(PullProgress<'_>),
    ) -> Result<(u64, Checked), PullError> {
        let there = self.file.metadata().map_err(|e| PullError::io("read", &self.path, e))?.len();
        if there > 0 && (force || there > expected.size) {
            self.file.set_len(0).map_err(|e| PullError::io("write", &self.path, e))?;
        }
        self.take_up(expected)?;
        let (mut fetched, mut vain) = (0, 0);
        while self.length < expected.size {
            let before = fetched;
            match self.attempt(hub, expected, &mut fetched, on_progress) {
                Ok(()) => {}
                Err(Broken::Final(error)) => return Err(error),
                Err(Broken::Transfer(problem)) => {
                    vain = if fetched > before { 0 } else { vain + 1 };
                    if vain > hub.settings.retries || (fetched > before && hub.settings.retries == 0) {
                        return Err(PullError::Interrupted {
                            repo: expected.repo.to_owned(),
                            file: expected.file.to_owned(),
                            done: self.length,
                            total: expected.size,
                            problem,
                        });
                    }
                    on_progress(PullProgress {
                        stage: Stage::Wait,
                        file: expected.file,
                        done_bytes: self.length,
                        total_bytes: expected.size,
                    });
                    std::thread::sleep(hub.settings.pause * (1 << vain.min(6)));
                }
            }
        }
        Ok((fetched, self.check(expected)?))
    }

    /// Goes on after what is there: its bytes are hashed, in case the process that fetched them is not this one.
    fn take_up(&mut self, expected: &Expected<'_>) -> Result<(), PullError> {
        let refused = |e| PullError::io("read", &self.path, e);
        let mut hasher = expected.hash.as_ref().map(|hash| match hash {
            Hash::Sha256(_) => Context::new(&SHA256),
            Hash::GitSha1(_) => {
                let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
                context.update(format!("blob {}\0", expected.size).as_bytes());
                context
            }
        });
        self.file.seek(SeekFrom::Start(0)).map_err(refused)?;
        let mut there = self.file.metadata().map_err(refused)?.len();
        self.length = there;
        let mut chunk = vec![0; CHUNK_BYTES];
        while there > 0 {
            let n = self.file.read(&mut chunk).map_err(refused)?;
            if n == 0 {
                break;
            }
            if let Some(hasher) = &mut hasher {
                hasher.update(&chunk[..n]);
            }
            there -= n as u64;
        }
        self.hasher = hasher;
        Ok(())
    }

    fn restart(&mut self, expected: &Expected<'_>) -> Result<(), PullError> {
        self.file.set_len(0).map_err(|e| PullError::io("write", &self.path, e))?;
        self.take_up(expected)
    }

    /// One request.
    fn attempt(
        &mut self,
        hub: &Hub<'_>,
        expected: &Expected<'_>,
        fetched: &mut u64,
        on_progress: &mut dyn FnMut(PullProgress<'_>),
    ) -> Result<(), Broken> {
        let transfer = hub.get(expected.repo, expected.commit, expected.file, self.length)?;
        match transfer.response.status().as_u16() {
            416 => {
                self.restart(expected)?;
                return Err(Broken::Transfer("the server cannot go on from where the file broke off".into()));
            }
            200 if self.length > 0 => self.restart(expected)?,
            _ => {}
        }
        self.check_announced(&transfer, expected)?;
        let mut body = transfer.response.into_body().into_reader();
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            on_progress(PullProgress {
                stage: Stage::Fetch,
                file: expected.file,
                done_bytes: self.length,
                total_bytes: expected.size,
            });
            if self.length == expected.size {
                return Ok(());
            }
            let n = body.read(&mut chunk).map_err(|e| match e.kind() {
                io::ErrorKind::TimedOut => Broken::Transfer("nothing came any more".into()),
                _ => Broken::Transfer(e.to_string()),
            })?;
            if n == 0 {
                return Err(Broken::Transfer("the connection was closed".into()));
            }
            let left = expected.size - self.length;
            if n as u64 > left {
                let found = format!("more than {} bytes", expected.size);
                return Err(Broken::Final(self.damaged(
                    expected,
                    "length",
                    &expected.size.to_string(),
                    &found,
                )));
            }
            self.file.write_all(&chunk[..n]).map_err(|e| Broken::Final(self.refused(e, left)))?;
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&chunk[..n]);
            }
            self.length += n as u64;
            *fetched += n as u64;
        }
    }

    /// What comes is what was asked for, as far as its headers tell.
    fn check_announced(&mut self, transfer: &Transfer, expected: &Expected<'_>) -> Result<(), PullError> {
        let headers = transfer.response.headers();
        if let (Some(listed), Some(stated)) = (&expected.hash, &transfer.hash)
            && std::mem::discriminant(listed) == std::mem::discriminant(stated)
            && listed != stated
        {
            return Err(self.damaged(expected, "stated checksum", listed.text(), stated.text()));
        }
        let total = if transfer.response.status().as_u16() == 206 {
            let range = header(headers, "content-range").and_then(parse_range);
            let Some((start, total)) = range.filter(|(start, _)| *start == self.length) else {
                let problem = format!("byte {} was asked for and others come", self.length);
                return Err(PullError::answer(&transfer.url, problem));
            };
            debug_assert_eq!(start, self.length);
            total
        } else {
            header(headers, "content-length").and_then(|length| length.parse().ok())
        };
        match total {
            Some(total) if total != expected.size => {
                Err(self.damaged(expected, "length", &expected.size.to_string(), &total.to_string()))
            }
            _ => Ok(()),
        }
    }

    fn check(&mut self, expected: &Expected<'_>) -> Result<Checked, PullError> {
        let (Some(hash), Some(hasher)) = (&expected.hash, self.hasher.take()) else {
            return Ok(Checked::Length);
        };
        let found: String = hasher.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let (kind, checked) = match hash {
            Hash::Sha256(_) => ("SHA-256", Checked::Sha256),
            Hash::GitSha1(_) => ("git SHA-1", Checked::GitSha1),
        };
        if found == hash.text() {
            Ok(checked)
        } else {
            Err(self.damaged(expected, kind, hash.text(), &found))
        }
    }

    /// The error of a file that is another; what came of it is thrown away, or the next attempt would go on from it.
    fn damaged(&self, expected: &Expected<'_>, kind: &'static str, wanted: &str, found: &str) -> PullError {
        if let Err(error) = remove(&self.path) {
            return error;
        }
        let (repo, file) = (expected.repo.to_owned(), expected.file.to_owned());
        PullError::Checksum { repo, file, kind, expected: wanted.to_owned(), found: found.to_owned() }
    }

    fn refused(&self, error: io::Error, needed: u64) -> PullError {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                PullError::NoSpace { path: self.path.display().to_string(), needed }
            }
            _ => PullError::io("write", &self.path, error),
        }
    }
}

/// The first byte and the whole length of `bytes 5-9/10`.
fn parse_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.trim().parse().ok()?, total.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        assert_eq!(parse_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(parse_range("bytes 5-9/*"), Some((5, None)));
        assert_eq!(parse_range("bytes */10"), None);
        assert_eq!(parse_range("items 1-2/3"), None);
    }
}
