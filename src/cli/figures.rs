//! `migm figures`: how features move along a run, as SVG and CSV.

use super::{CliError, Place};
use crate::eval::figures::source::Recorded;
use crate::eval::figures::{Ask, FigureError, NAMES, TokenAt, check, figures};
use crate::generate::GenerateError;
use crate::generate::engine::Engine;
use crate::generate::model::Model;
use crate::generate::picture::write_whole;
use crate::generate::predict::Predictor;
use crate::generate::proof::{self, Proof};
use crate::generate::recipe::{Recipe, Subject};
use crate::generate::refresh::Refresh;
use crate::output::{self, Format, Output};
use crate::weights::WeightError;
use pollster::block_on;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// What the run was, beside its figures.
const RUN: &str = "run.json";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A run to make again, from a PNG of migm or a report of migm generate; or a model folder or the name of a bundled model, which
    /// makes one (default: scenes-text)
    #[arg(value_name = "RUN|MODEL", value_hint = clap::ValueHint::AnyPath)]
    of: Option<PathBuf>,
    /// Folder for the figures: an .svg and a .csv each, and run.json
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    out: PathBuf,
    /// Where the model of a run is, if not where its name says
    #[arg(long, value_name = "DIR|NAME", value_hint = clap::ValueHint::DirPath)]
    model: Option<PathBuf>,
    /// What a text model makes (default: the first thing that it knows, else nothing in particular)
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// What a class model makes (default: its first class)
    #[arg(long, value_name = "NAME|ID", conflicts_with = "prompt")]
    class: Option<String>,
    /// Seed of a model's run (default: 0)
    #[arg(long)]
    seed: Option<u64>,
    /// Steps of a model's run (default: the model's)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    steps: Option<u32>,
    /// Which steps of a model's run are full, as migm generate has it (default: the predictor's own plan)
    #[arg(long, value_name = "RULE")]
    refresh: Option<Refresh>,
    /// What stands in for the full model in a model's run, and is held against its full steps (default: the shortcut, else reuse)
    #[arg(long, value_name = "NAME", value_parser = super::predictor)]
    predictor: Option<Predictor>,
    /// So many runs with the next seeds beside the path of this one, in the plane of them all
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=64))]
    branches: u32,
    /// The step, from 0, from which on branches draw by their own seeds
    #[arg(long, value_name = "STEP", default_value_t = 0, requires = "branches")]
    branch_at: u32,
    /// Also the likeliest codes of this token, and where the shortcut looks from it; rows and columns count from 0
    #[arg(long, value_name = "ROW,COLUMN", value_parser = place, requires = "step")]
    token: Option<[u32; 2]>,
    /// The step, from 0, at which that token is looked at
    #[arg(long, value_name = "STEP", requires = "token")]
    step: Option<u32>,
    #[command(flatten)]
    place: Place,
}

fn place(text: &str) -> Result<[u32; 2], String> {
    let read = || {
        let (row, column) = text.split_once(',')?;
        Some([row.trim().parse().ok()?, column.trim().parse().ok()?])
    };
    read().ok_or_else(|| format!("{text:?} is no row and column of the grid, as 3,5"))
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    output::check(&outputs(arguments))?;
    let (model, recipe, recorded) = source(arguments)?;
    let ask = Ask {
        branches: arguments.branches,
        branch_at: arguments.branch_at,
        token: arguments.token.zip(arguments.step).map(|([row, column], step)| TokenAt { row, column, step }),
    };
    let settings = check(&model, &recipe, &ask)?;
    let (device, reason) = arguments.place.open()?;
    let name = model.name.clone();
    say!("{name} on {} ({reason})", device.describe());
    let steps = settings.plan(model.family().tokens())?.len() as u64;
    let mut engine = Engine::of(model, device);
    let bar = super::generate::progress(false, steps * u64::from(1 + ask.branches));
    let found = block_on(figures(&mut engine, &recipe, &ask, &mut || bar.inc(1)))?;
    bar.finish_and_clear();

    let folder = &arguments.out;
    let refused = |source| GenerateError::File { path: folder.display().to_string(), source };
    output::make_folder(folder).map_err(refused)?;
    for figure in &found.figures {
        write_whole(&folder.join(format!("{}.svg", figure.name)), figure.svg.as_bytes())?;
        write_whole(&folder.join(format!("{}.csv", figure.name)), figure.csv.as_bytes())?;
    }
    let decided = Recipe { refresh: found.settings.refresh.clone(), ..recipe };
    let mut run = decided.metadata(&name, &[decided.seed]);
    run["tokens"] = serde_json::json!([found.tokens]);
    let text = serde_json::to_string_pretty(&run).unwrap_or_default();
    write_whole(&folder.join(RUN), text.as_bytes())?;

    found.notes.iter().for_each(|note| say!("note: {note}"));
    match recorded {
        Some(Recorded { tokens: Some(tokens), .. }) => say_agreement(&tokens, &found.tokens),
        // A picture of several has one fingerprint for all of them.
        Some(Recorded { proof: Some(proof), pictures: 1, .. })
            if proof.compare(&Proof::of(&found.tokens)) != proof::Found::Same =>
        {
            say!("note: the tokens are not those of the picture; the device or the model may be another");
        }
        _ => {}
    }
    let names: Vec<&str> = found.figures.iter().map(|figure| figure.name).collect();
    writeln!(std::io::stdout(), "wrote {} to {}, as .svg and .csv", names.join(", "), folder.display())?;
    Ok(())
}

