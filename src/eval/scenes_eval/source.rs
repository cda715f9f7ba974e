//! Where real scenes and prompts come from: [`SceneSource`], and what a picture of a prompt has to show, [`Wanted`].

use super::Real;
use crate::generate::GenerateError;
use crate::generate::model::ModelConfig;
use crate::models::judge;

/// Which scenes: those whose combinations a model could be trained on, or those held out from training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// Combinations of which training has its share
    #[default]
    Seen,
    /// Combinations that training never shows
    HeldOut,
}

/// What a prompt states, in indices of the judge's lists; what it leaves open is not judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The nouns that are there, each once and in ascending order, and no others.
    pub nouns: Vec<usize>,
    /// Objects in all, 1 to [`judge::MOST_OBJECTS`].
    pub count: Option<usize>,
    /// The nouns of the leftmost and the rightmost object.
    pub sides: Option<[usize; 2]>,
    /// The place.
    pub place: Option<usize>,
    /// The light.
    pub light: Option<usize>,
    /// The style.
    pub style: Option<usize>,
}

/// A real scene with its caption.
#[derive(Clone, Debug)]
pub struct RealScene {
    /// RGB, `[size, size, 3]`.
    pub pixels: Vec<u8>,
    /// What is said of it.
    pub caption: String,
    /// What the caption states.
    pub wanted: Wanted,
}

/// Makes real scenes. A scene depends on nothing but what it is asked for by.
pub trait SceneSource {
    /// Scene `index` of a seed; with `single`, of one object.
    fn scene(&self, seed: u64, index: u64, split: Split, single: bool) -> RealScene;
}

/// Scenes for so many prompts of one kind, and as many others. `objects_only` leaves all but the objects unasked, for models
/// that are asked for nothing else.
pub fn real_scenes(
    source: &dyn SceneSource,
    seed: u64,
    split: Split,
    count: usize,
    objects_only: bool,
) -> Real {
    let scene = |index: usize| {
        let mut scene = source.scene(seed, index as u64, split, objects_only);
        if objects_only {
            scene.wanted = Wanted { nouns: scene.wanted.nouns, ..Wanted::default() };
        }
        scene
    };
    Real { asked: (0..count).map(scene).collect(), others: (count..2 * count).map(scene).collect() }
}

/// `count` pictures of the classes that a judge knows, in turn, and what they have to show.
///
/// # Errors
/// The judge knows none of them, or the classes have no names.
pub fn class_pictures(
    model: &ModelConfig,
    judge: &judge::Config,
    count: usize,
) -> Result<Vec<(u32, Wanted)>, GenerateError> {
    let noun_of = |label: &String| judge.nouns.iter().position(|noun| noun == label);
    let known: Vec<(u32, usize)> =
        (0..).zip(&model.labels).filter_map(|(class, label)| Some((class, noun_of(label)?))).collect();
    if known.is_empty() {
        let message = "the judge knows none of the model's classes by name; it is for other pictures";
        return Err(GenerateError::Setting(message.to_owned()));
    }
    let wanted = |noun| Wanted { nouns: vec![noun], ..Wanted::default() };
    Ok(known.iter().cycle().take(count).map(|&(class, noun)| (class, wanted(noun))).collect())
}

/// The source of the scenes that a judge was trained on; `None` where its words are not a composer's, so that only
/// pictures of classes can be judged and there are no real ones beside them.
pub fn source_for(_judge: &judge::Config) -> Option<Box<dyn SceneSource>> {
    None
}
