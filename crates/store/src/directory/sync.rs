//! The directory of many nodes: what one changes, the others read.
//!
//! Each change has a number, given in its own transaction, and a row that says what it is about.
//! A node that knows all changes up to a number reads what came after, and for each the rows as
//! they are now: so an order of arrival does not matter. A node too far behind reads all.
//!
//! With the embedded engine nothing is written: memory is changed after each commit, in order.

use std::collections::BTreeSet;

use base::{AccountId, Domain, EmailAddress};

use super::memory::{Account, Directory, Quota};
use super::rights::read_rights;
use super::sending::{AccountSending, from_columns, limits_of_account, limits_of_domain};
use super::{AddressKind, AuthorCheck, DomainInfo, LoadDirectory, address};
use crate::copies::Used;
use crate::engine::{Body, Tx, params};
use crate::{Store, StoreError};

/// Changes that are kept for nodes that are behind.
const CHANGES_KEPT: i64 = 10_000;
/// Changes that are read one by one; a node further behind reads the whole directory.
const CHANGES_READ_MAX: i64 = 2_000;

/// What a change is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Changed {
    /// A domain, by name.
    Domain(String),
    /// An account, with its addresses when it is gone.
    Account(AccountId),
    /// An address or alias, by its key.
    Address(String),
}

/// Notes changes for the other nodes. To be called by every transaction that changes rows which
/// [`Directory`] keeps in memory, as its last step: it locks what all such transactions lock.
pub(crate) async fn note_changes(tx: &mut Tx<'_>, changes: &[Changed]) -> Result<(), StoreError> {
    if !tx.is_shared() {
        return Ok(());
    }
    for change in changes {
        let number = "INSERT INTO sequence (name, next) VALUES ('directory', 1)
            ON CONFLICT (name) DO UPDATE SET next = sequence.next + 1 RETURNING next";
        let version = tx.one(number, &[]).await?.int(0)?;
        let sql = "INSERT INTO directory_change (version, kind, key) VALUES ($1, $2, $3)";
        let (kind, key) = change.stored();
        tx.send(sql, params![version, kind, &key]).await?;
    }
    Ok(())
}

impl Changed {
    fn stored(&self) -> (i64, String) {
        match self {
            Self::Domain(name) => (1, name.clone()),
            Self::Account(id) => (2, id.0.to_string()),
            Self::Address(key) => (3, key.clone()),
        }
    }

    /// `None` for one of a newer program: then all is read again.
    fn from_stored(kind: i64, key: String) -> Option<Self> {
        match kind {
            1 => Some(Self::Domain(key)),
            2 => Some(Self::Account(AccountId(key.parse().ok()?))),
            3 => Some(Self::Address(key)),
            _ => None,
        }
    }
}

impl Store {
    /// Takes over what other nodes have changed in the directory. When it returns, memory is as new
    /// as the database was when it was called.
    pub(crate) async fn catch_up(&self) -> Result<(), StoreError> {
        let shared = &self.0.shared;
        if !shared.nodes.is_shared() {
            return Ok(());
        }
        let turn = shared.catching_up.lock().await;
        let after = shared.directory().version;
        match self.0.engine.read(ReadNews { after }).await? {
            News::Nothing => {}
            News::Some(news, version) => {
                let mut directory = shared.directory_mut();
                for one in news {
                    one.apply(&mut directory);
                }
                directory.version = version;
            }
            News::TooMany => {
                let separator = self.0.limits.sub_address_separator;
                let fresh = self.0.engine.read(LoadDirectory { separator }).await?;
                *shared.directory_mut() = fresh;
            }
        }
        drop(turn);
        Ok(())
    }

    /// Reads anew what accounts take and may take: memory only knows what this node has changed.
    pub(super) async fn refresh_usage(&self, accounts: Vec<AccountId>) -> Result<(), StoreError> {
        let found = self.0.engine.read(ReadAccounts { accounts }).await?;
        let mut directory = self.0.shared.directory_mut();
        for (id, account) in found {
            directory.change_account(id, |known| *known = account);
        }
        Ok(())
    }
}

/// A change as it is to be taken over.
enum New {
    Domain(Domain, Option<DomainInfo>),
    Account(AccountId, Option<Account>),
    /// An address of an account, or an alias with its targets; by its key if it is gone.
    Address(EmailAddress, AccountId),
    Alias(EmailAddress, AddressKind, Vec<EmailAddress>),
    NoAddress(String),
}

enum News {
    Nothing,
    Some(Vec<New>, i64),
    TooMany,
}

impl New {
    fn apply(self, directory: &mut Directory) {
        match self {
            Self::Domain(_, Some(info)) => directory.set_domain(&info),
            Self::Domain(domain, None) => directory.remove_domain(&domain),
            Self::Account(id, Some(account)) => directory.renew_account(id, account),
            Self::Account(id, None) => directory.remove_account(id),
            Self::Address(address, id) => directory.set_address(&address, id),
            Self::Alias(alias, kind, targets) => {
                directory.remove_address(&alias.key());
                directory.add_targets(&alias, kind, &targets);
            }
            Self::NoAddress(key) => directory.remove_address(&key),
        }
    }
}

