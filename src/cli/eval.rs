//! `migm eval`: do pictures show what was asked for, and at what price? Tables, and a plot against time or operations.

use super::{CliError, Place};
use crate::eval::edits;
use crate::eval::scenes_eval::diversity::{Size, measure};
use crate::eval::scenes_eval::judge::{ATTRIBUTES, Judge};
use crate::eval::scenes_eval::made::Made;
use crate::eval::scenes_eval::makers::{Maker, Method};
use crate::eval::scenes_eval::methods;
use crate::eval::scenes_eval::plot::{By, Plot};
use crate::eval::scenes_eval::samples::Samples;
use crate::eval::scenes_eval::source::{self, RealScene, Split, Wanted};
use crate::eval::scenes_eval::{Plan, Real, Report, evaluate, table};
use crate::generate::GenerateError;
use crate::generate::engine::Engine;
use crate::generate::metadata::texts;
use crate::generate::model::Model;
use crate::generate::picture::{write_png, write_whole};
use crate::generate::predict::Predictor;
use crate::generate::recipe::Subject;
use crate::kernels::Quantization;
use crate::models::judge;
use crate::output::{self, Format, Output};
use std::io::Write as _;
use std::path::PathBuf;

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
    #[arg(long = "predictor", value_name = "NAME", value_parser = super::predictor)]
    predictors: Vec<Predictor>,
    /// Which methods: all, or any of vanilla (fewer steps, always there), predictors by name (each with every budget and with its
    /// own full steps), halton, spread, guidance (vanilla and the shortcut so) and optimal (as migm calibrate found)
    #[arg(
        long = "methods",
        value_name = "all|NAME,NAME",
        value_delimiter = ',',
        conflicts_with = "predictors"
    )]
    names: Vec<String>,
    /// A method beside these: vanilla or a predictor, then any of steps=N, refresh=RULE, order=NAME, schedule=NAME, spread=CELLS, reveal=RULE,
    /// corrector=SHARE, weight=W (of guidance), guidance=LOW,HIGH, draw=TEMPERATURE, choice=TEMPERATURE, pictures=N, as
    /// "taylor:1 refresh=uniform:4 order=halton"; repeat it for several. Without --budgets and --methods only these are compared with
    /// vanilla
    #[arg(long = "method", value_name = "METHOD")]
    methods: Vec<String>,
    /// Pictures of each method
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    count: u32,
    /// Pictures of each method that --budgets, --predictor and --methods bring, where that is to be fewer: of the first prompts
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=100_000))]
    fewer: Option<u32>,
    /// Which prompts
    #[arg(long, value_enum, default_value_t)]
    split: Split,
    /// Seed of the prompts and of the first picture
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Pictures computed at once, of prompts those of one length
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024))]
    batch: u32,
    /// Time methods before anything else, in so many rounds in which each makes a batch; the machine may then be busy otherwise
    #[arg(long, value_name = "ROUNDS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1000))]
    time_apart: u32,
    /// Make pictures by so many workers with a thread each, after times were taken: sooner than by all threads together
    #[arg(long, value_name = "N", default_value_t = 1, requires = "time_apart")]
    workers: usize,
    /// Also hold predictors against full steps, of some of the pictures once more
    #[arg(long)]
    refreshes: bool,
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
    /// Also write every method's pictures as PNGs, numbered in a folder each, with the real scenes beside them
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pictures: Option<PathBuf>,
    /// Also write every method's pictures as METHOD.npz, an array of bytes that other evaluators read, with the real scenes' beside
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    npz: Option<PathBuf>,
    /// Also plot how many are all right against what they cost; repeat it for both kinds
    #[arg(long = "plot", value_name = "FILE.svg|FILE.png", value_hint = clap::ValueHint::FilePath)]
    plots: Vec<PathBuf>,
    /// What a plot counts cost in
    #[arg(long, value_enum, default_value_t)]
    plot_by: By,
    /// Instead: edit real scenes in four ways, --count of each, by vanilla and by every budget, and see what the judge finds
    #[arg(long, conflicts_with_all = ["diversity", "pictures", "npz", "plots", "refreshes", "fewer"])]
    edits: bool,
    #[command(flatten)]
    place: Place,
}

