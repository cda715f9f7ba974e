//! Where real scenes and prompts come from: [`SceneSource`], and what a picture of a prompt has to show, [`Wanted`].

use super::Real;
use crate::generate::GenerateError;
use crate::generate::recipe::Subject;
use crate::models::judge;
use crate::models::maskgit::Maskgit;
use std::ops::Range;

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
    /// The nouns that are there, each once, in the order of the prompt, and no others.
    pub nouns: Vec<usize>,
    /// Of each of them its colour.
    pub colours: Vec<Option<usize>>,
    /// Objects in all, 1 to [`judge::MOST_OBJECTS`].
    pub count: Option<usize>,
    /// The nouns of the leftmost and the rightmost object.
    pub sides: Option<[usize; 2]>,
    /// The place.
    pub place: Option<usize>,
    /// The light.
    pub light: Option<usize>,
}

impl Wanted {
    /// From the labels of a composed scene, in the order of the records that trainers read: kind, noun A, noun B or -1, number
    /// of objects, relation in the caption (0 A left of B, 1 A right of B), nouns of the leftmost and the rightmost object,
    /// place, light, colours of A and B, and bits of which of these four the caption states. The rest does not matter here.
    pub fn of_labels(labels: &[i16; 16]) -> Self {
        let index = |at: usize| usize::try_from(labels[at]).ok();
        let stated = |bit: i16, at: usize| index(at).filter(|_| labels[11] & bit != 0);
        let kinds = [(1, stated(4, 9)), (2, stated(8, 10))];
        let (nouns, colours) =
            kinds.into_iter().filter_map(|(at, colour)| Some((index(at)?, colour))).unzip();
        let sides = index(5).zip(index(6)).map(|(left, right)| [left, right]);
        Self {
            nouns,
            colours,
            count: index(3),
            sides: sides.filter(|_| matches!(labels[4], 0 | 1)),
            place: stated(1, 7),
            light: stated(2, 8),
        }
    }

    /// What a prompt in the grammar of captions states, as far as a judge of the composer's words can see it; `None` of another prompt,
    /// or where it names what the judge does not know.
    pub fn of_prompt(prompt: &str, judge: &judge::Config) -> Option<Self> {
        let stated = crate::scenes::grammar::parse(prompt)?;
        let knows = |noun: &usize| {
            let label = crate::scenes::nouns().get(*noun).map(|noun| noun.label.as_str());
            judge.nouns.get(*noun).map(String::as_str) == label
        };
        let knows_colours = stated.colours.iter().flatten().all(|colour| *colour < judge.colours.len());
        let known = stated.nouns.iter().all(knows) && knows_colours;
        known.then(|| Self {
            sides: stated.sides().filter(|_| stated.nouns.len() > 1).map(|(left, right)| [left, right]),
            count: Some(usize::from(stated.count)),
            nouns: stated.nouns,
            colours: stated.colours,
            place: stated.place,
            light: stated.light,
        })
    }

    /// Nothing but one noun, of any colour.
    pub fn noun(noun: usize) -> Self {
        Self { nouns: vec![noun], colours: vec![None], ..Self::default() }
    }
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
    /// What else is known of it, stated or not; nothing, where the source does not know.
    pub shown: Option<Shown>,
}

/// What a scene shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Of each thing, the farthest first: noun, and left, top, width and height in pixels.
    pub things: Vec<(usize, [u32; 4])>,
    /// The colours of the first and the second noun.
    pub colours: [usize; 2],
    /// The place.
    pub place: usize,
    /// The light.
    pub light: usize,
}

/// Makes real scenes. A scene depends on nothing but the seed, its index, the split and `single`, which is for one object.
pub trait SceneSource {
    /// Whether there are scenes of this kind at all: few words may leave none to hold out.
    fn has(&self, split: Split, single: bool) -> bool;

    /// Scenes of a seed by index.
    fn scenes(&self, seed: u64, indices: Range<u64>, split: Split, single: bool) -> Vec<RealScene>;
}

