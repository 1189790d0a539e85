//! E-mail addresses as an envelope carries them: `local-part@domain`, internationalised or not.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// RFC 5321 §4.5.3.1.1: the longest local part, in octets.
pub const LOCAL_PART_BYTES_MAX: usize = 64;
/// RFC 5321 §4.5.3.1.2: the longest domain, in octets (of its ASCII form).
pub const DOMAIN_BYTES_MAX: usize = 255;
/// RFC 5321 §4.5.3.1.3: the longest path with its angle brackets is 256 octets.
pub const ADDRESS_BYTES_MAX: usize = 254;

/// Why a text is not an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddressError {
    /// There is no `@`.
    NoAt,
    /// Nothing before the `@`, or nothing after it.
    Empty,
    /// Longer than RFC 5321 allows.
    TooLong,
    /// A character that the grammar does not have at this place.
    BadLocalPart,
    /// Not a host name, not an IDNA name and not an address literal.
    BadDomain,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoAt => "there is no @ in the address",
            Self::Empty => "the part before or after the @ is empty",
            Self::TooLong => "the address is longer than RFC 5321 allows",
            Self::BadLocalPart => "the part before the @ has a character that may not stand there",
            Self::BadDomain => "the part after the @ is not a domain name",
        })
    }
}

impl std::error::Error for AddressError {}

/// A domain name (ASCII, lower case, A-labels) or an address literal.
///
/// `Domain = sub-domain *("." sub-domain)`, RFC 5321 §4.1.2; U-labels are turned into A-labels
/// (RFC 5891), so that two spellings of a name are equal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(Box<str>);

impl Domain {
    /// Reads a domain name or an address literal (`[192.0.2.1]`, `[IPv6:2001:db8::1]`).
    ///
    /// # Errors
    /// [`AddressError::BadDomain`], [`AddressError::Empty`] or [`AddressError::TooLong`].
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        // A U-label name may be longer than its A-label form, but not without bound.
        if text.len() > DOMAIN_BYTES_MAX * 4 {
            return Err(AddressError::TooLong);
        }
        if let Some(literal) = text.strip_prefix('[') {
            let inside = literal.strip_suffix(']').ok_or(AddressError::BadDomain)?;
            let ip = parse_literal(inside).ok_or(AddressError::BadDomain)?;
            return Ok(match ip {
                IpAddr::V4(v4) => Self(format!("[{v4}]").into()),
                IpAddr::V6(v6) => Self(format!("[IPv6:{v6}]").into()),
            });
        }
        let ascii = if text.is_ascii() {
            text.to_ascii_lowercase()
        } else {
            idna::domain_to_ascii(text).map_err(|_| AddressError::BadDomain)?
        };
        if ascii.len() > DOMAIN_BYTES_MAX {
            return Err(AddressError::TooLong);
        }
        if ascii.split('.').all(is_label) {
            Ok(Self(ascii.into()))
        } else {
            Err(AddressError::BadDomain)
        }
    }

    /// The ASCII form: A-labels in lower case, or the literal in its brackets.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form for people: U-labels where they are valid.
    #[must_use]
    pub fn to_unicode(&self) -> String {
        let (text, result) = idna::domain_to_unicode(&self.0);
        if result.is_ok() {
            text
        } else {
            self.0.to_string()
        }
    }

    /// The address of an address literal.
    #[must_use]
    pub fn literal(&self) -> Option<IpAddr> {
        parse_literal(self.0.strip_prefix('[')?.strip_suffix(']')?)
    }
}

/// RFC 1123 §2.1 with the underscore that real host names have.
fn is_label(label: &str) -> bool {
    let bytes = label.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        && bytes.first() != Some(&b'-')
        && bytes.last() != Some(&b'-')
}

/// RFC 5321 §4.1.3: `IPv4-address-literal / "IPv6:" IPv6-addr`.
fn parse_literal(inside: &str) -> Option<IpAddr> {
    match inside.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("ipv6:") => {
            inside[5..].parse::<Ipv6Addr>().ok().map(IpAddr::V6)
        }
        _ => inside.parse().ok().map(IpAddr::V4),
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Domain({})", self.0)
    }
}

impl FromStr for Domain {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

/// The part before the `@`, without quotes; its case is kept (RFC 5321 §2.4).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalPart(Box<str>);

impl LocalPart {
    /// Reads `Dot-string / Quoted-string` (RFC 5321 §4.1.2, with UTF-8 as RFC 6531 §3.3).
    ///
    /// # Errors
    /// [`AddressError::BadLocalPart`], [`AddressError::Empty`] or [`AddressError::TooLong`].
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        let content = match text.strip_prefix('"') {
            Some(rest) => unquote(rest).ok_or(AddressError::BadLocalPart)?,
            None if text.split('.').all(is_atom) => text.to_owned(),
            None => return Err(AddressError::BadLocalPart),
        };
        if content.is_empty() {
            return Err(AddressError::Empty);
        }
        if content.len() > LOCAL_PART_BYTES_MAX {
            return Err(AddressError::TooLong);
        }
        Ok(Self(content.into()))
    }

    /// The content, without quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LocalPart {
    /// Quoted where the grammar asks for it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.split('.').all(is_atom) {
            return f.write_str(&self.0);
        }
        f.write_str("\"")?;
        for c in self.0.chars() {
            if matches!(c, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        f.write_str("\"")
    }
}

