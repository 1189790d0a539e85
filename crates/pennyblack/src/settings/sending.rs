//! The settings of how much accounts may send. They end up in `base::limits::Sending`.

use base::settings::{Kind, Setting};

const COUNT: Kind = Kind::Integer {
    min: 0,
    max: 1_000_000_000,
};

/// The table.
pub(super) const SENDING: &[Setting] = &[
    Setting {
        name: "sending.letters_per_hour",
        kind: COUNT,
        default: "20000",
        doc: "The most letters that an account submits in a clock hour; 0: no limit. `pennyblack \
              account limit` changes it for one account, `domain limit` sets limits for all accounts \
              of a domain together.",
    },
    Setting {
        name: "sending.letters_per_day",
        kind: COUNT,
        default: "100000",
        doc: "The same in the last 24 clock hours.",
    },
    Setting {
        name: "sending.recipients_per_hour",
        kind: COUNT,
        default: "50000",
        doc: "The most recipients of the letters that an account submits in a clock hour; 0: no limit.",
    },
    Setting {
        name: "sending.recipients_per_day",
        kind: COUNT,
        default: "200000",
        doc: "The same in the last 24 clock hours.",
    },
    Setting {
        name: "sending.brake_recipients",
        kind: COUNT,
        default: "20000",
        doc: "An account with more recipients than this in a clock hour, and more than \
              `sending.brake_factor` times its busiest hour of the last week, is held until \
              `pennyblack account release`: what it submits is taken and waits. A quarter of it in the \
              first day of an account or a password; 0: never.",
    },
    Setting {
        name: "sending.brake_factor",
        kind: COUNT,
        default: "5",
        doc: "How many times its busiest hour of the last week an account may send before it is held.",
    },
    Setting {
        name: "sending.brake_failures",
        kind: COUNT,
        default: "1000",
        doc: "An account is also held when so many recipients of a day could not be reached for good, \
              and they are more than a third; a quarter of it in the first day; 0: never.",
    },
];
