//! What a model's weights make of a traced run, by programs of their own: embeddings of new tokens, and logits of a token.

use super::trace::{Held, New};
use crate::eval::motion::NewTokens;
use crate::exec::{Executor, read_f32, write_f32};
use crate::generate::GenerateError;
use crate::generate::likelihood::log_softmax;
use crate::generate::model::{Device, Model};
use crate::kernels::combine::Combine;
use crate::kernels::{Extent, RowRange, StepValues, Symbol};
use crate::models::{self, Batch, Known, states};
use crate::program::{Element, Formats};

/// Programs by index.
const EMBED: usize = 0;
const HEAD: usize = 1;

/// The programs, on a device.
pub(crate) struct Probe {
    executor: Box<dyn Executor>,
    family: Known,
    batch: Batch,
    /// Whether positions are a part of what the family embeds new tokens as.
    embeds_positions: bool,
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
        let embeds_positions = embed.tensors().iter().any(|tensor| tensor.name == states::NEW_POSITIONS);
        let mut executor = device.executor(vec![embed, head], &mut *model.weights()?)?;
        let of = |&new_tokens: &u32| StepValues { new_tokens, masked: 1, ..StepValues::default() };
        executor.prepare(&new_tokens.iter().map(of).collect::<Vec<_>>())?;
        Ok(Self { executor, family, batch, embeds_positions })
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
