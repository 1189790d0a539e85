//! Verifying: the keys come from the DNS, the rest is prepared.

use base::Timestamp;

use super::key::{self, NoKey};
use super::prepare::{Prepared, PreparedSignature, Ready};
use super::result::{DkimResult, Notes, Outcome, Reason};
use super::signature::Algorithm;
use crate::dns::{Answers, Need};

/// How far ahead a signature's time may be: a clock in the wrong time zone is no forgery.
const AHEAD_SECONDS_MAX: u64 = 86_400;

/// Verifies all signatures of a letter (RFC 6376 §6.1), in the order of the letter.
///
/// # Errors
/// [`Need`] with the names of all keys that have not been asked for; never more than
/// [`SIGNATURES_MAX`](super::SIGNATURES_MAX).
pub fn verify(
    prepared: &Prepared,
    answers: &Answers,
    now: Timestamp,
) -> Result<Vec<DkimResult>, Need> {
    let mut needs = Vec::new();
    let mut results = Vec::with_capacity(prepared.signatures.len());
    for signature in &prepared.signatures {
        match verify_one(signature, answers, now) {
            Ok(result) => results.push(result),
            Err(Need(questions)) => needs.extend(questions),
        }
    }
    if needs.is_empty() {
        return Ok(results);
    }
    needs.sort_unstable();
    needs.dedup();
    Err(Need(needs))
}

fn verify_one(
    signature: &PreparedSignature,
    answers: &Answers,
    now: Timestamp,
) -> Result<DkimResult, Need> {
    let mut notes = Notes::default();
    let outcome = match &signature.state {
        Ok(ready) => check(ready, answers, now, &mut notes)?,
        Err(outcome) => *outcome,
    };
    let label = signature.label.clone();
    Ok(DkimResult {
        outcome,
        domain: label.domain,
        selector: label.selector,
        identity: label.identity,
        algorithm: label.algorithm,
        signature_start: label.signature_start,
        notes,
    })
}

fn check(
    ready: &Ready,
    answers: &Answers,
    now: Timestamp,
    notes: &mut Notes,
) -> Result<Outcome, Need> {
    let signature = &ready.signature;
    notes.unsigned_body_bytes = ready.unsigned_body_bytes;
    notes.unsigned_double = ready.has_unsigned_double;
    let now = u64::try_from(now.secs()).unwrap_or(0);
    if signature.expires_at.is_some_and(|at| at < now) {
        return Ok(Outcome::Fail(Reason::Expired));
    }
    if signature
        .signed_at
        .is_some_and(|at| at > now.saturating_add(AHEAD_SECONDS_MAX))
    {
        return Ok(Outcome::Fail(Reason::Future));
    }
    let key = match key::find(&signature.selector, &signature.domain, answers)? {
        Ok(key) => key,
        Err(NoKey::Now) => return Ok(Outcome::TempError),
        Err(NoKey::Ever(reason)) => return Ok(Outcome::PermError(reason)),
    };
    notes.testing = key.testing;
    if signature.algorithm == Algorithm::RsaSha256 {
        notes.rsa_bits = Some(signature.signature.len() * 8);
    }
    let verified = key
        .allows(signature)
        .and_then(|()| key.verify(signature.algorithm, &ready.digest, &signature.signature));
    Ok(match verified {
        Ok(()) => Outcome::Pass,
        Err(reason @ Reason::SignatureWrong) => Outcome::Fail(reason),
        Err(reason) => Outcome::PermError(reason),
    })
}
