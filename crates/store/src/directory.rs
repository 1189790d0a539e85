//! Domains, accounts, addresses and aliases. Look-ups are answered from memory.

use base::{AccountId, Domain, EmailAddress, Secret, Timestamp};

use crate::{Store, StoreError};

/// A domain whose mail is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainInfo {
    /// Its name.
    pub domain: Domain,
    /// Since when.
    pub created_at: Timestamp,
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
    /// The bytes its mail takes.
    pub used_bytes: u64,
    /// The messages it holds.
    pub messages: u64,
    /// Whether it may log in and receive.
    pub enabled: bool,
    /// Whether postmaster@ reaches it.
    pub admin: bool,
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
    pub async fn add_domain(&self, domain: &Domain) -> Result<(), StoreError> {
        todo!()
    }

    /// Gives a domain up; refused while accounts or aliases use it.
    pub async fn remove_domain(&self, domain: &Domain) -> Result<(), StoreError> {
        todo!()
    }

    /// All domains, by name.
    pub async fn domains(&self) -> Result<Vec<DomainInfo>, StoreError> {
        todo!()
    }

    /// Makes an account with its standard mailboxes.
    pub async fn add_account(&self, new: NewAccount) -> Result<AccountId, StoreError> {
        todo!()
    }

    /// All accounts, by address.
    pub async fn accounts(&self) -> Result<Vec<AccountInfo>, StoreError> {
        todo!()
    }

    /// One account.
    pub async fn account(&self, id: AccountId) -> Result<AccountInfo, StoreError> {
        todo!()
    }

    /// The account that an address (or one of its exact aliases) names.
    pub async fn account_by_address(
        &self,
        address: &EmailAddress,
    ) -> Result<Option<AccountId>, StoreError> {
        todo!()
    }

    /// Removes an account and all its mail, in pieces.
    pub async fn remove_account(&self, id: AccountId) -> Result<(), StoreError> {
        todo!()
    }

    /// Sets a password; known sessions stay, cached checks are forgotten.
    pub async fn set_password(&self, id: AccountId, password: &Secret) -> Result<(), StoreError> {
        todo!()
    }

    /// Allows or forbids logging in and receiving.
    pub async fn set_enabled(&self, id: AccountId, enabled: bool) -> Result<(), StoreError> {
        todo!()
    }

    /// Sets the most bytes that an account's mail may take.
    pub async fn set_quota(
        &self,
        id: AccountId,
        quota_bytes: Option<u64>,
    ) -> Result<(), StoreError> {
        todo!()
    }

    /// Adds targets to an alias, making it if needed. `*@domain` style catch-alls are written with
    /// the local part `*`.
    pub async fn add_alias(
        &self,
        alias: &EmailAddress,
        targets: &[EmailAddress],
    ) -> Result<(), StoreError> {
        todo!()
    }

    /// Removes an alias.
    pub async fn remove_alias(&self, alias: &EmailAddress) -> Result<(), StoreError> {
        todo!()
    }

    /// All aliases, by address.
    pub async fn aliases(&self) -> Result<Vec<AliasInfo>, StoreError> {
        todo!()
    }

    /// Where mail to an address goes: exact address, alias, sub-address, catch-all, and for
    /// postmaster@ and abuse@ of our domains the admin.
    pub async fn resolve(&self, address: &EmailAddress) -> Result<Resolved, StoreError> {
        todo!()
    }

    /// Whether a domain is ours.
    pub async fn is_ours(&self, domain: &Domain) -> Result<bool, StoreError> {
        todo!()
    }

    /// Where mail to plain `postmaster` goes (RFC 5321 §4.5.1): the admin, else the first account.
    pub async fn postmaster(&self) -> Result<Option<AccountId>, StoreError> {
        todo!()
    }

    /// Whether an account may send from an address: its own, its sub-addresses, and aliases of
    /// which it is a target.
    pub async fn may_send_from(
        &self,
        account: AccountId,
        address: &EmailAddress,
    ) -> Result<bool, StoreError> {
        todo!()
    }
}
