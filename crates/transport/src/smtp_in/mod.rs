//! Letters come in: the driver of [`proto::smtp::Server`] for other servers (port 25), for users
//! (ports 587 and 465) and for programs of the same house (LMTP, RFC 2033).
//!
//! One task per connection pumps bytes, asks the store about recipients and passwords, collects the
//! letter in the store's spool, and answers `250` only when the store has it on disk. Nobody can
//! relay who has not logged in. It judges no letter (that is the filter's) and sends nothing on
//! (that is the queue's). The replies to bad input are listed in `docs/limits.md`.
//!
//! RFC 5321 (SMTP), RFC 6409 (submission), RFC 8314 (implicit TLS).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base::limits::Limits;
use base::metrics::Metrics;
use base::ports::{BoxStream, Clock, Entropy, TlsAcceptor, TokenCheck};
use base::throttle::LoginThrottle;
use base::{Domain, Timestamp};
use proto::smtp::{Config, Offers, Role};
use store::Store;
use tokio_util::sync::CancellationToken;

use crate::auth::{AuthOptions, Network};
use crate::net::Gate;

mod asked;
mod author;
mod backup;
mod checks;
mod envelope;
mod header;
mod letter;
mod login;
mod metrics;
mod refusal;
mod reports;
mod session;
#[cfg(test)]
mod tests;

pub use backup::BackupMx;
use metrics::SmtpMetrics;

/// When a listener uses TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Security {
    /// Never.
    None,
    /// When the client asks for it with STARTTLS.
    StartTls,
    /// From the first byte (RFC 8314).
    Implicit,
}

/// What a connection came in by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listener {
    /// For servers or for users.
    pub role: Role,
    /// When TLS is used.
    pub security: Security,
}

/// What the sessions of a node share.
pub struct SmtpOptions {
    /// The name in the greeting and in Received fields.
    pub hostname: Domain,
    /// Where letters are kept.
    pub store: Store,
    /// The limits in force.
    pub limits: Arc<Limits>,
    /// The door, shared with other listeners.
    pub gate: Gate,
    /// Failed logins, counted over all listeners of the node.
    pub throttle: Arc<LoginThrottle>,
    /// TLS; without it neither STARTTLS nor implicit TLS is there.
    pub tls: Option<Arc<dyn TlsAcceptor>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness for nonces and ids.
    pub entropy: Arc<dyn Entropy>,
    /// Where the metrics go.
    pub metrics: Metrics,
    /// How long the queue tries to deliver a letter.
    pub queue_lifetime: Duration,
    /// Offer SCRAM-SHA-256.
    pub scram: bool,
    /// How letters from outside are checked.
    pub auth: Arc<AuthOptions>,
    /// Take passwords from programs of this machine without TLS.
    pub auth_without_tls_on_loopback: bool,
    /// Checks access tokens; without it neither OAUTHBEARER nor XOAUTH2 is there.
    pub tokens: Option<Arc<dyn TokenCheck>>,
    /// Networks of proxies that may tell by XCLIENT whose session they pass on.
    pub xclient_trusted: Vec<Network>,
    /// Domains of other servers whose mail we take and pass on.
    pub backup: Arc<BackupMx>,
}

impl SmtpOptions {
    fn trusts_proxy(&self, peer: SocketAddr) -> bool {
        let peer = peer.ip().to_canonical();
        self.xclient_trusted
            .iter()
            .any(|network| network.contains(peer))
    }
}

/// The options with what is counted over all sessions.
pub struct SmtpContext {
    options: SmtpOptions,
    metrics: SmtpMetrics,
    /// One for each listener and kind of peer, so that a session costs no allocation for it.
    configs: Configs,
}

struct Configs {
    relay: Arc<Config>,
    relay_without_tls: Arc<Config>,
    submission: Arc<Config>,
    submission_without_tls: Arc<Config>,
    submission_loopback: Arc<Config>,
    submission_loopback_without_tls: Arc<Config>,
    lmtp: Arc<Config>,
    lmtp_without_tls: Arc<Config>,
}

