//! SPF: may this address send for this domain (RFC 7208, with international names as RFC 8616).
//!
//! [`check`] is `check_host()` of RFC 7208 §4, whole: all mechanisms, modifiers and macros, with the
//! limits of §4.6.4. It says what the domain's owner publishes; what is done about it is decided
//! elsewhere, and never by SPF alone.

use std::fmt;
use std::net::IpAddr;

use crate::dns::{Answers, Need};
use crate::name::to_ascii;

mod evaluate;
mod expand;
mod macros;
mod record;
#[cfg(test)]
mod tests;

/// The result of a check (RFC 7208 §2.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpfResult {
    /// No record, or no domain that could have one.
    None,
    /// The owner says nothing about this address.
    Neutral,
    /// The address may send for the domain.
    Pass,
    /// It may not.
    Fail,
    /// It probably may not.
    SoftFail,
    /// The DNS gave no answer; another time it may.
    TempError,
    /// The record cannot be understood, or asks for too much.
    PermError,
}

impl SpfResult {
    /// The word of RFC 8601 §2.7.2.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Neutral => "neutral",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::SoftFail => "softfail",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}

impl fmt::Display for SpfResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Why a check ended with an error.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SpfReason {
    /// The DNS did not answer for this name.
    NoAnswer(String),
    /// The domain has more than one SPF record (RFC 7208 §4.5).
    SeveralRecords(String),
    /// This term of the domain's record breaks the grammar (RFC 7208 §4.6).
    BadTerm {
        /// The domain of the record.
        domain: String,
        /// The term, shortened, with only printable ASCII.
        term: String,
    },
    /// More than 10 terms that ask the DNS (RFC 7208 §4.6.4).
    TooManyLookups,
    /// More than 2 terms for which the DNS has nothing (RFC 7208 §4.6.4).
    TooManyVoidLookups,
    /// More than 10 MX records of this name (RFC 7208 §4.6.4).
    TooManyMx(String),
    /// `include` or `redirect` leads to this name, which has no record (RFC 7208 §5.2, §6.1).
    NoRecordAt(String),
}

impl fmt::Display for SpfReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer(name) => write!(f, "no answer from the DNS for {name}"),
            Self::SeveralRecords(name) => write!(f, "{name} has several SPF records"),
            Self::BadTerm { domain, term } => {
                write!(f, "the SPF record of {domain} has a bad term: {term}")
            }
            Self::TooManyLookups => f.write_str("the SPF record needs more than 10 look-ups"),
            Self::TooManyVoidLookups => {
                f.write_str("the SPF record has more than 2 look-ups without a record")
            }
            Self::TooManyMx(name) => write!(f, "{name} has more than 10 MX records"),
            Self::NoRecordAt(name) => write!(f, "{name} is named but has no SPF record"),
        }
    }
}

/// Whose right to send is checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpfIdentity {
    /// The reverse-path of MAIL (RFC 7208 §2.4).
    MailFrom,
    /// The name of HELO or EHLO (RFC 7208 §2.3).
    Helo,
}

/// What a check is told about the connection.
#[derive(Clone, Copy, Debug)]
pub struct SpfInput<'a> {
    /// The peer's address.
    pub address: IpAddr,
    /// The name that it greeted with.
    pub helo: &'a str,
    /// The reverse-path without angle brackets; empty for `<>`.
    pub reverse_path: &'a str,
    /// Our own name, for the macro `r`.
    pub receiver: &'a str,
    /// Seconds since 1970, for the macro `t`.
    pub now_secs: i64,
}

/// What a check found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SpfOutcome {
    /// The result.
    pub result: SpfResult,
    /// The identity that was checked.
    pub identity: SpfIdentity,
    /// Its domain in A-labels, or as given where it is none.
    pub domain: String,
    /// The term that decided, as the record has it.
    pub mechanism: Option<String>,
    /// Why it is an error.
    pub reason: Option<SpfReason>,
    /// What the domain's owner says about a failure (RFC 7208 §6.2): printable ASCII, at most 500
    /// bytes, and a stranger's words.
    pub explanation: Option<String>,
}

/// Checks one identity of a connection. For the null reverse-path, [`SpfIdentity::MailFrom`] stands
/// for `postmaster` at the HELO name (RFC 7208 §2.4).
///
/// # Errors
/// [`Need`] while answers are missing.
pub fn check(
    input: &SpfInput<'_>,
    identity: SpfIdentity,
    answers: &Answers,
) -> Result<SpfOutcome, Need> {
    let (local, domain) = sender(input, identity);
    let Some(ascii) = to_ascii(domain).filter(|name| is_checkable(name)) else {
        return Ok(SpfOutcome {
            result: SpfResult::None,
            identity,
            domain: domain.to_owned(),
            mechanism: None,
            reason: None,
            explanation: None,
        });
    };
    let scene = expand::Scene {
        address: input.address.to_canonical(),
        local,
        sender_domain: &ascii,
        helo: input.helo,
        receiver: input.receiver,
        now_secs: input.now_secs,
        answers,
    };
    let ended = evaluate::check_host(&scene)?;
    Ok(SpfOutcome {
        result: ended.result,
        identity,
        domain: ascii,
        mechanism: ended.mechanism,
        reason: ended.reason,
        explanation: ended.explanation,
    })
}

/// RFC 7208 §4.3: a sender without a local part is a postmaster.
fn sender<'a>(input: &SpfInput<'a>, identity: SpfIdentity) -> (&'a str, &'a str) {
    if identity == SpfIdentity::Helo || input.reverse_path.is_empty() {
        return ("postmaster", input.helo);
    }
    match input.reverse_path.rsplit_once('@') {
        Some(("", domain)) => ("postmaster", domain),
        Some((local, domain)) => (local, domain),
        None => ("postmaster", input.reverse_path),
    }
}

/// RFC 7208 §4.3: a name of several labels, no address literal.
fn is_checkable(name: &str) -> bool {
    name.contains('.') && !name.starts_with('[')
}
