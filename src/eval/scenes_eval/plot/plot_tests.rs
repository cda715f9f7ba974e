use super::super::compare::Spread;
use super::super::stats::Share;
use super::super::{Quality, Report, Row};
use super::*;

pub(in super::super) fn row(method: &str, steps: usize, full_steps: usize, seconds: f64, right: f64) -> Row {
    let all = Share::new((right * 500.0).round() as usize, 500);
    let quality = Quality { attributes: [None; 7], mean: None, all, frechet: None };
    Row {
        method: method.to_owned(),
        steps,
        full_steps,
        mean_steps: [steps as f64, full_steps as f64],
        seconds_per_image: seconds,
        decode_seconds_per_image: 0.01,
        speed_up: 1.0,
        gflop_per_image: 2.0 * full_steps as f64,
        full_step_equivalents: full_steps as f64,
        front_by_seconds: false,
        front_by_flops: false,
        quality,
        versus_vanilla: None,
        spread: Spread::default(),
        coherence: None,
        diversity: None,
        token_agreement: 1.0,
        feature_error: 0.0,
        refresh_error: None,
    }
}

pub(in super::super) fn example() -> Report {
    let rows = vec![
        row("vanilla", 16, 16, 0.160, 0.93),
        row("vanilla", 8, 8, 0.081, 0.90),
        row("vanilla", 5, 5, 0.052, 0.84),
        row("vanilla", 4, 4, 0.041, 0.79),
        row("shortcut", 16, 8, 0.092, 0.928),
        row("shortcut", 16, 5, 0.063, 0.92),
        row("shortcut", 16, 4, 0.052, 0.905),
        row("reuse", 16, 8, 0.085, 0.89),
        row("reuse", 16, 4, 0.044, 0.76),
    ];
    let real = Quality { all: Share::new(481, 500), ..rows[0].quality.clone() };
    Report { real: Some(real), rows, pictures: 500, features: 192, ..nothing() }
}

fn nothing() -> Report {
    Report {
        real: None,
        real_coherence: None,
        real_diversity: None,
        diversity_of: None,
        rows: Vec::new(),
        comparisons: Vec::new(),
        pictures: 0,
        features: 1,
        rounds: 0,
    }
}

#[test]
fn a_plot_has_a_mark_for_each_method_and_nothing_outside() {
    let report = example();
    let plot = Plot::new(&report, By::Seconds, "emoji <text> & more", "512 pictures of each method");
    let svg = plot.to_svg();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    assert!(svg.contains("emoji &lt;text&gt; &amp; more"), "text is escaped");
    // Marks and those of the legend, and two circles make a ring: eight on the front, as vanilla's 5 steps are beaten, and one in
    // the legend.
    let rings = compare::front(&report.rows, By::Seconds).iter().filter(|on| **on).count() + 1;
    assert_eq!(svg.matches("<circle").count(), 4 + 1 + 2 * rings);
    assert_eq!(svg.matches("<polygon").count(), 5 + 2 + 9, "with what clears the paper for nine labels");
    for words in [
        ">16<",
        ">4<",
        "numbers are full steps",
        "the judge on real scenes",
        "reuse of features",
        "all right",
    ] {
        assert!(svg.contains(words), "{words}");
    }
    for shape in &plot.drawing.shapes {
        let points = match shape {
            Shape::Line { from, to, .. } => vec![*from, *to],
            Shape::Polygon { points, .. } => points.clone(),
            Shape::Circle { centre, .. } => vec![*centre],
            Shape::Text { at, .. } => vec![*at],
        };
        let inside = |[x, y]: &[f64; 2]| (0.0..=SIZE[0]).contains(x) && (0.0..=SIZE[1]).contains(y);
        assert!(points.iter().all(inside), "{shape:?}");
    }
}

