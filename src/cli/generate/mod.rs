//! `migm generate`: pictures of a prompt or of classes, and what each step cost.

mod files;
mod set;

use super::strip::strip;
use super::{CliError, Place};
use crate::generate::GenerateError;
use crate::generate::canvas::Canvas;
use crate::generate::engine::{Engine, Event, Job};
use crate::generate::model::Model;
use crate::generate::order::Order;
use crate::generate::pace::Adaptive;
use crate::generate::picture::{Pixels, write_whole};
use crate::generate::predict::{MlCache, Predictor};
use crate::generate::proof::Proof;
use crate::generate::recipe::Subject;
use crate::generate::refresh::Refresh;
use crate::generate::report::{Report, Subjects, Tally};
use crate::generate::sampling::{Reveal, Sampling};
use crate::generate::schedule::Schedule;
use crate::generate::session::{Session, Settings, StepKind};
use crate::kernels::{ChoiceNoise, Quantization};
use crate::models::Condition;
use crate::output;
use files::Files;
use pollster::block_on;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Instant;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What to generate, with a text model; "" for anything
    #[arg(value_name = "PROMPT", conflicts_with = "classes")]
    prompt: Option<String>,
    /// Pictures of every line of a file instead: a prompt (or class) a line, or as .jsonl objects with prompt (or class) and any of seed,
    /// budget, size and name. What is there from before is passed over
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, conflicts_with_all = ["prompt", "classes", "gif", "report", "json"])]
    prompts: Option<PathBuf>,
    /// Of --prompts: also a sheet of all pictures, each with its prompt; as SVG a page of A4 for print and PDF
    #[arg(long, value_name = "FILE.png|FILE.svg", value_hint = clap::ValueHint::FilePath, requires = "prompts")]
    sheet: Option<PathBuf>,
    /// Class to generate, by name or number; repeat it for several, or say "all"
    #[arg(long = "class", value_name = "NAME|ID")]
    classes: Vec<String>,
    /// Model folder, or the name of a bundled model (default: scenes-text for a prompt, scenes-class for classes)
    #[arg(long, value_name = "DIR|NAME", value_hint = clap::ValueHint::DirPath)]
    model: Option<PathBuf>,
    /// Quantise matrices while loading: int8, int4 (groups of 64) or int4:32
    #[arg(long, value_name = "FORMAT")]
    quantize: Option<Quantization>,
    /// Steps (default: the model's)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    steps: Option<u32>,
    /// Full steps in all, evenly spread: the refresh budget (default: an eighth of the steps, or the predictor's own plan)
    #[arg(long, value_name = "B", conflicts_with = "refresh")]
    budget: Option<u32>,
    /// Which steps run in full: every, uniform:B, optimal:B (see migm calibrate), adaptive:ERROR[,B], list:0,3,7, or interval:SHARE,K (a share first, then every Kth)
    #[arg(long, value_name = "RULE")]
    refresh: Option<Refresh>,
    /// Decide while the run goes on: a full step where the relative error of features is expected to exceed this; with --budget exactly so many
    #[arg(long, value_name = "ERROR", conflicts_with = "refresh")]
    target_error: Option<f32>,
    /// What stands in for the full model at the other steps
    #[arg(long, value_name = "NAME", value_parser = super::predictor, default_value = "shortcut")]
    predictor: Predictor,
    /// ml-cache: share of rows that a partial step takes from the cache (default: 0.9)
    #[arg(long, value_name = "SHARE", value_parser = share)]
    cache_ratio: Option<f32>,
    /// ml-cache: share of steps that are full in the beginning (default: 0.3)
    #[arg(long, value_name = "SHARE", value_parser = share, conflicts_with_all = ["budget", "refresh"])]
    cache_warmup: Option<f32>,
    /// ml-cache: after them, one step in so many is full (default: 5)
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..), conflicts_with_all = ["budget", "refresh"])]
    cache_interval: Option<u32>,
    /// What is there already, as a picture of migm edit says it: only what is masked is made
    #[arg(long, value_name = "CODES", conflicts_with = "prompts")]
    canvas: Option<Canvas>,
    /// Seed of the first picture; the next ones count up from it
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Pictures of the prompt, or of each class
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    count: u32,
    /// Guidance weight (default: the model's)
    #[arg(long, value_name = "W", allow_negative_numbers = true)]
    guidance: Option<f32>,
    /// Unmasking schedule (default: the model's)
    #[arg(long, value_enum)]
    schedule: Option<Schedule>,
    /// Temperature of the draw, and for text models of the choice where that has none of its own (default: the model's)
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    temperature: Option<f32>,
    /// Round noise as the official code of Lumina-DiMOO does on CUDA (default: as the model has it)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    bf16_gumbel: Option<bool>,
    /// Temperature of the choice (default: the model's)
    #[arg(long, allow_negative_numbers = true)]
    choice_temperature: Option<f32>,
    /// Inverse temperature of the draw (default: the model's)
    #[arg(long, allow_negative_numbers = true)]
    softmax_temperature: Option<f32>,
    /// What the choice is made by (default: the model's)
    #[arg(long, value_enum)]
    choice_noise: Option<ChoiceNoise>,
    /// How values become pixels: signed from -1 to 1, or minmax, each picture's own least and largest, as in the official evaluation of MaskGIT
    #[arg(long, value_enum, default_value_t)]
    pixels: Pixels,
    /// Which of the masked tokens a step takes (default: the model's)
    #[arg(long, value_enum)]
    order: Option<Order>,
    /// How far apart tokens of one step stand where they can, in cells; 0 leaves it to the order (default: the model's)
    #[arg(long, value_name = "CELLS", allow_negative_numbers = true)]
    spread: Option<f32>,
    /// How many tokens a step reveals: schedule, or more while it lasts by entropy:NATS (what they may know of each other) or certainty:PROBABILITY (default: the model's)
    #[arg(long, value_name = "RULE")]
    reveal: Option<Reveal>,
    /// Share of the known tokens that each full step masks again, those that it finds least likely (default: the model's)
    #[arg(long, value_name = "SHARE", value_parser = share)]
    corrector: Option<f32>,
    /// Mask ratios between which there is guidance, as LOW,HIGH (default: the model's)
    #[arg(long, value_name = "LOW,HIGH", value_parser = interval)]
    guidance_interval: Option<[f32; 2]>,
    /// Pictures computed at once (default: as many as fit in moderate memory, at most 8)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    batch: Option<u32>,
    /// A .png file (several pictures make a sheet) or a folder (a file each)
    #[arg(long, value_name = "FILE.png|DIR", value_hint = clap::ValueHint::AnyPath)]
    out: Option<PathBuf>,
    /// Also write the pictures resolving step by step
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    gif: Option<PathBuf>,
    /// Also write times and tokens of every step
    #[arg(long, value_name = "FILE.json", value_hint = clap::ValueHint::FilePath)]
    report: Option<PathBuf>,
    /// Do not run every step in full afterwards to measure the speed-up
    #[arg(long)]
    no_compare: bool,
    /// Print the report as JSON instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

