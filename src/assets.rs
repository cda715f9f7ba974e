//! What the executable carries: model folders by name, so that a single binary works from anywhere.

/// A model folder inside the executable.
#[derive(Debug)]
pub(crate) struct Bundle {
    /// Takes the place of a path: `--model scenes-text`.
    pub(crate) name: &'static str,
    /// Its files, by name; none in a build without the feature `models`.
    pub(crate) files: &'static [(&'static str, &'static [u8])],
}

macro_rules! bundle {
    ($name:literal: $($file:literal from $folder:literal),+ $(,)?) => {
        Bundle {
            name: $name,
            #[cfg(feature = "models")]
            files: &[$(($file, include_bytes!(concat!("../assets/models/", $folder, "/", $file)))),+],
            #[cfg(not(feature = "models"))]
            files: &[],
        }
    };
}

/// The text-to-image model.
pub(crate) const TEXT: Bundle = bundle! { "scenes-text":
    "config.json" from "scenes-text",
    "tokenizer.json" from "scenes-text",
    "dimoo.safetensors" from "scenes-text",
    "shortcut.safetensors" from "scenes-text",
    "vq.safetensors" from "scenes-text",
};

/// The class-to-image model.
pub(crate) const CLASS: Bundle = bundle! { "scenes-class":
    "config.json" from "scenes-class",
    "maskgit.safetensors" from "scenes-class",
    "shortcut.safetensors" from "scenes-class",
    // One tokenizer for both: the file is the same in both folders, and here once.
    "vq.safetensors" from "scenes-text",
};

/// What reads pictures of scenes.
pub(crate) const JUDGE: Bundle = bundle! { "scenes-judge":
    "config.json" from "scenes-judge",
    "judge.safetensors" from "scenes-judge",
};

const ALL: [&Bundle; 3] = [&TEXT, &CLASS, &JUDGE];

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
