//! How well parts of pictures are made anew: real scenes are edited in four ways, and the judge says whether what was asked for is there, and
//! whether what was there before still is.
//!
//! [`kinds`] are the edits; [`evaluate`] makes them by every method from the same scenes and seeds, [`table`] shows what was found.

pub mod kinds;
pub mod table;

use super::scenes_eval::judge::Judge;
use super::scenes_eval::makers::Method;
use super::scenes_eval::source::{SceneSource, Split};
use super::scenes_eval::stats::{Mean, Share};
use crate::generate::GenerateError;
use crate::generate::edit::Edit;
use crate::generate::encode::Encoder;
use crate::generate::engine::{Engine, Job};
use crate::generate::picture::{Picture, Pixels};
use crate::generate::recipe::Subject;
use crate::generate::region::Region;
use crate::generate::session::Settings;
use kinds::{Kind, Task};
use pollster::block_on;

/// What a method made of one kind of edit.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Row {
    /// Which edits.
    pub kind: Kind,
    /// By which method.
    pub method: String,
    /// Tokens that were made anew, in the mean.
    pub masked: f64,
    /// Steps, and full ones among them, in the mean.
    pub steps: [f64; 2],
    /// Edits that show what was asked for.
    pub inside: Option<Share>,
    /// Edits that still show what was there.
    pub outside: Option<Share>,
    /// Of both.
    pub both: Option<Share>,
    /// How steep pictures are across the edge of what was made, as a multiple of how steep they are elsewhere.
    pub seam: Option<Mean>,
    /// Seconds of the steps, of one edit.
    pub seconds: f64,
    /// The same as a share of a whole picture's by the same method.
    pub share_of_whole: f64,
    /// Tokens outside that are not what they were; anything but zero is a mistake of this program.
    pub changed_outside: usize,
}

/// What there was before one kind of edit.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Before {
    /// Which edits.
    pub kind: Kind,
    /// Scenes in which the judge sees what edits are held to outside.
    pub outside: Option<Share>,
    /// How steep scenes are where the edge of an edit will be, in [`Row::seam`]'s measure: things end there too. None of pictures that
    /// grow, whose edge is not in them.
    pub seam: Option<Mean>,
}

/// Everything that was found.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Report {
    /// Edits of each kind by each method.
    pub edits: usize,
    /// Of the scenes before they were edited, by kind.
    pub before: Vec<Before>,
    /// Kinds in turn, and the methods of each.
    pub rows: Vec<Row>,
}

/// What is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which edits.
    pub kinds: Vec<Kind>,
    /// How, by settings of a whole picture.
    pub methods: Vec<(String, Settings)>,
    /// Edits of each.
    pub count: u64,
    /// Seed of the scenes and of the first edit.
    pub seed: u64,
    /// Which scenes.
    pub split: Split,
    /// Edits at once.
    pub at_once: u32,
}

impl Plan {
    /// Methods as they are for a model.
    ///
    /// # Errors
    /// A method that the model does not have.
    pub fn methods(engine: &Engine, methods: &[Method]) -> Result<Vec<(String, Settings)>, GenerateError> {
        let model = engine.model()?;
        let sampling = model.config.sampling;
        let settings = |method: &Method| {
            let predictor = method.predictor.unwrap_or_default();
            let settings = Settings {
                sampling: sampling.with_steps(method.steps),
                refresh: method.refresh.clone(),
                predictor,
            };
            Ok((method.label(), model.resolve(settings)?))
        };
        methods.iter().map(settings).collect()
    }
}

/// Edits of one kind, ready to be made.
struct Prepared {
    tasks: Vec<Task>,
    edits: Vec<Edit>,
}

