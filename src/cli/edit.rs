//! `migm edit`: a part of a picture made anew, as a prompt or a class says.

use super::frames::columns;
use super::{CliError, Place};
use crate::generate::GenerateError;
use crate::generate::edit::{Edit, disagreement, doubts};
use crate::generate::encode::Encoder;
use crate::generate::engine::{Engine, Event};
use crate::generate::likelihood::Likelihood;
use crate::generate::model::{Device, Model};
use crate::generate::picture::{Picture, Pixels, write_png, write_whole};
use crate::generate::predict::Predictor;
use crate::generate::recipe::{Recipe, Subject};
use crate::generate::refresh::Refresh;
use crate::generate::region::{Region, Side};
use crate::generate::report::Tally;
use crate::generate::session::{Settings, StepKind};
use crate::generate::thing::thing;
use crate::input::{self, Fit};
use crate::output::{self, Format, Output};
use pollster::block_on;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The share of a picture that is made anew where the model finds the region and nobody says how large.
const FOUND: f32 = 0.25;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The picture: PNG, JPEG, WebP or GIF
    #[arg(value_name = "PICTURE", value_hint = clap::ValueHint::FilePath)]
    picture: PathBuf,
    /// What is to be there, with a text model: the whole picture in words, as it will be
    #[arg(value_name = "PROMPT", conflicts_with = "class")]
    prompt: Option<String>,
    /// The same with a class model, by name or number
    #[arg(long, value_name = "NAME|ID")]
    class: Option<String>,
    /// Model folder, or the name of a bundled model (default: scenes-class for a class, else scenes-text)
    #[arg(long, value_name = "DIR|NAME", value_hint = clap::ValueHint::DirPath)]
    model: Option<PathBuf>,
    /// How a picture of another shape is brought to the model's
    #[arg(long, value_enum, default_value_t)]
    fit: Fit,
    /// What is made anew: the tokens that a rectangle of pixels touches, of the picture as the model sees it; repeat it for several
    #[arg(long = "region", value_name = "X,Y,W,H", value_parser = rectangle)]
    regions: Vec<[u32; 4]>,
    /// The thing at a pixel of it, whole; repeat it for several
    #[arg(long = "thing", value_name = "X,Y", value_parser = pixel)]
    things: Vec<[u32; 2]>,
    /// The same as a picture of the picture's shape, white where it is made anew
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    mask: Option<PathBuf>,
    /// So many tokens more at a side: left, right, top or bottom
    #[arg(long, value_name = "SIDE:TOKENS", value_parser = extension, conflicts_with_all = ["regions", "things", "mask", "keep", "was", "invert", "grow"])]
    extend: Option<(Side, u32)>,
    /// What the picture shows now, as a prompt or a class: where it and the new one disagree most is made anew, a quarter of the picture unless --keep says otherwise
    #[arg(long, value_name = "PROMPT|CLASS")]
    was: Option<String>,
    /// Keep such a share of the region, or of the picture: the tokens that fit best
    #[arg(long, value_name = "SHARE", value_parser = share)]
    keep: Option<f32>,
    /// Of --keep: keep tokens that are spread evenly instead, so that the layout stays
    #[arg(long, requires = "keep")]
    spread: bool,
    /// Also the tokens within so many of the region
    #[arg(long, value_name = "TOKENS", default_value_t = 0)]
    grow: u32,
    /// All but the region
    #[arg(long)]
    invert: bool,
    /// Steps (default: the model's, fewer for a part of a picture)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    steps: Option<u32>,
    /// Full steps in all (default: an eighth of the steps)
    #[arg(long, value_name = "B", conflicts_with = "refresh")]
    budget: Option<u32>,
    /// Which steps run in full, as for migm generate
    #[arg(long, value_name = "RULE")]
    refresh: Option<Refresh>,
    /// What stands in for the full model at the other steps
    #[arg(long, value_name = "NAME", value_parser = super::predictor)]
    predictor: Option<Predictor>,
    /// Guidance weight (default: the model's)
    #[arg(long, value_name = "W", allow_negative_numbers = true)]
    guidance: Option<f32>,
    /// Seed of the first picture; the next ones count up from it
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Pictures
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
    /// What to write: a picture or a sheet as .png, or a folder (default: the picture's name with -edit)
    #[arg(long, value_name = "FILE.png|DIR", value_hint = clap::ValueHint::AnyPath)]
    out: Option<PathBuf>,
    /// Write over a picture that is there
    #[arg(long)]
    force: bool,
    /// Also write what was done, as JSON
    #[arg(long, value_name = "FILE.json", value_hint = clap::ValueHint::FilePath)]
    report: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

