//! Methods against each other, picture by picture: the comparisons that decide what a refresh budget is worth.

use super::Row;
use super::plot::By;
use super::significance::{Paired, differs_between_groups};
use super::stats::Share;

/// A method against another.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Comparison {
    /// The row of the method.
    pub row: usize,
    /// The row that it is compared with.
    pub against: usize,
    /// Why these two.
    pub kind: Kind,
    /// What was found.
    #[serde(flatten)]
    pub paired: Paired,
}

/// Why two methods are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Vanilla with the steps that take nearest to as long.
    EqualTime,
    /// Reuse of features with as many full steps.
    EqualFullSteps,
}

/// Every accelerated method but reuse against vanilla of as many seconds and against reuse of as many full steps: of such, that in as many
/// steps and with whatever else the method has, if there is one, and plain reuse, evenly spread over most steps. `right` is by row and picture.
pub fn comparisons(rows: &[Row], right: &[Vec<bool>]) -> Vec<Comparison> {
    let mut found = Vec::new();
    fn parts(row: &Row) -> (&str, &str) {
        row.method.split_once(' ').unwrap_or((&row.method, ""))
    }
    // Vanilla in another order, or guided elsewhere, is a method of its own.
    let accelerated = |row: &Row| row.method != "vanilla" && parts(row).0 != "reuse";
    for (index, row) in rows.iter().enumerate().filter(|(_, row)| accelerated(row)) {
        // By ratio: twice as long is as far as half as long.
        let apart = |other: &Row| (other.seconds_per_image / row.seconds_per_image).ln().abs();
        let vanilla = rows.iter().enumerate().filter(|(_, other)| other.method == "vanilla");
        let in_time = vanilla.min_by(|a, b| apart(a.1).total_cmp(&apart(b.1))).map(|(other, _)| other);
        let reuse = || {
            rows.iter().enumerate().filter(|(_, other)| {
                let (predictor, own) = parts(other);
                // Plain, or as the method.
                predictor == "reuse"
                    && other.full_steps == row.full_steps
                    && (own.is_empty() || own == parts(row).1)
            })
        };
        let like = |other: &Row| (other.steps == row.steps, parts(other).1 == parts(row).1);
        let alike = reuse().rev().max_by_key(|(_, other)| like(other)).map(|(other, _)| other);
        let plain = reuse().filter(|(_, other)| parts(other).1.is_empty());
        let plain = plain.rev().max_by_key(|(_, other)| other.steps).map(|(other, _)| other);
        let plain = plain.filter(|_| plain != alike);
        let pairs =
            [(Kind::EqualTime, in_time), (Kind::EqualFullSteps, alike), (Kind::EqualFullSteps, plain)];
        for (kind, against) in pairs {
            let paired = against.and_then(|other| Paired::of(right.get(index)?, right.get(other)?));
            if let Some((against, paired)) = against.zip(paired) {
                found.push(Comparison { row: index, against, kind, paired });
            }
        }
    }
    found
}

/// Of the pictures whose prompt names a noun first, how many are all right.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct OfNoun {
    /// The noun.
    pub noun: String,
    /// All right.
    pub all: Share,
    /// By how much the share is higher than that of the same prompts with all steps.
    pub difference: f64,
}

/// How a method does by noun.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Spread {
    /// The nouns of the prompts, in the judge's order.
    pub nouns: Vec<OfNoun>,
    /// How likely chance alone makes the difference to vanilla spread as much between nouns, see
    /// [`differs_between_groups`]; `None` of the reference itself, or of one noun.
    pub p: Option<f64>,
}

/// By `noun` of every picture; `names` are the judge's.
pub fn spread(right: &[bool], vanilla: &[bool], nouns: &[usize], names: &[String]) -> Spread {
    let of = |(index, name): (usize, &String)| {
        let pairs = right.iter().zip(vanilla).zip(nouns).filter(|(_, noun)| **noun == index);
        let (mut these, mut others, mut count) = (0_usize, 0_usize, 0_usize);
        for ((&this, &other), _) in pairs {
            (these, others, count) = (these + usize::from(this), others + usize::from(other), count + 1);
        }
        let difference = (these as f64 - others as f64) / count.max(1) as f64;
        Some(OfNoun { noun: name.clone(), all: Share::new(these, count)?, difference })
    };
    let apart: Vec<i32> = right.iter().zip(vanilla).map(|(&a, &b)| i32::from(a) - i32::from(b)).collect();
    let differs = apart.iter().any(|&d| d != 0);
    Spread {
        nouns: names.iter().enumerate().filter_map(of).collect(),
        p: if differs { differs_between_groups(&apart, nouns) } else { None },
    }
}

