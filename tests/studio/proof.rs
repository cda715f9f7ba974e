//! Proof that tokens are the same: a link and a picture bring it, and say where runs part.

use crate::explain::{PLACES, brief, finished, generate, named, photograph};
use crate::window::{linked, open, quiet, tiny, until};
use eframe::egui::Theme;
use egui_kittest::SnapshotResults;
use egui_kittest::kittest::Queryable as _;
use migm::generate::picture::Picture;
use migm::generate::proof::{Found, Proof};
use migm::generate::recipe::Recipe;
use migm::studio::keep::Brought;
use migm::studio::link;
use std::sync::Arc;

#[test]
fn a_link_and_a_picture_prove_that_tokens_are_the_same() {
    let folder = tiny();
    let source = folder.path().display().to_string();
    let mut window = open(folder.path());
    brief(&mut window);
    generate(&mut window);
    let state = &window.state().state;
    let (recipe, proof) =
        state.to_share().map(|(recipe, proof)| (recipe.clone(), proof.cloned().unwrap())).unwrap();
    assert_eq!(proof.steps.len(), 8);
    let query = link::query(&recipe, &state.model.as_ref().unwrap().draw, Some(&proof));
    let mut same = linked(&source, quiet(), [1100.0, 720.0], Theme::Dark, &query);
    until(&mut same, "the link is followed", finished);
    assert_eq!(same.state().state.runs[0].verified(), Some(Found::Same));
    same.get_by_label_contains("same tokens");
    let mut results = SnapshotResults::new();

    // Tokens of another seed: the first step that differs is named and shown.
    let wrong = query.replace("seed=0", "seed=1");
    assert_ne!(wrong, query);
    let mut other = linked(&source, quiet(), [1100.0, 720.0], Theme::Dark, &wrong);
    until(&mut other, "the link is followed", finished);
    let Some(Found::Differs { step: Some(step) }) = other.state().state.runs[0].verified() else {
        panic!("{:?}", other.state().state.runs[0].verified())
    };
    other.get_by_label_contains("other tokens from step").click();
    other.step();
    other.step();
    assert_eq!(other.state().state.scrubbed, Some(step));
    for (name, size, theme) in PLACES {
        let (_folder, source) = named();
        for (what, query) in [("same", &query), ("other", &wrong)] {
            let mut window = linked(&source, quiet(), size, theme, query);
            until(&mut window, "the link is followed", finished);
            photograph(&mut window, &format!("proof-{what}-{name}"));
            results.extend_harness(&mut window);
        }
    }
    results.unwrap();

    // A picture asks what to take of it, and nothing is changed before.
    let picture = Arc::new(Picture { width: 40, height: 30, rgb: vec![90; 40 * 30 * 3] });
    let (name, proof) = ("two.png".to_owned(), Some(proof));
    let brought = Brought { name, recipe: recipe.clone(), proof, picture };
    let seeded = Brought { recipe: Recipe { seed: 99, ..recipe }, ..brought.clone() };
    window.state_mut().state.brought = Some(seeded);
    window.run_ok();
    window.get_by_label("Seed only").click();
    until(&mut window, "the seed is taken", |studio| studio.state.recipe.as_ref().unwrap().seed == 99);
    assert_eq!(window.state().state.brought, None);
    window.state_mut().state.brought = Some(brought.clone());
    window.run_ok();
    window.get_by_label("Make it again").click();
    until(&mut window, "it is made again", |studio| studio.state.runs.len() == 2 && finished(studio));
    assert_eq!(window.state().state.runs[1].verified(), Some(Found::Same));
    let again = brought.clone();
    let broken = Brought { proof: Some(Proof { tokens: 1, steps: Vec::new() }), ..brought };
    window.state_mut().state.brought = Some(broken);
    window.run_ok();
    window.get_by_label("Make it again").click();
    until(&mut window, "it is made once more", |studio| studio.state.runs.len() == 3 && finished(studio));
    assert_eq!(window.state().state.runs[2].verified(), Some(Found::Differs { step: None }));
    // The picture itself can be edited, whatever its size.
    window.state_mut().state.brought = Some(again);
    window.run_ok();
    window.get_by_label("Edit it").click();
    until(&mut window, "it is encoded", |studio| studio.state.editing.is_some());
    let model = window.state().state.model.clone().unwrap();
    let picture = &window.state().state.editing.as_ref().unwrap().present().picture;
    assert_eq!([picture.width, picture.height], model.size);
}
