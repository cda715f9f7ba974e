//! What is asked of the server: the fields of OpenAI's images interface, and beside them every setting by its name.
//!
//! Bodies of JSON and forms with files both become fields and files, and from there are read by one set of rules.

use super::refusal::Refusal;
use crate::generate::GenerateError;
use crate::generate::model::Model;
use crate::generate::named::{is_setting, named};
use crate::generate::picture::Picture;
use crate::generate::recipe::Subject;
use crate::generate::region::Region;
use crate::generate::session::Settings;
use crate::input::{self, Fit};
use crate::models::Condition;
use serde_json::{Map, Value};

/// Pictures of one request: as many as OpenAI's interface has.
pub(super) const MOST_PICTURES: u32 = 10;
/// Pictures in the making that a stream shows before the last one: as many as OpenAI's interface has.
const MOST_PARTIAL: u32 = 3;
/// Bytes of a prompt.
const MOST_PROMPT: usize = 32_000;
/// Fields of OpenAI's interface that say nothing to a masked image model.
const IGNORED: [&str; 6] = ["user", "quality", "style", "moderation", "input_fidelity", "background"];

/// A file of pictures, as clients want it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Png,
    /// With a quality of 1 to 100.
    Jpeg(u8),
    Webp,
}

impl Format {
    /// As OpenAI's interface calls it, and as the end of a file's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg(_) => "jpeg",
            Self::Webp => "webp",
        }
    }
}

/// Files of a form.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// The pictures to edit, each with its name.
    pub(super) images: Vec<(String, Vec<u8>)>,
    /// Where.
    pub(super) mask: Option<(String, Vec<u8>)>,
}

/// The part of a picture that is made anew.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// The picture, of the model's size.
    pub(super) picture: Picture,
    pub(super) region: Region,
}

/// A request that makes sense.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// Which of the models.
    pub(super) model: usize,
    pub(super) subject: Subject,
    pub(super) condition: Condition,
    /// Of each picture.
    pub(super) seeds: Vec<u64>,
    pub(super) settings: Settings,
    pub(super) part: Option<Part>,
    pub(super) format: Format,
    /// Whether pictures are fetched by an address, and not in the answer.
    pub(super) by_url: bool,
    /// Whether the answer is a stream of events.
    pub(super) stream: bool,
    /// Pictures in the making that are shown.
    pub(super) partial: u32,
    /// Words that the model has never seen.
    pub(super) unknown: Vec<String>,
}

impl Asked {
    /// Whether pictures are run in one way: the model, all settings, the prompt's length.
    pub(super) fn runs_like(&self, other: &Self) -> bool {
        self.model == other.model
            && self.condition.prompt_tokens() == other.condition.prompt_tokens()
            && self.settings == other.settings
    }

    /// Whether pictures can be made in one batch: as many tokens are to be made of each, too.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let masked = |asked: &Self| asked.part.as_ref().map(|part| part.region.count());
        masked(self) == masked(other) && self.runs_like(other)
    }
}

/// A field that is to be a text.
fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Refusal> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(Refusal::of(name, format!("{name} is a text, not {other}"))),
    }
}

/// A field that is to be a whole number within bounds; forms have it as text.
fn number(
    fields: &Map<String, Value>,
    name: &str,
    (least, most): (u64, u64),
) -> Result<Option<u64>, Refusal> {
    let given = match fields.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(given) => given,
    };
    let found = given.as_u64().or_else(|| given.as_str().and_then(|text| text.trim().parse().ok()));
    match found {
        Some(found) if (least..=most).contains(&found) => Ok(Some(found)),
        _ => Err(Refusal::of(name, format!("{name} is a whole number from {least} to {most}, not {given}"))),
    }
}

/// A field that is to be true or false.
fn switch(fields: &Map<String, Value>, name: &str) -> Result<bool, Refusal> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(on)) => Ok(*on),
        Some(Value::String(text)) if text == "true" || text == "false" => Ok(text == "true"),
        Some(other) => Err(Refusal::of(name, format!("{name} is true or false, not {other}"))),
    }
}

/// What a client sends beside the fields that OpenAI's interface has: flat, or as an object of that name.
fn flattened(mut fields: Map<String, Value>) -> Result<Map<String, Value>, Refusal> {
    match fields.remove("extra_body") {
        None | Some(Value::Null) => {}
        Some(Value::Object(extra)) => fields.extend(extra),
        Some(other) => {
            return Err(Refusal::of("extra_body", format!("extra_body is an object, not {other}")));
        }
    }
    Ok(fields)
}

