//! What a client is told when it gets no picture: a status and, in OpenAI's form, a sentence with what it is about.

use crate::generate::GenerateError;
use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::time::Duration;

/// A request that is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) message: String,
    /// The field that is wrong.
    param: Option<String>,
    /// For programs.
    code: &'static str,
    retry_after: Option<Duration>,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), param: None, code, retry_after: None }
    }

    /// Something is wrong with a field.
    pub(super) fn of(param: &str, message: impl Into<String>) -> Self {
        Self { param: Some(param.to_owned()), ..Self::wrong(message) }
    }

    /// Something is wrong with the request.
    pub(super) fn wrong(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    /// No token, or not the one.
    pub(super) fn unknown_client() -> Self {
        let message = "this server wants its token: send it as `Authorization: Bearer TOKEN`";
        Self::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message)
    }

    /// A page of another site asks through somebody's browser, or by a name that was made to point here.
    pub(super) fn foreign_page(from: &str) -> Self {
        let message = format!(
            "{from:?} is no name of this machine: without a token the server answers programs here, at localhost or 127.0.0.1; \
             --token-file opens it to others"
        );
        Self::new(StatusCode::FORBIDDEN, "foreign_origin", message)
    }

    /// There is nothing at an address.
    pub(super) fn missing(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// The address is of another method.
    pub(super) fn method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this address takes another method")
    }

    /// The client sends too slowly.
    pub(super) fn slow(limit: Duration) -> Self {
        let message = format!("the request was not here in whole after {} s", limit.as_secs());
        Self::new(StatusCode::REQUEST_TIMEOUT, "slow_request", message)
    }

    /// The client sends too much.
    pub(super) fn large(limit: usize) -> Self {
        let message = format!("the request is larger than the {} KiB that are read", limit >> 10);
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "large_request", message)
    }

    /// More is asked for than can wait.
    pub(super) fn full(waiting: usize, retry_after: Duration) -> Self {
        let message = format!("{waiting} pictures wait already; ask again in {} s", whole(retry_after));
        let full = Self::new(StatusCode::TOO_MANY_REQUESTS, "queue_full", message);
        Self { retry_after: Some(retry_after), ..full }
    }

    /// It waited as long as anything may.
    pub(super) fn overdue(limit: Duration, retry_after: Duration) -> Self {
        let message = format!("nothing was begun of this within {} s; ask again later", limit.as_secs());
        let overdue = Self::new(StatusCode::SERVICE_UNAVAILABLE, "overdue", message);
        Self { retry_after: Some(retry_after), ..overdue }
    }

    /// It was being made for as long as anything may.
    pub(super) fn took_too_long(limit: Duration) -> Self {
        let message =
            format!("this was not made within {} s; ask for fewer pictures or steps", limit.as_secs());
        Self::new(StatusCode::GATEWAY_TIMEOUT, "time_limit", message)
    }

    /// The server is about to end.
    pub(super) fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the server is stopping and takes nothing new")
    }

    /// Somebody cancelled it.
    pub(super) fn cancelled() -> Self {
        Self::new(StatusCode::CONFLICT, "cancelled", "this was cancelled")
    }

    /// The device failed, or the program has a fault.
    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", message)
    }

    /// What the library refuses: mostly the client's doing.
    pub(super) fn from_library(error: &GenerateError) -> Self {
        match error {
            GenerateError::Setting(_) => Self::wrong(error.to_string()),
            GenerateError::Class { .. } | GenerateError::Text(_) => Self::of("prompt", error.to_string()),
            _ => Self::failed(error.to_string()),
        }
    }

    /// The answer's body, and what an event carries.
    pub(super) fn json(&self) -> serde_json::Value {
        let kind = if self.status.is_client_error() { "invalid_request_error" } else { "server_error" };
        serde_json::json!({
            "error": { "message": self.message, "type": kind, "param": self.param, "code": self.code },
        })
    }
}

/// Whole seconds, at least one.
fn whole(time: Duration) -> u64 {
    (time.as_secs_f64().ceil() as u64).max(1)
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.json())).into_response();
        let mut add = |name: HeaderName, value: HeaderValue| response.headers_mut().insert(name, value);
        if let Some(time) = self.retry_after {
            add(header::RETRY_AFTER, whole(time).into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            add(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_and_when_to_ask_again() {
        let response = Refusal::full(7, Duration::from_millis(2_300)).into_response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "3");
        let soon = Refusal::full(7, Duration::ZERO).into_response();
        assert_eq!(soon.headers()["retry-after"], "1", "at once is no time to wait");
        let wrong = Refusal::of("size", "there is one size");
        assert_eq!(wrong.json()["error"]["param"], "size");
        assert_eq!(wrong.json()["error"]["type"], "invalid_request_error");
        assert_eq!(Refusal::failed("the device is gone").json()["error"]["type"], "server_error");
    }

    #[test]
    fn what_the_library_refuses_is_the_clients_doing_unless_a_device_failed() {
        let setting = GenerateError::Setting("no".to_owned());
        assert_eq!(Refusal::from_library(&setting).status, 400);
        let exec = GenerateError::File { path: "a".to_owned(), source: std::io::Error::other("gone") };
        assert_eq!(Refusal::from_library(&exec).status, 500);
    }
}
