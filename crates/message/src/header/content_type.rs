//! Content-Type and Content-Disposition (RFC 2045 §5.1, RFC 2183), with the parameter
//! continuations and charsets of RFC 2231.

use super::text::bytes_to_utf8;
use super::{decode_words, unfold};
use crate::body::charset_to_utf8;

/// One parameter as written: the name in lower case with its RFC 2231 stars, the value without
/// quotes but otherwise as it is. IMAP shows it so; [`decoded_param`] reads it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Param {
    /// `charset`, `filename*0*`, …
    pub name: String,
    /// Its value.
    pub value: String,
}

/// `value *(";" attribute "=" value)`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ContentValue {
    /// `text/plain` or `attachment`, in lower case, without white space; may be empty.
    pub value: String,
    /// The parameters, in their order.
    pub params: Vec<Param>,
}

/// The longest parameter name that is kept.
const NAME_BYTES_MAX: usize = 128;

/// Reads a Content-Type or Content-Disposition value.
#[must_use]
pub fn parse_content_value(value: &[u8], params_max: usize) -> ContentValue {
    let unfolded = unfold(value);
    let text = bytes_to_utf8(&unfolded);
    let mut cursor = Cursor { rest: &text };
    let head = cursor.until(&[';']);
    let mut params = Vec::new();
    while cursor.skip(';') && params.len() < params_max {
        let name = cursor.until(&['=', ';']);
        if !cursor.skip('=') {
            continue;
        }
        let value = cursor.value();
        let name = name.trim().to_ascii_lowercase();
        if !name.is_empty() && name.len() <= NAME_BYTES_MAX {
            params.push(Param { name, value });
        }
    }
    let value = head
        .chars()
        .filter(|c| !c.is_whitespace())
        .collect::<String>()
        .to_ascii_lowercase();
    ContentValue { value, params }
}

struct Cursor<'a> {
    rest: &'a str,
}

impl Cursor<'_> {
    fn skip(&mut self, wanted: char) -> bool {
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Everything up to one of the stops, without comments.
    fn until(&mut self, stops: &[char]) -> String {
        let mut depth = 0_usize;
        let mut out = String::new();
        let mut end = self.rest.len();
        for (at, c) in self.rest.char_indices() {
            match c {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                c if depth == 0 && stops.contains(&c) => {
                    end = at;
                    break;
                }
                c if depth == 0 => out.push(c),
                _ => {}
            }
        }
        self.rest = &self.rest[end..];
        out
    }

    /// A token or a quoted string; everything up to the next `;` is passed over.
    fn value(&mut self) -> String {
        self.rest = self.rest.trim_start();
        if !self.skip('"') {
            // Not `until`: file names with brackets are often not quoted.
            let end = self.rest.find(';').unwrap_or(self.rest.len());
            let value = self.rest[..end].trim();
            // RFC 2045 §5.1 allows a comment after the value.
            let value = value.find(" (").map_or(value, |at| value[..at].trim_end());
            self.rest = &self.rest[end..];
            return value.to_owned();
        }
        let mut out = String::new();
        let mut chars = self.rest.char_indices();
        let mut end = self.rest.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    end = at + 1;
                    break;
                }
                // Only these two are escaped: others are paths of careless senders (`C:\a.txt`).
                '\\' if matches!(self.rest[at + 1..].chars().next(), Some('"' | '\\')) => {
                    if let Some((_, escaped)) = chars.next() {
                        out.push(escaped);
                    }
                }
                c => out.push(c),
            }
        }
        self.rest = &self.rest[end..];
        self.until(&[';']);
        out
    }
}

/// The value of a parameter: continuations put together, percent and charset decoded (RFC 2231
/// §3, §4), and encoded words, which many senders use instead, decoded too.
#[must_use]
pub fn decoded_param(params: &[Param], name: &str) -> Option<String> {
    if let Some(value) = extended(params, name) {
        return Some(value);
    }
    let plain = params.iter().find(|p| p.name.eq_ignore_ascii_case(name))?;
    Some(decode_words(&plain.value).into_owned())
}

