//! The rows of placements that several verbs change.

use std::collections::BTreeMap;

use base::{AccountId, MailboxId, Timestamp};

use crate::StoreError;
use crate::blobs::condemn;
use crate::copies::{ChangeKind, Operation, Used, note_change};
use crate::engine::{Tx, params};
use crate::removed::Fate;

/// By how much the counters of mailboxes change in one transaction.
#[derive(Default)]
pub(crate) struct Counters(BTreeMap<MailboxId, Delta>);

/// By how much one mailbox's counters change.
#[derive(Clone, Copy, Default)]
pub(crate) struct Delta {
    pub messages: i64,
    pub unseen: i64,
    pub deleted: i64,
    pub size: i64,
}

impl Counters {
    /// The changes of a mailbox, to add to.
    pub(crate) fn of(&mut self, mailbox: MailboxId) -> &mut Delta {
        self.0.entry(mailbox).or_default()
    }

    /// Writes them; every mailbox named gets the modseq.
    pub(crate) async fn store(
        &self,
        tx: &mut Tx<'_>,
        account: AccountId,
        modseq: i64,
    ) -> Result<(), StoreError> {
        for (mailbox, delta) in &self.0 {
            let sql = "UPDATE mailbox SET messages = messages + $3, unseen = unseen + $4,
                    deleted = deleted + $5, size = size + $6, highest_modseq = $7
                WHERE account_id = $1 AND mailbox_id = $2";
            let values = params![
                account,
                *mailbox,
                delta.messages,
                delta.unseen,
                delta.deleted,
                delta.size,
                modseq
            ];
            tx.send(sql, values).await?;
        }
        Ok(())
    }
}

/// Removes placements; messages that have none left go as their fate is. Gives what the account
/// takes then. UIDs that do not exist are passed over.
pub(crate) async fn remove_placements(
    tx: &mut Tx<'_>,
    (account, mailbox): (AccountId, MailboxId),
    uids: &[i64],
    modseq: i64,
    fate: Fate,
    now: Timestamp,
) -> Result<Used, StoreError> {
    let mut counters = Counters::default();
    let mut bytes = 0_i64;
    let mut messages = 0_i64;
    for uid in uids {
        let sql = "DELETE FROM placement WHERE account_id = $1 AND mailbox_id = $2 AND uid = $3
            RETURNING message_id, seen, deleted, size, keywords";
        let Some(mut row) = tx.row(sql, params![account, mailbox, *uid]).await? else {
            continue;
        };
        let delta = counters.of(mailbox);
        delta.messages -= 1;
        delta.unseen -= i64::from(!row.truth(1)?);
        delta.deleted -= i64::from(row.truth(2)?);
        let size = row.int(3)?;
        delta.size -= size;
        let sql = "INSERT INTO expunged (account_id, mailbox_id, modseq, uid)
            VALUES ($1, $2, $3, $4)";
        tx.send(sql, params![account, mailbox, modseq, *uid])
            .await?;
        let leaving = Leaving {
            account,
            mailbox,
            message: row.int(0)?,
            keywords: row.text(4)?,
            modseq,
            fate,
            now,
        };
        if leaving.is_gone(tx).await? {
            bytes += size;
            messages += 1;
        }
    }
    counters.store(tx, account, modseq).await?;
    let sql = "UPDATE account SET used_bytes = used_bytes - $2, messages = messages - $3,
            removed_bytes = removed_bytes + $4, removed_messages = removed_messages + $5
        WHERE account_id = $1 RETURNING used_bytes, messages";
    let (kept_bytes, kept_messages) = match fate {
        Fate::Kept => (bytes, messages),
        Fate::Gone => (0, 0),
    };
    let values = params![account, bytes, messages, kept_bytes, kept_messages];
    let row = tx.one(sql, values).await?;
    Ok(Used {
        bytes: row.int(0)?,
        messages: row.int(1)?,
    })
}

/// A message that has lost a placement.
struct Leaving {
    account: AccountId,
    mailbox: MailboxId,
    message: i64,
    keywords: String,
    modseq: i64,
    fate: Fate,
    now: Timestamp,
}

impl Leaving {
    /// The message goes with its last placement; whether it did.
    async fn is_gone(&self, tx: &mut Tx<'_>) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM placement WHERE account_id = $1 AND message_id = $2 LIMIT 1";
        let placed = tx.row(sql, params![self.account, self.message]).await?;
        if placed.is_some() {
            self.note(tx, Operation::Updated).await?;
            return Ok(false);
        }
        match self.fate {
            Fate::Kept => self.keep(tx).await?,
            Fate::Gone => {
                let sql = "DELETE FROM message WHERE account_id = $1 AND message_id = $2
                    RETURNING blob_hash";
                let mut row = tx.one(sql, params![self.account, self.message]).await?;
                condemn(tx, &row.hash(0)?, self.now).await?;
            }
        }
        self.note(tx, Operation::Destroyed).await?;
        Ok(true)
    }

    /// The row of the message stays, and with it the blob.
    async fn keep(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let sql = "INSERT INTO removed (account_id, message_id, removed_at, mailbox_id,
                mailbox_name, keywords)
            SELECT account_id, $3, $4, mailbox_id, name, $5 FROM mailbox
            WHERE account_id = $1 AND mailbox_id = $2";
        let values = params![
            self.account,
            self.mailbox,
            self.message,
            self.now,
            &self.keywords
        ];
        tx.execute(sql, values).await?;
        Ok(())
    }

    async fn note(&self, tx: &mut Tx<'_>, operation: Operation) -> Result<(), StoreError> {
        let kind = ChangeKind::Message;
        note_change(
            tx,
            self.account,
            self.modseq,
            kind,
            self.message,
            operation,
            self.now,
        )
        .await
    }
}
