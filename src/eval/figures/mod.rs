//! `migm figures`: how features move along a run, as drawings and tables.
//!
//! A run is made again from what a picture or a report says of it ([`source`]), with its features traced (`trace`). What is found of
//! them is [`motion`](super::motion)'s business; embeddings of new tokens and logits of a token come from programs of their own over
//! the model's weights (`probe`); `charts` lays everything out. The command line calls [`figures`] and writes what it gives.

mod charts;
mod probe;
pub mod source;
mod trace;

use super::motion::{Calibrated, Similarity, calibrated, lipschitz};
use crate::generate::GenerateError;
use crate::generate::engine::Engine;
use crate::generate::model::Model;
use crate::generate::predict::Predictor;
use crate::generate::recipe::Recipe;
use crate::generate::refresh::Refresh;
use crate::generate::session::{PlannedStep, Settings, StepKind};
use crate::models::Batch;
pub(crate) use probe::Probe;
pub use probe::{Attended, Candidate, candidates};
use trace::Traced;
#[cfg(feature = "studio")]
pub(crate) use trace::{Held, New, all as hold, revealed};
pub(crate) use trace::{Wanted, trace};

/// Every figure by name, whether or not a run has it: what may be written.
pub const NAMES: [&str; 7] =
    ["similarity", "path", "lipschitz", "error-by-step", "error-by-chain", "candidates", "attention"];

/// Candidates that are shown of a token.
const CANDIDATES: usize = 10;

/// What can go wrong before or while figures are made.
#[derive(Debug, thiserror::Error)]
pub enum FigureError {
    /// Neither kind of file that says how a run was made.
    #[error(
        "{path} is neither a PNG nor a report of migm generate --report; name one of them, a model's folder, or a bundled model"
    )]
    NoRun {
        /// The file.
        path: String,
    },
    /// A picture of someone else, or one that lost its text on the way.
    #[error(
        "{path} carries no settings of migm; name a PNG as migm wrote it, or the report of its run (migm generate --report)"
    )]
    NoMetadata {
        /// The file.
        path: String,
    },
    /// What it says makes no run.
    #[error("{path}: {reason}")]
    NoRecipe {
        /// The file.
        path: String,
        /// What is missing or wrong.
        reason: String,
    },
    /// The model that a run was made by is not where its name says.
    #[error("{path} was made by {model}, which is not here; say where its folder is with --model")]
    NoModel {
        /// The file.
        path: String,
        /// The model's name.
        model: String,
    },
    /// A token that the picture does not have.
    #[error(
        "token {row},{column} is outside the grid of {rows} rows and {columns} columns, which count from 0"
    )]
    OutsideGrid {
        /// As asked for.
        row: u32,
        /// As asked for.
        column: u32,
        /// The picture's.
        rows: u32,
        /// The picture's.
        columns: u32,
    },
    /// A step after the end of the run.
    #[error("step {step} is beyond the last of {steps} steps ({}); steps count from 0", steps.saturating_sub(1))]
    NoSuchStep {
        /// As asked for.
        step: u32,
        /// Steps of the run.
        steps: usize,
    },
    /// The model or the device.
    #[error(transparent)]
    Generate(#[from] GenerateError),
}

impl From<crate::exec::ExecError> for FigureError {
    fn from(error: crate::exec::ExecError) -> Self {
        Self::Generate(error.into())
    }
}

/// A token and the step at which its candidates are looked at; all count from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenAt {
    /// Of the grid.
    pub row: u32,
    /// Of the grid.
    pub column: u32,
    /// Of the run.
    pub step: u32,
}

/// What is asked for beside the figures that every run has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// Runs that part from this one, drawn beside it in their common plane: with the seeds after its own.
    pub branches: u32,
    /// The step from which on branches draw by their own seeds.
    pub branch_at: u32,
    /// A token whose candidates are shown, and where the shortcut looks from it.
    pub token: Option<TokenAt>,
}

