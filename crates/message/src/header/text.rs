//! Text of header fields: unfolding (RFC 5322 §2.2.3), raw bytes to UTF-8 (RFC 6532, or a legacy
//! charset where the bytes are not UTF-8), and encoded words (RFC 2047 §2, RFC 2231 §5).

use std::borrow::Cow;

use crate::body::{charset_to_utf8, decode_base64, decode_q};

/// The value without line ends; a fold becomes its own white space. Other controls become spaces,
/// so that no value can break a line of a protocol.
#[must_use]
pub fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    let value = value.trim_ascii();
    if !value.iter().any(|b| b.is_ascii_control() && *b != b'\x1b') {
        return Cow::Borrowed(value);
    }
    let mut out = Vec::with_capacity(value.len());
    for &byte in value {
        match byte {
            b'\r' | b'\n' => {}
            b'\t' => out.push(b' '),
            // ISO-2022 texts switch charsets by it.
            b'\x1b' => out.push(byte),
            byte if byte.is_ascii_control() => out.push(b' '),
            byte => out.push(byte),
        }
    }
    Cow::Owned(out)
}

/// The value unfolded, as UTF-8, with encoded words left as they are.
#[must_use]
pub fn raw_text(value: &[u8]) -> String {
    let text = bytes_to_utf8(&unfold(value)).into_owned();
    if text.contains('\x1b') {
        text.replace('\x1b', " ")
    } else {
        text
    }
}

/// The value for people: unfolded, as UTF-8, encoded words decoded.
#[must_use]
pub fn decode_text(value: &[u8]) -> String {
    let unfolded = unfold(value);
    let text = bytes_to_utf8(&unfolded);
    decode_words(&text).trim().to_owned()
}

/// Raw header bytes to UTF-8.
///
/// RFC 6532 says UTF-8; what is not gets the one legacy charset that never fails.
pub(super) fn bytes_to_utf8(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.contains("\x1b$") => charset_to_utf8(bytes, "iso-2022-jp"),
        Ok(text) => Cow::Borrowed(text),
        Err(_) => {
            encoding_rs::WINDOWS_1252
                .decode_without_bom_handling(bytes)
                .0
        }
    }
}

/// Decodes the encoded words of an unfolded text.
///
/// White space between two encoded words vanishes (RFC 2047 §6.2). Words of one charset that
/// follow each other are put together before the charset is decoded, as some senders split in the
/// middle of a character. What is no right encoded word stays as it is.
#[must_use]
pub fn decode_words(text: &str) -> Cow<'_, str> {
    if !text.contains("=?") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut pending: Option<(&str, Vec<u8>)> = None;
    let mut rest = text;
    // Nothing after the last closing mark is a word; not looking for a mark that is not there keeps
    // this linear for hostile texts.
    let last_close = text.rfind("?=").unwrap_or(0);
    while let Some(at) = rest.find("=?") {
        if text.len() - rest.len() + at > last_close {
            break;
        }
        let Some(word) = EncodedWord::read(&rest[at..]) else {
            flush(&mut pending, &mut out);
            out.push_str(&rest[..at + 2]);
            rest = &rest[at + 2..];
            continue;
        };
        let between = &rest[..at];
        let joins = pending.is_some() && between.chars().all(|c| c.is_ascii_whitespace());
        if !joins {
            flush(&mut pending, &mut out);
            out.push_str(between);
        }
        match &mut pending {
            Some((charset, bytes)) if charset.eq_ignore_ascii_case(word.charset) => {
                bytes.extend_from_slice(&word.bytes);
            }
            _ => {
                flush(&mut pending, &mut out);
                pending = Some((word.charset, word.bytes));
            }
        }
        rest = &rest[at + word.length..];
    }
    flush(&mut pending, &mut out);
    out.push_str(rest);
    Cow::Owned(out)
}

fn flush(pending: &mut Option<(&str, Vec<u8>)>, out: &mut String) {
    if let Some((charset, bytes)) = pending.take() {
        let text = charset_to_utf8(&bytes, charset);
        // An encoded line end must not become a real one.
        out.extend(text.chars().map(|c| if c.is_control() { ' ' } else { c }));
    }
}

/// `encoded-word = "=?" charset ["*" language] "?" encoding "?" encoded-text "?="`.
struct EncodedWord<'a> {
    charset: &'a str,
    bytes: Vec<u8>,
    length: usize,
}

impl<'a> EncodedWord<'a> {
    /// Reads one at the start of the text.
    fn read(text: &'a str) -> Option<Self> {
        let inside = &text[2..];
        let charset_end = inside.find('?')?;
        let charset = &inside[..charset_end];
        // Longest name that encoding_rs or anyone knows is far below; a bound keeps this linear.
        if charset.is_empty() || charset.len() > 80 || charset.contains([' ', '=']) {
            return None;
        }
        let rest = &inside[charset_end + 1..];
        let encoding = *rest.as_bytes().first()?;
        if rest.as_bytes().get(1) != Some(&b'?') {
            return None;
        }
        if !matches!(encoding, b'b' | b'B' | b'q' | b'Q') {
            return None;
        }
        let encoded = &rest[2..];
        // The encoded text has no `?`, except in letters of senders who forget to encode it.
        let end = encoded.find("?=")?;
        let bytes = match encoding {
            b'b' | b'B' => decode_base64(&encoded.as_bytes()[..end]),
            _ => decode_q(&encoded.as_bytes()[..end]),
        };
        let length = 2 + charset_end + 1 + 2 + end + 2;
        // Letters that are not encoded at all are UTF-8 here, whatever the word says.
        let charset = if encoded[..end].is_ascii() {
            charset.split('*').next().unwrap_or(charset)
        } else {
            "utf-8"
        };
        Some(Self {
            charset,
            bytes,
            length,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &[u8], expected: &str) {
        assert_eq!(decode_text(text), expected);
    }

    /// RFC 2047 §2, §5 and §6.2; a language by RFC 2231 §5.
    #[test]
    fn encoded_words() {
        check(
            b" =?utf-8?Q?Gr=C3=BC=C3=9Fe_aus?=\r\n =?UTF-8?B?IEvDtmxu?=",
            "Gr\u{fc}\u{df}e aus K\u{f6}ln",
        );
        check(b"=?iso-8859-1?q?a?= b =?iso-8859-1?q?c?=", "a b c");
        check(b"=?us-ascii*en?q?hello?=", "hello");
        check(b"Re: =?utf-8?b?w6k=?= x", "Re: \u{e9} x");
        // One character split over two words.
        check(b"=?utf-8?b?w6?= =?utf-8?b?qQ==?=", "\u{e9}");
        check(b"=?utf-8?x?abc?=", "=?utf-8?x?abc?=");
        check(b"=?utf-8?q?abc", "=?utf-8?q?abc");
        check(b"=? =? a", "=? =? a");
        check(b"=?utf-8?q?a=0D=0Ab?=", "a  b");
        check(b"=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "\u{65e5}\u{672c}");
    }

    #[test]
    fn raw_bytes() {
        check(b"=?iso-8859-1?q?Gr\xfc=DFe?=", "Gr\u{fc}\u{fffd}e");
        check(b"=?iso-8859-1?q?Gr\xfc_?=", "Gr\u{fc}");
        check("Gr\u{fc}\u{df}e".as_bytes(), "Gr\u{fc}\u{df}e");
        check(b"Gr\xfc\xdfe", "Gr\u{fc}\u{df}e");
        assert_eq!(raw_text(b" a\r\n\tb\0c "), "a b c");
    }
}
