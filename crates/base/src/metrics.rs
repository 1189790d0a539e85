//! Metrics: a registry that is passed in, never global, and shown by `/metrics` as OpenMetrics.

use std::sync::{Arc, Mutex, PoisonError};

pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

/// The registry of one node; cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Default for Metrics {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Registry::with_prefix("pennyblack"))))
    }
}

/// The labels of a metric family: pairs of name and value.
pub type Labels = Vec<(&'static str, String)>;

impl Metrics {
    /// Registers a metric under its name (without the `pennyblack_` prefix; counters without the
    /// `_total` suffix) and gives it back.
    #[must_use]
    pub fn register<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        let mut registry = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        registry.register(name, help, metric.clone());
        metric
    }

    /// A new counter.
    #[must_use]
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        self.register(name, help, Counter::default())
    }

    /// A new gauge.
    #[must_use]
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.register(name, help, Gauge::default())
    }

    /// A new family of counters, told apart by labels.
    #[must_use]
    pub fn counters(&self, name: &str, help: &str) -> Family<Labels, Counter> {
        self.register(name, help, Family::default())
    }

    /// A new histogram with these upper bounds.
    #[must_use]
    pub fn histogram(&self, name: &str, help: &str, bounds: &[f64]) -> Histogram {
        self.register(name, help, Histogram::new(bounds.iter().copied()))
    }

    /// All metrics in the OpenMetrics text format.
    #[must_use]
    pub fn encode(&self) -> String {
        let registry = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        // Writing to a String cannot fail; an error would only cut the text short.
        let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_shown() {
        let metrics = Metrics::default();
        metrics.counter("letters", "Letters accepted").inc();
        assert!(metrics.encode().contains("pennyblack_letters_total 1"));
    }
}
