//! A connection with its prepared statements.
//!
//! Statements go out one after another without waiting for the answers of those before: whoever
//! needs no answer sends its statement and goes on ([`Session::send`]). The server runs them in
//! order, so that an answer that is waited for tells that all before it succeeded; the others are
//! looked at before a commit is believed. This matters: COMMIT of a transaction that failed answers
//! without an error, and stores nothing.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

use base::AccountId;
use tokio::sync::OwnedSemaphorePermit;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Statement};

use super::Statements;
use super::answer::{Line, Wrong};
use super::failure::{Fault, failure};
use super::values::{Kept, Param, ReadCell};
use crate::StoreError;
use crate::engine::Passing;
use crate::engine::value::{Cell, Row, Value};

/// What a connection is told first: no statement and no forgotten transaction holds locks for long.
const SETTINGS: &str = "SET statement_timeout = '60s'; SET lock_timeout = '20s';
    SET idle_in_transaction_session_timeout = '30s'; SET synchronous_commit = on;";
/// Notes in each transaction its number on this connection, by which its outcome is found out when
/// COMMIT was not answered. (The server's own number of a transaction does not serve: after a crash
/// it gives the numbers of lost ones to others.)
const MARK: &str = "INSERT INTO commit_mark (mark, number, at)
    VALUES ($1, $2, CAST(extract(epoch FROM now()) * 1000 AS BIGINT))
    ON CONFLICT (mark) DO UPDATE SET number = excluded.number, at = excluded.at";
/// The row must be there before the first transaction: only then can others wait for its end.
const NEW_MARK: &str = "INSERT INTO commit_mark (mark, number, at)
    SELECT nextval('connection_mark'), 0, CAST(extract(epoch FROM now()) * 1000 AS BIGINT)
    RETURNING mark";
/// Waits until the transaction of that mark is over.
const READ_MARK: &str = "SELECT number FROM commit_mark WHERE mark = $1 FOR UPDATE";
/// Ends a connection that may still hold a transaction. One that is being committed is committed
/// first.
const END_CONNECTION: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE usename = current_user AND application_name = $1";
/// Takes an account's row before anything else.
const LOCK_ACCOUNT: &str = "SELECT 1 FROM account WHERE account_id = $1 FOR NO KEY UPDATE";
/// Takes the right to store blobs, in the order of the list.
const LOCK_BLOBS: &str =
    "SELECT count(pg_advisory_xact_lock(7310580, CAST(k AS INTEGER))) FROM unnest($1) k";

/// An answer that is on its way.
type Sent<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

/// One connection.
pub(crate) struct Session {
    client: Arc<Client>,
    line: Line,
    /// By the address and length of our text.
    prepared: HashMap<(usize, usize), Statement>,
    statements: Statements,
    /// Answers that nobody has looked at.
    sent: Vec<Sent<()>>,
    /// What the first of them that failed said.
    broken: Option<StoreError>,
    /// Why the transaction may be run again.
    fault: Option<Fault>,
    /// Whether the connection failed.
    lost: bool,
    /// What is told if the server did not answer.
    silence: Option<StoreError>,
    /// Unlike that of any other connection; made with the first transaction.
    mark: Option<i64>,
    /// Of the transaction, counted on this connection.
    number: i64,
    place: Option<OwnedSemaphorePermit>,
}

/// How a transaction ended.
pub(super) enum Ended {
    Committed,
    /// Nothing is stored.
    Nothing(StoreError),
    /// COMMIT was sent and its answer did not come.
    Unknown(Marked),
}

/// By what a transaction is found again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marked {
    mark: i64,
    number: i64,
}

impl Session {
    pub(super) fn new(client: Client, line: Line, statements: Statements) -> Self {
        Self {
            client: Arc::new(client),
            line,
            prepared: HashMap::new(),
            statements,
            sent: Vec::new(),
            broken: None,
            fault: None,
            lost: false,
            silence: None,
            mark: None,
            number: 0,
            place: None,
        }
    }

    pub(super) fn hold(&mut self, place: OwnedSemaphorePermit) {
        self.place = Some(place);
    }

    pub(super) fn let_go(&mut self) -> Option<OwnedSemaphorePermit> {
        self.place.take()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lost || self.client.is_closed()
    }

