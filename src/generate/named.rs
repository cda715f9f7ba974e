//! Settings by name, over a model's own: what the Python package and the server are given.

use super::GenerateError;
use super::model::Model;
use super::predict::Predictor;
use super::refresh::Refresh;
use super::sampling::Sampling;
use super::session::Settings;
use serde_json::{Map, Value};

/// Names beside those of [`Sampling`]: `pace` and `refresh` are two words for which steps run in full, `budget` is the usual case of it.
const OWN: [&str; 4] = ["budget", "pace", "refresh", "predictor"];

fn refuse<T>(message: impl Into<String>) -> Result<T, GenerateError> {
    Err(GenerateError::Setting(message.into()))
}

/// Whether something is the name of a setting.
pub fn is_setting(model: &Model, name: &str) -> bool {
    OWN.contains(&name) || sampling(model).contains_key(name)
}

fn sampling(model: &Model) -> Map<String, Value> {
    let own = serde_json::to_value(model.config.sampling).unwrap_or_default();
    own.as_object().cloned().unwrap_or_default()
}

/// Settings over the model's own, checked against it: `budget`, `pace` (or `refresh`) and `predictor` as the command line spells them,
/// everything else as [`Sampling`] has it.
///
/// `share` is how much of a picture is to be made, where that is only a part: without `steps` there are fewer of them then
/// ([`Settings::for_share`]), and what is said of full steps is of those.
///
/// # Errors
/// A name that is none, a value of another kind or out of range, or settings that the model cannot be run under.
pub fn named(
    model: &Model,
    given: &Map<String, Value>,
    share: Option<f32>,
) -> Result<Settings, GenerateError> {
    let mut fields = sampling(model);
    let (mut refresh, mut predictor) = (None, Predictor::of_model(model.family().has_shortcut()));
    let mut pace = |rule: Refresh| match refresh.replace(rule) {
        None => Ok(()),
        Some(_) => refuse("a budget is a pace, and so is a refresh; give one of them"),
    };
    for (name, value) in given {
        match (name.as_str(), value) {
            (_, Value::Null) => {}
            ("pace" | "refresh", Value::String(rule)) => pace(rule.parse().map_err(GenerateError::Setting)?)?,
            ("budget", Value::Number(budget)) => match budget.as_u64().and_then(|n| u32::try_from(n).ok()) {
                Some(budget) => pace(Refresh::Uniform(budget))?,
                None => return refuse(format!("a budget is a number of full steps, not {budget}")),
            },
            ("predictor", Value::String(spec)) => {
                let found = Predictor::named(spec);
                predictor = match found {
                    Some(predictor) => predictor,
                    None => return refuse(format!("there is no predictor {spec:?}")),
                };
            }
            ("pace" | "refresh" | "predictor", other) => {
                return refuse(format!("{name} is a text as the command line has it, not {other}"));
            }
            ("budget", other) => return refuse(format!("a budget is a number of full steps, not {other}")),
            _ if fields.contains_key(name) => {
                fields.insert(name.clone(), value.clone());
            }
            _ => {
                let known: Vec<&str> = OWN.into_iter().chain(fields.keys().map(String::as_str)).collect();
                return refuse(format!("there is no setting {name:?}; there are {}", known.join(", ")));
            }
        }
    }
    let sampling: Sampling = match serde_json::from_value(fields.into()) {
        Ok(sampling) => sampling,
        Err(error) => return refuse(format!("settings: {error}")),
    };
    let whole = Settings { sampling, refresh: predictor.default_refresh(sampling.steps), predictor };
    let has_steps = given.get("steps").is_some_and(|steps| !steps.is_null());
    let mut settings = match share {
        Some(share) if !has_steps => whole.for_share(share),
        _ => whole,
    };
    if let Some(refresh) = refresh {
        settings.refresh = refresh;
    }
    let settings = model.resolve(settings)?;
    // What is out of range is said now, and not when a run begins.
    settings.plan(model.family().tokens())?;
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> Map<String, Value> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn nothing_given_is_the_models_own() {
        let model = Model::bundled_text().unwrap();
        let settings = named(&model, &Map::new(), None).unwrap();
        assert_eq!(settings.sampling, model.config.sampling);
        assert_eq!(settings.refresh, Predictor::Shortcut.default_refresh(settings.sampling.steps));
        assert_eq!(named(&model, &given(r#"{"steps": null, "budget": null}"#), None).unwrap(), settings);
    }

    #[test]
    fn a_budget_is_a_pace_under_three_names() {
        let model = Model::bundled_text().unwrap();
        let of = |text: &str| named(&model, &given(text), None).unwrap().refresh;
        assert_eq!(of(r#"{"budget": 3}"#), Refresh::Uniform(3));
        assert_eq!(of(r#"{"pace": "uniform:3"}"#), of(r#"{"refresh": "uniform:3"}"#));
        for two in [r#"{"budget": 3, "pace": "every"}"#, r#"{"refresh": "every", "pace": "every"}"#] {
            let error = named(&model, &given(two), None).unwrap_err().to_string();
            assert!(error.contains("give one of them"), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_name() {
        let model = Model::bundled_text().unwrap();
        for (text, word) in [
            (r#"{"stepz": 3}"#, "\"stepz\"; there are budget"),
            (r#"{"steps": "many"}"#, "settings: "),
            (r#"{"steps": 0}"#, "at least 1 step"),
            (r#"{"budget": -1}"#, "-1"),
            (r#"{"budget": 1000}"#, "1000"),
            (r#"{"pace": 4}"#, "pace is a text"),
            (r#"{"predictor": "magic"}"#, "\"magic\""),
            (r#"{"pace": "sometimes"}"#, "sometimes"),
        ] {
            let error = named(&model, &given(text), None).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn a_part_takes_fewer_steps_and_a_budget_is_of_those() {
        let model = Model::bundled_text().unwrap();
        let own = named(&model, &Map::new(), None).unwrap();
        let part = named(&model, &Map::new(), Some(0.25)).unwrap();
        assert_eq!(part, own.for_share(0.25));
        let budget = named(&model, &given(r#"{"budget": 2}"#), Some(0.25)).unwrap();
        assert_eq!((budget.sampling, budget.refresh), (part.sampling, Refresh::Uniform(2)));
        let steps = named(&model, &given(r#"{"steps": 9}"#), Some(0.25)).unwrap();
        assert_eq!(steps.sampling.steps, 9, "who names the steps has them");
        assert!(is_setting(&model, "budget") && is_setting(&model, "guidance") && !is_setting(&model, "n"));
    }
}
