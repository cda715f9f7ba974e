//! What the executable carries: model folders by name, so that a single binary works from anywhere.

/// A model folder inside the executable.
#[derive(Debug)]
pub(crate) struct Bundle {
    /// Takes the place of a path: `--model scenes-text`.
    pub(crate) name: &'static str,
    /// Its files, by name; none in a build without the feature `models`.
    pub(crate) files: &'static [(&'static str, &'static [u8])],
}

#[cfg(feature = "models")]
macro_rules! bytes {
    ($path:literal) => {
        include_bytes!(concat!("../assets/models/", $path))
    };
}

/// The tokenizer of both models, which each folder has, file for file.
#[cfg(feature = "models")]
static TOKENIZER: &[u8] = bytes!("scenes-text/vq.safetensors");

/// The text-to-image model.
pub(crate) static TEXT: Bundle = Bundle {
    name: "scenes-text",
    #[cfg(feature = "models")]
    files: &[
        ("config.json", bytes!("scenes-text/config.json")),
        ("tokenizer.json", bytes!("scenes-text/tokenizer.json")),
        ("dimoo.safetensors", bytes!("scenes-text/dimoo.safetensors")),
        ("schedules.json", bytes!("scenes-text/schedules.json")),
        ("shortcut.safetensors", bytes!("scenes-text/shortcut.safetensors")),
        ("vq.safetensors", TOKENIZER),
    ],
    #[cfg(not(feature = "models"))]
    files: &[],
};

/// The class-to-image model.
pub(crate) static CLASS: Bundle = Bundle {
    name: "scenes-class",
    #[cfg(feature = "models")]
    files: &[
        ("config.json", bytes!("scenes-class/config.json")),
        ("maskgit.safetensors", bytes!("scenes-class/maskgit.safetensors")),
        ("schedules.json", bytes!("scenes-class/schedules.json")),
        ("shortcut.safetensors", bytes!("scenes-class/shortcut.safetensors")),
        ("vq.safetensors", TOKENIZER),
    ],
    #[cfg(not(feature = "models"))]
    files: &[],
};

/// What reads pictures of scenes.
pub(crate) static JUDGE: Bundle = Bundle {
    name: "scenes-judge",
    #[cfg(feature = "models")]
    files: &[
        ("config.json", bytes!("scenes-judge/config.json")),
        ("judge.safetensors", bytes!("scenes-judge/judge.safetensors")),
    ],
    #[cfg(not(feature = "models"))]
    files: &[],
};

static ALL: [&Bundle; 3] = [&TEXT, &CLASS, &JUDGE];

/// The bundled folder of a name.
pub(crate) fn find(name: &str) -> Option<&'static Bundle> {
    ALL.into_iter().find(|bundle| bundle.name == name)
}

#[cfg(all(test, feature = "models"))]
mod tests {
    use super::*;
    use std::path::Path;

    /// What is on disk is what the executable carries, file for file.
    #[test]
    fn bundles_are_their_folders() {
        for bundle in ALL {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/models").join(bundle.name);
            let mut there: Vec<String> = std::fs::read_dir(&folder)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| name != "README.md")
                .collect();
            let mut carried: Vec<_> = bundle.files.iter().map(|(name, _)| (*name).to_owned()).collect();
            there.sort_unstable();
            carried.sort_unstable();
            assert_eq!(carried, there, "{}", bundle.name);
            for (name, bytes) in bundle.files {
                assert_eq!(std::fs::read(folder.join(name)).unwrap(), *bytes, "{}/{name}", bundle.name);
            }
        }
    }

    /// A hundred megabytes of models is what a download can bear.
    #[test]
    fn bundles_are_small() {
        let bytes: usize = ALL.iter().flat_map(|bundle| bundle.files).map(|(_, bytes)| bytes.len()).sum();
        assert!(bytes < 100_000_000, "{bytes} bytes");
    }
}
