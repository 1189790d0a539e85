//! Kinds of failures, as far as they ask for different patience: from the status and the reply of a
//! [`Failure`] to one of a few classes. What follows from a class is in [`super::plan`].
//!
//! Status codes come first (RFC 3463, RFC 5248). Servers use some of them for many things, so a few
//! words are looked for in their replies as well; words that are not known change nothing but the
//! time of the next attempt.

use super::failure::{Failure, Status};

/// Attempts that are made soon after one another because the first refusals look like greylisting;
/// after that it is taken for a refusal by rules. RFC 6647 §4.1: servers take a letter that comes
/// again after a minimum time, which is 1 to 30 minutes in the usual software.
const GREYLISTED_ATTEMPTS_MAX: u32 = 6;

/// Why a letter waits, as far as it decides about the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureClass {
    /// Nobody answers at the addresses of the destination.
    Unreachable,
    /// The DNS does not answer about the destination.
    Dns,
    /// The server wants to see the letter once more, a little later (RFC 6647).
    Greylisted,
    /// The server wants fewer letters or connections from us.
    RateLimited,
    /// The mailbox has no room.
    MailboxFull,
    /// The rules of the server do not let the letter in now.
    Policy,
    /// No server could be reached as safely as the domain, the letter or the settings demand.
    Unsafe,
    /// The connection was lost in the middle.
    Interrupted,
    /// Any other "not now" of the server.
    Refused,
    /// This server itself could not do its part.
    Ours,
}

impl FailureClass {
    /// All of them, with the words of settings, queue list and metrics.
    pub const ALL: [(Self, &'static str); 10] = [
        (Self::Unreachable, "unreachable"),
        (Self::Dns, "dns"),
        (Self::Greylisted, "greylisted"),
        (Self::RateLimited, "rate-limited"),
        (Self::MailboxFull, "mailbox-full"),
        (Self::Policy, "policy"),
        (Self::Unsafe, "unsafe"),
        (Self::Interrupted, "interrupted"),
        (Self::Refused, "refused"),
        (Self::Ours, "ours"),
    ];

    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        let found = Self::ALL.iter().find(|(class, _)| *class == self);
        found.map_or("", |(_, word)| word)
    }

    /// Reads a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, known)| *known == word);
        found.map(|(class, _)| *class)
    }

    /// The class of a failure for now, of a recipient that had so many attempts before.
    #[must_use]
    pub fn of(failure: &Failure, attempts_before: u32) -> Self {
        match &failure.reply {
            Some(reply) => of_reply(failure.status, reply, attempts_before),
            None => of_finding(failure),
        }
    }
}

/// What the other server said.
fn of_reply(status: Status, reply: &str, attempts_before: u32) -> FailureClass {
    let code = reply.get(..3).unwrap_or_default();
    let said = reply.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let may_be_greylisting =
        matches!(code, "450" | "451") && attempts_before < GREYLISTED_ATTEMPTS_MAX;
    if may_be_greylisting && says(GREYLISTING) {
        return FailureClass::Greylisted;
    }
    // RFC 5321 §3.8: 421 closes the connection, whatever the rest says.
    if code == "421" || (says(TOO_MUCH) && !is_too_wide(status, &said)) {
        return FailureClass::RateLimited;
    }
    match status {
        // RFC 3463 §3.3: the mailbox is full. Without a status, 452 mostly means the same.
        Status(_, 2, 2) => FailureClass::MailboxFull,
        _ if is_too_wide(status, &said) => FailureClass::Refused,
        Status(_, 0, 0) if code == "452" => FailureClass::MailboxFull,
        // RFC 3463 §3.4, §3.5: the system takes no letters now; congestion. X.7.28 is "mail flood
        // detected" in the registry of RFC 5248.
        Status(_, 3, 2) | Status(_, 4, 5) | Status(_, 7, 28) => FailureClass::RateLimited,
        // Greylisting has no status of its own; most of its software says 4.7.1, and a refusal by
        // rules that is really for now is tried soon without harm.
        Status(_, 7, 1) if may_be_greylisting => FailureClass::Greylisted,
        // RFC 3463 §3.8, RFC 8689 §8.4: the server wants encryption.
        Status(_, 7, 4 | 5 | 10 | 11 | 30) => FailureClass::Unsafe,
        Status(_, 7, _) => FailureClass::Policy,
        _ => FailureClass::Refused,
    }
}

/// RFC 5321 §4.5.3.1.10: the transaction has as many recipients as it may, which says nothing of how
/// many letters come; the rest is taken in the next one.
fn is_too_wide(status: Status, said: &str) -> bool {
    matches!(status, Status(_, 5, 3))
        || (matches!(status, Status(_, 0, 0)) && said.contains("too many recipients"))
}

