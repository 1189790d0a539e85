//! The queue's figures.

use base::metrics::{Counter, Family, Gauge, Histogram, Labels, Metrics};

/// All of them.
pub(super) struct QueueMetrics {
    /// Letters being worked on, by place.
    in_hand: Family<Labels, Gauge>,
    /// Letters due that no node has claimed, as far as they were counted.
    pub(super) due: Gauge,
    /// Destinations that are blocked.
    pub(super) blocked: Gauge,
    /// 1 where outgoing port 25 seems to be blocked.
    pub(super) port_blocked: Gauge,
    /// Destinations that asked for a pause.
    pub(super) paused: Gauge,
    /// Recipients by how an attempt ended.
    recipients: Family<Labels, Counter>,
    /// Reports sent, by kind.
    pub(super) reports: Counter,
    /// From the receipt of a letter to its being stored or handed over.
    pub(super) latency: Histogram,
    /// What should never happen: a task that panicked, a letter that could not be settled.
    pub(super) faults: Counter,
}

impl QueueMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            in_hand: metrics.register(
                "queue_letters_in_hand",
                "Letters that this node works on",
                Family::default(),
            ),
            due: metrics.gauge(
                "queue_letters_due",
                "Letters that are known to be due and not claimed; those of a sender to a destination are counted up to a limit",
            ),
            port_blocked: metrics.gauge(
                "queue_port_25_blocked",
                "1 while no server of several networks answers on port 25, as if it were blocked",
            ),
            blocked: metrics.gauge(
                "queue_destinations_blocked",
                "Destinations that nobody answers for",
            ),
            paused: metrics.gauge(
                "queue_destinations_paused",
                "Destinations that are left alone for a while, as they put off letter after letter",
            ),
            recipients: metrics.counters(
                "queue_recipients",
                "Recipients by how an attempt to reach them ended",
            ),
            reports: metrics.counter("queue_reports", "Reports sent to senders"),
            latency: metrics.histogram(
                "queue_latency_seconds",
                "Seconds from the receipt of a letter to its being stored or handed over",
                &[
                    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0, 3_600.0,
                    86_400.0,
                ],
            ),
            faults: metrics.counter("queue_faults", "Work on a letter that ended in a bug"),
        }
    }

    pub(super) fn in_hand(&self, (here, elsewhere): (usize, usize)) {
        let set = |place: &str, letters: usize| {
            self.in_hand
                .get_or_create(&vec![("place", place.to_owned())])
                .set(i64::try_from(letters).unwrap_or(i64::MAX));
        };
        set("here", here);
        set("elsewhere", elsewhere);
    }

    pub(super) fn recipient(&self, result: &str) {
        self.recipients
            .get_or_create(&vec![("result", result.to_owned())])
            .inc();
    }
}
