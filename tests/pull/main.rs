//! `migm pull` against a hub on the loopback: what comes, what breaks, and what is left behind. Nothing here asks anyone else.
//!
//! The file is long because every way a download can break is one short test, and they share one hub.

#![cfg(feature = "pull")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

#[path = "../layout/mod.rs"]
mod layout;
mod server;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use migm::pull::{Checked, PullError, PullReport, PullRequest, Settings, pull};
use migm::weights::ModelFolder;
use serde_json::json;

use server::{COMMIT, Server, State, checksum};

const REPO: &str = "llvictorll/Maskgit-pytorch";
const BASE: &str = "pretrained_maskgit/MaskGIT/MaskGIT_ImageNet_512.pth";
const SHORTCUT: &str = "Kaiwen-Zhu/MIGM-Shortcut";

fn fixture(name: &str) -> Vec<u8> {
    fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/official").join(name)).unwrap()
}

/// The official repositories in miniature.
fn official() -> State {
    let files = BTreeMap::from([
        (format!("{REPO}/{BASE}"), fixture("MaskGIT_ImageNet_512.pth")),
        (format!("{REPO}/pretrained_maskgit/VQGAN/last.ckpt"), fixture("VQGAN/last.ckpt")),
        (format!("{REPO}/README.md"), b"not wanted".to_vec()),
        (format!("{SHORTCUT}/MaskGIT-Shortcut/maskgit-shortcut.pth"), fixture("maskgit-shortcut.pth")),
        (format!("{SHORTCUT}/DiMOO-Shortcut/dimoo-shortcut.pth"), b"of another model".to_vec()),
    ]);
    State { files, ..State::default() }
}

fn settings(endpoint: &str, cache: &Path) -> Settings {
    Settings {
        endpoint: endpoint.to_owned(),
        cache: cache.to_owned(),
        token: None,
        offline: false,
        retries: 0,
        patience: Duration::from_secs(60),
        pause: Duration::from_millis(1),
    }
}

fn request(what: &str) -> PullRequest {
    PullRequest { what: what.to_owned(), ..PullRequest::default() }
}

fn run(settings: &Settings, what: &str) -> Result<PullReport, PullError> {
    pull(&request(what), settings, &mut |_| {})
}

#[track_caller]
fn says(error: &PullError, parts: &[&str]) {
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "{message:?} does not contain {part:?}");
    }
}

/// Names of the files below a folder that are not temporary ones.
fn finished(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if !name.ends_with(".migm-part") {
                names.push(name);
            }
        }
    }
    names.sort();
    names
}

fn blob(cache: &Path, content: &[u8]) -> PathBuf {
    cache.join("models--llvictorll--Maskgit-pytorch/blobs").join(checksum(content))
}

#[test]
fn the_official_layout_is_fetched_checked_and_converted() {
    let (server, cache) = (Server::start(official()), tempfile::tempdir().unwrap());
    let mut settings = settings(&server.endpoint, cache.path());
    let mut told = Vec::new();
    let report = pull(&request("maskgit-512"), &settings, &mut |p| {
        assert!(p.done_bytes <= p.total_bytes);
        told.push((p.stage, p.file.to_owned(), p.done_bytes == p.total_bytes));
    })
    .unwrap();
    assert!(report.files.iter().all(|f| f.checked == Checked::Sha256 && f.fetched_bytes == f.bytes));
    let total: u64 = report.files.iter().map(|f| f.bytes).sum();
    assert_eq!((report.files.len(), server.state().sent as u64), (3, total));
    assert!(
        told.iter().any(|(stage, file, done)| *stage == migm::pull::Stage::Fetch && file == BASE && *done)
    );

    let folder = report.model.unwrap();
    let model = ModelFolder::open(&folder).unwrap();
    for part in ["maskgit", "vqgan", "shortcut"] {
        assert!(model.checkpoint(part).unwrap().is_some(), "{part}");
    }
    let files =
        ["config.json", "maskgit.safetensors", "pulled.json", "shortcut.safetensors", "vqgan.safetensors"];
    assert_eq!(finished(&folder), files);
    assert!(fs::read_to_string(folder.join("pulled.json")).unwrap().contains(COMMIT));

    // Again: nothing is transferred or converted.
    let again = run(&settings, "maskgit-512").unwrap();
    assert_eq!((again.model.as_ref(), again.converted.is_none()), (Some(&folder), true));
    assert_eq!(server.state().sent as u64, total);
    // Without a hub, elsewhere to.
    settings.offline = true;
    settings.endpoint = "http://127.0.0.1:1".into();
    let to = cache.path().join("elsewhere");
    let report =
        pull(&PullRequest { to: Some(to.clone()), ..request("maskgit-512") }, &settings, &mut |_| {});
    assert_eq!(report.unwrap().model, Some(to.clone()));
    assert_eq!(finished(&to), files);
    // And by force everything anew.
    settings.offline = false;
    settings.endpoint.clone_from(&server.endpoint);
    let forced = PullRequest { to: Some(to), force: true, ..request("maskgit-512") };
    assert!(pull(&forced, &settings, &mut |_| {}).unwrap().converted.is_some());
    assert_eq!(server.state().sent as u64, 2 * total);
}

