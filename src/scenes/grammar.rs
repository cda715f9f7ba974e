//! The language of captions, in one place, both ways.
//!
//! ```text
//! caption  = objects [place] [light]
//! objects  = one | one "to the left of" one | one "to the right of" one | one "and" one
//!          | ("two" | "three") [colour] plural
//! one      = ("a" | "an" | "some") [colour] label    "some" for nouns without a plural
//! colour   = "red" | "orange" | "yellow" | "green" | "blue" | "purple" | "pink"
//! place    = "in a meadow" | "in the desert" | "in the snow" | "on a beach" | "at sea" | "in a city"
//!          | "in a forest" | "on the moon"
//! light    = "on a sunny day" | "at sunset" | "at night" | "under a grey sky"
//! ```
//!
//! A word is what stands between spaces, in lower case and without commas; [`vocabulary`] lists the words of the first
//! nouns. A caption has at most 24 words. [`parse`] reads captions, and prompts that are nearly captions: any article, "left of",
//! places and lights by their bare names.

use super::nouns::{Noun, nouns};
use std::collections::HashMap;

/// A place or a light: its name, and how captions say it.
#[derive(Clone, Copy, Debug)]
pub struct Phrase {
    /// Its name, as judges and reports use it.
    pub label: &'static str,
    /// With preposition and article.
    pub phrase: &'static str,
}

const fn phrase(label: &'static str, phrase: &'static str) -> Phrase {
    Phrase { label, phrase }
}

/// Where a scene is.
pub const PLACES: [Phrase; 8] = [
    phrase("meadow", "in a meadow"),
    phrase("desert", "in the desert"),
    phrase("snow", "in the snow"),
    phrase("beach", "on a beach"),
    phrase("sea", "at sea"),
    phrase("city", "in a city"),
    phrase("forest", "in a forest"),
    phrase("moon", "on the moon"),
];

/// The light of a scene.
pub const LIGHTS: [Phrase; 4] = [
    phrase("sunny", "on a sunny day"),
    phrase("sunset", "at sunset"),
    phrase("night", "at night"),
    phrase("grey sky", "under a grey sky"),
];

/// The colours of things. The first, a thing's own colours, is never said: "a fox" may be of any colour.
pub const COLOURS: [&str; 8] = ["natural", "red", "orange", "yellow", "green", "blue", "purple", "pink"];

/// Words of [`Wanted::count`], from two on.
const NUMBERS: [(&str, u8); 2] = [("two", 2), ("three", 3)];

/// Which side the first noun of two is on, as a caption says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// "A to the left of B".
    LeftOf,
    /// "A to the right of B".
    RightOf,
    /// "A and B": either side.
    And,
}

impl Relation {
    /// All, by number in the records.
    pub const ALL: [Self; 3] = [Self::LeftOf, Self::RightOf, Self::And];

    const fn words(self) -> &'static str {
        match self {
            Self::LeftOf => "to the left of",
            Self::RightOf => "to the right of",
            Self::And => "and",
        }
    }
}

/// What a prompt asks for; nothing is asked of what is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// One or two nouns in the order of the prompt, by number in [`nouns`].
    pub nouns: Vec<usize>,
    /// Of each of them its colour, by number in [`COLOURS`] from 1 on.
    pub colours: Vec<Option<usize>>,
    /// Objects in all, 1 to 3.
    pub count: u8,
    /// How two nouns stand to each other.
    pub relation: Option<Relation>,
    /// By number in [`PLACES`].
    pub place: Option<usize>,
    /// By number in [`LIGHTS`].
    pub light: Option<usize>,
}

impl Wanted {
    /// The noun that must be leftmost and the one that must be rightmost, where the prompt says so.
    #[must_use]
    pub fn sides(&self) -> Option<(usize, usize)> {
        let (&first, &last) = (self.nouns.first()?, self.nouns.last()?);
        match self.relation {
            Some(Relation::LeftOf) => Some((first, last)),
            Some(Relation::RightOf) => Some((last, first)),
            Some(Relation::And) => None,
            None => Some((first, first)),
        }
    }

