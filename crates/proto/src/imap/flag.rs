//! Flags and keywords (RFC 9051 §2.3.2).

use std::fmt;

use super::cursor::{Cursor, Parsed, is_atom};
use super::error::SyntaxError;

/// The longest keyword, in octets (RFC 8621 §4.1.1 has the same limit).
pub const KEYWORD_BYTES_MAX: usize = 255;

/// `flag-keyword = atom`; equal whatever their case (RFC 9051 §2.3.2), the spelling is kept.
#[derive(Clone, Debug)]
pub struct Keyword(Box<str>);

impl Keyword {
    /// Reads a keyword.
    ///
    /// # Errors
    /// [`SyntaxError::Flag`].
    pub fn parse(text: &str) -> Parsed<Self> {
        let valid = (1..=KEYWORD_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_atom);
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(SyntaxError::Flag)
        }
    }

    /// The keyword as it was sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Keyword {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Keyword {}

/// A flag that a client may set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Flag {
    /// `\Answered`
    Answered,
    /// `\Flagged`
    Flagged,
    /// `\Deleted`
    Deleted,
    /// `\Seen`
    Seen,
    /// `\Draft`
    Draft,
    /// `$Forwarded`, `Work`, …
    Keyword(Keyword),
}

impl Flag {
    /// Reads a flag; `\Recent` is nothing, as clients that copy a message's flags send it and
    /// only the server sets it (RFC 3501 §2.3.2).
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Parsed<Option<Self>> {
        if !cursor.take(b'\\') {
            let bytes = cursor.take_while(is_atom);
            let text = std::str::from_utf8(bytes).map_err(|_| SyntaxError::Flag)?;
            return Ok(Some(Self::Keyword(Keyword::parse(text)?)));
        }
        Ok(Some(match cursor.word("a flag")?.as_str() {
            "ANSWERED" => Self::Answered,
            "FLAGGED" => Self::Flagged,
            "DELETED" => Self::Deleted,
            "SEEN" => Self::Seen,
            "DRAFT" => Self::Draft,
            "RECENT" => return Ok(None),
            _ => return Err(SyntaxError::Flag),
        }))
    }

    /// `flag-list = "(" [flag *(SP flag)] ")"`, each flag once.
    pub(super) fn read_list(cursor: &mut Cursor<'_>) -> Parsed<Vec<Self>> {
        Ok(unique(cursor.list(Self::read)?))
    }

    /// `flag-list / (flag *(SP flag))`, as STORE takes them.
    pub(super) fn read_store(cursor: &mut Cursor<'_>) -> Parsed<Vec<Self>> {
        if cursor.peek() == Some(b'(') {
            return Self::read_list(cursor);
        }
        let mut flags = vec![Self::read(cursor)?];
        while cursor.has_argument() {
            cursor.space()?;
            flags.push(Self::read(cursor)?);
        }
        Ok(unique(flags))
    }
}

fn unique(flags: Vec<Option<Flag>>) -> Vec<Flag> {
    let mut kept: Vec<Flag> = Vec::with_capacity(flags.len());
    for flag in flags.into_iter().flatten() {
        if !kept.contains(&flag) {
            kept.push(flag);
        }
    }
    kept
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Answered => "\\Answered",
            Self::Flagged => "\\Flagged",
            Self::Deleted => "\\Deleted",
            Self::Seen => "\\Seen",
            Self::Draft => "\\Draft",
            Self::Keyword(keyword) => keyword.as_str(),
        })
    }
}
