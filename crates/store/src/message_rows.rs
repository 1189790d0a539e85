//! Messages in mailboxes: reading, flags, copying, moving, removing.

mod body;
mod change;
mod keywords;
mod read;
pub(crate) mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base::{
    AccountId, LetterId, MailboxId, MessageId, ModSeq, ThreadId, Timestamp, Uid, UidValidity,
};
use bytes::Bytes;

use crate::copies::{Inserted, NewMessage, Place, Stored, insert_message};
use crate::deliver::StoredCopies;
use crate::engine::{Body, Priority, Tx};
use crate::prepare::{Need, Prepared};
use crate::shared::Shared;
use crate::{Letter, Store, StoreError};

pub use body::BodyReader;
pub use keywords::Keywords;

/// Messages that one transaction changes; more are split.
const PIECE: usize = 200;
/// Messages that one snapshot reads; more are split.
const PAGE: usize = 500;

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

impl Store {
    /// The placements of a mailbox by UID, from `from` on, at most `limit`.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn placements(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        from: Uid,
        limit: usize,
    ) -> Result<Vec<PlacementRow>, StoreError> {
        let body = read::Placements {
            account,
            mailbox,
            from,
            limit: i64::try_from(limit).unwrap_or(i64::MAX),
        };
        self.0.engine.read(body).await
    }

    /// What changed in a mailbox since a state.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn mailbox_changes(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        since: ModSeq,
    ) -> Result<MailboxChanges, StoreError> {
        let body = read::Changes {
            account,
            mailbox,
            since,
        };
        self.0.engine.read(body).await
    }

    /// Sizes and dates of messages, in the order asked; unknown ones are left out.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn message_metas(
        &self,
        account: AccountId,
        messages: &[MessageId],
    ) -> Result<Vec<MessageMeta>, StoreError> {
        let mut found = Vec::with_capacity(messages.len());
        for page in messages.chunks(PAGE) {
            let messages = page.to_vec();
            found.extend(
                self.0
                    .engine
                    .read(read::Metas { account, messages })
                    .await?,
            );
        }
        Ok(found)
    }

    /// Envelopes and structures of messages, in the order asked; unknown ones are left out.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn structured(
        &self,
        account: AccountId,
        messages: &[MessageId],
    ) -> Result<Vec<Structured>, StoreError> {
        let mut found = Vec::with_capacity(messages.len());
        for page in messages.chunks(PAGE) {
            let messages = page.to_vec();
            let body = read::StructuredRows { account, messages };
            found.extend(self.0.engine.read(body).await?);
        }
        Ok(found)
    }

    /// Opens a message's bytes for reading.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn body(
        &self,
        account: AccountId,
        message: MessageId,
    ) -> Result<BodyReader, StoreError> {
        let found = self.0.engine.read(body::Open { account, message }).await?;
        Ok(BodyReader::new(self.clone(), found))
    }

    /// Opens the bytes of a few messages at once, reading those of small letters that are in the
    /// database with them. Each has its own error.
    ///
    /// # Errors
    /// Those of reading.
    pub(crate) async fn bodies(
        &self,
        account: AccountId,
        messages: Vec<MessageId>,
    ) -> Result<BTreeMap<MessageId, Result<BodyReader, StoreError>>, StoreError> {
        let opened = self.0.engine.read(body::OpenMany { account, messages });
        let readers = opened.await?.into_iter().map(|(message, opened)| {
            let reader =
                opened.and_then(|(found, part)| BodyReader::with_part(self.clone(), found, part));
            (message, reader)
        });
        Ok(readers.collect())
    }

    /// Stores a message in a mailbox; it is durable on `Ok`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::OverQuota`], [`StoreError::Invalid`] keywords.
    pub async fn append(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        letter: Letter,
        keywords: Keywords,
        received_at: Timestamp,
    ) -> Result<Appended, StoreError> {
        let stored_keywords = keywords.stored()?;
        let prepared = self.prepare(&letter, Need::All).await?;
        let body = Append {
            account,
            mailbox,
            stored_keywords,
            seen: keywords.seen(),
            prepared,
            received_at,
            shared: Arc::clone(&self.0.shared),
        };
        let stored = self.0.engine.write(body, Priority::Urgent).await?;
        Ok(Appended {
            message: stored.copy.message,
            uid: stored.copy.uid,
            uid_validity: stored.uid_validity,
        })
    }

    /// Changes flags; returns the placements as they are now (all that were named and exist), and
    /// the UIDs left alone because of `unchanged_since`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Invalid`] keywords. Changes of many messages are
    /// split; those before an error stay.
    pub async fn set_flags(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        uids: &[Uid],
        change: &FlagChange,
    ) -> Result<(Vec<PlacementRow>, Vec<Uid>), StoreError> {
        change.keywords.stored()?;
        let mut placements = Vec::new();
        let mut unchanged = Vec::new();
        for piece in pieces(uids) {
            let body = change::SetFlags {
                account,
                mailbox,
                uids: piece,
                change: change.clone(),
                now: self.0.shared.now(),
                shared: Arc::clone(&self.0.shared),
            };
            let (now, left) = self.0.engine.write(body, Priority::Urgent).await?;
            placements.extend(now);
            unchanged.extend(left);
        }
        Ok((placements, unchanged))
    }

    /// Copies messages to another mailbox of the account.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::OverQuota`] (where a message is in the target
    /// already, so that the copy is a message of its own). Many messages are split.
    pub async fn copy(
        &self,
        account: AccountId,
        from: MailboxId,
        uids: &[Uid],
        to: MailboxId,
    ) -> Result<Vec<CopiedUid>, StoreError> {
        self.transfer(account, from, uids, to, false).await
    }

    /// Moves messages to another mailbox of the account.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]. Many messages are split.
    pub async fn move_messages(
        &self,
        account: AccountId,
        from: MailboxId,
        uids: &[Uid],
        to: MailboxId,
    ) -> Result<Vec<CopiedUid>, StoreError> {
        self.transfer(account, from, uids, to, true).await
    }

    async fn transfer(
        &self,
        account: AccountId,
        from: MailboxId,
        uids: &[Uid],
        to: MailboxId,
        moves: bool,
    ) -> Result<Vec<CopiedUid>, StoreError> {
        let mut copied = Vec::with_capacity(uids.len());
        for piece in pieces(uids) {
            let body = change::Transfer {
                account,
                from,
                uids: piece,
                to,
                moves,
                now: self.0.shared.now(),
                shared: Arc::clone(&self.0.shared),
            };
            copied.extend(self.0.engine.write(body, Priority::Urgent).await?.copied);
        }
        Ok(copied)
    }

    /// Removes the placements with `\Deleted` (only `uids`, if given); returns the UIDs removed.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]. Many messages are split; those before an error are gone.
    pub async fn expunge(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        uids: Option<&[Uid]>,
    ) -> Result<Vec<Uid>, StoreError> {
        let deleted = read::Deleted { account, mailbox };
        let mut removable = self.0.engine.read(deleted).await?;
        if let Some(uids) = uids {
            let named: BTreeSet<Uid> = uids.iter().copied().collect();
            removable.retain(|uid| named.contains(uid));
        }
        let mut removed = Vec::with_capacity(removable.len());
        for piece in pieces(&removable) {
            let body = change::Expunge {
                account,
                mailbox,
                uids: piece,
                fate: self.fate(),
                now: self.0.shared.now(),
                shared: Arc::clone(&self.0.shared),
            };
            removed.extend(self.0.engine.write(body, Priority::Urgent).await?.removed);
        }
        Ok(removed)
    }
}

