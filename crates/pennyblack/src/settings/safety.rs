//! The settings of the way between servers: our own policy of MTA-STS, and reports about TLS.

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
];

/// The way between servers.
#[derive(Clone, Debug)]
pub struct SafetySettings {
    /// The policy that our domains have.
    pub sts: Option<OwnPolicy>,
    /// Whether reports about TLS are sent.
    pub tls_reports: bool,
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
        }
    }
}
