//! A connection with its prepared statements, and how values travel.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::future::Future;
use std::pin::pin;
use std::sync::PoisonError;
use std::task::{Context, Waker};

use bytes::{BufMut as _, BytesMut};
use tokio::sync::OwnedSemaphorePermit;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Statement};

use super::Statements;
use super::failure::{Fault, failure};
use crate::StoreError;
use crate::engine::value::{Cell, Row, Value};

/// What a connection is told first: no statement and no forgotten transaction holds locks for long.
const SETTINGS: &str = "SET statement_timeout = '60s'; SET lock_timeout = '20s';
    SET idle_in_transaction_session_timeout = '60s'; SET synchronous_commit = on;";
/// The transaction's id; made with the first write and known before COMMIT is sent.
const TRANSACTION_ID: &str = "SELECT CAST(CAST(pg_current_xact_id() AS TEXT) AS BIGINT)";
const TRANSACTION_STATUS: &str =
    "SELECT coalesce(pg_xact_status(CAST(CAST($1 AS TEXT) AS xid8)), 'unknown')";

/// One connection.
pub(crate) struct Session {
    client: Client,
    /// By the address and length of our text.
    prepared: HashMap<(usize, usize), Statement>,
    statements: Statements,
    /// Why the transaction may be run again.
    fault: Option<Fault>,
    transaction: Option<i64>,
    place: Option<OwnedSemaphorePermit>,
}

