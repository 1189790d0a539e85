//! Tags of commands.

use std::fmt;

/// The longest tag that is taken; real clients use under 20 octets.
pub const TAG_BYTES_MAX: usize = 128;

/// `tag = 1*<any ASTRING-CHAR except "+">`, RFC 9051 §9.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tag(Box<str>);

impl Tag {
    /// Reads a tag.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let valid = (1..=TAG_BYTES_MAX).contains(&bytes.len())
            && bytes
                .iter()
                .all(|b| super::cursor::is_astring(*b) && *b != b'+');
        let text = std::str::from_utf8(bytes).ok().filter(|_| valid)?;
        Some(Self(text.into()))
    }

    /// The tag as it was sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
