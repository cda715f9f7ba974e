//! `migm calibrate`: measures where a predictor goes wrong along vanilla runs, and writes the best full steps of every budget. What they
//! win is told of runs that they were not found on.

use super::{CliError, Place};
use crate::generate::GenerateError;
use crate::generate::calibrate::{Calibration, FILE, Measured, Schedules, measure};
use crate::generate::divergence::Heads;
use crate::generate::model::Model;
use crate::generate::picture::write_whole;
use crate::generate::predict::Predictor;
use crate::generate::recipe::Subject;
use crate::generate::refresh::Refresh;
use crate::generate::sampling::Sampling;
use crate::generate::session::{Session, Settings, Shape, full_steps};
use crate::models::{Batch, Condition};
use crate::output::{self, Format, Output};
use pollster::block_on;
use std::io::Write as _;
use std::path::PathBuf;

/// Seeds of calibration are none that a person would use to look or to measure.
const FIRST_SEED: u64 = 1 << 40;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Model folder, or the name of a bundled model (default: scenes-text)
    #[arg(value_name = "DIR|NAME", value_hint = clap::ValueHint::DirPath)]
    model: Option<PathBuf>,
    /// What to measure: shortcut or reuse
    #[arg(long, value_name = "NAME", value_parser = super::predictor, default_value = "shortcut")]
    predictor: Predictor,
    /// Runs of vanilla to measure along
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: u32,
    /// Steps (default: the model's)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    steps: Option<u32>,
    /// Mask ratios between which the runs have guidance, as LOW,HIGH (default: the model's)
    #[arg(long, value_name = "LOW,HIGH", value_parser = super::generate::interval)]
    guidance_interval: Option<[f32; 2]>,
    /// A prompt of the runs, for text models; repeat it for several (default: a thing of each of the model's words)
    #[arg(long = "prompt", value_name = "TEXT")]
    prompts: Vec<String>,
    /// Where to write (default: schedules.json in the model's folder, where runs look for it)
    #[arg(long, value_name = "FILE.json", value_hint = clap::ValueHint::FilePath)]
    out: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let model = super::open_model(arguments.model.as_ref(), Model::bundled_text)?;
    let path = match (&arguments.out, model.path()) {
        (Some(path), _) => path.clone(),
        (None, Some(folder)) => folder.join(FILE),
        (None, None) => PathBuf::from(FILE),
    };
    output::check(&[Output::file("--out", &path, Format::Json)])?;
    let runs = runs(arguments, &model)?;
    let sampling = model.config.sampling;
    let sampling = Sampling {
        guidance_interval: arguments.guidance_interval.unwrap_or(sampling.guidance_interval),
        ..sampling.with_steps(arguments.steps.unwrap_or(sampling.steps))
    };
    let settings = Settings { sampling, refresh: Refresh::Every, predictor: arguments.predictor };
    let steps = settings.plan(model.family().tokens())?.len();
    if steps != settings.sampling.steps as usize {
        let message = format!("only {steps} of the steps reveal a token; ask for {steps} or fewer");
        return Err(GenerateError::Setting(message).into());
    }
    let (device, reason) = arguments.place.open()?;
    say!("{} on {} ({reason})", model.name, device.describe());
    let bar = indicatif::ProgressBar::new(runs.len() as u64);
    let mut measured = Measured::default();
    // Every second run apart, so that what is found on one half is held to the other.
    let mut halves = [Measured::default(), Measured::default()];
    let mut hindsight = Hindsight::default();
    // Prompts of one length share a session.
    for group in runs.chunk_by(|(a, _), (b, _)| a.prompt_tokens() == b.prompt_tokens()) {
        let Some((condition, _)) = group.first() else { continue };
        let batch = Batch::of(condition, 1, settings.sampling.guided());
        let shape = Shape { decoder: false, ..Shape::new(batch, Some(settings.predictor)) };
        let mut session = Session::new(&model, shape, &device)?;
        let mut heads = Heads::new(&model, batch, &device)?;
        for run in group {
            let run = std::slice::from_ref(run);
            let found = block_on(measure(&mut session, &mut heads, &settings, run, &mut || bar.inc(1)))?;
            let share = 1.0 / runs.len() as f64;
            measured.add(&found, share);
            halves[(run[0].1 % 2) as usize].add(&found, share);
            hindsight.add(&Schedules::new(&settings, 1, found), share);
        }
    }
    bar.finish_and_clear();
    let schedules = Schedules::new(&settings, runs.len() as u32, measured);
    let mut all = known(&path);
    all.insert(schedules.clone());
    write_whole(&path, serde_json::to_string(&all).unwrap_or_default().as_bytes())?;
    let halves = halves.map(|half| Schedules::new(&settings, 0, half));
    print(&schedules, &halves, &hindsight, (&settings, model.family().tokens()), &path)
}

