//! `migm generate --prompts FILE`: a picture or several for every line, resumed where it was stopped.

use super::super::CliError;
use super::super::frames::columns;
use super::{Arguments, named, note_unknown_words, progress, refused, settings};
use crate::generate::GenerateError;
use crate::generate::captions;
use crate::generate::engine::{Engine, Event, Job};
use crate::generate::metadata::{ASKED, FINGERPRINT, METADATA, metadata, parameters, texts};
use crate::generate::model::Model;
use crate::generate::panels::{Panel, parse};
use crate::generate::picture::{Picture, Pixels, read_png_texts, write_png, write_whole};
use crate::generate::proof::Proof;
use crate::generate::recipe::Subject;
use crate::generate::refresh::Refresh;
use crate::generate::session::Settings;
use crate::input;
use crate::models::Condition;
use crate::output::{self, Format, Output};
use pollster::block_on;
use serde_json::Value;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Where pictures go unless a folder is named.
const FOLDER: &str = "migm-set";
/// What lists them, in it.
const MANIFEST: &str = "manifest.jsonl";
/// Pictures on a sheet.
const MOST_ON_A_SHEET: usize = 400;
/// Lines of a caption.
const LINES: u32 = 3;

/// A picture to make, or made.
struct Wish {
    panel: Panel,
    seed: u64,
    settings: Settings,
    condition: Condition,
    path: PathBuf,
    /// What it is made from, as its file says; known once it is there.
    made_from: Option<Value>,
}

pub(super) fn run(arguments: &Arguments, file: &Path, model: Model) -> Result<(), CliError> {
    let folder = arguments.out.clone().unwrap_or_else(|| PathBuf::from(FOLDER));
    let manifest = folder.join(MANIFEST);
    let sheet =
        arguments.sheet.as_ref().map(|path| Output::one_of("--sheet", path, &[Format::Png, Format::Svg]));
    let outputs =
        [Output::folder("--out", &folder), Output::file("the manifest,", &manifest, Format::JsonLines)];
    output::check(&outputs.into_iter().chain(sheet).collect::<Vec<_>>())?;
    let mut wishes = wishes(arguments, file, &model, &folder)?;
    if arguments.sheet.is_some() && wishes.len() > MOST_ON_A_SHEET {
        let count = wishes.len();
        return Err(refused(&format!("{count} pictures do not fit on a sheet, {MOST_ON_A_SHEET} do")));
    }
    for wish in &mut wishes {
        wish.made_from = found(wish, &model, arguments.pixels)?;
    }
    output::make_folder(&folder)
        .map_err(|source| GenerateError::File { path: folder.display().to_string(), source })?;
    let there = wishes.iter().filter(|wish| wish.made_from.is_some()).count();
    let (device, reason) = arguments.place.open()?;
    let mut engine = Engine::of(model, device);
    say!("{} on {} ({reason})", engine.model()?.name, engine.describe());
    if there > 0 {
        say!("{there} of {} pictures are there already", wishes.len());
    }
    let seconds = make(arguments, &mut engine, &mut wishes)?;
    let line = |wish: &Wish| {
        let Wish { panel, seed, path, made_from, .. } = wish;
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let asked = match &panel.subject {
            Subject::Prompt(prompt) => ("prompt", prompt),
            Subject::Class(class) => ("class", class),
        };
        let mut value =
            serde_json::json!({ "file": file, "line": panel.line, "name": panel.name, "seed": seed });
        value[asked.0] = asked.1.as_str().into();
        if let Some(made_from) = made_from {
            value["model"] = made_from["model"].clone();
            value["settings"] = made_from["settings"].clone();
            value[FINGERPRINT] = made_from[FINGERPRINT].clone();
        }
        value.to_string() + "\n"
    };
    write_whole(&manifest, wishes.iter().map(line).collect::<String>().as_bytes())?;
    if let Some(path) = &arguments.sheet {
        let pictures = wishes.iter().map(|wish| Ok((input::open(&wish.path)?, wish.panel.subject.title())));
        let pictures = pictures.collect::<Result<Vec<(Picture, &str)>, CliError>>()?;
        let made_from = serde_json::json!({ "panels": pictures.len(), "version": env!("CARGO_PKG_VERSION") });
        if Format::Svg.names(path) {
            let page = captions::page(&pictures, LINES).map_err(|error| refused(&error.to_string()))?;
            write_whole(path, page.as_bytes())?;
        } else {
            let across = columns(pictures.len());
            write_png(path, &captions::sheet(&pictures, across, LINES), &texts(&made_from, None))?;
        }
        say!("wrote {}", path.display());
    }
    let made = wishes.len() - there;
    writeln!(
        std::io::stdout(),
        "{made} pictures made in {seconds:.1} s of steps, {there} were there; {} lists all {}",
        manifest.display(),
        wishes.len()
    )?;
    Ok(())
}

