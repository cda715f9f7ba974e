//! Coherence of many pictures: see [`likelihood`](crate::generate::likelihood).

use super::makers::{Classes, Prompts};
use super::source::RealScene;
use crate::generate::GenerateError;
use crate::generate::likelihood::{Encoder, Likelihood};
use pollster::block_on;

/// What can say how coherent the pictures of its prompts are.
pub trait Coherent {
    /// In nats a code, by set of codes of all pictures and by picture: the same places are masked in every set. `tick` is called
    /// now and then.
    ///
    /// # Errors
    /// The device failed.
    fn coherence(&mut self, sets: &[&[u32]], tick: &mut dyn FnMut()) -> Result<Vec<Vec<f64>>, GenerateError>;

    /// The same of real scenes, as the tokenizer encodes them: of prompts, the scenes that they are captions of, in their order; of
    /// classes, any of one object, of which those of no class are left out.
    ///
    /// # Errors
    /// The device failed.
    fn coherence_of_real(
        &mut self,
        scenes: &[RealScene],
        tick: &mut dyn FnMut(),
    ) -> Result<Vec<f64>, GenerateError>;
}

impl Coherent for Classes<'_> {
    fn coherence(&mut self, sets: &[&[u32]], tick: &mut dyn FnMut()) -> Result<Vec<Vec<f64>>, GenerateError> {
        let t = self.model.config.transformer;
        let mut likelihood = Likelihood::of_class(self.model, self.device)?;
        let tokens = (t.grid * t.grid) as usize;
        let mut of = |(index, codes): (usize, &[u32])| {
            tick();
            let label = t.class_id(self.classes.get(index).copied().unwrap_or_default());
            block_on(likelihood.coherence(&[label], codes, self.seed.wrapping_add(index as u64)))
        };
        sets.iter().map(|set| set.chunks(tokens).enumerate().map(&mut of).collect()).collect()
    }

    fn coherence_of_real(
        &mut self,
        scenes: &[RealScene],
        tick: &mut dyn FnMut(),
    ) -> Result<Vec<f64>, GenerateError> {
        let t = self.model.config.transformer;
        let mut encoder = Encoder::of_class(self.model, self.device)?;
        let mut likelihood = Likelihood::of_class(self.model, self.device)?;
        let mut found = Vec::with_capacity(scenes.len());
        for (index, scene) in scenes.iter().enumerate() {
            tick();
            let class = self.wanted.iter().zip(&self.classes).find(|(w, _)| w.nouns == scene.wanted.nouns);
            let Some((_, &class)) = class else { continue };
            let codes = block_on(encoder.encode(&scene.pixels))?;
            let seed = self.seed.wrapping_add(index as u64);
            found.push(block_on(likelihood.coherence(&[t.class_id(class)], &codes, seed))?);
        }
        Ok(found)
    }
}

impl Coherent for Prompts<'_> {
    fn coherence(&mut self, sets: &[&[u32]], tick: &mut dyn FnMut()) -> Result<Vec<Vec<f64>>, GenerateError> {
        let t = self.model.config.transformer;
        let tokens = (t.grid[0] * t.grid[1]) as usize;
        let mut found = vec![vec![0.0; self.ids.len()]; sets.len()];
        for (&length, indices) in &self.by_length {
            let mut likelihood = Likelihood::of_text(self.model, length, self.device)?;
            for (set, found) in sets.iter().zip(&mut found) {
                for &index in indices {
                    tick();
                    let template = t.template(&self.ids[index]);
                    let codes = set.get(index * tokens..(index + 1) * tokens).unwrap_or_default();
                    let seed = self.seed.wrapping_add(index as u64);
                    found[index] = block_on(likelihood.coherence(&template, codes, seed))?;
                }
            }
        }
        Ok(found)
    }

    fn coherence_of_real(
        &mut self,
        scenes: &[RealScene],
        tick: &mut dyn FnMut(),
    ) -> Result<Vec<f64>, GenerateError> {
        if scenes.len() != self.ids.len() {
            return Ok(Vec::new());
        }
        let mut encoder = Encoder::of_text(self.model, self.device)?;
        let mut codes = Vec::new();
        for scene in scenes {
            tick();
            codes.extend(block_on(encoder.encode(&scene.pixels))?);
        }
        Ok(self.coherence(&[&codes], tick)?.pop().unwrap_or_default())
    }
}
