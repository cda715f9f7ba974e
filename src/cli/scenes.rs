//! `migm scenes`: captioned pictures of emoji in places, as many as asked for.

use super::CliError;
use crate::generate::picture::{Picture, write_whole};
use crate::output::{self, Format, Output};
use crate::scenes::{self, Composer, Mix, Scene, SceneError, Split, Style, records};
use clap::{Args, ValueEnum};
use std::io::Write as _;
use std::path::PathBuf;

/// Arguments of `migm scenes`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Scenes to compose
    #[arg(long, default_value_t = 24, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Number of the first scene
    #[arg(long, default_value_t = 0, value_name = "N")]
    first: u64,
    /// Scene N of a seed is always the same
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Pixels across and down, 64 or 128
    #[arg(long, default_value_t = 128, value_name = "PIXELS")]
    size: u32,
    /// Only the first nouns of the list, which starts with the easiest to tell apart [default: all]
    #[arg(long, value_name = "N")]
    nouns: Option<usize>,
    /// What training may see, what it never sees, or both
    #[arg(long, value_enum, default_value_t = Which::All)]
    split: Which,
    /// Only scenes of one object
    #[arg(long)]
    single: bool,
    /// How things are drawn
    #[arg(long, value_enum, default_value_t)]
    style: Style,
    /// Share of scenes with things patched from two, for a judge to know them
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    torn: f32,
    #[command(flatten)]
    output: Destination,
}

/// Where scenes go.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Destination {
    /// A folder for pictures and `captions.jsonl`
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Records on standard output, for trainers: a line of JSON says how they are laid out
    #[arg(long)]
    raw: bool,
    /// One picture of all scenes with their captions
    #[arg(long, value_name = "FILE")]
    sheet: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    /// What training may see
    Seen,
    /// What training never sees
    HeldOut,
    /// Both, as they come
    All,
}

fn share(text: &str) -> Result<f32, String> {
    let value: f32 = text.parse().map_err(|_| format!("{text:?} is no number"))?;
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err("a share is from 0 to 1".to_owned()) }
}

impl Arguments {
    fn mix(&self) -> Mix {
        Mix { split: self.split.into(), single: self.single, torn: self.torn }
    }
}

impl From<Which> for Split {
    fn from(which: Which) -> Self {
        match which {
            Which::Seen => Self::Seen,
            Which::HeldOut => Self::HeldOut,
            Which::All => Self::All,
        }
    }
}

/// Scenes composed before any is written: enough for all threads, little to hold.
const BATCH: u64 = 256;
/// Pictures in a row of a sheet.
const COLUMNS: u32 = 6;
/// More would make a sheet that no program opens.
const MOST_ON_A_SHEET: u64 = 600;

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let folder = arguments.output.out.iter().map(|path| Output::folder("--out", path));
    let sheet = arguments.output.sheet.iter().map(|path| Output::file("--sheet", path, Format::Png));
    output::check(&folder.chain(sheet).collect::<Vec<_>>())?;
    let nouns = arguments.nouns.unwrap_or_else(|| scenes::nouns().len());
    let composer = Composer::new(nouns, arguments.size, arguments.style)?;
    if !composer.has(&arguments.mix()) {
        return Err(SceneError::EmptySplit { nouns }.into());
    }
    if let Some(folder) = &arguments.output.out {
        return pictures(arguments, &composer, folder);
    }
    if let Some(file) = &arguments.output.sheet {
        let count = arguments.count;
        if count > MOST_ON_A_SHEET {
            return Err(CliError::TooManyOnASheet { given: count, most: MOST_ON_A_SHEET });
        }
        let scenes = composer.scenes(arguments.seed, arguments.first, count, &arguments.mix());
        let sheet = scenes::sheet(&scenes, arguments.size, COLUMNS);
        return Ok(write_whole(file, &png(&sheet)?)?);
    }
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    writeln!(out, "{}", records::header(&composer))?;
    let mut bytes = Vec::new();
    each_batch(arguments, &composer, |_, batch| {
        bytes.clear();
        batch.iter().for_each(|scene| records::append(scene, &mut bytes));
        Ok(out.write_all(&bytes)?)
    })?;
    Ok(out.flush()?)
}

fn each_batch(
    arguments: &Arguments,
    composer: &Composer,
    mut take: impl FnMut(u64, &[Scene]) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let mut done = 0;
    while done < arguments.count {
        let first = arguments.first + done;
        let count = BATCH.min(arguments.count - done);
        take(first, &composer.scenes(arguments.seed, first, count, &arguments.mix()))?;
        done += count;
    }
    Ok(())
}

/// A picture a scene, and a line a scene that says what it shows.
fn pictures(arguments: &Arguments, composer: &Composer, folder: &std::path::Path) -> Result<(), CliError> {
    let file = |source| crate::generate::GenerateError::File { path: folder.display().to_string(), source };
    output::make_folder(folder).map_err(file)?;
    let mut lines = Vec::new();
    each_batch(arguments, composer, |first, batch| {
        for (index, scene) in (first..).zip(batch) {
            let name = format!("{index:06}.png");
            let size = composer.size();
            let picture = Picture { width: size, height: size, rgb: scene.pixels.clone() };
            write_whole(&folder.join(&name), &png(&picture)?)?;
            let label = |noun: usize| composer.nouns()[noun].label.as_str();
            let labels = &scene.labels;
            let line = serde_json::json!({
                "file": name,
                "caption": scene.caption,
                "nouns": std::iter::once(labels.first).chain(labels.second).map(label).collect::<Vec<_>>(),
                "count": labels.count,
                "leftmost": label(labels.leftmost),
                "rightmost": label(labels.rightmost),
                "place": scenes::grammar::PLACES[labels.place].label,
                "light": scenes::grammar::LIGHTS[labels.light].label,
                "colours": (0..1 + usize::from(labels.second.is_some())).map(|i| scenes::grammar::COLOURS[labels.colours[i]]).collect::<Vec<_>>(),
                "torn": labels.torn,
                "held_out": labels.held_out,
            });
            writeln!(lines, "{line}")?;
        }
        Ok(())
    })?;
    Ok(write_whole(&folder.join("captions.jsonl"), &lines)?)
}

fn png(picture: &Picture) -> Result<Vec<u8>, CliError> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let buffer = image::RgbImage::from_raw(picture.width, picture.height, picture.rgb.clone())
        .ok_or_else(|| std::io::Error::other("a picture and its size disagree"))?;
    buffer.write_to(&mut bytes, image::ImageFormat::Png).map_err(std::io::Error::other)?;
    Ok(bytes.into_inner())
}
