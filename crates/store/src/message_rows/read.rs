//! Reading messages and placements.

use std::collections::BTreeMap;

use base::{AccountId, LetterId, MailboxId, MessageId, ModSeq, ThreadId, Uid};

use super::keywords::Kinds;
use super::{Keywords, MailboxChanges, MessageMeta, PlacementRow, Structured};
use crate::StoreError;
use crate::engine::{Body, Passing, Row, Tx, params};

pub(super) fn placement(mut row: Row) -> Result<PlacementRow, StoreError> {
    Ok(PlacementRow {
        uid: Uid(row.u32(0)?),
        message: MessageId(row.int(1)?),
        modseq: ModSeq(row.int(2)?),
        deleted: row.truth(3)?,
        keywords: Keywords::from_stored(&row.text(4)?),
    })
}

fn passing(row: &Passing<'_>, kinds: &mut Kinds) -> Result<PlacementRow, StoreError> {
    Ok(PlacementRow {
        uid: Uid(row.u32(0)?),
        message: MessageId(row.int(1)?),
        modseq: ModSeq(row.int(2)?),
        deleted: row.int(3)? != 0,
        keywords: kinds.read(row.text(4)?),
    })
}

pub(super) struct Placements {
    pub account: AccountId,
    pub mailbox: MailboxId,
    pub from: Uid,
    pub limit: i64,
}

impl Body for Placements {
    type Out = Vec<PlacementRow>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<PlacementRow>, StoreError> {
        let sql = "SELECT uid, message_id, modseq, deleted, keywords FROM placement
            WHERE account_id = $1 AND mailbox_id = $2 AND uid >= $3 ORDER BY uid LIMIT $4";
        let values = params![self.account, self.mailbox, self.from, self.limit];
        let mut found = Vec::new();
        let mut kinds = Kinds::default();
        let mut each = |row: &Passing<'_>| {
            found.push(passing(row, &mut kinds)?);
            Ok(())
        };
        tx.scan(sql, values, &mut each).await?;
        Ok(found)
    }
}

pub(super) struct Changes {
    pub account: AccountId,
    pub mailbox: MailboxId,
    pub since: ModSeq,
}

impl Body for Changes {
    type Out = MailboxChanges;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<MailboxChanges, StoreError> {
        let sql = "SELECT modseq, change_floor FROM account WHERE account_id = $1";
        let account = tx.row(sql, params![self.account]).await?;
        let sql = "SELECT uid_next FROM mailbox WHERE account_id = $1 AND mailbox_id = $2";
        let mailbox = tx.row(sql, params![self.account, self.mailbox]).await?;
        let (Some(account), Some(mailbox)) = (account, mailbox) else {
            return Ok(MailboxChanges {
                changed: Vec::new(),
                vanished: Vec::new(),
                until: self.since,
                uid_next: Uid(1),
                mailbox_gone: true,
            });
        };
        let sql = "SELECT uid, message_id, modseq, deleted, keywords FROM placement
            WHERE account_id = $1 AND mailbox_id = $2 AND modseq > $3";
        let values = params![self.account, self.mailbox, self.since];
        let mut changed = Vec::new();
        let mut kinds = Kinds::default();
        let mut each = |row: &Passing<'_>| {
            changed.push(passing(row, &mut kinds)?);
            Ok(())
        };
        tx.scan(sql, values, &mut each).await?;
        changed.sort_by_key(|placement| placement.uid);
        let uid_next = mailbox.u32(0)?;
        let vanished = if self.since.0 >= account.int(1)? {
            self.vanished(tx).await?
        } else {
            self.missing(tx, uid_next).await?
        };
        Ok(MailboxChanges {
            changed,
            vanished,
            until: ModSeq(account.int(0)?),
            uid_next: Uid(uid_next),
            mailbox_gone: false,
        })
    }
}

