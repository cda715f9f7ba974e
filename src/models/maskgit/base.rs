//! MaskGIT: a bidirectional transformer over a grid of image tokens and one class token at the end.
//!
//! Chang et al. 2022 (arXiv 2202.04200), in the form of valeoai's PyTorch port, whose tensor names are used as they
//! are. Try it: `migm generate --class fox`.

use crate::kernels::attention::Operand;
use crate::kernels::linear::Activation;
use crate::kernels::masked_logits::{FeatureRows, MaskedLogits};
use crate::kernels::{Extent, Intervals, RowRange, Slot, Symbol};
use crate::kernels::{embed_rows::EmbedRows, embed_tokens::EmbedTokens};
use crate::models::cache::{self, Caches, Keep, KeysAndValues, Layers, Modules};
use crate::models::{Batch, Places, states};
use crate::program::{Builder, Element, Layer, Layout, Onto};

/// Sizes of a MaskGIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Config {
    /// Tokens along a side of the grid.
    pub grid: u32,
    /// Width of the residual stream.
    pub hidden: u32,
    /// Transformer layers.
    pub depth: u32,
    /// Attention heads; their width is `hidden / heads`.
    pub heads: u32,
    /// Width of the feed-forward layer.
    pub mlp: u32,
    /// Codes of the tokenizer.
    pub codebook: u32,
    /// Classes.
    pub classes: u32,
}

/// Layer normalisation inside the transformer: PyTorch's default.
const EPS: f32 = 1e-5;
/// Layer normalisation of the first and last layer, as the port sets it.
const OUTER_EPS: f32 = 1e-12;

impl Config {
    /// The official 512-pixel model.
    pub const OFFICIAL_512: Self =
        Self { grid: 32, hidden: 768, depth: 24, heads: 16, mlp: 3072, codebook: 1024, classes: 1000 };
    /// The official 256-pixel model.
    pub const OFFICIAL_256: Self = Self { grid: 16, ..Self::OFFICIAL_512 };

    /// Image tokens plus the class token.
    pub fn length(&self) -> u32 {
        self.tokens() + 1
    }

    /// Codes, the mask, the classes, and the dropped class.
    pub fn vocabulary(&self) -> u32 {
        self.codebook + self.classes + 2
    }

    /// The id of a masked position.
    pub fn mask_id(&self) -> u32 {
        self.codebook
    }

    /// The id of a class.
    pub fn class_id(&self, class: u32) -> u32 {
        self.codebook + 1 + class
    }

    /// The id in place of a class for the unconditional half.
    pub fn unconditional_id(&self) -> u32 {
        self.codebook + 1 + self.classes
    }

    /// The token table, `[vocabulary, hidden]`, tied to the head.
    pub(super) fn token_table(&self, b: &mut Builder) -> Slot {
        let shape = [self.vocabulary() as usize, self.hidden as usize];
        b.weight("maskgit.tok_emb.weight", &shape, Layout::Matrix)
    }

    /// The position table, `[length, hidden]`.
    pub(super) fn position_table(&self, b: &mut Builder) -> Slot {
        let shape = [1, self.length() as usize, self.hidden as usize];
        b.weight("maskgit.pos_emb", &shape, Layout::Dense)
    }

    pub(super) fn features_state(&self, b: &mut Builder, batch: Batch) -> Slot {
        b.state(states::FEATURES, batch.sequences() * self.length(), self.hidden, Element::F32)
    }

    /// Embeds all rows of all sequences, or those of a list; with noise, if any, in what image tokens are embedded as.
    fn embed(
        &self,
        b: &mut Builder,
        batch: Batch,
        rows: Extent,
        list: Option<Slot>,
        noise: Option<f32>,
    ) -> Slot {
        let x = b.temporary("embedding", rows, self.hidden);
        let table = self.token_table(b);
        let kernel = EmbedTokens {
            ids: b.state(states::IDS, batch.images, self.tokens(), Element::U32),
            labels: b.state(states::LABELS, batch.sequences(), 1, Element::U32),
            table,
            format: b.format(table),
            position: self.position_table(b),
            x,
            list,
            noise: noise.map(|noise| (noise, b.state(states::SEEDS, batch.images, 2, Element::U32))),
            images: batch.images,
            rows,
            tokens: self.tokens(),
            width: self.hidden,
            vocabulary: self.vocabulary(),
        };
        b.push(kernel);
        x
    }

