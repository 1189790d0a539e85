//! One pass over a letter: everything about its signatures that needs no DNS.

use aws_lc_rs::digest::Digest;
use base::Domain;

use super::body::{self, BodyHash, Wanted};
use super::canon::HeaderHash;
use super::header::{Field, Halves};
use super::result::{Outcome, Reason};
use super::signature::{Algorithm, Signature};
use crate::arc::Chain;
use crate::tags::{TagList, without_space};

/// The most signatures of a letter that are looked at, from the top; RFC 6376 §6.1 leaves it to the
/// verifier. Mailing lists and large senders have two or three.
pub const SIGNATURES_MAX: usize = 8;

/// What is known of a letter's signatures and of its ARC sets before the DNS is asked. Holds nothing
/// of the letter; a few hundred bytes for each signature.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub(crate) signatures: Vec<PreparedSignature>,
    pub(crate) chain: Chain,
    unread: usize,
}

/// A signature before the DNS is asked.
#[derive(Clone, Debug)]
pub(crate) struct PreparedSignature {
    pub(crate) label: Label,
    pub(crate) state: Result<Ready, Outcome>,
}

/// What tells a signature from others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Label {
    pub(crate) domain: Option<Domain>,
    pub(crate) selector: Option<String>,
    pub(crate) identity: Option<String>,
    pub(crate) algorithm: Option<Algorithm>,
    pub(crate) signature_start: Option<String>,
}

/// A signature whose body hash is right.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    pub(crate) signature: Signature,
    /// Over the header, as the signature signs it.
    pub(crate) digest: Digest,
    /// Canonical bytes of the body beyond `l=`.
    pub(crate) unsigned_body_bytes: Option<u64>,
    /// Whether the letter has one of [`SINGLE_FIELDS`] more often than it is signed.
    pub(crate) has_unsigned_double: bool,
}

/// Fields that a letter has once (RFC 5322 §3.6, RFC 2045 §3), and that change what a reader sees. Of
/// two, a mail program may show the upper one, and a signature covers the lower one.
const SINGLE_FIELDS: [&str; 7] = [
    "From",
    "Subject",
    "Date",
    "To",
    "Cc",
    "Content-Type",
    "MIME-Version",
];

impl Prepared {
    /// Reads and hashes a letter, given in pieces that follow one another; each but the last holds
    /// whole header fields, or lies in the body.
    ///
    /// It takes about as long as hashing the letter once, twice where signatures have different
    /// canonical forms: milliseconds for large letters.
    #[must_use]
    pub fn new(letter: &[&[u8]]) -> Self {
        let halves = Halves::of(letter);
        let drafts: Vec<_> = halves
            .named("DKIM-Signature")
            .take(SIGNATURES_MAX)
            .map(|field| (field, parse(field, &halves)))
            .collect();
        let chain = Chain::read(&halves);
        let mut wanted: Vec<Wanted> = drafts
            .iter()
            .filter_map(|(_, draft)| Some(wanted(draft.as_ref().ok()?)))
            .collect();
        wanted.extend(chain.wanted());
        let hashes = body::hash(&halves.body, &wanted);
        let signatures = drafts.into_iter().map(|(field, draft)| PreparedSignature {
            label: Label::of(field),
            state: draft
                .map_err(Outcome::PermError)
                .and_then(|signature| ready(signature, field, &halves, &hashes)),
        });
        Self {
            signatures: signatures.collect(),
            chain: chain.prepare(&halves, &hashes),
            unread: halves
                .named("DKIM-Signature")
                .count()
                .saturating_sub(SIGNATURES_MAX),
        }
    }

    /// How many signatures are beyond [`SIGNATURES_MAX`].
    #[must_use]
    pub fn unread(&self) -> usize {
        self.unread
    }
}

fn parse(field: &Field<'_>, halves: &Halves<'_>) -> Result<Signature, Reason> {
    if halves.cut {
        return Err(Reason::HeaderTooLong);
    }
    Signature::parse_dkim(field.value())
}

