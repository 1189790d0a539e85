//! DNS by hickory-resolver: CNAMEs are followed there, with its own loop limit. Answers are remembered
//! here as long as they say, in bounded memory; hickory would count them and not their bytes.
//!
//! The difference between "there is none" and "no answer" decides between a bounce and another
//! try, so only an answer that says so itself (RFC 2308 §2: NXDOMAIN, or NOERROR without records)
//! counts as the first; everything else is temporary.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base::Domain;
use base::ports::{
    BoxFuture, DnsError, Mx, RecordType as Wanted, Records, Resolver, Tlsa, Vouched,
};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError as HickoryDnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::rdata::TXT;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::system_conf;
use tokio::time::Instant;

use super::dnssec::Voucher;
use super::remembered::{Remembered, bytes_of};
use crate::settings::DnsSettings;

/// Most records of one answer that are used: a domain with more MX records or addresses than this
/// is either broken or an attack.
const RECORDS_MAX: usize = 64;
/// Most TXT records of one answer: what a message of 65,535 octets can hold with 13 for each, so that
/// nobody's policy is lost among the notes of others who proved that the domain is theirs.
const TXT_RECORDS_MAX: usize = 5_041;
/// Bytes of one TXT record that are used; the largest keys and policies have a tenth of it.
const TXT_BYTES_MAX: usize = 16 * 1024;

/// The most time that a negative answer is remembered (RFC 2308 §5: at most hours).
const NEGATIVE_TTL_MAX: Duration = Duration::from_secs(3_600);
/// And that any answer is.
const TTL_MAX: Duration = Duration::from_secs(86_400);

/// The records of the kind that was asked for, or why there are none.
type Found = Result<Arc<[Record]>, DnsError>;

/// Asks the resolvers of the settings, or those of the system.
pub struct HickoryResolver {
    resolver: TokioResolver,
    time_limit: Duration,
    voucher: Voucher,
    remembered: Remembered<Found>,
}

impl HickoryResolver {
    /// Makes a resolver; nothing is asked yet.
    ///
    /// # Errors
    /// When the system's configuration cannot be read, in words.
    pub fn new(settings: &DnsSettings) -> Result<Self, String> {
        let config = if settings.servers.is_empty() {
            let (config, _) = system_conf::read_system_conf()
                .map_err(|error| format!("the system's DNS configuration: {error}"))?;
            config
        } else {
            configured(settings)
        };
        let voucher = Voucher::new(
            settings.trust_ad,
            addresses_of(&config),
            settings.timeout,
            settings.attempts,
            settings.cache_answers,
        );
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        tune(builder.options_mut(), settings);
        let resolver = builder.build().map_err(|error| error.to_string())?;
        let attempts = u32::try_from(settings.attempts).unwrap_or(u32::MAX);
        // Each attempt may go over UDP and then TCP, and a CNAME chain asks more than once.
        let time_limit = settings.timeout.saturating_mul(attempts).saturating_mul(3);
        Ok(Self {
            resolver,
            time_limit,
            voucher,
            remembered: Remembered::new(settings.cache_answers),
        })
    }

    async fn ask(&self, name: Name, kind: RecordType) -> Found {
        let key = (name.to_lowercase(), kind);
        if let Some(known) = self.remembered.find(&key, Instant::now()) {
            return known;
        }
        let question = self.resolver.lookup(name, kind);
        let Ok(answer) = tokio::time::timeout(self.time_limit, question).await else {
            return Err(DnsError::Temporary("no answer in time".to_owned()));
        };
        let (found, span) = match answer {
            Ok(answer) => {
                // The aliases on the way hold as long as they say, too.
                let seconds = answer.answers().iter().map(|record| record.ttl).min();
                let of_kind = answer.answers().iter();
                let of_kind = of_kind.filter(|record| record.record_type() == kind);
                let span = Duration::from_secs(seconds.unwrap_or(0).into()).min(TTL_MAX);
                (Ok(of_kind.cloned().collect()), span)
            }
            Err(error) => (Err(meaning(&error)), none_holds(&error)),
        };
        if !span.is_zero() {
            let bytes = found
                .as_ref()
                .map_or(0, |records: &Arc<[Record]>| bytes_of(records));
            let until = Instant::now() + span;
            self.remembered.keep(key, found.clone(), bytes, until);
        }
        found
    }

