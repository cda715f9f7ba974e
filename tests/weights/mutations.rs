//! Thousands of damaged files from a seeded generator: each is read or refused, none panics, none allocates beyond a bound.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use migm::weights::{Dtype, TensorSpec, encode_safetensors};

use crate::support::{Pickler, Random, fixture, read_all, torch};

const ROUNDS: usize = 4000;
/// Figures that tend to break arithmetic.
const ODD: [u64; 10] =
    [0, 1, 0x7f, 0xff, 0x7fff_ffff, 0xffff_ffff, 0x1_0000_0000, i64::MAX as u64, 1 << 63, u64::MAX];

fn sources() -> Vec<(String, Vec<u8>)> {
    let tensors = [
        (TensorSpec::new("a.weight", Dtype::F32, [3, 4]), &[1; 48][..]),
        (TensorSpec::new("b", Dtype::F16, [5]), &[2; 10][..]),
        (TensorSpec::new("c", Dtype::I64, [2]), &[3; 16][..]),
    ];
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let mut sources = vec![
        ("made.safetensors".to_owned(), encode_safetensors(&tensors, &metadata).unwrap()),
        (
            "made.pth".to_owned(),
            torch(&Pickler::dict_of("w", |p| p.tensor(4, 0, &[2, 2], &[1, 2])), &[0; 16]),
        ),
    ];
    let names = [
        "plain.pth",
        "nested.pth",
        "lightning.ckpt",
        "views.pth",
        "kinds.pth",
        "protocol4.pt",
        "protocol5.pt",
    ];
    for name in names {
        sources.push((name.to_owned(), fs::read(fixture(name)).unwrap()));
    }
    sources
}

fn mutate(bytes: &mut Vec<u8>, others: &[(String, Vec<u8>)], random: &mut Random) {
    let length = bytes.len();
    match random.below(8) {
        0 | 1 => {
            let at = random.below(length);
            bytes[at] ^= 1 << random.below(8);
        }
        2 => {
            let at = random.below(length);
            bytes[at] = random.next() as u8;
        }
        3 => {
            let width = [1, 2, 4, 8][random.below(4)];
            let at = random.below(length.saturating_sub(width) + 1);
            let figure = ODD[random.below(ODD.len())].to_le_bytes();
            if let Some(place) = bytes.get_mut(at..at + width) {
                place.copy_from_slice(&figure[..width]);
            }
        }
        4 => bytes.truncate(random.below(length)),
        5 => {
            let at = random.below(length);
            let end = (at + random.below(64)).min(length);
            bytes.drain(at..end);
        }
        6 => {
            let (from, to) = (random.below(length), random.below(length));
            let piece = bytes[from..(from + random.below(64)).min(length)].to_vec();
            bytes.splice(to..to, piece);
        }
        _ => {
            let other = &others[random.below(others.len())].1;
            let from = random.below(other.len());
            let piece = other[from..(from + random.below(200)).min(other.len())].to_vec();
            let to = random.below(length);
            let end = (to + piece.len()).min(length);
            bytes.splice(to..end, piece);
        }
    }
    if bytes.is_empty() {
        bytes.push(0);
    }
}

#[test]
fn damaged_files_are_read_or_refused() {
    let start = Instant::now();
    let sources = sources();
    let (mut read, mut refused) = (0, 0);
    for (index, (name, original)) in sources.iter().enumerate() {
        let mut random = Random(0x5eed + index as u64);
        for _ in 0..ROUNDS {
            let mut bytes = original.clone();
            for _ in 0..=random.below(3) {
                mutate(&mut bytes, &sources, &mut random);
            }
            // The count is asserted on, so that the calls are not in vain: both outcomes must be common.
            if read_all(name, &bytes).is_ok() { read += 1 } else { refused += 1 }
        }
    }
    assert!(read > ROUNDS / 10 && refused > ROUNDS, "{read} were read, {refused} refused");
    assert!(start.elapsed() < Duration::from_secs(60), "it took {:?}", start.elapsed());
}

#[test]
fn damaged_pickles_in_sound_archives_are_read_or_refused() {
    // Most blind damage is caught by the archive; this goes past it, to the pickle's own opcodes.
    let pickles: Vec<_> =
        ["nested.pth", "lightning.ckpt", "views.pth", "kinds.pth", "protocol4.pt", "protocol5.pt"]
            .map(|name| (name.to_owned(), pickle_of(&fs::read(fixture(name)).unwrap())))
            .into();
    let mut random = Random(7);
    for (name, original) in &pickles {
        for _ in 0..ROUNDS {
            let mut pickle = original.clone();
            for _ in 0..=random.below(4) {
                mutate(&mut pickle, &pickles, &mut random);
            }
            let _ = read_all(name, &torch(&pickle, &[0; 96])).is_ok();
        }
    }
}

/// The pickle is the first entry: after its local header, up to its `STOP` before the next header.
fn pickle_of(archive: &[u8]) -> Vec<u8> {
    let field = |at: usize| usize::from(u16::from_le_bytes([archive[at], archive[at + 1]]));
    let start = 30 + field(26) + field(28);
    let end = archive[start..].windows(3).position(|w| w == b".PK").unwrap();
    archive[start..=start + end].to_vec()
}
