//! Signing: which fields, with which keys (RFC 6376 §5).
//!
//! Header and body are signed relaxed, so that what relays do to white space does no harm. The
//! signature is a field to put before the letter; the letter itself stays as it is.

use std::fmt;

use aws_lc_rs::digest::Digest;
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256};
use base::{Domain, Timestamp};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::body::{self, Wanted};
use super::canon::{Canon, HeaderHash};
use super::header::{Field, Halves};
use super::prepare::chosen;
use super::signature::{Algorithm, key_name};

/// Fields that are signed, and once more than they are there, so that nobody can put another one
/// above (RFC 6376 §8.15). Those that people see, and those that decide how a letter is shown.
const OVERSIGNED: [&str; 8] = [
    "from",
    "to",
    "cc",
    "subject",
    "date",
    "message-id",
    "reply-to",
    "content-type",
];
/// Fields that are signed where they are there: mailing lists and relays add some of them for good
/// reasons (RFC 6376 §5.4.1). Those of RFC 8058 §4 must be signed.
const SIGNED: [&str; 16] = [
    "sender",
    "in-reply-to",
    "references",
    "mime-version",
    "content-transfer-encoding",
    "content-disposition",
    "content-id",
    "auto-submitted",
    "resent-from",
    "resent-to",
    "resent-date",
    "resent-message-id",
    "list-id",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "list-post",
];
/// Fields of one name that are signed; a letter with more is strange, and its lowest ones count.
const FIELDS_OF_A_NAME_MAX: usize = 10;
/// RFC 5322 §2.1.1: lines should be of 78 characters.
pub(crate) const LINE_CHARS: usize = 72;

/// Why a letter is not signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignError {
    /// The private key is none of its kind.
    BadKey,
    /// The name of the key's record is no domain name.
    BadSelector,
    /// The header is longer than verifiers look at.
    HeaderTooLong,
    /// The library has refused to sign.
    Refused,
}

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadKey => "the private key cannot be read",
            Self::BadSelector => "the selector and the domain make no name",
            Self::HeaderTooLong => "the header is too long to be signed",
            Self::Refused => "the key cannot sign",
        })
    }
}

impl std::error::Error for SignError {}

/// A private key of a domain, with its selector.
pub struct SigningKey {
    domain: Domain,
    selector: String,
    pair: Pair,
}

enum Pair {
    Rsa(Box<rsa::KeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, {})", self.selector, self.domain)
    }
}

impl SigningKey {
    /// Reads a private key in PKCS #8.
    ///
    /// # Errors
    /// [`SignError::BadKey`], [`SignError::BadSelector`].
    pub fn from_pkcs8(
        domain: Domain,
        selector: &str,
        algorithm: Algorithm,
        pkcs8: &[u8],
    ) -> Result<Self, SignError> {
        key_name(selector, &domain).map_err(|_| SignError::BadSelector)?;
        let bad = |_| SignError::BadKey;
        let pair = match algorithm {
            Algorithm::RsaSha256 => {
                Pair::Rsa(Box::new(rsa::KeyPair::from_pkcs8(pkcs8).map_err(bad)?))
            }
            Algorithm::Ed25519Sha256 => Pair::Ed25519(Box::new(
                Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).map_err(bad)?,
            )),
        };
        Ok(Self {
            domain,
            selector: selector.to_owned(),
            pair,
        })
    }

    /// How it signs.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self.pair {
            Pair::Rsa(_) => Algorithm::RsaSha256,
            Pair::Ed25519(_) => Algorithm::Ed25519Sha256,
        }
    }

    /// The domain that takes responsibility.
    #[must_use]
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The selector.
    #[must_use]
    pub fn selector(&self) -> &str {
        &self.selector
    }

    /// The text of the DNS record for it (RFC 6376 §3.6.1, RFC 8463 §4).
    ///
    /// # Errors
    /// [`SignError::BadKey`].
    pub fn record(&self) -> Result<String, SignError> {
        let public = match &self.pair {
            Pair::Rsa(pair) => {
                let der = pair.public_key().as_der().map_err(|_| SignError::BadKey)?;
                STANDARD.encode(der.as_ref())
            }
            Pair::Ed25519(pair) => STANDARD.encode(pair.public_key()),
        };
        Ok(format!(
            "v=DKIM1; k={}; p={public}",
            self.algorithm().key_type()
        ))
    }

    /// Signs a hash.
    pub(crate) fn sign_digest(&self, digest: &Digest) -> Result<Vec<u8>, SignError> {
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let signed = pair.sign_digest(&RSA_PKCS1_SHA256, digest, &mut signature);
                signed.map_err(|_| SignError::Refused)?;
                Ok(signature)
            }
            Pair::Ed25519(pair) => {
                let signature = pair.try_sign(digest.as_ref());
                Ok(signature.map_err(|_| SignError::Refused)?.as_ref().to_vec())
            }
        }
    }
}

