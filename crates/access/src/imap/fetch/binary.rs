//! Transfer encodings decoded piece by piece (RFC 3516 BINARY, and searches in bodies).

use message::body::{decode_base64, decode_quoted_printable};

/// A line longer than this is cut when quoted-printable is decoded; RFC 2045 §6.7 allows 76.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// The encodings that can be decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) enum Encoding {
    Identity,
    Base64,
    QuotedPrintable,
}

impl Encoding {
    /// RFC 2045 §6.1; nothing for one that is not known.
    pub(in super::super) fn of(name: &str) -> Option<Self> {
        let is = |known: &str| name.trim().eq_ignore_ascii_case(known);
        if is("7bit") || is("8bit") || is("binary") || name.trim().is_empty() {
            Some(Self::Identity)
        } else if is("base64") {
            Some(Self::Base64)
        } else if is("quoted-printable") {
            Some(Self::QuotedPrintable)
        } else {
            None
        }
    }
}

/// Decodes a body that comes in pieces.
pub(in super::super) struct Decoder {
    encoding: Encoding,
    /// What cannot be decoded before more comes.
    carry: Vec<u8>,
}

impl Decoder {
    pub(in super::super) fn new(encoding: Encoding) -> Self {
        Self {
            encoding,
            carry: Vec::new(),
        }
    }

    pub(in super::super) fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        match self.encoding {
            Encoding::Identity => piece.to_vec(),
            Encoding::Base64 => {
                let letters =
                    |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
                self.carry.extend(piece.iter().filter(letters));
                let whole = whole_groups(&self.carry);
                let decoded = decode_base64(&self.carry[..whole]);
                self.carry.drain(..whole);
                decoded
            }
            Encoding::QuotedPrintable => {
                self.carry.extend_from_slice(piece);
                let end = match self.carry.iter().rposition(|b| *b == b'\n') {
                    Some(at) => at + 1,
                    None if self.carry.len() > LINE_BYTES_MAX => self.carry.len(),
                    None => 0,
                };
                let decoded = decode_quoted_printable(&self.carry[..end]);
                self.carry.drain(..end);
                decoded
            }
        }
    }

    /// What is left. Call it once more than there are pieces; later calls give nothing.
    pub(in super::super) fn finish(&mut self) -> Vec<u8> {
        let rest = std::mem::take(&mut self.carry);
        match self.encoding {
            Encoding::Identity => rest,
            Encoding::Base64 => decode_base64(&rest),
            Encoding::QuotedPrintable => decode_quoted_printable(&rest),
        }
    }
}

/// The length of what ends with a whole group of four letters; padding ends a group early.
fn whole_groups(letters: &[u8]) -> usize {
    let (mut count, mut whole) = (0, 0);
    for (at, letter) in letters.iter().enumerate() {
        if *letter == b'=' {
            count = 0;
        } else {
            count = (count + 1) % 4;
        }
        if count == 0 {
            whole = at + 1;
        }
    }
    whole
}

/// The size of what was decoded, and whether it has NUL bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Measured {
    pub(super) bytes: u64,
    pub(super) has_nul: bool,
}

impl Measured {
    pub(super) fn add(&mut self, decoded: &[u8]) {
        self.bytes += decoded.len() as u64;
        self.has_nul |= decoded.contains(&0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(encoding: Encoding, encoded: &str, expected: &[u8]) {
        for size in 1..=encoded.len() {
            let mut decoder = Decoder::new(encoding);
            let mut decoded = Vec::new();
            for piece in encoded.as_bytes().chunks(size) {
                decoded.extend(decoder.push(piece));
            }
            decoded.extend(decoder.finish());
            assert_eq!(decoded, expected, "{encoded:?} in pieces of {size}");
        }
    }

    #[test]
    fn pieces_of_any_size_decode_to_the_same() {
        check(
            Encoding::Base64,
            "SGVs\r\nbG8g\r\nd29y\r\nbGQ=\r\n",
            b"Hello world",
        );
        check(Encoding::Base64, "SGVsbG8=SGVsbG8=", b"HelloHello");
        check(Encoding::Base64, "SGVsbG8", b"Hello");
        check(
            Encoding::QuotedPrintable,
            "a=C3=BC b =\r\nc \r\nd=",
            "aü b c\r\nd".as_bytes(),
        );
        check(Encoding::Identity, "a\r\nb", b"a\r\nb");
    }

    #[test]
    fn known_encodings() {
        assert_eq!(Encoding::of("BASE64"), Some(Encoding::Base64));
        assert_eq!(Encoding::of(" 8bit "), Some(Encoding::Identity));
        assert_eq!(Encoding::of("x-own"), None);
    }
}