    /// The caption that asks for this.
    #[must_use]
    pub fn caption(&self) -> String {
        let nouns = nouns();
        let colour = |i: usize| self.colours.get(i).copied().flatten().map(|colour| COLOURS[colour]);
        let mut out = match (self.nouns.as_slice(), self.relation) {
            (&[a, b], Some(relation)) => {
                format!("{} {} {}", one(&nouns[a], colour(0)), relation.words(), one(&nouns[b], colour(1)))
            }
            (&[a, ..], _) => match (NUMBERS.iter().find(|(_, n)| *n == self.count), &nouns[a].plural) {
                (Some((number, _)), Some(plural)) => format!("{number} {}", coloured(plural, colour(0))),
                _ => one(&nouns[a], colour(0)),
            },
            _ => String::new(),
        };
        let place = self.place.map(|place| PLACES[place].phrase);
        for phrase in [place, self.light.map(|light| LIGHTS[light].phrase)].into_iter().flatten() {
            out = out + " " + phrase;
        }
        out
    }
}

fn coloured(name: &str, colour: Option<&str>) -> String {
    colour.map_or_else(|| name.to_owned(), |colour| format!("{colour} {name}"))
}

/// A noun, with its colour, with its article.
fn one(noun: &Noun, colour: Option<&str>) -> String {
    let name = coloured(&noun.label, colour);
    // By sound: a unicorn, a ewe; DNA is spelled out and starts with a D.
    let consonant = ["uni", "ewe", "eu"].iter().any(|start| name.starts_with(start));
    let article = match name.chars().next() {
        _ if noun.plural.is_none() => "some",
        Some('a' | 'e' | 'i' | 'o' | 'u') if !consonant => "an",
        _ => "a",
    };
    format!("{article} {name}")
}

/// The words of a text: lower case, no commas, typographic apostrophes made plain.
pub fn words(text: &str) -> impl Iterator<Item = String> {
    let plain = text.to_lowercase().replace(',', " ").replace('\u{2019}', "'");
    plain.split_whitespace().map(str::to_owned).collect::<Vec<_>>().into_iter()
}

/// All words of captions about the first `count` nouns, by id. The words of fewer nouns are a beginning of those of more.
#[must_use]
pub fn vocabulary(count: usize) -> Vec<String> {
    let mut list: Vec<String> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let mut add = |text: &str| {
        for word in words(text) {
            if seen.insert(word.clone()) {
                list.push(word);
            }
        }
    };
    add("a an some");
    Relation::ALL.iter().for_each(|relation| add(relation.words()));
    NUMBERS.iter().for_each(|(number, _)| add(number));
    COLOURS[1..].iter().for_each(|colour| add(colour));
    PLACES.iter().chain(&LIGHTS).for_each(|phrase| add(phrase.phrase));
    for noun in nouns().iter().take(count) {
        add(&noun.label);
        noun.plural.iter().for_each(|plural| add(plural));
    }
    list
}

/// Words to ids.
#[derive(Clone, Debug)]
pub struct Ids(HashMap<String, u16>);

impl Ids {
    /// Of the first `count` nouns.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self(vocabulary(count).into_iter().zip(0..).collect())
    }

    /// The ids of a caption; words that are not in the vocabulary are left out.
    #[must_use]
    pub fn of(&self, caption: &str) -> Vec<u16> {
        words(caption).filter_map(|word| self.0.get(&word).copied()).collect()
    }
}

