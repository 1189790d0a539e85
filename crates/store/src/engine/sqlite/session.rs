//! A connection with its prepared statements, and how SQLite's errors become ours.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, types::ValueRef};

use super::{EngineOptions, Statements};
use crate::engine::Passing;
use crate::engine::value::{Cell, Row, Value};
use crate::{SimulatedDisk, StoreError, Synchronous};

/// Statements kept prepared per connection: all there are.
const STATEMENTS_MAX: usize = 256;
/// How long a connection waits for a lock that another program holds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Measured with 5 KB letters from 16 producers: pages of 8 KiB cost a fifth more CPU and log a
/// letter than these, though the file is a quarter smaller.
const PAGE_BYTES: u32 = 4_096;
/// The writer's page cache, in KiB: holds the inner pages of every tree and the hot leaves.
const WRITER_CACHE_KIB: i64 = 16 * 1024;
/// Each reader's page cache, in KiB.
const READER_CACHE_KIB: i64 = 2 * 1024;

/// At most 4 MiB at once, so that a letter that comes meanwhile does not wait long.
const GIVE_BACK: &str = "PRAGMA incremental_vacuum(1000)";

/// One connection.
pub(crate) struct Session {
    connection: Connection,
    /// Statements as SQLite takes them, by the address and length of ours.
    rewritten: HashMap<(usize, usize), Box<str>>,
    statements: Statements,
    /// May put other statements in place of ours.
    simulated: Option<Arc<dyn SimulatedDisk>>,
}

impl Session {
    /// The connection that writes; makes the file if needed.
    pub(super) fn open_writer(
        options: &EngineOptions,
        statements: &Statements,
    ) -> Result<Self, StoreError> {
        let session = Self::open(options, OpenFlags::default(), statements, WRITER_CACHE_KIB)?;
        // Page size and auto_vacuum only take effect while the file is empty.
        session.batch(&format!(
            "PRAGMA page_size = {PAGE_BYTES}; PRAGMA auto_vacuum = INCREMENTAL;"
        ))?;
        session.use_log()?;
        session.batch("PRAGMA wal_autocheckpoint = 0;")?;
        session.batch(synchronous(options.synchronous))?;
        Ok(session)
    }

