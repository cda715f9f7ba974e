//! `cargo xtask test`: everything that must hold before a change is taken, in stages.
//!
//! By hand all chosen stages run, also after one has failed, so that one run tells everything; an automatic run stops at
//! the first failure, so that what failed is the last thing in its log. Dependencies are compiled for
//! `clippy` and `doc` together (metadata only) and for `test` once (code), all in the dev profile.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::adapter::{self, Choice};
use crate::command::{Step, is_ci};
use crate::job::Job;
use crate::{mesa, page, python, training};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Adapter,
    Fmt,
    Clippy,
    Doc,
    Training,
    Web,
    Python,
    Test,
    Tiers,
}

impl Stage {
    /// In the order in which they run: the quick ones first, the driver before what needs it, the page after the trainers, beside which
    /// it is built, and the tests last so that their output is the last to be read.
    const ALL: [Self; 9] = [
        Self::Fmt,
        Self::Clippy,
        Self::Doc,
        Self::Adapter,
        Self::Training,
        Self::Web,
        Self::Python,
        Self::Test,
        Self::Tiers,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Adapter => "adapter",
            Self::Fmt => "fmt",
            Self::Clippy => "clippy",
            Self::Doc => "doc",
            Self::Training => "training",
            Self::Python => "python",
            Self::Web => "web",
            Self::Test => "test",
            Self::Tiers => "tiers",
        }
    }

    /// The command of the stage; the work of the others is our own.
    fn step(self) -> Option<Step> {
        match self {
            Self::Adapter | Self::Training | Self::Python | Self::Web | Self::Tiers => None,
            Self::Fmt => Some(Step::cargo(&["fmt", "--all", "--check"])),
            Self::Clippy => Some(Step::whole("clippy", &["--all-targets", "--", "-D", "warnings"])),
            Self::Doc => Some(
                Step::cargo(&["doc", "--no-deps", "--features", "serve"]).env("RUSTDOCFLAGS", "-D warnings"),
            ),
            Self::Test => {
                let step = Step::whole("test", &[]);
                let environment = Choice::detect().environment(is_ci());
                Some(environment.iter().fold(step, |step, (name, value)| step.env(name, value)))
            }
        }
    }

    fn describe(self) -> String {
        match self {
            Self::Adapter => "find or install a Vulkan driver to test on".to_owned(),
            Self::Training => training::describe(),
            Self::Python => python::describe(),
            Self::Web => page::describe(),
            Self::Tiers => mesa::describe(),
            _ => self.step().map_or_else(String::new, |step| step.render()),
        }
    }

    fn run(self, jobs: &mut Jobs) -> Result<(), String> {
        match self.step() {
            Some(step) if self == Self::Test && jobs.has(Self::Tiers) && mesa::takes_twins() => {
                step.args(&skipped()).run()
            }
            Some(step) => step.run(),
            None if self == Self::Training => {
                let python = jobs.python.take().unwrap_or_else(|| Job::begin(training::python));
                // A folder of its own: both builds end in one large crate, which leaves a core idle, and so do the tests.
                jobs.page = jobs.has(Self::Web).then(|| Job::begin(page::build));
                training::test(python)
            }
            None if self == Self::Python => python::test(),
            None if self == Self::Web => {
                jobs.page.take().map_or_else(page::build, Job::finish)?;
                page::test(&jobs.browser.take().map_or_else(page::browser, Job::finish)?)
            }
            None if self == Self::Tiers => {
                mesa::test(jobs.driver.take().unwrap_or_else(|| Job::begin(mesa::ensure)))
            }
            None => {
                let found = jobs.adapter.take().map_or_else(adapter::ensure, Job::finish)?;
                println!("{found}");
                Ok(())
            }
        }
    }
}

/// What later stages need and earlier ones leave a core for: downloads, and what is compiled apart from the tests.
#[derive(Default)]
struct Jobs {
    adapter: Option<Job<String>>,
    python: Option<Job<PathBuf>>,
    page: Option<Job<()>>,
    browser: Option<Job<String>>,
    driver: Option<Job<mesa::Driver>>,
    /// All that were asked for.
    stages: Vec<Stage>,
}

impl Jobs {
    fn has(&self, stage: Stage) -> bool {
        self.stages.contains(&stage)
    }

    /// Fetches what stages will need. A driver for the tests only where nobody can be asked for a password.
    fn begin(&mut self) {
        self.adapter = (is_ci() && self.has(Stage::Adapter)).then(|| Job::begin(adapter::ensure));
        self.python = self.has(Stage::Training).then(|| Job::begin(training::python));
        self.browser = self.has(Stage::Web).then(|| Job::begin(page::browser));
        self.driver = self.has(Stage::Tiers).then(|| Job::begin(mesa::ensure));
    }
}

