//! How often pictures are all right against what they cost, in time or in operations: one mark a method, ringed where nothing else
//! costs as little and is as often right.

use super::{Report, Row, compare};
use crate::eval::plot::axes::{decades, ticks};
use crate::eval::plot::{Anchor, Drawing, FAINT, GRID, INK, PAPER, Rgb, Shape};
use crate::generate::picture::Picture;

/// Rings.
const FRONT: Rgb = [232, 168, 24];

/// Size of the plot with one line of legend, and of the frame inside, in pixels of the SVG.
const SIZE: [f64; 2] = [880.0, 540.0];
const LEFT: f64 = 92.0;
const RIGHT: f64 = 28.0;
const TOP: f64 = 92.0;
const BOTTOM: f64 = 62.0;

/// From a line of the legend to the next.
const LEGEND_LINE: f64 = 20.0;

/// Size of letters beside marks and axes, and the most that one of them takes across.
const LABEL: f64 = 12.0;
const LETTER: f64 = 9.0;

/// What a method's price is counted in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "wasm32"), derive(clap::ValueEnum))]
pub enum By {
    /// Seconds, as the steps were timed
    #[default]
    Seconds,
    /// Operations, counted in full steps of vanilla
    Flops,
}

impl By {
    /// What a method costs.
    pub fn price(self, row: &Row) -> f64 {
        match self {
            Self::Seconds => row.seconds_per_image,
            Self::Flops => row.full_step_equivalents,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Seconds => "seconds per image, decoding aside; numbers are full steps",
            Self::Flops => "FLOPs in full steps of vanilla, decoding aside; numbers are full steps",
        }
    }

    fn of_front(self) -> &'static str {
        match self {
            Self::Seconds => "no other is as fast and as right",
            Self::Flops => "no other is as cheap and as right",
        }
    }
}

/// A plot, laid out.
#[derive(Clone, Debug, PartialEq)]
pub struct Plot {
    drawing: Drawing,
    by: By,
}

impl Plot {
    /// Lays out a report. `title` and `subtitle` say of what.
    pub fn new(report: &Report, by: By, title: &str, subtitle: &str) -> Self {
        let mut names: Vec<&str> = Vec::new();
        for row in &report.rows {
            if !names.contains(&row.method.as_str()) {
                names.push(&row.method);
            }
        }
        let legend = legend(&names);
        let lines = legend.last().map_or(0.0, |(_, [_, y])| y - LEGEND_TOP);
        let size = [SIZE[0], SIZE[1] + lines];
        let mut plot = Self { drawing: Drawing::new(size), by };
        let scale = Scale::of(report, by, [TOP + lines, size[1] - BOTTOM]);
        plot.frame(&scale, title, subtitle);
        if let Some(real) = report.real.as_ref().and_then(|real| real.all) {
            let y = scale.y(real.share);
            plot.drawing.line([LEFT, y], [SIZE[0] - RIGHT, y], 1.5, FAINT, true);
            plot.drawing.text(
                [SIZE[0] - RIGHT - 6.0, y - 6.0],
                Anchor::End,
                12.0,
                FAINT,
                "the judge on real scenes",
            );
        }
        let front = compare::front(&report.rows, by);
        let mut labels = Vec::new();
        for (style, name) in styles(&names) {
            let rows = report.rows.iter().zip(&front).filter(|(row, _)| row.method == name);
            labels.extend(plot.curve(&scale, style, &rows.collect::<Vec<_>>()));
        }
        // Over all curves: first what clears the paper for the words, then the marks, and the words last.
        labels.iter().for_each(|label| plot.plate(label));
        labels.iter().filter(|label| label.on_front).for_each(|label| plot.ring(label.mark));
        labels.iter().for_each(|label| plot.mark(label.style, label.mark));
        for label in labels {
            plot.drawing.text(label.at, label.anchor, LABEL, label.style.colour, &label.text);
        }
        plot.legend(&names, &legend);
        plot
    }

    /// As SVG.
    pub fn to_svg(&self) -> String {
        self.drawing.to_svg()
    }

    /// As pixels, `factor` times as many as the SVG has.
    pub fn to_picture(&self, factor: u32) -> Picture {
        self.drawing.to_picture(factor)
    }

