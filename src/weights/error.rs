//! What can go wrong with a weight file, in sentences that name the file and the tensor and, where there is one, the way on.

use std::fmt;
use std::io;
use std::path::Path;

use super::account::Mismatch;

/// A failure to read, check, convert or write weights.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightError {
    /// The operating system refused.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried: `open`, `read`, `write`…
        action: &'static str,
        /// The file or folder.
        path: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The file is neither safetensors nor a PyTorch zip archive.
    #[error("{file} is neither a safetensors file nor a PyTorch checkpoint: {found}")]
    UnknownFormat {
        /// The file.
        file: String,
        /// What it looks like instead.
        found: String,
    },
    /// A PyTorch checkpoint from before the zip format (1.6, 2020).
    #[error(
        "{file} is a PyTorch checkpoint of the old, pre-1.6 form, which cannot be read tensor by tensor\n  \
         save it again with a newer PyTorch: torch.save(torch.load(\"{file}\", map_location=\"cpu\"), \"resaved.pth\")"
    )]
    LegacyTorch {
        /// The file.
        file: String,
    },
    /// The header of a safetensors file is damaged.
    #[error("the header of {file} is damaged: {problem}")]
    Header {
        /// The file.
        file: String,
        /// What is wrong.
        problem: String,
    },
    /// The index of a sharded checkpoint is damaged.
    #[error("the index {file} is damaged: {problem}")]
    Index {
        /// The index.
        file: String,
        /// What is wrong.
        problem: String,
    },
    /// An index names a shard that is no plain file name, such as one that leaves its folder.
    #[error(
        "{file} puts tensor {} into {}, which is not a file name: shards lie beside their index",
        Name(tensor),
        Name(shard)
    )]
    ShardName {
        /// The index.
        file: String,
        /// The tensor.
        tensor: String,
        /// What the index calls the shard.
        shard: String,
    },
    /// An index names a shard that is not there.
    #[error(
        "{file} puts tensor {}{} into {}, which is not there\n  fetch the shard into the folder of the index",
        Name(tensor), if *others > 0 { format!(" and {}", count(*others, "other")) } else { String::new() }, Name(shard)
    )]
    MissingShard {
        /// The index.
        file: String,
        /// The first tensor of the shard.
        tensor: String,
        /// How many more the shard should hold.
        others: usize,
        /// The shard.
        shard: String,
    },
    /// A shard lacks a tensor that the index gives it.
    #[error(
        "{} lacks tensor {}, which {file} puts into it{}\n  shards and index are not from one checkpoint: fetch both again",
        Name(shard), Name(tensor), elsewhere.as_deref().map(|s| format!("; it is in {}", Name(s))).unwrap_or_default()
    )]
    NotInShard {
        /// The index.
        file: String,
        /// The tensor.
        tensor: String,
        /// The shard that the index names.
        shard: String,
        /// The shard that holds it instead.
        elsewhere: Option<String>,
    },
    /// A shard holds a tensor that the index does not know.
    #[error(
        "{} holds tensor {}, which is not in {file}\n  shards and index are not from one checkpoint: fetch both again",
        Name(shard),
        Name(tensor)
    )]
    NotInIndex {
        /// The index.
        file: String,
        /// The tensor.
        tensor: String,
        /// The shard.
        shard: String,
    },
    /// Two shards hold a tensor of one name.
    #[error(
        "tensor {} is in {} and in {}, and {file} puts it into the first\n  shards and index are not from one checkpoint: fetch both again",
        Name(tensor),
        Name(first),
        Name(second)
    )]
    InTwoShards {
        /// The index.
        file: String,
        /// The tensor.
        tensor: String,
        /// The shard that the index names.
        first: String,
        /// The other.
        second: String,
    },
    /// One tensor's entry contradicts itself or the file.
    #[error("tensor {} in {file} is damaged: {problem}", Name(tensor))]
    Tensor {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// What is wrong.
        problem: String,
    },
    /// The zip archive around a PyTorch checkpoint is damaged or of a kind that PyTorch does not write.
    #[error("the archive {file} cannot be read: {problem}")]
    Archive {
        /// The file.
        file: String,
        /// What is wrong, and what to do where something can be done.
        problem: String,
    },
    /// The pickle inside a PyTorch checkpoint is damaged or hostile.
    #[error("the pickle in {file} cannot be read (byte {offset} of data.pkl): {problem}")]
    Pickle {
        /// The file.
        file: String,
        /// Where in `data.pkl`.
        offset: usize,
        /// What is wrong.
        problem: String,
    },
    /// The checkpoint was read, but holds no table of named tensors.
    #[error("{file} holds no state dict: {found}")]
    NoStateDict {
        /// The file.
        file: String,
        /// What it holds instead, and what to do.
        found: String,
    },
    /// No tensor of this name.
    #[error("{file} has no tensor {}{}", Name(tensor), hint.as_deref().map(|near| format!("\n  the nearest name in it is {}", Name(near))).unwrap_or_default())]
    NoSuchTensor {
        /// The file.
        file: String,
        /// The name that was asked for.
        tensor: String,
        /// The nearest name in the file.
        hint: Option<String>,
    },
    /// The element type is not one that can be read as what was asked for.
    #[error("tensor {} in {file} has element type {found}, expected {expected}", Name(tensor))]
    ElementType {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// The type in the file.
        found: String,
        /// The types that would do.
        expected: &'static str,
    },
    /// A weight is NaN or infinite.
    #[error(
        "tensor {} in {file} holds {value} at flat index {index}; weights must be finite\n  \
         the file is damaged, or its training diverged: fetch it again or take an earlier checkpoint",
        Name(tensor)
    )]
    NotFinite {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// The index of the first such element.
        index: usize,
        /// The element, as text.
        value: String,
    },
    /// A value is finite, but not in the range of the type it was asked for in.
    #[error(
        "tensor {} in {file} holds {value} at flat index {index}, which does not fit {dtype}",
        Name(tensor)
    )]
    Range {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// The index of the first such element.
        index: usize,
        /// The element, as text.
        value: String,
        /// The type that was asked for.
        dtype: &'static str,
    },
    /// The tensors of a file are not those that the model needs.
    #[error(transparent)]
    Mismatch(Box<Mismatch>),
    /// The path of a model is not a folder.
    #[error(
        "{path} is not a model folder: {found}\n  a model is a folder with config.json and *.safetensors; \
         `migm convert` makes one from checkpoints"
    )]
    NotAFolder {
        /// The path.
        path: String,
        /// What it is instead.
        found: &'static str,
    },
    /// A folder without `config.json`.
    #[error(
        "{folder} has no config.json, so it is not a model folder\n  `migm convert {folder} <new folder>` makes one from checkpoints"
    )]
    NoConfig {
        /// The folder.
        folder: String,
    },
    /// `config.json` is not a JSON object.
    #[error("{file} is not valid: {problem}")]
    Config {
        /// The file.
        file: String,
        /// What is wrong; a syntax error names line and column.
        problem: String,
    },
    /// A conversion cannot be done as asked.
    #[error("{problem}")]
    Convert {
        /// What stands in the way, and what to do.
        problem: String,
    },
}