pub(super) fn interval(text: &str) -> Result<[f32; 2], String> {
    let (low, high) = text.split_once(',').ok_or("an interval is two shares, as 0.2,0.8")?;
    Ok([share(low)?, share(high)?])
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
        Predictor::MlCache(MlCache { cache_ratio }) => {
            Predictor::MlCache(MlCache { cache_ratio: arguments.cache_ratio.unwrap_or(cache_ratio) })
        }
        other => other,
    };
    if !matches!(predictor, Predictor::MlCache(_))
        && let Some((name, _)) = cache.iter().find(|(_, given)| *given)
    {
        let message = format!("{name} is a setting of ML-Cache; add --predictor ml-cache to use it");
        return Err(GenerateError::Setting(message).into());
    }
    if let Some(target_error) = arguments.target_error {
        return Ok((predictor, Refresh::Adaptive(Adaptive { target_error, budget: arguments.budget })));
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

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let bundled = match arguments.prompt {
        Some(_) => Model::bundled_text,
        None => Model::bundled_class,
    };
    if let Some(file) = &arguments.prompts {
        let model = super::open_model(arguments.model.as_ref(), Model::bundled_text)?;
        return set::run(arguments, file, model.quantized(arguments.quantize));
    }
    if arguments.prompt.is_none() && arguments.classes.is_empty() && arguments.model.is_none() {
        return Err(refused("there is nothing to generate: give a prompt, or --class NAME"));
    }
    let model = super::open_model(arguments.model.as_ref(), bundled)?.quantized(arguments.quantize);
    let (subjects, seeds) = pictures(arguments, &model)?;
    let jobs: Vec<Job> = subjects
        .iter()
        .zip(&seeds)
        .map(|(subject, &seed)| job(&model, subject, seed, arguments.canvas.as_ref()))
        .collect::<Result<_, _>>()?;
    let settings = settings(arguments, model.config.sampling, model.family().has_shortcut())?;
    let settings = model.resolve(settings)?;
    let tokens = model.family().tokens();
    let masked = arguments.canvas.as_ref().map_or(tokens, Canvas::masked);
    let plan = settings.plan_on(tokens, masked)?;
    let mut files = Files::new(arguments, &model, &settings, &subjects, &seeds);
    output::check(&files.outputs())?;
    let (device, reason) = arguments.place.open()?;
    let (name, quantize) = (model.name.clone(), model.formats().quantize);
    let mut engine = Engine::of(model, device);
    if !arguments.json {
        say!("{name} on {} ({reason})", engine.describe());
    }

    let mut tally = Tally::new(jobs.len());
    let compares = plan.iter().any(|step| step.kind == StepKind::Predicted) && !arguments.no_compare;
    let at_once = match arguments.batch {
        Some(batch) => batch.min(jobs.len() as u32),
        None => engine.largest_batch(&settings, &jobs)?,
    };
    if let (true, Some(job)) = (compares, jobs.first()) {
        // What comes second must not be faster for that.
        block_on(engine.warm_up(job, &settings, None, at_once))?;
    }
    let mut run = engine.run(jobs.clone(), &settings, None, Some(at_once))?;
    let bar = progress(arguments.json, (run.batches_left() * plan.len()) as u64);
    let (mut decode_ms, mut frames) = (0.0, Vec::new());
    while let Some(event) = block_on(run.next())? {
        match event {
            Event::Began(_) => frames.clear(),
            Event::Stepped(step) => {
                bar.set_message(kind_in_words(step.kind, settings.predictor));
                bar.inc(1);
                if arguments.gif.is_some() {
                    frames.push(block_on(run.preview())?);
                }
            }
            Event::Finished(batch) => {
                tally.add(&batch);
                let session = run.session()?;
                let start = Instant::now();
                let pictures = block_on(session.pictures(&batch.codes, arguments.pixels))?;
                decode_ms += start.elapsed().as_secs_f64() * 1e3;
                if tally.is_first() && session.decodes_on_the_cpu() && !arguments.json {
                    say!(
                        "note: this adapter binds too little at once for pictures of this size: the CPU decodes them"
                    );
                }
                let decided = settings.decided(&batch.plan);
                bar.suspend(|| files.take(&batch, pictures, &frames, &decided))?;
            }
        }
    }
    bar.finish_and_clear();
    files.finish()?;
    let files = files.written;

    let vanilla = if compares {
        let mut vanilla = Tally::new(jobs.len());
        let mut run = engine.run(jobs, &settings.vanilla(), None, Some(at_once))?;
        let bar = progress(arguments.json, (run.batches_left() * plan.len()) as u64);
        while let Some(event) = block_on(run.next())? {
            match event {
                Event::Finished(batch) => vanilla.add(&batch),
                Event::Stepped(_) => {
                    bar.set_message("to compare");
                    bar.inc(1);
                }
                Event::Began(_) => {}
            }
        }
        bar.finish_and_clear();
        Some(vanilla)
    } else {
        None
    };
    let report = Report {
        model: name,
        device: engine.present().map(Session::describe)?,
        quantize,
        decided: tally.decided(&settings),
        settings,
        subjects: Subjects::of(&subjects),
        seeds,
        files,
        steps: tally.steps(),
        totals: tally.totals(vanilla.as_ref(), decode_ms),
        fingerprint: Proof::of(&tally.tokens.concat()),
        tokens: tally.tokens,
        memory_bytes: engine.memory(),
    };
    let text = serde_json::to_string_pretty(&report).unwrap_or_default();
    if let Some(path) = &arguments.report {
        write_whole(path, text.as_bytes())?;
    }
    let mut out = std::io::stdout().lock();
    if arguments.json {
        writeln!(out, "{text}")?;
        return Ok(());
    }
    if let (Some(first), Some(last)) = (report.seeds.first(), report.seeds.last()) {
        let others = if first == last { String::new() } else { format!(" to {last}") };
        writeln!(out, "seed      {first}{others}")?;
        writeln!(out, "tokens    {}", report.fingerprint)?;
    }
    print_steps(&mut out, &report)
}

