//! Bytes at an offset, from a file on disk, from several as if they were one, or from memory.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::error::WeightError;

/// Shards that are open at once: tensors are read in their programs' order, which may go to and fro between two.
const MOST_OPEN: usize = 2;

/// A file in memory: of the executable, or fetched. Copies share it.
#[derive(Clone)]
pub struct FileBytes(Arc<Cow<'static, [u8]>>);

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for FileBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Cow::Owned(bytes)))
    }
}

impl From<&'static [u8]> for FileBytes {
    fn from(bytes: &'static [u8]) -> Self {
        Self(Arc::new(Cow::Borrowed(bytes)))
    }
}

impl fmt::Debug for FileBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

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
    Memory(FileBytes),
    Shards(Shards),
}

/// Files of a folder, one after another.
struct Shards {
    folder: PathBuf,
    /// In order of their starts.
    shards: Vec<Shard>,
    /// The last that were read, the most recent first.
    open: Mutex<VecDeque<(usize, File)>>,
}

/// One of several files that are read as one.
pub(super) struct Shard {
    /// In the folder.
    pub(super) name: String,
    /// Of its first byte, among the bytes of all.
    pub(super) start: u64,
    /// In bytes.
    pub(super) len: u64,
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

    pub(super) fn from_bytes(name: &str, bytes: FileBytes) -> Self {
        Self { name: name.into(), len: bytes.len() as u64, bytes: Bytes::Memory(bytes) }
    }

    /// Several files of a folder, read as one.
    pub(super) fn from_shards(name: &str, folder: &Path, shards: Vec<Shard>) -> Self {
        let len = shards.last().map_or(0, |last| last.start + last.len);
        let shards = Shards { folder: folder.to_owned(), shards, open: Mutex::default() };
        Self { name: name.into(), len, bytes: Bytes::Shards(shards) }
    }

    /// The name of the file that holds this offset.
    pub(super) fn name_at(&self, offset: u64) -> &str {
        match &self.bytes {
            Bytes::Shards(shards) => shards.at(offset).map_or(&self.name, |(_, shard)| &shard.name),
            Bytes::File(_) | Bytes::Memory(_) => &self.name,
        }
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
            Bytes::Shards(shards) => shards.read_at(offset, out),
        };
        result.map_err(|source| WeightError::Io { action: "read", path: self.name_at(offset).into(), source })
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

impl Shards {
    fn at(&self, offset: u64) -> Option<(usize, &Shard)> {
        let index = self.shards.partition_point(|shard| shard.start <= offset).checked_sub(1)?;
        Some((index, self.shards.get(index)?))
    }

    /// Reads from one shard; no tensor lies in two.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (index, shard) = self.at(offset).ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = match open.iter().position(|(held, _)| *held == index).and_then(|at| open.remove(at)) {
            Some((_, file)) => file,
            None => {
                open.truncate(MOST_OPEN - 1);
                let file = File::open(self.folder.join(&shard.name))?;
                if file.metadata()?.len() != shard.len {
                    // Its header was read earlier and does not describe this file.
                    return Err(io::Error::other("the file has changed since the checkpoint was opened"));
                }
                file
            }
        };
        let result = file.seek(SeekFrom::Start(offset - shard.start)).and_then(|_| file.read_exact(out));
        open.push_front((index, file));
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_read_as_one_file_with_few_of_them_open() {
        let folder = tempfile::tempdir().unwrap();
        let mut shards = Vec::new();
        for i in 0..5u8 {
            let name = format!("{i}.bin");
            std::fs::write(folder.path().join(&name), [i; 10]).unwrap();
            shards.push(Shard { name, start: u64::from(i) * 10, len: 10 });
        }
        let source = Source::from_shards("all", folder.path(), shards);
        for i in [0, 4, 2, 2, 0, 3u8] {
            assert_eq!(source.read_vec(u64::from(i) * 10 + 1, 9).unwrap(), [i; 9]);
            let Bytes::Shards(shards) = &source.bytes else { panic!("not shards") };
            assert!(shards.open.lock().unwrap().len() <= MOST_OPEN);
        }
        assert_eq!((source.len, source.name_at(49), source.name_at(50)), (50, "4.bin", "4.bin"));
        // A read never runs on into the next shard.
        assert!(source.read_vec(5, 6).unwrap_err().to_string().contains("cannot read 0.bin"));
        std::fs::write(folder.path().join("1.bin"), [1; 11]).unwrap();
        assert!(source.read_vec(10, 1).unwrap_err().to_string().contains("1.bin: the file has changed"));
    }
}
