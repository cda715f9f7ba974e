//! Archives of one array as NumPy reads them: a zip of one stored entry, `arr_0.npy`, bytes `[n, height, width, 3]`.

use crate::generate::codes::npy_header;
use std::io::{self, Write};

/// The name under which `numpy.savez` puts an array that has none.
const ENTRY: &str = "arr_0.npy";
/// The version of zip that knows lengths of 64 bits, which are written always: one way for small and for large.
const VERSION: u16 = 45;
/// Stands for a length that the 64-bit field has.
const SEE_FIELD: u32 = u32::MAX;
/// Midnight of 1980-01-01, the first day that zip knows: the same pictures make the same file.
const DATE: u16 = 1 << 5 | 1;

/// Writes pictures of one size.
///
/// # Errors
/// The system refused.
pub fn write(out: &mut dyn Write, pixels: &[u8], [height, width]: [u32; 2]) -> io::Result<()> {
    let each = (height * width * 3) as usize;
    let [rows, columns] = [height, width].map(|side| side as usize);
    let header = npy_header("|u1", &[pixels.len() / each.max(1), rows, columns, 3]);
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&header);
    checksum.update(pixels);
    let checksum = checksum.finalize();
    let length = (header.len() + pixels.len()) as u64;

    let entry = entry(checksum, length);
    let mut local = Record::of(b"PK\x03\x04");
    local.extend(&entry);
    local.name_and_lengths(length);
    let mut listed = Record::of(b"PK\x01\x02");
    listed.u16(VERSION).extend(&entry);
    // No comment, the first disk, no attributes, and the entry's place: the beginning.
    listed.u16(0).u16(0).u16(0).u32(0).u32(0).name_and_lengths(length);

    let start = local.0.len() as u64 + length;
    let size = listed.0.len() as u64;
    let mut end = Record::of(b"PK\x06\x06");
    // What follows of this record, who made it and who can read it, the disk of itself and of the directory.
    end.u64(44).u16(VERSION).u16(VERSION).u32(0).u32(0);
    end.u64(1).u64(1).u64(size).u64(start);
    // Where that record is, of one disk.
    end.extend(b"PK\x06\x07").u32(0).u64(start + size).u32(1);
    end.extend(b"PK\x05\x06").u16(0).u16(0).u16(1).u16(1).u32(size as u32).u32(SEE_FIELD).u16(0);
    for part in [&local.0, &header, pixels, &listed.0, &end.0] {
        out.write_all(part)?;
    }
    Ok(())
}

/// Version, flags, no compression, time, checksum, both lengths, lengths of the name and of the field after it.
fn entry(checksum: u32, length: u64) -> Vec<u8> {
    let mut record = Record(Vec::new());
    record.u16(VERSION).u16(0).u16(0).u16(0).u16(DATE).u32(checksum);
    record.u32(SEE_FIELD).u32(SEE_FIELD).u16(ENTRY.len() as u16);
    record.u16(Record::lengths(length).0.len() as u16);
    record.0
}

/// Bytes in the order of zip: the least first.
struct Record(Vec<u8>);

impl Record {
    fn of(signature: &[u8]) -> Self {
        Self(signature.to_vec())
    }

    fn extend(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn u16(&mut self, value: u16) -> &mut Self {
        self.extend(&value.to_le_bytes())
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.extend(&value.to_le_bytes())
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.extend(&value.to_le_bytes())
    }

    /// The field of lengths in 64 bits: its number, its size, unpacked and packed.
    fn lengths(length: u64) -> Self {
        let mut field = Self(Vec::new());
        field.u16(1).u16(16).u64(length).u64(length);
        field
    }

    fn name_and_lengths(&mut self, length: u64) {
        self.extend(ENTRY.as_bytes()).extend(&Self::lengths(length).0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::stored_entries;

    #[test]
    fn an_archive_holds_the_pictures_under_the_name_that_numpy_gives() {
        for (count, [height, width]) in [(0_usize, [2, 3]), (1, [1, 1]), (3, [64, 64]), (120, [5, 7])] {
            let pixels: Vec<u8> =
                (0..count * (height * width * 3) as usize).map(|i| (i * 31 % 251) as u8).collect();
            let mut bytes = Vec::new();
            write(&mut bytes, &pixels, [height, width]).unwrap();
            if let (Some(path), 3) = (std::env::var_os("MIGM_TEST_NPZ"), count) {
                std::fs::write(path, &bytes).unwrap();
            }
            let mut again = Vec::new();
            write(&mut again, &pixels, [height, width]).unwrap();
            assert!(again == bytes, "the same pictures make the same file");

            let entries = stored_entries(bytes).unwrap();
            assert_eq!(entries.keys().collect::<Vec<_>>(), [ENTRY]);
            let array = &entries[ENTRY];
            assert_eq!(array[..8], *b"\x93NUMPY\x01\x00");
            let length = usize::from(u16::from_le_bytes([array[8], array[9]]));
            assert!((10 + length).is_multiple_of(64) && array[9 + length] == b'\n', "{length}");
            let text = std::str::from_utf8(&array[10..10 + length]).unwrap();
            let shape = format!("'shape': ({count}, {height}, {width}, 3)");
            assert!(text.contains("'descr': '|u1'") && text.contains(&shape), "{text}");
            assert!(array[10 + length..] == pixels, "{count} of {height} x {width}");
        }
    }
}
