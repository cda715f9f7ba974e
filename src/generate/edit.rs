//! Editing: a picture's codes, of which a region is made anew, and the picture that comes of it.
//!
//! Where nobody says which region, the model does: [`doubts`] are how unlikely it finds each code given others, [`disagreement`] is how
//! far apart two prompts are at each place. What is outside of the region keeps its codes, and beyond one cell around it every pixel.

use super::GenerateError;
use super::canvas::Canvas;
use super::likelihood::Likelihood;
use super::picture::Picture;
use super::region::{Region, Side};
use crate::models::Condition;

/// A picture of which a part is to be made.
#[derive(Clone, Debug)]
pub struct Edit {
    /// What a run begins on.
    pub canvas: Canvas,
    /// What it makes.
    region: Region,
    /// The picture as it was, of which there may be more than the model sees.
    original: Picture,
    /// Where in it the model's part lies: left and top.
    at: [u32; 2],
    /// How large that is: width and height.
    size: [u32; 2],
}

impl Edit {
    /// Of a picture of the model's size and its codes.
    ///
    /// # Errors
    /// Codes or a region of another grid.
    pub fn new(original: Picture, codes: &[u32], region: Region) -> Result<Self, GenerateError> {
        let canvas = Canvas::of_codes(codes, u32::MAX).without(&region)?;
        let size = [original.width, original.height];
        Ok(Self { canvas, region, original, at: [0, 0], size })
    }

    /// So many cells more at one side: the picture grows, and the model sees as much of the old as it has room for.
    /// `window` encodes pictures of the model's size, which is `size` pixels down and across on a grid of cells.
    ///
    /// # Errors
    /// More cells than there are beside one that stays, a picture that is smaller than the model's or does not line up with it, or
    /// `encode` failed.
    pub fn extended(
        picture: &Picture,
        (side, cells): (Side, u32),
        (grid, size): ([u32; 2], [u32; 2]),
        encode: &mut dyn FnMut(&Picture) -> Result<Vec<u32>, GenerateError>,
    ) -> Result<Self, GenerateError> {
        let refuse = |message: String| Err(GenerateError::Setting(message));
        let ([rows, columns], [height, width]) = (grid, size);
        let [cell_height, cell_width] = [height / rows, width / columns];
        let across = matches!(side, Side::Left | Side::Right);
        let (most, pixels) = if across { (columns, cells * cell_width) } else { (rows, cells * cell_height) };
        if !(1..most).contains(&cells) {
            return refuse(format!("{cells} tokens more, where 1 to {} can be made at once", most - 1));
        }
        let fits = if across {
            picture.height == height && picture.width >= width
        } else {
            picture.width == width && picture.height >= height
        };
        if !fits {
            return refuse(format!(
                "a picture of {} x {} pixels cannot be extended {} by a model of {width} x {height}",
                picture.width,
                picture.height,
                side.name()
            ));
        }
        // The part that is nearest to the new cells, as the model sees whole pictures.
        let far = [picture.width - width, picture.height - height];
        let nearest = match side {
            Side::Left | Side::Top => [0, 0],
            Side::Right => [far[0], 0],
            Side::Bottom => [0, far[1]],
        };
        let codes = encode(&picture.part([nearest[0], nearest[1], width, height]))?;
        // Slid away from that side, cell by cell.
        let slid = |row: u32, column: u32| {
            let (row, column) = (i64::from(row), i64::from(column));
            let (row, column) = match side {
                Side::Left => (row, column - i64::from(cells)),
                Side::Right => (row, column + i64::from(cells)),
                Side::Top => (row - i64::from(cells), column),
                Side::Bottom => (row + i64::from(cells), column),
            };
            let inside = (0..i64::from(rows)).contains(&row) && (0..i64::from(columns)).contains(&column);
            inside.then(|| codes[(row * i64::from(columns) + column) as usize])
        };
        let slid: Vec<u32> = (0..rows)
            .flat_map(|row| (0..columns).map(move |column| (row, column)))
            .map(|(row, column)| slid(row, column).unwrap_or(u32::MAX))
            .collect();
        let (grown, old, at) = match side {
            Side::Left => ([picture.width + pixels, height], [pixels, 0], [0, 0]),
            Side::Right => ([picture.width + pixels, height], [0, 0], [far[0] + pixels, 0]),
            Side::Top => ([width, picture.height + pixels], [0, pixels], [0, 0]),
            Side::Bottom => ([width, picture.height + pixels], [0, 0], [0, far[1] + pixels]),
        };
        let [grown_width, grown_height] = grown;
        let rgb = vec![0; (grown_width * grown_height * 3) as usize];
        let mut original = Picture { width: grown_width, height: grown_height, rgb };
        original.lay(picture, old);
        let (canvas, region) = (Canvas::of_codes(&slid, u32::MAX), Region::side(grid, side, cells));
        Ok(Self { canvas, region, original, at, size: [width, height] })
    }

