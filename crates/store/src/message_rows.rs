//! Messages in mailboxes: reading, flags, copying, moving, removing.

use std::collections::BTreeSet;
use std::ops::Range;

use base::{
    AccountId, LetterId, MailboxId, MessageId, ModSeq, ThreadId, Timestamp, Uid, UidValidity,
};
use bytes::Bytes;

use crate::{Letter, Store, StoreError};

/// The keywords of a message in JMAP form (RFC 8621 §4.1.1): `$seen`, `$flagged`, `$answered`,
/// `$draft`, and any other in lower case. `\Deleted` is not one of them: it belongs to a placement.
#[derive(Clone, Debug, PartialEq, Eq, Default, PartialOrd, Ord)]
pub struct Keywords(pub BTreeSet<Box<str>>);

/// A message's place in a mailbox, and what a list of messages needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacementRow {
    /// Its UID in the mailbox.
    pub uid: Uid,
    /// The message.
    pub message: MessageId,
    /// When it or its keywords last changed.
    pub modseq: ModSeq,
    /// `\Deleted`.
    pub deleted: bool,
    /// The message's keywords.
    pub keywords: Keywords,
}

/// A message without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageMeta {
    /// Its id.
    pub id: MessageId,
    /// Its conversation.
    pub thread: ThreadId,
    /// IMAP INTERNALDATE, JMAP receivedAt.
    pub received_at: Timestamp,
    /// Bytes of head and letter together: RFC822.SIZE.
    pub size: u64,
    /// Bytes of the head alone: offsets of the structure are relative to what follows it.
    pub head_bytes: u32,
    /// The letter whose journey it is, if it came by delivery.
    pub letter: Option<LetterId>,
}

/// A message with its cached envelope and structure (see `message::Envelope`,
/// `message::Structure`).
#[derive(Clone, Debug)]
pub struct Structured {
    /// The message.
    pub meta: MessageMeta,
    /// What we put before the letter.
    pub head: Bytes,
    /// The envelope, encoded.
    pub envelope: Bytes,
    /// The structure, encoded; offsets are relative to the letter, after the head.
    pub structure: Bytes,
    /// The first 256 characters of its text.
    pub preview: String,
}

/// What to do with keywords.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagOp {
    /// These and no others.
    Replace,
    /// Add these.
    Add,
    /// Remove these.
    Remove,
}

/// A change of flags (IMAP STORE).
#[derive(Clone, Debug)]
pub struct FlagChange {
    /// What to do.
    pub op: FlagOp,
    /// With which keywords.
    pub keywords: Keywords,
    /// Whether `\Deleted` is among them.
    pub deleted: bool,
    /// Only messages not changed since (RFC 7162 §3.1.3).
    pub unchanged_since: Option<ModSeq>,
}

/// A copied or moved message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopiedUid {
    /// Its UID where it came from.
    pub from: Uid,
    /// Its UID where it is now.
    pub to: Uid,
}

/// An appended message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The message.
    pub message: MessageId,
    /// Its UID.
    pub uid: Uid,
    /// The epoch of the UID.
    pub uid_validity: UidValidity,
}

/// What changed in a mailbox since a modseq.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxChanges {
    /// Placements that are new or changed, by UID.
    pub changed: Vec<PlacementRow>,
    /// UIDs that are gone, ascending.
    pub vanished: Vec<Uid>,
    /// The state after these changes: pass it to the next call.
    pub until: ModSeq,
    /// UIDNEXT at that state.
    pub uid_next: Uid,
    /// The mailbox is gone.
    pub mailbox_gone: bool,
}

/// Reads a message's bytes piece by piece.
pub struct BodyReader {}

impl BodyReader {
    /// Bytes of the message: head and letter.
    #[must_use]
    pub fn size(&self) -> u64 {
        todo!()
    }

    /// Reads a range (cut to the message's end) of head and letter together.
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        todo!()
    }
}

impl Store {
    /// The placements of a mailbox by UID, from `from` on, at most `limit`.
    pub async fn placements(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        from: Uid,
        limit: usize,
    ) -> Result<Vec<PlacementRow>, StoreError> {
        todo!()
    }

    /// What changed in a mailbox since a state.
    pub async fn mailbox_changes(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        since: ModSeq,
    ) -> Result<MailboxChanges, StoreError> {
        todo!()
    }

    /// Sizes and dates of messages, in the order asked; unknown ones are left out.
    pub async fn message_metas(
        &self,
        account: AccountId,
        messages: &[MessageId],
    ) -> Result<Vec<MessageMeta>, StoreError> {
        todo!()
    }

    /// Envelopes and structures of messages, in the order asked; unknown ones are left out.
    pub async fn structured(
        &self,
        account: AccountId,
        messages: &[MessageId],
    ) -> Result<Vec<Structured>, StoreError> {
        todo!()
    }

    /// Opens a message's bytes for reading.
    pub async fn body(
        &self,
        account: AccountId,
        message: MessageId,
    ) -> Result<BodyReader, StoreError> {
        todo!()
    }

    /// Stores a message in a mailbox; it is durable on `Ok`.
    pub async fn append(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        letter: Letter,
        keywords: Keywords,
        received_at: Timestamp,
    ) -> Result<Appended, StoreError> {
        todo!()
    }

    /// Changes flags; returns the placements as they are now (all that were named and exist), and
    /// the UIDs left alone because of `unchanged_since`.
    pub async fn set_flags(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        uids: &[Uid],
        change: &FlagChange,
    ) -> Result<(Vec<PlacementRow>, Vec<Uid>), StoreError> {
        todo!()
    }

    /// Copies messages to another mailbox of the account.
    pub async fn copy(
        &self,
        account: AccountId,
        from: MailboxId,
        uids: &[Uid],
        to: MailboxId,
    ) -> Result<Vec<CopiedUid>, StoreError> {
        todo!()
    }

    /// Moves messages to another mailbox of the account.
    pub async fn move_messages(
        &self,
        account: AccountId,
        from: MailboxId,
        uids: &[Uid],
        to: MailboxId,
    ) -> Result<Vec<CopiedUid>, StoreError> {
        todo!()
    }

    /// Removes the placements with `\Deleted` (only `uids`, if given); returns the UIDs removed.
    pub async fn expunge(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        uids: Option<&[Uid]>,
    ) -> Result<Vec<Uid>, StoreError> {
        todo!()
    }
}
