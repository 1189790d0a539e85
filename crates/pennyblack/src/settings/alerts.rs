//! The settings of what is watched, and of telling the administrator what is wrong.

use std::path::PathBuf;
use std::time::Duration;

use base::settings::{Kind, Setting};
use base::{Domain, EmailAddress};

use super::Typing;
use crate::node::alerts::TimeServer;

const SECOND_MS: i64 = 1_000;
const HOUR_MS: i64 = 3_600 * SECOND_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// One row for each setting.
pub(super) const ALERTS: &[Setting] = &[
    Setting {
        name: "alerts.mail",
        kind: Kind::Bool,
        default: "true",
        doc: "Whether the administrator is told by mail what is wrong. `pennyblack alerts list`, the log \
              and the metrics tell it in any case.",
    },
    Setting {
        name: "alerts.to",
        kind: Kind::TextList,
        default: "[]",
        doc: "The addresses that are told. When empty: `postmaster@` the first of `domains`, which \
              reaches the accounts made with `--admin`. An address elsewhere still hears of it when \
              mail here does not work.",
    },
    Setting {
        name: "alerts.interval",
        kind: Kind::Span {
            min_ms: SECOND_MS,
            max_ms: DAY_MS,
        },
        default: "\"5 m\"",
        doc: "How often it is looked at queue, disk, certificate, clock and backup.",
    },
    Setting {
        name: "alerts.dns_interval",
        kind: Kind::Span {
            min_ms: SECOND_MS,
            max_ms: 30 * DAY_MS,
        },
        default: "\"6 h\"",
        doc: "How often the DNS is asked for your records and on blocklists.",
    },
    Setting {
        name: "alerts.repeat",
        kind: Kind::Span {
            min_ms: SECOND_MS,
            max_ms: 30 * DAY_MS,
        },
        default: "\"24 h\"",
        doc: "After how long the administrator is told again of what is still wrong.",
    },
    Setting {
        name: "alerts.queue_age",
        kind: Kind::Span {
            min_ms: SECOND_MS,
            max_ms: 30 * DAY_MS,
        },
        default: "\"12 h\"",
        doc: "How long a letter may wait in the queue after its first attempt.",
    },
    Setting {
        name: "alerts.queue_recipients",
        kind: Kind::Integer {
            min: 1,
            max: 100_000_000,
        },
        default: "50000",
        doc: "How many recipients may wait in the queue.",
    },
    Setting {
        name: "alerts.disk_percent",
        kind: Kind::Integer { min: 0, max: 90 },
        default: "10",
        doc: "The share of the disk that is to be free, in percent. The alert comes in any case when \
              letters are refused for `limits.free_disk`.",
    },
    Setting {
        name: "alerts.certificate",
        kind: Kind::Span {
            min_ms: SECOND_MS,
            max_ms: 365 * DAY_MS,
        },
        default: "\"14d\"",
        doc: "How long before its end the certificate is to be renewed.",
    },
    Setting {
        name: "alerts.time_servers",
        kind: Kind::TextList,
        default: "[]",
        doc: "Time servers (NTP) that the clock is held against, as `host` or `host:port`; with several \
              the middle one of those that answer counts. When empty, the clock is not checked.",
    },
    Setting {
        name: "alerts.clock",
        kind: Kind::Span {
            min_ms: SECOND_MS,
            max_ms: DAY_MS,
        },
        default: "\"30 s\"",
        doc: "How much the clock may differ from `alerts.time_servers`.",
    },
    Setting {
        name: "alerts.dns",
        kind: Kind::Bool,
        default: "true",
        doc: "Whether the DNS records of your domains are looked up, as by `pennyblack dns check`.",
    },
    Setting {
        name: "alerts.blocklists",
        kind: Kind::TextList,
        default: "[]",
        doc: "Blocklists in the DNS (RFC 5782), such as `zen.spamhaus.org`, on which your addresses are \
              looked for. Most lists want to be asked by a resolver of your own.",
    },
    Setting {
        name: "alerts.addresses",
        kind: Kind::TextList,
        default: "[]",
        doc: "The addresses from which your mail goes out. When empty: the public ones of `hostname`.",
    },
    Setting {
        name: "alerts.backup",
        kind: Kind::Text,
        default: "\"\"",
        doc: "The folder of backups that is watched. When empty, none is.",
    },
    Setting {
        name: "alerts.backup_age",
        kind: Kind::Span {
            min_ms: SECOND_MS,
            max_ms: 365 * DAY_MS,
        },
        default: "\"2d\"",
        doc: "How old the newest backup in `alerts.backup` may be.",
    },
];

/// What is watched.
#[derive(Clone, Debug)]
pub struct AlertSettings {
    /// Whether letters are sent.
    pub mail: bool,
    /// To whom; when empty, to the postmaster.
    pub to: Vec<EmailAddress>,
    /// How often it is looked.
    pub interval: Duration,
    /// How often the DNS is asked.
    pub dns_interval: Duration,
    /// After how long it is told again.
    pub repeat: Duration,
    /// How long a letter may wait.
    pub queue_age: Duration,
    /// How many recipients may.
    pub queue_recipients: u64,
    /// The free share of the disk, in percent.
    pub disk_percent: u64,
    /// How long before its end.
    pub certificate: Duration,
    /// Whom the clock is held against.
    pub time_servers: Vec<TimeServer>,
    /// How far it may be off.
    pub clock: Duration,
    /// Whether our records are looked up.
    pub dns: bool,
    /// Blocklists.
    pub blocklists: Vec<Domain>,
    /// Our addresses; when empty, those of the host name.
    pub addresses: Vec<std::net::IpAddr>,
    /// The folder of backups.
    pub backup: Option<PathBuf>,
    /// How old the newest may be.
    pub backup_age: Duration,
}

impl Typing<'_> {
    pub(super) fn alerts(&mut self) -> AlertSettings {
        AlertSettings {
            mail: self.flag("alerts.mail"),
            to: self.parsed("alerts.to", "an address", |text| {
                EmailAddress::parse(text).ok()
            }),
            interval: self.span("alerts.interval"),
            dns_interval: self.span("alerts.dns_interval"),
            repeat: self.span("alerts.repeat"),
            queue_age: self.span("alerts.queue_age"),
            queue_recipients: self.number("alerts.queue_recipients"),
            disk_percent: self.number("alerts.disk_percent"),
            certificate: self.span("alerts.certificate"),
            time_servers: self.parsed("alerts.time_servers", "a host", TimeServer::parse),
            clock: self.span("alerts.clock"),
            dns: self.flag("alerts.dns"),
            blocklists: self.parsed("alerts.blocklists", "a domain", |text| {
                Domain::parse(text).ok()
            }),
            addresses: self.parsed("alerts.addresses", "an address", |text| text.parse().ok()),
            backup: self.path("alerts.backup"),
            backup_age: self.span("alerts.backup_age"),
        }
    }
}
