//! Reports of others about our domains, in rows (RFC 9990, RFC 8460, RFC 5965).
//!
//! What a report says, and whether it is to be believed, is decided by who reads it.

use base::{Domain, Timestamp};

use crate::directory::domain as parse_domain;
use crate::engine::{Body, Priority, Row, Tx, params};
use crate::{Store, StoreError};

/// The most reports that are kept; the oldest go first.
const REPORTS_MAX: i64 = 50_000;
/// The most of those that are not believed: whoever sends them pushes out no other.
const UNBELIEVED_MAX: i64 = 1_000;
/// The most believed ones of one sender: whoever passes DMARC for a domain of his own pushes out only his.
const OF_SENDER_MAX: i64 = 500;
/// The most that a count says: sums of all rows are numbers still.
const COUNT_MAX: u64 = 1_000_000_000;
/// Rows that one transaction removes, about.
const PIECE_ROWS: u64 = 2_000;
/// The most rows of a report that are kept; its sums are of all.
const ROWS_MAX: usize = 1_000;
/// Sources of a summary at most.
const SUMS_MAX: i64 = 1_000;

/// A report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReportInfo {
    /// Its name here, made from who sent it and its id there.
    pub name: String,
    /// `dmarc`, `tls`, or the type of a complaint: `abuse`, `fraud`, …
    pub kind: String,
    /// The domain of ours that it is about.
    pub domain: Domain,
    /// The domain that sent it.
    pub sender: String,
    /// Who reports, in its own words.
    pub organisation: String,
    /// Its id there.
    pub id: String,
    /// From when.
    pub begins_at: Timestamp,
    /// Until when.
    pub ends_at: Timestamp,
    /// When it came.
    pub received_at: Timestamp,
    /// Whether its letter was from whom it says.
    pub believed: bool,
    /// How many letters or connections were in order.
    pub good: u64,
    /// How many were not.
    pub bad: u64,
}

/// Letters or connections of a report that are alike.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReportRow {
    /// The address or host.
    pub source: String,
    /// Whether they were in order.
    pub good: bool,
    /// What was found, in words.
    pub result: String,
    /// How many.
    pub count: u64,
}

/// The sums of all believed reports about a source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReportSum {
    /// The domain of ours.
    pub domain: Domain,
    /// The kind of the reports.
    pub kind: String,
    /// The address or host.
    pub source: String,
    /// How many were in order.
    pub good: u64,
    /// How many were not.
    pub bad: u64,
}

impl ReportInfo {
    /// What [`Self::name`] is to be.
    #[must_use]
    pub fn name_of(kind: &str, sender: &str, organisation: &str, id: &str, domain: &str) -> String {
        let mut hasher = blake3::Hasher::new();
        for text in [kind, sender, organisation, id, domain] {
            hasher.update(&text.len().to_le_bytes());
            hasher.update(text.as_bytes());
        }
        let mut hex = hasher.finalize().to_hex().to_string();
        hex.truncate(16);
        hex
    }
}

impl Store {
    /// Keeps a report, unless it is there already; whether it is new. One that is believed takes the
    /// place of one that is not. Of more reports than are kept the oldest go.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn keep_report(
        &self,
        report: ReportInfo,
        mut rows: Vec<ReportRow>,
    ) -> Result<bool, StoreError> {
        // The rows of most letters are those that somebody looks for.
        rows.sort_by_key(|row| std::cmp::Reverse(row.count));
        rows.truncate(ROWS_MAX);
        let body = Keep { report, rows };
        self.0.engine.write(body, Priority::Bulk).await
    }

    /// Reports, the newest first.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn reports(
        &self,
        domain: Option<&Domain>,
        limit: usize,
    ) -> Result<Vec<ReportInfo>, StoreError> {
        let domain = domain.map(|domain| domain.as_str().to_owned());
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.0.engine.read(ReadReports { domain, limit }).await
    }

    /// One report with its rows.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn report(
        &self,
        name: &str,
    ) -> Result<Option<(ReportInfo, Vec<ReportRow>)>, StoreError> {
        let name = name.to_owned();
        self.0.engine.read(ReadReport { name }).await
    }

    /// What the believed reports since a time say of each source, those with most that was not in order
    /// first.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn report_sums(
        &self,
        domain: Option<&Domain>,
        since: Timestamp,
    ) -> Result<Vec<ReportSum>, StoreError> {
        let domain = domain.map(|domain| domain.as_str().to_owned());
        self.0.engine.read(ReadSums { domain, since }).await
    }

    /// Forgets the reports that came before a time; how many.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn forget_reports_before(&self, before: Timestamp) -> Result<u64, StoreError> {
        let mut total = 0;
        loop {
            let body = ForgetReports { before };
            match self.0.engine.write(body, Priority::Bulk).await? {
                0 => return Ok(total),
                gone => total += gone,
            }
        }
    }
}

