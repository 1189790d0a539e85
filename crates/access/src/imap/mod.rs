//! The IMAP server (RFC 3501, RFC 9051): sessions over a stream, on the store.
//!
//! [`serve`] runs one connection. One file per command; [`proto::imap`] reads and writes the bytes.
//! A selected mailbox is a small snapshot ([`selected`]): one row per message, brought up to date
//! from the store's changes between commands, so that all sessions on a mailbox agree and message
//! numbers change only when the client is told.
//!
//! It does not limit connections (the listener does), and does not do CONDSTORE, QRESYNC, NOTIFY,
//! SORT, THREAD, QUOTA, ACL or a full-text index: searches of texts read the letters.

mod append;
mod authenticate;
mod capability;
mod close;
mod connection;
mod context;
mod copy;
mod create;
mod delete;
mod enable;
mod expunge;
mod fetch;
mod flags;
mod id;
mod idle;
mod list;
mod login;
mod namespace;
mod noop;
mod rename;
mod reply;
mod search;
mod select;
mod selected;
mod session;
mod starttls;
mod status;
mod store;
mod subscribe;

pub use context::{Entry, ImapContext, ImapOptions, refusal};
pub use session::serve;
