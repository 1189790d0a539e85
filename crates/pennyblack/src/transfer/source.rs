//! What a source of letters gives, whatever its format.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use base::Timestamp;
use bytes::Bytes;
use message::Fields;
use message::header::parse_date;

use super::flags::Flags;
use super::names::Target;
use crate::control::{Failure, FailureKind};

/// Where earlier imports of the same source stopped: positions by the names of its parts.
pub type Known = BTreeMap<String, String>;

/// One thing that a source gives.
#[derive(Debug)]
pub enum Item {
    /// A mailbox, which may be empty.
    Mailbox(Target),
    /// A letter.
    Letter(Box<Incoming>),
    /// A letter that cannot be taken; the rest goes on.
    Skipped(Skipped),
}

/// A letter that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Skipped {
    /// Where it is in its source.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// A letter on its way into the store.
#[derive(Debug)]
pub struct Incoming {
    /// Where it is in its source, for reports.
    pub name: String,
    /// Where it goes.
    pub target: Arc<Target>,
    /// Its flags.
    pub flags: Flags,
    /// IMAP INTERNALDATE; the date of its head, or now, when not known.
    pub received_at: Option<Timestamp>,
    /// Its bytes as the store keeps them.
    pub bytes: Bytes,
    /// Where the import goes on once it is stored.
    pub mark: Mark,
}

/// A place in a source: what is before it is done.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Mark {
    /// The part of the source.
    pub source: String,
    /// Where in it.
    pub position: String,
}

/// How much is done and how much there is in all, in bytes or files; 0 of 0 when unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// So much is done.
    pub done: u64,
    /// Of so much.
    pub total: u64,
}

/// Takes what a source gives; [`ControlFlow::Break`] when nobody wants more.
pub type Give<'a> = dyn FnMut(Item, Progress) -> ControlFlow<()> + 'a;

/// Gives letters one after the other. Works with blocking calls, on a thread for such work.
pub trait Source: Send {
    /// Gives all there is, or all that is still wanted.
    ///
    /// # Errors
    /// What ends the import; it can go on later where it stopped.
    fn give_all(&mut self, give: &mut Give<'_>) -> Result<(), Failure>;
}

/// A source that can be asked for one thing at a time.
pub(super) trait Steps: Send {
    /// The next thing; `None` at the end.
    fn next(&mut self) -> Result<Option<Item>, Failure>;

    /// See [`Progress`].
    fn progress(&self) -> Progress;
}

impl<T: Steps> Source for T {
    fn give_all(&mut self, give: &mut Give<'_>) -> Result<(), Failure> {
        while let Some(item) = self.next()? {
            if give(item, self.progress()).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// An error of a file, with its path.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the form that map_err asks for"
)]
pub(crate) fn at(path: &Path, error: io::Error) -> Failure {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => FailureKind::NotFound,
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => FailureKind::Invalid,
        io::ErrorKind::AlreadyExists => FailureKind::Exists,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FailureKind::Transient,
        _ => FailureKind::Other,
    };
    Failure {
        kind,
        text: format!("{}: {error}", path.display()),
    }
}

/// Why a letter over the limit is not taken.
pub(super) fn too_large(limit: u64) -> String {
    format!("larger than {limit} bytes, the limit for letters (limits.letter_size)")
}

/// When a letter was received as its own head tells: the newest Received, else Date.
#[must_use]
pub fn date_in_head(letter: &[u8]) -> Option<Timestamp> {
    let fields = Fields::new(letter);
    let received = fields.clone().find("Received").and_then(|field| {
        let text = field.raw_text();
        let (_, date) = text.rsplit_once(';')?;
        parse_date(date)
    });
    let date = received.or_else(|| fields.find("Date").and_then(|field| field.date()));
    date.map(|date| date.timestamp)
        .filter(|moment| moment.millis() >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_in_heads() {
        let at = |head: &str| date_in_head(head.as_bytes()).map(|at| at.to_string());
        let received = "Received: by x; Tue, 24 Nov 2026 07:38:05 +0000\r\n";
        let date = "Date: Mon, 23 Nov 2026 07:38:05 +0000\r\n";
        assert_eq!(
            at(&format!("{date}{received}\r\n")).as_deref(),
            Some("2026-11-24T07:38:05.000Z")
        );
        assert_eq!(
            at(&format!("{date}\r\n")).as_deref(),
            Some("2026-11-23T07:38:05.000Z")
        );
        assert_eq!(at("Received: x\r\n\r\n"), None);
        assert_eq!(at(""), None);
    }
}
