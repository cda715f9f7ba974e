//! A PyTorch checkpoint: an archive with one pickle and an entry for each storage. Finds the state dict in it.

use std::collections::BTreeMap;

use super::checkpoint::{Place, Stored, TensorInfo};
use super::error::{Name, WeightError, count};
use super::pickle::{Id, LONGEST_PICKLE, Pickle, Tensor, Value};
use super::safetensors_header::MOST_DIMENSIONS;
use super::source::Source;
use super::zip::Archive;

/// The keys under which trainers put a model's state dict, the first that is there wins.
const STATE_DICT_KEYS: [&str; 5] = ["model_state_dict", "state_dict", "model", "ema", "ema_state_dict"];
/// How deep these may be nested.
const STATE_DICT_DEPTH: usize = 3;
/// The name of the one tensor of a file that holds nothing else.
const LONE_TENSOR: &str = "tensor";
const MOST_TENSORS: usize = 100_000;
const LONGEST_NAME: usize = 4096;
const LONGEST_STORAGE_KEY: usize = 64;
/// Tensors may share a storage (tied weights). Beyond this many times the file, they are there to fill a disk.
const MOST_SHARING: u64 = 16;

/// Whether a file opens as a pickle outside of an archive, PyTorch's form before 1.6.
pub(super) fn looks_like_legacy(start: &[u8]) -> bool {
    matches!(start, [0x80, 2..=5, ..])
}

pub(super) fn read_tensors(source: &Source) -> Result<BTreeMap<String, Stored>, WeightError> {
    let file = source.name.as_str();
    let archive = Archive::open(source)?;
    let root = find_root(file, &archive)?;
    if let Some(entry) = archive.data(file, &format!("{root}byteorder"))?
        && entry.end - entry.start <= 16
        && source.read_vec(entry.start, entry.end - entry.start)? != b"little"
    {
        return Err(WeightError::archive(
            file,
            "it was written on a big-endian machine; save it again on a common one",
        ));
    }
    let Some(entry) = archive.data(file, &format!("{root}data.pkl"))? else {
        return Err(WeightError::archive(file, "it has no data.pkl"));
    };
    let length = entry.end - entry.start;
    if length > LONGEST_PICKLE {
        return Err(WeightError::archive(
            file,
            format!("its data.pkl takes {length} bytes, and {LONGEST_PICKLE} are allowed"),
        ));
    }
    let pickle = Pickle::read(source.read_vec(entry.start, length)?).map_err(|e| WeightError::Pickle {
        file: file.into(),
        offset: e.offset,
        problem: e.problem,
    })?;
    let reader = Reader { file, source, archive: &archive, root, pickle: &pickle };
    reader.tensors()
}

/// The folder of the archive that holds `data.pkl`, with its slash.
fn find_root(file: &str, archive: &Archive) -> Result<String, WeightError> {
    let roots = || archive.names().filter_map(|name| name.strip_suffix("data.pkl"));
    let root = roots().find(|root| root.is_empty() || root.find('/') == Some(root.len() - 1));
    let Some(root) = root else {
        let first: Vec<_> = archive.names().take(3).map(|name| Name(name).to_string()).collect();
        let problem =
            format!("it is a zip archive, but not PyTorch's: it has no data.pkl, but {}", first.join(", "));
        return Err(WeightError::archive(file, problem));
    };
    let script = format!("{root}constants.pkl");
    if archive.names().any(|name| name == script) {
        let problem = "it is a TorchScript program\n  save its weights alone: torch.save(torch.jit.load(path).state_dict(), \"weights.pth\")";
        return Err(WeightError::archive(file, problem));
    }
    Ok(root.to_owned())
}

struct Reader<'a> {
    file: &'a str,
    source: &'a Source,
    archive: &'a Archive,
    root: String,
    pickle: &'a Pickle,
}

