//! Changes that a script makes to the letter: `addheader`, `deleteheader` (RFC 5293), `replace` and
//! `enclose` (RFC 5703), and the bytes that come out.

use std::borrow::Cow;

use message::write::HeaderWriter;
use message::{Fields, Span};

/// One change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Edit {
    /// A new field.
    Add {
        /// Its name.
        name: String,
        /// Its value, not encoded.
        value: String,
        /// After all others, else before them.
        last: bool,
    },
    /// Fields that go: their places among the fields as they are before this edit, ascending.
    Remove(Vec<usize>),
    /// Other bytes for a place behind the header. Places are those of the letter before all edits;
    /// of two that touch the later one counts.
    Splice {
        /// The place.
        span: Span,
        /// What stands there.
        bytes: Vec<u8>,
    },
    /// Another letter, which holds the one before with its edits.
    Letter(Vec<u8>),
}

/// The letter with these edits; the bytes given when there are none.
#[must_use]
pub fn edited<'a>(raw: &'a [u8], edits: &[Edit]) -> Cow<'a, [u8]> {
    if edits.is_empty() {
        return Cow::Borrowed(raw);
    }
    let last_letter = edits
        .iter()
        .rposition(|edit| matches!(edit, Edit::Letter(_)));
    let (raw, edits) = match last_letter {
        Some(at) => match &edits[at] {
            Edit::Letter(bytes) => (bytes.as_slice(), &edits[at + 1..]),
            Edit::Add { .. } | Edit::Remove(_) | Edit::Splice { .. } => (raw, edits),
        },
        None => (raw, edits),
    };
    let mut pieces: Vec<Cow<'_, [u8]>> = Vec::new();
    // What stands between fields and is none stays in front of the next field.
    let mut position = 0;
    for field in Fields::new(raw) {
        let span = field.span.range();
        let piece = raw.get(position..span.end).unwrap_or_default();
        pieces.push(if piece.ends_with(b"\n") {
            Cow::Borrowed(piece)
        } else {
            Cow::Owned([piece, b"\r\n"].concat())
        });
        position = span.end;
    }
    for edit in edits {
        match edit {
            Edit::Add { name, value, last } => {
                let field = HeaderWriter::new().text(name, value).finish();
                let at = if *last { pieces.len() } else { 0 };
                pieces.insert(at, Cow::Owned(field));
            }
            Edit::Remove(places) => {
                let mut place = 0;
                pieces.retain(|_| {
                    place += 1;
                    places.binary_search(&(place - 1)).is_err()
                });
            }
            Edit::Splice { .. } | Edit::Letter(_) => {}
        }
    }
    let mut out = pieces.concat();
    for (span, bytes) in splices(edits, position) {
        out.extend_from_slice(raw.get(position..span.range().start).unwrap_or_default());
        out.extend_from_slice(bytes);
        position = span.range().end;
    }
    out.extend_from_slice(raw.get(position..).unwrap_or_default());
    Cow::Owned(out)
}

/// The splices that count, in the order of their places.
fn splices(edits: &[Edit], body: usize) -> Vec<(Span, &[u8])> {
    let mut out: Vec<(Span, &[u8])> = Vec::new();
    for edit in edits.iter().rev() {
        if let Edit::Splice { span, bytes } = edit
            && span.range().start >= body
            && out
                .iter()
                .all(|(other, _)| span.end <= other.start || other.end <= span.start)
        {
            out.push((*span, bytes));
        }
    }
    out.sort_by_key(|(span, _)| *span);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &str, edits: &[Edit], expected: &str) {
        assert_eq!(
            String::from_utf8_lossy(&edited(raw.as_bytes(), edits)),
            expected
        );
    }

    fn add(name: &str, value: &str, last: bool) -> Edit {
        Edit::Add {
            name: name.into(),
            value: value.into(),
            last,
        }
    }

    #[test]
    fn fields_come_and_go() {
        let raw = "A: 1\r\n 2\r\nB: 3\r\n\r\nbody\r\n";
        check(raw, &[], raw);
        check(
            raw,
            &[add("X", "é", false)],
            &format!("X: =?utf-8?b?w6k=?=\r\n{raw}"),
        );
        check(
            raw,
            &[add("X", "y", true)],
            "A: 1\r\n 2\r\nB: 3\r\nX: y\r\n\r\nbody\r\n",
        );
        check(raw, &[Edit::Remove(vec![0, 1])], "\r\nbody\r\n");
        check(
            raw,
            &[add("X", "y", false), Edit::Remove(vec![0, 2])],
            "A: 1\r\n 2\r\n\r\nbody\r\n",
        );
        check(raw, &[Edit::Remove(vec![7])], raw);
        check(
            raw,
            &[
                Edit::Letter(b"N: 1\r\n\r\nx".to_vec()),
                Edit::Remove(vec![0]),
            ],
            "\r\nx",
        );
    }

    #[test]
    fn places_get_other_bytes() {
        let raw = "A: 1\r\n\r\n0123456789";
        let splice = |start, end, bytes: &str| Edit::Splice {
            span: Span::new(start, end),
            bytes: bytes.as_bytes().to_vec(),
        };
        let edits = [
            splice(13, 15, "x"),
            splice(10, 11, "y"),
            splice(12, 16, "zz"),
            splice(0, 2, "no"),
        ];
        check(raw, &edits, "A: 1\r\n\r\n01y3zz89");
    }

    #[test]
    fn odd_headers_stay_whole() {
        check(
            "junk\nA: 1\n\nb",
            &[Edit::Remove(vec![])],
            "junk\nA: 1\n\nb",
        );
        check("A: 1", &[add("X", "y", true)], "A: 1\r\nX: y\r\n");
        check("\r\nbody", &[add("X", "y", true)], "X: y\r\n\r\nbody");
        check("", &[add("X", "y", true)], "X: y\r\n");
    }
}
