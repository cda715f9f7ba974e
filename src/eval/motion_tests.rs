use super::*;
use proptest::prelude::*;

fn slices(features: &[Vec<f32>]) -> Vec<&[f32]> {
    features.iter().map(Vec::as_slice).collect()
}

/// Points on a circle, an angle of `turn` apart, in three numbers of four.
fn circle(count: usize, turn: f32) -> Vec<Vec<f32>> {
    let point = |i: usize| {
        let angle = i as f32 * turn;
        vec![angle.cos(), angle.sin(), 0.0, 1.0]
    };
    (0..count).map(point).collect()
}

fn all_close(found: &[Option<f64>], wanted: &[f64], within: f64) {
    assert_eq!(found.len(), wanted.len(), "{found:?}");
    let close = |(found, wanted): (&Option<f64>, &f64)| found.is_some_and(|v| (v - wanted).abs() < within);
    assert!(found.iter().zip(wanted).all(close), "{found:?}, not {wanted:?}");
}

#[test]
fn similarity_is_of_tokens_and_symmetric() {
    let (a, b) = ([1.0, 0.0, 0.0, 2.0], [2.0, 0.0, 3.0, 0.0]);
    // The first token's features point the same way, the second's are at right angles.
    let found = Similarity::MeanOfTokens.between(&[&a, &b], 2);
    assert_eq!(found, [1.0, 0.5, 0.5, 1.0]);
}

#[test]
fn the_cosine_of_flattened_features_counts_tokens_by_their_size() {
    let (a, b) = ([1.0, 0.0, 0.0, 2.0], [2.0, 0.0, 3.0, 0.0]);
    // 2 over the roots of 5 and 13.
    let found = Similarity::Flattened.between(&[&a, &b], 2);
    assert!((found[1] - 2.0 / 65_f64.sqrt()).abs() < 1e-12 && found[1] == found[2], "{found:?}");
    assert_eq!((found[0], found[3]), (1.0, 1.0));
}

#[test]
fn a_straight_path_lies_on_a_line_and_a_circle_in_a_plane() {
    let lines: Vec<Vec<f32>> = (0..6).map(|i| vec![i as f32, 2.0 * i as f32, 5.0]).collect();
    let Paths { runs, explained } = Paths::of(&[slices(&lines)]);
    let path = &runs[0];
    assert!((explained - 1.0).abs() < 1e-9, "{explained}");
    assert!(path.iter().all(|point| point[1].abs() < 1e-6), "{path:?}");
    let step = path[1][0] - path[0][0];
    assert!(path.windows(2).all(|pair| (pair[1][0] - pair[0][0] - step).abs() < 1e-9), "{path:?}");

    let Paths { runs, explained } = Paths::of(&[slices(&circle(8, std::f32::consts::FRAC_PI_4))]);
    assert!((explained - 1.0).abs() < 1e-6, "{explained}");
    let radius = |point: &[f64; 2]| point[0].hypot(point[1]);
    assert!(runs[0].iter().all(|point| (radius(point) - radius(&runs[0][0])).abs() < 1e-6), "{runs:?}");
}

#[test]
fn runs_that_part_lie_in_one_plane_and_begin_at_one_point() {
    // From one point into two directions at right angles, of four dimensions.
    let along = |axis: usize, count: usize| -> Vec<Vec<f32>> {
        (0..count)
            .map(|i| {
                let mut point = vec![1.0, 2.0, 3.0, 4.0];
                point[axis] += i as f32;
                point
            })
            .collect()
    };
    let (first, second) = (along(0, 5), along(2, 4));
    let Paths { runs, explained } = Paths::of(&[slices(&first), slices(&second)]);
    assert_eq!(runs.iter().map(Vec::len).collect::<Vec<_>>(), [5, 4]);
    assert!((explained - 1.0).abs() < 1e-9, "{explained}");
    let apart = |a: [f64; 2], b: [f64; 2]| (a[0] - b[0]).hypot(a[1] - b[1]);
    assert!(apart(runs[0][0], runs[1][0]) < 1e-6, "{runs:?}");
    // Nothing is lost in the plane: distances keep their ratios, here 1 from step to step and the root of 2 across.
    let unit = apart(runs[0][0], runs[0][1]);
    assert!((apart(runs[1][2], runs[1][3]) / unit - 1.0).abs() < 1e-6, "{runs:?}");
    assert!((apart(runs[0][1], runs[1][1]) / unit - 2_f64.sqrt()).abs() < 1e-6, "{runs:?}");
}

