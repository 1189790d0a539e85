//! Letters in another transfer encoding: 8-bit ones for servers that take seven bits (RFC 6152 §3,
//! RFC 2045 §6), binary ones for a world of lines (RFC 3030 §3). Only the parts that need it are
//! changed; what is signed by S/MIME or PGP stays as it is, or the letter is not converted.

use std::fmt;

use super::transfer::{encode_base64_body, encode_lines};
use crate::header::Fields;
use crate::mime::{Content, Part};
use crate::{Message, Span};

/// RFC 5322 §2.1.1: the longest line without its CR LF.
const LINE_BYTES_MAX: usize = 998;

/// Why a letter cannot be converted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConvertError {
    /// A header, or what stands between the parts, has octets that no encoding can hide.
    Outside,
    /// The part is signed; changing it would break the signature (RFC 1847 §2.1).
    Signed,
}

impl fmt::Display for ConvertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Outside => "the letter has such octets outside of its parts",
            Self::Signed => "encoding the letter would break the signature in it",
        })
    }
}

impl std::error::Error for ConvertError {}

/// The letter with seven bits only: its 8-bit parts as quoted-printable (text) or base64.
///
/// # Errors
/// [`ConvertError`] when it cannot be done without breaking the letter.
pub fn to_seven_bit(letter: &[u8]) -> Result<Vec<u8>, ConvertError> {
    convert(letter, |bytes| !bytes.is_ascii() || !is_lines(bytes))
}

/// The letter without binary parts: those are written as base64, so that all lines end with CR LF
/// and there is no NUL.
///
/// # Errors
/// [`ConvertError`] when it cannot be done without breaking the letter.
pub fn without_binary(letter: &[u8]) -> Result<Vec<u8>, ConvertError> {
    convert(letter, |bytes| !is_lines(bytes))
}

/// RFC 2045 §2.8: lines that end with CR LF, none too long, and no NUL.
fn is_lines(bytes: &[u8]) -> bool {
    bytes.split(|b| *b == b'\n').all(|line| {
        let content = line.strip_suffix(b"\r").unwrap_or(line);
        content.len() <= LINE_BYTES_MAX && !content.iter().any(|b| matches!(b, b'\r' | 0))
    }) && !has_bare_line_feed(bytes)
        && bytes.last() != Some(&b'\r')
}

fn has_bare_line_feed(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', bytes).any(|at| at == 0 || bytes[at - 1] != b'\r')
}

fn convert(letter: &[u8], needs: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>, ConvertError> {
    let message = Message::parse(letter);
    let mut converter = Converter {
        letter,
        needs: &needs,
        out: Vec::with_capacity(letter.len() + letter.len() / 2),
    };
    let within = Within {
        signed: false,
        letter: true,
        nothing: true,
    };
    converter.part(message.root(), within)?;
    Ok(converter.out)
}

struct Converter<'a, N> {
    letter: &'a [u8],
    /// Whether these octets cannot stay as they are.
    needs: &'a N,
    out: Vec<u8>,
}

/// What a part stands in.
#[derive(Clone, Copy)]
struct Within {
    /// A multipart/signed.
    signed: bool,
    /// A letter, whose header it has; not a multipart.
    letter: bool,
    /// Nothing: no boundary follows.
    nothing: bool,
}

