//! The table of this crate's settings for letters that come in; those of the queue are in
//! [`crate::queue::settings`].

use base::settings::{Kind, Setting};

/// One row for each setting.
pub const ROWS: &[Setting] = &[
    Setting {
        name: "smtp.scram",
        kind: Kind::Bool,
        default: "true",
        doc: "Offer SCRAM-SHA-256 and SCRAM-SHA-1, with channel binding over TLS, beside PLAIN and LOGIN.",
    },
    Setting {
        name: "smtp.auth_without_tls",
        kind: Kind::OneOf(&["never", "loopback"]),
        default: "\"loopback\"",
        doc: "Where passwords may be sent on a connection that is not encrypted: nowhere, or only \
              between programs of this machine.",
    },
    Setting {
        name: "smtp.xclient_trusted",
        kind: Kind::TextList,
        default: "[]",
        doc: "Networks of proxies and filters of yours that may tell by XCLIENT whose session they \
              pass on. Whoever connects from there can pretend to be anybody.",
    },
    Setting {
        name: "backup_mx.domains",
        kind: Kind::TextList,
        default: "[]",
        doc: "Domains of other servers whose mail this one takes and passes on: it is one of their \
              mail exchangers, and not the best.",
    },
    Setting {
        name: "backup_mx.recipients",
        kind: Kind::Text,
        default: "\"\"",
        doc: "A file with the recipients of these domains, one address in each line. Of a domain that \
              is in it, others are refused. Without a list, what the other server refuses comes back \
              to senders as reports, forged ones too.",
    },
    Setting {
        name: "backup_mx.lifetime",
        kind: Kind::Span {
            min_ms: 60_000,
            max_ms: 90 * 86_400_000,
        },
        default: "\"20d\"",
        doc: "How long mail for these domains is tried before it is returned.",
    },
];