fn numbers<const N: usize>(text: &str, example: &str) -> Result<[u32; N], String> {
    let wrong = || format!("{text:?} is not {N} numbers of pixels, as {example}");
    let numbers: Vec<u32> =
        text.split(',').map(|n| n.trim().parse().map_err(|_| wrong())).collect::<Result<_, _>>()?;
    numbers.try_into().map_err(|_| wrong())
}

fn pixel(text: &str) -> Result<[u32; 2], String> {
    numbers(text, "64,80")
}

fn rectangle(text: &str) -> Result<[u32; 4], String> {
    let found: [u32; 4] = numbers(text, "32,16,64,48")?;
    if found[2..].contains(&0) {
        return Err(format!("{text:?} is X,Y,W,H of a rectangle without an inside"));
    }
    Ok(found)
}

fn extension(text: &str) -> Result<(Side, u32), String> {
    let (side, tokens) = text.split_once(':').ok_or("it is a side and a number of tokens, as left:4")?;
    let tokens = tokens.parse().map_err(|_| format!("{tokens:?} is no number of tokens"))?;
    Ok((side.parse().map_err(|error: GenerateError| error.to_string())?, tokens))
}

fn share(text: &str) -> Result<f32, String> {
    let share = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    if (0.0..1.0).contains(&share) { Ok(share) } else { Err("a share is from 0 to below 1".to_owned()) }
}

fn refused(message: impl Into<String>) -> CliError {
    GenerateError::Setting(message.into()).into()
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let out = out(arguments)?;
    let report = arguments.report.iter().map(|path| Output::file("--report", path, Format::Json));
    output::check(
        &std::iter::once(Output::picture_or_folder("--out", &out)).chain(report).collect::<Vec<_>>(),
    )?;
    let picture = input::open(&arguments.picture)?;
    let bundled = if arguments.class.is_some() { Model::bundled_class } else { Model::bundled_text };
    let model = super::open_model(arguments.model.as_ref(), bundled)?;
    let subject = subject(arguments, &model)?;
    let (device, reason) = arguments.place.open()?;
    let edit = begin(arguments, &model, &device, picture, &subject)?;
    let settings = settings(arguments, &model, edit.canvas.masked())?;

    let mut recipe = Recipe::new(&model, subject);
    (recipe.seed, recipe.images) = (arguments.seed, arguments.count);
    (recipe.draw, recipe.refresh, recipe.predictor) =
        (settings.sampling, settings.refresh.clone(), settings.predictor);
    recipe.canvas = Some(edit.canvas.clone());
    let jobs = recipe.jobs(&model)?;
    let mut engine = Engine::of(model, device);
    say!("{} on {} ({reason})", recipe.model, engine.describe());
    let mut tally = Tally::new(jobs.len());
    let mut made: Vec<Option<(Picture, Vec<u32>)>> = vec![None; jobs.len()];
    let mut run = engine.run(jobs, &settings, None, None)?;
    let bar = super::generate::progress(false, 0);
    while let Some(event) = block_on(run.next())? {
        let Event::Finished(batch) = event else {
            bar.inc(1);
            continue;
        };
        tally.add(&batch);
        let session = run.session()?;
        let tokens = session.family().tokens() as usize;
        let pictures = block_on(session.pictures(&batch.codes, Pixels::Signed))?;
        for ((&index, picture), codes) in
            batch.pictures.iter().zip(&pictures).zip(batch.codes.chunks_exact(tokens))
        {
            made[index] = Some((edit.finish(picture), codes.to_vec()));
        }
    }
    bar.finish_and_clear();
    let made: Vec<(Picture, Vec<u32>)> = made.into_iter().flatten().collect();
    let steps = tally.steps();
    let full = steps.iter().filter(|step| step.kind == StepKind::Full).count();
    let totals = tally.totals(None, 0.0);
    let written = write(arguments, &out, &recipe, &made)?;
    if let Some(path) = &arguments.report {
        let codes: Vec<&[u32]> = made.iter().map(|(_, codes)| &codes[..]).collect();
        let report = serde_json::json!({
            "recipe": recipe, "masked": edit.region().count(), "steps": steps, "totals": totals, "tokens": codes, "files": written,
            "version": env!("CARGO_PKG_VERSION"),
        });
        write_whole(path, serde_json::to_string_pretty(&report).unwrap_or_default().as_bytes())?;
        say!("wrote {}", path.display());
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "made      {} of {} tokens", edit.region().count(), edit.canvas.tokens())?;
    writeln!(out, "steps     {} of which {full} in full", steps.len())?;
    writeln!(out, "in all    {:.1} ms for {} pictures", totals.loop_milliseconds, totals.images)?;
    Ok(())
}

