//! Compiled shaders, each made once for a device: by permutation and the access of its bindings. Another session on it, for another
//! method or another number of pictures, compiles only what is new to it.

use super::device::Gpu;
use crate::exec::{Counters, ExecError};
use crate::kernels::{Access, Binding, Slot, shader::Permutation};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// The part of the parameter buffer that a dispatch sees; no parameter block is larger.
pub(super) const PARAMETER_BYTES: u64 = 1024;

type Key = (Permutation, Vec<(u32, bool)>);

type Made = (wgpu::ComputePipeline, wgpu::BindGroupLayout);

/// The pipelines of a device.
#[derive(Debug, Default)]
pub(super) struct Cache {
    made: Mutex<HashMap<Key, Made>>,
}

impl Cache {
    /// The pipeline of a permutation, as the device's tier and plan have it, with its bind group layout.
    pub(super) fn get(
        &self,
        gpu: &Gpu,
        permutation: &Permutation,
        bindings: &[Binding],
        counters: &mut Counters,
    ) -> Result<Made, ExecError> {
        let accesses = bindings.iter().map(|b| (b.index, b.access == Access::Read)).collect();
        let key = (permutation.clone(), accesses);
        let known = self.made.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let entry = |binding, ty, has_dynamic_offset| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size: None },
            count: None,
        };
        let mut entries = vec![entry(0, wgpu::BufferBindingType::Uniform, true)];
        entries.extend(bindings.iter().map(|binding| {
            let read_only = binding.access == Access::Read;
            entry(binding.index, wgpu::BufferBindingType::Storage { read_only }, false)
        }));
        let name = permutation.to_string();
        let layout = gpu.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some(&name),
            entries: &entries,
        });
        let pipeline_layout = gpu.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(&name),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let module = gpu.device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(&name),
            source: wgpu::ShaderSource::Wgsl(permutation.source()?.into()),
        });
        counters.pipelines += 1;
        let pipeline = gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&name),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            // Every kernel writes its workgroup memory before reading it.
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: None,
        });
        gpu.check()?;
        let made = (pipeline, layout);
        self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(key, made.clone());
        Ok(made)
    }
}

/// The entries of a dispatch: the parameter block (its offset is dynamic), then each buffer whole.
pub(super) fn bind_group_entries<'a>(
    parameters: &'a wgpu::Buffer,
    bindings: &[Binding],
    buffer_of: impl Fn(Slot) -> Option<&'a wgpu::Buffer>,
) -> Vec<wgpu::BindGroupEntry<'a>> {
    let block = wgpu::BufferBinding {
        buffer: parameters,
        offset: 0,
        size: std::num::NonZeroU64::new(PARAMETER_BYTES),
    };
    let mut entries =
        vec![wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(block) }];
    entries.extend(bindings.iter().filter_map(|binding| {
        let buffer = buffer_of(binding.slot)?;
        Some(wgpu::BindGroupEntry { binding: binding.index, resource: buffer.as_entire_binding() })
    }));
    entries
}
