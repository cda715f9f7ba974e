//! Measuring what was built: [`verify`] against recordings of the official code, [`mod@bench`] for speed and memory,
//! [`scenes_eval`] for whether pictures show what was asked for, [`edits`] for what becomes of parts that are made anew, [`motion`] for how features move along a run, and [`figures`] of
//! that.

pub mod bench;
pub mod edits;
pub mod export;
pub mod figures;
pub mod motion;
pub mod npz;
pub(crate) mod plot;
pub mod random;
pub mod scenes_eval;
pub mod verify;
