//! The index of the embedded store: `search.db`, a file of its own, so that the database's writer
//! never waits for it. It can be made again from the letters at any time: a file that is damaged or
//! of another version is removed, and a crash may lose its last steps (it is not flushed with each),
//! but never a part of one, as progress and rows are stored together.
//!
//! It is made of segments ([`super::segments`]), each with letters of any accounts: small ones are
//! merged into larger ones in the background ([`merge`]), and a search looks into all of them
//! ([`find`]). SQLite keeps the blocks that segments are made of, and is what makes all this survive a
//! crash.

mod dead;
mod find;
mod merge;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::{AccountId, MessageId};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};

use super::index::{Page, Progress, Step};
use super::query::SearchQuery;
use super::segments::{self, Batches, Block, LIVE, row_of, rows_of};
use crate::aside::Aside;
use crate::engine::{sqlite_connect as connect, sqlite_failure};
use crate::open::space_of;
use crate::{SimulatedDisk, StoreError};

/// Raised whenever tokens or tables change: the file is then made anew.
const VERSION: i64 = 2;
/// The version of a file that is to be made anew.
const DAMAGED_VERSION: i64 = -1;
/// The page cache of the writing connection, in KiB.
const CACHE_KIB: i64 = 8 * 1024;
/// Connections kept for queries.
const READERS_MAX: usize = 4;
/// So many segments, and letters wait until some are merged: a search looks into each.
const SEGMENTS_MAX: i64 = 128;

/// `letters` of a mark and of an account are what merging goes by, and need not be exact. An account
/// whose modseq is below 0 begins anew; `again` says that what it reads through was there before.
const TABLES: &str = "
    CREATE TABLE progress (
        account_id INTEGER NOT NULL PRIMARY KEY,
        modseq INTEGER NOT NULL,
        scan_after INTEGER,
        letters INTEGER NOT NULL,
        again INTEGER NOT NULL
    );
    CREATE TABLE segment (
        segment_id INTEGER PRIMARY KEY AUTOINCREMENT,
        epoch INTEGER NOT NULL,
        letters INTEGER NOT NULL,
        state INTEGER NOT NULL
    );
    CREATE TABLE fence (
        segment_id INTEGER NOT NULL,
        first BLOB NOT NULL,
        block_id INTEGER NOT NULL,
        PRIMARY KEY (segment_id, first)
    ) WITHOUT ROWID;
    CREATE TABLE block (block_id INTEGER PRIMARY KEY, data BLOB NOT NULL);
    CREATE TABLE dead (
        mark_id INTEGER PRIMARY KEY AUTOINCREMENT,
        first INTEGER NOT NULL,
        last INTEGER NOT NULL,
        through INTEGER NOT NULL,
        letters INTEGER NOT NULL
    );
    CREATE INDEX dead_first ON dead (first);";

/// The file. Cheap to clone.
#[derive(Clone)]
pub(crate) struct IndexFile(Arc<Inner>);

/// Somebody merges, until this is dropped.
struct Merging<'i>(&'i Inner);

impl Drop for Merging<'_> {
    fn drop(&mut self) {
        self.0.merges.store(false, Ordering::Release);
    }
}

/// A step whose letters were taken out of it, and how many.
struct Taken {
    step: Step,
    letters: i64,
}

struct Inner {
    path: PathBuf,
    simulated: Option<Arc<dyn SimulatedDisk>>,
    /// Nothing after closing.
    writer: Mutex<Option<Connection>>,
    /// Nothing after closing.
    readers: Mutex<Option<Vec<Connection>>>,
    /// Held while segments are merged.
    merging: Mutex<()>,
    /// Whether somebody merges, or is about to.
    merges: AtomicBool,
}

impl Inner {
    fn aside(&self) -> Aside {
        let inline = self.simulated.as_ref().map(|_| Aside::Inline);
        inline.unwrap_or(Aside::Threads)
    }

    fn vfs(&self) -> Option<&str> {
        self.simulated.as_ref().map(|disk| disk.vfs())
    }

    /// Bytes that the disk has left.
    fn free_bytes(&self) -> u64 {
        match (&self.simulated, self.path.parent()) {
            (Some(disk), _) => disk.space().free_bytes,
            (None, Some(folder)) => space_of(folder).free_bytes,
            (None, None) => 0,
        }
    }

    /// Merges. What goes wrong is told: nobody waits for it.
    fn merge(&self) {
        match merge::run(self) {
            Ok(()) | Err(StoreError::Closed) => {}
            Err(error) => {
                self.mark_damaged(&error);
                tracing::warn!(%error, "the search index could not be merged");
            }
        }
    }

