//! Bodies of requests, read within limits of time and size: JSON, or a form with files.

use super::asked::Files;
use super::refusal::Refusal;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequest as _, Multipart, Request};
use axum::http::{HeaderMap, header};
use serde_json::{Map, Value};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Bytes of a body without files.
const MOST_JSON: usize = 1 << 20;
/// Bytes of a form with files.
const MOST_FORM: usize = 32 << 20;
/// Bytes of all bodies that are held at once.
const MOST_TOGETHER: usize = 128 << 20;
/// Until all of a body is there.
const LONGEST: Duration = Duration::from_secs(30);

/// Room for the bodies that are held at once, in KiB.
#[derive(Debug)]
pub(super) struct Room(Semaphore);

impl Room {
    pub(super) fn new() -> Self {
        Self(Semaphore::new(MOST_TOGETHER >> 10))
    }

    async fn take(&self, bytes: usize) -> Result<SemaphorePermit<'_>, Refusal> {
        let kib = (bytes >> 10) as u32 + 1;
        self.0.acquire_many(kib).await.map_err(|_| Refusal::stopping())
    }
}

/// The fields of a request, its files if it is a form, and the room that they take until they are dropped.
pub(super) struct Fields<'a> {
    pub(super) fields: Map<String, Value>,
    pub(super) files: Option<Files>,
    _room: SemaphorePermit<'a>,
}

fn is_of(headers: &HeaderMap, kind: &str) -> bool {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    given.split(';').next().is_some_and(|given| given.trim().eq_ignore_ascii_case(kind))
}

/// Reads a request: a form where it has files.
///
/// # Errors
/// It is too large, too slow, neither JSON nor a form, or broken.
pub(super) async fn read(room: &Room, request: Request) -> Result<Fields<'_>, Refusal> {
    let is_form = is_of(request.headers(), "multipart/form-data");
    if !is_form && !is_of(request.headers(), "application/json") {
        return Err(Refusal::wrong(
            "a request is JSON (Content-Type: application/json) or a form with files (multipart/form-data)",
        ));
    }
    let most = if is_form { MOST_FORM } else { MOST_JSON };
    let told = request.headers().get(header::CONTENT_LENGTH);
    let told = told.and_then(|value| value.to_str().ok()).and_then(|length| length.parse::<usize>().ok());
    if told.is_some_and(|length| length > most) {
        return Err(Refusal::large(most));
    }
    let whole = async {
        // Files are decoded from a copy of their own.
        let room = room.take(told.unwrap_or(most) * if is_form { 2 } else { 1 }).await?;
        let (parts, body) = request.into_parts();
        let bytes = to_bytes(body, most).await.map_err(|error| unread(&error, most))?;
        Ok((room, parts, bytes))
    };
    let (room, parts, bytes) =
        tokio::time::timeout(LONGEST, whole).await.map_err(|_| Refusal::slow(LONGEST))??;
    if is_form {
        let (fields, files) = form(Request::from_parts(parts, Body::from(bytes))).await?;
        return Ok(Fields { fields, files: Some(files), _room: room });
    }
    Ok(Fields { fields: json(&bytes)?, files: None, _room: room })
}

/// A body that was not read to its end: it was too large, or the client is gone.
fn unread(error: &axum::Error, most: usize) -> Refusal {
    let too_large =
        std::error::Error::source(error).is_some_and(|source| source.to_string().contains("length limit"));
    if too_large { Refusal::large(most) } else { Refusal::wrong(format!("the request broke off: {error}")) }
}

fn json(bytes: &Bytes) -> Result<Map<String, Value>, Refusal> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(Refusal::wrong("a request is a JSON object with a prompt")),
        Err(error) => Err(Refusal::wrong(format!("this is not JSON: {error}"))),
    }
}