/// UIDs in ascending order, each once, in pieces for one transaction.
fn pieces(uids: &[Uid]) -> Vec<Vec<i64>> {
    let all: BTreeSet<i64> = uids.iter().map(|uid| i64::from(uid.0)).collect();
    let all: Vec<i64> = all.into_iter().collect();
    all.chunks(PIECE).map(<[i64]>::to_vec).collect()
}

struct Append {
    account: AccountId,
    mailbox: MailboxId,
    stored_keywords: String,
    seen: bool,
    prepared: Prepared,
    received_at: Timestamp,
    shared: Arc<Shared>,
}

impl Body for Append {
    type Out = Stored;

    fn account(&self) -> Option<AccountId> {
        Some(self.account)
    }

    fn blobs(&self) -> Vec<[u8; 32]> {
        vec![self.prepared.hash]
    }

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Stored, StoreError> {
        let blob_id = crate::blobs::store_blob(tx, &self.prepared).await?;
        let new = NewMessage {
            account: self.account,
            place: Place::Mailbox(self.mailbox),
            keywords: &self.stored_keywords,
            seen: self.seen,
            head: &[],
            letter: None,
            prepared: &self.prepared,
            blob_id,
            received_at: self.received_at,
            now: self.shared.now(),
            over_quota: false,
        };
        match insert_message(tx, &new).await? {
            Inserted::Stored(stored) => Ok(stored),
            Inserted::OverQuota => Err(StoreError::OverQuota),
            Inserted::NoAccount => Err(StoreError::NotFound("account")),
            Inserted::NoMailbox => Err(StoreError::NotFound("mailbox")),
        }
    }

    fn committed(&self, stored: &Stored) {
        StoredCopies::tell(std::slice::from_ref(stored), &self.shared);
    }
}
