//! How much is submitted at once: bounded in work, and where a window is drawn by the same device, in measured time.

/// The most work of a submission. Watchdogs of graphics drivers end what runs for seconds.
pub(super) const SUBMISSION_FLOPS: u64 = 50_000_000_000;
/// The least that pacing goes down to: below it, submissions cost more than they bring.
const LEAST_FLOPS: u64 = 20_000_000;

/// The present bound.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    flops: u64,
    /// Milliseconds that a submission should take; `None` where nobody else waits for the device.
    target_ms: Option<f64>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { flops: SUBMISSION_FLOPS, target_ms: None }
    }
}

impl Pace {
    /// Aims at a time from now on, or at none.
    pub(super) fn aim(&mut self, target_ms: Option<f64>) {
        *self = Self { target_ms, ..Self::default() };
        if target_ms.is_some() {
            // Not measured yet: a modest beginning on any device.
            self.flops = 50 * LEAST_FLOPS;
        }
    }

    /// Whether submissions are to be waited for and measured.
    pub(super) fn is_measured(&self) -> bool {
        self.target_ms.is_some()
    }

    /// The end of the submission that begins with operation `start`, by the work of each: one at least.
    pub(super) fn end(&self, costs: &[u64], start: usize) -> usize {
        let mut flops = 0;
        let more = |cost: &&u64| {
            flops += **cost;
            flops <= self.flops
        };
        start + costs[start..].iter().take_while(more).count().max(1)
    }

    /// Takes in how long a submission took.
    pub(super) fn took(&mut self, flops: u64, ms: f64) {
        let Some(target) = self.target_ms else { return };
        // Small ones are all overhead and tell nothing of the rate, unless even they are too slow.
        if flops < LEAST_FLOPS && ms < target {
            return;
        }
        let wanted = flops as f64 * target / ms.max(1e-3);
        // The geometric mean: one slow submission is no trend.
        let next = (self.flops as f64 * wanted).sqrt() as u64;
        self.flops = next.clamp(LEAST_FLOPS, SUBMISSION_FLOPS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn submissions_cover_all_operations_within_the_bound() {
        let costs: Vec<u64> = (0..40).map(|i| (i % 7) * 9_000_000_000).collect();
        let pace = Pace::default();
        let (mut start, mut count) = (0, 0);
        while start < costs.len() {
            let end = pace.end(&costs, start);
            let flops: u64 = costs[start..end].iter().sum();
            assert!(
                end > start && (flops <= SUBMISSION_FLOPS || end == start + 1),
                "{start}..{end}: {flops}"
            );
            (start, count) = (end, count + 1);
        }
        assert!(count > 10, "{count}");
    }

    /// A device of a fixed rate is brought to the time that was aimed at, from far below and far above.
    #[test]
    fn the_time_of_a_submission_settles() {
        for flops_per_ms in [2e6, 5e8, 4e10] {
            let mut pace = Pace::default();
            pace.aim(Some(6.0));
            for _ in 0..40 {
                let ms = pace.flops as f64 / flops_per_ms;
                pace.took(pace.flops, ms);
            }
            let ms = pace.flops as f64 / flops_per_ms;
            let bounded = pace.flops == LEAST_FLOPS || pace.flops == SUBMISSION_FLOPS;
            assert!(bounded || (5.0..7.0).contains(&ms), "{ms} ms at {flops_per_ms} per ms");
        }
    }

    #[test]
    fn without_an_aim_nothing_is_measured() {
        let mut pace = Pace::default();
        pace.took(SUBMISSION_FLOPS, 9000.0);
        assert!(!pace.is_measured() && pace.flops == SUBMISSION_FLOPS);
    }
}
