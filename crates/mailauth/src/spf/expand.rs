//! Macro strings: their expansion (RFC 7208 §7.3), and the names of the peer's address.

use std::fmt::Write;
use std::net::IpAddr;

use super::macros::{Macro, MacroString, Part};
use crate::dns::{Answer, Answers, Need, Question, RecordType, Records};
use crate::name::{NAME_BYTES_MAX, is_within, question_name, to_ascii};

/// RFC 7208 §4.6.4: names of an address that are looked at.
const PTR_NAMES_MAX: usize = 10;
/// Bytes of an expanded text; a name has 253, an explanation is cut to less.
const EXPANDED_BYTES_MAX: usize = 4_096;

/// What the terms of a record are held against; the same for every record of a check.
pub(super) struct Scene<'a> {
    pub(super) address: IpAddr,
    pub(super) local: &'a str,
    /// In A-labels.
    pub(super) sender_domain: &'a str,
    pub(super) helo: &'a str,
    pub(super) receiver: &'a str,
    pub(super) now_secs: i64,
    pub(super) answers: &'a Answers,
}

/// The names that lead to the peer's address and back.
pub(super) enum Names {
    /// The DNS has none (a void look-up).
    Void,
    /// The DNS did not answer.
    Unknown,
    /// These, perhaps none of them valid; at most 10.
    Valid(Vec<String>),
}

impl Scene<'_> {
    /// The name that a domain-spec means; `None` for one that the DNS cannot hold, which matches
    /// nothing (RFC 7208 §4.8; RFC 8616 §4 for local parts beyond ASCII).
    pub(super) fn target(&self, spec: &MacroString, domain: &str) -> Result<Option<String>, Need> {
        let expanded = self.expand(spec, domain)?;
        let mut name = expanded.strip_suffix('.').unwrap_or(&expanded);
        // RFC 7208 §7.3: labels are taken off the left of a name that is too long.
        while name.len() > NAME_BYTES_MAX {
            match name.split_once('.') {
                Some((_, rest)) => name = rest,
                None => return Ok(None),
            }
        }
        Ok(question_name(name))
    }

    /// Expands a macro string of a record of `domain`.
    pub(super) fn expand(&self, text: &MacroString, domain: &str) -> Result<String, Need> {
        let mut expanded = String::new();
        for part in &text.0 {
            match part {
                Part::Literal(literal) => expanded.push_str(literal),
                Part::Escape(escape) => expanded.push_str(escape),
                Part::Macro(name) => {
                    let value = transform(name, &self.value(name.letter, domain)?);
                    if name.escaped {
                        push_escaped(&mut expanded, &value);
                    } else {
                        expanded.push_str(&value);
                    }
                }
            }
            if expanded.len() > EXPANDED_BYTES_MAX {
                return Ok(String::new());
            }
        }
        Ok(expanded)
    }

    fn value(&self, letter: u8, domain: &str) -> Result<String, Need> {
        Ok(match letter {
            b's' => format!("{}@{}", self.local, self.sender_domain),
            b'l' => self.local.to_owned(),
            b'o' => self.sender_domain.to_owned(),
            b'd' => domain.to_owned(),
            b'i' => dotted(self.address),
            b'p' => self.validated_name(domain)?,
            b'v' if self.address.is_ipv4() => "in-addr".to_owned(),
            b'v' => "ip6".to_owned(),
            b'h' => to_ascii(self.helo).unwrap_or_else(|| self.helo.to_owned()),
            b'c' => self.address.to_string(),
            b'r' => self.receiver.to_owned(),
            // The grammar has no other letter than `t`.
            _ => self.now_secs.to_string(),
        })
    }

    /// RFC 7208 §7.3, `p`: the domain itself, one below it, any other, or `unknown`.
    fn validated_name(&self, domain: &str) -> Result<String, Need> {
        let Names::Valid(names) = self.names()? else {
            return Ok("unknown".to_owned());
        };
        let find = |wanted: &dyn Fn(&str) -> bool| names.iter().find(|name| wanted(name));
        let best = find(&|name| name == domain)
            .or_else(|| find(&|name| is_within(name, domain)))
            .or_else(|| names.first());
        Ok(best.map_or_else(|| "unknown".to_owned(), Clone::clone))
    }

    /// The names of the peer's address whose addresses include it (RFC 7208 §5.5).
    pub(super) fn names(&self) -> Result<Names, Need> {
        let candidates = match self.answers.get(Question {
            name: reverse_name(self.address),
            kind: RecordType::Ptr,
        })? {
            Answer::Found(Records::Ptr(names)) => names,
            Answer::NoRecords | Answer::NoName => return Ok(Names::Void),
            Answer::Found(_) | Answer::Temporary => return Ok(Names::Unknown),
        };
        let candidates = candidates.iter().filter_map(|name| question_name(name));
        let candidates: Vec<String> = candidates.take(PTR_NAMES_MAX).collect();
        let questions = candidates.iter().map(|name| self.address_question(name));
        let answers = self.answers.get_all(questions)?;
        let valid = candidates.into_iter().zip(answers);
        // An error at one name passes that name over.
        let valid = valid.filter(|(_, answer)| match answer {
            Answer::Found(records) => includes(records, self.address, u8::MAX, u8::MAX),
            Answer::NoRecords | Answer::NoName | Answer::Temporary => false,
        });
        Ok(Names::Valid(valid.map(|(name, _)| name).collect()))
    }

    /// Asks for addresses of the peer's own family (RFC 7208 §5).
    pub(super) fn address_question(&self, name: &str) -> Question {
        Question {
            name: name.to_owned(),
            kind: match self.address {
                IpAddr::V4(_) => RecordType::A,
                IpAddr::V6(_) => RecordType::Aaaa,
            },
        }
    }
}

