//! Measuring what was built: [`verify`] against recordings of the official code, [`mod@bench`] for speed and memory,
//! [`scenes_eval`] for whether pictures show what was asked for.

pub mod bench;
pub mod export;
pub mod npz;
pub(crate) mod plot;
pub mod random;
pub mod scenes_eval;
pub mod verify;
