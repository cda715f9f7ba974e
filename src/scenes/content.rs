//! What a scene shows, and what its caption says of it.

use super::draws::{Draws, Stream};
use super::grammar::{LIGHTS, PLACES, Relation, Wanted};
use super::nouns::Noun;
use super::split::HeldOut;

/// Which scenes to compose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Split {
    /// What training may see.
    Seen,
    /// Only scenes with something that training never sees (see [`super::split`]).
    HeldOut,
    /// As they come.
    #[default]
    All,
}

/// How many things of how many kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One object.
    One,
    /// Two different objects.
    Two,
    /// Two or three objects of one kind.
    Several,
}

/// What a scene shows, and what its caption says of it. Numbers are those of [`super::nouns`], [`PLACES`],
/// [`LIGHTS`] and [`super::grammar::STYLES`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    /// One, two, or several of a kind.
    pub kind: Kind,
    /// The noun that the caption names first.
    pub first: usize,
    /// The noun that it names second.
    pub second: Option<usize>,
    /// Objects in all, 1 to 3.
    pub count: u8,
    /// How the caption relates two nouns.
    pub relation: Option<Relation>,
    /// Noun of the leftmost object.
    pub leftmost: usize,
    /// Noun of the rightmost object.
    pub rightmost: usize,
    /// Where.
    pub place: usize,
    /// In which light.
    pub light: usize,
    /// In which style.
    pub style: usize,
    /// Whether the caption states place, light and style.
    pub states: [bool; 3],
    /// Whether training never sees this combination.
    pub held_out: bool,
}

impl Labels {
    /// What the caption asks for.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        Wanted {
            nouns: std::iter::once(self.first).chain(self.second).collect(),
            count: self.count,
            relation: self.relation,
            place: self.states[0].then_some(self.place),
            light: self.states[1].then_some(self.light),
            style: self.states[2].then_some(self.style),
        }
    }

    /// As in the records: kind, first and second noun, count, relation, leftmost, rightmost, place, light, style, bits of what the
    /// caption states, held out; -1 for what is not there, zeros to the end.
    #[must_use]
    pub fn numbers(&self) -> [i16; 16] {
        let number = |option: Option<usize>| option.map_or(-1, |n| n as i16);
        let relation = self.relation.and_then(|r| Relation::ALL.iter().position(|&other| other == r));
        let states = self.states.iter().rev().fold(0, |bits, &stated| bits << 1 | i16::from(stated));
        let mut out = [0; 16];
        out[..12].copy_from_slice(&[
            self.kind as i16,
            self.first as i16,
            number(self.second),
            i16::from(self.count),
            number(relation),
            self.leftmost as i16,
            self.rightmost as i16,
            self.place as i16,
            self.light as i16,
            self.style as i16,
            states,
            i16::from(self.held_out),
        ]);
        out
    }
}

/// Share of scenes with one object, and with one or two.
const ONE: f32 = 0.45;
const ONE_OR_TWO: f32 = 0.85;
/// Share of sprites by style; the third is the rest.
const STYLE_3D: f32 = 0.5;
const STYLE_FLAT: f32 = 0.2;
/// Chance that a caption states the place, the light, the style, each by itself.
const STATED: f32 = 0.7;
/// Draws until a scene of the split must have come: the rarest is met once in ten or so.
const ATTEMPTS: usize = 4096;

/// Draws what scene `index` of a seed shows. The kind is drawn before the split refuses anything, so the mix of kinds is
/// the same in every split. Where the split has no such scene, the last draw stands, with an honest `held_out`.
pub(super) fn draw(
    seed: u64,
    index: u64,
    filter: Split,
    single: bool,
    nouns: &[Noun],
    held: &HeldOut<'_>,
) -> Labels {
    let mut draws = Draws::new(seed, index, Stream::Content);
    let which = draws.unit();
    let kind = match which {
        _ if single || which < ONE => Kind::One,
        _ if which >= ONE_OR_TWO => Kind::Several,
        _ if nouns.len() < 2 => Kind::One,
        _ => Kind::Two,
    };
    let mut labels = candidate(&mut draws, kind, nouns, held);
    for _ in 1..ATTEMPTS {
        let countable = labels.kind != Kind::Several || nouns[labels.first].plural.is_some();
        let belongs = match filter {
            Split::Seen => !labels.held_out,
            Split::HeldOut => labels.held_out,
            Split::All => true,
        };
        if countable && belongs {
            break;
        }
        labels = candidate(&mut draws, kind, nouns, held);
    }
    labels
}

fn candidate(draws: &mut Draws, kind: Kind, nouns: &[Noun], held: &HeldOut<'_>) -> Labels {
    let first = draws.below(nouns.len());
    // Any noun but the first, each as likely.
    let other = draws.below(nouns.len().saturating_sub(1));
    let other = other + usize::from(other >= first);
    let (place, light) = (draws.below(PLACES.len()), draws.below(LIGHTS.len()));
    let style = match draws.unit() {
        u if u < STYLE_3D => 0,
        u if u < STYLE_3D + STYLE_FLAT => 1,
        _ => 2,
    };
    let states = [(); 3].map(|()| draws.chance(STATED));
    let (relation, side, three) = (draws.below(3), draws.chance(0.5), draws.chance(0.5));
    let second = (kind == Kind::Two).then_some(other);
    let relation = (kind == Kind::Two).then_some(Relation::ALL[relation]);
    let (leftmost, rightmost) = match (second, relation) {
        (None, _) => (first, first),
        (Some(second), Some(Relation::RightOf)) => (second, first),
        (Some(second), Some(Relation::And)) if side => (second, first),
        (Some(second), _) => (first, second),
    };
    let shown = [Some(first), second];
    let mut shown = shown.iter().flatten();
    let held_out = shown.any(|&noun| {
        held.style(noun, style) || held.place(noun, place) || (kind != Kind::One && held.alone(noun))
    }) || second.is_some_and(|second| held.pair(first, second));
    let count = match kind {
        Kind::One => 1,
        Kind::Two => 2,
        Kind::Several => 2 + u8::from(three),
    };
    Labels {
        kind,
        first,
        second,
        count,
        relation,
        leftmost,
        rightmost,
        place,
        light,
        style,
        states,
        held_out,
    }
}
