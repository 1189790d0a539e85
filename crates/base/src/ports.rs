//! The ports to the outside: DNS, connections, time, randomness. Declared here, implemented for
//! real in `pennyblack::outside` and simulated in tests. Nothing else opens a socket or asks the
//! time.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::{Domain, EmailAddress, Timestamp};

/// A boxed future, so that ports can be trait objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The time of day.
pub trait Clock: Send + Sync + 'static {
    /// Now, by the wall clock.
    fn now(&self) -> Timestamp;
}

/// A source of randomness good enough for keys.
pub trait Entropy: Send + Sync + 'static {
    /// Fills the buffer.
    fn fill(&self, buffer: &mut [u8]);

    /// A random number.
    fn next_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

/// Why DNS gave no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DnsError {
    /// The name exists, the record type does not.
    NoRecords,
    /// The name does not exist (NXDOMAIN).
    NoName,
    /// No answer, SERVFAIL, or an answer that cannot be trusted: try again later.
    Temporary(String),
}

impl fmt::Display for DnsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRecords => f.write_str("the name has no such record"),
            Self::NoName => f.write_str("the name does not exist"),
            Self::Temporary(why) => write!(f, "no answer from the DNS: {why}"),
        }
    }
}

impl std::error::Error for DnsError {}

/// One MX record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mx {
    /// Lower is tried first.
    pub preference: u16,
    /// The host; `None` is the null MX `.` (RFC 7505).
    pub exchange: Option<Domain>,
}

/// The types of records that [`Resolver::records`] gives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum RecordType {
    /// Texts.
    Txt,
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Mail exchangers.
    Mx,
    /// Names of an address; the question's name is in `in-addr.arpa` or `ip6.arpa`.
    Ptr,
}

/// The records of an answer, in the order of the DNS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Records {
    /// Each text, joined from its strings (RFC 7208 §3.3, RFC 6376 §3.6.2.2).
    Txt(Vec<Vec<u8>>),
    /// IPv4 addresses.
    A(Vec<Ipv4Addr>),
    /// IPv6 addresses.
    Aaaa(Vec<Ipv6Addr>),
    /// Preference and host; the host is empty for the null MX.
    Mx(Vec<(u16, String)>),
    /// Host names.
    Ptr(Vec<String>),
}

/// One TLSA record (RFC 6698 §2.1), its numbers as the DNS gave them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tlsa {
    /// The certificate usage (§2.1.1).
    pub usage: u8,
    /// The selector (§2.1.2).
    pub selector: u8,
    /// The matching type (§2.1.3).
    pub matching: u8,
    /// The certificate association data (§2.1.4).
    pub data: Vec<u8>,
}

/// How far an answer of the DNS can be trusted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vouched {
    /// Whether DNSSEC vouches for it (RFC 4033 §5): it is secure, and not only not bogus.
    pub secure: bool,
    /// The name at which the records stand, after all aliases, without a final dot.
    pub name: String,
}

/// DNS look-ups. CNAMEs are followed by the resolver, with its own loop limit.
pub trait Resolver: Send + Sync + 'static {
    /// The MX records of a domain, in any order.
    fn mx<'a>(&'a self, domain: &'a Domain) -> BoxFuture<'a, Result<Vec<Mx>, DnsError>>;
    /// The IPv4 and IPv6 addresses of a host, IPv6 first.
    fn addresses<'a>(&'a self, host: &'a Domain) -> BoxFuture<'a, Result<Vec<IpAddr>, DnsError>>;
    /// The texts of a domain, each joined from its strings.
    fn txt<'a>(&'a self, domain: &'a Domain) -> BoxFuture<'a, Result<Vec<String>, DnsError>>;
    /// The host name of an address; for the Received field only.
    fn ptr(&self, address: IpAddr) -> BoxFuture<'_, Result<Vec<Domain>, DnsError>>;
    /// The records of one type of a name, as they are: the name need not be that of a host, and
    /// neither need those in the answer. At least one record, of the type that is asked for.
    fn records<'a>(
        &'a self,
        name: &'a str,
        kind: RecordType,
    ) -> BoxFuture<'a, Result<Records, DnsError>>;

    /// Whether DNSSEC vouches for what the DNS says of these records of a name, also when it says
    /// that there are none. A resolver that does not validate vouches for nothing.
    fn vouched<'a>(
        &'a self,
        name: &'a str,
        _kind: RecordType,
    ) -> BoxFuture<'a, Result<Vouched, DnsError>> {
        Box::pin(async move {
            Ok(Vouched {
                secure: false,
                name: name.to_owned(),
            })
        })
    }

    /// The TLSA records of a name that DNSSEC vouches for (RFC 6698 §4.1). Others count as none;
    /// that nobody can say whether there are any is [`DnsError::Temporary`].
    fn tlsa<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, Result<Vec<Tlsa>, DnsError>> {
        Box::pin(async { Err(DnsError::NoRecords) })
    }
}

/// A connection to or from a peer, encrypted or not. `Sync`, so that a session that holds one may be
/// looked at across an await.
pub trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static> Stream for T {}

/// A connection of any kind.
pub type BoxStream = Box<dyn Stream>;

/// What TLS agreed on; shown in Received fields and in the journey.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsInfo {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// The cipher suite, by its IANA name.
    pub cipher: String,
    /// Whether the peer's certificate is valid for the name that was asked for.
    pub verified: bool,
    /// What binds a login to this connection; of servers only.
    pub binding: ChannelBinding,
    /// The mail addresses in the client's certificate, if a trusted authority has signed it and the
    /// client was asked for one ([`TlsAcceptor::accept_with_certificate`]); of servers only.
    pub client_addresses: Vec<EmailAddress>,
}

