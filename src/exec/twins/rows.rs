//! Rows moved and ranked.

use super::{Case, Fill};
use crate::kernels::WeightFormat::F32;
use crate::kernels::lowest_rows::{LowestRows, RowMax};
use crate::kernels::rows::{GatherRows, ScatterRows};
use crate::kernels::unite::UnionRows;
use crate::kernels::value_similarity::ValueSimilarity;
use crate::kernels::{Extent, ImagePlacement, Intervals, RowRange, StepValues, Symbol, padded};
use crate::program::Element::{F32 as Float, U32 as Integer};

#[test]
fn gather_and_scatter() {
    for (rows, width, table_rows) in [(1, 1, 1), (33, 16, 40), (100, 7, 50)] {
        Case { fills: &[("indices", Fill::Below(table_rows + 1))], ..Case::default() }.check(F32, |b| {
            let table = b.state("table", table_rows, padded(width), Float);
            let indices = b.state("indices", rows, 1, Integer);
            let y = b.state("y", rows, width, Float);
            b.push(GatherRows {
                table,
                indices,
                y,
                rows: Extent::fixed(rows),
                width,
                table_stride: padded(width),
                table_rows,
            });
        });
        // Each index once: two rows to one place would race. The last is out of range and is skipped.
        let indices = (0..rows).map(|r| (r * 7) % rows.max(4)).collect();
        Case { fills: &[("indices", Fill::Words(indices))], ..Case::default() }.check(F32, |b| {
            let x = b.state("x", rows, width, Float);
            let indices = b.state("indices", rows, 1, Integer);
            let y = b.state("y", table_rows, width, Float);
            b.push(ScatterRows { x, indices, y, rows: Extent::fixed(rows), width, y_rows: table_rows });
        });
    }
}

#[test]
fn lowest_rows() {
    for (sequences, rows, width, count) in
        [(1, 1, 1, 1), (2, 65, 40, 13), (3, 300, 513, 1), (1, 1000, 3, 1000)]
    {
        Case::default().check(F32, |b| {
            let x = b.state("x", sequences * rows, width, Float);
            let y = b.state("y", sequences * rows, 1, Float);
            b.push(RowMax { x, y, rows: sequences * rows, width });
        });
        // Few distinct scores: ties everywhere.
        let scores = (0..sequences * rows).map(|i| ((i * 31 % 7) as f32 - 3.0).to_bits()).collect();
        Case { fills: &[("scores", Fill::Words(scores))], ..Case::default() }.check(F32, |b| {
            let scores = b.state("scores", sequences, rows, Float);
            let lowest = b.state("lowest", sequences, count, Integer);
            b.push(LowestRows { scores, lowest, sequences, rows, count: Extent::fixed(count) });
        });
    }
}

#[test]
fn of_rows_that_tie_the_first_are_the_lowest() {
    // Both zeros tie, and so do rows 1, 3 and 6.
    let scores = [0.0, -1.0, 7.0, -1.0, -0.0, 0.0, -1.0_f32];
    let fills = [("scores", Fill::Words(scores.iter().map(|v| v.to_bits()).collect()))];
    for count in 1..=7 {
        let states = Case { fills: &fills, ..Case::default() }.states(|b| {
            let scores = b.state("scores", 7, 1, Float);
            let lowest = b.state("lowest", count, 1, Integer);
            b.push(LowestRows { scores, lowest, sequences: 1, rows: 7, count: Extent::fixed(count) });
        });
        for states in states {
            assert_eq!(states["lowest"], [1, 3, 6, 0, 4, 5, 2][..count as usize]);
        }
    }
}

#[test]
fn lowest_rows_of_a_number_that_follows_the_step() {
    let intervals = Intervals { prompt: 4, image: 3, first: 0, count: 2, length: 70, changed: 17 };
    let count = Extent::symbolic(1, Symbol::Recomputed(intervals), 70);
    for since_full in [1, 3, 4, 12] {
        let step = StepValues { since_full, ..StepValues::default() };
        let scores = (0..210).map(|i| ((i * 31 % 13) as f32 - 3.0).to_bits()).collect();
        let fills = [("scores", Fill::Words(scores)), ("lowest", Fill::Below(9))];
        Case { step, fills: &fills, ..Case::default() }.check(F32, |b| {
            let scores = b.state("scores", 3, 70, Float);
            let lowest = b.state("lowest", 3, 70, Integer);
            b.push(LowestRows { scores, lowest, sequences: 3, rows: 70, count });
        });
    }
}

#[test]
fn value_similarity() {
    for (sequences, width, intervals) in [
        (1, 1, Intervals { prompt: 2, image: 3, first: 0, count: 1, length: 2, changed: 1 }),
        (3, 77, Intervals { prompt: 2, image: 3, first: 40, count: 1, length: 41, changed: 4 }),
        (2, 64, Intervals { prompt: 3, image: 4, first: 0, count: 9, length: 33, changed: 0 }),
    ] {
        // The turn of neither, of the prompt, of the image, of both.
        for since_full in [1, 2, 3, 4, 12] {
            let step = StepValues { since_full, ..StepValues::default() };
            Case { step, ..Case::default() }.check(F32, |b| {
                let rows = sequences * intervals.length;
                let value = b.state("value", rows, width, Float);
                let kept = b.state("kept", rows, width, Float);
                let scores = b.state("scores", rows, 1, Float);
                b.push(ValueSimilarity { value, kept, scores, sequences, width, intervals });
            });
        }
    }
}

#[test]
fn values_that_are_the_same_score_exactly_nothing() {
    let intervals = Intervals { prompt: 9, image: 9, first: 0, count: 1, length: 65, changed: 4 };
    let step = StepValues { since_full: 1, ..StepValues::default() };
    let values = super::floats(1, 65 * 33, 1.0);
    let fills = [("value", Fill::Words(values.clone())), ("kept", Fill::Words(values))];
    let states = Case { step, fills: &fills, ..Case::default() }.states(|b| {
        let [value, kept] = ["value", "kept"].map(|name| b.state(name, 65, 33, Float));
        let scores = b.state("scores", 65, 1, Float);
        b.push(ValueSimilarity { value, kept, scores, sequences: 1, width: 33, intervals });
    });
    for states in states {
        let scores: Vec<f32> = states["scores"].iter().map(|bits| f32::from_bits(*bits)).collect();
        assert_eq!(scores[0], 1.0);
        assert!(scores[1..].iter().all(|score| *score == 0.0), "{scores:?}");
    }
}

#[test]
fn union_rows() {
    let placement = ImagePlacement { start: 5, columns: 4 };
    for (images, sequences, context, placement, united) in [
        (1, 1, RowRange { first: 12, count: 1 }, ImagePlacement::PLAIN, 0),
        (2, 4, RowRange { first: 12, count: 1 }, ImagePlacement::PLAIN, 12),
        (3, 3, RowRange::all(0), placement, 5),
        (2, 2, RowRange { first: 1, count: 3 }, placement, 7),
    ] {
        let (tokens, length) = (12, 24);
        let step = StepValues { united, ..StepValues::default() };
        let count = Extent::symbolic(1, Symbol::United, tokens).plus(context.count);
        let listed = (0..images * tokens).map(|i| (i * 5 + i / tokens) % tokens).collect();
        Case { step, fills: &[("listed", Fill::Words(listed))], ..Case::default() }.check(F32, |b| {
            let listed = b.state("listed", images, tokens, Integer);
            let y = b.state("y", sequences, count.max(), Integer);
            b.push(UnionRows { listed, y, images, sequences, tokens, length, context, placement, count });
        });
    }
}
