//! Everything that is written for a person, by one set of rules.
//!
//! A command declares its outputs with the names of their options ([`Output`]) and has them checked together ([`check`]) before
//! it computes: what cannot be written is found out in the first second and not in the last. Whoever writes then goes through
//! [`write()`] or [`stream`]: a regular file is replaced whole or not at all, links are followed, and what is no regular file (a
//! device, a pipe, `/dev/stdout`) is written through and never replaced.
//!
//! Names say what is written: `.png` is a picture or a sheet of several, another extension that people know the meaning of
//! means that, and every other name is a folder's where a folder can be meant.

mod error;
mod names;
mod place;
mod write;

#[cfg(test)]
mod tests;

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

pub use self::error::OutputError;
pub use self::names::Format;
use self::place::{Place, What, identity, parent_of};
pub use self::write::{followed, make_folder, stream, write};

/// One thing that a command will write, under the option that names it.
#[derive(Clone, Debug)]
pub struct Output {
    option: String,
    path: PathBuf,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// A file of the first format; its name may not speak of another. `strict` names must speak of one of them.
    File { formats: Vec<Format>, strict: bool },
    /// One picture or sheet by the name of a `.png` or into what is no regular file.
    Picture,
    /// A folder, made if need be.
    Folder { pictures: bool },
}

impl Output {
    /// A file of a format. Its name may be any that does not speak of another format.
    pub fn file(option: &str, path: &Path, format: Format) -> Self {
        Self::new(option, path, Kind::File { formats: vec![format], strict: false })
    }

    /// A file whose name decides between formats.
    pub fn one_of(option: &str, path: &Path, formats: &[Format]) -> Self {
        Self::new(option, path, Kind::File { formats: formats.to_vec(), strict: true })
    }

    /// Pictures: a folder that is there, or any name without a known extension, is a folder of them ([`Self::is_folder`]); a
    /// `.png`, and what is no regular file, gets one picture or a sheet of several.
    pub fn picture_or_folder(option: &str, path: &Path) -> Self {
        let is_one = match Place::of(path).map(|place| place.what) {
            Ok(What::Folder) => false,
            Ok(What::Descriptor(_) | What::Stream | What::Disk | What::Socket) => true,
            _ => !place::ends_with_slash(path) && names::extension(path).is_some(),
        };
        Self::new(option, path, if is_one { Kind::Picture } else { Kind::Folder { pictures: true } })
    }

    /// A folder, made if need be.
    pub fn folder(option: &str, path: &Path) -> Self {
        Self::new(option, path, Kind::Folder { pictures: false })
    }

    fn new(option: &str, path: &Path, kind: Kind) -> Self {
        Self { option: option.to_owned(), path: path.to_owned(), kind }
    }

    /// As it was named.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is a folder, or to become one.
    pub fn is_folder(&self) -> bool {
        matches!(self.kind, Kind::Folder { .. })
    }

    /// Whether it is there and no regular file, so that nothing can be put beside it.
    pub fn is_stream(&self) -> bool {
        Place::of(&self.path).is_ok_and(|place| matches!(place.what, What::Descriptor(_) | What::Stream))
    }

    fn shown(&self) -> (String, String) {
        (self.option.clone(), self.path.display().to_string())
    }

    /// The name is one for what is written.
    fn check_name(&self) -> Result<(), OutputError> {
        let (option, path) = self.shown();
        if self.path.as_os_str().is_empty() {
            return Err(OutputError::Empty { option });
        }
        let misnamed = |is: &str, instead: &str| {
            let (option, path) = self.shown();
            Err(OutputError::Misnamed { option, path, is: is.to_owned(), instead: instead.to_owned() })
        };
        let extension = names::extension(&self.path);
        match &self.kind {
            Kind::File { .. } if place::ends_with_slash(&self.path) => {
                Err(OutputError::IsFolder { option, path })
            }
            Kind::File { formats, strict } => {
                let takes = formats.iter().any(|format| format.takes(extension.as_deref(), *strict));
                let names: Vec<String> = formats.iter().map(|f| format!(".{}", f.extension())).collect();
                let is: Vec<&str> = formats.iter().map(|format| format.title()).collect();
                if takes {
                    Ok(())
                } else {
                    misnamed(&is.join(" or "), &format!("{} file", names.join(" or ")))
                }
            }
            Kind::Picture
                if !self.is_stream() && extension.as_ref().is_some_and(|extension| extension != "png") =>
            {
                misnamed("a PNG picture", ".png file, or a folder without an extension")
            }
            // A folder that is there may be called anything.
            Kind::Folder { pictures: false }
                if extension.is_some() && !place::ends_with_slash(&self.path) && !self.path.is_dir() =>
            {
                misnamed("a folder", "folder without such an extension")
            }
            _ => Ok(()),
        }
    }

