//! Editing: a stroke of the pointer, a run, and the way back, on a desk and on a phone.

use crate::explain::{brief, everywhere, finished, generate, named, photograph};
use crate::window::{Window, linked, quiet, until};
use eframe::egui::{Event, Key, Modifiers, Pos2, Theme, pos2};
use egui_kittest::kittest::Queryable as _;
use migm::generate::canvas::Canvas;
use migm::studio::editing::{Editing, Tool};

fn editing(window: &Window) -> &Editing {
    window.state().state.editing.as_ref().unwrap()
}

/// The middle of a cell of the picture, in points.
fn middle(window: &Window, [row, column]: [u32; 2]) -> Pos2 {
    let [left, top, width, height] = window.state().state.picture_at;
    let [rows, columns] = editing(window).region().grid();
    let part = |at: u32, of: u32| (at as f32 + 0.5) / of as f32;
    pos2(left + width * part(column, columns), top + height * part(row, rows))
}

/// Presses in one cell, moves over others, and lets go in the last.
fn stroke(window: &mut Window, cells: &[[u32; 2]]) {
    window.drag_at(middle(window, cells[0]));
    window.step();
    for &cell in cells {
        window.event(Event::PointerMoved(middle(window, cell)));
        window.step();
    }
    window.drop_at(middle(window, cells[cells.len() - 1]));
    window.step();
    window.step();
}

/// Everything that a picture goes through.
fn edited(window: &mut Window, name: &str) {
    generate(window);
    let before = window.state().state.runs[0].codes.clone();
    let picture = window.state().state.runs[0].pictures[0].clone();
    window.key_press(Key::E);
    window.step();
    window.step();
    window.get_by_label_contains("Paint what is to be made anew");
    let generates = |window: &Window| window.state().state.allows(migm::studio::command::Command::Generate);
    assert!(!generates(window), "nothing is painted");

    // A brush of one token, over three.
    window.state_mut().state.editing.as_mut().unwrap().radius = 0;
    stroke(window, &[[1, 1], [1, 2], [1, 3]]);
    assert_eq!(editing(window).region().count(), 3);
    window.get_by_label_contains("3 tokens to be made anew: say");
    window.state_mut().state.editing.as_mut().unwrap().tool = Tool::Rectangle;
    stroke(window, &[[2, 1], [3, 3]]);
    assert_eq!(editing(window).region().count(), 9);
    photograph(window, &format!("edit-painted-{name}"));
    window.key_press_modifiers(Modifiers::COMMAND, Key::Z);
    window.step();
    window.step();
    assert_eq!(editing(window).region().count(), 3, "a stroke back");
    window.key_press_modifiers(Modifiers::COMMAND | Modifiers::SHIFT, Key::Z);
    window.step();
    window.step();
    assert_eq!(editing(window).region().count(), 9, "and on");

    // The run makes what is painted, and nothing else.
    assert!(generates(window));
    generate(window);
    let run = window.state().state.runs.last().unwrap().clone();
    let canvas: &Canvas = run.recipe.canvas.as_ref().unwrap();
    assert_eq!((canvas.masked(), run.codes.len()), (9, before.len()));
    for (token, masked) in canvas.mask().into_iter().enumerate() {
        assert!(masked || run.codes[token] == before[token], "token {token}");
    }
    assert_eq!(editing(window).codes(), run.codes);
    // The run has the picture with its part in place.
    assert_eq!(*editing(window).present().picture, run.pictures[0]);
    let last = picture.rgb.len() - 3;
    assert_eq!(run.pictures[0].rgb[last..], picture.rgb[last..], "beyond the seam");
    photograph(window, &format!("edit-made-{name}"));

    // Back to the old tokens at once, and twice in a row nothing more.
    window.key_press_modifiers(Modifiers::COMMAND, Key::Z);
    window.step();
    window.step();
    assert_eq!(editing(window).codes(), before);
    assert_eq!(*editing(window).present().picture, picture);
    window.key_press_modifiers(Modifiers::COMMAND | Modifiers::SHIFT, Key::Z);
    window.step();
    window.step();
    assert_eq!(editing(window).codes(), run.codes);

    for label in ["Grow", "Invert", "Clear"] {
        let before = editing(window).region().clone();
        window.get_by_label(label).click();
        window.step();
        window.step();
        assert_ne!(*editing(window).region(), before, "{label}");
    }
    assert_eq!(editing(window).region().count(), 0);
    window.get_by_label("Done").click();
    window.step();
    window.step();
    assert!(window.state().state.editing.is_none());
}

#[test]
fn a_region_is_painted_made_and_taken_back() {
    everywhere(edited);
}

#[test]
fn a_run_starts_as_the_brush_lifts_and_a_newer_stroke_overtakes_it() {
    let (_folder, source) = named();
    let mut window = linked(&source, quiet(), [1100.0, 720.0], Theme::Dark, "");
    until(&mut window, "the model opens", |studio| studio.state.model.is_some());
    brief(&mut window);
    generate(&mut window);
    window.key_press(Key::E);
    window.step();
    window.step();
    window.get_by_label("As I paint").click();
    window.step();
    stroke(&mut window, &[[0, 0], [1, 1]]);
    until(&mut window, "a run begins", |studio| studio.state.editing.as_ref().unwrap().run().is_some());
    stroke(&mut window, &[[4, 4], [5, 5]]);
    until(&mut window, "the newer one finishes", |studio| {
        studio.state.editing.as_ref().unwrap().run().is_none() && finished(studio)
    });
    let run = window.state().state.runs.last().unwrap();
    assert_eq!(run.recipe.canvas.as_ref().unwrap().masked(), editing(&window).region().count());
    assert_eq!(editing(&window).codes(), run.codes);
    // The history keeps edits, whose links bring their canvas along.
    let kept = window.state().state.kept();
    assert!(kept.history.last().unwrap().recipe.canvas.is_some());
    let (shared, proof) = window.state().state.to_share().unwrap();
    assert_eq!((shared, proof), (&run.recipe, run.proof.as_ref()));
    let query = migm::studio::link::query(shared, &shared.draw, proof);
    let mut again = linked(&source, quiet(), [1100.0, 720.0], Theme::Dark, &query);
    until(&mut again, "the link is followed", finished);
    assert_eq!(again.state().state.runs[0].verified(), Some(migm::generate::proof::Found::Same));
}
