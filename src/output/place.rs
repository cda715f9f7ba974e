//! Where a path leads: links are followed to their end, and what is there decides how it is written.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Component, Path, PathBuf};

/// As many as systems follow.
const MOST_LINKS: usize = 40;

/// The end of a path.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// With links followed: what is opened, or made.
    pub(super) path: PathBuf,
    /// The same for all ways of naming the place.
    pub(super) identity: PathBuf,
    pub(super) what: What,
}

/// What is there.
#[cfg_attr(not(unix), allow(dead_code, reason = "other systems tell less of what is there"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Missing,
    File {
        read_only: bool,
    },
    Folder,
    /// A character device or a pipe.
    Stream,
    /// A file that this process has open, by its number: `/dev/stdout` and `>(...)`. Opened a second time by its name it would
    /// be written from its beginning, over what the shell or the process itself has put there.
    Descriptor(u32),
    /// A block device: written through, it would be a disk no longer.
    Disk,
    Socket,
}

impl Place {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        // Without the slash at the end, which would make a link its target.
        let mut path: PathBuf = path.components().collect();
        for _ in 0..MOST_LINKS {
            check_ways_up(&path)?;
            if let Some((identity, what)) = open_file(&path)? {
                return Ok(Self { path, identity, what });
            }
            let what = match fs::symlink_metadata(&path) {
                Ok(found) if found.is_symlink() => {
                    path = parent_of(&path).join(fs::read_link(&path)?);
                    continue;
                }
                Ok(found) => what(&found),
                Err(error) if super::is_absence(&error) => What::Missing,
                Err(error) => return Err(error),
            };
            return Ok(Self { identity: identity(&path), path, what });
        }
        Err(io::Error::other("it is a link that leads back to itself"))
    }
}

/// Up again leads only from a folder that is there: where others are made later, it would lead past what was checked.
fn check_ways_up(path: &Path) -> io::Result<()> {
    let mut way = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir && !way.as_os_str().is_empty() && !fs::metadata(&way)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        way.push(part);
    }
    Ok(())
}

fn what(found: &Metadata) -> What {
    let kind = found.file_type();
    if kind.is_dir() {
        return What::Folder;
    }
    if kind.is_file() {
        return What::File { read_only: found.permissions().readonly() };
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt as _;
        if kind.is_block_device() {
            return What::Disk;
        }
        if kind.is_socket() {
            return What::Socket;
        }
    }
    What::Stream
}

/// A path to a file that a process has open, which systems show as links in a folder of their own.
#[cfg(unix)]
fn open_file(path: &Path) -> io::Result<Option<(PathBuf, What)>> {
    let name = path.file_name().and_then(|name| name.to_str());
    let Some(number) = name.and_then(|name| name.parse::<u32>().ok()) else { return Ok(None) };
    let Ok(folder) = fs::canonicalize(parent_of(path)) else { return Ok(None) };
    let in_proc = folder.starts_with("/proc") && folder.ends_with("fd");
    if !in_proc && folder != Path::new("/dev/fd") {
        return Ok(None);
    }
    // One that is not open is an error like another.
    fs::metadata(path)?;
    let own = format!("/proc/{}/", std::process::id());
    let is_ours = !in_proc || folder.to_str().is_some_and(|folder| folder.starts_with(&own));
    let what = if is_ours { What::Descriptor(number) } else { What::Stream };
    Ok(Some((folder.join(number.to_string()), what)))
}

#[cfg(not(unix))]
fn open_file(_path: &Path) -> io::Result<Option<(PathBuf, What)>> {
    Ok(None)
}

/// The folder of a path; that of a bare name is the present one.
pub(super) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        // The root is its own.
        None if path.has_root() => path,
        _ => Path::new("."),
    }
}

/// Whether the name says that it is a folder: by a slash at its end, and a dot behind that.
pub(super) fn ends_with_slash(path: &Path) -> bool {
    let name = path.as_os_str().as_encoded_bytes();
    let is_slash = |byte: u8| std::path::is_separator(byte.into());
    match *name {
        [.., before, b'.'] if is_slash(before) => true,
        [.., last] => is_slash(last),
        [] => false,
    }
}

/// An absolute path with all links followed, as far as it is there, and by its words from there on.
fn real(path: &Path) -> PathBuf {
    let mut real = match path.is_absolute() {
        true => PathBuf::new(),
        false => fs::canonicalize(".").unwrap_or_default(),
    };
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                real.pop();
            }
            part => {
                real.push(part);
                real = fs::canonicalize(&real).unwrap_or(real);
            }
        }
    }
    real
}

/// What two names of one place have in common.
pub(super) fn identity(path: &Path) -> PathBuf {
    let real = real(path);
    // Where letters of either size are one file, they are so before it is there.
    if cfg!(any(windows, target_os = "macos")) {
        return real.to_string_lossy().to_lowercase().into();
    }
    real
}
