//! Addresses elsewhere that are not tried for a while, because letters to them failed for good again
//! and again, or because the operator says so.
//!
//! What counts, how often and for how long is decided by who settles a claim; counting is done here,
//! in the settlement's own transaction. A row is for the letters of one sender's domain, or, if the
//! operator made it so, for those of all. A letter that was taken at an address removes what was
//! counted against it, whoever sent it.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base::{Domain, EmailAddress, Timestamp};
use tracing::warn;

use crate::directory::{address as parse_address, domain as parse_domain};
use crate::engine::{Body, Priority, Row, Tx, params};
use crate::{Store, StoreError};

/// How long it is believed that the table is empty, or is not: other nodes change it, too.
const BELIEVED_FOR: Duration = Duration::from_secs(60);
/// How long what was counted is kept after the last failure, and a row after its time is over.
const KEPT_FOR: Duration = Duration::from_secs(180 * 86_400);
/// Bytes of a reason that are kept.
const REASON_BYTES_MAX: usize = 400;
/// Rows that a list shows when no limit is given, and at most.
const LIST_MAX: usize = 10_000;
/// Rows that one transaction removes.
const PIECE_ROWS: i64 = 1_000;
/// The scope of what is for all senders.
const ALL_SENDERS: &str = "";

/// An address that is not tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppression {
    /// The address, the ASCII letters of its local part in lower case.
    pub address: EmailAddress,
    /// For whose letters: those of this domain's senders, or of all.
    pub sender_domain: Option<Domain>,
    /// Whether the operator made it.
    pub manual: bool,
    /// Failures for good that were counted before it was suppressed.
    pub failures: u32,
    /// The enhanced status of the last one; empty for the operator's.
    pub status: String,
    /// Why: the other server's words, or the operator's.
    pub reason: String,
    /// When it last failed, or when the operator made it.
    pub last_at: Timestamp,
    /// Since when it is not tried.
    pub since: Timestamp,
    /// Until when; `None`: until it is removed.
    pub until: Option<Timestamp>,
}

/// How many failures, over how long a time, keep an address from being tried, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuppressionRule {
    /// So many failures for good.
    pub failures: u32,
    /// The least time between the first and the last of them.
    pub span: Duration,
    /// Failures longer ago than this before the next are forgotten.
    pub memory: Duration,
    /// How long it is not tried the first time; doubled each time it fails again after that.
    pub kept: Duration,
    /// The longest time.
    pub kept_max: Duration,
}

/// A failure for good that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedFailure {
    /// Of which address.
    pub address: EmailAddress,
    /// The enhanced status.
    pub status: String,
    /// What the other server said.
    pub reason: String,
    /// What follows.
    pub rule: SuppressionRule,
}

/// What a settlement says about addresses elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressNews {
    /// Failures for good, of letters of this sender's domain.
    pub failed: Vec<(Domain, CountedFailure)>,
    /// Addresses at which a letter was taken.
    pub reached: Vec<EmailAddress>,
}

/// Which rows are meant.
#[derive(Clone, Debug, Default)]
pub struct SuppressionFilter {
    /// Only this address.
    pub address: Option<EmailAddress>,
    /// Only those for senders of this domain.
    pub sender_domain: Option<Domain>,
    /// At most so many (0: 10,000).
    pub limit: usize,
}

/// A row that the operator makes.
#[derive(Clone, Debug)]
pub struct NewSuppression {
    /// The address.
    pub address: EmailAddress,
    /// For whose letters; `None`: all.
    pub sender_domain: Option<Domain>,
    /// Why.
    pub reason: String,
    /// Until when; `None`: until it is removed.
    pub until: Option<Timestamp>,
}

/// What is believed of the table for a while, so that a letter to nobody suppressed costs nothing.
#[derive(Debug, Default)]
pub(crate) struct Believed(Mutex<Option<(Timestamp, bool)>>);

