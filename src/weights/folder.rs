//! A model folder: `config.json` and one safetensors file a part (or its shards and their index), on disk or bundled into the program.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::checkpoint::Checkpoint;
use super::error::WeightError;
use super::shards::INDEX_SUFFIX;
use super::source::{FileBytes, Source};
use crate::assets::{self, Bundle};

pub(super) const CONFIG: &str = "config.json";
/// A config with a thousand labels takes some thirty kilobytes.
const LONGEST_CONFIG: u64 = 16 << 20;

/// A model folder that has been opened: its config has been read, its weights are opened part by part.
#[derive(Clone, Debug)]
pub struct ModelFolder {
    name: String,
    files: Files,
    config: Value,
}

#[derive(Clone, Debug)]
enum Files {
    Folder(PathBuf),
    Memory(Vec<(String, FileBytes)>),
}

impl ModelFolder {
    /// Opens a folder on disk, or where there is nothing the bundled model of that name, and reads its `config.json`.
    pub fn open(path: &Path) -> Result<Self, WeightError> {
        let shown = path.display().to_string();
        match path.metadata() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                if let Some(bundle) = path.to_str().and_then(assets::find) {
                    return Self::bundled(bundle);
                }
                let found = "there is nothing there, and no bundled model has that name";
                return Err(WeightError::NotAFolder { path: shown, found });
            }
            Err(e) => return Err(WeightError::io("open", path, e)),
            Ok(metadata) if !metadata.is_dir() => {
                return Err(WeightError::NotAFolder { path: shown, found: "it is a file" });
            }
            Ok(_) => {}
        }
        let name = path.file_name().map_or_else(|| shown.clone(), |name| name.to_string_lossy().into_owned());
        let file = path.join(CONFIG);
        if matches!(file.metadata(), Err(e) if e.kind() == io::ErrorKind::NotFound) {
            return Err(WeightError::NoConfig { folder: shown });
        }
        let config = Value::Object(read_config(&file)?);
        Ok(Self { name, files: Files::Folder(path.to_owned()), config })
    }

    /// A model that the executable carries.
    pub(crate) fn bundled(bundle: &Bundle) -> Result<Self, WeightError> {
        if bundle.files.is_empty() {
            let found = "this build carries no models";
            return Err(WeightError::NotAFolder { path: bundle.name.to_owned(), found });
        }
        let files = bundle.files.iter().map(|(file, bytes)| ((*file).to_owned(), (*bytes).into()));
        Self::from_files(bundle.name, files.collect())
    }

    /// A model whose files are in memory, by name.
    ///
    /// # Errors
    /// There is no `config.json` among them, or it is no JSON object.
    pub fn from_files(name: &str, files: Vec<(String, FileBytes)>) -> Result<Self, WeightError> {
        let Some((_, text)) = files.iter().find(|(file, _)| *file == CONFIG) else {
            return Err(WeightError::NoConfig { folder: name.into() });
        };
        let config = parse_config(&format!("{CONFIG} of {name}"), text).map(Value::Object)?;
        Ok(Self { name: name.into(), files: Files::Memory(files), config })
    }

    /// The folder's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the folder is; `None` where its files are in memory.
    pub fn path(&self) -> Option<&Path> {
        match &self.files {
            Files::Folder(path) => Some(path),
            Files::Memory(_) => None,
        }
    }

    /// Names and bytes of the files that are in memory, as a bundled model's are; none of a folder on disk.
    pub fn in_memory(&self) -> &[(String, FileBytes)] {
        match &self.files {
            Files::Folder(_) => &[],
            Files::Memory(files) => files,
        }
    }

    /// What `config.json` says; always an object.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// A file that is no checkpoint, if it is there.
    pub(crate) fn find(&self, file: &str) -> Result<Option<FileBytes>, WeightError> {
        let is_there = match &self.files {
            Files::Folder(path) => path.join(file).exists(),
            Files::Memory(files) => files.iter().any(|(name, _)| name == file),
        };
        if is_there { self.read(file).map(Some) } else { Ok(None) }
    }

    /// A file that is no checkpoint.
    pub(crate) fn read(&self, file: &str) -> Result<FileBytes, WeightError> {
        match &self.files {
            Files::Folder(path) => {
                let path = path.join(file);
                let bytes = std::fs::read(&path).map_err(|e| WeightError::io("read", &path, e))?;
                Ok(bytes.into())
            }
            Files::Memory(files) => find(files, file).ok_or_else(|| {
                let missing = io::Error::new(io::ErrorKind::NotFound, "the model has no such file");
                WeightError::io("read", &Path::new(&self.name).join(file), missing)
            }),
        }
    }

    /// The weights of a part (`maskgit`, `vqgan`, `shortcut`), from `<part>.safetensors` or else the shards of
    /// `<part>.safetensors.index.json`; `None` if the folder has neither.
    pub fn checkpoint(&self, part: &str) -> Result<Option<Checkpoint>, WeightError> {
        let file = format!("{part}.safetensors");
        match &self.files {
            Files::Folder(path) => {
                for file in [file, format!("{part}{INDEX_SUFFIX}")] {
                    let path = path.join(file);
                    match path.try_exists() {
                        Ok(true) => return Checkpoint::open(&path).map(Some),
                        Ok(false) => {}
                        Err(e) => return Err(WeightError::io("open", &path, e)),
                    }
                }
                Ok(None)
            }
            Files::Memory(files) => {
                find(files, &file).map(|bytes| Checkpoint::from_bytes(&file, bytes)).transpose()
            }
        }
    }
}

fn find(files: &[(String, FileBytes)], wanted: &str) -> Option<FileBytes> {
    files.iter().find(|(name, _)| name == wanted).map(|(_, bytes)| bytes.clone())
}

pub(super) fn read_config(path: &Path) -> Result<Map<String, Value>, WeightError> {
    let source = Source::open(path)?;
    let shown = path.display().to_string();
    if source.len > LONGEST_CONFIG {
        let problem = format!("it has {} bytes, and {LONGEST_CONFIG} are allowed", source.len);
        return Err(WeightError::Config { file: shown, problem });
    }
    parse_config(&shown, &source.read_vec(0, source.len)?)
}

fn parse_config(file: &str, text: &[u8]) -> Result<Map<String, Value>, WeightError> {
    let problem = match serde_json::from_slice(text) {
        Ok(Value::Object(config)) => return Ok(config),
        Ok(_) => "it is not a JSON object".into(),
        // serde_json's messages end with the line and the column.
        Err(e) => e.to_string(),
    };
    Err(WeightError::Config { file: file.into(), problem })
}
