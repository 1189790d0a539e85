//! Pulling letters from another server by IMAP (RFC 9051, RFC 3501): all folders with their
//! letters, flags and dates. Nothing is changed there: folders are opened with EXAMINE, letters read
//! with BODY.PEEK.

mod client;
mod folder;
mod parse;
mod pull;

pub use pull::{Pull, Server, Tls};
