//! MaskGIT as a family: a transformer over a grid of tokens and a class, its shortcut, and an image tokenizer. Its generator of one
//! step is a MaskGIT whose pictures begin otherwise.

pub mod base;
pub mod one_step;
pub mod shortcut;

pub use base::Config;

use super::cache::Keep;
use super::family::{Batch, Condition, Family, Looks, Network, Places, Written, within};
use super::prompts::distance;
use super::states;
use super::tokenizer::Tokenizer;
use crate::kernels::masked_logits::FeatureRows;
use crate::kernels::{Extent, ImagePlacement, Intervals, RowRange, Slot};
use crate::program::Builder;

/// The architecture that `config.json` names.
pub const ARCHITECTURE: &str = "maskgit";

/// What `config.json` says of a MaskGIT.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Maskgit {
    /// Pixels along a side.
    pub image_size: u32,
    /// The transformer's sizes.
    #[serde(flatten)]
    pub transformer: Config,
    /// Class names in order of class; empty where classes are only numbered.
    #[serde(default)]
    pub labels: Vec<String>,
    /// The tokenizer's sizes.
    pub tokenizer: Tokenizer,
    /// The shortcut's sizes, where there is one.
    #[serde(default)]
    pub shortcut: Option<shortcut::Config>,
    /// What pictures begin with, where they are made in one step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_step: Option<one_step::Config>,
}

impl Maskgit {
    /// The class of a name or number.
    ///
    /// # Errors
    /// There is no such class; the sentence names the nearest ones, or the range.
    pub fn class(&self, wanted: &str) -> Result<u32, String> {
        let wanted = wanted.trim();
        let range = format!("classes are numbered 0 to {}", self.transformer.classes.saturating_sub(1));
        if let Ok(number) = wanted.parse::<u32>() {
            return if number < self.transformer.classes { Ok(number) } else { Err(range) };
        }
        if self.labels.is_empty() {
            return Err(format!("this model has no class names; {range}"));
        }
        let lower = wanted.to_lowercase();
        if let Some(class) = self.labels.iter().position(|label| label.to_lowercase() == lower) {
            return Ok(class as u32);
        }
        // A word of a name will do where only one name has it: `cat` for `cat face`.
        let with_word: Vec<usize> = (0..self.labels.len())
            .filter(|&i| self.labels[i].to_lowercase().split_whitespace().any(|word| word == lower))
            .collect();
        if let [class] = with_word[..] {
            return Ok(class as u32);
        }
        let mut near: Vec<&String> = self.labels.iter().collect();
        near.sort_by_key(|label| {
            let label = label.to_lowercase();
            label.split_whitespace().chain([label.as_str()]).map(|word| distance(word, &lower)).min()
        });
        near.truncate(3);
        let near: Vec<&str> = near.into_iter().map(String::as_str).collect();
        Err(format!("the nearest are: {}; {range}", near.join(", ")))
    }

    /// The name of a class, or its number.
    pub fn class_name(&self, class: u32) -> String {
        self.labels.get(class as usize).cloned().unwrap_or_else(|| format!("class {class}"))
    }
}

impl Family for Maskgit {
    fn architecture(&self) -> &'static str {
        ARCHITECTURE
    }

    fn part(&self) -> &'static str {
        ARCHITECTURE
    }

    fn grid(&self) -> [u32; 2] {
        [self.transformer.grid; 2]
    }

    fn codebook(&self) -> u32 {
        self.transformer.codebook
    }

    fn width(&self) -> u32 {
        self.transformer.hidden
    }

    fn layers(&self) -> u32 {
        self.transformer.depth
    }

    fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    fn has_shortcut(&self) -> bool {
        self.shortcut.is_some()
    }

    fn is_one_step(&self) -> bool {
        self.one_step.is_some()
    }

    fn begin(&self, seeds: &[u64]) -> Vec<u32> {
        let (tokens, codebook) = (self.tokens(), self.codebook());
        match &self.one_step {
            None => vec![codebook; seeds.len() * tokens as usize],
            Some(one_step) => seeds.iter().flat_map(|&seed| one_step.ids(tokens, codebook, seed)).collect(),
        }
    }

    fn check(&self) -> Result<(), String> {
        let t = &self.transformer;
        t.check()?;
        if let Some(one_step) = &self.one_step {
            one_step.check()?;
            if self.shortcut.is_some() {
                return Err("`one_step` leaves no steps to a `shortcut`; take one of them out".to_owned());
            }
        }
        if !self.labels.is_empty() && self.labels.len() != t.classes as usize {
            return Err(format!("{} labels for {} classes", self.labels.len(), t.classes));
        }
        self.tokenizer.check()?;
        let factor = self.tokenizer.factor();
        let pixels = t.grid * factor;
        if pixels != self.image_size {
            return Err(format!(
                "`image_size` is {}, but a grid of {} tokens of {factor} pixels makes {pixels}",
                self.image_size, t.grid
            ));
        }
        self.shortcut.as_ref().map_or(Ok(()), |shortcut| shortcut.check(t))
    }

    fn networks(&self, batch: Batch) -> Vec<Box<dyn Network + '_>> {
        vec![Box::new(WholeBatch { model: self, batch })]
    }

    fn logits_at(&self, b: &mut Builder, batch: Batch, places: Places) -> Slot {
        self.transformer.logits(b, batch, places)
    }

    fn logits_of_rows(&self, b: &mut Builder, batch: Batch, rows: Slot, places: Places) -> Slot {
        self.transformer.head(b, batch.images, batch.images, rows, FeatureRows::Gathered, places)
    }

    fn embed_new_tokens(&self, b: &mut Builder, batch: Batch) -> Slot {
        self.transformer.embed_new_tokens(b, batch)
    }

    /// Labels of the conditional sequences, then of the others.
    fn condition(&self, batch: Batch, conditions: &[Condition]) -> Result<Vec<Written>, String> {
        let t = &self.transformer;
        let label = |condition: &Condition| match condition {
            Condition::Class(None) => Ok(t.unconditional_id()),
            Condition::Class(Some(class)) => self.class(&class.to_string()).map(|class| t.class_id(class)),
            Condition::Prompt { .. } => Err("the model is of classes and takes no prompt".to_owned()),
        };
        let mut labels: Vec<u32> = conditions.iter().map(label).collect::<Result<_, _>>()?;
        labels.resize(batch.sequences() as usize, t.unconditional_id());
        Ok(vec![(states::LABELS.to_owned(), labels)])
    }
}