    /// One kind of data of a name.
    async fn records<T>(
        &self,
        name: Name,
        kind: RecordType,
        pick: impl Fn(&RData) -> Option<T>,
    ) -> Result<Vec<T>, DnsError> {
        let records_max = match kind {
            RecordType::TXT => TXT_RECORDS_MAX,
            _ => RECORDS_MAX,
        };
        let answer = self.ask(name, kind).await?;
        let found: Vec<T> = answer
            .iter()
            .filter_map(|record| pick(&record.data))
            .take(records_max)
            .collect();
        if found.is_empty() {
            Err(DnsError::NoRecords)
        } else {
            Ok(found)
        }
    }

    /// The records of a name that need not be a host's.
    async fn any_records(&self, name: &str, kind: Wanted) -> Result<Records, DnsError> {
        let name = any_name(name)?;
        Ok(match kind {
            Wanted::Txt => Records::Txt(
                self.records(name, RecordType::TXT, |data| match data {
                    RData::TXT(txt) => Some(joined(txt)),
                    _ => None,
                })
                .await?,
            ),
            Wanted::A => Records::A(
                self.records(name, RecordType::A, |data| match data {
                    RData::A(address) => Some(address.0),
                    _ => None,
                })
                .await?,
            ),
            Wanted::Aaaa => Records::Aaaa(
                self.records(name, RecordType::AAAA, |data| match data {
                    RData::AAAA(address) => Some(address.0),
                    _ => None,
                })
                .await?,
            ),
            Wanted::Mx => Records::Mx(
                self.records(name, RecordType::MX, |data| match data {
                    RData::MX(mx) => Some((mx.preference, text_of(&mx.exchange))),
                    _ => None,
                })
                .await?,
            ),
            Wanted::Ptr => Records::Ptr(
                self.records(name, RecordType::PTR, |data| match data {
                    RData::PTR(name) => Some(text_of(&name.0)),
                    _ => None,
                })
                .await?,
            ),
        })
    }

    async fn all_addresses(&self, host: &Domain) -> Result<Vec<IpAddr>, DnsError> {
        if let Some(address) = host.literal() {
            return Ok(vec![address]);
        }
        let name = absolute(host)?;
        let (v6, v4) = tokio::join!(
            self.records(name.clone(), RecordType::AAAA, |data| match data {
                RData::AAAA(address) => Some(IpAddr::V6(address.0)),
                _ => None,
            }),
            self.records(name, RecordType::A, |data| match data {
                RData::A(address) => Some(IpAddr::V4(address.0)),
                _ => None,
            }),
        );
        both(v6, v4)
    }
}

/// The strings of a TXT record as one (RFC 7208 §3.3), up to [`TXT_BYTES_MAX`].
fn joined(txt: &TXT) -> Vec<u8> {
    let mut bytes = txt.txt_data.concat();
    bytes.truncate(TXT_BYTES_MAX);
    bytes
}

/// Joins the two halves of a look-up. One half that failed for now does not hide the other's
/// addresses, but it does hide the other's "none".
fn both(
    v6: Result<Vec<IpAddr>, DnsError>,
    v4: Result<Vec<IpAddr>, DnsError>,
) -> Result<Vec<IpAddr>, DnsError> {
    match (v6, v4) {
        (Ok(mut v6), Ok(v4)) => {
            v6.extend(v4);
            Ok(v6)
        }
        (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found),
        (Err(DnsError::Temporary(why)), Err(_)) | (Err(_), Err(DnsError::Temporary(why))) => {
            Err(DnsError::Temporary(why))
        }
        (Err(DnsError::NoName), Err(DnsError::NoName)) => Err(DnsError::NoName),
        (Err(_), Err(_)) => Err(DnsError::NoRecords),
    }
}

