//! An account gets another address, is removed after a grace, or comes back before that is over.

use std::sync::Arc;

use base::{AccountId, EmailAddress, Timestamp};

use super::rows::{address, claim_address, need_domain};
use super::sync::{Changed, note_changes};
use crate::StoreError;
use crate::engine::{Body, Tx, params};
use crate::shared::Shared;

/// Sets when an account is removed, unless that is set already. Gives the time.
pub(super) struct ScheduleRemoval {
    pub id: AccountId,
    pub delete_at: Timestamp,
    pub shared: Arc<Shared>,
}

impl Body for ScheduleRemoval {
    type Out = Timestamp;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Timestamp, StoreError> {
        let sql = "UPDATE account SET delete_at = coalesce(delete_at, $2)
            WHERE account_id = $1 AND removing = 0 RETURNING delete_at";
        let row = tx.row(sql, params![self.id, self.delete_at]).await?;
        let delete_at = row.ok_or(StoreError::NotFound("account"))?.time(0)?;
        note_changes(tx, &[Changed::Account(self.id)]).await?;
        Ok(delete_at)
    }

    fn committed(&self, _: &Timestamp) {
        let mut directory = self.shared.directory_mut();
        directory.change_account(self.id, |account| account.closed = true);
        drop(directory);
        self.shared.directory_changed();
    }
}

/// Takes a removal back.
pub(super) struct Restore {
    pub id: AccountId,
    pub shared: Arc<Shared>,
}

impl Body for Restore {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let sql = "UPDATE account SET delete_at = NULL
            WHERE account_id = $1 AND removing = 0 AND delete_at IS NOT NULL";
        match tx.execute(sql, params![self.id]).await? {
            0 => Err(StoreError::NotFound("removed account")),
            _ => note_changes(tx, &[Changed::Account(self.id)]).await,
        }
    }

    fn committed(&self, (): &()) {
        let mut directory = self.shared.directory_mut();
        directory.change_account(self.id, |account| account.closed = false);
        drop(directory);
        self.shared.directory_changed();
    }
}

/// Gives an account another first address.
pub(super) struct Rename {
    pub id: AccountId,
    pub old: EmailAddress,
    pub new: EmailAddress,
    /// Whether the old address stays, as an alias.
    pub keep_old: bool,
    /// Aliases that lead to the old address: their keys, and the target as it is written there.
    pub aliases: Vec<(String, String)>,
    pub shared: Arc<Shared>,
}

impl Body for Rename {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let new = self.new.to_string();
        let sql = "UPDATE account SET address = $2 WHERE account_id = $1 AND removing = 0
            AND address = $3";
        let old = self.old.to_string();
        let values = params![self.id, &new, &old];
        if tx.execute(sql, values).await? == 0 {
            return Err(StoreError::Busy(
                "the account was changed meanwhile".to_owned(),
            ));
        }
        need_domain(tx, &self.new.domain).await?;
        let old_key = self.old.key();
        let sql = "DELETE FROM address WHERE address_key = $1";
        tx.execute(sql, params![&old_key]).await?;
        self.free_own_alias(tx).await?;
        claim_address(tx, &self.new, Some(self.id)).await?;
        if self.keep_old && old_key != self.new.key() {
            claim_address(tx, &self.old, None).await?;
            lead(tx, &old_key, &new).await?;
        }
        for (alias, target) in &self.aliases {
            let sql = "DELETE FROM alias_target WHERE address_key = $1 AND target = $2";
            if tx.execute(sql, params![alias, target]).await? > 0 {
                lead(tx, alias, &new).await?;
            }
        }
        let mut changes = vec![
            Changed::Account(self.id),
            Changed::Address(old_key),
            Changed::Address(self.new.key()),
        ];
        let aliases = self.aliases.iter();
        changes.extend(aliases.map(|(alias, _)| Changed::Address(alias.clone())));
        note_changes(tx, &changes).await
    }

    fn committed(&self, (): &()) {
        let mut directory = self.shared.directory_mut();
        directory.rename_account(self.id, &self.old, &self.new, self.keep_old);
        drop(directory);
        self.shared.directory_changed();
    }
}

impl Rename {
    /// An alias that leads to this account alone may become its address.
    async fn free_own_alias(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let key = self.new.key();
        let sql = "SELECT target FROM alias_target WHERE address_key = $1";
        let targets = tx.rows(sql, params![&key]).await?;
        if targets.is_empty() {
            return Ok(());
        }
        // A group or a list is more than where it leads.
        let sql = "SELECT 1 FROM address WHERE address_key = $1 AND kind <> 0";
        if tx.row(sql, params![&key]).await?.is_some() {
            return Err(StoreError::Exists("address"));
        }
        for mut row in targets {
            if address(&row.text(0)?)?.key() != self.old.key() {
                return Err(StoreError::Exists("address"));
            }
        }
        let sql = "DELETE FROM alias_target WHERE address_key = $1";
        tx.execute(sql, params![&key]).await?;
        let sql = "DELETE FROM address WHERE address_key = $1 AND account_id IS NULL";
        tx.execute(sql, params![&key]).await?;
        Ok(())
    }
}

async fn lead(tx: &mut Tx<'_>, alias: &str, target: &str) -> Result<(), StoreError> {
    let sql = "INSERT INTO alias_target (address_key, target) VALUES ($1, $2)
        ON CONFLICT (address_key, target) DO NOTHING";
    tx.execute(sql, params![alias, target]).await?;
    Ok(())
}
