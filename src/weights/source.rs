//! Bytes at an offset, from a file on disk or from memory.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::error::WeightError;

/// Where the bytes of a weight file are. The file is never loaded whole.
pub(super) struct Source {
    /// The name that errors use.
    pub(super) name: String,
    /// Length in bytes when it was opened.
    pub(super) len: u64,
    bytes: Bytes,
}

enum Bytes {
    // A lock, not `pread`: one code path for every system, and reads are megabytes.
    File(Mutex<File>),
    Memory(Cow<'static, [u8]>),
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self, WeightError> {
        let file = File::open(path).map_err(|e| WeightError::io("open", path, e))?;
        let metadata = file.metadata().map_err(|e| WeightError::io("open", path, e))?;
        if !metadata.is_file() {
            let problem = if metadata.is_dir() { "it is a folder" } else { "it is not a regular file" };
            return Err(WeightError::io("open", path, io::Error::new(io::ErrorKind::InvalidInput, problem)));
        }
        Ok(Self {
            name: path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
            len: metadata.len(),
            bytes: Bytes::File(Mutex::new(file)),
        })
    }

    pub(super) fn from_bytes(name: &str, bytes: Cow<'static, [u8]>) -> Self {
        Self { name: name.into(), len: bytes.len() as u64, bytes: Bytes::Memory(bytes) }
    }

    /// The bytes themselves, where they are in memory already.
    pub(super) fn borrowed(&self, range: Range<u64>) -> Option<&[u8]> {
        let Bytes::Memory(bytes) = &self.bytes else { return None };
        bytes.get(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)
    }

    /// Fills `out` from `offset` on.
    pub(super) fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), WeightError> {
        let result = match &self.bytes {
            Bytes::File(file) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(out))
            }
            Bytes::Memory(_) => match self.borrowed(offset..offset.saturating_add(out.len() as u64)) {
                Some(bytes) => {
                    out.copy_from_slice(bytes);
                    Ok(())
                }
                None => Err(io::ErrorKind::UnexpectedEof.into()),
            },
        };
        result.map_err(|source| WeightError::Io { action: "read", path: self.name.clone(), source })
    }

    /// `length` bytes from `offset`. The caller has checked `length` against a limit; here it is checked against the file,
    /// before anything is allocated.
    pub(super) fn read_vec(&self, offset: u64, length: u64) -> Result<Vec<u8>, WeightError> {
        let in_file = offset.checked_add(length).is_some_and(|end| end <= self.len);
        let (true, Ok(length)) = (in_file, usize::try_from(length)) else {
            let source = io::ErrorKind::UnexpectedEof.into();
            return Err(WeightError::Io { action: "read", path: self.name.clone(), source });
        };
        let mut bytes = vec![0; length];
        self.read_at(offset, &mut bytes)?;
        Ok(bytes)
    }
}
