//! A recipe: all that pictures are made from. It is what the studio's controls edit, what a run is started with, what history
//! keeps, what stands in a saved PNG and in a link. Pictures are made again from it, token for token.

use super::GenerateError;
use super::canvas::Canvas;
use super::engine::{First, Job};
use super::metadata::{self, BEGUN, CANVAS};
use super::model::Model;
use super::predict::Predictor;
use super::proof::Proof;
use super::refresh::Refresh;
use super::sampling::{Reveal, Sampling};
use super::session::{PlannedStep, Settings};
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
    /// How the first steps were made where it is a branch, in their order; nothing where it is not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub begun: Vec<Begun>,
    /// What is there of the pictures already, of which only what is masked is made; nothing of new ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canvas: Option<Canvas>,
}

/// The first steps of a branch: another run's. With the next step the model looks at the tokens anew, in full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Begun {
    /// Steps of the run that are made so, those before them included.
    pub steps: u32,
    /// The seed of its first picture.
    pub seed: u64,
    /// Which of its steps ran the full model.
    pub refresh: Refresh,
    /// What stood in for it at the others.
    pub predictor: Predictor,
}

impl std::fmt::Display for Begun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{};{};{};{}", self.steps, self.seed, self.predictor, self.refresh)
    }
}

impl std::str::FromStr for Begun {
    type Err = String;

