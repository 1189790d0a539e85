//! Domains, accounts, addresses and aliases. Look-ups are answered from memory.
//!
//! The rows are in [`rows`], what is kept in memory in [`memory`]; the verbs join them. Memory is
//! changed after the commit and before its acknowledgement. Where nodes share a database, [`sync`]
//! takes over what others change, and no address is refused before the database was asked.

mod lifecycle;
mod memory;
mod rights;
mod rows;
mod sync;

use std::sync::Arc;

use base::{AccountId, Domain, EmailAddress, Secret, Timestamp};

use crate::engine::Priority;
use crate::{Store, StoreError};

pub(crate) use memory::{Directory, Quota};
pub use rights::{AuthorCheck, SendRight, SendingAs};
use rows::RemovePiece;
pub(crate) use rows::{LoadDirectory, address, domain, signed};
pub(crate) use sync::TrimDirectoryChanges;

/// A domain whose mail is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainInfo {
    /// Its name.
    pub domain: Domain,
    /// Since when.
    pub created_at: Timestamp,
    /// Whether the authors that letters of its accounts name are checked.
    pub author_check: AuthorCheck,
}

/// What a new account starts with.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// Its first address; the domain must be ours.
    pub address: EmailAddress,
    /// The person's name, for people.
    pub name: String,
    /// The password; without one nobody can log in.
    pub password: Option<Secret>,
    /// The most bytes its mail may take; `None` for no limit.
    pub quota_bytes: Option<u64>,
    /// The most messages it may hold; `None` for no limit.
    pub quota_messages: Option<u64>,
    /// Whether mail to postmaster@ and abuse@ of every domain reaches it.
    pub admin: bool,
}

/// An account, for lists.
#[derive(Clone, Debug)]
pub struct AccountInfo {
    /// Its id.
    pub id: AccountId,
    /// Its first address.
    pub address: EmailAddress,
    /// The person's name.
    pub name: String,
    /// The most bytes its mail may take.
    pub quota_bytes: Option<u64>,
    /// The most messages it may hold.
    pub quota_messages: Option<u64>,
    /// The bytes its mail takes.
    pub used_bytes: u64,
    /// The messages it holds.
    pub messages: u64,
    /// The bytes of deleted messages that can be recovered; they do not count against its quotas.
    pub removed_bytes: u64,
    /// The number of those messages.
    pub removed_messages: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it is removed, if it was told to go.
    pub delete_at: Option<Timestamp>,
    /// Whether it may log in and receive.
    pub enabled: bool,
    /// Whether postmaster@ reaches it.
    pub admin: bool,
}

/// What becomes of one of an account's quotas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaChange {
    /// It stays as it is.
    Keep,
    /// There is no limit any more.
    Lift,
    /// So many bytes or messages at most.
    AtMost(u64),
}

/// An alias and where its mail goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AliasInfo {
    /// The alias.
    pub address: EmailAddress,
    /// Its targets, here or elsewhere.
    pub targets: Vec<EmailAddress>,
}

/// Where mail to an address goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// The domain is not ours.
    NotOurs,
    /// The domain is ours, the user does not exist.
    Unknown,
    /// It exists and takes no mail now.
    Refused(Refusal),
    /// It goes to these (an alias may have several; at least one, no doubles).
    Targets(Vec<Target>),
}

/// Why an existing account takes no mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Disabled by the operator.
    Disabled,
    /// Removed by the operator; it can still be restored.
    Closed,
    /// Over its quota.
    OverQuota,
    /// An alias that leads to itself or through too many others.
    AliasLoop,
}

/// One place where mail to an address goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// An account here.
    Account(AccountId),
    /// An address elsewhere.
    Address(EmailAddress),
}

impl Store {
    /// Makes a domain ours.
    ///
    /// # Errors
    /// [`StoreError::Exists`].
    pub async fn add_domain(&self, domain: &Domain) -> Result<(), StoreError> {
        let body = rows::AddDomain {
            info: DomainInfo {
                domain: domain.clone(),
                created_at: self.0.shared.now(),
                author_check: AuthorCheck::default(),
            },
            shared: Arc::clone(&self.0.shared),
        };
        self.0.engine.write(body, Priority::Urgent).await
    }

    /// Gives a domain up; refused while accounts or aliases use it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Invalid`].
    pub async fn remove_domain(&self, domain: &Domain) -> Result<(), StoreError> {
        let body = rows::RemoveDomain {
            domain: domain.clone(),
            shared: Arc::clone(&self.0.shared),
        };
        self.0.engine.write(body, Priority::Urgent).await
    }

