//! The rows of what was sent and of the limits.

use std::sync::Arc;

use base::{AccountId, Domain, Timestamp};

use super::{Counts, DAY, hour_of};
use crate::directory::{Changed, note_changes};
use crate::engine::{Body, Priority, Tx, params};
use crate::shared::Shared;
use crate::{Store, StoreError};

/// Counts are kept so many hours: a week, which the brake compares with, and a day more.
const KEPT_HOURS: i64 = 8 * DAY;
/// Rows that one transaction removes.
const PIECE_ROWS: i64 = 2_000;

/// Limits of one account or domain. `None`: what the settings say, for a domain no limit; 0: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendLimits {
    /// Letters in a clock hour.
    pub letters_per_hour: Option<u32>,
    /// Letters in this clock hour and the 23 before it.
    pub letters_per_day: Option<u32>,
    /// Recipients in a clock hour.
    pub recipients_per_hour: Option<u32>,
    /// Recipients in this clock hour and the 23 before it.
    pub recipients_per_day: Option<u32>,
}

/// What an account has sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Letters and recipients in this clock hour.
    pub hour: (u64, u64),
    /// The same in this hour and the 23 before it.
    pub day: (u64, u64),
    /// Recipients of this day's letters that could not be reached for good.
    pub refused: u64,
    /// Since when and why what it submits is held.
    pub held: Option<(Timestamp, String)>,
    /// The limits of its own.
    pub limits: SendLimits,
}

/// Counts a letter; gives the counts with it, and since when the account is held.
pub(super) async fn count(
    tx: &mut Tx<'_>,
    account: AccountId,
    hour: i64,
    new: i64,
) -> Result<(Counts, Option<Timestamp>), StoreError> {
    let sql = "INSERT INTO sent (account_id, hour, letters, recipients, refused)
        VALUES ($1, $2, 1, $3, 0)
        ON CONFLICT (account_id, hour) DO UPDATE SET letters = sent.letters + 1,
            recipients = sent.recipients + $3
        RETURNING letters, recipients, refused,
            (SELECT CAST(coalesce(sum(s.letters), 0) AS BIGINT) FROM sent s
                WHERE s.account_id = $1 AND s.hour BETWEEN $2 - 23 AND $2 - 1),
            (SELECT CAST(coalesce(sum(s.recipients), 0) AS BIGINT) FROM sent s
                WHERE s.account_id = $1 AND s.hour BETWEEN $2 - 23 AND $2 - 1),
            (SELECT CAST(coalesce(sum(s.refused), 0) AS BIGINT) FROM sent s
                WHERE s.account_id = $1 AND s.hour BETWEEN $2 - 23 AND $2 - 1),
            (SELECT a.send_held_at FROM account a WHERE a.account_id = $1)";
    let row = tx.one(sql, params![account, hour, new]).await?;
    let (letters, recipients) = (row.int(0)?, row.int(1)?);
    let counts = Counts {
        letters: [letters, letters + row.int(3)?],
        recipients: [recipients, recipients + row.int(4)?],
        new_recipients: new,
        refused: row.int(2)? + row.int(5)?,
    };
    Ok((counts, row.maybe_int(6)?.map(Timestamp)))
}

/// The same for a domain with limits.
pub(super) async fn count_domain(
    tx: &mut Tx<'_>,
    domain: &Domain,
    hour: i64,
    new: i64,
) -> Result<Counts, StoreError> {
    let sql = "INSERT INTO sent_domain (domain, hour, letters, recipients)
        VALUES ($1, $2, 1, $3)
        ON CONFLICT (domain, hour) DO UPDATE SET letters = sent_domain.letters + 1,
            recipients = sent_domain.recipients + $3
        RETURNING letters, recipients,
            (SELECT CAST(coalesce(sum(s.letters), 0) AS BIGINT) FROM sent_domain s
                WHERE s.domain = $1 AND s.hour BETWEEN $2 - 23 AND $2 - 1),
            (SELECT CAST(coalesce(sum(s.recipients), 0) AS BIGINT) FROM sent_domain s
                WHERE s.domain = $1 AND s.hour BETWEEN $2 - 23 AND $2 - 1)";
    let row = tx.one(sql, params![domain.as_str(), hour, new]).await?;
    let (letters, recipients) = (row.int(0)?, row.int(1)?);
    Ok(Counts {
        letters: [letters, letters + row.int(2)?],
        recipients: [recipients, recipients + row.int(3)?],
        new_recipients: new,
        refused: 0,
    })
}

/// Counts recipients of a letter that could not be reached, if a user has sent it.
pub(crate) async fn count_refused(
    tx: &mut Tx<'_>,
    letter: base::LetterId,
    refused: usize,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO sent (account_id, hour, letters, recipients, refused)
        SELECT l.sender_account, CAST($2 AS BIGINT), 0, 0, CAST($3 AS BIGINT) FROM letter l
        WHERE l.letter_id = $1 AND l.sender_account IS NOT NULL
        ON CONFLICT (account_id, hour) DO UPDATE SET refused = sent.refused + $3";
    let refused = i64::try_from(refused).unwrap_or(i64::MAX);
    tx.send(sql, params![letter, hour_of(now), refused]).await
}

/// The limits of an account (`account/5`) or a domain (`domain/red.test`).
pub(crate) async fn read_limits(tx: &mut Tx<'_>, subject: &str) -> Result<SendLimits, StoreError> {
    let sql = "SELECT letters_per_hour, letters_per_day, recipients_per_hour, recipients_per_day
        FROM send_limit WHERE subject = $1";
    let Some(row) = tx.row(sql, params![subject]).await? else {
        return Ok(SendLimits::default());
    };
    let limit =
        |column| Ok::<_, StoreError>(row.maybe_int(column)?.and_then(|n| u32::try_from(n).ok()));
    Ok(SendLimits {
        letters_per_hour: limit(0)?,
        letters_per_day: limit(1)?,
        recipients_per_hour: limit(2)?,
        recipients_per_day: limit(3)?,
    })
}