impl Believed {
    fn rows(&self, now: Timestamp) -> Option<bool> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back ends the belief, too.
        known
            .filter(|(at, _)| *at <= now && now.since(*at) < BELIEVED_FOR)
            .map(|(_, rows)| rows)
    }

    fn set(&self, known: Option<(Timestamp, bool)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// The table was changed here.
    pub(crate) fn forget(&self) {
        self.set(None);
    }
}

impl Store {
    /// Which of these addresses are not tried now, for letters of a sender's domain; of each the row
    /// for all senders goes first.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn suppressed(
        &self,
        addresses: &[&EmailAddress],
        sender_domain: Option<&Domain>,
    ) -> Result<Vec<Suppression>, StoreError> {
        if !self.has_suppressions().await? {
            return Ok(Vec::new());
        }
        let body = Active {
            addresses: addresses.iter().copied().map(key).collect(),
            scope: scope(sender_domain),
            now: self.0.shared.now(),
        };
        self.0.engine.read(body).await
    }

    /// Whether one address is not tried now, for letters of a sender's domain; the row for all
    /// senders goes first.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn suppression(
        &self,
        address: &EmailAddress,
        sender_domain: Option<&Domain>,
    ) -> Result<Option<Suppression>, StoreError> {
        let all = self.suppressed(&[address], sender_domain).await?;
        Ok(all.into_iter().next())
    }

    /// The addresses that are not tried, by address.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn suppressions(
        &self,
        filter: &SuppressionFilter,
    ) -> Result<Vec<Suppression>, StoreError> {
        let body = List {
            filter: filter.clone(),
            now: self.0.shared.now(),
        };
        self.0.engine.read(body).await
    }

    /// Keeps an address from being tried, instead of what was known of it.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for an address of ours; those of writing.
    pub async fn suppress(&self, new: NewSuppression) -> Result<(), StoreError> {
        if self.is_ours(&new.address.domain).await? {
            return Err(StoreError::Invalid(
                "the address is one of this server; disable its account instead".to_owned(),
            ));
        }
        let body = Suppress {
            new,
            now: self.0.shared.now(),
        };
        self.0.engine.write(body, Priority::Bulk).await?;
        self.0.shared.suppressions.forget();
        Ok(())
    }

    /// Forgets what is known against an address, for the senders of one domain or for all; how many
    /// rows that were.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn unsuppress(
        &self,
        address: &EmailAddress,
        sender_domain: Option<&Domain>,
    ) -> Result<u64, StoreError> {
        let body = Unsuppress {
            address: key(address),
            scope: sender_domain.map(|domain| domain.as_str().to_owned()),
        };
        let rows = self.0.engine.write(body, Priority::Bulk).await?;
        self.0.shared.suppressions.forget();
        Ok(rows)
    }

    /// Whether the table has any row, as far as this node knows.
    pub(crate) async fn has_suppressions(&self) -> Result<bool, StoreError> {
        let shared = &self.0.shared;
        let now = shared.now();
        if let Some(rows) = shared.suppressions.rows(now) {
            return Ok(rows);
        }
        let rows = self.0.engine.read(AnyRow).await?;
        shared.suppressions.set(Some((now, rows)));
        Ok(rows)
    }

    /// Forgets old rows.
    pub(crate) async fn trim_suppressions(&self, now: Timestamp) -> Result<(), StoreError> {
        let before = now - KEPT_FOR;
        let body = || self.0.engine.write(Trim { before }, Priority::Bulk);
        while body().await? > 0 {}
        Ok(())
    }
}

impl Suppression {
    /// Whether it is about this address: local parts differ in more than case on hardly any server.
    #[must_use]
    pub fn is_for(&self, address: &EmailAddress) -> bool {
        key(&self.address) == key(address)
    }
}

/// As an address stands in the table.
fn key(address: &EmailAddress) -> String {
    // Only ASCII: other letters may grow in lower case, beyond what an address may be.
    address.to_string().to_ascii_lowercase()
}

