//! A small DNS authority on loopback, so that the demo (and tests) find mail servers by real
//! questions and answers, offline and without root.
//!
//! It answers over UDP and TCP on one port from zones held in memory: the records asked for, a
//! CNAME where there is one, otherwise NOERROR or NXDOMAIN with the zone's SOA (RFC 2308 §2), and
//! REFUSED for names of no zone of its own. It does not recurse, transfer zones or sign.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, MX, SOA, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// How long answers may be remembered: short, since the demo may move to other addresses.
const TTL_S: u32 = 5;

/// The largest answer over UDP (RFC 6891 §6.2.5 advises less than the usual path takes).
const UDP_BYTES_MAX: u16 = 1_232;

/// TCP connections at once, and how long each may stay.
const TCP_MAX: usize = 64;
const TCP_TIME: Duration = Duration::from_secs(10);

/// The most CNAMEs followed inside a zone.
const CNAMES_MAX: usize = 8;

/// The zones of an authority.
#[derive(Clone, Debug, Default)]
pub struct Zones {
    apexes: Vec<Name>,
    records: BTreeMap<Name, Vec<RData>>,
}

impl Zones {
    /// Adds a zone; its names are added after it.
    ///
    /// # Errors
    /// When the name is not one.
    pub fn zone(mut self, apex: &str) -> Result<Self, String> {
        self.apexes.push(name(apex)?);
        Ok(self)
    }

    /// Adds an MX record; the host `.` is the null MX.
    ///
    /// # Errors
    /// When a name is not one.
    pub fn mx(self, owner: &str, preference: u16, host: &str) -> Result<Self, String> {
        let host = name(host)?;
        self.record(owner, RData::MX(MX::new(preference, host)))
    }

    /// Adds an address record.
    ///
    /// # Errors
    /// When a name is not one.
    pub fn address(self, owner: &str, address: IpAddr) -> Result<Self, String> {
        let data = match address {
            IpAddr::V4(v4) => RData::A(A(v4)),
            IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
        };
        self.record(owner, data)
    }

    /// Adds an alias.
    ///
    /// # Errors
    /// When a name is not one.
    pub fn cname(self, owner: &str, target: &str) -> Result<Self, String> {
        let target = name(target)?;
        self.record(owner, RData::CNAME(CNAME(target)))
    }

    /// Adds a text, in strings of at most 255 bytes.
    ///
    /// # Errors
    /// When a name is not one.
    pub fn txt(self, owner: &str, strings: &[&str]) -> Result<Self, String> {
        let strings = strings.iter().map(|text| (*text).to_owned()).collect();
        self.record(owner, RData::TXT(TXT::new(strings)))
    }

    fn record(mut self, owner: &str, data: RData) -> Result<Self, String> {
        self.records.entry(name(owner)?).or_default().push(data);
        Ok(self)
    }

    /// Fills in the answer to one question.
    fn answer(&self, question: &Name, kind: RecordType, answer: &mut Message) {
        let Some(apex) = self.apex_of(question) else {
            answer.metadata.response_code = ResponseCode::Refused;
            return;
        };
        answer.metadata.authoritative = true;
        let mut owner = question.to_lowercase();
        for _ in 0..CNAMES_MAX {
            let found = self.records.get(&owner).map_or(&[][..], Vec::as_slice);
            let wanted: Vec<&RData> = found
                .iter()
                .filter(|data| data.record_type() == kind)
                .collect();
            for data in &wanted {
                answer.add_answer(Record::from_rdata(owner.clone(), TTL_S, (*data).clone()));
            }
            let alias = found.iter().find_map(|data| match data {
                RData::CNAME(target) if wanted.is_empty() => Some(target.0.to_lowercase()),
                _ => None,
            });
            let Some(target) = alias else {
                if wanted.is_empty() {
                    self.nothing(&owner, apex, answer);
                }
                return;
            };
            let data = RData::CNAME(CNAME(target.clone()));
            answer.add_answer(Record::from_rdata(owner, TTL_S, data));
            owner = target;
        }
    }

