//! Routing: from a recipient's domain to the servers that take its mail (RFC 5321 §5).
//!
//! MX by preference, A/AAAA when there is no MX, null MX (RFC 7505), address literals, a smarthost
//! instead of all that, and no loops to ourselves. It opens no connection, and it does not judge
//! the servers: what policies (MTA-STS, DANE) ask of them is said with each ([`Proof`]).

mod cache;
mod proof;
#[cfg(test)]
mod tests;
mod wish;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use base::Domain;
use base::ports::{Clock, DnsError, Entropy, Mx, Resolver};

use crate::queue::failure::{Failure, Peer, Status};
use crate::queue::settings::{FixedRoute, Login, Smarthost, TlsPolicy};
use crate::sts::Policies;
use crate::tlsrpt::Destination;
use cache::Cache;
pub use proof::{Dane, Proof, Proven, Refusal, Unproven, Wanted};
pub(crate) use wish::for_wish;

/// Most MX hosts that are looked at: the tenth server is never reached in one attempt.
pub const HOSTS_MAX: usize = 10;
/// Most addresses of one host.
pub const ADDRESSES_PER_HOST_MAX: usize = 8;

/// The servers for a domain, best first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The hosts by ascending preference; at least one.
    pub hosts: Vec<Host>,
    /// What a connection must have.
    pub tls: TlsPolicy,
    /// Whether it goes to a smarthost, and not to the domain's own servers.
    pub smarthost: bool,
    /// With what one logs in there.
    pub login: Option<Arc<Login>>,
    /// Whether LMTP is spoken (RFC 2033).
    pub lmtp: bool,
    /// Whose servers they are, when the DNS says so: what becomes of TLS there is counted.
    pub destination: Option<Arc<Destination>>,
}

/// One server of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its name, or an address literal.
    pub name: Domain,
    /// Its preference; lower is tried first.
    pub preference: u16,
    /// Where it listens, IPv6 and IPv4 by turns; at least one.
    pub addresses: Vec<SocketAddr>,
    /// What it must prove.
    pub proof: Proof,
}

/// Who we are, so that no letter is sent to ourselves.
#[derive(Clone, Debug)]
pub struct Own {
    /// Our host name.
    pub hostname: Domain,
    /// Where we listen for other servers' mail.
    pub listening: Vec<SocketAddr>,
}

/// Finds routes. Shared by all transfers.
pub struct Router {
    resolver: Arc<dyn Resolver>,
    clock: Arc<dyn Clock>,
    own: Own,
    port: u16,
    smarthost: Option<Smarthost>,
    fixed: Vec<FixedRoute>,
    by_sender: Vec<FixedRoute>,
    backup: Vec<Domain>,
    policies: Option<Arc<Policies>>,
    cache: Cache,
}

impl Route {
    /// The order in which the addresses are to be tried now: by preference, hosts of equal
    /// preference shuffled (RFC 5321 §5.1), the first address of every host of a preference before
    /// the second of any.
    #[must_use]
    pub fn attempts(&self, entropy: &dyn Entropy) -> Vec<Peer> {
        let mut attempts = Vec::new();
        for group in self
            .hosts
            .chunk_by(|one, two| one.preference == two.preference)
        {
            let mut group: Vec<&Host> = group.iter().collect();
            shuffle(&mut group, entropy);
            for turn in 0..ADDRESSES_PER_HOST_MAX {
                attempts.extend(group.iter().filter_map(|host| {
                    Some(Peer {
                        host: host.name.clone(),
                        address: *host.addresses.get(turn)?,
                    })
                }));
            }
        }
        attempts
    }
}

/// Names the hosts with their preferences, for the journey: `10 mx1.test, 20 mx2.test`.
impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.smarthost {
            f.write_str("smarthost ")?;
        }
        if self.lmtp {
            f.write_str("LMTP ")?;
        }
        for (index, host) in self.hosts.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let (name, preference, proof) = (&host.name, host.preference, &host.proof);
            write!(f, "{comma}{name} (preference {preference}{proof})")?;
        }
        Ok(())
    }
}

