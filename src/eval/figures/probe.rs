//! What a model's weights make of a traced run, by programs of their own: embeddings of new tokens, logits of a token, and where a
//! shortcut looks from it.

use super::trace::{Held, New};
use crate::eval::motion::NewTokens;
use crate::exec::{Executor, read_f32, write_f32};
use crate::generate::GenerateError;
use crate::generate::likelihood::log_softmax;
use crate::generate::model::{Device, Model};
use crate::kernels::combine::Combine;
use crate::kernels::{Extent, RowRange, StepValues, Symbol};
use crate::models::family::Looks;
use crate::models::{self, Batch, Condition, Known, states};
use crate::program::{Builder, Element, Formats};

/// Programs by index.
const EMBED: usize = 0;
const HEAD: usize = 1;
const LOOK: usize = 2;

/// The programs, on a device.
pub(crate) struct Probe {
    executor: Box<dyn Executor>,
    family: Known,
    batch: Batch,
    /// Whether positions are a part of what the family embeds new tokens as.
    embeds_positions: bool,
    /// What a shortcut that attends to new tokens holds against each other, and the step whose numbers are its own.
    looks: Option<(Looks, usize)>,
}

impl std::fmt::Debug for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Probe").field("batch", &self.batch).finish_non_exhaustive()
    }
}

impl Probe {
    /// For a run of one picture whose steps reveal so many tokens each.
    pub(crate) fn new(
        model: &Model,
        formats: Formats,
        device: &Device,
        batch: Batch,
        new_tokens: &[u32],
    ) -> Result<Self, GenerateError> {
        let family = model.config.family.clone();
        let (tokens, codebook, width) = (family.tokens(), family.codebook(), family.width());
        let embed = models::build("embed_new_tokens", formats, |b| {
            let x = family.embed_new_tokens(b, batch);
            let y = b.state(states::NEW_EMBEDDINGS, tokens, width, Element::F32);
            b.push(Combine::copy(x, y, Extent::symbolic(1, Symbol::NewTokens, tokens), width));
        })?;
        // The head as it is sampled from, of a single position.
        let head = models::build("head", formats, |b| {
            let sequences = batch.sequences();
            let x = family.logits(b, batch, RowRange::all(1));
            let y = b.state(states::LOGITS, sequences, codebook, Element::F32);
            b.push(Combine::copy(x, y, Extent::symbolic(sequences, Symbol::Masked, 1), codebook));
        })?;
        let mut looks = None;
        let look = models::build("look", formats, |b| looks = look(b, &family, batch))?;
        let embeds_positions = embed.tensors().iter().any(|tensor| tensor.name == states::NEW_POSITIONS);
        let mut programs = vec![embed, head];
        programs.extend(looks.is_some().then_some(look));
        let mut executor = device.executor(programs, &mut *model.weights()?)?;
        let mut steps: Vec<StepValues> = new_tokens.iter().map(|&count| values(count)).collect();
        let looks = looks.map(|looks| (looks, steps.len()));
        steps.push(values(1));
        executor.prepare_revisable(&steps)?;
        Ok(Self { executor, family, batch, embeds_positions, looks })
    }

    /// What each step revealed, embedded as the shortcut is given it.
    pub(super) async fn embed(&mut self, new: &[New]) -> Result<Vec<NewTokens>, GenerateError> {
        let mut embedded = Vec::with_capacity(new.len());
        for (step, New { ids, positions }) in new.iter().enumerate() {
            let executor = self.executor.as_mut();
            executor.write(states::NEW_IDS, ids)?;
            if self.embeds_positions {
                executor.write(states::NEW_POSITIONS, positions)?;
            }
            executor.run(&[EMBED], step, false)?;
            let len = ids.len() * self.family.width() as usize;
            let embeddings = read_f32(executor, states::NEW_EMBEDDINGS, len).await?;
            embedded.push(NewTokens { positions: positions.clone(), embeddings });
        }
        Ok(embedded)
    }

    /// Logits of a token `[sequences, codebook]` by features of all sequences, the conditional one first.
    pub(crate) async fn logits(&mut self, features: &Held, token: u32) -> Result<Vec<f32>, GenerateError> {
        let executor = self.executor.as_mut();
        for (state, values) in features {
            write_f32(executor, state, values)?;
        }
        executor.write(states::POSITIONS, &[token])?;
        executor.run(&[HEAD], 0, false)?;
        let len = (self.batch.sequences() * self.family.codebook()) as usize;
        Ok(read_f32(executor, states::LOGITS, len).await?)
    }

