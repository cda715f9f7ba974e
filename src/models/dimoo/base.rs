//! Lumina-DiMOO: a bidirectional LLaMA over one sequence of text and image tokens (the LLaDA-8B line).
//!
//! LLaDA: arXiv 2502.09992; Lumina-DiMOO: arXiv 2510.06308; official tensor names. A sequence is the prompt, then
//! `BOA BOI`, rows of image tokens with a newline after each, and `EOI EOA`. Prompts differ in length, so the conditional
//! and the unconditional sequence are programs of their own, one sequence each, over one set of image tokens: those
//! stand in the states as codes of the grid ([`states::IDS`] and the rest), and a template per sequence says where they go.

use super::block::{Block, EPS, check_heads};
use crate::kernels::embed_sequence::{EmbedSequence, IMAGE};
use crate::kernels::masked_logits::{FeatureRows, MaskedLogits};
use crate::kernels::{Extent, ImagePlacement, Intervals, RowRange, Slot};
use crate::models::cache::{self, Caches, Keep, Layers};
use crate::models::{Places, states};
use crate::program::{Builder, Element, Layer};

/// Sizes and special tokens of a Lumina-DiMOO.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Config {
    /// Width of the residual stream.
    pub d_model: u32,
    /// Attention heads; their width is `d_model / heads`.
    pub heads: u32,
    /// Transformer layers.
    pub layers: u32,
    /// Width of the feed-forward layer.
    pub mlp: u32,
    /// Ids before the first image code.
    pub text_vocab: u32,
    /// Codes of the tokenizer: their ids follow the text's.
    pub codebook: u32,
    /// Id of a masked token.
    pub mask: u32,
    /// Id after each row of image tokens.
    pub newline: u32,
    /// Id that begins an answer.
    pub boa: u32,
    /// Id that begins an image.
    pub boi: u32,
    /// Id that ends an image.
    pub eoi: u32,
    /// Id that ends an answer.
    pub eoa: u32,
    /// Rows and columns of image tokens.
    pub grid: [u32; 2],
}

/// Which of the two sequences of a guided run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Branch {
    /// With the prompt.
    Conditional,
    /// With the prompt that stands for none.
    Unconditional,
}

/// A sequence: what programs are built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Which one; it has its own states.
    pub branch: Branch,
    /// Leading tokens that a shortcut takes for new at every step: all of the prompt, or none of it.
    pub prompt: u32,
    /// Where the first image token stands.
    pub start: u32,
    /// Tokens in all.
    pub length: u32,
    /// Images that have such a sequence each: they lie one after the other in its states.
    pub images: u32,
}

impl Sequence {
    /// The same for so many images.
    #[must_use]
    pub fn of_images(self, images: u32) -> Self {
        Self { images, ..self }
    }

    /// Rows of all images.
    pub fn rows(&self) -> u32 {
        self.images * self.length
    }

    /// The sequence's own state of that name.
    pub fn state(&self, name: &str) -> String {
        match self.branch {
            Branch::Conditional => name.to_owned(),
            Branch::Unconditional => format!("{name}_uncond"),
        }
    }
}

impl Config {
    /// The official model at 1024 x 1024 pixels.
    pub const OFFICIAL: Self = Self {
        d_model: 4096,
        heads: 32,
        layers: 32,
        mlp: 12_288,
        text_vocab: 126_356,
        codebook: 8192,
        mask: 126_336,
        newline: 126_084,
        boa: 126_354,
        boi: 126_349,
        eoi: 126_350,
        eoa: 126_355,
        grid: [64, 64],
    };

    /// Whether the sizes go together.
    ///
    /// # Errors
    /// A sentence on the first that does not.
    pub fn check(&self) -> Result<(), String> {
        let [rows, columns] = self.grid;
        let sizes = [
            ("d_model", self.d_model, 1 << 16),
            ("heads", self.heads, 1024),
            ("layers", self.layers, 512),
            ("mlp", self.mlp, 1 << 18),
            ("codebook", self.codebook, 1 << 20),
            ("grid", rows, 1024),
            ("grid", columns, 1024),
        ];
        for (name, value, most) in sizes {
            if value == 0 || value > most {
                return Err(format!("`{name}` is {value}; 1 to {most} makes sense"));
            }
        }
        if self.text_vocab > 1 << 24 {
            return Err(format!("`text_vocab` is {}; at most {} makes sense", self.text_vocab, 1 << 24));
        }
        check_heads("d_model", self.d_model, self.heads)
    }

    /// Ids in all.
    pub fn vocabulary(&self) -> u32 {
        self.text_vocab + self.codebook
    }

    /// What [`states::IDS`] holds at a masked position: the first number that is no code.
    pub fn mask_code(&self) -> u32 {
        self.codebook
    }

