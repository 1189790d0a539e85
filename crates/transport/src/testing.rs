//! What the tests of this crate have in common: a DNS from a table, a network of scripted servers,
//! a clock that is set by hand, and randomness that is the same in every run.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::ports::{
    BoxFuture, BoxStream, Clock, Connector, DnsError, Entropy, Mx, RecordType, Records, Resolver,
    TlsInfo, Tlsa, Vouched,
};
use base::{Domain, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// A DNS of a few lines: `a.test MX 10 mx.test`, `mx.test A 192.0.2.1`, `a.test MX SERVFAIL`.
pub(crate) struct Table {
    records: BTreeMap<(String, &'static str), Vec<String>>,
    questions: Mutex<usize>,
}

impl Table {
    pub(crate) fn new(text: &str) -> Self {
        let mut records: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let mut words = line.splitn(3, ' ');
            let name = words.next().unwrap().to_owned();
            let kind = match words.next().unwrap() {
                "MX" => "MX",
                "A" => "A",
                "TXT" => "TXT",
                "PTR" => "PTR",
                "TLSA" => "TLSA",
                // DNSSEC vouches for all of the name; the value is where its aliases lead.
                "SECURE" => "SECURE",
                other => panic!("{other}"),
            };
            let value = words.next().unwrap().to_owned();
            records.entry((name, kind)).or_default().push(value);
        }
        Self {
            records,
            questions: Mutex::new(0),
        }
    }

    pub(crate) fn questions(&self) -> usize {
        *self.questions.lock().unwrap()
    }

    fn ask(
        &self,
        name: &(impl ToString + ?Sized),
        kind: &'static str,
    ) -> Result<Vec<String>, DnsError> {
        *self.questions.lock().unwrap() += 1;
        let key = (name.to_string(), kind);
        match self.records.get(&key) {
            Some(values) if values[0] == "PANIC" => panic!("asked for"),
            Some(values) if values[0] == "SERVFAIL" => {
                Err(DnsError::Temporary("SERVFAIL".to_owned()))
            }
            Some(values) => Ok(values.clone()),
            None if self.records.keys().any(|(known, _)| *known == key.0) => {
                Err(DnsError::NoRecords)
            }
            None => Err(DnsError::NoName),
        }
    }
}

impl Resolver for Table {
    fn mx<'a>(&'a self, domain: &'a Domain) -> BoxFuture<'a, Result<Vec<Mx>, DnsError>> {
        Box::pin(async move {
            let values = self.ask(domain, "MX")?;
            Ok(values
                .iter()
                .map(|value| {
                    let (preference, host) = value.split_once(' ').unwrap();
                    Mx {
                        preference: preference.parse().unwrap(),
                        exchange: Domain::parse(host).ok(),
                    }
                })
                .collect())
        })
    }

    fn addresses<'a>(&'a self, host: &'a Domain) -> BoxFuture<'a, Result<Vec<IpAddr>, DnsError>> {
        Box::pin(async move {
            let values = self.ask(host, "A")?;
            Ok(values.iter().map(|value| value.parse().unwrap()).collect())
        })
    }

    fn txt<'a>(&'a self, name: &'a Domain) -> BoxFuture<'a, Result<Vec<String>, DnsError>> {
        Box::pin(async move { self.ask(name, "TXT") })
    }

    fn vouched<'a>(
        &'a self,
        name: &'a str,
        _: RecordType,
    ) -> BoxFuture<'a, Result<Vouched, DnsError>> {
        let key = (name.to_owned(), "SECURE");
        let found = self.records.get(&key).map(|values| values[0].as_str());
        let answer = match found {
            Some("SERVFAIL") => Err(DnsError::Temporary("SERVFAIL".to_owned())),
            found => Ok(Vouched {
                secure: found.is_some(),
                name: found.unwrap_or(name).to_owned(),
            }),
        };
        Box::pin(async { answer })
    }

    fn tlsa<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<Tlsa>, DnsError>> {
        Box::pin(async move {
            let values = self.ask(name, "TLSA")?;
            let record = |value: &String| {
                let numbers: Vec<u8> = value.split(' ').map(|n| n.parse().unwrap()).collect();
                Tlsa {
                    usage: numbers[0],
                    selector: numbers[1],
                    matching: numbers[2],
                    data: vec![numbers[3]; 32],
                }
            };
            Ok(values.iter().map(record).collect())
        })
    }

    fn ptr(&self, _: IpAddr) -> BoxFuture<'_, Result<Vec<Domain>, DnsError>> {
        Box::pin(async { Err(DnsError::NoRecords) })
    }

    fn records<'a>(
        &'a self,
        name: &'a str,
        kind: RecordType,
    ) -> BoxFuture<'a, Result<Records, DnsError>> {
        Box::pin(async move {
            let found = match kind {
                RecordType::Txt => self.ask(name, "TXT")?,
                RecordType::A => self.ask(name, "A")?,
                RecordType::Aaaa => Vec::new(),
                RecordType::Mx => self.ask(name, "MX")?,
                RecordType::Ptr => self.ask(name, "PTR")?,
            };
            if found.iter().any(|value| value == "SILENT") {
                std::future::pending::<()>().await;
            }
            let found = found.into_iter();
            Ok(match kind {
                RecordType::Txt => Records::Txt(found.map(String::into_bytes).collect()),
                RecordType::A => Records::A(found.map(|value| value.parse().unwrap()).collect()),
                RecordType::Aaaa => return Err(DnsError::NoRecords),
                RecordType::Mx => {
                    let parts = found.map(|value| {
                        let (preference, host) = value.split_once(' ').unwrap();
                        (preference.parse().unwrap(), host.to_owned())
                    });
                    Records::Mx(parts.collect())
                }
                RecordType::Ptr => Records::Ptr(found.collect()),
            })
        })
    }
}

