//! The DKIM-Signature field (RFC 6376 §3.5), and what ARC-Message-Signature shares with it.

use std::fmt;
use std::ops::Range;

use base::Domain;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::canon::Canon;
use super::result::Reason;
use crate::tags::{self, TagList};

/// The most names in `h=`; real signatures have up to about 50, with names named twice.
pub const SIGNED_FIELDS_MAX: usize = 200;
/// RFC 6376 §3.5: an `l=` of up to 76 digits is legal; no letter is longer than 19 of them say.
const NUMBER_DIGITS_MAX: usize = 76;

/// How a signature is made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 over SHA-256 (RFC 6376 §3.3.2).
    RsaSha256,
    /// Ed25519 over the SHA-256 hash (RFC 8463 §3).
    Ed25519Sha256,
}

impl Algorithm {
    /// Reads the value of `a=`.
    pub(crate) fn parse(text: &str) -> Result<Self, Reason> {
        match text {
            "rsa-sha256" => Ok(Self::RsaSha256),
            "ed25519-sha256" => Ok(Self::Ed25519Sha256),
            // RFC 8301 §3.1: MUST NOT be used for signing or verifying.
            "rsa-sha1" => Err(Reason::Sha1),
            _ => Err(Reason::UnknownAlgorithm),
        }
    }

    /// What stands in `k=` of a key for it.
    #[must_use]
    pub fn key_type(self) -> &'static str {
        match self {
            Self::RsaSha256 => "rsa",
            Self::Ed25519Sha256 => "ed25519",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RsaSha256 => "rsa-sha256",
            Self::Ed25519Sha256 => "ed25519-sha256",
        })
    }
}

/// What a signature says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Signature {
    pub(crate) algorithm: Algorithm,
    pub(crate) header_canon: Canon,
    pub(crate) body_canon: Canon,
    pub(crate) domain: Domain,
    /// As written.
    pub(crate) selector: String,
    /// `i=`, as written; none where it was not given.
    pub(crate) identity: Option<String>,
    /// The domain of `i=`, or `d=`.
    pub(crate) identity_domain: Domain,
    pub(crate) signed_fields: Vec<String>,
    pub(crate) body_length: Option<u64>,
    pub(crate) body_hash: Vec<u8>,
    pub(crate) signature: Vec<u8>,
    /// Where the value of `b=` lies in the field's value.
    pub(crate) b_span: Range<usize>,
    /// Seconds since 1970.
    pub(crate) signed_at: Option<u64>,
    /// Seconds since 1970.
    pub(crate) expires_at: Option<u64>,
}

impl Signature {
    /// Reads the value of a DKIM-Signature field.
    pub(crate) fn parse_dkim(value: &[u8]) -> Result<Self, Reason> {
        let tags = TagList::parse(value)?;
        match tags.value("v") {
            Some("1") => {}
            Some(_) => return Err(Reason::UnknownVersion),
            None => return Err(Reason::MissingTag("v")),
        }
        let mut signature = Self::parse_common(&tags)?;
        // RFC 6376 §3.5, i=: of the same domain as d=, or a subdomain.
        if let Some(identity) = tags.value("i") {
            let (_, domain) = identity.rsplit_once('@').ok_or(Reason::BadTag("i"))?;
            let domain = Domain::parse(domain).map_err(|_| Reason::BadTag("i"))?;
            if !is_within(&domain, &signature.domain) {
                return Err(Reason::ForeignIdentity);
            }
            signature.identity = Some(identity.to_owned());
            signature.identity_domain = domain;
        }
        if signature.signed_fields.iter().any(String::is_empty) {
            return Err(Reason::BadTag("h"));
        }
        // RFC 6376 §6.1.1: From must be signed.
        let signs_from = |name: &String| name.eq_ignore_ascii_case("from");
        if !signature.signed_fields.iter().any(signs_from) {
            return Err(Reason::FromNotSigned);
        }
        signature.expires_at = number(&tags, "x")?;
        if let (Some(signed_at), Some(expires_at)) = (signature.signed_at, signature.expires_at)
            && expires_at <= signed_at
        {
            return Err(Reason::BadTag("x"));
        }
        Ok(signature)
    }

