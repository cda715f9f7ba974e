//! `migm generate "PROMPT" --model DIR`: pictures from text.

use super::CliError;
use super::frames::{columns, write_frames};
use super::generate::{Arguments, Totals, check_writable, largest_batch, print_steps, settings, transpose};
use crate::generate::model::Device;
use crate::generate::picture::{Picture, write_png, write_whole};
use crate::generate::refresh::Refresh;
use crate::generate::session::{Settings, StepKind};
use crate::generate::text::{TextModel, TextSession};
use crate::generate::{GenerateError, dimoo, text};
use pollster::block_on;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Known words that are offered for an unknown one.
const OFFERED: usize = 3;
/// Letters that are shown of an unknown word.
const LONGEST_SHOWN: usize = 40;

/// What one run of the steps gave.
struct Run {
    codes: Vec<u32>,
    loop_ms: f64,
    step_ms: Vec<f64>,
    /// Of each picture.
    frames: Vec<Vec<Picture>>,
}

pub(super) fn run(arguments: &Arguments, prompt: &str) -> Result<(), CliError> {
    let model = super::open_text_model(arguments.model.as_ref())?.quantized(arguments.quantize);
    note_unknown_words(&model, prompt);
    let settings = settings(arguments, model.config.sampling, model.config.shortcut.is_some())?;
    for path in [&arguments.out, &arguments.gif, &arguments.report].into_iter().flatten() {
        check_writable(path)?;
    }
    let (device, reason) = arguments.backend.open()?;
    let batch = batch(arguments, &model, prompt, &settings, &device)?;
    let mut session = TextSession::new(&model, prompt, batch, &settings, &device)?;
    let plan = session.plan().to_vec();
    let name = session.executor().describe();
    if !arguments.json {
        eprintln!("{} on {name} ({reason})", model.name);
        if session.decodes_on_the_cpu() {
            eprintln!(
                "note: this adapter binds too little at once for pictures of this size: the CPU decodes them"
            );
        }
    }
    let (mut files, mut frames, mut finished) = (Vec::new(), Vec::new(), Vec::new());
    let mut totals = Totals::default();
    let mut step_ms = vec![0.0; plan.len()];
    let (mut equal_tokens, mut tokens) = (0, Vec::new());
    let sheet = arguments.out.as_ref().filter(|out| arguments.count > 1 && is_picture(out));
    let accelerated = plan.iter().any(|step| step.kind == StepKind::Predicted);
    let all: Vec<u64> = (0..u64::from(arguments.count)).map(|i| arguments.seed.wrapping_add(i)).collect();
    for chunk in all.chunks(batch as usize) {
        session.configure(&settings)?;
        let run = run_once(&mut session, chunk, arguments.gif.is_some())?;
        totals.images += chunk.len();
        totals.batches += 1;
        totals.loop_milliseconds += run.loop_ms;
        for (sum, ms) in step_ms.iter_mut().zip(&run.step_ms) {
            *sum += ms;
        }
        let start = Instant::now();
        let pictures = block_on(session.pictures(&run.codes))?;
        totals.decode_milliseconds += start.elapsed().as_secs_f64() * 1e3;
        for (&seed, picture) in chunk.iter().zip(&pictures).filter(|_| sheet.is_none()) {
            let path = path(arguments, seed)?;
            write_png(&path, picture, &texts(&model, prompt, &[seed], &settings))?;
            if !arguments.json {
                eprintln!("wrote {}", path.display());
            }
            files.push(path);
        }
        let each = run.codes.len() / chunk.len();
        tokens.extend(run.codes.chunks(each).map(<[u32]>::to_vec));
        if arguments.gif.is_some() {
            frames.extend(run.frames);
        }
        if arguments.gif.is_some() || sheet.is_some() {
            finished.extend(pictures);
        }
        if accelerated && !arguments.no_compare {
            let every = Settings { refresh: Refresh::Every, ..settings.clone() };
            session.configure(&every)?;
            let vanilla = run_once(&mut session, chunk, false)?;
            *totals.every_step_full_milliseconds.get_or_insert(0.0) += vanilla.loop_ms;
            let equal = run.codes.iter().zip(&vanilla.codes).filter(|(a, b)| a == b).count();
            equal_tokens += equal;
        }
    }
    if let Some(path) = sheet {
        let picture = Picture::sheet(&finished, columns(finished.len()));
        write_png(path, &picture, &texts(&model, prompt, &all, &settings))?;
        if !arguments.json {
            eprintln!("wrote {}", path.display());
        }
        files.push(path.clone());
    }
    if let Some(path) = &arguments.gif {
        write_frames(path, &frames, &finished)?;
        if !arguments.json {
            eprintln!("wrote {}", path.display());
        }
        files.push(path.clone());
    }
    let of_kind = |kind| plan.iter().zip(&step_ms).filter(move |(step, _)| step.kind == kind);
    totals.full_steps = of_kind(StepKind::Full).count();
    totals.predicted_steps = of_kind(StepKind::Predicted).count();
    totals.full_milliseconds = of_kind(StepKind::Full).map(|(_, ms)| ms).sum();
    totals.predicted_milliseconds = of_kind(StepKind::Predicted).map(|(_, ms)| ms).sum();
    totals.speed_up = totals.every_step_full_milliseconds.map(|ms| ms / totals.loop_milliseconds);
    let drawn: usize = tokens.iter().map(Vec::len).sum();
    let compared = totals.every_step_full_milliseconds.is_some();
    totals.token_agreement = compared.then(|| equal_tokens as f64 / drawn.max(1) as f64);
    let steps: Vec<_> = plan
        .iter()
        .zip(&step_ms)
        .map(|(step, ms)| {
            serde_json::json!({
                "index": step.values.step, "kind": step.kind, "milliseconds": ms / totals.batches as f64,
                "tokens_unmasked": step.values.reveal, "mask_ratio": step.values.mask_ratio,
            })
        })
        .collect();
    let report = serde_json::json!({
        "model": model.name, "device": name, "prompt": prompt, "seeds": all, "settings": settings, "files": files, "tokens": tokens,
        "steps": steps, "totals": totals, "memory_bytes": session.memory(),
    });
    let text = serde_json::to_string_pretty(&report).unwrap_or_default();
    if let Some(path) = &arguments.report {
        write_whole(path, text.as_bytes())?;
    }
    let mut out = std::io::stdout().lock();
    if arguments.json {
        writeln!(out, "{text}")?;
        return Ok(());
    }
    print_steps(&mut out, &plan, settings.predictor, &totals)
}