    /// As it is written.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not steps;seed;predictor;refresh");
        let parts: Vec<&str> = text.split(';').collect();
        let [steps, seed, predictor, refresh] = parts[..] else { return Err(wrong()) };
        Ok(Self {
            steps: steps.parse().map_err(|_| wrong())?,
            seed: seed.parse().map_err(|_| wrong())?,
            predictor: Predictor::named(predictor).ok_or_else(wrong)?,
            refresh: refresh.parse()?,
        })
    }
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
            begun: Vec::new(),
            canvas: None,
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

    /// Whether the rule for full steps makes sense, whether or not it tells them before; of a branch those of all its parts.
    pub fn makes_sense(&self) -> bool {
        let (parts, steps) = (self.parts(), self.draw.steps);
        let ends = self.begun.iter().map(|begun| begun.steps);
        let in_order = ends.clone().zip(ends.clone().skip(1)).all(|(end, next)| end < next);
        in_order && ends.clone().all(|end| (1..steps).contains(&end)) && parts.iter().all(Self::has_a_rule)
    }

    fn has_a_rule(&self) -> bool {
        self.refresh.pace().is_some() || self.full_steps().is_some()
    }

    /// What it is made of, one after the other: of a branch the first steps, each as a run of its own that is left behind them.
    pub fn parts(&self) -> Vec<Self> {
        let own = Self { begun: Vec::new(), ..self.clone() };
        let of = |begun: &Begun| {
            let Begun { seed, refresh, predictor, .. } = begun.clone();
            Self { seed, refresh, predictor, ..own.clone() }
        };
        let mut parts: Vec<Self> = self.begun.iter().map(of).collect();
        parts.push(own);
        parts
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
        let canvas = &self.canvas;
        let seed = |i| self.seed.wrapping_add(i);
        let job = |i| Job { condition: condition.clone(), seed: seed(i), canvas: canvas.clone() };
        Ok((0..u64::from(self.images.max(1))).map(job).collect())
    }

    /// How the first steps of a branch are made.
    ///
    /// # Errors
    /// Settings that do not go together.
    pub fn firsts(&self, model: &Model) -> Result<Vec<First>, GenerateError> {
        let parts = self.parts();
        let first = |(begun, part): (&Begun, &Self)| {
            let seeds = (0..u64::from(self.images.max(1))).map(|i| begun.seed.wrapping_add(i)).collect();
            Ok(First { steps: begun.steps as usize, settings: model.resolve(part.settings())?, seeds })
        };
        self.begun.iter().zip(&parts).map(first).collect()
    }

    /// The steps of a run: of a branch each part's own.
    ///
    /// # Errors
    /// Settings that do not go together.
    pub fn plan(&self, model: &Model) -> Result<Vec<PlannedStep>, GenerateError> {
        let tokens = model.family().tokens();
        let mut plan = Vec::new();
        for (at, part) in self.parts().iter().enumerate() {
            let masked = self.canvas.as_ref().map_or(tokens, Canvas::masked);
            let steps = model.resolve(part.settings())?.plan_on(tokens, masked)?.into_iter();
            let until = self.begun.get(at).map_or(usize::MAX, |begun| begun.steps as usize);
            plan.extend(steps.take(until).skip(plan.len()));
        }
        Ok(plan)
    }

    /// What a PNG carries: [`metadata`](metadata::metadata) of pictures of this subject, by the model's name.
    pub fn metadata(&self, model: &str, seeds: &[u64]) -> Value {
        let pictures: Vec<(Subject, u64)> = seeds.iter().map(|&seed| (self.subject.clone(), seed)).collect();
        let mut value = metadata::metadata(model, self.quantize, &self.settings(), &pictures);
        if let (false, Some(object)) = (self.begun.is_empty(), value.as_object_mut()) {
            object.insert(BEGUN.to_owned(), serde_json::json!(self.begun));
            // No command makes it.
            object.remove("command");
        }
        if let Some(canvas) = &self.canvas {
            metadata::add_canvas(&mut value, canvas);
        }
        value
    }

    /// [`parameters`](metadata::parameters) of pictures of this subject, by the model's name, for viewers. `width` and `height` are of one picture, in pixels.
    pub fn parameters(&self, model: &str, seeds: &[u64], size: [u32; 2]) -> String {
        let pictures: Vec<(Subject, u64)> = seeds.iter().map(|&seed| (self.subject.clone(), seed)).collect();
        metadata::parameters(model, &self.settings(), &pictures, size)
    }

    /// The text chunks of a PNG of pictures of this subject: [`texts`](metadata::texts), by the model's name and the size of one picture, width first.
    pub fn texts(&self, model: &str, seeds: &[u64], size: [u32; 2]) -> Vec<(&'static str, String)> {
        metadata::texts(&self.metadata(model, seeds), Some(self.parameters(model, seeds, size)))
    }

    /// The same of pictures that are made: with the [`Proof`] of their codes, by which the tokens are known again.
    pub fn proven_texts(&self, seeds: &[u64], size: [u32; 2], codes: &[u32]) -> Vec<(&'static str, String)> {
        let mut made_from = self.metadata(&self.model, seeds);
        made_from[metadata::FINGERPRINT] = Proof::of(codes).to_string().into();
        metadata::texts(&made_from, Some(self.parameters(&self.model, seeds, size)))
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
            begun: match value.get(BEGUN) {
                Some(begun) => serde_json::from_value(begun.clone()).map_err(wrong)?,
                None => Vec::new(),
            },
            canvas: match value.get(CANVAS) {
                Some(canvas) => serde_json::from_value(canvas.clone()).map_err(wrong)?,
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
            begun: Vec::new(),
            canvas: text.then(|| "AAA.__-.".parse().unwrap()),
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
        assert!(with(BEGUN, 3.into()).contains("cannot be read"));
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
        let of_classes = metadata::parameters("m", &recipe.settings(), &pictures, [8, 8]);
        assert!(of_classes.starts_with("fox, owl\nSteps: 32, "), "{of_classes}");
        assert_eq!(metadata::texts(&Value::Null, None).len(), 2);
    }

    #[test]
    fn full_steps_are_counted() {
        assert_eq!(recipe(true, 0, 1, 8).full_steps(), Some(8));
        assert_eq!(recipe(false, 0, 1, 0).full_steps(), Some(9));
        assert_eq!(Recipe { refresh: Refresh::Uniform(90), ..recipe(false, 0, 1, 0) }.full_steps(), None);
    }
}
