//! A closer look at a token of a step: what it might have become, with guidance and without, how far its features moved, and where
//! the shortcut looks from it. The features of the latest run of one picture are kept for it.

use super::actor::RunId;
use crate::eval::figures::{Attended, Candidate, Held, New, Probe, candidates};
use crate::generate::GenerateError;
use crate::generate::engine::Engine;
use crate::generate::recipe::Recipe;
use crate::generate::session::PlannedStep;
use crate::kernels::StepValues;
use crate::models::Batch;

/// Candidates that are shown of a token.
const CANDIDATES: usize = 8;

/// A token of a picture at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    /// The run.
    pub run: RunId,
    /// The step.
    pub step: usize,
    /// The token, row by row.
    pub token: usize,
}

/// What is seen of a token.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// The likeliest codes.
    pub candidates: Vec<Candidate>,
    /// Where the shortcut looks from it when it predicts this step: at the tokens that the step before revealed. Nothing at the first
    /// step, and where no shortcut attends to new tokens.
    pub attended: Option<Attended>,
}

/// What a step left.
#[derive(Debug)]
struct Kept {
    step: usize,
    values: StepValues,
    /// Features of all sequences.
    held: Held,
    new: New,
}

/// What the steps of a run left.
#[derive(Debug, Default)]
pub struct Looking {
    run: Option<RunId>,
    steps: Vec<Kept>,
    /// The programs that read them, and the picture's kind that they are for.
    probe: Option<(Batch, Probe)>,
}

impl Looking {
    /// Forgets the last run: another one begins, or another model is open.
    pub fn begin(&mut self, run: Option<RunId>) {
        *self = Self { run, ..Self::default() };
    }

    /// Keeps what a step left: features of all sequences, and what it revealed.
    pub(crate) fn keep(&mut self, step: usize, planned: &PlannedStep, held: Held, new: New) {
        self.steps.push(Kept { step, values: planned.values, held, new });
    }

    /// What is seen of a token; `None` where the run's features are not at hand.
    ///
    /// # Errors
    /// The device failed.
    pub async fn look(
        &mut self,
        engine: &Engine,
        recipe: &Recipe,
        spot: Spot,
    ) -> Result<Option<Look>, GenerateError> {
        let of = |step| self.steps.iter().find(|kept| kept.step == step);
        let Some(kept) = of(spot.step).filter(|_| self.run == Some(spot.run)) else { return Ok(None) };
        let before = spot.step.checked_sub(1).and_then(of);
        let model = engine.model()?;
        let condition = model.condition(&recipe.subject)?;
        let batch = Batch::of(&condition, 1, recipe.draw.guided());
        let (_, probe) = match self.probe.take().filter(|(known, _)| *known == batch) {
            Some(known) => self.probe.insert(known),
            None => {
                let formats = model.formats().quantized(recipe.quantize);
                self.probe.insert((batch, Probe::new(model, formats, engine.device(), batch, &[1])?))
            }
        };
        let token = spot.token as u32;
        let attended = match before {
            Some(Kept { held, new, .. }) => probe.attention(&condition, held, new, token).await?,
            None => None,
        };
        let logits = probe.logits(&kept.held, token).await?;
        let candidates = candidates(&logits, model.family().codebook() as usize, &kept.values, CANDIDATES);
        Ok(Some(Look { candidates, attended }))
    }
}

/// How far the features of each token moved from one step to the next, as a share of their size: features `[rows, width]` of one
/// sequence, and the row of each token.
pub fn moves(before: &[f32], after: &[f32], width: usize, rows: impl Iterator<Item = usize>) -> Vec<f32> {
    rows.filter_map(|row| {
        let row = row * width..(row + 1) * width;
        Some(super::actor::distance(before.get(row.clone())?, after.get(row)?) as f32)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_are_of_each_tokens_own_row() {
        // Three rows of two; tokens stand in the first and the last.
        let before = [3.0, 4.0, 9.0, 9.0, 1.0, 0.0];
        let after = [3.0, 4.0, 0.0, 0.0, 0.0, 2.0];
        let found = moves(&before, &after, 2, [0, 2].into_iter());
        assert_eq!(found.len(), 2);
        assert!(found[0] == 0.0 && (found[1] - (5.0_f32.sqrt() / 2.0)).abs() < 1e-6, "{found:?}");
    }
}
