//! Verifying a chain: the keys come from the DNS, the rest is prepared (RFC 8617 §5.2).

use aws_lc_rs::digest::Digest;
use base::Domain;

use super::chain::{ArcFault, Chain, INSTANCES_MAX, ReadyChain};
use super::set::Seal;
use crate::dkim::key::{self, NoKey};
use crate::dkim::{Algorithm, Prepared, Reason};
use crate::dns::{Answers, Need};

/// The state of a chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ArcOutcome {
    /// The letter has no set.
    None,
    /// Every seal and the newest message signature are right.
    Pass,
    /// The chain is broken.
    Fail(ArcFault),
    /// A key could not be had now.
    TempError,
}

impl ArcOutcome {
    /// The word of RFC 8601; `temperror` is not among those of RFC 8617 §4.4, but is true.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pass => "pass",
            Self::Fail(_) => "fail",
            Self::TempError => "temperror",
        }
    }
}

/// A chain and what became of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArcResult {
    /// Its state.
    pub outcome: ArcOutcome,
    /// The highest instance; 0 without a set.
    pub instance: usize,
    /// Whether nobody may seal it any more: the newest seal says that the chain is broken (RFC 8617
    /// §5.1), or there are 50 sets.
    pub closed: bool,
    /// Who sealed it, from the first; empty for a chain that is broken before any key is asked for.
    pub sealers: Vec<Domain>,
    /// What the newest sealer found, as it stands in its ARC-Authentication-Results after `i=`;
    /// nothing for a chain that is broken before any key is asked for. To be believed only with
    /// [`ArcOutcome::Pass`], and only if the sealer is.
    pub results: Option<String>,
}

/// Verifies the chain of a letter.
///
/// # Errors
/// [`Need`] with the names of all keys that have not been asked for; at most 51.
pub fn verify(prepared: &Prepared, answers: &Answers) -> Result<ArcResult, Need> {
    let bare = |outcome, instance| ArcResult {
        outcome,
        instance,
        closed: instance >= INSTANCES_MAX,
        sealers: Vec::new(),
        results: None,
    };
    Ok(match &prepared.chain {
        Chain::None => bare(ArcOutcome::None, 0),
        Chain::Broken(broken) => ArcResult {
            closed: broken.sealed_as_failed || broken.instance >= INSTANCES_MAX,
            ..bare(ArcOutcome::Fail(broken.fault), broken.instance)
        },
        Chain::Ready(chain) => ArcResult {
            outcome: check(chain, answers)?,
            instance: chain.seals.len(),
            closed: chain.seals.len() >= INSTANCES_MAX,
            sealers: chain
                .seals
                .iter()
                .map(|(seal, _)| seal.domain.clone())
                .collect(),
            results: Some(chain.results.clone()),
        },
    })
}

/// Steps 4 and 6; what is broken for good counts more than what cannot be had now.
fn check(chain: &ReadyChain, answers: &Answers) -> Result<ArcOutcome, Need> {
    // Nothing is verified before all keys are there, or it would be done again with each answer.
    let message = &chain.message_signature.signature;
    let seals = chain.seals.iter().map(|(s, _)| (&s.selector, &s.domain));
    let keys = seals.chain([(&message.selector, &message.domain)]);
    let needs = keys.filter_map(|(selector, domain)| key::find(selector, domain, answers).err());
    let mut missing: Vec<_> = needs.flat_map(|Need(questions)| questions).collect();
    if !missing.is_empty() {
        missing.sort_unstable();
        missing.dedup();
        return Err(Need(missing));
    }
    let mut outcomes = vec![message_signature(chain, answers)?];
    for (at, (seal, digest)) in chain.seals.iter().enumerate().rev() {
        outcomes.push(check_seal(at + 1, seal, digest, answers)?);
    }
    let fails = outcomes
        .iter()
        .find(|outcome| matches!(outcome, ArcOutcome::Fail(_)));
    let other = outcomes
        .iter()
        .find(|outcome| **outcome != ArcOutcome::Pass);
    Ok(fails.or(other).copied().unwrap_or(ArcOutcome::Pass))
}

fn message_signature(chain: &ReadyChain, answers: &Answers) -> Result<ArcOutcome, Need> {
    let ready = &chain.message_signature;
    let signature = &ready.signature;
    let signed = Signed {
        algorithm: signature.algorithm,
        digest: &ready.digest,
        signature: &signature.signature,
    };
    let checked = verify_with(&signature.selector, &signature.domain, &signed, answers)?;
    Ok(outcome(checked, ArcFault::MessageSignature))
}

fn check_seal(
    instance: usize,
    seal: &Seal,
    digest: &Digest,
    answers: &Answers,
) -> Result<ArcOutcome, Need> {
    let signed = Signed {
        algorithm: seal.algorithm,
        digest,
        signature: &seal.signature,
    };
    let checked = verify_with(&seal.selector, &seal.domain, &signed, answers)?;
    Ok(outcome(checked, |reason| ArcFault::Seal(instance, reason)))
}

struct Signed<'s> {
    algorithm: Algorithm,
    digest: &'s Digest,
    signature: &'s [u8],
}

fn verify_with(
    selector: &str,
    domain: &Domain,
    signed: &Signed<'_>,
    answers: &Answers,
) -> Result<Result<(), NoKey>, Need> {
    Ok(key::find(selector, domain, answers)?.and_then(|key| {
        let verified = key.verify(signed.algorithm, signed.digest, signed.signature);
        verified.map_err(NoKey::Ever)
    }))
}

fn outcome(checked: Result<(), NoKey>, fault: impl Fn(Reason) -> ArcFault) -> ArcOutcome {
    match checked {
        Ok(()) => ArcOutcome::Pass,
        Err(NoKey::Now) => ArcOutcome::TempError,
        Err(NoKey::Ever(reason)) => ArcOutcome::Fail(fault(reason)),
    }
}