struct Keep {
    report: ReportInfo,
    rows: Vec<ReportRow>,
}

impl Body for Keep {
    type Out = bool;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<bool, StoreError> {
        let report = &self.report;
        let sql = "SELECT believed FROM report WHERE name = $1";
        if let Some(row) = tx.row(sql, params![&report.name]).await? {
            if row.int(0)? != 0 || !report.believed {
                return Ok(false);
            }
            remove(tx, &report.name).await?;
        }
        make_room(tx, report).await?;
        let sql = "INSERT INTO report (name, kind, domain, sender, organisation, report_id,
                begins_at, ends_at, received_at, believed, good, bad)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
            ON CONFLICT (name) DO NOTHING";
        let values = params![
            &report.name,
            &report.kind,
            report.domain.as_str(),
            &report.sender,
            &report.organisation,
            &report.id,
            report.begins_at,
            report.ends_at,
            report.received_at,
            report.believed,
            whole(report.good),
            whole(report.bad),
        ];
        // Another node may have been quicker.
        if tx.execute(sql, values).await? == 0 {
            return Ok(false);
        }
        let sql = "INSERT INTO report_row (report, number, source, good, result, count)
            VALUES ($1, $2, $3, $4, $5, $6)";
        for (number, row) in (0_i64..).zip(&self.rows) {
            let values = params![
                &report.name,
                number,
                &row.source,
                row.good,
                &row.result,
                whole(row.count),
            ];
            tx.send(sql, values).await?;
        }
        Ok(true)
    }
}

/// Removes the oldest where the most are kept already.
async fn make_room(tx: &mut Tx<'_>, report: &ReportInfo) -> Result<(), StoreError> {
    let believed = report.believed;
    if believed {
        let sql = "SELECT count(*) FROM report WHERE sender = $1 AND believed = 1";
        let count = tx.one(sql, params![&report.sender]).await?.int(0)?;
        if count >= OF_SENDER_MAX {
            let sql = "SELECT name FROM report WHERE sender = $1 AND believed = 1
                ORDER BY received_at, name LIMIT $2";
            let values = params![&report.sender, count - OF_SENDER_MAX + 1];
            for mut row in tx.rows(sql, values).await? {
                remove(tx, &row.text(0)?).await?;
            }
        }
    }
    let most = if believed {
        REPORTS_MAX
    } else {
        UNBELIEVED_MAX
    };
    let sql = "SELECT count(*) FROM report WHERE believed = $1";
    let count = tx.one(sql, params![believed]).await?.int(0)?;
    if count < most {
        return Ok(());
    }
    let sql = "SELECT name FROM report WHERE believed = $1 ORDER BY received_at, name LIMIT $2";
    let oldest = tx.rows(sql, params![believed, count - most + 1]).await?;
    for mut row in oldest {
        remove(tx, &row.text(0)?).await?;
    }
    Ok(())
}

/// Removes a report; how many rows went.
async fn remove(tx: &mut Tx<'_>, name: &str) -> Result<u64, StoreError> {
    let sql = "DELETE FROM report_row WHERE report = $1";
    let rows = tx.execute(sql, params![name]).await?;
    let sql = "DELETE FROM report WHERE name = $1";
    Ok(rows + tx.execute(sql, params![name]).await?)
}

fn whole(count: u64) -> i64 {
    i64::try_from(count.min(COUNT_MAX)).unwrap_or(i64::MAX)
}

