//! What a run is about: a letter, its envelope, and the user whose script it is.

use base::{EmailAddress, Timestamp};
use message::Message;

use crate::Limits;

/// The arguments of one run.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The letter as received.
    pub letter: &'a Message<'a>,
    /// MAIL FROM; `None`: the null reverse-path.
    pub reverse_path: Option<&'a EmailAddress>,
    /// The RCPT TO that brought the letter to this user; `None` when it came another way.
    pub recipient: Option<&'a EmailAddress>,
    /// Whose script it is.
    pub user: &'a User,
    /// The time.
    pub now: Timestamp,
    /// The items of the test `environment` (RFC 5183 §4.1): name and value.
    pub environment: &'a [(&'a str, &'a str)],
    /// What the filters said of the letter.
    pub scores: Scores,
    /// How much the run may take.
    pub limits: &'a Limits,
}

/// What of the user matters to scripts.
#[derive(Clone, Debug)]
pub struct User {
    /// The address that answers and notifications come from.
    pub address: EmailAddress,
    /// The name that stands beside it.
    pub name: Option<String>,
    /// All other addresses of the user.
    pub other_addresses: Vec<EmailAddress>,
    /// Minutes east of UTC, for `:zone`less dates (RFC 5260 §4.1).
    pub offset_minutes: i16,
    /// What separates user and detail in a local part (RFC 5233 §4); none: there are no details.
    pub detail_separator: Option<char>,
    /// How long a sender has no second answer when the script does not say (RFC 5230 §4.1: a site's
    /// choice), in seconds.
    pub vacation_seconds_default: u64,
    /// The shortest such time that a script may choose, in seconds.
    pub vacation_seconds_min: u64,
    /// The longest such time.
    pub vacation_seconds_max: u64,
    /// How long a mark of `duplicate` counts when the script does not say (RFC 7352 §3.2), in
    /// seconds; scripts may choose at most that much times [`DUPLICATE_FACTOR_MAX`].
    pub duplicate_seconds_default: u64,
}

/// How much longer than the default a script may have marks of `duplicate` kept.
pub const DUPLICATE_FACTOR_MAX: u64 = 13;

impl User {
    /// A user with one address and the usual times.
    #[must_use]
    pub fn new(address: EmailAddress) -> Self {
        const DAY: u64 = 24 * 3_600;
        Self {
            address,
            name: None,
            other_addresses: Vec::new(),
            offset_minutes: 0,
            detail_separator: Some('+'),
            vacation_seconds_default: 7 * DAY,
            // RFC 6131 §2 lets a script say 0, an answer to each letter; that is a loop's delight.
            vacation_seconds_min: 60,
            vacation_seconds_max: 30 * DAY,
            duplicate_seconds_default: 7 * DAY,
        }
    }

    /// All addresses.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = &EmailAddress> {
        std::iter::once(&self.address).chain(&self.other_addresses)
    }
}

/// What filters said of a letter (RFC 5235); `None`: it was not looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Scores {
    /// How likely it is junk, 0 to 100.
    pub spam_percent: Option<u8>,
    /// 1: no malware found, 2: cured, 3: suspicious, 4: likely, 5: surely malware (§2.3).
    pub virus: Option<u8>,
}
