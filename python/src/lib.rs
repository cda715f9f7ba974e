//! The extension module `migm._migm`: engines on threads of their own, and what crosses over to Python.
//!
//! An engine's thread owns the model, its sessions and the device; Python's threads send it tasks and wait without the interpreter's
//! lock. Numbers cross as bytes, settings and descriptions as JSON: the package around it (`migm/`) makes arrays and names of them.

use pyo3::prelude::*;

mod engine;
mod failure;
mod files;
mod requests;
mod run;
mod worker;

/// The module.
#[pymodule]
fn _migm(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(files::png, module)?)?;
    module.add_function(wrap_pyfunction!(files::bundled, module)?)?;
    module.add_class::<engine::Engine>()?;
    module.add_class::<run::Run>()
}
