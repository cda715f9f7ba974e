//! Figures laid out as drawings, with the table of each.

use super::trace::Traced;
use super::{Attended, CalibratedErrors, Candidate, Figure, NAMES, Title, TokenAt};
use crate::eval::motion::{
    Histogram, LipschitzOver, OfChain, Paths, Refreshed, Similarity, by_chain, calibrated_by_chain, median,
};
use crate::eval::plot::axes::{Frame, heading, ticks};
use crate::eval::plot::{Anchor, Drawing, FAINT, GRID, INK, Rgb};
use crate::generate::session::{Settings, StepKind};

/// The run, and what the predictor makes.
const BLUE: Rgb = [24, 98, 201];
/// Features as they were.
const ORANGE: Rgb = [204, 92, 16];
/// What `migm calibrate` measured.
const GREY: Rgb = [112, 112, 122];
/// Branches, in turn.
const BRANCHES: [Rgb; 4] = [[204, 150, 100], [120, 170, 120], [170, 130, 190], [190, 140, 150]];
/// From unlike to alike.
const UNLIKE: Rgb = [240, 243, 248];

const LEFT: f64 = 92.0;
const RIGHT: f64 = 28.0;
const TOP: f64 = 92.0;
const BOTTOM: f64 = 62.0;
/// Of plots with axes.
const SIZE: [f64; 2] = [760.0, 460.0];

fn figure(name: usize, drawing: &Drawing, csv: String) -> Figure {
    Figure { name: NAMES[name], svg: drawing.to_svg(), csv }
}

/// A frame over the paper from one height to another.
fn frame([top, bottom]: [f64; 2], x: [f64; 2], y: [f64; 2]) -> Frame {
    Frame { from: [LEFT, top], to: [SIZE[0] - RIGHT, bottom], x, y }
}

/// Room around values, and never none.
fn ends(values: impl Iterator<Item = f64>) -> [f64; 2] {
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return [0.0, 1.0];
    }
    let room = if high > low { 0.06 * (high - low) } else { low.abs().max(1.0) * 0.5 };
    [low - room, high + room]
}

