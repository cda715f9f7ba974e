//! `cargo xtask`: the project's build scripts, in Rust so that they run wherever the project builds.
//!
//! Standard library only, so that the first use costs seconds. `command` prints and runs programs, `debian` installs
//! packages, `adapter` finds the Vulkan driver that tests use, `training` tests the Python trainers, `page` the page; `stages`, `targets`, `bench` and
//! `sprites` are the commands.

mod adapter;
mod bench;
mod command;
mod debian;
mod job;
mod mesa;
mod page;
mod python;
mod sprites;
mod stages;
mod targets;
mod training;
mod web;

use std::process::ExitCode;

/// What `cargo xtask` prints when asked for help, or for something it does not know.
const USAGE: &str = "\
usage: cargo xtask <command>

  test [STAGE...]                          check everything, or only the stages named
  test --list                              name the stages and the command of each
  check-targets [TARGET...] [CARGO ARGS]   type-check for other systems (Windows and macOS unless named)
  bench [ARGS]                             run `migm bench ARGS`, then the criterion benches
  bench --peer [ARGS]                      run the CPU executor and PyTorch in turn and compare their steps (ARGS of benches/peer.py)
  bench --gpu [ARGS]                       verify, tune and measure every tier of a GPU, beside PyTorch (ARGS of benches/gpu.py; --quick without a GPU)
  table                                    measure the figures that stand in the documentation
  tiers [FILTER]                           compare kernels on every tier, on a driver that has them (Debian, x86-64)
  web                                      build the page into web/dist
  wheel                                    build the Python package's wheel into target/wheels
  sprites                                  make assets/sprites/ again from npm packages (needs Node.js)
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (name, rest) = args.split_first().map_or(("", &[][..]), |(name, rest)| (name.as_str(), rest));
    let result = match name {
        "test" => stages::main(rest),
        "check-targets" => targets::main(rest),
        "bench" => bench::bench(rest),
        "table" => bench::table(rest),
        "sprites" => sprites::main(),
        "tiers" => mesa::main(rest),
        "web" => web::main(rest),
        "wheel" => python::wheel(rest),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(())
        }
        "" => Err(format!("no command given\n\n{USAGE}")),
        unknown => Err(format!("`{unknown}` is not a command of xtask\n\n{USAGE}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {}", message.trim_end());
            ExitCode::FAILURE
        }
    }
}
