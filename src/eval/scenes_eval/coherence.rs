//! Coherence of many pictures: see [`likelihood`](crate::generate::likelihood).

use super::makers::Maker;
use super::source::RealScene;
use crate::generate::GenerateError;
use crate::generate::encode::Encoder;
use crate::generate::likelihood::Likelihood;
use crate::models::Condition;
use pollster::block_on;

impl Maker<'_> {
    /// In nats a code, by set of codes of all pictures, or of the first, and by picture: the same places are masked in every set.
    /// `tick` is called now and then.
    ///
    /// # Errors
    /// The device failed.
    pub fn coherence(&self, sets: &[&[u32]], tick: &mut dyn FnMut()) -> Result<Vec<Vec<f64>>, GenerateError> {
        let model = self.engine.model()?;
        let tokens = model.family().tokens() as usize;
        if model.family().is_one_step() {
            // What makes pictures in one step knows nothing of codes given others.
            return Ok(vec![Vec::new(); sets.len()]);
        }
        let mut found: Vec<Vec<f64>> = sets.iter().map(|set| vec![0.0; set.len() / tokens]).collect();
        for indices in self.by_length() {
            let Some(&first) = indices.first() else { continue };
            let mut likelihood = Likelihood::new(model, &self.jobs[first].condition, self.engine.device())?;
            for (set, found) in sets.iter().zip(&mut found) {
                for &index in &indices {
                    let Some(codes) = set.get(index * tokens..(index + 1) * tokens) else { continue };
                    tick();
                    let job = &self.jobs[index];
                    found[index] = block_on(likelihood.coherence(&job.condition, codes, job.seed))?;
                }
            }
        }
        Ok(found)
    }

    /// The same of real scenes, as the tokenizer encodes them: of prompts, the scenes that they are captions of, in their order; of
    /// classes, any of one object, of which those of no class are left out.
    ///
    /// # Errors
    /// The device failed.
    pub fn coherence_of_real(
        &self,
        scenes: &[RealScene],
        tick: &mut dyn FnMut(),
    ) -> Result<Vec<f64>, GenerateError> {
        let (model, device) = (self.engine.model()?, self.engine.device());
        if model.family().is_one_step() {
            return Ok(Vec::new());
        }
        let mut encoder = Encoder::new(model, device)?;
        let mut found = vec![None; scenes.len()];
        for indices in self.by_length() {
            let Some(&first) = indices.first() else { continue };
            let length = self.jobs[first].condition.prompt_tokens();
            let mut likelihood = Likelihood::new(model, &self.jobs[first].condition, device)?;
            for (index, scene) in scenes.iter().enumerate() {
                let Some(condition) = self.condition_of(index, scene) else { continue };
                if condition.prompt_tokens() != length {
                    continue;
                }
                tick();
                let codes = block_on(encoder.encode(&scene.pixels))?;
                let seed = self.jobs[0].seed.wrapping_add(index as u64);
                found[index] = Some(block_on(likelihood.coherence(condition, &codes, seed))?);
            }
        }
        Ok(found.into_iter().flatten().collect())
    }

    /// What a real scene would be asked for by.
    fn condition_of(&self, index: usize, scene: &RealScene) -> Option<&Condition> {
        let job = match self.jobs.first()?.condition {
            Condition::Prompt { .. } => self.jobs.get(index)?,
            Condition::Class(_) => {
                let same = self.wanted().iter().position(|wanted| wanted.nouns == scene.wanted.nouns);
                &self.jobs[same?]
            }
        };
        Some(&job.condition)
    }
}