/// Every picture that the file asks for, with a name of its own.
fn wishes(arguments: &Arguments, file: &Path, model: &Model, folder: &Path) -> Result<Vec<Wish>, CliError> {
    let shown = file.display().to_string();
    let text = std::fs::read_to_string(file)
        .map_err(|source| GenerateError::File { path: shown.clone(), source })?;
    let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let is_json = matches!(extension.to_ascii_lowercase().as_str(), "jsonl" | "ndjson" | "json");
    let [height, width] = model.family().size();
    let panels = parse(&text, is_json, model.classes().is_some(), [width, height])
        .map_err(|reason| refused(&format!("{shown}: {reason}")))?;
    let usual = settings(arguments, model.config.sampling, model.family().has_shortcut())?;
    let mut wishes: Vec<Wish> = Vec::new();
    let mut names = std::collections::HashSet::new();
    let mut noted = std::collections::HashSet::new();
    for mut panel in panels {
        let at_line = |error: GenerateError| refused(&format!("{shown}, line {}: {error}", panel.line));
        let condition = model.condition(&panel.subject).map_err(at_line)?;
        if let (Subject::Class(_), Condition::Class(Some(class))) = (&panel.subject, &condition) {
            panel.subject = named(model, *class);
        }
        if let Subject::Prompt(prompt) = &panel.subject
            && noted.insert(prompt.clone())
        {
            note_unknown_words(model, prompt);
        }
        let mut settings = usual.clone();
        if let Some(budget) = panel.budget {
            settings.refresh = Refresh::Uniform(budget);
        }
        let at_line = |error: GenerateError| refused(&format!("{shown}, line {}: {error}", panel.line));
        let settings = model.resolve(settings).map_err(at_line)?;
        settings.plan(model.family().tokens()).map_err(at_line)?;
        let first = panel.seed.unwrap_or(arguments.seed);
        for seed in (0..u64::from(arguments.count)).map(|i| first.wrapping_add(i)) {
            let mut name = format!("{}-{seed}", panel.name);
            let mut again = 2;
            while !names.insert(name.clone()) {
                name = format!("{}-{seed}-{again}", panel.name);
                again += 1;
            }
            let path = folder.join(name + ".png");
            let (panel, settings, condition) = (panel.clone(), settings.clone(), condition.clone());
            wishes.push(Wish { panel, seed, settings, condition, path, made_from: None });
        }
    }
    Ok(wishes)
}

/// What a picture says that it is made from, that was asked for so.
fn asked(wish: &Wish, model: &Model, settings: &Settings, pixels: Pixels) -> Value {
    let pictures = [(wish.panel.subject.clone(), wish.seed)];
    let mut made_from = metadata(&model.name, model.formats().quantize, settings, &pictures);
    if pixels != Pixels::Signed {
        made_from["pixels"] = serde_json::json!(pixels);
    }
    made_from
}

/// What stands in the file of a wish, if that is the picture that is wished for.
fn found(wish: &Wish, model: &Model, pixels: Pixels) -> Result<Option<Value>, CliError> {
    if !wish.path.exists() {
        return Ok(None);
    }
    let other = || {
        refused(&format!(
            "{} is there, and is not what line {} asks for; name another folder with --out, or move it away",
            wish.path.display(),
            wish.panel.line
        ))
    };
    let texts = read_png_texts(&wish.path).map_err(|_| other())?;
    let text = texts.iter().find(|(key, _)| key == METADATA).ok_or_else(other)?;
    let there: Value = serde_json::from_str(&text.1).map_err(|_| other())?;
    let wanted = asked(wish, model, &wish.settings, pixels);
    // What was asked of a run that decided stands beside what it decided.
    let settings = there.get(ASKED).unwrap_or(&there["settings"]);
    let same = |key: &str| there.get(key) == wanted.get(key);
    let is_same = ["model", "quantize", "seeds", "prompt", "classes", "pixels"].into_iter().all(same);
    if is_same && *settings == wanted["settings"] { Ok(Some(there)) } else { Err(other()) }
}

/// Makes what is not there, and writes each picture as it comes; seconds of the steps.
fn make(arguments: &Arguments, engine: &mut Engine, wishes: &mut [Wish]) -> Result<f64, CliError> {
    let left: Vec<usize> = (0..wishes.len()).filter(|&at| wishes[at].made_from.is_none()).collect();
    // Those of the same settings go together.
    let mut alike: Vec<Vec<usize>> = Vec::new();
    for at in left {
        match alike.iter_mut().find(|group| wishes[group[0]].settings == wishes[at].settings) {
            Some(group) => group.push(at),
            None => alike.push(vec![at]),
        }
    }
    let bar = progress(false, alike.iter().map(Vec::len).sum::<usize>() as u64);
    let mut seconds = 0.0;
    for group in alike {
        let settings = wishes[group[0]].settings.clone();
        let job = |&at: &usize| Job::new(wishes[at].condition.clone(), wishes[at].seed);
        let jobs: Vec<Job> = group.iter().map(job).collect();
        let mut run = engine.run(jobs, &settings, None, arguments.batch)?;
        while let Some(event) = block_on(run.next())? {
            let Event::Finished(batch) = event else { continue };
            let session = run.session()?;
            let pictures = block_on(session.pictures(&batch.codes, arguments.pixels))?;
            seconds += batch.loop_ms * 1e-3;
            let each = batch.codes.len() / batch.pictures.len().max(1);
            let decided = settings.decided(&batch.plan);
            let parts = batch.pictures.iter().zip(pictures).zip(batch.codes.chunks_exact(each.max(1)));
            for ((&index, picture), codes) in parts {
                let wish = &mut wishes[group[index]];
                let mut made_from = asked(wish, run.model()?, &decided, arguments.pixels);
                made_from[FINGERPRINT] = Proof::of(codes).to_string().into();
                if decided != settings {
                    made_from[ASKED] = serde_json::json!(settings);
                }
                write(run.model()?, wish, &picture, &decided, &made_from)?;
                wish.made_from = Some(made_from);
            }
            bar.inc(batch.pictures.len() as u64);
        }
    }
    bar.finish_and_clear();
    Ok(seconds)
}

fn write(
    model: &Model,
    wish: &Wish,
    picture: &Picture,
    settings: &Settings,
    made_from: &Value,
) -> Result<(), CliError> {
    let (size, pictures) = ([picture.width, picture.height], [(wish.panel.subject.clone(), wish.seed)]);
    let parameters = parameters(&model.name, settings, &pictures, size);
    Ok(write_png(&wish.path, picture, &texts(made_from, Some(parameters)))?)
}