/// All sequences of a batch: they are of one length.
struct WholeBatch<'a> {
    model: &'a Maskgit,
    batch: Batch,
}

impl Network for WholeBatch<'_> {
    fn name(&self, program: &str) -> String {
        program.to_owned()
    }

    fn sequences(&self) -> u32 {
        self.batch.sequences()
    }

    fn length(&self) -> u32 {
        self.model.transformer.length()
    }

    fn features(&self, b: &mut Builder) -> Slot {
        self.model.transformer.features_state(b, self.batch)
    }

    fn images(&self) -> u32 {
        self.batch.images
    }

    fn tokens(&self) -> u32 {
        self.model.transformer.tokens()
    }

    /// The class token stands at the end.
    fn prompt(&self) -> RowRange {
        RowRange { first: self.model.transformer.tokens(), count: 1 }
    }

    fn placement(&self) -> ImagePlacement {
        ImagePlacement::PLAIN
    }

    fn full(&self, b: &mut Builder, keep: Keep) {
        let t = &self.model.transformer;
        match &self.model.one_step {
            // Which has no steps to keep anything for.
            Some(one_step) => t.features_of(b, self.batch, Some(one_step.noise as f32)),
            None => t.features_and(b, self.batch, keep),
        }
    }

    fn sum(&self, b: &mut Builder) -> Slot {
        self.model.transformer.sum(b, self.batch)
    }

    fn ends(&self, b: &mut Builder, added: Slot) {
        self.model.transformer.ends(b, self.batch, added);
    }

    fn choose(&self, b: &mut Builder, count: u32) {
        self.model.transformer.choose_rows(b, self.batch, count);
    }

    fn partial(&self, b: &mut Builder, rows: Extent) {
        self.model.transformer.refresh_rows(b, self.batch, rows);
    }

    fn adaptive(&self, b: &mut Builder, intervals: Intervals) {
        self.model.transformer.adapt_rows(b, self.batch, intervals);
    }

    fn shortcut(&self, b: &mut Builder) {
        if let Some(shortcut) = &self.model.shortcut {
            shortcut.predict(b, &self.model.transformer, self.batch);
        }
    }

    fn looks(&self, b: &mut Builder) -> Option<Looks> {
        self.model.shortcut.as_ref()?.looks(b, &self.model.transformer, self.batch)
    }
}

impl Config {
    /// Whether the sizes go together, and are such as kernels take.
    ///
    /// # Errors
    /// A sentence on the first that does not.
    pub fn check(&self) -> Result<(), String> {
        within("grid", self.grid, 256)?;
        within("hidden", self.hidden, 1 << 16)?;
        within("depth", self.depth, 512)?;
        within("heads", self.heads, 1024)?;
        within("mlp", self.mlp, 1 << 18)?;
        within("codebook", self.codebook, 1 << 20)?;
        within("classes", self.classes, 1 << 20)?;
        if !self.hidden.is_multiple_of(self.heads) {
            return Err(format!("`hidden` {} is not a multiple of `heads` {}", self.hidden, self.heads));
        }
        if self.hidden / self.heads > 1024 {
            return Err(format!("heads of width {} are wider than 1024", self.hidden / self.heads));
        }
        Ok(())
    }
}
