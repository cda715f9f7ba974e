//! Pictures of the same subjects and seeds by every method: what is compared.

use super::made::{Clock, FEATURED, Made, Sheet};
use super::source::Wanted;
use super::workers::{Task, Workers};
use crate::generate::GenerateError;
use crate::generate::engine::{Engine, Job};
use crate::generate::model::Device;
use crate::generate::order::Order;
use crate::generate::predict::Predictor;
use crate::generate::recipe::Subject;
use crate::generate::refresh::Refresh;
use crate::generate::sampling::{Reveal, Sampling};
use crate::generate::schedule::Schedule;
use crate::generate::session::Settings;
use pollster::block_on;

/// A way to make pictures. What it leaves open is as the model has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Method {
    /// Steps in all.
    pub steps: u32,
    /// Which of them are full.
    pub refresh: Refresh,
    /// What stands in at the others; `None` where all are full.
    pub predictor: Option<Predictor>,
    /// Which of the masked tokens a step takes.
    pub order: Option<Order>,
    /// How many tokens each step takes.
    pub schedule: Option<Schedule>,
    /// How far apart the tokens of a step stand.
    pub spread: Option<f32>,
    /// How many tokens a step reveals.
    pub reveal: Option<Reveal>,
    /// The share of known tokens that full steps mask again.
    pub corrector: Option<f32>,
    /// The weight of guidance.
    pub weight: Option<f32>,
    /// The mask ratios between which there is guidance.
    pub guidance_interval: Option<[f32; 2]>,
    /// The temperature of the draw.
    pub draw: Option<f32>,
    /// The temperature of the choice.
    pub choice: Option<f32>,
    /// Of how many of the prompts, the first ones; of all where it says nothing.
    pub pictures: Option<u32>,
}

impl Method {
    /// The same way, however many pictures are made by it.
    pub fn is_as(&self, other: &Self) -> bool {
        let (pictures, own) = (None, self.clone());
        Self { pictures, ..own } == Self { pictures, ..other.clone() }
    }

    /// Every step in full.
    pub fn vanilla(steps: u32) -> Self {
        Self { steps, ..Self::default() }
    }

    /// A predictor with a rule for the full steps.
    pub fn accelerated(steps: u32, predictor: Predictor, refresh: Refresh) -> Self {
        Self { steps, refresh, predictor: Some(predictor), ..Self::default() }
    }

