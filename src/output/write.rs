//! Writing: regular files whole or not at all, everything else straight through.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::place::{Place, What, parent_of};

const BUFFER_BYTES: usize = 1 << 20;

/// Writes bytes to where a path leads.
///
/// # Errors
/// The system refused; a regular file that was there is there still, and nothing is left beside it.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    stream(path, |error| error, |out| out.write_all(bytes))
}

/// Writes to where a path leads what `content` produces, piece by piece. `refused` makes its error of the system's.
///
/// # Errors
/// The system refused, or `content` failed; a regular file that was there is there still, and nothing is left beside it.
pub fn stream<E>(
    path: &Path,
    refused: impl Fn(io::Error) -> E,
    content: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), E> {
    let place = Place::of(path).map_err(&refused)?;
    let through = |out: &mut dyn Write| {
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, out);
        content(&mut out)?;
        out.flush().map_err(&refused)
    };
    match place.what {
        What::Missing | What::File { read_only: false } => {}
        What::Descriptor(1) => return through(&mut io::stdout().lock()),
        What::Descriptor(2) => return through(&mut io::stderr().lock()),
        // At the end of what is there, should it be a file after all.
        What::Descriptor(_) | What::Stream => {
            return through(&mut OpenOptions::new().append(true).open(&place.path).map_err(&refused)?);
        }
        What::File { read_only: true } => return Err(refused(denied("the file is read-only"))),
        What::Folder => return Err(refused(io::ErrorKind::IsADirectory.into())),
        What::Disk | What::Socket => return Err(refused(denied("it is a disk or a socket"))),
    }
    let (mut file, temporary) = create_in(parent_of(&place.path)).map_err(&refused)?;
    if let Ok(old) = fs::metadata(&place.path) {
        keep(&file, &old).map_err(&refused)?;
    }
    through(&mut file)?;
    file.sync_all().map_err(&refused)?;
    drop(file);
    fs::rename(&temporary.0, &place.path).map_err(&refused)
}

fn denied(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

/// Makes a folder and those above it, also where a link to none stands for it.
///
/// # Errors
/// The system refused.
pub fn make_folder(path: &Path) -> io::Result<()> {
    fs::create_dir_all(followed(path)?)
}

/// A path with its links followed: what is moved or put beside it stays on the disk of what it leads to.
///
/// # Errors
/// The system refused to follow it.
pub fn followed(path: &Path) -> io::Result<PathBuf> {
    Ok(Place::of(path)?.path)
}

/// Tries whether a folder takes a file.
pub(super) fn probe(folder: &Path) -> io::Result<()> {
    create_in(folder).map(drop)
}

/// The new file belongs to whom the old one belongs, and may be read by whom that could be.
fn keep(file: &File, old: &Metadata) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt as _, fchown};
        let new = file.metadata()?;
        if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
            // Only some may give files away; for the others it becomes their own.
            let _ = fchown(file, Some(old.uid()), Some(old.gid()));
        }
    }
    file.set_permissions(old.permissions())
}

/// Removes the file when dropped; once it is renamed there is nothing of this name to remove.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // Nothing to be done if this fails too: the error that led here is the one to report.
        let _ = fs::remove_file(&self.0);
    }
}

/// A new file. Its name is short, whatever name it will have.
fn create_in(folder: &Path) -> io::Result<(File, Temporary)> {
    const ATTEMPTS: u32 = 100;
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let mut attempt = 0;
    loop {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let temporary = folder.join(format!(".migm-{}-{number}.part", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).open(&temporary) {
            Ok(file) => return Ok((file, Temporary(temporary))),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < ATTEMPTS => attempt += 1,
            Err(error) => return Err(error),
        }
    }
}
