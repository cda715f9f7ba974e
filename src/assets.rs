//! What the executable carries: the default model, so that a single binary works from anywhere.

/// Name of the bundled model.
pub(crate) const NAME: &str = "scenes-v0";

/// Its files, by name.
pub(crate) const FILES: &[(&str, &[u8])] = &[
    ("config.json", include_bytes!("../assets/models/scenes-v0/config.json")),
    ("maskgit.safetensors", include_bytes!("../assets/models/scenes-v0/maskgit.safetensors")),
    ("shortcut.safetensors", include_bytes!("../assets/models/scenes-v0/shortcut.safetensors")),
    ("vqgan.safetensors", include_bytes!("../assets/models/scenes-v0/vqgan.safetensors")),
];

/// The files of the bundled judge, by name; none where a build carries none.
pub(crate) const JUDGE: &[(&str, &[u8])] = &[];
