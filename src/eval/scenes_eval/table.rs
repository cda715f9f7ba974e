//! The findings as a table in Markdown.

use super::judge::ATTRIBUTES;
use super::makers::FEATURED;
use super::stats::{Mean, Share};
use super::{Quality, Report};
use std::fmt::Write as _;

/// The table, and below it what its figures are. Columns of attributes that no prompt states are left out.
pub fn markdown(report: &Report) -> String {
    let all = report.real.iter().chain(report.rows.iter().map(|row| &row.quality));
    let stated: Vec<usize> = (0..ATTRIBUTES.len())
        .filter(|&index| all.clone().any(|quality| quality.attributes[index].is_some()))
        .collect();
    let mut head = vec!["method", "steps (full)", "s per image", "speed-up"];
    head.extend(stated.iter().map(|&index| ATTRIBUTES[index]));
    head.extend(["mean", "all right", "Fréchet", "tokens as vanilla", "feature error"]);
    let mut text = String::new();
    line(&mut text, head.iter().map(|&cell| cell.to_owned()));
    line(&mut text, head.iter().map(|_| "---".to_owned()));
    if let Some(real) = &report.real {
        let mut cells = vec!["real scenes".to_owned(), dash(), dash(), dash()];
        cells.extend(judged(real, &stated));
        cells.extend([dash(), dash()]);
        line(&mut text, cells.into_iter());
    }
    for row in &report.rows {
        let mut cells = vec![
            row.method.clone(),
            format!("{} ({})", row.steps, row.full_steps),
            significant(row.seconds_per_image),
            format!("{:.2}x", row.speed_up),
        ];
        cells.extend(judged(&row.quality, &stated));
        cells.push(format!("{:.1} %", 100.0 * row.token_agreement));
        cells.push(format!("{:.1} %", 100.0 * row.feature_error));
        line(&mut text, cells.into_iter());
    }
    notes(&mut text, report);
    text
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
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "\n{n} pictures of each method, of the same prompts and seeds; percentages with 95 % intervals (Wilson; of the mean, by \
         the spread over pictures). Seconds are of the steps, the median of all batches; decoding takes {} s more in every row.{real} The feature error is \
         the relative L2 distance of the last features from vanilla's with all steps, of the first {} pictures.",
        significant(decode),
        n.min(FEATURED)
    );
}

fn line(text: &mut String, cells: impl Iterator<Item = String>) {
    let cells: Vec<String> = cells.collect();
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

fn judged(quality: &Quality, stated: &[usize]) -> Vec<String> {
    let share = |share: &Option<Share>| share.map_or_else(dash, |s| interval(s.share, s.low, s.high));
    let mean = |mean: &Option<Mean>| mean.map_or_else(dash, |m| interval(m.mean, m.low, m.high));
    let mut cells: Vec<String> = stated.iter().map(|&index| share(&quality.attributes[index])).collect();
    cells.extend([mean(&quality.mean), share(&quality.all)]);
    cells.push(quality.frechet.map_or_else(dash, significant));
    cells
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
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        for (value, text) in
            [(0.012_345, "0.0123"), (1.5, "1.50"), (123.4, "123"), (99_999.0, "99999"), (0.0, "0")]
        {
            assert_eq!(significant(value), text);
        }
    }
}