#[test]
fn the_cache_is_laid_out_as_the_hub_s_libraries_lay_it_out() {
    let (server, cache) = (Server::start(official()), tempfile::tempdir().unwrap());
    run(&settings(&server.endpoint, cache.path()), "maskgit-512").unwrap();
    let repo = cache.path().join("models--llvictorll--Maskgit-pytorch");
    let content = fixture("MaskGIT_ImageNet_512.pth");
    assert_eq!(fs::read_to_string(repo.join("refs/main")).unwrap(), COMMIT);
    assert_eq!(fs::read(repo.join("blobs").join(checksum(&content))).unwrap(), content);
    assert_eq!(fs::read(repo.join("snapshots").join(COMMIT).join(BASE)).unwrap(), content);
}

#[test]
fn a_transfer_that_breaks_off_is_gone_on_with_by_the_next_call() {
    let (server, cache) =
        (Server::start(State { cuts: vec![10_000], ..official() }), tempfile::tempdir().unwrap());
    let settings = settings(&server.endpoint, cache.path());
    let error = run(&settings, "maskgit-512").unwrap_err();
    assert!(matches!(error, PullError::Interrupted { done: 10_000, .. }), "{error}");
    says(&error, &[BASE, REPO, "10000 of 22475 bytes", "run the same command again"]);
    assert!(finished(cache.path()).is_empty(), "{:?}", finished(cache.path()));

    let report = run(&settings, "maskgit-512").unwrap();
    assert_eq!(report.files[0].fetched_bytes, 12_475);
    let state = server.state();
    assert!(state.requests.iter().any(|r| r.starts_with("GET /storage") && r.ends_with("bytes=10000-")));
    let all: usize = report.files.iter().map(|f| f.bytes as usize).sum();
    assert_eq!(state.sent, all, "bytes were transferred twice");
}

#[test]
fn breaks_and_overload_are_ridden_out() {
    let state = State { cuts: vec![1000, 5000, 0], overloaded: 2, ..official() };
    let (server, cache) = (Server::start(state), tempfile::tempdir().unwrap());
    let settings = Settings { retries: 3, ..settings(&server.endpoint, cache.path()) };
    let report = run(&settings, "maskgit-512").unwrap();
    let all: usize = report.files.iter().map(|f| f.bytes as usize).sum();
    assert_eq!(server.state().sent, all);
    // But not for ever.
    let (server, cache) =
        (Server::start(State { overloaded: 99, ..official() }), tempfile::tempdir().unwrap());
    let settings = Settings { endpoint: server.endpoint.clone(), cache: cache.path().into(), ..settings };
    says(&run(&settings, "maskgit-512").unwrap_err(), &["HTTP status 503", "0 of 22475"]);
    assert_eq!(server.state().overloaded, 99 - 4);
}