impl Session {
    pub(super) fn new(client: Client, statements: Statements) -> Self {
        Self {
            client,
            prepared: HashMap::new(),
            statements,
            fault: None,
            transaction: None,
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
        self.client.is_closed()
    }

    pub(super) async fn prepare_for_use(&mut self) -> Result<(), StoreError> {
        let done = self.client.batch_execute(SETTINGS).await;
        done.map_err(|error| self.note(&error))
    }

    /// Begins a transaction; the statement travels with the first one of the body.
    pub(super) fn begin(&mut self) {
        self.fault = None;
        self.transaction = None;
        self.send("BEGIN");
    }

    /// Begins a snapshot.
    pub(super) fn begin_snapshot(&mut self) {
        self.fault = None;
        self.send("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    }

    /// Ends a snapshot. Nobody waits for the answer: whatever comes next on this connection comes
    /// after it.
    pub(super) fn end_snapshot(&mut self) {
        self.send("COMMIT");
    }

    pub(super) fn roll_back(&mut self) {
        self.send("ROLLBACK");
    }

    /// Begins a part of the transaction that can be taken back alone.
    pub(super) fn set_savepoint(&mut self) {
        self.send("SAVEPOINT body");
    }

    pub(super) fn release_savepoint(&mut self) {
        self.send("RELEASE body");
    }

    pub(super) fn roll_back_to_savepoint(&mut self) {
        self.send("ROLLBACK TO body; RELEASE body");
    }

    /// Whether the transaction broke in a way that another run may mend.
    pub(super) fn has_fault(&self) -> bool {
        self.fault.is_some()
    }

    /// Commits; the transaction's id is known before.
    pub(super) async fn commit(&mut self) -> Result<(), StoreError> {
        let id = self.rows(TRANSACTION_ID, &[], 1).await?;
        self.transaction = id.first().map(|row| row.int(0)).transpose()?;
        let done = self.client.batch_execute("COMMIT").await;
        done.map_err(|error| self.note(&error))
    }

    /// The id of the transaction whose COMMIT was sent.
    pub(super) fn transaction(&self) -> Option<i64> {
        self.transaction
    }

    pub(super) async fn status_of(&mut self, transaction: i64) -> Result<String, StoreError> {
        let text = transaction.to_string();
        let rows = self
            .rows(TRANSACTION_STATUS, &[Value::Text(&text)], 1)
            .await?;
        let row = rows.into_iter().next();
        row.ok_or_else(|| StoreError::Bug("no status".to_owned()))?
            .text(0)
    }

    pub(super) fn take_fault(&mut self) -> Option<Fault> {
        self.fault.take()
    }

    /// Runs statements of the engine itself.
    pub(super) async fn batch(&mut self, sql: &str) -> Result<(), StoreError> {
        let done = self.client.batch_execute(sql).await;
        done.map_err(|error| self.note(&error))
    }

    /// Runs a statement; gives the number of rows changed.
    pub(crate) async fn execute(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
    ) -> Result<u64, StoreError> {
        let statement = self.statement(sql).await?;
        let done = self
            .client
            .execute_raw(&statement, params.iter().map(|value| Param(*value)))
            .await;
        done.map_err(|error| self.note(&error))
    }

    /// Runs a statement; gives at most `limit` of its rows.
    pub(crate) async fn rows(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let statement = self.statement(sql).await?;
        let params: Vec<Param<'_>> = params.iter().map(|value| Param(*value)).collect();
        let params: Vec<&(dyn ToSql + Sync)> = params
            .iter()
            .map(|param| param as &(dyn ToSql + Sync))
            .collect();
        let found = self.client.query(&statement, &params).await;
        let found = found.map_err(|error| self.note(&error))?;
        let columns = statement.columns().len();
        found
            .iter()
            .take(limit)
            .map(|row| {
                let cells =
                    (0..columns).map(|at| row.try_get::<_, ReadCell>(at).map(|cell| cell.0));
                cells
                    .collect::<Result<Vec<Cell>, _>>()
                    .map(Row)
                    .map_err(|error| StoreError::Bug(format!("a row of {sql}: {error}")))
            })
            .collect()
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
        let made = self.client.prepare(&rewrite(sql)).await;
        let statement = made.map_err(|error| match self.note(&error) {
            StoreError::Bug(why) => StoreError::Bug(format!("{why}: {sql}")),
            other => other,
        })?;
        self.prepared.insert(key, statement.clone());
        Ok(statement)
    }

    /// Sends a statement without waiting for its answer.
    fn send(&self, sql: &'static str) {
        let sending = pin!(self.client.batch_execute(sql));
        // One poll puts it on its way; an answer that nobody waits for is passed over.
        let _ = sending.poll(&mut Context::from_waker(Waker::noop()));
    }

    fn note(&mut self, error: &tokio_postgres::Error) -> StoreError {
        let (told, fault) = failure(error);
        self.fault = self.fault.or(fault);
        told
    }
}

/// Writes a statement the way PostgreSQL takes it: `IN list($n)` as `= ANY($n)`.
fn rewrite(sql: &str) -> String {
    sql.replace("IN list(", "= ANY(")
}

/// A value on its way into a statement.
#[derive(Debug)]
struct Param<'a>(Value<'a>);

impl ToSql for Param<'_> {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match self.0 {
            Value::Null => return Ok(IsNull::Yes),
            Value::Int(number) => match *kind {
                Type::INT8 => out.put_i64(number),
                Type::INT4 => out.put_i32(i32::try_from(number)?),
                _ => return Err(format!("a number where {kind} is wanted").into()),
            },
            Value::Text(text) => put_text(text, out),
            Value::Bytes(bytes) => out.put_slice(bytes),
            Value::List(list) => return list.to_sql(kind, out),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// PostgreSQL has no NUL in texts; SQLite has. Where one stood, the sign for an unknown character
/// stands.
fn put_text(text: &str, out: &mut BytesMut) {
    let mut pieces = text.split('\0');
    out.put_slice(pieces.next().unwrap_or_default().as_bytes());
    for piece in pieces {
        out.put_slice("\u{fffd}".as_bytes());
        out.put_slice(piece.as_bytes());
    }
}

/// A value read from a row.
struct ReadCell(Cell);

impl<'a> FromSql<'a> for ReadCell {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(match *kind {
            Type::INT8 => Cell::Int(i64::from_sql(kind, raw)?),
            Type::INT4 => Cell::Int(i64::from(i32::from_sql(kind, raw)?)),
            Type::TEXT | Type::VARCHAR | Type::NAME => Cell::Text(String::from_sql(kind, raw)?),
            Type::BYTEA => Cell::Bytes(raw.to_vec()),
            _ => return Err(format!("a column of type {kind}").into()),
        }))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(Cell::Null))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
