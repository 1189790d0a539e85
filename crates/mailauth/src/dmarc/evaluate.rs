//! The check of one author domain: which record applies, which of its policies, and whether what was
//! verified is aligned.

use super::record::{DmarcRecord, Policy, PublicSuffix};
use super::walk::{Found, Halt, organisation, record_at, walk};
use super::{DmarcOutcome, DmarcReason, DmarcResult, Identifier, Method};
use crate::dns::{Answer, Answers, Need, Question, RecordType};
use crate::name::{is_within, to_ascii};

/// Identifiers of one letter that are held against the author's domain.
const IDENTIFIERS_MAX: usize = 20;

pub(super) fn evaluate_one(
    author: &str,
    identifiers: &[Identifier<'_>],
    answers: &Answers,
) -> Result<DmarcOutcome, Need> {
    let found = match discover(author, answers) {
        Ok(Some(found)) if found.record.counts() => found,
        Ok(Some(found)) => {
            let reason = DmarcReason::BadRecord(found.domain);
            let result = DmarcResult::None;
            return Ok(DmarcOutcome::without_record(author, result, Some(reason)));
        }
        Ok(None) => {
            let result = DmarcResult::None;
            return Ok(DmarcOutcome::without_record(author, result, None));
        }
        Err(halt) => return temporary(author, halt),
    };
    let policy = match policy_for(author, &found, answers) {
        Ok(policy) => policy,
        Err(halt) => return temporary(author, halt),
    };
    let (result, reason) = align(author, &found.record, identifiers, answers)?;
    Ok(DmarcOutcome {
        result,
        author: author.to_owned(),
        policy,
        record: Some((found.domain, found.record)),
        reason: Some(reason),
    })
}

fn temporary(author: &str, halt: Halt) -> Result<DmarcOutcome, Need> {
    match halt {
        Halt::Need(need) => Err(need),
        Halt::Temporary(domain) => {
            let reason = Some(DmarcReason::NoAnswer(domain));
            let result = DmarcResult::TempError;
            Ok(DmarcOutcome::without_record(author, result, reason))
        }
    }
}

/// RFC 9989 §4.10.1: the record of the author's domain, of its organisation, or of its public suffix.
fn discover(author: &str, answers: &Answers) -> Result<Option<Found>, Halt> {
    if let Some(found) = record_at(answers, author)? {
        return Ok(Some(found));
    }
    let mut records = walk(answers, author)?;
    let organisation = organisation(author, &records);
    let at = records
        .iter()
        .position(|found| found.domain == organisation)
        .or_else(|| {
            let suffix = |found: &Found| found.record.public_suffix == PublicSuffix::Yes;
            records.iter().position(suffix)
        });
    Ok(at.map(|at| records.swap_remove(at)))
}

/// RFC 9989 §4.7, §4.10.1: which of the record's policies is for this author.
fn policy_for(author: &str, found: &Found, answers: &Answers) -> Result<Policy, Halt> {
    let record = &found.record;
    let mut policy = record.policy;
    if found.domain != author {
        policy = record.subdomain_policy.unwrap_or(policy);
        if let Some(missing) = record.missing_policy
            && !exists(author, answers)?
        {
            policy = missing;
        }
    }
    Ok(if record.testing {
        policy.relaxed()
    } else {
        policy
    })
}

/// RFC 9989 §3.2.12: a name is missing if the DNS says so (RFC 8020), of whatever type.
fn exists(name: &str, answers: &Answers) -> Result<bool, Halt> {
    let question = Question {
        name: name.to_owned(),
        kind: RecordType::A,
    };
    match answers.get(question)? {
        Answer::Found(_) | Answer::NoRecords => Ok(true),
        Answer::NoName => Ok(false),
        Answer::Temporary => Err(Halt::Temporary(name.to_owned())),
    }
}

/// RFC 9989 §4.10.2, §5.3.4, §5.3.5.
fn align(
    author: &str,
    record: &DmarcRecord,
    identifiers: &[Identifier<'_>],
    answers: &Answers,
) -> Result<(DmarcResult, DmarcReason), Need> {
    let identifiers: Vec<(String, &Identifier<'_>)> = identifiers
        .iter()
        .take(IDENTIFIERS_MAX)
        .filter_map(|identifier| Some((to_ascii(identifier.domain)?, identifier)))
        .collect();
    // The same domain needs no question, so it is looked for first.
    let same =
        |(domain, identifier): &&(String, &Identifier<'_>)| identifier.verified && domain == author;
    if let Some((domain, identifier)) = identifiers.iter().find(same) {
        let reason = DmarcReason::Aligned(identifier.method, domain.clone());
        return Ok((DmarcResult::Pass, reason));
    }
    let (mut unsure, mut missing) = (None, Vec::new());
    for (domain, identifier) in &identifiers {
        let strict = match identifier.method {
            Method::Spf => record.strict_spf,
            Method::Dkim => record.strict_dkim,
        };
        let aligned = domain == author
            || (!strict && share_a_label(domain, author) && {
                match same_organisation(author, domain, answers) {
                    Ok(same) => same,
                    Err(Halt::Need(Need(questions))) => {
                        missing.extend(questions);
                        false
                    }
                    Err(Halt::Temporary(name)) => {
                        unsure.get_or_insert(DmarcReason::NoAnswer(name));
                        false
                    }
                }
            });
        match (aligned, identifier.verified) {
            (true, true) => {
                let reason = DmarcReason::Aligned(identifier.method, domain.clone());
                return Ok((DmarcResult::Pass, reason));
            }
            (true, false) => {
                let reason = || DmarcReason::Unsure(identifier.method, domain.clone());
                unsure.get_or_insert_with(reason);
            }
            (false, _) => {}
        }
    }
    if !missing.is_empty() {
        return Err(Need(missing));
    }
    let verified = identifiers
        .iter()
        .any(|(_, identifier)| identifier.verified);
    Ok(match unsure {
        Some(reason) => (DmarcResult::TempError, reason),
        None if verified => (DmarcResult::Fail, DmarcReason::NotAligned),
        None => (DmarcResult::Fail, DmarcReason::NothingVerified),
    })
}

/// Which methods have verified a domain of the author's organisation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Aligned {
    /// A DKIM signature.
    pub dkim: bool,
    /// SPF.
    pub spf: bool,
}

/// Both alignments of a letter, for reports (RFC 9990 §3.1.1.9): [`evaluate`](super::evaluate) needs
/// only one. What the DNS does not answer counts as not aligned.
///
/// # Errors
/// [`Need`] while answers are missing.
pub fn alignments(
    outcome: &DmarcOutcome,
    identifiers: &[Identifier<'_>],
    answers: &Answers,
) -> Result<Aligned, Need> {
    let mut aligned = Aligned::default();
    let Some((_, record)) = &outcome.record else {
        return Ok(aligned);
    };
    if let Some(DmarcReason::Aligned(method, _)) = &outcome.reason {
        match method {
            Method::Dkim => aligned.dkim = true,
            Method::Spf => aligned.spf = true,
        }
    }
    let mut missing = Vec::new();
    for identifier in identifiers.iter().take(IDENTIFIERS_MAX) {
        let (slot, strict) = match identifier.method {
            Method::Spf => (&mut aligned.spf, record.strict_spf),
            Method::Dkim => (&mut aligned.dkim, record.strict_dkim),
        };
        let Some(domain) = to_ascii(identifier.domain).filter(|_| identifier.verified) else {
            continue;
        };
        let author = outcome.author.as_str();
        *slot |= domain == author;
        if *slot || strict || !share_a_label(&domain, author) {
            continue;
        }
        match same_organisation(author, &domain, answers) {
            Ok(same) => *slot = same,
            Err(Halt::Need(Need(questions))) => missing.extend(questions),
            Err(Halt::Temporary(_)) => {}
        }
    }
    if missing.is_empty() {
        Ok(aligned)
    } else {
        missing.sort_unstable();
        missing.dedup();
        Err(Need(missing))
    }
}

/// Domains of one organisation end alike; others need no walk.
fn share_a_label(one: &str, other: &str) -> bool {
    let last = |name: &str| name.rsplit('.').next().map(str::to_owned);
    last(one) == last(other)
}

/// Whether two domains have the same organisational domain. That is at or above both, so a domain
/// that is not within the author's organisation is asked nothing: whoever owns it could otherwise keep
/// a forgery from failing by a DNS that does not answer.
fn same_organisation(author: &str, domain: &str, answers: &Answers) -> Result<bool, Halt> {
    let walked = walk(answers, author).map_err(|halt| match (halt, walk(answers, domain)) {
        // What is below the author is the author's for sure, and asked for at the same time.
        (Halt::Need(Need(mut questions)), Err(Halt::Need(Need(more))))
            if is_within(domain, author) =>
        {
            questions.extend(more);
            Halt::Need(Need(questions))
        }
        (halt, _) => halt,
    });
    let authors = organisation(author, &walked?);
    Ok(is_within(domain, &authors) && organisation(domain, &walk(answers, domain)?) == authors)
}