#[test]
fn a_server_that_ignores_ranges_sends_the_whole_file_again() {
    let state = State { cuts: vec![10_000], ignores_ranges: true, ..official() };
    let (server, cache) = (Server::start(state), tempfile::tempdir().unwrap());
    let settings = settings(&server.endpoint, cache.path());
    run(&settings, "maskgit-512").unwrap_err();
    let report = run(&settings, "maskgit-512").unwrap();
    assert_eq!((report.files[0].fetched_bytes, report.files[0].checked), (22_475, Checked::Sha256));
}

#[test]
fn another_range_than_was_asked_for_is_refused() {
    let state = State { cuts: vec![10_000], shifts_ranges: true, ..official() };
    let (server, cache) = (Server::start(state), tempfile::tempdir().unwrap());
    let settings = settings(&server.endpoint, cache.path());
    run(&settings, "maskgit-512").unwrap_err();
    says(&run(&settings, "maskgit-512").unwrap_err(), &["byte 10000 was asked for and others come"]);
    assert!(finished(cache.path()).is_empty());
}

#[test]
fn a_damaged_file_is_thrown_away() {
    let (server, cache) =
        (Server::start(State { corrupts: true, ..official() }), tempfile::tempdir().unwrap());
    let settings = settings(&server.endpoint, cache.path());
    let error = run(&settings, "maskgit-512").unwrap_err();
    let right = checksum(&fixture("MaskGIT_ImageNet_512.pth"));
    says(&error, &[BASE, REPO, "SHA-256", &right, "thrown away"]);
    assert!(finished(cache.path()).is_empty());
    let part = blob(cache.path(), &fixture("MaskGIT_ImageNet_512.pth")).with_extension("migm-part");
    assert!(!part.exists(), "the next attempt would go on from damage");
    server.state().corrupts = false;
    assert_eq!(run(&settings, "maskgit-512").unwrap().files.len(), 3);
}

#[test]
fn damage_before_a_break_is_found_after_it() {
    let content = fixture("MaskGIT_ImageNet_512.pth");
    let (server, cache) =
        (Server::start(State { cuts: vec![10_000], ..official() }), tempfile::tempdir().unwrap());
    let settings = settings(&server.endpoint, cache.path());
    run(&settings, "maskgit-512").unwrap_err();
    let part = blob(cache.path(), &content).with_extension("migm-part");
    assert_eq!(fs::read(&part).unwrap(), &content[..10_000]);
    fs::write(&part, [7; 10_000]).unwrap();
    assert!(matches!(run(&settings, "maskgit-512"), Err(PullError::Checksum { .. })));
    // One that is longer than the file should be is of something else.
    fs::write(&part, [7; 30_000]).unwrap();
    assert_eq!(run(&settings, "maskgit-512").unwrap().files[0].fetched_bytes, 22_475);
}

#[test]
fn listing_and_headers_must_agree() {
    let state = State { stated: Some("f".repeat(64)), ..official() };
    let (server, cache) = (Server::start(state), tempfile::tempdir().unwrap());
    let error = run(&settings(&server.endpoint, cache.path()), "maskgit-512").unwrap_err();
    says(&error, &["stated checksum is fff", BASE]);
    assert!(finished(cache.path()).is_empty());
}

#[test]
fn a_mirror_that_lists_names_only_is_asked_for_headers() {
    let state = State { lists_names_only: true, ..official() };
    let (server, cache) = (Server::start(state), tempfile::tempdir().unwrap());
    let report = run(&settings(&server.endpoint, cache.path()), "maskgit-512").unwrap();
    assert!(report.files.iter().all(|f| f.checked == Checked::Sha256));
    assert_eq!(server.state().requests.iter().filter(|r| r.starts_with("HEAD")).count(), 3);
}

