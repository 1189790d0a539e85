//! Domains, accounts, addresses and aliases. Look-ups are answered from memory.
//!
//! The rows are in [`rows`], what is kept in memory in [`memory`]; the verbs join them. Memory is
//! changed after the commit and before its acknowledgement. Where nodes share a database, [`sync`]
//! takes over what others change, and no address is refused before the database was asked.

mod lifecycle;
mod memory;
mod rights;
mod rows;
mod sending;
mod sync;
mod targets;

use std::sync::Arc;

use base::{AccountId, Domain, EmailAddress, LocalPart, Secret, Timestamp};

use crate::engine::Priority;
use crate::lists::ListAddress;
use crate::{SendLimits, Store, StoreError};

pub(crate) use memory::{Directory, Quota};
pub use rights::{AuthorCheck, SendRight, SendingAs};
use rows::RemovePiece;
pub(crate) use rows::{LoadDirectory, address, claim_address, domain, need_domain, signed};
pub(crate) use sync::{Changed, TrimDirectoryChanges, note_changes};

/// A domain whose mail is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainInfo {
    /// Its name.
    pub domain: Domain,
    /// Since when.
    pub created_at: Timestamp,
    /// Whether the authors that letters of its accounts name are checked.
    pub author_check: AuthorCheck,
    /// How much all its accounts may send together.
    pub send_limits: SendLimits,
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

/// What an address is that belongs to no account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AddressKind {
    /// It leads elsewhere.
    Alias,
    /// It leads to its members.
    Group(Senders),
    /// A mailing list; it leads nowhere by itself.
    List,
}

/// Who may write to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Senders {
    /// Anybody.
    Anyone,
    /// Its members.
    Members,
    /// Whoever has an address in its domain.
    Domain,
}

/// A group and who is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupInfo {
    /// Its address.
    pub address: EmailAddress,
    /// Its members, here or elsewhere.
    pub members: Vec<EmailAddress>,
    /// Who may write to it.
    pub senders: Senders,
}

impl AddressKind {
    /// As it is stored.
    pub(crate) fn number(self) -> i64 {
        match self {
            Self::Alias => 0,
            Self::Group(Senders::Anyone) => 1,
            Self::Group(Senders::Members) => 2,
            Self::Group(Senders::Domain) => 3,
            Self::List => 4,
        }
    }

    /// From what was stored.
    pub(crate) fn from_number(number: i64) -> Self {
        match number {
            1 => Self::Group(Senders::Anyone),
            2 => Self::Group(Senders::Members),
            3 => Self::Group(Senders::Domain),
            4 => Self::List,
            _ => Self::Alias,
        }
    }

    /// Whether both are aliases, or groups, or lists.
    pub(crate) fn is_like(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
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
    /// A mailing list here, or one of its further addresses.
    List(ListAddress),
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
                send_limits: SendLimits::default(),
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
            Some(password) => Some(self.make_credential(None, password).await?),
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
            credential: self.make_credential(Some(id), password).await?,
            now: self.0.shared.now(),
            shared: Arc::clone(&self.0.shared),
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
        let body = targets::AddTargets {
            alias: alias.clone(),
            kind: AddressKind::Alias,
            keeps_kind: false,
            replaces: false,
            targets: targets.to_vec(),
            shared: Arc::clone(&self.0.shared),
        };
        self.0.engine.write(body, Priority::Urgent).await?;
        Ok(())
    }

    /// Sets where the mail of a domain goes that nobody else takes; without targets it is refused.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for a domain that is not ours, [`StoreError::Invalid`].
    pub async fn set_catch_all(
        &self,
        domain: &Domain,
        targets: &[EmailAddress],
    ) -> Result<(), StoreError> {
        let all = LocalPart::parse("*").map_err(|error| StoreError::Bug(error.to_string()))?;
        let alias = EmailAddress {
            local: all,
            domain: domain.clone(),
        };
        if targets.is_empty() {
            return self.remove_alias(&alias).await;
        }
        let body = targets::AddTargets {
            alias,
            kind: AddressKind::Alias,
            keeps_kind: false,
            replaces: true,
            targets: targets.to_vec(),
            shared: Arc::clone(&self.0.shared),
        };
        self.0.engine.write(body, Priority::Urgent).await?;
        Ok(())
    }

