//! Weight files as strangers make them: the readers against real PyTorch's files, against damage, and against malice.

mod formats;
mod hostile_pickles;
mod hostile_safetensors;
mod hostile_zips;
mod mutations;
mod support;
