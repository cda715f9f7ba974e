//! What the server counts, for Prometheus.

use crate::exec::Memory;
use crate::generate::session::StepKind;
use axum::http::StatusCode;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::time::Duration;

/// A label with its value; names are few and known.
type Label = Vec<(&'static str, String)>;

/// What the server counts.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    answers: Family<Label, Counter>,
    pictures: Counter,
    steps: Family<Label, Counter>,
    cancelled: Counter,
    failed: Counter,
    overdue: Counter,
    connections: Gauge,
    waiting: Gauge,
    running: Gauge,
    memory: Family<Label, Gauge>,
    waits: Histogram,
    batches: Histogram,
    sizes: Histogram,
}

impl Metrics {
    pub(super) fn new() -> Self {
        // From a hundredth of a second to some minutes.
        let seconds = || Histogram::new(exponential_buckets(0.01, 2.0, 15));
        let mut metrics = Self {
            registry: Registry::default(),
            answers: Family::default(),
            pictures: Counter::default(),
            steps: Family::default(),
            cancelled: Counter::default(),
            failed: Counter::default(),
            overdue: Counter::default(),
            connections: Gauge::default(),
            waiting: Gauge::default(),
            running: Gauge::default(),
            memory: Family::default(),
            waits: seconds(),
            batches: seconds(),
            sizes: Histogram::new(exponential_buckets(1.0, 2.0, 8)),
        };
        let mut registry = Registry::with_prefix("migm");
        registry.register(
            "answers",
            "Requests that were answered, by address and status",
            metrics.answers.clone(),
        );
        registry.register("pictures", "Pictures that were made for somebody", metrics.pictures.clone());
        registry.register("steps", "Steps of batches, by what they ran", metrics.steps.clone());
        registry.register(
            "cancelled",
            "Requests that were cancelled, or whose client went away",
            metrics.cancelled.clone(),
        );
        registry.register("failed", "Requests that failed by the server's doing", metrics.failed.clone());
        registry.register("overdue", "Requests that waited or ran too long", metrics.overdue.clone());
        registry.register("connections", "Connections that are open", metrics.connections.clone());
        registry.register("waiting_pictures", "Pictures that wait", metrics.waiting.clone());
        registry.register("running_pictures", "Pictures in the batch under way", metrics.running.clone());
        registry.register_with_unit(
            "memory",
            "Memory of the model that ran last, by use",
            Unit::Bytes,
            metrics.memory.clone(),
        );
        registry.register_with_unit(
            "wait",
            "From a request to the beginning of its first picture",
            Unit::Seconds,
            metrics.waits.clone(),
        );
        registry.register_with_unit(
            "batch",
            "Time of a batch, files included",
            Unit::Seconds,
            metrics.batches.clone(),
        );
        registry.register("batch_pictures", "Pictures of a batch", metrics.sizes.clone());
        metrics.registry = registry;
        metrics
    }

    /// In the format that Prometheus reads.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// A request was answered at an address.
    pub(super) fn answered(&self, address: &str, status: StatusCode) {
        let label = vec![("address", address.to_owned()), ("status", status.as_u16().to_string())];
        self.answers.get_or_create(&label).inc();
    }

    pub(super) fn picture(&self) {
        self.pictures.inc();
    }

    pub(super) fn step(&self, kind: StepKind) {
        let kind = match kind {
            StepKind::Full => "full",
            StepKind::Predicted => "predicted",
        };
        self.steps.get_or_create(&vec![("kind", kind.to_owned())]).inc();
    }

    pub(super) fn cancelled(&self) {
        self.cancelled.inc();
    }

    pub(super) fn failed(&self) {
        self.failed.inc();
    }

    pub(super) fn overdue(&self, requests: usize) {
        self.overdue.inc_by(requests as u64);
    }

    pub(super) fn connected(&self) {
        self.connections.inc();
    }

    pub(super) fn disconnected(&self) {
        self.connections.dec();
    }

    pub(super) fn waiting(&self, pictures: usize) {
        self.waiting.set(pictures as i64);
    }

    pub(super) fn running(&self, pictures: usize) {
        self.running.set(pictures as i64);
    }

    pub(super) fn memory(&self, memory: &Memory) {
        let Memory { weights, states, temporaries, other } = *memory;
        for (name, bytes) in
            [("weights", weights), ("states", states), ("temporaries", temporaries), ("other", other)]
        {
            self.memory.get_or_create(&vec![("use", name.to_owned())]).set(bytes as i64);
        }
    }

    /// How long a request waited for its first picture to be begun.
    pub(super) fn waited(&self, time: Duration) {
        self.waits.observe(time.as_secs_f64());
    }

    pub(super) fn batch(&self, pictures: usize, time: Duration) {
        self.sizes.observe(pictures as f64);
        self.batches.observe(time.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_can_be_read_by_prometheus() {
        let metrics = Metrics::new();
        metrics.answered("/v1/images/generations", StatusCode::OK);
        metrics.answered("/v1/images/generations", StatusCode::OK);
        metrics.step(StepKind::Predicted);
        metrics.waited(Duration::from_millis(500));
        metrics.memory(&Memory { weights: 7, ..Memory::default() });
        let text = metrics.text();
        for line in [
            "migm_answers_total{address=\"/v1/images/generations\",status=\"200\"} 2",
            "migm_steps_total{kind=\"predicted\"} 1",
            "migm_wait_seconds_count 1",
            "migm_memory_bytes{use=\"weights\"} 7",
            "# EOF",
        ] {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
    }
}