/// What a prompt of this grammar asks for, `None` if it is none.
#[must_use]
pub fn parse(prompt: &str) -> Option<Wanted> {
    let words: Vec<String> = words(prompt).collect();
    let mut rest = Rest { words: &words };
    let mut wanted = rest.objects()?;
    while !rest.words.is_empty() {
        if let Some(place) = rest.phrase(&PLACES) {
            wanted.place = Some(place);
        } else if let Some(light) = rest.phrase(&LIGHTS) {
            wanted.light = Some(light);
        } else {
            let filler = ["in", "on", "at", "under", "a", "an", "the", "and", "with"];
            rest.one_of(filler.into_iter().map(str::to_owned))?;
        }
    }
    Some(wanted)
}

/// The words of a prompt that are not understood yet.
struct Rest<'a> {
    words: &'a [String],
}

impl Rest<'_> {
    /// Whether these words come next; if so, they are taken.
    fn take(&mut self, text: &str) -> bool {
        let length = words(text).count();
        let there = self.words.len() >= length && words(text).eq(self.words[..length].iter().cloned());
        if there {
            self.words = &self.words[length..];
        }
        there
    }

    /// The number of the first text that comes next.
    fn one_of(&mut self, mut texts: impl Iterator<Item = String>) -> Option<usize> {
        texts.position(|text| self.take(&text))
    }

    fn phrase(&mut self, phrases: &[Phrase]) -> Option<usize> {
        let whole = self.one_of(phrases.iter().map(|phrase| phrase.phrase.to_owned()));
        whole.or_else(|| self.one_of(phrases.iter().map(|phrase| phrase.label.to_owned())))
    }

    /// A colour, if one comes next, and the noun behind it, singular or plural. Of two ways to read it the one that takes more words
    /// holds: an orange fox is a fox.
    fn noun(&mut self, plural: bool) -> Option<(usize, Option<usize>)> {
        let plain = named(self.words, plural);
        let colour =
            COLOURS.iter().skip(1).position(|&colour| self.words.first().is_some_and(|w| w == colour));
        let behind = colour.and_then(|colour| {
            let (length, noun) = named(&self.words[1..], plural)?;
            Some((length + 1, noun, colour + 1))
        });
        let (length, noun, colour) = match (plain, behind) {
            (Some((length, noun)), Some((longer, ..))) if length >= longer => (length, noun, None),
            (_, Some((length, noun, colour))) => (length, noun, Some(colour)),
            (Some((length, noun)), None) => (length, noun, None),
            (None, None) => return None,
        };
        self.words = &self.words[length..];
        Some((noun, colour))
    }

    fn one(&mut self) -> Option<(usize, Option<usize>)> {
        let _ = ["a", "an", "some", "the", "one"].iter().any(|article| self.take(article));
        self.noun(false)
    }

    fn objects(&mut self) -> Option<Wanted> {
        let wanted = |things: &[(usize, Option<usize>)], count| {
            let (nouns, colours) = things.iter().copied().unzip();
            Wanted { nouns, colours, count, relation: None, place: None, light: None }
        };
        if let Some(number) = self.one_of(NUMBERS.iter().map(|(number, _)| (*number).to_owned())) {
            return Some(wanted(&[self.noun(true)?], NUMBERS[number].1));
        }
        let first = self.one()?;
        for relation in Relation::ALL {
            for words in [relation.words(), relation.words().trim_start_matches("to the ")] {
                let before = self.words;
                if self.take(words)
                    && let Some(second) = self.one()
                {
                    return Some(Wanted { relation: Some(relation), ..wanted(&[first, second], 2) });
                }
                self.words = before;
            }
        }
        Some(wanted(&[first], 1))
    }
}