    /// What is made anew.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// What was there, as large as what will be.
    pub fn original(&self) -> &Picture {
        &self.original
    }

    /// The part of a picture of the original's size that the model saw.
    #[must_use]
    pub fn window(&self, picture: &Picture) -> Picture {
        let [x, y] = self.at;
        let [width, height] = self.size;
        picture.part([x, y, width, height])
    }

    /// The picture, with what was made in its place: a run's picture of the model's size. One cell around the region goes softly from
    /// one to the other, and all beyond is as it was.
    #[must_use]
    pub fn finish(&self, made: &Picture) -> Picture {
        let weights = self.region.softness([made.height, made.width]);
        let [x, y] = self.at;
        let part = self.original.part([x, y, made.width, made.height]);
        let mut out = self.original.clone();
        out.lay(&part.blended(made, &weights), self.at);
        out
    }
}

/// Every second cell of a grid, like the black or the white ones of a chessboard, in ascending order.
fn every_second([rows, columns]: [u32; 2], first: u32) -> Vec<u32> {
    let cells = (0..rows * columns).filter(|cell| (cell / columns + cell % columns) % 2 == first);
    cells.collect()
}

/// How unlikely a base finds each code of a picture, in nats: given the half of the others that does not touch it.
///
/// # Errors
/// As [`Likelihood::given_others`].
pub async fn doubts(
    likelihood: &mut Likelihood,
    condition: &Condition,
    codes: &[u32],
    grid: [u32; 2],
) -> Result<Vec<f32>, GenerateError> {
    let mut doubts = vec![0.0; codes.len()];
    for first in 0..2 {
        let cells = every_second(grid, first);
        if cells.is_empty() {
            continue;
        }
        let found = likelihood.given_others(condition, codes, &cells).await?;
        cells.iter().zip(found).for_each(|(&cell, found)| doubts[cell as usize] = -found as f32);
    }
    Ok(doubts)
}

/// How far two conditions disagree about each place of a picture: the divergence of what the new one expects there from what the old one
/// does, in nats, at every second place given the others, and smoothed over the cells around. Two steps of the model.
///
/// # Errors
/// As [`Likelihood::logits`].
pub async fn disagreement(
    (old, of_old): (&mut Likelihood, &Condition),
    (new, of_new): (&mut Likelihood, &Condition),
    codes: &[u32],
    grid: [u32; 2],
) -> Result<Vec<f32>, GenerateError> {
    let cells = every_second(grid, 0);
    let (before, after) =
        (old.logits(of_old, codes, &cells).await?, new.logits(of_new, codes, &cells).await?);
    let codebook = before.len() / cells.len().max(1);
    let mut apart: Vec<Option<f32>> = vec![None; codes.len()];
    let rows = before.chunks_exact(codebook.max(1)).zip(after.chunks_exact(codebook.max(1)));
    for (&cell, (before, after)) in cells.iter().zip(rows) {
        apart[cell as usize] = Some(divergence(after, before));
    }
    Ok(smoothed(&apart, grid))
}

/// The Kullback-Leibler divergence of a softmax from another.
fn divergence(of: &[f32], from: &[f32]) -> f32 {
    let logarithm = |logits: &[f32]| {
        let most = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        most + logits.iter().map(|&z| (f64::from(z) - most).exp()).sum::<f64>().ln()
    };
    let (own, other) = (logarithm(of), logarithm(from));
    let each = of.iter().zip(from).map(|(&p, &q)| {
        let (p, q) = (f64::from(p) - own, f64::from(q) - other);
        p.exp() * (p - q)
    });
    each.sum::<f64>() as f32
}

/// The mean of what is known in and around each cell.
fn smoothed(values: &[Option<f32>], [rows, columns]: [u32; 2]) -> Vec<f32> {
    let (rows, columns) = (rows as usize, columns as usize);
    let near = |at: usize, of: usize| at.saturating_sub(1)..(at + 2).min(of);
    let mean = |cell: usize| {
        let around = near(cell / columns, rows)
            .flat_map(|row| near(cell % columns, columns).map(move |column| row * columns + column));
        let (mut sum, mut count) = (0.0, 0_u32);
        for value in around.filter_map(|cell| values[cell]) {
            (sum, count) = (sum + value, count + 1);
        }
        if count > 0 { sum / count as f32 } else { 0.0 }
    };
    (0..values.len()).map(mean).collect()
}

#[cfg(test)]
#[path = "edit_tests.rs"]
mod tests;