#[test]
fn what_is_not_there_is_named_with_what_to_do() {
    let cache = tempfile::tempdir().unwrap();
    let mut state = official();
    state.files.remove(&format!("{REPO}/{BASE}"));
    let server = Server::start(state);
    let settings = settings(&server.endpoint, cache.path());
    let error = run(&settings, "maskgit-512").unwrap_err();
    assert!(matches!(error, PullError::NoSuchFile { .. }));
    says(&error, &[REPO, BASE, "revision main", "moved or renamed", "--revision"]);
    // Listed, but gone.
    server.state().files = official().files;
    server.state().gone = vec![format!("{REPO}/{BASE}")];
    says(&run(&settings, "maskgit-512").unwrap_err(), &[REPO, BASE, "--revision"]);
    let error = run(&settings, "no/such").unwrap_err();
    assert!(matches!(error, PullError::NoSuchRepo { .. }));
    says(&error, &["no/such", &server.endpoint, "check the spelling", "HF_TOKEN"]);
    let other = PullRequest { revision: Some("v9".into()), ..request("maskgit-512") };
    says(&pull(&other, &settings, &mut |_| {}).unwrap_err(), &[REPO, "revision v9"]);
    says(
        &run(&settings, "maskgit-1024").unwrap_err(),
        &["maskgit-1024", "maskgit-512, maskgit-256, lumina-dimoo, dimo-256"],
    );
    says(&run(&settings, "../../etc").unwrap_err(), &["neither a preset nor OWNER/REPO"]);
    let hostile = PullRequest { revision: Some("../../x".into()), ..request("maskgit-512") };
    says(&pull(&hostile, &settings, &mut |_| {}).unwrap_err(), &["is not a branch"]);
    assert!(finished(cache.path()).is_empty());
}

#[test]
fn a_moved_file_is_found_by_its_name() {
    let mut state = official();
    let tokenizer = state.files.remove(&format!("{REPO}/pretrained_maskgit/VQGAN/last.ckpt")).unwrap();
    state.files.insert(format!("{REPO}/VQGAN/last.ckpt"), tokenizer);
    let (server, cache) = (Server::start(state), tempfile::tempdir().unwrap());
    let report = run(&settings(&server.endpoint, cache.path()), "maskgit-512").unwrap();
    assert_eq!(report.files[1].file, "VQGAN/last.ckpt");
}

#[test]
fn a_token_is_asked_for_and_shown_to_the_hub_only() {
    let state = State { token: Some("secret".into()), ..official() };
    let (server, cache) = (Server::start(state), tempfile::tempdir().unwrap());
    let mut settings = settings(&server.endpoint, cache.path());
    let error = run(&settings, "maskgit-512").unwrap_err();
    assert!(matches!(error, PullError::Denied { status: 401, token: false, .. }));
    says(&error, &[REPO, "401", "set HF_TOKEN", "/settings/tokens"]);
    settings.token = Some("wrong".into());
    let error = run(&settings, "maskgit-512").unwrap_err();
    says(&error, &["is not accepted", "agree to conditions"]);
    assert!(!error.to_string().contains("wrong"));
    settings.token = Some("secret".into());
    assert_eq!(run(&settings, "maskgit-512").unwrap().files.len(), 3);
    assert!(!server.state().leaked, "the storage was shown the token");
}

