//! Fetching official checkpoints from a hub of models and making a model folder of them.
//!
//! Here live the table of what is fetched ([`Preset`]), the hub's conventions ([`Settings`]: endpoint, token, cache), the
//! download of a file that is resumed where it broke off and checked before it gets its name, and the one function that does
//! all of it, [`pull`]. Only the command line calls it. What the files mean is the business of `weights`, which converts them.
//!
//! The cache is laid out as the hub's own libraries lay it out (blobs, snapshots, refs), so that files they fetched are
//! found, and files fetched here serve them.

mod cache;
mod download;
mod error;
mod hub;
mod preset;
mod settings;

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::json;

use self::cache::RepoCache;
pub use self::download::Checked;
pub use self::error::PullError;
use self::hub::{Hub, Listing, Remote};
use self::preset::SHORTCUT_PART;
pub use self::preset::{PRESETS, Preset, Wanted};
pub use self::settings::Settings;
use crate::generate::model::needed;
use crate::kernels::Quantization;
use crate::output::{self, Output};
use crate::weights::{Checkpoint, ConvertOptions, ConvertReport, WeightError, convert};

/// What is pulled of a repository that no preset describes: weights and what describes them.
const USUAL: [&str; 10] = [
    "*.safetensors",
    "*/*.safetensors",
    "*.pth",
    "*/*.pth",
    "*.ckpt",
    "*/*.ckpt",
    "*.json",
    "*/*.json",
    "*.pt",
    "*/*.pt",
];
const PROVENANCE: &str = "pulled.json";
const MAIN: &str = "main";
/// The place of a shortcut that is not wanted.
pub const NO_SHORTCUT: &str = "none";

/// What to pull, and where to.
#[derive(Clone, Debug, Default)]
pub struct PullRequest {
    /// The name of a preset, or `OWNER/REPO`.
    pub what: String,
    /// A branch, tag or commit of the first repository; otherwise `main`.
    pub revision: Option<String>,
    /// The model folder to make; otherwise one in the cache.
    pub to: Option<PathBuf>,
    /// Fetch and convert again what is there already.
    pub force: bool,
    /// Another place of the shortcut's checkpoint, `OWNER/REPO/FILE`, or [`NO_SHORTCUT`].
    pub shortcut: Option<String>,
    /// Quantise the matrices on the way to the model folder.
    pub quantize: Option<Quantization>,
}

/// How far a pull is.
#[derive(Clone, Copy, Debug)]
pub struct PullProgress<'a> {
    /// What is being done.
    pub stage: Stage,
    /// The file that is being fetched or converted.
    pub file: &'a str,
    /// Bytes of it that are done, those of an earlier attempt included.
    pub done_bytes: u64,
    /// Its bytes.
    pub total_bytes: u64,
}

/// What a pull does, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Asking the hub what a repository, in place of a file, holds.
    Ask,
    /// Fetching files.
    Fetch,
    /// Waiting, after a transfer broke off, to take it up again.
    Wait,
    /// Converting them.
    Convert,
}

/// A file that is in the cache now.
#[derive(Clone, Debug)]
pub struct PulledFile {
    /// `OWNER/REPO`.
    pub repo: String,
    /// The commit.
    pub commit: String,
    /// Its path in the repository.
    pub file: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Bytes of it that were transferred now.
    pub fetched_bytes: u64,
    /// What it was checked against.
    pub checked: Checked,
}

/// What a pull did.
#[derive(Debug, Default)]
pub struct PullReport {
    /// The files, in the order of the table.
    pub files: Vec<PulledFile>,
    /// The model folder, ready for `migm generate --model`; `None` where the files are only kept.
    pub model: Option<PathBuf>,
    /// What the conversion did; `None` where there was none, or the folder was up to date.
    pub converted: Option<ConvertReport>,
    /// What a reader may want to know.
    pub notes: Vec<String>,
}

