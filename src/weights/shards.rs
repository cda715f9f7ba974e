//! A checkpoint in several safetensors files and an index that says which tensor is in which.
//!
//! The index is believed in nothing: every shard's header is read when the index is opened, one shard at a time, and the two
//! must agree on every tensor. Data is then read from the shards as it is asked for, with few of them open at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::checkpoint::Stored;
use super::error::{Name, WeightError};
use super::safetensors_header::{Contents, read_header, shorten};
use super::source::{Shard, Source};

/// What the names of indices end in, as the hub's libraries write them.
pub(super) const INDEX_SUFFIX: &str = ".safetensors.index.json";
/// An index of a hundred thousand tensors takes some ten megabytes.
const LONGEST_INDEX: u64 = 64 << 20;
/// The largest published models have some two hundred.
const MOST_SHARDS: usize = 4096;

/// Whether a file is an index, by its name.
pub(super) fn is_index(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(INDEX_SUFFIX))
}

/// Opens an index: its shards as one source, and the tensors in all of them.
pub(super) fn open_index(path: &Path) -> Result<(Source, Contents), WeightError> {
    let (source, weight_map) = read_index(path)?;
    let file = source.name.as_str();
    let names = names_in(file, &weight_map)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut shards = Vec::with_capacity(names.len());
    let mut tensors = BTreeMap::new();
    // Tensors that are in another shard than the index says, with that other one.
    let mut strays = BTreeMap::new();
    let mut start = 0u64;
    for &shard in &names {
        let (found, len) = read_shard(file, folder, shard, &weight_map)?;
        for (tensor, mut stored) in found {
            match weight_map.get(&tensor) {
                None => {
                    return Err(WeightError::NotInIndex { file: file.into(), tensor, shard: shard.into() });
                }
                Some(named) if named == shard => {
                    stored.place.offset += start;
                    tensors.insert(tensor, stored);
                }
                Some(_) => {
                    strays.insert(tensor, shard);
                }
            }
        }
        shards.push(Shard { name: shard.to_owned(), start, len });
        start = start.checked_add(len).ok_or_else(|| WeightError::index(file, "its shards are too large"))?;
    }
    for (tensor, named) in &weight_map {
        let stray = strays.get(tensor).map(|&shard| shard.to_owned());
        match (tensors.contains_key(tensor), stray) {
            (true, None) => {}
            (true, Some(second)) => {
                let (tensor, first) = (tensor.clone(), named.clone());
                return Err(WeightError::InTwoShards { file: file.into(), tensor, first, second });
            }
            (false, elsewhere) => {
                let (tensor, shard) = (tensor.clone(), named.clone());
                return Err(WeightError::NotInShard { file: file.into(), tensor, shard, elsewhere });
            }
        }
    }
    let shards = Source::from_shards(&source.name, folder, shards);
    Ok((shards, (tensors, BTreeMap::new())))
}

/// The names of the shards that an index names. They lie beside it.
pub(super) fn shards_of(path: &Path) -> Result<BTreeSet<String>, WeightError> {
    let (source, weight_map) = read_index(path)?;
    Ok(names_in(&source.name, &weight_map)?.into_iter().map(str::to_owned).collect())
}

fn read_index(path: &Path) -> Result<(Source, BTreeMap<String, String>), WeightError> {
    let source = Source::open(path)?;
    let file = source.name.as_str();
    if source.len > LONGEST_INDEX {
        let problem = format!("it has {} bytes, and {LONGEST_INDEX} are allowed", source.len);
        return Err(WeightError::index(file, problem));
    }
    let json = source.read_vec(0, source.len)?;
    let Index { weight_map } =
        serde_json::from_slice(&json).map_err(|e| WeightError::index(file, shorten(e.to_string())))?;
    if weight_map.is_empty() {
        return Err(WeightError::index(file, "its `weight_map` is empty"));
    }
    Ok((source, weight_map))
}

fn names_in<'a>(
    file: &str,
    weight_map: &'a BTreeMap<String, String>,
) -> Result<BTreeSet<&'a str>, WeightError> {
    for (tensor, shard) in weight_map {
        if !is_plain_name(shard) {
            let (file, tensor, shard) = (file.to_owned(), tensor.clone(), shard.clone());
            return Err(WeightError::ShardName { file, tensor, shard });
        }
    }
    let names: BTreeSet<&str> = weight_map.values().map(String::as_str).collect();
    if names.len() > MOST_SHARDS {
        let problem = format!("it names {} shards, and {MOST_SHARDS} are allowed", names.len());
        return Err(WeightError::index(file, problem));
    }
    Ok(names)
}

/// The tensors of one shard, and its length. It is closed again.
fn read_shard(
    file: &str,
    folder: &Path,
    shard: &str,
    weight_map: &BTreeMap<String, String>,
) -> Result<(BTreeMap<String, Stored>, u64), WeightError> {
    let opened = Source::open(&folder.join(shard)).map_err(|error| match error {
        WeightError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            let mut tensors =
                weight_map.iter().filter(|(_, named)| *named == shard).map(|(tensor, _)| tensor);
            let tensor = tensors.next().cloned().unwrap_or_default();
            WeightError::MissingShard {
                file: file.into(),
                tensor,
                others: tensors.count(),
                shard: shard.into(),
            }
        }
        other => other,
    })?;
    let (tensors, _) = read_header(&opened)?;
    Ok((tensors, opened.len))
}

/// Shards lie beside their index. Separators and drives of every system are refused on every system.
fn is_plain_name(shard: &str) -> bool {
    !shard.is_empty()
        && !shard.starts_with('.')
        && !shard.contains(['/', '\\', ':'])
        && !shard.contains(char::is_control)
}

struct Index {
    weight_map: BTreeMap<String, String>,
}

impl<'de> Deserialize<'de> for Index {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Index;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with a `weight_map`")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Index, A::Error> {
                let mut found: Option<WeightMap> = None;
                while let Some(key) = map.next_key::<String>()? {
                    if key != "weight_map" {
                        // `metadata` has a `total_size`, which published indices get wrong where tensors are shared.
                        map.next_value::<IgnoredAny>()?;
                    } else if found.replace(map.next_value()?).is_some() {
                        return Err(A::Error::custom("`weight_map` appears twice"));
                    }
                }
                let WeightMap(weight_map) = found.ok_or_else(|| A::Error::missing_field("weight_map"))?;
                Ok(Index { weight_map })
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// Shards by tensor, each tensor once: serde's own map would keep the last of two.
struct WeightMap(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for WeightMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = WeightMap;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of file names by tensor")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WeightMap, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some(tensor) = map.next_key::<String>()? {
                    let shard = map
                        .next_value()
                        .map_err(|e| A::Error::custom(format_args!("tensor {}: {e}", Name(&tensor))))?;
                    if entries.contains_key(&tensor) {
                        let problem = format!("tensor {} appears twice", Name(&tensor));
                        return Err(A::Error::custom(problem));
                    }
                    entries.insert(tensor, shard);
                }
                Ok(WeightMap(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}
