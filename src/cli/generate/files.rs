//! Where `migm generate` writes pictures: a file each, a sheet, and their steps as an animation.

use super::super::CliError;
use super::super::frames::{columns, write_frames};
use super::Arguments;
use crate::generate::GenerateError;
use crate::generate::engine::Finished;
use crate::generate::metadata::{FINGERPRINT, add_canvas, metadata, parameters, texts};
use crate::generate::model::Model;
use crate::generate::picture::{Picture, Pixels, write_png};
use crate::generate::proof::Proof;
use crate::generate::recipe::Subject;
use crate::generate::session::Settings;
use crate::kernels::Quantization;
use crate::output::{self, Format, Output};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Files of a run. Pictures that get a file each are written as they come.
pub(super) struct Files<'a> {
    arguments: &'a Arguments,
    model: String,
    quantize: Option<Quantization>,
    settings: &'a Settings,
    pictures: Vec<(Subject, u64)>,
    /// A folder; else a sheet, or one picture.
    folder: Option<&'a PathBuf>,
    /// What the run of a single picture decided.
    decided: Option<Settings>,
    /// By picture, what a sheet or an animation waits for.
    kept: Vec<Option<Picture>>,
    /// By picture.
    codes: Vec<Vec<u32>>,
    /// By picture and step.
    frames: Vec<Vec<Picture>>,
    /// What was written.
    pub(super) written: Vec<PathBuf>,
}

impl<'a> Files<'a> {
    pub(super) fn new(
        arguments: &'a Arguments,
        model: &Model,
        settings: &'a Settings,
        subjects: &[Subject],
        seeds: &[u64],
    ) -> Self {
        let named = arguments.out.as_deref();
        let out = named.map(|path| Output::picture_or_folder("--out", path));
        Self {
            arguments,
            model: model.name.clone(),
            quantize: model.formats().quantize,
            settings,
            pictures: subjects.iter().cloned().zip(seeds.iter().copied()).collect(),
            folder: arguments.out.as_ref().filter(|_| out.is_some_and(|out| out.is_folder())),
            decided: None,
            kept: vec![None; subjects.len()],
            codes: vec![Vec::new(); subjects.len()],
            frames: vec![Vec::new(); subjects.len()],
            written: Vec::new(),
        }
    }

    /// All that will be written, to be checked before anything is computed.
    pub(super) fn outputs(&self) -> Vec<Output> {
        let out = match (&self.arguments.out, self.pictures.len()) {
            (Some(path), _) => Output::picture_or_folder("--out", path),
            (None, 1) => Output::picture_or_folder("--out", Path::new(&self.name(0))),
            (None, _) => Output::picture_or_folder("--out", Path::new("migm.png")),
        };
        let gif = self.arguments.gif.iter().map(|path| Output::file("--gif", path, Format::Gif));
        let report = self.arguments.report.iter().map(|path| Output::file("--report", path, Format::Json));
        std::iter::once(out).chain(gif).chain(report).collect()
    }

    /// A batch, by index of the pictures in it and with their codes, made under settings as its run decided them; `frames` are of its
    /// steps.
    pub(super) fn take(
        &mut self,
        batch: &Finished,
        pictures: Vec<Picture>,
        frames: &[Vec<Picture>],
        settings: &Settings,
    ) -> Result<(), CliError> {
        let keep = self.folder.is_none() || self.arguments.gif.is_some();
        let tokens = (batch.codes.len() / batch.pictures.len().max(1)).max(1);
        for (&index, codes) in batch.pictures.iter().zip(batch.codes.chunks_exact(tokens)) {
            self.codes[index] = codes.to_vec();
        }
        for (place, (&index, picture)) in batch.pictures.iter().zip(pictures).enumerate() {
            self.frames[index] = frames.iter().filter_map(|step| step.get(place).cloned()).collect();
            if let Some(folder) = self.folder {
                let refused = |source| GenerateError::File { path: folder.display().to_string(), source };
                output::make_folder(folder).map_err(refused)?;
                self.write(
                    folder.join(self.name(index)),
                    &picture,
                    index..index + 1,
                    size_of(&picture),
                    settings,
                )?;
            }
            self.kept[index] = keep.then_some(picture);
            if self.pictures.len() == 1 {
                self.decided = Some(settings.clone());
            }
        }
        Ok(())
    }

    /// What waits for all pictures.
    pub(super) fn finish(&mut self) -> Result<(), CliError> {
        let pictures: Vec<Picture> = self.kept.iter_mut().filter_map(Option::take).collect();
        if self.folder.is_none() {
            let default =
                || PathBuf::from(if pictures.len() == 1 { self.name(0) } else { "migm.png".to_owned() });
            let path = self.arguments.out.clone().unwrap_or_else(default);
            let sheet = Picture::sheet(&pictures, columns(pictures.len()));
            let size = pictures.first().map_or([0, 0], size_of);
            // Pictures of a sheet decided each for itself: they are made again by the rule.
            let settings = self.decided.take().unwrap_or_else(|| self.settings.clone());
            self.write(path, &sheet, 0..self.pictures.len(), size, &settings)?;
        }
        if let Some(path) = &self.arguments.gif {
            write_frames(path, &self.frames, &pictures)?;
            self.wrote(path.clone());
        }
        Ok(())
    }

    /// The name of a picture that gets a file of its own.
    fn name(&self, index: usize) -> String {
        let Some((subject, seed)) = self.pictures.get(index) else { return "migm.png".to_owned() };
        let stem = match subject {
            Subject::Class(class) => {
                class.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect()
            }
            Subject::Prompt(_) => "migm".to_owned(),
        };
        format!("{stem}-{seed}.png")
    }

    /// Writes a picture or a sheet of several, of `size` each.
    fn write(
        &mut self,
        path: PathBuf,
        picture: &Picture,
        of: Range<usize>,
        size: [u32; 2],
        settings: &Settings,
    ) -> Result<(), CliError> {
        let codes = self.codes.get(of.clone()).unwrap_or_default().concat();
        let of = self.pictures.get(of).unwrap_or_default();
        let mut made_from = metadata(&self.model, self.quantize, settings, of);
        made_from[FINGERPRINT] = Proof::of(&codes).to_string().into();
        if let Some(canvas) = &self.arguments.canvas {
            add_canvas(&mut made_from, canvas);
        }
        if self.arguments.pixels != Pixels::Signed {
            made_from["pixels"] = serde_json::json!(self.arguments.pixels);
        }
        let parameters = parameters(&self.model, settings, of, size);
        write_png(&path, picture, &texts(&made_from, Some(parameters)))?;
        self.wrote(path);
        Ok(())
    }

    fn wrote(&mut self, path: PathBuf) {
        if !self.arguments.json {
            say!("wrote {}", path.display());
        }
        self.written.push(path);
    }
}

fn size_of(picture: &Picture) -> [u32; 2] {
    [picture.width, picture.height]
}
