//! The queue's work: letters that are due are claimed under a lease, stored here or handed over to
//! other servers, and settled with their outcomes, journey notes and reports in one commit each.
//!
//! - [`planner`] decides what is claimed and started, purely.
//! - [`class`] names the kinds of failures, [`plan`] how patient each of them wants one to be.
//! - `lookout` finds what is due, and `agenda` keeps it.
//! - [`worker`](run) claims, starts, renews and stops.
//! - `work` does one claim; `settle` ends it.
//!
//! It takes no letters in, and it keeps nothing of its own on disk: a crash loses only leases, and a
//! restarted node takes its own claims back at once.

mod agenda;
pub mod backoff;
pub mod class;
pub mod failure;
mod lookout;
mod metrics;
pub mod plan;
pub mod planner;
pub mod settings;
mod settle;
pub mod suppress;
#[cfg(test)]
mod tests;
mod work;
mod worker;

use std::sync::Arc;

use base::metrics::Metrics;
use base::ports::{Clock, Connector, Entropy, Resolver};
use store::Store;

pub use settings::{FixedRoute, Login, QueueSettings, SETTINGS, Smarthost, TlsPolicy};
pub use worker::run;

use crate::route::Own;
use crate::sts::Policies;
use crate::tlsrpt::Ledger;

/// What the queue's worker needs.
#[derive(Clone)]
pub struct QueueContext {
    /// The store.
    pub store: Store,
    /// DNS.
    pub resolver: Arc<dyn Resolver>,
    /// Opens connections.
    pub connector: Arc<dyn Connector>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness for shuffling, jitter, ids and nonces.
    pub entropy: Arc<dyn Entropy>,
    /// The settings in force.
    pub settings: QueueSettings,
    /// Our name and where we listen, so that nothing is sent to ourselves.
    pub own: Own,
    /// Where the figures go.
    pub metrics: Metrics,
    /// The policies of MTA-STS that other domains have; `None`: they are not minded.
    pub policies: Option<Arc<Policies>>,
    /// Counts what becomes of TLS.
    pub ledger: Ledger,
}
