//! The table of this crate's settings, and the list of all tables.

use base::settings::{Kind, Setting};

/// Listener settings are written once per `[[listen]]` table; their names begin so.
pub const LISTEN_PREFIX: &str = "listen[].";

const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
const KB: i64 = 1 << 10;
const MB: i64 = 1 << 20;
const GB: i64 = 1 << 30;

/// Where the node is and what it serves.
const NODE: &[Setting] = &[
    Setting {
        name: "hostname",
        kind: Kind::Text,
        default: "\"\"",
        doc: "The name under which this node greets other servers and which its certificate \
              carries. Must be set.",
    },
    Setting {
        name: "node",
        kind: Kind::Text,
        default: "\"\"",
        doc: "What this node calls itself among those that share a database: each needs a name of its \
              own, which stays the same over restarts. When empty: the hostname.",
    },
    Setting {
        name: "data_dir",
        kind: Kind::Text,
        default: "\"/var/lib/pennyblack\"",
        doc: "The folder that holds everything of this node. A relative path starts at the \
              folder of the configuration file.",
    },
    Setting {
        name: "domains",
        kind: Kind::TextList,
        default: "[]",
        doc: "Domains whose mail is ours; more through `pennyblack domain add`. A domain taken \
              off this list stays ours until `pennyblack domain remove`.",
    },
];

/// TLS, DNS and what a node says about itself.
const OUTSIDE: &[Setting] = &[
    Setting {
        name: "tls.certificate",
        kind: Kind::Text,
        default: "\"\"",
        doc: "A PEM file with the certificate and its chain. When empty, a self-signed one is \
              made for a hostname that is `localhost` or ends in `.test` or `.localhost`. Read \
              again on SIGHUP.",
    },
    Setting {
        name: "tls.key",
        kind: Kind::Text,
        default: "\"\"",
        doc: "A PEM file with the certificate's private key.",
    },
    Setting {
        name: "tls.client_ca",
        kind: Kind::Text,
        default: "\"\"",
        doc: "A PEM file with certificate authorities. Submission and IMAP with TLS then ask \
              programs for a certificate, and one signed by these logs in without a password (SASL \
              EXTERNAL) whoever its mail address belongs to: list only authorities that check whom \
              they give an address of yours. Nobody must have one. Read again on SIGHUP.",
    },
    Setting {
        name: "dns.servers",
        kind: Kind::TextList,
        default: "[]",
        doc: "The resolvers to ask, as `address` or `address:port`. When empty: the system's \
              (`/etc/resolv.conf`).",
    },
    Setting {
        name: "dns.timeout",
        kind: Kind::Span {
            min_ms: 100,
            max_ms: MINUTE_MS,
        },
        default: "\"5 s\"",
        doc: "How long one question to a resolver may take before it is asked again.",
    },
    Setting {
        name: "dns.attempts",
        kind: Kind::Integer { min: 1, max: 10 },
        default: "2",
        doc: "How often a question is asked before the answer counts as missing, and the letter \
              waits.",
    },
    Setting {
        name: "dns.cache_answers",
        kind: Kind::Integer {
            min: 0,
            max: 1_000_000,
        },
        default: "8192",
        doc: "How many answers are remembered, each as long as it says itself. One of more than 1 KB \
              counts as several.",
    },
    Setting {
        name: "dns.trust_ad",
        kind: Kind::OneOf(&["loopback", "always", "never"]),
        default: "\"loopback\"",
        doc: "When a resolver is believed that DNSSEC vouches for an answer (the AD bit): when all \
              resolvers are on this machine, always (you vouch for the way to them), or never. \
              DANE needs a resolver that validates, such as Unbound, and is off without one.",
    },
    Setting {
        name: "log.level",
        kind: Kind::Text,
        default: "\"info\"",
        doc: "What is logged: `error`, `warn`, `info`, `debug`, `trace`, or directives such as \
              `info,pennyblack_transport=debug`. The environment variable RUST_LOG goes first.",
    },
    Setting {
        name: "log.format",
        kind: Kind::OneOf(&["text", "json"]),
        default: "\"text\"",
        doc: "How a line of the log is written.",
    },
    Setting {
        name: "metrics.public",
        kind: Kind::Bool,
        default: "false",
        doc: "Whether `/metrics` answers everybody; otherwise only this machine.",
    },
    Setting {
        name: "stop_grace",
        kind: Kind::Span {
            min_ms: 0,
            max_ms: HOUR_MS,
        },
        default: "\"10 s\"",
        doc: "How long open sessions may finish what they are doing when the node is told to \
              stop.",
    },
];

