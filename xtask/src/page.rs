//! The test of the page: built, served from a plain static server, and used in headless Chromium.

use std::fs;
use std::path::Path;

use crate::command::{Step, has_program, workspace_root};
use crate::targets::{built_folder, target_folder};
use crate::{debian, web};

/// Names that Chromium goes by.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
/// The run whose tokens page and native program compare: small, because a software adapter makes it.
const RUN: [&str; 9] =
    ["generate", "two foxes in the snow", "--seed", "3", "--steps", "3", "--budget", "1", "--no-compare"];

/// What the stage runs in the end, as the documentation gives it.
pub(crate) fn describe() -> String {
    "cargo xtask web, then node tests/browser/test.mjs".to_owned()
}

/// Builds the page.
pub(crate) fn build() -> Result<(), String> {
    web::main(&[])
}

/// The test of a page that is built, in a browser.
pub(crate) fn test(browser: &str) -> Result<(), String> {
    let root = workspace_root();
    let folder = target_folder().join("browser-test");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let out = folder.join("native.png").display().to_string();
    // As the tests build it: `cargo run` resolves features without theirs, and would build most of the tree once more.
    Step::whole("test", &["--no-run", "--quiet"]).run()?;
    let program = built_folder().join("debug/migm").display().to_string();
    let native = Step::new(&program, &[&RUN[..], &["--backend", "cpu", "--json", "--out", &out]].concat());
    let report = native.read().ok_or_else(|| format!("`{}` failed", native.render()))?;
    let native = folder.join("native.json");
    write(&native, &report)?;
    // Next to its modules, which are no business of the checkout.
    for file in ["package.json", "test.mjs"] {
        let from = root.join("tests/browser").join(file);
        let text = fs::read_to_string(&from).map_err(|error| format!("{}: {error}", from.display()))?;
        write(&folder.join(file), &text)?;
    }
    if !has_program("npm") {
        return Err("no npm here: install Node.js 18 or newer".to_owned());
    }
    let path = |path: &Path| path.display().to_string();
    Step::new("npm", &["install", "--no-audit", "--no-fund", "--prefix", &path(&folder)]).run()?;
    let script = path(&folder.join("test.mjs"));
    Step::new("node", &[&script, &path(&root.join("web/dist")), browser, &path(&native), &program]).run()
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    // The same content is not written again: npm looks at times.
    if fs::read_to_string(path).is_ok_and(|present| present == text) {
        return Ok(());
    }
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// The browser's full path; Debian's is installed where there is none.
pub(crate) fn browser() -> Result<String, String> {
    let find = || {
        let name = BROWSERS.into_iter().find(|name| has_program(name))?;
        let paths = std::env::var_os("PATH")?;
        std::env::split_paths(&paths).map(|folder| folder.join(name)).find(|path| path.is_file())
    };
    if find().is_none() && debian::has_apt() {
        debian::install(&["chromium"])?;
    }
    find().map(|path| path.display().to_string()).ok_or_else(|| "no Chromium or Chrome here".to_owned())
}
