//! The transaction layer: the only way to the rows.
//!
//! A transaction body is a value with `async fn run(&self, &mut Tx)`. It may be run more than once
//! and has no effect outside its [`Tx`]; what must follow a commit stands in [`Body::committed`].
//! Statements are one text for every engine: numbered parameters `$1`, `ON CONFLICT`, `RETURNING`,
//! lists as `IN list($n)`; values are whole numbers, text and bytes, with truth as 0 or 1 and times
//! as milliseconds. `FOR UPDATE` at the end of a SELECT locks its rows where more than one writes.
//!
//! It does no work on letters: parsing, hashing and compressing are done before a body is queued.

mod postgres;
mod rows;
mod sqlite;
mod tables;
mod value;

use std::future::Future;
use std::sync::Arc;

use base::{AccountId, Timestamp};
use tokio::sync::mpsc::Sender;

pub(crate) use postgres::Apart;
pub(crate) use rows::{Batch, Piece};
pub(crate) use sqlite::{
    EngineOptions as SqliteOptions, Priority, SCHEMA, connect as sqlite_connect,
    failure as sqlite_failure,
};
pub use tables::{TABLES, TableClass};
pub(crate) use value::{Row, Value, params};

use crate::metrics::StoreMetrics;
use crate::{PostgresOptions, StoreError};

/// An open transaction of whichever engine.
pub(crate) struct Tx<'c> {
    backend: Backend<'c>,
}

/// The engines. Each holds its connection by exclusive reference, so that a body's future can
/// travel between threads.
enum Backend<'c> {
    Sqlite(&'c mut sqlite::Session),
    Postgres(&'c mut postgres::Session),
}

/// The running engine of a store.
pub(crate) enum Engine {
    Sqlite(sqlite::Engine),
    Postgres(postgres::Postgres),
}

impl Engine {
    /// Opens the embedded engine. Blocks.
    pub(crate) fn open_sqlite(options: SqliteOptions) -> Result<Self, StoreError> {
        sqlite::Engine::open(options).map(Self::Sqlite)
    }

    /// Connects to PostgreSQL.
    pub(crate) async fn open_postgres(
        options: &PostgresOptions,
        metrics: Arc<StoreMetrics>,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let engine = postgres::Postgres::open(options, metrics, now).await?;
        Ok(Self::Postgres(engine))
    }

    /// Runs a body in a transaction; what it answers is durable. The body runs even if the caller
    /// stops waiting.
    pub(crate) async fn write<B: Body>(
        &self,
        body: B,
        priority: Priority,
    ) -> Result<B::Out, StoreError> {
        match self {
            Self::Sqlite(engine) => engine.write(body, priority).await,
            Self::Postgres(engine) => engine.write(body, priority).await,
        }
    }

    /// Runs a body on a snapshot of its own.
    pub(crate) async fn read<B: Body>(&self, body: B) -> Result<B::Out, StoreError> {
        match self {
            Self::Sqlite(engine) => engine.read(body).await,
            Self::Postgres(engine) => engine.read(body).await,
        }
    }

    /// Runs a body once on a snapshot of its own: one that gives what it reads to somebody while it
    /// runs, and so must not begin anew.
    pub(crate) async fn read_once<B: Body>(&self, body: B) -> Result<B::Out, StoreError> {
        match self {
            Self::Sqlite(engine) => engine.read(body).await,
            Self::Postgres(engine) => engine.read_once(body).await,
        }
    }

    /// Bytes that the database takes on its disk.
    pub(crate) async fn database_bytes(&self) -> Result<u64, StoreError> {
        let sql = match self {
            Self::Sqlite(_) => {
                "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
            }
            Self::Postgres(_) => "SELECT pg_database_size(current_database())",
        };
        self.read(DatabaseBytes { sql }).await
    }

    /// A connection outside the pool, on an engine that nodes can share.
    pub(crate) async fn apart(&self) -> Result<Option<Apart>, StoreError> {
        match self {
            Self::Sqlite(_) => Ok(None),
            Self::Postgres(engine) => engine.apart().await.map(Some),
        }
    }

    /// Finishes what waits and ends. Blocks.
    pub(crate) fn close(&self) {
        match self {
            Self::Sqlite(engine) => engine.close(),
            Self::Postgres(engine) => engine.close(),
        }
    }

    /// The statements that were run so far.
    pub(crate) fn statements(&self) -> Vec<&'static str> {
        match self {
            Self::Sqlite(engine) => engine.statements(),
            Self::Postgres(engine) => engine.statements(),
        }
    }
}

