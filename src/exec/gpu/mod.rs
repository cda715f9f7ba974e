//! The GPU executor: each operation a compute dispatch; pipelines, bind groups and parameters made before the loop.
//!
//! [`device`] opens an adapter, [`tier`] says what it multiplies with, [`planner`] how products are cut, `pipelines` compiles shaders, `layout`
//! fixes what steps dispatch, `readback` brings data home; this file holds buffers and replays programs.

use super::{Counters, ExecError, Executor, LocalFuture, Memory, OpTime};
use crate::kernels::{StepValues, WeightFormat};
use crate::program::{Program, Storage, WeightSource, WeightSpec, plan};
use device::{DeviceError, Gpu};
use layout::Dispatch;
use pace::Pace;
use planned::Planned;
use std::collections::HashMap;
use timing::StepClock;
use web_time::Instant;

pub mod device;
mod halves;
mod layout;
mod pace;
mod pipelines;
mod planned;
pub mod planner;
mod readback;
pub mod self_check;
pub mod tier;
mod timing;
#[cfg(not(target_arch = "wasm32"))]
pub mod tune;

/// Bytes of weights between two waits while loading: bounds the copies that the driver holds for uploads.
const UPLOAD_CHUNK: u64 = 64 << 20;

/// Runs programs on a wgpu device.
#[derive(Debug)]
pub struct GpuExecutor {
    gpu: Gpu,
    programs: Vec<Program>,
    buffers: Vec<wgpu::Buffer>,
    states: HashMap<String, (usize, u64)>,
    /// The buffer of each slot of each program.
    slots: Vec<Vec<Option<usize>>>,
    /// Parameter blocks of all operations at all steps.
    parameters: Option<wgpu::Buffer>,
    /// By program and operation.
    dispatches: Vec<Vec<Dispatch>>,
    /// By program and operation, decided when steps are first known.
    planned: Vec<Vec<Planned>>,
    /// Between the two dispatches of a product that is split.
    scratch: Option<usize>,
    /// By program: the work of each operation.
    costs: Vec<Vec<u64>>,
    /// Steps that there are parameters for.
    prepared: usize,
    /// The parameters of one step, and how far apart those of two are, where steps can be revised.
    revisable: Option<Vec<u8>>,
    pace: Pace,
    clock: StepClock,
    memory: Memory,
    counters: Counters,
}

