//! What stands in pictures of how they were made: what makes them again, what other programs show, and the command.

use super::canvas::Canvas;
use super::order::Order;
use super::predict::Predictor;
use super::recipe::Subject;
use super::refresh::Refresh;
use super::session::Settings;
use crate::kernels::Quantization;
use serde_json::Value;

/// What a PNG carries of the pictures in it, a subject and a seed each: enough to make them again. Pictures of prompts are of one.
pub fn metadata(
    model: &str,
    quantize: Option<Quantization>,
    settings: &Settings,
    pictures: &[(Subject, u64)],
) -> Value {
    let seeds: Vec<u64> = pictures.iter().map(|(_, seed)| *seed).collect();
    let mut out = serde_json::json!({
        "model": model, "quantize": quantize, "seeds": seeds, "settings": settings, "version": env!("CARGO_PKG_VERSION"),
    });
    if let Some(command) = command(model, quantize, settings, pictures) {
        out["command"] = command.into();
    }
    if let Some((Subject::Prompt(prompt), _)) = pictures.first() {
        out["prompt"] = prompt.as_str().into();
    } else {
        let classes: Vec<&str> = pictures.iter().map(|(subject, _)| subject.title()).collect();
        out["classes"] = serde_json::json!(classes);
    }
    out
}

/// The text chunks of a PNG, by keyword: what wrote it, what it was made from (as [`metadata`] has it, or a command of its own), and,
/// where it shows what one run made, the [`parameters`] that viewers show. All that is written as PNG has them from here.
pub fn texts(made_from: &Value, parameters: Option<String>) -> Vec<(&'static str, String)> {
    let software = ("Software", software());
    let parameters = parameters.map(|text| ("parameters", text));
    [Some(software), parameters, Some((METADATA, made_from.to_string()))].into_iter().flatten().collect()
}

/// Where a picture and a report say by what their tokens are known again: a [`Proof`](super::proof::Proof) as text.
pub const FINGERPRINT: &str = "fingerprint";

/// Where a picture says how its first steps were made, which went on from another run: a list of [`Begun`](super::recipe::Begun).
pub const BEGUN: &str = "begun";

/// Adds to [`metadata`] what was there before, and to its command.
pub fn add_canvas(made_from: &mut Value, canvas: &Canvas) {
    let command = made_from
        .get("command")
        .and_then(Value::as_str)
        .map(|command| format!("{command} --canvas={canvas}"));
    if let Some(command) = command {
        made_from["command"] = command.into();
    }
    made_from[CANVAS] = serde_json::json!(canvas);
}

/// Where a picture says what was asked of a run that decided the rest: settings.
pub const ASKED: &str = "asked";

/// Where a picture says what was there before it was made: a [`Canvas`] as text.
pub const CANVAS: &str = "canvas";

/// The keyword of what a picture was made from.
pub const METADATA: &str = "migm";

fn software() -> String {
    format!("migm {}", env!("CARGO_PKG_VERSION"))
}

/// What other programs show of how pictures were made, in the form that AUTOMATIC1111's web interface began with: what was asked for,
/// and a line of settings. `width` and `height` are those of one picture, in pixels, and the seed that of the first. The guidance
/// weight is the one of `--guidance`.
pub fn parameters(
    model: &str,
    settings: &Settings,
    pictures: &[(Subject, u64)],
    [width, height]: [u32; 2],
) -> String {
    let words = |(subject, _): &'_ (Subject, u64)| match subject {
        Subject::Prompt(words) | Subject::Class(words) => words.clone(),
    };
    let mut subjects: Vec<String> = pictures.iter().map(words).collect();
    subjects.dedup();
    // The settings stand on the last line, and nothing else may look like them.
    let asked = subjects.join(", ").split_whitespace().collect::<Vec<_>>().join(" ");
    let Settings { sampling, refresh, predictor } = settings;
    let sampler = match refresh {
        Refresh::Every => "migm vanilla".to_owned(),
        refresh => format!("migm {predictor} {refresh}"),
    };
    let fields = [
        ("Steps", sampling.steps.to_string()),
        ("Sampler", sampler),
        ("CFG scale", sampling.guidance.to_string()),
        ("Seed", pictures.first().map_or(0, |(_, seed)| *seed).to_string()),
        ("Size", format!("{width}x{height}")),
        ("Model", model.to_owned()),
        ("Version", software()),
    ];
    // What would end a value stands in quotes, as that program has it.
    let quoted = |value: String| {
        if value.contains([',', '"', '\n']) { Value::from(value).to_string() } else { value }
    };
    let fields = fields.map(|(name, value)| format!("{name}: {}", quoted(value)));
    format!("{asked}\n{}", fields.join(", "))
}

/// The command that makes the pictures again, every setting spelled out; `None` where no one command makes them: several seeds
/// that do not count up, or a predictor from outside.
pub fn command(
    model: &str,
    quantize: Option<Quantization>,
    settings: &Settings,
    pictures: &[(Subject, u64)],
) -> Option<String> {
    let Settings { sampling, refresh, predictor } = settings;
    Predictor::named(&predictor.to_string())?;
    refresh.to_string().parse::<Refresh>().ok()?;
    if matches!(sampling.order, Order::Custom(_)) {
        return None;
    }
    let (_, seed) = pictures.first()?;
    let mut subjects: Vec<&Subject> = pictures.iter().map(|(subject, _)| subject).collect();
    subjects.dedup();
    let count = pictures.len() / subjects.len();
    let again =
        subjects.iter().flat_map(|subject| (0..count as u64).map(move |i| (*subject, seed.wrapping_add(i))));
    if !again.eq(pictures.iter().map(|(subject, seed)| (subject, *seed))) {
        return None;
    }
    let mut words = vec!["migm".to_owned(), "generate".to_owned()];
    for subject in subjects {
        match subject {
            Subject::Prompt(prompt) => words.push(quoted(prompt)),
            Subject::Class(class) => words.extend(["--class".to_owned(), quoted(class)]),
        }
    }
    // As the command line spells what JSON spells with underscores.
    let spelled = |value: Value| value.as_str().unwrap_or_default().replace('_', "-");
    let mut options = vec![
        ("model", quoted(model)),
        ("seed", seed.to_string()),
        ("count", count.to_string()),
        ("steps", sampling.steps.to_string()),
        ("refresh", refresh.to_string()),
        ("predictor", predictor.to_string()),
        ("guidance", sampling.guidance.to_string()),
        ("schedule", spelled(serde_json::json!(sampling.schedule))),
        ("temperature", sampling.draw_temperature.to_string()),
        ("softmax-temperature", sampling.softmax_temperature.to_string()),
        ("choice-temperature", sampling.choice_temperature.to_string()),
        ("choice-noise", spelled(serde_json::json!(sampling.choice_noise))),
        ("bf16-gumbel", sampling.bf16_gumbel.to_string()),
    ];
    let [low, high] = sampling.guidance_interval;
    options.extend([
        ("order", sampling.order.name().to_owned()),
        ("spread", sampling.spread.to_string()),
        ("reveal", sampling.reveal.to_string()),
        ("corrector", sampling.corrector.to_string()),
        ("guidance-interval", format!("{low},{high}")),
    ]);
    options.extend(quantize.map(|scheme| ("quantize", scheme.to_string())));
    words.extend(options.into_iter().map(|(name, value)| format!("--{name}={value}")));
    Some(words.join(" "))
}

/// A word as shells take it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}
