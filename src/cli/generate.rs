//! `migm generate`: pictures of classes, and what each step cost.

use super::frames::{columns, write_frames};
use super::strip::strip;
use super::{Backend, CliError};
use crate::exec::Memory;
use crate::generate::GenerateError;
use crate::generate::model::{Device, Model};
use crate::generate::picture::{Picture, write_png, write_whole};
use crate::generate::predict::{MlCache, Predictor};
use crate::generate::refresh::Refresh;
use crate::generate::sampling::Sampling;
use crate::generate::schedule::Schedule;
use crate::generate::session::{self, PlannedStep, Session, Settings, Shape, StepKind};
use crate::generate::text::is_text_model;
use crate::kernels::{ChoiceNoise, Quantization};
use crate::models::Batch;
use crate::program::{Program, Tensor};
use pollster::block_on;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What to generate, with a text model; "" for anything
    #[arg(value_name = "PROMPT", conflicts_with = "classes")]
    pub(super) prompt: Option<String>,
    /// Class to generate, by name or number; repeat it for several, or say "all"
    #[arg(long = "class", value_name = "NAME|ID")]
    pub(super) classes: Vec<String>,
    /// Model folder, or the name of a bundled model (default: scenes-text for a prompt, scenes-class for classes)
    #[arg(long, value_name = "DIR|NAME", value_hint = clap::ValueHint::DirPath)]
    pub(super) model: Option<PathBuf>,
    /// Quantise matrices while loading: int8, int4 (groups of 64) or int4:32
    #[arg(long, value_name = "FORMAT")]
    pub(super) quantize: Option<Quantization>,
    /// Steps (default: the model's)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) steps: Option<u32>,
    /// Full steps in all, evenly spread: the refresh budget (default: an eighth of the steps; ml-cache has a plan of its own)
    #[arg(long, value_name = "B", conflicts_with = "refresh")]
    pub(super) budget: Option<u32>,
    /// Which steps run in full: every, uniform:B, list:0,3,7, or interval:SHARE,K (a share first, then every Kth)
    #[arg(long, value_name = "RULE")]
    pub(super) refresh: Option<Refresh>,
    /// What stands in for the full model at the other steps
    #[arg(long, value_enum, default_value = "shortcut")]
    pub(super) predictor: StandIn,
    /// ml-cache: share of rows that a partial step takes from the cache (default: 0.9)
    #[arg(long, value_name = "SHARE", value_parser = share)]
    cache_ratio: Option<f32>,
    /// ml-cache: share of steps that are full in the beginning (default: 0.3)
    #[arg(long, value_name = "SHARE", value_parser = share, conflicts_with_all = ["budget", "refresh"])]
    cache_warmup: Option<f32>,
    /// ml-cache: after them, one step in so many is full (default: 5)
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..), conflicts_with_all = ["budget", "refresh"])]
    cache_interval: Option<u32>,
    /// Seed of the first picture; the next ones count up from it
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
    /// Pictures of each class
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) count: u32,
    /// Guidance weight (default: the model's)
    #[arg(long, value_name = "W", allow_negative_numbers = true)]
    pub(super) guidance: Option<f32>,
    /// Unmasking schedule (default: the model's)
    #[arg(long, value_enum)]
    pub(super) schedule: Option<Schedule>,
    /// Temperature of the draw, and for text models of the choice where that has none of its own (default: the model's)
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    pub(super) temperature: Option<f32>,
    /// Round noise as the official code of Lumina-DiMOO does on CUDA
    #[arg(long)]
    pub(super) bf16_gumbel: bool,
    /// Temperature of the choice (default: the model's)
    #[arg(long, allow_negative_numbers = true)]
    pub(super) choice_temperature: Option<f32>,
    /// Inverse temperature of the draw (default: the model's)
    #[arg(long, allow_negative_numbers = true)]
    pub(super) softmax_temperature: Option<f32>,
    /// What the choice is made by (default: the model's)
    #[arg(long, value_enum)]
    pub(super) choice_noise: Option<ChoiceNoise>,
    /// Pictures computed at once (default: as many as fit in moderate memory, at most 8)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(super) batch: Option<u32>,
    /// A .png file (several pictures make a sheet) or a folder (a file each)
    #[arg(long, value_name = "FILE.png|DIR", value_hint = clap::ValueHint::AnyPath)]
    pub(super) out: Option<PathBuf>,
    /// Also write the pictures resolving step by step
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(super) gif: Option<PathBuf>,
    /// Also write times and tokens of every step
    #[arg(long, value_name = "FILE.json", value_hint = clap::ValueHint::FilePath)]
    pub(super) report: Option<PathBuf>,
    /// Do not run every step in full afterwards to measure the speed-up
    #[arg(long)]
    pub(super) no_compare: bool,
    /// Print the report as JSON instead of text
    #[arg(long)]
    pub(super) json: bool,
    /// Where to compute
    #[arg(long, value_enum, default_value_t)]
    pub(super) backend: Backend,
}