/// The noun whose name, singular or plural, is the longest that the words begin with, and how many of them it takes.
fn named(words: &[String], plural: bool) -> Option<(usize, usize)> {
    let matches = |noun: &'static Noun| {
        let name = if plural { noun.plural.as_deref()? } else { noun.label.as_str() };
        let length = self::words(name).count();
        Rest { words }.take(name).then_some(length)
    };
    // The first of equals, so that a smaller vocabulary reads the same.
    let found = nouns().iter().enumerate().filter_map(|(i, noun)| Some((matches(noun)?, i)));
    found.fold(None, |best: Option<(usize, usize)>, next| match best {
        Some(best) if best.0 >= next.0 => Some(best),
        _ => Some(next),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noun(label: &str) -> usize {
        nouns().iter().position(|noun| noun.label == label).unwrap()
    }

    #[test]
    fn the_captions_of_all_nouns_read_back() {
        for (i, noun) in nouns().iter().enumerate() {
            let wanted = |nouns: Vec<usize>, count, relation| Wanted {
                colours: (0..nouns.len()).map(|n| Some((i + 3 * n) % 8).filter(|&c| c > 0)).collect(),
                nouns,
                count,
                relation,
                place: Some(i % 8),
                light: Some(i % 4),
            };
            let other = (i * 7 + 1) % nouns().len();
            let mut all = vec![wanted(vec![i], 1, None)];
            if noun.plural.is_some() {
                all.extend([2, 3].map(|count| wanted(vec![i], count, None)));
            }
            all.extend(Relation::ALL.map(|relation| wanted(vec![i, other], 2, Some(relation))));
            for wanted in all {
                let caption = wanted.caption();
                assert_eq!(parse(&caption), Some(wanted), "{caption}");
            }
        }
    }

    #[test]
    fn captions_fit_a_record() {
        let ids = Ids::new(nouns().len());
        let longest =
            |words_of: fn(&Noun) -> usize| (0..nouns().len()).max_by_key(|&i| words_of(&nouns()[i]));
        for words_of in [|noun: &Noun| words(&noun.label).count(), |noun: &Noun| noun.label.len()] {
            let a = longest(words_of).unwrap();
            let wanted = Wanted {
                nouns: vec![a, a],
                colours: vec![Some(2), Some(6)],
                count: 2,
                relation: Some(Relation::RightOf),
                place: Some(1),
                light: Some(3),
            };
            let caption = wanted.caption();
            assert!(words(&caption).count() <= 24, "{caption}");
            assert!(caption.len() <= 192, "{caption}");
            assert_eq!(ids.of(&caption).len(), words(&caption).count(), "{caption}");
        }
    }

    #[test]
    fn prompts_that_are_nearly_captions_are_read() {
        let wanted = parse("A koala to the left of a red Taxi on a beach at sunset").unwrap();
        assert_eq!(wanted.nouns, [noun("koala"), noun("taxi")]);
        assert_eq!(wanted.colours, [None, Some(1)]);
        assert_eq!((wanted.place, wanted.light), (Some(3), Some(1)));
        assert_eq!(wanted.sides(), Some((noun("koala"), noun("taxi"))));
        assert_eq!(parse("koala left of red taxi").unwrap().sides(), wanted.sides());
        let wanted = parse("the orange fox at the sea, night").unwrap();
        assert_eq!((wanted.nouns, wanted.colours), (vec![noun("fox")], vec![Some(2)]));
        assert_eq!((wanted.place, wanted.light), (Some(4), Some(2)));
        assert_eq!(parse("three cacti").unwrap().count, 3);
        assert_eq!(parse("an owl and a fox").unwrap().sides(), None);
        for nonsense in
            ["", "a", "a wug", "three", "a red", "a natural fox", "a fox dancing", "to the left of a fox"]
        {
            assert_eq!(parse(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn fewer_nouns_have_the_first_words_of_more() {
        let all = vocabulary(usize::MAX);
        assert!(all.starts_with(&vocabulary(32)));
        assert!(all.len() < 1300, "{}", all.len());
        assert_eq!(all.iter().collect::<std::collections::HashSet<_>>().len(), all.len());
        let lower = |word: &String| word.is_ascii() && *word == word.to_lowercase() && !word.contains(',');
        assert!(all.iter().all(lower), "{:?}", all.iter().find(|word| !lower(word)));
    }
}
