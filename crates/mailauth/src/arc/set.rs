//! The three fields of an ARC set (RFC 8617 §4.1).

use std::ops::Range;

use base::Domain;

use super::chain::ArcFault;
use crate::dkim::Algorithm;
use crate::dkim::Reason;
use crate::dkim::header::Field;
use crate::dkim::signature::{Signature, decoded, number};
use crate::tags::TagList;

/// What a sealer found when the letter came to it (RFC 8617 §4.1.3, `cv=`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ChainValue {
    None,
    Pass,
    Fail,
}

/// ARC-Seal.
#[derive(Clone, Debug)]
pub(crate) struct Seal {
    pub(super) algorithm: Algorithm,
    pub(super) chain_value: ChainValue,
    pub(super) domain: Domain,
    pub(super) selector: String,
    pub(super) signature: Vec<u8>,
    pub(super) b_span: Range<usize>,
}

impl Seal {
    fn parse(tags: &TagList<'_>) -> Result<Self, Reason> {
        let required = |name| tags.value(name).ok_or(Reason::MissingTag(name));
        // RFC 8617 §4.1.3: a seal signs the sets and nothing else.
        for forbidden in ["h", "bh"] {
            if tags.value(forbidden).is_some() {
                return Err(Reason::BadTag(forbidden));
            }
        }
        let chain_value = match required("cv")?.to_ascii_lowercase().as_str() {
            "none" => ChainValue::None,
            "pass" => ChainValue::Pass,
            "fail" => ChainValue::Fail,
            _ => return Err(Reason::BadTag("cv")),
        };
        let selector = required("s")?.to_owned();
        Domain::parse(&selector).map_err(|_| Reason::BadTag("s"))?;
        number(tags, "t")?;
        let b = tags.tag("b").ok_or(Reason::MissingTag("b"))?;
        Ok(Self {
            algorithm: Algorithm::parse(required("a")?)?,
            chain_value,
            domain: Domain::parse(required("d")?).map_err(|_| Reason::BadTag("d"))?,
            selector,
            signature: decoded(b.value, "b")?,
            b_span: b.span.clone(),
        })
    }
}

/// The fields of an instance as they are found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parts<'h, 'a> {
    pub(crate) results: Option<&'h Field<'a>>,
    pub(super) message_signature: Option<(&'h Field<'a>, Signature)>,
    pub(super) seal: Option<(&'h Field<'a>, Seal)>,
}

/// The name of a field of a set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Results,
    MessageSignature,
    Seal,
}

impl Kind {
    pub(super) fn of(field: &Field<'_>) -> Option<Self> {
        [
            ("ARC-Authentication-Results", Self::Results),
            ("ARC-Message-Signature", Self::MessageSignature),
            ("ARC-Seal", Self::Seal),
        ]
        .into_iter()
        .find_map(|(name, kind)| field.is(name).then_some(kind))
    }
}

/// Puts a field into its instance's set.
pub(super) fn add<'h, 'a>(
    sets: &mut [Parts<'h, 'a>],
    kind: Kind,
    field: &'h Field<'a>,
) -> Result<(), ArcFault> {
    let tags = match kind {
        Kind::Results => TagList::default(),
        Kind::MessageSignature | Kind::Seal => {
            TagList::parse(field.value()).map_err(|error| ArcFault::Field(error.into()))?
        }
    };
    let instance = match kind {
        Kind::Results => results_of(field.value()).map(|(instance, _)| instance),
        Kind::MessageSignature | Kind::Seal => tags.value("i").and_then(instance),
    };
    let instance = instance.ok_or(ArcFault::BadInstance)?;
    let set = sets.get_mut(instance - 1).ok_or(ArcFault::BadInstance)?;
    let doubled = match kind {
        Kind::Results => set.results.replace(field).is_some(),
        Kind::MessageSignature => {
            let signature = message_signature(&tags).map_err(ArcFault::Field)?;
            set.message_signature.replace((field, signature)).is_some()
        }
        Kind::Seal => {
            let seal = Seal::parse(&tags).map_err(ArcFault::Field)?;
            set.seal.replace((field, seal)).is_some()
        }
    };
    if doubled {
        return Err(ArcFault::Structure);
    }
    Ok(())
}

fn message_signature(tags: &TagList<'_>) -> Result<Signature, Reason> {
    let signature = Signature::parse_common(tags)?;
    // RFC 8617 §4.1.2: the seals are not signed by it.
    if signature
        .signed_fields
        .iter()
        .any(|name| name.eq_ignore_ascii_case("arc-seal"))
    {
        return Err(Reason::BadTag("h"));
    }
    Ok(signature)
}

/// The instance and the rest of ARC-Authentication-Results: `instance [CFWS] ";" authres-payload`.
pub(super) fn results_of(value: &[u8]) -> Option<(usize, &[u8])> {
    let end = memchr::memchr(b';', value)?;
    let (name, number) = std::str::from_utf8(&value[..end]).ok()?.split_once('=')?;
    let is_instance = name.trim_ascii() == "i";
    let number = instance(number.trim_ascii()).filter(|_| is_instance)?;
    Some((number, &value[end + 1..]))
}

/// `instance = 1*2DIGIT`, 1 to 50.
fn instance(text: &str) -> Option<usize> {
    let is_number = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let number = text.parse().ok().filter(|_| is_number)?;
    (1..=super::INSTANCES_MAX)
        .contains(&number)
        .then_some(number)
}