#[test]
fn a_shortcut_that_is_missing_is_found_out_before_anything_is_fetched() {
    let mut state = official();
    state.files.retain(|path, _| !path.starts_with(SHORTCUT));
    let content = fixture("maskgit-shortcut.pth");
    state.files.insert("some/where/weights/s.pth".into(), content);
    let (server, cache) = (Server::start(state), tempfile::tempdir().unwrap());
    let settings = settings(&server.endpoint, cache.path());
    let error = run(&settings, "maskgit-512").unwrap_err();
    assert!(matches!(error, PullError::NoShortcut { .. }), "{error:?}");
    says(&error, &[SHORTCUT, "--shortcut OWNER/REPO/FILE", "--shortcut none"]);
    assert_eq!(server.state().sent, 0, "gigabytes were fetched first");
    let other = format!("{SHORTCUT}/MaskGIT-Shortcut/other.pth");
    server.state().files.insert(other, b"another file".to_vec());
    let error = run(&settings, "maskgit-512").unwrap_err();
    says(&error, &["MaskGIT-Shortcut/maskgit-shortcut.pth", "--shortcut none"]);
    // Who wants none goes without.
    let without = PullRequest { shortcut: Some("none".into()), ..request("maskgit-512") };
    let report = pull(&without, &settings, &mut |_| {}).unwrap();
    assert!(ModelFolder::open(&report.model.unwrap()).unwrap().checkpoint("shortcut").unwrap().is_none());
    let elsewhere =
        PullRequest { shortcut: Some("some/where/weights/s.pth".into()), ..request("maskgit-512") };
    let report = pull(&elsewhere, &settings, &mut |_| {}).unwrap();
    let model = ModelFolder::open(&report.model.unwrap()).unwrap();
    assert!(model.checkpoint("shortcut").unwrap().is_some());
    // One that was asked for by its place must be there.
    let nowhere = PullRequest { shortcut: Some("some/where/t.pth".into()), ..request("maskgit-512") };
    says(&pull(&nowhere, &settings, &mut |_| {}).unwrap_err(), &["some/where", "t.pth"]);
    let half = PullRequest { shortcut: Some("t.pth".into()), ..request("maskgit-512") };
    says(&pull(&half, &settings, &mut |_| {}).unwrap_err(), &["is not OWNER/REPO/FILE"]);
}

#[test]
fn a_hub_that_says_nothing_is_given_up() {
    let state = State { silent: true, ..official() };
    let (server, cache) = (Server::start(state), tempfile::tempdir().unwrap());
    let patience = Duration::from_secs(1);
    let settings = Settings { patience, ..settings(&server.endpoint, cache.path()) };
    let mut stages = Vec::new();
    let error = pull(&request("maskgit-512"), &settings, &mut |p| {
        stages.push((p.stage, p.file.to_owned()));
    });
    let error = error.unwrap_err();
    assert!(matches!(error, PullError::NoAnswer { seconds: 1, .. }), "{error:?}");
    says(&error, &[&server.endpoint, "does not answer within 1 s", "try again later"]);
    assert_eq!(stages, [(migm::pull::Stage::Ask, REPO.to_owned())], "what is waited for is told");
}