impl GpuExecutor {
    /// Loads the weights of `programs` onto the device, makes buffers and compiles shaders.
    ///
    /// # Errors
    /// A weight cannot be loaded, a tensor exceeds the adapter's limits, or memory runs out.
    pub fn new(
        gpu: Gpu,
        mut programs: Vec<Program>,
        weights: &mut dyn WeightSource,
    ) -> Result<Self, ExecError> {
        if gpu.tier.rounds() {
            programs.iter_mut().for_each(halves::halve);
        }
        let mut new = Self {
            clock: StepClock::new(&gpu),
            gpu,
            programs: Vec::new(),
            buffers: Vec::new(),
            states: HashMap::new(),
            slots: Vec::new(),
            parameters: None,
            dispatches: Vec::new(),
            planned: Vec::new(),
            scratch: None,
            costs: Vec::new(),
            prepared: 0,
            revisable: None,
            pace: Pace::default(),
            memory: Memory::default(),
            counters: Counters::default(),
        };
        let states = super::state_bytes(&programs);
        let plans: Vec<_> = programs.iter().map(plan::plan).collect();
        let mut pool = Vec::new();
        for (index, bytes) in plan::shared_pool(&plans).into_iter().enumerate() {
            new.memory.temporaries += bytes;
            pool.push(new.buffer(&format!("pool {index}"), bytes)?);
        }
        let mut loaded: HashMap<WeightSpec, usize> = HashMap::new();
        let mut pending = 0;
        for (program, plan) in programs.iter().zip(&plans) {
            let mut slots = Vec::with_capacity(program.tensors().len());
            for (tensor, place) in program.tensors().iter().zip(&plan.buffer_of) {
                slots.push(match &tensor.storage {
                    Storage::Temporary => place.map(|place| pool[place]),
                    Storage::State => Some(new.state(&tensor.name, states[tensor.name.as_str()])?),
                    Storage::Weight(spec) => Some(match loaded.get(spec) {
                        Some(&index) => index,
                        None => {
                            let index = new.upload(spec, weights)?;
                            loaded.insert(spec.clone(), index);
                            pending += spec.bytes();
                            if pending > UPLOAD_CHUNK {
                                new.gpu.queue.submit([]);
                                new.gpu.wait()?;
                                pending = 0;
                            }
                            index
                        }
                    }),
                });
            }
            new.slots.push(slots);
        }
        new.programs = programs;
        new.gpu.queue.submit([]);
        new.gpu.check()?;
        Ok(new)
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    fn buffer(&mut self, name: &str, bytes: u64) -> Result<usize, ExecError> {
        let limit = self.gpu.largest_binding();
        if bytes > limit {
            let adapter = self.gpu.info.name.clone();
            return Err(DeviceError::TooLarge { tensor: name.to_owned(), bytes, limit, adapter }.into());
        }
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        // At least one vec4, so that shaders may declare arrays of them.
        let size = bytes.next_multiple_of(16).max(16);
        self.counters.buffers += 1;
        self.buffers.push(self.gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(name),
            size,
            usage,
            mapped_at_creation: false,
        }));
        self.gpu.check()?;
        Ok(self.buffers.len() - 1)
    }

    fn state(&mut self, name: &str, bytes: u64) -> Result<usize, ExecError> {
        if let Some(&(index, _)) = self.states.get(name) {
            return Ok(index);
        }
        let index = self.buffer(name, bytes)?;
        self.memory.states += bytes;
        self.states.insert(name.to_owned(), (index, bytes));
        Ok(index)
    }

    fn upload(&mut self, spec: &WeightSpec, source: &mut dyn WeightSource) -> Result<usize, ExecError> {
        let index = self.buffer(&spec.name, spec.bytes())?;
        self.memory.weights += spec.bytes();
        let buffer = &self.buffers[index];
        if let Some(scheme) = spec.format.quantization() {
            let matrix = spec.load_quantized(scheme, source)?;
            self.gpu.queue.write_buffer(buffer, 0, bytemuck::cast_slice(matrix.words()));
            return Ok(index);
        }
        let data = spec.arrange(source.load(spec)?);
        if spec.format == WeightFormat::F16 {
            let halves: Vec<half::f16> = data.iter().map(|&v| half::f16::from_f32(v)).collect();
            self.gpu.queue.write_buffer(buffer, 0, bytemuck::cast_slice(&halves));
        } else {
            self.gpu.queue.write_buffer(buffer, 0, bytemuck::cast_slice(&data));
        }
        Ok(index)
    }

    fn find(&self, name: &str, len: usize) -> Result<usize, ExecError> {
        let error = |what| ExecError::State { name: name.to_owned(), what };
        let &(index, bytes) =
            self.states.get(name).ok_or_else(|| error("no program declares it".to_owned()))?;
        if len as u64 * 4 > bytes {
            return Err(error(format!("holds {} elements, not {len}", bytes / 4)));
        }
        Ok(index)
    }

    fn check_prepared(&self, step: usize) -> Result<(), ExecError> {
        let prepared = self.prepared;
        if step < prepared { Ok(()) } else { Err(ExecError::Unprepared { step, prepared }) }
    }

    fn submit(&mut self, encoder: wgpu::CommandEncoder) -> Result<(), ExecError> {
        self.gpu.queue.submit([encoder.finish()]);
        Ok(self.gpu.check()?)
    }
}

impl Executor for GpuExecutor {
    fn describe(&self) -> String {
        format!("{} ({:?})", self.gpu.info.name, self.gpu.info.backend)
    }

    fn prepare(&mut self, steps: &[StepValues]) -> Result<(), ExecError> {
        self.plan(steps)?;
        let (bytes, tables) = self.layout_parameters(steps)?;
        self.revisable = None;
        self.take_parameters(bytes, tables, steps)
    }

    fn prepare_revisable(&mut self, steps: &[StepValues]) -> Result<(), ExecError> {
        self.plan(steps)?;
        let (bytes, tables) = self.layout_by_step(steps)?;
        self.revisable = Some(vec![0; bytes.len() / steps.len().max(1)]);
        self.take_parameters(bytes, tables, steps)
    }

    fn revise(&mut self, step: usize, values: &StepValues) -> Result<(), ExecError> {
        self.check_prepared(step)?;
        let Some(mut block) = self.revisable.take() else { return Err(ExecError::Fixed(step)) };
        let stride = block.len();
        block.clear();
        for at in 0..self.programs.len() {
            for index in 0..self.programs[at].ops().len() {
                let (op, planned) = (&self.programs[at].ops()[index], &self.planned[at][index]);
                let (params, groups) = (planned.params(op, values), planned.workgroups(op, values));
                self.check_workgroups(op, groups)?;
                self.append_block(&mut block, &params);
                self.dispatches[at][index].steps[step].1 = groups;
            }
        }
        if let Some(parameters) = &self.parameters {
            self.gpu.queue.write_buffer(parameters, (step * stride) as u64, &block);
        }
        self.revisable = Some(block);
        Ok(())
    }

