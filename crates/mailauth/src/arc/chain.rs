//! The sets of a letter, in order, with everything that needs no DNS (RFC 8617 §5.2).

use std::fmt;

use aws_lc_rs::digest::Digest;

use super::set::{self, ChainValue, Kind, Parts, Seal};
use crate::dkim::body::{BodyHash, Wanted};
use crate::dkim::canon::{Canon, HeaderHash};
use crate::dkim::header::{Field, Halves};
use crate::dkim::prepare::{self, Ready};
use crate::dkim::signature::Signature;
use crate::dkim::{Outcome, Reason};

/// The most sets of a chain (RFC 8617 §4.2.1).
pub const INSTANCES_MAX: usize = 50;

/// Why a chain is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ArcFault {
    /// `i=` is missing, or not 1 to 50.
    BadInstance,
    /// A field of a set is missing or there twice, or an instance is missing.
    Structure,
    /// A field cannot be read.
    Field(Reason),
    /// A sealer found the chain broken already, or `cv=` does not fit the instance.
    ChainValue,
    /// The newest message signature is not right.
    MessageSignature(Reason),
    /// The seal of this instance is not right.
    Seal(usize, Reason),
    /// It was found broken earlier, and noted.
    Noted,
}

impl fmt::Display for ArcFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadInstance => f.write_str("an instance is not a number from 1 to 50"),
            Self::Structure => f.write_str("a set is not complete"),
            Self::Field(reason) => write!(f, "a field cannot be read: {reason}"),
            Self::ChainValue => f.write_str("a sealer found the chain broken"),
            Self::MessageSignature(reason) => write!(f, "the newest message signature: {reason}"),
            Self::Seal(instance, reason) => write!(f, "seal {instance}: {reason}"),
            Self::Noted => f.write_str("it was found broken when the letter came"),
        }
    }
}

/// A chain before the DNS is asked.
#[derive(Clone, Debug)]
pub(crate) enum Chain {
    /// The letter has no set.
    None,
    /// It is broken, whatever the keys are.
    Broken(Broken),
    /// It depends on the keys.
    Ready(Box<ReadyChain>),
}

/// What is known of a broken chain.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    pub(crate) fault: ArcFault,
    /// The highest instance that was found.
    pub(crate) instance: usize,
    /// Whether the newest seal says so itself: nobody may seal it again (RFC 8617 §5.1.2).
    pub(crate) sealed_as_failed: bool,
}

/// A chain whose structure and newest body hash are right.
#[derive(Clone, Debug)]
pub(crate) struct ReadyChain {
    pub(crate) message_signature: Ready,
    /// From instance 1.
    pub(crate) seals: Vec<(Seal, Digest)>,
    /// What the newest sealer found: the payload of its ARC-Authentication-Results.
    pub(crate) results: String,
}

/// A chain whose body hash is not known yet.
pub(crate) enum Draft<'h, 'a> {
    None,
    Broken(Broken),
    Sets(Vec<Parts<'h, 'a>>),
}

impl Chain {
    /// Collects the sets of a letter and checks their structure.
    pub(crate) fn read<'h, 'a>(halves: &'h Halves<'a>) -> Draft<'h, 'a> {
        let mut sets: Vec<Parts<'h, 'a>> = vec![Parts::default(); INSTANCES_MAX];
        let mut found = false;
        let mut fault = halves.cut.then_some(ArcFault::Field(Reason::HeaderTooLong));
        for field in &halves.fields {
            let Some(kind) = Kind::of(field) else {
                continue;
            };
            found = true;
            if let Err(error) = set::add(&mut sets, kind, field) {
                fault = fault.or(Some(error));
            }
        }
        if !found {
            return Draft::None;
        }
        let any = |set: &Parts<'_, '_>| {
            set.results.is_some() || set.message_signature.is_some() || set.seal.is_some()
        };
        sets.truncate(sets.iter().rposition(any).map_or(0, |last| last + 1));
        match fault.or_else(|| structure(&sets)) {
            None => Draft::Sets(sets),
            Some(fault) => Draft::Broken(Broken {
                fault,
                instance: sets.len(),
                sealed_as_failed: sets.last().is_some_and(says_failed),
            }),
        }
    }
}

