//! The thing under a click: cells of a picture that hang together and stand out from what is around them. No model is asked, so it is
//! there at once, and for pictures of any origin.

use super::picture::Picture;
use super::region::Region;

/// Colours that a picture is told apart by.
const COLOURS: usize = 8;
/// Rounds in which they settle.
const ROUNDS: usize = 12;
/// A colour that has less than this part of what chance would give it on the picture's edge belongs to things.
const RARE: f32 = 0.5;

type Colour = [f32; 3];

/// The cells around `[row, column]` that belong together: those of colours that the picture's edge has little of, where the cell is one of
/// them, and else those of its own colour. With them come the cells around, which the thing reaches into.
pub fn thing(picture: &Picture, grid: [u32; 2], [row, column]: [u32; 2]) -> Region {
    let [rows, columns] = grid.map(|cells| cells as usize);
    let clicked = row.min(grid[0].saturating_sub(1)) as usize * columns
        + column.min(grid[1].saturating_sub(1)) as usize;
    let colours = means(picture, [rows, columns]);
    let kinds = kinds(&colours, clicked);
    let is_edge = |cell: usize| {
        let (row, column) = (cell / columns, cell % columns);
        row == 0 || column == 0 || row + 1 == rows || column + 1 == columns
    };
    let share = |of: &dyn Fn(usize) -> bool| {
        let (mut edge, mut all) = (0.0_f32, 0.0_f32);
        for cell in (0..kinds.len()).filter(|&cell| of(cell)) {
            all += 1.0;
            edge += f32::from(u8::from(is_edge(cell)));
        }
        edge / all.max(1.0)
    };
    let usual = share(&|_| true);
    let is_of_things: Vec<bool> =
        (0..COLOURS).map(|kind| share(&|cell| kinds[cell] == kind) < RARE * usual).collect();
    let stands_out = is_of_things[kinds[clicked]];
    let belongs = |cell: usize| {
        if stands_out { is_of_things[kinds[cell]] } else { kinds[cell] == kinds[clicked] }
    };
    let mut found = Region::none(grid);
    let mut open = vec![clicked];
    while let Some(cell) = open.pop() {
        let (row, column) = (cell / columns, cell % columns);
        if found.contains(row, column) || !belongs(cell) {
            continue;
        }
        found.set(row, column, true);
        open.extend((row > 0).then(|| cell - columns));
        open.extend((row + 1 < rows).then_some(cell + columns));
        open.extend((column > 0).then(|| cell - 1));
        open.extend((column + 1 < columns).then_some(cell + 1));
    }
    found.grown(1)
}

/// The mean colour of each cell, row by row.
fn means(picture: &Picture, [rows, columns]: [usize; 2]) -> Vec<Colour> {
    let (width, height) = (picture.width as usize, picture.height as usize);
    let (mut sums, mut counts) = (vec![[0.0_f32; 3]; rows * columns], vec![0.0_f32; rows * columns]);
    for (at, pixel) in picture.rgb.chunks_exact(3).enumerate().take(width * height) {
        let cell = at / width * rows / height * columns + at % width * columns / width;
        counts[cell] += 1.0;
        for (sum, value) in sums[cell].iter_mut().zip(pixel) {
            *sum += f32::from(*value);
        }
    }
    sums.iter().zip(counts).map(|(sum, count)| sum.map(|sum| sum / count.max(1.0))).collect()
}

fn apart(a: &Colour, b: &Colour) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// Which of at most [`COLOURS`] colours each cell has: k-means, begun with the clicked cell's colour and then always with the cell that is
/// farthest from all before, so that small things have a colour too and the same click finds the same.
fn kinds(colours: &[Colour], clicked: usize) -> Vec<usize> {
    let mut centres = vec![colours[clicked]];
    let nearest = |colour: &Colour, centres: &[Colour]| {
        let all = centres.iter().map(|centre| apart(colour, centre)).enumerate();
        all.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, 0.0))
    };
    while centres.len() < COLOURS {
        let farthest =
            colours.iter().max_by(|a, b| nearest(a, &centres).1.total_cmp(&nearest(b, &centres).1));
        match farthest {
            Some(colour) if nearest(colour, &centres).1 > 0.0 => centres.push(*colour),
            _ => break,
        }
    }
    let mut kinds = Vec::new();
    for _ in 0..ROUNDS {
        kinds = colours.iter().map(|colour| nearest(colour, &centres).0).collect();
        for (kind, centre) in centres.iter_mut().enumerate() {
            let own: Vec<&Colour> =
                colours.iter().zip(&kinds).filter(|(_, k)| **k == kind).map(|(colour, _)| colour).collect();
            if !own.is_empty() {
                *centre = std::array::from_fn(|i| own.iter().map(|c| c[i]).sum::<f32>() / own.len() as f32);
            }
        }
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRID: [u32; 2] = [16, 16];

    /// A sky over a meadow, and in it two foxes: orange with white in the middle, at cells 3 to 6 of rows 5 to 8 and 10 to 12 of rows 9
    /// to 11.
    fn picture() -> Picture {
        let mut rgb = Vec::new();
        for y in 0..128_u32 {
            for x in 0..128_u32 {
                let within = |left: u32, top: u32, side: u32| {
                    (left..left + side).contains(&x) && (top..top + side).contains(&y)
                };
                let light = (y / 2) as u8;
                rgb.extend(if within(32, 48, 16) || within(88, 80, 8) {
                    [250, 250, 245]
                } else if within(24, 40, 32) || within(80, 72, 24) {
                    [240, 120, 20]
                } else if y > 64 {
                    [40, 160 - light, 60]
                } else {
                    [120, 180, 190 + light]
                });
            }
        }
        Picture { width: 128, height: 128, rgb }
    }

    #[test]
    fn a_click_takes_the_whole_thing_and_no_other() {
        let one = Region::rectangle(GRID, GRID, [3, 5, 4, 4]).grown(1);
        // On its orange, and on the white in its middle.
        for cell in [[5, 3], [6, 4], [8, 6]] {
            assert_eq!(thing(&picture(), GRID, cell), one, "{cell:?}");
        }
        assert_eq!(thing(&picture(), GRID, [10, 11]), Region::rectangle(GRID, GRID, [10, 9, 3, 3]).grown(1));
    }

    #[test]
    fn a_click_on_the_sky_takes_the_sky_and_not_the_thing_in_it() {
        let sky = thing(&picture(), GRID, [1, 8]);
        assert!(sky.contains(0, 0) && sky.contains(3, 12) && !sky.contains(13, 8), "{sky:?}");
        assert!(!sky.contains(6, 4) && !sky.contains(7, 5), "{sky:?}");
    }

    #[test]
    fn a_plain_picture_is_one_thing_and_clicks_beside_it_count_as_on_its_edge() {
        let plain = Picture { width: 20, height: 10, rgb: vec![9; 600] };
        assert_eq!(thing(&plain, [2, 4], [99, 99]), Region::all([2, 4]));
    }
}