/// What the file holds that is written to, for other predictors and other steps; nothing where there is none that can be read.
fn known(path: &std::path::Path) -> Calibration {
    std::fs::read(path).ok().and_then(|bytes| Calibration::read(&bytes).ok()).unwrap_or_default()
}

/// What the best plan of each run alone would leave, by budget from 1, in the mean over runs: no rule that decides which steps are
/// full, before or during a run, leaves less.
#[derive(Default)]
struct Hindsight(Vec<f64>);

impl Hindsight {
    fn add(&mut self, of_run: &Schedules, share: f64) {
        self.0.resize(of_run.plans.len(), 0.0);
        self.0.iter_mut().zip(&of_run.plans).for_each(|(sum, plan)| *sum += share * of_run.error(plan));
    }
}

/// Conditions and seeds, those of one length together.
fn runs(arguments: &Arguments, model: &Model) -> Result<Vec<(Condition, u64)>, CliError> {
    let subjects: Vec<Subject> = match model.classes() {
        Some(_) if !arguments.prompts.is_empty() => {
            let message = format!("{} is a class model and takes no --prompt", model.name);
            return Err(GenerateError::Setting(message).into());
        }
        Some(classes) => {
            (0..classes.transformer.classes).map(|class| Subject::Class(class.to_string())).collect()
        }
        None if arguments.prompts.is_empty() => {
            model.things().map(|thing| Subject::Prompt(format!("a {thing}"))).collect()
        }
        None => arguments.prompts.iter().cloned().map(Subject::Prompt).collect(),
    };
    if subjects.is_empty() {
        let message =
            format!("{} names no words of its own; give a prompt or several with --prompt", model.name);
        return Err(GenerateError::Setting(message).into());
    }
    let of =
        |(subject, index): (&Subject, u32)| Ok((model.condition(subject)?, FIRST_SEED + u64::from(index)));
    let mut runs =
        subjects.iter().cycle().zip(0..arguments.count).map(of).collect::<Result<Vec<_>, GenerateError>>()?;
    runs.sort_by_key(|(condition, _)| condition.prompt_tokens());
    Ok(runs)
}

/// Budgets of a half and fewer: the best plan, what an even one would make of it, what is left of the difference where the plan of each
/// half of the runs is held to the other, and what there was to be won.
fn print(
    schedules: &Schedules,
    halves: &[Schedules; 2],
    hindsight: &Hindsight,
    (settings, tokens): (&Settings, u32),
    path: &std::path::Path,
) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    let Schedules { predictor, steps, runs, .. } = schedules;
    // As they are run: where guidance begins at a step of its own, that step is full beside those that are asked for.
    let even = (1..=*steps).map(|budget| {
        let refresh = Refresh::Uniform(budget);
        Ok(full_steps(&Settings { refresh, ..settings.clone() }.plan(tokens)?))
    });
    let even = even.collect::<Result<Vec<_>, GenerateError>>()?;
    writeln!(out, "{predictor} in {steps} steps, along {runs} runs of vanilla")?;
    writeln!(
        out,
        "{:>6} {:>12} {:>12} {:>9} {:>16} {:>16}  full steps",
        "budget", "best", "even", "less by", "on other runs by", "in hindsight by"
    )?;
    for budget in 1..=steps.div_ceil(2) {
        let plan = schedules.plan(budget)?;
        let best = schedules.error(&plan);
        // Only plans of as many full steps can be compared; with a step that is always full, some numbers have no even one, and some
        // one with that step where it falls by itself.
        let Some(even) = even.iter().rev().find(|even| even.len() == plan.len()) else {
            writeln!(out, "{budget:>6} {best:>12.2} {0:>12} {0:>9} {0:>16} {0:>16}  {plan:?}", "-")?;
            continue;
        };
        let less = |best: f64, even: f64| if even > 0.0 { 100.0 * (1.0 - best / even) } else { 0.0 };
        let uniform = schedules.error(even);
        let mut apart = [0.0; 2];
        for (of, other) in [(&halves[0], &halves[1]), (&halves[1], &halves[0])] {
            if let (Some(plan), true) = (of.plans.get(budget as usize - 1), other.steps == *steps) {
                apart = [apart[0] + other.error(plan), apart[1] + other.error(even)];
            }
        }
        let other = less(apart[0], apart[1]);
        let saved = less(best, uniform);
        let bound = hindsight.0.get(budget as usize - 1).map_or(0.0, |least| less(*least, uniform));
        writeln!(
            out,
            "{budget:>6} {best:>12.2} {uniform:>12.2} {saved:>7.1} % {other:>14.1} % {bound:>14.1} %  {plan:?}"
        )?;
    }
    writeln!(
        out,
        "best is the mean over all runs, in nats a picture that what tokens are drawn from is apart; in hindsight, each run has its own best steps, and no rule wins more"
    )?;
    writeln!(out, "wrote {}; use it by --refresh optimal:B", path.display())?;
    Ok(())
}
