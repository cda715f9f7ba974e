//! Executors: the same program on a GPU ([`gpu`]) or on the CPU ([`cpu`]).
//!
//! An executor is built from all programs of a session at once: it loads the weights they name, makes one
//! buffer for every state (a program that declares less of a state than another has its beginning), and shares one pool
//! of buffers among their temporaries. After [`Executor::prepare`], running a step allocates nothing, makes no bind group and reads nothing back. Nothing here knows of models.

use crate::kernels::StepValues;
use crate::program::{Program, ProgramError, Storage};
use crate::weights::WeightError;
use std::collections::HashMap;

pub mod cpu;
mod cpu_weights;
pub mod gpu;
#[cfg(test)]
pub(crate) mod twins;

/// What can go wrong between a program and its result.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// A weight could not be loaded.
    #[error(transparent)]
    Weight(#[from] WeightError),
    /// Model code built a program that cannot run.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// A shader of this package does not exist or has unmatched conditionals.
    #[error(transparent)]
    Shader(#[from] crate::kernels::shader::ShaderError),
    /// The graphics device could not be had or failed.
    #[error(transparent)]
    Device(#[from] gpu::device::DeviceError),
    /// A step is run that [`Executor::prepare`] was not told of.
    #[error("step {step} was not prepared: {prepared} are")]
    Unprepared {
        /// The step.
        step: usize,
        /// Steps that were.
        prepared: usize,
    },
    /// A step is changed that was prepared for good.
    #[error("step {0} was prepared for good and cannot be changed")]
    Fixed(usize),
    /// A state is asked for that no program declares, or with another size.
    #[error("state `{name}`: {what}")]
    State {
        /// The state's name.
        name: String,
        /// What is wrong with it.
        what: String,
    },
}

/// Where the memory of an executor goes, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Memory {
    /// Weights, each once.
    pub weights: u64,
    /// States.
    pub states: u64,
    /// The pool that temporaries share.
    pub temporaries: u64,
    /// Parameters of every step, staging and scratch.
    pub other: u64,
}

impl Memory {
    /// Everything.
    pub fn total(&self) -> u64 {
        self.weights + self.states + self.temporaries + self.other
    }

    /// What programs need before anything is loaded; parameters and scratch excepted.
    pub fn planned(programs: &[Program]) -> Self {
        let mut memory = Self::default();
        let mut weights = std::collections::HashSet::new();
        for program in programs {
            memory.weights += program
                .weights()
                .filter(|spec| weights.insert((*spec).clone()))
                .map(|s| s.bytes())
                .sum::<u64>();
        }
        memory.states = state_bytes(programs).values().sum();
        let plans: Vec<_> = programs.iter().map(crate::program::plan::plan).collect();
        memory.temporaries = crate::program::plan::shared_pool(&plans).iter().sum();
        memory
    }
}

/// Bytes of every state: the most that a program wants of it.
fn state_bytes(programs: &[Program]) -> HashMap<&str, u64> {
    let mut bytes = HashMap::new();
    let tensors = programs.iter().flat_map(Program::tensors);
    for tensor in tensors.filter(|tensor| tensor.storage == Storage::State) {
        let most: &mut u64 = bytes.entry(tensor.name.as_str()).or_default();
        *most = tensor.bytes().max(*most);
    }
    bytes
}

/// Counts of what must not happen inside the step loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Buffers made.
    pub buffers: u64,
    /// Bind groups made.
    pub bind_groups: u64,
    /// Pipelines made.
    pub pipelines: u64,
    /// Times the host read device memory.
    pub readbacks: u64,
}

/// Time of one operation in one run.
#[derive(Clone, Debug)]
pub struct OpTime {
    /// Index in the program.
    pub op: usize,
    /// Milliseconds.
    pub ms: f64,
}

/// A future that is polled where it was made: on the browser's main thread nothing may be sent to others.
pub type LocalFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + 'a>>;

/// Runs programs over named states. Programs are named by their index in the list given at construction.
pub trait Executor {
    /// A few words on what computes: the adapter's name, or the processor's threads.
    fn describe(&self) -> String;

    /// Fixes what changes from step to step, for all steps to come. Called outside the loop.
    ///
    /// # Errors
    /// The device failed.
    fn prepare(&mut self, steps: &[StepValues]) -> Result<(), ExecError>;

    /// The same for steps that [`Executor::revise`] may change later.
    ///
    /// # Errors
    /// The device failed.
    fn prepare_revisable(&mut self, steps: &[StepValues]) -> Result<(), ExecError>;

    /// Changes the numbers of one prepared step, for what is enqueued from now on. Makes nothing on the device.
    ///
    /// # Errors
    /// There is no such step, or it was prepared for good.
    fn revise(&mut self, step: usize, values: &StepValues) -> Result<(), ExecError>;

    /// Enqueues programs, in order, at the step with that index in the prepared list; returns at once on a GPU.
    /// `timed` runs count towards the step's time.
    ///
    /// # Errors
    /// The device failed.
    fn run(&mut self, programs: &[usize], step: usize, timed: bool) -> Result<(), ExecError>;

    /// Overwrites the beginning of a state.
    ///
    /// # Errors
    /// There is no such state, or it is smaller than `data`.
    fn write(&mut self, state: &str, data: &[u32]) -> Result<(), ExecError>;

    /// The first `len` four-byte elements of a state, when everything enqueued before has run.
    fn read<'a>(&'a mut self, state: &'a str, len: usize) -> LocalFuture<'a, Result<Vec<u32>, ExecError>>;

    /// Waits until everything enqueued has run (off the browser).
    ///
    /// # Errors
    /// The device failed.
    fn wait(&mut self) -> Result<(), ExecError>;

    /// Bounds the time of one submission, by measuring, so that others who draw with the same device have their turn in between;
    /// `None` ends it. Runs are waited for then. Executors that share nothing need not listen.
    fn pace(&mut self, milliseconds: Option<f64>) {
        let _ = milliseconds;
    }

    /// Milliseconds that each step took since [`Executor::prepare`], as measured by the device where it can;
    /// `None` for steps that have not run or on devices without timestamps.
    fn step_times<'a>(&'a mut self) -> LocalFuture<'a, Result<Vec<Option<f64>>, ExecError>>;

    /// Runs one program alone, operation by operation, and times each. Not for the step loop.
    ///
    /// # Errors
    /// The device failed.
    fn profile(&mut self, program: usize, step: usize) -> LocalFuture<'_, Result<Vec<OpTime>, ExecError>>;

    /// The programs, as given.
    fn programs(&self) -> &[Program];

    /// Memory held.
    fn memory(&self) -> Memory;

    /// What happened so far.
    fn counters(&self) -> Counters;
}

/// Reads a state as floats.
///
/// # Errors
/// As [`Executor::read`].
pub async fn read_f32(executor: &mut dyn Executor, state: &str, len: usize) -> Result<Vec<f32>, ExecError> {
    Ok(bytemuck::cast_vec(executor.read(state, len).await?))
}

/// Writes floats to a state.
///
/// # Errors
/// As [`Executor::write`].
pub fn write_f32(executor: &mut dyn Executor, state: &str, data: &[f32]) -> Result<(), ExecError> {
    executor.write(state, bytemuck::cast_slice(data))
}
