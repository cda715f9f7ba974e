//! What clients read: OpenAI's answers, jobs, and events of what goes on.

use super::refusal::Refusal;
use super::task::{Progress, State, Task, WhileAsked};
use crate::generate::model::Model;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::watch;

/// Between signs of life where nothing happens.
const QUIET: std::time::Duration = std::time::Duration::from_secs(10);

fn size(model: &Model) -> String {
    let [height, width] = model.family().size();
    format!("{width}x{height}")
}

/// Where a picture of a job is fetched.
pub(super) fn url(host: &str, task: &Task, picture: usize) -> String {
    format!("http://{host}/v1/jobs/{}/pictures/{picture}.{}", task.id, task.asked.format.name())
}

/// What was made, and under what, beside what OpenAI's interface has.
fn about(task: &Task, model: &(String, Model)) -> Value {
    let steps = task.picture(0).map(|made| made.steps).unwrap_or_default();
    let settings = &task.asked.settings;
    json!({
        "model": model.0, "seeds": task.asked.seeds, "steps": steps, "pace": settings.refresh.to_string(),
        "predictor": settings.predictor.to_string(), "sampling": settings.sampling, "unknown_words": task.asked.unknown,
    })
}

/// The answer to a request whose pictures are all there.
pub(super) fn images(task: &Task, model: &(String, Model), host: &str) -> Value {
    let item = |index: usize| {
        let seed = task.asked.seeds[index];
        if task.asked.by_url {
            return json!({ "url": url(host, task, index), "seed": seed });
        }
        let file = task.picture(index).map(|made| base64::encode(&*made.file)).unwrap_or_default();
        json!({ "b64_json": file, "seed": seed })
    };
    let data: Vec<Value> = (0..task.asked.seeds.len()).map(item).collect();
    json!({
        "created": task.created, "data": data, "output_format": task.asked.format.name(), "size": size(&model.1),
        "migm": about(task, model),
    })
}

/// A job as it is now.
pub(super) fn job(task: &Task, model: &(String, Model), host: &str) -> Value {
    let progress = task.progress();
    let mut job = json!({
        "id": task.id, "object": "migm.job", "created": task.created, "model": model.0, "status": progress.name(),
        "pictures": task.asked.seeds.len(), "made": progress.made, "step": progress.step, "steps": progress.steps,
        "ran": progress.kind, "masked": progress.masked, "migm": about(task, model),
    });
    match progress.state {
        State::Done => {
            let item =
                |index: usize| json!({ "url": url(host, task, index), "seed": task.asked.seeds[index] });
            job["data"] = (0..task.asked.seeds.len()).map(item).collect::<Vec<_>>().into();
        }
        State::Failed(refusal) => job["error"] = refusal.json()["error"].clone(),
        _ => {}
    }
    job
}

/// The models that are served.
pub(super) fn model((name, model): &(String, Model), created: u64) -> Value {
    let family = model.family();
    json!({
        "id": name, "object": "model", "created": created, "owned_by": "migm", "architecture": family.architecture(), "size": size(model),
        "tokens": family.tokens(), "classes": model.classes().map(|classes| classes.labels.clone()), "shortcut": family.has_shortcut(),
        "sampling": model.config.sampling,
    })
}

fn event(name: &str, data: &Value) -> Result<Event, Infallible> {
    Ok(Event::default().event(name).data(data.to_string()))
}

fn events(stream: impl futures_util::Stream<Item = Result<Event, Infallible>> + Send + 'static) -> Response {
    Sse::new(stream).keep_alive(KeepAlive::new().interval(QUIET)).into_response()
}

/// A job's progress: an event whenever it has changed since the last one was sent, and its end.
pub(super) fn progress(task: Arc<Task>, model: (String, Model), host: String) -> Response {
    let mut changes = task.watch();
    changes.mark_changed();
    let next = move |(mut changes, is_over): (watch::Receiver<Progress>, bool)| {
        let (task, model, host) = (Arc::clone(&task), model.clone(), host.clone());
        async move {
            if is_over || changes.changed().await.is_err() {
                return None;
            }
            let is_over = changes.borrow_and_update().is_over();
            let name = if is_over { task.progress().name() } else { "progress" };
            Some((event(name, &job(&task, &model, &host)), (changes, is_over)))
        }
    };
    events(stream::unfold((changes, false), next))
}

/// Where a stream of pictures is.
struct Showing {
    asked: WhileAsked,
    changes: watch::Receiver<Progress>,
    shown: usize,
    is_over: bool,
}

/// OpenAI's stream: pictures in the making, and the last one.
pub(super) fn stream_of(asked: WhileAsked, model: (String, Model)) -> Response {
    let changes = asked.task.watch();
    let next = move |mut showing: Showing| {
        let model = model.clone();
        async move {
            if showing.is_over {
                return None;
            }
            let shown = showing.shown;
            let found = showing.changes.wait_for(|now| now.partial > shown || now.is_over()).await;
            let state = found.map(|now| (now.partial, now.state.clone()));
            let task = &showing.asked.task;
            let what = if task.asked.part.is_some() { "image_edit" } else { "image_generation" };
            let picture = |kind: &str, file: &[u8]| {
                json!({
                    "type": format!("{what}.{kind}"), "b64_json": base64::encode(file), "created_at": task.created,
                    "size": size(&model.1), "output_format": task.asked.format.name(), "background": "opaque", "quality": "auto",
                })
            };
            let (name, data) = match state {
                Ok((partial, _)) if partial > shown => {
                    let file = task.partial(shown).unwrap_or_default();
                    let mut data = picture("partial_image", &file);
                    data["partial_image_index"] = shown.into();
                    showing.shown += 1;
                    ("partial_image", data)
                }
                Ok((_, State::Done)) => {
                    let file = task.picture(0).map(|made| made.file).unwrap_or_default();
                    let mut data = picture("completed", &file);
                    // Clients that count tokens read numbers here: those of pictures are the grid's.
                    let tokens = model.1.family().tokens();
                    data["usage"] =
                        json!({ "input_tokens": 0, "output_tokens": tokens, "total_tokens": tokens });
                    data["migm"] = about(task, &model);
                    showing.is_over = true;
                    ("completed", data)
                }
                Ok((_, State::Failed(refusal))) => {
                    showing.is_over = true;
                    ("error", refusal.json())
                }
                _ => {
                    showing.is_over = true;
                    ("error", Refusal::stopping().json())
                }
            };
            let name = if name == "error" { name.to_owned() } else { format!("{what}.{name}") };
            Some((event(&name, &data), showing))
        }
    };
    events(stream::unfold(Showing { asked, changes, shown: 0, is_over: false }, next))
}
