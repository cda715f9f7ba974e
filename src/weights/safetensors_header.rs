//! The header of a safetensors file: an 8-byte length, a JSON object of tensors, then their data without gaps.
//!
//! The format's own crate keeps the last of two tensors with one name and reports most damage without saying which tensor
//! is meant, so the JSON is read here; its element types are the crate's.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use safetensors::Dtype;
use serde::de::value::{Error as ValueError, StrDeserializer};
use serde::de::{Deserialize, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor};

use super::checkpoint::{Place, Stored, TensorInfo};
use super::error::{Name, WeightError};
use super::source::Source;

/// The limit of the format's own crate.
const LONGEST_HEADER: u64 = 100_000_000;
/// No weight has more than five.
pub(super) const MOST_DIMENSIONS: usize = 16;
const LENGTH_BYTES: u64 = 8;

/// Tensors by name, and the free-form metadata.
pub(super) type Contents = (BTreeMap<String, Stored>, BTreeMap<String, String>);

/// Whether the file opens as safetensors files do. Anything further wrong is an error of that format.
pub(super) fn looks_like_safetensors(start: &[u8]) -> bool {
    start.get(LENGTH_BYTES as usize) == Some(&b'{')
}

pub(super) fn read_header(source: &Source) -> Result<Contents, WeightError> {
    let file = source.name.as_str();
    if source.len < LENGTH_BYTES {
        return Err(WeightError::header(
            file,
            format!("the file has {} bytes, and the header's length alone takes 8", source.len),
        ));
    }
    let mut length = [0; LENGTH_BYTES as usize];
    source.read_at(0, &mut length)?;
    let length = u64::from_le_bytes(length);
    if length > LONGEST_HEADER {
        return Err(WeightError::header(
            file,
            format!("it claims {length} bytes, and the format allows {LONGEST_HEADER}"),
        ));
    }
    let data_len = source.len.checked_sub(LENGTH_BYTES + length).ok_or_else(|| {
        let problem =
            format!("it claims {length} bytes in a file of {}: is the download complete?", source.len);
        WeightError::header(file, problem)
    })?;
    let json = source.read_vec(LENGTH_BYTES, length)?;
    let header: Header =
        serde_json::from_slice(&json).map_err(|e| WeightError::header(file, shorten(e.to_string())))?;
    check_layout(file, &header.tensors, data_len)?;
    let mut tensors = BTreeMap::new();
    for (name, entry) in header.tensors {
        let stored = entry.into_stored(file, name, LENGTH_BYTES + length)?;
        tensors.insert(stored.info.name.clone(), stored);
    }
    Ok((tensors, header.metadata))
}

/// serde quotes what it found, however long that is.
pub(super) fn shorten(message: String) -> String {
    const LONGEST: usize = 400;
    match message.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message,
    }
}

/// Every range lies in the file, and together they cover the data once: no overlap, no gap.
fn check_layout(file: &str, tensors: &BTreeMap<String, Raw>, data_len: u64) -> Result<(), WeightError> {
    let mut in_order: Vec<(&String, (u64, u64))> = tensors.iter().map(|(n, t)| (n, t.data_offsets)).collect();
    in_order.sort_by_key(|&(_, offsets)| offsets);
    let mut previous: Option<(&String, u64)> = None;
    for (name, (start, end)) in in_order {
        if end < start {
            return Err(WeightError::tensor(
                file,
                name,
                format!("its data ends at byte {end}, before its start at {start}"),
            ));
        }
        if end > data_len {
            let problem = format!(
                "its data ends at byte {end} and the file holds {data_len} bytes of data: is the download complete?"
            );
            return Err(WeightError::tensor(file, name, problem));
        }
        let expected = previous.map_or(0, |(_, end)| end);
        if start != expected {
            let problem = match previous {
                Some((other, _)) if start < expected => format!("its data overlaps that of {}", Name(other)),
                _ => format!("its data starts at byte {start}, expected {expected}"),
            };
            return Err(WeightError::tensor(file, name, problem));
        }
        previous = Some((name, end));
    }
    let used = previous.map_or(0, |(_, end)| end);
    if used != data_len {
        let problem = format!("its tensors take {used} bytes and the file holds {data_len} bytes of data");
        return Err(WeightError::header(file, problem));
    }
    Ok(())
}

/// The number of bytes that a shape takes, where it can be said at all.
pub(super) fn bytes_of(shape: &[usize], dtype: Dtype) -> Option<u64> {
    let elements = shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d as u64))?;
    let bits = elements.checked_mul(dtype.bitsize() as u64)?;
    bits.is_multiple_of(8).then_some(bits / 8)
}

struct Header {
    metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, Raw>,
}

#[derive(serde::Deserialize)]
struct Raw {
    dtype: String,
    shape: Dimensions,
    data_offsets: (u64, u64),
}

impl Raw {
    fn into_stored(self, file: &str, name: String, data_start: u64) -> Result<Stored, WeightError> {
        let text: StrDeserializer<'_, ValueError> = self.dtype.as_str().into_deserializer();
        let Ok(dtype) = Dtype::deserialize(text) else {
            let problem = format!("its element type {} is not one of the format's", Name(&self.dtype));
            return Err(WeightError::tensor(file, &name, problem));
        };
        let shape = self.shape.0;
        let (start, end) = self.data_offsets;
        let bytes = bytes_of(&shape, dtype).ok_or_else(|| {
            WeightError::tensor(file, &name, format!("shape {shape:?} of {dtype} has no size in whole bytes"))
        })?;
        if bytes != end - start {
            let problem =
                format!("shape {shape:?} of {dtype} takes {bytes} bytes, its data takes {}", end - start);
            return Err(WeightError::tensor(file, &name, problem));
        }
        let place = Place { offset: data_start + start, strides: None };
        Ok(Stored { info: TensorInfo { name, dtype, shape, bytes }, place })
    }
}

struct Dimensions(Vec<usize>);

impl<'de> Deserialize<'de> for Dimensions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounded;
        impl<'de> Visitor<'de> for Bounded {
            type Value = Dimensions;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MOST_DIMENSIONS} dimensions")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Dimensions, A::Error> {
                let mut dimensions = Vec::new();
                while let Some(dimension) = list.next_element()? {
                    if dimensions.len() == MOST_DIMENSIONS {
                        return Err(A::Error::invalid_length(MOST_DIMENSIONS + 1, &self));
                    }
                    dimensions.push(dimension);
                }
                Ok(Dimensions(dimensions))
            }
        }
        deserializer.deserialize_seq(Bounded)
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut metadata = None;
                let mut tensors = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        if metadata.replace(map.next_value()?).is_some() {
                            return Err(A::Error::custom("`__metadata__` appears twice"));
                        }
                        continue;
                    }
                    match tensors.entry(name) {
                        Entry::Vacant(place) => {
                            let entry = map.next_value().map_err(|e| {
                                A::Error::custom(format_args!("tensor {}: {e}", Name(place.key())))
                            })?;
                            place.insert(entry);
                        }
                        Entry::Occupied(place) => {
                            let problem = format!("tensor {} appears twice", Name(place.key()));
                            return Err(A::Error::custom(problem));
                        }
                    }
                }
                Ok(Header { metadata: metadata.unwrap_or_default(), tensors })
            }
        }
        deserializer.deserialize_map(Entries)
    }
}