#[cfg(unix)]
#[test]
fn a_link_stands_for_the_folder_that_it_leads_to() {
    let (server, cache) = (Server::start(official()), tempfile::tempdir().unwrap());
    let at = |name: &str| cache.path().join(name);
    fs::create_dir_all(at("large-disk/model")).unwrap();
    std::os::unix::fs::symlink("large-disk/model", at("model")).unwrap();
    let into = PullRequest { to: Some(at("model")), ..request("maskgit-512") };
    pull(&into, &settings(&server.endpoint, cache.path()), &mut |_| {}).unwrap();
    assert!(at("large-disk/model/config.json").is_file());
    assert!(fs::symlink_metadata(at("model")).unwrap().is_symlink());
    // What cannot be a folder is found out before the hub is asked.
    let asked = server.state().requests.len();
    fs::write(at("letter"), "dear").unwrap();
    for (to, says_so) in [(at("letter/model"), "is no folder"), (at("model.json"), "name a folder")] {
        let into = PullRequest { to: Some(to), ..request("maskgit-512") };
        let error = pull(&into, &settings(&server.endpoint, cache.path()), &mut |_| {}).unwrap_err();
        says(&error, &["--to", says_so]);
    }
    assert_eq!(server.state().requests.len(), asked);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said_to_be_full() {
    let (server, cache) = (Server::start(official()), tempfile::tempdir().unwrap());
    let part = blob(cache.path(), &fixture("MaskGIT_ImageNet_512.pth")).with_extension("migm-part");
    fs::create_dir_all(part.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/dev/full", &part).unwrap();
    let settings = settings(&server.endpoint, cache.path());
    let error = run(&settings, "maskgit-512").unwrap_err();
    assert!(matches!(error, PullError::NoSpace { needed: 22_475, .. }), "{error:?}");
    says(&error, &["no space", "22475 bytes", "HF_HUB_CACHE"]);
    assert!(finished(cache.path()).is_empty());
    fs::remove_file(&part).unwrap();
    assert!(run(&settings, "maskgit-512").is_ok());
}

#[test]
fn two_pulls_of_one_file_do_not_mix() {
    let (server, cache) = (Server::start(official()), tempfile::tempdir().unwrap());
    let part = blob(cache.path(), &fixture("MaskGIT_ImageNet_512.pth")).with_extension("migm-part");
    fs::create_dir_all(part.parent().unwrap()).unwrap();
    let other = fs::File::create(&part).unwrap();
    other.lock().unwrap();
    let settings = settings(&server.endpoint, cache.path());
    says(&run(&settings, "maskgit-512").unwrap_err(), &["another program is fetching", BASE]);
    drop(other);
    assert!(run(&settings, "maskgit-512").is_ok());
}

#[test]
fn without_a_connection_a_cold_cache_says_so() {
    let cache = tempfile::tempdir().unwrap();
    let mut settings = settings("http://127.0.0.1:1", cache.path());
    let error = run(&settings, "maskgit-512").unwrap_err();
    assert!(matches!(error, PullError::Unreachable { .. }));
    says(&error, &["cannot reach http://127.0.0.1:1/", "HF_ENDPOINT", "HF_HUB_OFFLINE=1"]);
    settings.offline = true;
    let error = run(&settings, "maskgit-512").unwrap_err();
    assert!(matches!(error, PullError::Offline { .. }));
    says(&error, &[REPO, BASE, "unset HF_HUB_OFFLINE"]);
}

#[test]
fn hostile_answers_are_refused() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(State { circles: true, ..official() });
    let settings = settings(&server.endpoint, cache.path());
    says(&run(&settings, "maskgit-512").unwrap_err(), &["redirects in a circle"]);
    server.state().circles = false;
    for name in ["../../outside.pth", "/etc/passwd", "a\\b", "C:/x"] {
        server.state().also_listed = vec![name.to_owned()];
        says(&run(&settings, "maskgit-512").unwrap_err(), &["no path in a repository"]);
    }
    assert!(finished(cache.path()).is_empty());
}

#[test]
fn a_folder_that_holds_something_else_is_left_alone() {
    let (server, cache) = (Server::start(official()), tempfile::tempdir().unwrap());
    let settings = settings(&server.endpoint, cache.path());
    let to = cache.path().join("mine");
    fs::create_dir(&to).unwrap();
    fs::write(to.join("letter.txt"), "dear").unwrap();
    let into = PullRequest { to: Some(to.clone()), ..request("maskgit-512") };
    says(&pull(&into, &settings, &mut |_| {}).unwrap_err(), &["mine", "was not made by a pull", "--force"]);
    assert!(server.state().requests.is_empty(), "asked before looking");
    pull(&PullRequest { force: true, ..into }, &settings, &mut |_| {}).unwrap();
    assert_eq!(fs::read_to_string(to.join("letter.txt")).unwrap(), "dear");
    assert!(ModelFolder::open(&to).is_ok());
}

#[test]
fn a_conversion_that_fails_leaves_no_model() {
    let mut state = official();
    state.files.insert(format!("{REPO}/{BASE}"), fixture("VQGAN/last.ckpt"));
    let (server, cache) = (Server::start(state), tempfile::tempdir().unwrap());
    let to = cache.path().join("model");
    let into = PullRequest { to: Some(to.clone()), ..request("maskgit-512") };
    says(&pull(&into, &settings(&server.endpoint, cache.path()), &mut |_| {}).unwrap_err(), &["both vqgan"]);
    assert!(!to.exists());
    let left: Vec<_> = fs::read_dir(cache.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name.to_string_lossy().starts_with("models--")), "{left:?}");
}

const DIMOO: &str = "Alpha-VLLM/Lumina-DiMOO";

