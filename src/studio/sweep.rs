//! A sweep: one prompt over seeds and methods, every picture read by the judge, points that grow on a plot of quality by time (the
//! paper's figure 5, live). Runs are made in turn, a seed of every method before the next seed, so that all points grow together.

use super::actor::RunId;
use super::compare::Method;
use super::judging::Quality;
use super::run::agreement;
use crate::eval::scenes_eval::stats::{Mean, Share};
use crate::generate::picture::Picture;
use crate::generate::predict::Predictor;
use crate::generate::proof::fingerprint;
use crate::generate::recipe::Recipe;
use crate::generate::refresh::Refresh;

/// Seeds that a press adds.
pub const SEEDS: usize = 8;

/// A picture of a method.
#[derive(Clone, Debug)]
pub struct Made {
    /// Its seed.
    pub seed: u64,
    /// Milliseconds of its steps.
    pub ms: f64,
    /// What is known of it.
    pub quality: Quality,
    /// The picture.
    pub picture: Picture,
    codes: Vec<u32>,
}

impl Made {
    /// Tells pictures apart.
    pub fn fingerprint(&self) -> u64 {
        fingerprint(self.codes.iter().copied())
    }
}

/// A method and its pictures.
#[derive(Clone, Debug)]
pub struct Point {
    /// The method, with the first seed.
    pub method: Method,
    /// Its pictures, by seed in the order of the sweep.
    pub made: Vec<Made>,
}

/// Where a method stands: the mean, and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measure {
    /// Milliseconds of a picture's steps, in the mean.
    pub ms: f64,
    /// What is seen as quality: the share of pictures that are all right, or nats a code.
    pub value: f64,
    /// The interval's ends.
    pub interval: [f64; 2],
}

/// What points are measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// The share of pictures that the judge finds all right; more is better.
    Right,
    /// Nats a code under the model itself; less is better.
    Coherence,
}

impl Point {
    /// Where it stands, once there is a picture.
    pub fn measure(&self) -> Option<Measure> {
        let ms = self.made.iter().map(|made| made.ms).sum::<f64>() / self.made.len().max(1) as f64;
        let right: Vec<bool> = self
            .made
            .iter()
            .filter_map(|made| match made.quality {
                Quality::Right(right) => Some(right),
                Quality::Coherence(_) => None,
            })
            .collect();
        if let Some(share) = Share::new(right.iter().filter(|right| **right).count(), right.len()) {
            return Some(Measure { ms, value: share.share, interval: [share.low, share.high] });
        }
        let nats: Vec<f64> = self
            .made
            .iter()
            .filter_map(|made| match made.quality {
                Quality::Coherence(nats) => Some(nats),
                Quality::Right(_) => None,
            })
            .collect();
        let value = nats.iter().sum::<f64>() / nats.len() as f64;
        let interval = Mean::of_values(&nats).map_or([value; 2], |mean| [mean.low, mean.high]);
        (!nats.is_empty()).then_some(Measure { ms, value, interval })
    }
}

/// Methods, what they have made, and the run under way.
#[derive(Clone, Debug, Default)]
pub struct Sweep {
    /// The methods, vanilla first.
    pub points: Vec<Point>,
    /// The point whose pictures are shown.
    pub opened: Option<usize>,
    wanted: usize,
    under_way: Option<(usize, RunId)>,
    judged: Option<(usize, Made, RunId)>,
}

/// The methods of a sweep: vanilla in all steps and in fewer, the recipe's predictor with fewer and fewer full steps, reuse with the
/// fewest, and methods that a person added to the comparison.
pub fn methods(recipe: &Recipe, has_shortcut: bool, added: &[Method]) -> Vec<Method> {
    let steps = recipe.draw.steps;
    let own = match recipe.predictor {
        Predictor::Shortcut if !has_shortcut => Predictor::Reuse,
        other => other,
    };
    let part = |of: u32| steps.div_ceil(of);
    let vanilla = |steps: u32| Method {
        name: super::compare::vanilla(steps),
        recipe: Recipe { draw: recipe.vanilla().draw.with_steps(steps), ..recipe.vanilla() },
    };
    let with = |predictor: Predictor, budget: u32| Method {
        name: format!("{}, {budget} full", predictor.predict().title()),
        recipe: Recipe { refresh: Refresh::Uniform(budget), predictor, ..recipe.clone() },
    };
    let mut all = vec![vanilla(steps)];
    all.extend([2, 4, 8].map(|of| vanilla(part(of))));
    all.extend([4, 8, 16].map(|of| with(own, part(of))));
    all.push(with(Predictor::Reuse, part(8)));
    all.extend(added.iter().map(|method| Method {
        name: method.name.clone(),
        recipe: Recipe {
            subject: recipe.subject.clone(),
            model: recipe.model.clone(),
            seed: recipe.seed,
            ..method.recipe.clone()
        },
    }));
    let mut found: Vec<Method> = Vec::new();
    for mut method in all {
        method.recipe.images = 1;
        let is_full = |recipe: &Recipe| recipe.full_steps() == Some(recipe.draw.steps as usize);
        let same = |known: &Method| {
            let both_full = is_full(&known.recipe) && is_full(&method.recipe);
            known.recipe == method.recipe || both_full && known.recipe.draw == method.recipe.draw
        };
        if !found.iter().any(same) {
            found.push(method);
        }
    }
    found
}

