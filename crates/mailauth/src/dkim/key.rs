//! Key records (RFC 6376 §3.6.1, RFC 8463 §4).

use aws_lc_rs::digest::Digest;
use aws_lc_rs::signature::{
    ED25519, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, UnparsedPublicKey,
};

use super::result::Reason;
use super::signature::{Algorithm, Signature, decoded, key_name};
use crate::dns::{Answer, Answers, Need, Question, RecordType, Records};
use crate::tags::{self, TagList};

/// The shortest RSA key that is accepted, in bits (RFC 8301 §3.2).
pub const RSA_BITS_MIN: usize = 1_024;

/// Records of one name that are looked at; there should be one.
const RECORDS_MAX: usize = 8;

/// A public key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Key {
    is_rsa: bool,
    bytes: Vec<u8>,
    pub(crate) testing: bool,
    /// `t=s`: `i=` must have exactly the domain `d=`.
    pub(crate) strict: bool,
}

/// Why there is no key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoKey {
    Now,
    Ever(Reason),
}

/// The key of a selector, for e-mail.
pub(crate) fn find(
    selector: &str,
    domain: &base::Domain,
    answers: &Answers,
) -> Result<Result<Key, NoKey>, Need> {
    let name = match key_name(selector, domain) {
        Ok(name) => name,
        Err(reason) => return Ok(Err(NoKey::Ever(reason))),
    };
    let kind = RecordType::Txt;
    Ok(match answers.get(Question { name, kind })? {
        Answer::Found(Records::Txt(texts)) => read_any(texts).map_err(NoKey::Ever),
        Answer::Found(_) | Answer::NoRecords | Answer::NoName => Err(NoKey::Ever(Reason::NoKey)),
        Answer::Temporary => Err(NoKey::Now),
    })
}

/// RFC 6376 §6.1.2: which of several records counts is undefined; the first that is a key does.
fn read_any(texts: &[Vec<u8>]) -> Result<Key, Reason> {
    let mut first_wrong = Reason::NoKey;
    for text in texts.iter().take(RECORDS_MAX) {
        match Key::parse(text) {
            Ok(key) => return Ok(key),
            Err(reason) if first_wrong == Reason::NoKey => first_wrong = reason,
            Err(_) => {}
        }
    }
    Err(first_wrong)
}

impl Key {
    /// Reads a key record.
    pub(crate) fn parse(record: &[u8]) -> Result<Self, Reason> {
        let tags = TagList::parse(record).map_err(|_| Reason::BadKey)?;
        // RFC 6376 §3.6.1, v=: the first tag if it is there.
        if let Some(version) = tags.value("v")
            && (version != "DKIM1" || tags.iter().next().is_none_or(|tag| tag.name != "v"))
        {
            return Err(Reason::BadKey);
        }
        let is_rsa = match tags.value("k") {
            None | Some("rsa") => true,
            Some("ed25519") => false,
            Some(_) => return Err(Reason::KeyOfOtherType),
        };
        let lists = |name, wanted: &[&str]| {
            tags.value(name)
                .is_none_or(|list| tags::items(list).any(|item| wanted.contains(&item)))
        };
        if !lists("h", &["sha256"]) {
            return Err(Reason::KeyOfOtherType);
        }
        if !lists("s", &["*", "email"]) {
            return Err(Reason::KeyNotForMail);
        }
        let flag = |wanted| {
            let flags = tags.value("t").unwrap_or_default();
            tags::items(flags).any(|flag| flag == wanted)
        };
        let public = tags.value("p").ok_or(Reason::BadKey)?;
        if tags::without_space(public).is_empty() {
            return Err(Reason::KeyRevoked);
        }
        let bytes = decoded(public, "p").map_err(|_| Reason::BadKey)?;
        Ok(Self {
            is_rsa,
            bytes,
            testing: flag("y"),
            strict: flag("s"),
        })
    }

