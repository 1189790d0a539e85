//! What became of the TLS of connections to other servers, counted by day and domain for reports to
//! those domains (RFC 8460).
//!
//! What policies and results mean is not known here.

use base::{Domain, Timestamp};

use crate::directory::domain as parse_domain;
use crate::engine::{Body, Priority, Row, Tx, params};
use crate::{Store, StoreError};

const DAY_MS: i64 = 86_400_000;
/// The most different outcomes that are kept for one domain and day; more are not counted.
const OUTCOMES_OF_A_DOMAIN_MAX: i64 = 200;

/// Connections of one day that ended alike.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TlsOutcome {
    /// The day, in days since 1970 by UTC.
    pub day: i64,
    /// The domain whose mail was to be sent.
    pub domain: Domain,
    /// The policy that was applied: its kind and its text.
    pub policy: String,
    /// What went wrong, in the words of RFC 8460 §4.3; empty for a success.
    pub result: String,
    /// The server; empty for a success.
    pub host: String,
    /// Its address; empty for a success.
    pub address: String,
    /// How many connections.
    pub sessions: u64,
}

impl TlsOutcome {
    /// The day of a time.
    #[must_use]
    pub fn day_of(at: Timestamp) -> i64 {
        at.millis().div_euclid(DAY_MS)
    }

    /// When a day begins.
    #[must_use]
    pub fn start_of(day: i64) -> Timestamp {
        Timestamp(day.saturating_mul(DAY_MS))
    }
}

impl Store {
    /// Adds to the counts.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn count_tls_outcomes(&self, outcomes: Vec<TlsOutcome>) -> Result<(), StoreError> {
        let body = Count(outcomes);
        self.0.engine.write(body, Priority::Bulk).await
    }

    /// The domains that have outcomes of a day, in order.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn domains_with_tls_outcomes(
        &self,
        day: i64,
        after: Option<&Domain>,
        limit: usize,
    ) -> Result<Vec<Domain>, StoreError> {
        let sql = "SELECT DISTINCT domain FROM tls_outcome WHERE day = $1 AND domain > $2
            ORDER BY domain LIMIT $3";
        self.domains_of_day(sql, day, after, limit).await
    }

    /// The domains that a statement finds for a day, after one and so many.
    pub(crate) async fn domains_of_day(
        &self,
        sql: &'static str,
        day: i64,
        after: Option<&Domain>,
        limit: usize,
    ) -> Result<Vec<Domain>, StoreError> {
        let body = ReadDomains {
            sql,
            day,
            after: after.map_or(String::new(), |domain| domain.as_str().to_owned()),
            limit: i64::try_from(limit).unwrap_or(i64::MAX),
        };
        self.0.engine.read(body).await
    }

    /// The outcomes of a day and a domain.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn tls_outcomes(
        &self,
        day: i64,
        domain: &Domain,
    ) -> Result<Vec<TlsOutcome>, StoreError> {
        let domain = domain.as_str().to_owned();
        self.0.engine.read(ReadOutcomes { day, domain }).await
    }

    /// Forgets the outcomes of a domain up to a day, or of all domains.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn forget_tls_outcomes(
        &self,
        up_to: i64,
        domain: Option<&Domain>,
    ) -> Result<u64, StoreError> {
        let domain = domain.map(|domain| domain.as_str().to_owned());
        let body = Forget { up_to, domain };
        self.0.engine.write(body, Priority::Bulk).await
    }
}

struct Count(Vec<TlsOutcome>);

impl Body for Count {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        for outcome in &self.0 {
            let sessions = i64::try_from(outcome.sessions).unwrap_or(i64::MAX);
            let sql = "UPDATE tls_outcome SET sessions = sessions + $7
                WHERE day = $1 AND domain = $2 AND policy = $3 AND result = $4 AND host = $5
                    AND address = $6";
            let values = params![
                outcome.day,
                outcome.domain.as_str(),
                &outcome.policy,
                &outcome.result,
                &outcome.host,
                &outcome.address,
                sessions,
            ];
            if tx.execute(sql, values).await? > 0 {
                continue;
            }
            let sql = "SELECT count(*) FROM tls_outcome WHERE day = $1 AND domain = $2";
            let of_domain = params![outcome.day, outcome.domain.as_str()];
            if tx.one(sql, of_domain).await?.int(0)? >= OUTCOMES_OF_A_DOMAIN_MAX {
                continue;
            }
            let sql = "INSERT INTO tls_outcome
                    (day, domain, policy, result, host, address, sessions)
                VALUES ($1, $2, $3, $4, $5, $6, $7)
                ON CONFLICT (day, domain, policy, result, host, address)
                    DO UPDATE SET sessions = tls_outcome.sessions + excluded.sessions";
            tx.execute(sql, values).await?;
        }
        Ok(())
    }
}

struct ReadDomains {
    sql: &'static str,
    day: i64,
    after: String,
    limit: i64,
}

impl Body for ReadDomains {
    type Out = Vec<Domain>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Self::Out, StoreError> {
        let values = params![self.day, &self.after, self.limit];
        let rows = tx.rows(self.sql, values).await?;
        let read = |mut row: Row| parse_domain(&row.text(0)?);
        rows.into_iter().map(read).collect()
    }
}

struct ReadOutcomes {
    day: i64,
    domain: String,
}

impl Body for ReadOutcomes {
    type Out = Vec<TlsOutcome>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Self::Out, StoreError> {
        let sql = "SELECT day, domain, policy, result, host, address, sessions FROM tls_outcome
            WHERE day = $1 AND domain = $2 ORDER BY policy, result, host, address";
        let rows = tx.rows(sql, params![self.day, &self.domain]).await?;
        let read = |mut row: Row| {
            Ok(TlsOutcome {
                day: row.int(0)?,
                domain: parse_domain(&row.text(1)?)?,
                policy: row.text(2)?,
                result: row.text(3)?,
                host: row.text(4)?,
                address: row.text(5)?,
                sessions: u64::try_from(row.int(6)?).unwrap_or(0),
            })
        };
        rows.into_iter().map(read).collect()
    }
}

struct Forget {
    up_to: i64,
    domain: Option<String>,
}

impl Body for Forget {
    type Out = u64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<u64, StoreError> {
        match &self.domain {
            Some(domain) => {
                let sql = "DELETE FROM tls_outcome WHERE day <= $1 AND domain = $2";
                tx.execute(sql, params![self.up_to, domain]).await
            }
            None => {
                let sql = "DELETE FROM tls_outcome WHERE day <= $1";
                tx.execute(sql, params![self.up_to]).await
            }
        }
    }
}