/// The official repositories of Lumina-DiMOO in miniature.
fn official_text() -> State {
    let (files, shortcut) = layout::official();
    let mut files: BTreeMap<_, _> =
        files.into_iter().map(|(path, content)| (format!("{DIMOO}/{path}"), content)).collect();
    files.insert(format!("{SHORTCUT}/DiMOO-Shortcut/dimoo-shortcut.pth"), shortcut);
    files.insert(format!("{SHORTCUT}/MaskGIT-Shortcut/maskgit-shortcut.pth"), b"of another model".to_vec());
    State { files, ..State::default() }
}

#[test]
fn a_text_model_is_fetched_in_shards_and_made_whole() {
    let (server, cache) = (Server::start(official_text()), tempfile::tempdir().unwrap());
    let mut settings = settings(&server.endpoint, cache.path());
    let report = run(&settings, "lumina-dimoo").unwrap();
    let fetched: Vec<_> = report.files.iter().map(|f| f.file.as_str()).collect();
    for file in [layout::INDEX, layout::SHARDS[0], layout::SHARDS[1], layout::VQ, "tokenizer.json"] {
        assert!(fetched.contains(&file), "{file} is not among {fetched:?}");
    }
    let shortcuts: Vec<_> = report.files.iter().filter(|f| f.repo == SHORTCUT).collect();
    assert_eq!(shortcuts.len(), 1, "{fetched:?}");
    assert_eq!(shortcuts[0].file, "DiMOO-Shortcut/dimoo-shortcut.pth");
    assert!(!fetched.contains(&"modeling.py"));
    // Small files lie in git itself.
    assert!(report.files.iter().any(|f| f.file == "config.json" && f.checked == Checked::GitSha1));
    assert!(report.notes.is_empty(), "{:?}", report.notes);
    let folder = report.model.unwrap();
    let files = [
        "config.json",
        "dimoo.safetensors",
        "pulled.json",
        "shortcut.safetensors",
        "tokenizer.json",
        "vq.safetensors",
    ];
    assert_eq!(finished(&folder), files);
    let whole = fs::metadata(folder.join("dimoo.safetensors")).unwrap().len();

    // Quantised from the cache, without a hub, beside the other.
    settings.offline = true;
    let four = PullRequest { quantize: Some("int4:32".parse().unwrap()), ..request("lumina-dimoo") };
    let report = pull(&four, &settings, &mut |_| {}).unwrap();
    let small = report.model.unwrap();
    assert_eq!(small.file_name().unwrap(), "lumina-dimoo-int4-32");
    assert_eq!(finished(&small), files);
    let bytes = fs::metadata(small.join("dimoo.safetensors")).unwrap().len();
    assert!(bytes < whole / 4, "{bytes} of {whole} bytes");
    assert!(pull(&four, &settings, &mut |_| {}).unwrap().converted.is_none(), "converted again");
    // Another format into the same folder is another model.
    let eight = PullRequest {
        quantize: Some("int8".parse().unwrap()),
        to: Some(small.clone()),
        ..request("lumina-dimoo")
    };
    assert!(pull(&eight, &settings, &mut |_| {}).unwrap().converted.is_some());
    for model in [&folder, &small] {
        let generate = Command::new(env!("CARGO_BIN_EXE_migm"))
            .args(["generate", "w5 w17", "--steps", "2", "--budget", "1", "--backend", "cpu", "--no-compare"])
            .args(["--out", "x.png", "--model"])
            .arg(model)
            .current_dir(cache.path())
            .output()
            .unwrap();
        assert!(generate.status.success(), "{}", String::from_utf8_lossy(&generate.stderr));
    }
}