#[test]
fn a_plot_of_many_methods_by_operations_has_a_legend_of_several_lines() {
    let mut report = example();
    for (index, name) in ["ml-cache", "taylor:1 halton", "ml-cache interval:0.3,5", "vanilla spread 1.5"]
        .into_iter()
        .chain(["vanilla guided 0.1-0.6", "taylor:2", "reuse halton"])
        .enumerate()
    {
        report.rows.push(row(name, 16, 3, 0.04 + 0.01 * index as f64, 0.7));
    }
    let plot = Plot::new(&report, By::Flops, "emoji", "512 pictures");
    let svg = plot.to_svg();
    assert!(svg.contains("FLOPs in full steps of vanilla") && svg.contains("as cheap and as right"), "{svg}");
    assert!(plot.drawing.size[1] >= SIZE[1] + LEGEND_LINE, "{:?}", plot.drawing.size);
    let names: Vec<&str> = report.rows.iter().map(|row| row.method.as_str()).collect();
    let mut names = names.clone();
    names.dedup();
    let styles: Vec<Style> = styles(&names).into_iter().map(|(style, _)| style).collect();
    for (index, style) in styles.iter().enumerate() {
        assert!(!styles[..index].contains(style), "{} looks like another", names[index]);
    }
    for (_, [x, y]) in legend(&names) {
        assert!(x < SIZE[0] - RIGHT && y < plot.drawing.size[1] - BOTTOM, "{x}, {y}");
    }
    // Vanilla with 16 steps costs twice as much as with 8, whatever the clock said.
    let scale = Scale::of(&report, By::Flops, [TOP, SIZE[1] - BOTTOM]);
    let [eight, sixteen, four] = [8.0, 16.0, 4.0].map(|price| scale.x(price));
    assert!((sixteen - eight - (eight - four)).abs() < 1e-9);
    let picture = plot.to_picture(1);
    assert_eq!((picture.width, picture.height), (880, plot.drawing.size[1] as u32));
    for (style, (text, [x, y])) in styles.iter().zip(legend(&names)) {
        let at = ((y as usize * 880) + x as usize) * 3;
        assert_eq!(picture.rgb[at..at + 3], style.colour, "the mark of {text}");
    }
    if let Some(path) = std::env::var_os("MIGM_TEST_PLOT_MANY") {
        crate::generate::picture::write_png(std::path::Path::new(&path), &plot.to_picture(2), &[]).unwrap();
    }
}

#[test]
fn pixels_show_what_the_svg_says() {
    let plot = Plot::new(&example(), By::Seconds, "emoji", "512 pictures");
    let picture = plot.to_picture(2);
    assert_eq!((picture.width, picture.height), (1760, 1080));
    let at = |[x, y]: [f64; 2]| {
        let at = (((2.0 * y) as u32 * picture.width + (2.0 * x) as u32) * 3) as usize;
        [picture.rgb[at], picture.rgb[at + 1], picture.rgb[at + 2]]
    };
    let mut marks = 0;
    for shape in &plot.drawing.shapes {
        match shape {
            Shape::Circle { centre, colour, .. } if ![FRONT, PAPER].contains(colour) => {
                assert_eq!(at(*centre), *colour, "{shape:?}");
                marks += 1;
            }
            Shape::Polygon { points, colour } if *colour != PAPER => {
                let n = points.len() as f64;
                let sum = |axis: usize| points.iter().map(|point| point[axis]).sum::<f64>() / n;
                assert_eq!(at([sum(0), sum(1)]), *colour, "{shape:?}");
                marks += 1;
            }
            _ => {}
        }
    }
    assert_eq!(marks, 12);
    assert_eq!(at([2.0, 2.0]), PAPER);
    if let Some(path) = std::env::var_os("MIGM_TEST_PLOT") {
        crate::generate::picture::write_png(std::path::Path::new(&path), &picture, &[]).unwrap();
    }
}

#[test]
fn a_report_without_anything_still_has_its_axes() {
    let report = nothing();
    let svg = Plot::new(&report, By::Seconds, "nothing", "").to_svg();
    assert!(svg.contains("100 %") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
}
