//! The MIME tree of a letter (RFC 2045, RFC 2046): where each part lies in the raw bytes, and what
//! its header says; as IMAP BODYSTRUCTURE and ENVELOPE (RFC 9051 §7.5.2) and JMAP (RFC 8621 §4.1)
//! need it. Bodies are not decoded here.

mod body_lists;
mod codec;
mod envelope;
mod structure;
mod tree;

pub use body_lists::BodyLists;
pub use codec::DecodeError;
pub use envelope::Envelope;
pub use structure::{Content, Part, PartPath, Section, Structure, Walk};

pub(crate) use tree::parse;