impl Resolver for HickoryResolver {
    fn mx<'a>(&'a self, domain: &'a Domain) -> BoxFuture<'a, Result<Vec<Mx>, DnsError>> {
        Box::pin(async move {
            let found = self
                .records(absolute(domain)?, RecordType::MX, |data| match data {
                    RData::MX(mx) => Some((mx.preference, exchange(&mx.exchange))),
                    _ => None,
                })
                .await?;
            let usable: Vec<Mx> = found
                .into_iter()
                .filter_map(|(preference, exchange)| {
                    Some(Mx {
                        preference,
                        exchange: exchange?,
                    })
                })
                .collect();
            if usable.is_empty() {
                let why = format!("no MX record of {domain} names a host");
                return Err(DnsError::Temporary(why));
            }
            Ok(usable)
        })
    }

    fn addresses<'a>(&'a self, host: &'a Domain) -> BoxFuture<'a, Result<Vec<IpAddr>, DnsError>> {
        Box::pin(self.all_addresses(host))
    }

    fn txt<'a>(&'a self, domain: &'a Domain) -> BoxFuture<'a, Result<Vec<String>, DnsError>> {
        Box::pin(async move {
            self.records(absolute(domain)?, RecordType::TXT, |data| match data {
                RData::TXT(txt) => Some(String::from_utf8_lossy(&joined(txt)).into_owned()),
                _ => None,
            })
            .await
        })
    }

    fn ptr(&self, address: IpAddr) -> BoxFuture<'_, Result<Vec<Domain>, DnsError>> {
        Box::pin(async move {
            self.records(Name::from(address), RecordType::PTR, |data| match data {
                RData::PTR(name) => domain(&name.0),
                _ => None,
            })
            .await
        })
    }

    fn records<'a>(
        &'a self,
        name: &'a str,
        kind: Wanted,
    ) -> BoxFuture<'a, Result<Records, DnsError>> {
        Box::pin(self.any_records(name, kind))
    }

    fn vouched<'a>(
        &'a self,
        name: &'a str,
        kind: Wanted,
    ) -> BoxFuture<'a, Result<Vouched, DnsError>> {
        let kind = match kind {
            Wanted::Txt => RecordType::TXT,
            Wanted::A => RecordType::A,
            Wanted::Aaaa => RecordType::AAAA,
            Wanted::Mx => RecordType::MX,
            Wanted::Ptr => RecordType::PTR,
        };
        Box::pin(async move { self.voucher.vouched(any_name(name)?, kind).await })
    }

    fn tlsa<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<Tlsa>, DnsError>> {
        Box::pin(async move { self.voucher.tlsa(any_name(name)?).await })
    }
}

/// Where the resolvers of a configuration are asked.
fn addresses_of(config: &ResolverConfig) -> Vec<SocketAddr> {
    let servers = config.name_servers().iter();
    servers
        .filter_map(|server| {
            let port = server.connections.first()?.port;
            Some(SocketAddr::new(server.ip, port))
        })
        .collect()
}

fn configured(settings: &DnsSettings) -> ResolverConfig {
    let servers = settings.servers.iter().map(|server| {
        let with_port = |mut connection: ConnectionConfig| {
            connection.port = server.port();
            connection
        };
        let mut config = NameServerConfig::udp_and_tcp(server.ip());
        config.connections = vec![
            with_port(ConnectionConfig::udp()),
            with_port(ConnectionConfig::tcp()),
        ];
        // What a resolver of the operator's own choice says is trusted, also a NXDOMAIN.
        config.trust_negative_responses = true;
        config
    });
    ResolverConfig::from_name_servers(servers.collect())
}

