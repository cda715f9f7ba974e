//! What goes out of the window and comes into it: saved pictures, dialogs, dropped files. Dialogs and files are waited for apart
//! from the window, and what comes of them arrives in an inbox.

use super::channel::{Receiver, Sender, channel};
use super::command::Command;
use super::failure::{Failure, Remedy};
use super::model::Files;
use super::run::{Progress, Run};
use super::state::State;
use crate::generate::captions;
use crate::generate::metadata::{FINGERPRINT, METADATA, texts};
use crate::generate::picture::{Picture, encode_gif, encode_png, png_texts};
use crate::generate::proof::Proof;
use crate::generate::recipe::Recipe;
use crate::input;
use eframe::egui::{Context, DroppedFileHandle, Event};
use std::sync::Arc;

/// Milliseconds that a step is shown in an animation, and that the finished picture is.
const STEP_MS: u32 = 180;
const LAST_MS: u32 = 1600;
/// Small pictures are enlarged to about this in an animation.
const ANIMATION_SIDE: u32 = 256;
/// Lines of a panel's caption.
const CAPTION: u32 = 3;

/// What a picture brought.
#[derive(Clone, Debug, PartialEq)]
pub struct Brought {
    /// The file's name.
    pub name: String,
    /// What it was made from.
    pub recipe: Recipe,
    /// By what its tokens are known again, if it says.
    pub proof: Option<Proof>,
    /// What it shows.
    pub picture: Arc<Picture>,
}

/// What came in.
#[derive(Clone, Debug)]
pub enum Arrived {
    /// A model to open.
    Model(String),
    /// A model's files.
    Files(Files),
    /// The settings of a picture.
    Picture(Box<Brought>),
    /// Lines of a text, to be panels.
    Lines {
        /// The file's name.
        name: String,
        /// What stands in it.
        text: String,
    },
    /// A picture without any, to be edited.
    ToEdit(Arc<Picture>),
    /// Something that could not be read or written.
    Failed(Failure),
}

/// Where it comes in.
#[derive(Debug)]
pub struct Inbox {
    sender: Sender<Arrived>,
    receiver: Receiver<Arrived>,
}

impl Default for Inbox {
    fn default() -> Self {
        let (sender, receiver) = channel();
        Self { sender, receiver }
    }
}

fn failed(title: &str, reason: String, remedy: Remedy) -> Arrived {
    Arrived::Failed(Failure { title: title.to_owned(), reason, remedies: vec![remedy] })
}

/// Runs something that waits, apart from the window.
fn apart<F: Future<Output = ()> + 'static>(work: impl FnOnce() -> F + Send + 'static) {
    #[cfg(not(target_arch = "wasm32"))]
    std::thread::spawn(move || pollster::block_on(work()));
    #[cfg(target_arch = "wasm32")]
    wasm_bindgen_futures::spawn_local(work());
}

impl Inbox {
    /// What came in since the last time, dropped files and pasted pictures included.
    pub fn arrived(&self, context: &Context) -> Vec<Arrived> {
        context.input(|input| {
            for event in &input.events {
                if let Event::PasteImage(image) = event {
                    let pixels = image.pixels.iter().flat_map(|pixel| pixel.to_srgba_unmultiplied());
                    let size = image.size.map(|side| side as u32);
                    let picture = input::over_white(size, pixels.collect());
                    self.sender.send(Arrived::ToEdit(Arc::new(picture)));
                }
            }
        });
        let files = context.input(|input| input.raw.dropped_files.clone());
        if !files.is_empty() {
            let (sender, context) = (self.sender.clone(), context.clone());
            apart(move || async move {
                dropped(&files).await.into_iter().for_each(|found| sender.send(found));
                context.request_repaint();
            });
        }
        std::iter::from_fn(|| self.receiver.try_next()).collect()
    }

    /// A file that is there already.
    pub fn bring(&self, name: &str, bytes: Vec<u8>) {
        self.sender.send(of_file(name, bytes));
    }

    /// Asks for a model: its folder, or in the browser its files.
    pub fn pick_model(&self, context: &Context) {
        let (sender, context) = (self.sender.clone(), context.clone());
        apart(move || async move {
            let dialog = rfd::AsyncFileDialog::new().set_title("Open a model");
            #[cfg(not(target_arch = "wasm32"))]
            let found =
                dialog.pick_folder().await.map(|folder| Arrived::Model(folder.path().display().to_string()));
            #[cfg(target_arch = "wasm32")]
            let found = match dialog.pick_files().await {
                Some(picked) => {
                    let mut files = Files::new();
                    for file in picked {
                        files.push((file.file_name(), file.read().await.into()));
                    }
                    Some(Arrived::Files(files))
                }
                None => None,
            };
            if let Some(found) = found {
                sender.send(found);
                context.request_repaint();
            }
        });
    }

