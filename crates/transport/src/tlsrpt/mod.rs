//! Reports about TLS (RFC 8460): what became of it on connections to other servers is counted, and
//! told once a day to the domains that want to know.

pub mod report;
pub mod send;

use std::sync::Arc;

use base::ports::CertificateFault;
use base::{Domain, Timestamp};
use mailauth::dane::Mismatch;
use store::TlsOutcome;

use crate::counts::{Counts, Tallied};
use crate::queue::failure::Peer;
use crate::route::{Proof, Refusal, Unproven};
use crate::sts::Applied;

/// Most different outcomes between two writes; more are not counted.
const OUTCOMES_MAX: usize = 10_000;

/// Whose mail a route is for, as far as reports go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The domain.
    pub domain: Domain,
    /// Its policy of MTA-STS, if it has one.
    pub sts: Option<Arc<Applied>>,
}

/// What went wrong with a connection (RFC 8460 §4.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The server does not offer STARTTLS.
    StartTlsNotSupported,
    /// The certificate is for other names.
    HostMismatch,
    /// The certificate's time is over, or has not come.
    Expired,
    /// Nobody who is trusted vouches for the certificate.
    NotTrusted,
    /// Anything else in a handshake or a check.
    Validation,
    /// None of the TLSA records counts.
    TlsaInvalid,
    /// DNSSEC does not vouch for the records.
    DnssecInvalid,
}

impl Fault {
    /// The result type of RFC 8460 §4.3.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::StartTlsNotSupported => "starttls-not-supported",
            Self::HostMismatch => "certificate-host-mismatch",
            Self::Expired => "certificate-expired",
            Self::NotTrusted => "certificate-not-trusted",
            Self::Validation => "validation-failure",
            Self::TlsaInvalid => "tlsa-invalid",
            Self::DnssecInvalid => "dnssec-invalid",
        }
    }
}

impl From<&CertificateFault> for Fault {
    fn from(fault: &CertificateFault) -> Self {
        match fault {
            CertificateFault::Expired => Self::Expired,
            CertificateFault::OtherName => Self::HostMismatch,
            CertificateFault::Untrusted => Self::NotTrusted,
            CertificateFault::Other(_) => Self::Validation,
        }
    }
}

impl From<&Unproven> for Fault {
    fn from(unproven: &Unproven) -> Self {
        match unproven {
            Unproven::Invalid(fault) => fault.into(),
            Unproven::Dane(Mismatch::Expired) => Self::Expired,
            Unproven::Dane(Mismatch::OtherName) => Self::HostMismatch,
            Unproven::Dane(Mismatch::NoChain(_)) => Self::NotTrusted,
            Unproven::Dane(Mismatch::NoCertificate | Mismatch::NotNamed) => Self::Validation,
        }
    }
}

impl From<&Refusal> for Fault {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::NotInPolicy | Refusal::Unnamed => Self::Validation,
            Refusal::Unknown(_) => Self::DnssecInvalid,
        }
    }
}

/// Counts outcomes. Cheap to clone; all clones count together.
#[derive(Clone, Debug)]
pub struct Ledger(Counts<TlsOutcome>);

impl Default for Ledger {
    fn default() -> Self {
        Self(Counts::new(OUTCOMES_MAX))
    }
}

impl Ledger {
    /// Counts one connection; `None`: nothing went wrong.
    pub(crate) fn note(
        &self,
        now: Timestamp,
        destination: &Destination,
        (peer, proof): (&Peer, &Proof),
        fault: Option<Fault>,
    ) {
        let outcome = TlsOutcome {
            day: TlsOutcome::day_of(now),
            domain: destination.domain.clone(),
            policy: policy_text(destination, proof),
            result: fault.map_or("", Fault::word).to_owned(),
            host: fault.map_or(String::new(), |_| peer.host.to_string()),
            address: fault.map_or(String::new(), |_| peer.address.ip().to_string()),
            sessions: 0,
        };
        self.0.add(outcome, 1);
    }

    /// Takes what was counted.
    #[must_use]
    pub fn take(&self) -> Vec<TlsOutcome> {
        self.0.take_tallied()
    }

    /// Puts back what could not be written.
    pub fn give_back(&self, outcomes: Vec<TlsOutcome>) {
        self.0.give_back(outcomes);
    }
}

impl Tallied for TlsOutcome {
    fn tally(&mut self) -> &mut u64 {
        &mut self.sessions
    }
}

/// The policy that was applied: its type (RFC 8460 §4.4) in the first line, its lines after that.
fn policy_text(destination: &Destination, proof: &Proof) -> String {
    match (proof, &destination.sts) {
        (Proof::Dane(dane), _) => format!("tlsa\n{}", dane.records.lines().join("\n")),
        (Proof::DaneUnusable | Proof::Refused(Refusal::Unknown(_)), _) => "tlsa".to_owned(),
        (_, Some(applied)) => {
            let lines: Vec<&str> = applied.body.lines().map(str::trim_end).collect();
            format!("sts\n{}", lines.join("\n"))
        }
        (_, None) => "no-policy-found".to_owned(),
    }
}
