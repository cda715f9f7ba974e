//! Scenes by seed and number.

use super::SceneError;
use super::content::{self, Labels, Split, World};
use super::draws::{Draws, Stream};
use super::grammar::Ids;
use super::nouns::{Noun, nouns};
use super::paint::{Painter, TOKEN};
use super::split::HeldOut;
use super::sprites::Style;
use rayon::prelude::*;

/// A picture, what it shows, and what its caption says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scene {
    /// RGB, `[size, size, 3]`, rows from the top.
    pub pixels: Vec<u8>,
    /// What it shows.
    pub labels: Labels,
    /// Where each thing stands, the farthest first: its noun, and left, top, width and height in pixels.
    pub things: Vec<(usize, [u32; 4])>,
    /// What is said of it.
    pub caption: String,
    /// The caption's words, by number in [`super::vocabulary`].
    pub ids: Vec<u16>,
}

impl Scene {
    /// [`Labels::numbers`], and at the end between which two tokens of the grid of 8 px all things stand: top left and bottom right.
    #[must_use]
    pub fn numbers(&self) -> [i16; 16] {
        let size = (self.pixels.len() / 3).isqrt() as u32;
        let (grid, last) = (size / TOKEN as u32, size - 1);
        let (mut from, mut to) = ([last; 2], [0; 2]);
        for (_, [left, top, width, height]) in &self.things {
            from = [from[0].min(*left), from[1].min(*top)];
            to = [to[0].max(left + width - 1).min(last), to[1].max(top + height - 1).min(last)];
        }
        let token = |[x, y]: [u32; 2]| (y / TOKEN as u32 * grid + x / TOKEN as u32) as i16;
        let mut numbers = self.labels.numbers();
        numbers[14..].copy_from_slice(&[token(from), token(to)]);
        numbers
    }
}

/// Which scenes are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mix {
    /// What training may see, what it never sees, or both.
    pub split: Split,
    /// Only scenes of one thing.
    pub single: bool,
    /// Share of scenes whose things are patched from two, 0 to 1: for a judge to know them.
    pub torn: f32,
}

/// Composes scenes of the first nouns; shared between threads.
pub struct Composer {
    nouns: &'static [Noun],
    size: u32,
    held: HeldOut<'static>,
    ids: Ids,
    painter: Painter,
}

impl Composer {
    /// Decodes the sprites of the first `count` nouns in a style, on all threads. `size` is 64 or 128 px; both show the same scene.
    ///
    /// # Errors
    /// There are not that many nouns, there is no such size, or the sprites are damaged.
    pub fn new(count: usize, size: u32, style: Style) -> Result<Self, SceneError> {
        let all = nouns();
        if count == 0 || count > all.len() {
            return Err(SceneError::Nouns { given: count, available: all.len() });
        }
        if ![64, 128].contains(&size) {
            return Err(SceneError::Size { given: size });
        }
        let nouns = &all[..count];
        Ok(Self {
            nouns,
            size,
            held: HeldOut::new(nouns),
            ids: Ids::new(count),
            painter: Painter::new(nouns, style)?,
        })
    }