impl<N: Fn(&[u8]) -> bool> Converter<'_, N> {
    fn part(&mut self, part: &Part, within: Within) -> Result<(), ConvertError> {
        let letter = self.letter;
        let (header, body) = (part.header.of(letter), part.body.of(letter));
        if (self.needs)(header) {
            return Err(ConvertError::Outside);
        }
        if !(self.needs)(body) {
            // Nothing in it needs to be changed.
            self.out.extend_from_slice(header);
            self.out.extend_from_slice(body);
            return Ok(());
        }
        if within.signed {
            return Err(ConvertError::Signed);
        }
        match &part.content {
            Content::Leaf => {
                self.leaf(part, header, body, within);
                Ok(())
            }
            Content::Message(inner) => {
                self.header(header, "7bit", false);
                let letter = true;
                self.part(&inner.root, Within { letter, ..within })
            }
            Content::Multipart(parts) => {
                self.header(header, "7bit", false);
                let within = Within {
                    signed: within.signed || part.subtype == "signed",
                    letter: false,
                    nothing: false,
                };
                let mut at = part.body.start;
                for child in parts {
                    self.between(Span {
                        start: at,
                        end: child.header.start,
                    })?;
                    self.part(child, within)?;
                    at = child.body.end;
                }
                self.between(Span {
                    start: at,
                    end: part.body.end,
                })
            }
        }
    }

    /// What stands between parts: boundaries, and text that nobody reads.
    fn between(&mut self, span: Span) -> Result<(), ConvertError> {
        let bytes = span.of(self.letter);
        if (self.needs)(bytes) {
            return Err(ConvertError::Outside);
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn leaf(&mut self, part: &Part, header: &[u8], body: &[u8], within: Within) {
        let content = part.transfer_encoding().decode(body);
        let is_text = part.content_type == "text" && content_is_lines(&content);
        let (encoding, mut encoded) = if is_text {
            ("quoted-printable", encode_lines(&content))
        } else {
            ("base64", encode_base64_body(&content))
        };
        // The last line end belongs to the boundary that follows.
        if !within.nothing && !is_text && encoded.ends_with(b"\r\n") {
            encoded.truncate(encoded.len() - 2);
        }
        self.header(header, encoding, within.letter);
        self.out.extend_from_slice(&encoded);
    }

    /// The header with another Content-Transfer-Encoding. A letter from before MIME gets the fields
    /// that say what it is (RFC 1428 §3).
    fn header(&mut self, header: &[u8], encoding: &str, is_letter: bool) {
        let mut at = 0;
        let (mut is_mime, mut has_type) = (false, false);
        for field in Fields::new(header) {
            let span = field.span.range();
            if field.is("Content-Transfer-Encoding") {
                self.out.extend_from_slice(&header[at..span.start]);
                at = span.end;
            }
            is_mime |= field.is("MIME-Version");
            has_type |= field.is("Content-Type");
        }
        let rest = &header[at..];
        let end = rest.len()
            - if rest.ends_with(b"\r\n\r\n") || rest == b"\r\n" {
                2
            } else {
                0
            };
        self.out.extend_from_slice(&rest[..end]);
        if is_letter && !is_mime && !has_type {
            self.out.extend_from_slice(
                b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n",
            );
        }
        self.out
            .extend_from_slice(format!("Content-Transfer-Encoding: {encoding}\r\n\r\n").as_bytes());
    }
}

/// Whether it can be written line by line: no bare CR or LF and no NUL; long lines are no matter.
fn content_is_lines(content: &[u8]) -> bool {
    let bare_return =
        memchr::memchr_iter(b'\r', content).any(|at| content.get(at + 1) != Some(&b'\n'));
    !bare_return && !has_bare_line_feed(content) && memchr::memchr(0, content).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Converts, and checks that every leaf says the same as before.
    fn check(letter: &[u8], convert: fn(&[u8]) -> Result<Vec<u8>, ConvertError>) -> String {
        let converted = convert(letter).unwrap();
        let (before, after) = (Message::parse(letter), Message::parse(&converted));
        let contents = |message: &Message<'_>| -> Vec<Vec<u8>> {
            let leaves = message.leaves();
            leaves
                .into_iter()
                .filter(|part| part.content_type != "message")
                .map(|part| message.decoded(part).into_owned())
                .collect()
        };
        assert_eq!(contents(&before), contents(&after));
        assert_eq!(convert(&converted).unwrap(), converted, "it is done once");
        String::from_utf8(converted).unwrap()
    }

    #[test]
    fn text_becomes_quoted_printable() {
        let letter = "Subject: x\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: 8bit\r\n\
            Content-Type: text/plain; charset=utf-8\r\n\r\nGrüße\r\n.\r\n";
        assert_eq!(
            check(letter.as_bytes(), to_seven_bit),
            "Subject: x\r\nMIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\
             Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=C3=9Fe\r\n=2E\r\n"
        );
    }

    #[test]
    fn a_letter_from_before_mime_says_what_it_is() {
        let converted = check("Subject: x\r\n\r\nä".as_bytes(), to_seven_bit);
        assert_eq!(
            converted,
            "Subject: x\r\nMIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=unknown-8bit\r\n\
             Content-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A4"
        );
    }

    const MIXED: &str = "Content-Type: multipart/mixed; boundary=b\r\n\
        Content-Transfer-Encoding: 8bit\r\n\r\n\
        --b\r\n\r\nplain\r\n--b\r\n\
        Content-Type: image/x\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\u{e9}\r\n--b\r\n\
        Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
        Subject: in\r\n\r\nw\u{f6}rter\r\n--b--\r\n";

    #[test]
    fn only_the_parts_that_need_it() {
        let converted = check(MIXED.as_bytes(), to_seven_bit);
        assert!(converted.is_ascii());
        for part in [
            "--b\r\n\r\nplain\r\n--b\r\n",
            "Content-Type: image/x\r\nContent-Transfer-Encoding: base64\r\n\r\nw6k=\r\n--b\r\n",
            "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSubject: in\r\n",
            "w=C3=B6rter\r\n--b--\r\n",
        ] {
            assert!(converted.contains(part), "{part} in {converted}");
        }
    }

    #[test]
    fn what_is_signed_is_not_touched() {
        let signed = MIXED.replace("multipart/mixed", "multipart/signed");
        assert_eq!(to_seven_bit(signed.as_bytes()), Err(ConvertError::Signed));
        let seven = signed.replace(['\u{e9}', '\u{f6}'], "x");
        assert_eq!(to_seven_bit(seven.as_bytes()).unwrap(), seven.as_bytes());
    }

    #[test]
    fn what_no_encoding_hides() {
        for letter in [
            "Subject: \u{e4}\r\n\r\nx\r\n",
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n\u{e4}\r\n--b\r\n\r\nx\r\n--b--\r\n",
        ] {
            assert_eq!(to_seven_bit(letter.as_bytes()), Err(ConvertError::Outside));
        }
    }

    #[test]
    fn binary_becomes_base64() {
        let head = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\
            Content-Type: image/x\r\nContent-Transfer-Encoding: binary\r\n\r\n";
        let letter = [head.as_slice(), b"\0\r\n\n.\r\n\xff\r", b"\r\n--b--\r\n"].concat();
        let converted = check(&letter, without_binary);
        assert!(
            converted.contains("\r\nAA0KCi4NCv8N\r\n--b--\r\n"),
            "{converted}"
        );
        let long = format!("Subject: x\r\n\r\n{}\r\n", "y".repeat(LINE_BYTES_MAX + 1));
        assert!(check(long.as_bytes(), without_binary).contains("=\r\n"));
        let fits = format!("Subject: x\r\n\r\n{}\r\n", "y".repeat(LINE_BYTES_MAX));
        assert_eq!(check(fits.as_bytes(), without_binary), fits);
    }
}
