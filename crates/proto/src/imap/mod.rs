//! IMAP4rev1 (RFC 3501) and IMAP4rev2 (RFC 9051) as bytes: what a client may say, and how a server
//! writes what it answers.
//!
//! [`Reader`] cuts the client's bytes into commands and gives [`Command`] values whose parts cannot
//! hold a wrong value; the message literal of APPEND comes in chunks and is never held whole.
//! [`Writer`] writes responses. One file per family of commands or per extension:
//! [`fetch`], [`search`], [`list`] (with RFC 5258, 5819 and 6154), [`append`] (with RFC 6855),
//! [`id`] (RFC 2971), [`sequence`], [`mailbox`] with [`utf7`], [`flag`], [`date`], [`code`]
//! (RFC 5530, 4315, 9051 response codes), [`esearch`] (RFC 4731, 5182), [`envelope`] and
//! [`bodystructure`].
//!
//! It knows no mailbox and no session: which command is allowed when, and what it does, is decided
//! by `access::imap`. RFC 7888 (LITERAL+) and RFC 4959 (SASL-IR) are part of the reading; other
//! extensions (CONDSTORE, SORT, THREAD, NOTIFY, …) are not understood and answered as bad syntax.

pub mod append;
pub mod bodystructure;
pub mod code;
pub mod command;
mod cursor;
pub mod date;
pub mod envelope;
pub mod error;
pub mod esearch;
pub mod fetch;
pub mod flag;
pub mod id;
pub mod list;
pub mod mailbox;
pub mod reader;
pub mod search;
pub mod sequence;
pub mod store;
pub mod tag;
pub mod utf7;
pub mod write;

pub use code::Code;
pub use command::Command;
pub use error::SyntaxError;
pub use flag::{Flag, Keyword};
pub use mailbox::MailboxName;
pub use reader::{Event, Line, Reader, ReaderLimits};
pub use sequence::{MessageSet, SequenceSet};
pub use tag::Tag;
pub use write::Writer;