/// RFC 8617 §5.2 steps 2 and 3.
fn structure(sets: &[Parts<'_, '_>]) -> Option<ArcFault> {
    if sets.last().is_some_and(says_failed) {
        return Some(ArcFault::ChainValue);
    }
    for (at, set) in sets.iter().enumerate() {
        let (Some(_), Some(_), Some((_, seal))) = (&set.results, &set.message_signature, &set.seal)
        else {
            return Some(ArcFault::Structure);
        };
        let expected = if at == 0 {
            ChainValue::None
        } else {
            ChainValue::Pass
        };
        if seal.chain_value != expected {
            return Some(ArcFault::ChainValue);
        }
    }
    None
}

fn says_failed(set: &Parts<'_, '_>) -> bool {
    set.seal
        .as_ref()
        .is_some_and(|(_, seal)| seal.chain_value == ChainValue::Fail)
}

impl<'h, 'a> Draft<'h, 'a> {
    /// The body hash that the newest message signature needs.
    pub(crate) fn wanted(&self) -> Option<Wanted> {
        match self {
            Self::None | Self::Broken(_) => None,
            Self::Sets(sets) => {
                let (_, signature) = sets.last()?.message_signature.as_ref()?;
                Some(prepare::wanted(signature))
            }
        }
    }

    /// The highest instance, and whether nobody may seal on top of it.
    pub(crate) fn top(&self) -> (usize, bool) {
        match self {
            Self::None => (0, false),
            Self::Broken(broken) => {
                let is_full = broken.instance >= INSTANCES_MAX;
                (broken.instance, broken.sealed_as_failed || is_full)
            }
            Self::Sets(sets) => (sets.len(), sets.len() >= INSTANCES_MAX),
        }
    }

    /// Whether its structure is wrong.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(self, Self::Broken(_))
    }

    /// Computes what is left.
    pub(crate) fn prepare(self, halves: &Halves<'a>, hashes: &[BodyHash]) -> Chain {
        let sets = match self {
            Self::None => return Chain::None,
            Self::Broken(broken) => return Chain::Broken(broken),
            Self::Sets(sets) => sets,
        };
        let broken = |fault| {
            Chain::Broken(Broken {
                fault,
                instance: sets.len(),
                sealed_as_failed: false,
            })
        };
        let Some((newest, signature, results)) = newest(&sets) else {
            return broken(ArcFault::Structure);
        };
        let message_signature = match prepare::ready(signature, newest, halves, hashes) {
            Ok(ready) => ready,
            Err(Outcome::Fail(reason) | Outcome::PermError(reason)) => {
                return broken(ArcFault::MessageSignature(reason));
            }
            Err(Outcome::Pass | Outcome::TempError) => return broken(ArcFault::Structure),
        };
        Chain::Ready(Box::new(ReadyChain {
            message_signature,
            seals: seals(&sets),
            results,
        }))
    }
}

fn newest<'h, 'a>(sets: &[Parts<'h, 'a>]) -> Option<(&'h Field<'a>, Signature, String)> {
    let set = sets.last()?;
    let (field, signature) = set.message_signature.as_ref()?;
    let (_, results) = set::results_of(set.results?.value())?;
    let results = String::from_utf8_lossy(results).into_owned();
    Some((*field, signature.clone(), results))
}

/// RFC 8617 §5.1.1: a seal signs all sets up to its own, relaxed, each in the order results,
/// message signature, seal.
fn seals(sets: &[Parts<'_, '_>]) -> Vec<(Seal, Digest)> {
    let mut hash = HeaderHash::new(Canon::Relaxed);
    let mut seals = Vec::with_capacity(sets.len());
    for set in sets {
        let (Some(results), Some((signature, _)), Some((field, seal))) =
            (set.results, &set.message_signature, &set.seal)
        else {
            continue;
        };
        hash.add(results);
        hash.add(signature);
        seals.push((seal.clone(), hash.clone().finish(field, &seal.b_span)));
        hash.add(field);
    }
    seals
}