    /// From words: `vanilla` or a predictor, and then any of `steps=N`, `refresh=RULE`, `order=NAME`, `schedule=NAME`,
    /// `spread=CELLS`, `reveal=RULE`, `corrector=SHARE`, `weight=W` of guidance, `guidance=LOW,HIGH`, `draw=TEMPERATURE`,
    /// `choice=TEMPERATURE` and `pictures=N`. `steps` is for those that do not say.
    ///
    /// # Errors
    /// A sentence on the word that is not understood.
    pub fn parse(text: &str, steps: u32) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let name = words.next().ok_or("a method is vanilla or a predictor, and then settings")?;
        let mut method = Self::vanilla(steps);
        if name != "vanilla" {
            let predictor = Predictor::named(name).ok_or_else(|| {
                format!("{name:?} is neither vanilla nor a predictor, as shortcut or taylor:1")
            })?;
            (method.predictor, method.refresh) = (Some(predictor), predictor.default_refresh(steps));
        }
        let mut refresh = None;
        for word in words {
            let wrong = || {
                format!(
                    "{word:?} is none of steps=N, refresh=RULE, order=NAME, schedule=NAME, spread=CELLS, reveal=RULE, corrector=SHARE, weight=W, guidance=LOW,HIGH, draw=TEMPERATURE, choice=TEMPERATURE, pictures=N"
                )
            };
            let (key, value) = word.split_once('=').ok_or_else(wrong)?;
            let number = |value: &str| value.parse::<f32>().map_err(|_| wrong());
            match key {
                "steps" => method.steps = value.parse().map_err(|_| wrong())?,
                "pictures" => {
                    let count = value.parse().ok().filter(|count| *count > 0);
                    method.pictures = Some(count.ok_or_else(wrong)?);
                }
                "refresh" => refresh = Some(value.parse::<Refresh>()?),
                "order" => method.order = Some(Self::named(value).map_err(|_| wrong())?),
                "schedule" => method.schedule = Some(Self::named(value).map_err(|_| wrong())?),
                "reveal" => method.reveal = Some(value.parse()?),
                "corrector" => method.corrector = Some(number(value)?),
                "spread" => method.spread = Some(number(value)?),
                "weight" => method.weight = Some(number(value)?),
                "draw" => method.draw = Some(number(value)?),
                "choice" => method.choice = Some(number(value)?),
                "guidance" => {
                    let (low, high) = value.split_once(',').ok_or_else(wrong)?;
                    method.guidance_interval = Some([number(low)?, number(high)?]);
                }
                _ => return Err(wrong()),
            }
        }
        match (refresh, method.predictor) {
            (Some(refresh), Some(_)) => method.refresh = refresh,
            (Some(_), None) => return Err("vanilla runs every step in full; leave refresh out".to_owned()),
            (None, Some(predictor)) => method.refresh = predictor.default_refresh(method.steps),
            (None, None) => {}
        }
        Ok(method)
    }

    /// Choices by their names, as the command line has them.
    fn named<T: serde::de::DeserializeOwned>(name: &str) -> Result<T, serde_json::Error> {
        serde_json::from_value(name.replace('-', "_").into())
    }

    /// As files call it: with its steps, and different for methods that differ.
    pub fn file_name(&self) -> String {
        let mut name = format!("{}-{}", self.label(), self.steps);
        if let Refresh::Uniform(budget) | Refresh::Optimal(budget) = self.refresh {
            name += &format!("-{budget}");
        }
        let kept = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
        name.chars().map(|c| if kept(c) { c } else { '-' }).collect()
    }

    /// As tables call it: what it has of its own, steps aside.
    pub fn label(&self) -> String {
        let mut label = super::name_of(self.predictor);
        if let Some(order) = self.order {
            label += &format!(" {}", order.name());
        }
        // The order that brings it has the same name.
        let same = (self.order, self.schedule) == (Some(Order::Halton), Some(Schedule::Halton));
        if let Some(schedule) = self.schedule.filter(|_| !same) {
            label += &format!(" schedule {}", schedule.title());
        }
        if let Some(spread) = self.spread {
            label += &format!(" spread {spread}");
        }
        if let Some(reveal) = self.reveal {
            label += &format!(" {reveal}");
        }
        if let Some(share) = self.corrector {
            label += &format!(" corrector {share}");
        }
        if let Some(weight) = self.weight {
            label += &format!(" weight {weight}");
        }
        if let Some([low, high]) = self.guidance_interval {
            label += &format!(" guided {low}-{high}");
        }
        for (name, temperature) in [("draw", self.draw), ("choice", self.choice)] {
            if let Some(temperature) = temperature {
                label += &format!(" {name} {temperature}");
            }
        }
        match &self.refresh {
            Refresh::Every | Refresh::Uniform(_) => label,
            Refresh::Optimal(_) => label + " optimal",
            other => format!("{label} {other}"),
        }
    }
}

/// Makes all pictures of a comparison, in batches; prompts of one length go together.
#[derive(Debug)]
pub struct Maker<'a> {
    pub(super) engine: &'a mut Engine,
    pub(super) jobs: Vec<Job>,
    wanted: Vec<Wanted>,
    at_once: u32,
    workers: Option<Workers>,
}