/// The name of an account's limits.
pub(crate) fn account_subject(id: AccountId) -> String {
    format!("account/{}", id.0)
}

/// The name of a domain's limits.
pub(crate) fn domain_subject(domain: &Domain) -> String {
    format!("domain/{domain}")
}

impl Store {
    /// Sets the limits of an account; those that are `None` are as the settings say.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn set_account_send_limits(
        &self,
        id: AccountId,
        limits: SendLimits,
    ) -> Result<(), StoreError> {
        let body = SetLimits {
            of: Of::Account(id),
            limits,
            shared: Arc::clone(&self.0.shared),
        };
        self.0.engine.write(body, Priority::Urgent).await
    }

    /// Sets the limits of all accounts of a domain together.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn set_domain_send_limits(
        &self,
        domain: &Domain,
        limits: SendLimits,
    ) -> Result<(), StoreError> {
        let body = SetLimits {
            of: Of::Domain(domain.clone()),
            limits,
            shared: Arc::clone(&self.0.shared),
        };
        self.0.engine.write(body, Priority::Urgent).await
    }

    /// What an account has sent, and whether it is held.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn sent(&self, id: AccountId) -> Result<Sent, StoreError> {
        let body = ReadSent {
            id,
            hour: hour_of(self.0.shared.now()),
        };
        self.0.engine.read(body).await
    }
}

enum Of {
    Account(AccountId),
    Domain(Domain),
}

struct SetLimits {
    of: Of,
    limits: SendLimits,
    shared: Arc<Shared>,
}

impl Body for SetLimits {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let (subject, change) = match &self.of {
            Of::Account(id) => {
                let sql = "SELECT 1 FROM account WHERE account_id = $1 AND removing = 0 FOR UPDATE";
                let found = tx.row(sql, params![*id]).await?;
                found.ok_or(StoreError::NotFound("account"))?;
                (account_subject(*id), Changed::Account(*id))
            }
            Of::Domain(domain) => {
                let sql = "SELECT 1 FROM domain WHERE name = $1 FOR UPDATE";
                let found = tx.row(sql, params![domain.as_str()]).await?;
                found.ok_or(StoreError::NotFound("domain"))?;
                (domain_subject(domain), Changed::Domain(domain.to_string()))
            }
        };
        let limits = &self.limits;
        let sql = "INSERT INTO send_limit (subject, letters_per_hour, letters_per_day,
                recipients_per_hour, recipients_per_day)
            VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (subject) DO UPDATE SET letters_per_hour = $2, letters_per_day = $3,
                recipients_per_hour = $4, recipients_per_day = $5";
        let number = |limit: Option<u32>| limit.map(i64::from);
        let values = params![
            &subject,
            number(limits.letters_per_hour),
            number(limits.letters_per_day),
            number(limits.recipients_per_hour),
            number(limits.recipients_per_day),
        ];
        tx.execute(sql, values).await?;
        note_changes(tx, &[change]).await
    }

    fn committed(&self, (): &()) {
        let mut directory = self.shared.directory_mut();
        match &self.of {
            Of::Account(id) => {
                directory.change_account(*id, |account| account.sending.limits = self.limits);
            }
            Of::Domain(domain) => directory.set_domain_limits(domain, self.limits),
        }
        drop(directory);
        self.shared.directory_changed();
    }
}

struct ReadSent {
    id: AccountId,
    hour: i64,
}

impl Body for ReadSent {
    type Out = Sent;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Sent, StoreError> {
        let sql = "SELECT send_held_at, send_held_why FROM account
            WHERE account_id = $1 AND removing = 0";
        let row = tx.row(sql, params![self.id]).await?;
        let mut row = row.ok_or(StoreError::NotFound("account"))?;
        let mut sent = Sent {
            held: match row.maybe_int(0)? {
                Some(at) => Some((Timestamp(at), row.text(1)?)),
                None => None,
            },
            limits: read_limits(tx, &account_subject(self.id)).await?,
            ..Sent::default()
        };
        let sql = "SELECT hour, letters, recipients, refused FROM sent
            WHERE account_id = $1 AND hour BETWEEN $2 - 23 AND $2";
        for row in tx.rows(sql, params![self.id, self.hour]).await? {
            let (letters, recipients) = (row.unsigned(1)?, row.unsigned(2)?);
            if row.int(0)? == self.hour {
                sent.hour = (letters, recipients);
            }
            sent.day = (sent.day.0 + letters, sent.day.1 + recipients);
            sent.refused += row.unsigned(3)?;
        }
        Ok(sent)
    }
}

/// Forgets counts that nobody asks for any more. Gives how many rows went.
pub(crate) struct ForgetSent {
    pub now: Timestamp,
}

impl Body for ForgetSent {
    type Out = u64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<u64, StoreError> {
        let oldest = hour_of(self.now) - KEPT_HOURS;
        let sql = "SELECT account_id, hour FROM sent WHERE hour < $1 ORDER BY hour LIMIT $2";
        let rows = tx.rows(sql, params![oldest, PIECE_ROWS]).await?;
        let count = rows.len() as u64;
        for row in rows {
            let sql = "DELETE FROM sent WHERE account_id = $1 AND hour = $2";
            tx.send(sql, params![row.int(0)?, row.int(1)?]).await?;
        }
        tx.execute("DELETE FROM sent_domain WHERE hour < $1", params![oldest])
            .await?;
        Ok(count)
    }
}