fn scope(sender_domain: Option<&Domain>) -> String {
    sender_domain.map_or(ALL_SENDERS, Domain::as_str).to_owned()
}

fn short(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)]
}

/// Those that can be read: one that cannot must not hold up letters to the others.
fn readable(rows: Vec<Row>) -> Vec<Suppression> {
    let read = rows.into_iter().filter_map(|row| {
        let read = suppression(row);
        read.inspect_err(|error| warn!(%error, "a row of an address that is not tried is skipped"))
            .ok()
    });
    read.collect()
}

fn suppression(mut row: Row) -> Result<Suppression, StoreError> {
    let scope = row.text(1)?;
    Ok(Suppression {
        address: parse_address(&row.text(0)?)?,
        sender_domain: match scope.as_str() {
            ALL_SENDERS => None,
            domain => Some(parse_domain(domain)?),
        },
        manual: row.truth(2)?,
        failures: row.u32(3)?,
        status: row.text(4)?,
        reason: row.text(5)?,
        last_at: row.time(6)?,
        since: row.time(7)?,
        until: row.maybe_int(8)?.map(Timestamp),
    })
}

/// Counts what a settlement says, in its transaction.
pub(crate) async fn learn(
    tx: &mut Tx<'_>,
    news: &AddressNews,
    now: Timestamp,
) -> Result<(), StoreError> {
    // In one order in every transaction, so that no two wait for each other.
    let reached = news.reached.iter().map(|address| (key(address), None));
    let failed = news.failed.iter();
    let failed = failed.map(|failed| (key(&failed.1.address), Some(failed)));
    let mut all: Vec<_> = reached.chain(failed).collect();
    all.sort_by(|(one, failed), (other, other_failed)| {
        let domain = |failed: &Option<&(Domain, CountedFailure)>| failed.map(|it| it.0.clone());
        (one, domain(failed)).cmp(&(other, domain(other_failed)))
    });
    for (address, failed) in all {
        match failed {
            None => {
                let sql = "DELETE FROM suppression WHERE address = $1 AND manual = 0";
                tx.send(sql, params![&address]).await?;
            }
            Some((sender_domain, failure)) => count(tx, sender_domain, failure, now).await?,
        }
    }
    Ok(())
}

async fn count(
    tx: &mut Tx<'_>,
    sender_domain: &Domain,
    failure: &CountedFailure,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (address, scope) = (key(&failure.address), sender_domain.as_str());
    let sql = "INSERT INTO suppression (address, scope, domain, manual, failures, times,
            status, reason, first_at, last_at, since_at, until_at)
        VALUES ($1, $2, $3, 0, 0, 0, '', '', $4, $4, NULL, NULL)
        ON CONFLICT (address, scope) DO UPDATE SET domain = excluded.domain
        RETURNING manual, failures, times, first_at, last_at, until_at";
    // One statement: another transaction may remove the row between two.
    let domain = failure.address.domain.as_str();
    let row = tx.one(sql, params![&address, scope, domain, now]).await?;
    if row.truth(0)? {
        return Ok(());
    }
    let before = Counted {
        failures: row.u32(1)?,
        times: row.u32(2)?,
        first_at: row.time(3)?,
        last_at: row.time(4)?,
        until: row.maybe_int(5)?.map(Timestamp),
    };
    let counted = before.after(&failure.rule, now);
    let sql = "UPDATE suppression SET failures = $3, times = $4, first_at = $5, last_at = $6,
            since_at = CASE WHEN $7 = 1 THEN $6 ELSE since_at END, until_at = $8,
            status = $9, reason = $10
        WHERE address = $1 AND scope = $2";
    let values = params![
        &address,
        scope,
        i64::from(counted.failures),
        i64::from(counted.times),
        counted.first_at,
        counted.last_at,
        counted.times > before.times,
        counted.until,
        failure.status.as_str(),
        short(&failure.reason),
    ];
    tx.execute(sql, values).await?;
    Ok(())
}