    fn frame(&mut self, scale: &Scale, title: &str, subtitle: &str) {
        let (right, [top, bottom]) = (SIZE[0] - RIGHT, scale.ends);
        self.drawing.text([LEFT, 26.0], Anchor::Start, 16.0, INK, title);
        self.drawing.text([LEFT, 48.0], Anchor::Start, 12.0, FAINT, subtitle);
        for value in ticks(scale.from[1], scale.to[1]) {
            let y = scale.y(value);
            self.drawing.line([LEFT, y], [right, y], 1.0, GRID, false);
            self.drawing.text(
                [LEFT - 8.0, y + 5.0],
                Anchor::End,
                12.0,
                INK,
                &format!("{:.0} %", 100.0 * value),
            );
        }
        for value in decades(scale.from[0], scale.to[0]) {
            let x = scale.x(value);
            self.drawing.line([x, top], [x, bottom], 1.0, GRID, false);
            let decimals = (-value.log10().floor()).clamp(0.0, 9.0) as usize;
            self.drawing.text([x, bottom + 20.0], Anchor::Middle, 12.0, INK, &format!("{value:.decimals$}"));
        }
        self.drawing.line([LEFT, bottom], [right, bottom], 1.5, INK, false);
        self.drawing.line([LEFT, top], [LEFT, bottom], 1.5, INK, false);
        let middle = [(LEFT + right) / 2.0, (top + bottom) / 2.0];
        self.drawing.text(
            [middle[0], self.drawing.size[1] - 16.0],
            Anchor::Middle,
            13.0,
            INK,
            self.by.title(),
        );
        self.drawing.text_upwards([20.0, middle[1]], 13.0, INK, "all right, with 95 % interval");
    }

    /// The curve of a method with its intervals; gives back its marks and their labels.
    fn curve(&mut self, scale: &Scale, style: Style, rows: &[(&Row, &bool)]) -> Vec<Label> {
        let Style { colour, form } = style;
        let mut labels: Vec<Label> = Vec::new();
        for (row, on_front) in rows {
            let Some(all) = row.quality.all else { continue };
            let mark @ [x, y] = [scale.x(self.by.price(row)), scale.y(all.share)];
            let [low, high] = [all.low, all.high].map(|value| scale.y(value));
            self.drawing.line([x, low], [x, high], 1.5, colour, false);
            for end in [low, high] {
                self.drawing.line([x - 4.0, end], [x + 4.0, end], 1.5, colour, false);
            }
            if let Some(last) = labels.last() {
                self.drawing.line(last.mark, mark, 1.5, colour, form != Form::Circle);
            }
            // Methods are often alike in quality: each has its labels in a place of its own.
            let (at, anchor) = match form {
                Form::Circle => ([x - 14.0, y + 4.0], Anchor::End),
                Form::Square => ([x, high - 7.0], Anchor::Middle),
                Form::Triangle => ([x, low + 16.0], Anchor::Middle),
                _ => ([x + 14.0, y + 4.0], Anchor::Start),
            };
            labels.push(Label {
                style,
                mark,
                on_front: **on_front,
                at,
                anchor,
                text: row.full_steps.to_string(),
            });
        }
        labels
    }

    /// Clears the paper under a label.
    fn plate(&mut self, label: &Label) {
        let [x, y] = label.at;
        let width = LETTER * label.text.len() as f64;
        let left = match label.anchor {
            Anchor::Start => x,
            Anchor::Middle => x - width / 2.0,
            Anchor::End => x - width,
        };
        self.drawing.rectangle([left, y - 11.0], [left + width, y + 3.0], PAPER);
    }

    /// Around a mark.
    fn ring(&mut self, centre: [f64; 2]) {
        for (radius, colour) in [(11.0, FRONT), (9.0, PAPER)] {
            self.drawing.circle(centre, radius, colour);
        }
    }

    fn mark(&mut self, Style { colour, form }: Style, [x, y]: [f64; 2]) {
        const R: f64 = 5.5;
        let around: &[[f64; 2]] = match form {
            Form::Circle => {
                self.drawing.circle([x, y], R, colour);
                return;
            }
            Form::Square => &[[-R, -R], [R, -R], [R, R], [-R, R]],
            Form::Triangle => &[[0.0, -1.3 * R], [1.2 * R, R], [-1.2 * R, R]],
            Form::Diamond => &[[0.0, -1.4 * R], [1.4 * R, 0.0], [0.0, 1.4 * R], [-1.4 * R, 0.0]],
            Form::Hanging => &[[0.0, 1.3 * R], [-1.2 * R, -R], [1.2 * R, -R]],
        };
        let points = around.iter().map(|[dx, dy]| [x + dx, y + dy]).collect();
        self.drawing.shapes.push(Shape::Polygon { points, colour });
    }

