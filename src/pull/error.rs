//! What can go wrong with a pull, in sentences that name the repository and the file, and the way on.

use std::io;
use std::path::Path;

use crate::weights::WeightError;

/// A failure to fetch, check or convert.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// Neither a preset nor a repository.
    #[error(
        "{name:?} is neither a preset nor OWNER/REPO\n  the presets are: {}",
        super::PRESETS.map(|preset| preset.name).join(", ")
    )]
    UnknownName {
        /// What was asked for.
        name: String,
    },
    /// A revision that no branch, tag or commit can be called.
    #[error("{revision:?} is not a branch, a tag or a commit")]
    Revision {
        /// What was asked for.
        revision: String,
    },
    /// The place of a shortcut is not understood.
    #[error("{place:?} is not OWNER/REPO/FILE, nor none")]
    ShortcutPlace {
        /// What was asked for.
        place: String,
    },
    /// The destination holds something that no pull made.
    #[error(
        "{path} is there already and was not made by a pull\n  name another folder, or replace the model in it with --force"
    )]
    Occupied {
        /// The destination.
        path: String,
    },
    /// The hub has no such repository or revision.
    #[error("{endpoint} has no repository {repo} with a revision {revision}\n  check the spelling; {}", private(*token))]
    NoSuchRepo {
        /// The hub.
        endpoint: String,
        /// `OWNER/REPO`.
        repo: String,
        /// The branch, tag or commit.
        revision: String,
        /// Whether a token was sent.
        token: bool,
    },
    /// The repository has no such file.
    #[error(
        "{repo} has no file {file} at revision {revision}\n  it may have been moved or renamed: look at the repository's files, or name another --revision"
    )]
    NoSuchFile {
        /// `OWNER/REPO`.
        repo: String,
        /// The branch, tag or commit.
        revision: String,
        /// The file, or what its name should have matched.
        file: String,
    },
    /// The hub does not let us.
    #[error("{endpoint} refuses access to {repo} ({status})\n  {}", access(endpoint, repo, *token))]
    Denied {
        /// The hub.
        endpoint: String,
        /// `OWNER/REPO`.
        repo: String,
        /// The HTTP status: 401 or 403.
        status: u16,
        /// Whether a token was sent.
        token: bool,
    },
    /// The hub answers with another status than it should.
    #[error(
        "{url} answers with HTTP status {status}\n  try again later: what was fetched is kept and gone on with"
    )]
    Status {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The hub cannot be reached.
    #[error(
        "cannot reach {url}: {problem}\n  check the connection and HF_ENDPOINT; HF_HUB_OFFLINE=1 uses what was fetched earlier"
    )]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What happened.
        problem: String,
    },
    /// The hub takes the call and says nothing.
    #[error(
        "{url} does not answer within {seconds} s\n  \
         try again later: what was fetched is kept and gone on with; HF_HUB_DOWNLOAD_TIMEOUT=SECONDS waits longer"
    )]
    NoAnswer {
        /// What was asked for.
        url: String,
        /// How long was waited.
        seconds: u64,
    },
    /// The shortcut that a preset names cannot be had.
    #[error(
        "{problem}\n  it is the model's shortcut: --shortcut OWNER/REPO/FILE names another place, and --shortcut none goes without \
         it, at full steps only"
    )]
    NoShortcut {
        /// What happened.
        problem: Box<PullError>,
    },
    /// The transfer broke off too often.
    #[error(
        "{file} of {repo} broke off at {done} of {total} bytes: {problem}\n  run the same command again: it goes on from there"
    )]
    Interrupted {
        /// `OWNER/REPO`.
        repo: String,
        /// The file.
        file: String,
        /// Bytes that are kept.
        done: u64,
        /// Its bytes.
        total: u64,
        /// What happened.
        problem: String,
    },
    /// What the hub says cannot be understood or trusted.
    #[error("the answer of {url} makes no sense: {problem}\n  is HF_ENDPOINT a hub of models?")]
    Answer {
        /// What was asked for.
        url: String,
        /// What is wrong.
        problem: String,
    },
    /// The file that came is not the one that the hub lists.
    #[error(
        "{file} of {repo} came damaged: its {kind} is {found}, expected {expected}\n  it was thrown away; run the same command again"
    )]
    Checksum {
        /// `OWNER/REPO`.
        repo: String,
        /// The file.
        file: String,
        /// What was compared: `SHA-256`, `git SHA-1` or `length`.
        kind: &'static str,
        /// What the hub says.
        expected: String,
        /// What came.
        found: String,
    },
    /// The disk is full.
    #[error(
        "no space is left for {path}, which still needs {needed} bytes\n  make room, or put the cache elsewhere with HF_HUB_CACHE; what was fetched is kept and gone on with"
    )]
    NoSpace {
        /// What was being written.
        path: String,
        /// Bytes that were still to come.
        needed: u64,
    },
    /// The disk is full, with everything fetched.
    #[error(
        "no space is left to make the model {path} of files that hold {read_bytes} bytes and more\n  \
         make room, put it elsewhere with --to, or make it smaller with --quantize int4; what was fetched is kept"
    )]
    NoSpaceForModel {
        /// The model folder.
        path: String,
        /// Bytes of the largest checkpoint that was being converted.
        read_bytes: u64,
    },
    /// Another process is at it.
    #[error(
        "another program is fetching {file} of {repo}\n  wait until it is done and run the same command again"
    )]
    Busy {
        /// `OWNER/REPO`.
        repo: String,
        /// The file.
        file: String,
    },
    /// Not in the cache, and nobody may be asked.
    #[error(
        "{repo} is not in the cache with {file}, and HF_HUB_OFFLINE forbids to fetch it\n  unset HF_HUB_OFFLINE and run the same command once with a connection"
    )]
    Offline {
        /// `OWNER/REPO`.
        repo: String,
        /// The file, or what its name should have matched.
        file: String,
    },
    /// The operating system refused.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The model folder cannot be written.
    #[error(transparent)]
    Output(#[from] crate::output::OutputError),
    /// What was fetched cannot be read or converted.
    #[error(transparent)]
    Weight(#[from] WeightError),
}

impl PullError {
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.display().to_string(), source }
    }

    pub(super) fn answer(url: &str, problem: impl Into<String>) -> Self {
        Self::Answer { url: url.into(), problem: problem.into() }
    }

    /// Whether what was asked for is not there, or not for us.
    pub(super) fn is_absence(&self) -> bool {
        matches!(
            self,
            Self::NoSuchRepo { .. } | Self::NoSuchFile { .. } | Self::Denied { .. } | Self::Offline { .. }
        )
    }
}

fn private(token: bool) -> &'static str {
    if token {
        "a private one needs a token that may read it"
    } else {
        "for a private one, set a token in HF_TOKEN"
    }
}

fn access(endpoint: &str, repo: &str, token: bool) -> String {
    if token {
        format!(
            "the token in use is not accepted, or may not read this: see {endpoint}/settings/tokens; \
             some authors ask you to agree to conditions at {endpoint}/{repo}"
        )
    } else {
        format!(
            "set HF_TOKEN to a token from {endpoint}/settings/tokens and check the repository's spelling: \
             the hub answers like this where there is none, too"
        )
    }
}
