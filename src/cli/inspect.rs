//! `migm inspect DIR|FILE`: tensors of a file; of a folder, its parts, the memory it needs, and whether that fits.

use super::{CliError, Place, bytes};
use crate::eval::bench;
use crate::exec::Memory;
use crate::generate::GenerateError;
use crate::generate::model::{Device, Model};
use crate::generate::predict::Predictor;
use crate::generate::programs::Programs;
use crate::generate::session::Shape;
use crate::kernels::Quantization;
use crate::models::{Batch, parameters, part_tensors};
use crate::program::{Program, Tensor};
use crate::weights::Checkpoint;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A model folder, a weights file, or a published model by name, not fetched yet: maskgit-512, maskgit-256,
    /// lumina-dimoo, dimo-256 (default: scenes-class)
    #[arg(value_hint = clap::ValueHint::AnyPath)]
    path: Option<PathBuf>,
    /// Images at once, for the memory plan
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    batch: u32,
    /// Quantise matrices while loading: int8, int4 (groups of 64) or int4:32
    #[arg(long, value_name = "FORMAT")]
    quantize: Option<Quantization>,
    /// What stands in for the full model, for the memory plan (default: the shortcut, if there is one)
    #[arg(long, value_name = "NAME", value_parser = super::predictor)]
    predictor: Option<Predictor>,
    /// Plan for another number of transformer layers
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=512))]
    layers: Option<u32>,
    /// Plan for other images of a text model
    #[arg(long, value_name = "ROWSxCOLUMNS", value_parser = super::convert::grid)]
    grid: Option<[u32; 2]>,
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

fn in_words(predictor: Option<Predictor>) -> &'static str {
    match predictor {
        None => "vanilla",
        Some(Predictor::Reuse) => "feature reuse",
        Some(Predictor::Shortcut) => "shortcut",
        Some(other) => other.predict().title(),
    }
}

/// One line on sizes.
fn sizes(model: &Model) -> String {
    let family = model.family();
    let ([rows, columns], [height, width]) = (family.grid(), family.size());
    let classes =
        model.classes().map_or_else(String::new, |of| format!(", {} classes", of.transformer.classes));
    let one_step = if family.is_one_step() { ", in one step" } else { "" };
    let codes = family.codebook();
    format!("{height} x {width} px, {rows} x {columns} tokens of {codes} codes{classes}{one_step}")
}

/// What a plan is for, in words.
fn planned_for(model: &Model, batch: Batch, predictor: Option<Predictor>) -> String {
    let guided = if batch.guided { "guided, " } else { "" };
    let mut text = format!("a batch of {}, {guided}{}", batch.images, in_words(predictor));
    if model.classes().is_none() {
        let lengths: Vec<String> =
            model.family().networks(batch).iter().map(|network| network.length().to_string()).collect();
        let [prompt, _] = batch.prompt;
        text += &format!(", prompts of {prompt} tokens: sequences of {}", lengths.join(" and "));
    }
    text
}

/// The largest binding of some programs.
fn largest<'a>(programs: impl Iterator<Item = &'a Program>) -> u64 {
    programs.flat_map(Program::tensors).map(Tensor::bytes).max().unwrap_or(0)
}