impl SmtpContext {
    /// The context of a node's sessions; registers its metrics, so there is one for each node.
    #[must_use]
    pub fn new(options: SmtpOptions) -> Self {
        let config = |role, starttls, auth_without_tls| {
            let limits = &options.limits;
            Arc::new(Config {
                hostname: options.hostname.clone(),
                role,
                starttls,
                auth_without_tls,
                scram: options.scram,
                letter_bytes_max: limits.letter_bytes_max,
                recipients_max: match role {
                    Role::Relay | Role::Lmtp => limits.recipients_per_transaction_max,
                    Role::Submission => limits.recipients_per_submission_max,
                },
                errors_max: limits.errors_per_session_max,
                letters_max: limits.letters_per_session_max,
                command_timeout: limits.command_timeout,
                data_timeout: limits.data_timeout,
                session_timeout: limits.session_timeout,
                offers: offers(role, options.tokens.is_some()),
            })
        };
        let loopback = options.auth_without_tls_on_loopback;
        Self {
            metrics: SmtpMetrics::new(&options.metrics),
            configs: Configs {
                relay: config(Role::Relay, true, false),
                relay_without_tls: config(Role::Relay, false, false),
                submission: config(Role::Submission, true, false),
                submission_without_tls: config(Role::Submission, false, false),
                submission_loopback: config(Role::Submission, true, loopback),
                submission_loopback_without_tls: config(Role::Submission, false, loopback),
                lmtp: config(Role::Lmtp, true, false),
                lmtp_without_tls: config(Role::Lmtp, false, false),
            },
            options,
        }
    }

    fn now(&self) -> Timestamp {
        self.options.clock.now()
    }

    fn config(&self, listener: Listener, peer: SocketAddr) -> Arc<Config> {
        let starttls = listener.security == Security::StartTls && self.options.tls.is_some();
        let loopback = peer.ip().to_canonical().is_loopback();
        let configs = &self.configs;
        Arc::clone(match (listener.role, starttls, loopback) {
            (Role::Relay, true, _) => &configs.relay,
            (Role::Relay, false, _) => &configs.relay_without_tls,
            (Role::Lmtp, true, _) => &configs.lmtp,
            (Role::Lmtp, false, _) => &configs.lmtp_without_tls,
            (Role::Submission, true, false) => &configs.submission,
            (Role::Submission, false, false) => &configs.submission_without_tls,
            (Role::Submission, true, true) => &configs.submission_loopback,
            (Role::Submission, false, true) => &configs.submission_loopback_without_tls,
        })
    }
}

/// RFC 4865 §4.1: a letter may be held for so long; as long as a bounded one is worth its storage.
const HELD_MAX: Duration = Duration::from_secs(90 * 86_400);

/// What is offered beyond the usual. Only users may have letters held or preferred; LMTP delivers at
/// once, so there is nothing to ask for.
fn offers(role: Role, tokens: bool) -> Offers {
    let submission = role == Role::Submission;
    Offers {
        require_tls: true,
        future_release: submission.then_some(HELD_MAX),
        deliver_by: role != Role::Lmtp,
        mt_priority: submission,
        tokens: submission && tokens,
    }
}

/// Serves one connection until it ends. The listener has set TCP_NODELAY; it spawns this and waits
/// for it when it stops.
///
/// When `stop` is cancelled, an idle session ends with 421, and one that is receiving a letter ends
/// after its reply. Dropping the future cuts the connection; what was not acknowledged is not kept.
pub async fn serve(
    context: &Arc<SmtpContext>,
    stream: BoxStream,
    peer: SocketAddr,
    listener: Listener,
    stop: CancellationToken,
) {
    session::run(context, stream, peer, listener, stop).await;
}
