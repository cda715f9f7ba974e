//! The command line: one file a subcommand. What it prints is for people unless `--json` is given.
//!
//! Exit codes: 0 done, 1 failed (or a verification that found differences), 2 the arguments make no sense.

// A closed standard error must not stop the work: `say!`.
#![deny(clippy::print_stderr)]

use crate::exec::gpu::device::{self, Choice, Gpu, Wanted};
use crate::exec::gpu::tier::Tier;
use crate::generate::GenerateError;
use crate::generate::model::{Device, Model};
use crate::generate::predict::Predictor;
use crate::generate::published::NAMES;
use crate::kernels::Quantization;
use crate::program::Formats;
use clap::{Parser, Subcommand, ValueEnum};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

#[macro_use]
mod say;

mod bench;
mod calibrate;
mod codes;
mod convert;
mod edit;
mod eval;
mod figures;
mod frames;
mod gallery;
mod generate;
mod info;
mod inspect;
pub mod memory;
#[cfg(feature = "pull")]
mod pull;
#[cfg(feature = "scenes")]
mod scenes;
#[cfg(feature = "serve")]
mod serve;
mod strip;
#[cfg(feature = "studio")]
mod studio;
mod table;
mod tune;
mod verify;

/// Masked image generation on any GPU, with learned shortcuts.
#[derive(Debug, Parser)]
#[command(name = "migm", version, about)]
#[cfg_attr(not(feature = "studio"), command(arg_required_else_help = true))]
#[cfg_attr(feature = "studio", command(after_help = "Without a command, the studio opens."))]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Open the studio: pictures resolving under a refresh-budget slider
    #[cfg(feature = "studio")]
    Studio(studio::Arguments),
    /// Generate pictures of a class, or from text, step by step
    Generate(generate::Arguments),
    /// Make a part of a picture anew: inpaint, extend, vary, or ask for something else
    Edit(edit::Arguments),
    /// Find the codes of pictures, and say how well they are kept
    Encode(codes::EncodeArguments),
    /// Make pictures of codes
    Decode(codes::DecodeArguments),
    /// Show the same seeds by vanilla and by each budget, unselected, in one picture
    Gallery(gallery::Arguments),
    /// Replay recordings of the official code and compare every part
    Verify(verify::Arguments),
    /// Show the graphics adapters, what each can do, and which one is taken
    Info(info::Arguments),
    /// Show the tensors of a file, or what a model folder needs and whether it fits
    Inspect(inspect::Arguments),
    /// Convert PyTorch checkpoints to safetensors or to a model folder
    Convert(convert::Arguments),
    /// Fetch an official model, check it, and make a model folder of it
    #[cfg(feature = "pull")]
    Pull(pull::Arguments),
    /// Compose captioned pictures of emoji in places: the data of the bundled models
    #[cfg(feature = "scenes")]
    Scenes(scenes::Arguments),
    /// Make pictures for applications over HTTP, as OpenAI's images interface has it
    #[cfg(feature = "serve")]
    Serve(serve::Arguments),
    /// Measure step times, operations and memory
    Bench(bench::Arguments),
    /// Time how matrix products are best cut on this GPU, and keep what is found for later runs
    Tune(tune::Arguments),
    /// Measure where a predictor goes wrong, and find the best full steps of every budget
    Calibrate(calibrate::Arguments),
    /// Judge whether pictures show what was asked for, by method and time
    Eval(eval::Arguments),
    /// Draw how features move along a run, how evenly, and how far off its predictor is
    Figures(figures::Arguments),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// What a subcommand can end in, besides success.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Generate(#[from] GenerateError),
    #[error(transparent)]
    Figure(#[from] crate::eval::figures::FigureError),
    #[error(transparent)]
    Weight(#[from] crate::weights::WeightError),
    #[error(transparent)]
    Device(#[from] device::DeviceError),
    #[error(transparent)]
    Exec(#[from] crate::exec::ExecError),
    #[cfg(feature = "studio")]
    #[error(transparent)]
    Window(#[from] crate::studio::window::WindowError),
    #[cfg(feature = "pull")]
    #[error(transparent)]
    Pull(#[from] crate::pull::PullError),
    #[cfg(feature = "serve")]
    #[error(transparent)]
    Serve(#[from] crate::serve::ServeError),
    #[cfg(feature = "scenes")]
    #[error(transparent)]
    Scene(#[from] crate::scenes::SceneError),
    #[cfg(feature = "scenes")]
    #[error(
        "{given} scenes do not fit on a sheet, {most} do; use --out DIR for more, or several sheets with --first"
    )]
    TooManyOnASheet { given: u64, most: u64 },
    #[error(transparent)]
    Input(#[from] crate::input::InputError),
    #[error(transparent)]
    Unwritable(#[from] crate::output::OutputError),
    #[error("standard output: {0}")]
    Output(#[from] std::io::Error),
    #[error(
        "the system starts no threads to compute on ({0}); allow this process more memory, or fewer threads with RAYON_NUM_THREADS=1"
    )]
    Threads(rayon::ThreadPoolBuildError),
    /// The work was done, and what it found is bad; already printed.
    #[error("")]
    Found,
}

/// Runs the command line of this process.
#[must_use]
pub fn run() -> ExitCode {
    say::speak_of_faults();
    let cli = Cli::parse();
    let Some(command) = cli.command.or_else(by_default) else { return ExitCode::FAILURE };
    match threads().and_then(|()| carry_out(&command)) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has had enough: `migm info | head -1`.
        Err(CliError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(CliError::Found) => ExitCode::FAILURE,
        Err(error) => {
            say!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(command: &Command) -> Result<(), CliError> {
    match command {
        #[cfg(feature = "studio")]
        Command::Studio(arguments) => studio::run(arguments),
        Command::Generate(arguments) => generate::run(arguments),
        Command::Edit(arguments) => edit::run(arguments),
        Command::Encode(arguments) => codes::encode(arguments),
        Command::Decode(arguments) => codes::decode(arguments),
        Command::Gallery(arguments) => gallery::run(arguments),
        Command::Verify(arguments) => verify::run(arguments),
        Command::Info(arguments) => info::run(arguments),
        Command::Inspect(arguments) => inspect::run(arguments),
        Command::Convert(arguments) => convert::run(arguments),
        #[cfg(feature = "pull")]
        Command::Pull(arguments) => pull::run(arguments),
        #[cfg(feature = "scenes")]
        Command::Scenes(arguments) => scenes::run(arguments),
        #[cfg(feature = "serve")]
        Command::Serve(arguments) => serve::run(arguments),
        Command::Bench(arguments) => bench::run(arguments),
        Command::Tune(arguments) => tune::run(arguments),
        Command::Calibrate(arguments) => calibrate::run(arguments),
        Command::Eval(arguments) => eval::run(arguments),
        Command::Figures(arguments) => figures::run(arguments),
        Command::Completions { shell } => {
            let mut command = <Cli as clap::CommandFactory>::command();
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut command, "migm", &mut script);
            Ok(std::io::stdout().lock().write_all(&script)?)
        }
    }
}

/// Starts the threads that all commands share. Left to themselves they start with the first loop, and panic where they cannot.
fn threads() -> Result<(), CliError> {
    match rayon::ThreadPoolBuilder::new().build_global() {
        // Only the system's refusal has a source; otherwise they are there already.
        Err(error) if std::error::Error::source(&error).is_some() => Err(CliError::Threads(error)),
        _ => Ok(()),
    }
}

/// Whether nothing can be asked about a desktop's graphics device: there is no place for its sockets, none is named, and nobody
/// has chosen a device through Mesa's layer.
#[cfg(target_os = "linux")]
#[must_use]
pub fn has_no_session(variable: &dyn Fn(&str) -> Option<std::ffi::OsString>) -> bool {
    let is_path = |name: &str| variable(name).is_some_and(|path| path.as_encoded_bytes().starts_with(b"/"));
    let is_set = |name: &str| variable(name).is_some();
    !is_path("XDG_RUNTIME_DIR")
        && !is_path("WAYLAND_DISPLAY")
        && !["WAYLAND_SOCKET", "MESA_VK_DEVICE_SELECT", "DRI_PRIME", "NODEVICE_SELECT"]
            .into_iter()
            .any(is_set)
}

/// What runs where no command is given. Without the studio, clap has shown its help by then.
fn by_default() -> Option<Command> {
    #[cfg(feature = "studio")]
    return Some(Command::Studio(studio::Arguments::default()));
    #[cfg(not(feature = "studio"))]
    None
}

/// Where to compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Backend {
    /// A graphics device if there is one in hardware, else the CPU
    #[default]
    Auto,
    /// A graphics device, in software if need be
    Gpu,
    /// The CPU executor
    Cpu,
    /// The CPU executor with linear layers and the head in bf16, on processors that multiply it (attention too where they have tiles, AMX):
    /// quicker, and not the same tokens
    CpuBf16,
}

/// Where to compute, and how exactly.
#[derive(Clone, Debug, Default, clap::Args)]
struct Place {
    /// Where to compute
    #[arg(long, value_enum, default_value_t)]
    backend: Backend,
    /// Compute in f32 throughout, so that a seed gives the same tokens on every device (a GPU takes f16 and matrix units where it has them)
    #[arg(long)]
    exact: bool,
}

impl Place {
    /// Which adapter, as the environment and these arguments say.
    fn choice(&self) -> Choice {
        let mut choice = Choice::from_environment();
        if self.exact {
            choice.tier = Wanted::Exactly(Tier::Portable.to_string());
        }
        choice
    }

    /// Opens the device, with the reason for the choice.
    fn open(&self) -> Result<(Device, String), CliError> {
        self.open_as(&self.choice())
    }

    /// Opens the device once for every tier that it has, unless one is asked for.
    fn open_every_tier(&self) -> Result<Vec<(Device, String)>, CliError> {
        let mut choice = self.choice();
        let first = self.open_as(&choice)?;
        let Device::Gpu(gpu) = &first.0 else { return Ok(vec![first]) };
        if let Wanted::Exactly(_) = choice.tier {
            return Ok(vec![first]);
        }
        let tiers = Tier::offered(&gpu.adapter).into_iter();
        tiers
            .map(|tier| {
                choice.tier = Wanted::Exactly(tier.to_string());
                self.open_as(&choice)
            })
            .collect()
    }

    fn open_as(&self, choice: &Choice) -> Result<(Device, String), CliError> {
        if self.backend == Backend::Cpu {
            return Ok((Device::Cpu, "asked for".to_owned()));
        }
        if self.backend == Backend::CpuBf16 {
            return Ok((Device::cpu_in_bf16(self.exact)?, "asked for".to_owned()));
        }
        let instance = device::instance();
        let adapter = match pollster::block_on(device::choose(&instance, choice)) {
            Ok(adapter) => adapter,
            Err(error) if self.backend == Backend::Gpu || choice.name.is_some() => return Err(error.into()),
            Err(_) => return Ok((Device::Cpu, "no graphics adapter was found".to_owned())),
        };
        let info = adapter.get_info();
        if self.backend == Backend::Auto && choice.name.is_none() && info.device_type == wgpu::DeviceType::Cpu
        {
            let reason = format!(
                "the only adapter, {}, computes in software; --backend gpu takes it all the same",
                info.name
            );
            return Ok((Device::Cpu, reason));
        }
        let gpu = pollster::block_on(Gpu::from_adapter(instance, adapter, choice))?;
        let reason =
            format!("{:?}, {:?}; {}; {}", info.device_type, info.backend, gpu.tier_reason, gpu.plan_reason);
        Ok((Device::Gpu(Box::new(gpu)), reason))
    }
}

/// The formats that are compared.
const FORMATS: [(&str, Formats); 5] = [
    ("f32", Formats::F32),
    ("f16", Formats::F16),
    ("int8", Formats { half: true, quantize: Some(Quantization::Int8) }),
    ("int4:32", Formats { half: true, quantize: Some(Quantization::Int4 { group: 32 }) }),
    ("int4", Formats { half: true, quantize: Some(Quantization::Int4 { group: 64 }) }),
];

/// Opens a folder or a bundled model by name, or the one that stands for none.
fn open_model(
    folder: Option<&PathBuf>,
    default: fn() -> Result<Model, GenerateError>,
) -> Result<Model, CliError> {
    let Some(folder) = folder else { return Ok(default()?) };
    let name = folder.to_str().filter(|name| NAMES.contains(name) && !folder.exists());
    if let Some(name) = name {
        let message = format!("the weights of {name} are not here; migm pull {name} fetches them");
        return Err(GenerateError::Setting(message).into());
    }
    Ok(Model::open(folder)?)
}

/// The same, or a published model by name, of which only the sizes are here.
fn describe_model(
    folder: Option<&PathBuf>,
    published: Option<&str>,
    default: fn() -> Result<Model, GenerateError>,
) -> Result<Model, CliError> {
    if let Some(name) = published {
        return Model::published(name).ok_or_else(|| {
            let message = format!("there is no configuration {name:?}; there are {}", NAMES.join(", "));
            GenerateError::Setting(message).into()
        });
    }
    let by_name = folder.filter(|path| !path.exists()).and_then(|path| path.to_str());
    match by_name.and_then(Model::published) {
        Some(model) => Ok(model),
        None => open_model(folder, default),
    }
}

/// Reads a predictor's name, with its setting after a colon.
fn predictor(spec: &str) -> Result<Predictor, String> {
    Predictor::named(spec).ok_or_else(|| {
        let names = Predictor::ALL.map(|predictor| predictor.name()).join(", ");
        format!("there are {names}; ml-cache:SHARE, taylor:ORDER, taylorseer:ORDER (0 to 2) and dllm-cache:PROMPT,IMAGE,SHARE have settings")
    })
}

/// A line that moves on a terminal while something runs that may take more than a moment; the caller clears it.
fn busy(what: impl Into<std::borrow::Cow<'static, str>>) -> indicatif::ProgressBar {
    let bar = indicatif::ProgressBar::new_spinner();
    bar.set_style(
        indicatif::ProgressStyle::with_template("{spinner} {msg} {elapsed}")
            .unwrap_or_else(|_| indicatif::ProgressStyle::default_spinner()),
    );
    bar.set_message(what);
    bar.enable_steady_tick(std::time::Duration::from_millis(120));
    bar
}

/// Bytes in the unit that a person would choose.
fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_desktop_is_asked_only_where_one_may_be() {
        let session = |set: &[(&str, &str)]| {
            has_no_session(&|name| set.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).into()))
        };
        assert!(session(&[]) && session(&[("XDG_RUNTIME_DIR", "")]) && session(&[("DISPLAY", ":0")]));
        assert!(session(&[("WAYLAND_DISPLAY", "wayland-0")]), "its socket is in XDG_RUNTIME_DIR");
        for set in [("XDG_RUNTIME_DIR", "/run/user/7"), ("WAYLAND_DISPLAY", "/run/w"), ("DRI_PRIME", "1")] {
            assert!(!session(&[set]), "{set:?}");
        }
    }

    #[test]
    fn bytes_read_well() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(176_306_666 * 4), "672.6 MiB");
    }
}
