//! What goes wrong, as exceptions of the package: the library's sentence, and the class that says whose doing it is.

use migm::generate::GenerateError;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// A failure on its way to Python.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// The name of a class in `migm/errors.py`.
    class: &'static str,
    message: String,
}

impl Failure {
    /// What was asked for cannot be.
    pub(crate) fn setting(message: impl Into<String>) -> Self {
        Self { class: "SettingError", message: message.into() }
    }

    /// There is no device, or it failed.
    pub(crate) fn device(message: impl Into<String>) -> Self {
        Self { class: "DeviceError", message: message.into() }
    }
}

impl From<GenerateError> for Failure {
    fn from(error: GenerateError) -> Self {
        let class = match &error {
            GenerateError::Setting(_) | GenerateError::Class { .. } | GenerateError::Text(_) => {
                "SettingError"
            }
            GenerateError::Exec(_) => "DeviceError",
            GenerateError::Weight(_)
            | GenerateError::Config { .. }
            | GenerateError::File { .. }
            | GenerateError::Picture { .. } => "ModelError",
        };
        Self { class, message: error.to_string() }
    }
}

impl From<migm::exec::ExecError> for Failure {
    fn from(error: migm::exec::ExecError) -> Self {
        GenerateError::from(error).into()
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        Python::attach(|py| {
            let class = py.import("migm.errors").and_then(|module| module.getattr(failure.class));
            match class.and_then(|class| class.call1((failure.message.as_str(),))) {
                Ok(exception) => Self::from_value(exception),
                Err(_) => PyRuntimeError::new_err(failure.message),
            }
        })
    }
}
