//! Archives that lie.

use std::fs;

use crate::support::{Pickler, Zip, ZipEntry, fixture, read_all, refused, torch};

const FILE: &str = "m.pth";

fn pickle() -> Vec<u8> {
    Pickler::dict_of("w", |p| p.tensor(4, 0, &[2, 2], &[2, 1]))
}

#[test]
fn the_builder_s_own_archive_is_read() {
    assert_eq!(read_all(FILE, &torch(&pickle(), &[0; 16])).unwrap(), 1);
}

#[test]
fn a_truncated_archive_is_refused_wherever_it_ends() {
    for name in ["views.pth", "lightning.ckpt", "nested.pth"] {
        let bytes = fs::read(fixture(name)).unwrap();
        for length in 0..bytes.len() {
            assert!(read_all(name, &bytes[..length]).is_err(), "{length} of {} bytes were read", bytes.len());
        }
    }
    let bytes = torch(&pickle(), &[0; 16]);
    refused(FILE, &bytes[..bytes.len() - 1], &["no directory at its end", "is the download complete?"]);
}

#[test]
fn compressed_and_encrypted_entries_are_refused_with_the_way_on() {
    let (pickle, storage) = (pickle(), [0; 16]);
    for (method, flags, part) in [(8, 0, "is compressed"), (0, 1, "is encrypted")] {
        for victim in ["archive/data.pkl", "archive/data/0"] {
            let mut zip = Zip::default();
            for (name, data) in [("archive/data.pkl", &pickle[..]), ("archive/data/0", &storage)] {
                let (method, flags) = if name == victim { (method, flags) } else { (0, 0) };
                zip.add(&ZipEntry { method, flags, ..ZipEntry::stored(name, data) });
            }
            refused(FILE, &zip.finish(), &[victim, part, "zip -0"]);
        }
    }
}

#[test]
fn sizes_that_lie_are_refused() {
    let pickle = pickle();
    let claiming = |packed: u32, unpacked: u32| {
        let mut zip = Zip::default();
        zip.add(&ZipEntry { packed, unpacked, ..ZipEntry::stored("archive/data.pkl", &pickle) });
        zip.finish()
    };
    let length = pickle.len() as u32;
    refused(FILE, &claiming(length, 0xffff_fff0), &["`archive/data.pkl`", "claims 4294967280"]);
    refused(FILE, &claiming(0x7fff_ffff, 0x7fff_ffff), &["claims 2147483647 bytes, more than the file has"]);
    // All ones: the figure is in a 64-bit field, which there is none.
    refused(FILE, &claiming(u32::MAX, u32::MAX), &["entry 0 of its directory is damaged"]);
    // A bomb: a compressed entry of a few bytes that claims gigabytes.
    let mut zip = Zip::default();
    let bomb =
        ZipEntry { method: 8, unpacked: 0xffff_0000, ..ZipEntry::stored("archive/data.pkl", &[0x78; 64]) };
    zip.add(&bomb);
    refused(FILE, &zip.finish(), &["is compressed"]);
}

#[test]
fn entries_must_not_overlap_nor_repeat() {
    let pickle = pickle();
    let two = |header: Option<u32>, name: &str| {
        let mut zip = Zip::default();
        zip.add(&ZipEntry::stored("archive/data.pkl", &pickle));
        zip.add(&ZipEntry { header, ..ZipEntry::stored(name, &[0; 16]) });
        zip.finish()
    };
    assert_eq!(read_all(FILE, &two(None, "archive/data/0")).unwrap(), 1);
    refused(FILE, &two(Some(0), "archive/data/0"), &["`archive/data.pkl`", "`archive/data/0`", "overlap"]);
    refused(FILE, &two(None, "archive/data.pkl"), &["entry `archive/data.pkl` appears twice"]);
    refused(FILE, &two(Some(7), "archive/data/0"), &["`archive/data/0` has no header"]);
    refused(FILE, &two(Some(1 << 30), "archive/data/0"), &["`archive/data/0` lies outside the file"]);
}

#[test]
fn the_directory_must_be_where_and_what_it_is_said_to_be() {
    let pickle = pickle();
    let claiming = |count: u16, start: u32, length: u32| {
        let mut zip = Zip::default();
        zip.add(&ZipEntry::stored("archive/data.pkl", &pickle));
        zip.finish_claiming(count, start, length)
    };
    let start = 30 + 16 + pickle.len() as u32;
    let length = 46 + 16;
    refused(FILE, &claiming(1, start, length), &["storage `0` is not in the archive"]);
    refused(FILE, &claiming(2, start, length), &["claims 2 entries and holds 1"]);
    refused(FILE, &claiming(u16::MAX, start, length), &["claims 65535 entries"]);
    refused(FILE, &claiming(1, start, u32::MAX), &["lies outside the file"]);
    refused(FILE, &claiming(1, u32::MAX, length), &["lies outside the file"]);
    refused(FILE, &claiming(1, start - 1, length), &["entry 0 of its directory is damaged"]);
    refused(FILE, &claiming(0, 0, 0), &["no data.pkl"]);
}

#[test]
fn a_64_bit_record_is_checked_as_the_short_one_is() {
    // Real PyTorch writes one; find its locator and move what it points to.
    let bytes = fs::read(fixture("plain.pth")).unwrap();
    let locator = bytes.windows(4).rposition(|w| w == b"PK\x06\x07");
    let Some(locator) = locator else { return };
    for target in [u64::MAX, bytes.len() as u64, 0] {
        let mut bytes = bytes.clone();
        bytes[locator + 8..locator + 16].copy_from_slice(&target.to_le_bytes());
        refused(FILE, &bytes, &["64-bit end record"]);
    }
}

#[test]
fn another_zip_and_a_script_are_said_to_be_what_they_are() {
    let mut zip = Zip::default();
    zip.add(&ZipEntry::stored("readme.txt", b"hello"));
    refused("a.zip", &zip.finish(), &["it has no data.pkl, but `readme.txt`"]);
    let mut zip = Zip::default();
    zip.add(&ZipEntry::stored("archive/data.pkl", b"."));
    zip.add(&ZipEntry::stored("archive/constants.pkl", b"."));
    refused("script.pt", &zip.finish(), &["TorchScript", "state_dict()"]);
    let mut zip = Zip::default();
    zip.add(&ZipEntry::stored("archive/data.pkl", &pickle()));
    zip.add(&ZipEntry::stored("archive/byteorder", b"big"));
    refused(FILE, &zip.finish(), &["big-endian"]);
}
