//! DMARC: whether the author's domain stands behind a letter, and what its owner wants done with one
//! that it does not stand behind (RFC 9989).
//!
//! [`evaluate`] takes what SPF and DKIM have found and gives a result and a wish. What is done is
//! decided elsewhere; a domain's wish is not an order (RFC 9989 §5.4).

use std::fmt;

use crate::dns::{Answers, Need};

mod evaluate;
mod external;
mod from;
mod record;
#[cfg(test)]
mod tests;
mod walk;

use evaluate::evaluate_one;
pub use evaluate::{Aligned, alignments};
pub use external::{Destination, Destinations, destination, destinations};
pub use from::{AUTHOR_DOMAINS_MAX, AuthorFault, Authors};
pub use record::{DmarcRecord, Policy, PublicSuffix, ReportUri};

/// The result of a check (RFC 9989 §5.3.5; words of RFC 8601 §2.7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DmarcResult {
    /// No record applies.
    None,
    /// An identifier that was verified is of the author's organisation.
    Pass,
    /// None is.
    Fail,
    /// The DNS gave no answer; another time it may.
    TempError,
    /// The letter or the record cannot be understood.
    PermError,
}

impl DmarcResult {
    /// The word of an Authentication-Results field.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}

/// How an identifier was come by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// The domain of the reverse-path, by SPF.
    Spf,
    /// The signing domain of a DKIM signature.
    Dkim,
}

impl Method {
    /// Its name.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Spf => "spf",
            Self::Dkim => "dkim",
        }
    }
}

/// A domain that SPF or DKIM has verified, or could not verify for want of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identifier<'a> {
    /// The domain.
    pub domain: &'a str,
    /// How it was come by.
    pub method: Method,
    /// `false`: the method ended with a temporary error, so that it may be right after all.
    pub verified: bool,
}

/// Why a result is as it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DmarcReason {
    /// The From field has a fault.
    Author(AuthorFault),
    /// This identifier is of the author's organisation.
    Aligned(Method, String),
    /// No identifier was verified.
    NothingVerified,
    /// What was verified is of other organisations.
    NotAligned,
    /// The DNS did not answer for this domain.
    NoAnswer(String),
    /// SPF or DKIM ended with a temporary error for this domain, which would be aligned.
    Unsure(Method, String),
    /// The record of this domain has a policy that is none, and no address for reports.
    BadRecord(String),
}

impl fmt::Display for DmarcReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Author(fault) => f.write_str(fault.word()),
            Self::Aligned(method, domain) => write!(f, "{} of {domain} aligned", method.word()),
            Self::NothingVerified => f.write_str("neither SPF nor DKIM passed"),
            Self::NotAligned => f.write_str("what passed is not of the author's domain"),
            Self::NoAnswer(domain) => write!(f, "no answer from the DNS for {domain}"),
            Self::Unsure(method, domain) => {
                write!(f, "{} of {domain} could not be checked", method.word())
            }
            Self::BadRecord(domain) => write!(f, "the record of {domain} has no valid policy"),
        }
    }
}

/// What a check found for one author domain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DmarcOutcome {
    /// The result.
    pub result: DmarcResult,
    /// The author's domain in A-labels; empty if the letter has none.
    pub author: String,
    /// What the owner wants done with a letter that fails, after `sp`, `np` and `t`.
    pub policy: Policy,
    /// The record that applies, and the domain that it stands at.
    pub record: Option<(String, DmarcRecord)>,
    /// Why.
    pub reason: Option<DmarcReason>,
}

impl DmarcOutcome {
    /// What the owner wants done with this letter. One that could not be checked to the end, but whose
    /// owner's wish is known, is not refused, and not believed either: a stranger who can keep a
    /// key or an SPF record from being answered must not reach the inbox by that.
    #[must_use]
    pub fn wish(&self) -> Policy {
        match self.result {
            DmarcResult::Fail | DmarcResult::PermError => self.policy,
            DmarcResult::TempError => self.policy.min(Policy::Quarantine),
            DmarcResult::None | DmarcResult::Pass => Policy::None,
        }
    }

    /// Whether the owner wants reports (RFC 9989 §4.7, `rua`).
    #[must_use]
    pub fn wants_reports(&self) -> bool {
        self.record
            .as_ref()
            .is_some_and(|(_, record)| !record.aggregate_reports.is_empty())
    }

    fn without_record(author: &str, result: DmarcResult, reason: Option<DmarcReason>) -> Self {
        Self {
            result,
            author: author.to_owned(),
            policy: Policy::None,
            record: None,
            reason,
        }
    }
}

/// Checks every author domain of a letter; the outcome with the strongest wish comes first, so the
/// first is the letter's. There is always one. A letter of more domains than are checked fails for a
/// domain that is not named, with the wish to reject: nobody writes such letters but to get by. One
/// without an author, or with an author that cannot be read, has the wish for quarantine at least: a
/// mail program may show a name that nobody has checked.
///
/// # Errors
/// [`Need`] while answers are missing.
pub fn evaluate(
    authors: &Authors,
    identifiers: &[Identifier<'_>],
    answers: &Answers,
) -> Result<Vec<DmarcOutcome>, Need> {
    let mut outcomes = Vec::new();
    let mut missing = Vec::new();
    for author in &authors.domains {
        match evaluate_one(author, identifiers, answers) {
            Ok(outcome) => outcomes.push(outcome),
            Err(Need(questions)) => missing.extend(questions),
        }
    }
    if !missing.is_empty() {
        return Err(Need(missing));
    }
    let reason = authors.fault.map(DmarcReason::Author);
    let unchecked = match authors.fault {
        Some(AuthorFault::TooManyDomains) => Some((DmarcResult::Fail, Policy::Reject)),
        Some(AuthorFault::Missing | AuthorFault::Unreadable) => {
            Some((DmarcResult::PermError, Policy::Quarantine))
        }
        Some(AuthorFault::SeveralFields) | None if outcomes.is_empty() => {
            Some((DmarcResult::PermError, Policy::Quarantine))
        }
        Some(AuthorFault::SeveralFields) | None => None,
    };
    if let Some((result, policy)) = unchecked {
        let mut outcome = DmarcOutcome::without_record("", result, reason);
        outcome.policy = policy;
        outcomes.push(outcome);
    }
    // Stable: equal wishes stay in the order of the letter.
    outcomes.sort_by_key(|outcome| std::cmp::Reverse(outcome.wish()));
    Ok(outcomes)
}
