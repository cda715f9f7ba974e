//! The CPU executor: every kernel's twin, in order. The oracle of the tests, and the fallback without an adapter.

use super::cpu_weights::Weights;
use super::{Counters, ExecError, Executor, LocalFuture, Memory, OpTime};
use crate::kernels::{Access, Buffers, StepValues};
use crate::program::{Program, Storage, WeightSource, plan};
use migm_products::Packed;
pub use migm_products::multiplies_bf16;
use std::collections::{BTreeSet, HashMap};
use web_time::Instant;

/// Bytes of temporaries up to which a program runs beside another, which takes as many again. Products of larger ones keep all threads
/// busy by themselves.
const SIDE_BYTES: u64 = 32 << 20;

/// Runs programs on all threads of rayon's pool, with weights widened to f32 or packed for products.
#[derive(Debug)]
pub struct CpuExecutor {
    programs: Vec<Program>,
    /// Every buffer: weights, states, then the pool.
    buffers: Vec<Vec<f32>>,
    states: HashMap<String, usize>,
    packed: Vec<Packed>,
    /// Which of these each operation of each program multiplies by.
    packed_of: Vec<Vec<Option<usize>>>,
    /// The buffer of each slot of each program.
    slots: Vec<Vec<Option<usize>>>,
    /// By program: the one that it may run beside.
    beside: Vec<Option<usize>>,
    /// By two programs: whether they can run at the same time.
    independent: Vec<Vec<bool>>,
    /// By program: the buffers that it writes.
    written: Vec<Vec<usize>>,
    steps: Vec<StepValues>,
    times: Vec<Option<f64>>,
    memory: Memory,
    counters: Counters,
    /// Whether linear layers, the head and attention are multiplied in bf16.
    bf16: bool,
}

impl CpuExecutor {
    /// Loads the weights of `programs` and makes their buffers.
    ///
    /// # Errors
    /// A weight cannot be loaded.
    pub fn new(programs: Vec<Program>, weights: &mut dyn WeightSource) -> Result<Self, ExecError> {
        Self::with(programs, weights, false)
    }

    /// The same with linear layers and the head multiplied in bf16 where the processor does ([`multiplies_bf16`]), and attention where it
    /// has tiles for it (AMX): all else stays f32.
    ///
    /// # Errors
    /// A weight cannot be loaded.
    pub fn in_bf16(programs: Vec<Program>, weights: &mut dyn WeightSource) -> Result<Self, ExecError> {
        Self::with(programs, weights, true)
    }

    fn with(programs: Vec<Program>, source: &mut dyn WeightSource, bf16: bool) -> Result<Self, ExecError> {
        let independent = independence(&programs);
        let plans: Vec<_> = programs.iter().map(plan::plan).collect();
        let mut new = Self {
            programs: Vec::new(),
            buffers: Vec::new(),
            states: HashMap::new(),
            packed: Vec::new(),
            packed_of: Vec::new(),
            slots: Vec::new(),
            beside: side_by_side(&programs, &plans, &independent),
            independent,
            written: Vec::new(),
            steps: Vec::new(),
            times: Vec::new(),
            memory: Memory::default(),
            counters: Counters::default(),
            bf16,
        };
        let states = super::state_bytes(&programs);
        let mut pool = Vec::new();
        for bytes in plan::shared_pool(&plans) {
            new.memory.temporaries += bytes;
            pool.push(new.buffer(vec![0.0; bytes as usize / 4]));
        }
        // Those that run beside others have temporaries of their own.
        let second = plans.iter().zip(&new.beside).filter(|(_, beside)| beside.is_some());
        let mut side_pool = Vec::new();
        for bytes in plan::shared_pool(&second.map(|(plan, _)| plan.clone()).collect::<Vec<_>>()) {
            new.memory.other += bytes;
            side_pool.push(new.buffer(vec![0.0; bytes as usize / 4]));
        }
        let mut weights = Weights::of(&programs, bf16);
        for (index, (program, plan)) in programs.iter().zip(&plans).enumerate() {
            let pool = if new.beside[index].is_some() { &side_pool } else { &pool };
            let mut slots = Vec::with_capacity(program.tensors().len());
            for (tensor, place) in program.tensors().iter().zip(&plan.buffer_of) {
                slots.push(match &tensor.storage {
                    Storage::Temporary => place.map(|place| pool[place]),
                    Storage::State => Some(new.state(&tensor.name, states[tensor.name.as_str()])),
                    Storage::Weight(spec) => {
                        let held = (&mut new.buffers, &mut new.packed);
                        Some(weights.load(spec, source, held, &mut new.memory)?)
                    }
                });
            }
            new.packed_of.push(weights.packed_of(program));
            new.written.push(written(program, &slots));
            new.slots.push(slots);
        }
        new.counters.buffers = new.buffers.len() as u64;
        new.programs = programs;
        Ok(new)
    }