/// A row while it passes by; nothing of it is copied.
pub(crate) enum Passing<'r> {
    Sqlite(&'r rusqlite::Row<'r>),
    Postgres(&'r tokio_postgres::Row),
}

impl Passing<'_> {
    /// A whole number.
    pub(crate) fn int(&self, at: usize) -> Result<i64, StoreError> {
        match self {
            Self::Sqlite(row) => row.get(at).map_err(|error| unfit(at, &error)),
            Self::Postgres(row) => row.try_get(at).map_err(|error| unfit(at, &error)),
        }
    }

    /// A whole number of 32 bits.
    pub(crate) fn u32(&self, at: usize) -> Result<u32, StoreError> {
        u32::try_from(self.int(at)?).map_err(|error| unfit(at, &error))
    }

    /// A text.
    pub(crate) fn text(&self, at: usize) -> Result<&str, StoreError> {
        match self {
            Self::Sqlite(row) => {
                let value = row.get_ref(at).map_err(|error| unfit(at, &error))?;
                value.as_str().map_err(|error| unfit(at, &error))
            }
            Self::Postgres(row) => row.try_get(at).map_err(|error| unfit(at, &error)),
        }
    }
}

fn unfit(at: usize, error: &dyn std::error::Error) -> StoreError {
    StoreError::Bug(format!("column {at} of a row: {error}"))
}

/// The one question that each engine is asked in its own words.
struct DatabaseBytes {
    sql: &'static str,
}

impl Body for DatabaseBytes {
    type Out = u64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<u64, StoreError> {
        tx.one(self.sql, &[]).await?.unsigned(0)
    }
}

/// The work of one transaction.
pub(crate) trait Body: Send + Sync + 'static {
    /// What it gives back.
    type Out: Send + 'static;

    /// Does the work. Re-runnable: no effect outside `tx`.
    fn run(&self, tx: &mut Tx<'_>) -> impl Future<Output = Result<Self::Out, StoreError>> + Send;

    /// The account whose row it locks first, where there is one: bodies of one account share
    /// commits where each commit would wait for the one before.
    fn account(&self) -> Option<AccountId> {
        None
    }

    /// All accounts whose rows it changes. They are locked before the body runs, in ascending order,
    /// so that transactions do not wait for each other in a ring.
    fn accounts(&self) -> Vec<AccountId> {
        self.account().into_iter().collect()
    }

    /// The hashes of the blobs that it may store.
    fn blobs(&self) -> Vec<[u8; 32]> {
        Vec::new()
    }

    /// Called once, after the commit and before the acknowledgement, even if nobody waits for the
    /// answer any more. Must be short: the next batch waits for it.
    fn committed(&self, _out: &Self::Out) {}
}

