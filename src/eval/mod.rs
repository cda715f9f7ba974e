//! Measuring what was built: [`verify`] against recordings of the official code, [`bench`] for speed and memory.

pub mod bench;
pub mod random;
pub mod verify;