/// Whether a published text is the record of this key, however it is written.
#[must_use]
pub fn is_record_of(published: &[u8], record: &str) -> bool {
    let key = |text: &[u8]| super::key::Key::parse(text).ok();
    key(published)
        .is_some_and(|found| key(record.as_bytes()).is_some_and(|own| own.is_same(&found)))
}

/// Signs a letter with each of the keys. Gives one DKIM-Signature field for each, with line ends, to
/// be put before the letter. The body is hashed once.
///
/// # Errors
/// [`SignError::HeaderTooLong`], [`SignError::Refused`].
pub fn sign(letter: &[&[u8]], keys: &[&SigningKey], now: Timestamp) -> Result<Vec<u8>, SignError> {
    let halves = Halves::of(letter);
    if halves.cut {
        return Err(SignError::HeaderTooLong);
    }
    let names = signed_names(&halves);
    let body_hash = body_hash(&halves).ok_or(SignError::Refused)?;
    let mut fields = Vec::new();
    for key in keys {
        let mut text = format!(
            "DKIM-Signature: v=1; a={}; c=relaxed/relaxed; d={};\r\n\ts={}; t={};\r\n\th=",
            key.algorithm(),
            key.domain,
            key.selector,
            now.secs().max(0),
        );
        join_folded(&names, &mut text);
        text.push_str(&format!(";\r\n\tbh={body_hash};\r\n\tb="));
        let digest = digest_of(&text, &names, &halves).ok_or(SignError::Refused)?;
        append_signature(&key.sign_digest(&digest)?, LINE_CHARS, &mut text);
        text.push_str("\r\n");
        fields.extend_from_slice(text.as_bytes());
    }
    Ok(fields)
}

/// The hash of the relaxed body, in base64.
pub(crate) fn body_hash(halves: &Halves<'_>) -> Option<String> {
    let wanted = Wanted {
        canon: Canon::Relaxed,
        length: None,
    };
    let hashes = body::hash(&halves.body, &[wanted]);
    Some(STANDARD.encode(hashes.first()?.digest.as_ref()))
}

/// The hash that a signature whose field ends with `b=` signs.
pub(crate) fn digest_of(field: &str, names: &[String], halves: &Halves<'_>) -> Option<Digest> {
    let own = Field::parse(field.as_bytes())?;
    let mut hash = HeaderHash::new(Canon::Relaxed);
    for field in chosen(names, &halves.fields, &own) {
        hash.add(field);
    }
    let end = own.value().len();
    Some(hash.finish(&own, &(end..end)))
}

/// The names for `h=`.
pub(crate) fn signed_names(halves: &Halves<'_>) -> Vec<String> {
    let mut names = Vec::new();
    let mut add = |name: &str, more: usize| {
        let count = halves.named(name).count().min(FIELDS_OF_A_NAME_MAX);
        names.extend(std::iter::repeat_n(name.to_owned(), count + more));
    };
    for name in OVERSIGNED {
        add(name, 1);
    }
    for name in SIGNED {
        add(name, 0);
    }
    names
}

/// Appends names with colons, folded.
pub(crate) fn join_folded(names: &[String], text: &mut String) {
    let mut line = 3;
    for (at, name) in names.iter().enumerate() {
        if at > 0 {
            text.push(':');
            line += 1;
        }
        if line + name.len() > LINE_CHARS {
            text.push_str("\r\n\t ");
            line = 2;
        }
        text.push_str(name);
        line += name.len();
    }
}

