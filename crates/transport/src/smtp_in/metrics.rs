//! What is counted of sessions.

use base::metrics::{Counter, Family, Gauge, Labels, Metrics};
use mailauth::results::AuthResults;
use proto::smtp::{Reply, Role};

pub(super) struct SmtpMetrics {
    pub(super) sessions: Gauge,
    /// Held by listener, so that counting a letter looks up nothing.
    relay: Listened,
    submission: Listened,
    lmtp: Listened,
    bytes: Counter,
    pub(super) failed_logins: Counter,
    /// Letters of accounts that are held.
    pub(super) held_letters: Counter,
    refusals: Family<Labels, Counter>,
    checks: Family<Labels, Counter>,
}

/// What is counted for a kind of listener.
struct Listened {
    connections: Counter,
    letters: Counter,
}

impl SmtpMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let connections = metrics.counters("smtp_connections", "SMTP connections by listener");
        let letters = metrics.counters("smtp_letters", "Letters acknowledged by listener");
        let listened = |name: &str| {
            let label = vec![("listener", name.to_owned())];
            Listened {
                connections: connections.get_or_create(&label).clone(),
                letters: letters.get_or_create(&label).clone(),
            }
        };
        Self {
            sessions: metrics.gauge("smtp_sessions", "SMTP sessions open now"),
            relay: listened("smtp"),
            submission: listened("submission"),
            lmtp: listened("lmtp"),
            bytes: metrics.counter("smtp_letter_bytes", "Bytes of letters acknowledged"),
            failed_logins: metrics.counter("smtp_failed_logins", "Failed logins at submission"),
            held_letters: metrics.counter(
                "smtp_held_letters",
                "Letters taken and held, of accounts that send too much",
            ),
            refusals: metrics.counters("smtp_refusals", "Refusing replies by code"),
            checks: metrics.counters("smtp_checks", "Checks of mail authentication by result"),
        }
    }

    pub(super) fn connection(&self, role: Role) {
        self.of(role).connections.inc();
    }

    pub(super) fn letter(&self, role: Role, bytes: u64) {
        self.of(role).letters.inc();
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

    pub(super) fn checks(&self, results: &AuthResults) {
        for result in &results.results {
            // The words are ours, so there are few.
            let labels = vec![
                ("method", result.method.clone()),
                ("result", result.result.clone()),
            ];
            self.checks.get_or_create(&labels).inc();
        }
    }

    fn of(&self, role: Role) -> &Listened {
        match role {
            Role::Relay => &self.relay,
            Role::Submission => &self.submission,
            Role::Lmtp => &self.lmtp,
        }
    }
}