impl Own {
    /// Whether a connection to this address would reach ourselves. A listener on all addresses
    /// (`0.0.0.0`) is met on any loopback address.
    #[must_use]
    pub fn is_at(&self, address: SocketAddr) -> bool {
        self.listening.iter().any(|own| {
            own.port() == address.port()
                && (own.ip() == address.ip()
                    || (own.ip().is_unspecified() && address.ip().is_loopback())
                    || address.ip().is_unspecified())
        })
    }
}

impl Router {
    /// A router with an empty cache. `port` is where other servers listen.
    #[must_use]
    pub fn new(
        resolver: Arc<dyn Resolver>,
        clock: Arc<dyn Clock>,
        own: Own,
        port: u16,
        smarthost: Option<Smarthost>,
        fixed: Vec<FixedRoute>,
    ) -> Self {
        Self {
            resolver,
            clock,
            own,
            port,
            smarthost,
            fixed,
            by_sender: Vec::new(),
            backup: Vec::new(),
            policies: None,
            cache: Cache::default(),
        }
    }

    /// The same router, which minds the policies of MTA-STS that domains have.
    #[must_use]
    pub fn with_policies(mut self, policies: Option<Arc<Policies>>) -> Self {
        self.policies = policies;
        self
    }

    /// The same router, which takes the mail of these senders' domains to smarthosts of their own.
    #[must_use]
    pub fn with_sender_routes(mut self, routes: Vec<FixedRoute>) -> Self {
        self.by_sender = routes;
        self
    }

    /// The same router, which relays for these domains: their mail goes to their own servers and to no
    /// smarthost, which would send it back to us or refuse what strangers write.
    #[must_use]
    pub fn with_backup(mut self, domains: Vec<Domain>) -> Self {
        self.backup = domains;
        self
    }

    /// The route to a domain for a letter from this sender's domain.
    ///
    /// # Errors
    /// Those of [`Self::route`].
    pub async fn route_from(
        &self,
        sender: Option<&Domain>,
        domain: &Domain,
    ) -> Result<Arc<Route>, Failure> {
        match self.own_route(sender, domain) {
            Some(found) => {
                let mut route = self.find_fixed(found).await?;
                route.smarthost = true;
                Ok(Arc::new(route))
            }
            None => self.route(domain).await,
        }
    }

    /// Whether the letter goes to a smarthost of its sender's domain.
    #[must_use]
    pub fn has_own_route(&self, sender: Option<&Domain>, domain: &Domain) -> bool {
        self.own_route(sender, domain).is_some()
    }

    fn own_route(&self, sender: Option<&Domain>, domain: &Domain) -> Option<&FixedRoute> {
        let is_fixed = self.fixed.iter().any(|fixed| fixed.domain == *domain);
        if is_fixed || self.backup.contains(domain) {
            return None;
        }
        let own = |route: &&FixedRoute| sender == Some(&route.domain);
        self.by_sender.iter().find(own)
    }

    /// The route to a domain.
    ///
    /// # Errors
    /// A [`Failure`] that is permanent when the domain takes no mail (RFC 5321 §5.1, RFC 7505), and
    /// temporary when the DNS does not answer.
    pub async fn route(&self, domain: &Domain) -> Result<Arc<Route>, Failure> {
        let now = self.clock.now();
        // The operator's word about a domain goes before everything else.
        if let Some(fixed) = self.fixed.iter().find(|fixed| fixed.domain == *domain) {
            return self.find_fixed(fixed).await.map(Arc::new);
        }
        let is_backup = self.backup.contains(domain);
        let smarthost = self.smarthost.as_ref().filter(|_| !is_backup);
        let target = match smarthost {
            Some(smarthost) => &smarthost.host,
            None => domain,
        };
        if let Some(known) = self.cache.find(now, target) {
            return known;
        }
        let found = match smarthost {
            Some(smarthost) => self.find_smarthost(smarthost).await,
            None => self.find(domain).await,
        };
        let found = found.map(Arc::new);
        self.cache.keep(now, target, &found);
        found
    }

