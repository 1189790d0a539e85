//! What DNSSEC vouches for, in the words of a validating resolver that is trusted: its AD bit
//! (RFC 4035 §3.2.3, RFC 6840 §5.7 and §5.8).
//!
//! Nothing is validated here. The bit says something only when the way to the resolver is safe, so
//! by default one on this machine is believed and no other (`dns.trust_ad`). hickory asks without
//! the bit that makes a resolver show it, so these questions are asked here, one at a time.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base::ports::{DnsError, Tlsa, Vouched};
use hickory_resolver::proto::op::{Edns, Message, MessageType, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout};

use super::remembered::{Key, Remembered, bytes_of};

/// The longest answer over UDP that we ask for: fragments are lost or forged (DNS flag day 2020).
const UDP_BYTES_MAX: u16 = 1_232;
/// The longest time that an answer is remembered, and that of one that names none itself.
const KEPT_MAX: Duration = Duration::from_secs(3_600);
const NONE_KEPT: Duration = Duration::from_secs(60);
/// The longest chain of aliases that is followed in an answer.
const ALIASES_MAX: usize = 16;

/// When the AD bit of a resolver is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TrustAd {
    /// When all resolvers are on this machine.
    #[default]
    Loopback,
    /// Always: the operator vouches for the way to the resolvers.
    Always,
    /// Never: nothing is vouched for, and DANE is off.
    Never,
}

impl TrustAd {
    /// Reads a word of the setting `dns.trust_ad`.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "loopback" => Some(Self::Loopback),
            "always" => Some(Self::Always),
            "never" => Some(Self::Never),
            _ => None,
        }
    }

    fn covers(self, servers: &[SocketAddr]) -> bool {
        match self {
            Self::Loopback => servers.iter().all(|server| server.ip().is_loopback()),
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// Asks trusted resolvers for what they vouch for.
pub(super) struct Voucher {
    /// Those that are trusted; none: nothing is vouched for.
    servers: Vec<SocketAddr>,
    time_limit: Duration,
    attempts: usize,
    remembered: Remembered<Arc<Message>>,
}

impl Voucher {
    pub(super) fn new(
        trust: TrustAd,
        mut servers: Vec<SocketAddr>,
        time_limit: Duration,
        attempts: usize,
        places_max: u64,
    ) -> Self {
        if !trust.covers(&servers) {
            servers.clear();
        }
        Self {
            servers,
            time_limit,
            attempts,
            remembered: Remembered::new(places_max),
        }
    }

    /// Whether these records, or that there are none, are vouched for.
    pub(super) async fn vouched(&self, name: Name, kind: RecordType) -> Result<Vouched, DnsError> {
        if self.servers.is_empty() {
            return Ok(Vouched {
                secure: false,
                name: text_of(&name),
            });
        }
        let answer = self.ask(&name, kind).await?;
        Ok(Vouched {
            secure: answer.metadata.authentic_data,
            name: text_of(&end_of_aliases(&answer, name)),
        })
    }

    /// The TLSA records that are vouched for.
    pub(super) async fn tlsa(&self, name: Name) -> Result<Vec<Tlsa>, DnsError> {
        if self.servers.is_empty() {
            return Err(DnsError::NoRecords);
        }
        let answer = self.ask(&name, RecordType::TLSA).await?;
        if answer.metadata.response_code == ResponseCode::NXDomain {
            return Err(DnsError::NoName);
        }
        let records: Vec<Tlsa> = answer
            .answers
            .iter()
            .filter_map(|record| match &record.data {
                RData::TLSA(tlsa) => Some(Tlsa {
                    usage: tlsa.cert_usage.into(),
                    selector: tlsa.selector.into(),
                    matching: tlsa.matching.into(),
                    data: tlsa.cert_data.clone(),
                }),
                _ => None,
            })
            .collect();
        if records.is_empty() || !answer.metadata.authentic_data {
            return Err(DnsError::NoRecords);
        }
        Ok(records)
    }

    /// An answer that says something: NOERROR or NXDOMAIN.
    async fn ask(&self, name: &Name, kind: RecordType) -> Result<Arc<Message>, DnsError> {
        let key = (name.to_lowercase(), kind);
        if let Some(known) = self.remembered.find(&key, Instant::now()) {
            return Ok(known);
        }
        let mut why = "there is no resolver".to_owned();
        for turn in 0..self.attempts.max(1) {
            let server = self.servers[turn % self.servers.len()];
            match timeout(self.time_limit, exchange(server, name, kind)).await {
                Ok(Ok(answer)) => match answer.metadata.response_code {
                    ResponseCode::NoError | ResponseCode::NXDomain => {
                        return Ok(self.keep(key, answer));
                    }
                    // RFC 4035 §5.5: this is how a resolver says that an answer is bogus.
                    code => why = format!("the resolver {server} answered {code}"),
                },
                Ok(Err(error)) => why = format!("the resolver {server}: {error}"),
                Err(_) => why = format!("the resolver {server} does not answer in time"),
            }
        }
        Err(DnsError::Temporary(why))
    }

    fn keep(&self, key: Key, mut answer: Message) -> Arc<Message> {
        // Nothing else of it is used.
        answer.authorities.clear();
        answer.additionals.clear();
        let least = answer.answers.iter().map(|record| record.ttl).min();
        let span = least.map_or(NONE_KEPT, |seconds| Duration::from_secs(seconds.into()));
        let bytes = bytes_of(&answer.answers);
        let answer = Arc::new(answer);
        let until = Instant::now() + span.min(KEPT_MAX);
        self.remembered.keep(key, Arc::clone(&answer), bytes, until);
        answer
    }
}

/// One question over UDP, and over TCP when the answer is too long for that.
async fn exchange(server: SocketAddr, name: &Name, kind: RecordType) -> io::Result<Message> {
    let mut question = Message::query();
    question.metadata.recursion_desired = true;
    question.metadata.authentic_data = true;
    question.add_query(Query::query(name.clone(), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_BYTES_MAX);
    question.edns = Some(edns);
    let bytes = question.to_vec().map_err(io::Error::other)?;
    let answer = over_udp(server, &question, &bytes).await?;
    if answer.metadata.truncation {
        return over_tcp(server, &question, &bytes).await;
    }
    Ok(answer)
}

async fn over_udp(server: SocketAddr, question: &Message, bytes: &[u8]) -> io::Result<Message> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(bytes).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let count = socket.recv(&mut buffer).await?;
        // What is no answer to the question is somebody else's, or forged.
        if let Ok(answer) = Message::from_vec(&buffer[..count])
            && answers(&answer, question)
        {
            return Ok(answer);
        }
    }
}

/// RFC 1035 §4.2.2.
async fn over_tcp(server: SocketAddr, question: &Message, bytes: &[u8]) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(bytes).await?;
    let length = stream.read_u16().await?;
    let mut buffer = vec![0; usize::from(length)];
    stream.read_exact(&mut buffer).await?;
    let answer = Message::from_vec(&buffer).map_err(io::Error::other)?;
    if answers(&answer, question) {
        Ok(answer)
    } else {
        Err(io::Error::other("the answer is to another question"))
    }
}

