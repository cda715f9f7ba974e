//! Why an output cannot be, in one sentence that names option, path and the way on.

use std::io;

/// An output that cannot be written, found before anything was computed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// No name at all.
    #[error("{option} is empty; name a place to write to")]
    Empty {
        /// The option.
        option: String,
    },
    /// The name's extension means another thing than what is written.
    #[error("{option} {path}: what is written is {is}; name a {instead}")]
    Misnamed {
        /// The option.
        option: String,
        /// As it was named.
        path: String,
        /// What would be written.
        is: String,
        /// A name that would do.
        instead: String,
    },
    /// A folder, where a file is to be written.
    #[error("{option} {path} is a folder; name a file in it or elsewhere")]
    IsFolder {
        /// The option.
        option: String,
        /// As it was named.
        path: String,
    },
    /// A file, where a folder is needed.
    #[error("{option} {path} is a file and no folder; name a folder{}", if *.or_picture { ", or a .png file" } else { "" })]
    IsNoFolder {
        /// The option.
        option: String,
        /// As it was named.
        path: String,
        /// Whether the name of a picture would do too.
        or_picture: bool,
    },
    /// A disk or a socket.
    #[error("{option} {path} is a disk or a socket, and is left alone; name a file")]
    NotForFiles {
        /// The option.
        option: String,
        /// As it was named.
        path: String,
    },
    /// The file may not be changed.
    #[error("{option} {path} is read-only; name another file, or make it writable")]
    ReadOnly {
        /// The option.
        option: String,
        /// As it was named.
        path: String,
    },
    /// The folder is not there.
    #[error("{option} {path}: there is no folder {folder}; make it first, or name another place")]
    NoParent {
        /// The option.
        option: String,
        /// As it was named.
        path: String,
        /// The folder.
        folder: String,
    },
    /// What should be its folder is a file.
    #[error("{option} {path}: {folder} is no folder; name another place")]
    ParentIsFile {
        /// The option.
        option: String,
        /// As it was named.
        path: String,
        /// What is no folder.
        folder: String,
    },
    /// The folder takes no files.
    #[error("{option} {path}: nothing can be written into {folder} ({source}); name another place")]
    FolderRefused {
        /// The option.
        option: String,
        /// As it was named.
        path: String,
        /// The folder.
        folder: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The operating system refuses.
    #[error("{option} {path} cannot be written ({source}); name another place")]
    Refused {
        /// The option.
        option: String,
        /// As it was named.
        path: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Two outputs are one.
    #[error("{first} and {option} both write to {path}; name two places")]
    Same {
        /// The option that came first.
        first: String,
        /// The other.
        option: String,
        /// As the other names it.
        path: String,
    },
    /// One output is a file where another needs a folder.
    #[error(
        "{first} {other} and {option} {path} cannot both be: one is a file where the other needs a folder; name two places"
    )]
    Blocked {
        /// The option that came first.
        first: String,
        /// Its path.
        other: String,
        /// The other.
        option: String,
        /// As the other names it.
        path: String,
    },
}