/// Fetches and checks what `request` names, and converts it to a model folder where this version can.
///
/// # Errors
/// The hub cannot be reached or refuses, a file is not there or is not what the hub says it is, or something cannot be
/// written or converted. What was fetched so far is kept under temporary names and gone on with by the next call.
pub fn pull(
    request: &PullRequest,
    settings: &Settings,
    on_progress: &mut dyn FnMut(PullProgress<'_>),
) -> Result<PullReport, PullError> {
    let (name, wanted) = plan(request)?;
    if let Some(to) = &request.to {
        output::check(&[Output::folder("--to", to)])?;
        check_destination(to, request.force)?;
    }
    let hub = Hub::new(settings)?;
    let mut report = PullReport::default();
    // All repositories are asked first: what is missing in the last of them is known before gigabytes come from the first.
    let found: Vec<Found> =
        wanted.iter().map(|wanted| ask(&hub, wanted, on_progress)).collect::<Result<_, _>>()?;
    for (wanted, found) in wanted.iter().zip(found) {
        report.files.extend(fetch(&hub, wanted, found, request.force, on_progress)?);
    }
    check_indices(&report.files)?;
    let Some(first) = report.files.first() else { return Ok(report) };
    let destination = match &request.to {
        Some(to) => to.clone(),
        None => {
            RepoCache::new(&settings.cache, &first.repo).models().join(folder_name(&name, request.quantize))
        }
    };
    let provenance = provenance(&report.files, request.quantize);
    let is_made = destination.join("config.json").is_file()
        && fs::read_to_string(destination.join(PROVENANCE)).is_ok_and(|made| made == provenance);
    if is_made && !request.force {
        report.notes.push("the model folder is up to date; --force converts again".into());
        report.model = Some(destination);
        return Ok(report);
    }
    // A preset's files are all meant; of a repository's, those that are parts of a model.
    let sources = if is_preset(&request.what) {
        report.files.iter().filter(|file| is_part(&file.file)).map(|file| file.path.clone()).collect()
    } else {
        vec![RepoCache::new(&settings.cache, &first.repo).snapshot(&first.commit)]
    };
    let preset = PRESETS.iter().find(|preset| preset.name == request.what);
    let options = ConvertOptions {
        quantize: request.quantize,
        one_step: preset.is_some_and(|preset| preset.one_step),
        needed: Some(needed),
        ..ConvertOptions::default()
    };
    match make_model(&sources, &destination, &provenance, &options, on_progress) {
        Ok(converted) => {
            report.converted = Some(converted);
            report.model = Some(destination);
        }
        // A repository that no preset describes may hold anything.
        Err(PullError::Weight(WeightError::Convert { problem })) if !is_preset(&request.what) => {
            report.notes.push(format!("nothing was converted: {problem}"));
        }
        Err(error) => return Err(error),
    }
    Ok(report)
}

/// Whether a file is for the conversion: a checkpoint, its index, or the text tokenizer. Other settings are looked for beside
/// their checkpoint.
fn is_part(file: &str) -> bool {
    !file.ends_with(".json") || file.ends_with(".safetensors.index.json") || file == "tokenizer.json"
}

/// Models of several formats lie side by side.
fn folder_name(name: &str, quantize: Option<Quantization>) -> String {
    // Some systems have no colons in names.
    quantize
        .map_or_else(|| name.to_owned(), |format| format!("{name}-{}", format.to_string().replace(':', "-")))
}

fn is_preset(what: &str) -> bool {
    PRESETS.iter().any(|preset| preset.name == what)
}

/// A name for the model folder, and the files.
fn plan(request: &PullRequest) -> Result<(String, Vec<Wanted>), PullError> {
    let Some(preset) = PRESETS.iter().find(|preset| preset.name == request.what) else {
        let repo = &request.what;
        if !hub::is_repo(repo) {
            return Err(PullError::UnknownName { name: repo.clone() });
        }
        let name = repo.rsplit('/').next().unwrap_or(repo).to_owned();
        let files = USUAL.map(str::to_owned).to_vec();
        let revision = request.revision.clone().unwrap_or_else(|| MAIN.into());
        return Ok((name, vec![Wanted { repo: repo.clone(), revision, files, part: "model" }]));
    };
    let mut wanted = preset.wanted();
    if let (Some(revision), Some(first)) = (&request.revision, wanted.first().map(|w| w.repo.clone())) {
        wanted.iter_mut().filter(|w| w.repo == first).for_each(|w| w.revision.clone_from(revision));
    }
    if request.shortcut.as_deref() == Some(NO_SHORTCUT) {
        wanted.retain(|w| w.part != SHORTCUT_PART);
    } else if let Some(place) = &request.shortcut {
        let mut parts = place.splitn(3, '/');
        let (Some(owner), Some(repo), Some(file)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(PullError::ShortcutPlace { place: place.clone() });
        };
        wanted.retain(|w| w.part != SHORTCUT_PART);
        let (repo, files) = (format!("{owner}/{repo}"), vec![file.to_owned()]);
        wanted.push(Wanted { repo, revision: MAIN.into(), files, part: SHORTCUT_PART });
    }
    Ok((preset.name.to_owned(), wanted))
}

/// Where the files of one repository are.
enum Found {
    /// All in the cache, and nobody was asked.
    Here(Vec<PulledFile>),
    /// At the hub, as of a commit.
    There { commit: String, files: Vec<Remote> },
}

/// What a repository has of what is wanted.
fn ask(
    hub: &Hub<'_>,
    wanted: &Wanted,
    on_progress: &mut dyn FnMut(PullProgress<'_>),
) -> Result<Found, PullError> {
    if !hub::is_repo(&wanted.repo) {
        return Err(PullError::UnknownName { name: wanted.repo.clone() });
    }
    hub::check_revision(&wanted.revision)?;
    let mut find = || {
        if hub.settings.offline {
            let cache = RepoCache::new(&hub.settings.cache, &wanted.repo);
            return Ok(Found::Here(offline(&cache, wanted)?));
        }
        on_progress(PullProgress { stage: Stage::Ask, file: &wanted.repo, done_bytes: 0, total_bytes: 0 });
        let listing = hub.listing(&wanted.repo, &wanted.revision)?;
        let files = choose(&listing, wanted)?.into_iter().cloned().collect();
        Ok(Found::There { commit: listing.commit, files })
    };
    find().map_err(|error: PullError| {
        let is_missing = wanted.part == SHORTCUT_PART && error.is_absence();
        if is_missing { PullError::NoShortcut { problem: Box::new(error) } } else { error }
    })
}

/// All files of one repository.
fn fetch(
    hub: &Hub<'_>,
    wanted: &Wanted,
    found: Found,
    force: bool,
    on_progress: &mut dyn FnMut(PullProgress<'_>),
) -> Result<Vec<PulledFile>, PullError> {
    let (commit, remotes) = match found {
        Found::Here(files) => return Ok(files),
        Found::There { commit, files } => (commit, files),
    };
    let cache = RepoCache::new(&hub.settings.cache, &wanted.repo);
    let mut files = Vec::with_capacity(remotes.len());
    for remote in &remotes {
        files.push(download::file(hub, &cache, &wanted.repo, &commit, remote, force, on_progress)?);
    }
    cache.write_ref(&wanted.revision, &commit)?;
    Ok(files)
}

/// The files of a listing that match; every exact name must.
fn choose<'a>(listing: &'a Listing, wanted: &Wanted) -> Result<Vec<&'a Remote>, PullError> {
    let names: Vec<&str> = listing.files.iter().map(|remote| remote.file.as_str()).collect();
    let chosen = select(wanted, &names, &|file| wanted.no_such_file(file))?;
    Ok(chosen.into_iter().map(|index| &listing.files[index]).collect())
}

/// The indices of the files that are wanted, each once, in the order of the patterns.
fn select(
    wanted: &Wanted,
    files: &[&str],
    missing: &dyn Fn(&str) -> PullError,
) -> Result<Vec<usize>, PullError> {
    let mut chosen = Vec::new();
    for pattern in &wanted.files {
        let found = preset::find(pattern, files);
        if found.is_empty() && !pattern.contains('*') {
            return Err(missing(pattern));
        }
        chosen.extend(found);
    }
    let mut taken = BTreeSet::new();
    chosen.retain(|index| taken.insert(*index));
    if chosen.is_empty() { Err(missing(&wanted.files.join(", "))) } else { Ok(chosen) }
}

/// What the cache has, without asking the hub.
fn offline(cache: &RepoCache, wanted: &Wanted) -> Result<Vec<PulledFile>, PullError> {
    let missing = |file: &str| PullError::Offline { repo: wanted.repo.clone(), file: file.to_owned() };
    let commit = cache.commit(&wanted.revision).ok_or_else(|| missing(&wanted.files.join(", ")))?;
    let there = cache.files(&commit)?;
    let names: Vec<&str> = there.iter().map(|(file, ..)| file.as_str()).collect();
    let chosen = select(wanted, &names, &missing)?;
    let pulled = chosen.into_iter().map(|index| {
        let (file, path, bytes) = there[index].clone();
        let (repo, commit, checked) = (wanted.repo.clone(), commit.clone(), Checked::Earlier);
        PulledFile { repo, commit, file, path, bytes, fetched_bytes: 0, checked }
    });
    Ok(pulled.collect())
}

/// Sharded checkpoints are whole: index and shards agree on every tensor.
fn check_indices(files: &[PulledFile]) -> Result<(), PullError> {
    for file in files.iter().filter(|f| f.file.ends_with(".safetensors.index.json")) {
        Checkpoint::open(&file.path)?;
    }
    Ok(())
}

/// What the model folder was made of, and how.
fn provenance(files: &[PulledFile], quantize: Option<Quantization>) -> String {
    let files: Vec<_> = files
        .iter()
        .map(|f| json!({ "repo": f.repo, "commit": f.commit, "file": f.file, "bytes": f.bytes }))
        .collect();
    let mut made = json!({ "files": files });
    if let Some(format) = quantize {
        made["quantized"] = json!(format.to_string());
    }
    format!("{made:#}\n")
}

/// A folder that holds something else is not written into.
fn check_destination(to: &Path, force: bool) -> Result<(), PullError> {
    let occupied = || PullError::Occupied { path: to.display().to_string() };
    match fs::read_dir(to) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(_) if to.is_file() => Err(occupied()),
        Err(e) => Err(PullError::io("read", to, e)),
        Ok(mut entries) => {
            let is_ours = force || to.join(PROVENANCE).is_file();
            if is_ours || entries.next().is_none() { Ok(()) } else { Err(occupied()) }
        }
    }
}

