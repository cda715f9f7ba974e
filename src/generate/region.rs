//! Which tokens of a picture are to be made anew: a region on the grid of tokens, from rectangles, masks and brushes, or found by
//! what a model is least sure of.

use super::GenerateError;
use super::order::Order;

/// The cells of a grid of rows and columns, each in or out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    rows: usize,
    columns: usize,
    cells: Vec<bool>,
}

/// An edge of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Where columns begin.
    Left,
    /// Where they end.
    Right,
    /// Where rows begin.
    Top,
    /// Where they end.
    Bottom,
}

impl Side {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Left, Self::Right, Self::Top, Self::Bottom];

    /// As the command line has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Right => "right",
            Self::Top => "top",
            Self::Bottom => "bottom",
        }
    }
}

impl Region {
    /// Nothing of a grid of rows and columns.
    pub fn none([rows, columns]: [u32; 2]) -> Self {
        let (rows, columns) = (rows as usize, columns as usize);
        Self { rows, columns, cells: vec![false; rows * columns] }
    }

    /// All of it.
    pub fn all(grid: [u32; 2]) -> Self {
        Self::none(grid).inverted()
    }

    /// The cells that a rectangle of pixels touches: left, top, width and height, in a picture of so many pixels down and across.
    pub fn rectangle(grid: [u32; 2], [height, width]: [u32; 2], [x, y, w, h]: [u32; 4]) -> Self {
        let mut region = Self::none(grid);
        let [rows, columns] = grid;
        // The first cell that is touched, and the one after the last.
        let span = |at: u32, length: u32, pixels: u32, cells: u32| {
            let end = at.saturating_add(length).min(pixels);
            let cell = |pixel: u64| (pixel * u64::from(cells) / u64::from(pixels.max(1))) as usize;
            if end <= at { 0..0 } else { cell(u64::from(at))..cell(u64::from(end - 1)) + 1 }
        };
        for row in span(y, h, height, rows) {
            for column in span(x, w, width, columns) {
                region.set(row, column, true);
            }
        }
        region
    }

    /// The cells of which a mask covers at least a tenth: a value from 0 to 1 a pixel, in rows from the top.
    pub fn of_mask(grid: [u32; 2], [height, width]: [u32; 2], mask: &[f32]) -> Self {
        /// A stroke that grazes a token is meant for its neighbour.
        const SHARE: f32 = 0.1;
        let mut region = Self::none(grid);
        let (mut sums, mut counts) = (vec![0.0_f32; region.cells.len()], vec![0_u32; region.cells.len()]);
        let (height, width) = (height as usize, width as usize);
        for (at, value) in mask.iter().enumerate().take(height * width) {
            let (row, column) = (at / width * region.rows / height, at % width * region.columns / width);
            sums[row * region.columns + column] += value;
            counts[row * region.columns + column] += 1;
        }
        let covered = sums.iter().zip(counts).map(|(sum, count)| *sum >= SHARE * count.max(1) as f32);
        region.cells = covered.collect();
        region
    }

    /// So many cells at one edge.
    pub fn side(grid: [u32; 2], side: Side, cells: u32) -> Self {
        let (mut region, cells) = (Self::none(grid), cells as usize);
        for row in 0..region.rows {
            for column in 0..region.columns {
                let is_in = match side {
                    Side::Left => column < cells,
                    Side::Right => column + cells >= region.columns,
                    Side::Top => row < cells,
                    Side::Bottom => row + cells >= region.rows,
                };
                region.set(row, column, is_in);
            }
        }
        region
    }

    /// A disc of cells around one, as a brush paints it: those within `radius` of it.
    pub fn disc(grid: [u32; 2], [row, column]: [u32; 2], radius: f32) -> Self {
        let mut region = Self::none(grid);
        for y in 0..region.rows {
            for x in 0..region.columns {
                let (dy, dx) = (y as f32 - row as f32, x as f32 - column as f32);
                region.set(y, x, dy.hypot(dx) <= radius);
            }
        }
        region
    }

    /// Of some cells, those with the highest scores, as many as a share of them; the first of equal ones. At least one, if there is
    /// any.
    #[must_use]
    pub fn highest(&self, scores: &[f32], share: f32) -> Self {
        let mut order: Vec<usize> = (0..self.cells.len()).filter(|&cell| self.cells[cell]).collect();
        let score = |cell: &usize| scores.get(*cell).copied().unwrap_or(f32::NEG_INFINITY);
        order.sort_by(|a, b| score(b).total_cmp(&score(a)).then(a.cmp(b)));
        let count = ((order.len() as f32 * share).round() as usize).max(1);
        let mut chosen = Self { cells: vec![false; self.cells.len()], ..*self };
        order.iter().take(count).for_each(|&cell| chosen.cells[cell] = true);
        chosen
    }