#[test]
fn a_velocity_that_stays_has_lipschitz_ratios_of_nothing() {
    let line: Vec<Vec<f32>> = (0..6).map(|i| vec![i as f32, 2.0 * i as f32, 5.0]).collect();
    all_close(&lipschitz(&slices(&line), None), &[0.0; 4], 1e-12);
}

#[test]
fn a_velocity_that_doubles_or_turns_has_the_ratio_of_that() {
    // v = 1, 2, 4, 8: its change is as large as itself.
    let doubling: Vec<Vec<f32>> = [0.0, 1.0, 3.0, 7.0, 15.0].map(|v| vec![v, 0.0]).to_vec();
    all_close(&lipschitz(&slices(&doubling), None), &[1.0; 3], 1e-12);
    // On a circle v turns by the angle: the chord of a unit circle.
    let turn = 0.3_f32;
    let chord = 2.0 * f64::from(turn / 2.0).sin();
    all_close(&lipschitz(&slices(&circle(7, turn)), None), &[chord; 5], 1e-5);
}

#[test]
fn features_that_stay_have_no_ratio() {
    let still = [vec![1.0, 2.0], vec![1.0, 2.0], vec![2.0, 2.0], vec![3.0, 2.0]];
    assert_eq!(lipschitz(&slices(&still), None), [None, Some(0.0)]);
    assert!(lipschitz(&slices(&still[..2]), None).is_empty());
    assert!(lipschitz(&[], None).is_empty());
}

#[test]
fn new_tokens_count_into_what_moved() {
    // Features move by 3 and then by 6, in one of two numbers: the change of the velocity is 3.
    let features = [vec![0.0, 0.0], vec![3.0, 0.0], vec![9.0, 0.0]];
    let new = |tokens: &[(u32, [f32; 2])]| NewTokens {
        positions: tokens.iter().map(|(position, _)| *position).collect(),
        embeddings: tokens.iter().flat_map(|(_, row)| *row).collect(),
    };
    let of = |tokens: [NewTokens; 3]| lipschitz(&slices(&features), Some(&tokens))[0].unwrap();
    // At other places all of both counts: 9 + (0 + 4) + (4 + 0) + (4 + 4) is 25.
    let apart = of([new(&[(4, [0.0, 2.0])]), new(&[(1, [2.0, 0.0]), (7, [2.0, 2.0])]), NewTokens::default()]);
    assert!((apart - 3.0 / 25_f64.sqrt()).abs() < 1e-12, "{apart}");
    // At one place only the difference does: 9 + (3 - 1) squared is 13.
    let same = of([new(&[(4, [1.0, 2.0])]), new(&[(4, [3.0, 2.0])]), NewTokens::default()]);
    assert!((same - 3.0 / 13_f64.sqrt()).abs() < 1e-12, "{same}");
    let none = of([NewTokens::default(), NewTokens::default(), NewTokens::default()]);
    assert_eq!(Some(none), lipschitz(&slices(&features), None)[0]);
}

#[test]
fn a_histogram_has_round_edges_and_every_value() {
    let values = [0.31, 0.32, 0.33, 0.4, 0.45, 0.5];
    let found = Histogram::of(&values).unwrap();
    // A spread of 0.19 in 5 bins: 0.038, rounded up.
    assert!((found.width - 0.05).abs() < 1e-12 && (found.first - 0.3).abs() < 1e-12, "{found:?}");
    assert_eq!(found.counts, [3, 0, 1, 1, 1], "values on an edge are in the bin that begins there");
    assert_eq!(Histogram::of(&[2.0; 4]).unwrap().counts, [4]);
    assert_eq!(Histogram::of(&[0.0]).unwrap().counts, [1]);
    assert_eq!(Histogram::of(&[]), None);
}

#[test]
fn the_median_is_in_the_middle() {
    assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
    assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    assert_eq!(median(&[]), None);
}

#[test]
fn errors_of_one_length_of_chain_are_averaged() {
    let refreshed = |step, chain, predicted| Refreshed { step, chain, predicted, reused: 2.0 * predicted };
    let found = by_chain(&[refreshed(3, 3, 0.1), refreshed(4, 1, 0.02), refreshed(7, 3, 0.3)]);
    assert_eq!(found.iter().map(|of| (of.length, of.count)).collect::<Vec<_>>(), [(1, 1), (3, 2)]);
    assert!((found[1].predicted - 0.2).abs() < 1e-12 && found[0].reused == Some(0.04), "{found:?}");
    assert!(by_chain(&[]).is_empty());
}

