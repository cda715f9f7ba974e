//! `migm tune`: times how products are best cut on this device, and keeps what is found for every later run.

use super::{CliError, Place};
use crate::eval::bench;
use crate::eval::random::RandomWeights;
use crate::exec::gpu::tune::{Record, Records, Timed, Timing, tune};
use crate::generate::GenerateError;
use crate::generate::model::{Config, Device, Model};
use crate::generate::picture::write_whole;
use crate::generate::predict::Predictor;
use crate::generate::programs::Programs;
use crate::generate::refresh::Refresh;
use crate::generate::session::{Settings, Shape};
use crate::kernels::{Quantization, StepValues};
use std::io::Write as _;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Model folder, or the name of a bundled or known model (default: scenes-class); weights do not matter
    #[arg(long, value_name = "DIR|NAME", value_hint = clap::ValueHint::DirPath)]
    model: Option<PathBuf>,
    /// Quantise matrices: int8, int4 (groups of 64) or int4:32
    #[arg(long, value_name = "FORMAT")]
    quantize: Option<Quantization>,
    /// Steps (default: the model's)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    steps: Option<u32>,
    /// Images at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    batch: u32,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let choice = arguments.place.choice();
    let (device, reason) = arguments.place.open_as(&choice)?;
    let refuse = |message: String| Err(GenerateError::Setting(message).into());
    let Device::Gpu(gpu) = &device else {
        return refuse(format!(
            "there is nothing to tune on the CPU executor ({reason}); --backend gpu tunes an adapter"
        ));
    };
    let Some(path) = &choice.tuned else {
        return refuse(
            "there is no folder for caches here; MIGM_TUNED names a file to keep times in".to_owned(),
        );
    };
    // Before minutes are spent: what cannot be read would be lost.
    let mut records = read(path)?;
    let model = super::describe_model(arguments.model.as_ref(), None, Model::bundled_class)?
        .quantized(arguments.quantize);
    let Config { family, sampling } = &model.config;
    let steps = arguments.steps.unwrap_or(sampling.steps);
    let settings = Settings {
        sampling: sampling.with_steps(steps),
        refresh: Refresh::Uniform(steps.div_ceil(2)),
        predictor: Predictor::of_model(family.has_shortcut()),
    };
    let values: Vec<StepValues> = settings.plan(family.tokens())?.iter().map(|step| step.values).collect();
    let shape = Shape::new(bench::batch(family, arguments.batch, sampling), Some(settings.predictor));
    let build = || Ok::<_, CliError>(Programs::new(&**family, shape, model.formats())?.list);
    say!("timing the products of {} ({reason})", model.name);
    let bar = super::busy("shapes");
    let mut progress = |done, all| bar.set_message(format!("shape {done} of {all}"));
    let mut weights = RandomWeights { seed: 1 };
    let timed = pollster::block_on(tune(gpu, &build, &values, &mut weights, &mut progress));
    bar.finish_and_clear();
    let timed = timed?;
    records.add(Record { products: timed.clone(), ..Record::of(&gpu.info, gpu.tier) });
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    write_whole(path, serde_json::to_string_pretty(&records).unwrap_or_default().as_bytes())?;
    print(&timed, path)
}

fn read(path: &Path) -> Result<Records, CliError> {
    let unreadable = |error| {
        let message =
            format!("{}: {error}; delete it to begin anew, or name another by MIGM_TUNED", path.display());
        GenerateError::Setting(message).into()
    };
    Records::read(path).map_err(unreadable)
}

fn print(timed: &[Timed], path: &Path) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{:<28} {:>20} {:>26} {:>26} {:>7}",
        "product", "rows x sum x columns", "by rule", "fastest", "gain"
    )?;
    for timed in timed {
        let [rows, sum, columns] = timed.sizes;
        let told = |timing: &Timing| match timing.microseconds {
            Some(time) => format!("{}, {time:.1} us", timing.cut),
            None => format!("{}, wrong", timing.cut),
        };
        let (rule, best) = (timed.timings.first(), timed.best());
        let gain = match (rule.and_then(|rule| rule.microseconds), best.and_then(|best| best.microseconds)) {
            (Some(rule), Some(best)) => format!("{:.2}x", rule / best),
            _ => String::new(),
        };
        writeln!(
            out,
            "{:<28} {:>20} {:>26} {:>26} {gain:>7}",
            timed.shape.kernel,
            format!("{rows} x {sum} x {columns}"),
            rule.map(told).unwrap_or_default(),
            best.map_or("none was right".to_owned(), |best| told(&best)),
        )?;
    }
    let wrong = timed.iter().flat_map(|timed| &timed.timings).filter(|timing| timing.microseconds.is_none());
    match wrong.count() {
        0 => {}
        count => say!("{count} cuts made something else than the product and are not taken: run migm verify"),
    }
    writeln!(out, "kept in {}", path.display())?;
    Ok(())
}