/// Where pictures go. What a person made is not written over unless that was asked for, and the picture itself is never.
fn out(arguments: &Arguments) -> Result<PathBuf, CliError> {
    let stem = arguments.picture.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let out = arguments.out.clone().unwrap_or_else(|| PathBuf::from(format!("{stem}-edit.png")));
    let same = |a: &Path, b: &Path| matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b);
    if same(&out, &arguments.picture) {
        return Err(refused(format!("{} is the picture itself; name another with --out", out.display())));
    }
    if let (Some(there), false) =
        (files(arguments, &out).into_iter().find(|path| path.is_file()), arguments.force)
    {
        return Err(refused(format!(
            "{} is there already; name another with --out, or add --force to write over it",
            there.display()
        )));
    }
    Ok(out)
}

fn seeds(arguments: &Arguments) -> Vec<u64> {
    (0..u64::from(arguments.count)).map(|i| arguments.seed.wrapping_add(i)).collect()
}

/// The pictures that will be written: one, a sheet, or one a seed in a folder.
fn files(arguments: &Arguments, out: &Path) -> Vec<PathBuf> {
    if !Output::picture_or_folder("--out", out).is_folder() {
        return vec![out.to_owned()];
    }
    seeds(arguments).iter().map(|seed| out.join(format!("edit-{seed}.png"))).collect()
}

fn subject(arguments: &Arguments, model: &Model) -> Result<Subject, CliError> {
    let subject = match (&arguments.prompt, &arguments.class) {
        (Some(prompt), _) => Subject::Prompt(prompt.clone()),
        (None, Some(class)) => Subject::Class(class.clone()),
        (None, None) if model.classes().is_some() => {
            return Err(refused("the model is of classes: name one with --class"));
        }
        (None, None) => Subject::Prompt(String::new()),
    };
    // Refused with a sentence where it is not the model's.
    model.condition(&subject)?;
    if let Subject::Prompt(prompt) = &subject {
        super::generate::note_unknown_words(model, prompt);
    }
    Ok(subject)
}

/// Encodes the picture, and finds what is to be made.
fn begin(
    arguments: &Arguments,
    model: &Model,
    device: &Device,
    picture: Picture,
    subject: &Subject,
) -> Result<Edit, CliError> {
    let (grid, size) = (model.family().grid(), model.family().size());
    let mut encoder = Encoder::new(model, device)?;
    let mut encode = |picture: &Picture| block_on(encoder.picture(picture));
    if let Some(extension) = arguments.extend {
        let [height, width] = size;
        let across = matches!(extension.0, Side::Left | Side::Right);
        let lines_up = if across {
            picture.height == height && picture.width > width
        } else {
            picture.width == width && picture.height > height
        };
        // One that was extended before goes on as it is.
        let picture = if lines_up { picture } else { arguments.fit.bring(&picture, size).0 };
        return Ok(Edit::extended(&picture, extension, (grid, size), &mut encode)?);
    }
    let shape = [picture.height, picture.width];
    let (picture, _) = arguments.fit.bring(&picture, size);
    let codes = encode(&picture)?;
    let mut region = Region::none(grid);
    for &rectangle in &arguments.regions {
        region = region.with(&Region::rectangle(grid, size, rectangle));
    }
    for &[x, y] in &arguments.things {
        if x >= size[1] || y >= size[0] {
            return Err(refused(format!(
                "{x},{y} lies outside of the picture, which the model sees at {} x {} pixels",
                size[1], size[0]
            )));
        }
        let cell = [y * grid[0] / size[0], x * grid[1] / size[1]];
        region = region.with(&thing(&picture, grid, cell));
    }
    if let Some(path) = &arguments.mask {
        region = region.with(&mask(path, arguments.fit, shape, (grid, size))?);
    }
    let is_named = !arguments.regions.is_empty() || !arguments.things.is_empty() || arguments.mask.is_some();
    if is_named && region.count() == 0 {
        return Err(refused(format!(
            "the region lies outside of the picture, which the model sees at {} x {} pixels",
            size[1], size[0]
        )));
    }
    if !is_named && arguments.was.is_none() && arguments.keep.is_none() {
        return Err(refused(
            "say what is to be made anew: --region X,Y,W,H, --thing X,Y, --mask FILE, --extend SIDE:TOKENS, --was \"WHAT IT SHOWS\" or --keep SHARE",
        ));
    }
    let mut region = if is_named { region } else { Region::all(grid) };
    if arguments.invert {
        region = region.inverted();
    }
    region = region.grown(arguments.grow);
    let condition = model.condition(subject)?;
    if let Some(was) = &arguments.was {
        let was = match subject {
            Subject::Prompt(_) => Subject::Prompt(was.clone()),
            Subject::Class(_) => Subject::Class(was.clone()),
        };
        let before = model.condition(&was)?;
        let (mut old, mut new) =
            (Likelihood::new(model, &before, device)?, Likelihood::new(model, &condition, device)?);
        let apart = block_on(disagreement((&mut old, &before), (&mut new, &condition), &codes, grid))?;
        region = region.highest(&apart, arguments.keep.map_or(FOUND, |keep| 1.0 - keep));
    } else if let Some(keep) = arguments.keep {
        region = if arguments.spread {
            region.except(&region.spread(keep))
        } else {
            let mut likelihood = Likelihood::new(model, &condition, device)?;
            region.highest(&block_on(doubts(&mut likelihood, &condition, &codes, grid))?, 1.0 - keep)
        };
    }
    if region.count() == 0 {
        return Err(refused("nothing is left to be made anew; keep less, or leave --invert out"));
    }
    Ok(Edit::new(picture, &codes, region)?)
}

