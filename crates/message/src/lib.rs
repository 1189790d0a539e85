//! Reading and writing of Internet messages ("letters"): header fields and addresses (RFC 5322,
//! with UTF-8 as RFC 6532), the MIME tree (RFC 2045 to 2049, 2183, 2231), bodies, previews and
//! thread keys (RFC 5256 §2.1), trace fields (RFC 5321 §4.4) and delivery reports (RFC 3464).
//!
//! [`Message::parse`] takes any bytes and never fails: it gives the best tree that can be made of
//! them, within [`ParseLimits`]. The tree holds offsets into the raw letter, so that a section of
//! IMAP is a slice of it, and can be kept in a compact form ([`Structure::encode`]).
//!
//! It deliberately does not: change a letter that passes through, judge it, make HTML safe to
//! show, check signatures, or do anything with time, randomness, files or sockets, which are
//! arguments where they are needed.

pub mod body;
pub mod header;
mod limits;
mod message;
pub mod mime;
pub mod office;
pub mod search;
mod span;
pub mod thread;
pub mod write;

pub use header::{Address, AddressList, Date, Field, Fields, Group, Mailbox, Param};
pub use limits::{DEPTH_MAX, LETTER_BYTES_MAX, ParseLimits};
pub use message::Message;
pub use mime::{
    BodyLists, Content, DecodeError, Envelope, Part, PartPath, Section, Structure, Walk,
};
pub use span::Span;
pub use thread::ThreadKeys;
