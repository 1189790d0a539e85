//! The rows of placements that several verbs change.

use std::collections::BTreeMap;

use base::{AccountId, MailboxId, Timestamp};

use crate::StoreError;
use crate::blobs::condemn;
use crate::copies::{ChangeKind, Operation, Used, note_change};
use crate::engine::{Tx, params};

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

/// Removes placements, and messages that have none left. Gives what the account takes then.
/// UIDs that do not exist are passed over.
pub(crate) async fn remove_placements(
    tx: &mut Tx<'_>,
    account: AccountId,
    mailbox: MailboxId,
    uids: &[i64],
    modseq: i64,
    now: Timestamp,
) -> Result<Used, StoreError> {
    let mut counters = Counters::default();
    let mut bytes = 0_i64;
    let mut messages = 0_i64;
    for uid in uids {
        let sql = "DELETE FROM placement WHERE account_id = $1 AND mailbox_id = $2 AND uid = $3
            RETURNING message_id, seen, deleted, size";
        let Some(row) = tx.row(sql, params![account, mailbox, *uid]).await? else {
            continue;
        };
        let delta = counters.of(mailbox);
        delta.messages -= 1;
        delta.unseen -= i64::from(!row.truth(1)?);
        delta.deleted -= i64::from(row.truth(2)?);
        delta.size -= row.int(3)?;
        let sql = "INSERT INTO expunged (account_id, mailbox_id, modseq, uid)
            VALUES ($1, $2, $3, $4)";
        tx.send(sql, params![account, mailbox, modseq, *uid])
            .await?;
        if let Some(freed) = leave_mailbox(tx, account, row.int(0)?, modseq, now).await? {
            bytes += freed;
            messages += 1;
        }
    }
    counters.store(tx, account, modseq).await?;
    let sql = "UPDATE account SET used_bytes = used_bytes - $2, messages = messages - $3
        WHERE account_id = $1 RETURNING used_bytes, messages";
    let row = tx.one(sql, params![account, bytes, messages]).await?;
    Ok(Used {
        bytes: row.int(0)?,
        messages: row.int(1)?,
    })
}

/// A message has lost a placement: it goes with its last one. Gives the bytes that are free then.
async fn leave_mailbox(
    tx: &mut Tx<'_>,
    account: AccountId,
    message: i64,
    modseq: i64,
    now: Timestamp,
) -> Result<Option<i64>, StoreError> {
    let kind = ChangeKind::Message;
    let sql = "SELECT 1 FROM placement WHERE account_id = $1 AND message_id = $2 LIMIT 1";
    if tx.row(sql, params![account, message]).await?.is_some() {
        note_change(tx, account, modseq, kind, message, Operation::Updated, now).await?;
        return Ok(None);
    }
    let sql = "DELETE FROM message WHERE account_id = $1 AND message_id = $2
        RETURNING blob_hash, size";
    let mut row = tx.one(sql, params![account, message]).await?;
    condemn(tx, &row.hash(0)?, now).await?;
    note_change(
        tx,
        account,
        modseq,
        kind,
        message,
        Operation::Destroyed,
        now,
    )
    .await?;
    Ok(Some(row.int(1)?))
}