impl Sweep {
    /// Adds a round of seeds; to the same methods as before, or anew where they are others.
    pub fn begin(&mut self, methods: Vec<Method>) {
        let same = self.points.iter().map(|point| &point.method).eq(methods.iter());
        if !same {
            *self = Self::default();
            self.points = methods.into_iter().map(|method| Point { method, made: Vec::new() }).collect();
        }
        self.wanted = self.points.iter().map(|point| point.made.len()).max().unwrap_or(0) + SEEDS;
    }

    /// Makes no more pictures; those that are there stay.
    pub fn stop(&mut self) {
        (self.wanted, self.under_way, self.judged) = (0, None, None);
    }

    /// Whether there are pictures to come.
    pub fn is_active(&self) -> bool {
        self.points.iter().any(|point| point.made.len() < self.wanted)
    }

    /// Pictures that are made, and of how many.
    pub fn progress(&self) -> [usize; 2] {
        let made = self.points.iter().map(|point| point.made.len()).sum();
        [made, (self.wanted * self.points.len()).max(made)]
    }

    /// The next picture to make: of the method that has fewest.
    pub fn next(&self) -> Option<(usize, Recipe)> {
        if self.under_way.is_some() || self.judged.is_some() {
            return None;
        }
        let (at, point) = self.points.iter().enumerate().min_by_key(|(_, point)| point.made.len())?;
        let made = point.made.len();
        let recipe = point.method.recipe.clone();
        let seed = recipe.seed.wrapping_add(made as u64);
        (made < self.wanted).then_some((at, recipe.with_seed(seed)))
    }

    /// Remembers the run of a point's next picture.
    pub fn began(&mut self, at: usize, id: RunId) {
        self.under_way = Some((at, id));
    }

    /// Whether a run is of the sweep.
    pub fn has(&self, id: RunId) -> bool {
        self.under_way.is_some_and(|(_, known)| known == id)
    }

    /// A run of it was stopped or overtaken: its picture is still to be made.
    pub fn lost(&mut self, id: RunId) {
        self.under_way = self.under_way.filter(|(_, known)| *known != id);
    }

    /// Takes a finished run in; its quality is still to be said. Gives what was run.
    pub fn finished(&mut self, id: RunId, codes: &[u32], picture: &Picture, ms: f64) -> Option<Recipe> {
        let (at, _) = self.under_way.take_if(|(_, known)| *known == id)?;
        let point = self.points.get(at)?;
        let recipe = point.method.recipe.clone();
        let seed = recipe.seed.wrapping_add(point.made.len() as u64);
        let (picture, codes) = (picture.clone(), codes.to_vec());
        let made = Made { seed, ms, quality: Quality::Right(false), picture, codes };
        self.judged = Some((at, made, id));
        Some(recipe.with_seed(seed))
    }

    /// Takes in how good the last picture is.
    pub fn judged(&mut self, id: RunId, quality: Quality) {
        if let Some((at, made, _)) = self.judged.take_if(|(_, _, known)| *known == id)
            && let Some(point) = self.points.get_mut(at)
        {
            point.made.push(Made { quality, ..made });
        }
    }

    /// What points are measured by; `None` before there is a picture.
    pub fn scale(&self) -> Option<Scale> {
        let first = self.points.iter().find_map(|point| point.made.first())?;
        Some(match first.quality {
            Quality::Right(_) => Scale::Right,
            Quality::Coherence(_) => Scale::Coherence,
        })
    }

    /// Share of tokens equal to those of the first method, over the seeds that both have.
    pub fn agreement(&self, at: usize) -> Option<f64> {
        let pairs = self.points.first()?.made.iter().zip(&self.points.get(at)?.made);
        let shares: Vec<f64> =
            pairs.filter_map(|(first, made)| agreement(&made.codes, &first.codes)).collect();
        (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64)
    }