    fn run(&mut self, programs: &[usize], step: usize, timed: bool) -> Result<(), ExecError> {
        self.check_prepared(step)?;
        let last_program = programs.iter().rposition(|&program| !self.costs[program].is_empty());
        let mut is_first = true;
        for (at, &program) in programs.iter().enumerate() {
            let mut start = 0;
            while start < self.costs[program].len() {
                let end = self.pace.end(&self.costs[program], start);
                let is_last = last_program == Some(at) && end == self.costs[program].len();
                let mut encoder =
                    self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
                {
                    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                        label: None,
                        timestamp_writes: if timed {
                            self.clock.writes(step, is_first, is_last)
                        } else {
                            None
                        },
                    });
                    for dispatch in &self.dispatches[program][start..end] {
                        dispatch.encode(&mut pass, step);
                    }
                }
                let began = Instant::now();
                self.submit(encoder)?;
                if self.pace.is_measured() {
                    self.gpu.wait()?;
                    let flops = self.costs[program][start..end].iter().sum();
                    self.pace.took(flops, began.elapsed().as_secs_f64() * 1e3);
                }
                (start, is_first) = (end, false);
            }
        }
        Ok(())
    }

    fn pace(&mut self, milliseconds: Option<f64>) {
        // In the browser nothing may wait; there the page has its turn between steps.
        if cfg!(not(target_arch = "wasm32")) {
            self.pace.aim(milliseconds);
        }
    }

    fn write(&mut self, state: &str, data: &[u32]) -> Result<(), ExecError> {
        let index = self.find(state, data.len())?;
        self.gpu.queue.write_buffer(&self.buffers[index], 0, bytemuck::cast_slice(data));
        Ok(())
    }

    fn read<'a>(&'a mut self, state: &'a str, len: usize) -> LocalFuture<'a, Result<Vec<u32>, ExecError>> {
        self.counters.readbacks += 1;
        self.counters.buffers += 1;
        Box::pin(async move {
            let index = self.find(state, len)?;
            Ok(readback::read(&self.gpu, &self.buffers[index], len as u64 * 4).await?)
        })
    }

    fn wait(&mut self) -> Result<(), ExecError> {
        Ok(self.gpu.wait()?)
    }

    fn step_times<'a>(&'a mut self) -> LocalFuture<'a, Result<Vec<Option<f64>>, ExecError>> {
        self.counters.readbacks += 1;
        Box::pin(async move { Ok(self.clock.read(&self.gpu).await?) })
    }

    fn profile(&mut self, program: usize, step: usize) -> LocalFuture<'_, Result<Vec<OpTime>, ExecError>> {
        Box::pin(async move {
            self.check_prepared(step)?;
            let ops = self.dispatches[program].len();
            let mut clock = StepClock::new(&self.gpu);
            clock.reset(&self.gpu, ops, &mut self.counters);
            let mut wall = Vec::with_capacity(ops);
            for op in 0..ops {
                // A pass of its own, waited for: without timestamps the way there and back counts too.
                self.gpu.wait()?;
                let start = Instant::now();
                let mut encoder =
                    self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
                {
                    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                        label: None,
                        timestamp_writes: clock.writes(op, true, true),
                    });
                    self.dispatches[program][op].encode(&mut pass, step);
                }
                self.submit(encoder)?;
                self.gpu.wait()?;
                wall.push(start.elapsed().as_secs_f64() * 1e3);
            }
            let times = clock.read(&self.gpu).await?;
            Ok(times
                .into_iter()
                .zip(wall)
                .enumerate()
                .map(|(op, (ms, wall))| OpTime { op, ms: ms.unwrap_or(wall) })
                .collect())
        })
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

#[cfg(test)]
mod tests {
    use super::layout::costs;
    use super::pace::SUBMISSION_FLOPS;
    use super::*;
    use crate::generate::published;
    use crate::models::{Batch, build};
    use crate::program::Formats;

    #[test]
    fn a_large_step_is_cut_into_submissions_that_no_watchdog_notices() {
        let config = published::config("maskgit-512").unwrap();
        let batch = Batch::of_classes(1, true);
        let program = build("full", Formats::F32, |b| config.family.features(b, batch)).unwrap();
        let costs = costs(&program, &[StepValues { masked: 1024, ..StepValues::default() }]);
        assert_eq!(costs.len(), program.ops().len());
        let (mut start, mut submissions) = (0, 0);
        while start < costs.len() {
            let end = Pace::default().end(&costs, start);
            let flops: u64 = costs[start..end].iter().sum();
            assert!(flops <= SUBMISSION_FLOPS || end == start + 1, "{start}..{end}: {flops}");
            (start, submissions) = (end, submissions + 1);
        }
        assert!(submissions > 10, "{submissions} submissions");
    }
}