/// All that may be written.
fn outputs(arguments: &Arguments) -> Vec<Output> {
    let folder = &arguments.out;
    let file = |name: &str, extension: &str, format| {
        let path = folder.join(format!("{name}.{extension}"));
        Output::file("a file of --out,", &path, format)
    };
    let each = NAMES.iter().flat_map(|name| [file(name, "svg", Format::Svg), file(name, "csv", Format::Csv)]);
    let run = Output::file("a file of --out,", &folder.join(RUN), Format::Json);
    std::iter::once(Output::folder("--out", folder)).chain(each).chain([run]).collect()
}

/// Whether the run came out as it was: another device may round otherwise.
fn say_agreement(recorded: &[u32], found: &[u32]) {
    let share = crate::eval::scenes_eval::stats::agreement(recorded, found);
    if share < 1.0 {
        say!(
            "note: {:.1} % of the tokens are those of the report; the device or the model may be another",
            100.0 * share
        );
    }
}

/// The model and what it is to make: as it was made, or as is asked for.
fn source(arguments: &Arguments) -> Result<(Model, Recipe, Option<Recorded>), CliError> {
    if let Some(path) = arguments.of.as_deref().filter(|path| path.is_file()) {
        return again(arguments, path);
    }
    if arguments.model.is_some() {
        let message =
            "--model says where the model of a run is, and no run is named; name the model itself, or a run";
        return Err(GenerateError::Setting(message.to_owned()).into());
    }
    let default = if arguments.class.is_some() { Model::bundled_class } else { Model::bundled_text };
    let model = super::open_model(arguments.of.as_ref(), default)?;
    let recipe = recipe(arguments, &model)?;
    Ok((model, recipe, None))
}

fn again(arguments: &Arguments, path: &Path) -> Result<(Model, Recipe, Option<Recorded>), CliError> {
    let options = [
        ("--prompt", arguments.prompt.is_some()),
        ("--class", arguments.class.is_some()),
        ("--seed", arguments.seed.is_some()),
        ("--steps", arguments.steps.is_some()),
        ("--refresh", arguments.refresh.is_some()),
        ("--predictor", arguments.predictor.is_some()),
    ];
    let shown = path.display();
    if let Some((option, _)) = options.iter().find(|(_, given)| *given) {
        let message = format!("{shown} is made again as it was; leave out {option}, or name a model instead");
        return Err(GenerateError::Setting(message).into());
    }
    let recorded = Recorded::read(path)?;
    if recorded.pictures > 1 {
        say!("note: the figures are of the first of {} pictures", recorded.pictures);
    }
    let folder = arguments.model.clone().unwrap_or_else(|| PathBuf::from(&recorded.recipe.model));
    let model = match (Model::open(&folder), &arguments.model) {
        (Err(GenerateError::Weight(WeightError::NotAFolder { .. })), None) => {
            let (path, model) = (shown.to_string(), recorded.recipe.model);
            return Err(FigureError::NoModel { path, model }.into());
        }
        (opened, _) => opened?,
    };
    Ok((model, recorded.recipe.clone(), Some(recorded)))
}

/// What a model makes unless told otherwise.
fn recipe(arguments: &Arguments, model: &Model) -> Result<Recipe, CliError> {
    let subject = match (&arguments.prompt, &arguments.class, model.classes()) {
        (Some(prompt), ..) => {
            super::generate::note_unknown_words(model, prompt);
            Subject::Prompt(prompt.clone())
        }
        (None, Some(class), _) => Subject::Class(class.clone()),
        (None, None, Some(classes)) => {
            Subject::Class(classes.labels.first().cloned().unwrap_or_else(|| "0".to_owned()))
        }
        (None, None, None) => {
            Subject::Prompt(model.things().next().map_or_else(String::new, |thing| format!("a {thing}")))
        }
    };
    let mut recipe = Recipe::new(model, subject);
    recipe.seed = arguments.seed.unwrap_or(recipe.seed);
    recipe.draw = recipe.draw.with_steps(arguments.steps.unwrap_or(recipe.draw.steps));
    recipe.predictor = arguments.predictor.unwrap_or(recipe.predictor);
    recipe.refresh =
        arguments.refresh.clone().unwrap_or_else(|| recipe.predictor.default_refresh(recipe.draw.steps));
    Ok(recipe)
}
