//! What Python asks for, read with the library's own rules: unknown names and impossible values are refused by a sentence.

use crate::failure::Failure;
use migm::generate::canvas::Canvas;
use migm::generate::engine::Job;
use migm::generate::model::Model;
use migm::generate::named::named;
use migm::generate::recipe::Subject;
use migm::generate::session::Settings;
use serde_json::Value;

/// Settings over the model's own, as JSON; `share` is how much of a picture is to be made, where that is a part.
pub(crate) fn settings(model: &Model, given: &str, share: Option<f32>) -> Result<Settings, Failure> {
    let given: serde_json::Map<String, Value> =
        serde_json::from_str(given).map_err(|error| Failure::setting(format!("settings: {error}")))?;
    Ok(named(model, &given, share)?)
}

/// A picture that is asked for: `prompt` or `class`, `seed`, and `codes` where some are there already (the number of codes and
/// above where masked).
pub(crate) fn job(model: &Model, given: &Value) -> Result<Job, Failure> {
    let text = |name: &str| given.get(name).and_then(Value::as_str).map(str::to_owned);
    let subject = match (text("prompt"), text("class")) {
        (Some(prompt), _) => Subject::Prompt(prompt),
        (None, Some(class)) => Subject::Class(class),
        (None, None) => return Err(Failure::setting("a picture is of a prompt or of a class")),
    };
    let seed = given.get("seed").and_then(Value::as_u64);
    let seed = seed.ok_or_else(|| Failure::setting("a seed is an integer from 0 to 2^64 - 1"))?;
    let mut job = Job::new(model.condition(&subject)?, seed);
    if let Some(codes) = given.get("codes").and_then(Value::as_array) {
        let codes: Vec<u32> = codes.iter().map(|code| code.as_u64().unwrap_or(u64::MAX) as u32).collect();
        let codebook = model.family().codebook();
        let codes: Vec<u32> =
            codes.iter().map(|&code| if code < codebook { code } else { codebook }).collect();
        let canvas = Canvas::of_codes(&codes, codebook);
        canvas.check(model.family().tokens(), codebook)?;
        job.canvas = (!canvas.is_blank()).then_some(canvas);
    }
    Ok(job)
}

/// A list of them.
pub(crate) fn jobs(model: &Model, given: &str) -> Result<Vec<Job>, Failure> {
    let given: Vec<Value> =
        serde_json::from_str(given).map_err(|error| Failure::setting(format!("pictures: {error}")))?;
    given.iter().map(|given| job(model, given)).collect()
}