    async fn find_smarthost(&self, smarthost: &Smarthost) -> Result<Route, Failure> {
        let at = (&smarthost.host, smarthost.port);
        let host = self.named_host(at, smarthost.dane, "smarthost");
        Ok(Route {
            hosts: vec![host.await?],
            tls: smarthost.tls,
            smarthost: true,
            login: smarthost.login.clone(),
            lmtp: false,
            destination: None,
        })
    }

    /// Not cached: the settings name few domains, and the resolver has a cache of its own.
    async fn find_fixed(&self, fixed: &FixedRoute) -> Result<Route, Failure> {
        let host = self.named_host((&fixed.host, fixed.port), fixed.dane, "server");
        Ok(Route {
            hosts: vec![host.await?],
            tls: fixed.tls,
            smarthost: false,
            login: fixed.login.clone(),
            lmtp: fixed.lmtp,
            destination: None,
        })
    }

    /// A server that the settings name. A wrong name there is the operator's mistake, not the
    /// letter's: it stays in the queue.
    async fn named_host(
        &self,
        (name, port): (&Domain, u16),
        dane: bool,
        what: &str,
    ) -> Result<Host, Failure> {
        let ips = match name.literal() {
            Some(ip) => vec![ip],
            None => self.resolver.addresses(name).await.map_err(|error| {
                Failure::temporary(Status(4, 4, 3), format!("the {what} {name}: {error}"))
            })?,
        };
        let mut host = host(name, 0, &ips, port);
        host.proof = Proof::Named;
        if host.addresses.is_empty() || host.addresses.iter().any(|at| self.own.is_at(*at)) {
            return Err(Failure::temporary(
                Status(4, 4, 6),
                format!("the {what} {name} is this server itself"),
            ));
        }
        if dane {
            host.proof = proof::by_dane_alone(self.resolver.as_ref(), name, port).await;
        }
        Ok(host)
    }

    async fn find(&self, domain: &Domain) -> Result<Route, Failure> {
        // RFC 5321 §5.1 and §4.1.3: an address literal is the host itself.
        if let Some(ip) = domain.literal() {
            let mut host = host(domain, 0, &[ip], self.port);
            host.proof = Proof::Named;
            return self.without_ourselves(vec![host], domain);
        }
        match self.resolver.mx(domain).await {
            Ok(records) if records.iter().any(|mx| mx.exchange.is_some()) => {
                self.find_hosts(domain, records).await
            }
            // RFC 7505 §3: a single MX `.` says that the domain takes no mail.
            Ok(records) if !records.is_empty() => Err(takes_no_mail(domain)),
            // RFC 5321 §5.1: without MX records the domain itself is the host.
            Ok(_) | Err(DnsError::NoRecords) => self.find_domain_itself(domain).await,
            Err(DnsError::NoName) => Err(Failure::permanent(
                Status(5, 1, 2),
                format!("there is no domain {domain}"),
            )),
            Err(error @ DnsError::Temporary(_)) => Err(no_answer(domain, &error)),
        }
    }

    async fn find_domain_itself(&self, domain: &Domain) -> Result<Route, Failure> {
        match self.resolver.addresses(domain).await {
            Ok(ips) if !ips.is_empty() => {
                let hosts = vec![host(domain, 0, &ips, self.port)];
                let route = self.without_ourselves(hosts, domain)?;
                self.with_proofs(route, domain).await
            }
            Ok(_) | Err(DnsError::NoRecords | DnsError::NoName) => Err(Failure::permanent(
                Status(5, 1, 2),
                format!("the domain {domain} has neither a mail server nor an address"),
            )),
            Err(error @ DnsError::Temporary(_)) => Err(no_answer(domain, &error)),
        }
    }