fn answers(answer: &Message, question: &Message) -> bool {
    answer.metadata.message_type == MessageType::Response
        && answer.metadata.id == question.metadata.id
        && answer.queries == question.queries
}

/// The name that all aliases in an answer lead to.
fn end_of_aliases(answer: &Message, mut name: Name) -> Name {
    for _ in 0..ALIASES_MAX {
        let next = answer.answers.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == name => Some(target.0.clone()),
            _ => None,
        });
        match next {
            Some(next) => name = next,
            None => break,
        }
    }
    name
}

fn text_of(name: &Name) -> String {
    let text = name.to_lowercase().to_ascii();
    text.strip_suffix('.').unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn only_a_resolver_on_this_machine_is_believed_unasked() {
        let near = servers(&["127.0.0.53:53", "[::1]:53"]);
        let far = servers(&["127.0.0.1:53", "192.0.2.1:53"]);
        assert!(TrustAd::Loopback.covers(&near) && !TrustAd::Loopback.covers(&far));
        assert!(TrustAd::Always.covers(&far) && !TrustAd::Never.covers(&near));
    }

    #[tokio::test]
    async fn without_a_trusted_resolver_nothing_is_vouched_for() {
        let far = servers(&["192.0.2.1:53"]);
        let voucher = Voucher::new(TrustAd::Loopback, far, Duration::from_secs(1), 1, 10);
        let name = Name::from_ascii("Mx.Test.").unwrap();
        let vouched = voucher.vouched(name.clone(), RecordType::A).await.unwrap();
        assert!(!vouched.secure);
        assert_eq!(vouched.name, "mx.test");
        assert_eq!(voucher.tlsa(name).await, Err(DnsError::NoRecords));
    }
}
