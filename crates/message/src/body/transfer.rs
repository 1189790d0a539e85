//! Content transfer encodings (RFC 2045 §6), decoded liberally: junk is passed over, a cut text
//! gives what it holds.

use std::borrow::Cow;

/// The encodings that can be decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TransferEncoding {
    /// `7bit`, `8bit`, `binary`, and everything unknown: the bytes as they are.
    #[default]
    Identity,
    /// RFC 2045 §6.8.
    Base64,
    /// RFC 2045 §6.7.
    QuotedPrintable,
    /// `x-uuencode`, from before MIME.
    Uuencode,
}

impl TransferEncoding {
    /// From a Content-Transfer-Encoding value; letter case does not matter.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        let name = name.trim();
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("base64") {
            Self::Base64
        } else if is("quoted-printable") {
            Self::QuotedPrintable
        } else if is("x-uuencode") || is("uuencode") || is("x-uue") {
            Self::Uuencode
        } else {
            Self::Identity
        }
    }

    /// Decodes a body. The result is never longer than the body.
    #[must_use]
    pub fn decode(self, body: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Self::Identity => Cow::Borrowed(body),
            Self::Base64 => Cow::Owned(decode_base64(body)),
            Self::QuotedPrintable => Cow::Owned(decode_quoted_printable(body)),
            Self::Uuencode => Cow::Owned(decode_uuencode(body)),
        }
    }
}

/// The value of each base64 letter; `SKIP` for all others.
const BASE64: [u8; 256] = base64_table();
const SKIP: u8 = 0xff;
const PAD: u8 = 0xfe;

const fn base64_table() -> [u8; 256] {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut table = [SKIP; 256];
    let mut value = 0;
    while value < 64 {
        table[letters[value] as usize] = value as u8;
        value += 1;
    }
    table[b'=' as usize] = PAD;
    table
}

/// RFC 2045 §6.8; letters outside of the alphabet are passed over, padding ends one group, so that
/// texts put together from several pieces are decoded whole.
#[must_use]
pub fn decode_base64(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let mut at = 0;
    // Bits not yet written, and how many letters they came from.
    let (mut bits, mut count) = (0_u32, 0_u8);
    while at < text.len() {
        // Four good letters in a row: nearly all of every real body.
        if count == 0
            && let Some(&[a, b, c, d]) = text.get(at..at + 4)
        {
            let [a, b, c, d] = [a, b, c, d].map(|byte| BASE64[byte as usize]);
            if (a | b | c | d) < 64 {
                let group =
                    u32::from(a) << 18 | u32::from(b) << 12 | u32::from(c) << 6 | u32::from(d);
                out.extend_from_slice(&group.to_be_bytes()[1..]);
                at += 4;
                continue;
            }
        }
        match BASE64[text[at] as usize] {
            SKIP => {}
            PAD => {
                write_rest(bits, count, &mut out);
                (bits, count) = (0, 0);
            }
            value => {
                bits = bits << 6 | u32::from(value);
                count += 1;
                if count == 4 {
                    out.extend_from_slice(&bits.to_be_bytes()[1..]);
                    (bits, count) = (0, 0);
                }
            }
        }
        at += 1;
    }
    write_rest(bits, count, &mut out);
    out
}

/// Two letters hold one byte, three hold two.
fn write_rest(bits: u32, count: u8, out: &mut Vec<u8>) {
    match count {
        2 => out.push((bits >> 4).to_be_bytes()[3]),
        3 => out.extend_from_slice(&(bits >> 2).to_be_bytes()[2..]),
        _ => {}
    }
}

/// RFC 2045 §6.7; a `=` that is no escape stays as it is, white space at line ends is dropped.
#[must_use]
pub fn decode_quoted_printable(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    for line in body.split_inclusive(|b| *b == b'\n') {
        let content = line.strip_suffix(b"\n").unwrap_or(line);
        let content = content.strip_suffix(b"\r").unwrap_or(content);
        let ending = &line[content.len()..];
        // RFC 2045 §6.7 rule 3: such white space was added on the way.
        let content = content.trim_ascii_end();
        let (content, soft) = match content.strip_suffix(b"=") {
            Some(content) => (content, true),
            None => (content, false),
        };
        unescape(content, &mut out);
        if !soft {
            out.extend_from_slice(ending);
        }
    }
    out
}

fn unescape(mut rest: &[u8], out: &mut Vec<u8>) {
    while let Some(at) = memchr::memchr(b'=', rest) {
        out.extend_from_slice(&rest[..at]);
        match hex_pair(rest.get(at + 1..at + 3)) {
            Some(byte) => {
                out.push(byte);
                rest = &rest[at + 3..];
            }
            None => {
                out.push(b'=');
                rest = &rest[at + 1..];
            }
        }
    }
    out.extend_from_slice(rest);
}

/// The `Q` encoding of encoded words: `_` is a space (RFC 2047 §4.2).
pub(crate) fn decode_q(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        match (text[at], hex_pair(text.get(at + 1..at + 3))) {
            (b'=', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'_', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    out
}

fn hex_pair(pair: Option<&[u8]>) -> Option<u8> {
    let &[high, low] = pair? else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

/// Lines between `begin <mode> <name>` and `end`; each starts with the letter of its length.
fn decode_uuencode(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() / 4 * 3);
    for line in body.split(|b| *b == b'\n') {
        let line = line.trim_ascii_end();
        if line.starts_with(b"begin ") {
            continue;
        }
        if line == b"end" {
            break;
        }
        let Some((&first, letters)) = line.split_first() else {
            continue;
        };
        let length = usize::from(first.wrapping_sub(32) & 0x3f);
        let start = out.len();
        for group in letters.chunks(4) {
            let bits = (0..4).fold(0_u32, |bits, at| {
                let letter = group.get(at).copied().unwrap_or(b'`');
                bits << 6 | u32::from(letter.wrapping_sub(32) & 0x3f)
            });
            out.extend_from_slice(&bits.to_be_bytes()[1..]);
        }
        out.truncate(start + length.min(out.len() - start).min(letters.len()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64() {
        let check = |text: &[u8], expected: &[u8]| assert_eq!(decode_base64(text), expected);
        check(b"aGVsbG8=", b"hello");
        check(b"aGVs\r\nbG8", b"hello");
        check(b"aGVsbG8=aGVsbG8=", b"hellohello");
        check(b"a G!V.sbG8", b"hello");
        check(b"a", b"");
        check(b"====", b"");
    }

    #[test]
    fn quoted_printable() {
        let check =
            |text: &[u8], expected: &[u8]| assert_eq!(decode_quoted_printable(text), expected);
        check(b"a=3Db=\r\nc  \r\nd=zz=4", b"a=bc\r\nd=zz=4");
        check(b"a= \nb=e9", b"ab\xe9");
        check(b"=", b"");
    }

    #[test]
    fn uuencode() {
        let body = b"begin 644 a\n%:&5L;&\\\n`\nend\nrest\n";
        assert_eq!(decode_uuencode(body), b"hello");
    }
}