fn info(mut row: Row) -> Result<ReportInfo, StoreError> {
    Ok(ReportInfo {
        name: row.text(0)?,
        kind: row.text(1)?,
        domain: parse_domain(&row.text(2)?)?,
        sender: row.text(3)?,
        organisation: row.text(4)?,
        id: row.text(5)?,
        begins_at: row.time(6)?,
        ends_at: row.time(7)?,
        received_at: row.time(8)?,
        believed: row.int(9)? != 0,
        good: row.unsigned(10)?,
        bad: row.unsigned(11)?,
    })
}

struct ReadReports {
    domain: Option<String>,
    limit: i64,
}

impl Body for ReadReports {
    type Out = Vec<ReportInfo>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Self::Out, StoreError> {
        let rows = match &self.domain {
            Some(domain) => {
                let sql = "SELECT name, kind, domain, sender, organisation, report_id, begins_at,
                        ends_at, received_at, believed, good, bad
                    FROM report WHERE domain = $1 ORDER BY received_at DESC, name LIMIT $2";
                tx.rows(sql, params![domain, self.limit]).await?
            }
            None => {
                let sql = "SELECT name, kind, domain, sender, organisation, report_id, begins_at,
                        ends_at, received_at, believed, good, bad
                    FROM report ORDER BY received_at DESC, name LIMIT $1";
                tx.rows(sql, params![self.limit]).await?
            }
        };
        rows.into_iter().map(info).collect()
    }
}

struct ReadReport {
    name: String,
}

impl Body for ReadReport {
    type Out = Option<(ReportInfo, Vec<ReportRow>)>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Self::Out, StoreError> {
        let sql = "SELECT name, kind, domain, sender, organisation, report_id, begins_at, ends_at,
                received_at, believed, good, bad
            FROM report WHERE name = $1";
        let Some(row) = tx.row(sql, params![&self.name]).await? else {
            return Ok(None);
        };
        let sql = "SELECT source, good, result, count FROM report_row WHERE report = $1
            ORDER BY number";
        let rows = tx.rows(sql, params![&self.name]).await?;
        let read = |mut row: Row| {
            Ok(ReportRow {
                source: row.text(0)?,
                good: row.int(1)? != 0,
                result: row.text(2)?,
                count: row.unsigned(3)?,
            })
        };
        let rows: Result<Vec<_>, StoreError> = rows.into_iter().map(read).collect();
        Ok(Some((info(row)?, rows?)))
    }
}

struct ReadSums {
    domain: Option<String>,
    since: Timestamp,
}

impl Body for ReadSums {
    type Out = Vec<ReportSum>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Self::Out, StoreError> {
        let sql = "SELECT r.domain, r.kind, w.source,
                CAST(sum(CASE w.good WHEN 1 THEN w.count ELSE 0 END) AS BIGINT) AS good,
                CAST(sum(CASE w.good WHEN 1 THEN 0 ELSE w.count END) AS BIGINT) AS bad
            FROM report r JOIN report_row w ON w.report = r.name
            WHERE r.believed = 1 AND r.received_at >= $1 AND ($2 = '' OR r.domain = $2)
            GROUP BY r.domain, r.kind, w.source
            ORDER BY bad DESC, good DESC, r.domain, r.kind, w.source LIMIT $3";
        let domain = self.domain.as_deref().unwrap_or("");
        let rows = tx.rows(sql, params![self.since, domain, SUMS_MAX]).await?;
        let read = |mut row: Row| {
            Ok(ReportSum {
                domain: parse_domain(&row.text(0)?)?,
                kind: row.text(1)?,
                source: row.text(2)?,
                good: row.unsigned(3)?,
                bad: row.unsigned(4)?,
            })
        };
        rows.into_iter().map(read).collect()
    }
}

/// Forgets some; how many.
struct ForgetReports {
    before: Timestamp,
}

impl Body for ForgetReports {
    type Out = u64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<u64, StoreError> {
        let sql = "SELECT name FROM report WHERE received_at < $1 ORDER BY received_at LIMIT 500";
        let (mut gone, mut rows) = (0, 0);
        for mut row in tx.rows(sql, params![self.before]).await? {
            rows += remove(tx, &row.text(0)?).await?;
            gone += 1;
            if rows >= PIECE_ROWS {
                break;
            }
        }
        Ok(gone)
    }
}
