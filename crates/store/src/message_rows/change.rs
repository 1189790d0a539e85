//! Changing placements: flags, copying, moving, removing.

use std::sync::Arc;

use base::{AccountId, MailboxId, MessageId, ModSeq, Timestamp, Uid};

use super::read::placement;
use super::rows::{Counters, remove_placements};
use super::{CopiedUid, FlagChange, FlagOp, Keywords, PlacementRow};
use crate::StoreError;
use crate::copies::{ChangeKind, Operation, Used, next_modseq, note_change};
use crate::engine::{Body, Tx, params};
use crate::removed::Fate;
use crate::shared::Shared;

/// IMAP STORE.
pub(super) struct SetFlags {
    pub account: AccountId,
    pub mailbox: MailboxId,
    pub uids: Vec<i64>,
    pub change: FlagChange,
    pub now: Timestamp,
    pub shared: Arc<Shared>,
}

impl Body for SetFlags {
    type Out = (Vec<PlacementRow>, Vec<Uid>);

    fn account(&self) -> Option<AccountId> {
        Some(self.account)
    }

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Self::Out, StoreError> {
        let modseq = next_modseq(tx, self.account).await?;
        let sql = "SELECT uid, message_id, modseq, deleted, keywords FROM placement
            WHERE account_id = $1 AND mailbox_id = $2 AND uid IN list($3) ORDER BY uid";
        let values = params![self.account, self.mailbox, self.uids.as_slice()];
        let mut placements = Vec::new();
        let mut unchanged = Vec::new();
        let mut counters = Counters::default();
        for row in tx.rows(sql, values).await? {
            let mut placement = placement(row)?;
            let limit = self.change.unchanged_since;
            if limit.is_some_and(|limit| placement.modseq > limit) {
                unchanged.push(placement.uid);
            } else {
                self.apply(tx, &mut placement, modseq, &mut counters)
                    .await?;
            }
            placements.push(placement);
        }
        counters.store(tx, self.account, modseq).await?;
        Ok((placements, unchanged))
    }

    fn committed(&self, _: &Self::Out) {
        self.shared.watches.account_changed(self.account);
    }
}

impl SetFlags {
    async fn apply(
        &self,
        tx: &mut Tx<'_>,
        placement: &mut PlacementRow,
        modseq: i64,
        counters: &mut Counters,
    ) -> Result<(), StoreError> {
        let (keywords, deleted) = changed(&self.change, placement);
        if deleted != placement.deleted {
            let sql = "UPDATE placement SET deleted = $4, modseq = $5
                WHERE account_id = $1 AND mailbox_id = $2 AND uid = $3";
            let values = params![self.account, self.mailbox, placement.uid, deleted, modseq];
            tx.send(sql, values).await?;
            counters.of(self.mailbox).deleted += if deleted { 1 } else { -1 };
            placement.deleted = deleted;
            placement.modseq = ModSeq(modseq);
        }
        if keywords != placement.keywords {
            let seen = keywords.seen();
            let unseen = i64::from(placement.keywords.seen()) - i64::from(seen);
            let stored = keywords.stored()?;
            let sql = "UPDATE placement SET keywords = $3, seen = $4, modseq = $5
                WHERE account_id = $1 AND message_id = $2 RETURNING mailbox_id";
            let values = params![self.account, placement.message, &stored, seen, modseq];
            for row in tx.rows(sql, values).await? {
                counters.of(MailboxId(row.int(0)?)).unseen += unseen;
            }
            let (kind, operation) = (ChangeKind::Message, Operation::Updated);
            let id = placement.message.0;
            note_change(tx, self.account, modseq, kind, id, operation, self.now).await?;
            placement.keywords = keywords;
            placement.modseq = ModSeq(modseq);
        }
        Ok(())
    }
}

/// The keywords and `\Deleted` after a change.
fn changed(change: &FlagChange, placement: &PlacementRow) -> (Keywords, bool) {
    let (old, new) = (&placement.keywords, &change.keywords);
    match change.op {
        FlagOp::Replace => (change.keywords.clone(), change.deleted),
        FlagOp::Add => (old.with(new), placement.deleted || change.deleted),
        FlagOp::Remove => (old.without(new), placement.deleted && !change.deleted),
    }
}

