//! SPF records: their grammar (RFC 7208 §4.6.1, §5, §6). A record is read whole before any of it is
//! evaluated, because an error anywhere is an error of the whole (§4.6).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::macros::{MacroString, Place};

/// Terms of one record; a TXT record of 64 KiB could hold more, a DNS answer that makes sense does
/// not.
const TERMS_MAX: usize = 512;
/// Bytes of a term that are shown in a reason.
const SHOWN_BYTES_MAX: usize = 60;

/// A record, read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Record {
    pub(super) directives: Vec<Directive>,
    pub(super) redirect: Option<MacroString>,
    pub(super) explanation: Option<MacroString>,
}

/// `[ qualifier ] mechanism`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Directive {
    pub(super) qualifier: Qualifier,
    pub(super) mechanism: Mechanism,
    /// As written, for people.
    pub(super) text: String,
}

/// What a match means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Qualifier {
    Pass,
    Fail,
    SoftFail,
    Neutral,
}

/// RFC 7208 §5.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Mechanism {
    All,
    Include(MacroString),
    A(Hosts),
    Mx(Hosts),
    Ptr(Option<MacroString>),
    Ip4(Ipv4Addr, u8),
    Ip6(Ipv6Addr, u8),
    Exists(MacroString),
}

/// `[ ":" domain-spec ] [ dual-cidr-length ]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Hosts {
    /// `None`: the domain of the record.
    pub(super) domain: Option<MacroString>,
    pub(super) prefix_v4: u8,
    pub(super) prefix_v6: u8,
}

/// Whether a text is an SPF record (RFC 7208 §4.5).
pub(super) fn is_spf(text: &[u8]) -> bool {
    match text.split_at_checked(6) {
        Some((version, rest)) => {
            version.eq_ignore_ascii_case(b"v=spf1") && matches!(rest.first(), None | Some(b' '))
        }
        None => false,
    }
}

impl Record {
    /// Reads a record.
    ///
    /// # Errors
    /// The term that breaks the grammar, for people.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let mut record = Self {
            directives: Vec::new(),
            redirect: None,
            explanation: None,
        };
        let terms = text
            .get(6..)
            .unwrap_or_default()
            .split(|byte| *byte == b' ');
        let terms = terms.filter(|term| !term.is_empty());
        for (position, term) in terms.enumerate() {
            let read = std::str::from_utf8(term)
                .ok()
                .filter(|term| position < TERMS_MAX && term.bytes().all(|b| b.is_ascii_graphic()))
                .and_then(|term| record.take(term));
            if read.is_none() {
                return Err(shown(term));
            }
        }
        Ok(record)
    }

    fn take(&mut self, term: &str) -> Option<()> {
        if let Some((name, value)) = modifier(term) {
            return self.take_modifier(name, value);
        }
        let (qualifier, mechanism) = match term.as_bytes().first()? {
            b'+' => (Qualifier::Pass, &term[1..]),
            b'-' => (Qualifier::Fail, &term[1..]),
            b'~' => (Qualifier::SoftFail, &term[1..]),
            b'?' => (Qualifier::Neutral, &term[1..]),
            _ => (Qualifier::Pass, term),
        };
        self.directives.push(Directive {
            qualifier,
            mechanism: parse_mechanism(mechanism)?,
            text: shown(term.as_bytes()),
        });
        Some(())
    }

    fn take_modifier(&mut self, name: &str, value: &str) -> Option<()> {
        let slot = if name.eq_ignore_ascii_case("redirect") {
            &mut self.redirect
        } else if name.eq_ignore_ascii_case("exp") {
            &mut self.explanation
        } else {
            // RFC 7208 §6: unknown ones are ignored, but must be well-formed.
            return MacroString::parse(value, Place::Record).map(drop);
        };
        // RFC 7208 §6: each at most once.
        if slot.is_some() {
            return None;
        }
        *slot = Some(MacroString::parse_domain_spec(value)?);
        Some(())
    }
}

/// `name "=" value`, where the term is no mechanism.
fn modifier(term: &str) -> Option<(&str, &str)> {
    let (name, value) = term.split_once('=')?;
    let bytes = name.as_bytes();
    let is_name = bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte));
    is_name.then_some((name, value))
}

fn parse_mechanism(text: &str) -> Option<Mechanism> {
    let end = text.find([':', '/']).unwrap_or(text.len());
    let (name, argument) = text.split_at(end);
    let spec = || MacroString::parse_domain_spec(argument.strip_prefix(':')?);
    match name.to_ascii_lowercase().as_str() {
        "all" => argument.is_empty().then_some(Mechanism::All),
        "include" => Some(Mechanism::Include(spec()?)),
        "a" => Some(Mechanism::A(parse_hosts(argument)?)),
        "mx" => Some(Mechanism::Mx(parse_hosts(argument)?)),
        "ptr" if argument.is_empty() => Some(Mechanism::Ptr(None)),
        "ptr" => Some(Mechanism::Ptr(Some(spec()?))),
        "ip4" => {
            let (network, prefix) = network(argument)?;
            Some(Mechanism::Ip4(network.parse().ok()?, length(prefix, 32)?))
        }
        "ip6" => {
            let (network, prefix) = network(argument)?;
            Some(Mechanism::Ip6(network.parse().ok()?, length(prefix, 128)?))
        }
        "exists" => Some(Mechanism::Exists(spec()?)),
        _ => None,
    }
}

fn network(argument: &str) -> Option<(&str, Option<&str>)> {
    let argument = argument.strip_prefix(':')?;
    Some(match argument.split_once('/') {
        Some((network, prefix)) => (network, Some(prefix)),
        None => (argument, None),
    })
}

/// The length of a prefix; the whole address when there is none.
fn length(text: Option<&str>, most: u8) -> Option<u8> {
    let Some(text) = text else {
        return Some(most);
    };
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let padded = text.len() > 1 && text.starts_with('0');
    let length = text.parse().ok()?;
    (plain && !padded && length <= most).then_some(length)
}

fn parse_hosts(argument: &str) -> Option<Hosts> {
    let (rest, v6) = split_prefix(argument, "//");
    let (rest, v4) = split_prefix(rest, "/");
    let domain = match rest {
        "" => None,
        _ => Some(MacroString::parse_domain_spec(rest.strip_prefix(':')?)?),
    };
    Some(Hosts {
        domain,
        prefix_v4: length(v4, 32)?,
        prefix_v6: length(v6, 128)?,
    })
}

/// Splits off what follows the mark at the end; a mark followed by anything but digits belongs to
/// the domain.
fn split_prefix<'a>(text: &'a str, mark: &str) -> (&'a str, Option<&'a str>) {
    match text.rsplit_once(mark) {
        Some((before, digits))
            if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            (before, Some(digits))
        }
        _ => (text, None),
    }
}

/// A term for people: short, and only printable ASCII.
fn shown(term: &[u8]) -> String {
    let printable = |byte: &u8| match byte {
        byte if byte.is_ascii_graphic() => char::from(*byte),
        _ => '?',
    };
    term.iter().take(SHOWN_BYTES_MAX).map(printable).collect()
}