    /// Where the shortcut looks from a token of the first picture: by features of all sequences, and what the step that left them
    /// revealed. `None` where there is no shortcut that looks at new tokens.
    pub(crate) async fn attention(
        &mut self,
        condition: &Condition,
        features: &Held,
        new: &New,
        token: u32,
    ) -> Result<Option<Attended>, GenerateError> {
        let Some((looks, step)) = self.looks else { return Ok(None) };
        let row = {
            let networks = self.family.networks(self.batch);
            let Some(network) = networks.first() else { return Ok(None) };
            network.placement().row(token) as usize
        };
        let executor = self.executor.as_mut();
        let declared = |state: &str| executor.programs()[LOOK].tensors().iter().any(|t| t.name == state);
        let conditions = vec![condition.clone(); self.batch.images as usize];
        let mut written = self.family.condition(self.batch, &conditions).map_err(GenerateError::Setting)?;
        written.push((states::NEW_IDS.to_owned(), new.ids.clone()));
        written.push((states::NEW_POSITIONS.to_owned(), new.positions.clone()));
        written.retain(|(state, _)| declared(state));
        let features: Vec<_> = features.iter().filter(|(state, _)| declared(state)).collect();
        for (state, words) in written {
            executor.write(&state, &words)?;
        }
        for (state, values) in features {
            write_f32(executor, state, values)?;
        }
        executor.revise(step, &values(new.ids.len() as u32))?;
        executor.run(&[LOOK], step, false)?;
        let width = looks.width as usize;
        let queries = read_f32(executor, states::LOOKING_QUERIES, (row + 1) * width).await?;
        let keys = looks.prompt as usize + new.ids.len();
        let keys = read_f32(executor, states::LOOKING_KEYS, keys * width).await?;
        let shares = shares(&queries[row * width..], &keys, looks.heads as usize);
        let (prompt, of_new) = shares.split_at(looks.prompt as usize);
        let new = new.positions.iter().copied().zip(of_new.iter().copied()).collect();
        Ok(Some(Attended { prompt: prompt.iter().sum(), new }))
    }
}

/// The numbers of a step that reveals so many tokens.
fn values(new_tokens: u32) -> StepValues {
    StepValues { new_tokens, masked: 1, ..StepValues::default() }
}

/// Appends what the shortcut of the conditional sequences holds against each other, and keeps it.
fn look(b: &mut Builder, family: &Known, batch: Batch) -> Option<Looks> {
    let looks = family.networks(batch).first()?.looks(b)?;
    for (state, slot) in [(states::LOOKING_QUERIES, looks.query), (states::LOOKING_KEYS, looks.key)] {
        let kept = b.state(state, b.rows(slot), looks.width, Element::F32);
        b.push(Combine::copy(slot, kept, b.rows_of(slot), looks.width));
    }
    Some(looks)
}

/// Where a shortcut looks from a token, as shares of its attention: a mean over the heads of its first attention to new tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Attended {
    /// To the prompt, which counts as new at every step of some models.
    pub prompt: f64,
    /// To each token that was just revealed, by position.
    pub new: Vec<(u32, f64)>,
}

/// Softmax of a query's products with keys over the square root of a head's width, as a mean over heads.
fn shares(query: &[f32], keys: &[f32], heads: usize) -> Vec<f64> {
    let (width, of_head) = (query.len(), query.len() / heads);
    let mut mean = vec![0.0; keys.len() / width];
    for head in 0..heads {
        let part = head * of_head..(head + 1) * of_head;
        let product = |key: &[f32]| -> f32 {
            let pairs = query[part.clone()].iter().zip(&key[part.clone()]);
            pairs.map(|(q, k)| q * k).sum::<f32>() / (of_head as f32).sqrt()
        };
        let products: Vec<f32> = keys.chunks_exact(width).map(product).collect();
        for (at, share) in mean.iter_mut().enumerate() {
            *share += log_softmax(&products, at).exp() / heads as f64;
        }
    }
    mean
}

/// A code that a token may become.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The code.
    pub code: u32,
    /// Its probability as sampling has it at the step: with guidance, where the step has that.
    pub probability: f64,
    /// Its probability by the conditional logits alone.
    pub without_guidance: f64,
}

/// The likeliest codes of a token, in order, by logits `[sequences, codebook]`: softmax of the guided logits times the softmax
/// temperature, which is the confidence that tokens are chosen by (`kernels/sample.rs`). The temperature of the draw is not in it.
pub fn candidates(logits: &[f32], codebook: usize, step: &StepValues, count: usize) -> Vec<Candidate> {
    let (conditional, rest) = logits.split_at(codebook.min(logits.len()));
    // Unconditional features are old where a step does without them.
    let unconditional = Some(rest).filter(|rest| rest.len() == codebook && !step.unguided);
    let w = step.guidance;
    let z = |(code, c): (usize, &f32)| {
        unconditional.map_or(*c, |u| (1.0 + w) * c - w * u[code]) * step.softmax_temperature
    };
    let guided: Vec<f32> = conditional.iter().enumerate().map(z).collect();
    let alone: Vec<f32> = conditional.iter().map(|c| c * step.softmax_temperature).collect();
    let mut order: Vec<usize> = (0..guided.len()).collect();
    order.sort_by(|&a, &b| guided[b].total_cmp(&guided[a]).then(a.cmp(&b)));
    let of = |code: usize| Candidate {
        code: code as u32,
        probability: log_softmax(&guided, code).exp(),
        without_guidance: log_softmax(&alone, code).exp(),
    };
    order.into_iter().take(count).map(of).collect()
}
