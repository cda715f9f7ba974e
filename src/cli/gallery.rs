//! `migm gallery`: the same seeds by vanilla and by each budget, one row a method, nothing chosen.

use super::{CliError, Place};
use crate::generate::GenerateError;
use crate::generate::engine::{Engine, Job};
use crate::generate::metadata::texts;
use crate::generate::model::Model;
use crate::generate::picture::{Picture, Pixels, write_png};
use crate::generate::predict::Predictor;
use crate::generate::recipe::Subject;
use crate::generate::refresh::Refresh;
use crate::generate::session::Settings;
use crate::output::{self, Format, Output};
use pollster::block_on;
use std::io::Write as _;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What to show, for a text model
    prompt: Option<String>,
    /// A class by number or name, for a class model; without one, the classes in order
    #[arg(long, conflicts_with = "prompt")]
    class: Option<String>,
    /// Model folder, or the name of a bundled model (default: scenes-text for a prompt, else scenes-class)
    #[arg(long, value_name = "DIR|NAME", value_hint = clap::ValueHint::DirPath)]
    model: Option<PathBuf>,
    /// Pictures a row: seeds from 0 on
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=64))]
    seeds: u32,
    /// A row for each: full steps in all
    #[arg(long, value_name = "B,B", value_delimiter = ',', default_value = "6,4")]
    budgets: Vec<u32>,
    /// Steps (default: the model's)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    steps: Option<u32>,
    /// Side of a pixel
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=8))]
    scale: u32,
    /// The picture to write
    #[arg(long, default_value = "gallery.png", value_hint = clap::ValueHint::FilePath)]
    out: PathBuf,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    output::check(&[Output::file("--out", &arguments.out, Format::Png)])?;
    let (device, _) = arguments.place.open()?;
    let rules: Vec<Refresh> = std::iter::once(Refresh::Every)
        .chain(arguments.budgets.iter().map(|&b| Refresh::Uniform(b)))
        .collect();
    let default = if arguments.prompt.is_some() { Model::bundled_text } else { Model::bundled_class };
    let model = super::open_model(arguments.model.as_ref(), default)?;
    let name = model.name.clone();
    let jobs = jobs(arguments, &model)?;
    let sampling = model.config.sampling;
    let sampling = sampling.with_steps(arguments.steps.unwrap_or(sampling.steps));
    let predictor = Predictor::of_model(model.family().has_shortcut());
    let tokens = model.family().tokens();
    let settings = |refresh: &Refresh| Settings { sampling, refresh: refresh.clone(), predictor };
    // Before hours of work.
    rules.iter().try_for_each(|refresh| settings(refresh).plan(tokens).map(drop))?;
    let mut engine = Engine::of(model, device);
    let mut pictures = Vec::new();
    let bar = super::generate::progress(false, (rules.len() * jobs.len()) as u64);
    for refresh in &rules {
        bar.set_message(refresh.to_string());
        let mut run = engine.run(jobs.clone(), &settings(refresh), None, None)?;
        while let Some(batch) = block_on(run.batch())? {
            pictures.extend(block_on(run.session()?.pictures(&batch.codes, Pixels::Signed))?);
            bar.inc(batch.pictures.len() as u64);
        }
    }
    bar.finish_and_clear();
    let sheet = Picture::sheet(&pictures, arguments.seeds).enlarged(arguments.scale);
    let rows: Vec<String> = rules.iter().map(ToString::to_string).collect();
    let settings = serde_json::json!({
        "model": name, "prompt": arguments.prompt, "class": arguments.class, "seeds": arguments.seeds, "rows": rows,
        "version": env!("CARGO_PKG_VERSION"),
    });
    write_png(&arguments.out, &sheet, &texts(&settings, None))?;
    let last = arguments.seeds - 1;
    writeln!(
        std::io::stdout(),
        "wrote {}: {name}, seeds 0 to {last} across; rows {}",
        arguments.out.display(),
        rows.join(", ")
    )?;
    Ok(())
}

/// A job a seed: of the prompt, of the class, or of the classes in order.
fn jobs(arguments: &Arguments, model: &Model) -> Result<Vec<Job>, CliError> {
    let refused = |message: String| Err(GenerateError::Setting(message).into());
    let subject = |seed: u32| match (&arguments.prompt, &arguments.class, model.classes()) {
        (Some(prompt), ..) => Subject::Prompt(prompt.clone()),
        (None, Some(class), _) => Subject::Class(class.clone()),
        (None, None, classes) => {
            let known = classes.map_or(1, |classes| classes.transformer.classes.max(1));
            Subject::Class((seed % known).to_string())
        }
    };
    match &arguments.prompt {
        Some(_) if model.classes().is_some() => {
            return refused(format!("{} is a class model; use --class instead of a prompt", model.name));
        }
        None if model.classes().is_none() => {
            return refused(format!(
                "{} is a text model; say what to show: migm gallery \"PROMPT\"",
                model.name
            ));
        }
        Some(prompt) => super::generate::note_unknown_words(model, prompt),
        None => {}
    }
    let job = |seed: u32| Ok(Job::new(model.condition(&subject(seed))?, u64::from(seed)));
    Ok((0..arguments.seeds).map(job).collect::<Result<_, GenerateError>>()?)
}
