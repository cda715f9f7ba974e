//! A run whose features are read after every step. Nothing of it is timed.

use crate::eval::motion::Refreshed;
use crate::eval::scenes_eval::stats::relative_error;
use crate::exec::read_f32;
use crate::generate::GenerateError;
use crate::generate::engine::Job;
use crate::generate::session::{PlannedStep, Session, StepKind};
use crate::kernels::philox;
use crate::models::states;

/// What is wanted of a run beside its features.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    /// Whether the predictor is held against full steps.
    pub(crate) compares: bool,
    /// The step whose features are kept of all sequences, and those of the step before it.
    pub(crate) hold: Option<usize>,
    /// The step from which on tokens are drawn by another seed.
    pub(crate) reseed: Option<(usize, u64)>,
}

/// What a step revealed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct New {
    /// Codes.
    pub(crate) ids: Vec<u32>,
    /// Where, in ascending order.
    pub(crate) positions: Vec<u32>,
}

/// Features of all sequences by the names of their states.
pub(crate) type Held = Vec<(String, Vec<f32>)>;

/// A run of one picture.
pub(crate) struct Traced {
    /// Of the draws, from the step on that it parted from the other at.
    pub(crate) seed: u64,
    /// Its steps as they were run.
    pub(crate) plan: Vec<PlannedStep>,
    /// Of a feature.
    pub(crate) width: usize,
    /// Features of the conditional sequence after each step `[rows, width]`.
    pub(crate) features: Vec<Vec<f32>>,
    /// What each step revealed.
    pub(crate) new: Vec<New>,
    /// Full steps that the predictor was held against.
    pub(crate) refreshed: Vec<Refreshed>,
    /// At the step that was asked for.
    pub(crate) held: Option<Held>,
    /// At the step before it.
    pub(crate) held_before: Option<Held>,
    /// Codes in the end.
    pub(crate) tokens: Vec<u32>,
}

pub(crate) async fn trace(
    session: &mut Session,
    job: &Job,
    wanted: &Wanted,
    tick: &mut dyn FnMut(),
) -> Result<Traced, GenerateError> {
    let mut run = Traced {
        seed: wanted.reseed.map_or(job.seed, |(_, seed)| seed),
        plan: Vec::new(),
        width: session.family().width() as usize,
        features: Vec::new(),
        new: Vec::new(),
        refreshed: Vec::new(),
        held: None,
        held_before: None,
        tokens: Vec::new(),
    };
    session.start(std::slice::from_ref(&job.condition), &[job.seed])?;
    let mut last_full = 0;
    loop {
        let step = run.plan.len();
        if let Some((_, seed)) = wanted.reseed.filter(|(at, _)| *at == step) {
            session.executor().write(states::SEEDS, &philox::key(seed))?;
        }
        let full = session.plan().get(step).is_some_and(|next| next.kind == StepKind::Full);
        let predicted = if wanted.compares && step > 0 && full {
            session.predict()?;
            Some(conditional(session).await?)
        } else {
            None
        };
        let Some(planned) = session.advance().await? else { break };
        let features = conditional(session).await?;
        if let (Some(predicted), Some(before)) = (predicted, run.features.last()) {
            let [predicted, reused] = [&predicted, before].map(|of| relative_error(of, &features));
            run.refreshed.push(Refreshed { step, chain: step - last_full, predicted, reused });
        }
        if planned.kind == StepKind::Full {
            last_full = step;
        }
        if wanted.hold == Some(step) {
            run.held = Some(all(session).await?);
        } else if wanted.hold == Some(step + 1) {
            run.held_before = Some(all(session).await?);
        }
        run.features.push(features);
        run.new.push(revealed(session, &planned).await?);
        run.plan.push(planned);
        tick();
    }
    run.tokens = session.tokens().await?;
    Ok(run)
}

/// The first sequence of the first network: with the class or the prompt.
async fn conditional(session: &mut Session) -> Result<Vec<f32>, GenerateError> {
    let mut features = session.features().await?;
    features.truncate(session.feature_len());
    Ok(features)
}

/// What the step just run revealed of the first picture.
pub(crate) async fn revealed(session: &mut Session, step: &PlannedStep) -> Result<New, GenerateError> {
    let count = step.values.reveal.min(session.family().tokens()) as usize;
    let executor = session.executor();
    let ids = executor.read(states::NEW_IDS, count).await?;
    Ok(New { ids, positions: executor.read(states::NEW_POSITIONS, count).await? })
}

/// Features of all sequences as they are now.
pub(crate) async fn all(session: &mut Session) -> Result<Held, GenerateError> {
    let sizes = session.family().feature_states(session.shape().batch);
    let mut held = Held::new();
    for (state, len) in sizes {
        let values = read_f32(session.executor(), &state, len).await?;
        held.push((state, values));
    }
    Ok(held)
}
