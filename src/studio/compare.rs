//! Methods side by side: one seed, several ways. Runs are made one after the other, so that none takes the device from
//! another; the race shows them again on a common clock, by the times that were measured.

use super::actor::RunId;
use super::run::{Progress, Run, agreement};
use crate::generate::order::Order;
use crate::generate::predict::Predictor;
use crate::generate::recipe::Recipe;
use crate::generate::refresh::Refresh;
use crate::generate::sampling::{Reveal, Sampling};

/// One way.
#[derive(Clone, Debug, PartialEq)]
pub struct Method {
    /// As a heading says it.
    pub name: String,
    /// What it runs.
    pub recipe: Recipe,
}

/// The ways to compare for a recipe: vanilla; the recipe's own; vanilla with as few steps; reuse of features with the same
/// full steps. Those that would be the same are left out.
pub fn methods(recipe: &Recipe, has_shortcut: bool) -> Vec<Method> {
    let steps = recipe.draw.steps;
    let few = steps.div_ceil(4);
    let is_vanilla = recipe.full_steps() == Some(steps as usize);
    let refresh = if is_vanilla { Refresh::Uniform(few) } else { recipe.refresh.clone() };
    let known = Recipe { refresh: refresh.clone(), ..recipe.clone() }.full_steps();
    let budget = match &refresh {
        Refresh::Adaptive(adaptive) => adaptive.budget.unwrap_or(few),
        _ => known.map_or(few, |full| full as u32),
    };
    let own = if recipe.predictor == Predictor::Shortcut && !has_shortcut {
        Predictor::Reuse
    } else {
        recipe.predictor
    };
    let with = |predictor: Predictor| Method {
        name: match known {
            Some(_) => format!("{}, {budget} full", predictor.predict().title()),
            None => format!("{}, as needed", predictor.predict().title()),
        },
        recipe: Recipe { refresh: refresh.clone(), predictor, ..recipe.clone() },
    };
    let mut found = vec![
        Method { name: vanilla(steps), recipe: recipe.vanilla() },
        with(own),
        Method {
            name: vanilla(budget),
            recipe: Recipe {
                draw: recipe.draw.with_steps(budget),
                refresh: Refresh::Every,
                ..recipe.clone()
            },
        },
    ];
    if own != Predictor::Reuse {
        found.push(with(Predictor::Reuse));
    }
    let is_full = |recipe: &Recipe| recipe.full_steps() == Some(recipe.draw.steps as usize);
    let mut seen: Vec<Sampling> = Vec::new();
    found.retain(|method| {
        let draw = method.recipe.draw;
        let again = is_full(&method.recipe) && seen.contains(&draw);
        if is_full(&method.recipe) {
            seen.push(draw);
        }
        !again
    });
    found
}

/// Every step in full, so many of them, in words.
pub(super) fn vanilla(steps: u32) -> String {
    if steps == 1 { "Vanilla, 1 step".to_owned() } else { format!("Vanilla, {steps} steps") }
}

/// A recipe's method in a few words: what stands in, which steps are full, and what else is not as usual.
fn described(recipe: &Recipe) -> String {
    let draw = &recipe.draw;
    let mut words = match recipe.refresh {
        Refresh::Every => vanilla(draw.steps),
        _ => format!("{}, {}", recipe.predictor.predict().title(), recipe.refresh),
    };
    if draw.order != Order::Confidence {
        words += &format!(", {}", draw.order.name());
    }
    if draw.reveal != Reveal::Schedule {
        words += &format!(", {}", draw.reveal);
    }
    for (name, value) in [("spread", draw.spread), ("corrector", draw.corrector)] {
        if value > 0.0 {
            words += &format!(", {name} {value}");
        }
    }
    let [low, high] = draw.guidance_interval;
    if low > 0.0 || high < 1.0 {
        words += &format!(", guided {low} to {high}");
    }
    words
}

/// Methods being compared, in the order of their columns; the first is what the others are held against.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Names and runs; those without a run wait for their turn.
    pub columns: Vec<(Method, Option<RunId>)>,
    /// When the race began, in seconds of the window's clock.
    pub race: Option<f64>,
    /// Whether the other columns show how their pictures differ from the first.
    pub differences: bool,
}

impl Comparison {
    /// Of methods, none of which has run.
    pub fn new(methods: Vec<Method>) -> Self {
        Self {
            columns: methods.into_iter().map(|method| (method, None)).collect(),
            race: None,
            differences: false,
        }
    }

    /// Puts settings beside the others, from the first one's subject and seed; vanilla comes first where there is nothing yet.
    pub fn add(&mut self, recipe: &Recipe) {
        if self.columns.is_empty() {
            let name = format!("Vanilla, {} steps", recipe.draw.steps);
            self.columns.push((Method { name, recipe: recipe.vanilla() }, None));
        }
        let Some((first, _)) = self.columns.first() else { return };
        let first = first.recipe.clone();
        let recipe = Recipe {
            model: first.model,
            subject: first.subject,
            seed: first.seed,
            images: first.images,
            ..recipe.clone()
        };
        let method = Method { name: described(&recipe), recipe };
        if self.columns.iter().all(|(other, _)| other.recipe != method.recipe) {
            self.columns.push((method, None));
        }
    }

