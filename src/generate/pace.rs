//! Pace: which steps run in full where that is decided while a run goes on.
//!
//! A [`Pace`] is asked before every step, and sees how far features moved at each step before: a predictor's velocity at predicted
//! steps, its error at full ones, where it runs beside the model to be held against it. [`Adaptive`] is this crate's; one from
//! outside is [`Refresh::Custom`](super::refresh::Refresh::Custom), see `examples/pace.rs`.

use super::session::StepKind;

/// A step that was run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Past {
    /// What it ran.
    pub kind: StepKind,
    /// How far features of masked tokens moved, as a share of their size (L1). At a predicted step from the step before. At a full
    /// one from what the predictor, run beside it, made of the step before: its error, accumulated since the last full step.
    pub moved: f32,
}

/// What a run knows before a step.
#[derive(Clone, Copy, Debug)]
pub struct Outlook<'a> {
    /// The steps before, in order.
    pub past: &'a [Past],
    /// Steps at most; a run that reveals more than its schedule has fewer.
    pub steps: usize,
    /// Share of tokens that are masked.
    pub mask_ratio: f32,
    /// What an error is of the velocity that was accumulated, where nothing is known of this run: as `migm calibrate` measured it, or 1.
    pub prior: f32,
    /// Whether guidance begins with this step, which then is a full one whatever is decided: unconditional features are old or were
    /// never there.
    pub guidance_begins: bool,
    /// Steps after this one with which guidance begins.
    pub guidance_to_begin: u32,
}

/// Why a step runs as it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The first step has nothing to be predicted from.
    First,
    /// Guidance begins, which needs features of its own.
    Guidance,
    /// The error that is expected exceeds what is allowed.
    Error,
    /// It does not.
    Within,
    /// Nothing is known yet of how features move.
    Unknown,
    /// The budget is spent, or must be spent now.
    Budget,
}

impl Reason {
    /// In a few words.
    pub fn title(self) -> &'static str {
        match self {
            Self::First => "the first step has nothing to be predicted from",
            Self::Guidance => "guidance begins, and needs features of its own",
            Self::Error => "the expected error exceeds the target",
            Self::Within => "the expected error is within the target",
            Self::Unknown => "nothing is known yet of how features move",
            Self::Budget => "the budget decides",
        }
    }
}

/// What was decided of a step.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Verdict {
    /// Whether it runs in full.
    pub full: bool,
    /// The relative error of features that is expected without.
    pub estimate: f32,
    /// What is allowed.
    pub limit: f32,
    /// Why.
    pub reason: Reason,
}

/// Decides, before each step, whether it runs in full.
pub trait Pace: std::fmt::Debug + Sync {
    /// As the command line takes it, and reports call it.
    fn spec(&self) -> String;

    /// Whether the step to come runs in full. The first always does.
    fn decide(&self, outlook: &Outlook<'_>) -> Verdict;
}

impl PartialEq for dyn Pace {
    fn eq(&self, other: &Self) -> bool {
        self.spec() == other.spec()
    }
}

impl serde::Serialize for dyn Pace {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.spec())
    }
}

/// A full step where the error that is expected without one exceeds a target: velocity accumulated since the last full step, times what
/// errors were of it so far. (In the manner of TeaCache and EasyCache, arXiv 2411.19108 and 2507.02860, which go by the inputs of a
/// diffusion model; here the predictor tells its own velocity, and each full step measures its error.)
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Adaptive {
    /// The relative error of features at which a full step comes.
    pub target_error: f32,
    /// Exactly so many full steps, where that is asked: the target then moves with what is left.
    pub budget: Option<u32>,
}

/// What a new measurement of the factor weighs against all before.
const RENEWAL: f32 = 0.3;
/// Within which the factor stays of 1, either way: one odd step must not decide a run.
const LARGEST_FACTOR: f32 = 20.0;
/// Velocities below this are of a predictor that does not move features.
const STILL: f32 = 1e-6;
/// How fast a target moves with the share of a budget that was left too long, or spent too soon.
const PRESSURE: f32 = 2.0;

