//! What was found of edits, as a table in Markdown.

use super::{Report, Row};
use crate::eval::scenes_eval::stats::{Mean, Share};
use std::fmt::Write as _;

/// A line a kind and method, and what the figures are.
pub fn markdown(report: &Report) -> String {
    let mut text = String::from(
        "| edit | method | tokens | steps (full) | asked for | kept | both | seam | seam before | s per edit | of a whole |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in &report.rows {
        let before =
            report.before.iter().find(|before| before.kind == row.kind).and_then(|before| before.seam);
        line(&mut text, row, before);
    }
    let before = report.before.iter().filter_map(|before| Some((before.kind, before.outside?)));
    let before: Vec<String> =
        before.map(|(kind, share)| format!("{} {:.1} %", kind.title(), 100.0 * share.share)).collect();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "\n{} edits of each kind by each method, of the same scenes from the same seeds. \"Asked for\": the judge sees the one thing \
         that was asked for, in its colour; of a hole that nothing else appeared; of a picture that grew that place and light go on. \
         \"Kept\": place and light are what they were; of the scenes before the edit the judge sees that in {}. With 95 % intervals \
         (Wilson). The seam is how steep pictures are across the edge of what was made, as a multiple of all neighbours; before, \
         there where the edge will be: things end there. Seconds are of the steps. Tokens outside of what was made: {} changed.",
        report.edits,
        before.join(", "),
        report.rows.iter().map(|row| row.changed_outside).sum::<usize>()
    );
    text
}

fn line(text: &mut String, row: &Row, before: Option<Mean>) {
    let share = |share: Option<Share>| {
        share.map_or_else(
            || "–".to_owned(),
            |s| format!("{:.1} % ({:.1}–{:.1})", 100.0 * s.share, 100.0 * s.low, 100.0 * s.high),
        )
    };
    let [seam, before] = [row.seam, before]
        .map(|seam| seam.map_or_else(|| "–".to_owned(), |seam| format!("{:.2}", seam.mean)));
    let [steps, full] = row.steps;
    let _ = writeln!(
        text,
        "| {} | {} | {:.0} | {steps:.0} ({full:.0}) | {} | {} | {} | {seam} | {before} | {:.3} | {:.2} |",
        row.kind.title(),
        row.method,
        row.masked,
        share(row.inside),
        share(row.outside),
        share(row.both),
        row.seconds,
        row.share_of_whole,
    );
}