/// By row, whether no other both costs as little and is as often all right: the choices that make sense.
pub fn front(rows: &[Row], by: By) -> Vec<bool> {
    let place = |row: &Row| Some((by.price(row), row.quality.all?.share));
    let better = |a: (f64, f64), b: (f64, f64)| a.0 <= b.0 && a.1 >= b.1 && a != b;
    let beaten = |of: (f64, f64)| rows.iter().filter_map(place).any(|other| better(other, of));
    rows.iter().map(|row| place(row).is_some_and(|of| !beaten(of))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::plot::tests::{example, row};
    use super::*;

    #[test]
    fn a_shortcut_is_held_to_vanilla_of_its_time_and_reuse_of_its_full_steps() {
        let report = example();
        let right: Vec<Vec<bool>> =
            (0..report.rows.len()).map(|row| (0..40).map(|i| i % (row + 2) != 0).collect()).collect();
        let found = comparisons(&report.rows, &right);
        let name = |at: usize| (report.rows[at].method.as_str(), report.rows[at].full_steps);
        let pairs: Vec<_> = found.iter().map(|c| (name(c.row).1, name(c.against), c.kind)).collect();
        let wanted = [
            (8, ("vanilla", 8), Kind::EqualTime),
            (8, ("reuse", 8), Kind::EqualFullSteps),
            (5, ("vanilla", 5), Kind::EqualTime),
            (4, ("vanilla", 5), Kind::EqualTime),
            (4, ("reuse", 4), Kind::EqualFullSteps),
        ];
        assert_eq!(pairs, wanted);
        assert_eq!(Some(found[0].paired), Paired::of(&right[4], &right[1]));
    }

    #[test]
    fn reuse_is_that_of_the_same_steps_and_guidance_and_plain() {
        let of = |method: &str, steps: usize| row(method, steps, 4, 0.1, 0.9);
        let rows = [
            of("vanilla", 32),
            of("reuse", 32),
            of("shortcut guided 0.1-0.6 optimal", 16),
            of("reuse guided 0.1-0.6 optimal", 32),
            of("reuse guided 0.1-0.6 optimal", 16),
            of("shortcut", 16),
        ];
        let found = comparisons(&rows, &vec![vec![true, false]; rows.len()]);
        let pairs: Vec<_> = found
            .iter()
            .filter(|of| of.kind == Kind::EqualFullSteps)
            .map(|of| (of.row, of.against))
            .collect();
        assert_eq!(pairs, [(2, 4), (2, 1), (5, 1)]);
    }

    #[test]
    fn nouns_are_counted_and_their_gaps_compared() {
        let names = ["fox", "owl", "rocket"].map(str::to_owned);
        // Every fox is lost and every owl kept.
        let nouns: Vec<usize> = (0..40).map(|i| i % 2).collect();
        let right: Vec<bool> = nouns.iter().map(|&noun| noun == 1).collect();
        let found = spread(&right, &[true; 40], &nouns, &names);
        let of: Vec<_> = found.nouns.iter().map(|of| (of.noun.as_str(), of.all.right, of.all.of)).collect();
        assert_eq!(of, [("fox", 0, 20), ("owl", 20, 20)]);
        assert_eq!(found.nouns[0].difference, -1.0);
        assert!(found.p.unwrap() < 0.001);
        assert_eq!(spread(&right, &right, &nouns, &names).p, None);
        // Lost alike.
        let right: Vec<bool> = (0..40).map(|i| i % 4 > 1).collect();
        let found = spread(&right, &[true; 40], &nouns, &names);
        assert_eq!(found.p, Some(1.0));
    }

    #[test]
    fn the_front_has_what_nothing_beats() {
        let place = |seconds, share| row("shortcut", 8, 4, seconds, share);
        let rows = [
            place(0.4, 0.9),
            place(0.2, 0.9),
            place(0.1, 0.5),
            place(0.15, 0.4),
            place(0.5, 0.95),
            place(0.1, 0.5),
        ];
        assert_eq!(front(&rows, By::Seconds), [false, true, true, false, true, true]);
        // By what is counted, a method may be worth its while that the clock does not show to be.
        let mut rows = rows;
        rows[3].full_step_equivalents = 1.0;
        assert_eq!(front(&rows, By::Flops), [false, false, false, true, true, false]);
    }
}