impl Changes {
    async fn vanished(&self, tx: &mut Tx<'_>) -> Result<Vec<Uid>, StoreError> {
        let sql = "SELECT uid FROM expunged
            WHERE account_id = $1 AND mailbox_id = $2 AND modseq > $3 ORDER BY uid";
        let values = params![self.account, self.mailbox, self.since];
        let rows = tx.rows(sql, values).await?;
        rows.iter().map(|row| Ok(Uid(row.u32(0)?))).collect()
    }

    /// Every UID that is not there: the log does not reach back far enough (RFC 7162 §3.2.5.2
    /// allows to name more UIDs than have gone).
    async fn missing(&self, tx: &mut Tx<'_>, uid_next: u32) -> Result<Vec<Uid>, StoreError> {
        let sql = "SELECT uid FROM placement WHERE account_id = $1 AND mailbox_id = $2
            ORDER BY uid";
        let mut missing = Vec::new();
        let mut next = 1;
        for row in tx.rows(sql, params![self.account, self.mailbox]).await? {
            let uid = row.u32(0)?;
            missing.extend((next..uid).map(Uid));
            next = uid + 1;
        }
        missing.extend((next..uid_next).map(Uid));
        Ok(missing)
    }
}

/// UIDs with `\Deleted`.
pub(super) struct Deleted {
    pub account: AccountId,
    pub mailbox: MailboxId,
}

impl Body for Deleted {
    type Out = Vec<Uid>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<Uid>, StoreError> {
        let sql = "SELECT uid FROM placement
            WHERE account_id = $1 AND mailbox_id = $2 AND deleted = 1 ORDER BY uid";
        let rows = tx.rows(sql, params![self.account, self.mailbox]).await?;
        rows.iter().map(|row| Ok(Uid(row.u32(0)?))).collect()
    }
}

pub(super) struct Metas {
    pub account: AccountId,
    pub messages: Vec<MessageId>,
}

impl Body for Metas {
    type Out = Vec<MessageMeta>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<MessageMeta>, StoreError> {
        let sql = "SELECT message_id, thread_id, received_at, size, head_bytes, letter_id
            FROM message WHERE account_id = $1 AND message_id IN list($2)";
        let rows = tx
            .rows(
                sql,
                params![self.account, numbers(&self.messages).as_slice()],
            )
            .await?;
        let mut found = BTreeMap::new();
        for row in &rows {
            let meta = meta(row)?;
            found.insert(meta.id, meta);
        }
        let asked = self.messages.iter();
        Ok(asked
            .filter_map(|message| found.get(message).cloned())
            .collect())
    }
}

fn meta(row: &Row) -> Result<MessageMeta, StoreError> {
    Ok(MessageMeta {
        id: MessageId(row.int(0)?),
        thread: ThreadId(row.int(1)?),
        received_at: row.time(2)?,
        size: row.unsigned(3)?,
        head_bytes: row.u32(4)?,
        letter: row.maybe_int(5)?.map(LetterId),
    })
}

pub(super) struct StructuredRows {
    pub account: AccountId,
    pub messages: Vec<MessageId>,
}

impl Body for StructuredRows {
    type Out = Vec<Structured>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<Structured>, StoreError> {
        let sql = "SELECT message_id, thread_id, received_at, size, head_bytes, letter_id, head,
                envelope, structure, preview
            FROM message WHERE account_id = $1 AND message_id IN list($2)";
        let rows = tx
            .rows(
                sql,
                params![self.account, numbers(&self.messages).as_slice()],
            )
            .await?;
        let mut found = BTreeMap::new();
        for mut row in rows {
            let structured = Structured {
                meta: meta(&row)?,
                head: row.bytes(6)?.into(),
                envelope: row.bytes(7)?.into(),
                structure: row.bytes(8)?.into(),
                preview: row.text(9)?,
            };
            found.insert(structured.meta.id, structured);
        }
        let asked = self.messages.iter();
        Ok(asked
            .filter_map(|message| found.get(message).cloned())
            .collect())
    }
}

fn numbers(messages: &[MessageId]) -> Vec<i64> {
    messages.iter().map(|message| message.0).collect()
}