    /// What was just revealed, embedded with its positions `[images * new tokens, hidden]`: one set for both halves of a guided batch.
    pub(super) fn embed_new_tokens(&self, b: &mut Builder, batch: Batch) -> Slot {
        let tokens = self.tokens();
        let rows = Extent::symbolic(batch.images, Symbol::NewTokens, tokens);
        let x = b.temporary("embedding", rows, self.hidden);
        let table = self.token_table(b);
        let kernel = EmbedRows {
            ids: b.state(states::NEW_IDS, batch.images, tokens, Element::U32),
            positions: b.state(states::NEW_POSITIONS, batch.images, tokens, Element::U32),
            table,
            format: b.format(table),
            position: self.position_table(b),
            x,
            images: batch.images,
            capacity: tokens,
            entries: Extent::symbolic(1, Symbol::NewTokens, tokens),
            width: self.hidden,
            vocabulary: self.vocabulary(),
            length: self.length(),
        };
        b.push(kernel);
        x
    }

    /// LN, Linear, GELU, LN, Linear (dropouts take indices 1 and 5 of the official Sequential).
    fn first_layer(&self, b: &mut Builder, x: Slot) -> Slot {
        let norm = b.norm("maskgit.first_layer.0", self.hidden);
        let h = b.layer_norm(x, norm, OUTER_EPS);
        let expand = b.layer("maskgit.first_layer.2", self.hidden, self.hidden);
        let h = b.linear_with(h, expand, Activation::Gelu);
        let norm = b.norm("maskgit.first_layer.4", self.hidden);
        let h = b.layer_norm(h, norm, OUTER_EPS);
        let project = b.layer("maskgit.first_layer.6", self.hidden, self.hidden);
        b.linear(h, project)
    }

    /// LN, Linear, GELU, LN: its output is the feature that shortcuts predict.
    fn last_layer(&self, b: &mut Builder, x: Slot, features: Slot) {
        let norm = b.norm("maskgit.last_layer.0", self.hidden);
        let h = b.layer_norm(x, norm, OUTER_EPS);
        let project = b.layer("maskgit.last_layer.2", self.hidden, self.hidden);
        let h = b.linear_with(h, project, Activation::Gelu);
        let norm = b.norm("maskgit.last_layer.4", self.hidden);
        b.layer_norm_into(h, norm, OUTER_EPS, None, features);
    }

    /// All rows of all sequences, or those of a list, up to the first block; with noise, if any, in what tokens are embedded as.
    fn stem(
        &self,
        b: &mut Builder,
        batch: Batch,
        rows: Extent,
        list: Option<Slot>,
        noise: Option<f32>,
    ) -> Slot {
        let x = b.scope("embed", |b| self.embed(b, batch, rows, list, noise));
        b.scope("first_layer", |b| self.first_layer(b, x))
    }

    /// Rows through the whole network into `features`.
    fn transformer(&self, b: &mut Builder, batch: Batch, layers: Layers, noise: Option<f32>, features: Slot) {
        let rows = b.rows_of(features);
        let x = self.stem(b, batch, rows, layers.list(), noise);
        let sequences = batch.sequences();
        cache::stack(b, x, self.depth, layers, &self.caches(batch), |layer| Block {
            config: self,
            name: format!("maskgit.transformer.layers.{layer}"),
            sequences,
        });
        b.scope("last_layer", |b| self.last_layer(b, x, features));
    }

