//! Verifying: the keys come from the DNS, the rest is prepared.

use base::Timestamp;

use super::key::{self, NoKey};
use super::prepare::{Prepared, PreparedSignature, Ready};
use super::result::{DkimResult, Notes, Outcome, Reason};
use super::signature::{Algorithm, Signature};
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
    // Nothing is verified before all keys are there, or it would be done again with each answer.
    let ready = prepared
        .signatures
        .iter()
        .filter_map(|s| s.state.as_ref().ok());
    let needs = ready.filter_map(|ready| needed_key(ready, answers, now));
    let mut missing: Vec<_> = needs.flat_map(|Need(questions)| questions).collect();
    if !missing.is_empty() {
        missing.sort_unstable();
        missing.dedup();
        return Err(Need(missing));
    }
    let signatures = prepared.signatures.iter();
    signatures
        .map(|signature| verify_one(signature, answers, now))
        .collect()
}

/// What is to be asked for a signature; nothing where its time decides.
fn needed_key(ready: &Ready, answers: &Answers, now: Timestamp) -> Option<Need> {
    let signature = &ready.signature;
    match untimely(signature, now) {
        Some(_) => None,
        None => key::find(&signature.selector, &signature.domain, answers).err(),
    }
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
    if let Some(reason) = untimely(signature, now) {
        return Ok(Outcome::Fail(reason));
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

/// RFC 6376 §3.5, t= and x=.
fn untimely(signature: &Signature, now: Timestamp) -> Option<Reason> {
    let now = u64::try_from(now.secs()).unwrap_or(0);
    let latest = now.saturating_add(AHEAD_SECONDS_MAX);
    if signature.expires_at.is_some_and(|at| at < now) {
        Some(Reason::Expired)
    } else if signature.signed_at.is_some_and(|at| at > latest) {
        Some(Reason::Future)
    } else {
        None
    }
}