/// What is not known is left empty.
fn or_nothing(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// Two heat-maps `[steps, steps]` side by side, by either definition.
pub(super) fn similarity(title: &Title, maps: &[Vec<f64>; 2], steps: usize) -> Figure {
    const SIDE: f64 = 480.0;
    const APART: f64 = 60.0;
    let mut drawing = Drawing::new([LEFT + 2.0 * SIDE + APART + RIGHT, TOP + 34.0 + SIDE + BOTTOM]);
    let text = format!("Similarity of features between steps: {}", title.subject);
    heading(&mut drawing, LEFT, &text, &title.subtitle);
    let cell = SIDE / steps.max(1) as f64;
    for (index, (map, by)) in maps.iter().zip(Similarity::ALL).enumerate() {
        let (left, top) = (LEFT + index as f64 * (SIDE + APART), TOP + 34.0);
        let lowest = map.iter().copied().fold(1.0, f64::min);
        let next: Vec<f64> = (1..steps).map(|step| map[(step - 1) * steps + step]).collect();
        let mean = next.iter().sum::<f64>() / next.len().max(1) as f64;
        drawing.text([left, top - 28.0], Anchor::Start, 13.0, INK, &capital(by.title()));
        let words = format!("{lowest:.3} (faint) to 1; from one step to the next {mean:.4} on average");
        drawing.text([left, top - 10.0], Anchor::Start, 12.0, FAINT, &words);
        for (at, value) in map.iter().enumerate() {
            let (row, column) = (at / steps, at % steps);
            let corner = [left + cell * column as f64, top + cell * row as f64];
            // A little over the next cells, which are drawn later: no paper shows between them.
            let over = |axis: usize, index: usize| {
                if index + 1 < steps { corner[axis] + cell + 0.5 } else { corner[axis] + cell }
            };
            let share = (value - lowest) / (1.0 - lowest).max(1e-9);
            drawing.rectangle(corner, [over(0, column), over(1, row)], mixed(share));
        }
        let every = steps.div_ceil(8).max(1);
        for step in (0..steps).step_by(every) {
            let middle = cell * (step as f64 + 0.5);
            let text = step.to_string();
            drawing.text([left + middle, top + SIDE + 18.0], Anchor::Middle, 12.0, INK, &text);
            drawing.text([left - 8.0, top + middle + 4.0], Anchor::End, 12.0, INK, &text);
        }
        drawing.text([left + SIDE / 2.0, top + SIDE + 40.0], Anchor::Middle, 13.0, INK, "step");
    }
    let mut csv = "step_a,step_b,mean_of_tokens,flattened\n".to_owned();
    for a in 0..steps {
        for b in a..steps {
            csv += &format!("{a},{b},{},{}\n", maps[0][a * steps + b], maps[1][a * steps + b]);
        }
    }
    figure(0, &drawing, csv)
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn mixed(share: f64) -> Rgb {
    let mix = |at: usize| {
        let [from, to] = [UNLIKE, BLUE].map(|colour| f64::from(colour[at]));
        (from + share.clamp(0.0, 1.0) * (to - from)).round() as u8
    };
    [mix(0), mix(1), mix(2)]
}

/// A run and its branches in the plane of the principal components of them all.
pub(super) fn path(title: &Title, run: &Traced, others: &[Traced], branch_at: u32) -> Figure {
    let all: Vec<&Traced> = others.iter().chain([run]).collect();
    let features: Vec<Vec<&[f32]>> =
        all.iter().map(|run| run.features.iter().map(Vec::as_slice).collect()).collect();
    let paths = Paths::of(&features);
    let points = || paths.runs.iter().flatten();
    let (x, y) = (ends(points().map(|p| p[0])), ends(points().map(|p| p[1])));
    // One unit is as long in either direction: what looks round is round.
    let height = (SIZE[0] - LEFT - RIGHT) * (y[1] - y[0]) / (x[1] - x[0]);
    let bottom = TOP + height.clamp(160.0, 720.0);
    let unit = (x[1] - x[0]) / (SIZE[0] - LEFT - RIGHT);
    let unit = unit.max((y[1] - y[0]) / (bottom - TOP));
    let around = |[low, high]: [f64; 2], pixels: f64| {
        let (middle, half) = ((low + high) / 2.0, unit * pixels / 2.0);
        [middle - half, middle + half]
    };
    let frame = frame([TOP, bottom], around(x, SIZE[0] - LEFT - RIGHT), around(y, bottom - TOP));
    let mut drawing = Drawing::new([SIZE[0], bottom + BOTTOM]);
    let beside = match others.len() {
        0 => String::new(),
        1 => format!(" and a branch from step {branch_at} on"),
        count => format!(" and {count} branches from step {branch_at} on"),
    };
    let across = format!("first two principal components, {:.1} % of the spread", 100.0 * paths.explained);
    let text = format!("Path of the features{beside}: {}", title.subject);
    heading(&mut drawing, LEFT, &text, &title.subtitle);
    frame.draw(&mut drawing, &across, "");
    let mut csv = "run,seed,step,x,y,full\n".to_owned();
    for (index, (run, path)) in all.iter().zip(&paths.runs).enumerate() {
        let is_own = index == others.len();
        let colour = if is_own { BLUE } else { BRANCHES[index % BRANCHES.len()] };
        for pair in path.windows(2) {
            let width = if is_own { 2.0 } else { 1.2 };
            drawing.line(frame.at(pair[0]), frame.at(pair[1]), width, colour, false);
        }
        for (step, (point, planned)) in path.iter().zip(&run.plan).enumerate() {
            let full = planned.kind == StepKind::Full;
            // Full steps of a run stand out; a branch's steps are only there to be counted.
            let radius = if !is_own {
                1.8
            } else if full {
                4.5
            } else {
                2.5
            };
            drawing.circle(frame.at(*point), radius, colour);
            let name = if is_own { "run".to_owned() } else { format!("branch-{}", index + 1) };
            csv += &format!("{name},{},{step},{},{},{}\n", run.seed, point[0], point[1], u8::from(full));
        }
    }
    for (point, text) in
        [(paths.runs[others.len()].first(), "first"), (paths.runs[others.len()].last(), "last")]
    {
        if let Some(point) = point {
            let [x, y] = frame.at(*point);
            drawing.text([x, y - 9.0], Anchor::Middle, 12.0, INK, text);
        }
    }
    figure(1, &drawing, csv)
}

/// Histograms of Lipschitz ratios by either definition, one above the other on one axis.
pub(super) fn lipschitz(title: &Title, alone: &[Option<f64>], both: &[Option<f64>]) -> Figure {
    const EACH: f64 = 210.0;
    /// So high a scale has no fractions of steps.
    const LEAST_COUNT: f64 = 5.0;
    const APART: f64 = 64.0;
    let kinds = [(LipschitzOver::Features, alone), (LipschitzOver::FeaturesAndNewTokens, both)];
    let known = kinds.map(|(_, ratios)| ratios.iter().flatten().copied().collect::<Vec<f64>>());
    let histograms = [0, 1].map(|at: usize| Histogram::of(&known[at]));
    let highest = known.iter().flatten().copied().fold(0.0, f64::max);
    let right = if highest > 0.0 { 1.05 * highest } else { 1.0 };
    let mut drawing = Drawing::new([SIZE[0], TOP + 2.0 * EACH + APART + BOTTOM]);
    let text = format!("Lipschitz ratios of the features' velocity: {}", title.subject);
    heading(&mut drawing, LEFT, &text, &title.subtitle);
    for (index, ((over, ratios), histogram)) in kinds.into_iter().zip(&histograms).enumerate() {
        let top = TOP + index as f64 * (EACH + APART);
        let most = histogram.as_ref().and_then(|of| of.counts.iter().max()).copied().unwrap_or(1);
        let right =
            histogram.as_ref().map_or(right, |of| right.max(of.first + of.width * of.counts.len() as f64));
        let frame = frame([top, top + EACH], [0.0, right], [0.0, (1.15 * most as f64).max(LEAST_COUNT)]);
        let across = if index == 1 { "change of the velocity / change of its inputs" } else { "" };
        frame.draw(&mut drawing, across, "steps");
        let left_out = ratios.len() - known[index].len();
        let left_out = match left_out {
            0 => String::new(),
            count => format!("; {count} steps did not move"),
        };
        let middle = median(&known[index]);
        let words = middle.map_or_else(String::new, |middle| format!(", {middle:.3} in the middle"));
        let words = format!("{}{words}{left_out}", capital(over.title()));
        drawing.text([LEFT, top - 8.0], Anchor::Start, 12.0, INK, &words);
        if let Some(of) = histogram {
            for (bin, &count) in of.counts.iter().enumerate() {
                let low = of.first + of.width * bin as f64;
                let [from, to] = [[low, count as f64], [low + of.width, 0.0]].map(|at| frame.at(at));
                drawing.rectangle([from[0] + 1.0, from[1]], [to[0] - 1.0, to[1]], BLUE);
            }
        }
        if let Some(middle) = middle {
            let [x, y] = frame.at([middle, 0.0]);
            drawing.line([x, top], [x, y], 1.5, ORANGE, true);
        }
    }
    let mut csv = "step,over_features,over_features_and_new_tokens\n".to_owned();
    for (step, (alone, both)) in alone.iter().zip(both).enumerate() {
        csv += &format!("{step},{},{}\n", or_nothing(*alone), or_nothing(*both));
    }
    figure(2, &drawing, csv)
}

/// Errors of the predictor by step and by length of chain: of the run, and of calibration.
pub(super) fn errors(
    title: &Title,
    settings: &Settings,
    refreshed: &[Refreshed],
    calibration: Option<&CalibratedErrors>,
) -> Vec<Figure> {
    if refreshed.is_empty() && calibration.is_none() {
        return Vec::new();
    }
    let errors = calibration.map_or(&[][..], |known| &known.errors);
    let steps = calibration.map_or(0, |known| known.steps);
    let predictor = settings.predictor.to_string();

    // By step: each full one that was foreseen, and what one prediction alone does there in calibration.
    let ones: Vec<[f64; 2]> = errors
        .iter()
        .filter(|found| found.length == 1)
        .map(|found| [(found.start + 1) as f64, 100.0 * found.error])
        .collect();
    let predicted: Vec<[f64; 2]> = refreshed.iter().map(|r| [r.step as f64, 100.0 * r.predicted]).collect();
    let reused: Vec<[f64; 2]> = refreshed.iter().map(|r| [r.step as f64, 100.0 * r.reused]).collect();
    let curves = [
        Curve {
            points: ones,
            colour: GREY,
            radius: 0.0,
            text: format!("calibration over {steps} steps, one {predictor} after a full step"),
        },
        Curve {
            points: reused,
            colour: ORANGE,
            radius: 6.0,
            text: "features of the step before, as they were".to_owned(),
        },
        Curve {
            points: predicted,
            colour: BLUE,
            radius: 3.5,
            text: format!("{predictor}, where a full step followed"),
        },
    ];
    let text = format!("Error of the features by step: {}", title.subject);
    let by_step = plot(&text, &title.subtitle, "step", &curves);
    let mut csv = "source,step,chain,predicted,reused\n".to_owned();
    for Refreshed { step, chain, predicted, reused } in refreshed {
        csv += &format!("run,{step},{chain},{predicted},{reused}\n");
    }
    for found in errors {
        csv += &format!("calibration,{},{},{},\n", found.start + found.length, found.length, found.error);
    }
    let by_step = figure(3, &by_step, csv);

    let (own, known) = (by_chain(refreshed), calibrated_by_chain(errors));
    let share = |value: f64, of: &OfChain| [of.length as f64, 100.0 * value];
    let curves = [
        Curve {
            points: known.iter().map(|of| share(of.predicted, of)).collect(),
            colour: GREY,
            radius: 0.0,
            text: format!("{predictor}, calibration over {steps} steps"),
        },
        Curve {
            points: own.iter().filter_map(|of| Some(share(of.reused?, of))).collect(),
            colour: ORANGE,
            radius: 6.0,
            text: "features of the step before, as they were".to_owned(),
        },
        Curve {
            points: own.iter().map(|of| share(of.predicted, of)).collect(),
            colour: BLUE,
            radius: 3.5,
            text: format!("{predictor}, in this run"),
        },
    ];
    let text = format!("Error of the features by length of chain: {}", title.subject);
    let by_length = plot(&text, &title.subtitle, "predictions in a row since the full step before", &curves);
    let mut csv = "source,length,predicted,reused,count\n".to_owned();
    for (source, chains) in [("run", &own), ("calibration", &known)] {
        for OfChain { length, predicted, reused, count } in chains {
            csv += &format!("{source},{length},{predicted},{},{count}\n", or_nothing(*reused));
        }
    }
    vec![by_step, figure(4, &by_length, csv)]
}

/// Points that belong together, joined by lines.
struct Curve {
    points: Vec<[f64; 2]>,
    colour: Rgb,
    /// Of its marks, in pixels; where two marks are in one place, the smaller is over the larger. A curve of no radius is dashed.
    radius: f64,
    text: String,
}

/// Errors in per cent, from 0 on.
fn plot(title: &str, subtitle: &str, across: &str, curves: &[Curve]) -> Drawing {
    let shown: Vec<&Curve> = curves.iter().filter(|curve| !curve.points.is_empty()).collect();
    let points = || shown.iter().flat_map(|curve| &curve.points);
    let highest = points().map(|point| point[1]).fold(0.0, f64::max);
    let last = points().map(|point| point[0]).fold(1.0, f64::max);
    let top = TOP + 20.0 * shown.len().saturating_sub(1) as f64;
    let high = if highest > 0.0 { 1.08 * highest } else { 1.0 };
    let frame = frame([top, SIZE[1] - BOTTOM], [0.0, last + 0.5], [0.0, high]);
    let mut drawing = Drawing::new(SIZE);
    heading(&mut drawing, LEFT, title, subtitle);
    frame.draw(&mut drawing, across, "error, % of the features' size");
    for (line, curve) in shown.iter().enumerate() {
        for pair in curve.points.windows(2) {
            drawing.line(frame.at(pair[0]), frame.at(pair[1]), 1.5, curve.colour, curve.radius == 0.0);
        }
        // A point alone is seen in any case.
        let radius = if curve.points.len() == 1 { curve.radius.max(3.0) } else { curve.radius };
        if radius > 0.0 {
            curve.points.iter().for_each(|point| drawing.circle(frame.at(*point), radius, curve.colour));
        }
        let y = 72.0 + 20.0 * line as f64;
        drawing.line([LEFT, y - 4.0], [LEFT + 22.0, y - 4.0], 2.5, curve.colour, curve.radius == 0.0);
        drawing.text([LEFT + 30.0, y], Anchor::Start, 12.0, INK, &curve.text);
    }
    drawing
}

/// The likeliest codes of a token, as bars with guidance and without.
pub(super) fn candidates(
    title: &Title,
    at: TokenAt,
    run: &Traced,
    columns: u32,
    found: &[Candidate],
) -> Figure {
    const EACH: f64 = 34.0;
    let TokenAt { row, column, step } = at;
    let position = row * columns + column;
    let (plan, code) = (&run.plan[step as usize], run.tokens.get(position as usize).copied());
    let revealed = run.new.iter().rposition(|new| new.positions.contains(&position));
    let bottom = TOP + 40.0 + EACH * found.len() as f64;
    let mut drawing = Drawing::new([SIZE[0], bottom + BOTTOM]);
    let text = format!("Candidates of token {row},{column} at step {step}: {}", title.subject);
    let guided = !plan.values.unguided && plan.values.guidance != 0.0;
    let legend = [
        (
            BLUE,
            if guided { "with guidance, as it is drawn" } else { "as it is drawn: the step has no guidance" },
        ),
        (ORANGE, "without guidance"),
    ];
    let most = found.iter().flat_map(|c| [c.probability, c.without_guidance]).fold(0.0, f64::max);
    let frame = frame([TOP + 40.0, bottom], [0.0, (1.1 * most).clamp(0.01, 1.1)], [0.0, 1.0]);
    heading(&mut drawing, LEFT, &text, &title.subtitle);
    for (index, (colour, words)) in legend.into_iter().take(if guided { 2 } else { 1 }).enumerate() {
        let x = LEFT + 230.0 * index as f64;
        drawing.rectangle([x, 64.0], [x + 12.0, 76.0], colour);
        drawing.text([x + 20.0, 75.0], Anchor::Start, 12.0, INK, words);
    }
    let becomes = match (code, revealed) {
        (Some(code), Some(revealed)) => format!("the token became code {code} at step {revealed}"),
        _ => String::new(),
    };
    drawing.text([LEFT, 100.0], Anchor::Start, 12.0, FAINT, &becomes);
    for value in ticks(frame.x[0], frame.x[1]) {
        let [x, y] = frame.at([value, 0.0]);
        drawing.line([x, frame.from[1]], [x, y], 1.0, GRID, false);
        drawing.text([x, y + 20.0], Anchor::Middle, 12.0, INK, &format!("{:.0} %", 100.0 * value));
    }
    let mut csv = "rank,code,probability,without_guidance,is_the_token\n".to_owned();
    for (rank, candidate) in found.iter().enumerate() {
        let top = frame.from[1] + EACH * rank as f64 + 4.0;
        let bars = [(candidate.probability, BLUE), (candidate.without_guidance, ORANGE)];
        for (index, (share, colour)) in bars.into_iter().take(if guided { 2 } else { 1 }).enumerate() {
            let (y, [x, _]) = (top + 12.0 * index as f64, frame.at([share, 0.0]));
            drawing.rectangle([LEFT, y], [x, y + 11.0], colour);
            drawing.text([x + 6.0, y + 9.5], Anchor::Start, 10.0, FAINT, &format!("{:.2} %", 100.0 * share));
        }
        let is_the_token = code == Some(candidate.code);
        let colour = if is_the_token { BLUE } else { INK };
        drawing.text([LEFT - 8.0, top + 16.0], Anchor::End, 12.0, colour, &candidate.code.to_string());
        let Candidate { code, probability, without_guidance } = candidate;
        csv += &format!("{},{code},{probability},{without_guidance},{}\n", rank + 1, u8::from(is_the_token));
    }
    drawing.text_upwards([20.0, (frame.from[1] + bottom) / 2.0], 13.0, INK, "code");
    drawing.text([(LEFT + SIZE[0] - RIGHT) / 2.0, bottom + 44.0], Anchor::Middle, 13.0, INK, "probability");
    figure(5, &drawing, csv)
}

/// Where the shortcut looks from a token, on the grid of tokens: the more it looks at one, the darker.
pub(super) fn attention(title: &Title, at: TokenAt, grid: [u32; 2], attended: &Attended) -> Figure {
    let ([rows, columns], TokenAt { row, column, step }) = (grid, at);
    let most = attended.new.iter().map(|(_, share)| *share).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let each = (SIZE[0] - LEFT - RIGHT) / f64::from(columns.max(rows));
    let corner =
        |row: u32, column: u32| [LEFT + each * f64::from(column), TOP + 40.0 + each * f64::from(row)];
    let end = corner(rows, columns);
    let mut drawing = Drawing::new([SIZE[0], end[1] + BOTTOM]);
    let text =
        format!("Where the shortcut looks from token {row},{column} at step {step}: {}", title.subject);
    heading(&mut drawing, LEFT, &text, &title.subtitle);
    let count = attended.new.len();
    let prompt = match attended.prompt {
        0.0 => String::new(),
        share => format!("; {:.1} % goes to the prompt", 100.0 * share),
    };
    let words =
        format!("shares of its attention to {count} new tokens, {:.1} % at most{prompt}", 100.0 * most);
    drawing.text([LEFT, 75.0], Anchor::Start, 12.0, FAINT, &words);
    drawing.rectangle(corner(0, 0), end, GRID);
    let mut csv = "row,column,share\n".to_owned();
    for (position, share) in &attended.new {
        let (row, column) = (position / columns, position % columns);
        let ([left, top], [right, bottom]) = (corner(row, column), corner(row + 1, column + 1));
        let strength = 0.15 + 0.85 * share / most;
        drawing.rectangle([left, top], [right - 1.0, bottom - 1.0], mixed(strength));
        csv += &format!("{row},{column},{share}\n");
    }
    let [[left, top], [right, bottom]] = [corner(row, column), corner(row + 1, column + 1)];
    let corners = [[left, top], [right, top], [right, bottom], [left, bottom]];
    for (index, from) in corners.iter().enumerate() {
        drawing.line(*from, corners[(index + 1) % 4], 2.5, ORANGE, false);
    }
    let words = "the token that looks";
    drawing.rectangle([LEFT, end[1] + 20.0], [LEFT + 12.0, end[1] + 32.0], ORANGE);
    drawing.text([LEFT + 20.0, end[1] + 31.0], Anchor::Start, 12.0, INK, words);
    figure(6, &drawing, csv)
}
