//! Measuring what was built: [`verify`] against recordings of the official code, [`mod@bench`] for speed and memory.

pub mod bench;
pub mod export;
pub mod random;
pub mod subject;
pub mod verify;
mod verify_dimoo;