/// `name*=…`, `name*0*=…; name*1=…`.
fn extended(params: &[Param], name: &str) -> Option<String> {
    let mut pieces: Vec<(u32, bool, &str)> = params
        .iter()
        .filter_map(|param| {
            let start = param.name.get(..name.len())?;
            if !start.eq_ignore_ascii_case(name) {
                return None;
            }
            let section = param.name[name.len()..].strip_prefix('*')?;
            let (section, encoded) = match section.strip_suffix('*') {
                Some(section) => (section, true),
                None => (section, section.is_empty()),
            };
            let number = if section.is_empty() {
                0
            } else {
                section.parse().ok()?
            };
            Some((number, encoded, param.value.as_str()))
        })
        .collect();
    pieces.sort_by_key(|(number, ..)| *number);
    let &(_, first_encoded, first) = pieces.first()?;
    let (charset, first) = if first_encoded {
        split_charset(first)
    } else {
        ("", first)
    };
    let mut bytes = Vec::new();
    for (at, (_, encoded, value)) in pieces.iter().enumerate() {
        let value = if at == 0 { first } else { value };
        if *encoded {
            percent_decode(value, &mut bytes);
        } else {
            bytes.extend_from_slice(value.as_bytes());
        }
    }
    if charset.is_empty() {
        return Some(decode_words(&bytes_to_utf8(&bytes)).into_owned());
    }
    Some(charset_to_utf8(&bytes, charset).into_owned())
}

/// `extended-initial-value = [charset] "'" [language] "'" extended-other-values`.
fn split_charset(value: &str) -> (&str, &str) {
    let mut parts = value.splitn(3, '\'');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(charset), Some(_language), Some(rest)) => (charset, rest),
        _ => ("", value),
    }
}

fn percent_decode(value: &str, out: &mut Vec<u8>) {
    let bytes = value.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%')
            .then(|| bytes.get(at + 1..at + 3))
            .flatten()
            .and_then(|pair| std::str::from_utf8(pair).ok())
            .and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match hex {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(value: &str, expected: &Expect) {
        let parsed = parse_content_value(value.as_bytes(), 100);
        let mut shown = format!("{}\n", parsed.value);
        for param in &parsed.params {
            shown += &format!("{} = {}\n", param.name, param.value);
        }
        for name in ["filename", "name"] {
            if let Some(value) = decoded_param(&parsed.params, name) {
                shown += &format!("decoded {name}: {value}\n");
            }
        }
        expected.assert_eq(&shown);
    }

    /// RFC 2045 §5.1: parameters, quoted and with comments.
    #[test]
    fn content_type() {
        check(
            " Text/Plain (x); charset = \"utf-8\" ; format=flowed (yes); junk; x=\"a\\\"b;c\"; =1",
            &expect![[r#"
                text/plain
                charset = utf-8
                format = flowed
                x = a"b;c
            "#]],
        );
        assert_eq!(parse_content_value(b"", 1), ContentValue::default());
    }

    /// RFC 2231 §3 and §4: continuations and charsets; RFC 2183 §2.3: the name of a file.
    #[test]
    fn rfc_2231() {
        check(
            "attachment; filename*0*=utf-8''Gr%C3%BC; filename*1*=%C3%9Fe%20; filename*2=\"a.txt\"",
            &expect![[r#"
                attachment
                filename*0* = utf-8''Gr%C3%BC
                filename*1* = %C3%9Fe%20
                filename*2 = a.txt
                decoded filename: Grüße a.txt
            "#]],
        );
        check(
            "inline; filename=\"=?iso-8859-1?Q?f=FC.txt?=\"; name=C:\\x",
            &expect![[r#"
                inline
                filename = =?iso-8859-1?Q?f=FC.txt?=
                name = C:\x
                decoded filename: fü.txt
                decoded name: C:\x
            "#]],
        );
        check(
            "inline; filename*=%zz'x",
            &expect![[r#"
                inline
                filename* = %zz'x
                decoded filename: %zz'x
            "#]],
        );
    }
}
