//! The findings as tables in Markdown, and as CSV.

use super::compare::{Kind, OfNoun};
use super::diversity::{Diversity, OPEN};
use super::judge::ATTRIBUTES;
use super::made::FEATURED;
use super::significance::Paired;
use super::stats::{Mean, Share};
use super::{Quality, Report, Row};
use std::fmt::Write as _;

/// The table that decides, one of the attributes that any prompt states, and what the figures are and say.
pub fn markdown(report: &Report) -> String {
    let mut text = String::new();
    overview(&mut text, report);
    text.push('\n');
    attributes(&mut text, report);
    notes(&mut text, report);
    text
}

fn overview(text: &mut String, report: &Report) {
    let diverse = report.diversity_of.is_some();
    let row = |cells: [String; 9], diversity: Option<&Diversity>| {
        let last = diverse.then(|| diversity.map_or_else(dash, varied));
        cells.into_iter().chain(last)
    };
    let head = [
        "method",
        "steps (full)",
        "s per image",
        "speed-up",
        "FLOPs",
        "all right",
        "vs vanilla",
        "Fréchet",
        "coherence",
    ];
    let head = || head.into_iter().chain(diverse.then_some("diversity"));
    line(text, head().map(str::to_owned));
    line(text, head().map(|_| "---".to_owned()));
    let share = |share: Option<Share>| {
        let of = |s: Share| if s.of == report.pictures { String::new() } else { format!(" of {}", s.of) };
        share.map_or_else(dash, |s| interval(s.share, s.low, s.high) + &of(s))
    };
    let distance = |quality: &Quality| quality.frechet.map_or_else(dash, significant);
    let nats = |mean: Option<Mean>| mean.map_or_else(dash, |mean| format!("{:.2}", mean.mean));
    if let Some(real) = &report.real {
        let name = "real scenes".to_owned();
        let coherence = nats(report.real_coherence);
        let cells =
            [name, dash(), dash(), dash(), dash(), share(real.all), dash(), distance(real), coherence];
        line(text, row(cells, report.real_diversity.as_ref()));
    }
    for of in &report.rows {
        let cells = [
            of.method.clone(),
            format!("{} ({})", count(of.mean_steps[0]), count(of.mean_steps[1])),
            significant(of.seconds_per_image) + star(of.front_by_seconds),
            format!("{:.2}x", of.speed_up),
            format!("{:.2}{}", of.full_step_equivalents, star(of.front_by_flops)),
            share(of.quality.all),
            of.versus_vanilla.map_or_else(dash, |paired| points(&paired)),
            distance(&of.quality),
            nats(of.coherence),
        ];
        line(text, row(cells, of.diversity.as_ref()));
    }
}

/// Marks a figure by which its method is on the front.
fn star(on_front: bool) -> &'static str {
    if on_front { " *" } else { "" }
}

/// As a share of real scenes', if there are such.
fn varied(diversity: &Diversity) -> String {
    match diversity.share_of_real {
        Some(share) => format!("{:.1} %", 100.0 * share),
        None => format!("{:.2} bits", diversity.mean),
    }
}

/// Columns of attributes that no prompt states are left out.
fn attributes(text: &mut String, report: &Report) {
    let all = report.real.iter().chain(report.rows.iter().map(|row| &row.quality));
    let stated: Vec<usize> = (0..ATTRIBUTES.len())
        .filter(|&index| all.clone().any(|quality| quality.attributes[index].is_some()))
        .collect();
    let mut head = vec!["right, %"];
    head.extend(stated.iter().map(|&index| ATTRIBUTES[index]));
    head.extend(["mean", "tokens as vanilla", "feature error"]);
    let held = report.rows.iter().any(|row| row.refresh_error.is_some());
    head.extend(held.then_some("error at refreshes"));
    line(text, head.iter().map(|&cell| cell.to_owned()));
    line(text, head.iter().map(|_| "---".to_owned()));
    let percent = |share: Option<f64>| share.map_or_else(dash, |share| format!("{:.1}", 100.0 * share));
    let judged = |quality: &Quality| {
        let mut cells: Vec<String> =
            stated.iter().map(|&index| percent(quality.attributes[index].map(|s| s.share))).collect();
        cells.push(percent(quality.mean.map(|mean| mean.mean)));
        cells
    };
    if let Some(real) = &report.real {
        let cells = [vec!["real scenes".to_owned()], judged(real), vec![dash(); if held { 3 } else { 2 }]];
        line(text, cells.into_iter().flatten());
    }
    for row in &report.rows {
        let kept = [row.token_agreement, row.feature_error].map(|share| percent(Some(share)));
        let mut cells = [vec![name(row)], judged(&row.quality), kept.to_vec()].concat();
        let around =
            |error: Mean| format!("{:.1} ±{:.1}", 100.0 * error.mean, 50.0 * (error.high - error.low));
        cells.extend(held.then(|| row.refresh_error.map_or_else(dash, around)));
        line(text, cells.into_iter());
    }
}