    fn buffer(&mut self, data: Vec<f32>) -> usize {
        self.buffers.push(data);
        self.buffers.len() - 1
    }

    fn state(&mut self, name: &str, bytes: u64) -> usize {
        if let Some(&index) = self.states.get(name) {
            return index;
        }
        let index = self.buffer(vec![0.0; bytes as usize / 4]);
        self.memory.states += bytes;
        self.states.insert(name.to_owned(), index);
        index
    }

    fn find(&self, name: &str, len: usize) -> Result<usize, ExecError> {
        let error = |what| ExecError::State { name: name.to_owned(), what };
        let index = *self.states.get(name).ok_or_else(|| error("no program declares it".to_owned()))?;
        let held = self.buffers[index].len();
        if len > held { Err(error(format!("holds {held} elements, not {len}"))) } else { Ok(index) }
    }

    fn values(&self, step: usize) -> Result<StepValues, ExecError> {
        let prepared = self.steps.len();
        self.steps.get(step).copied().ok_or(ExecError::Unprepared { step, prepared })
    }

    /// Runs a program whose buffers, those that it only reads excepted, are `mine`; the others are in `shared`.
    fn run_program(&self, program: usize, step: &StepValues, mine: &mut [Vec<f32>], shared: &[Vec<f32>]) {
        for op in 0..self.programs[program].ops().len() {
            self.run_op(program, op, step, mine, shared);
        }
    }

    fn run_op(
        &self,
        program: usize,
        op: usize,
        step: &StepValues,
        mine: &mut [Vec<f32>],
        shared: &[Vec<f32>],
    ) {
        let kernel = &self.programs[program].ops()[op].kernel;
        if kernel.workgroups(step).contains(&0) {
            return;
        }
        let slots = &self.slots[program];
        let bindings = kernel.bindings();
        // Writable buffers are taken out of the list while the twin runs: no two bindings are one buffer.
        let mut taken: Vec<(u32, usize, usize, Vec<f32>)> = Vec::with_capacity(4);
        let length = |slot| self.programs[program].tensor(slot).elements() as usize;
        for binding in bindings.iter().filter(|binding| binding.access != Access::Read) {
            if let Some(index) = slots[binding.slot.0 as usize] {
                let buffer = std::mem::take(&mut mine[index]);
                taken.push((binding.index, index, length(binding.slot), buffer));
            }
        }
        let mut io = Buffers::default();
        for binding in bindings.iter().filter(|binding| binding.access == Access::Read) {
            if let Some(index) = slots[binding.slot.0 as usize] {
                let buffer = if mine[index].is_empty() { shared.get(index) } else { mine.get(index) };
                let buffer = buffer.map_or(&[][..], Vec::as_slice);
                let length = length(binding.slot).min(buffer.len());
                io.bind_read(binding.index, &buffer[..length]);
            }
        }
        for (binding, _, length, buffer) in &mut taken {
            io.bind_write(*binding, &mut buffer[..*length]);
        }
        io.bind_packed(self.packed_of[program][op].map(|index| &self.packed[index]));
        io.round_to_bf16(self.bf16);
        kernel.run(step, &mut io);
        for (_, index, _, buffer) in taken {
            mine[index] = buffer;
        }
    }

    /// How many programs at the beginning of a list run beside as many after them; 0 if the first runs alone.
    pub(crate) fn beside_one_another(&self, list: &[usize]) -> usize {
        let are = |first: &[usize], second: &[usize]| {
            let pairs = first.iter().zip(second).all(|(&one, &other)| self.beside[other] == Some(one));
            pairs && first.iter().all(|&one| second.iter().all(|&other| self.independent[one][other]))
        };
        (1..=list.len() / 2).find(|&count| are(&list[..count], &list[count..2 * count])).unwrap_or(0)
    }

    /// Runs two lists of programs at the same time, each on a thread: the products of small models are too small to be shared.
    fn run_both(&mut self, lists: [&[usize]; 2], step: &StepValues) {
        let mut buffers = std::mem::take(&mut self.buffers);
        let written = lists.map(|list| list.iter().flat_map(|&program| &self.written[program]).copied());
        let mut mine = [0, 1].map(|_| vec![Vec::new(); buffers.len()]);
        for (mine, written) in mine.iter_mut().zip(written.clone()) {
            for index in written {
                // Two of a list may write the same: what was taken stays.
                if mine[index].is_empty() {
                    mine[index] = std::mem::take(&mut buffers[index]);
                }
            }
        }
        let [first, second] = &mut mine;
        let run = |list: &[usize], mine: &mut [Vec<f32>]| {
            list.iter().for_each(|&program| self.run_program(program, step, mine, &buffers));
        };
        rayon::join(|| run(lists[0], first), || run(lists[1], second));
        for (mine, written) in mine.iter_mut().zip(written) {
            for index in written {
                if buffers[index].is_empty() {
                    buffers[index] = std::mem::take(&mut mine[index]);
                }
            }
        }
        self.buffers = buffers;
    }
}

