//! As whom an account may send, beyond the addresses that lead to it: identities, whole domains, and
//! what other accounts let it do. The rows, the verbs and what memory answers.
//!
//! It decides nothing about letters: which field must hold which address is the submission's
//! business (RFC 6409 §6.1). An administrator grants all of it; nothing is granted by itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use base::{AccountId, Domain, EmailAddress, Timestamp};

use super::memory::{Account, Directory};
use super::rows::domain as stored_domain;
use super::sync::{Changed, note_changes};
use super::{Target, address};
use crate::engine::{Body, Priority, Tx, params};
use crate::shared::Shared;
use crate::{Store, StoreError};

/// Rights of one account; a person has a handful, an application rather a domain than a list.
const RIGHTS_MAX: u64 = 1_000;

/// Something that an account may send as.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SendRight {
    /// This address and its sub-addresses, of a domain of ours or not.
    Address(EmailAddress),
    /// Every address of this domain: for programs that send for many.
    Domain(Domain),
    /// Whatever that account may send as itself, as if it were that account.
    As(AccountId),
    /// The same, but only with the sender named in the Sender field (RFC 5322 §3.6.2).
    OnBehalfOf(AccountId),
}

/// How an account may use an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SendingAs {
    /// Not at all.
    No,
    /// As an author, where the Sender field says who sends.
    OnBehalf,
    /// As its own.
    Own,
}

/// Whether the author that a user's letter names is checked, a setting of the domain that the account
/// is in. The envelope and the Sender field are checked whatever it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthorCheck {
    /// Always.
    #[default]
    Always,
    /// But for letters that are sent again (RFC 5322 §3.6.6: Resent-From is the user's) and whose
    /// author is of a domain that is not ours.
    NotResent,
    /// Never.
    Never,
}

impl AuthorCheck {
    pub(crate) fn number(self) -> i64 {
        match self {
            Self::Always => 0,
            Self::NotResent => 1,
            Self::Never => 2,
        }
    }

    pub(crate) fn from_number(number: i64) -> Self {
        match number {
            1 => Self::NotResent,
            2 => Self::Never,
            // A word of a newer program is not known here: the strictest holds.
            _ => Self::Always,
        }
    }
}

/// Rights as they are stored and kept in memory: the kind and what it is about.
pub(crate) type Rights = BTreeSet<(i64, String)>;

const ADDRESS: i64 = 1;
const DOMAIN: i64 = 2;
const AS: i64 = 3;
const ON_BEHALF_OF: i64 = 4;

impl SendRight {
    fn stored(&self) -> (i64, String) {
        match self {
            Self::Address(address) => (ADDRESS, address.key()),
            Self::Domain(domain) => (DOMAIN, domain.to_string()),
            Self::As(id) => (AS, id.0.to_string()),
            Self::OnBehalfOf(id) => (ON_BEHALF_OF, id.0.to_string()),
        }
    }

    /// `None` for one that a newer program has written.
    fn from_stored((kind, subject): &(i64, String)) -> Result<Option<Self>, StoreError> {
        let account = || {
            let id = subject.parse().map(AccountId);
            id.map_err(|error| StoreError::Io(format!("a stored right is damaged: {error}")))
        };
        Ok(match *kind {
            ADDRESS => Some(Self::Address(address(subject)?)),
            DOMAIN => Some(Self::Domain(stored_domain(subject)?)),
            AS => Some(Self::As(account()?)),
            ON_BEHALF_OF => Some(Self::OnBehalfOf(account()?)),
            _ => None,
        })
    }
}

impl Store {
    /// Lets an account send as something.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for an account that is not there, [`StoreError::Exists`] for a right
    /// that it has, [`StoreError::Invalid`] for too many, or for itself.
    pub async fn add_send_right(&self, id: AccountId, right: SendRight) -> Result<(), StoreError> {
        let body = ChangeRight::new(self, id, &right, true);
        self.0.engine.write(body, Priority::Urgent).await
    }