    /// All domains, by name.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn domains(&self) -> Result<Vec<DomainInfo>, StoreError> {
        self.catch_up().await?;
        Ok(self.0.shared.directory().domains())
    }

    /// Makes an account with its standard mailboxes.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for a domain that is not ours, [`StoreError::Exists`].
    pub async fn add_account(&self, new: NewAccount) -> Result<AccountId, StoreError> {
        let credential = match &new.password {
            Some(password) => Some(self.make_credential(password).await?),
            None => None,
        };
        let body = rows::AddAccount {
            address: new.address,
            name: new.name,
            credential,
            quota: Quota::new(new.quota_bytes, new.quota_messages),
            admin: new.admin,
            now: self.0.shared.now(),
            shared: Arc::clone(&self.0.shared),
        };
        self.0.engine.write(body, Priority::Urgent).await
    }

    /// All accounts, by address.
    ///
    /// # Errors
    /// None; the form of all verbs.
    pub async fn accounts(&self) -> Result<Vec<AccountInfo>, StoreError> {
        let mut accounts = self.0.engine.read(rows::Accounts { only: None }).await?;
        accounts.sort_by(|a, b| {
            (&a.address.domain, &a.address.local).cmp(&(&b.address.domain, &b.address.local))
        });
        Ok(accounts)
    }

    /// One account.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn account(&self, id: AccountId) -> Result<AccountInfo, StoreError> {
        let found = self
            .0
            .engine
            .read(rows::Accounts { only: Some(id) })
            .await?;
        found
            .into_iter()
            .next()
            .ok_or(StoreError::NotFound("account"))
    }

    /// The account that an address (or one of its exact aliases) names.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn account_by_address(
        &self,
        address: &EmailAddress,
    ) -> Result<Option<AccountId>, StoreError> {
        let known = self.0.shared.directory().account_by_address(address);
        if known.is_some() {
            return Ok(known);
        }
        self.catch_up().await?;
        Ok(self.0.shared.directory().account_by_address(address))
    }

    /// Removes an account and all its mail at once, in pieces.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn remove_account(&self, id: AccountId) -> Result<(), StoreError> {
        self.close_account(id, None).await
    }

    /// Removes an account that was told to go, if its time is over and it was not restored.
    pub(crate) async fn remove_account_if_due(
        &self,
        id: AccountId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.close_account(id, Some(now)).await
    }

    async fn close_account(
        &self,
        id: AccountId,
        due_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let body = rows::CloseAccount {
            id,
            due_at,
            shared: Arc::clone(&self.0.shared),
        };
        self.0.engine.write(body, Priority::Urgent).await?;
        self.0.passwords.forget();
        self.remove_rest(id).await
    }

    /// Tells an account to go: it neither logs in nor receives, and is removed with its mail when
    /// the grace of the limits is over. Until then its addresses stay taken. Gives the time; a
    /// second call does not change it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn schedule_removal(&self, id: AccountId) -> Result<Timestamp, StoreError> {
        let body = lifecycle::ScheduleRemoval {
            id,
            delete_at: self.0.shared.now() + self.0.limits.retention.account,
            shared: Arc::clone(&self.0.shared),
        };
        let delete_at = self.0.engine.write(body, Priority::Urgent).await?;
        self.0.passwords.forget();
        Ok(delete_at)
    }

    /// Takes a removal back: the account is as it was.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if it was not told to go.
    pub async fn restore_account(&self, id: AccountId) -> Result<(), StoreError> {
        let body = lifecycle::Restore {
            id,
            shared: Arc::clone(&self.0.shared),
        };
        self.0.engine.write(body, Priority::Urgent).await
    }

    /// Gives an account another first address. Aliases that lead to the old one lead to the new one
    /// then; the old one becomes an alias, or is free.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] also for a domain that is not ours; [`StoreError::Exists`] for an
    /// address of somebody else, or an alias that does not lead to this account alone;
    /// [`StoreError::Busy`] if it was renamed at the same time.
    pub async fn rename_account(
        &self,
        id: AccountId,
        new: &EmailAddress,
        keep_old: bool,
    ) -> Result<(), StoreError> {
        let old = self.account(id).await?.address;
        self.catch_up().await?;
        let aliases = self.0.shared.directory().targets_that_name(&old);
        let body = lifecycle::Rename {
            id,
            old,
            new: new.clone(),
            keep_old,
            aliases,
            shared: Arc::clone(&self.0.shared),
        };
        self.0.engine.write(body, Priority::Urgent).await?;
        self.0.passwords.forget();
        Ok(())
    }

    /// Removes what is left of an account that is being removed.
    pub(crate) async fn remove_rest(&self, id: AccountId) -> Result<(), StoreError> {
        loop {
            let piece = RemovePiece {
                id,
                now: self.0.shared.now(),
            };
            if self.0.engine.write(piece, Priority::Bulk).await? {
                break;
            }
        }
        self.0.search.forget_removed(&self.0.engine).await
    }

    /// Sets a password; known sessions stay, cached checks are forgotten.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn set_password(&self, id: AccountId, password: &Secret) -> Result<(), StoreError> {
        let body = rows::SetCredential {
            id,
            credential: self.make_credential(password).await?,
            now: self.0.shared.now(),
        };
        self.0.engine.write(body, Priority::Urgent).await?;
        self.0.passwords.forget();
        Ok(())
    }

    /// Allows or forbids logging in and receiving.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn set_enabled(&self, id: AccountId, enabled: bool) -> Result<(), StoreError> {
        let body = rows::SetEnabled {
            id,
            enabled,
            shared: Arc::clone(&self.0.shared),
        };
        self.0.engine.write(body, Priority::Urgent).await?;
        self.0.passwords.forget();
        Ok(())
    }

    /// Sets the most bytes that an account's mail may take, and the most messages it may hold. An
    /// account that is over a new quota keeps its mail and gets no more.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn set_quota(
        &self,
        id: AccountId,
        bytes: QuotaChange,
        messages: QuotaChange,
    ) -> Result<(), StoreError> {
        let body = rows::SetQuota {
            id,
            bytes,
            messages,
            shared: Arc::clone(&self.0.shared),
        };
        self.0.engine.write(body, Priority::Urgent).await?;
        Ok(())
    }

    /// Adds targets to an alias, making it if needed. `*@domain` style catch-alls are written with
    /// the local part `*`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for a domain that is not ours, [`StoreError::Exists`] for an
    /// account's own address, [`StoreError::Invalid`] for no or too many targets.
    pub async fn add_alias(
        &self,
        alias: &EmailAddress,
        targets: &[EmailAddress],
    ) -> Result<(), StoreError> {
        if targets.is_empty() {
            return Err(StoreError::Invalid("an alias needs a target".to_owned()));
        }
        let body = rows::AddAlias {
            alias: alias.clone(),
            targets: targets.to_vec(),
            shared: Arc::clone(&self.0.shared),
        };
        self.0.engine.write(body, Priority::Urgent).await
    }

    /// Removes an alias.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn remove_alias(&self, alias: &EmailAddress) -> Result<(), StoreError> {
        let body = rows::RemoveAlias {
            alias: alias.clone(),
            shared: Arc::clone(&self.0.shared),
        };
        self.0.engine.write(body, Priority::Urgent).await
    }

    /// All aliases, by address.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn aliases(&self) -> Result<Vec<AliasInfo>, StoreError> {
        self.catch_up().await?;
        Ok(self.0.shared.directory().aliases())
    }

    /// Where mail to an address goes: exact address, alias, sub-address, catch-all, and for
    /// postmaster@ and abuse@ of our domains the admin. What another node has made just now is
    /// found, except a domain, which may take a second: see [`Self::resolve_anew`].
    ///
    /// # Errors
    /// Those of reading.
    pub async fn resolve(&self, address: &EmailAddress) -> Result<Resolved, StoreError> {
        let known = self.0.shared.directory().resolve(address);
        match known {
            Resolved::Targets(_) | Resolved::NotOurs => Ok(known),
            Resolved::Unknown | Resolved::Refused(_) => self.resolve_anew(address).await,
        }
    }

    /// Like [`Self::resolve`], after asking the database for news: before mail is refused for good.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn resolve_anew(&self, address: &EmailAddress) -> Result<Resolved, StoreError> {
        self.catch_up().await?;
        let known = self.0.shared.directory().resolve(address);
        if !self.0.shared.nodes.is_shared() || known != Resolved::Refused(Refusal::OverQuota) {
            return Ok(known);
        }
        // Another node may have made room.
        let accounts = self.0.shared.directory().accounts_of(address);
        self.refresh_usage(accounts).await?;
        Ok(self.0.shared.directory().resolve(address))
    }

    /// Whether a domain is ours.
    ///
    /// # Errors
    /// None; the form of all verbs.
    pub async fn is_ours(&self, domain: &Domain) -> Result<bool, StoreError> {
        Ok(self.0.shared.directory().is_ours(domain))
    }

    /// Where mail to plain `postmaster` goes (RFC 5321 §4.5.1): the admin, else the first account.
    ///
    /// # Errors
    /// None; the form of all verbs.
    pub async fn postmaster(&self) -> Result<Option<AccountId>, StoreError> {
        Ok(self.0.shared.directory().postmaster())
    }

    /// Whether an account may send from an address as its own: its first one, its sub-addresses,
    /// aliases of which it is a target, and what it was granted.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn may_send_from(
        &self,
        account: AccountId,
        address: &EmailAddress,
    ) -> Result<bool, StoreError> {
        Ok(self.sending_as(account, address).await? == SendingAs::Own)
    }
}
