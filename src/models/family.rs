//! What families of models have in common: enough for one session, one verifier and one engine over all of them.
//!
//! A [`Family`] is a model's sizes. It says what its folder holds, what a condition (a class, a prompt) becomes in the
//! states, and how the programs of a step are made: its [`Network`]s go from ids to features, its head from features to
//! logits. To add one, write a folder beside `maskgit/` and `dimoo/`, and give [`Known`](super::Known) an arm.

use super::cache::Keep;
use super::states;
use super::tokenizer::Tokenizer;
use crate::kernels::guide_rows::{GuideRows, Sequences};
use crate::kernels::{Extent, ImagePlacement, Intervals, RowRange, Slot, Symbol};
use crate::program::{Builder, Element};

/// What programs are built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Images at once.
    pub images: u32,
    /// Whether an unconditional sequence goes with each image, for guidance.
    pub guided: bool,
    /// Tokens of each image's prompt, and of the one that stands for none; nothing where models take classes.
    pub prompt: [u32; 2],
}

impl Batch {
    /// Of images of classes.
    pub fn of_classes(images: u32, guided: bool) -> Self {
        Self { images, guided, prompt: [0, 0] }
    }

    /// Of so many images under such a condition.
    pub fn of(condition: &Condition, images: u32, guided: bool) -> Self {
        Self { images, guided, prompt: condition.prompt_tokens() }
    }

    /// Sequences through the transformer: conditional ones first.
    pub fn sequences(self) -> u32 {
        if self.guided { 2 * self.images } else { self.images }
    }
}

/// What an image is made under, in a model's own numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// A class, or none.
    Class(Option<u32>),
    /// The ids of a prompt, and of the one that stands for none.
    Prompt {
        /// Of the prompt.
        ids: Vec<u32>,
        /// Of no prompt.
        without: Vec<u32>,
    },
}

impl Condition {
    /// Tokens of the prompt and of the one that stands for none.
    pub fn prompt_tokens(&self) -> [u32; 2] {
        match self {
            Self::Class(_) => [0, 0],
            Self::Prompt { ids, without } => [ids.len() as u32, without.len() as u32],
        }
    }
}

/// Positions of each image that a head is asked for: a list of them, and the part of it that logits are made of at once.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    /// The state `[images, tokens]` that lists them.
    list: &'static str,
    /// How many an image has of them at a step.
    count: Symbol,
    range: RowRange,
}

impl From<RowRange> for Places {
    /// Of the masked positions.
    fn from(range: RowRange) -> Self {
        Self { list: states::POSITIONS, count: Symbol::Masked, range }
    }
}

impl Places {
    /// Of the positions that hold a token, as [`states::COMMITTED`] lists them.
    pub fn committed(range: RowRange) -> Self {
        Self { list: states::COMMITTED, count: Symbol::Committed, range }
    }

    /// The list.
    pub(super) fn list(self, b: &mut Builder, images: u32, tokens: u32) -> Slot {
        b.state(self.list, images, tokens, Element::U32)
    }

    /// Of so many sequences, the rows of the range at a step.
    pub(crate) fn rows(self, sequences: u32) -> Extent {
        Extent::part(sequences, self.count, self.range)
    }

    /// The first entry of the list that is of the range.
    pub(super) fn first(self) -> u32 {
        self.range.first
    }
}

/// A state and what it is to hold.
pub type Written = (String, Vec<u32>);

