//! What a name says of a file.

use std::path::Path;

/// What is written into files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A picture.
    Png,
    /// Pictures that move.
    Gif,
    /// A drawing.
    Svg,
    /// A report.
    Json,
    /// A line of it for each thing.
    JsonLines,
    /// A table.
    Csv,
    /// Weights.
    Safetensors,
    /// Arrays of NumPy.
    Npz,
    /// One of them.
    Npy,
}

/// Extensions that people and programs take for something: no folder is meant by them, and no other format.
pub(super) const KNOWN: [&str; 38] = [
    "png",
    "jpg",
    "jpeg",
    "gif",
    "webp",
    "bmp",
    "tif",
    "tiff",
    "avif",
    "heic",
    "ico",
    "ppm",
    "svg",
    "pdf",
    "eps",
    "json",
    "jsonl",
    "csv",
    "tsv",
    "yaml",
    "toml",
    "html",
    "xml",
    "txt",
    "log",
    "md",
    "mp4",
    "webm",
    "mov",
    "zip",
    "tar",
    "gz",
    "safetensors",
    "pth",
    "pt",
    "ckpt",
    "npy",
    "npz",
];

/// Extensions of text of any kind.
const TEXT: [&str; 3] = ["txt", "log", "md"];

impl Format {
    /// Whether a file is called so.
    pub fn names(self, path: &Path) -> bool {
        extension(path).is_some_and(|extension| extension == self.extension())
    }

    /// What its files are called.
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Gif => "gif",
            Self::Svg => "svg",
            Self::Json => "json",
            Self::JsonLines => "jsonl",
            Self::Csv => "csv",
            Self::Safetensors => "safetensors",
            Self::Npz => "npz",
            Self::Npy => "npy",
        }
    }

    /// What it is, for sentences.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Png => "a PNG picture",
            Self::Gif => "a GIF animation",
            Self::Svg => "an SVG drawing",
            Self::Json => "JSON",
            Self::JsonLines => "lines of JSON",
            Self::Csv => "CSV",
            Self::Safetensors => "weights as safetensors",
            Self::Npz => "arrays of NumPy",
            Self::Npy => "an array of NumPy",
        }
    }

    fn is_text(self) -> bool {
        matches!(self, Self::Svg | Self::Json | Self::JsonLines | Self::Csv)
    }

    /// Whether a file of this format may have a known extension, or none (`None`), which `strict` does not let pass.
    pub(super) fn takes(self, extension: Option<&str>, strict: bool) -> bool {
        match extension {
            None => !strict,
            Some(extension) => {
                extension == self.extension() || (!strict && self.is_text() && TEXT.contains(&extension))
            }
        }
    }
}

/// The extension in small letters, if it is a known one.
pub(super) fn extension(path: &Path) -> Option<String> {
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    KNOWN.contains(&extension.as_str()).then_some(extension)
}
