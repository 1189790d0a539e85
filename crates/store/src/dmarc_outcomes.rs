//! What DMARC said of letters from outside, counted by day and domain for reports to those domains
//! (RFC 9990).
//!
//! What policies and records mean is not known here.

use base::{Domain, Timestamp};

use crate::directory::domain as parse_domain;
use crate::engine::{Body, Priority, Row, Tx, params};
use crate::{Store, StoreError, TlsOutcome};

/// The most different outcomes that are kept for one domain and day; more are not counted. A report of
/// as many has some 5 MB before it is packed.
const OUTCOMES_OF_A_DOMAIN_MAX: i64 = 5_000;
/// The most that are kept for one day: whoever has many domains fills no disk.
const OUTCOMES_OF_A_DAY_MAX: i64 = 200_000;
/// Outcomes that are removed in one transaction.
const PIECE_ROWS: i64 = 2_000;
/// Outcomes that are written in one transaction.
const BATCH: usize = 200;

/// Letters of one day that ended alike.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct DmarcOutcome {
    /// The day, in days since 1970 by UTC; see [`TlsOutcome::day_of`].
    pub day: i64,
    /// The domain whose record holds the policy.
    pub domain: Domain,
    /// The policy, as a text.
    pub policy: String,
    /// The address that the letters came from.
    pub source: String,
    /// What was found and done, as a text.
    pub record: String,
    /// How many letters.
    pub letters: u64,
}

impl DmarcOutcome {
    /// Its name among those of a day and a domain: the texts are too long for a key.
    fn key(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for text in [&self.policy, &self.source, &self.record] {
            hasher.update(&text.len().to_le_bytes());
            hasher.update(text.as_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}

impl Store {
    /// Adds to the counts, some at a time.
    ///
    /// # Errors
    /// Those of writing, with what was not written and may be given again.
    pub async fn count_dmarc_outcomes(
        &self,
        mut outcomes: Vec<DmarcOutcome>,
    ) -> Result<(), (Vec<DmarcOutcome>, StoreError)> {
        while !outcomes.is_empty() {
            let batch: Vec<_> = outcomes.drain(..outcomes.len().min(BATCH)).collect();
            let body = Count(batch.clone());
            if let Err(error) = self.0.engine.write(body, Priority::Bulk).await {
                outcomes.extend(batch);
                return Err((outcomes, error));
            }
        }
        Ok(())
    }

    /// The domains that have outcomes of a day, in order.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn domains_with_dmarc_outcomes(
        &self,
        day: i64,
        after: Option<&Domain>,
        limit: usize,
    ) -> Result<Vec<Domain>, StoreError> {
        let sql = "SELECT DISTINCT domain FROM dmarc_outcome WHERE day = $1 AND domain > $2
            ORDER BY domain LIMIT $3";
        self.domains_of_day(sql, day, after, limit).await
    }

    /// The outcomes of a day and a domain, those of one policy beside each other.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn dmarc_outcomes(
        &self,
        day: i64,
        domain: &Domain,
    ) -> Result<Vec<DmarcOutcome>, StoreError> {
        let domain = domain.as_str().to_owned();
        self.0.engine.read(ReadOutcomes { day, domain }).await
    }

    /// Forgets the outcomes of a domain on a day.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn forget_dmarc_outcomes(&self, day: i64, domain: &Domain) -> Result<(), StoreError> {
        let domain = domain.as_str().to_owned();
        let body = Forget { day, domain };
        self.0.engine.write(body, Priority::Bulk).await
    }

    /// Forgets the outcomes of all domains up to a time.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn forget_dmarc_outcomes_before(&self, time: Timestamp) -> Result<(), StoreError> {
        let day = TlsOutcome::day_of(time);
        while self
            .0
            .engine
            .write(ForgetOld { day }, Priority::Bulk)
            .await?
        {}
        Ok(())
    }
}

struct Count(Vec<DmarcOutcome>);

impl Body for Count {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let mut of_day: Option<(i64, i64)> = None;
        for outcome in &self.0 {
            let letters = i64::try_from(outcome.letters).unwrap_or(i64::MAX);
            let (domain, key) = (outcome.domain.as_str(), outcome.key());
            let sql = "UPDATE dmarc_outcome SET letters = letters + $4
                WHERE day = $1 AND domain = $2 AND name = $3";
            let values = params![outcome.day, domain, &key, letters];
            if tx.execute(sql, values).await? > 0 {
                continue;
            }
            let known = match of_day {
                Some((day, count)) if day == outcome.day => count,
                _ => count_of_day(tx, outcome.day).await?,
            };
            of_day = Some((outcome.day, known + 1));
            let sql = "SELECT count(*) FROM dmarc_outcome WHERE day = $1 AND domain = $2";
            let of_domain = tx.one(sql, params![outcome.day, domain]).await?.int(0)?;
            if known >= OUTCOMES_OF_A_DAY_MAX || of_domain >= OUTCOMES_OF_A_DOMAIN_MAX {
                continue;
            }
            let sql = "INSERT INTO dmarc_outcome
                    (day, domain, name, policy, source, record, letters)
                VALUES ($1, $2, $3, $4, $5, $6, $7)
                ON CONFLICT (day, domain, name)
                    DO UPDATE SET letters = dmarc_outcome.letters + excluded.letters";
            let values = params![
                outcome.day,
                domain,
                &key,
                &outcome.policy,
                &outcome.source,
                &outcome.record,
                letters,
            ];
            tx.execute(sql, values).await?;
        }
        Ok(())
    }
}

async fn count_of_day(tx: &mut Tx<'_>, day: i64) -> Result<i64, StoreError> {
    let sql = "SELECT count(*) FROM dmarc_outcome WHERE day = $1";
    tx.one(sql, params![day]).await?.int(0)
}

struct ReadOutcomes {
    day: i64,
    domain: String,
}

impl Body for ReadOutcomes {
    type Out = Vec<DmarcOutcome>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Self::Out, StoreError> {
        let sql = "SELECT day, domain, policy, source, record, letters FROM dmarc_outcome
            WHERE day = $1 AND domain = $2 ORDER BY policy, source, record";
        let rows = tx.rows(sql, params![self.day, &self.domain]).await?;
        let read = |mut row: Row| {
            Ok(DmarcOutcome {
                day: row.int(0)?,
                domain: parse_domain(&row.text(1)?)?,
                policy: row.text(2)?,
                source: row.text(3)?,
                record: row.text(4)?,
                letters: row.unsigned(5)?,
            })
        };
        rows.into_iter().map(read).collect()
    }
}

struct Forget {
    day: i64,
    domain: String,
}

impl Body for Forget {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let sql = "DELETE FROM dmarc_outcome WHERE day = $1 AND domain = $2";
        tx.execute(sql, params![self.day, &self.domain]).await?;
        Ok(())
    }
}

/// Forgets some; whether there may be more.
struct ForgetOld {
    day: i64,
}

impl Body for ForgetOld {
    type Out = bool;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<bool, StoreError> {
        let sql = "SELECT day, domain, name FROM dmarc_outcome WHERE day <= $1
            ORDER BY day, domain, name LIMIT $2";
        let rows = tx.rows(sql, params![self.day, PIECE_ROWS]).await?;
        let may_be_more = !rows.is_empty();
        for mut row in rows {
            let sql = "DELETE FROM dmarc_outcome WHERE day = $1 AND domain = $2 AND name = $3";
            let (domain, name) = (row.text(1)?, row.bytes(2)?);
            let values = params![row.int(0)?, &domain, name.as_slice()];
            tx.send(sql, values).await?;
        }
        Ok(may_be_more)
    }
}