/// What is counted of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counted {
    failures: u32,
    /// How often it was suppressed.
    times: u32,
    first_at: Timestamp,
    last_at: Timestamp,
    until: Option<Timestamp>,
}

impl Counted {
    /// The same after one more failure now.
    fn after(mut self, rule: &SuppressionRule, now: Timestamp) -> Self {
        if self.until.is_some_and(|until| until > now) {
            // A letter that was under way already; it tells nothing new.
            self.last_at = now;
            return self;
        }
        let forgotten = now.since(self.last_at) > rule.memory.max(rule.kept_max);
        if forgotten || self.failures == 0 {
            self.failures = 0;
            self.first_at = now;
        }
        if forgotten {
            self.times = 0;
        }
        self.failures = self.failures.saturating_add(1);
        self.last_at = now;
        let enough = self.failures >= rule.failures && now.since(self.first_at) >= rule.span;
        // One that fails again in its trial after the time is over needs no second count.
        if enough || self.times > 0 {
            let doubled = 1_u32.checked_shl(self.times).unwrap_or(u32::MAX);
            let kept = rule.kept.saturating_mul(doubled).min(rule.kept_max);
            self.until = Some(now + kept);
            self.times = self.times.saturating_add(1);
        }
        self
    }
}

struct AnyRow;

impl Body for AnyRow {
    type Out = bool;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM suppression LIMIT 1";
        Ok(tx.row(sql, &[]).await?.is_some())
    }
}

struct Active {
    /// As they stand in the table.
    addresses: BTreeSet<String>,
    scope: String,
    now: Timestamp,
}

impl Body for Active {
    type Out = Vec<Suppression>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<Suppression>, StoreError> {
        let sql =
            "SELECT address, scope, manual, failures, status, reason, last_at, since_at, until_at
            FROM suppression
            WHERE address = $1 AND since_at IS NOT NULL AND (scope = '' OR scope = $2)
                AND (until_at IS NULL OR until_at > $3)
            ORDER BY scope";
        // By the primary key: a large domain may have very many rows, and a claim has few recipients.
        let mut rows = Vec::new();
        for address in &self.addresses {
            rows.extend(
                tx.rows(sql, params![address, &self.scope, self.now])
                    .await?,
            );
        }
        Ok(readable(rows))
    }
}

struct List {
    filter: SuppressionFilter,
    now: Timestamp,
}

impl Body for List {
    type Out = Vec<Suppression>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<Suppression>, StoreError> {
        let sql =
            "SELECT address, scope, manual, failures, status, reason, last_at, since_at, until_at
            FROM suppression
            WHERE since_at IS NOT NULL AND (until_at IS NULL OR until_at > $1)
                AND (CAST($2 AS TEXT) IS NULL OR address = $2)
                AND (CAST($3 AS TEXT) IS NULL OR scope = $3 OR scope = '')
            ORDER BY address, scope LIMIT $4";
        let address = self.filter.address.as_ref().map(key);
        let domain = self.filter.sender_domain.as_ref().map(Domain::as_str);
        let limit = match self.filter.limit {
            0 => LIST_MAX,
            limit => limit.min(LIST_MAX),
        };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let values = params![self.now, address.as_deref(), domain, limit];
        Ok(readable(tx.rows(sql, values).await?))
    }
}

struct Suppress {
    new: NewSuppression,
    now: Timestamp,
}

impl Body for Suppress {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let sql = "INSERT INTO suppression (address, scope, domain, manual, failures, times,
                status, reason, first_at, last_at, since_at, until_at)
            VALUES ($1, $2, $3, 1, 0, 0, '', $4, $5, $5, $5, $6)
            ON CONFLICT (address, scope) DO UPDATE SET manual = 1, failures = 0, times = 0,
                status = '', reason = excluded.reason, first_at = excluded.first_at,
                last_at = excluded.last_at, since_at = excluded.since_at,
                until_at = excluded.until_at";
        let new = &self.new;
        let (address, scope) = (key(&new.address), scope(new.sender_domain.as_ref()));
        let values = params![
            &address,
            &scope,
            new.address.domain.as_str(),
            short(&new.reason),
            self.now,
            new.until,
        ];
        tx.execute(sql, values).await?;
        Ok(())
    }
}

