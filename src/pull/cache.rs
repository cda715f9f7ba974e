//! The cache on disk, as the hub's libraries lay it out: content under its checksum in `blobs`, names in `snapshots/COMMIT`
//! that point to it, and in `refs` the commit that a branch had.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::PullError;
use super::hub::is_commit;

/// As deep as `vqvae/diffusion_pytorch_model.safetensors` and then some.
const DEPTH: usize = 6;

/// The folder of one repository.
pub(super) struct RepoCache {
    folder: PathBuf,
}

impl RepoCache {
    pub(super) fn new(cache: &Path, repo: &str) -> Self {
        Self { folder: cache.join(format!("models--{}", repo.replace('/', "--"))) }
    }

    /// Where content of this name (a checksum) is.
    pub(super) fn blob(&self, name: &str) -> PathBuf {
        self.folder.join("blobs").join(name)
    }

    /// Model folders made of the repository; the hub's libraries pass over it.
    pub(super) fn models(&self) -> PathBuf {
        self.folder.join("migm")
    }

    /// The files of a commit, under their names.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// Gives content its name in a commit. `file` has been checked to stay in the folder.
    pub(super) fn link(&self, commit: &str, file: &str, blob: &str) -> Result<PathBuf, PullError> {
        let path = self.snapshot(commit).join(file);
        let content = self.blob(blob);
        let up = "../".repeat(file.matches('/').count() + 2);
        create_parent(&path)?;
        remove(&path)?;
        let refused = |e| PullError::io("write", &path, e);
        if symlink(&format!("{up}blobs/{blob}"), &path).is_ok() || fs::hard_link(&content, &path).is_ok() {
            return Ok(path);
        }
        // A file system without links: the content moves to its name, and is found there by its length next time.
        fs::rename(&content, &path).map_err(refused)?;
        Ok(path)
    }

    /// What an earlier pull linked under this name, if it has this length.
    pub(super) fn linked(&self, commit: &str, file: &str, bytes: u64) -> Option<PathBuf> {
        let path = self.snapshot(commit).join(file);
        fs::metadata(&path).ok().filter(|m| m.is_file() && m.len() == bytes)?;
        Some(path)
    }

    /// The commit of a revision when it was last fetched.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        let named = fs::read_to_string(self.folder.join("refs").join(revision)).ok();
        let commit = named.map_or_else(|| revision.to_owned(), |text| text.trim().to_owned());
        (is_commit(&commit) && self.snapshot(&commit).is_dir()).then_some(commit)
    }

    pub(super) fn write_ref(&self, revision: &str, commit: &str) -> Result<(), PullError> {
        if revision == commit {
            return Ok(());
        }
        let path = self.folder.join("refs").join(revision);
        create_parent(&path)?;
        let mut part = path.clone().into_os_string();
        part.push(format!(".{}.migm-part", std::process::id()));
        let part = PathBuf::from(part);
        let written = fs::write(&part, commit).and_then(|()| fs::rename(&part, &path));
        written.map_err(|e| {
            // The error that led here is the one to report.
            let _ = fs::remove_file(&part);
            PullError::io("write", &path, e)
        })
    }

    /// Every file of a commit that is there: its name in the repository, its path, its length.
    pub(super) fn files(&self, commit: &str) -> Result<Vec<(String, PathBuf, u64)>, PullError> {
        let mut files = Vec::new();
        list(&self.snapshot(commit), "", DEPTH, &mut files)?;
        files.sort();
        Ok(files)
    }
}

fn list(
    folder: &Path,
    prefix: &str,
    depth: usize,
    files: &mut Vec<(String, PathBuf, u64)>,
) -> Result<(), PullError> {
    let refused = |e| PullError::io("read", folder, e);
    for entry in fs::read_dir(folder).map_err(refused)? {
        let path = entry.map_err(refused)?.path();
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
        let name = format!("{prefix}{name}");
        // Links are followed; one to nothing is a file that is not there.
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() && depth > 0 => {
                list(&path, &format!("{name}/"), depth - 1, files)?;
            }
            Ok(metadata) if metadata.is_file() => files.push((name, path, metadata.len())),
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn create_parent(path: &Path) -> Result<(), PullError> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(|e| PullError::io("create", parent, e))
}

/// Removes a file if it is there.
pub(super) fn remove(path: &Path) -> Result<(), PullError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(PullError::io("remove", path, e)),
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn symlink(target: &str, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(not(unix))]
fn symlink(_target: &str, _link: &Path) -> io::Result<()> {
    // On Windows links need a privilege that few have.
    Err(io::ErrorKind::Unsupported.into())
}
