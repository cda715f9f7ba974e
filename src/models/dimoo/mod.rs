//! Lumina-DiMOO as a family: a transformer over text and image tokens, its shortcut, and an image tokenizer.

pub mod base;
mod block;
pub mod shortcut;

pub use base::{Branch, Config, Sequence};

use super::cache::Keep;
use super::family::{Batch, Condition, Family, Looks, Network, Places, Written, within};
use super::prompts::DIMOO_TEMPLATE;
use super::states;
use super::tokenizer::{self, Tokenizer};
use crate::kernels::{Extent, ImagePlacement, Intervals, RowRange, Slot, Symbol};
use crate::program::Builder;

/// The architecture that `config.json` names.
pub const ARCHITECTURE: &str = "lumina-dimoo";

/// What `config.json` says of a Lumina-DiMOO.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Dimoo {
    /// The transformer's sizes.
    pub transformer: Config,
    /// The image tokenizer's sizes.
    #[serde(with = "tokenizer::amused_by_default")]
    pub tokenizer: Tokenizer,
    /// The shortcut's sizes, where there is one.
    #[serde(default)]
    pub shortcut: Option<shortcut::Config>,
    /// What a prompt is put into, at `{prompt}`.
    #[serde(default = "official_template")]
    pub prompt_template: String,
    /// Words that the model knows, by kind (things, colours, ...), where it was trained on few; nothing where it knows any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<Kind>,
    /// Whether white space around a prompt is left out. The official code keeps it, and it changes the picture.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub trim_prompt: bool,
}

/// Words of one kind.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Kind {
    /// As a person would name it, in the plural.
    pub kind: String,
    /// The words, the most usual first.
    pub words: Vec<String>,
}

fn yes() -> bool {
    true
}

fn official_template() -> String {
    DIMOO_TEMPLATE.to_owned()
}

impl Dimoo {
    /// The sequences of a batch: with prompts and, for guidance, without.
    pub fn sequences(&self, batch: Batch) -> Vec<Sequence> {
        let branches = [Branch::Conditional, Branch::Unconditional].into_iter().zip(batch.prompt);
        let sequence = |(branch, tokens)| self.transformer.sequence(branch, tokens).of_images(batch.images);
        branches.take(if batch.guided { 2 } else { 1 }).map(sequence).collect()
    }
}

