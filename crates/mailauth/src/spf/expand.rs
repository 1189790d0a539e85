//! Macro strings: their expansion (RFC 7208 §7.3).

use std::fmt::Write;
use std::net::IpAddr;

use super::macros::{Macro, MacroString, Part};
use crate::dns::{Answers, Need};
use crate::name::{NAME_BYTES_MAX, is_within, question_name, to_ascii};
use crate::reverse::{Names, dotted, names};

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
        let Names::Found { valid: names, .. } = names(self.address, self.answers)? else {
            return Ok("unknown".to_owned());
        };
        let find = |wanted: &dyn Fn(&str) -> bool| names.iter().find(|name| wanted(name));
        let best = find(&|name| name == domain)
            .or_else(|| find(&|name| is_within(name, domain)))
            .or_else(|| names.first());
        Ok(best.map_or_else(|| "unknown".to_owned(), Clone::clone))
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
