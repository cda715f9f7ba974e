//! What is fixed before the step loop: parameter blocks, pipelines and bind groups of every operation, in one dispatch or two.

use super::device::DeviceError;
use super::planned::{Groups, Planned, SCRATCH};
use super::{GpuExecutor, pipelines};
use crate::exec::ExecError;
use crate::kernels::StepValues;
use crate::program::{Op, Program};

/// An operation ready to be encoded.
#[derive(Debug)]
pub(super) struct Dispatch {
    /// One, or two of a product that is split.
    stages: Vec<(wgpu::ComputePipeline, wgpu::BindGroup)>,
    /// Offset of the parameter block and workgroups by step; a single entry if all steps are alike.
    pub(super) steps: StepTable,
}

impl Dispatch {
    fn at(&self, step: usize) -> (u32, Groups) {
        self.steps[if self.steps.len() == 1 { 0 } else { step }]
    }

    pub(super) fn encode(&self, pass: &mut wgpu::ComputePass<'_>, step: usize) {
        let (offset, groups) = self.at(step);
        for ((pipeline, bind_group), [x, y, z]) in self.stages.iter().zip(groups) {
            if x > 0 && y > 0 && z > 0 {
                pass.set_pipeline(pipeline);
                pass.set_bind_group(0, bind_group, &[offset]);
                pass.dispatch_workgroups(x, y, z);
            }
        }
    }
}

impl GpuExecutor {
    /// Lays out parameter blocks: one for an operation that is alike in all steps, one a step otherwise.
    pub(super) fn layout_parameters(
        &self,
        steps: &[StepValues],
    ) -> Result<(Vec<u8>, Vec<Vec<StepTable>>), ExecError> {
        let mut bytes = Vec::new();
        let mut tables = Vec::new();
        for (at, program) in self.programs.iter().enumerate() {
            let mut of_program = Vec::with_capacity(program.ops().len());
            for (index, op) in program.ops().iter().enumerate() {
                let planned = &self.planned[at][index];
                let mut blocks: Vec<(Vec<u8>, Groups)> = steps
                    .iter()
                    .map(|step| (planned.params(op, step), planned.workgroups(op, step)))
                    .collect();
                if blocks.iter().all(|block| *block == blocks[0]) {
                    blocks.truncate(1);
                }
                let mut table = Vec::with_capacity(blocks.len());
                for (block, groups) in blocks {
                    self.check_workgroups(op, groups)?;
                    table.push((self.append_block(&mut bytes, &block), groups));
                }
                of_program.push(table);
            }
            tables.push(of_program);
        }
        Ok((bytes, tables))
    }

    /// The same with all blocks of a step side by side, so that a step can be written anew at once.
    pub(super) fn layout_by_step(
        &self,
        steps: &[StepValues],
    ) -> Result<(Vec<u8>, Vec<Vec<StepTable>>), ExecError> {
        let mut bytes = Vec::new();
        let empty = |program: &Program| vec![StepTable::with_capacity(steps.len()); program.ops().len()];
        let mut tables: Vec<Vec<StepTable>> = self.programs.iter().map(empty).collect();
        for step in steps {
            for (at, (program, tables)) in self.programs.iter().zip(&mut tables).enumerate() {
                for (index, (op, table)) in program.ops().iter().zip(tables).enumerate() {
                    let planned = &self.planned[at][index];
                    let groups = planned.workgroups(op, step);
                    self.check_workgroups(op, groups)?;
                    table.push((self.append_block(&mut bytes, &planned.params(op, step)), groups));
                }
            }
        }
        Ok((bytes, tables))
    }

    /// Where a block comes to stand among the others.
    pub(super) fn append_block(&self, bytes: &mut Vec<u8>, block: &[u8]) -> u32 {
        let alignment = self.gpu.device.limits().min_uniform_buffer_offset_alignment.max(16) as usize;
        let offset = bytes.len();
        bytes.extend(block);
        bytes.resize(bytes.len().next_multiple_of(alignment), 0);
        offset as u32
    }