/// IMAP COPY and MOVE.
pub(super) struct Transfer {
    pub account: AccountId,
    pub from: MailboxId,
    pub uids: Vec<i64>,
    pub to: MailboxId,
    pub moves: bool,
    pub now: Timestamp,
    pub shared: Arc<Shared>,
}

/// What became of it.
pub(super) struct Transferred {
    pub copied: Vec<CopiedUid>,
    /// What the account takes now, if that has changed.
    used: Option<Used>,
}

/// A placement that is copied or moved.
struct Source {
    uid: u32,
    message: MessageId,
    deleted: bool,
    seen: bool,
    size: i64,
    keywords: String,
}

impl Body for Transfer {
    type Out = Transferred;

    fn account(&self) -> Option<AccountId> {
        Some(self.account)
    }

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Transferred, StoreError> {
        let account = self.account;
        let modseq = next_modseq(tx, account).await?;
        let sources = self.sources(tx).await?;
        let count = i64::try_from(sources.len()).unwrap_or(i64::MAX);
        let sql = "UPDATE mailbox SET uid_next = uid_next + $3
            WHERE account_id = $1 AND mailbox_id = $2 RETURNING uid_next - $3";
        let row = tx.row(sql, params![account, self.to, count]).await?;
        let first = row.ok_or(StoreError::NotFound("mailbox"))?.u32(0)?;
        let mut copied = Vec::with_capacity(sources.len());
        let mut counters = Counters::default();
        let mut used = None;
        for (uid, source) in (first..).zip(&sources) {
            let message = if self.is_in_target(tx, source).await? {
                let (message, now) = self.duplicate(tx, source, modseq).await?;
                used = Some(now);
                message
            } else {
                source.message
            };
            let delta = counters.of(self.to);
            delta.messages += 1;
            delta.unseen += i64::from(!source.seen);
            delta.deleted += i64::from(source.deleted);
            delta.size += source.size;
            self.place(tx, source, message, uid, modseq).await?;
            copied.push(CopiedUid {
                from: Uid(source.uid),
                to: Uid(uid),
            });
        }
        counters.store(tx, account, modseq).await?;
        if self.moves {
            // All of them are in the target now, so that no message goes here.
            let uids: Vec<i64> = sources.iter().map(|source| i64::from(source.uid)).collect();
            let now = remove_placements(
                tx,
                (account, self.from),
                &uids,
                modseq,
                Fate::Kept,
                self.now,
            )
            .await?;
            used = Some(now);
        }
        Ok(Transferred { copied, used })
    }

    fn committed(&self, out: &Transferred) {
        match out.used {
            Some(used) => self.shared.takes_now(self.account, used),
            None => self.shared.watches.account_changed(self.account),
        }
    }
}

impl Transfer {
    async fn sources(&self, tx: &mut Tx<'_>) -> Result<Vec<Source>, StoreError> {
        let sql = "SELECT uid, message_id, deleted, seen, size, keywords FROM placement
            WHERE account_id = $1 AND mailbox_id = $2 AND uid IN list($3) ORDER BY uid";
        let values = params![self.account, self.from, self.uids.as_slice()];
        let rows = tx.rows(sql, values).await?;
        rows.into_iter()
            .map(|mut row| {
                Ok(Source {
                    uid: row.u32(0)?,
                    message: MessageId(row.int(1)?),
                    deleted: row.truth(2)?,
                    seen: row.truth(3)?,
                    size: row.int(4)?,
                    keywords: row.text(5)?,
                })
            })
            .collect()
    }

    async fn is_in_target(&self, tx: &mut Tx<'_>, source: &Source) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM placement
            WHERE account_id = $1 AND message_id = $2 AND mailbox_id = $3";
        let values = params![self.account, source.message, self.to];
        Ok(tx.row(sql, values).await?.is_some())
    }

