//! The blind test: pairs of pictures of one seed, vanilla and accelerated, in an order that is hidden until the choice is made.

use super::actor::RunId;
use crate::eval::scenes_eval::stats::Share;
use crate::generate::recipe::Recipe;
use crate::kernels::philox;
use serde::{Deserialize, Serialize};

/// Sets these random numbers apart from those that pictures are drawn with.
const ORDER: u32 = u32::from_le_bytes(*b"pair");

/// What a person said of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The picture at the left is better.
    Left,
    /// The picture at the right is.
    Right,
    /// Neither is.
    Tie,
    /// Not judged.
    Skip,
}

/// A pair to judge.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// What the accelerated picture is made from; vanilla differs in nothing but its full steps.
    pub recipe: Recipe,
    /// The runs, left and right.
    pub runs: [RunId; 2],
    /// Whether the accelerated one is at the left.
    pub accelerated_is_left: bool,
}

impl Pair {
    /// The runs in an order that follows from the seed but shows no pattern.
    pub fn new(recipe: Recipe, vanilla: RunId, accelerated: RunId) -> Self {
        let accelerated_is_left = philox::philox([ORDER, 0, 0, 0], philox::key(recipe.seed))[0] & 1 == 1;
        let runs = if accelerated_is_left { [accelerated, vanilla] } else { [vanilla, accelerated] };
        Self { recipe, runs, accelerated_is_left }
    }
}

/// The test as it stands.
#[derive(Clone, Debug, Default)]
pub struct BlindTest {
    /// What was said so far, the newest last.
    pub judged: Vec<Judged>,
    /// The next pair in the making: vanilla, then accelerated, each with its run once it was begun.
    pub making: Option<[(Recipe, Option<RunId>); 2]>,
    /// The pair to judge.
    pub pair: Option<Pair>,
}

impl BlindTest {
    /// Has a pair made of a recipe, one picture each.
    pub fn make(&mut self, recipe: &Recipe) {
        let accelerated = Recipe { images: 1, ..recipe.clone() };
        self.pair = None;
        self.making = Some([(accelerated.vanilla(), None), (accelerated, None)]);
    }

    /// The next run of the pair in the making.
    pub fn waiting(&mut self) -> Option<&mut (Recipe, Option<RunId>)> {
        self.making.as_mut()?.iter_mut().find(|(_, run)| run.is_none())
    }

    /// Shows the pair once both runs are finished; gives it up if one was stopped.
    pub fn ready(&mut self, is_finished: impl Fn(RunId) -> Option<bool>) {
        let Some([(_, Some(vanilla)), (recipe, Some(accelerated))]) = &self.making else { return };
        match (is_finished(*vanilla), is_finished(*accelerated)) {
            (Some(true), Some(true)) => {
                self.pair = Some(Pair::new(recipe.clone(), *vanilla, *accelerated));
                self.making = None;
            }
            (None, _) | (_, None) => self.making = None,
            _ => {}
        }
    }

    /// Takes a verdict on the pair that is shown.
    pub fn judge(&mut self, verdict: Verdict) {
        let Some(pair) = self.pair.take() else { return };
        let accelerated_is_left = pair.accelerated_is_left;
        self.judged.push(Judged { recipe: pair.recipe, verdict, accelerated_is_left });
    }
}

/// What came of a pair.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// What was shown.
    pub recipe: Recipe,
    /// What was said.
    pub verdict: Verdict,
    /// Whether the accelerated one was at the left.
    pub accelerated_is_left: bool,
}

impl Judged {
    /// 1 where the accelerated picture won, 0 where vanilla did, a half for a tie; `None` if it was skipped.
    pub fn score(&self) -> Option<f64> {
        match (self.verdict, self.accelerated_is_left) {
            (Verdict::Skip, _) => None,
            (Verdict::Tie, _) => Some(0.5),
            (Verdict::Left, left) => Some(f64::from(u8::from(left))),
            (Verdict::Right, left) => Some(f64::from(u8::from(!left))),
        }
    }
}

