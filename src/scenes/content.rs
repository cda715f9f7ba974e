//! What a scene shows, and what its caption says of it.

use super::draws::{Draws, Stream};
use super::grammar::{COLOURS, LIGHTS, PLACES, Relation, Wanted};
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

/// What a scene shows, and what its caption says of it. Numbers are those of [`super::nouns`], [`COLOURS`], [`PLACES`] and
/// [`LIGHTS`].
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
    /// Colours of the first and the second noun; a thing whose own colour has a name has that name.
    pub colours: [usize; 2],
    /// Whether the caption states place, light and the two colours.
    pub states: [bool; 4],
    /// Whether training never sees this combination.
    pub held_out: bool,
    /// Whether a thing is patched from two; what nouns and colours say of it then holds for parts of it alone.
    pub torn: bool,
}

impl Labels {
    /// What the caption asks for.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        let nouns: Vec<usize> = std::iter::once(self.first).chain(self.second).collect();
        let colour = |i: usize| self.states[2 + i].then_some(self.colours[i]);
        Wanted {
            colours: (0..nouns.len()).map(colour).collect(),
            nouns,
            count: self.count,
            relation: self.relation,
            place: self.states[0].then_some(self.place),
            light: self.states[1].then_some(self.light),
        }
    }

    /// Noun and colour of each object, from the left.
    pub(super) fn objects(&self) -> Vec<(usize, usize)> {
        let of = |noun: usize| (noun, self.colours[usize::from(noun != self.first)]);
        match self.kind {
            Kind::Two => vec![of(self.leftmost), of(self.rightmost)],
            _ => vec![of(self.first); usize::from(self.count)],
        }
    }

    /// As in the records: kind, first and second noun, count, relation, leftmost, rightmost, place, light, colours of the first and
    /// the second noun, bits of what the caption states, held out, torn; -1 for what is not there, zeros to the end.
    #[must_use]
    pub fn numbers(&self) -> [i16; 16] {
        let number = |option: Option<usize>| option.map_or(-1, |n| n as i16);
        let relation = self.relation.and_then(|r| Relation::ALL.iter().position(|&other| other == r));
        let states = self.states.iter().rev().fold(0, |bits, &stated| bits << 1 | i16::from(stated));
        let mut out = [0; 16];
        out[..14].copy_from_slice(&[
            self.kind as i16,
            self.first as i16,
            number(self.second),
            i16::from(self.count),
            number(relation),
            self.leftmost as i16,
            self.rightmost as i16,
            self.place as i16,
            self.light as i16,
            self.colours[0] as i16,
            number(self.second.map(|_| self.colours[1])),
            states,
            i16::from(self.held_out),
            i16::from(self.torn),
        ]);
        out
    }
}

/// Share of scenes with one object, and with one or two.
const ONE: f32 = 0.40;
const ONE_OR_TWO: f32 = 0.82;
/// Share of things in their own colours; the other seven share the rest.
const NATURAL: f32 = 0.3;
/// Chance that a caption states the place, the light, a colour, each by itself. What it leaves out, all tokens of a picture have
/// to agree on.
const STATES_PLACE: f32 = 0.6;
const STATES_LIGHT: f32 = 0.5;
const STATES_COLOUR: f32 = 0.55;
/// Draws until a scene of the split must have come: the rarest is met once in ten or so.
const ATTEMPTS: usize = 4096;

/// What a scene is drawn from.
pub(super) struct World<'a> {
    /// The nouns in use.
    pub(super) nouns: &'a [Noun],
    /// Of each noun the colour that its own is called, 0 where it has no name.
    pub(super) own: &'a [usize],
    /// What training never sees.
    pub(super) held: &'a HeldOut<'a>,
}

/// Draws what scene `index` of a seed shows. The kind is drawn before the split refuses anything, so the mix of kinds is
/// the same in every split. Where the split has no such scene, the last draw stands, with an honest `held_out`.
pub(super) fn draw(seed: u64, index: u64, filter: Split, single: bool, world: &World<'_>) -> Labels {
    let mut draws = Draws::new(seed, index, Stream::Content);
    let which = draws.unit();
    let kind = match which {
        _ if single || which < ONE => Kind::One,
        _ if which >= ONE_OR_TWO => Kind::Several,
        _ if world.nouns.len() < 2 => Kind::One,
        _ => Kind::Two,
    };
    let mut labels = candidate(&mut draws, kind, world);
    for _ in 1..ATTEMPTS {
        let countable = labels.kind != Kind::Several || world.nouns[labels.first].plural.is_some();
        let belongs = match filter {
            Split::Seen => !labels.held_out,
            Split::HeldOut => labels.held_out,
            Split::All => true,
        };
        if countable && belongs {
            break;
        }
        labels = candidate(&mut draws, kind, world);
    }
    labels
}

fn candidate(draws: &mut Draws, kind: Kind, world: &World<'_>) -> Labels {
    let (nouns, held) = (world.nouns, world.held);
    let first = draws.below(nouns.len());
    // Any noun but the first, each as likely.
    let other = draws.below(nouns.len().saturating_sub(1));
    let other = other + usize::from(other >= first);
    let (place, light) = (draws.below(PLACES.len()), draws.below(LIGHTS.len()));
    let mut colour = |noun: usize| match (draws.chance(NATURAL), draws.below(COLOURS.len() - 1)) {
        (true, _) => world.own[noun],
        (false, colour) => colour + 1,
    };
    let colours = [colour(first), colour(other)];
    let second = (kind == Kind::Two).then_some(other);
    let says = |stated: bool, colour: usize| stated && colour > 0;
    let states =
        [STATES_PLACE, STATES_LIGHT, STATES_COLOUR, STATES_COLOUR].map(|chance| draws.chance(chance));
    let states =
        [states[0], states[1], says(states[2], colours[0]), says(states[3], colours[1]) && second.is_some()];
    let (relation, side, three) = (draws.below(3), draws.chance(0.5), draws.chance(0.5));
    let relation = (kind == Kind::Two).then_some(Relation::ALL[relation]);
    let (leftmost, rightmost) = match (second, relation) {
        (None, _) => (first, first),
        (Some(second), Some(Relation::RightOf)) => (second, first),
        (Some(second), Some(Relation::And)) if side => (second, first),
        (Some(second), _) => (first, second),
    };
    let shown = [Some((first, colours[0])), second.map(|second| (second, colours[1]))];
    let mut shown = shown.iter().flatten();
    let held_out = shown.any(|&(noun, colour)| {
        // Every noun is seen in its own colours.
        (colour != world.own[noun] && held.colour(noun, colour))
            || held.place(noun, place)
            || (kind != Kind::One && held.alone(noun))
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
        colours,
        states,
        held_out,
        torn: false,
    }
}
