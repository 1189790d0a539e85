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
];
