//! `migm info`: the adapters, their tiers and limits, and which one would be taken, and why.

use super::{CliError, Place};
use crate::exec::gpu::device::{self, Choice, Gpu};
use crate::exec::gpu::tier::Tier;
use crate::generate::model::Device;
use std::io::Write as _;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

/// The tiers of an adapter.
fn tiers(adapter: &wgpu::Adapter) -> Vec<String> {
    Tier::offered(adapter).iter().map(Tier::to_string).collect()
}

/// The tier that an adapter would be used on and why, or why it cannot be used.
fn tier_used(instance: &wgpu::Instance, adapter: &wgpu::Adapter) -> String {
    let choice = Choice::from_environment();
    let opened = Gpu::from_adapter(instance.clone(), adapter.clone(), &choice);
    let told = |gpu: Gpu| format!("{}; {}", gpu.tier_reason, gpu.plan_reason);
    pollster::block_on(opened).map_or_else(|error| error.to_string(), told)
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let instance = device::instance();
    let adapters = pollster::block_on(device::adapters(&instance));
    let chosen = match Place::default().open() {
        Ok((Device::Cpu | Device::CpuBf16, reason)) => ("CPU".to_owned(), reason),
        Ok((Device::Gpu(gpu), reason)) => (gpu.info.name, reason),
        Err(error) => ("none".to_owned(), error.to_string()),
    };
    let described: Vec<serde_json::Value> = adapters
        .iter()
        .map(|adapter| {
            let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
            serde_json::json!({
                "name": info.name,
                "kind": format!("{:?}", info.device_type),
                "backend": format!("{:?}", info.backend),
                "driver": format!("{} {}", info.driver, info.driver_info).trim(),
                "tiers_offered": tiers(adapter),
                "tier_used": tier_used(&instance, adapter),
                "shader_f16": features.contains(wgpu::Features::SHADER_F16),
                "subgroups": features.contains(wgpu::Features::SUBGROUP),
                "timestamps": features.contains(wgpu::Features::TIMESTAMP_QUERY),
                "largest_binding_bytes": limits.max_storage_buffer_binding_size,
                "largest_buffer_bytes": limits.max_buffer_size,
                "storage_buffers": limits.max_storage_buffers_per_shader_stage,
                "workgroup_memory_bytes": limits.max_compute_workgroup_storage_size,
                "workgroup_invocations": limits.max_compute_invocations_per_workgroup,
            })
        })
        .collect();
    let threads = rayon::current_num_threads();
    let mut out = std::io::stdout().lock();
    if arguments.json {
        let report = serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "adapters": described,
            "cpu_threads": threads,
            "taken": chosen.0,
            "because": chosen.1,
        });
        writeln!(out, "{}", serde_json::to_string_pretty(&report).unwrap_or_default())?;
        return Ok(());
    }
    writeln!(out, "migm {}", env!("CARGO_PKG_VERSION"))?;
    for adapter in &adapters {
        let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
        let has = |feature, name| if features.contains(feature) { name } else { "" };
        writeln!(out, "\n{} ({:?}, {:?})", info.name, info.device_type, info.backend)?;
        writeln!(out, "  driver             {} {}", info.driver, info.driver_info)?;
        let offered = tiers(adapter).join(", ");
        writeln!(out, "  tier               {}", tier_used(&instance, adapter))?;
        writeln!(
            out,
            "  tiers              {offered} (MIGM_TIER takes one by name, --exact the portable one)"
        )?;
        let list: Vec<&str> = [
            has(wgpu::Features::SHADER_F16, "shader-f16"),
            has(wgpu::Features::SUBGROUP, "subgroups"),
            has(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX, "cooperative matrix"),
            has(wgpu::Features::TIMESTAMP_QUERY, "timestamps"),
        ]
        .into_iter()
        .filter(|name| !name.is_empty())
        .collect();
        writeln!(
            out,
            "  features           {}",
            if list.is_empty() { "none".to_owned() } else { list.join(", ") }
        )?;
        writeln!(out, "  largest binding    {}", super::bytes(limits.max_storage_buffer_binding_size))?;
        writeln!(out, "  largest buffer     {}", super::bytes(limits.max_buffer_size))?;
        writeln!(
            out,
            "  workgroup memory   {}",
            super::bytes(u64::from(limits.max_compute_workgroup_storage_size))
        )?;
        writeln!(out, "  invocations        {}", limits.max_compute_invocations_per_workgroup)?;
    }
    if adapters.is_empty() {
        writeln!(
            out,
            "\nNo graphics adapter: install a Vulkan driver to use a GPU (Debian: mesa-vulkan-drivers)"
        )?;
    }
    writeln!(out, "\nCPU\n  threads            {threads}")?;
    writeln!(out, "\nTaken by default: {} ({})", chosen.0, chosen.1)?;
    if let Some(name) = Choice::from_environment().name {
        writeln!(out, "MIGM_ADAPTER asks for an adapter whose name contains {name:?}")?;
    }
    Ok(())
}