    /// A connection that only reads.
    pub(super) fn open_reader(
        options: &EngineOptions,
        statements: &Statements,
    ) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Self::open(options, flags, statements, READER_CACHE_KIB)
    }

    /// The connection that checkpoints; it writes to the file, never to the log.
    pub(super) fn open_checkpointer(options: &EngineOptions) -> Result<Self, StoreError> {
        let session = Self::open(options, OpenFlags::default(), &Statements::default(), 0)?;
        session.batch("PRAGMA wal_autocheckpoint = 0;")?;
        session.batch(synchronous(options.synchronous))?;
        Ok(session)
    }

    fn open(
        options: &EngineOptions,
        flags: OpenFlags,
        statements: &Statements,
        cache_kib: i64,
    ) -> Result<Self, StoreError> {
        let vfs = options.simulated.as_ref().map(|disk| disk.vfs());
        let connection = connect(&options.path, flags, vfs).map_err(failure)?;
        let mut session = Self::new(connection, statements, cache_kib)?;
        session.simulated.clone_from(&options.simulated);
        Ok(session)
    }

    fn new(
        connection: Connection,
        statements: &Statements,
        cache_kib: i64,
    ) -> Result<Self, StoreError> {
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        let session = Self {
            connection,
            rewritten: HashMap::new(),
            statements: Statements::clone(statements),
            simulated: None,
        };
        session.wait_for_locks(BUSY_TIMEOUT)?;
        session.batch(&format!(
            "PRAGMA temp_store = MEMORY; PRAGMA cache_size = -{cache_kib}; PRAGMA mmap_size = 0;"
        ))?;
        Ok(session)
    }

    /// Switches the file to a write-ahead log. SQLite answers with the mode that is in force then:
    /// where it cannot share memory between connections it stays with the old one, and says so.
    fn use_log(&self) -> Result<(), StoreError> {
        let mode: String = self
            .connection
            .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
            .map_err(failure)?;
        if mode.eq_ignore_ascii_case("wal") {
            return Ok(());
        }
        Err(StoreError::Io(format!(
            "the database cannot have a write-ahead log on this disk (journal mode {mode})"
        )))
    }

    /// The connection itself, for whole tables.
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Runs statements of the engine itself.
    pub(super) fn batch(&self, sql: &str) -> Result<(), StoreError> {
        self.connection.execute_batch(sql).map_err(failure)
    }

    /// Runs a prepared statement of the engine itself (BEGIN, SAVEPOINT, …).
    pub(super) fn control(&self, sql: &'static str) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(failure)?;
        statement.raw_execute().map_err(failure)?;
        Ok(())
    }

    /// Whether a transaction is open.
    pub(super) fn in_transaction(&self) -> bool {
        !self.connection.is_autocommit()
    }

    /// Runs a checkpoint; gives the frames in the log and those of them that are in the file.
    pub(super) fn checkpoint(&self, mode: &str) -> Result<(i64, i64), StoreError> {
        self.connection
            .query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
                Ok((row.get(1)?, row.get(2)?))
            })
            .map_err(failure)
    }

    /// The same as [`Self::checkpoint`] with TRUNCATE, without waiting long for readers.
    pub(super) fn truncate_log(&self) -> Result<(), StoreError> {
        self.wait_for_locks(Duration::from_millis(50))?;
        let result = self.checkpoint("TRUNCATE");
        self.wait_for_locks(BUSY_TIMEOUT)?;
        result.map(|_| ())
    }

    /// Gives the memory of the page cache back; the system's cache has the pages still.
    pub(super) fn shrink(&self) -> Result<(), StoreError> {
        self.batch("PRAGMA shrink_memory")
    }

    /// Gives some pages that are no longer used back to the disk; tells how many.
    pub(super) fn give_back(&self) -> Result<usize, StoreError> {
        let mut statement = self.connection.prepare_cached(GIVE_BACK).map_err(failure)?;
        let mut rows = statement.raw_query();
        let mut given = 0;
        // One page goes with each row: a statement that is left after the first gives back one.
        while rows.next().map_err(failure)?.is_some() {
            given += 1;
        }
        Ok(given)
    }

    /// Pages of the file that are not used.
    #[cfg(test)]
    pub(super) fn free_pages(&self) -> Result<i64, StoreError> {
        self.connection
            .query_row("PRAGMA freelist_count", [], |row| row.get(0))
            .map_err(failure)
    }

    fn wait_for_locks(&self, limit: Duration) -> Result<(), StoreError> {
        self.connection.busy_timeout(limit).map_err(failure)
    }

    /// Runs a statement; gives the number of rows changed.
    pub(crate) fn execute(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
    ) -> Result<u64, StoreError> {
        let mut statement = self.prepare(sql, params)?;
        let changed = statement.raw_execute().map_err(failure)?;
        Ok(u64::try_from(changed).unwrap_or(u64::MAX))
    }

    /// Runs a statement; gives at most `limit` of its rows.
    pub(crate) fn rows(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let mut statement = self.prepare(sql, params)?;
        let columns = statement.column_count();
        let mut found = Vec::new();
        let mut rows = statement.raw_query();
        while found.len() < limit {
            let Some(row) = rows.next().map_err(failure)? else {
                break;
            };
            let cells = (0..columns).map(|at| cell(row.get_ref(at).map_err(failure)?));
            found.push(Row(cells.collect::<Result<_, _>>()?));
        }
        Ok(found)
    }

    /// Runs a statement and shows its rows one by one.
    pub(crate) fn scan(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
        each: &mut dyn FnMut(&Passing<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut statement = self.prepare(sql, params)?;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().map_err(failure)? {
            each(&Passing::Sqlite(row))?;
        }
        Ok(())
    }

    fn prepare(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
    ) -> Result<rusqlite::CachedStatement<'_>, StoreError> {
        let text = self
            .rewritten
            .entry((sql.as_ptr().addr(), sql.len()))
            .or_insert_with(|| {
                let mut seen = self
                    .statements
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                seen.insert(sql);
                match &self.simulated {
                    Some(disk) => rewrite(&disk.statement(sql)).into(),
                    None => rewrite(sql).into(),
                }
            });
        let mut statement = self.connection.prepare_cached(text).map_err(failure)?;
        if statement.parameter_count() != params.len() {
            return Err(StoreError::Bug(format!(
                "wrong number of parameters: {sql}"
            )));
        }
        for (at, value) in (1..).zip(params) {
            bind(&mut statement, at, *value).map_err(failure)?;
        }
        Ok(statement)
    }
}

/// Opens a database file, in the file system of that name where one is given.
pub(crate) fn connect(
    path: &Path,
    flags: OpenFlags,
    vfs: Option<&str>,
) -> rusqlite::Result<Connection> {
    let connection = match vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs),
        None => Connection::open_with_flags(path, flags),
    }?;
    // Without it SQLite plans a statement with `LIMIT $1` anew for each value that is bound, which
    // took three quarters of the time of the queue's look for what is due.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

fn synchronous(choice: Synchronous) -> &'static str {
    match choice {
        Synchronous::Full => "PRAGMA synchronous = FULL;",
        Synchronous::Off => "PRAGMA synchronous = OFF;",
    }
}

