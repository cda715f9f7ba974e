//! A hub of models on the loopback: its addresses, headers and redirects, and the faults that real ones have.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use serde_json::json;

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What a test sets, and what it reads afterwards.
#[derive(Default)]
pub(crate) struct State {
    /// Content by `OWNER/REPO/FILE`. From 1,000 bytes on files are large: behind a redirect, with a SHA-256.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Listed, but answered with 404.
    pub(crate) gone: Vec<String>,
    /// Listed under names as they are, whatever they are.
    pub(crate) also_listed: Vec<String>,
    /// The token without which everything is 401.
    pub(crate) token: Option<String>,
    /// How many bytes of content each of the next transfers brings before the connection breaks.
    pub(crate) cuts: Vec<usize>,
    /// How many of the next transfers are answered with 503.
    pub(crate) overloaded: usize,
    /// Answer 200 and the whole file whatever range is asked for.
    pub(crate) ignores_ranges: bool,
    /// Answer ranges from a byte later than asked.
    pub(crate) shifts_ranges: bool,
    /// Turn over a bit in the middle of the content.
    pub(crate) corrupts: bool,
    /// Take every call and say nothing.
    pub(crate) silent: bool,
    /// Redirect without an end.
    pub(crate) circles: bool,
    /// List names only, as mirrors do.
    pub(crate) lists_names_only: bool,
    /// A checksum to state in headers instead of the right one.
    pub(crate) stated: Option<String>,
    /// Method and path of every request, with its range.
    pub(crate) requests: Vec<String>,
    /// Bytes of content that were sent.
    pub(crate) sent: usize,
    /// Whether the storage behind the redirect was ever shown a token.
    pub(crate) leaked: bool,
}

pub(crate) struct Server {
    pub(crate) endpoint: String,
    state: Arc<Mutex<State>>,
}

struct Request {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
}

impl Server {
    pub(crate) fn start(state: State) -> Self {
        let state = Arc::new(Mutex::new(state));
        let storage = listen(Arc::clone(&state), String::new());
        let endpoint = listen(Arc::clone(&state), storage);
        Self { endpoint, state }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// One listener is the hub, the other the storage; `storage` is empty for the latter.
fn listen(state: Arc<Mutex<State>>, storage: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(stream), state, storage) = (stream, Arc::clone(&state), storage.clone()) else {
                continue;
            };
            // A client that hangs up is none of the server's trouble.
            std::thread::spawn(move || answer(&stream, &state, &storage).ok());
        }
    });
    address
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line.ok()?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    Some(Request { method, path, headers })
}

fn answer(mut stream: &TcpStream, state: &Mutex<State>, storage: &str) -> std::io::Result<()> {
    let Some(request) = read(stream) else { return Ok(()) };
    let mut state = state.lock().unwrap();
    let range = request.headers.get("range").cloned().unwrap_or_default();
    state.requests.push(format!("{} {} {range}", request.method, request.path).trim_end().to_owned());
    if state.silent {
        drop(state);
        // Until the client hangs up.
        let _ = stream.read(&mut [0]);
        return Ok(());
    }
    let mut plain = |status: u16, headers: &str, body: &[u8]| {
        write!(
            stream,
            "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
            body.len()
        )?;
        if request.method == "HEAD" { Ok(()) } else { stream.write_all(body) }
    };
    let authorization = request.headers.get("authorization");
    if storage.is_empty() {
        state.leaked |= authorization.is_some();
        let content = state.files.get(request.path.trim_start_matches("/storage/")).cloned();
        return send(stream, &mut state, &request, content, "");
    }
    if state.token.as_ref().is_some_and(|token| authorization != Some(&format!("Bearer {token}"))) {
        return plain(401, "X-Error-Code: GatedRepo\r\n", b"no");
    }
    if state.circles {
        return plain(302, &format!("Location: {}\r\n", request.path), b"");
    }
    if let Some(rest) = request.path.strip_prefix("/api/models/") {
        let repo = rest.split("/revision/").next().unwrap_or_default();
        let listed = listing(&state, repo);
        return match rest.contains("/revision/main?") || rest.contains(COMMIT) {
            true if !listed.is_empty() => plain(
                200,
                "",
                json!({ "id": repo, "sha": COMMIT, "siblings": listed }).to_string().as_bytes(),
            ),
            _ => plain(404, "X-Error-Code: RepoNotFound\r\n", b"{}"),
        };
    }
    let path = request.path.trim_start_matches('/').replacen(&format!("/resolve/{COMMIT}/"), "/", 1);
    let Some(content) = state.files.get(&path).filter(|_| !state.gone.contains(&path)).cloned() else {
        return plain(404, "X-Error-Code: EntryNotFound\r\n", b"Entry not found");
    };
    let hash = state.stated.clone().unwrap_or_else(|| checksum(&content));
    if content.len() < 1000 {
        return send(stream, &mut state, &request, Some(content), &format!("ETag: \"{hash}\"\r\n"));
    }
    let headers = format!(
        "Location: {storage}/storage/{path}\r\nX-Linked-Etag: \"{hash}\"\r\nX-Linked-Size: {}\r\n\
         ETag: \"of the answer\"\r\nX-Repo-Commit: {COMMIT}\r\n",
        content.len()
    );
    plain(302, &headers, b"Found. Redirecting")
}

fn listing(state: &State, repo: &str) -> Vec<serde_json::Value> {
    let mut listed = Vec::new();
    for (path, content) in &state.files {
        let Some(file) = path.strip_prefix(&format!("{repo}/")) else { continue };
        let size = content.len();
        listed.push(match (state.lists_names_only, size >= 1000) {
            (true, _) => json!({ "rfilename": file }),
            (_, true) => json!({ "rfilename": file, "size": size, "blobId": "0".repeat(40),
                "lfs": { "sha256": checksum(content), "size": size, "pointerSize": 130 } }),
            (_, false) => json!({ "rfilename": file, "size": size, "blobId": checksum(content) }),
        });
    }
    listed.extend(state.also_listed.iter().map(|file| json!({ "rfilename": file })));
    listed
}

fn send(
    mut stream: &TcpStream,
    state: &mut State,
    request: &Request,
    content: Option<Vec<u8>>,
    headers: &str,
) -> std::io::Result<()> {
    let Some(mut content) = content else {
        return write!(stream, "HTTP/1.1 404 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    if request.method != "HEAD" && state.overloaded > 0 {
        state.overloaded -= 1;
        return write!(stream, "HTTP/1.1 503 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let (whole, middle) = (content.len(), content.len() / 2);
    if state.corrupts {
        content[middle] ^= 1;
    }
    let range = request.headers.get("range").filter(|_| !state.ignores_ranges);
    let start = range.and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let (status, range) = match start {
        Some(start) => {
            let start = start + usize::from(state.shifts_ranges);
            content.drain(..start);
            (206, format!("Content-Range: bytes {start}-{}/{whole}\r\n", whole - 1))
        }
        None => (200, String::new()),
    };
    write!(
        stream,
        "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n{range}{headers}\r\n",
        content.len()
    )?;
    if request.method == "HEAD" {
        return Ok(());
    }
    if !state.cuts.is_empty() {
        content.truncate(state.cuts.remove(0));
    }
    state.sent += content.len();
    stream.write_all(&content)
}

pub(crate) fn checksum(content: &[u8]) -> String {
    let hash = if content.len() >= 1000 {
        digest(&SHA256, content)
    } else {
        let blob = [format!("blob {}\0", content.len()).as_bytes(), content].concat();
        digest(&SHA1_FOR_LEGACY_USE_ONLY, &blob)
    };
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