    /// Pixels across and down.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.size
    }

    /// The nouns in use.
    #[must_use]
    pub fn nouns(&self) -> &'static [Noun] {
        self.nouns
    }

    fn labels(&self, seed: u64, index: u64, mix: &Mix) -> Labels {
        let world = World { nouns: self.nouns, own: &self.painter.own, held: &self.held };
        let labels = content::draw(seed, index, mix.split, mix.single, &world);
        let torn = Draws::new(seed, index, Stream::Torn).chance(mix.torn);
        Labels { torn, ..labels }
    }

    /// Scene `index` of a seed: a function of these arguments, the nouns, the style and the size, whatever was composed before.
    /// Where the split has no scene of these nouns ([`Composer::has`]) it may be one of another split, and its labels say so.
    #[must_use]
    pub fn scene(&self, seed: u64, index: u64, mix: &Mix) -> Scene {
        let labels = self.labels(seed, index, mix);
        let pixels = self.painter.scene(seed, index, &labels, self.size as usize);
        let things = self.painter.places(seed, index, &labels, self.size as usize);
        let caption = labels.wanted().caption();
        let ids = self.ids.of(&caption);
        Scene { pixels, labels, things, caption, ids }
    }

    /// Scenes `first .. first + count`, in order, composed on all threads.
    #[must_use]
    pub fn scenes(&self, seed: u64, first: u64, count: u64, mix: &Mix) -> Vec<Scene> {
        (first..first + count).into_par_iter().map(|i| self.scene(seed, i, mix)).collect()
    }

    /// Whether the split has scenes of these nouns: whether the first 64 of a seed belong to it.
    #[must_use]
    pub fn has(&self, mix: &Mix) -> bool {
        let belongs = |index| self.labels(0, index, mix).held_out == (mix.split == Split::HeldOut);
        mix.split == Split::All || (0..64).all(belongs)
    }
}

#[cfg(test)]
mod tests {
    use super::super::content::Kind;
    use super::super::grammar::{COLOURS, LIGHTS, PLACES, Relation, parse, vocabulary, words};
    use super::super::records;
    use super::*;

    const SPLITS: [Split; 3] = [Split::Seen, Split::HeldOut, Split::All];

    fn composer(nouns: usize, size: u32) -> Composer {
        Composer::new(nouns, size, Style::ThreeD).unwrap()
    }

    fn of(split: Split) -> Mix {
        Mix { split, ..Mix::default() }
    }

    #[test]
    fn a_scene_depends_on_its_number_alone() {
        let composer = composer(12, 64);
        let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let compose = || composer.scenes(7, 100, 24, &of(Split::Seen));
        let one = pool(1).install(compose);
        assert_eq!(one, pool(5).install(compose));
        assert_eq!(one[9], composer.scene(7, 109, &of(Split::Seen)));
        assert_ne!(one[9], composer.scene(8, 109, &of(Split::Seen)));
        assert_ne!(one[9].pixels, one[10].pixels);
    }

