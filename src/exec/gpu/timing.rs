//! Step times as the device measures them: a timestamp before and after each step's pass, read after the loop.

use super::device::{DeviceError, Gpu};
use super::readback;
use crate::exec::Counters;

/// The resolved pair of each step starts at a multiple of this (WebGPU's alignment for resolving queries).
const STRIDE: u64 = 256;

/// Timestamps of the steps of one run.
#[derive(Debug)]
pub(super) struct StepClock {
    available: bool,
    steps: usize,
    held: Option<Held>,
    ran: Vec<bool>,
}

#[derive(Debug)]
struct Held {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    capacity: usize,
}

impl StepClock {
    pub(super) fn new(gpu: &Gpu) -> Self {
        Self { available: gpu.timestamps, steps: 0, held: None, ran: Vec::new() }
    }

    /// Makes room for `steps` and forgets earlier times.
    pub(super) fn reset(&mut self, gpu: &Gpu, steps: usize, counters: &mut Counters) {
        self.steps = steps;
        self.ran = vec![false; steps];
        let fits = 2 * steps <= wgpu::QUERY_SET_MAX_QUERIES as usize;
        if !self.available || !fits || self.held.as_ref().is_some_and(|held| held.capacity >= steps) {
            return;
        }
        counters.buffers += 1;
        self.held = Some(Held {
            queries: gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("step times"),
                ty: wgpu::QueryType::Timestamp,
                count: 2 * steps as u32,
            }),
            resolved: gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("step times"),
                size: STRIDE * steps as u64,
                usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            }),
            capacity: steps,
        });
    }

    /// Where a pass of a step writes its timestamps: the first pass its beginning, the last its end.
    pub(super) fn writes(
        &mut self,
        step: usize,
        first: bool,
        last: bool,
    ) -> Option<wgpu::ComputePassTimestampWrites<'_>> {
        let held = self.held.as_ref().filter(|held| step < held.capacity && (first || last))?;
        self.ran[step] |= last;
        Some(wgpu::ComputePassTimestampWrites {
            query_set: &held.queries,
            beginning_of_pass_write_index: first.then_some(2 * step as u32),
            end_of_pass_write_index: last.then_some(2 * step as u32 + 1),
        })
    }

    /// Milliseconds by step.
    pub(super) async fn read(&self, gpu: &Gpu) -> Result<Vec<Option<f64>>, DeviceError> {
        let Some(held) = &self.held else { return Ok(vec![None; self.steps]) };
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        // Only what was written: waiting for a timestamp that never comes would hang the device.
        for step in (0..self.steps).filter(|&step| self.ran[step]) {
            let first = 2 * step as u32;
            encoder.resolve_query_set(&held.queries, first..first + 2, &held.resolved, STRIDE * step as u64);
        }
        gpu.queue.submit([encoder.finish()]);
        let words = readback::read(gpu, &held.resolved, STRIDE * self.steps as u64).await?;
        let tick_ms = f64::from(gpu.queue.get_timestamp_period()) * 1e-6;
        let time = |step: usize| {
            let pair: [u64; 2] = std::array::from_fn(|i| {
                let at = step * (STRIDE as usize / 4) + 2 * i;
                u64::from(words[at]) | u64::from(words[at + 1]) << 32
            });
            pair[1].saturating_sub(pair[0]) as f64 * tick_ms
        };
        Ok((0..self.steps).map(|step| self.ran[step].then(|| time(step))).collect())
    }
}