struct Unsuppress {
    address: String,
    scope: Option<String>,
}

impl Body for Unsuppress {
    type Out = u64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<u64, StoreError> {
        let sql = "DELETE FROM suppression
            WHERE address = $1 AND (CAST($2 AS TEXT) IS NULL OR scope = $2)";
        let values = params![&self.address, self.scope.as_deref()];
        tx.execute(sql, values).await
    }
}

struct Trim {
    before: Timestamp,
}

impl Body for Trim {
    type Out = u64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<u64, StoreError> {
        let sql = "SELECT address, scope FROM suppression
            WHERE last_at < $1 AND (since_at IS NULL OR until_at < $1) LIMIT $2";
        let old = tx.rows(sql, params![self.before, PIECE_ROWS]).await?;
        let mut removed = 0;
        for mut row in old {
            let sql = "DELETE FROM suppression WHERE address = $1 AND scope = $2
                AND last_at < $3 AND (since_at IS NULL OR until_at < $3)";
            let (address, scope) = (row.text(0)?, row.text(1)?);
            removed += tx
                .execute(sql, params![&address, &scope, self.before])
                .await?;
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const RULE: SuppressionRule = SuppressionRule {
        failures: 3,
        span: DAY,
        memory: DAY.saturating_mul(90),
        kept: DAY.saturating_mul(30),
        kept_max: DAY.saturating_mul(180),
    };

    fn at(days: u32) -> Timestamp {
        Timestamp(0) + DAY * days
    }

    fn fresh(now: Timestamp) -> Counted {
        Counted {
            failures: 0,
            times: 0,
            first_at: now,
            last_at: now,
            until: None,
        }
    }

    #[test]
    fn many_failures_at_once_are_not_enough() {
        let mut counted = fresh(at(0));
        for _ in 0..100 {
            counted = counted.after(&RULE, at(0));
        }
        assert_eq!(counted.until, None);
        // A day after the first of them it is no passing fault any more.
        counted = counted.after(&RULE, at(1));
        assert_eq!(counted.until, Some(at(31)));
    }

    #[test]
    fn the_third_in_time_suppresses_and_the_trial_doubles() {
        let counted = fresh(at(0)).after(&RULE, at(0)).after(&RULE, at(5));
        assert_eq!(counted.until, None);
        let first = counted.after(&RULE, at(9));
        assert_eq!((first.until, first.times), (Some(at(39)), 1));
        let under_way = first.after(&RULE, at(20));
        assert_eq!(under_way.until, Some(at(39)));
        let trial = under_way.after(&RULE, at(40));
        assert_eq!(trial.until, Some(at(100)), "twice as long");
        let last = trial.after(&RULE, at(101)).after(&RULE, at(230));
        assert_eq!(last.until, Some(at(410)), "at most 180 days");
    }

    #[test]
    fn what_is_long_ago_is_forgotten() {
        let counted = fresh(at(0)).after(&RULE, at(0)).after(&RULE, at(2));
        let counted = counted.after(&RULE, at(200));
        assert_eq!((counted.failures, counted.until), (1, None));
    }

    #[test]
    fn a_key_is_an_address_again() {
        // In lower case each of these letters would have three bytes instead of two.
        let local = "\u{130}".repeat(32);
        let address = EmailAddress::parse(&format!("{local}@Black.test")).unwrap();
        assert!(parse_address(&key(&address)).is_ok());
        let dora = EmailAddress::parse("Dora@black.test").unwrap();
        assert_eq!(key(&dora), "dora@black.test");
    }
}
