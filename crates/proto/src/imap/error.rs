//! Why a command cannot be understood.

use std::fmt;

/// What is wrong with a command. Every one is the client's fault (`BAD`, RFC 9051 §7.1.3), except
/// [`SyntaxError::Charset`], which is `NO [BADCHARSET]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyntaxError {
    /// The line does not start with a tag.
    Tag,
    /// There is no such command.
    UnknownCommand,
    /// Something else was expected here.
    Expected(&'static str),
    /// There is more on the line than the command takes.
    TrailingText,
    /// A line longer than the limit.
    LineTooLong,
    /// The literals of a command other than APPEND are larger than the limit.
    LiteralTooLarge,
    /// A letter larger than the server takes (RFC 9051 §6.3.12, `[TOOBIG]`).
    LetterTooLarge,
    /// A NUL byte outside of a binary literal (RFC 9051 §9, CHAR8).
    Nul,
    /// A mailbox name that is no valid modified UTF-7 or UTF-8, or has a control character.
    MailboxName,
    /// A flag that no client may set.
    Flag,
    /// A number outside of its range.
    Number,
    /// A date that is not in the calendar.
    Date,
    /// Search keys nested deeper than [`crate::imap::search::DEPTH_MAX`].
    SearchTooDeep,
    /// A search charset other than US-ASCII and UTF-8 (RFC 9051 §6.4.4).
    Charset,
    /// More than one letter in an APPEND (RFC 3502 is not offered).
    SecondLetter,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tag => "A command starts with a tag and a space",
            Self::UnknownCommand => "There is no such command",
            Self::Expected(what) => return write!(f, "Expected {what}"),
            Self::TrailingText => "There is more on the line than the command takes",
            Self::LineTooLong => "The line is too long",
            Self::LiteralTooLarge => "The literal is too large for this command",
            Self::LetterTooLarge => "The message is larger than this server takes",
            Self::Nul => "A command may not hold a NUL byte",
            Self::MailboxName => "The mailbox name is not well formed",
            Self::Flag => "This flag cannot be set by a client",
            Self::Number => "The number is out of range",
            Self::Date => "The date is not in the calendar",
            Self::SearchTooDeep => "The search keys are nested too deeply",
            Self::Charset => "The charset is not supported",
            Self::SecondLetter => "APPEND takes one message",
        })
    }
}

impl std::error::Error for SyntaxError {}