    fn caches(&self, batch: Batch) -> Caches<'static> {
        let (sequences, length, width) = (batch.sequences(), self.length(), self.hidden);
        Caches { name: &str::to_owned, sequences, length, width }
    }

    /// Appends the full model as [`Config::features`] does, keeping something for steps that go on from it.
    pub fn features_and(&self, b: &mut Builder, batch: Batch, keep: Keep) {
        let features = self.features_state(b, batch);
        self.transformer(b, batch, Layers::Full(keep), None, features);
    }

    /// Appends ML-Cache's choice: which `count` rows of each sequence the next step recomputes. They are those whose best
    /// image code has the lowest logit; the class token is a row like any other, as a prompt is where the rule is from.
    pub fn choose_rows(&self, b: &mut Builder, batch: Batch, count: u32) {
        let features = self.features_state(b, batch);
        let head = b.layer_without_bias("maskgit.tok_emb", self.vocabulary(), self.hidden);
        let head = head.rows(0, self.codebook);
        let bias = self.head_bias(b);
        let list = self.caches(batch).list(b, Extent::fixed(count));
        cache::choose_lowest(b, features, head, Some(bias), [batch.sequences(), count], list);
    }

    /// Appends a partial step: the chosen `rows` of each sequence pass through the model, among the cached keys and
    /// values of the others, and replace their part of the caches and of the features.
    pub fn refresh_rows(&self, b: &mut Builder, batch: Batch, rows: Extent) {
        let features = self.features_state(b, batch);
        let list = self.caches(batch).list(b, rows);
        let y = b.temporary("features", rows.times(batch.sequences()), self.hidden);
        self.transformer(b, batch, Layers::Listed(list), None, y);
        b.scope("scatter", |b| b.scatter(y, list, features));
    }

    /// Appends an adaptive step: each layer computes the rows whose turn it is or that have changed most, on top of
    /// [kept outputs](Keep::Outputs).
    pub fn adapt_rows(&self, b: &mut Builder, batch: Batch, intervals: Intervals) {
        let features = self.features_state(b, batch);
        self.transformer(b, batch, Layers::Adaptive(intervals), None, features);
    }

    /// What [`Keep::Sum`] keeps.
    pub(super) fn sum(&self, b: &mut Builder, batch: Batch) -> Slot {
        self.caches(batch).sum(b)
    }

    /// Appends the model with `added` in place of what its blocks add to the residual stream.
    pub fn ends(&self, b: &mut Builder, batch: Batch, added: Slot) {
        let features = self.features_state(b, batch);
        let rows = b.rows_of(features);
        let x = self.stem(b, batch, rows, None, None);
        b.combine(1.0, added, 1.0, x);
        b.scope("last_layer", |b| self.last_layer(b, x, features));
    }

    /// The head's bias for each position, the class token's included, and each code.
    fn head_bias(&self, b: &mut Builder) -> Slot {
        b.weight(
            "maskgit.bias",
            &[self.length() as usize, self.vocabulary() as usize],
            Layout::Corner { rows: self.length(), columns: self.codebook },
        )
    }
}

impl Config {
    /// Image tokens.
    pub fn tokens(&self) -> u32 {
        self.grid * self.grid
    }

    /// Appends the full model: from [`states::IDS`] and [`states::LABELS`] to [`states::FEATURES`].
    pub fn features(&self, b: &mut Builder, batch: Batch) {
        self.features_of(b, batch, None);
    }

    /// The same with noise, if any, in what image tokens are embedded as: by [`states::SEEDS`].
    pub(super) fn features_of(&self, b: &mut Builder, batch: Batch, noise: Option<f32>) {
        let features = self.features_state(b, batch);
        self.transformer(b, batch, Layers::Full(Keep::Nothing), noise, features);
    }

    /// Appends the head at places of each image, or a range of its masked positions: logits `[sequences * places, codebook]`.
    /// The head is tied to the token table, with a bias of its own for each position; only codes can be drawn.
    pub fn logits(&self, b: &mut Builder, batch: Batch, places: impl Into<Places>) -> Slot {
        let features = self.features_state(b, batch);
        let rows = FeatureRows::plain(self.length());
        self.head(b, batch.images, batch.sequences(), features, rows, places.into())
    }

