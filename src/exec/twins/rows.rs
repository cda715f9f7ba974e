//! Rows moved and ranked.

use super::{Case, Fill};
use crate::kernels::WeightFormat::F32;
use crate::kernels::lowest_rows::{LowestRows, RowMax};
use crate::kernels::rows::{GatherRows, ScatterRows};
use crate::kernels::{Extent, padded};
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
            b.push(LowestRows { scores, lowest, sequences, rows, count });
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
            b.push(LowestRows { scores, lowest, sequences: 1, rows: 7, count });
        });
        for states in states {
            assert_eq!(states["lowest"], [1, 3, 6, 0, 4, 5, 2][..count as usize]);
        }
    }
}
