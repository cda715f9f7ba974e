//! Pictures on the graphics device, as the window draws them: those of the run shown, and of the steps that were looked at.

use super::actor::{Preview, RunId};
use super::panels::canvas::color_image;
use super::run::{Progress, Run};
use crate::generate::picture::Picture;
use egui::{Context, TextureHandle, TextureId, TextureOptions};
use std::collections::HashMap;

/// What a texture shows: a picture of a run, finished (`None`) or after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    run: RunId,
    image: usize,
    step: Option<usize>,
}

/// Steps whose pictures are kept.
const KEPT: usize = 256;

/// How much differences are brightened.
pub const DIFFERENCE_GAIN: u8 = 3;

/// The textures.
#[derive(Default)]
pub struct Textures {
    made: HashMap<Key, TextureHandle>,
    /// What is unlike between the first pictures of two finished runs.
    differences: HashMap<(RunId, RunId), TextureHandle>,
    /// Pictures that are edited, by number.
    edited: HashMap<usize, TextureHandle>,
    /// The preview that each picture of the run under way has.
    latest: HashMap<(RunId, usize), TextureHandle>,
}

impl std::fmt::Debug for Textures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Textures").field("made", &self.made.len()).finish_non_exhaustive()
    }
}

fn upload(context: &Context, name: String, picture: &Picture) -> TextureHandle {
    // Enlarged pixels are shown as they are.
    let options = TextureOptions { magnification: egui::TextureFilter::Linear, ..TextureOptions::NEAREST };
    context.load_texture(name, color_image(picture), options)
}

impl Textures {
    /// Takes a preview.
    pub fn preview(&mut self, context: &Context, preview: &Preview) {
        for (i, picture) in preview.pictures.iter().enumerate() {
            let image = preview.image + i;
            let texture = upload(context, format!("preview {image}"), picture);
            self.latest.insert((preview.id, image), texture);
        }
    }

    /// Takes pictures of a step that was asked for.
    pub fn step(&mut self, context: &Context, run: RunId, step: usize, pictures: &[Picture]) {
        if self.made.len() > KEPT {
            self.made.clear();
        }
        for (image, picture) in pictures.iter().enumerate() {
            let texture = upload(context, format!("step {step}"), picture);
            self.made.insert(Key { run, image, step: Some(step) }, texture);
        }
    }

    /// Whether a step's picture is at hand.
    pub fn has(&self, run: RunId, step: usize) -> bool {
        self.made.contains_key(&Key { run, image: 0, step: Some(step) })
    }

    /// The texture of a finished picture.
    pub fn finished(&mut self, context: &Context, run: &Run, image: usize) -> Option<TextureId> {
        let key = Key { run: run.id, image, step: None };
        if let Some(texture) = self.made.get(&key) {
            return Some(texture.id());
        }
        let picture = run.pictures.get(image)?;
        let texture = upload(context, format!("picture {image}"), picture);
        Some(self.made.entry(key).or_insert(texture).id())
    }

    /// The texture of a picture that is edited, by its number.
    pub fn edited(&mut self, context: &Context, number: usize, picture: &Picture) -> TextureId {
        if self.edited.len() > KEPT {
            self.edited.clear();
        }
        let made = || upload(context, format!("edited {number}"), picture);
        self.edited.entry(number).or_insert_with(made).id()
    }

    /// Another picture is edited.
    pub fn forget_edited(&mut self) {
        self.edited.clear();
    }

    /// What is unlike between the first pictures of two finished runs, brightened; `None` where there is nothing to compare.
    pub fn difference(&mut self, context: &Context, first: &Run, run: &Run) -> Option<TextureId> {
        if let Some(texture) = self.differences.get(&(first.id, run.id)) {
            return Some(texture.id());
        }
        let picture = run.pictures.first()?.difference(first.pictures.first()?, DIFFERENCE_GAIN)?;
        let texture = upload(context, "difference".to_owned(), &picture);
        if self.differences.len() > KEPT {
            self.differences.clear();
        }
        Some(self.differences.entry((first.id, run.id)).or_insert(texture).id())
    }

    /// The texture to show of a picture after a step: that step's, the finished one, or the latest preview.
    pub fn of(
        &mut self,
        context: &Context,
        run: &Run,
        image: usize,
        step: Option<usize>,
    ) -> Option<TextureId> {
        let last = run.plan.len().checked_sub(1);
        if run.progress == Progress::Finished && (step.is_none() || step == last) {
            return self.finished(context, run, image);
        }
        let made = self.made.get(&Key { run: run.id, image, step });
        made.or_else(|| self.latest.get(&(run.id, image))).map(TextureHandle::id)
    }
}