/// As notes call a method.
fn name(row: &Row) -> String {
    match row.method.as_str() {
        "vanilla" => format!("vanilla {}", row.steps),
        method => format!("{method} {} of {}", row.full_steps, row.steps),
    }
}

/// A mean number of steps: whole where all runs have as many.
fn count(mean: f64) -> String {
    if (mean - mean.round()).abs() < 1e-6 { format!("{mean:.0}") } else { format!("{mean:.1}") }
}

/// A difference, and how likely chance makes one as large.
fn points(paired: &Paired) -> String {
    format!("{:+.1} ({})", 100.0 * paired.difference, probability(paired.p))
}

fn probability(p: f64) -> String {
    if p < 0.001 { "p < 0.001".to_owned() } else { format!("p = {p:.3}") }
}

fn notes(text: &mut String, report: &Report) {
    let n = report.pictures;
    let real = if report.real.is_some() {
        format!(
            " The row of real scenes is the judge's own accuracy, on real scenes of the same prompts. Fréchet distances are of \
             {n} against {n} real scenes by {} features of the judge: so few samples make all of them too large, those of real \
             scenes too, and only distances of one number of samples can be compared.",
            report.features
        )
    } else {
        " There are no real scenes of these words, and so no figures of the judge's own accuracy and no Fréchet distances."
            .to_owned()
    };
    let decode = report.rows.first().map_or(0.0, |row| row.decode_seconds_per_image);
    let clock = match report.rounds {
        0 => "the median of all batches".to_owned(),
        rounds => format!(
            "the median of {rounds} rounds, before all else, in which every method made the same pictures"
        ),
    };
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "\n{n} pictures of each method, of the same prompts and seeds. A picture is all right if everything that its prompt \
         states is, and nothing is torn; with 95 % intervals (Wilson). \"vs vanilla\" is the difference to vanilla with all \
         steps in points, with the p-value of McNemar's exact test, two-sided, over the pictures in which the two differ. \
         Seconds are of the steps, {clock}; decoding takes {} s more in every row. FLOPs are of the steps \
         too, counted and not measured: 1 is a full step of vanilla with guidance, {} GFLOP. A star is at the seconds, or at the \
         FLOPs, that no other method matches with as many all right (the Pareto front).{real} The feature error is the relative L2 distance of the last features from vanilla's with all \
         steps, of the first {} pictures.",
        significant(decode),
        significant(report.rows.first().map_or(0.0, |row| row.gflop_per_image / row.full_step_equivalents)),
        n.min(FEATURED)
    );
    if report.rows.iter().any(|row| row.quality.all.is_some_and(|all| all.of < n)) {
        text.push_str(
            "\nWhere \"of\" stands beside a share, fewer pictures were made, of the first of the prompts: differences are to vanilla's \
             of the same prompts, and there is no distance, which would be of fewer samples.\n",
        );
    }
    if report.rows.iter().any(|row| row.refresh_error.is_some()) {
        text.push_str(
            "\nThe error at refreshes is the relative L2 distance of what the predictor makes from the features of the full steps \
             after the first, in the mean over these, of the first pictures (95 % intervals): how wrong features are where a full step sets them right.\n",
        );
    }
    measures(text, report);
    compared(text, report);
    by_noun(text, report);
}

/// What coherence and diversity are.
fn measures(text: &mut String, report: &Report) {
    let wide = |mean: Option<Mean>| mean.map(|mean| (mean.high - mean.low) / 2.0);
    let widest = report.rows.iter().filter_map(|row| wide(row.coherence)).fold(0.0, f64::max);
    let encoded =
        if report.real_coherence.is_some() { "; real scenes are as the tokenizer encodes them" } else { "" };
    if report.rows.iter().any(|row| row.coherence.is_some()) {
        let _ = writeln!(
            text,
            "\nCoherence is the base's mean log-likelihood of a code given three quarters of the others, in nats (two maskings \
             of each picture, conditional, no guidance; 95 % intervals of at most ±{}){encoded}.",
            significant(widest)
        );
    }
    let Some(size) = report.diversity_of else { return };
    let bits = |diversity: &Diversity| {
        let each = OPEN.iter().zip(diversity.bits).map(|(name, bits)| format!("{name} {bits:.2}"));
        each.collect::<Vec<_>>().join(", ")
    };
    let _ = writeln!(
        text,
        "\nDiversity is the entropy of what {} seeds of each of {} prompts show where the prompt is a noun alone, as the judge \
         reads it: the mean of colour, place and light, in bits with the correction of Miller and Madow, as a share of as many \
         real scenes'.",
        size.seeds, size.prompts
    );
    if let Some(real) = &report.real_diversity {
        let _ = writeln!(text, "- real scenes: {}.", bits(real));
    }
    let vanilla = report.rows.first().and_then(|row| row.diversity.as_ref()).map(|diversity| diversity.mean);
    for row in &report.rows {
        let Some(diversity) = &row.diversity else { continue };
        let of_vanilla = vanilla.filter(|bits| *bits > 0.0).map(|bits| 100.0 * diversity.mean / bits);
        let of_vanilla = of_vanilla.map_or_else(String::new, |share| format!(" ({share:.1} % of vanilla's)"));
        let _ = writeln!(text, "- {}: {}{of_vanilla}.", name(row), bits(diversity));
    }
}

