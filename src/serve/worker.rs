//! The thread that computes: it takes batches from the queue, runs them on a model's engine, and hands files to the requests.

use super::asked::{Asked, Format};
use super::metrics::Metrics;
use super::queue::{Entry, Queue};
use super::refusal::Refusal;
use super::task::{Made, Task};
use crate::generate::GenerateError;
use crate::generate::edit::Edit;
use crate::generate::encode::Encoder;
use crate::generate::engine::{Engine, Event, Finished, Job, Run};
use crate::generate::model::{Device, Model};
use crate::generate::picture::{Picture, Pixels, encode_png};
use crate::generate::recipe::Recipe;
use crate::generate::session::{PlannedStep, Settings, StepKind};
use pollster::block_on;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

/// A model with what computes it. The encoder is there once a picture was edited.
struct Engines {
    engine: Engine,
    encoder: Option<Encoder>,
}

/// What the thread owns.
pub(super) struct Worker {
    pub(super) queue: Arc<Queue>,
    pub(super) metrics: Arc<Metrics>,
    /// By name, and the device that computes each.
    pub(super) models: Vec<(String, Model, Device)>,
    /// Opens the device anew after it failed.
    pub(super) reopen: Box<dyn Fn() -> Result<Device, String> + Send>,
    /// Pictures of a batch, at most.
    pub(super) batch: usize,
}

/// A batch as it is run: jobs, and the edits of those that are parts.
struct Batch {
    entries: Vec<Entry>,
    jobs: Vec<Job>,
    edits: HashMap<String, Edit>,
}

impl Worker {
    /// Works until the queue is closed and empty. `say` is told of failures that are nobody's request's.
    pub(super) fn run(mut self, say: &dyn Fn(&str)) {
        let mut engines: Vec<Option<Engines>> = self.models.iter().map(|_| None).collect();
        let mut fitting: Vec<(Asked, usize)> = Vec::new();
        loop {
            let mut most = |entry: &Entry| {
                let asked = &entry.task.asked;
                if let Some((_, most)) = fitting.iter().find(|(known, _)| known.runs_like(asked)) {
                    return *most;
                }
                let found = self.most(asked);
                // Kinds of requests are few; what clients vary without end must not pile up.
                fitting.truncate(63);
                fitting.insert(0, (Asked { part: None, ..asked.clone() }, found));
                found
            };
            let Some(batch) = self.queue.take(&mut most) else { return };
            self.metrics.waiting(self.queue.len());
            let which = batch[0].task.asked.model;
            let tasks = distinct(&batch);
            let place = &mut engines[which];
            let done = catch_unwind(AssertUnwindSafe(|| self.make(place, which, batch)));
            self.metrics.running(0);
            let refusal = match done {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => Refusal::from_library(&error),
                Err(_) => Refusal::failed("a fault of migm; the server's own messages say more"),
            };
            for task in tasks {
                if task.fail(refusal.clone()) {
                    self.metrics.failed();
                }
            }
            if refusal.status.is_client_error() {
                continue;
            }
            // What failed may be broken, a device lost: the next batch begins anew.
            say(&format!("{}: {}", self.models[which].0, refusal.message));
            *place = None;
            match (self.reopen)() {
                Ok(device) => self.models[which].2 = device,
                Err(message) => say(&format!("{}: {message}", self.models[which].0)),
            }
        }
    }

    /// As many pictures like this at once as fit.
    fn most(&self, asked: &Asked) -> usize {
        let (_, model, device) = &self.models[asked.model];
        let jobs: Vec<Job> =
            (0..self.batch as u64).map(|seed| Job::new(asked.condition.clone(), seed)).collect();
        let engine = Engine::of(model.clone(), device.clone());
        engine.largest_batch(&asked.settings, &jobs).map_or(1, |most| most as usize)
    }

    fn make(
        &self,
        place: &mut Option<Engines>,
        which: usize,
        entries: Vec<Entry>,
    ) -> Result<(), GenerateError> {
        let began = Instant::now();
        let (_, model, device) = &self.models[which];
        let engines = place.get_or_insert_with(|| Engines {
            engine: Engine::of(model.clone(), device.clone()).holding(HELD),
            encoder: None,
        });
        let batch = prepare(engines, entries)?;
        let settings = batch.entries[0].task.asked.settings.clone();
        for task in distinct(&batch.entries) {
            if task.begin(0) {
                self.metrics.waited(began.saturating_duration_since(task.admitted));
            }
        }
        self.metrics.running(batch.entries.len());
        let at_once = batch.jobs.len() as u32;
        let mut run = engines.engine.run(batch.jobs.clone(), &settings, None, Some(at_once))?;
        self.follow(&mut run, &batch, &settings, model)?;
        self.metrics.memory(&run.memory());
        let took = began.elapsed();
        self.metrics.batch(batch.entries.len(), took);
        self.queue.took(took / at_once);
        Ok(())
    }

    /// Goes through the events of a run, until all of it is there or nobody waits for any of it.
    fn follow(
        &self,
        run: &mut Run<'_>,
        batch: &Batch,
        settings: &Settings,
        model: &Model,
    ) -> Result<(), GenerateError> {
        let tasks = distinct(&batch.entries);
        let mut shown: HashMap<usize, usize> = HashMap::new();
        let (mut steps, mut step) = (0, 0);
        while let Some(event) = block_on(run.next())? {
            if tasks.iter().all(|task| task.is_over()) {
                return Ok(());
            }
            match event {
                Event::Began(began) => {
                    (steps, step) = (began.steps, 0);
                    tasks.iter().for_each(|task| {
                        task.begin(steps);
                    });
                }
                Event::Stepped(planned) => {
                    step += 1;
                    self.metrics.step(planned.kind);
                    let masked = planned.values.masked.saturating_sub(planned.values.reveal);
                    tasks.iter().for_each(|task| task.step(planned.kind, masked));
                    preview(run, batch, (step, steps), &mut shown)?;
                }
                Event::Finished(finished) => self.hand_out(run, batch, &finished, settings, model)?,
            }
        }
        Ok(())
    }

