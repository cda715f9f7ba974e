//! Batches of pictures, by the maker's own engine or by workers that have one thread each: on a CPU two pictures at once, each on a
//! thread, are made sooner than one after the other on both.

use crate::generate::GenerateError;
use crate::generate::engine::{Engine, Event, Job};
use crate::generate::model::{Device, Model};
use crate::generate::session::{PlannedStep, Settings};
use pollster::block_on;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

/// Pictures to make.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) jobs: Vec<Job>,
    /// Where each stands among all.
    pub(super) places: Vec<usize>,
    pub(super) settings: Settings,
    pub(super) at_once: u32,
    /// Features are kept of those that stand before this.
    pub(super) featured: usize,
}

/// A batch that was made.
#[derive(Debug)]
pub(super) struct Part {
    /// Where its pictures stand among all.
    pub(super) places: Vec<usize>,
    /// Codes `[pictures, tokens]`.
    pub(super) codes: Vec<u32>,
    /// Pictures, channels last, in [-1, 1].
    pub(super) pictures: Vec<f32>,
    /// Last features, conditional, `[pictures, length]`, where they are kept of one of them.
    pub(super) features: Vec<f32>,
    /// The steps as they were run.
    pub(super) plan: Vec<PlannedStep>,
    /// Floating-point operations of the steps, and of a guided full step, of one picture.
    pub(super) flops: [f64; 2],
    /// Seconds of the steps, of one picture.
    pub(super) seconds: f64,
    /// The same of decoding.
    pub(super) decode_seconds: f64,
}

impl Task {
    /// Makes them.
    pub(super) fn run(
        &self,
        engine: &mut Engine,
        tick: &mut dyn FnMut(),
    ) -> Result<Vec<Part>, GenerateError> {
        let mut run = engine.run(self.jobs.clone(), &self.settings, None, Some(self.at_once))?;
        let at_once = f64::from(run.at_once());
        let mut parts = Vec::new();
        while let Some(event) = block_on(run.next())? {
            let Event::Finished(batch) = event else { continue };
            let session = run.session()?;
            let places: Vec<usize> = batch.pictures.iter().map(|&picture| self.places[picture]).collect();
            let mut features = Vec::new();
            if places.iter().any(|place| *place < self.featured) {
                features = block_on(session.features())?;
                features.truncate(places.len() * session.feature_len());
            }
            let flops = session.flops().map(|flops| flops / at_once);
            let start = Instant::now();
            let pictures = block_on(session.decode(&batch.codes))?;
            let decode_seconds = start.elapsed().as_secs_f64() / places.len() as f64;
            // A short last batch is filled up, and costs as much as a whole one.
            let seconds = batch.loop_ms * 1e-3 / at_once;
            let (codes, plan) = (batch.codes, batch.plan);
            parts.push(Part { places, codes, pictures, features, plan, flops, seconds, decode_seconds });
            tick();
        }
        Ok(parts)
    }

    /// The same a batch at a time.
    pub(super) fn batches(&self) -> impl Iterator<Item = Self> {
        let at_once = if self.settings.decides() { 1 } else { self.at_once.max(1) as usize };
        let batches = self.jobs.chunks(at_once).zip(self.places.chunks(at_once));
        batches.map(|(jobs, places)| Self { jobs: jobs.to_vec(), places: places.to_vec(), ..self.clone() })
    }
}

/// What a worker has made of a task.
#[derive(Debug)]
struct Answer {
    worker: usize,
    task: usize,
    made: Result<Vec<Part>, GenerateError>,
}

/// Threads with an engine each.
#[derive(Debug)]
pub(super) struct Workers {
    tasks: Vec<Sender<(usize, Task)>>,
    answers: Mutex<Receiver<Answer>>,
}

impl Workers {
    /// Starts them on a model. They end when nobody has tasks for them any more.
    pub(super) fn start(count: usize, model: &Model) -> Result<Self, GenerateError> {
        let refused = |reason: &dyn std::fmt::Display| {
            GenerateError::Setting(format!(
                "the system starts no threads for workers ({reason}); leave --workers out"
            ))
        };
        let (answer, answers) = channel();
        let mut tasks = Vec::with_capacity(count);
        for worker in 0..count {
            let (send, receive) = channel::<(usize, Task)>();
            let (answer, model) = (answer.clone(), model.clone());
            let work = move || {
                // This thread alone is the pool of all that it calls.
                let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build();
                let mut engine = Engine::of(model, Device::Cpu);
                while let Ok((task, work)) = receive.recv() {
                    let made = match &pool {
                        Ok(_) => work.run(&mut engine, &mut || ()),
                        Err(reason) => Err(GenerateError::Setting(format!(
                            "a worker has no threads to compute on: {reason}"
                        ))),
                    };
                    if answer.send(Answer { worker, task, made }).is_err() {
                        break;
                    }
                }
            };
            std::thread::Builder::new().spawn(work).map_err(|reason| refused(&reason))?;
            tasks.push(send);
        }
        Ok(Self { tasks, answers: Mutex::new(answers) })
    }

    /// Makes the pictures of tasks, each by the worker that is free first. `each` gets what was made of every task, in their order:
    /// sums over them then do not depend on who was quicker.
    pub(super) fn run(
        &self,
        tasks: impl IntoIterator<Item = Task>,
        mut each: impl FnMut(usize, Vec<Part>),
    ) -> Result<(), GenerateError> {
        let lost = || GenerateError::Setting("a worker has ended before its work was done".to_owned());
        let answers = self.answers.lock().map_err(|_| lost())?;
        let mut waiting = tasks.into_iter().enumerate();
        let (mut early, mut next) = (BTreeMap::new(), 0);
        let (mut busy, mut failed) = (0, None);
        for (worker, task) in self.tasks.iter().zip(&mut waiting) {
            worker.send(task).map_err(|_| lost())?;
            busy += 1;
        }
        while busy > 0 {
            let Answer { worker, task, made } = answers.recv().map_err(|_| lost())?;
            busy -= 1;
            match made {
                Ok(parts) => drop(early.insert(task, parts)),
                Err(error) => failed = Some(error),
            }
            while let Some(parts) = early.remove(&next) {
                each(next, parts);
                next += 1;
            }
            if failed.is_none()
                && let Some(task) = waiting.next()
            {
                self.tasks[worker].send(task).map_err(|_| lost())?;
                busy += 1;
            }
        }
        failed.map_or(Ok(()), Err)
    }
}