/// Reads what has changed after a number.
struct ReadNews {
    after: i64,
}

impl Body for ReadNews {
    type Out = News;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<News, StoreError> {
        let version = read_version(tx).await?;
        if version == self.after {
            return Ok(News::Nothing);
        }
        let sql = "SELECT kind, key FROM directory_change WHERE version > $1 ORDER BY version
            LIMIT $2";
        let rows = tx.rows(sql, params![self.after, CHANGES_READ_MAX]).await?;
        // Some are missing: trimmed away, or more than are read.
        if i64::try_from(rows.len()).ok() != Some(version - self.after) {
            return Ok(News::TooMany);
        }
        let mut changes = BTreeSet::new();
        for mut row in rows {
            match Changed::from_stored(row.int(0)?, row.text(1)?) {
                Some(change) => changes.insert(change),
                None => return Ok(News::TooMany),
            };
        }
        let mut news = Vec::with_capacity(changes.len());
        for change in changes {
            news.push(read_change(tx, change).await?);
        }
        Ok(News::Some(news, version))
    }
}

/// The number of the last change.
pub(super) async fn read_version(tx: &mut Tx<'_>) -> Result<i64, StoreError> {
    let sql = "SELECT next FROM sequence WHERE name = 'directory'";
    tx.row(sql, &[]).await?.map_or(Ok(0), |row| row.int(0))
}

async fn read_change(tx: &mut Tx<'_>, change: Changed) -> Result<New, StoreError> {
    match change {
        Changed::Domain(name) => {
            let sql = "SELECT created_at, author_check FROM domain WHERE name = $1";
            let domain = super::domain(&name)?;
            let info = match tx.row(sql, params![&name]).await? {
                Some(row) => Some(DomainInfo {
                    domain: domain.clone(),
                    created_at: row.time(0)?,
                    author_check: AuthorCheck::from_number(row.int(1)?),
                    send_limits: limits_of_domain(tx, &domain).await?,
                }),
                None => None,
            };
            Ok(New::Domain(domain, info))
        }
        Changed::Account(id) => Ok(New::Account(id, read_account(tx, id).await?)),
        Changed::Address(key) => {
            let sql = "SELECT address, account_id, kind FROM address WHERE address_key = $1";
            let Some(mut row) = tx.row(sql, params![&key]).await? else {
                return Ok(New::NoAddress(key));
            };
            let named = address(&row.text(0)?)?;
            if let Some(id) = row.maybe_int(1)? {
                return Ok(New::Address(named, AccountId(id)));
            }
            let kind = AddressKind::from_number(row.int(2)?);
            let sql = "SELECT target FROM alias_target WHERE address_key = $1";
            let rows = tx.rows(sql, params![&key]).await?.into_iter();
            let targets = rows.map(|mut row| address(&row.text(0)?));
            Ok(New::Alias(named, kind, targets.collect::<Result<_, _>>()?))
        }
    }
}

async fn read_account(tx: &mut Tx<'_>, id: AccountId) -> Result<Option<Account>, StoreError> {
    let sql = "SELECT enabled, admin, quota_bytes, quota_messages, used_bytes, messages,
            delete_at, address, send_held_at, send_held_told, send_free_until, strict_until
        FROM account WHERE account_id = $1 AND removing = 0";
    let Some(mut row) = tx.row(sql, params![id]).await? else {
        return Ok(None);
    };
    Ok(Some(Account {
        address: address(&row.text(7)?)?,
        rights: read_rights(tx, id).await?,
        sending: AccountSending {
            limits: limits_of_account(tx, id).await?,
            ..from_columns(row.maybe_int(8)?, row.truth(9)?, row.int(10)?, row.int(11)?)
        },
        enabled: row.truth(0)?,
        closed: row.maybe_int(6)?.is_some(),
        admin: row.truth(1)?,
        quota: Quota {
            bytes: row.maybe_int(2)?,
            messages: row.maybe_int(3)?,
        },
        used: Used {
            bytes: row.int(4)?,
            messages: row.int(5)?,
        },
    }))
}

struct ReadAccounts {
    accounts: Vec<AccountId>,
}

impl Body for ReadAccounts {
    type Out = Vec<(AccountId, Account)>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Self::Out, StoreError> {
        let mut found = Vec::with_capacity(self.accounts.len());
        for id in &self.accounts {
            if let Some(account) = read_account(tx, *id).await? {
                found.push((*id, account));
            }
        }
        Ok(found)
    }
}

/// Forgets changes that no node needs: one that is further behind reads all.
pub(crate) struct TrimDirectoryChanges;

impl Body for TrimDirectoryChanges {
    type Out = u64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<u64, StoreError> {
        let oldest = read_version(tx).await? - CHANGES_KEPT;
        let sql = "DELETE FROM directory_change WHERE version <= $1";
        tx.execute(sql, params![oldest]).await
    }
}
