//! What goes when its time is over: accounts that were removed, old mail in Trash and Junk, and
//! deleted mail that can be recovered. Part of the background work that one node does; all goes in
//! pieces behind the work that somebody waits for.

use std::sync::Arc;
use std::time::Duration;

use base::{AccountId, MailboxId, Timestamp};

use crate::copies::{Used, next_modseq};
use crate::engine::{Body, Priority, Tx, params};
use crate::message_rows::rows::remove_placements;
use crate::removed::{Fate, PIECE};
use crate::shared::Shared;
use crate::{RemovedFilter, Role, Store, StoreError};

impl Store {
    /// One round.
    pub(crate) async fn keep_retention(&self, now: Timestamp) -> Result<(), StoreError> {
        for account in self.0.engine.read(DueAccounts { now }).await? {
            // It may have been restored since.
            match self.remove_account_if_due(account, now).await {
                Ok(()) => tracing::info!(%account, "a removed account's time is over: it is gone"),
                Err(StoreError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let retention = self.0.limits.retention;
        self.empty(Role::Trash, retention.trash, now).await?;
        self.empty(Role::Junk, retention.junk, now).await?;
        self.forget_old(retention.deleted, now).await
    }

    /// Deletes what has been in the mailboxes of a role for too long.
    async fn empty(
        &self,
        role: Role,
        kept_for: Duration,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if kept_for.is_zero() {
            return Ok(());
        }
        let before = now - kept_for;
        for (account, mailbox) in self.0.engine.read(FullMailboxes { role, before }).await? {
            let mut messages = 0;
            loop {
                let piece = EmptyPiece {
                    account,
                    mailbox,
                    before,
                    fate: self.fate(),
                    now: self.0.shared.now(),
                    shared: Arc::clone(&self.0.shared),
                };
                match self.0.engine.write(piece, Priority::Bulk).await {
                    Ok(emptied) if emptied.messages == 0 => break,
                    Ok(emptied) => messages += emptied.messages,
                    // The account was removed meanwhile.
                    Err(StoreError::NotFound(_)) => break,
                    Err(error) => return Err(error),
                }
            }
            tracing::info!(%account, mailbox = ?role, messages, "old mail was deleted");
        }
        Ok(())
    }

    async fn forget_old(&self, kept_for: Duration, now: Timestamp) -> Result<(), StoreError> {
        let filter = RemovedFilter {
            until: Some(now - kept_for),
            ..RemovedFilter::default()
        };
        for account in self.0.engine.read(Forgetful).await? {
            let messages = self.forget_removed(account, &filter).await?;
            if messages > 0 {
                tracing::info!(%account, messages, "deleted mail was forgotten");
            }
        }
        Ok(())
    }
}

/// Accounts that were removed and whose time is over.
struct DueAccounts {
    now: Timestamp,
}

impl Body for DueAccounts {
    type Out = Vec<AccountId>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<AccountId>, StoreError> {
        // Background work looks across accounts; so do the two below.
        let sql = "SELECT account_id FROM account WHERE removing = 0 AND delete_at <= $1";
        let rows = tx.rows(sql, params![self.now]).await?;
        rows.iter().map(|row| Ok(AccountId(row.int(0)?))).collect()
    }
}

/// Accounts with deleted mail that can be recovered.
struct Forgetful;

impl Body for Forgetful {
    type Out = Vec<AccountId>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<AccountId>, StoreError> {
        let sql = "SELECT account_id FROM account WHERE removing = 0 AND removed_messages > 0";
        let rows = tx.rows(sql, &[]).await?;
        rows.iter().map(|row| Ok(AccountId(row.int(0)?))).collect()
    }
}

/// Mailboxes of a role whose first message came before a time. UIDs are given out in the order of
/// time, so that the first is the oldest; where a clock was set back, it goes a little later.
struct FullMailboxes {
    role: Role,
    before: Timestamp,
}

impl Body for FullMailboxes {
    type Out = Vec<(AccountId, MailboxId)>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Self::Out, StoreError> {
        let sql = "SELECT b.account_id, b.mailbox_id
            FROM mailbox b WHERE b.role = $1 AND b.messages > 0 AND (SELECT p.saved_at FROM placement p
                WHERE p.account_id = b.account_id AND p.mailbox_id = b.mailbox_id
                ORDER BY p.uid LIMIT 1) <= $2
            ORDER BY b.account_id, b.mailbox_id";
        let rows = tx
            .rows(sql, params![self.role.number(), self.before])
            .await?;
        rows.iter()
            .map(|row| Ok((AccountId(row.int(0)?), MailboxId(row.int(1)?))))
            .collect()
    }
}

/// Deletes some of the messages that came before a time.
struct EmptyPiece {
    account: AccountId,
    mailbox: MailboxId,
    before: Timestamp,
    fate: Fate,
    now: Timestamp,
    shared: Arc<Shared>,
}

struct Emptied {
    messages: u64,
    used: Used,
}

impl Body for EmptyPiece {
    type Out = Emptied;

    fn account(&self) -> Option<AccountId> {
        Some(self.account)
    }

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Emptied, StoreError> {
        let (account, mailbox) = (self.account, self.mailbox);
        let modseq = next_modseq(tx, account).await?;
        let sql = "SELECT uid, saved_at FROM placement WHERE account_id = $1 AND mailbox_id = $2
            ORDER BY uid LIMIT $3";
        let mut uids = Vec::new();
        for row in tx.rows(sql, params![account, mailbox, PIECE]).await? {
            if row.time(1)? <= self.before {
                uids.push(row.int(0)?);
            }
        }
        let used = remove_placements(tx, (account, mailbox), &uids, modseq, self.fate, self.now);
        Ok(Emptied {
            messages: uids.len() as u64,
            used: used.await?,
        })
    }

    fn committed(&self, out: &Emptied) {
        self.shared.takes_now(self.account, out.used);
    }
}