/// A seed for who names none. Every program can hold it: some have no whole numbers beyond 53 bits.
fn any_seed() -> u64 {
    let mut bytes = [0; 8];
    // Without it, seeds repeat; nothing worse.
    let _ = getrandom::fill(&mut bytes);
    u64::from_le_bytes(bytes) >> 11
}

/// Which model is meant.
fn which(fields: &Map<String, Value>, models: &[(String, Model)]) -> Result<usize, Refusal> {
    let Some(name) = text(fields, "model")? else { return Ok(0) };
    models.iter().position(|(known, _)| known == name).ok_or_else(|| {
        let known: Vec<&str> = models.iter().map(|(name, _)| name.as_str()).collect();
        Refusal::of("model", format!("there is no model {name:?} here; there are {}", known.join(", ")))
    })
}

/// Reads a request for pictures, of which a part is made anew if files say which.
///
/// # Errors
/// What is wrong with it, and with which field.
pub(super) fn read(
    fields: Map<String, Value>,
    files: Option<Files>,
    models: &[(String, Model)],
) -> Result<Asked, Refusal> {
    let fields = flattened(fields)?;
    let which = which(&fields, models)?;
    let (_, model) = &models[which];
    let subject = subject(&fields, model)?;
    let library = |error: GenerateError| Refusal::from_library(&error);
    let condition = model.condition(&subject).map_err(library)?;
    let unknown = match &subject {
        Subject::Prompt(prompt) => model.unknown_words(prompt).into_iter().map(|word| word.word).collect(),
        Subject::Class(_) => Vec::new(),
    };
    let count = number(&fields, "n", (1, u64::from(MOST_PICTURES)))?.unwrap_or(1);
    let seed = number(&fields, "seed", (0, u64::MAX))?.unwrap_or_else(any_seed);
    size(&fields, model)?;
    let (stream, partial) =
        (switch(&fields, "stream")?, number(&fields, "partial_images", (0, u64::from(MOST_PARTIAL)))?);
    if stream && count > 1 {
        return Err(Refusal::of("n", "a stream is of one picture; ask for several without `stream`"));
    }
    if !stream && partial.is_some_and(|partial| partial > 0) {
        return Err(Refusal::of(
            "partial_images",
            "pictures in the making are shown in a stream: add \"stream\": true",
        ));
    }
    if text(&fields, "background")? == Some("transparent") {
        return Err(Refusal::of("background", "the models make no transparent pictures"));
    }
    let by_url = match text(&fields, "response_format")? {
        None | Some("b64_json") => false,
        Some("url") if stream => {
            return Err(Refusal::of("response_format", "a stream carries its pictures: leave out `url`"));
        }
        Some("url") => true,
        Some(other) => {
            return Err(Refusal::of(
                "response_format",
                format!("response_format is b64_json or url, not {other:?}"),
            ));
        }
    };
    let format = format(&fields)?;
    let part = files.map(|files| part(files, model)).transpose()?;
    let given = settings(&fields, model)?;
    let share = part.as_ref().map(|part| part.region.count() as f32 / model.family().tokens() as f32);
    let settings = named(model, &given, share).map_err(library)?;
    let seeds = (0..count).map(|i| seed.wrapping_add(i)).collect();
    let partial = partial.unwrap_or(0) as u32;
    Ok(Asked {
        model: which,
        subject,
        condition,
        seeds,
        settings,
        part,
        format,
        by_url,
        stream,
        partial,
        unknown,
    })
}

fn subject(fields: &Map<String, Value>, model: &Model) -> Result<Subject, Refusal> {
    let Some(prompt) = text(fields, "prompt")? else {
        return Err(Refusal::of("prompt", "prompt says what is to be seen, and is missing"));
    };
    if prompt.len() > MOST_PROMPT {
        return Err(Refusal::of(
            "prompt",
            format!("a prompt has {MOST_PROMPT} bytes at most, not {}", prompt.len()),
        ));
    }
    Ok(match model.classes() {
        Some(_) => Subject::Class(prompt.to_owned()),
        None => Subject::Prompt(prompt.to_owned()),
    })
}