impl Family for Dimoo {
    fn architecture(&self) -> &'static str {
        ARCHITECTURE
    }

    fn part(&self) -> &'static str {
        "dimoo"
    }

    fn grid(&self) -> [u32; 2] {
        self.transformer.grid
    }

    fn codebook(&self) -> u32 {
        self.transformer.codebook
    }

    fn width(&self) -> u32 {
        self.transformer.d_model
    }

    fn layers(&self) -> u32 {
        self.transformer.layers
    }

    fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    fn has_shortcut(&self) -> bool {
        self.shortcut.is_some()
    }

    fn check(&self) -> Result<(), String> {
        let t = &self.transformer;
        t.check()?;
        within("text_vocab", t.text_vocab, 1 << 24)?;
        if [t.mask, t.newline, t.boa, t.boi, t.eoi, t.eoa].iter().any(|&id| id >= t.text_vocab) {
            return Err(format!("a special token lies beyond the {} text ids", t.text_vocab));
        }
        if let Some(shortcut) = &self.shortcut {
            shortcut.check(t)?;
        }
        self.tokenizer.check()?;
        if !self.prompt_template.contains("{prompt}") {
            return Err("`prompt_template` has no {prompt}".to_owned());
        }
        Ok(())
    }

    fn networks(&self, batch: Batch) -> Vec<Box<dyn Network + '_>> {
        let of = |sequence| -> Box<dyn Network + '_> { Box::new(OneSequence { model: self, sequence }) };
        self.sequences(batch).into_iter().map(of).collect()
    }

    fn logits_at(&self, b: &mut Builder, batch: Batch, places: Places) -> Slot {
        self.transformer.logits_of(b, &self.sequences(batch), places)
    }

    fn logits_of_rows(&self, b: &mut Builder, batch: Batch, rows: Slot, places: Places) -> Slot {
        self.transformer.logits_of_rows(b, batch.images, rows, places)
    }

    /// Without the prompt, which the shortcut of the conditional sequence counts among the new tokens at every step.
    fn embed_new_tokens(&self, b: &mut Builder, batch: Batch) -> Slot {
        let sequence =
            self.transformer.sequence(Branch::Conditional, batch.prompt[0]).of_images(batch.images);
        let of = |images| Extent::symbolic(images, Symbol::NewTokens, self.tokens());
        self.transformer.embed(b, &sequence, 0, of(1), states::NEW_IDS, of(batch.images), None)
    }

    /// A template for each sequence and image.
    fn condition(&self, batch: Batch, conditions: &[Condition]) -> Result<Vec<Written>, String> {
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for condition in conditions {
            let Condition::Prompt { ids, without: none } = condition else {
                return Err("the model takes a prompt, not a class".to_owned());
            };
            let lengths = condition.prompt_tokens();
            if lengths != batch.prompt {
                let [[made, _], [given, _]] = [batch.prompt, lengths];
                return Err(format!(
                    "this session was made for a prompt of {made} tokens, not {given}; make another to use it"
                ));
            }
            with.push(ids.as_slice());
            without.push(none.as_slice());
        }
        let templates = [with, without].map(|prompts| self.transformer.templates(prompts));
        let sequences = self.sequences(batch).into_iter().zip(templates);
        Ok(sequences.map(|(sequence, template)| (sequence.state(states::TEMPLATE), template)).collect())
    }
}

/// The sequences of one branch: prompts differ in length from what stands for none.
struct OneSequence<'a> {
    model: &'a Dimoo,
    sequence: Sequence,
}

impl Network for OneSequence<'_> {
    fn name(&self, program: &str) -> String {
        self.sequence.state(program)
    }

    fn is_unconditional(&self) -> bool {
        self.sequence.branch == Branch::Unconditional
    }

    fn sequences(&self) -> u32 {
        self.sequence.images
    }

    fn length(&self) -> u32 {
        self.sequence.length
    }

    fn features(&self, b: &mut Builder) -> Slot {
        self.model.transformer.features_state(b, &self.sequence)
    }

    fn images(&self) -> u32 {
        self.sequence.images
    }

    fn tokens(&self) -> u32 {
        self.model.transformer.tokens()
    }

    /// What stands before the first image token.
    fn prompt(&self) -> RowRange {
        RowRange::all(self.sequence.start)
    }

    fn placement(&self) -> ImagePlacement {
        self.model.transformer.placement(&self.sequence)
    }

    fn full(&self, b: &mut Builder, keep: Keep) {
        self.model.transformer.features_of_and(b, &self.sequence, keep);
    }

    fn sum(&self, b: &mut Builder) -> Slot {
        self.model.transformer.sum(b, &self.sequence)
    }

    fn ends(&self, b: &mut Builder, added: Slot) {
        self.model.transformer.ends(b, &self.sequence, added);
    }

    fn choose(&self, b: &mut Builder, count: u32) {
        self.model.transformer.choose_rows(b, &self.sequence, count);
    }

    fn partial(&self, b: &mut Builder, rows: Extent) {
        self.model.transformer.refresh_rows(b, &self.sequence, rows);
    }

    fn adaptive(&self, b: &mut Builder, intervals: Intervals) {
        self.model.transformer.adapt_rows(b, &self.sequence, intervals);
    }

    fn shortcut(&self, b: &mut Builder) {
        if let Some(shortcut) = &self.model.shortcut {
            shortcut.predict(b, &self.model.transformer, &self.sequence);
        }
    }

    fn looks(&self, b: &mut Builder) -> Option<Looks> {
        self.model.shortcut.as_ref()?.looks(b, &self.model.transformer, &self.sequence)
    }
}
