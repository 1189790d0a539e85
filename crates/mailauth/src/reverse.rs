//! From an address to its names and back.

use std::fmt::Write;
use std::net::IpAddr;

use crate::dns::{Answer, Answers, Need, Question, RecordType, Records};
use crate::name::question_name;

/// Names of an address that are looked at (RFC 7208 §4.6.4).
const NAMES_MAX: usize = 10;

/// What the DNS says about the names of an address.
pub(crate) enum Names {
    /// It has none.
    Void,
    /// No answer.
    Unknown,
    /// It has some.
    Found {
        /// Those whose addresses include it (RFC 7208 §5.5); at most 10.
        valid: Vec<String>,
        /// There was no answer for one of the names, which is then not among the valid ones.
        unsure: bool,
    },
}

/// The names of an address.
pub(crate) fn names(address: IpAddr, answers: &Answers) -> Result<Names, Need> {
    let candidates = match answers.get(Question {
        name: reverse_name(address),
        kind: RecordType::Ptr,
    })? {
        Answer::Found(Records::Ptr(names)) => names,
        Answer::NoRecords | Answer::NoName => return Ok(Names::Void),
        Answer::Found(_) | Answer::Temporary => return Ok(Names::Unknown),
    };
    let candidates = candidates.iter().filter_map(|name| question_name(name));
    let candidates: Vec<String> = candidates.take(NAMES_MAX).collect();
    let questions = candidates
        .iter()
        .map(|name| address_question(address, name));
    let found = answers.get_all(questions)?;
    let unsure = found.contains(&&Answer::Temporary);
    let valid = candidates.into_iter().zip(found);
    let valid = valid.filter(|(_, answer)| match answer {
        Answer::Found(records) => includes(records, address, u8::MAX, u8::MAX),
        Answer::NoRecords | Answer::NoName | Answer::Temporary => false,
    });
    Ok(Names::Found {
        valid: valid.map(|(name, _)| name).collect(),
        unsure,
    })
}

/// Asks for a host's addresses of the same family.
pub(crate) fn address_question(address: IpAddr, name: &str) -> Question {
    Question {
        name: name.to_owned(),
        kind: match address {
            IpAddr::V4(_) => RecordType::A,
            IpAddr::V6(_) => RecordType::Aaaa,
        },
    }
}

/// Whether one of the addresses has the same prefix.
pub(crate) fn includes(records: &Records, peer: IpAddr, prefix_v4: u8, prefix_v6: u8) -> bool {
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
pub(crate) fn shares(one: u128, other: u128, bits: u32, prefix: u8) -> bool {
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

/// An IPv4 address as always, an IPv6 address as its nibbles with dots (RFC 7208 §7.3, `i`).
pub(crate) fn dotted(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => {
            let mut text = String::with_capacity(64);
            for byte in v6.octets() {
                // Writing to a String cannot fail.
                let _ = write!(text, "{:X}.{:X}.", byte >> 4, byte & 15);
            }
            text.pop();
            text
        }
    }
}