/// Stands still until it is set.
pub(crate) struct SetClock(Mutex<Timestamp>);

impl SetClock {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self(Mutex::new(now))
    }

    pub(crate) fn set(&self, now: Timestamp) {
        *self.0.lock().unwrap() = now;
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// A simple generator, the same in every run.
#[derive(Default)]
pub(crate) struct Counting(Mutex<u64>);

impl Entropy for Counting {
    fn fill(&self, buffer: &mut [u8]) {
        let mut next = self.0.lock().unwrap();
        *next = next.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let bytes = (*next >> 33).to_le_bytes();
        for (to, from) in buffer.iter_mut().zip(bytes) {
            *to = from;
        }
    }
}

/// What a server does at one step of a connection.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Waits for a line that starts with this.
    Want(&'static str),
    /// Waits for the end of a letter and keeps it.
    WantLetter,
    /// Says this, with CRLF.
    Say(&'static str),
    /// Waits.
    Pause(Duration),
    /// Closes the connection.
    Close,
    /// Goes on, but says nothing more.
    Silence,
}
use Act::{Close, Say, Silence, Want, WantLetter};

/// What happens to a connection that is opened.
#[derive(Clone, Debug)]
pub(crate) enum Line {
    /// Nobody listens.
    Refused,
    /// The address from which the connection was to be made is none of this machine.
    NoSource,
    /// No packet comes back.
    Blackhole,
    /// This script is played.
    Script(Vec<Act>),
}

/// A network of scripts: each connection to an address plays the next.
#[derive(Default)]
pub(crate) struct Net {
    lines: Mutex<BTreeMap<SocketAddr, VecDeque<Line>>>,
    /// What was said to the servers, and what happened to connections, in order.
    heard: Arc<Mutex<Vec<String>>>,
    handshake_fails: Mutex<bool>,
}

impl Net {
    pub(crate) fn heard(&self) -> Vec<String> {
        std::mem::take(&mut *self.heard.lock().unwrap())
    }
}

impl Net {
    /// What happens to the next connections to port 25 of this address.
    pub(crate) fn add(&self, ip: &str, lines: Vec<Line>) {
        let address = SocketAddr::new(ip.parse().unwrap(), 25);
        let mut all = self.lines.lock().unwrap();
        all.entry(address).or_default().extend(lines);
    }

    pub(crate) fn has_heard(&self, what: &str) -> bool {
        self.heard.lock().unwrap().iter().any(|line| line == what)
    }

    /// Forgets what was to happen to connections.
    pub(crate) fn forget_lines(&self) {
        self.lines.lock().unwrap().clear();
    }

    pub(crate) fn fail_handshakes(&self) {
        *self.handshake_fails.lock().unwrap() = true;
    }
}

impl Connector for Net {
    fn connect(
        &self,
        address: SocketAddr,
        from: Option<IpAddr>,
    ) -> BoxFuture<'_, io::Result<BoxStream>> {
        let line = self
            .lines
            .lock()
            .unwrap()
            .get_mut(&address)
            .and_then(VecDeque::pop_front);
        let heard = Arc::clone(&self.heard);
        let from = from.map_or_else(String::new, |from| format!(" from {from}"));
        heard
            .lock()
            .unwrap()
            .push(format!("[{}]{from}", address.ip()));
        Box::pin(async move {
            match line {
                None | Some(Line::Refused) => Err(io::ErrorKind::ConnectionRefused.into()),
                Some(Line::NoSource) => Err(io::ErrorKind::AddrNotAvailable.into()),
                Some(Line::Blackhole) => std::future::pending().await,
                Some(Line::Script(script)) => {
                    let (ours, theirs) = tokio::io::duplex(64 * 1024);
                    tokio::spawn(play(script, theirs, heard));
                    Ok(Box::new(ours) as BoxStream)
                }
            }
        })
    }

    fn start_tls<'a>(
        &'a self,
        stream: BoxStream,
        _: &'a Domain,
        require_valid: bool,
    ) -> BoxFuture<'a, io::Result<(BoxStream, TlsInfo)>> {
        let fails = *self.handshake_fails.lock().unwrap() || require_valid;
        self.heard.lock().unwrap().push("(handshake)".to_owned());
        Box::pin(async move {
            if fails {
                return Err(io::Error::other("unknown certificate authority"));
            }
            let tls = TlsInfo {
                version: "TLSv1.3",
                cipher: "TLS_AES_256_GCM_SHA384".to_owned(),
                verified: false,
                binding: Default::default(),
                client_addresses: Vec::new(),
            };
            Ok((stream, tls))
        })
    }
}

