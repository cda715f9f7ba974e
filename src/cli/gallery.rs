//! `migm gallery`: the same seeds by vanilla and by each budget, one row a method, nothing chosen.

use super::described::{ClassModel, Described, Kind, TextDescription};
use super::{Backend, CliError};
use crate::generate::GenerateError;
use crate::generate::model::Device;
use crate::generate::picture::{Picture, write_png};
use crate::generate::predict::Predictor;
use crate::generate::refresh::Refresh;
use crate::generate::session::{Session, Settings, Shape};
use crate::generate::text::TextSession;
use crate::models::Batch;
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
    /// Where to compute
    #[arg(long, value_enum, default_value_t)]
    backend: Backend,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    output::check(&[Output::file("--out", &arguments.out, Format::Png)])?;
    let (device, _) = arguments.backend.open()?;
    let rules: Vec<Refresh> = std::iter::once(Refresh::Every)
        .chain(arguments.budgets.iter().map(|&b| Refresh::Uniform(b)))
        .collect();
    let default = if arguments.prompt.is_some() { Kind::Text } else { Kind::Classes };
    let (name, pictures) = match Described::find(arguments.model.as_ref(), None, default)? {
        Described::Classes(model) => classes(arguments, *model, &rules, &device)?,
        Described::Text(model) => prompt(arguments, *model, &rules, &device)?,
    };
    let sheet = Picture::sheet(&pictures, arguments.seeds).enlarged(arguments.scale);
    let rows: Vec<String> = rules.iter().map(ToString::to_string).collect();
    let settings = serde_json::json!({
        "model": name, "prompt": arguments.prompt, "class": arguments.class, "seeds": arguments.seeds, "rows": rows,
        "version": env!("CARGO_PKG_VERSION"),
    });
    let software = ("Software", format!("migm {}", env!("CARGO_PKG_VERSION")));
    write_png(&arguments.out, &sheet, &[software, ("migm", settings.to_string())])?;
    let last = arguments.seeds - 1;
    writeln!(
        std::io::stdout(),
        "wrote {}: {name}, seeds 0 to {last} across; rows {}",
        arguments.out.display(),
        rows.join(", ")
    )?;
    Ok(())
}

fn not_there() -> CliError {
    GenerateError::Setting("a gallery needs weights: name a model folder".to_owned()).into()
}

fn classes(
    arguments: &Arguments,
    model: ClassModel,
    rules: &[Refresh],
    device: &Device,
) -> Result<(String, Vec<Picture>), CliError> {
    if arguments.prompt.is_some() {
        let message = format!("{} is a class model; use --class instead of a prompt", model.name);
        return Err(GenerateError::Setting(message).into());
    }
    let folder = model.folder.ok_or_else(not_there)?;
    let config = &folder.config;
    let mut sampling = config.sampling;
    sampling.steps = arguments.steps.unwrap_or(sampling.steps);
    let known = config.transformer.classes.max(1);
    let class = arguments.class.as_ref().map(|class| config.class(class)).transpose()?;
    let classes: Vec<Option<u32>> = (0..arguments.seeds).map(|i| Some(class.unwrap_or(i % known))).collect();
    let predictor = if config.shortcut.is_some() { Predictor::Shortcut } else { Predictor::Reuse };
    // One picture at a time: a row of large ones would not fit together.
    let shape = Shape {
        batch: Batch { images: 1, guided: sampling.guided() },
        predictor: Some(predictor),
        recorded_noise: false,
        decoder: true,
    };
    let mut session = Session::new(&folder, shape, device)?;
    let mut pictures = Vec::new();
    for refresh in rules {
        session.configure(&Settings { sampling, refresh: refresh.clone(), predictor })?;
        for (seed, class) in classes.iter().enumerate() {
            session.start(&[*class], &[seed as u64])?;
            session.finish()?;
            let tokens = block_on(session.tokens())?;
            let values = block_on(session.decode(&tokens))?;
            pictures.push(Picture::from_values(&values, config.image_size, config.image_size));
        }
    }
    Ok((model.name, pictures))
}

fn prompt(
    arguments: &Arguments,
    model: TextDescription,
    rules: &[Refresh],
    device: &Device,
) -> Result<(String, Vec<Picture>), CliError> {
    let Some(prompt) = &arguments.prompt else {
        let message = format!("{} is a text model; say what to show: migm gallery \"PROMPT\"", model.name);
        return Err(GenerateError::Setting(message).into());
    };
    let folder = model.folder.ok_or_else(not_there)?;
    super::generate_text::note_unknown_words(&folder, prompt);
    let mut sampling = folder.config.sampling;
    sampling.steps = arguments.steps.unwrap_or(sampling.steps);
    let predictor = if folder.config.shortcut.is_some() { Predictor::Shortcut } else { Predictor::Reuse };
    let settings = |refresh: &Refresh| Settings { sampling, refresh: refresh.clone(), predictor };
    // Made for the predictor, which vanilla leaves unused.
    let widest = rules.last().unwrap_or(&Refresh::Every);
    let mut session = TextSession::new(&folder, prompt, 1, &settings(widest), device)?;
    let mut pictures = Vec::new();
    for refresh in rules {
        session.configure(&settings(refresh))?;
        for seed in 0..u64::from(arguments.seeds) {
            session.start(&[seed])?;
            while session.step()?.is_some() {}
            let codes = block_on(session.tokens())?;
            pictures.push(block_on(session.picture(&codes))?);
        }
    }
    Ok((model.name, pictures))
}