fn size(fields: &Map<String, Value>, model: &Model) -> Result<(), Refusal> {
    let [height, width] = model.family().size();
    let own = format!("{width}x{height}");
    match text(fields, "size")? {
        None | Some("auto") => Ok(()),
        Some(size) if size == own => Ok(()),
        Some(size) => Err(Refusal::of(
            "size",
            format!("{} makes pictures of {own} pixels, not {size}; leave size out", model.name),
        )),
    }
}

fn format(fields: &Map<String, Value>) -> Result<Format, Refusal> {
    let quality = number(fields, "output_compression", (0, 100))?;
    match text(fields, "output_format")? {
        None | Some("png") => Ok(Format::Png),
        Some("jpeg") => Ok(Format::Jpeg(quality.unwrap_or(90).max(1) as u8)),
        Some("webp") => Ok(Format::Webp),
        Some(other) => {
            Err(Refusal::of("output_format", format!("output_format is png, jpeg or webp, not {other:?}")))
        }
    }
}

/// What is left when the interface's own fields are taken: settings of the model. Forms have numbers as text.
fn settings(fields: &Map<String, Value>, model: &Model) -> Result<Map<String, Value>, Refusal> {
    const READ: [&str; 11] = [
        "model",
        "prompt",
        "n",
        "seed",
        "size",
        "stream",
        "partial_images",
        "response_format",
        "output_format",
        "output_compression",
        "image",
    ];
    let mut given = Map::new();
    for (name, value) in fields {
        if READ.contains(&name.as_str()) || IGNORED.contains(&name.as_str()) {
            continue;
        }
        if !is_setting(model, name) {
            return Err(Refusal::of(name, format!("there is no field and no setting {name:?}")));
        }
        let value = match value.as_str().map(serde_json::from_str::<Value>) {
            Some(Ok(number @ (Value::Number(_) | Value::Bool(_) | Value::Array(_)))) => number,
            _ => value.clone(),
        };
        given.insert(name.clone(), value);
    }
    Ok(given)
}

/// The picture that is edited, and where: where the mask shows through, as OpenAI's interface has it, or is white if it cannot; without a
/// mask where the picture itself shows through.
fn part(files: Files, model: &Model) -> Result<Part, Refusal> {
    let (grid, size) = (model.family().grid(), model.family().size());
    let wrong = |field: &'static str| move |error: input::InputError| Refusal::of(field, error.to_string());
    let mut images = files.images.into_iter();
    let (Some((name, bytes)), None) = (images.next(), images.next()) else {
        return Err(Refusal::of("image", "an edit is of one picture: send it as `image`"));
    };
    let own = match files.mask {
        Some(_) => None,
        None => input::opacity(&name, bytes.clone()).map_err(wrong("image"))?,
    };
    let picture = input::decode(&name, bytes).map_err(wrong("image"))?;
    let (made_anew, field) = match (files.mask, own) {
        (Some((name, bytes)), _) => {
            let opacity = input::opacity(&name, bytes.clone()).map_err(wrong("mask"))?;
            let white = || input::decode(&name, bytes).map_err(wrong("mask"));
            (opacity.map_or_else(white, |opacity| Ok(inverted(&opacity)))?, "mask")
        }
        (None, Some(opacity)) => (inverted(&opacity), "image"),
        (None, None) => {
            return Err(Refusal::of(
                "mask",
                "say what is to be made anew: by a mask that is transparent there, or by a picture that is",
            ));
        }
    };
    if u64::from(made_anew.width) * u64::from(picture.height)
        != u64::from(made_anew.height) * u64::from(picture.width)
    {
        let message = format!(
            "the mask is of {} x {} pixels and the picture of {} x {}; they have one shape",
            made_anew.width, made_anew.height, picture.width, picture.height
        );
        return Err(Refusal::of("mask", message));
    }
    let made_anew = Fit::Crop.bring(&made_anew, size).0;
    let values: Vec<f32> = made_anew.rgb.chunks_exact(3).map(|pixel| f32::from(pixel[0]) / 255.0).collect();
    let region = Region::of_mask(grid, size, &values);
    if region.count() == 0 {
        return Err(Refusal::of(field, "nothing would be made anew: nothing of it is transparent"));
    }
    Ok(Part { picture: Fit::Crop.bring(&picture, size).0, region })
}

/// White where it showed through.
fn inverted(opacity: &Picture) -> Picture {
    Picture { rgb: opacity.rgb.iter().map(|value| 255 - value).collect(), ..*opacity }
}

#[cfg(test)]
#[path = "asked_tests.rs"]
mod tests;
