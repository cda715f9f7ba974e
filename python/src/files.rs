//! Files: pictures as PNG, and what a bundled model is made of.

use crate::failure::Failure;
use migm::generate::GenerateError;
use migm::generate::picture::{Picture, encode_png};
use migm::weights::ModelFolder;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::path::Path;

/// A picture as a PNG file: RGB, rows from the top. The encoder is the library's own, so the bytes are the same on every machine.
#[pyfunction]
pub(crate) fn png<'py>(
    py: Python<'py>,
    rgb: &[u8],
    width: u32,
    height: u32,
) -> PyResult<Bound<'py, PyBytes>> {
    if rgb.len() as u128 != u128::from(width) * u128::from(height) * 3 {
        let message = format!("{} bytes, where {width} x {height} pixels of RGB were said", rgb.len());
        return Err(Failure::setting(message).into());
    }
    let picture = Picture { width, height, rgb: rgb.to_vec() };
    let bytes = py.detach(|| encode_png(&picture, &[]));
    let bytes = bytes.map_err(|error| Failure::setting(format!("{width} x {height} pixels: {error}")))?;
    Ok(PyBytes::new(py, &bytes))
}

/// The files of a bundled model, by name; none of a folder on disk, which anybody can read.
#[pyfunction]
pub(crate) fn bundled<'py>(py: Python<'py>, source: &str) -> PyResult<Vec<(String, Bound<'py, PyBytes>)>> {
    let folder =
        ModelFolder::open(Path::new(source)).map_err(|error| Failure::from(GenerateError::from(error)))?;
    let files = folder.in_memory().iter();
    Ok(files.map(|(name, bytes)| (name.clone(), PyBytes::new(py, bytes))).collect())
}
