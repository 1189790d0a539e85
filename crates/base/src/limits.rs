//! The limits of the house in one table. Each is a setting; `docs/limits.md` tells the reply given.

use std::time::Duration;

/// Every limit that a peer, a user or an operator can meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest letter in bytes; advertised as SIZE (RFC 1870).
    pub letter_bytes_max: u64,
    /// Most recipients in one transaction from another server.
    pub recipients_per_transaction_max: usize,
    /// Most recipients in one submission of a user.
    pub recipients_per_submission_max: usize,
    /// Most connections open at once, over all listeners.
    pub connections_max: usize,
    /// Most connections open at once from one address.
    pub connections_per_address_max: usize,
    /// Most new connections a second from one address, averaged over ten seconds.
    pub connections_per_second_max: u32,
    /// Most errors (bad commands, refused recipients) in one session before it is closed.
    pub errors_per_session_max: u32,
    /// Most letters in one session before the peer is asked to connect anew.
    pub letters_per_session_max: u32,
    /// Most failed passwords from one address or for one login in [`Self::auth_window`].
    pub auth_failures_max: u32,
    /// The span in which failed passwords are counted.
    pub auth_window: Duration,
    /// How long a server waits for the next command (RFC 5321 §4.5.3.2.7: at least 5 minutes).
    pub command_timeout: Duration,
    /// How long a server waits for the next block of DATA.
    pub data_timeout: Duration,
    /// The longest a whole session may last without a letter accepted.
    pub session_timeout: Duration,
    /// How long an IMAP client may be idle (RFC 9051 §5.4: at least 30 minutes).
    pub imap_idle_timeout: Duration,
    /// Most hops (Received fields) before a letter counts as looping (RFC 5321 §6.3: at least 100).
    pub hops_max: usize,
    /// Free disk below which letters are refused with 452, in bytes.
    pub free_disk_bytes_min: u64,
    /// The share of free disk (in percent) below which letters are refused, if that is less than
    /// [`Self::free_disk_bytes_min`].
    pub free_disk_percent_min: u8,
    /// Memory for letters being parsed and stored at once, over all connections, in bytes.
    pub letters_in_memory_bytes_max: u64,
    /// The most bytes that the mail of a new account may take; 0: no limit.
    pub new_account_quota_bytes: u64,
    /// The most messages that a new account may hold; 0: no limit.
    pub new_account_quota_messages: u64,
    /// How long mail is kept that nobody wants any more.
    pub retention: Retention,
    /// What separates a user from a sub-address (RFC 5233): `+` in `user+tag@domain`; `None`: there
    /// are no sub-addresses.
    pub sub_address_separator: Option<char>,
    /// How much accounts may send.
    pub sending: Sending,
}

/// How much an account may send, and when it is held; 0 is no limit, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sending {
    /// Letters in a clock hour.
    pub letters_per_hour: u32,
    /// Letters in a clock hour and the 23 before it.
    pub letters_per_day: u32,
    /// Recipients in a clock hour.
    pub recipients_per_hour: u32,
    /// Recipients in a clock hour and the 23 before it.
    pub recipients_per_day: u32,
    /// Recipients in a clock hour above which an account is held that usually sends less.
    pub brake_recipients: u32,
    /// How many times its busiest hour of the last week an account may send.
    pub brake_factor: u32,
    /// Recipients of a day that could not be reached from which on an account is held.
    pub brake_failures: u32,
}

impl Sending {
    /// Nothing is limited and nobody held.
    pub const NONE: Self = Self {
        letters_per_hour: 0,
        letters_per_day: 0,
        recipients_per_hour: 0,
        recipients_per_day: 0,
        brake_recipients: 0,
        brake_factor: 0,
        brake_failures: 0,
    };
}

impl Default for Sending {
    fn default() -> Self {
        Self {
            letters_per_hour: 20_000,
            letters_per_day: 100_000,
            recipients_per_hour: 50_000,
            recipients_per_day: 200_000,
            brake_recipients: 20_000,
            brake_factor: 5,
            brake_failures: 1_000,
        }
    }
}

/// How long mail is kept that nobody wants any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How long deleted mail can be recovered; zero: it is gone at once.
    pub deleted: Duration,
    /// When a message has been in the trash so long, it is deleted; zero: never.
    pub trash: Duration,
    /// The same of junk.
    pub junk: Duration,
    /// How long an account that was removed can be restored; zero: it is gone at once.
    pub account: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3_600);
        Self {
            deleted: DAY * 14,
            trash: DAY * 30,
            junk: DAY * 30,
            account: DAY * 30,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            letter_bytes_max: 50 * 1024 * 1024,
            recipients_per_transaction_max: 1_000,
            recipients_per_submission_max: 100,
            connections_max: 10_000,
            connections_per_address_max: 50,
            connections_per_second_max: 30,
            errors_per_session_max: 20,
            letters_per_session_max: 10_000,
            auth_failures_max: 10,
            auth_window: Duration::from_secs(600),
            command_timeout: Duration::from_secs(300),
            data_timeout: Duration::from_secs(180),
            session_timeout: Duration::from_secs(3_600),
            imap_idle_timeout: Duration::from_secs(1_860),
            hops_max: 100,
            free_disk_bytes_min: 1024 * 1024 * 1024,
            free_disk_percent_min: 5,
            letters_in_memory_bytes_max: 512 * 1024 * 1024,
            new_account_quota_bytes: 0,
            new_account_quota_messages: 0,
            retention: Retention::default(),
            sending: Sending::default(),
            sub_address_separator: Some('+'),
        }
    }
}
