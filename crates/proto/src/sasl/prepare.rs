//! SASLprep (RFC 4013), as RFC 4616 §2 and RFC 5802 §2.2 ask for logins and passwords.

use std::borrow::Cow;

/// The prepared text, or the text as it is where SASLprep forbids it: a password with a character
/// that SASLprep does not have must still match the one that was set with it.
#[must_use]
pub fn prepare(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    stringprep::saslprep(text).unwrap_or(Cow::Borrowed(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_rfc_4013() {
        // RFC 4013 §3.
        assert_eq!(prepare("I\u{AD}X"), "IX");
        assert_eq!(prepare("\u{AA}"), "a");
        assert_eq!(prepare("\u{2168}"), "IX");
        assert_eq!(prepare("\u{7}"), "\u{7}", "forbidden, kept as it is");
    }
}