/// Wins of the accelerated pictures among pairs with a winner, with the 95 % interval; `None` before there is one. An interval
/// that holds a half says that the two could not be told apart.
pub fn win_rate(judged: &[Judged]) -> Option<Share> {
    let decided: Vec<f64> = judged.iter().filter_map(Judged::score).filter(|score| *score != 0.5).collect();
    Share::new(decided.iter().filter(|score| **score == 1.0).count(), decided.len())
}

/// A row a pair, for a spreadsheet.
pub fn csv(judged: &[Judged]) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let mut out = "model,subject,seed,steps,refresh,accelerated_side,verdict\n".to_owned();
    for pair in judged {
        let r = &pair.recipe;
        let side = if pair.accelerated_is_left { "left" } else { "right" };
        let verdict = match pair.verdict {
            Verdict::Left => "left",
            Verdict::Right => "right",
            Verdict::Tie => "tie",
            Verdict::Skip => "skip",
        };
        let cells = [
            quoted(&r.model),
            quoted(r.subject.title()),
            r.seed.to_string(),
            r.draw.steps.to_string(),
            quoted(&r.refresh.to_string()),
            side.to_owned(),
            verdict.to_owned(),
        ];
        out += &cells.join(",");
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::predict::Predictor;
    use crate::generate::recipe::Subject;
    use crate::generate::refresh::Refresh;
    use crate::generate::sampling::Sampling;

    fn pair(seed: u64) -> Pair {
        let recipe = Recipe {
            model: "m".to_owned(),
            subject: Subject::Prompt("a \"fox\"".to_owned()),
            seed,
            images: 1,
            draw: Sampling::DIMOO,
            refresh: Refresh::Uniform(8),
            predictor: Predictor::Shortcut,
            quantize: None,
            begun: Vec::new(),
            canvas: None,
        };
        Pair::new(recipe, RunId(0), RunId(1))
    }

    #[test]
    fn sides_are_hidden_fair_and_told_truly() {
        let left = (0..400).map(pair).filter(|pair| pair.accelerated_is_left).count();
        assert!((150..250).contains(&left), "{left} of 400 at the left");
        for pair in (0..20).map(pair) {
            let accelerated = usize::from(!pair.accelerated_is_left);
            assert_eq!(pair.runs[accelerated], RunId(1));
        }
    }

    #[test]
    fn a_pair_is_made_shown_and_judged() {
        let mut test = BlindTest::default();
        let recipe = pair(5).recipe;
        test.make(&Recipe { images: 4, ..recipe.clone() });
        for id in [7, 8] {
            let (wanted, run) = test.waiting().unwrap();
            assert_eq!((wanted.images, wanted.full_steps()), (1, Some(if id == 7 { 64 } else { 8 })));
            *run = Some(RunId(id));
        }
        assert!(test.waiting().is_none());
        test.ready(|id| Some(id == RunId(7)));
        assert!(test.pair.is_none());
        test.ready(|_| Some(true));
        assert_eq!(test.pair, Some(Pair::new(recipe, RunId(7), RunId(8))));
        test.judge(Verdict::Tie);
        test.judge(Verdict::Left);
        assert_eq!((test.judged.len(), test.pair.is_none()), (1, true));
        // A run that was stopped makes no pair.
        test.make(&pair(6).recipe);
        while let Some((_, run)) = test.waiting() {
            *run = Some(RunId(9));
        }
        test.ready(|_| None);
        assert!(test.making.is_none() && test.pair.is_none());
    }

    #[test]
    fn wins_are_of_pairs_with_a_winner() {
        let judged =
            |verdict, accelerated_is_left| Judged { recipe: pair(1).recipe, verdict, accelerated_is_left };
        let all = [
            judged(Verdict::Left, true),
            judged(Verdict::Right, false),
            judged(Verdict::Left, false),
            judged(Verdict::Tie, true),
            judged(Verdict::Skip, true),
        ];
        let share = win_rate(&all).unwrap();
        assert_eq!((share.right, share.of), (2, 3));
        assert!(share.low < 0.5 && share.high > 0.5);
        assert_eq!(win_rate(&all[3..]), None);
        let text = csv(&all);
        assert_eq!(text.lines().count(), 6);
        assert!(text.contains("\"a \"\"fox\"\"\",1,64,\"uniform:8\",left,tie"), "{text}");
    }
}
