//! The settings of queue and outbound mail: one table for the operator and one struct for the code.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::settings::{Kind, Setting};
use base::{Domain, Secret};

use crate::smtp_out::Sources;

use super::class::FailureClass;
use super::plan::Plan;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The settings in force. [`Default`] gives the defaults of [`SETTINGS`].
#[derive(Clone, Debug)]
pub struct QueueSettings {
    /// The delay after the first failed attempt; doubles with each further one.
    pub retry_first: Duration,
    /// The longest delay between two attempts.
    pub retry_max: Duration,
    /// Plans of the operator for classes of failures; the others follow from the two before.
    pub plans: BTreeMap<FailureClass, Plan>,
    /// So many failures for good keep an address from being tried; 0: none do.
    pub suppress_after: u32,
    /// How long it is not tried the first time.
    pub suppress_for: Duration,
    /// How long a letter is tried before it is returned (RFC 5321 §4.5.4.1: 4 to 5 days).
    pub lifetime: Duration,
    /// After how long the sender is told of a delay, once.
    pub delay_warning: Duration,
    /// Most letters for other servers in hand at once.
    pub letters_in_hand_max: usize,
    /// Most letters of one tenant (domain of senders) for other servers in hand at once.
    pub letters_per_tenant_max: usize,
    /// Most letters for mailboxes here in hand at once.
    pub local_letters_in_hand_max: usize,
    /// Most letters being handed over at once, over all destinations.
    pub connections_max: usize,
    /// Most connections to one destination domain.
    pub connections_per_destination_max: usize,
    /// Most connections to one address of a server.
    pub connections_per_address_max: usize,
    /// Connections to a destination that has not answered yet; more come with success.
    pub connections_initial: usize,
    /// Most letters on one connection.
    pub letters_per_connection_max: usize,
    /// How long a connection without work is kept.
    pub connection_idle: Duration,
    /// How long an attempt to connect to one address may take.
    pub connect_timeout: Duration,
    /// How long a claim lasts without being renewed.
    pub lease: Duration,
    /// How long transfers may go on when the node stops.
    pub stop_grace: Duration,
    /// The largest letter that a report returns whole; of a larger one it returns the header.
    pub report_bytes_max: u64,
    /// The port of other servers.
    pub port: u16,
    /// The local addresses from which connections are made.
    pub sources: Sources,
    /// A server that takes all mail for others.
    pub smarthost: Option<Smarthost>,
    /// Domains whose mail goes to a server that the operator names.
    pub routes: Vec<FixedRoute>,
    /// Domains of ours whose users' mail for others goes to a server of their own.
    pub sender_routes: Vec<FixedRoute>,
    /// Domains whose mail is kept for another server: it goes to no smarthost.
    pub backup: Vec<Domain>,
    /// Where people leave mailing lists by one click (RFC 8058); nowhere if empty.
    pub list_url: String,
}

/// A user name and a password at another server.
#[derive(Clone, Debug)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The password.
    pub password: Secret,
}

impl PartialEq for Login {
    /// Whether a connection of one may be used for the other; nothing rests on its time.
    fn eq(&self, other: &Self) -> bool {
        self.user == other.user && self.password.expose() == other.password.expose()
    }
}

impl Eq for Login {}

/// Where the mail of one domain goes, whatever its MX records say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedRoute {
    /// The domain: of the recipient, or of the sender.
    pub domain: Domain,
    /// The server's name or address literal.
    pub host: Domain,
    /// Its port.
    pub port: u16,
    /// Whether it speaks LMTP (RFC 2033) instead of SMTP.
    pub lmtp: bool,
    /// How TLS is used.
    pub tls: TlsPolicy,
    /// Whether the server must prove itself by its TLSA records (RFC 7672).
    pub dane: bool,
    /// With what one logs in there.
    pub login: Option<Arc<Login>>,
    /// The file whose first line is the password; not read here.
    pub password_file: Option<String>,
}

