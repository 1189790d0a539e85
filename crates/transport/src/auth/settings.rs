//! The table of the settings of mail authentication.

use base::settings::{Kind, Setting};

const SECOND_MS: i64 = 1_000;

/// One row for each setting.
pub const ROWS: &[Setting] = &[
    Setting {
        name: "auth.dmarc",
        kind: Kind::OneOf(&["reject", "quarantine", "none"]),
        default: "\"reject\"",
        doc: "The most that is done with a letter that fails DMARC because its author's domain \
              wishes it: refused, put into Junk, or only noted.",
    },
    Setting {
        name: "auth.timeout",
        kind: Kind::Span {
            min_ms: SECOND_MS,
            max_ms: 300 * SECOND_MS,
        },
        default: "\"20s\"",
        doc: "How long a letter's checks may wait for the DNS: names and SPF while it comes in, and \
              as long again when it is there, half for the keys of signatures and half for the records \
              of the author's domain. What has no answer by then is a temporary error, which never \
              refuses a letter.",
    },
    Setting {
        name: "auth.trusted",
        kind: Kind::TextList,
        default: "[\"127.0.0.0/8\", \"::1\"]",
        doc: "Networks of your own servers that hand over mail. Their letters are not checked, and \
              their Authentication-Results are believed.",
    },
    Setting {
        name: "auth.names",
        kind: Kind::TextList,
        default: "[]",
        doc: "Names besides `hostname` that stand for this installation in Authentication-Results \
              fields, such as the hostnames of its other nodes. Fields of strangers that bear one \
              of them are removed.",
    },
    Setting {
        name: "auth.arc_sealers",
        kind: Kind::TextList,
        default: "[]",
        doc: "Domains of forwarders and mailing lists whose ARC sets are believed: a letter that \
              fails DMARC is taken when one of them has sealed that it had passed there.",
    },
];