/// What stands in for the full model, for both kinds of models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum StandIn {
    /// The learned shortcut
    Shortcut,
    /// The last features as they are
    Reuse,
    /// Most rows from a cache, with a plan of full steps of its own
    MlCache,
}

fn share(text: &str) -> Result<f32, String> {
    let share = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("a share is between 0 and 1".to_owned()) }
}

/// The predictor and the full steps. Who names the full steps has them; otherwise the predictor's own plan holds.
fn acceleration(
    arguments: &Arguments,
    steps: u32,
    has_shortcut: bool,
) -> Result<(Predictor, Refresh), CliError> {
    let cache = [
        ("--cache-ratio", arguments.cache_ratio.is_some()),
        ("--cache-warmup", arguments.cache_warmup.is_some()),
        ("--cache-interval", arguments.cache_interval.is_some()),
    ];
    let predictor = match arguments.predictor {
        StandIn::Shortcut => Predictor::Shortcut,
        StandIn::Reuse => Predictor::Reuse,
        StandIn::MlCache => {
            let official = MlCache::OFFICIAL;
            Predictor::MlCache(MlCache { cache_ratio: arguments.cache_ratio.unwrap_or(official.cache_ratio) })
        }
    };
    if !matches!(predictor, Predictor::MlCache(_))
        && let Some((name, _)) = cache.iter().find(|(_, given)| *given)
    {
        let message = format!("{name} is a setting of ML-Cache; add --predictor ml-cache to use it");
        return Err(GenerateError::Setting(message).into());
    }
    let refresh = match (&arguments.refresh, arguments.budget) {
        (Some(refresh), _) => refresh.clone(),
        (None, Some(budget)) => Refresh::Uniform(budget),
        (None, None) if !has_shortcut && predictor == Predictor::Shortcut => Refresh::Every,
        (None, None) => match predictor.default_refresh(steps) {
            Refresh::Interval { warmup, interval } => Refresh::Interval {
                warmup: arguments.cache_warmup.unwrap_or(warmup),
                interval: arguments.cache_interval.unwrap_or(interval),
            },
            other => other,
        },
    };
    Ok((predictor, refresh))
}

/// One picture to make.
#[derive(Clone, Copy)]
struct Job {
    class: u32,
    seed: u64,
}

/// What a run of all batches gave.
#[derive(Default)]
struct Outcome {
    tokens: Vec<u32>,
    /// Wall-clock milliseconds of the step loops.
    loop_ms: f64,
    /// Milliseconds by step, the mean of all batches.
    step_ms: Vec<f64>,
    batches: usize,
    frames: Vec<Vec<Picture>>,
}

#[derive(serde::Serialize)]
struct StepReport {
    index: u32,
    kind: StepKind,
    milliseconds: f64,
    tokens_unmasked: u32,
    mask_ratio: f32,
}

/// Sums over all pictures.
#[derive(Default, serde::Serialize)]
pub(super) struct Totals {
    pub(super) images: usize,
    pub(super) batches: usize,
    pub(super) full_steps: usize,
    pub(super) predicted_steps: usize,
    pub(super) full_milliseconds: f64,
    pub(super) predicted_milliseconds: f64,
    pub(super) loop_milliseconds: f64,
    pub(super) decode_milliseconds: f64,
    pub(super) every_step_full_milliseconds: Option<f64>,
    pub(super) speed_up: Option<f64>,
    pub(super) token_agreement: Option<f64>,
}

