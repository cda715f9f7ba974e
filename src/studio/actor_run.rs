//! One run of the actor: every step is told, its codes and draws are read, a preview is made where nobody waits for one, and features are
//! traced where that is asked for.

use super::{End, Event, Features, Preview, Request, RunId, StepDone, StepNote, Worker, distance};
use crate::eval::figures::{hold, revealed};
use crate::generate::GenerateError;
use crate::generate::engine::{self, now_ms};
use crate::generate::picture::Pixels;
use crate::generate::recipe::Recipe;
use crate::generate::session::StepKind;
use crate::studio::channel::breathe;
use crate::studio::looking::moves;
use std::sync::Arc;

impl Worker {
    pub(super) async fn generate(
        &mut self,
        id: RunId,
        recipe: &Recipe,
        trace: bool,
        from: Option<Vec<u32>>,
    ) -> Result<End, GenerateError> {
        let model = self.engine.model()?;
        let settings = model.resolve(recipe.settings())?;
        let (tokens, width) = (model.family().tokens(), model.family().width() as usize);
        let (jobs, firsts) = (recipe.jobs(model)?, recipe.firsts(model)?);
        let plan: Vec<StepNote> = recipe.plan(model)?.iter().map(StepNote::from).collect();
        // A run that decides does that itself.
        let compares = plan.iter().any(|step| step.kind == StepKind::Predicted) && !settings.decides();
        let mut decided = None;
        let tell = {
            let (outbox, wake) = (self.outbox.clone(), Arc::clone(&self.wake));
            move |event| {
                outbox.send(event);
                wake();
            }
        };
        let is_single = recipe.images <= 1;
        let looking = &mut self.looking;
        if trace {
            looking.begin(is_single.then_some(id));
        }
        let mut last: Option<Features> = None;
        // Where the tokens of the first picture stand among its features, once a session is there.
        let mut rows: Vec<usize> = Vec::new();
        let (inbox, preview, device) = (&self.inbox, &self.preview, self.engine.describe());
        let first = firsts.last().filter(|_| from.is_some()).map_or(0, |last| last.steps);
        // What begins anew has no features that could be moved on.
        let begins: Vec<usize> = firsts.iter().map(|first| first.steps).chain([0]).collect();
        let mut run = self.engine.run(jobs, &settings, recipe.quantize, None)?.beginning(firsts);
        if let Some(codes) = from {
            run = run.resuming(codes, first);
        }
        let rounds = run.batches_left();
        let (mut step_ms, mut codes) = (vec![0.0; plan.len()], Vec::new());
        let (mut ran, mut step, mut image, mut round) = (0, 0, 0, 0);
        loop {
            if inbox.any(Request::overtakes) {
                return Ok(End::Overtaken { steps: ran });
            }
            let traced = trace && round == 1;
            // Where a full step follows, the predictor can be held against it.
            let full = plan.get(step).is_some_and(|next| next.kind == StepKind::Full);
            let predicted = if traced && compares && full && !begins.contains(&step) {
                run.session()?.predict()?;
                Some(run.session()?.features().await?)
            } else {
                None
            };
            let began = now_ms();
            match run.next().await? {
                None => break,
                Some(engine::Event::Began(batch)) => {
                    if round == 0 {
                        let (plan, rounds) = (plan.clone(), rounds as u32);
                        tell(Event::Began { id, plan, rounds, memory: run.memory(), device: device.clone() });
                    }
                    let session = run.session()?;
                    let networks = session.family().networks(session.shape().batch);
                    let placement = networks.first().map(|network| network.placement());
                    let row = |token| placement.map(|placement| placement.row(token) as usize);
                    rows = (0..tokens).filter_map(row).collect();
                    (step, image, round) = (first, batch.pictures.first().copied().unwrap_or(0), round + 1);
                }
                Some(engine::Event::Stepped(planned)) => {
                    let note = StepNote::from(&planned);
                    let glimpse = run.glimpse().await?;
                    let ms = now_ms() - began;
                    step_ms[step] += ms / rounds as f64;
                    let session = run.session()?;
                    let held = if traced { hold(session).await? } else { Vec::new() };
                    // The first network's: what predictors are held against, conditional sequences first.
                    let all = held.first().map(|(_, values)| values.as_slice());
                    let missed = predicted.as_ref().zip(all).map(|(ours, theirs)| distance(ours, theirs));
                    let features = all.map(|all| {
                        let values = all.get(..session.feature_len()).unwrap_or(all);
                        Features { values: values.into(), width }
                    });
                    let moved = last.as_ref().zip(features.as_ref()).map(|(before, after)| {
                        moves(&before.values, &after.values, width, rows.iter().copied())
                    });
                    if traced && is_single {
                        let new = revealed(session, &planned).await?;
                        looking.keep(step, &planned, held, new);
                    }
                    last.clone_from(&features);
                    if step + 1 < plan.len() && preview.is_empty() {
                        let pictures = session.pictures(&glimpse.drawn, Pixels::Signed).await?;
                        preview.put(Preview { id, step, image, pictures });
                    }
                    let (codes, drawn) = (glimpse.codes, glimpse.drawn);
                    let done = StepDone { step, note, image, codes, drawn, ms, features, missed, moved };
                    tell(Event::Stepped { id, done: Box::new(done) });
                    (step, ran) = (step + 1, ran + 1);
                    breathe().await;
                }
                Some(engine::Event::Finished(batch)) => {
                    codes.extend(batch.codes);
                    if rounds == 1 {
                        step_ms.truncate(batch.plan.len());
                        decided = settings.decides().then(|| settings.decided(&batch.plan).refresh);
                    }
                    // The device's own clock, where it has one, knows nothing of waiting and previews.
                    for (sum, measured) in step_ms.iter_mut().zip(run.session()?.step_times().await?) {
                        if let (Some(measured), 1) = (measured, rounds) {
                            *sum = measured;
                        }
                    }
                }
            }
        }
        let began = now_ms();
        let pictures = run.session()?.pictures(&codes, Pixels::Signed).await?;
        let decode_ms = now_ms() - began;
        tell(Event::Finished { id, step_ms, codes, pictures, decode_ms, decided });
        Ok(End::Complete)
    }
}