fn refused(message: &str) -> CliError {
    GenerateError::Setting(message.to_owned()).into()
}

fn job(model: &Model, subject: &Subject, seed: u64, canvas: Option<&Canvas>) -> Result<Job, GenerateError> {
    Ok(Job { canvas: canvas.cloned(), ..Job::new(model.condition(subject)?, seed) })
}

/// Subjects, named as the model names them, and seeds.
fn pictures(arguments: &Arguments, model: &Model) -> Result<(Vec<Subject>, Vec<u64>), CliError> {
    let mut subjects = Vec::new();
    if let Some(prompt) = &arguments.prompt {
        let subject = Subject::Prompt(prompt.clone());
        // Refused with a sentence where the model takes none, or it is too long.
        model.condition(&subject)?;
        note_unknown_words(model, prompt);
        subjects.push(subject);
    }
    for class in &arguments.classes {
        match model.classes() {
            Some(classes) if class == "all" => {
                subjects.extend((0..classes.transformer.classes).map(|class| named(model, class)));
            }
            // Refused with a sentence where the model takes none.
            _ => match model.condition(&Subject::Class(class.clone()))? {
                Condition::Class(Some(class)) => subjects.push(named(model, class)),
                _ => subjects.push(Subject::Class(class.clone())),
            },
        }
    }
    if subjects.is_empty() {
        return Err(refused(match model.classes() {
            Some(_) => "the model is of classes: name one with --class",
            None => "the model takes a prompt: migm generate \"PROMPT\" --model ...",
        }));
    }
    let each = u64::from(arguments.count);
    let seeds = (0..each).map(|i| arguments.seed.wrapping_add(i));
    let seeds: Vec<u64> = seeds.cycle().take(subjects.len() * each as usize).collect();
    let repeated = subjects.into_iter().flat_map(|subject| std::iter::repeat_n(subject, each as usize));
    Ok((repeated.collect(), seeds))
}