/// One listener.
const LISTEN: &[Setting] = &[
    Setting {
        name: "listen[].protocol",
        kind: Kind::OneOf(&["smtp", "submission", "lmtp", "imap", "http"]),
        default: "\"smtp\"",
        doc: "What is spoken: `smtp` takes mail from other servers, `submission` from our own \
              users, `lmtp` takes it from programs of the same house for mailboxes here (it needs no \
              login: leave it to this machine or a private network), `imap` lets them read it, `http` answers `/healthz` and `/metrics`. \
              Without any `[[listen]]` table, the usual ports of smtp, submission and imap are \
              used.",
    },
    Setting {
        name: "listen[].address",
        kind: Kind::Text,
        default: "\"\"",
        doc: "Address and port: `0.0.0.0:25`, `[::]:25`. Port 0 takes a free one. \
              `[::]` also takes IPv4, unless another listener has the port for IPv4. Must be set.",
    },
    Setting {
        name: "listen[].tls",
        kind: Kind::OneOf(&["none", "starttls", "implicit"]),
        default: "\"none\"",
        doc: "`starttls`: offered in the dialogue; `implicit`: from the first byte; `none`: \
              never, and then nobody can log in except from this machine.",
    },
    Setting {
        name: "listen[].proxy",
        kind: Kind::Bool,
        default: "false",
        doc: "Proxies from `proxy.trusted` tell by the PROXY protocol (version 1 or 2) whose \
              connection they pass on; they must, and nobody else is believed.",
    },
];

/// Proxies in front of listeners.
const PROXY: &[Setting] = &[Setting {
    name: "proxy.trusted",
    kind: Kind::TextList,
    default: "[]",
    doc: "Networks of the proxies that are believed by listeners with `proxy = true`. Whoever \
          connects from there can pretend to be anybody.",
}];

