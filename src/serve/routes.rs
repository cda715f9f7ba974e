//! Addresses, and who may ask.

use super::answers;
use super::asked::{self, Asked};
use super::bodies::{self, Room};
use super::jobs::Jobs;
use super::metrics::Metrics;
use super::queue::Queue;
use super::refusal::Refusal;
use super::task::{State, Task, WhileAsked};
use crate::generate::model::Model;
use axum::extract::{MatchedPath, Path, Request, State as Given};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use std::sync::Arc;
use subtle::ConstantTimeEq as _;

/// What all requests share.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) models: Vec<(String, Model)>,
    pub(super) queue: Arc<Queue>,
    pub(super) jobs: Jobs,
    pub(super) metrics: Arc<Metrics>,
    pub(super) room: Room,
    /// What clients must show.
    pub(super) token: Option<String>,
    /// Seconds since 1970.
    pub(super) created: u64,
}

type Shared = Given<Arc<Server>>;

/// All addresses.
pub(super) fn router(server: Arc<Server>) -> Router {
    Router::new()
        .route("/v1/images/generations", post(generations))
        .route("/v1/images/edits", post(edits))
        .route("/v1/models", get(models))
        .route("/v1/models/{model}", get(model))
        .route("/v1/jobs", get(jobs).post(begin))
        .route("/v1/jobs/{id}", get(job).delete(cancel))
        .route("/v1/jobs/{id}/events", get(events))
        .route("/v1/jobs/{id}/pictures/{name}", get(picture))
        .route("/metrics", get(metrics))
        .route("/health", get(health))
        .fallback(async || {
            Refusal::missing("there is nothing at this address; the server's are in docs/serve.md")
        })
        .method_not_allowed_fallback(async || Refusal::method())
        .layer(from_fn_with_state(Arc::clone(&server), admit))
        .with_state(server)
}

/// Lets in who has the token, and no pages of other sites; counts answers.
async fn admit(Given(server): Shared, path: Option<MatchedPath>, request: Request, next: Next) -> Response {
    let address = path.as_ref().map_or("elsewhere", MatchedPath::as_str).to_owned();
    // A picture's address is its own key, as nobody guesses it; whether the server lives is no secret.
    let is_open = ["/health", "/v1/jobs/{id}/pictures/{name}"].contains(&address.as_str());
    let refusal = match &server.token {
        Some(token) if !is_open && !shows(request.headers(), token) => Some(Refusal::unknown_client()),
        Some(_) => None,
        None => foreign(request.headers()),
    };
    let response = match refusal {
        Some(refusal) => refusal.into_response(),
        None => next.run(request).await,
    };
    server.metrics.answered(&address, response.status());
    response
}

/// Whether a request shows the token.
fn shows(headers: &HeaderMap, token: &str) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    given.trim().as_bytes().ct_eq(token.as_bytes()).into()
}

/// Whether a page of another site asks, through the browser of somebody here, where no token keeps it out. Browsers let any page send
/// forms to any address, and say whose page it is in `Origin`; a page whose own name was made to point here (DNS rebinding) sends that
/// name as `Host`.
fn foreign(headers: &HeaderMap) -> Option<Refusal> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let is_here = |host: &str| {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|c| c.is_ascii_digit()) => name,
            _ => host,
        };
        ["localhost", "127.0.0.1", "[::1]"].contains(&name)
    };
    let host = text(header::HOST);
    if let Some(host) = host.filter(|host| !is_here(host)) {
        return Some(Refusal::foreign_page(host));
    }
    let origin = text(header::ORIGIN)?;
    let own = origin.split_once("://").map(|(_, host)| host);
    (own.is_none() || own != host).then(|| Refusal::foreign_page(origin))
}

fn host(headers: &HeaderMap) -> String {
    let given = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    // What stands in an answer is nothing that a client made up.
    let is_host = |host: &&str| host.bytes().all(|c| c.is_ascii_alphanumeric() || b".-:[]".contains(&c));
    given.filter(is_host).unwrap_or("localhost").to_owned()
}

/// Reads a request and has it wait for its turn.
async fn take(server: &Arc<Server>, request: Request, is_edit: Option<bool>) -> Result<Arc<Task>, Refusal> {
    if !server.queue.is_open() {
        return Err(Refusal::stopping());
    }
    let read = bodies::read(&server.room, request).await?;
    let (fields, files) = (read.fields, read.files);
    match (is_edit, &files) {
        (Some(true), None) => {
            return Err(Refusal::wrong(
                "an edit is a form with files: multipart/form-data with `image` and `mask`",
            ));
        }
        (Some(false), Some(_)) => {
            return Err(Refusal::wrong(
                "a generation is JSON; a form with a picture goes to /v1/images/edits",
            ));
        }
        _ => {}
    }
    let shared = Arc::clone(server);
    let understand = move || asked::read(fields, files, &shared.models);
    // Pictures are decoded here, which takes a while, as do long prompts.
    let asked: Asked = tokio::task::spawn_blocking(understand)
        .await
        .map_err(|_| Refusal::failed("a fault of migm; the server's own messages say more"))??;
    let task = Arc::new(Task::new(asked));
    server.queue.push(&task)?;
    server.metrics.waiting(server.queue.len());
    Ok(task)
}