/// RFC 5321 §4.1.2 `Atom` of RFC 5322 `atext`, with UTF-8 (RFC 6531 §3.3).
fn is_atom(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|c| {
            if c.is_ascii() {
                c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c)
            } else {
                !c.is_control()
            }
        })
}

/// The content of a quoted string whose opening quote is already gone.
fn unquote(rest: &str) -> Option<String> {
    let mut content = String::with_capacity(rest.len());
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => return chars.next().is_none().then_some(content),
            '\\' => content.push(chars.next().filter(|c| !c.is_control())?),
            c if c.is_control() => return None,
            c => content.push(c),
        }
    }
}

/// `Mailbox = Local-part "@" ( Domain / address-literal )`, RFC 5321 §4.1.2.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EmailAddress {
    /// The part before the `@`.
    pub local: LocalPart,
    /// The part after it.
    pub domain: Domain,
}

impl EmailAddress {
    /// Reads an address without angle brackets.
    ///
    /// # Errors
    /// The [`AddressError`] that says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let at = text.rfind('@').ok_or(AddressError::NoAt)?;
        let address = Self {
            local: LocalPart::parse(&text[..at])?,
            domain: Domain::parse(&text[at + 1..])?,
        };
        if address.local.0.len() + 1 + address.domain.0.len() > ADDRESS_BYTES_MAX {
            return Err(AddressError::TooLong);
        }
        Ok(address)
    }

    /// Whether it needs SMTPUTF8 to travel (RFC 6531): the domain never does, as A-labels exist.
    #[must_use]
    pub fn needs_utf8(&self) -> bool {
        !self.local.0.is_ascii()
    }

    /// The key under which a directory holds it: local part in lower case, no quotes.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}@{}", self.local.0.to_lowercase(), self.domain)
    }

    /// The address without its sub-address: `user+tag@d` gives `user@d` (RFC 5233), where `+` is
    /// the separator.
    #[must_use]
    pub fn without_tag(&self, separator: char) -> Option<Self> {
        let at = self.local.0.find(separator).filter(|at| *at > 0)?;
        let local = LocalPart(self.local.0[..at].into());
        Some(Self {
            local,
            domain: self.domain.clone(),
        })
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}

impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EmailAddress({self})")
    }
}

impl fmt::Debug for LocalPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalPart({})", self.0)
    }
}

impl FromStr for EmailAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, AddressError>) {
        let shown = EmailAddress::parse(text).map(|address| address.to_string());
        assert_eq!(shown.as_deref(), expected.as_ref().map(|s| *s), "{text}");
    }

    #[test]
    fn plain_and_quoted() {
        check("Bob@Black.Test", Ok("Bob@black.test"));
        check("a.b+c@x.test", Ok("a.b+c@x.test"));
        check("\"a b\"@x.test", Ok("\"a b\"@x.test"));
        check("\"a\\\"b\"@x.test", Ok("\"a\\\"b\"@x.test"));
        check("\"plain\"@x.test", Ok("plain@x.test"));
    }

    #[test]
    fn refuses_what_the_grammar_has_not() {
        check("nobody", Err(AddressError::NoAt));
        check("@x.test", Err(AddressError::Empty));
        check("a@", Err(AddressError::Empty));
        check("a..b@x.test", Err(AddressError::BadLocalPart));
        check("a b@x.test", Err(AddressError::BadLocalPart));
        check("\"a@x.test", Err(AddressError::BadLocalPart));
        check("a@-x.test", Err(AddressError::BadDomain));
        check("a@x..test", Err(AddressError::BadDomain));
        check("a@[300.1.1.1]", Err(AddressError::BadDomain));
    }

    /// RFC 5891 §5 and RFC 3492 §3: U-labels and A-labels.
    #[test]
    fn international_names_are_equal_in_both_spellings() {
        check("pelé@bücher.test", Ok("pelé@xn--bcher-kva.test"));
        let domain = Domain::parse("xn--bcher-kva.test").unwrap();
        assert_eq!(domain.to_unicode(), "bücher.test");
    }

    #[test]
    fn literals() {
        check("a@[127.0.0.1]", Ok("a@[127.0.0.1]"));
        check("a@[ipv6:::1]", Ok("a@[IPv6:::1]"));
        assert_eq!(
            Domain::parse("[IPv6:::1]").unwrap().literal(),
            "::1".parse().ok()
        );
    }

    #[test]
    fn lengths_at_the_limit_and_beyond() {
        let local = "a".repeat(LOCAL_PART_BYTES_MAX);
        assert!(EmailAddress::parse(&format!("{local}@x.test")).is_ok());
        assert_eq!(
            EmailAddress::parse(&format!("{local}a@x.test")),
            Err(AddressError::TooLong)
        );
        let label = "b".repeat(63);
        assert!(Domain::parse(&label).is_ok());
        assert_eq!(
            Domain::parse(&format!("{label}b")),
            Err(AddressError::BadDomain)
        );
    }

    #[test]
    fn sub_address_falls_back() {
        let address = EmailAddress::parse("bob+lists@x.test").unwrap();
        assert_eq!(address.without_tag('+').unwrap().key(), "bob@x.test");
        assert_eq!(address.without_tag('-'), None);
        assert_eq!(
            EmailAddress::parse("+x@x.test").unwrap().without_tag('+'),
            None
        );
    }
}
