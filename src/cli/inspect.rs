//! `migm inspect DIR|FILE`: tensors of a file; of a folder, its parts, the memory it needs, and whether that fits.

use super::described::{ClassModel, Described, Formats, Kind, TextDescription};
use super::generate::StandIn;
use super::{Backend, CliError, bytes};
use crate::eval::bench::PROMPT_TOKENS;
use crate::exec::Memory;
use crate::generate::model::{self, Device};
use crate::generate::predict::{MlCache, Predictor};
use crate::generate::session::{self, Shape};
use crate::generate::{GenerateError, dimoo, text};
use crate::kernels::{Quantization, StepValues, WeightFormat};
use crate::models::{self, Batch, parameters};
use crate::program::{Program, Tensor, WeightSpec};
use crate::weights::Checkpoint;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A model folder, a weights file, or a published model by name, not fetched yet: maskgit-512, maskgit-256,
    /// lumina-dimoo (default: scenes-class)
    #[arg(value_hint = clap::ValueHint::AnyPath)]
    path: Option<PathBuf>,
    /// Images at once, for the memory plan
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    batch: u32,
    /// Quantise matrices while loading: int8, int4 (groups of 64) or int4:32
    #[arg(long, value_name = "FORMAT")]
    quantize: Option<Quantization>,
    /// What stands in for the full model, for the memory plan (default: the shortcut, if there is one)
    #[arg(long, value_enum)]
    predictor: Option<StandIn>,
    /// Plan for another number of transformer layers
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
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

impl Arguments {
    fn predictor(&self, has_shortcut: bool) -> Option<Predictor> {
        match self.predictor {
            None => has_shortcut.then_some(Predictor::Shortcut),
            Some(StandIn::Shortcut) => Some(Predictor::Shortcut),
            Some(StandIn::Reuse) => Some(Predictor::Reuse),
            Some(StandIn::MlCache) => Some(Predictor::MlCache(MlCache::OFFICIAL)),
        }
    }
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

/// A model as far as its configuration tells: what is printed, and the programs that memory is planned for.
struct Outline {
    name: String,
    /// One line on sizes.
    sizes: String,
    config: serde_json::Value,
    formats: Formats,
    /// Part, tensors, parameters.
    parts: Vec<(&'static str, usize, u64)>,
    /// What the plan is for, in words.
    run: String,
    /// A step in the middle of a run.
    step: StepValues,
    /// Whether pictures can be decoded elsewhere than on the device of the steps.
    decodes_elsewhere: bool,
    programs: Box<ProgramsIn>,
}

/// The programs with weights in a format.
type ProgramsIn = dyn Fn(fn(&WeightSpec) -> WeightFormat) -> Result<Vec<Program>, GenerateError>;

type Tensors = Result<Vec<(String, Vec<usize>)>, GenerateError>;

fn parts<const N: usize>(
    names: [&'static str; N],
    tensors: impl Fn(&str) -> Tensors,
) -> Result<Vec<(&'static str, usize, u64)>, CliError> {
    let mut parts = Vec::new();
    for part in names {
        let tensors = tensors(part)?;
        if !tensors.is_empty() {
            parts.push((part, tensors.len(), parameters(&tensors)));
        }
    }
    Ok(parts)
}

fn in_words(predictor: Option<Predictor>) -> &'static str {
    match predictor {
        None => "vanilla",
        Some(Predictor::Reuse) => "feature reuse",
        Some(Predictor::Shortcut) => "shortcut",
        Some(Predictor::MlCache(_)) => "ML-Cache",
    }
}

impl Outline {
    fn of_classes(model: ClassModel, arguments: &Arguments) -> Result<Self, CliError> {
        if arguments.grid.is_some() {
            let message = "--grid is for text models; a class model's grid is a size of its weights";
            return Err(GenerateError::Setting(message.to_owned()).into());
        }
        let mut config = model.config;
        config.transformer.depth = arguments.layers.unwrap_or(config.transformer.depth);
        let t = config.transformer;
        let predictor = arguments.predictor(config.shortcut.is_some());
        let batch = Batch { images: arguments.batch, guided: config.sampling.guided() };
        let shape = Shape { batch, predictor, recorded_noise: false, decoder: true };
        let guided = if batch.guided { "guided, " } else { "" };
        let steps = config.sampling.steps(t.grid * t.grid)?;
        Ok(Self {
            name: model.name,
            sizes: format!(
                "{} px, {} x {} tokens of {} codes, {} classes",
                config.image_size, t.grid, t.grid, t.codebook, t.classes
            ),
            config: serde_json::json!(config),
            formats: model.formats,
            parts: parts(["maskgit", config.tokenizer.part(), "shortcut"], |part| {
                model::part_tensors(&config, part)
            })?,
            run: format!("a batch of {}, {guided}{}", arguments.batch, in_words(predictor)),
            step: steps.get(1).or(steps.first()).copied().unwrap_or_default(),
            decodes_elsewhere: false,
            programs: Box::new(move |formats| Ok(session::programs(&config, shape, formats)?.list)),
        })
    }

