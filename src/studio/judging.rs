//! How good a picture is: what the bundled judge reads of it against what was asked for, or, of a model that the judge does not know, how
//! well its codes go together under the model itself.

use super::model::Files;
use crate::eval::scenes_eval::judge::{Judge, all_right};
use crate::eval::scenes_eval::source::Wanted;
use crate::generate::GenerateError;
use crate::generate::engine::Engine;
use crate::generate::likelihood::Likelihood;
use crate::generate::model::{Device, Model};
use crate::generate::picture::Picture;
use crate::generate::recipe::{Recipe, Subject};
use crate::models::Condition;
use crate::models::judge::Config;
use crate::weights::ModelFolder;

/// What is known of a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quality {
    /// Whether the judge finds all that was asked for, and no more.
    Right(bool),
    /// Nats a code of a quarter of the codes given the others, under the model without guidance: less is better.
    Coherence(f64),
}

/// Reads pictures of one model.
#[derive(Debug, Default)]
pub struct Judging {
    judge: Option<Judge>,
    /// For conditions as long as this one's.
    likelihood: Option<(Condition, Likelihood)>,
}

/// What a picture has to show, where the judge knows the model's words.
fn wanted(model: &Model, subject: &Subject, judge: &Config) -> Option<Wanted> {
    let [height, width] = model.family().size();
    if [height, width] != [judge.size; 2] {
        return None;
    }
    match subject {
        Subject::Prompt(prompt) => {
            // A model of any words makes pictures of any kind.
            let words = model.prompts()?.words();
            let known = crate::scenes::grammar::vocabulary(judge.nouns.len());
            let of_scenes = !words.is_empty() && words.iter().all(|word| known.contains(word));
            Wanted::of_prompt(prompt, judge).filter(|_| of_scenes)
        }
        Subject::Class(_) => {
            let classes = model.classes()?;
            let Condition::Class(Some(class)) = model.condition(subject).ok()? else { return None };
            let label = classes.labels.get(class as usize)?;
            judge.nouns.iter().position(|noun| noun == label).map(Wanted::noun)
        }
    }
}

impl Judging {
    /// Takes the judge's files, or the bundled judge. It reads on the CPU, where a page may wait for it.
    ///
    /// # Errors
    /// They are no judge.
    pub fn open(&mut self, files: Option<Files>) -> Result<(), GenerateError> {
        let judge = match files {
            Some(files) => Judge::of_folder(&ModelFolder::from_files("scenes-judge", files)?, &Device::Cpu)?,
            None => Judge::open(None, &Device::Cpu)?,
        };
        self.judge = Some(judge);
        Ok(())
    }

    /// Another model is open: what was kept of the last one is of no use.
    pub fn forget(&mut self) {
        self.likelihood = None;
    }

    /// How good a picture is that the engine's model made.
    ///
    /// # Errors
    /// The device failed.
    pub async fn quality(
        &mut self,
        engine: &Engine,
        recipe: &Recipe,
        codes: &[u32],
        picture: &Picture,
    ) -> Result<Quality, GenerateError> {
        let model = engine.model()?;
        let asked = self.judge.as_ref().and_then(|judge| wanted(model, &recipe.subject, &judge.config));
        if let (Some(judge), Some(wanted)) = (&mut self.judge, asked) {
            let values: Vec<f32> = picture.rgb.iter().map(|&value| f32::from(value) / 127.5 - 1.0).collect();
            let verdicts = judge.read(&values)?;
            let right = verdicts.seen.first().is_some_and(|seen| all_right(&seen.marks(&wanted)));
            return Ok(Quality::Right(right));
        }
        let condition = model.condition(&recipe.subject)?;
        let fits = |known: &Condition| known.prompt_tokens() == condition.prompt_tokens();
        let (_, likelihood) = match self.likelihood.take().filter(|(known, _)| fits(known)) {
            Some(known) => self.likelihood.insert(known),
            None => {
                let likelihood = Likelihood::new(model, &condition, engine.device())?;
                self.likelihood.insert((condition.clone(), likelihood))
            }
        };
        // The mean of log-likelihoods, which is below zero.
        Ok(Quality::Coherence(-likelihood.coherence(&condition, codes, recipe.seed).await?))
    }
}

#[cfg(all(test, feature = "models"))]
mod tests {
    use super::*;
    use crate::generate::fixtures::fixture;

    #[test]
    fn the_judge_reads_scenes_and_a_model_reads_its_own_codes() {
        let mut judging = Judging::default();
        judging.open(None).unwrap();
        let judge = judging.judge.as_ref().unwrap();
        let text = Model::bundled_text().unwrap();
        let prompt = |words: &str| Subject::Prompt(words.to_owned());
        let found =
            wanted(&text, &prompt("a blue octopus to the left of a taxi at sea"), &judge.config).unwrap();
        assert_eq!((found.nouns.len(), found.count), (2, Some(2)));
        assert_eq!(found.sides, Some([found.nouns[0], found.nouns[1]]));
        assert!(found.colours[0].is_some() && found.colours[1].is_none() && found.place.is_some());
        for other in ["anything at all", "", "a submarine"] {
            assert_eq!(wanted(&text, &prompt(other), &judge.config), None, "{other:?}");
        }
        // Grey is no fox.
        let recipe = Recipe::new(&text, prompt("a fox in the snow"));
        let [height, width] = text.family().size();
        let grey = Picture { width, height, rgb: vec![128; (width * height * 3) as usize] };
        let engine = Engine::of(text, Device::Cpu);
        let codes = vec![0; engine.model().unwrap().family().tokens() as usize];
        let quality = pollster::block_on(judging.quality(&engine, &recipe, &codes, &grey)).unwrap();
        assert_eq!(quality, Quality::Right(false));

        // Pictures of another size: the model's own word counts, and what it made itself counts for more than noise.
        let model = fixture();
        let recipe = Recipe { images: 1, ..Recipe::new(&model, Subject::Class("2".to_owned())) };
        let (jobs, settings) = (recipe.jobs(&model).unwrap(), recipe.settings());
        let mut engine = Engine::of(model, Device::Cpu);
        let made =
            pollster::block_on(engine.run(jobs, &settings, None, None).unwrap().batch()).unwrap().unwrap();
        judging.forget();
        let mut of = |codes: &[u32]| match pollster::block_on(judging.quality(&engine, &recipe, codes, &grey))
            .unwrap()
        {
            Quality::Coherence(nats) => nats,
            other => panic!("{other:?}"),
        };
        let noise: Vec<u32> = (0..made.codes.len() as u32).map(|i| i * 37 % 64).collect();
        let (own, noise) = (of(&made.codes), of(&noise));
        assert!(own < noise, "{own} against {noise}");
    }
}
