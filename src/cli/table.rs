//! `migm bench --table`: the README's figures, in Markdown.

use super::{CliError, Place, bytes};
use crate::eval::bench;
use crate::eval::random::RandomWeights;
use crate::exec::Memory;
use crate::generate::engine::Job;
use crate::generate::model::{Device, Model};
use crate::generate::predict::Predictor;
use crate::generate::programs::Programs;
use crate::generate::published;
use crate::generate::refresh::Refresh;
use crate::generate::session::{Session, Settings, Shape};
use crate::program::Formats;
use std::io::Write as _;
use std::path::PathBuf;

/// Pictures in the comparison of budgets, or a few more: as many of each class.
const PICTURES: u64 = 48;
/// Images at once there.
const BATCH: u32 = 8;

pub(super) fn run(folder: Option<&PathBuf>, place: &Place) -> Result<(), CliError> {
    let (device, _) = place.open()?;
    let model = super::open_model(folder, Model::bundled_class)?;
    let sampling = model.config.sampling;
    let kinds = model.classes().map_or(1, |classes| classes.transformer.classes.max(1));
    let conditions = bench::conditions(&model.config.family, kinds);
    let seeds = PICTURES.div_ceil(u64::from(kinds));
    let job = |seed| conditions.iter().map(move |condition| Job::new(condition.clone(), seed));
    let jobs: Vec<Job> = (0..seeds).flat_map(job).collect();
    let jobs = &jobs[..jobs.len() - jobs.len() % BATCH as usize];
    let mut out = std::io::stdout().lock();
    let mut device_name = String::new();
    let mut rows = Vec::new();
    for predictor in Predictor::ALL {
        let shape = Shape::new(bench::batch(&model.config.family, BATCH, &sampling), Some(predictor));
        let mut session = Session::new(&model, shape, &device)?;
        device_name = session.executor().describe();
        let budgets = [sampling.steps / 2, sampling.steps / 3, sampling.steps / 4];
        rows.extend(bench::budgets(&mut session, sampling, &budgets, predictor, jobs)?);
    }
    writeln!(
        out,
        "{} on {device_name}, {} steps, {} pictures in batches of {BATCH}:\n",
        model.name,
        sampling.steps,
        jobs.len()
    )?;
    writeln!(out, "| refresh | predictor | ms per image | speed-up | tokens equal to vanilla's |")?;
    writeln!(out, "|---|---|---|---|---|")?;
    let mut seen_vanilla = false;
    for row in &rows {
        // Each predictor's list opens with its own vanilla run; one row of it is enough.
        if row.predictor.is_none() && std::mem::replace(&mut seen_vanilla, true) {
            continue;
        }
        let predictor = row.predictor.map_or("(vanilla)".to_owned(), |predictor| predictor.to_string());
        writeln!(
            out,
            "| {} | {predictor} | {:.2} | {:.2}x | {:.1} % |",
            row.refresh,
            row.ms_per_image,
            row.speed_up,
            100.0 * row.token_agreement
        )?;
    }

    formats(&mut out, &model, &device)?;

    let Some(config) = published::config("maskgit-512") else { return Ok(()) };
    // A short run has every kind of step: its times are those of the long one.
    let sampling = config.sampling.with_steps(8);
    let settings = Settings { sampling, refresh: Refresh::Uniform(4), predictor: Predictor::Shortcut };
    let shape = Shape::new(bench::batch(&config.family, 1, &sampling), Some(Predictor::Shortcut));
    let weights = &mut RandomWeights { seed: 1 };
    let mut session = Session::with_weights(&config.family, shape, &device, Formats::F16, weights)?;
    let conditions = bench::conditions(&config.family, 1);
    let report = bench::measure("maskgit-512", &mut session, &settings, &conditions, &device)?;
    writeln!(out, "\nmaskgit-512, random weights, guided, batch 1, on {}:\n", report.device)?;
    writeln!(out, "| | |\n|---|---|")?;
    writeln!(
        out,
        "| full step | {:.0} ms, {:.0} GFLOP/s, {:.0} % of the FMA peak |",
        report.full.median_ms,
        report.full.gflop_per_s,
        100.0 * report.full.gflop_per_s / report.peak_gflop_per_s
    )?;
    if let (Some(ms), Some(ratio)) = (report.products_alone_ms, report.full_over_products) {
        writeln!(
            out,
            "| its matrix products alone, through `gemm` | {ms:.0} ms: the step takes {ratio:.2}x that |"
        )?;
    }
    writeln!(
        out,
        "| shortcut step, head and sampling included | {:.0} ms: {:.1}x cheaper |",
        report.shortcut.median_ms, report.shortcut_is_cheaper_by
    )?;
    writeln!(out, "| decoding to 512 px | {:.0} ms |", report.decode_ms)?;
    writeln!(out, "| memory planned | {} |", bytes(report.planned.total()))?;
    if let (Some(peak), Some(ratio)) = (report.peak_resident_bytes, report.peak_over_planned) {
        writeln!(out, "| peak resident | {} ({ratio:.2}x) |", bytes(peak))?;
    }
    Ok(())
}

/// Memory and step times of the model in each format of its weights.
fn formats(out: &mut dyn std::io::Write, model: &Model, device: &Device) -> Result<(), CliError> {
    let sampling = model.config.sampling;
    let settings = Settings {
        sampling,
        refresh: Refresh::Uniform(sampling.steps.div_ceil(2)),
        predictor: Predictor::Shortcut,
    };
    let family = &model.config.family;
    let shape = Shape::new(bench::batch(family, BATCH, &sampling), Some(Predictor::Shortcut));
    let conditions = bench::conditions(family, BATCH);
    writeln!(out, "\n{} by format, batches of {BATCH}:\n", model.name)?;
    writeln!(out, "| weights | their memory | memory in all | full step | shortcut step |")?;
    writeln!(out, "|---|---|---|---|---|")?;
    for (name, formats) in super::FORMATS {
        let planned = Memory::planned(&Programs::new(&**family, shape, formats)?.list);
        let mut session = Session::with_weights(family, shape, device, formats, &mut *model.weights()?)?;
        let report = bench::measure(&model.name, &mut session, &settings, &conditions, device)?;
        writeln!(
            out,
            "| {name} | {} | {} | {:.2} ms | {:.2} ms |",
            bytes(planned.weights),
            bytes(planned.total()),
            report.full.median_ms,
            report.shortcut.median_ms
        )?;
    }
    if device.is_cpu() {
        writeln!(out, "\nThe CPU executor widens every format to f32: the memory is a GPU's.")?;
    }
    Ok(())
}
