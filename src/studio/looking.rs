//! A closer look at a token of a step: what it might have become, with guidance and without, and how far its features moved. The
//! features of the latest run of one picture are kept for it.

use super::actor::RunId;
use crate::eval::figures::{Candidate, Held, Probe, candidates};
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

/// Features of all sequences behind each step of a run.
#[derive(Debug, Default)]
pub struct Looking {
    run: Option<RunId>,
    steps: Vec<(usize, StepValues, Held)>,
    /// The programs that read them, and the picture's kind that they are for.
    probe: Option<(Batch, Probe)>,
}

impl Looking {
    /// Forgets the last run: another one begins, or another model is open.
    pub fn begin(&mut self, run: Option<RunId>) {
        *self = Self { run, ..Self::default() };
    }

    /// Keeps what a step left: features of all sequences.
    pub fn keep(&mut self, step: usize, planned: &PlannedStep, held: Held) {
        self.steps.push((step, planned.values, held));
    }

    /// The likeliest codes of a token; `None` where the run's features are not at hand.
    ///
    /// # Errors
    /// The device failed.
    pub async fn look(
        &mut self,
        engine: &Engine,
        recipe: &Recipe,
        spot: Spot,
    ) -> Result<Option<Vec<Candidate>>, GenerateError> {
        let step = self.steps.iter().find(|(step, ..)| *step == spot.step);
        let Some((_, values, held)) = step.filter(|_| self.run == Some(spot.run)) else { return Ok(None) };
        let model = engine.model()?;
        let batch = Batch::of(&model.condition(&recipe.subject)?, 1, recipe.draw.guided());
        let (_, probe) = match self.probe.take().filter(|(known, _)| *known == batch) {
            Some(known) => self.probe.insert(known),
            None => {
                let formats = model.formats().quantized(recipe.quantize);
                self.probe.insert((batch, Probe::new(model, formats, engine.device(), batch, &[1])?))
            }
        };
        let logits = probe.logits(held, spot.token as u32).await?;
        Ok(Some(candidates(&logits, model.family().codebook() as usize, values, CANDIDATES)))
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