    fn of_text(model: TextDescription, arguments: &Arguments) -> Result<Self, CliError> {
        let mut config = model.config;
        let t = &mut config.transformer;
        t.layers = arguments.layers.unwrap_or(t.layers);
        t.grid = arguments.grid.unwrap_or(t.grid);
        let ([rows, columns], factor) = (t.grid, config.tokenizer.factor());
        let predictor = arguments.predictor(config.shortcut.is_some());
        let guided = config.sampling.guidance != 0.0;
        let lengths = &PROMPT_TOKENS[..if guided { 2 } else { 1 }];
        let run = text::sequences(&config, lengths, arguments.batch);
        let sequences: Vec<String> = run.sequences.iter().map(|s| s.length.to_string()).collect();
        let steps = config.sampling.steps(rows * columns)?;
        Ok(Self {
            name: model.name,
            sizes: format!(
                "{} x {} px, {rows} x {columns} tokens of {} codes",
                rows * factor,
                columns * factor,
                config.transformer.codebook
            ),
            config: serde_json::json!(config),
            formats: model.formats,
            parts: parts(["dimoo", "vq", "shortcut"], |part| text::part_tensors(&config, part))?,
            run: format!(
                "a batch of {}, {}, prompts of {} tokens: sequences of {}",
                arguments.batch,
                in_words(predictor),
                PROMPT_TOKENS[0],
                sequences.join(" and ")
            ),
            step: steps.get(1).or(steps.first()).copied().unwrap_or_default(),
            decodes_elsewhere: true,
            programs: Box::new(move |formats| {
                let mut programs = dimoo::programs(&run, predictor, config.shortcut, false, formats)?.list;
                programs.push(text::decoder(&config, formats)?);
                Ok(programs)
            }),
        })
    }
}

/// The largest binding of some programs.
fn largest<'a>(programs: impl Iterator<Item = &'a Program>) -> u64 {
    programs.flat_map(Program::tensors).map(Tensor::bytes).max().unwrap_or(0)
}

fn folder(path: Option<&PathBuf>, arguments: &Arguments) -> Result<(), CliError> {
    let outline = match Described::find(path, None, Kind::Classes)? {
        Described::Classes(model) => Outline::of_classes(*model, arguments)?,
        Described::Text(model) => Outline::of_text(*model, arguments)?,
    };
    let formats = outline.formats.quantized(arguments.quantize);
    let programs = (outline.programs)(formats.choice())?;
    let mut out = std::io::stdout().lock();
    if let Some(name) = &arguments.program {
        let Some(program) = programs.iter().find(|program| program.name == *name) else {
            let names: Vec<&str> = programs.iter().map(|program| program.name.as_str()).collect();
            let message = format!("there is no program {name:?}; there are {}", names.join(", "));
            return Err(GenerateError::Setting(message).into());
        };
        let text = if arguments.graphviz { program.to_graphviz() } else { program.to_text(&outline.step) };
        write!(out, "{text}")?;
        return Ok(());
    }
    let memory = Memory::planned(&programs);
    let mut by_format = Vec::new();
    for (name, half, quantize) in super::FORMATS {
        by_format.push((name, Memory::planned(&(outline.programs)(models::formats(half, quantize))?)));
    }
    let (device, _) = Backend::Auto.open()?;
    let (of_steps, of_decode): (Vec<&Program>, Vec<&Program>) =
        programs.iter().partition(|program| program.name != "decode");
    let bindings = [largest(of_steps.into_iter()), largest(of_decode.into_iter())];
    let fit = fits(&device, memory, by_format[0].1.weights, bindings, outline.decodes_elsewhere)?;
    if arguments.json {
        let parts: Vec<_> = outline
            .parts
            .iter()
            .map(
                |(part, tensors, n)| serde_json::json!({ "part": part, "tensors": tensors, "parameters": n }),
            )
            .collect();
        let report = serde_json::json!({
            "model": outline.name, "config": outline.config, "parts": parts, "batch": arguments.batch,
            "planned_for": outline.run, "memory_bytes": memory,
            "weight_bytes": by_format.iter().map(|(name, m)| (*name, m.weights)).collect::<BTreeMap<_, _>>(),
            "largest_binding_bytes": { "steps": bindings[0], "decode": bindings[1] },
            "fits": fit.0, "why": fit.1,
        });
        writeln!(out, "{}", serde_json::to_string_pretty(&report).unwrap_or_default())?;
        return Ok(());
    }
    writeln!(out, "{}: {}", outline.name, outline.sizes)?;
    for (part, tensors, parameters) in &outline.parts {
        writeln!(out, "  {part:<9} {tensors:>4} tensors {parameters:>12} parameters")?;
    }
    writeln!(out, "memory for {}:", outline.run)?;
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
    decodes_elsewhere: bool,
) -> Result<(bool, String), CliError> {
    let within = |needed: u64| match available_memory() {
        None => (true, String::new()),
        Some(free) if needed <= free => (true, format!(", and {} of memory are free", bytes(free))),
        Some(free) => (false, format!(", and only {} of memory are free", bytes(free))),
    };
    let gpu = match device {
        Device::Gpu(gpu) => gpu,
        Device::Cpu => {
            let needed = memory.total() - memory.weights + wide_weights;
            let (fits, free) = within(needed);
            let verb = if fits { "fits" } else { "does not fit" };
            let sentence = format!("{verb} the CPU: weights are f32 there, {} in all{free}", bytes(needed));
            return Ok((fits, sentence));
        }
    };
    let (name, limit) = (&gpu.info.name, gpu.largest_binding());
    if steps > limit || (decode > limit && !decodes_elsewhere) {
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
