//! The settings of a node: read from one TOML file, checked against one table of rows per crate,
//! immutable afterwards.
//!
//! [`table`] holds the rows, [`value`] checks one value, [`load`] a file, [`suggest`] finds the
//! name that was meant, [`markdown`] writes the documentation from the same rows. Nothing here
//! opens a socket or the store.

mod alerts;
mod auth;
pub mod load;
pub mod markdown;
mod people;
mod queue;
mod safety;
mod sending;
mod storage;
pub mod suggest;
pub mod table;
pub mod value;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::Domain;
use base::limits::{Limits, Retention, Sending};
use store::{BlobHome, Database, Synchronous};
use transport::queue::settings::QueueSettings;

use transport::auth::Network;
use transport::smtp_in::BackupMx;

pub use crate::outside::TrustAd;
pub use alerts::AlertSettings;
pub use auth::AuthSettings;
pub use load::{Mistake, SettingsError, Values};
pub use markdown::markdown;
pub use safety::SafetySettings;
use value::Value;

/// The file that is read when none is named.
pub const DEFAULT_FILE: &str = "pennyblack.toml";

/// The largest configuration file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// As long as a host name (RFC 1035 §2.3.4).
const NODE_BYTES_MAX: usize = 255;

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Mail from other servers.
    Smtp,
    /// Mail from our users.
    Submission,
    /// Mail from programs of the same house, for mailboxes here (LMTP).
    Lmtp,
    /// Reading mail.
    Imap,
    /// `/healthz` and `/metrics`.
    Http,
}

impl Protocol {
    /// The word in the settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Submission => "submission",
            Self::Lmtp => "lmtp",
            Self::Imap => "imap",
            Self::Http => "http",
        }
    }
}

/// When a listener starts TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    None,
    /// In the dialogue, when the client asks.
    StartTls,
    /// From the first byte.
    Implicit,
}

impl TlsMode {
    /// The word in the settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::StartTls => "starttls",
            Self::Implicit => "implicit",
        }
    }
}

/// One listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// What it speaks.
    pub protocol: Protocol,
    /// Where.
    pub address: SocketAddr,
    /// How it is encrypted.
    pub tls: TlsMode,
    /// Whether trusted proxies tell whose connection they pass on.
    pub proxy: bool,
}

/// Where DNS questions go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsSettings {
    /// The resolvers; none: the system's.
    pub servers: Vec<SocketAddr>,
    /// How long one question may take.
    pub timeout: Duration,
    /// How often it is asked.
    pub attempts: usize,
    /// How many answers are remembered.
    pub cache_answers: u64,
    /// When a resolver's word is taken that DNSSEC vouches for an answer.
    pub trust_ad: TrustAd,
}

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// All settings of a node.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name under which it greets.
    pub hostname: Domain,
    /// What it calls itself among the nodes on its database.
    pub node: String,
    /// Everything of the node.
    pub data_dir: PathBuf,
    /// Domains to add at the start.
    pub domains: Vec<Domain>,
    /// The file with the key of the store's secrets, if it is not in the data folder.
    pub key_file: Option<PathBuf>,
    /// The database.
    pub database: Database,
    /// Where the bytes of letters are kept.
    pub blobs: BlobHome,
    /// How durable a commit is.
    pub synchronous: Synchronous,
    /// The certificate's PEM file and its key's.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The PEM file of the authorities whose certificates log users in.
    pub client_ca: Option<PathBuf>,
    /// Where DNS questions go.
    pub dns: DnsSettings,
    /// What is logged.
    pub log_level: String,
    /// How it is written.
    pub log_format: LogFormat,
    /// Whether `/metrics` answers everybody.
    pub metrics_public: bool,
    /// How long sessions may finish at the end.
    pub stop_grace: Duration,
    /// The listeners.
    pub listen: Vec<Listen>,
    /// The limits.
    pub limits: Arc<Limits>,
    /// How letters from outside are checked.
    pub auth: AuthSettings,
    /// The proxies that are believed by listeners with `proxy`.
    pub proxies: Vec<Network>,
    /// The proxies that may use XCLIENT.
    pub xclient_trusted: Vec<Network>,
    /// Domains of other servers whose mail is taken and passed on.
    pub backup: Arc<BackupMx>,
    /// The way between servers.
    pub safety: SafetySettings,
    /// What is watched, and who is told.
    pub alerts: AlertSettings,
    /// Queue and mail going out.
    pub queue: QueueSettings,
    /// Whether submission offers SCRAM-SHA-256.
    pub scram: bool,
    /// Whether programs of this machine may send passwords without TLS.
    pub auth_without_tls_on_loopback: bool,
}

