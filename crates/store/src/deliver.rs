//! Letters come in: stored for local recipients, queued for others, each in one durable commit.

use base::{AccountId, EmailAddress, LetterId, MailboxId, MessageId, Timestamp, Uid};
use bytes::Bytes;

use crate::{DsnReturn, Keywords, Letter, Note, QueueRecipient, Role, Store, StoreError};

/// One local copy to be stored.
#[derive(Clone, Debug)]
pub struct LocalRecipient {
    /// Whose mailbox.
    pub account: AccountId,
    /// The address that led here, for the journey.
    pub address: EmailAddress,
    /// The mailbox by role; one that is missing falls back to the inbox.
    pub mailbox: Role,
    /// Keywords to set.
    pub keywords: Keywords,
    /// What stands before the letter for this reader: Return-Path, Delivered-To, Received, …;
    /// complete header fields with CRLF.
    pub head: Bytes,
}

/// A letter taken from another server.
pub struct Delivery {
    /// The letter as received.
    pub letter: Letter,
    /// The reverse-path; `None` is `<>`.
    pub reverse_path: Option<EmailAddress>,
    /// The recipients of the envelope as given, in order; part of the key by which a repeated
    /// delivery is known.
    pub envelope: Vec<EmailAddress>,
    /// Local copies.
    pub local: Vec<LocalRecipient>,
    /// Recipients elsewhere that aliases lead to; queued in the same commit.
    pub forwards: Vec<QueueRecipient>,
    /// What stands before the letter when it is forwarded (Received, …).
    pub forward_head: Bytes,
    /// When it was received.
    pub received_at: Timestamp,
    /// When forwarding is given up.
    pub expires_at: Timestamp,
    /// Steps to note.
    pub notes: Vec<Note>,
    /// Earlier letters of this connection whose replies the peer has surely seen.
    pub confirms: Vec<LetterId>,
}

/// What became of a delivery.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// The letter's name in journey and log.
    pub letter: LetterId,
    /// The copies stored; empty if `repeated`.
    pub stored: Vec<StoredCopy>,
    /// Whether it equals a letter whose reply was never confirmed, and so was not stored again.
    pub repeated: bool,
}

/// A copy in a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredCopy {
    /// Whose.
    pub account: AccountId,
    /// The message.
    pub message: MessageId,
    /// The mailbox.
    pub mailbox: MailboxId,
    /// Its UID there.
    pub uid: Uid,
}

/// A letter to be sent: by a user, or by us (a report).
#[derive(Clone)]
pub struct Submission {
    /// The letter as received.
    pub letter: Letter,
    /// What stands before it when it is sent on (Received; missing Date or Message-ID).
    pub head: Bytes,
    /// Who sends; `None` for our own reports.
    pub account: Option<AccountId>,
    /// The reverse-path; `None` is `<>`.
    pub reverse_path: Option<EmailAddress>,
    /// To whom; at least one.
    pub recipients: Vec<QueueRecipient>,
    /// RFC 3461 ENVID, decoded.
    pub envelope_id: Option<String>,
    /// RFC 3461 RET.
    pub dsn_return: DsnReturn,
    /// Whether the envelope or header needs SMTPUTF8.
    pub needs_utf8: bool,
    /// When it was received.
    pub received_at: Timestamp,
    /// Not to be tried before.
    pub hold_until: Option<Timestamp>,
    /// When it is given up.
    pub expires_at: Timestamp,
    /// The mailbox of `account` that gets a copy in the same commit.
    pub sent_copy: Option<Role>,
    /// Steps to note.
    pub notes: Vec<Note>,
}

impl Store {
    /// Stores and forwards a letter from another server in one commit; it is durable on `Ok`.
    ///
    /// # Errors
    /// [`StoreError::OverQuota`] only if no recipient at all could take it.
    pub async fn deliver(&self, delivery: Delivery) -> Result<Delivered, StoreError> {
        todo!()
    }

    /// Says that the peer has seen the replies for these letters (it sent another command, or
    /// closed properly). Durable some time later.
    pub async fn confirm(&self, letters: Vec<LetterId>) -> Result<(), StoreError> {
        todo!()
    }

    /// Queues a letter in one commit; it is durable on `Ok`.
    pub async fn submit(&self, submission: Submission) -> Result<LetterId, StoreError> {
        todo!()
    }
}
