//! What the directory knows of an account's sending: its limits, whether it is held, and how closely
//! it is watched.

use base::limits::Sending;
use base::{AccountId, Domain, EmailAddress, Timestamp};

use super::memory::Directory;
use crate::StoreError;
use crate::engine::{Tx, params};
use crate::sending::{
    Allowance, Brake, Held, Most, SendLimits, account_subject, domain_subject, read_limits,
};

/// What is kept in memory of an account.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AccountSending {
    pub limits: SendLimits,
    pub held: Option<Held>,
    /// The brake leaves it alone until then.
    pub free_until: Timestamp,
    /// It is new, or its password is, until then.
    pub strict_until: Timestamp,
}

impl Default for AccountSending {
    fn default() -> Self {
        Self {
            limits: SendLimits::default(),
            held: None,
            free_until: Timestamp(0),
            strict_until: Timestamp(0),
        }
    }
}

impl Directory {
    /// What an account may send now; `None` where nothing is to be counted.
    pub(crate) fn allowance(
        &self,
        id: AccountId,
        settings: &Sending,
        now: Timestamp,
    ) -> Option<Allowance> {
        let account = self.account(id)?;
        let sending = &account.sending;
        let domain = &account.address.domain;
        let of_domain = self.domain(domain).map(|info| info.send_limits);
        let allowance = Allowance {
            account: Most::of_account(sending.limits, settings),
            domain: of_domain
                .and_then(Most::of_domain)
                .map(|most| (domain.clone(), most)),
            brake: Brake::new(
                settings,
                now < sending.strict_until,
                now < sending.free_until,
            ),
        };
        // An account that is held stays so whatever the settings say now.
        (allowance.counts() || sending.held.is_some()).then_some(allowance)
    }

    /// Accounts that are held, and nobody was told.
    pub(crate) fn untold_holds(&self) -> Vec<(AccountId, EmailAddress)> {
        let untold = self
            .accounts()
            .filter(|(_, account)| account.sending.held.is_some_and(|held| !held.told));
        untold
            .map(|(id, account)| (id, account.address.clone()))
            .collect()
    }
}

/// The columns of an account that [`AccountSending`] is read from.
pub(super) fn from_columns(
    held_at: Option<i64>,
    told: bool,
    free_until: i64,
    strict_until: i64,
) -> AccountSending {
    AccountSending {
        limits: SendLimits::default(),
        held: held_at.map(|_| Held { told }),
        free_until: Timestamp(free_until),
        strict_until: Timestamp(strict_until),
    }
}

/// The limits of one account.
pub(super) async fn limits_of_account(
    tx: &mut Tx<'_>,
    id: AccountId,
) -> Result<SendLimits, StoreError> {
    read_limits(tx, &account_subject(id)).await
}

/// The limits of one domain.
pub(super) async fn limits_of_domain(
    tx: &mut Tx<'_>,
    domain: &Domain,
) -> Result<SendLimits, StoreError> {
    read_limits(tx, &domain_subject(domain)).await
}

/// Puts all limits into a directory that has its domains and accounts.
pub(super) async fn load_limits(
    tx: &mut Tx<'_>,
    directory: &mut Directory,
) -> Result<(), StoreError> {
    let subjects = tx.rows("SELECT subject FROM send_limit", params![]).await?;
    for mut row in subjects {
        let subject = row.text(0)?;
        let limits = read_limits(tx, &subject).await?;
        if let Some(id) = subject
            .strip_prefix("account/")
            .and_then(|id| id.parse().ok())
        {
            directory.change_account(AccountId(id), |account| account.sending.limits = limits);
        } else if let Some(domain) = subject.strip_prefix("domain/") {
            directory.set_domain_limits(&super::domain(domain)?, limits);
        }
    }
    Ok(())
}