    /// Adds members to a group, making it if needed, and says who may write to it; who that is stays
    /// as it is where nothing is said (anybody, for a new one).
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for a domain that is not ours, or for a group without members;
    /// [`StoreError::Exists`] for an address that is something else; [`StoreError::Invalid`] for too
    /// many members.
    pub async fn set_group(
        &self,
        group: &EmailAddress,
        members: &[EmailAddress],
        senders: Option<Senders>,
    ) -> Result<(), StoreError> {
        let body = targets::AddTargets {
            alias: group.clone(),
            kind: AddressKind::Group(senders.unwrap_or(Senders::Anyone)),
            keeps_kind: senders.is_none(),
            replaces: false,
            targets: members.to_vec(),
            shared: Arc::clone(&self.0.shared),
        };
        self.0.engine.write(body, Priority::Urgent).await?;
        Ok(())
    }

    /// Adds owners to a mailing list.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for no list, [`StoreError::Invalid`] for too many owners.
    pub async fn add_list_owners(
        &self,
        list: &EmailAddress,
        owners: &[EmailAddress],
    ) -> Result<(), StoreError> {
        if self.list(list).await?.is_none() {
            return Err(StoreError::NotFound("list"));
        }
        let body = targets::AddTargets {
            alias: list.clone(),
            kind: AddressKind::List,
            keeps_kind: true,
            replaces: false,
            targets: owners.to_vec(),
            shared: Arc::clone(&self.0.shared),
        };
        self.0.engine.write(body, Priority::Urgent).await?;
        Ok(())
    }

    /// Takes members out of a group, owners off a mailing list, or targets out of an alias. The last one stays: an address that
    /// leads nowhere would lose mail.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Invalid`] if none would be left.
    pub async fn remove_targets(
        &self,
        alias: &EmailAddress,
        targets: &[EmailAddress],
    ) -> Result<(), StoreError> {
        let body = targets::RemoveTargets {
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
        self.remove_kind(alias, AddressKind::Alias).await
    }

    /// Removes a group.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn remove_group(&self, group: &EmailAddress) -> Result<(), StoreError> {
        let kind = AddressKind::Group(Senders::Anyone);
        self.remove_kind(group, kind).await
    }

    async fn remove_kind(&self, alias: &EmailAddress, kind: AddressKind) -> Result<(), StoreError> {
        let body = targets::RemoveAlias {
            alias: alias.clone(),
            kind,
            shared: Arc::clone(&self.0.shared),
        };
        self.0.engine.write(body, Priority::Urgent).await
    }

    /// All groups, by address.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn groups(&self) -> Result<Vec<GroupInfo>, StoreError> {
        self.catch_up().await?;
        Ok(self.0.shared.directory().groups())
    }

    /// Whether a letter from this sender (`None`: the null reverse-path) may go to an address, as far
    /// as the groups that it leads to say.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn may_send_to(
        &self,
        address: &EmailAddress,
        sender: Option<&EmailAddress>,
    ) -> Result<bool, StoreError> {
        if self.0.shared.directory().may_send_to(address, sender) {
            return Ok(true);
        }
        self.catch_up().await?;
        Ok(self.0.shared.directory().may_send_to(address, sender))
    }

    /// Whether an address leads to a group that not everybody may write to.
    #[must_use]
    pub fn is_restricted(&self, address: &EmailAddress) -> bool {
        self.0.shared.directory().is_restricted(address)
    }

    /// All aliases, by address.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn aliases(&self) -> Result<Vec<AliasInfo>, StoreError> {
        self.catch_up().await?;
        Ok(self.0.shared.directory().aliases())
    }

    /// Where mail to an address goes: exact address, alias, list, sub-address, catch-all, and for
    /// roles of our domains (postmaster@, abuse@ and others of RFC 2142) the admin. What another node has made just now is
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
