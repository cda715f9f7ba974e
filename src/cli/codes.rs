//! `migm encode` and `migm decode`: pictures to codes and back.

use super::{CliError, Place};
use crate::generate::GenerateError;
use crate::generate::codes::Codes;
use crate::generate::encode::{Decoder, Encoder};
use crate::generate::metadata::texts;
use crate::generate::model::{Device, Model};
use crate::generate::picture::{Picture, write_png, write_whole};
use crate::input::{self, Fit};
use crate::output::{self, Format, Output};
use pollster::block_on;
use std::io::Write as _;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(super) struct EncodeArguments {
    /// Pictures: PNG, JPEG, WebP or GIF
    #[arg(value_name = "PICTURE", required = true, value_hint = clap::ValueHint::FilePath)]
    pictures: Vec<PathBuf>,
    /// Model folder, or the name of a bundled model (default: scenes-text)
    #[arg(long, value_name = "DIR|NAME", value_hint = clap::ValueHint::DirPath)]
    model: Option<PathBuf>,
    /// How a picture of another shape is brought to the model's
    #[arg(long, value_enum, default_value_t)]
    fit: Fit,
    /// Where the codes go: JSON, or an array for NumPy
    #[arg(long, value_name = "FILE.json|FILE.npy", value_hint = clap::ValueHint::FilePath)]
    out: Option<PathBuf>,
    /// Also write what the codes are decoded to, below what was encoded
    #[arg(long, value_name = "FILE.png", value_hint = clap::ValueHint::FilePath)]
    picture: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
pub(super) struct DecodeArguments {
    /// Codes as `migm encode` writes them, or an array of NumPy [pictures, rows, columns]
    #[arg(value_name = "CODES", value_hint = clap::ValueHint::FilePath)]
    codes: PathBuf,
    /// Model folder, or the name of a bundled model (default: the one that the codes name, else scenes-text)
    #[arg(long, value_name = "DIR|NAME", value_hint = clap::ValueHint::DirPath)]
    model: Option<PathBuf>,
    /// The picture to write, or a sheet of several
    #[arg(long, value_name = "FILE.png", default_value = "decoded.png", value_hint = clap::ValueHint::FilePath)]
    out: PathBuf,
    #[command(flatten)]
    place: Place,
}

/// Pictures of codes.
fn decoded(model: &Model, device: &Device, codes: &[Vec<u32>]) -> Result<Vec<Picture>, GenerateError> {
    let mut decoder = Decoder::new(model, device)?;
    codes.iter().map(|codes| block_on(decoder.picture(codes))).collect()
}

pub(super) fn encode(arguments: &EncodeArguments) -> Result<(), CliError> {
    let out = |path: &PathBuf| Output::one_of("--out", path, &[Format::Json, Format::Npy]);
    let picture = |path: &PathBuf| Output::file("--picture", path, Format::Png);
    let outputs = arguments.out.iter().map(out).chain(arguments.picture.iter().map(picture));
    output::check(&outputs.collect::<Vec<_>>())?;
    let read = |path: &PathBuf| input::open(path);
    let found = arguments.pictures.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let model = super::open_model(arguments.model.as_ref(), Model::bundled_text)?;
    let (device, reason) = arguments.place.open()?;
    let (name, size, grid) = (model.name.clone(), model.family().size(), model.family().grid());
    let mut encoder = Encoder::new(&model, &device)?;
    let fitted: Vec<Picture> = found.iter().map(|picture| arguments.fit.bring(picture, size).0).collect();
    drop(found);
    let codes = fitted.iter().map(|picture| block_on(encoder.picture(picture)));
    let codes = codes.collect::<Result<Vec<_>, GenerateError>>()?;
    say!("{name} on {} ({reason})", device.describe());
    let pictures = decoded(&model, &device, &codes)?;
    let mut out = std::io::stdout().lock();
    for ((path, own), (codes, picture)) in
        arguments.pictures.iter().zip(&fitted).zip(codes.iter().zip(&pictures))
    {
        let [height, width] = size;
        let mut distinct = codes.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let kept = match own.psnr(picture) {
            Some(psnr) => format!("{psnr:.1} dB"),
            None => "to the bit".to_owned(),
        };
        writeln!(
            out,
            "{}: {} codes of {} kinds; decoded at {width} x {height} px it is kept to {kept}",
            path.display(),
            codes.len(),
            distinct.len()
        )?;
    }
    if let Some(path) = &arguments.picture {
        let count = fitted.len() as u32;
        let both: Vec<Picture> = fitted.into_iter().chain(pictures).collect();
        let made_from = serde_json::json!({ "model": name, "version": env!("CARGO_PKG_VERSION") });
        write_png(path, &Picture::sheet(&both, count), &texts(&made_from, None))?;
        say!("wrote {}", path.display());
    }
    let codes = Codes { model: Some(name), grid, codes };
    if let Some(path) = &arguments.out {
        let is_array = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy"));
        let json = || serde_json::to_vec(&codes).unwrap_or_default();
        write_whole(path, &if is_array { codes.to_npy() } else { json() })?;
        say!("wrote {}", path.display());
    } else if arguments.picture.is_none() {
        writeln!(out, "{}", serde_json::to_string(&codes).unwrap_or_default())?;
    }
    Ok(())
}

pub(super) fn decode(arguments: &DecodeArguments) -> Result<(), CliError> {
    output::check(&[Output::file("--out", &arguments.out, Format::Png)])?;
    let path = arguments.codes.display().to_string();
    let bytes = std::fs::read(&arguments.codes)
        .map_err(|source| GenerateError::File { path: path.clone(), source })?;
    let refused = |reason: String| CliError::from(GenerateError::Setting(format!("{path}: {reason}")));
    let codes = Codes::parse(&bytes).map_err(refused)?;
    let named = codes.model.as_ref().map(PathBuf::from);
    let model = super::open_model(arguments.model.as_ref().or(named.as_ref()), Model::bundled_text)?;
    let ([rows, columns], codebook) = (model.family().grid(), model.family().codebook());
    let [found_rows, found_columns] = codes.grid;
    if codes.grid != [rows, columns] {
        return Err(refused(format!(
            "codes on a grid of {found_rows} x {found_columns}, where {} has {rows} x {columns}; name their model with --model",
            model.name
        )));
    }
    if let Some(code) = codes.codes.iter().flatten().find(|code| **code >= codebook) {
        return Err(refused(format!("code {code} is none of the {codebook} of {}", model.name)));
    }
    let (device, _) = arguments.place.open()?;
    let made_from = serde_json::json!({ "model": model.name, "version": env!("CARGO_PKG_VERSION") });
    let pictures = decoded(&model, &device, &codes.codes)?;
    let sheet = Picture::sheet(&pictures, super::frames::columns(pictures.len()));
    write_png(&arguments.out, &sheet, &texts(&made_from, None))?;
    say!("wrote {}", Path::new(&arguments.out).display());
    Ok(())
}
