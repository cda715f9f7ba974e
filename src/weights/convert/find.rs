//! Which of the files that a conversion is given are parts of a model.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::{Candidate, Part, SkippedFile};
use crate::weights::WeightError;
use crate::weights::error::Name;
use crate::weights::shards::{is_index, shards_of};

const EXTENSIONS: [&str; 5] = ["pth", "pt", "ckpt", "bin", "safetensors"];
/// The official layout is two folders deep.
const FOLDER_DEPTH: usize = 4;
const MOST_FILES: usize = 1000;
/// What turns text into ids; it is copied, not converted.
pub(super) const TEXT_TOKENIZER: &str = "tokenizer.json";

/// Every checkpoint that is named or lies in a named folder and is a part of a model. A named file must be one; others in
/// folders are passed over with the reason. Shards are read through their index.
pub(super) fn find(
    sources: &[PathBuf],
    skipped: &mut Vec<SkippedFile>,
) -> Result<Vec<Candidate>, WeightError> {
    let mut files = Vec::new();
    for source in sources {
        if source.is_dir() {
            let mut inside = Vec::new();
            list(source, FOLDER_DEPTH, &mut inside)?;
            inside.sort();
            files.extend(inside.into_iter().map(|path| (path, false)));
        } else if !is_text_tokenizer(source) {
            files.push((source.clone(), true));
        }
    }
    let mut shards = BTreeSet::new();
    for (path, _) in files.iter().filter(|(path, _)| is_index(path)) {
        let folder = path.parent().unwrap_or(Path::new(""));
        shards.extend(shards_of(path)?.into_iter().map(|shard| folder.join(shard)));
    }
    let mut found = Vec::new();
    for (path, is_named) in files {
        if shards.contains(&path) {
            continue;
        }
        // Half a checkpoint of several files is not passed over: its error says which file to fetch.
        let must_be_read = is_named || is_index(&path);
        match Candidate::open(&path) {
            Ok(candidate) if candidate.part.is_some() => found.push(candidate),
            Ok(candidate) if is_named => {
                let problem = format!("{}: {}", path.display(), unrecognised(&candidate));
                return Err(WeightError::convert(problem));
            }
            Ok(candidate) => skipped.push(SkippedFile { path, reason: unrecognised(&candidate) }),
            Err(error) if must_be_read => return Err(error),
            Err(error) => skipped.push(SkippedFile { path, reason: error.to_string() }),
        }
    }
    Ok(found)
}

fn is_text_tokenizer(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == TEXT_TOKENIZER)
}

/// The text tokenizer among the sources: named, in a named folder, or beside the transformer.
pub(super) fn text_tokenizer(sources: &[PathBuf], base: Option<&Candidate>) -> Option<PathBuf> {
    let named = sources.iter().map(|source| match source.is_dir() {
        true => source.join(TEXT_TOKENIZER),
        false => source.clone(),
    });
    let beside = base.map(|base| base.path.with_file_name(TEXT_TOKENIZER));
    named.chain(beside).find(|path| is_text_tokenizer(path) && path.is_file())
}

/// Why a checkpoint is not used.
pub(super) fn unrecognised(candidate: &Candidate) -> String {
    let names = || candidate.checkpoint.tensors().map(|t| t.name.as_str());
    if names().any(|name| candidate.short(name).starts_with("model.transformer.")) {
        return "it is a shard of a Lumina-DiMOO, or a part of one; name the folder, or the *.safetensors.index.json"
            .to_owned();
    }
    let names: Vec<_> = names().take(3).map(|name| Name(name).to_string()).collect();
    format!(
        "it is neither a MaskGIT, a VQGAN, a Lumina-DiMOO, its tokenizer nor a shortcut; its tensors are {}…",
        names.join(", ")
    )
}

fn list(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), WeightError> {
    let refused = |e| WeightError::io("read", folder, e);
    for entry in fs::read_dir(folder).map_err(refused)? {
        let path = entry.map_err(refused)?.path();
        let is_checkpoint = is_index(&path)
            || path.extension().is_some_and(|e| EXTENSIONS.iter().any(|x| e.eq_ignore_ascii_case(x)));
        if path.is_dir() {
            if depth > 0 {
                list(&path, depth - 1, files)?;
            }
        } else if is_checkpoint {
            if files.len() == MOST_FILES {
                let problem = format!(
                    "{} holds more than {MOST_FILES} checkpoints; name the ones that are meant",
                    folder.display()
                );
                return Err(WeightError::convert(problem));
            }
            files.push(path);
        }
    }
    Ok(())
}

/// One checkpoint for each part. What an earlier conversion left in the destination gives way to anything else.
pub(super) fn choose(
    found: Vec<Candidate>,
    destination: &Path,
    skipped: &mut Vec<SkippedFile>,
) -> Result<BTreeMap<Part, Candidate>, WeightError> {
    let mut chosen: BTreeMap<Part, Candidate> = BTreeMap::new();
    for candidate in found {
        let Some(part) = candidate.part else { continue };
        let Some(other) = chosen.remove(&part) else {
            chosen.insert(part, candidate);
            continue;
        };
        let output = fs::canonicalize(destination.join(format!("{part}.safetensors"))).ok();
        let is_output = |c: &Candidate| output.is_some() && fs::canonicalize(&c.path).ok() == output;
        let (kept, passed) = match (is_output(&candidate), is_output(&other)) {
            (false, true) => (candidate, other),
            (true, false) => (other, candidate),
            _ => {
                let problem = format!(
                    "{} and {} are both {part} checkpoints\n  name the files that are meant, instead of their folder",
                    other.path.display(),
                    candidate.path.display()
                );
                return Err(WeightError::convert(problem));
            }
        };
        skipped.push(SkippedFile { path: passed.path, reason: "it is an earlier conversion's".into() });
        chosen.insert(part, kept);
    }
    Ok(chosen)
}
