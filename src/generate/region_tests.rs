//! Regions: rectangles, masks and brushes on a grid of tokens.

use super::*;
use proptest::prelude::*;

const GRID: [u32; 2] = [4, 6];
const SIZE: [u32; 2] = [32, 48];

fn drawn(region: &Region) -> String {
    let rows = region.cells().chunks(region.grid()[1] as usize);
    let row = |cells: &[bool]| cells.iter().map(|cell| if *cell { '#' } else { '.' }).collect::<String>();
    rows.map(row).collect::<Vec<_>>().join("/")
}

#[test]
fn rectangles_are_the_cells_that_they_touch() {
    let of = |rectangle| drawn(&Region::rectangle(GRID, SIZE, rectangle));
    assert_eq!(of([8, 8, 16, 8]), "....../.##.../....../......");
    // A pixel over either edge.
    assert_eq!(of([7, 7, 18, 10]), "####../####../####../......");
    assert_eq!(of([47, 31, 1, 1]), "....../....../....../.....#");
    assert_eq!(of([40, 0, 4_000_000_000, 1]), ".....#/....../....../......");
    assert_eq!(of([48, 0, 5, 5]), "....../....../....../......");
}

#[test]
fn masks_sides_discs_and_growth() {
    let mut mask = vec![0.0; 32 * 48];
    // All of one cell, a tenth of the next, less of another.
    for y in 8..16 {
        (8..16).for_each(|x| mask[y * 48 + x] = 1.0);
        mask[y * 48 + 16] = 0.9;
    }
    mask[24 * 48 + 40] = 1.0;
    let region = Region::of_mask(GRID, SIZE, &mask);
    assert_eq!(drawn(&region), "....../.##.../....../......");
    assert_eq!(drawn(&region.grown(1)), "####../####../####../......");
    assert_eq!(drawn(&region.inverted()), "######/#..###/######/######");
    assert_eq!(drawn(&region.with(&Region::side(GRID, Side::Right, 1))), ".....#/.##..#/.....#/.....#");
    assert_eq!(drawn(&Region::side(GRID, Side::Top, 2).except(&region)), "######/#..###/....../......");
    assert_eq!(drawn(&Region::side(GRID, Side::Bottom, 1)), "....../....../....../######");
    assert_eq!(drawn(&Region::side(GRID, Side::Left, 9)), "######/######/######/######");
    assert_eq!(drawn(&Region::disc(GRID, [1, 2], 0.0)), "....../..#.../....../......");
    assert_eq!(drawn(&Region::disc(GRID, [1, 2], 1.0)), "..#.../.###../..#.../......");
    assert_eq!("left".parse::<Side>().unwrap(), Side::Left);
    assert!("up".parse::<Side>().unwrap_err().to_string().contains("none of left"));
}

#[test]
fn the_highest_and_the_evenly_spread() {
    let scores: Vec<f32> = (0..24).map(|cell| (cell % 5) as f32).collect();
    let region = Region::side(GRID, Side::Top, 2);
    let chosen = region.highest(&scores, 0.25);
    assert_eq!(drawn(&chosen), "...##./...#../....../......");
    assert_eq!(region.highest(&scores, 0.0).count(), 1, "one at least");
    assert_eq!(Region::none(GRID).highest(&scores, 0.5).count(), 0);
    let spread = Region::all(GRID).spread(0.5);
    assert_eq!(spread.count(), 12);
    // Neither half of either kind is left out.
    let halves = [Side::Left, Side::Right].map(|side| Region::side(GRID, side, 3));
    let in_half = |half: &Region| spread.except(&half.inverted()).count();
    assert!(halves.iter().all(|half| in_half(half) >= 4), "{}", drawn(&spread));
}

proptest! {
    #[test]
    fn softness_is_whole_inside_and_nothing_beyond_a_cell(
        cells in prop::collection::vec(any::<bool>(), 24),
    ) {
        let region = Region { rows: 4, columns: 6, cells };
        let near = region.grown(1);
        let weights = region.softness(SIZE);
        for (at, &weight) in weights.iter().enumerate() {
            let (row, column) = (at / 48 / 8, at % 48 / 8);
            prop_assert!((0.0..=1.0).contains(&weight));
            if region.contains(row, column) {
                prop_assert_eq!(weight, 1.0);
            }
            if !near.contains(row, column) {
                prop_assert_eq!(weight, 0.0);
            }
        }
        // From pixel to pixel it never jumps.
        for y in 0..32 {
            for x in 1..48 {
                prop_assert!((weights[y * 48 + x] - weights[y * 48 + x - 1]).abs() < 0.25);
            }
        }
        prop_assert_eq!(region.with(&region.inverted()).count(), 24);
        prop_assert_eq!(region.except(&region).count(), 0);
        prop_assert_eq!(region.inverted().inverted(), region);
    }
}
