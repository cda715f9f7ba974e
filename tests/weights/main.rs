//! Weight files as strangers make them: the readers against real PyTorch's files, against damage, and against malice.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod convert;
mod formats;
mod hostile_pickles;
mod hostile_safetensors;
mod hostile_zips;
mod mutations;
mod shards;
mod support;
