//! What to take of a picture that came in: nothing is changed before it is said.

use crate::generate::picture::Picture;
use crate::generate::recipe::Recipe;
use crate::studio::keep::Brought;
use crate::studio::state::State;
use crate::studio::theme::Palette;
use eframe::egui::{Button, Frame, RichText, Stroke, Ui};
use std::sync::Arc;

/// What a person chose.
#[derive(Clone, Debug, PartialEq)]
pub enum Taken {
    /// Run it again, and see whether the tokens are the same.
    Again(Box<Brought>),
    /// Settings for the controls.
    Recipe(Box<Recipe>),
    /// The picture itself, to be edited.
    Edit(Arc<Picture>),
}

/// The panel; what a person chose to do, if anything.
pub fn show(ui: &mut Ui, state: &mut State) -> Option<Taken> {
    let brought = state.brought.clone()?;
    let palette = Palette::of(ui);
    let recipe = &brought.recipe;
    let mut taken = None;
    let mut closed = false;
    Frame::group(ui.style()).stroke(Stroke::new(1.0, palette.accent)).show(ui, |ui| {
        ui.horizontal_wrapped(|ui| {
            ui.label(RichText::new(&brought.name).strong());
            let full =
                recipe.full_steps().map_or_else(|| recipe.refresh.to_string(), |full| full.to_string());
            ui.label(format!(
                "“{}”, seed {}, {full} of {} steps in full, {}",
                recipe.subject.title(),
                recipe.seed,
                recipe.draw.steps,
                recipe.model,
            ));
        });
        ui.horizontal_wrapped(|ui| {
            let present = state.recipe.clone();
            if ui
                .button("Make it again")
                .on_hover_text("Runs its settings and says whether the tokens are the same")
                .clicked()
            {
                taken = Some(Taken::Again(Box::new(brought.clone())));
            }
            if ui.button("Take all settings").on_hover_text("Puts them into the controls").clicked() {
                taken = Some(Taken::Recipe(Box::new(recipe.clone())));
            }
            if let Some(present) = present {
                let fits =
                    std::mem::discriminant(&present.subject) == std::mem::discriminant(&recipe.subject);
                let what = match recipe.subject {
                    crate::generate::recipe::Subject::Prompt(_) => "Prompt only",
                    crate::generate::recipe::Subject::Class(_) => "Class only",
                };
                let subject = ui.add_enabled(fits, Button::new(what));
                if subject
                    .on_hover_text("The other settings stay")
                    .on_disabled_hover_text("The open model takes the other kind")
                    .clicked()
                {
                    taken = Some(Taken::Recipe(Box::new(Recipe {
                        subject: recipe.subject.clone(),
                        ..present.clone()
                    })));
                }
                if ui.button("Seed only").on_hover_text("The other settings stay").clicked() {
                    taken = Some(Taken::Recipe(Box::new(Recipe { seed: recipe.seed, ..present })));
                }
            }
            if ui.button("Edit it").on_hover_text("Encodes the picture, to make a part of it anew").clicked()
            {
                taken = Some(Taken::Edit(Arc::clone(&brought.picture)));
            }
            closed = ui.button("Dismiss").clicked();
        });
    });
    if closed || taken.is_some() {
        state.brought = None;
    }
    taken
}