fn tune(options: &mut ResolverOpts, settings: &DnsSettings) {
    options.timeout = settings.timeout;
    // Counted by hickory as repetitions after the first question.
    options.attempts = settings.attempts.saturating_sub(1);
    options.cache_size = 0;
    // RFC 5321 §5.1: the DNS decides, not a file of this machine.
    options.use_hosts_file = ResolveHosts::Never;
    options.try_tcp_on_error = true;
}

/// The absolute name, so that no search list is tried.
fn absolute(domain: &Domain) -> Result<Name, DnsError> {
    Name::from_ascii(format!("{domain}."))
        .map_err(|_| DnsError::Temporary(format!("{domain} is not a name that DNS can hold")))
}

/// The absolute name of any labels; a name that cannot be one has no records.
fn any_name(name: &str) -> Result<Name, DnsError> {
    let labels = name.split('.').map(str::as_bytes);
    let mut name = Name::from_labels(labels).map_err(|_| DnsError::NoName)?;
    name.set_fqdn(true);
    Ok(name)
}

/// A name as text, without the final dot; empty for the root.
fn text_of(name: &Name) -> String {
    let text = name.to_ascii();
    text.strip_suffix('.').unwrap_or(&text).to_owned()
}

/// `Some(None)` for the null MX `.` (RFC 7505 §3), `None` for a name that is no host.
#[expect(
    clippy::option_option,
    reason = "three cases, told apart where the record is picked"
)]
fn exchange(name: &Name) -> Option<Option<Domain>> {
    if name.is_root() {
        Some(None)
    } else {
        domain(name).map(Some)
    }
}

fn domain(name: &Name) -> Option<Domain> {
    let text = name.to_ascii();
    Domain::parse(text.strip_suffix('.').unwrap_or(&text)).ok()
}

/// How long it holds that there is none (RFC 2308 §5); what is no answer holds not at all.
fn none_holds(error: &NetError) -> Duration {
    match error {
        NetError::Dns(HickoryDnsError::NoRecordsFound(none))
            if matches!(
                none.response_code,
                ResponseCode::NXDomain | ResponseCode::NoError
            ) =>
        {
            Duration::from_secs(none.negative_ttl.unwrap_or(0).into()).min(NEGATIVE_TTL_MAX)
        }
        _ => Duration::ZERO,
    }
}

fn meaning(error: &NetError) -> DnsError {
    match error {
        NetError::Dns(HickoryDnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => DnsError::NoName,
            ResponseCode::NoError => DnsError::NoRecords,
            code => DnsError::Temporary(format!("the server answered {code}")),
        },
        other => DnsError::Temporary(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_characters_can_be_asked_for() {
        let name = any_name("macro%percent  space._dmarc.test").unwrap();
        assert!(name.is_fqdn());
        assert_eq!(name.iter().next(), Some(b"macro%percent  space".as_slice()));
        assert_eq!(any_name(&"a".repeat(64)), Err(DnsError::NoName));
        assert_eq!(text_of(&Name::root()), "");
        assert_eq!(text_of(&Name::from_ascii("mx.test.").unwrap()), "mx.test");
    }

    #[test]
    fn one_half_that_failed_does_not_become_a_bounce() {
        let temporary = || Err(DnsError::Temporary("x".to_owned()));
        let v4 = || Ok(vec!["127.0.0.1".parse().unwrap()]);
        assert_eq!(both(temporary(), v4()), v4());
        assert_eq!(both(temporary(), Err(DnsError::NoRecords)), temporary());
        assert_eq!(both(Err(DnsError::NoRecords), temporary()), temporary());
        assert_eq!(
            both(Err(DnsError::NoName), Err(DnsError::NoName)),
            Err(DnsError::NoName)
        );
        assert_eq!(
            both(Err(DnsError::NoRecords), Err(DnsError::NoName)),
            Err(DnsError::NoRecords)
        );
    }
}
