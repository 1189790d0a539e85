//! Aliases and groups: where they lead, in rows.

use std::sync::Arc;

use base::EmailAddress;

use super::AddressKind;
use super::rows::{address, claim_address, need_domain};
use super::sync::{Changed, note_changes};
use crate::StoreError;
use crate::engine::{Body, Tx, params};
use crate::shared::Shared;

/// Targets of one alias, members of one group, owners of one list.
const TARGETS_MAX: u64 = 1_000;

/// Adds places where an address leads, making it if needed.
pub(super) struct AddTargets {
    pub alias: EmailAddress,
    pub kind: AddressKind,
    /// Whether an address that exists stays of its kind, if that is like the one given.
    pub keeps_kind: bool,
    /// Whether it leads nowhere else any more.
    pub replaces: bool,
    pub targets: Vec<EmailAddress>,
    pub shared: Arc<Shared>,
}

impl Body for AddTargets {
    type Out = AddressKind;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<AddressKind, StoreError> {
        need_domain(tx, &self.alias.domain).await?;
        let key = self.alias.key();
        let kind = self.make(tx, &key).await?;
        if self.replaces {
            let sql = "DELETE FROM alias_target WHERE address_key = $1";
            tx.execute(sql, params![&key]).await?;
        }
        for target in &self.targets {
            let sql = "INSERT INTO alias_target (address_key, target) VALUES ($1, $2)
                ON CONFLICT (address_key, target) DO NOTHING";
            tx.execute(sql, params![&key, &target.to_string()]).await?;
        }
        match count(tx, &key).await? {
            0 => return Err(StoreError::NotFound("group")),
            1..=TARGETS_MAX => {}
            _ => {
                return Err(StoreError::Invalid(format!(
                    "an address leads to at most {TARGETS_MAX} others"
                )));
            }
        }
        note_changes(tx, &[Changed::Address(key)]).await?;
        Ok(kind)
    }

    fn committed(&self, kind: &AddressKind) {
        let mut directory = self.shared.directory_mut();
        if self.replaces {
            directory.remove_address(&self.alias.key());
        }
        directory.add_targets(&self.alias, *kind, &self.targets);
        drop(directory);
        self.shared.directory_changed();
    }
}

impl AddTargets {
    /// Takes the address, or looks that it is what it should be; gives its kind.
    async fn make(&self, tx: &mut Tx<'_>, key: &str) -> Result<AddressKind, StoreError> {
        let known = "SELECT account_id, kind FROM address WHERE address_key = $1 FOR UPDATE";
        let kind = match tx.row(known, params![key]).await? {
            Some(row) if row.maybe_int(0)?.is_some() => return Err(StoreError::Exists("address")),
            Some(row) => {
                let kind = AddressKind::from_number(row.int(1)?);
                if !kind.is_like(self.kind) {
                    return Err(StoreError::Exists("address"));
                }
                if self.keeps_kind {
                    return Ok(kind);
                }
                self.kind
            }
            None => {
                claim_address(tx, &self.alias, None).await?;
                self.kind
            }
        };
        let sql = "UPDATE address SET kind = $2 WHERE address_key = $1";
        tx.execute(sql, params![key, kind.number()]).await?;
        Ok(kind)
    }
}

async fn count(tx: &mut Tx<'_>, key: &str) -> Result<u64, StoreError> {
    let count = "SELECT count(*) FROM alias_target WHERE address_key = $1";
    tx.one(count, params![key]).await?.unsigned(0)
}

/// Takes places out to which an address leads.
pub(super) struct RemoveTargets {
    pub alias: EmailAddress,
    pub targets: Vec<EmailAddress>,
    pub shared: Arc<Shared>,
}

impl Body for RemoveTargets {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let key = self.alias.key();
        let lock = "SELECT 1 FROM address WHERE address_key = $1 FOR UPDATE";
        tx.lock(lock, params![&key]).await?;
        let known = "SELECT target FROM alias_target WHERE address_key = $1";
        let rows = tx.rows(known, params![&key]).await?;
        let gone: Vec<String> = self.targets.iter().map(EmailAddress::key).collect();
        let mut removed = 0;
        for mut row in rows {
            let target = row.text(0)?;
            if gone.contains(&address(&target)?.key()) {
                let sql = "DELETE FROM alias_target WHERE address_key = $1 AND target = $2";
                removed += tx.execute(sql, params![&key, &target]).await?;
            }
        }
        if removed == 0 {
            return Err(StoreError::NotFound("target"));
        }
        if count(tx, &key).await? == 0 {
            return Err(StoreError::Invalid(
                "nobody would be left; remove the address as a whole".to_owned(),
            ));
        }
        note_changes(tx, &[Changed::Address(key)]).await
    }

    fn committed(&self, (): &()) {
        let mut directory = self.shared.directory_mut();
        directory.remove_targets(&self.alias.key(), &self.targets);
        drop(directory);
        self.shared.directory_changed();
    }
}

/// Removes an alias or a group.
pub(super) struct RemoveAlias {
    pub alias: EmailAddress,
    /// What it must be like.
    pub kind: AddressKind,
    pub shared: Arc<Shared>,
}

impl Body for RemoveAlias {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let key = self.alias.key();
        let gone = StoreError::NotFound("address");
        let sql = "SELECT kind FROM address WHERE address_key = $1 AND account_id IS NULL
            FOR UPDATE";
        let row = tx.row(sql, params![&key]).await?;
        let row = row.ok_or_else(|| gone.clone())?;
        if !AddressKind::from_number(row.int(0)?).is_like(self.kind) {
            return Err(gone);
        }
        let sql = "DELETE FROM address WHERE address_key = $1";
        tx.execute(sql, params![&key]).await?;
        let sql = "DELETE FROM alias_target WHERE address_key = $1";
        tx.execute(sql, params![&key]).await?;
        note_changes(tx, &[Changed::Address(key)]).await
    }

    fn committed(&self, (): &()) {
        self.shared
            .directory_mut()
            .remove_address(&self.alias.key());
        self.shared.directory_changed();
    }
}