async fn play(script: Vec<Act>, mut stream: DuplexStream, heard: Arc<Mutex<Vec<String>>>) {
    let mut input = Vec::new();
    let mut silent = false;
    for act in script {
        match act {
            Want(start) => {
                let Some(line) = read_until(&mut stream, &mut input, b"\r\n").await else {
                    return;
                };
                assert!(line.starts_with(start), "{line} is not {start}");
                heard.lock().unwrap().push(line);
            }
            WantLetter => {
                let Some(letter) = read_until(&mut stream, &mut input, b"\r\n.\r\n").await else {
                    return;
                };
                let bytes = format!("letter of {} bytes", letter.len());
                heard.lock().unwrap().push(bytes);
            }
            Say(text) => {
                let _ = stream.write_all(format!("{text}\r\n").as_bytes()).await;
            }
            Act::Pause(span) => tokio::time::sleep(span).await,
            Close => return,
            Silence => silent = true,
        }
    }
    // Whatever else is said is heard until the client closes.
    while let Some(line) = read_until(&mut stream, &mut input, b"\r\n").await {
        let bye = line == "QUIT" && !silent;
        heard.lock().unwrap().push(line);
        if bye {
            let _ = stream.write_all(b"221 bye\r\n").await;
            return;
        }
    }
}

async fn read_until(stream: &mut DuplexStream, input: &mut Vec<u8>, end: &[u8]) -> Option<String> {
    loop {
        if let Some(at) = input.windows(end.len()).position(|window| window == end) {
            let rest = input.split_off(at + end.len());
            let mut line = std::mem::replace(input, rest);
            line.truncate(at);
            return String::from_utf8(line).ok();
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(count) if count > 0 => input.extend_from_slice(&buffer[..count]),
            _ => return None,
        }
    }
}

/// Greeting and EHLO without any extension.
pub(crate) fn hello() -> Vec<Act> {
    vec![Say("220 hi"), Want("EHLO "), Say("250 hi")]
}

/// One letter to one recipient that is taken.
pub(crate) fn takes() -> Vec<Act> {
    vec![
        Want("MAIL"),
        Say("250 ok"),
        Want("RCPT"),
        Say("250 ok"),
        Want("DATA"),
        Say("354 go"),
        WantLetter,
        Say("250 2.0.0 kept"),
    ]
}

pub(crate) fn script(parts: &[Vec<Act>]) -> Line {
    Line::Script(parts.concat())
}

/// Greeting, EHLO with STARTTLS, and the consent to it.
pub(crate) fn hello_with_tls() -> Vec<Act> {
    vec![
        Say("220 hi"),
        Want("EHLO"),
        Say("250-hi\r\n250 STARTTLS"),
        Want("STARTTLS"),
        Say("220 go"),
    ]
}

/// A store of its own in a folder.
pub(crate) async fn store(folder: &std::path::Path, clock: Arc<dyn Clock>) -> store::Store {
    let options = store::StoreOptions {
        key_file: None,
        data_dir: folder.to_owned(),
        database: store::Database::default(),
        blobs: store::BlobHome::Inline,
        node: "here".to_owned(),
        synchronous: store::Synchronous::Off,
        limits: Arc::new(base::limits::Limits {
            free_disk_bytes_min: 0,
            ..base::limits::Limits::default()
        }),
        clock,
        entropy: Arc::new(Counting::default()),
        metrics: base::metrics::Metrics::default(),
        extractor: None,
    };
    store::Store::open(options).await.unwrap()
}