    /// The points that no other one matches in as little time, the fastest first.
    pub fn front(&self) -> Vec<usize> {
        let Some(scale) = self.scale() else { return Vec::new() };
        let good = |measure: &Measure| if scale == Scale::Right { measure.value } else { -measure.value };
        let mut all: Vec<(usize, Measure)> =
            self.points.iter().enumerate().filter_map(|(at, point)| Some((at, point.measure()?))).collect();
        all.sort_by(|(_, a), (_, b)| a.ms.total_cmp(&b.ms).then(good(b).total_cmp(&good(a))));
        let mut best = f64::NEG_INFINITY;
        all.retain(|(_, measure)| {
            let better = good(measure) > best;
            best = best.max(good(measure));
            better
        });
        all.into_iter().map(|(at, _)| at).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::recipe::Subject;
    use crate::generate::sampling::Sampling;

    fn recipe(steps: u32) -> Recipe {
        Recipe {
            model: "m".to_owned(),
            subject: Subject::Prompt("a fox".to_owned()),
            seed: 40,
            images: 4,
            draw: Sampling { steps, ..Sampling::DIMOO },
            refresh: Refresh::Uniform(4),
            predictor: Predictor::Shortcut,
            quantize: None,
            begun: Vec::new(),
            canvas: None,
        }
    }

    fn picture() -> Picture {
        Picture { width: 1, height: 1, rgb: vec![0; 3] }
    }

    #[test]
    fn methods_are_of_one_prompt_and_no_two_are_the_same() {
        let names = |recipe: &Recipe, has| -> Vec<String> {
            methods(recipe, has, &[]).into_iter().map(|method| method.name).collect()
        };
        assert_eq!(
            names(&recipe(32), true),
            [
                "Vanilla, 32 steps",
                "Vanilla, 16 steps",
                "Vanilla, 8 steps",
                "Vanilla, 4 steps",
                "Shortcut, 8 full",
                "Shortcut, 4 full",
                "Shortcut, 2 full",
                "Reuse, 4 full"
            ]
        );
        assert_eq!(names(&recipe(32), false).iter().filter(|name| name.starts_with("Reuse")).count(), 3);
        assert_eq!(names(&recipe(1), true), ["Vanilla, 1 step"]);
        let mut added = Method { name: "mine".to_owned(), recipe: recipe(20) };
        added.recipe.subject = Subject::Prompt("a taxi".to_owned());
        let all = methods(&recipe(32), true, &[added]);
        assert!(all.iter().all(|m| m.recipe.subject == recipe(32).subject && m.recipe.images == 1));
        assert_eq!(all.last().unwrap().name, "mine");
    }

    #[test]
    fn points_grow_together_and_the_front_is_of_the_best() {
        let mut sweep = Sweep::default();
        let all = methods(&recipe(32), true, &[]);
        sweep.begin(all.clone());
        let mut ids = 1..;
        let mut asked = Vec::new();
        while let Some((at, recipe)) = sweep.next() {
            asked.push((at, recipe.seed));
            let id = RunId(ids.next().unwrap());
            sweep.began(at, id);
            assert!(sweep.next().is_none(), "one at a time");
            if asked.len() == 3 {
                // Overtaken: it comes again.
                sweep.lost(id);
                continue;
            }
            // Full steps cost ten times as much; more of them are right.
            let full = recipe.full_steps().unwrap() as f64;
            let ms = full * 10.0 + recipe.draw.steps as f64;
            let ran = sweep.finished(id, &[at as u32, 1], &picture(), ms).unwrap();
            assert_eq!(ran.seed, recipe.seed);
            assert!(sweep.next().is_none(), "it is still to be judged");
            sweep.judged(RunId(0), Quality::Right(true));
            sweep.judged(id, Quality::Right(recipe.seed - 40 < recipe.full_steps().unwrap() as u64));
        }
        assert_eq!(asked[..4], [(0, 40), (1, 40), (2, 40), (2, 40)]);
        assert_eq!(asked.len(), all.len() * SEEDS + 1);
        assert_eq!((sweep.is_active(), sweep.progress()), (false, [64, 64]));
        let measure = sweep.points[5].measure().unwrap();
        assert_eq!((measure.value, measure.ms), (0.5, 72.0));
        assert!(measure.interval[0] < 0.5 && measure.interval[1] > 0.5);
        assert_eq!(sweep.agreement(5), Some(0.5));
        // Two full steps of 32, four steps, eight steps: nothing else is as quick and as good.
        assert_eq!(
            sweep.front(),
            [3, 2],
            "{:?}",
            sweep.points.iter().map(Point::measure).collect::<Vec<_>>()
        );
        // Once more adds seeds; other methods begin anew.
        sweep.begin(all.clone());
        assert_eq!((sweep.progress(), sweep.next().unwrap().1.seed), ([64, 128], 48));
        sweep.stop();
        assert_eq!((sweep.is_active(), sweep.next()), (false, None));
        sweep.begin(all[..2].to_vec());
        assert_eq!(sweep.progress(), [0, 16]);
    }

    #[test]
    fn of_coherence_less_is_better() {
        let mut sweep = Sweep::default();
        sweep.begin(methods(&recipe(32), true, &[])[..3].to_vec());
        for (at, (nats, ms)) in [(3.0, 300.0), (3.5, 160.0), (3.2, 170.0)].into_iter().enumerate() {
            for _ in 0..3 {
                sweep.began(at, RunId(7));
                sweep.finished(RunId(7), &[1], &picture(), ms);
                sweep.judged(RunId(7), Quality::Coherence(nats));
            }
        }
        assert_eq!((sweep.scale(), sweep.front()), (Some(Scale::Coherence), vec![1, 2, 0]));
        assert_eq!(sweep.points[0].measure().unwrap().interval, [3.0, 3.0]);
    }
}
