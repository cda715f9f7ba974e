//! Edits: what the model is unsure of, where prompts disagree, and that nothing else changes.

use super::*;
use crate::generate::fixtures::{both_families, prompt};
use crate::generate::likelihood::log_softmax;
use crate::generate::model::{Device, Model};
use pollster::block_on;

fn families() -> (tempfile::TempDir, [(Model, [Condition; 2]); 2]) {
    let (folder, [class, text]) = both_families();
    let prompts = [prompt(&text, "w5 w17"), prompt(&text, "w7 w3 w30")];
    (folder, [(class, [Some(2), Some(8)].map(Condition::Class)), (text, prompts)])
}

fn codes(model: &Model) -> Vec<u32> {
    (0..model.family().tokens()).map(|i| (i * 37 + 5) % model.family().codebook()).collect()
}

#[test]
fn doubts_are_of_every_token_given_the_other_half() {
    let (_folder, families) = families();
    for (model, [condition, _]) in &families {
        let (grid, codes) = (model.family().grid(), codes(model));
        let mut likelihood = Likelihood::new(model, condition, &Device::Cpu).unwrap();
        let found = block_on(doubts(&mut likelihood, condition, &codes, grid)).unwrap();
        assert!(found.len() == codes.len() && found.iter().all(|doubt| *doubt > 0.0));
        for first in 0..2 {
            let cells = every_second(grid, first);
            let logits = block_on(likelihood.logits(condition, &codes, &cells)).unwrap();
            let rows = logits.chunks_exact(model.family().codebook() as usize);
            for (row, &cell) in rows.zip(&cells) {
                let wanted = -log_softmax(row, codes[cell as usize] as usize) as f32;
                assert_eq!(found[cell as usize], wanted);
            }
        }
        // A code that nobody would expect is doubted more than the one that the base likes best.
        let cells = every_second(grid, 0);
        let logits = block_on(likelihood.logits(condition, &codes, &cells)).unwrap();
        let row = &logits[..model.family().codebook() as usize];
        let by = |a: &usize, b: &usize| row[*a].total_cmp(&row[*b]);
        let (best, worst) = ((0..row.len()).max_by(by).unwrap(), (0..row.len()).min_by(by).unwrap());
        let mut doubt_of = |code: usize| {
            let mut codes = codes.clone();
            codes[cells[0] as usize] = code as u32;
            block_on(doubts(&mut likelihood, condition, &codes, grid)).unwrap()[cells[0] as usize]
        };
        assert!(doubt_of(worst) > doubt_of(best) + 1.0);
        let most = codes.len() as u32;
        let all: Vec<u32> = (0..most).collect();
        let error = block_on(likelihood.logits(condition, &codes, &all)).unwrap_err().to_string();
        assert!(error.contains("places at once"), "{error}");
    }
}

#[test]
fn prompts_disagree_somewhere_and_one_never_with_itself() {
    let (_folder, families) = families();
    for (model, [old, new]) in &families {
        let (grid, codes) = (model.family().grid(), codes(model));
        let likelihood = |condition: &Condition| Likelihood::new(model, condition, &Device::Cpu).unwrap();
        let of = |a: &Condition, b: &Condition| {
            let (mut one, mut other) = (likelihood(a), likelihood(b));
            block_on(disagreement((&mut one, a), (&mut other, b), &codes, grid)).unwrap()
        };
        let (same, apart) = (of(old, old), of(old, new));
        assert_eq!(same.len(), codes.len());
        assert!(same.iter().all(|value| value.abs() < 1e-6), "{same:?}");
        assert!(apart.iter().all(|value| *value >= 0.0) && apart.iter().any(|value| *value > 1e-3));
    }
}

#[test]
fn a_divergence_is_that_of_the_formula() {
    let (p, q) = ([0.5_f32, 0.25, 0.25], [0.25_f32, 0.25, 0.5]);
    let logits = |p: [f32; 3], shift: f32| p.map(|p| p.ln() + shift);
    let found = divergence(&logits(p, 300.0), &logits(q, -3.0));
    assert!((found - 0.25 * 2.0_f32.ln()).abs() < 1e-4, "{found}");
    let known = [Some(1.0), None, None, Some(3.0), None, None];
    assert_eq!(smoothed(&known, [2, 3]), [2.0, 2.0, 0.0, 2.0, 2.0, 0.0]);
}