    /// Hands pictures to their requests.
    fn hand_out(
        &self,
        run: &mut Run<'_>,
        batch: &Batch,
        finished: &Finished,
        settings: &Settings,
        model: &Model,
    ) -> Result<(), GenerateError> {
        let session = run.session()?;
        let tokens = session.family().tokens() as usize;
        let pictures = block_on(session.pictures(&finished.codes, Pixels::Signed))?;
        let decided = settings.decided(&finished.plan);
        let kinds: Vec<StepKind> = finished.plan.iter().map(|step: &PlannedStep| step.kind).collect();
        let each = finished.pictures.iter().zip(&pictures).zip(finished.codes.chunks_exact(tokens));
        for ((&index, picture), codes) in each {
            let Entry { task, picture: of_task } = &batch.entries[index];
            if task.is_over() {
                continue;
            }
            let edit = batch.edits.get(&task.id);
            let picture = edit.map_or_else(|| picture.clone(), |edit| edit.finish(picture));
            let recipe = Recipe {
                seed: task.asked.seeds[*of_task],
                draw: decided.sampling,
                refresh: decided.refresh.clone(),
                predictor: decided.predictor,
                canvas: edit.map(|edit| edit.canvas.clone()),
                ..Recipe::new(model, task.asked.subject.clone())
            };
            let texts = recipe.proven_texts(&[recipe.seed], [picture.width, picture.height], codes);
            let file = Arc::new(file(&picture, task.asked.format, &texts)?);
            // Counted before somebody who waits for it can ask for the count.
            self.metrics.picture();
            task.add(*of_task, Made { file, steps: kinds.clone() });
        }
        Ok(())
    }
}

/// Sessions held at once: of the sizes 1, 2, 4 and 8.
const HELD: usize = 4;

/// The requests of a batch, each once.
fn distinct(entries: &[Entry]) -> Vec<Arc<Task>> {
    let mut tasks: Vec<Arc<Task>> = Vec::new();
    for entry in entries {
        if !tasks.iter().any(|task| Arc::ptr_eq(task, &entry.task)) {
            tasks.push(Arc::clone(&entry.task));
        }
    }
    tasks
}

/// Jobs of pictures; of those that are parts of another, what is there of it.
fn prepare(engines: &mut Engines, entries: Vec<Entry>) -> Result<Batch, GenerateError> {
    let mut edits = HashMap::new();
    for task in distinct(&entries) {
        let Some(part) = &task.asked.part else { continue };
        if engines.encoder.is_none() {
            let engine = &engines.engine;
            engines.encoder = Some(Encoder::new(engine.model()?, engine.device())?);
        }
        if let Some(encoder) = &mut engines.encoder {
            let codes = block_on(encoder.picture(&part.picture))?;
            edits.insert(task.id.clone(), Edit::new(part.picture.clone(), &codes, part.region.clone())?);
        }
    }
    let job = |entry: &Entry| Job {
        canvas: edits.get(&entry.task.id).map(|edit: &Edit| edit.canvas.clone()),
        ..Job::new(entry.task.asked.condition.clone(), entry.task.asked.seeds[entry.picture])
    };
    let jobs = entries.iter().map(job).collect();
    Ok(Batch { entries, jobs, edits })
}

/// Shows pictures in the making to those who want some: evenly spread over the steps, before the last one.
fn preview(
    run: &mut Run<'_>,
    batch: &Batch,
    (step, steps): (usize, usize),
    shown: &mut HashMap<usize, usize>,
) -> Result<(), GenerateError> {
    let mut pictures: Option<Vec<Picture>> = None;
    for (at, entry) in batch.entries.iter().enumerate() {
        let wanted = entry.task.asked.partial as usize;
        let due = (step * (wanted + 1) / steps.max(1)).min(wanted);
        let count = shown.entry(at).or_default();
        if step >= steps || *count >= due || entry.task.is_over() {
            continue;
        }
        *count += 1;
        if pictures.is_none() {
            pictures = Some(block_on(run.preview())?);
        }
        let Some(picture) = pictures.as_ref().and_then(|pictures| pictures.get(at)) else { continue };
        let picture =
            batch.edits.get(&entry.task.id).map_or_else(|| picture.clone(), |edit| edit.finish(picture));
        entry.task.show(file(&picture, entry.task.asked.format, &[])?);
    }
    Ok(())
}

/// A picture as a file. Settings travel in PNG alone.
fn file(picture: &Picture, format: Format, texts: &[(&str, String)]) -> Result<Vec<u8>, GenerateError> {
    use image::ExtendedColorType::Rgb8;
    use image::ImageEncoder as _;
    let broken = |reason: String| GenerateError::Picture { path: format!("a {}", format.name()), reason };
    let mut bytes = Vec::new();
    let Picture { width, height, rgb } = picture;
    let written = match format {
        Format::Png => return encode_png(picture, texts).map_err(|error| broken(error.to_string())),
        Format::Jpeg(quality) => {
            let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, quality);
            encoder.write_image(rgb, *width, *height, Rgb8)
        }
        Format::Webp => {
            image::codecs::webp::WebPEncoder::new_lossless(&mut bytes).write_image(rgb, *width, *height, Rgb8)
        }
    };
    written.map_err(|error| broken(error.to_string()))?;
    Ok(bytes)
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