impl WeightError {
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.display().to_string(), source }
    }

    pub(super) fn header(file: &str, problem: impl Into<String>) -> Self {
        Self::Header { file: file.into(), problem: problem.into() }
    }

    pub(super) fn index(file: &str, problem: impl Into<String>) -> Self {
        Self::Index { file: file.into(), problem: problem.into() }
    }

    pub(super) fn tensor(file: &str, tensor: &str, problem: impl Into<String>) -> Self {
        Self::Tensor { file: file.into(), tensor: tensor.into(), problem: problem.into() }
    }

    pub(super) fn archive(file: &str, problem: impl Into<String>) -> Self {
        Self::Archive { file: file.into(), problem: problem.into() }
    }

    pub(super) fn convert(problem: impl Into<String>) -> Self {
        Self::Convert { problem: problem.into() }
    }
}

/// A name from a file, in backquotes: control characters escaped, cut where it would flood the terminal.
pub(super) struct Name<'a>(pub(super) &'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 160;
        let mut characters = self.0.chars();
        f.write_str("`")?;
        for c in characters.by_ref().take(LONGEST) {
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { write!(f, "{c}")? }
        }
        f.write_str(if characters.next().is_some() { "…`" } else { "`" })
    }
}

/// `1 tensor`, `2 tensors`.
pub(super) fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_files_cannot_write_to_the_terminal() {
        assert_eq!(Name("a.b\u{1b}[31m\n").to_string(), "`a.b\\u{1b}[31m\\n`");
        let long = Name(&"x".repeat(10_000)).to_string();
        assert!(long.chars().count() < 200 && long.ends_with("…`"));
    }
}
