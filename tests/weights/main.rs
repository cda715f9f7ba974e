//! Weight files as strangers make them: the readers against real PyTorch's files, against damage, and against malice.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod convert;
mod convert_text;
mod formats;
mod hostile_pickles;
mod hostile_safetensors;
mod hostile_zips;
#[path = "../layout/mod.rs"]
mod layout;
mod mutations;
mod shards;
mod support;
