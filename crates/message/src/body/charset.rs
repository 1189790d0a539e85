//! Charsets to UTF-8: those of the WHATWG list through encoding_rs, and UTF-7 (RFC 2152), which
//! old letters have and browsers rightly refuse.

use std::borrow::Cow;

use encoding_rs::{Encoding, WINDOWS_1252};

/// Decodes bytes of a named charset. Never fails: an unknown charset is taken as UTF-8 if the bytes
/// are that, otherwise as windows-1252; wrong bytes become U+FFFD.
#[must_use]
pub fn charset_to_utf8<'a>(bytes: &'a [u8], charset: &str) -> Cow<'a, str> {
    let charset = charset.trim().trim_matches(['"', '\'']);
    let is = |name: &str| charset.eq_ignore_ascii_case(name);
    if is("utf-7") || is("unicode-1-1-utf-7") || is("x-unicode-2-0-utf-7") {
        return Cow::Owned(decode_utf7(bytes));
    }
    // Senders who say US-ASCII or nothing and write other bytes mean UTF-8 or Latin.
    let unsure = charset.is_empty() || is("us-ascii") || is("ascii") || is("unknown-8bit");
    let encoding = Some(charset)
        .filter(|_| !unsure)
        .and_then(|name| Encoding::for_label(name.as_bytes()).or_else(|| alias(name)));
    match encoding {
        Some(encoding) => encoding.decode(bytes).0,
        None => match std::str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => WINDOWS_1252.decode_without_bom_handling(bytes).0,
        },
    }
}

/// Names that letters have and the WHATWG list has not.
fn alias(name: &str) -> Option<&'static Encoding> {
    let name = name.to_ascii_lowercase();
    let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
    let label = match digits {
        "1250" | "1251" | "1252" | "1253" | "1254" | "1255" | "1256" | "1257" | "1258" => {
            format!("windows-{digits}")
        }
        "932" | "31" => "shift_jis".into(),
        "936" => "gbk".into(),
        "949" => "euc-kr".into(),
        "950" => "big5".into(),
        "65001" => "utf-8".into(),
        _ if name.starts_with("utf8") || name.starts_with("utf-8") => "utf-8".into(),
        _ => format!("iso-{}", digits.strip_prefix("iso-").unwrap_or(digits)),
    };
    Encoding::for_label(label.as_bytes())
}

/// RFC 2152: `+` starts base64 of UTF-16BE up to `-` or another letter outside of base64.
fn decode_utf7(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(plus) = memchr::memchr(b'+', rest) {
        push_direct(&rest[..plus], &mut out);
        rest = &rest[plus + 1..];
        let end = rest
            .iter()
            .position(|b| !b.is_ascii_alphanumeric() && !matches!(b, b'+' | b'/'))
            .unwrap_or(rest.len());
        let (shifted, after) = rest.split_at(end);
        if shifted.is_empty() {
            // `+-` is a plus sign.
            out.push('+');
        } else {
            let utf16 = super::decode_base64(shifted);
            let units = utf16
                .as_chunks::<2>()
                .0
                .iter()
                .map(|pair| u16::from_be_bytes(*pair));
            out.extend(char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)));
        }
        rest = after.strip_prefix(b"-").unwrap_or(after);
    }
    push_direct(rest, &mut out);
    out
}

fn push_direct(bytes: &[u8], out: &mut String) {
    out.push_str(&String::from_utf8_lossy(bytes));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charsets() {
        let check = |bytes: &[u8], charset: &str, expected: &str| {
            assert_eq!(charset_to_utf8(bytes, charset), expected, "{charset}");
        };
        check(b"\xe9", "ISO-8859-1", "\u{e9}");
        check(b"\xe9", "us-ascii", "\u{e9}");
        check("\u{e9}".as_bytes(), "us-ascii", "\u{e9}");
        check(b"\xe9", "no-such", "\u{e9}");
        check(b"\xa4", "iso-8859-15", "\u{20ac}");
        check(b"\x93\xfa\x96\x7b", "cp932", "\u{65e5}\u{672c}");
        check(b"\x1b$BF|K\\\x1b(B", "iso-2022-jp", "\u{65e5}\u{672c}");
        check(b"\xc4\xe3", "x-gbk", "\u{4f60}");
        check(b"Hi Mom -+Jjo--+-!", "utf-7", "Hi Mom -\u{263a}-+!");
        check(b"+2D3eAA", "UTF-7", "\u{1f600}");
        check(b"+2D0", "UTF-7", "\u{fffd}");
    }
}
