//! An engine's thread, and how Python's threads wait for it.

use crate::failure::Failure;
use migm::exec::gpu::device::{self, Choice, Gpu, Wanted};
use migm::generate::edit::Edit;
use migm::generate::encode::{Decoder, Encoder};
use migm::generate::engine::Engine;
use migm::generate::model::{Device, Model};
use migm::generate::session::Session;
use pyo3::prelude::*;
use std::collections::HashMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long Python waits at most before it looks whether somebody has pressed Ctrl-C.
const ATTENTION: Duration = Duration::from_millis(50);

/// What an engine's thread owns.
pub(crate) struct State {
    pub(crate) engine: Engine,
    pub(crate) encoder: Option<Encoder>,
    pub(crate) decoder: Option<Decoder>,
    /// Made by hand, step by step, by the number that Python knows them by.
    pub(crate) sessions: HashMap<u64, Session>,
    /// Pictures whose parts are being made, in the same way.
    pub(crate) edits: HashMap<u64, Edit>,
}

/// A device by name: `auto`, `cpu`, `cpu-bf16`, `gpu`, or a part of an adapter's name.
fn device(name: &str, exact: bool) -> Result<Device, Failure> {
    match name {
        "cpu" => return Ok(Device::Cpu),
        "cpu-bf16" => return Ok(Device::cpu_in_bf16(exact)?),
        _ => {}
    }
    let mut choice = Choice::from_environment();
    if exact {
        choice.tier = Wanted::Exactly("portable".to_owned());
    }
    if !["auto", "gpu"].contains(&name) {
        choice.name = Some(name.to_owned());
    }
    let instance = device::instance();
    let adapter = match pollster::block_on(device::choose(&instance, &choice)) {
        Ok(adapter) => adapter,
        Err(_) if name == "auto" && choice.name.is_none() => return Ok(Device::Cpu),
        Err(error) => return Err(Failure::device(error.to_string())),
    };
    let in_software = adapter.get_info().device_type == wgpu::DeviceType::Cpu;
    if name == "auto" && choice.name.is_none() && in_software {
        // The CPU executor is the faster one.
        return Ok(Device::Cpu);
    }
    let gpu = pollster::block_on(Gpu::from_adapter(instance, adapter, &choice));
    gpu.map(|gpu| Device::Gpu(Box::new(gpu))).map_err(|error| Failure::device(error.to_string()))
}

impl State {
    fn open(source: &str, device_name: &str, exact: bool) -> Result<Self, Failure> {
        let model = Model::open(Path::new(source))?;
        let engine = Engine::of(model, device(device_name, exact)?);
        Ok(Self { engine, encoder: None, decoder: None, sessions: HashMap::new(), edits: HashMap::new() })
    }

    /// The model.
    pub(crate) fn model(&self) -> Result<&Model, Failure> {
        Ok(self.engine.model()?)
    }

    /// A session that was begun.
    pub(crate) fn session(&mut self, id: u64) -> Result<&mut Session, Failure> {
        self.sessions.get_mut(&id).ok_or_else(|| Failure::setting("the session has been closed"))
    }
}

type Task = Box<dyn FnOnce(&mut State) + Send>;

/// The way to an engine's thread, which ends with it.
pub(crate) struct Worker {
    tasks: Mutex<Sender<Task>>,
}

impl Worker {
    /// Starts the thread and opens the model there.
    pub(crate) fn open(py: Python<'_>, source: String, device: String, exact: bool) -> PyResult<Self> {
        let (tasks, list) = channel::<Task>();
        let (ready, opened) = channel();
        let work = move || {
            let mut state = match State::open(&source, &device, exact) {
                Ok(state) => state,
                Err(failure) => {
                    let _ = ready.send(Err(failure));
                    return;
                }
            };
            let _ = ready.send(Ok(()));
            for task in list {
                task(&mut state);
            }
        };
        std::thread::Builder::new().name("migm".to_owned()).spawn(work)?;
        wait(py, &Mutex::new(opened))??;
        Ok(Self { tasks: Mutex::new(tasks) })
    }

    /// Has the thread do something when it is through with what was asked before.
    pub(crate) fn send(&self, task: impl FnOnce(&mut State) + Send + 'static) {
        // A thread that is gone drops the task, and whoever waits for its answer learns of it.
        let _ = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).send(Box::new(task));
    }

    /// The same, and waits for what comes of it.
    pub(crate) fn call<T: Send + 'static>(
        &self,
        py: Python<'_>,
        task: impl FnOnce(&mut State) -> Result<T, Failure> + Send + 'static,
    ) -> PyResult<T> {
        let (answer, answers) = channel();
        self.send(move |state| {
            let _ = answer.send(task(state));
        });
        Ok(wait(py, &Mutex::new(answers))??)
    }
}

/// Waits without the interpreter's lock.
///
/// # Errors
/// Somebody pressed Ctrl-C, or the thread ended without an answer.
pub(crate) fn wait<T: Send>(py: Python<'_>, answers: &Mutex<Receiver<T>>) -> PyResult<T> {
    loop {
        let receive = || answers.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(ATTENTION);
        match py.detach(receive) {
            Ok(answer) => return Ok(answer),
            Err(RecvTimeoutError::Timeout) => py.check_signals()?,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::device("the engine's thread has ended; open the model again").into());
            }
        }
    }
}