/// Says which words of a prompt the model has never seen, each once, and what they may be slips for.
pub(super) fn note_unknown_words(model: &TextModel, prompt: &str) {
    let unknown: BTreeSet<&str> = model.prompts.unknown_words(prompt).into_iter().collect();
    for word in unknown {
        let near = model.prompts.nearest_words(word, OFFERED).join(", ");
        // A word can be a page long.
        let shown: String = word.chars().take(LONGEST_SHOWN).collect();
        if near.is_empty() {
            eprintln!(
                "note: the model does not know {shown:?}, and makes the picture as if it were not there"
            );
        } else {
            eprintln!("note: the model does not know {shown:?}; the nearest that it knows: {near}");
        }
    }
}

/// Frames are made apart from the clock.
fn run_once(session: &mut TextSession, seeds: &[u64], keep_frames: bool) -> Result<Run, CliError> {
    // A short last batch is filled up with its last picture.
    let last = seeds.last().copied().unwrap_or(0);
    let padded: Vec<u64> = (0..session.images()).map(|i| seeds.get(i).copied().unwrap_or(last)).collect();
    session.start(&padded)?;
    let (mut loop_ms, mut frames) = (0.0, Vec::new());
    let mut start = Instant::now();
    while session.step()?.is_some() {
        if keep_frames {
            session.executor().wait()?;
            loop_ms += start.elapsed().as_secs_f64() * 1e3;
            frames.push(frame(session, seeds.len())?);
            start = Instant::now();
        }
    }
    session.executor().wait()?;
    loop_ms += start.elapsed().as_secs_f64() * 1e3;
    let times = block_on(session.executor().step_times())?;
    let each = loop_ms / times.len().max(1) as f64;
    let mut codes = block_on(session.tokens())?;
    codes.truncate(codes.len() / session.images() * seeds.len());
    Ok(Run {
        codes,
        loop_ms,
        step_ms: times.into_iter().map(|ms| ms.unwrap_or(each)).collect(),
        frames: transpose(frames, seeds.len()),
    })
}

/// The present draws of the first pictures, masked cells veiled.
fn frame(session: &mut TextSession, count: usize) -> Result<Vec<Picture>, CliError> {
    let t = session.config().transformer;
    let tokens = (t.grid[0] * t.grid[1]) as usize;
    let (drawn, codes) = (block_on(session.drawn())?, block_on(session.tokens())?);
    let pictures = block_on(session.pictures(&drawn[..count * tokens]))?;
    let veiled = pictures.iter().zip(codes.chunks(tokens)).map(|(picture, codes)| {
        let masked: Vec<bool> = codes.iter().map(|&code| code == t.mask_code()).collect();
        picture.veiled(&masked, t.grid)
    });
    Ok(veiled.collect())
}

/// Pictures at once: as asked for, or as many as the plan keeps in moderate memory.
fn batch(
    arguments: &Arguments,
    model: &TextModel,
    prompt: &str,
    settings: &Settings,
    device: &Device,
) -> Result<u32, CliError> {
    if let Some(batch) = arguments.batch {
        return Ok(batch.min(arguments.count));
    }
    let mut lengths = vec![model.prompts.encode(prompt).map_err(GenerateError::from)?.len() as u32];
    if settings.sampling.guided() {
        lengths.push(model.prompts.unconditional().map_err(GenerateError::from)?.len() as u32);
    }
    let predictor = (settings.refresh != Refresh::Every).then_some(settings.predictor);
    largest_batch(arguments.count, device, |images| {
        let run = text::sequences(&model.config, &lengths, images);
        let programs = dimoo::programs(&run, predictor, model.config.shortcut, false, model.formats())?;
        Ok(programs.list)
    })
}

fn path(arguments: &Arguments, seed: u64) -> Result<PathBuf, CliError> {
    let name = format!("migm-{seed}.png");
    let Some(out) = &arguments.out else { return Ok(PathBuf::from(name)) };
    if is_picture(out) {
        return Ok(out.clone());
    }
    std::fs::create_dir_all(out)
        .map_err(|source| GenerateError::File { path: out.display().to_string(), source })?;
    Ok(out.join(name))
}

/// Whether a name is a picture's, and not a folder's.
fn is_picture(out: &Path) -> bool {
    out.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png")) && !out.is_dir()
}

/// What a PNG carries.
fn texts(model: &TextModel, prompt: &str, seeds: &[u64], settings: &Settings) -> [(&'static str, String); 2] {
    let all = serde_json::json!({
        "model": model.name, "quantize": model.quantization(), "prompt": prompt, "seeds": seeds, "settings": settings,
        "version": env!("CARGO_PKG_VERSION"),
    });
    [("Software", format!("migm {}", env!("CARGO_PKG_VERSION"))), ("migm", all.to_string())]
}