    /// Reads the tags that ARC-Message-Signature has too (RFC 8617 §4.1.2).
    pub(crate) fn parse_common(tags: &TagList<'_>) -> Result<Self, Reason> {
        let required = |name| tags.value(name).ok_or(Reason::MissingTag(name));
        let algorithm = Algorithm::parse(required("a")?)?;
        let (header_canon, body_canon) = canons(tags.value("c"))?;
        let domain = Domain::parse(required("d")?).map_err(|_| Reason::BadTag("d"))?;
        if domain.literal().is_some() {
            return Err(Reason::BadTag("d"));
        }
        let selector = required("s")?.to_owned();
        Domain::parse(&selector).map_err(|_| Reason::BadTag("s"))?;
        // RFC 6376 §3.5, q=: a method that is known must be among them.
        if let Some(methods) = tags.value("q")
            && !tags::items(methods).any(|method| method == "dns/txt")
        {
            return Err(Reason::BadTag("q"));
        }
        let b = tags.tag("b").ok_or(Reason::MissingTag("b"))?;
        Ok(Self {
            algorithm,
            header_canon,
            body_canon,
            identity: None,
            identity_domain: domain.clone(),
            domain,
            selector,
            signed_fields: field_names(required("h")?)?,
            body_length: number(tags, "l")?,
            body_hash: decoded(required("bh")?, "bh")?,
            signature: decoded(b.value, "b")?,
            b_span: b.span.clone(),
            signed_at: number(tags, "t")?,
            expires_at: None,
        })
    }
}

/// Where the key of a selector is (RFC 6376 §3.6.2.1), in A-labels (RFC 8616 §4).
pub(crate) fn key_name(selector: &str, domain: &Domain) -> Result<String, Reason> {
    let name = Domain::parse(&format!("{selector}._domainkey.{domain}"));
    name.map(|name| name.as_str().to_owned())
        .map_err(|_| Reason::BadTag("s"))
}