    fn legend(&mut self, names: &[&str], legend: &[(&str, [f64; 2])]) {
        for ((style, _), (text, at)) in styles(names).into_iter().zip(legend) {
            self.mark(style, *at);
            self.drawing.text([at[0] + 13.0, at[1] + 5.0], Anchor::Start, LABEL, INK, text);
        }
        if !names.is_empty() {
            let (text, right) = (self.by.of_front(), SIZE[0] - RIGHT);
            self.drawing.text([right, 26.0], Anchor::End, LABEL, INK, text);
            self.ring([right - LETTER * text.len() as f64 - 17.0, 22.0]);
        }
    }
}

/// Where the first line of the legend is.
const LEGEND_TOP: f64 = 72.0;

/// What the legend calls each method, and where its mark is: in lines.
fn legend<'a>(names: &[&'a str]) -> Vec<(&'a str, [f64; 2])> {
    let start = LEFT + 6.0;
    let mut at = [start, LEGEND_TOP];
    let mut placed = Vec::with_capacity(names.len());
    for &name in names {
        let text = match name {
            "vanilla" => "vanilla, every step full",
            "reuse" => "reuse of features",
            name => name,
        };
        let width = 13.0 + LETTER * text.len() as f64;
        if at[0] > start && at[0] + width > SIZE[0] - RIGHT {
            at = [start, at[1] + LEGEND_LINE];
        }
        placed.push((text, at));
        at[0] += width + 31.0;
    }
    placed
}

/// How a method is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Style {
    colour: Rgb,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Circle,
    Square,
    Triangle,
    Diamond,
    /// A triangle on its head.
    Hanging,
}

/// Colours and forms of the methods that have none of their own: in turn.
const COLOURS: [Rgb; 5] = [[30, 130, 76], [142, 68, 173], [178, 34, 52], [0, 128, 140], [130, 100, 20]];
const FORMS: [Form; 2] = [Form::Diamond, Form::Hanging];

/// Each method with its style.
fn styles<'a>(names: &[&'a str]) -> Vec<(Style, &'a str)> {
    let mut others = 0;
    let mut of = |name: &str| match name {
        "vanilla" => Style { colour: [70, 70, 78], form: Form::Circle },
        "shortcut" => Style { colour: [24, 98, 201], form: Form::Square },
        "reuse" => Style { colour: [204, 92, 16], form: Form::Triangle },
        _ => {
            let (colour, form) = (COLOURS[others % COLOURS.len()], FORMS[others % FORMS.len()]);
            others += 1;
            Style { colour, form }
        }
    };
    names.iter().map(|&name| (of(name), name)).collect()
}

/// The words beside a mark.
struct Label {
    style: Style,
    mark: [f64; 2],
    on_front: bool,
    at: [f64; 2],
    anchor: Anchor,
    text: String,
}

/// From prices, by their logarithm since speed-ups are ratios, and shares to pixels.
struct Scale {
    from: [f64; 2],
    to: [f64; 2],
    /// Of the frame: top and bottom.
    ends: [f64; 2],
}

impl Scale {
    fn of(report: &Report, by: By, ends_of_frame: [f64; 2]) -> Self {
        let shares = report.rows.iter().filter_map(|row| row.quality.all);
        let ends: Vec<f64> = shares.flat_map(|all| [all.low, all.high]).collect();
        let real = report.real.iter().filter_map(|real| Some(real.all?.share));
        let (low, high) = ends
            .iter()
            .copied()
            .chain(real)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        // Whole steps of 5 %, and at least 10 % of them; all of 0 to 1 where there is nothing.
        let (low, high) = if low.is_finite() { (low, high) } else { (0.0, 1.0) };
        let low = ((low * 20.0 - 0.01).floor() / 20.0).clamp(0.0, 0.9);
        let high = ((high * 20.0 + 0.01).ceil() / 20.0).clamp(low + 0.1, 1.0);
        let prices = report.rows.iter().map(|row| by.price(row)).filter(|price| *price > 0.0);
        let (least, most) = prices.fold((f64::INFINITY, 0.0_f64), |(low, high), v| (low.min(v), high.max(v)));
        // Room for labels left of the first mark.
        let (least, most) = if most > 0.0 { (least / 1.6, most * 1.25) } else { (0.1, 1.0) };
        Self { from: [least, low], to: [most, high], ends: ends_of_frame }
    }

    fn x(&self, price: f64) -> f64 {
        let whole = (self.to[0] / self.from[0]).ln();
        LEFT + (SIZE[0] - LEFT - RIGHT) * (price.max(self.from[0]) / self.from[0]).ln() / whole
    }

    fn y(&self, share: f64) -> f64 {
        let [top, bottom] = self.ends;
        bottom - (bottom - top) * (share - self.from[1]) / (self.to[1] - self.from[1])
    }
}

#[cfg(test)]
#[path = "plot_tests.rs"]
pub(super) mod tests;