    /// Sees to it that a damaged file is made anew at the next start: until then what can be read of
    /// it answers.
    fn mark_damaged(&self, error: &StoreError) {
        let is_damage = *error == segments::damaged();
        if is_damage {
            let marked = self.write(|connection| {
                let pragma = format!("PRAGMA user_version = {DAMAGED_VERSION}");
                connection.execute_batch(&pragma).map_err(failure)
            });
            if let Err(error) = marked {
                tracing::warn!(%error, "a damaged search index could not be marked");
            }
        }
    }

    /// Runs work on the writing connection. Blocks.
    fn write<T>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        work(lock(&self.writer).as_mut().ok_or(StoreError::Closed)?)
    }
}

impl IndexFile {
    /// Opens the file; makes it anew if it cannot be used. Blocks.
    pub(crate) fn open(
        path: &Path,
        simulated: Option<Arc<dyn SimulatedDisk>>,
    ) -> Result<Self, StoreError> {
        let vfs = simulated.as_ref().map(|disk| disk.vfs());
        let writer = match open_writer(path, vfs) {
            Ok(Some(writer)) => writer,
            other => {
                match other {
                    Err(error) if path.exists() => {
                        tracing::warn!(%error, "the search index is made anew");
                    }
                    _ => {}
                }
                remove(path)?;
                open_writer(path, vfs)?
                    .ok_or_else(|| StoreError::Bug("a new search index is old".to_owned()))?
            }
        };
        Ok(Self(Arc::new(Inner {
            path: path.to_owned(),
            simulated,
            writer: Mutex::new(Some(writer)),
            readers: Mutex::new(Some(Vec::new())),
            merging: Mutex::new(()),
            merges: AtomicBool::new(false),
        })))
    }

    /// Closes the file. Blocks until the step under way is taken.
    pub(crate) fn close(&self) {
        *lock(&self.0.readers) = None;
        *lock(&self.0.writer) = None;
        // Who merges notices at its next write.
        drop(lock(&self.0.merging));
    }

    pub(super) async fn progress(
        &self,
        account: AccountId,
    ) -> Result<Option<Progress>, StoreError> {
        self.reading(move |connection| progress_of(connection, account))
            .await
    }

    pub(super) async fn take(&self, steps: Vec<Step>) -> Result<(), StoreError> {
        let (steps, batches) = self.divide(steps).await?;
        let runs = segments::runs_of(batches, self.0.aside()).await?;
        let inner = Arc::clone(&self.0);
        let work = move || {
            let blocks = segments::join(runs)?;
            let segments = inner.write(|connection| take_all(connection, &steps, &blocks))?;
            if segments > SEGMENTS_MAX {
                inner.merge();
            }
            Ok::<(), StoreError>(())
        };
        self.0.aside().run("the search index", work).await??;
        self.merge_soon();
        Ok(())
    }

    /// Takes the letters out of steps, in order and some at a time. Steps that start elsewhere than
    /// where the index is are dropped.
    async fn divide(&self, mut steps: Vec<Step>) -> Result<(Vec<Taken>, Batches), StoreError> {
        // The words of a segment have their accounts and messages in order.
        steps.sort_by_key(|step| step.account);
        let accounts: Vec<AccountId> = steps.iter().map(|step| step.account).collect();
        let progress = self
            .reading(move |connection| {
                let each = accounts.iter();
                each.map(|account| progress_of(connection, *account))
                    .collect::<Result<Vec<_>, _>>()
            })
            .await?;
        let mut taken = Vec::with_capacity(steps.len());
        let mut batches = Batches::default();
        for (mut step, at) in steps.into_iter().zip(progress) {
            if at != step.from {
                continue;
            }
            let letters = batches.add(step.account, std::mem::take(&mut step.documents))?;
            taken.push(Taken { step, letters });
        }
        Ok((taken, batches))
    }

    /// Merges in the background, if nobody does.
    fn merge_soon(&self) {
        if self.0.merges.swap(true, Ordering::AcqRel) {
            return;
        }
        let inner = Arc::clone(&self.0);
        let merge = move || {
            let _merging = Merging(&inner);
            inner.merge();
        };
        match self.0.aside() {
            Aside::Inline => merge(),
            Aside::Threads => drop(tokio::task::spawn_blocking(merge)),
        }
    }

    pub(super) async fn find(
        &self,
        account: AccountId,
        query: &SearchQuery,
        after: MessageId,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let query = query.clone();
        self.reading(move |connection| {
            let docs = find::find(connection, account, &query)?;
            let least = after.0.max(0).saturating_add(1);
            let messages = match u32::try_from(least) {
                Ok(least) => docs
                    .from(least)
                    .take(limit)
                    .map(|message| MessageId(message.into()))
                    .collect(),
                Err(_) => Vec::new(),
            };
            Ok(Page {
                progress: progress_of(connection, account)?,
                messages,
            })
        })
        .await
    }