/// A sentence for each comparison.
fn compared(text: &mut String, report: &Report) {
    if report.comparisons.is_empty() {
        return;
    }
    text.push('\n');
    for comparison in &report.comparisons {
        let (Some(row), Some(other)) = (report.rows.get(comparison.row), report.rows.get(comparison.against))
        else {
            continue;
        };
        let Paired { gained, lost, difference, p } = comparison.paired;
        let against = match comparison.kind {
            Kind::EqualTime => {
                let [own, other_seconds] = [row, other].map(|row| significant(row.seconds_per_image));
                format!("{}, the vanilla nearest in time ({own} and {other_seconds} s)", name(other))
            }
            Kind::EqualFullSteps => format!("{}, as many full steps", name(other)),
        };
        let verdict = if p < SURE { "" } else { ", which chance explains" };
        let _ = writeln!(
            text,
            "- {} against {against}: {:+.1} points ({gained} pictures better, {lost} worse, {}){verdict}.",
            name(row),
            100.0 * difference,
            probability(p)
        );
    }
}

/// Nouns named of each end.
const NAMED: usize = 3;
/// Below this, a difference is called more than chance.
const SURE: f64 = 0.05;

/// For each accelerated method the nouns at both ends, and whether they differ in what acceleration costs them.
fn by_noun(text: &mut String, report: &Report) {
    let many = |row: &&Row| row.method != "vanilla" && row.spread.nouns.len() > 1;
    let mut rows = report.rows.iter().filter(many).peekable();
    if rows.peek().is_none() {
        return;
    }
    text.push_str(
        "\nAll right by the noun that is named first, and whether the gap to vanilla with all steps differs between nouns \
         (permutation test of the variance between nouns):\n",
    );
    for row in rows {
        let mut nouns: Vec<&OfNoun> = row.spread.nouns.iter().collect();
        nouns.sort_by(|a, b| a.all.share.total_cmp(&b.all.share));
        let listed = |nouns: &mut dyn Iterator<Item = &&OfNoun>| {
            let each = nouns.map(|of| format!("{} {} of {}", of.noun, of.all.right, of.all.of));
            each.collect::<Vec<_>>().join(", ")
        };
        let ends = NAMED.min(nouns.len() / 2);
        let verdict = match row.spread.p {
            None => "no gap".to_owned(),
            Some(p) if p < SURE => format!("the gap differs, {}", probability(p)),
            Some(p) => format!("no difference beyond chance, {}", probability(p)),
        };
        let _ = writeln!(
            text,
            "- {}: worst {}; best {}; {verdict}.",
            name(row),
            listed(&mut nouns.iter().take(ends)),
            listed(&mut nouns.iter().rev().take(ends))
        );
    }
}

