//! The command line's entry.

#[cfg(not(target_arch = "wasm32"))]
#[global_allocator]
static MEMORY: migm::cli::memory::Spoken = migm::cli::memory::Spoken;

#[cfg(not(target_arch = "wasm32"))]
fn main() -> std::process::ExitCode {
    #[cfg(target_os = "linux")]
    if migm::cli::has_no_session(&|name| std::env::var_os(name)) {
        // Mesa's layer that asks the desktop for its graphics device prints an error where there is no desktop to ask. This is
        // the switch that the layer has for it; adapters are then sorted by their kind, as they are anyway.
        // SAFETY: this is the first statement of the process's only thread, so nobody reads the environment meanwhile.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
    migm::cli::run()
}

#[cfg(target_arch = "wasm32")]
fn main() {}
