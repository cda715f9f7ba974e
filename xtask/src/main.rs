//! `cargo xtask`: the project's build scripts, in Rust so that they run wherever the project builds.
fn main() {}