    /// Takes a right back.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn remove_send_right(
        &self,
        id: AccountId,
        right: SendRight,
    ) -> Result<(), StoreError> {
        let body = ChangeRight::new(self, id, &right, false);
        self.0.engine.write(body, Priority::Urgent).await
    }

    /// What an account was granted, by kind.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn send_rights(&self, id: AccountId) -> Result<Vec<SendRight>, StoreError> {
        self.catch_up().await?;
        self.0.shared.directory().send_rights(id)
    }

    /// How an account may use an address.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn sending_as(
        &self,
        account: AccountId,
        address: &EmailAddress,
    ) -> Result<SendingAs, StoreError> {
        let known = self.0.shared.directory().sending_as(account, address);
        if known == SendingAs::Own {
            return Ok(known);
        }
        self.catch_up().await?;
        Ok(self.0.shared.directory().sending_as(account, address))
    }

    /// The first address of an account and whether authors are checked in its domain.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], also for an account that was removed meanwhile.
    pub fn sender(&self, account: AccountId) -> Result<(EmailAddress, AuthorCheck), StoreError> {
        let found = self.0.shared.directory().sender(account);
        found.ok_or(StoreError::NotFound("account"))
    }

    /// Sets whether authors are checked in letters of a domain's accounts.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn set_author_check(
        &self,
        domain: &Domain,
        check: AuthorCheck,
    ) -> Result<(), StoreError> {
        let body = SetAuthorCheck {
            domain: domain.clone(),
            check,
            shared: Arc::clone(&self.0.shared),
        };
        self.0.engine.write(body, Priority::Urgent).await
    }
}

impl Directory {
    /// Whether the address leads to the account, or the account was granted it.
    fn sends_as_itself(&self, id: AccountId, account: &Account, address: &EmailAddress) -> bool {
        if self.leads_to(address, &Target::Account(id)) {
            return true;
        }
        let rights = &account.rights;
        if rights.is_empty() {
            return false;
        }
        let separator = self.separator;
        let plain = separator.and_then(|separator| address.without_tag(separator));
        rights.contains(&(ADDRESS, address.key()))
            || plain.is_some_and(|plain| rights.contains(&(ADDRESS, plain.key())))
            || rights.contains(&(DOMAIN, address.domain.to_string()))
    }

    pub(crate) fn sending_as(&self, id: AccountId, address: &EmailAddress) -> SendingAs {
        let Some(account) = self.account(id) else {
            return SendingAs::No;
        };
        if self.sends_as_itself(id, account, address) {
            return SendingAs::Own;
        }
        // What others were lent is not lent on.
        let mut best = SendingAs::No;
        for (kind, subject) in &account.rights {
            let means = match *kind {
                AS => SendingAs::Own,
                ON_BEHALF_OF => SendingAs::OnBehalf,
                _ => continue,
            };
            let owner = subject.parse().map(AccountId).unwrap_or(AccountId(0));
            if means > best
                && let Some(owning) = self.account(owner)
                && self.sends_as_itself(owner, owning, address)
            {
                best = means;
            }
        }
        best
    }

    fn send_rights(&self, id: AccountId) -> Result<Vec<SendRight>, StoreError> {
        let account = self.account(id).ok_or(StoreError::NotFound("account"))?;
        let mut found = Vec::with_capacity(account.rights.len());
        for right in &account.rights {
            let Some(right) = SendRight::from_stored(right)? else {
                continue;
            };
            // An account that lent its name may be gone.
            let is_lost = match right {
                SendRight::As(owner) | SendRight::OnBehalfOf(owner) => {
                    self.account(owner).is_none()
                }
                SendRight::Address(_) | SendRight::Domain(_) => false,
            };
            if !is_lost {
                found.push(right);
            }
        }
        Ok(found)
    }

    fn sender(&self, id: AccountId) -> Option<(EmailAddress, AuthorCheck)> {
        let address = self.account(id)?.address.clone();
        let check = self.author_check(&address.domain);
        Some((address, check))
    }
}