impl Reader<'_> {
    fn tensors(&self) -> Result<BTreeMap<String, Stored>, WeightError> {
        let mut tensors = BTreeMap::new();
        let mut total = 0u64;
        for (name, tensor) in self.find_state_dict()? {
            let stored = self.stored(&name, tensor)?;
            total = total.saturating_add(stored.info.bytes);
            if total / MOST_SHARING > self.source.len {
                let problem =
                    format!("its tensors would take more than {MOST_SHARING} times the file's own size");
                return Err(WeightError::tensor(self.file, &name, problem));
            }
            tensors.insert(name, stored);
        }
        Ok(tensors)
    }

    fn find_state_dict(&self) -> Result<Vec<(String, Tensor)>, WeightError> {
        let mut at = self.pickle.root;
        if let Value::Tensor(tensor) = self.pickle.value(at) {
            return Ok(vec![(LONE_TENSOR.into(), *tensor)]);
        }
        for _ in 0..STATE_DICT_DEPTH {
            let Value::Dict(entries) = self.pickle.value(at) else { break };
            let Some(inner) = STATE_DICT_KEYS.iter().find_map(|key| self.dict_under(entries, key)) else {
                break;
            };
            at = inner;
        }
        let Value::Dict(entries) = self.pickle.value(at) else { return Err(self.no_state_dict(at)) };
        let mut tensors = BTreeMap::new();
        for &(key, value) in entries {
            if let (Value::Text(key), Value::Tensor(tensor)) =
                (self.pickle.value(key), self.pickle.value(value))
            {
                let Some(name) = self.pickle.text(*key, LONGEST_NAME) else {
                    return Err(WeightError::archive(
                        self.file,
                        format!("a tensor's name takes more than {LONGEST_NAME} bytes"),
                    ));
                };
                // A repeated key replaces the first, as in Python.
                tensors.insert(name, *tensor);
                if tensors.len() > MOST_TENSORS {
                    return Err(WeightError::archive(
                        self.file,
                        format!("it has more than {MOST_TENSORS} tensors"),
                    ));
                }
            }
        }
        if tensors.is_empty() {
            return Err(self.no_state_dict(at));
        }
        let names: Vec<_> = tensors.keys().copied().collect();
        let prefix = wrapper_prefix(&names);
        Ok(tensors.into_iter().map(|(name, tensor)| (name[prefix..].to_owned(), tensor)).collect())
    }

    /// The dictionary that `entries` has under `key`, if there is one.
    fn dict_under(&self, entries: &[(Id, Id)], wanted: &str) -> Option<Id> {
        let found = entries.iter().rev().find(|&&(key, value)| {
            self.pickle.is_text(key, wanted) && matches!(self.pickle.value(value), Value::Dict(_))
        });
        found.map(|&(_, value)| value)
    }

    fn no_state_dict(&self, at: Id) -> WeightError {
        let found = match self.pickle.value(at) {
            Value::Dict(entries) => {
                let keys = entries.iter().filter_map(|&(key, _)| match self.pickle.value(key) {
                    Value::Text(key) => self.pickle.text(*key, LONGEST_NAME).map(|key| Name(key).to_string()),
                    _ => None,
                });
                let keys: Vec<_> = keys.take(6).collect();
                format!("it has {} ({}), and none holds named tensors", count(entries.len(), "key"), keys.join(", "))
            }
            Value::Opaque(Some(class)) => format!(
                "it is a pickled {}, and no code is run here\n  save its weights alone: torch.save(model.state_dict(), \"weights.pth\")",
                Name(&self.pickle.global(*class).unwrap_or_default())
            ),
            _ => "it is not a dictionary of tensors\n  save the weights alone: torch.save(model.state_dict(), \"weights.pth\")".into(),
        };
        WeightError::NoStateDict { file: self.file.into(), found }
    }

    /// Checks that a tensor lies in its storage and the storage in the file.
    fn stored(&self, name: &str, tensor: Tensor) -> Result<Stored, WeightError> {
        let damaged = |problem: String| WeightError::tensor(self.file, name, problem);
        let storage = tensor.storage;
        let Some(dtype) = storage.dtype else {
            return Err(WeightError::ElementType {
                file: self.file.into(),
                tensor: name.into(),
                found: self.pickle.global(storage.kind).unwrap_or_else(|| "unknown".into()),
                expected: "floats, integers or booleans",
            });
        };
        let item = dtype.bitsize() as u64 / 8;
        let Some(key) = self.pickle.text(storage.key, LONGEST_STORAGE_KEY) else {
            return Err(damaged("the key of its storage is too long".into()));
        };
        let Some(entry) = self.archive.data(self.file, &format!("{}data/{key}", self.root))? else {
            return Err(damaged(format!("its storage {} is not in the archive", Name(key))));
        };
        let entry_bytes = entry.end - entry.start;
        if storage.elements.checked_mul(item) != Some(entry_bytes) {
            let problem = format!(
                "its storage claims {} elements of {dtype} and has {entry_bytes} bytes",
                storage.elements
            );
            return Err(damaged(problem));
        }
        let (Some(shape), Some(strides)) = (self.sizes(tensor.shape), self.sizes(tensor.strides)) else {
            return Err(damaged(format!(
                "its shape or strides are not at most {MOST_DIMENSIONS} sizes of zero or more"
            )));
        };
        if shape.len() != strides.len() {
            return Err(damaged(format!("it has {} sizes and {} strides", shape.len(), strides.len())));
        }
        let elements = shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d));
        let last = shape.iter().zip(&strides).try_fold(tensor.offset, |last, (&size, &stride)| {
            last.checked_add(size.saturating_sub(1).checked_mul(stride)?)
        });
        let (Some(elements), Some(last)) = (elements, last) else {
            return Err(damaged(format!("shape {shape:?} with strides {strides:?} has no size")));
        };
        let outside = if elements == 0 { tensor.offset > storage.elements } else { last >= storage.elements };
        if outside {
            return Err(damaged(format!(
                "shape {shape:?} reaches element {last} of a storage of {}",
                storage.elements
            )));
        }
        if elements > storage.elements {
            let problem = format!(
                "shape {shape:?} repeats the elements of a storage of {}\n  save it with .contiguous()",
                storage.elements
            );
            return Err(damaged(problem));
        }
        let narrow =
            |sizes: Vec<u64>| sizes.into_iter().map(|s| usize::try_from(s).ok()).collect::<Option<Vec<_>>>();
        let (Some(shape), Some(strides)) = (narrow(shape), narrow(strides)) else {
            return Err(damaged("it is too large for this machine".into()));
        };
        let strides = (!is_contiguous(&shape, &strides)).then_some(strides);
        let info = TensorInfo { name: name.into(), dtype, shape, bytes: elements * item };
        Ok(Stored { info, place: Place { offset: entry.start + tensor.offset * item, strides } })
    }

    fn sizes(&self, id: Id) -> Option<Vec<u64>> {
        self.pickle.sizes(id, MOST_DIMENSIONS)
    }
}