impl Settings {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, and all its mistakes.
    pub fn load(file: &Path) -> Result<Self, SettingsError> {
        let fail = |text: String| SettingsError {
            file: file.to_owned(),
            mistakes: vec![Mistake { line: None, text }],
        };
        let size = std::fs::metadata(file)
            .map_err(|error| fail(unreadable(&error)))?
            .len();
        if size > FILE_BYTES_MAX {
            return Err(fail(format!("is larger than {FILE_BYTES_MAX} bytes")));
        }
        let text = std::fs::read_to_string(file).map_err(|error| fail(unreadable(&error)))?;
        Self::parse(&text, file)
    }

    /// Reads a text; `file` names it in errors and is where relative paths start.
    ///
    /// # Errors
    /// All its mistakes.
    pub fn parse(text: &str, file: &Path) -> Result<Self, SettingsError> {
        let fail = |mistakes| SettingsError {
            file: file.to_owned(),
            mistakes,
        };
        let loaded = load::load(text).map_err(fail)?;
        let folder = file.parent().unwrap_or_else(|| Path::new(""));
        let mut typing = Typing {
            values: loaded.values,
            folder,
            mistakes: Vec::new(),
        };
        let settings = typing.settings(&loaded.listeners);
        match settings {
            Some(settings) if typing.mistakes.is_empty() => Ok(settings),
            _ => Err(fail(typing.mistakes)),
        }
    }
}

fn unreadable(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            "there is no such file; name the configuration with --config FILE".to_owned()
        }
        _ => format!("cannot be read: {error}"),
    }
}

/// Turns checked values into types that cannot be wrong.
struct Typing<'a> {
    values: Values,
    folder: &'a Path,
    mistakes: Vec<Mistake>,
}

