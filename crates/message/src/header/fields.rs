//! Splitting of a header into fields: `field = name ":" value CRLF`, folded lines belong to the
//! field before them (RFC 5322 §2.2.3).

use super::{
    AddressList, Date, decode_text, parse_addresses, parse_date, parse_message_ids, raw_text,
};
use crate::{ParseLimits, Span};

/// One field of a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field<'a> {
    /// Its name as written, without the colon; may hold any byte.
    pub name: &'a [u8],
    /// Everything after the colon, with folding, without the last line end.
    pub value: &'a [u8],
    /// The whole field with its last line end, as offsets in the header (or letter) given.
    pub span: Span,
}

impl Field<'_> {
    /// Whether it has this name; letter case does not matter.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// The value unfolded and as UTF-8, encoded words left as they are (IMAP ENVELOPE).
    #[must_use]
    pub fn raw_text(&self) -> String {
        raw_text(self.value)
    }

    /// The value for people: unfolded, encoded words decoded (RFC 2047; JMAP `asText`).
    #[must_use]
    pub fn text(&self) -> String {
        decode_text(self.value)
    }

    /// The value as addresses (JMAP `asAddresses`, `asGroupedAddresses`).
    #[must_use]
    pub fn addresses(&self) -> AddressList {
        parse_addresses(self.value, ParseLimits::default().addresses_max)
    }

    /// The value as message ids without angle brackets (JMAP `asMessageIds`).
    #[must_use]
    pub fn message_ids(&self) -> Vec<String> {
        parse_message_ids(self.value)
    }

    /// The value as a date (JMAP `asDate`).
    #[must_use]
    pub fn date(&self) -> Option<Date> {
        parse_date(&self.raw_text())
    }
}

/// An iterator over the fields of a header; ends at the empty line or at the end of the bytes.
///
/// A line that is no field (no colon) is passed over, and so are continuation lines before the
/// first field; both count towards the limit. [`Fields::is_cut`] tells whether it was reached. The name loses the white space that obsolete syntax allows before the colon.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    bytes: &'a [u8],
    position: usize,
    fields_left: usize,
    bytes_max: usize,
}

impl<'a> Fields<'a> {
    /// The fields of a header or of a whole letter, within the default limits.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self::with_limits(bytes, &ParseLimits::default())
    }

    /// The fields of a header or of a whole letter.
    #[must_use]
    pub fn with_limits(bytes: &'a [u8], limits: &ParseLimits) -> Self {
        Self {
            bytes,
            position: 0,
            fields_left: limits.header_fields_max,
            bytes_max: limits.header_bytes_max,
        }
    }

    /// Whether the iterator ended at a limit, with more of the header behind it. Lines that are no
    /// field count towards the limit, so the fields that were given say nothing of the others.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        let line = line_end(self.bytes, self.position).map(|end| &self.bytes[self.position..end]);
        self.is_at_limit() && line.is_some_and(|line| !is_empty_line(line))
    }

    fn is_at_limit(&self) -> bool {
        self.fields_left == 0 || self.position >= self.bytes_max
    }

    /// The first field of this name.
    #[must_use]
    pub fn find(self, name: &str) -> Option<Field<'a>> {
        self.named(name).next()
    }

    /// All fields of this name.
    pub fn named(self, name: &str) -> impl Iterator<Item = Field<'a>> {
        self.filter(move |field| field.is(name))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        loop {
            if self.is_at_limit() {
                return None;
            }
            let start = self.position;
            let first_end = line_end(self.bytes, start)?;
            if is_empty_line(&self.bytes[start..first_end]) {
                self.position = self.bytes.len();
                return None;
            }
            let mut end = first_end;
            while matches!(self.bytes.get(end), Some(b' ' | b'\t')) {
                let next_end = line_end(self.bytes, end)?;
                end = next_end;
            }
            self.position = end;
            self.fields_left -= 1;
            let line = &self.bytes[start..end];
            if let Some(field) = split_field(line, start) {
                return Some(field);
            }
        }
    }
}

/// The offset after the line that starts at `start`; `None` at the end of the bytes.
pub(crate) fn line_end(bytes: &[u8], start: usize) -> Option<usize> {
    let rest = bytes.get(start..)?;
    if rest.is_empty() {
        return None;
    }
    Some(memchr::memchr(b'\n', rest).map_or(bytes.len(), |at| start + at + 1))
}

/// Whether a line holds only its line end.
pub(crate) fn is_empty_line(line: &[u8]) -> bool {
    matches!(line, b"\n" | b"\r\n" | b"\r" | b"")
}

/// A line without its line end.
pub(crate) fn trim_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn split_field(line: &[u8], start: usize) -> Option<Field<'_>> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return None;
    }
    let colon = memchr::memchr(b':', line)?;
    // The colon must stand on the first line of the field.
    if memchr::memchr(b'\n', &line[..colon]).is_some() {
        return None;
    }
    let name = line[..colon].trim_ascii_end();
    if name.is_empty() || name.iter().any(u8::is_ascii_whitespace) {
        return None;
    }
    Some(Field {
        name,
        value: trim_line_end(&line[colon + 1..]),
        span: Span::new(start, start + line.len()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(header: &str, expected: &Expect) {
        let shown: String = Fields::new(header.as_bytes())
            .map(|f| {
                format!(
                    "{:?} {} = {:?}\n",
                    f.span.range(),
                    String::from_utf8_lossy(f.name),
                    f.raw_text()
                )
            })
            .collect();
        expected.assert_eq(&shown);
    }

    #[test]
    fn fields_are_split_and_unfolded() {
        check(
            "Subject: a\r\n b\r\nX : y\r\nFrom the past\r\n\tjunk\r\nTo:z\r\n\r\nBody: no\r\n",
            &expect![[r#"
                0..16 Subject = "a b"
                16..23 X = "y"
                45..51 To = "z"
            "#]],
        );
        check(
            "A: 1\nB: 2",
            &expect![[r#"
            0..5 A = "1"
            5..9 B = "2"
        "#]],
        );
    }

    #[test]
    fn the_field_limit_holds() {
        let limits = ParseLimits {
            header_fields_max: 2,
            ..ParseLimits::default()
        };
        let header = b"A: 1\r\nB: 2\r\nC: 3\r\n";
        assert_eq!(Fields::with_limits(header, &limits).count(), 2);
        let limits = ParseLimits {
            header_bytes_max: 12,
            ..ParseLimits::default()
        };
        assert_eq!(Fields::with_limits(header, &limits).count(), 2);
    }

    #[test]
    fn a_header_beyond_a_limit_is_cut() {
        let is_cut = |header: &str, fields: usize, bytes: usize| {
            let limits = ParseLimits {
                header_fields_max: fields,
                header_bytes_max: bytes,
                ..ParseLimits::default()
            };
            let mut fields = Fields::with_limits(header.as_bytes(), &limits);
            fields.by_ref().for_each(drop);
            fields.is_cut()
        };
        assert!(!is_cut("A: 1\r\nB: 2\r\n\r\nC: 3\r\n", 2, 100));
        assert!(!is_cut("A: 1\r\nB: 2\r\n", 2, 12));
        assert!(is_cut("A: 1\r\nB: 2\r\nC: 3\r\n\r\n", 2, 100));
        assert!(is_cut("junk\r\njunk\r\nC: 3\r\n\r\n", 2, 100));
        assert!(is_cut("A: 1\r\nB: 2\r\nC: 3\r\n\r\n", 9, 12));
    }
}