    /// What is there can become what is written.
    fn check_place(&self, place: &Place) -> Result<(), OutputError> {
        let (option, path) = self.shown();
        match (&self.kind, &place.what) {
            (Kind::Folder { .. }, What::Missing | What::Folder) => Ok(()),
            (Kind::Folder { pictures }, _) => {
                Err(OutputError::IsNoFolder { option, path, or_picture: *pictures })
            }
            (_, What::Folder) => Err(OutputError::IsFolder { option, path }),
            (_, What::Disk | What::Socket) => Err(OutputError::NotForFiles { option, path }),
            (_, What::File { read_only: true }) => Err(OutputError::ReadOnly { option, path }),
            (_, What::File { .. }) => {
                let open = OpenOptions::new().append(true).open(&place.path);
                open.map(drop).map_err(|source| OutputError::Refused { option, path, source })
            }
            (_, What::Missing | What::Stream | What::Descriptor(_)) => Ok(()),
        }
    }

    /// The folder that it goes into is there, or will be by then, and takes files.
    fn check_folder(&self, place: &Place, made: &[PathBuf]) -> Result<(), OutputError> {
        if !matches!(place.what, What::Missing | What::File { .. } | What::Folder) {
            return Ok(());
        }
        let is_folder = self.is_folder();
        let mut folder =
            if place.what == What::Folder { place.path.as_path() } else { parent_of(&place.path) };
        loop {
            let (option, path) = self.shown();
            let shown = folder.display().to_string();
            match fs::metadata(folder) {
                Ok(found) if found.is_dir() => {
                    let probed = write::probe(folder);
                    return probed.map_err(|source| {
                        let folder = shown;
                        OutputError::FolderRefused { option, path, folder, source }
                    });
                }
                Ok(_) => return Err(OutputError::ParentIsFile { option, path, folder: shown }),
                Err(error) if is_absence(&error) => {
                    // A link to nothing cannot be made a folder.
                    let is_link = fs::symlink_metadata(folder).is_ok_and(|found| found.is_symlink());
                    let will_be =
                        !is_link && (is_folder || made.iter().any(|made| made.starts_with(identity(folder))));
                    if !will_be && error.kind() == io::ErrorKind::NotFound {
                        return Err(OutputError::NoParent { option, path, folder: shown });
                    }
                    // What would have to be a folder on the way may be a file.
                    let above = parent_of(folder);
                    if above == folder {
                        return Err(OutputError::Refused { option, path, source: error });
                    }
                    folder = above;
                }
                Err(source) => return Err(OutputError::Refused { option, path, source }),
            }
        }
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Finds out before the work that something cannot be written where it should, or that two outputs are one.
///
/// # Errors
/// The first thing that is wrong, with its option, its path and the way on.
pub fn check<'a>(outputs: impl IntoIterator<Item = &'a Output>) -> Result<(), OutputError> {
    let mut placed: Vec<(&Output, Place)> = Vec::new();
    for output in outputs {
        output.check_name()?;
        let place = Place::of(&output.path).map_err(|source| {
            let (option, path) = output.shown();
            OutputError::Refused { option, path, source }
        })?;
        output.check_place(&place)?;
        placed.push((output, place));
    }
    for (i, (output, place)) in placed.iter().enumerate() {
        for (other, before) in &placed[..i] {
            check_apart((other, before), (output, place))?;
        }
    }
    let made: Vec<PathBuf> =
        placed.iter().filter(|(o, _)| o.is_folder()).map(|(_, place)| place.identity.clone()).collect();
    for (output, place) in &placed {
        output.check_folder(place, &made)?;
    }
    Ok(())
}

/// Two outputs are two things, and neither is a file where the other needs a folder.
fn check_apart(
    (first, at): (&Output, &Place),
    (second, place): (&Output, &Place),
) -> Result<(), OutputError> {
    let (options, paths) = ([&first.option, &second.option], [&first.path, &second.path]);
    let [first_option, option] = options.map(Clone::clone);
    let [other, path] = paths.map(|path| path.display().to_string());
    if at.identity == place.identity {
        // What is thrown away may be thrown away twice.
        let is_discarded = place.identity == Path::new(NOWHERE) && place.what == What::Stream;
        return if is_discarded {
            Ok(())
        } else {
            Err(OutputError::Same { first: first_option, option, path })
        };
    }
    let blocks = |file: &Output, at: &Place, place: &Place| {
        !file.is_folder() && place.identity.starts_with(&at.identity)
    };
    if blocks(first, at, place) || blocks(second, place, at) {
        return Err(OutputError::Blocked { first: first_option, other, option, path });
    }
    Ok(())
}

/// The device that forgets.
const NOWHERE: &str = "/dev/null";