/// A model's sizes, and how its programs are made.
///
/// In every family, [`states::IDS`] holds codes, and the number of codes where a token is masked.
pub trait Family: std::fmt::Debug + Send + Sync {
    /// What `config.json` calls the family.
    fn architecture(&self) -> &'static str;
    /// The transformer's part of the folder, as in `PART.safetensors`.
    fn part(&self) -> &'static str;
    /// Rows and columns of image tokens.
    fn grid(&self) -> [u32; 2];
    /// Codes that a token can be.
    fn codebook(&self) -> u32;
    /// Width of a feature.
    fn width(&self) -> u32;
    /// The transformer's layers.
    fn layers(&self) -> u32;
    /// The image tokenizer.
    fn tokenizer(&self) -> &Tokenizer;
    /// Whether there is a learned shortcut.
    fn has_shortcut(&self) -> bool;
    /// Whether pictures are made in one step, without guidance.
    fn is_one_step(&self) -> bool {
        false
    }
    /// What [`states::IDS`] holds before the first step, by the seed of each image: every token masked, unless a
    /// family begins otherwise.
    fn begin(&self, seeds: &[u64]) -> Vec<u32> {
        vec![self.codebook(); seeds.len() * self.tokens() as usize]
    }
    /// Whether the sizes go together, and are such as kernels take.
    ///
    /// # Errors
    /// A sentence on the first that does not.
    fn check(&self) -> Result<(), String>;
    /// What goes from ids to features: all sequences at once, or those of one length each.
    fn networks(&self, batch: Batch) -> Vec<Box<dyn Network + '_>>;
    /// The states that hold a batch's features, and how many numbers each has: one a network.
    fn feature_states(&self, batch: Batch) -> Vec<(String, usize)> {
        let networks = self.networks(batch);
        let size = |rows: u32| (rows * self.width()) as usize;
        let each = networks.iter();
        each.map(|of| (of.name(states::FEATURES), size(of.sequences() * of.length()))).collect()
    }

    /// Appends the head of every sequence at places of each image: from features to logits `[sequences * places, codebook]`.
    fn logits_at(&self, b: &mut Builder, batch: Batch, places: Places) -> Slot;
    /// Appends the head over rows that are at hand, one a place of each image: logits `[images * places, codebook]`.
    fn logits_of_rows(&self, b: &mut Builder, batch: Batch, rows: Slot, places: Places) -> Slot;
    /// Appends the embeddings of [`states::NEW_IDS`] as a shortcut is given them, before it projects them: `[images * new tokens,
    /// width]`, with positions where those are a part of them.
    fn embed_new_tokens(&self, b: &mut Builder, batch: Batch) -> Slot;
    /// What the states hold that say what is to be made, one condition an image.
    ///
    /// # Errors
    /// A sentence on a condition that is not of this family, out of range, or longer than the batch's.
    fn condition(&self, batch: Batch, conditions: &[Condition]) -> Result<Vec<Written>, String>;

    /// Appends the head at places of each image, guided where the batch is: logits `[images * places, codebook]`. Guidance goes
    /// before the head, which is linear: so one product does for both sequences.
    fn guided_logits(&self, b: &mut Builder, batch: Batch, places: Places) -> Slot {
        let networks = self.networks(batch);
        let sequences = |network: &dyn Network, b: &mut Builder, first| Sequences {
            features: network.features(b),
            first,
            length: network.length(),
            placement: network.placement(),
        };
        let [with, without] = match networks.as_slice() {
            [all] if batch.guided => {
                let first = batch.images * all.length();
                [0, first].map(|first| sequences(all.as_ref(), b, first))
            }
            [with, without] => [with, without].map(|network| sequences(network.as_ref(), b, 0)),
            _ => return self.logits_at(b, batch, places),
        };
        let (images, tokens, width) = (batch.images, self.tokens(), self.width());
        let y = b.temporary("guided", places.rows(images), width);
        let kernel = GuideRows {
            with,
            without,
            positions: places.list(b, images, tokens),
            y,
            images,
            tokens,
            masked: places.rows(1),
            first_masked: places.first(),
            width,
        };
        b.scope("head", |b| b.push(kernel));
        self.logits_of_rows(b, batch, y, places)
    }

    /// The head of every sequence at a range of its masked positions.
    fn logits(&self, b: &mut Builder, batch: Batch, masked: RowRange) -> Slot {
        self.logits_at(b, batch, masked.into())
    }