    /// Decides how operations are run, once: what is compiled for the first steps serves all later ones.
    pub(super) fn plan(&mut self, steps: &[StepValues]) -> Result<(), ExecError> {
        if !self.planned.is_empty() {
            return Ok(());
        }
        let of_op = |op: &Op| Planned::new(&self.gpu, op, steps);
        self.planned =
            self.programs.iter().map(|program| program.ops().iter().map(of_op).collect()).collect();
        let bytes = self.planned.iter().flatten().map(Planned::scratch).max().unwrap_or(0);
        if bytes > 0 {
            self.scratch = Some(self.buffer("sums of parts", bytes)?);
            self.memory.temporaries += bytes;
        }
        Ok(())
    }

    pub(super) fn check_workgroups(&self, op: &Op, groups: Groups) -> Result<(), ExecError> {
        let limit = self.gpu.device.limits().max_compute_workgroups_per_dimension;
        let Some(groups) = groups.into_iter().find(|groups| groups.iter().any(|&n| n > limit)) else {
            return Ok(());
        };
        let (shader, adapter) = (op.kernel.permutation().to_string(), self.gpu.info.name.clone());
        Err(DeviceError::TooManyWorkgroups { shader, groups, limit, adapter }.into())
    }

    /// Writes the parameters of all steps, and makes bind groups where their buffer is new.
    pub(super) fn take_parameters(
        &mut self,
        mut bytes: Vec<u8>,
        mut tables: Vec<Vec<StepTable>>,
        steps: &[StepValues],
    ) -> Result<(), ExecError> {
        // A block is bound by its largest possible size: the last one needs room behind it.
        bytes.resize(bytes.len() + pipelines::PARAMETER_BYTES as usize, 0);
        if self.parameters.as_ref().is_none_or(|buffer| buffer.size() < bytes.len() as u64) {
            self.counters.buffers += 1;
            self.memory.other = bytes.len() as u64;
            self.parameters = Some(self.gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("parameters"),
                size: bytes.len() as u64,
                usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            }));
            self.dispatches.clear();
        }
        let Some(parameters) = self.parameters.clone() else { return Ok(()) };
        self.gpu.queue.write_buffer(&parameters, 0, &bytes);
        if self.dispatches.is_empty() {
            let programs = self.programs.iter().zip(&self.slots).zip(&self.planned);
            for ((program, slots), planned) in programs {
                let mut dispatches = Vec::with_capacity(program.ops().len());
                for (op, planned) in program.ops().iter().zip(planned) {
                    let mut stages = Vec::with_capacity(1);
                    for kernel in planned.kernels(op) {
                        let bindings = kernel.bindings();
                        let (pipeline, layout) = self.gpu.pipelines.get(
                            &self.gpu,
                            &planned.permutation(&self.gpu, program, kernel),
                            &bindings,
                            &mut self.counters,
                        )?;
                        let entries: Vec<wgpu::BindGroupEntry<'_>> =
                            pipelines::bind_group_entries(&parameters, &bindings, |slot| {
                                let index =
                                    if slot == SCRATCH { self.scratch } else { slots[slot.0 as usize] };
                                index.map(|index| &self.buffers[index])
                            });
                        self.counters.bind_groups += 1;
                        let bind_group = self.gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
                            label: Some(&op.scope),
                            layout: &layout,
                            entries: &entries,
                        });
                        stages.push((pipeline, bind_group));
                    }
                    dispatches.push(Dispatch { stages, steps: Vec::new() });
                }
                self.dispatches.push(dispatches);
            }
        }
        self.costs = self.programs.iter().map(|program| costs(program, steps)).collect();
        for (dispatches, tables) in self.dispatches.iter_mut().zip(&mut tables) {
            for (dispatch, table) in dispatches.iter_mut().zip(tables) {
                dispatch.steps = std::mem::take(table);
            }
        }
        self.clock.reset(&self.gpu, steps.len(), &mut self.counters);
        self.prepared = steps.len();
        Ok(self.gpu.check()?)
    }
}

/// The work of each operation at its largest step.
pub(super) fn costs(program: &Program, steps: &[StepValues]) -> Vec<u64> {
    let cost = |op: &Op| steps.iter().map(|step| op.kernel.cost(step).flops).max().unwrap_or(0);
    program.ops().iter().map(cost).collect()
}

/// Offset and workgroups by step.
pub(super) type StepTable = Vec<(u32, Groups)>;