    pub(super) async fn restart(&self, account: AccountId) -> Result<(), StoreError> {
        self.writing(move |connection| {
            let sql = "UPDATE progress SET modseq = -1, scan_after = NULL, again = 1
                WHERE account_id = ?1";
            connection.execute(sql, [account.0]).map_err(failure)?;
            Ok(())
        })
        .await
    }

    pub(super) async fn all_progress(&self) -> Result<BTreeMap<AccountId, Progress>, StoreError> {
        self.reading(all_progress).await
    }

    /// Removes what belongs to an account: at once from searches, from the disk by merging.
    pub(super) async fn forget(&self, account: AccountId) -> Result<(), StoreError> {
        self.writing(move |connection| forget(connection, account))
            .await?;
        self.merge_soon();
        Ok(())
    }

    async fn writing<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.0);
        let work = move || inner.write(work);
        self.0.aside().run("the search index", work).await?
    }

    /// Runs work on a snapshot.
    async fn reading<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.0);
        let work = move || {
            let kept = lock(&inner.readers)
                .as_mut()
                .ok_or(StoreError::Closed)?
                .pop();
            let mut connection = match kept {
                Some(connection) => connection,
                None => open_reader(&inner.path, inner.vfs())?,
            };
            let snapshot = connection.transaction().map_err(failure)?;
            let answer = work(&snapshot);
            drop(snapshot);
            if let Err(error) = &answer {
                inner.mark_damaged(error);
            }
            if let Some(readers) = lock(&inner.readers).as_mut()
                && readers.len() < READERS_MAX
            {
                readers.push(connection);
            }
            answer
        };
        self.0.aside().run("the search index", work).await?
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The writing connection; nothing if the file is of another version.
fn open_writer(path: &Path, vfs: Option<&str>) -> Result<Option<Connection>, StoreError> {
    let connection = connect(path, OpenFlags::default(), vfs).map_err(failure)?;
    // In a write-ahead log, NORMAL flushes at checkpoints only: a crash of the machine loses the
    // last steps, whole.
    let pragmas = format!(
        "PRAGMA page_size = 16384; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
         PRAGMA temp_store = MEMORY; PRAGMA cache_size = -{CACHE_KIB}; PRAGMA busy_timeout = 5000;"
    );
    connection.execute_batch(&pragmas).map_err(failure)?;
    let version = || connection.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0));
    match version().map_err(failure)? {
        VERSION => Ok(Some(connection)),
        0 => {
            let make = format!("BEGIN; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;");
            connection.execute_batch(&make).map_err(failure)?;
            Ok(Some(connection))
        }
        _ => Ok(None),
    }
}

fn open_reader(path: &Path, vfs: Option<&str>) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = connect(path, flags, vfs).map_err(failure)?;
    let pragmas = "PRAGMA cache_size = -2048; PRAGMA busy_timeout = 5000;";
    connection.execute_batch(pragmas).map_err(failure)?;
    Ok(connection)
}

