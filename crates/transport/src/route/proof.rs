//! What a server must prove before a letter goes to it: DANE (RFC 7672) where DNSSEC vouches for its
//! names and TLSA records, MTA-STS (RFC 8461) where the domain has a policy.
//!
//! DANE goes first: no policy of MTA-STS makes up for a certificate that the DNS does not name
//! (RFC 8461 §2). What cannot be found out counts against the server, not for it: the letter waits.

use std::sync::Arc;

use base::ports::{DnsError, RecordType, Resolver, Shown};
use base::{Domain, Timestamp};
use mailauth::dane::{Mismatch, Usable};
use mailauth::sts::{Mode, Policy};

use super::{Host, Route};
use crate::queue::failure::{Failure, Status};
use crate::queue::settings::{Login, TlsPolicy};
use crate::smtp_out::Source;
use crate::tlsrpt::Fault;

/// What is known of a server before it is asked, and what it must prove.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Proof {
    /// Nobody vouches for its name, and it need prove nothing.
    #[default]
    Nothing,
    /// Its name is known for sure: by DNSSEC, or because the operator gives it.
    Named,
    /// RFC 7672 §2.2: it must show a certificate that its TLSA records name.
    Dane(Arc<Dane>),
    /// RFC 7672 §2.2: none of its TLSA records counts; TLS is a must all the same.
    DaneUnusable,
    /// RFC 8461 §4: the domain's policy names it, and its certificate must be valid.
    Sts,
    /// The domain's policy is only being tried out: what is wrong is counted, and not minded.
    StsTesting {
        /// Whether the policy names it.
        named: bool,
    },
    /// It is not used.
    Refused(Refusal),
}

/// The TLSA records of a server, and the names that go with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dane {
    /// The name at which the records are; the server is asked for it (RFC 7672 §8.1).
    pub base: Domain,
    /// The names by which a certificate of a trust anchor may know it (RFC 7672 §3.2.2).
    pub names: Vec<Domain>,
    /// The records that count.
    pub records: Usable,
}

/// Why a server is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// RFC 8461 §4.1: the domain's policy does not name it.
    NotInPolicy,
    /// RFC 7672 §2.1.2: nobody can say whether it has TLSA records.
    Unknown(String),
    /// RFC 8689 §4.2.1: the letter wants a server whose name somebody vouches for.
    Unnamed,
}

impl Refusal {
    /// As a failure for now.
    #[must_use]
    pub fn failure(&self) -> Failure {
        match self {
            Self::NotInPolicy => Failure::temporary(
                Status(4, 7, 5),
                "the domain's MTA-STS policy does not name this server",
            ),
            Self::Unknown(why) => Failure::temporary(
                Status(4, 7, 5),
                format!("whether it has TLSA records (DANE) cannot be found out: {why}"),
            ),
            Self::Unnamed => Failure::temporary(
                Status(4, 7, 5),
                "neither DNSSEC nor a policy of MTA-STS vouches for this server, and the letter \
                 may go to no other",
            ),
        }
    }
}

/// What a connection to one server must have, from its route and its proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Whether and how TLS is used.
    pub tls: TlsPolicy,
    /// What the server must prove.
    pub proof: Proof,
    /// With what one logs in: a connection of one login is none of another.
    pub login: Option<Arc<Login>>,
    /// From where it is made: a connection from one address is none from another.
    pub source: Option<Source>,
}

/// How a server proved itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proven {
    /// It did not.
    Not,
    /// A certificate authority vouches for its name.
    Valid,
    /// By its certificate and a policy of MTA-STS.
    Sts,
    /// By its TLSA records.
    Dane,
}

impl std::fmt::Display for Proven {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Not => "certificate not verified",
            Self::Valid => "certificate valid",
            Self::Sts => "certificate verified by MTA-STS",
            Self::Dane => "certificate verified by DANE",
        })
    }
}

/// Why a server's certificate does not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unproven {
    /// The TLSA records do not name it.
    Dane(Mismatch),
    /// It is not valid for the server's name.
    Invalid(base::ports::CertificateFault),
}

impl std::fmt::Display for Unproven {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dane(mismatch) => write!(f, "DANE: {mismatch}"),
            Self::Invalid(fault) => fault.fmt(f),
        }
    }
}

impl Route {
    /// What a connection to one of its servers must have.
    #[must_use]
    pub fn wanted(&self, host: &Domain) -> Wanted {
        let host = self.hosts.iter().find(|known| known.name == *host);
        let proof = host.map_or(Proof::Nothing, |host| host.proof.clone());
        let tls = match &proof {
            Proof::Dane(_) | Proof::DaneUnusable => self.tls.max(TlsPolicy::Required),
            Proof::Sts => TlsPolicy::Verified,
            Proof::Nothing | Proof::Named | Proof::StsTesting { .. } | Proof::Refused(_) => {
                self.tls
            }
        };
        Wanted {
            tls,
            proof,
            login: self.login.clone(),
            source: None,
        }
    }
}

impl Wanted {
    /// The name that is asked for in the handshake.
    #[must_use]
    pub fn server_name<'a>(&'a self, host: &'a Domain) -> &'a Domain {
        match &self.proof {
            Proof::Dane(dane) => &dane.base,
            _ => host,
        }
    }