pub(super) fn bind(
    statement: &mut rusqlite::CachedStatement<'_>,
    at: usize,
    value: Value<'_>,
) -> rusqlite::Result<()> {
    match value {
        Value::Null => statement.raw_bind_parameter(at, rusqlite::types::Null),
        Value::Int(number) => statement.raw_bind_parameter(at, number),
        Value::Text(text) => statement.raw_bind_parameter(at, text),
        Value::Bytes(bytes) => statement.raw_bind_parameter(at, bytes),
        Value::List(list) => {
            let items: Vec<String> = list.iter().map(i64::to_string).collect();
            statement.raw_bind_parameter(at, format!("[{}]", items.join(",")))
        }
    }
}

pub(super) fn cell(value: ValueRef<'_>) -> Result<Cell, StoreError> {
    match value {
        ValueRef::Null => Ok(Cell::Null),
        ValueRef::Integer(number) => Ok(Cell::Int(number)),
        ValueRef::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => Ok(Cell::Text(text.to_owned())),
            Err(_) => Err(StoreError::Io(
                "a text in the store is not UTF-8".to_owned(),
            )),
        },
        ValueRef::Blob(bytes) => Ok(Cell::Bytes(bytes.to_vec())),
        ValueRef::Real(_) => Err(StoreError::Bug("a broken number in a row".to_owned())),
    }
}

/// Writes a statement the way SQLite takes it: `$n` as `?n` (SQLite numbers `$n` by first
/// appearance) and `IN list($n)` as a look-up in a JSON list. Quoted text stays as it is.
/// `FOR UPDATE` at the end is left out: there is one writer.
pub(super) fn rewrite(sql: &str) -> String {
    let mut text = String::with_capacity(sql.len() + 32);
    let mut rest = sql.strip_suffix(" FOR UPDATE").unwrap_or(sql);
    while let Some(at) = rest.find(['$', '\'', 'l']) {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("list($")
            && let Some((number, after)) = after.split_once(')')
        {
            text.push_str("(SELECT value FROM json_each(?");
            text.push_str(number);
            text.push_str("))");
            rest = after;
        } else if let Some(after) = rest.strip_prefix('\'') {
            let end = after.find('\'').map_or(rest.len(), |end| end + 2);
            text.push_str(&rest[..end]);
            rest = &rest[end..];
        } else {
            text.push_str(if rest.starts_with('$') { "?" } else { "l" });
            rest = &rest[1..];
        }
    }
    text.push_str(rest);
    text
}

/// The way out of a damaged file.
const DAMAGED: &str = "stop the node and keep a copy of mail.db and mail.db-wal; restore a backup \
    into a new store, or save what is left with `sqlite3 mail.db .recover` (docs/backup.md)";

/// What an error of SQLite means to a verb.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the form that map_err asks for"
)]
pub(crate) fn failure(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::DiskFull,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            StoreError::Busy("another program holds the database".to_owned())
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            StoreError::Io(format!("the database file is damaged ({error}): {DAMAGED}"))
        }
        Some(
            ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly
            | ErrorCode::OutOfMemory,
        ) => StoreError::Io(error.to_string()),
        _ => StoreError::Bug(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;

    #[test]
    fn parameters_are_numbered_by_their_number() {
        let connection = Connection::open_in_memory().unwrap();
        let mut session = Session::new(connection, &Statements::default(), 64).unwrap();
        let rows = session
            .rows("SELECT $2, $1", &[Value::Int(1), Value::Int(2)], 9)
            .unwrap();
        assert_eq!(rows[0].0, [Cell::Int(2), Cell::Int(1)]);
    }

    #[test]
    fn a_statement_is_planned_once_for_all_values() {
        let folder = tempfile::tempdir().unwrap();
        let flags = OpenFlags::default();
        let connection = connect(&folder.path().join("a.db"), flags, None).unwrap();
        let mut session = Session::new(connection, &Statements::default(), 64).unwrap();
        session.batch("CREATE TABLE a (b INTEGER)").unwrap();
        for limit in 1..5 {
            let sql = "SELECT b FROM a WHERE b <= $1 ORDER BY b LIMIT $2";
            let params = [Value::Int(limit), Value::Int(limit)];
            let mut statement = session.prepare(sql, &params).unwrap();
            assert!(statement.raw_query().next().unwrap().is_none());
            assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
        }
    }

    #[test]
    fn lists_and_quoted_text() {
        assert_eq!(
            rewrite("SELECT '$1l', label FROM t WHERE a = $1 AND b IN list($2)"),
            "SELECT '$1l', label FROM t WHERE a = ?1 AND b IN (SELECT value FROM json_each(?2))"
        );
    }
}