#[test]
fn weights_are_taken_out_of_calibrated_errors() {
    // Three steps that reveal a quarter, a quarter and a half of the tokens; squares of 0.04, 0.16 and 0.09 before the weights.
    let errors = [vec![0.25 * 0.04, 0.5 * 0.16], vec![0.5 * 0.09], vec![]];
    let found = calibrated(&errors, &[0.25, 0.25, 0.5]);
    let close = |of: &Calibrated, (start, length, error): (usize, usize, f64)| {
        (of.start, of.length) == (start, length) && (of.error - error).abs() < 1e-12
    };
    let wanted = [(0, 1, 0.2), (0, 2, 0.4), (1, 1, 0.3)];
    assert!(found.len() == 3 && found.iter().zip(wanted).all(|(a, b)| close(a, b)), "{found:?}");
    let by_chain = calibrated_by_chain(&found);
    assert_eq!(by_chain.iter().map(|of| (of.length, of.count)).collect::<Vec<_>>(), [(1, 2), (2, 1)]);
    assert!((by_chain[0].predicted - 0.25).abs() < 1e-12, "{by_chain:?}");
    assert_eq!(calibrated(&errors, &[0.0; 3]), []);
}

proptest! {
    #[test]
    fn similarities_are_cosines(
        values in prop::collection::vec(prop::collection::vec(-3.0_f32..3.0, 12), 2..6),
    ) {
        let features = slices(&values);
        let count = features.len();
        for by in Similarity::ALL {
            let found = by.between(&features, 4);
            for a in 0..count {
                prop_assert_eq!(found[a * count + a], 1.0);
                for b in 0..count {
                    prop_assert_eq!(found[a * count + b], found[b * count + a]);
                    prop_assert!(found[a * count + b].abs() <= 1.0 + 1e-9);
                }
            }
        }
        // Of a single row both mean the same.
        let [tokens, whole] = Similarity::ALL.map(|by| by.between(&features, 12));
        prop_assert_eq!(tokens, whole);
    }

    #[test]
    fn ratios_know_no_unit_and_shrink_where_tokens_count(
        values in prop::collection::vec(prop::collection::vec(-3.0_f32..3.0, 8), 3..7),
        embeddings in prop::collection::vec(-2.0_f32..2.0, 7 * 4),
    ) {
        let found = lipschitz(&slices(&values), None);
        prop_assert_eq!(found.len(), values.len() - 2);
        // A power of two changes no digit.
        let scaled: Vec<Vec<f32>> = values.iter().map(|row| row.iter().map(|v| 4.0 * v).collect()).collect();
        prop_assert_eq!(&lipschitz(&slices(&scaled), None), &found);
        let new: Vec<NewTokens> = embeddings
            .chunks_exact(4)
            .zip(0_u32..)
            .map(|(row, step)| NewTokens { positions: vec![step % 3], embeddings: row.to_vec() })
            .collect();
        let over_both = lipschitz(&slices(&values), Some(&new));
        for (both, alone) in over_both.iter().zip(&found) {
            prop_assert!(both.unwrap_or(0.0) <= alone.unwrap_or(0.0) + 1e-12);
        }
    }

    #[test]
    fn a_histogram_loses_no_value(values in prop::collection::vec(-1e3_f64..1e3, 1..200)) {
        let found = Histogram::of(&values).unwrap();
        prop_assert_eq!(found.counts.iter().sum::<usize>(), values.len());
        prop_assert!(found.counts.len() <= 42, "{:?}", found);
        let last = found.first + found.width * found.counts.len() as f64;
        prop_assert!(values.iter().all(|v| *v >= found.first - 1e-6 && *v <= last + 1e-6));
    }

    /// A plane of all runs together shows no less than nothing and no more than all.
    #[test]
    fn a_common_plane_shows_a_share_of_the_spread(
        values in prop::collection::vec(prop::collection::vec(-3.0_f32..3.0, 6), 4..9),
    ) {
        let features = slices(&values);
        let (first, second) = features.split_at(2);
        let found = Paths::of(&[first.to_vec(), second.to_vec()]);
        prop_assert!((0.0..=1.0 + 1e-9).contains(&found.explained));
        // Points are around their common middle.
        for axis in 0..2 {
            let sum: f64 = found.runs.iter().flatten().map(|point| point[axis]).sum();
            prop_assert!(sum.abs() < 1e-6, "{}", sum);
        }
    }
}