#[derive(serde::Serialize)]
struct Report<'a> {
    model: &'a str,
    device: String,
    settings: &'a Settings,
    classes: Vec<String>,
    seeds: Vec<u64>,
    files: Vec<PathBuf>,
    /// Codes of each picture, row by row.
    tokens: Vec<&'a [u32]>,
    steps: Vec<StepReport>,
    totals: Totals,
    memory_bytes: Memory,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let is_text = arguments.model.as_deref().map(is_text_model).transpose()?;
    if let Some(prompt) = &arguments.prompt {
        if is_text == Some(false) {
            return Err(refused("the model is of classes and takes no prompt; name one with --class"));
        }
        return super::generate_text::run(arguments, prompt);
    }
    if is_text == Some(true) {
        return Err(refused("the model takes a prompt: migm generate \"PROMPT\" --model ..."));
    }
    if arguments.classes.is_empty() {
        return Err(refused("there is nothing to generate: give a prompt, or --class NAME"));
    }
    let model = super::open_model(arguments.model.as_ref())?.quantized(arguments.quantize);
    let jobs = jobs(arguments, &model)?;
    let settings = settings(arguments, model.config.sampling, model.config.shortcut.is_some())?;
    for path in [&arguments.out, &arguments.gif, &arguments.report].into_iter().flatten() {
        check_writable(path)?;
    }
    let (device, reason) = arguments.backend.open()?;
    let shape = shape(arguments, &model, &settings, &device, jobs.len())?;
    let started = Instant::now();
    let mut session = Session::new(&model, shape, &device)?;
    session.configure(&settings)?;
    let plan = session.plan().to_vec();
    let device_name = session.executor().describe();
    if !arguments.json {
        eprintln!(
            "{} on {device_name} ({reason}), ready in {:.1} s",
            model.name,
            started.elapsed().as_secs_f64()
        );
    }

    let outcome = run_all(&mut session, &settings, &jobs, arguments.gif.is_some(), arguments.json)?;
    let decoding = Instant::now();
    let size = model.config.image_size;
    let values = block_on(session.decode(&outcome.tokens))?;
    let pictures: Vec<Picture> = values
        .chunks_exact((size * size * 3) as usize)
        .map(|v| Picture::from_values(v, size, size))
        .collect();
    let decode_ms = decoding.elapsed().as_secs_f64() * 1e3;
    let mut files = write_pictures(arguments, &model, &settings, &jobs, &pictures)?;
    if let Some(path) = &arguments.gif {
        write_frames(path, &outcome.frames, &pictures)?;
        files.push(path.clone());
    }
    if !arguments.json {
        for file in &files {
            eprintln!("wrote {}", file.display());
        }
    }

    let accelerated = plan.iter().any(|step| step.kind == StepKind::Predicted);
    let compared = if accelerated && !arguments.no_compare {
        let every = Settings { refresh: Refresh::Every, ..settings.clone() };
        Some(run_all(&mut session, &every, &jobs, false, arguments.json)?)
    } else {
        None
    };
    let totals = totals(&plan, &outcome, compared.as_ref(), &jobs, decode_ms);
    let report = Report {
        model: &model.name,
        device: device_name,
        settings: &settings,
        classes: jobs.iter().map(|job| model.config.class_name(job.class)).collect(),
        seeds: jobs.iter().map(|job| job.seed).collect(),
        files,
        tokens: outcome.tokens.chunks_exact((model.config.transformer.grid.pow(2)) as usize).collect(),
        steps: plan
            .iter()
            .zip(&outcome.step_ms)
            .map(|(step, &milliseconds)| StepReport {
                index: step.values.step,
                kind: step.kind,
                milliseconds,
                tokens_unmasked: step.values.reveal,
                mask_ratio: step.values.mask_ratio,
            })
            .collect(),
        totals,
        memory_bytes: session.memory(),
    };
    let text = serde_json::to_string_pretty(&report).unwrap_or_default();
    if let Some(path) = &arguments.report {
        write_whole(path, text.as_bytes())?;
    }
    let mut out = std::io::stdout().lock();
    if arguments.json {
        writeln!(out, "{text}")?;
    } else {
        print_steps(&mut out, &plan, settings.predictor, &report.totals)?;
    }
    Ok(())
}

fn refused(message: &str) -> CliError {
    GenerateError::Setting(message.to_owned()).into()
}

/// Finds out before the work rather than after it that a file cannot go where it should.
pub(super) fn check_writable(path: &Path) -> Result<(), CliError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A folder for pictures may be several levels deep, and is made; a file's folder must be there.
    let made = path.extension().is_none();
    match std::fs::metadata(parent) {
        Ok(found) if found.is_dir() => Ok(()),
        Err(error) if made && error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => {
            let source =
                other.err().unwrap_or_else(|| std::io::Error::from(std::io::ErrorKind::NotADirectory));
            Err(GenerateError::File { path: path.display().to_string(), source }.into())
        }
    }
}