/// What was learnt of a run so far.
#[derive(Clone, Copy, Debug)]
struct Learnt {
    /// What an error is of the velocity that was accumulated.
    factor: f32,
    /// Velocity since the last full step.
    accumulated: f32,
    /// Velocity to expect of a step.
    velocity: Option<f32>,
    full: u32,
    /// Whether the predictor leaves features where they are.
    is_still: bool,
}

impl Learnt {
    fn of(outlook: &Outlook<'_>) -> Self {
        let mut learnt =
            Self { factor: outlook.prior, accumulated: 0.0, velocity: None, full: 0, is_still: false };
        let mut since = 0;
        for (index, past) in outlook.past.iter().enumerate() {
            match past.kind {
                StepKind::Predicted if past.moved > STILL => {
                    learnt.accumulated += past.moved;
                    learnt.velocity = Some(past.moved);
                    since += 1;
                }
                // One that leaves features as they are is as wrong as they moved: known from full steps alone.
                StepKind::Predicted => {
                    learnt.is_still = true;
                    learnt.accumulated += learnt.velocity.unwrap_or(0.0);
                    since += 1;
                }
                StepKind::Full => {
                    if index > 0 {
                        learnt.held_against(past.moved, since);
                    }
                    (learnt.accumulated, since) = (0.0, 0);
                    learnt.full += 1;
                }
            }
        }
        learnt
    }

    /// Takes in the error that a full step found, so many predicted steps after the last.
    fn held_against(&mut self, error: f32, since: u32) {
        if self.is_still {
            self.velocity = Some(error / (since + 1) as f32);
            return;
        }
        let Some(velocity) = self.velocity else { return };
        let found = error / (self.accumulated + velocity).max(STILL);
        let factor = (1.0 - RENEWAL) * self.factor + RENEWAL * found;
        self.factor = factor.clamp(1.0 / LARGEST_FACTOR, LARGEST_FACTOR);
    }
}

impl Adaptive {
    /// What is allowed with so many full steps done, so many steps before the end.
    fn limit(&self, full: u32, left: usize, steps: usize) -> f32 {
        let Some(budget) = self.budget else { return self.target_error };
        let planned = budget as f32 * left as f32 / steps.max(1) as f32;
        let ahead = (planned - budget.saturating_sub(full) as f32) / budget.max(1) as f32;
        self.target_error * (PRESSURE * ahead).exp()
    }
}

impl Pace for Adaptive {
    fn spec(&self) -> String {
        match self.budget {
            None => format!("adaptive:{}", self.target_error),
            Some(budget) => format!("adaptive:{},{budget}", self.target_error),
        }
    }

