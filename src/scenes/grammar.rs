//! The language of captions, in one place, both ways.
//!
//! ```text
//! caption  = objects [place] [light] [", " style " style"]
//! objects  = one | one "to the left of" one | one "to the right of" one | one "and" one | ("two" | "three") plural
//! one      = ("a" | "an" | "some") label             "some" for nouns without a plural
//! place    = "in a meadow" | "in the desert" | "in the snow" | "on a beach" | "on the sea" | "on a road"
//!          | "on the forest floor" | "on the moon"
//! light    = "on a sunny day" | "at sunset" | "at night" | "under a grey sky"
//! style    = "3D" | "flat" | "cartoon"
//! ```
//!
//! A word is what stands between spaces, in lower case and without commas; [`vocabulary`] lists the words of the first
//! nouns. A caption has at most 24 words. [`parse`] reads captions, and prompts that are nearly captions: any article, places and
//! lights by their bare names.

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
    phrase("sea", "on the sea"),
    phrase("road", "on a road"),
    phrase("forest floor", "on the forest floor"),
    phrase("moon", "on the moon"),
];

/// The light of a scene.
pub const LIGHTS: [Phrase; 4] = [
    phrase("sunny", "on a sunny day"),
    phrase("sunset", "at sunset"),
    phrase("night", "at night"),
    phrase("grey sky", "under a grey sky"),
];

/// How sprites are drawn.
pub const STYLES: [&str; 3] = ["3D", "flat", "cartoon"];

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
    /// Objects in all, 1 to 3.
    pub count: u8,
    /// How two nouns stand to each other.
    pub relation: Option<Relation>,
    /// By number in [`PLACES`].
    pub place: Option<usize>,
    /// By number in [`LIGHTS`].
    pub light: Option<usize>,
    /// By number in [`STYLES`].
    pub style: Option<usize>,
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
        let mut out = match (self.nouns.as_slice(), self.relation) {
            (&[a, b], Some(relation)) => {
                format!("{} {} {}", one(&nouns[a]), relation.words(), one(&nouns[b]))
            }
            (&[a, ..], _) => match (NUMBERS.iter().find(|(_, n)| *n == self.count), &nouns[a].plural) {
                (Some((number, _)), Some(plural)) => format!("{number} {plural}"),
                _ => one(&nouns[a]),
            },
            _ => String::new(),
        };
        let place = self.place.map(|place| PLACES[place].phrase);
        for phrase in [place, self.light.map(|light| LIGHTS[light].phrase)].into_iter().flatten() {
            out = out + " " + phrase;
        }
        match self.style {
            Some(style) => out + ", " + STYLES[style] + " style",
            None => out,
        }
    }
}

/// A noun with its article.
fn one(noun: &Noun) -> String {
    // By sound: a unicorn, a ewe; DNA is spelled out and starts with a D.
    let consonant = ["uni", "ewe", "eu"].iter().any(|start| noun.label.starts_with(start));
    let article = match noun.label.chars().next() {
        _ if noun.plural.is_none() => "some",
        Some('a' | 'e' | 'i' | 'o' | 'u') if !consonant => "an",
        _ => "a",
    };
    format!("{article} {}", noun.label)
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
    PLACES.iter().chain(&LIGHTS).for_each(|phrase| add(phrase.phrase));
    STYLES.iter().for_each(|style| add(style));
    add("style");
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
        if let Some(style) = rest.one_of(STYLES.iter().map(|style| format!("{style} style"))) {
            wanted.style = Some(style);
        } else if let Some(place) = rest.phrase(&PLACES) {
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

    /// The noun whose name, singular or plural, is the longest that comes next.
    fn noun(&mut self, plural: bool) -> Option<usize> {
        let name = |noun: &'static Noun| {
            if plural { noun.plural.as_deref() } else { Some(noun.label.as_str()) }
        };
        let matches = |noun: &'static Noun| {
            let name = name(noun)?;
            let length = words(name).count();
            Rest { words: self.words }.take(name).then_some(length)
        };
        // The first of equals, so that a smaller vocabulary reads the same.
        let found = nouns().iter().enumerate().filter_map(|(i, noun)| Some((matches(noun)?, i)));
        let (length, noun) = found.fold(None, |best: Option<(usize, usize)>, next| match best {
            Some(best) if best.0 >= next.0 => Some(best),
            _ => Some(next),
        })?;
        self.words = &self.words[length..];
        Some(noun)
    }

    fn one(&mut self) -> Option<usize> {
        let _ = ["a", "an", "some", "the", "one"].iter().any(|article| self.take(article));
        self.noun(false)
    }

    fn objects(&mut self) -> Option<Wanted> {
        let none =
            Wanted { nouns: Vec::new(), count: 1, relation: None, place: None, light: None, style: None };
        if let Some(number) = self.one_of(NUMBERS.iter().map(|(number, _)| (*number).to_owned())) {
            return Some(Wanted { nouns: vec![self.noun(true)?], count: NUMBERS[number].1, ..none });
        }
        let first = self.one()?;
        for relation in Relation::ALL {
            let before = self.words;
            if self.take(relation.words())
                && let Some(second) = self.one()
            {
                let nouns = vec![first, second];
                return Some(Wanted { nouns, count: 2, relation: Some(relation), ..none });
            }
            self.words = before;
        }
        Some(Wanted { nouns: vec![first], ..none })
    }
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
                nouns,
                count,
                relation,
                place: Some(i % 8),
                light: Some(i % 4),
                style: Some(i % 3),
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
                count: 2,
                relation: Some(Relation::RightOf),
                place: Some(6),
                light: Some(3),
                style: Some(2),
            };
            let caption = wanted.caption();
            assert!(words(&caption).count() <= 24, "{caption}");
            assert!(caption.len() <= 192, "{caption}");
            assert_eq!(ids.of(&caption).len(), words(&caption).count(), "{caption}");
        }
    }

    #[test]
    fn prompts_that_are_nearly_captions_are_read() {
        let wanted = parse("A koala to the left of a Taxi on a beach at sunset, 3D style").unwrap();
        assert_eq!(wanted.nouns, [noun("koala"), noun("taxi")]);
        assert_eq!((wanted.place, wanted.light, wanted.style), (Some(3), Some(1), Some(0)));
        assert_eq!(wanted.sides(), Some((noun("koala"), noun("taxi"))));
        let wanted = parse("the fox at the sea, night").unwrap();
        assert_eq!((wanted.nouns, wanted.place, wanted.light), (vec![noun("fox")], Some(4), Some(2)));
        assert_eq!(wanted.style, None);
        assert_eq!(parse("three cacti").unwrap().count, 3);
        assert_eq!(parse("an owl and a fox").unwrap().sides(), None);
        for nonsense in ["", "a", "a wug", "three", "a fox dancing", "to the left of a fox"] {
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