    /// The next method to run, once nothing is under way.
    pub fn waiting(&self) -> Option<usize> {
        self.columns.iter().position(|(_, run)| run.is_none())
    }
}

/// What a method gave, against the first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Milliseconds of all steps.
    pub ms: f64,
    /// How much faster than the first; 1 for it.
    pub speed_up: f64,
    /// Share of tokens equal to the first's; `None` where the numbers differ.
    pub agreement: Option<f64>,
    /// Mean absolute difference of pixels from the first, of 255.
    pub difference: Option<f64>,
}

/// The figures of a finished run against a finished first one.
pub fn figures(first: &Run, run: &Run) -> Option<Figures> {
    let finished = |run: &Run| run.progress == Progress::Finished && run.loop_ms() > 0.0;
    if !finished(first) || !finished(run) {
        return None;
    }
    let pairs = first.pictures.iter().zip(&run.pictures);
    let (mut sum, mut count) = (0_u64, 0_u64);
    for (ours, theirs) in pairs.filter(|(ours, theirs)| ours.rgb.len() == theirs.rgb.len()) {
        sum += ours.rgb.iter().zip(&theirs.rgb).map(|(a, b)| u64::from(a.abs_diff(*b))).sum::<u64>();
        count += ours.rgb.len() as u64;
    }
    Some(Figures {
        ms: run.loop_ms(),
        speed_up: first.loop_ms() / run.loop_ms(),
        agreement: agreement(&run.codes, &first.codes),
        difference: (count > 0).then(|| sum as f64 / count as f64),
    })
}

/// The step that a run shows `ms` after the start of a race; `None` when it is finished.
pub fn step_at(run: &Run, ms: f64) -> Option<usize> {
    let mut passed = 0.0;
    for (step, step_ms) in run.step_ms.iter().enumerate() {
        passed += step_ms;
        if passed > ms {
            return Some(step);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::picture::Picture;
    use crate::generate::recipe::Subject;

    fn recipe(refresh: Refresh, predictor: Predictor) -> Recipe {
        Recipe {
            model: "m".to_owned(),
            subject: Subject::Prompt(String::new()),
            seed: 5,
            images: 1,
            draw: Sampling { steps: 16, ..Sampling::DIMOO },
            refresh,
            predictor,
            quantize: None,
            begun: Vec::new(),
            canvas: None,
        }
    }

    #[test]
    fn methods_share_everything_but_the_method() {
        let all = methods(&recipe(Refresh::Uniform(5), Predictor::Shortcut), true);
        let names: Vec<&str> = all.iter().map(|method| method.name.as_str()).collect();
        assert_eq!(names, ["Vanilla, 16 steps", "Shortcut, 5 full", "Vanilla, 5 steps", "Reuse, 5 full"]);
        assert!(all.iter().all(|method| method.recipe.seed == 5));
        assert_eq!(all[2].recipe.draw.steps, 5);
        assert_eq!(methods(&recipe(Refresh::Every, Predictor::Shortcut), false).len(), 3);
        let mut one_step = recipe(Refresh::Every, Predictor::Reuse);
        one_step.draw.steps = 1;
        assert_eq!(methods(&one_step, false).len(), 1);
    }

    #[test]
    fn settings_are_put_beside_the_others_once_and_from_the_same_seed() {
        let mut comparison = Comparison::default();
        let mut other = recipe("adaptive:0.1".parse().unwrap(), Predictor::Shortcut);
        other.draw = Sampling { order: Order::Halton, corrector: 0.1, ..other.draw };
        comparison.add(&other);
        comparison.add(&Recipe { seed: 9, ..other.clone() });
        let names: Vec<&str> = comparison.columns.iter().map(|(method, _)| method.name.as_str()).collect();
        assert_eq!(names, ["Vanilla, 16 steps", "Shortcut, adaptive:0.1, halton, corrector 0.1"]);
        comparison.add(&recipe(Refresh::Uniform(3), Predictor::Reuse));
        assert_eq!(comparison.columns[2].0.name, "Reuse, uniform:3");
        assert!(comparison.columns.iter().all(|(method, _)| method.recipe.seed == 5));
        let adaptive = methods(&recipe("adaptive:0.1".parse().unwrap(), Predictor::Shortcut), true);
        assert_eq!(adaptive[1].name, "Shortcut, as needed");
    }

    #[test]
    fn figures_are_against_the_first() {
        let mut first = Run::new(RunId(1), recipe(Refresh::Every, Predictor::Reuse));
        first.progress = Progress::Finished;
        first.step_ms = vec![4.0; 4];
        first.codes = vec![1, 2, 3, 4];
        first.pictures = vec![Picture { width: 1, height: 1, rgb: vec![10, 20, 30] }];
        let mut run = first.clone();
        run.step_ms = vec![4.0, 1.0, 2.0, 1.0];
        run.codes[0] = 9;
        run.pictures[0].rgb[2] = 33;
        let found = figures(&first, &run).unwrap();
        assert_eq!(found, Figures { ms: 8.0, speed_up: 2.0, agreement: Some(0.75), difference: Some(1.0) });
        assert_eq!((step_at(&run, 0.0), step_at(&run, 4.5), step_at(&run, 8.0)), (Some(0), Some(1), None));
        run.progress = Progress::Stopped;
        assert_eq!(figures(&first, &run), None);
    }
}