/// The body hash that a signature needs.
pub(crate) fn wanted(signature: &Signature) -> Wanted {
    Wanted {
        canon: signature.body_canon,
        length: signature.body_length,
    }
}

/// Checks the body hash, and computes that of the header.
pub(crate) fn ready(
    signature: Signature,
    own: &Field<'_>,
    halves: &Halves<'_>,
    hashes: &[BodyHash],
) -> Result<Ready, Outcome> {
    let wanted = wanted(&signature);
    let hash = hashes.iter().find(|hash| hash.wanted == wanted);
    let Some(hash) = hash else {
        debug_assert!(false, "every wish has its hash");
        return Err(Outcome::TempError);
    };
    // RFC 6376 §3.5, l=: not larger than what there is.
    let unsigned = signature
        .body_length
        .map(|length| hash.canonical_bytes.checked_sub(length));
    if unsigned == Some(None) {
        return Err(Outcome::Fail(Reason::BodyTooShort));
    }
    if hash.digest.as_ref() != signature.body_hash {
        return Err(Outcome::Fail(Reason::BodyChanged));
    }
    Ok(Ready {
        has_unsigned_double: has_unsigned_double(&signature.signed_fields, halves),
        digest: header_digest(&signature, own, halves),
        signature,
        unsigned_body_bytes: unsigned.flatten(),
    })
}

/// RFC 6376 §8.15: whether somebody may have put another field above the one that was signed. A field
/// that stands once and is not signed is the signer's choice.
fn has_unsigned_double(signed: &[String], halves: &Halves<'_>) -> bool {
    SINGLE_FIELDS.iter().any(|name| {
        let there = halves.named(name).count();
        let is_it = |signed: &&String| signed.eq_ignore_ascii_case(name);
        there > 1 && there > signed.iter().filter(is_it).count()
    })
}

/// RFC 6376 §3.7: the signed fields, then the signature's own without the value of `b=`.
fn header_digest(signature: &Signature, own: &Field<'_>, halves: &Halves<'_>) -> Digest {
    let mut hash = HeaderHash::new(signature.header_canon);
    for field in chosen(&signature.signed_fields, &halves.fields, own) {
        hash.add(field);
    }
    hash.finish(own, &signature.b_span)
}

/// RFC 6376 §5.4.2: of several fields of one name the lowest comes first, then the one above it; a
/// name without a field left stands for nothing.
pub(crate) fn chosen<'h, 'a>(
    names: &'h [String],
    fields: &'h [Field<'a>],
    own: &'h Field<'a>,
) -> impl Iterator<Item = &'h Field<'a>> {
    // Where the search for a name goes on, by the place where the name first stood in the list.
    let mut searched: Vec<(&str, usize)> = Vec::new();
    names.iter().filter_map(move |name| {
        let known = searched
            .iter()
            .position(|(known, _)| known.eq_ignore_ascii_case(name));
        let at = known.unwrap_or_else(|| {
            searched.push((name, fields.len()));
            searched.len() - 1
        });
        let above = &fields[..searched[at].1];
        // The field of the signature itself cannot be signed by it.
        let found = above
            .iter()
            .rposition(|field| field.is(name) && !std::ptr::eq(field.raw, own.raw));
        searched[at].1 = found.unwrap_or(0);
        found.map(|at| &fields[at])
    })
}

impl Label {
    fn of(field: &Field<'_>) -> Self {
        let Ok(tags) = TagList::parse(field.value()) else {
            return Self::default();
        };
        let start = |value: &str| without_space(value).chars().take(8).collect();
        Self {
            domain: tags
                .value("d")
                .and_then(|domain| Domain::parse(domain).ok()),
            selector: tags.value("s").map(str::to_owned),
            identity: tags.value("i").map(str::to_owned),
            algorithm: tags.value("a").and_then(|name| Algorithm::parse(name).ok()),
            signature_start: tags.value("b").map(start),
        }
    }
}
