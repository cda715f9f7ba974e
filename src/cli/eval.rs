//! `migm eval`: do pictures show what was asked for, and at what price? Tables, and a plot against time.

use super::generate::StandIn;
use super::{Backend, CliError};
use crate::eval::scenes_eval::diversity::{Size, measure};
use crate::eval::scenes_eval::judge::{ATTRIBUTES, Judge};
use crate::eval::scenes_eval::makers::{Classes, Maker, Prompts};
use crate::eval::scenes_eval::plot::Plot;
use crate::eval::scenes_eval::source::{self, Split};
use crate::eval::scenes_eval::{Plan, Real, Report, evaluate, table};
use crate::generate::GenerateError;
use crate::generate::model::{Device, Model};
use crate::generate::picture::{write_png, write_whole};
use crate::generate::predict::{MlCache, Predictor};
use crate::generate::text::is_text_model;
use crate::kernels::Quantization;
use crate::output::{self, Format, Output};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Enlargement of the plot as PNG, for screens of many dots.
const PNG_FACTOR: u32 = 2;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Model folder, or the name of a bundled model (default: scenes-text)
    #[arg(long, value_name = "DIR|NAME", value_hint = clap::ValueHint::DirPath)]
    model: Option<PathBuf>,
    /// The judge's folder (default: the bundled judge)
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    judge: Option<PathBuf>,
    /// Quantise matrices while loading: int8, int4 (groups of 64) or int4:32
    #[arg(long, value_name = "FORMAT")]
    quantize: Option<Quantization>,
    /// Steps of vanilla at its best (default: the model's)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    steps: Option<u32>,
    /// Numbers of full steps (default: a quarter, a sixth and an eighth of the steps)
    #[arg(long, value_name = "B", value_delimiter = ',')]
    budgets: Vec<u32>,
    /// What stands in for the full model at the other steps; repeat it for several (default: shortcut, if there is one, and
    /// reuse)
    #[arg(long = "predictor", value_enum)]
    predictors: Vec<StandIn>,
    /// Pictures of each method
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    count: u32,
    /// Which prompts
    #[arg(long, value_enum, default_value_t)]
    split: Split,
    /// Seed of the prompts and of the first picture
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Pictures of a class model computed at once
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024))]
    batch: u32,
    /// Also measure how much pictures of one prompt differ, on prompts that leave colour, place and light open; takes many more
    /// pictures
    #[arg(long)]
    diversity: bool,
    /// Prompts, or classes, of --diversity
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    diversity_prompts: u32,
    /// Pictures of each prompt of --diversity, by each method
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    diversity_seeds: u32,
    /// Also write the findings as JSON, and the table beside it as CSV
    #[arg(long, value_name = "FILE.json", value_hint = clap::ValueHint::FilePath)]
    report: Option<PathBuf>,
    /// Also plot how many are all right against time; repeat it for both kinds
    #[arg(long = "plot", value_name = "FILE.svg|FILE.png", value_hint = clap::ValueHint::FilePath)]
    plots: Vec<PathBuf>,
    /// Where to compute
    #[arg(long, value_enum, default_value_t)]
    backend: Backend,
}

