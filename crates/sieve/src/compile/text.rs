//! What is inside of strings: encoded characters (RFC 5228 §2.4.2.4) and variables (RFC 5229 §3).
//! Encoded characters come first, so that one may stand for the `$` of a variable.

use super::{Checked, Compiler, wrong};
use crate::Capability;
use crate::matching::MATCH_VARIABLES_MAX;
use crate::program::{Piece, Text};
use crate::syntax::At;

/// Bytes of a variable's name. RFC 5229 §6 asks for at least 32 characters.
const NAME_BYTES_MAX: usize = 64;

impl Compiler<'_> {
    pub(super) fn template(&self, at: At, text: &str) -> Checked<Text> {
        if !text.contains("${") {
            return Ok(Text::Constant(text.to_owned()));
        }
        let decoded = if self.required.has(Capability::EncodedCharacter) {
            match decode_characters(text) {
                Ok(decoded) => decoded,
                Err(error) => return wrong(at, error),
            }
        } else {
            text.to_owned()
        };
        if self.required.has(Capability::Variables) {
            self.variables(at, &decoded)
        } else {
            Ok(Text::Constant(decoded))
        }
    }

    fn variables(&self, at: At, text: &str) -> Checked<Text> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            literal.push_str(&rest[..start]);
            let inside = &rest[start + 2..];
            let reference = inside.find('}').map(|end| &inside[..end]);
            let piece = match reference {
                Some(name) => self.reference(at, name)?,
                None => None,
            };
            if let (Some(piece), Some(name)) = (piece, reference) {
                if !literal.is_empty() {
                    pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                }
                pieces.push(piece);
                rest = &inside[name.len() + 1..];
            } else {
                // RFC 5229 §3: what is no variable stays as it is.
                literal.push_str("${");
                rest = inside;
            }
        }
        literal.push_str(rest);
        if pieces.is_empty() {
            return Ok(Text::Constant(literal));
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Text::Template(pieces))
    }

    /// `variable-name = num-variable / identifier`, with `global.` before it (RFC 6609 §3.4.2).
    fn reference(&self, at: At, name: &str) -> Checked<Option<Piece>> {
        if !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit()) {
            return match name.parse() {
                Ok(number) if number < MATCH_VARIABLES_MAX => Ok(Some(Piece::Match(number))),
                _ => wrong(
                    at,
                    format!("match variables end at ${{{}}}", MATCH_VARIABLES_MAX - 1),
                ),
            };
        }
        if let Some((namespace, rest)) = name.split_once('.') {
            if !is_identifier(namespace) || !rest.split('.').all(is_identifier) {
                return Ok(None);
            }
            let known =
                namespace.eq_ignore_ascii_case("global") && self.required.has(Capability::Include);
            if !known || rest.contains('.') {
                return wrong(
                    at,
                    format!("there is no namespace of variables for `${{{name}}}`"),
                );
            }
        } else if !is_identifier(name) {
            return Ok(None);
        }
        self.is_short(at, name)?;
        Ok(Some(Piece::Variable(name.to_ascii_lowercase())))
    }

    /// The name of a variable that is given a value.
    pub(super) fn variable_name(&self, at: At, name: &str) -> Checked<String> {
        let plain = match name.split_once('.') {
            Some((namespace, plain))
                if namespace.eq_ignore_ascii_case("global")
                    && self.required.has(Capability::Include) =>
            {
                plain
            }
            _ => name,
        };
        if !is_identifier(plain) {
            return wrong(at, format!("`{name}` is no name of a variable"));
        }
        self.is_short(at, name)?;
        Ok(name.to_ascii_lowercase())
    }

    fn is_short(&self, at: At, name: &str) -> Checked<()> {
        if name.len() > NAME_BYTES_MAX {
            return wrong(
                at,
                format!("names of variables may have {NAME_BYTES_MAX} characters"),
            );
        }
        Ok(())
    }
}

/// `identifier = (ALPHA / "_") *(ALPHA / DIGIT / "_")`.
pub(super) fn is_identifier(name: &str) -> bool {
    name.bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// `${hex: 40 41}` and `${unicode: 00e9}`; what is not of that form stays.
fn decode_characters(text: &str) -> Result<String, String> {
    let mut out: Vec<u8> = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        out.extend_from_slice(&rest.as_bytes()[..start]);
        let inside = &rest[start + 2..];
        let end = inside.find('}');
        let (kind, digits) = end
            .and_then(|end| inside[..end].split_once(':'))
            .unwrap_or_default();
        let decoded = match kind.to_ascii_lowercase().as_str() {
            "hex" => hex(digits),
            "unicode" => unicode(digits)?,
            _ => None,
        };
        if let (Some(bytes), Some(end)) = (decoded, end) {
            out.extend_from_slice(&bytes);
            rest = &inside[end + 1..];
        } else {
            out.extend_from_slice(b"${");
            rest = inside;
        }
    }
    out.extend_from_slice(rest.as_bytes());
    match String::from_utf8(out) {
        Ok(text) if !text.contains('\0') => Ok(text),
        Ok(_) => Err("a string cannot hold NUL".to_owned()),
        Err(_) => Err("the encoded octets of this string are not UTF-8".to_owned()),
    }
}

fn words(digits: &str) -> Option<Vec<&str>> {
    let blank = |c| matches!(c, ' ' | '\t' | '\r' | '\n');
    let words: Vec<&str> = digits
        .split(blank)
        .filter(|word| !word.is_empty())
        .collect();
    let hex = |word: &&str| word.bytes().all(|b| b.is_ascii_hexdigit());
    (!words.is_empty() && words.iter().all(hex)).then_some(words)
}

fn hex(digits: &str) -> Option<Vec<u8>> {
    let words = words(digits)?;
    let octet = |word: &&str| (word.len() <= 2).then(|| u8::from_str_radix(word, 16).ok())?;
    words.iter().map(octet).collect()
}

fn unicode(digits: &str) -> Result<Option<Vec<u8>>, String> {
    let Some(words) = words(digits) else {
        return Ok(None);
    };
    let mut out = String::new();
    for word in words {
        // RFC 5228 §2.4.2.4: surrogates and what lies beyond the last character are errors.
        let c = u32::from_str_radix(word, 16).ok().and_then(char::from_u32);
        out.push(c.ok_or_else(|| format!("there is no character {word} in Unicode"))?);
    }
    Ok(Some(out.into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_5228_2_4_2_4_encoded_characters() {
        let check = |text, expected: &str| {
            assert_eq!(decode_characters(text).as_deref(), Ok(expected), "{text}");
        };
        check("$${hex:40}", "$@");
        check("${hex: 40 }", "@");
        check("${HEX: 40}", "@");
        check("${hex:40", "${hex:40");
        check("${hex:400}", "${hex:400}");
        check("${hex:4${hex:30}}", "${hex:40}");
        check("${unicode:40}", "@");
        check("${ unicode:40}", "${ unicode:40}");
        check("${UNICODE:40}", "@");
        check("${UnICoDE:0000040}", "@");
        check("${Unicode:40}", "@");
        check("${Unicode:Cool}", "${Unicode:Cool}");
        check("${unicode:10ffff}x", "\u{10ffff}x");
        check("${hex: c3}${hex: a9}", "é");
        check("${unicode: 24\r\n 7b}", "${");
        assert!(decode_characters("${unicode:200000}").is_err());
        assert!(decode_characters("${unicode:DF01}").is_err());
        assert!(decode_characters("${hex:ff}").is_err());
        assert!(decode_characters("${hex:0}").is_err());
    }
}