/// Converts beside the destination, then moves the parts in, `config.json` last: without it a folder is no model.
fn make_model(
    sources: &[PathBuf],
    destination: &Path,
    provenance: &str,
    options: &ConvertOptions,
    on_progress: &mut dyn FnMut(PullProgress<'_>),
) -> Result<ConvertReport, PullError> {
    // Files are moved in, so the staging folder lies on the disk of what a link leads to.
    let followed = output::followed(destination).map_err(|e| PullError::io("follow", destination, e))?;
    let destination = followed.as_path();
    let parent = destination.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(|e| PullError::io("create", parent, e))?;
    let name = destination.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let staging = Staging(parent.join(format!(".{name}.{}.migm-part", std::process::id())));
    let mut read_bytes = 0;
    let converted = convert(sources, &staging.0, options, &mut |progress| {
        read_bytes = read_bytes.max(progress.total_bytes);
        on_progress(PullProgress {
            stage: Stage::Convert,
            file: progress.file,
            done_bytes: progress.done_bytes,
            total_bytes: progress.total_bytes,
        });
    });
    let mut report = converted.map_err(|error| match error {
        WeightError::Io { source, .. } if source.kind() == ErrorKind::StorageFull => {
            PullError::NoSpaceForModel { path: destination.display().to_string(), read_bytes }
        }
        other => other.into(),
    })?;
    let path = staging.0.join(PROVENANCE);
    fs::write(&path, provenance).map_err(|e| PullError::io("write", &path, e))?;
    fs::create_dir_all(destination).map_err(|e| PullError::io("create", destination, e))?;
    // What was there is no model from here to the end of the moves.
    for stale in ["config.json", PROVENANCE] {
        cache::remove(&destination.join(stale))?;
    }
    let mut names: Vec<_> = report.files.iter().filter_map(|f| f.destination.file_name()).collect();
    names.extend(report.text_tokenizer.iter().filter_map(|path| path.file_name()));
    names.extend([PROVENANCE, "config.json"].map(std::ffi::OsStr::new));
    for name in names {
        let to = destination.join(name);
        fs::rename(staging.0.join(name), &to).map_err(|e| PullError::io("write", &to, e))?;
    }
    let written = report.files.iter_mut().map(|file| &mut file.destination).chain(&mut report.text_tokenizer);
    for path in written {
        if let Some(name) = path.file_name() {
            *path = destination.join(name);
        }
    }
    Ok(report)
}

/// Removes the folder when dropped, with whatever a failure left in it.
struct Staging(PathBuf);

impl Drop for Staging {
    fn drop(&mut self) {
        // Nothing to be done if this fails too: the error that led here is the one to report.
        let _ = fs::remove_dir_all(&self.0);
    }
}
