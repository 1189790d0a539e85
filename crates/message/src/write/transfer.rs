//! Content transfer encodings for bodies that are written (RFC 2045 §6).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// RFC 2045 §6.7 rule (5) and §6.8: encoded lines have at most 76 characters.
const ENCODED_LINE_CHARS_MAX: usize = 76;

/// A text body with CRLF lines, and the encoding that it needs: `7bit` for short ASCII lines, else
/// `quoted-printable`.
pub(super) fn encode_text_body(text: &str) -> (&'static str, Vec<u8>) {
    let plain = text.is_ascii()
        && text.lines().all(|line| {
            line.len() <= 990 && !line.bytes().any(|b| b.is_ascii_control() && b != b'\t')
        });
    let mut out = Vec::with_capacity(text.len() + text.len() / 8);
    for line in text.lines() {
        if plain {
            out.extend_from_slice(line.as_bytes());
        } else {
            quoted_printable_line(line.as_bytes(), &mut out);
        }
        out.extend_from_slice(b"\r\n");
    }
    (if plain { "7bit" } else { "quoted-printable" }, out)
}

/// Text with CR LF between its lines as quoted-printable; a last line without line end stays so.
pub(super) fn encode_lines(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 4);
    for line in text.split_inclusive(|b| *b == b'\n') {
        match line.strip_suffix(b"\r\n") {
            Some(line) => {
                quoted_printable_line(line, &mut out);
                out.extend_from_slice(b"\r\n");
            }
            None => quoted_printable_line(line, &mut out),
        }
    }
    out
}

fn quoted_printable_line(line: &[u8], out: &mut Vec<u8>) {
    let mut column = 0;
    for (at, &byte) in line.iter().enumerate() {
        let last = at + 1 == line.len();
        let plain = match byte {
            // White space at a line's end would be lost.
            b' ' | b'\t' => !last,
            // Dots alone, and `From `, would be changed on the way by old software.
            b'.' | b'F' => column > 0,
            byte => byte.is_ascii_graphic() && byte != b'=',
        };
        let width = if plain { 1 } else { 3 };
        if column + width > ENCODED_LINE_CHARS_MAX - 1 {
            out.extend_from_slice(b"=\r\n");
            column = 0;
        }
        if plain {
            out.push(byte);
        } else {
            out.extend_from_slice(format!("={byte:02X}").as_bytes());
        }
        column += width;
    }
}

/// Base64 in lines with CRLF.
pub(super) fn encode_base64_body(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() / 57 * 78 + 80);
    // 57 bytes make one line of 76 letters.
    for chunk in content.chunks(ENCODED_LINE_CHARS_MAX / 4 * 3) {
        out.extend_from_slice(STANDARD.encode(chunk).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// A boundary that stands in none of the contents.
pub(super) fn boundary_for(random: u64, contents: &[&[u8]]) -> String {
    let mut number = random;
    loop {
        let boundary = format!("=_{number:016x}");
        let finder = memchr::memmem::Finder::new(boundary.as_bytes());
        if contents
            .iter()
            .all(|content| finder.find(content).is_none())
        {
            return boundary;
        }
        number = number.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::{decode_base64, decode_quoted_printable};

    #[test]
    fn what_is_encoded_is_decoded_again() {
        let text = format!(
            "Grüße = \t\r\n.\r\nFrom here\r\n{}\r\n\r\nend \r\n",
            "long ä ".repeat(200)
        );
        let (encoding, body) = encode_text_body(&text);
        assert_eq!(encoding, "quoted-printable");
        assert!(body.split(|b| *b == b'\n').all(|line| line.len() <= 77));
        assert_eq!(decode_quoted_printable(&body), text.as_bytes());
        assert_eq!(encode_text_body("a\nb").1, b"a\r\nb\r\n");

        let content: Vec<u8> = (0..=255).cycle().take(1_000).collect();
        let body = encode_base64_body(&content);
        assert!(body.split(|b| *b == b'\n').all(|line| line.len() <= 77));
        assert_eq!(decode_base64(&body), content);
    }

    #[test]
    fn a_boundary_is_not_in_the_content() {
        let content = format!("--=_{:016x}", 7);
        assert_eq!(
            boundary_for(7, &[content.as_bytes()]),
            format!("=_{:016x}", 8)
        );
    }
}
