//! `migm generate "PROMPT" --model DIR`: pictures from text.

use super::CliError;
use super::frames::{columns, write_frames};
use super::generate::{Arguments, Totals, acceleration, check_writable, print_steps};
use crate::generate::GenerateError;
use crate::generate::picture::{Picture, write_png, write_whole};
use crate::generate::refresh::Refresh;
use crate::generate::session::StepKind;
use crate::generate::text::{TextModel, TextSession, TextSettings};
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
    frames: Vec<Picture>,
}

pub(super) fn run(arguments: &Arguments, prompt: &str) -> Result<(), CliError> {
    let model = super::open_text_model(arguments.model.as_ref())?.quantized(arguments.quantize);
    note_unknown_words(&model, prompt);
    let settings = settings(arguments, &model)?;
    for path in [&arguments.out, &arguments.gif, &arguments.report].into_iter().flatten() {
        check_writable(path)?;
    }
    let (device, reason) = arguments.backend.open()?;
    let mut session = TextSession::new(&model, prompt, &settings, &device)?;
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
    let mut totals = Totals { batches: arguments.count as usize, ..Totals::default() };
    let mut step_ms = vec![0.0; plan.len()];
    let (mut agreements, mut tokens, mut seeds) = (Vec::new(), Vec::new(), Vec::new());
    let sheet = arguments.out.as_ref().filter(|out| arguments.count > 1 && is_picture(out));
    let accelerated = plan.iter().any(|step| step.kind == StepKind::Predicted);
    for index in 0..u64::from(arguments.count) {
        let seed = arguments.seed.wrapping_add(index);
        session.configure(&settings)?;
        let run = run_once(&mut session, seed, arguments.gif.is_some())?;
        totals.images += 1;
        totals.loop_milliseconds += run.loop_ms;
        for (sum, ms) in step_ms.iter_mut().zip(&run.step_ms) {
            *sum += ms;
        }
        let start = Instant::now();
        let picture = block_on(session.picture(&run.codes))?;
        totals.decode_milliseconds += start.elapsed().as_secs_f64() * 1e3;
        if sheet.is_none() {
            let path = path(arguments, seed)?;
            write_png(&path, &picture, &texts(&model, prompt, &[seed], &settings))?;
            if !arguments.json {
                eprintln!("wrote {}", path.display());
            }
            files.push(path);
        }
        seeds.push(seed);
        tokens.push(run.codes.clone());
        if arguments.gif.is_some() {
            frames.push(run.frames);
        }
        if arguments.gif.is_some() || sheet.is_some() {
            finished.push(picture);
        }
        if accelerated && !arguments.no_compare {
            let every = TextSettings { refresh: Refresh::Every, ..settings.clone() };
            session.configure(&every)?;
            let vanilla = run_once(&mut session, seed, false)?;
            *totals.every_step_full_milliseconds.get_or_insert(0.0) += vanilla.loop_ms;
            let equal = run.codes.iter().zip(&vanilla.codes).filter(|(a, b)| a == b).count();
            agreements.push(equal as f64 / run.codes.len().max(1) as f64);
        }
    }
    if let Some(path) = sheet {
        let picture = Picture::sheet(&finished, columns(finished.len()));
        write_png(path, &picture, &texts(&model, prompt, &seeds, &settings))?;
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
    totals.token_agreement =
        (!agreements.is_empty()).then(|| agreements.iter().sum::<f64>() / agreements.len() as f64);
    let steps: Vec<_> = plan
        .iter()
        .zip(&step_ms)
        .map(|(step, ms)| {
            serde_json::json!({
                "index": step.values.step, "kind": step.kind, "milliseconds": ms / f64::from(arguments.count),
                "tokens_unmasked": step.values.reveal, "mask_ratio": step.values.mask_ratio,
            })
        })
        .collect();
    let report = serde_json::json!({
        "model": model.name, "device": name, "prompt": prompt, "seeds": seeds, "settings": settings, "files": files, "tokens": tokens,
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
fn run_once(session: &mut TextSession, seed: u64, keep_frames: bool) -> Result<Run, CliError> {
    session.start(seed)?;
    let (mut loop_ms, mut frames) = (0.0, Vec::new());
    let mut start = Instant::now();
    while session.step()?.is_some() {
        if keep_frames {
            session.executor().wait()?;
            loop_ms += start.elapsed().as_secs_f64() * 1e3;
            frames.push(frame(session)?);
            start = Instant::now();
        }
    }
    session.executor().wait()?;
    loop_ms += start.elapsed().as_secs_f64() * 1e3;
    let times = block_on(session.executor().step_times())?;
    let each = loop_ms / times.len().max(1) as f64;
    Ok(Run {
        codes: block_on(session.tokens())?,
        loop_ms,
        step_ms: times.into_iter().map(|ms| ms.unwrap_or(each)).collect(),
        frames,
    })
}

/// The present draws, masked cells veiled.
fn frame(session: &mut TextSession) -> Result<Picture, CliError> {
    let t = session.config().transformer;
    let (drawn, codes) = (block_on(session.drawn())?, block_on(session.tokens())?);
    let masked: Vec<bool> = codes.iter().map(|&code| code == t.mask_code()).collect();
    Ok(block_on(session.picture(&drawn))?.veiled(&masked, t.grid))
}

fn settings(arguments: &Arguments, model: &TextModel) -> Result<TextSettings, CliError> {
    let given = [
        ("--schedule", arguments.schedule.is_some()),
        ("--softmax-temperature", arguments.softmax_temperature.is_some()),
        ("--choice-noise", arguments.choice_noise.is_some()),
        ("--batch", arguments.batch.is_some()),
    ];
    if let Some((name, _)) = given.iter().find(|(_, given)| *given) {
        let message = format!("{name} is for class models; text models do without it so far");
        return Err(GenerateError::Setting(message).into());
    }
    let mut sampling = model.config.sampling;
    sampling.steps = arguments.steps.unwrap_or(sampling.steps);
    sampling.guidance = arguments.guidance.unwrap_or(sampling.guidance);
    sampling.draw_temperature = arguments.temperature.unwrap_or(sampling.draw_temperature);
    let choice_temperature = arguments.choice_temperature.or(arguments.temperature);
    sampling.choice_temperature = choice_temperature.unwrap_or(sampling.choice_temperature);
    sampling.bf16_gumbel |= arguments.bf16_gumbel;
    let (predictor, refresh) = acceleration(arguments, sampling.steps, model.config.shortcut.is_some())?;
    Ok(TextSettings { sampling, refresh, predictor })
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
fn texts(
    model: &TextModel,
    prompt: &str,
    seeds: &[u64],
    settings: &TextSettings,
) -> [(&'static str, String); 2] {
    let all = serde_json::json!({
        "model": model.name, "quantize": model.quantization(), "prompt": prompt, "seeds": seeds, "settings": settings,
        "version": env!("CARGO_PKG_VERSION"),
    });
    [("Software", format!("migm {}", env!("CARGO_PKG_VERSION"))), ("migm", all.to_string())]
}
