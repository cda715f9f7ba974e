//! How a run goes: which steps are full and who decides it, which tokens a step takes, and how many. A sentence for each choice.

use super::labelled;
use crate::generate::order::Order;
use crate::generate::pace::Adaptive;
use crate::generate::recipe::Recipe;
use crate::generate::refresh::Refresh;
use crate::generate::sampling::Reveal;
use crate::studio::model::ModelInfo;
use eframe::egui::{ComboBox, Slider, Ui};

/// The relative error of features that an adaptive run is first asked to keep to.
const TARGET: f32 = 0.1;

/// A rule for full steps, as a person chooses between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    Even,
    Measured,
    Adaptive,
    Warm,
    Picked,
    Decided,
}

impl Choice {
    fn of(refresh: &Refresh) -> Self {
        match refresh {
            Refresh::Every | Refresh::Uniform(_) => Self::Even,
            Refresh::Optimal(_) => Self::Measured,
            Refresh::Adaptive(_) => Self::Adaptive,
            Refresh::Interval { .. } => Self::Warm,
            Refresh::List(_) => Self::Picked,
            Refresh::Decided(_) | Refresh::Custom(_) => Self::Decided,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Even => "evenly spread",
            Self::Measured => "where measured best",
            Self::Adaptive => "as needed",
            Self::Warm => "at first, then at intervals",
            Self::Picked => "picked by hand",
            Self::Decided => "as an earlier run decided",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Even => "The paper's: full steps at even distances",
            Self::Measured => {
                "Where errors of the predictor, measured along runs of this model, add up to the least"
            }
            Self::Adaptive => {
                "A full step comes when the error that is expected without it exceeds the target"
            }
            Self::Warm => "ML-Cache's: a share of the steps in full first, then one in so many",
            Self::Picked => "The steps that are marked below the timeline",
            Self::Decided => {
                "The full steps, and the tokens of each step, of a run that decided while it went on"
            }
        }
    }
}

/// Which steps run in full; `budget` is the number that the slider has.
pub fn choose(ui: &mut Ui, model: &ModelInfo, recipe: &mut Recipe, budget: u32) {
    let before = Choice::of(&recipe.refresh);
    let mut choice = before;
    ComboBox::from_id_salt("pace")
        .selected_text(before.title())
        .show_ui(ui, |ui| {
            let is_offered = |other: &Choice| match other {
                Choice::Even | Choice::Adaptive | Choice::Warm => true,
                Choice::Measured => {
                    let known = model.calibration.as_ref().and_then(|known| known.of(&recipe.settings()));
                    known.is_some_and(|known| known.steps == recipe.draw.steps)
                }
                Choice::Picked | Choice::Decided => *other == before,
            };
            let all = [
                Choice::Even,
                Choice::Measured,
                Choice::Adaptive,
                Choice::Warm,
                Choice::Picked,
                Choice::Decided,
            ];
            for other in all.into_iter().filter(is_offered) {
                ui.selectable_value(&mut choice, other, other.title()).on_hover_text(other.about());
            }
        })
        .response
        .on_hover_text(before.about());
    if choice != before {
        recipe.refresh = match choice {
            Choice::Even => Refresh::Uniform(budget),
            Choice::Measured => Refresh::Optimal(budget),
            Choice::Adaptive => Refresh::Adaptive(Adaptive { target_error: TARGET, budget: None }),
            Choice::Warm => Refresh::ML_CACHE,
            Choice::Picked | Choice::Decided => return,
        };
    }
    if let Refresh::Adaptive(adaptive) = &mut recipe.refresh {
        labelled(ui, "Target error", |ui| {
            ui.add(Slider::new(&mut adaptive.target_error, 0.01..=1.0).logarithmic(true).max_decimals(3))
                .on_hover_text(
                    "How far features may be off, as a share of their size, before a full step comes",
                )
        });
        let mut exact = adaptive.budget.is_some();
        ui.checkbox(&mut exact, "exactly so many full steps").on_hover_text(
            "The target then moves with what is left of the budget, and the last full steps are forced or forbidden",
        );
        if exact != adaptive.budget.is_some() {
            adaptive.budget = exact.then_some(budget.max(1));
        }
    }
}