    /// A new message on the same blob, for a mailbox that holds the message already. Gives its id
    /// and what the account takes then.
    async fn duplicate(
        &self,
        tx: &mut Tx<'_>,
        source: &Source,
        modseq: i64,
    ) -> Result<(MessageId, Used), StoreError> {
        // A move frees as much as it takes.
        let sql = "UPDATE account SET next_message_id = next_message_id + 1,
                used_bytes = used_bytes + $2, messages = messages + 1
            WHERE account_id = $1
                AND ($3 = 1 OR ((quota_bytes IS NULL OR used_bytes + $2 <= quota_bytes)
                    AND (quota_messages IS NULL OR messages < quota_messages)))
            RETURNING next_message_id - 1, used_bytes, messages";
        let row = tx
            .row(sql, params![self.account, source.size, self.moves])
            .await?;
        let row = row.ok_or(StoreError::OverQuota)?;
        let message = MessageId(row.int(0)?);
        let sql = "INSERT INTO message (account_id, message_id, thread_id, letter_id, received_at,
                size, head_bytes, blob_hash, blob_id, head, envelope, structure, preview)
            SELECT account_id, $3, thread_id, letter_id, received_at, size, head_bytes, blob_hash,
                blob_id, head, envelope, structure, preview
            FROM message WHERE account_id = $1 AND message_id = $2";
        tx.send(sql, params![self.account, source.message, message])
            .await?;
        let (kind, operation) = (ChangeKind::Message, Operation::Created);
        note_change(
            tx,
            self.account,
            modseq,
            kind,
            message.0,
            operation,
            self.now,
        )
        .await?;
        let used = Used {
            bytes: row.int(1)?,
            messages: row.int(2)?,
        };
        Ok((message, used))
    }

    async fn place(
        &self,
        tx: &mut Tx<'_>,
        source: &Source,
        message: MessageId,
        uid: u32,
        modseq: i64,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO placement (account_id, mailbox_id, uid, message_id, modseq, deleted,
                seen, size, saved_at, keywords)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
        let values = params![
            self.account,
            self.to,
            uid,
            message,
            modseq,
            source.deleted,
            source.seen,
            source.size,
            self.now,
            &source.keywords,
        ];
        tx.send(sql, values).await?;
        if message == source.message {
            let (kind, operation) = (ChangeKind::Message, Operation::Updated);
            note_change(
                tx,
                self.account,
                modseq,
                kind,
                message.0,
                operation,
                self.now,
            )
            .await?;
        }
        Ok(())
    }
}

/// IMAP EXPUNGE of the UIDs that still have `\Deleted`.
pub(super) struct Expunge {
    pub account: AccountId,
    pub mailbox: MailboxId,
    pub uids: Vec<i64>,
    pub fate: Fate,
    pub now: Timestamp,
    pub shared: Arc<Shared>,
}

/// What became of it.
pub(super) struct Expunged {
    pub removed: Vec<Uid>,
    used: Used,
}

impl Body for Expunge {
    type Out = Expunged;

    fn account(&self) -> Option<AccountId> {
        Some(self.account)
    }

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Expunged, StoreError> {
        let modseq = next_modseq(tx, self.account).await?;
        let sql = "SELECT uid FROM placement
            WHERE account_id = $1 AND mailbox_id = $2 AND uid IN list($3) AND deleted = 1
            ORDER BY uid";
        let values = params![self.account, self.mailbox, self.uids.as_slice()];
        let mut removed = Vec::new();
        for row in tx.rows(sql, values).await? {
            removed.push(Uid(row.u32(0)?));
        }
        let uids: Vec<i64> = removed.iter().map(|uid| i64::from(uid.0)).collect();
        let (account, mailbox) = (self.account, self.mailbox);
        let used =
            remove_placements(tx, (account, mailbox), &uids, modseq, self.fate, self.now).await?;
        Ok(Expunged { removed, used })
    }

    fn committed(&self, out: &Expunged) {
        self.shared.takes_now(self.account, out.used);
    }
}