    /// Positions of an image that hold a token.
    fn tokens(&self) -> u32 {
        let [rows, columns] = self.grid();
        rows * columns
    }

    /// Height and width of a picture, in pixels.
    fn size(&self) -> [u32; 2] {
        self.grid().map(|tokens| tokens * self.tokenizer().factor())
    }

    /// The folder's parts, the transformer first.
    fn parts(&self) -> Vec<&'static str> {
        let shortcut = self.has_shortcut().then_some("shortcut");
        [self.part(), self.tokenizer().part()].into_iter().chain(shortcut).collect()
    }

    /// Appends the full model over all sequences.
    fn features(&self, b: &mut Builder, batch: Batch) {
        for network in self.networks(batch) {
            network.full(b, Keep::Nothing);
        }
    }
}

/// What a shortcut's first attention to the new tokens holds against each other: rows as wide as the shortcut is inside.
#[derive(Clone, Copy, Debug)]
pub struct Looks {
    /// Queries, a row of each position of the sequences `[sequences * length, width]`.
    pub query: Slot,
    /// Keys of each image: of the prompt's tokens that count as new at every step, then of the new tokens.
    pub key: Slot,
    /// Heads, each a part of the width.
    pub heads: u32,
    /// Of a row.
    pub width: u32,
    /// Tokens of the prompt among the keys.
    pub prompt: u32,
}

/// What goes from ids to features in programs of its own: all sequences of a batch, or one of several that differ in length.
pub trait Network {
    /// A program's name, different for every network of a run.
    fn name(&self, program: &str) -> String;
    /// Whether all its sequences are unconditional: steps without guidance do without it.
    fn is_unconditional(&self) -> bool {
        false
    }
    /// Sequences in it; those that are conditional come first.
    fn sequences(&self) -> u32;
    /// Rows of one sequence.
    fn length(&self) -> u32;
    /// The features `[sequences * length, width]`: what a full step leaves and a predictor moves on.
    fn features(&self, b: &mut Builder) -> Slot;
    /// Images whose tokens its sequences show: sequence s those of image `s % images`.
    fn images(&self) -> u32;
    /// Tokens of an image.
    fn tokens(&self) -> u32;
    /// The rows of a sequence that say what its image is of: its class, or its prompt.
    fn prompt(&self) -> RowRange;
    /// Where the tokens of an image stand in a sequence.
    fn placement(&self) -> ImagePlacement;
    /// Appends the full model, which also writes what is to be kept.
    fn full(&self, b: &mut Builder, keep: Keep);
    /// What [`Keep::Sum`] keeps, as large as the features.
    fn sum(&self, b: &mut Builder) -> Slot;
    /// Appends the model without its blocks, in whose place `added` goes onto the residual stream.
    fn ends(&self, b: &mut Builder, added: Slot);
    /// Appends what lists the `count` rows of each sequence whose best code has the lowest logit.
    fn choose(&self, b: &mut Builder, count: u32);
    /// Appends the model over the `rows` of each sequence that [`states::CHOSEN_ROWS`] lists, among kept
    /// keys and values of the others.
    fn partial(&self, b: &mut Builder, rows: Extent);
    /// Appends the model over the rows whose turn it is and those that have changed most, on top of [kept outputs](Keep::Outputs).
    fn adaptive(&self, b: &mut Builder, intervals: Intervals);
    /// Appends the learned shortcut, if there is one.
    fn shortcut(&self, b: &mut Builder);
    /// Appends what the learned shortcut's first attention to the new tokens holds against each other, if it has one.
    fn looks(&self, b: &mut Builder) -> Option<Looks>;
}

/// Refuses a size beyond what makes sense: 1 to `most`.
pub(crate) fn within(name: &str, value: u32, most: u32) -> Result<(), String> {
    match value {
        0 => Err(format!("`{name}` is 0")),
        v if v > most => Err(format!("`{name}` is {v}; at most {most} makes sense")),
        _ => Ok(()),
    }
}
