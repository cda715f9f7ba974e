//! Pictures in the making, as an iterator of events.

use crate::engine::array;
use crate::failure::Failure;
use crate::worker::{State, wait};
use migm::generate::engine::{Event, Job};
use migm::generate::picture::Pixels;
use migm::generate::session::{PlannedStep, Settings, StepKind};
use pollster::block_on;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender};

/// What crosses over while pictures are made.
pub(crate) enum Message {
    Began { pictures: Vec<usize>, steps: usize },
    Stepped { step: Step, codes: Option<Vec<u32>> },
    Made(Made),
    Failed(Failure),
    Done,
}

/// A step as it was run.
pub(crate) struct Step {
    pub(crate) index: u32,
    pub(crate) is_full: bool,
    pub(crate) masked: u32,
    pub(crate) revealed: u32,
}

impl Step {
    pub(crate) fn of(planned: &PlannedStep) -> Self {
        let values = &planned.values;
        Self {
            index: values.step,
            is_full: planned.kind == StepKind::Full,
            masked: values.masked,
            revealed: values.reveal,
        }
    }

    pub(crate) fn fill(&self, event: &Bound<'_, PyDict>) -> PyResult<()> {
        event.set_item("step", self.index)?;
        event.set_item("full", self.is_full)?;
        event.set_item("masked", self.masked)?;
        event.set_item("revealed", self.revealed)
    }
}

/// A picture with what it was made of.
pub(crate) struct Made {
    index: usize,
    rgb: Vec<u8>,
    codes: Vec<u32>,
    steps: Vec<Step>,
    step_ms: Vec<f64>,
    loop_ms: f64,
    together: usize,
}

/// Makes pictures and tells of it, until nobody listens any more.
pub(crate) fn make(
    state: &mut State,
    jobs: Vec<Job>,
    settings: &Settings,
    (at_once, with_codes, edit): (Option<u32>, bool, Option<u64>),
    to: &Sender<Message>,
) {
    let last = match run(state, jobs, settings, (at_once, with_codes, edit), to) {
        Ok(()) => Message::Done,
        Err(failure) => Message::Failed(failure),
    };
    let _ = to.send(last);
}

fn run(
    state: &mut State,
    jobs: Vec<Job>,
    settings: &Settings,
    (at_once, with_codes, edit): (Option<u32>, bool, Option<u64>),
    to: &Sender<Message>,
) -> Result<(), Failure> {
    let State { engine, edits, .. } = state;
    let edit = edit.and_then(|id| edits.get(&id));
    let mut run = engine.run(jobs, settings, None, at_once)?;
    while let Some(event) = block_on(run.next())? {
        let heard = match event {
            Event::Began(began) => to.send(Message::Began { pictures: began.pictures, steps: began.steps }),
            Event::Stepped(step) => {
                let codes = if with_codes { Some(block_on(run.glimpse())?.codes) } else { None };
                to.send(Message::Stepped { step: Step::of(&step), codes })
            }
            Event::Finished(batch) => {
                let session = run.session()?;
                let tokens = session.family().tokens() as usize;
                let pictures = block_on(session.pictures(&batch.codes, Pixels::Signed))?;
                let together = batch.pictures.len();
                let each = batch.pictures.iter().zip(pictures).zip(batch.codes.chunks_exact(tokens));
                let made = each.map(|((&index, picture), codes)| Made {
                    index,
                    rgb: edit.map_or_else(|| picture.rgb.clone(), |edit| edit.finish(&picture).rgb),
                    codes: codes.to_vec(),
                    steps: batch.plan.iter().map(Step::of).collect(),
                    step_ms: batch.step_ms.clone(),
                    loop_ms: batch.loop_ms,
                    together,
                });
                made.into_iter().try_for_each(|made| to.send(Message::Made(made)))
            }
        };
        if heard.is_err() {
            // The iterator is gone: so is the reason to go on.
            return Ok(());
        }
    }
    Ok(())
}

/// An iterator of events.
#[pyclass(module = "migm._migm", frozen)]
pub(crate) struct Run {
    events: Mutex<Option<Mutex<Receiver<Message>>>>,
}

impl Run {
    pub(crate) fn new(events: Receiver<Message>) -> Self {
        Self { events: Mutex::new(Some(Mutex::new(events))) }
    }
}

#[pymethods]
impl Run {
    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    /// The next event, as a dictionary.
    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        // Taken while waiting, so that another thread that asks finds the run in use and not a lock that the first one holds.
        let taken = self.events.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let Some(events) = taken else { return Ok(None) };
        let message = wait(py, &events);
        let goes_on =
            matches!(message, Ok(Message::Began { .. } | Message::Stepped { .. } | Message::Made(_)));
        if goes_on {
            *self.events.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(events);
        }
        let event = PyDict::new(py);
        match message? {
            Message::Began { pictures, steps } => {
                event.set_item("event", "began")?;
                event.set_item("pictures", pictures)?;
                event.set_item("steps", steps)?;
            }
            Message::Stepped { step, codes } => {
                event.set_item("event", "step")?;
                step.fill(&event)?;
                event.set_item("codes", codes.map(|codes| array(py, &codes)))?;
            }
            Message::Made(made) => {
                event.set_item("event", "picture")?;
                event.set_item("index", made.index)?;
                event.set_item("rgb", array(py, &made.rgb))?;
                event.set_item("codes", array(py, &made.codes))?;
                event.set_item("full", made.steps.iter().map(|step| step.is_full).collect::<Vec<_>>())?;
                event
                    .set_item("revealed", made.steps.iter().map(|step| step.revealed).collect::<Vec<_>>())?;
                event.set_item("masked", made.steps.iter().map(|step| step.masked).collect::<Vec<_>>())?;
                event.set_item("step_ms", made.step_ms)?;
                event.set_item("loop_ms", made.loop_ms)?;
                event.set_item("together", made.together)?;
            }
            Message::Failed(failure) => return Err(failure.into()),
            Message::Done => return Ok(None),
        }
        Ok(Some(event))
    }

    /// Stops what is being made, at its next step.
    fn close(&self) {
        self.events.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    }
}