/// Which tokens a step takes, how many, how far apart, what full steps take back, and where there is guidance.
pub fn tokens(ui: &mut Ui, recipe: &mut Recipe) {
    let sampling = &mut recipe.draw;
    let about = |order: Order| match order {
        Order::Confidence => "Those that the model is surest of: the official sampler",
        Order::Halton => "Along a sequence that spreads each step's tokens over the picture (Halton)",
        Order::Custom(_) => "An order from outside",
    };
    labelled(ui, "Order", |ui| {
        let combo = ComboBox::from_id_salt("order").selected_text(sampling.order.name());
        let shown = combo.show_ui(ui, |ui| {
            for order in [Order::Confidence, Order::Halton] {
                ui.selectable_value(&mut sampling.order, order, order.name()).on_hover_text(about(order));
            }
        });
        shown.response.on_hover_text(about(sampling.order))
    });
    labelled(ui, "Spread", |ui| {
        ui.add(Slider::new(&mut sampling.spread, 0.0..=6.0).max_decimals(1)).on_hover_text(
            "How far apart the tokens of one step stand where they can, in tokens: those drawn together do not see each other",
        )
    });
    reveal(ui, &mut sampling.reveal);
    labelled(ui, "Corrector", |ui| {
        ui.add(Slider::new(&mut sampling.corrector, 0.0..=0.5).max_decimals(2)).on_hover_text(
            "The share of known tokens that each full step masks again, those that it finds least likely",
        )
    });
    let [low, high] = &mut sampling.guidance_interval;
    labelled(ui, "Guided up to", |ui| {
        ui.add(Slider::new(high, *low..=1.0).max_decimals(2)).on_hover_text(
            "The share of masked tokens above which there is no guidance, which saves half of a step",
        )
    });
    labelled(ui, "Guided from", |ui| {
        ui.add(Slider::new(low, 0.0..=*high).max_decimals(2)).on_hover_text(
            "The share of masked tokens below which there is no guidance, which saves half of a step",
        )
    });
}

/// How many tokens a step reveals.
fn reveal(ui: &mut Ui, reveal: &mut Reveal) {
    let title = |reveal: Reveal| match reveal {
        Reveal::Schedule => "as scheduled",
        Reveal::Entropy(_) => "by entropy",
        Reveal::Certainty(_) => "by certainty",
    };
    let about = |reveal: Reveal| match reveal {
        Reveal::Schedule => "As many tokens a step as the schedule has",
        Reveal::Entropy(_) => {
            "More than the schedule has, while what they can know of each other stays below a bound"
        }
        Reveal::Certainty(_) => "More than the schedule has, where the model is sure of them and was before",
    };
    labelled(ui, "Tokens a step", |ui| {
        let combo = ComboBox::from_id_salt("reveal").selected_text(title(*reveal));
        let shown = combo.show_ui(ui, |ui| {
            for other in [Reveal::Schedule, Reveal::Entropy(1.0), Reveal::Certainty(0.9)] {
                let is_present = title(other) == title(*reveal);
                if ui.selectable_label(is_present, title(other)).on_hover_text(about(other)).clicked()
                    && !is_present
                {
                    *reveal = other;
                }
            }
        });
        shown.response.on_hover_text(about(*reveal))
    });
    match reveal {
        Reveal::Schedule => {}
        Reveal::Entropy(bound) => labelled(ui, "Entropy bound", |ui| {
            ui.add(Slider::new(bound, 0.01..=50.0).logarithmic(true).max_decimals(2).suffix(" nats"))
                .on_hover_text("The sum of the entropies of all that a step reveals, without the largest")
        }),
        Reveal::Certainty(least) => labelled(ui, "Certain from", |ui| {
            ui.add(Slider::new(least, 0.05..=1.0).max_decimals(2))
                .on_hover_text("The probability from which a token is revealed at once")
        }),
    }
}
