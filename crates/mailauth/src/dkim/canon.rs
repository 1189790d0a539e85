//! The two canonical forms, and that of header fields (RFC 6376 §3.4.1, §3.4.2).

use std::fmt;
use std::ops::Range;

use aws_lc_rs::digest::{Context, Digest, SHA256};

use super::header::Field;

/// A canonical form of a header or of a body.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Canon {
    /// Almost nothing may change on the way.
    Simple,
    /// White space may change on the way.
    Relaxed,
}

impl Canon {
    /// Reads the name of a form.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "simple" => Some(Self::Simple),
            "relaxed" => Some(Self::Relaxed),
            _ => None,
        }
    }
}

impl fmt::Display for Canon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Simple => "simple",
            Self::Relaxed => "relaxed",
        })
    }
}

/// The hash over header fields that a signature signs.
#[derive(Clone)]
pub(crate) struct HeaderHash {
    canon: Canon,
    context: Context,
    /// The canonical form of one field, kept for the next one.
    buffer: Vec<u8>,
}

impl HeaderHash {
    pub(crate) fn new(canon: Canon) -> Self {
        Self {
            canon,
            context: Context::new(&SHA256),
            buffer: Vec::new(),
        }
    }

    /// Adds a signed field.
    pub(crate) fn add(&mut self, field: &Field<'_>) {
        self.write(field, None);
        self.context.update(&self.buffer);
        self.context.update(b"\r\n");
    }

    /// Adds the field of the signature itself, its value of `b=` taken for empty, and ends the hash:
    /// without a line end (RFC 6376 §3.7).
    pub(crate) fn finish(mut self, own: &Field<'_>, b_span: &Range<usize>) -> Digest {
        self.write(own, Some(b_span));
        self.context.update(&self.buffer);
        self.context.finish()
    }

    /// Writes a field's canonical form. `without` is a span in its value.
    fn write(&mut self, field: &Field<'_>, without: Option<&Range<usize>>) {
        let buffer = &mut self.buffer;
        buffer.clear();
        let value = field.value();
        let (first, second) = match without {
            Some(span) => (&value[..span.start], &value[span.end..]),
            None => (value, &[][..]),
        };
        match self.canon {
            Canon::Simple => {
                buffer.extend_from_slice(&field.raw[..field.value_at]);
                buffer.extend_from_slice(first);
                buffer.extend_from_slice(second);
            }
            Canon::Relaxed => {
                buffer.extend(field.name.bytes().map(|byte| byte.to_ascii_lowercase()));
                buffer.push(b':');
                let start = buffer.len();
                relax(first, start, buffer);
                relax(second, start, buffer);
                if buffer.len() > start && buffer.last() == Some(&b' ') {
                    buffer.pop();
                }
            }
        }
    }
}

/// Unfolds, makes every run of white space one space, and leaves out what stands before the value,
/// which begins at `start` of the buffer.
fn relax(value: &[u8], start: usize, buffer: &mut Vec<u8>) {
    let mut left = value.iter().peekable();
    while let Some(byte) = left.next() {
        match byte {
            // A CR or LF alone is a byte of the value.
            b'\r' if left.peek() == Some(&&b'\n') => {
                left.next();
            }
            b' ' | b'\t' => {
                if buffer.len() > start && buffer.last() != Some(&b' ') {
                    buffer.push(b' ');
                }
            }
            other => buffer.push(*other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::header::Halves;
    use super::*;

    fn check(header: &str, canon: Canon, expected: &str) {
        let halves = Halves::of(&[header.as_bytes()]);
        let mut hash = HeaderHash::new(canon);
        let mut shown = String::new();
        for field in &halves.fields {
            hash.write(field, None);
            shown.push_str(std::str::from_utf8(&hash.buffer).unwrap());
            shown.push_str("\r\n");
        }
        assert_eq!(shown, expected);
    }

    #[test]
    fn the_examples_of_the_rfc() {
        // RFC 6376 §3.4.5.
        let header = "A: X\r\nB : Y\t\r\n\tZ  \r\n";
        check(header, Canon::Relaxed, "a:X\r\nb:Y Z\r\n");
        check(header, Canon::Simple, header);
    }

    #[test]
    fn empty_values_and_space_around_the_signature() {
        check(
            "A:\r\nB:  \r\nC: \r\n  \r\n x\r\n",
            Canon::Relaxed,
            "a:\r\nb:\r\nc:x\r\n",
        );
        let halves = Halves::of(&[b"D: a=1; b= x ; c=2\r\n"]);
        let mut hash = HeaderHash::new(Canon::Relaxed);
        hash.write(&halves.fields[0], Some(&(8..11)));
        assert_eq!(hash.buffer, b"d:a=1; b=; c=2");
    }
}