#[test]
fn pixels_beyond_the_seam_are_the_original_s() {
    let original =
        Picture { width: 32, height: 32, rgb: (0..32 * 32 * 3).map(|i| (i * 7 % 251) as u8).collect() };
    let made = Picture { rgb: vec![90; 32 * 32 * 3], ..original };
    let original =
        Picture { width: 32, height: 32, rgb: (0..32 * 32 * 3).map(|i| (i * 7 % 251) as u8).collect() };
    let region = Region::rectangle([4, 4], [32, 32], [8, 8, 8, 8]);
    let edit = Edit::new(original.clone(), &(0..16).collect::<Vec<_>>(), region).unwrap();
    assert_eq!((edit.canvas.masked(), edit.canvas.tokens()), (1, 16));
    let finished = edit.finish(&made);
    for (at, (pixel, before)) in finished.rgb.chunks(3).zip(original.rgb.chunks(3)).enumerate() {
        let (x, y) = (at % 32, at / 32);
        let inside = (8..16).contains(&x) && (8..16).contains(&y);
        let far = !(0..24).contains(&x) || !(0..24).contains(&y);
        assert!(!inside || pixel == [90; 3], "{x}, {y}");
        assert!(!far || pixel == before, "{x}, {y}");
    }
}

#[test]
fn pictures_grow_at_every_side_and_again() {
    let (grid, size) = ([4, 4], [32, 32]);
    let pixel = |x: u32, y: u32| [x as u8 * 3, y as u8 * 3, 7];
    let picture = |width: u32, height: u32| {
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        Picture { width, height, rgb: pixels.flat_map(|(x, y)| pixel(x, y)).collect() }
    };
    // The code of a cell says where in the picture it is.
    let mut encode = |part: &Picture| {
        assert_eq!((part.width, part.height), (32, 32));
        let cell = |i: usize| {
            let at = ((i / 4 * 8) * 32 + i % 4 * 8) * 3;
            u32::from(part.rgb[at]) + 1000 * u32::from(part.rgb[at + 1])
        };
        Ok((0..16).map(cell).collect())
    };
    let made = Picture { width: 32, height: 32, rgb: vec![200; 32 * 32 * 3] };
    for side in Side::ALL {
        let across = matches!(side, Side::Left | Side::Right);
        // As large as the model's, and one that has grown before.
        for more in [0, 16] {
            let old = if across { picture(32 + more, 32) } else { picture(32, 32 + more) };
            let edit = Edit::extended(&old, (side, 1), (grid, size), &mut encode).unwrap();
            assert_eq!((edit.canvas.masked(), edit.region().count()), (4, 4), "{side:?}");
            let finished = edit.finish(&made);
            let grown = if across { (40 + more, 32) } else { (32, 40 + more) };
            assert_eq!((finished.width, finished.height), grown, "{side:?}");
            let at = |x: u32, y: u32| finished.rgb[((y * finished.width + x) * 3) as usize..][..3].to_vec();
            let (first, last) = ((0, 0), (finished.width - 1, finished.height - 1));
            let (new, kept) = match side {
                Side::Left | Side::Top => (first, last),
                Side::Right | Side::Bottom => (last, first),
            };
            assert_eq!(at(new.0, new.1), [200; 3], "{side:?}");
            assert_eq!(
                at(kept.0, kept.1),
                pixel(
                    if kept == first { 0 } else { old.width - 1 },
                    if kept == first { 0 } else { old.height - 1 },
                ),
                "{side:?}"
            );
            // What the model sees beside the new cells is what was nearest to them.
            let codes = edit.canvas.codes(u32::MAX);
            let nearest = match side {
                Side::Left => codes[1] % 1000,
                Side::Right => codes[2] % 1000,
                Side::Top => codes[4] / 1000,
                Side::Bottom => codes[8] / 1000,
            };
            let wanted = match side {
                Side::Left | Side::Top => 0,
                Side::Right | Side::Bottom => (24 + more) * 3,
            };
            assert_eq!(nearest, wanted, "{side:?}, {more}");
        }
    }
    for (old, extension, words) in [
        (picture(32, 32), (Side::Left, 4), "1 to 3"),
        (picture(32, 32), (Side::Left, 0), "1 to 3"),
        (picture(30, 32), (Side::Left, 1), "cannot be extended left"),
        (picture(48, 32), (Side::Top, 1), "cannot be extended top"),
    ] {
        let error = Edit::extended(&old, extension, (grid, size), &mut encode).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