/// Appends a signature, folded to lines of so many characters.
pub(crate) fn append_signature(signature: &[u8], line_chars: usize, text: &mut String) {
    let encoded = STANDARD.encode(signature);
    let mut rest = encoded.as_str();
    // `b=` stands on the first line.
    let mut length = line_chars - 2;
    while rest.len() > length {
        let (line, behind) = rest.split_at(length);
        text.push_str(line);
        text.push_str("\r\n\t ");
        rest = behind;
        length = line_chars;
    }
    text.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::super::{DkimResult, Prepared, verify};
    use super::*;
    use crate::dns::{Answer, Answers, Question, RecordType, Records};

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const LETTER: &[u8] =
        b"From: a@x.test\r\nTo: b@y.test\r\nSubject: Hi\r\n\r\nHello  there \r\n\r\n";

    pub(crate) fn keys() -> [SigningKey; 2] {
        let domain = Domain::parse("x.test").unwrap();
        let rsa = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
        let rsa: aws_lc_rs::encoding::Pkcs8V1Der<'_> = rsa.as_der().unwrap();
        let ed25519 = Ed25519KeyPair::from_seed_unchecked(&[7; 32])
            .unwrap()
            .to_pkcs8()
            .unwrap();
        let key = |selector, algorithm, pkcs8| {
            SigningKey::from_pkcs8(domain.clone(), selector, algorithm, pkcs8).unwrap()
        };
        [
            key("r1", Algorithm::RsaSha256, rsa.as_ref()),
            key("e1", Algorithm::Ed25519Sha256, ed25519.as_ref()),
        ]
    }

    fn results(keys: &[SigningKey], letter: &[&[u8]]) -> Vec<DkimResult> {
        let mut answers = Answers::default();
        for key in keys {
            let name = format!("{}._domainkey.x.test", key.selector());
            let kind = RecordType::Txt;
            let record = key.record().unwrap().into_bytes();
            let found = Answer::Found(Records::Txt(vec![record]));
            answers.insert(Question { name, kind }, found);
        }
        verify(&Prepared::new(letter), &answers, NOW).unwrap()
    }

    #[test]
    fn what_is_signed_verifies_and_does_not_when_it_is_changed() {
        let keys = keys();
        let signed = sign(&[LETTER], &[&keys[0], &keys[1]], NOW).unwrap();
        let found = results(&keys, &[&signed, LETTER]);
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(DkimResult::is_pass), "{found:?}");
        for added in [
            "Subject: other\r\n",
            "From: c@z.test\r\n",
            "Reply-To: c@z.test\r\n",
            "Cc: c@z.test\r\n",
        ] {
            let found = results(&keys, &[added.as_bytes(), &signed, LETTER]);
            assert!(!found.iter().any(DkimResult::is_pass), "{added}");
        }
        let found = results(&keys, &[b"List-Id: <l.z.test>\r\n", &signed, LETTER]);
        assert!(found.iter().all(DkimResult::is_pass), "{found:?}");
        // In pieces: fields of the server, then the letter.
        let head: &[u8] = b"Date: Mon, 1 Jan 2026 00:00:00 +0000\r\n";
        let signed = sign(&[head, LETTER], &[&keys[1]], NOW).unwrap();
        assert!(results(&keys, &[&signed, head, LETTER])[0].is_pass());
        assert!(!results(&keys, &[&signed, LETTER])[0].is_pass());
    }

    #[test]
    fn lines_are_short() {
        let keys = keys();
        let letter = [&b"Resent-Message-ID: <1@x.test>\r\n".repeat(12)[..], LETTER].concat();
        let signed = sign(&[&letter], &[&keys[0], &keys[1]], NOW).unwrap();
        let text = String::from_utf8(signed.clone()).unwrap();
        assert!(text.lines().all(|line| line.len() <= 78), "{text}");
        assert!(
            results(&keys, &[&signed, &letter])
                .iter()
                .all(DkimResult::is_pass)
        );
    }

    #[test]
    fn records_are_compared_by_what_they_mean() {
        let [rsa, ed25519] = keys();
        let (rsa, ed25519) = (rsa.record().unwrap(), ed25519.record().unwrap());
        assert!(is_record_of(rsa.as_bytes(), &rsa));
        assert!(is_record_of(rsa.replace("; ", " ;").as_bytes(), &rsa));
        assert!(!is_record_of(ed25519.as_bytes(), &rsa));
        assert!(!is_record_of(b"v=DKIM1; p=", &rsa));
    }

    #[test]
    fn keys_and_headers_that_cannot_be_used_are_told() {
        let domain = Domain::parse("x.test").unwrap();
        let key = SigningKey::from_pkcs8(domain.clone(), "a", Algorithm::RsaSha256, b"no");
        assert_eq!(key.err(), Some(SignError::BadKey));
        let key = SigningKey::from_pkcs8(domain, "a b", Algorithm::RsaSha256, b"no");
        assert_eq!(key.err(), Some(SignError::BadSelector));
        let long = b"A: 1\r\n".repeat(super::super::FIELDS_MAX + 1);
        let keys = keys();
        assert_eq!(
            sign(&[&long], &[&keys[1]], NOW),
            Err(SignError::HeaderTooLong)
        );
    }
}