/// Makes and judges all edits. `tick` is told what is under way, and of nothing in particular by an empty name.
///
/// # Errors
/// The device failed, a model of classes, or a judge of another size or without scenes of its own.
pub fn evaluate(
    engine: &mut Engine,
    judge: &mut Judge,
    source: &dyn SceneSource,
    plan: &Plan,
    tick: &mut dyn FnMut(&str),
) -> Result<Report, GenerateError> {
    let model = engine.model()?;
    let refuse = |message: String| Err(GenerateError::Setting(message));
    if model.prompts().is_none() {
        return refuse(format!(
            "{} is of classes, and edits are asked for in words; use a text model",
            model.name
        ));
    }
    let [height, width] = model.family().size();
    if [height, width] != [judge.config.size; 2] {
        let size = judge.config.size;
        return refuse(format!(
            "the model's pictures are of {width} x {height} pixels, and the judge reads {size} x {size}; use a judge of that size"
        ));
    }
    let mut report = Report { edits: plan.count as usize, before: Vec::new(), rows: Vec::new() };
    let mut wholes = vec![None; plan.methods.len()];
    for &kind in &plan.kinds {
        tick(kind.title());
        let prepared = prepare(engine, source, judge.config.nouns.len(), kind, plan, tick)?;
        let originals: Vec<Picture> = prepared.tasks.iter().map(|task| task.picture.clone()).collect();
        let seen = judge.read(&values(&originals))?.seen;
        let stays = seen.iter().zip(&prepared.tasks).filter(|(seen, task)| task.stays(seen)).count();
        let there = originals.iter().zip(&prepared.edits).filter(|_| kind != Kind::Extend);
        let seams: Vec<f64> = there.filter_map(|(scene, edit)| seam(scene, edit.region())).collect();
        let outside = Share::new(stays, seen.len());
        report.before.push(Before { kind, outside, seam: Mean::of_values(&seams) });
        for ((name, settings), whole) in plan.methods.iter().zip(&mut wholes) {
            tick(&format!("{}: {name}", kind.title()));
            let row = make(engine, judge, &prepared, kind, name, settings, plan, whole, tick)?;
            report.rows.push(row);
        }
    }
    Ok(report)
}

/// Scenes, their codes, and what is masked of them.
fn prepare(
    engine: &Engine,
    source: &dyn SceneSource,
    nouns: usize,
    kind: Kind,
    plan: &Plan,
    tick: &mut dyn FnMut(&str),
) -> Result<Prepared, GenerateError> {
    let model = engine.model()?;
    let (grid, size) = (model.family().grid(), model.family().size());
    let mut encoder = Encoder::new(model, engine.device())?;
    let (mut tasks, mut edits) = (Vec::new(), Vec::new());
    for (number, scene) in (0..).zip(source.scenes(plan.seed, 0..plan.count, plan.split, true)) {
        tick("");
        let Some(task) = Task::new(kind, &scene, number, nouns, (grid, size)) else {
            let message = "these scenes do not say what they show; edits need those of the bundled composer";
            return Err(GenerateError::Setting(message.to_owned()));
        };
        let edit = match &task.extension {
            Some(extension) => {
                let mut encode = |picture: &Picture| block_on(encoder.picture(picture));
                Edit::extended(&task.picture, *extension, (grid, size), &mut encode)?
            }
            None => {
                let codes = block_on(encoder.picture(&task.picture))?;
                Edit::new(task.picture.clone(), &codes, task.region.clone())?
            }
        };
        tasks.push(task);
        edits.push(edit);
    }
    Ok(Prepared { tasks, edits })
}

