//! The settings of the way between servers: our own policy of MTA-STS, and the
//! reports that other domains get.

use std::time::Duration;

use base::Domain;
use base::settings::{Kind, Setting};
use transport::sts::{Mode, OwnPolicy};

use super::Typing;

const HOUR_MS: i64 = 3_600_000;

/// One row for each setting.
pub(super) const SAFETY: &[Setting] = &[
    Setting {
        name: "sts.mode",
        kind: Kind::OneOf(&["off", "none", "testing", "enforce"]),
        default: "\"off\"",
        doc: "The policy of MTA-STS that other servers are told about your domains: `enforce` (they \
              send only over TLS to the hosts it names), `testing` (they only report what would go \
              wrong), `none` (to take a policy back), or `off`: there is none. HTTP listeners with \
              TLS serve it to who asks for `mta-sts.DOMAIN`; see docs/transport-security.md.",
    },
    Setting {
        name: "sts.hosts",
        kind: Kind::TextList,
        default: "[]",
        doc: "The hosts that the policy names: those of your MX records, or `*.` and a domain. When \
              empty: `hostname`.",
    },
    Setting {
        name: "sts.max_age",
        kind: Kind::Span {
            min_ms: 24 * HOUR_MS,
            max_ms: 365 * 24 * HOUR_MS,
        },
        default: "\"14d\"",
        doc: "How long other servers may keep the policy.",
    },
    Setting {
        name: "reports.tls",
        kind: Kind::Bool,
        default: "true",
        doc: "Whether domains that ask for it (TLSRPT) are told once a day what became of TLS on \
              connections to their servers.",
    },
    Setting {
        name: "reports.dmarc",
        kind: Kind::Bool,
        default: "true",
        doc: "Whether domains that ask for it (the `rua` of their DMARC record) are told once a day \
              what was found of letters in their name: from which addresses they came, how many, \
              and what SPF, DKIM and DMARC said. Reports name no person and no letter.",
    },
    Setting {
        name: "reports.keep",
        kind: Kind::Span {
            min_ms: 24 * HOUR_MS,
            max_ms: 3_650 * 24 * HOUR_MS,
        },
        default: "\"400d\"",
        doc: "How long reports of others about your domains (DMARC, TLS, complaints) are kept for \
              `pennyblack reports`; their letters stay in the mailbox. At most 50,000 are kept.",
    },
];

/// The way between servers.
#[derive(Clone, Debug)]
pub struct SafetySettings {
    /// The policy that our domains have.
    pub sts: Option<OwnPolicy>,
    /// Whether reports about TLS are sent.
    pub tls_reports: bool,
    /// Whether reports of DMARC are sent.
    pub dmarc_reports: bool,
    /// How long reports of others are kept in rows.
    pub reports_kept: Duration,
}

impl Typing<'_> {
    pub(super) fn safety(&mut self, hostname: Option<&Domain>) -> SafetySettings {
        let mut hosts = Vec::new();
        for text in self.list("sts.hosts") {
            let name = text.strip_prefix("*.").unwrap_or(&text);
            match Domain::parse(name) {
                Ok(_) => hosts.push(text.to_ascii_lowercase()),
                Err(_) => {
                    let mistake =
                        format!("`sts.hosts`: not a host or `*.` and a domain: \"{text}\"");
                    self.mistake("sts.hosts", mistake);
                }
            }
        }
        if hosts.is_empty() {
            hosts.extend(hostname.map(ToString::to_string));
        }
        let age_max = self.span("sts.max_age");
        SafetySettings {
            sts: Mode::parse(&self.text("sts.mode"))
                .map(|mode| OwnPolicy::new(mode, hosts, age_max)),
            tls_reports: self.flag("reports.tls"),
            dmarc_reports: self.flag("reports.dmarc"),
            reports_kept: self.span("reports.keep"),
        }
    }
}
