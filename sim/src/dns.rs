//! The DNS of the world: a table of domains and hosts, and faults in it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::Domain;
use base::ports::{BoxFuture, DnsError, Mx, RecordType, Records, Resolver};

use crate::random::Random;

/// The table. Clones are the same.
#[derive(Clone, Debug)]
pub struct Zones {
    inner: Arc<Mutex<Inner>>,
    random: Random,
}

#[derive(Debug, Default)]
struct Inner {
    /// The mail hosts of a domain; none: the null MX.
    mx: BTreeMap<String, Vec<String>>,
    hosts: BTreeMap<String, IpAddr>,
    /// Domains about which nothing is answered.
    silent: BTreeMap<String, bool>,
    /// Domains that name other hosts for a while.
    moved: BTreeMap<String, Vec<String>>,
}

impl Zones {
    /// An empty table.
    #[must_use]
    pub fn new(random: Random) -> Self {
        Self {
            inner: Arc::default(),
            random,
        }
    }

    /// Adds a domain with its mail hosts.
    pub fn add_domain(&self, domain: &str, hosts: &[&str]) {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        self.lock().mx.insert(domain.to_owned(), hosts);
    }

    /// Adds a host.
    pub fn add_host(&self, host: &str, address: IpAddr) {
        self.lock().hosts.insert(host.to_owned(), address);
    }

    /// The domains, by name.
    #[must_use]
    pub fn domains(&self) -> Vec<String> {
        self.lock().mx.keys().cloned().collect()
    }

    /// Whether questions about a domain are answered with SERVFAIL from now on.
    pub fn set_silent(&self, domain: &str, silent: bool) {
        self.lock().silent.insert(domain.to_owned(), silent);
    }

    /// Lets a domain name another host, or its own ones again.
    pub fn set_moved(&self, domain: &str, host: Option<&str>) {
        let mut inner = self.lock();
        match host {
            Some(host) => inner.moved.insert(domain.to_owned(), vec![host.to_owned()]),
            None => inner.moved.remove(domain),
        };
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A look-up takes its time.
    async fn travel(&self) {
        tokio::time::sleep(self.random.span_ms(1, 40)).await;
    }
}

impl Inner {
    fn is_silent(&self, name: &str) -> bool {
        self.silent.get(name).copied().unwrap_or(false)
    }
}

impl Resolver for Zones {
    fn mx<'a>(&'a self, domain: &'a Domain) -> BoxFuture<'a, Result<Vec<Mx>, DnsError>> {
        Box::pin(async move {
            self.travel().await;
            let inner = self.lock();
            let name = domain.as_str();
            if inner.is_silent(name) {
                return Err(DnsError::Temporary("SERVFAIL".to_owned()));
            }
            let hosts = inner.moved.get(name).or_else(|| inner.mx.get(name));
            let hosts = hosts.ok_or(DnsError::NoName)?;
            if hosts.is_empty() {
                return Ok(vec![Mx {
                    preference: 0,
                    exchange: None,
                }]);
            }
            let exchange = |host: &String| Domain::parse(host).ok();
            Ok((1..)
                .zip(hosts)
                .map(|(number, host)| Mx {
                    preference: 10 * number,
                    exchange: exchange(host),
                })
                .collect())
        })
    }

    fn addresses<'a>(&'a self, host: &'a Domain) -> BoxFuture<'a, Result<Vec<IpAddr>, DnsError>> {
        Box::pin(async move {
            self.travel().await;
            let inner = self.lock();
            if inner.is_silent(host.as_str()) {
                return Err(DnsError::Temporary("SERVFAIL".to_owned()));
            }
            match inner.hosts.get(host.as_str()) {
                Some(address) => Ok(vec![*address]),
                None if inner.mx.contains_key(host.as_str()) => Err(DnsError::NoRecords),
                None => Err(DnsError::NoName),
            }
        })
    }

    fn txt<'a>(&'a self, _: &'a Domain) -> BoxFuture<'a, Result<Vec<String>, DnsError>> {
        Box::pin(async { Err(DnsError::NoRecords) })
    }

    fn records<'a>(
        &'a self,
        name: &'a str,
        kind: RecordType,
    ) -> BoxFuture<'a, Result<Records, DnsError>> {
        Box::pin(async move {
            self.travel().await;
            let inner = self.lock();
            if inner.is_silent(name) {
                return Err(DnsError::Temporary("SERVFAIL".to_owned()));
            }
            let host = inner.hosts.get(name);
            match (kind, host, inner.mx.get(name)) {
                (RecordType::A, Some(IpAddr::V4(address)), _) => Ok(Records::A(vec![*address])),
                (RecordType::Mx, _, Some(hosts)) => {
                    let numbered = (1..).zip(hosts.iter().cloned());
                    Ok(Records::Mx(
                        numbered.map(|(n, host)| (10 * n, host)).collect(),
                    ))
                }
                (_, None, None) => Err(DnsError::NoName),
                _ => Err(DnsError::NoRecords),
            }
        })
    }

    fn ptr(&self, _: IpAddr) -> BoxFuture<'_, Result<Vec<Domain>, DnsError>> {
        Box::pin(async { Err(DnsError::NoRecords) })
    }
}