/// A class by its name.
fn named(model: &Model, class: u32) -> Subject {
    let label = model.classes().and_then(|classes| classes.labels.get(class as usize));
    Subject::Class(label.cloned().unwrap_or_else(|| class.to_string()))
}

/// Says which words of a prompt the model has never seen.
pub(super) fn note_unknown_words(model: &Model, prompt: &str) {
    for unknown in model.unknown_words(prompt) {
        say!("note: {unknown}");
    }
}

/// What the command line asks for, over the defaults of a model.
fn settings(arguments: &Arguments, defaults: Sampling, has_shortcut: bool) -> Result<Settings, CliError> {
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
        order: arguments.order.unwrap_or(defaults.order),
        spread: arguments.spread.unwrap_or(defaults.spread),
        reveal: arguments.reveal.unwrap_or(defaults.reveal),
        corrector: arguments.corrector.unwrap_or(defaults.corrector),
        guidance_interval: arguments.guidance_interval.unwrap_or(defaults.guidance_interval),
        bf16_gumbel: arguments.bf16_gumbel.unwrap_or(defaults.bf16_gumbel),
        ..defaults
    };
    let (predictor, refresh) = acceleration(arguments, sampling.steps, has_shortcut)?;
    Ok(Settings { sampling, refresh, predictor })
}

/// A bar over so much to do, on a terminal.
pub(super) fn progress(quiet: bool, steps: u64) -> indicatif::ProgressBar {
    let bar = if quiet { indicatif::ProgressBar::hidden() } else { indicatif::ProgressBar::new(steps) };
    bar.set_style(
        indicatif::ProgressStyle::with_template("{msg:>10} {wide_bar} {pos}/{len} {eta}")
            .unwrap_or_else(|_| indicatif::ProgressStyle::default_bar()),
    );
    bar
}

fn kind_in_words(kind: StepKind, predictor: Predictor) -> &'static str {
    match kind {
        StepKind::Full => "full",
        StepKind::Predicted => predictor.name(),
    }
}

/// The strip of steps, and what each kind cost.
fn print_steps(out: &mut impl std::io::Write, report: &Report) -> Result<(), CliError> {
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let (totals, predictor) = (&report.totals, report.settings.predictor);
    writeln!(out, "steps     {}", strip(report.steps.iter().map(|step| step.kind), colour))?;
    if let Some(first) = report.decided.first() {
        let of = if report.decided.len() > 1 { ", the first picture" } else { "" };
        writeln!(out, "decided   {first}{of}")?;
    }
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
