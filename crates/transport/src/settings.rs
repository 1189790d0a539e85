//! The table of this crate's settings for letters that come in; those of the queue are in
//! [`crate::queue::settings`].

use base::settings::{Kind, Setting};

/// One row for each setting.
pub const ROWS: &[Setting] = &[
    Setting {
        name: "smtp.scram",
        kind: Kind::Bool,
        default: "true",
        doc: "Offer SCRAM-SHA-256 beside PLAIN and LOGIN on submission listeners.",
    },
    Setting {
        name: "smtp.auth_without_tls",
        kind: Kind::OneOf(&["never", "loopback"]),
        default: "\"loopback\"",
        doc: "Where passwords may be sent on a connection that is not encrypted: nowhere, or only \
              between programs of this machine.",
    },
];