/// A line a method, its figures as numbers: what a spreadsheet reads.
pub fn csv(report: &Report) -> String {
    let mut text = String::from(
        "method,steps,full_steps,seconds_per_image,speed_up,gflop_per_image,full_step_equivalents,front_by_seconds,\
         front_by_flops,all_right,low,high,of",
    );
    for attribute in ATTRIBUTES {
        let _ = write!(text, ",{attribute}");
    }
    text.push_str(",difference_to_vanilla,p,frechet,coherence,diversity_bits,diversity_share,token_agreement,feature_error,refresh_error\n");
    let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    let judged = |quality: &Quality| {
        let mut cells: Vec<String> = vec![
            number(quality.all.map(|all| all.share)),
            number(quality.all.map(|all| all.low)),
            number(quality.all.map(|all| all.high)),
            quality.all.map(|all| all.of.to_string()).unwrap_or_default(),
        ];
        cells.extend(quality.attributes.iter().map(|share| number(share.map(|s| s.share))));
        cells
    };
    let measured = |coherence: Option<Mean>, diversity: Option<&Diversity>| {
        let share = diversity.and_then(|diversity| diversity.share_of_real);
        [coherence.map(|mean| mean.mean), diversity.map(|diversity| diversity.mean), share].map(number)
    };
    if let Some(real) = &report.real {
        let mut cells = vec!["real scenes".to_owned()];
        cells.extend(std::iter::repeat_n(String::new(), 8));
        cells.extend(judged(real));
        cells.extend([String::new(), String::new(), number(real.frechet)]);
        cells.extend(measured(report.real_coherence, report.real_diversity.as_ref()));
        cells.extend([String::new(), String::new(), String::new()]);
        let _ = writeln!(text, "{}", cells.join(","));
    }
    for row in &report.rows {
        let mut cells = vec![
            row.method.clone(),
            count(row.mean_steps[0]),
            count(row.mean_steps[1]),
            row.seconds_per_image.to_string(),
            row.speed_up.to_string(),
            row.gflop_per_image.to_string(),
            row.full_step_equivalents.to_string(),
            row.front_by_seconds.to_string(),
            row.front_by_flops.to_string(),
        ];
        cells.extend(judged(&row.quality));
        cells.extend([
            number(row.versus_vanilla.map(|paired| paired.difference)),
            number(row.versus_vanilla.map(|paired| paired.p)),
            number(row.quality.frechet),
        ]);
        cells.extend(measured(row.coherence, row.diversity.as_ref()));
        cells.extend([row.token_agreement.to_string(), row.feature_error.to_string()]);
        cells.push(number(row.refresh_error.map(|error| error.mean)));
        let _ = writeln!(text, "{}", cells.join(","));
    }
    text
}

fn line(text: &mut String, cells: impl Iterator<Item = String>) {
    let cells: Vec<String> = cells.collect();
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

fn interval(value: f64, low: f64, high: f64) -> String {
    format!("{:.1} % ({:.1}–{:.1})", 100.0 * value, 100.0 * low, 100.0 * high)
}

/// Three figures.
fn significant(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let before = value.abs().log10().floor() as i32 + 1;
    format!("{value:.*}", (3 - before).clamp(0, 12) as usize)
}

fn dash() -> String {
    "–".to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::compare::{self, Spread};
    use super::super::plot::tests::example;
    use super::*;

    #[test]
    fn the_notes_say_what_was_compared_and_the_table_stays_small() {
        let mut report = example();
        let right: Vec<Vec<bool>> =
            (0..report.rows.len()).map(|row| (0..500).map(|i| i % (row + 2) != 0).collect()).collect();
        report.comparisons = compare::comparisons(&report.rows, &right);
        for (row, these) in report.rows.iter_mut().zip(&right).skip(1) {
            row.versus_vanilla = Paired::of(these, &right[0]);
            let nouns: Vec<usize> = (0..500).map(|i| i % 2).collect();
            let names = ["fox", "owl"].map(str::to_owned);
            row.spread = compare::spread(these, &right[0], &nouns, &names);
        }
        report.rows[4].front_by_flops = true;
        report.rows[5].quality.all = Share::new(46, 50);
        report.rows[5].refresh_error = Some(Mean { mean: 0.125, low: 0.12, high: 0.13 });
        let text = markdown(&report);
        let table: Vec<&str> = text.lines().take_while(|line| line.starts_with('|')).collect();
        assert_eq!(table.len(), 2 + 1 + 9, "{text}");
        assert!(table.iter().all(|line| line.chars().count() < 120), "{text}");
        for words in [
            "| shortcut | 16 (5) |",
            "| real scenes | – |",
            "| shortcut | 16 (8) | 0.0920 | 1.00x | 8.00 * |",
            "1 is a full step of vanilla with guidance, 2.00 GFLOP",
            "92.0 % (81.2–96.8) of 50 |",
            "fewer pictures were made",
            "| 12.5 ±0.5 |",
            "| feature error | error at refreshes |",
            "- shortcut 5 of 16 against vanilla 5, the vanilla nearest in time (0.0630 and 0.0520 s): ",
            "- shortcut 4 of 16 against reuse 4 of 16, as many full steps: ",
            "worst fox ",
            "p < 0.001",
        ] {
            assert!(text.contains(words), "{words:?} is not in\n{text}");
        }
        report.rows.iter_mut().for_each(|row| row.spread = Spread::default());
        report.comparisons.clear();
        assert!(!markdown(&report).contains("- shortcut"));
    }

    #[test]
    fn csv_has_as_many_cells_in_every_line() {
        let text = csv(&example());
        let cells: Vec<usize> = text.lines().map(|line| line.split(',').count()).collect();
        assert_eq!(cells, [5 + 4 + 4 + 7 + 9; 11], "{text}");
    }

    #[test]
    fn figures_have_three_digits() {
        for (value, text) in
            [(0.012_345, "0.0123"), (1.5, "1.50"), (123.4, "123"), (99_999.0, "99999"), (0.0, "0")]
        {
            assert_eq!(significant(value), text);
        }
    }
}
