//! Sets of methods by name: what `migm eval --methods` compares.

use super::makers::Method;
use crate::generate::calibrate::Calibration;
use crate::generate::model::Model;
use crate::generate::order::Order;
use crate::generate::predict::Predictor;
use crate::generate::programs::Programs;
use crate::generate::refresh::Refresh;
use crate::generate::schedule::Schedule;
use crate::generate::session::{Settings, Shape};
use crate::models::Batch;

/// Everything that the model can do.
pub const ALL: &str = "all";
/// Tokens along a Halton sequence, as many a step as its authors take.
const HALTON: &str = "halton";
/// Tokens of a step apart.
const SPREAD: &str = "spread";
/// Guidance at some mask ratios only.
const GUIDANCE: &str = "guidance";
/// Full steps where they were measured to serve best.
const OPTIMAL: &str = "optimal";
/// Fewer steps; they are always there.
const VANILLA: &str = "vanilla";

/// Cells between tokens of a step: no two touch, at corners neither.
const CELLS: f32 = 1.5;
/// Mask ratios with guidance: where most of a picture is decided.
const INTERVAL: [f32; 2] = [0.1, 0.6];

/// What names stand for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chosen {
    /// To be run with every budget.
    pub predictors: Vec<Predictor>,
    /// Beside them: predictors with the full steps that are their own, and other choices of tokens.
    pub others: Vec<Method>,
}

/// The methods of names: a predictor with every budget and with its own full steps; `halton`, `spread` and `guidance` for vanilla
/// and for the first predictor; `optimal` with every budget; or `all` of these.
///
/// # Errors
/// A sentence on a name that is not known, or a method that the model does not have.
pub fn named(model: &Model, steps: u32, budgets: &[u32], names: &[String]) -> Result<Chosen, String> {
    let all = names.iter().any(|name| name == ALL);
    let mut predictors: Vec<Predictor> = Vec::new();
    if all {
        predictors.extend(Predictor::ALL.into_iter().filter(|&predictor| has(model, predictor).is_ok()));
    }
    let mut choices: Vec<&str> = Vec::new();
    if all {
        choices.extend([HALTON, SPREAD]);
        choices.extend(model.config.sampling.guided().then_some(GUIDANCE));
        choices.extend(schedules(model, steps).is_ok().then_some(OPTIMAL));
    }
    for name in names.iter().map(String::as_str).filter(|name| ![ALL, VANILLA].contains(name)) {
        if let Some(&known) = [HALTON, SPREAD, GUIDANCE, OPTIMAL].iter().find(|known| **known == name) {
            choices.push(known);
            continue;
        }
        let predictor = Predictor::named(name).ok_or_else(|| unknown(name))?;
        has(model, predictor)?;
        if !predictors.contains(&predictor) {
            predictors.push(predictor);
        }
    }
    let mut others = Vec::new();
    for &predictor in &predictors {
        let own = predictor.default_refresh(steps);
        if !budgets
            .iter()
            .any(|&budget| full_steps(&Refresh::Uniform(budget), steps) == full_steps(&own, steps))
        {
            others.push(Method::accelerated(steps, predictor, own));
        }
    }
    let best = Predictor::of_model(model.family().has_shortcut());
    for choice in choices {
        if choice == OPTIMAL {
            let predictor = schedules(model, steps)?;
            let optimal = |&budget| Method::accelerated(steps, predictor, Refresh::Optimal(budget));
            others.extend(budgets.iter().map(optimal));
            continue;
        }
        let accelerated = Method::accelerated(steps, best, best.default_refresh(steps));
        let accelerated = has(model, best).is_ok().then_some(accelerated);
        others.extend([Method::vanilla(steps)].into_iter().chain(accelerated).map(|method| match choice {
            HALTON => Method { order: Some(Order::Halton), schedule: Some(Schedule::Halton), ..method },
            SPREAD => Method { spread: Some(CELLS), ..method },
            _ => Method { guidance_interval: Some(INTERVAL), ..method },
        }));
    }
    Ok(Chosen { predictors, others })
}