/// Removes the file and its log.
fn remove(path: &Path) -> Result<(), StoreError> {
    for end in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        match std::fs::remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(crate::letter::io(error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn progress_of(
    connection: &Connection,
    account: AccountId,
) -> Result<Option<Progress>, StoreError> {
    let sql = "SELECT modseq, scan_after FROM progress WHERE account_id = ?1 AND modseq >= 0";
    let mut statement = connection.prepare_cached(sql).map_err(failure)?;
    let row = statement.query_row([account.0], |row| {
        Ok(Progress {
            modseq: row.get(0)?,
            scan_after: row.get(1)?,
        })
    });
    row.optional().map_err(failure)
}

/// Takes steps with the blocks of their letters; tells how many segments there are then.
fn take_all(
    connection: &mut Connection,
    steps: &[Taken],
    blocks: &[Block],
) -> Result<i64, StoreError> {
    let transaction = connection.transaction().map_err(failure)?;
    for taken in steps {
        take(&transaction, taken)?;
    }
    let letters: i64 = steps.iter().map(|taken| taken.letters).sum();
    if letters > 0 {
        let sql = "INSERT INTO segment (epoch, letters, state)
            SELECT coalesce(max(epoch), 0) + 1, ?1, ?2 FROM segment";
        transaction.execute(sql, [letters, LIVE]).map_err(failure)?;
        write_blocks(&transaction, transaction.last_insert_rowid(), blocks)?;
    }
    let sql = "SELECT count(*) FROM segment WHERE state = ?1";
    let segments = transaction
        .query_row(sql, [LIVE], |row| row.get(0))
        .map_err(failure)?;
    transaction.commit().map_err(failure)?;
    Ok(segments)
}

fn take(connection: &Connection, taken: &Taken) -> Result<(), StoreError> {
    let (step, documents) = (&taken.step, taken.letters);
    if progress_of(connection, step.account)? != step.from {
        return Err(StoreError::Busy(
            "the search index has moved meanwhile".to_owned(),
        ));
    }
    let mut removed = i64::try_from(step.removed.len()).unwrap_or(0);
    // Read through from the beginning although it had come further.
    let is_anew = step.from.is_some_and(|from| {
        let is_back = |at| step.cleared.is_some_and(|(after, _)| after < at);
        from.scan_after.is_none_or(is_back)
    });
    let mut again = false;
    if let Some((after, through)) = step.cleared {
        again = is_anew || is_again(connection, step.account)?;
        let (zero, last) = rows_of(step.account)?;
        let first = zero.saturating_add(after).saturating_add(1);
        let last = zero.saturating_add(through).min(last);
        if again && first <= last {
            dead::mark(connection, first, last, documents)?;
            removed += documents;
        }
    }
    let mut gone: Vec<i64> = step.removed.iter().map(|message| message.0).collect();
    gone.sort_unstable();
    for run in gone.chunk_by(|one, next| next - one <= 1) {
        if let (Some(first), Some(last)) = (run.first(), run.last()) {
            let first = row_of(step.account, MessageId(*first))?;
            let last = row_of(step.account, MessageId(*last))?;
            let letters = i64::try_from(run.len()).unwrap_or(0);
            dead::mark(connection, first, last, letters)?;
        }
    }
    let sql = "INSERT INTO progress (account_id, modseq, scan_after, letters, again)
        VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (account_id) DO UPDATE
        SET modseq = ?2, scan_after = ?3, letters = letters + ?4, again = ?5";
    let values = params![
        step.account.0,
        step.to.modseq,
        step.to.scan_after,
        documents - removed,
        again && step.to.scan_after.is_some()
    ];
    connection.execute(sql, values).map_err(failure)?;
    Ok(())
}

/// Writes blocks of a segment.
fn write_blocks(connection: &Connection, segment: i64, blocks: &[Block]) -> Result<(), StoreError> {
    for block in blocks {
        let sql = "INSERT INTO block (data) VALUES (?1)";
        let mut statement = connection.prepare_cached(sql).map_err(failure)?;
        let number = statement.insert([&block.data]).map_err(failure)?;
        let sql = "INSERT INTO fence (segment_id, first, block_id) VALUES (?1, ?2, ?3)";
        let mut statement = connection.prepare_cached(sql).map_err(failure)?;
        statement
            .execute(params![segment, block.first, number])
            .map_err(failure)?;
    }
    Ok(())
}

fn all_progress(connection: &Connection) -> Result<BTreeMap<AccountId, Progress>, StoreError> {
    let sql = "SELECT account_id, modseq, scan_after FROM progress";
    let mut statement = connection.prepare_cached(sql).map_err(failure)?;
    let rows = statement.query_map([], |row| {
        let progress = Progress {
            modseq: row.get(1)?,
            scan_after: row.get(2)?,
        };
        Ok((AccountId(row.get(0)?), progress))
    });
    let rows = rows.map_err(failure)?;
    rows.map(|row| row.map_err(failure)).collect()
}

/// About how many letters of an account are in the index.
fn letters_of(connection: &Connection, account: AccountId) -> Result<i64, StoreError> {
    let sql = "SELECT letters FROM progress WHERE account_id = ?1";
    let mut statement = connection.prepare_cached(sql).map_err(failure)?;
    let letters = statement.query_row([account.0], |row| row.get(0));
    Ok(letters.optional().map_err(failure)?.unwrap_or(0))
}

/// Whether an account begins anew, and has begun before.
fn is_again(connection: &Connection, account: AccountId) -> Result<bool, StoreError> {
    let sql = "SELECT again FROM progress WHERE account_id = ?1";
    let mut statement = connection.prepare_cached(sql).map_err(failure)?;
    let again = statement.query_row([account.0], |row| row.get(0));
    Ok(again.optional().map_err(failure)?.unwrap_or(false))
}

fn forget(connection: &mut Connection, account: AccountId) -> Result<(), StoreError> {
    let transaction = connection.transaction().map_err(failure)?;
    let letters = letters_of(&transaction, account)?;
    let (first, last) = rows_of(account)?;
    dead::mark(&transaction, first, last, letters.max(1))?;
    let sql = "DELETE FROM progress WHERE account_id = ?1";
    transaction.execute(sql, [account.0]).map_err(failure)?;
    transaction.commit().map_err(failure)
}

#[cfg(test)]
mod tests;

/// What an error of SQLite means to the index: a damaged file is no matter for a backup, it is made
/// anew.
fn failure(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => segments::damaged(),
        _ => sqlite_failure(error),
    }
}
