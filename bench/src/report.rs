//! The figures of one run, as text for people and as JSON for scripts.

use std::time::Duration;

use crate::load::{Outcome, Plan};
use crate::usage::Usage;

/// The figures of a run and what the server took for it.
#[derive(Clone, Debug)]
pub struct Report {
    /// What the row is called in a table.
    pub name: String,
    /// What was acknowledged and how fast.
    pub outcome: Outcome,
    /// What the server took, when it was watched.
    pub usage: Option<Usage>,
    /// Letters found in the mailboxes afterwards, when they were counted.
    pub stored: Option<u64>,
    /// From the first connection until all acknowledged letters were in mailboxes.
    pub delivered_within: Option<Duration>,
}

impl Report {
    /// CPU milliseconds for one acknowledged letter.
    #[must_use]
    pub fn cpu_ms_per_letter(&self) -> Option<f64> {
        self.usage
            .map(|usage| usage.cpu_ms / self.outcome.acknowledged.max(1) as f64)
    }

    /// Letters that reached mailboxes in a second.
    #[must_use]
    pub fn delivered_per_second(&self) -> Option<f64> {
        let (stored, within) = (self.stored?, self.delivered_within?);
        Some(stored as f64 / within.as_secs_f64().max(1e-9))
    }

    /// Bytes written for one acknowledged letter.
    #[must_use]
    pub fn written_per_letter(&self) -> Option<f64> {
        self.usage
            .map(|usage| usage.written_bytes as f64 / self.outcome.acknowledged.max(1) as f64)
    }

    /// One line for people, with a second one where something failed.
    #[must_use]
    pub fn text(&self) -> String {
        let outcome = &self.outcome;
        let mut text = format!(
            "{:<22} {:>7} acknowledged {:>5} failed {:>8.1}/s   latency p50 {:>7.2} p99 {:>7.2} max {:>7.2} ms",
            self.name,
            outcome.acknowledged,
            outcome.failed,
            outcome.per_second(),
            ms(outcome.latency(0.5)),
            ms(outcome.latency(0.99)),
            ms(outcome.latency(1.0)),
        );
        if let (Some(usage), Some(cpu), Some(written)) = (
            self.usage,
            self.cpu_ms_per_letter(),
            self.written_per_letter(),
        ) {
            text += &format!(
                "   CPU {cpu:.3} ms/letter   PSS {:.1} -> {:.1} MB (RSS {:.1})   written {:.1} KB/letter",
                megabytes(usage.pss_bytes_start),
                megabytes(usage.pss_bytes_peak),
                megabytes(usage.rss_bytes_peak),
                written / 1024.0,
            );
        }
        if let Some(rate) = self.delivered_per_second() {
            text += &format!("   delivered {rate:.1}/s");
        }
        if let Some(stored) = self.stored {
            let word = if stored == outcome.acknowledged {
                "equal"
            } else {
                "NOT EQUAL"
            };
            text += &format!("   stored {stored} ({word})");
        }
        if let Some(failure) = &outcome.first_failure {
            text += &format!("\n  first failure: {failure}");
        }
        text
    }

    /// One JSON object on one line.
    #[must_use]
    pub fn json(&self, plan: &Plan) -> String {
        let outcome = &self.outcome;
        let mut object = serde_json::json!({
            "name": self.name,
            "sessions": plan.sessions,
            "letter_bytes": plan.letter_bytes,
            "recipients": plan.recipients,
            "seed": plan.seed,
            "acknowledged": outcome.acknowledged,
            "failed": outcome.failed,
            "first_failure": outcome.first_failure,
            "seconds": outcome.elapsed.as_secs_f64(),
            "letters_per_second": outcome.per_second(),
            "latency_ms": {
                "p50": ms(outcome.latency(0.5)),
                "p99": ms(outcome.latency(0.99)),
                "max": ms(outcome.latency(1.0)),
            },
            "stored": self.stored,
            "delivered_per_second": self.delivered_per_second(),
        });
        if let Some(usage) = self.usage {
            object["cpu_ms_per_letter"] = self.cpu_ms_per_letter().into();
            object["written_bytes_per_letter"] = self.written_per_letter().into();
            object["pss_bytes_start"] = usage.pss_bytes_start.into();
            object["pss_bytes_peak"] = usage.pss_bytes_peak.into();
            object["rss_bytes_peak"] = usage.rss_bytes_peak.into();
        }
        object.to_string()
    }
}

fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}