    /// Of some cells a share that is spread evenly, along the Halton sequence: what is left of the others keeps a picture's layout.
    #[must_use]
    pub fn spread(&self, share: f32) -> Self {
        let ranks = Order::Halton.ranks([self.rows as u32, self.columns as u32]).unwrap_or_default();
        let early: Vec<f32> = ranks.iter().map(|&rank| -(rank as f32)).collect();
        self.highest(&early, share)
    }

    /// The same with what lies within so many cells of it, across corners too; nothing is taken from it.
    #[must_use]
    pub fn grown(&self, cells: u32) -> Self {
        let reach = cells as usize;
        let mut grown = self.clone();
        for row in 0..self.rows {
            for column in 0..self.columns {
                let near = |at: usize, of: usize| at.saturating_sub(reach)..(at + reach + 1).min(of);
                let mut around = near(row, self.rows)
                    .flat_map(|row| near(column, self.columns).map(move |column| (row, column)));
                if around.any(|(row, column)| self.contains(row, column)) {
                    grown.set(row, column, true);
                }
            }
        }
        grown
    }

    /// What it leaves out.
    #[must_use]
    pub fn inverted(&self) -> Self {
        Self { cells: self.cells.iter().map(|cell| !cell).collect(), ..*self }
    }

    /// The same and another of its grid.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        let both = self.cells.iter().zip(&other.cells);
        Self { cells: both.map(|(own, other)| own | other).collect(), ..*self }
    }

    /// The same without another of its grid.
    #[must_use]
    pub fn except(&self, other: &Self) -> Self {
        let both = self.cells.iter().zip(&other.cells);
        Self { cells: both.map(|(own, other)| own & !other).collect(), ..*self }
    }

    /// Whether a cell is in it.
    pub fn contains(&self, row: usize, column: usize) -> bool {
        row < self.rows && column < self.columns && self.cells[row * self.columns + column]
    }

    pub(super) fn set(&mut self, row: usize, column: usize, is_in: bool) {
        self.cells[row * self.columns + column] = is_in;
    }

    /// Rows and columns.
    pub fn grid(&self) -> [u32; 2] {
        [self.rows as u32, self.columns as u32]
    }

    /// Every cell, in rows from the top.
    pub fn cells(&self) -> &[bool] {
        &self.cells
    }

    /// How many are in it.
    pub fn count(&self) -> u32 {
        self.cells.iter().filter(|cell| **cell).count() as u32
    }

    /// How far each pixel of a picture lies within it, from 0 to 1: 1 in its cells, and falling smoothly to 0 over one cell around
    /// them. Beyond that it is 0 to the bit.
    pub fn softness(&self, [height, width]: [u32; 2]) -> Vec<f32> {
        let (height, width) = (height as usize, width as usize);
        // In cells.
        let place =
            |pixel: usize, pixels: usize, cells: usize| (pixel as f32 + 0.5) * cells as f32 / pixels as f32;
        let outside = |at: f32, cell: usize| (cell as f32 - at).max(at - (cell + 1) as f32).max(0.0);
        let mut weights = Vec::with_capacity(height * width);
        for y in 0..height {
            let (down, row) = (place(y, height, self.rows), y * self.rows / height);
            for x in 0..width {
                let (across, column) = (place(x, width, self.columns), x * self.columns / width);
                let mut least = f32::INFINITY;
                // What is further away than the cells around is further than one cell.
                for near_row in row.saturating_sub(1)..(row + 2).min(self.rows) {
                    for near_column in column.saturating_sub(1)..(column + 2).min(self.columns) {
                        if self.contains(near_row, near_column) {
                            least = least.min(outside(down, near_row).hypot(outside(across, near_column)));
                        }
                    }
                }
                // From 1 to 0 without a corner at either end.
                let near = (1.0 - least).max(0.0);
                weights.push(near * near * (3.0 - 2.0 * near));
            }
        }
        weights
    }
}

impl std::str::FromStr for Side {
    type Err = GenerateError;

    fn from_str(text: &str) -> Result<Self, GenerateError> {
        let unknown = || GenerateError::Setting(format!("{text:?} is none of left, right, top and bottom"));
        Self::ALL.into_iter().find(|side| side.name() == text).ok_or_else(unknown)
    }
}

#[cfg(test)]
#[path = "region_tests.rs"]
mod tests;
