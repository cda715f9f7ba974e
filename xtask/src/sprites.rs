//! `cargo xtask sprites`: makes `assets/sprites/` again from the npm packages that its NOTICE names.
//!
//! The packages go to a folder under the target folder; `xtask/sprites.mjs` reads them, with `xtask/nouns.json`, and writes. Nothing else
//! of the project needs Node.

use std::path::{Path, PathBuf};

use crate::command::{Step, has_program, workspace_root};

/// Art, names, and `sharp`, which draws SVG and writes WebP; exact, because sprites should not change by themselves.
const PACKAGES: [&str; 5] = [
    "@lobehub/fluent-emoji-3d@1.1.0",
    "@iconify-json/fluent-emoji-flat@1.2.6",
    "@iconify-json/noto@1.2.9",
    "emojibase-data@17.0.0",
    "sharp@0.34.5",
];

/// Fetches the packages and writes pack, index and NOTICE.
pub(crate) fn main() -> Result<(), String> {
    for program in ["node", "npm"] {
        if !has_program(program) {
            return Err(format!("`{program}` was not found; install Node.js 20 or newer"));
        }
    }
    let folder = folder();
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    // Without a package.json of its own, npm would install into a folder above that has one.
    let package = folder.join("package.json");
    std::fs::write(&package, "{\"private\": true}\n")
        .map_err(|error| format!("{}: {error}", package.display()))?;
    for step in steps(&folder) {
        println!("{}", step.render());
        step.run()?;
    }
    Ok(())
}

fn steps(folder: &Path) -> [Step; 2] {
    let folder = folder.display().to_string();
    let install = ["install", "--no-save", "--no-audit", "--no-fund", "--prefix", &folder];
    let packages = PACKAGES.map(str::to_owned);
    let draw = ["xtask/sprites.mjs", &folder, "xtask/nouns.json", "assets/sprites"];
    [Step::new("npm", &install).args(&packages), Step::new("node", &draw)]
}

fn folder() -> PathBuf {
    let shared = std::env::var_os("CARGO_TARGET_DIR").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let folder = shared.unwrap_or_else(|| workspace_root().join("target")).join("sprites");
    std::path::absolute(&folder).unwrap_or(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_installed_at_exact_versions_before_they_are_read() {
        let [install, draw] = steps(Path::new("target/sprites"));
        let install = install.render();
        assert!(install.starts_with("npm install --no-save "), "{install}");
        for package in PACKAGES {
            let (_, version) = package.rsplit_once('@').unwrap();
            assert!(version.split('.').all(|part| part.parse::<u32>().is_ok()), "{package}");
            assert!(install.contains(package), "{install}");
        }
        assert_eq!(draw.render(), "node xtask/sprites.mjs target/sprites xtask/nouns.json assets/sprites");
    }
}
