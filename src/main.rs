//! The command line's entry.

#[cfg(not(target_arch = "wasm32"))]
fn main() -> std::process::ExitCode {
    migm::cli::run()
}

#[cfg(target_arch = "wasm32")]
fn main() {}