impl Typing<'_> {
    fn settings(&mut self, listeners: &[(Values, Option<usize>)]) -> Option<Settings> {
        let listen = self.listeners(listeners);
        let hostname = self.hostname();
        let node = self.node(hostname.as_ref());
        let limits = self.limits();
        let database = self.database();
        let backup = Arc::new(self.backup());
        let mut queue = self.queue();
        queue.backup = backup.domains().cloned().collect();
        Some(Settings {
            data_dir: self.path("data_dir").unwrap_or_default(),
            domains: self.domains(),
            key_file: self.path("store.key_file"),
            blobs: self.blob_home(&database),
            database,
            synchronous: match self.text("store.synchronous").as_str() {
                "off" => Synchronous::Off,
                _ => Synchronous::Full,
            },
            certificate: self.certificate(),
            client_ca: self.path("tls.client_ca"),
            dns: self.dns(),
            log_level: self.log_level(),
            log_format: match self.text("log.format").as_str() {
                "json" => LogFormat::Json,
                _ => LogFormat::Text,
            },
            metrics_public: self.flag("metrics.public"),
            stop_grace: self.span("stop_grace"),
            listen,
            limits: Arc::new(limits),
            auth: self.auth(),
            proxies: self.parsed("proxy.trusted", "a network", Network::parse),
            xclient_trusted: self.parsed("smtp.xclient_trusted", "a network", Network::parse),
            backup,
            safety: self.safety(hostname.as_ref()),
            alerts: self.alerts(),
            queue,
            scram: self.flag("smtp.scram"),
            auth_without_tls_on_loopback: self.text("smtp.auth_without_tls") == "loopback",
            hostname: hostname?,
            node,
        })
    }

    fn hostname(&mut self) -> Option<Domain> {
        let text = self.text("hostname");
        if text.is_empty() {
            self.mistake(
                "hostname",
                "`hostname` is not set; it is the name other servers know this one by, for \
                 example hostname = \"mx.example.org\""
                    .to_owned(),
            );
            return None;
        }
        let hostname = Domain::parse(&text)
            .ok()
            .filter(|name| name.literal().is_none());
        if hostname.is_none() {
            self.mistake(
                "hostname",
                format!("`hostname` is not a host name: \"{text}\""),
            );
        }
        hostname
    }

    /// Names travel in rows and logs, so that they are short and plain.
    fn node(&mut self, hostname: Option<&Domain>) -> String {
        let text = self.text("node");
        if text.is_empty() {
            return hostname.map(Domain::to_string).unwrap_or_default();
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if text.len() > NODE_BYTES_MAX || !text.chars().all(plain) {
            let why = format!(
                "`node` has at most {NODE_BYTES_MAX} letters, digits and -._ , not \"{text}\""
            );
            self.mistake("node", why);
        }
        text
    }

    fn log_level(&mut self) -> String {
        let level = self.text("log.level");
        if let Err(why) = crate::logs::check_level(&level) {
            self.mistake("log.level", format!("`log.level`: {why}"));
        }
        level
    }

    fn domains(&mut self) -> Vec<Domain> {
        let mut domains = Vec::new();
        for text in self.list("domains") {
            match Domain::parse(&text)
                .ok()
                .filter(|name| name.literal().is_none())
            {
                Some(domain) => domains.push(domain),
                None => self.mistake("domains", format!("`domains`: not a domain: \"{text}\"")),
            }
        }
        domains
    }

    fn certificate(&mut self) -> Option<(PathBuf, PathBuf)> {
        match (self.path("tls.certificate"), self.path("tls.key")) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                self.mistake(
                    "tls.certificate",
                    "`tls.certificate` and `tls.key` must be set together".to_owned(),
                );
                None
            }
        }
    }

    fn dns(&mut self) -> DnsSettings {
        let mut servers = Vec::new();
        for text in self.list("dns.servers") {
            // RFC 1035 §4.2: port 53.
            let ip = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
            match text.parse::<SocketAddr>().or(ip) {
                Ok(server) => servers.push(server),
                Err(_) => self.mistake(
                    "dns.servers",
                    format!("`dns.servers`: not an address or address:port: \"{text}\""),
                ),
            }
        }
        DnsSettings {
            servers,
            timeout: self.span("dns.timeout"),
            attempts: self.number("dns.attempts"),
            cache_answers: self.number("dns.cache_answers"),
            trust_ad: TrustAd::parse(&self.text("dns.trust_ad")).unwrap_or_default(),
        }
    }

    fn limits(&mut self) -> Limits {
        let limits = Limits {
            letter_bytes_max: self.number("limits.letter_size"),
            recipients_per_transaction_max: self.number("limits.recipients_per_transaction"),
            recipients_per_submission_max: self.number("limits.recipients_per_submission"),
            connections_max: self.number("limits.connections"),
            connections_per_address_max: self.number("limits.connections_per_address"),
            connections_per_second_max: self.number("limits.connections_per_second"),
            errors_per_session_max: self.number("limits.errors_per_session"),
            letters_per_session_max: self.number("limits.letters_per_session"),
            auth_failures_max: self.number("limits.auth_failures"),
            auth_window: self.span("limits.auth_window"),
            command_timeout: self.span("limits.command_timeout"),
            data_timeout: self.span("limits.data_timeout"),
            session_timeout: self.span("limits.session_timeout"),
            imap_idle_timeout: self.span("limits.imap_idle_timeout"),
            hops_max: self.number("limits.hops"),
            free_disk_bytes_min: self.number("limits.free_disk"),
            free_disk_percent_min: self.number("limits.free_disk_percent"),
            letters_in_memory_bytes_max: self.number("limits.letters_in_memory"),
            new_account_quota_bytes: self.number("accounts.quota_bytes"),
            new_account_quota_messages: self.number("accounts.quota_messages"),
            retention: Retention {
                deleted: self.span("retention.deleted"),
                trash: self.span("retention.trash"),
                junk: self.span("retention.junk"),
                account: self.span("retention.account"),
            },
            sending: Sending {
                letters_per_hour: self.number("sending.letters_per_hour"),
                letters_per_day: self.number("sending.letters_per_day"),
                recipients_per_hour: self.number("sending.recipients_per_hour"),
                recipients_per_day: self.number("sending.recipients_per_day"),
                brake_recipients: self.number("sending.brake_recipients"),
                brake_factor: self.number("sending.brake_factor"),
                brake_failures: self.number("sending.brake_failures"),
            },
            sub_address_separator: self.separator(),
        };
        if limits.letters_in_memory_bytes_max < limits.letter_bytes_max {
            self.mistake(
                "limits.letters_in_memory",
                "`limits.letters_in_memory` must not be less than `limits.letter_size`".to_owned(),
            );
        }
        limits
    }

    fn separator(&mut self) -> Option<char> {
        let text = self.text("addresses.separator");
        let mut chars = text.chars();
        let separator = chars.next();
        let usable = |c: &char| "+-=_.#%".contains(*c);
        if chars.next().is_some() || separator.is_some_and(|c| !usable(&c)) {
            self.mistake(
                "addresses.separator",
                "`addresses.separator` is one of + - = _ . # % or nothing".to_owned(),
            );
            return None;
        }
        separator
    }

    fn listeners(&mut self, listeners: &[(Values, Option<usize>)]) -> Vec<Listen> {
        if listeners.is_empty() {
            return usual_listeners();
        }
        listeners
            .iter()
            .filter_map(|(values, line)| self.listener(values, *line))
            .collect()
    }

    fn listener(&mut self, values: &Values, line: Option<usize>) -> Option<Listen> {
        let text = |name: &str| match values.value(name) {
            Some(Value::Text(text)) => text,
            _ => String::new(),
        };
        let protocol = match text("listen[].protocol").as_str() {
            "submission" => Protocol::Submission,
            "lmtp" => Protocol::Lmtp,
            "imap" => Protocol::Imap,
            "http" => Protocol::Http,
            _ => Protocol::Smtp,
        };
        let tls = match text("listen[].tls").as_str() {
            "starttls" => TlsMode::StartTls,
            "implicit" => TlsMode::Implicit,
            _ => TlsMode::None,
        };
        let mut mistake = |text: String| {
            self.mistakes.push(Mistake { line, text });
            None
        };
        if protocol == Protocol::Http && tls == TlsMode::StartTls {
            return mistake("http has no STARTTLS: use tls = \"implicit\" or \"none\"".to_owned());
        }
        let given = text("listen[].address");
        match given.parse() {
            Ok(address) => Some(Listen {
                protocol,
                address,
                tls,
                proxy: values.value("listen[].proxy") == Some(Value::Bool(true)),
            }),
            Err(_) => mistake(format!(
                "`listen[].address` must be address:port such as 0.0.0.0:25, not \"{given}\""
            )),
        }
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        let text = self.text(name);
        (!text.is_empty()).then(|| self.folder.join(text))
    }

    /// A file named in a text, beside the configuration.
    fn beside(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    fn text(&self, name: &str) -> String {
        match self.values.value(name) {
            Some(Value::Text(text)) => text,
            _ => String::new(),
        }
    }

    fn list(&self, name: &str) -> Vec<String> {
        match self.values.value(name) {
            Some(Value::List(list)) => list,
            _ => Vec::new(),
        }
    }

    fn flag(&self, name: &str) -> bool {
        matches!(self.values.value(name), Some(Value::Bool(true)))
    }

    /// The ranges in the table fit the types of the fields; a test reads every default and limit.
    fn number<T: TryFrom<i64> + Default>(&self, name: &str) -> T {
        match self.values.value(name) {
            Some(Value::Number(number)) => T::try_from(number).unwrap_or_default(),
            _ => T::default(),
        }
    }

    fn span(&self, name: &str) -> Duration {
        match self.values.value(name) {
            Some(Value::Span(span)) => span,
            _ => Duration::ZERO,
        }
    }

    fn mistake(&mut self, name: &str, text: String) {
        let line = self.values.line(name);
        self.mistakes.push(Mistake { line, text });
    }
}