/// Scenes for so many prompts of one kind, and as many others. `objects_only` leaves all but the objects unasked, for models
/// that are asked for nothing else.
///
/// # Errors
/// There are no such scenes.
pub fn real_scenes(
    source: &dyn SceneSource,
    seed: u64,
    split: Split,
    count: u64,
    objects_only: bool,
) -> Result<Real, GenerateError> {
    if !source.has(split, objects_only) {
        let message = "of the judge's few words no combination is held out; leave --split out";
        return Err(GenerateError::Setting(message.to_owned()));
    }
    let scenes = |indices: Range<u64>| {
        let mut scenes = source.scenes(seed, indices, split, objects_only);
        if objects_only {
            for scene in &mut scenes {
                scene.wanted = scene.wanted.nouns.first().copied().map(Wanted::noun).unwrap_or_default();
            }
        }
        scenes
    };
    Ok(Real { asked: scenes(0..count), others: scenes(count..2 * count) })
}

/// The classes that a judge knows, each with its noun.
///
/// # Errors
/// The judge knows none of them, or the classes have no names.
pub fn known_classes(model: &Maskgit, judge: &judge::Config) -> Result<Vec<(u32, usize)>, GenerateError> {
    let noun_of = |label: &String| judge.nouns.iter().position(|noun| noun == label);
    let known: Vec<(u32, usize)> =
        (0..).zip(&model.labels).filter_map(|(class, label)| Some((class, noun_of(label)?))).collect();
    if known.is_empty() {
        let message = "the judge knows none of the model's classes by name; it is for other pictures";
        return Err(GenerateError::Setting(message.to_owned()));
    }
    Ok(known)
}

/// `count` pictures of the classes that a judge knows, in turn, and what they have to show.
///
/// # Errors
/// As [`known_classes`].
pub fn class_pictures(
    model: &Maskgit,
    judge: &judge::Config,
    count: usize,
) -> Result<Vec<(Subject, Wanted)>, GenerateError> {
    let known = known_classes(model, judge)?;
    Ok(known.iter().cycle().take(count).map(|&(class, noun)| class_picture(class, noun)).collect())
}

/// A picture of a class, and that it has to show a noun.
pub fn class_picture(class: u32, noun: usize) -> (Subject, Wanted) {
    (Subject::Class(class.to_string()), Wanted::noun(noun))
}

/// The prompt that asks for a noun of [`source_for`]'s words and leaves open its colour, the place and the light.
pub fn open_prompt(noun: usize) -> String {
    use crate::scenes::grammar::Wanted;
    let (nouns, colours) = (vec![noun], vec![None]);
    Wanted { nouns, colours, count: 1, relation: None, place: None, light: None }.caption()
}

/// The source of the scenes that a judge was trained on; `None` where its words are not a composer's, so that only
/// pictures of classes can be judged and there are no real ones beside them.
///
/// # Errors
/// The sprites cannot be read.
#[cfg(feature = "scenes")]
pub fn source_for(judge: &judge::Config) -> Result<Option<Box<dyn SceneSource>>, GenerateError> {
    use crate::scenes::{Composer, Style, grammar, nouns};
    let same =
        |known: &[String], words: &mut dyn Iterator<Item = &str>| known.iter().map(String::as_str).eq(words);
    let known =
        same(&judge.nouns, &mut nouns().iter().take(judge.nouns.len()).map(|noun| noun.label.as_str()))
            && same(&judge.places, &mut grammar::PLACES.iter().map(|place| place.label))
            && same(&judge.lights, &mut grammar::LIGHTS.iter().map(|light| light.label))
            && same(&judge.colours, &mut grammar::COLOURS.iter().copied())
            && [64, 128].contains(&judge.size);
    if !known || judge.nouns.is_empty() {
        return Ok(None);
    }
    let composer = Composer::new(judge.nouns.len(), judge.size, Style::default())
        .map_err(|error| GenerateError::Setting(error.to_string()))?;
    Ok(Some(Box::new(composer)))
}

/// Without the sprites there are no real scenes.
///
/// # Errors
/// None.
#[cfg(not(feature = "scenes"))]
pub fn source_for(_judge: &judge::Config) -> Result<Option<Box<dyn SceneSource>>, GenerateError> {
    Ok(None)
}