    /// Asks for a picture to edit.
    pub fn pick_picture(&self, context: &Context) {
        let (sender, context) = (self.sender.clone(), context.clone());
        apart(move || async move {
            let dialog = rfd::AsyncFileDialog::new()
                .set_title("Edit a picture")
                .add_filter("Pictures", &["png", "jpg", "jpeg", "webp", "gif"]);
            let Some(file) = dialog.pick_file().await else { return };
            sender.send(to_edit(&file.file_name(), file.read().await));
            context.request_repaint();
        });
    }

    /// Asks where to save what a command saves, and writes it there.
    pub fn save(&self, context: &Context, state: &State, command: Command) {
        let made = match (command, state.shown_run()) {
            (Command::SavePng, Some(run)) => pictures(run),
            (Command::SaveGif, Some(run)) => animation(run, state),
            (Command::SaveSheet, _) => sheet(state),
            (Command::SaveBoard, _) => board(state),
            (Command::SaveBoardSvg, _) => captions::page(&panels(state), CAPTION)
                .map(|page| ("migm-board.svg".to_owned(), page.into_bytes()))
                .map_err(|error| error.to_string()),
            (Command::SaveBlind, _) => {
                Ok(("migm-blind-test.csv".to_owned(), super::blind::csv(&state.blind.judged).into_bytes()))
            }
            _ => return,
        };
        let (sender, context) = (self.sender.clone(), context.clone());
        match made {
            Err(reason) => sender.send(failed("This cannot be saved", reason, Remedy::ChangeSettings)),
            Ok((name, bytes)) => apart(move || async move {
                let dialog = rfd::AsyncFileDialog::new().set_file_name(&name);
                let Some(file) = dialog.save_file().await else { return };
                if let Err(error) = write(&file, &bytes).await {
                    sender.send(failed("The file could not be written", error, Remedy::SaveElsewhere));
                    context.request_repaint();
                }
            }),
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
async fn write(file: &rfd::FileHandle, bytes: &[u8]) -> Result<(), String> {
    // Whole or not at all: a full disk leaves what was there.
    crate::generate::picture::write_whole(file.path(), bytes).map_err(|error| error.to_string())
}

#[cfg(target_arch = "wasm32")]
async fn write(file: &rfd::FileHandle, bytes: &[u8]) -> Result<(), String> {
    file.write(bytes).await.map_err(|error| error.to_string())
}

async fn read(file: &DroppedFileHandle) -> Result<Vec<u8>, String> {
    #[cfg(not(target_arch = "wasm32"))]
    return file.bytes();
    #[cfg(target_arch = "wasm32")]
    return file.bytes_async().await;
}

/// What was dropped together: folders of models, the files of one model, or pictures with settings.
async fn dropped(files: &[DroppedFileHandle]) -> Vec<Arrived> {
    let mut found = Vec::new();
    let mut together = Vec::new();
    for file in files {
        let path = file.path();
        if path.is_dir() {
            found.push(Arrived::Model(path.display().to_string()));
            continue;
        }
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        match read(file).await {
            Ok(bytes) => together.push((name, bytes)),
            Err(reason) => {
                let reason = format!("{name}: {reason}");
                found.push(failed("This file cannot be read", reason, Remedy::ChangeSettings));
            }
        }
    }
    if together.iter().any(|(name, _)| name == "config.json") {
        found.push(Arrived::Files(together.into_iter().map(|(name, bytes)| (name, bytes.into())).collect()));
    } else {
        found.extend(together.into_iter().map(|(name, bytes)| of_file(&name, bytes)));
    }
    found
}

/// A text of prompts by its name, or a picture.
fn of_file(name: &str, bytes: Vec<u8>) -> Arrived {
    if !name.to_ascii_lowercase().ends_with(".txt") {
        return of_picture(name, bytes);
    }
    match String::from_utf8(bytes) {
        Ok(text) => Arrived::Lines { name: name.to_owned(), text },
        Err(_) => {
            let reason = format!("{name} is not text in UTF-8");
            failed("This file cannot be read", reason, Remedy::ChangeSettings)
        }
    }
}

/// A picture of any kind.
fn to_edit(name: &str, bytes: Vec<u8>) -> Arrived {
    match input::decode(name, bytes) {
        Ok(picture) => Arrived::ToEdit(Arc::new(picture)),
        Err(error) => failed("This is no picture", error.to_string(), Remedy::ChangeSettings),
    }
}

/// The settings that a picture carries; one that carries none is to be edited.
fn of_picture(name: &str, bytes: Vec<u8>) -> Arrived {
    let texts = png_texts(name, &bytes).unwrap_or_default();
    let Some((_, text)) = texts.into_iter().find(|(key, _)| key == METADATA) else {
        return to_edit(name, bytes);
    };
    let read = move || -> Result<Brought, String> {
        let value: serde_json::Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let proof = value.get(FINGERPRINT).and_then(serde_json::Value::as_str);
        let proof = proof.map(str::parse).transpose()?;
        let recipe = Recipe::from_metadata(&value)?;
        if !recipe.makes_sense() {
            return Err("the steps that ran in full do not go with the number of steps".to_owned());
        }
        let picture = Arc::new(input::decode(name, bytes).map_err(|error| error.to_string())?);
        Ok(Brought { name: name.to_owned(), recipe, proof, picture })
    };
    match read() {
        Ok(brought) => Arrived::Picture(Box::new(brought)),
        Err(reason) => {
            failed("No settings in this file", format!("{name}: {reason}"), Remedy::ChangeSettings)
        }
    }
}

fn seeds(run: &Run) -> Vec<u64> {
    (0..u64::from(run.recipe.images)).map(|i| run.recipe.seed.wrapping_add(i)).collect()
}

/// A name for a file, of what was asked for.
fn file_name(run: &Run, extension: &str) -> String {
    let title = run.recipe.subject.title();
    let clean: String = title.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).take(60).collect();
    format!("{}-{}.{extension}", clean.trim_matches('-'), run.recipe.seed)
}

fn columns(pictures: usize) -> u32 {
    (pictures as f64).sqrt().ceil() as u32
}

/// A model's name: the last part of the path that it was opened by, which is of no use elsewhere.
pub(super) fn name_of(source: &str) -> &str {
    source.rsplit(['/', '\\']).find(|part| !part.is_empty()).unwrap_or(source)
}

type Made = Result<(String, Vec<u8>), String>;

fn png(name: String, picture: &Picture, texts: &[(&str, String)]) -> Made {
    Ok((name, encode_png(picture, texts).map_err(|e| e.to_string())?))
}

/// What a picture of a run carries.
fn metadata(run: &Run) -> serde_json::Value {
    let mut value = run.recipe.metadata(name_of(&run.recipe.model), &seeds(run));
    if let Some(proof) = &run.proof {
        value[FINGERPRINT] = proof.to_string().into();
    }
    value
}

fn pictures(run: &Run) -> Made {
    let sheet = Picture::sheet(&run.pictures, columns(run.pictures.len()));
    let size = run.pictures.first().map_or([0, 0], |picture| [picture.width, picture.height]);
    let parameters = run.recipe.parameters(name_of(&run.recipe.model), &seeds(run), size);
    png(file_name(run, "png"), &sheet, &texts(&metadata(run), Some(parameters)))
}

fn sheet(state: &State) -> Made {
    let finished = || state.runs.iter().filter(|run| run.progress == Progress::Finished);
    let Some(size) = finished().next_back().and_then(|run| run.pictures.first()).map(|p| (p.width, p.height))
    else {
        return Err("no run is finished yet".to_owned());
    };
    let all =
        finished().flat_map(|run| &run.pictures).filter(|picture| (picture.width, picture.height) == size);
    let all: Vec<Picture> = all.cloned().collect();
    let settings: Vec<_> = finished().map(metadata).collect();
    png(
        "migm-sheet.png".to_owned(),
        &Picture::sheet(&all, columns(all.len())),
        &texts(&serde_json::json!({ "runs": settings }), None),
    )
}

/// The storyboard's pictures and what they show.
fn panels(state: &State) -> Vec<(Picture, &str)> {
    state
        .on_board()
        .filter_map(|run| Some((run.pictures.first()?.clone(), run.recipe.subject.title())))
        .collect()
}

fn board(state: &State) -> Made {
    let panels = panels(state);
    let page = captions::sheet(&panels, columns(panels.len()), CAPTION);
    let settings: Vec<_> = state.on_board().map(metadata).collect();
    png("migm-board.png".to_owned(), &page, &texts(&serde_json::json!({ "runs": settings }), None))
}

/// The finished picture behind fewer and fewer veils.
fn animation(run: &Run, state: &State) -> Made {
    let model = state.model.as_ref().ok_or("no model is open")?;
    let first = run.pictures.first().ok_or("the run is not finished")?;
    let factor = (ANIMATION_SIDE / first.width.max(1)).clamp(1, 4);
    let sheet = |pictures: &[Picture]| Picture::sheet(pictures, columns(pictures.len())).enlarged(factor);
    let mut frames = Vec::new();
    for step in 0..run.plan.len() {
        let veiled = run.pictures.iter().enumerate().map(|(image, picture)| {
            let moment = run.at(step, image, model.tokens());
            let masked = |moment: super::run::Moment<'_>| -> Vec<bool> {
                moment.codes.iter().map(|code| *code == model.codebook).collect()
            };
            moment.map_or_else(|| picture.clone(), |moment| picture.veiled(&masked(moment), model.grid))
        });
        frames.push((sheet(&veiled.collect::<Vec<_>>()), STEP_MS));
    }
    frames.push((sheet(&run.pictures), LAST_MS));
    Ok((file_name(run, "gif"), encode_gif(&frames).map_err(|error| error.to_string())?))
}
