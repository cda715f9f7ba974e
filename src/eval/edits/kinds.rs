//! Four ways to edit a real scene of one thing.

use crate::eval::scenes_eval::judge::Seen;
use crate::eval::scenes_eval::source::{RealScene, Shown};
use crate::generate::picture::Picture;
use crate::generate::region::{Region, Side};
use crate::kernels::philox;
use crate::scenes::grammar::{COLOURS, Wanted};

/// Above every stream of the sampler's, of the scenes' and of the evaluation's others.
const STREAM: u32 = 0x5ED1_0000;
/// Tokens along the side of a hole.
const HOLE: usize = 5;
/// Tokens that a picture grows by.
const GROWTH: u32 = 4;

/// What is done to a scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Another thing in the place of the one that is there.
    Replace,
    /// The same thing in another colour.
    Recolour,
    /// A hole in the background is filled.
    Fill,
    /// The picture grows at a side.
    Extend,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Replace, Self::Recolour, Self::Fill, Self::Extend];

    /// In a few words.
    pub fn title(self) -> &'static str {
        match self {
            Self::Replace => "replace the thing",
            Self::Recolour => "recolour it",
            Self::Fill => "fill a hole in the background",
            Self::Extend => "extend a side",
        }
    }
}

/// An edit, and what has to come of it.
#[derive(Clone, Debug)]
pub struct Task {
    /// Which.
    pub kind: Kind,
    /// The scene.
    pub picture: Picture,
    /// What is asked for: the whole picture, as it is to be.
    pub prompt: String,
    /// What is made anew, where the picture does not grow.
    pub region: Region,
    /// Where it grows, and by how many tokens.
    pub extension: Option<(Side, u32)>,
    noun: usize,
    colour: Option<usize>,
    place: usize,
    light: usize,
}

impl Task {
    /// For a scene of one thing, of so many nouns; `number` decides what is open. `None` where the scene does not say what it shows.
    pub fn new(
        kind: Kind,
        scene: &RealScene,
        number: u64,
        nouns: usize,
        (grid, size): ([u32; 2], [u32; 2]),
    ) -> Option<Self> {
        let Shown { things, colours, place, light } = scene.shown.as_ref()?;
        let &(noun, rectangle) = things.first()?;
        let draw = |of: u32| {
            let word = philox::philox([of, kind as u32, 0, STREAM], philox::key(number))[0];
            move |below: usize| ((u64::from(word) * below.max(1) as u64) >> 32) as usize
        };
        // One of the others.
        let other = |of: u32, own: usize, all: usize| {
            let drawn = draw(of)(all.saturating_sub(1));
            drawn + usize::from(drawn >= own)
        };
        let thing = Region::rectangle(grid, size, rectangle);
        let own_colour = colours[0];
        let (new_noun, colour) = match kind {
            Kind::Replace => (other(0, noun, nouns), None),
            // Natural is what a thing is without a word.
            Kind::Recolour => {
                let drawn = 1 + draw(0)(COLOURS.len() - 2);
                (noun, Some(drawn + usize::from(own_colour > 0 && drawn >= own_colour)))
            }
            Kind::Fill | Kind::Extend => (noun, (own_colour > 0).then_some(own_colour)),
        };
        let region = match kind {
            Kind::Replace | Kind::Recolour => thing,
            Kind::Fill => hole(&thing, &draw(1)),
            Kind::Extend => Region::none(grid),
        };
        let side = Side::ALL[draw(2)(Side::ALL.len())];
        let wanted = Wanted {
            nouns: vec![new_noun],
            colours: vec![colour],
            count: 1,
            relation: None,
            place: Some(*place),
            light: Some(*light),
        };
        let [height, width] = size;
        Some(Self {
            kind,
            picture: Picture { width, height, rgb: scene.pixels.clone() },
            prompt: wanted.caption(),
            region,
            extension: (kind == Kind::Extend).then_some((side, GROWTH)),
            noun: new_noun,
            colour,
            place: *place,
            light: *light,
        })
    }

    /// Whether what was asked for is there: the thing alone, and in its colour; of a hole that nothing else appeared; of a picture that
    /// grew, of which the thing may have slid out, that place and light go on.
    pub fn is_there(&self, seen: &Seen) -> bool {
        let is_alone = seen.nouns == [self.noun; 2] && seen.count == 1;
        match self.kind {
            Kind::Replace => is_alone,
            Kind::Recolour => is_alone && self.colour.is_none_or(|colour| seen.colours[0] == colour),
            Kind::Fill => is_alone,
            Kind::Extend => self.stays(seen),
        }
    }

    /// Whether the background is what it was.
    pub fn stays(&self, seen: &Seen) -> bool {
        seen.place == self.place && seen.light == self.light
    }
}

/// A square that touches neither the thing nor what is next to it; where there is no room, as far from it as can be.
fn hole(thing: &Region, draw: &dyn Fn(usize) -> usize) -> Region {
    let [rows, columns] = thing.grid();
    let near = thing.grown(1);
    let square = |top: usize, left: usize| {
        Region::rectangle(
            [rows, columns],
            [rows, columns],
            [left as u32, top as u32, HOLE as u32, HOLE as u32],
        )
    };
    let overlap = |region: &Region| region.count() - region.except(&near).count();
    let mut places = Vec::new();
    for top in 0..=(rows as usize).saturating_sub(HOLE) {
        for left in 0..=(columns as usize).saturating_sub(HOLE) {
            places.push(square(top, left));
        }
    }
    let least = places.iter().map(overlap).min().unwrap_or(0);
    places.retain(|region| overlap(region) == least);
    places.get(draw(places.len())).cloned().unwrap_or_else(|| Region::all([rows, columns]))
}
