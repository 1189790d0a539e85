//! Policies of MTA-STS that other domains have, as they were fetched, for as long as they say.
//!
//! What a policy means is not known here.

use base::{Domain, Timestamp};

use crate::directory::domain as parse_domain;
use crate::engine::{Body, Priority, Row, Tx, params};
use crate::{Store, StoreError};

/// The policy of a domain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StsPolicy {
    /// The domain.
    pub domain: Domain,
    /// The id that the domain's record had then (RFC 8461 §3.1).
    pub id: String,
    /// The policy as it was fetched.
    pub body: String,
    /// When it was fetched.
    pub fetched_at: Timestamp,
    /// Until when it may be used.
    pub expires_at: Timestamp,
}

impl Store {
    /// The policy of a domain, also one whose time is over.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn sts_policy(&self, domain: &Domain) -> Result<Option<StsPolicy>, StoreError> {
        let domain = domain.as_str().to_owned();
        self.0.engine.read(ReadPolicy { domain }).await
    }

    /// The policies that were fetched before a time, the oldest first; those whose time was over by
    /// then are left out.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn sts_policies_fetched_before(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<StsPolicy>, StoreError> {
        let now = self.0.shared.now();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let body = ReadOld { before, now, limit };
        self.0.engine.read(body).await
    }

    /// Keeps the policy of a domain instead of the one it had.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn keep_sts_policy(&self, policy: StsPolicy) -> Result<(), StoreError> {
        self.0
            .engine
            .write(KeepPolicy(policy), Priority::Bulk)
            .await
    }

    /// Removes the policies whose time was over before a time; how many.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn remove_expired_sts_policies(&self, before: Timestamp) -> Result<u64, StoreError> {
        let body = RemoveExpired { before };
        self.0.engine.write(body, Priority::Bulk).await
    }
}

fn policy(mut row: Row) -> Result<StsPolicy, StoreError> {
    Ok(StsPolicy {
        domain: parse_domain(&row.text(0)?)?,
        id: row.text(1)?,
        body: row.text(2)?,
        fetched_at: row.time(3)?,
        expires_at: row.time(4)?,
    })
}

struct ReadPolicy {
    domain: String,
}

impl Body for ReadPolicy {
    type Out = Option<StsPolicy>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Self::Out, StoreError> {
        let sql = "SELECT domain, id, body, fetched_at, expires_at FROM sts_policy
            WHERE domain = $1";
        tx.row(sql, params![&self.domain])
            .await?
            .map(policy)
            .transpose()
    }
}

struct ReadOld {
    before: Timestamp,
    now: Timestamp,
    limit: i64,
}

impl Body for ReadOld {
    type Out = Vec<StsPolicy>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Self::Out, StoreError> {
        let sql = "SELECT domain, id, body, fetched_at, expires_at FROM sts_policy
            WHERE fetched_at < $1 AND expires_at > $2 ORDER BY fetched_at, domain LIMIT $3";
        let values = params![self.before, self.now, self.limit];
        let rows = tx.rows(sql, values).await?;
        rows.into_iter().map(policy).collect()
    }
}

struct KeepPolicy(StsPolicy);

impl Body for KeepPolicy {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let Self(policy) = self;
        let sql = "INSERT INTO sts_policy (domain, id, body, fetched_at, expires_at)
            VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (domain) DO UPDATE SET id = excluded.id, body = excluded.body,
                fetched_at = excluded.fetched_at, expires_at = excluded.expires_at";
        let values = params![
            policy.domain.as_str(),
            &policy.id,
            &policy.body,
            policy.fetched_at,
            policy.expires_at,
        ];
        tx.execute(sql, values).await?;
        Ok(())
    }
}

struct RemoveExpired {
    before: Timestamp,
}

impl Body for RemoveExpired {
    type Out = u64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<u64, StoreError> {
        let sql = "DELETE FROM sts_policy WHERE expires_at < $1";
        tx.execute(sql, params![self.before]).await
    }
}