    /// The same over `sequences` whose features are those of every position, or gathered.
    pub(super) fn head(
        &self,
        b: &mut Builder,
        images: u32,
        sequences: u32,
        features: Slot,
        rows: FeatureRows,
        places: Places,
    ) -> Slot {
        let positions = places.list(b, images, self.tokens());
        let table = self.token_table(b);
        let bias = self.head_bias(b);
        let logits = b.temporary("logits", places.rows(sequences), self.codebook);
        let kernel = MaskedLogits {
            features,
            positions,
            table,
            format: b.format(table),
            bias: Some(bias),
            logits,
            sequences,
            images,
            tokens: self.tokens(),
            rows,
            first_sequence: 0,
            masked: places.rows(1),
            hidden: self.hidden,
            codebook: self.codebook,
            codes: RowRange::all(self.codebook),
            first_masked: places.first(),
        };
        b.scope("head", |b| b.push(kernel));
        logits
    }
}

/// A block: `x += MHA(LN(x)); x += FF(LN(x))`.
struct Block<'a> {
    config: &'a Config,
    /// The prefix of its tensors.
    name: String,
    sequences: u32,
}

impl Block<'_> {
    fn attention_norm(&self, b: &mut Builder, x: Slot) -> Slot {
        let norm = b.norm(&format!("{}.0.norm", self.name), self.config.hidden);
        b.layer_norm(x, norm, EPS)
    }

    /// Queries, keys and values, packed.
    fn in_proj(&self, b: &mut Builder) -> Layer {
        let (mha, hidden) = (format!("{}.0.fn.mha", self.name), self.config.hidden);
        let [weight, bias] = ["weight", "bias"].map(|part| format!("{mha}.in_proj_{part}"));
        b.layer_named(&weight, &bias, 3 * hidden, hidden)
    }
}

impl Modules for Block<'_> {
    fn attend(&self, b: &mut Builder, x: Slot, keys: Option<KeysAndValues>, onto: Onto) {
        let &Config { hidden, heads, .. } = self.config;
        let qkv = self.in_proj(b);
        let out = b.layer(&format!("{}.0.fn.mha.out_proj", self.name), hidden, hidden);
        let h = self.attention_norm(b, x);
        let h = match keys {
            None => {
                let h = b.linear(h, qkv);
                b.self_attention(h, self.sequences, heads)
            }
            Some(kept) => {
                let [to_query, to_key, to_value] = [0, 1, 2].map(|part| qkv.rows(part * hidden, hidden));
                let query = b.linear(h, to_query);
                kept.put(b, h, [to_key, to_value], |_, _| {});
                let [query, keys, values] =
                    [query, kept.keys, kept.values].map(|slot| Operand { slot, offset: 0, stride: hidden });
                b.attention(query, keys, values, self.sequences, self.sequences, heads, hidden)
            }
        };
        b.linear_onto(h, out, onto);
    }

    fn feed_forward(&self, b: &mut Builder, x: Slot, onto: Onto) {
        let (name, &Config { hidden, mlp, .. }) = (&self.name, self.config);
        let norm = b.norm(&format!("{name}.1.norm"), hidden);
        let expand = b.layer(&format!("{name}.1.fn.net.0"), mlp, hidden);
        let contract = b.layer(&format!("{name}.1.fn.net.3"), hidden, mlp);
        let h = b.layer_norm(x, norm, EPS);
        let h = b.linear_with(h, expand, Activation::Gelu);
        b.linear_onto(h, contract, onto);
    }

    fn values(&self, b: &mut Builder, x: Slot, rows: Extent) -> Slot {
        let hidden = self.config.hidden;
        let to_value = self.in_proj(b).rows(2 * hidden, hidden);
        let h = self.attention_norm(b, x);
        b.linear_first(h, to_value, rows)
    }
}
