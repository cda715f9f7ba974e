//! The zip archive around a PyTorch checkpoint: stored entries, found and checked, never unpacked.
//!
//! Not the `zip` crate: it reserves memory by the archive's claimed count of entries, which may be as large as the file's
//! length in bytes, and when a directory is damaged it tries every other place that could be one. PyTorch's archives need
//! nothing but the directory, so it is read here, once, within the file's own size.

use std::collections::BTreeMap;
use std::ops::Range;

use super::error::{Name, WeightError};
use super::source::Source;

const LOCAL_HEADER: u32 = 0x0403_4b50;
const DIRECTORY_ENTRY: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END_64: u32 = 0x0606_4b50;
const END_64_LOCATOR: u32 = 0x0706_4b50;
const LOCAL_HEADER_BYTES: u64 = 30;
const DIRECTORY_ENTRY_BYTES: usize = 46;
const END_BYTES: usize = 22;
const END_64_BYTES: u64 = 56;
const END_64_LOCATOR_BYTES: usize = 20;
const LONGEST_COMMENT: usize = u16::MAX as usize;
/// A directory of a hundred thousand storages with long names; real ones take a few tens of kilobytes.
const LARGEST_DIRECTORY: u64 = 32 << 20;

/// The entries of an archive by name, checked against the file and each other.
pub(super) struct Archive {
    entries: BTreeMap<String, Entry>,
}

struct Entry {
    data: Range<u64>,
    compressed: bool,
    encrypted: bool,
}

/// Whether the file opens as a zip archive does.
pub(super) fn looks_like_zip(start: &[u8]) -> bool {
    u32_at(start, 0) == Some(LOCAL_HEADER)
}

impl Archive {
    pub(super) fn open(source: &Source) -> Result<Self, WeightError> {
        let file = source.name.as_str();
        let directory = find_directory(source)?;
        let length = directory.range.end - directory.range.start;
        if length > LARGEST_DIRECTORY {
            return Err(WeightError::archive(
                file,
                format!("its directory takes {length} bytes, more than any checkpoint needs"),
            ));
        }
        let bytes = source.read_vec(directory.range.start, length)?;
        let mut rest = bytes.as_slice();
        let mut entries = BTreeMap::new();
        let mut extents = Vec::new();
        while !rest.is_empty() {
            let listed = parse_entry(&mut rest).ok_or_else(|| {
                WeightError::archive(file, format!("entry {} of its directory is damaged", entries.len()))
            })?;
            let (entry, extent) = locate(source, &listed, directory.range.start)?;
            extents.push((extent, listed.name.clone()));
            let name = Name(&listed.name).to_string();
            if entries.insert(listed.name, entry).is_some() {
                return Err(WeightError::archive(file, format!("entry {name} appears twice")));
            }
        }
        if entries.len() as u64 != directory.count {
            let problem =
                format!("its directory claims {} entries and holds {}", directory.count, entries.len());
            return Err(WeightError::archive(file, problem));
        }
        extents.sort_by_key(|(extent, _)| extent.start);
        for pair in extents.windows(2) {
            if let [(first, first_name), (second, second_name)] = pair
                && first.end > second.start
            {
                let problem = format!("entries {} and {} overlap", Name(first_name), Name(second_name));
                return Err(WeightError::archive(file, problem));
            }
        }
        Ok(Self { entries })
    }

    /// Entry names, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Where the bytes of an entry are in the file; `None` if there is no such entry.
    pub(super) fn data(&self, file: &str, name: &str) -> Result<Option<Range<u64>>, WeightError> {
        let Some(entry) = self.entries.get(name) else { return Ok(None) };
        if entry.compressed || entry.encrypted {
            let how = if entry.encrypted { "encrypted" } else { "compressed" };
            let problem = format!(
                "entry {} is {how}, which PyTorch never does\n  save it again with torch.save, or repack it with `zip -0`",
                Name(name)
            );
            return Err(WeightError::archive(file, problem));
        }
        Ok(Some(entry.data.clone()))
    }
}

struct Directory {
    range: Range<u64>,
    count: u64,
}

/// The end record stands at the end of the file, before a comment of at most 64 KiB; in large archives (and in all of
/// PyTorch's) a 64-bit record before it has the true figures.
fn find_directory(source: &Source) -> Result<Directory, WeightError> {
    let file = source.name.as_str();
    let damaged = |problem: &str| WeightError::archive(file, problem);
    let tail_len = source.len.min((END_64_LOCATOR_BYTES + END_BYTES + LONGEST_COMMENT) as u64);
    let tail_start = source.len - tail_len;
    let tail = source.read_vec(tail_start, tail_len)?;
    let end = (0..=tail.len().saturating_sub(END_BYTES))
        .rev()
        .find(|&at| {
            u32_at(&tail, at) == Some(END)
                && u16_at(&tail, at + 20)
                    .is_some_and(|comment| at + END_BYTES + usize::from(comment) == tail.len())
        })
        .ok_or_else(|| damaged("it has no directory at its end: is the download complete?"))?;
    let short = (|| {
        let same_disk = u16_at(&tail, end + 4)? == u16_at(&tail, end + 6)?;
        let figures = [
            u64::from(u16_at(&tail, end + 10)?),
            u64::from(u32_at(&tail, end + 12)?),
            u64::from(u32_at(&tail, end + 16)?),
        ];
        same_disk.then_some(figures)
    })();
    let [mut count, mut length, mut start] =
        short.ok_or_else(|| damaged("it is split over several disks"))?;
    let mut limit = tail_start + end as u64;
    if let Some(locator) = end.checked_sub(END_64_LOCATOR_BYTES)
        && u32_at(&tail, locator) == Some(END_64_LOCATOR)
    {
        let at = u64_at(&tail, locator + 8).unwrap_or(u64::MAX);
        let fits =
            at.checked_add(END_64_BYTES).is_some_and(|record_end| record_end <= tail_start + locator as u64);
        if !fits {
            return Err(damaged("its 64-bit end record lies outside the file"));
        }
        let record = source.read_vec(at, END_64_BYTES)?;
        let figures = (u32_at(&record, 0) == Some(END_64))
            .then(|| Some([u64_at(&record, 32)?, u64_at(&record, 40)?, u64_at(&record, 48)?]))
            .flatten();
        [count, length, start] = figures.ok_or_else(|| damaged("its 64-bit end record is damaged"))?;
        limit = at;
    }
    let end = start.checked_add(length).filter(|&end| end <= limit);
    let end = end.ok_or_else(|| damaged("its directory lies outside the file: is the download complete?"))?;
    Ok(Directory { range: start..end, count })
}

