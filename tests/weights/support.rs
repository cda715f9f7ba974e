//! Builders of well-formed and of lying files, a bound on allocation, and a seeded generator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::PathBuf;

use migm::weights::{Checkpoint, WeightError};

/// Counts what the current thread has allocated, so that a test can bound it.
struct Counting;

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.get().saturating_add(layout.size());
        LIVE.set(live);
        PEAK.set(PEAK.get().max(live));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get().saturating_sub(layout.size()));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `f` and gives the most bytes that this thread held at once meanwhile.
pub(crate) fn peak_bytes<T>(f: impl FnOnce() -> T) -> (T, usize) {
    LIVE.set(0);
    PEAK.set(0);
    let result = f();
    (result, PEAK.get())
}

/// Opens a file and reads all its tensors in every way that there is; the first error, if any.
pub(crate) fn read_all(name: &str, bytes: &[u8]) -> Result<usize, WeightError> {
    let bytes = bytes.to_vec();
    let length = bytes.len();
    let (result, peak) = peak_bytes(|| {
        let checkpoint = Checkpoint::from_bytes(name, bytes.into())?;
        let names: Vec<_> = checkpoint.tensors().map(|t| t.name.clone()).collect();
        let mut first = None;
        for tensor in &names {
            first = first.or(checkpoint.read_bytes(tensor).err());
            let _ = (checkpoint.read_f16(tensor).err(), checkpoint.read_f64(tensor).err());
            let _ = (checkpoint.read_i32(tensor).err(), checkpoint.read_u8(tensor).err());
            let _ = checkpoint.read_bf16(tensor).err();
            if let Err(e @ WeightError::NotFinite { .. }) = checkpoint.read_f32(tensor) {
                first = first.or(Some(e));
            }
        }
        first.map_or(Ok(names.len()), Err)
    });
    // A value of a pickle takes up to 36 bytes for one of the file, and a growing list twice that.
    let bound = (256 << 10) + 128 * length;
    assert!(peak <= bound, "{name}: {peak} bytes were allocated for a file of {length}, more than {bound}");
    result
}

/// Asserts that a file is refused with a message that has all of `parts`, within the bound of [`read_all`].
#[track_caller]
pub(crate) fn refused(name: &str, bytes: &[u8], parts: &[&str]) {
    match read_all(name, bytes) {
        Ok(_) => panic!("{name} was read, expected an error with {parts:?}"),
        Err(error) => {
            let message = error.to_string();
            for part in parts.iter().chain(&[name]) {
                assert!(message.contains(part), "{message:?} does not contain {part:?}");
            }
        }
    }
}

pub(crate) fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// A safetensors file of this header and data, whatever they say.
pub(crate) fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

/// A zip archive of stored entries, any figure of which can be made to lie.
#[derive(Default)]
pub(crate) struct Zip {
    body: Vec<u8>,
    directory: Vec<u8>,
    count: u16,
}

pub(crate) struct ZipEntry<'a> {
    pub(crate) name: &'a str,
    pub(crate) data: &'a [u8],
    pub(crate) method: u16,
    pub(crate) flags: u16,
    pub(crate) packed: u32,
    pub(crate) unpacked: u32,
    /// Where the directory says the entry is; otherwise where it is.
    pub(crate) header: Option<u32>,
}

impl<'a> ZipEntry<'a> {
    pub(crate) fn stored(name: &'a str, data: &'a [u8]) -> Self {
        let length = data.len() as u32;
        Self { name, data, method: 0, flags: 0, packed: length, unpacked: length, header: None }
    }
}

impl Zip {
    pub(crate) fn add(&mut self, entry: &ZipEntry<'_>) {
        let at = entry.header.unwrap_or(self.body.len() as u32);
        let name_len = (entry.name.len() as u16).to_le_bytes();
        self.body.extend(b"PK\x03\x04\x14\0");
        self.body.extend([entry.flags.to_le_bytes(), entry.method.to_le_bytes()].concat());
        self.body.extend([0; 8]);
        self.body.extend([entry.packed.to_le_bytes(), entry.unpacked.to_le_bytes()].concat());
        self.body.extend([name_len, [0; 2]].concat());
        self.body.extend(entry.name.as_bytes());
        self.body.extend(entry.data);
        self.directory.extend(b"PK\x01\x02\x14\0\x14\0");
        self.directory.extend([entry.flags.to_le_bytes(), entry.method.to_le_bytes()].concat());
        self.directory.extend([0; 8]);
        self.directory.extend([entry.packed.to_le_bytes(), entry.unpacked.to_le_bytes()].concat());
        self.directory.extend(name_len);
        self.directory.extend([0; 12]);
        self.directory.extend(at.to_le_bytes());
        self.directory.extend(entry.name.as_bytes());
        self.count += 1;
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        let (count, start, length) = (self.count, self.body.len() as u32, self.directory.len() as u32);
        self.finish_claiming(count, start, length)
    }

    pub(crate) fn finish_claiming(self, count: u16, start: u32, length: u32) -> Vec<u8> {
        let mut bytes = [self.body, self.directory].concat();
        bytes.extend(b"PK\x05\x06\0\0\0\0");
        bytes.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
        bytes.extend([length.to_le_bytes(), start.to_le_bytes()].concat());
        bytes.extend([0; 2]);
        bytes
    }
}

/// A PyTorch archive around a pickle, with one storage `0`.
pub(crate) fn torch(pickle: &[u8], storage: &[u8]) -> Vec<u8> {
    let mut zip = Zip::default();
    zip.add(&ZipEntry::stored("archive/data.pkl", pickle));
    zip.add(&ZipEntry::stored("archive/byteorder", b"little"));
    zip.add(&ZipEntry::stored("archive/data/0", storage));
    zip.finish()
}

/// Assembles pickles by hand, protocol 2.
#[derive(Clone)]
pub(crate) struct Pickler(pub(crate) Vec<u8>);

impl Pickler {
    pub(crate) fn new() -> Self {
        Self(vec![0x80, 2])
    }

    pub(crate) fn op(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.0.extend(bytes.as_ref());
        self
    }

    pub(crate) fn text(self, text: &str) -> Self {
        self.op("X").op((text.len() as u32).to_le_bytes()).op(text)
    }

    pub(crate) fn int(self, n: i64) -> Self {
        self.op([0x8a, 8]).op(n.to_le_bytes())
    }

    pub(crate) fn global(self, module: &str, name: &str) -> Self {
        self.op("c").op(module).op("\n").op(name).op("\n")
    }

    pub(crate) fn ints(self, values: &[i64]) -> Self {
        values.iter().fold(self.op("("), |p, &n| p.int(n)).op("t")
    }

    /// A tensor of floats over the storage `0` of `elements`.
    pub(crate) fn tensor(self, elements: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Self {
        self.tensor_of("FloatStorage", elements, offset, shape, strides)
    }

    pub(crate) fn tensor_of(
        self,
        kind: &str,
        elements: i64,
        offset: i64,
        shape: &[i64],
        strides: &[i64],
    ) -> Self {
        self.global("torch._utils", "_rebuild_tensor_v2")
            .op("((")
            .text("storage")
            .global("torch", kind)
            .text("0")
            .text("cpu")
            .int(elements)
            .op("tQ")
            .int(offset)
            .ints(shape)
            .ints(strides)
            .op([0x89])
            .global("collections", "OrderedDict")
            .op(")RtR")
    }

    /// `{name: <what value appends>}` and the end.
    pub(crate) fn dict_of(name: &str, value: impl FnOnce(Self) -> Self) -> Vec<u8> {
        value(Self::new().op("}").text(name)).op("s.").0
    }
}
