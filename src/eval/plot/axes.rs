//! Axes: round values along them, and the frame of a plot whose axes are linear.

use super::{Anchor, Drawing, FAINT, GRID, INK};

/// The smallest of 1, 2 and 5 times a power of ten that is not below `rough`, which is positive.
pub(crate) fn round_step(rough: f64) -> f64 {
    let power = 10_f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    steps.into_iter().find(|step| *step >= rough * 0.999).unwrap_or(power)
}

/// Round values from one end to the other, four to ten of them: 1, 2 or 5 times a power of ten apart.
pub(crate) fn ticks(from: f64, to: f64) -> Vec<f64> {
    let apart = round_step((to - from) / 5.0);
    let first = (from / apart - 1e-9).ceil() as i64;
    let last = (to / apart + 1e-9).floor() as i64;
    (first..=last).map(|index| index as f64 * apart).collect()
}

/// 1, 2 and 5 times every power of ten from one end to the other.
pub(crate) fn decades(from: f64, to: f64) -> Vec<f64> {
    let powers = from.log10().floor() as i32..=to.log10().ceil() as i32;
    let values = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power)));
    values.filter(|value| (from..=to).contains(value)).collect()
}

/// The frame of a plot: where it is on the paper, and what its ends are. Neither range is empty.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    /// Left and top, in pixels.
    pub(crate) from: [f64; 2],
    /// Right and bottom.
    pub(crate) to: [f64; 2],
    /// Values at the left and the right.
    pub(crate) x: [f64; 2],
    /// Values at the bottom and the top.
    pub(crate) y: [f64; 2],
}

impl Frame {
    /// Where a pair of values is on the paper.
    pub(crate) fn at(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let [across, up] =
            [(x, self.x), (y, self.y)].map(|(value, [low, high])| (value - low) / (high - low));
        let [width, height] = [self.to[0] - self.from[0], self.to[1] - self.from[1]];
        [self.from[0] + width * across, self.to[1] - height * up]
    }

    /// Axes with round values along them, and what goes from left to right and upwards.
    pub(crate) fn draw(&self, drawing: &mut Drawing, across: &str, up: &str) {
        let ([left, top], [right, bottom]) = (self.from, self.to);
        for value in ticks(self.y[0], self.y[1]) {
            let [_, y] = self.at([self.x[0], value]);
            drawing.line([left, y], [right, y], 1.0, GRID, false);
            drawing.text([left - 8.0, y + 4.0], Anchor::End, 12.0, INK, &number(value, self.y));
        }
        for value in ticks(self.x[0], self.x[1]) {
            let [x, _] = self.at([value, self.y[0]]);
            drawing.line([x, top], [x, bottom], 1.0, GRID, false);
            drawing.text([x, bottom + 20.0], Anchor::Middle, 12.0, INK, &number(value, self.x));
        }
        drawing.line([left, bottom], [right, bottom], 1.5, INK, false);
        drawing.line([left, top], [left, bottom], 1.5, INK, false);
        let [x, y] = [(left + right) / 2.0, (top + bottom) / 2.0];
        drawing.text([x, bottom + 44.0], Anchor::Middle, 13.0, INK, across);
        drawing.text_upwards([20.0, y], 13.0, INK, up);
    }
}

/// A title at the top of the paper, and a line under it: of what.
pub(crate) fn heading(drawing: &mut Drawing, left: f64, title: &str, subtitle: &str) {
    drawing.text([left, 26.0], Anchor::Start, 16.0, INK, title);
    drawing.text([left, 48.0], Anchor::Start, 12.0, FAINT, subtitle);
}

/// A round value, with as many decimals as those beside it need.
fn number(value: f64, [from, to]: [f64; 2]) -> String {
    let decimals = (-round_step((to - from) / 5.0).log10().floor()).clamp(0.0, 9.0) as usize;
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within_the_ends() {
        for (from, to, wanted) in [
            (0.0, 1.0, vec![0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
            (0.0, 0.17, vec![0.0, 0.05, 0.1, 0.15]),
            (0.7, 1.0, vec![0.7, 0.8, 0.9, 1.0]),
        ] {
            let ticks = ticks(from, to);
            assert_eq!(ticks.len(), wanted.len(), "{ticks:?}");
            assert!(ticks.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-9), "{ticks:?}");
        }
    }

    #[test]
    fn decades_are_the_digits_of_money() {
        assert_eq!(decades(0.06, 1.2), [0.1, 0.2, 0.5, 1.0]);
        assert_eq!(decades(3.0, 20.0), [5.0, 10.0, 20.0]);
    }

    #[test]
    fn steps_are_rounded_up_to_digits_of_money() {
        for (rough, wanted) in [(0.013, 0.02), (0.2, 0.2), (2.1, 5.0), (7.0, 10.0), (1.0, 1.0)] {
            assert!((round_step(rough) - wanted).abs() < 1e-12, "{rough}: {}", round_step(rough));
        }
    }

    #[test]
    fn a_frame_has_its_ends_at_its_corners() {
        let frame = Frame { from: [10.0, 20.0], to: [110.0, 70.0], x: [-1.0, 1.0], y: [0.0, 5.0] };
        assert_eq!(frame.at([-1.0, 0.0]), [10.0, 70.0]);
        assert_eq!(frame.at([1.0, 5.0]), [110.0, 20.0]);
        assert_eq!(frame.at([0.0, 2.5]), [60.0, 45.0]);
        assert_eq!(number(0.25, [0.0, 1.0]), "0.2", "ticks of such a range have one decimal");
        assert_eq!(number(30.0, [0.0, 60.0]), "30");
    }
}