struct Listed {
    name: String,
    flags: u16,
    method: u16,
    packed: u64,
    unpacked: u64,
    header: u64,
}

/// Takes one entry off the front of the directory.
fn parse_entry(rest: &mut &[u8]) -> Option<Listed> {
    let all = *rest;
    if u32_at(all, 0)? != DIRECTORY_ENTRY {
        return None;
    }
    let flags = u16_at(all, 8)?;
    let method = u16_at(all, 10)?;
    let name_len = usize::from(u16_at(all, 28)?);
    let extra_len = usize::from(u16_at(all, 30)?);
    let comment_len = usize::from(u16_at(all, 32)?);
    let name = all.get(DIRECTORY_ENTRY_BYTES..DIRECTORY_ENTRY_BYTES + name_len)?;
    let extra_start = DIRECTORY_ENTRY_BYTES + name_len;
    let extra = all.get(extra_start..extra_start + extra_len)?;
    *rest = all.get(extra_start + extra_len + comment_len..)?;
    // A figure of all ones is found in the 64-bit extra field instead, in this order.
    let mut wide = wide_figures(extra).unwrap_or_default();
    let mut figure = |short: u32| -> Option<u64> {
        if short != u32::MAX {
            return Some(u64::from(short));
        }
        let value = u64_at(wide, 0)?;
        wide = wide.get(8..)?;
        Some(value)
    };
    let unpacked = figure(u32_at(all, 24)?)?;
    let packed = figure(u32_at(all, 20)?)?;
    let header = figure(u32_at(all, 42)?)?;
    // Names that are not UTF-8 are none of PyTorch's; the entry is kept so that overlaps with it are seen.
    Some(Listed { name: String::from_utf8_lossy(name).into_owned(), flags, method, packed, unpacked, header })
}

/// The body of the 64-bit extra field (id 1).
fn wide_figures(mut extra: &[u8]) -> Option<&[u8]> {
    loop {
        let (id, length) = (u16_at(extra, 0)?, usize::from(u16_at(extra, 2)?));
        let body = extra.get(4..4 + length)?;
        if id == 1 {
            return Some(body);
        }
        extra = extra.get(4 + length..)?;
    }
}

/// Follows an entry to its local header: where its data is, and the whole extent it takes in the file.
fn locate(
    source: &Source,
    listed: &Listed,
    directory_start: u64,
) -> Result<(Entry, Range<u64>), WeightError> {
    let damaged =
        |problem: &str| WeightError::archive(&source.name, format!("entry {} {problem}", Name(&listed.name)));
    if listed.header.checked_add(LOCAL_HEADER_BYTES).is_none_or(|end| end > directory_start) {
        return Err(damaged("lies outside the file"));
    }
    let mut local = [0; LOCAL_HEADER_BYTES as usize];
    source.read_at(listed.header, &mut local)?;
    let (Some(LOCAL_HEADER), Some(name_len), Some(extra_len)) =
        (u32_at(&local, 0), u16_at(&local, 26), u16_at(&local, 28))
    else {
        return Err(damaged("has no header where the directory says"));
    };
    let start = listed.header + LOCAL_HEADER_BYTES + u64::from(name_len) + u64::from(extra_len);
    let end = start.checked_add(listed.packed).filter(|&end| end <= directory_start);
    let end =
        end.ok_or_else(|| damaged(&format!("claims {} bytes, more than the file has", listed.packed)))?;
    let compressed = listed.method != 0;
    if !compressed && listed.packed != listed.unpacked {
        return Err(damaged(&format!("is stored in {} bytes and claims {}", listed.packed, listed.unpacked)));
    }
    let entry = Entry { data: start..end, compressed, encrypted: listed.flags & 1 != 0 };
    Ok((entry, listed.header..end))
}

/// The stored entries of an archive in memory, for tests of what is written.
#[cfg(test)]
pub(crate) fn stored_entries(bytes: Vec<u8>) -> Result<BTreeMap<String, Vec<u8>>, WeightError> {
    let source = Source::from_bytes("test", bytes.into());
    let archive = Archive::open(&source)?;
    let mut entries = BTreeMap::new();
    for name in archive.names() {
        let Some(range) = archive.data(&source.name, name)? else { continue };
        entries.insert(name.to_owned(), source.read_vec(range.start, range.end - range.start)?);
    }
    Ok(entries)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|b| u16::from_le_bytes(*b))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|b| u64::from_le_bytes(*b))
}
