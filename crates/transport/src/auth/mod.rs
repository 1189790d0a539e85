//! Whether letters are from whom they say: asks the DNS what the checks of [`mailauth`] need, with
//! one limit on time and questions for all checks of a letter.
//!
//! It judges nothing itself: [`mailauth::Report`] says what was found, [`crate::smtp_in`] what is
//! done.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base::Domain;
use base::ports::Resolver;
pub use mailauth::dmarc::Policy;

use crate::dmarc_reports::Ledger;

mod ask;
mod networks;
pub mod settings;

pub(crate) use ask::Lookups;
pub use networks::Network;

/// What is checked, and what follows from it.
#[derive(Clone)]
pub struct AuthOptions {
    /// Where questions go.
    pub resolver: Arc<dyn Resolver>,
    /// The most that is done with a letter because its author's domain wishes it.
    pub dmarc: Policy,
    /// How long the end of a letter may wait for the DNS.
    pub time_limit: Duration,
    /// Peers whose letters are not checked, and whose Authentication-Results are believed.
    pub trusted: Vec<Network>,
    /// Names besides the hostname that stand for us in Authentication-Results fields: those of our
    /// other nodes.
    pub names: Vec<String>,
    /// Forwarders whose ARC sets are believed.
    pub arc_sealers: Vec<Domain>,
    /// Where it is counted for reports to the authors' domains, if they get any.
    pub ledger: Option<Ledger>,
}

impl AuthOptions {
    /// Whether letters of this peer are checked.
    #[must_use]
    pub fn checks(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        !self.trusted.iter().any(|network| network.contains(peer))
    }
}
