//! What is fetched under a short name: a table of repositories and files.

use super::PullError;

/// A model with a short name.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// What to ask for.
    pub name: &'static str,
    /// What it is, for help texts.
    pub about: &'static str,
    /// Whether the model makes its pictures in one step, which its files do not tell.
    pub one_step: bool,
    files: &'static [Row],
}

/// Repository, file (one `*` stands for any letters but `/`), part.
type Row = (&'static str, &'static str, &'static str);

const MASKGIT: &str = "llvictorll/Maskgit-pytorch";
const SHORTCUT: &str = "Kaiwen-Zhu/MIGM-Shortcut";
const DIMOO: &str = "Alpha-VLLM/Lumina-DiMOO";
const DIMO: &str = "Yuanzhi/DiMO";

/// The part that a model can do without.
pub(super) const SHORTCUT_PART: &str = "shortcut";

/// Every preset.
pub const PRESETS: [Preset; 4] = [
    Preset {
        name: "maskgit-512",
        about: "MaskGIT for ImageNet at 512 px, with its shortcut",
        one_step: false,
        files: &[
            (MASKGIT, "pretrained_maskgit/MaskGIT/MaskGIT_ImageNet_512.pth", "maskgit"),
            (MASKGIT, "pretrained_maskgit/VQGAN/last.ckpt", "vqgan"),
            (SHORTCUT, "MaskGIT-Shortcut/maskgit-shortcut.pth", SHORTCUT_PART),
        ],
    },
    Preset {
        name: "maskgit-256",
        about: "MaskGIT for ImageNet at 256 px",
        one_step: false,
        files: &[
            (MASKGIT, "pretrained_maskgit/MaskGIT/MaskGIT_ImageNet_256.pth", "maskgit"),
            (MASKGIT, "pretrained_maskgit/VQGAN/last.ckpt", "vqgan"),
        ],
    },
    Preset {
        name: "lumina-dimoo",
        about: "Lumina-DiMOO, text to image at 1024 px, with its shortcut: 16 GB, with --quantize int4 a 5 GB model",
        one_step: false,
        files: &[
            (DIMOO, "*.safetensors.index.json", "lumina"),
            (DIMOO, "*.safetensors", "lumina"),
            (DIMOO, "*.json", "lumina"),
            (DIMOO, "vqvae/*.json", "vqvae"),
            (DIMOO, "vqvae/*.safetensors", "vqvae"),
            (SHORTCUT, "DiMOO-Shortcut/dimoo-shortcut.pth", SHORTCUT_PART),
        ],
    },
    Preset {
        name: "dimo-256",
        about: "Di[M]O for ImageNet at 256 px: MaskGIT distilled into one step",
        one_step: true,
        files: &[
            (DIMO, "maskgit/pytorch_model.bin", "maskgit"),
            (MASKGIT, "pretrained_maskgit/VQGAN/last.ckpt", "vqgan"),
        ],
    },
];

/// Files of one repository.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// `OWNER/REPO`.
    pub repo: String,
    /// A branch, tag or commit.
    pub revision: String,
    /// Paths in it; one `*` stands for any letters but `/`.
    pub files: Vec<String>,
    /// What they are part of.
    pub part: &'static str,
}

impl Preset {
    /// Its files, by repository: a repository is asked once what it holds.
    pub fn wanted(&self) -> Vec<Wanted> {
        let mut all: Vec<Wanted> = Vec::new();
        for &(repo, file, part) in self.files {
            match all.iter_mut().find(|w| w.repo == repo) {
                Some(wanted) => wanted.files.push(file.to_owned()),
                None => {
                    let (repo, revision, files) = (repo.to_owned(), "main".to_owned(), vec![file.to_owned()]);
                    all.push(Wanted { repo, revision, files, part });
                }
            }
        }
        all
    }
}

impl Wanted {
    pub(super) fn no_such_file(&self, file: &str) -> PullError {
        let (repo, revision, file) = (self.repo.clone(), self.revision.clone(), file.to_owned());
        PullError::NoSuchFile { repo, revision, file }
    }
}

/// The files that a pattern means, as indices. A file that was moved is found by its name, if only one has it.
pub(super) fn find(pattern: &str, files: &[&str]) -> Vec<usize> {
    let those = |test: &dyn Fn(&str) -> bool| -> Vec<usize> {
        files.iter().enumerate().filter(|(_, file)| test(file)).map(|(index, _)| index).collect()
    };
    let found = those(&|file| matches(pattern, file));
    if !found.is_empty() || pattern.contains('*') {
        return found;
    }
    let name = pattern.rsplit('/').next();
    let mut moved = those(&|file| file.rsplit('/').next() == name);
    if moved.len() > 1 {
        moved.clear();
    }
    moved
}

/// One `*` in each part between slashes stands for any letters but slashes.
fn matches(pattern: &str, file: &str) -> bool {
    let (patterns, parts) = (pattern.split('/'), file.split('/'));
    patterns.clone().count() == parts.clone().count()
        && patterns.zip(parts).all(|(pattern, part)| match pattern.split_once('*') {
            None => pattern == part,
            Some((before, after)) => part.strip_prefix(before).is_some_and(|rest| rest.ends_with(after)),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stay_in_their_folder() {
        assert!(matches("*.json", "config.json") && !matches("*.json", "vqvae/config.json"));
        assert!(matches("vqvae/*.json", "vqvae/config.json") && !matches("vqvae/*.json", "config.json"));
        assert!(matches("*/*.json", "vqvae/config.json") && !matches("*/*.json", "a/b/config.json"));
        assert!(matches("a/b.pth", "a/b.pth") && !matches("a/b.pth", "b.pth"));
        assert!(!matches("*-shortcut.pth", "DiMOO-Shortcut/dimoo-shortcut.pth"));
        assert!(!matches("aa*aa", "aaa"));
    }

    #[test]
    fn a_moved_file_is_found_if_only_one_has_its_name() {
        let files = ["a/last.ckpt", "b/x.pth", "c/x.pth", "x.json"];
        let find = |pattern| find(pattern, &files);
        assert_eq!(find("VQGAN/last.ckpt"), [0]);
        assert_eq!(find("b/x.pth"), [1]);
        assert!(find("x.pth").is_empty() && find("y.pth").is_empty());
        assert_eq!(find("*/*.pth"), [1, 2]);
    }

    #[test]
    fn presets_ask_each_repository_once() {
        let repos = |name: &str| {
            let preset = PRESETS.iter().find(|p| p.name == name).unwrap();
            preset.wanted().iter().map(|w| (w.repo.clone(), w.files.len())).collect::<Vec<_>>()
        };
        assert_eq!(repos("maskgit-512"), [(MASKGIT.into(), 2), (SHORTCUT.into(), 1)]);
        assert_eq!(repos("dimo-256"), [(DIMO.into(), 1), (MASKGIT.into(), 1)]);
        assert_eq!(repos("lumina-dimoo"), [(DIMOO.into(), 5), (SHORTCUT.into(), 1)]);
    }
}
