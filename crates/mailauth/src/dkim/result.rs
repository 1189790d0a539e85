//! What became of a signature, and why.

use std::fmt;

use base::Domain;

use super::signature::Algorithm;
use crate::tags::TagError;

/// The result of a check, by the words of RFC 8601 §2.7.1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The signature is right.
    Pass,
    /// The signature is readable and wrong.
    Fail(Reason),
    /// The signature, or its key, cannot be used, and never will.
    PermError(Reason),
    /// The key could not be had now.
    TempError,
}

impl Outcome {
    /// The word of RFC 8601.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail(_) => "fail",
            Self::PermError(_) => "permerror",
            Self::TempError => "temperror",
        }
    }

    /// Why, for people.
    #[must_use]
    pub fn reason(self) -> Option<String> {
        match self {
            Self::Pass => None,
            Self::Fail(reason) | Self::PermError(reason) => Some(reason.to_string()),
            Self::TempError => Some("the key could not be looked up".to_owned()),
        }
    }
}

/// Why a signature is not right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// The field is no list of tags.
    Tags(TagError),
    /// A tag that must be there is not.
    MissingTag(&'static str),
    /// A tag has a value that it may not have.
    BadTag(&'static str),
    /// `v=` is not 1.
    UnknownVersion,
    /// `a=` is none that we know.
    UnknownAlgorithm,
    /// RFC 8301 §3.1.
    Sha1,
    /// The domain of `i=` is not within `d=`.
    ForeignIdentity,
    /// RFC 6376 §5.4: From must be signed.
    FromNotSigned,
    /// More names in `h=` than we look at.
    TooManyFields,
    /// More fields, or a longer header, than we look at.
    HeaderTooLong,
    /// The body is not what was signed.
    BodyChanged,
    /// `l=` is more than there is (RFC 6376 §3.5).
    BodyTooShort,
    /// The header is not what was signed, or another key has signed it.
    SignatureWrong,
    /// `x=` has passed.
    Expired,
    /// `t=` is more than a day ahead.
    Future,
    /// There is no key of this name.
    NoKey,
    /// The record is no key.
    BadKey,
    /// The key has no `p=` any more (RFC 6376 §3.6.1).
    KeyRevoked,
    /// The key may not be used with this algorithm.
    KeyOfOtherType,
    /// The key is for something else than e-mail.
    KeyNotForMail,
    /// The key forbids subdomains in `i=` (RFC 6376 §3.6.1, `t=s`).
    KeyForbidsSubdomain,
    /// An RSA key below 1,024 bits (RFC 8301 §3.2).
    KeyTooShort,
}

impl From<TagError> for Reason {
    fn from(error: TagError) -> Self {
        Self::Tags(error)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tags(error) => return error.fmt(f),
            Self::MissingTag(tag) => return write!(f, "the tag {tag}= is missing"),
            Self::BadTag(tag) => return write!(f, "the tag {tag}= has a wrong value"),
            Self::UnknownVersion => "the version of the signature is unknown",
            Self::UnknownAlgorithm => "the algorithm is unknown",
            Self::Sha1 => "SHA-1 is not accepted",
            Self::ForeignIdentity => "i= is not within d=",
            Self::FromNotSigned => "From is not signed",
            Self::TooManyFields => "too many fields are signed",
            Self::HeaderTooLong => "the header is too long",
            Self::BodyChanged => "the body has changed",
            Self::BodyTooShort => "the body is shorter than l= says",
            Self::SignatureWrong => "the signature does not match the header",
            Self::Expired => "the signature has expired",
            Self::Future => "the signature is from the future",
            Self::NoKey => "there is no key",
            Self::BadKey => "the key cannot be read",
            Self::KeyRevoked => "the key was revoked",
            Self::KeyOfOtherType => "the key is for another algorithm",
            Self::KeyNotForMail => "the key is not for mail",
            Self::KeyForbidsSubdomain => "the key does not allow subdomains",
            Self::KeyTooShort => "the key is shorter than 1024 bits",
        })
    }
}

/// One signature and what became of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DkimResult {
    /// What became of it.
    pub outcome: Outcome,
    /// `d=`; none where the field cannot be read so far.
    pub domain: Option<Domain>,
    /// `s=`.
    pub selector: Option<String>,
    /// `i=` as written; none where it is not there.
    pub identity: Option<String>,
    /// `a=`.
    pub algorithm: Option<Algorithm>,
    /// The first 8 characters of `b=`, which tell signatures apart (RFC 6008 §4).
    pub signature_start: Option<String>,
    /// What is to be known about it besides.
    pub notes: Notes,
}

impl DkimResult {
    /// Whether it is right.
    #[must_use]
    pub fn is_pass(&self) -> bool {
        self.outcome == Outcome::Pass
    }
}

/// Peculiarities of a signature.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Notes {
    /// `l=` leaves a part of the body unsigned, so that anyone may have added to it: how many
    /// canonical bytes. Zero where `l=` covers all.
    pub unsigned_body_bytes: Option<u64>,
    /// A field that a letter has once, such as From or Subject, stands there several times, and not
    /// all of them are signed: anyone may have added the others.
    pub unsigned_double: bool,
    /// The bits of the RSA key; below 2,048 it is weak (RFC 8301 §3.2).
    pub rsa_bits: Option<usize>,
    /// The domain only tests (RFC 6376 §3.6.1, `t=y`).
    pub testing: bool,
}