/// The region of a mask: a picture of the picture's shape, or of the model's.
fn mask(
    path: &Path,
    fit: Fit,
    [height, width]: [u32; 2],
    (grid, size): ([u32; 2], [u32; 2]),
) -> Result<Region, CliError> {
    let mask = input::open(path)?;
    let alike = u64::from(mask.width) * u64::from(height) == u64::from(mask.height) * u64::from(width);
    if !alike && [mask.height, mask.width] != size {
        return Err(refused(format!(
            "{} is of {} x {} pixels and the picture of {width} x {height}; a mask has the picture's shape",
            path.display(),
            mask.width,
            mask.height
        )));
    }
    let mask = fit.bring(&mask, size).0;
    let white = |pixel: &[u8]| pixel.iter().map(|&value| f32::from(value)).sum::<f32>() / (3.0 * 255.0);
    let values: Vec<f32> = mask.rgb.chunks_exact(3).map(white).collect();
    let region = Region::of_mask(grid, size, &values);
    if region.count() == 0 {
        return Err(refused(format!("{} is black everywhere: nothing would be made anew", path.display())));
    }
    Ok(region)
}

/// As for a whole picture, scaled to the part; what is said of steps and full steps is of the part.
fn settings(arguments: &Arguments, model: &Model, masked: u32) -> Result<Settings, CliError> {
    let has_shortcut = model.family().has_shortcut();
    let sampling = model.config.sampling;
    let sampling = crate::generate::sampling::Sampling {
        guidance: arguments.guidance.unwrap_or(sampling.guidance),
        ..sampling
    };
    let predictor = arguments.predictor.unwrap_or_else(|| Predictor::of_model(has_shortcut));
    let refresh = predictor.default_refresh(sampling.steps);
    let whole = Settings { sampling, refresh, predictor };
    let mut settings = match arguments.steps {
        Some(steps) => {
            let refresh = predictor.default_refresh(steps);
            Settings { sampling: sampling.with_steps(steps), refresh, predictor }
        }
        None => whole.for_share(masked as f32 / model.family().tokens() as f32),
    };
    match (&arguments.refresh, arguments.budget) {
        (Some(refresh), _) => settings.refresh = refresh.clone(),
        (None, Some(budget)) => settings.refresh = Refresh::Uniform(budget),
        (None, None) => {}
    }
    Ok(model.resolve(settings)?)
}

/// A folder of pictures, a picture, or a sheet of several.
fn write(
    arguments: &Arguments,
    out: &Path,
    recipe: &Recipe,
    made: &[(Picture, Vec<u32>)],
) -> Result<Vec<PathBuf>, CliError> {
    let save = |path: &Path, picture: &Picture, seeds: &[u64], codes: &[u32], size: [u32; 2]| {
        write_png(path, picture, &recipe.proven_texts(seeds, size, codes))?;
        say!("wrote {}", path.display());
        Ok::<_, CliError>(path.to_owned())
    };
    let seeds = seeds(arguments);
    if !Output::picture_or_folder("--out", out).is_folder() {
        let pictures: Vec<Picture> = made.iter().map(|(picture, _)| picture.clone()).collect();
        let codes: Vec<u32> = made.iter().flat_map(|(_, codes)| codes).copied().collect();
        let size = pictures.first().map_or([0, 0], |first| [first.width, first.height]);
        let sheet = Picture::sheet(&pictures, columns(pictures.len()));
        return Ok(vec![save(out, &sheet, &seeds, &codes, size)?]);
    }
    output::make_folder(out)
        .map_err(|source| GenerateError::File { path: out.display().to_string(), source })?;
    let each = made.iter().zip(seeds).zip(files(arguments, out));
    each.map(|(((picture, codes), seed), path)| {
        save(&path, picture, &[seed], codes, [picture.width, picture.height])
    })
    .collect()
}
