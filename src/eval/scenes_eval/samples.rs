//! Pictures of every method in files, for the tools of others: numbered PNGs in a folder each (as `torch-fidelity` takes them), and
//! archives of one array (as the evaluator of guided diffusion takes them).

use super::RealScene;
use super::made::Made;
use super::makers::Method;
use crate::eval::npz;
use crate::generate::GenerateError;
use crate::generate::picture::{Picture, write_png};
use crate::output::{self, Format, Output};
use std::path::{Path, PathBuf};

/// What the real scenes are called beside methods: those that Fréchet distances are to.
const REAL: &str = "real-scenes";

/// Where pictures go.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// A folder of folders of PNGs.
    pub pictures: Option<PathBuf>,
    /// A folder of archives.
    pub archives: Option<PathBuf>,
}

impl Samples {
    /// All that will be written, to be checked before anything is computed.
    pub fn outputs(&self, methods: &[Method], with_real: bool) -> Vec<Output> {
        let mut names: Vec<String> = methods.iter().map(Method::file_name).collect();
        names.extend(with_real.then(|| REAL.to_owned()));
        let mut outputs = Vec::new();
        if let Some(folder) = &self.pictures {
            let inside = |name| Output::folder("a folder of --pictures,", &folder.join(name));
            outputs.push(Output::folder("--pictures", folder));
            outputs.extend(names.iter().map(inside));
        }
        if let Some(folder) = &self.archives {
            let file =
                |name: &String| Output::file("an archive of --npz,", &archive(folder, name), Format::Npz);
            outputs.push(Output::folder("--npz", folder));
            outputs.extend(names.iter().map(file));
        }
        outputs
    }

    /// Refuses folders with pictures of another run that would stand among those of this one: whoever measures a folder
    /// measures all that is in it.
    ///
    /// # Errors
    /// There are such.
    pub fn check(&self, methods: &[Method], count: usize) -> Result<(), GenerateError> {
        let Some(folder) = &self.pictures else { return Ok(()) };
        let own = |method: &Method| {
            (method.file_name(), method.pictures.map_or(count, |few| count.min(few as usize)))
        };
        for (name, count) in methods.iter().map(own).chain([(REAL.to_owned(), count)]) {
            let folder = folder.join(name);
            // What is not there, or cannot be read, holds nothing; writing tells.
            let there = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            let other = |entry: &std::fs::DirEntry| {
                let path = entry.path();
                let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<usize>().ok());
                path.extension().is_some_and(|e| e == "png") && number.is_none_or(|number| number >= count)
            };
            if let Some(entry) = there.into_iter().find(other) {
                let message = format!(
                    "{} is no picture of this run, and would be measured with its {count}; name another folder with --pictures",
                    entry.path().display()
                );
                return Err(GenerateError::Setting(message));
            }
        }
        Ok(())
    }

    /// Writes what a method made.
    ///
    /// # Errors
    /// A file could not be written.
    pub fn keep(&self, method: &Method, made: &Made, size: [u32; 2]) -> Result<(), GenerateError> {
        if self.pictures.is_none() && self.archives.is_none() {
            return Ok(());
        }
        let [height, width] = size;
        self.write(&method.file_name(), &Picture::from_values(&made.pictures, width, height).rgb, size)
    }

    /// Writes real scenes.
    ///
    /// # Errors
    /// A file could not be written.
    pub fn keep_real(&self, scenes: &[RealScene], size: u32) -> Result<(), GenerateError> {
        if scenes.is_empty() || (self.pictures.is_none() && self.archives.is_none()) {
            return Ok(());
        }
        let pixels: Vec<u8> = scenes.iter().flat_map(|scene| &scene.pixels).copied().collect();
        self.write(REAL, &pixels, [size; 2])
    }

    /// Writes pictures under a name, one after the other in `pixels`.
    fn write(&self, name: &str, pixels: &[u8], size: [u32; 2]) -> Result<(), GenerateError> {
        let refused = |path: &Path| {
            let path = path.display().to_string();
            move |source| GenerateError::File { path: path.clone(), source }
        };
        if let Some(folder) = &self.pictures {
            let folder = folder.join(name);
            output::make_folder(&folder).map_err(refused(&folder))?;
            let [height, width] = size;
            for (index, rgb) in pixels.chunks_exact((height * width * 3) as usize).enumerate() {
                let picture = Picture { width, height, rgb: rgb.to_vec() };
                write_png(&folder.join(format!("{index:06}.png")), &picture, &[])?;
            }
        }
        if let Some(folder) = &self.archives {
            output::make_folder(folder).map_err(refused(folder))?;
            let path = archive(folder, name);
            let write = |out: &mut dyn std::io::Write| npz::write(out, pixels, size).map_err(refused(&path));
            output::stream(&path, refused(&path), write)?;
        }
        Ok(())
    }
}

fn archive(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.npz"))
}