fn refused(message: String) -> CliError {
    GenerateError::Setting(message).into()
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    output::check(&outputs(arguments))?;
    let (device, reason) = arguments.backend.open()?;
    let mut judge = Judge::open(arguments.judge.as_deref(), &device)?;
    let text = arguments.model.as_deref().map_or(Ok(true), is_text_model)?;
    let found = if text {
        prompts(arguments, &mut judge, &device)?
    } else {
        classes(arguments, &mut judge, &device)?
    };
    let Found { model, plan, report } = found;
    let device = describe(&device);
    say!("{model} on {device} ({reason}), judged by {}", judge.name);

    let json = serde_json::json!({
        "model": model, "judge": judge.name, "device": device, "split": arguments.split, "seed": arguments.seed,
        "steps": plan.steps, "budgets": plan.budgets, "attributes": ATTRIBUTES, "findings": report, "version": env!("CARGO_PKG_VERSION"),
    });
    if let Some(path) = &arguments.report {
        write_whole(path, serde_json::to_string_pretty(&json).unwrap_or_default().as_bytes())?;
    }
    if let Some(path) = table_beside(arguments) {
        write_whole(&path, table::csv(&report).as_bytes())?;
    }
    let subtitle = format!(
        "{} pictures of each method, {} combinations, on {device}",
        report.pictures,
        split(arguments)
    );
    let plot = Plot::new(&report, &format!("{model}: what a refresh budget costs"), &subtitle);
    for path in &arguments.plots {
        if has_extension(path, "svg") {
            write_whole(path, plot.to_svg().as_bytes())?;
        } else {
            write_png(path, &plot.to_picture(PNG_FACTOR), &[("migm", json.to_string())])?;
        }
        say!("wrote {}", path.display());
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{model} on {device}, {} combinations, seed {}:\n", split(arguments), arguments.seed)?;
    write!(out, "{}", table::markdown(&report))?;
    Ok(())
}

fn outputs(arguments: &Arguments) -> Vec<Output> {
    let report = arguments.report.iter().map(|path| Output::file("--report", path, Format::Json));
    let table = table_beside(arguments);
    let table = table.iter().map(|path| Output::file("the table beside --report,", path, Format::Csv));
    let plots =
        arguments.plots.iter().map(|path| Output::one_of("--plot", path, &[Format::Svg, Format::Png]));
    report.chain(table).chain(plots).collect()
}

/// Where the table goes; beside what is no regular file, nothing can be.
fn table_beside(arguments: &Arguments) -> Option<PathBuf> {
    let report = arguments.report.as_ref()?;
    let is_stream = Output::file("--report", report, Format::Json).is_stream();
    (!is_stream).then(|| report.with_extension("csv"))
}

fn split(arguments: &Arguments) -> &'static str {
    match arguments.split {
        Split::Seen => "seen",
        Split::HeldOut => "held-out",
    }
}

fn has_extension(path: &Path, wanted: &str) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(wanted))
}

fn describe(device: &Device) -> String {
    match device {
        Device::Cpu => format!("CPU, {} threads", rayon::current_num_threads()),
        Device::Gpu(gpu) => gpu.info.name.clone(),
    }
}

/// What a kind of model gave.
struct Found {
    model: String,
    plan: Plan,
    report: Report,
}

fn plan(arguments: &Arguments, steps: u32, has_shortcut: bool) -> Result<Plan, CliError> {
    let steps = arguments.steps.unwrap_or(steps);
    let mut predictors = Vec::new();
    for &predictor in &arguments.predictors {
        let predictor = match predictor {
            StandIn::Shortcut => Predictor::Shortcut,
            StandIn::Reuse => Predictor::Reuse,
            StandIn::MlCache => Predictor::MlCache(MlCache::OFFICIAL),
        };
        if !predictors.contains(&predictor) {
            predictors.push(predictor);
        }
    }
    if predictors.is_empty() {
        predictors.extend(has_shortcut.then_some(Predictor::Shortcut));
        predictors.push(Predictor::Reuse);
    }
    if predictors.contains(&Predictor::Shortcut) && !has_shortcut {
        return Err(refused("the model has no shortcut; use --predictor reuse or ml-cache".to_owned()));
    }
    let budgets = match arguments.budgets.as_slice() {
        [] => Plan::default_budgets(steps),
        budgets => budgets.to_vec(),
    };
    let plan = Plan { steps, budgets, predictors };
    // Before anything is loaded or made.
    plan.methods()?;
    Ok(plan)
}

