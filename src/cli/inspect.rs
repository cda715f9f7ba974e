//! `migm inspect DIR|FILE`: tensors of a file; of a folder, its parts, the memory it needs, and whether that fits.

use super::{Backend, CliError, bytes};
use crate::exec::Memory;
use crate::generate::model::{Device, ModelConfig, part_tensors};
use crate::generate::predict::Predictor;
use crate::generate::session::{self, Shape};
use crate::kernels::Quantization;
use crate::models::{self, Batch, parameters};
use crate::weights::Checkpoint;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A model folder or a weights file (default: the bundled model)
    #[arg(value_hint = clap::ValueHint::AnyPath)]
    path: Option<PathBuf>,
    /// Images at once, for the memory plan
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    batch: u32,
    /// Quantise matrices while loading: int8, int4 (groups of 64) or int4:32
    #[arg(long, value_name = "FORMAT")]
    quantize: Option<Quantization>,
    /// Print the operations of a program: full, sample, decode or shortcut
    #[arg(long, value_name = "PROGRAM")]
    program: Option<String>,
    /// With --program, print a Graphviz graph instead of text
    #[arg(long, requires = "program")]
    graphviz: bool,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    match &arguments.path {
        Some(path) if path.is_file() => file(path, arguments.json),
        path => folder(path.as_ref(), arguments),
    }
}

fn file(path: &std::path::Path, json: bool) -> Result<(), CliError> {
    let checkpoint = Checkpoint::open(path)?;
    let mut out = std::io::stdout().lock();
    let count: u64 = checkpoint.tensors().map(|t| t.elements() as u64).sum();
    if json {
        let tensors: Vec<_> = checkpoint
            .tensors()
            .map(|t| serde_json::json!({ "name": t.name, "dtype": format!("{:?}", t.dtype), "shape": t.shape }))
            .collect();
        let report = serde_json::json!({
            "file": path, "bytes": checkpoint.file_bytes(), "elements": count,
            "metadata": checkpoint.metadata(), "tensors": tensors,
        });
        writeln!(out, "{report}")?;
        return Ok(());
    }
    for tensor in checkpoint.tensors() {
        writeln!(out, "{:<64} {:<5} {:?}", tensor.name, format!("{:?}", tensor.dtype), tensor.shape)?;
    }
    let tensors = checkpoint.tensors().len();
    writeln!(out, "{tensors} tensors, {count} elements, {}", bytes(checkpoint.file_bytes()))?;
    Ok(())
}

/// What a session of this batch needs, and the largest single binding.
fn plan(
    config: &ModelConfig,
    formats: fn(&crate::program::WeightSpec) -> crate::kernels::WeightFormat,
    batch: u32,
) -> Result<(Vec<crate::program::Program>, Memory, u64), CliError> {
    let shape = Shape {
        batch: Batch { images: batch, guided: config.sampling.guided() },
        predictor: config.shortcut.map(|_| Predictor::Shortcut),
        recorded_noise: false,
        decoder: true,
    };
    let programs = session::programs(config, shape, formats)?.list;
    let memory = Memory::planned(&programs);
    let largest =
        programs.iter().flat_map(|p| p.tensors()).map(crate::program::Tensor::bytes).max().unwrap_or(0);
    Ok((programs, memory, largest))
}

fn folder(path: Option<&PathBuf>, arguments: &Arguments) -> Result<(), CliError> {
    let model = super::open_model(path)?.quantized(arguments.quantize);
    let config = &model.config;
    let (programs, memory, largest) = plan(config, model.formats(), arguments.batch)?;
    let mut out = std::io::stdout().lock();
    if let Some(name) = &arguments.program {
        let Some(program) = programs.iter().find(|program| program.name == *name) else {
            let names: Vec<&str> = programs.iter().map(|program| program.name.as_str()).collect();
            let message = format!("there is no program {name:?}; there are {}", names.join(", "));
            return Err(crate::generate::GenerateError::Setting(message).into());
        };
        let steps = config.sampling.steps(config.transformer.grid * config.transformer.grid)?;
        let step = steps.get(1).or(steps.first()).copied().unwrap_or_default();
        let text = if arguments.graphviz { program.to_graphviz() } else { program.to_text(&step) };
        write!(out, "{text}")?;
        return Ok(());
    }
    let mut parts = Vec::new();
    for part in ["maskgit", "vqgan", "shortcut"] {
        let tensors = part_tensors(config, part)?;
        if !tensors.is_empty() {
            parts.push((part, tensors.len(), parameters(&tensors)));
        }
    }
    let mut by_format = Vec::new();
    for (name, half, quantize) in super::FORMATS {
        by_format.push((name, plan(config, models::formats(half, quantize), arguments.batch)?.1));
    }
    let (device, _) = Backend::Auto.open()?;
    let fit = fits(&device, memory, by_format[0].1.weights, largest);
    if arguments.json {
        let parts: Vec<_> = parts
            .iter()
            .map(
                |(part, tensors, n)| serde_json::json!({ "part": part, "tensors": tensors, "parameters": n }),
            )
            .collect();
        let report = serde_json::json!({
            "model": model.name, "config": config, "parts": parts, "batch": arguments.batch,
            "memory_bytes": memory,
            "weight_bytes": by_format.iter().map(|(name, m)| (*name, m.weights)).collect::<BTreeMap<_, _>>(),
            "largest_binding_bytes": largest, "fits": fit.0, "why": fit.1,
        });
        writeln!(out, "{}", serde_json::to_string_pretty(&report).unwrap_or_default())?;
        return Ok(());
    }
    let t = &config.transformer;
    writeln!(
        out,
        "{}: {} px, {} x {} tokens of {} codes, {} classes",
        model.name, config.image_size, t.grid, t.grid, t.codebook, t.classes
    )?;
    for (part, tensors, parameters) in &parts {
        writeln!(out, "  {part:<9} {tensors:>4} tensors {parameters:>12} parameters")?;
    }
    let guided = if config.sampling.guided() { ", guided" } else { "" };
    writeln!(out, "memory for a batch of {}{guided}:", arguments.batch)?;
    writeln!(out, "  weights     {:>12}", bytes(memory.weights))?;
    writeln!(out, "  states      {:>12}", bytes(memory.states))?;
    writeln!(out, "  temporaries {:>12}", bytes(memory.temporaries))?;
    writeln!(out, "  in all      {:>12}, largest binding {}", bytes(memory.total()), bytes(largest))?;
    writeln!(out, "{}", fit.1)?;
    writeln!(out, "in other formats, convolutions and codebooks of int8 and int4 in f16:")?;
    for (name, memory) in &by_format {
        writeln!(
            out,
            "  {name:<9} weights {:>12}, in all {:>12}",
            bytes(memory.weights),
            bytes(memory.total())
        )?;
    }
    Ok(())
}

/// Whether a plan fits a device, and the sentence that says so.
fn fits(device: &Device, memory: Memory, wide_weights: u64, largest: u64) -> (bool, String) {
    match device {
        Device::Cpu => (
            true,
            format!(
                "runs on the CPU, where weights are f32: allow {} in all",
                bytes(memory.total() - memory.weights + wide_weights)
            ),
        ),
        Device::Gpu(gpu) => {
            let limits = gpu.device.limits();
            let limit = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
            let name = &gpu.info.name;
            if largest <= limit {
                (true, format!("fits {name}, which binds up to {} at once", bytes(limit)))
            } else {
                let message = format!(
                    "does not fit {name}: it binds at most {} at once; use a smaller batch",
                    bytes(limit)
                );
                (false, message)
            }
        }
    }
}