/// Whole scenes of a split.
#[cfg(feature = "scenes")]
fn mix(split: Split, single: bool) -> crate::scenes::Mix {
    crate::scenes::Mix { split: split.into(), single, torn: 0.0 }
}

#[cfg(feature = "scenes")]
impl SceneSource for crate::scenes::Composer {
    fn has(&self, split: Split, single: bool) -> bool {
        Self::has(self, &mix(split, single))
    }

    fn scenes(&self, seed: u64, indices: Range<u64>, split: Split, single: bool) -> Vec<RealScene> {
        let count = indices.end - indices.start;
        let scenes = Self::scenes(self, seed, indices.start, count, &mix(split, single));
        let real = |scene: crate::scenes::Scene| RealScene {
            wanted: Wanted::of_labels(&scene.labels.numbers()),
            shown: Some(Shown {
                things: scene.things,
                colours: scene.labels.colours,
                place: scene.labels.place,
                light: scene.labels.light,
            }),
            pixels: scene.pixels,
            caption: scene.caption,
        };
        scenes.into_iter().map(real).collect()
    }
}

#[cfg(feature = "scenes")]
impl From<Split> for crate::scenes::Split {
    fn from(split: Split) -> Self {
        match split {
            Split::Seen => Self::Seen,
            Split::HeldOut => Self::HeldOut,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the labels say is stated is what the caption's grammar reads.
    #[cfg(feature = "scenes")]
    #[test]
    fn captions_of_real_scenes_state_what_is_wanted() {
        use crate::scenes::{Relation, grammar, nouns, parse};
        let names = |list: Vec<&str>| list.into_iter().map(str::to_owned).collect::<Vec<String>>();
        let judge = judge::Config {
            architecture: judge::ARCHITECTURE.to_owned(),
            size: 64,
            channels: vec![16],
            groups: 8,
            nouns: nouns().iter().take(40).map(|noun| noun.label.clone()).collect(),
            places: names(grammar::PLACES.iter().map(|place| place.label).collect()),
            lights: names(grammar::LIGHTS.iter().map(|light| light.label).collect()),
            colours: names(grammar::COLOURS.to_vec()),
        };
        let source = source_for(&judge).unwrap().unwrap();
        for split in [Split::Seen, Split::HeldOut] {
            assert!(source.has(split, false));
            for scene in source.scenes(3, 0..60, split, false) {
                let said = parse(&scene.caption).unwrap();
                let sides = match said.relation {
                    Some(Relation::LeftOf) => Some([said.nouns[0], said.nouns[1]]),
                    Some(Relation::RightOf) => Some([said.nouns[1], said.nouns[0]]),
                    _ => None,
                };
                let wanted = Wanted {
                    nouns: said.nouns,
                    colours: said.colours,
                    count: Some(usize::from(said.count)),
                    sides,
                    place: said.place,
                    light: said.light,
                };
                assert_eq!(scene.wanted, wanted, "{}", scene.caption);
                assert_eq!(scene.pixels.len(), 64 * 64 * 3);
            }
        }
        let other = judge::Config { nouns: vec!["unicorn dust".to_owned()], ..judge };
        assert!(source_for(&other).unwrap().is_none());
    }

    #[test]
    fn labels_tell_what_a_caption_states() {
        // A blue (5) koala (3) right of a taxi (1), whose yellow (3) is not stated, on a beach (4), night (2) not stated.
        let two = [1, 3, 1, 2, 1, 1, 3, 4, 2, 5, 3, 0b101, 0, 0, 0, 0];
        let wanted = Wanted {
            nouns: vec![3, 1],
            colours: vec![Some(5), None],
            count: Some(2),
            sides: Some([1, 3]),
            place: Some(4),
            light: None,
        };
        assert_eq!(Wanted::of_labels(&two), wanted);
        // "and" leaves the sides open.
        let mut and = two;
        and[4] = 2;
        assert_eq!(Wanted::of_labels(&and), Wanted { sides: None, ..wanted });
        // Three of a kind, nothing else stated.
        let three = [2, 5, -1, 3, -1, 5, 5, 0, 0, 0, -1, 0, 1, 0, 0, 0];
        assert_eq!(Wanted::of_labels(&three), Wanted { count: Some(3), ..Wanted::noun(5) });
    }
}