fn jobs(arguments: &Arguments, model: &Model) -> Result<Vec<Job>, CliError> {
    let mut classes = Vec::new();
    for class in &arguments.classes {
        if class == "all" {
            classes.extend(0..model.config.transformer.classes);
        } else {
            classes.push(model.config.class(class)?);
        }
    }
    let each = u64::from(arguments.count);
    Ok(classes
        .into_iter()
        .flat_map(|class| (0..each).map(move |i| Job { class, seed: arguments.seed.wrapping_add(i) }))
        .collect())
}

/// What the command line asks for, over the defaults of a model.
pub(super) fn settings(
    arguments: &Arguments,
    defaults: Sampling,
    has_shortcut: bool,
) -> Result<Settings, CliError> {
    let choice_temperature = arguments.choice_temperature.or(match defaults.choice_noise {
        // Where noise stays as it is, one temperature is of both, as in the official code.
        ChoiceNoise::Constant => arguments.temperature,
        _ => None,
    });
    let sampling = Sampling {
        steps: arguments.steps.unwrap_or(defaults.steps),
        schedule: arguments.schedule.unwrap_or(defaults.schedule),
        guidance: arguments.guidance.unwrap_or(defaults.guidance),
        draw_temperature: arguments.temperature.unwrap_or(defaults.draw_temperature),
        softmax_temperature: arguments.softmax_temperature.unwrap_or(defaults.softmax_temperature),
        choice_temperature: choice_temperature.unwrap_or(defaults.choice_temperature),
        choice_noise: arguments.choice_noise.unwrap_or(defaults.choice_noise),
        bf16_gumbel: arguments.bf16_gumbel || defaults.bf16_gumbel,
        ..defaults
    };
    let (predictor, refresh) = acceleration(arguments, sampling.steps, has_shortcut)?;
    Ok(Settings { sampling, refresh, predictor })
}

/// The batch, and the programs it needs.
fn shape(
    arguments: &Arguments,
    model: &Model,
    settings: &Settings,
    device: &Device,
    jobs: usize,
) -> Result<Shape, CliError> {
    let steps = settings.sampling.steps(model.config.transformer.grid.pow(2))?.len();
    let full = settings.refresh.full_steps(steps, settings.sampling.steps)?;
    let mut shape = Shape {
        batch: Batch { images: 1, guided: settings.sampling.guided() },
        predictor: full.contains(&false).then_some(settings.predictor),
        recorded_noise: false,
        decoder: true,
    };
    if let Some(batch) = arguments.batch {
        shape.batch.images = batch.min(jobs as u32);
        return Ok(shape);
    }
    shape.batch.images = largest_batch(jobs as u32, device, |images| {
        let shape = Shape { batch: Batch { images, ..shape.batch }, ..shape };
        Ok(session::programs(&model.config, shape, model.formats())?.list)
    })?;
    Ok(shape)
}

/// As many images at once as there are, as fit in moderate memory and in the device's bindings, and no more than eight.
pub(super) fn largest_batch(
    images: u32,
    device: &Device,
    programs: impl Fn(u32) -> Result<Vec<Program>, GenerateError>,
) -> Result<u32, CliError> {
    /// States and temporaries beyond this make the default batch smaller.
    const MODERATE: u64 = 1 << 30;
    let limit = match device {
        Device::Cpu => u64::MAX,
        Device::Gpu(gpu) => gpu.device.limits().max_storage_buffer_binding_size,
    };
    for images in (2..=8.min(images)).rev() {
        let programs = programs(images)?;
        let largest = programs.iter().flat_map(Program::tensors).map(Tensor::bytes).max();
        let planned = Memory::planned(&programs);
        if planned.states + planned.temporaries <= MODERATE && largest.unwrap_or(0) <= limit {
            return Ok(images);
        }
    }
    Ok(1)
}