/// The answer when all is there, or events until then. Who goes away cancels.
async fn answer(server: &Arc<Server>, task: Arc<Task>, host: &str) -> Result<Response, Refusal> {
    let asked = WhileAsked { task: Arc::clone(&task), metrics: Arc::clone(&server.metrics) };
    let model = &server.models[task.asked.model];
    if task.asked.stream {
        return Ok(answers::stream_of(asked, model.clone()));
    }
    let mut changes = task.watch();
    let over = changes.wait_for(super::task::Progress::is_over).await.map(|now| now.state.clone());
    match over {
        Ok(State::Done) => {
            if task.asked.by_url {
                server.jobs.keep(&task);
            }
            Ok(Json(answers::images(&task, model, host)).into_response())
        }
        Ok(State::Failed(refusal)) => Err(refusal),
        _ => Err(Refusal::stopping()),
    }
}

async fn generations(Given(server): Shared, request: Request) -> Result<Response, Refusal> {
    let host = host(request.headers());
    let task = take(&server, request, Some(false)).await?;
    answer(&server, task, &host).await
}

async fn edits(Given(server): Shared, request: Request) -> Result<Response, Refusal> {
    let host = host(request.headers());
    let task = take(&server, request, Some(true)).await?;
    answer(&server, task, &host).await
}

async fn models(Given(server): Shared) -> Response {
    let all: Vec<_> = server.models.iter().map(|model| answers::model(model, server.created)).collect();
    Json(json!({ "object": "list", "data": all })).into_response()
}

async fn model(Given(server): Shared, Path(name): Path<String>) -> Result<Response, Refusal> {
    let found = server.models.iter().find(|(known, _)| *known == name);
    let found = found.ok_or_else(|| Refusal::missing(format!("there is no model {name:?} here")))?;
    Ok(Json(answers::model(found, server.created)).into_response())
}

async fn begin(Given(server): Shared, request: Request) -> Result<Response, Refusal> {
    let host = host(request.headers());
    let task = take(&server, request, None).await?;
    server.jobs.keep(&task);
    let job = answers::job(&task, &server.models[task.asked.model], &host);
    let place = format!("/v1/jobs/{}", task.id);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, place)], Json(job)).into_response())
}

fn find(server: &Server, id: &str) -> Result<Arc<Task>, Refusal> {
    server.jobs.find(id).ok_or_else(|| Refusal::missing("there is no such job, or it was over too long ago"))
}

async fn jobs(Given(server): Shared, headers: HeaderMap) -> Response {
    let host = host(&headers);
    let all: Vec<_> = server.jobs.all();
    let all: Vec<_> =
        all.iter().map(|task| answers::job(task, &server.models[task.asked.model], &host)).collect();
    Json(json!({ "object": "list", "data": all })).into_response()
}

async fn job(Given(server): Shared, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, Refusal> {
    let task = find(&server, &id)?;
    Ok(Json(answers::job(&task, &server.models[task.asked.model], &host(&headers))).into_response())
}

async fn cancel(
    Given(server): Shared,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let task = find(&server, &id)?;
    if task.fail(Refusal::cancelled()) {
        server.metrics.cancelled();
    }
    Ok(Json(answers::job(&task, &server.models[task.asked.model], &host(&headers))).into_response())
}

async fn events(
    Given(server): Shared,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let task = find(&server, &id)?;
    let model = server.models[task.asked.model].clone();
    Ok(answers::progress(task, model, host(&headers)))
}

async fn picture(
    Given(server): Shared,
    Path((id, name)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let task = find(&server, &id)?;
    let format = task.asked.format.name();
    let index = name.strip_suffix(format).and_then(|name| name.strip_suffix('.'));
    let made = index.and_then(|index| index.parse().ok()).and_then(|index: usize| task.picture(index));
    let made =
        made.ok_or_else(|| Refusal::missing(format!("the job has no picture {name:?}, or not yet")))?;
    let kind =
        HeaderValue::from_str(&format!("image/{format}")).unwrap_or(HeaderValue::from_static("image/png"));
    Ok(([(header::CONTENT_TYPE, kind)], made.file.to_vec()).into_response())
}

async fn metrics(Given(server): Shared) -> Response {
    server.metrics.waiting(server.queue.len());
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], server.metrics.text()).into_response()
}

async fn health(Given(server): Shared) -> Response {
    if server.queue.is_open() { "ok".into_response() } else { Refusal::stopping().into_response() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        all.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn pages_of_other_sites_may_not_ask() {
        for (host, origin, is_foreign) in [
            ("127.0.0.1:8017", None, false),
            ("127.0.0.1:8017", Some("http://127.0.0.1:8017"), false),
            ("localhost:8017", Some("http://localhost:8017"), false),
            ("127.0.0.1:8017", Some("https://example.com"), true),
            ("127.0.0.1:8017", Some("http://localhost:3000"), true),
            ("127.0.0.1:8017", Some("null"), true),
            ("[::1]", None, false),
            // A name that was made to point here.
            ("example.com:8017", Some("http://example.com:8017"), true),
            ("example.com:8017", None, true),
            ("localhost.example.com", None, true),
        ] {
            let mut all = vec![("host", host)];
            all.extend(origin.map(|origin| ("origin", origin)));
            assert_eq!(foreign(&headers(&all)).is_some(), is_foreign, "{host}, {origin:?}");
        }
    }

    #[test]
    fn a_token_is_shown_whole() {
        for (given, shown) in
            [("Bearer secret", true), ("Bearer secre", false), ("Bearer ", false), ("secret", false)]
        {
            assert_eq!(shows(&headers(&[("authorization", given)]), "secret"), shown, "{given}");
        }
        assert!(!shows(&HeaderMap::new(), "secret"));
    }

    #[test]
    fn an_answer_names_no_host_that_is_none() {
        assert_eq!(host(&headers(&[("host", "a.example:80")])), "a.example:80");
        assert_eq!(host(&headers(&[("host", "a/<b>")])), "localhost");
    }
}