impl Tx<'_> {
    /// Whether other nodes may use the same rows.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.backend, Backend::Postgres(_))
    }

    /// Runs a statement; returns how many rows it changed.
    pub(crate) async fn execute(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
    ) -> Result<u64, StoreError> {
        match &mut self.backend {
            Backend::Sqlite(session) => session.execute(sql, params),
            Backend::Postgres(session) => session.execute(sql, params).await,
        }
    }

    /// Runs a statement whose result nobody needs, without waiting for it where that saves time. If
    /// it fails, a later statement or the commit does.
    pub(crate) async fn send(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
    ) -> Result<(), StoreError> {
        match &mut self.backend {
            Backend::Sqlite(session) => session.execute(sql, params).map(drop),
            Backend::Postgres(session) => session.send(sql, params).await,
        }
    }

    /// Takes rows by a `SELECT … FOR UPDATE` until the transaction ends, where more than one writes.
    pub(crate) async fn lock(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
    ) -> Result<(), StoreError> {
        match &mut self.backend {
            Backend::Sqlite(_) => Ok(()),
            Backend::Postgres(session) => session.send(sql, params).await,
        }
    }

    /// Runs a statement and gives all its rows.
    pub(crate) async fn rows(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        match &mut self.backend {
            Backend::Sqlite(session) => session.rows(sql, params, usize::MAX),
            Backend::Postgres(session) => session.rows(sql, params, usize::MAX).await,
        }
    }

    /// Runs a statement and shows its rows one by one: for lists of a whole mailbox, where keeping
    /// each value of each row would cost more than finding it.
    pub(crate) async fn scan(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
        each: &mut (dyn FnMut(&Passing<'_>) -> Result<(), StoreError> + Send),
    ) -> Result<(), StoreError> {
        match &mut self.backend {
            Backend::Sqlite(session) => session.scan(sql, params, each),
            Backend::Postgres(session) => session.scan(sql, params, each).await,
        }
    }

    /// Runs a statement and gives its first row. A changing statement must change at most one row.
    pub(crate) async fn row(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
    ) -> Result<Option<Row>, StoreError> {
        match &mut self.backend {
            Backend::Sqlite(session) => Ok(session.rows(sql, params, 2)?.into_iter().next()),
            Backend::Postgres(session) => {
                Ok(session.rows(sql, params, 2).await?.into_iter().next())
            }
        }
    }

    /// The first row, which must be there.
    pub(crate) async fn one(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
    ) -> Result<Row, StoreError> {
        self.row(sql, params)
            .await?
            .ok_or_else(|| StoreError::Bug(format!("no row from: {sql}")))
    }

    /// Gives all rows of a table of [`TABLES`]. Only within [`Engine::read_once`].
    pub(crate) async fn copy_out(
        &mut self,
        table: &'static str,
        to: &Sender<Piece>,
    ) -> Result<(), StoreError> {
        match &mut self.backend {
            // A reading thread waits; it belongs to no runtime.
            Backend::Sqlite(session) => {
                session.copy_out(table, |piece| to.blocking_send(piece).map_err(|_| nobody()))
            }
            Backend::Postgres(session) => session.copy_out(table, to).await,
        }
    }

    /// Puts rows into a table of [`TABLES`].
    pub(crate) async fn copy_in(
        &mut self,
        table: &'static str,
        columns: &[String],
        rows: &[Row],
    ) -> Result<(), StoreError> {
        match &mut self.backend {
            Backend::Sqlite(session) => session.copy_in(table, columns, rows),
            Backend::Postgres(session) => session.copy_in(table, columns, rows).await,
        }
    }

    /// How many rows a table of [`TABLES`] has.
    pub(crate) async fn count(&mut self, table: &'static str) -> Result<u64, StoreError> {
        match &mut self.backend {
            Backend::Sqlite(session) => session.count(table),
            Backend::Postgres(session) => session.count(table).await,
        }
    }

    /// What is wrong with the database's file, in the engine's words; only SQLite says.
    pub(crate) async fn check_file(&mut self) -> Result<Vec<String>, StoreError> {
        match &mut self.backend {
            Backend::Sqlite(session) => session.check_file(),
            Backend::Postgres(_) => Ok(Vec::new()),
        }
    }

    /// Removes all rows of a table of [`TABLES`].
    pub(crate) async fn empty(&mut self, table: &'static str) -> Result<(), StoreError> {
        match &mut self.backend {
            Backend::Sqlite(session) => session.empty(table),
            Backend::Postgres(session) => session.empty(table).await,
        }
    }
}

async fn give(to: &Sender<Piece>, piece: Piece) -> Result<(), StoreError> {
    to.send(piece).await.map_err(|_| nobody())
}

/// The one who took the rows has ended, and says why itself.
fn nobody() -> StoreError {
    StoreError::Io("nobody takes the rows any more".to_owned())
}