/// Runs every job, a batch at a time; a short last batch is filled up with its last job.
fn run_all(
    session: &mut Session,
    settings: &Settings,
    jobs: &[Job],
    keep_frames: bool,
    quiet: bool,
) -> Result<Outcome, CliError> {
    let batch = session.shape().batch.images as usize;
    let tokens = (session.config().transformer.grid.pow(2)) as usize;
    let plan = session.configure(settings)?.to_vec();
    let mut outcome = Outcome { step_ms: vec![0.0; plan.len()], ..Outcome::default() };
    let total = (jobs.len().div_ceil(batch) * plan.len()) as u64;
    let bar = if quiet { indicatif::ProgressBar::hidden() } else { indicatif::ProgressBar::new(total) };
    bar.set_style(
        indicatif::ProgressStyle::with_template("{msg:>9} {wide_bar} step {pos}/{len} {eta}")
            .unwrap_or_else(|_| indicatif::ProgressStyle::default_bar()),
    );
    for chunk in jobs.chunks(batch) {
        let padded: Vec<Job> =
            chunk.iter().copied().chain(chunk.last().copied().into_iter().cycle()).take(batch).collect();
        let classes: Vec<Option<u32>> = padded.iter().map(|job| Some(job.class)).collect();
        let seeds: Vec<u64> = padded.iter().map(|job| job.seed).collect();
        session.configure(settings)?;
        session.start(&classes, &seeds)?;
        let mut frames = Vec::new();
        let mut spent = 0.0;
        let mut start = Instant::now();
        while let Some(step) = session.step()? {
            bar.set_message(match step.kind {
                StepKind::Full => "full".to_owned(),
                StepKind::Predicted => settings.predictor.to_string(),
            });
            bar.inc(1);
            if keep_frames {
                session.executor().wait().map_err(GenerateError::from)?;
                spent += start.elapsed().as_secs_f64() * 1e3;
                frames.push(frame(session, chunk.len())?);
                start = Instant::now();
            }
        }
        session.executor().wait().map_err(GenerateError::from)?;
        outcome.loop_ms += spent + start.elapsed().as_secs_f64() * 1e3;
        for (sum, ms) in outcome.step_ms.iter_mut().zip(block_on(session.step_times())?) {
            *sum += ms.unwrap_or(0.0);
        }
        outcome.tokens.extend_from_slice(&block_on(session.tokens())?[..chunk.len() * tokens]);
        outcome.frames.extend(transpose(frames, chunk.len()));
    }
    bar.finish_and_clear();
    outcome.batches = jobs.len().div_ceil(batch);
    for ms in &mut outcome.step_ms {
        *ms /= outcome.batches.max(1) as f64;
    }
    // Without timestamps the loop's time is shared out evenly: better than nothing, and the totals stay right.
    if outcome.step_ms.iter().all(|&ms| ms == 0.0) {
        let each = outcome.loop_ms / (outcome.batches * plan.len()).max(1) as f64;
        outcome.step_ms.fill(each);
    }
    Ok(outcome)
}

/// The present draws of each picture, masked cells veiled.
fn frame(session: &mut Session, count: usize) -> Result<Vec<Picture>, CliError> {
    let t = session.config().transformer;
    let size = session.config().image_size;
    let tokens = (t.grid * t.grid) as usize;
    let (drawn, ids) = (block_on(session.drawn())?, block_on(session.tokens())?);
    let values = block_on(session.decode(&drawn[..count * tokens]))?;
    Ok(values
        .chunks_exact((size * size * 3) as usize)
        .zip(ids.chunks_exact(tokens))
        .map(|(values, ids)| {
            let masked: Vec<bool> = ids.iter().map(|&id| id == t.mask_id()).collect();
            Picture::from_values(values, size, size).veiled(&masked, [t.grid; 2])
        })
        .collect())
}

/// Frames by step to frames by picture.
pub(super) fn transpose(frames: Vec<Vec<Picture>>, pictures: usize) -> Vec<Vec<Picture>> {
    let mut out: Vec<Vec<Picture>> = (0..pictures).map(|_| Vec::with_capacity(frames.len())).collect();
    for step in frames {
        for (picture, frame) in out.iter_mut().zip(step) {
            picture.push(frame);
        }
    }
    if out.iter().all(Vec::is_empty) { Vec::new() } else { out }
}

