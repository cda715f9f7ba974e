//! `migm bench`: what a step costs here, by kind and by operation, and how much memory it takes.

use super::{CliError, Place, bytes};
use crate::eval::bench::{self, Report};
use crate::eval::random::RandomWeights;
use crate::generate::model::{Config, Device, Model};
use crate::generate::picture::write_whole;
use crate::generate::predict::Predictor;
use crate::generate::refresh::Refresh;
use crate::generate::session::{Session, Settings, Shape};
use crate::kernels::Quantization;
use crate::output::{self, Format, Output};
use crate::program::WeightSource;
use std::io::Write as _;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A known configuration with random weights: maskgit-512, maskgit-256, lumina-dimoo, dimo-256
    #[arg(long, value_name = "NAME", conflicts_with = "model")]
    config: Option<String>,
    /// Transformer layers, for a model that fits here at its real width
    #[arg(long, requires = "config", value_parser = clap::value_parser!(u32).range(1..=512))]
    layers: Option<u32>,
    /// Image tokens of a text model
    #[arg(long, value_name = "ROWSxCOLUMNS", value_parser = super::convert::grid)]
    grid: Option<[u32; 2]>,
    /// Model folder, or the name of a bundled model (default: scenes-class)
    #[arg(long, value_name = "DIR|NAME", value_hint = clap::ValueHint::DirPath)]
    model: Option<PathBuf>,
    /// Random weights in the model's shapes (always so with --config)
    #[arg(long)]
    random_weights: bool,
    /// Quantise matrices while loading: int8, int4 (groups of 64) or int4:32
    #[arg(long, value_name = "FORMAT")]
    quantize: Option<Quantization>,
    /// Steps (default: the model's)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    steps: Option<u32>,
    /// Full steps in all (default: half of the steps)
    #[arg(long, value_name = "B")]
    budget: Option<u32>,
    /// Images at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    batch: u32,
    /// Also write the findings as JSON
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    json: Option<PathBuf>,
    /// Print the README's tables in Markdown instead: budgets of the model, then maskgit-512 with random weights
    #[arg(long, conflicts_with_all = ["config", "layers", "grid", "random_weights", "steps", "budget", "batch", "json", "quantize"])]
    table: bool,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    if arguments.table {
        return super::table::run(arguments.model.as_ref(), &arguments.place);
    }
    let json = arguments.json.iter().map(|path| Output::file("--json", path, Format::Json));
    output::check(&json.collect::<Vec<_>>())?;
    let (device, reason) = arguments.place.open()?;
    let published = arguments.config.as_deref();
    let model = super::describe_model(arguments.model.as_ref(), published, Model::bundled_class)?
        .quantized(arguments.quantize)
        .resized(arguments.layers, arguments.grid)?;
    say!("measuring ({reason})");
    let bar = super::busy("runs and profiles");
    let report = measure(arguments, &model, &device);
    bar.finish_and_clear();
    let report = report?;
    if let Some(path) = &arguments.json {
        write_whole(path, serde_json::to_string_pretty(&report).unwrap_or_default().as_bytes())?;
    }
    print(&report)
}

fn measure(arguments: &Arguments, model: &Model, device: &Device) -> Result<Report, CliError> {
    let Config { family, sampling } = &model.config;
    let steps = arguments.steps.unwrap_or(sampling.steps);
    let settings = Settings {
        sampling: sampling.with_steps(steps),
        refresh: Refresh::Uniform(arguments.budget.unwrap_or(steps.div_ceil(2))),
        predictor: Predictor::of_model(family.has_shortcut()),
    };
    settings.plan(family.tokens())?;
    let batch = bench::batch(family, arguments.batch, sampling);
    let shape = Shape::new(batch, Some(settings.predictor));
    let mut weights: Box<dyn WeightSource> = if model.has_weights() && !arguments.random_weights {
        model.weights()?
    } else {
        Box::new(RandomWeights { seed: 1 })
    };
    let mut session = Session::with_weights(family, shape, device, model.formats(), &mut *weights)?;
    let conditions = bench::conditions(family, arguments.batch);
    Ok(bench::measure(&model.name, &mut session, &settings, &conditions, device)?)
}

fn print(report: &Report) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{} on {}, batch {}, {} steps, refresh {}",
        report.model, report.device, report.batch, report.steps, report.refresh
    )?;
    writeln!(out, "peak of a plain FMA loop  {:.1} GFLOP/s", report.peak_gflop_per_s)?;
    for (name, times) in [("full step", &report.full), ("shortcut step", &report.shortcut)] {
        writeln!(
            out,
            "{name:<14} mean {:>9.2} ms, median {:>9.2} ms, least {:>9.2} ms, of {:>2}; {:.3} GFLOP at {:.1} GFLOP/s ({:.0} % of peak)",
            times.mean_ms,
            times.median_ms,
            times.least_ms,
            times.count,
            times.gflop,
            times.gflop_per_s,
            100.0 * times.gflop_per_s / report.peak_gflop_per_s
        )?;
    }
    writeln!(
        out,
        "a shortcut step is {:.1}x cheaper, head and sampling included",
        report.shortcut_is_cheaper_by
    )?;
    if let (Some(ms), Some(ratio)) = (report.products_alone_ms, report.full_over_products) {
        writeln!(
            out,
            "matrix products of a full step alone, through gemm  {ms:.2} ms; the step takes {ratio:.2}x that"
        )?;
    }
    writeln!(out, "loop {:.1} ms, decode {:.1} ms", report.loop_ms, report.decode_ms)?;
    writeln!(
        out,
        "\n{:<9} {:<44} {:>5} {:>10} {:>6} {:>9} {:>7}",
        "program", "operation", "count", "ms", "share", "GFLOP/s", "of peak"
    )?;
    for op in &report.profile {
        writeln!(
            out,
            "{:<9} {:<44} {:>5} {:>10.3} {:>5.1}% {:>9.2} {:>6.1}%",
            op.program,
            op.shader,
            op.count,
            op.ms,
            100.0 * op.share,
            op.gflop_per_s,
            100.0 * op.share_of_peak
        )?;
    }
    let planned = &report.planned;
    writeln!(
        out,
        "\nmemory planned  {} (weights {}, states {}, temporaries {}, other {})",
        bytes(planned.total()),
        bytes(planned.weights),
        bytes(planned.states),
        bytes(planned.temporaries),
        bytes(planned.other)
    )?;
    if let (Some(peak), Some(ratio)) = (report.peak_resident_bytes, report.peak_over_planned) {
        writeln!(out, "peak resident   {} ({ratio:.2}x the plan)", bytes(peak))?;
    }
    Ok(())
}
