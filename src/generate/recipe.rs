//! A recipe: all that pictures are made from. It is what the studio's controls edit, what a run is started with, what history
//! keeps, what stands in a saved PNG and in a link. Pictures are made again from it, token for token.

use super::GenerateError;
use super::engine::Job;
use super::model::Model;
use super::order::Order;
use super::predict::Predictor;
use super::refresh::Refresh;
use super::sampling::{Reveal, Sampling};
use super::session::Settings;
use crate::kernels::Quantization;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// Words, for a text model; none for anything.
    Prompt(String),
    /// The name or number of a class.
    Class(String),
}

impl Subject {
    /// As a person would name it.
    pub fn title(&self) -> &str {
        match self {
            Self::Prompt(prompt) if prompt.trim().is_empty() => "anything",
            Self::Prompt(prompt) => prompt,
            Self::Class(class) => class,
        }
    }
}

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

/// Where a picture says that it went on from a step of another run.
pub const BRANCH: &str = "branch";

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

/// Reads how tokens are drawn. Links and histories of earlier versions name the kind of model around it.
fn draw<'a, D: serde::Deserializer<'a>>(given: D) -> Result<Sampling, D::Error> {
    let given = Value::deserialize(given)?;
    let (official, given) = match (given.get("text"), given.get("class")) {
        (Some(text), _) => (Sampling::DIMOO, text),
        (_, Some(class)) => (Sampling::MASKGIT_512, class),
        _ => (Sampling::DIMOO, &given),
    };
    Sampling::over(&official, given).map_err(serde::de::Error::custom)
}

/// Everything that a run is made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// A bundled model's name, or a folder.
    pub model: String,
    /// What is asked for.
    pub subject: Subject,
    /// Seed of the first picture; the next ones count up from it.
    pub seed: u64,
    /// Pictures.
    pub images: u32,
    /// How tokens are drawn.
    #[serde(deserialize_with = "draw")]
    pub draw: Sampling,
    /// Which steps run the full model.
    pub refresh: Refresh,
    /// What stands in for it at the others.
    pub predictor: Predictor,
    /// How weights are quantised while they are loaded; `None` takes them as they are stored.
    #[serde(default)]
    pub quantize: Option<Quantization>,
}

impl Recipe {
    /// What a model does unless told otherwise: one picture, an eighth of the steps in full.
    pub fn new(model: &Model, subject: Subject) -> Self {
        let (draw, predictor) = (model.config.sampling, Predictor::of_model(model.family().has_shortcut()));
        Self {
            model: model.name.clone(),
            subject,
            seed: 0,
            images: 1,
            draw,
            refresh: predictor.default_refresh(draw.steps),
            predictor,
            quantize: None,
        }
    }

    /// The same with another seed.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// The same with every step in full.
    #[must_use]
    pub fn vanilla(&self) -> Self {
        let draw = Sampling { reveal: Reveal::Schedule, ..self.draw };
        Self { draw, refresh: Refresh::Every, ..self.clone() }
    }

    /// Full steps of a run, where the rule makes sense and tells before.
    pub fn full_steps(&self) -> Option<usize> {
        let steps = self.draw.steps;
        match self.refresh {
            Refresh::Optimal(budget) => return (1..=steps).contains(&budget).then_some(budget as usize),
            _ if self.refresh.pace().is_some() => return None,
            _ => {}
        }
        let full = self.refresh.full_steps(steps as usize, steps).ok()?;
        Some(full.into_iter().filter(|full| *full).count())
    }

    /// Whether the rule for full steps makes sense, whether or not it tells them before.
    pub fn makes_sense(&self) -> bool {
        self.refresh.pace().is_some() || self.full_steps().is_some()
    }

    /// What a session is configured with.
    pub fn settings(&self) -> Settings {
        Settings { sampling: self.draw, refresh: self.refresh.clone(), predictor: self.predictor }
    }

    /// The pictures to make: seeds count up.
    ///
    /// # Errors
    /// A subject that is not the model's.
    pub fn jobs(&self, model: &Model) -> Result<Vec<Job>, GenerateError> {
        let condition = model.condition(&self.subject)?;
        let job = |i| Job { condition: condition.clone(), seed: self.seed.wrapping_add(i) };
        Ok((0..u64::from(self.images.max(1))).map(job).collect())
    }

