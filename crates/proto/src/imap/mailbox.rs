//! Mailbox names (RFC 9051 §5.1).

use std::fmt;

use super::cursor::Parsed;
use super::error::SyntaxError;
use super::utf7;

/// The hierarchy separator.
pub const SEPARATOR: char = '/';
/// The longest name taken, in octets of UTF-8.
pub const NAME_BYTES_MAX: usize = 1_000;

/// A mailbox name in Unicode: not empty, no control character, `INBOX` in upper case wherever it is
/// the whole name or the first level (RFC 9051 §5.1).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct MailboxName(Box<str>);

impl MailboxName {
    /// Reads a name in Unicode.
    ///
    /// # Errors
    /// [`SyntaxError::MailboxName`].
    pub fn parse(text: &str) -> Parsed<Self> {
        let wrong = text.is_empty()
            || text.len() > NAME_BYTES_MAX
            || text
                .chars()
                .any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'));
        if wrong {
            return Err(SyntaxError::MailboxName);
        }
        Ok(Self(fold_inbox(text).into()))
    }

    /// Reads a name as it was sent: UTF-8, or modified UTF-7 unless `utf8`.
    pub(super) fn decode(bytes: &[u8], utf8: bool) -> Parsed<Self> {
        Self::parse(&decode_text(bytes, utf8)?)
    }

    /// The name in Unicode.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the INBOX.
    #[must_use]
    pub fn is_inbox(&self) -> bool {
        &*self.0 == "INBOX"
    }
}

impl fmt::Display for MailboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name with `INBOX` in upper case where it is the whole name or the first level.
#[must_use]
pub fn fold_inbox(text: &str) -> String {
    let (first, rest) = text.split_at(text.find(SEPARATOR).unwrap_or(text.len()));
    if first.eq_ignore_ascii_case("INBOX") {
        format!("INBOX{rest}")
    } else {
        text.to_owned()
    }
}

/// The text of a name or pattern. A name with 8-bit octets can be no modified UTF-7, so it is read
/// as UTF-8 in either mode.
pub(super) fn decode_text(bytes: &[u8], utf8: bool) -> Parsed<String> {
    let text = if utf8 || !bytes.is_ascii() {
        std::str::from_utf8(bytes).ok().map(str::to_owned)
    } else {
        utf7::decode(bytes)
    };
    text.ok_or(SyntaxError::MailboxName)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inbox_has_one_spelling() {
        for (text, expected) in [
            ("inBox", "INBOX"),
            ("Inbox/a", "INBOX/a"),
            ("inboxes", "inboxes"),
        ] {
            assert_eq!(MailboxName::parse(text).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn the_mode_decides_what_an_ampersand_is() {
        let name = |utf8| {
            MailboxName::decode(b"Entw&APw-rfe", utf8)
                .unwrap()
                .to_string()
        };
        assert_eq!(name(false), "Entwürfe");
        assert_eq!(name(true), "Entw&APw-rfe");
        assert_eq!(
            MailboxName::decode(b"a&b", false),
            Err(SyntaxError::MailboxName)
        );
    }

    #[test]
    fn length_at_the_limit_and_beyond() {
        assert!(MailboxName::parse(&"a".repeat(NAME_BYTES_MAX)).is_ok());
        assert!(MailboxName::parse(&"a".repeat(NAME_BYTES_MAX + 1)).is_err());
        assert!(MailboxName::parse("a\nb").is_err());
    }
}