/// All of `base::limits::Limits`.
const LIMITS: &[Setting] = &[
    Setting {
        name: "limits.letter_size",
        kind: Kind::Bytes {
            min: 64 * KB,
            max: 2 * GB - 1,
        },
        default: "\"50 MB\"",
        doc: "Largest letter; told to clients and servers as SIZE.",
    },
    Setting {
        name: "limits.recipients_per_transaction",
        kind: Kind::Integer {
            min: 100,
            max: 10_000,
        },
        default: "1000",
        doc: "Most recipients in one transaction from another server (RFC 5321 asks for at \
              least 100).",
    },
    Setting {
        name: "limits.recipients_per_submission",
        kind: Kind::Integer {
            min: 1,
            max: 10_000,
        },
        default: "100",
        doc: "Most recipients of one letter of a user.",
    },
    Setting {
        name: "limits.connections",
        kind: Kind::Integer {
            min: 1,
            max: 1_000_000,
        },
        default: "10000",
        doc: "Most connections open at once, over all listeners.",
    },
    Setting {
        name: "limits.connections_per_address",
        kind: Kind::Integer {
            min: 1,
            max: 1_000_000,
        },
        default: "50",
        doc: "Most connections open at once from one address (IPv6: from one /64).",
    },
    Setting {
        name: "limits.connections_per_second",
        kind: Kind::Integer {
            min: 1,
            max: 100_000,
        },
        default: "30",
        doc: "Most new connections a second from one address, averaged over ten seconds.",
    },
    Setting {
        name: "limits.errors_per_session",
        kind: Kind::Integer {
            min: 1,
            max: 10_000,
        },
        default: "20",
        doc: "Most errors (bad commands, refused recipients) in one session before it is closed.",
    },
    Setting {
        name: "limits.letters_per_session",
        kind: Kind::Integer {
            min: 1,
            max: 1_000_000,
        },
        default: "10000",
        doc: "Most letters in one session before the peer is asked to connect anew.",
    },
    Setting {
        name: "limits.auth_failures",
        kind: Kind::Integer {
            min: 1,
            max: 10_000,
        },
        default: "10",
        doc: "Most failed passwords from one address or for one login within \
              `limits.auth_window`.",
    },
    Setting {
        name: "limits.auth_window",
        kind: Kind::Span {
            min_ms: SECOND_MS,
            max_ms: DAY_MS,
        },
        default: "\"10 m\"",
        doc: "The span in which failed passwords are counted.",
    },
    Setting {
        name: "limits.command_timeout",
        kind: Kind::Span {
            min_ms: SECOND_MS,
            max_ms: HOUR_MS,
        },
        default: "\"5 m\"",
        doc: "How long the server waits for the next command (RFC 5321 asks for at least 5 \
              minutes).",
    },
    Setting {
        name: "limits.data_timeout",
        kind: Kind::Span {
            min_ms: SECOND_MS,
            max_ms: HOUR_MS,
        },
        default: "\"3 m\"",
        doc: "How long the server waits for the next block of a letter (RFC 5321 asks for at \
              least 3 minutes).",
    },
    Setting {
        name: "limits.session_timeout",
        kind: Kind::Span {
            min_ms: SECOND_MS,
            max_ms: DAY_MS,
        },
        default: "\"1 h\"",
        doc: "The longest a session may last without a letter accepted.",
    },
    Setting {
        name: "limits.imap_idle_timeout",
        kind: Kind::Span {
            min_ms: SECOND_MS,
            max_ms: DAY_MS,
        },
        default: "\"31 m\"",
        doc: "How long an IMAP client may be silent (RFC 9051 asks for at least 30 minutes).",
    },
    Setting {
        name: "limits.hops",
        kind: Kind::Integer {
            min: 10,
            max: 1_000,
        },
        default: "100",
        doc: "Most servers a letter may have passed before it counts as looping.",
    },
    Setting {
        name: "limits.free_disk",
        kind: Kind::Bytes {
            min: 0,
            max: 1_024 * GB,
        },
        default: "\"1 GB\"",
        doc: "Free disk below which new letters are answered with 452; reading and deleting go \
              on.",
    },
    Setting {
        name: "limits.free_disk_percent",
        kind: Kind::Integer { min: 0, max: 50 },
        default: "5",
        doc: "The same as a share of the disk, in percent; the smaller of the two counts.",
    },
    Setting {
        name: "limits.letters_in_memory",
        kind: Kind::Bytes {
            min: 64 * MB,
            max: 1_024 * GB,
        },
        default: "\"512 MB\"",
        doc: "Memory for letters being read and stored at once, over all connections. Must hold \
              the largest letter.",
    },
];

/// Every setting there is, in the order of the documentation.
pub fn rows() -> impl Iterator<Item = &'static Setting> {
    tables().into_iter().flatten()
}

fn tables() -> Vec<&'static [Setting]> {
    vec![
        NODE,
        super::storage::STORAGE,
        OUTSIDE,
        LISTEN,
        PROXY,
        LIMITS,
        super::people::PEOPLE,
        super::sending::SENDING,
        transport::settings::ROWS,
        transport::auth::settings::ROWS,
        transport::queue::settings::SETTINGS,
        super::safety::SAFETY,
        super::alerts::ALERTS,
    ]
}

/// The row of a setting.
#[must_use]
pub fn row(name: &str) -> Option<&'static Setting> {
    rows().find(|row| row.name == name)
}
