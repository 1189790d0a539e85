//! What is counted of sessions.

use base::metrics::{Counter, Family, Gauge, Labels, Metrics};
use proto::smtp::{Reply, Role};

pub(super) struct SmtpMetrics {
    pub(super) sessions: Gauge,
    connections: Family<Labels, Counter>,
    letters: Family<Labels, Counter>,
    pub(super) bytes: Counter,
    pub(super) failed_logins: Counter,
    refusals: Family<Labels, Counter>,
}

impl SmtpMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            sessions: metrics.gauge("smtp_sessions", "SMTP sessions open now"),
            connections: metrics.counters("smtp_connections", "SMTP connections by listener"),
            letters: metrics.counters("smtp_letters", "Letters acknowledged by listener"),
            bytes: metrics.counter("smtp_letter_bytes", "Bytes of letters acknowledged"),
            failed_logins: metrics.counter("smtp_failed_logins", "Failed logins at submission"),
            refusals: metrics.counters("smtp_refusals", "Refusing replies by code"),
        }
    }

    pub(super) fn connection(&self, role: Role) {
        self.connections.get_or_create(&label(role)).inc();
    }

    pub(super) fn letter(&self, role: Role, bytes: u64) {
        self.letters.get_or_create(&label(role)).inc();
        self.bytes.inc_by(bytes);
    }

    pub(super) fn refusal(&self, reply: &Reply) {
        // The codes are ours, so there are few.
        let code = match reply.enhanced {
            Some(enhanced) => format!("{} {enhanced}", reply.code),
            None => reply.code.to_string(),
        };
        self.refusals.get_or_create(&vec![("code", code)]).inc();
    }
}

fn label(role: Role) -> Labels {
    let name = match role {
        Role::Relay => "smtp",
        Role::Submission => "submission",
    };
    vec![("listener", name.to_owned())]
}