fn refused(message: String) -> CliError {
    GenerateError::Setting(message).into()
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    output::check(&outputs(arguments, &[], false))?;
    let (device, reason) = arguments.place.open()?;
    let mut judge = Judge::open(arguments.judge.as_deref(), &device)?;
    let model =
        super::open_model(arguments.model.as_ref(), Model::bundled_text)?.quantized(arguments.quantize);
    let plan = plan(arguments, &model)?;
    if arguments.edits {
        return edits(arguments, Engine::of(model, device), &mut judge, &plan);
    }
    let Asked { pictures, real, open } = asked(arguments, &model, &judge.config)?;
    let (samples, size) = (samples(arguments), model.family().size());
    samples.check(&plan.methods()?, arguments.count as usize)?;
    // Once more, with the files of every method.
    output::check(&outputs(arguments, &plan.methods()?, !real.others.is_empty()))?;
    let name = model.name.clone();
    let mut engine = Engine::of(model, device);
    let maker = Maker::new(&mut engine, pictures, arguments.seed, arguments.batch)?;
    let mut maker = maker.with_workers(arguments.workers)?;
    let mut report = with_progress(|tick| {
        let keep = &mut |method: &Method, made: &Made| samples.keep(method, made, size);
        evaluate(&mut maker, &mut judge, &real, &plan, keep, tick)
    })?;
    samples.keep_real(&real.others, judge.config.size)?;
    if arguments.diversity {
        let nouns: Vec<usize> = open.iter().flat_map(|(_, wanted)| wanted.nouns.first().copied()).collect();
        let seeds = arguments.diversity_seeds as usize;
        let each = open.into_iter().flat_map(|picture| std::iter::repeat_n(picture, seeds));
        let mut maker = Maker::new(&mut engine, each.collect(), arguments.seed, arguments.batch)?;
        diversity(&mut report, &mut maker, &mut judge, &plan, arguments, &nouns)?;
    }
    let (model, device) = (name, engine.describe());
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
    let title = format!("{model}: what a refresh budget costs");
    let plot = Plot::new(&report, arguments.plot_by, &title, &subtitle);
    for path in &arguments.plots {
        if Format::Svg.names(path) {
            write_whole(path, plot.to_svg().as_bytes())?;
        } else {
            write_png(path, &plot.to_picture(PNG_FACTOR), &texts(&json, None))?;
        }
        say!("wrote {}", path.display());
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{model} on {device}, {} combinations, seed {}:\n", split(arguments), arguments.seed)?;
    write!(out, "{}", table::markdown(&report))?;
    Ok(())
}

/// Parts of real scenes made anew by vanilla with all steps, and by every predictor.
fn edits(arguments: &Arguments, mut engine: Engine, judge: &mut Judge, plan: &Plan) -> Result<(), CliError> {
    let Some(source) = source::source_for(&judge.config)? else {
        return Err(refused("no scenes are composed of this judge's words; use another judge".to_owned()));
    };
    let methods: Vec<Method> = plan
        .methods()?
        .into_iter()
        .filter(|method| method.predictor.is_some() || method.steps == plan.steps)
        .collect();
    let of_edits = edits::Plan {
        kinds: edits::kinds::Kind::ALL.to_vec(),
        methods: edits::Plan::methods(&engine, &methods)?,
        count: u64::from(arguments.count),
        seed: arguments.seed,
        split: arguments.split,
        at_once: arguments.batch,
    };
    let report = with_progress(|tick| edits::evaluate(&mut engine, judge, source.as_ref(), &of_edits, tick))?;
    if let Some(path) = &arguments.report {
        let json = serde_json::json!({
            "model": engine.model()?.name, "judge": judge.name, "device": engine.describe(), "split": arguments.split,
            "seed": arguments.seed, "findings": report, "version": env!("CARGO_PKG_VERSION"),
        });
        write_whole(path, serde_json::to_string_pretty(&json).unwrap_or_default().as_bytes())?;
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{} on {}, seed {}:\n", engine.model()?.name, engine.describe(), arguments.seed)?;
    Ok(write!(out, "{}", edits::table::markdown(&report))?)
}

/// All that will be written: files of every method, too, where methods are known.
fn outputs(arguments: &Arguments, methods: &[Method], with_real: bool) -> Vec<Output> {
    let report = arguments.report.iter().map(|path| Output::file("--report", path, Format::Json));
    let table = table_beside(arguments);
    let table = table.iter().map(|path| Output::file("the table beside --report,", path, Format::Csv));
    let plots =
        arguments.plots.iter().map(|path| Output::one_of("--plot", path, &[Format::Svg, Format::Png]));
    let samples = samples(arguments).outputs(methods, with_real);
    report.chain(table).chain(plots).chain(samples).collect()
}

fn samples(arguments: &Arguments) -> Samples {
    Samples { pictures: arguments.pictures.clone(), archives: arguments.npz.clone() }
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

fn plan(arguments: &Arguments, model: &Model) -> Result<Plan, CliError> {
    let (steps, has_shortcut) = (model.config.sampling.steps, model.family().has_shortcut());
    let steps = arguments.steps.unwrap_or(steps);
    let mut predictors = Vec::new();
    for &predictor in &arguments.predictors {
        if !predictors.contains(&predictor) {
            predictors.push(predictor);
        }
    }
    if predictors.is_empty() && arguments.names.is_empty() && !model.family().is_one_step() {
        predictors.extend(has_shortcut.then_some(Predictor::Shortcut));
        predictors.push(Predictor::Reuse);
    }
    if predictors.contains(&Predictor::Shortcut) && !has_shortcut {
        return Err(refused("the model has no shortcut; use --predictor reuse or ml-cache".to_owned()));
    }
    let parsed = arguments.methods.iter().map(|text| Method::parse(text, steps));
    let others = parsed.collect::<Result<Vec<_>, _>>().map_err(refused)?;
    let budgets = match arguments.budgets.as_slice() {
        [] if others.is_empty() || !arguments.names.is_empty() => Plan::default_budgets(steps),
        budgets => budgets.to_vec(),
    };
    let chosen = methods::named(model, steps, &budgets, &arguments.names).map_err(refused)?;
    predictors.extend(chosen.predictors);
    let fewer = arguments.fewer;
    let few = |method| Method { pictures: fewer, ..method };
    let others: Vec<Method> = chosen.others.into_iter().map(few).chain(others).collect();
    if others.iter().any(|method| method.predictor == Some(Predictor::Shortcut)) && !has_shortcut {
        return Err(refused("the model has no shortcut; compare other methods".to_owned()));
    }
    let plan = Plan {
        steps,
        budgets,
        predictors,
        others,
        fewer,
        refreshes: arguments.refreshes,
        rounds: arguments.time_apart,
    };
    // Before anything is loaded or made.
    plan.methods()?;
    Ok(plan)
}

/// What is asked for: subjects of the model, and the real scenes beside them.
struct Asked {
    pictures: Vec<(Subject, Wanted)>,
    real: Real,
    /// Of `--diversity`: subjects that leave colour, place and light open, each with its noun.
    open: Vec<(Subject, Wanted)>,
}

fn asked(arguments: &Arguments, model: &Model, judge: &judge::Config) -> Result<Asked, CliError> {
    let (seed, count, split) = (arguments.seed, arguments.count, arguments.split);
    let (source, size) = (source::source_for(judge)?, diversity_size(arguments));
    let Some(classes) = model.classes() else {
        let Some(source) = source else {
            let message = "prompts are captions of scenes, and no scenes are composed of this judge's words; use another judge";
            return Err(refused(message.to_owned()));
        };
        let real = source::real_scenes(source.as_ref(), seed, split, u64::from(count), false)?;
        let prompt = |scene: &RealScene| (Subject::Prompt(scene.caption.clone()), scene.wanted.clone());
        let open = |noun| (Subject::Prompt(source::open_prompt(noun)), Wanted::noun(noun));
        let open = size.spread(judge.nouns.len()).into_iter().map(open).collect();
        return Ok(Asked { pictures: real.asked.iter().map(prompt).collect(), real, open });
    };
    if split == Split::HeldOut {
        let message = "class models are asked for one object, which is never held out; leave --split out";
        return Err(refused(message.to_owned()));
    }
    let real = match source {
        Some(source) => source::real_scenes(source.as_ref(), seed, split, u64::from(count), true)?,
        None => Real::default(),
    };
    let known = source::known_classes(classes, judge)?;
    let open = |index: usize| source::class_picture(known[index].0, known[index].1);
    let open = size.spread(known.len()).into_iter().map(open).collect();
    Ok(Asked { pictures: source::class_pictures(classes, judge, count as usize)?, real, open })
}

fn diversity_size(arguments: &Arguments) -> Size {
    Size { prompts: arguments.diversity_prompts as usize, seeds: arguments.diversity_seeds as usize }
}

/// Says what it will take, and measures.
fn diversity(
    report: &mut Report,
    maker: &mut Maker<'_>,
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
            if bar.is_hidden() {
                // A log, where nobody sees a bar turn: this can take hours.
                say!("{:>6} s  {what}", bar.elapsed().as_secs());
            }
        }
    })?;
    bar.finish_and_clear();
    Ok(found)
}