impl Ask {
    /// Refuses what a run of at most so many steps does not have.
    ///
    /// # Errors
    /// A token outside the grid, or a step beyond the last.
    fn check(&self, grid: [u32; 2], steps: usize) -> Result<(), FigureError> {
        let [rows, columns] = grid;
        if let Some(TokenAt { row, column, .. }) =
            self.token.filter(|at| at.row >= rows || at.column >= columns)
        {
            return Err(FigureError::OutsideGrid { row, column, rows, columns });
        }
        let asked = [self.token.map(|at| at.step), (self.branches > 0).then_some(self.branch_at)];
        match asked.into_iter().flatten().find(|step| *step as usize >= steps) {
            Some(step) => Err(FigureError::NoSuchStep { step, steps }),
            None => Ok(()),
        }
    }
}

/// A drawing, and the table of what it shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// One of [`NAMES`].
    pub name: &'static str,
    /// The drawing.
    pub svg: String,
    /// The table, with a line of headings.
    pub csv: String,
}

/// All that was found of a run.
#[derive(Clone, Debug)]
pub struct Found {
    /// The figures that the run has.
    pub figures: Vec<Figure>,
    /// Its settings, as it decided them where it did.
    pub settings: Settings,
    /// Codes of its picture, row by row.
    pub tokens: Vec<u32>,
    /// Sentences on figures that it has not.
    pub notes: Vec<String>,
}

/// A recipe checked before anything is computed: its settings, with a calibration looked up.
///
/// # Errors
/// Settings that make no run of this model, or something asked for that the run does not have.
pub fn check(model: &Model, recipe: &Recipe, ask: &Ask) -> Result<Settings, FigureError> {
    let settings = model.resolve(recipe.settings())?;
    model.condition(&recipe.subject)?;
    let steps = settings.plan(model.family().tokens())?.len();
    ask.check(model.family().grid(), steps)?;
    Ok(settings)
}

/// Whether the predictor is held against full steps as they come. It always can be where it starts from the features before alone; one
/// that remembers more is held only in runs that it has a part in.
fn compares(settings: &Settings, plan: &[PlannedStep]) -> bool {
    let predicts = plan.iter().any(|step| step.kind == StepKind::Predicted);
    let forgets = matches!(settings.predictor, Predictor::Shortcut | Predictor::Reuse);
    !settings.decides() && plan.len() > 1 && (predicts || forgets)
}

/// Makes the first picture of a recipe, and everything that is asked of it. `tick` is called after every step.
///
/// # Errors
/// As [`check`], or the device failed.
pub async fn figures(
    engine: &mut Engine,
    recipe: &Recipe,
    ask: &Ask,
    tick: &mut dyn FnMut(),
) -> Result<Found, FigureError> {
    let settings = check(engine.model()?, recipe, ask)?;
    let mut jobs = Recipe { images: 1 + ask.branches, ..recipe.clone() }.jobs(engine.model()?)?;
    let branches = jobs.split_off(1);
    let Some(job) = jobs.pop() else { return Err(no_picture()) };
    let batch = Batch::of(&job.condition, 1, settings.sampling.guided());
    let session = engine.session(&settings, batch, recipe.quantize)?;
    let wanted = Wanted {
        compares: compares(&settings, session.plan()) && session.shape().predictor.is_some(),
        hold: ask.token.map(|at| at.step as usize),
        reseed: None,
    };
    let run = trace(session, &job, &wanted, tick).await?;
    // A run that decides may have come to its end sooner.
    ask.check(engine.model()?.family().grid(), run.plan.len())?;
    let mut others = Vec::new();
    for branch in branches {
        let session = engine.session(&settings, batch, recipe.quantize)?;
        let reseed = Some((ask.branch_at as usize, branch.seed));
        others.push(trace(session, &job, &Wanted { reseed, ..Wanted::default() }, tick).await?);
    }
    let model = engine.model()?;
    let formats = model.formats().quantized(recipe.quantize);
    let counts: Vec<u32> = run.new.iter().map(|new| new.ids.len() as u32).collect();
    let mut probe = Probe::new(model, formats, engine.device(), batch, &counts)?;
    let new_tokens = probe.embed(&run.new).await?;

    let title = title(recipe, &settings, &run);
    let features: Vec<&[f32]> = run.features.iter().map(Vec::as_slice).collect();
    let mut figures = Vec::new();
    let similarities = Similarity::ALL.map(|by| by.between(&features, run.width));
    figures.push(charts::similarity(&title, &similarities, features.len()));
    figures.push(charts::path(&title, &run, &others, ask.branch_at));
    figures.push(charts::lipschitz(
        &title,
        &lipschitz(&features, None),
        &lipschitz(&features, Some(&new_tokens)),
    ));
    let measured = calibration(model, &settings)?;
    figures.extend(charts::errors(&title, &settings, &run.refreshed, measured.as_ref()));
    let mut notes = Vec::new();
    if run.refreshed.is_empty() && measured.is_none() {
        notes.push(no_errors(&settings, &run));
    }
    if let (Some(at), Some(held)) = (ask.token, &run.held) {
        let columns = model.family().grid()[1];
        let logits = probe.logits(held, at.row * columns + at.column).await?;
        let step = &run.plan[at.step as usize].values;
        let found = candidates(&logits, model.family().codebook() as usize, step, CANDIDATES);
        figures.push(charts::candidates(&title, at, &run, columns, &found));
        let token = at.row * columns + at.column;
        let before = run.held_before.as_ref().zip((at.step as usize).checked_sub(1));
        let attended = match before {
            Some((held, before)) => probe.attention(&job.condition, held, &run.new[before], token).await?,
            None => None,
        };
        match attended {
            Some(attended) => {
                figures.push(charts::attention(&title, at, model.family().grid(), &attended));
            }
            None => notes.push(no_attention(at, model.family().has_shortcut())),
        }
    }
    Ok(Found { figures, settings: settings.decided(&run.plan), tokens: run.tokens, notes })
}

