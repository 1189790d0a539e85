//! What all IMAP sessions of a node share.

use std::net::SocketAddr;
use std::sync::Arc;

use base::Domain;
use base::limits::Limits;
use base::metrics::{Counter, Family, Gauge, Labels, Metrics};
use base::ports::{Clock, Entropy, TlsAcceptor, TlsInfo};
use store::Store;

use base::throttle::LoginThrottle;

/// What the IMAP sessions of a node are made from.
pub struct ImapOptions {
    /// The name in the greeting.
    pub hostname: Domain,
    /// Where the mail is.
    pub store: Store,
    /// The limits in force.
    pub limits: Arc<Limits>,
    /// TLS for STARTTLS; without it STARTTLS is not offered.
    pub tls: Option<Arc<dyn TlsAcceptor>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness for nonces.
    pub entropy: Arc<dyn Entropy>,
    /// Where the metrics go.
    pub metrics: Metrics,
    /// Failed logins, counted over all listeners that have this table.
    pub throttle: Arc<LoginThrottle>,
    /// Offer SCRAM-SHA-256.
    pub scram: bool,
    /// Take passwords from programs of this machine without TLS.
    pub auth_without_tls_on_loopback: bool,
}

/// The options with what is counted over all sessions.
pub struct ImapContext {
    pub(super) options: ImapOptions,
    pub(super) metrics: ImapMetrics,
}

impl ImapContext {
    /// The context of a node's sessions; registers its metrics, so there is one for each node.
    #[must_use]
    pub fn new(options: ImapOptions) -> Self {
        Self {
            metrics: ImapMetrics::new(&options.metrics),
            options,
        }
    }
}

/// How a connection came in.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The client's address.
    pub peer: SocketAddr,
    /// What TLS agreed on, if the handshake came first (RFC 8314 §3.2).
    pub tls: Option<TlsInfo>,
    /// Whether this listener offers STARTTLS.
    pub offers_starttls: bool,
}

/// What a client hears that is not let in; a complete line. The reason is for people.
#[must_use]
pub fn refusal(reason: &str) -> String {
    let text: String = reason.chars().filter(|c| !c.is_control()).collect();
    // RFC 9051 §7.1.5: BYE as the greeting; RFC 5530: not for good.
    format!("* BYE [UNAVAILABLE] {text}\r\n")
}

/// The metrics of IMAP.
#[derive(Clone, Debug)]
pub(super) struct ImapMetrics {
    pub(super) sessions: Gauge,
    pub(super) connections: Counter,
    pub(super) commands: Family<Labels, Counter>,
    pub(super) logins: Family<Labels, Counter>,
    pub(super) sent_bytes: Counter,
}

impl ImapMetrics {
    fn new(metrics: &Metrics) -> Self {
        Self {
            sessions: metrics.gauge("imap_sessions", "IMAP sessions open now"),
            connections: metrics.counter("imap_connections", "IMAP connections taken"),
            commands: metrics.counters("imap_commands", "IMAP commands by name and outcome"),
            logins: metrics.counters("imap_logins", "IMAP logins by outcome"),
            sent_bytes: metrics.counter("imap_sent_bytes", "Bytes sent to IMAP clients"),
        }
    }
}