    async fn find_hosts(&self, domain: &Domain, mut records: Vec<Mx>) -> Result<Route, Failure> {
        records.retain(|mx| mx.exchange.is_some());
        records.sort_by_key(|mx| mx.preference);
        // RFC 5321 §5.1: our own name and all that are no better are dropped.
        let named_us = records
            .iter()
            .find(|mx| mx.exchange.as_ref() == Some(&self.own.hostname))
            .map(|mx| mx.preference);
        if let Some(preference) = named_us {
            records.retain(|mx| mx.preference < preference);
            if records.is_empty() {
                return Err(loops_back(domain));
            }
        }
        records.truncate(HOSTS_MAX);
        let mut hosts = Vec::new();
        let mut silent = None;
        for (name, preference) in records
            .iter()
            .filter_map(|mx| Some((mx.exchange.as_ref()?, mx.preference)))
        {
            match self.resolver.addresses(name).await {
                Ok(ips) if !ips.is_empty() => hosts.push(host(name, preference, &ips, self.port)),
                Ok(_) | Err(DnsError::NoRecords | DnsError::NoName) => {}
                Err(error @ DnsError::Temporary(_)) => silent = Some(no_answer(name, &error)),
            }
        }
        if hosts.is_empty() {
            return Err(silent.unwrap_or_else(|| {
                Failure::permanent(
                    Status(5, 4, 4),
                    format!("none of the mail servers of {domain} has an address"),
                )
            }));
        }
        let route = self.without_ourselves(hosts, domain)?;
        self.with_proofs(route, domain).await
    }

    /// Says with each host what it must prove.
    async fn with_proofs(&self, mut route: Route, domain: &Domain) -> Result<Route, Failure> {
        let resolver = self.resolver.as_ref();
        let asked = proof::by_dane(resolver, domain, &mut route.hosts, self.port).await;
        asked.map_err(|error| no_answer(domain, &error))?;
        let sts = match &self.policies {
            Some(policies) => policies.of(domain).await,
            None => None,
        };
        if let Some(applied) = &sts {
            proof::by_sts(&applied.policy, &mut route.hosts);
        }
        route.destination = Some(Arc::new(Destination {
            domain: domain.clone(),
            sts,
        }));
        Ok(route)
    }

    /// RFC 5321 §5.1: drops the hosts from the first that is at one of our own addresses on.
    fn without_ourselves(&self, mut hosts: Vec<Host>, domain: &Domain) -> Result<Route, Failure> {
        let ourselves = hosts
            .iter()
            .find(|host| host.addresses.iter().any(|at| self.own.is_at(*at)))
            .map(|host| host.preference);
        if let Some(preference) = ourselves {
            hosts.retain(|host| host.preference < preference);
        }
        if hosts.is_empty() {
            return Err(loops_back(domain));
        }
        Ok(Route {
            hosts,
            tls: TlsPolicy::Opportunistic,
            smarthost: false,
            login: None,
            lmtp: false,
            destination: None,
        })
    }
}

/// A host with its addresses, IPv6 and IPv4 by turns, so that a family that leads nowhere costs one
/// attempt and not all.
fn host(name: &Domain, preference: u16, ips: &[IpAddr], port: u16) -> Host {
    let (six, four): (Vec<_>, Vec<_>) = ips.iter().partition(|ip| ip.is_ipv6());
    let turns = six.len().max(four.len());
    let addresses = (0..turns)
        .flat_map(|turn| [six.get(turn), four.get(turn)])
        .flatten()
        .map(|ip| SocketAddr::new(*ip, port))
        .take(ADDRESSES_PER_HOST_MAX)
        .collect();
    Host {
        name: name.clone(),
        preference,
        addresses,
        proof: Proof::Nothing,
    }
}

/// Fisher and Yates.
fn shuffle<T>(items: &mut [T], entropy: &dyn Entropy) {
    for last in (1..items.len()).rev() {
        let other = entropy.next_u64() % (last as u64 + 1);
        items.swap(last, usize::try_from(other).unwrap_or(0));
    }
}

/// RFC 7505 §4.2: 556 with 5.1.10.
fn takes_no_mail(domain: &Domain) -> Failure {
    Failure::permanent(
        Status(5, 1, 10),
        format!("the domain {domain} takes no mail (null MX)"),
    )
}

fn no_answer(name: &Domain, error: &DnsError) -> Failure {
    Failure::temporary(Status(4, 4, 3), format!("{name}: {error}"))
}

fn loops_back(domain: &Domain) -> Failure {
    Failure::permanent(
        Status(5, 4, 6),
        format!("mail for {domain} leads back to this server, which does not take it"),
    )
}