/// The buffers that a program writes, each once.
fn written(program: &Program, slots: &[Option<usize>]) -> Vec<usize> {
    let bindings = program.ops().iter().flat_map(|op| op.kernel.bindings());
    let writes = bindings.filter(|binding| binding.access != Access::Read);
    let found: BTreeSet<usize> = writes.filter_map(|binding| slots[binding.slot.0 as usize]).collect();
    found.into_iter().collect()
}

/// By two programs: whether they can run at the same time.
fn independence(programs: &[Program]) -> Vec<Vec<bool>> {
    let states: Vec<_> = programs.iter().map(plan::States::of).collect();
    states.iter().map(|one| states.iter().map(|other| one.are_independent_of(other)).collect()).collect()
}

/// By program: one before it with as many operations that it can run beside, where their activations are small. Guidance has such: the
/// same network over other sequences.
fn side_by_side(programs: &[Program], plans: &[plan::Plan], independent: &[Vec<bool>]) -> Vec<Option<usize>> {
    let mut beside: Vec<Option<usize>> = vec![None; programs.len()];
    if cfg!(target_arch = "wasm32") {
        // A page has one thread. Elsewhere memory is not to depend on how many there are.
        return beside;
    }
    for (second, program) in programs.iter().enumerate() {
        let is_small = plans[second].buffers.iter().sum::<u64>() <= SIDE_BYTES;
        let fits = |first: &usize| {
            beside[*first].is_none()
                && programs[*first].ops().len() == program.ops().len()
                && independent[*first][second]
        };
        beside[second] = if is_small { (0..second).rev().find(fits) } else { None };
    }
    beside
}

impl Executor for CpuExecutor {
    fn describe(&self) -> String {
        let bf16 = if self.bf16 { ", bf16" } else { "" };
        format!("CPU, {} threads{bf16}", rayon::current_num_threads())
    }

    fn prepare(&mut self, steps: &[StepValues]) -> Result<(), ExecError> {
        self.steps = steps.to_vec();
        self.times = vec![None; steps.len()];
        Ok(())
    }

    fn prepare_revisable(&mut self, steps: &[StepValues]) -> Result<(), ExecError> {
        self.prepare(steps)
    }

    fn revise(&mut self, step: usize, values: &StepValues) -> Result<(), ExecError> {
        let prepared = self.steps.len();
        let known = self.steps.get_mut(step).ok_or(ExecError::Unprepared { step, prepared })?;
        *known = *values;
        Ok(())
    }

    fn run(&mut self, programs: &[usize], step: usize, timed: bool) -> Result<(), ExecError> {
        let start = Instant::now();
        let values = self.values(step)?;
        let mut left = programs;
        while !left.is_empty() {
            let count = self.beside_one_another(left);
            if count > 0 {
                self.run_both([&left[..count], &left[count..2 * count]], &values);
                left = &left[2 * count..];
            } else {
                let mut buffers = std::mem::take(&mut self.buffers);
                self.run_program(left[0], &values, &mut buffers, &[]);
                self.buffers = buffers;
                left = &left[1..];
            }
        }
        if timed {
            *self.times[step].get_or_insert(0.0) += start.elapsed().as_secs_f64() * 1e3;
        }
        Ok(())
    }

    fn write(&mut self, state: &str, data: &[u32]) -> Result<(), ExecError> {
        let index = self.find(state, data.len())?;
        self.buffers[index][..data.len()].copy_from_slice(bytemuck::cast_slice(data));
        Ok(())
    }

    fn read<'a>(&'a mut self, state: &'a str, len: usize) -> LocalFuture<'a, Result<Vec<u32>, ExecError>> {
        self.counters.readbacks += 1;
        Box::pin(async move {
            let index = self.find(state, len)?;
            Ok(bytemuck::cast_slice(&self.buffers[index][..len]).to_vec())
        })
    }

    fn wait(&mut self) -> Result<(), ExecError> {
        Ok(())
    }

    fn step_times<'a>(&'a mut self) -> LocalFuture<'a, Result<Vec<Option<f64>>, ExecError>> {
        Box::pin(async move { Ok(self.times.clone()) })
    }

    fn profile(&mut self, program: usize, step: usize) -> LocalFuture<'_, Result<Vec<OpTime>, ExecError>> {
        let values = match self.values(step) {
            Ok(values) => values,
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        let mut buffers = std::mem::take(&mut self.buffers);
        let times = (0..self.programs[program].ops().len())
            .map(|op| {
                let start = Instant::now();
                self.run_op(program, op, &values, &mut buffers, &[]);
                OpTime { op, ms: start.elapsed().as_secs_f64() * 1e3 }
            })
            .collect();
        self.buffers = buffers;
        Box::pin(std::future::ready(Ok(times)))
    }

    fn programs(&self) -> &[Program] {
        &self.programs
    }

    fn memory(&self) -> Memory {
        self.memory
    }

    fn counters(&self) -> Counters {
        self.counters
    }
}
