//! Encoded words (RFC 2047).

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// RFC 2047 §2: an encoded word is at most 75 characters; this leaves 45 bytes of base64 content
/// and as many characters for `Q`, which no line of 76 is too short for.
const ENCODED_TEXT_CHARS_MAX: usize = 60;

/// Free text for a field: as it is when it is ASCII without anything like an encoded word, else as
/// encoded words.
#[must_use]
pub fn encode_text(text: &str) -> Cow<'_, str> {
    if is_plain(text) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(encode(text))
    }
}

/// A display name: an atom or quoted string when it is ASCII, else encoded words.
#[must_use]
pub fn encode_phrase(text: &str) -> String {
    if !is_plain(text) {
        return encode(text);
    }
    let atoms = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b" !#$%&'*+-/=?^_`{|}~".contains(&b));
    if atoms && !text.is_empty() && text.trim() == text {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b' '..=b'~')) && !text.contains("=?")
}

/// Words of whole characters, `Q` or `B`, whichever is shorter for this text.
fn encode(text: &str) -> String {
    let odd = text.bytes().filter(|b| !is_q_safe(*b)).count();
    let use_q = odd * 3 <= text.len();
    let mut words: Vec<String> = Vec::new();
    let mut piece = String::new();
    let mut cost = 0;
    // No control character gets into a header, encoded or not.
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        let c_cost = if use_q { q_cost(c) } else { c.len_utf8() * 4 };
        let limit = ENCODED_TEXT_CHARS_MAX * if use_q { 1 } else { 3 };
        if cost + c_cost > limit {
            words.push(encode_word(&piece, use_q));
            piece.clear();
            cost = 0;
        }
        piece.push(c);
        cost += c_cost;
    }
    if !piece.is_empty() {
        words.push(encode_word(&piece, use_q));
    }
    words.join(" ")
}

fn encode_word(piece: &str, use_q: bool) -> String {
    if !use_q {
        return format!("=?utf-8?b?{}?=", STANDARD.encode(piece));
    }
    let mut out = String::from("=?utf-8?q?");
    for byte in piece.bytes() {
        match byte {
            b' ' => out.push('_'),
            byte if is_q_safe(byte) => out.push(char::from(byte)),
            byte => {
                out.push('=');
                for digit in [byte >> 4, byte & 0xf] {
                    let digit = char::from_digit(u32::from(digit), 16).unwrap_or('0');
                    out.push(digit.to_ascii_uppercase());
                }
            }
        }
    }
    out.push_str("?=");
    out
}

fn q_cost(c: char) -> usize {
    if u8::try_from(c).is_ok_and(is_q_safe) {
        1
    } else {
        c.len_utf8() * 3
    }
}

/// RFC 2047 §5 rule (3): what may stand in a phrase.
fn is_q_safe(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'!' | b'*' | b'+' | b'-' | b'/' | b' ')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::decode_words;

    #[test]
    fn words_are_short_and_decode_again() {
        let texts = [
            "Grüße aus Köln",
            "日本語の長い件名がここにありますので、折り返す必要があります。とても長いです。",
            "a =?utf-8?q?b?= c",
            "tab\tand\u{1f600}",
        ];
        for text in texts {
            let encoded = encode_text(text);
            assert!(encoded.split(' ').all(|word| word.len() <= 75), "{encoded}");
            assert!(encoded.is_ascii());
            assert_eq!(decode_words(&encoded), text.replace('\t', " "));
        }
        assert_eq!(encode_text("plain"), "plain");
        assert_eq!(encode_phrase("A. B"), "\"A. B\"");
    }
}