    /// Whether it is the same key, whatever else the record says.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        (self.is_rsa, &self.bytes) == (other.is_rsa, &other.bytes)
    }

    /// Whether a signature over a hash was made with this key.
    pub(crate) fn verify(
        &self,
        algorithm: Algorithm,
        digest: &Digest,
        signature: &[u8],
    ) -> Result<(), Reason> {
        match algorithm {
            Algorithm::RsaSha256 if self.is_rsa => {
                // An RSA signature is as long as the key. The library refuses shorter keys too.
                if signature.len() < RSA_BITS_MIN / 8 {
                    return Err(Reason::KeyTooShort);
                }
                let scheme = &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY;
                let key = UnparsedPublicKey::new(scheme, &self.bytes).parse();
                let key = key.map_err(|_| Reason::BadKey)?;
                let verified = key.verify_digest_sig(digest, signature);
                verified.map_err(|_| Reason::SignatureWrong)
            }
            Algorithm::Ed25519Sha256 if !self.is_rsa => {
                // RFC 8463 §4.2: the 32 bytes themselves.
                if self.bytes.len() != 32 {
                    return Err(Reason::BadKey);
                }
                let key = UnparsedPublicKey::new(&ED25519, &self.bytes);
                let verified = key.verify(digest.as_ref(), signature);
                verified.map_err(|_| Reason::SignatureWrong)
            }
            Algorithm::RsaSha256 | Algorithm::Ed25519Sha256 => Err(Reason::KeyOfOtherType),
        }
    }

    /// Whether a DKIM signature may use this key for its identity.
    pub(crate) fn allows(&self, signature: &Signature) -> Result<(), Reason> {
        if self.strict && signature.identity_domain != signature.domain {
            return Err(Reason::KeyForbidsSubdomain);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(record: &str, expected: Result<bool, Reason>) {
        let found = Key::parse(record.as_bytes()).map(|key| key.is_rsa);
        assert_eq!(found, expected, "{record}");
    }

    #[test]
    fn records_are_read_or_refused_with_their_reason() {
        check("v=DKIM1; k=rsa; p=MTIz", Ok(true));
        check("p=MT\r\n Iz", Ok(true));
        check("v=DKIM1; k=ed25519; p=MTIz; n=note", Ok(false));
        check("k=ed25519; v=DKIM1; p=MTIz", Err(Reason::BadKey));
        check("v=DKIM2; p=MTIz", Err(Reason::BadKey));
        check("v=spf1 -all", Err(Reason::BadKey));
        check("v=DKIM1; k=dsa; p=MTIz", Err(Reason::KeyOfOtherType));
        check("v=DKIM1; h=sha1; p=MTIz", Err(Reason::KeyOfOtherType));
        check("v=DKIM1; h=sha1:sha256; p=MTIz", Ok(true));
        check("v=DKIM1; s=tlsrpt; p=MTIz", Err(Reason::KeyNotForMail));
        check("v=DKIM1; s=x:email; p=MTIz", Ok(true));
        check("v=DKIM1; p=", Err(Reason::KeyRevoked));
        check("v=DKIM1; p= ; t=y", Err(Reason::KeyRevoked));
        check("v=DKIM1", Err(Reason::BadKey));
        check("v=DKIM1; p=*", Err(Reason::BadKey));
    }

    #[test]
    fn the_first_record_that_is_a_key_counts() {
        let texts = [
            &b"v=spf1 -all"[..],
            b"v=DKIM1; k=ed25519; p=MTIz",
            b"p=MTIz",
        ];
        let texts = texts.map(<[u8]>::to_vec);
        assert_eq!(read_any(&texts).map(|key| key.is_rsa), Ok(false));
        assert_eq!(read_any(&texts[..1]), Err(Reason::BadKey));
        let key = Key::parse(b"v=DKIM1; t=y:s; p=MTIz").unwrap();
        assert!(key.testing && key.strict);
    }
}