impl<'a> Maker<'a> {
    /// Subjects and what their pictures have to show. Seeds count up from `seed`.
    ///
    /// # Errors
    /// A subject that is not the engine's model's, or a word that it does not know: its pictures would be blamed for it.
    pub fn new(
        engine: &'a mut Engine,
        pictures: Vec<(Subject, Wanted)>,
        seed: u64,
        at_once: u32,
    ) -> Result<Self, GenerateError> {
        let model = engine.model()?;
        let (mut jobs, mut wanted) = (Vec::new(), Vec::new());
        for (index, (subject, asked)) in pictures.into_iter().enumerate() {
            if let (Some(prompts), Subject::Prompt(prompt)) = (model.prompts(), &subject)
                && let Some(word) = prompts.unknown_words(prompt).first()
            {
                let message = format!(
                    "the model does not know {word:?} of {prompt:?}; is the judge of another vocabulary than the model?"
                );
                return Err(GenerateError::Setting(message));
            }
            let seed = seed.wrapping_add(index as u64);
            jobs.push(Job::new(model.condition(&subject)?, seed));
            wanted.push(asked);
        }
        let at_once = at_once.clamp(1, jobs.len().max(1) as u32);
        Ok(Self { engine, jobs, wanted, at_once, workers: None })
    }

    /// The same with so many workers, each with one thread of the CPU: pictures are the same, and come sooner than from all threads
    /// together. What batches take then says little; see [`Maker::time`].
    ///
    /// # Errors
    /// The device is no CPU, or the system starts no threads.
    pub fn with_workers(self, count: usize) -> Result<Self, GenerateError> {
        if count < 2 {
            return Ok(self);
        }
        if !matches!(self.engine.device(), Device::Cpu) {
            let message = "workers share a CPU; use --backend cpu, or leave --workers out";
            return Err(GenerateError::Setting(message.to_owned()));
        }
        let workers = Workers::start(count, self.engine.model()?)?;
        Ok(Self { workers: Some(workers), ..self })
    }

    /// Pixels down and across.
    ///
    /// # Errors
    /// No model is open.
    pub fn size(&self) -> Result<[u32; 2], GenerateError> {
        Ok(self.engine.model()?.family().size())
    }

    /// What each picture has to show.
    pub fn wanted(&self) -> &[Wanted] {
        &self.wanted
    }

    /// How many pictures a method makes.
    pub(super) fn count(&self, method: &Method) -> usize {
        method.pictures.map_or(self.jobs.len(), |count| self.jobs.len().min(count as usize))
    }

    /// Indices of jobs whose prompts are of one length.
    pub(super) fn by_length(&self) -> Vec<Vec<usize>> {
        let mut groups = std::collections::BTreeMap::<[u32; 2], Vec<usize>>::new();
        for (index, job) in self.jobs.iter().enumerate() {
            groups.entry(job.condition.prompt_tokens()).or_default().push(index);
        }
        groups.into_values().collect()
    }

    /// All pictures by each method; the methods are all with this predictor. `tick` is called now and then.
    ///
    /// # Errors
    /// The device failed, or the model has no such predictor.
    pub fn make(
        &mut self,
        predictor: Option<Predictor>,
        methods: &[Method],
        tick: &mut dyn FnMut(),
    ) -> Result<Vec<Made>, GenerateError> {
        debug_assert!(methods.iter().all(|method| method.predictor == predictor), "they share a session");
        let settings = methods.iter().map(|method| self.settings(method)).collect::<Result<Vec<_>, _>>()?;
        let counts: Vec<usize> = methods.iter().map(|method| self.count(method)).collect();
        let size = self.picture()?;
        let mut sheets: Vec<Sheet> = counts.iter().map(|&count| Sheet::new(count, size)).collect();
        // By lengths first: its methods share the session that a length of prompts asks for.
        let mut lengths: Vec<Vec<(usize, Task)>> = Vec::new();
        for indices in self.by_length() {
            let tasks = settings.iter().zip(&counts).map(|(settings, &count)| {
                let those = indices.partition_point(|&index| index < count);
                self.task(settings, &indices[..those], FEATURED)
            });
            lengths.push(tasks.enumerate().filter(|(_, task)| !task.jobs.is_empty()).collect());
        }
        if let Some(workers) = &self.workers {
            let tasks = lengths.iter().flatten();
            let batches = tasks.flat_map(|(method, task)| task.batches().map(move |batch| (*method, batch)));
            let (of, batches): (Vec<usize>, Vec<Task>) = batches.unzip();
            workers.run(batches, |batch, parts| {
                parts.iter().for_each(|part| sheets[of[batch]].add(part));
                tick();
            })?;
        } else {
            for tasks in lengths {
                let mut warm = None;
                for (method, task) in tasks {
                    let images = self.at_once.min(task.jobs.len() as u32);
                    self.warm_up(&mut warm, predictor, (&task.jobs[0], &task.settings), images)?;
                    task.run(self.engine, tick)?.iter().for_each(|part| sheets[method].add(part));
                }
            }
        }
        Ok(sheets.into_iter().map(Sheet::made).collect())
    }