    /// What a PNG carries: [`metadata`] of pictures of this subject, by the model's name.
    pub fn metadata(&self, model: &str, seeds: &[u64]) -> Value {
        let pictures: Vec<(Subject, u64)> = seeds.iter().map(|&seed| (self.subject.clone(), seed)).collect();
        metadata(model, self.quantize, &self.settings(), &pictures)
    }

    /// [`parameters`] of pictures of this subject, by the model's name, for viewers. `width` and `height` are of one picture, in pixels.
    pub fn parameters(&self, model: &str, seeds: &[u64], size: [u32; 2]) -> String {
        let pictures: Vec<(Subject, u64)> = seeds.iter().map(|&seed| (self.subject.clone(), seed)).collect();
        parameters(model, &self.settings(), &pictures, size)
    }

    /// The text chunks of a PNG of pictures of this subject: [`texts`], by the model's name and the size of one picture, width first.
    pub fn texts(&self, model: &str, seeds: &[u64], size: [u32; 2]) -> Vec<(&'static str, String)> {
        texts(&self.metadata(model, seeds), Some(self.parameters(model, seeds, size)))
    }

    /// From what a PNG carries, of this program or of `migm generate`.
    ///
    /// # Errors
    /// A sentence on what is missing or wrong.
    pub fn from_metadata(value: &Value) -> Result<Self, String> {
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        if value.get("pixels").is_some_and(|pixels| *pixels != "signed") {
            return Err("the picture's pixels are scaled by --pixels, which runs here do not do".to_owned());
        }
        if value.get(BRANCH).is_some() {
            return Err(
                "the picture is a branch of another run, and its settings alone do not make it".to_owned()
            );
        }
        let settings =
            value.get("settings").ok_or("the picture does not say with what settings it was made")?;
        let part = |key: &str| settings.get(key).cloned().unwrap_or(Value::Null);
        let wrong = |e: serde_json::Error| format!("the picture's settings cannot be read: {e}");
        let (subject, official) = if let Some(prompt) = text("prompt") {
            (Subject::Prompt(prompt), Sampling::DIMOO)
        } else {
            let class = value.get("classes").and_then(|classes| classes.get(0)).and_then(Value::as_str);
            let class = class.ok_or("the picture names neither a prompt nor a class")?;
            if value["classes"].as_array().is_some_and(|all| all.iter().any(|other| *other != class)) {
                let reason =
                    "the picture shows several classes, and a run here is of one; open pictures one by one";
                return Err(reason.to_owned());
            }
            (Subject::Class(class.to_owned()), Sampling::MASKGIT_512)
        };
        let draw = Sampling::over(&official, &part("sampling")).map_err(wrong)?;
        let seeds: Vec<u64> = match (value.get("seeds"), value.get("seed").and_then(Value::as_u64)) {
            (Some(seeds), _) => serde_json::from_value(seeds.clone()).map_err(wrong)?,
            (None, Some(seed)) => vec![seed],
            (None, None) => return Err("the picture does not say its seed".to_owned()),
        };
        if seeds.windows(2).any(|pair| pair[1] != pair[0].wrapping_add(1)) {
            return Err("the picture's seeds do not count up, as those of a run here do".to_owned());
        }
        Ok(Self {
            model: text("model").ok_or("the picture does not name its model")?,
            subject,
            seed: seeds.first().copied().unwrap_or(0),
            images: (seeds.len() as u32).max(1),
            draw,
            refresh: serde_json::from_value(part("refresh")).map_err(wrong)?,
            predictor: serde_json::from_value(part("predictor")).map_err(wrong)?,
            quantize: match value.get("quantize") {
                Some(scheme) => serde_json::from_value(scheme.clone()).map_err(wrong)?,
                None => None,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::predict::MlCache;
    use super::*;
    use proptest::prelude::*;

    fn recipe(text: bool, seed: u64, images: u32, budget: u32) -> Recipe {
        let class = Sampling { steps: 9, ..Sampling::MASKGIT_512 };
        Recipe {
            model: "m".to_owned(),
            subject: if text { Subject::Prompt("a fox".into()) } else { Subject::Class("fox".into()) },
            seed,
            images,
            draw: if text { Sampling::DIMOO } else { class },
            refresh: if budget == 0 { Refresh::Every } else { Refresh::Uniform(budget) },
            predictor: Predictor::MlCache(MlCache::OFFICIAL),
            quantize: text.then_some(Quantization::Int4 { group: 32 }),
        }
    }

    proptest! {
        #[test]
        fn a_recipe_survives_in_a_picture(text: bool, seed: u64, images in 1_u32..10, budget in 0_u32..9) {
            let recipe = recipe(text, seed, images, budget);
            let seeds: Vec<u64> = (0..images).map(|i| seed.wrapping_add(u64::from(i))).collect();
            let value: Value = serde_json::from_str(&recipe.metadata(&recipe.model, &seeds).to_string()).unwrap();
            prop_assert_eq!(Recipe::from_metadata(&value).unwrap(), recipe);
        }
    }

    #[test]
    fn other_pictures_are_refused_with_a_reason() {
        for (value, reason) in [
            (serde_json::json!({}), "settings"),
            (serde_json::json!({ "settings": {} }), "neither a prompt nor a class"),
            (serde_json::json!({ "settings": { "sampling": 3 }, "prompt": "a" }), "cannot be read"),
        ] {
            let found = Recipe::from_metadata(&value).unwrap_err();
            assert!(found.contains(reason), "{found}");
        }
    }

    #[test]
    fn what_a_run_cannot_be_is_refused() {
        let sheet = recipe(false, 5, 3, 4).metadata("m", &[5, 6, 7]);
        let with = |key: &str, value: Value| {
            let mut changed = sheet.clone();
            changed[key] = value;
            Recipe::from_metadata(&changed).unwrap_err()
        };
        assert!(with("classes", serde_json::json!(["fox", "taxi", "fox"])).contains("several classes"));
        assert!(with("seeds", serde_json::json!([5, 6, 5])).contains("do not count up"));
        assert!(with(BRANCH, 3.into()).contains("branch of another run"));
        assert!(Recipe::from_metadata(&sheet).is_ok());
    }

    #[test]
    fn a_recipe_of_an_earlier_version_still_reads() {
        let mut old = serde_json::json!(recipe(true, 3, 2, 4));
        old["draw"] =
            serde_json::json!({ "text": { "steps": 64, "guidance": 4.0, "choice_temperature": 1.0 } });
        assert_eq!(serde_json::from_value::<Recipe>(old.clone()).unwrap(), recipe(true, 3, 2, 4));
        old["draw"] =
            serde_json::json!({ "class": { "steps": 9, "guidance": 2.8, "choice_temperature": 7.0 } });
        let read: Recipe = serde_json::from_value(old).unwrap();
        assert_eq!(read.draw, recipe(false, 3, 2, 4).draw);
    }

    #[test]
    fn viewers_find_parameters_in_their_form() {
        let mut recipe = Recipe { predictor: Predictor::Shortcut, ..recipe(true, 7, 2, 4) };
        recipe.draw = Sampling { steps: 32, guidance: 2.0, ..recipe.draw };
        recipe.subject = Subject::Prompt("two foxes,\nin the snow ".to_owned());
        let texts = recipe.texts("scenes-text", &[7, 8], [128, 96]);
        let keys: Vec<&str> = texts.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, ["Software", "parameters", "migm"]);
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            texts[1].1,
            format!(
                "two foxes, in the snow\nSteps: 32, Sampler: migm shortcut uniform:4, CFG scale: 2, Seed: 7, Size: 128x96, Model: scenes-text, Version: migm {version}"
            )
        );
        recipe.refresh = Refresh::List(vec![0, 3]);
        assert!(recipe.parameters("m", &[7], [8, 8]).contains("Sampler: \"migm shortcut list:0,3\", CFG"));
        recipe.refresh = Refresh::Every;
        assert!(recipe.parameters("m", &[7], [8, 8]).contains("Sampler: migm vanilla, "));
        let pictures = ["fox", "fox", "owl"].map(|class| (Subject::Class(class.to_owned()), 3));
        let of_classes = parameters("m", &recipe.settings(), &pictures, [8, 8]);
        assert!(of_classes.starts_with("fox, owl\nSteps: 32, "), "{of_classes}");
        assert_eq!(super::texts(&Value::Null, None).len(), 2);
    }

    #[test]
    fn full_steps_are_counted() {
        assert_eq!(recipe(true, 0, 1, 8).full_steps(), Some(8));
        assert_eq!(recipe(false, 0, 1, 0).full_steps(), Some(9));
        assert_eq!(Recipe { refresh: Refresh::Uniform(90), ..recipe(false, 0, 1, 0) }.full_steps(), None);
    }
}