/// The usual ports (RFC 5321, RFC 6409, RFC 8314, RFC 9051), on all IPv4 addresses.
fn usual_listeners() -> Vec<Listen> {
    [
        (Protocol::Smtp, 25, TlsMode::StartTls),
        (Protocol::Submission, 587, TlsMode::StartTls),
        (Protocol::Submission, 465, TlsMode::Implicit),
        (Protocol::Imap, 143, TlsMode::StartTls),
        (Protocol::Imap, 993, TlsMode::Implicit),
    ]
    .into_iter()
    .map(|(protocol, port, tls)| Listen {
        protocol,
        address: SocketAddr::from(([0, 0, 0, 0], port)),
        tls,
        proxy: false,
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, String> {
        Settings::parse(text, Path::new("/etc/pennyblack/pennyblack.toml"))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_of_the_table_are_the_defaults_of_the_limits() {
        let settings = parse("hostname = \"mx.test\"").unwrap();
        assert_eq!(*settings.limits, Limits::default());
        assert_eq!(settings.listen.len(), 5);
        assert!(settings.scram && settings.auth_without_tls_on_loopback);
        assert_eq!(settings.data_dir, Path::new("/var/lib/pennyblack"));
    }

    #[test]
    fn a_whole_file() {
        let settings = parse(
            "hostname = \"MX.Example.Test\"\ndata_dir = \"data\"\ndomains = [\"example.test\"]\n\
             [store]\nurl = \"sqlite://data/mail.db\"\n[blobs]\nurl = \"inline:\"\n\
             [dns]\nservers = [\"127.0.0.1:5353\", \"::1\"]\n\
             [limits]\nletter_size = \"1 MB\"\n\
             [[listen]]\nprotocol = \"imap\"\naddress = \"127.0.0.1:993\"\ntls = \"implicit\"\n",
        )
        .unwrap();
        assert_eq!(settings.hostname.as_str(), "mx.example.test");
        assert_eq!(settings.node, "mx.example.test");
        assert_eq!(settings.data_dir, Path::new("/etc/pennyblack/data"));
        let Database::Sqlite { path } = settings.database else {
            panic!("{:?}", settings.database);
        };
        assert_eq!(
            path.as_deref(),
            Some(Path::new("/etc/pennyblack/data/mail.db"))
        );
        assert_eq!(settings.dns.servers[1], "[::1]:53".parse().unwrap());
        assert_eq!(settings.limits.letter_bytes_max, 1 << 20);
        assert_eq!(
            settings.listen,
            [Listen {
                protocol: Protocol::Imap,
                address: "127.0.0.1:993".parse().unwrap(),
                tls: TlsMode::Implicit,
                proxy: false,
            }]
        );
    }

    #[test]
    fn a_node_may_have_a_name_of_its_own() {
        let named = |node| parse(&format!("hostname = \"mx.test\"\nnode = \"{node}\"\n"));
        assert_eq!(named("mail-1.east").unwrap().node, "mail-1.east");
        for wrong in ["two words", "a'b", &"n".repeat(NODE_BYTES_MAX + 1)] {
            let told = named(wrong).unwrap_err();
            assert!(told.contains("`node` has at most"), "{told}");
        }
    }

    #[test]
    fn mistakes_are_told_all_at_once_with_their_lines() {
        let told =
            parse("domains = [\"-bad\"]\n[tls]\nkey = \"k.pem\"\n[[listen]]\naddress = \"here\"\n")
                .unwrap_err();
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines.len(), 4, "{told}");
        assert!(
            told.contains("pennyblack.toml:1: `domains`: not a domain: \"-bad\""),
            "{told}"
        );
        assert!(told.contains("pennyblack.toml:4: `listen[].address` must be address:port"));
        assert!(told.contains("pennyblack.toml: `hostname` is not set"));
        assert!(told.contains("`tls.certificate` and `tls.key` must be set together"));
    }

    #[test]
    fn every_value_that_its_row_allows_fits_its_type() {
        use base::settings::Kind;
        for row in table::rows().filter(|row| row.name.starts_with("limits.")) {
            let (Kind::Integer { max, .. } | Kind::Bytes { max, .. }) = row.kind else {
                continue;
            };
            let name = row.name.strip_prefix("limits.").unwrap();
            let text = format!("hostname = \"mx.test\"\n[limits]\n{name} = {max}\n");
            if name != "letter_size" {
                let limits = parse(&text).unwrap().limits;
                assert!(
                    format!("{limits:?}").contains(&max.to_string()),
                    "{}",
                    row.name
                );
            }
        }
    }
}