fn folder(path: Option<&PathBuf>, arguments: &Arguments) -> Result<(), CliError> {
    let model = super::describe_model(path, None, Model::bundled_class)?
        .quantized(arguments.quantize)
        .resized(arguments.layers, arguments.grid)?;
    let (family, sampling) = (model.family(), model.config.sampling);
    let predictor = arguments.predictor.or_else(|| family.has_shortcut().then_some(Predictor::Shortcut));
    let batch = bench::batch(&model.config.family, arguments.batch, &sampling);
    let programs_in = |formats| Programs::new(family, Shape::new(batch, predictor), formats);
    let programs = programs_in(model.formats())?.list;
    let steps = sampling.steps(family.tokens())?;
    let step = steps.get(1).or(steps.first()).copied().unwrap_or_default();
    let run = planned_for(&model, batch, predictor);
    let mut parts = Vec::new();
    for part in family.parts() {
        let tensors = part_tensors(family, part).map_err(GenerateError::from)?;
        parts.push((part, tensors.len(), parameters(&tensors)));
    }
    let mut out = std::io::stdout().lock();
    if let Some(name) = &arguments.program {
        let Some(program) = programs.iter().find(|program| program.name == *name) else {
            let names: Vec<&str> = programs.iter().map(|program| program.name.as_str()).collect();
            let message = format!("there is no program {name:?}; there are {}", names.join(", "));
            return Err(GenerateError::Setting(message).into());
        };
        let text = if arguments.graphviz { program.to_graphviz() } else { program.to_text(&step) };
        write!(out, "{text}")?;
        return Ok(());
    }
    let memory = Memory::planned(&programs);
    let mut by_format = Vec::new();
    for (name, formats) in super::FORMATS {
        by_format.push((name, Memory::planned(&programs_in(formats)?.list)));
    }
    let (device, _) = Place::default().open()?;
    let (of_steps, of_decode): (Vec<&Program>, Vec<&Program>) =
        programs.iter().partition(|program| program.name != "decode");
    let bindings = [largest(of_steps.into_iter()), largest(of_decode.into_iter())];
    let fit = fits(&device, memory, by_format[0].1.weights, bindings)?;
    if arguments.json {
        let parts: Vec<_> = parts
            .iter()
            .map(
                |(part, tensors, n)| serde_json::json!({ "part": part, "tensors": tensors, "parameters": n }),
            )
            .collect();
        let report = serde_json::json!({
            "model": model.name, "config": model.config, "parts": parts, "batch": arguments.batch,
            "planned_for": run, "memory_bytes": memory,
            "weight_bytes": by_format.iter().map(|(name, m)| (*name, m.weights)).collect::<BTreeMap<_, _>>(),
            "largest_binding_bytes": { "steps": bindings[0], "decode": bindings[1] },
            "fits": fit.0, "why": fit.1,
        });
        writeln!(out, "{}", serde_json::to_string_pretty(&report).unwrap_or_default())?;
        return Ok(());
    }
    writeln!(out, "{}: {}", model.name, sizes(&model))?;
    for (part, tensors, parameters) in &parts {
        writeln!(out, "  {part:<9} {tensors:>4} tensors {parameters:>12} parameters")?;
    }
    writeln!(out, "memory for {run}:")?;
    writeln!(out, "  weights     {:>12} {:>15} bytes", bytes(memory.weights), memory.weights)?;
    writeln!(out, "  states      {:>12} {:>15}", bytes(memory.states), memory.states)?;
    writeln!(out, "  temporaries {:>12} {:>15}", bytes(memory.temporaries), memory.temporaries)?;
    writeln!(out, "  in all      {:>12} {:>15}", bytes(memory.total()), memory.total())?;
    let [steps, decode] = bindings;
    writeln!(out, "largest binding: {} in a step, {} in decoding", bytes(steps), bytes(decode))?;
    writeln!(out, "{}", fit.1)?;
    writeln!(out, "by format, convolutions and codebooks of int8 and int4 in f16:")?;
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

/// Whether a plan fits a device, and the sentence that says so. `bindings` are the largest of steps and of decoding.
fn fits(
    device: &Device,
    memory: Memory,
    wide_weights: u64,
    [steps, decode]: [u64; 2],
) -> Result<(bool, String), CliError> {
    let within = |needed: u64| match available_memory() {
        None => (true, String::new()),
        Some(free) if needed <= free => (true, format!(", and {} of memory are free", bytes(free))),
        Some(free) => (false, format!(", and only {} of memory are free", bytes(free))),
    };
    let gpu = match device {
        Device::Gpu(gpu) => gpu,
        Device::Cpu | Device::CpuBf16 => {
            let needed = memory.total() - memory.weights + wide_weights;
            let (fits, free) = within(needed);
            let verb = if fits { "fits" } else { "does not fit" };
            let sentence = format!("{verb} the CPU: weights are f32 there, {} in all{free}", bytes(needed));
            return Ok((fits, sentence));
        }
    };
    let (name, limit) = (&gpu.info.name, gpu.largest_binding());
    if steps > limit {
        let sentence =
            format!("does not fit {name}: it binds at most {} at once; use a smaller batch", bytes(limit));
        return Ok((false, sentence));
    }
    let (room, why) = if gpu.is_software() {
        within(memory.total())
    } else if gpu.has_room(memory.total())? {
        (true, ": so much could be allocated just now".to_owned())
    } else {
        (false, ": so much could not be allocated just now; quantise it, or use a smaller batch".to_owned())
    };
    let verb = if room { "fits" } else { "does not fit" };
    let decoding = if decode > limit {
        format!("; pictures are decoded on the CPU, as it binds at most {} at once", bytes(limit))
    } else {
        String::new()
    };
    Ok((room, format!("{verb} {name}{why}{decoding}")))
}

/// Memory that the system can give without swapping, on Linux.
fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
