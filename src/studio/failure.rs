//! What a person is told when something cannot be done: what, why in the words of whoever refused, and a way on.

use crate::exec::ExecError;
use crate::exec::gpu::device::DeviceError;
use crate::generate::GenerateError;

/// What the person can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Change a setting and run again.
    ChangeSettings,
    /// Fetch the model once more.
    FetchAgain,
    /// Open another model.
    OpenAnother,
    /// Compute on the CPU.
    UseCpu,
    /// Fewer pictures at once, or a smaller model.
    UseLess,
    /// Start the device anew.
    Restart,
    /// Save somewhere else.
    SaveElsewhere,
}

impl Remedy {
    /// As a button says it.
    pub fn label(self) -> &'static str {
        match self {
            Self::ChangeSettings => "Back to the settings",
            Self::FetchAgain => "Fetch it again",
            Self::OpenAnother => "Open another model…",
            Self::UseCpu => "Compute on the CPU",
            Self::UseLess => "Make one picture",
            Self::Restart => "Start the device again",
            Self::SaveElsewhere => "Save elsewhere…",
        }
    }
}

/// A failure, as a panel shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// In a few words.
    pub title: String,
    /// The reason, as the library gives it.
    pub reason: String,
    /// Ways on, the best first.
    pub remedies: Vec<Remedy>,
}

impl Failure {
    /// Of a picture whose model is nowhere to be found.
    pub fn unknown_model(name: &str) -> Self {
        Self {
            title: "This picture's model is not here".to_owned(),
            reason: format!("it was made by {name}; open that model's folder, then drop the picture again"),
            remedies: vec![Remedy::OpenAnother],
        }
    }

    /// Of an error of the library.
    pub fn new(error: &GenerateError) -> Self {
        let (title, remedies): (&str, &[Remedy]) = match error {
            GenerateError::Exec(ExecError::Device(device)) => match device {
                DeviceError::NoAdapter { .. } => ("There is no graphics device", &[Remedy::UseCpu]),
                DeviceError::Refused { .. } | DeviceError::NoTier { .. } => {
                    ("The graphics device refuses to start", &[Remedy::UseCpu, Remedy::Restart])
                }
                DeviceError::TooLarge { .. } | DeviceError::TooManyWorkgroups { .. } => {
                    ("This is too large for the graphics device", &[Remedy::UseLess, Remedy::UseCpu])
                }
                DeviceError::OutOfMemory { .. } => {
                    ("The graphics device is out of memory", &[Remedy::UseLess, Remedy::UseCpu])
                }
                DeviceError::Lost { .. } => {
                    ("The graphics device was lost", &[Remedy::Restart, Remedy::UseCpu])
                }
                DeviceError::Invalid { .. } => {
                    ("The graphics device refused a command", &[Remedy::UseCpu, Remedy::Restart])
                }
            },
            GenerateError::Exec(ExecError::Weight(_))
            | GenerateError::Weight(_)
            | GenerateError::Config { .. } => ("This model cannot be opened", &[Remedy::OpenAnother]),
            GenerateError::Exec(_) => ("This cannot be computed", &[Remedy::UseCpu, Remedy::OpenAnother]),
            GenerateError::Setting(_) | GenerateError::Class { .. } | GenerateError::Text(_) => {
                ("These settings do not go together", &[Remedy::ChangeSettings])
            }
            GenerateError::File { .. } => ("A file could not be read or written", &[Remedy::SaveElsewhere]),
            GenerateError::Picture { .. } => {
                ("A picture could not be read or written", &[Remedy::SaveElsewhere])
            }
        };
        let reason = match error {
            // Their ways on are those of the command line.
            GenerateError::Exec(ExecError::Device(
                DeviceError::Lost { adapter, reason } | DeviceError::OutOfMemory { adapter, reason },
            )) => format!("{adapter}: {reason}"),
            _ => error.to_string(),
        };
        Self { title: title.to_owned(), reason, remedies: remedies.to_vec() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_a_reason_and_a_way_on() {
        let adapter = || "A".to_owned();
        let device = |error: DeviceError| GenerateError::Exec(ExecError::Device(error));
        for error in [
            device(DeviceError::NoAdapter { wanted: None, found: "none".to_owned() }),
            device(DeviceError::OutOfMemory { adapter: adapter(), reason: "r".to_owned() }),
            device(DeviceError::Lost { adapter: adapter(), reason: "r".to_owned() }),
            GenerateError::Setting("a budget of 0".to_owned()),
            GenerateError::Class { wanted: "x".to_owned(), hint: "y".to_owned() },
        ] {
            let failure = Failure::new(&error);
            assert!(!failure.title.is_empty() && !failure.remedies.is_empty(), "{failure:?}");
            assert!(!failure.reason.is_empty() && !failure.reason.contains("--backend"), "{failure:?}");
        }
    }
}
