//! How far off a predictor is when a full step sets it right: its error at refreshes, of the runs that were made.

use super::makers::{Maker, Method};
use crate::eval::figures::{Wanted, trace};
use crate::generate::GenerateError;
use crate::generate::session::{PlannedStep, StepKind};
use crate::models::Batch;
use pollster::block_on;

/// Of so many pictures: each is made once more, step by step.
const PICTURES: usize = 16;

impl Maker<'_> {
    /// The relative L2 distance of what the predictor makes of the step before from the features of each full step but the first, in
    /// the mean over these, by picture. Of a run that decided it is that of the steps as they were decided. Nothing is timed; `tick`
    /// is called now and then.
    ///
    /// # Errors
    /// The device failed.
    pub fn errors_at_refreshes(
        &mut self,
        method: &Method,
        plans: &[Vec<PlannedStep>],
        tick: &mut dyn FnMut(),
    ) -> Result<Vec<f64>, GenerateError> {
        let mut found = Vec::new();
        if method.predictor.is_none() {
            return Ok(found);
        }
        let settings = self.settings(method)?;
        for (job, plan) in self.jobs.iter().zip(plans).take(PICTURES) {
            if !plan.iter().skip(1).any(|step| step.kind == StepKind::Full) {
                continue;
            }
            let settings = settings.decided(plan);
            let batch = Batch::of(&job.condition, 1, settings.sampling.guided());
            let session = self.engine.session(&settings, batch, None)?;
            let wanted = Wanted { compares: true, ..Wanted::default() };
            let refreshed = block_on(trace(session, job, &wanted, &mut || ()))?.refreshed;
            let sum: f64 = refreshed.iter().map(|refreshed| refreshed.predicted).sum();
            found.push(sum / refreshed.len().max(1) as f64);
            tick();
        }
        Ok(found)
    }
}