    /// Seconds of the steps and of decoding, for one picture, by method: medians of so many rounds, in each of which every method makes
    /// one batch of the same pictures. What else the machine does then falls on all methods alike. Methods of one predictor come one
    /// after the other; `tick` is called after each batch.
    ///
    /// # Errors
    /// The device failed, or the model has no such predictor.
    pub fn time(
        &mut self,
        methods: &[Method],
        rounds: u32,
        tick: &mut dyn FnMut(),
    ) -> Result<Vec<[f64; 2]>, GenerateError> {
        let mut groups = self.by_length();
        groups.sort_by_key(Vec::len);
        let mut indices = groups.pop().unwrap_or_default();
        indices.truncate(self.at_once as usize);
        let mut clocks: Vec<Clock> = methods.iter().map(|_| Clock::default()).collect();
        for _ in 0..rounds {
            let mut warm = None;
            for (method, clock) in methods.iter().zip(&mut clocks) {
                let settings = self.settings(method)?;
                if let Some(&first) = indices.first() {
                    let job = self.jobs[first].clone();
                    self.warm_up(&mut warm, method.predictor, (&job, &settings), indices.len() as u32)?;
                }
                // By all threads together, as a person waits for a picture.
                self.task(&settings, &indices, 0)
                    .run(self.engine, &mut || ())?
                    .iter()
                    .for_each(|part| clock.add(part));
                tick();
            }
        }
        Ok(clocks.into_iter().map(Clock::seconds).collect())
    }

    /// Makes the session that settings ask for before anything is timed, if it is another than the one before.
    fn warm_up(
        &mut self,
        warm: &mut Option<(Option<Predictor>, [bool; 3])>,
        predictor: Option<Predictor>,
        (job, settings): (&Job, &Settings),
        images: u32,
    ) -> Result<(), GenerateError> {
        // A session is made for a predictor, of which vanilla has none, and for runs that are guided, decide or correct.
        let sampling = &settings.sampling;
        let asked = (predictor, [sampling.guided(), settings.decides(), sampling.corrector > 0.0]);
        if *warm != Some(asked) {
            block_on(self.engine.warm_up(job, settings, None, images))?;
            *warm = Some(asked);
        }
        Ok(())
    }

    /// Whether all of these can be run, before the first of them takes its hours.
    ///
    /// # Errors
    /// One cannot; it says which.
    pub(super) fn check(&self, methods: &[Method]) -> Result<(), GenerateError> {
        let tokens = self.engine.model()?.family().tokens();
        for method in methods {
            self.settings(method).and_then(|settings| settings.plan(tokens)).map_err(
                |error| match error {
                    GenerateError::Setting(message) => {
                        GenerateError::Setting(format!("{}: {message}", method.label()))
                    }
                    other => other,
                },
            )?;
        }
        Ok(())
    }

