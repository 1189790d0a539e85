//! The letter on the wire: RFC 5321 §4.1.1.4 and §4.5.2 (transparency).

use bytes::{BufMut, Bytes, BytesMut};
use memchr::{memchr2, memmem};

/// The letter is written in pieces of this size, so that memory stays bounded.
const PIECE_BYTES: usize = 64 * 1024;

/// Writes a letter with dots stuffed, and the final dot.
#[derive(Debug)]
pub(super) struct BodyWriter {
    parts: std::vec::IntoIter<Bytes>,
    part: Bytes,
    line_start: bool,
    /// The letter goes by BDAT: as it is, and without a final dot.
    plain: bool,
    finished: bool,
}

impl BodyWriter {
    pub(super) fn new(parts: Vec<Bytes>) -> Self {
        Self {
            parts: parts.into_iter(),
            part: Bytes::new(),
            line_start: true,
            plain: false,
            finished: false,
        }
    }

    /// For BDAT (RFC 3030 §2).
    pub(super) fn plain(parts: Vec<Bytes>) -> Self {
        Self {
            plain: true,
            ..Self::new(parts)
        }
    }

    /// Writes the next piece; whether the final dot is written.
    pub(super) fn write(&mut self, output: &mut BytesMut) -> bool {
        while !self.finished && output.len() < PIECE_BYTES {
            if self.part.is_empty() {
                match self.parts.next() {
                    Some(part) => self.part = part,
                    None => self.end(output),
                }
            } else {
                let piece = self.part.split_to(self.part.len().min(PIECE_BYTES));
                self.stuff(&piece, output);
            }
        }
        self.finished
    }

    fn stuff(&mut self, piece: &[u8], output: &mut BytesMut) {
        output.reserve(piece.len() + 8);
        if self.plain {
            return output.put_slice(piece);
        }
        if self.line_start && piece.first() == Some(&b'.') {
            output.put_u8(b'.');
        }
        let mut written = 0;
        for at in memmem::find_iter(piece, b"\n.") {
            output.put_slice(&piece[written..=at]);
            output.put_u8(b'.');
            written = at + 1;
        }
        output.put_slice(&piece[written..]);
        self.line_start = piece.last() == Some(&b'\n');
    }

    fn end(&mut self, output: &mut BytesMut) {
        self.finished = true;
        if self.plain {
            return;
        }
        output.put_slice(if self.line_start {
            b".\r\n"
        } else {
            b"\r\n.\r\n"
        });
    }
}

/// Whether all line ends of the letter are CR LF, over the borders of its parts.
pub(super) fn has_clean_line_ends(parts: &[Bytes]) -> bool {
    let mut after_cr = false;
    for part in parts.iter().filter(|part| !part.is_empty()) {
        let mut at = 0;
        if after_cr {
            if part[0] != b'\n' {
                return false;
            }
            at = 1;
            after_cr = false;
        }
        while let Some(found) = memchr2(b'\r', b'\n', &part[at..]) {
            let end = at + found;
            match (part[end], part.get(end + 1)) {
                (b'\r', Some(b'\n')) => at = end + 2,
                (b'\r', None) => {
                    after_cr = true;
                    break;
                }
                _ => return false,
            }
        }
    }
    !after_cr
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(parts: &[&str], expected: &str) {
        let parts = parts.iter().map(|p| Bytes::copy_from_slice(p.as_bytes()));
        let mut writer = BodyWriter::new(parts.collect());
        let mut output = BytesMut::new();
        assert!(writer.write(&mut output));
        assert_eq!(std::str::from_utf8(&output).unwrap(), expected);
    }

    #[test]
    fn dots_are_stuffed_and_the_end_is_added() {
        check(&["a\r\n.b\r\n"], "a\r\n..b\r\n.\r\n");
        check(&[".", "\r\n", ".."], "..\r\n...\r\n.\r\n");
        check(&["a\r\n", ".\r\n"], "a\r\n..\r\n.\r\n");
        check(&[], ".\r\n");
        check(&["a"], "a\r\n.\r\n");
    }

    #[test]
    fn line_ends_over_borders() {
        let clean = |parts: &[&'static str]| {
            let parts: Vec<Bytes> = parts
                .iter()
                .map(|p| Bytes::from_static(p.as_bytes()))
                .collect();
            has_clean_line_ends(&parts)
        };
        assert!(clean(&["a\r", "\nb\r\n"]));
        assert!(clean(&["", "a"]));
        for bad in [
            &["a\n"][..],
            &["a\r"],
            &["a\rb"],
            &["a\r", "b"],
            &["\r\n\n"],
            &["\r", "\r\n"],
        ] {
            assert!(!clean(bad), "{bad:?}");
        }
    }
}