fn classes(arguments: &Arguments, judge: &mut Judge, device: &Device) -> Result<Found, CliError> {
    if arguments.split == Split::HeldOut {
        let message = "class models are asked for one object, which is never held out; leave --split out";
        return Err(refused(message.to_owned()));
    }
    let model = super::open_model(arguments.model.as_ref())?.quantized(arguments.quantize);
    let plan = plan(arguments, model.config.sampling.steps, model.config.shortcut.is_some())?;
    let count = arguments.count as usize;
    let pictures = source::class_pictures(&model.config, &judge.config, count)?;
    let real = match source::source_for(&judge.config)? {
        Some(source) => {
            let count = u64::from(arguments.count);
            source::real_scenes(source.as_ref(), arguments.seed, arguments.split, count, true)?
        }
        None => Real::default(),
    };
    let Model { name, .. } = &model;
    let mut maker = Classes::new(&model, device, pictures, arguments.seed, arguments.batch);
    let mut report = with_progress(|tick| evaluate(&mut maker, judge, &real, &plan, tick))?;
    if arguments.diversity {
        let size = diversity_size(arguments);
        let known = source::known_classes(&model.config, &judge.config)?;
        let known: Vec<(u32, usize)> =
            size.spread(known.len()).into_iter().map(|index| known[index]).collect();
        let of = |&(class, noun): &(u32, usize)| {
            std::iter::repeat_n((class, source::Wanted::noun(noun)), size.seeds)
        };
        let pictures = known.iter().flat_map(of).collect();
        let nouns: Vec<usize> = known.iter().map(|&(_, noun)| noun).collect();
        let mut maker = Classes::new(&model, device, pictures, arguments.seed, arguments.batch);
        diversity(&mut report, &mut maker, judge, &plan, arguments, &nouns)?;
    }
    Ok(Found { model: name.clone(), plan, report })
}

fn prompts(arguments: &Arguments, judge: &mut Judge, device: &Device) -> Result<Found, CliError> {
    let model = super::open_text_model(arguments.model.as_ref())?.quantized(arguments.quantize);
    let plan = plan(arguments, model.config.sampling.steps, model.config.shortcut.is_some())?;
    let Some(source) = source::source_for(&judge.config)? else {
        let message = "prompts are captions of scenes, and no scenes are composed of this judge's words; use another judge";
        return Err(refused(message.to_owned()));
    };
    let count = u64::from(arguments.count);
    let real = source::real_scenes(source.as_ref(), arguments.seed, arguments.split, count, false)?;
    let pictures = real.asked.iter().map(|scene| (scene.caption.clone(), scene.wanted.clone())).collect();
    let mut maker = Prompts::new(&model, device, pictures, arguments.seed)?;
    let mut report = with_progress(|tick| evaluate(&mut maker, judge, &real, &plan, tick))?;
    if arguments.diversity {
        let size = diversity_size(arguments);
        let nouns = size.spread(judge.config.nouns.len());
        let of = |&noun: &usize| {
            std::iter::repeat_n((source::open_prompt(noun), source::Wanted::noun(noun)), size.seeds)
        };
        let mut maker = Prompts::new(&model, device, nouns.iter().flat_map(of).collect(), arguments.seed)?;
        diversity(&mut report, &mut maker, judge, &plan, arguments, &nouns)?;
    }
    Ok(Found { model: model.name.clone(), plan, report })
}

fn diversity_size(arguments: &Arguments) -> Size {
    Size { prompts: arguments.diversity_prompts as usize, seeds: arguments.diversity_seeds as usize }
}

/// Says what it will take, and measures.
fn diversity(
    report: &mut Report,
    maker: &mut dyn Maker,
    judge: &mut Judge,
    plan: &Plan,
    arguments: &Arguments,
    nouns: &[usize],
) -> Result<(), CliError> {
    let seeds = arguments.diversity_seeds as usize;
    let count = nouns.len() * seeds;
    let seconds = report.rows.iter().map(|row| row.seconds_per_image + row.decode_seconds_per_image);
    let minutes = seconds.sum::<f64>() * count as f64 / 60.0;
    let methods = report.rows.len();
    say!("diversity takes {count} pictures by each of {methods} methods: about {minutes:.0} minutes");
    let source = source::source_for(&judge.config)?;
    let source = source.as_deref().map(|source| (source, arguments.seed));
    with_progress(|tick| measure(report, maker, judge, plan, source, (nouns, seeds), tick))
}

/// Runs something long that tells of what it does: of nothing in particular by an empty name.
fn with_progress<T>(
    run: impl FnOnce(&mut dyn FnMut(&str)) -> Result<T, GenerateError>,
) -> Result<T, CliError> {
    let bar = indicatif::ProgressBar::new_spinner();
    bar.set_style(
        indicatif::ProgressStyle::with_template("{spinner} {msg} {pos} {elapsed}")
            .unwrap_or_else(|_| indicatif::ProgressStyle::default_spinner()),
    );
    let found = run(&mut |what| {
        if what.is_empty() {
            bar.inc(1);
        } else {
            bar.set_message(what.to_owned());
        }
    })?;
    bar.finish_and_clear();
    Ok(found)
}