    #[test]
    fn both_sizes_show_the_same_scene() {
        let (small, large) = (composer(8, 64), composer(8, 128));
        for index in 0..12 {
            let small = small.scene(1, index, &of(Split::All));
            let large = large.scene(1, index, &of(Split::All));
            assert_eq!((small.labels, small.caption, small.ids), (large.labels, large.caption, large.ids));
            for (i, &value) in small.pixels.iter().enumerate() {
                let (x, y, c) = (i / 3 % 64, i / 192, i % 3);
                let at =
                    |dx: usize, dy: usize| i32::from(large.pixels[((2 * y + dy) * 128 + 2 * x + dx) * 3 + c]);
                let mean = (at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1)) / 4;
                assert!((i32::from(value) - mean).abs() <= 1, "pixel {x}, {y}");
            }
        }
    }

    /// Every place, light, colour and noun changes the picture; a judge could not learn from less.
    #[test]
    fn what_is_shown_is_what_the_labels_say() {
        let composer = composer(24, 128);
        for index in 0..4 {
            let scene = composer.scene(3, index, &Mix { single: true, ..Mix::default() });
            let mut changed = Vec::new();
            let first = &scene.labels;
            changed.extend((1..8).map(|d| Labels { place: (first.place + d) % 8, ..first.clone() }));
            changed.extend((1..4).map(|d| Labels { light: (first.light + d) % 4, ..first.clone() }));
            changed.extend((1..24).map(|d| Labels { first: (first.first + d) % 24, ..first.clone() }));
            // Its own colour may be natural by another name.
            let own = composer.painter.own[first.first];
            let colours = (1..8).map(|d| (first.colours[0] + d) % 8).filter(|&colour| colour > 0 || own == 0);
            changed.extend(colours.map(|colour| Labels { colours: [colour, 0], ..first.clone() }));
            changed.push(Labels { torn: true, ..first.clone() });
            for labels in changed {
                let other = composer.painter.scene(3, index, &labels, 128);
                let pairs = scene.pixels.iter().zip(&other);
                let differ = pairs.filter(|(a, b)| a.abs_diff(**b) > 12).count();
                assert!(differ > 128 * 128 * 3 / 200, "{first:?} {labels:?}: only {differ} values differ");
            }
        }
    }

    #[test]
    fn some_things_have_a_colour_by_nature() {
        let composer = composer(24, 64);
        let own = |label: &str| {
            let noun = composer.nouns.iter().position(|noun| noun.label == label).unwrap();
            COLOURS[composer.painter.own[noun]]
        };
        for (label, colour) in [
            ("fox", "orange"),
            ("cat", "orange"),
            ("cactus", "green"),
            ("koala", "natural"),
            ("panda", "natural"),
            ("taxi", "natural"),
            ("elephant", "natural"),
            ("rocket", "natural"),
        ] {
            assert_eq!(own(label), colour, "{label}");
        }
    }

    #[test]
    fn captions_read_back_as_the_labels_and_splits_are_kept() {
        let composer = composer(64, 64);
        let vocabulary = vocabulary(64);
        for (split, index) in SPLITS.into_iter().flat_map(|split| (0..700).map(move |index| (split, index))) {
            let single = index % 7 == 0;
            let labels = composer.labels(11, index, &Mix { split, single, torn: 0.0 });
            let caption = labels.wanted().caption();
            assert_eq!(parse(&caption), Some(labels.wanted()), "{caption}");
            let ids = composer.ids.of(&caption);
            assert!(
                ids.iter().map(|&id| &vocabulary[usize::from(id)]).eq(&words(&caption).collect::<Vec<_>>())
            );
            if let Some((left, right)) = labels.wanted().sides() {
                assert_eq!((left, right), (labels.leftmost, labels.rightmost), "{caption}");
            }
            let (held, own) = (&composer.held, &composer.painter.own);
            let of = |noun: usize, colour: usize| {
                (colour != own[noun] && held.colour(noun, colour))
                    || held.place(noun, labels.place)
                    || (labels.kind != Kind::One && held.alone(noun))
            };
            let held_out = of(labels.first, labels.colours[0])
                || labels
                    .second
                    .is_some_and(|second| of(second, labels.colours[1]) || held.pair(labels.first, second));
            assert_eq!(labels.held_out, held_out, "{caption}");
            if split != Split::All {
                assert_eq!(held_out, split == Split::HeldOut, "{caption}");
            }
            assert!(!single || (labels.kind == Kind::One && labels.count == 1));
        }
    }

    #[test]
    fn the_mix_is_the_one_that_is_documented() {
        let composer = composer(64, 64);
        for split in SPLITS {
            let n = 8000;
            let mix = Mix { split, single: false, torn: 0.25 };
            let scenes: Vec<Labels> = (0..n).map(|i| composer.labels(5, i, &mix)).collect();
            let share = |test: &dyn Fn(&Labels) -> bool| {
                scenes.iter().filter(|scene| test(scene)).count() as f64 / n as f64
            };
            let near = |share: f64, wanted: f64, slack: f64| {
                assert!((share - wanted).abs() < slack, "{split:?}: {share}, not {wanted}");
            };
            near(share(&|l| l.kind == Kind::One), 0.40, 0.02);
            near(share(&|l| l.kind == Kind::Two), 0.42, 0.02);
            near(share(&|l| l.kind == Kind::Several), 0.18, 0.02);
            near(share(&|l| l.torn), 0.25, 0.02);
            near(share(&|l| l.states[0]), 0.60, 0.02);
            near(share(&|l| l.states[1]), 0.50, 0.02);
            (0..3).for_each(|i| near(share(&|l| l.relation == Some(Relation::ALL[i])), 0.42 / 3.0, 0.02));
            let stated = share(&|l| l.states[2]) / share(&|l| l.colours[0] > 0);
            near(stated, 0.55, 0.02);
            // What is held out by colour or place is not spread quite evenly.
            (0..LIGHTS.len()).for_each(|light| near(share(&|l| l.light == light), 0.25, 0.02));
            (0..PLACES.len()).for_each(|place| near(share(&|l| l.place == place), 0.125, 0.06));
            near(share(&|l| l.colours[0] == 0), 0.27, 0.06);
            (1..COLOURS.len()).for_each(|colour| near(share(&|l| l.colours[0] == colour), 0.73 / 7.0, 0.05));
        }
    }

    #[test]
    fn records_lie_where_the_header_says() {
        for size in [64, 128] {
            let composer = composer(10, size);
            let header = records::header(&composer);
            let at = |name: &str, i: usize| header["record"][name][i].as_u64().unwrap() as usize;
            let scene = composer.scene(2, 5, &Mix { torn: 0.5, ..Mix::default() });
            let mut record = Vec::new();
            records::append(&scene, &mut record);
            assert_eq!(record.len() as u64, header["record"]["bytes"].as_u64().unwrap());
            assert_eq!(record[at("pixels", 0)..][..at("pixels", 1)], scene.pixels);
            let pair = |at: usize| [record[at], record[at + 1]];
            for (i, &label) in scene.numbers().iter().enumerate() {
                assert_eq!(i16::from_le_bytes(pair(at("labels", 0) + 2 * i)), label);
            }
            let caption = &record[at("caption", 0)..][..at("caption", 1)];
            let end = caption.iter().position(|&byte| byte == 0).unwrap();
            assert_eq!(caption[..end], *scene.caption.as_bytes());
            let ids = (0..at("ids", 1)).map(|i| u16::from_le_bytes(pair(at("ids", 0) + 2 * i)));
            let known = ids.clone().filter(|&id| id != records::NO_WORD);
            let spoken = known.map(|id| header["words"][usize::from(id)].as_str().unwrap().to_owned());
            assert!(spoken.eq(words(&scene.caption)), "{}", scene.caption);
            assert_eq!(ids.count(), 32);
        }
    }

    #[test]
    fn records_say_between_which_tokens_things_stand() {
        for (size, grid) in [(64, 8), (128, 16)] {
            let composer = composer(10, size);
            for index in 0..200 {
                let scene = composer.scene(4, index, &Mix::default());
                let [from, to] = [14, 15]
                    .map(|i| scene.numbers()[i] as u32)
                    .map(|token| [token % grid * 8, token / grid * 8]);
                let holds = |&(_, [left, top, width, height]): &(usize, [u32; 4])| {
                    from[0] <= left
                        && from[1] <= top
                        && left + width <= to[0] + 8
                        && top + height <= to[1] + 8
                };
                assert!(scene.things.iter().all(holds), "{:?} in {from:?} to {to:?}", scene.things);
                let narrow = [(from[0], 0), (from[1], 1)]
                    .map(|(at, side)| scene.things.iter().any(|(_, b)| b[side] < at + 8));
                assert_eq!(narrow, [true; 2], "{:?} from {from:?}", scene.things);
                assert!(
                    scene.things.iter().any(|(_, b)| b[0] + b[2] > to[0])
                        && scene.things.iter().any(|(_, b)| b[1] + b[3] > to[1])
                );
            }
        }
    }

    #[test]
    fn what_cannot_be_composed_is_refused() {
        assert!(matches!(
            Composer::new(0, 64, Style::ThreeD),
            Err(SceneError::Nouns { given: 0, available: 547 })
        ));
        assert!(matches!(Composer::new(548, 64, Style::ThreeD), Err(SceneError::Nouns { .. })));
        assert!(matches!(Composer::new(5, 96, Style::ThreeD), Err(SceneError::Size { given: 96 })));
        let composer = composer(24, 64);
        assert!(composer.has(&of(Split::HeldOut)) && composer.has(&Mix { single: true, ..of(Split::Seen) }));
    }
}