/// What the stage of the tests leaves to that of the tiers.
fn skipped() -> Vec<String> {
    let skip = mesa::TESTS.iter().flat_map(|&test| ["--skip", test]);
    std::iter::once("--").chain(skip).map(str::to_owned).collect()
}

/// A stage that has run.
struct Report {
    stage: Stage,
    passed: bool,
    time: Duration,
}

/// Runs the stages that the arguments name.
pub(crate) fn main(args: &[String]) -> Result<(), String> {
    if args == ["--list"] {
        for stage in Stage::ALL {
            println!("{:<9}{}", stage.name(), stage.describe());
        }
        return Ok(());
    }
    let stages = select(args)?;
    let mut reports = Vec::new();
    let mut jobs = Jobs { stages: stages.clone(), ..Jobs::default() };
    jobs.begin();
    for &stage in &stages {
        let report = run(stage, &mut jobs);
        let stop = !report.passed && is_ci();
        reports.push(report);
        if stop {
            break;
        }
    }
    println!("\n{}", table(&reports));
    let failed: Vec<&str> =
        reports.iter().filter(|report| !report.passed).map(|report| report.stage.name()).collect();
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
}

fn run(stage: Stage, jobs: &mut Jobs) -> Report {
    println!("\n== {}: {}", stage.name(), stage.describe());
    let start = Instant::now();
    let result = stage.run(jobs);
    let time = start.elapsed();
    match &result {
        Ok(()) => println!("== {}: passed in {}", stage.name(), seconds(time)),
        Err(error) => println!("== {}: FAILED after {}: {error}", stage.name(), seconds(time)),
    }
    Report { stage, passed: result.is_ok(), time }
}

/// The stages that the arguments name, in running order and each once; all of them where none is named.
fn select(args: &[String]) -> Result<Vec<Stage>, String> {
    let names = Stage::ALL.map(Stage::name);
    if let Some(unknown) = args.iter().find(|arg| !names.contains(&arg.as_str())) {
        return Err(format!("`{unknown}` is not a stage; the stages are {}", names.join(", ")));
    }
    Ok(Stage::ALL
        .into_iter()
        .filter(|stage| args.is_empty() || args.iter().any(|arg| arg == stage.name()))
        .collect())
}

fn table(reports: &[Report]) -> String {
    let row =
        |name: &str, result: &str, time: Duration| format!("{name:<9}{result:<8}{:>9}\n", seconds(time));
    let rows =
        reports.iter().map(|r| row(r.stage.name(), if r.passed { "passed" } else { "FAILED" }, r.time));
    let total = reports.iter().map(|report| report.time).sum();
    rows.chain([row("total", "", total)]).collect()
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn no_names_mean_all_stages() {
        assert_eq!(select(&[]).unwrap(), Stage::ALL);
    }

    #[test]
    fn named_stages_run_once_and_in_order() {
        assert_eq!(select(&words(&["test", "fmt", "test"])).unwrap(), [Stage::Fmt, Stage::Test]);
    }

    #[test]
    fn an_unknown_stage_is_an_error_that_names_the_known_ones() {
        let message = select(&words(&["fmt", "lint"])).unwrap_err();
        assert_eq!(
            message,
            "`lint` is not a stage; the stages are fmt, clippy, doc, adapter, training, web, python, test, tiers"
        );
    }

    #[test]
    fn stages_are_the_commands_that_the_documentation_gives() {
        assert_eq!(Stage::Fmt.describe(), "cargo fmt --all --check");
        assert_eq!(
            Stage::Clippy.describe(),
            "cargo clippy --workspace --features migm/serve --all-targets -- -D warnings"
        );
        assert_eq!(Stage::Doc.describe(), "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --features serve");
        assert!(Stage::Test.describe().ends_with("cargo test --workspace --features migm/serve"));
    }

    #[test]
    fn the_tiers_run_what_the_tests_leave_to_them() {
        let skipped = skipped();
        assert!(skipped.len() == 7 && skipped[0] == "--", "{skipped:?}");
        for test in mesa::TESTS {
            assert!(Stage::Tiers.describe().contains(test), "{}", Stage::Tiers.describe());
            assert!(skipped.windows(2).any(|pair| pair == ["--skip", test]), "{skipped:?}");
        }
    }

    #[test]
    fn the_table_ends_with_the_total() {
        let report = |stage, passed, ms| Report { stage, passed, time: Duration::from_millis(ms) };
        let table = table(&[report(Stage::Fmt, true, 400), report(Stage::Test, false, 61_600)]);
        assert_eq!(
            table,
            "fmt      passed      0.4 s\ntest     FAILED     61.6 s\ntotal               62.0 s\n"
        );
    }
}
