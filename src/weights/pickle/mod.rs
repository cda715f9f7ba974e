//! A reader of the pickles that PyTorch writes: builds a tree of plain values and never runs anything.
//!
//! A pickle is a program for a stack machine. Here its opcodes only append to one flat list of values that refer to each
//! other by number: nothing recurses, shared values are never copied, and each opcode adds at most one value of fixed size,
//! so time and memory are proportional to the pickle's length however it is nested or shared. Calls of PyTorch's own
//! rebuild functions become tensors, `OrderedDict()` a dictionary, and whatever else is called or constructed (callbacks,
//! optimizers, whole modules) an opaque value that remembers its class.

mod machine;
mod rebuild;

use safetensors::Dtype;

use self::machine::Machine;

/// The pickle of a model with a thousand tensors takes a few hundred kilobytes.
pub(super) const LONGEST_PICKLE: u64 = 64 << 20;
/// No module or class of Python has a longer name.
const LONGEST_GLOBAL: usize = 1024;

/// A value's number in its pickle.
pub(super) type Id = u32;

/// A stretch of the pickle that is valid UTF-8.
#[derive(Clone, Copy)]
pub(super) struct Text {
    start: u32,
    length: u32,
}

#[derive(Clone, Copy)]
pub(super) struct Storage {
    /// `None`: a kind of storage that is not ours to read (complex, quantised).
    pub(super) dtype: Option<Dtype>,
    /// The global that names the kind.
    pub(super) kind: Id,
    /// The key of its entry in the archive.
    pub(super) key: Text,
    /// Its length in elements of `dtype`.
    pub(super) elements: u64,
}

#[derive(Clone, Copy)]
pub(super) struct Tensor {
    pub(super) storage: Storage,
    /// Where the first element is in the storage, in elements.
    pub(super) offset: u64,
    /// Tuples of integers.
    pub(super) shape: Id,
    pub(super) strides: Id,
}

pub(super) enum Value {
    None,
    /// Floats, bytes, flags, integers beyond 64 bits: nothing here needs them.
    Scalar,
    Integer(i64),
    Text(Text),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global {
        module: Text,
        name: Text,
    },
    Storage(Storage),
    Tensor(Tensor),
    /// Something constructed by a global that is not ours; the global, where it is known.
    Opaque(Option<Id>),
}

/// What is wrong, and at which byte.
pub(super) struct PickleError {
    pub(super) offset: usize,
    pub(super) problem: String,
}

/// A pickle that has been read.
pub(super) struct Pickle {
    bytes: Vec<u8>,
    values: Vec<Value>,
    pub(super) root: Id,
}

impl Pickle {
    pub(super) fn read(bytes: Vec<u8>) -> Result<Self, PickleError> {
        let mut machine = Machine::new(&bytes);
        let root = loop {
            let offset = machine.offset();
            match machine.step() {
                Ok(None) => {}
                Ok(Some(root)) => break root,
                Err(problem) => return Err(PickleError { offset, problem }),
            }
        };
        let values = machine.into_values();
        Ok(Self { bytes, values, root })
    }

    pub(super) fn value(&self, id: Id) -> &Value {
        self.values.get(id as usize).unwrap_or(&Value::None)
    }

    /// A text, if it has at most `longest` bytes.
    pub(super) fn text(&self, text: Text, longest: usize) -> Option<&str> {
        if text.length as usize > longest {
            return None;
        }
        std::str::from_utf8(bytes_in(&self.bytes, text)).ok()
    }

    pub(super) fn is_text(&self, id: Id, wanted: &str) -> bool {
        matches!(self.value(id), Value::Text(text) if bytes_in(&self.bytes, *text) == wanted.as_bytes())
    }

    /// `module.name` of a global.
    pub(super) fn global(&self, id: Id) -> Option<String> {
        match self.value(id) {
            Value::Global { module, name } => {
                Some(format!("{}.{}", self.text(*module, LONGEST_GLOBAL)?, self.text(*name, LONGEST_GLOBAL)?))
            }
            _ => None,
        }
    }

    /// A tuple of integers, none of them negative and at most `limit` of them.
    pub(super) fn sizes(&self, id: Id, limit: usize) -> Option<Vec<u64>> {
        let Value::Tuple(items) = self.value(id) else { return None };
        if items.len() > limit {
            return None;
        }
        let size = |&item: &Id| match self.value(item) {
            Value::Integer(n) => u64::try_from(*n).ok(),
            _ => None,
        };
        items.iter().map(size).collect()
    }
}

/// Comparisons are of bytes: a hostile pickle can refer to one long text a million times, and to make it text takes time
/// proportional to its length.
fn bytes_in(bytes: &[u8], text: Text) -> &[u8] {
    let (start, length) = (text.start as usize, text.length as usize);
    bytes.get(start..start + length).unwrap_or_default()
}