/// What binds a login to the TLS connection that it goes over (RFC 5056): who sits in between has
/// two connections, and so two of them.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ChannelBinding {
    /// `tls-exporter` (RFC 9266), of TLS 1.3.
    pub exporter: Option<[u8; 32]>,
    /// `tls-server-end-point` (RFC 5929 §4): the hash of the server's certificate.
    pub server_end_point: Option<Vec<u8>>,
}

impl ChannelBinding {
    /// The data of a binding by its registered name; `None` if it is not there.
    #[must_use]
    pub fn data(&self, name: &str) -> Option<&[u8]> {
        match name {
            "tls-exporter" => self.exporter.as_ref().map(<[u8; 32]>::as_slice),
            "tls-server-end-point" => self.server_end_point.as_deref(),
            _ => None,
        }
    }

    /// Whether nothing is there.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.exporter.is_none() && self.server_end_point.is_none()
    }
}

/// The values are secrets of the connection.
impl fmt::Debug for ChannelBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "none" } else { "some" })
    }
}

/// Checks access tokens (RFC 6750), whoever issues them.
pub trait TokenCheck: Send + Sync + 'static {
    /// The login that a token stands for, an address of an account; `None` if it is not valid now,
    /// or not for this service. An error is one of our side.
    fn check<'a>(
        &'a self,
        token: &'a crate::Secret,
    ) -> BoxFuture<'a, Result<Option<String>, String>>;
}

/// Why a certificate is not valid for the name that was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CertificateFault {
    /// Its time is over, or has not come.
    Expired,
    /// It is for other names.
    OtherName,
    /// No certificate authority that is trusted here vouches for it.
    Untrusted,
    /// Something else, in words.
    Other(String),
}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired => f.write_str("the certificate is not valid at this time"),
            Self::OtherName => f.write_str("the certificate is for other names"),
            Self::Untrusted => {
                f.write_str("no certificate authority that is trusted here vouches for it")
            }
            Self::Other(why) => f.write_str(why),
        }
    }
}

/// What a server showed of itself in a handshake.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Shown {
    /// Its certificates as DER, its own first.
    pub certificates: Vec<Vec<u8>>,
    /// Why its certificate is not valid for the name, if it is not.
    pub fault: Option<CertificateFault>,
}

/// Opens connections to other servers.
pub trait Connector: Send + Sync + 'static {
    /// Connects by TCP, from `source` if it is given. The caller sets the time limit.
    fn connect(
        &self,
        address: SocketAddr,
        source: Option<IpAddr>,
    ) -> BoxFuture<'_, io::Result<BoxStream>>;

    /// Starts TLS as a client. With `require_valid`, a certificate that is not valid for `name` is
    /// an error; otherwise it is only told in [`TlsInfo::verified`] (opportunistic TLS, RFC 7435).
    fn start_tls<'a>(
        &'a self,
        stream: BoxStream,
        name: &'a Domain,
        require_valid: bool,
    ) -> BoxFuture<'a, io::Result<(BoxStream, TlsInfo)>>;

    /// Starts TLS as a client with whatever certificate, for who judges it himself by what is shown
    /// (DANE, MTA-STS). Nothing may be sent before that.
    fn show_tls<'a>(
        &'a self,
        stream: BoxStream,
        name: &'a Domain,
    ) -> BoxFuture<'a, io::Result<(BoxStream, TlsInfo, Shown)>> {
        Box::pin(async move {
            let (stream, info) = self.start_tls(stream, name, false).await?;
            let shown = Shown {
                certificates: Vec::new(),
                fault: (!info.verified).then_some(CertificateFault::Untrusted),
            };
            Ok((stream, info, shown))
        })
    }
}

/// A request to a web server, always over HTTPS with a certificate that is valid for the host.
#[derive(Clone, Debug)]
pub struct HttpRequest<'a> {
    /// The host.
    pub host: &'a Domain,
    /// Its port; 443 is usual.
    pub port: u16,
    /// Path and query.
    pub path: &'a str,
    /// Media type and content of what is posted; without it the path is fetched.
    pub post: Option<(&'a str, &'a [u8])>,
    /// The longest body of an answer that is read.
    pub body_bytes_max: usize,
}

/// The answer of a web server. Redirections are answers like others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpReply {
    /// The status.
    pub status: u16,
    /// The value of its Content-Type field.
    pub content_type: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

/// Why a web server gave no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HttpError {
    /// The host has no address, or nobody can say.
    Dns(DnsError),
    /// Its certificate is not valid for it.
    Certificate(CertificateFault),
    /// The body is longer than wanted.
    TooLong,
    /// It cannot be reached, does not answer in time, or speaks another language.
    Failed(String),
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(error) => error.fmt(f),
            Self::Certificate(fault) => fault.fmt(f),
            Self::TooLong => f.write_str("the answer is too long"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for HttpError {}

/// Talks to web servers.
pub trait HttpFetch: Send + Sync + 'static {
    /// Sends one request and reads the answer, within a time limit of its own.
    fn fetch<'a>(&'a self, request: HttpRequest<'a>)
    -> BoxFuture<'a, Result<HttpReply, HttpError>>;
}

/// Starts TLS as a server on an accepted connection.
pub trait TlsAcceptor: Send + Sync + 'static {
    /// Does the handshake. The caller sets the time limit.
    fn accept(&self, stream: BoxStream) -> BoxFuture<'_, io::Result<(BoxStream, TlsInfo)>>;

    /// The same where users log in: the client may show a certificate, and need not. One that is
    /// not trusted counts as none. Without trusted authorities nothing is asked for.
    fn accept_with_certificate(
        &self,
        stream: BoxStream,
    ) -> BoxFuture<'_, io::Result<(BoxStream, TlsInfo)>> {
        self.accept(stream)
    }
}