    /// Judges what a server showed.
    ///
    /// # Errors
    /// [`Unproven`], and then nothing may be sent to it.
    pub fn judge(&self, shown: &Shown, now: Timestamp) -> Result<Proven, Unproven> {
        if let Proof::Dane(dane) = &self.proof {
            return dane
                .records
                .check(&shown.certificates, &dane.names, now)
                .map(|_| Proven::Dane)
                .map_err(Unproven::Dane);
        }
        match (&shown.fault, self.tls, &self.proof) {
            (None, _, Proof::Sts) => Ok(Proven::Sts),
            (None, ..) => Ok(Proven::Valid),
            (Some(fault), TlsPolicy::Verified, _) => Err(Unproven::Invalid(fault.clone())),
            (Some(_), TlsPolicy::Never | TlsPolicy::Opportunistic | TlsPolicy::Required, _) => {
                Ok(Proven::Not)
            }
        }
    }
}

impl Wanted {
    /// What is wrong with a certificate by the domain's policy, though the letter goes (a policy on
    /// trial, RFC 8461 §5).
    #[must_use]
    pub fn fault(&self, shown: &Shown) -> Option<Fault> {
        match &self.proof {
            Proof::StsTesting { .. } => shown.fault.as_ref().map(Fault::from),
            _ => None,
        }
    }
}

/// Shows what is asked of a host, after its name.
impl std::fmt::Display for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nothing | Self::Named => "",
            Self::Dane(_) => ", DANE",
            Self::DaneUnusable => ", DANE without a usable record",
            Self::Sts => ", MTA-STS",
            Self::StsTesting { named: true } => ", MTA-STS on trial",
            Self::StsTesting { named: false } => ", not in the MTA-STS policy, which is on trial",
            Self::Refused(Refusal::NotInPolicy) => ", not in the MTA-STS policy",
            Self::Refused(Refusal::Unknown(_)) => ", DANE unknown",
            Self::Refused(Refusal::Unnamed) => ", not vouched for",
        })
    }
}

/// Finds out by DNSSEC what each host of a domain must prove.
///
/// # Errors
/// When nobody can say whether DNSSEC vouches for the hosts.
pub(super) async fn by_dane(
    resolver: &dyn Resolver,
    domain: &Domain,
    hosts: &mut [Host],
    port: u16,
) -> Result<(), DnsError> {
    // RFC 7672 §2.2.1: names that anybody could have put there prove nothing.
    if !resolver
        .vouched(domain.as_str(), RecordType::Mx)
        .await?
        .secure
    {
        return Ok(());
    }
    for host in hosts {
        host.proof = of_host(resolver, domain, &host.name, port).await;
    }
    Ok(())
}

/// Says what each host must prove by the domain's policy of MTA-STS, where DANE asks for nothing.
pub(super) fn by_sts(policy: &Policy, hosts: &mut [Host]) {
    for host in hosts {
        if !matches!(host.proof, Proof::Nothing | Proof::Named) {
            continue;
        }
        let named = policy.names(&host.name);
        host.proof = match (policy.mode, named) {
            (Mode::Enforce, true) => Proof::Sts,
            (Mode::Enforce, false) => Proof::Refused(Refusal::NotInPolicy),
            (Mode::Testing, named) => Proof::StsTesting { named },
            (Mode::None, _) => continue,
        };
    }
}

/// What a server must prove that the operator names and wants to prove itself by DANE: one without
/// TLSA records is not used.
pub(super) async fn by_dane_alone(resolver: &dyn Resolver, name: &Domain, port: u16) -> Proof {
    match of_host(resolver, name, name, port).await {
        proof @ (Proof::Dane(_) | Proof::Refused(_)) => proof,
        Proof::Nothing
        | Proof::Named
        | Proof::DaneUnusable
        | Proof::Sts
        | Proof::StsTesting { .. } => Proof::Refused(Refusal::Unknown(
            "it has none that DNSSEC vouches for, and the settings ask for them".to_owned(),
        )),
    }
}

async fn of_host(resolver: &dyn Resolver, domain: &Domain, name: &Domain, port: u16) -> Proof {
    let unknown = |error: DnsError| Proof::Refused(Refusal::Unknown(error.to_string()));
    let address = match resolver.vouched(name.as_str(), RecordType::A).await {
        Ok(address) => address,
        Err(error) => return unknown(error),
    };
    // RFC 7672 §2.2.2: in a zone without DNSSEC there is no use in asking for TLSA records.
    if !address.secure {
        return Proof::Named;
    }
    // RFC 7672 §2.2.3: first at the name that an alias leads to, then at the alias.
    let end = Domain::parse(&address.name).ok().filter(|end| end != name);
    for base in end.iter().chain([name]) {
        match resolver.tlsa(&format!("_{port}._tcp.{base}")).await {
            Ok(records) => {
                let Some(records) = Usable::pick(&records) else {
                    return Proof::DaneUnusable;
                };
                let mut names = vec![base.clone(), name.clone(), domain.clone()];
                names.dedup();
                return Proof::Dane(Arc::new(Dane {
                    base: base.clone(),
                    names,
                    records,
                }));
            }
            Err(DnsError::NoRecords | DnsError::NoName) => {}
            Err(error @ DnsError::Temporary(_)) => return unknown(error),
        }
    }
    Proof::Named
}