#[test]
fn a_text_model_without_a_shard_or_with_another_model_s_is_refused() {
    let mut state = official_text();
    state.files.remove(&format!("{DIMOO}/{}", layout::SHARDS[1]));
    let (server, cache) = (Server::start(state), tempfile::tempdir().unwrap());
    let settings = settings(&server.endpoint, cache.path());
    says(&run(&settings, "lumina-dimoo").unwrap_err(), &[layout::SHARDS[1], "not there"]);

    let mut state = official_text();
    let mut config = layout::config();
    config["d_model"] = json!(128);
    state.files.insert(format!("{DIMOO}/config.json"), config.to_string().into_bytes());
    state.files.retain(|path, _| !path.starts_with(SHORTCUT));
    let (server, cache) = (Server::start(state), tempfile::tempdir().unwrap());
    let settings = Settings { endpoint: server.endpoint.clone(), cache: cache.path().into(), ..settings };
    let without = PullRequest { shortcut: Some("none".into()), ..request("lumina-dimoo") };
    says(&pull(&without, &settings, &mut |_| {}).unwrap_err(), &["d_model 128", "64"]);
    // Mended, and without its shortcut.
    let whole = official_text().files.remove(&format!("{DIMOO}/config.json")).unwrap();
    server.state().files.insert(format!("{DIMOO}/config.json"), whole);
    let report = pull(&PullRequest { force: true, ..without }, &settings, &mut |_| {}).unwrap();
    assert!(report.model.is_some() && report.files.iter().all(|file| file.repo == DIMOO));
}

#[test]
fn a_repository_without_a_preset_is_converted_if_it_can_be() {
    let (server, cache) = (Server::start(official()), tempfile::tempdir().unwrap());
    let settings = settings(&server.endpoint, cache.path());
    server.state().files.insert("my/own/base.pth".into(), fixture("MaskGIT_ImageNet_512.pth"));
    server.state().files.insert("my/own/VQGAN/last.ckpt".into(), fixture("VQGAN/last.ckpt"));
    server.state().files.insert("my/own/position.pt".into(), fixture("position_embedding.pt"));
    let report = run(&settings, "my/own").unwrap();
    assert!(ModelFolder::open(&report.model.unwrap()).is_ok());
    server.state().files.insert("my/other/config.json".into(), b"{}".to_vec());
    let report = run(&settings, "my/other").unwrap();
    assert!(
        report.model.is_none() && report.notes[0].contains("nothing was converted"),
        "{:?}",
        report.notes
    );
}

#[test]
fn the_command_reads_the_environment() {
    let (server, home) = (Server::start(official()), tempfile::tempdir().unwrap());
    let migm = |arguments: &[&str], more: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_migm"));
        command.env_clear().current_dir(home.path()).args(arguments);
        // A proxy that is not there: what is on this machine is reached without one.
        command
            .env("HF_ENDPOINT", &server.endpoint)
            .env("HF_HOME", "hf")
            .env("HTTP_PROXY", "http://127.0.0.1:1");
        let output = command.envs(more.iter().copied()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, out, error) = migm(&["pull", "maskgit-512", "--to", "model"], &[]);
    assert_eq!(code, Some(0), "{error}");
    assert!(
        out.contains("SHA-256 checked") && out.contains("migm generate --class 7 --model model"),
        "{out}"
    );
    assert!(home.path().join("model/config.json").is_file());
    let offline = [("HF_HUB_OFFLINE", "1")];
    let (code, out, error) = migm(&["pull", "maskgit-512", "--to", "model"], &offline);
    assert!(code == Some(0) && out.contains("up to date"), "{out}{error}");
    let (code, _, error) = migm(&["pull", "maskgit-256"], &offline);
    assert!(code == Some(1) && error.contains("MaskGIT_ImageNet_256.pth"), "{error}");
    server.state().token = Some("secret".into());
    let (code, _, error) = migm(&["pull", "maskgit-512"], &[]);
    assert!(code == Some(1) && error.contains("set HF_TOKEN"), "{error}");
    assert_eq!(migm(&["pull", "maskgit-512"], &[("HF_TOKEN", "secret")]).0, Some(0));
    let (code, out, _) = migm(&["pull", "--help"], &[]);
    assert!(code == Some(0) && out.contains("lumina-dimoo"), "{out}");
}