impl FixedRoute {
    /// Reads `domain protocol:host:port` and further words: one of `outbound.smarthost_tls`,
    /// `user=NAME` and `password-file=FILE`. The protocol is `smtp` or `lmtp`. Without a word TLS is
    /// opportunistic, with a user it is required; without a port it is 25 for SMTP and 24 for LMTP.
    /// The password of the login is empty until the file is read.
    ///
    /// # Errors
    /// A text that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.split_ascii_whitespace();
        let (Some(domain), Some(server)) = (words.next(), words.next()) else {
            return Err(format!("not `domain protocol:host:port`: {text}"));
        };
        let (mut tls, mut user, mut password_file) = (None, None, None);
        for word in words {
            match word.split_once('=') {
                Some(("user", name)) if !name.is_empty() => user = Some(name.to_owned()),
                Some(("password-file", file)) if !file.is_empty() => {
                    password_file = Some(file.to_owned());
                }
                Some(_) => return Err(format!("neither user= nor password-file=: {word}")),
                None => tls = Some(TlsPolicy::parse_with_dane(word)?),
            }
        }
        if user.is_some() != password_file.is_some() {
            return Err(format!("user= and password-file= go together: {text}"));
        }
        let usual = match user {
            Some(_) => TlsPolicy::Required,
            None => TlsPolicy::Opportunistic,
        };
        let (tls, dane) = tls.unwrap_or((usual, false));
        let (lmtp, server) = match server.split_once(':') {
            Some(("smtp", server)) => (false, server),
            Some(("lmtp", server)) => (true, server),
            _ => return Err(format!("neither smtp: nor lmtp: before the host: {server}")),
        };
        let usual = if lmtp { 24 } else { 25 };
        let (host, port) = host_and_port(server, usual)?;
        Ok(Self {
            domain: Domain::parse(domain).map_err(|error| format!("{domain}: {error}"))?,
            host,
            port,
            lmtp,
            tls,
            dane,
            login: user.map(|user| {
                let password = Secret::new("");
                Arc::new(Login { user, password })
            }),
            password_file,
        })
    }
}

/// Reads `host:port` or `host`; the host may be an address literal.
fn host_and_port(text: &str, usual: u16) -> Result<(Domain, u16), String> {
    let after_literal = text.rfind(']').map_or(0, |end| end + 1);
    let (host, port) = match text[after_literal..].rfind(':') {
        Some(colon) => {
            let (host, port) = text.split_at(after_literal + colon);
            let port = port[1..].parse().ok().filter(|port| *port != 0);
            (
                host,
                port.ok_or_else(|| format!("no port after the colon in {text}"))?,
            )
        }
        None => (text, usual),
    };
    let host = Domain::parse(host).map_err(|error| format!("{host}: {error}"))?;
    Ok((host, port))
}

/// A server that takes all our mail for others.
#[derive(Clone, Debug)]
pub struct Smarthost {
    /// Its name or address literal.
    pub host: Domain,
    /// Its port.
    pub port: u16,
    /// User name and password, if it wants them.
    pub login: Option<Arc<Login>>,
    /// How TLS is used.
    pub tls: TlsPolicy,
    /// Whether the server must prove itself by its TLSA records (RFC 7672).
    pub dane: bool,
}

/// What a connection must have before a letter goes over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum TlsPolicy {
    /// No TLS, even if it is offered.
    Never,
    /// RFC 7435: TLS when it is offered and works, clear text otherwise.
    #[default]
    Opportunistic,
    /// TLS, with whatever certificate.
    Required,
    /// TLS with a certificate that is valid for the server's name.
    Verified,
}

impl TlsPolicy {
    /// Reads a word of the setting `outbound.smarthost_tls`.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "never" => Some(Self::Never),
            "opportunistic" => Some(Self::Opportunistic),
            "required" => Some(Self::Required),
            "verified" => Some(Self::Verified),
            _ => None,
        }
    }

    /// The same with the word `dane`: TLS, and the server proves itself by its TLSA records.
    ///
    /// # Errors
    /// A text that says what is wrong.
    pub fn parse_with_dane(word: &str) -> Result<(Self, bool), String> {
        match (word, Self::parse(word)) {
            ("dane", _) => Ok((Self::Required, true)),
            (_, Some(policy)) => Ok((policy, false)),
            (_, None) => Err(format!("no way to use TLS: {word}")),
        }
    }
}

impl Smarthost {
    /// Reads `host:port` or `host` (port 25); the host may be an address literal.
    ///
    /// # Errors
    /// A text that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (host, port) = host_and_port(text, 25)?;
        Ok(Self {
            host,
            port,
            login: None,
            tls: TlsPolicy::default(),
            dane: false,
        })
    }
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            retry_first: Duration::from_secs(2 * MINUTE),
            retry_max: Duration::from_secs(4 * HOUR),
            plans: BTreeMap::new(),
            suppress_after: 3,
            suppress_for: Duration::from_secs(30 * DAY),
            lifetime: Duration::from_secs(5 * DAY),
            delay_warning: Duration::from_secs(4 * HOUR),
            letters_in_hand_max: 1_000,
            letters_per_tenant_max: 750,
            local_letters_in_hand_max: 512,
            connections_max: 200,
            connections_per_destination_max: 20,
            connections_per_address_max: 20,
            connections_initial: 5,
            letters_per_connection_max: 100,
            connection_idle: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(30),
            lease: Duration::from_secs(5 * MINUTE),
            stop_grace: Duration::from_secs(20),
            report_bytes_max: MIB,
            port: 25,
            sources: Sources::default(),
            smarthost: None,
            routes: Vec::new(),
            sender_routes: Vec::new(),
            backup: Vec::new(),
            list_url: String::new(),
        }
    }
}

