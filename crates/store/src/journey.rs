//! The journey of a letter: what happened to it, step by step, for its sender and its reader.

use base::{EmailAddress, LetterId, Timestamp};

use crate::{Store, StoreError};

/// A step of a journey. The text form (`as_str`) is stored and shown by `queue trace`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Handed in by a user (authenticated).
    Submitted,
    /// Taken from another server.
    Received,
    /// Stored in a mailbox here.
    Stored,
    /// Routed: the MX and addresses that will be tried.
    Routed,
    /// A connection to a server: opened, with or without TLS.
    Connected,
    /// Handed over to another server, with its reply.
    Transferred,
    /// Not now: will be tried again.
    Deferred,
    /// Given up.
    Failed,
    /// A report was sent to the sender.
    Reported,
    /// Forwarded by an alias.
    Forwarded,
    /// Held, released, retried or dropped by the operator or the sender.
    Operated,
}

/// A step that a verb is to note in its own transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// When.
    pub at: Timestamp,
    /// For which recipient; `None` for the whole letter.
    pub recipient: Option<EmailAddress>,
    /// What.
    pub step: Step,
    /// In words: peer, reply, mailbox, reason. At most 1,000 bytes are kept.
    pub detail: String,
}

/// A step as noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JourneyEvent {
    /// Of which letter.
    pub letter: LetterId,
    /// The step.
    pub note: Note,
}

impl Store {
    /// The journey of a letter, in order of time; empty when it is unknown.
    pub async fn journey(&self, letter: LetterId) -> Result<Vec<JourneyEvent>, StoreError> {
        todo!()
    }

    /// Notes steps outside any other verb (for example a route that was found). Not waited for by
    /// any acknowledgement.
    pub async fn note(&self, letter: LetterId, notes: Vec<Note>) -> Result<(), StoreError> {
        todo!()
    }

    /// The letters (newest first, at most `limit`) whose Message-ID is this one, without angle
    /// brackets; for `queue trace` and `demo --send`.
    pub async fn letters_by_message_id(
        &self,
        message_id: &str,
        limit: usize,
    ) -> Result<Vec<LetterId>, StoreError> {
        todo!()
    }
}
