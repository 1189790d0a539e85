//! The settings of accounts: what a new one may take, and how long mail is kept that nobody wants
//! any more. They end up in `base::limits::Limits`.

use base::settings::{Kind, Setting};

const DAY_MS: i64 = 24 * 3_600 * 1_000;
const GB: i64 = 1 << 30;

/// Ten years: nobody waits longer, and a clock can be that far off.
const RETENTION_MAX_MS: i64 = 3_650 * DAY_MS;

/// The table.
pub(super) const PEOPLE: &[Setting] = &[
    Setting {
        name: "accounts.quota_bytes",
        kind: Kind::Bytes {
            min: 0,
            max: 1_000_000 * GB,
        },
        default: "0",
        doc: "The most that the mail of a new account may take; 0: no limit. `pennyblack account \
              quota` changes it for one account.",
    },
    Setting {
        name: "accounts.quota_messages",
        kind: Kind::Integer {
            min: 0,
            max: 1_000_000_000,
        },
        default: "0",
        doc: "The most messages that a new account may hold; 0: no limit.",
    },
    Setting {
        name: "addresses.separator",
        kind: Kind::Text,
        default: "\"+\"",
        doc: "What separates a user from a sub-address: with `+`, mail to `user+tag@domain` reaches \
              `user@domain`. Nothing (\"\"): there are no sub-addresses.",
    },
    Setting {
        name: "retention.deleted",
        kind: Kind::Span {
            min_ms: 0,
            max_ms: RETENTION_MAX_MS,
        },
        default: "\"14 d\"",
        doc: "How long deleted mail can be recovered with `pennyblack account deleted`; 0: it is \
              gone at once. It does not count against quotas.",
    },
    Setting {
        name: "retention.trash",
        kind: Kind::Span {
            min_ms: 0,
            max_ms: RETENTION_MAX_MS,
        },
        default: "\"30 d\"",
        doc: "A message that has been in Trash so long is deleted; 0: never. It can then still be \
              recovered for `retention.deleted`.",
    },
    Setting {
        name: "retention.junk",
        kind: Kind::Span {
            min_ms: 0,
            max_ms: RETENTION_MAX_MS,
        },
        default: "\"30 d\"",
        doc: "The same of Junk.",
    },
    Setting {
        name: "retention.account",
        kind: Kind::Span {
            min_ms: 0,
            max_ms: RETENTION_MAX_MS,
        },
        default: "\"30 d\"",
        doc: "How long an account that was removed can be restored with `pennyblack account \
              restore`; 0: it is gone at once.",
    },
];