fn write_pictures(
    arguments: &Arguments,
    model: &Model,
    settings: &Settings,
    jobs: &[Job],
    pictures: &[Picture],
) -> Result<Vec<PathBuf>, CliError> {
    let texts = |jobs: &[Job]| {
        let classes: Vec<String> = jobs.iter().map(|job| model.config.class_name(job.class)).collect();
        let seeds: Vec<u64> = jobs.iter().map(|job| job.seed).collect();
        let all = serde_json::json!({
            "model": model.name, "quantize": model.quantization(), "classes": classes, "seeds": seeds,
            "settings": settings, "version": env!("CARGO_PKG_VERSION"),
        });
        [("Software", format!("migm {}", env!("CARGO_PKG_VERSION"))), ("migm", all.to_string())]
    };
    let name = |job: &Job| {
        let class: String = model
            .config
            .class_name(job.class)
            .chars()
            .map(|c| if c.is_alphanumeric() { c } else { '-' })
            .collect();
        format!("{class}-{}.png", job.seed)
    };
    let folder = arguments.out.as_ref().filter(|out| {
        out.is_dir() || !out.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png"))
    });
    if let Some(folder) = folder {
        std::fs::create_dir_all(folder)
            .map_err(|source| GenerateError::File { path: folder.display().to_string(), source })?;
        let mut files = Vec::with_capacity(jobs.len());
        for (job, picture) in jobs.iter().zip(pictures) {
            let path = folder.join(name(job));
            write_png(&path, picture, &texts(std::slice::from_ref(job)))?;
            files.push(path);
        }
        return Ok(files);
    }
    let default = if jobs.len() == 1 { name(&jobs[0]) } else { "migm.png".to_owned() };
    let path = arguments.out.clone().unwrap_or_else(|| PathBuf::from(default));
    write_png(&path, &Picture::sheet(pictures, columns(pictures.len())), &texts(jobs))?;
    Ok(vec![path])
}

fn totals(
    plan: &[PlannedStep],
    outcome: &Outcome,
    compared: Option<&Outcome>,
    jobs: &[Job],
    decode_ms: f64,
) -> Totals {
    let of_kind = |kind| plan.iter().zip(&outcome.step_ms).filter(move |(step, _)| step.kind == kind);
    let agreement = |other: &Outcome| {
        let equal = outcome.tokens.iter().zip(&other.tokens).filter(|(a, b)| a == b).count();
        equal as f64 / outcome.tokens.len().max(1) as f64
    };
    Totals {
        images: jobs.len(),
        full_steps: of_kind(StepKind::Full).count(),
        predicted_steps: of_kind(StepKind::Predicted).count(),
        batches: outcome.batches,
        full_milliseconds: of_kind(StepKind::Full).map(|(_, ms)| ms * outcome.batches as f64).sum(),
        predicted_milliseconds: of_kind(StepKind::Predicted).map(|(_, ms)| ms * outcome.batches as f64).sum(),
        loop_milliseconds: outcome.loop_ms,
        decode_milliseconds: decode_ms,
        every_step_full_milliseconds: compared.map(|other| other.loop_ms),
        speed_up: compared.map(|other| other.loop_ms / outcome.loop_ms),
        token_agreement: compared.map(agreement),
    }
}

/// The strip of steps, and what each kind cost.
pub(super) fn print_steps(
    out: &mut impl std::io::Write,
    plan: &[PlannedStep],
    predictor: Predictor,
    totals: &Totals,
) -> Result<(), CliError> {
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    writeln!(out, "steps     {}", strip(plan, colour))?;
    let each = |ms: f64, n: usize| if n == 0 { 0.0 } else { ms / (n * totals.batches) as f64 };
    let a_batch = if totals.batches == 1 { "" } else { " a batch" };
    writeln!(
        out,
        "full      {:>3} steps, {:.1} ms each{a_batch}",
        totals.full_steps,
        each(totals.full_milliseconds, totals.full_steps)
    )?;
    writeln!(
        out,
        "{:<9} {:>3} steps, {:.1} ms each{a_batch}",
        predictor.to_string(),
        totals.predicted_steps,
        each(totals.predicted_milliseconds, totals.predicted_steps)
    )?;
    writeln!(
        out,
        "in all    {:.1} ms for {} {}, and {:.1} ms to decode",
        totals.loop_milliseconds,
        totals.images,
        if totals.images == 1 { "picture" } else { "pictures" },
        totals.decode_milliseconds
    )?;
    if let (Some(ms), Some(speed_up), Some(agreement)) =
        (totals.every_step_full_milliseconds, totals.speed_up, totals.token_agreement)
    {
        writeln!(
            out,
            "measured  {ms:.1} ms with every step in full: {speed_up:.2}x faster, {:.1} % of tokens equal",
            100.0 * agreement
        )?;
    }
    Ok(())
}