/// A span of time between two numbers of seconds.
const fn span(min: u64, max: u64) -> Kind {
    Kind::Span {
        min_ms: (min * 1_000).cast_signed(),
        max_ms: (max * 1_000).cast_signed(),
    }
}

const fn integer(min: i64, max: i64) -> Kind {
    Kind::Integer { min, max }
}

const fn row(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Setting {
    Setting {
        name,
        kind,
        default,
        doc,
    }
}

/// The table for the operator.
pub const SETTINGS: &[Setting] = &[
    row(
        "queue.retry_first",
        span(1, DAY),
        "\"2m\"",
        "The delay after the first failed attempt. It doubles with each further one, up to `queue.retry_max`; a fifth of it is random. The plans of most classes of failures are multiples of these two (docs/queue.md).",
    ),
    row(
        "queue.retry_max",
        span(1, 2 * DAY),
        "\"4h\"",
        "The longest delay between two attempts.",
    ),
    row(
        "queue.plans",
        Kind::TextList,
        "[]",
        "Plans for single classes of failures, instead of the usual ones of docs/queue.md: `class first factor longest`, perhaps with a lifetime behind it, such as `greylisted 2m 1.5 30m` or `mailbox-full 1h 2 8h 3d`.",
    ),
    row(
        "queue.suppress_after",
        integer(0, 1_000),
        "3",
        "So many failures for good (no such mailbox, over at least a day, without one that was taken between them) keep an address elsewhere from being tried again for letters of the same sender's domain; a mailbox that is disabled takes two more. 0: never.",
    ),
    row(
        "queue.suppress_for",
        span(HOUR, 180 * DAY),
        "\"30d\"",
        "How long such an address is not tried; twice as long, up to 180 days, each time it fails again after that.",
    ),
    row(
        "queue.lifetime",
        span(MINUTE, 30 * DAY),
        "\"5d\"",
        "How long a letter is tried before it is returned to its sender.",
    ),
    row(
        "queue.delay_warning",
        span(MINUTE, 30 * DAY),
        "\"4h\"",
        "After how long the sender is told, once, that a letter is late.",
    ),
    row(
        "queue.letters_in_hand",
        integer(1, 100_000),
        "1000",
        "Most letters for other servers that one node works on at once.",
    ),
    row(
        "queue.letters_per_tenant",
        integer(1, 100_000),
        "750",
        "Of those, most letters of one domain of senders. Letters of several senders to one destination take turns in any case.",
    ),
    row(
        "queue.local_letters_in_hand",
        integer(1, 100_000),
        "512",
        "Most letters for mailboxes here that one node works on at once.",
    ),
    row(
        "queue.connections",
        integer(1, 10_000),
        "200",
        "Most letters being handed over to other servers at once.",
    ),
    row(
        "queue.connections_per_destination",
        integer(1, 1_000),
        "20",
        "Most connections to the servers of one domain.",
    ),
    row(
        "queue.connections_per_address",
        integer(1, 1_000),
        "20",
        "Most connections to one address, whichever domains it serves.",
    ),
    row(
        "queue.connections_initial",
        integer(1, 1_000),
        "5",
        "Connections to a domain that has not answered yet; each letter that is taken allows one more.",
    ),
    row(
        "queue.letters_per_connection",
        integer(1, 10_000),
        "100",
        "Most letters on one connection.",
    ),
    row(
        "queue.connection_idle",
        span(0, 300),
        "\"10s\"",
        "How long a connection without work is kept for the next letter.",
    ),
    row(
        "queue.connect_timeout",
        span(1, 300),
        "\"30s\"",
        "How long connecting to one address may take before the next is tried.",
    ),
    row(
        "queue.lease",
        span(3, HOUR),
        "\"5m\"",
        "How long a node's claim on a letter lasts without being renewed; another node then takes the letter over. The clocks of nodes on one database may differ by less than half of it.",
    ),
    row(
        "queue.stop_grace",
        span(0, HOUR),
        "\"20s\"",
        "How long transfers may go on when the node stops.",
    ),
    row(
        "queue.report_bytes",
        Kind::Bytes {
            min: 0,
            max: (50 * MIB).cast_signed(),
        },
        "\"1MB\"",
        "The largest letter that a report returns whole when its sender asked for that (RET=FULL).",
    ),
    row(
        "outbound.port",
        integer(1, 65_535),
        "25",
        "The port on which other servers are reached.",
    ),
    row(
        "outbound.sources",
        Kind::TextList,
        "[]",
        "Local addresses from which connections are made; of several, each destination sees always the same. `ADDRESS`, with `name=HOST` behind it for another name in EHLO than `hostname`, and `pool=POOL` for a pool of addresses that only the senders of `outbound.source_pools` use. Empty, or none of the family of the other server: the system chooses.",
    ),
    row(
        "outbound.source_pools",
        Kind::TextList,
        "[]",
        "Domains of senders whose letters leave only from a pool of `outbound.sources`: `domain pool`.",
    ),
    row(
        "outbound.smarthost",
        Kind::Text,
        "\"\"",
        "A server (`host:port`) that takes all mail for others, instead of their MX.",
    ),
    row(
        "outbound.routes",
        Kind::TextList,
        "[]",
        "Servers for the mail of single domains, whatever their MX records say: `domain protocol:host:port`, perhaps with a word about TLS as in `outbound.smarthost_tls` behind it (else `opportunistic`), and with `user=NAME password-file=FILE`, where the file's first line is the password (then TLS is `required`). The protocol is `smtp` or `lmtp`.",
    ),
    row(
        "outbound.sender_routes",
        Kind::TextList,
        "[]",
        "Smarthosts for the mail of single domains of yours, in the same form: `domain smtp:host:port …` is for letters with a sender of that domain. `outbound.routes` go first, `outbound.smarthost` comes after.",
    ),
    row(
        "lists.url",
        Kind::Text,
        "\"\"",
        "Where an HTTP listener of this server is reached from outside by https, like `https://mail.example.org`: letters of mailing lists then have a link by which a mail program takes its user off the list with one click. Nothing: they have only an address for that.",
    ),
    row(
        "outbound.smarthost_user",
        Kind::Text,
        "\"\"",
        "The user name at the smarthost, if it wants one.",
    ),
    row(
        "outbound.smarthost_password_file",
        Kind::Text,
        "\"\"",
        "A file whose first line is the password at the smarthost.",
    ),
    row(
        "outbound.smarthost_tls",
        Kind::OneOf(&["never", "opportunistic", "required", "verified", "dane"]),
        "\"required\"",
        "What the connection to the smarthost must have: `verified` is a certificate that is valid for its name, `dane` one that its TLSA records name, by DNSSEC. A password is never sent over clear text, except with `never`.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SETTINGS.len());
    }

    fn check(text: &str, expected: Result<(&str, u16), &str>) {
        let parsed = Smarthost::parse(text);
        let shown = parsed.as_ref().map(|s| (s.host.as_str(), s.port));
        assert_eq!(shown.map_err(String::as_str), expected, "{text}");
    }

    #[test]
    fn routes_of_domains() {
        let check = |text: &str, expected: Result<(&str, &str, u16, bool, TlsPolicy), &str>| {
            let parsed = FixedRoute::parse(text);
            let shown = parsed.as_ref().map(|route| {
                let (domain, host) = (route.domain.as_str(), route.host.as_str());
                (domain, host, route.port, route.lmtp, route.tls)
            });
            assert_eq!(shown.map_err(String::as_str), expected, "{text}");
        };
        let opportunistic = TlsPolicy::Opportunistic;
        check(
            "a.test smtp:mx.test",
            Ok(("a.test", "mx.test", 25, false, opportunistic)),
        );
        check(
            "a.test lmtp:[127.0.0.1]",
            Ok(("a.test", "[127.0.0.1]", 24, true, opportunistic)),
        );
        check(
            "A.test smtp:mx.test:587 verified",
            Ok(("a.test", "mx.test", 587, false, TlsPolicy::Verified)),
        );
        check("a.test", Err("not `domain protocol:host:port`: a.test"));
        check(
            "a.test mx.test",
            Err("neither smtp: nor lmtp: before the host: mx.test"),
        );
        check("a.test smtp:mx.test maybe", Err("no way to use TLS: maybe"));
        check(
            "a.test smtp:mx.test:0",
            Err("no port after the colon in mx.test:0"),
        );
    }

    #[test]
    fn smarthosts() {
        check("relay.test", Ok(("relay.test", 25)));
        check("relay.test:587", Ok(("relay.test", 587)));
        check("[127.0.0.1]:2525", Ok(("[127.0.0.1]", 2525)));
        check("[IPv6:::1]", Ok(("[IPv6:::1]", 25)));
        check("[IPv6:::1]:26", Ok(("[IPv6:::1]", 26)));
        check(
            "relay.test:0",
            Err("no port after the colon in relay.test:0"),
        );
        check(
            "relay.test:x",
            Err("no port after the colon in relay.test:x"),
        );
        check("-:25", Err("-: the part after the @ is not a domain name"));
    }
}