fn no_picture() -> FigureError {
    GenerateError::Setting("there is no picture to make".to_owned()).into()
}

/// Why a run has no errors to show.
fn no_errors(settings: &Settings, run: &Traced) -> String {
    let why = match (settings.decides(), run.plan.len() > 1) {
        (true, _) => "the run decides step by step, and only a plan that is known before can be compared",
        (_, false) => "the run has a single step",
        _ => "no full step comes after a predicted one",
    };
    format!("{} and {} are left out: {why}", NAMES[3], NAMES[4])
}

/// Why there is nothing that a shortcut looked at.
fn no_attention(at: TokenAt, has_shortcut: bool) -> String {
    let why = match (has_shortcut, at.step) {
        (false, _) => "the model has no shortcut",
        (true, 0) => "before the first step nothing was revealed",
        (true, _) => "the shortcut was trained without attention to new tokens",
    };
    format!("{} is left out: {why}", NAMES[6])
}

/// What the drawings are titled.
struct Title {
    /// What the picture is of.
    subject: String,
    /// How it was made.
    subtitle: String,
}

fn title(recipe: &Recipe, settings: &Settings, run: &Traced) -> Title {
    let full = run.plan.iter().filter(|step| step.kind == StepKind::Full).count();
    let (steps, seed, model) = (run.plan.len(), recipe.seed, &recipe.model);
    let by = match settings.refresh {
        Refresh::Every => "vanilla".to_owned(),
        _ => format!("{}, {full} full", settings.predictor),
    };
    let subject = recipe.subject.title().to_owned();
    Title { subject, subtitle: format!("{model}, seed {seed}, {steps} steps, {by}") }
}

/// What `migm calibrate` measured of this model with this predictor.
struct CalibratedErrors {
    errors: Vec<Calibrated>,
    /// Steps of those runs.
    steps: u32,
}

fn calibration(model: &Model, settings: &Settings) -> Result<Option<CalibratedErrors>, FigureError> {
    let Some(known) = model.calibration().and_then(|known| known.of(settings)) else { return Ok(None) };
    // As calibration plans its runs: squares are weighted by what each of their steps reveals.
    let sampling = model.config.sampling.with_steps(known.steps);
    let vanilla = Settings { sampling, ..settings.clone() }.vanilla();
    let tokens = model.family().tokens();
    let share = |step: &PlannedStep| f64::from(step.values.reveal) / f64::from(tokens);
    let shares: Vec<f64> = vanilla.plan(tokens)?.iter().map(share).collect();
    Ok(Some(CalibratedErrors { errors: calibrated(&known.errors, &shares), steps: known.steps }))
}

#[cfg(test)]
#[path = "figures_tests.rs"]
mod tests;