    /// RFC 2308 §2: the name or the type does not exist, and the SOA says for how long.
    fn nothing(&self, owner: &Name, apex: &Name, answer: &mut Message) {
        // A name above another exists too, if only as a way to it (RFC 8020 §2).
        let exists = owner == apex || self.records.keys().any(|name| owner.zone_of(name));
        if !exists {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
        let soa = SOA::new(apex.clone(), apex.clone(), 1, 3_600, 600, 86_400, TTL_S);
        answer.add_authority(Record::from_rdata(apex.clone(), TTL_S, RData::SOA(soa)));
    }

    fn apex_of(&self, question: &Name) -> Option<&Name> {
        self.apexes
            .iter()
            .filter(|apex| apex.zone_of(question))
            .max_by_key(|apex| apex.num_labels())
    }

    /// The answer to a message; `None` where none may be given.
    fn respond(&self, request: &[u8], bytes_max: Option<u16>) -> Option<Vec<u8>> {
        let request = Message::from_vec(request).ok()?;
        // A response to a response could go on forever.
        if request.metadata.message_type != MessageType::Query {
            return None;
        }
        let mut answer = Message::response(request.metadata.id, request.metadata.op_code);
        answer.metadata.recursion_desired = request.metadata.recursion_desired;
        answer.add_queries(request.queries.iter().cloned());
        if request.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_BYTES_MAX);
            answer.set_edns(edns);
        }
        match request.queries.as_slice() {
            [query] if request.metadata.op_code == OpCode::Query => {
                self.answer(&query.name, query.query_type, &mut answer);
            }
            [_] => answer.metadata.response_code = ResponseCode::NotImp,
            _ => answer.metadata.response_code = ResponseCode::FormErr,
        }
        let bytes = answer.to_vec().ok()?;
        let allowed = bytes_max.map(|max| max.min(request.max_payload()));
        match allowed {
            Some(max) if bytes.len() > usize::from(max) => answer.truncate().to_vec().ok(),
            _ => Some(bytes),
        }
    }
}

fn name(text: &str) -> Result<Name, String> {
    let absolute = if text.ends_with('.') {
        text.to_owned()
    } else {
        format!("{text}.")
    };
    Name::from_ascii(absolute)
        .map(|name| name.to_lowercase())
        .map_err(|error| format!("{text}: {error}"))
}

/// An authority whose sockets are bound.
pub struct Authority {
    zones: Arc<Zones>,
    udp: UdpSocket,
    tcp: TcpListener,
}

impl Authority {
    /// Binds UDP and TCP of one address; port 0 takes a port that is free for both.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn bind(address: SocketAddr, zones: Zones) -> io::Result<Self> {
        // With port 0 the port that TCP gets may be taken for UDP: then another is tried.
        let mut tries = if address.port() == 0 { 20 } else { 1 };
        loop {
            tries -= 1;
            let tcp = TcpListener::bind(address).await?;
            match UdpSocket::bind(tcp.local_addr()?).await {
                Ok(udp) => {
                    return Ok(Self {
                        zones: Arc::new(zones),
                        udp,
                        tcp,
                    });
                }
                Err(error) if tries == 0 => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// Where it answers.
    ///
    /// # Errors
    /// Those of the system.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    /// Answers until `shutdown`.
    pub async fn serve(self, shutdown: CancellationToken) {
        let Self { zones, udp, tcp } = self;
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = serve_udp(&udp, &zones) => {}
            () = serve_tcp(&tcp, &zones) => {}
        }
    }
}

async fn serve_udp(socket: &UdpSocket, zones: &Zones) {
    let mut request = [0; 4_096];
    loop {
        match socket.recv_from(&mut request).await {
            Ok((length, peer)) => {
                if let Some(answer) = zones.respond(&request[..length], Some(UDP_BYTES_MAX)) {
                    // A client that is gone needs no answer.
                    let _ = socket.send_to(&answer, peer).await;
                }
            }
            // The answer before went to a closed port, for example.
            Err(error) => {
                tracing::debug!(%error, "DNS over UDP");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

async fn serve_tcp(listener: &TcpListener, zones: &Arc<Zones>) {
    let places = Arc::new(Semaphore::new(TCP_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let zones = zones.clone();
                tokio::spawn(async move {
                    let _place = place;
                    // A client that breaks off or stays too long is dropped.
                    let _ = tokio::time::timeout(TCP_TIME, converse(stream, &zones)).await;
                });
            }
            Err(error) => {
                tracing::debug!(%error, "DNS over TCP");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

/// RFC 1035 §4.2.2: each message after its length in two bytes.
async fn converse(mut stream: TcpStream, zones: &Zones) -> io::Result<()> {
    loop {
        let length = stream.read_u16().await?;
        let mut request = vec![0; usize::from(length)];
        stream.read_exact(&mut request).await?;
        let Some(answer) = zones.respond(&request, None) else {
            return Ok(());
        };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        stream.write_u16(length).await?;
        stream.write_all(&answer).await?;
    }
}