    fn decide(&self, outlook: &Outlook<'_>) -> Verdict {
        let learnt = Learnt::of(outlook);
        let left = outlook.steps.saturating_sub(outlook.past.len());
        let limit = self.limit(learnt.full, left, outlook.steps);
        let estimate = learnt.velocity.map(|velocity| learnt.factor * (learnt.accumulated + velocity));
        // What guidance takes of the budget is spent already.
        let (taken, open) =
            (outlook.guidance_to_begin, left.saturating_sub(outlook.guidance_to_begin as usize));
        let spare = self.budget.map(|budget| budget.saturating_sub(learnt.full + taken));
        let (full, reason) = match (estimate, spare) {
            _ if outlook.past.is_empty() => (true, Reason::First),
            _ if outlook.guidance_begins => (true, Reason::Guidance),
            (_, Some(0)) => (false, Reason::Budget),
            (_, Some(spare)) if spare as usize >= open => (true, Reason::Budget),
            // One that does not move has to be held against a full step first.
            (None, _) => (learnt.is_still, Reason::Unknown),
            (Some(estimate), _) if estimate > limit => (true, Reason::Error),
            _ => (false, Reason::Within),
        };
        Verdict { full, estimate: estimate.unwrap_or(0.0), limit, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A run over steps at which features move so fast, and errors are `factor` times what was accumulated.
    fn run(pace: &Adaptive, velocities: &[f32], factor: f32, is_still: bool) -> Vec<Verdict> {
        run_guided(pace, velocities, factor, is_still, 0)
    }

    /// The same with guidance that begins at a step; at the first, none begins later.
    fn run_guided(
        pace: &Adaptive,
        velocities: &[f32],
        factor: f32,
        is_still: bool,
        begins: usize,
    ) -> Vec<Verdict> {
        let (mut past, mut verdicts, mut since) = (Vec::new(), Vec::new(), 0.0);
        for (step, &velocity) in velocities.iter().enumerate() {
            let outlook = Outlook {
                past: &past,
                steps: velocities.len(),
                mask_ratio: 0.5,
                prior: 1.0,
                guidance_begins: step > 0 && step == begins,
                guidance_to_begin: u32::from(step < begins && begins < velocities.len()),
            };
            let verdict = pace.decide(&outlook);
            since += velocity;
            let (kind, moved) = match (verdict.full, is_still) {
                (true, _) => (StepKind::Full, factor * std::mem::take(&mut since)),
                (false, true) => (StepKind::Predicted, 0.0),
                (false, false) => (StepKind::Predicted, velocity),
            };
            past.push(Past { kind, moved });
            verdicts.push(verdict);
        }
        verdicts
    }

    fn full(verdicts: &[Verdict]) -> Vec<usize> {
        verdicts.iter().enumerate().filter(|(_, verdict)| verdict.full).map(|(step, _)| step).collect()
    }

    #[test]
    fn full_steps_come_where_features_move_fast() {
        let mut velocities = vec![0.01; 40];
        velocities[20..30].fill(0.1);
        let pace = Adaptive { target_error: 0.08, budget: None };
        let steps = full(&run(&pace, &velocities, 0.5, false));
        let within = |range: std::ops::Range<usize>| steps.iter().filter(|step| range.contains(step)).count();
        assert!(within(20..31) >= 5 && within(1..20) <= 4, "{steps:?}");
        // The factor is learnt: where errors are small, full steps are rarer.
        let small = full(&run(&pace, &velocities, 0.05, false));
        assert!(small.len() < steps.len(), "{small:?} and {steps:?}");
    }

    #[test]
    fn a_predictor_that_stands_still_is_judged_by_how_features_moved() {
        let pace = Adaptive { target_error: 0.05, budget: None };
        let verdicts = run(&pace, &[0.01; 30], 1.0, true);
        // Nothing is known at first, so the second full step comes early; then one in five.
        assert_eq!(full(&verdicts)[..2], [0, 2]);
        assert_eq!((verdicts[2].reason, verdicts[0].reason), (Reason::Unknown, Reason::First));
        let steps = full(&verdicts);
        assert!(steps[2..].windows(2).all(|pair| (4..=6).contains(&(pair[1] - pair[0]))), "{steps:?}");
    }

    proptest! {
        #[test]
        fn a_budget_is_exact(
            velocities in prop::collection::vec(0.0_f32..0.3, 1..60),
            share in 0.0_f64..1.0,
            target_error in 0.001_f32..2.0,
            factor in 0.1_f32..4.0,
            is_still in any::<bool>(),
            guided_from in 0.0_f64..1.0,
        ) {
            let budget = 1 + (share * (velocities.len() - 1) as f64) as u32;
            let pace = Adaptive { target_error, budget: Some(budget) };
            prop_assert_eq!(full(&run(&pace, &velocities, factor, is_still)).len(), budget as usize);
            // With guidance that begins later too, if there is enough for its step.
            let begins = (guided_from * velocities.len() as f64) as usize;
            let verdicts = run_guided(&pace, &velocities, factor, is_still, begins);
            let least = 1 + u32::from(begins > 0);
            prop_assert!(verdicts[begins].full);
            prop_assert_eq!(full(&verdicts).len(), budget.max(least) as usize);
        }
    }
}
