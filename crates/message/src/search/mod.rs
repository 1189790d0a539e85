//! The searchable text of a letter: subject, addresses, other header fields, the text that is read
//! as the letter, and the names and texts of its attachments (letters inside it included).
//!
//! It plans first ([`sources`]): which parts hold text, and which bytes of the letter they are, so
//! that a large letter need not be held whole. Then [`TextBuilder`] takes the bytes of one part after
//! another. All is bounded by [`TextLimits`]; what lies beyond is not searched.
//!
//! It deliberately does not split texts into words, and reads no PDF: whoever can hands the text in.

mod builder;
mod sources;

pub use builder::{SearchText, TextBuilder};
pub use sources::{Source, SourceKind, sources};

/// How much of a letter is searched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TextLimits {
    /// Bytes of text of body and attachments together.
    pub text_bytes_max: usize,
    /// Bytes of addresses, and of all other header fields.
    pub header_bytes_max: usize,
    /// Bytes of one text part, still encoded, that are looked at.
    pub part_bytes_max: usize,
    /// Bytes of one document (office formats, PDF), still encoded; larger ones are passed over,
    /// because a part of one cannot be read.
    pub document_bytes_max: usize,
    /// Bytes of a letter, still encoded, that are looked at in all: what is held in memory.
    pub read_bytes_max: usize,
    /// Parts whose text is taken.
    pub parts_max: usize,
}

impl Default for TextLimits {
    fn default() -> Self {
        Self {
            // A long novel.
            text_bytes_max: 1024 * 1024,
            header_bytes_max: 16 * 1024,
            // Newsletters have up to a dozen bytes of markup for one of text.
            part_bytes_max: 4 * 1024 * 1024,
            document_bytes_max: 16 * 1024 * 1024,
            read_bytes_max: 24 * 1024 * 1024,
            parts_max: 200,
        }
    }
}