/// The length of the prefix that wrappers put before every name: `module.` (DataParallel), `_orig_mod.` (torch.compile).
pub(super) fn wrapper_prefix(names: &[&str]) -> usize {
    const WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];
    let mut length = 0;
    while let Some(wrapper) =
        WRAPPERS.iter().find(|w| !names.is_empty() && names.iter().all(|n| n[length..].starts_with(**w)))
    {
        length += wrapper.len();
    }
    length
}

/// Whether elements lie one after another in the order of their indices.
fn is_contiguous(shape: &[usize], strides: &[usize]) -> bool {
    if shape.contains(&0) {
        return true;
    }
    let mut expected = 1usize;
    shape.iter().zip(strides).rev().all(|(&size, &stride)| {
        let fits = size == 1 || stride == expected;
        expected = expected.saturating_mul(size);
        fits
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_prefix_common_to_all_names_is_stripped() {
        assert_eq!(wrapper_prefix(&["module.a", "module.b.c"]), 7);
        assert_eq!(wrapper_prefix(&["module._orig_mod.a", "module._orig_mod.b"]), 17);
        assert_eq!(wrapper_prefix(&["module.a", "b"]), 0);
        assert_eq!(wrapper_prefix(&[]), 0);
    }

    #[test]
    fn dimensions_of_one_do_not_break_contiguity() {
        assert!(is_contiguous(&[2, 1, 3], &[3, 99, 1]));
        assert!(is_contiguous(&[], &[]) && is_contiguous(&[0, 4], &[7, 7]));
        assert!(!is_contiguous(&[2, 3], &[1, 2]) && !is_contiguous(&[4], &[0]));
    }
}