fn unknown(name: &str) -> String {
    let predictors = Predictor::ALL.map(|predictor| predictor.name()).join(", ");
    format!(
        "{name:?} is none of {ALL}, {VANILLA}, {predictors}, {HALTON}, {SPREAD}, {GUIDANCE} and {OPTIMAL}"
    )
}

/// Whether a model can be run so: programs say it, for prompts of any length.
fn has(model: &Model, predictor: Predictor) -> Result<(), String> {
    if model.family().is_one_step() {
        return Err("the model makes its pictures in one step, and nothing stands in for that".to_owned());
    }
    let batch = Batch { images: 1, guided: model.config.sampling.guided(), prompt: [1, 1] };
    let programs = Programs::new(model.family(), Shape::new(batch, Some(predictor)), model.formats());
    programs.map(drop).map_err(|error| error.to_string())
}

/// What the model was calibrated for, if for so many steps.
fn schedules(model: &Model, steps: u32) -> Result<Predictor, String> {
    let known = model.calibration().into_iter().flat_map(Calibration::iter);
    let calibrated =
        known.filter(|known| known.steps == steps).find_map(|known| Predictor::named(&known.predictor));
    let predictor = calibrated.unwrap_or_default();
    let (sampling, refresh) = (model.config.sampling.with_steps(steps), Refresh::Optimal(1));
    let resolved = model.resolve(Settings { sampling, refresh, predictor });
    resolved.map(|_| predictor).map_err(|error| error.to_string())
}

/// The full steps of a plan that has as many as were asked for.
fn full_steps(refresh: &Refresh, steps: u32) -> Option<Vec<bool>> {
    refresh.full_steps(steps as usize, steps).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::fixtures::{fixture, text_fixture};

    fn of(model: &Model, names: &[&str]) -> Result<Chosen, String> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        named(model, 16, &[4, 2], &names)
    }

    #[test]
    fn all_is_every_predictor_with_its_own_plan_and_every_choice_of_tokens() {
        let (_folder, text) = text_fixture();
        for model in [fixture(), text] {
            let all = of(&model, &["all"]).unwrap();
            assert_eq!(all.predictors, Predictor::ALL);
            let labels: Vec<String> = all.others.iter().map(Method::label).collect();
            for label in
                ["ml-cache interval:0.3,5", "vanilla halton", "shortcut spread 1.5", "vanilla guided 0.1-0.6"]
            {
                assert!(labels.iter().any(|other| other == label), "{label} is not in {labels:?}");
            }
            // An eighth of the steps is among the budgets already.
            assert!(!labels.iter().any(|label| label == "shortcut"), "{labels:?}");
            let again = of(&model, &["all", "reuse", "vanilla"]).unwrap();
            assert_eq!(again, all);
        }
    }

    #[test]
    fn names_choose_and_a_wrong_one_is_answered_with_the_right_ones() {
        let model = fixture();
        assert_eq!(of(&model, &["vanilla"]).unwrap(), Chosen::default());
        let taylor = Predictor::named("taylor:2").unwrap();
        let chosen = of(&model, &["taylor:2", "halton"]).unwrap();
        assert_eq!(chosen.predictors, [taylor]);
        assert_eq!(chosen.others.len(), 2);
        let error = of(&model, &["quick"]).unwrap_err();
        assert!(error.contains("none of all, vanilla, shortcut") && error.contains("halton"), "{error}");
        let error = of(&model, &["optimal"]).unwrap_err();
        assert!(error.contains("migm calibrate"), "{error}");
        // A budget that is not the predictor's own leaves its own beside it.
        let names = ["shortcut".to_owned()];
        let own = named(&model, 16, &[3], &names).unwrap().others;
        assert_eq!(own, [Method::accelerated(16, Predictor::Shortcut, Refresh::Uniform(2))]);
    }
}