    /// What a method is for this model.
    ///
    /// # Errors
    /// No model is open, or the method is one that it was not calibrated for.
    pub(super) fn settings(&self, method: &Method) -> Result<Settings, GenerateError> {
        let model = self.engine.model()?;
        let sampling = model.config.sampling;
        let sampling = Sampling {
            steps: method.steps,
            order: method.order.unwrap_or(sampling.order),
            schedule: method.schedule.unwrap_or(sampling.schedule),
            spread: method.spread.unwrap_or(sampling.spread),
            reveal: method.reveal.unwrap_or(sampling.reveal),
            corrector: method.corrector.unwrap_or(sampling.corrector),
            guidance: method.weight.unwrap_or(sampling.guidance),
            guidance_interval: method.guidance_interval.unwrap_or(sampling.guidance_interval),
            draw_temperature: method.draw.unwrap_or(sampling.draw_temperature),
            choice_temperature: method.choice.unwrap_or(sampling.choice_temperature),
            ..sampling
        };
        let predictor = method.predictor.unwrap_or_default();
        model.resolve(Settings { sampling, refresh: method.refresh.clone(), predictor })
    }

    /// Some of the pictures, with the features of those that stand before a place.
    fn task(&self, settings: &Settings, indices: &[usize], featured: usize) -> Task {
        Task {
            jobs: indices.iter().map(|&index| self.jobs[index].clone()).collect(),
            places: indices.to_vec(),
            settings: settings.clone(),
            at_once: self.at_once,
            featured,
        }
    }

    /// Tokens and values of a picture.
    fn picture(&self) -> Result<[usize; 2], GenerateError> {
        let family = self.engine.model()?.family();
        Ok([family.tokens() as usize, family.size().iter().product::<u32>() as usize * 3])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_read_from_words_and_named_by_what_is_theirs() {
        let of = |text: &str| Method::parse(text, 32);
        assert_eq!(of("vanilla steps=8").unwrap(), Method::vanilla(8));
        let shortcut = Method::accelerated(32, Predictor::Shortcut, Refresh::Uniform(4));
        assert_eq!(of("shortcut").unwrap(), shortcut);
        let all =
            of("taylor:2 refresh=optimal:5 order=halton schedule=kept-cosine spread=1.5 guidance=0.2,0.8")
                .unwrap();
        assert_eq!(
            (all.order, all.spread, all.guidance_interval),
            (Some(Order::Halton), Some(1.5), Some([0.2, 0.8]))
        );
        assert_eq!(all.label(), "taylor:2 halton schedule kept cosine spread 1.5 guided 0.2-0.8 optimal");
        assert_eq!(of("ml-cache").unwrap().label(), "ml-cache interval:0.3,5");
        let hot = of("vanilla weight=1.5 draw=0.9 choice=4").unwrap();
        assert_eq!((hot.weight, hot.draw, hot.choice), (Some(1.5), Some(0.9), Some(4.0)));
        assert_eq!(hot.label(), "vanilla weight 1.5 draw 0.9 choice 4");
        let few = of("shortcut pictures=12").unwrap();
        assert!(few.pictures == Some(12) && few.is_as(&shortcut) && few != shortcut, "{few:?}");
        assert!(!few.is_as(&of("reuse").unwrap()) && few.label() == shortcut.label());
        for (text, name) in [
            ("vanilla steps=8", "vanilla-8"),
            ("shortcut", "shortcut-32-4"),
            ("taylor:2 refresh=optimal:5 order=halton", "taylor-2-halton-optimal-32-5"),
            ("vanilla order=halton schedule=halton", "vanilla-halton-32"),
            ("vanilla order=halton schedule=linear", "vanilla-halton-schedule-linear-32"),
            ("ml-cache guidance=0.2,0.8", "ml-cache-guided-0.2-0.8-interval-0.3-5-32"),
        ] {
            assert_eq!(of(text).unwrap().file_name(), name);
        }
        for (text, words) in [
            ("", "vanilla or a predictor"),
            ("quick", "neither vanilla"),
            ("vanilla refresh=uniform:3", "leave refresh out"),
            ("reuse budget=3", "refresh=RULE"),
            ("reuse order=backwards", "order=NAME"),
            ("reuse guidance=1", "guidance=LOW,HIGH"),
            ("reuse choice=hot", "choice=TEMPERATURE"),
            ("reuse pictures=0", "pictures=N"),
        ] {
            let error = of(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
