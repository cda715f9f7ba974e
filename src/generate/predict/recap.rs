//! ReCAP: a full step chooses the tokens of the predicted steps after it, and these pass no other rows through the model.
//!
//! Liu et al. 2025 (arXiv 2505.19089). The rows of the union, some revealed by then and some not, attend to each other and to the
//! keys and values that the full step has left of all others. The class token comes along, as in the official code, where it is
//! one row; a prompt is often longer than the union, and its keys hardly change in a step or two: it stays as the full step left it.

use super::{Body, Predict};
use crate::generate::GenerateError;
use crate::generate::refresh::Refresh;
use crate::generate::session::{PlannedStep, StepKind};
use crate::kernels::unite::UnionRows;
use crate::kernels::{Extent, RowRange, Symbol};
use crate::models::{Keep, Network, states};
use crate::program::Element;

/// Passes the union's rows through the model.
#[derive(Debug)]
pub(super) struct Recap;

/// Official runs of 32 steps compute the first 12 in full, and from then on every other one.
const OFFICIAL: Refresh = Refresh::Interval { warmup: 0.375, interval: 2 };

impl Predict for Recap {
    fn name(&self) -> &'static str {
        "recap"
    }

    fn title(&self) -> &'static str {
        "ReCAP"
    }

    fn about(&self) -> &'static str {
        "Full steps choose the tokens of the steps after them, which compute only those, among cached keys and values"
    }

    fn keeps(&self) -> Keep {
        Keep::KeysAndValues
    }

    fn unites(&self) -> bool {
        true
    }

    fn programs<'a>(&'a self, network: &'a dyn Network) -> Result<Vec<(&'a str, Body<'a>)>, GenerateError> {
        let tokens = network.tokens();
        let context = match network.prompt() {
            class if class.count == 1 => class,
            _ => RowRange::all(0),
        };
        let rows = Extent::symbolic(1, Symbol::United, tokens).plus(context.count);
        let list: Body<'a> = Box::new(move |b| {
            let (images, sequences) = (network.images(), network.sequences());
            let chosen = network.name(states::CHOSEN_ROWS);
            let kernel = UnionRows {
                listed: b.state(states::UNION, images, tokens, Element::U32),
                y: b.state(&chosen, sequences, rows.max(), Element::U32),
                images,
                sequences,
                tokens,
                length: network.length(),
                context,
                placement: network.placement(),
                count: rows,
            };
            b.push(kernel);
        });
        Ok(vec![("union_rows", list), ("partial", Box::new(move |b| network.partial(b, rows)))])
    }

    fn default_refresh(&self, _: u32) -> Refresh {
        OFFICIAL
    }
}

/// Has each full step of a plan choose as many tokens as it and the predicted steps up to the next full one reveal.
pub(in crate::generate) fn unite(plan: &mut [PlannedStep]) {
    let mut sum = 0;
    for step in plan.iter_mut().rev() {
        sum += step.values.reveal;
        if step.kind == StepKind::Full {
            (step.values.unite, sum) = (sum, 0);
        }
    }
    let mut united = 0;
    for step in plan {
        step.values.united = united;
        if step.kind == StepKind::Full {
            united = step.values.unite;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::predict::Predictor;
    use crate::generate::sampling::Sampling;
    use crate::generate::session::{Settings, full_steps};

    fn plan(steps: u32, refresh: Refresh) -> Vec<PlannedStep> {
        let sampling = Sampling::MASKGIT_512.with_steps(steps);
        Settings { sampling, refresh, predictor: Predictor::Recap }.plan(64).unwrap()
    }

    #[test]
    fn full_steps_of_32_are_the_official_22() {
        let full = full_steps(&plan(32, OFFICIAL));
        let wanted: Vec<u32> = (0..12).chain((12..32).step_by(2)).collect();
        assert_eq!(full, wanted);
    }

    #[test]
    fn a_union_is_what_its_steps_reveal() {
        for (steps, refresh) in [(12, Refresh::Uniform(1)), (12, Refresh::Uniform(4)), (100, OFFICIAL)] {
            let plan = plan(steps, refresh);
            let (mut left, mut united) = (0, 0);
            for step in &plan {
                assert_eq!(step.values.united, united);
                if step.kind == StepKind::Full {
                    assert_eq!(left, 0, "a union is used up before the next");
                    (left, united) = (step.values.unite, step.values.unite);
                    assert!(united <= step.values.masked);
                } else {
                    assert_eq!(step.values.unite, 0);
                }
                left -= step.values.reveal;
            }
            assert_eq!(left, 0);
        }
    }

    #[test]
    fn tokens_of_a_union_cannot_be_kept_apart() {
        let sampling = Sampling { spread: 1.5, ..Sampling::MASKGIT_512 };
        let settings = Settings { sampling, refresh: OFFICIAL, predictor: Predictor::Recap };
        let error = settings.plan(64).unwrap_err().to_string();
        assert!(error.contains("leave out the spread"), "{error}");
        let vanilla = Settings { refresh: Refresh::Every, ..settings };
        assert!(vanilla.plan(64).unwrap().iter().all(|step| step.values.unite == 0));
    }
}