#[expect(clippy::too_many_arguments, reason = "what a row is made of")]
fn make(
    engine: &mut Engine,
    judge: &mut Judge,
    Prepared { tasks, edits }: &Prepared,
    kind: Kind,
    name: &str,
    settings: &Settings,
    plan: &Plan,
    whole: &mut Option<f64>,
    tick: &mut dyn FnMut(&str),
) -> Result<Row, GenerateError> {
    let (tokens, codebook) = (engine.model()?.family().tokens(), engine.model()?.family().codebook());
    let mut jobs = Vec::with_capacity(tasks.len());
    for (number, (task, edit)) in (0..).zip(tasks.iter().zip(edits)) {
        let condition = engine.model()?.condition(&Subject::Prompt(task.prompt.clone()))?;
        let seed = plan.seed.wrapping_add(number);
        jobs.push(Job { canvas: Some(edit.canvas.clone()), ..Job::new(condition, seed) });
    }
    // Parts of one size take as many steps.
    let mut sizes: Vec<(u32, Vec<usize>)> = Vec::new();
    for (index, edit) in edits.iter().enumerate() {
        let masked = edit.canvas.masked();
        match sizes.iter_mut().find(|(known, _)| *known == masked) {
            Some((_, indices)) => indices.push(index),
            None => sizes.push((masked, vec![index])),
        }
    }
    let mut made: Vec<Option<Picture>> = vec![None; edits.len()];
    let (mut ms, mut steps, mut changed_outside) = (0.0, [0.0; 2], 0);
    for (masked, indices) in &sizes {
        let settings = settings.for_share(*masked as f32 / tokens as f32);
        let own: Vec<Job> = indices.iter().map(|&index| jobs[index].clone()).collect();
        let mut run = engine.run(own, &settings, None, Some(plan.at_once))?;
        while let Some(batch) = block_on(run.batch())? {
            let share = batch.pictures.len() as f64 / edits.len() as f64;
            ms += batch.loop_ms * batch.pictures.len() as f64 / f64::from(run.at_once()) / edits.len() as f64;
            let full = batch.plan.iter().filter(|step| !step.values.predicted).count();
            steps[0] += share * batch.plan.len() as f64;
            steps[1] += share * full as f64;
            let pictures = block_on(run.session()?.pictures(&batch.codes, Pixels::Signed))?;
            let each = batch.codes.chunks_exact(tokens as usize);
            for ((&at, picture), codes) in batch.pictures.iter().zip(pictures).zip(each) {
                let edit = &edits[indices[at]];
                let there = edit.canvas.codes(codebook);
                let changed =
                    there.iter().zip(codes).filter(|(there, code)| **there != codebook && there != code);
                changed_outside += changed.count();
                made[indices[at]] = Some(edit.finish(&picture));
            }
            tick("");
        }
    }
    // A whole picture by the same method, for the price: once for all kinds.
    if whole.is_none() {
        let jobs: Vec<Job> = jobs
            .iter()
            .filter(|job| job.condition.prompt_tokens() == jobs[0].condition.prompt_tokens())
            .take(plan.at_once as usize)
            .map(|job| Job { canvas: None, ..job.clone() })
            .collect();
        let (images, first) = (jobs.len() as u32, jobs[0].clone());
        block_on(engine.warm_up(&first, settings, None, images))?;
        let mut run = engine.run(jobs, settings, None, Some(images))?;
        while let Some(batch) = block_on(run.batch())? {
            *whole = Some(batch.loop_ms / f64::from(images));
        }
    }
    let made: Vec<Picture> = made.into_iter().flatten().collect();
    let windows: Vec<Picture> = made.iter().zip(edits).map(|(picture, edit)| edit.window(picture)).collect();
    let seen = judge.read(&values(&windows))?.seen;
    let marks: Vec<[bool; 2]> =
        seen.iter().zip(tasks).map(|(seen, task)| [task.is_there(seen), task.stays(seen)]).collect();
    let share = |holds: &dyn Fn(&[bool; 2]) -> bool| {
        Share::new(marks.iter().filter(|marks| holds(marks)).count(), marks.len())
    };
    let seams: Vec<f64> =
        windows.iter().zip(edits).filter_map(|(window, edit)| seam(window, edit.region())).collect();
    let masked = edits.iter().map(|edit| f64::from(edit.canvas.masked())).sum::<f64>();
    Ok(Row {
        kind,
        method: name.to_owned(),
        masked: masked / edits.len().max(1) as f64,
        steps,
        inside: share(&|marks| marks[0]),
        outside: share(&|marks| marks[1]),
        both: share(&|marks| marks[0] && marks[1]),
        seam: Mean::of_values(&seams),
        seconds: ms * 1e-3,
        share_of_whole: whole.map_or(0.0, |whole| ms / whole),
        changed_outside,
    })
}

/// Channels last, in [-1, 1].
fn values(pictures: &[Picture]) -> Vec<f32> {
    pictures.iter().flat_map(|picture| &picture.rgb).map(|&byte| f32::from(byte) / 127.5 - 1.0).collect()
}

/// How steep what the model saw is across the edge of a region, as a multiple of its mean over all neighbours; `None` of a flat one.
fn seam(window: &Picture, region: &Region) -> Option<f64> {
    let (width, height) = (window.width as usize, window.height as usize);
    let [rows, columns] = region.grid();
    let inside =
        |x: usize, y: usize| region.contains(y * rows as usize / height, x * columns as usize / width);
    let apart = |a: usize, b: usize| -> f64 {
        let pixel = |at: usize| &window.rgb[3 * at..3 * at + 3];
        pixel(a).iter().zip(pixel(b)).map(|(a, b)| f64::from(a.abs_diff(*b))).sum()
    };
    let (mut across, mut all) = ([0.0, 0.0], [0.0, 0.0]);
    let mut add = |a: (usize, usize), b: (usize, usize)| {
        let steep = apart(a.1 * width + a.0, b.1 * width + b.0);
        all = [all[0] + steep, all[1] + 1.0];
        if inside(a.0, a.1) != inside(b.0, b.1) {
            across = [across[0] + steep, across[1] + 1.0];
        }
    };
    for y in 0..height {
        for x in 0..width {
            if x + 1 < width {
                add((x, y), (x + 1, y));
            }
            if y + 1 < height {
                add((x, y), (x, y + 1));
            }
        }
    }
    let mean = |[sum, count]: [f64; 2]| (count > 0.0).then(|| sum / count);
    Some(mean(across)? / mean(all).filter(|mean| *mean > 0.0)?)
}

#[cfg(test)]
#[path = "edits_tests.rs"]
mod tests;