/// The rights of an account, as they are stored.
pub(super) async fn read_rights(tx: &mut Tx<'_>, id: AccountId) -> Result<Rights, StoreError> {
    let sql = "SELECT kind, subject FROM send_right WHERE account_id = $1";
    let rows = tx.rows(sql, params![id]).await?.into_iter();
    rows.map(|mut row| Ok((row.int(0)?, row.text(1)?)))
        .collect()
}

/// All rights, by account.
pub(super) async fn read_all_rights(
    tx: &mut Tx<'_>,
) -> Result<Vec<(AccountId, (i64, String))>, StoreError> {
    let sql = "SELECT account_id, kind, subject FROM send_right";
    let rows = tx.rows(sql, &[]).await?.into_iter();
    rows.map(|mut row| Ok((AccountId(row.int(0)?), (row.int(1)?, row.text(2)?))))
        .collect()
}

struct ChangeRight {
    id: AccountId,
    kind: i64,
    subject: String,
    add: bool,
    now: Timestamp,
    shared: Arc<Shared>,
}

impl ChangeRight {
    fn new(store: &Store, id: AccountId, right: &SendRight, add: bool) -> Self {
        let (kind, subject) = right.stored();
        Self {
            id,
            kind,
            subject,
            add,
            now: store.0.shared.now(),
            shared: Arc::clone(&store.0.shared),
        }
    }

    async fn add(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        if matches!(self.kind, AS | ON_BEHALF_OF) && self.subject == self.id.0.to_string() {
            return Err(StoreError::Invalid(
                "an account needs no right to send as itself".to_owned(),
            ));
        }
        let count = "SELECT count(*) FROM send_right WHERE account_id = $1";
        if tx.one(count, params![self.id]).await?.unsigned(0)? >= RIGHTS_MAX {
            return Err(StoreError::Invalid(format!(
                "an account has at most {RIGHTS_MAX} rights to send"
            )));
        }
        let sql = "INSERT INTO send_right (account_id, kind, subject, created_at)
            VALUES ($1, $2, $3, $4) ON CONFLICT (account_id, kind, subject) DO NOTHING";
        let values = params![self.id, self.kind, &self.subject, self.now];
        match tx.execute(sql, values).await? {
            0 => Err(StoreError::Exists("right")),
            _ => Ok(()),
        }
    }
}

impl Body for ChangeRight {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let lock = "SELECT 1 FROM account WHERE account_id = $1 AND removing = 0 FOR UPDATE";
        if tx.row(lock, params![self.id]).await?.is_none() {
            return Err(StoreError::NotFound("account"));
        }
        if self.add {
            self.add(tx).await?;
        } else {
            let sql = "DELETE FROM send_right
                WHERE account_id = $1 AND kind = $2 AND subject = $3";
            let values = params![self.id, self.kind, &self.subject];
            if tx.execute(sql, values).await? == 0 {
                return Err(StoreError::NotFound("right"));
            }
        }
        note_changes(tx, &[Changed::Account(self.id)]).await
    }

    fn committed(&self, (): &()) {
        let right = (self.kind, self.subject.clone());
        let mut directory = self.shared.directory_mut();
        directory.change_account(self.id, |account| {
            if self.add {
                account.rights.insert(right);
            } else {
                account.rights.remove(&right);
            }
        });
        drop(directory);
        self.shared.directory_changed();
    }
}

struct SetAuthorCheck {
    domain: Domain,
    check: AuthorCheck,
    shared: Arc<Shared>,
}

impl Body for SetAuthorCheck {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let name = self.domain.as_str();
        let sql = "UPDATE domain SET author_check = $2 WHERE name = $1";
        match tx.execute(sql, params![name, self.check.number()]).await? {
            0 => Err(StoreError::NotFound("domain")),
            _ => note_changes(tx, &[Changed::Domain(name.to_owned())]).await,
        }
    }

    fn committed(&self, (): &()) {
        let mut directory = self.shared.directory_mut();
        directory.set_author_check(&self.domain, self.check);
        drop(directory);
        self.shared.directory_changed();
    }
}
