//! How a run of a session begins: anew, on canvases of which a part is to be made, or at a step of its plan.

use super::GenerateError;
use super::canvas::Canvas;
use super::session::{Session, StepKind};
use crate::kernels::philox;
use crate::models::{Condition, states};

impl Session {
    /// Begins anew on canvases where everything is to be made, or as the family begins otherwise. `conditions` and `seeds` have an entry
    /// an image.
    ///
    /// # Errors
    /// Lists of another length than the batch, a condition that is not the model's or the session's, or a plan for less than a whole
    /// picture.
    pub fn start(&mut self, conditions: &[Condition], seeds: &[u64]) -> Result<(), GenerateError> {
        let tokens = self.family.tokens();
        if self.begun != tokens {
            let message = format!("the plan is for {} of {tokens} tokens; say which", self.begun);
            return Err(GenerateError::Setting(message));
        }
        let positions: Vec<u32> = seeds.iter().flat_map(|_| 0..tokens).collect();
        let nothing = vec![self.family.codebook(); positions.len()];
        self.begin(conditions, seeds, &self.family.begin(seeds), &positions, &nothing)?;
        self.next = 0;
        Ok(())
    }

    /// Begins anew on canvases, one an image, of which as many tokens are to be made as the plan is for. What is there stays as it is.
    ///
    /// # Errors
    /// As [`Session::start`], or a canvas that is not the model's or the plan's.
    pub fn start_on(
        &mut self,
        conditions: &[Condition],
        seeds: &[u64],
        canvases: &[Canvas],
    ) -> Result<(), GenerateError> {
        if canvases.len() == seeds.len() && canvases.iter().all(Canvas::is_blank) {
            return self.start(conditions, seeds);
        }
        let (tokens, codebook) = (self.family.tokens(), self.family.codebook());
        canvases.iter().try_for_each(|canvas| canvas.check(tokens, codebook))?;
        let codes: Vec<u32> = canvases.iter().flat_map(|canvas| canvas.codes(codebook)).collect();
        let positions = self.positions_of(&codes, self.begun, "the plan")?;
        self.begin(conditions, seeds, &codes, &positions, &codes)?;
        self.next = 0;
        Ok(())
    }

    /// Masked positions of codes `[images, tokens]`, in ascending order, of which each image has as many as `whose` plan expects.
    fn positions_of(&self, codes: &[u32], expected: u32, whose: &str) -> Result<Vec<u32>, GenerateError> {
        let (tokens, mask) = (self.family.tokens() as usize, self.family.codebook());
        if codes.len() != self.token_count() || codes.iter().any(|code| *code > mask) {
            let message = format!("{} codes of up to {mask} for {} tokens", codes.len(), self.token_count());
            return Err(GenerateError::Setting(message));
        }
        let mut positions = vec![0; codes.len()];
        for (codes, positions) in codes.chunks_exact(tokens).zip(positions.chunks_exact_mut(tokens)) {
            let left = (0..tokens).filter(|&token| codes[token] == mask);
            let found =
                positions.iter_mut().zip(left).map(|(position, token)| *position = token as u32).count();
            if found != expected as usize {
                let message = format!("{whose} expects {expected} masked tokens, and {found} are");
                return Err(GenerateError::Setting(message));
            }
        }
        Ok(positions)
    }

    /// Goes on at a step of the plan, which has to be a full one, from codes `[images, tokens]` as the step before would have left
    /// them; the number of codes stands for a masked token. Seeds may be others than those that the codes were made with.
    ///
    /// # Errors
    /// As [`Session::start`]; or as many tokens are masked as the step does not expect, the step is predicted (there are no features
    /// to predict from), or the run decides while it goes on.
    pub fn resume(
        &mut self,
        conditions: &[Condition],
        seeds: &[u64],
        codes: &[u32],
        step: usize,
    ) -> Result<(), GenerateError> {
        let refuse = |message: String| Err(GenerateError::Setting(message));
        if self.deciding.is_some() {
            return refuse("a run that decides while it goes on begins at its first step; use full steps that are known before".to_owned());
        }
        let Some(planned) = self.plan.get(step) else {
            return refuse(format!(
                "there is no step {} to go on at: the plan has {}",
                step + 1,
                self.plan.len()
            ));
        };
        if planned.kind != StepKind::Full {
            return refuse(format!("a run goes on at a full step, and step {} is predicted", step + 1));
        }
        let positions = self.positions_of(codes, planned.values.masked, &format!("step {}", step + 1))?;
        self.begin(conditions, seeds, codes, &positions, codes)?;
        self.next = step;
        Ok(())
    }

    /// Writes what a run begins with, the first step to come aside: codes, which of their positions are to be made, and what
    /// previews show of each.
    fn begin(
        &mut self,
        conditions: &[Condition],
        seeds: &[u64],
        ids: &[u32],
        positions: &[u32],
        drawn: &[u32],
    ) -> Result<(), GenerateError> {
        let images = self.shape.batch.images as usize;
        if conditions.len() != images || seeds.len() != images {
            let (conditions, seeds) = (conditions.len(), seeds.len());
            let message = format!("{conditions} conditions and {seeds} seeds for a batch of {images} images");
            return Err(GenerateError::Setting(message));
        }
        let written = self.family.condition(self.shape.batch, conditions).map_err(GenerateError::Setting)?;
        let tokens = self.family.tokens();
        self.executor.write(states::IDS, ids)?;
        let seeds: Vec<u32> = seeds.iter().flat_map(|&seed| philox::key(seed)).collect();
        self.executor.write(states::DRAWN, drawn)?;
        self.executor.write(states::POSITIONS, positions)?;
        self.executor.write(states::SEEDS, &seeds)?;
        if let Some(ranks) = self.order.ranks(self.family.grid()) {
            if ranks.len() != tokens as usize {
                let (name, found) = (self.order.name(), ranks.len());
                let message = format!("the order {name} ranks {found} tokens of a picture that has {tokens}");
                return Err(GenerateError::Setting(message));
            }
            self.executor.write(states::RANKS, &ranks)?;
        }
        for (state, values) in written {
            self.executor.write(&state, &values)?;
        }
        // What a predictor remembers is of this run alone.
        for (state, len) in &self.own {
            self.executor.write(state, &vec![0; *len])?;
        }
        if let Some(deciding) = &self.deciding {
            let again = deciding.again()?;
            self.plan = again.plan()?;
            self.deciding = Some(again);
        }
        Ok(())
    }
}