/// Fields and files of a form. A field that comes several times, or whose name ends in `[]`, is a list.
async fn form(request: Request) -> Result<(Map<String, Value>, Files), Refusal> {
    let wrong = |error: axum::extract::multipart::MultipartError| {
        Refusal::wrong(format!("the form cannot be read: {}", error.body_text()))
    };
    let mut form = Multipart::from_request(request, &())
        .await
        .map_err(|error| Refusal::wrong(format!("the form cannot be read: {}", error.body_text())))?;
    let (mut fields, mut files) = (Map::new(), Files::default());
    while let Some(field) = form.next_field().await.map_err(wrong)? {
        let name = field.name().unwrap_or_default().to_owned();
        let (name, is_list) = match name.strip_suffix("[]") {
            Some(name) => (name.to_owned(), true),
            None => (name, false),
        };
        let file = field.file_name().unwrap_or(&name).to_owned();
        match name.as_str() {
            "image" => files.images.push((file, field.bytes().await.map_err(wrong)?.to_vec())),
            "mask" => files.mask = Some((file, field.bytes().await.map_err(wrong)?.to_vec())),
            _ => {
                let text = field.text().await.map_err(wrong)?;
                if is_list {
                    // Numbers in lists are numbers.
                    let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
                    match fields.entry(name).or_insert_with(|| Value::Array(Vec::new())) {
                        Value::Array(list) => list.push(value),
                        other => *other = Value::Array(vec![other.take(), value]),
                    }
                } else {
                    fields.insert(name, Value::String(text));
                }
            }
        }
    }
    Ok((fields, files))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_now(kind: &str, body: impl Into<Body>) -> Result<(Map<String, Value>, Option<Files>), Refusal> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let request = Request::builder().header("content-type", kind).body(body.into()).unwrap();
        let room = Room::new();
        runtime.block_on(read(&room, request)).map(|found| (found.fields, found.files))
    }

    #[test]
    fn json_is_an_object() {
        let (fields, files) = read_now("application/json; charset=utf-8", r#"{"prompt": "a fox"}"#).unwrap();
        assert!(fields["prompt"] == "a fox" && files.is_none());
        for (kind, body, word) in [
            ("application/json", "[1]", "a JSON object"),
            ("application/json", "{\"prompt\": ", "not JSON"),
            ("text/plain", "a fox", "Content-Type"),
            ("multipart/form-data", "x", "the form cannot be read"),
        ] {
            let refusal = read_now(kind, body).unwrap_err();
            assert!(refusal.status == 400 && refusal.message.contains(word), "{refusal:?}");
        }
    }

    #[test]
    fn what_is_too_large_is_refused_whether_or_not_it_says_so() {
        let large = "x".repeat(MOST_JSON + 1);
        assert_eq!(read_now("application/json", large.clone()).unwrap_err().status, 413);
        let pieces = futures_util::stream::iter(vec![Ok::<_, std::io::Error>(large)]);
        assert_eq!(read_now("application/json", Body::from_stream(pieces)).unwrap_err().status, 413);
    }

    #[test]
    fn forms_have_fields_lists_and_files() {
        let part = |head: &str, text: &str| {
            format!("--X\r\nContent-Disposition: form-data; {head}\r\n\r\n{text}\r\n")
        };
        let body = [
            part("name=\"prompt\"", "a fox"),
            part("name=\"guidance_interval[]\"", "0.1"),
            part("name=\"guidance_interval[]\"", "0.9"),
            part("name=\"image[]\"; filename=\"a.png\"", "pixels"),
            part("name=\"mask\"; filename=\"m.png\"", "where"),
            "--X--\r\n".to_owned(),
        ];
        let (fields, files) = read_now("multipart/form-data; boundary=X", body.concat()).unwrap();
        assert_eq!(
            Value::from(fields),
            serde_json::json!({"prompt": "a fox", "guidance_interval": [0.1, 0.9]})
        );
        let files = files.unwrap();
        assert_eq!(files.images, [("a.png".to_owned(), b"pixels".to_vec())]);
        assert_eq!(files.mask, Some(("m.png".to_owned(), b"where".to_vec())));
    }
}