    /// The sequence of a prompt of `prompt` tokens, for one image.
    pub fn sequence(&self, branch: Branch, prompt: u32) -> Sequence {
        let [rows, columns] = self.grid;
        Sequence {
            branch,
            prompt: if branch == Branch::Conditional { prompt } else { 0 },
            start: prompt + 2,
            length: prompt + 2 + rows * (columns + 1) + 2,
            images: 1,
        }
    }

    /// What [`states::TEMPLATE`] holds for a prompt: ids, and image tokens by index.
    pub fn template(&self, prompt: &[u32]) -> Vec<u32> {
        let [rows, columns] = self.grid;
        let mut template = prompt.to_vec();
        template.extend([self.boa, self.boi]);
        for row in 0..rows {
            template.extend((0..columns).map(|column| IMAGE + row * columns + column));
            template.push(self.newline);
        }
        template.extend([self.eoi, self.eoa]);
        template
    }

    /// The templates of a batch: a prompt for each image.
    pub fn templates<'a>(&self, prompts: impl IntoIterator<Item = &'a [u32]>) -> Vec<u32> {
        let of_image = |(image, prompt): (usize, &[u32])| {
            let first = image as u32 * self.tokens();
            let moved = move |word: u32| if word < IMAGE { word } else { word + first };
            self.template(prompt).into_iter().map(moved)
        };
        prompts.into_iter().enumerate().flat_map(of_image).collect()
    }

    /// The ids of a template's sequence, given the codes of its image tokens.
    pub fn ids(&self, template: &[u32], codes: &[u32]) -> Vec<u32> {
        let id = |&word: &u32| match word.checked_sub(IMAGE).map(|token| codes.get(token as usize)) {
            None => word,
            Some(Some(&code)) if code < self.codebook => self.text_vocab + code,
            Some(_) => self.mask,
        };
        template.iter().map(id).collect()
    }

    pub(super) fn placement(&self, sequence: &Sequence) -> ImagePlacement {
        ImagePlacement { start: sequence.start, columns: self.grid[1] }
    }

    pub(super) fn features_state(&self, b: &mut Builder, sequence: &Sequence) -> Slot {
        b.state(&sequence.state(states::FEATURES), sequence.rows(), self.d_model, Element::F32)
    }

    /// Embeds, of each image, `entries` rows: the first `prefix` of its template, then the first of `codes` (a state of the
    /// images' tokens). Of the rows of all images, those of a list if there is one.
    pub(super) fn embed(
        &self,
        b: &mut Builder,
        sequence: &Sequence,
        prefix: u32,
        entries: Extent,
        codes: &str,
        rows: Extent,
        list: Option<Slot>,
    ) -> Slot {
        let x = b.temporary("embedding", rows, self.d_model);
        let shape = [self.vocabulary() as usize, self.d_model as usize];
        let table = b.matrix("dimoo.model.transformer.wte.weight", &shape, None);
        let template =
            b.state(&sequence.state(states::TEMPLATE), sequence.images, sequence.length, Element::U32);
        let codes = b.state(codes, sequence.images, self.tokens(), Element::U32);
        for part in b.parts(table) {
            let kernel = EmbedSequence {
                template,
                codes,
                list,
                table: part.slot,
                format: b.format(part.slot),
                x,
                rows,
                entries,
                prefix,
                length: sequence.length,
                tokens: self.tokens(),
                width: self.d_model,
                vocabulary: self.vocabulary(),
                held: RowRange { first: part.first, count: part.rows },
                first_code: self.text_vocab,
                codebook: self.codebook,
                mask: self.mask,
            };
            b.push(kernel);
        }
        x
    }

    /// Appends the full model over one sequence: from [`states::IDS`] and its template to its features.
    pub fn features_of(&self, b: &mut Builder, sequence: &Sequence) {
        self.features_of_and(b, sequence, Keep::Nothing);
    }

    /// The same, keeping something for steps that go on from it.
    pub fn features_of_and(&self, b: &mut Builder, sequence: &Sequence, keep: Keep) {
        let features = self.features_state(b, sequence);
        self.transformer(b, sequence, Layers::Full(keep), features);
    }

    /// Appends ML-Cache's choice: which `count` rows the next step recomputes. They are those whose best image code has
    /// the lowest logit.
    pub fn choose_rows(&self, b: &mut Builder, sequence: &Sequence, count: u32) {
        let (features, head) = (self.features_state(b, sequence), self.head(b));
        let list = self.with_caches(sequence, |caches| caches.list(b, Extent::fixed(count)));
        cache::choose_lowest(b, features, head, None, [sequence.images, count], list);
    }

    /// Appends a partial step: the chosen `rows` of each image's sequence pass through the model, among the cached keys and values
    /// of the others, and replace their part of the caches and of the features.
    pub fn refresh_rows(&self, b: &mut Builder, sequence: &Sequence, rows: Extent) {
        let features = self.features_state(b, sequence);
        let list = self.with_caches(sequence, |caches| caches.list(b, rows));
        let y = b.temporary("features", rows.times(sequence.images), self.d_model);
        self.transformer(b, sequence, Layers::Listed(list), y);
        b.scope("scatter", |b| b.scatter(y, list, features));
    }

    /// Appends an adaptive step: each layer computes the rows whose turn it is or that have changed most, on top of
    /// [kept outputs](Keep::Outputs).
    pub fn adapt_rows(&self, b: &mut Builder, sequence: &Sequence, intervals: Intervals) {
        let features = self.features_state(b, sequence);
        self.transformer(b, sequence, Layers::Adaptive(intervals), features);
    }

    /// What [`Keep::Sum`] keeps.
    pub(super) fn sum(&self, b: &mut Builder, sequence: &Sequence) -> Slot {
        self.with_caches(sequence, |caches| caches.sum(b))
    }

    /// Appends the model with `added` in place of what its blocks add to the residual stream.
    pub fn ends(&self, b: &mut Builder, sequence: &Sequence, added: Slot) {
        let features = self.features_state(b, sequence);
        let x = self.rows_embedded(b, sequence, features, None);
        b.combine(1.0, added, 1.0, x);
        self.last_norm(b, x, features);
    }

    fn with_caches<R>(&self, sequence: &Sequence, then: impl FnOnce(&Caches<'_>) -> R) -> R {
        let name = |name: &str| sequence.state(name);
        then(&Caches {
            name: &name,
            sequences: sequence.images,
            length: sequence.length,
            width: self.d_model,
        })
    }

    /// The rows of `features`, which are all of a sequence or those of a list, embedded.
    fn rows_embedded(
        &self,
        b: &mut Builder,
        sequence: &Sequence,
        features: Slot,
        list: Option<Slot>,
    ) -> Slot {
        let (length, rows) = (sequence.length, b.rows_of(features));
        let entries = Extent::fixed(length);
        b.scope("embed", |b| self.embed(b, sequence, length, entries, states::IDS, rows, list))
    }

    fn last_norm(&self, b: &mut Builder, x: Slot, features: Slot) {
        let weight = b.vector("dimoo.model.transformer.ln_f.weight", self.d_model);
        b.rms_norm_into(x, weight, EPS, None, features);
    }

    /// All rows of a sequence, or those of a list, through every layer and the last norm.
    fn transformer(&self, b: &mut Builder, sequence: &Sequence, layers: Layers, features: Slot) {
        let x = self.rows_embedded(b, sequence, features, layers.list());
        let block = |layer| Block {
            name: format!("dimoo.model.transformer.blocks.{layer}"),
            sequences: sequence.images,
            length: sequence.length,
            width: self.d_model,
            heads: self.heads,
            mlp: self.mlp,
        };
        self.with_caches(sequence, |caches| cache::stack(b, x, self.layers, layers, caches, block));
        self.last_norm(b, x, features);
    }

    /// The image codes' rows of the head.
    fn head(&self, b: &mut Builder) -> Layer {
        let name = "dimoo.model.transformer.ff_out";
        b.layer_part(name, self.vocabulary(), self.d_model, self.text_vocab, self.codebook)
    }

    /// Appends the head at places of each image, or a range of its masked positions: logits `[sequences * images * places,
    /// codebook]`. All sequences are of the same images. Only the image codes' rows of the head are loaded.
    pub fn logits_of(&self, b: &mut Builder, sequences: &[Sequence], places: impl Into<Places>) -> Slot {
        let places = places.into();
        let images = sequences.first().map_or(1, |sequence| sequence.images);
        let rows = places.rows(sequences.len() as u32 * images);
        let logits = b.temporary("logits", rows, self.codebook);
        for (index, sequence) in sequences.iter().enumerate() {
            let features = self.features_state(b, sequence);
            let rows = FeatureRows::Placed { length: sequence.length, placement: self.placement(sequence) };
            self.head_into(b, images, (features, rows), places, (logits, index as u32 * images));
        }
        logits
    }

    /// The same over rows that are at hand, one a place of each image.
    pub(super) fn logits_of_rows(&self, b: &mut Builder, images: u32, rows: Slot, places: Places) -> Slot {
        let logits = b.temporary("logits", places.rows(images), self.codebook);
        self.head_into(b, images, (rows, FeatureRows::Gathered), places, (logits, 0));
        logits
    }

    /// From features of a sequence an image to logits, of which those of so many sequences stand before.
    fn head_into(
        &self,
        b: &mut Builder,
        images: u32,
        (features, rows): (Slot, FeatureRows),
        places: Places,
        (logits, first_sequence): (Slot, u32),
    ) {
        let tokens = self.tokens();
        let positions = places.list(b, images, tokens);
        let head = self.head(b).weight();
        for part in b.parts(head) {
            let kernel = MaskedLogits {
                features,
                positions,
                table: part.slot,
                format: b.format(part.slot),
                bias: None,
                logits,
                sequences: images,
                images,
                tokens,
                rows,
                first_sequence,
                masked: places.rows(1),
                hidden: self.d_model,
                codebook: self.codebook,
                codes: RowRange { first: part.first, count: part.rows },
                first_masked: places.first(),
            };
            b.scope("head", |b| b.push(kernel));
        }
    }

    /// Image tokens.
    pub fn tokens(&self) -> u32 {
        self.grid[0] * self.grid[1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Quantization;
    use crate::models::{build, parameters, tensors};
    use crate::program::{BINDING_BYTES, Formats};

    #[test]
    fn the_official_model_has_eight_billion_parameters() {
        let config = Config::OFFICIAL;
        assert_eq!(config.check(), Ok(()));
        assert!(Config { heads: 0, ..config }.check().is_err());
        assert!(Config { heads: 4096, ..config }.check().is_err());
        assert!(Config { grid: [0, 64], ..config }.check().is_err());
        let sequence = config.sequence(Branch::Conditional, 50);
        assert_eq!(sequence.length, 50 + 4164);
        let program = build("full", Formats::F32, |b| {
            config.features_of(b, &sequence);
            config.logits_of(b, &[sequence], RowRange::all(config.tokens()));
        });
        assert_eq!(parameters(&tensors([&program.unwrap()])), 8_081_805_312);
    }

    /// At 1024 x 1024 a default binding (128 MiB) holds neither the table nor a feed-forward
    /// activation nor, in f32, a feed-forward weight.
    #[test]
    fn nothing_of_the_official_model_exceeds_a_default_binding() {
        let config = Config { layers: 1, ..Config::OFFICIAL };
        let sequence = config.sequence(Branch::Conditional, 200);
        for (half, quantize) in [
            (false, None),
            (true, None),
            (true, Some(Quantization::Int8)),
            (true, Some(Quantization::Int4 { group: 64 })),
        ] {
            let program = build("full", Formats { half, quantize }, |b| {
                config.features_of_and(b, &sequence, Keep::KeysAndValues);
                config.choose_rows(b, &sequence, 400);
                config.refresh_rows(b, &sequence, Extent::fixed(400));
                config.features_of_and(b, &sequence, Keep::Outputs);
                let intervals = Intervals {
                    prompt: 9,
                    image: 2,
                    first: 0,
                    count: 202,
                    length: sequence.length,
                    changed: 1000,
                };
                config.adapt_rows(b, &sequence, intervals);
                config.features_of_and(b, &sequence, Keep::Sum);
                let sum = config.sum(b, &sequence);
                config.ends(b, &sequence, sum);
            });
            let program = program.unwrap();
            for tensor in program.tensors() {
                assert!(tensor.bytes() <= BINDING_BYTES, "{}: {} bytes", tensor.name, tensor.bytes());
            }
            // Every row of the table is somewhere, once.
            let mut next = 0;
            for spec in program.weights().filter(|spec| spec.name.ends_with("wte.weight")) {
                assert_eq!(spec.kept_rows().start, next);
                next = spec.kept_rows().end;
            }
            assert_eq!(next, config.vocabulary() as usize);
        }
    }

    #[test]
    fn a_template_places_codes_where_the_head_looks_for_them() {
        let config = Config { grid: [3, 5], ..Config::OFFICIAL };
        let prompt = [7, 8, 9];
        let template = config.template(&prompt);
        let sequence = config.sequence(Branch::Unconditional, 3);
        assert_eq!(template.len(), sequence.length as usize);
        let codes: Vec<u32> =
            (0..15).map(|token| if token == 4 { config.mask_code() } else { token }).collect();
        let ids = config.ids(&template, &codes);
        for (token, &code) in codes.iter().enumerate() {
            let id = if token == 4 { config.mask } else { config.text_vocab + code };
            assert_eq!(ids[config.placement(&sequence).row(token as u32) as usize], id, "token {token}");
        }
        assert_eq!(ids[..5], [7, 8, 9, config.boa, config.boi]);
        assert_eq!(ids.iter().filter(|&&id| id == config.newline).count(), 3);
    }
}