/// Whether a domain is another one or below it.
pub(crate) fn is_within(domain: &Domain, above: &Domain) -> bool {
    let rest = domain.as_str().strip_suffix(above.as_str());
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// `c=`: header, body; simple where nothing is said.
fn canons(value: Option<&str>) -> Result<(Canon, Canon), Reason> {
    let Some(value) = value else {
        return Ok((Canon::Simple, Canon::Simple));
    };
    let (header, body) = value.split_once('/').unwrap_or((value, "simple"));
    let parse = |name| Canon::parse(name).ok_or(Reason::BadTag("c"));
    Ok((parse(header)?, parse(body)?))
}

/// The names in `h=`. An empty one is left to the caller: the vectors of ARC have them.
fn field_names(value: &str) -> Result<Vec<String>, Reason> {
    let mut names = Vec::new();
    for name in tags::items(value) {
        // RFC 5322 §2.2: printable US-ASCII.
        if !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Reason::BadTag("h"));
        }
        if names.len() == SIGNED_FIELDS_MAX {
            return Err(Reason::TooManyFields);
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

pub(crate) fn decoded(value: &str, tag: &'static str) -> Result<Vec<u8>, Reason> {
    let bytes = STANDARD
        .decode(tags::without_space(value))
        .map_err(|_| Reason::BadTag(tag))?;
    if bytes.is_empty() {
        return Err(Reason::BadTag(tag));
    }
    Ok(bytes)
}

/// A number; one that is too large for us is the largest.
pub(crate) fn number(tags: &TagList<'_>, name: &'static str) -> Result<Option<u64>, Reason> {
    let Some(value) = tags.value(name) else {
        return Ok(None);
    };
    let is_number = (1..=NUMBER_DIGITS_MAX).contains(&value.len())
        && value.bytes().all(|byte| byte.is_ascii_digit());
    if is_number {
        Ok(Some(value.parse().unwrap_or(u64::MAX)))
    } else {
        Err(Reason::BadTag(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "v=1; a=rsa-sha256; d=example.net; s=brisbane; c=relaxed/simple; \
        q=dns/txt; t=1117574938; x=1118006938; h=from:to: subject ; bh=MTIz\r\n NDU=; b=dzdVy";

    fn check(list: &str, expected: Result<(), Reason>) {
        let found = Signature::parse_dkim(list.as_bytes()).map(|_| ());
        assert_eq!(found, expected, "{list}");
    }

    #[test]
    fn a_signature_is_read() {
        let list = GOOD.replace("dzdVy", "MTI z");
        let signature = Signature::parse_dkim(list.as_bytes()).unwrap();
        assert_eq!(signature.domain.as_str(), "example.net");
        assert_eq!(signature.signed_fields, ["from", "to", "subject"]);
        assert_eq!(
            (signature.header_canon, signature.body_canon),
            (Canon::Relaxed, Canon::Simple)
        );
        assert_eq!(signature.body_hash, b"12345");
        assert_eq!(signature.signature, b"123");
        assert_eq!(&list[signature.b_span.clone()], "MTI z");
    }

    #[test]
    fn what_is_wrong_has_its_reason() {
        let good = GOOD.replace("dzdVy", "MTIz");
        check(&good, Ok(()));
        for (from, to, reason) in [
            ("v=1;", "", Reason::MissingTag("v")),
            ("v=1", "v=2", Reason::UnknownVersion),
            ("rsa-sha256", "rsa-sha1", Reason::Sha1),
            ("rsa-sha256", "rsa-md5", Reason::UnknownAlgorithm),
            ("d=example.net;", "", Reason::MissingTag("d")),
            ("d=example.net", "d=[127.0.0.1]", Reason::BadTag("d")),
            ("d=example.net", "d=-", Reason::BadTag("d")),
            ("s=brisbane", "s=a..b", Reason::BadTag("s")),
            ("relaxed/simple", "loose", Reason::BadTag("c")),
            ("dns/txt", "http", Reason::BadTag("q")),
            ("from:", "", Reason::FromNotSigned),
            ("from:", ":", Reason::BadTag("h")),
            ("x=1118006938", "x=1117574938", Reason::BadTag("x")),
            ("t=1117574938", "t=-1", Reason::BadTag("t")),
            ("b=MTIz", "b=MTI", Reason::BadTag("b")),
            ("b=MTIz", "b=", Reason::BadTag("b")),
            ("q=dns/txt", "l=x", Reason::BadTag("l")),
            ("q=dns/txt", "i=x", Reason::BadTag("i")),
            ("q=dns/txt", "i=@other.net", Reason::ForeignIdentity),
            ("q=dns/txt", "i=@xexample.net", Reason::ForeignIdentity),
        ] {
            check(&good.replace(from, to), Err(reason));
        }
        check(&good.replace("q=dns/txt", "i=bob@sub.example.net"), Ok(()));
    }

    #[test]
    fn the_limit_of_signed_fields_holds() {
        let good = GOOD.replace("dzdVy", "MTIz");
        let names = |count| "x:".repeat(count - 1) + "from";
        let list = good.replace("from:to: subject", &names(SIGNED_FIELDS_MAX));
        check(&list, Ok(()));
        let list = good.replace("from:to: subject", &names(SIGNED_FIELDS_MAX + 1));
        check(&list, Err(Reason::TooManyFields));
    }

    #[test]
    fn names_of_keys_are_in_a_labels() {
        let domain = Domain::parse("bücher.example").unwrap();
        let name = key_name("gärtner", &domain).unwrap();
        assert_eq!(name, "xn--grtner-bua._domainkey.xn--bcher-kva.example");
    }
}