/// Whether one of the addresses has the same prefix.
pub(super) fn includes(records: &Records, peer: IpAddr, prefix_v4: u8, prefix_v6: u8) -> bool {
    match (records, peer) {
        (Records::A(found), IpAddr::V4(peer)) => {
            let same = |found: u32| shares(found.into(), peer.to_bits().into(), 32, prefix_v4);
            found.iter().any(|found| same(found.to_bits()))
        }
        (Records::Aaaa(found), IpAddr::V6(peer)) => found
            .iter()
            .any(|found| shares(found.to_bits(), peer.to_bits(), 128, prefix_v6)),
        _ => false,
    }
}

/// Whether two addresses of so many bits agree in their first `prefix` bits.
pub(super) fn shares(one: u128, other: u128, bits: u32, prefix: u8) -> bool {
    let rest = bits.saturating_sub(u32::from(prefix));
    (one ^ other).checked_shr(rest).unwrap_or(0) == 0
}

/// The name that an address's PTR records have.
pub(crate) fn reverse_name(address: IpAddr) -> String {
    let zone = if address.is_ipv4() { "in-addr" } else { "ip6" };
    let parts = dotted(address);
    let reversed: Vec<&str> = parts.rsplit('.').collect();
    format!("{}.{zone}.arpa", reversed.join(".")).to_ascii_lowercase()
}

/// RFC 7208 §7.3, `i`: an IPv6 address as its nibbles.
fn dotted(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => {
            let mut text = String::with_capacity(63);
            for byte in v6.octets() {
                // Writing to a String cannot fail.
                let _ = write!(text, "{:X}.{:X}.", byte >> 4, byte & 15);
            }
            text.truncate(63);
            text
        }
    }
}

/// Splits, reverses, keeps the right-most parts and joins them with dots.
fn transform(name: &Macro, value: &str) -> String {
    let is_delimiter = |c: char| {
        u8::try_from(c).is_ok_and(|byte| match name.delimiters.as_slice() {
            [] => byte == b'.',
            delimiters => delimiters.contains(&byte),
        })
    };
    let mut parts: Vec<&str> = value.split(is_delimiter).collect();
    if name.reversed {
        parts.reverse();
    }
    let dropped = parts.len().saturating_sub(name.keep);
    parts[dropped..].join(".")
}

/// RFC 3986 §2.3: what is not unreserved is written as `%` and two digits.
fn push_escaped(text: &mut String, value: &str) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
}
