//! Modified UTF-7 for mailbox names (RFC 3501 §5.1.3, RFC 9051 appendix A.1).

use base64::Engine as _;
use base64::alphabet::IMAP_MUTF7;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_encode_padding(false)
    .with_decode_padding_mode(DecodePaddingMode::RequireNone);
const ENGINE: GeneralPurpose = GeneralPurpose::new(&IMAP_MUTF7, CONFIG);

/// The Unicode text of a name in modified UTF-7; nothing if it is not well formed.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'&' => {
                let end = rest.iter().position(|b| *b == b'-')?;
                if end == 0 {
                    text.push('&');
                } else {
                    text.push_str(&decode_shifted(&rest[..end])?);
                }
                rest = &rest[end + 1..];
            }
            0x20..=0x7e => text.push(char::from(*first)),
            _ => return None,
        }
    }
    Some(text)
}

fn decode_shifted(encoded: &[u8]) -> Option<String> {
    let bytes = ENGINE.decode(encoded).ok()?;
    if bytes.len() % 2 != 0 {
        return None;
    }
    let units = bytes
        .chunks_exact(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    let text: String = char::decode_utf16(units).collect::<Result<_, _>>().ok()?;
    // RFC 3501 §5.1.3: printable US-ASCII must stand for itself; otherwise one mailbox would have
    // several names.
    if text.chars().any(|c| matches!(c, ' '..='~')) {
        return None;
    }
    Some(text)
}

/// The modified UTF-7 of a name.
#[must_use]
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut shifted: Vec<u8> = Vec::new();
    for c in text.chars() {
        if matches!(c, ' '..='~') {
            flush(&mut shifted, &mut out);
            out.push(c);
            if c == '&' {
                out.push('-');
            }
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                shifted.extend_from_slice(&unit.to_be_bytes());
            }
        }
    }
    flush(&mut shifted, &mut out);
    out
}

fn flush(shifted: &mut Vec<u8>, out: &mut String) {
    if !shifted.is_empty() {
        out.push('&');
        ENGINE.encode_string(&*shifted, out);
        out.push('-');
        shifted.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, encoded: &str) {
        assert_eq!(encode(text), encoded);
        assert_eq!(decode(encoded.as_bytes()).as_deref(), Some(text));
    }

    #[test]
    fn there_and_back() {
        check("INBOX", "INBOX");
        check("Tom & Jerry", "Tom &- Jerry");
        check("Entwürfe", "Entw&APw-rfe");
        check("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-");
        check("😀", "&2D3eAA-");
    }

    #[test]
    fn refuses_what_is_not_well_formed() {
        for bad in [
            "&", "&abc", "&AGE-", "&2D0-", "&A-", "&====-", "a\u{7f}", "ü",
        ] {
            assert_eq!(decode(bad.as_bytes()), None, "{bad}");
        }
    }
}