/// What we found ourselves.
fn of_finding(failure: &Failure) -> FailureClass {
    match failure.status {
        Status(_, 4, 3 | 4) => FailureClass::Dns,
        Status(_, 4, 1 | 5) => FailureClass::Unreachable,
        Status(_, 4, 2) | Status(_, 5, _) => FailureClass::Interrupted,
        Status(_, 2, 2) => FailureClass::MailboxFull,
        Status(_, 7, _) => FailureClass::Unsafe,
        _ => FailureClass::Ours,
    }
}

/// Words of greylisting software (postgrey, rspamd, Exim's, SQLgrey, milter-greylist).
const GREYLISTING: &[&str] = &[
    "greylist",
    "graylist",
    "grey-list",
    "gray-list",
    "grey list",
];

/// Words for too much at once, as large providers use them.
const TOO_MUCH: &[&str] = &[
    "rate limit",
    "rate-limit",
    "throttl",
    "too many",
    "too much mail",
    "too fast",
    "too quickly",
    "too frequent",
    "temporarily deferred",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn replied(status: Status, reply: &str) -> Failure {
        Failure {
            reply: Some(reply.to_owned()),
            ..Failure::temporary(status, "refused")
        }
    }

    #[test]
    fn replies_of_servers() {
        let check = |reply: &str, expected: &str| {
            let status = reply.split(' ').nth(1).unwrap();
            let numbers: Vec<u16> = status.split('.').filter_map(|n| n.parse().ok()).collect();
            let status = match numbers[..] {
                [_, subject, detail] => Status(4, subject, detail),
                _ => Status(4, 0, 0),
            };
            let class = FailureClass::of(&replied(status, reply), 0);
            assert_eq!(class.as_str(), expected, "{reply}");
        };
        check(
            "450 4.2.0 <a@b>: Recipient address rejected: Greylisted",
            "greylisted",
        );
        check("451 4.7.1 Please try again later", "greylisted");
        check(
            "450 4.7.1 Client host rejected: cannot find your hostname",
            "greylisted",
        );
        check("451 graylisted, come back in 5 minutes", "greylisted");
        check(
            "421 4.7.28 unusual rate of unsolicited mail",
            "rate-limited",
        );
        check("421 4.3.2 shutting down", "rate-limited");
        check(
            "450 4.2.1 The user is receiving mail too quickly",
            "rate-limited",
        );
        check(
            "451 4.7.650 temporarily rate limited due to IP reputation",
            "rate-limited",
        );
        check("451 4.4.5 busy", "rate-limited");
        check("452 4.2.2 over quota", "mailbox-full");
        check("452 Requested action not taken", "mailbox-full");
        check("452 4.3.1 no disk", "refused");
        check("452 4.5.3 too many recipients", "refused");
        check("452 Too many recipients", "refused");
        check("450 4.7.25 no reverse DNS", "policy");
        check("454 4.7.5 certificate needed", "unsafe");
        check("451 4.3.0 local error", "refused");
        check("450 mailbox busy", "refused");
    }

    #[test]
    fn greylisting_that_never_ends_is_a_rule() {
        let failure = replied(Status(4, 7, 1), "451 4.7.1 greylisted");
        assert_eq!(FailureClass::of(&failure, 5), FailureClass::Greylisted);
        assert_eq!(FailureClass::of(&failure, 6), FailureClass::Policy);
    }

    #[test]
    fn findings_of_ours() {
        let check = |status: Status, expected: FailureClass| {
            let class = FailureClass::of(&Failure::temporary(status, "found"), 0);
            assert_eq!(class, expected, "{status}");
        };
        check(Status(4, 4, 3), FailureClass::Dns);
        check(Status(4, 4, 1), FailureClass::Unreachable);
        check(Status(4, 4, 2), FailureClass::Interrupted);
        check(Status(4, 5, 0), FailureClass::Interrupted);
        check(Status(4, 7, 5), FailureClass::Unsafe);
        check(Status(4, 2, 2), FailureClass::MailboxFull);
        check(Status(4, 3, 0), FailureClass::Ours);
        check(Status(4, 3, 5), FailureClass::Ours);
    }

    #[test]
    fn words_there_and_back() {
        for (class, word) in FailureClass::ALL {
            assert_eq!(FailureClass::parse(word), Some(class));
            assert_eq!(class.as_str(), word);
        }
        assert_eq!(FailureClass::parse("greylist"), None);
    }
}