    /// What is told if the server did not answer on this connection.
    pub(super) fn silence(&self) -> Option<StoreError> {
        self.silence.clone()
    }

    pub(super) async fn prepare_for_use(&mut self) -> Result<(), StoreError> {
        self.batch(SETTINGS).await
    }

    /// Begins a transaction and takes rows of accounts, in ascending order, and then the right to
    /// store blobs: transactions that take locks in one order do not wait for each other in a ring.
    /// All of it travels with the first statement that is waited for.
    pub(super) async fn begin(
        &mut self,
        accounts: &[AccountId],
        blobs: &[i64],
    ) -> Result<(), StoreError> {
        self.start_anew();
        let mark = match self.mark {
            Some(mark) => mark,
            None => self.make_mark().await?,
        };
        self.number += 1;
        self.post_text("BEGIN");
        self.send(MARK, &[Value::Int(mark), Value::Int(self.number)])
            .await?;
        for account in accounts {
            self.send(LOCK_ACCOUNT, &[Value::from(*account)]).await?;
        }
        if !blobs.is_empty() {
            self.send(LOCK_BLOBS, &[Value::List(blobs)]).await?;
        }
        Ok(())
    }

    /// Begins a snapshot.
    pub(super) fn begin_snapshot(&mut self) {
        self.start_anew();
        self.post_text("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    }

    /// Ends a snapshot. Nobody waits for the answer: whatever comes next on this connection comes
    /// after it.
    pub(super) fn end_snapshot(&mut self) {
        self.post_text("END");
    }

    pub(super) fn roll_back(&mut self) {
        self.post_text("ROLLBACK");
    }

    /// Begins a part of the transaction that can be taken back alone.
    pub(super) fn set_savepoint(&mut self) {
        self.post_text("SAVEPOINT body");
    }

    pub(super) fn release_savepoint(&mut self) {
        self.post_text("RELEASE body");
    }

    /// Takes back what was done since the savepoint.
    ///
    /// # Errors
    /// That of a statement that was sent before: it may have been one of an earlier part, and going
    /// back would hide that its part is gone as well.
    pub(super) async fn roll_back_to_savepoint(&mut self) -> Result<(), StoreError> {
        self.look_at_sent().await?;
        self.post_text("ROLLBACK TO body; RELEASE body");
        Ok(())
    }

    /// Commits. COMMIT travels behind the statements that nobody has waited for; if one of them
    /// failed, the server stores nothing.
    pub(super) async fn commit(&mut self) -> Ended {
        let client = Arc::clone(&self.client);
        let mut committing: Sent<()> =
            Box::pin(async move { client.batch_execute("COMMIT").await });
        let sent = poll_once(&mut committing);
        let before = self.look_at_sent().await;
        // What was lost before says nothing of COMMIT.
        let is_lost = self.fault == Some(Fault::Lost);
        let answer = match sent {
            Poll::Ready(answer) => answer.map_err(Wrong::Told),
            Poll::Pending => self.line.wait(committing).await,
        };
        let is_answered = answer.map_err(|wrong| self.note(&wrong)).is_ok();
        let marked = Marked {
            mark: self.mark.unwrap_or_default(),
            number: self.number,
        };
        ended(before, is_lost, is_answered, marked)
    }

    /// Whether a transaction of another connection was committed. That connection is ended first:
    /// nobody may wait for it any more, and its COMMIT must not come later.
    pub(super) async fn is_committed(&mut self, other: Marked) -> Result<bool, StoreError> {
        self.start_anew();
        let name = name_of(other.mark);
        self.rows(END_CONNECTION, &[Value::Text(&name)], 1).await?;
        let rows = self.rows(READ_MARK, &[Value::Int(other.mark)], 1).await?;
        let row = rows.first();
        let row = row.ok_or_else(|| StoreError::Io("a commit's mark is gone".to_owned()))?;
        Ok(row.int(0)? >= other.number)
    }

    /// Whether the transaction broke in a way that another run may mend.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Whether a statement failed that nobody waited for.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Runs statements of the engine itself.
    pub(super) async fn batch(&mut self, sql: &str) -> Result<(), StoreError> {
        let done = self.line.wait(self.client.batch_execute(sql)).await;
        done.map_err(|wrong| self.note(&wrong))
    }

    /// Sends a statement on its way; its failure shows in a later one, or when it is committed.
    pub(crate) async fn send(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
    ) -> Result<(), StoreError> {
        let statement = self.statement(sql).await?;
        let params: Vec<Kept> = params.iter().map(|value| Kept::of(*value)).collect();
        let client = Arc::clone(&self.client);
        self.post(Box::pin(async move {
            client.execute_raw(&statement, params).await.map(drop)
        }));
        Ok(())
    }

    /// Runs a statement; gives the number of rows changed.
    pub(crate) async fn execute(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
    ) -> Result<u64, StoreError> {
        let statement = self.statement(sql).await?;
        let params = params.iter().map(|value| Param(*value));
        let done = self.client.execute_raw(&statement, params);
        match self.line.wait(done).await {
            Ok(changed) => Ok(changed),
            Err(wrong) => Err(self.failed(&wrong).await),
        }
    }

    /// Runs a statement and shows its rows one by one.
    pub(crate) async fn scan(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
        each: &mut (dyn FnMut(&Passing<'_>) -> Result<(), StoreError> + Send),
    ) -> Result<(), StoreError> {
        let statement = self.statement(sql).await?;
        let found = self.query(&statement, params).await?;
        found
            .iter()
            .try_for_each(|row| each(&Passing::Postgres(row)))
    }

    /// Runs a statement; gives at most `limit` of its rows.
    pub(crate) async fn rows(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let statement = self.statement(sql).await?;
        let found = self.query(&statement, params).await?;
        found
            .iter()
            .take(limit)
            .map(|row| row_of(row, sql))
            .collect()
    }

    async fn query(
        &mut self,
        statement: &Statement,
        params: &[Value<'_>],
    ) -> Result<Vec<tokio_postgres::Row>, StoreError> {
        let params: Vec<Param<'_>> = params.iter().map(|value| Param(*value)).collect();
        let params: Vec<&(dyn ToSql + Sync)> = params
            .iter()
            .map(|param| param as &(dyn ToSql + Sync))
            .collect();
        let found = self.client.query(statement, &params);
        match self.line.wait(found).await {
            Ok(found) => Ok(found),
            Err(wrong) => Err(self.failed(&wrong).await),
        }
    }

    async fn statement(&mut self, sql: &'static str) -> Result<Statement, StoreError> {
        let key = (sql.as_ptr().addr(), sql.len());
        if let Some(statement) = self.prepared.get(&key) {
            return Ok(statement.clone());
        }
        self.statements
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(sql);
        let made = self.line.wait(self.client.prepare(&rewrite(sql))).await;
        let statement = match made {
            Ok(statement) => statement,
            Err(wrong) => {
                return Err(match self.failed(&wrong).await {
                    StoreError::Bug(why) => StoreError::Bug(format!("{why}: {sql}")),
                    other => other,
                });
            }
        };
        self.prepared.insert(key, statement.clone());
        Ok(statement)
    }

    async fn make_mark(&mut self) -> Result<i64, StoreError> {
        let rows = self.rows(NEW_MARK, &[], 1).await?;
        let mark = rows.first().map_or(Ok(0), |row| row.int(0))?;
        let name = name_of(mark);
        self.batch(&format!("SET application_name = '{name}'"))
            .await?;
        self.mark = Some(mark);
        Ok(mark)
    }

    fn start_anew(&mut self) {
        self.sent.clear();
        self.broken = None;
        self.fault = None;
    }

    /// Sends a statement of the engine itself.
    fn post_text(&mut self, sql: &'static str) {
        let client = Arc::clone(&self.client);
        self.post(Box::pin(async move { client.batch_execute(sql).await }));
    }

    fn post(&mut self, mut sending: Sent<()>) {
        match poll_once(&mut sending) {
            Poll::Pending => self.sent.push(sending),
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => {
                let told = self.note(&Wrong::Told(error));
                self.broken.get_or_insert(told);
            }
        }
    }

    /// Waits for the answers that nobody has looked at.
    async fn look_at_sent(&mut self) -> Result<(), StoreError> {
        for answer in std::mem::take(&mut self.sent) {
            // What fails after the first does so because of it.
            if let Err(wrong) = self.line.wait(answer).await
                && self.broken.is_none()
            {
                self.broken = Some(self.note(&wrong));
            }
        }
        self.broken.clone().map_or(Ok(()), Err)
    }

    /// What a failed statement means: one sent before it may be the cause.
    pub(super) async fn failed(&mut self, wrong: &Wrong) -> StoreError {
        if matches!(wrong, Wrong::Silent(_)) {
            return self.note(wrong);
        }
        match self.look_at_sent().await {
            Ok(()) => self.note(wrong),
            Err(first) => first,
        }
    }

    /// The connection itself, for whole tables.
    pub(super) fn client(&self) -> Arc<Client> {
        Arc::clone(&self.client)
    }

    /// How long its answers are waited for.
    pub(super) fn line(&self) -> &Line {
        &self.line
    }

    pub(super) fn note(&mut self, wrong: &Wrong) -> StoreError {
        let (told, fault) = failure(wrong);
        if matches!(wrong, Wrong::Silent(_)) {
            tracing::warn!(error = %told, "the database hangs");
            self.silence.get_or_insert_with(|| told.clone());
        }
        self.fault = self.fault.or(fault);
        self.lost |= fault == Some(Fault::Lost);
        told
    }
}

/// How a transaction ended whose COMMIT was sent behind statements that answered `before`.
fn ended(
    before: Result<(), StoreError>,
    is_lost: bool,
    is_answered: bool,
    marked: Marked,
) -> Ended {
    match (before, is_answered) {
        (Ok(()), true) => Ended::Committed,
        // COMMIT of a transaction that failed answers without an error, and stores nothing. An
        // error that speaks of a lost connection may be all that was lost.
        (Err(error), true) => Ended::Nothing(error),
        // The server has refused a statement: the transaction was lost before COMMIT.
        (Err(error), false) if !is_lost => Ended::Nothing(error),
        (_, false) => Ended::Unknown(marked),
    }
}

/// A connection's name on the server.
fn name_of(mark: i64) -> String {
    format!("pennyblack {mark:x}")
}

/// The first poll puts a statement on its way.
fn poll_once<T>(sending: &mut Sent<T>) -> Poll<Result<T, Error>> {
    let mut context = Context::from_waker(Waker::noop());
    sending.as_mut().poll(&mut context)
}

/// Writes a statement the way PostgreSQL takes it: `IN list($n)` as `= ANY($n)`.
fn rewrite(sql: &str) -> String {
    sql.replace("IN list(", "= ANY(")
}

/// A row as it was read.
pub(super) fn row_of(row: &tokio_postgres::Row, of: &str) -> Result<Row, StoreError> {
    let cells = (0..row.len()).map(|at| row.try_get::<_, ReadCell>(at).map(|cell| cell.0));
    cells
        .collect::<Result<Vec<Cell>, _>>()
        .map(Row)
        .map_err(|error| StoreError::Bug(format!("a row of {of}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only COMMIT's own answer behind statements that all succeeded means that it is stored.
    #[test]
    fn a_commit_behind_a_failed_statement_stores_nothing() {
        let of = |before: Result<(), &str>, is_lost, is_answered| {
            let before = before.map_err(|why| StoreError::Io(why.to_owned()));
            let marked = Marked { mark: 7, number: 3 };
            match ended(before, is_lost, is_answered, marked) {
                Ended::Committed => "committed".to_owned(),
                Ended::Nothing(error) => format!("nothing: {error}"),
                Ended::Unknown(marked) => format!("unknown {}", marked.number),
            }
        };
        assert_eq!(of(Ok(()), false, true), "committed");
        assert_eq!(of(Ok(()), false, false), "unknown 3");
        for is_lost in [false, true] {
            let told = of(Err("08006"), is_lost, true);
            assert!(
                told.starts_with("nothing: ") && told.contains("08006"),
                "{told}"
            );
        }
        assert!(of(Err("23502"), false, false).starts_with("nothing: "));
        assert_eq!(of(Err("cut"), true, false), "unknown 3");
    }
}
