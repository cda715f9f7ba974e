//! The order in which tokens are revealed: which of the masked ones a step takes.
//!
//! To add one, give [`Order`] a variant; one from outside of this crate is [`Order::Custom`], see `examples/order.rs`.

use serde::{Deserialize, Serialize};

/// An order that is known in advance.
pub trait Arrange: std::fmt::Debug + Sync {
    /// As reports call it.
    fn name(&self) -> &'static str;

    /// The rank of each token of a grid, row by row: of those that are masked, a step takes the lowest. Ranks are below 2^24, and of equal
    /// ones the first token counts.
    fn ranks(&self, grid: [u32; 2]) -> Vec<u32>;
}

impl Serialize for dyn Arrange {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

impl PartialEq for dyn Arrange {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for dyn Arrange {}

/// How the tokens of a step are chosen. How many they are is the schedule's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Those that the model is surest of, with noise: the official sampler of both families.
    #[default]
    Confidence,
    /// Along a two-dimensional Halton sequence, which spreads each step's tokens over the picture (Besnier et al. 2025, arXiv
    /// 2503.17076).
    Halton,
    /// One from outside. Reports name it, and files cannot bring it back.
    #[serde(skip_deserializing)]
    #[cfg_attr(not(target_arch = "wasm32"), value(skip))]
    Custom(&'static dyn Arrange),
}

impl Order {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Confidence => "confidence",
            Self::Halton => "halton",
            Self::Custom(order) => order.name(),
        }
    }

    /// The rank of each token of a grid, row by row, where the order is known in advance.
    pub fn ranks(self, [rows, columns]: [u32; 2]) -> Option<Vec<u32>> {
        match self {
            Self::Confidence => None,
            Self::Halton => Some(halton_ranks(rows, columns)),
            Self::Custom(order) => Some(order.ranks([rows, columns])),
        }
    }
}

/// The radical inverse of `index` in `base`: its digits mirrored at the point (Halton 1960).
fn radical_inverse(mut index: u32, base: u32) -> f64 {
    let (mut value, mut weight) = (0.0, 1.0 / f64::from(base));
    while index > 0 {
        value += f64::from(index % base) * weight;
        index /= base;
        weight /= f64::from(base);
    }
    value
}

/// The cells of a grid in the order in which a Halton sequence of bases 2 (rows) and 3 (columns) first falls into them. The official
/// code takes 10,000 points, which cover 32 x 32 cells; here it goes on until all are covered.
fn halton_ranks(rows: u32, columns: u32) -> Vec<u32> {
    /// Points that a cell waits for at most; a sequence of low discrepancy needs far fewer.
    const PATIENCE: u32 = 64;
    let cells = (rows * columns) as usize;
    let mut ranks = vec![u32::MAX; cells];
    let mut next = 0;
    let points = (cells as u32).saturating_mul(PATIENCE).max(10_000);
    for index in 1..=points {
        if next as usize == cells {
            break;
        }
        let of = |base, size: u32| ((radical_inverse(index, base) * f64::from(size)) as u32).min(size - 1);
        let cell = &mut ranks[(of(2, rows) * columns + of(3, columns)) as usize];
        if *cell == u32::MAX {
            (*cell, next) = (next, next + 1);
        }
    }
    for cell in ranks.iter_mut().filter(|rank| **rank == u32::MAX) {
        (*cell, next) = (next, next + 1);
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_sequence_begins_as_the_official_one() {
        let ranks = Order::Halton.ranks([32, 32]).unwrap();
        let wanted = [(16, 10), (8, 21), (24, 3), (4, 14), (20, 24), (12, 7), (28, 17), (2, 28)];
        for (rank, (row, column)) in wanted.into_iter().enumerate() {
            assert_eq!(ranks[row * 32 + column], rank as u32, "({row}, {column})");
        }
    }

    proptest! {
        #[test]
        fn every_cell_has_its_rank(rows in 1_u32..70, columns in 1_u32..70) {
            let mut ranks = halton_ranks(rows, columns);
            ranks.sort_unstable();
            prop_assert!(ranks.into_iter().eq(0..rows * columns));
        }
    }
}
