//! `migm serve`: pictures for applications.

use super::{CliError, Place};
use crate::generate::GenerateError;
use crate::generate::model::{Device, Model};
use crate::serve::{Options, Voice, serve};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The variable that a token is taken from.
const TOKEN: &str = "MIGM_SERVE_TOKEN";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Model folders, or names of bundled models; the first one is taken where a request names none (default: scenes-text and scenes-class)
    #[arg(value_name = "DIR|NAME", value_hint = clap::ValueHint::DirPath)]
    models: Vec<PathBuf>,
    /// Address to listen on; beyond this machine a token is needed
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Port; 0 takes any that is free, and says which
    #[arg(long, default_value_t = 8017)]
    port: u16,
    /// A file with the token that clients send as `Authorization: Bearer TOKEN` (or set MIGM_SERVE_TOKEN)
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    token_file: Option<PathBuf>,
    /// Pictures computed at once, at most, if they are alike
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024))]
    batch: u32,
    /// Pictures that may wait; what does not fit is refused with a time to ask again
    #[arg(long, value_name = "PICTURES", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    queue: u32,
    /// Until a request is begun; then it is refused
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    longest_wait: u64,
    /// From then on until all of it is there
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    longest_run: u64,
    /// How long jobs, and pictures that have an address, are kept
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    keep: u64,
    /// How long a stop waits for what is under way
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    grace: u64,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let token = token(arguments.token_file.as_deref(), std::env::var(TOKEN).ok())?;
    let seconds = Duration::from_secs;
    let options = Options {
        address: SocketAddr::new(arguments.host, arguments.port),
        token,
        batch: arguments.batch as usize,
        waiting: arguments.queue as usize,
        longest_wait: seconds(arguments.longest_wait),
        longest_run: seconds(arguments.longest_run),
        kept: seconds(arguments.keep),
        grace: seconds(arguments.grace),
    };
    let opened = if arguments.models.is_empty() {
        vec![Model::bundled_text()?, Model::bundled_class()?]
    } else {
        let open = |folder: &PathBuf| super::open_model(Some(folder), Model::bundled_text);
        arguments.models.iter().map(open).collect::<Result<_, _>>()?
    };
    let (first, reason) = arguments.place.open()?;
    let mut models: Vec<(String, Model, Device)> = Vec::new();
    for model in opened {
        // Programs of two models share nothing on a device; each has its own, so that one that fails takes no other with it.
        let device = if models.is_empty() { first.clone() } else { arguments.place.open()?.0 };
        let name = named(&model.name);
        say!("{name} on {} ({reason})", device.describe());
        models.push((name, model, device));
    }
    let place = arguments.place.clone();
    let reopen = Box::new(move || place.open().map(|(device, _)| device).map_err(|error| error.to_string()));
    let voice = Voice {
        listening: Box::new(|address| {
            let mut out = std::io::stdout().lock();
            // Who reads no more does not need to know.
            let _ = writeln!(out, "listening on http://{address}/v1");
            let _ = out.flush();
        }),
        say: Box::new(|words| say!("{words}")),
    };
    Ok(serve(models, reopen, &options, voice)?)
}

/// What clients call a model: of a folder its last name, so that no path of this machine is told.
fn named(model: &str) -> String {
    let last = Path::new(model).file_name().map(|name| name.to_string_lossy().into_owned());
    last.unwrap_or_else(|| model.to_owned())
}

/// The token of a file, or of the environment.
fn token(file: Option<&Path>, variable: Option<String>) -> Result<Option<String>, CliError> {
    let (from, text) = match (file, variable) {
        (Some(path), _) => {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(path)
                .map_err(|source| GenerateError::File { path: name.clone(), source })?;
            (name, text)
        }
        (None, Some(text)) => (TOKEN.to_owned(), text),
        (None, None) => return Ok(None),
    };
    let token = text.trim();
    if token.len() < 8 || token.bytes().any(|byte| !byte.is_ascii_graphic()) {
        let message =
            format!("{from} holds no token: a line of at least 8 letters, digits and signs, without spaces");
        return Err(GenerateError::Setting(message).into());
    }
    Ok(Some(token.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_from_a_file_or_the_environment_and_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "a-long-secret\n").unwrap();
        let of_file = token(Some(&path), Some("another-secret".to_owned())).unwrap();
        assert_eq!(of_file.as_deref(), Some("a-long-secret"));
        assert_eq!(
            token(None, Some("another-secret".to_owned())).unwrap().as_deref(),
            Some("another-secret")
        );
        assert_eq!(token(None, None).unwrap(), None);
        for bad in ["", "short", "two words and more"] {
            assert!(token(None, Some(bad.to_owned())).unwrap_err().to_string().contains(TOKEN), "{bad:?}");
        }
        assert!(token(Some(&folder.path().join("none")), None).is_err());
    }

    #[test]
    fn a_folder_is_called_by_its_last_name() {
        assert_eq!(named("scenes-text"), "scenes-text");
        assert_eq!(named("/data/models/mine"), "mine");
    }
}
